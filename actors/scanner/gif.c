/* GIF: dimensions of the canvas. Its comments and XMP stay (metadata_kept says so). */
#include "actors/scanner/walk.h"

#include <string.h>

void kv_gif_begin(kv_walk *w)
{
    w->gif.len = 0;
}

kv_err kv_gif_push(kv_walk *w, kv_cow *c)
{
    kv_walk_gif *g = &w->gif;
    size_t n = sizeof g->head - g->len;
    if (n == 0)
        return KV_OK;
    n = n < c->len ? n : c->len;
    memcpy(g->head + g->len, c->in, n);
    g->len = (uint8_t)(g->len + n);
    if (g->len < sizeof g->head)
        return KV_OK;
    if (memcmp(g->head, "GIF87a", 6) != 0 && memcmp(g->head, "GIF89a", 6) != 0)
        return kv_walk_bad(w, "no GIF signature");
    w->width = (uint32_t)g->head[6] | (uint32_t)g->head[7] << 8;
    w->height = (uint32_t)g->head[8] | (uint32_t)g->head[9] << 8;
    return KV_OK;
}

kv_err kv_gif_end(kv_walk *w)
{
    return w->gif.len == sizeof w->gif.head ? KV_OK : kv_walk_bad(w, "GIF ends inside its header");
}
