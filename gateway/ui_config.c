/* GET /api/config: what a page must know before it sends. The server decides all the same. */
#include "gateway/answer.h"
#include "gateway/route.h"
#include "proto/base/media_name.h"

static bool next_item(const char **at, char sep, kv_slice *ret)
{
    if (**at == '\0')
        return false;
    size_t n = 0;
    while ((*at)[n] != '\0' && (*at)[n] != sep)
        n++;
    *ret = kv_slice_of(*at, n);
    *at += n + ((*at)[n] != '\0');
    return true;
}

static void put_list(kv_buf *b, const char *key, const char *list)
{
    kv_slice item;
    kv_json_key(b, key);
    kv_json_open(b, '[');
    while (next_item(&list, ',', &item))
        kv_json_str(b, item);
    kv_json_close(b, ']');
}

static void put_extensions(kv_buf *b, const char *types)
{
    kv_slice type, ext;
    kv_json_key(b, "allowed_extensions");
    kv_json_open(b, '[');
    while (next_item(&types, ',', &type)) {
        const kv_mime_info *info = kv_mime_find(type);
        for (const char *exts = info != NULL ? info->exts : ""; next_item(&exts, ' ', &ext);)
            kv_json_str(b, ext);
    }
    kv_json_close(b, ']');
}

/* UPLOAD_STREAM_ENABLED=false has a smaller limit of its own. */
static int64_t upload_limit(const kv_config *cfg)
{
    int64_t mb = cfg->max_upload_size_mb;
    if (!cfg->upload_stream_enabled && cfg->upload_buffered_max_mb < mb)
        mb = cfg->upload_buffered_max_mb;
    return mb * 1024 * 1024;
}

void kv_route_ui_config(kv_request *r)
{
    const kv_config *cfg = r->loop->gw->cfg;
    kv_buf b;
    kv_buf_init(&b, 1 << 20);
    kv_json_open(&b, '{');
    kv_json_key(&b, "max_upload_bytes");
    kv_json_i64(&b, upload_limit(cfg));
    put_list(&b, "allowed_mime_types", cfg->allowed_mime_types);
    put_extensions(&b, cfg->allowed_mime_types);
    kv_json_key(&b, "processing_enabled");
    kv_json_bool(&b, cfg->image_processing_enabled);
    put_list(&b, "processing_folders", cfg->processing_folders);
    put_list(&b, "image_widths", cfg->image_widths);
    kv_json_key(&b, "default_folder");
    kv_json_cstr(&b, "genel");
    kv_json_key(&b, "version");
    kv_json_cstr(&b, KERVAN_VERSION);
    kv_json_close(&b, '}');
    kv_answer_buf(r->req, KV_OK, 200, &b);
    kv_buf_release(&b);
}
