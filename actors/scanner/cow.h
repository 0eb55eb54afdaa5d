/* One chunk on its way through the walkers: read-only as received, copied when the first byte has
 * to change.
 *
 * Positions are those of the received chunk; bytes that the chunk before held back stand in front
 * of it at negative positions. Never grows: what is kept is at most `held` + `len` bytes. One
 * thread. */
#ifndef KV_ACTORS_SCANNER_COW_H
#define KV_ACTORS_SCANNER_COW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KV_COW_HELD_MAX 3

typedef struct kv_cow {
    const uint8_t *in; /* borrowed */
    size_t len;
    uint8_t *copy; /* held + len bytes, malloc; NULL while nothing differs */
    size_t held;   /* bytes in front, from the chunk before */
    size_t keep;   /* bytes of held + len that are kept */
    bool frozen;   /* changes are ignored: STRIP_ORIGINAL_METADATA=false */
    bool failed;   /* out of memory */
} kv_cow;

/* `held` bytes are copied; held_len at most KV_COW_HELD_MAX. */
void kv_cow_begin(kv_cow *c, const void *in, size_t len, const uint8_t *held, size_t held_len,
                  bool frozen);
void kv_cow_put(kv_cow *c, ptrdiff_t at, const void *bytes, size_t len);
void kv_cow_zero(kv_cow *c, ptrdiff_t at, size_t len);
void kv_cow_cut(kv_cow *c, ptrdiff_t at); /* nothing from `at` on is kept */
/* Takes the last `len` kept bytes off, for the next chunk. */
void kv_cow_hold(kv_cow *c, size_t len, uint8_t out[KV_COW_HELD_MAX]);
bool kv_cow_same(const kv_cow *c); /* kept is what was received */
void kv_cow_release(kv_cow *c);    /* frees the copy, if it was not taken */

#endif
