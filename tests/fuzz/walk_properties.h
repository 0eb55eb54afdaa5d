/* What holds for every walker and every input: the result does not depend on how the stream is cut,
 * never grows, and a walk over a result changes nothing any more; looking only changes nothing at
 * all. */
#ifndef KV_TESTS_WALK_PROPERTIES_H
#define KV_TESTS_WALK_PROPERTIES_H

#include "tests/unit/walk_run.h"

static inline void demand(bool ok)
{
    if (!ok)
        abort();
}

static inline void walk_properties(kv_strip type, const uint8_t *data, size_t size)
{
    static const size_t steps[] = {0, 1, 7};
    walked whole = walk_run(type, true, data, size, size);
    demand(whole.len <= size);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        walked w = walk_run(type, true, data, size, steps[i]);
        demand(w.err == whole.err);
        if (w.err == KV_OK) {
            demand(w.len == whole.len && memcmp(w.bytes, whole.bytes, w.len) == 0);
            demand(w.width == whole.width && w.height == whole.height);
            demand(w.orientation == whole.orientation);
        }
        free(w.bytes);
    }
    walked look = walk_run(type, false, data, size, 3);
    demand(look.err == whole.err);
    demand(look.err != KV_OK || (look.len == size && memcmp(look.bytes, data, size) == 0));
    free(look.bytes);
    if (whole.err == KV_OK) {
        walked again = walk_run(type, true, whole.bytes, whole.len, 5);
        demand(again.err == KV_OK && again.len == whole.len);
        demand(memcmp(again.bytes, whole.bytes, whole.len) == 0);
        demand(again.orientation == whole.orientation);
        free(again.bytes);
    }
    free(whole.bytes);
}

#endif
