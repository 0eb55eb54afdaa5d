/* What the log keeps of the events of a commit, and what a reader makes of it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "broker/keep.h"
#include "proto/base/id.h"

#define AT "\"2026-09-21T14:13:20.123Z\""
static const int64_t AT_MS = 1790000000123;

/* A row while it is made: as it is published, and as it is kept. */
typedef struct row {
    kv_buf published, kept;
    kv_keep keep;
    uint64_t next;
} row;

static void row_start(row *r)
{
    memset(r, 0, sizeof *r);
    kv_buf_init(&r->published, 0);
    kv_buf_init(&r->kept, 0);
    kv_buf_addc(&r->published, '[');
    kv_buf_addc(&r->kept, '[');
    r->next = 7;
}

static void add(row *r, bool of_job, const char *type, const char *said, const char *own)
{
    kv_buf rest;
    char member[64];
    kv_buf_init(&rest, 0);
    kv_buf_addf(&rest, "%s%s}", said, own);
    size_t type_len = (size_t)snprintf(member, sizeof member, "\"type\":\"%s\"", type);
    kv_buf_addf(&r->published, "%s{\"id\":%u,%s,\"at\":" AT "%s", r->next == 7 ? "" : ",",
                (unsigned)r->next, member, kv_buf_str(&rest));
    kv_keep_event(&r->keep, &r->kept, kv_slice_of(member, type_len), kv_buf_slice(&rest),
                  of_job ? strlen(said) : 0);
    kv_buf_release(&rest);
    r->next++;
}

static void add_job(row *r, const char *state, uint64_t job, unsigned attempt, const char *lane,
                    const char *own)
{
    char id[KV_ID_TEXT + 1], type[32];
    kv_buf said;
    kv_id_format(job, id);
    snprintf(type, sizeof type, "job.%s", state);
    kv_buf_init(&said, 0);
    kv_buf_addf(&said, ",\"jobId\":\"%s\",\"service\":\"ai\",\"status\":\"%s\",\"attempt\":%u", id,
                state, attempt);
    if (lane)
        kv_buf_addf(&said, ",\"lane\":\"%s\"", lane);
    add(r, true, type, kv_buf_str(&said), own);
    kv_buf_release(&said);
}

/* Returns what was kept; the row is over. */
static kv_buf row_end(row *r)
{
    kv_buf text;
    kv_buf_init(&text, 0);
    kv_buf_addc(&r->published, ']');
    kv_buf_addc(&r->kept, ']');
    kv_event_text(7, AT_MS, kv_buf_slice(&r->kept), &text);
    assert_string_equal(kv_buf_str(&text), kv_buf_str(&r->published));
    kv_buf_release(&text);
    kv_buf_release(&r->published);
    return r->kept;
}

static void check(row *r, const char *want)
{
    kv_buf kept = row_end(r);
    assert_string_equal(kv_buf_str(&kept), want);
    kv_buf_release(&kept);
}

#define QUEUED(id)                                                                                 \
    "{\"type\":\"job.queued\",\"jobId\":\"" id                                                     \
    "\",\"service\":\"ai\",\"status\":\"queued\",\"attempt\":0,\"lane\":\"normal\""

static void what_was_said_is_said_once(void **state)
{
    row r;
    (void)state;
    row_start(&r);
    add_job(&r, "queued", 1, 0, "normal", "");
    add_job(&r, "queued", 2, 0, "normal", "");
    check(&r, "[" QUEUED("0000000000001") "},{\"0\":\"0000000000002\"}]");
    row_start(&r);
    add_job(&r, "queued", 1, 0, "normal", ",\"user\":\"u1\"");
    add_job(&r, "queued", 2, 0, "normal", ",\"user\":\"u2\",\"tenant\":\"t\"");
    add_job(&r, "queued", 3, 0, "normal", "");
    check(&r, "[" QUEUED("0000000000001") ",\"user\":\"u1\"},{\"0\":\"0000000000002\",\"user\":"
                                          "\"u2\",\"tenant\":\"t\"},{\"0\":\"0000000000003\"}]");
}

static void what_differs_is_said(void **state)
{
    row r;
    (void)state;
    row_start(&r);
    add_job(&r, "complete", 1, 1, NULL, "");
    add_job(&r, "complete", 2, 2, NULL, "");
    add_job(&r, "complete", 3, 1, "normal", "");
    add_job(&r, "error", 4, 1, NULL, ",\"error\":\"a\"");
    add_job(&r, "error", 5, 1, NULL, ",\"error\":\"b\"");
    add_job(&r, "complete", 6, 2, NULL, "");
    kv_buf kept = row_end(&r);
    assert_non_null(strstr(kept.data, "{\"3\":\"0000000000005\",\"error\":\"b\"},"
                                      "{\"1\":\"0000000000006\"}]"));
    kv_buf_release(&kept);
}

/* Only the first ten can be referred to; what is no job's event is not counted. */
static void the_eleventh_is_not_referred_to(void **state)
{
    row r;
    (void)state;
    row_start(&r);
    add(&r, false, "media.created", ",\"mediaId\":\"x\",\"media\":{\"a\":[1,\"]}\"]}", "");
    for (unsigned i = 0; i < 12; i++)
        add_job(&r, "processing", i, i, NULL, "");
    for (unsigned i = 0; i < 12; i++)
        add_job(&r, "processing", 100 + i, i, NULL, "");
    kv_buf kept = row_end(&r);
    assert_non_null(strstr(kept.data, "{\"9\":\"000000000003d\"},{\"type\""));
    assert_null(strstr(kept.data, "{\":"));
    kv_buf_release(&kept);
}

/* An event that looks to the reader like one of a job counts for the writer, too, whoever made it.
 */
static void reader_and_writer_count_alike(void **state)
{
    static const char said[] =
        ",\"jobId\":\"0000000000001\",\"service\":\"ai\",\"status\":\"x\",\"attempt\":0";
    row r;
    (void)state;
    row_start(&r);
    add(&r, false, "job.odd", ",\"x\":1", said);
    add(&r, false, "job.even", said, ",\"x\":1");
    add_job(&r, "queued", 1, 0, "normal", "");
    add_job(&r, "queued", 2, 0, "normal", "");
    kv_buf kept = row_end(&r);
    assert_non_null(strstr(kept.data, "{\"1\":\"0000000000002\"}]"));
    kv_buf_release(&kept);
}

/* Rows that nobody wrote like this: no read behind their end, and no end made up. */
static void torn_rows(void **state)
{
    row r;
    kv_buf text;
    (void)state;
    row_start(&r);
    add_job(&r, "queued", 1, 0, "normal", ",\"user\":\"u\\\"1\"");
    add_job(&r, "complete", 1, 12, NULL, "");
    add_job(&r, "queued", 2, 0, "normal", ",\"user\":\"u2\"");
    add_job(&r, "complete", 2, 12, NULL, "");
    kv_buf kept = row_end(&r);
    kv_buf_init(&text, 0);
    for (size_t len = 0; len < kept.len; len++) {
        char *torn = malloc(len + 1);
        assert_non_null(torn);
        memcpy(torn, kept.data, len);
        kv_event_text(7, 1, kv_slice_of(torn, len), &text);
        assert_true(kv_buf_ok(&text) && (text.len == 0 || text.data[text.len - 1] != ']'));
        free(torn);
    }
    static const char *const bad[] = {"[{\"type\":\"a\"},{\"0\":\"0000000000001\"}]",
                                      "[{\"type\":\"a\"},{\"x\":\"0000000000001\"}]",
                                      "[{\"type\":\"a\"},{}]", "[{\"type\":\"a\"},17]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kv_event_text(7, 1, kv_slice_str(bad[i]), &text);
        assert_true(kv_buf_ok(&text) && text.data[text.len - 1] == ',');
    }
    kv_buf_release(&text);
    kv_buf_release(&kept);
}

/* Whatever comes in whatever order. */
static void any_events(void **state)
{
    static const char *const states[] = {"queued", "processing", "complete", "error"};
    static const char *const lanes[] = {NULL, "urgent", "normal", "background"};
    static const char *const own[] = {"", ",\"user\":\"u\"",
                                      ",\"error\":\"}]\\\"\",\"x\":{\"0\":\"\"}"};
    uint64_t v = 20261122;
    (void)state;
    for (int round = 0; round < 300; round++) {
        row r;
        row_start(&r);
        for (uint64_t left = 1 + v % 60; left > 0; left--) {
            v = v * 6364136223846793005u + 1442695040888963407u;
            unsigned n = (unsigned)(v >> 33);
            if (n % 17 == 0)
                add(&r, false, "queue.changed", ",\"queue\":{\"type\":\"job.queued\"}", "");
            else
                add_job(&r, states[n % 4], v >> 8, n / 4 % 3, lanes[n / 16 % 4], own[n / 64 % 3]);
        }
        kv_buf kept = row_end(&r);
        kv_buf_release(&kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_said_is_said_once),
        cmocka_unit_test(what_differs_is_said),
        cmocka_unit_test(the_eleventh_is_not_referred_to),
        cmocka_unit_test(reader_and_writer_count_alike),
        cmocka_unit_test(torn_rows),
        cmocka_unit_test(any_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
