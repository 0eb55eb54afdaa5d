/* Live events without sockets: continuity, catch-up, bounded queues, resync, framing. S0-56, S3-41
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proto/base/json_scan.h"
#include "gateway/live.h"

#define S(text) kv_slice_str(text)

/* ---- JSON ---- */

static void test_scan(void **state)
{
    (void)state;
    kv_slice o = S("{\"a\":{\"id\":9,\"s\":\"}]\\\"\"},\"id\":7,\"t\":\"x\",\"e\":\"a\\\"b\",\"b\":"
                   "true,\"l\":[1,[2],{}]}");
    uint64_t n;
    bool b;
    kv_slice v;
    assert_true(kv_scan_u64(o, "id", &n)); /* the outer one */
    assert_int_equal(n, 7);
    assert_true(kv_scan_text(o, "t", &v) && kv_slice_is(v, "x"));
    assert_false(kv_scan_text(o, "e", &v)); /* escapes are refused */
    assert_true(kv_scan_bool(o, "b", &b) && b);
    assert_true(kv_scan_member(o, "l", &v));
    kv_slice item;
    size_t pos = 0, count = 0;
    while (kv_scan_next(v, &pos, &item))
        count++;
    assert_int_equal(count, 3);
    assert_false(kv_scan_member(o, "missing", &v));
}

static void test_scan_malformed(void **state)
{
    (void)state;
    const char *bad[] = {"",           "{",           "{\"id\"",    "{\"id\":", "{\"id\":}", "[1",
                         "{\"id\":\"", "{\"id\":-1}", "{\"x\":[[[", "}",        "{id:1}"};
    kv_slice v;
    uint64_t n;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_false(kv_scan_u64(S(bad[i]), "id", &n));
        size_t pos = 0;
        while (kv_scan_next(S(bad[i]), &pos, &v))
            ;
    }
    char deep[200];
    for (size_t i = 0; i < sizeof(deep); i++)
        deep[i] = '[';
    size_t pos = 0;
    assert_false(kv_scan_next(kv_slice_of(deep, sizeof(deep)), &pos, &v));
}

static void test_split(void **state)
{
    (void)state;
    kv_live_batch b = {0};
    assert_int_equal(kv_live_split(&b, S("[{\"id\":1,\"type\":\"media.ready\",\"media\":{\"id\":"
                                         "\"x\"}},{\"id\":2,\"type\":\"job.queued\"}]")),
                     KV_OK);
    assert_int_equal(b.n, 2);
    assert_int_equal(b.events[1].id, 2);
    assert_true(kv_slice_is(b.events[0].type, "media.ready"));
    assert_int_equal(kv_live_split(&b, S("[]")), KV_OK);
    assert_int_equal(b.n, 0);
    assert_int_equal(kv_live_split(&b, S("[{\"id\":1}]")), KV_E_BAD_MESSAGE);
    kv_live_batch_release(&b);
}

/* ---- continuity ---- */

static void test_continuity(void **state)
{
    (void)state;
    kv_live_seq s = {.known = true, .last = 10, .want = 10};
    assert_int_equal(kv_live_seq_events(&s, 10, 11, 13), KV_LIVE_FOLLOWS);
    s.last = 13;
    assert_int_equal(kv_live_seq_events(&s, 10, 11, 13), KV_LIVE_OLD);
    assert_int_equal(kv_live_seq_events(&s, 15, 16, 16), KV_LIVE_GAP); /* 14 and 15 are missing */
    assert_int_equal(s.want, 16);
    s.last = 16; /* read from the log */
    assert_int_equal(kv_live_seq_events(&s, 16, 17, 17), KV_LIVE_FOLLOWS);
    s.last = 17;
    assert_int_equal(kv_live_seq_head(&s, 17), KV_LIVE_OLD);
    assert_int_equal(kv_live_seq_head(&s, 20), KV_LIVE_GAP); /* a missed tail */
    assert_int_equal(s.want, 20);
    assert_int_equal(kv_live_seq_head(&s, 3), KV_LIVE_SMALLER); /* the log is to be asked */
    assert_int_equal(s.last, 17);
    assert_int_equal(s.want, 20);
}

/* While a gap is open what follows on the lost part is a gap too: it comes from the log. */
static void test_gap_stays_open(void **state)
{
    (void)state;
    kv_live_seq s = {.known = true, .last = 10, .want = 10};
    assert_int_equal(kv_live_seq_events(&s, 12, 13, 14), KV_LIVE_GAP);
    assert_int_equal(kv_live_seq_events(&s, 14, 15, 15), KV_LIVE_GAP);
    assert_int_equal(s.want, 15);
}

/* ---- one client ---- */

static char *batch_json(uint64_t first, unsigned n, size_t pad, const char *type)
{
    kv_buf b;
    kv_buf_init(&b, 0);
    kv_buf_addc(&b, '[');
    for (unsigned i = 0; i < n; i++) {
        kv_buf_addf(&b, "%s{\"id\":%llu,\"type\":\"%s\",\"pad\":\"", i != 0 ? "," : "",
                    (unsigned long long)(first + i), type);
        for (size_t k = 0; k < pad; k++)
            kv_buf_addc(&b, 'x');
        kv_buf_adds(&b, "\"}");
    }
    kv_buf_addc(&b, ']');
    return b.data;
}

static unsigned count(const kv_live_queue *q, const char *needle)
{
    unsigned n = 0;
    kv_slice s = kv_buf_slice(&q->pending);
    size_t len = strlen(needle);
    for (size_t i = 0; i + len <= s.len; i++)
        n += memcmp(s.ptr + i, needle, len) == 0;
    return n;
}

static void test_sse_frames(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    kv_live_queue_init(&q, KV_LIVE_SSE, 65536);
    assert_int_equal(kv_live_split(&b, S("[{\"id\":5,\"type\":\"media.ready\"}]")), KV_OK);
    assert_true(kv_live_offer(&q, &b, 0, 5));
    assert_string_equal(kv_buf_str(&q.pending),
                        "id: 5\nevent: media.ready\ndata: {\"id\":5,\"type\":\"media.ready\"}\n\n");
    kv_buf_clear(&q.pending);
    kv_live_ping(&q, 9); /* its own position, so that nothing is skipped after a reconnect */
    assert_string_equal(kv_buf_str(&q.pending), ": ping\nid: 5\n\n");
    kv_buf_clear(&q.pending);
    kv_live_resync(&q, 9);
    assert_string_equal(kv_buf_str(&q.pending),
                        "event: resync\ndata: {\"type\":\"resync\",\"last\":9}\n\n");
    kv_live_batch_release(&b);
    kv_live_queue_release(&q);
}

static void test_ws_frames(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_queue_init(&q, KV_LIVE_WS, 1 << 20);
    kv_live_hello(&q, 3);
    assert_int_equal((unsigned char)q.pending.data[0], 0x81);
    assert_int_equal((unsigned char)q.pending.data[1], strlen("{\"type\":\"hello\",\"last\":3}"));
    for (size_t pad = 200; pad <= 70000; pad += 69800) {
        kv_live_batch b = {0};
        char *json = batch_json(q.pos + 1, 1, pad, "media.ready");
        assert_int_equal(kv_live_split(&b, S(json)), KV_OK);
        kv_buf_clear(&q.pending);
        assert_true(kv_live_offer(&q, &b, 0, q.pos + 1));
        const unsigned char *p = (const unsigned char *)q.pending.data;
        size_t len = b.events[0].json.len;
        if (pad == 200) {
            assert_int_equal(p[1], 126);
            assert_int_equal(p[2] << 8 | p[3], len);
            assert_int_equal(q.pending.len, len + 4);
        } else {
            assert_int_equal(p[1], 127);
            assert_int_equal((size_t)p[7] << 16 | p[8] << 8 | p[9], len);
            assert_int_equal(q.pending.len, len + 10);
        }
        kv_live_batch_release(&b);
        free(json);
    }
    kv_live_queue_release(&q);
}

/* X24: the same events for those who poll; what did not fit is there the next time. */
static void test_poll_pages(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    kv_slice text = S("[{\"id\":5,\"type\":\"media.a\"},{\"id\":6,\"type\":\"job.a\"},"
                      "{\"id\":7,\"type\":\"media.b\"},{\"id\":8,\"type\":\"media.c\"}]");
    assert_int_equal(kv_live_split(&b, text), KV_OK);
    for (int live = 0; live < 2; live++) {
        kv_live_queue_init(&q, KV_LIVE_POLL, 65536);
        assert_int_equal(kv_live_queue_types(&q, S("media")), KV_OK);
        q.room = 2;
        kv_live_hello(&q, 4);
        kv_live_ping(&q, 4);
        assert_int_equal(q.pending.len, 0); /* neither is in the log */
        assert_false(live ? kv_live_offer(&q, &b, 0, 8) : kv_live_fill(&q, &b, 0));
        assert_string_equal(kv_buf_str(&q.pending),
                            "{\"id\":5,\"type\":\"media.a\"},{\"id\":7,\"type\":\"media.b\"}");
        assert_int_equal(q.pos, 7);
        assert_false(kv_live_offer(&q, &b, 0, 8)); /* full: later ones do not pass it over */
        assert_int_equal(q.pos, 7);
        assert_int_equal(q.resyncs, 0);
        kv_live_queue_release(&q);
    }
    kv_live_queue_init(&q, KV_LIVE_POLL, 60); /* by bytes: an answer on its way is no slow client */
    assert_false(kv_live_fill(&q, &b, 0));
    assert_int_equal(q.pos, 5); /* one always goes */
    assert_false(kv_live_offer(&q, &b, 0, 8));
    assert_int_equal(q.resyncs, 0);
    assert_int_equal(q.room, 0);
    kv_live_resync(&q, 8);
    assert_int_equal(q.resyncs, 1);
    kv_live_batch_release(&b);
    kv_live_queue_release(&q);
}

static void test_types(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    kv_live_queue_init(&q, KV_LIVE_SSE, 65536);
    assert_int_equal(kv_live_queue_types(&q, S("job,notification")), KV_OK);
    assert_int_equal(
        kv_live_split(
            &b, S("[{\"id\":1,\"type\":\"job.queued\"},{\"id\":2,\"type\":\"media.ready\"}]")),
        KV_OK);
    assert_true(kv_live_offer(&q, &b, 0, 2));
    assert_int_equal(count(&q, "data:"), 1);
    assert_int_equal(q.pos, 2); /* what is filtered is passed all the same */
    assert_int_equal(kv_live_queue_types(&q, S("none")), KV_OK);
    assert_int_equal(kv_live_queue_types(&q, S("media,job,notification,queue")), KV_OK);
    assert_int_equal(kv_live_queue_types(&q, S("")), KV_OK);
    const char *bad[] = {
        ",",          "job,",
        ",job",       "job,,media",
        "JOB",        "job media",
        "jobs",       "job,mediax",
        "job.queued", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(kv_live_queue_types(&q, S(bad[i])), KV_E_BAD_PARAMETER);
    kv_live_batch_release(&b);
    kv_live_queue_release(&q);
}

/* A client that reads nothing: never more than its limit, then resync, then live from there. */
static void test_slow_client(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    const size_t limit = 16384;
    kv_live_queue_init(&q, KV_LIVE_WS, limit);
    uint64_t id = 1;
    for (unsigned i = 0; i < 1000; i++, id++) {
        char *json = batch_json(id, 1, 1000, "media.ready");
        assert_int_equal(kv_live_split(&b, S(json)), KV_OK);
        kv_live_offer(&q, &b, 4000, id);
        assert_true(q.pending.len + 4000 <= limit + 64);
        assert_false(q.behind);
        assert_int_equal(q.pos, id);
        free(json);
    }
    assert_true(q.resyncs > 10);
    assert_true(count(&q, "\"resync\"") <= 1);
    kv_live_batch_release(&b);
    kv_live_queue_release(&q);
}

/* One commit larger than the buffer of a client that was up to date: it takes it from the log,
 * piece by piece, and loses nothing. */
static void test_large_commit(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    kv_live_queue_init(&q, KV_LIVE_SSE, 16384);
    char *json = batch_json(1, 100, 1000, "media.ready");
    assert_int_equal(kv_live_split(&b, S(json)), KV_OK);
    assert_false(kv_live_offer(&q, &b, 0, 100));
    assert_true(q.behind);
    assert_int_equal(q.resyncs, 0);
    unsigned got = count(&q, "data:"), rounds = 0;
    kv_buf_clear(&q.pending);
    while (!kv_live_fill(&q, &b, 0)) {
        got += count(&q, "data:");
        assert_true(q.pending.len <= q.limit);
        kv_buf_clear(&q.pending);
        assert_true(++rounds < 100);
    }
    got += count(&q, "data:");
    assert_int_equal(got, 100);
    assert_int_equal(q.pos, 100);
    free(json);
    kv_live_batch_release(&b);
    kv_live_queue_release(&q);
}

/* A single event larger than the whole buffer still passes a client that is catching up. */
static void test_giant_event(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    kv_live_queue_init(&q, KV_LIVE_SSE, 16384);
    char *json = batch_json(1, 1, 50000, "job.complete");
    assert_int_equal(kv_live_split(&b, S(json)), KV_OK);
    assert_false(kv_live_offer(&q, &b, 0, 1));
    assert_true(q.behind);
    assert_true(kv_live_fill(&q, &b, 0));
    assert_int_equal(q.pos, 1);
    assert_int_equal(count(&q, "data:"), 1);
    free(json);
    kv_live_batch_release(&b);
    kv_live_queue_release(&q);
}

/* Subscribe, read the log, follow: what came both ways is delivered once. S3-41 */
static void test_overlap_is_dropped(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    kv_live_queue_init(&q, KV_LIVE_SSE, 65536);
    char *log = batch_json(1, 5, 1, "media.ready"), *live = batch_json(4, 4, 1, "media.ready");
    assert_int_equal(kv_live_split(&b, S(log)), KV_OK);
    q.behind = true;
    assert_true(kv_live_fill(&q, &b, 0));
    q.behind = false;
    assert_int_equal(kv_live_split(&b, S(live)), KV_OK);
    assert_true(kv_live_offer(&q, &b, 0, 7));
    assert_int_equal(count(&q, "data:"), 7);
    assert_int_equal(q.pos, 7);
    free(log);
    free(live);
    kv_live_batch_release(&b);
    kv_live_queue_release(&q);
}

/* S3-27: a user's own notifications, and what concerns nobody */
static void test_user(void **state)
{
    (void)state;
    kv_live_queue q;
    kv_live_batch b = {0};
    assert_int_equal(
        kv_live_split(&b,
                      S("[{\"id\":1,\"type\":\"notification.created\",\"user\":\"ay\\\"\u015fe\"},"
                        "{\"id\":2,\"type\":\"notification.created\",\"user\":\"ali\"},"
                        "{\"id\":3,\"type\":\"job.queued\"},"
                        "{\"id\":4,\"type\":\"job.queued\",\"user\":null},"
                        "{\"id\":5,\"type\":\"job.queued\",\"user\":\"ay\"}]")),
        KV_OK);
    kv_live_queue_init(&q, KV_LIVE_SSE, 65536);
    assert_int_equal(kv_live_queue_user(&q, S("ay\"\u015fe")), KV_OK);
    assert_true(kv_live_offer(&q, &b, 0, 5));
    const char *text = kv_buf_str(&q.pending);
    assert_non_null(strstr(text, "id: 1\n"));
    assert_null(strstr(text, "id: 2\n"));
    assert_non_null(strstr(text, "id: 3\n"));
    assert_non_null(strstr(text, "id: 4\n"));
    assert_null(strstr(text, "id: 5\n"));
    assert_int_equal(q.pos, 5);
    char longer[66] = {0};
    memset(longer, 'a', 65);
    assert_int_equal(kv_live_queue_user(&q, S(longer)), KV_E_BAD_PARAMETER);
    kv_live_queue_release(&q);
    kv_live_batch_release(&b);
}

static void test_put(void **state)
{
    (void)state;
    kv_live_queue q;
    char large[400];
    memset(large, ' ', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    kv_live_queue_init(&q, KV_LIVE_SSE, 300);
    assert_true(kv_live_put(&q, "job.position", S("{}")));
    assert_string_equal(kv_buf_str(&q.pending), "event: job.position\ndata: {}\n\n");
    assert_false(kv_live_put(&q, "queues", S(large))); /* no room: not queued twice over */
    kv_buf_clear(&q.pending);
    assert_true(kv_live_put(&q, "queues", S(large))); /* but never stopped for good */
    kv_live_queue_release(&q);
    kv_live_queue_init(&q, KV_LIVE_WS, 300);
    assert_true(kv_live_put(&q, "x", S("{}")));
    assert_memory_equal(q.pending.data, "\x81\x02{}", 4);
    kv_live_queue_release(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_scan_malformed),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_continuity),
        cmocka_unit_test(test_gap_stays_open),
        cmocka_unit_test(test_sse_frames),
        cmocka_unit_test(test_poll_pages),
        cmocka_unit_test(test_ws_frames),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_slow_client),
        cmocka_unit_test(test_large_commit),
        cmocka_unit_test(test_giant_event),
        cmocka_unit_test(test_overlap_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
