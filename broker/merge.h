/* The deep merge of job metadata (Y08): objects merge, arrays and scalars replace, an absent key
 * never deletes, null sets null. Pure.
 *
 * Keys keep their order, new ones come behind. Numbers stay what they are (integers of 64 bits,
 * doubles); texts are written anew. */
#ifndef KV_BROKER_MERGE_H
#define KV_BROKER_MERGE_H

#include "proto/base/buf.h"
#include "proto/base/error.h"

enum { KV_MERGE_BYTES = 65536, KV_MERGE_DEPTH = 32 };
#define KV_MERGE_LIMITS                                                                            \
    "the metadata after merging is at most 65536 bytes and 32 levels deep, without a name twice "  \
    "in an object or with NUL, a number beyond int64 or a double, or half a surrogate pair"

/* Appends the merged object to `out`; `base` empty counts as {}. BAD_PARAMETER: not JSON objects,
 * a name twice in one or with NUL, a number beyond int64 or a double, half a surrogate pair, or a
 * result over KV_MERGE_BYTES or nested deeper than KV_MERGE_DEPTH; `out` is then as it was. */
kv_err kv_merge(kv_slice base, kv_slice patch, kv_buf *out);

#endif
