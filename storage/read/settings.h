/* What operators set for queues, read at the start of the broker. */
#ifndef KV_STORAGE_READ_SETTINGS_H
#define KV_STORAGE_READ_SETTINGS_H

#include "proto/base/slice.h"
#include "proto/base/words.h"
#include "storage/db.h"

/* Of a queue, or of one tenant in it. -1 in a number: not set. */
typedef struct kv_setting {
    kv_slice service, tenant;
    bool of_tenant; /* false: the queue itself, tenant is empty */
#define KV_SETTING_MEMBER(F, T, name, kind, option, low, high, unit, text) int64_t name;
    KV_QUEUE_SETTINGS(KV_SETTING_MEMBER, , )
#undef KV_SETTING_MEMBER
} kv_setting;
/* All rows, those of a queue before those of its tenants. Slices are valid during the call; false
 * ends the walk. */
kv_err kv_settings_all(kv_db *db, bool (*fn)(void *arg, const kv_setting *setting), void *arg);

#endif
