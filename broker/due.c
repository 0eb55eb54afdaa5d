/* Deadlines: a job that was never begun by then ends in error. One that has begun met its deadline,
 * also when it has to be tried again. */
#include "broker/core_types.h"

#include <stdlib.h>

#include "broker/gauges.h"
#include "proto/base/metrics.h"

bool kv_task_set_extras(kv_task *t, int64_t deadline_ms, uint64_t backoff_ms,
                        uint64_t backoff_max_ms)
{
    if (!deadline_ms && !backoff_ms && !backoff_max_ms)
        return true;
    t->extras = calloc(1, sizeof *t->extras);
    if (!t->extras)
        return false;
    t->extras->task = t;
    t->extras->deadline_ms = deadline_ms;
    t->extras->backoff_ms = (uint32_t)backoff_ms;
    t->extras->backoff_max_ms = (uint32_t)backoff_max_ms;
    return true;
}

void kv_due_add(kv_core *c, kv_task *t)
{
    if (!t->extras || !t->extras->deadline_ms || t->attempt > 0)
        return;
    t->extras->due.tag = (uint64_t)t->extras->deadline_ms;
    t->extras->due.seq = t->node.seq;
    kv_queue_add(&c->due, &t->extras->due);
}

void kv_due_remove(kv_core *c, kv_task *t)
{
    if (t->extras && kv_queue_has(&t->extras->due))
        kv_queue_remove(&c->due, &t->extras->due);
}

bool kv_due_passed(const kv_core *c, const kv_task *t)
{
    return t->extras && kv_queue_has(&t->extras->due) && t->extras->deadline_ms <= c->now.wall_ms;
}

bool kv_due_end(kv_core *c, kv_task *t)
{
    kv_change ch = {.err = KV_E_JOB_DEADLINE,
                    .detail = kv_slice_str(kv_err_info_of(KV_E_JOB_DEADLINE)->tr),
                    .reason = "not begun before its deadline"};
    if (!kv_task_change(c, t, KV_JOB_ERROR, &ch))
        return false;
    kv_metric_add_label(KV_M_JOBS_OVERDUE, kv_gauges_label(t->service), 1);
    return true;
}

void kv_due_expire(kv_core *c)
{
    for (kv_node *n; (n = kv_queue_first(&c->due)) && (int64_t)n->tag <= c->now.wall_ms;) {
        kv_extras *x = (kv_extras *)((char *)n - offsetof(kv_extras, due));
        if (!kv_due_end(c, x->task))
            return; /* no memory; the next tick tries again */
    }
}
