/* What of the event log becomes a notification. S3-27 S3-57 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "actors/notifier.h"
#include "proto/base/buf.h"

typedef struct got {
    int n;
    uint64_t event[8];
    char user[8][65], kind[8][33], json[8][4200];
} got;

static void take(void *arg, const kv_notice *n)
{
    got *g = arg;
    assert_true(g->n < 8);
    g->event[g->n] = n->event;
    snprintf(g->user[g->n], 65, "%.*s", KV_SLICE_FMT(n->user));
    snprintf(g->kind[g->n], 33, "%.*s", KV_SLICE_FMT(n->kind));
    snprintf(g->json[g->n], sizeof g->json[0], "%.*s", KV_SLICE_FMT(n->json));
    assert_true(n->json.len <= 4096);
    g->n++;
}

static kv_err run(const char *events, uint64_t after, got *g)
{
    *g = (got){0};
    return kv_notices_of(kv_slice_str(events), after, take, g);
}

static void test_ends_with_a_user_are_told(void **state)
{
    got g;
    (void)state;
    assert_int_equal(
        run("[{\"id\":7,\"type\":\"job.complete\",\"at\":\"x\",\"jobId\":\"A\",\"service\":\"ai\","
            "\"status\":\"complete\",\"attempt\":1,\"user\":\"ayse\"},"
            "{\"id\":8,\"type\":\"job.error\",\"at\":\"x\",\"jobId\":\"B\",\"service\":\"ai\","
            "\"status\":\"error\",\"attempt\":1,\"user\":\"bora\",\"error\":\"stuck\","
            "\"error_detail\":\"İşlem zaman aşımına uğradı (Stuck Job Guard).\"}]",
            0, &g),
        KV_OK);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.event[0], 7);
    assert_string_equal(g.user[0], "ayse");
    assert_string_equal(g.kind[0], "job.complete");
    assert_string_equal(
        g.json[0], "{\"jobId\":\"A\",\"service\":\"ai\",\"status\":\"complete\",\"attempt\":1}");
    assert_string_equal(g.kind[1], "job.error");
    assert_non_null(strstr(g.json[1], "Stuck Job Guard"));
}

static void test_others_are_not(void **state)
{
    got g;
    (void)state;
    /* no user; not an end; a notification itself; handled before */
    assert_int_equal(
        run("[{\"id\":7,\"type\":\"job.complete\",\"jobId\":\"A\"},"
            "{\"id\":8,\"type\":\"job.processing\",\"jobId\":\"A\",\"user\":\"ayse\"},"
            "{\"id\":9,\"type\":\"notification.created\",\"user\":\"ayse\",\"notification\":{}}]",
            0, &g),
        KV_OK);
    assert_int_equal(g.n, 0);
    assert_int_equal(run("[{\"id\":7,\"type\":\"job.complete\",\"jobId\":\"A\",\"user\":\"ayse\"},"
                         "{\"id\":8,\"type\":\"job.complete\",\"jobId\":\"B\",\"user\":\"ayse\"}]",
                         7, &g),
                     KV_OK);
    assert_int_equal(g.n, 1);
    assert_int_equal(g.event[0], 8);
}

/* NUL is a character of JSON; and escaped, a detail that was taken may be longer than a notice. */
static void test_control_characters(void **state)
{
    static const char head[] =
        "[{\"id\":8,\"type\":\"job.error\",\"jobId\":\"B\",\"user\":\"bora\","
        "\"metadata\":\"x\\u0000y\",\"error\":\"broke\",\"error_detail\":\"";
    got *g = calloc(1, sizeof *g);
    kv_buf text;
    (void)state;
    assert_non_null(g);
    kv_buf_init(&text, 0);
    kv_buf_adds(&text, head);
    kv_buf_adds(&text, "x\\u0000y\"}]");
    assert_int_equal(run(text.data, 0, g), KV_OK);
    assert_int_equal(g->n, 1);
    assert_non_null(strstr(g->json[0], "x\\u0000y"));
    kv_buf_clear(&text);
    kv_buf_adds(&text, head);
    for (int i = 0; i < 340; i++)
        kv_buf_adds(&text, "\\u0001ş");
    kv_buf_adds(&text, "\"}]");
    assert_int_equal(run(text.data, 0, g), KV_OK);
    assert_non_null(strstr(g->json[0], "\\u0001ş\""));
    kv_buf_clear(&text);
    kv_buf_adds(&text, head);
    for (int i = 0; i < 1024; i++)
        kv_buf_adds(&text, "\\u0001");
    kv_buf_adds(&text, "\"}]");
    assert_int_equal(run(text.data, 0, g), KV_OK);
    assert_int_equal(g->n, 1);
    assert_non_null(strstr(g->json[0], "\\u0001\""));
    kv_buf_release(&text);
    free(g);
}

static void test_broken_log(void **state)
{
    got g;
    (void)state;
    assert_int_equal(run("[{\"user\":\"x\"", 0, &g), KV_E_BAD_MESSAGE);
    assert_int_equal(run("{\"user\":\"x\"}", 0, &g), KV_E_BAD_MESSAGE);
    assert_int_equal(run("[]", 0, &g), KV_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_with_a_user_are_told),
        cmocka_unit_test(test_others_are_not),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_broken_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
