/* Names from outside: what is taken for the address of a file is written back the same by those who
 * write such addresses; names of files and folders hold to their rules; ids are read as written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "proto/base/text.h"
#include "storage/read/name_match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
    if (!good)
        abort();
}

static void check_path(kv_slice path)
{
    static const char prefix[] = "/api/static/";
    kv_static_path p;
    kv_buf url;
    char hash[65];
    if (!kv_static_path_parse(path, &p))
        return;
    demand(kv_folder_valid(p.folder) && p.hash_hex.len == 64 && p.ext.len > 0);
    memcpy(hash, p.hash_hex.ptr, 64);
    hash[64] = '\0';
    kv_buf_init(&url, 4096);
    if (p.is_variant)
        kv_variant_url(&url, "", p.folder, hash, p.width, p.params, p.ext);
    else
        kv_media_url(&url, "", p.folder, hash, p.ext);
    demand(kv_buf_ok(&url) && url.len == path.len + sizeof prefix - 1);
    demand(memcmp(url.data + sizeof prefix - 1, path.ptr, path.len) == 0);
    kv_buf_release(&url);
}

static void check_folder(kv_slice folder)
{
    kv_static_path p;
    kv_buf path;
    if (!kv_folder_valid(folder))
        return;
    kv_buf_init(&path, 4096);
    kv_buf_add(&path, folder.ptr, folder.len);
    kv_buf_adds(&path, "/0000000000000000000000000000000000000000000000000000000000000000.png");
    demand(kv_static_path_parse(kv_buf_slice(&path), &p) && kv_slice_eq(p.folder, folder));
    kv_buf_release(&path);
}

static void check_filename(kv_slice name)
{
    if (kv_filename_check(name) != KV_OK)
        return;
    demand(name.len <= KV_FILENAME_MAX && kv_utf8_valid(name));
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        demand(c >= 0x20 && c != 0x7f && c != '/' && c != '\\');
    }
    kv_slice ext = kv_filename_ext(name);
    demand(ext.len < name.len || name.len == 0);
    const kv_mime_info *m = kv_mime_by_ext(ext);
    demand(m == NULL || kv_mime_find(kv_slice_str(m->mime)) == m);
}

static void check_id(kv_slice text)
{
    uint64_t id, again;
    char out[KV_ID_TEXT + 1];
    if (!kv_id_parse(text.ptr, text.len, &id))
        return;
    demand(id != 0 && id >> 63 == 0);
    kv_id_format(id, out);
    demand(kv_id_parse(out, KV_ID_TEXT, &again) && again == id);
}

/* A name is found by itself and by its halves. */
static void check_match(kv_slice name)
{
    kv_name_match m;
    if (!kv_utf8_valid(name) || name.len > KV_FILENAME_MAX)
        return;
    if (kv_name_match_init(&m, name) == KV_OK)
        demand(kv_name_matches(&m, name));
    kv_name_match_release(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kv_slice text = kv_slice_of((const char *)data, size);
    check_path(text);
    check_folder(text);
    check_filename(text);
    check_id(text);
    check_match(text);
    (void)kv_mime_find(text);
    return 0;
}
