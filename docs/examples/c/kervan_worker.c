/* A worker: sleeps as many milliseconds as its params say, {"ms": 500}, and reports how far it is.
 *
 *   kervan_worker SERVICE [THREADS]
 *
 * Runs until SIGTERM. KERVAN_DATA (or KERVAN_BROKER) says where the broker is. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/jobs_client.h"

enum { STEP_MS = 20, REPORT_STEPS = 10, DRAIN_MS = 10000 };

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
}

/* A real one would use a JSON library. */
static long ms_of(kv_slice params)
{
    char text[256];
    snprintf(text, sizeof text, "%.*s", KV_SLICE_FMT(params));
    const char *at = strstr(text, "\"ms\":");
    return at ? strtol(at + 5, NULL, 10) : 0;
}

static void say(const kv_work *job, const char *what)
{
    char id[KV_ID_TEXT + 1];
    kv_id_format(kv_work_id(job), id);
    printf("%s %s\n", id, what);
    fflush(stdout);
}

static kv_err work(kv_work *job, void *arg)
{
    long ms = ms_of(kv_work_params(job));
    char result[64];
    (void)arg;
    say(job, "begun");
    if (ms < 0) {
        kv_work_fail(job, true, "ms is negative");
        return KV_E_BAD_PARAMETER;
    }
    for (long done = 0, step = 0; done < ms; done += STEP_MS, step++) {
        if (kv_work_cancelled(job)) {
            say(job, "cancelled");
            return KV_OK;
        }
        if (step % REPORT_STEPS == 0)
            (void)kv_work_progress(job, (unsigned)(done * 100 / ms), NULL);
        nap();
    }
    snprintf(result, sizeof result, "{\"slept\":%ld}", ms);
    say(job, "done");
    return kv_work_result(job, result);
}

static void heard(kv_work *job, void *arg)
{
    (void)arg;
    say(job, "cancel heard");
}

int main(int argc, char **argv)
{
    kv_job_worker *worker;
    sigset_t set;
    int got;
    if (argc < 2) {
        fprintf(stderr, "usage: kervan_worker SERVICE [THREADS]\n");
        return 2;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the threads are made */
    kv_log_setup("kervan_worker", KV_LOG_WARN);
    kv_job_worker_opts opts = {.service = argv[1],
                               .name = "kervan_worker",
                               .threads = argc > 2 ? (unsigned)atoi(argv[2]) : 1,
                               .handler = work,
                               .on_cancel = heard};
    kv_err err = kv_job_worker_start(&opts, &worker);
    if (err != KV_OK) {
        fprintf(stderr, "%s\n", kv_err_info_of(err)->slug);
        return 1;
    }
    sigwait(&set, &got);
    kv_job_worker_stop(&worker, DRAIN_MS);
    return 0;
}
