/* What retention no longer keeps goes: where the ledger is never quiet, too, and whatever the clock
 * was before. */
#include "broker/tidy.h"
#include "tests/unit/ledger_rig.h"

static const int64_t HOUR_MS = 3600 * 1000;

/* `n` rows of the log from `first` on, of `at`. */
static void add_events(kv_db *db, int first, int n, int64_t at)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE c(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM c WHERE i < %d) "
             "INSERT INTO event SELECT i, i, %lld, '[{\"type\":\"x\"}]' FROM c",
             first, first + n - 1, (long long)at);
    assert_int_equal(kv_db_exec(db, sql), KV_OK);
}

static int64_t events_of(kv_db *db)
{
    return rig_number(&(rig){.x.db = db}, "SELECT count(*) FROM event");
}

/* One for each event that has none. */
static void add_notifications(kv_db *db)
{
    assert_int_equal(kv_db_exec(db, "INSERT INTO notification (id, user, kind, at, body) "
                                    "SELECT first, 'u', 'k', at, '{}' FROM event WHERE first > "
                                    "(SELECT coalesce(max(id), 0) FROM notification)"),
                     KV_OK);
}

/* ---- never quiet ---- */

static void run_one(thread_rig *t)
{
    kv_cmd_list list = {.n = 0};
    give(t, &list, kv_cmd_new(KV_CMD_NOTHING, 0));
    kv_ledger_give(t->ledger, &list, false);
    list = take(t, 1, NULL);
    kv_cmd *cmd = kv_cmd_pop(&list);
    kv_cmd_free(&cmd);
}

static void test_never_quiet(void **state)
{
    enum { OLD = 3000, COMMANDS = 3000 }; /* more commands than slices by far */
    thread_rig t = {0};
    kv_fake_clock clock;
    kv_db *db;
    (void)state;
    kv_fake_clock_init(&clock, 1790000000000);
    scratch_make(&t.s);
    thread_open_at(&t, &clock.clock);
    add_events(kv_ledger_db(t.ledger), 1, OLD, 1);
    add_events(kv_ledger_db(t.ledger), OLD + 1, 1, kv_wall_ms(&clock.clock));
    kv_ledger_close(&t.ledger);
    thread_open_at(&t, &clock.clock);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    run_one(&t);
    kv_fake_clock_advance(&clock, HOUR_MS); /* it looks now and again */
    for (int i = 0; i < COMMANDS; i++) {
        run_one(&t);
        kv_fake_clock_advance(&clock, 10);
    }
    assert_int_equal(kv_db_open(&t.s.cfg, KV_DB_READ, &db), KV_OK);
    assert_int_equal(events_of(db), 1); /* the newest stays: ids go on from it */
    kv_db_close(&db);
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

/* ---- a clock that was wrong ---- */

typedef struct bed {
    rig r;
    kv_config cfg;
    kv_tidy tidy;
} bed;

static void bed_open(bed *b)
{
    rig_start(&b->r);
    b->cfg = (kv_config){.event_retention_hours = 1, .job_retention_hours = 1};
    b->tidy = (kv_tidy){.cfg = &b->cfg};
}

static int64_t now_of(const bed *b)
{
    return kv_wall_ms(&b->r.clock.clock);
}

static void tidy_up(bed *b)
{
    while (kv_tidy_slice(&b->tidy, b->r.x.db, now_of(b))) {
    }
}

static void end_job(bed *b, uint64_t id)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "INSERT INTO job (id, state, service, lane, max_attempts, seq, created_at, "
             "updated_at, params) VALUES (%llu, 2, 1, 1, 3, 1, 1, 1, '{}')",
             (unsigned long long)id);
    assert_int_equal(kv_db_exec(b->r.x.db, sql), KV_OK);
}

static void test_clock_set_back(void **state)
{
    bed b;
    (void)state;
    bed_open(&b);
    tidy_up(&b); /* the walk over the jobs is done, at a time that is years ahead */
    kv_fake_clock_advance(&b.r.clock, -20000 * HOUR_MS);
    end_job(&b, 1);
    tidy_up(&b);
    assert_int_equal(rig_number(&b.r, "SELECT count(*) FROM job"), 0);
    rig_stop(&b.r);
}

/* Rows of a time to come, then old ones, then young ones. What was written before old ones is old,
 * too. */
static void test_clock_was_ahead(void **state)
{
    enum { AHEAD = 1000, OLD = 300, YOUNG = 20 };
    bed b;
    (void)state;
    bed_open(&b);
    add_events(b.r.x.db, 1, AHEAD, now_of(&b) + 20000 * HOUR_MS);
    add_events(b.r.x.db, AHEAD + 1, OLD, now_of(&b));
    add_notifications(b.r.x.db);
    tidy_up(&b); /* none is old */
    assert_int_equal(events_of(b.r.x.db), AHEAD + OLD);
    kv_fake_clock_advance(&b.r.clock, 91 * 24 * HOUR_MS);
    add_events(b.r.x.db, AHEAD + OLD + 1, YOUNG, now_of(&b));
    add_notifications(b.r.x.db);
    tidy_up(&b);
    assert_int_equal(events_of(b.r.x.db), YOUNG);
    assert_int_equal(rig_number(&b.r, "SELECT min(id) FROM notification"), AHEAD + OLD + 1);
    assert_int_equal(rig_number(&b.r, "SELECT count(*) FROM notification"), YOUNG);
    rig_stop(&b.r);
}

/* For a while the clock is far behind: nothing is old by it, and afterwards all goes in its time.
 */
static void test_clock_was_behind(void **state)
{
    enum { ROWS = 1000 };
    bed b;
    (void)state;
    bed_open(&b);
    add_events(b.r.x.db, 1, ROWS, now_of(&b));
    add_notifications(b.r.x.db);
    kv_fake_clock_advance(&b.r.clock, -20000 * HOUR_MS);
    tidy_up(&b);
    assert_int_equal(events_of(b.r.x.db), ROWS);
    kv_fake_clock_advance(&b.r.clock, 20000 * HOUR_MS);
    tidy_up(&b);
    assert_int_equal(events_of(b.r.x.db), ROWS);
    add_events(b.r.x.db, ROWS + 1, 1, now_of(&b));
    add_notifications(b.r.x.db);
    kv_fake_clock_advance(&b.r.clock, 91 * 24 * HOUR_MS);
    add_events(b.r.x.db, ROWS + 2, 1, now_of(&b));
    add_notifications(b.r.x.db);
    tidy_up(&b);
    assert_int_equal(events_of(b.r.x.db), 1);
    assert_int_equal(rig_number(&b.r, "SELECT min(id) FROM notification"), ROWS + 2);
    rig_stop(&b.r);
}

static void set_date(bed *b, int64_t ms)
{
    b->r.clock.wall_ms_now += ms;
}

/* As the ledger does it. */
static void turns(bed *b, int minutes)
{
    for (int i = 0; i < minutes; i++) {
        kv_fake_clock_advance(&b->r.clock, 60 * 1000);
        while (kv_tidy_turn(&b->tidy, b->r.x.db, &b->r.clock.clock)) {
        }
    }
}

/* Set forward by a year and back again soon: what is recent stays. Set forward for good: what is
 * old by then goes, an hour later. */
static void test_clock_set_forward(void **state)
{
    enum { ROWS = 30 };
    bed b;
    (void)state;
    bed_open(&b);
    add_events(b.r.x.db, 1, ROWS, now_of(&b));
    b.cfg.event_retention_hours = 24;
    kv_tidy_wait(&b.tidy, &b.r.clock.clock);
    turns(&b, 61);
    set_date(&b, 365 * 24 * HOUR_MS);
    turns(&b, 30);
    set_date(&b, -365 * 24 * HOUR_MS);
    turns(&b, 1);
    assert_int_equal(events_of(b.r.x.db), ROWS);
    set_date(&b, 48 * HOUR_MS);
    turns(&b, 59);
    assert_int_equal(events_of(b.r.x.db), ROWS);
    turns(&b, 2);
    assert_int_equal(events_of(b.r.x.db), 1);
    rig_stop(&b.r);
}

/* The same before a start: what was written in 1970, and the date that was set right since. */
static void test_start_with_another_date(void **state)
{
    enum { ROWS = 30 };
    bed b;
    (void)state;
    bed_open(&b);
    add_events(b.r.x.db, 1, ROWS, 1);
    add_events(b.r.x.db, ROWS + 1, 1, now_of(&b));
    kv_tidy_wait(&b.tidy, &b.r.clock.clock);
    turns(&b, 9);
    assert_int_equal(events_of(b.r.x.db), ROWS + 1);
    turns(&b, 2);
    assert_int_equal(events_of(b.r.x.db), 1);
    rig_stop(&b.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_quiet),       cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_clock_was_ahead),   cmocka_unit_test(test_clock_was_behind),
        cmocka_unit_test(test_clock_set_forward), cmocka_unit_test(test_start_with_another_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
