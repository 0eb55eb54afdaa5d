/* What image actor, zygote and image child say to each other over SOCK_SEQPACKET pairs: fixed
 * structs of one build of one program, a packet each.
 *
 * actor → zygote: kv_image_order (RUN carries three descriptors: source, output, report).
 * zygote → actor: kv_image_event. child → actor (report pair): kv_image_report. The child is not
 * trusted: every number in a report is checked by the actor. */
#ifndef KV_IMAGE_WIRE_H
#define KV_IMAGE_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#define KV_IMAGE_WIDTHS_MAX  16
#define KV_IMAGE_OUTPUTS_MAX (2 * KV_IMAGE_WIDTHS_MAX + 1)
#define KV_IMAGE_CONTROL_FD  3            /* of the zygote */
#define KV_IMAGE_OUTPUT_MAX  (256u << 20) /* bytes of all variants of one picture */
#define KV_IMAGE_WEBP_SIDE   16383        /* px: the format's limit */
#define KV_IMAGE_AVIF_SIDE   16384        /* px: libvips' limit */
#define KV_IMAGE_THUMB_MAX   32           /* bytes of a thumbhash (25 in fact) */
#define KV_IMAGE_VERSIONS    128          /* bytes of the versions text with its NUL */
#define KV_IMAGE_DETAIL      256          /* bytes of a detail text with its NUL */

typedef enum kv_image_format { KV_IMAGE_WEBP, KV_IMAGE_AVIF, KV_IMAGE_FORMATS } kv_image_format;

/* Which decoder: by the type that libmagic saw at upload, never by what libvips would guess. */
typedef enum kv_image_input {
    KV_IMAGE_IN_JPEG,
    KV_IMAGE_IN_PNG,
    KV_IMAGE_IN_WEBP,
    KV_IMAGE_IN_GIF,
    KV_IMAGE_IN_HEIF, /* HEIC and AVIF */
    KV_IMAGE_INPUTS
} kv_image_input;

typedef struct kv_image_settings {
    uint32_t widths[KV_IMAGE_WIDTHS_MAX]; /* px, falling, distinct */
    uint32_t width_count;
    uint32_t webp_quality, webp_effort, avif_quality, avif_effort;
    uint32_t timeout_s; /* of CPU; twice that by the clock */
    uint64_t max_pixels;
    uint64_t memory_bytes;
} kv_image_settings;

enum { KV_IMAGE_RUN = 1, KV_IMAGE_KILL = 2 };
typedef struct kv_image_order {
    uint32_t what;
    uint32_t input; /* kv_image_input */
    uint64_t id;    /* the actor's number of this run */
    kv_image_settings settings;
} kv_image_order;

enum { KV_IMAGE_HELLO = 1, KV_IMAGE_EXITED = 2 };
typedef struct kv_image_event {
    uint32_t what;
    int32_t status; /* EXITED: as of waitpid(2); -1: no child could be made */
    uint64_t id;
    bool timed_out;                   /* killed by the zygote after twice settings.timeout_s */
    uint64_t cpu_us;                  /* user and system */
    uint64_t peak_kib;                /* resident, pages shared with the zygote included */
    char versions[KV_IMAGE_VERSIONS]; /* HELLO: of libvips and the encoders */
} kv_image_event;

enum { KV_IMAGE_DECODED = 1, KV_IMAGE_VARIANT, KV_IMAGE_THUMB, KV_IMAGE_DONE, KV_IMAGE_FAILED };
typedef struct kv_image_report {
    uint32_t what;
    uint32_t width, height; /* DECODED: of the turned picture; VARIANT: its own */
    uint32_t format;        /* VARIANT: kv_image_format */
    uint32_t full;          /* VARIANT: 1: not reduced */
    uint32_t error;         /* FAILED: kv_err */
    uint64_t offset, size;  /* VARIANT: bytes in the output file */
    uint32_t thumb_len;
    uint8_t thumb[KV_IMAGE_THUMB_MAX];
    char detail[KV_IMAGE_DETAIL]; /* FAILED */
} kv_image_report;

#endif
