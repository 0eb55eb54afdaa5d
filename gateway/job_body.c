#include "gateway/job_body.h"

#include "gateway/watch.h"
#include "proto/base/id.h"
#include "proto/base/text.h"
#include "proto/base/words.h"

#include <stdio.h>

#include "proto/codec.h"

#define DELAY_MAX_S     31536000.0
#define BACKOFF_MAX_S   3600.0
#define BACKOFF_TOP_S   86400.0
#define RETENTION_MAX_S 31536000
#define CREDITS_MAX     1000000000
#define DEADLINE_MAX_MS 4102444800000 /* the year 2100 */

/* ---- POST /api/jobs ---- */

static kv_job_body *job_of(kv_body *b)
{
    return b->out;
}

static kv_err take_service(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    kv_slice *s = &job_of(b)->submit.service;
    return kv_body_judged(kv_body_str(v, KV_NAME_MAX, s) && kv_service_name_valid(*s));
}

static kv_err take_lane(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    kv_slice s;
    int lane = kv_body_str(v, 16, &s) ? kv_word_find(kv_lane_names, KV_LANES, s) : -1;
    job_of(b)->submit.lane = (uint64_t)lane;
    return kv_body_judged(lane >= 0);
}

static kv_err take_params(kv_body *b, const char *name, const json_t *v)
{
    (void)v;
    kv_slice *s = &job_of(b)->submit.params;
    if (!kv_body_raw(b, name, s))
        return KV_E_BAD_PARAMETER;
    if (s->len <= KV_JSON_MAX)
        return KV_OK;
    snprintf(b->why, KV_BODY_WHY,
             "params: at most %d bytes; upload larger data as a file and send its URL",
             KV_JSON_MAX);
    return KV_E_BODY_TOO_LARGE;
}

static kv_err take_metadata(kv_body *b, const char *name, const json_t *v)
{
    kv_slice *s = &job_of(b)->submit.metadata;
    return kv_body_judged(json_is_object(v) && kv_body_raw(b, name, s) && s->len <= KV_PATCH_MAX);
}

/* Seconds, in milliseconds. */
static kv_err take_seconds(const json_t *v, double max, uint64_t *ret_ms)
{
    double s;
    if (!kv_body_number(v, 0, max, &s))
        return KV_E_BAD_PARAMETER;
    *ret_ms = (uint64_t)(s * 1000 + 0.5);
    return KV_OK;
}

static kv_err take_delay(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return take_seconds(v, DELAY_MAX_S, &job_of(b)->submit.delay_ms);
}

static kv_err take_backoff(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return take_seconds(v, BACKOFF_MAX_S, &job_of(b)->submit.backoff_ms);
}

static kv_err take_backoff_max(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return take_seconds(v, BACKOFF_TOP_S, &job_of(b)->submit.backoff_max_ms);
}

static kv_err take_retention(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_uint(v, 1, RETENTION_MAX_S, &job_of(b)->submit.retention_s));
}

static kv_err take_max_attempts(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_uint(v, 1, 100, &job_of(b)->submit.max_attempts));
}

static kv_err take_credits(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_uint(v, 0, CREDITS_MAX, &job_of(b)->submit.credits));
}

static kv_err take_deadline(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    uint64_t *ret = &job_of(b)->submit.deadline_ms;
    int64_t ms;
    if (!json_is_string(v))
        return kv_body_judged(kv_body_uint(v, 1, DEADLINE_MAX_MS, ret));
    if (!kv_body_time(v, &ms) || ms <= 0 || ms > DEADLINE_MAX_MS)
        return KV_E_BAD_PARAMETER;
    *ret = (uint64_t)ms;
    return KV_OK;
}

static kv_err take_tags(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    kv_job_body *j = job_of(b);
    size_t n = 0;
    if (!json_is_array(v) || json_array_size(v) > KV_TAGS_MAX)
        return KV_E_BAD_PARAMETER;
    for (size_t i = 0; i < json_array_size(v); i++) {
        kv_slice t;
        if (!kv_body_str(json_array_get(v, i), KV_TAG_MAX, &t) || !kv_tag_valid(t) ||
            n + t.len + 1 > sizeof(j->tags))
            return KV_E_BAD_PARAMETER;
        if (n != 0)
            j->tags[n++] = ',';
        memcpy(j->tags + n, t.ptr, t.len);
        n += t.len;
    }
    j->submit.tags = kv_slice_of(j->tags, n);
    return KV_OK;
}

static kv_err take_unique_key(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_str(v, 128, &job_of(b)->submit.unique_key));
}

static kv_err take_tenant(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_str(v, KV_NAME_MAX, &job_of(b)->submit.tenant));
}

static kv_err take_user(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_str(v, KV_NAME_MAX, &job_of(b)->submit.user));
}

static kv_err take_operation(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_str(v, KV_NAME_MAX, &job_of(b)->submit.operation));
}

static kv_err take_job_id(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_id(v, &job_of(b)->submit.job) ? KV_OK : KV_E_BAD_ID;
}

static kv_err take_retry_of(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_id(v, &job_of(b)->submit.retry_of) ? KV_OK : KV_E_BAD_ID;
}

#define ID_TEXT   "13 characters of Crockford base32"
#define NAME_TEXT "text of at most 64 bytes"
static const kv_member job_members[] = {
    {"service", take_service, "1 to 64 characters of [a-z0-9-]"},
    {"lane", take_lane, "urgent, normal or background"},
    {"params", take_params, "JSON; write the name without escapes"},
    {"delay", take_delay, "seconds, 0 to 31536000"},
    {"unique_key", take_unique_key, "text of at most 128 bytes"},
    {"max_attempts", take_max_attempts, "1 to 100"},
    {"backoff", take_backoff, "seconds, 0 to 3600"},
    {"backoff_max", take_backoff_max, "seconds, 0 to 86400"},
    {"deadline", take_deadline, "a time like 2026-11-21T10:00:00Z, or Unix milliseconds"},
    {"tags", take_tags, "an array of at most 8 words of [A-Za-z0-9_.:-]{1,64}"},
    {"retention", take_retention, "whole seconds, 1 to 31536000"},
    {"tenant", take_tenant, NAME_TEXT},
    {"user", take_user, NAME_TEXT},
    {"credits", take_credits, "a whole number, 0 to 1000000000"},
    {"operation", take_operation, NAME_TEXT},
    {"metadata", take_metadata, "a JSON object of at most 16384 bytes"},
    {"jobId", take_job_id, ID_TEXT},
    {"retry_of", take_retry_of, ID_TEXT},
};

kv_err kv_job_body_read(kv_slice text, kv_job_body *ret, char why[KV_BODY_WHY])
{
    kv_msg m;
    kv_msg_defaults(KV_SUBMIT, &m);
    *ret = (kv_job_body){.submit = m.submit};
    ret->submit.params = kv_slice_str("{}");
    kv_body b = {text, ret, why};
    KV_TRY(kv_body_load(text, &ret->tree, why));
    KV_TRY(kv_body_read(ret->tree, job_members, sizeof(job_members) / sizeof(*job_members), &b));
    const kv_submit *s = &ret->submit;
    const char *missing = NULL;
    if (s->service.len == 0)
        missing = "service: name the queue";
    else if (s->credits != 0 && s->user.len == 0)
        missing = "credits: name the user they are held of";
    else if (s->backoff_max_ms != 0 && s->backoff_max_ms < s->backoff_ms)
        missing = "backoff_max: not below backoff";
    if (missing == NULL)
        return KV_OK;
    snprintf(why, KV_BODY_WHY, "%s", missing);
    return KV_E_BAD_PARAMETER;
}

void kv_job_body_release(kv_job_body *b)
{
    json_decref(b->tree);
    b->tree = NULL;
}

kv_err kv_patch_check(kv_slice text, char why[KV_BODY_WHY])
{
    json_t *tree;
    if (text.len > KV_PATCH_MAX) {
        snprintf(why, KV_BODY_WHY, "a patch has at most %d bytes", KV_PATCH_MAX);
        return KV_E_BAD_PARAMETER;
    }
    KV_TRY(kv_body_load(text, &tree, why));
    json_decref(tree);
    return KV_OK;
}

/* ---- queues ---- */

static kv_err take_flag(const json_t *v, uint64_t low, uint64_t high, int64_t *ret)
{
    (void)low, (void)high;
    *ret = json_is_true(v);
    return kv_body_judged(json_is_boolean(v));
}

static kv_err take_count(const json_t *v, uint64_t low, uint64_t high, int64_t *ret)
{
    uint64_t n;
    if (!kv_body_uint(v, low, high, &n))
        return KV_E_BAD_PARAMETER;
    *ret = (int64_t)n;
    return KV_OK;
}

static kv_err take_word(const json_t *v, uint64_t low, uint64_t high, int64_t *ret)
{
    kv_slice s;
    (void)low, (void)high;
    *ret = kv_body_str(v, 16, &s) ? kv_word_find(kv_overflow_names, KV_OVERFLOW_COUNT, s) : -1;
    return kv_body_judged(*ret >= 0);
}

#define TAKE(F, T, member, kind, option, low, high, unit, text)                                    \
    static kv_err take_##member(kv_body *b, const char *name, const json_t *v)                     \
    {                                                                                              \
        (void)name;                                                                                \
        return take_##kind(v, low, high, &((kv_queue_set *)b->out)->member);                       \
    }
KV_QUEUE_SETTINGS(TAKE, , )

static kv_err take_limits_of(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    kv_queue_set *q = b->out;
    q->tenant_set = true;
    return kv_body_judged(kv_body_str(v, KV_NAME_MAX, &q->tenant));
}

#define MUST_flag(low, high)  "true or false"
#define MUST_count(low, high) "a whole number, " #low " to " #high
#define MUST_word(low, high)  "reject or evict"
#define MEMBER(F, T, member, kind, option, low, high, unit, text)                                  \
    {#member, take_##member, MUST_##kind(low, high)},

static const kv_member queue_members[] = {{"tenant", take_limits_of, NAME_TEXT},
                                          KV_QUEUE_SETTINGS(MEMBER, , )};

kv_err kv_queue_body_read(kv_slice text, kv_queue_set *ret, json_t **tree, char why[KV_BODY_WHY])
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    *ret = m.queue_set;
    kv_body b = {text, ret, why};
    KV_TRY(kv_body_load(text, tree, why));
    KV_TRY(kv_body_read(*tree, queue_members, sizeof(queue_members) / sizeof(*queue_members), &b));
    if (json_object_size(*tree) == 0)
        snprintf(why, KV_BODY_WHY, "nothing to change");
    else if (ret->tenant_set && (ret->paused >= 0 || ret->draining >= 0 || ret->overflow >= 0 ||
                                 ret->max_waiting >= 0))
        snprintf(why, KV_BODY_WHY, "a tenant has concurrency, rate_per_minute and weight only");
    else if (!ret->tenant_set && ret->weight >= 0)
        snprintf(why, KV_BODY_WHY, "weight: name the tenant");
    else
        return KV_OK;
    return KV_E_BAD_PARAMETER;
}

/* ---- notifications ---- */

static kv_err take_seen_user(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    kv_slice *user = &((kv_seen *)b->out)->user;
    return kv_body_judged(kv_body_str(v, KV_NAME_MAX, user) && user->len > 0);
}

static kv_err take_seen_id(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return kv_body_judged(kv_body_id(v, &((kv_seen *)b->out)->notification));
}

static const kv_member seen_members[] = {
    {"user", take_seen_user, "text of 1 to 64 bytes"},
    {"id", take_seen_id, "the id of a notification"},
};

kv_err kv_seen_body_read(kv_slice text, kv_seen *ret, json_t **tree, char why[KV_BODY_WHY])
{
    *ret = (kv_seen){0};
    kv_body b = {text, ret, why};
    KV_TRY(kv_body_load(text, tree, why));
    KV_TRY(kv_body_read(*tree, seen_members, sizeof(seen_members) / sizeof(*seen_members), &b));
    if (ret->user.len > 0)
        return KV_OK;
    snprintf(why, KV_BODY_WHY, "user: text of 1 to 64 bytes");
    return KV_E_BAD_PARAMETER;
}

/* ---- WebSocket ---- */

/* Those before it are watched: who is told must know where it stopped. */
static void say_unwatched(kv_body *b, uint64_t id, kv_err err)
{
    char text[KV_ID_TEXT + 1];
    kv_id_format(id, text);
    if (err == KV_E_BAD_PARAMETER)
        snprintf(b->why, KV_BODY_WHY,
                 "watch: at most %d jobs a client; %s and those behind it are not watched",
                 KV_WATCH_CLIENT_MAX, text);
    else
        snprintf(b->why, KV_BODY_WHY, "watch: %s and those behind it are not watched. %s", text,
                 kv_err_info_of(err)->en);
}

static kv_err take_ids(kv_body *b, const json_t *v, bool on)
{
    kv_watch_say *say = b->out;
    if (!json_is_array(v))
        return KV_E_BAD_PARAMETER;
    for (size_t i = 0; i < json_array_size(v); i++) {
        uint64_t id;
        if (!kv_body_id(json_array_get(v, i), &id))
            return KV_E_BAD_ID;
        kv_err err = say->watch(say->arg, id, on);
        if (err != KV_OK) {
            say_unwatched(b, id, err);
            return err;
        }
    }
    return KV_OK;
}

static kv_err take_watch(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return take_ids(b, v, true);
}

static kv_err take_unwatch(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    return take_ids(b, v, false);
}

static kv_err take_queues(kv_body *b, const char *name, const json_t *v)
{
    (void)name;
    ((kv_watch_say *)b->out)->queues = json_is_true(v);
    return kv_body_judged(json_is_boolean(v));
}

static const kv_member watch_members[] = {
    {"unwatch", take_unwatch, "an array of job ids"},
    {"watch", take_watch, "an array of job ids"},
    {"queues", take_queues, "true or false"},
};

kv_err kv_watch_body_read(kv_slice text, kv_watch_say *say, char why[KV_BODY_WHY])
{
    json_t *tree;
    say->queues = -1;
    kv_body b = {text, say, why};
    kv_err err = kv_body_load(text, &tree, why);
    if (err == KV_OK)
        err = kv_body_read(tree, watch_members, sizeof(watch_members) / sizeof(*watch_members), &b);
    json_decref(tree);
    return err;
}
