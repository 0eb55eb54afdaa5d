/* The history of a job in its short form, written and read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/read/job_history.h"
#include "storage/read/jobs.h"

static void add(kv_buf *b, int state, int64_t at, uint64_t attempt, const char *worker,
                const char *reason)
{
    kv_job_step step = {state, at, attempt, kv_slice_str(worker), kv_slice_str(reason)};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
