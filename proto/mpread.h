/* A bounded msgpack reader: never allocates, never looks behind `end`, believes no announced size.
 */
#ifndef KV_MPREAD_H
#define KV_MPREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/slice.h"

typedef struct kv_mp_reader {
    const uint8_t *at, *end;
} kv_mp_reader;

typedef enum kv_mp_kind {
    KV_MP_NIL,
    KV_MP_BOOL,     /* number 0 or 1 */
    KV_MP_UINT,     /* number; any integer that is not negative, however it was packed */
    KV_MP_NEGATIVE, /* negative */
    KV_MP_FLOAT,    /* value not kept */
    KV_MP_STR,      /* bytes */
    KV_MP_BIN,      /* bytes */
    KV_MP_EXT,      /* bytes, without the type */
    KV_MP_ARRAY,    /* number of elements follow */
    KV_MP_MAP       /* number of pairs follow */
} kv_mp_kind;

typedef struct kv_mp_item {
    kv_mp_kind kind;
    uint64_t number;
    int64_t negative;
    kv_slice bytes;
} kv_mp_item;

/* Reads one item; of an array or map only its head. false: the bytes end too early, or 0xc1. */
bool kv_mp_next(kv_mp_reader *r, kv_mp_item *ret);
/* Skips one item with all that is in it, at most 8 levels deep. */
bool kv_mp_skip(kv_mp_reader *r);

#endif
