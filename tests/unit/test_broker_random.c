/* Core and ledger commands together, driven by random histories from seeds: clients and workers
 * that send, resend, fall silent and come back, a ledger that fails now and then, restarts. No
 * sockets, no threads; a failing seed replays.
 *
 * Holds: what was acknowledged ends exactly once in a terminal state, and the core's view is that
 * of the rows when all is quiet. Positions are unique and dense at any time (S3-14, S3-38). Money
 * and jobs agree after every command: granted = available + held + spent, and a hold ends as its
 * job does (S4-75…77). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "broker/core.h"
#include "broker/exec.h"
#include "proto/batch.h"
#include "storage/read/jobs.h"
#include "tests/unit/jobs_tables.h"
#include "tests/unit/chance.h"

enum {
    JOBS = 60,
    AGAIN = 40,
    IDS = JOBS + AGAIN,
    WORKERS = 3,
    STEPS = 1500,
    HELD = 8,
    BATCHES = 8
};
enum { BOUND = 12, GRANT = 12 };

typedef struct worker {
    char peer[8];
    uint64_t instance;
    bool silent;
    kv_job held[HELD];
    int n;
} worker;

typedef struct world {
    kv_fake_clock clock;
    kv_exec x;
    kv_core *core;
    kv_cmd_list commands;
    worker workers[WORKERS];
    uint64_t random, request;
    bool acknowledged[IDS + 1];
    uint64_t submits[JOBS + 1]; /* request of the SUBMIT */
    uint64_t batches[BATCHES];  /* requests of batches, and their seeds */
    uint64_t batch_seed[BATCHES];
    int batch_sent[BATCHES], batch_answered[BATCHES]; /* since it was a new one */
    bool evict;
    unsigned checks;
    int failures; /* percent of commands that the ledger fails */
} world;

/* What the histories went through, of all seeds: each must have happened. */
static struct {
    int64_t evicted, overdue, unpaid, promoted, again, batches, below, passed;
} seen;

static uint64_t pick(world *w, uint64_t n)
{
    return chance(&w->random, n);
}

static kv_now now_of(const world *w)
{
    return (kv_now){w->clock.wall_ms_now, w->clock.mono_us_now / 1000};
}

static void drop_held(worker *k, uint64_t job)
{
    for (int i = 0; i < k->n; i++) {
        if (k->held[i].job == job)
            k->held[i--] = k->held[--k->n];
    }
}

static void acknowledge(world *w, uint64_t job)
{
    assert_in_range(job, 1, IDS);
    w->acknowledged[job] = true;
}

/* A batch is answered at most once each time it is sent. */
static void take_results(world *w, uint64_t request, kv_slice results)
{
    kv_batch_result r;
    for (int i = 0; i < BATCHES; i++) {
        if (w->batches[i] == request)
            assert_true(++w->batch_answered[i] <= w->batch_sent[i]);
    }
    while (results.len) {
        assert_true(kv_batch_result_next(&results, &r));
        if (r.err == KV_OK)
            acknowledge(w, r.job);
    }
}

static void sink_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    world *w = arg;
    if (m->code == KV_SUBMIT_OK)
        acknowledge(w, m->submit_ok.job);
    seen.unpaid += m->code == KV_ERROR && m->error.number == KV_E_NO_CREDIT;
    seen.batches += m->code == KV_SUBMIT_BATCH_OK;
    if (m->code == KV_SUBMIT_BATCH_OK)
        take_results(w, request, m->submit_batch_ok.results);
    for (int i = 0; i < WORKERS; i++) {
        worker *k = &w->workers[i];
        if (!kv_slice_is(peer, k->peer))
            continue;
        if (m->code == KV_JOB && k->n < HELD) {
            drop_held(k, m->job.job);
            k->held[k->n++] = m->job;
        }
        if (m->code == KV_JOB_CANCEL)
            drop_held(k, m->job_cancel.job);
        if (m->code == KV_BEAT_OK && !m->beat_ok.known)
            k->silent = true; /* it registers again with the next step that wakes it */
    }
}

static void sink_command(void *arg, kv_cmd *cmd)
{
    kv_cmd_push(&((world *)arg)->commands, cmd);
}

static uint64_t say(world *w, const char *peer, const kv_msg *m, uint64_t request)
{
    kv_header head = {.code = m->code, .request = request ? request : ++w->request};
    kv_core_message(w->core, now_of(w), kv_slice_str(peer), &head, m);
    return head.request;
}

static void hello(world *w, const char *peer, const char *name, uint64_t instance)
{
    kv_msg m;
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = kv_slice_str("worker");
    m.hello.name = kv_slice_str(name);
    m.hello.instance = instance;
    say(w, peer, &m, 0);
}

/* HELLO, then what it holds, then READY. */
static void wake(world *w, int i)
{
    worker *k = &w->workers[i];
    char name[8];
    kv_msg m;
    snprintf(name, sizeof name, "w%d", i);
    k->silent = false;
    hello(w, k->peer, name, k->instance);
    for (int j = 0; j < k->n; j++) {
        kv_msg_defaults(KV_LEASE_HELD, &m);
        m.lease_held = (kv_lease_held){k->held[j].job, k->held[j].epoch, k->held[j].attempt};
        say(w, k->peer, &m, 0);
    }
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str("s");
    m.ready.credit = 1 + pick(w, 3);
    say(w, k->peer, &m, 0);
}

static void die(world *w, int i)
{
    worker *k = &w->workers[i];
    k->n = 0;
    k->instance = 1 + pick(w, 1u << 30);
    snprintf(k->peer, sizeof k->peer, "p%u", (unsigned)(++w->request % 100000));
    k->silent = true;
}

static int64_t number(world *w, const char *sql)
{
    kv_stmt *s;
    bool row;
    assert_int_equal(kv_db_prepare(w->x.db, sql, &s), KV_OK);
    assert_int_equal(kv_db_step(s, &row), KV_OK);
    int64_t v = kv_col_i64(s, 0);
    kv_db_done(s);
    return v;
}

/* ---- what holds at any time ---- */

static void check_positions(const world *w)
{
    bool taken[IDS] = {false};
    size_t waiting = 0;
    for (uint64_t job = 1; job <= IDS; job++) {
        uint64_t rank;
        if (!kv_core_job_rank(w->core, job, &rank))
            continue;
        assert_in_range(rank, 0, IDS - 1);
        assert_false(taken[rank]);
        taken[rank] = true;
        waiting++;
    }
    for (size_t i = 0; i < waiting; i++)
        assert_true(taken[i]);
}

/* A hold is there while its job is unfinished, spent with complete, else refunded. */
static void check_money(world *w)
{
    assert_int_equal(number(w, "SELECT count(*) FROM user_credits WHERE granted <> available + "
                               "held + spent OR granted <> 12"),
                     0);
    assert_int_equal(number(w, "SELECT count(*) FROM job j JOIN job_option o ON o.job = j.id "
                               "LEFT JOIN credit_transactions t ON "
                               "t.id = j.id WHERE o.credits > 0 AND t.state IS NOT CASE WHEN "
                               "j.state < 2 THEN 1 WHEN j.state = 2 THEN 2 ELSE 3 END"),
                     0);
    assert_int_equal(number(w, "SELECT count(*) FROM credit_transactions t WHERE t.job IS NOT NULL "
                               "AND NOT EXISTS (SELECT 1 FROM job j WHERE j.id = t.job)"),
                     0);
    assert_int_equal(number(w, "SELECT (SELECT coalesce(sum(held), 0) FROM user_credits) - (SELECT "
                               "coalesce(sum(credits), 0) FROM job JOIN job_option ON job = id "
                               "WHERE state < 2)"),
                     0);
}

/* Few are kept above open_from, so that jobs of all kinds pass it. */
static void check_tables(world *w)
{
    assert_int_equal(number(w, KV_JOBS_TABLES_WRONG), 0);
    seen.below += number(w, "SELECT count(*) FROM job_open");
    seen.passed += number(w, "SELECT value > 0 FROM counter WHERE name = 'open_from'");
}

static void ledger_start(world *w, kv_db *db)
{
    assert_int_equal(kv_exec_attach(db, "", 3, &w->clock.clock, &w->x), KV_OK);
    w->x.open_kept.keep = 12;
    w->x.open_kept.slice = 1 + (uint32_t)(w->random % 7);
}

/* ---- the ledger ---- */

/* A command a transaction; a SUBMIT and the lease right behind it are one (kv_exec_owes). */
static void ledger_step(world *w)
{
    kv_cmd_list done = {.n = 0};
    kv_err err;
    if (!w->commands.first)
        return;
    if (kv_exec_begin(&w->x) != KV_OK)
        fail();
    do {
        kv_cmd *cmd = kv_cmd_pop(&w->commands);
        kv_cmd_push(&done, cmd);
        err = kv_exec_run(&w->x, cmd, w->commands.first);
        assert_int_equal(err, KV_OK);
    } while (kv_exec_owes(&w->x));
    bool bad = (int)pick(w, 100) < w->failures;
    if (bad)
        kv_exec_rollback(&w->x);
    else
        assert_int_equal(kv_exec_commit(&w->x), KV_OK);
    kv_event_row *rows = kv_exec_take_rows(&w->x);
    kv_event_rows_free(&rows);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done));) {
        if (bad) {
            kv_cmd_reset(cmd);
            cmd->err = KV_E_DISK_FULL;
        }
        kv_core_result(w->core, now_of(w), cmd);
    }
    if (w->checks++ % 8 == 0) {
        check_money(w);
        check_tables(w);
    }
}

static bool load_row(void *arg, const kv_job_row *row)
{
    world *w = arg;
    return kv_core_load(w->core, now_of(w), row) == KV_OK;
}

static void core_start(world *w)
{
    kv_core_opts opts;
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){w, sink_send, sink_command};
    opts.epoch = w->x.epoch;
    opts.seed = w->random;
    opts.stuck_after_ms = 20000;
    opts.max_waiting = BOUND;
    opts.evict = w->evict;
    assert_int_equal(kv_core_new(&opts, now_of(w), &w->core), KV_OK);
    assert_int_equal(kv_jobs_unfinished(w->x.db, load_row, w), KV_OK);
}

/* What was at the ledger and not executed is lost, as by kill -9. */
static void restart(world *w)
{
    kv_db *db = w->x.db;
    kv_core_destroy(&w->core);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&w->commands));)
        kv_cmd_free(&cmd);
    w->x.db = NULL;
    kv_exec_close(&w->x);
    ledger_start(w, db);
    core_start(w);
    for (int i = 0; i < WORKERS; i++)
        w->workers[i].silent = true;
}

/* ---- what happens ---- */

/* Often one that was sent before. The same id does not always ask for the same. */
static void random_job(world *w, kv_msg *m)
{
    static const char *const keys[] = {"a", "b", "c"}, *const users[] = {"u", "v"};
    static const char *const tenants[] = {"", "x", "y"};
    kv_msg_defaults(KV_SUBMIT, m);
    m->submit.job = 1 + pick(w, JOBS);
    m->submit.service = kv_slice_str("s");
    m->submit.lane = pick(w, 3);
    m->submit.params = kv_slice_str("{}");
    m->submit.tenant = kv_slice_str(tenants[pick(w, 3)]);
    if (pick(w, 4) == 0)
        m->submit.delay_ms = 1 + pick(w, 5000);
    if (pick(w, 4) == 0)
        m->submit.deadline_ms = (uint64_t)now_of(w).wall_ms + m->submit.delay_ms + pick(w, 5000);
    if (pick(w, 4) == 0)
        m->submit.unique_key = kv_slice_str(keys[pick(w, 3)]);
    if (pick(w, 4) == 0)
        m->submit.backoff_ms = 1 + pick(w, 3000);
    if (pick(w, 3) == 0) {
        m->submit.user = kv_slice_str(users[pick(w, 2)]);
        m->submit.credits = 1 + pick(w, 10);
    }
}

static void submit(world *w)
{
    kv_msg m;
    hello(w, "client", "client", 5);
    random_job(w, &m);
    uint64_t job = m.submit.job;
    w->submits[job] = say(w, "client", &m, pick(w, 2) ? w->submits[job] : 0);
}

/* A new one, or one that was sent before, as it was. */
static void batch(world *w)
{
    uint64_t b = pick(w, BATCHES), random = w->random;
    kv_buf jobs;
    kv_msg m;
    hello(w, "client", "client", 5);
    bool again = w->batches[b] && pick(w, 2);
    if (!again) {
        w->batches[b] = ++w->request;
        w->batch_seed[b] = w->random;
        w->batch_sent[b] = w->batch_answered[b] = 0;
    }
    random = w->random;
    w->random = w->batch_seed[b];
    kv_buf_init(&jobs, 0);
    for (uint64_t n = 1 + pick(w, 8); n > 0; n--) {
        random_job(w, &m);
        kv_body_encode(&m, &jobs);
    }
    w->random = random + 1;
    kv_msg_defaults(KV_SUBMIT_BATCH, &m);
    m.submit_batch.jobs = kv_buf_slice(&jobs);
    w->batch_sent[b]++;
    say(w, "client", &m, w->batches[b]);
    kv_buf_release(&jobs);
}

static void retry(world *w)
{
    kv_msg m;
    hello(w, "client", "client", 5);
    kv_msg_defaults(KV_RETRY, &m);
    m.retry.job = 1 + pick(w, IDS);
    m.retry.new_job = JOBS + 1 + pick(w, AGAIN);
    say(w, "client", &m, 0);
}

static void promote(world *w)
{
    kv_msg m;
    hello(w, "client", "client", 5);
    kv_msg_defaults(KV_PROMOTE, &m);
    m.promote.job = 1 + pick(w, IDS);
    m.promote.lane = pick(w, 3);
    say(w, "client", &m, 0);
}

static void grant(world *w)
{
    static const char *const users[] = {"u", "v"};
    for (uint64_t i = 0; i < 2; i++) {
        kv_cmd *cmd = kv_cmd_new(KV_CMD_CREDIT, 0);
        assert_non_null(cmd);
        cmd->credit =
            (kv_credit){.transaction = 1000 + i, .user = kv_slice_str(users[i]), .amount = GRANT};
        assert_int_equal(kv_exec_begin(&w->x), KV_OK);
        assert_int_equal(kv_exec_run(&w->x, cmd, NULL), KV_OK);
        assert_int_equal(cmd->err, KV_OK);
        assert_int_equal(kv_exec_commit(&w->x), KV_OK);
        kv_event_row *rows = kv_exec_take_rows(&w->x);
        kv_event_rows_free(&rows);
        kv_cmd_free(&cmd);
    }
}

static void cancel(world *w)
{
    kv_msg m;
    hello(w, "client", "client", 5);
    kv_msg_defaults(KV_CANCEL, &m);
    m.cancel.job = 1 + pick(w, IDS);
    say(w, "client", &m, 0);
}

static void answer(world *w, worker *k)
{
    kv_msg m;
    if (k->n == 0)
        return;
    kv_job job = k->held[pick(w, (uint64_t)k->n)];
    uint64_t what = pick(w, 6);
    if (what == 0) {
        kv_msg_defaults(KV_JOB_PROGRESS, &m);
        m.job_progress = (kv_job_progress){
            .job = job.job, .epoch = job.epoch, .attempt = job.attempt, .progress = pick(w, 101)};
        if (pick(w, 2))
            m.job_progress.patch = kv_slice_str("{\"a\":1}");
    } else if (what == 1) {
        kv_msg_defaults(KV_JOB_FAIL, &m);
        m.job_fail = (kv_job_fail){job.job, job.epoch,         job.attempt,
                                   KV_E_IO, kv_slice_str("x"), pick(w, 2) == 0};
    } else {
        kv_msg_defaults(KV_JOB_DONE, &m);
        m.job_done = (kv_job_done){job.job, job.epoch, job.attempt, kv_slice_str("{}")};
    }
    uint64_t request = say(w, k->peer, &m, 0);
    if (pick(w, 4) == 0)
        say(w, k->peer, &m, pick(w, 2) ? request : 0); /* twice */
    if (what > 0 && pick(w, 3))
        drop_held(k, job.job); /* else it may send it once more later, as after a lost answer */
}

static void pass_time(world *w, int64_t ms)
{
    for (int64_t at = 0; at < ms; at += 500) {
        kv_fake_clock_advance(&w->clock, 500);
        for (int i = 0; i < WORKERS; i++) {
            kv_msg m;
            kv_msg_defaults(KV_BEAT, &m);
            m.beat.busy = (uint64_t)w->workers[i].n;
            if (!w->workers[i].silent)
                say(w, w->workers[i].peer, &m, 0);
        }
        kv_core_tick(w->core, now_of(w));
    }
}

static void step(world *w)
{
    int i = (int)pick(w, WORKERS);
    uint64_t what = pick(w, 100);
    if (what < 16)
        submit(w);
    else if (what < 19)
        batch(w);
    else if (what < 21)
        retry(w);
    else if (what < 22)
        promote(w);
    else if (what < 24)
        cancel(w);
    else if (what < 50)
        answer(w, &w->workers[i]);
    else if (what < 54)
        wake(w, i);
    else if (what < 55)
        w->workers[i].silent = true;
    else if (what < 56)
        die(w, i);
    else if (what < 57 && pick(w, 3) == 0)
        restart(w);
    else if (what < 62)
        pass_time(w, 500 + (int64_t)pick(w, 3000));
    else
        ledger_step(w);
    check_positions(w);
}

/* Everybody works, nothing fails: all must end. */
static void settle(world *w)
{
    w->failures = 0;
    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < WORKERS; i++) {
            if (w->workers[i].silent)
                wake(w, i);
        }
        while (w->commands.first)
            ledger_step(w);
        for (int i = 0; i < WORKERS; i++) {
            worker *k = &w->workers[i];
            while (k->n > 0) {
                kv_msg m;
                kv_job job = k->held[0];
                drop_held(k, job.job);
                kv_msg_defaults(KV_JOB_DONE, &m);
                m.job_done = (kv_job_done){job.job, job.epoch, job.attempt, kv_slice_str("{}")};
                say(w, k->peer, &m, 0);
            }
        }
        while (w->commands.first)
            ledger_step(w);
        if (kv_core_jobs(w->core) == 0)
            return;
        pass_time(w, 1000);
    }
}

static void history(uint64_t seed)
{
    world w = {.random = seed, .failures = (int)(seed % 3) * 5, .evict = seed % 2};
    kv_db *db;
    kv_fake_clock_init(&w.clock, 1790000000000);
    assert_int_equal(kv_db_open_memory(&db), KV_OK);
    ledger_start(&w, db);
    grant(&w);
    core_start(&w);
    for (int i = 0; i < WORKERS; i++)
        die(&w, i);
    for (int i = 0; i < STEPS; i++)
        step(&w);
    settle(&w);
    for (uint64_t job = 1; job <= IDS && kv_core_jobs(w.core) > 0; job++) {
        kv_job_place place;
        assert_int_equal(kv_job_find(w.x.db, job, &place), KV_OK);
        int core = kv_core_job_state(w.core, job, NULL);
        if (core >= 0 || (place.found && place.state < KV_JOB_COMPLETE))
            print_message("job %llu: core %d, row %d\n", (unsigned long long)job, core,
                          place.found ? place.state : -1);
    }
    assert_int_equal(kv_core_jobs(w.core), 0);
    assert_int_equal(number(&w, "SELECT count(*) FROM job WHERE state < 2"), 0);
    check_money(&w);
    check_tables(&w);
    seen.evicted += number(&w, "SELECT count(*) FROM job WHERE error = 'evicted'");
    seen.overdue += number(&w, "SELECT count(*) FROM job WHERE error = 'job_deadline'");
    seen.promoted += number(&w, "SELECT count(*) FROM job WHERE history LIKE '%promoted%'");
    seen.again += number(&w, "SELECT count(*) FROM job_option WHERE retry_of IS NOT NULL");
    assert_int_equal(number(&w, "SELECT count(*) FROM job WHERE error = 'job_deadline' AND "
                                "attempt > 0"),
                     0);
    assert_int_equal(number(&w, "SELECT count(*) FROM job a JOIN job_option b ON b.retry_of = a.id "
                                "LEFT JOIN job_option o ON o.job = a.id WHERE "
                                "o.retried_by IS NOT b.job OR a.state NOT IN (3, 4)"),
                     0);
    for (uint64_t job = 1; job <= IDS; job++) {
        kv_job_place place;
        assert_int_equal(kv_job_find(w.x.db, job, &place), KV_OK);
        assert_true(place.found || !w.acknowledged[job]);
    }
    /* exactly one terminal event a job */
    assert_int_equal(number(&w, "SELECT count(*) FROM job"),
                     number(&w,
                            "SELECT coalesce(sum((length(body) - length(replace(body, "
                            "'\"job.complete\"', ''))) / 14 + "
                            "(length(body) - length(replace(body, '\"job.error\"', ''))) / 11 + "
                            "(length(body) - length(replace(body, '\"job.cancelled\"', ''))) / "
                            "15), 0) FROM event"));
    kv_core_destroy(&w.core);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&w.commands));)
        kv_cmd_free(&cmd);
    kv_exec_close(&w.x);
}

static void test_histories(void **state)
{
    const char *one = getenv("KV_SEED"), *many = getenv("KV_SEEDS");
    uint64_t n = many ? strtoull(many, NULL, 10) : 40;
    (void)state;
    if (one) {
        history(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= n; seed++) {
        if (many)
            print_message("seed %llu\n", (unsigned long long)seed);
        history(seed);
    }
    assert_true(n < 40 || (seen.evicted && seen.overdue && seen.unpaid && seen.promoted &&
                           seen.again && seen.batches && seen.below && seen.passed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_histories)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
