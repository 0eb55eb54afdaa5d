/* What clients send about jobs, strictly read; ids from keys; positions put into jobs. S4-63,
 * S4-97, S4-125 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "gateway/guard.h"
#include "gateway/job_body.h"
#include "gateway/job_key.h"
#include "gateway/position.h"
#include "proto/base/id.h"

#define S(text) kv_slice_str(text)

static void refused(const char *text, kv_err want, const char *part)
{
    char why[KV_BODY_WHY] = "";
    kv_job_body b;
    kv_err err = kv_job_body_read(S(text), &b, why);
    if (err != want || strstr(why, part) == NULL)
        fail_msg("%s: %d \"%s\"", text, err, why);
    kv_job_body_release(&b);
}

static void test_everything(void **state)
{
    (void)state;
    char why[KV_BODY_WHY];
    kv_job_body b;
    kv_slice text =
        S("{\"service\":\"ai-2\",\"lane\":\"urgent\",\"params\":{\"a\": [1, 2.50]},\"delay\":1.5,"
          "\"unique_key\":\"k\",\"max_attempts\":7,\"backoff\":2,\"backoff_max\":60,"
          "\"deadline\":\"2026-11-21T13:00:00.250+03:00\",\"tags\":[\"a\",\"b:c\"],"
          "\"retention\":3600,\"tenant\":\"t\",\"user\":\"u\",\"credits\":5,\"operation\":\"op\","
          "\"metadata\":{\"x\":null},\"jobId\":\"0123456789abc\",\"retry_of\":null}");
    assert_int_equal(kv_job_body_read(text, &b, why), KV_OK);
    const kv_submit *s = &b.submit;
    assert_true(kv_slice_is(s->service, "ai-2"));
    assert_int_equal(s->lane, 0);
    assert_true(kv_slice_is(s->params, "{\"a\": [1, 2.50]}")); /* as it was sent: S4-112 */
    assert_int_equal(s->delay_ms, 1500);
    assert_true(kv_slice_is(s->unique_key, "k"));
    assert_int_equal(s->max_attempts, 7);
    assert_int_equal(s->backoff_ms, 2000);
    assert_int_equal(s->backoff_max_ms, 60000);
    assert_int_equal(s->deadline_ms, 1795255200250);
    assert_true(kv_slice_is(s->tags, "a,b:c"));
    assert_int_equal(s->retention_s, 3600);
    assert_true(kv_slice_is(s->tenant, "t") && kv_slice_is(s->user, "u"));
    assert_int_equal(s->credits, 5);
    assert_true(kv_slice_is(s->operation, "op"));
    assert_true(kv_slice_is(s->metadata, "{\"x\":null}"));
    uint64_t id;
    assert_true(kv_id_parse("0123456789abc", 13, &id));
    assert_int_equal(s->job, id);
    assert_int_equal(s->retry_of, 0);
    kv_job_body_release(&b);
}

static void test_params_limit(void **state)
{
    (void)state;
    static char text[KV_JSON_MAX + 100];
    char why[KV_BODY_WHY] = "";
    for (int over = 0; over < 2; over++) {
        kv_job_body b;
        int n = KV_JSON_MAX - 2 + over;
        snprintf(text, sizeof(text), "{\"service\":\"a\",\"params\":\"%0*d\"}", n, 0);
        kv_err err = kv_job_body_read(S(text), &b, why);
        assert_int_equal(err, over ? KV_E_BODY_TOO_LARGE : KV_OK);
        if (!over)
            assert_int_equal(b.submit.params.len, KV_JSON_MAX);
        kv_job_body_release(&b);
    }
    assert_non_null(strstr(why, "params: at most 65536 bytes"));
}

static void test_defaults(void **state)
{
    (void)state;
    char why[KV_BODY_WHY];
    kv_job_body b;
    assert_int_equal(kv_job_body_read(S("{\"service\":\"a\"}"), &b, why), KV_OK);
    assert_int_equal(b.submit.lane, 1);
    assert_int_equal(b.submit.max_attempts, 0); /* JOB_MAX_ATTEMPTS */
    assert_true(kv_slice_is(b.submit.params, "{}"));
    assert_int_equal(b.submit.job, 0);
    kv_job_body_release(&b);
    /* numbers larger than any machine word stay in params as they were sent */
    assert_int_equal(
        kv_job_body_read(S("{\"service\":\"a\",\"params\":123456789012345678901234}"), &b, why),
        KV_OK);
    assert_true(kv_slice_is(b.submit.params, "123456789012345678901234"));
    kv_job_body_release(&b);
}

/* Names of other houses: a wrong guess is worse than none. */
static void test_no_guess(void **state)
{
    (void)state;
    static const char *const names[] = {"priority", "opts", "repeat", "name", "queue"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char text[64], why[KV_BODY_WHY] = "";
        kv_job_body b;
        snprintf(text, sizeof(text), "{\"service\":\"a\",\"%s\":1}", names[i]);
        assert_int_equal(kv_job_body_read(S(text), &b, why), KV_E_BAD_PARAMETER);
        assert_non_null(strstr(why, "is not known"));
        assert_null(strstr(why, "Did you mean"));
        kv_job_body_release(&b);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    refused("", KV_E_BAD_REQUEST, "empty");
    refused("[]", KV_E_BAD_REQUEST, "object");
    refused("{", KV_E_BAD_REQUEST, "not JSON");
    refused("{\"service\":\"a\",\"service\":\"b\"}", KV_E_BAD_REQUEST, "duplicate");
    refused("{}", KV_E_BAD_PARAMETER, "service");
    refused("{\"service\":\"A\"}", KV_E_BAD_PARAMETER, "service");
    refused("{\"service\":\"a\",\"prams\":{}}", KV_E_BAD_PARAMETER, "Did you mean params?");
    refused("{\"service\":\"a\",\"max_attemps\":3}", KV_E_BAD_PARAMETER,
            "Did you mean max_attempts?");
    refused("{\"service\":\"a\",\"attempts\":3}", KV_E_BAD_PARAMETER, "Did you mean max_attempts?");
    refused("{\"service\":\"a\",\"delay_ms\":3}", KV_E_BAD_PARAMETER, "Did you mean delay?");
    refused("{\"service\":\"a\",\"zzzzzzzzzzzzzzzz\":3}", KV_E_BAD_PARAMETER, "is not known");
    refused("{\"service\":\"a\",\"lane\":\"fast\"}", KV_E_BAD_PARAMETER, "urgent");
    refused("{\"service\":\"a\",\"delay\":-1}", KV_E_BAD_PARAMETER, "delay");
    refused("{\"service\":\"a\",\"delay\":\"5\"}", KV_E_BAD_PARAMETER, "delay");
    refused("{\"service\":\"a\",\"max_attempts\":2.5}", KV_E_BAD_PARAMETER, "max_attempts");
    refused("{\"service\":\"a\",\"credits\":5}", KV_E_BAD_PARAMETER, "user");
    refused("{\"service\":\"a\",\"backoff\":5,\"backoff_max\":1}", KV_E_BAD_PARAMETER, "backoff");
    refused("{\"service\":\"a\",\"metadata\":[]}", KV_E_BAD_PARAMETER, "metadata");
    refused("{\"service\":\"a\",\"deadline\":\"tomorrow\"}", KV_E_BAD_PARAMETER, "deadline");
    refused("{\"service\":\"a\",\"user\":\"a\\u0000b\"}", KV_E_BAD_PARAMETER, "user");
    refused("{\"service\":\"a\",\"jobId\":\"x\"}", KV_E_BAD_ID, "jobId");
    refused("{\"service\":\"a\",\"para\\u006ds\":1}", KV_E_BAD_PARAMETER, "escapes");
}

static kv_err read_params(const char *params)
{
    char text[400], why[KV_BODY_WHY];
    kv_job_body b;
    snprintf(text, sizeof text, "{\"service\":\"a\",\"params\":%s}", params);
    kv_err err = kv_job_body_read(S(text), &b, why);
    kv_job_body_release(&b);
    return err;
}

/* As deep as promised and no deeper; brackets side by side or in strings make nothing deep. */
static void test_depth(void **state)
{
    enum { INSIDE = KV_BODY_DEPTH - 1 }; /* the body is one */
    char deep[200], flat[400] = "[";
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        size_t n = INSIDE + over;
        memset(deep, '[', n);
        memset(deep + n, ']', n);
        deep[2 * n] = '\0';
        assert_int_equal(read_params(deep), over ? KV_E_BAD_REQUEST : KV_OK);
    }
    for (int i = 0; i < 50; i++)
        strcat(flat, i % 2 ? ",[]" : i ? ",{}" : "{}");
    assert_int_equal(read_params(strcat(flat, "]")), KV_OK);
    memset(deep, '[', 100);
    deep[0] = deep[99] = '"';
    deep[1] = '\\', deep[2] = '"';
    deep[100] = '\0';
    assert_int_equal(read_params(deep), KV_OK);
}

static void test_times(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms; /* 0: refused */
    } times[] = {
        {"2026-11-21T13:00:00Z", 1795266000000},
        {"2026-11-21t13:00:00z", 1795266000000},
        {"2026-11-21T13:00:00+03:00", 1795255200000},
        {"2026-11-21T13:00:00-03:30", 1795278600000},
        {"2026-11-21T13:00:00.5-23:59", 1795352340500},
        {"2026-11-21T23:59:59.123456789Z", 1795305599123},
        {"2028-02-29T00:00:00Z", 1835395200000},
        {"2026-02-29T00:00:00Z", 0},
        {"2026-11-31T00:00:00Z", 0},
        {"2026-13-01T00:00:00Z", 0},
        {"2026-00-01T00:00:00Z", 0},
        {"2026-11-21T24:00:00Z", 0},
        {"2026-11-21T13:60:00Z", 0},
        {"2026-11-21T13:00:60Z", 0},
        {"2026-11-21 13:00:00Z", 0},
        {"2026-11-21T13:00:00", 0}, /* of which zone? */
        {"2026-11-21T13:00:00 03:00", 0},
        {"2026-11-21T13:00:00+0300", 0},
        {"2026-11-21T13:00:00+24:00", 0},
        {"2026-11-21T13:00:00+03:60", 0},
        {"2026-11-21T13:00:00+3:00", 0},
        {"2026-11-21T13:00:00ZZ", 0},
        {"1969-12-31T23:59:59Z", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char text[100], why[KV_BODY_WHY];
        kv_job_body b;
        snprintf(text, sizeof text, "{\"service\":\"a\",\"deadline\":\"%s\"}", times[i].text);
        if (kv_job_body_read(S(text), &b, why) != (times[i].ms ? KV_OK : KV_E_BAD_PARAMETER) ||
            (times[i].ms && b.submit.deadline_ms != times[i].ms))
            fail_msg("%s: %llu", times[i].text, (unsigned long long)b.submit.deadline_ms);
        kv_job_body_release(&b);
    }
}

static void test_tags(void **state)
{
    static const char *const bad[] = {"\"\"",  "\"a b\"", "\"a,b\"",    "\"a/b\"", "\"[\"", "\"@\"",
                                      "\"`\"", "\"{\"",   "\"\u00e7\"", "1",       "null"};
    char why[KV_BODY_WHY];
    kv_job_body b;
    (void)state;
    assert_int_equal(
        kv_job_body_read(S("{\"service\":\"a\",\"tags\":[\"aZ09_.:-\",\"zA\"]}"), &b, why), KV_OK);
    assert_true(kv_slice_is(b.submit.tags, "aZ09_.:-,zA"));
    kv_job_body_release(&b);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"service\":\"a\",\"tags\":[%s]}", bad[i]);
        refused(text, KV_E_BAD_PARAMETER, "tags");
    }
}

static kv_err read_setting(const char *name, uint64_t v)
{
    char why[KV_BODY_WHY], text[96];
    json_t *tree = NULL;
    kv_queue_set q;
    snprintf(text, sizeof(text), "{%s\"%s\":%llu}",
             strcmp(name, "weight") == 0 ? "\"tenant\":\"t\"," : "", name, (unsigned long long)v);
    kv_err err = kv_queue_body_read(S(text), &q, &tree, why);
    json_decref(tree);
    return err;
}

static void test_queue_body(void **state)
{
    (void)state;
    char why[KV_BODY_WHY];
    json_t *tree = NULL;
    kv_queue_set q;
    assert_int_equal(
        kv_queue_body_read(S("{\"concurrency\":4,\"overflow\":\"evict\",\"paused\":false}"), &q,
                           &tree, why),
        KV_OK);
    assert_int_equal(q.concurrency, 4);
    assert_int_equal(q.overflow, 1);
    assert_int_equal(q.paused, 0);
    assert_int_equal(q.draining, -1);
    assert_int_equal(q.weight, -1);
    json_decref(tree);
    static const char *const bad[] = {"{}",
                                      "{\"weight\":3}",
                                      "{\"tenant\":\"a\",\"paused\":true}",
                                      "{\"overflow\":\"drop\"}",
                                      "{\"concurrency\":-1}",
                                      "{\"paused\":1}",
                                      "{\"weight\":0,\"tenant\":\"a\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        tree = NULL;
        assert_int_equal(kv_queue_body_read(S(bad[i]), &q, &tree, why), KV_E_BAD_PARAMETER);
        assert_true(why[0] != '\0');
        json_decref(tree);
    }
}

/* Each setting takes what the broker takes, and no more. */
static void test_queue_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t low, high;
    } bounds[] = {{"concurrency", 0, UINT32_MAX},
                  {"rate_per_minute", 0, UINT32_MAX},
                  {"max_waiting", 0, 1000000000},
                  {"weight", 1, 100}};
    for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
        uint64_t low = bounds[i].low, high = bounds[i].high;
        assert_int_equal(read_setting(bounds[i].name, low), KV_OK);
        assert_int_equal(read_setting(bounds[i].name, high), KV_OK);
        assert_int_equal(read_setting(bounds[i].name, high + 1), KV_E_BAD_PARAMETER);
    }
}

static uint64_t seen_ids[8];
static size_t seen_n;

static kv_err see(void *arg, uint64_t job, bool on)
{
    (void)arg;
    seen_ids[seen_n++] = on ? job : job | (uint64_t)1 << 63;
    return seen_n < 4 ? KV_OK : KV_E_BUSY;
}

static void test_watch_body(void **state)
{
    (void)state;
    char why[KV_BODY_WHY];
    kv_watch_say say = {.watch = see};
    seen_n = 0;
    assert_int_equal(kv_watch_body_read(S("{\"watch\":[\"0000000000001\",\"0000000000002\"],"
                                          "\"unwatch\":[\"0000000000003\"],\"queues\":true}"),
                                        &say, why),
                     KV_OK);
    assert_int_equal(seen_n, 3);
    assert_int_equal(say.queues, 1);
    assert_int_equal(kv_watch_body_read(S("{\"watch\":[\"0000000000001\"]}"), &say, why),
                     KV_E_BUSY); /* passed on */
    assert_non_null(strstr(why, "watch: 0000000000001 and those behind it are not watched"));
    assert_int_equal(kv_watch_body_read(S("{\"watch\":[7]}"), &say, why), KV_E_BAD_ID);
    assert_int_equal(kv_watch_body_read(S("{\"wach\":[]}"), &say, why), KV_E_BAD_PARAMETER);
    assert_non_null(strstr(why, "watch"));
    assert_int_equal(kv_watch_body_read(S("hello"), &say, why), KV_E_BAD_REQUEST);
}

static void test_keys(void **state)
{
    (void)state;
    int64_t noon = KV_ID_EPOCH_MS + 700 * (int64_t)KV_JOB_KEY_MS + KV_JOB_KEY_MS / 2;
    uint64_t a = kv_job_key_id("submit:ai", S("k1"), noon);
    assert_int_equal(a, kv_job_key_id("submit:ai", S("k1"), noon + 3600000));
    assert_int_not_equal(a, kv_job_key_id("submit:ai", S("k2"), noon));
    assert_int_not_equal(a, kv_job_key_id("submit:aj", S("k1"), noon));
    uint64_t next = kv_job_key_id("submit:ai", S("k1"), noon + KV_JOB_KEY_MS);
    assert_true(next > a);
    /* inside its day, so lists stay in the order of days */
    uint64_t day = kv_id_first_at(KV_ID_EPOCH_MS + 700 * (int64_t)KV_JOB_KEY_MS);
    assert_true(a >= day && a < day + ((uint64_t)KV_JOB_KEY_MS << 22));
    char text[KV_JOB_KEY_TEXT];
    kv_job_key_text("submit:ai", S("k1"), text);
    assert_int_equal(strlen(text), strlen("idempotency:") + 32);
}

static void into(const char *job, const kv_rank *rank, const char *want)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_position_into(&out, S(job), rank);
    assert_string_equal(kv_buf_str(&out), want);
    kv_buf_release(&out);
}

static void test_positions(void **state)
{
    (void)state;
    /* S3-14: as the broker says; Y07: 0 while processing, null when terminal */
    kv_rank ranks[3];
    kv_slice all = S("[{\"jobId\":\"0000000000001\",\"status\":\"queued\",\"queue_position\":3,"
                     "\"lane_position\":1,\"eta_seconds\":[1,4]},"
                     "{\"jobId\":\"0000000000002\",\"status\":null,\"queue_position\":null,"
                     "\"lane_position\":null,\"eta_seconds\":null},{\"bad\":1}]");
    assert_int_equal(kv_positions_of(all, ranks, 3), 2);
    into(
        "{\"jobId\":\"0000000000001\",\"status\":\"queued\"}", &ranks[0],
        "{\"jobId\":\"0000000000001\",\"status\":\"queued\",\"queue_position\":3,\"lane_position\":"
        "1,\"eta_seconds\":[1,4]}");
    into("{\"status\":\"queued\"}", NULL,
         "{\"status\":\"queued\",\"queue_position\":null,\"lane_position\":null,\"eta_seconds\":"
         "null}");
    into("{\"status\":\"processing\"}", NULL,
         "{\"status\":\"processing\",\"queue_position\":0,\"lane_position\":0,\"eta_seconds\":"
         "null}");
    into("{\"status\":\"complete\"}", &ranks[0],
         "{\"status\":\"complete\",\"queue_position\":null,\"lane_position\":null,\"eta_seconds\":"
         "null}");
    kv_submit_ok ok = {.job = 1,
                       .status = S("queued"),
                       .created = true,
                       .queue_position = 2,
                       .lane_position = -1,
                       .eta_low_ms = 1900,
                       .eta_high_ms = 2100};
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_submitted_json(&out, &ok);
    assert_string_equal(kv_buf_str(&out),
                        "{\"jobId\":\"0000000000001\",\"status\":\"queued\",\"queue_position\":2,"
                        "\"lane_position\":null,\"eta_seconds\":[1,3],\"created\":true}");
    kv_buf_release(&out);
}

/* S4-97, S4-125 */
static bool admitted(const char *address, bool forwarded, const char *host)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return kv_admin_allowed((struct sockaddr *)&v4, forwarded, S(host));
    assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
    return kv_admin_allowed((struct sockaddr *)&v6, forwarded, S(host));
}

static void test_admin(void **state)
{
    (void)state;
    assert_true(admitted("127.0.0.1", false, "localhost:8080"));
    assert_true(admitted("127.9.9.9", false, "127.0.0.1:8080"));
    assert_true(admitted("::1", false, "[::1]:8080"));
    assert_true(admitted("::ffff:127.0.0.1", false, "LOCALHOST"));
    assert_false(admitted("127.0.0.1", false, "media.example.org")); /* a proxy without marks */
    assert_false(admitted("127.0.0.1", true, "localhost"));          /* a proxy */
    assert_false(admitted("127.0.0.1", false, "evil.example.org"));  /* DNS rebinding */
    assert_false(admitted("127.0.0.1", false, "127.0.0.1.evil.org"));
    assert_false(admitted("10.0.0.1", false, "localhost"));
    assert_false(admitted("::ffff:10.0.0.1", false, "localhost"));
    assert_false(admitted("fe80::1", false, "localhost"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything), cmocka_unit_test(test_params_limit),
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_no_guess),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_times),      cmocka_unit_test(test_tags),
        cmocka_unit_test(test_queue_body), cmocka_unit_test(test_queue_bounds),
        cmocka_unit_test(test_watch_body), cmocka_unit_test(test_keys),
        cmocka_unit_test(test_positions),  cmocka_unit_test(test_admin)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
