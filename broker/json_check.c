#include "broker/json_check.h"

#include <stdint.h>

enum { DEPTH_MAX = 64 };

typedef struct scan {
    const char *at, *end;
} scan;

static void blanks(scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

static bool word(scan *s, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, text, len) != 0)
        return false;
    s->at += len;
    return true;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool escape(scan *s)
{
    if (s->at == s->end)
        return false;
    char c = *s->at++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", c) != NULL;
    if (s->end - s->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        if (!is_hex(*s->at++))
            return false;
    }
    return true;
}

/* Whether eight bytes may hold a quote, a backslash or a control character; a byte >= 0x80 never
 * counts. A borrow can make a plain byte look like one, never the other way round (Bit Twiddling
 * Hacks, "Determine if a word has a byte less than n"). */
static bool may_end_run(uint64_t bytes)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    uint64_t quote = bytes ^ (ones * '"'), backslash = bytes ^ (ones * '\\');
    uint64_t hits = (bytes - ones * 0x20) & ~bytes;
    hits |= ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
    return (hits & high) != 0;
}

static void plain_run(scan *s)
{
    for (uint64_t bytes; s->end - s->at >= 8; s->at += 8) {
        memcpy(&bytes, s->at, 8);
        if (may_end_run(bytes))
            return;
    }
}

static bool string(scan *s)
{
    s->at++; /* the quote */
    plain_run(s);
    while (s->at < s->end) {
        char c = *s->at++;
        if (c == '"')
            return true;
        if ((unsigned char)c < 0x20 || (c == '\\' && !escape(s)))
            return false;
        if (c == '\\')
            plain_run(s);
    }
    return false;
}

static bool digits(scan *s)
{
    const char *from = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > from;
}

static bool number(scan *s)
{
    if (*s->at == '-')
        s->at++;
    const char *from = s->at;
    if (!digits(s) || (*from == '0' && s->at - from > 1))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!digits(s))
            return false;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        return digits(s);
    }
    return true;
}

static bool key(scan *s)
{
    blanks(s);
    if (s->at == s->end || *s->at != '"' || !string(s))
        return false;
    blanks(s);
    return s->at < s->end && *s->at++ == ':';
}

static bool scalar(scan *s)
{
    switch (*s->at) {
    case '"':
        return string(s);
    case 't':
        return word(s, "true");
    case 'f':
        return word(s, "false");
    case 'n':
        return word(s, "null");
    default:
        return number(s);
    }
}

/* A value ended: closes what ends with it. False: malformed. *ret_more: another value (its key
 * read) must follow. */
static bool after_value(scan *s, uint64_t objects, int *depth, bool *ret_more)
{
    *ret_more = false;
    while (*depth > 0) {
        bool object = objects >> (*depth - 1) & 1;
        blanks(s);
        if (s->at == s->end)
            return false;
        char c = *s->at++;
        if (c == ',') {
            *ret_more = true;
            return !object || key(s);
        }
        if (c != (object ? '}' : ']'))
            return false;
        (*depth)--;
    }
    return true;
}

/* Opens an object or a list. *ret_empty: it was closed at once. */
static bool open_one(scan *s, uint64_t *objects, int *depth, bool *ret_empty)
{
    bool object = *s->at++ == '{';
    if (*depth == DEPTH_MAX)
        return false;
    blanks(s);
    *ret_empty = s->at < s->end && *s->at == (object ? '}' : ']');
    if (*ret_empty) {
        s->at++;
        return true;
    }
    uint64_t bit = (uint64_t)1 << *depth;
    *objects = object ? *objects | bit : *objects & ~bit;
    (*depth)++;
    return !object || key(s);
}

bool kv_json_valid(kv_slice text)
{
    scan s = {text.ptr, text.ptr ? text.ptr + text.len : text.ptr};
    uint64_t objects = 0; /* bit d: level d is an object */
    int depth = 0;
    bool more = true;
    while (more) {
        blanks(&s);
        if (s.at == s.end)
            return false;
        if (*s.at == '{' || *s.at == '[') {
            bool empty;
            if (!open_one(&s, &objects, &depth, &empty))
                return false;
            if (!empty)
                continue;
        } else if (!scalar(&s)) {
            return false;
        }
        if (!after_value(&s, objects, &depth, &more))
            return false;
    }
    blanks(&s);
    return s.at == s.end;
}
