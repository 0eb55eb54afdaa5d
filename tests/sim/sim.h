/* The broker simulated: the real core and the real commands of the ledger (on a database in
 * memory), with a fake clock, a fake network and a ledger that fails and crashes, from one seed. No
 * sockets, no threads: the same seed is the same history.
 *
 * sim.c: the world, its steps, the end. sim_net.c: connections that delay, break and lose.
 * sim_media.c and what it names: uploads, removals and their files, in one history of four.
 * sim_client.c: clients that submit, resend, cancel, retry; an operator. sim_worker.c: workers that
 * work, freeze, die and answer late. sim_check.c: what must hold. sim_state.c: of the core's own
 * counts, rows and leases. sim_places.c: the places of queues. */
#ifndef KV_TESTS_SIM_H
#define KV_TESTS_SIM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/core.h"
#include "broker/exec.h"

enum {
    SIM_CLIENTS = 3,
    SIM_WORKERS = 4,
    SIM_SERVICES = 9, /* names; the first ones have workers, the rest come and go */
    SIM_WORKED = 3,
    SIM_PLACES = 5, /* for services, in some histories */
    SIM_USERS = 3,
    SIM_TENANTS = 3,
    SIM_JOBS = 400, /* of one history */
    SIM_HELD = 32,  /* jobs in hand, and ended ones whose answer is on its way */
    SIM_ASKS = 12
};

typedef struct sim sim;
typedef struct sim_node sim_node;

/* A message on its way, encoded as on the wire. */
typedef struct sim_packet {
    struct sim_packet *next;
    int64_t at_ms; /* not delivered before */
    kv_header head;
    size_t len;
    uint8_t body[];
} sim_packet;

typedef struct sim_pipe {
    sim_packet *first, *last;
} sim_pipe;

/* One end of a connection: a client, the operator or a worker. In order both ways while it stands;
 * when it breaks what is in it is lost, and the next one has another routing id. */
struct sim_node {
    char name[16], peer[24], role[16];
    uint64_t instance, epoch; /* of this process; of its last HELLO_OK */
    bool session;             /* HELLO_OK came over this connection */
    int64_t beat_at, hello_at;
    int64_t frozen_until; /* does nothing until then */
    sim_pipe to_broker, to_node;
    void (*on_message)(sim *s, sim_node *n, const kv_header *head, const kv_msg *m);
    void (*on_session)(sim *s, sim_node *n);
};

/* A request that is sent again until it is answered. */
typedef struct sim_ask {
    uint64_t request; /* 0: free */
    uint16_t code;
    uint64_t job; /* it is about */
    int64_t again_at;
    int sent;
    sim_packet *packet; /* to copy */
} sim_ask;

typedef struct sim_client {
    sim_node node; /* first */
    sim_ask asks[SIM_ASKS];
} sim_client;

typedef struct sim_held {
    uint64_t job, epoch, attempt;
    int64_t ends_at;
    sim_ask answer;   /* DONE or FAIL on its way */
    uint64_t claim;   /* request of its LEASE_HELD; 0: none on its way */
    int64_t claim_at; /* that was told BUSY: once more; 0: it was not */
    bool stuck;       /* will never answer */
} sim_held;

typedef struct sim_worker {
    sim_node node; /* first */
    uint64_t credit;
    int service;
    bool both;             /* works for the next service, too */
    bool leaves;           /* as soon as it has something to do */
    uint64_t ready;        /* request of its READY */
    int64_t ready_at;      /* that was refused: once more; 0: it was not */
    sim_packet *old_ready; /* one before, to send again behind the newest; NULL: none */
    sim_packet *last_ready;
    int64_t newest_at; /* when that was said */
    uint64_t heard_ready[SIM_WORKED],
        heard_credit[SIM_WORKED]; /* of the newest that the broker got */
    sim_held held[SIM_HELD];
    int n;
} sim_worker;

/* What the outside knows of a job. */
typedef struct sim_fact {
    uint64_t id;
    int service;
    bool sent, acknowledged, refused;
    int asks;          /* SUBMITs and RETRYs of it that are not refused for good */
    bool cancel_ok;    /* CANCEL_OK came */
    bool done_ok;      /* OKAY to a JOB_DONE came */
    int terminals;     /* terminal events */
    int last_terminal; /* KV_JOB_… */
    int last_state;    /* of its events; -1: none yet */
    uint64_t credits;
    int user; /* -1: none */
    uint64_t max_attempts, backoff_ms;
    bool waited;      /* before the input being handled: in a lane */
    int before_state; /* before it: as kv_core_job_state */
    uint64_t before_attempt;
    uint64_t sent_attempt; /* of its last JOB */
} sim_fact;

struct sim {
    uint64_t seed, random, step;
    kv_fake_clock clock;
    kv_exec x;
    kv_core *core;
    kv_cmd_list at_ledger, committed; /* given; done and not yet taken by the core */
    int failures;                     /* percent of commits that fail */
    int lossy;                        /* of a thousand steps, broken connections */
    uint64_t dies_at;                 /* everything, at this step; 0: not planned */
    bool calm;                        /* the end: all works, nothing fails */
    bool steps_date;                  /* somebody sets the clock */
    int64_t date_off;                 /* ms, of what it was set by */
    bool held_back;                   /* an operator has set limits or paused */
    bool trace;
    struct sim_media *media; /* NULL: a history without files */
    uint64_t next_request, next_instance, next_peer;
    sim_client clients[SIM_CLIENTS];
    sim_worker workers[SIM_WORKERS];
    sim_fact facts[SIM_JOBS];
    int facts_n;
    uint64_t granted[SIM_USERS];
    /* order of dispatch: waiting jobs by rank before the input being handled */
    uint64_t *before[SIM_SERVICES];
    uint32_t before_n[SIM_SERVICES];
    uint64_t commits, restarts, begun, given_back, waited; /* the last: given back, with a wait */
};

extern const char *const sim_service[SIM_SERVICES];

/* Ends the program with the seed and the step to replay. */
#define SIM_HOLDS(s, cond, ...)                                                                    \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "\nseed %llu, step %llu: ", (unsigned long long)(s)->seed,             \
                    (unsigned long long)(s)->step);                                                \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\n  (%s, %s:%d)\n  replay: KV_SIM_SEED=%llu KV_SIM_TRACE=1\n", #cond, \
                    __FILE__, __LINE__, (unsigned long long)(s)->seed);                            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* ---- sim.c ---- */
uint64_t sim_pick(sim *s, uint64_t n); /* 0 … n-1 */
bool sim_chance(sim *s, unsigned in_thousand);
kv_now sim_now(const sim *s);
int64_t sim_ms(const sim *s); /* monotonic */

/* ---- sim_net.c ---- */
void sim_connect(sim *s, sim_node *n); /* anew; what was on its way is lost */
uint64_t sim_send(sim *s, sim_node *n, const kv_msg *m,
                  uint64_t request); /* request 0: a new one */
void sim_hello(sim *s, sim_node *n);
void sim_beat(sim *s, sim_node *n, uint64_t busy); /* when it is due */
void sim_broker_sends(void *arg, kv_slice peer, uint64_t request, const kv_msg *m); /* the core's */
bool sim_deliver(sim *s, sim_node *n, bool to_broker); /* one packet that is due; false: none */
void sim_broker_died(sim *s, sim_node *n);
void sim_node_release(sim_node *n);
void sim_disconnect(sim_node *n); /* nothing comes any more, until it connects anew */
sim_packet *sim_packet_new(sim *s, const kv_msg *m, uint64_t request);
void sim_post(sim *s, sim_node *n, const sim_packet *p); /* a copy, to the broker */
void sim_ask_begin(sim *s, sim_node *n, sim_ask *ask, const kv_msg *m, uint64_t job);
void sim_ask_anew(sim *s, sim_ask *ask, int64_t ms); /* under a new request id */
void sim_ask_again(sim *s, sim_node *n, sim_ask *ask, bool now);
void sim_ask_end(sim_ask *ask);
sim_node *sim_node_at(sim *s, int i); /* all of them; NULL behind the last */

/* ---- sim_client.c, sim_worker.c ---- */
void sim_client_init(sim *s, sim_client *c, int i);
void sim_client_step(sim *s, sim_client *c); /* something new, or what is due */
void sim_client_release(sim_client *c);
void sim_grant(sim *s);   /* credits to the users */
void sim_unsteer(sim *s); /* takes back what the operator has set */
void sim_worker_init(sim *s, sim_worker *w, int i);
void sim_worker_step(sim *s, sim_worker *w);
void sim_worker_die(sim *s, sim_worker *w);
void sim_worker_release(sim_worker *w);
/* NULL: it is another kind of node. */
sim_worker *sim_worker_named(sim *s, const char *name);
uint64_t sim_worker_credit(const sim_worker *w, const char *service); /* as it said last */
void sim_worker_heard(sim *s, const sim_node *n, const kv_header *head, const kv_msg *m);
void sim_worker_told_stale(sim *s, const sim_node *n, uint64_t request);

/* ---- sim_places.c ---- */
void sim_check_places(sim *s);
void sim_cancel_unworked(sim *s); /* what no worker will ever take */

/* ---- sim_state.c ---- */
void sim_check_counts(sim *s);
void sim_check_rows(sim *s);                /* of the jobs about which nothing is at the ledger */
void sim_check_start(sim *s, uint64_t job); /* as the core gives its lease away */
void sim_check_job_sent(sim *s, const kv_job *m);
void sim_check_stale(sim *s, uint64_t job, uint64_t epoch, uint64_t attempt);

/* ---- sim_check.c ---- */
int64_t sim_number(sim *s, const char *sql); /* a literal: statements are kept by its address */
sim_fact *sim_fact_of(sim *s, uint64_t job);
sim_fact *sim_fact_new(sim *s, uint64_t job,
                       int service); /* the one that is there, or a new one; NULL: enough */
void sim_check_events(sim *s, const kv_event_row *rows);
void sim_check_move(sim *s, const kv_cmd_move *m); /* as the core gives it away */
void sim_check_positions(sim *s);
void sim_check_money(sim *s);
void sim_check_tables(sim *s);
void sim_order_before(sim *s); /* before an input of the core */
void sim_order_after(sim *s);
void sim_check_idle(sim *s, const char *when);
void sim_check_end(sim *s);

#endif
