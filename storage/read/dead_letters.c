#include "storage/read/dead_letters.h"

kv_err kv_dead_letters_each(kv_db *db, int64_t most,
                            void (*fn)(void *arg, kv_slice service, int64_t n), void *arg)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    KV_TRY(kv_db_prepare(db,
                         "SELECT v.name, (SELECT count(*) FROM (SELECT 1 FROM dead_letter "
                         "WHERE service = v.id LIMIT $1)) AS n FROM service v WHERE n > 0",
                         &s));
    kv_bind_i64(s, 1, most);
    while ((err = kv_db_step(s, &row)) == KV_OK && row)
        fn(arg, kv_col_str(s, 0), kv_col_i64(s, 1));
    kv_db_done(s);
    return err;
}
