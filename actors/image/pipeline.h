/* What the child does with one picture: decode once, reduce each size from that, encode each size
 * in every format. Runs in the sandbox; tells everything over the report socket. */
#ifndef KV_IMAGE_PIPELINE_H
#define KV_IMAGE_PIPELINE_H

#include "actors/image/wire.h"

/* Reads the picture from `source`, writes variants one behind the other to `output`. Returns the
 * exit status of the child: 0 after DONE, 1 after FAILED. */
int kv_image_pipeline(const kv_image_order *order, int source, int output, int report);

/* Whether an error of a library says that a thread could not be made though there is memory for its
 * stack: the machine has no more. Else it is the child's own limit. */
bool kv_image_no_thread(const char *text);

/* Touches decoders, encoders and colour conversion once without starting a thread, so children need
 * not. */
void kv_image_warm_up(void);

/* Which encoder is not installed, in words; NULL: all are. After the warm-up. */
const char *kv_image_missing(void);

/* "vips 8.14.1 webp 10204 heif 1.15.1 aom 3.6.0": all that decides the bytes of a variant. After
 * the warm-up. */
void kv_image_versions(char out[KV_IMAGE_VERSIONS]);

#endif
