#include "storage/read/media.h"

#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/base/media_name.h"
#include "storage/read/variants.h"

const char *kv_status_name(int status)
{
    static const char *const names[] = {"PENDING", "READY", "FAILED"};
    return status >= 0 && status <= KV_STATUS_FAILED ? names[status] : "FAILED";
}

/* ---- one row ---- */

/* The columns of ROW_SQL. */
enum {
    C_ID,
    C_FOLDER,
    C_FILENAME,
    C_HASH,
    C_STATUS,
    C_CREATED,
    C_UPDATED,
    C_BLOB,
    C_STORED,
    C_SIZE,
    C_MIME,
    C_EXT,
    C_WIDTH,
    C_HEIGHT,
    C_KEPT,
    C_THUMBHASH,
    C_VARIANTS,
    C_ERROR,
    C_DETAIL,
    C_STARTED,
    C_COMPLETED,
    C_JOB
};
static const char ROW_SQL[] =
    "SELECT m.id, m.folder, m.filename, m.hash, m.status, m.created_at, m.updated_at, b.id, "
    "b.stored_hash, b.size, b.mime, "
    "b.ext, b.width, b.height, b.metadata_kept, b.thumbhash, b.variants, b.error, b.error_detail, "
    "b.processing_started_at, "
    "b.processing_completed_at, b.job FROM media m JOIN blob b ON b.id = m.blob WHERE m.id = $1";

static void add_id(kv_buf *out, uint64_t id)
{
    char text[KV_ID_TEXT + 1];
    kv_id_format(id, text);
    kv_json_str(out, kv_slice_of(text, KV_ID_TEXT));
}

static void add_thumbhash(kv_buf *out, kv_slice bytes)
{
    if (bytes.len == 0)
        kv_json_null(out);
    else
        kv_json_base64(out, bytes.ptr, bytes.len);
}

static void add_number_or_null(kv_buf *out, const char *key, int64_t v)
{
    kv_json_key(out, key);
    if (v != 0)
        kv_json_i64(out, v);
    else
        kv_json_null(out);
}

/* What the URLs of a row are made of. */
typedef struct row_names {
    const char *base;
    kv_slice folder;
    char hash[65];
    kv_buf url; /* scratch */
} row_names;

static void add_url(kv_buf *out, row_names *r)
{
    out->failed |= !kv_buf_ok(&r->url);
    kv_json_key(out, "url");
    kv_json_str(out, kv_buf_slice(&r->url));
    kv_buf_clear(&r->url);
}

static void add_variant(kv_buf *out, row_names *r, const kv_variant *v)
{
    kv_variant_url(&r->url, r->base, r->folder, r->hash, v->full ? 0 : (uint32_t)v->width,
                   v->params, v->format);
    kv_json_open(out, '{');
    add_url(out, r);
    kv_json_key(out, "format");
    kv_json_str(out, v->format);
    kv_json_key(out, "width");
    kv_json_u64(out, v->width);
    kv_json_key(out, "height");
    kv_json_u64(out, v->height);
    kv_json_key(out, "size");
    kv_json_u64(out, v->size);
    kv_json_close(out, '}');
}

/* "variants":[…]; gives the size of the full-size WebP, 0 if there is none. */
static uint64_t add_variants(kv_buf *out, row_names *r, kv_slice json, uint64_t blob)
{
    uint64_t full_webp = 0;
    kv_variant v;
    bool have = true;
    kv_err err;
    kv_json_key(out, "variants");
    kv_json_open(out, '[');
    while ((err = kv_variant_next(&json, &v, &have)) == KV_OK && have) {
        add_variant(out, r, &v);
        if (v.full && kv_slice_is(v.format, "webp"))
            full_webp = v.size;
    }
    if (err != KV_OK) /* the ledger let through what the worker should not have sent */
        kv_log(KV_LOG_ERROR, "variants_unreadable", KV_ID("blob", blob));
    kv_json_close(out, ']');
    return full_webp;
}

static void add_names(kv_buf *out, kv_stmt *s, row_names *r)
{
    kv_media_url(&r->url, r->base, r->folder, r->hash, kv_col_str(s, C_EXT));
    kv_slice hash = kv_col_blob(s, C_HASH);
    kv_json_key(out, "id");
    add_id(out, (uint64_t)kv_col_i64(s, C_ID));
    add_url(out, r);
    kv_json_key(out, "hash");
    kv_json_hex(out, hash.ptr, hash.len);
    kv_json_key(out, "stored_hash");
    kv_json_str(out, kv_slice_of(r->hash, 64));
    kv_json_key(out, "size");
    kv_json_i64(out, kv_col_i64(s, C_SIZE));
    kv_json_key(out, "mime");
    kv_json_str(out, kv_col_str(s, C_MIME));
    kv_json_key(out, "folder");
    kv_json_str(out, r->folder);
    kv_json_key(out, "filename");
    kv_json_str(out, kv_col_str(s, C_FILENAME));
}

static void add_state(kv_buf *out, kv_stmt *s, row_names *r)
{
    int status = (int)kv_col_i64(s, C_STATUS);
    uint64_t size = (uint64_t)kv_col_i64(s, C_SIZE);
    kv_slice none = {0};
    kv_json_key(out, "status");
    kv_json_cstr(out, kv_status_name(status));
    uint64_t job = (uint64_t)kv_col_i64(s, C_JOB);
    kv_json_key(out, "jobId"); /* whose position can be watched */
    if (status == KV_STATUS_PENDING && job != 0)
        add_id(out, job);
    else
        kv_json_null(out);
    add_number_or_null(out, "width", kv_col_i64(s, C_WIDTH));
    add_number_or_null(out, "height", kv_col_i64(s, C_HEIGHT));
    kv_json_key(out, "thumbhash");
    add_thumbhash(out, kv_col_blob(s, C_THUMBHASH));
    kv_json_key(out, "metadata_kept");
    kv_json_bool(out, kv_col_i64(s, C_KEPT) != 0);
    uint64_t webp =
        add_variants(out, r, kv_col_str(s, C_VARIANTS), (uint64_t)kv_col_i64(s, C_BLOB));
    kv_json_key(out, "error");
    kv_json_str(out, status == KV_STATUS_FAILED ? kv_col_str(s, C_ERROR) : none);
    kv_json_key(out, "error_detail");
    kv_json_str(out, status == KV_STATUS_FAILED ? kv_col_str(s, C_DETAIL) : none);
    kv_json_key(out, "processingStartedAt");
    kv_json_time(out, kv_col_i64(s, C_STARTED));
    kv_json_key(out, "processingCompletedAt");
    kv_json_time(out, kv_col_i64(s, C_COMPLETED));
    kv_json_key(out, "created_at");
    kv_json_time(out, kv_col_i64(s, C_CREATED));
    kv_json_key(out, "updated_at");
    kv_json_time(out, kv_col_i64(s, C_UPDATED));
    add_number_or_null(out, "original_saved_bytes",
                       webp != 0 && webp < size ? (int64_t)(size - webp) : 0);
}

static kv_err add_row(kv_stmt *s, const char *base, kv_buf *out)
{
    row_names r = {.base = base, .folder = kv_col_str(s, C_FOLDER)};
    kv_slice stored = kv_col_blob(s, C_STORED);
    if (stored.len != 32)
        return kv_db_damage("stored hash of a blob", (uint64_t)kv_col_i64(s, C_BLOB));
    kv_hex_encode(stored.ptr, 32, r.hash);
    kv_buf_init(&r.url, 8192);
    kv_json_open(out, '{');
    add_names(out, s, &r);
    add_state(out, s, &r);
    kv_json_close(out, '}');
    kv_buf_release(&r.url);
    return kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_media_get_json(kv_db *db, const char *base, uint64_t id, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, ROW_SQL, &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK)
        err = row ? add_row(s, base, out) : KV_E_NOT_FOUND;
    kv_db_done(s);
    return err;
}
