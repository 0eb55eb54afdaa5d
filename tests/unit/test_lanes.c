/* The order of jobs: ranks against what is dispatched, fairness, tenants, restart. Random histories
 * from seeds; a failing seed replays. */
#include "tests/unit/lanes_bed.h"

/* ---- rank and dispatch are one order ---- */

static void any_change(bed *b)
{
    uint64_t what = pick(b, 10);
    int i = b->n ? (int)pick(b, (uint64_t)b->n) : 0;
    if (b->n == 0 || (what < 4 && b->n < TASKS))
        b->tasks[b->n++] =
            waiting(b, tenant_called(pick(b, TENANTS)), (int)pick(b, 3) % (1 + (int)pick(b, 3)));
    else if (what < 5)
        drop(b, i);
    else if (what < 6 && b->tasks[i]->at == KV_AT_LEASE)
        put_back(b, b->tasks[i]);
    else if (what < 9)
        (void)begin_next(b);
    else
        (void)kv_tenant_set(b->s, kv_slice_str(tenant_called(pick(b, TENANTS))), -1, -1,
                            1 + (int64_t)pick(b, 5));
}

/* S3-14, S3-38: unique at any time; S3-37: what begins is what stood first, and the others move up
 */
static void test_rank_is_dispatch(void **state)
{
    static const uint32_t shares[] = {0, 2, 3, 10};
    static bed b;
    kv_task *order[TASKS];
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        bed_start(&b, seed, shares[seed % 4]);
        for (int step = 0; step < 300; step++) {
            any_change(&b);
            int n = ranked(&b, order);
            kv_task *next = kv_lanes_next(b.r.core, b.s);
            assert_ptr_equal(next, n ? order[0] : NULL);
        }
        int n = ranked(&b, order); /* none comes any more: they begin as they stand */
        for (int i = 0; i < n; i++)
            assert_ptr_equal(begin_next(&b), order[i]);
        assert_null(kv_lanes_next(b.r.core, b.s));
        end_all(&b);
        bed_stop(&b);
    }
}

/* ---- fairness ---- */

static void test_weights(void **state)
{
    static bed b;
    int begun[2] = {0, 0};
    (void)state;
    bed_start(&b, 1, 10);
    assert_true(kv_tenant_set(b.s, kv_slice_str("three"), -1, -1, 3));
    for (int i = 0; i < 1000; i++) {
        waiting(&b, "one", 1);
        waiting(&b, "three", 1);
    }
    for (int i = 0; i < 400; i++) {
        kv_task *t = begin_next(&b);
        begun[kv_tenant_name(t->tenant)[0] == 't']++;
        end(&b, t);
        assert_in_range(begun[1] - 3 * begun[0] + 4, 0, 7); /* at any time */
    }
    assert_in_range(begun[0], 99, 101);
    end_all(&b);
    bed_stop(&b);
}

/* Who sends ten thousand jobs does not delay another's first one by more than a turn, nor later
 * the others of those who take turns. */
static void test_flood(void **state)
{
    static bed b;
    uint32_t at;
    (void)state;
    bed_start(&b, 1, 10);
    for (int i = 0; i < 10000; i++)
        waiting(&b, "flood", 1);
    for (int i = 0; i < 100; i++)
        end(&b, begin_next(&b));
    kv_task *first = waiting(&b, "ayse", 1), *second = waiting(&b, "ayse", 1);
    assert_in_range(kv_lanes_rank(first, NULL), 0, 1);
    assert_in_range(kv_lanes_rank(second, NULL), 2, 3);
    kv_task *other = waiting(&b, "can", 1);
    assert_in_range(kv_lanes_rank(other, &at), 0, 2);
    end_all(&b);
    bed_stop(&b);
}

/* One that comes back after it had nothing for long has saved up no turns. */
static void test_absence_is_not_saved(void **state)
{
    static bed b;
    int returned = 0;
    (void)state;
    bed_start(&b, 1, 10);
    kv_task *once = waiting(&b, "returns", 1);
    begin(&b, once);
    end(&b, once);
    for (int i = 0; i < 300; i++)
        waiting(&b, "stays", 1);
    for (int i = 0; i < 200; i++)
        end(&b, begin_next(&b));
    for (int i = 0; i < 100; i++)
        waiting(&b, "returns", 1);
    for (int i = 0; i < 50; i++) {
        kv_task *t = begin_next(&b);
        returned += kv_tenant_name(t->tenant)[0] == 'r';
        end(&b, t);
    }
    assert_in_range(returned, 24, 26);
    end_all(&b);
    bed_stop(&b);
}

/* ---- tenants ---- */

static bool count_tenant(void *arg, const kv_tenant_view *v)
{
    int *n = arg;
    n[0]++;
    n[1] += (int)v->waiting;
    n[2] += v->held_back;
    if (strcmp(v->name, KV_TENANT_EACH) == 0)
        assert_int_equal(v->limits.rate_per_minute, 6000);
    if (strcmp(v->name, "kept") == 0) {
        assert_int_equal(v->weight, 100);
        assert_int_equal(v->limits.concurrency, 7);
    }
    return n[0] < 50;
}

static void test_tenants_come_and_go(void **state)
{
    static bed b;
    int n[3] = {0, 0, 0};
    char name[16];
    (void)state;
    bed_start(&b, 1, 10);
    assert_true(kv_tenant_set(b.s, kv_slice_str("kept"), 7, -1, 100000));
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "t%d", i);
        waiting(&b, name, 1);
        waiting(&b, name, 1);
    }
    assert_true(kv_tenant_set(b.s, kv_slice_str("t3"), 1, -1, -1));
    while (kv_lanes_waiting(b.s, 1) > 20)
        begin_next(&b);
    kv_lanes_tenants(b.r.core, b.s, KV_PLACE_RULE, count_tenant, n);
    assert_int_equal(n[0], 41);
    assert_int_equal(n[1], 20);
    assert_int_equal(n[2], 1);
    assert_true(kv_tenant_set(b.s, kv_slice_str(KV_TENANT_EACH), -1, 6000, -1));
    kv_lanes_tenants(b.r.core, b.s, KV_PLACE_RULE, count_tenant, n);
    assert_int_equal(n[0], 50); /* the rule and 41 more, but it was told to stop */
    assert_true(kv_tenant_set(b.s, kv_slice_str(KV_TENANT_EACH), -1, 0, -1));
    end_all(&b);
    assert_int_equal(b.s->tenants.n, 2); /* those with settings */
    kv_task *t = kv_task_new(b.r.core, 1, b.s, kv_slice_of("a\0b", 3), 1, 1);
    assert_int_equal(b.s->tenants.n, 3);
    end(&b, t);
    assert_int_equal(b.s->tenants.n, 2);
    bed_stop(&b);
}

/* X08 */
static void test_evictable(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    assert_null(kv_lanes_evictable(b.s, NULL));
    waiting(&b, "a", 0);
    for (int i = 0; i < 5; i++)
        waiting(&b, "a", 1);
    kv_task *oldest = waiting(&b, "flood", 2);
    for (int i = 0; i < 50; i++)
        waiting(&b, "flood", 2);
    begin(&b, oldest); /* never one that runs */
    end(&b, begin_next(&b));
    kv_task *rare = waiting(&b, "rare", 2); /* its key is small, its age too */
    kv_task *victim = kv_lanes_evictable(b.s, NULL);
    assert_int_equal(victim->id, oldest->id + 1);
    assert_ptr_not_equal(victim, rare);
    for (int i = 0; i < 51; i++) {
        victim = kv_lanes_evictable(b.s, NULL);
        assert_int_equal(victim->lane, 2);
        end(&b, victim);
    }
    assert_int_equal(kv_lanes_evictable(b.s, NULL)->lane, 1);
    end_all(&b);
    bed_stop(&b);
}

/* ---- restart ---- */

/* The same places as before, and a tenant that comes after it has its turn at once. */
static void test_restart(void **state)
{
    static bed old, b;
    uint64_t tags[61];
    uint32_t ranks[61];
    (void)state;
    bed_start(&old, 1, 10);
    for (int i = 1; i <= 60; i++)
        tags[i] = waiting(&old, i % 3 ? "many" : "few", 1)->tag;
    for (int i = 0; i < 10; i++)
        end(&old, begin_next(&old));
    bed_start(&b, 1, 10);
    for (uint64_t i = 1; i <= 60; i++) {
        const kv_task *t = kv_ids_find(&old.r.core->jobs, i);
        if (!t)
            continue;
        ranks[i] = kv_lanes_rank(t, NULL);
        load(&b, kv_tenant_name(t->tenant), i, tags[i], 0, KV_JOB_QUEUED, 0);
    }
    for (uint64_t i = 1; i <= 60; i++) {
        const kv_task *t = kv_ids_find(&b.r.core->jobs, i);
        if (t)
            assert_int_equal(kv_lanes_rank(t, NULL), ranks[i]);
    }
    b.made = 60;
    assert_int_equal(kv_lanes_rank(waiting(&b, "new", 1), NULL), 2);
    const kv_task *more = waiting(&b, "many", 1);
    assert_int_equal(kv_lanes_rank(more, NULL), kv_lanes_waiting(b.s, -1) - 1);
    end_all(&old);
    end_all(&b);
    bed_stop(&old);
    bed_stop(&b);
}

/* What began long ago and comes back, or was delayed for long, does not turn the clock back: a new
 * tenant would overtake all who wait. */
static void test_old_keys_after_restart(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    load(&b, "old", 1, 5000, 2, KV_JOB_QUEUED, 0);
    load(&b, "late", 2, 7000, 0, KV_JOB_QUEUED, (uint64_t)b.r.now.wall_ms - 1);
    for (uint64_t i = 3; i < 20; i++)
        load(&b, "many", i, 900000000 + i * 65536, 0, KV_JOB_QUEUED, 0);
    load(&b, "", 20, 0, 0, KV_JOB_QUEUED, 0); /* kervan's own: a key of now */
    for (int i = 0; i < 5; i++)
        waiting(&b, "new", 1);
    uint32_t last = kv_lanes_rank(kv_ids_find(&b.r.core->jobs, 25), NULL);
    assert_in_range(last, 10, 13); /* they take turns: 1 and 2 first, then one each */
    assert_in_range(kv_lanes_rank(kv_ids_find(&b.r.core->jobs, 20), NULL), 2, 4);
    assert_int_equal(kv_lanes_next(b.r.core, b.s)->id, 1);
    end_all(&b);
    bed_stop(&b);
}

/* What had begun says how far the clock was, when no row that never began does. */
static void test_clock_of_what_began(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    load(&b, "late", 1, 7000, 0, KV_JOB_QUEUED, (uint64_t)b.r.now.wall_ms + 60000);
    load(&b, "a", 2, 900000000, 1, KV_JOB_QUEUED, 0);
    load(&b, "b", 3, 800000000, 2, KV_JOB_PROCESSING, 0);
    assert_true(waiting(&b, "new", 1)->tag > 900000000);
    end_all(&b);
    bed_stop(&b);
}

/* Old rows have no tag: first in, first out. And a stored tag at the end of the scale does no
 * harm. */
static void test_no_tags_and_the_last(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    for (uint64_t i = 1; i <= 20; i++)
        load(&b, "", i, 0, 0, KV_JOB_QUEUED, 0);
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(kv_lanes_rank(kv_ids_find(&b.r.core->jobs, i), NULL), i - 1);
    load(&b, "", 21, UINT64_MAX, 0, KV_JOB_QUEUED, 0);
    for (uint64_t i = 22; i < 25; i++)
        assert_int_equal(kv_lanes_rank(waiting(&b, "", 1), NULL), i - 1);
    end_all(&b);
    bed_stop(&b);
}

/* ---- through messages ---- */

static uint64_t rank_of(const rig *r, uint64_t job)
{
    uint64_t rank = UINT64_MAX;
    assert_true(kv_core_job_rank(r->core, job, &rank));
    return rank;
}

/* S3-36: three at once stand at 1, 2, 3 */
static void test_three_at_once(void **state)
{
    static rig r;
    (void)state;
    rig_client(&r);
    for (uint64_t i = 1; i <= 3; i++)
        submit(&r, i, "", 1);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(rank_of(&r, i) + 1, i);
    rig_commit(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    assert_int_equal(rank_of(&r, 2) + 1, 1); /* S3-37 */
    assert_int_equal(rank_of(&r, 3) + 1, 2);
    rig_commit(&r);
    rig_stop(&r);
}

/* S4-29: named queues; S4-31 urgent, S4-32 normal, S4-33 background: one queue with three lanes;
 * S4-04: the higher first, with a share for the lower. */
static void test_lanes_through_messages(void **state)
{
    static rig r;
    uint64_t order[24];
    int n = 0;
    (void)state;
    rig_client(&r);
    for (uint64_t i = 0; i < 8; i++) {
        submit(&r, 300 + i, "", 2);
        submit(&r, 200 + i, "", 1);
        submit(&r, 100 + i, "", 0);
    }
    rig_commit(&r);
    for (uint64_t lane = 1; lane <= 3; lane++) {
        for (uint64_t i = 0; i < 8; i++)
            order[rank_of(&r, lane * 100 + i)] = lane * 100 + i;
    }
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 24);
    rig_commit(&r);
    for (int i = 0; i < r.n; i++) {
        if (r.sent[i].m.code == KV_JOB)
            assert_int_equal(r.sent[i].m.job.job, order[n++]);
    }
    assert_int_equal(n, 24);
    assert_int_equal(order[0], 100);
    assert_int_equal(order[8], 200); /* the first normal one after eight urgent ones */
    assert_int_equal(order[9], 300); /* the tenth start is background's */
    assert_int_equal(order[10], 201);
    rig_stop(&r);
}

/* The key goes to the ledger with the job; a retry stands where it stood. */
static void test_key_is_kept(void **state)
{
    static rig r;
    (void)state;
    rig_client(&r);
    submit(&r, 1, "a", 1);
    uint64_t tag = r.commands.first->submit.tag;
    assert_true(tag > 0);
    assert_true(kv_slice_is(r.commands.first->submit.tenant, "a"));
    rig_commit(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_commit(&r);
    for (uint64_t i = 2; i < 10; i++)
        submit(&r, i, i % 2 ? "a" : "b", 1);
    rig_commit(&r);
    kv_msg m;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str("ai");
    rig_say(&r, "w", &m); /* no more credit */
    rig_fail(&r, "w", 1, 1, 1, true);
    rig_commit(&r);
    rig_tick(&r, 2000);
    assert_int_equal(rank_of(&r, 1), 0);
    rig_stop(&r);
}

static void test_paused(void **state)
{
    static rig r;
    (void)state;
    rig_start(&r, 1);
    kv_service *s = kv_service_get(r.core, kv_slice_str("ai"));
    s->paused = true;
    rig_hello(&r, "c", "client", "cli", 2);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 9);
    submit(&r, 1, "", 1);
    rig_commit(&r);
    rig_tick(&r, 1000);
    assert_int_equal(rig_count(&r, KV_JOB), 0);
    assert_int_equal(rank_of(&r, 1), 0);
    s->paused = false;
    kv_lease_dispatch(r.core, s);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rank_is_dispatch),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_absence_is_not_saved),
        cmocka_unit_test(test_tenants_come_and_go),
        cmocka_unit_test(test_evictable),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_old_keys_after_restart),
        cmocka_unit_test(test_clock_of_what_began),
        cmocka_unit_test(test_no_tags_and_the_last),
        cmocka_unit_test(test_three_at_once),
        cmocka_unit_test(test_lanes_through_messages),
        cmocka_unit_test(test_key_is_kept),
        cmocka_unit_test(test_paused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
