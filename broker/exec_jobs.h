/* What the files of the job commands (exec_jobs.c, exec_submit.c, exec_move.c) share; nobody else
 * includes this. */
#ifndef KV_BROKER_EXEC_JOBS_H
#define KV_BROKER_EXEC_JOBS_H

#include "broker/exec.h"
#include "storage/read/job_history.h"

/* What a transition adds to the history, in x->scratch. */
kv_err kv_exec_step(kv_exec *x, const kv_job_step *step);

/* Row, hold and event of a new job; cmd->created. Or none of them: with cmd->err, or with
 * cmd->place (of its own row, or of cmd->other, which has its unique key). */
kv_err kv_exec_new_job(kv_exec *x, kv_cmd *cmd, kv_job_new *job, kv_slice service);

/* The job is known to have neither user, tenant, credits, retention nor unique key. False: look at
 * its row. */
bool kv_exec_plain(const kv_exec *x, uint64_t job);

#endif
