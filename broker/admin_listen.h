/* The admin socket in the file system. */
#ifndef KV_BROKER_ADMIN_LISTEN_H
#define KV_BROKER_ADMIN_LISTEN_H

#include "proto/base/error.h"

/* A listening unix socket at `path`, mode 0600, non-blocking. A socket that stands there is
 * replaced if nobody listens on it. Errors as kv_admin_start, logged. */
kv_err kv_admin_listen(const char *path, int *ret_fd);
void kv_admin_unlisten(const char *path, int fd);

#endif
