/* What a file is, by its first bytes: libmagic decides, with care where it is vague (ISO media
 * brands, text). For the usual JPEG and PNG its answer is known without asking (quick.c). */
#ifndef KV_ACTORS_SCANNER_TYPES_H
#define KV_ACTORS_SCANNER_TYPES_H

#include <stddef.h>

#include "proto/base/config.h"
#include "proto/base/error.h"
#include "proto/base/media_name.h"

/* Bytes of the head that are judged: always the first min(KV_TYPE_HEAD, size), so the answer does
 * not depend on how the file was cut. libmagic 5.44 a call, 2.5 GHz core: JPEG 25 µs, PNG 27, GIF
 * 55, PDF 65, ZIP 150, MP4 120-190, HEIC/AVIF 190, WebP 180-260 (the count of its rules, not of our
 * bytes), text 300-3000. With 64 KiB: JPEG 85, WebP 360, text 4900. */
#define KV_TYPE_HEAD 4096

typedef struct kv_types kv_types; /* one libmagic cookie; one thread */

kv_err kv_types_new(const kv_config *cfg, kv_types **ret); /* logs why not */
void kv_types_destroy(kv_types **t);

/* What the client said about its file. */
typedef struct kv_claim {
    const kv_mime_info *by_ext, *declared; /* NULL: unknown, or nothing said */
    bool has_ext, has_declared;
} kv_claim;
void kv_claim_read(kv_claim *c, kv_slice filename, kv_slice declared);

/* The MIME type of a head as libmagic says it, for common heads of JPEG and PNG: in nanoseconds.
 * NULL: ask libmagic. */
const char *kv_types_quick(const void *head, size_t len);
/* What libmagic says; valid until the next call. NULL: it failed, which is logged. */
const char *kv_types_ask(kv_types *t, const void *head, size_t len);

/* TYPE_REFUSED, TYPE_NOT_YET, TYPE_MISMATCH; `seen` (128 bytes) gets what libmagic saw, also then.
 */
kv_err kv_types_judge(kv_types *t, const kv_claim *claim, const void *head, size_t len,
                      const kv_mime_info **ret, char seen[128]);

#endif
