/* What of the event log becomes a notification, and how far the log was told. S3-27 S3-57 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "actors/notifier.h"
#include "proto/base/buf.h"
#include "tests/unit/db_rig.h"

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

/* ---- the mark ---- */

typedef struct bed {
    scratch s;
    kv_db *db;
    kv_fake_clock clock;
    kv_out *out;
    void *actor;
} bed;

static int begin(void **state)
{
    static bed b;
    scratch_make(&b.s);
    b.db = writer(&b.s);
    kv_fake_clock_init(&b.clock, 1800000000000);
    b.out = kv_out_fake(&b.clock.clock);
    *state = &b;
    return kv_notifier_actor.create(&b.s.cfg, NULL, &b.actor) == KV_OK ? 0 : -1;
}

static int end(void **state)
{
    bed *b = *state;
    kv_notifier_actor.destroy(&b->actor);
    kv_out_fake_destroy(&b->out);
    kv_db_close(&b->db);
    scratch_remove(&b->s);
    return 0;
}

/* What it asks of the ledger in a tick. NULL: nothing. */
static const kv_notify *asked(bed *b)
{
    kv_notifier_actor.tick(b->actor, kv_mono_us(&b->clock.clock), b->out);
    const kv_msg *m = kv_out_fake_asked(b->out, 0);
    return m ? &m->notify : NULL;
}

static void answered(bed *b)
{
    kv_msg okay;
    kv_msg_defaults(KV_OKAY, &okay);
    kv_out_fake_answer(b->out, b->actor, 0, KV_OK, &okay);
}

#define END(type) "'[{\"type\":\"" type "\",\"jobId\":\"0000000000001\",\"user\":\"ayse\"}]'"

/* Away while all behind its mark was pruned: what came since is told all the same. */
static void test_a_mark_older_than_what_is_kept(void **state)
{
    bed *b = *state;
    OK(kv_db_exec(b->db, "UPDATE counter SET value = 3 WHERE name = 'notified';"
                         "INSERT INTO event VALUES (7, 7, 1, " END(
                             "job.queued") "),"
                                           "(8, 8, 1, " END("job.complete") "), (9, 9, 1, " END(
                                               "job.queued") ")"));
    const kv_notify *n = asked(b);
    assert_non_null(n);
    assert_int_equal(n->event, 8);
    assert_true(kv_slice_is(n->user, "ayse"));
}

/* Else it would stand where events are kept no more, and a restart could not tell whether somebody
 * had been to be told. */
static void test_the_mark_follows_with_nobody_to_tell(void **state)
{
    bed *b = *state;
    OK(kv_db_exec(b->db, "INSERT INTO event VALUES (1, 1, 1, " END("job.queued") ")"));
    assert_null(asked(b));
    kv_fake_clock_advance(&b->clock, 3600000);
    const kv_notify *n = asked(b);
    assert_non_null(n);
    assert_int_equal(n->event, 1);
    assert_int_equal(n->user.len, 0);
    answered(b);
    kv_fake_clock_advance(&b->clock, 3600000);
    assert_null(asked(b)); /* it is there */
}

/* A backup was put back under it: its mark is another one. */
static void test_the_mark_of_another_database(void **state)
{
    bed *b = *state;
    OK(kv_db_exec(b->db, "INSERT INTO event VALUES (1, 1, 1, " END("job.queued") ")"));
    assert_null(asked(b));
    kv_db_close(&b->db);
    assert_int_equal(unlink(scratch_path(&b->s, "kervan.db")), 0);
    b->db = writer(&b->s);
    OK(kv_db_exec(b->db, "UPDATE counter SET value = 1001 WHERE name = 'notified';"
                         "INSERT INTO event VALUES (1001, 1001, 1, " END(
                             "job.complete") "),"
                                             "(1002, 1002, 1, " END("job.error") ")"));
    usleep(60000); /* it looks for its place every 50 ms */
    const kv_notify *n = asked(b);
    assert_non_null(n);
    assert_int_equal(n->event, 1002);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_with_a_user_are_told),
        cmocka_unit_test(test_others_are_not),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_broken_log),
        T(test_a_mark_older_than_what_is_kept),
        T(test_the_mark_follows_with_nobody_to_tell),
        T(test_the_mark_of_another_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
