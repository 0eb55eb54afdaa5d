/* A database in memory, as the state of a test. */
#ifndef KV_TESTS_MEMORY_DB_H
#define KV_TESTS_MEMORY_DB_H

#include "storage/db.h"

#define OK(expr) assert_int_equal((expr), KV_OK)

static inline int make(void **state)
{
    return kv_db_open_memory((kv_db **)state) == KV_OK ? 0 : -1;
}

static inline int drop(void **state)
{
    kv_db_close((kv_db **)state);
    return 0;
}

#endif
