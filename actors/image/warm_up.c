#include <dlfcn.h>
#include <stdio.h>
#include <vips/vips.h>

#include "actors/image/pipeline.h"

enum { SIDE = 64 };

/* An operation's type with all it needs, without running it: savers would stream through worker
 * threads. */
static void touch_class(const char *nickname)
{
    GType type = vips_type_find("VipsOperation", nickname);
    if (type)
        g_type_class_ref(type);
}

/* Reads one pixel in this very thread: sinks like vips_image_copy_memory would start workers, which
 * a fork loses. */
static void touch_pixels(VipsImage *image)
{
    VipsRegion *region = image ? vips_region_new(image) : NULL;
    if (region)
        (void)vips_region_prepare(region, &(VipsRect){0, 0, 1, 1});
    g_clear_object(&region);
}

void kv_image_warm_up(void)
{
    static const char *const classes[] = {"jpegload_source",
                                          "pngload_source",
                                          "webpload_source",
                                          "gifload_source",
                                          "heifload_source",
                                          "webpsave_buffer",
                                          "heifsave_buffer",
                                          "icc_transform",
                                          "colourspace",
                                          "resize",
                                          "reducev",
                                          "reduceh",
                                          "rot",
                                          "flip",
                                          "extract_band",
                                          "bandjoin_const",
                                          "bandjoin",
                                          "crop",
                                          "embed",
                                          "msb",
                                          "premultiply",
                                          "unpremultiply",
                                          "cast",
                                          "min"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        touch_class(classes[i]);
    static uint8_t grey[SIDE * SIDE * 3];
    VipsImage *image =
        vips_image_new_from_memory(grey, sizeof grey, SIDE, SIDE, 3, VIPS_FORMAT_UCHAR);
    VipsImage *small = NULL;
    if (!image)
        return;
    image->Type = VIPS_INTERPRETATION_sRGB;
    if (!vips_resize(image, &small, 0.5, NULL))
        touch_pixels(small);
    g_clear_object(&small);
    g_object_unref(image);
    vips_error_clear();
}

/* libvips has them loaded, some through its modules, so they are not linked. */
static void *symbol(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    return handle ? dlsym(handle, name) : NULL;
}

const char *kv_image_missing(void)
{
    enum { HEIF_AV1 = 4 }; /* heif_compression_AV1 */
    int (*encodes)(int) = (int (*)(int))symbol("libheif.so.1", "heif_have_encoder_for_format");
    if (!vips_type_find("VipsOperation", "webpsave_buffer"))
        return "libvips cannot write WebP";
    if (!vips_type_find("VipsOperation", "heifsave_buffer"))
        return "libvips cannot write AVIF";
    if (!encodes || !encodes(HEIF_AV1))
        return "libheif has no encoder for AVIF; Debian 13 has it in libheif-plugin-aomenc";
    return NULL;
}

void kv_image_versions(char out[KV_IMAGE_VERSIONS])
{
    int (*webp)(void) = (int (*)(void))symbol("libwebp.so.7", "WebPGetEncoderVersion");
    const char *(*heif)(void) = (const char *(*)(void))symbol("libheif.so.1", "heif_get_version");
    const char *(*aom)(void) =
        (const char *(*)(void))symbol("libaom.so.3", "aom_codec_version_str");
    snprintf(out, KV_IMAGE_VERSIONS, "vips %s webp %x heif %s aom %s", vips_version_string(),
             webp ? (unsigned)webp() : 0, heif ? heif() : "?", aom ? aom() : "?");
}
