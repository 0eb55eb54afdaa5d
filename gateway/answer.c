#include "gateway/answer.h"

#include "gateway/respond.h"

#define RETRY_MS 2000 /* when nobody said better: about a broker restart */

void kv_answer_buf(h2o_req_t *req, kv_err err, int status, const kv_buf *out)
{
    if (err == KV_OK && !kv_buf_ok(out))
        err = KV_E_NO_MEMORY;
    if (err != KV_OK) {
        kv_answer_problem(req, err, NULL, kv_err_info_of(err)->http == 503 ? RETRY_MS : 0);
        return;
    }
    kv_answer_json(req, status, kv_buf_slice(out));
}

void kv_answer_refusal(h2o_req_t *req, kv_err err, const kv_msg *answer)
{
    const char *detail = NULL;
    uint64_t retry = kv_err_info_of(err)->http == 503 ? RETRY_MS : 0;
    if (answer != NULL && answer->code == KV_ERROR) {
        /* the broker's detail is often the sentence itself, which the problem says already */
        if (answer->error.detail.len != 0 &&
            !kv_slice_is(answer->error.detail, kv_err_info_of(err)->en))
            detail =
                h2o_strdup(&req->pool, answer->error.detail.ptr, answer->error.detail.len).base;
        if (answer->error.retry_after_ms != 0)
            retry = answer->error.retry_after_ms;
    }
    kv_answer_problem(req, err, detail, retry);
}

void kv_answer_static(h2o_req_t *req, int status, const char *type, const void *bytes, size_t len)
{
    static h2o_generator_t generator = {NULL, NULL};
    req->res.status = status;
    req->res.reason = kv_reason(status);
    req->res.content_length = len;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, type, strlen(type));
    kv_add_header(req, "x-content-type-options", "nosniff");
    h2o_start_response(req, &generator);
    h2o_iovec_t v = h2o_iovec_init(bytes, len);
    bool head = h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
    h2o_send(req, &v, head || len == 0 ? 0 : 1, H2O_SEND_STATE_FINAL);
}

void kv_answer_text(h2o_req_t *req, int status, const char *type, kv_slice text)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, text.ptr, text.len);
    kv_answer_static(req, status, type, copy.base, copy.len);
}
