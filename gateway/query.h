/* What stands behind "?", read strictly by a table of parameters as bodies are (body.h): unknown
 * ones are refused by name, with the nearest one that is known, and none is given twice. Not for
 * pages and files, whose addresses get things added on their way. The loop's thread. */
#ifndef KV_GATEWAY_QUERY_H
#define KV_GATEWAY_QUERY_H

#include "gateway/body.h"
#include "gateway/gateway.h"

#define KV_QUERY_MAX 32 /* rows of a table */

typedef struct kv_parameter {
    const char *name;
    /* `v` is decoded, in the request's pool, not empty and without NUL. What it refuses is said
     * with `must`. */
    kv_err (*take)(void *out, kv_slice v);
    const char *must; /* "1 to 200" */
} kv_parameter;

/* Every parameter through its row; an empty value counts as not given: forms send those. `why` is
 * KV_BODY_WHY bytes, English. BAD_PARAMETER, or what a row says. */
kv_err kv_query_read(kv_request *r, const kv_parameter *rows, size_t n, void *out, char *why);

/* Values; false: not one, or out of range. */
bool kv_query_uint(kv_slice v, uint64_t low, uint64_t high, uint64_t *ret); /* decimal digits */

#endif
