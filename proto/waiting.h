/* The requests of a client that wait for answers: found by id, ordered by the time they were sent
 * and by the time they run out. One thread. */
#ifndef KV_WAITING_H
#define KV_WAITING_H

#include "proto/client.h"

typedef struct kv_request_out {
    uint64_t id;
    uint16_t code;
    kv_answer_fn fn;
    void *arg;
    int64_t until_us, sent_us; /* sent_us 0: not sent yet */
    size_t heap_at;
    struct kv_request_out *bucket_next;
    struct kv_request_out *prev, *next; /* in `sent` or `unsent` */
    size_t body_len;
    uint8_t bytes[]; /* header, then body */
} kv_request_out;

typedef struct kv_request_list {
    kv_request_out *first, *last;
} kv_request_list;

typedef struct kv_waiting {
    size_t count;
    kv_request_out **buckets;
    size_t bucket_count;    /* a power of two, or 0 */
    kv_request_out **heap;  /* least until_us first; as large as buckets */
    kv_request_list unsent; /* oldest first */
    kv_request_list sent;   /* longest ago first */
} kv_waiting;

/* Takes `r` in, unsent. NO_MEMORY: it stays the caller's. */
kv_err kv_waiting_add(kv_waiting *w, kv_request_out *r);
kv_request_out *kv_waiting_find(const kv_waiting *w, uint64_t id);
kv_request_out *kv_waiting_soonest(const kv_waiting *w); /* runs out first; NULL: empty */
/* Takes `r` out; it is the caller's to free. */
void kv_waiting_remove(kv_waiting *w, kv_request_out *r);
void kv_waiting_mark_sent(kv_waiting *w, kv_request_out *r, int64_t now_us);
void kv_waiting_mark_all_unsent(kv_waiting *w);
void kv_waiting_drop(kv_waiting *w, uint16_t code); /* frees those of this code, calls nothing */
void kv_waiting_release(kv_waiting *w);             /* frees everything, calls nothing */

#endif
