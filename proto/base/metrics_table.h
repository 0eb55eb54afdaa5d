/* Every metric: M(NAME_IN_CODE, "prometheus_name", TYPE, "label or empty", "what it means and what
 * to do when it grows"). TYPE: COUNTER, GAUGE, HISTOGRAM (seconds) or SIZES (a
 * histogram of counts, in powers of two). A metric with a label has one
 * value per label value in use, at most 64, the rest under "other"; with two ("service,lane") 192.
 * Label values are fixed strings chosen by code, or names of queues ([a-z0-9-]{1,64}): never other
 * input. */
#ifndef KV_BASE_METRICS_TABLE_H
#define KV_BASE_METRICS_TABLE_H

/* clang-format off */
#define KV_METRICS(M) \
    /* gateway */ \
    M(UPLOADS, "uploads_total", COUNTER, "", "Uploads answered with 201.") \
    M(UPLOAD_BYTES, "upload_bytes_total", COUNTER, "", "Bytes of uploads answered with 201, as received.") \
    M(UPLOAD_FAILURES, "upload_failures_total", COUNTER, "code", "Uploads refused or broken, by error code. A rise of one code says what clients or disks do wrong.") \
    M(UPLOAD_SECONDS, "kervan_upload_seconds", HISTOGRAM, "", "First byte of an upload to its 201. Grows with slow clients, slow disks or a busy broker.") \
    M(UPLOADS_ACTIVE, "kervan_uploads_active", GAUGE, "", "Uploads in flight.") \
    M(UPLOAD_BUFFER_BYTES, "kervan_upload_buffer_bytes", GAUGE, "", "Body bytes held in memory; at UPLOAD_BUFFER_MB clients are slowed.") \
    M(UPLOADS_DEDUPLICATED, "kervan_uploads_deduplicated_total", COUNTER, "", "Uploads whose bytes were here already.") \
    M(HTTP_REQUESTS, "kervan_http_requests_total", COUNTER, "status", "HTTP answers by status class.") \
    M(HTTP_REFUSED, "kervan_http_refused_total", COUNTER, "code", "Requests refused before a handler saw them, by error code.") \
    M(CONNECTIONS, "kervan_http_connections", GAUGE, "", "Open HTTP connections; new ones wait at MAX_CONNECTIONS.") \
    M(LIVE_CLIENTS, "kervan_live_clients", GAUGE, "transport", "WebSocket, SSE and polling clients.") \
    M(LIVE_RESYNCS, "kervan_live_resyncs_total", COUNTER, "", "Clients that were too slow or too old and were told to resync.") \
    M(STATIC_CACHE_BYTES, "kervan_static_cache_bytes", GAUGE, "", "Memory of the static cache.") \
    M(BROKER_UP, "kervan_broker_up", GAUGE, "", "1 while the gateway hears the broker. At 0 uploads wait up to 10 s and then fail with 503.") \
    /* broker */ \
    M(PROCESSING_SECONDS, "processing_duration_seconds", HISTOGRAM, "", "Image processing, lease to result. Grows with larger pictures or too few workers.") \
    M(JOBS_DONE, "kervan_jobs_total", COUNTER, "outcome", "Jobs that ended: complete, error or cancelled.") \
    M(JOB_FAILURES, "kervan_job_failures_total", COUNTER, "service", "Jobs that ended in error, by service. The job's history says why.") \
    M(JOB_REQUEUES, "kervan_job_requeues_total", COUNTER, "service", "Jobs put back because their worker died. Look at the worker's log.") \
    M(JOBS_WAITING, "kervan_jobs_waiting", GAUGE, "service", "Jobs that could begin now. Growing: add workers, or see kervan ctl doctor.") \
    M(JOBS_DELAYED, "kervan_jobs_delayed", GAUGE, "service", "Jobs that wait for their time: a delay, or the backoff after a failed attempt. Growing with failures: see why in the job's history.") \
    M(LANE_WAITING, "kervan_lane_waiting", GAUGE, "service,lane", "Jobs that could begin now, by lane. Only background growing: higher lanes take all workers (LANE_SHARE).") \
    M(OLDEST_WAITING, "kervan_job_oldest_waiting_seconds", GAUGE, "service", "How long the oldest waiting job could have begun. Growing while jobs end: a lane or a tenant starves; growing while none ends: kervan ctl doctor says why.") \
    M(JOB_WAIT_SECONDS, "kervan_job_wait_seconds", HISTOGRAM, "service", "From the time a job could begin to its lease. Grows when too few workers serve the queue.") \
    M(JOB_SERVICE_SECONDS, "kervan_job_service_seconds", HISTOGRAM, "service", "From lease to end of an attempt, commit included. Grows when workers, or what they call, get slower.") \
    M(JOB_ATTEMPTS, "kervan_job_attempts_total", COUNTER, "service", "Leases begun. Faster than jobs end: attempts fail and are repeated.") \
    M(JOBS_ENDED, "kervan_queue_jobs_total", COUNTER, "service,outcome", "Jobs that ended, by queue and outcome. The share of error is the error rate of the queue.") \
    M(JOBS_RUNNING, "kervan_jobs_running", GAUGE, "service", "Jobs leased to workers.") \
    M(JOBS_STUCK, "kervan_jobs_stuck_total", COUNTER, "service", "Jobs ended by the Stuck Job Guard. Rising: its workers hang; look at their log, or raise STUCK_AFTER if they only report too rarely.") \
    M(JOBS_EVICTED, "kervan_jobs_evicted_total", COUNTER, "service", "Waiting jobs ended because their queue was full. Add workers, or raise the queue's max_waiting.") \
    M(JOBS_OVERDUE, "kervan_jobs_overdue_total", COUNTER, "service", "Jobs ended because they were not begun before their deadline. Add workers.") \
    M(DEAD_LETTERS, "kervan_dead_letters", GAUGE, "service", "Jobs in error, counted each 10 s, up to 10000 a queue. Growing: kervan ctl dead SERVICE says why; retry service=SERVICE does them again, purge SERVICE dead removes them.") \
    M(LATE_ANSWERS, "kervan_late_answers_total", COUNTER, "service", "Answers refused because their lease was over. Rising: workers are slower than their heartbeats, or were cut off.") \
    M(WATCHES, "kervan_watches", GAUGE, "", "Positions watched, of all sessions. At 1,048,576 more are refused.") \
    M(MAINTENANCE, "kervan_maintenance_total", COUNTER, "", "Maintenance runs: each 30 s and on demand. Standing still: the broker is overloaded or stopped.") \
    M(WORKERS, "kervan_workers", GAUGE, "service", "Workers connected.") \
    M(COMMIT_SECONDS, "kervan_ledger_commit_seconds", HISTOGRAM, "", "One ledger transaction. Grows with a slow disk.") \
    M(COMMIT_BATCH, "kervan_ledger_commit_commands", SIZES, "", "Commands of one ledger transaction. 1 most of the time: little load; near 512: the ledger is the bottleneck.") \
    M(COMMIT_COMMANDS, "kervan_ledger_commands_total", COUNTER, "", "Commands committed; divided by commits it is the batch size.") \
    M(COMMITS, "kervan_ledger_commits_total", COUNTER, "", "Ledger transactions.") \
    M(COMMIT_FAILURES, "kervan_ledger_failures_total", COUNTER, "", "Commands that failed with an unexpected database error. The log says which.") \
    M(EVENTS, "kervan_events_total", COUNTER, "", "Events written to the log.") \
    /* every process */ \
    M(ACTOR_MESSAGES, "kervan_actor_messages_total", COUNTER, "actor", "Messages and answers an actor handled; each of its threads counts for itself.") \
    M(ACTOR_BUSY, "kervan_actor_busy_microseconds_total", COUNTER, "actor", "Time an actor's thread spent in its handlers. Near 1,000,000 a second: it is the bottleneck.") \
    M(BAD_MESSAGES, "kervan_bad_messages_total", COUNTER, "", "Messages to the broker that broke PROTOCOL.md and were refused or dropped. Its log says why (bad_message).")
/* clang-format on */

#endif
