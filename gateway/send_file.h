/* A piece of a file as the body of an answer, from the page cache to the socket (sendfile(2)): it
 * is never copied into our memory. h2o 2.2.5 writes heads and knows buffers only, so between head
 * and end of the answer the socket's writing is done here. Loop thread. */
#ifndef KV_GATEWAY_SEND_FILE_H
#define KV_GATEWAY_SEND_FILE_H

#include "gateway/static_cache.h"

/* Starts the answer (status, headers and content_length are set) and sends `len` > 0 bytes of `f`
 * from `at` on. `fd` is one opened for this answer, closed here; -1: the one `f` keeps. `f` is
 * linked to the request's pool. A file that ends early or cannot be read is logged and forgotten;
 * it, and a client that is gone, close the connection: the length is announced. */
void kv_send_file(h2o_req_t *req, kv_static_file *f, int fd, uint64_t at, uint64_t len);

#endif
