/* Bodies of messages: the first byte chooses the message, the rest is its body. What can be decoded
 * is encoded, decoded again and must be the same. */
#include <assert.h>
#include <stdlib.h>

#include "proto/batch.h"
#include "proto/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int good)
{
    if (!good)
        abort(); /* also where assert is compiled out */
}

/* As the broker takes a batch: what was counted can be walked, and its end is the end. */
static void walk_batch(kv_slice jobs)
{
    int n = kv_batch_count(jobs);

    for (int i = 0; i < n && i < KV_BATCH_MAX; i++) {
        kv_msg m;
        size_t used;
        const char *why;
        kv_err err = kv_body_decode_next(KV_SUBMIT, jobs.ptr, jobs.len, &m, &used, &why);
        check(used > 0 && used <= jobs.len && (err == KV_OK) == (why == NULL));
        jobs = kv_slice_of(jobs.ptr + used, jobs.len - used);
    }
    check(n < 0 || n > KV_BATCH_MAX || jobs.len == 0);
}

static void walk_results(kv_slice results)
{
    kv_batch_result r;
    size_t before = results.len;

    for (; kv_batch_result_next(&results, &r); before = results.len)
        check(results.len < before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kv_msg first, second;
    kv_header head;
    kv_buf once, twice;
    const char *why;

    if (size == 0)
        return 0;
    (void)kv_header_decode(data, size, &head);
    kv_err err = kv_body_decode(data[0], data + 1, size - 1, &first, &why);
    check((err == KV_OK) == (why == NULL));
    if (err)
        return 0;
    if (first.code == KV_SUBMIT_BATCH)
        walk_batch(first.submit_batch.jobs);
    if (first.code == KV_SUBMIT_BATCH_OK)
        walk_results(first.submit_batch_ok.results);
    kv_buf_init(&once, 0);
    kv_buf_init(&twice, 0);
    kv_body_encode(&first, &once);
    check(kv_buf_ok(&once));
    check(kv_body_decode(data[0], once.data, once.len, &second, &why) == KV_OK);
    kv_body_encode(&second, &twice);
    check(kv_slice_eq(kv_buf_slice(&once), kv_buf_slice(&twice)));
    kv_buf_clear(&once);
    kv_msg_describe(&first, &once);
    check(kv_buf_ok(&once));
    kv_buf_release(&once);
    kv_buf_release(&twice);
    return 0;
}
