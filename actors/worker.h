/* The worker process: `kervan worker image reaper …`. Blocks until SIGTERM; returns the exit
 * status. Names no actor: the table in worker.c lists those a worker process can run. */
#ifndef KV_ACTORS_WORKER_H
#define KV_ACTORS_WORKER_H

#include "proto/base/config.h"

int kv_worker_run(const kv_config *cfg, int signal_fd, int n, char *const *actor_names);

#endif
