#include "gateway/head.h"

#include <strings.h>

bool kv_is_tchar(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool kv_slice_is_nocase(kv_slice s, const char *lower_case)
{
    size_t n = strlen(lower_case);
    if (s.len != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (c != lower_case[i])
            return false;
    }
    return true;
}

kv_slice kv_slice_trim(kv_slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s.ptr++, s.len--;
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Where the head ends (behind its empty line), 0: not yet, -1: a line ends in a bare LF. */
static int64_t find_end(const char *b, size_t len, size_t from, size_t begin)
{
    size_t at = from > begin + 3 ? from - 3 : begin;
    const char *lf;
    while (at < len && (lf = memchr(b + at, '\n', len - at)) != NULL) {
        size_t i = (size_t)(lf - b);
        if (i == begin || b[i - 1] != '\r')
            return -1;
        if (i >= begin + 3 && b[i - 2] == '\n')
            return (int64_t)i + 1;
        at = i + 1;
    }
    return 0;
}

static kv_err bad(const char **ret_why, const char *why)
{
    *ret_why = why;
    return KV_E_BAD_HEAD;
}

/* "http://host/path", as clients send it that take us for a proxy. RFC 9112 3.2.2: a server must
 * understand it. */
static bool absolute_form(kv_slice target, kv_slice *ret_authority)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (int i = 0; i < 2; i++) {
        size_t begin = strlen(schemes[i]), end = begin;
        if (target.len < begin || !kv_slice_is_nocase(kv_slice_of(target.ptr, begin), schemes[i]))
            continue;
        while (end < target.len && target.ptr[end] != '/' && target.ptr[end] != '?')
            end++;
        *ret_authority = kv_slice_of(target.ptr + begin, end - begin);
        return end > begin;
    }
    return false;
}

static kv_err check_request_line(kv_slice line, kv_head *h, const char **why)
{
    const char *end = line.ptr + line.len;
    const char *p = line.ptr;
    while (p < end && kv_is_tchar((unsigned char)*p))
        p++;
    h->method = kv_slice_of(line.ptr, (size_t)(p - line.ptr));
    if (h->method.len == 0 || h->method.len > 32 || p == end || *p != ' ')
        return bad(why, "The request line does not begin with a method.");
    const char *target = ++p;
    while (p < end && (unsigned char)*p > ' ' && *p != 0x7f && *p != '#')
        p++;
    h->target = kv_slice_of(target, (size_t)(p - target));
    bool path = h->target.len > 0 && (target[0] == '/' || absolute_form(h->target, &h->authority));
    if (!path || p == end || *p != ' ')
        return bad(why, "The request target is not a path.");
    kv_slice version = kv_slice_of(p + 1, (size_t)(end - p - 1));
    if (kv_slice_is(version, "HTTP/1.1"))
        h->minor = 1;
    else if (kv_slice_is(version, "HTTP/1.0"))
        h->minor = 0;
    else
        return bad(why, "The version is neither HTTP/1.1 nor HTTP/1.0.");
    return KV_OK;
}

static kv_err check_length(kv_slice value, kv_head *h, const char **why)
{
    if (h->has_length)
        return bad(why, "There is more than one Content-Length.");
    if (value.len == 0 || value.len > 18)
        return bad(why, "Content-Length is not a number.");
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return bad(why, "Content-Length is not a number.");
        h->length = h->length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    h->has_length = true;
    return KV_OK;
}

static kv_err check_host(kv_slice value, kv_head *h, const char **why)
{
    if (h->host.ptr != NULL)
        return bad(why, "There is more than one Host.");
    if (value.len == 0 || value.len > 261)
        return bad(why, "Host is empty or too long.");
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
        if (!ok)
            return bad(why, "Host is not a host name.");
    }
    h->host = value;
    return KV_OK;
}

/* The headers that decide where a request ends and to whom it goes. */
static kv_err check_known(kv_slice name, kv_slice value, size_t at, kv_head *h, const char **why)
{
    switch (name.len) {
    case 4:
        if (kv_slice_is_nocase(name, "host"))
            return check_host(value, h, why);
        break;
    case 6:
        if (kv_slice_is_nocase(name, "expect")) {
            if (!kv_slice_is_nocase(value, "100-continue")) {
                *why = "Expect is not \"100-continue\".";
                return KV_E_EXPECTATION;
            }
            h->expect = true;
        }
        break;
    case 14:
        if (kv_slice_is_nocase(name, "content-length")) {
            h->length_at = at;
            return check_length(value, h, why);
        }
        break;
    case 15:
        if (kv_slice_is_nocase(name, "accept-language") && h->accept_language.ptr == NULL)
            h->accept_language = value;
        break;
    case 17:
        if (kv_slice_is_nocase(name, "transfer-encoding")) {
            if (h->chunked)
                return bad(why, "There is more than one Transfer-Encoding.");
            if (!kv_slice_is_nocase(value, "chunked"))
                return bad(why, "Transfer-Encoding is not \"chunked\".");
            h->chunked = true;
            h->chunked_at = at;
        }
        break;
    }
    return KV_OK;
}

static kv_err check_header(const char *base, kv_slice line, kv_head *h, const char **why)
{
    size_t n = 0;
    while (n < line.len && kv_is_tchar((unsigned char)line.ptr[n]))
        n++;
    if (n == 0)
        return bad(why, "A header line begins with a blank or has no name.");
    if (n == line.len || line.ptr[n] != ':')
        return bad(why, "A header name holds a character that is not allowed.");
    if (n > KV_HEAD_NAME_MAX) {
        *why = "A header name is too long.";
        return KV_E_HEAD_TOO_LARGE;
    }
    for (size_t i = n + 1; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return bad(why, "A header value holds a control character.");
    }
    kv_slice name = kv_slice_of(line.ptr, n);
    kv_slice value = kv_slice_trim(kv_slice_of(line.ptr + n + 1, line.len - n - 1));
    return check_known(name, value, (size_t)(line.ptr - base), h, why);
}

static kv_err check_whole(const char *b, size_t begin, size_t end, kv_head *h, const char **why)
{
    unsigned headers = 0;
    for (size_t at = begin; at < end - 2;) {
        const char *lf = memchr(b + at, '\n', end - at);
        kv_slice line = kv_slice_of(b + at, (size_t)(lf - (b + at)) - 1);
        if (memchr(line.ptr, '\r', line.len) != NULL)
            return bad(why, "A line holds a bare CR.");
        if (at == begin) {
            KV_TRY(check_request_line(line, h, why));
        } else {
            if (++headers > KV_HEAD_HEADERS_MAX) {
                *why = "There are more than 100 headers.";
                return KV_E_HEAD_TOO_LARGE;
            }
            KV_TRY(check_header(b, line, h, why));
        }
        at = (size_t)(lf - b) + 1;
    }
    if (h->minor == 1 && h->host.ptr == NULL)
        return bad(why, "Host is missing.");
    /* the target would count: two hosts in one head are for two readers of it */
    if (h->authority.len > 0 && (h->authority.len != h->host.len ||
                                 strncasecmp(h->authority.ptr, h->host.ptr, h->host.len) != 0))
        return bad(why, "The request target names another host than Host.");
    if (h->chunked && h->has_length)
        return bad(why, "Both Content-Length and Transfer-Encoding are there.");
    if (h->chunked && h->minor == 0)
        return bad(why, "Transfer-Encoding is not part of HTTP/1.0.");
    if (h->minor == 0)
        h->expect = false; /* RFC 9110 10.1.1: ignored from HTTP/1.0 */
    return KV_OK;
}

kv_head_state kv_head_check(const char *bytes, size_t len, size_t from, kv_head *ret,
                            kv_err *ret_err, const char **ret_why)
{
    *ret = (kv_head){0};
    *ret_err = KV_OK;
    *ret_why = "";
    if (len == 0 || (len == 1 && bytes[0] == '\r'))
        return KV_HEAD_MORE;
    /* one empty line before the request line is let through: RFC 9112 2.2 */
    size_t begin = len >= 2 && bytes[0] == '\r' && bytes[1] == '\n' ? 2 : 0;
    if (len == begin)
        return KV_HEAD_MORE;
    int64_t end = find_end(bytes, len < KV_HEAD_MAX ? len : KV_HEAD_MAX, from, begin);
    if (end < 0) {
        *ret_err = bad(ret_why, "A line does not end in CR LF.");
    } else if (end == 0) {
        if (len < KV_HEAD_MAX)
            return KV_HEAD_MORE;
        *ret_err = KV_E_HEAD_TOO_LARGE;
        *ret_why = "The head does not end within 32 KiB.";
    } else {
        ret->len = (size_t)end;
        *ret_err = check_whole(bytes, begin, (size_t)end, ret, ret_why);
    }
    return *ret_err == KV_OK ? KV_HEAD_WHOLE : KV_HEAD_REFUSED;
}

void kv_head_hide_body(const kv_head *head, char *bytes)
{
    if (head->length_at != 0)
        bytes[head->length_at] = 'x';
    if (head->chunked_at != 0)
        bytes[head->chunked_at] = 'x';
}

size_t kv_head_origin_form(const kv_head *head, char *bytes)
{
    if (head->authority.len == 0)
        return 0;
    size_t path = (size_t)(head->authority.ptr + head->authority.len - bytes);
    if (bytes[path] != '/')
        bytes[--path] = '/'; /* "http://host?query"; the host stands in Host, too */
    size_t begin = path - head->method.len - 1;
    memmove(bytes + begin, head->method.ptr, head->method.len + 1);
    return begin;
}
