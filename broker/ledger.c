#include "broker/ledger.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "storage/write/events.h"
#include "storage/write/jobs.h"

enum {
    BATCH_COMMANDS = 512,
    BATCH_EVENT_BYTES = 2 << 20, /* a batch ends above this, too */
    WAL_CHECK_COMMITS = 64,
    IDLE_MS = 1000,          /* quiet this long: time to tidy up */
    TIDY_DUE_MS = 60 * 1000, /* never quiet: then now and again in between */
    TIDY_EVENT_ROWS = 100,
    TIDY_JOB_ROWS = 250,
    JOB_PASS_MS = 10 * 60 * 1000, /* between two walks over the old jobs */
    JOB_KEEP_DAYS = 7
};
static const int64_t WAL_FORCE_BYTES = 256 << 20;

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
    bool out_any, stop;
    /* of the thread */
    kv_cmd_list batch; /* being executed or waiting for the next transaction */
    uint64_t commits;
    int64_t next_tidy_ms, next_job_pass_ms;
    uint64_t job_cursor;
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

/* A transaction ended: its commands and events go to the loop. */
static void hand_over(kv_ledger *l, kv_cmd_list *done, kv_err health)
{
    uint64_t one = 1;
    pthread_mutex_lock(&l->lock);
    bool first = !l->out_any;
    kv_cmd_append(&l->out.cmds, done);
    append_rows(l, kv_exec_take_rows(&l->x));
    l->out.last_event = l->x.last_event;
    l->out.gone_seq = l->x.gone_seq;
    l->out.health = health;
    l->out_any = true;
    pthread_mutex_unlock(&l->lock);
    if (first && write(l->fd, &one, sizeof one) != sizeof one)
        kv_log(KV_LOG_ERROR, "ledger_wake_failed", KV_STR("why", "eventfd"));
}

static void count_commit(kv_ledger *l, size_t n, uint64_t events_before, int64_t begun_us)
{
    kv_metric_observe_us(KV_M_COMMIT_SECONDS, kv_mono_us(l->clock) - begun_us);
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
        err = kv_exec_run(&l->x, cmd);
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

static void replay(kv_ledger *l, kv_cmd_list *batch)
{
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(batch));) {
        kv_cmd_list one = {.n = 0};
        kv_err err = run_alone(l, cmd);
        kv_cmd_push(&one, cmd);
        hand_over(l, &one, err);
    }
}

/* Runs commands from the front of the batch until a limit; *ret_done gets them. */
static kv_err run_some(kv_ledger *l, kv_cmd_list *ret_done)
{
    while (l->batch.first && ret_done->n < BATCH_COMMANDS && l->x.event_bytes < BATCH_EVENT_BYTES) {
        kv_cmd *cmd = kv_cmd_pop(&l->batch);
        kv_cmd_push(ret_done, cmd);
        KV_TRY(kv_exec_run(&l->x, cmd));
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

/* ---- tidying up ---- */

static bool prune_events(kv_ledger *l, int64_t now)
{
    int64_t removed = 0;
    if (kv_db_begin(l->x.db) != KV_OK)
        return false;
    kv_err err = kv_event_prune(l->x.db, now - l->cfg->event_retention_hours * 3600 * 1000,
                                TIDY_EVENT_ROWS, &removed);
    if (err == KV_OK && removed > 0)
        err = kv_db_commit(l->x.db);
    if (err != KV_OK || removed == 0)
        kv_db_rollback(l->x.db);
    return err == KV_OK && removed >= TIDY_EVENT_ROWS - 1;
}

static bool prune_jobs(kv_ledger *l, int64_t now)
{
    int64_t removed = 0;
    if (now < l->next_job_pass_ms || kv_db_begin(l->x.db) != KV_OK)
        return false;
    kv_err err = kv_jobs_prune(l->x.db, now - (int64_t)JOB_KEEP_DAYS * 86400 * 1000, TIDY_JOB_ROWS,
                               &l->job_cursor, &removed);
    if (err == KV_OK && removed > 0)
        err = kv_db_commit(l->x.db);
    if (err != KV_OK || removed == 0)
        kv_db_rollback(l->x.db);
    if (err != KV_OK || l->job_cursor == 0) {
        l->job_cursor = 0;
        l->next_job_pass_ms = now + JOB_PASS_MS;
        return false;
    }
    return true;
}

/* One small slice. True: there is more. */
static bool tidy(kv_ledger *l)
{
    int64_t now = kv_wall_ms(l->clock);
    bool events = prune_events(l, now), jobs = prune_jobs(l, now);
    l->next_tidy_ms = kv_mono_ms(l->clock) + TIDY_DUE_MS;
    return events || jobs;
}

static void bound_wal(kv_ledger *l)
{
    if (l->commits % WAL_CHECK_COMMITS != 0 || kv_db_wal_bytes(l->cfg) <= WAL_FORCE_BYTES)
        return;
    int64_t begun = kv_mono_us(l->clock);
    kv_err err = kv_db_checkpoint(l->x.db, false);
    kv_log(KV_LOG_WARN, "wal_checkpoint_forced", KV_ERRNAME("code", err),
           KV_I64("ms", (kv_mono_us(l->clock) - begun) / 1000));
}

/* ---- the thread ---- */

static struct timespec idle_until(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += IDLE_MS / 1000;
    return t;
}

/* Takes what came. False: stopped, and nothing is left. *ret_idle: nothing came for a while. */
static bool wait_for_work(kv_ledger *l, bool more_to_tidy, bool *ret_idle)
{
    struct timespec until = idle_until();
    int rc = 0;
    pthread_mutex_lock(&l->lock);
    while (!l->in.first && !l->stop && !more_to_tidy && rc == 0)
        rc = pthread_cond_timedwait(&l->wake, &l->lock, &until);
    kv_cmd_append(&l->batch, &l->in);
    bool stop = l->stop && !l->batch.first;
    pthread_mutex_unlock(&l->lock);
    *ret_idle = !l->batch.first;
    return !stop;
}

static void *thread_main(void *arg)
{
    kv_ledger *l = arg;
    bool idle, more = false;
    pthread_setname_np(pthread_self(), "ledger");
    l->next_tidy_ms = kv_mono_ms(l->clock) + TIDY_DUE_MS;
    while (wait_for_work(l, more, &idle)) {
        if (idle || kv_mono_ms(l->clock) >= l->next_tidy_ms)
            more = tidy(l) && idle;
        while (l->batch.first) {
            run_batch(l);
            bound_wal(l);
            pthread_mutex_lock(&l->lock);
            kv_cmd_append(&l->batch, &l->in);
            pthread_mutex_unlock(&l->lock);
            if (kv_mono_ms(l->clock) >= l->next_tidy_ms)
                break;
        }
    }
    return NULL;
}

/* ---- what others call ---- */

static bool init_sync(kv_ledger *l)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0)
        return false;
    bool ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
              pthread_cond_init(&l->wake, &attr) == 0;
    pthread_condattr_destroy(&attr);
    return ok && pthread_mutex_init(&l->lock, NULL) == 0;
}

kv_err kv_ledger_open(const kv_config *cfg, const kv_clock *clock, kv_ledger **ret)
{
    kv_ledger *l = calloc(1, sizeof *l);
    *ret = NULL;
    if (!l)
        return KV_E_NO_MEMORY;
    l->cfg = cfg;
    l->clock = clock;
    l->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    kv_err err = l->fd >= 0 && init_sync(l) ? kv_exec_open(cfg, clock, &l->x) : KV_E_NO_MEMORY;
    if (err != KV_OK) {
        if (l->fd >= 0)
            close(l->fd);
        free(l);
        return err;
    }
    *ret = l;
    return KV_OK;
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
    if (pthread_create(&l->thread, NULL, thread_main, l) != 0)
        return KV_E_NO_MEMORY;
    l->running = true;
    return KV_OK;
}

void kv_ledger_give(kv_ledger *l, kv_cmd_list *cmds)
{
    if (!cmds->first)
        return;
    pthread_mutex_lock(&l->lock);
    bool was_empty = !l->in.first;
    kv_cmd_append(&l->in, cmds);
    if (was_empty)
        pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

int kv_ledger_fd(const kv_ledger *l)
{
    return l->fd;
}

bool kv_ledger_take(kv_ledger *l, kv_ledger_out *ret)
{
    uint64_t count;
    pthread_mutex_lock(&l->lock);
    bool any = l->out_any;
    *ret = l->out;
    l->out.cmds = (kv_cmd_list){.n = 0};
    l->out.rows = l->out_last = NULL;
    l->out_any = false;
    pthread_mutex_unlock(&l->lock);
    /* The byte of a hand-over may come after this: then the next take finds nothing, which is no
     * harm. */
    return any && (read(l->fd, &count, sizeof count) != 0);
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
    close(l->fd);
    free(l);
    *lp = NULL;
}
