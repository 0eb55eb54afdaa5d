/* Media seen from the files: what stands behind a path or a key, and how many there are. */
#include "storage/read/media.h"

#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "storage/read/media_oldest.h"

static void copy(char *to, size_t cap, kv_slice from)
{
    size_t n = from.len < cap - 1 ? from.len : cap - 1; /* the ledger holds each to these lengths */
    if (n > 0)
        memcpy(to, from.ptr, n);
    to[n] = '\0';
}

#define FILENAME                                                                                   \
    "(SELECT filename FROM media WHERE id = " KV_OLDEST_MEDIA("b.id", "$2", "b.refs", "") ")"

kv_err kv_media_file_find(kv_db *db, kv_slice folder, const uint8_t stored_hash[32],
                          kv_media_file *ret, kv_buf *variants_json)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db,
                         "SELECT b.id, b.size, b.status, b.mime, b.ext, b.width, b.height, "
                         "b.created_at, b.variants, " FILENAME " "
                         "FROM blob b JOIN placement p ON p.blob = b.id AND p.folder = $2 "
                         "WHERE b.stored_hash = $1 AND b.state = 0 AND p.state = 0",
                         &s));
    kv_bind_blob(s, 1, kv_slice_of((const char *)stored_hash, 32));
    kv_bind_str(s, 2, folder);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && !row)
        err = KV_E_NOT_FOUND;
    if (err == KV_OK) {
        *ret = (kv_media_file){.blob = (uint64_t)kv_col_i64(s, 0),
                               .size = (uint64_t)kv_col_i64(s, 1),
                               .status = (int)kv_col_i64(s, 2),
                               .width = (uint32_t)kv_col_i64(s, 5),
                               .height = (uint32_t)kv_col_i64(s, 6),
                               .created_at = kv_col_i64(s, 7)};
        copy(ret->mime, sizeof ret->mime, kv_col_str(s, 3));
        copy(ret->ext, sizeof ret->ext, kv_col_str(s, 4));
        copy(ret->filename, sizeof ret->filename, kv_col_str(s, 9));
        kv_slice variants = kv_col_str(s, 8);
        kv_buf_add(variants_json, variants.ptr, variants.len);
        err = kv_buf_ok(variants_json) ? KV_OK : KV_E_NO_MEMORY;
    }
    kv_db_done(s);
    return err;
}

/* Most bytes are new: one look into the index says so. */
static kv_err blob_of(kv_db *db, const uint8_t stored_hash[32], bool *ret_found, int64_t *ret_blob)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "SELECT id FROM blob WHERE stored_hash = $1", &s));
    kv_bind_blob(s, 1, kv_slice_of((const char *)stored_hash, 32));
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found)
        *ret_blob = kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

/* No ORDER BY: it would sort the placements, of which there may be very many. */
#define PLACED                                                                                     \
    "SELECT p.folder, b.ext FROM blob b CROSS JOIN placement p ON p.blob = b.id "                  \
    "WHERE b.id = $1 AND b.state = 0 AND p.state = 0 "

kv_err kv_media_placement_find(kv_db *db, const uint8_t stored_hash[32], kv_slice folder,
                               kv_buf *key)
{
    kv_stmt *s;
    bool row;
    int64_t blob = 0;
    KV_TRY(blob_of(db, stored_hash, &row, &blob));
    if (!row)
        return KV_E_NOT_FOUND;
    KV_TRY(kv_db_prepare(db, PLACED "AND p.folder = $2 UNION ALL " PLACED "LIMIT 1", &s));
    kv_bind_i64(s, 1, blob);
    kv_bind_str(s, 2, folder);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && !row)
        err = KV_E_NOT_FOUND;
    if (err == KV_OK) {
        char hex[65];
        kv_hex_encode(stored_hash, 32, hex);
        kv_media_key(key, kv_col_str(s, 0), hex, kv_col_str(s, 1));
        err = kv_buf_ok(key) ? KV_OK : KV_E_NO_MEMORY;
    }
    kv_db_done(s);
    return err;
}

/* ---- keys ---- */

static kv_err has_row(kv_stmt *s, bool *ret)
{
    kv_err err = kv_db_step(s, ret);
    kv_db_done(s);
    return err;
}

/* ".variants/<id>/…" lives as long as its blob. */
static kv_err variant_live(kv_db *db, kv_slice rest, bool *ret_live)
{
    uint64_t id;
    const char *slash = memchr(rest.ptr, '/', rest.len);
    if (!slash || !kv_id_parse(rest.ptr, (size_t)(slash - rest.ptr), &id))
        return KV_OK;
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "SELECT 1 FROM blob WHERE id = $1 AND state = 0", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    return has_row(s, ret_live);
}

kv_err kv_media_key_live(kv_db *db, const char *key, bool *ret_live)
{
    static const char variants[] = ".variants/";
    *ret_live = false;
    kv_slice path = kv_slice_str(key);
    size_t skip = sizeof variants - 1;
    if (path.len > skip && memcmp(key, variants, skip) == 0)
        return variant_live(db, kv_slice_of(key + skip, path.len - skip), ret_live);
    kv_static_path p;
    uint8_t hash[32];
    if (!kv_static_path_parse(path, &p) || p.is_variant ||
        !kv_hex_decode(p.hash_hex.ptr, p.hash_hex.len, hash, sizeof hash))
        return KV_OK;
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "SELECT 1 FROM blob b JOIN placement p ON p.blob = b.id AND p.folder = $2 "
                         "WHERE b.stored_hash = $1 AND b.ext = $3 AND b.state = 0 AND p.state = 0",
                         &s));
    kv_bind_blob(s, 1, kv_slice_of((const char *)hash, sizeof hash));
    kv_bind_str(s, 2, p.folder);
    kv_bind_str(s, 3, p.ext);
    return has_row(s, ret_live);
}

/* ---- folders ---- */

static void add_folder(kv_stmt *s, kv_buf *out)
{
    kv_json_open(out, '{');
    kv_json_key(out, "folder");
    kv_json_str(out, kv_col_str(s, 0));
    kv_json_key(out, "count");
    kv_json_i64(out, kv_col_i64(s, 1));
    kv_json_close(out, '}');
}

kv_err kv_media_folders_json(kv_db *db, kv_slice after, uint32_t limit, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    char last[KV_FOLDER_MAX + 1] = "";
    if (limit < 1 || limit > KV_FOLDERS_PAGE_MAX)
        return KV_E_BAD_PARAMETER;
    KV_TRY(kv_db_prepare(
        db, "SELECT name, media FROM folder WHERE name > $1 ORDER BY name LIMIT $2", &s));
    kv_bind_str(s, 1, after.len ? after : kv_slice_str(""));
    kv_bind_i64(s, 2, (int64_t)limit + 1);
    kv_json_open(out, '{');
    kv_json_key(out, "folders");
    kv_json_open(out, '[');
    for (uint32_t n = 0; (err = kv_db_step(s, &row)) == KV_OK && row && n < limit; n++) {
        add_folder(s, out);
        copy(last, sizeof last, kv_col_str(s, 0));
    }
    kv_db_done(s);
    kv_json_close(out, ']');
    kv_json_key(out, "next");
    if (err == KV_OK && row)
        kv_json_cstr(out, last);
    else
        kv_json_null(out);
    kv_json_close(out, '}');
    return err != KV_OK ? err : kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
}
