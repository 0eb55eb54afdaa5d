/* `kervan up`: starts broker, gateway and worker as child processes, restarts what dies, drains on
 * SIGTERM.
 *
 * One supervisor a data folder (flock on $KERVAN_DATA/kervan.lock). Each child has its own process
 * group and gets SIGTERM when the supervisor dies. Exit status: 0 after a clean stop, 3 when
 * another kervan uses the folder, 1 otherwise. */
#ifndef KV_TOOLS_SUPERVISE_H
#define KV_TOOLS_SUPERVISE_H

#include "proto/base/config.h"

int kv_supervise(const kv_config *cfg, int signal_fd, bool readable);

#endif
