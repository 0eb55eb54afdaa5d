#include "broker/exec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "broker/hooks.h"
#include "proto/base/log.h"
#include "storage/read/jobs.h"
#include "storage/read/media.h"
#include "storage/write/counters.h"
#include "storage/write/events.h"
#include "storage/write/media.h"

enum {
    GONE_KEYS = 16384,
    ROW_BYTES = 1 << 20, /* a row of the log is closed above this */
    ROW_LIMIT = 4 << 20, /* of an EVENTS message */
    EVENT_MEDIA_MAX = 1000
};

/* ---- open and close ---- */

/* The counters as the database has them: at the start, and after a commit of which we do not know
 * how it ended. */
static kv_err read_counters(kv_exec *x)
{
    KV_TRY(kv_event_newest(x->db, &x->last_event));
    return kv_counter_get(x->db, "gone_seq", &x->gone_seq);
}

static kv_err count_epoch(kv_exec *x)
{
    KV_TRY(kv_db_begin(x->db));
    kv_err err = kv_counter_add(x->db, "epoch", 1, &x->epoch);
    if (err == KV_OK)
        err = kv_db_commit(x->db);
    if (err != KV_OK)
        kv_db_rollback(x->db);
    return err;
}

kv_err kv_exec_attach(kv_db *db, const char *base, uint64_t job_max_attempts, const kv_clock *clock,
                      kv_exec *x)
{
    *x = (kv_exec){.db = db, .base = base, .job_max_attempts = job_max_attempts, .clock = clock};
    kv_id_maker_init(&x->ids, kv_id_random_node());
    kv_buf_init(&x->scratch, 0);
    kv_err err = count_epoch(x);
    if (err == KV_OK)
        err = read_counters(x);
    if (err == KV_OK && !kv_gone_init(&x->gone, GONE_KEYS, x->gone_seq))
        err = KV_E_NO_MEMORY;
    if (err != KV_OK)
        kv_exec_close(x);
    return err;
}

kv_err kv_exec_open(const kv_config *cfg, const kv_clock *clock, kv_exec *x)
{
    kv_db *db;
    int from, to;
    *x = (kv_exec){.db = NULL};
    KV_TRY(kv_db_open(cfg, KV_DB_WRITE, &db));
    kv_err err = kv_db_migrate(db, &from, &to);
    if (err != KV_OK) {
        kv_db_close(&db);
        return err;
    }
    if (from != to)
        kv_log(KV_LOG_INFO, "database_migrated", KV_I64("from", from), KV_I64("to", to));
    return kv_exec_attach(db, cfg->media_base_url ? cfg->media_base_url : "",
                          (uint64_t)cfg->job_max_attempts, clock, x);
}

void kv_exec_close(kv_exec *x)
{
    kv_event_rows_free(&x->rows);
    kv_gone_release(&x->gone);
    kv_names_release(&x->services);
    kv_buf_release(&x->scratch);
    kv_db_close(&x->db);
}

/* ---- the transaction ---- */

kv_err kv_exec_begin(kv_exec *x)
{
    assert(!x->rows);
    x->now = kv_wall_ms(x->clock);
    kv_buf_clear(&x->scratch);
    kv_json_time(&x->scratch, x->now);
    if (!kv_buf_ok(&x->scratch) || x->scratch.len >= sizeof x->at)
        return KV_E_NO_MEMORY;
    memcpy(x->at, x->scratch.data, x->scratch.len + 1);
    x->next_event = x->last_event + 1;
    x->next_gone = x->gone_seq;
    x->event_bytes = 0;
    return kv_db_begin(x->db);
}

void kv_exec_rollback(kv_exec *x)
{
    kv_db_rollback(x->db);
    kv_event_rows_free(&x->rows);
    x->row = NULL;
    kv_gone_drop(&x->gone);
    kv_names_release(&x->services); /* some may have been made in this transaction */
    (void)read_counters(x); /* else they stay as they were, which is what a rollback leaves */
}

static kv_err write_rows(kv_exec *x)
{
    for (kv_event_row *r = x->rows; r; r = r->next) {
        kv_buf_addc(&r->body, ']');
        if (!kv_buf_ok(&r->body))
            return KV_E_NO_MEMORY;
        KV_TRY(kv_event_append(x->db, r->first, r->last, x->now, kv_buf_slice(&r->body)));
    }
    return KV_OK;
}

kv_err kv_exec_commit(kv_exec *x)
{
    kv_err err = write_rows(x);
    if (err == KV_OK)
        err = kv_db_commit(x->db);
    if (err != KV_OK) {
        kv_exec_rollback(x);
        return err;
    }
    x->last_event = x->next_event - 1;
    x->gone_seq = x->next_gone;
    kv_gone_keep(&x->gone);
    return KV_OK;
}

kv_event_row *kv_exec_take_rows(kv_exec *x)
{
    kv_event_row *rows = x->rows;
    x->rows = x->row = NULL;
    return rows;
}

void kv_event_rows_free(kv_event_row **rows)
{
    for (kv_event_row *r = *rows, *next; r; r = next) {
        next = r->next;
        kv_buf_release(&r->body);
        free(r);
    }
    *rows = NULL;
}

/* ---- events ---- */

static bool row_begin(kv_exec *x)
{
    kv_event_row *r = calloc(1, sizeof *r);
    if (!r)
        return false;
    kv_buf_init(&r->body, ROW_LIMIT);
    r->first = x->next_event;
    r->prev = x->next_event - 1;
    if (x->row)
        x->row->next = r;
    else
        x->rows = r;
    x->row = r;
    kv_buf_addc(&r->body, '[');
    x->event_bytes++;
    return true;
}

kv_buf *kv_exec_event(kv_exec *x, const char *type)
{
    if ((!x->row || x->row->body.len > ROW_BYTES) && !row_begin(x))
        return NULL;
    kv_buf *b = &x->row->body;
    x->event_bytes -= b->len;
    kv_json_open(b, '{');
    kv_buf_adds(b, "\"id\":");
    kv_buf_addu(b, x->next_event);
    kv_buf_adds(b, ",\"type\":\"");
    kv_buf_adds(b, type);
    kv_buf_adds(b, "\",\"at\":");
    kv_buf_adds(b, x->at);
    return b;
}

kv_err kv_exec_event_end(kv_exec *x)
{
    kv_buf *b = &x->row->body;
    kv_buf_addc(b, '}');
    x->row->last = x->next_event++;
    x->event_bytes += b->len;
    return kv_buf_ok(b) ? KV_OK : KV_E_NO_MEMORY;
}

static void add_id(kv_buf *b, const char *key, uint64_t id)
{
    char text[KV_ID_TEXT + 1];
    kv_id_format(id, text);
    kv_buf_adds(b, key);
    kv_buf_add(b, text, KV_ID_TEXT);
    kv_buf_addc(b, '"');
}

kv_err kv_exec_media_event(kv_exec *x, const char *type, uint64_t media, kv_slice json)
{
    kv_buf *b = kv_exec_event(x, type);
    if (!b)
        return KV_E_NO_MEMORY;
    add_id(b, ",\"mediaId\":\"", media);
    kv_buf_adds(b, ",\"media\":");
    kv_buf_add(b, json.ptr, json.len);
    return kv_exec_event_end(x);
}

kv_err kv_exec_blob_event(kv_exec *x, const char *type, uint64_t blob)
{
    uint64_t *ids = malloc(EVENT_MEDIA_MAX * sizeof *ids);
    int n = 0;
    if (!ids)
        return KV_E_NO_MEMORY;
    kv_err err = kv_blob_media(x->db, blob, ids, EVENT_MEDIA_MAX, &n);
    for (int i = n - 1; i >= 0 && err == KV_OK; i--) { /* oldest first */
        kv_buf_clear(&x->scratch);
        err = kv_media_get_json(x->db, x->base, ids[i], &x->scratch);
        if (err == KV_OK)
            err = kv_exec_media_event(x, type, ids[i], kv_buf_slice(&x->scratch));
    }
    free(ids);
    return err;
}

static const char *const job_event[] = {"job.queued", "job.processing", "job.complete", "job.error",
                                        "job.cancelled"};

static kv_err add_job_event(kv_exec *x, uint64_t job, kv_slice service, int state, uint64_t attempt,
                            kv_slice error)
{
    kv_buf *b = kv_exec_event(x, job_event[state]);
    if (!b)
        return KV_E_NO_MEMORY;
    add_id(b, ",\"jobId\":\"", job);
    kv_buf_adds(b, ",\"service\":\""); /* [a-z0-9-] needs no escapes */
    kv_buf_add(b, service.ptr, service.len);
    kv_buf_adds(b, "\",\"status\":\"");
    kv_buf_adds(b, kv_job_state_name(state));
    kv_buf_adds(b, "\",\"attempt\":");
    kv_buf_addu(b, attempt);
    if (error.ptr) {
        kv_json_key(b, "error");
        kv_json_str(b, error);
    }
    return kv_exec_event_end(x);
}

/* ---- jobs ---- */

uint64_t kv_exec_id(kv_exec *x)
{
    return kv_id_make(&x->ids, x->clock);
}

static kv_err service_id(kv_exec *x, kv_slice name, int64_t *ret)
{
    void *known = kv_names_find(&x->services, name);
    if (known) {
        *ret = (int64_t)(intptr_t)known;
        return KV_OK;
    }
    KV_TRY(kv_service_id(x->db, name, ret));
    return kv_names_set(&x->services, name, (void *)(intptr_t)*ret) ? KV_OK : KV_E_NO_MEMORY;
}

static void history_entry(kv_exec *x, const char *status, uint64_t attempt, kv_slice worker,
                          kv_slice reason, kv_buf *out)
{
    kv_buf_adds(out, "{\"status\":\"");
    kv_buf_adds(out, status);
    kv_buf_adds(out, "\",\"at\":");
    kv_buf_adds(out, x->at);
    kv_buf_adds(out, ",\"attempt\":");
    kv_buf_addu(out, attempt);
    if (worker.len) {
        kv_json_key(out, "worker");
        kv_json_str(out, worker);
    }
    if (reason.len) {
        kv_json_key(out, "reason");
        kv_json_str(out, reason);
    }
    kv_buf_addc(out, '}');
}

static kv_err insert_job(kv_exec *x, kv_job_new *job, kv_slice service, bool *ret_created)
{
    KV_TRY(service_id(x, service, &job->service));
    kv_buf_clear(&x->scratch);
    history_entry(x, "queued", 0, kv_slice_of(NULL, 0), kv_slice_of(NULL, 0), &x->scratch);
    if (!kv_buf_ok(&x->scratch))
        return KV_E_NO_MEMORY;
    job->history = kv_buf_slice(&x->scratch);
    job->now = x->now;
    KV_TRY(kv_job_insert(x->db, job, ret_created));
    return *ret_created ? add_job_event(x, job->id, service, KV_JOB_QUEUED, 0, kv_slice_of(NULL, 0))
                        : KV_OK;
}

kv_err kv_exec_make_job(kv_exec *x, uint64_t id, const char *service, kv_slice params,
                        uint64_t max_attempts, int64_t not_before)
{
    kv_cmd *cmd = x->cmd;
    bool created;
    assert(cmd->jobs_n < KV_CMD_NEW_JOBS);
    kv_job_new job = {.id = id ? id : kv_exec_id(x),
                      .seq = cmd->seq + (uint64_t)cmd->jobs_n,
                      .max_attempts = max_attempts,
                      .not_before = not_before,
                      .lane = 1,
                      .params = params};
    KV_TRY(insert_job(x, &job, kv_slice_str(service), &created));
    if (!created)
        return KV_E_DB; /* an id of ours that is taken: the clock of another start ran ahead; tried
                           again with the next one */
    cmd->jobs[cmd->jobs_n++] =
        (kv_cmd_job){job.id, job.seq, max_attempts, not_before, job.lane, service};
    return KV_OK;
}

static kv_err run_submit(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_submit *m = &cmd->submit;
    kv_job_new job = {.id = m->job,
                      .seq = cmd->seq,
                      .max_attempts = m->max_attempts,
                      .not_before = m->not_before,
                      .lane = m->lane,
                      .tenant = m->tenant,
                      .params = m->params};
    KV_TRY(insert_job(x, &job, m->service, &cmd->created));
    return cmd->created ? KV_OK : kv_job_find(x->db, m->job, &cmd->place);
}

static kv_err run_hook(kv_exec *x, const kv_hook *hook, const kv_cmd_move *m, kv_slice params)
{
    kv_hook_job job = {m->job, params};
    if (m->to == KV_JOB_PROCESSING)
        return hook->begun ? hook->begun(x, &job) : KV_OK;
    if (m->to == KV_JOB_COMPLETE)
        return hook->complete(x, &job, m->result);
    if (m->to == KV_JOB_ERROR)
        return hook->failed(x, &job, m->error, m->error_detail);
    if (m->to == KV_JOB_CANCELLED)
        return hook->failed(x, &job, kv_slice_str("cancelled"), kv_slice_of(NULL, 0));
    return KV_OK;
}

static kv_err run_move(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_move *m = &cmd->move;
    const kv_hook *hook = kv_hook_of(m->service);
    bool moved, wants_params = m->to == KV_JOB_PROCESSING || hook;
    kv_buf_clear(&x->scratch);
    history_entry(x, kv_job_state_name(m->to), m->new_attempt, m->worker, m->reason, &x->scratch);
    if (!kv_buf_ok(&x->scratch))
        return KV_E_NO_MEMORY;
    kv_job_move row = {.id = m->job,
                       .from = m->from,
                       .to = m->to,
                       .epoch = m->epoch,
                       .attempt = m->attempt,
                       .new_epoch = m->new_epoch,
                       .new_attempt = m->new_attempt,
                       .max_attempts = m->max_attempts,
                       .not_before = m->not_before,
                       .now = x->now,
                       .progress = m->progress,
                       .result = m->result,
                       .error = m->error,
                       .error_detail = m->error_detail,
                       .history = kv_buf_slice(&x->scratch)};
    KV_TRY(kv_job_move_row(x->db, &row, wants_params ? &cmd->text : NULL, &moved));
    if (!moved) {
        cmd->err =
            cmd->code == KV_JOB_DONE || cmd->code == KV_JOB_FAIL ? KV_E_STALE_LEASE : KV_E_CONFLICT;
        return KV_OK;
    }
    KV_TRY(add_job_event(x, m->job, m->service, m->to, m->new_attempt, m->error));
    return hook ? run_hook(x, hook, m, kv_buf_slice(&cmd->text)) : KV_OK;
}

static kv_err run_progress(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_progress *m = &cmd->progress;
    bool written;
    KV_TRY(kv_job_set_progress(x->db, m->job, m->epoch, m->attempt, m->progress, x->now, &written));
    if (!written)
        cmd->err = KV_E_STALE_LEASE;
    return KV_OK;
}

static kv_err run_job_get(kv_exec *x, kv_cmd *cmd)
{
    kv_err err = kv_job_get_json(x->db, cmd->id, &cmd->text);
    if (err == KV_E_NOT_FOUND) {
        cmd->err = err;
        return KV_OK;
    }
    return err;
}

static bool expired(const kv_exec *x, const kv_cmd *cmd)
{
    bool may = cmd->type == KV_CMD_SUBMIT || cmd->type == KV_CMD_MEDIA_COMMIT ||
               cmd->type == KV_CMD_MEDIA_DELETE || cmd->type == KV_CMD_MEDIA_RETRY;
    return may && cmd->deadline_ms && (int64_t)cmd->deadline_ms < x->now;
}

kv_err kv_exec_run(kv_exec *x, kv_cmd *cmd)
{
    kv_cmd_reset(cmd);
    x->cmd = cmd;
    if (expired(x, cmd)) {
        cmd->err = KV_E_EXPIRED;
        return KV_OK;
    }
    switch (cmd->type) {
    case KV_CMD_SUBMIT:
        return run_submit(x, cmd);
    case KV_CMD_MOVE:
        return run_move(x, cmd);
    case KV_CMD_PROGRESS:
        return run_progress(x, cmd);
    case KV_CMD_FIND:
        return kv_job_find(x->db, cmd->id, &cmd->place);
    case KV_CMD_JOB_GET:
        return run_job_get(x, cmd);
    case KV_CMD_MEDIA_COMMIT:
        return kv_exec_media_commit(x, cmd);
    case KV_CMD_MEDIA_DELETE:
        return kv_exec_media_delete(x, cmd);
    case KV_CMD_MEDIA_RETRY:
        return kv_exec_media_retry(x, cmd);
    case KV_CMD_NOTHING:
        return KV_OK;
    }
    return KV_OK;
}
