/* The check of JSON that peers send: what jansson takes it takes, too, up to its depth; and what it
 * takes in plain ASCII without numbers and escapes, jansson takes. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/json_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t depth_of(const json_t *v)
{
    size_t deepest = 0, i;
    const char *key;
    json_t *item;
    if (json_is_array(v)) {
        json_array_foreach(v, i, item) deepest =
            depth_of(item) > deepest ? depth_of(item) : deepest;
        return deepest + 1;
    }
    if (!json_is_object(v))
        return 0;
    json_object_foreach((json_t *)v, key, item) deepest =
        depth_of(item) > deepest ? depth_of(item) : deepest;
    return deepest + 1;
}

static int plain(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] >= 0x80 || data[i] == '\\' || (data[i] >= '0' && data[i] <= '9'))
            return 0;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096 || memchr(data, 0, size)) /* jansson takes a NUL for the end */
        return 0;
    json_t *v = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);
    int valid = kv_json_valid(kv_slice_of((const char *)data, size));
    int shallow = 1;
    for (size_t i = 0, open = 0; i < size && shallow; i++) {
        open += data[i] == '[' || data[i] == '{';
        shallow = open <= 20; /* beyond that counting the depth may take exponential time */
    }
    if (v && !valid && (!shallow || depth_of(v) <= 64) && shallow)
        abort();
    if (!v && valid && plain(data, size))
        abort();
    json_decref(v);
    return 0;
}
