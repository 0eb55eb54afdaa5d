/* Actors outside their threads: the real handlers, with a session over the simulated network, and
 * letters among the actors of a process. Stands in for the actor shell and the client. */
#ifndef KV_TESTS_SIM_SHELL_H
#define KV_TESTS_SIM_SHELL_H

#include "proto/out.h"
#include "tests/sim/sim.h"

/* A message to an actor of the same process. */
typedef struct sim_letter {
    struct sim_letter *next;
    kv_header head;
    kv_buf body, payload;
} sim_letter;

typedef struct sim_box { /* from one sender to one actor: in order */
    sim_letter *first, *last;
} sim_box;

/* Encodes as the shell does; the content of `payload` (NULL: none) is moved. */
void sim_drop_letter(sim *s, sim_box *box, const kv_header *head, const kv_msg *m,
                     zmq_msg_t *payload);
sim_letter *sim_take_letter(sim_box *box); /* NULL: none */
void sim_letter_free(sim_letter *l);
void sim_box_clear(sim_box *box);

/* What was asked and is not answered yet. */
typedef struct sim_question {
    struct sim_question *next;
    uint64_t request;
    int64_t until_us, again_ms;
    sim_packet *packet;
    kv_out_answer_fn fn;
    void *arg;
} sim_question;

typedef struct sim_lease {
    uint64_t job, epoch, attempt;
} sim_lease;

enum { SIM_LEASES = 64 };

/* An actor and its session, if it has one. */
typedef struct sim_shell {
    kv_out out;    /* first */
    sim_node node; /* name "": no session */
    sim *s;
    const kv_actor_def *def;
    void *self;
    int process;
    void (*send)(struct sim_shell *sh, int peer, const kv_header *head, const kv_msg *m,
                 zmq_msg_t *payload);
    sim_question *first, *last;
    const char *service; /* of a worker */
    uint64_t credit;
    sim_lease leases[SIM_LEASES];
    int leases_n;
} sim_shell;

void sim_shell_init(sim *s, sim_shell *sh, const kv_actor_def *def, int process, const char *name,
                    const char *role);
void sim_shell_forget(sim_shell *sh); /* its process is dead: questions and leases go */

/* Runs what its process does; false: it was killed meanwhile. `fn` must not keep anything. */
typedef void (*sim_shell_fn)(sim_shell *sh, void *arg);
bool sim_shell_run(sim_shell *sh, sim_shell_fn fn, void *arg);

/* One letter through its handler. For a sim_shell_fn. */
void sim_shell_handle(sim_shell *sh, sim_letter *l);
/* Beats, asks again, lets questions expire, ticks. */
bool sim_shell_step(sim_shell *sh);
bool sim_shell_waits(const sim_shell *sh); /* for an answer */

#endif
