/* The JSON half of buf.h. */
#include "proto/base/buf.h"

#include <assert.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/text.h"

/* A comma is due when the last byte ends a value: a quote, a bracket, a digit, or true, false,
 * null. */
static void comma(kv_buf *b)
{
    char last = b->len ? b->data[b->len - 1] : '\0';

    if (last == '"' || last == '}' || last == ']' || last == 'e' || last == 'l' ||
        (last >= '0' && last <= '9'))
        kv_buf_addc(b, ',');
}

void kv_json_open(kv_buf *b, char brace)
{
    assert(brace == '{' || brace == '[');
    comma(b);
    kv_buf_addc(b, brace);
}

void kv_json_close(kv_buf *b, char brace)
{
    assert(brace == '}' || brace == ']');
    kv_buf_addc(b, brace);
}

static void quoted(kv_buf *b, kv_slice s)
{
    size_t i = 0;

    kv_buf_addc(b, '"');
    while (i < s.len) {
        size_t run = kv_json_plain(s.ptr + i, s.len - i);
        kv_buf_add(b, s.ptr + i, run);
        i += run;
        if (i < s.len) {
            char out[8];
            size_t used;
            kv_buf_add(b, out, kv_json_escape(s.ptr + i, s.len - i, out, &used));
            i += used;
        }
    }
    kv_buf_addc(b, '"');
}

/* Keys are literals of ours: in one piece, since a row has twenty of them. */
void kv_json_key(kv_buf *b, const char *key)
{
    kv_slice k = kv_slice_str(key);

    assert(kv_json_plain(k.ptr, k.len) == k.len);
    comma(b);
    char *to = kv_buf_reserve(b, k.len + 3);
    if (!to)
        return;
    *to++ = '"';
    memcpy(to, k.ptr, k.len);
    to += k.len;
    *to++ = '"';
    *to++ = ':';
    *to = '\0';
    b->len += k.len + 3;
}

void kv_json_name(kv_buf *b, kv_slice key)
{
    comma(b);
    quoted(b, key);
    kv_buf_addc(b, ':');
}

void kv_json_str(kv_buf *b, kv_slice s)
{
    if (!s.ptr) {
        kv_json_null(b);
        return;
    }
    comma(b);
    quoted(b, s);
}

void kv_json_cstr(kv_buf *b, const char *s)
{
    kv_json_str(b, kv_slice_str(s));
}

void kv_json_u64(kv_buf *b, uint64_t v)
{
    comma(b);
    kv_buf_addu(b, v);
}

void kv_json_i64(kv_buf *b, int64_t v)
{
    comma(b);
    kv_buf_addi(b, v);
}

void kv_json_i64_or_null(kv_buf *b, int64_t v)
{
    if (v < 0)
        kv_json_null(b);
    else
        kv_json_i64(b, v);
}

void kv_json_bool(kv_buf *b, bool v)
{
    comma(b);
    kv_buf_adds(b, v ? "true" : "false");
}

void kv_json_null(kv_buf *b)
{
    comma(b);
    kv_buf_adds(b, "null");
}

void kv_json_hex(kv_buf *b, const void *bytes, size_t len)
{
    comma(b);
    kv_buf_addc(b, '"');
    kv_buf_add_hex(b, bytes, len);
    kv_buf_addc(b, '"');
}

void kv_json_raw(kv_buf *b, kv_slice json)
{
    /* blanks at the end would hide that a value stands there */
    while (json.len && strchr(" \t\r\n", json.ptr[json.len - 1]))
        json.len--;
    if (json.len == 0) {
        kv_json_null(b);
        return;
    }
    comma(b);
    kv_buf_add(b, json.ptr, json.len);
}

void kv_json_time(kv_buf *b, int64_t ms)
{
    char text[KV_TIME_TEXT + 1];

    if (ms == 0) {
        kv_json_null(b);
        return;
    }
    kv_time_format(ms, text);
    kv_json_cstr(b, text);
}
