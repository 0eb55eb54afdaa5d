/* Lists of jobs: every filter against the plain answer, page by page, and the bounds of a page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "proto/base/id.h"
#include "storage/read/jobs.h"
#include "storage/read/jobs_list.h"
#include "tests/unit/jobs_tables.h"
#include "tests/unit/memory_db.h"

enum { JOBS = 400 };

static const char *const services[] = {"ai", "backup", "image-process"};
static const char *const tenants[] = {"", "acme", "umbrella"};
static const char *const users[] = {NULL, "ayse", "mehmet"};
static const char *const tags[] = {NULL, ",red,", ",red,blue,", ",reddish,"};

typedef struct row {
    uint64_t id;
    int service, lane, state, tenant, user, tags;
} row;
static row rows[JOBS]; /* oldest first */

/* With ids below it an unfinished job stands in job_open. */
enum { OPEN_FROM = 1000 + JOBS / 2 * 7 };

static void run(kv_stmt *s)
{
    bool have;
    OK(kv_db_step(s, &have));
    kv_db_done(s);
}

static int64_t number(kv_db *db, const char *sql)
{
    kv_stmt *s;
    bool have;
    OK(kv_db_prepare(db, sql, &s));
    OK(kv_db_step(s, &have));
    int64_t v = kv_col_i64(s, 0);
    kv_db_done(s);
    return v;
}

static void add_elsewhere(kv_db *db, const row *r)
{
    kv_stmt *s;
    if (r->user || r->tags) {
        OK(kv_db_prepare(db, "INSERT INTO job_option (job, user, tags) VALUES ($1, $2, $3)", &s));
        kv_bind_i64(s, 1, (int64_t)r->id);
        kv_bind_str(s, 2, kv_slice_str(users[r->user]));
        kv_bind_str(s, 3, kv_slice_str(tags[r->tags]));
        run(s);
    }
    if (r->state == KV_JOB_ERROR) {
        OK(kv_db_prepare(db, "INSERT INTO dead_letter VALUES ($1, $2)", &s));
        kv_bind_i64(s, 1, r->service + 1);
        kv_bind_i64(s, 2, (int64_t)r->id);
        run(s);
    }
    if (r->state < KV_JOB_COMPLETE && r->id < OPEN_FROM) {
        OK(kv_db_prepare(db, "INSERT INTO job_open VALUES ($1, $1 % 977)", &s));
        kv_bind_i64(s, 1, (int64_t)r->id);
        run(s);
    }
}

static void add(kv_db *db, const row *r)
{
    kv_stmt *s;
    OK(kv_db_prepare(db,
                     "INSERT INTO job (id, service, lane, state, seq, max_attempts, created_at, "
                     "updated_at, tenant, params, options) VALUES ($1, $2, $3, $4, "
                     "$1 % 977, 3, 1700000000000, 1700000001000, $5, '{\"secret\":1}', $6)",
                     &s));
    kv_bind_i64(s, 1, (int64_t)r->id);
    kv_bind_i64(s, 2, r->service + 1);
    kv_bind_i64(s, 3, r->lane);
    kv_bind_i64(s, 4, r->state);
    kv_bind_str(s, 5, kv_slice_str(tenants[r->tenant]));
    kv_bind_i64(s, 6, r->user || r->tags);
    run(s);
    add_elsewhere(db, r);
}

static int make_services(void **state)
{
    if (make(state) != 0)
        return -1;
    return kv_db_exec(*state, "INSERT INTO service VALUES (1, 'ai'), (2, 'backup'), "
                              "(3, 'image-process'), (4, 'empty')") == KV_OK
               ? 0
               : -1;
}

static void fill(kv_db *db, unsigned seed)
{
    kv_stmt *s;
    OK(kv_db_prepare(db, "UPDATE counter SET value = $1 WHERE name = 'open_from'", &s));
    kv_bind_i64(s, 1, OPEN_FROM);
    run(s);
    assert_int_equal(number(db, "SELECT count(*) FROM job_open"), 0);
    srandom(seed);
    for (int i = 0; i < JOBS; i++) {
        uint64_t id =
            i == JOBS - 1 ? INT64_MAX /* a client may choose it */ : 1000 + (uint64_t)i * 7;
        rows[i] = (row){.id = id,
                        .service = (int)(random() % 3),
                        .lane = (int)(random() % 3),
                        .state = i == JOBS - 1 ? (int)seed % 5 : (int)(random() % 5),
                        .tenant = (int)(random() % 3),
                        .user = (int)(random() % 3),
                        .tags = (int)(random() % 4)};
        add(db, &rows[i]);
    }
    assert_int_equal(number(db, KV_JOBS_TABLES_WRONG), 0);
}

static bool fits(const row *r, const kv_jobs_query *q)
{
    const char *user = users[r->user], *tag = tags[r->tags];
    char wanted[64];
    snprintf(wanted, sizeof wanted, ",%.*s,", KV_SLICE_FMT(q->tag));
    return (q->before == 0 || r->id < q->before) &&
           (q->service.len == 0 || kv_slice_is(q->service, services[r->service])) &&
           (q->tenant.len == 0 || kv_slice_is(q->tenant, tenants[r->tenant])) &&
           (q->user.len == 0 || (user && kv_slice_is(q->user, user))) &&
           (q->tag.len == 0 || (tag && strstr(tag, wanted))) &&
           (q->state == -1 || q->state == r->state || (q->state == -2 && r->state < 2)) &&
           (q->lane < 0 || q->lane == r->lane);
}

static json_t *page(kv_db *db, const kv_jobs_query *q, uint64_t *next)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    OK(kv_jobs_list_json(db, q, &out, next));
    json_t *list = json_loads(kv_buf_str(&out), 0, NULL);
    assert_non_null(list);
    assert_null(strstr(kv_buf_str(&out), "secret")); /* params are not listed */
    kv_buf_release(&out);
    return list;
}

static uint64_t id_of(const json_t *job)
{
    const char *text = json_string_value(json_object_get(job, "jobId"));
    uint64_t id = 0;
    assert_non_null(text);
    assert_true(kv_id_parse(text, strlen(text), &id));
    return id;
}

/* All pages give what fits, newest first, each once. */
static void compare(kv_db *db, kv_jobs_query q)
{
    int at = JOBS - 1, pages = 0;
    uint64_t next = 0;
    const kv_jobs_query asked = q;
    do {
        json_t *list = page(db, &q, &next);
        assert_true(json_array_size(list) <= (size_t)q.limit);
        for (size_t i = 0; i < json_array_size(list); i++) {
            while (at >= 0 && !fits(&rows[at], &asked))
                at--;
            assert_true(at >= 0);
            assert_int_equal(id_of(json_array_get(list, i)), rows[at--].id);
        }
        json_decref(list);
        assert_true(next == 0 || q.before == 0 || next < q.before);
        q.before = next;
        assert_true(++pages < 2 * JOBS);
    } while (next != 0);
    for (; at >= 0; at--)
        assert_false(fits(&rows[at], &asked));
}

static kv_slice maybe(const char *text)
{
    return random() % 2 ? kv_slice_str(text) : kv_slice_of("", 0);
}

static void every_filter(kv_db *db, unsigned seed)
{
    fill(db, seed);
    for (int i = 0; i < 600; i++) {
        kv_jobs_query q = {.service = maybe(services[random() % 3]),
                           .tenant = maybe(tenants[random() % 3]),
                           .user = random() % 3 ? kv_slice_of("", 0) : kv_slice_str("ayse"),
                           .tag = random() % 3 ? kv_slice_of("", 0) : kv_slice_str("red"),
                           .state = (int)(random() % 7) - 2,
                           .lane = (int)(random() % 4) - 1,
                           .before = random() % 4 ? 0 : 1000 + (uint64_t)(random() % (JOBS * 7)),
                           .limit = 1 + (int)(random() % 40)};
        compare(db, q);
    }
    for (int state = 0; state < 5; state++) {
        kv_jobs_query all = {.state = state, .lane = -1, .limit = 50};
        compare(db, all);
        all.user = kv_slice_str("ayse");
        compare(db, all);
    }
    kv_jobs_query none = {
        .service = kv_slice_str("nowhere"), .state = -1, .lane = -1, .limit = 200};
    compare(db, none);
    none.service = kv_slice_str("empty");
    none.state = KV_JOB_ERROR;
    compare(db, none);
}

static void every_filter_on_every_page(void **state)
{
    every_filter(*state, 7);
}

/* The job with the largest id is in another source then: the unfinished, the dead letters. */
static void the_newest_is_unfinished(void **state)
{
    every_filter(*state, 10);
    assert_int_equal(rows[JOBS - 1].state, KV_JOB_QUEUED);
}

static void the_newest_is_a_dead_letter(void **state)
{
    every_filter(*state, 13);
    assert_int_equal(rows[JOBS - 1].state, KV_JOB_ERROR);
}

static void what_a_row_shows(void **state)
{
    kv_db *db = *state;
    row r = {.id = 77, .service = 0, .lane = 0, .state = 3, .tenant = 1, .user = 1, .tags = 2};
    uint64_t next = 1;
    add(db, &r);
    kv_jobs_query q = {.state = -1, .lane = -1, .limit = 1};
    json_t *list = page(db, &q, &next);
    const json_t *job = json_array_get(list, 0);
    assert_int_equal(next, 0);
    assert_string_equal(json_string_value(json_object_get(job, "service")), "ai");
    assert_string_equal(json_string_value(json_object_get(job, "lane")), "urgent");
    assert_string_equal(json_string_value(json_object_get(job, "status")), "error");
    assert_string_equal(json_string_value(json_object_get(job, "tenant")), "acme");
    assert_string_equal(json_string_value(json_object_get(job, "user")), "ayse");
    assert_int_equal(json_array_size(json_object_get(job, "tags")), 2);
    assert_true(json_is_null(json_object_get(job, "retried_by")));
    assert_null(json_object_get(job, "params"));
    assert_null(json_object_get(job, "result"));
    assert_null(json_object_get(job, "history"));
    json_decref(list);
}

static void wrong_queries(void **state)
{
    static const kv_jobs_query bad[] = {
        {.state = -1, .lane = -1, .limit = 0},
        {.state = -1, .lane = -1, .limit = KV_JOBS_PAGE_MAX + 1},
        {.state = 5, .lane = -1, .limit = 1},
        {.state = -3, .lane = -1, .limit = 1},
        {.state = -1, .lane = 3, .limit = 1},
        {.state = -1, .lane = -1, .limit = 1, .tag = {"a,b", 3}},
    };
    kv_buf out;
    uint64_t next;
    kv_buf_init(&out, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(kv_jobs_list_json(*state, &bad[i], &out, &next), KV_E_BAD_PARAMETER);
    kv_buf_release(&out);
}

/* A page looks at 5000 rows at most: it comes back empty, and says where to go on. */
static void a_page_is_bounded(void **state)
{
    kv_db *db = *state;
    uint64_t next = 0;
    int pages = 0;
    size_t found = 0;
    OK(kv_db_exec(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                      "30000) INSERT INTO job (id, service, lane, state, seq, max_attempts, "
                      "created_at, updated_at, params) SELECT i, 1, 1, iif(i < 3, 4, 0), i, 3, 1, "
                      "1, '{}' FROM n"));
    kv_jobs_query q = {.state = KV_JOB_CANCELLED, .lane = -1, .limit = 10};
    do {
        json_t *list = page(db, &q, &next);
        found += json_array_size(list);
        json_decref(list);
        q.before = next;
        pages++;
    } while (next != 0);
    assert_int_equal(found, 2);
    assert_true(pages >= 6);
    /* so many are unfinished: still the newest first */
    q = (kv_jobs_query){.state = -2, .lane = -1, .limit = 3};
    json_t *list = page(db, &q, &next);
    assert_int_equal(id_of(json_array_get(list, 0)), 30000);
    assert_int_equal(next, 29998);
    json_decref(list);
}

/* The few that run are found among the many that wait, above open_from as below it. */
static void few_of_many(void **state)
{
    kv_db *db = *state;
    OK(kv_db_exec(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                      "20000) INSERT INTO job (id, service, lane, state, seq, max_attempts, "
                      "created_at, updated_at, params) SELECT i, 1, 1, i IN (20, 30), i, 3, 1, 1, "
                      "'{}' FROM n"));
    for (int below = 0; below < 2; below++) {
        kv_jobs_query q = {.state = KV_JOB_PROCESSING, .lane = -1, .limit = 3};
        size_t found = 0;
        do { /* one page, or more where time is short */
            uint64_t next;
            json_t *list = page(db, &q, &next);
            found += json_array_size(list);
            json_decref(list);
            q.before = next;
        } while (q.before != 0);
        assert_int_equal(found, 2);
        if (!below)
            OK(kv_db_exec(db, "INSERT INTO job_open SELECT id, seq FROM job WHERE id < 15000;"
                              "UPDATE counter SET value = 15000 WHERE name = 'open_from'"));
        assert_int_equal(number(db, KV_JOBS_TABLES_WRONG), 0);
    }
}

static void dead_letters_are_counted_up_to_a_bound(void **state)
{
    kv_db *db = *state;
    uint64_t n = 9, dead = 0;
    fill(db, 3);
    for (int i = 0; i < JOBS; i++)
        dead += rows[i].state == KV_JOB_ERROR && rows[i].service == 0;
    OK(kv_jobs_dead_count(db, kv_slice_str("ai"), 1000, &n));
    assert_int_equal(n, dead);
    OK(kv_jobs_dead_count(db, kv_slice_str("ai"), 5, &n));
    assert_int_equal(n, 5);
    OK(kv_jobs_dead_count(db, kv_slice_str("nowhere"), 5, &n));
    assert_int_equal(n, 0);
}

static void the_oldest_dead_letters(void **state)
{
    kv_db *db = *state;
    uint64_t ids[KV_JOBS_PAGE_MAX], after = 0;
    int n = 0, found = 0, dead = 0;
    bool known = false;
    fill(db, 3);
    for (int i = 0; i < JOBS; i++)
        dead += rows[i].state == KV_JOB_ERROR && rows[i].service == 0;
    do { /* page by page, the oldest first, each once */
        OK(kv_jobs_dead_oldest(db, kv_slice_str("ai"), after, 5, ids, &n));
        for (int i = 0; i < n; i++, found++) {
            assert_true(ids[i] > after);
            after = ids[i];
        }
    } while (n == 5);
    assert_int_equal(found, dead);
    OK(kv_jobs_dead_oldest(db, kv_slice_str("nowhere"), 0, 5, ids, &n));
    assert_int_equal(n, 0);
    OK(kv_jobs_service_known(db, kv_slice_str("ai"), &known));
    assert_true(known);
    OK(kv_jobs_service_known(db, kv_slice_str("nowhere"), &known));
    assert_false(known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_filter_on_every_page, make_services, drop),
        cmocka_unit_test_setup_teardown(the_newest_is_unfinished, make_services, drop),
        cmocka_unit_test_setup_teardown(the_newest_is_a_dead_letter, make_services, drop),
        cmocka_unit_test_setup_teardown(what_a_row_shows, make_services, drop),
        cmocka_unit_test_setup_teardown(wrong_queries, make_services, drop),
        cmocka_unit_test_setup_teardown(a_page_is_bounded, make_services, drop),
        cmocka_unit_test_setup_teardown(few_of_many, make_services, drop),
        cmocka_unit_test_setup_teardown(dead_letters_are_counted_up_to_a_bound, make_services,
                                        drop),
        cmocka_unit_test_setup_teardown(the_oldest_dead_letters, make_services, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
