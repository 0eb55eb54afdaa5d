#include "broker/exec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "broker/hooks.h"
#include "broker/put.h"
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
    KV_TRY(kv_counter_get(x->db, "gone_seq", &x->gone_seq));
    return kv_jobs_open_read(x->db, &x->open_kept);
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
    *x = (kv_exec){.db = db,
                   .base = base,
                   .job_max_attempts = job_max_attempts,
                   .clock = clock,
                   .open_kept = {.keep = KV_OPEN_KEEP, .slice = KV_OPEN_SLICE}};
    kv_id_maker_init(&x->ids, kv_id_random_node());
    kv_buf_init(&x->scratch, 0);
    kv_buf_init(&x->spare, ROW_LIMIT);
    kv_err err = count_epoch(x);
    if (err == KV_OK)
        err = read_counters(x);
    if (err == KV_OK)
        err = kv_exec_jobs_init(x);
    if (err == KV_OK && !kv_gone_init(&x->gone, GONE_KEYS, x->gone_seq))
        err = KV_E_NO_MEMORY;
    if (err != KV_OK)
        kv_exec_close(x);
    return err;
}

static kv_err open_once(const kv_config *cfg, const kv_clock *clock, kv_exec *x)
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

kv_err kv_exec_open(const kv_config *cfg, const kv_clock *clock, kv_exec *x)
{
    kv_err err = open_once(cfg, clock, x);
    return err == KV_E_DISK_FULL && kv_db_spare_give(cfg) ? open_once(cfg, clock, x) : err;
}

void kv_exec_close(kv_exec *x)
{
    kv_event_rows_free(&x->rows);
    kv_gone_release(&x->gone);
    kv_names_release(&x->services);
    free(x->plain);
    kv_buf_release(&x->scratch);
    kv_buf_release(&x->spare);
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
    if (x->unsure)
        KV_TRY(read_counters(x));
    x->unsure = false;
    x->next_event = x->last_event + 1;
    x->next_gone = x->gone_seq;
    x->open = x->open_kept;
    x->event_bytes = 0;
    x->ahead = x->leased = NULL;
    x->wrote_over = false;
    return kv_db_begin(x->db);
}

kv_err kv_exec_write_over(kv_exec *x)
{
    x->wrote_over = x->log_doubtful;
    return x->log_doubtful ? kv_counter_count(x->db, "failed_commits") : KV_OK;
}

void kv_exec_rollback(kv_exec *x)
{
    kv_db_rollback(x->db);
    kv_event_rows_free(&x->rows);
    x->row = NULL;
    kv_gone_drop(&x->gone);
    kv_names_release(&x->services); /* some may have been made in this transaction */
    kv_exec_jobs_forget(x);
    x->unsure = read_counters(x) != KV_OK; /* read before the next one begins */
}

static kv_err write_rows(kv_exec *x)
{
    for (kv_event_row *r = x->rows; r; r = r->next) {
        kv_buf_addc(&r->body, ']');
        kv_buf_addc(&r->kept, ']');
        if (!kv_buf_ok(&r->body) || !kv_buf_ok(&r->kept))
            return KV_E_NO_MEMORY;
        KV_TRY(kv_event_append(x->db, r->first, r->last, x->now, kv_buf_slice(&r->kept)));
        kv_buf_release(&x->spare);
        x->spare = r->kept; /* its memory is the next commit's */
        r->kept = (kv_buf){.limit = ROW_LIMIT};
    }
    return KV_OK;
}

kv_err kv_exec_commit(kv_exec *x)
{
    kv_err err = write_rows(x);
    if (err == KV_OK)
        err = kv_jobs_open_pass(x->db, &x->open);
    if (err == KV_OK) {
        err = kv_db_commit(x->db);
        x->log_doubtful |= err != KV_OK;
    }
    if (err != KV_OK) {
        kv_exec_rollback(x);
        return err;
    }
    if (x->rows || x->wrote_over) /* it wrote something for certain */
        x->log_doubtful = false;
    x->last_event = x->next_event - 1;
    x->gone_seq = x->next_gone;
    x->open_kept = x->open;
    kv_gone_keep(&x->gone);
    return KV_OK;
}

kv_err kv_exec_probe(kv_exec *x)
{
    KV_TRY(kv_exec_begin(x));
    x->wrote_over = true;
    kv_err err = kv_counter_count(x->db, "probes");
    if (err == KV_OK)
        return kv_exec_commit(x);
    kv_exec_rollback(x);
    return err;
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
        kv_buf_release(&r->kept);
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
    r->kept = x->spare;
    kv_buf_init(&x->spare, ROW_LIMIT);
    kv_buf_clear(&r->kept);
    x->keep.n = 0;
    r->first = x->next_event;
    r->prev = x->next_event - 1;
    if (x->row)
        x->row->next = r;
    else
        x->rows = r;
    x->row = r;
    kv_buf_addc(&r->body, '[');
    kv_buf_addc(&r->kept, '[');
    x->event_bytes++;
    return true;
}

/* In one piece: a million of them a minute are written. */
kv_buf *kv_exec_event(kv_exec *x, kv_event_type type)
{
    if ((!x->row || x->row->body.len > ROW_BYTES) && !row_begin(x))
        return NULL;
    kv_buf *b = &x->row->body;
    kv_slice name = kv_event_names[type];
    size_t at_len = strlen(x->at);
    x->event_bytes -= b->len;
    char *p = kv_buf_reserve(b, 64 + name.len + at_len);
    if (!p)
        return NULL;
    if (b->len > 1)
        *p++ = ',';
    p = kv_put(p, "{\"id\":", 6);
    p = kv_put_u64(p, x->next_event);
    *p++ = ',';
    x->type_at = (size_t)(p - b->data);
    p = kv_put(p, "\"type\":\"", 8);
    p = kv_put(p, name.ptr, name.len);
    *p++ = '"';
    x->at_at = (size_t)(p - b->data);
    p = kv_put(p, ",\"at\":", 6);
    p = kv_put(p, x->at, at_len);
    *p = '\0';
    x->rest_at = b->len = (size_t)(p - b->data);
    x->own_at = 0;
    return b;
}

/* The log has the event without what its row says (storage/read/event_text.h). */
static void keep_event(kv_exec *x)
{
    const kv_buf *b = &x->row->body;
    kv_slice type = kv_slice_of(b->data + x->type_at, x->at_at - x->type_at);
    kv_slice rest = kv_slice_of(b->data + x->rest_at, b->len - x->rest_at);
    kv_keep_event(&x->keep, &x->row->kept, type, rest, x->own_at ? x->own_at - x->rest_at : 0);
}

kv_err kv_exec_event_end(kv_exec *x)
{
    kv_buf *b = &x->row->body;
    kv_buf_addc(b, '}');
    x->row->last = x->next_event++;
    x->event_bytes += b->len;
    if (!kv_buf_ok(b))
        return KV_E_NO_MEMORY;
    keep_event(x); /* write_rows sees whether there was memory */
    return KV_OK;
}

void kv_exec_add_id(kv_buf *b, const char *key, uint64_t id)
{
    char text[KV_ID_TEXT + 1];
    kv_id_format(id, text);
    kv_buf_adds(b, key);
    kv_buf_add(b, text, KV_ID_TEXT);
    kv_buf_addc(b, '"');
}

kv_err kv_exec_media_event(kv_exec *x, kv_event_type type, uint64_t media, kv_slice json)
{
    kv_buf *b = kv_exec_event(x, type);
    if (!b)
        return KV_E_NO_MEMORY;
    kv_exec_add_id(b, ",\"mediaId\":\"", media);
    kv_buf_adds(b, ",\"media\":");
    kv_buf_add(b, json.ptr, json.len);
    return kv_exec_event_end(x);
}

kv_err kv_exec_blob_event(kv_exec *x, kv_event_type type, uint64_t blob)
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

/* ---- commands ---- */

uint64_t kv_exec_id(kv_exec *x)
{
    return kv_id_make(&x->ids, x->clock);
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
    return may && cmd->deadline_ms && cmd->deadline_ms < (uint64_t)x->now;
}

bool kv_exec_owes(const kv_exec *x)
{
    return x->leased != NULL;
}

kv_err kv_exec_run(kv_exec *x, kv_cmd *cmd, const kv_cmd *ahead)
{
    kv_cmd_reset(cmd);
    x->cmd = cmd;
    x->ahead = ahead;
    if (expired(x, cmd)) {
        cmd->err = KV_E_EXPIRED;
        return KV_OK;
    }
    switch (cmd->type) {
    case KV_CMD_SUBMIT:
        return kv_exec_submit(x, cmd);
    case KV_CMD_MOVE:
        return kv_exec_move(x, cmd);
    case KV_CMD_PROGRESS:
        return kv_exec_progress(x, cmd);
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
    case KV_CMD_PROMOTE:
        return kv_exec_promote(x, cmd);
    case KV_CMD_METADATA:
        return kv_exec_metadata(x, cmd);
    case KV_CMD_RETRY:
        return kv_exec_retry(x, cmd);
    case KV_CMD_CREDIT:
        return kv_exec_credit(x, cmd);
    case KV_CMD_NOTIFY:
        return kv_exec_notify(x, cmd);
    case KV_CMD_SEEN:
        return kv_exec_seen(x, cmd);
    case KV_CMD_QUEUE_SET:
        return kv_exec_queue_set(x, cmd);
    case KV_CMD_PURGE_DEAD:
        return kv_exec_purge_dead(x, cmd);
    case KV_CMD_NOTHING:
        return KV_OK;
    }
    return KV_OK;
}
