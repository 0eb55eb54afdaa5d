#include "gateway/guard.h"

#include <strings.h>

static bool same_nocase(kv_slice a, kv_slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static kv_slice without_port(kv_slice host)
{
    const char *colon = host.len > 0 ? memrchr(host.ptr, ':', host.len) : NULL;
    const char *bracket = host.len > 0 ? memrchr(host.ptr, ']', host.len) : NULL;
    if (colon != NULL && (bracket == NULL || colon > bracket))
        host.len = (size_t)(colon - host.ptr);
    return host;
}

bool kv_host_allowed(const char *allowed, kv_slice host)
{
    if (allowed == NULL || *allowed == 0)
        return true;
    host = without_port(host);
    while (*allowed != 0) {
        size_t n = strcspn(allowed, ",");
        if (host.len > 0 && same_nocase(kv_slice_of(allowed, n), host))
            return true;
        allowed += n + (allowed[n] == ',');
    }
    return false;
}

kv_origin kv_origin_of(const char *allowed_origins, kv_slice origin, kv_slice host)
{
    if (origin.ptr == NULL || origin.len == 0)
        return KV_ORIGIN_NONE;
    const char *mark = memmem(origin.ptr, origin.len, "://", 3);
    if (mark != NULL) {
        kv_slice place = kv_slice_of(mark + 3, origin.len - (size_t)(mark + 3 - origin.ptr));
        if (same_nocase(place, host))
            return KV_ORIGIN_OWN;
    }
    return kv_list_has(allowed_origins, origin) ? KV_ORIGIN_LISTED : KV_ORIGIN_FOREIGN;
}
