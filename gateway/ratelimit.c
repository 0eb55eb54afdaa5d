#include "gateway/ratelimit.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SETS 1024
#define WAYS 4
#define UNIT 60000 /* units of a token: a bucket fills by `per_minute` units a millisecond */

typedef struct bucket {
    uint64_t key; /* 0: free */
    uint64_t units;
    int64_t at_ms; /* when `units` was right */
} bucket;

struct kv_ratelimit {
    uint64_t per_minute, secret;
    pthread_mutex_t lock;
    bucket table[SETS][WAYS];
};

kv_ratelimit *kv_ratelimit_new(uint64_t per_minute)
{
    kv_ratelimit *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->per_minute = per_minute;
    if (getrandom(&r->secret, sizeof(r->secret), 0) != sizeof(r->secret))
        r->secret = (uintptr_t)r;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void kv_ratelimit_destroy(kv_ratelimit **self)
{
    if (*self == NULL)
        return;
    pthread_mutex_destroy(&(*self)->lock);
    free(*self);
    *self = NULL;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Never 0. */
static uint64_t key_of(const kv_ratelimit *r, const struct sockaddr *peer)
{
    uint64_t v = 0;
    if (peer->sa_family == AF_INET) {
        memcpy(&v, &((const struct sockaddr_in *)peer)->sin_addr, 4);
        v |= 1ull << 40;
    } else if (peer->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)peer)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(a)) {
            memcpy(&v, a->s6_addr + 12, 4);
            v |= 1ull << 40;
        } else {
            memcpy(&v, a->s6_addr, 8);
        }
    }
    return mix(v ^ r->secret) | 1;
}

static uint64_t filled(const kv_ratelimit *r, const bucket *b, int64_t now_ms)
{
    uint64_t full = r->per_minute * UNIT;
    uint64_t passed = now_ms > b->at_ms ? (uint64_t)(now_ms - b->at_ms) : 0;
    if (passed >= UNIT) /* a minute fills it */
        return full;
    uint64_t units = b->units + passed * r->per_minute;
    return units < full ? units : full;
}

static bucket *find(kv_ratelimit *r, uint64_t key, int64_t now_ms)
{
    bucket *set = r->table[key >> 1 & (SETS - 1)], *fullest = set;
    for (int i = 0; i < WAYS; i++)
        if (set[i].key == key)
            return &set[i];
    for (int i = 0; i < WAYS; i++) {
        if (set[i].key == 0) {
            fullest = &set[i];
            break;
        }
        if (filled(r, &set[i], now_ms) > filled(r, fullest, now_ms))
            fullest = &set[i];
    }
    *fullest = (bucket){.key = key, .units = r->per_minute * UNIT, .at_ms = now_ms};
    return fullest;
}

kv_rate_answer kv_ratelimit_take(kv_ratelimit *r, const struct sockaddr *peer, int64_t now_ms)
{
    kv_rate_answer a = {.allowed = true, .limit = r->per_minute};
    if (r->per_minute == 0)
        return a;
    pthread_mutex_lock(&r->lock);
    bucket *b = find(r, key_of(r, peer), now_ms);
    b->units = filled(r, b, now_ms);
    b->at_ms = now_ms;
    a.allowed = b->units >= UNIT;
    if (a.allowed)
        b->units -= UNIT;
    else
        a.retry_after_ms = (UNIT - b->units + r->per_minute - 1) / r->per_minute;
    a.remaining = b->units / UNIT;
    uint64_t missing = r->per_minute * UNIT - b->units;
    a.reset_s = (missing / r->per_minute + 999) / 1000;
    pthread_mutex_unlock(&r->lock);
    return a;
}
