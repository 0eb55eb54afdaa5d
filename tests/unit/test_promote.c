/* A PROMOTE that the ledger cannot write: the job stands where its row says, and loses nothing. */
#include "tests/unit/rig_text.h"

static void start(text_rig *t)
{
    text_start(t, 1);
    rig_hello(&t->r, "c", "client", "c", 1);
}

static uint64_t promote(text_rig *t, uint64_t job, uint64_t lane)
{
    kv_msg m;
    kv_msg_defaults(KV_PROMOTE, &m);
    m.promote.job = job;
    m.promote.lane = lane;
    return rig_say(&t->r, "c", &m);
}

static uint64_t rank(const text_rig *t, uint64_t job)
{
    uint64_t r;
    assert_true(kv_core_job_rank(t->r.core, job, &r));
    return r;
}

/* The row is in state queued, never begun. */
static void answer_find(text_rig *t)
{
    kv_cmd *find = kv_cmd_pop(&t->r.commands);
    assert_non_null(find);
    assert_int_equal(find->type, KV_CMD_FIND);
    find->place = (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    kv_core_result(t->r.core, t->r.now, find);
}

/* Of two at once the second would be judged by a lane that the first may not get. */
static void test_twice_at_once(void **state)
{
    text_rig t;
    (void)state;
    start(&t);
    for (uint64_t job = 0; job < 4; job++)
        rig_submit(&t.r, "c", job + 1, "ai", job < 3 ? job : 2);
    text_commit(&t);
    uint64_t first = promote(&t, 4, 0), second = promote(&t, 4, 1);
    rig_expect_error(&t.r, second, KV_E_BUSY);
    rig_answer(&t.r, KV_E_DISK_FULL);
    rig_expect_error(&t.r, first, KV_E_DISK_FULL);
    answer_find(&t);
    text_wait(&t, 1500);
    assert_int_equal(rank(&t, 4), 3);
    second = promote(&t, 4, 1); /* as it was told: once more */
    rig_commit(&t.r);
    rig_expect_code(&t.r, second, KV_OKAY);
    assert_int_equal(rank(&t, 4), 2);
    text_stop(&t);
}

/* It began at once, and its lease was written: it goes on, whatever lane its row is in. */
static void test_fails_behind_a_lease(void **state)
{
    text_rig t;
    (void)state;
    start(&t);
    rig_hello(&t.r, "w", "worker", "w", 2);
    rig_ready(&t.r, "w", "ai", 1);
    kv_msg later = rig_job(1, "ai", 2);
    later.submit.delay_ms = 60000;
    rig_say(&t.r, "c", &later);
    text_commit(&t);
    uint64_t request = promote(&t, 1, 0);
    rig_answer(&t.r, KV_E_DISK_FULL);
    rig_expect_error(&t.r, request, KV_E_DISK_FULL);
    assert_int_equal(t.r.commands.first->type, KV_CMD_MOVE);
    rig_commit(&t.r);
    const rig_sent *job = rig_last(&t.r, "w", KV_JOB);
    assert_non_null(job);
    assert_int_equal(job->m.job.attempt, 1);
    uint64_t failed = rig_fail(&t.r, "w", 1, 1, 1, true);
    rig_commit(&t.r);
    rig_expect_code(&t.r, failed, KV_OKAY);
    rig_ready(&t.r, "w", "ai", 0);
    rig_submit(&t.r, "c", 2, "ai", 1);
    rig_commit(&t.r);
    for (int i = 0; i < 100; i++) { /* until its wait is over */
        rig_beat(&t.r, "c", 0);
        rig_beat(&t.r, "w", 0);
        text_wait(&t, 100);
    }
    assert_int_equal(rank(&t, 1), 1); /* in its old lane */
    text_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twice_at_once),
        cmocka_unit_test(test_fails_behind_a_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
