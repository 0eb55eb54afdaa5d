/* The broker's core and the ledger's commands under messages that nobody would send: any code, any
 * value of any field, ids and leases that are there and that are not, bodies with a byte changed,
 * copies, and between them commits that fail, time, restarts. The input is a row of choices; at its
 * end there are only zeros.
 *
 * Holds: all that is sent keeps the limits of its message, no command is an error of the database,
 * events are JSON, money and tables agree, and when all is quiet the core has the unfinished rows.
 */
#include "broker/core.h"
#include "broker/exec.h"
#include "broker/json_check.h"
#include "proto/base/log.h"
#include "tests/fuzz/any_message.h"
#include "tests/unit/jobs_tables.h"

enum { PEERS = 4, LEASES = 8, BATCH = 8, ROUNDS = 50 /* until all is quiet */ };

typedef struct lease {
    uint64_t job, epoch, attempt;
    char peer;
} lease;

typedef struct world {
    choices c;
    kv_fake_clock clock;
    kv_exec x;
    kv_core *core;
    kv_cmd_list at_ledger, committed;
    uint64_t request;
    lease leases[LEASES]; /* of JOBs, the newest at next - 1 */
    unsigned next;
    bool unknown[PEERS]; /* was told so */
    uint64_t instance[PEERS];
} world;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the broker ---- */

static kv_now now_of(const world *w)
{
    return (kv_now){w->clock.wall_ms_now, w->clock.mono_us_now / 1000};
}

static void sink_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    world *w = arg;
    kv_msg again;
    kv_buf body;
    (void)request;
    kv_buf_init(&body, KV_BODY_MAX);
    kv_body_encode(m, &body);
    demand(kv_buf_ok(&body) && kv_body_decode(m->code, body.data, body.len, &again, NULL) == KV_OK);
    kv_buf_release(&body);
    if (m->code == KV_BEAT_OK && peer.len)
        w->unknown[peer.ptr[0] - '0'] = !m->beat_ok.known;
    if (m->code == KV_JOB && peer.len)
        w->leases[w->next++ % LEASES] =
            (lease){m->job.job, m->job.epoch, m->job.attempt, peer.ptr[0]};
}

static void sink_command(void *arg, kv_cmd *cmd)
{
    kv_cmd_push(&((world *)arg)->at_ledger, cmd);
}

static bool load_row(void *arg, const kv_job_row *row)
{
    world *w = arg;
    return kv_core_load(w->core, now_of(w), row) == KV_OK;
}

static void broker_start(world *w, kv_db *db)
{
    kv_core_opts opts;
    demand(kv_exec_attach(db, "", 3, &w->clock.clock, &w->x) == KV_OK);
    kv_core_defaults(&opts);
    opts.sink = (kv_core_sink){w, sink_send, sink_command};
    opts.epoch = w->x.epoch;
    opts.stuck_after_ms = 15000;
    opts.services_max = 5;
    opts.max_waiting = 6;
    opts.evict = w->x.epoch % 2;
    demand(kv_core_new(&opts, now_of(w), &w->core) == KV_OK);
    demand(kv_jobs_unfinished(db, load_row, w) == KV_OK);
}

static void broker_stop(world *w)
{
    kv_core_destroy(&w->core);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&w->at_ledger)) || (cmd = kv_cmd_pop(&w->committed));)
        kv_cmd_free(&cmd);
}

static void restart(world *w)
{
    kv_db *db = w->x.db;
    broker_stop(w);
    w->x.db = NULL;
    kv_exec_close(&w->x);
    broker_start(w, db);
}

/* ---- the ledger ---- */

static void publish(world *w)
{
    kv_event_row *rows = kv_exec_take_rows(&w->x);
    for (const kv_event_row *row = rows; row; row = row->next)
        demand(kv_json_valid(kv_buf_slice(&row->body)) && row->prev + 1 == row->first);
    kv_event_rows_free(&rows);
}

static void run_alone(world *w, kv_cmd *cmd, bool fails)
{
    demand(kv_exec_begin(&w->x) == KV_OK && kv_exec_run(&w->x, cmd, NULL) == KV_OK);
    if (fails) {
        kv_exec_rollback(&w->x);
        kv_cmd_reset(cmd);
        cmd->err = KV_E_DISK_FULL;
        return;
    }
    demand(kv_exec_commit(&w->x) == KV_OK);
    publish(w);
}

/* `failing`: bits, which commands fail; 0: none, and they are one transaction. */
static void ledger_step(world *w, unsigned failing)
{
    kv_cmd_list batch = {.n = 0};
    for (int n = 0; n < BATCH && w->at_ledger.first; n++)
        kv_cmd_push(&batch, kv_cmd_pop(&w->at_ledger));
    if (!batch.first)
        return;
    demand(kv_exec_begin(&w->x) == KV_OK);
    for (kv_cmd *cmd = batch.first; cmd; cmd = cmd->next)
        demand(kv_exec_run(&w->x, cmd, cmd->next) == KV_OK);
    if (failing) {
        kv_exec_rollback(&w->x);
        for (kv_cmd *cmd = batch.first; cmd; cmd = cmd->next, failing >>= 1)
            run_alone(w, cmd, failing & 1);
    } else {
        demand(kv_exec_commit(&w->x) == KV_OK);
        publish(w);
    }
    kv_cmd_append(&w->committed, &batch);
}

static void results_step(world *w)
{
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&w->committed));)
        kv_core_result(w->core, now_of(w), cmd);
}

/* ---- messages ---- */

/* As the router takes it: what cannot be decoded does not come to the core. */
static void deliver(world *w, char peer, const kv_header *head, const kv_msg *m)
{
    kv_msg got;
    kv_buf body;
    kv_buf_init(&body, 0);
    kv_body_encode(m, &body);
    demand(kv_buf_ok(&body));
    if (pick(&w->c, 8) == 7)
        body.data[pick(&w->c, 256) % body.len] ^= (char)pick(&w->c, 256);
    if (kv_body_decode(head->code, body.data, body.len, &got, NULL) == KV_OK)
        kv_core_message(w->core, now_of(w), kv_slice_of(&peer, 1), head, &got);
    kv_buf_release(&body);
}

static void hello(world *w, char peer);

static void say(world *w, char peer, const kv_msg *m)
{
    if (w->unknown[peer - '0'] && m->code != KV_HELLO && pick(&w->c, 8))
        hello(w, peer);
    kv_header head = {.code = m->code};
    uint8_t how = pick(&w->c, 8);
    head.request = how < 6 ? ++w->request : how == 6 ? pick(&w->c, 16) : w->request;
    if (pick(&w->c, 8) == 7)
        head.deadline_ms = (uint64_t)w->clock.wall_ms_now + pick(&w->c, 100) - 20;
    deliver(w, peer, &head, m);
}

static char any_peer(world *w)
{
    return (char)('0' + pick(&w->c, PEERS));
}

static void hello(world *w, char peer)
{
    kv_msg m;
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = kv_slice_str("worker");
    m.hello.name = kv_slice_str(names[pick(&w->c, 8) ? peer - '0' : 0]);
    int i = peer - '0';
    w->unknown[i] = false;
    w->instance[i] += pick(&w->c, 8) == 7; /* a new process */
    m.hello.instance = w->instance[i];
    m.hello.epoch = w->x.epoch - pick(&w->c, 2);
    say(w, peer, &m);
}

static void anything(world *w)
{
    kv_msg m;
    size_t n = 0;
    while (kv_message_info_at(n))
        n++;
    kv_msg_defaults(kv_message_info_at(pick(&w->c, (unsigned)n))->code, &m);
    fill(&w->c, &m);
    say(w, any_peer(w), &m);
}

/* About a lease that there was. */
static void report(world *w)
{
    static const uint16_t codes[] = {KV_LEASE_HELD, KV_JOB_PROGRESS, KV_JOB_DONE, KV_JOB_FAIL};
    kv_msg m;
    const lease *l = &w->leases[pick(&w->c, LEASES)];
    kv_msg_defaults(codes[pick(&w->c, 4)], &m);
    fill(&w->c, &m);
    /* all of them begin with the token */
    memcpy(&m.lease_held, &(kv_lease_held){l->job, l->epoch, l->attempt}, sizeof m.lease_held);
    say(w, pick(&w->c, 4) && l->peer ? l->peer : any_peer(w), &m);
}

static kv_slice media_hash(world *w)
{
    static const char bytes[2][33] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};
    return kv_slice_of(bytes[pick(&w->c, 2)], 32);
}

static void fill_submit(world *w, kv_submit *m)
{
    m->job = 1 + pick(&w->c, IDS);
    m->service = kv_slice_str(services[pick(&w->c, 2)]);
    m->lane = pick(&w->c, 3);
    m->delay_ms = pick(&w->c, 4) ? 0 : 1000;
    m->user = kv_slice_str(people[pick(&w->c, 3)]);
    m->credits = m->user.len ? pick(&w->c, 3) : 0;
    m->unique_key = kv_slice_str(keys[pick(&w->c, 3)]);
}

static void fill_commit(world *w, kv_media_commit *m)
{
    m->media = 1 + pick(&w->c, IDS);
    m->hash = m->stored_hash = media_hash(w);
    m->folder = kv_slice_str(folders[pick(&w->c, 2)]);
    m->filename = kv_slice_str("a.jpg");
    m->ext = kv_slice_str("jpg");
    m->mime = kv_slice_str("image/jpeg");
    m->size = 1;
    m->process = pick(&w->c, 2);
    m->gone_seq = pick(&w->c, 4);
}

static void fill_credit(world *w, kv_credit *m)
{
    m->transaction = 100 + pick(&w->c, IDS);
    m->what = pick(&w->c, 4);
    m->user = kv_slice_str(people[1 + pick(&w->c, 2)]);
    m->amount = 1 + pick(&w->c, 5);
}

static void fill_setting(world *w, kv_queue_set *m)
{
    m->service = kv_slice_str(services[pick(&w->c, 2)]);
    m->tenant_set = pick(&w->c, 2);
    m->concurrency = (int64_t)pick(&w->c, 4) - 1;
    m->rate_per_minute = pick(&w->c, 3) ? -1 : 60;
    if (!m->tenant_set)
        m->paused = (int64_t)pick(&w->c, 3) - 1;
}

/* What fills queues and empties them, and passes the first look. */
static void usual(world *w)
{
    static const uint16_t codes[] = {KV_SUBMIT,   KV_SUBMIT,    KV_SUBMIT,       KV_READY,
                                     KV_READY,    KV_PROMOTE,   KV_PROMOTE,      KV_CANCEL,
                                     KV_METADATA, KV_RETRY,     KV_MEDIA_COMMIT, KV_MEDIA_DELETE,
                                     KV_CREDIT,   KV_QUEUE_SET, KV_JOB_GET,      KV_MEDIA_RETRY};
    kv_msg m;
    kv_msg_defaults(codes[pick(&w->c, 16)], &m);
    uint64_t id = 1 + pick(&w->c, IDS);
    switch (m.code) {
    case KV_SUBMIT:
        fill_submit(w, &m.submit);
        break;
    case KV_READY:
        m.ready.service = kv_slice_str(services[pick(&w->c, 4)]);
        m.ready.credit = pick(&w->c, 4);
        break;
    case KV_PROMOTE:
        m.promote.job = id;
        m.promote.lane = pick(&w->c, 3);
        break;
    case KV_METADATA:
        m.metadata.job = id;
        m.metadata.patch = kv_slice_str(jsons[pick(&w->c, 4)]);
        break;
    case KV_RETRY:
        m.retry.job = id;
        m.retry.new_job = 1 + pick(&w->c, 2 * IDS);
        break;
    case KV_MEDIA_COMMIT:
        fill_commit(w, &m.media_commit);
        break;
    case KV_CREDIT:
        fill_credit(w, &m.credit);
        break;
    case KV_QUEUE_SET:
        fill_setting(w, &m.queue_set);
        break;
    default: /* the first field is an id */
        memcpy(&m.cancel, &id, sizeof id);
    }
    say(w, any_peer(w), &m);
}

/* ---- a history ---- */

static void pass(world *w, int64_t ms)
{
    kv_msg m;
    kv_msg_defaults(KV_BEAT, &m);
    for (char peer = '0'; peer < '0' + PEERS; peer++) {
        if (pick(&w->c, 8))
            say(w, peer, &m);
    }
    kv_fake_clock_advance(&w->clock, ms);
    kv_core_tick(w->core, now_of(w));
}

static void step(world *w)
{
    uint8_t what = pick(&w->c, 32);
    char peer;
    w->c.used = 0;
    w->c.wall_ms = w->clock.wall_ms_now;
    if (what < 10)
        usual(w);
    else if (what < 15)
        anything(w);
    else if (what < 19)
        report(w);
    else if (what < 23)
        ledger_step(w, 0);
    else if (what < 24)
        ledger_step(w, pick(&w->c, 256));
    else if (what < 27)
        results_step(w);
    else if (what < 29)
        pass(w, (pick(&w->c, 8) ? 2 : 20) * (int64_t)pick(&w->c, 256));
    else if (what < 30)
        hello(w, any_peer(w));
    else if (what < 31)
        kv_core_set_disk_low(w->core, pick(&w->c, 4) == 0);
    else if (pick(&w->c, 4) == 0)
        restart(w);
    else {
        peer = any_peer(w);
        kv_core_overflow(w->core, now_of(w), kv_slice_of(&peer, 1));
    }
}

static int64_t count(world *w, const char *sql)
{
    kv_stmt *s;
    bool row = false;
    demand(kv_db_prepare(w->x.db, sql, &s) == KV_OK && kv_db_step(s, &row) == KV_OK && row);
    int64_t v = kv_col_i64(s, 0);
    kv_db_done(s);
    return v;
}

static void check_end(world *w)
{
    for (int i = 0; i < ROUNDS && (w->at_ledger.first || w->committed.first || i == 0); i++) {
        ledger_step(w, 0);
        results_step(w);
        if (i % 8 == 0)
            pass(w, 1100); /* asks again for what is in doubt */
    }
    demand(!w->at_ledger.first && !w->committed.first);
    demand(count(w, "SELECT count(*) FROM job WHERE state < 2") == (int64_t)kv_core_jobs(w->core));
    demand(count(w, KV_JOBS_TABLES_WRONG) == 0);
    demand(count(w, "SELECT count(*) FROM user_credits "
                    "WHERE granted <> available + held + spent") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world *w = calloc(1, sizeof *w);
    kv_db *db;
    demand(w);
    kv_log_setup("fuzz", KV_LOG_ERROR);
    w->c.at = data;
    w->c.end = data + size;
    kv_fake_clock_init(&w->clock, 1790000000000);
    demand(kv_db_open_memory(&db) == KV_OK);
    broker_start(w, db);
    for (char peer = '0'; peer < '0' + PEERS; peer++)
        hello(w, peer);
    while (w->c.at < w->c.end)
        step(w);
    check_end(w);
    broker_stop(w);
    kv_exec_close(&w->x);
    free(w);
    return 0;
}
