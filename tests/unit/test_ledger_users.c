/* Notifications, kept until seen, and settings of queues, in the ledger. */
#include "tests/unit/exec_rig.h"

#include "broker/tidy.h"
#include "storage/read/notifications.h"
#include "storage/read/settings.h"

/* ---- NOTIFY, SEEN ---- */

static kv_err notify(rig *r, uint64_t event, const char *user, const char *json)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_NOTIFY, 0);
    cmd->notify =
        (kv_notify){event, kv_slice_str(user), kv_slice_str("job.complete"), kv_slice_str(json)};
    return rig_end(r, cmd);
}

static void seen(rig *r, const char *user, uint64_t upto)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_SEEN, 0);
    cmd->seen = (kv_seen){kv_slice_str(user), upto};
    assert_int_equal(rig_end(r, cmd), KV_OK);
}

static void must(rig *r, const char *sql)
{
    assert_int_equal(kv_db_exec(r->x.db, sql), KV_OK);
}

/* Of a slice: up to which there are more. */
static uint64_t seen_slice(rig *r, const char *user, uint64_t upto)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_SEEN, 0);
    cmd->seen = (kv_seen){kv_slice_str(user), upto};
    rig_run(r, cmd);
    assert_int_equal(cmd->err, KV_OK);
    uint64_t more = cmd->other;
    kv_cmd_free(&cmd);
    return more;
}

static void make_events(rig *r, uint64_t n)
{
    for (uint64_t i = 1; i <= n; i++) {
        kv_cmd *cmd = rig_submit_cmd(i, "ai");
        rig_run(r, cmd);
        kv_cmd_free(&cmd);
    }
    rig_forget(r);
}

static void list(rig *r, const char *user, uint64_t before, int limit, kv_buf *json, uint64_t *next)
{
    kv_buf_clear(json);
    assert_int_equal(kv_notifications_json(r->x.db, kv_slice_str(user), before, limit, json, next),
                     KV_OK);
}

static void test_notify_once(void **state)
{
    rig r;
    uint64_t mark;
    (void)state;
    rig_start(&r);
    make_events(&r, 5);
    assert_int_equal(notify(&r, 3, "u", "{\"jobId\":\"x\"}"), KV_OK);
    assert_true(rig_saw(&r, "\"type\":\"notification.created\""));
    assert_true(rig_saw(&r, "\"user\":\"u\",\"notification\":{\"id\":\"0000000000003\",\"kind\":"
                            "\"job.complete\",\"at\":\"2026-"));
    assert_true(rig_saw(&r, "\"body\":{\"jobId\":\"x\"}}}"));
    rig_forget(&r);
    assert_int_equal(notify(&r, 3, "u", "{}"), KV_OK); /* again, and an older one */
    assert_int_equal(notify(&r, 2, "v", "{}"), KV_OK);
    assert_string_equal(kv_buf_str(&r.events), "");
    assert_int_equal(notify(&r, 4, "", "{}"), KV_OK); /* only the mark */
    assert_string_equal(kv_buf_str(&r.events), "");
    assert_int_equal(kv_notified_get(r.x.db, &mark), KV_OK);
    assert_int_equal(mark, 4);
    assert_int_equal(notify(&r, 99, "u", "{}"), KV_E_BAD_PARAMETER); /* beyond the log */
    assert_int_equal(notify(&r, 0, "u", "{}"), KV_E_BAD_PARAMETER);
    assert_int_equal(notify(&r, 5, "u", "[]"), KV_E_BAD_PARAMETER);
    assert_int_equal(notify(&r, 5, "u", "{\"a\""), KV_E_BAD_PARAMETER);
    assert_int_equal(notify(&r, 5, "u", "{\"a\":1e999}"), KV_E_BAD_PARAMETER); /* nobody reads it */
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification"), 1);
    assert_int_equal(notify(&r, 5, "u", " {\r\n\n\t\"a\": 1}\n"), KV_OK); /* one line to readers */
    assert_true(rig_saw(&r, "\"body\":{\"a\":1}}}"));
    rig_stop(&r);
}

static void test_list_and_seen(void **state)
{
    rig r;
    kv_buf json;
    uint64_t next;
    (void)state;
    rig_start(&r);
    kv_buf_init(&json, 0);
    make_events(&r, 10);
    for (uint64_t i = 1; i <= 9; i++)
        assert_int_equal(notify(&r, i, i % 3 ? "u" : "v", "{}"), KV_OK);
    list(&r, "u", 0, 4, &json, &next); /* 8 7 5 4 | 2 1 */
    assert_non_null(strstr(json.data, "[{\"id\":\"0000000000008\""));
    assert_int_equal(next, 4);
    list(&r, "u", next, 4, &json, &next);
    assert_non_null(strstr(json.data, "[{\"id\":\"0000000000002\""));
    assert_int_equal(next, 0);
    rig_forget(&r);
    seen(&r, "u", 5);
    assert_true(rig_saw(&r, "\"type\":\"notification.seen\""));
    assert_true(rig_saw(&r, "\"user\":\"u\",\"upto\":\"0000000000005\"}"));
    list(&r, "u", 0, 4, &json, &next);
    assert_null(strstr(json.data, "0000000000005"));
    assert_non_null(strstr(json.data, "0000000000007"));
    rig_forget(&r);
    seen(&r, "u", 5); /* nothing new */
    seen(&r, "w", 0);
    assert_string_equal(kv_buf_str(&r.events), "");
    seen(&r, "u", 0);
    list(&r, "u", 0, 4, &json, &next);
    assert_string_equal(json.data, "[]");
    list(&r, "v", 0, 4, &json, &next);
    assert_non_null(strstr(json.data, "0000000000009"));
    assert_int_equal(kv_notifications_json(r.x.db, kv_slice_str("v"), 0, 201, &json, &next),
                     KV_E_BAD_PARAMETER);
    kv_buf_release(&json);
    rig_stop(&r);
}

static void test_very_many_are_seen_in_slices(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    must(&r, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5001) "
             "INSERT INTO notification SELECT i, 'u', 'k', 1, NULL, '{}' FROM n");
    assert_int_equal(seen_slice(&r, "u", 4001), 4001);
    assert_true(rig_saw(&r, "\"user\":\"u\",\"upto\":\"00000000001yg\"}")); /* 2000 */
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification WHERE seen_at IS NULL"),
                     3001);
    assert_int_equal(seen_slice(&r, "u", 4001), 4001);
    assert_int_equal(seen_slice(&r, "u", 4001), 0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification WHERE seen_at IS NULL"),
                     1000);
    assert_int_equal(seen_slice(&r, "u", 0), 0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification WHERE seen_at IS NULL"), 0);
    must(&r, "UPDATE notification SET seen_at = NULL");
    assert_int_equal(seen_slice(&r, "u", 0), 5001); /* what comes from now on is not meant */
    rig_stop(&r);
}

static void tidy_after(rig *r, int64_t days)
{
    kv_config cfg = {.job_retention_hours = 8760, .event_retention_hours = 8760};
    kv_tidy tidy = {.cfg = &cfg};
    kv_fake_clock_advance(&r->clock, days * 86400 * 1000);
    (void)kv_tidy_slice(&tidy, r->x.db, kv_wall_ms(&r->clock.clock));
}

static void test_pruned(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    make_events(&r, 4);
    for (uint64_t i = 1; i <= 4; i++)
        notify(&r, i, "u", "{}");
    tidy_after(&r, 60);
    seen(&r, "u", 2);
    tidy_after(&r, 6);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification"), 4);
    tidy_after(&r, 2); /* seen more than 7 days ago */
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification"), 2);
    tidy_after(&r, 21);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification"), 2);
    tidy_after(&r, 2); /* unseen for more than 90 */
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM notification"), 0);
    rig_stop(&r);
}

/* ---- QUEUE_SET ---- */

static void set(rig *r, const char *service, const char *tenant, int64_t paused,
                int64_t concurrency, int64_t weight)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_QUEUE_SET, 0);
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    cmd->queue_set = m.queue_set;
    cmd->queue_set.service = kv_slice_str(service);
    cmd->queue_set.tenant_set = tenant != NULL;
    cmd->queue_set.tenant = kv_slice_str(tenant);
    cmd->queue_set.paused = paused;
    cmd->queue_set.concurrency = concurrency;
    cmd->queue_set.weight = weight;
    assert_int_equal(rig_end(r, cmd), KV_OK);
}

static bool print_setting(void *arg, const kv_setting *s)
{
    kv_buf_addf(arg, "%.*s/%s%.*s paused=%d concurrency=%d rate=%d weight=%d;",
                KV_SLICE_FMT(s->service), s->of_tenant ? "@" : "", KV_SLICE_FMT(s->tenant),
                (int)s->paused, (int)s->concurrency, (int)s->rate_per_minute, (int)s->weight);
    return true;
}

static void test_settings(void **state)
{
    rig r;
    kv_buf text;
    (void)state;
    rig_start(&r);
    kv_buf_init(&text, 0);
    set(&r, "ai", "", -1, 2, 5);
    set(&r, "ai", NULL, 1, -1, -1);
    assert_true(rig_saw(&r, "\"type\":\"queue.changed\""));
    assert_true(rig_saw(&r, "\"service\":\"ai\"}"));
    set(&r, "ai", NULL, -1, 7, -1); /* the pause stays */
    set(&r, "ai", NULL, 0, -1, -1);
    set(&r, "ai", "acme", -1, -1, 9);
    assert_int_equal(kv_settings_all(r.x.db, print_setting, &text), KV_OK);
    assert_string_equal(kv_buf_str(&text), "ai/ paused=0 concurrency=7 rate=-1 weight=-1;"
                                           "ai/@ paused=-1 concurrency=2 rate=-1 weight=5;"
                                           "ai/@acme paused=-1 concurrency=-1 rate=-1 weight=9;");
    kv_buf_release(&text);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notify_once),
        cmocka_unit_test(test_list_and_seen),
        cmocka_unit_test(test_very_many_are_seen_in_slices),
        cmocka_unit_test(test_pruned),
        cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
