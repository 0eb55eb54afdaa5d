#include "proto/batch.h"

#include <msgpack.h>

#include "proto/base/text.h"
#include "proto/mpread.h"

static kv_mp_reader reader_of(kv_slice bytes)
{
    const uint8_t *from = bytes.len ? (const uint8_t *)bytes.ptr : (const uint8_t *)"";

    return (kv_mp_reader){from, from + bytes.len};
}

int kv_batch_count(kv_slice bodies)
{
    kv_mp_reader r = reader_of(bodies);
    int n = 0;

    while (r.at < r.end && n <= KV_BATCH_MAX) {
        if (!kv_mp_skip(&r))
            return -1;
        n++;
    }
    return n;
}

static int write_to_buf(void *data, const char *bytes, size_t len)
{
    kv_buf_add(data, bytes, len);
    return kv_buf_ok(data) ? 0 : -1;
}

void kv_batch_result_add(kv_buf *out, const kv_batch_result *result)
{
    msgpack_packer pk;

    msgpack_packer_init(&pk, out, write_to_buf);
    msgpack_pack_array(&pk, 4);
    msgpack_pack_uint64(&pk, result->job);
    msgpack_pack_uint64(&pk, (uint64_t)result->err);
    msgpack_pack_str(&pk, result->status.len);
    if (result->status.len)
        msgpack_pack_str_body(&pk, result->status.ptr, result->status.len);
    if (result->created)
        msgpack_pack_true(&pk);
    else
        msgpack_pack_false(&pk);
}

bool kv_batch_result_next(kv_slice *rest, kv_batch_result *ret)
{
    kv_mp_reader r = reader_of(*rest);
    kv_mp_item array, job, err, status, created;

    if (!kv_mp_next(&r, &array) || array.kind != KV_MP_ARRAY || array.number < 4 ||
        !kv_mp_next(&r, &job) || job.kind != KV_MP_UINT || !kv_mp_next(&r, &err) ||
        err.kind != KV_MP_UINT || err.number > UINT16_MAX || !kv_mp_next(&r, &status) ||
        status.kind != KV_MP_STR || !kv_utf8_valid(status.bytes) || !kv_mp_next(&r, &created) ||
        created.kind != KV_MP_BOOL)
        return false;
    for (uint64_t more = array.number - 4; more > 0; more--) { /* of a newer broker */
        if (!kv_mp_skip(&r))
            return false;
    }
    *ret = (kv_batch_result){job.number, (kv_err)err.number, status.bytes, created.number != 0};
    *rest = kv_slice_of((const char *)r.at, (size_t)(r.end - r.at));
    return true;
}
