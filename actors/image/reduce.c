#include "actors/image/reduce.h"

#include <math.h>

void kv_pyramid_init(kv_pyramid *p, const kv_picture *picture)
{
    *p = (kv_pyramid){.picture = picture};
    p->level[0] = g_object_ref(picture->pixels);
}

void kv_pyramid_release(kv_pyramid *p)
{
    for (int i = 0; i < KV_IMAGE_LEVELS; i++)
        g_clear_object(&p->level[i]);
}

/* Two rows of RGB to one of half the width. */
static void halve_row(const uint8_t *restrict a, const uint8_t *restrict b, uint8_t *restrict to,
                      int width)
{
    for (int x = 0; x < width; x++, a += 6, b += 6, to += 3) {
        for (int c = 0; c < 3; c++)
            to[c] = (uint8_t)((a[c] + a[c + 3] + b[c] + b[c + 3] + 2) >> 2);
    }
}

/* RGB in memory; an odd last row or column is left out (kv_pyramid_width allows for it). */
static VipsImage *halve(VipsImage *in)
{
    int w = in->Xsize / 2, h = in->Ysize / 2;
    VipsImage *out = vips_image_new_memory();
    vips_image_init_fields(out, w, h, 3, VIPS_FORMAT_UCHAR, VIPS_CODING_NONE,
                           VIPS_INTERPRETATION_sRGB, 1, 1);
    if (vips_image_write_prepare(out)) {
        g_object_unref(out);
        return NULL;
    }
    for (int y = 0; y < h; y++)
        halve_row(VIPS_IMAGE_ADDR(in, 0, 2 * y), VIPS_IMAGE_ADDR(in, 0, 2 * y + 1),
                  VIPS_IMAGE_ADDR(out, 0, y), w);
    return out;
}

/* Colours of transparent pixels must not bleed: scaled by alpha before, back after. */
static int resize_alpha(VipsImage *in, double sx, double sy, VipsImage **ret)
{
    VipsImage *pre = NULL, *small = NULL, *post = NULL;
    int failed = vips_premultiply(in, &pre, NULL) ||
                 vips_resize(pre, &small, sx, "vscale", sy, NULL) ||
                 vips_unpremultiply(small, &post, NULL) || vips_cast_uchar(post, ret, NULL);
    g_clear_object(&pre);
    g_clear_object(&small);
    g_clear_object(&post);
    return failed;
}

/* The level to reduce from and how many halvings it is. NULL: libvips error. */
static VipsImage *level_for(kv_pyramid *p, double scale, int *ret_halvings)
{
    int k = 0;
    while (p->level[0]->Bands == 3 && k + 1 < KV_IMAGE_LEVELS && scale * (4 << k) <= 1 &&
           p->level[k]->Xsize >= 4 && p->level[k]->Ysize >= 4) {
        k++;
        if (!p->level[k] && !(p->level[k] = halve(p->level[k - 1])))
            return NULL;
    }
    *ret_halvings = k;
    return p->level[k];
}

VipsImage *kv_pyramid_width(kv_pyramid *p, uint32_t width)
{
    double height = rint((double)p->picture->height * width / p->picture->width);
    return kv_pyramid_sides(p, width, (uint32_t)fmax(1, height));
}

VipsImage *kv_pyramid_sides(kv_pyramid *p, uint32_t width, uint32_t height)
{
    const kv_picture *picture = p->picture;
    VipsImage *out = NULL, *full = p->level[0], *from;
    bool lies = picture->orientation >= 5;
    double sx = (double)(lies ? height : width) / full->Xsize;
    double sy = (double)(lies ? width : height) / full->Ysize;
    int k;
    if (!(from = level_for(p, fmax(sx, sy), &k)))
        return NULL;
    if (width == picture->width && height == picture->height) {
        out = from;
        g_object_ref(out);
    } else if (full->Bands == 4) {
        if (resize_alpha(from, sx, sy, &out))
            return NULL;
    } else if (vips_resize(from, &out, sx * (1 << k), "vscale", sy * (1 << k), NULL)) {
        return NULL;
    }
    if (kv_image_to_memory(&out) || kv_image_turn(&out, picture->orientation) ||
        (picture->orientation != 1 && kv_image_to_memory(&out))) {
        g_object_unref(out);
        return NULL;
    }
    return out;
}
