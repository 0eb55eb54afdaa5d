/* What of the event log becomes a notification. S3-27 S3-57 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "actors/notifier.h"

typedef struct got {
    int n;
    uint64_t event[8];
    char user[8][65], kind[8][33], json[8][512];
} got;

static void take(void *arg, const kv_notice *n)
{
    got *g = arg;
    assert_true(g->n < 8);
    g->event[g->n] = n->event;
    snprintf(g->user[g->n], 65, "%.*s", KV_SLICE_FMT(n->user));
    snprintf(g->kind[g->n], 33, "%.*s", KV_SLICE_FMT(n->kind));
    snprintf(g->json[g->n], 512, "%.*s", KV_SLICE_FMT(n->json));
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
        cmocka_unit_test(test_broken_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
