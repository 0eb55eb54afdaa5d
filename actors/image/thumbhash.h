/* ThumbHash: a picture's placeholder in at most 25 bytes (the published format of that name). Pure;
 * any thread. */
#ifndef KV_IMAGE_THUMBHASH_H
#define KV_IMAGE_THUMBHASH_H

#include <stddef.h>
#include <stdint.h>

#define KV_THUMBHASH_SIDE 100 /* px: larger pictures are reduced first */
#define KV_THUMBHASH_MAX  25  /* bytes */

/* rgba: w*h pixels, 4 bytes each, not premultiplied; w and h 1..100. Returns the bytes written. */
size_t kv_thumbhash(uint32_t w, uint32_t h, const uint8_t *rgba, uint8_t out[KV_THUMBHASH_MAX]);

#endif
