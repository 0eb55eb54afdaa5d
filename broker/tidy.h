/* What retention no longer keeps, removed in small slices: events, ended jobs, notifications. The
 * ledger's thread, outside of its transactions. */
#ifndef KV_BROKER_TIDY_H
#define KV_BROKER_TIDY_H

#include "proto/base/config.h"
#include "storage/db.h"

typedef struct kv_tidy {
    const kv_config *cfg;
    int64_t next_job_pass_ms; /* wall */
    uint64_t job_cursor;
} kv_tidy;

/* One slice of each, a transaction each; `now` in Unix ms. True: there is more. Errors are logged
 * below; the next slice tries again. */
bool kv_tidy_slice(kv_tidy *t, kv_db *db, int64_t now);

#endif
