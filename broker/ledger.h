/* The ledger: the writing database handle, and the thread that executes on it what it is given.
 *
 * It takes all commands that came while the last transaction ran (bounded), executes them as one,
 * commits, and only then hands them back with the events of the commit: group commit without a
 * timer. An unexpected error rolls the batch back and replays it command by command, each in its
 * own transaction, so that one bad command fails alone; where the disk refuses several in a row,
 * the rest of the batch fails with them. Nothing of a failed one is kept, and later ones are tried
 * again: full disks and failing syncs heal without a restart. When it is idle it removes what
 * retention no longer keeps, and after a failure it writes a little each second to see whether that
 * is over. */
#ifndef KV_BROKER_LEDGER_H
#define KV_BROKER_LEDGER_H

#include "broker/command.h"
#include "broker/exec.h"

typedef struct kv_ledger kv_ledger;

/* Opens the database, migrates it, counts the epoch up. The thread does not run yet. */
kv_err kv_ledger_open(const kv_config *cfg, const kv_clock *clock, kv_ledger **ret);
uint64_t kv_ledger_epoch(const kv_ledger *l);
/* Until kv_ledger_start: the handle, to read what the core needs, and the counters. */
kv_db *kv_ledger_db(kv_ledger *l);
void kv_ledger_heads(const kv_ledger *l, uint64_t *ret_last_event, uint64_t *ret_gone_seq);
kv_err kv_ledger_start(kv_ledger *l);

/* Gives commands away, in order; empties the list. `more` of the same round follow at once (a call
 * with false, maybe empty, ends it): what is there of them when these are executed joins their
 * transaction. One thread. */
void kv_ledger_give(kv_ledger *l, kv_cmd_list *cmds, bool more);

/* Where nothing was given that is not executed yet, its caller may execute commands itself: after a
 * true kv_ledger_try, with one kv_ledger_run, which ends when they are committed and empties the
 * list. What came of them is taken as ever, but without kv_ledger_fd becoming readable for it. */
bool kv_ledger_try(kv_ledger *l);
void kv_ledger_run(kv_ledger *l, kv_cmd_list *cmds);

/* What one or more commits brought. */
typedef struct kv_ledger_out {
    kv_cmd_list cmds;   /* the taker's */
    kv_event_row *rows; /* the taker frees them with kv_event_rows_free */
    uint64_t last_event, gone_seq;
    kv_err health; /* of the last transaction */
} kv_ledger_out;
int kv_ledger_fd(const kv_ledger *l); /* readable when there is something to take */
bool kv_ledger_take(kv_ledger *l, kv_ledger_out *ret); /* false: nothing now */

/* For the checkpoint thread: bytes the log holds; how many of them are in the database (-1: not
 * known). */
int64_t kv_ledger_log_used(const kv_ledger *l);
void kv_ledger_log_copied(kv_ledger *l, int64_t bytes);

/* Executes all that was given, ends the thread; what came of it can still be taken. */
void kv_ledger_stop(kv_ledger *l);
void kv_ledger_close(kv_ledger **l);

#endif
