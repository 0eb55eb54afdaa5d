/* Writing into room that was reserved before (kv_buf_reserve): where events are made in one piece.
 * Each returns where to go on. */
#ifndef KV_BROKER_PUT_H
#define KV_BROKER_PUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline char *kv_put(char *to, const char *text, size_t len)
{
    if (len)
        memcpy(to, text, len);
    return to + len;
}

/* At most 20 characters. */
static inline char *kv_put_u64(char *to, uint64_t v)
{
    char digits[20];
    int n = 20;
    do
        digits[--n] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    return kv_put(to, digits + n, (size_t)(20 - n));
}

#endif
