/* Commands about jobs: lists, one with its history, and what can be done to it. */
#include <stdlib.h>

#include "broker/admin_inspect.h"
#include "broker/admin_retry.h"
#include "proto/base/json_scan.h"
#include "proto/base/words.h"
#include "storage/read/jobs.h"
#include "storage/read/jobs_list.h"

enum { LIMIT_DEFAULT = 50, LIMIT_MAX = 1000000, VALUE_MAX = 400 };

/* ---- lists ---- */

static const kv_column job_columns[] = {
    {"JOB", "jobId", KV_COLUMN_TEXT},          {"SERVICE", "service", KV_COLUMN_TEXT},
    {"LANE", "lane", KV_COLUMN_TEXT},          {"STATE", "status", KV_COLUMN_TEXT},
    {">TRIES", "attempts", KV_COLUMN_TEXT},    {">%", "progress", KV_COLUMN_TEXT},
    {"CREATED", "created_at", KV_COLUMN_TIME}, {"UPDATED", "updated_at", KV_COLUMN_TIME},
    {"TENANT", "tenant", KV_COLUMN_TEXT},      {"USER", "user", KV_COLUMN_TEXT},
    {"TAGS", "tags", KV_COLUMN_TEXT},          {"ERROR", "error", KV_COLUMN_TEXT},
};
static const kv_column dead_columns[] = {
    {"JOB", "jobId", KV_COLUMN_TEXT},       {"SERVICE", "service", KV_COLUMN_TEXT},
    {">TRIES", "attempts", KV_COLUMN_TEXT}, {"ENDED", "updated_at", KV_COLUMN_TIME},
    {"ERROR", "error", KV_COLUMN_TEXT},     {"DETAIL", "error_detail", KV_COLUMN_TEXT},
};

typedef struct listing {
    kv_jobs_query query; /* its strings are the call's words */
    uint64_t left;       /* rows still wanted */
    size_t rows;
    const kv_column *columns;
    kv_table table;
    kv_buf page;
} listing;

static void drop_listing(void *state)
{
    listing *l = state;
    kv_table_release(&l->table);
    kv_buf_release(&l->page);
    free(l);
}

static void end_list(kv_admin_call *call, uint64_t next)
{
    const listing *l = call->state;
    char id[KV_ID_TEXT + 1] = "";
    if (next != 0)
        kv_id_format(next, id);
    if (call->json)
        kv_buf_addf(call->out, next ? "],\"next\":\"%s\"}\n" : "],\"next\":null}\n%s", id);
    else if (l->rows == 0)
        kv_buf_adds(call->out, "no jobs\n");
    if (!call->json && next != 0)
        kv_buf_addf(call->out, "more with before=%s\n", id);
    kv_admin_ok(call);
}

/* The rows of a page, which is a JSON array. False: the call has ended. */
static bool show_page(kv_admin_call *call, size_t *ret_n)
{
    listing *l = call->state;
    json_t *rows = kv_admin_json(call, kv_buf_slice(&l->page));
    if (!rows)
        return false;
    *ret_n = json_array_size(rows);
    for (size_t i = 0; i < *ret_n && !call->json; i++)
        kv_table_row(&l->table, l->columns, json_array_get(rows, i));
    json_decref(rows);
    if (*ret_n == 0)
        return true;
    if (!call->json) {
        kv_table_write(&l->table, call->out);
        return true;
    }
    kv_buf_adds(call->out, l->rows ? "," : "");
    kv_buf_add(call->out, l->page.data + 1, l->page.len - 2);
    return true;
}

/* A page at a time: its reader's handle is free between them, and so is this thread. */
static void list_page(kv_admin_call *call)
{
    listing *l = call->state;
    kv_db *db = kv_admin_db(call);
    uint64_t next = 0;
    size_t n = 0;
    if (!db)
        return;
    l->query.limit = l->left < KV_JOBS_PAGE_MAX ? (int)l->left : KV_JOBS_PAGE_MAX;
    kv_buf_clear(&l->page);
    kv_err err = kv_jobs_list_json(db, &l->query, &l->page, &next);
    if (err != KV_OK) {
        kv_admin_fail(call, err);
        return;
    }
    if (!show_page(call, &n))
        return;
    l->rows += n;
    l->left -= n;
    l->query.before = next;
    if (next == 0 || l->left == 0)
        end_list(call, next);
    else
        kv_admin_again(call, 1, list_page);
}

static bool read_state(kv_admin_call *call, int *ret)
{
    kv_slice word = kv_admin_option(call, "status"), same = kv_admin_option(call, "state");
    const char *name = word.ptr ? "status" : "state";
    if (word.ptr && same.ptr) {
        kv_admin_error(call, "usage", "status= and state= are the same; give one of them.");
        return false;
    }
    word = word.ptr ? word : same;
    if (!word.ptr)
        return true;
    *ret = kv_slice_is(word, "unfinished") ? -2 : kv_word_find(kv_state_names, KV_STATES, word);
    if (*ret != -1)
        return true;
    kv_admin_error(call, "bad_parameter",
                   "%s= is queued, processing, complete, error, cancelled or unfinished.", name);
    return false;
}

static bool read_lane(kv_admin_call *call, kv_slice word, int *ret)
{
    *ret = kv_word_find(kv_lane_names, KV_LANES, word);
    if (*ret >= 0)
        return true;
    kv_admin_error(call, "bad_parameter", "A lane is urgent, normal or background.");
    return false;
}

static bool read_query(kv_admin_call *call, listing *l)
{
    kv_slice lane = kv_admin_option(call, "lane"), before = kv_admin_option(call, "before");
    kv_jobs_query *q = &l->query;
    q->service = kv_admin_option(call, "service");
    q->tenant = kv_admin_option(call, "tenant");
    q->user = kv_admin_option(call, "user");
    q->tag = kv_admin_option(call, "tag");
    q->state = q->lane = -1;
    l->left = LIMIT_DEFAULT;
    if (!read_state(call, &q->state) || (lane.ptr && !read_lane(call, lane, &q->lane)) ||
        (before.ptr && !kv_admin_id(call, before, &q->before)) ||
        !kv_admin_number_option(call, "limit", 1, LIMIT_MAX, &l->left))
        return false;
    return !q->service.ptr || kv_admin_service_name(call, q->service);
}

static listing *begin_list(kv_admin_call *call, const kv_column *columns, int n)
{
    listing *l = calloc(1, sizeof *l);
    if (!l) {
        kv_admin_fail(call, KV_E_NO_MEMORY);
        return NULL;
    }
    kv_table_init_columns(&l->table, columns, n);
    kv_buf_init(&l->page, 4 << 20);
    l->columns = columns;
    call->state = l;
    call->drop = drop_listing;
    return read_query(call, l) ? l : NULL;
}

static void first_page(kv_admin_call *call)
{
    if (call->json)
        kv_buf_adds(call->out, "{\"jobs\":[");
    list_page(call);
}

static void run_list(kv_admin_call *call)
{
    const listing *l = call->state;
    if (l->query.service.len > 0)
        kv_admin_with_queue(call, l->query.service, true, first_page);
    else
        first_page(call);
}

static void jobs(kv_admin_call *call)
{
    if (begin_list(call, job_columns, sizeof job_columns / sizeof *job_columns))
        run_list(call);
}

static void dead(kv_admin_call *call)
{
    kv_slice service = {"", 0};
    if (kv_admin_word(call, 0).len > 0 && !kv_admin_service(call, 0, &service))
        return;
    listing *l = begin_list(call, dead_columns, sizeof dead_columns / sizeof *dead_columns);
    if (!l)
        return;
    l->query.state = KV_JOB_ERROR;
    l->query.service = service;
    run_list(call);
}

/* ---- one job ---- */

static void show_field(kv_buf *out, const char *name, const json_t *job, kv_column_kind kind)
{
    kv_buf text;
    kv_buf_init(&text, 1 << 20);
    kv_column_text(job, name, kind, &text);
    kv_buf_addf(out, "%-17s ", name);
    kv_plain_text(kv_buf_slice(&text), VALUE_MAX, out);
    kv_buf_addc(out, '\n');
    kv_buf_release(&text);
}

/* What an entry has besides time and state: worker, reason, attempt … */
static void rest_of_entry(const json_t *entry, kv_buf *out)
{
    const char *key;
    json_t *value;
    bool any = false;
    json_object_foreach((json_t *)entry, key, value)
    {
        if (strcmp(key, "at") == 0 || strcmp(key, "status") == 0 || strcmp(key, "state") == 0 ||
            strcmp(key, "left_out") == 0)
            continue;
        kv_buf_addf(out, "%s%s=", any ? " " : "", key);
        any = true;
        kv_column_text(entry, key, KV_COLUMN_TEXT, out);
    }
}

static void show_entry(kv_buf *out, const json_t *entry)
{
    kv_buf text;
    const char *state = json_object_get(entry, "status") ? "status" : "state";
    kv_buf_init(&text, 1 << 20);
    if (json_object_get(entry, "at"))
        kv_column_text(entry, "at", KV_COLUMN_TIME_MS, &text);
    kv_buf_addf(&text, "%*s", text.len < 25 ? (int)(25 - text.len) : 1, "");
    if (json_object_get(entry, "left_out"))
        kv_buf_adds(&text, "…"); /* its reason says how many */
    else
        kv_column_text(entry, state, KV_COLUMN_TEXT, &text);
    size_t width = 25 + 12 + (json_object_get(entry, "left_out") ? 2 : 0); /* "…" has three bytes */
    kv_buf_addf(&text, "%*s", text.len < width ? (int)(width - text.len) : 1, "");
    rest_of_entry(entry, &text);
    kv_plain_text(kv_buf_slice(&text), VALUE_MAX, out);
    kv_buf_addc(out, '\n');
    kv_buf_release(&text);
}

static void show_history(kv_buf *out, const json_t *history)
{
    kv_buf_addf(out, "%-25s%-12s%s\n", "TIME", "STATE", "HOW");
    for (size_t i = 0; i < json_array_size(history); i++)
        show_entry(out, json_array_get(history, i));
}

static void add_position(kv_buf *out, const char *key, int64_t position)
{
    kv_json_key(out, key);
    kv_json_i64_or_null(out, position);
}

/* The job as the broker said it, and its place. */
static void dump_job(kv_buf *out, const kv_job_status *m)
{
    kv_buf_add(out, m->json.ptr, m->json.len - 1);
    add_position(out, "queue_position", m->queue_position);
    add_position(out, "lane_position", m->lane_position);
    kv_json_key(out, "eta_seconds");
    if (m->eta_high_ms == 0)
        kv_json_null(out);
    else
        kv_buf_addf(out, "[%.3f,%.3f]", (double)m->eta_low_ms / 1000,
                    (double)m->eta_high_ms / 1000);
    kv_buf_adds(out, "}\n");
}

/* With the text of a member's value in its place: what clients and workers sent is valid, but our
 * library does not take every number. */
static void add_as_text(kv_slice json, const char *name, kv_buf *out)
{
    kv_slice value;
    if (!kv_scan_member(json, name, &value)) {
        kv_buf_add(out, json.ptr, json.len);
        return;
    }
    size_t at = (size_t)(value.ptr - json.ptr);
    kv_buf_add(out, json.ptr, at);
    if (kv_slice_is(value, "null"))
        kv_json_raw(out, value);
    else
        kv_json_str(out, value);
    kv_buf_add(out, value.ptr + value.len, json.len - at - value.len);
}

static json_t *job_to_show(kv_admin_call *call, kv_slice json)
{
    kv_buf params, both;
    kv_buf_init(&params, 0);
    kv_buf_init(&both, 0);
    add_as_text(json, "params", &params);
    add_as_text(kv_buf_slice(&params), "result", &both);
    json_t *job = kv_admin_json(call, kv_buf_slice(&both));
    kv_buf_release(&params);
    kv_buf_release(&both);
    return job;
}

static void show_position(kv_buf *out, const char *name, int64_t position)
{
    if (position < 0)
        kv_buf_addf(out, "%-17s -\n", name);
    else
        kv_buf_addf(out, "%-17s %lld\n", name, (long long)position);
}

static void show_eta(kv_buf *out, const kv_job_status *m)
{
    if (m->eta_high_ms == 0)
        return;
    kv_buf_addf(out, "%-17s ", "begins in");
    kv_human_ms((int64_t)m->eta_low_ms, out);
    kv_buf_adds(out, " to ");
    kv_human_ms((int64_t)m->eta_high_ms, out);
    kv_buf_addc(out, '\n');
}

static void show_job(kv_buf *out, json_t *job, const kv_job_status *m)
{
    const char *key;
    json_t *value;
    json_object_foreach(job, key, value)
    {
        size_t len = strlen(key);
        bool time = strcmp(key, "deadline") == 0 || strcmp(key, "not_before") == 0 ||
                    (len > 3 && strcmp(key + len - 3, "_at") == 0);
        if (strcmp(key, "history") != 0)
            show_field(out, key, job, time ? KV_COLUMN_TIME_MS : KV_COLUMN_TEXT);
    }
    show_position(out, "queue_position", m->queue_position);
    show_position(out, "lane_position", m->lane_position);
    show_eta(out, m);
    kv_buf_addc(out, '\n');
    show_history(out, json_object_get(job, "history"));
}

static void on_job(kv_admin_call *call, const kv_msg *answer)
{
    const kv_job_status *m = &answer->job_status;
    if (call->json) {
        dump_job(call->out, m);
    } else {
        json_t *job = job_to_show(call, m->json);
        if (!job)
            return;
        show_job(call->out, job, m);
        json_decref(job);
    }
    kv_admin_ok(call);
}

static void job(kv_admin_call *call)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_GET, &m);
    if (kv_admin_id(call, kv_admin_word(call, 0), &m.job_get.job))
        kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_job);
}

/* ---- what can be done to it ---- */

static void on_cancel(kv_admin_call *call, const kv_msg *answer)
{
    kv_slice was = answer->cancel_ok.was;
    if (call->json)
        kv_buf_addf(call->out, "{\"was\":\"%.*s\"}\n", KV_SLICE_FMT(was));
    else if (kv_slice_is(was, "processing"))
        kv_buf_adds(call->out, "cancelled; its worker is told to stop\n");
    else if (kv_slice_is(was, "cancelled"))
        kv_buf_adds(call->out, "it was cancelled already\n");
    else
        kv_buf_addf(call->out, "cancelled; it was %.*s\n", KV_SLICE_FMT(was));
    kv_admin_ok(call);
}

static void cancel(kv_admin_call *call)
{
    kv_msg m;
    kv_msg_defaults(KV_CANCEL, &m);
    if (kv_admin_id(call, kv_admin_word(call, 0), &m.cancel.job))
        kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_cancel);
}

static void on_promote(kv_admin_call *call, const kv_msg *answer)
{
    kv_slice lane = kv_admin_word(call, 1);
    (void)answer;
    kv_admin_done(call, "it is the last of lane %.*s now",
                  KV_SLICE_FMT(lane.len ? lane : kv_slice_str(kv_lane_names[KV_LANE_URGENT])));
}

static void promote(kv_admin_call *call)
{
    kv_slice word = kv_admin_word(call, 1);
    int lane = KV_LANE_URGENT;
    kv_msg m;
    kv_msg_defaults(KV_PROMOTE, &m);
    if (!kv_admin_id(call, kv_admin_word(call, 0), &m.promote.job) ||
        (word.len > 0 && !read_lane(call, word, &lane)))
        return;
    m.promote.lane = (uint64_t)lane;
    kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_promote);
}

static const kv_admin_command commands[] = {
    {"jobs", "[service= status= lane= tenant= user= tag= limit= before=]",
     "newest first, 50 of them; status= (or state=) unfinished: queued and processing", 0, 0,
     "service,status,state,lane,tenant,user,tag,limit,before", false, jobs},
    {"job", "ID", "all of one job, with its history and its place in the queue", 1, 1, NULL, false,
     job},
    {"dead", "[SERVICE] [limit= before=]", "dead letters: jobs that ended in error", 0, 1,
     "limit,before", false, dead},
    {"retry", "ID | service=NAME [limit=100] [yes-N]",
     "do a dead or cancelled job again, as a new job; or the oldest dead letters of a queue", 0, 1,
     "service,limit", true, kv_admin_retry},
    {"cancel", "ID", "cancel a job, running ones too", 1, 1, NULL, true, cancel},
    {"promote", "ID [LANE]", "move a waiting job to another lane (urgent)", 1, 2, NULL, true,
     promote},
};
const kv_admin_module kv_admin_jobs = {"Jobs", commands, sizeof commands / sizeof commands[0]};
