/* Positions, asked for and pushed, with a fake clock. */
#include "tests/unit/rig_text.h"

#include "broker/watch.h"
#include "proto/base/metrics.h"

static uint64_t ask(text_rig *t, const char *peer, const uint64_t *jobs, size_t n, bool watch,
                    bool unwatch)
{
    char ids[(KV_POSITIONS_ONE + 1) * KV_ID_BYTES];
    kv_msg m;
    for (size_t i = 0; i < n; i++)
        kv_id_put(ids, i, jobs[i]);
    kv_msg_defaults(KV_POSITION, &m);
    m.position.jobs = kv_slice_of(ids, n * KV_ID_BYTES);
    m.position.watch = watch;
    m.position.unwatch = unwatch;
    return rig_say(&t->r, peer, &m);
}

static uint64_t ask_one(text_rig *t, const char *peer, uint64_t job, bool watch)
{
    return ask(t, peer, &job, 1, watch, false);
}

/* The entry of a job in the last message; NULL: none. */
static json_t *entry(const text_rig *t, uint64_t job)
{
    char id[KV_ID_TEXT + 1];
    kv_id_format(job, id);
    for (size_t i = 0; i < json_array_size(t->last); i++) {
        json_t *e = json_array_get(t->last, i);
        if (strcmp(json_string_value(json_object_get(e, "jobId")), id) == 0)
            return e;
    }
    return NULL;
}

/* status NULL and position -1: null. */
static void expect(const text_rig *t, uint64_t job, const char *status, int64_t position,
                   int64_t lane_position)
{
    const json_t *e = entry(t, job);
    assert_non_null(e);
    const json_t *queue = json_object_get(e, "queue_position");
    const json_t *lane = json_object_get(e, "lane_position");
    if (status)
        assert_string_equal(json_string_value(json_object_get(e, "status")), status);
    else
        assert_true(json_is_null(json_object_get(e, "status")));
    assert_true(position < 0 ? json_is_null(queue) : json_integer_value(queue) == position);
    assert_true(lane_position < 0 ? json_is_null(lane) : json_integer_value(lane) == lane_position);
}

static void add_worker(text_rig *t, uint64_t credit)
{
    rig_hello(&t->r, "w", "worker", "w", 2);
    rig_ready(&t->r, "w", "ai", credit);
    text_commit(t);
}

static void fill(text_rig *t, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++) {
        rig_submit(&t->r, "c", i, "ai", 1);
        text_commit(t);
    }
}

static void finish(text_rig *t, uint64_t job)
{
    rig_done(&t->r, "w", job, 1, 1);
    text_commit(t);
}

/* A quarter of a second, in which everybody is heard. */
static void quarter(text_rig *t)
{
    rig_beat(&t->r, "c", 0);
    rig_beat(&t->r, "w", 4096);
    t->messages = t->entries = 0;
    for (int i = 0; i < 5; i++)
        rig_tick(&t->r, 50);
    t->r.n = 0;
}

/* S3-12 S3-14 S3-36: asked after a reload; each job has its own position, 1 2 3. */
static void test_ask(void **state)
{
    text_rig t;
    uint64_t jobs[] = {3, 1, 2, 77};
    (void)state;
    text_client(&t);
    fill(&t, 1, 3);
    rig_submit(&t.r, "c", 4, "ai", 0);
    rig_submit(&t.r, "c", 5, "other", 1);
    uint64_t request = ask(&t, "c", jobs, 4, false, false);
    assert_int_equal(t.request, request);
    assert_int_equal(json_array_size(t.last), 4);
    assert_ptr_equal(entry(&t, 3), json_array_get(t.last, 0)); /* in the order asked */
    expect(&t, 1, "queued", 2, 1);
    expect(&t, 2, "queued", 3, 2);
    expect(&t, 3, "queued", 4, 3);
    expect(&t, 77, NULL, -1, -1);
    assert_true(json_is_null(json_object_get(entry(&t, 1), "eta_seconds")));
    ask_one(&t, "c", 5, false);
    expect(&t, 5, "queued", 1, 1);
    add_worker(&t, 1);
    ask(&t, "c", (uint64_t[]){4, 1}, 2, false, false);
    expect(&t, 4, "processing", 0, 0); /* S3-17, Y07 */
    expect(&t, 1, "queued", 1, 1);
    finish(&t, 4);
    ask_one(&t, "c", 4, false);
    expect(&t, 4, NULL, -1, -1);
    assert_int_equal(t.r.core->watches, 0);
    text_stop(&t);
}

/* S3-10: with measured service times there is a range. */
static void test_ask_eta(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    add_worker(&t, 1);
    fill(&t, 1, 5);
    for (uint64_t i = 1; i <= 2; i++) {
        for (int q = 0; q < 8; q++)
            quarter(&t);
        finish(&t, i);
    }
    ask(&t, "c", (uint64_t[]){3, 5}, 2, false, false);
    assert_true(json_is_null(json_object_get(entry(&t, 3), "eta_seconds")));
    const json_t *range = json_object_get(entry(&t, 5), "eta_seconds"); /* 2 s each, 2 ahead */
    assert_int_equal(json_array_size(range), 2);
    assert_true(json_integer_value(json_array_get(range, 0)) <= 4);
    assert_true(json_integer_value(json_array_get(range, 1)) >= 4);
    text_stop(&t);
}

/* S3-10 S3-11 S3-13: a job begins, another ends: those who wait are told, and those two. */
static void test_pushed(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    fill(&t, 1, 3);
    ask(&t, "c", (uint64_t[]){1, 2, 3}, 3, true, false);
    assert_int_equal(t.r.core->watches, 3);
    quarter(&t);
    assert_int_equal(t.messages, 0); /* nothing changed */
    add_worker(&t, 1);
    quarter(&t);
    assert_int_equal(t.messages, 1);
    assert_int_equal(t.request, 0);
    assert_int_equal(t.entries, 3);
    expect(&t, 1, "processing", 0, 0);
    expect(&t, 2, "queued", 1, 1);
    expect(&t, 3, "queued", 2, 2);
    quarter(&t);
    assert_int_equal(t.messages, 0);
    finish(&t, 1);
    quarter(&t);
    assert_int_equal(t.entries, 3);
    expect(&t, 1, "complete", -1, -1);
    expect(&t, 2, "processing", 0, 0);
    expect(&t, 3, "queued", 1, 1);
    assert_int_equal(t.r.core->watches, 2);
    text_stop(&t);
}

/* What ended is told when it is committed, not before; a job that failed at the ledger is as its
 * row is. */
static void test_told_after_commit(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    add_worker(&t, 1);
    fill(&t, 1, 1);
    ask_one(&t, "c", 1, true);
    rig_done(&t.r, "w", 1, 1, 1);
    for (int i = 0; i < 4; i++) {
        quarter(&t);
        assert_int_equal(t.messages, 0);
    }
    ask_one(&t, "c", 1, false);
    expect(&t, 1, NULL, -1,
           -1); /* neither is told here: ask JOB_GET, it stands behind the commit */
    text_commit(&t);
    quarter(&t);
    expect(&t, 1, "complete", -1, -1);
    assert_int_equal(t.r.core->watches, 0);
    assert_int_equal(t.r.core->watched.n, 0);

    rig_submit(&t.r, "c", 2, "ai", 1);
    ask_one(&t, "c", 2, true); /* not committed, and will be refused */
    while (t.r.commands.first) /* and no row is found */
        rig_answer(&t.r, t.r.commands.first->type == KV_CMD_FIND ? KV_OK : KV_E_NOT_FOUND);
    quarter(&t);
    expect(&t, 2, NULL, -1, -1);
    assert_int_equal(t.r.core->watches, 0);

    rig_submit(&t.r, "c", 3, "ai", 1);
    rig_answer(&t.r, KV_OK);
    rig_answer(&t.r, KV_E_DB); /* its lease, which may stand in the row all the same: */
    ask_one(&t, "c", 3, true); /* only who runs has the place 0, */
    expect(&t, 3, "queued", -1, -1);
    t.r.commands.first->place =
        (kv_job_place){.found = true, .state = KV_JOB_PROCESSING, .epoch = 1, .attempt = 1};
    rig_answer(&t.r, KV_OK);
    quarter(&t);
    expect(&t, 3, "processing", 0, 0); /* and it is told when the row was read */
    text_stop(&t);
}

/* Pushes are bounded by the place: 4 a second up to 10, 1 up to 100, one in 5 s beyond; the queue
 * moves all the time. */
static void test_rates(void **state)
{
    text_rig t;
    int near = 0, middle = 0, far = 0;
    (void)state;
    text_client(&t);
    fill(&t, 1, 1600);
    text_service(&t, "ai")->order.share = 0;
    add_worker(&t, 1);
    for (uint64_t i = 1; i < 395; i++)
        finish(&t, i);
    ask(&t, "c", (uint64_t[]){400, 460, 1590}, 3, true, false);
    expect(&t, 400, "queued", 5, 5);
    expect(&t, 460, "queued", 65, 65);
    uint64_t urgent = 5000, running = 395;
    for (int i = 0; i < 40; i++) { /* 10 s; two come ahead, two begin, and again */
        if (i % 3 < 2) {
            rig_submit(&t.r, "c", ++urgent, "ai", 0);
            text_commit(&t);
        } else {
            finish(&t, running);
            finish(&t, urgent - 1);
            running = urgent;
        }
        quarter(&t);
        near += entry(&t, 400) && t.messages;
        middle += entry(&t, 460) && t.messages;
        far += entry(&t, 1590) && t.messages;
        if (i == 3)
            assert_true(near == 4 && middle <= 1 && far <= 1);
    }
    assert_true(middle >= 9 && middle <= 11);
    assert_true(far >= 2 && far <= 3);
    assert_int_equal(near, 40);
    text_stop(&t);
}

/* A job far behind is looked at in time for the faster pushes, also where the queue moves by more
 * than 100 in the 5 s between two of the slow ones. */
static void test_fast_queue(void **state)
{
    text_rig t;
    uint64_t done = 0;
    int pushes = 0, middle = 0;
    (void)state;
    text_client(&t);
    fill(&t, 1, 2100);
    add_worker(&t, 1);
    for (int i = 0; i < 44; i++) { /* what is measured: 100 a second */
        for (int n = 0; n < 25; n++)
            finish(&t, ++done);
        quarter(&t);
    }
    ask_one(&t, "c", 2050, true);
    while (done < 2048) {
        for (int n = 0; n < 25 && done < 2048; n++)
            finish(&t, ++done);
        quarter(&t);
        if (!t.messages)
            continue;
        pushes++;
        middle += json_integer_value(json_object_get(entry(&t, 2050), "queue_position")) <= 100;
    }
    assert_true(middle >= 1);
    assert_true(pushes - middle <= 3); /* in 9.5 s */
    text_stop(&t);
}

/* Delay, backoff, cancel of a waiting one. */
static void test_other_ways(void **state)
{
    text_rig t;
    kv_msg m;
    (void)state;
    text_client(&t);
    fill(&t, 1, 2);
    m = rig_job(3, "ai", 1);
    m.submit.delay_ms = 2000;
    rig_say(&t.r, "c", &m);
    text_commit(&t);
    ask(&t, "c", (uint64_t[]){1, 2, 3}, 3, true, false);
    expect(&t, 3, "queued", -1, -1); /* it has none while it is delayed */
    kv_msg_defaults(KV_CANCEL, &m);
    m.cancel.job = 1;
    rig_say(&t.r, "c", &m);
    text_commit(&t);
    quarter(&t);
    expect(&t, 1, "cancelled", -1, -1);
    expect(&t, 2, "queued", 1, 1);
    t.last = (json_decref(t.last), NULL);
    for (int i = 0; i < 10 && !t.last; i++)
        quarter(&t);
    expect(&t, 3, "queued", 2, 2); /* its time has come */
    add_worker(&t, 1);
    quarter(&t);
    expect(&t, 2, "processing", 0, 0);
    rig_fail(&t.r, "w", 2, 1, 1, true);
    text_commit(&t);
    quarter(&t);
    expect(&t, 2, "queued", -1, -1); /* until it is tried again */
    expect(&t, 3, "processing", 0, 0);
    text_stop(&t);
}

/* Two sessions watch one job; each goes its own way. */
static void test_sessions(void **state)
{
    text_rig t;
    kv_msg bye;
    (void)state;
    text_client(&t);
    rig_hello(&t.r, "d", "client", "d", 3);
    fill(&t, 1, 20);
    ask_one(&t, "c", 1, true);
    ask_one(&t, "d", 1, true);
    ask_one(&t, "d", 2, true);
    ask_one(&t, "d", 2, true); /* twice is once */
    assert_int_equal(t.r.core->watches, 3);
    add_worker(&t, 1);
    rig_beat(&t.r, "d", 0);
    quarter(&t);
    assert_int_equal(t.messages, 2);
    assert_int_equal(t.entries, 3);
    rig_hello(&t.r, "c", "client", "c", 1); /* the same one again, say over a new connection */
    assert_int_equal(t.r.core->watches, 3);
    rig_hello(&t.r, "c2", "client", "c", 99); /* another instance takes the name */
    assert_int_equal(t.r.core->watches, 2);
    ask(&t, "d", (uint64_t[]){1}, 1, false, true);
    assert_int_equal(t.r.core->watches, 1);
    assert_int_equal(t.r.core->watched.n, 1);
    kv_msg_defaults(KV_BYE, &bye);
    rig_say(&t.r, "d", &bye);
    assert_int_equal(t.r.core->watches, 0);
    assert_int_equal(t.r.core->watched.n, 0);
    assert_null(t.r.core->watchings);
    rig_hello(&t.r, "d", "client", "d", 3);
    ask_one(&t, "d", 5, true);
    assert_int_equal(t.r.core->watches, 1);
    text_wait(&t, 4000); /* silent */
    assert_int_equal(t.r.core->watches, 0);
    text_stop(&t);
}

/* More than one message holds, and more than a tick looks at: all are told, in messages of at most
 * 256. */
static void test_many(void **state)
{
    text_rig t;
    enum { JOBS = 6000 };
    uint64_t ids[KV_POSITIONS_ONE];
    kv_msg m;
    int told = 0;
    (void)state;
    text_client(&t);
    fill(&t, 1, JOBS);
    for (uint64_t i = 0; i < JOBS; i += KV_POSITIONS_ONE) {
        size_t n = 0;
        for (; n < KV_POSITIONS_ONE && i + n < JOBS; n++)
            ids[n] = i + n + 1;
        ask(&t, "c", ids, n, true, false);
    }
    assert_int_equal(t.r.core->watches, JOBS);
    kv_msg_defaults(KV_PURGE, &m);
    m.purge.service = kv_slice_str("ai");
    rig_say(&t.r, "c", &m);
    text_commit(&t);
    rig_beat(&t.r, "c", 0);
    for (int i = 0; i < 8; i++) {
        t.messages = t.entries = 0;
        rig_tick(&t.r, 100);
        told += t.entries;
        assert_true(t.entries <= t.messages * KV_POSITIONS_ONE);
        assert_true(t.entries <= 4096);
        t.r.n = 0;
    }
    assert_int_equal(told, JOBS);
    assert_int_equal(t.r.core->watches, 0);
    text_stop(&t);
}

static void test_limits(void **state)
{
    text_rig t;
    kv_msg m;
    (void)state;
    text_client(&t);
    kv_msg_defaults(KV_POSITION, &m);
    m.position.jobs = kv_slice_str("short");
    rig_expect_error(&t.r, rig_say(&t.r, "c", &m), KV_E_BAD_MESSAGE);
    m.position.jobs = kv_slice_of("12345678", 8);
    m.position.watch = m.position.unwatch = true;
    rig_expect_error(&t.r, rig_say(&t.r, "c", &m), KV_E_BAD_MESSAGE);
    rig_submit(&t.r, "c", 1, "ai", 1);
    t.r.core->watches = KV_WATCHES_MAX;
    rig_expect_error(&t.r, ask_one(&t, "c", 1, true), KV_E_BUSY);
    t.r.core->watches = 0;
    ask(&t, "c", NULL, 0, false, false);
    assert_int_equal(json_array_size(t.last), 0);
    text_stop(&t);
}

/* S3-35 S3-37 S3-38: many histories; what was pushed last is where each job is, unique and dense.
 */
static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        text_rig t;
        enum { JOBS = 60 };
        bool taken[JOBS + 2] = {false};
        uint64_t random = seed, made = 0, waiting = 0;
        text_client(&t);
        for (int i = 0; i < 200; i++) {
            kv_msg m;
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t dice = random >> 33, job = 1 + dice / 16 % JOBS;
            if (dice % 4 < 2 && made < JOBS) {
                rig_submit(&t.r, "c", ++made, "ai", dice / 4 % 3);
                ask_one(&t, "c", made, true);
            } else if (dice % 4 == 2) {
                kv_msg_defaults(KV_CANCEL, &m);
                m.cancel.job = job;
                rig_say(&t.r, "c", &m);
            } else {
                kv_msg_defaults(KV_PROMOTE, &m);
                m.promote.job = job;
                m.promote.lane = dice / 4 % 3;
                rig_say(&t.r, "c", &m);
            }
            if (dice & 64)
                text_commit(&t);
            if (dice % 8 == 1)
                quarter(&t);
            t.r.n = 0;
        }
        text_commit(&t);
        for (int i = 0; i < 22; i++)
            quarter(&t);
        for (uint64_t job = 1; job <= made; job++) {
            ask_one(&t, "c", job, false);
            const json_t *at = json_object_get(entry(&t, job), "queue_position");
            if (!json_is_integer(at))
                continue;
            int64_t n = json_integer_value(at);
            assert_true(n >= 1 && n <= JOBS && !taken[n]);
            taken[n] = true;
            waiting++;
        }
        for (uint64_t n = 1; n <= waiting; n++)
            assert_true(taken[n]);
        assert_int_equal(t.r.core->watches, waiting);
        text_stop(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask),        cmocka_unit_test(test_ask_eta),
        cmocka_unit_test(test_pushed),     cmocka_unit_test(test_told_after_commit),
        cmocka_unit_test(test_rates),      cmocka_unit_test(test_fast_queue),
        cmocka_unit_test(test_other_ways), cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_many),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_random),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kv_metrics_reset();
    return failed;
}
