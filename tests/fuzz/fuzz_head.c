/* The head check never reads outside, does not depend on where it looked before, and agrees with
 * the parser of h2o on where a head ends: a head that we pass and h2o sees otherwise would be a way
 * to smuggle. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include "gateway/head.h"

struct phr_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};
/* exported by libh2o without a header */
int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len,
                      const char **path, size_t *path_len, int *minor_version,
                      struct phr_header *headers, size_t *num_headers, size_t last_len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_as_h2o(const char *bytes, size_t len, const kv_head *h)
{
    struct phr_header headers[KV_HEAD_HEADERS_MAX];
    size_t n = KV_HEAD_HEADERS_MAX, method_len, path_len;
    const char *method, *path;
    int minor, got = phr_parse_request(bytes, len, &method, &method_len, &path, &path_len, &minor,
                                       headers, &n, 0);
    if (got < 0 || (size_t)got != h->len || minor != h->minor || path_len != h->target.len ||
        path != h->target.ptr || method_len != h->method.len)
        abort();
    unsigned lengths = 0, codings = 0;
    for (size_t i = 0; i < n; i++) {
        kv_slice name = kv_slice_of(headers[i].name, headers[i].name_len);
        lengths += kv_slice_is_nocase(name, "content-length");
        codings += kv_slice_is_nocase(name, "transfer-encoding");
    }
    if (lengths != h->has_length || codings != h->chunked || lengths + codings > 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size + 1); /* +1: size may be 0; the check is given `size` */
    if (size > 0)
        memcpy(bytes, data, size);
    kv_head h, again;
    kv_err err, err2;
    const char *why;
    size_t seen = size / 2;
    kv_head_state first = kv_head_check(bytes, seen, 0, &h, &err, &why);
    kv_head_state whole = kv_head_check(bytes, size, 0, &h, &err, &why);
    if (first == KV_HEAD_MORE) { /* go on where the first look ended */
        if (kv_head_check(bytes, size, seen, &again, &err2, &why) != whole || again.len != h.len ||
            err != err2)
            abort();
    } else if (first == KV_HEAD_WHOLE && whole != KV_HEAD_WHOLE) {
        abort();
    }
    if (whole == KV_HEAD_WHOLE) {
        same_as_h2o(bytes, size, &h);
        kv_head_hide_body(&h, bytes);
        if (kv_head_check(bytes, size, 0, &again, &err, &why) != KV_HEAD_WHOLE ||
            again.has_length || again.chunked)
            abort();
        size_t unread = kv_head_origin_form(&h, bytes);
        if (kv_head_check(bytes + unread, size - unread, 0, &again, &err, &why) != KV_HEAD_WHOLE ||
            *again.target.ptr != '/' || again.len != h.len - unread ||
            again.method.len != h.method.len)
            abort();
    }
    free(bytes);
    return 0;
}
