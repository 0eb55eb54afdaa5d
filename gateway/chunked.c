#include "gateway/chunked.h"

#include <string.h>

#include "gateway/head.h"

enum {
    AT_SIZE,     /* hex digits */
    AT_EXT,      /* behind ';' */
    AT_SIZE_LF,  /* LF of the size line */
    AT_DATA,     /* data bytes */
    AT_DATA_CR,  /* CR behind the data */
    AT_DATA_LF,  /* LF behind the data */
    AT_LINE,     /* begin of a trailer line or of the empty one */
    AT_NAME,     /* name of a trailer */
    AT_VALUE,    /* value of a trailer */
    AT_VALUE_LF, /* LF of a trailer line */
    AT_LAST_LF,  /* LF of the empty line */
    AT_END
};

static kv_err bad(const char **ret_why, const char *why)
{
    *ret_why = why;
    return KV_E_BAD_CHUNKED;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(unsigned char c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static kv_err at_size(kv_chunked *c, unsigned char b, const char **why)
{
    int d = hex_digit(b);
    if (d >= 0) {
        if (++c->digits > 16 || c->left > (UINT64_MAX >> 5))
            return bad(why, "A chunk size is too large.");
        c->left = c->left << 4 | (uint64_t)d;
        return KV_OK;
    }
    if (c->digits == 0)
        return bad(why, "A chunk does not begin with its size.");
    if (b == '\r')
        c->state = AT_SIZE_LF;
    else if (b == ';')
        c->state = AT_EXT;
    else
        return bad(why, "A chunk size holds a character that is not a digit.");
    return KV_OK;
}

static kv_err at_ext(kv_chunked *c, unsigned char b, const char **why)
{
    if (b == '\r') {
        c->state = AT_SIZE_LF;
        return KV_OK;
    }
    if (!is_text(b))
        return bad(why, "A chunk extension holds a control character.");
    if (++c->ext > KV_CHUNK_EXT_MAX || ++c->ext_all > KV_CHUNK_EXT_ALL_MAX)
        return bad(why, "Chunk extensions are too long.");
    return KV_OK;
}

static kv_err at_trailer(kv_chunked *c, unsigned char b, const char **why)
{
    if (++c->trailer > KV_CHUNK_TRAILER_MAX)
        return bad(why, "Trailers are too long.");
    if (c->state == AT_LINE) {
        if (b == '\r')
            c->state = AT_LAST_LF;
        else if (kv_is_tchar(b))
            c->state = AT_NAME;
        else
            return bad(why, "A trailer has no name.");
    } else if (c->state == AT_NAME) {
        if (b == ':')
            c->state = AT_VALUE;
        else if (!kv_is_tchar(b))
            return bad(why, "A trailer name holds a character that is not allowed.");
    } else if (b == '\r') {
        c->state = AT_VALUE_LF;
    } else if (!is_text(b)) {
        return bad(why, "A trailer holds a control character.");
    }
    return KV_OK;
}

static kv_err at_lf(kv_chunked *c, unsigned char b, const char **why)
{
    if (b != '\n')
        return bad(why, "A line of the chunked coding does not end in CR LF.");
    switch (c->state) {
    case AT_SIZE_LF:
        c->state = c->left > 0 ? AT_DATA : AT_LINE;
        break;
    case AT_DATA_LF:
        c->state = AT_SIZE;
        c->digits = c->ext = 0;
        c->left = 0;
        break;
    case AT_VALUE_LF:
        c->state = AT_LINE;
        break;
    default:
        c->state = AT_END;
    }
    return KV_OK;
}

static kv_err step(kv_chunked *c, unsigned char b, const char **why)
{
    switch (c->state) {
    case AT_SIZE:
        return at_size(c, b, why);
    case AT_EXT:
        return at_ext(c, b, why);
    case AT_DATA_CR:
        if (b != '\r')
            return bad(why, "A chunk is longer than its size.");
        c->state = AT_DATA_LF;
        return KV_OK;
    case AT_LINE:
    case AT_NAME:
    case AT_VALUE:
        return at_trailer(c, b, why);
    default:
        return at_lf(c, b, why);
    }
}

kv_err kv_chunked_decode(kv_chunked *c, char *bytes, size_t len, size_t *ret_data, size_t *ret_used,
                         bool *ret_end, const char **ret_why)
{
    size_t data = 0, at = 0;
    *ret_why = "";
    *ret_data = *ret_used = 0;
    *ret_end = false;
    while (at < len && c->state != AT_END) {
        if (c->state == AT_DATA) {
            size_t n = len - at < c->left ? len - at : (size_t)c->left;
            if (data != at)
                memmove(bytes + data, bytes + at, n);
            data += n;
            at += n;
            c->left -= n;
            if (c->left == 0)
                c->state = AT_DATA_CR;
            continue;
        }
        KV_TRY(step(c, (unsigned char)bytes[at++], ret_why));
    }
    *ret_data = data;
    *ret_used = at;
    *ret_end = c->state == AT_END;
    return KV_OK;
}
