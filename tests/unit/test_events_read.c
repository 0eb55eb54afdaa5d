/* The event log and jobs, read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "storage/read/event_text.h"
#include "storage/read/events.h"
#include "storage/read/jobs.h"
#include "tests/unit/memory_db.h"

typedef struct seen {
    kv_buf text;
    int stop_after;
} seen;

static bool note(void *arg, uint64_t first, uint64_t last, kv_slice json)
{
    seen *s = arg;
    kv_buf_addf(&s->text, "%u-%u%.*s ", (unsigned)first, (unsigned)last, KV_SLICE_FMT(json));
    return --s->stop_after != 0;
}

static bool note_text(void *arg, uint64_t first, uint64_t last, kv_slice json)
{
    kv_buf_add(arg, json.ptr, json.len);
    return first <= last;
}

static void check_after(kv_db *db, uint64_t after, int max, int stop_after, kv_err err,
                        const char *want)
{
    seen s = {.stop_after = stop_after};
    kv_buf_init(&s.text, 0);
    assert_int_equal(kv_events_after(db, after, max, note, &s), err);
    assert_string_equal(kv_buf_str(&s.text), want);
    kv_buf_release(&s.text);
}

static void events_after_an_id(void **state)
{
    kv_db *db = *state;
    uint64_t last = 9;
    OK(kv_events_last(db, &last));
    assert_int_equal(last, 0);
    check_after(db, 0, 10, 0, KV_OK, "");
    check_after(db, 5, 10, 0, KV_E_NOT_FOUND, ""); /* from another database */
    OK(kv_db_exec(db,
                  "INSERT INTO event VALUES (1, 3, 0, '[a]'), (4, 4, 0, '[b]'), (5, 9, 0, '[c]')"));
    OK(kv_events_last(db, &last));
    assert_int_equal(last, 9);
    check_after(db, 0, 10, 0, KV_OK, "1-3[a] 4-4[b] 5-9[c] ");
    check_after(db, 1, 10, 0, KV_OK, "1-3[a] 4-4[b] 5-9[c] "); /* inside a commit */
    check_after(db, 3, 10, 0, KV_OK, "4-4[b] 5-9[c] ");
    check_after(db, 4, 10, 0, KV_OK, "5-9[c] ");
    check_after(db, 9, 10, 0, KV_OK, "");
    check_after(db, 10, 10, 0, KV_E_NOT_FOUND, "");
    check_after(db, 0, 2, 0, KV_OK, "1-3[a] 4-4[b] ");
    check_after(db, 0, 10, 1, KV_OK, "1-3[a] ");
    check_after(db, 0, 0, 0, KV_OK, "");
}

/* The log says id and time once a commit. */
static void events_have_their_ids_and_times_again(void **state)
{
    kv_db *db = *state;
    OK(kv_db_exec(db,
                  "INSERT INTO event VALUES "
                  "(1, 1, 5, '[{\"id\":1,\"type\":\"of.before\",\"at\":null}]'),"
                  "(2, 4, 1790000000123, '[{\"type\":\"a\"},{\"type\":\"b\",\"l\":"
                  "[{\"type\":\"x\"},\"]},\\\"{\"]},{\"type\":\"c\",\"n\":{\"type\":\"y\"}}]')"));
    check_after(
        db, 0, 10, 0, KV_OK,
        "1-1[{\"id\":1,\"type\":\"of.before\",\"at\":null}] "
        "2-4[{\"id\":2,\"type\":\"a\",\"at\":\"2026-09-21T14:13:20.123Z\"},"
        "{\"id\":3,\"type\":\"b\",\"at\":\"2026-09-21T14:13:20.123Z\",\"l\":"
        "[{\"type\":\"x\"},\"]},\\\"{\"]},"
        "{\"id\":4,\"type\":\"c\",\"at\":\"2026-09-21T14:13:20.123Z\",\"n\":{\"type\":\"y\"}}] ");
}

/* A backup moves the rows, and with them the ids that rows of before say themselves. */
static void rows_of_before_that_were_moved(void **state)
{
    kv_db *db = *state;
    OK(kv_db_exec(
        db, "INSERT INTO event VALUES (1099511627777, 1099511627778, 5, '[{\"id\":1,\"type\":\"a\","
            "\"at\":null,\"media\":{\"id\":1,\"l\":[{\"id\":1},{\"id\":2}]}},"
            "{\"id\":2,\"type\":\"b\",\"at\":null}]')"));
    kv_buf text;
    kv_buf_init(&text, 0);
    OK(kv_events_after(db, 0, 1, note_text, &text));
    assert_string_equal(
        kv_buf_str(&text),
        "[{\"id\":1099511627777,\"type\":\"a\",\"at\":null,\"media\":{\"id\":1,\"l\":"
        "[{\"id\":1},{\"id\":2}]}},"
        "{\"id\":1099511627778,\"type\":\"b\",\"at\":null}]");
    kv_buf_release(&text);
}

/* Rows that nobody wrote like this: no read behind their end. */
static void torn_events_stay_torn(void **state)
{
    static const char whole[] = "[{\"type\":\"a\",\"s\":\"\\\"\"},{\"type\":\"b\"}]";
    kv_buf text;
    (void)state;
    kv_buf_init(&text, 0);
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        char *torn = malloc(len + 1);
        assert_non_null(torn);
        memcpy(torn, whole, len);
        kv_event_text(7, 1, kv_slice_of(torn, len), &text);
        assert_true(kv_buf_ok(&text) && (text.len == 0 || text.data[text.len - 1] != ']'));
        free(torn);
    }
    kv_buf_release(&text);
}

static void what_was_pruned_needs_a_resync(void **state)
{
    kv_db *db = *state;
    OK(kv_db_exec(db, "INSERT INTO event VALUES (5, 9, 0, '[c]')"));
    check_after(db, 0, 10, 0, KV_OK, "5-9[c] ");
    check_after(db, 4, 10, 0, KV_OK, "5-9[c] ");
    check_after(db, 3, 10, 0, KV_E_NOT_FOUND, "");
    check_after(db, 1, 10, 0, KV_E_NOT_FOUND, "");
}

/* ---- jobs ---- */

static void add_jobs(kv_db *db)
{
    OK(kv_db_exec(
        db, "INSERT INTO service VALUES (1, 'image-process'), (2, 'ai');"
            "INSERT INTO job (id, service, lane, state, seq, attempt, max_attempts, epoch, "
            "progress, not_before, created_at, "
            "updated_at, tenant, params, options, result, error, error_detail, history) VALUES "
            "(1, 1, 1, 0, 40, 0, 3, 0, 0, 7, 1700000000000, 1700000000000, 't', '{\"a\":1}', 0, "
            "NULL, NULL, NULL, ''),"
            "(2, 2, 0, 1, 10, 1, 3, 5, 50, 0, 1, 1, '', '{}', 0, NULL, NULL, NULL, ''),"
            "(3, 1, 2, 3, 20, 3, 3, 5, 0, 0, 1, 1700000001000, '', '{}', 1, '[1]', "
            "'stuck', 'why \"so\"', ''),"
            "(4, 1, 1, 0, 5, 0, 3, 0, 0, 0, 1, 1, '', '{}', 0, NULL, NULL, NULL, ''),"
            "(5, 1, 1, 1, 45, 2, 3, 5, 0, 0, 1, 1, '', '{}', 0, NULL, NULL, NULL, '');"
            "INSERT INTO job_option (job, metadata) VALUES (3, '{\"m\":2}')"));
}

static void a_job_as_json(void **state)
{
    kv_db *db = *state;
    kv_buf out;
    kv_buf_init(&out, 0);
    add_jobs(db);
    OK(kv_job_get_json(db, 1, &out));
    assert_string_equal(
        kv_buf_str(&out),
        "{\"jobId\":\"0000000000001\",\"service\":\"image-process\",\"lane\":\"normal\",\"status\":"
        "\"queued\",\"progress\":0,\"attempts\":0,\"max_attempts\":3,\"params\":{\"a\":1},"
        "\"metadata\":null,\"metadata_version\":0,\"result\":null,\"error\":null,"
        "\"error_detail\":null,\"tenant\":\"t\",\"user\":null,\"tags\":[],\"unique_key\":null,"
        "\"credits\":0,\"deadline\":null,\"not_before\":\"1970-01-01T00:00:00.007Z\","
        "\"retry_of\":null,\"retried_by\":null,\"created_at\":\"2023-11-14T22:13:20.000Z\","
        "\"updated_at\":\"2023-11-14T22:13:20.000Z\",\"history\":[{\"status\":\"queued\",\"at\":"
        "\"2023-11-14T22:13:20.000Z\",\"attempt\":0}]}");
    kv_buf_clear(&out);
    OK(kv_job_get_json(db, 3, &out));
    assert_non_null(strstr(kv_buf_str(&out), "\"lane\":\"background\",\"status\":\"error\""));
    assert_non_null(strstr(kv_buf_str(&out),
                           "\"metadata\":{\"m\":2},\"metadata_version\":0,\"result\":[1],\"error\":"
                           "\"stuck\",\"error_detail\":\"why \\\"so\\\"\""));
    assert_non_null(strstr(kv_buf_str(&out), "\"history\":[{\"status\":\"queued\""));
    assert_int_equal(kv_job_get_json(db, 99, &out), KV_E_NOT_FOUND);
    assert_string_equal(kv_job_state_name(KV_JOB_CANCELLED), "cancelled");
    kv_buf_release(&out);
}

static bool note_job(void *arg, const kv_job_row *r)
{
    seen *s = arg;
    kv_buf_addf(&s->text, "%u:%u/%d/%s/%u ", (unsigned)r->seq, (unsigned)r->id, r->state,
                r->service, (unsigned)r->attempt);
    return --s->stop_after != 0;
}

static void unfinished_jobs_in_order(void **state)
{
    kv_db *db = *state;
    seen s = {.stop_after = 0};
    kv_buf_init(&s.text, 0);
    OK(kv_jobs_unfinished(db, note_job, &s));
    assert_string_equal(kv_buf_str(&s.text), "");
    add_jobs(db);
    OK(kv_jobs_unfinished(db, note_job, &s));
    assert_string_equal(
        kv_buf_str(&s.text),
        "5:4/0/image-process/0 10:2/1/ai/1 40:1/0/image-process/0 45:5/1/image-process/2 ");
    kv_buf_clear(&s.text);
    s.stop_after = 2;
    OK(kv_jobs_unfinished(db, note_job, &s));
    assert_string_equal(kv_buf_str(&s.text), "5:4/0/image-process/0 10:2/1/ai/1 ");
    /* the same where some are in job_open */
    OK(kv_db_exec(db, "UPDATE counter SET value = 3 WHERE name = 'open_from';"
                      "INSERT INTO job_open VALUES (1, 40), (2, 10)"));
    kv_buf_clear(&s.text);
    s.stop_after = 0;
    OK(kv_jobs_unfinished(db, note_job, &s));
    assert_string_equal(
        kv_buf_str(&s.text),
        "5:4/0/image-process/0 10:2/1/ai/1 40:1/0/image-process/0 45:5/1/image-process/2 ");
    OK(kv_db_exec(db, "INSERT INTO job_open VALUES (0, 1)")); /* of no row */
    assert_int_equal(kv_jobs_unfinished(db, note_job, &s), KV_E_DB_DAMAGED);
    kv_buf_release(&s.text);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        T(events_after_an_id),
        T(events_have_their_ids_and_times_again),
        T(rows_of_before_that_were_moved),
        cmocka_unit_test(torn_events_stay_torn),
        T(what_was_pruned_needs_a_resync),
        T(a_job_as_json),
        T(unfinished_jobs_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
