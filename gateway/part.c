/* The head of one multipart part, and the boundary of a Content-Type. */
#include "gateway/head.h"
#include "gateway/multipart.h"

typedef struct text_out {
    kv_part *part;
    size_t used;
} text_out;

static kv_err bad(const char **ret_why, const char *why)
{
    *ret_why = why;
    return KV_E_BAD_MULTIPART;
}

static bool put(text_out *t, char c)
{
    if (c == 0 || t->used == sizeof(t->part->text))
        return false;
    t->part->text[t->used++] = c;
    return true;
}

static int hex2(const char *p)
{
    unsigned char v;
    return kv_hex_decode(p, 2, &v, 1) ? v : -1;
}

/* A parameter value: token, or quoted-string with \" and \\ (curl) and with %22 %0D %0A (browsers).
 * A backslash before anything else is itself. Leaves *s behind it. */
static bool value(kv_slice *s, text_out *t, kv_slice *ret)
{
    size_t from = t->used;
    const char *p = s->ptr, *end = p + s->len;
    if (p < end && *p == '"') {
        for (p++; p < end && *p != '"'; p++) {
            int escaped = *p == '%' && end - p > 2 ? hex2(p + 1) : -1;
            if (*p == '\\' && end - p > 1 && (p[1] == '"' || p[1] == '\\')) {
                p++;
            } else if (escaped == '"' || escaped == '\r' || escaped == '\n') {
                if (!put(t, (char)escaped))
                    return false;
                p += 2;
                continue;
            }
            if (!put(t, *p))
                return false;
        }
        if (p == end)
            return false;
        p++;
    } else {
        for (; p < end && kv_is_tchar((unsigned char)*p); p++)
            if (!put(t, *p))
                return false;
        if (t->used == from)
            return false;
    }
    *ret = kv_slice_of(t->part->text + from, t->used - from);
    *s = kv_slice_of(p, (size_t)(end - p));
    return true;
}

/* RFC 5987: UTF-8'lang'percent-encoded. */
static bool extended(kv_slice *s, text_out *t, kv_slice *ret)
{
    size_t n = 0;
    while (n < s->len && s->ptr[n] != ';' && s->ptr[n] != ' ')
        n++;
    kv_slice v = kv_slice_of(s->ptr, n);
    *s = kv_slice_of(s->ptr + n, s->len - n);
    if (v.len < 6 || !kv_slice_is_nocase(kv_slice_of(v.ptr, 6), "utf-8'"))
        return false;
    const char *end = v.ptr + v.len, *p = memchr(v.ptr + 6, '\'', v.len - 6);
    if (p == NULL)
        return false;
    size_t from = t->used;
    for (p++; p < end; p++) {
        int c = (unsigned char)*p;
        if (c == '%') {
            c = end - p > 2 ? hex2(p + 1) : -1;
            p += 2;
        } else if (!kv_is_tchar((unsigned char)c) || c == '*' || c == '\'') {
            return false;
        }
        if (c <= 0 || !put(t, (char)c))
            return false;
    }
    *ret = kv_slice_of(t->part->text + from, t->used - from);
    return true;
}

static void skip_blanks(kv_slice *s)
{
    while (s->len > 0 && (*s->ptr == ' ' || *s->ptr == '\t'))
        s->ptr++, s->len--;
}

/* "; name=" : false at the end or where it is malformed (then *ret_bad). */
static bool next_param(kv_slice *s, kv_slice *ret_name, bool *ret_bad)
{
    skip_blanks(s);
    if (s->len == 0)
        return false;
    *ret_bad = true;
    if (*s->ptr != ';')
        return false;
    s->ptr++, s->len--;
    skip_blanks(s);
    if (s->len == 0) { /* a last ';' is let through */
        *ret_bad = false;
        return false;
    }
    size_t n = 0;
    while (n < s->len && kv_is_tchar((unsigned char)s->ptr[n]))
        n++;
    *ret_name = kv_slice_of(s->ptr, n);
    if (n == 0 || n == s->len || s->ptr[n] != '=')
        return false;
    *s = kv_slice_of(s->ptr + n + 1, s->len - n - 1);
    *ret_bad = false;
    return true;
}

static kv_err disposition(kv_slice v, text_out *t, const char **why)
{
    kv_part *part = t->part;
    if (part->name.ptr != NULL)
        return bad(why, "A part has more than one Content-Disposition.");
    if (v.len < 9 || !kv_slice_is_nocase(kv_slice_of(v.ptr, 9), "form-data"))
        return bad(why, "A part is not form-data.");
    kv_slice s = kv_slice_of(v.ptr + 9, v.len - 9), name, filename = {0}, extended_name = {0};
    bool malformed = false;
    while (next_param(&s, &name, &malformed)) {
        kv_slice *slot, other;
        if (kv_slice_is_nocase(name, "filename*")) {
            if (extended_name.ptr != NULL || !extended(&s, t, &extended_name)) {
                *why = "filename* is not valid.";
                return KV_E_BAD_FILENAME;
            }
            continue;
        }
        if (kv_slice_is_nocase(name, "name"))
            slot = &part->name;
        else if (kv_slice_is_nocase(name, "filename"))
            slot = &filename;
        else
            slot = &other, other.ptr = NULL;
        if (slot->ptr != NULL || !value(&s, t, slot)) {
            *why = "A parameter of Content-Disposition is not valid.";
            return slot == &filename ? KV_E_BAD_FILENAME : KV_E_BAD_MULTIPART;
        }
    }
    if (malformed || part->name.ptr == NULL)
        return bad(why, "Content-Disposition is malformed or has no name.");
    part->has_filename = filename.ptr != NULL || extended_name.ptr != NULL;
    part->filename = extended_name.ptr != NULL ? extended_name : filename;
    return KV_OK;
}

static kv_err part_header(kv_slice line, text_out *t, const char **why)
{
    size_t n = 0;
    while (n < line.len && kv_is_tchar((unsigned char)line.ptr[n]))
        n++;
    if (n == 0 || n == line.len || line.ptr[n] != ':')
        return bad(why, "A header of a part is malformed.");
    for (size_t i = n; i < line.len; i++)
        if (((unsigned char)line.ptr[i] < ' ' && line.ptr[i] != '\t') || line.ptr[i] == 0x7f)
            return bad(why, "A header of a part holds a control character.");
    kv_slice name = kv_slice_of(line.ptr, n);
    kv_slice v = kv_slice_trim(kv_slice_of(line.ptr + n + 1, line.len - n - 1));
    if (kv_slice_is_nocase(name, "content-disposition"))
        return disposition(v, t, why);
    if (kv_slice_is_nocase(name, "content-type") && v.len <= 128) {
        size_t from = t->used;
        for (size_t i = 0; i < v.len; i++)
            if (!put(t, v.ptr[i]))
                return bad(why, "The head of a part is too long.");
        t->part->type = kv_slice_of(t->part->text + from, v.len);
    }
    if (kv_slice_is_nocase(name, "content-transfer-encoding") && !kv_slice_is_nocase(v, "binary") &&
        !kv_slice_is_nocase(v, "8bit") && !kv_slice_is_nocase(v, "7bit"))
        return bad(why, "A part is encoded; send the bytes as they are.");
    return KV_OK;
}

kv_err kv_part_parse(kv_slice head, kv_part *ret, const char **ret_why)
{
    text_out t = {.part = ret};
    ret->name = ret->filename = ret->type = kv_slice_of(NULL, 0);
    ret->has_filename = false;
    *ret_why = "";
    while (head.len > 0) {
        const char *lf = memchr(head.ptr, '\n', head.len);
        if (lf == NULL || lf == head.ptr || lf[-1] != '\r')
            return bad(ret_why, "A line in the head of a part does not end in CR LF.");
        size_t n = (size_t)(lf - head.ptr) - 1;
        KV_TRY(part_header(kv_slice_of(head.ptr, n), &t, ret_why));
        head = kv_slice_of(lf + 1, head.len - n - 2);
    }
    if (ret->name.ptr == NULL)
        return bad(ret_why, "A part has no Content-Disposition.");
    return KV_OK;
}

bool kv_multipart_boundary(kv_slice v, char out[KV_MULTIPART_BOUNDARY_MAX + 1])
{
    static const char type[] = "multipart/form-data";
    if (v.len < sizeof(type) - 1 || !kv_slice_is_nocase(kv_slice_of(v.ptr, sizeof(type) - 1), type))
        return false;
    kv_part scratch;
    text_out t = {.part = &scratch};
    kv_slice s = kv_slice_of(v.ptr + sizeof(type) - 1, v.len - sizeof(type) + 1), name, found = {0},
             got;
    bool malformed = false;
    while (next_param(&s, &name, &malformed)) {
        if (!value(&s, &t, &got))
            return false;
        if (!kv_slice_is_nocase(name, "boundary"))
            continue;
        if (found.ptr != NULL)
            return false;
        found = got;
    }
    if (malformed || found.len == 0 || found.len > KV_MULTIPART_BOUNDARY_MAX ||
        found.ptr[found.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < found.len; i++) {
        char c = found.ptr[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  strchr("'()+_,-./:=? ", c) != NULL;
        if (!ok)
            return false;
    }
    memcpy(out, found.ptr, found.len);
    out[found.len] = 0;
    return true;
}
