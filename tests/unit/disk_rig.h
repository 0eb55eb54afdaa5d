/* What the tests of the object store share: a store in a scratch folder, and texts in it. */
#ifndef KV_TESTS_DISK_RIG_H
#define KV_TESTS_DISK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>

#include "storage/object.h"
#include "tests/unit/scratch.h"

#define OK(expr) assert_int_equal((expr), KV_OK)

typedef struct fixture {
    scratch s;
    kv_store *store;
} fixture;

static inline int make(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    scratch_make(&f->s);
    OK(kv_store_open_config(&f->s.cfg, &f->store));
    *state = f;
    return 0;
}

static inline int drop(void **state)
{
    fixture *f = *state;
    kv_store_close(&f->store);
    scratch_remove(&f->s);
    free(f);
    return 0;
}

static inline void store_text(kv_store *store, uint64_t id, const char *key, const char *text)
{
    kv_put *put;
    OK(kv_put_begin(store, id, 0, &put));
    OK(kv_put_write(put, text, strlen(text)));
    OK(kv_put_sync(put));
    OK(kv_put_link(put, key, NULL));
    OK(kv_store_sync_folders(store, &key, 1));
    kv_put_finish(&put);
    assert_null(put);
}

static inline bool holds(kv_store *store, const char *key, const char *text)
{
    char buf[256];
    size_t len;
    kv_err err = kv_store_read(store, key, 0, buf, sizeof buf, &len);
    if (!text)
        return err == KV_E_NOT_FOUND;
    return err == KV_OK && len == strlen(text) && memcmp(buf, text, len) == 0;
}

static inline bool count_one(void *arg, const char *key, const kv_object_info *i)
{
    (void)key, (void)i;
    ++*(int *)arg;
    return true;
}

static inline int count(kv_store *store, const char *prefix)
{
    int n = 0;
    OK(kv_store_list(store, prefix, count_one, &n));
    return n;
}

static inline int names_in(const scratch *s, const char *folder)
{
    int n = 0;
    DIR *dir = opendir(scratch_path(s, folder));
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)

#endif
