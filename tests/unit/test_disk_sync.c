/* Syncs of folders that several threads ask for at once: each caller is covered by one that began
 * after its call, failures included, and there are fewer syncs than calls. fsync is ours here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "storage/object.h"
#include "tests/unit/scratch.h"

enum { THREADS = 6, CALLS = 2000, FAIL_EVERY = 7, SYNCS_MAX = 1 << 16 };

static bool counting;
static atomic_uint begun, over, at_once, most_at_once;
static _Atomic unsigned char ended[SYNCS_MAX]; /* by number: 0 not over, 1 good, 2 failed */

/* In the place of libc's. */
int fsync(int fd)
{
    if (!counting)
        return (int)syscall(SYS_fsync, fd);
    unsigned number = atomic_fetch_add(&begun, 1) + 1, now = atomic_fetch_add(&at_once, 1) + 1;
    if (now > atomic_load(&most_at_once))
        atomic_store(&most_at_once, now);
    for (int i = 0; i < 20; i++)
        sched_yield(); /* others come meanwhile */
    bool fails = number % FAIL_EVERY == 0;
    atomic_store(&ended[number], fails ? 2 : 1);
    atomic_fetch_add(&over, 1);
    atomic_fetch_sub(&at_once, 1);
    errno = EIO;
    return fails ? -1 : 0;
}

/* Whether one of those begun behind `before` has ended like this. */
static bool any_behind(unsigned before, unsigned char how)
{
    for (unsigned n = before + 1, last = atomic_load(&begun); n <= last; n++) {
        if (atomic_load(&ended[n]) == how)
            return true;
    }
    return false;
}

typedef struct caller {
    kv_store *store;
    unsigned failed;
    bool wrong;
} caller;

static void *call_many(void *arg)
{
    caller *c = arg;
    const char *key = "folder/a.jpg";
    for (int i = 0; i < CALLS; i++) {
        unsigned before = atomic_load(&begun);
        kv_err err = kv_store_sync_folders(c->store, &key, 1);
        c->failed += err != KV_OK;
        c->wrong |= !any_behind(before, err == KV_OK ? 1 : 2);
    }
    return NULL;
}

static void test_shared_syncs(void **state)
{
    scratch s;
    kv_store *store;
    kv_put *put;
    pthread_t threads[THREADS];
    caller callers[THREADS];
    const char *key = "folder/a.jpg";
    unsigned failed = 0;
    (void)state;
    scratch_make(&s);
    assert_int_equal(kv_store_open_config(&s.cfg, &store), KV_OK);
    assert_int_equal(kv_put_begin(store, 1, 1, &put), KV_OK);
    assert_int_equal(kv_put_write(put, "x", 1), KV_OK);
    assert_int_equal(kv_put_link(put, key, NULL), KV_OK);
    kv_put_finish(&put);
    assert_int_equal(kv_store_sync_folders(store, &key, 1), KV_OK); /* its parent, too */
    counting = true;
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller){.store = store};
        pthread_create(&threads[i], NULL, call_many, &callers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(callers[i].wrong);
        failed += callers[i].failed;
    }
    counting = false;
    assert_int_equal(atomic_load(&most_at_once), 1);
    assert_true(atomic_load(&begun) < THREADS * CALLS);
    assert_int_equal(atomic_load(&begun), atomic_load(&over));
    assert_true(failed >= atomic_load(&begun) / FAIL_EVERY); /* each has a caller at least */
    kv_store_close(&store);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_syncs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
