/* Bodies of messages: the first byte chooses the message, the rest is its body. What can be decoded
 * is encoded, decoded again and must be the same. */
#include <assert.h>
#include <stdlib.h>

#include "proto/codec.h"
#include "proto/codec_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int good)
{
    if (!good)
        abort(); /* also where assert is compiled out */
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
