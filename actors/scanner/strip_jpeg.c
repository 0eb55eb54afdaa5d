/* JPEG: segments are kept, kept in part, or zeroed by their marker and identifier; entropy-coded
 * data is skipped by its markers; what stands behind EOI goes. A zeroed segment keeps marker and
 * length: decoders skip it. */
#include "actors/scanner/walk.h"

#include <string.h>

enum { SOI_FF, SOI, MARK, CODE, LEN_HIGH, LEN_LOW, BODY, SCAN, SCAN_CODE, DONE };
enum { KEEP, ZERO, ID, EXIF, FRAME };

/* Segments that are kept when they begin with an identifier, and how much of them. */
static const struct kv_jpeg_id {
    uint8_t marker, kind, id_len;
    uint16_t keep; /* payload bytes with the identifier; the rest is zeroed */
    const char *id;
} ids[] = {
    {0xe0, KEEP, 5, 14, "JFIF"}, /* without its thumbnail */
    {0xe1, EXIF, 6, 6, "Exif\0"},
    {0xe2, KEEP, 12, UINT16_MAX, "ICC_PROFILE"},
    {0xee, KEEP, 5, 12, "Adobe"}, /* colour transform; its id has no NUL */
};

static const struct kv_jpeg_id *id_of(uint8_t marker)
{
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].marker == marker)
            return &ids[i];
    }
    return NULL;
}

static bool is_frame(uint8_t marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static uint8_t kind_of(const kv_walk_jpeg *j, uint8_t marker)
{
    if (is_frame(marker))
        return j->sof ? KEEP : FRAME;
    if ((marker >= 0xc0 && marker <= 0xcf) || (marker >= 0xda && marker <= 0xdf))
        return KEEP; /* DHT, DAC, SOS, DQT, DNL, DRI, DHP, EXP */
    if (marker == 0xe1 && j->exif_seen)
        return ZERO; /* readers take the first one */
    return id_of(marker) ? ID : ZERO;
}

void kv_jpeg_begin(kv_walk *w)
{
    w->jpeg = (kv_walk_jpeg){.state = SOI_FF};
}

/* The byte behind FF where a segment is due. */
static kv_err take_code(kv_walk *w, uint8_t code)
{
    kv_walk_jpeg *j = &w->jpeg;
    if (code == 0xff)
        return KV_OK; /* fill byte */
    if (code == 0xd9 && !j->sos)
        return kv_walk_bad(w, "JPEG without a scan");
    if (code == 0xd9) {
        j->state = DONE;
    } else if (code >= 0xc0 && (code < 0xd0 || code > 0xd8)) {
        j->marker = code;
        j->state = LEN_HIGH;
    } else if (!j->sos) {
        return kv_walk_bad(w, "unexpected JPEG marker");
    } else {
        j->state = MARK; /* decoders go on to the next marker */
    }
    return KV_OK;
}

static kv_err take_length(kv_walk *w, uint8_t low)
{
    kv_walk_jpeg *j = &w->jpeg;
    unsigned len = (unsigned)j->len << 8 | low;
    if (len < 2 && !j->sos)
        return kv_walk_bad(w, "JPEG segment without length");
    j->pos = 0;
    j->len = (uint16_t)(len < 2 ? 0 : len - 2);
    j->kind = kind_of(j, j->marker);
    j->state = j->len ? BODY : MARK;
    if (j->marker == 0xda) {
        if (!j->sof)
            return kv_walk_bad(w, "JPEG scan before its frame");
        j->sos = true;
        j->state = j->len ? BODY : SCAN;
    }
    return KV_OK;
}

/* One byte of an identifier; what does not match is zeroed from there on. */
static void take_id(kv_walk *w, kv_cow *c, size_t at)
{
    kv_walk_jpeg *j = &w->jpeg;
    const struct kv_jpeg_id *id = id_of(j->marker);
    if (c->in[at] != (uint8_t)id->id[j->pos]) {
        j->kind = ZERO;
        kv_cow_zero(c, (ptrdiff_t)at, 1);
    } else if (j->pos + 1 == id->id_len) {
        j->kind = id->kind;
        if (id->kind == EXIF) {
            j->exif_seen = true;
            kv_exif_begin(&w->exif, (uint32_t)j->len - id->id_len);
        }
    }
}

static kv_err take_frame(kv_walk *w, const uint8_t *p, size_t n)
{
    kv_walk_jpeg *j = &w->jpeg;
    for (size_t i = 0; i < n; i++) {
        unsigned pos = j->pos + (unsigned)i;
        if (pos >= 1 && pos <= 4)
            j->dims[pos - 1] = p[i];
        if (pos == 4) {
            j->sof = true;
            w->height = (uint32_t)j->dims[0] << 8 | j->dims[1];
            w->width = (uint32_t)j->dims[2] << 8 | j->dims[3];
            if (w->width == 0)
                return kv_walk_bad(w, "JPEG without width");
        }
    }
    return KV_OK;
}

/* Takes a run of a segment's payload; returns how long it was. */
static size_t take_body(kv_walk *w, kv_cow *c, size_t at, kv_err *ret_err)
{
    kv_walk_jpeg *j = &w->jpeg;
    size_t n = (size_t)j->len - j->pos;
    n = n < c->len - at ? n : c->len - at;
    const struct kv_jpeg_id *id = id_of(j->marker);
    switch (j->kind) {
    case ID:
        n = 1;
        take_id(w, c, at);
        break;
    case EXIF:
        kv_exif_run(&w->exif, c, (ptrdiff_t)at, n);
        break;
    case FRAME:
        *ret_err = take_frame(w, c->in + at, n);
        break;
    case ZERO:
        kv_cow_zero(c, (ptrdiff_t)at, n);
        break;
    default: /* KEEP, perhaps only the beginning */
        if (id && j->pos + n > id->keep) {
            size_t kept = j->pos < id->keep ? (size_t)id->keep - j->pos : 0;
            kv_cow_zero(c, (ptrdiff_t)(at + kept), n - kept);
        }
    }
    j->pos = (uint16_t)(j->pos + n);
    if (j->pos == j->len) {
        j->state = j->marker == 0xda ? SCAN : MARK;
        if (j->kind == EXIF && j->sos)
            w->exif.orientation = 1; /* behind the first scan nobody turns by it */
    }
    return n;
}

/* The byte behind FF inside a scan. */
static void take_scan_code(kv_walk_jpeg *j, uint8_t code)
{
    if (code == 0xff)
        return;
    if (code == 0xd9) {
        j->state = DONE;
    } else if (code == 0xd8) {
        j->state = MARK;
    } else if (code >= 0xc0 && (code < 0xd0 || code > 0xd7)) {
        j->marker = code;
        j->state = LEN_HIGH;
    } else {
        j->state = SCAN; /* stuffed zero, restart marker, or damage */
    }
}

static kv_err take_byte(kv_walk *w, kv_cow *c, size_t at)
{
    kv_walk_jpeg *j = &w->jpeg;
    uint8_t byte = c->in[at];
    switch (j->state) {
    case SOI_FF:
        j->state = SOI;
        return byte == 0xff ? KV_OK : kv_walk_bad(w, "no JPEG signature");
    case SOI:
        j->state = MARK;
        return byte == 0xd8 ? KV_OK : kv_walk_bad(w, "no JPEG signature");
    case MARK:
        if (byte == 0xff)
            j->state = CODE;
        else if (!j->sos)
            return kv_walk_bad(w, "bytes between JPEG segments");
        else
            kv_cow_zero(c, (ptrdiff_t)at, 1); /* decoders skip to the next marker */
        return KV_OK;
    case CODE:
        return take_code(w, byte);
    case LEN_HIGH:
        j->len = byte;
        j->state = LEN_LOW;
        return KV_OK;
    case LEN_LOW:
        return take_length(w, byte);
    default:
        take_scan_code(j, byte);
        return KV_OK;
    }
}

kv_err kv_jpeg_push(kv_walk *w, kv_cow *c)
{
    kv_walk_jpeg *j = &w->jpeg;
    kv_err err = KV_OK;
    size_t at = 0;
    while (at < c->len && err == KV_OK) {
        if (j->state == DONE) {
            kv_cow_cut(c, (ptrdiff_t)at);
            break;
        }
        if (j->state == BODY) {
            at += take_body(w, c, at, &err);
        } else if (j->state == SCAN) {
            const uint8_t *ff = memchr(c->in + at, 0xff, c->len - at);
            at = ff ? (size_t)(ff - c->in) + 1 : c->len;
            if (ff)
                j->state = SCAN_CODE;
        } else {
            err = take_byte(w, c, at);
            at++;
        }
    }
    return err;
}

kv_err kv_jpeg_end(kv_walk *w)
{
    return w->jpeg.sos ? KV_OK : kv_walk_bad(w, "JPEG ends before its picture");
}
