#include "storage/read/job_history.h"

#include <stdio.h>

#include "proto/base/id.h"
#include "storage/read/jobs.h"

enum {
    US = 0x1f,
    RS = 0x1e,
    HEAD_STEPS = 6, /* what a cut leaves: so many of the first, */
    HEAD_BYTES = 1024,
    TAIL_BYTES = 3000 /* and these of the newest */
};

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

static void add_numbers(kv_buf *b, const kv_job_step *step)
{
    kv_buf_addc(b, (char)('0' + step->state));
    kv_buf_addc(b, ' ');
    kv_buf_addi(b, step->at - KV_ID_EPOCH_MS);
    kv_buf_addc(b, ' ');
    kv_buf_addu(b, step->attempt);
}

void kv_job_history_add(kv_buf *b, const kv_job_step *step)
{
    bool failed = step->error.len > 0, why = failed || step->reason.len;
    add_numbers(b, step);
    if (why || step->worker.len)
        add_text(b, step->worker);
    if (why)
        add_text(b, step->reason);
    if (failed) {
        add_text(b, step->error);
        add_text(b, step->detail);
    }
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

/* The next record without its RS; false: none is left. */
static bool take_record(kv_slice *history, kv_slice *ret)
{
    if (!history->len)
        return false;
    const char *end = memchr(history->ptr, RS, history->len);
    size_t n = end ? (size_t)(end - history->ptr) : history->len;
    size_t used = end ? n + 1 : n;
    *ret = kv_slice_of(history->ptr, n);
    *history = kv_slice_of(history->ptr + used, history->len - used);
    return true;
}

/* *ret_left_out: how many it stands for that were cut out; 0: it is a step itself. */
static bool read_step(kv_slice record, kv_job_step *step, uint64_t *ret_left_out)
{
    int64_t left_out = 0;
    int64_t state, at, attempt;
    if (!take_number(&record, &state) || !take_char(&record, ' ') || !take_number(&record, &at) ||
        !take_char(&record, ' ') || !take_number(&record, &attempt))
        return false;
    *step = (kv_job_step){.state = (int)state, .at = at + KV_ID_EPOCH_MS};
    step->attempt = (uint64_t)attempt;
    step->worker = take_text(&record);
    step->reason = take_text(&record);
    step->error = take_text(&record);
    step->detail = take_text(&record);
    kv_slice number = take_text(&record);
    *ret_left_out = take_number(&number, &left_out) && left_out > 0 ? (uint64_t)left_out : 0;
    return true;
}

/* ---- cut ---- */

/* Bytes of the first steps that stay: up to where steps were cut out before. */
static size_t head_of(kv_slice history)
{
    kv_slice rest = history, record;
    size_t head = 0;
    for (int i = 0; i < HEAD_STEPS && take_record(&rest, &record); i++) {
        kv_job_step step;
        uint64_t left_out;
        size_t end = history.len - rest.len;
        if (end > HEAD_BYTES || (read_step(record, &step, &left_out) && left_out))
            break;
        head = end;
    }
    return head;
}

/* Where the newest that stay begin. */
static size_t tail_of(kv_slice history, size_t head)
{
    if (history.len <= head + TAIL_BYTES)
        return head;
    size_t at = history.len - TAIL_BYTES - 1;
    const char *end = memchr(history.ptr + at, RS, history.len - at);
    return end ? (size_t)(end - history.ptr) + 1 : history.len;
}

void kv_job_history_cut(kv_slice history, kv_buf *out)
{
    size_t head = head_of(history), tail = tail_of(history, head);
    kv_slice middle = kv_slice_of(history.ptr + head, tail - head), record;
    kv_job_step step, newest = {.state = 0};
    uint64_t steps = 0, left_out;
    while (take_record(&middle, &record)) {
        if (!read_step(record, &step, &left_out))
            continue;
        newest = step;
        steps += left_out ? left_out : 1;
    }
    kv_buf_add(out, history.ptr, head);
    if (steps) {
        add_numbers(out, &newest);
        for (int i = 0; i < 5; i++)
            kv_buf_addc(out, US);
        kv_buf_addu(out, steps);
        kv_buf_addc(out, RS);
    }
    kv_buf_add(out, history.ptr + tail, history.len - tail);
}

/* ---- shown ---- */

static void add_member(kv_buf *out, const char *key, kv_slice text)
{
    if (!text.len)
        return;
    kv_json_key(out, key);
    kv_json_str(out, text);
}

static void add_left_out(kv_buf *out, uint64_t steps)
{
    char text[48];
    snprintf(text, sizeof text, "%llu step%s left out", (unsigned long long)steps,
             steps == 1 ? "" : "s");
    add_member(out, "reason", kv_slice_str(text));
    kv_json_key(out, "left_out");
    kv_json_u64(out, steps);
}

static void add_step(kv_buf *out, const kv_job_step *step, uint64_t left_out)
{
    kv_json_open(out, '{');
    kv_json_key(out, "status");
    kv_json_cstr(out, kv_job_state_name(step->state));
    kv_json_key(out, "at");
    kv_json_time(out, step->at);
    kv_json_key(out, "attempt");
    kv_json_u64(out, step->attempt);
    if (left_out) {
        add_left_out(out, left_out);
    } else {
        add_member(out, "worker", step->worker);
        add_member(out, "reason", step->reason);
        add_member(out, "error", step->error);
        add_member(out, "error_detail", step->detail);
    }
    kv_json_close(out, '}');
}

void kv_job_history_read(kv_slice history, int64_t created_at, kv_buf *out)
{
    kv_job_step step = {.state = KV_JOB_QUEUED, .at = created_at};
    kv_slice record;
    uint64_t left_out;
    kv_buf shorter;
    kv_buf_init(&shorter, 0);
    if (history.len > KV_HISTORY_MAX) { /* of a row from before it was cut when written */
        kv_job_history_cut(history, &shorter);
        history = kv_buf_slice(&shorter);
        out->failed |= !kv_buf_ok(&shorter);
    }
    kv_json_open(out, '[');
    add_step(out, &step, 0);
    while (take_record(&history, &record)) {
        if (read_step(record, &step, &left_out))
            add_step(out, &step, left_out);
    }
    kv_json_close(out, ']');
    kv_buf_release(&shorter);
}

kv_slice kv_job_history_holder(kv_slice history)
{
    kv_slice record, none = kv_slice_of(NULL, 0);
    kv_job_step step = {.state = KV_JOB_QUEUED};
    uint64_t left_out;
    size_t at = history.len;
    if (at == 0) /* and its pointer may be NULL */
        return none;
    if (history.ptr[at - 1] == RS)
        at--;
    while (at && history.ptr[at - 1] != RS)
        at--;
    kv_slice newest = kv_slice_of(history.ptr + at, history.len - at);
    bool read = take_record(&newest, &record) && read_step(record, &step, &left_out);
    return read && step.state == KV_JOB_PROCESSING ? step.worker : none;
}
