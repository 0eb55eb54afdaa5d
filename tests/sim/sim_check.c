#include <string.h>

#include "broker/core_types.h"
#include "broker/json_check.h"
#include "broker/lanes.h"
#include "broker/services.h"
#include "proto/base/id.h"
#include "storage/read/jobs.h"
#include "tests/sim/sim.h"
#include "tests/unit/event_log.h"
#include "tests/unit/jobs_tables.h"

/* ---- facts ---- */

sim_fact *sim_fact_of(sim *s, uint64_t job)
{
    for (int i = s->facts_n - 1; i >= 0; i--) {
        if (s->facts[i].id == job)
            return &s->facts[i];
    }
    return NULL;
}

sim_fact *sim_fact_new(sim *s, uint64_t job, int service)
{
    if (s->facts_n == SIM_JOBS)
        return NULL;
    sim_fact *f = &s->facts[s->facts_n++];
    *f = (sim_fact){
        .id = job, .service = service, .user = -1, .last_terminal = -1, .last_state = -1};
    return f;
}

/* ---- events: exactly one end, and nothing behind it ---- */

static int state_of(const char *type)
{
    static const char *const names[] = {"queued", "processing", "complete", "error", "cancelled"};
    for (int i = 0; i < 5; i++) {
        size_t len = strlen(names[i]);
        if (strncmp(type, names[i], len) == 0 && type[len] == '"')
            return i;
    }
    return -1;
}

/* Queued again while it waits: promoted. */
static bool may_follow(int last, int state)
{
    if (last < 0)
        return state == KV_JOB_QUEUED;
    return last == KV_JOB_PROCESSING ? state != KV_JOB_PROCESSING
                                     : last == KV_JOB_QUEUED && state != KV_JOB_COMPLETE;
}

static void see_event(sim *s, uint64_t job, int state)
{
    sim_fact *f = sim_fact_of(s, job);
    if (!f && s->media)
        return; /* a removal, which the ledger made */
    SIM_HOLDS(s, f, "an event of a job nobody made: %llu", (unsigned long long)job);
    SIM_HOLDS(s, f->terminals == 0, "job %llu goes to %s after its end", (unsigned long long)job,
              kv_job_state_name(state));
    SIM_HOLDS(s, may_follow(f->last_state, state), "job %llu goes from %s to %s",
              (unsigned long long)job, kv_job_state_name(f->last_state), kv_job_state_name(state));
    f->last_state = state;
    if (state == KV_JOB_PROCESSING)
        s->begun++;
    if (state >= KV_JOB_COMPLETE) {
        f->terminals++;
        f->last_terminal = state;
    }
}

void sim_check_events(sim *s, const kv_event_row *rows)
{
    static const char type[] = "\"type\":\"job.", id[] = "\"jobId\":\"";
    for (const kv_event_row *row = rows; row; row = row->next) {
        SIM_HOLDS(s, row->prev + 1 == row->first && row->first <= row->last,
                  "event ids with a gap");
        SIM_HOLDS(s, event_log_has(s->x.db, row), "the log differs from what was published");
        SIM_HOLDS(s, kv_json_valid(kv_buf_slice(&row->body)), "events that are not JSON");
        for (const char *at = row->body.data; (at = strstr(at, type));) {
            at += sizeof type - 1;
            int state = state_of(at);
            const char *job = strstr(at, id);
            uint64_t number;
            SIM_HOLDS(s, job && kv_id_parse(job + sizeof id - 1, KV_ID_TEXT, &number),
                      "a job event without a job");
            if (state >= 0)
                see_event(s, number, state);
        }
    }
}

/* ---- attempts: what is given back is none, and is bounded; the backoff counts failures ---- */

/* Whoever said HELLO again named what it has: nothing that is worked on goes to another. */
static void check_nobody_has(sim *s, const kv_cmd_move *m)
{
    for (int i = 0; i < SIM_WORKERS; i++) {
        const sim_worker *w = &s->workers[i];
        for (int j = 0; j < w->n; j++)
            SIM_HOLDS(s,
                      w->held[j].job != m->job || w->held[j].epoch != m->epoch ||
                          w->held[j].attempt != m->attempt,
                      "job %llu was not lost: %s works on it", (unsigned long long)m->job,
                      w->node.name);
    }
}

static void check_given_back(sim *s, const kv_cmd_move *m, int64_t wait)
{
    unsigned long long job = m->job;
    bool at_once = m->given_back <= KV_GIVEN_BACK_AT_ONCE;
    SIM_HOLDS(s, wait == (at_once ? 0 : KV_GIVEN_BACK_WAIT_MS),
              "job %llu, given back %llu times, waits %lld ms", job,
              (unsigned long long)m->given_back, (long long)wait);
    s->given_back++;
    s->waited += !at_once;
}

static void check_backoff(sim *s, const sim_fact *f, const kv_cmd_move *m, int64_t wait)
{
    uint64_t failed = m->new_attempt - m->given_back;
    int64_t most = f->backoff_ms ? (int64_t)f->backoff_ms : s->core->opts.backoff_ms;
    int64_t limit = s->core->opts.backoff_max_ms;
    for (uint64_t i = 1; i < failed && most < limit; i++)
        most *= 2;
    most = most < limit ? most : limit;
    SIM_HOLDS(s, wait >= most / 2 && wait <= most,
              "job %llu waits %lld ms of %lld after failure %llu", (unsigned long long)m->job,
              (long long)wait, (long long)most, (unsigned long long)failed);
}

void sim_check_move(sim *s, const kv_cmd_move *m)
{
    const sim_fact *f = sim_fact_of(s, m->job);
    const kv_task *t = kv_ids_find(&s->core->jobs, m->job);
    if (!f && s->media && kv_service_reserved(m->service))
        return;
    SIM_HOLDS(s, f && t, "a move of a job nobody made: %llu", (unsigned long long)m->job);
    SIM_HOLDS(s, t->max_attempts == f->max_attempts, "job %llu: max_attempts %u, submitted %llu",
              (unsigned long long)f->id, t->max_attempts, (unsigned long long)f->max_attempts);
    SIM_HOLDS(s,
              m->given_back <= m->new_attempt && m->new_attempt - m->given_back <= f->max_attempts,
              "job %llu: lease %llu, %llu given back, %llu attempts", (unsigned long long)f->id,
              (unsigned long long)m->new_attempt, (unsigned long long)m->given_back,
              (unsigned long long)f->max_attempts);
    SIM_HOLDS(s,
              !kv_slice_is(m->reason, "worker did not come back") || m->epoch != s->x.epoch ||
                  m->attempt <= f->sent_attempt,
              "lease %llu of job %llu counts as an attempt, and nobody got it",
              (unsigned long long)m->attempt, (unsigned long long)m->job);
    if (m->from != KV_JOB_PROCESSING || m->to != KV_JOB_QUEUED)
        return;
    int64_t wait = m->not_before ? m->not_before - s->clock.wall_ms_now : 0;
    bool lost = kv_slice_is(m->reason, "lost on the way to the worker");
    if (lost)
        check_nobody_has(s, m);
    if (lost || kv_slice_is(m->reason, "worker left"))
        check_given_back(s, m, wait);
    else
        check_backoff(s, f, m, wait);
}

/* ---- positions: unique and dense ---- */

void sim_check_positions(sim *s)
{
    uint32_t seen[SIM_SERVICES] = {0};
    uint64_t ranks[SIM_SERVICES][SIM_JOBS] = {{0}};
    for (int i = 0; i < s->facts_n; i++) {
        uint64_t rank;
        const sim_fact *f = &s->facts[i];
        if (!kv_core_job_rank(s->core, f->id, &rank))
            continue;
        SIM_HOLDS(s, rank < SIM_JOBS, "rank %llu", (unsigned long long)rank);
        SIM_HOLDS(s, ranks[f->service][rank] == 0, "two jobs of %s at rank %llu",
                  sim_service[f->service], (unsigned long long)rank);
        ranks[f->service][rank] = f->id;
        seen[f->service]++;
    }
    for (int i = 0; i < SIM_SERVICES; i++) {
        for (uint32_t rank = 0; rank < seen[i]; rank++)
            SIM_HOLDS(s, ranks[i][rank], "no job of %s at rank %u of %u", sim_service[i], rank,
                      seen[i]);
    }
}

/* ---- order: what began in one input were the first ones ---- */

void sim_order_before(sim *s)
{
    memset(s->before_n, 0, sizeof s->before_n);
    for (int i = 0; i < s->facts_n && !s->held_back; i++) {
        uint64_t rank;
        sim_fact *f = &s->facts[i];
        f->before_attempt = 0;
        f->before_state = kv_core_job_state(s->core, f->id, &f->before_attempt);
        f->waited = kv_core_job_rank(s->core, f->id, &rank);
        if (f->waited) {
            s->before[f->service][rank] = f->id;
            s->before_n[f->service]++;
        }
    }
}

/* A job that came into a lane in this input, or left one without beginning: behind it the places of
 * the others are new ones. */
static bool came_or_went(const sim *s, const sim_fact *f)
{
    uint64_t rank, attempt = 0;
    int state = kv_core_job_state(s->core, f->id, &attempt);
    bool waits = kv_core_job_rank(s->core, f->id, &rank);
    if (f->waited)
        return !waits && state != KV_JOB_PROCESSING;
    return waits || (state == KV_JOB_PROCESSING && attempt != f->before_attempt);
}

/* For a trace: the jobs by rank, and what became of them. */
static void say_order(const sim *s, int service)
{
    for (uint32_t rank = 0; s->trace && rank < s->before_n[service]; rank++) {
        uint64_t job = s->before[service][rank], now = 0;
        bool waits = kv_core_job_rank(s->core, job, &now);
        fprintf(stderr, "  %u: %llu, now %s %llu\n", rank, (unsigned long long)job,
                waits ? "at" : "begun or gone", (unsigned long long)now);
    }
}

static void check_order(sim *s, int service)
{
    uint64_t waits = 0; /* the first one that was passed over */
    for (uint32_t rank = 0; rank < s->before_n[service]; rank++) {
        uint64_t job = s->before[service][rank], now;
        bool began = !kv_core_job_rank(s->core, job, &now) &&
                     kv_core_job_state(s->core, job, NULL) == KV_JOB_PROCESSING;
        if (began && waits)
            say_order(s, service);
        if (kv_core_job_rank(s->core, job, &now))
            waits = waits ? waits : job;
        else
            SIM_HOLDS(s, !waits || !began, "%llu began before %llu", (unsigned long long)job,
                      (unsigned long long)waits);
    }
}

void sim_order_after(sim *s)
{
    bool changed[SIM_SERVICES] = {false};
    for (int i = 0; i < s->facts_n && !s->held_back; i++)
        changed[s->facts[i].service] |= came_or_went(s, &s->facts[i]);
    for (int i = 0; i < SIM_SERVICES; i++) {
        if (!changed[i])
            check_order(s, i);
    }
}

/* ---- money ---- */

int64_t sim_number(sim *s, const char *sql)
{
    kv_stmt *q;
    bool row = false;
    kv_err err = kv_db_prepare(s->x.db, sql, &q);
    SIM_HOLDS(s, err == KV_OK && kv_db_step(q, &row) == KV_OK && row, "%s", sql);
    int64_t v = kv_col_i64(q, 0);
    kv_db_done(q);
    return v;
}

void sim_check_money(sim *s)
{
    SIM_HOLDS(s,
              sim_number(s, "SELECT count(*) FROM user_credits "
                            "WHERE granted <> available + held + spent") == 0,
              "granted is not available + held + spent");
    SIM_HOLDS(s,
              sim_number(s, "SELECT coalesce(sum(held), 0) FROM user_credits") ==
                  sim_number(s, "SELECT coalesce(sum(credits), 0) FROM job_option "
                                "JOIN job ON id = job WHERE state < 2") +
                      sim_number(s, "SELECT coalesce(sum(amount), 0) FROM credit_transactions "
                                    "WHERE job IS NULL AND state = 1"),
              "what is held is not what unfinished jobs hold");
    SIM_HOLDS(s,
              sim_number(s, "SELECT coalesce(sum(spent), 0) FROM user_credits") ==
                  sim_number(s, "SELECT coalesce(sum(credits), 0) FROM job_option "
                                "JOIN job ON id = job WHERE state = 2") +
                      sim_number(s, "SELECT coalesce(sum(amount), 0) FROM credit_transactions "
                                    "WHERE job IS NULL AND state = 2"),
              "what is spent is not what complete jobs cost");
}

void sim_check_tables(sim *s)
{
    SIM_HOLDS(s, sim_number(s, KV_JOBS_TABLES_WRONG) == 0, "the tables of jobs do not agree");
}

/* ---- the end ---- */

static void check_fact(sim *s, const sim_fact *f)
{
    kv_job_place at;
    unsigned long long id = f->id;
    SIM_HOLDS(s, kv_job_find(s->x.db, f->id, &at) == KV_OK, "job %llu", id);
    SIM_HOLDS(s, at.found || !f->acknowledged, "acknowledged job %llu is lost", id);
    SIM_HOLDS(s, !at.found || f->acknowledged || f->asks, "job %llu was refused, and is there", id);
    if (!at.found)
        return;
    SIM_HOLDS(s,
              at.max_attempts == f->max_attempts && at.given_back <= at.attempt &&
                  at.attempt - at.given_back <= at.max_attempts,
              "row of %llu: attempt %llu, given back %llu, max_attempts %llu of %llu", id,
              (unsigned long long)at.attempt, (unsigned long long)at.given_back,
              (unsigned long long)at.max_attempts, (unsigned long long)f->max_attempts);
    SIM_HOLDS(s, at.state >= KV_JOB_COMPLETE, "job %llu never ended", id);
    SIM_HOLDS(s, f->terminals == 1 && f->last_terminal == at.state,
              "job %llu has %d ends, the last %s, its row says %s", id, f->terminals,
              kv_job_state_name(f->last_terminal), kv_job_state_name(at.state));
    SIM_HOLDS(s, !f->cancel_ok || at.state == KV_JOB_CANCELLED, "CANCEL_OK for %llu, which is %s",
              id, kv_job_state_name(at.state));
    SIM_HOLDS(s, !f->done_ok || at.state == KV_JOB_COMPLETE, "JOB_DONE of %llu was taken, it is %s",
              id, kv_job_state_name(at.state));
}

/* All that is stored as JSON is; of a job that comes as one object. */
static void check_json(sim *s)
{
    kv_buf json;
    kv_buf_init(&json, 0);
    for (int i = 0; i < s->facts_n; i++) {
        kv_buf_clear(&json);
        kv_err err = kv_job_get_json(s->x.db, s->facts[i].id, &json);
        SIM_HOLDS(s, err == KV_E_NOT_FOUND || (err == KV_OK && kv_json_valid(kv_buf_slice(&json))),
                  "job %llu is not JSON", (unsigned long long)s->facts[i].id);
    }
    kv_buf_release(&json);
    SIM_HOLDS(
        s,
        sim_number(s, "SELECT count(*) FROM job_option WHERE metadata IS NOT NULL AND "
                      "(NOT json_valid(metadata) OR length(CAST(metadata AS BLOB)) > 65536)") == 0,
        "metadata that is not JSON, or too long");
}

void sim_check_end(sim *s)
{
    SIM_HOLDS(s, kv_core_jobs(s->core) == 0, "%zu jobs are left", kv_core_jobs(s->core));
    SIM_HOLDS(s, sim_number(s, "SELECT count(*) FROM job WHERE state < 2") == 0, "unfinished rows");
    for (int i = 0; i < s->facts_n; i++)
        check_fact(s, &s->facts[i]);
    check_json(s);
    sim_check_money(s);
    sim_check_tables(s);
    SIM_HOLDS(s,
              sim_number(s, "SELECT coalesce(sum(held), 0) FROM user_credits") ==
                  sim_number(s, "SELECT coalesce(sum(amount), 0) FROM credit_transactions "
                                "WHERE job IS NULL AND state = 1"),
              "credits are held for nothing");
}

/* ---- nobody is idle while work waits ---- */

void sim_check_idle(sim *s, const char *when)
{
    for (kv_service *q = s->core->service_list; q && s->failures == 0; q = q->next)
        SIM_HOLDS(s,
                  q->paused || q->pausing || !q->free_first || q->rate_spent ||
                      q->rate_waiting.root || !kv_lanes_next(s->core, q),
                  "a worker of %s is idle while jobs wait, after %s", q->name, when);
}
