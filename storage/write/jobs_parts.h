/* What the files of storage/write/jobs*.c share; nobody else includes this. */
#ifndef KV_STORAGE_WRITE_JOBS_PARTS_H
#define KV_STORAGE_WRITE_JOBS_PARTS_H

#include "storage/write/jobs.h"

/* ---- jobs_open.c: one more unfinished job, one elsewhere in its lane, one less ---- */
kv_err kv_job_opened(kv_db *db, kv_jobs_open *open, uint64_t id, uint64_t seq);
kv_err kv_job_reordered(kv_db *db, const kv_jobs_open *open, uint64_t id, uint64_t seq);
kv_err kv_job_ended(kv_db *db, const kv_jobs_open *open, uint64_t id);

/* ---- jobs_prune.c ---- */
/* The row, with that of its options; dead_service not 0: and its dead letter. What only unfinished
 * jobs have is not looked for. */
kv_err kv_job_remove(kv_db *db, uint64_t id, bool options, int64_t dead_service);

#endif
