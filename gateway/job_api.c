/* Jobs over HTTP: submit, one job, history, metadata, cancel, retry. Reads come from the loop's own
 * handle (what the ledger committed), positions and changes from the broker. Lists: job_list.c. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/answer.h"
#include "gateway/job_api.h"
#include "gateway/job_body.h"
#include "gateway/job_key.h"
#include "proto/base/json_scan.h"
#include "gateway/position.h"
#include "gateway/query.h"
#include "gateway/route.h"
#include "gateway/tap.h"
#include "proto/base/id.h"
#include "storage/read/jobs.h"

#define POSITION_WAIT_MS 1000 /* a read must not hang on a broker that is away */

/* ---- shared ---- */

/* The id in the path; answers BAD_ID itself. */
static bool take_id(kv_request *r, uint64_t *ret)
{
    if (kv_id_parse(r->param.ptr, r->param.len, ret))
        return true;
    kv_answer_problem(r->req, KV_E_BAD_ID, NULL, 0);
    return false;
}

kv_slice kv_request_body(kv_request *r)
{
    return kv_slice_of(r->req->entity.base, r->req->entity.base != NULL ? r->req->entity.len : 0);
}

void kv_positions_ask(kv_request *r, const uint64_t *ids, size_t n, kv_broker_fn fn, void *arg)
{
    char bytes[KV_ID_BYTES * KV_POSITIONS_MAX];
    kv_msg m;
    if (!kv_client_up(r->loop->broker)) {
        fn(r->req, r->loop, arg, KV_E_BROKER_AWAY, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++)
        kv_id_put(bytes, i, ids[i]);
    kv_msg_defaults(KV_POSITION, &m);
    m.position.jobs = kv_slice_of(bytes, KV_ID_BYTES * n);
    kv_ask_broker_for(r, &m, POSITION_WAIT_MS, fn, arg);
}

static kv_err read_job(kv_loop *loop, uint64_t id, kv_buf *out)
{
    kv_db *db = kv_loop_db(loop);
    return db == NULL ? KV_E_BROKER_AWAY : kv_job_get_json(db, id, out);
}

static void add_location(h2o_req_t *req, uint64_t job)
{
    char id[KV_ID_TEXT + 1], path[64];
    kv_id_format(job, id);
    snprintf(path, sizeof(path), "/api/jobs/%s", id);
    kv_add_header(req, "location", path);
}

/* 429 queue_full says in the RateLimit field, too, when there is room again. */
static void refuse(h2o_req_t *req, kv_err err, const kv_msg *answer)
{
    if (err == KV_E_QUEUE_FULL && answer != NULL && answer->code == KV_ERROR) {
        char text[64];
        uint64_t ms = answer->error.retry_after_ms;
        snprintf(text, sizeof(text), "\"queue\";r=0;t=%" PRIu64, ms == 0 ? 1 : (ms + 999) / 1000);
        kv_add_header(req, "ratelimit", text);
    }
    kv_answer_refusal(req, err, answer);
}

/* ---- submit ---- */

typedef struct submitting {
    uint64_t job;
    bool named;               /* the client chose the id, itself or by its Idempotency-Key */
    kv_slice service, params; /* what it asked for; in the request pool */
} submitting;

static kv_slice keep(h2o_req_t *req, kv_slice s)
{
    h2o_iovec_t v = h2o_strdup(&req->pool, s.ptr != NULL ? s.ptr : "", s.len);
    return kv_slice_of(v.base, v.len);
}

/* Whether the row under this id asks for something else: the id or key was used before. */
static bool another_request(kv_loop *loop, const submitting *s)
{
    kv_buf row;
    kv_slice service, params;
    kv_buf_init(&row, 0);
    bool other = read_job(loop, s->job, &row) == KV_OK &&
                 kv_scan_text(kv_buf_slice(&row), "service", &service) &&
                 kv_scan_member(kv_buf_slice(&row), "params", &params) &&
                 !(kv_slice_eq(service, s->service) && kv_slice_eq(params, s->params));
    kv_buf_release(&row);
    return other;
}

static void answer_submitted(h2o_req_t *req, const kv_submit_ok *ok)
{
    kv_buf out;
    kv_buf_init(&out, 4096);
    kv_submitted_json(&out, ok);
    add_location(req, ok->job);
    kv_answer_buf(req, KV_OK, 202, &out);
    kv_buf_release(&out);
}

static void on_submitted(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    submitting *s = arg;
    if (err == KV_E_JOB_DEADLINE) { /* and it was not one that came before */
        kv_answer_problem(req, KV_E_BAD_PARAMETER, "deadline: is in the past", 0);
        return;
    }
    if (err != KV_OK) {
        refuse(req, err, answer);
        return;
    }
    const kv_submit_ok *ok = &answer->submit_ok;
    if (!ok->created && s->named && ok->job == s->job && another_request(loop, s)) {
        kv_answer_problem(req, KV_E_CONFLICT,
                          "this jobId or Idempotency-Key was used for another service or other "
                          "params",
                          0);
        return;
    }
    answer_submitted(req, ok);
}

/* The id of a keyed request: the one of yesterday when that is there, or, where the date was set
 * back, of tomorrow, else today's. An error when that cannot be told: a new id would do the job a
 * second time. */
static kv_err keyed_id(kv_loop *loop, const char *scope, kv_slice key, uint64_t *ret_id)
{
    int64_t now = loop->gw->clock->wall_ms(loop->gw->clock);
    kv_buf row;
    kv_err err = KV_E_NOT_FOUND;
    kv_buf_init(&row, 0);
    for (int days = -1; days <= 1 && err == KV_E_NOT_FOUND; days += 2) {
        *ret_id = kv_job_key_id(scope, key, now + days * KV_JOB_KEY_MS);
        err = read_job(loop, *ret_id, &row);
    }
    kv_buf_release(&row);
    if (err != KV_E_NOT_FOUND)
        return err;
    *ret_id = kv_job_key_id(scope, key, now);
    return KV_OK;
}

/* false: answered. `ret_key` empty: there is none. */
static bool take_key(kv_request *r, kv_slice *ret_key)
{
    kv_slice key = kv_slice_trim(kv_header_get(r->req, "idempotency-key"));
    *ret_key = key;
    if (key.ptr == NULL || (key.len >= 1 && key.len <= KV_JOB_KEY_MAX))
        return true;
    kv_answer_problem(r->req, KV_E_BAD_PARAMETER, "Idempotency-Key: 1 to 255 bytes", 0);
    return false;
}

static uint64_t new_id(kv_loop *loop)
{
    return kv_id_make(&kv_loop_inside(loop)->ids, loop->gw->clock);
}

static kv_err name_job(kv_request *r, kv_job_body *b, kv_slice key, char *why)
{
    kv_submit *m = &b->submit;
    char scope[KV_NAME_MAX + 16], hex[KV_JOB_KEY_TEXT];
    if (key.len == 0) {
        if (m->job == 0)
            m->job = new_id(r->loop);
        return KV_OK;
    }
    if (m->job != 0) {
        snprintf(why, KV_BODY_WHY, "jobId and Idempotency-Key: give one of them");
        return KV_E_BAD_PARAMETER;
    }
    snprintf(scope, sizeof(scope), "submit:%.*s", KV_SLICE_FMT(m->service));
    KV_TRY(keyed_id(r->loop, scope, key, &m->job));
    if (m->unique_key.len == 0) { /* two at once, one on each side of midnight */
        kv_job_key_text(scope, key, hex);
        m->unique_key = keep(r->req, kv_slice_str(hex));
    }
    return KV_OK;
}

void kv_route_job_submit(kv_request *r)
{
    kv_job_body b;
    kv_slice key;
    char why[KV_BODY_WHY] = "";
    if (!take_key(r, &key))
        return;
    kv_err err = kv_job_body_read(kv_request_body(r), &b, why);
    bool named = b.submit.job != 0 || key.len != 0;
    if (err == KV_OK)
        err = name_job(r, &b, key, why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
    } else {
        submitting *s = h2o_mem_alloc_pool(&r->req->pool, sizeof(*s));
        *s = (submitting){b.submit.job, named, keep(r->req, b.submit.service),
                          keep(r->req, b.submit.params)};
        kv_msg m = {.code = KV_SUBMIT, .submit = b.submit};
        kv_ask_broker(r, &m, on_submitted, s);
    }
    kv_job_body_release(&b);
}

/* ---- one job ---- */

typedef struct reading {
    uint64_t job;
    kv_slice json; /* in the request pool */
} reading;

static void answer_job(h2o_req_t *req, kv_slice json, const kv_rank *rank, bool away)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_position_into(&out, json, rank);
    if (away && kv_buf_ok(&out)) {
        out.len--; /* the brace */
        kv_json_key(&out, "positions");
        kv_json_cstr(&out, "unavailable");
        kv_json_close(&out, '}');
    }
    kv_answer_buf(req, KV_OK, 200, &out);
    kv_buf_release(&out);
}

static void on_position(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    reading *g = arg;
    kv_rank rank;
    if (err != KV_OK) {
        answer_job(req, g->json, NULL, true);
        return;
    }
    bool known = kv_positions_of(answer->positions.json, &rank, 1) == 1;
    if (known && kv_slice_is(rank.status, "\"queued\"")) {
        answer_job(req, g->json, &rank, false);
        return;
    }
    /* It moved on while we asked. */
    kv_buf row;
    kv_buf_init(&row, 0);
    kv_slice json = read_job(loop, g->job, &row) == KV_OK ? kv_buf_slice(&row) : g->json;
    answer_job(req, json, known ? &rank : NULL, false);
    kv_buf_release(&row);
}

void kv_route_job_get(kv_request *r)
{
    uint64_t id, waiting;
    kv_buf row;
    if (!take_id(r, &id))
        return;
    kv_buf_init(&row, 0);
    kv_err err = read_job(r->loop, id, &row);
    if (err != KV_OK) {
        kv_answer_buf(r->req, err, 200, &row);
    } else if (!kv_position_waits(kv_buf_slice(&row), &waiting)) {
        answer_job(r->req, kv_buf_slice(&row), NULL, false);
    } else {
        reading *g = h2o_mem_alloc_pool(&r->req->pool, sizeof(*g));
        *g = (reading){id, keep(r->req, kv_buf_slice(&row))};
        kv_positions_ask(r, &id, 1, on_position, g);
    }
    kv_buf_release(&row);
}

void kv_route_job_history(kv_request *r)
{
    uint64_t id;
    kv_buf row, out;
    kv_slice v;
    static const char *const members[] = {"jobId", "status", "history"};
    if (!take_id(r, &id))
        return;
    kv_buf_init(&row, 0);
    kv_buf_init(&out, 0);
    kv_err err = read_job(r->loop, id, &row);
    if (err == KV_OK) {
        kv_json_open(&out, '{');
        for (int i = 0; i < 3; i++) {
            kv_json_key(&out, members[i]);
            if (kv_scan_member(kv_buf_slice(&row), members[i], &v))
                kv_json_raw(&out, v);
            else
                kv_json_null(&out);
        }
        kv_json_close(&out, '}');
    }
    kv_answer_buf(r->req, err, 200, &out);
    kv_buf_release(&row);
    kv_buf_release(&out);
}

/* ---- changes ---- */

static void put_job_id(kv_buf *out, uint64_t job)
{
    char id[KV_ID_TEXT + 1];
    kv_id_format(job, id);
    kv_json_open(out, '{');
    kv_json_key(out, "jobId");
    kv_json_cstr(out, id);
}

static void on_metadata(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    (void)loop;
    (void)arg;
    if (err != KV_OK) {
        kv_answer_refusal(req, err, answer);
        return;
    }
    kv_buf out;
    char etag[32];
    kv_buf_init(&out, 0);
    put_job_id(&out, answer->metadata_ok.job);
    kv_json_key(&out, "version");
    kv_json_u64(&out, answer->metadata_ok.version);
    kv_json_key(&out, "metadata");
    kv_json_raw(&out, answer->metadata_ok.metadata);
    kv_json_close(&out, '}');
    snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", answer->metadata_ok.version);
    kv_add_header(req, "etag", etag);
    kv_answer_buf(req, KV_OK, 200, &out);
    kv_buf_release(&out);
}

#define VERSION_MAX  999999999999999999u
#define VERSION_TEXT "metadata_version of the job"

static kv_err take_version(void *out, kv_slice v)
{
    kv_metadata *m = out;
    if (kv_slice_is(v, "*"))
        return KV_OK;
    m->exact = kv_query_uint(v, 0, VERSION_MAX, &m->version);
    return m->exact ? KV_OK : KV_E_BAD_PARAMETER;
}

static const kv_parameter metadata_parameters[] = {{"version", take_version, VERSION_TEXT}};

/* If-Match: "3", or ?version=3. */
static kv_err metadata_version(kv_request *r, kv_metadata *ret, char *why)
{
    kv_slice header = kv_header_list(r->req, "if-match"), v = kv_slice_trim(header);
    kv_metadata query = {0};
    KV_TRY(kv_query_read(r, metadata_parameters, 1, &query, why));
    if (v.len >= 2 && v.ptr[0] == '"' && v.ptr[v.len - 1] == '"')
        v = kv_slice_of(v.ptr + 1, v.len - 2);
    if (header.ptr && take_version(ret, v) != KV_OK)
        snprintf(why, KV_BODY_WHY, "If-Match: " VERSION_TEXT);
    else if (ret->exact && query.exact && ret->version != query.version)
        snprintf(why, KV_BODY_WHY, "version: not that of If-Match");
    else if (query.exact)
        ret->exact = true, ret->version = query.version;
    return why[0] == '\0' ? KV_OK : KV_E_BAD_PARAMETER;
}

void kv_route_job_metadata(kv_request *r)
{
    char why[KV_BODY_WHY] = "";
    kv_msg m;
    kv_msg_defaults(KV_METADATA, &m);
    if (!take_id(r, &m.metadata.job))
        return;
    kv_err err = metadata_version(r, &m.metadata, why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
        return;
    }
    m.metadata.patch = kv_request_body(r);
    err = kv_patch_check(m.metadata.patch, why);
    if (err != KV_OK)
        kv_answer_problem(r->req, err, why, 0);
    else
        kv_ask_broker(r, &m, on_metadata, NULL);
}

static void on_cancelled(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    (void)loop;
    (void)arg;
    if (err != KV_OK) {
        kv_answer_refusal(req, err, answer);
        return;
    }
    kv_buf out;
    kv_buf_init(&out, 4096);
    put_job_id(&out, answer->cancel_ok.job);
    kv_json_key(&out, "status");
    kv_json_cstr(&out, "cancelled");
    kv_json_key(&out, "was");
    kv_json_str(&out, answer->cancel_ok.was);
    kv_json_close(&out, '}');
    kv_answer_buf(req, KV_OK, 200, &out);
    kv_buf_release(&out);
}

void kv_route_job_cancel(kv_request *r)
{
    kv_msg m;
    kv_msg_defaults(KV_CANCEL, &m);
    if (take_id(r, &m.cancel.job))
        kv_ask_broker(r, &m, on_cancelled, NULL);
}

static void on_retried(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    (void)loop;
    (void)arg;
    if (err != KV_OK)
        refuse(req, err, answer);
    else
        answer_submitted(req, &answer->submit_ok);
}

void kv_route_job_retry(kv_request *r)
{
    kv_msg m;
    kv_slice key;
    char id[KV_ID_TEXT + 1], scope[32];
    kv_msg_defaults(KV_RETRY, &m);
    if (!take_id(r, &m.retry.job) || !take_key(r, &key))
        return;
    kv_id_format(m.retry.job, id);
    snprintf(scope, sizeof(scope), "retry:%s", id);
    m.retry.new_job = new_id(r->loop);
    kv_err err = key.len != 0 ? keyed_id(r->loop, scope, key, &m.retry.new_job) : KV_OK;
    if (err != KV_OK)
        kv_answer_problem(r->req, err, NULL, 0);
    else
        kv_ask_broker(r, &m, on_retried, NULL);
}
