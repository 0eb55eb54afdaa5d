/* Query strings: what a table takes of one is what the string says, read strictly. Read again in
 * its plainest writing it is the same; nothing is taken twice, empty or with a NUL. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/query.h"
#include "gateway/route.h"
#include "proto/base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
    if (!good)
        abort();
}

typedef struct taken {
    kv_buf text; /* name=value&, every byte of the value escaped */
    unsigned a, limit;
} taken;

static void put(taken *t, const char *name, kv_slice v)
{
    demand(v.len > 0 && memchr(v.ptr, '\0', v.len) == NULL);
    kv_buf_adds(&t->text, name);
    for (size_t i = 0; i < v.len; i++)
        kv_buf_addf(&t->text, "%%%02x", (unsigned)(uint8_t)v.ptr[i]);
    kv_buf_addc(&t->text, '&');
}

static kv_err take_a(void *out, kv_slice v)
{
    taken *t = out;
    demand(t->a++ == 0);
    put(t, "a=", v);
    return KV_OK;
}

static kv_err take_limit(void *out, kv_slice v)
{
    taken *t = out;
    uint64_t n;
    demand(t->limit++ == 0);
    if (!kv_query_uint(v, 1, 200, &n))
        return KV_E_BAD_PARAMETER;
    demand(n >= 1 && n <= 200);
    put(t, "limit=", v);
    return KV_OK;
}

static kv_err read_one(h2o_req_t *req, kv_slice query, taken *t)
{
    static const kv_parameter rows[] = {{"a", take_a, "text"}, {"limit", take_limit, "1 to 200"}};
    kv_request r = {.req = req, .query = query};
    char why[KV_BODY_WHY];
    *t = (taken){.a = 0};
    kv_buf_init(&t->text, 0);
    kv_err err = kv_query_read(&r, rows, 2, t, why);
    demand((err == KV_OK) == (why[0] == '\0') && memchr(why, '\0', sizeof why) != NULL);
    return err;
}

static void check_decoded(kv_slice text)
{
    char *out = malloc(text.len + 1);
    size_t n = kv_percent_decode(text, false, out);
    demand(n == SIZE_MAX || n <= text.len);
    if (n != SIZE_MAX && (text.len == 0 || memchr(text.ptr, '%', text.len) == NULL))
        demand(n == text.len && memcmp(out, text.ptr, n) == 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kv_slice query = kv_slice_of((const char *)data, size), v;
    taken once, again;
    h2o_req_t *req = calloc(1, sizeof *req);
    h2o_mem_init_pool(&req->pool);
    check_decoded(query);
    if (read_one(req, query, &once) == KV_OK) {
        demand(read_one(req, kv_buf_slice(&once.text), &again) == KV_OK);
        demand(kv_slice_eq(kv_buf_slice(&once.text), kv_buf_slice(&again.text)));
        kv_buf_release(&again.text);
    }
    kv_buf_release(&once.text);
    kv_err err = KV_OK; /* the lenient reader of files' addresses */
    kv_request r = {.req = req, .query = query};
    if (kv_query_get(&r, "w", &v, &err))
        demand(err == KV_OK && v.len < size);
    h2o_mem_clear_pool(&req->pool);
    free(req);
    return 0;
}
