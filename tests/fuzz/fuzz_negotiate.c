/* Range, If-Range, ETag lists, dates, Accept and Accept-Language, Host and Origin from a hostile
 * client: gateway/negotiate.c, respond.c, guard.c; and json_scan.c. */
#include <assert.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/guard.h"
#include "gateway/negotiate.h"
#include "gateway/respond.h"
#include "proto/base/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Written plainly, a range is the same one. */
static void check_range(kv_slice text, uint64_t length)
{
    uint64_t first, last, f, l;
    char plain[64];
    if (kv_range_parse(text, length, &first, &last) != KV_RANGE_ONE)
        return;
    assert(first <= last && last < length);
    snprintf(plain, sizeof plain, "bytes=%" PRIu64 "-%" PRIu64, first, last);
    assert(kv_range_parse(kv_slice_str(plain), length, &f, &l) == KV_RANGE_ONE);
    assert(f == first && l == last);
}

/* Nobody who comes under another name than this machine's is let in. */
static void check_guard(kv_slice text)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr *peer = (const struct sockaddr *)&here;
    if (kv_admin_allowed(peer, false, text))
        assert(text.len >= 5 &&
               (text.ptr[0] == '1' || text.ptr[0] == '[' || (text.ptr[0] | 0x20) == 'l'));
    assert(!kv_admin_allowed(peer, true, text));
    assert(!kv_host_rebound(peer, "127.0.0.1:8080", text) || !kv_admin_allowed(peer, false, text));
    here.sin_addr.s_addr = htonl(0x7effffff);
    assert(!kv_admin_allowed(peer, false, text));
    kv_host_allowed("localhost,a.example", text);
    kv_origin_of("https://a.example", text, kv_slice_str("b.example"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint64_t n;
    kv_slice text = kv_slice_of((const char *)data + 1, size - 1), v;
    check_range(text, data[0] * 257u);
    check_guard(text);
    (void)kv_language_is_english(text);
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
