/* WebP: chunks keep their names and sizes, so the flags of VP8X stay true. EXIF keeps the
 * orientation, XMP becomes an empty document, unknown chunks are zeroed; what stands behind the
 * container goes. Frames of an animation hold chunks too. */
#include "actors/scanner/walk.h"

#include <string.h>

enum { RIFF, HEAD, BODY, FRAME_HEAD, FRAME_TAIL, DONE };
enum { KEEP, ZERO, EXIF, EXIF_ID, XMP, VP8, VP8L, VP8X };

#define RIFF_LEN       12
#define HEAD_LEN       8
#define FRAME_HEAD_LEN 16

static const struct {
    char name[5];
    uint8_t kind;
} chunks[] = {
    {"VP8 ", VP8},  {"VP8L", VP8L}, {"VP8X", VP8X}, {"ALPH", KEEP},
    {"ANIM", KEEP}, {"ICCP", KEEP}, {"EXIF", EXIF}, {"XMP ", XMP},
};

static const char empty_xmp[] = "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"/>";
static const char exif_id[] = "Exif\0";

static uint32_t get24(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}

static uint32_t get32(const uint8_t *p)
{
    return get24(p) | (uint32_t)p[3] << 24;
}

void kv_webp_begin(kv_walk *w)
{
    w->webp = (kv_walk_webp){.state = RIFF};
}

static kv_err take_riff(kv_walk *w)
{
    kv_walk_webp *r = &w->webp;
    if (memcmp(r->field, "RIFF", 4) != 0 || memcmp(r->field + 8, "WEBP", 4) != 0)
        return kv_walk_bad(w, "no WebP signature");
    uint64_t size = get32(r->field + 4);
    r->end = HEAD_LEN + size + (size & 1);
    if (r->end < RIFF_LEN + HEAD_LEN)
        return kv_walk_bad(w, "empty WebP container");
    r->state = HEAD;
    return KV_OK;
}

static uint8_t kind_of(const kv_walk_webp *r)
{
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        if (memcmp(r->field, chunks[i].name, 4) == 0)
            return chunks[i].kind;
    }
    return ZERO;
}

/* Where the next chunk, or the end of what holds it, is due. */
static void next_chunk(kv_walk_webp *r)
{
    r->pos = 0;
    if (r->frame_end && r->frame_end - r->at < HEAD_LEN) {
        r->left = (uint32_t)(r->frame_end - r->at);
        r->frame_end = 0;
        r->state = r->left ? FRAME_TAIL : HEAD;
    } else {
        r->state = HEAD;
    }
}

static kv_err take_head(kv_walk *w)
{
    kv_walk_webp *r = &w->webp;
    bool first = r->at == RIFF_LEN + HEAD_LEN;
    r->size = get32(r->field + 4);
    uint64_t padded = (uint64_t)r->size + (r->size & 1);
    r->kind = kind_of(r);
    if (first && r->kind != VP8 && r->kind != VP8L && r->kind != VP8X)
        return kv_walk_bad(w, "WebP does not begin with a picture");
    if (padded > UINT32_MAX || (r->frame_end && r->at + padded > r->frame_end))
        return kv_walk_bad(w, "damaged WebP chunk");
    r->left = (uint32_t)padded;
    r->pos = 0;
    r->state = BODY;
    if (memcmp(r->field, "ANMF", 4) == 0) {
        if (r->frame_end || r->size < FRAME_HEAD_LEN)
            return kv_walk_bad(w, "damaged WebP frame");
        r->frame_end = r->at + padded;
        r->left = FRAME_HEAD_LEN;
        r->state = FRAME_HEAD;
    } else if (r->kind == EXIF && (r->exif_seen || r->size < KV_EXIF_MIN)) {
        r->kind = ZERO;
    }
    if (r->left == 0)
        next_chunk(r);
    return KV_OK;
}

/* Bytes of a picture's header: the first dimensions count, and those of VP8X come first. */
static kv_err take_dims(kv_walk *w, const uint8_t *in, size_t n)
{
    kv_walk_webp *r = &w->webp;
    for (size_t i = 0; i < n && r->pos + i < 10; i++) {
        r->field[r->pos + i] = in[i];
        if (r->pos + i != (r->kind == VP8L ? 4u : 9u))
            continue;
        if (r->kind == VP8X) {
            w->width = get24(r->field + 4) + 1;
            w->height = get24(r->field + 7) + 1;
        } else if (r->kind == VP8L) {
            uint32_t bits = get32(r->field + 1);
            w->width = (bits & 0x3fff) + 1;
            w->height = (bits >> 14 & 0x3fff) + 1;
        } else {
            w->width = get32(r->field + 6) & 0x3fff;
            w->height = get32(r->field + 6) >> 16 & 0x3fff;
        }
        if (w->width == 0 || w->height == 0)
            return kv_walk_bad(w, "WebP without dimensions");
    }
    return KV_OK;
}

static void put_xmp(const kv_walk_webp *r, kv_cow *c, size_t at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t pos = r->pos + i;
        bool room = r->size >= sizeof empty_xmp - 1;
        char byte = room && pos < sizeof empty_xmp - 1 ? empty_xmp[pos] : ' ';
        if (pos >= r->size)
            byte = 0; /* padding */
        kv_cow_put(c, (ptrdiff_t)(at + i), &byte, 1);
    }
}

/* EXIF with or without the identifier of JPEG in front. */
static size_t take_exif(kv_walk *w, kv_cow *c, size_t at, size_t n)
{
    kv_walk_webp *r = &w->webp;
    if (r->pos == 0) {
        r->exif_seen = true;
        bool id = c->in[at] == 'E' && r->size >= 6 + KV_EXIF_MIN;
        r->kind = id ? EXIF_ID : EXIF;
        kv_exif_begin(&w->exif, id ? r->size - 6 : r->size);
    }
    if (r->kind == EXIF_ID) {
        kv_cow_put(c, (ptrdiff_t)at, &exif_id[r->pos], 1);
        if (r->pos == 5)
            r->kind = EXIF;
        return 1;
    }
    size_t block = r->size > r->pos ? r->size - r->pos : 0; /* the rest is padding */
    block = block < n ? block : n;
    kv_exif_run(&w->exif, c, (ptrdiff_t)at, block);
    kv_cow_zero(c, (ptrdiff_t)(at + block), n - block);
    return n;
}

static size_t take_body(kv_walk *w, kv_cow *c, size_t at, kv_err *ret_err)
{
    kv_walk_webp *r = &w->webp;
    size_t n = r->left < c->len - at ? r->left : c->len - at;
    n = n < r->end - r->at ? n : (size_t)(r->end - r->at);
    switch (r->state == BODY ? r->kind : r->state == FRAME_TAIL ? ZERO : KEEP) {
    case ZERO:
        kv_cow_zero(c, (ptrdiff_t)at, n);
        break;
    case EXIF:
    case EXIF_ID:
        n = take_exif(w, c, at, n);
        break;
    case XMP:
        put_xmp(r, c, at, n);
        break;
    case VP8:
    case VP8L:
    case VP8X:
        if (w->width == 0)
            *ret_err = take_dims(w, c->in + at, n);
        break;
    default:
        break;
    }
    r->pos += (uint32_t)n;
    r->left -= (uint32_t)n;
    r->at += n;
    if (r->left == 0)
        next_chunk(r);
    return n;
}

kv_err kv_webp_push(kv_walk *w, kv_cow *c)
{
    kv_walk_webp *r = &w->webp;
    kv_err err = KV_OK;
    size_t at = 0;
    while (at < c->len && err == KV_OK) {
        if (r->end && r->at >= r->end) {
            kv_cow_cut(c, (ptrdiff_t)at);
            break;
        }
        if (r->state == RIFF || r->state == HEAD) {
            r->field[r->pos++] = c->in[at++];
            r->at++;
            if (r->pos == (r->state == RIFF ? RIFF_LEN : HEAD_LEN)) {
                err = r->state == RIFF ? take_riff(w) : take_head(w);
                r->pos = 0;
            }
        } else {
            at += take_body(w, c, at, &err);
        }
    }
    return err;
}

kv_err kv_webp_end(kv_walk *w)
{
    return w->width ? KV_OK : kv_walk_bad(w, "WebP ends before its picture");
}
