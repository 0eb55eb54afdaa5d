/* The migrations this program carries: storage/migrations/NNNN_name.sql, embedded at build time,
 * numbers 1, 2, 3 … */
#ifndef KV_STORAGE_MIGRATE_H
#define KV_STORAGE_MIGRATE_H

typedef struct kv_migration {
    int number;
    const char *name, *sql;
} kv_migration;

extern const kv_migration kv_migrations[];
extern const int kv_migration_count;

#endif
