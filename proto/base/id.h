/* Ids: 63-bit, time-ordered, made without a round trip.
 *
 * bits 62..22 milliseconds since 2025-01-01T00:00:00Z (41 bits, until 2094), 21..12 node (10
 * bits), 11..0 counter. When the counter is used up within a millisecond the maker borrows from the
 * next one. Shown as 13 characters of Crockford base32 (lower case; decoding accepts either case
 * and i/l/o as 1/1/0). 0 is never a valid id. */
#ifndef KV_BASE_ID_H
#define KV_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/clock.h"
#include "proto/base/slice.h"

#define KV_ID_TEXT     13            /* characters, without the NUL */
#define KV_ID_EPOCH_MS 1735689600000 /* 2025-01-01T00:00:00Z: the ids begin here */

typedef struct kv_id_maker {
    uint64_t last_ms; /* of the last id, since the kervan epoch */
    uint32_t counter;
    uint32_t node; /* 0..1023; processes and threads that make ids at once need different ones */
} kv_id_maker;

void kv_id_maker_init(kv_id_maker *m, uint32_t node); /* the node is taken modulo 1024 */
/* The smallest id of that wall time; 0 before the ids began, one of 2094 after they ended. */
uint64_t kv_id_first_at(int64_t wall_ms);
uint64_t kv_id_make(kv_id_maker *m, const kv_clock *clock);
uint32_t kv_id_random_node(void); /* from getrandom(2) */

void kv_id_format(uint64_t id, char out[KV_ID_TEXT + 1]);
bool kv_id_parse(const char *text, size_t len, uint64_t *ret_id); /* false: not an id */

/* In lists of ids in messages: KV_ID_BYTES each, big end first. */
#define KV_ID_BYTES 8
void kv_id_put(char *list, size_t at, uint64_t id);
uint64_t kv_id_at(kv_slice list, size_t at);

#endif
