/* PNG: chunks that are not on the list below are renamed to "zeRo" (private, ancillary, safe to
 * copy) and zeroed with a fresh CRC; eXIf keeps the orientation; what stands behind IEND goes. A
 * chunk's type is four bytes that are judged together, so a type cut by the end of a chunk of the
 * stream is held back: at most three bytes. */
#include "actors/scanner/walk.h"

#include <string.h>

enum { SIGNATURE, HEAD, BODY, CRC, DONE };
enum { KEEP, ZERO, EXIF, IHDR };

#define HEAD_LEN 8

static const char kept_types[][5] = {
    "IDAT", "fdAT", "fcTL", "acTL", "PLTE", "tRNS", "IEND", "iCCP", "sRGB", "gAMA",
    "cHRM", "sBIT", "cICP", "mDCV", "mDCv", "cLLI", "cLLi", "bKGD", "hIST", "pHYs",
};

static uint32_t crc_table[256];

__attribute__((constructor)) static void make_crc_table(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t v = n;
        for (int k = 0; k < 8; k++)
            v = v & 1 ? 0xedb88320u ^ v >> 1 : v >> 1;
        crc_table[n] = v;
    }
}

static uint32_t crc_add(uint32_t crc, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        crc = crc_table[(crc ^ p[i]) & 255] ^ crc >> 8;
    return crc;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void kv_png_begin(kv_walk *w)
{
    w->png = (kv_walk_png){.state = SIGNATURE};
}

static bool is_kept(const uint8_t type[4])
{
    for (size_t i = 0; i < sizeof kept_types / sizeof *kept_types; i++) {
        if (memcmp(type, kept_types[i], 4) == 0)
            return true;
    }
    return false;
}

static bool is_type(const uint8_t type[4])
{
    for (int i = 0; i < 4; i++) {
        uint8_t lower = type[i] | 0x20;
        if (lower < 'a' || lower > 'z')
            return false;
    }
    return true;
}

/* The head of a chunk is complete; its type begins at `type_at`. */
static kv_err take_head(kv_walk *w, kv_cow *c, ptrdiff_t type_at)
{
    kv_walk_png *p = &w->png;
    const uint8_t *type = p->field + 4;
    p->left = get32(p->field);
    if (!is_type(type) || p->left > INT32_MAX)
        return kv_walk_bad(w, "damaged PNG chunk");
    bool ihdr = memcmp(type, "IHDR", 4) == 0;
    if (ihdr == p->ihdr || (ihdr && p->left != 13))
        return kv_walk_bad(w, "PNG does not begin with IHDR");
    p->rewritten = false;
    if (ihdr) {
        p->ihdr = true;
        p->kind = IHDR;
    } else if (memcmp(type, "eXIf", 4) == 0 && !p->exif_seen && p->left >= KV_EXIF_MIN) {
        p->kind = EXIF;
        p->rewritten = p->exif_seen = true;
        kv_exif_begin(&w->exif, p->left);
    } else if (memcmp(type, "IEND", 4) == 0 && p->left != 0) {
        return kv_walk_bad(w, "PNG end with data");
    } else if (is_kept(type)) {
        p->kind = KEEP;
        p->idat = p->idat || memcmp(type, "IDAT", 4) == 0;
    } else if (type[0] & 0x20) {
        p->kind = ZERO;
        p->rewritten = true;
        kv_cow_put(c, type_at, "zeRo", 4);
    } else {
        return kv_walk_bad(w, "unknown critical PNG chunk");
    }
    p->crc = crc_add(UINT32_MAX, p->kind == ZERO ? (const uint8_t *)"zeRo" : type, 4);
    p->state = p->left ? BODY : CRC;
    p->pos = 0;
    return KV_OK;
}

static kv_err take_ihdr(kv_walk *w, const uint8_t *in, size_t n)
{
    kv_walk_png *p = &w->png;
    for (size_t i = 0; i < n && p->pos < 8; i++) {
        p->field[p->pos++] = in[i];
        if (p->pos == 8) {
            w->width = get32(p->field);
            w->height = get32(p->field + 4);
            if (w->width - 1 >= INT32_MAX || w->height - 1 >= INT32_MAX)
                return kv_walk_bad(w, "PNG without dimensions");
        }
    }
    return KV_OK;
}

/* The bytes as they stand now, behind the change. */
static const uint8_t *now_at(const kv_cow *c, size_t at)
{
    return c->copy ? c->copy + c->held + at : c->in + at;
}

static size_t take_body(kv_walk *w, kv_cow *c, size_t at, kv_err *ret_err)
{
    kv_walk_png *p = &w->png;
    size_t n = p->left < c->len - at ? p->left : c->len - at;
    if (p->kind == ZERO)
        kv_cow_zero(c, (ptrdiff_t)at, n);
    else if (p->kind == EXIF)
        kv_exif_run(&w->exif, c, (ptrdiff_t)at, n);
    else if (p->kind == IHDR)
        *ret_err = take_ihdr(w, c->in + at, n);
    if (p->rewritten && w->blank && !c->failed)
        p->crc = crc_add(p->crc, now_at(c, at), n);
    p->left -= (uint32_t)n;
    if (p->left == 0) {
        p->state = CRC;
        p->pos = 0;
        if (p->kind == EXIF && p->idat)
            w->exif.orientation = 1; /* behind the pixels it is kept, and nobody turns by it */
    }
    return n;
}

static void take_crc(kv_walk *w, kv_cow *c, size_t at)
{
    kv_walk_png *p = &w->png;
    if (p->rewritten) {
        uint8_t byte = (uint8_t)(~p->crc >> (24 - 8 * p->pos));
        kv_cow_put(c, (ptrdiff_t)at, &byte, 1);
    }
    if (++p->pos == 4) {
        p->state = memcmp(p->field + 4, "IEND", 4) == 0 && p->kind == KEEP ? DONE : HEAD;
        p->pos = 0;
    }
}

static kv_err take_byte(kv_walk *w, kv_cow *c, size_t at)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    kv_walk_png *p = &w->png;
    switch (p->state) {
    case SIGNATURE:
        if (c->in[at] != signature[p->pos])
            return kv_walk_bad(w, "no PNG signature");
        if (++p->pos == sizeof signature) {
            p->state = HEAD;
            p->pos = 0;
        }
        return KV_OK;
    case HEAD:
        p->field[p->pos++] = c->in[at];
        return p->pos == HEAD_LEN ? take_head(w, c, (ptrdiff_t)at - 3) : KV_OK;
    default:
        take_crc(w, c, at);
        return KV_OK;
    }
}

kv_err kv_png_push(kv_walk *w, kv_cow *c)
{
    kv_walk_png *p = &w->png;
    kv_err err = KV_OK;
    size_t at = 0;
    while (at < c->len && err == KV_OK) {
        if (p->state == DONE) {
            kv_cow_cut(c, (ptrdiff_t)at);
            return KV_OK;
        }
        if (p->state == BODY) {
            at += take_body(w, c, at, &err);
        } else {
            err = take_byte(w, c, at);
            at++;
        }
    }
    if (err == KV_OK && w->blank && p->state == HEAD && p->pos > 4) {
        w->held_len = (uint8_t)(p->pos - 4);
        kv_cow_hold(c, w->held_len, w->held);
    }
    return err;
}

kv_err kv_png_end(kv_walk *w)
{
    return w->png.idat ? KV_OK : kv_walk_bad(w, "PNG ends before its picture");
}
