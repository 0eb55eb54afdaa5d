/* One line a request, and where its trace id comes from. */
#include <arpa/inet.h>
#include <stdio.h>

#include "gateway/tap.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

static uint64_t next_random(kv_loop_own *l)
{
    uint64_t x = l->random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void kv_trace_new(kv_conn *c)
{
    kv_loop_own *l = kv_loop_inside(c->loop);
    uint64_t a = next_random(l), b = next_random(l) | 1, s = next_random(l) | 1;
    memcpy(c->trace, &a, 8);
    memcpy(c->trace + 8, &b, 8);
    memcpy(c->span, &s, 8);
}

static bool lower_hex(kv_slice s, void *out, size_t n)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] >= 'A' && s.ptr[i] <= 'F')
            return false;
    return kv_hex_decode(s.ptr, s.len, out, n);
}

void kv_trace_take(kv_conn *c, kv_slice traceparent)
{
    static const uint8_t zero[16];
    uint8_t trace[16], parent[8];
    kv_trace_new(c);
    if (traceparent.len != 55 || memcmp(traceparent.ptr, "00-", 3) != 0 ||
        traceparent.ptr[35] != '-' || traceparent.ptr[52] != '-')
        return;
    if (lower_hex(kv_slice_of(traceparent.ptr + 3, 32), trace, 16) &&
        lower_hex(kv_slice_of(traceparent.ptr + 36, 16), parent, 8) &&
        memcmp(trace, zero, 16) != 0 && memcmp(parent, zero, 8) != 0)
        memcpy(c->trace, trace, 16);
}

static const char *status_class(int status)
{
    static const char *const names[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    return status >= 100 && status < 600 ? names[status / 100 - 1] : "4xx";
}

static const char *client_of(kv_conn *c)
{
    const void *at = NULL;
    if (c->client[0] != 0)
        return c->client;
    if (c->peer.ss_family == AF_INET)
        at = &((const struct sockaddr_in *)&c->peer)->sin_addr;
    else if (c->peer.ss_family == AF_INET6)
        at = &((const struct sockaddr_in6 *)&c->peer)->sin6_addr;
    if (at == NULL || inet_ntop(c->peer.ss_family, at, c->client, sizeof(c->client)) == NULL)
        snprintf(c->client, sizeof(c->client), "-");
    return c->client;
}

void kv_access_log(kv_loop *loop, kv_conn *c, kv_slice method, kv_slice target, int status,
                   uint64_t bytes)
{
    kv_metric_add_label(KV_M_HTTP_REQUESTS, status_class(status), 1);
    kv_log_level level = c->quiet ? KV_LOG_DEBUG : KV_LOG_INFO;
    if (level < kv_log_min())
        return;
    char trace[33];
    kv_hex_encode(c->trace, 16, trace);
    const char *query = target.len > 0 ? memchr(target.ptr, '?', target.len) : NULL;
    if (query != NULL) /* queries may come to hold secrets */
        target.len = (size_t)(query - target.ptr);
    if (target.len > 1024)
        target.len = 1024;
    double ms = (double)(kv_mono_us(loop->gw->clock) - c->began_us) / 1000.0;
    kv_log(level, "request", KV_SLICE("method", method), KV_SLICE("path", target),
           KV_I64("status", status), KV_U64("bytes", bytes), KV_F64("ms", ms),
           KV_STR("client", client_of(c)), KV_STR("traceId", trace));
}
