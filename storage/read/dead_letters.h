/* Jobs that ended in error, counted. */
#ifndef KV_STORAGE_READ_DEAD_LETTERS_H
#define KV_STORAGE_READ_DEAD_LETTERS_H

#include "proto/base/slice.h"
#include "storage/db.h"

/* Calls `fn` for every service that has some; each counted up to `most`, because counting a million
 * takes longer than a reader may read. `service` is valid during the call. */
kv_err kv_dead_letters_each(kv_db *db, int64_t most,
                            void (*fn)(void *arg, kv_slice service, int64_t n), void *arg);

#endif
