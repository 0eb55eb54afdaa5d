/* Strict check of one HTTP/1.x request head, before h2o sees it. Pure; any thread.
 *
 * h2o 2.2.5 accepts what request smuggling behind a proxy is made of; here that is refused:
 * Content-Length with Transfer-Encoding, either of them twice, Transfer-Encoding in HTTP/1.0 or
 * other than "chunked", lengths that are not digits, obs-fold, a missing or second Host, bare CR or
 * LF, targets that are no path or name another host than Host does, more than 100 headers, heads
 * above 32 KiB. */
#ifndef KV_GATEWAY_HEAD_H
#define KV_GATEWAY_HEAD_H

#include <stdint.h>

#include "proto/base/error.h"
#include "proto/base/slice.h"

#define KV_HEAD_MAX         32768 /* bytes, with the empty line at its end */
#define KV_HEAD_HEADERS_MAX 100   /* what h2o parses at most */
#define KV_HEAD_NAME_MAX    256   /* bytes of a header name */

/* Slices point into the bytes that were checked. */
typedef struct kv_head {
    size_t len; /* bytes of the head */
    kv_slice method, target, host;
    kv_slice authority;       /* of a target in absolute-form: the same as `host`; else empty */
    kv_slice accept_language; /* empty: none; also set when the head is refused behind it */
    int minor;                /* 0 or 1: HTTP/1.minor */
    bool has_length, chunked, expect;
    uint64_t length;              /* Content-Length; 0 without one */
    size_t length_at, chunked_at; /* offset of the header's name; 0: none */
} kv_head;

typedef enum kv_head_state { KV_HEAD_MORE, KV_HEAD_WHOLE, KV_HEAD_REFUSED } kv_head_state;

/* Looks for a whole head in `bytes`. `from` is how many of them were looked at before (0 at first;
 * any value up to the length of the last call that answered MORE). REFUSED sets *ret_err (BAD_HEAD,
 * HEAD_TOO_LARGE, EXPECTATION) and *ret_why, a static English sentence. */
kv_head_state kv_head_check(const char *bytes, size_t len, size_t from, kv_head *ret,
                            kv_err *ret_err, const char **ret_why);
/* Changes the first letter of Content-Length and Transfer-Encoding in place: h2o then sees a
 * request without a body. */
void kv_head_hide_body(const kv_head *head, char *bytes);
/* Makes "GET /path" of "GET http://host/path" in place, which is how h2o wants it. Returns how many
 * bytes before it are to be dropped. */
size_t kv_head_origin_form(const kv_head *head, char *bytes);

/* tchar of RFC 9110, also used by the multipart and chunked parsers. */
bool kv_is_tchar(unsigned char c);
/* ASCII case-insensitive comparison with a lower-case text. */
bool kv_slice_is_nocase(kv_slice s, const char *lower_case);
kv_slice kv_slice_trim(kv_slice s); /* blanks and tabs at both ends */

#endif
