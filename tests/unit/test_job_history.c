/* The history of a job in its short form, written and read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "storage/read/job_history.h"
#include "proto/base/words.h"

static void add(kv_buf *b, int state, int64_t at, uint64_t attempt, const char *worker,
                const char *reason)
{
    kv_job_step step = {.state = state,
                        .at = at,
                        .attempt = attempt,
                        .worker = kv_slice_str(worker),
                        .reason = kv_slice_str(reason)};
    kv_job_history_add(b, &step);
}

static void check(kv_slice history, const char *expect)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_job_history_read(history, 1790000000000, &out);
    assert_string_equal(out.data, expect);
    kv_buf_release(&out);
}

#define QUEUED "[{\"status\":\"queued\",\"at\":\"2026-09-21T14:13:20.000Z\",\"attempt\":0}"

static void test_round_trip(void **state)
{
    kv_buf b;
    (void)state;
    kv_buf_init(&b, 0);
    check(kv_buf_slice(&b), QUEUED "]");
    add(&b, KV_JOB_PROCESSING, 1790000000001, 1, "w \"1\"", "");
    add(&b, KV_JOB_QUEUED, 1790000000002, 1, "",
        "a\x1f"
        "b\x1e"
        "c\n");
    add(&b, KV_JOB_PROCESSING, 1790000000003, 2, "w2", "again");
    add(&b, KV_JOB_CANCELLED, 1000, 2, NULL, NULL); /* a clock that went back far */
    check(kv_buf_slice(&b),
          QUEUED ",{\"status\":\"processing\",\"at\":\"2026-09-21T14:13:20.001Z\",\"attempt\":1,"
                 "\"worker\":\"w \\\"1\\\"\"}"
                 ",{\"status\":\"queued\",\"at\":\"2026-09-21T14:13:20.002Z\",\"attempt\":1,"
                 "\"reason\":\"a b c \"}"
                 ",{\"status\":\"processing\",\"at\":\"2026-09-21T14:13:20.003Z\",\"attempt\":2,"
                 "\"worker\":\"w2\",\"reason\":\"again\"}"
                 ",{\"status\":\"cancelled\",\"at\":\"1970-01-01T00:00:01.000Z\",\"attempt\":2}]");
    kv_buf_release(&b);
}

/* What is not of this form is left out, not shown as something else. */
static void test_damaged(void **state)
{
    (void)state;
    check(kv_slice_str("{\"status\":\"queued\"}"), QUEUED "]");
    check(kv_slice_str("\x1e\x1e"
                       "1\x1e"
                       "1 5\x1e"
                       "x 5 1\x1e"),
          QUEUED "]");
}

/* What the worker said of an attempt, with and without the fields before it. */
static void test_failures(void **state)
{
    kv_buf b;
    (void)state;
    kv_buf_init(&b, 0);
    kv_job_step step = {.state = KV_JOB_QUEUED,
                        .at = 1790000000001,
                        .attempt = 1,
                        .reason = kv_slice_str("again"),
                        .error = kv_slice_str("io"),
                        .detail = kv_slice_str("disk \"7\"\n")};
    kv_job_history_add(&b, &step);
    step = (kv_job_step){.state = KV_JOB_ERROR,
                         .at = 1790000000002,
                         .attempt = 2,
                         .error = kv_slice_str("internal")};
    kv_job_history_add(&b, &step);
    check(kv_buf_slice(&b),
          QUEUED ",{\"status\":\"queued\",\"at\":\"2026-09-21T14:13:20.001Z\",\"attempt\":1,"
                 "\"reason\":\"again\",\"error\":\"io\",\"error_detail\":\"disk \\\"7\\\" \"}"
                 ",{\"status\":\"error\",\"at\":\"2026-09-21T14:13:20.002Z\",\"attempt\":2,"
                 "\"error\":\"internal\"}]");
    kv_buf_release(&b);
}

/* ---- long ones ---- */

static void add_turns(kv_buf *b, uint64_t from, uint64_t n, const char *why)
{
    for (uint64_t i = from; i < from + n; i++) {
        add(b, KV_JOB_PROCESSING, 1790000000000 + (int64_t)i, i, "w1", "");
        add(b, KV_JOB_QUEUED, 1790000000000 + (int64_t)i, i, "", why);
    }
}

static json_t *steps_of(kv_slice history, uint64_t *ret_left_out)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_job_history_read(history, 1790000000000, &out);
    json_t *steps = json_loads(kv_buf_str(&out), 0, NULL);
    assert_non_null(steps);
    *ret_left_out = 0;
    int marks = 0;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *n = json_object_get(json_array_get(steps, i), "left_out");
        marks += n != NULL;
        *ret_left_out += (uint64_t)json_integer_value(n);
    }
    assert_true(marks <= 1);
    kv_buf_release(&out);
    return steps;
}

static const char *text_of(const json_t *steps, size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(steps, i), key));
}

/* Cut again and again while it grows: the first and the newest stay, and none is lost count of. */
static void test_cut(void **state)
{
    kv_buf b, shorter;
    uint64_t turns = 0, left_out;
    (void)state;
    kv_buf_init(&b, 0);
    kv_buf_init(&shorter, 0);
    for (int round = 0; round < 200; round++) {
        add_turns(&b, turns + 1, 9, round % 3 ? "worker left" : "");
        turns += 9;
        if (b.len <= KV_HISTORY_LONG)
            continue;
        kv_job_history_cut(kv_buf_slice(&b), &shorter);
        assert_true(shorter.len <= KV_HISTORY_LONG / 2);
        kv_buf_clear(&b);
        kv_buf_add(&b, shorter.data, shorter.len);
        kv_buf_clear(&shorter);
        json_t *steps = steps_of(kv_buf_slice(&b), &left_out);
        assert_true(left_out > 0);
        assert_int_equal(json_array_size(steps) - 2 + left_out, turns * 2);
        assert_string_equal(text_of(steps, 1, "worker"), "w1");
        char reason[64];
        snprintf(reason, sizeof reason, "%d steps left out", (int)left_out);
        assert_string_equal(text_of(steps, 7, "reason"), reason);
        assert_true(strcmp(text_of(steps, 7, "at"), text_of(steps, 6, "at")) > 0);
        assert_true(strcmp(text_of(steps, 7, "at"), text_of(steps, 8, "at")) <= 0);
        json_t *last = json_array_get(steps, json_array_size(steps) - 1);
        assert_int_equal(json_integer_value(json_object_get(last, "attempt")), turns);
        json_decref(steps);
    }
    kv_job_history_cut(kv_slice_str("1 5 1\x1e"), &shorter); /* nothing to leave out */
    assert_string_equal(shorter.data, "1 5 1\x1e");
    kv_buf_release(&shorter);
    kv_buf_release(&b);
}

/* Rows from before histories were bounded, and the largest steps there are. */
static void test_read_is_bounded(void **state)
{
    kv_buf b, out;
    uint64_t left_out;
    char worker[65], detail[257];
    (void)state;
    kv_buf_init(&b, 0);
    kv_buf_init(&out, 0);
    add_turns(&b, 1, 5000, "worker left");
    assert_true(b.len > 200000);
    json_t *steps = steps_of(kv_buf_slice(&b), &left_out);
    assert_int_equal(json_array_size(steps) - 2 + left_out, 10000);
    json_decref(steps);
    kv_buf_clear(&b);
    memset(worker, '"', 64);
    memset(detail, '"', 256);
    worker[64] = detail[256] = '\0';
    for (uint64_t i = 1; b.len < KV_HISTORY_MAX - 400; i++) {
        kv_job_step step = {.state = KV_JOB_PROCESSING,
                            .at = 1790000000000,
                            .attempt = i,
                            .worker = kv_slice_str(worker)};
        kv_job_history_add(&b, &step);
        step.error = kv_slice_str("internal");
        step.detail = kv_slice_str(detail);
        kv_job_history_add(&b, &step);
    }
    kv_job_history_read(kv_buf_slice(&b), 1790000000000, &out);
    assert_true(out.len < 54000); /* test_ledger_jobs: what else is in a job */
    kv_buf_clear(&b);
    kv_buf_clear(&out);
    while (b.len < KV_HISTORY_MAX - 20)
        add(&b, KV_JOB_PROCESSING, 1790000000000, 1, "", "");
    kv_job_history_read(kv_buf_slice(&b), 1790000000000, &out);
    assert_true(out.len < 54000); /* test_ledger_jobs: what else is in a job */
    kv_buf_release(&out);
    kv_buf_release(&b);
}

/* Of a job in processing the newest step names who got it. */
static void test_holder(void **state)
{
    kv_buf b;
    (void)state;
    kv_buf_init(&b, 0);
    assert_int_equal(kv_job_history_holder(kv_buf_slice(&b)).len, 0);
    add(&b, KV_JOB_PROCESSING, 1790000000001, 1, "w1", "");
    assert_true(kv_slice_is(kv_job_history_holder(kv_buf_slice(&b)), "w1"));
    add(&b, KV_JOB_QUEUED, 1790000000002, 1, "", "worker left");
    assert_int_equal(kv_job_history_holder(kv_buf_slice(&b)).len, 0);
    add(&b, KV_JOB_PROCESSING, 1790000000003, 1, "w2", "");
    assert_true(kv_slice_is(kv_job_history_holder(kv_buf_slice(&b)), "w2"));
    add(&b, KV_JOB_PROCESSING, 1790000000004, 2, "", "");
    assert_int_equal(kv_job_history_holder(kv_buf_slice(&b)).len, 0);
    static const char *const damaged[] = {"x", "1", "1 ", "\x1e", "\x1e\x1e", "1 2 3\x1fw\x1e\x1e"};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++)
        assert_int_equal(kv_job_history_holder(kv_slice_str(damaged[i])).len, 0);
    kv_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_failures),        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_read_is_bounded), cmocka_unit_test(test_holder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
