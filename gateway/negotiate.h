/* Conditional requests, ranges and choice of a variant: pure functions over header text (RFC 9110).
 * Any thread. */
#ifndef KV_GATEWAY_NEGOTIATE_H
#define KV_GATEWAY_NEGOTIATE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/slice.h"

typedef enum kv_range_kind {
    KV_RANGE_NONE, /* none, not "bytes", malformed, or several: answer 200 with everything */
    KV_RANGE_ONE,  /* answer 206 */
    KV_RANGE_BAD   /* well-formed and outside: answer 416 */
} kv_range_kind;
/* `value`: the Range header. On ONE: first and last byte, inclusive, inside `size`. */
kv_range_kind kv_range_parse(kv_slice value, uint64_t size, uint64_t *ret_first,
                             uint64_t *ret_last);

/* HTTP-date (IMF-fixdate) to Unix seconds; false: not one. */
bool kv_http_date_parse(kv_slice text, int64_t *ret_seconds);

/* Whether If-None-Match names the strong `etag` (with its quotes); weak comparison, "*" matches. */
bool kv_etag_listed(kv_slice if_none_match, kv_slice etag);
/* The same of If-Match: strong comparison. */
bool kv_etag_matches(kv_slice if_match, kv_slice etag);
/* Whether If-Range lets the range through: the same strong ETag, or exactly the date of `modified`
 * (Unix seconds). */
bool kv_if_range_holds(kv_slice if_range, kv_slice etag, int64_t modified);

/* Quality 0..1000 an Accept header gives to a type by naming it; 0: not named, or q=0. Wildcards do
 * not count: browsers send them for types they cannot show. */
unsigned kv_accept_names(kv_slice accept, const char *mime);

/* Choice among a blob's variants. */
typedef enum kv_pick_format {
    KV_PICK_ORIGINAL,
    KV_PICK_WEBP,
    KV_PICK_AVIF,
    KV_PICK_FORMATS
} kv_pick_format;
typedef struct kv_pick_variant {
    kv_pick_format format;
    uint32_t width; /* pixels, also of the full one */
    bool full;
} kv_pick_variant;
/* quality[f] > 0: format f is welcome. `width` 0: full size. Returns an index into `v`, or -1: the
 * original. The narrowest one at least `width` wide wins; of equally wide ones the welcomer, then
 * AVIF before WebP. */
int kv_pick(const kv_pick_variant *v, unsigned n, const unsigned quality[KV_PICK_FORMATS],
            uint32_t width, uint32_t original_width);

#endif
