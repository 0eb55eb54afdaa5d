#include "storage/read/name_match.h"

#include <stdlib.h>
#include <utf8proc.h>

#define FOLDED_MAX 65536 /* bytes; names have 255, and grow by folding */

static bool fold_ascii(kv_slice s, kv_buf *out)
{
    kv_buf_add(out, s.ptr, s.len);
    if (!kv_buf_ok(out))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = out->data[i];
        if (c & (char)0x80)
            return false;
        out->data[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return true;
}

static utf8proc_int32_t dotless_is_dotted(utf8proc_int32_t cp, void *data)
{
    (void)data;
    return cp == 0x131 ? 'i' : cp;
}

static kv_err fold(kv_slice s, kv_buf *out)
{
    kv_buf_clear(out);
    if (s.len == 0 || fold_ascii(s, out))
        return KV_OK;
    kv_buf_clear(out);
    utf8proc_uint8_t *text = NULL;
    utf8proc_ssize_t n =
        utf8proc_map_custom((const utf8proc_uint8_t *)s.ptr, (utf8proc_ssize_t)s.len, &text,
                            UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE |
                                UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK | UTF8PROC_IGNORE,
                            dotless_is_dotted, NULL);
    if (n > 0)
        kv_buf_add(out, text, (size_t)n);
    free(text);
    if (n < 0)
        return n == UTF8PROC_ERROR_NOMEM ? KV_E_NO_MEMORY : KV_E_BAD_PARAMETER;
    return kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_name_match_init(kv_name_match *m, kv_slice part)
{
    kv_buf_init(&m->part, FOLDED_MAX);
    kv_buf_init(&m->name, FOLDED_MAX);
    return fold(part, &m->part);
}

bool kv_name_matches(kv_name_match *m, kv_slice name)
{
    if (m->part.len == 0)
        return true;
    if (fold(name, &m->name) != KV_OK)
        return false;
    return m->name.len >= m->part.len &&
           memmem(m->name.data, m->name.len, m->part.data, m->part.len) != NULL;
}

void kv_name_match_release(kv_name_match *m)
{
    kv_buf_release(&m->part);
    kv_buf_release(&m->name);
}
