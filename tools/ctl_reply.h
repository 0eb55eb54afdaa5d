/* A connection to the admin socket, and replies as they stream in. For ctl*.c. */
#ifndef KV_TOOLS_CTL_REPLY_H
#define KV_TOOLS_CTL_REPLY_H

#include "proto/base/buf.h"

enum { KV_CTL_OK = 0, KV_CTL_ERROR = 1, KV_CTL_GONE = 2 };

typedef struct kv_ctl_link {
    int fd;
    /* the beginning of the line in hand, until it is clear what it is */
    char head[8192];
    size_t head_len;
    bool passing; /* the rest of the line in hand is data */
    char bytes[16384];
    size_t at, len;
} kv_ctl_link;

/* Connects; complains on stderr and gives KV_CTL_GONE when it cannot. */
int kv_ctl_connect(kv_ctl_link *link, const char *path);
int kv_ctl_send(kv_ctl_link *link, const char *line, size_t len); /* without its end */
/* Hands the data of one reply to `put` as it comes, to its end. KV_CTL_ERROR: `link->head` has
 * "<slug> <sentence>". `until_line`: a line on stdin, or its end, is sent on as an empty one: it
 * ends `events follow`. */
int kv_ctl_reply(kv_ctl_link *link, void (*put)(void *arg, const char *bytes, size_t len),
                 void *arg, bool until_line);

#endif
