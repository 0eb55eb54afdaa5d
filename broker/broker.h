/* The broker process: `kervan broker`. Blocks until SIGTERM; returns the exit status. */
#ifndef KV_BROKER_H
#define KV_BROKER_H

#include "proto/base/config.h"

int kv_broker_run(const kv_config *cfg, int signal_fd);

#endif
