#include "storage/read/job_history.h"

#include "proto/base/id.h"
#include "storage/read/jobs.h"

enum { US = 0x1f, RS = 0x1e };

/* ---- written ---- */

static void add_text(kv_buf *b, kv_slice text)
{
    kv_buf_addc(b, US);
    char *to = kv_buf_reserve(b, text.len);
    if (!to)
        return;
    for (size_t i = 0; i < text.len; i++)
        to[i] = (unsigned char)text.ptr[i] < 0x20 ? ' ' : text.ptr[i];
    b->len += text.len;
    b->data[b->len] = '\0';
}

void kv_job_history_add(kv_buf *b, const kv_job_step *step)
{
    kv_buf_addc(b, (char)('0' + step->state));
    kv_buf_addc(b, ' ');
    kv_buf_addi(b, step->at - KV_ID_EPOCH_MS);
    kv_buf_addc(b, ' ');
    kv_buf_addu(b, step->attempt);
    if (step->worker.len || step->reason.len)
        add_text(b, step->worker);
    if (step->reason.len)
        add_text(b, step->reason);
    kv_buf_addc(b, RS);
}

/* ---- read ---- */

static bool take_number(kv_slice *s, int64_t *ret)
{
    bool minus = s->len && *s->ptr == '-';
    size_t i = minus;
    uint64_t v = 0;
    for (; i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(s->ptr[i] - '0');
    if (i == (size_t)minus)
        return false;
    *ret = minus ? -(int64_t)v : (int64_t)v;
    *s = kv_slice_of(s->ptr + i, s->len - i);
    return true;
}

static bool take_char(kv_slice *s, char c)
{
    if (!s->len || *s->ptr != c)
        return false;
    *s = kv_slice_of(s->ptr + 1, s->len - 1);
    return true;
}

static kv_slice take_text(kv_slice *s)
{
    if (!take_char(s, US))
        return kv_slice_of(NULL, 0);
    size_t n = 0;
    while (n < s->len && s->ptr[n] != US)
        n++;
    kv_slice text = kv_slice_of(s->ptr, n);
    *s = kv_slice_of(s->ptr + n, s->len - n);
    return text;
}

static bool read_step(kv_slice record, kv_job_step *step)
{
    int64_t state, at, attempt;
    if (!take_number(&record, &state) || !take_char(&record, ' ') || !take_number(&record, &at) ||
        !take_char(&record, ' ') || !take_number(&record, &attempt))
        return false;
    *step = (kv_job_step){.state = (int)state, .at = at + KV_ID_EPOCH_MS};
    step->attempt = (uint64_t)attempt;
    step->worker = take_text(&record);
    step->reason = take_text(&record);
    return true;
}

static void add_step(kv_buf *out, const kv_job_step *step)
{
    kv_json_open(out, '{');
    kv_json_key(out, "status");
    kv_json_cstr(out, kv_job_state_name(step->state));
    kv_json_key(out, "at");
    kv_json_time(out, step->at);
    kv_json_key(out, "attempt");
    kv_json_u64(out, step->attempt);
    if (step->worker.len) {
        kv_json_key(out, "worker");
        kv_json_str(out, step->worker);
    }
    if (step->reason.len) {
        kv_json_key(out, "reason");
        kv_json_str(out, step->reason);
    }
    kv_json_close(out, '}');
}

void kv_job_history_read(kv_slice history, int64_t created_at, kv_buf *out)
{
    kv_job_step step = {.state = KV_JOB_QUEUED, .at = created_at};
    kv_json_open(out, '[');
    add_step(out, &step);
    while (history.len) {
        const char *end = memchr(history.ptr, RS, history.len);
        size_t n = end ? (size_t)(end - history.ptr) : history.len;
        if (read_step(kv_slice_of(history.ptr, n), &step))
            add_step(out, &step);
        size_t used = end ? n + 1 : n;
        history = kv_slice_of(history.ptr + used, history.len - used);
    }
    kv_json_close(out, ']');
}
