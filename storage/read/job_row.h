/* A job's row as JSON; for the files of storage/read about jobs only. */
#ifndef KV_STORAGE_READ_JOB_ROW_H
#define KV_STORAGE_READ_JOB_ROW_H

#include "proto/base/buf.h"
#include "storage/db.h"

/* What a statement over `job j JOIN service v ON v.id = j.service` selects, first. */
#define KV_JOB_ROW_COLUMNS                                                                         \
    "j.id, v.name, j.lane, j.state, j.progress, j.attempt, j.max_attempts, j.metadata, "           \
    "j.metadata_version, j.error, j.error_detail, j.tenant, j.user, j.tags, j.unique_key, "        \
    "j.credits, j.deadline, j.not_before, j.retry_of, j.retried_by, j.created_at, j.updated_at"
/* And behind it, for a whole one. */
#define KV_JOB_ROW_WHOLE KV_JOB_ROW_COLUMNS ", j.params, j.result, j.history"

/* Appends the object. whole: with params, result and history. */
void kv_job_row_json(kv_stmt *s, bool whole, kv_buf *out);

/* Appends the job without params, result and history, if it carries `tag` (len 0: any).
 * *ret_added false: it does not, or there is no such job. */
kv_err kv_job_list_item(kv_db *db, uint64_t id, kv_slice tag, kv_buf *out, bool *ret_added);

#endif
