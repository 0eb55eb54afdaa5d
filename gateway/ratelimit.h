/* Token buckets per client address, in a table of fixed size. Any thread.
 *
 * A bucket holds `per_minute` tokens and fills evenly. IPv6 clients count by /64. When the table
 * has no room the bucket that is nearest to full in its set is forgotten: whoever is being limited
 * stays known longest. */
#ifndef KV_GATEWAY_RATELIMIT_H
#define KV_GATEWAY_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct kv_ratelimit kv_ratelimit;

typedef struct kv_rate_answer {
    bool allowed;
    uint64_t limit, remaining;
    uint64_t reset_s;        /* seconds until the bucket is full */
    uint64_t retry_after_ms; /* 0 when allowed */
} kv_rate_answer;

/* per_minute 0: everything is allowed. NULL: no memory. */
kv_ratelimit *kv_ratelimit_new(uint64_t per_minute);
void kv_ratelimit_destroy(kv_ratelimit **self);
/* Takes one token of `peer`. */
kv_rate_answer kv_ratelimit_take(kv_ratelimit *self, const struct sockaddr *peer, int64_t now_ms);

#endif
