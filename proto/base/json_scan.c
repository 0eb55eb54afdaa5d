#include "proto/base/json_scan.h"

#define MAX_DEPTH 80 /* the broker takes JSON 64 deep, and wraps it */

static size_t skip_blank(kv_slice s, size_t i)
{
    while (i < s.len &&
           (s.ptr[i] == ' ' || s.ptr[i] == '\n' || s.ptr[i] == '\r' || s.ptr[i] == '\t'))
        i++;
    return i;
}

/* From the opening quote to behind the closing one; 0: malformed. */
static size_t skip_string(kv_slice s, size_t i)
{
    for (i++; i < s.len; i++) {
        if (s.ptr[i] == '\\')
            i++;
        else if (s.ptr[i] == '"')
            return i + 1;
    }
    return 0;
}

static bool ends_scalar(char c)
{
    return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* From the first byte of a value to behind its last one; 0: malformed. */
static size_t skip_value(kv_slice s, size_t i)
{
    unsigned depth = 0;
    do {
        if (i >= s.len)
            return 0;
        char c = s.ptr[i];
        if (c == '"') {
            if ((i = skip_string(s, i)) == 0)
                return 0;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return 0;
            i++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return 0;
            depth--;
            i++;
        } else if (depth != 0) {
            i++; /* commas, colons and scalars inside: balance is all that matters here */
        } else {
            size_t begin = i;
            while (i < s.len && !ends_scalar(s.ptr[i]))
                i++;
            return i > begin ? i : 0;
        }
    } while (depth != 0);
    return i;
}

bool kv_scan_next(kv_slice array, size_t *pos, kv_slice *ret_value)
{
    size_t i = *pos;
    if (i == 0) {
        i = skip_blank(array, 0);
        if (i >= array.len || array.ptr[i] != '[')
            return false;
        i++;
    } else {
        i = skip_blank(array, i);
        if (i >= array.len || array.ptr[i] != ',')
            return false;
        i++;
    }
    i = skip_blank(array, i);
    if (i >= array.len || array.ptr[i] == ']')
        return false;
    size_t end = skip_value(array, i);
    if (end == 0)
        return false;
    *ret_value = kv_slice_of(array.ptr + i, end - i);
    *pos = end;
    return true;
}

bool kv_scan_member(kv_slice object, const char *key, kv_slice *ret_value)
{
    size_t key_len = strlen(key);
    size_t i = skip_blank(object, 0);
    if (i >= object.len || object.ptr[i] != '{')
        return false;
    i = skip_blank(object, i + 1);
    while (i < object.len && object.ptr[i] == '"') {
        size_t name = i + 1, end = skip_string(object, i);
        if (end == 0)
            return false;
        bool hit = end - 1 - name == key_len && memcmp(object.ptr + name, key, key_len) == 0;
        i = skip_blank(object, end);
        if (i >= object.len || object.ptr[i] != ':')
            return false;
        i = skip_blank(object, i + 1);
        end = skip_value(object, i);
        if (end == 0)
            return false;
        if (hit) {
            *ret_value = kv_slice_of(object.ptr + i, end - i);
            return true;
        }
        i = skip_blank(object, end);
        if (i >= object.len || object.ptr[i] != ',')
            return false;
        i = skip_blank(object, i + 1);
    }
    return false;
}

bool kv_scan_text(kv_slice object, const char *key, kv_slice *ret)
{
    kv_slice v;
    if (!kv_scan_member(object, key, &v) || v.len < 2 || v.ptr[0] != '"')
        return false;
    kv_slice inner = kv_slice_of(v.ptr + 1, v.len - 2);
    if (inner.len != 0 && memchr(inner.ptr, '\\', inner.len) != NULL)
        return false;
    *ret = inner;
    return true;
}

bool kv_scan_u64(kv_slice object, const char *key, uint64_t *ret)
{
    kv_slice v;
    if (!kv_scan_member(object, key, &v) || v.len == 0 || v.len > 20)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < v.len; i++) {
        if (v.ptr[i] < '0' || v.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(v.ptr[i] - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *ret = n;
    return true;
}

bool kv_scan_bool(kv_slice object, const char *key, bool *ret)
{
    kv_slice v;
    if (!kv_scan_member(object, key, &v))
        return false;
    if (!kv_slice_is(v, "true") && !kv_slice_is(v, "false"))
        return false;
    *ret = v.ptr[0] == 't';
    return true;
}
