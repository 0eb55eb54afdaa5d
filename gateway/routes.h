/* Every route: R(METHOD, "path", handler, flags, "what it does"). ":id" is one part, "*" at the end
 * is the rest. Each path below /api/ also answers under /api/v1/ . Paths with and without a
 * trailing "/" are the same. HEAD is answered where GET is. The OpenAPI document is held against
 * this table by a test. */
#ifndef KV_GATEWAY_ROUTES_H
#define KV_GATEWAY_ROUTES_H

#define KV_ROUTE_UPLOAD 1 /* the body goes through the tap (gateway/upload.c), not through h2o */
#define KV_ROUTE_QUIET  2 /* no access log line at info (probes, metrics) */

/* clang-format off */
#define KV_ROUTES(R) \
    R(POST,   "/api/media",            kv_route_upload,        KV_ROUTE_UPLOAD, "Upload a file.") \
    R(GET,    "/api/media",            kv_route_media_list,    0, "List media.") \
    R(GET,    "/api/media/:id",        kv_route_media_get,     0, "One media row.") \
    R(DELETE, "/api/media/:id",        kv_route_media_delete,  0, "Remove a media row.") \
    R(POST,   "/api/media/:id/retry",  kv_route_media_retry,   0, "Process a FAILED one again.") \
    R(GET,    "/api/folders",          kv_route_folders,       0, "Folders in use.") \
    R(GET,    "/api/static/*",         kv_route_static,        0, "Serve a file or a variant.") \
    R(POST,   "/api/jobs",             kv_route_job_submit,    0, "Add a job.") \
    R(GET,    "/api/jobs",             kv_route_job_list,      0, "List jobs.") \
    R(GET,    "/api/jobs/:id",         kv_route_job_get,       0, "One job.") \
    R(GET,    "/api/jobs/:id/history", kv_route_job_history,   0, "What happened to a job.") \
    R(PATCH,  "/api/jobs/:id/metadata", kv_route_job_metadata, 0, "Merge into its metadata.") \
    R(POST,   "/api/jobs/:id/cancel",  kv_route_job_cancel,    0, "Cancel it.") \
    R(POST,   "/api/jobs/:id/retry",   kv_route_job_retry,     0, "Do it again, as a new job.") \
    R(GET,    "/api/credits/:user",    kv_route_credits,       0, "A user's credits.") \
    R(GET,    "/api/notifications",    kv_route_notifications, 0, "What a user has not seen yet.") \
    R(POST,   "/api/notifications/seen", kv_route_notifications_seen, 0, "A user has seen them.") \
    R(GET,    "/api/admin/queues",     kv_route_queues,        0, "All queues, measured.") \
    R(PATCH,  "/api/admin/queues/:service", kv_route_queue_set, 0, "Limits of a queue or a tenant.") \
    R(POST,   "/api/admin/queues/:service/pause", kv_route_queue_pause, 0, "No new leases.") \
    R(POST,   "/api/admin/queues/:service/resume", kv_route_queue_resume, 0, "Go on.") \
    R(POST,   "/api/admin/queues/:service/drain", kv_route_queue_drain, 0, "No new jobs.") \
    R(GET,    "/api/ws",               kv_route_ws,            0, "Live events over WebSocket.") \
    R(GET,    "/api/events",           kv_route_events,        0, "Live events over SSE.") \
    R(GET,    "/api/config",           kv_route_ui_config,     0, "What the page needs to know: limits and types.") \
    R(GET,    "/api/openapi.json",     kv_route_openapi,       0, "This API, described.") \
    R(GET,    "/api/v1/health",        kv_route_health,        KV_ROUTE_QUIET, "Full health report.") \
    R(GET,    "/api/v1/health/ready",  kv_route_ready,         KV_ROUTE_QUIET, "Readiness probe.") \
    R(GET,    "/api/v1/health/live",   kv_route_live,          KV_ROUTE_QUIET, "Liveness probe.") \
    R(GET,    "/metrics",              kv_route_metrics,       KV_ROUTE_QUIET, "Prometheus metrics.") \
    R(GET,    "/",                     kv_route_page,          0, "The page.") \
    R(GET,    "/assets/*",             kv_route_asset,         0, "Its scripts and styles, hashed.")
/* clang-format on */

#endif
