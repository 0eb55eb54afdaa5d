/* blob.variants, read: a JSON array of flat objects that the image worker made (see media.h). Pure;
 * any thread. */
#ifndef KV_STORAGE_READ_VARIANTS_H
#define KV_STORAGE_READ_VARIANTS_H

#include <stdint.h>

#include "proto/base/error.h"
#include "proto/base/slice.h"

#define KV_VARIANTS_MAX 64 /* of a blob */

typedef struct kv_variant {
    kv_slice format, params; /* "webp", "q80e4-1a2b3c": point into the JSON */
    uint64_t width, height, size;
    bool full; /* full size: its URL has no width */
} kv_variant;

/* Takes the next object off *rest, which starts as the whole array. *ret_have false: there was none
 * left (also for an empty *rest). BAD_MESSAGE: not such an array. */
kv_err kv_variant_next(kv_slice *rest, kv_variant *ret, bool *ret_have);

#endif
