#include "gateway/upload.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/query.h"
#include "gateway/route.h"
#include "proto/actor.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/endpoints.h"

#define DISK_AGAIN_MS 5000

/* ---- table ---- */

static kv_upload **slot_of(struct kv_uploads *us, uint64_t id)
{
    kv_upload **slot = &us->table[(id ^ id >> 22) & 255];
    while (*slot != NULL && (*slot)->id != id)
        slot = &(*slot)->next;
    return slot;
}

static void on_message(struct kv_uploads *us, const kv_msg *m)
{
    if (m->code != KV_UPLOAD_DONE) {
        kv_log(KV_LOG_ERROR, "unexpected_message", KV_STR("code", kv_code_name(m->code)));
        return;
    }
    kv_upload *u = *slot_of(us, m->upload_done.upload);
    if (u == NULL) {
        kv_log(KV_LOG_ERROR, "unknown_upload_done", KV_ID("uploadId", m->upload_done.upload));
        return;
    }
    char detail[sizeof(u->detail)];
    snprintf(detail, sizeof(detail), "%.*s", KV_SLICE_FMT(m->upload_done.detail));
    if (u->state == KV_UPLOAD_ABORTING) {
        kv_upload_answer_error(u, u->err, u->detail, 0);
    } else if (m->upload_done.number != 0) {
        kv_upload_answer_error(u, (kv_err)m->upload_done.number, detail,
                               m->upload_done.retry_after_ms);
    } else {
        assert(u->state == KV_UPLOAD_COMMITTING);
        kv_upload_answer_done(u, &m->upload_done);
    }
}

static void on_inbox(void *arg)
{
    struct kv_uploads *us = arg;
    kv_header head;
    kv_msg m;
    zmq_msg_t storage, payload;
    while (kv_actor_take(us->loop->loop.inbox, &head, &m, &storage, &payload) == 1) {
        on_message(us, &m);
        zmq_msg_close(&storage);
        zmq_msg_close(&payload);
    }
}

kv_err kv_uploads_new(kv_loop_own *loop, struct kv_uploads **ret)
{
    struct kv_uploads *us = calloc(1, sizeof(*us));
    if (us == NULL)
        return KV_E_NO_MEMORY;
    us->loop = loop;
    us->pipelines = (unsigned)loop->loop.gw->cfg->ingest_pipelines;
    us->next_pipeline = loop->loop.index;
    h2o_linklist_init_anchor(&us->waiting);
    for (unsigned i = 0; i < us->pipelines; i++) {
        char endpoint[64];
        int zero = 0;
        snprintf(endpoint, sizeof(endpoint), KV_EP_SCANNER, i);
        us->scanner[i] = zmq_socket(loop->loop.gw->zmq, ZMQ_PUSH);
        /* no high-water mark: what is in flight is bounded by credit, and nothing may be dropped or
         * block */
        if (us->scanner[i] == NULL ||
            zmq_setsockopt(us->scanner[i], ZMQ_SNDHWM, &zero, sizeof(zero)) != 0 ||
            zmq_setsockopt(us->scanner[i], ZMQ_LINGER, &zero, sizeof(zero)) != 0 ||
            zmq_connect(us->scanner[i], endpoint) != 0) {
            kv_log(KV_LOG_ERROR, "scanner_socket", KV_STR("error", zmq_strerror(zmq_errno())));
            kv_uploads_destroy(&us);
            return KV_E_INTERNAL;
        }
    }
    int fd;
    size_t len = sizeof(fd);
    if (zmq_getsockopt(loop->loop.inbox, ZMQ_FD, &fd, &len) != 0) {
        kv_uploads_destroy(&us);
        return KV_E_INTERNAL;
    }
    kv_loop_watch(&loop->loop, fd, on_inbox, us);
    *ret = us;
    return KV_OK;
}

void kv_uploads_destroy(struct kv_uploads **uploads)
{
    struct kv_uploads *us = *uploads;
    if (us == NULL)
        return;
    for (unsigned i = 0; i < us->pipelines; i++)
        if (us->scanner[i] != NULL)
            zmq_close(us->scanner[i]);
    if (us->arena != NULL)
        kv_body_drop(us->arena);
    free(us);
    *uploads = NULL;
}

size_t kv_uploads_active(const struct kv_uploads *us)
{
    return us->active;
}

void kv_upload_forget(kv_upload *u)
{
    struct kv_uploads *us = u->loop->loop.uploads;
    kv_upload **slot = slot_of(us, u->id);
    assert(*slot == u);
    *slot = u->next;
    kv_unlink(&u->waiting);
    kv_timer_clear(&u->rate_timer);
    if (u->conn != NULL)
        u->conn->upload = NULL;
    if (u->multipart)
        kv_multipart_release(&u->parser);
    if (u->whole != NULL)
        kv_body_drop(u->whole);
    kv_upload_let_go(u);
    kv_body_credit_drop(u->credit);
    us->active--;
    kv_metric_add(KV_M_UPLOADS_ACTIVE, -1);
    if (us->active == 0 && us->arena != NULL) { /* memory goes back when nothing is uploaded */
        kv_body_drop(us->arena);
        us->arena = NULL;
    }
    free(u);
}

/* ---- messages ---- */

static void post(kv_upload *u, const kv_msg *m, zmq_msg_t *payload)
{
    kv_actor_post(u->loop->loop.uploads->scanner[u->pipeline], &u->head, m, payload);
}

static void begin(kv_upload *u)
{
    kv_msg m;
    kv_msg_defaults(KV_UPLOAD_BEGIN, &m);
    memcpy(u->begun_folder, u->folder, sizeof(u->folder));
    m.upload_begin = (kv_upload_begin){
        .upload = u->id,
        .loop = u->loop->loop.index,
        .pipeline = u->pipeline,
        .folder = kv_slice_str(u->folder),
        .filename = kv_slice_str(u->filename),
        .declared = kv_slice_str(u->declared),
        .length_hint = u->length_hint,
    };
    u->begun = true;
    post(u, &m, NULL);
}

/* A payload of bytes that stand in `buf` (else, or where they would hold too much, of a copy). */
static kv_err make_payload(kv_upload *u, kv_body_buf *buf, kv_slice bytes, zmq_msg_t *ret)
{
    kv_body_pool *pool = kv_gw_inside(&u->loop->loop)->pool;
    bool inside = buf != NULL && bytes.ptr >= buf->bytes && bytes.ptr < buf->bytes + buf->cap;
    bool copied = bytes.len < KV_BODY_COPY && buf != u->whole;
    kv_body_buf *own = NULL;
    if (inside && copied) /* where the budget has no room for it, what is counted already serves */
        own = kv_body_single(pool, bytes.len, 1, false);
    if (inside && own == NULL && kv_body_message(buf, u->credit, bytes, ret))
        return KV_OK;
    if (own == NULL)
        own = kv_body_single(pool, bytes.len, 1, true);
    if (own == NULL)
        return KV_E_NO_MEMORY;
    memcpy(own->bytes, bytes.ptr, bytes.len);
    bool ok = kv_body_message(own, u->credit, kv_slice_of(own->bytes, bytes.len), ret);
    kv_body_drop(own);
    return ok ? KV_OK : KV_E_NO_MEMORY;
}

static kv_err send_piece(kv_upload *u, kv_body_buf *buf, uint64_t offset, kv_slice bytes)
{
    zmq_msg_t payload;
    kv_msg m;
    KV_TRY(make_payload(u, buf, bytes, &payload));
    kv_msg_defaults(KV_UPLOAD_CHUNK, &m);
    m.upload_chunk = (kv_upload_chunk){.upload = u->id, .offset = offset};
    post(u, &m, &payload);
    return KV_OK;
}

/* The file so far, as long as it stands in one piece. */
static bool hold(kv_upload *u, kv_slice bytes)
{
    bool inside = u->buf != NULL && bytes.ptr >= u->buf->bytes &&
                  bytes.ptr + bytes.len <= u->buf->bytes + u->buf->cap;
    bool next =
        u->held.len == 0 || (u->held_buf == u->buf && bytes.ptr == u->held.ptr + u->held.len);
    if (u->begun || !inside || !next || u->held.len + bytes.len > KV_BODY_ARENA)
        return false;
    if (u->held.len == 0) {
        u->held.ptr = bytes.ptr;
        u->held_buf = u->buf;
        kv_body_hold(u->buf);
    }
    u->held.len += bytes.len;
    u->size += bytes.len;
    return true;
}

static void drop_held(kv_upload *u)
{
    if (u->held_buf != NULL)
        kv_body_drop(u->held_buf);
    u->held_buf = NULL;
    u->held.len = 0;
}

void kv_upload_let_go(kv_upload *u)
{
    drop_held(u);
    if (u->room.buf != NULL)
        kv_body_drop(u->room.buf);
    u->room.buf = NULL;
}

kv_err kv_upload_flush(kv_upload *u)
{
    if (u->held.len == 0)
        return KV_OK;
    begin(u);
    kv_err err = send_piece(u, u->held_buf, u->size - u->held.len, u->held);
    drop_held(u);
    return err;
}

kv_err kv_upload_file_bytes(kv_upload *u, kv_slice bytes)
{
    if (bytes.len == 0)
        return KV_OK;
    if (bytes.len > u->size_max - u->size)
        return KV_E_TOO_LARGE;
    if (hold(u, bytes))
        return KV_OK;
    KV_TRY(kv_upload_flush(u));
    if (!u->begun)
        begin(u);
    while (bytes.len > 0) {
        size_t n = bytes.len < KV_BODY_ARENA ? bytes.len : KV_BODY_ARENA;
        KV_TRY(send_piece(u, u->buf, u->size, kv_slice_of(bytes.ptr, n)));
        u->size += n;
        bytes = kv_slice_of(bytes.ptr + n, bytes.len - n);
    }
    return KV_OK;
}

static void send_end(kv_upload *u)
{
    kv_msg m;
    kv_msg_defaults(KV_UPLOAD_END, &m);
    m.upload_end.upload = u->id;
    m.upload_end.size = u->size;
    if (strcmp(u->folder, u->begun_folder) != 0)
        m.upload_end.folder = kv_slice_str(u->folder);
    post(u, &m, NULL);
}

static kv_err send_whole(kv_upload *u)
{
    zmq_msg_t payload;
    kv_msg m;
    KV_TRY(make_payload(u, u->held_buf, u->held, &payload));
    kv_msg_defaults(KV_UPLOAD_WHOLE, &m);
    m.upload_whole = (kv_upload_whole){
        .upload = u->id,
        .loop = u->loop->loop.index,
        .folder = kv_slice_str(u->folder),
        .filename = kv_slice_str(u->filename),
        .declared = kv_slice_str(u->declared),
        .began_us = u->began_us,
    };
    u->begun = true;
    post(u, &m, &payload);
    return KV_OK;
}

void kv_upload_body_over(kv_upload *u)
{
    kv_upload_stop_reading(u);
    kv_timer_clear(&u->rate_timer);
    u->conn->state = KV_CONN_BUSY;
    if (u->multipart && !u->have_file) {
        kv_upload_fail(u, u->nameless ? KV_E_BAD_FILENAME : KV_E_MISSING_FILE, NULL);
        return;
    }
    if (u->size == 0) {
        kv_upload_fail(u, KV_E_EMPTY_FILE, NULL);
        return;
    }
    if (u->begun) {
        send_end(u);
    } else if (send_whole(u) != KV_OK) {
        kv_upload_fail(u, KV_E_NO_MEMORY, NULL);
        return;
    }
    kv_upload_let_go(u);
    u->state = KV_UPLOAD_COMMITTING;
}

void kv_upload_fail(kv_upload *u, kv_err err, const char *detail)
{
    if (u->state != KV_UPLOAD_RECEIVING)
        return;
    if (u->conn != NULL) {
        kv_upload_stop_reading(u);
        u->conn->state = KV_CONN_BUSY;
    }
    kv_unlink(&u->waiting);
    kv_timer_clear(&u->rate_timer);
    if (!u->begun) {
        kv_upload_answer_error(u, err, detail, 0);
        return;
    }
    u->err = err;
    snprintf(u->detail, sizeof(u->detail), "%s", detail != NULL ? detail : "");
    u->state = KV_UPLOAD_ABORTING;
    kv_msg m;
    kv_msg_defaults(KV_UPLOAD_ABORT, &m);
    m.upload_abort = (kv_upload_abort){.upload = u->id, .number = err};
    post(u, &m, NULL);
}

void kv_upload_conn_gone(kv_upload *u)
{
    u->conn = NULL;
    u->req = NULL;
    kv_upload_fail(u, KV_E_CLIENT_GONE,
                   NULL); /* nothing when the body was complete: the file is kept */
}

void kv_uploads_abort_all(struct kv_uploads *us)
{
    for (size_t i = 0; i < sizeof(us->table) / sizeof(us->table[0]); i++)
        for (kv_upload *u = us->table[i], *next; u != NULL; u = next) {
            next = u->next;
            kv_upload_fail(u, KV_E_DRAINING, NULL);
        }
}

/* ---- the route ---- */

typedef struct asked {
    kv_upload *u;
    kv_slice filename;
} asked;

static kv_err take_folder(void *out, kv_slice v)
{
    return kv_upload_set_folder(((asked *)out)->u, v);
}

static kv_err take_filename(void *out, kv_slice v)
{
    ((asked *)out)->filename = v;
    return kv_filename_check(v);
}

static const kv_parameter parameters[] = {
    {"folder", take_folder, "names of [a-z0-9_-] joined by \"/\""},
    {"filename", take_filename, "1 to 255 bytes of UTF-8, a name and no path"},
};

static kv_err from_query(kv_request *r, kv_upload *u)
{
    asked q = {.u = u};
    KV_TRY(kv_query_read(r, parameters, sizeof(parameters) / sizeof(*parameters), &q, u->detail));
    if (u->multipart)
        return KV_OK;
    if (q.filename.len == 0) {
        snprintf(u->detail, sizeof(u->detail), "a raw body needs ?filename=");
        return KV_E_BAD_FILENAME;
    }
    kv_slice type = kv_header_get(r->req, "content-type");
    if (kv_slice_is_nocase(
            type, "application/x-www-form-urlencoded")) /* what curl says when nothing was said */
        type.len = 0;
    return kv_upload_set_file(u, q.filename, type);
}

/* What the head tells already: kind of body, names, a length over the limit. */
static kv_err check_head(kv_request *r, kv_upload *u)
{
    const kv_config *cfg = r->loop->gw->cfg;
    kv_slice type = kv_header_get(r->req, "content-type");
    char boundary[KV_MULTIPART_BOUNDARY_MAX + 1];
    if (kv_header_get(r->req, "content-range").len > 0) /* each would be a file of its own */
        return KV_E_PIECE;
    u->size_max = (uint64_t)cfg->max_upload_size_mb << 20;
    if (!cfg->upload_stream_enabled && u->size_max > (uint64_t)cfg->upload_buffered_max_mb << 20)
        u->size_max = (uint64_t)cfg->upload_buffered_max_mb << 20;
    strcpy(u->folder, "genel");
    if (kv_slice_is_nocase(kv_slice_of(type.ptr, type.len < 10 ? type.len : 10), "multipart/")) {
        if (!kv_multipart_boundary(type, boundary)) {
            snprintf(u->detail, sizeof(u->detail), "Content-Type: no boundary, or one not allowed");
            return KV_E_BAD_MULTIPART;
        }
        u->multipart = true;
        kv_multipart_init(&u->parser, boundary, &kv_upload_form, u);
    }
    u->length_hint = u->conn->frame.left; /* of the body: near enough */
    uint64_t most = u->size_max + (u->multipart ? KV_UPLOAD_OVERHEAD : 0);
    if (u->conn->frame.left > most)
        return KV_E_TOO_LARGE;
    KV_TRY(from_query(r, u));
    return !u->multipart && u->conn->frame.over ? KV_E_EMPTY_FILE : KV_OK;
}

/* DISK_RESERVE_MB: refused while there still is room for what is under way, on the disk of its row,
 * too. */
static bool has_room(const kv_gw *gw, const kv_upload *u)
{
    return !kv_space_low(kv_store_space(gw->store), gw->cfg, u->length_hint) &&
           !kv_space_low(kv_space_at(gw->cfg->data), gw->cfg, 0);
}

static bool rate_allows(kv_request *r, kv_conn *c, uint64_t *ret_retry_after_ms)
{
    kv_rate_answer a = kv_ratelimit_take(kv_gw_inside(r->loop)->rate, (struct sockaddr *)&c->peer,
                                         kv_mono_ms(r->loop->gw->clock));
    char text[96];
    if (a.limit > 0) {
        snprintf(text, sizeof(text), "\"uploads\";q=%" PRIu64 ";w=60", a.limit);
        kv_add_header(r->req, "ratelimit-policy", text);
        snprintf(text, sizeof(text), "\"uploads\";r=%" PRIu64 ";t=%" PRIu64, a.remaining,
                 a.reset_s);
        kv_add_header(r->req, "ratelimit", text);
    }
    *ret_retry_after_ms = a.retry_after_ms;
    return a.allowed;
}

void kv_route_upload(kv_request *r)
{
    struct kv_uploads *us = r->loop->uploads;
    kv_conn *c = kv_conn_of(r->req);
    kv_upload *u = calloc(1, sizeof(*u));
    kv_body_credit *credit = u != NULL ? kv_body_credit_new() : NULL;
    if (credit == NULL) {
        free(u);
        kv_answer_problem(r->req, KV_E_NO_MEMORY, NULL, 2000);
        return;
    }
    u->loop = us->loop;
    u->conn = c;
    u->req = r->req;
    u->credit = credit;
    u->id = kv_id_make(&us->loop->ids, r->loop->gw->clock);
    u->pipeline = us->next_pipeline++ % us->pipelines;
    u->began_us = c->began_us;
    memcpy(u->head.trace, c->trace, sizeof(c->trace));
    memcpy(u->head.span, c->span, sizeof(c->span));
    *slot_of(us, u->id) = u;
    us->active++;
    kv_metric_add(KV_M_UPLOADS_ACTIVE, 1);
    c->upload = u;

    uint64_t retry_after_ms;
    if (r->loop->gw->draining) {
        kv_upload_answer_error(u, KV_E_DRAINING, NULL, 2000);
        return;
    }
    if (!rate_allows(r, c, &retry_after_ms)) {
        kv_upload_answer_error(u, KV_E_RATE_LIMIT, NULL, retry_after_ms);
        return;
    }
    kv_err err = check_head(r, u);
    if (err != KV_OK) {
        kv_upload_answer_error(u, err, u->detail, 0);
        return;
    }
    if (!has_room(r->loop->gw, u)) {
        kv_upload_answer_error(u, KV_E_DISK_FULL, NULL, DISK_AGAIN_MS);
        return;
    }
    c->state = KV_CONN_UPLOAD;
    kv_tap_continue(c);
    kv_upload_watch_rate(u);
    kv_upload_read(u);
}
