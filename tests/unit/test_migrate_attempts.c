/* Migration 4: rows of before, whose max_attempts rose with each lease given back, keep what they
 * have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "storage/db.h"
#include "storage/migrate.h"
#include "storage/read/jobs.h"
#include "storage/write/jobs.h"
#include "tests/unit/scratch.h"

#define OK(expr) assert_int_equal((expr), KV_OK)

static void at_version_3(kv_db *db)
{
    for (int i = 0; i < 3; i++)
        OK(kv_db_exec(db, kv_migrations[i].sql));
    OK(kv_db_exec(db, "PRAGMA user_version=3"));
    OK(kv_db_exec(
        db, "INSERT INTO service VALUES (1, 'ai');"
            "INSERT INTO job (id, state, epoch, attempt, service, lane, max_attempts, seq, "
            "created_at, updated_at, params, history) VALUES "
            "(1, 0, 2, 5, 1, 1, 8, 1, 1780000000000, 1780000001000, '{}', '1 5 5' || char(30)), "
            "(2, 3, 2, 3, 1, 1, 3, 2, 1780000000000, 1780000001000, '{}', '')"));
}

static void check_json(kv_db *db, uint64_t id, int attempts, int max_attempts)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    OK(kv_job_get_json(db, id, &out));
    json_t *job = json_loads(kv_buf_str(&out), 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(job, "attempts")), attempts);
    assert_int_equal(json_integer_value(json_object_get(job, "max_attempts")), max_attempts);
    json_decref(job);
    kv_buf_release(&out);
}

static bool keep_row(void *arg, const kv_job_row *r)
{
    *(kv_job_row *)arg = *r;
    return true;
}

static void check_start(kv_db *db, uint64_t attempt, uint64_t given_back)
{
    kv_job_row row = {.id = 0};
    OK(kv_jobs_unfinished(db, keep_row, &row));
    assert_int_equal(row.id, 1);
    assert_int_equal(row.attempt, attempt);
    assert_int_equal(row.given_back, given_back);
    assert_int_equal(row.max_attempts, 8);
}

/* A lease of the old row, given back. */
static void give_back(kv_db *db)
{
    kv_jobs_open open;
    bool moved;
    OK(kv_jobs_open_read(db, &open));
    kv_job_move m = {.id = 1,
                     .from = KV_JOB_QUEUED,
                     .to = KV_JOB_PROCESSING,
                     .epoch = 2,
                     .attempt = 5,
                     .new_epoch = 3,
                     .new_attempt = 6,
                     .now = 1780000002000,
                     .history = kv_slice_str("1 6 6\x1e")};
    OK(kv_job_move_row(db, &open, &m, &moved));
    assert_true(moved);
    m = (kv_job_move){.id = 1,
                      .from = KV_JOB_PROCESSING,
                      .to = KV_JOB_QUEUED,
                      .epoch = 3,
                      .attempt = 6,
                      .new_epoch = 3,
                      .new_attempt = 6,
                      .given_back = 1,
                      .now = 1780000003000,
                      .history = kv_slice_str("0 7 5\x1e")};
    OK(kv_job_move_row(db, &open, &m, &moved));
    assert_true(moved);
}

static void attempts_stay(void **state)
{
    scratch s;
    kv_db *db;
    int from, to;
    (void)state;
    scratch_make(&s);
    OK(kv_db_open(&s.cfg, KV_DB_WRITE, &db));
    at_version_3(db);
    kv_db_close(&db); /* as a new program does: statements of the old schema are gone */
    OK(kv_db_open(&s.cfg, KV_DB_WRITE, &db));
    OK(kv_db_migrate(db, &from, &to));
    assert_int_equal(from, 3);
    assert_int_equal(to, kv_db_schema_version());
    check_json(db, 1, 5, 8);
    check_json(db, 2, 3, 3);
    check_start(db, 5, 0);
    give_back(db); /* from now on it is counted, and max_attempts stays */
    check_json(db, 1, 5, 8);
    check_start(db, 6, 1);
    kv_db_close(&db);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
