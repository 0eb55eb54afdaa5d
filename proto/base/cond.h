/* A condition variable whose timed waits go by the monotonic clock, which nobody sets back. Each
 * thread that owns one. */
#ifndef KV_BASE_COND_H
#define KV_BASE_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* False: no memory for it. Ended with pthread_cond_destroy. */
bool kv_cond_init(pthread_cond_t *cond);
/* For pthread_cond_timedwait on one of these: so many ms (0 or more) from now. */
struct timespec kv_cond_in_ms(long ms);

#endif
