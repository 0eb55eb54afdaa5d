/* What every process does first: signals, no core files (secrets), telling the supervisor that it
 * is ready. */
#ifndef KV_BASE_PROCESS_H
#define KV_BASE_PROCESS_H

#include <stdbool.h>

/* RLIMIT_CORE 0, SIGPIPE ignored, SIGTERM, SIGINT and SIGHUP blocked and delivered through the
 * returned descriptor (signalfd, non-blocking, CLOEXEC); call before any thread. SIGHUP stays
 * ignored where it was. In a child of the supervisor (KERVAN_SUPERVISED: its pid) the process also
 * gets SIGTERM when its parent dies. -1: failed, logged. */
int kv_process_setup(const char *name);
/* Reads the descriptor; true once one of them came. */
bool kv_process_stop_asked(int signal_fd);
/* Writes a byte to the descriptor named by KERVAN_READY_FD and closes it; nothing when it is not
 * set. */
void kv_process_ready(void);

#endif
