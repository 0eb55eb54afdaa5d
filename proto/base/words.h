/* The words that stand for numbers at every door: JSON, options, labels, PROTOCOL.md. Each list
 * once; enums and names come from it. Any thread. */
#ifndef KV_BASE_WORDS_H
#define KV_BASE_WORDS_H

#include <stdbool.h>

#include "proto/base/slice.h"

/* X(NAME, "word"): the numbers are those of job.state in the database. */
#define KV_JOB_STATES(X)                                                                           \
    X(QUEUED, "queued")                                                                            \
    X(PROCESSING, "processing")                                                                    \
    X(COMPLETE, "complete")                                                                        \
    X(ERROR, "error")                                                                              \
    X(CANCELLED, "cancelled")

/* Of job.lane, in the order in which they go. */
#define KV_JOB_LANES(X)                                                                            \
    X(URGENT, "urgent")                                                                            \
    X(NORMAL, "normal")                                                                            \
    X(BACKGROUND, "background")

/* X(NAME, "kind", "what", members besides id, type and at): the event "kind.what". Those of a job's
 * states are in the order of the states. */
#define KV_EVENT_TYPES(X)                                                                          \
    X(JOB_QUEUED, "job", "queued",                                                                 \
      "jobId, service, status, attempt (as `attempts` of the job), "                               \
      "lane; where there is one: user, tenant")                                                    \
    X(JOB_PROCESSING, "job", "processing",                                                         \
      "jobId, service, status, attempt; where there is one: user, tenant")                         \
    X(JOB_COMPLETE, "job", "complete",                                                             \
      "jobId, service, status, attempt; where there is one: user, tenant")                         \
    X(JOB_ERROR, "job", "error",                                                                   \
      "jobId, service, status, attempt; where there is one: user, tenant, error, error_detail")    \
    X(JOB_CANCELLED, "job", "cancelled",                                                           \
      "jobId, service, status, attempt; where there is one: user, tenant")                         \
    X(JOB_PROGRESS, "job", "progress",                                                             \
      "jobId, progress; where there is one: user, tenant. Not for every step")                     \
    X(JOB_METADATA, "job", "metadata",                                                             \
      "jobId, version, metadata (after the merge); where there is one: user, tenant")              \
    X(NOTIFICATION_CREATED, "notification", "created", "user, notification")                       \
    X(NOTIFICATION_SEEN, "notification", "seen", "user, upto")                                     \
    X(QUEUE_CHANGED, "queue", "changed", "service")                                                \
    X(MEDIA_CREATED, "media", "created", "mediaId, media: the row as `GET /api/media/:id` has it") \
    X(MEDIA_PROCESSING, "media", "processing", "mediaId, media")                                   \
    X(MEDIA_READY, "media", "ready", "mediaId, media")                                             \
    X(MEDIA_FAILED, "media", "failed", "mediaId, media")                                           \
    X(MEDIA_DELETED, "media", "deleted", "mediaId, folder, stored_hash")

/* How a queue does: well, or why not, the worst first. */
#define KV_HEALTHS(X)                                                                              \
    X(OK, "ok")                                                                                    \
    X(STUCK, "stuck")                                                                              \
    X(NO_WORKERS, "no_workers")                                                                    \
    X(PAUSED, "paused")                                                                            \
    X(NO_ROOM, "no_room")                                                                          \
    X(DRAINING, "draining")                                                                        \
    X(AT_LIMIT, "at_limit")                                                                        \
    X(WORKERS_BUSY, "workers_busy")

/* What is done at the bound of a queue; AND stands between. */
#define KV_OVERFLOWS(X, AND) X(REJECT, "reject") AND X(EVICT, "evict")

/* Of log lines, the least first. */
#define KV_LOG_LEVELS(X, AND)                                                                      \
    X(DEBUG, "debug") AND X(INFO, "info") AND X(WARN, "warn") AND X(ERROR, "error")

#define KV_WORD_OF(name, word) word

/* What may be set of a queue: X(F, T, name, kind, "option", lowest, highest, "unit", "sentence"). A
 * flag is 1 for true, a word one of kv_overflow_names; -1 everywhere: not said. The option is that
 * of ctl's limit. F and T are passed on, to the fields of QUEUE_SET. */
#define KV_QUEUE_SETTINGS(X, F, T)                                                                 \
    X(F, T, paused, flag, "", 0, 1, "",                                                            \
      "1: no new leases, SUBMIT goes on; 0: go on; -1: as it is (so for all below)")               \
    X(F, T, draining, flag, "", 0, 1, "",                                                          \
      "1: SUBMIT is refused with QUEUE_DRAINING, what is there is worked off")                     \
    X(F, T, concurrency, count, "concurrency", 0, 4294967295, "jobs",                              \
      "leases at once; 0: no limit")                                                               \
    X(F, T, rate_per_minute, count, "rate", 0, 4294967295, "jobs/min",                             \
      "leases begun a minute, evenly with a burst of a sixth of it; 0: no limit")                  \
    X(F, T, max_waiting, count, "max-waiting", 0, 1000000000, "jobs",                              \
      "bound of the queue; 0: QUEUE_MAX_WAITING. Not for tenants")                                 \
    X(F, T, overflow, word, "overflow", 0, 1, "",                                                  \
      "at the bound: 0 reject the newest, 1 evict the oldest of the lowest lane. Not for tenants") \
    X(F, T, weight, count, "weight", 1, 100, "", "share of a tenant, 1 to 100. Only for tenants")

/* The services of kervan's own workers. */
#define KV_SERVICE_IMAGE "image-process"
#define KV_SERVICE_REAP  "blob-reap"

/* The actors of `kervan worker`; AND stands between. */
#define KV_WORKER_IMAGE    "image"
#define KV_WORKER_REAPER   "reaper"
#define KV_WORKER_NOTIFIER "notifier"
#define KV_WORKERS(AND)    KV_WORKER_IMAGE AND KV_WORKER_REAPER AND KV_WORKER_NOTIFIER

#define KV_WORD_STATE(name, word)                KV_JOB_##name,
#define KV_WORD_LANE(name, word)                 KV_LANE_##name,
#define KV_WORD_HEALTH(name, word)               KV_HEALTH_##name,
#define KV_WORD_OVERFLOW(name, word)             KV_OVERFLOW_##name,
#define KV_WORD_LEVEL(name, word)                KV_LOG_##name,
#define KV_WORD_EVENT(name, kind, what, members) KV_EVENT_##name,
enum { KV_JOB_STATES(KV_WORD_STATE) KV_STATES };
enum { KV_JOB_LANES(KV_WORD_LANE) KV_LANES };
typedef enum kv_health { KV_HEALTHS(KV_WORD_HEALTH) KV_HEALTH_COUNT } kv_health;
enum { KV_OVERFLOWS(KV_WORD_OVERFLOW, ) KV_OVERFLOW_COUNT };
typedef enum kv_log_level { KV_LOG_LEVELS(KV_WORD_LEVEL, ) KV_LOG_LEVEL_COUNT } kv_log_level;
typedef enum kv_event_type { KV_EVENT_TYPES(KV_WORD_EVENT) KV_EVENT_COUNT } kv_event_type;
#undef KV_WORD_STATE
#undef KV_WORD_LANE
#undef KV_WORD_HEALTH
#undef KV_WORD_OVERFLOW
#undef KV_WORD_LEVEL
#undef KV_WORD_EVENT

extern const char *const kv_state_names[KV_STATES];
extern const char *const kv_lane_names[KV_LANES];
extern const char *const kv_health_names[KV_HEALTH_COUNT];
extern const char *const kv_overflow_names[KV_OVERFLOW_COUNT];
extern const char *const kv_log_level_names[KV_LOG_LEVEL_COUNT];
extern const kv_slice kv_event_names[KV_EVENT_COUNT]; /* "job.queued" … */

/* The place of `word` among n; -1: none. */
int kv_word_find(const char *const *words, int n, kv_slice word);
/* Whether `status` is the word of a state that nothing follows on: all but "queued" and
 * "processing". */
bool kv_state_ends(kv_slice status);
/* Whether events have it before the dot: "job", "media" … */
bool kv_event_kind_known(kv_slice kind);

#endif
