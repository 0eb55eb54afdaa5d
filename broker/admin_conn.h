/* What the admin thread is made of: its loop (admin.c) and the ends of its calls (admin_call.c).
 * That thread only. */
#ifndef KV_BROKER_ADMIN_CONN_H
#define KV_BROKER_ADMIN_CONN_H

#include <pthread.h>
#include <sys/types.h>

#include "broker/admin.h"
#include "broker/admin_cmd.h"
#include "broker/admin_gauge.h"
#include "proto/client.h"

enum { KV_ADMIN_CONNS = 16 };

typedef struct kv_admin_conn kv_admin_conn;

/* A question to the broker under way; its connection may go meanwhile. */
typedef struct kv_admin_question {
    kv_admin_conn *conn; /* NULL: nobody waits any more */
    kv_admin *admin;
    kv_admin_answer_fn fn;
    bool any;
    struct kv_admin_question *prev, *next;
} kv_admin_question;

struct kv_admin_conn {
    kv_admin *admin;
    int fd; /* -1: free */
    uid_t uid;
    pid_t pid;
    kv_admin_input in;
    kv_buf out;
    size_t out_at; /* sent so far */
    bool busy;     /* `call` is under way */
    bool closing;  /* once all is sent */
    int64_t active_ms;
    kv_admin_question *ask;
    kv_admin_call call;
};

struct kv_admin {
    const kv_config *cfg;
    const kv_clock *clock;
    void *zmq;
    int listen_fd, wake_fd;
    pthread_t thread;
    kv_client *client; /* from the first question on */
    kv_db *db;         /* from the first list on */
    kv_id_maker ids;
    kv_admin_question *asks;
    kv_dead_gauge dead;
    int64_t next_gauge_ms;
    int64_t accept_again_ms; /* not before; 0: at any time */
    bool accept_failed;      /* the last one; said once */
    kv_admin_conn conns[KV_ADMIN_CONNS];
};

/* Ends the call, without a word of its own. */
void kv_admin_end(kv_admin_call *call);
/* The connection goes: the broker's answer to its question finds nobody. */
void kv_admin_ask_drop(kv_admin_conn *c);
/* All questions, when the thread ends. */
void kv_admin_asks_free(kv_admin *a);

#endif
