/* A file that one process at a time holds: who has it, runs, also where it is stopped or hangs. */
#ifndef KV_BASE_LOCK_H
#define KV_BASE_LOCK_H

#include "proto/base/error.h"

/* flock(2) on $data/run/<name>.lock, whose folders it makes. The kernel gives it up with the
 * process; close the descriptor (CLOEXEC) to do so earlier, the file stays. Does not wait.
 * CONFLICT: somebody else has it; IO: it cannot be had at all, why is in the log. */
kv_err kv_lock_take(const char *data, const char *name, int *ret_fd);

#endif
