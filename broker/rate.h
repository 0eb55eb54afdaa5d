/* The token bucket of a rate a minute, kept as the time at which it is full again: each start moves
 * that by one interval. A burst is a sixth of the rate, at least one. Times are monotonic. */
#ifndef KV_BROKER_RATE_H
#define KV_BROKER_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* Takes a token. True: that was the last one for now. */
bool kv_rate_take(int64_t *full_ns, uint32_t rate, int64_t now_ms);
/* It was for nothing. True: there is none all the same. */
bool kv_rate_return(int64_t *full_ns, uint32_t rate, int64_t now_ms);
/* From when on there is a token; rounded up. */
int64_t kv_rate_free_ms(int64_t full_ns, uint32_t rate);
/* From when on there are all; rounded up. */
int64_t kv_rate_full_ms(int64_t full_ns);
/* When one may begin that has so many before it: ms from now. */
int64_t kv_rate_wait_ms(int64_t full_ns, uint32_t rate, uint64_t before, int64_t now_ms);

#endif
