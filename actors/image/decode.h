/* Decoding: bytes to one plain sRGB picture in memory. Inside the child only. */
#ifndef KV_IMAGE_DECODE_H
#define KV_IMAGE_DECODE_H

#include <vips/vips.h>

#include "actors/image/wire.h"
#include "proto/base/error.h"

typedef struct kv_picture {
    VipsImage *pixels; /* sRGB, 8 bits, 3 or 4 bands, in memory, not yet turned, no metadata but the
                          orientation */
    uint32_t width, height; /* px, turned */
    int orientation;        /* EXIF 1..8 */
} kv_picture;

/* Opens the header only; nothing is decoded. BAD_IMAGE. */
kv_err kv_image_open(kv_image_input input, int fd, VipsImage **ret);
/* IMAGE_TOO_BIG, IMAGE_LIMIT (would not fit the memory), BAD_IMAGE (also when the file is cut
 * short). Takes the reference of `in`. */
kv_err kv_image_decode(VipsImage *in, const kv_image_settings *s, kv_picture *ret);
/* A new reference to the picture turned upright: *in is released and replaced. 0 or -1 (libvips
 * error). */
int kv_image_turn(VipsImage **in, int orientation);
/* Replaces *in by a copy in memory. 0 or -1. */
int kv_image_to_memory(VipsImage **in);

#endif
