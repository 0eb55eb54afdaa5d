/* How many sessions there may be, which of them make room, and what else ends one. */
#include "tests/unit/core_rig.h"

#include "broker/core_types.h"

static void hello(rig *r, uint64_t i)
{
    char peer[16], name[16];
    snprintf(peer, sizeof peer, "p%u", (unsigned)i);
    snprintf(name, sizeof name, "n%u", (unsigned)i);
    r->n = 0;
    rig_hello(r, peer, "client", name, i + 1);
}

static void bye(rig *r, uint64_t i)
{
    char peer[16];
    kv_msg m;
    snprintf(peer, sizeof peer, "p%u", (unsigned)i);
    kv_msg_defaults(KV_BYE, &m);
    rig_say(r, peer, &m);
    rig_commit(r);
}

/* Clients that come for a moment are kept for a while, but keep nobody out. */
static void test_those_that_went_make_room(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    hello(&r, 0); /* this one stays */
    for (uint64_t i = 1; i < 2 * KV_SESSIONS_MAX; i++) {
        hello(&r, i);
        assert_int_equal(rig_count(&r, KV_HELLO_OK), 1);
        bye(&r, i);
    }
    assert_int_equal(r.core->sessions.n, KV_SESSIONS_MAX);
    r.n = 0;
    rig_beat(&r, "p0", 0);
    assert_true(rig_last(&r, "p0", KV_BEAT_OK)->m.beat_ok.known);
    hello(&r, 2 * KV_SESSIONS_MAX - 1); /* the last one comes again, with its name */
    assert_int_equal(rig_count(&r, KV_HELLO_OK), 1);
    rig_stop(&r);
}

static void test_more_than_may_live(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    for (uint64_t i = 0; i < KV_SESSIONS_MAX; i++) {
        hello(&r, i);
        assert_int_equal(rig_count(&r, KV_HELLO_OK), 1);
    }
    hello(&r, KV_SESSIONS_MAX);
    assert_int_equal(rig_last(&r, "p8192", KV_ERROR)->m.error.number, KV_E_BUSY);
    assert_true(rig_last(&r, "p8192", KV_ERROR)->m.error.retry_after_ms > 0);
    bye(&r, 5);
    hello(&r, KV_SESSIONS_MAX);
    assert_int_equal(rig_count(&r, KV_HELLO_OK), 1);
    rig_stop(&r);
}

/* The one that went first has the very name: it is replaced, not used as room. */
static void test_the_oldest_has_the_name(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    for (uint64_t i = 0; i < KV_SESSIONS_MAX; i++)
        hello(&r, i);
    bye(&r, 5);
    r.n = 0;
    rig_hello(&r, "new", "client", "n5", 99999);
    assert_int_equal(rig_last(&r, "new", KV_ERROR)->m.error.number, KV_E_BUSY);
    r.now.mono_ms++;
    bye(&r, 6);
    rig_hello(&r, "new", "client", "n5", 99999);
    assert_non_null(rig_last(&r, "new", KV_HELLO_OK));
    rig_stop(&r);
}

/* The job that "w" had was given back, and its late answer is refused; who says HELLO as "w" from
 * now on gets it. */
static void lost_and_found(rig *r, const char *role_name, uint64_t instance)
{
    assert_int_equal(r->commands.first->move.to, KV_JOB_QUEUED);
    rig_commit(r);
    rig_tick(r, 1000); /* the backoff */
    rig_hello(r, "w", "worker", role_name, instance);
    rig_expect_error(r, rig_done(r, "w", 100, 1, 1), KV_E_STALE_LEASE);
    rig_ready(r, "w", "ai", 1);
    rig_commit(r);
    assert_int_equal(rig_last(r, "w", KV_JOB)->m.job.attempt, 2);
    for (int i = 0; i < 61; i++) { /* until sessions that went are forgotten */
        rig_tick(r, 1000);
        rig_beat(r, "c", 0);
        rig_beat(r, "w", 1);
    }
    assert_true(rig_last(r, "w", KV_BEAT_OK)->m.beat_ok.known);
    uint64_t done = rig_done(r, "w", 100, 1, 2);
    rig_commit(r);
    rig_expect_code(r, done, KV_OKAY);
    rig_stop(r);
}

/* One peer, one session. */
static void test_another_name(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    rig_hello(&r, "w", "worker", "renamed", 1);
    lost_and_found(&r, "renamed", 1);
}

/* Its messages are thrown away: what it holds must not wait for its silence. */
static void test_one_that_does_not_read(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    kv_core_overflow(r.core, r.now, kv_slice_str("nobody"));
    assert_int_equal(r.commands.n, 0);
    kv_core_overflow(r.core, r.now, kv_slice_str("w"));
    rig_beat(&r, "w", 1);
    assert_false(rig_last(&r, "w", KV_BEAT_OK)->m.beat_ok.known); /* it says HELLO */
    kv_core_overflow(r.core, r.now, kv_slice_str("w"));           /* once is enough */
    assert_int_equal(r.commands.n, 1);
    lost_and_found(&r, "image", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_that_went_make_room),
        cmocka_unit_test(test_more_than_may_live),
        cmocka_unit_test(test_another_name),
        cmocka_unit_test(test_one_that_does_not_read),
        cmocka_unit_test(test_the_oldest_has_the_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
