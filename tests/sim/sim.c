#include "tests/sim/sim_media.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "storage/read/jobs.h"

enum {
    STEPS = 9000,
    CALM_ROUNDS = 4000,
    BATCH = 16,
    TICK_MS = 100,
    HOUR_MS = 3600 * 1000,
    SWEEP_ROUNDS = 2000
};

const char *const sim_service[SIM_SERVICES] = {"ai", "backup", "mail", "x1", "x2",
                                               "x3", "x4",     "x5",   "x6"};

uint64_t sim_pick(sim *s, uint64_t n)
{
    uint64_t v = s->random += 0x9e3779b97f4a7c15u;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return (v ^ v >> 31) % n;
}

bool sim_chance(sim *s, unsigned in_thousand)
{
    return sim_pick(s, 1000) < in_thousand;
}

kv_now sim_now(const sim *s)
{
    return (kv_now){s->clock.wall_ms_now, s->clock.mono_us_now / 1000};
}

int64_t sim_ms(const sim *s)
{
    return s->clock.mono_us_now / 1000;
}

/* ---- the broker ---- */

static void core_commands(void *arg, kv_cmd *cmd)
{
    if (cmd->type == KV_CMD_MOVE)
        sim_check_move(arg, &cmd->move);
    if (cmd->type == KV_CMD_MOVE && cmd->move.to == KV_JOB_PROCESSING)
        sim_check_start(arg, cmd->move.job);
    kv_cmd_push(&((sim *)arg)->at_ledger, cmd);
}

static bool load_row(void *arg, const kv_job_row *row)
{
    sim *s = arg;
    return kv_core_load(s->core, sim_now(s), row) == KV_OK;
}

static void broker_start(sim *s)
{
    kv_core_opts opts;
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){s, sim_broker_sends, core_commands};
    opts.epoch = s->x.epoch;
    opts.seed = s->random;
    opts.stuck_after_ms = 15000;
    if (s->seed % 4 < 2)
        opts.services_max = SIM_PLACES;
    SIM_HOLDS(s, kv_core_new(&opts, sim_now(s), &s->core) == KV_OK, "no core");
    SIM_HOLDS(s, kv_jobs_unfinished(s->x.db, load_row, s) == KV_OK, "no jobs");
}

static void free_commands(kv_cmd_list *list)
{
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(list));)
        kv_cmd_free(&cmd);
}

static void exec_open(sim *s, kv_db *db)
{
    SIM_HOLDS(s, kv_exec_attach(db, "", 3, &s->clock.clock, &s->x) == KV_OK, "no ledger");
    s->x.open_kept.keep = 32; /* few, so that jobs of all kinds pass open_from */
    s->x.open_kept.slice = 8;
}

/* kill -9: what was not committed is gone, and what was committed is not answered. `all`: of
 * everything, so the next start reads the log of the database anew. */
static void broker_restart(sim *s, bool all)
{
    kv_db *db = s->x.db;
    kv_core_destroy(&s->core);
    free_commands(&s->at_ledger);
    free_commands(&s->committed);
    s->x.db = NULL;
    kv_exec_close(&s->x);
    exec_open(s, all && s->media ? sim_media_all_died(s, db) : db);
    broker_start(s);
    for (int i = 0; sim_node_at(s, i); i++)
        sim_broker_died(s, sim_node_at(s, i));
    s->restarts++;
    s->dies_at = 0;
}

/* ---- the ledger ---- */

static void publish(sim *s)
{
    kv_event_row *rows = kv_exec_take_rows(&s->x);
    sim_check_events(s, rows);
    kv_event_rows_free(&rows);
    s->commits++;
}

static void run(sim *s, kv_cmd *cmd, const kv_cmd *ahead)
{
    kv_err err = kv_exec_run(&s->x, cmd, ahead);
    SIM_HOLDS(s, err == KV_OK, "command %d failed: %s", cmd->type, kv_err_info_of(err)->slug);
}

static void run_alone(sim *s, kv_cmd *cmd)
{
    SIM_HOLDS(s, kv_exec_begin(&s->x) == KV_OK, "begin");
    run(s, cmd, NULL);
    if (s->media && sim_media_sync_fails(s, cmd)) {
        kv_cmd_reset(cmd);
        cmd->err = KV_E_IO;
        s->dies_at = sim_chance(s, 500) ? s->step + 1 + sim_pick(s, 200) : s->dies_at;
        return;
    }
    if (sim_chance(s, 500)) {
        kv_exec_rollback(&s->x);
        kv_cmd_reset(cmd);
        cmd->err = KV_E_DISK_FULL;
        return;
    }
    SIM_HOLDS(s, kv_exec_commit(&s->x) == KV_OK, "commit");
    publish(s);
}

static void ledger_step(sim *s)
{
    kv_cmd_list batch = {.n = 0};
    for (uint64_t n = 1 + sim_pick(s, BATCH); n > 0 && s->at_ledger.first; n--)
        kv_cmd_push(&batch, kv_cmd_pop(&s->at_ledger));
    if (!batch.first)
        return;
    SIM_HOLDS(s, kv_exec_begin(&s->x) == KV_OK, "begin");
    for (kv_cmd *cmd = batch.first; cmd; cmd = cmd->next)
        run(s, cmd, cmd->next);
    if (s->failures && sim_pick(s, 100) < (uint64_t)s->failures) { /* then one by one */
        kv_exec_rollback(&s->x);
        for (kv_cmd *cmd = batch.first; cmd; cmd = cmd->next)
            run_alone(s, cmd);
    } else {
        SIM_HOLDS(s, kv_exec_commit(&s->x) == KV_OK, "commit");
        publish(s);
    }
    kv_cmd_append(&s->committed, &batch);
}

static void results_step(sim *s)
{
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&s->committed));) {
        sim_order_before(s);
        kv_core_result(s->core, sim_now(s), cmd);
        sim_order_after(s);
        sim_check_idle(s, "a result");
    }
}

/* ---- time ---- */

/* The broker's loop lets time count only when nothing unread is left. */
static void tick(sim *s)
{
    for (int i = 0; sim_node_at(s, i); i++) {
        while (sim_deliver(s, sim_node_at(s, i), true))
            ;
    }
    sim_order_before(s);
    kv_core_tick(s->core, sim_now(s));
    sim_order_after(s);
    sim_check_idle(s, "a tick");
}

static void pass(sim *s, int64_t ms)
{
    int64_t before = sim_ms(s) / TICK_MS;
    kv_fake_clock_advance(&s->clock, ms);
    if (sim_ms(s) / TICK_MS != before)
        tick(s);
}

/* ---- a history ---- */

static sim_node *any_node(sim *s)
{
    int n = SIM_CLIENTS + SIM_WORKERS;
    while (sim_node_at(s, n))
        n++;
    return sim_node_at(s, (int)sim_pick(s, (uint64_t)n));
}

static void any_step(sim *s)
{
    uint64_t what = sim_pick(s, 100);
    sim_node *n = any_node(s);
    if (s->media && sim_chance(s, 400)) {
        sim_media_step(s);
        return;
    }
    if (what < 30)
        (void)sim_deliver(s, n, true);
    else if (what < 50) {
        if (sim_ms(s) >= n->frozen_until)
            (void)sim_deliver(s, n, false);
    } else if (what < 60)
        sim_client_step(s, &s->clients[sim_pick(s, SIM_CLIENTS)]);
    else if (what < 72)
        sim_worker_step(s, &s->workers[sim_pick(s, SIM_WORKERS)]);
    else if (what < 80)
        ledger_step(s);
    else if (what < 88)
        results_step(s);
    else
        pass(s, 1 + (int64_t)sim_pick(s, 40));
    if (sim_chance(s, (unsigned)s->lossy) && n->peer[0])
        sim_connect(s, n);
    if (s->steps_date && sim_pick(s, 500) == 0) { /* the date is set */
        int64_t to = (int64_t)sim_pick(s, 60000) - 30000;
        s->clock.wall_ms_now += to - s->date_off;
        s->date_off = to;
    }
    if (sim_pick(s, 2500) == 0)
        broker_restart(s, sim_chance(s, 300));
    if (s->dies_at && s->step >= s->dies_at)
        broker_restart(s, true);
    if (s->media && sim_pick(s, 2000) == 0) /* the machine slept */
        pass(s, 5000 + (int64_t)sim_pick(s, 20000));
}

static void calm_round(sim *s)
{
    for (int i = 0; i < SIM_CLIENTS; i++)
        sim_client_step(s, &s->clients[i]);
    for (int i = 0; i < SIM_WORKERS; i++)
        sim_worker_step(s, &s->workers[i]);
    for (int i = 0; sim_node_at(s, i); i++) {
        while (sim_deliver(s, sim_node_at(s, i), true) || sim_deliver(s, sim_node_at(s, i), false))
            ;
    }
    if (s->media)
        sim_media_calm_step(s);
    ledger_step(s);
    results_step(s);
    pass(s, 50);
}

static bool asks_wait(const sim *s)
{
    for (int i = 0; i < SIM_CLIENTS; i++) {
        for (int j = 0; j < SIM_ASKS; j++) {
            if (s->clients[i].asks[j].request)
                return true;
        }
    }
    return false;
}

/* Everybody works and nothing fails: all must end. */
static void calm_down(sim *s)
{
    s->calm = true;
    s->failures = s->lossy = 0;
    for (int i = 0; i < SIM_WORKERS; i++) {
        sim_worker *w = &s->workers[i];
        w->node.frozen_until = 0;
        w->credit = 4;
        sim_connect(s, &w->node); /* registers again with this credit */
    }
    if (s->media)
        sim_media_calm(s);
    for (int round = 0; round < CALM_ROUNDS; round++) {
        if (s->held_back && round % 200 == 20)
            sim_unsteer(s);
        if (round % 50 == 10)
            sim_cancel_unworked(s);
        calm_round(s);
        s->step++;
        if (kv_core_jobs(s->core) == 0 && !asks_wait(s) && !s->at_ledger.first &&
            (!s->media || sim_media_quiet(s)))
            return;
    }
}

/* Until the hourly sweep has come, and what followed from it. */
static void wait_for_sweep(sim *s)
{
    for (int round = 0; round < SWEEP_ROUNDS; round++) {
        if (round % 1000 == 0)
            pass(s, HOUR_MS);
        calm_round(s);
    }
}

static void world_start(sim *s, uint64_t seed)
{
    kv_db *db;
    *s = (sim){.seed = seed, .random = seed * 2654435761u};
    s->trace = getenv("KV_SIM_TRACE") != NULL;
    s->failures = (int)(seed % 4) * 4;
    s->lossy = (int)(seed % 3);
    s->held_back = seed % 2;
    s->steps_date = seed % 3 == 1;
    kv_fake_clock_init(&s->clock, 1790000000000);
    if (seed % 4 == 3)
        db = sim_media_start(s);
    else
        SIM_HOLDS(s, kv_db_open_memory(&db) == KV_OK, "no database");
    exec_open(s, db);
    broker_start(s);
    if (s->media)
        sim_media_processes(s);
    for (int i = 0; i < SIM_SERVICES; i++) {
        s->before[i] = calloc(SIM_JOBS, sizeof *s->before[i]);
        SIM_HOLDS(s, s->before[i], "no memory");
    }
    for (int i = 0; i < SIM_CLIENTS; i++)
        sim_client_init(s, &s->clients[i], i);
    for (int i = 0; i < SIM_WORKERS; i++)
        sim_worker_init(s, &s->workers[i], i);
    sim_grant(s);
}

static void world_end(sim *s)
{
    for (int i = 0; i < SIM_CLIENTS; i++)
        sim_client_release(&s->clients[i]);
    for (int i = 0; i < SIM_WORKERS; i++)
        sim_worker_release(&s->workers[i]);
    kv_core_destroy(&s->core);
    free_commands(&s->at_ledger);
    free_commands(&s->committed);
    kv_exec_close(&s->x);
    if (s->media)
        sim_media_stop(s);
    for (int i = 0; i < SIM_SERVICES; i++)
        free(s->before[i]);
}

static void history(uint64_t seed, uint64_t totals[10])
{
    static sim s;
    world_start(&s, seed);
    for (s.step = 0; s.step < STEPS; s.step++) {
        any_step(&s);
        if (s.step % 64 == 0) {
            sim_check_positions(&s);
            sim_check_places(&s);
            sim_check_counts(&s);
            sim_check_rows(&s);
        }
        if (s.step % 512 == 0) {
            sim_check_money(&s);
            sim_check_tables(&s);
        }
    }
    calm_down(&s);
    if (s.media) {
        wait_for_sweep(&s);
        sim_media_check_end(&s);
        sim_media_count(&s, totals + 6);
    }
    sim_check_end(&s);
    totals[0] += (uint64_t)s.facts_n;
    totals[1] += s.begun;
    totals[2] += s.commits;
    totals[3] += s.restarts;
    totals[4] += s.given_back;
    totals[5] += s.waited;
    world_end(&s);
}

/* KV_SIM_SEED: this history. KV_SIM_FROM, KV_SIM_SECONDS: histories from this seed on for so long
 * (1 and 8). */
int main(void)
{
    uint64_t totals[10] = {0};
    kv_log_setup("sim", KV_LOG_ERROR);
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1); /* what is synced there costs nothing */
    const char *one = getenv("KV_SIM_SEED"), *from = getenv("KV_SIM_FROM"),
               *seconds = getenv("KV_SIM_SECONDS");
    uint64_t seed = one ? strtoull(one, NULL, 10) : from ? strtoull(from, NULL, 10) : 1, n = 0;
    time_t until = time(NULL) + (seconds ? strtol(seconds, NULL, 10) : 8);
    do {
        history(seed++, totals);
        n++;
    } while (!one && time(NULL) < until);
    printf("%llu histories up to seed %llu: %llu jobs, %llu starts, %llu commits, %llu restarts, "
           "%llu given back, %llu of them to wait\n",
           (unsigned long long)n, (unsigned long long)seed - 1, (unsigned long long)totals[0],
           (unsigned long long)totals[1], (unsigned long long)totals[2],
           (unsigned long long)totals[3], (unsigned long long)totals[4],
           (unsigned long long)totals[5]);
    printf("%llu uploads stored, %llu refused, %llu not told; %llu processes killed\n",
           (unsigned long long)totals[6], (unsigned long long)totals[7],
           (unsigned long long)totals[8], (unsigned long long)totals[9]);
    return 0;
}
