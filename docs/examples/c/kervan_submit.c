/* Submits jobs and waits for them:
 *
 *   kervan_submit SERVICE PARAMS [PARAMS …]
 *
 * One line a job when it is taken, one a position, one when it has ended. KERVAN_DATA (or
 * KERVAN_BROKER) says where the broker is. Exit status 0: all are complete. */
#include <stdio.h>

#include "proto/base/id.h"
#include "proto/base/json_scan.h"
#include "proto/jobs_client.h"

enum { JOBS_MAX = 100, WAIT_MS = 60 * 60 * 1000 };

static void print_state(void *arg, const kv_job_client_state *s)
{
    char id[KV_ID_TEXT + 1];
    (void)arg;
    kv_id_format(s->job, id);
    printf("%s %s position %lld\n", id, s->status, (long long)s->queue_position);
    fflush(stdout);
}

static int wait_for(kv_job_client *jobs, uint64_t job)
{
    kv_buf json;
    kv_slice status = {0};
    kv_buf_init(&json, 0);
    kv_err err = kv_job_client_wait(jobs, job, WAIT_MS, print_state, NULL, &json);
    if (err == KV_OK)
        printf("%s\n", kv_buf_str(&json));
    else
        fprintf(stderr, "%s %s\n", kv_err_info_of(err)->slug, kv_job_client_detail(jobs));
    bool complete = err == KV_OK && kv_scan_text(kv_buf_slice(&json), "status", &status) &&
                    kv_slice_is(status, "complete");
    kv_buf_release(&json);
    return complete ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t ids[JOBS_MAX];
    int failed = 0, n = argc - 2;
    kv_job_client *jobs;
    if (n < 1 || n > JOBS_MAX) {
        fprintf(stderr, "usage: kervan_submit SERVICE PARAMS [PARAMS ...]\n");
        return 2;
    }
    if (kv_job_client_open(&(kv_job_client_opts){.name = "kervan_submit"}, &jobs) != KV_OK)
        return 1;
    for (int i = 0; i < n; i++) {
        kv_submit job;
        kv_job_client_state state;
        kv_job_client_new(jobs, &job, argv[1], argv[2 + i]); /* lane, user, … may be set now */
        kv_err err = kv_job_client_submit(jobs, &job, &state);
        if (err != KV_OK) {
            fprintf(stderr, "%s %s\n", kv_err_info_of(err)->slug, kv_job_client_detail(jobs));
            kv_job_client_close(&jobs);
            return 1;
        }
        ids[i] = state.job;
        print_state(NULL, &state);
    }
    for (int i = 0; i < n; i++)
        failed += wait_for(jobs, ids[i]);
    kv_job_client_close(&jobs);
    return failed ? 1 : 0;
}
