/* Jobs whose media was deleted, as the core does it. */
#include "tests/unit/core_rig.h"

static void withdraw(rig *r, uint64_t job)
{
    kv_msg m;
    kv_msg_defaults(KV_MEDIA_DELETE, &m);
    m.media_delete.media = 7;
    rig_say(r, "c", &m);
    r->commands.first->other = job; /* the ledger: this job was making its variants */
    rig_answer(r, KV_OK);
}

/* What a job worked on was deleted: one that waits does not begin, one that runs may end well, and
 * is not tried again. */
static void test_withdrawn(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    for (uint64_t job = 1; job <= 3; job++)
        rig_submit(&r, "c", job, "ai", 1);
    rig_commit(&r);
    withdraw(&r, 3);
    assert_int_equal(r.commands.first->move.job, 3);
    assert_int_equal(r.commands.first->move.to, KV_JOB_CANCELLED);
    rig_commit(&r);
    rig_hello(&r, "w", "worker", "image", 1);
    rig_ready(&r, "w", "ai", 2);
    rig_commit(&r);
    for (uint64_t job = 1; job <= 2; job++) {
        withdraw(&r, job);
        assert_int_equal(r.commands.n, 0);
        assert_int_equal(kv_core_job_state(r.core, job, NULL), KV_JOB_PROCESSING);
    }
    rig_done(&r, "w", 1, 1, 1);
    assert_int_equal(r.commands.first->move.to, KV_JOB_COMPLETE);
    rig_commit(&r);
    uint64_t failed = rig_fail(&r, "w", 2, 1, 1, true);
    assert_int_equal(r.commands.first->move.to, KV_JOB_CANCELLED);
    rig_commit(&r);
    rig_expect_code(&r, failed, KV_OKAY);
    withdraw(&r, 2); /* over already, or never heard of */
    withdraw(&r, 99);
    assert_int_equal(r.commands.n, 0);
    assert_int_equal(kv_core_jobs(r.core), 0);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_withdrawn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
