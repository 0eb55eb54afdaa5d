/* Credits: with jobs and without them; granted = available + held + spent, whatever happens. */
#include "tests/unit/exec_rig.h"

#include "storage/read/credits.h"
#include "storage/write/credits.h"

enum { GRANT, RESERVE, CONFIRM, REFUND };

static kv_cmd *credit(rig *r, uint64_t transaction, uint64_t what, const char *user,
                      uint64_t amount)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_CREDIT, 0);
    cmd->credit = (kv_credit){.transaction = transaction,
                              .what = what,
                              .user = kv_slice_str(user),
                              .amount = amount,
                              .operation = kv_slice_str("generate")};
    return rig_run(r, cmd);
}

/* What became of it, and the account as the answer says it. */
static void check(rig *r, uint64_t transaction, uint64_t what, const char *user, uint64_t amount,
                  const char *state, kv_account expect)
{
    kv_cmd *cmd = credit(r, transaction, what, user, amount);
    assert_int_equal(cmd->err, KV_OK);
    assert_int_equal(cmd->account.transaction, transaction);
    assert_true(kv_slice_is(cmd->account.state, state));
    assert_int_equal(cmd->account.available, expect.available);
    assert_int_equal(cmd->account.held, expect.held);
    assert_int_equal(cmd->account.spent, expect.spent);
    kv_cmd_free(&cmd);
}

static void refused(rig *r, uint64_t transaction, uint64_t what, const char *user, uint64_t amount,
                    kv_err expect)
{
    kv_cmd *cmd = credit(r, transaction, what, user, amount);
    assert_int_equal(cmd->err, expect);
    kv_cmd_free(&cmd);
}

static kv_account account(rig *r, const char *user)
{
    kv_account a;
    assert_int_equal(kv_account_get(r->x.db, kv_slice_str(user), &a), KV_OK);
    assert_int_equal(a.granted, a.available + a.held + a.spent);
    return a;
}

#define ACCOUNT(a, h, s) ((kv_account){.available = (a), .held = (h), .spent = (s)})

static kv_cmd *grant(rig *r, uint64_t transaction, const char *user, uint64_t amount,
                     const char *key)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_CREDIT, 0);
    cmd->credit = (kv_credit){.transaction = transaction,
                              .what = GRANT,
                              .user = kv_slice_str(user),
                              .amount = amount,
                              .operation = kv_slice_str("paid"),
                              .key = kv_slice_str(key)};
    return rig_run(r, cmd);
}

static void grants(rig *r, uint64_t transaction, const char *user, uint64_t amount, const char *key,
                   kv_err err, uint64_t expect)
{
    kv_cmd *cmd = grant(r, transaction, user, amount, key);
    assert_int_equal(cmd->err, err);
    if (err == KV_OK)
        assert_int_equal(cmd->account.transaction, expect);
    kv_cmd_free(&cmd);
}

/* A grant with a key counts once, whatever its transaction; and its key is nobody else's. */
static void test_keys_of_grants(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    grants(&r, 1, "u", 10, "order-1", KV_OK, 1);
    grants(&r, 1, "u", 10, "order-1", KV_OK, 1);
    grants(&r, 2, "u", 10, "order-1", KV_OK, 1);
    assert_int_equal(account(&r, "u").granted, 10);
    grants(&r, 3, "u", 11, "order-1", KV_E_CONFLICT, 0);
    grants(&r, 3, "v", 10, "order-1", KV_E_CONFLICT, 0);
    assert_int_equal(account(&r, "v").granted, 0);
    grants(&r, 3, "v", 10, "order-2", KV_OK, 3);
    grants(&r, 4, "v", 10, "", KV_OK, 4); /* without a key each is its own */
    grants(&r, 5, "v", 10, "", KV_OK, 5);
    grants(&r, 5, "v", 10, "order-3", KV_OK, 5); /* the same again, now with a key */
    grants(&r, 6, "v", 10, "order-3", KV_OK, 5);
    assert_int_equal(account(&r, "v").granted, 30);
    grants(&r, 7, "w", 10, "order-4", KV_OK, 7);
    grants(&r, 8, "w", 10, "order-4", KV_OK, 7); /* who lost the transaction with the answer */
    assert_int_equal(account(&r, "w").granted, 10);
    rig_stop(&r);
}

static kv_err reserve(rig *r, uint64_t transaction, uint64_t amount, const char *key,
                      uint64_t *ret_transaction)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_CREDIT, 0);
    cmd->credit = (kv_credit){.transaction = transaction,
                              .what = RESERVE,
                              .user = kv_slice_str("u"),
                              .amount = amount,
                              .operation = kv_slice_str("paid"),
                              .key = kv_slice_str(key)};
    kv_err err = rig_run(r, cmd)->err;
    *ret_transaction = cmd->account.transaction;
    kv_cmd_free(&cmd);
    return err;
}

/* The same of reserves; one that is refused takes no key. */
static void test_keys_of_reserves(void **state)
{
    rig r;
    uint64_t held;
    (void)state;
    rig_start(&r);
    assert_int_equal(reserve(&r, 1, 10, "k", &held), KV_E_NO_CREDIT);
    grants(&r, 2, "u", 25, "", KV_OK, 2);
    for (uint64_t transaction = 3; transaction < 6; transaction++) {
        assert_int_equal(reserve(&r, transaction, 10, "k", &held), KV_OK);
        assert_int_equal(held, 3);
    }
    assert_int_equal(account(&r, "u").held, 10);
    assert_int_equal(reserve(&r, 6, 11, "k", &held), KV_E_CONFLICT);
    rig_stop(&r);
}

/* A row says when it was made, and it and its account when they were changed last. */
static void test_times(void **state)
{
    static const char account[] = "SELECT updated_at FROM user_credits",
                      first[] = "SELECT updated_at FROM credit_transactions WHERE id = 1",
                      hold[] = "SELECT updated_at FROM credit_transactions WHERE id = 2";
    rig r;
    (void)state;
    rig_start(&r);
    check(&r, 9, GRANT, "u", 5, "granted", ACCOUNT(5, 0, 0));
    check(&r, 1, GRANT, "u", 5, "granted", ACCOUNT(10, 0, 0));
    rig_stamped(&r, first);
    rig_stamped(&r, account);
    check(&r, 2, RESERVE, "u", 4, "held", ACCOUNT(6, 4, 0));
    rig_stamped(&r, hold);
    rig_stamped(&r, account);
    int64_t made = kv_wall_ms(&r.clock.clock);
    check(&r, 2, CONFIRM, "", 0, "spent", ACCOUNT(6, 0, 4));
    rig_stamped(&r, hold);
    rig_stamped(&r, account);
    assert_int_equal(rig_number(&r, "SELECT created_at FROM credit_transactions WHERE id = 2"),
                     made);
    rig_stop(&r);
}

/* S4-07 S4-68 S4-69 S4-70 S4-71 S4-72 S4-73 S4-74, Y14, Y15 */
static void test_transactions(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    refused(&r, 2, RESERVE, "u", 1, KV_E_NO_CREDIT); /* nobody has heard of the user */
    check(&r, 1, GRANT, "u", 10, "granted", ACCOUNT(10, 0, 0));
    check(&r, 1, GRANT, "u", 10, "granted", ACCOUNT(10, 0, 0)); /* the same again */
    refused(&r, 1, GRANT, "u", 11, KV_E_CONFLICT);
    refused(&r, 1, RESERVE, "u", 10, KV_E_CONFLICT);
    refused(&r, 2, RESERVE, "u", 11, KV_E_NO_CREDIT);
    check(&r, 2, RESERVE, "u", 4, "held", ACCOUNT(6, 4, 0)); /* a refused one left nothing */
    check(&r, 2, RESERVE, "u", 4, "held", ACCOUNT(6, 4, 0));
    check(&r, 3, RESERVE, "u", 6, "held", ACCOUNT(0, 10, 0));
    refused(&r, 4, RESERVE, "u", 1, KV_E_NO_CREDIT);
    check(&r, 2, CONFIRM, "", 0, "spent", ACCOUNT(0, 6, 4));
    check(&r, 2, CONFIRM, "", 0, "spent", ACCOUNT(0, 6, 4));
    refused(&r, 2, REFUND, "", 0, KV_E_CONFLICT); /* of a confirmed one */
    check(&r, 3, REFUND, "", 0, "refunded", ACCOUNT(6, 0, 4));
    check(&r, 3, REFUND, "", 0, "refunded", ACCOUNT(6, 0, 4));
    refused(&r, 3, CONFIRM, "", 0, KV_E_CONFLICT);
    check(&r, 3, RESERVE, "u", 6, "refunded", ACCOUNT(6, 0, 4)); /* what became of it */
    refused(&r, 1, CONFIRM, "", 0, KV_E_CONFLICT);               /* a grant */
    refused(&r, 9, CONFIRM, "", 0, KV_E_NOT_FOUND);
    refused(&r, 0, GRANT, "u", 1, KV_E_BAD_PARAMETER);
    refused(&r, 9, GRANT, "", 1, KV_E_BAD_PARAMETER);
    refused(&r, 9, RESERVE, "u", 0, KV_E_BAD_PARAMETER);
    assert_int_equal(account(&r, "u").granted, 10);
    rig_stop(&r);
}

/* ---- with jobs ---- */

static kv_cmd *submit(rig *r, uint64_t job, const char *user, uint64_t credits, const char *key)
{
    kv_cmd *cmd = rig_submit_cmd(job, "ai");
    cmd->submit.credits = credits;
    cmd->submit.user = kv_slice_str(user);
    cmd->submit.unique_key = kv_slice_str(key);
    cmd->submit.operation = kv_slice_str("video");
    return rig_run(r, cmd);
}

static kv_err submit_err(rig *r, uint64_t job, const char *user, uint64_t credits, const char *key)
{
    kv_cmd *cmd = submit(r, job, user, credits, key);
    kv_err err = cmd->err;
    assert_int_equal(cmd->created, err == KV_OK);
    kv_cmd_free(&cmd);
    return err;
}

static void end_job(rig *r, uint64_t job, int to)
{
    rig_move(r, job, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    assert_int_equal(rig_move(r, job, "ai", KV_JOB_PROCESSING, to, 1, "{}", NULL), KV_OK);
}

/* S4-75…77, Y16 */
static void test_holds_of_jobs(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    check(&r, 1, GRANT, "u", 10, "granted", ACCOUNT(10, 0, 0));
    assert_int_equal(submit_err(&r, 100, "u", 3, NULL), KV_OK);
    assert_int_equal(submit_err(&r, 101, "u", 3, NULL), KV_OK);
    assert_int_equal(submit_err(&r, 102, "u", 3, NULL), KV_OK);
    assert_int_equal(account(&r, "u").held, 9);
    rig_forget(&r);
    assert_int_equal(submit_err(&r, 103, "u", 2, NULL), KV_E_NO_CREDIT);
    assert_int_equal(submit_err(&r, 104, "nobody", 1, NULL), KV_E_NO_CREDIT);
    assert_int_equal(submit_err(&r, 105, NULL, 1, NULL), KV_E_BAD_PARAMETER);
    assert_int_equal(submit_err(&r, 1, "u", 1, NULL), KV_E_CONFLICT); /* the grant has that id */
    assert_string_equal(kv_buf_str(&r.events), "");
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 3);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM credit_transactions"), 4);
    kv_cmd *cmd = submit(&r, 100, "u", 3, NULL); /* sent again */
    assert_int_equal(cmd->err, KV_OK);
    assert_false(cmd->created);
    kv_cmd_free(&cmd);
    assert_int_equal(account(&r, "u").held, 9);

    refused(&r, 100, CONFIRM, "", 0, KV_E_CONFLICT); /* by its job only */
    refused(&r, 100, REFUND, "", 0, KV_E_CONFLICT);
    refused(&r, 100, RESERVE, "u", 3, KV_E_CONFLICT);
    end_job(&r, 100, KV_JOB_COMPLETE);
    assert_int_equal(account(&r, "u").spent, 3);
    end_job(&r, 101, KV_JOB_ERROR);
    end_job(&r, 102, KV_JOB_CANCELLED);
    kv_account a = account(&r, "u");
    assert_int_equal(a.available, 7);
    assert_int_equal(a.held, 0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM credit_transactions WHERE job = id AND "
                                    "operation = 'video'"),
                     3);
    rig_stop(&r);
}

static void test_retry_holds_anew(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    check(&r, 1, GRANT, "u", 5, "granted", ACCOUNT(5, 0, 0));
    submit_err(&r, 100, "u", 3, NULL);
    end_job(&r, 100, KV_JOB_ERROR);
    check(&r, 2, RESERVE, "u", 5, "held", ACCOUNT(0, 5, 0));
    kv_cmd *cmd = kv_cmd_new(KV_CMD_RETRY, 0);
    cmd->retry = (kv_cmd_retry){.job = 100, .new_job = 200};
    rig_run(&r, cmd);
    assert_int_equal(cmd->err, KV_E_NO_CREDIT);
    assert_int_equal(cmd->jobs_n, 0);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job_option WHERE retried_by IS NOT NULL"),
                     0);
    check(&r, 2, REFUND, "", 0, "refunded", ACCOUNT(5, 0, 0));
    cmd = kv_cmd_new(KV_CMD_RETRY, 0);
    cmd->retry = (kv_cmd_retry){.job = 100, .new_job = 200};
    rig_run(&r, cmd);
    assert_true(cmd->created);
    kv_cmd_free(&cmd);
    r.made_n = 0;
    assert_int_equal(account(&r, "u").held, 3);
    end_job(&r, 200, KV_JOB_COMPLETE);
    assert_int_equal(account(&r, "u").spent, 3);
    rig_stop(&r);
}

/* A taken unique key holds nothing. */
static void test_unique_key_holds_once(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    check(&r, 1, GRANT, "u", 5, "granted", ACCOUNT(5, 0, 0));
    assert_int_equal(submit_err(&r, 100, "u", 3, "k"), KV_OK);
    kv_cmd *cmd = submit(&r, 101, "u", 1, "k");
    assert_false(cmd->created);
    assert_int_equal(cmd->other, 100);
    kv_cmd_free(&cmd);
    assert_int_equal(account(&r, "u").held, 3);
    rig_stop(&r);
}

/* ---- any order of anything ---- */

typedef struct model {
    uint64_t available[3], held[3], spent[3];
    int job_state[200]; /* 0 none, 1 queued, 2 leased, 3 ended */
    uint64_t job_amount[200];
    int job_user[200];
} model;

static uint32_t dice(uint64_t *seed, uint32_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % n;
}

static void random_submit(rig *r, model *m, uint64_t *seed)
{
    static const char *const users[] = {"a", "b", "c"};
    int job = (int)dice(seed, 200), user = (int)dice(seed, 3);
    uint64_t amount = dice(seed, 6);
    kv_cmd *cmd = submit(r, 1000 + (uint64_t)job, users[user], amount, NULL);
    if (m->job_state[job] != 0) {
        assert_int_equal(cmd->err, KV_OK);
        assert_false(cmd->created);
    } else if (amount > m->available[user]) {
        assert_int_equal(cmd->err, KV_E_NO_CREDIT);
    } else {
        assert_true(cmd->created);
        m->available[user] -= amount;
        m->held[user] += amount;
        m->job_state[job] = 1;
        m->job_amount[job] = amount;
        m->job_user[job] = user;
    }
    kv_cmd_free(&cmd);
}

static void random_move(rig *r, model *m, uint64_t *seed)
{
    int job = (int)dice(seed, 200), user = m->job_user[job];
    int to = KV_JOB_COMPLETE + (int)dice(seed, 3);
    uint64_t id = 1000 + (uint64_t)job;
    if (m->job_state[job] == 1 && dice(seed, 2)) {
        assert_int_equal(rig_move(r, id, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL),
                         KV_OK);
        m->job_state[job] = 2;
        return;
    }
    kv_err err = rig_move(r, id, "ai", KV_JOB_PROCESSING, to, 1, "{}", NULL);
    assert_int_equal(err, m->job_state[job] == 2 ? KV_OK : KV_E_STALE_LEASE);
    if (err != KV_OK)
        return;
    m->job_state[job] = 3;
    m->held[user] -= m->job_amount[job];
    *(to == KV_JOB_COMPLETE ? &m->spent[user] : &m->available[user]) += m->job_amount[job];
}

static void random_credit(rig *r, uint64_t *seed)
{
    static const char *const users[] = {"a", "b", "c"};
    uint64_t what = dice(seed, 4);
    kv_cmd *cmd = credit(r, 1 + dice(seed, 40), what, what < CONFIRM ? users[dice(seed, 3)] : "",
                         what < CONFIRM ? 1 + dice(seed, 9) : 0);
    kv_cmd_free(&cmd);
}

static void read_model(rig *r, model *m)
{
    static const char *const users[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        kv_account a = account(r, users[i]);
        m->available[i] = a.available;
        m->held[i] = a.held;
        m->spent[i] = a.spent;
    }
}

static void check_model(rig *r, const model *m)
{
    model now;
    read_model(r, &now);
    assert_memory_equal(now.available, m->available, sizeof now.available);
    assert_memory_equal(now.held, m->held, sizeof now.held);
    assert_memory_equal(now.spent, m->spent, sizeof now.spent);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM user_credits WHERE granted <> available + "
                                   "held + spent"),
                     0);
    assert_int_equal(
        rig_number(r, "SELECT count(*) FROM user_credits u WHERE held <> (SELECT "
                      "ifnull(sum(amount), 0) FROM credit_transactions t WHERE t.user = u.user "
                      "AND t.state = 1)"),
        0);
    assert_int_equal(/* money and job never disagree */
                     rig_number(
                         r,
                         "SELECT count(*) FROM job j JOIN job_option o ON o.job = j.id LEFT JOIN "
                         "credit_transactions t ON t.id = j.id "
                         "WHERE o.credits > 0 AND t.state IS NOT CASE j.state WHEN 0 THEN 1 WHEN 1 "
                         "THEN 1 WHEN 2 THEN 2 ELSE 3 END"),
                     0);
}

static void test_random_histories(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 4; run++) {
        rig r;
        model m = {.available = {0}};
        uint64_t seed = run;
        rig_start(&r);
        for (int i = 0; i < 1500; i++) {
            uint32_t what = dice(&seed, 10);
            if (what < 4)
                random_submit(&r, &m, &seed);
            else if (what < 8)
                random_move(&r, &m, &seed);
            else
                random_credit(&r, &seed);
            if (what >= 8)
                read_model(&r, &m); /* what they did is judged by the sums alone */
            if (i % 25 == 0)
                check_model(&r, &m);
        }
        check_model(&r, &m);
        rig_stop(&r);
    }
}

/* ---- read ---- */

static void test_json(void **state)
{
    rig r;
    kv_buf json;
    (void)state;
    rig_start(&r);
    kv_buf_init(&json, 0);
    assert_int_equal(kv_credits_json(r.x.db, kv_slice_str("x"), 0, &json), KV_OK);
    assert_string_equal(json.data, "{\"user\":\"x\",\"granted\":0,\"available\":0,\"held\":0,"
                                   "\"spent\":0,\"transactions\":[],\"next\":null}");
    kv_cmd *cmd;
    for (uint64_t i = 1; i <= 60; i++) {
        cmd = credit(&r, i, GRANT, "u", 2);
        kv_cmd_free(&cmd);
    }
    submit_err(&r, 100, "u", 3, NULL);
    kv_buf_clear(&json);
    assert_int_equal(kv_credits_json(r.x.db, kv_slice_str("u"), 0, &json), KV_OK);
    assert_non_null(strstr(json.data, "\"granted\":120,\"available\":117,\"held\":3,\"spent\":0,"
                                      "\"transactions\":[{\"id\":\"0000000000034\",\"jobId\":"
                                      "\"0000000000034\",\"amount\":3,\"state\":\"held\","
                                      "\"operation\":\"video\",\"created_at\":\"2026-"));
    assert_non_null(strstr(json.data, "\"next\":\"000000000000c\"}")); /* 12 is the last shown */
    kv_buf_clear(&json);
    assert_int_equal(kv_credits_json(r.x.db, kv_slice_str("u"), 12, &json), KV_OK);
    assert_non_null(
        strstr(json.data, "\"transactions\":[{\"id\":\"000000000000b\",\"jobId\":null"));
    assert_non_null(strstr(json.data, "\"next\":null"));
    kv_buf_release(&json);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_keys_of_grants),
        cmocka_unit_test(test_keys_of_reserves),
        cmocka_unit_test(test_holds_of_jobs),
        cmocka_unit_test(test_retry_holds_anew),
        cmocka_unit_test(test_unique_key_holds_once),
        cmocka_unit_test(test_random_histories),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
