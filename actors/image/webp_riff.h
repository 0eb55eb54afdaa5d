/* Takes metadata chunks (EXIF, XMP, ICCP and unknown ones) out of a WebP file. */
#ifndef KV_IMAGE_WEBP_RIFF_H
#define KV_IMAGE_WEBP_RIFF_H

#include <stddef.h>
#include <stdint.h>

/* In place. Returns the new length, or 0 when the bytes are no well-formed still WebP (they are
 * then undefined). An extended header that says nothing any more goes too: what is left is a plain
 * VP8 or VP8L file. Pure; any thread. */
size_t kv_webp_strip(uint8_t *data, size_t len);

#endif
