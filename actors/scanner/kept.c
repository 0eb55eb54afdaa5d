/* Bytes as kept, in messages that hold on to the bytes as received. */
#include <stdlib.h>

#include "actors/scanner/scan.h"
#include "proto/base/handover.h"

typedef struct kv_kept {
    zmq_msg_t original;
    uint8_t *copy; /* owned; NULL: a part of the original */
} kv_kept;

static void free_kept(void *data, void *hint)
{
    (void)data;
    kv_kept *k = hint;
    KV_HANDOVER_TAKE(k);
    zmq_msg_close(&k->original);
    free(k->copy);
    free(k);
}

kv_err kv_kept_wrap(zmq_msg_t *original, size_t from, uint8_t *copy, size_t len, zmq_msg_t *ret)
{
    kv_kept *k = malloc(sizeof *k);
    if (!k)
        return KV_E_NO_MEMORY;
    k->copy = copy;
    zmq_msg_init(&k->original);
    zmq_msg_copy(&k->original, original);
    /* a small message holds its bytes itself: only the one that stays has an address that stays */
    uint8_t *bytes = copy ? copy : (uint8_t *)zmq_msg_data(&k->original) + from;
    KV_HANDOVER_GIVE(k);
    if (zmq_msg_init_data(ret, bytes, len, free_kept, k) != 0) {
        zmq_msg_close(&k->original);
        free(k);
        return KV_E_NO_MEMORY;
    }
    return KV_OK;
}

kv_err kv_kept_make(kv_cow *cow, zmq_msg_t *original, zmq_msg_t *ret)
{
    zmq_msg_init(ret);
    if (kv_cow_same(cow))
        return zmq_msg_copy(ret, original) == 0 ? KV_OK : KV_E_NO_MEMORY;
    if (cow->keep == 0)
        return KV_OK;
    kv_err err = kv_kept_wrap(original, 0, cow->copy, cow->keep, ret);
    if (err == KV_OK)
        cow->copy = NULL;
    return err;
}
