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
    kv_ledger_close(&t.ledger);
    thread_open_at(&t, &clock.clock);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    run_one(&t);
    kv_fake_clock_advance(&clock, 61 * 1000); /* it looks now and again */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_quiet),
        cmocka_unit_test(test_clock_set_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
