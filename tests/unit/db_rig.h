/* A database on disk in a folder of its own. */
#ifndef KV_TESTS_DB_RIG_H
#define KV_TESTS_DB_RIG_H

#include "storage/db.h"
#include "tests/unit/scratch.h"

#define OK(expr) assert_int_equal((expr), KV_OK)

static inline int make(void **state)
{
    scratch *s = malloc(sizeof *s);
    scratch_make(s);
    *state = s;
    return 0;
}

static inline int drop(void **state)
{
    scratch_remove(*state);
    free(*state);
    return 0;
}

static inline kv_db *writer(scratch *s)
{
    kv_db *db;
    OK(kv_db_open(&s->cfg, KV_DB_WRITE, &db));
    OK(kv_db_migrate(db, NULL, NULL));
    return db;
}

#endif
