/* What commands of the admin socket share with its loop. Each module (admin_queues.c …) exports
 * one kv_admin_module; admin_commands.c lists them; `help` comes from the rows. The admin thread
 * only.
 *
 * A command is a call on one connection. Its function either ends it (kv_admin_ok, kv_admin_error),
 * or asks the broker, or asks to be called again, and ends it later; exactly one of these each time
 * it runs. What it keeps meanwhile hangs on `state`. */
#ifndef KV_BROKER_ADMIN_CMD_H
#define KV_BROKER_ADMIN_CMD_H

#include <jansson.h>

#include "broker/admin_line.h"
#include "broker/admin_text.h"
#include "proto/base/clock.h"
#include "proto/base/config.h"
#include "proto/base/id.h"
#include "proto/codec.h"
#include "storage/db.h"

typedef struct kv_admin_call kv_admin_call;
typedef void (*kv_admin_fn)(kv_admin_call *call);
typedef void (*kv_admin_answer_fn)(kv_admin_call *call, const kv_msg *answer);

typedef struct kv_admin_command {
    const char *name, *usage, *help; /* "pause", "SERVICE", "one line" */
    int words_min, words_max;        /* besides its name and its NAME=value words */
    const char *options;             /* "service,state": the NAMEs it takes; NULL: none */
    bool changes;                    /* is logged, with who asked */
    kv_admin_fn run;
} kv_admin_command;

typedef struct kv_admin_module {
    const char *title;
    const kv_admin_command *commands;
    int n;
} kv_admin_module;

extern const kv_admin_module kv_admin_queues, kv_admin_jobs, kv_admin_workers, kv_admin_events,
    kv_admin_credits, kv_admin_stats, kv_admin_doctor, kv_admin_backup, kv_admin_session;
extern const kv_admin_module *const kv_admin_modules[]; /* ended by NULL */
const kv_admin_command *kv_admin_find(kv_slice name);   /* NULL: there is none */
/* Whether the line's words fit the command; else `why` gets what is wrong. */
bool kv_admin_check(const kv_admin_command *command, const kv_admin_line *line, kv_buf *why);

struct kv_admin_call {
    const kv_config *cfg;
    const kv_clock *clock;
    kv_id_maker *ids;
    kv_admin_line line;
    const kv_admin_command *command;
    kv_buf *out;          /* of the connection */
    bool json;            /* -j */
    void *state;          /* the command's own */
    void (*drop)(void *); /* frees it when the call ends, however it ends; may be NULL */
    bool quit;            /* the connection is closed behind the reply */
    bool known, must;     /* kv_admin_with_queue */
    kv_admin_fn then;
    kv_slice wanted;
    /* the loop's */
    void *conn;
    kv_admin_fn again;
    int64_t again_at; /* mono ms */
    bool ended;
};

/* The i-th word behind the command's name that is not NAME=value; len 0: none. */
kv_slice kv_admin_word(const kv_admin_call *call, int i);
/* The value of NAME=value; ptr NULL: not given. */
kv_slice kv_admin_option(const kv_admin_call *call, const char *name);
/* A word as an id, or a number option (*ret stays where it is not given). False: the call has ended
 * with an error. */
bool kv_admin_id(kv_admin_call *call, kv_slice word, uint64_t *ret);
bool kv_admin_number_option(kv_admin_call *call, const char *name, uint64_t min, uint64_t max,
                            uint64_t *ret);
/* The i-th word, or any word, as the name of a queue. False: as above. */
bool kv_admin_service(kv_admin_call *call, int i, kv_slice *ret);
bool kv_admin_service_name(kv_admin_call *call, kv_slice word);

/* Whether the word is yes-<count>: good for what the operator saw and a tenth more, for queues go
 * on meanwhile. Without it the call ends with "confirm". */
bool kv_admin_agreed(kv_slice word, uint64_t count);

void kv_admin_ok(kv_admin_call *call);
/* A sentence (or {"ok":true}), and OK. */
void kv_admin_done(kv_admin_call *call, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Slugs of what was wrong with the line itself, which `kervan ctl` ends with 2 for: usage,
 * unknown_command, bad_parameter, bad_id, bad_line. */
void kv_admin_error(kv_admin_call *call, const char *slug, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void kv_admin_fail(kv_admin_call *call, kv_err err); /* its slug and sentence */

/* Sends `m`; `fn` gets the answer. An ERROR, or silence for `timeout_ms`, ends the call with it. */
void kv_admin_ask(kv_admin_call *call, const kv_msg *m, int64_t timeout_ms, kv_admin_answer_fn fn);
/* The same, but `fn` gets the ERROR, too, and NULL for silence. */
void kv_admin_ask_any(kv_admin_call *call, const kv_msg *m, int64_t timeout_ms,
                      kv_admin_answer_fn fn);
/* Calls `fn` once what was written is mostly read, not before `delay_ms` have passed. */
void kv_admin_again(kv_admin_call *call, int64_t delay_ms, kv_admin_fn fn);
/* The operator sent another line meanwhile: what goes on for ever ends now. */
bool kv_admin_interrupted(const kv_admin_call *call);
/* The reading handle; NULL: the call has ended with an error. */
kv_db *kv_admin_db(kv_admin_call *call);
kv_db *kv_admin_db_if(kv_admin_call *call); /* the same, but nothing ends */

/* JSON that the broker sent, parsed. NULL: the call has ended with an error. */
json_t *kv_admin_json(kv_admin_call *call, kv_slice text);
/* A value as one line of JSON. */
void kv_admin_dump(kv_admin_call *call, const json_t *value);

/* Waits for backups whose calls are over, before the thread ends: they leave nothing behind. */
void kv_admin_backups_end(void);

enum { KV_ADMIN_ASK_MS = 15000 };

#endif
