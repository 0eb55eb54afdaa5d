#include "actors/scanner/exif.h"

#include <string.h>

#define HEADER          8
#define ENTRY           12
#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT      3

static uint32_t get16(const kv_exif *e, const uint8_t *p)
{
    return e->big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get32(const kv_exif *e, const uint8_t *p)
{
    return e->big ? get16(e, p) << 16 | get16(e, p + 2) : get16(e, p + 2) << 16 | get16(e, p);
}

void kv_exif_begin(kv_exif *e, uint32_t len)
{
    *e = (kv_exif){.len = len, .orientation = 1, .lost = len < KV_EXIF_MIN};
    if (len >= HEADER + 2 + ENTRY + 4)
        e->out_ifd =
            (len - (2 + ENTRY + 4)) & ~1u; /* even, with the "no next directory" behind it */
    else if (len >= KV_EXIF_MIN)
        e->out_ifd = len - (2 + ENTRY);
}

static void read_header(kv_exif *e)
{
    static const uint8_t little[4] = {'I', 'I', 42, 0}, big[4] = {'M', 'M', 0, 42};
    e->big = e->field[0] == 'M';
    if (memcmp(e->field, e->big ? big : little, 4) != 0)
        e->lost = true;
    e->ifd = get32(e, e->field + 4);
    if (e->ifd < HEADER || e->ifd >= e->len)
        e->lost = true;
}

static void read_entry(kv_exif *e)
{
    if (get16(e, e->field) == TAG_ORIENTATION && get16(e, e->field + 2) == TYPE_SHORT) {
        uint32_t v = get16(e, e->field + 8);
        if (v >= 1 && v <= 8)
            e->orientation = (uint8_t)v;
        e->lost = true; /* found: nothing more is wanted */
    } else if (--e->entries_left == 0) {
        e->lost = true;
    }
}

/* Sees one byte of the source. The value of an orientation counts as soon as its two bytes are
 * there: ours may be the next one to be written. */
static void see(kv_exif *e, uint8_t byte)
{
    if (e->lost)
        return;
    if (e->pos < HEADER) {
        e->field[e->pos] = byte;
        if (e->pos == 0)
            e->big = byte == 'M';
        if (e->pos == HEADER - 1)
            read_header(e);
        return;
    }
    if (e->pos < e->ifd)
        return;
    e->field[e->field_len++] = byte;
    if (e->pos < e->ifd + 2) {
        if (e->field_len == 2) {
            e->entries_left = get16(e, e->field);
            e->lost = e->entries_left == 0;
            e->field_len = 0;
        }
        return;
    }
    bool orientation = e->field_len >= 2 && get16(e, e->field) == TAG_ORIENTATION;
    if (e->field_len == (orientation ? 10 : ENTRY)) {
        read_entry(e);
        e->field_len = 0;
        if (orientation)
            e->lost = true; /* one that is not a SHORT is no orientation */
    } else if (orientation && e->field_len == 9 && !e->big &&
               get16(e, e->field + 2) == TYPE_SHORT && byte >= 1 && byte <= 8) {
        e->orientation = byte; /* low byte first */
    }
}

/* The byte that stands at pos in our block. */
static uint8_t ours(const kv_exif *e)
{
    if (e->out_ifd == 0)
        return 0;
    uint8_t p[2 + ENTRY] = {0};
    uint32_t at;
    if (e->pos < HEADER) {
        p[0] = p[1] = e->big ? 'M' : 'I';
        p[e->big ? 3 : 2] = 42;
        for (int i = 0; i < 4; i++)
            p[e->big ? 7 - i : 4 + i] = (uint8_t)(e->out_ifd >> (8 * i));
        at = e->pos;
    } else if (e->pos >= e->out_ifd && e->pos - e->out_ifd < sizeof p) {
        int low = e->big ? 1 : 0; /* where the low byte of a SHORT stands */
        p[low] = 1;               /* one entry: */
        p[2 + !low] = TAG_ORIENTATION >> 8;
        p[2 + low] = TAG_ORIENTATION & 255;
        p[4 + low] = TYPE_SHORT;
        p[e->big ? 9 : 6] = 1; /* one value */
        p[10 + low] = e->orientation;
        at = e->pos - e->out_ifd;
    } else {
        return 0;
    }
    return p[at];
}

void kv_exif_run(kv_exif *e, kv_cow *c, ptrdiff_t at, size_t len)
{
    while (len > 0) {
        size_t n = 1;
        uint32_t quiet_end = e->out_ifd ? e->out_ifd : e->len; /* up to here our bytes are zero */
        uint32_t seen_end = e->lost ? e->len : e->ifd;         /* and these are not read */
        if (e->pos >= HEADER && e->pos < quiet_end && e->pos < seen_end) {
            n = (quiet_end < seen_end ? quiet_end : seen_end) - e->pos;
            n = n < len ? n : len;
            kv_cow_zero(c, at, n);
        } else {
            see(e, c->in[at]); /* never one of the bytes held back */
            uint8_t byte = ours(e);
            kv_cow_put(c, at, &byte, 1);
        }
        e->pos += (uint32_t)n;
        at += (ptrdiff_t)n;
        len -= n;
    }
}
