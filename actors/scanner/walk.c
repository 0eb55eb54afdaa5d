#include "actors/scanner/walk.h"

static const struct {
    void (*begin)(kv_walk *w);
    kv_err (*push)(kv_walk *w, kv_cow *c);
    kv_err (*end)(kv_walk *w);
} walkers[] = {
    [KV_STRIP_JPEG] = {kv_jpeg_begin, kv_jpeg_push, kv_jpeg_end},
    [KV_STRIP_PNG] = {kv_png_begin, kv_png_push, kv_png_end},
    [KV_STRIP_WEBP] = {kv_webp_begin, kv_webp_push, kv_webp_end},
    [KV_STRIP_GIF] = {kv_gif_begin, kv_gif_push, kv_gif_end},
};

void kv_walk_begin(kv_walk *w, kv_strip type, bool blank)
{
    *w = (kv_walk){.type = type, .blank = blank && type != KV_STRIP_GIF};
    w->exif.orientation = 1;
    if (type != KV_STRIP_NONE)
        walkers[type].begin(w);
}

kv_err kv_walk_push(kv_walk *w, const void *in, size_t len, kv_cow *c)
{
    kv_cow_begin(c, in, len, w->held, w->held_len, !w->blank);
    w->held_len = 0;
    if (w->type == KV_STRIP_NONE || len == 0)
        return KV_OK;
    kv_err err = walkers[w->type].push(w, c);
    return err == KV_OK && c->failed ? KV_E_NO_MEMORY : err;
}

kv_err kv_walk_end(kv_walk *w)
{
    return w->type == KV_STRIP_NONE ? KV_OK : walkers[w->type].end(w);
}

void kv_walk_dimensions(const kv_walk *w, uint32_t *ret_width, uint32_t *ret_height)
{
    bool turned = w->exif.orientation >= 5;
    *ret_width = turned ? w->height : w->width;
    *ret_height = turned ? w->width : w->height;
}
