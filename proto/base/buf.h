/* A growing byte buffer with a limit, and a JSON writer on top of it.
 *
 * Running out of memory or over the limit sets `failed` once; later calls do nothing, so a sequence
 * of appends is checked once at its end with kv_buf_ok(). The bytes are always NUL-terminated (data
 * may be used as a C string). Not shared between threads. */
#ifndef KV_BASE_BUF_H
#define KV_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/slice.h"

typedef struct kv_buf {
    char *data;   /* owned; NULL until the first append */
    size_t len;   /* bytes in use */
    size_t cap;   /* bytes allocated */
    size_t limit; /* bytes at most; 0 means 64 MiB */
    bool failed;
} kv_buf;

void kv_buf_init(kv_buf *b, size_t limit);
void kv_buf_clear(kv_buf *b);   /* len 0, failed false, memory kept */
void kv_buf_release(kv_buf *b); /* frees; usable again as after init */
bool kv_buf_ok(const kv_buf *b);
kv_slice kv_buf_slice(const kv_buf *b);
const char *kv_buf_str(const kv_buf *b); /* "" when empty */

void kv_buf_add(kv_buf *b, const void *bytes, size_t len);
void kv_buf_adds(kv_buf *b, const char *text);
void kv_buf_addf(kv_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void kv_buf_addc(kv_buf *b, char c);
void kv_buf_addu(kv_buf *b, uint64_t v); /* decimal, faster than addf */
void kv_buf_addi(kv_buf *b, int64_t v);
void kv_buf_add_hex(kv_buf *b, const void *bytes, size_t len); /* lower case */
char *
kv_buf_reserve(kv_buf *b,
               size_t len); /* room for len more, or NULL (failed); then add to len yourself */

/* JSON: commas are put by the writer from the last byte, so `kv_json_key(b, "a")` may follow a `{`
 * or a value. Strings are escaped, invalid UTF-8 becomes U+FFFD. A slice with ptr NULL is written
 * as null by kv_json_str. */
void kv_json_open(kv_buf *b,
                  char brace); /* '{' or '[' (with the comma that a value before it needs) */
void kv_json_close(kv_buf *b, char brace);    /* '}' or ']' */
void kv_json_key(kv_buf *b, const char *key); /* a literal without escapes */
void kv_json_name(kv_buf *b, kv_slice key);   /* any key */
void kv_json_str(kv_buf *b, kv_slice s);
void kv_json_cstr(kv_buf *b, const char *s);
void kv_json_u64(kv_buf *b, uint64_t v);
void kv_json_i64(kv_buf *b, int64_t v);
void kv_json_i64_or_null(kv_buf *b, int64_t v); /* negative: null */
void kv_json_bool(kv_buf *b, bool v);
void kv_json_null(kv_buf *b);
void kv_json_hex(kv_buf *b, const void *bytes, size_t len); /* a string of lower-case hex */
void kv_json_base64(kv_buf *b, const void *bytes, size_t len);
void kv_json_raw(kv_buf *b, kv_slice json); /* a value that is JSON already */
void kv_json_time(kv_buf *b, int64_t ms);   /* "2026-11-21T10:00:00.000Z"; 0 is written as null */

/* Lower case; writes 2 * len characters and a NUL. */
void kv_hex_encode(const void *bytes, size_t len, char *out);
bool kv_hex_decode(const char *hex, size_t hex_len, void *out,
                   size_t out_len); /* exact length, either case */
/* Up to the end or the first '='; false: another character, or more than `cap` bytes. */
bool kv_base64_decode(const char *text, void *out, size_t cap, size_t *ret_len);

#endif
