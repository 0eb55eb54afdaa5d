/* Queues come and go, and their names stay in the database: what was named once costs nothing. */
#include "tests/unit/exec_rig.h"

#include "storage/read/dead_letters.h"
#include "storage/read/jobs_list.h"
#include "tests/unit/many_rows.h"

enum { MANY = 300000, CPU_MAX_US = 50000 /* a walk over so many names takes ten times that */ };

static uint64_t jobs_of(kv_slice json)
{
    uint64_t n = 0;
    const char key[] = "\"jobId\"";
    for (const char *at = json.ptr, *end = json.ptr + json.len;
         (at = memmem(at, (size_t)(end - at), key, sizeof key - 1)); at++)
        n++;
    return n;
}

/* Pages of the dead letters of `service`, "" for all, as long as they go on. */
static uint64_t listed(kv_db *db, const char *service)
{
    kv_jobs_query q = {.service = kv_slice_str(service),
                       .state = KV_JOB_ERROR,
                       .lane = -1,
                       .limit = KV_JOBS_PAGE_MAX};
    uint64_t n = 0, next;
    kv_buf out;
    kv_buf_init(&out, 0);
    do {
        kv_buf_clear(&out);
        assert_int_equal(kv_jobs_list_json(db, &q, &out, &next), KV_OK);
        n += jobs_of(kv_buf_slice(&out));
        q.before = next;
    } while (next != 0);
    kv_buf_release(&out);
    return n;
}

static void add_up(void *arg, kv_slice service, int64_t n)
{
    assert_int_equal(service.ptr[0], 'q');
    *(int64_t *)arg += n;
}

static int64_t counted(kv_db *db, int64_t most)
{
    int64_t sum = 0;
    assert_int_equal(kv_dead_letters_each(db, most, add_up, &sum), KV_OK);
    return sum;
}

/* Names q1, q2 … and a job in error each for the first `dead` of them. */
static kv_db *make(int names, int dead)
{
    kv_db *db;
    char sql[512];
    assert_int_equal(kv_db_open_memory(&db), KV_OK);
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
             "INSERT INTO service SELECT i, 'q' || i FROM n",
             names);
    must(db, sql);
    snprintf(sql, sizeof sql,
             "INSERT INTO job (id, service, lane, state, seq, max_attempts, created_at, "
             "updated_at, params) SELECT id + 10, id, 1, 3, id, 3, 1, 1, '{}' FROM service "
             "WHERE id <= %d",
             dead);
    must(db, sql);
    must(db, "INSERT INTO dead_letter SELECT service, id FROM job");
    return db;
}

static void test_names_alone_cost_nothing(void **state)
{
    (void)state;
    kv_db *db = make(MANY, 3);
    int64_t begun = cpu_us();
    assert_int_equal(listed(db, ""), 3);
    assert_int_equal(listed(db, "q2"), 1);
    assert_int_equal(listed(db, "q300000"), 0);
    assert_int_equal(counted(db, 10), 3);
    assert_in_range(cpu_us() - begun, 0, CPU_MAX_US);
    kv_db_close(&db);
}

/* Above 4096 they are not merged; what was done again is listed neither way. */
static void test_dead_letters_of_many_queues(void **state)
{
    (void)state;
    for (int n = 4096; n <= 4097; n++) {
        kv_db *db = make(n + 1, n);
        assert_int_equal(listed(db, ""), n);
        assert_int_equal(listed(db, "q4095"), 1);
        assert_int_equal(counted(db, 10), n);
        must(db, "DELETE FROM dead_letter WHERE job = 12");
        assert_int_equal(listed(db, ""), n - 1);
        assert_int_equal(listed(db, "q2"), 0);
        kv_db_close(&db);
    }
}

static void test_each_is_counted_up_to_a_bound(void **state)
{
    (void)state;
    kv_db *db = make(9, 0);
    assert_int_equal(counted(db, 10), 0);
    must(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) "
             "INSERT INTO dead_letter SELECT iif(i < 20, 3, 7), i FROM n");
    assert_int_equal(counted(db, 1), 2);
    assert_int_equal(counted(db, 30), 19 + 30);
    assert_int_equal(counted(db, 100), 60);
    kv_db_close(&db);
}

static void submit(rig *r, uint64_t job, const char *service)
{
    kv_cmd *cmd = rig_submit_cmd(job, service);
    assert_int_equal(kv_exec_run(&r->x, cmd, NULL), KV_OK);
    assert_true(cmd->created);
    kv_cmd_free(&cmd);
}

static void test_the_ledger_remembers_some(void **state)
{
    rig r;
    char name[16];
    (void)state;
    rig_start(&r);
    assert_int_equal(kv_exec_begin(&r.x), KV_OK);
    for (int i = 1; i <= 10000; i++) {
        snprintf(name, sizeof name, "q%d", i);
        submit(&r, (uint64_t)i, name);
        assert_in_range(r.x.services.n, 1, 4096);
    }
    submit(&r, 10001, "q1"); /* forgotten, and the same as before */
    assert_int_equal(kv_exec_commit(&r.x), KV_OK);
    rig_collect(&r);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM service"), 10000);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job j JOIN service v ON v.id = j.service "
                                    "WHERE v.name = 'q1'"),
                     2);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_alone_cost_nothing),
        cmocka_unit_test(test_dead_letters_of_many_queues),
        cmocka_unit_test(test_each_is_counted_up_to_a_bound),
        cmocka_unit_test(test_the_ledger_remembers_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
