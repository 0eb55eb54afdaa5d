/* Prints the events after one, a JSON object a line, and goes on with those that come:
 *
 *   kervan_follow [AFTER]
 *
 * Without AFTER: from now on; 0: from the oldest that is kept. Runs until SIGTERM. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/jobs_client.h"

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static bool print_event(void *arg, uint64_t id, kv_slice type, kv_slice json)
{
    (void)arg, (void)id, (void)type;
    printf("%.*s\n", KV_SLICE_FMT(json));
    return fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    kv_job_client *jobs;
    uint64_t after = argc > 1 ? strtoull(argv[1], NULL, 10) : KV_EVENTS_FROM_NOW;
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
    kv_log_setup("kervan_follow", KV_LOG_WARN);
    kv_err err =
        kv_job_client_open(&(kv_job_client_opts){.name = "kervan_follow", .stop = &stop}, &jobs);
    if (err == KV_OK)
        err = kv_job_client_follow(jobs, after, print_event, NULL);
    kv_job_client_close(&jobs);
    if (err != KV_OK)
        fprintf(stderr, "%s: follow from now, and read the state anew meanwhile\n",
                kv_err_info_of(err)->slug);
    return err == KV_OK ? 0 : 1;
}
