#include "gateway/job_key.h"

#include <openssl/sha.h>

#include "proto/base/buf.h"
#include "proto/base/id.h"

#define PLACE_BITS 48 /* 2^48 is less than the ids of a day */

static void digest(const char *scope, kv_slice key, uint8_t out[SHA256_DIGEST_LENGTH])
{
    char text[128 + 1 + KV_JOB_KEY_MAX];
    size_t n = strnlen(scope, 128), len = key.len < KV_JOB_KEY_MAX ? key.len : KV_JOB_KEY_MAX;
    memcpy(text, scope, n);
    text[n++] = '\0'; /* scopes have none: no two pairs make one text */
    memcpy(text + n, key.ptr, len);
    SHA256((const unsigned char *)text, n + len, out);
}

uint64_t kv_job_key_id(const char *scope, kv_slice key, int64_t wall_ms)
{
    uint8_t d[SHA256_DIGEST_LENGTH];
    uint64_t place = 0;
    digest(scope, key, d);
    for (int i = 0; i < 8; i++)
        place = place << 8 | d[i];
    place &= ((uint64_t)1 << PLACE_BITS) - 1;
    uint64_t id = kv_id_first_at(wall_ms - (wall_ms - KV_ID_EPOCH_MS) % KV_JOB_KEY_MS) + place;
    return id != 0 ? id : 1;
}

void kv_job_key_text(const char *scope, kv_slice key, char out[KV_JOB_KEY_TEXT])
{
    uint8_t d[SHA256_DIGEST_LENGTH];
    static const char prefix[] = "idempotency:";
    digest(scope, key, d);
    memcpy(out, prefix, sizeof(prefix) - 1);
    kv_hex_encode(d, 16, out + sizeof(prefix) - 1);
}
