/* One packet with descriptors over a SOCK_SEQPACKET pair. */
#ifndef KV_IMAGE_PASSFD_H
#define KV_IMAGE_PASSFD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define KV_PASS_FDS 3

/* Does not wait. false: not sent (peer gone, or its buffer is full); n is 0..KV_PASS_FDS. */
bool kv_pass_send(int socket, const void *bytes, size_t len, const int *fds, size_t n);
/* As recvmsg(2): bytes received, 0 at the end, -1. fds that did not come are -1; received ones are
 * CLOEXEC and the caller's. */
ssize_t kv_pass_receive(int socket, void *bytes, size_t len, int fds[KV_PASS_FDS]);

#endif
