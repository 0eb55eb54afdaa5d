#include "actors/image/pipeline.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actors/image/decode.h"
#include "actors/image/reduce.h"
#include "actors/image/thumbhash.h"
#include "actors/image/webp_riff.h"

typedef struct run {
    const kv_image_settings *settings;
    int source, output, report;
    uint64_t written; /* bytes in the output file */
} run;

static void tell(const run *r, const kv_image_report *report)
{
    /* A dead actor is noticed by the zygote; there is nobody else to tell. */
    ssize_t n = write(r->report, report, sizeof *report);
    (void)n;
}

bool kv_image_no_thread(const char *text)
{
    size_t stack;
    pthread_attr_t attr;
    if (!strstr(text, "creating thread") || pthread_getattr_default_np(&attr))
        return false;
    (void)pthread_attr_getstacksize(&attr, &stack);
    (void)pthread_attr_destroy(&attr);
    void *at =
        mmap(NULL, stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (at == MAP_FAILED)
        return false;
    munmap(at, stack);
    return true;
}

/* To a decoder what cannot be read is cut. */
static bool readable(int source)
{
    char piece[16384];
    off_t at = 0;
    ssize_t n;
    while ((n = pread(source, piece, sizeof piece, at)) > 0 || (n < 0 && errno == EINTR))
        at += n > 0 ? n : 0;
    return n == 0;
}

static int fail(const run *r, kv_err err, const char *stage)
{
    const char *text = vips_error_buffer();
    kv_image_report report = {.what = KV_IMAGE_FAILED, .error = err};
    if (kv_image_no_thread(text))
        report.error = KV_E_NO_MEMORY;
    else if (err == KV_E_BAD_IMAGE && !readable(r->source))
        report.error = KV_E_IO;
    else if (err != KV_E_IMAGE_TOO_BIG &&
             (strcasestr(text, "memory") || strcasestr(text, "malloc")))
        report.error = KV_E_IMAGE_LIMIT;
    if (*text == '\0') /* libpng's own errors do not get here */
        text = "the data is damaged or cut";
    g_snprintf(report.detail, sizeof report.detail, "%s: %.*s", stage, (int)strcspn(text, "\n"),
               text);
    tell(r, &report);
    return 1;
}

static bool write_all(int fd, const uint8_t *from, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, from, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        len -= (size_t)n;
    }
    return true;
}

/* image: upright, in memory, without metadata. */
static int encode_bytes(const run *r, VipsImage *image, kv_image_format format, void **ret,
                        size_t *ret_len)
{
    const kv_image_settings *s = r->settings;
    if (format == KV_IMAGE_AVIF)
        return vips_heifsave_buffer(image, ret, ret_len, "compression",
                                    VIPS_FOREIGN_HEIF_COMPRESSION_AV1, "Q", (int)s->avif_quality,
                                    "effort", (int)s->avif_effort, "bitdepth", 8, "subsample_mode",
                                    VIPS_FOREIGN_SUBSAMPLE_ON, "strip", TRUE, NULL);
    if (vips_webpsave_buffer(image, ret, ret_len, "Q", (int)s->webp_quality, "effort",
                             (int)s->webp_effort, "strip", TRUE, NULL))
        return -1;
    /* libvips 8.14 writes an EXIF chunk in spite of strip. */
    *ret_len = kv_webp_strip(*ret, *ret_len);
    if (*ret_len > 0)
        return 0;
    g_free(*ret);
    *ret = NULL;
    vips_error("webp", "the encoder wrote no valid file");
    return -1;
}

static bool encodable(const VipsImage *image, kv_image_format format)
{
    int side = format == KV_IMAGE_WEBP ? KV_IMAGE_WEBP_SIDE : KV_IMAGE_AVIF_SIDE;
    return image->Xsize <= side && image->Ysize <= side;
}

static int encode(run *r, VipsImage *image, kv_image_format format, bool full)
{
    void *bytes = NULL;
    size_t len = 0;
    if (!encodable(image, format))
        return 0; /* the format cannot hold it: this variant does not exist */
    if (encode_bytes(r, image, format, &bytes, &len))
        return -1;
    kv_image_report report = {
        .what = KV_IMAGE_VARIANT,
        .width = (uint32_t)image->Xsize,
        .height = (uint32_t)image->Ysize,
        .format = format,
        .full = full,
        .offset = r->written,
        .size = len,
    };
    bool ok = write_all(r->output, bytes, len);
    g_free(bytes);
    if (!ok) {
        vips_error_system(errno, "output", "cannot write");
        return -1;
    }
    r->written += len;
    tell(r, &report);
    return 0;
}

/* All formats of one width; a width that the picture already has is encoded as it is (WebP has that
 * as its full size). */
static int make_width(run *r, kv_pyramid *p, uint32_t width)
{
    bool full = width == p->picture->width;
    if (width > p->picture->width)
        return 0;
    VipsImage *image = kv_pyramid_width(p, width);
    if (!image)
        return -1;
    int failed = full ? 0 : encode(r, image, KV_IMAGE_WEBP, false);
    if (!failed)
        failed = encode(r, image, KV_IMAGE_AVIF, false);
    g_object_unref(image);
    return failed;
}

static int make_full(run *r, kv_picture *p)
{
    VipsImage *image = p->pixels;
    p->pixels = NULL;
    int failed = kv_image_turn(&image, p->orientation) ||
                 (p->orientation != 1 && kv_image_to_memory(&image)) ||
                 encode(r, image, KV_IMAGE_WEBP, true);
    g_object_unref(image);
    return failed;
}

/* A strip of 1 x 3000 is 1 x 100 here: at least one pixel, whatever the ratio. */
static uint32_t side_of(uint32_t side, uint32_t longer)
{
    uint32_t n = (uint32_t)((uint64_t)side * KV_THUMBHASH_SIDE / longer);
    return n > 0 ? n : 1;
}

static int make_thumbhash(const run *r, kv_pyramid *p)
{
    uint32_t width = p->picture->width, height = p->picture->height;
    uint32_t longer = width > height ? width : height;
    if (longer > KV_THUMBHASH_SIDE) {
        width = side_of(width, longer);
        height = side_of(height, longer);
    }
    VipsImage *small = kv_pyramid_sides(p, width, height), *out = NULL;
    if (!small)
        return -1;
    if (small->Bands == 3) {
        if (vips_addalpha(small, &out, NULL)) {
            g_object_unref(small);
            return -1;
        }
        g_object_unref(small);
        small = out;
    }
    size_t len = 0;
    uint8_t *rgba = vips_image_write_to_memory(small, &len);
    uint32_t w = (uint32_t)small->Xsize, h = (uint32_t)small->Ysize;
    g_object_unref(small);
    if (!rgba || len != (size_t)w * h * 4) {
        g_free(rgba);
        return -1;
    }
    kv_image_report report = {.what = KV_IMAGE_THUMB};
    report.thumb_len = (uint32_t)kv_thumbhash(w, h, rgba, report.thumb);
    g_free(rgba);
    tell(r, &report);
    return 0;
}

int kv_image_pipeline(const kv_image_order *order, int source, int output, int report)
{
    run r = {.settings = &order->settings, .source = source, .output = output, .report = report};
    VipsImage *in = NULL;
    kv_picture p;
    kv_err err = kv_image_open(order->input, source, &in);
    if (err != KV_OK)
        return fail(&r, err, "header");
    int width = in->Xsize, height = in->Ysize;
    err = kv_image_decode(in, r.settings, &p);
    if (err != KV_OK) {
        if (err != KV_E_BAD_IMAGE)
            vips_error("picture", "%d x %d", width, height);
        return fail(&r, err, "decode");
    }
    tell(&r, &(kv_image_report){.what = KV_IMAGE_DECODED, .width = p.width, .height = p.height});
    /* Good pixels are in memory now: what fails from here on has too little of it, or meets a bound
     * of the format. Not all encoders say which. */
    kv_pyramid pyramid;
    kv_pyramid_init(&pyramid, &p);
    for (uint32_t i = 0; i < r.settings->width_count; i++) {
        if (make_width(&r, &pyramid, r.settings->widths[i]))
            return fail(&r, KV_E_IMAGE_LIMIT, "encode");
    }
    if (make_thumbhash(&r, &pyramid))
        return fail(&r, KV_E_IMAGE_CRASH, "thumbhash");
    kv_pyramid_release(&pyramid);
    if (make_full(&r, &p))
        return fail(&r, KV_E_IMAGE_LIMIT, "encode");
    tell(&r, &(kv_image_report){.what = KV_IMAGE_DONE});
    return 0;
}
