/* What the files of the jobs client share. For proto/ only. */
#ifndef KV_JOBS_STATE_H
#define KV_JOBS_STATE_H

#include "proto/client.h"
#include "proto/jobs_client.h"

struct kv_job_client {
    void *zmq;
    kv_client *client;
    char *broker, *events;
    const volatile sig_atomic_t *stop;
    int64_t timeout_ms;
    uint64_t last_event; /* of the last HELLO_OK */
    uint64_t sessions;   /* begun so far */
    char detail[KV_DETAIL_MAX + 1];
    bool for_now; /* the last call ended because its time was up: it may be made again */
    /* POSITIONS that were pushed */
    void (*on_positions)(void *arg, kv_slice json);
    void *on_positions_arg;
};

/* Reads an OKAY of the right kind; slices live during the call. */
typedef kv_err (*kv_job_client_take_fn)(void *arg, const kv_msg *answer);
/* Asks and waits for the answer. */
kv_err kv_job_client_ask(kv_job_client *self, const kv_msg *m, kv_job_client_take_fn take,
                         void *arg);
/* Lets the session live until `until_us` (monotonic), or until `socket` (NULL: none) is readable or
 * something was done for the session. DRAINING: stopped. */
kv_err kv_job_client_turn(kv_job_client *self, void *socket, int64_t until_us);

/* $NAME, else "ipc://$KERVAN_DATA/run/<file>"; the caller's to free. NULL: no memory. */
char *kv_job_client_endpoint(const char *given, const char *name, const char *file);

/* ---- jobs_text.c ---- */
bool kv_job_text_fits(kv_slice text, size_t limit); /* UTF-8 of at most so many bytes */
bool kv_job_submit_fits(const kv_submit *job);      /* all fields within their limits */
/* As much of the text as a `detail` holds; what is not UTF-8 becomes "?". */
void kv_job_detail_set(char out[KV_DETAIL_MAX + 1], const char *text);

#endif
