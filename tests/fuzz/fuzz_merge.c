/* The deep merge never breaks its limits, merges to what it says it does, and a merged object
 * merges again. Input: base, a NUL, patch. */
#include <assert.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/json_check.h"
#include "broker/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every member of the patch is in the result, and what the patch does not name is as it was. */
static void holds(json_t *base, json_t *patch, json_t *result)
{
    const char *key;
    json_t *value;
    json_object_foreach(patch, key, value)
    {
        json_t *old = json_object_get(base, key), *now = json_object_get(result, key);
        if (json_is_object(value) && json_is_object(old))
            holds(old, value, now);
        else
            assert(json_equal(value, now));
    }
    json_object_foreach(base, key, value)
    {
        if (!json_object_get(patch, key))
            assert(json_equal(value, json_object_get(result, key)));
    }
}

static json_t *load(kv_slice s)
{
    return json_loadb(s.len ? s.ptr : "{}", s.len ? s.len : 2, JSON_ALLOW_NUL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *cut = size ? memchr(text, '\0', size) : NULL;
    size_t n = cut ? (size_t)(cut - text) : 0;
    kv_slice base = kv_slice_of(text, n);
    kv_slice patch = cut ? kv_slice_of(cut + 1, size - n - 1) : kv_slice_of(text, size);
    kv_buf out, again;
    kv_buf_init(&out, 0);
    kv_buf_init(&again, 0);
    if (kv_merge(base, patch, &out) == KV_OK) {
        assert(out.len <= KV_MERGE_BYTES && kv_json_valid(kv_buf_slice(&out)));
        json_t *b = load(base), *p = load(patch), *r = load(kv_buf_slice(&out));
        assert(b && p && r);
        holds(b, p, r);
        json_decref(b);
        json_decref(p);
        json_decref(r);
        assert(kv_merge(kv_buf_slice(&out), kv_slice_str("{}"), &again) == KV_OK);
        assert(kv_slice_eq(kv_buf_slice(&out), kv_buf_slice(&again)));
    } else {
        assert(out.len == 0);
    }
    kv_buf_release(&out);
    kv_buf_release(&again);
    return 0;
}
