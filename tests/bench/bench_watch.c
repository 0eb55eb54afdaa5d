/* What positions cost the broker: its core with a fake clock and a ledger that always commits at
 * once; messages are encoded as for the wire and dropped. CPU time, not wall clock.
 *
 *   bench_watch [watchers] [jobs a second] [seconds]     (10000 1000 60)
 *
 * Lines: CPU of the core a second of fake time while jobs flow, without and with each waiting job
 * watched; then a position with 1 M jobs waiting, asked one and 256 at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker/core.h"
#include "proto/base/id.h"

enum { STEP_MS = 10, CREDIT = 64, QUERIES = 200000, MILLION = 1000000 };

typedef struct bench {
    kv_core *core;
    kv_now now;
    kv_cmd_list cmds;
    kv_buf wire;
    kv_job held[CREDIT * 2]; /* by the worker, in turn */
    size_t held_first, held_n;
    uint64_t request, next_job, pushes, entries, bytes, random;
} bench;

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    bench *b = arg;
    (void)peer;
    kv_buf_clear(&b->wire);
    kv_body_encode(m, &b->wire);
    if (m->code == KV_JOB)
        b->held[(b->held_first + b->held_n++) % (CREDIT * 2)] = m->job;
    if (m->code != KV_POSITIONS || request)
        return;
    b->pushes++;
    b->bytes += b->wire.len;
    for (size_t i = 0; i < m->positions.json.len; i++)
        b->entries += m->positions.json.ptr[i] == '{';
}

static void on_command(void *arg, kv_cmd *cmd)
{
    kv_cmd_push(&((bench *)arg)->cmds, cmd);
}

static void commit(bench *b)
{
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&b->cmds));) {
        cmd->created = true;
        kv_core_result(b->core, b->now, cmd);
    }
}

static void say(bench *b, const char *peer, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = ++b->request};
    kv_core_message(b->core, b->now, kv_slice_str(peer), &head, m);
}

static void hello(bench *b, const char *name)
{
    kv_msg m;
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = m.hello.name = kv_slice_str(name);
    m.hello.instance = 1;
    say(b, name, &m);
}

static void ready(bench *b)
{
    kv_msg m;
    hello(b, "w");
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str("ai");
    m.ready.credit = CREDIT;
    say(b, "w", &m);
    commit(b);
}

static void begin(bench *b)
{
    kv_core_opts opts;
    *b = (bench){.now = {1790000000000, 1000000}, .random = 1, .next_job = 1};
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){b, on_send, on_command};
    opts.epoch = opts.seed = 1;
    if (kv_core_new(&opts, b->now, &b->core) != KV_OK)
        abort();
    kv_buf_init(&b->wire, 0);
    hello(b, "g");
}

static void end(bench *b)
{
    kv_core_destroy(&b->core);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&b->cmds));)
        kv_cmd_free(&cmd);
    kv_buf_release(&b->wire);
}

/* Asks for `n` jobs from `first` on, or random ones where it is 0. */
static void position(bench *b, uint64_t first, uint64_t n, bool watch)
{
    char ids[256 * KV_ID_BYTES];
    kv_msg m;
    for (uint64_t i = 0; i < n; i++) {
        b->random = b->random * 6364136223846793005u + 1442695040888963407u;
        uint64_t job = first ? first + i : 1 + (b->random >> 33) % MILLION;
        kv_id_put(ids, i, job);
    }
    kv_msg_defaults(KV_POSITION, &m);
    m.position.jobs = kv_slice_of(ids, n * KV_ID_BYTES);
    m.position.watch = watch;
    say(b, "g", &m);
}

static void submit(bench *b, bool watch)
{
    kv_msg m;
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.job = b->next_job++;
    m.submit.service = kv_slice_str("ai");
    m.submit.params = kv_slice_str("{}");
    m.submit.lane = m.submit.job % 20 == 0 ? 0 : 1;
    say(b, "g", &m);
    commit(b);
    if (watch)
        position(b, m.submit.job, 1, true);
}

static void finish(bench *b)
{
    kv_msg m;
    kv_job j = b->held[b->held_first++ % (CREDIT * 2)];
    b->held_n--;
    kv_msg_defaults(KV_JOB_DONE, &m);
    m.job_done = (kv_job_done){j.job, j.epoch, j.attempt, kv_slice_str("{}")};
    say(b, "w", &m);
    commit(b);
}

/* CPU seconds of the core a second of fake time. */
static double flow(uint64_t watchers, uint64_t rate, uint64_t for_s, bool watch)
{
    bench b;
    kv_msg beat;
    begin(&b);
    for (uint64_t i = 0; i < watchers + CREDIT; i++)
        submit(&b, watch);
    ready(&b);
    kv_msg_defaults(KV_BEAT, &beat);
    beat.beat.busy = CREDIT;
    double began = cpu_s();
    for (uint64_t ms = 0; ms < for_s * 1000; ms += STEP_MS) {
        b.now.mono_ms += STEP_MS;
        b.now.wall_ms += STEP_MS;
        for (uint64_t i = 0; i < rate * STEP_MS / 1000; i++) {
            finish(&b);
            submit(&b, watch);
        }
        if (ms % 1000 == 0) {
            say(&b, "w", &beat);
            say(&b, "g", &beat);
        }
        if (ms % 100 == 0)
            kv_core_tick(b.core, b.now);
        commit(&b);
    }
    double cpu = (cpu_s() - began) / (double)for_s;
    if (watch)
        printf("%llu watched, %llu jobs/s: %.1f messages/s with %.0f positions/s, %.0f kB/s\n",
               (unsigned long long)watchers, (unsigned long long)rate,
               (double)b.pushes / (double)for_s, (double)b.entries / (double)for_s,
               (double)b.bytes / (double)for_s / 1000);
    end(&b);
    return cpu;
}

static void queries(void)
{
    static const uint64_t at_once[] = {1, 256};
    bench b;
    begin(&b);
    for (int i = 0; i < MILLION; i++)
        submit(&b, false);
    ready(&b);
    for (int i = 0; i < CREDIT; i++) /* something is measured: answers have an ETA */
        finish(&b);
    for (int k = 0; k < 2; k++) {
        double began = cpu_s();
        for (uint64_t n = 0; n < QUERIES; n += at_once[k])
            position(&b, 0, at_once[k], false);
        printf("position of 1 in %zu, %3llu a message: %.2f us\n", kv_core_jobs(b.core),
               (unsigned long long)at_once[k], (cpu_s() - began) * 1e6 / QUERIES);
    }
    end(&b);
}

int main(int argc, char **argv)
{
    uint64_t watchers = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    uint64_t rate = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
    uint64_t for_s = argc > 3 ? strtoull(argv[3], NULL, 10) : 60;
    double plain = flow(watchers, rate, for_s, false), watched = flow(watchers, rate, for_s, true);
    printf("core: %.2f %% of a CPU without watchers, %.2f %% with: %.2f %% for them\n", plain * 100,
           watched * 100, (watched - plain) * 100);
    queries();
    return 0;
}
