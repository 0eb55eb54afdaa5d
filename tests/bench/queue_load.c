/* The client and worker side of `tools/bench queue`, over the broker's socket, by proto/client.
 *
 * queue_load ENDPOINT MODE …; prints one JSON object. Payload: 300 bytes.
 *   submit OUTSTANDING COUNT BATCH   acknowledged durable; BATCH jobs a message
 *   jobs OUTSTANDING COUNT BATCH     end to end: submit, lease, done acknowledged
 *   rate PER_SECOND SECONDS          end to end at a fixed rate
 *   urgent COUNT                     urgent jobs behind what waits in service "load": until begun
 *   preload COUNT                    COUNT jobs that wait: service "load", lane normal
 *   first COUNT                      a worker of "load": when its first job came; COUNT jobs done
 *   position QUERIES COUNT JOB0      QUERIES times 256 of the COUNT positions from job JOB0 on
 *   watch WATCHERS SECONDS JOB0      watches jobs from JOB0 on
 *
 * queue_load FILE floor PER_SECOND SECONDS SYNCS
 *   the disk alone: SYNCS times 20 KB written over and synced a job; PER_SECOND 0: one by one */
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/base/id.h"
#include "proto/batch.h"
#include "proto/client.h"

enum { ASK_MS = 60000, PAYLOAD = 300, PAGE = 256 };

typedef struct sent {
    double at;
    bool open;
} sent;

typedef struct load {
    kv_client *client, *worker;
    const char *service;
    uint64_t lane, credit;
    uint64_t job0; /* id of the first; the others follow */
    size_t count, submitted, acknowledged, begun, done;
    size_t outstanding, batch, in_flight;
    double *submit_at, *latency; /* by job; latency of what the mode measures */
    size_t latencies;
    bool until_begun; /* latency from submit to JOB, else to the acknowledgement */
    bool until_done;  /* or to the acknowledged JOB_DONE */
    double first_job;
    kv_buf bodies;
    size_t pushes;
} load;

static const double LATE_S = 0.001;
static char payload[PAYLOAD + 1];

static double now_s(void)
{
    return (double)kv_mono_us(&kv_clock_real) / 1e6;
}

static void die(const char *what, kv_err err)
{
    fprintf(stderr, "%s: %s\n", what, kv_err_info_of(err)->slug);
    exit(1);
}

static void took(load *l, uint64_t job)
{
    if (job >= l->job0 && job < l->job0 + l->count)
        l->latency[l->latencies++] = now_s() - l->submit_at[job - l->job0];
}

/* ---- the client ---- */

static void on_submitted(void *arg, kv_err err, const kv_msg *answer)
{
    load *l = arg;
    if (err != KV_OK)
        die("submit", err);
    if (answer->code == KV_SUBMIT_OK) {
        l->acknowledged++;
        l->in_flight--;
        if (!l->until_begun && !l->until_done)
            took(l, answer->submit_ok.job);
        return;
    }
    kv_slice rest = answer->submit_batch_ok.results;
    kv_batch_result r;
    while (kv_batch_result_next(&rest, &r)) {
        if (r.err != KV_OK)
            die("submit in a batch", r.err);
        l->acknowledged++;
        l->in_flight--;
        if (!l->until_begun && !l->until_done)
            took(l, r.job);
    }
}

static void fill(load *l, kv_msg *m)
{
    uint64_t job = l->job0 + l->submitted;
    kv_msg_defaults(KV_SUBMIT, m);
    m->submit.job = job;
    m->submit.service = kv_slice_str(l->service);
    m->submit.lane = l->lane;
    m->submit.params = kv_slice_of(payload, PAYLOAD);
    l->submit_at[l->submitted++] = now_s();
    l->in_flight++;
}

static void ask(load *l, const kv_msg *m)
{
    kv_err err = kv_client_ask(l->client, m, ASK_MS, on_submitted, l);
    if (err != KV_OK)
        die("ask", err);
}

static void submit_one(load *l)
{
    kv_msg m;
    fill(l, &m);
    ask(l, &m);
}

/* As many as may be outstanding; in a batch when there is room for more than one. */
static void submit_more(load *l)
{
    while (l->submitted < l->count && l->in_flight < l->outstanding) {
        kv_msg m;
        if (l->batch == 1) {
            submit_one(l);
            continue;
        }
        kv_buf_clear(&l->bodies);
        for (size_t n = 0; n < l->batch && l->submitted < l->count && l->in_flight < l->outstanding;
             n++) {
            fill(l, &m);
            kv_body_encode(&m, &l->bodies);
        }
        kv_msg_defaults(KV_SUBMIT_BATCH, &m);
        m.submit_batch.jobs = kv_buf_slice(&l->bodies);
        ask(l, &m);
    }
}

/* ---- the worker ---- */

static void on_done(void *arg, kv_err err, const kv_msg *answer)
{
    load *l = arg;
    if (err != KV_OK)
        die("done", err);
    l->done++;
    if (l->until_done)
        took(l, answer->okay.id);
}

static void on_job(void *arg, const kv_header *head, const kv_msg *m)
{
    load *l = arg;
    kv_msg out;
    (void)head;
    if (m->code != KV_JOB)
        return;
    if (l->begun++ == 0)
        l->first_job = now_s();
    if (l->until_begun)
        took(l, m->job.job);
    kv_msg_defaults(KV_JOB_DONE, &out);
    out.job_done.job = m->job.job;
    out.job_done.epoch = m->job.epoch;
    out.job_done.attempt = m->job.attempt;
    kv_err err = kv_client_ask(l->worker, &out, ASK_MS, on_done, l);
    if (err != KV_OK)
        die("ask", err);
}

static void on_ready(void *arg, kv_err err, const kv_msg *answer)
{
    (void)arg;
    (void)answer;
    if (err != KV_OK)
        die("ready", err);
}

static void on_worker_session(void *arg, const kv_hello_ok *ok, bool new_epoch)
{
    load *l = arg;
    kv_msg m;
    (void)ok;
    (void)new_epoch;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str(l->service);
    m.ready.credit = l->credit;
    (void)kv_client_ask(l->worker, &m, ASK_MS, on_ready, l);
}

/* ---- the loop ---- */

static void on_push(void *arg, const kv_header *head, const kv_msg *m)
{
    load *l = arg;
    (void)head;
    l->pushes += m->code == KV_POSITIONS;
}

static kv_client *connect_as(load *l, void *zmq, const char *endpoint, bool worker)
{
    static char name[2][KV_SESSION_NAME];
    kv_client *c;
    kv_client_opts opts = {.zmq = zmq,
                           .endpoint = endpoint,
                           .role = worker ? "worker" : "client",
                           .name = name[worker],
                           .clock = &kv_clock_real,
                           .resend_ms = 10000,
                           .arg = l,
                           .on_message = worker ? on_job : on_push,
                           .on_session = worker ? on_worker_session : NULL};
    kv_session_name(name[worker], worker ? "load-worker" : "load");
    kv_err err = kv_client_new(&opts, &c);
    if (err != KV_OK)
        die("connect", err);
    return c;
}

/* Nothing here spins until it is time: the server has only the same two cores. */
static void doze(struct pollfd *fds, nfds_t n, double ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1e3), .tv_nsec = (long)(fmod(ms, 1e3) * 1e6)};
    (void)ppoll(fds, n, &t, NULL);
}

/* Polls both until one has input, at most `ms`. */
static void turn(load *l, double ms)
{
    struct pollfd fds[2];
    int n = 0;
    size_t before = l->acknowledged + l->begun + l->done;
    kv_client *both[2] = {l->client, l->worker};
    for (int i = 0; i < 2; i++) {
        if (!both[i])
            continue;
        int64_t wants = kv_client_poll(both[i]);
        ms = (double)wants < ms ? (double)wants : ms;
        fds[n++] = (struct pollfd){.fd = kv_client_fd(both[i]), .events = POLLIN};
    }
    /* what was answered may want to be followed by something first */
    if (ms > 0 && l->acknowledged + l->begun + l->done == before)
        doze(fds, (nfds_t)n, ms);
}

static void stand(load *l)
{
    while ((l->client && !kv_client_up(l->client)) || (l->worker && !kv_client_up(l->worker)))
        turn(l, 10);
}

/* ---- results ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at(const load *l, double p)
{
    size_t i = (size_t)((double)l->latencies * p);
    return l->latencies ? l->latency[i < l->latencies ? i : l->latencies - 1] * 1e3 : 0;
}

static double own_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void report(load *l, double seconds)
{
    qsort(l->latency, l->latencies, sizeof *l->latency, compare);
    printf("{\"jobs\":%zu,\"seconds\":%.6f,\"per_s\":%.1f,\"p50\":%.4f,\"p99\":%.4f,\"p999\":%.4f,"
           "\"max\":%.4f,\"cpu\":%.4f,\"first_ms\":%.3f,\"pushes\":%zu,\"job0\":\"%llu\"}\n",
           l->count, seconds, (double)l->count / seconds, at(l, 0.5), at(l, 0.99), at(l, 0.999),
           at(l, 1), own_cpu(), l->first_job * 1e3, l->pushes, (unsigned long long)l->job0);
}

static void prepare(load *l, size_t count)
{
    kv_id_maker ids;
    kv_id_maker_init(&ids, kv_id_random_node());
    l->job0 = kv_id_make(&ids, &kv_clock_real);
    l->count = count;
    l->submit_at = calloc(count + 1, sizeof *l->submit_at);
    l->latency = calloc(count + 1, sizeof *l->latency);
    if (!l->submit_at || !l->latency)
        die("memory", KV_E_NO_MEMORY);
}

/* ---- modes ---- */

static void run_submit(load *l)
{
    stand(l);
    double began = now_s();
    while (l->acknowledged < l->count) {
        submit_more(l);
        turn(l, 1000);
    }
    report(l, now_s() - began);
}

static void run_jobs(load *l)
{
    stand(l);
    double began = now_s();
    while (l->done < l->count) {
        /* outstanding: submitted and not yet done */
        l->in_flight = l->submitted - l->done;
        submit_more(l);
        turn(l, 1000);
    }
    report(l, now_s() - began);
}

/* A timer's late wake is the load's own, and the peers' load does not count it either; whoever is
 * later than that is behind, and that is everybody's. */
static double since(double due, double now)
{
    return now - due < LATE_S ? now : due;
}

static void run_rate(load *l, double per_second)
{
    stand(l);
    double began = now_s();
    while (l->done < l->count) {
        double due = began + (double)l->submitted / per_second, now = now_s();
        if (l->submitted < l->count && now >= due) {
            submit_one(l);
            l->submit_at[l->submitted - 1] = since(due, now);
            continue;
        }
        turn(l, l->submitted < l->count ? (due - now) * 1e3 : 100);
    }
    report(l, now_s() - began);
}

/* One at a time while the worker is busy with what waits. */
static void run_urgent(load *l)
{
    stand(l);
    while (l->begun < 200)
        turn(l, 100);
    double began = now_s();
    size_t measured = 0;
    while (l->latencies < l->count) {
        if (l->latencies == measured && l->submitted == measured) {
            submit_one(l);
            measured++;
        }
        turn(l, 100);
        if (l->latencies == measured && measured < l->count)
            continue;
    }
    report(l, now_s() - began);
}

static void run_first(load *l)
{
    double began = now_s();
    while (l->done < l->count)
        turn(l, 100);
    l->latencies = 0;
    report(l, now_s() - began);
}

static void on_positions(void *arg, kv_err err, const kv_msg *answer)
{
    load *l = arg;
    (void)answer;
    if (err != KV_OK)
        die("position", err);
    l->done++;
}

static void ask_page(load *l, uint64_t first, bool watch)
{
    char ids[PAGE * KV_ID_BYTES];
    kv_msg m;
    for (uint64_t i = 0; i < PAGE; i++)
        kv_id_put(ids, i, first + i);
    kv_msg_defaults(KV_POSITION, &m);
    m.position.jobs = kv_slice_of(ids, sizeof ids);
    m.position.watch = watch;
    kv_err err = kv_client_ask(l->client, &m, ASK_MS, on_positions, l);
    if (err != KV_OK)
        die("ask", err);
}

static void run_position(load *l, size_t queries, uint64_t count, uint64_t job0)
{
    stand(l);
    double began = now_s();
    uint64_t random = 1;
    for (size_t i = 0; i < queries; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        ask_page(l, job0 + (random >> 20) % (count - PAGE), false);
        while (l->done <= i)
            turn(l, 100);
    }
    l->job0 = job0;
    report(l, now_s() - began);
}

static void run_watch(load *l, size_t watchers, int seconds, uint64_t job0)
{
    stand(l);
    size_t pages = watchers / PAGE;
    for (size_t i = 0; i < pages; i++)
        ask_page(l, job0 + i * PAGE, true);
    while (l->done < pages)
        turn(l, 100);
    printf("watching\n");
    fflush(stdout);
    double began = now_s();
    while (now_s() - began < seconds)
        turn(l, 100);
    report(l, now_s() - began);
}

/* What a commit of one job costs the disk, with nothing around it. */
static void run_floor(load *l, const char *path, double per_second, double seconds, size_t syncs)
{
    static char pages[20480];
    enum { ROOM = 512 };
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (size_t i = 0; i < ROOM; i++)
        if (fd < 0 || pwrite(fd, pages, sizeof pages, (off_t)(i * sizeof pages)) < 0)
            die(path, KV_E_IO);
    (void)fsync(fd);
    double began = now_s();
    size_t n = 0, at = 0;
    for (; n < l->count && now_s() - began < seconds + 1; n++) {
        double due = per_second > 0 ? began + (double)n / per_second : now_s();
        for (double left; (left = due - now_s()) > 0;)
            doze(NULL, 0, left * 1e3);
        double at_s = since(due, now_s());
        for (size_t i = 0; i < syncs; i++) {
            off_t to = (off_t)(at++ % ROOM * sizeof pages);
            if (pwrite(fd, pages, sizeof pages, to) < 0 || fdatasync(fd) != 0)
                die(path, KV_E_IO);
        }
        l->latency[l->latencies++] = now_s() - at_s;
    }
    l->count = n;
    report(l, now_s() - began);
    close(fd);
}

static size_t number(int argc, char **argv, int i)
{
    if (i >= argc) {
        fprintf(stderr, "an argument is missing\n");
        exit(2);
    }
    return (size_t)strtoull(argv[i], NULL, 10);
}

int main(int argc, char **argv)
{
    load l = {.service = "load", .lane = 1, .credit = 256, .batch = 1};
    if (argc < 4)
        return 2;
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* 50 us else, and `rate` begins by a timer */
    const char *endpoint = argv[1], *mode = argv[2];
    void *zmq = zmq_ctx_new();
    memset(payload, 'x', PAYLOAD);
    payload[0] = payload[PAYLOAD - 1] = '"';
    kv_buf_init(&l.bodies, 0);
    bool worker = strcmp(mode, "jobs") == 0 || strcmp(mode, "rate") == 0 ||
                  strcmp(mode, "urgent") == 0 || strcmp(mode, "first") == 0;
    if (strcmp(mode, "floor") == 0) {
        size_t rate = number(argc, argv, 3), seconds = number(argc, argv, 4);
        prepare(&l, rate ? rate * seconds : seconds * 20000);
        run_floor(&l, endpoint, (double)rate, (double)seconds, number(argc, argv, 5));
        return 0;
    }
    if (strcmp(mode, "first") != 0)
        l.client = connect_as(&l, zmq, endpoint, false);
    if (strcmp(mode, "submit") == 0 || strcmp(mode, "jobs") == 0) {
        l.outstanding = number(argc, argv, 3);
        prepare(&l, number(argc, argv, 4));
        l.batch = number(argc, argv, 5);
        l.service = worker ? "load-run" : "load";
    } else if (strcmp(mode, "rate") == 0) {
        prepare(&l, number(argc, argv, 3) * number(argc, argv, 4));
        l.service = "load-run";
        l.until_done = true;
    } else if (strcmp(mode, "urgent") == 0) {
        prepare(&l, number(argc, argv, 3));
        l.until_begun = true;
        l.lane = 0;
        l.credit = 1;
    } else if (strcmp(mode, "preload") == 0) {
        prepare(&l, number(argc, argv, 3));
        l.outstanding = 2000;
        l.batch = 500;
    } else {
        prepare(&l, number(argc, argv, 3));
    }
    if (worker)
        l.worker = connect_as(&l, zmq, endpoint, true);
    if (strcmp(mode, "submit") == 0 || strcmp(mode, "preload") == 0)
        run_submit(&l);
    else if (strcmp(mode, "jobs") == 0)
        run_jobs(&l);
    else if (strcmp(mode, "rate") == 0)
        run_rate(&l, (double)number(argc, argv, 3));
    else if (strcmp(mode, "urgent") == 0)
        run_urgent(&l);
    else if (strcmp(mode, "first") == 0)
        run_first(&l);
    else if (strcmp(mode, "position") == 0)
        run_position(&l, l.count, number(argc, argv, 4), number(argc, argv, 5));
    else
        run_watch(&l, l.count, (int)number(argc, argv, 4), number(argc, argv, 5));
    if (l.worker)
        kv_client_destroy(&l.worker);
    if (l.client)
        kv_client_destroy(&l.client);
    zmq_ctx_term(zmq);
    return 0;
}
