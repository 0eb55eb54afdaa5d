#include "actors/image/variants.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/base/slice.h"

/* Part of the params digest: raise it when the pipeline gives other bytes for the same settings. */
#define PIPELINE_VERSION 2

static int falling(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static bool add_width(kv_image_settings *s, const char *from, size_t len)
{
    uint32_t width = 0;
    for (size_t i = 0; i < len; i++) {
        if (from[i] < '0' || from[i] > '9' || width > KV_IMAGE_WEBP_SIDE)
            return false;
        width = width * 10 + (uint32_t)(from[i] - '0');
    }
    if (len == 0 || width == 0 || width > KV_IMAGE_WEBP_SIDE)
        return false;
    for (uint32_t i = 0; i < s->width_count; i++) {
        if (s->widths[i] == width)
            return true;
    }
    if (s->width_count == KV_IMAGE_WIDTHS_MAX)
        return false;
    s->widths[s->width_count++] = width;
    return true;
}

static kv_err parse_widths(kv_image_settings *s, const char *list)
{
    for (const char *at = list; at && *at;) {
        const char *end = strchrnul(at, ',');
        if (!add_width(s, at, (size_t)(end - at))) {
            kv_log(KV_LOG_ERROR, "bad_image_widths", KV_STR("IMAGE_WIDTHS", list),
                   KV_STR("allowed", "at most 16 widths of 1..16383 px, comma separated"));
            return KV_E_CONFIG;
        }
        at = *end ? end + 1 : end;
    }
    qsort(s->widths, s->width_count, sizeof s->widths[0], falling);
    return KV_OK;
}

kv_err kv_image_settings_of(const kv_config *cfg, kv_image_settings *ret)
{
    *ret = (kv_image_settings){
        .webp_quality = (uint32_t)cfg->webp_quality,
        .webp_effort = (uint32_t)cfg->webp_effort,
        .avif_quality = (uint32_t)cfg->avif_quality,
        .avif_effort = (uint32_t)cfg->avif_effort,
        .timeout_s = (uint32_t)cfg->image_timeout,
        .max_pixels = (uint64_t)cfg->image_max_megapixels * 1000000,
        .memory_bytes = (uint64_t)cfg->image_memory_mb << 20,
    };
    return parse_widths(ret, cfg->image_widths);
}

bool kv_image_input_of(kv_slice mime, kv_image_input *ret)
{
    static const struct {
        const char *mime;
        kv_image_input input;
    } known[] = {
        {"image/jpeg", KV_IMAGE_IN_JPEG}, {"image/png", KV_IMAGE_IN_PNG},
        {"image/webp", KV_IMAGE_IN_WEBP}, {"image/gif", KV_IMAGE_IN_GIF},
        {"image/avif", KV_IMAGE_IN_HEIF}, {"image/heic", KV_IMAGE_IN_HEIF},
        {"image/heif", KV_IMAGE_IN_HEIF},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (kv_slice_is(mime, known[i].mime)) {
            *ret = known[i].input;
            return true;
        }
    }
    return false;
}

static int by_choice(const void *a, const void *b)
{
    const kv_image_variant *x = a, *y = b;
    if (x->format != y->format)
        return x->format < y->format ? -1 : 1;
    if (x->full != y->full)
        return x->full ? -1 : 1;
    return x->width > y->width ? -1 : x->width < y->width ? 1 : 0;
}

uint32_t kv_image_choose(kv_image_variant *v, uint32_t n, uint64_t source_size)
{
    uint64_t larger[KV_IMAGE_FORMATS];
    for (int f = 0; f < KV_IMAGE_FORMATS; f++)
        larger[f] = source_size;
    if (n > 0)
        qsort(v, n, sizeof *v, by_choice);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert(v[i].format < KV_IMAGE_FORMATS);
        v[i].keep = v[i].size < larger[v[i].format];
        if (!v[i].keep)
            continue;
        larger[v[i].format] = v[i].size;
        v[kept++] = v[i];
    }
    return kept;
}

static uint32_t digest(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

const char *kv_image_ext(kv_image_format format)
{
    return format == KV_IMAGE_WEBP ? "webp" : "avif";
}

void kv_image_params(const kv_image_settings *s, kv_image_format format, uint32_t width, bool full,
                     const char *versions, char out[KV_IMAGE_PARAMS])
{
    bool webp = format == KV_IMAGE_WEBP;
    uint32_t quality = webp ? s->webp_quality : s->avif_quality;
    uint32_t effort = webp ? s->webp_effort : s->avif_effort;
    char all[256];
    snprintf(all, sizeof all, "%d %s w%u q%u e%u %s", PIPELINE_VERSION, kv_image_ext(format),
             full ? 0 : width, quality, effort, versions);
    snprintf(out, KV_IMAGE_PARAMS, "q%ue%u-%08x", quality, effort, digest(all));
}

void kv_image_result_json(kv_buf *out, const kv_image_settings *s, const char *versions,
                          uint32_t width, uint32_t height, kv_slice thumbhash,
                          const kv_image_variant *v, uint32_t n)
{
    kv_json_open(out, '{');
    kv_json_key(out, "width");
    kv_json_u64(out, width);
    kv_json_key(out, "height");
    kv_json_u64(out, height);
    kv_json_key(out, "thumbhash");
    kv_json_base64(out, thumbhash.ptr, thumbhash.len);
    kv_json_key(out, "variants");
    kv_json_open(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        char params[KV_IMAGE_PARAMS];
        kv_image_params(s, v[i].format, v[i].width, v[i].full, versions, params);
        kv_json_open(out, '{');
        kv_json_key(out, "format");
        kv_json_cstr(out, kv_image_ext(v[i].format));
        kv_json_key(out, "width");
        kv_json_u64(out, v[i].width);
        kv_json_key(out, "height");
        kv_json_u64(out, v[i].height);
        kv_json_key(out, "size");
        kv_json_u64(out, v[i].size);
        kv_json_key(out, "params");
        kv_json_cstr(out, params);
        kv_json_key(out, "full");
        kv_json_bool(out, v[i].full);
        kv_json_close(out, '}');
    }
    kv_json_close(out, ']');
    kv_json_close(out, '}');
}
