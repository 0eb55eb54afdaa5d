#include "proto/base/text.h"

size_t kv_utf8_next(const char *s, size_t len, uint32_t *ret_cp)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t cp, least;
    size_t n;

    if (len == 0)
        return 0;
    if (p[0] < 0x80) {
        if (ret_cp)
            *ret_cp = p[0];
        return 1;
    }
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2, cp = p[0] & 0x1f, least = 0x80;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3, cp = p[0] & 0x0f, least = 0x800;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4, cp = p[0] & 0x07, least = 0x10000;
    } else {
        return 0;
    }
    if (len < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (p[i] & 0x3f);
    }
    if (cp < least || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        return 0;
    if (ret_cp)
        *ret_cp = cp;
    return n;
}

/* Bytes of pure ASCII at the start, looked at eight at a time. */
static size_t ascii_run(const char *s, size_t len)
{
    size_t i = 0;

    for (uint64_t word; i + 8 <= len; i += 8) {
        memcpy(&word, s + i, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    while (i < len && (unsigned char)s[i] < 0x80)
        i++;
    return i;
}

bool kv_utf8_valid(kv_slice s)
{
    size_t i = 0;

    while (i < s.len) {
        i += ascii_run(s.ptr + i, s.len - i);
        if (i == s.len)
            break;
        size_t n = kv_utf8_next(s.ptr + i, s.len - i, NULL);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

kv_slice kv_utf8_cut(kv_slice s, size_t max)
{
    if (s.len <= max)
        return s;
    /* at most three continuation bytes go; text that is not UTF-8 is cut where it is */
    for (size_t back = 0; back < 4 && back < max; back++) {
        if (((unsigned char)s.ptr[max - back] & 0xc0) != 0x80)
            return kv_slice_of(s.ptr, max - back);
    }
    return kv_slice_of(s.ptr, max);
}

size_t kv_json_plain(const char *s, size_t len)
{
    size_t n = 0;
    while (n < len && (unsigned char)(s[n] - 0x20) < 0x7f - 0x20 && s[n] != '"' && s[n] != '\\')
        n++;
    return n;
}

size_t kv_json_escape(const char *s, size_t len, char out[8], size_t *ret_used)
{
    static const char hex[] = "0123456789abcdef";
    static const char short_form[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    unsigned char c = (unsigned char)s[0];

    *ret_used = 1;
    if (c == '"' || c == '\\') {
        out[0] = '\\', out[1] = (char)c;
        return 2;
    }
    if (c < 0x20 && short_form[c]) {
        out[0] = '\\', out[1] = short_form[c];
        return 2;
    }
    if (c < 0x20 || c == 0x7f) {
        out[0] = '\\', out[1] = 'u', out[2] = out[3] = '0';
        out[4] = hex[c >> 4], out[5] = hex[c & 15];
        return 6;
    }
    size_t n = kv_utf8_next(s, len, NULL);
    if (n == 0) {
        out[0] = '\xef', out[1] = '\xbf', out[2] = '\xbd';
        return 3;
    }
    memcpy(out, s, n);
    *ret_used = n;
    return n;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

size_t kv_text_distance(kv_slice a, kv_slice b)
{
    size_t row[KV_TEXT_DISTANCE_MAX + 1];
    if (a.len > KV_TEXT_DISTANCE_MAX || b.len > KV_TEXT_DISTANCE_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a.ptr[i - 1] != b.ptr[j - 1]));
            diagonal = above;
        }
    }
    return row[b.len];
}

bool kv_service_name_valid(kv_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return name.len >= 1 && name.len <= KV_SERVICE_NAME_MAX;
}

bool kv_tag_valid(kv_slice tag)
{
    for (size_t i = 0; i < tag.len; i++) {
        char c = tag.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '.' || c == ':' || c == '-'))
            return false;
    }
    return tag.len >= 1 && tag.len <= KV_TAG_MAX;
}
