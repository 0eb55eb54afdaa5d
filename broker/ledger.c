#include "broker/ledger.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/tidy.h"
#include "proto/base/cond.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/wake.h"
#include "storage/backup.h"
#include "storage/room.h"

enum {
    BATCH_COMMANDS = 512,
    BATCH_EVENT_BYTES = 2 << 20, /* a batch ends above this, too */
    WAL_CHECK_COMMITS = 64,
    FORCE_REST = 20, /* a forced checkpoint that a reader kept waiting comes again after so many
                      * times what it took */
    IDLE_MS = 1000,  /* quiet this long: time to tidy up */
    LOOK_MS = 1000,
    FAILURES_IN_A_ROW = 3 /* of the machine: then the rest of a batch fails with them */
};
static const int64_t WAL_FORCE_BYTES = 256 << 20, LOG_ROOM = 24 << 20, LOG_LONG = 16 << 20,
                     LOG_LITTLE = 2 << 20;

struct kv_ledger {
    const kv_config *cfg;
    const kv_clock *clock;
    kv_exec x;
    pthread_t thread;
    bool running;
    int fd;
    /* shared, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    kv_cmd_list in;
    kv_ledger_out out;
    kv_event_row *out_last;
    bool in_more; /* the round that `in` ends with goes on */
    bool out_any, out_woken, stop;
    atomic_llong log_used, log_copied; /* shared with the checkpoint thread */
    /* whose turn it is to execute: the thread's, or kv_ledger_run's. All below is under it, and
     * x. Taken before the lock. */
    pthread_mutex_t turn;
    bool by_caller;    /* of kv_ledger_run, which takes the results itself */
    kv_cmd_list batch; /* being executed or waiting for the next transaction */
    bool batch_more;   /* in_more when it was taken */
    uint64_t commits;
    kv_err health; /* of the last transaction */
    kv_tidy tidy;
    int64_t next_look_ms, next_force_us; /* mono */
};

/* ---- results ---- */

static void append_rows(kv_ledger *l, kv_event_row *rows)
{
    if (!rows)
        return;
    if (l->out.rows)
        l->out_last->next = rows;
    else
        l->out.rows = rows;
    while (rows->next)
        rows = rows->next;
    l->out_last = rows;
}

/* There is something to take. Under the lock, so that a wake and its taking are one each: a wake
 * that came after its taking would leave the descriptor readable. */
static void mark_out(kv_ledger *l)
{
    l->out_any = true;
    if (l->out_woken || l->by_caller)
        return;
    l->out_woken = true;
    kv_wake(l->fd);
}

/* A transaction ended: its commands and events go to the loop. */
static void hand_over(kv_ledger *l, kv_cmd_list *done, kv_err health)
{
    pthread_mutex_lock(&l->lock);
    kv_cmd_append(&l->out.cmds, done);
    append_rows(l, kv_exec_take_rows(&l->x));
    l->out.last_event = l->x.last_event;
    l->out.gone_seq = l->x.gone_seq;
    l->out.health = l->health = health;
    mark_out(l);
    pthread_mutex_unlock(&l->lock);
}

/* A database that is gone is noticed although nothing is to be written. */
static void look_in_place(kv_ledger *l)
{
    int64_t now = kv_mono_ms(l->clock);
    if (now < l->next_look_ms)
        return;
    l->next_look_ms = now + LOOK_MS;
    (void)kv_db_in_place(l->x.db);
}

static void count_commit(kv_ledger *l, size_t n, uint64_t events_before, int64_t begun_us)
{
    kv_metric_observe_us(KV_M_COMMIT_SECONDS, kv_mono_us(l->clock) - begun_us);
    kv_metric_observe_size(KV_M_COMMIT_BATCH, (int64_t)n);
    kv_metric_add(KV_M_COMMIT_COMMANDS, (int64_t)n);
    kv_metric_add(KV_M_COMMITS, 1);
    kv_metric_add(KV_M_EVENTS, (int64_t)(l->x.last_event - events_before));
    l->commits++;
}

/* ---- transactions ---- */

/* One command in its own transaction. */
static kv_err run_alone(kv_ledger *l, kv_cmd *cmd)
{
    int64_t begun = kv_mono_us(l->clock);
    uint64_t events = l->x.last_event;
    kv_err err = kv_exec_begin(&l->x);
    if (err == KV_OK) {
        err = kv_exec_run(&l->x, cmd, NULL);
        if (err == KV_OK)
            err = kv_exec_commit(&l->x);
        else
            kv_exec_rollback(&l->x);
    }
    if (err == KV_OK) {
        count_commit(l, 1, events, begun);
        return KV_OK;
    }
    kv_cmd_reset(cmd);
    cmd->err = err;
    kv_metric_add(KV_M_COMMIT_FAILURES, 1);
    kv_log(KV_LOG_ERROR, "ledger_command_failed", KV_I64("command", cmd->type),
           KV_ERRNAME("code", err));
    return err;
}

static bool of_the_machine(kv_err err)
{
    return err == KV_E_DISK_FULL || err == KV_E_IO || err == KV_E_NO_MEMORY || err == KV_E_DB_MOVED;
}

static kv_err fail_too(kv_cmd *cmd, kv_err err)
{
    kv_cmd_reset(cmd);
    cmd->err = err;
    kv_metric_add(KV_M_COMMIT_FAILURES, 1);
    return err;
}

/* The handle stays after a failed write or sync: SQLite has rolled back, and the next commit writes
 * over the same place in the log. A new handle could take the failed frames for committed ones,
 * whose bytes the kernel has given up. */
static void replay(kv_ledger *l, kv_cmd_list *batch)
{
    int failures = 0;
    kv_err err = KV_OK;
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(batch));) {
        kv_cmd_list one = {.n = 0};
        err = failures < FAILURES_IN_A_ROW ? run_alone(l, cmd) : fail_too(cmd, err);
        failures = of_the_machine(err) ? failures + 1 : 0;
        kv_cmd_push(&one, cmd);
        hand_over(l, &one, err);
    }
}

/* Takes what came. Under the lock. */
static void take_in(kv_ledger *l)
{
    kv_cmd_append(&l->batch, &l->in);
    l->batch_more = l->in_more;
}

/* Is there another one to run? Before the last of an unfinished round is, what came since joins:
 * it may be its lease. */
static bool another(kv_ledger *l)
{
    if (l->batch_more && l->batch.n < 2) {
        pthread_mutex_lock(&l->lock);
        take_in(l);
        pthread_mutex_unlock(&l->lock);
    }
    return l->batch.first;
}

/* Runs commands from the front of the batch until a limit; *ret_done gets them. */
static kv_err run_some(kv_ledger *l, kv_cmd_list *ret_done)
{
    while (kv_exec_owes(&l->x) ||
           (another(l) && ret_done->n < BATCH_COMMANDS && l->x.event_bytes < BATCH_EVENT_BYTES)) {
        kv_cmd *cmd = kv_cmd_pop(&l->batch);
        kv_cmd_push(ret_done, cmd);
        KV_TRY(kv_exec_run(&l->x, cmd, l->batch.first));
    }
    return KV_OK;
}

static void run_batch(kv_ledger *l)
{
    kv_cmd_list done = {.n = 0};
    int64_t begun = kv_mono_us(l->clock);
    uint64_t events = l->x.last_event;
    kv_err err = kv_exec_begin(&l->x);
    if (err == KV_OK) {
        err = run_some(l, &done);
        if (err == KV_OK)
            err = kv_exec_commit(&l->x);
        else
            kv_exec_rollback(&l->x);
    }
    if (err == KV_OK) {
        count_commit(l, done.n, events, begun);
        hand_over(l, &done, KV_OK);
        return;
    }
    kv_log(KV_LOG_ERROR, "ledger_batch_failed", KV_U64("commands", done.n),
           KV_ERRNAME("code", err));
    if (!done.n) /* not even begun: its first command fails alone, or goes through */
        kv_cmd_push(&done, kv_cmd_pop(&l->batch));
    replay(l, &done);
}

/* Where nobody has anything to write any more, for it failed: whether it would do now. */
static void probe(kv_ledger *l)
{
    kv_cmd_list none = {.n = 0};
    kv_err err = kv_exec_probe(&l->x);
    hand_over(l, &none, err);
}

/* ---- the log ---- */

/* The checkpoint thread never catches up with a log that grows meanwhile, so the log would not
 * begin anew. What little it left is copied here, between two commits. */
static void finish_log(kv_ledger *l, int64_t used)
{
    int64_t copied = atomic_load(&l->log_copied); /* -1: nothing */
    if (used < LOG_LONG || copied > used || used - copied > LOG_LITTLE)
        return;
    atomic_store(&l->log_copied, -1);
    (void)kv_db_checkpoint(l->x.db, true, NULL);
}

static void bound_wal(kv_ledger *l)
{
    int64_t used = kv_db_wal_used(l->x.db);
    atomic_store(&l->log_used, used);
    if (kv_db_backup_runs()) /* its snapshot would be waited for in vain */
        return;
    finish_log(l, used);
    if (used <= WAL_FORCE_BYTES || l->commits % WAL_CHECK_COMMITS != 0)
        return;
    int64_t begun = kv_mono_us(l->clock);
    if (begun < l->next_force_us)
        return;
    kv_err err = kv_db_checkpoint(l->x.db, false, NULL);
    int64_t took = kv_mono_us(l->clock) - begun;
    l->next_force_us = begun + took * FORCE_REST;
    kv_log(KV_LOG_WARN, "wal_checkpoint_forced", KV_ERRNAME("code", err),
           KV_I64("ms", took / 1000));
}

/* Room in the log from the start on, where the disk has plenty. */
static void extend_log(kv_ledger *l)
{
    int64_t room = kv_space_at(l->cfg->data).bytes - (l->cfg->disk_reserve_mb << 20);
    if (room > LOG_ROOM * 16)
        (void)kv_db_wal_extend(l->x.db, LOG_ROOM); /* logged there; without it commits are slower */
}

/* ---- the thread ---- */

/* Until something came, or nothing for a while. False: stopped, and nothing is left. */
static bool wait_for_work(kv_ledger *l, bool left, bool more_to_tidy)
{
    struct timespec until = kv_cond_in_ms(kv_tidy_due_in_ms(&l->tidy, l->clock, IDLE_MS));
    int rc = 0;
    pthread_mutex_lock(&l->lock);
    while (!l->in.first && !left && !l->stop && !more_to_tidy && rc == 0)
        rc = pthread_cond_timedwait(&l->wake, &l->lock, &until);
    bool over = l->stop && !l->in.first && !left;
    pthread_mutex_unlock(&l->lock);
    return !over;
}

static void take_given(kv_ledger *l)
{
    pthread_mutex_lock(&l->lock);
    take_in(l);
    pthread_mutex_unlock(&l->lock);
}

/* True: some are left, for it is time to tidy up in between. */
static bool run_given(kv_ledger *l)
{
    while (l->batch.first) {
        run_batch(l);
        bound_wal(l);
        take_given(l);
        look_in_place(l);
        if (kv_tidy_due(&l->tidy, l->clock))
            break;
    }
    return l->batch.first;
}

static void *thread_main(void *arg)
{
    kv_ledger *l = arg;
    bool more = false, left = false;
    uint64_t commits = 0;
    pthread_setname_np(pthread_self(), "ledger");
    kv_tidy_wait(&l->tidy, l->clock);
    while (wait_for_work(l, left, more)) {
        pthread_mutex_lock(&l->turn);
        take_given(l);
        bool idle = !l->batch.first && l->commits == commits;
        look_in_place(l);
        if (idle && l->health != KV_OK)
            probe(l);
        if (idle || kv_tidy_due(&l->tidy, l->clock))
            more = kv_tidy_turn(&l->tidy, l->x.db, l->clock) && idle;
        left = run_given(l);
        commits = l->commits;
        pthread_mutex_unlock(&l->turn);
    }
    return NULL;
}

/* ---- what others call ---- */

static bool init_sync(kv_ledger *l)
{
    return kv_cond_init(&l->wake) && pthread_mutex_init(&l->lock, NULL) == 0 &&
           pthread_mutex_init(&l->turn, NULL) == 0;
}

kv_err kv_ledger_open(const kv_config *cfg, const kv_clock *clock, kv_ledger **ret)
{
    kv_ledger *l = calloc(1, sizeof *l);
    *ret = NULL;
    if (!l)
        return KV_E_NO_MEMORY;
    l->cfg = cfg;
    l->clock = clock;
    l->tidy.cfg = cfg;
    l->fd = kv_wake_open();
    kv_err err = l->fd >= 0 && init_sync(l) ? kv_exec_open(cfg, clock, &l->x) : KV_E_NO_MEMORY;
    if (err != KV_OK) {
        if (l->fd >= 0)
            close(l->fd);
        free(l);
        return err;
    }
    atomic_store(&l->log_copied, -1);
    extend_log(l);
    *ret = l;
    return KV_OK;
}

int64_t kv_ledger_log_used(const kv_ledger *l)
{
    return atomic_load(&l->log_used);
}

void kv_ledger_log_copied(kv_ledger *l, int64_t bytes)
{
    atomic_store(&l->log_copied, bytes);
}

uint64_t kv_ledger_epoch(const kv_ledger *l)
{
    return l->x.epoch;
}

kv_db *kv_ledger_db(kv_ledger *l)
{
    assert(!l->running);
    return l->x.db;
}

void kv_ledger_heads(const kv_ledger *l, uint64_t *ret_last_event, uint64_t *ret_gone_seq)
{
    *ret_last_event = l->x.last_event;
    *ret_gone_seq = l->x.gone_seq;
}

kv_err kv_ledger_start(kv_ledger *l)
{
    l->out.last_event = l->x.last_event;
    l->out.gone_seq = l->x.gone_seq;
    if (pthread_create(&l->thread, NULL, thread_main, l) != 0)
        return KV_E_NO_MEMORY;
    l->running = true;
    return KV_OK;
}

void kv_ledger_give(kv_ledger *l, kv_cmd_list *cmds, bool more)
{
    pthread_mutex_lock(&l->lock);
    bool wake = !l->in.first && cmds->first;
    kv_cmd_append(&l->in, cmds);
    l->in_more = more;
    pthread_mutex_unlock(&l->lock);
    if (wake) /* after the unlock: who is woken under it only waits for it */
        pthread_cond_signal(&l->wake);
}

bool kv_ledger_try(kv_ledger *l)
{
    if (pthread_mutex_trylock(&l->turn) != 0)
        return false;
    pthread_mutex_lock(&l->lock);
    bool busy = l->in.first || l->batch.first;
    pthread_mutex_unlock(&l->lock);
    if (busy)
        pthread_mutex_unlock(&l->turn);
    return !busy;
}

void kv_ledger_run(kv_ledger *l, kv_cmd_list *cmds)
{
    l->by_caller = true;
    l->batch_more = false;
    kv_cmd_append(&l->batch, cmds);
    while (l->batch.first)
        run_batch(l);
    bound_wal(l);
    l->by_caller = false;
    pthread_mutex_unlock(&l->turn);
}

int kv_ledger_fd(const kv_ledger *l)
{
    return l->fd;
}

bool kv_ledger_take(kv_ledger *l, kv_ledger_out *ret)
{
    pthread_mutex_lock(&l->lock);
    bool any = l->out_any;
    if (l->out_woken)
        kv_wake_taken(l->fd);
    *ret = l->out;
    l->out.cmds = (kv_cmd_list){.n = 0};
    l->out.rows = l->out_last = NULL;
    l->out_any = l->out_woken = false;
    pthread_mutex_unlock(&l->lock);
    return any;
}

void kv_ledger_stop(kv_ledger *l)
{
    if (!l->running)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    l->running = false;
}

void kv_ledger_close(kv_ledger **lp)
{
    kv_ledger *l = *lp;
    if (!l)
        return;
    kv_ledger_stop(l);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&l->out.cmds));)
        kv_cmd_free(&cmd);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&l->in));)
        kv_cmd_free(&cmd);
    kv_event_rows_free(&l->out.rows);
    kv_exec_close(&l->x);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    pthread_mutex_destroy(&l->turn);
    close(l->fd);
    free(l);
    *lp = NULL;
}
