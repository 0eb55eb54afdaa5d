/* Jobs in the ledger: rows and history, conditional moves, one bad command in a batch, retention,
 * the thread on a real file. */
#include "tests/unit/ledger_rig.h"

#include "proto/base/metrics.h"
#include "storage/write/events.h"
#include "storage/write/jobs.h"

static void submit(rig *r, uint64_t job)
{
    kv_cmd *cmd = rig_run(r, rig_submit_cmd(job, "ai"));
    assert_int_equal(cmd->err, KV_OK);
    kv_cmd_free(&cmd);
}

static void test_submit_and_history(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5);
    assert_int_equal(rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL), KV_OK);
    assert_int_equal(
        rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 1, "{\"ok\":true}", NULL), KV_OK);
    kv_cmd *get = kv_cmd_new(KV_CMD_JOB_GET, 0);
    get->id = 5;
    rig_run(&r, get);
    const char *json = kv_buf_str(&get->text);
    assert_non_null(strstr(json, "\"status\":\"complete\""));
    assert_non_null(strstr(json, "\"result\":{\"ok\":true}"));
    assert_non_null(strstr(json, "\"history\":[{\"status\":\"queued\""));
    assert_non_null(strstr(json, "{\"status\":\"processing\",\"at\":\"2026-"));
    assert_non_null(strstr(json, "\"worker\":\"w\\\"1\""));
    kv_cmd_free(&get);
    assert_true(rig_saw(&r, "job.queued"));
    for (int lane = 0; lane < 3; lane++) {
        static const char *const names[] = {"\"lane\":\"urgent\"", "\"lane\":\"normal\"",
                                            "\"lane\":\"background\""};
        kv_cmd *cmd = rig_submit_cmd(50 + (uint64_t)lane, "ai");
        cmd->submit.lane = lane;
        rig_run(&r, cmd);
        kv_cmd_free(&cmd);
        assert_true(rig_saw(&r, names[lane]));
    }
    assert_true(rig_saw(&r, "job.processing"));
    assert_true(rig_saw(&r, "job.complete"));
    get = kv_cmd_new(KV_CMD_JOB_GET, 0);
    get->id = 6;
    assert_int_equal(rig_run(&r, get)->err, KV_E_NOT_FOUND);
    kv_cmd_free(&get);
    rig_stop(&r);
}

static void test_submit_twice(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5);
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    kv_cmd *again = rig_run(&r, rig_submit_cmd(5, "ai"));
    assert_int_equal(again->err, KV_OK);
    assert_false(again->created);
    assert_true(again->place.found);
    assert_int_equal(again->place.state, KV_JOB_PROCESSING);
    kv_cmd_free(&again);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 1);
    rig_stop(&r);
}

/* S3-06: terminal is terminal; a move of another lease changes nothing. */
static void test_conditional_moves(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5);
    assert_int_equal(rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 1, "1", NULL),
                     KV_E_STALE_LEASE);
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    rig_forget(&r);
    assert_int_equal(rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 2, "1", NULL),
                     KV_E_STALE_LEASE);
    assert_string_equal(kv_buf_str(&r.events), "");
    assert_int_equal(rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_ERROR, 1, NULL, "io"), KV_OK);
    assert_int_equal(rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 1, "1", NULL),
                     KV_E_STALE_LEASE);
    assert_int_equal(rig_number(&r, "SELECT state FROM job"), KV_JOB_ERROR);
    rig_stop(&r);
}

static void test_retention(void **state)
{
    rig r;
    uint64_t cursor = 0;
    int64_t removed = 0;
    (void)state;
    rig_start(&r);
    uint64_t base = kv_id_first_at(1790000000000);
    for (uint64_t i = 0; i < 20; i++) { /* the second half from a clock that is years ahead */
        uint64_t id = i < 10 ? base + i : (1ull << 62) + i;
        submit(&r, id);
        if (i % 2)
            continue;
        rig_move(&r, id, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
        rig_move(&r, id, "ai", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 1, "1", NULL);
    }
    int64_t rows = rig_number(&r, "SELECT count(*) FROM event");
    int64_t later = kv_wall_ms(&r.clock.clock) + 1000, now = later, total = 0;
    do {
        assert_int_equal(kv_jobs_prune(r.x.db, 1790000000000, later, 4, &cursor, &removed), KV_OK);
        assert_int_equal(removed, 0); /* not old enough */
    } while (cursor);
    do {
        assert_int_equal(kv_jobs_prune(r.x.db, later, ++now, 4, &cursor, &removed), KV_OK);
        total += removed;
    } while (cursor);
    assert_int_equal(total, 10);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job WHERE state = 0"),
                     10); /* unfinished ones stay */
    kv_oldest all = {.before_ms = later, .now = later, .max_rows = 1000, .past = &(uint64_t){0}};
    assert_int_equal(kv_event_prune(r.x.db, &all, &removed), KV_OK);
    assert_int_equal(removed, rows - 1); /* the newest stays: ids go on from it */
    assert_int_equal(rig_number(&r, "SELECT last FROM event"), (int64_t)r.x.last_event);
    rig_stop(&r);
}

/* Names of services are unknown again after a rollback that unmade their rows. */
static void test_rollback_forgets(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd *cmd = rig_submit_cmd(5, "ai");
    cmd->seq = 2;
    assert_int_equal(kv_exec_begin(&r.x), KV_OK);
    assert_int_equal(kv_exec_run(&r.x, cmd, NULL), KV_OK);
    kv_exec_rollback(&r.x);
    kv_cmd_free(&cmd);
    assert_null(kv_exec_take_rows(&r.x));
    assert_int_equal(r.x.last_event, 0);
    submit(&r, 5);
    assert_int_equal(
        rig_number(&r, "SELECT count(*) FROM service JOIN job ON job.service = service.id"), 1);
    assert_int_equal(rig_number(&r, "SELECT first FROM event"), 1);
    rig_stop(&r);
}

/* ---- the thread ---- */

static void test_thread(void **state)
{
    thread_rig t = {0};
    kv_cmd_list list = {.n = 0};
    uint64_t last = 0;
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    assert_int_equal(kv_ledger_epoch(t.ledger), 1);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    for (uint64_t i = 1; i <= 2000; i++)
        give(&t, &list, rig_submit_cmd(i, "ai"));
    kv_ledger_give(t.ledger, &list, false);
    kv_cmd_list done = take(&t, 2000, &last);
    uint64_t expect = 1;
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done)); expect++) {
        assert_int_equal(cmd->submit.job, expect);
        assert_true(cmd->created);
        kv_cmd_free(&cmd);
    }
    assert_int_equal(last, 2000);
    kv_ledger_close(&t.ledger);

    thread_open(&t);
    uint64_t event, gone;
    assert_int_equal(kv_ledger_epoch(t.ledger), 2);
    kv_ledger_heads(t.ledger, &event, &gone);
    assert_int_equal(event, 2000);
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

/* One bad command among good ones fails alone (S3-24): a trigger stands for what a database may do.
 */
static void test_one_bad_command(void **state)
{
    thread_rig t = {0};
    kv_cmd_list list = {.n = 0};
    uint64_t last = 0, before[6];
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    assert_int_equal(kv_db_exec(kv_ledger_db(t.ledger),
                                "CREATE TRIGGER bad BEFORE INSERT ON job WHEN new.id = 7 "
                                "BEGIN SELECT raise(ABORT, 'no'); END"),
                     KV_OK);
    static const kv_metric told[] = {KV_M_COMMIT_FAILURES, KV_M_COMMIT_COMMANDS, KV_M_EVENTS,
                                     KV_M_COMMITS,         KV_M_COMMIT_SECONDS,  KV_M_COMMIT_BATCH};
    for (int i = 0; i < 6; i++)
        before[i] = (uint64_t)kv_metric_get(told[i]);
    for (uint64_t i = 1; i <= 20; i++)
        give(&t, &list, rig_submit_cmd(i, i > 10 ? "ai" : "other"));
    kv_ledger_give(t.ledger, &list, false); /* before the start: one batch */
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    kv_cmd_list done = take(&t, 20, &last);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done));) {
        assert_int_equal(cmd->err, cmd->submit.job == 7 ? KV_E_DB : KV_OK);
        kv_cmd_free(&cmd);
    }
    assert_int_equal(last, 19); /* no gap in the event ids */
    for (int i = 0; i < 6; i++)
        before[i] = (uint64_t)kv_metric_get(told[i]) - before[i];
    assert_true(before[0] == 1 && before[1] == 19 && before[2] == 19);
    assert_true(before[3] > 0 && before[4] == before[3] && before[5] == before[3]);
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

/* What a round gives while its first commands wait for their transaction joins it; a round that
 * never ends keeps nobody waiting. */
static void test_rounds_in_parts(void **state)
{
    thread_rig t = {0};
    kv_cmd_list list = {.n = 0};
    uint64_t last = 0, job = 1;
    kv_db *other;
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    assert_int_equal(kv_db_open(&t.s.cfg, KV_DB_WRITE, &other), KV_OK);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    for (int round = 0; round < 20; round++) {
        int64_t commits = kv_metric_get(KV_M_COMMITS);
        assert_int_equal(kv_db_begin(other), KV_OK); /* now nobody else can begin */
        for (int part = 0; part < 3; part++) {
            give(&t, &list, rig_submit_cmd(job++, "ai"));
            kv_ledger_give(t.ledger, &list, true);
        }
        kv_ledger_give(t.ledger, &list, false);
        kv_db_rollback(other);
        kv_cmd_list done = take(&t, 3, &last);
        for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done)); kv_cmd_free(&cmd))
            assert_int_equal(cmd->err, KV_OK);
        assert_int_equal(kv_metric_get(KV_M_COMMITS) - commits, 1);
    }
    give(&t, &list, rig_submit_cmd(job, "ai"));
    kv_ledger_give(t.ledger, &list, true);
    kv_cmd_list done = take(&t, 1, &last);
    kv_cmd *cmd = kv_cmd_pop(&done);
    assert_int_equal(cmd->err, KV_OK);
    kv_cmd_free(&cmd);
    assert_int_equal(last, job);
    kv_db_close(&other);
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

static void run_here(thread_rig *t, uint64_t job)
{
    kv_cmd_list list = {.n = 0};
    give(t, &list, rig_submit_cmd(job, "ai"));
    kv_ledger_run(t->ledger, &list);
    assert_null(list.first);
}

static void give_one(thread_rig *t, uint64_t job)
{
    kv_cmd_list list = {.n = 0};
    give(t, &list, rig_submit_cmd(job, "ai"));
    kv_ledger_give(t->ledger, &list, false);
}

/* A caller that executes by itself: only where nothing was given before, and what is given
 * meanwhile comes after it. */
static void test_run_by_the_caller(void **state)
{
    thread_rig t = {0};
    uint64_t last = 0, job = 1;
    kv_ledger_out out;
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    assert_true(kv_ledger_try(t.ledger));
    run_here(&t, job++);
    struct pollfd p = {.fd = kv_ledger_fd(t.ledger), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_true(kv_ledger_take(t.ledger, &out));
    assert_int_equal(out.cmds.n, 1);
    kv_cmd *cmd = kv_cmd_pop(&out.cmds);
    assert_true(cmd->created);
    kv_cmd_free(&cmd);
    kv_event_rows_free(&out.rows);
    last = out.last_event;
    give_one(&t, job++); /* its thread does not run yet */
    assert_false(kv_ledger_try(t.ledger));
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    size_t owed = 1;
    for (int round = 0; round < 300; round++) {
        bool here = kv_ledger_try(t.ledger);
        give_one(&t, here ? job + 1 : job); /* while it is our turn, or another's */
        if (here)
            run_here(&t, job);
        job += here ? 2 : 1;
        owed += here ? 2 : 1;
        if (round % 3 == 0)
            continue;
        kv_cmd_list done = take(&t, owed, &last);
        for (uint64_t expect = job - owed; (cmd = kv_cmd_pop(&done)); kv_cmd_free(&cmd))
            assert_true(cmd->created && cmd->submit.job == expect++);
        owed = 0;
    }
    assert_int_equal(last, job - 1);
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

/* A business refusal is no error: it leaves nothing, and the batch goes on in one transaction. */
static void test_refusals_in_a_batch(void **state)
{
    thread_rig t = {0};
    kv_cmd_list list = {.n = 0};
    uint64_t last = 0;
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    for (uint64_t i = 1; i <= 40; i++) {
        kv_cmd *cmd = rig_submit_cmd(i, "ai");
        if (i % 4 == 1) {
            cmd->submit.credits = 1;
            cmd->submit.user = kv_slice_str("poor");
        } else if (i % 4 == 2) {
            cmd->type = KV_CMD_RETRY;
            cmd->retry = (kv_cmd_retry){.job = 999, .new_job = i};
        } else if (i % 4 == 3) {
            cmd->submit.unique_key = kv_slice_str("one");
        }
        give(&t, &list, cmd);
    }
    kv_ledger_give(t.ledger, &list, false);
    int64_t commits = kv_metric_get(KV_M_COMMITS);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    kv_cmd_list done = take(&t, 40, &last);
    assert_int_equal(kv_metric_get(KV_M_COMMITS) - commits, 1);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done));) {
        if (cmd->type == KV_CMD_RETRY) {
            assert_int_equal(cmd->err, KV_E_NOT_FOUND);
        } else if (cmd->submit.credits) {
            assert_int_equal(cmd->err, KV_E_NO_CREDIT);
        } else {
            assert_int_equal(cmd->err, KV_OK);
            assert_int_equal(cmd->created, !cmd->submit.unique_key.ptr || cmd->submit.job == 3);
        }
        kv_cmd_free(&cmd);
    }
    assert_int_equal(last, 11); /* ten plain ones, and the first of the key */
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

/* ---- a lease right behind its SUBMIT ---- */

static kv_cmd *lease_cmd(uint64_t job, const char *service)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MOVE, 0);
    cmd->move = (kv_cmd_move){.job = job,
                              .from = KV_JOB_QUEUED,
                              .to = KV_JOB_PROCESSING,
                              .new_epoch = 4,
                              .new_attempt = 1,
                              .service = kv_slice_str(service),
                              .worker = kv_slice_str("w1")};
    return cmd;
}

/* SUBMIT and lease in one transaction, with or without telling the first of the second. */
static void run_pair(rig *r, uint64_t job, bool told, kv_cmd *submit_it, kv_err lease_err)
{
    kv_cmd *lease = lease_cmd(job, "ai");
    submit_it->seq = 2;
    assert_int_equal(kv_exec_begin(&r->x), KV_OK);
    assert_int_equal(kv_exec_run(&r->x, submit_it, told ? lease : NULL), KV_OK);
    assert_int_equal(kv_exec_owes(&r->x), told && lease_err == KV_OK);
    assert_int_equal(kv_exec_run(&r->x, lease, NULL), KV_OK);
    assert_false(kv_exec_owes(&r->x));
    assert_int_equal(kv_exec_commit(&r->x), KV_OK);
    rig_collect(r);
    assert_int_equal(lease->err, lease_err);
    if (lease_err == KV_OK)
        assert_string_equal(kv_buf_str(&lease->text), "{\"n\":1}");
    kv_cmd_free(&lease);
    kv_cmd_free(&submit_it);
}

/* One insert gives what an insert and an update give: row, history, events. */
static void test_lease_at_once(void **state)
{
    kv_buf json[2], events[2];
    (void)state;
    for (int told = 0; told < 2; told++) {
        rig r;
        rig_start(&r);
        kv_cmd *cmd = rig_submit_cmd(5, "ai");
        cmd->submit.user = kv_slice_str("u");
        cmd->submit.tenant = kv_slice_str("t");
        run_pair(&r, 5, told, cmd, KV_OK);
        assert_int_equal(rig_number(&r, "SELECT epoch FROM job WHERE state = 1"), 4);
        kv_buf_init(&json[told], 0);
        kv_buf_init(&events[told], 0);
        assert_int_equal(kv_job_get_json(r.x.db, 5, &json[told]), KV_OK);
        kv_buf_add(&events[told], r.events.data, r.events.len);
        rig_stop(&r);
    }
    assert_string_equal(json[1].data, json[0].data);
    assert_string_equal(events[1].data, events[0].data);
    for (int i = 0; i < 2; i++) {
        kv_buf_release(&json[i]);
        kv_buf_release(&events[i]);
    }
}

static void test_no_lease_of_a_refused_job(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd *cmd = rig_submit_cmd(5, "ai");
    cmd->submit.user = kv_slice_str("poor");
    cmd->submit.credits = 1;
    run_pair(&r, 5, true, cmd, KV_E_CONFLICT);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 0);
    submit(&r, 6);
    rig_move(&r, 6, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    run_pair(&r, 6, true, rig_submit_cmd(6, "ai"), KV_E_CONFLICT); /* sent again */
    assert_int_equal(rig_number(&r, "SELECT epoch FROM job"), 1);
    rig_stop(&r);
}

/* Pairs across the limits of batches. */
static void test_pairs_in_batches(void **state)
{
    thread_rig t = {0};
    kv_cmd_list list = {.n = 0};
    uint64_t last = 0;
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    give(&t, &list, rig_submit_cmd(1, "ai")); /* the others stand on odd places */
    for (uint64_t i = 2; i <= 1000; i++) {
        give(&t, &list, rig_submit_cmd(i, "ai"));
        give(&t, &list, lease_cmd(i, "ai"));
    }
    kv_ledger_give(t.ledger, &list, false);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    kv_cmd_list done = take(&t, 1999, &last);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done));) {
        assert_int_equal(cmd->err, KV_OK);
        kv_cmd_free(&cmd);
    }
    assert_int_equal(last, 1999);
    kv_ledger_close(&t.ledger);
    thread_open(&t);
    kv_stmt *s;
    bool row;
    assert_int_equal(kv_db_prepare(kv_ledger_db(t.ledger),
                                   "SELECT count(*) FROM job WHERE state = 1 AND epoch = 4", &s),
                     KV_OK);
    assert_int_equal(kv_db_step(s, &row), KV_OK);
    assert_int_equal(kv_col_i64(s, 0), 999);
    kv_db_done(s);
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submit_and_history), cmocka_unit_test(test_submit_twice),
        cmocka_unit_test(test_conditional_moves),  cmocka_unit_test(test_retention),
        cmocka_unit_test(test_rollback_forgets),   cmocka_unit_test(test_thread),
        cmocka_unit_test(test_rounds_in_parts),    cmocka_unit_test(test_run_by_the_caller),
        cmocka_unit_test(test_one_bad_command),    cmocka_unit_test(test_refusals_in_a_batch),
        cmocka_unit_test(test_lease_at_once),      cmocka_unit_test(test_no_lease_of_a_refused_job),
        cmocka_unit_test(test_pairs_in_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
