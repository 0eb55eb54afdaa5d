#include "broker/tidy.h"

#include "storage/write/events.h"
#include "storage/write/jobs.h"
#include "storage/write/notifications.h"

enum {
    EVENT_ROWS = 100,
    JOB_ROWS = 250,
    NOTIFICATION_ROWS = 250,
    JOB_PASS_MS = 10 * 60 * 1000, /* between two walks over the old jobs */
    DUE_US = 60 * 1000000,        /* never quiet: then now and again in between */
    AT_START_US = 600 * 1000000,  /* not longer: who starts often has old rows, too */
    PAUSE = 9                     /* with more to remove: so many times what a slice took */
};
static const int64_t HOUR_MS = 3600 * 1000, HOUR_US = HOUR_MS * 1000, SEEN_MS = 7 * 24 * HOUR_MS,
                     UNSEEN_MS = 90 * 24 * HOUR_MS;

typedef kv_err remove_fn(kv_tidy *t, kv_db *db, int64_t now, int64_t *ret_removed);

/* Nothing removed is nothing to commit. */
static kv_err in_transaction(kv_tidy *t, kv_db *db, int64_t now, remove_fn *fn,
                             int64_t *ret_removed)
{
    *ret_removed = 0;
    KV_TRY(kv_db_begin(db));
    kv_err err = fn(t, db, now, ret_removed);
    if (err == KV_OK && *ret_removed > 0)
        err = kv_db_commit(db);
    if (err != KV_OK || *ret_removed == 0)
        kv_db_rollback(db);
    return err;
}

static kv_err old_events(kv_tidy *t, kv_db *db, int64_t now, int64_t *ret_removed)
{
    return kv_event_prune(db,
                          &(kv_oldest){.before_ms = now - t->cfg->event_retention_hours * HOUR_MS,
                                       .now = now,
                                       .max_rows = EVENT_ROWS,
                                       .past = &t->event_past},
                          ret_removed);
}

static kv_err old_jobs(kv_tidy *t, kv_db *db, int64_t now, int64_t *ret_removed)
{
    return kv_jobs_prune(db, now - t->cfg->job_retention_hours * HOUR_MS, now, JOB_ROWS,
                         &t->job_cursor, ret_removed);
}

static kv_err expired_jobs(kv_tidy *t, kv_db *db, int64_t now, int64_t *ret_removed)
{
    (void)t;
    return kv_jobs_prune_expired(db, now, JOB_ROWS, ret_removed);
}

static kv_err old_notifications(kv_tidy *t, kv_db *db, int64_t now, int64_t *ret_removed)
{
    return kv_notifications_prune(db, now - SEEN_MS,
                                  &(kv_oldest){.before_ms = now - UNSEEN_MS,
                                               .now = now,
                                               .max_rows = NOTIFICATION_ROWS,
                                               .past = &t->notification_past},
                                  ret_removed);
}

/* A slice that was full has more behind it. */
static bool slice(kv_tidy *t, kv_db *db, int64_t now, remove_fn *fn, int64_t full)
{
    int64_t removed;
    return in_transaction(t, db, now, fn, &removed) == KV_OK && removed >= full;
}

/* A walk looks at rows that stay, too: its cursor says whether it is over. */
static bool walk_jobs(kv_tidy *t, kv_db *db, int64_t now)
{
    int64_t removed;
    int64_t left = t->next_job_pass_ms - now;
    if (left > 0 && left <= JOB_PASS_MS) /* else the clock was set back */
        return false;
    if (in_transaction(t, db, now, old_jobs, &removed) == KV_OK && t->job_cursor != 0)
        return true;
    t->job_cursor = 0;
    t->next_job_pass_ms = now + JOB_PASS_MS;
    return false;
}

bool kv_tidy_slice(kv_tidy *t, kv_db *db, int64_t now)
{
    uint64_t past = t->event_past + t->notification_past;
    bool more = slice(t, db, now, old_events, EVENT_ROWS - 1);
    more |= slice(t, db, now, expired_jobs, JOB_ROWS);
    more |= slice(t, db, now, old_notifications, NOTIFICATION_ROWS);
    more |= walk_jobs(t, db, now);
    return more || past != t->event_past + t->notification_past;
}

/* ---- when ---- */

static int64_t ahead_of(const kv_clock *clock)
{
    return kv_wall_ms(clock) - kv_mono_ms(clock);
}

/* By a date that was set forward what is young is old. So somebody gets time to set it back, and
 * whoever waits for a job that ended in 1970 to look at it. */
static bool trusted(kv_tidy *t, const kv_clock *clock)
{
    int64_t ahead = ahead_of(clock), moved = ahead - t->ahead_ms, now_us = kv_mono_us(clock);
    t->ahead_ms = ahead;
    if (moved > HOUR_MS || moved < -HOUR_MS)
        t->trusted_us = now_us + HOUR_US;
    return now_us >= t->trusted_us;
}

void kv_tidy_wait(kv_tidy *t, const kv_clock *clock)
{
    t->next_us = kv_mono_us(clock) + DUE_US;
    t->ahead_ms = ahead_of(clock);
    t->trusted_us = kv_mono_us(clock) + AT_START_US; /* nobody knows what was set before */
}

bool kv_tidy_due(const kv_tidy *t, const kv_clock *clock)
{
    return kv_mono_us(clock) >= t->next_us;
}

long kv_tidy_due_in_ms(const kv_tidy *t, const kv_clock *clock, long most)
{
    int64_t left = (t->next_us - kv_mono_us(clock)) / 1000 + 1;
    return left < 1 ? 1 : left < most ? (long)left : most;
}

bool kv_tidy_turn(kv_tidy *t, kv_db *db, const kv_clock *clock)
{
    int64_t begun = kv_mono_us(clock);
    bool more = trusted(t, clock) && kv_tidy_slice(t, db, kv_wall_ms(clock));
    int64_t now = kv_mono_us(clock);
    t->next_us = now + (more ? (now - begun) * PAUSE : DUE_US);
    return more;
}
