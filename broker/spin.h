/* Whether the loop looks again for a while before it sleeps (docs/decisions/0024). What is likely
 * to pay is learned: it goes on while at least every second look is met by something, as adaptive
 * mutexes do.
 */
#ifndef KV_BROKER_SPIN_H
#define KV_BROKER_SPIN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    KV_SPIN_US = 150, /* a commit on a fast disk, or a peer's next request */
    KV_SPIN_BEST = 16,
    KV_SPIN_PROBE = 64 /* waits between two tries when it does not pay */
};

typedef struct kv_spin {
    bool never; /* on a machine with one core it would keep off those it waits for */
    int worth;  /* 0: not now */
    int since;  /* waits since the last try */
} kv_spin;

/* Before a wait: look for up to KV_SPIN_US? When it is not worth it, it is tried now and again all
 * the same. */
static inline bool kv_spin_try(kv_spin *s)
{
    if (s->never)
        return false;
    if (s->worth > 0 || ++s->since >= KV_SPIN_PROBE) {
        s->since = 0;
        return true;
    }
    return false;
}

/* After one that was tried: did something come? */
static inline void kv_spin_learn(kv_spin *s, bool paid)
{
    s->worth += paid ? 1 : -1;
    if (s->worth > KV_SPIN_BEST)
        s->worth = KV_SPIN_BEST;
    if (s->worth < 0)
        s->worth = 0;
}

#endif
