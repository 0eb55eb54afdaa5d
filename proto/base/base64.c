/* Base64 (RFC 4648, section 4), both ways. */
#include "proto/base/buf.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(kv_buf *b, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = 0;
        for (size_t j = 0; j < 3; j++)
            v = v << 8 | (i + j < len ? bytes[i + j] : 0);
        for (size_t j = 0; j < 4; j++)
            kv_buf_addc(b, i + j <= len ? digits[v >> (18 - 6 * j) & 63] : '=');
    }
}

void kv_json_base64(kv_buf *b, const void *bytes, size_t len)
{
    kv_json_cstr(b, "");
    if (!kv_buf_ok(b))
        return;
    b->len--; /* the quote goes behind them */
    add_base64(b, bytes, len);
    kv_buf_addc(b, '"');
}

bool kv_base64_decode(const char *text, void *out, size_t cap, size_t *ret_len)
{
    unsigned char *to = out;
    uint32_t bits = 0;
    int have = 0;

    *ret_len = 0;
    for (; *text && *text != '='; text++) {
        const char *digit = strchr(digits, *text);
        if (!digit)
            return false;
        bits = bits << 6 | (uint32_t)(digit - digits);
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (*ret_len == cap)
            return false;
        to[(*ret_len)++] = (unsigned char)(bits >> have);
    }
    return true;
}
