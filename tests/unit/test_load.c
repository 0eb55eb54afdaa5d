/* What a broker reads at its start is what the database says of the unfinished jobs: over many
 * blocks, with each job's own tenant, queue and worker. */
#include "tests/unit/exec_rig.h"

#include "broker/core_types.h"
#include "broker/lanes.h"
#include "broker/load.h"

enum { JOBS = 6000, RUNNING_EVERY = 50 };

static const char *const services[] = {"ai", "image-process", "a-queue-with-rather-a-long-name"};

static void fill(rig *r)
{
    char tenant[16];
    assert_int_equal(kv_exec_begin(&r->x), KV_OK);
    for (uint64_t job = 1; job <= JOBS; job++) {
        snprintf(tenant, sizeof tenant, "tenant-%u", (unsigned)(job * 7 % 13));
        kv_cmd *cmd = kv_cmd_new(KV_CMD_SUBMIT, 0);
        cmd->seq = r->seq += 2;
        cmd->submit = (kv_cmd_submit){.job = job,
                                      .max_attempts = 1 + job % 9,
                                      .lane = (int)(job % 3),
                                      .tag = job * 31 % 997,
                                      .not_before = job % 11 ? 0 : 1790000000000 + (int64_t)job,
                                      .service = kv_slice_str(services[job % 4 % 3]),
                                      .tenant = kv_slice_str(job % 5 ? tenant : ""),
                                      .params = kv_slice_str("{}")};
        assert_int_equal(kv_exec_run(&r->x, cmd, NULL), KV_OK);
        kv_cmd_free(&cmd);
    }
    assert_int_equal(kv_exec_commit(&r->x), KV_OK);
    kv_event_row *rows = kv_exec_take_rows(&r->x);
    kv_event_rows_free(&rows);
    for (uint64_t job = RUNNING_EVERY; job <= JOBS; job += RUNNING_EVERY)
        assert_int_equal(rig_move(r, job, services[job % 4 % 3], KV_JOB_QUEUED, KV_JOB_PROCESSING,
                                  1, NULL, NULL),
                         KV_OK);
}

static void send_nothing(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    (void)arg, (void)peer, (void)request, (void)m;
}

static void command_nothing(void *arg, kv_cmd *cmd)
{
    (void)arg;
    kv_cmd_free(&cmd);
}

static kv_now now_of(const rig *r)
{
    return (kv_now){kv_wall_ms(&r->clock.clock), 1000};
}

static kv_core *core_of(const rig *r)
{
    kv_core *core;
    kv_core_opts opts;
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){NULL, send_nothing, command_nothing};
    opts.epoch = 2;
    assert_int_equal(kv_core_new(&opts, now_of(r), &core), KV_OK);
    return core;
}

typedef struct compared {
    const kv_core *core;
    uint64_t n, running;
} compared;

static bool compare(void *arg, const kv_job_row *row)
{
    compared *c = arg;
    const kv_task *t = kv_ids_find(&c->core->jobs, row->id);
    assert_non_null(t);
    assert_string_equal(t->service->name, row->service);
    assert_true(kv_slice_is(row->tenant, t->tenant ? kv_tenant_name(t->tenant) : ""));
    assert_int_equal(t->lane, row->lane);
    assert_int_equal(t->node.seq, row->seq);
    assert_int_equal(t->max_attempts, row->max_attempts);
    assert_int_equal(t->attempt, row->attempt);
    assert_int_equal(t->not_before, row->not_before);
    if (row->worker.len) {
        kv_session worker = {.before = 1};
        snprintf(worker.name, sizeof worker.name, "%.*s", KV_SLICE_FMT(row->worker));
        assert_true(kv_orphan_of(c->core, t, &worker));
        worker.name[0] ^= 1;
        assert_false(kv_orphan_of(c->core, t, &worker));
        c->running++;
    }
    c->n++;
    return true;
}

static void test_all_is_read(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    fill(&r);
    kv_core *core = core_of(&r);
    assert_int_equal(kv_load_jobs(r.x.db, core, now_of(&r)), KV_OK);
    compared c = {.core = core};
    assert_int_equal(kv_jobs_unfinished(r.x.db, compare, &c), KV_OK);
    assert_int_equal(c.n, JOBS);
    assert_int_equal(c.running, JOBS / RUNNING_EVERY);
    assert_int_equal(kv_core_jobs(core), JOBS);
    kv_core_destroy(&core);
    rig_stop(&r);
}

/* Loads a database in which `damage` was done; *ret_jobs: what is known then. */
static kv_err load_damaged(const char *damage, uint64_t *ret_jobs)
{
    rig r;
    rig_start(&r);
    fill(&r);
    assert_int_equal(kv_db_exec(r.x.db, damage), KV_OK);
    kv_core *core = core_of(&r);
    kv_err err = kv_load_jobs(r.x.db, core, now_of(&r));
    *ret_jobs = kv_core_jobs(core);
    kv_core_destroy(&core);
    rig_stop(&r);
    return err;
}

/* Said, not passed over: a broker that knew a part of the jobs would lose the others. */
static void test_what_cannot_be_read(void **state)
{
    uint64_t jobs;
    (void)state;
    assert_int_equal(load_damaged("PRAGMA foreign_keys = OFF; DELETE FROM service "
                                  "WHERE name = 'a-queue-with-rather-a-long-name'",
                                  &jobs),
                     KV_E_DB_DAMAGED);
}

/* One damaged number does not keep all others from being loaded. */
static void test_a_state_that_cannot_be(void **state)
{
    uint64_t jobs;
    (void)state;
    assert_int_equal(load_damaged("UPDATE job SET state = -1 WHERE id = "
                                  "(SELECT min(id) FROM job WHERE state = 0)",
                                  &jobs),
                     KV_OK);
    assert_int_equal(jobs, JOBS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_is_read),
                                       cmocka_unit_test(test_what_cannot_be_read),
                                       cmocka_unit_test(test_a_state_that_cannot_be)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
