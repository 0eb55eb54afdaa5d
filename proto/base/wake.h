/* A descriptor by which any thread wakes the one that waits for it in a poll: an eventfd. Closed
 * with close. */
#ifndef KV_BASE_WAKE_H
#define KV_BASE_WAKE_H

#include <stdbool.h>

int kv_wake_open(void);     /* -1: no descriptor left; errno says why */
void kv_wake(int fd);       /* readable from now on; any thread */
bool kv_wake_taken(int fd); /* whether it was readable: it is not any more */

#endif
