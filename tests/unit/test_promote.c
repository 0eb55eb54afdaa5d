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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twice_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
