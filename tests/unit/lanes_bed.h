/* Lanes with tasks, without messages: the order of jobs at its core. Shared by test_lanes and
 * test_lane_limits. */
#ifndef KV_TESTS_LANES_BED_H
#define KV_TESTS_LANES_BED_H

#include "tests/unit/core_rig.h"

#include "broker/lanes.h"
#include "tests/unit/chance.h"

enum { TASKS = 120, TENANTS = 6 };

typedef struct bed {
    rig r;
    kv_service *s;
    uint64_t random, made;
    kv_task *tasks[TASKS]; /* waiting or running */
    int n;
} bed;

static inline uint64_t pick(bed *b, uint64_t n)
{
    return chance(&b->random, n);
}

static inline void bed_start(bed *b, uint64_t seed, uint32_t share)
{
    memset(b, 0, sizeof *b);
    rig_start(&b->r, 1);
    b->random = seed;
    b->s = kv_service_get(b->r.core, kv_slice_str("ai"));
    b->s->order.share = share;
}

static inline void bed_stop(bed *b)
{
    rig_stop(&b->r);
}

static inline kv_task *waiting(bed *b, const char *tenant, int lane)
{
    kv_core *c = b->r.core;
    uint64_t id = ++b->made;
    kv_task *t = kv_task_new(c, id, b->s, kv_slice_str(tenant), lane, id);
    assert_non_null(t);
    t->tag = kv_lanes_tag(b->s, t->tenant, lane);
    kv_task_enqueue(c, t);
    return t;
}

static inline void begin(bed *b, kv_task *t)
{
    kv_core *c = b->r.core;
    kv_task_detach(c, t);
    t->state = KV_JOB_PROCESSING;
    kv_lanes_begun(c, b->s, t);
    kv_lease_take(c, t, NULL);
}

static inline kv_task *begin_next(bed *b)
{
    kv_task *t = kv_lanes_next(b->r.core, b->s);
    if (t)
        begin(b, t);
    return t;
}

/* As after a failure: it keeps its key. */
static inline void put_back(bed *b, kv_task *t)
{
    kv_task_detach(b->r.core, t);
    t->state = KV_JOB_QUEUED;
    kv_task_enqueue(b->r.core, t);
}

static inline void end(bed *b, kv_task *t)
{
    kv_task_free(b->r.core, t);
}

static inline void end_all(bed *b)
{
    size_t at = 0;
    while (b->r.core->jobs.n > 0) {
        kv_task *t = kv_ids_next(&b->r.core->jobs, &at);
        if (t)
            end(b, t);
        at = 0;
    }
}

static inline void pass_ms(bed *b, int64_t ms)
{
    b->r.now.mono_ms += ms;
    b->r.now.wall_ms += ms;
    b->r.core->now = b->r.now;
}

static inline const char *tenant_called(uint64_t i)
{
    static const char *const names[TENANTS] = {"", "ayse", "b", "can", "d", "efe"};
    return names[i % TENANTS];
}

static inline int by_rank(const void *a, const void *b)
{
    uint32_t x = kv_lanes_rank(*(kv_task *const *)a, NULL);
    uint32_t y = kv_lanes_rank(*(kv_task *const *)b, NULL);
    return x < y ? -1 : x > y;
}

/* The waiting ones, the next first; checks that ranks are 0, 1, 2 …, in the service and in each
 * lane. */
static inline int ranked(bed *b, kv_task *out[TASKS])
{
    uint32_t in_lane[KV_LANES] = {0, 0, 0}, at;
    int n = 0;
    for (int i = 0; i < b->n; i++) {
        if (b->tasks[i]->at == KV_AT_LANE)
            out[n++] = b->tasks[i];
    }
    qsort(out, (size_t)n, sizeof *out, by_rank);
    for (int i = 0; i < n; i++) {
        assert_int_equal(kv_lanes_rank(out[i], &at), i);
        assert_int_equal(at, in_lane[out[i]->lane]++);
    }
    assert_int_equal(kv_lanes_waiting(b->s, -1), n);
    for (int i = 0; i < KV_LANES; i++)
        assert_int_equal(kv_lanes_waiting(b->s, i), in_lane[i]);
    return n;
}

static inline void drop(bed *b, int i)
{
    end(b, b->tasks[i]);
    b->tasks[i] = b->tasks[--b->n];
}

/* ---- a restart ---- */

static inline void load(bed *b, const char *tenant, uint64_t seq, uint64_t tag, uint64_t attempt,
                        int job_state, uint64_t not_before)
{
    kv_job_row row = {.id = seq,
                      .seq = seq,
                      .tag = tag,
                      .attempt = attempt,
                      .max_attempts = 3,
                      .lane = 1,
                      .state = job_state,
                      .not_before = not_before,
                      .service = "ai",
                      .tenant = kv_slice_str(tenant)};
    assert_int_equal(kv_core_load(b->r.core, b->r.now, &row), KV_OK);
    b->made = seq;
}

/* ---- messages ---- */

static inline void submit(rig *r, uint64_t job, const char *tenant, uint64_t lane)
{
    kv_msg m;
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.job = job;
    m.submit.service = kv_slice_str("ai");
    m.submit.lane = lane;
    m.submit.tenant = kv_slice_str(tenant);
    m.submit.params = kv_slice_str("{}");
    rig_say(r, "c", &m);
}

#endif
