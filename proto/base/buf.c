#include "proto/base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_LIMIT ((size_t)64 << 20)

void kv_buf_init(kv_buf *b, size_t limit)
{
    *b = (kv_buf){.limit = limit};
}

void kv_buf_clear(kv_buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

void kv_buf_release(kv_buf *b)
{
    free(b->data);
    kv_buf_init(b, b->limit);
}

bool kv_buf_ok(const kv_buf *b)
{
    return !b->failed;
}

kv_slice kv_buf_slice(const kv_buf *b)
{
    return kv_slice_of(b->data, b->len);
}

const char *kv_buf_str(const kv_buf *b)
{
    return b->data ? b->data : "";
}

char *kv_buf_reserve(kv_buf *b, size_t len)
{
    size_t limit = b->limit ? b->limit : DEFAULT_LIMIT;

    if (b->failed || len > limit || b->len > limit - len) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + len + 1; /* one for the NUL */
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 128;
        if (cap < need)
            cap = need;
        if (cap > limit + 1)
            cap = limit + 1;
        char *data = realloc(b->data, cap);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
        b->data[b->len] = '\0';
    }
    return b->data + b->len;
}

void kv_buf_add(kv_buf *b, const void *bytes, size_t len)
{
    char *to = kv_buf_reserve(b, len);

    if (!to)
        return;
    if (len)
        memcpy(to, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void kv_buf_adds(kv_buf *b, const char *text)
{
    kv_buf_add(b, text, strlen(text));
}

void kv_buf_addc(kv_buf *b, char c)
{
    kv_buf_add(b, &c, 1);
}

void kv_buf_addf(kv_buf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    /* clang-tidy 14 loses sight of va_start in the second file of a run */
    int n = vsnprintf(NULL, 0, fmt, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
    va_end(args);
    assert(n >= 0);
    char *to = n < 0 ? NULL : kv_buf_reserve(b, (size_t)n);
    if (!to)
        return;
    va_start(args, fmt);
    vsnprintf(to, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
}

void kv_buf_addu(kv_buf *b, uint64_t v)
{
    char text[20];
    size_t at = sizeof text;

    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    kv_buf_add(b, text + at, sizeof text - at);
}

void kv_buf_addi(kv_buf *b, int64_t v)
{
    if (v < 0)
        kv_buf_addc(b, '-');
    kv_buf_addu(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void kv_hex_encode(const void *bytes, size_t len, char *out)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *from = bytes;

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex[from[i] >> 4];
        out[2 * i + 1] = hex[from[i] & 15];
    }
    out[2 * len] = '\0';
}

void kv_buf_add_hex(kv_buf *b, const void *bytes, size_t len)
{
    if (len > SIZE_MAX / 2) {
        b->failed = true;
        return;
    }
    char *to = kv_buf_reserve(b, len * 2); /* room for the NUL is always there */
    if (!to)
        return;
    kv_hex_encode(bytes, len, to);
    b->len += len * 2;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool kv_hex_decode(const char *hex, size_t hex_len, void *out, size_t out_len)
{
    unsigned char *to = out;

    if (hex_len % 2 || hex_len / 2 != out_len)
        return false;
    for (size_t i = 0; i < out_len; i++) {
        int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}
