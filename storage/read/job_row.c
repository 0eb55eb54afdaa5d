#include "storage/read/job_row.h"

#include "proto/base/id.h"
#include "proto/base/words.h"
#include "storage/read/job_history.h"
#include "storage/read/jobs.h"

enum {
    C_ID,
    C_SERVICE,
    C_LANE,
    C_STATE,
    C_PROGRESS,
    C_ATTEMPT,
    C_MAX,
    C_METADATA,
    C_VERSION,
    C_ERROR,
    C_DETAIL,
    C_TENANT,
    C_USER,
    C_TAGS,
    C_UNIQUE,
    C_CREDITS,
    C_DEADLINE,
    C_NOT_BEFORE,
    C_RETRY_OF,
    C_RETRIED_BY,
    C_CREATED,
    C_UPDATED,
    C_PARAMS,
    C_RESULT,
    C_HISTORY
};

static const char *lane_name(int64_t lane)
{
    return kv_lane_names[lane >= 0 && lane < KV_LANES ? lane : KV_LANE_BACKGROUND];
}

static void add_str(kv_buf *out, const char *key, kv_slice s)
{
    kv_json_key(out, key);
    kv_json_str(out, s);
}

static void add_num(kv_buf *out, const char *key, int64_t v)
{
    kv_json_key(out, key);
    kv_json_i64(out, v);
}

static void add_time(kv_buf *out, const char *key, int64_t ms)
{
    kv_json_key(out, key);
    kv_json_time(out, ms);
}

static void add_json(kv_buf *out, const char *key, kv_slice json)
{
    kv_json_key(out, key);
    if (json.len > 0)
        kv_json_raw(out, json);
    else
        kv_json_null(out);
}

static void add_id(kv_buf *out, const char *key, int64_t id)
{
    char text[KV_ID_TEXT + 1];
    kv_json_key(out, key);
    if (id == 0) {
        kv_json_null(out);
        return;
    }
    kv_id_format((uint64_t)id, text);
    kv_json_cstr(out, text);
}

/* ",a,b," as ["a","b"]. */
static void add_tags(kv_buf *out, kv_slice tags)
{
    kv_json_key(out, "tags");
    kv_json_open(out, '[');
    for (size_t i = 0, from = 0; i <= tags.len; i++) {
        if (i < tags.len && tags.ptr[i] != ',')
            continue;
        if (i > from)
            kv_json_str(out, kv_slice_of(tags.ptr + from, i - from));
        from = i + 1;
    }
    kv_json_close(out, ']');
}

static void add_state(kv_stmt *s, kv_buf *out)
{
    add_id(out, "jobId", kv_col_i64(s, C_ID));
    add_str(out, "service", kv_col_str(s, C_SERVICE));
    kv_json_key(out, "lane");
    kv_json_cstr(out, lane_name(kv_col_i64(s, C_LANE)));
    kv_json_key(out, "status");
    kv_json_cstr(out, kv_job_state_name((int)kv_col_i64(s, C_STATE)));
    add_num(out, "progress", kv_col_i64(s, C_PROGRESS));
    add_num(out, "attempts", kv_col_i64(s, C_ATTEMPT));
    add_num(out, "max_attempts", kv_col_i64(s, C_MAX));
}

static void add_options(kv_stmt *s, kv_buf *out)
{
    add_str(out, "tenant", kv_col_str(s, C_TENANT));
    add_str(out, "user", kv_col_str(s, C_USER));
    add_tags(out, kv_col_str(s, C_TAGS));
    add_str(out, "unique_key", kv_col_str(s, C_UNIQUE));
    add_num(out, "credits", kv_col_i64(s, C_CREDITS));
    add_time(out, "deadline", kv_col_i64(s, C_DEADLINE));
    add_time(out, "not_before", kv_col_i64(s, C_NOT_BEFORE));
    add_id(out, "retry_of", kv_col_i64(s, C_RETRY_OF));
    add_id(out, "retried_by", kv_col_i64(s, C_RETRIED_BY));
}

void kv_job_row_json(kv_stmt *s, bool whole, kv_buf *out)
{
    kv_json_open(out, '{');
    add_state(s, out);
    if (whole)
        add_json(out, "params", kv_col_str(s, C_PARAMS));
    add_json(out, "metadata", kv_col_str(s, C_METADATA));
    add_num(out, "metadata_version", kv_col_i64(s, C_VERSION));
    if (whole)
        add_json(out, "result", kv_col_str(s, C_RESULT));
    add_str(out, "error", kv_col_str(s, C_ERROR));
    add_str(out, "error_detail", kv_col_str(s, C_DETAIL));
    add_options(s, out);
    add_time(out, "created_at", kv_col_i64(s, C_CREATED));
    add_time(out, "updated_at", kv_col_i64(s, C_UPDATED));
    if (whole) {
        kv_json_key(out, "history");
        kv_job_history_read(kv_col_str(s, C_HISTORY), kv_col_i64(s, C_CREATED), out);
    }
    kv_json_close(out, '}');
}

static bool has_tag(kv_slice tags, kv_slice tag)
{
    for (size_t i = 0; i + tag.len + 2 <= tags.len; i++) {
        if (tags.ptr[i] == ',' && tags.ptr[i + tag.len + 1] == ',' &&
            memcmp(tags.ptr + i + 1, tag.ptr, tag.len) == 0)
            return true;
    }
    return false;
}

kv_err kv_job_list_item(kv_db *db, uint64_t id, kv_slice tag, kv_buf *out, bool *ret_added)
{
    kv_stmt *s;
    bool row;
    *ret_added = false;
    KV_TRY(kv_db_prepare(db, "SELECT " KV_JOB_ROW_COLUMNS KV_JOB_ROW_FROM "WHERE j.id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row && (tag.len == 0 || has_tag(kv_col_str(s, C_TAGS), tag))) {
        kv_job_row_json(s, false, out);
        *ret_added = true;
    }
    kv_db_done(s);
    return err;
}
