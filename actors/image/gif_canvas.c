#include "actors/image/gif_canvas.h"

#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

enum { HEADER = 13, COLOURS = 0x80, EXTENSION = 0x21, FRAME = 0x2c, FRAME_HEAD = 9 };

typedef struct layout {
    VipsRect canvas, frame; /* px; the canvas holds the frame */
} layout;

static bool get(int fd, off_t at, uint8_t *to, size_t len)
{
    return pread(fd, to, len, at) == (ssize_t)len;
}

static int get16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

/* Behind the blocks of an extension that begin at `at`; -1: the file ends. */
static off_t skip_blocks(int fd, off_t at)
{
    uint8_t len;
    do {
        if (!get(fd, at, &len, 1))
            return -1;
        at += 1 + len;
    } while (len > 0);
    return at;
}

static bool read_layout(int fd, layout *ret)
{
    uint8_t p[HEADER], mark = 0;
    if (!get(fd, 0, p, HEADER))
        return false;
    ret->canvas = (VipsRect){.width = get16(p + 6), .height = get16(p + 8)};
    off_t at = HEADER + (p[10] & COLOURS ? 3 << ((p[10] & 7) + 1) : 0);
    while (at > 0 && get(fd, at, &mark, 1) && mark == EXTENSION)
        at = skip_blocks(fd, at + 2);
    if (at < 0 || mark != FRAME || !get(fd, at + 1, p, FRAME_HEAD))
        return false;
    ret->frame = (VipsRect){get16(p), get16(p + 2), get16(p + 4), get16(p + 6)};
    vips_rect_unionrect(&ret->canvas, &ret->frame, &ret->canvas);
    return true;
}

int kv_gif_canvas(int fd, VipsImage **in)
{
    layout l;
    VipsRect whole = {.width = (*in)->Xsize, .height = (*in)->Ysize}, shown;
    VipsImage *cut = NULL, *alpha = NULL, *out = NULL;
    if (!read_layout(fd, &l))
        return 0; /* the decoder finds out */
    bool opaque = !vips_image_hasalpha(*in);
    if (opaque)
        vips_rect_intersectrect(&whole, &l.frame, &shown);
    else
        shown = whole;
    if (vips_rect_isempty(&shown) ||
        (vips_rect_includesrect(&shown, &l.canvas) && vips_rect_includesrect(&l.canvas, &whole)))
        return 0;
    int failed = vips_crop(*in, &cut, shown.left, shown.top, shown.width, shown.height, NULL) ||
                 (opaque && vips_addalpha(cut, &alpha, NULL)) ||
                 vips_embed(opaque ? alpha : cut, &out, shown.left, shown.top, l.canvas.width,
                            l.canvas.height, NULL);
    g_clear_object(&cut);
    g_clear_object(&alpha);
    if (failed)
        return -1;
    g_object_unref(*in);
    *in = out;
    return 0;
}
