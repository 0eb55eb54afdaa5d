/* Which variants a picture gets, which of them are worth keeping, and what is said of them. Pure;
 * any thread. */
#ifndef KV_IMAGE_VARIANTS_H
#define KV_IMAGE_VARIANTS_H

#include <stdbool.h>
#include <stdint.h>

#include "actors/image/wire.h"
#include "proto/base/buf.h"
#include "proto/base/config.h"
#include "proto/base/error.h"

#define KV_IMAGE_PARAMS 24 /* bytes of a params text with its NUL */

/* From the configuration. CONFIG: IMAGE_WIDTHS holds something that is no width (1..16383 px, at
 * most 16 of them); logged. */
kv_err kv_image_settings_of(const kv_config *cfg, kv_image_settings *ret);
/* false: a type the image actor has no decoder for. */
bool kv_image_input_of(kv_slice mime, kv_image_input *ret);

typedef struct kv_image_variant {
    kv_image_format format;
    uint32_t width, height; /* px */
    bool full;
    bool keep;             /* set by kv_image_choose */
    uint64_t offset, size; /* bytes in the output file */
} kv_image_variant;

/* A variant not smaller than the next larger choice is not kept. In each format the choices run
 * from the original (source_size bytes) over the full size to the smallest width. Returns how many
 * are kept; they are moved to the front, WebP before AVIF, wide before narrow. */
uint32_t kv_image_choose(kv_image_variant *v, uint32_t n, uint64_t source_size);

/* "q80e4-1a2b3c4d": quality, effort, and a digest of all that decides the bytes (format, width,
 * quality, effort, encoder versions). */
void kv_image_params(const kv_image_settings *s, kv_image_format format, uint32_t width, bool full,
                     const char *versions, char out[KV_IMAGE_PARAMS]);
const char *kv_image_ext(kv_image_format format);

/* The result of the job. */
void kv_image_result_json(kv_buf *out, const kv_image_settings *s, const char *versions,
                          uint32_t width, uint32_t height, kv_slice thumbhash,
                          const kv_image_variant *v, uint32_t n);

#endif
