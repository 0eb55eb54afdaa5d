/* Range, If-Range, ETag lists, dates and Accept from a hostile client: gateway/negotiate.c and
 * json_scan.c. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/json_scan.h"
#include "gateway/negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint64_t first, last, length = data[0] * 257u, n;
    kv_slice text = kv_slice_of((const char *)data + 1, size - 1), v;
    if (kv_range_parse(text, length, &first, &last) == KV_RANGE_ONE)
        assert(first <= last && last < length);
    kv_etag_listed(text, kv_slice_str("\"abc\""));
    kv_if_range_holds(text, kv_slice_str("\"abc\""), 784111777);
    assert(kv_accept_names(text, "image/webp") <= 1000);
    bool b;
    size_t pos = 0, rounds = 0;
    while (kv_scan_next(text, &pos, &v)) {
        assert(v.ptr >= text.ptr && v.ptr + v.len <= text.ptr + text.len);
        assert(++rounds <= size);
    }
    if (kv_scan_member(text, "id", &v))
        assert(v.ptr >= text.ptr && v.ptr + v.len <= text.ptr + text.len);
    kv_scan_text(text, "type", &v);
    kv_scan_u64(text, "id", &n);
    kv_scan_bool(text, "full", &b);
    return 0;
}
