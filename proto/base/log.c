#include "proto/base/log.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
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
        used = kv_json_plain(s.ptr + i, s.len - i);
        if (used > 0) {
            if (used + 1 > room(l))
                used = room(l) - 1;
            if (!add(l, s.ptr + i, used) || used == 0)
                break;
            continue;
        }
        n = kv_json_escape(s.ptr + i, s.len - i, out, &used);
        if (n + 1 > room(l))
            break;
        add(l, out, n);
    }
    l->text[l->len++] = '"';
    return true;
}

/* Keys are literals of the code: nothing in them needs an escape. */
static bool add_key(line *l, const char *key)
{
    size_t n = strlen(key);
    if (n + 4 > room(l))
        return false;
    if (l->len > 1)
        l->text[l->len++] = ',';
    l->text[l->len++] = '"';
    memcpy(l->text + l->len, key, n);
    l->len += n;
    l->text[l->len++] = '"';
    l->text[l->len++] = ':';
    return true;
}

static bool add_unsigned(line *l, uint64_t v)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return add(l, text + at, sizeof text - at);
}

static bool add_signed(line *l, int64_t v)
{
    return (v >= 0 || add(l, "-", 1)) && add_unsigned(l, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* Three decimals are enough for a log, and printf's exact ones cost more than the rest of the line.
 */
static bool add_real(line *l, double v)
{
    if (!isfinite(v))
        return add(l, "null", 4);
    if (fabs(v) >= 1e15)
        return add_signed(l, v > 0 ? INT64_MAX : INT64_MIN);
    uint64_t thousandths = (uint64_t)(fabs(v) * 1000 + 0.5);
    char digits[4] = {'.', (char)('0' + thousandths / 100 % 10),
                      (char)('0' + thousandths / 10 % 10), (char)('0' + thousandths % 10)};
    return (v >= 0 || add(l, "-", 1)) && add_unsigned(l, thousandths / 1000) && add(l, digits, 4);
}

static bool add_value(line *l, const kv_log_field *f)
{
    char text[KV_ID_TEXT + 1];

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
        return add_unsigned(l, (uint64_t)f->num);
    case KV_LF_I64:
        return add_signed(l, f->num);
    case KV_LF_F64:
        return add_real(l, f->real);
    }
    return false;
}

/* A field that does not fit (other than a string, which is cut) leaves no trace. */
static void add_field(line *l, const kv_log_field *f)
{
    size_t before = l->len;

    if (!add_key(l, f->key) || !add_value(l, f))
        l->len = before;
}

static void (*divert)(const char *lines, size_t len);

void kv_log_divert(void (*fn)(const char *lines, size_t len))
{
    divert = fn;
}

/* Who started us may have made the pipe or terminal one that does not block, for its own sake: no
 * line is lost for that. */
static bool wait_for_room(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, -1) > 0 || errno == EINTR;
}

static void write_out(const char *text, size_t len)
{
    size_t done = 0;

    if (divert) {
        divert(text, len);
        return;
    }
    while (done < len) {
        ssize_t n = write(STDOUT_FILENO, text + done, len - done);
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_for_room())))
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

/* The second's part changes once a second: a thread keeps it. */
static void format_now(char out[KV_TIME_TEXT + 1])
{
    static _Thread_local char kept[KV_TIME_TEXT + 1];
    static _Thread_local int64_t kept_second = INT64_MIN;
    int64_t now = kv_wall_ms(&kv_clock_real), ms = now % 1000;
    if (now / 1000 != kept_second || now < 0) {
        kv_time_format(now, kept);
        kept_second = now / 1000;
    }
    memcpy(out, kept, KV_TIME_TEXT + 1);
    if (now >= 0) {
        out[20] = (char)('0' + ms / 100);
        out[21] = (char)('0' + ms / 10 % 10);
        out[22] = (char)('0' + ms % 10);
    }
}

void kv_log_write(kv_log_level level, const char *event, const kv_log_field *fields)
{
    int saved = errno; /* callers log before they use it */
    char when[KV_TIME_TEXT + 1];
    line l;

    l.text[0] = '{';
    l.len = 1;
    format_now(when);
    add_field(&l, &KV_STR("time", when));
    add_field(&l, &KV_STR("level", kv_log_level_names[level]));
    add_field(&l, &KV_STR("process", process_name));
    add_field(&l, &KV_STR("event", event));
    for (const kv_log_field *f = fields; f->key; f++)
        add_field(&l, f);
    memcpy(l.text + l.len, "}\n", TAIL);
    l.len += TAIL;
    write_line(&l, level);
    errno = saved;
}
