#include "actors/image/decode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "actors/image/gif_canvas.h"

enum { CUBE = 9 }; /* samples along each axis of the colour cube */

kv_err kv_image_open(kv_image_input input, int fd, VipsImage **ret)
{
    VipsSource *source = vips_source_new_from_descriptor(fd);
    if (!source)
        return KV_E_IO;
    int failed = -1;
    /* Sequential: the file is read once, front to back. Broken or cut files are errors, not grey
     * areas. */
#define HOW "access", VIPS_ACCESS_SEQUENTIAL, "fail_on", VIPS_FAIL_ON_ERROR, NULL
    switch (input) {
    case KV_IMAGE_IN_JPEG:
        failed = vips_jpegload_source(source, ret, HOW);
        break;
    case KV_IMAGE_IN_PNG:
        failed = vips_pngload_source(source, ret, HOW);
        break;
    case KV_IMAGE_IN_WEBP:
        failed = vips_webpload_source(source, ret, HOW);
        break;
    case KV_IMAGE_IN_GIF:
        failed = vips_gifload_source(source, ret, HOW) || kv_gif_canvas(fd, ret);
        break;
    case KV_IMAGE_IN_HEIF:
        failed = vips_heifload_source(source, ret, HOW);
        break;
    case KV_IMAGE_INPUTS:
        break;
    }
#undef HOW
    g_object_unref(source);
    return failed ? KV_E_BAD_IMAGE : KV_OK;
}

static void *collect(VipsImage *image, const char *name, GValue *value, void *to)
{
    (void)image;
    (void)value;
    g_ptr_array_add(to, g_strdup(name));
    return NULL;
}

/* Removes every field that a saver could write out. */
static void forget_metadata(VipsImage *image)
{
    /* All of them, known or not: exif-*, xmp-data, iptc-data, photoshop-data, icc-profile-data,
     * comments, thumbnails, orientation. */
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    vips_image_map(image, collect, names);
    for (guint i = 0; i < names->len; i++)
        vips_image_remove(image, g_ptr_array_index(names, i));
    g_ptr_array_free(names, TRUE);
}

int kv_image_to_memory(VipsImage **in)
{
    VipsImage *copy = vips_image_copy_memory(*in);
    if (!copy)
        return -1;
    g_object_unref(*in);
    *in = copy;
    return 0;
}

/* Replaces *in by the result of a one-in one-out operation that was just called. By address: an
 * argument is read before the call beside it is made. */
static int step(VipsImage **in, int failed, VipsImage *const *out)
{
    if (failed)
        return -1;
    g_object_unref(*in);
    *in = *out;
    return 0;
}

int kv_image_turn(VipsImage **in, int orientation)
{
    static const struct {
        VipsAngle angle;
        bool mirror;
    } turns[9] = {[2] = {VIPS_ANGLE_D0, true},   [3] = {VIPS_ANGLE_D180, false},
                  [4] = {VIPS_ANGLE_D180, true}, [5] = {VIPS_ANGLE_D90, true},
                  [6] = {VIPS_ANGLE_D90, false}, [7] = {VIPS_ANGLE_D270, true},
                  [8] = {VIPS_ANGLE_D270, false}};
    assert(orientation >= 1 && orientation <= 8);
    VipsImage *out = NULL;
    if (turns[orientation].angle != VIPS_ANGLE_D0 &&
        step(in, vips_rot(*in, &out, turns[orientation].angle, NULL), &out))
        return -1;
    if (turns[orientation].mirror)
        return step(in, vips_flip(*in, &out, VIPS_DIRECTION_HORIZONTAL, NULL), &out);
    return 0;
}

/* Whether the embedded profile speaks of the colours that the picture has. libvips would take a
 * grey profile for RGB, red for the grey and the rest for transparency; browsers ignore it. */
static bool profile_fits(const VipsImage *in)
{
    enum { SPACE = 16 }; /* where the header of a profile names its colours */
    const void *profile;
    size_t profile_len;
    const char *space = NULL;
    if (vips_image_get_typeof(in, VIPS_META_ICC_NAME) == 0 ||
        vips_image_get_blob(in, VIPS_META_ICC_NAME, &profile, &profile_len) ||
        profile_len < SPACE + 4)
        return false;
    if (in->Type == VIPS_INTERPRETATION_sRGB || in->Type == VIPS_INTERPRETATION_RGB16)
        space = "RGB ";
    else if (in->Type == VIPS_INTERPRETATION_B_W || in->Type == VIPS_INTERPRETATION_GREY16)
        space = "GRAY";
    else if (in->Type == VIPS_INTERPRETATION_CMYK)
        space = "CMYK";
    return space && memcmp((const char *)profile + SPACE, space, 4) == 0;
}

/* Whether the embedded profile leaves a cube of colours where it is, as the many copies of sRGB do:
 * then the conversion of millions of pixels is saved. */
static bool profile_is_srgb(VipsImage *in)
{
    if (in->Bands < 3 || in->BandFmt != VIPS_FORMAT_UCHAR || in->Type != VIPS_INTERPRETATION_sRGB)
        return false;
    const void *profile;
    size_t profile_len;
    if (vips_image_get_blob(in, VIPS_META_ICC_NAME, &profile, &profile_len))
        return false;
    uint8_t cube[CUBE * CUBE * CUBE * 3], *at = cube;
    for (int i = 0; i < CUBE * CUBE * CUBE; i++) {
        *at++ = (uint8_t)(i % CUBE * 255 / (CUBE - 1));
        *at++ = (uint8_t)(i / CUBE % CUBE * 255 / (CUBE - 1));
        *at++ = (uint8_t)(i / CUBE / CUBE * 255 / (CUBE - 1));
    }
    VipsImage *from =
        vips_image_new_from_memory(cube, sizeof cube, CUBE * CUBE * CUBE, 1, 3, VIPS_FORMAT_UCHAR);
    VipsImage *to = NULL;
    size_t len = 0;
    uint8_t *moved = NULL;
    bool same = false;
    from->Type = VIPS_INTERPRETATION_sRGB;
    vips_image_set_blob_copy(from, VIPS_META_ICC_NAME, profile, profile_len);
    if (vips_icc_transform(from, &to, "srgb", "embedded", TRUE, "intent", VIPS_INTENT_PERCEPTUAL,
                           NULL))
        goto cleanup;
    moved = vips_image_write_to_memory(to, &len);
    same = moved && len == sizeof cube;
    for (size_t i = 0; same && i < len; i++)
        same = abs(moved[i] - cube[i]) <= 1;
cleanup:
    vips_error_clear();
    g_free(moved);
    g_clear_object(&to);
    g_object_unref(from);
    return same;
}

/* Lazily: by the embedded profile to sRGB of 8 bits; 0 or -1, then *ret is not set. Alpha of 16
 * bits goes its own way: libvips 8.14 would leave it as it is, cut off at 255. */
static int by_profile(VipsImage *in, VipsImage **ret)
{
    VipsImage *colour = NULL, *alpha = NULL, *high = NULL, *plain = NULL;
    bool apart = in->BandFmt == VIPS_FORMAT_USHORT && vips_image_hasalpha(in);
    int n = in->Bands - (apart ? 1 : 0);
    int failed =
        vips_extract_band(in, &colour, 0, "n", n, NULL) ||
        vips_icc_transform(colour, apart ? &plain : ret, "srgb", "embedded", TRUE, "intent",
                           VIPS_INTENT_PERCEPTUAL, "depth", 8, NULL) ||
        (apart && (vips_extract_band(in, &alpha, n, NULL) || vips_msb(alpha, &high, NULL) ||
                   vips_bandjoin2(plain, high, ret, NULL)));
    g_clear_object(&colour);
    g_clear_object(&alpha);
    g_clear_object(&high);
    g_clear_object(&plain);
    return failed ? -1 : 0;
}

/* Lazily: any colour space, depth and number of bands to sRGB of 8 bits with or without alpha. */
static int to_srgb(VipsImage **in)
{
    VipsImage *out = NULL;
    if (profile_fits(*in) && !profile_is_srgb(*in)) {
        /* A damaged or unfitting profile is ignored, as browsers do. */
        if (step(in, by_profile(*in, &out), &out))
            vips_error_clear();
    }
    if ((*in)->Type != VIPS_INTERPRETATION_sRGB &&
        step(in, vips_colourspace(*in, &out, VIPS_INTERPRETATION_sRGB, NULL), &out))
        return -1;
    if ((*in)->BandFmt != VIPS_FORMAT_UCHAR && step(in, vips_cast_uchar(*in, &out, NULL), &out))
        return -1;
    if ((*in)->Bands > 4)
        return step(in, vips_extract_band(*in, &out, 0, "n", 4, NULL), &out);
    return 0;
}

/* An alpha band that hides nothing costs every encoder time. */
static int drop_idle_alpha(VipsImage **in)
{
    if ((*in)->Bands != 4)
        return 0;
    VipsImage *alpha = NULL, *out = NULL;
    double least = 0;
    int failed = vips_extract_band(*in, &alpha, 3, NULL) || vips_min(alpha, &least, NULL);
    g_clear_object(&alpha);
    if (failed)
        return -1;
    if (least < 255)
        return 0;
    if (step(in, vips_extract_band(*in, &out, 0, "n", 3, NULL), &out))
        return -1;
    return kv_image_to_memory(in);
}

kv_err kv_image_decode(VipsImage *in, const kv_image_settings *s, kv_picture *ret)
{
    kv_err err = KV_OK;
    uint64_t pixels = (uint64_t)in->Xsize * (uint64_t)in->Ysize;
    *ret = (kv_picture){.orientation = vips_image_get_orientation(in)};
    bool lies = ret->orientation >= 5;
    ret->width = (uint32_t)(lies ? in->Ysize : in->Xsize);
    ret->height = (uint32_t)(lies ? in->Xsize : in->Ysize);
    if (pixels > s->max_pixels)
        err = KV_E_IMAGE_TOO_BIG;
    else if (pixels * 3 > s->memory_bytes)
        err = KV_E_IMAGE_LIMIT;
    else if (to_srgb(&in) || kv_image_to_memory(&in) || drop_idle_alpha(&in))
        err = KV_E_BAD_IMAGE;
    if (err != KV_OK) {
        g_object_unref(in);
        return err;
    }
    forget_metadata(in);
    ret->pixels = in;
    return KV_OK;
}
