/* doctor: what is wrong, and what to do about it. Asks the broker, and looks at disk and database
 * itself. Problems make the reply an ERROR (exit status 1 of kervan ctl); notes do not. */
#include <errno.h>
#include <stdlib.h>

#include "broker/admin_prom.h"
#include "broker/admin_views.h"
#include "broker/services.h"
#include "proto/base/words.h"
#include "storage/read/dead_letters.h"
#include "storage/room.h"

enum {
    ASK_MS = 5000,
    PAGE = 500,
    SILENT_MS = 2500,
    HELD_S = 600,
    WAL_MB = 512,
    DEAD_COUNTED = 1000
};

typedef struct doctor {
    json_t *findings; /* {"level","where","what","remedy"} */
    int problems;
    uint64_t after, queues, workers;
} doctor;

static void drop(void *state)
{
    doctor *d = state;
    json_decref(d->findings);
    free(d);
}

/* ---- findings ---- */

static void find(doctor *d, bool problem, const char *where, const char *what, const char *remedy)
{
    json_t *finding = json_pack("{s:s,s:s,s:s,s:s}", "level", problem ? "problem" : "note", "where",
                                where, "what", what, "remedy", remedy);
    d->problems += problem;
    json_array_append_new(d->findings, finding);
}

static const char *part(const json_t *finding, const char *name)
{
    const char *text = json_string_value(json_object_get(finding, name));
    return text ? text : "";
}

/* Problems before notes; then by place, which puts queues in the order of their names. */
static int by_weight(const void *a, const void *b)
{
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    int level = strcmp(part(y, "level"), part(x, "level"));
    return level ? level : strcmp(part(x, "where"), part(y, "where"));
}

static void sort_findings(doctor *d)
{
    size_t n = json_array_size(d->findings);
    json_t *sorted = json_array();
    const json_t **list = sorted && n > 0 ? malloc(n * sizeof *list) : NULL;
    for (size_t i = 0; i < n && list; i++)
        list[i] = json_array_get(d->findings, i);
    if (list)
        qsort(list, n, sizeof *list, by_weight);
    for (size_t i = 0; i < n && list; i++)
        json_array_append(sorted, (json_t *)list[i]);
    if (list) {
        json_decref(d->findings);
        d->findings = sorted;
    } else {
        json_decref(sorted);
    }
    free(list);
}

static void show(kv_admin_call *call, const json_t *finding)
{
    static const char *const parts[] = {"where", "what", "remedy"};
    kv_buf *out = call->out;
    kv_buf_addf(out, "%-8s ", part(finding, "level"));
    for (int i = 0; i < 3; i++) {
        kv_buf_adds(out, i == 1 ? ": " : i == 2 ? ". " : "");
        kv_plain_text(kv_slice_str(part(finding, parts[i])), 0, out);
    }
    kv_buf_addc(out, '\n');
}

static void end(kv_admin_call *call)
{
    doctor *d = call->state;
    int problems = d->problems;
    sort_findings(d);
    if (call->json) {
        json_t *all = json_pack("{s:b,s:I,s:I,s:O}", "healthy", problems == 0, "queues",
                                (json_int_t)d->queues, "workers", (json_int_t)d->workers,
                                "findings", d->findings);
        kv_admin_dump(call, all);
        json_decref(all);
    } else {
        for (size_t i = 0; i < json_array_size(d->findings); i++)
            show(call, json_array_get(d->findings, i));
        if (problems == 0) {
            kv_buf_adds(call->out, "healthy: ");
            kv_human_count(d->queues, "queue", call->out);
            kv_buf_adds(call->out, ", ");
            kv_human_count(d->workers, "worker", call->out);
            kv_buf_adds(call->out, "; broker, database and disk are in order\n");
        }
    }
    if (problems == 0)
        kv_admin_ok(call);
    else
        kv_admin_error(call, "findings", "%d %s; what to do stands beside each.", problems,
                       problems == 1 ? "problem" : "problems");
}

/* ---- this machine ---- */

static void judge_disk(const kv_config *cfg, doctor *d, const char *where, kv_space space,
                       const char *remedy)
{
    char what[160], files[48] = "";
    int64_t free_mb = space.bytes >> 20;
    if (space.files >= 0)
        snprintf(files, sizeof files, " and %lld inodes", (long long)space.files);
    snprintf(what, sizeof what, "%lld MiB%s are free, DISK_RESERVE_MB is %lld", (long long)free_mb,
             files, (long long)cfg->disk_reserve_mb);
    if (kv_space_low(space, cfg, 0) || free_mb < 4)
        find(d, true, where, what, remedy);
    else if (free_mb < cfg->disk_reserve_mb * 4)
        find(d, false, where, what, "Make space soon");
}

static void look_at_disk(const kv_config *cfg, doctor *d)
{
    kv_space space = kv_space_at(cfg->data);
    if (space.bytes < 0)
        find(d, true, "disk", strerror(errno), "Look at the data folder and its owner");
    else
        judge_disk(cfg, d, "disk", space, kv_disk_full.en);
}

static void look_at_media_folder(doctor *d, const json_t *health)
{
    const char *error = json_string_value(json_object_get(health, "media_folder"));
    char what[160];
    if (!error || strcmp(error, "ok") == 0)
        return;
    snprintf(what, sizeof what, "it cannot be written to: %s", error);
    find(d, true, "media folder", what, kv_media_not_writable.en);
}

/* Where media have a disk of their own. It may hang: the broker has looked. */
static void look_at_media_disk(const kv_config *cfg, doctor *d, const json_t *health)
{
    const json_t *disk = json_object_get(health, "media_disk");
    const json_t *bytes = json_object_get(disk, "free_bytes");
    const json_t *files = json_object_get(disk, "free_files");
    if (!json_is_integer(bytes))
        return;
    kv_space space = {json_integer_value(bytes),
                      json_is_integer(files) ? json_integer_value(files) : -1};
    judge_disk(cfg, d, "media disk", space,
               "New uploads are refused, and pictures wait, until there is space on the disk of "
               "the media folder; nothing has to be restarted");
}

static void look_at_database(kv_admin_call *call, doctor *d)
{
    char what[128];
    int64_t wal_mb = kv_db_wal_bytes(call->cfg) >> 20;
    int version;
    kv_db *db = kv_admin_db_if(call);
    if (!db || kv_db_version(db, &version) != KV_OK)
        find(d, true, "database", "it cannot be read", "\"db_error\" in the broker's log says why");
    if (wal_mb <= WAL_MB)
        return;
    snprintf(what, sizeof what, "its log (kervan.db-wal) has %lld MiB", (long long)wal_mb);
    find(d, true, "database", what,
         "A backup that runs keeps it; else something reads the database for long (sqlite3?), or "
         "the disk is too slow");
}

/* ---- the broker's counters ---- */

/* name{service="f1"} is of queue f1; "other" are those beyond the labels. */
static void where_of(const char *label, char *out, size_t size)
{
    static const char service[] = "{service=\"";
    const size_t n = sizeof service - 1;
    if (strncmp(label, service, n) != 0)
        snprintf(out, size, "broker");
    else if (strncmp(label + n, "other\"", 6) == 0)
        snprintf(out, size, "other queues");
    else
        snprintf(out, size, "queue %.*s", (int)strcspn(label + n, "\""), label + n);
}

static void on_metric(void *arg, const kv_prom_item *item)
{
    static const struct {
        const char *key, *one, *many, *remedy;
    } rows[] = {
        {"kervan_late_answers_total", "answer came after its lease was over",
         "answers came after their lease was over",
         "A worker was silent for 3 s, or slower than STUCK_AFTER: look at its machine and log"},
        {"kervan_jobs_stuck_total", "job was ended by the Stuck Job Guard",
         "jobs were ended by the Stuck Job Guard",
         "Their workers made no progress: \"dead\" shows the jobs"},
        {"kervan_ledger_failures_total", "command failed in the database",
         "commands failed in the database",
         "\"ledger_command_failed\" in the broker's log says which"},
        {"kervan_bad_messages_total", "message broke the protocol", "messages broke the protocol",
         "\"bad_message\" in the log says whose; versions may not fit"},
    };
    char what[256], where[96];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].key);
        const char *label = item->key + len;
        if (strncmp(item->key, rows[i].key, len) != 0 || (*label && *label != '{') ||
            item->value == 0)
            continue;
        where_of(label, where, sizeof where);
        snprintf(what, sizeof what, "%.0f %s since the broker's start", item->value,
                 item->value == 1 ? rows[i].one : rows[i].many);
        find(arg, false, where, what, rows[i].remedy);
    }
}

static void on_metrics(kv_admin_call *call, const kv_msg *answer)
{
    if (answer && answer->code == KV_STATS_OK)
        kv_prom_read(answer->stats_ok.text, on_metric, call->state);
    end(call);
}

static void ask_stats(kv_admin_call *call, uint64_t what, kv_admin_answer_fn fn)
{
    kv_msg m;
    kv_msg_defaults(KV_STATS, &m);
    m.stats.what = what;
    kv_admin_ask_any(call, &m, ASK_MS, fn);
}

/* ---- workers ---- */

static void judge_worker(doctor *d, const json_t *w)
{
    char where[160], what[64];
    const char *name = json_string_value(json_object_get(w, "name"));
    json_int_t heard = json_integer_value(json_object_get(w, "heard_ms"));
    d->workers++;
    if (heard < SILENT_MS)
        return;
    snprintf(where, sizeof where, "worker %s", name ? name : "?");
    snprintf(what, sizeof what, "it was not heard for %lld ms", (long long)heard);
    find(d, true, where, what, "After 3 s its jobs go back; look whether it hangs");
}

static void ask_workers(kv_admin_call *call);

static void on_workers(kv_admin_call *call, const kv_msg *answer)
{
    doctor *d = call->state;
    json_t *page = kv_admin_json(call, answer->stats_ok.text);
    if (!page)
        return;
    const json_t *list = json_object_get(page, "workers");
    for (size_t i = 0; i < json_array_size(list); i++)
        judge_worker(d, json_array_get(list, i));
    d->after = (uint64_t)json_integer_value(json_object_get(page, "next"));
    json_decref(page);
    if (d->after != 0)
        ask_workers(call);
    else
        ask_stats(call, 0, on_metrics);
}

static void ask_workers(kv_admin_call *call)
{
    const doctor *d = call->state;
    kv_admin_ask_inspect(call, "workers", kv_slice_of("", 0), d->after, PAGE, on_workers);
}

/* ---- queues ---- */

typedef enum verdict { FINE, NOTE, PROBLEM } verdict;

/* Slow is no fault, unless it has been so for long; what an operator stopped holds nobody up while
 * nothing waits. */
static verdict judge(int health, uint64_t waiting, json_int_t oldest_s)
{
    switch (health) {
    case KV_HEALTH_OK:
        return FINE;
    case KV_HEALTH_PAUSED:
    case KV_HEALTH_DRAINING:
        return waiting > 0 ? PROBLEM : NOTE;
    case KV_HEALTH_STUCK:
    case KV_HEALTH_NO_WORKERS:
        return PROBLEM;
    default:
        return oldest_s >= HELD_S ? PROBLEM : FINE;
    }
}

/* Who works off the queues of kervan's own. */
static const char *own_worker(const char *service, int health)
{
#define IS(worker) " Its worker is `kervan worker " worker "`."
    if (health != KV_HEALTH_NO_WORKERS)
        return "";
    return strcmp(service, KV_SERVICE_IMAGE) == 0  ? IS(KV_WORKER_IMAGE)
           : strcmp(service, KV_SERVICE_REAP) == 0 ? IS(KV_WORKER_REAPER)
                                                   : "";
#undef IS
}

static void judge_queue(doctor *d, const json_t *q)
{
    const char *service = json_string_value(json_object_get(q, "service"));
    const char *word = json_string_value(json_object_get(q, "health"));
    const char *remedy = json_string_value(json_object_get(q, "remedy"));
    json_int_t oldest = json_integer_value(json_object_get(q, "oldest_waiting_s"));
    char where[96], way[512];
    d->queues++;
    if (!service || !word)
        return;
    int health = kv_word_find(kv_health_names, KV_HEALTH_COUNT, kv_slice_str(word));
    verdict v = judge(health, kv_view_waiting(q), oldest);
    if (v == FINE)
        return;
    kv_buf what;
    kv_buf_init(&what, 1024);
    kv_buf_addf(&what, "%s, %llu waiting", word, (unsigned long long)kv_view_waiting(q));
    if (oldest > 0) {
        kv_buf_adds(&what, ", the oldest for ");
        kv_human_ms(oldest * 1000, &what);
    }
    snprintf(where, sizeof where, "queue %s", service);
    snprintf(way, sizeof way, "%s%s", remedy ? remedy : "", own_worker(service, health));
    find(d, v == PROBLEM, where, kv_buf_str(&what), way);
    kv_buf_release(&what);
}

/* ---- dead letters: of queues that the broker has forgotten, too ---- */

static void on_dead(void *arg, kv_slice service, int64_t n)
{
    char where[96], way[320];
    kv_buf what;
    kv_buf_init(&what, 128);
    kv_human_count((uint64_t)n, "dead letter", &what);
    kv_buf_adds(&what, n >= DEAD_COUNTED ? " or more" : "");
    snprintf(where, sizeof where, "queue %.*s", KV_SLICE_FMT(service));
    snprintf(way, sizeof way,
             "See: dead %.*s; then retry ID, or retry service=%.*s for all, or purge %.*s dead",
             KV_SLICE_FMT(service), KV_SLICE_FMT(service), KV_SLICE_FMT(service));
    find(arg, false, where, kv_buf_str(&what), way);
    kv_buf_release(&what);
}

static void look_at_dead(kv_admin_call *call, doctor *d)
{
    kv_db *db = kv_admin_db_if(call);
    if (db) /* what cannot be read was found already */
        (void)kv_dead_letters_each(db, DEAD_COUNTED, on_dead, d);
}

static void ask_queues(kv_admin_call *call);

static void on_queues(kv_admin_call *call, const kv_msg *answer)
{
    doctor *d = call->state;
    json_t *page = kv_admin_json(call, answer->stats_ok.text);
    if (!page)
        return;
    const json_t *list = json_object_get(page, "queues");
    for (size_t i = 0; i < json_array_size(list); i++)
        judge_queue(d, json_array_get(list, i));
    d->after = (uint64_t)json_integer_value(json_object_get(page, "next"));
    json_decref(page);
    if (d->after != 0) {
        ask_queues(call);
        return;
    }
    look_at_dead(call, d);
    ask_workers(call);
}

static void ask_queues(kv_admin_call *call)
{
    const doctor *d = call->state;
    kv_admin_ask_inspect(call, "queues", kv_slice_of("", 0), d->after, PAGE, on_queues);
}

/* ---- the broker itself ---- */

static const char *remedy_of(const char *database)
{
    kv_err lasting = kv_db_state_named(kv_slice_str(database));
    if (lasting != KV_OK)
        return kv_err_info_of(lasting)->en;
    if (strcmp(database, kv_err_info_of(KV_E_BUSY)->slug) == 0)
        return "Another program holds it, perhaps a sqlite3 with an open transaction: end that; "
               "nothing has to be restarted";
    return "Its last transaction failed: look at disk space and at \"db_error\" in the log";
}

static void look_at_checkpoint(doctor *d, const json_t *health)
{
    const char *checkpoint = json_string_value(json_object_get(health, "checkpoint"));
    char what[128];
    if (!checkpoint || strcmp(checkpoint, "ok") == 0)
        return;
    snprintf(what, sizeof what, "what is in kervan.db-wal cannot be copied into kervan.db: %s",
             checkpoint);
    find(d, true, "database", what,
         "Nothing is lost while both files are there, and the log grows: look at the disk and at "
         "\"db_error\" in the log; make a backup");
}

static void on_health(kv_admin_call *call, const kv_msg *answer)
{
    doctor *d = call->state;
    if (!answer || answer->code != KV_STATS_OK) {
        find(d, true, "broker", "its loop does not answer within 5 s",
             "It is stopped or starved: look at its CPU and log, then restart it; committed jobs "
             "are safe");
        end(call);
        return;
    }
    json_t *health = kv_admin_json(call, answer->stats_ok.text);
    if (!health)
        return;
    const char *database = json_string_value(json_object_get(health, "database"));
    const char *broker = json_string_value(json_object_get(health, "broker"));
    if (database && strcmp(database, "ok") != 0)
        find(d, true, "database", database, remedy_of(database));
    look_at_checkpoint(d, health);
    if (broker && strcmp(broker, "ok") != 0)
        find(d, true, "broker", broker, "Wait until it is started again");
    if (json_integer_value(json_object_get(health, "queues_in_use")) >= KV_SERVICES_MAX)
        find(
            d, true, "queues", "all 1,024 queues are in use: new names are refused with 503",
            "A queue without jobs, workers and settings makes room: purge, resume or unlimit those "
            "that nobody needs");
    look_at_media_disk(call->cfg, d, health);
    look_at_media_folder(d, health);
    json_decref(health);
    ask_queues(call);
}

static void doctor_run(kv_admin_call *call)
{
    doctor *d = calloc(1, sizeof *d);
    if (d)
        d->findings = json_array();
    if (!d || !d->findings) {
        free(d);
        kv_admin_fail(call, KV_E_NO_MEMORY);
        return;
    }
    call->state = d;
    call->drop = drop;
    look_at_disk(call->cfg, d);
    look_at_database(call, d);
    ask_stats(call, 1, on_health);
}

static const kv_admin_command commands[] = {
    {"doctor", "", "what is wrong with queues, workers, broker, database and disk, and the remedy",
     0, 0, NULL, false, doctor_run},
};
const kv_admin_module kv_admin_doctor = {"Health", commands, sizeof commands / sizeof commands[0]};
