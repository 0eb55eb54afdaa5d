#include "proto/base/log.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/text.h"

#define LINE_MAX_BYTES 4096
#define GATHER_BYTES   65536
#define TAIL           2 /* "}\n" */

static char process_name[32] = "kervan";
static kv_log_level least = KV_LOG_INFO;

/* A line under way. `room` never counts the tail, so the line can always be ended. */
typedef struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
} line;

/* What a thread has gathered; pages are touched only as far as they are used. */
static _Thread_local struct {
    bool on;
    size_t len;
    char text[GATHER_BYTES];
} gathered;

void kv_log_setup(const char *process, kv_log_level min_level)
{
    snprintf(process_name, sizeof process_name, "%s", process);
    least = min_level;
}

kv_log_level kv_log_min(void)
{
    return least;
}

static size_t room(const line *l)
{
    return sizeof l->text - TAIL - l->len;
}

static bool add(line *l, const char *text, size_t len)
{
    if (len > room(l))
        return false;
    memcpy(l->text + l->len, text, len);
    l->len += len;
    return true;
}

/* As much of `s` as fits, as a JSON string. */
static bool add_string(line *l, kv_slice s)
{
    char out[8];
    size_t used, n;

    if (room(l) < 2)
        return false;
    l->text[l->len++] = '"';
    for (size_t i = 0; i < s.len; i += used) {
        n = kv_json_escape(s.ptr + i, s.len - i, out, &used);
        if (n + 1 > room(l))
            break;
        add(l, out, n);
    }
    l->text[l->len++] = '"';
    return true;
}

static bool add_key(line *l, const char *key)
{
    return (l->len == 1 || add(l, ",", 1)) && add_string(l, kv_slice_str(key)) && add(l, ":", 1);
}

static bool add_value(line *l, const kv_log_field *f)
{
    char text[64];
    int n = 0;

    switch (f->type) {
    case KV_LF_STR:
        return add_string(l, f->str);
    case KV_LF_JSON:
        return f->str.len ? add(l, f->str.ptr, f->str.len) : add(l, "null", 4);
    case KV_LF_ID:
        kv_id_format((uint64_t)f->num, text);
        return add_string(l, kv_slice_str(text));
    case KV_LF_BOOL:
        return f->num ? add(l, "true", 4) : add(l, "false", 5);
    case KV_LF_U64:
        n = snprintf(text, sizeof text, "%llu", (unsigned long long)f->num);
        break;
    case KV_LF_I64:
        n = snprintf(text, sizeof text, "%lld", (long long)f->num);
        break;
    case KV_LF_F64:
        n = isfinite(f->real) ? snprintf(text, sizeof text, "%.6g", f->real)
                              : snprintf(text, sizeof text, "null");
        break;
    }
    return add(l, text, (size_t)n);
}

/* A field that does not fit (other than a string, which is cut) leaves no trace. */
static void add_field(line *l, const kv_log_field *f)
{
    size_t before = l->len;

    if (!add_key(l, f->key) || !add_value(l, f))
        l->len = before;
}

static void write_out(const char *text, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(STDOUT_FILENO, text + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nowhere left to say so */
        done += (size_t)n;
    }
}

void kv_log_gather(void)
{
    gathered.on = true;
}

void kv_log_flush(void)
{
    if (gathered.len > 0)
        write_out(gathered.text, gathered.len);
    gathered.len = 0;
}

static void write_line(const line *l, kv_log_level level)
{
    if (!gathered.on) {
        write_out(l->text, l->len);
        return;
    }
    if (gathered.len + l->len > sizeof gathered.text)
        kv_log_flush();
    memcpy(gathered.text + gathered.len, l->text, l->len);
    gathered.len += l->len;
    if (level >= KV_LOG_WARN)
        kv_log_flush();
}

void kv_log_write(kv_log_level level, const char *event, const kv_log_field *fields)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    int saved = errno; /* callers log before they use it */
    char when[KV_TIME_TEXT + 1];
    line l;

    l.text[0] = '{';
    l.len = 1;
    kv_time_format(kv_wall_ms(&kv_clock_real), when);
    add_field(&l, &KV_STR("time", when));
    add_field(&l, &KV_STR("level", names[level]));
    add_field(&l, &KV_STR("process", process_name));
    add_field(&l, &KV_STR("event", event));
    for (const kv_log_field *f = fields; f->key; f++)
        add_field(&l, f);
    memcpy(l.text + l.len, "}\n", TAIL);
    l.len += TAIL;
    write_line(&l, level);
    errno = saved;
}
