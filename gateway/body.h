/* Small JSON bodies, read strictly by a table of members: unknown ones are refused by name, with
 * the nearest one that is known. Pure; any thread. */
#ifndef KV_GATEWAY_BODY_H
#define KV_GATEWAY_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "proto/base/error.h"
#include "proto/base/slice.h"

#define KV_BODY_WHY   256 /* bytes of a reason, with its NUL */
#define KV_BODY_DEPTH 32  /* nesting */

/* What the reader of a member is given. */
typedef struct kv_body {
    kv_slice text; /* the whole body */
    void *out;     /* the caller's */
    char *why;     /* KV_BODY_WHY bytes, English */
} kv_body;

typedef struct kv_member {
    const char *name;
    /* The value is valid until the tree is freed. BAD_PARAMETER: `why` is the caller's, or filled
     * with `must` when left empty. */
    kv_err (*take)(kv_body *b, const char *name, const json_t *v);
    const char *must; /* "a number of seconds, 0 to 86400" */
} kv_member;

/* What a row's `take` says of a value. */
static inline kv_err kv_body_judged(bool good)
{
    return good ? KV_OK : KV_E_BAD_PARAMETER;
}

/* Numbers come as reals, whatever their size; doubled names are refused. BAD_REQUEST: not JSON, or
 * not an object, or too deep. The tree is the caller's (json_decref). */
kv_err kv_body_load(kv_slice text, json_t **ret, char why[KV_BODY_WHY]);
/* Every member of `o` through its row; null counts as not given. BAD_PARAMETER. */
kv_err kv_body_read(const json_t *o, const kv_member *rows, size_t n, kv_body *b);

/* "x is not known. Did you mean y?" into `why`; BAD_PARAMETER. The known names are `n`, the first
 * at `first` and one every `step` bytes: those of a table of rows. */
kv_err kv_body_unknown(const char *name, const char *const *first, size_t n, size_t step,
                       char *why);

/* Values; false: of another kind or out of range. */
bool kv_body_str(const json_t *v, size_t max, kv_slice *ret); /* without NUL inside */
bool kv_body_number(const json_t *v, double low, double high, double *ret);
bool kv_body_uint(const json_t *v, uint64_t low, uint64_t high, uint64_t *ret); /* whole */
bool kv_body_id(const json_t *v, uint64_t *ret);
/* RFC 3339 text ("2026-11-21T10:00:00Z", fractions and offsets too) to Unix milliseconds. */
bool kv_body_time(const json_t *v, int64_t *ret_ms);
/* The text of a member as it was sent. */
bool kv_body_raw(const kv_body *b, const char *name, kv_slice *ret);

#endif
