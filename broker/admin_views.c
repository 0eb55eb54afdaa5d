#include "broker/admin_views.h"

#include "proto/base/words.h"
#include "storage/read/jobs_list.h"

enum { DEAD_COUNTED = 1000 }; /* a queue: they are counted each time */

#define N(columns) (int)(sizeof columns / sizeof *columns)

static const kv_column queue_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT},
    {">WAITING", "waiting", KV_COLUMN_TEXT},
    {">URGENT", "lanes.urgent", KV_COLUMN_TEXT},
    {">DELAYED", "delayed", KV_COLUMN_TEXT},
    {">RUNNING", "running", KV_COLUMN_TEXT},
    {">WORKERS", "workers", KV_COLUMN_TEXT},
    {">OLDEST", "oldest_waiting_s", KV_COLUMN_S},
    {">JOBS/S", "throughput.min1", KV_COLUMN_RATE},
    {">WAIT P99", "wait_ms.p99", KV_COLUMN_MS},
    {">RUN P50", "service_ms.p50", KV_COLUMN_MS},
    {">RUN P99", "service_ms.p99", KV_COLUMN_MS},
    {">ERRORS", "error_rate", KV_COLUMN_PERCENT},
    {">DEAD", "dead", KV_COLUMN_TEXT},
    {"HEALTH", "health", KV_COLUMN_TEXT},
};
static int trouble(const json_t *queue)
{
    const char *health = json_string_value(json_object_get(queue, "health"));
    int i = health ? kv_word_find(kv_health_names, KV_HEALTH_COUNT, kv_slice_str(health)) : -1;
    return i > KV_HEALTH_OK ? i : KV_HEALTH_COUNT;
}

static int by_name(const void *a, const void *b)
{
    const char *x = json_string_value(json_object_get(*(const json_t *const *)a, "service"));
    const char *y = json_string_value(json_object_get(*(const json_t *const *)b, "service"));
    return strcmp(x ? x : "", y ? y : "");
}

/* What is worst first, then by name. */
static int by_trouble(const void *a, const void *b)
{
    int x = trouble(*(const json_t *const *)a), y = trouble(*(const json_t *const *)b);
    return x != y ? x - y : by_name(a, b);
}

static const kv_column top_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT},       {">WAITING", "waiting", KV_COLUMN_TEXT},
    {">RUNNING", "running", KV_COLUMN_TEXT},      {">JOBS/S", "throughput.s10", KV_COLUMN_RATE},
    {">WAIT P99", "wait_ms.p99", KV_COLUMN_MS},   {">RUN P99", "service_ms.p99", KV_COLUMN_MS},
    {">ERRORS", "error_rate", KV_COLUMN_PERCENT}, {">OLDEST", "oldest_waiting_s", KV_COLUMN_S},
    {"HEALTH", "health", KV_COLUMN_TEXT},
};
static const kv_column worker_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT}, {"WORKER", "name", KV_COLUMN_TEXT},
    {">TAKES", "credit", KV_COLUMN_TEXT},   {">HAS", "leased", KV_COLUMN_TEXT},
    {">HEARD", "heard_ms", KV_COLUMN_MS},
};
static const kv_column lease_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT}, {"JOB", "jobId", KV_COLUMN_TEXT},
    {"LANE", "lane", KV_COLUMN_TEXT},       {"TENANT", "tenant", KV_COLUMN_TEXT},
    {">TRY", "attempt", KV_COLUMN_TEXT},    {"WORKER", "worker", KV_COLUMN_TEXT},
    {">RUNS FOR", "age_ms", KV_COLUMN_MS},  {">QUIET FOR", "progress_age_ms", KV_COLUMN_MS},
};
static const kv_column tenant_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT},
    {"TENANT", "tenant", KV_COLUMN_TEXT},
    {">WAITING", "waiting", KV_COLUMN_TEXT},
    {">RUNNING", "running", KV_COLUMN_TEXT},
    {">WEIGHT", "weight", KV_COLUMN_TEXT},
    {">AT ONCE", "concurrency", KV_COLUMN_TEXT},
    {">A MINUTE", "rate_per_minute", KV_COLUMN_TEXT},
    {"HELD BACK", "held_back", KV_COLUMN_TEXT},
};
static const kv_column limit_columns[] = {
    {"SERVICE", "service", KV_COLUMN_TEXT},      {"TENANT", "tenant", KV_COLUMN_TEXT},
    {">AT ONCE", "concurrency", KV_COLUMN_TEXT}, {">A MINUTE", "rate_per_minute", KV_COLUMN_TEXT},
    {">WEIGHT", "weight", KV_COLUMN_TEXT},       {">MAX WAITING", "max_waiting", KV_COLUMN_TEXT},
    {"OVERFLOW", "overflow", KV_COLUMN_TEXT},    {"PAUSED", "paused", KV_COLUMN_TEXT},
    {"DRAINING", "draining", KV_COLUMN_TEXT},
};

/* Where the database cannot be read now, the column stays empty. */
static void add_dead(kv_admin_call *call, json_t *queue)
{
    uint64_t n;
    const char *service = json_string_value(json_object_get(queue, "service"));
    kv_db *db = kv_admin_db_if(call);
    if (service && db && kv_jobs_dead_count(db, kv_slice_str(service), DEAD_COUNTED, &n) == KV_OK)
        json_object_set_new(queue, "dead", json_integer((json_int_t)n));
}

const kv_inspect_view kv_view_queues = {"queues",      "no queues yet: the first job makes one",
                                        queue_columns, N(queue_columns),
                                        add_dead,      by_name};
const kv_inspect_view kv_view_workers = {"workers",         "no workers", worker_columns,
                                         N(worker_columns), NULL,         by_name};
const kv_inspect_view kv_view_leases = {
    "leases", "no job is being worked on", lease_columns, N(lease_columns), NULL, NULL};
const kv_inspect_view kv_view_tenants = {"tenants",         "no tenants", tenant_columns,
                                         N(tenant_columns), NULL,         NULL};
const kv_inspect_view kv_view_limits = {
    "limits", "no limits are set", limit_columns, N(limit_columns), NULL, NULL};
const kv_inspect_view kv_views_top[] = {
    {"queues", "no queues yet", top_columns, N(top_columns), NULL, by_trouble},
    {"workers", "no workers", worker_columns, N(worker_columns), NULL, by_name},
};
const int kv_views_top_n = 2;

uint64_t kv_view_waiting(const json_t *queue)
{
    return (uint64_t)(json_integer_value(json_object_get(queue, "waiting")) +
                      json_integer_value(json_object_get(queue, "delayed")));
}
