/* Sizes of one decoded picture. Inside the child only.
 *
 * Every size comes from the full picture: halved by plain averaging as often as leaves a factor of
 * 2 or more (what libvips does inside, but the halves are shared by all sizes), then reduced once
 * with Lanczos3. */
#ifndef KV_IMAGE_REDUCE_H
#define KV_IMAGE_REDUCE_H

#include "actors/image/decode.h"

#define KV_IMAGE_LEVELS 10 /* a 16383 px wide WebP is halved nine times for a width of 16 */

typedef struct kv_pyramid {
    const kv_picture *picture;
    VipsImage *level[KV_IMAGE_LEVELS]; /* [0] is a reference to the picture, each next one half of
                                          it; NULL: not made yet */
} kv_pyramid;

void kv_pyramid_init(kv_pyramid *p, const kv_picture *picture);
void kv_pyramid_release(kv_pyramid *p);
/* An upright picture in memory of this width (px, turned, at most the picture's) without metadata;
 * the height by the ratio, at least 1. NULL: libvips error. */
VipsImage *kv_pyramid_width(kv_pyramid *p, uint32_t width);
/* The same with both sides given, each at least 1 and at most the picture's. */
VipsImage *kv_pyramid_sides(kv_pyramid *p, uint32_t width, uint32_t height);

#endif
