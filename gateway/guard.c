#include "gateway/guard.h"

#include <netinet/in.h>
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

typedef struct origin_parts {
    kv_slice scheme, place; /* "https", "shop.example:8443"; the scheme's own port is left out */
} origin_parts;

static kv_slice without_own_port(kv_slice scheme, kv_slice place)
{
    kv_slice own = kv_slice_str(same_nocase(scheme, kv_slice_str("https"))  ? ":443"
                                : same_nocase(scheme, kv_slice_str("http")) ? ":80"
                                                                            : "");
    kv_slice name = without_port(place);
    if (own.len > 0 && place.len - name.len == own.len &&
        memcmp(name.ptr + name.len, own.ptr, own.len) == 0)
        return name;
    return place;
}

static bool split_origin(kv_slice origin, origin_parts *ret)
{
    const char *mark = memmem(origin.ptr, origin.len, "://", 3);
    if (mark == NULL)
        return false;
    size_t n = (size_t)(mark - origin.ptr);
    ret->scheme = kv_slice_of(origin.ptr, n);
    ret->place =
        without_own_port(ret->scheme, kv_slice_of(mark + 3, origin.len - n - strlen("://")));
    return true;
}

static bool listed(const char *allowed_origins, const origin_parts *origin)
{
    kv_slice item;
    origin_parts one;
    while (kv_list_next(&allowed_origins, &item))
        if (split_origin(item, &one) && same_nocase(one.scheme, origin->scheme) &&
            same_nocase(one.place, origin->place))
            return true;
    return false;
}

kv_origin kv_origin_of(const char *allowed_origins, kv_slice origin, kv_slice host)
{
    origin_parts parts;
    if (origin.ptr == NULL || origin.len == 0)
        return KV_ORIGIN_NONE;
    if (!split_origin(origin, &parts)) /* "null" */
        return KV_ORIGIN_FOREIGN;
    if (same_nocase(parts.place, without_own_port(parts.scheme, host)))
        return KV_ORIGIN_OWN;
    return listed(allowed_origins, &parts) ? KV_ORIGIN_LISTED : KV_ORIGIN_FOREIGN;
}

static bool is_loopback(const struct sockaddr *peer)
{
    if (peer->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)peer)->sin_addr.s_addr) >> 24 == 127;
    if (peer->sa_family != AF_INET6)
        return false;
    const struct in6_addr *a = &((const struct sockaddr_in6 *)peer)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

static bool is_ipv4(kv_slice host) /* not 127.0.0.1.example.org */
{
    for (size_t i = 0; i < host.len; i++)
        if (host.ptr[i] != '.' && (host.ptr[i] < '0' || host.ptr[i] > '9'))
            return false;
    return true;
}

static bool names_loopback(kv_slice host)
{
    host = without_port(host);
    if (same_nocase(host, kv_slice_str("localhost")) || kv_slice_is(host, "[::1]"))
        return true;
    return is_ipv4(host) && host.len > 4 && memcmp(host.ptr, "127.", 4) == 0;
}

/* Top-level names that the DNS will never have, so nobody can own one in it; Docker has
 * host.docker.internal. */
static bool names_nobody(kv_slice name)
{
    static const char *const reserved[] = {".localhost", ".internal", ".test"};
    for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++) {
        kv_slice tail = kv_slice_str(reserved[i]);
        if (name.len > tail.len &&
            same_nocase(kv_slice_of(name.ptr + name.len - tail.len, tail.len), tail))
            return true;
    }
    return false;
}

bool kv_host_rebound(const struct sockaddr *peer, const char *listen, kv_slice host)
{
    kv_slice name = without_port(host);
    if (!is_loopback(peer) || is_ipv4(name) || name.ptr[0] == '[' ||
        memchr(name.ptr, '.', name.len) == NULL || names_nobody(name))
        return false;
    const char *port = strrchr(listen, ':') + 1;
    return host.len > name.len
               ? kv_slice_is(kv_slice_of(name.ptr + name.len + 1, host.len - name.len - 1), port)
               : strcmp(port, "80") == 0;
}

bool kv_admin_allowed(const struct sockaddr *peer, bool forwarded, kv_slice host)
{
    return is_loopback(peer) && !forwarded && names_loopback(host);
}
