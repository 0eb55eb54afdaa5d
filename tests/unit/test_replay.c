/* EVENTS_GET: what the broker's reader answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>

#include "broker/replay.h"
#include "storage/db.h"
#include "storage/write/events.h"
#include "tests/unit/scratch.h"

#define OK(expr) assert_int_equal((expr), KV_OK)

typedef struct rig {
    scratch scratch;
    kv_db *db;
    kv_replay *replay;
    /* the last answer */
    int answers;
    uint64_t request, number;
    kv_events got;
    char events[4096];
} rig;

static int make(void **state)
{
    int from, to;
    rig *r = calloc(1, sizeof *r);
    scratch_make(&r->scratch);
    OK(kv_db_open(&r->scratch.cfg, KV_DB_WRITE, &r->db));
    OK(kv_db_migrate(r->db, &from, &to));
    OK(kv_replay_start(&r->scratch.cfg, &r->replay));
    *state = r;
    return 0;
}

static int drop(void **state)
{
    rig *r = *state;
    kv_replay_stop(&r->replay);
    kv_db_close(&r->db);
    scratch_remove(&r->scratch);
    free(r);
    return 0;
}

static void commit(rig *r, uint64_t first, uint64_t last, const char *json)
{
    OK(kv_db_begin(r->db));
    OK(kv_event_append(r->db, first, last, 1, kv_slice_str(json)));
    OK(kv_db_commit(r->db));
}

static void note(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    rig *r = arg;
    assert_true(kv_slice_is(peer, "peer"));
    r->answers++;
    r->request = request;
    r->number = m->code == KV_ERROR ? m->error.number : 0;
    if (m->code == KV_ERROR)
        return;
    assert_int_equal(m->code, KV_EVENTS);
    r->got = m->events;
    snprintf(r->events, sizeof r->events, "%.*s", KV_SLICE_FMT(m->events.events));
}

static void ask(rig *r, uint64_t after, uint64_t limit)
{
    kv_events_get m = {.after = after, .limit = limit};
    struct pollfd p = {.fd = kv_replay_fd(r->replay), .events = POLLIN};
    r->answers = 0;
    OK(kv_replay_ask(r->replay, kv_slice_str("peer"), after + 100, &m));
    while (r->answers == 0) {
        assert_int_equal(poll(&p, 1, 10000), 1);
        kv_replay_take(r->replay, note, r);
    }
    assert_int_equal(r->answers, 1);
    assert_int_equal(r->request, after + 100);
}

static void check(rig *r, uint64_t after, uint64_t limit, uint64_t prev, uint64_t last,
                  const char *events)
{
    ask(r, after, limit);
    assert_int_equal(r->number, 0);
    assert_int_equal(r->got.prev, prev);
    assert_int_equal(r->got.first, prev + 1);
    assert_int_equal(r->got.last, last);
    assert_string_equal(r->events, events);
}

static void pages_are_whole_and_begin_behind_what_is_had(void **state)
{
    rig *r = *state;
    check(r, 0, 10, 0, 0, "[]");
    commit(r, 1, 3, "[{\"id\":1,\"t\":\"],{\\\"\\\\\"},{\"id\":2,\"l\":[{\"a\":1},2]},{\"id\":3}]");
    commit(r, 4, 4, "[{\"id\":4}]");
    commit(r, 5, 6, "[{\"id\":5},{\"id\":6}]");
    check(r, 1, 1, 1, 3, "[{\"id\":2,\"l\":[{\"a\":1},2]},{\"id\":3}]"); /* inside a commit */
    check(r, 2, 1, 2, 3, "[{\"id\":3}]");
    check(r, 2, 2, 2, 4, "[{\"id\":3},{\"id\":4}]");
    check(r, 3, 100, 3, 6, "[{\"id\":4},{\"id\":5},{\"id\":6}]");
    check(r, 5, 100, 5, 6, "[{\"id\":6}]");
    check(r, 6, 100, 6, 6, "[]");
    ask(r, 7, 100);
    assert_int_equal(r->number, KV_E_NOT_FOUND);
}

static void what_is_pruned_needs_a_resync(void **state)
{
    rig *r = *state;
    commit(r, 5, 5, "[{\"id\":5}]");
    commit(r, 6, 6, "[{\"id\":6}]");
    ask(r, 3, 10);
    assert_int_equal(r->number, KV_E_NOT_FOUND);
    check(r, 4, 10, 4, 6, "[{\"id\":5},{\"id\":6}]");
    check(r, 0, 10, 4, 6, "[{\"id\":5},{\"id\":6}]"); /* from the oldest */
}

static void a_page_has_a_size(void **state)
{
    rig *r = *state;
    static char big[200 << 10];
    for (uint64_t id = 1; id <= 3; id++) {
        int n = snprintf(big, sizeof big, "[{\"id\":%u,\"x\":\"", (unsigned)id);
        memset(big + n, 'x', sizeof big - (size_t)n - 4);
        memcpy(big + sizeof big - 4, "\"}]", 4);
        commit(r, id, id, big);
    }
    for (uint64_t after = 0; after < 3; after++) {
        ask(r, after, 100);
        assert_int_equal(r->got.last, after + 1);
    }
}

static void too_many_are_told_to_wait(void **state)
{
    rig *r = *state;
    kv_events_get m = {.after = 0, .limit = 1};
    kv_err err = KV_OK;
    int taken = 0;
    r->answers = 0;
    while (err == KV_OK && taken < 5000) {
        err = kv_replay_ask(r->replay, kv_slice_str("peer"), 1, &m);
        taken += err == KV_OK;
    }
    assert_int_equal(err, KV_E_BUSY);
    while (r->answers < taken) {
        struct pollfd p = {.fd = kv_replay_fd(r->replay), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        kv_replay_take(r->replay, note, r);
    }
    check(r, 0, 10, 0, 0, "[]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_are_whole_and_begin_behind_what_is_had, make, drop),
        cmocka_unit_test_setup_teardown(what_is_pruned_needs_a_resync, make, drop),
        cmocka_unit_test_setup_teardown(a_page_has_a_size, make, drop),
        cmocka_unit_test_setup_teardown(too_many_are_told_to_wait, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
