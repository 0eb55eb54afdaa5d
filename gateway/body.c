#include "gateway/body.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "proto/base/json_scan.h"
#include "proto/base/id.h"
#include "proto/base/text.h"

#define EXACT_MAX 9007199254740992.0 /* 2^53: whole numbers are exact below it */

/* Before the parser, which recurses. Brackets in strings do not count. */
static bool too_deep(kv_slice text)
{
    unsigned depth = 0;
    bool string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                string = false;
        } else if (c == '"') {
            string = true;
        } else if ((c == '{' || c == '[') && ++depth > KV_BODY_DEPTH) {
            return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

kv_err kv_body_load(kv_slice text, json_t **ret, char why[KV_BODY_WHY])
{
    json_error_t at;
    *ret = NULL;
    if (text.len == 0) {
        snprintf(why, KV_BODY_WHY, "a JSON object is expected, the body is empty");
        return KV_E_BAD_REQUEST;
    }
    if (too_deep(text)) {
        snprintf(why, KV_BODY_WHY, "nested more than %d deep", KV_BODY_DEPTH);
        return KV_E_BAD_REQUEST;
    }
    json_t *o = json_loadb(text.ptr, text.len,
                           JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &at);
    if (o == NULL) {
        snprintf(why, KV_BODY_WHY, "not JSON: %.120s, line %d column %d", at.text, at.line,
                 at.column);
        return KV_E_BAD_REQUEST;
    }
    if (!json_is_object(o)) {
        json_decref(o);
        snprintf(why, KV_BODY_WHY, "a JSON object is expected");
        return KV_E_BAD_REQUEST;
    }
    *ret = o;
    return KV_OK;
}

static bool ends_or_begins_with(kv_slice longer, kv_slice part)
{
    return part.len >= 4 && longer.len > part.len &&
           (memcmp(longer.ptr, part.ptr, part.len) == 0 ||
            memcmp(longer.ptr + longer.len - part.len, part.ptr, part.len) == 0);
}

/* How far a known name is from the one given; "attempts" and "delay_ms" are near. */
static size_t distance(kv_slice given, kv_slice known)
{
    if (ends_or_begins_with(known, given) || ends_or_begins_with(given, known))
        return 1;
    return kv_text_distance(given, known);
}

kv_err kv_body_unknown(const char *name, const char *const *first, size_t n, size_t step, char *why)
{
    kv_slice given = kv_slice_str(name);
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        const char *known = *(const char *const *)((const char *)first + i * step);
        size_t d = distance(given, kv_slice_str(known));
        if (d < least)
            least = d, best = known;
    }
    /* A wrong guess is worse than none. */
    if (best != NULL && least <= 1 + given.len / 5)
        snprintf(why, KV_BODY_WHY, "%.64s is not known. Did you mean %s?", name, best);
    else
        snprintf(why, KV_BODY_WHY, "%.64s is not known", name);
    return KV_E_BAD_PARAMETER;
}

static kv_err take(const char *name, const json_t *v, const kv_member *rows, size_t n, kv_body *b)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        if (json_is_null(v))
            return KV_OK;
        kv_err err = rows[i].take(b, name, v);
        if (err != KV_OK && b->why[0] == '\0')
            snprintf(b->why, KV_BODY_WHY, "%s: %s", name, rows[i].must);
        return err;
    }
    return kv_body_unknown(name, &rows->name, n, sizeof(*rows), b->why);
}

kv_err kv_body_read(const json_t *o, const kv_member *rows, size_t n, kv_body *b)
{
    const char *name;
    json_t *v;
    b->why[0] = '\0';
    json_object_foreach((json_t *)o, name, v)
    {
        KV_TRY(take(name, v, rows, n, b));
    }
    return KV_OK;
}

bool kv_body_str(const json_t *v, size_t max, kv_slice *ret)
{
    if (!json_is_string(v) || json_string_length(v) > max)
        return false;
    kv_slice s = kv_slice_of(json_string_value(v), json_string_length(v));
    if (s.len != 0 && memchr(s.ptr, '\0', s.len) != NULL)
        return false;
    *ret = s;
    return true;
}

bool kv_body_number(const json_t *v, double low, double high, double *ret)
{
    if (!json_is_real(v))
        return false;
    double d = json_real_value(v);
    if (!(d >= low && d <= high))
        return false;
    *ret = d;
    return true;
}

bool kv_body_uint(const json_t *v, uint64_t low, uint64_t high, uint64_t *ret)
{
    double d;
    if (!kv_body_number(v, (double)low, fmin((double)high, EXACT_MAX), &d) || d != floor(d))
        return false;
    *ret = (uint64_t)d;
    return true;
}

bool kv_body_id(const json_t *v, uint64_t *ret)
{
    return json_is_string(v) && kv_id_parse(json_string_value(v), json_string_length(v), ret);
}

/* `n` digits into *ret. */
static bool digits(const char **at, unsigned n, int *ret)
{
    *ret = 0;
    for (unsigned i = 0; i < n; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        *ret = *ret * 10 + (**at - '0');
    }
    return true;
}

static bool is(const char **at, char c)
{
    bool yes = (**at | 0x20) == (c | 0x20);
    *at += yes;
    return yes;
}

/* "Z", "+03:00"; what it says in minutes. */
static bool zone(const char **at, int *ret_minutes)
{
    int h, m, sign = **at == '-' ? -1 : 1;
    *ret_minutes = 0;
    if (is(at, 'Z'))
        return true;
    if (**at != '+' && **at != '-')
        return false;
    (*at)++;
    if (!digits(at, 2, &h) || *(*at)++ != ':' || !digits(at, 2, &m) || h > 23 || m > 59)
        return false;
    *ret_minutes = sign * (h * 60 + m);
    return true;
}

bool kv_body_time(const json_t *v, int64_t *ret_ms)
{
    struct tm t = {0};
    int minutes, ms = 0, unit = 100;
    kv_slice s;
    if (!kv_body_str(v, 40, &s))
        return false;
    const char *at = s.ptr; /* jansson ends it with a NUL, which fits nothing below */
    if (!digits(&at, 4, &t.tm_year) || *at++ != '-' || !digits(&at, 2, &t.tm_mon) || *at++ != '-' ||
        !digits(&at, 2, &t.tm_mday) || !is(&at, 'T') || !digits(&at, 2, &t.tm_hour) ||
        *at++ != ':' || !digits(&at, 2, &t.tm_min) || *at++ != ':' || !digits(&at, 2, &t.tm_sec))
        return false;
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
            ms += (*at - '0') * unit;
    if (!zone(&at, &minutes) || *at != '\0')
        return false;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    struct tm given = t;
    int64_t seconds = timegm(&t);
    if (t.tm_mday != given.tm_mday || t.tm_mon != given.tm_mon || t.tm_hour != given.tm_hour ||
        t.tm_min != given.tm_min)
        return false; /* the 30th of February */
    *ret_ms = (seconds - minutes * 60) * 1000 + ms;
    return true;
}

bool kv_body_raw(const kv_body *b, const char *name, kv_slice *ret)
{
    return kv_scan_member(b->text, name, ret);
}
