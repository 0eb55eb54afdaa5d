/* For tests of what must not grow with the number of rows: rows by plain SQL, and the cost. */
#ifndef KV_TESTS_MANY_ROWS_H
#define KV_TESTS_MANY_ROWS_H

#include <time.h>

#include "storage/db.h"

/* Of this thread: others may use the machine. */
static inline int64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline void must(kv_db *db, const char *sql)
{
    assert_int_equal(kv_db_exec(db, sql), KV_OK);
}

#endif
