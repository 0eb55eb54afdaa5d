/* Every variable kervan reads: V(ENV_NAME, member, type, "unit", "default", min, max, secret,
 * "readers", "text"). Readers: the processes to restart after a change. Types: STR, LIST (comma
 * separated), ENUM (unit holds the words, joined by "|"), INT (min..max), BOOL (true|false). */
#ifndef KV_BASE_CONFIG_TABLE_H
#define KV_BASE_CONFIG_TABLE_H

#include "proto/base/words.h"

/* clang-format off */
#define KV_CONFIG(V) \
    V(ENV, env, ENUM, "development|staging|production", "development", 0, 0, false, "all", "Kind of environment; production refuses unsafe settings.") \
    V(KERVAN_DATA, data, STR, "path", "./data", 0, 0, false, "all", "Data folder: database, media, sockets. One kervan at a time.") \
    V(KERVAN_LISTEN, listen, STR, "address:port", "127.0.0.1:8080", 0, 0, false, "gateway", "Where the gateway listens for HTTP.") \
    V(KERVAN_BROKER, broker, STR, "endpoint", "", 0, 0, false, "all", "ZeroMQ endpoint of the broker; empty: ipc under KERVAN_DATA/run.") \
    V(KERVAN_EVENTS, events, STR, "endpoint", "", 0, 0, false, "broker, gateway", "ZeroMQ endpoint of the event stream; empty: ipc under KERVAN_DATA/run.") \
    V(KERVAN_ADMIN, admin, STR, "path", "", 0, 0, false, "broker", "Unix socket for operators; empty: KERVAN_DATA/run/admin.sock.") \
    V(LOG_LEVEL, log_level, ENUM, KV_LOG_LEVELS(KV_WORD_OF, "|"), "info", 0, 0, false, "all", "Least level that is logged.") \
    V(DATABASE_URL, database_url, STR, "url", "", 0, 0, true, "all", "Database; empty or sqlite://: SQLite in KERVAN_DATA. PostgreSQL comes with a later version and is refused until then.") \
    V(USE_S3, use_s3, BOOL, "", "false", 0, 0, false, "all", "Keep media in S3; comes with a later version and is refused until then.") \
    V(REDIS_URL, redis_url, STR, "url", "", 0, 0, true, "none", "Accepted and not used: the broker is the queue.") \
    V(REDIS_TOKEN, redis_token, STR, "", "", 0, 0, true, "none", "Accepted and not used.") \
    V(SECRET_KEY, secret_key, STR, "", "", 0, 0, true, "all", "For signed links and sessions of a later version; production refuses to start without 32 characters or more.") \
    V(MAX_UPLOAD_SIZE_MB, max_upload_size_mb, INT, "MiB", "50", 1, 1048576, false, "gateway", "Largest upload, inclusive. 413 above it.") \
    V(UPLOAD_STREAM_ENABLED, upload_stream_enabled, BOOL, "", "true", 0, 0, false, "gateway", "false: roll back to the buffered path, which takes UPLOAD_BUFFERED_MAX_MB at most.") \
    V(UPLOAD_BUFFERED_MAX_MB, upload_buffered_max_mb, INT, "MiB", "10", 1, 64, false, "gateway", "Largest upload while UPLOAD_STREAM_ENABLED=false.") \
    V(UPLOAD_BUFFER_MB, upload_buffer_mb, INT, "MiB", "24", 4, 1024, false, "gateway", "Memory for all upload bodies together; a full buffer slows clients, it fails none.") \
    V(UPLOAD_MIN_RATE, upload_min_rate, INT, "bytes/s", "1024", 1, 1073741824, false, "gateway", "A body slower than this over 10 s is ended with 408.") \
    V(UPLOAD_RATE_LIMIT, upload_rate_limit, INT, "uploads/min", "600", 0, 10000000, false, "gateway", "Uploads a minute and client address; 0: no limit. 429 above it.") \
    V(HEADER_TIMEOUT, header_timeout, INT, "s", "10", 1, 600, false, "gateway", "Time a client has to send a request head.") \
    V(KEEPALIVE_TIMEOUT, keepalive_timeout, INT, "s", "60", 1, 3600, false, "gateway", "Idle time before a connection is closed. An answer of which nothing is read for as long (30 s at least) ends, too.") \
    V(MAX_CONNECTIONS, max_connections, INT, "", "10000", 16, 1000000, false, "gateway", "Open connections at most.") \
    V(GATEWAY_THREADS, gateway_threads, INT, "", "1", 1, 64, false, "gateway", "HTTP event loops.") \
    V(INGEST_PIPELINES, ingest_pipelines, INT, "", "1", 1, 16, false, "gateway", "Scanner, hasher and store threads, one of each a pipeline.") \
    V(ALLOWED_MIME_TYPES, allowed_mime_types, LIST, "", "image/jpeg,image/png,image/webp,image/gif,image/avif,image/heic,application/pdf,video/mp4,audio/mpeg,application/zip,text/plain", 0, 0, false, "gateway", "Types that may be uploaded, as libmagic sees them.") \
    V(DEDUP_ENABLED, dedup_enabled, BOOL, "", "true", 0, 0, false, "gateway", "Same bytes in the same folder give the same media row. false: a row each (the bytes are still kept once).") \
    V(STRIP_ORIGINAL_METADATA, strip_original_metadata, BOOL, "", "true", 0, 0, false, "gateway", "Blank EXIF, XMP, IPTC, GPS and comments of JPEG, PNG and WebP while they stream in.") \
    V(DURABILITY, durability, ENUM, "full|relaxed", "full", 0, 0, false, "all", "full: 201 after file, directory and row are synced. relaxed: without syncs.") \
    V(MEDIA_BASE_URL, media_base_url, STR, "url", "", 0, 0, false, "broker, gateway", "Put before /api/static/… in media URLs, for a CDN; empty: URLs start with /.") \
    V(STATIC_CACHE_MB, static_cache_mb, INT, "MiB", "64", 0, 65536, false, "gateway", "Memory for small files that are served often.") \
    V(IMAGE_PROCESSING_ENABLED, image_processing_enabled, BOOL, "", "true", 0, 0, false, "gateway", "Make variants in the background. false: images are READY at once.") \
    V(PROCESSING_FOLDERS, processing_folders, LIST, "", "", 0, 0, false, "gateway", "Canary: process these folders (and those below them) only; empty: all.") \
    V(IMAGE_WIDTHS, image_widths, LIST, "px", "320,640,1280", 0, 0, false, "gateway, worker", "Widths of WebP and AVIF variants; never upscaled.") \
    V(WEBP_QUALITY, webp_quality, INT, "", "80", 1, 100, false, "worker", "Quality of WebP variants.") \
    V(WEBP_EFFORT, webp_effort, INT, "", "4", 0, 6, false, "worker", "Effort of WebP variants.") \
    V(AVIF_QUALITY, avif_quality, INT, "", "50", 1, 100, false, "worker", "Quality of AVIF variants.") \
    V(AVIF_EFFORT, avif_effort, INT, "", "1", 0, 9, false, "worker", "Effort of AVIF variants; 4 takes five times as long as 2 for 8 % fewer bytes.") \
    V(IMAGE_CONCURRENCY, image_concurrency, INT, "", "0", 0, 256, false, "worker", "Images a worker processes at once; 0: one a core.") \
    V(IMAGE_MAX_MEGAPIXELS, image_max_megapixels, INT, "Mpx", "100", 1, 1000, false, "worker", "Larger pictures end FAILED.") \
    V(IMAGE_MEMORY_MB, image_memory_mb, INT, "MiB", "1536", 128, 65536, false, "worker", "Memory of one image process. 100 Mpx need about 1100, with transparency more than twice that.") \
    V(IMAGE_TIMEOUT, image_timeout, INT, "s", "120", 1, 3600, false, "worker", "CPU time of one image process; by the clock it may take twice that.") \
    V(JOB_MAX_ATTEMPTS, job_max_attempts, INT, "", "3", 1, 100, false, "broker", "Attempts of a job before it ends in error, where its SUBMIT names no max_attempts.") \
    V(STUCK_AFTER, stuck_after, INT, "s", "300", 1, 86400, false, "broker", "A job in processing without progress this long ends in error (Stuck Job Guard).") \
    V(JOB_RETENTION_HOURS, job_retention_hours, INT, "h", "168", 1, 8760, false, "broker", "How long a finished job is kept, unless it says otherwise.") \
    V(LANE_SHARE, lane_share, INT, "", "10", 0, 1000, false, "broker", "Every so many starts one goes to the next lower lane while jobs of the higher one wait, so that it does not starve; 0: strict order.") \
    V(QUEUE_MAX_WAITING, queue_max_waiting, INT, "jobs", "1000000", 0, 100000000, false, "broker", "Bound of each queue; 0: none.") \
    V(QUEUE_OVERFLOW, queue_overflow, ENUM, KV_OVERFLOWS(KV_WORD_OF, "|"), "reject", 0, 0, false, "broker", "At the bound: reject the newest (429 with Retry-After), or evict the oldest waiting job of the lowest lane (it ends in error, its user is told, its credits come back).") \
    V(DISK_RESERVE_MB, disk_reserve_mb, INT, "MiB", "64", 0, 1048576, false, "broker, gateway", "Free space below which new jobs and uploads are refused, so that what is under way can still be written; 0: none.") \
    V(EVENT_RETENTION_HOURS, event_retention_hours, INT, "h", "72", 1, 8760, false, "broker", "How long events can be replayed.") \
    V(EVENT_CLIENT_BUFFER_KB, event_client_buffer_kb, INT, "KiB", "256", 16, 65536, false, "gateway", "Events held for one slow client before it is told to resync.") \
    V(DRAIN_TIMEOUT, drain_timeout, INT, "s", "30", 1, 3600, false, "gateway, worker", "Time for uploads and jobs in flight to end at SIGTERM.") \
    V(ALLOWED_HOSTS, allowed_hosts, LIST, "", "", 0, 0, false, "gateway", "Host names answered; empty: all but foreign ones that point here. Needed in production.") \
    V(CORS_ALLOWED_ORIGINS, cors_allowed_origins, LIST, "", "", 0, 0, false, "gateway", "Origins that may call the API and open the WebSocket besides our own.")
/* clang-format on */

#endif
