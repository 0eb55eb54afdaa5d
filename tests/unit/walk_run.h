/* Runs a walker over a whole file cut into pieces, as the scanner does. For tests and fuzz targets.
 */
#ifndef KV_TESTS_WALK_RUN_H
#define KV_TESTS_WALK_RUN_H

#include <stdlib.h>
#include <string.h>

#include "actors/scanner/walk.h"

typedef struct walked {
    kv_err err;
    uint8_t *bytes; /* kept, malloc */
    size_t len;
    uint32_t width, height;
    uint8_t orientation;
} walked;

/* `step` bytes a piece; 0: pieces of 1, 2, 3 … bytes. Kept bytes go on even if the end is refused.
 */
static inline walked walk_run(kv_strip type, bool blank, const uint8_t *in, size_t len, size_t step)
{
    walked r = {.bytes = malloc(len + 1)};
    kv_walk w;
    size_t round = 0;
    kv_walk_begin(&w, type, blank);
    for (size_t at = 0; at < len && r.err == KV_OK;) {
        size_t n = step ? step : ++round;
        n = n < len - at ? n : len - at;
        uint8_t *piece = malloc(n); /* of its own, so that a read outside is seen */
        memcpy(piece, in + at, n);
        kv_cow c;
        r.err = kv_walk_push(&w, piece, n, &c);
        if (r.err == KV_OK) {
            memcpy(r.bytes + r.len, c.copy ? c.copy : piece, c.keep);
            r.len += c.keep;
        }
        kv_cow_release(&c);
        free(piece);
        at += n;
    }
    if (r.err == KV_OK)
        r.err = kv_walk_end(&w);
    kv_walk_dimensions(&w, &r.width, &r.height);
    r.orientation = w.exif.orientation;
    return r;
}

#endif
