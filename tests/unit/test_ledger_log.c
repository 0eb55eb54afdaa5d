/* The write-ahead log begins anew: what the checkpoint thread nearly copied is finished between two
 * commits, and only that. */
#include "tests/unit/ledger_rig.h"

#define MB (1 << 20)

/* Jobs of about a megabyte of parameters together. */
static void write_a_megabyte(thread_rig *t, uint64_t *next_job)
{
    enum { JOBS = 16, LEN = 1 << 16 };
    static char params[LEN];
    uint64_t last;
    kv_cmd_list list = {.n = 0};
    memset(params, 'x', LEN);
    params[0] = params[LEN - 1] = '"';
    for (int i = 0; i < JOBS; i++) {
        kv_cmd *cmd = kv_cmd_new(KV_CMD_SUBMIT, 0);
        cmd->submit = (kv_cmd_submit){.job = ++*next_job,
                                      .max_attempts = 3,
                                      .lane = 1,
                                      .service = kv_slice_str("ai"),
                                      .params = kv_slice_of(params, LEN)};
        give(t, &list, cmd);
    }
    kv_ledger_give(t->ledger, &list, false);
    last = t->seq == 2 * JOBS ? 0 : *next_job - JOBS;
    kv_cmd_list done = take(t, JOBS, &last);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done));) {
        assert_int_equal(cmd->err, KV_OK);
        kv_cmd_free(&cmd);
    }
}

/* After `n` megabytes more. */
static int64_t used_after(thread_rig *t, int n, uint64_t *next_job)
{
    while (n-- > 0)
        write_a_megabyte(t, next_job);
    /* what is taken is committed; how long the log is by then is said right behind it */
    kv_cmd_list list = {.n = 0};
    give(t, &list, kv_cmd_new(KV_CMD_NOTHING, 0));
    kv_ledger_give(t->ledger, &list, false);
    kv_cmd_list done = take(t, 1, NULL);
    kv_cmd *cmd = kv_cmd_pop(&done);
    kv_cmd_free(&cmd);
    return kv_ledger_log_used(t->ledger);
}

static void test_log_begins_anew(void **state)
{
    thread_rig t = {0};
    uint64_t jobs = 0;
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    int64_t used = used_after(&t, 5, &jobs);
    assert_in_range(used, 4 * MB, 8 * MB);
    kv_ledger_log_copied(t.ledger, used); /* short: not worth it */
    used = used_after(&t, 13, &jobs);
    assert_in_range(used, 17 * MB, 24 * MB);
    kv_ledger_log_copied(t.ledger, used + 4 * MB); /* of a log that was another one */
    int64_t more = used_after(&t, 1, &jobs);
    assert_true(more > used);
    kv_ledger_log_copied(t.ledger, more - 4 * MB); /* too much is left */
    used = used_after(&t, 1, &jobs);
    assert_true(used > more);
    kv_ledger_log_copied(t.ledger, used);
    used = used_after(&t, 2, &jobs);
    assert_in_range(used, 1, 4 * MB);
    assert_true(used_after(&t, 1, &jobs) > used); /* once */
    kv_ledger_close(&t.ledger);
    thread_open(&t);
    rig r = {.x.db = kv_ledger_db(t.ledger)};
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), jobs);
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_log_begins_anew)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
