#include "storage/read/dead_letters.h"

kv_err kv_dead_letters_each(kv_db *db, int64_t most,
                            void (*fn)(void *arg, kv_slice service, int64_t n), void *arg)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    /* from one service that has some to the next: there is a name for each queue there ever was */
    KV_TRY(kv_db_prepare(
        db,
        "WITH RECURSIVE has(id) AS (SELECT min(service) FROM dead_letter UNION ALL "
        "SELECT (SELECT min(service) FROM dead_letter WHERE service > id) FROM has "
        "WHERE id IS NOT NULL) "
        "SELECT v.name, (SELECT count(*) FROM (SELECT 1 FROM dead_letter WHERE service = v.id "
        "LIMIT $1)) FROM has CROSS JOIN service v ON v.id = has.id",
        &s));
    kv_bind_i64(s, 1, most);
    while ((err = kv_db_step(s, &row)) == KV_OK && row)
        fn(arg, kv_col_str(s, 0), kv_col_i64(s, 1));
    kv_db_done(s);
    return err;
}
