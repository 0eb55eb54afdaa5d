#include "broker/gauges.h"

#include <stdio.h>

#include "broker/lanes.h"
#include "broker/pace.h"
#include "proto/base/metrics.h"
#include "proto/base/words.h"

/* Two places are kept for kervan's own services, one is KV_METRIC_OTHER. */
enum { OWN_LABELS = KV_METRIC_LABELS - 3, LABEL = 96 };

const char *kv_gauges_label(const kv_service *s)
{
    return s->labelled ? s->name : KV_METRIC_OTHER;
}

void kv_gauges_wait(const kv_service *s, int64_t ms)
{
    kv_metric_observe_label_us(KV_M_JOB_WAIT_SECONDS, kv_gauges_label(s), ms * 1000);
}

void kv_gauges_service(const kv_service *s, int64_t ms)
{
    kv_metric_observe_label_us(KV_M_JOB_SERVICE_SECONDS, kv_gauges_label(s), ms * 1000);
}

/* Of a worker that serves several queues, the job's may not be known any more. */
void kv_gauges_late(const kv_session *s)
{
    bool one = s->offers && !s->offers->next;
    kv_metric_add_label(KV_M_LATE_ANSWERS,
                        one ? kv_gauges_label(s->offers->service) : KV_METRIC_OTHER, 1);
}

/* What is read off a queue when someone asks. */
typedef struct readings {
    int64_t waiting[KV_LANES], delayed, running, workers, oldest_s, attempts, ended[3];
} readings;

static void read_service(const kv_core *c, const kv_service *s, readings *r)
{
    kv_pace_view pace;
    kv_pace_look(c, s, &pace);
    for (int i = 0; i < KV_LANES; i++)
        r->waiting[i] += kv_lanes_waiting(s, i);
    int64_t oldest_s = (kv_pace_oldest_ms(c, s) + 999) / 1000;
    r->delayed += s->delayed;
    r->running += s->running;
    r->workers += s->workers;
    r->oldest_s = oldest_s > r->oldest_s ? oldest_s : r->oldest_s;
    r->attempts += (int64_t)pace.begun;
    r->ended[0] += (int64_t)pace.complete;
    r->ended[1] += (int64_t)pace.error;
    r->ended[2] += (int64_t)pace.cancelled;
}

void kv_gauges_came(kv_core *c, kv_service *s)
{
    kv_slice name = kv_slice_str(s->name);
    s->labelled = s->own || kv_names_find(&c->labels, name) ||
                  (c->labels.n < OWN_LABELS && kv_names_set(&c->labels, name, c));
}

static void set_pair(kv_metric m, const char *service, const char *second, int64_t value)
{
    char label[LABEL];
    snprintf(label, sizeof label, "%s,%s", service, second);
    kv_metric_set_label(m, label, value);
}

static void set_all(const char *label, const readings *r)
{
    int64_t waiting = 0;
    for (int i = 0; i < KV_LANES; i++) {
        set_pair(KV_M_LANE_WAITING, label, kv_lane_names[i], r->waiting[i]);
        waiting += r->waiting[i];
    }
    for (int i = KV_JOB_COMPLETE; i < KV_STATES; i++)
        set_pair(KV_M_JOBS_ENDED, label, kv_state_names[i], r->ended[i - KV_JOB_COMPLETE]);
    kv_metric_set_label(KV_M_JOBS_WAITING, label, waiting);
    kv_metric_set_label(KV_M_JOBS_DELAYED, label, r->delayed);
    kv_metric_set_label(KV_M_JOBS_RUNNING, label, r->running);
    kv_metric_set_label(KV_M_WORKERS, label, r->workers);
    kv_metric_set_label(KV_M_OLDEST_WAITING, label, r->oldest_s);
    kv_metric_set_label(KV_M_JOB_ATTEMPTS, label, r->attempts);
    /* There at 0 before the first one: increase() sees no first step otherwise. */
    kv_metric_add_label(KV_M_JOBS_STUCK, label, 0);
    kv_metric_add_label(KV_M_LATE_ANSWERS, label, 0);
    kv_metric_add_label(KV_M_JOB_FAILURES, label, 0);
    kv_metric_add_label(KV_M_JOB_REQUEUES, label, 0);
    kv_metric_add_label(KV_M_JOBS_EVICTED, label, 0);
    kv_metric_add_label(KV_M_JOBS_OVERDUE, label, 0);
}

/* Its gauges fall to 0; what it counted stays, for counters never fall. */
void kv_gauges_went(kv_core *c, const kv_service *s)
{
    readings r = {.delayed = 0};
    read_service(c, s, &r);
    if (s->labelled) {
        set_all(s->name, &r);
        return;
    }
    c->went.any = true;
    c->went.attempts += r.attempts;
    for (int i = 0; i < 3; i++)
        c->went.ended[i] += r.ended[i];
}

void kv_core_gauges(const kv_core *core)
{
    readings other = {.attempts = core->went.attempts};
    memcpy(other.ended, core->went.ended, sizeof other.ended);
    bool any_other = core->went.any;
    for (const kv_service *s = core->service_list; s; s = s->next) {
        readings own = {.delayed = 0};
        const char *label = kv_gauges_label(s);
        bool is_other = strcmp(label, KV_METRIC_OTHER) == 0;
        read_service(core, s, is_other ? &other : &own);
        any_other |= is_other;
        if (!is_other)
            set_all(label, &own);
    }
    if (any_other)
        set_all(KV_METRIC_OTHER, &other);
    kv_metric_set(KV_M_WATCHES, (int64_t)core->watches);
}
