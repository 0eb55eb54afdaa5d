/* Limits of services and tenants: concurrency and rates, against a model that looks at everything.
 * Random histories from seeds; a failing seed replays. */
#include "tests/unit/lanes_bed.h"

enum { MINUTE = 60000 };

/* ---- the model ---- */

typedef struct model {
    int64_t concurrency, rate, tokens, at; /* tokens in 1/60000 */
    int64_t running;
} model;

static int64_t model_burst(const model *m)
{
    return (m->rate / 6 > 1 ? m->rate / 6 : 1) * MINUTE;
}

static void model_set(model *m, int64_t concurrency, int64_t rate, int64_t now)
{
    m->concurrency = concurrency;
    if (rate != m->rate) {
        m->rate = rate;
        m->tokens = model_burst(m);
        m->at = now;
    }
}

static void model_time(model *m, int64_t now)
{
    m->tokens += (now - m->at) * m->rate;
    if (m->tokens > model_burst(m))
        m->tokens = model_burst(m);
    m->at = now;
}

static bool model_open(const model *m)
{
    return (!m->concurrency || m->running < m->concurrency) && (!m->rate || m->tokens >= MINUTE);
}

typedef struct limited {
    bed b;
    model service, tenants[TENANTS];
} limited;

static model *model_of(limited *l, const kv_task *t)
{
    for (uint64_t i = 0; i < TENANTS; i++) {
        if (strcmp(kv_tenant_name(t->tenant), tenant_called(i)) == 0)
            return &l->tenants[i];
    }
    fail();
    return NULL;
}

static kv_task *model_next(limited *l)
{
    bool waits[KV_LANES] = {false, false, false};
    kv_task *first[KV_LANES] = {NULL, NULL, NULL};
    if (!model_open(&l->service))
        return NULL;
    for (int i = 0; i < l->b.n; i++) {
        kv_task *t = l->b.tasks[i], **f = &first[t->lane];
        if (t->at != KV_AT_LANE || !model_open(model_of(l, t)))
            continue;
        waits[t->lane] = true;
        if (!*f || t->tag < (*f)->tag || (t->tag == (*f)->tag && t->node.seq < (*f)->node.seq))
            *f = t;
    }
    int lane = kv_order_next(&l->b.s->order, waits);
    return lane < 0 ? NULL : first[lane];
}

static void limits_change(limited *l)
{
    static const int64_t rates[] = {0, 10, 60, 120, 600};
    int64_t concurrency = (int64_t)pick(&l->b, 4), rate = rates[pick(&l->b, 5)];
    uint64_t i = pick(&l->b, TENANTS + 1);
    if (i == TENANTS) {
        kv_service_set_limits(l->b.s, concurrency * 3, rate);
        model_set(&l->service, concurrency * 3, rate, l->b.r.now.mono_ms);
    } else {
        assert_true(kv_tenant_set(l->b.s, kv_slice_str(tenant_called(i)), concurrency, rate, -1));
        model_set(&l->tenants[i], concurrency, rate, l->b.r.now.mono_ms);
    }
}

static void limited_begin(limited *l)
{
    kv_task *t = begin_next(&l->b);
    if (!t)
        return;
    model *both[2] = {&l->service, model_of(l, t)};
    for (int i = 0; i < 2; i++) {
        both[i]->running++;
        if (both[i]->rate)
            both[i]->tokens -= MINUTE;
    }
}

static void limited_leave(limited *l, int i)
{
    kv_task *t = l->b.tasks[i];
    if (t->at == KV_AT_LEASE) {
        l->service.running--;
        model_of(l, t)->running--;
    }
    if (t->at == KV_AT_LEASE && pick(&l->b, 4) == 0)
        put_back(&l->b, t);
    else
        drop(&l->b, i);
}

static void limited_time(limited *l, int64_t ms)
{
    pass_ms(&l->b, ms);
    model_time(&l->service, l->b.r.now.mono_ms);
    for (int i = 0; i < TENANTS; i++)
        model_time(&l->tenants[i], l->b.r.now.mono_ms);
}

/* When nothing else happens, the next one begins at the millisecond that was foretold. */
static void check_wake(limited *l)
{
    kv_core *c = l->b.r.core;
    int64_t at = kv_lanes_wake_at(l->b.s);
    if (kv_lanes_next(c, l->b.s))
        return;
    if (at == INT64_MAX) {
        limited_time(l, 10 * MINUTE);
        assert_null(model_next(l));
        assert_null(kv_lanes_next(c, l->b.s));
        return;
    }
    if (at > l->b.r.now.mono_ms + 1) {
        limited_time(l, at - 1 - l->b.r.now.mono_ms);
        assert_null(kv_lanes_next(c, l->b.s));
    }
    limited_time(l, at - l->b.r.now.mono_ms);
    assert_non_null(model_next(l));
    assert_ptr_equal(kv_lanes_next(c, l->b.s), model_next(l));
}

static void limited_step(limited *l)
{
    bed *b = &l->b;
    uint64_t what = pick(b, 20);
    if (what < 6 && b->n < TASKS)
        b->tasks[b->n++] = waiting(b, tenant_called(pick(b, TENANTS)), (int)pick(b, 3));
    else if (what < 12)
        limited_begin(l);
    else if (what < 15 && b->n)
        limited_leave(l, (int)pick(b, (uint64_t)b->n));
    else if (what < 16)
        limits_change(l);
    else if (what < 17)
        check_wake(l);
    else
        limited_time(l, (int64_t)pick(b, 300));
}

static void test_limits(void **state)
{
    static limited l;
    kv_task *order[TASKS];
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        memset(&l, 0, sizeof l);
        bed_start(&l.b, seed, seed % 2 ? 3 : 10);
        for (int step = 0; step < 600; step++) {
            limited_step(&l);
            assert_ptr_equal(kv_lanes_next(l.b.r.core, l.b.s), model_next(&l));
            (void)kv_lanes_tick(l.b.r.core, l.b.s);
        }
        (void)ranked(&l.b, order); /* limits do not touch ranks */
        end_all(&l.b);
        bed_stop(&l.b);
    }
}

/* ---- concurrency ---- */

/* A tenant at its limit is passed over, however much it has waiting; its ranks stay. */
static void test_passed_over(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    assert_true(kv_tenant_set(b.s, kv_slice_str("big"), 2, -1, -1));
    for (int i = 0; i < 5000; i++)
        waiting(&b, "big", 0);
    kv_task *small = waiting(&b, "small", 2);
    kv_task *one = begin_next(&b), *two = begin_next(&b);
    assert_string_equal(kv_tenant_name(two->tenant), "big");
    assert_true(kv_lanes_rank(small, NULL) > 0);
    assert_ptr_equal(begin_next(&b), small);
    assert_null(kv_lanes_next(b.r.core, b.s));
    assert_true(kv_lanes_wake_at(b.s) == INT64_MAX);
    end(&b, one);
    assert_string_equal(kv_tenant_name(kv_lanes_next(b.r.core, b.s)->tenant), "big");
    assert_true(kv_tenant_set(b.s, kv_slice_str("big"), 1, -1, -1));
    assert_null(kv_lanes_next(b.r.core, b.s));
    assert_true(kv_tenant_set(b.s, kv_slice_str("big"), 0, -1, -1));
    assert_non_null(kv_lanes_next(b.r.core, b.s));
    end_all(&b);
    bed_stop(&b);
}

/* What runs at start counts for its tenant. */
static void test_running_after_restart(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    assert_true(kv_tenant_set(b.s, kv_slice_str("a"), 2, -1, -1));
    load(&b, "a", 1, 65536, 1, KV_JOB_PROCESSING, 0);
    load(&b, "a", 2, 65537, 1, KV_JOB_PROCESSING, 0);
    load(&b, "a", 3, 65538, 0, KV_JOB_QUEUED, 0);
    assert_null(kv_lanes_next(b.r.core, b.s));
    end(&b, kv_ids_find(&b.r.core->jobs, 1));
    assert_int_equal(kv_lanes_next(b.r.core, b.s)->id, 3);
    end_all(&b);
    bed_stop(&b);
}

/* ---- rates ---- */

static int begun_in(bed *b, const char *tenant, int64_t ms)
{
    int n = 0;
    for (int64_t i = 0; i < ms; i += 100) {
        for (kv_task *t; (t = begin_next(b)); end(b, t))
            n += strcmp(kv_tenant_name(t->tenant), tenant) == 0;
        pass_ms(b, 100);
        (void)kv_lanes_tick(b->r.core, b->s);
    }
    return n;
}

/* S4-03, S4-123: ten a minute for each user, whoever it is; one does not use up what is another's.
 */
static void test_ten_a_minute(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    assert_true(kv_tenant_set(b.s, kv_slice_str(KV_TENANT_EACH), -1, 10, -1));
    for (int i = 0; i < 100; i++)
        waiting(&b, "ayse", 1);
    assert_int_equal(begun_in(&b, "ayse", MINUTE), 10);
    for (int i = 0; i < 15; i++)
        waiting(&b, "can", 1);
    assert_int_equal(begun_in(&b, "can", MINUTE), 10);
    assert_int_equal(begun_in(&b, "ayse", MINUTE), 10);
    /* one may have more, and one less */
    assert_true(kv_tenant_set(b.s, kv_slice_str("ayse"), -1, 30, -1));
    assert_int_equal(begun_in(&b, "ayse", MINUTE), 34); /* with a burst of 5, once */
    assert_true(kv_tenant_set(b.s, kv_slice_str("ayse"), -1, 0, -1));
    assert_int_equal(begun_in(&b, "ayse", 100), 36);
    end_all(&b);
    bed_stop(&b);
}

/* Going away and coming back does not fill the bucket; in time the tenant is forgotten. */
static void test_rate_remembers(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    assert_true(kv_tenant_set(b.s, kv_slice_str(KV_TENANT_EACH), -1, 10, -1));
    for (int i = 0; i < 5; i++) {
        kv_task *t = waiting(&b, "ayse", 1);
        kv_task *next = kv_lanes_next(b.r.core, b.s);
        assert_ptr_equal(next, i == 0 ? t : NULL);
        if (next)
            begin(&b, t);
        end(&b, t);
        pass_ms(&b, 1000);
        assert_false(kv_lanes_tick(b.r.core, b.s));
        assert_int_equal(b.s->tenants.n, 1);
    }
    pass_ms(&b, 1000);
    (void)kv_lanes_tick(b.r.core, b.s);
    assert_int_equal(b.s->tenants.n, 0);
    bed_stop(&b);
}

static void test_service_rate(void **state)
{
    static bed b;
    (void)state;
    bed_start(&b, 1, 10);
    kv_service_set_limits(b.s, -1, 60);
    for (int i = 0; i < 200; i++)
        waiting(&b, tenant_called((uint64_t)i), 1);
    int n = 0;
    while (begin_next(&b))
        n++;
    assert_int_equal(n, 10); /* a sixth at once */
    assert_true(kv_lanes_wake_at(b.s) == b.r.now.mono_ms + 1000);
    kv_service_set_limits(b.s, 11, -1);
    pass_ms(&b, 60000);
    assert_non_null(begin_next(&b));
    assert_null(kv_lanes_next(b.r.core, b.s)); /* eleven run */
    end_all(&b);
    bed_stop(&b);
}

/* A rate holds jobs back, and the tick lets them go. */
static void test_rate_through_the_tick(void **state)
{
    static rig r;
    (void)state;
    rig_start(&r, 1);
    kv_service *s = kv_service_get(r.core, kv_slice_str("ai"));
    kv_service_set_limits(s, -1, 10);
    rig_hello(&r, "c", "client", "cli", 2);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 9);
    for (uint64_t i = 1; i <= 3; i++)
        submit(&r, i, "", 1);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1);
    for (int i = 0; i < 65; i++) {
        rig_tick(&r, 100);
        rig_beat(&r, "w", 1);
        rig_beat(&r, "c", 0);
        rig_commit(&r);
        assert_int_equal(rig_count(&r, KV_JOB), i < 59 ? 1 : 2);
    }
    rig_stop(&r);
}

/* The ledger's word for a SUBMIT of a job that was here and ended, its lease, and its row. */
static void was_here(rig *r)
{
    const kv_job_place row = {.found = true, .state = KV_JOB_COMPLETE, .max_attempts = 3};
    kv_cmd *cmd = kv_cmd_pop(&r->commands);
    assert_int_equal(cmd->type, KV_CMD_SUBMIT);
    cmd->place = row;
    kv_core_result(r->core, r->now, cmd);
    assert_int_equal(r->commands.first->move.to, KV_JOB_PROCESSING);
    rig_answer(r, KV_E_CONFLICT);
    for (cmd = r->commands.first; cmd && cmd->type != KV_CMD_FIND; cmd = cmd->next)
        ;
    assert_non_null(cmd);
    cmd->place = row;
    rig_commit(r);
}

/* A SUBMIT that is sent again after the end of its job begins nothing: its token is for the next.
 */
static void test_token_of_what_did_not_begin(void **state)
{
    (void)state;
    for (int of_tenant = 0; of_tenant < 2; of_tenant++) {
        static rig r;
        rig_start(&r, 1);
        kv_service *s = kv_service_get(r.core, kv_slice_str("ai"));
        if (of_tenant)
            assert_true(kv_tenant_set(s, kv_slice_str("t"), -1, 6, -1));
        else
            kv_service_set_limits(s, -1, 6);
        rig_hello(&r, "c", "client", "cli", 2);
        rig_hello(&r, "w", "worker", "w", 1);
        rig_ready(&r, "w", "ai", 9);
        submit(&r, 1, "t", 1);
        submit(&r, 2, "t", 1); /* waits for the rate */
        assert_int_equal(kv_core_job_state(r.core, 2, NULL), KV_JOB_QUEUED);
        was_here(&r);
        assert_int_equal(rig_count(&r, KV_JOB), 1);
        assert_int_equal(kv_core_job_state(r.core, 2, NULL), KV_JOB_PROCESSING);
        submit(&r, 3, "t", 1); /* one token came back, not two */
        rig_commit(&r);
        assert_int_equal(rig_count(&r, KV_JOB), 1);
        assert_true(kv_lanes_wake_at(s) == r.now.mono_ms + 10000);
        rig_stop(&r);
    }
}

/* With a bucket that was set anew meanwhile there is nothing to give back. */
static void test_token_of_another_rate(void **state)
{
    static rig r;
    (void)state;
    rig_start(&r, 1);
    kv_service *s = kv_service_get(r.core, kv_slice_str("ai"));
    kv_service_set_limits(s, -1, 6);
    rig_hello(&r, "c", "client", "cli", 2);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 9);
    submit(&r, 1, "", 1);
    kv_service_set_limits(s, -1, 7);
    was_here(&r);
    for (uint64_t i = 2; i <= 3; i++)
        submit(&r, i, "", 1);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_passed_over),
        cmocka_unit_test(test_running_after_restart),
        cmocka_unit_test(test_ten_a_minute),
        cmocka_unit_test(test_rate_remembers),
        cmocka_unit_test(test_service_rate),
        cmocka_unit_test(test_rate_through_the_tick),
        cmocka_unit_test(test_token_of_what_did_not_begin),
        cmocka_unit_test(test_token_of_another_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
