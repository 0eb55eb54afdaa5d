/* What retention no longer keeps, removed in small slices: events, ended jobs, notifications. The
 * ledger's thread, outside of its transactions. */
#ifndef KV_BROKER_TIDY_H
#define KV_BROKER_TIDY_H

#include "proto/base/clock.h"
#include "proto/base/config.h"
#include "storage/db.h"

typedef struct kv_tidy {
    const kv_config *cfg;
    int64_t next_job_pass_ms; /* wall */
    uint64_t job_cursor, event_past, notification_past;
    int64_t next_us;    /* mono: then even where it is never quiet */
    int64_t ahead_ms;   /* the date before the monotonic clock, as last looked at */
    int64_t trusted_us; /* mono: nothing is old by the date before */
} kv_tidy;

/* One slice of each, a transaction each; `now` in Unix ms. True: there is more. Errors are logged
 * below; the next slice tries again. */
bool kv_tidy_slice(kv_tidy *t, kv_db *db, int64_t now);

/* When, for who is never quiet: now and again, and with a tenth of the time while there is more, so
 * that what comes in all day does not outrun it. For an hour after the date was set by more than an
 * hour, and for ten minutes after a start, nothing is removed. */
void kv_tidy_wait(kv_tidy *t, const kv_clock *clock); /* from the start on */
bool kv_tidy_due(const kv_tidy *t, const kv_clock *clock);
long kv_tidy_due_in_ms(const kv_tidy *t, const kv_clock *clock, long most); /* 1 … most */
/* A slice; it says when the next one is due. True: there is more. */
bool kv_tidy_turn(kv_tidy *t, kv_db *db, const kv_clock *clock);

#endif
