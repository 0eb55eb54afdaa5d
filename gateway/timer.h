/* Timers of a loop, by the monotonic clock: h2o's own go by the date, and that may be set. The
 * loop's thread; a timer belongs to who has it in a struct, which may go once it is cleared. */
#ifndef KV_GATEWAY_TIMER_H
#define KV_GATEWAY_TIMER_H

#include <stdbool.h>

#include "gateway/gateway.h"

/* How long: those that wait equally long are a row, the first one due first. */
typedef enum kv_wait {
    KV_WAIT_TURN,   /* none: behind what is read in the next turn of the loop */
    KV_WAIT_HEAD,   /* HEADER_TIMEOUT */
    KV_WAIT_IDLE,   /* KEEPALIVE_TIMEOUT */
    KV_WAIT_RATE,   /* between two looks at the rate of an upload */
    KV_WAIT_LINGER, /* of silence */
    KV_WAIT_ACCEPT, /* where descriptors were short */
    KV_WAITS
} kv_wait;

/* Zeros are one that is not set. */
typedef struct kv_timer {
    h2o_linklist_t link;
    int64_t due_ms; /* mono */
    void (*fn)(struct kv_timer *t);
} kv_timer;

typedef struct kv_timers {
    h2o_linklist_t rows[KV_WAITS];
    int64_t ms[KV_WAITS];
} kv_timers;

void kv_timers_init(kv_timers *self, const kv_config *cfg);
/* Calls what is due; what is set meanwhile is not, before the next call. */
void kv_timers_run(kv_timers *self, int64_t now_ms);
int64_t kv_timers_left(const kv_timers *self, int64_t now_ms, int64_t most); /* ms: 0 … most */

/* Anew where it is set already. */
void kv_timer_set(kv_loop *loop, kv_wait wait, kv_timer *t);
void kv_timer_clear(kv_timer *t);
bool kv_timer_is_set(const kv_timer *t);

#endif
