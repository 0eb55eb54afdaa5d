/* How fast the ledger is: commands through the real thread on a real file, without sockets.
 *
 *   bench_ledger FOLDER [commands]
 *
 * A line each: what, outstanding commands, rate, CPU a command (all threads), commands a
 * transaction, longest time to an answer. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "broker/checkpoint.h"
#include "broker/core.h"
#include "broker/ledger.h"
#include "proto/base/metrics.h"

typedef struct bench {
    kv_config cfg;
    kv_ledger *ledger;
    kv_checkpoint *checkpoint;
    kv_core *core;
    kv_id_maker ids;
    kv_cmd_list out; /* of the core */
    uint64_t seq, replies, jobs, request;
    kv_job last_jobs[4096]; /* leased, to be completed */
    size_t last_n;
} bench;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static kv_now now_of(void)
{
    return (kv_now){kv_wall_ms(&kv_clock_real), kv_mono_ms(&kv_clock_real)};
}

/* ---- through the ledger alone: MEDIA_COMMIT ---- */

static kv_cmd *media_commit(bench *b, bool process)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MEDIA_COMMIT, 64);
    char hash[32];
    kv_msg m;
    uint64_t id = kv_id_make(&b->ids, &kv_clock_real);
    for (int i = 0; i < 4; i++) {
        uint64_t part = (id + (uint64_t)i) * 0x9e3779b97f4a7c15u;
        memcpy(hash + i * 8, &part, 8);
    }
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    cmd->commit = m.media_commit;
    cmd->commit.media = id;
    cmd->commit.folder = kv_slice_str("banners");
    cmd->commit.filename = kv_slice_str("a-picture-of-something.jpg");
    cmd->commit.hash = kv_cmd_keep(cmd, kv_slice_of(hash, 32));
    cmd->commit.stored_hash = kv_cmd_keep(cmd, kv_slice_of(hash, 32));
    cmd->commit.size = 65536;
    cmd->commit.mime = kv_slice_str("image/jpeg");
    cmd->commit.ext = kv_slice_str("jpg");
    cmd->commit.width = 640;
    cmd->commit.height = 480;
    cmd->commit.process = process;
    cmd->seq = b->seq += 2;
    return cmd;
}

static size_t take(bench *b)
{
    kv_ledger_out out;
    struct pollfd p = {.fd = kv_ledger_fd(b->ledger), .events = POLLIN};
    poll(&p, 1, 1000);
    if (!kv_ledger_take(b->ledger, &out))
        return 0;
    size_t n = out.cmds.n;
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&out.cmds));) {
        if (cmd->err != KV_OK) {
            fprintf(stderr, "command failed: %s\n", kv_err_info_of(cmd->err)->slug);
            exit(1);
        }
        kv_cmd_free(&cmd);
    }
    kv_event_rows_free(&out.rows);
    return n;
}

static void report(const char *what, size_t window, size_t n, double wall, double cpu,
                   int64_t commits, double worst)
{
    printf("%-28s %5zu outstanding %9.0f/s %7.1f us CPU %7.1f a commit %7.1f ms at most\n", what,
           window, (double)n / wall, cpu / (double)n * 1e6,
           commits ? (double)n / (double)commits : 0.0, worst * 1e3);
    fflush(stdout);
}

static void run_media(bench *b, size_t total, size_t window, bool process)
{
    size_t given = 0, back = 0;
    int64_t commits = kv_metric_get(KV_M_COMMITS);
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), worst = 0,
           last = wall;
    while (back < total) {
        kv_cmd_list list = {.n = 0};
        while (given < total && given - back < window) {
            kv_cmd_push(&list, media_commit(b, process));
            given++;
        }
        kv_ledger_give(b->ledger, &list, false);
        back += take(b);
        double now = seconds(CLOCK_MONOTONIC);
        worst = now - last > worst ? now - last : worst;
        last = now;
    }
    report(process ? "MEDIA_COMMIT with a job" : "MEDIA_COMMIT", window, total,
           seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu,
           kv_metric_get(KV_M_COMMITS) - commits, worst);
}

/* ---- through core and ledger: SUBMIT, and whole jobs ---- */

static void sink_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    bench *b = arg;
    (void)peer, (void)request;
    if (m->code == KV_SUBMIT_OK || m->code == KV_OKAY)
        b->replies++;
    if (m->code == KV_ERROR) {
        fprintf(stderr, "refused: %.*s\n", KV_SLICE_FMT(m->error.detail));
        exit(1);
    }
    if (m->code == KV_JOB && b->last_n < 4096)
        b->last_jobs[b->last_n++] = m->job;
}

static void sink_command(void *arg, kv_cmd *cmd)
{
    kv_cmd_push(&((bench *)arg)->out, cmd);
}

static void say(bench *b, const char *peer, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = ++b->request};
    kv_core_message(b->core, now_of(), kv_slice_str(peer), &head, m);
}

static void hello(bench *b, const char *peer, const char *role)
{
    kv_msg m;
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = kv_slice_str(role);
    m.hello.name = kv_slice_str(peer);
    say(b, peer, &m);
}

static void submit(bench *b)
{
    static char params[300];
    kv_msg m;
    if (!params[0]) {
        memset(params, 'x', sizeof params);
        params[0] = params[sizeof params - 1] = '"';
    }
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.job = kv_id_make(&b->ids, &kv_clock_real);
    m.submit.service = kv_slice_str("bench");
    m.submit.params = kv_slice_of(params, sizeof params);
    say(b, "client", &m);
}

static void complete(bench *b, const kv_job *job)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_DONE, &m);
    m.job_done = (kv_job_done){job->job, job->epoch, job->attempt, kv_slice_str("{}")};
    say(b, "worker", &m);
}

static void results(bench *b)
{
    kv_ledger_out out;
    struct pollfd p = {.fd = kv_ledger_fd(b->ledger), .events = POLLIN};
    kv_ledger_give(b->ledger, &b->out, false);
    poll(&p, 1, 1000);
    if (!kv_ledger_take(b->ledger, &out))
        return;
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&out.cmds));)
        kv_core_result(b->core, now_of(), cmd);
    kv_event_rows_free(&out.rows);
}

static void run_jobs(bench *b, size_t total, size_t window, bool work)
{
    size_t given = 0;
    int64_t commits = kv_metric_get(KV_M_COMMITS);
    b->replies = 0;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), worst = 0,
           last = wall;
    size_t each = work ? 2 : 1; /* SUBMIT_OK, and OKAY of JOB_DONE */
    while (b->replies < total * each) {
        while (given < total && given - b->replies / each < window) {
            submit(b);
            given++;
        }
        for (size_t i = 0; i < b->last_n; i++)
            complete(b, &b->last_jobs[i]);
        b->last_n = 0;
        results(b);
        double now = seconds(CLOCK_MONOTONIC);
        worst = now - last > worst ? now - last : worst;
        last = now;
    }
    report(work ? "SUBMIT, lease, JOB_DONE" : "SUBMIT", window, total,
           seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu,
           kv_metric_get(KV_M_COMMITS) - commits, worst);
}

static void start_core(bench *b)
{
    kv_core_opts opts;
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){b, sink_send, sink_command};
    opts.epoch = kv_ledger_epoch(b->ledger);
    opts.seed = 1;
    if (kv_core_new(&opts, now_of(), &b->core) != KV_OK)
        exit(1);
    hello(b, "client", "client");
    hello(b, "worker", "worker");
}

int main(int argc, char **argv)
{
    bench b = {.last_n = 0};
    size_t n = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 50000;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_ledger FOLDER [commands]\n");
        return 2;
    }
    b.cfg.data = argv[1];
    b.cfg.durability = "full";
    b.cfg.database_url = "";
    b.cfg.media_base_url = "";
    b.cfg.event_retention_hours = 72;
    b.cfg.job_retention_hours = 168;
    b.cfg.job_max_attempts = 3;
    mkdir(argv[1], 0775);
    kv_id_maker_init(&b.ids, kv_id_random_node());
    if (kv_ledger_open(&b.cfg, &kv_clock_real, &b.ledger) != KV_OK ||
        kv_ledger_start(b.ledger) != KV_OK ||
        kv_checkpoint_start(&b.cfg, b.ledger, &b.checkpoint) != KV_OK)
        return 1;
    run_media(&b, n / 4, 8, false);
    run_media(&b, n, 32, false);
    run_media(&b, n, 32, true);
    run_media(&b, n, 256, false);
    start_core(&b);
    run_jobs(&b, n / 10, 1, false);
    run_jobs(&b, n * 2, 64, false);
    run_jobs(&b, n * 4, 1000, false);
    kv_core_destroy(&b.core); /* a new one, without the jobs that wait */
    start_core(&b);
    kv_msg m;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str("bench");
    m.ready.credit = 2000;
    say(&b, "worker", &m);
    b.replies = 0;
    run_jobs(&b, n, 64, true);
    run_jobs(&b, n * 2, 1000, true);
    kv_core_destroy(&b.core);
    kv_checkpoint_stop(&b.checkpoint);
    kv_ledger_close(&b.ledger);
    return 0;
}
