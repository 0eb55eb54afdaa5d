/* Migrations 3 to 5: jobs of every kind, made at version 2, read the same behind them; but for dead
 * letters that were done again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "proto/base/buf.h"
#include "storage/db.h"
#include "storage/migrate.h"
#include "storage/read/jobs.h"
#include "storage/read/jobs_list.h"
#include "storage/write/jobs.h"
#include "tests/unit/jobs_tables.h"
#include "tests/unit/scratch.h"

#define OK(expr) assert_int_equal((expr), KV_OK)

enum { KINDS = 20000 }; /* more than stay above open_from */

/* By number: every state, and each option with some. The ids of late ones lie among the others. */
static const char FILL[] =
    "INSERT INTO service VALUES (1, 'ai'), (2, 'backup'), (3, 'image-process');"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
    "INSERT INTO job (id, service, lane, state, seq, attempt, max_attempts, epoch, progress, "
    "not_before, created_at, updated_at, tenant, params, metadata, result, error, error_detail, "
    "history, tag, unique_key, backoff, backoff_max, deadline, tags, retention, user, credits, "
    "operation, metadata_version, retry_of, retried_by) "
    "SELECT i * 3, 1 + i % 3, i % 3, iif(i % 7 < 2, i % 7, 2 + i % 3), (i * 7919) % 20011, i % 4, "
    "3 + i % 4, i % 9, i % 101, iif(i % 11, 0, 1790000000000 + i), 1780000000000 + i, "
    "1780000001000 + i, iif(i % 3, '', 't' || (i % 5)), '{\"n\":' || i || '}', "
    "iif(i % 13, NULL, '{\"m\":' || i || '}'), iif(i % 3, NULL, '{\"r\":1}'), "
    "iif(i % 3 = 1, 'stuck', NULL), iif(i % 6 = 1, 'why \"so\"', NULL), "
    "iif(i % 2, '', '1 5 1' || char(30)), i % 17, iif(i % 19, NULL, 'k' || i), "
    "iif(i % 23, 0, i), iif(i % 23, 0, 2 * i), iif(i % 29, 0, 1800000000000 + i), "
    "iif(i % 31, NULL, ',a,b' || (i % 3) || ','), iif(i % 37, 0, i), iif(i % 41, NULL, 'u' || (i % "
    "3)), "
    "iif(i % 82, 0, 5), iif(i % 82, NULL, 'op'), iif(i % 13, 0, 2), iif(i % 43, NULL, i - 1), "
    "iif(i % 47, NULL, i + 1) FROM n;"
    "INSERT INTO job_expiry SELECT updated_at + retention, id FROM job WHERE retention AND state > "
    "1";

#define EVERY                                                                                      \
    "j.id, j.service, j.lane, j.state, j.seq, j.attempt, j.max_attempts, j.epoch, j.progress, "    \
    "j.not_before, j.created_at, j.updated_at, j.tenant, j.params, j.result, j.error, "            \
    "j.error_detail, j.history, j.tag, "
#define OF(t)                                                                                      \
    t ".metadata, " t ".unique_key, " t ".tags, " t ".user, " t ".operation, " t ".retry_of, " t   \
      ".retried_by, ifnull(" t ".backoff, 0), ifnull(" t ".backoff_max, 0), ifnull(" t             \
      ".deadline, 0), ifnull(" t ".retention, 0), ifnull(" t ".credits, 0), ifnull(" t             \
      ".metadata_version, 0)"
enum { COLUMNS_N = 19 + 13 };

/* A line a row. */
static void dump(kv_db *db, const char *sql, int columns, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    OK(kv_db_prepare(db, sql, &s));
    for (;;) {
        OK(kv_db_step(s, &row));
        if (!row)
            break;
        for (int i = 0; i < columns; i++) {
            kv_buf_addc(out, kv_col_null(s, i) ? '-' : '+');
            kv_slice text = kv_col_str(s, i);
            kv_buf_add(out, text.ptr, text.len);
            kv_buf_addc(out, '\t');
        }
        kv_buf_addc(out, '\n');
    }
    kv_db_done(s);
    assert_true(kv_buf_ok(out));
}

static int64_t number(kv_db *db, const char *sql)
{
    kv_stmt *s;
    bool row;
    OK(kv_db_prepare(db, sql, &s));
    OK(kv_db_step(s, &row));
    int64_t v = kv_col_i64(s, 0);
    kv_db_done(s);
    return v;
}

static void same(const kv_buf *before, const kv_buf *after)
{
    assert_true(before->len > 0);
    assert_int_equal(before->len, after->len);
    assert_memory_equal(before->data, after->data, before->len);
}

/* What version 2 answered, by its own statements. */
typedef struct answers {
    kv_buf rows, unfinished, keys, dead, users, expiry;
} answers;

static void answers_init(answers *a)
{
    kv_buf *all[] = {&a->rows, &a->unfinished, &a->keys, &a->dead, &a->users, &a->expiry};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        kv_buf_init(all[i], 0);
}

static void answers_release(answers *a)
{
    kv_buf *all[] = {&a->rows, &a->unfinished, &a->keys, &a->dead, &a->users, &a->expiry};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        kv_buf_release(all[i]);
}

static void ask_before(kv_db *db, answers *a)
{
    dump(db, "SELECT " EVERY OF("j") " FROM job j ORDER BY j.id", COLUMNS_N, &a->rows);
    dump(db,
         "SELECT j.id, j.seq, j.epoch, j.attempt, j.max_attempts, j.not_before, j.created_at, "
         "j.lane, j.state, v.name, j.tenant, j.tag, j.backoff, j.backoff_max, j.deadline "
         "FROM job j JOIN service v ON v.id = j.service WHERE j.state < 2 ORDER BY j.seq, j.id",
         15, &a->unfinished);
    dump(db,
         "SELECT service, unique_key, id FROM job WHERE unique_key IS NOT NULL AND state < 2 "
         "ORDER BY 1, 2",
         3, &a->keys);
    dump(db, "SELECT service, id FROM job WHERE state = 3 AND retried_by IS NULL ORDER BY 1, 2", 2,
         &a->dead);
    dump(db, "SELECT user, id FROM job WHERE user IS NOT NULL ORDER BY 1, 2", 2, &a->users);
    dump(db, "SELECT at, job FROM job_expiry ORDER BY 1, 2", 2, &a->expiry);
}

static void add_number(kv_buf *out, uint64_t v)
{
    kv_buf_addf(out, "+%llu\t", (unsigned long long)v);
}

static bool add_row(void *arg, const kv_job_row *r)
{
    kv_buf *out = arg;
    const uint64_t first[] =
        {r->id,         r->seq,        r->epoch,          r->attempt,        r->max_attempts,
         r->not_before, r->created_at, (uint64_t)r->lane, (uint64_t)r->state},
                   last[] = {r->tag, r->backoff_ms, r->backoff_max_ms, r->deadline_ms};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        add_number(out, first[i]);
    kv_buf_addf(out, "+%s\t+%.*s\t", r->service, KV_SLICE_FMT(r->tenant));
    for (size_t i = 0; i < sizeof last / sizeof *last; i++)
        add_number(out, last[i]);
    kv_buf_addc(out, '\n');
    return true;
}

static void ask_after(kv_db *db, answers *a)
{
    dump(db,
         "SELECT " EVERY OF("o") " FROM job j LEFT JOIN job_option o ON o.job = j.id ORDER BY j.id",
         COLUMNS_N, &a->rows);
    OK(kv_jobs_unfinished(db, add_row, &a->unfinished));
    dump(db, "SELECT service, unique_key, job FROM job_key ORDER BY 1, 2", 3, &a->keys);
    dump(db, "SELECT service, job FROM dead_letter ORDER BY 1, 2", 2, &a->dead);
    dump(db, "SELECT user, job FROM job_option WHERE user IS NOT NULL ORDER BY 1, 2", 2, &a->users);
    dump(db, "SELECT at, job FROM job_expiry ORDER BY 1, 2", 2, &a->expiry);
}

static void at_version_2(kv_db *db)
{
    for (int i = 0; i < 2; i++)
        OK(kv_db_exec(db, kv_migrations[i].sql));
    OK(kv_db_exec(db, "PRAGMA user_version=2"));
}

static void check_readers(kv_db *db)
{
    kv_buf out;
    uint64_t other, next, dead;
    kv_buf_init(&out, 0);
    uint64_t keyed = (uint64_t)number(db, "SELECT min(job) FROM job_key WHERE service = 1");
    char key[32];
    snprintf(key, sizeof key, "k%llu", (unsigned long long)keyed / 3);
    OK(kv_job_of_key(db, 1, kv_slice_str(key), &other));
    assert_int_equal(other, keyed);
    OK(kv_job_get_json(db, 3 * 41 * 2, &out)); /* user, credits, operation */
    json_t *job = json_loads(kv_buf_str(&out), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(job, "user")), "u1");
    assert_int_equal(json_integer_value(json_object_get(job, "credits")), 5);
    json_decref(job);
    kv_buf_clear(&out);
    kv_jobs_query q = {.user = kv_slice_str("u1"), .state = -1, .lane = -1, .limit = 200};
    size_t listed = 0;
    do { /* a page ends after so much time, too */
        kv_buf_clear(&out);
        OK(kv_jobs_list_json(db, &q, &out, &next));
        job = json_loads(kv_buf_str(&out), 0, NULL);
        listed += json_array_size(job);
        json_decref(job);
        q.before = next;
    } while (next != 0);
    assert_int_equal(listed, number(db, "SELECT count(*) FROM job_option WHERE user = 'u1'"));
    OK(kv_jobs_dead_count(db, kv_slice_str("ai"), KINDS, &dead));
    assert_int_equal(dead,
                     number(db, "SELECT count(*) FROM job LEFT JOIN job_option ON job = id WHERE "
                                "state = 3 AND service = 1 AND retried_by IS NULL"));
    kv_buf_release(&out);
}

static void jobs_of_every_kind(void **state)
{
    scratch s;
    kv_db *db;
    answers before, after;
    int from, to;
    (void)state;
    scratch_make(&s);
    answers_init(&before);
    answers_init(&after);
    OK(kv_db_open(&s.cfg, KV_DB_WRITE, &db));
    at_version_2(db);
    OK(kv_db_exec(db, FILL));
    ask_before(db, &before);
    kv_db_close(&db); /* as a new program does: statements of the old schema are gone */
    OK(kv_db_open(&s.cfg, KV_DB_WRITE, &db));
    OK(kv_db_migrate(db, &from, &to));
    assert_int_equal(from, 2);
    assert_int_equal(to, kv_db_schema_version());
    ask_after(db, &after);
    same(&before.rows, &after.rows);
    same(&before.unfinished, &after.unfinished);
    same(&before.keys, &after.keys);
    same(&before.dead, &after.dead);
    same(&before.users, &after.users);
    same(&before.expiry, &after.expiry);
    assert_int_equal(number(db, KV_JOBS_TABLES_WRONG), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM job WHERE id >= (SELECT value FROM counter "
                                "WHERE name = 'open_from')"),
                     KV_OPEN_KEEP);
    assert_int_equal(number(db, "SELECT count(*) FROM sqlite_master WHERE tbl_name IN ('job', "
                                "'job_before') AND type <> 'table'"),
                     0); /* the indexes went with the old table */
    check_readers(db);
    kv_db_close(&db);
    answers_release(&before);
    answers_release(&after);
    scratch_remove(&s);
}

static void nothing_there(void **state)
{
    scratch s;
    kv_db *db;
    (void)state;
    scratch_make(&s);
    OK(kv_db_open(&s.cfg, KV_DB_WRITE, &db));
    at_version_2(db);
    OK(kv_db_migrate(db, NULL, NULL));
    assert_int_equal(number(db, "SELECT value FROM counter WHERE name = 'open_from'"), 0);
    assert_int_equal(number(db, KV_JOBS_TABLES_WRONG), 0);
    kv_db_close(&db);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_of_every_kind),
        cmocka_unit_test(nothing_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
