/* A connection to the admin socket, and replies as they stream in. For ctl*.c. */
#ifndef KV_TOOLS_CTL_REPLY_H
#define KV_TOOLS_CTL_REPLY_H

#include "proto/base/buf.h"

typedef enum kv_ctl_end {
    KV_CTL_OK,
    KV_CTL_ERROR, /* the broker answered with an error */
    KV_CTL_GONE,  /* there is no broker, or no longer */
    KV_CTL_SILENT /* it is there and does not answer */
} kv_ctl_end;

typedef struct kv_ctl_link {
    int fd; /* -1: none */
    char path[4096];
    /* of an end other than OK: a slug, and a sentence for people */
    char slug[64], why[8192];
    /* SILENT: the same in two parts */
    char what[256], remedy[256];
    /* the beginning of the line in hand, until it is clear what it is */
    char head[8192];
    size_t head_len;
    bool passing; /* the rest of the line in hand is data */
    char bytes[16384];
    size_t at, len;
} kv_ctl_link;

/* Connects to link->path. */
kv_ctl_end kv_ctl_connect(kv_ctl_link *link);
void kv_ctl_close(kv_ctl_link *link);
kv_ctl_end kv_ctl_send(kv_ctl_link *link, const char *line, size_t len); /* without its end */
/* Hands the data of one reply to `put` as it comes, to its end. A command may take as long as it
 * wants: in silence it is looked, over a second connection, whether the broker answers at all; if
 * not, SILENT after some 5 s. `until_line`: a line on stdin, or its end, is sent on as an empty
 * one: it ends `events follow`. */
kv_ctl_end kv_ctl_reply(kv_ctl_link *link, void (*put)(void *arg, const char *bytes, size_t len),
                        void *arg, bool until_line);

#endif
