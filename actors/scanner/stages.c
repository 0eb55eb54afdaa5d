/* What an upload is judged by: one row a concern. */
#include <stdio.h>
#include <string.h>

#include "actors/scanner/scan.h"

static kv_err type_head(kv_scanner_actor *a, kv_scan *s, const void *head, size_t len)
{
    char seen[128] = "";
    kv_err err = kv_types_judge(a->types, &s->claim, head, len, &s->type, seen);
    if (err != KV_OK && seen[0])
        snprintf(s->detail, sizeof s->detail, "The content is %s.", seen);
    return err;
}

static kv_err picture_head(kv_scanner_actor *a, kv_scan *s, const void *head, size_t len)
{
    (void)head, (void)len;
    kv_walk_begin(&s->walk, s->type->strip, a->cfg->strip_original_metadata);
    return KV_OK;
}

static kv_err picture_error(kv_scan *s, kv_err err)
{
    if (err == KV_E_BAD_IMAGE)
        snprintf(s->detail, sizeof s->detail, "%s", s->walk.why);
    return err;
}

static kv_err picture_chunk(kv_scanner_actor *a, kv_scan *s, const void *in, size_t len,
                            kv_cow *cow)
{
    (void)a;
    return picture_error(s, kv_walk_push(&s->walk, in, len, cow));
}

static kv_err picture_end(kv_scanner_actor *a, kv_scan *s)
{
    (void)a;
    return picture_error(s, kv_walk_end(&s->walk));
}

/* A stage may refuse at the head (the first min(KV_TYPE_HEAD, size) bytes), at any chunk and at the
 * end; NULL: nothing to do there. Only the picture stage changes bytes. A virus scanner goes behind
 * it: `chunk` feeds its stream the bytes as received, `end` has its verdict. */
static const struct kv_stage {
    kv_err (*head)(kv_scanner_actor *a, kv_scan *s, const void *head, size_t len);
    kv_err (*chunk)(kv_scanner_actor *a, kv_scan *s, const void *in, size_t len, kv_cow *cow);
    kv_err (*end)(kv_scanner_actor *a, kv_scan *s);
} stages[] = {
    {type_head, NULL, NULL},
    {picture_head, picture_chunk, picture_end},
};
#define STAGES (sizeof stages / sizeof *stages)

kv_err kv_scan_head(kv_scanner_actor *a, kv_scan *s, const void *bytes, size_t len)
{
    kv_err err = KV_OK;
    len = len < KV_TYPE_HEAD ? len : KV_TYPE_HEAD;
    for (size_t i = 0; i < STAGES && err == KV_OK; i++) {
        if (stages[i].head)
            err = stages[i].head(a, s, bytes, len);
    }
    return err;
}

kv_err kv_scan_chunk(kv_scanner_actor *a, kv_scan *s, const void *in, size_t len, kv_cow *cow)
{
    kv_err err = KV_OK;
    *cow = (kv_cow){.in = in, .len = len, .keep = len};
    for (size_t i = 0; i < STAGES && err == KV_OK; i++) {
        if (stages[i].chunk)
            err = stages[i].chunk(a, s, in, len, cow);
    }
    return err;
}

kv_err kv_scan_end(kv_scanner_actor *a, kv_scan *s)
{
    kv_err err = KV_OK;
    for (size_t i = 0; i < STAGES && err == KV_OK; i++) {
        if (stages[i].end)
            err = stages[i].end(a, s);
    }
    return err;
}

void kv_scan_find(const kv_scan *s, kv_scan_found *ret)
{
    bool walked = s->walk.type != KV_STRIP_NONE && s->walk.type != KV_STRIP_GIF && s->walk.blank;
    kv_walk_dimensions(&s->walk, &ret->width, &ret->height);
    ret->strip_version = walked ? KV_STRIP_VERSION : 0;
    ret->metadata_kept = !walked && strcmp(s->type->mime, "text/plain") != 0;
    kv_mime_ext(s->type, ret->ext);
}
