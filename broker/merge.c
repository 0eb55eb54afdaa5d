#include "broker/merge.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- read ---- */

static json_t *object_of(kv_slice text)
{
    json_t *root = json_loadb(text.ptr ? text.ptr : "", text.len,
                              JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    if (root && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

/* ---- merged ---- */

static bool merge_into(json_t *base, json_t *patch, int depth)
{
    const char *key;
    json_t *value;
    if (depth > KV_MERGE_DEPTH)
        return false;
    json_object_foreach(patch, key, value)
    {
        json_t *old = json_object_get(base, key);
        if (json_is_object(old) && json_is_object(value)) {
            if (!merge_into(old, value, depth + 1))
                return false;
        } else if (json_object_set(base, key, value) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- written ---- */

/* The shortest text that reads as the same number: jansson would write 0.1 with 17 digits. */
static void add_real(kv_buf *out, double v)
{
    char text[40];
    int digits = 15;
    do
        snprintf(text, sizeof text, "%.*g", digits, v);
    while (strtod(text, NULL) != v && ++digits <= 17);
    kv_json_raw(out, kv_slice_str(text));
    if (!strpbrk(text, ".e"))
        kv_buf_adds(out, ".0"); /* still a real when it is read again */
}

static bool add_value(kv_buf *out, json_t *v, int depth);

static bool add_object(kv_buf *out, json_t *v, int depth)
{
    const char *key;
    json_t *value;
    kv_json_open(out, '{');
    json_object_foreach(v, key, value)
    {
        kv_json_name(out, kv_slice_str(key));
        if (!add_value(out, value, depth))
            return false;
    }
    kv_json_close(out, '}');
    return true;
}

static bool add_array(kv_buf *out, json_t *v, int depth)
{
    kv_json_open(out, '[');
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (!add_value(out, json_array_get(v, i), depth))
            return false;
    }
    kv_json_close(out, ']');
    return true;
}

/* `depth` of what holds it. False: too deep, or the buffer is full. */
static bool add_value(kv_buf *out, json_t *v, int depth)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        if (depth == KV_MERGE_DEPTH || !add_object(out, v, depth + 1))
            return false;
        break;
    case JSON_ARRAY:
        if (depth == KV_MERGE_DEPTH || !add_array(out, v, depth + 1))
            return false;
        break;
    case JSON_STRING:
        kv_json_str(out, kv_slice_of(json_string_value(v), json_string_length(v)));
        break;
    case JSON_INTEGER:
        kv_json_i64(out, json_integer_value(v));
        break;
    case JSON_REAL:
        add_real(out, json_real_value(v));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        kv_json_bool(out, json_is_true(v));
        break;
    case JSON_NULL:
        kv_json_null(out);
        break;
    }
    return kv_buf_ok(out);
}

kv_err kv_merge(kv_slice base, kv_slice patch, kv_buf *out)
{
    kv_buf merged;
    json_t *to = base.len ? object_of(base) : json_object(), *from = object_of(patch);
    kv_buf_init(&merged, KV_MERGE_BYTES);
    kv_err err = KV_E_BAD_PARAMETER;
    if (to && from && merge_into(to, from, 1) && add_value(&merged, to, 0)) {
        kv_buf_add(out, merged.data, merged.len);
        err = kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
    }
    kv_buf_release(&merged);
    json_decref(from);
    json_decref(to);
    return err;
}
