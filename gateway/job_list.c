/* GET /api/jobs: a page from the database, positions of the waiting ones from the broker in one
 * message. */
#include <stdlib.h>

#include "gateway/answer.h"
#include "gateway/job_api.h"
#include "gateway/job_body.h"
#include "proto/base/json_scan.h"
#include "gateway/position.h"
#include "gateway/query.h"
#include "gateway/route.h"
#include "proto/base/id.h"
#include "proto/base/words.h"
#include "storage/read/jobs_list.h"

#define LIST_DEFAULT   50
#define ANY_UNFINISHED (-2)

static kv_err take_status(void *out, kv_slice v)
{
    kv_jobs_query *q = out;
    q->state =
        kv_slice_is(v, "unfinished") ? ANY_UNFINISHED : kv_word_find(kv_state_names, KV_STATES, v);
    return kv_body_judged(q->state != -1);
}

static kv_err take_lane(void *out, kv_slice v)
{
    int lane = kv_word_find(kv_lane_names, KV_LANES, v);
    ((kv_jobs_query *)out)->lane = lane;
    return kv_body_judged(lane >= 0);
}

static kv_err take_limit(void *out, kv_slice v)
{
    uint64_t n;
    if (!kv_query_uint(v, 1, KV_JOBS_PAGE_MAX, &n))
        return KV_E_BAD_PARAMETER;
    ((kv_jobs_query *)out)->limit = (int)n;
    return KV_OK;
}

static kv_err take_before(void *out, kv_slice v)
{
    return kv_body_judged(kv_id_parse(v.ptr, v.len, &((kv_jobs_query *)out)->before));
}

static kv_err take_service(void *out, kv_slice v)
{
    ((kv_jobs_query *)out)->service = v;
    return kv_body_judged(kv_service_name_valid(v));
}

static kv_err take_tenant(void *out, kv_slice v)
{
    ((kv_jobs_query *)out)->tenant = v;
    return kv_body_judged(v.len <= KV_NAME_MAX);
}

static kv_err take_user(void *out, kv_slice v)
{
    ((kv_jobs_query *)out)->user = v;
    return kv_body_judged(v.len <= KV_NAME_MAX);
}

static kv_err take_tag(void *out, kv_slice v)
{
    ((kv_jobs_query *)out)->tag = v;
    return kv_body_judged(v.len <= KV_NAME_MAX && memchr(v.ptr, ',', v.len) == NULL);
}

static const kv_parameter parameters[] = {
    {"service", take_service, "1 to 64 characters of [a-z0-9-]"},
    {"status", take_status, "queued, processing, complete, error, cancelled or unfinished"},
    {"lane", take_lane, "urgent, normal or background"},
    {"tenant", take_tenant, "at most 64 bytes"},
    {"user", take_user, "at most 64 bytes"},
    {"tag", take_tag, "one word"},
    {"limit", take_limit, "1 to 200"},
    {"before", take_before, "the \"next\" of a page before"},
};

typedef struct listing {
    uint64_t next;
    kv_slice jobs; /* the array, in the request pool */
} listing;

/* Positions come in the order asked, so the one looked for is nearly always the next. */
static const kv_rank *rank_of(const kv_rank *ranks, size_t n, size_t *at, uint64_t job)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = (*at + i) % n;
        if (ranks[k].job == job) {
            *at = k + 1;
            return &ranks[k];
        }
    }
    return NULL;
}

static void put_jobs(kv_buf *out, kv_slice jobs, const kv_rank *ranks, size_t n)
{
    kv_slice one;
    size_t pos = 0, at = 0;
    uint64_t id;
    kv_json_key(out, "jobs");
    kv_json_open(out, '[');
    while (kv_scan_next(jobs, &pos, &one))
        kv_position_into(out, one, kv_position_waits(one, &id) ? rank_of(ranks, n, &at, id) : NULL);
    kv_json_close(out, ']');
}

static void on_positions(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    (void)loop;
    const listing *l = arg;
    kv_rank *ranks = h2o_mem_alloc_pool(&req->pool, sizeof(*ranks) * KV_POSITIONS_MAX);
    size_t n = 0;
    if (err == KV_OK && answer != NULL)
        n = kv_positions_of(answer->positions.json, ranks, KV_POSITIONS_MAX);
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_json_open(&out, '{');
    put_jobs(&out, l->jobs, ranks, n);
    kv_json_key(&out, "next");
    if (l->next != 0) {
        char id[KV_ID_TEXT + 1];
        kv_id_format(l->next, id);
        kv_json_cstr(&out, id);
    } else {
        kv_json_null(&out);
    }
    kv_json_key(&out, "positions");
    kv_json_cstr(&out, err == KV_OK ? "live" : "unavailable");
    kv_json_close(&out, '}');
    kv_answer_buf(req, KV_OK, 200, &out);
    kv_buf_release(&out);
}

static void answer_list(kv_request *r, kv_slice jobs, uint64_t next)
{
    uint64_t ids[KV_JOBS_PAGE_MAX];
    size_t n = 0, pos = 0;
    kv_slice one;
    listing *l = h2o_mem_alloc_pool(&r->req->pool, sizeof(*l));
    h2o_iovec_t copy = h2o_strdup(&r->req->pool, jobs.ptr, jobs.len);
    *l = (listing){next, kv_slice_of(copy.base, copy.len)};
    while (n < KV_JOBS_PAGE_MAX && kv_scan_next(l->jobs, &pos, &one))
        n += kv_position_waits(one, &ids[n]);
    if (n == 0)
        on_positions(r->req, r->loop, l, KV_OK, NULL);
    else
        kv_positions_ask(r, ids, n, on_positions, l);
}

void kv_route_job_list(kv_request *r)
{
    kv_jobs_query q = {.state = -1, .lane = -1, .limit = LIST_DEFAULT};
    char why[KV_BODY_WHY];
    uint64_t next = 0;
    kv_buf out;
    kv_err err = kv_query_read(r, parameters, sizeof(parameters) / sizeof(*parameters), &q, why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
        return;
    }
    kv_db *db = kv_loop_db(r->loop);
    kv_buf_init(&out, 0);
    err = db == NULL ? KV_E_BROKER_AWAY : kv_jobs_list_json(db, &q, &out, &next);
    if (err != KV_OK || !kv_buf_ok(&out))
        kv_answer_buf(r->req, err, 200, &out);
    else
        answer_list(r, kv_buf_slice(&out), next);
    kv_buf_release(&out);
}
