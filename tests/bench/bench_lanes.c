/* The lanes of the broker's core, without ledger and sockets: what a waiting job costs in memory
 * and what one step costs with many waiting.
 *
 *   bench_lanes [waiting] [tenants]
 *
 * A line each: what, nanoseconds at the median, at 99 in 100, and the longest. "urgent" is the
 * whole way of an urgent SUBMIT behind all that wait: the message, its lease, both commits, JOB to
 * the worker. Processor time of this thread, the clock's own reading (about 0.2 us) included. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/lanes.h"

enum { SAMPLES = 20000 };

static kv_cmd_list commands;
static uint64_t jobs_sent, requests;

static void sink_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    (void)arg, (void)peer, (void)request;
    jobs_sent += m->code == KV_JOB;
}

static void sink_command(void *arg, kv_cmd *cmd)
{
    (void)arg;
    kv_cmd_push(&commands, cmd);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static const kv_now now = {1790000000000, 1000000};

static void say(kv_core *c, const char *peer, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = ++requests};
    kv_core_message(c, now, kv_slice_str(peer), &head, m);
}

static void commit(kv_core *c)
{
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&commands));) {
        cmd->created = true;
        kv_core_result(c, now, cmd);
    }
}

static void hello(kv_core *c, const char *peer, const char *role, uint64_t instance)
{
    kv_msg m;
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = m.hello.name = kv_slice_str(role);
    m.hello.instance = instance;
    say(c, peer, &m);
}

static void submit(kv_core *c, uint64_t job, int lane, uint64_t tenant)
{
    char name[32] = "";
    kv_msg m;
    if (tenant)
        snprintf(name, sizeof name, "tenant-%llu", (unsigned long long)tenant);
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.job = job;
    m.submit.service = kv_slice_str("ai");
    m.submit.lane = (uint64_t)lane;
    m.submit.tenant = kv_slice_str(name);
    say(c, "c", &m);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void print(const char *what, int64_t *ns, int n)
{
    qsort(ns, (size_t)n, sizeof *ns, by_size);
    printf("%-28s p50 %7lld  p99 %7lld  max %8lld ns\n", what, (long long)ns[n / 2],
           (long long)ns[n * 99 / 100], (long long)ns[n - 1]);
}

static void ranks(kv_core *c, uint64_t waiting, int64_t *ns)
{
    uint64_t rank, at = 12345, sum = 0;
    for (int i = 0; i < SAMPLES; i++) {
        at = (at * 6364136223846793005u + 1442695040888963407u);
        int64_t from = now_ns();
        if (kv_core_job_rank(c, 1 + (at >> 20) % waiting, &rank))
            sum += rank;
        ns[i] = now_ns() - from;
    }
    print("rank of any job", ns, SAMPLES);
    if (sum == 0)
        puts("no ranks");
}

/* Where any job is and when it begins, as POSITION asks; after urgent(), so something is measured.
 */
static void positions(kv_core *c, const char *what, uint64_t waiting, int64_t *ns)
{
    kv_service *s = kv_service_get(c, kv_slice_str("ai"));
    uint64_t at = 54321, told = 0;
    s->paused = false;
    for (int i = 0; i < SAMPLES; i++) {
        at = (at * 6364136223846793005u + 1442695040888963407u);
        int64_t from = now_ns();
        told +=
            kv_task_standing(c, kv_ids_find(&c->jobs, 1 + (at >> 20) % waiting)).eta_high_ms != 0;
        ns[i] = now_ns() - from;
    }
    s->paused = true;
    print(what, ns, SAMPLES);
    if (told == 0)
        puts("no times");
}

static void done(kv_core *c, uint64_t job)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_DONE, &m);
    m.job_done = (kv_job_done){job, 1, 1, kv_slice_str("{}")};
    say(c, "w", &m);
    commit(c);
}

/* The worker has room for one, and takes what is urgent. */
static void urgent(kv_core *c, uint64_t waiting, int64_t *ns)
{
    kv_msg m;
    int n = 0;
    kv_service *s = kv_service_get(c, kv_slice_str("ai"));
    s->paused = true; /* that the lower lane does not take the room while nothing urgent is there */
    hello(c, "w", "worker", 2);
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str("ai");
    m.ready.credit = 1;
    say(c, "w", &m);
    for (uint64_t job = waiting + 1; n < SAMPLES; job++) {
        uint64_t sent = jobs_sent;
        s->paused = false;
        int64_t from = now_ns();
        submit(c, job, 0, 0);
        commit(c);
        ns[n++] = now_ns() - from;
        s->paused = true;
        if (jobs_sent != sent + 1)
            puts("the urgent job did not begin");
        done(c, job);
        s->order.since[0] = s->order.since[1] = 0; /* the share of the lower lanes is not timed */
    }
    print("urgent, SUBMIT to JOB", ns, n);
}

static void drain(kv_core *c, uint64_t waiting, int64_t *ns)
{
    kv_service *s = kv_service_get(c, kv_slice_str("ai"));
    int n = 0;
    for (; n < SAMPLES && (uint64_t)n < waiting; n++) {
        int64_t from = now_ns();
        kv_task *t = kv_lanes_next(c, s);
        kv_task_detach(c, t);
        kv_lanes_begun(c, s, t);
        ns[n] = now_ns() - from;
        t->at = KV_AT_NONE;
        kv_task_free(c, t);
    }
    print("next, taken out, begun", ns, n);
}

/* A tenant with all that waits reaches its limit and leaves it. */
static void toggle(kv_core *c, int64_t *ns)
{
    kv_service *s = kv_service_get(c, kv_slice_str("ai"));
    for (int i = 0; i < SAMPLES; i++) {
        int64_t from = now_ns();
        (void)kv_tenant_set(s, kv_slice_str("tenant-1"), i % 2, -1, -1);
        kv_task *t = kv_lanes_next(c, s);
        ns[i] = now_ns() - from;
        if (!t)
            puts("nothing begins");
    }
    print("limit of a tenant, and next", ns, SAMPLES);
}

int main(int argc, char **argv)
{
    uint64_t waiting = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t tenants = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    static int64_t ns[SAMPLES];
    kv_core_opts opts;
    kv_core *c;
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){NULL, sink_send, sink_command};
    opts.epoch = 1;
    opts.max_waiting = 0;
    if (waiting == 0 || tenants == 0 || kv_core_new(&opts, now, &c) != KV_OK)
        return 1;
    hello(c, "c", "client", 1);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    int64_t from = now_ns();
    for (uint64_t i = 1; i <= waiting; i++) {
        submit(c, i, 1, tenants > 1 ? 1 + i % tenants : 0);
        commit(c);
    }
    int64_t took = now_ns() - from;
    size_t bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    printf(
        "%llu waiting of %llu tenants; kv_task %zu bytes, all %.1f bytes a job, SUBMIT %lld ns\n",
        (unsigned long long)waiting, (unsigned long long)tenants, sizeof(kv_task),
        (double)bytes / (double)waiting, (long long)(took / (int64_t)waiting));
    ranks(c, waiting, ns);
    urgent(c, waiting, ns);
    positions(c, "place and time of any job", waiting, ns);
    (void)kv_tenant_set(kv_service_get(c, kv_slice_str("ai")), kv_slice_str("*"), 3, 600, -1);
    positions(c, "the same, tenants limited", waiting, ns);
    (void)kv_tenant_set(kv_service_get(c, kv_slice_str("ai")), kv_slice_str("*"), 0, 0, -1);
    if (tenants > 1)
        toggle(c, ns);
    drain(c, waiting, ns);
    kv_core_destroy(&c);
    return 0;
}
