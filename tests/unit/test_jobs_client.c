/* The C client for services, against a broker that the test plays in a thread. */
#include "proto/base/id.h"
#include "proto/batch.h"
#include "tests/unit/played_broker.h"

/* ---- asking ---- */

static void play_submit(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_msg a;
    assert(m->code == KV_SUBMIT);
    int i = s->script++;
    s->requests[i] = head->request;
    s->ids[i] = m->submit.job;
    if (i == 0) {
        refuse(s, head->request, KV_E_QUEUE_FULL, 20);
    } else if (i == 1) {
        kv_msg_defaults(KV_SUBMIT_OK, &a);
        a.submit_ok = (kv_submit_ok){.job = m->submit.job,
                                     .status = kv_slice_str("queued"),
                                     .created = true,
                                     .queue_position = 3,
                                     .lane_position = 2,
                                     .eta_high_ms = 900};
        reply(s, head->request, &a);
    } else {
        refuse(s, head->request, KV_E_NO_CREDIT, 0);
    }
}

static void a_submit_that_may_come_again_is_made_again(void **state)
{
    stage *s = begin(state, play_submit);
    kv_submit job;
    kv_job_client_state got;
    char long_name[100];
    kv_job_client_new(s->jobs, &job, "resize", "{}");
    assert_int_equal(kv_job_client_submit(s->jobs, &job, &got), KV_OK);
    assert_true(s->requests[0] != s->requests[1] && s->ids[0] == s->ids[1] && s->ids[0] == job.job);
    assert_true(got.job == job.job && got.created && got.queue_position == 3 &&
                got.lane_position == 2 && got.eta_high_ms == 900);
    assert_string_equal(got.status, "queued");
    assert_int_equal(kv_job_client_submit(s->jobs, &job, &got), KV_E_NO_CREDIT);
    assert_string_equal(kv_job_client_detail(s->jobs), "because");
    memset(long_name, 'a', sizeof long_name);
    job.service = kv_slice_of(long_name, sizeof long_name);
    assert_int_equal(kv_job_client_submit(s->jobs, &job, &got), KV_E_BAD_PARAMETER);
    kv_job_client_new(s->jobs, &job, "resize", "\"\xff\"");
    assert_int_equal(kv_job_client_submit(s->jobs, &job, &got), KV_E_BAD_PARAMETER);
    assert_int_equal(kv_job_client_metadata(s->jobs, job.job, "{\"a\":\"\xc5\"}", 0, NULL, NULL),
                     KV_E_BAD_PARAMETER);
    assert_int_equal(s->script, 3);
}

static void play_batch(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_msg a;
    kv_buf results;
    assert(m->code == KV_SUBMIT_BATCH && kv_batch_count(m->submit_batch.jobs) == 2);
    kv_buf_init(&results, 0);
    kv_batch_result one = {7, KV_OK, kv_slice_str("queued"), true},
                    two = {8, KV_E_BUSY, {0}, false};
    kv_batch_result_add(&results, &one);
    if (s->script++ == 0)
        kv_batch_result_add(&results, &two);
    kv_msg_defaults(KV_SUBMIT_BATCH_OK, &a);
    a.submit_batch_ok.results = kv_buf_slice(&results);
    reply(s, head->request, &a);
    kv_buf_release(&results);
}

static void each_of_a_batch_is_judged_alone(void **state)
{
    stage *s = begin(state, play_batch);
    kv_submit jobs[2];
    kv_job_client_state states[2];
    kv_err errs[2];
    for (int i = 0; i < 2; i++)
        kv_job_client_new(s->jobs, &jobs[i], "resize", "{}");
    assert_true(jobs[0].job != jobs[1].job);
    assert_int_equal(kv_job_client_submit_batch(s->jobs, jobs, 2, states, errs), KV_OK);
    assert_true(errs[0] == KV_OK && states[0].job == 7 && states[0].created);
    assert_true(errs[1] == KV_E_BUSY && states[1].job == 8 && !states[1].created);
    assert_int_equal(kv_job_client_submit_batch(s->jobs, jobs, 2, states, errs), KV_E_BAD_MESSAGE);
    assert_int_equal(kv_job_client_submit_batch(s->jobs, jobs, 1001, states, errs),
                     KV_E_BAD_PARAMETER);
}

/* ---- waiting ---- */

/* Cancelled, done again under a new id, and its metadata: each answer reaches the caller's hands.
 */
static void play_steering(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_msg a;
    if (m->code == KV_CANCEL) {
        kv_msg_defaults(KV_CANCEL_OK, &a);
        a.cancel_ok = (kv_cancel_ok){.job = m->cancel.job, .was = kv_slice_str("processing")};
    } else if (m->code == KV_RETRY) {
        kv_msg_defaults(KV_SUBMIT_OK, &a);
        s->ids[s->script++] = m->retry.new_job;
        a.submit_ok = (kv_submit_ok){.job = m->retry.new_job,
                                     .status = kv_slice_str("queued"),
                                     .created = true,
                                     .queue_position = 5};
    } else {
        assert(m->code == KV_METADATA && kv_slice_is(m->metadata.patch, "{\"a\":1}"));
        if (m->metadata.version == 9) {
            refuse(s, head->request, KV_E_CONFLICT, 0);
            return;
        }
        kv_msg_defaults(KV_METADATA_OK, &a);
        a.metadata_ok.job = m->metadata.job;
        a.metadata_ok.version = m->metadata.version + 1;
        a.metadata_ok.metadata = kv_slice_str("{\"a\":1,\"b\":2}");
    }
    reply(s, head->request, &a);
}

static void a_job_is_steered(void **state)
{
    stage *s = begin(state, play_steering);
    char was[17];
    kv_job_client_state again;
    uint64_t version = 0;
    kv_buf json;
    kv_buf_init(&json, 0);
    assert_int_equal(kv_job_client_cancel(s->jobs, 77, was), KV_OK);
    assert_string_equal(was, "processing");
    assert_int_equal(kv_job_client_retry(s->jobs, 77, &again), KV_OK);
    assert_true(again.job == s->ids[0] && again.job != 0 && again.job != 77);
    assert_string_equal(again.status, "queued");
    assert_int_equal(again.queue_position, 5);
    assert_int_equal(kv_job_client_metadata(s->jobs, 77, "{\"a\":1}", 3, &version, &json), KV_OK);
    assert_int_equal(version, 4);
    assert_string_equal(kv_buf_str(&json), "{\"a\":1,\"b\":2}");
    assert_int_equal(kv_job_client_metadata(s->jobs, 77, "{\"a\":1}", 0, NULL, NULL), KV_OK);
    assert_int_equal(kv_job_client_metadata(s->jobs, 77, "{\"a\":1}", 9, &version, NULL),
                     KV_E_CONFLICT);
    assert_int_equal(version, 4);
    kv_buf_release(&json);
}

static void tell_position(stage *s, uint64_t request, const char *status, int position)
{
    char id[KV_ID_TEXT + 1], json[300];
    kv_msg m;
    kv_id_format(77, id);
    snprintf(json, sizeof json,
             "[{\"jobId\":\"%s\",\"status\":%s,\"queue_position\":%d,\"lane_position\":%d,"
             "\"eta_seconds\":[1,4]}]",
             id, status, position, position);
    kv_msg_defaults(KV_POSITIONS, &m);
    m.positions.json = kv_slice_str(json);
    reply(s, request, &m);
}

/* Valid JSON, with numbers and texts that a library may refuse, and more than one "status". */
#define ODD_ROW                                                                                    \
    "{\"params\":[12345678901234567890,1e999,\"\\ud800\",\"]}\\\"\",{\"status\":\"queued\"}],"     \
    "\"note\":\"status\",\"status\":\"complete\",\"n\":1}"

/* Waits second, then processing, then over; its row is late once. */
static void play_wait(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_msg a;
    if (m->code == KV_POSITION && s->script == 0) {
        assert(m->position.watch && m->position.jobs.len == 8 && m->position.jobs.ptr[7] == 77);
        tell_position(s, head->request, "\"queued\"", 2);
        tell_position(s, 0, "\"processing\"", 0);
        tell_position(s, 0, "null", 0);
    } else if (m->code == KV_POSITION) {
        tell_position(s, head->request, "null", 0);
    } else {
        assert(m->code == KV_JOB_GET && m->job_get.job == 77);
        kv_msg_defaults(KV_JOB_STATUS, &a);
        a.job_status.json =
            kv_slice_str(s->script++ == 0 ? "{\"status\":\"processing\"}" : ODD_ROW);
        reply(s, head->request, &a);
    }
}

static void note_position(void *arg, const kv_job_client_state *state)
{
    kv_buf *seen = arg;
    kv_buf_addf(seen, "%s %lld %u; ", state->status, (long long)state->queue_position,
                (unsigned)state->eta_high_ms);
}

static void waiting_tells_positions_and_ends_with_the_row(void **state)
{
    stage *s = begin(state, play_wait);
    kv_buf seen, json;
    kv_buf_init(&seen, 0);
    kv_buf_init(&json, 0);
    assert_int_equal(kv_job_client_wait(s->jobs, 77, WAIT_MS, note_position, &seen, &json), KV_OK);
    assert_string_equal(kv_buf_str(&json), ODD_ROW);
    assert_string_equal(kv_buf_str(&seen), "queued 2 4000; processing 0 4000; ");
    kv_buf_release(&seen);
    kv_buf_release(&json);
}

static void play_nothing(stage *s, const kv_header *head, const kv_msg *m)
{
    if (m->code == KV_POSITION)
        tell_position(s, head->request, "\"queued\"", 1);
}

static volatile sig_atomic_t stop_asked;

static void waiting_ends_in_time_or_when_stopped(void **state)
{
    stage *s = begin(state, play_nothing);
    kv_buf json;
    kv_buf_init(&json, 0);
    assert_int_equal(kv_job_client_wait(s->jobs, 77, 50, NULL, NULL, &json), KV_E_BROKER_AWAY);
    kv_job_client_close(&s->jobs);
    kv_job_client_opts opts = {.broker = s->broker, .events = s->events, .stop = &stop_asked};
    assert_int_equal(kv_job_client_open(&opts, &s->jobs), KV_OK);
    stop_asked = 1;
    assert_int_equal(kv_job_client_wait(s->jobs, 77, WAIT_MS, NULL, NULL, &json), KV_E_DRAINING);
    assert_int_equal(kv_job_client_cancel(s->jobs, 77, (char[17]){0}), KV_E_DRAINING);
    stop_asked = 0;
    kv_buf_release(&json);
}

/* ---- following ---- */

static void events_between(uint64_t first, uint64_t last, kv_buf *out)
{
    kv_json_open(out, '[');
    for (uint64_t id = first; id <= last; id++) {
        kv_json_open(out, '{');
        kv_json_key(out, "id");
        kv_json_u64(out, id);
        kv_json_key(out, "type");
        kv_json_cstr(out, "t");
        kv_json_close(out, '}');
    }
    kv_json_close(out, ']');
}

static kv_msg events_message(uint64_t first, uint64_t last, kv_buf *text)
{
    kv_msg m;
    kv_buf_clear(text);
    events_between(first, last, text);
    kv_msg_defaults(KV_EVENTS, &m);
    m.events =
        (kv_events){.prev = first - 1, .first = first, .last = last, .events = kv_buf_slice(text)};
    return m;
}

/* The log has `script` events. */
static void play_log(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_buf text;
    uint64_t after = m->events_get.after, newest = (uint64_t)s->script;
    if (m->code == KV_STATS) {
        kv_msg a;
        kv_msg_defaults(KV_STATS_OK, &a);
        reply(s, head->request, &a);
        return;
    }
    assert(m->code == KV_EVENTS_GET);
    kv_buf_init(&text, 0);
    if (after > newest) {
        refuse(s, head->request, KV_E_NOT_FOUND, 0);
    } else {
        kv_msg a = events_message(after + 1, newest < after + 2 ? newest : after + 2, &text);
        reply(s, head->request, &a);
    }
    while (after == 2 && newest == 2 && !s->subscribed) { /* all is read: now the live ones */
        char byte;
        if (zmq_recv(s->pub, &byte, 1, 0) > 0)
            s->subscribed = true;
    }
    if (after == 2 && newest == 2) {
        kv_msg e = events_message(1, 2, &text); /* had already */
        publish(s, &e);
        e = events_message(3, 3, &text);
        publish(s, &e);
        s->script = 9;
        e = events_message(6, 6, &text); /* 4 and 5 were lost */
        publish(s, &e);
        kv_msg_defaults(KV_EVENT_HEAD, &e);
        e.event_head.last = 9;
        publish(s, &e);
    }
    kv_buf_release(&text);
}

static bool note_event(void *arg, uint64_t id, kv_slice type, kv_slice json)
{
    kv_buf *seen = arg;
    assert_true(kv_slice_is(type, "t") && json.ptr[0] == '{');
    kv_buf_addf(seen, "%u ", (unsigned)id);
    return id < 9;
}

static void events_come_once_and_in_order(void **state)
{
    stage *s = begin(state, play_log);
    kv_buf seen;
    kv_buf_init(&seen, 0);
    s->script = 2;
    assert_int_equal(kv_job_client_follow(s->jobs, 0, note_event, &seen), KV_OK);
    assert_string_equal(kv_buf_str(&seen), "1 2 3 4 5 6 7 8 9 ");
    kv_buf_clear(&seen);
    s->last_event = 7; /* since the session began */
    assert_int_equal(kv_job_client_follow(s->jobs, KV_EVENTS_FROM_NOW, note_event, &seen), KV_OK);
    assert_string_equal(kv_buf_str(&seen), "8 9 ");
    assert_int_equal(kv_job_client_follow(s->jobs, 10, note_event, &seen), KV_E_NOT_FOUND);
    kv_buf_release(&seen);
}

/* Busy for longer than a call has time. */
static void play_busy_log(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_buf text;
    assert(m->code == KV_EVENTS_GET);
    if (s->script++ < 3) {
        refuse(s, head->request, KV_E_BUSY, 60);
        return;
    }
    kv_buf_init(&text, 0);
    kv_msg a = events_message(9, 9, &text);
    reply(s, head->request, &a);
    kv_buf_release(&text);
}

static void a_busy_broker_ends_no_follower(void **state)
{
    stage *s = begin(state, play_busy_log);
    kv_job_client *hasty;
    kv_buf seen;
    kv_buf_init(&seen, 0);
    kv_job_client_opts opts = {
        .broker = s->broker, .events = s->events, .name = "hasty", .timeout_ms = 50};
    assert_int_equal(kv_job_client_open(&opts, &hasty), KV_OK);
    assert_int_equal(kv_job_client_follow(hasty, 8, note_event, &seen), KV_OK);
    assert_string_equal(kv_buf_str(&seen), "9 ");
    assert_true(s->script >= 4);
    kv_job_client_close(&hasty);
    kv_buf_release(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_submit_that_may_come_again_is_made_again, make, drop),
        cmocka_unit_test_setup_teardown(each_of_a_batch_is_judged_alone, make, drop),
        cmocka_unit_test_setup_teardown(a_job_is_steered, make, drop),
        cmocka_unit_test_setup_teardown(waiting_tells_positions_and_ends_with_the_row, make, drop),
        cmocka_unit_test_setup_teardown(waiting_ends_in_time_or_when_stopped, make, drop),
        cmocka_unit_test_setup_teardown(events_come_once_and_in_order, make, drop),
        cmocka_unit_test_setup_teardown(a_busy_broker_ends_no_follower, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
