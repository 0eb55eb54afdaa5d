#include "gateway/position.h"

#include "proto/base/json_scan.h"
#include "proto/base/id.h"

bool kv_position_of(kv_slice json, kv_rank *ret)
{
    kv_slice id;
    return kv_scan_text(json, "jobId", &id) && kv_id_parse(id.ptr, id.len, &ret->job) &&
           kv_scan_member(json, "status", &ret->status) &&
           kv_scan_member(json, "queue_position", &ret->queue) &&
           kv_scan_member(json, "lane_position", &ret->lane) &&
           kv_scan_member(json, "eta_seconds", &ret->eta);
}

size_t kv_positions_of(kv_slice array, kv_rank *ret, size_t max)
{
    size_t n = 0, pos = 0;
    kv_slice one;
    while (n < max && kv_scan_next(array, &pos, &one))
        n += kv_position_of(one, &ret[n]);
    return n;
}

static void put_raw(kv_buf *out, const char *key, const kv_slice *raw)
{
    kv_json_key(out, key);
    if (raw != NULL)
        kv_json_raw(out, *raw);
    else
        kv_json_null(out);
}

void kv_position_put(kv_buf *out, const kv_rank *p)
{
    put_raw(out, "queue_position", p != NULL ? &p->queue : NULL);
    put_raw(out, "lane_position", p != NULL ? &p->lane : NULL);
    put_raw(out, "eta_seconds", p != NULL ? &p->eta : NULL);
}

static const kv_rank working = {.queue = {"0", 1}, .lane = {"0", 1}, .eta = {"null", 4}};

void kv_position_into(kv_buf *out, kv_slice job, const kv_rank *p)
{
    kv_slice status = {0};
    kv_scan_text(job, "status", &status);
    while (job.len > 0 && job.ptr[job.len - 1] != '}')
        job.len--;
    if (kv_slice_is(status, "processing"))
        p = &working;
    else if (!kv_slice_is(status, "queued"))
        p = NULL;
    kv_json_raw(out, kv_slice_of(job.ptr, job.len > 0 ? job.len - 1 : 0));
    kv_position_put(out, p);
    kv_json_close(out, '}');
}

bool kv_position_waits(kv_slice job, uint64_t *ret_id)
{
    kv_slice status, id;
    return kv_scan_text(job, "status", &status) && kv_slice_is(status, "queued") &&
           kv_scan_text(job, "jobId", &id) && kv_id_parse(id.ptr, id.len, ret_id);
}

static void put_rank(kv_buf *out, const char *key, int64_t rank)
{
    kv_json_key(out, key);
    kv_json_i64_or_null(out, rank);
}

/* [low,high] in whole seconds, rounded outwards; null when nothing is measured. */
static void put_eta(kv_buf *out, uint64_t low_ms, uint64_t high_ms)
{
    if (low_ms == 0 && high_ms == 0) {
        kv_json_null(out);
        return;
    }
    kv_json_open(out, '[');
    kv_json_u64(out, low_ms / 1000);
    kv_json_u64(out, (high_ms + 999) / 1000);
    kv_json_close(out, ']');
}

void kv_submitted_json(kv_buf *out, const kv_submit_ok *ok)
{
    char id[KV_ID_TEXT + 1];
    kv_id_format(ok->job, id);
    kv_json_open(out, '{');
    kv_json_key(out, "jobId");
    kv_json_cstr(out, id);
    kv_json_key(out, "status");
    kv_json_str(out, ok->status);
    put_rank(out, "queue_position", ok->queue_position);
    put_rank(out, "lane_position", ok->lane_position);
    kv_json_key(out, "eta_seconds");
    put_eta(out, ok->eta_low_ms, ok->eta_high_ms);
    kv_json_key(out, "created");
    kv_json_bool(out, ok->created);
    kv_json_close(out, '}');
}
