/* A job's row as JSON; for the files of storage/read about jobs only. */
#ifndef KV_STORAGE_READ_JOB_ROW_H
#define KV_STORAGE_READ_JOB_ROW_H

#include "proto/base/buf.h"
#include "storage/db.h"

/* What a statement selects first, and from where. A job without options is not looked for among
 * them. */
#define KV_JOB_ROW_COLUMNS                                                                         \
    "j.id, v.name, j.lane, j.state, j.progress, j.attempt - j.given_back, j.max_attempts, "        \
    "o.metadata, "                                                                                 \
    "ifnull(o.metadata_version, 0), j.error, j.error_detail, j.tenant, o.user, o.tags, "           \
    "o.unique_key, ifnull(o.credits, 0), o.deadline, j.not_before, o.retry_of, o.retried_by, "     \
    "j.created_at, j.updated_at"
#define KV_JOB_ROW_FROM                                                                            \
    " FROM job j JOIN service v ON v.id = j.service "                                              \
    "LEFT JOIN job_option o ON o.job = iif(j.options, j.id, NULL) "
/* And behind it, for a whole one. */
#define KV_JOB_ROW_WHOLE KV_JOB_ROW_COLUMNS ", j.params, j.result, j.history"

/* Appends the object. whole: with params, result and history. */
void kv_job_row_json(kv_stmt *s, bool whole, kv_buf *out);

/* Appends the job without params, result and history, if it carries `tag` (len 0: any).
 * *ret_added false: it does not, or there is no such job. */
kv_err kv_job_list_item(kv_db *db, uint64_t id, kv_slice tag, kv_buf *out, bool *ret_added);

#endif
