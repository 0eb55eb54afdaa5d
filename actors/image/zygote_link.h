/* The actor's end of the zygote: start it, give orders, hear what became of them. One thread;
 * nothing blocks but kv_zygote_await. */
#ifndef KV_IMAGE_ZYGOTE_LINK_H
#define KV_IMAGE_ZYGOTE_LINK_H

#include <stdbool.h>
#include <sys/types.h>

#include "actors/image/wire.h"
#include "proto/base/error.h"

typedef struct kv_zygote {
    pid_t pid; /* 0: none */
    int fd;    /* control socket, non-blocking; -1: none. Readable: kv_zygote_take */
    char versions[KV_IMAGE_VERSIONS]; /* of the last one that said hello */
} kv_zygote;

/* Runs this program again as `image-zygote`: a process with threads cannot fork a usable child. IO,
 * NO_MEMORY. */
kv_err kv_zygote_start(kv_zygote *z);
/* Waits for its hello, at most timeout_ms. TIMEOUT, IO (it ended). */
kv_err kv_zygote_await(kv_zygote *z, int timeout_ms);
/* fds: source, output, report; they stay the caller's. BUSY: its socket is full; IO: it is gone. */
kv_err kv_zygote_run(kv_zygote *z, const kv_image_order *order, const int fds[3]);
void kv_zygote_kill_child(kv_zygote *z, uint64_t id);
/* 1: an event (HELLO is kept inside and not given), 0: none now, -1: the zygote is gone
 * (kv_zygote_stop it). */
int kv_zygote_take(kv_zygote *z, kv_image_event *ret);
/* Ends it and, through it, its children; reaps it. Nothing when there is none. */
void kv_zygote_stop(kv_zygote *z);

#endif
