/* How an upload ends for the client, the metrics and the log. */
#include <stdio.h>

#include "proto/base/json_scan.h"
#include "gateway/upload.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

static int64_t took_us(const kv_upload *u)
{
    return kv_mono_us(u->loop->loop.gw->clock) - u->began_us;
}

static void trace_text(const kv_upload *u, char out[33])
{
    kv_hex_encode(u->head.trace, 16, out);
}

/* The media row with uploadId and deduplicated put in before its last brace. */
static void body_of(const kv_upload *u, const kv_upload_done *done, kv_buf *out)
{
    char id[KV_ID_TEXT + 1];
    kv_id_format(u->id, id);
    kv_slice json = done->json;
    while (json.len > 0 && json.ptr[json.len - 1] != '}')
        json.len--;
    kv_buf_add(out, json.ptr, json.len > 0 ? json.len - 1 : 0);
    kv_json_key(out, "uploadId");
    kv_json_cstr(out, id);
    kv_json_key(out, "deduplicated");
    kv_json_bool(out, done->deduplicated);
    kv_json_close(out, '}');
}

void kv_upload_answer_done(kv_upload *u, const kv_upload_done *done)
{
    int64_t took = took_us(u);
    kv_metric_add(KV_M_UPLOADS, 1);
    kv_metric_add(KV_M_UPLOAD_BYTES, (int64_t)u->size);
    kv_metric_observe_us(KV_M_UPLOAD_SECONDS, took);
    char trace[33];
    trace_text(u, trace);
    /* the line of record is the ingest side's, with both hashes and the time of each step */
    kv_log(KV_LOG_DEBUG, "upload_answered", KV_ID("uploadId", u->id), KV_ID("mediaId", done->media),
           KV_STR("folder", u->folder), KV_STR("filename", u->filename), KV_U64("size", u->size),
           KV_SLICE("hash", done->hash_hex), KV_BOOL("deduplicated", done->deduplicated),
           KV_F64("ms", (double)took / 1000.0), KV_BOOL("client_gone", u->req == NULL),
           KV_STR("traceId", trace));
    if (u->req != NULL) {
        char location[1024];
        kv_slice url;
        kv_buf body;
        kv_buf_init(&body, 0);
        body_of(u, done, &body);
        if (kv_scan_text(done->json, "url", &url) && url.len < sizeof location) {
            snprintf(location, sizeof location, "%.*s", KV_SLICE_FMT(url));
            kv_add_header(u->req, "location", location);
        }
        if (kv_buf_ok(&body))
            kv_answer_json(u->req, 201, kv_buf_slice(&body));
        else
            kv_answer_problem(u->req, KV_E_NO_MEMORY, NULL, 0);
        kv_buf_release(&body);
    }
    kv_upload_forget(u);
}

/* The figure behind "too large", and the setting it comes from where that is another one. */
static void limit_text(const kv_upload *u, char text[64])
{
    const kv_config *cfg = u->loop->loop.gw->cfg;
    bool buffered = u->size_max < (uint64_t)cfg->max_upload_size_mb << 20;
    snprintf(text, 64, "at most %" PRIu64 " MiB%s", u->size_max >> 20,
             buffered ? ", UPLOAD_BUFFERED_MAX_MB" : "");
}

void kv_upload_answer_error(kv_upload *u, kv_err err, const char *detail, uint64_t retry_after_ms)
{
    char trace[33], limit[64];
    if (err == KV_E_TOO_LARGE && (detail == NULL || *detail == 0)) {
        limit_text(u, limit);
        detail = limit;
    }
    trace_text(u, trace);
    int http = kv_err_info_of(err)->http;
    kv_err counted = err == KV_E_LENGTH_MISMATCH ? KV_E_CLIENT_GONE : err;
    kv_metric_add_label(KV_M_UPLOAD_FAILURES, kv_err_info_of(counted)->slug, 1);
    kv_log_level level = http == 500 || http == 507 ? KV_LOG_ERROR : KV_LOG_WARN;
    kv_log(u->begun ? KV_LOG_DEBUG : level, u->begun ? "upload_answered" : "upload_failed",
           KV_ID("uploadId", u->id), KV_ERRNAME("code", counted),
           KV_STR("detail", detail != NULL ? detail : ""), KV_STR("folder", u->folder),
           KV_STR("filename", u->filename), KV_U64("size", u->size),
           KV_F64("ms", (double)took_us(u) / 1000.0), KV_STR("traceId", trace));
    if (u->req != NULL) {
        if (u->conn->state == KV_CONN_UPLOAD) {
            kv_upload_stop_reading(u);
            u->conn->state = KV_CONN_BUSY;
        }
        kv_answer_problem(u->req, err, detail, retry_after_ms);
    }
    kv_upload_forget(u);
}
