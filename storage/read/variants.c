#include "storage/read/variants.h"

static char peek(kv_slice *s)
{
    while (s->len > 0 &&
           (*s->ptr == ' ' || *s->ptr == '\n' || *s->ptr == '\t' || *s->ptr == '\r')) {
        s->ptr++;
        s->len--;
    }
    return s->len > 0 ? *s->ptr : '\0';
}

static bool take(kv_slice *s, char c)
{
    if (peek(s) != c || s->len == 0)
        return false;
    s->ptr++;
    s->len--;
    return true;
}

/* A string; what it holds is given as it is written, and a value of interest has no escapes in it.
 */
static bool take_string(kv_slice *s, kv_slice *ret)
{
    if (!take(s, '"'))
        return false;
    size_t n = 0;
    while (n < s->len && s->ptr[n] != '"')
        n += s->ptr[n] == '\\' ? 2 : 1;
    if (n >= s->len)
        return false;
    *ret = kv_slice_of(s->ptr, n);
    s->ptr += n + 1;
    s->len -= n + 1;
    return true;
}

static bool take_number(kv_slice *s, uint64_t *ret)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < s->len && s->ptr[n] >= '0' && s->ptr[n] <= '9'; n++) {
        if (v > (UINT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(s->ptr[n] - '0');
    }
    s->ptr += n;
    s->len -= n;
    *ret = v;
    return n > 0;
}

static bool take_word(kv_slice *s, const char *word)
{
    size_t n = strlen(word);
    if (s->len < n || memcmp(s->ptr, word, n) != 0)
        return false;
    s->ptr += n;
    s->len -= n;
    return true;
}

/* "format":"webp", "width":640, "full":false; keys that are not known are passed over. */
static bool take_member(kv_slice *s, kv_variant *v)
{
    kv_slice key, text = {0};
    uint64_t number = 0;
    bool yes = false;
    if (!take_string(s, &key) || !take(s, ':'))
        return false;
    char c = peek(s);
    if (c == '"') {
        if (!take_string(s, &text))
            return false;
    } else if (c >= '0' && c <= '9') {
        if (!take_number(s, &number))
            return false;
    } else if (!(yes = take_word(s, "true")) && !take_word(s, "false") && !take_word(s, "null")) {
        return false;
    }
    if (kv_slice_is(key, "format"))
        v->format = text;
    else if (kv_slice_is(key, "params"))
        v->params = text;
    else if (kv_slice_is(key, "width"))
        v->width = number;
    else if (kv_slice_is(key, "height"))
        v->height = number;
    else if (kv_slice_is(key, "size"))
        v->size = number;
    else if (kv_slice_is(key, "full"))
        v->full = yes;
    return true;
}

static bool take_object(kv_slice *s, kv_variant *v)
{
    *v = (kv_variant){0};
    if (!take(s, '{'))
        return false;
    do {
        if (!take_member(s, v))
            return false;
    } while (take(s, ','));
    return take(s, '}') && v->format.len > 0 && !memchr(v->format.ptr, '\\', v->format.len);
}

kv_err kv_variant_next(kv_slice *rest, kv_variant *ret, bool *ret_have)
{
    *ret_have = false;
    if (rest->len == 0)
        return KV_OK;
    if (!take(rest, '[') && !take(rest, ','))
        return KV_E_BAD_MESSAGE;
    if (take(rest, ']')) {
        *rest = (kv_slice){0};
        return KV_OK;
    }
    if (!take_object(rest, ret))
        return KV_E_BAD_MESSAGE;
    *ret_have = true;
    if (take(rest, ']'))
        *rest = (kv_slice){0};
    return KV_OK;
}
