/* The frames of messages on ZeroMQ sockets: a header, a body, and what goes before or behind.
 * Nothing here waits, and an interrupted call goes on. The thread of the socket. */
#ifndef KV_FRAMES_H
#define KV_FRAMES_H

#include <zmq.h>

#include "proto/codec.h"

/* Frames 0 and 1 of `m`: the code is m's, all else of the header is from `head`. `ret_body` is
 * cleared first. False: no memory. */
bool kv_frames_encode(kv_header head, const kv_msg *m, uint8_t ret_head[KV_HEADER_SIZE],
                      kv_buf *ret_body);

/* False: not taken, errno says why (EAGAIN: the pipe is full). Behind an accepted first frame the
 * others of a message find room. */
bool kv_frame_send(void *socket, const void *bytes, size_t len, bool more);
bool kv_frame_send_msg(void *socket, zmq_msg_t *m, bool more); /* taken: `m` is empty */

/* One whole message into frames[0] to frames[max - 1], which the caller has initialised and closes;
 * of more the last ones are kept. How many it had; 0: none now. */
int kv_frames_receive(void *socket, zmq_msg_t *const *frames, int max);

#endif
