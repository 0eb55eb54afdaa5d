#include "gateway/refuse.h"

#include <stdlib.h>
#include <unistd.h>

#include "gateway/respond.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

static void on_sent(h2o_socket_t *sock, const char *err)
{
    kv_conn *c = sock->on_close.data;
    c->h2o_read(sock, err != NULL ? err : h2o_socket_error_closed);
}

void kv_refuse(kv_conn *c, kv_err err, const char *why, const kv_head *head)
{
    const kv_err_info *info = kv_err_info_of(err);
    kv_metric_add_label(KV_M_HTTP_REFUSED, info->slug, 1);
    kv_trace_new(c);
    kv_buf body, all;
    kv_buf_init(&body, 8192);
    kv_buf_init(&all, 16384);
    bool english = head != NULL && kv_language_is_english(head->accept_language);
    kv_problem_json(&body, err, why, english, kv_slice_of(NULL, 0), c->trace);
    kv_buf_addf(
        &all,
        "HTTP/1.1 %d %s\r\nConnection: close\r\nServer: kervan\r\nContent-Type: "
        "application/problem+json; charset=utf-8\r\nContent-Language: %s\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Length: %zu\r\n\r\n",
        info->http, kv_reason(info->http), english ? "en" : "tr", body.len);
    kv_slice method = head != NULL ? head->method : kv_slice_of(NULL, 0);
    size_t sent = kv_slice_is(method, "HEAD") ? 0 : body.len;
    kv_buf_add(&all, body.data, sent);
    kv_access_log(c->loop, c, method, kv_slice_of(NULL, 0), info->http, sent);
    kv_log(KV_LOG_INFO, "request_refused", KV_ERRNAME("code", err), KV_STR("why", why));

    h2o_socket_read_stop(c->sock);
    if (c->linger_fd < 0)
        c->linger_fd = dup(h2o_socket_get_fd(c->sock));
    if (!kv_buf_ok(&body) || !kv_buf_ok(&all)) {
        c->h2o_read(c->sock, h2o_socket_error_closed);
    } else {
        /* h2o writes at once what the socket takes and copies nothing: the text lives with the
         * connection */
        free(c->small);
        c->small = all.data;
        h2o_iovec_t v = h2o_iovec_init(all.data, all.len);
        kv_buf_init(&all, 0);
        h2o_socket_write(c->sock, &v, 1, on_sent);
    }
    kv_buf_release(&body);
    kv_buf_release(&all);
}
