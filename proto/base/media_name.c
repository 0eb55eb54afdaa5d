#include "proto/base/media_name.h"

#include <strings.h>

#include "proto/base/id.h"
#include "proto/base/text.h"

#define HASH_HEX       64
#define PARTS_MAX      4
#define PART_MAX       64
#define VARIANT_PX_MAX 65535

/* Names Windows gives to devices, whatever stands behind the first dot. */
static bool device_name(kv_slice name)
{
    static const char *const three[] = {"con", "prn", "aux", "nul"};
    const char *dot = memchr(name.ptr, '.', name.len);

    if (dot)
        name.len = (size_t)(dot - name.ptr);
    while (name.len && name.ptr[name.len - 1] == ' ')
        name.len--;
    if (name.len == 4 && name.ptr[3] >= '1' && name.ptr[3] <= '9')
        return strncasecmp(name.ptr, "com", 3) == 0 || strncasecmp(name.ptr, "lpt", 3) == 0;
    if (name.len != 3)
        return false;
    for (size_t i = 0; i < sizeof three / sizeof *three; i++) {
        if (strncasecmp(name.ptr, three[i], 3) == 0)
            return true;
    }
    return false;
}

static bool folder_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool part_valid(kv_slice part)
{
    if (part.len == 0 || part.len > PART_MAX || part.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < part.len; i++) {
        if (!folder_char(part.ptr[i]))
            return false;
    }
    return !device_name(part);
}

bool kv_folder_valid(kv_slice folder)
{
    size_t from = 0, parts = 0;

    if (folder.len == 0 || folder.len > KV_FOLDER_MAX)
        return false;
    for (size_t i = 0; i <= folder.len; i++) {
        if (i < folder.len && folder.ptr[i] != '/')
            continue;
        kv_slice part = kv_slice_of(folder.ptr + from, i - from);
        if (++parts > PARTS_MAX || !part_valid(part) || (parts == 1 && kv_slice_is(part, "static")))
            return false;
        from = i + 1;
    }
    return true;
}

bool kv_folder_below(kv_slice folder, kv_slice root)
{
    if (root.len == 0 || folder.len < root.len || memcmp(folder.ptr, root.ptr, root.len) != 0)
        return false;
    return folder.len == root.len || folder.ptr[root.len] == '/';
}

/* Characters that have no place in a name: controls, separators, line ends, and those that turn the
 * writing direction. */
static bool forbidden(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f) || cp == '/' || cp == '\\' || cp == 0x061c ||
           cp == 0x200e || cp == 0x200f || (cp >= 0x2028 && cp <= 0x202e) ||
           (cp >= 0x2066 && cp <= 0x2069);
}

kv_err kv_filename_check(kv_slice name)
{
    uint32_t cp = 0;

    if (name.len == 0 || name.len > KV_FILENAME_MAX)
        return KV_E_BAD_FILENAME;
    for (size_t i = 0; i < name.len;) {
        size_t n = kv_utf8_next(name.ptr + i, name.len - i, &cp);
        if (n == 0 || forbidden(cp))
            return KV_E_BAD_FILENAME;
        i += n;
    }
    if (kv_slice_is(name, ".") || kv_slice_is(name, "..") || device_name(name))
        return KV_E_BAD_FILENAME;
    return KV_OK;
}

kv_slice kv_filename_ext(kv_slice name)
{
    for (size_t i = name.len; i > 0; i--) {
        if (name.ptr[i - 1] == '.')
            return kv_slice_of(name.ptr + i, name.len - i);
    }
    return kv_slice_of("", 0);
}

static void add_slice(kv_buf *out, kv_slice s)
{
    kv_buf_add(out, s.ptr, s.len);
}

void kv_media_key(kv_buf *out, kv_slice folder, const char *stored_hash_hex, kv_slice ext)
{
    add_slice(out, folder);
    kv_buf_addc(out, '/');
    kv_buf_adds(out, stored_hash_hex);
    kv_buf_addc(out, '.');
    add_slice(out, ext);
}

void kv_media_url(kv_buf *out, const char *base, kv_slice folder, const char *stored_hash_hex,
                  kv_slice ext)
{
    kv_buf_adds(out, base);
    kv_buf_adds(out, "/api/static/");
    kv_media_key(out, folder, stored_hash_hex, ext);
}

/* "w640-<params>.webp" or "full-<params>.webp" */
static void add_variant_name(kv_buf *out, uint32_t width, kv_slice params, kv_slice ext)
{
    if (width) {
        kv_buf_addc(out, 'w');
        kv_buf_addu(out, width);
    } else {
        kv_buf_adds(out, "full");
    }
    kv_buf_addc(out, '-');
    add_slice(out, params);
    kv_buf_addc(out, '.');
    add_slice(out, ext);
}

void kv_variant_url(kv_buf *out, const char *base, kv_slice folder, const char *stored_hash_hex,
                    uint32_t width, kv_slice params, kv_slice ext)
{
    kv_buf_adds(out, base);
    kv_buf_adds(out, "/api/static/");
    add_slice(out, folder);
    kv_buf_addc(out, '/');
    kv_buf_adds(out, stored_hash_hex);
    kv_buf_addc(out, '.');
    add_variant_name(out, width, params, ext);
}

void kv_variant_prefix(kv_buf *out, uint64_t blob_id)
{
    char id[KV_ID_TEXT + 1];

    kv_id_format(blob_id, id);
    kv_buf_adds(out, ".variants/");
    kv_buf_adds(out, id);
    kv_buf_addc(out, '/');
}

void kv_variant_key(kv_buf *out, uint64_t blob_id, uint32_t width, kv_slice params, kv_slice ext)
{
    kv_variant_prefix(out, blob_id);
    add_variant_name(out, width, params, ext);
}

static bool lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool ext_valid(kv_slice ext)
{
    if (ext.len == 0 || ext.len > 7)
        return false;
    for (size_t i = 0; i < ext.len; i++) {
        if (!lower_alnum(ext.ptr[i]))
            return false;
    }
    return true;
}

static bool params_valid(kv_slice params)
{
    if (params.len == 0 || params.len > 64)
        return false;
    for (size_t i = 0; i < params.len; i++) {
        if (!lower_alnum(params.ptr[i]) && params.ptr[i] != '-')
            return false;
    }
    return true;
}

/* "w640" or "full" in front of the first "-" of `s`; what is behind it are the parameters. */
static bool parse_variant(kv_slice s, kv_static_path *ret)
{
    const char *dash = memchr(s.ptr, '-', s.len);

    if (!dash)
        return false;
    kv_slice size = kv_slice_of(s.ptr, (size_t)(dash - s.ptr));
    ret->is_variant = true;
    ret->params = kv_slice_of(dash + 1, s.len - size.len - 1);
    if (!params_valid(ret->params))
        return false;
    if (kv_slice_is(size, "full"))
        return true;
    if (size.len < 2 || size.len > 6 || size.ptr[0] != 'w' || size.ptr[1] == '0')
        return false;
    for (size_t i = 1; i < size.len; i++) {
        if (size.ptr[i] < '0' || size.ptr[i] > '9')
            return false;
        ret->width = ret->width * 10 + (uint32_t)(size.ptr[i] - '0');
    }
    return ret->width <= VARIANT_PX_MAX;
}

bool kv_static_path_parse(kv_slice path, kv_static_path *ret)
{
    const char *slash = path.len ? memrchr(path.ptr, '/', path.len) : NULL;

    *ret = (kv_static_path){0};
    if (!slash)
        return false;
    ret->folder = kv_slice_of(path.ptr, (size_t)(slash - path.ptr));
    kv_slice name = kv_slice_of(slash + 1, path.len - ret->folder.len - 1);
    if (!kv_folder_valid(ret->folder) || name.len < HASH_HEX + 2 || name.ptr[HASH_HEX] != '.')
        return false;
    ret->hash_hex = kv_slice_of(name.ptr, HASH_HEX);
    for (size_t i = 0; i < HASH_HEX; i++) {
        if (!(name.ptr[i] >= '0' && name.ptr[i] <= '9') &&
            !(name.ptr[i] >= 'a' && name.ptr[i] <= 'f'))
            return false;
    }
    kv_slice rest = kv_slice_of(name.ptr + HASH_HEX + 1, name.len - HASH_HEX - 1);
    const char *dot = memchr(rest.ptr, '.', rest.len);
    if (!dot) {
        ret->ext = rest;
        return ext_valid(rest);
    }
    size_t before = (size_t)(dot - rest.ptr);
    ret->ext = kv_slice_of(dot + 1, rest.len - before - 1);
    return ext_valid(ret->ext) && parse_variant(kv_slice_of(rest.ptr, before), ret);
}
