/* A user's credits and notifications. */
#include "gateway/answer.h"
#include "gateway/job_api.h"
#include "gateway/job_body.h"
#include "gateway/query.h"
#include "gateway/route.h"
#include "proto/base/id.h"
#include "storage/read/credits.h"
#include "storage/read/notifications.h"

#define LIST_DEFAULT 50

static bool user_valid(kv_slice user)
{
    return user.len >= 1 && user.len <= KV_NAME_MAX && memchr(user.ptr, '\0', user.len) == NULL;
}

typedef struct asked {
    kv_slice user;
    uint64_t before; /* 0: from the newest */
} asked;

static kv_err take_user(void *out, kv_slice v)
{
    ((asked *)out)->user = v;
    return user_valid(v) ? KV_OK : KV_E_BAD_PARAMETER;
}

static kv_err take_before(void *out, kv_slice v)
{
    return kv_id_parse(v.ptr, v.len, &((asked *)out)->before) ? KV_OK : KV_E_BAD_PARAMETER;
}

#define USER_TEXT "1 to 64 bytes"
static const kv_parameter parameters[] = {
    {"before", take_before, "the \"next\" of a page before"},
    {"user", take_user, USER_TEXT}, /* of notifications; with credits it stands in the path */
};

void kv_route_credits(kv_request *r)
{
    asked a = {0};
    char why[KV_BODY_WHY];
    kv_buf out;
    if (!user_valid(r->param)) {
        kv_answer_problem(r->req, KV_E_BAD_PARAMETER, "user: " USER_TEXT, 0);
        return;
    }
    kv_err err = kv_query_read(r, parameters, 1, &a, why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
        return;
    }
    kv_db *db = kv_loop_db(r->loop);
    kv_buf_init(&out, 0);
    kv_answer_buf(r->req,
                  db == NULL ? KV_E_BROKER_AWAY : kv_credits_json(db, r->param, a.before, &out),
                  200, &out);
    kv_buf_release(&out);
}

static void put_next(kv_buf *out, uint64_t next)
{
    char id[KV_ID_TEXT + 1];
    kv_json_key(out, "next");
    kv_id_format(next, id);
    if (next != 0)
        kv_json_cstr(out, id);
    else
        kv_json_null(out);
}

void kv_route_notifications(kv_request *r)
{
    asked a = {0};
    char why[KV_BODY_WHY];
    uint64_t next = 0;
    kv_buf out;
    kv_err err = kv_query_read(r, parameters, 2, &a, why);
    if (err != KV_OK || a.user.len == 0) {
        kv_answer_problem(r->req, KV_E_BAD_PARAMETER, err != KV_OK ? why : "user: " USER_TEXT, 0);
        return;
    }
    kv_db *db = kv_loop_db(r->loop);
    kv_buf_init(&out, 0);
    kv_json_open(&out, '{');
    kv_json_key(&out, "user");
    kv_json_str(&out, a.user);
    kv_json_key(&out, "notifications");
    err = db == NULL ? KV_E_BROKER_AWAY
                     : kv_notifications_json(db, a.user, a.before, LIST_DEFAULT, &out, &next);
    put_next(&out, next);
    kv_json_close(&out, '}');
    kv_answer_buf(r->req, err, 200, &out);
    kv_buf_release(&out);
}

static void on_seen(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    (void)loop;
    (void)arg;
    if (err != KV_OK)
        kv_answer_refusal(req, err, answer);
    else
        kv_answer_empty(req, 204);
}

void kv_route_notifications_seen(kv_request *r)
{
    char why[KV_BODY_WHY] = "";
    json_t *tree = NULL;
    kv_msg m = {.code = KV_SEEN};
    kv_err err = kv_seen_body_read(kv_request_body(r), &m.seen, &tree, why);
    if (err != KV_OK)
        kv_answer_problem(r->req, err, why, 0);
    else
        kv_ask_broker(r, &m, on_seen, NULL);
    json_decref(tree);
}
