/* A sweep in one go. */
#ifndef KV_TESTS_SWEEP_ALL_H
#define KV_TESTS_SWEEP_ALL_H

#include <limits.h>

#include "storage/object.h"

static inline kv_err sweep_all(kv_store *store, int64_t min_age_ms,
                               kv_key_fate (*judge)(void *arg, const char *key), void *arg,
                               kv_sweep_result *ret)
{
    kv_sweep *s;
    bool done = false;
    KV_TRY(kv_sweep_begin(store, min_age_ms, judge, arg, &s));
    kv_err err = KV_OK;
    while (!done)
        err = kv_sweep_on(s, INT_MAX, &done);
    kv_sweep_end(&s, ret);
    return err;
}

#endif
