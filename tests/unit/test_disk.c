/* The object store. The first part asks only for what object.h promises, so that another medium can
 * pass it; the second is about files: modes, temporary names, a full disk. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "tests/unit/disk_rig.h"

static nlink_t names_max; /* of a file; 0: as many as the file system allows */

static int unreadable; /* what pread says; 0: what is there */

/* In the place of libc's. */
ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
    errno = unreadable;
    return unreadable ? -1 : syscall(SYS_pread64, fd, buf, len, at);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    struct stat st;
    if (names_max && fstatat(from_fd, from, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_nlink >= names_max && faccessat(to_fd, to, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        errno = EMLINK;
        return -1;
    }
    return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

/* ---- what every store does ---- */

static void put_then_read(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    kv_put *put;
    kv_object_info info;
    bool existed = true;
    char buf[8];
    size_t len;
    OK(kv_put_begin(store, 1, 10, &put));
    OK(kv_put_write(put, "01234", 5));
    OK(kv_put_write(put, "56789", 5));
    OK(kv_put_write(put, "", 0));
    assert_int_equal(kv_put_size(put), 10);
    OK(kv_put_start_sync(put));
    OK(kv_put_sync(put));
    assert_int_equal(kv_store_head(store, "banners/a.jpg", &info),
                     KV_E_NOT_FOUND); /* S0-16: not before the link */
    OK(kv_put_link(put, "banners/a.jpg", &existed));
    assert_false(existed);
    OK(kv_put_link(put, "haber/2026/a.jpg", &existed)); /* a second key */
    assert_false(existed);
    OK(kv_put_link(put, "banners/a.jpg", &existed)); /* again: success */
    assert_true(existed);
    const char *keys[] = {"banners/a.jpg", "haber/2026/a.jpg", "banners/a.jpg", "gone/b.jpg"};
    OK(kv_store_sync_folders(store, keys, 4));
    kv_put_finish(&put);
    OK(kv_store_head(store, "haber/2026/a.jpg", &info));
    assert_int_equal(info.size, 10);
    assert_true(info.mtime_ms > 1700000000000);
    OK(kv_store_read(store, "banners/a.jpg", 4, buf, 4, &len));
    assert_memory_equal(buf, "4567", 4);
    OK(kv_store_read(store, "banners/a.jpg", 8, buf, 8, &len));
    assert_int_equal(len, 2);
    OK(kv_store_read(store, "banners/a.jpg", 80, buf, 8, &len));
    assert_int_equal(len, 0);
}

/* S0-33 */
static void abort_leaves_nothing(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    kv_put *put;
    OK(kv_put_begin(store, 1, 0, &put));
    OK(kv_put_write(put, "half", 4));
    kv_put_abort(&put);
    assert_null(put);
    kv_put_abort(&put); /* of nothing: nothing */
    assert_int_equal(count(store, ""), 0);
    OK(kv_put_begin(store, 1, 0, &put)); /* the id is free again */
    kv_put_abort(&put);
}

static void one_id_one_put(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    kv_put *put, *other;
    OK(kv_put_begin(store, 1, 0, &put));
    assert_int_equal(kv_put_begin(store, 1, 0, &other), KV_E_CONFLICT);
    assert_null(other);
    kv_put_abort(&put);
}

/* S0-32: whoever looks sees nothing or all; the first of two equal objects stays. */
static void linking_is_atomic_and_harmless_twice(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    kv_put *a, *b;
    bool existed;
    OK(kv_put_begin(store, 1, 0, &a));
    OK(kv_put_begin(store, 2, 0, &b));
    OK(kv_put_write(a, "same", 4));
    OK(kv_put_write(b, "same", 4));
    OK(kv_put_link(a, "x/same.txt", &existed));
    assert_false(existed);
    OK(kv_put_link(b, "x/same.txt", &existed));
    assert_true(existed);
    kv_put_abort(&b);
    kv_put_finish(&a);
    assert_true(holds(store, "x/same.txt", "same"));
    assert_int_equal(count(store, ""), 1);
}

static void bad_keys_are_refused(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    char long_key[500], deep[100] = "";
    memset(long_key, 'a', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = '\0';
    for (int i = 0; i < 20; i++)
        strcat(deep, "a/");
    strcat(deep, "b");
    const char *bad[] = {"",       "/",    "/a",   "a/",       "a//b",   "../a", "a/..",
                         "a/../b", ".",    "a/.",  "a..b",     ".tmp/x", ".tmp", "A.jpg",
                         "a b",    "a\\b", "a%2e", "\xc3\xbc", long_key, deep};
    kv_put *put;
    OK(kv_put_begin(store, 1, 0, &put));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kv_object_info info;
        int fd;
        size_t len;
        assert_int_equal(kv_put_link(put, bad[i], NULL), KV_E_BAD_PARAMETER);
        assert_int_equal(kv_store_head(store, bad[i], &info), KV_E_BAD_PARAMETER);
        assert_int_equal(kv_store_open(store, bad[i], &fd, &info), KV_E_BAD_PARAMETER);
        assert_int_equal(kv_store_read(store, bad[i], 0, &info, 1, &len), KV_E_BAD_PARAMETER);
        assert_int_equal(kv_store_delete(store, bad[i]), KV_E_BAD_PARAMETER);
        assert_int_equal(kv_store_sync_folders(store, &bad[i], 1), KV_E_BAD_PARAMETER);
    }
    OK(kv_put_link(put, "a.tmp/.hidden/-x_.webp", NULL));
    kv_put_abort(&put);
}

static void deleting(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    store_text(store, 1, "a/b/one", "1");
    store_text(store, 2, "a/b/c/two", "2");
    store_text(store, 3, "a/bc", "3");
    store_text(store, 4, ".variants/x/w1.webp", "4");
    OK(kv_store_delete(store, "a/b/one"));
    OK(kv_store_delete(store, "a/b/one"));
    OK(kv_store_delete(store, "never/was"));
    assert_true(holds(store, "a/b/one", NULL));
    const char *bad[] = {"", "/", "a", "a/b", "./", "../", ".tmp/", "a//", "a/../", "/a/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(kv_store_delete_prefix(store, bad[i]), KV_E_BAD_PARAMETER);
    assert_int_equal(count(store, ""), 3);
    OK(kv_store_delete_prefix(store, "a/b/"));
    OK(kv_store_delete_prefix(store, "a/b/"));
    assert_true(holds(store, "a/b/c/two", NULL));
    assert_true(holds(store, "a/bc", "3"));
    OK(kv_store_delete_prefix(store, ".variants/x/"));
    assert_int_equal(count(store, ""), 1);
    store_text(store, 5, "a/b/c/again",
               "5"); /* folders that were known and are gone are made again */
    assert_true(holds(store, "a/b/c/again", "5"));
}

static bool stop_at_two(void *arg, const char *key, const kv_object_info *i)
{
    (void)key, (void)i;
    return ++*(int *)arg < 2;
}

static void listing(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    kv_put *put;
    store_text(store, 1, "a/one", "1");
    store_text(store, 2, "a/other", "22");
    store_text(store, 3, "ab/x/y", "333");
    store_text(store, 4, "top", "");
    OK(kv_put_begin(store, 9, 0, &put)); /* .tmp is never seen */
    assert_int_equal(count(store, ""), 4);
    assert_int_equal(count(store, "a"), 3);
    assert_int_equal(count(store, "a/"), 2);
    assert_int_equal(count(store, "a/on"), 1);
    assert_int_equal(count(store, "none/"), 0);
    assert_int_equal(count(store, "top"), 1);
    int n = 0;
    assert_int_equal(kv_store_list(store, "../", count_one, &n), KV_E_BAD_PARAMETER);
    assert_int_equal(kv_store_list(store, ".tmp/", count_one, &n), KV_E_BAD_PARAMETER);
    OK(kv_store_list(store, "", stop_at_two, &n));
    assert_int_equal(n, 2);
    kv_put_abort(&put);
}

static void many_folders(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    char key[64];
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 600; i++) { /* more than are kept open */
            snprintf(key, sizeof key, ".variants/%03u/w%d", (unsigned)i, round);
            store_text(store, 1000 + i, key, "x");
        }
    }
    assert_int_equal(count(store, ".variants/"), 1200);
}

typedef struct racer {
    kv_store *store;
    uint64_t id;
    bool failed;
} racer;

static void *race(void *arg)
{
    racer *r = arg;
    const char *keys[] = {"race/deep/a", "race/deep/b"};
    for (uint64_t i = 0; i < 200; i++) {
        kv_put *put;
        r->failed |= kv_put_begin(r->store, r->id + i, 0, &put) != KV_OK;
        r->failed |= kv_put_write(put, "race", 4) != KV_OK;
        r->failed |= kv_put_link(put, keys[i % 2], NULL) != KV_OK;
        r->failed |= kv_store_sync_folders(r->store, keys, 2) != KV_OK;
        kv_put_finish(&put);
        if (i % 10 == r->id % 7) {
            kv_err err = kv_store_delete_prefix(r->store, "race/");
            r->failed |= err != KV_OK && err != KV_E_BUSY; /* somebody was faster with a new one */
        }
    }
    return NULL;
}

/* Links and folder removals from four threads: none fails, nothing is torn. */
static void threads_share_a_store(void **state)
{
    kv_store *store = ((fixture *)*state)->store;
    pthread_t threads[4];
    racer racers[4];
    for (uint64_t i = 0; i < 4; i++) {
        racers[i] = (racer){store, 10000 * (i + 1), false};
        pthread_create(&threads[i], NULL, race, &racers[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_false(racers[i].failed);
    }
    store_text(store, 1, "race/deep/c", "c");
    assert_true(holds(store, "race/deep/c", "c"));
}

/* ---- disk only ---- */

static mode_t mode_of(const scratch *s, const char *name)
{
    struct stat st;
    assert_int_equal(stat(scratch_path(s, name), &st), 0);
    return st.st_mode & 07777;
}

/* S0-28 */
static void modes_do_not_depend_on_the_umask(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        scratch s;
        kv_store *store;
        mode_t old = umask(i == 0 ? 077 : 0);
        scratch_make(&s);
        OK(kv_store_open_config(&s.cfg, &store));
        store_text(store, 1, "haber/2026/a.jpg", "a");
        umask(old);
        assert_int_equal(mode_of(&s, "media"), 0775);
        assert_int_equal(mode_of(&s, "media/haber"), 0775);
        assert_int_equal(mode_of(&s, "media/haber/2026"), 0775);
        assert_int_equal(mode_of(&s, "media/haber/2026/a.jpg"), 0644);
        kv_store_close(&store);
        scratch_remove(&s);
    }
    /* A process died between making a folder and setting its mode. */
    mkdir(scratch_path(&f->s, "media/half"), 0700);
    store_text(f->store, 2, "half/a", "a");
    assert_int_equal(mode_of(&f->s, "media/half"), 0775);
}

/* Who keeps others out of the data folder keeps them out; what a link leads to is somebody's own.
 */
static void other_folders_keep_their_modes(void **state)
{
    (void)state;
    scratch s, other;
    kv_store *store;
    char path[512];
    scratch_make(&s); /* 0700 */
    scratch_make(&other);
    OK(kv_store_open_config(&s.cfg, &store));
    assert_int_equal(mode_of(&s, "."), 0700);
    snprintf(path, sizeof path, "%s", scratch_path(&s, "media/haber"));
    assert_int_equal(symlink(other.dir, path), 0);
    store_text(store, 1, "haber/a.jpg", "a");
    assert_int_equal(mode_of(&other, "."), 0700);
    kv_store_close(&store);
    scratch_remove(&s);
    scratch_remove(&other);
}

/* S0-92 */
static void no_temporary_file_stays(void **state)
{
    fixture *f = *state;
    kv_put *put;
    store_text(f->store, 1, "a/b", "x");
    OK(kv_put_begin(f->store, 2, 0, &put));
    OK(kv_put_write(put, "x", 1));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 1);
    kv_put_abort(&put);
    OK(kv_put_begin(f->store, 3, 0, &put));
    assert_int_equal(kv_put_link(put, "../evil", NULL), KV_E_BAD_PARAMETER);
    kv_put_abort(&put);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

static void a_second_key_is_the_same_file(void **state)
{
    fixture *f = *state;
    kv_put *put;
    struct stat st;
    assert_int_equal(kv_store_flags(f->store), KV_STORE_LINKS | KV_STORE_LOCAL_FD);
    OK(kv_put_begin(f->store, 1, 0, &put));
    OK(kv_put_link(put, "a/x", NULL));
    OK(kv_put_link(put, "b/x", NULL));
    kv_put_finish(&put);
    assert_int_equal(stat(scratch_path(&f->s, "media/b/x"), &st), 0);
    assert_int_equal(st.st_nlink, 2);
    assert_true(kv_store_space(f->store).bytes > 0);
}

/* Under DURABILITY=relaxed a power cut may leave an empty file under a key; it must not pass for
 * the object. */
static void a_torn_file_is_replaced(void **state)
{
    fixture *f = *state;
    mkdir(scratch_path(&f->s, "media/a"), 0775);
    close(open(scratch_path(&f->s, "media/a/x"), O_CREAT | O_WRONLY, 0644));
    store_text(f->store, 1, "a/x", "whole");
    assert_true(holds(f->store, "a/x", "whole"));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

/* ext4 lets a file have 65,000: the same bytes again are a file of their own then. */
static void a_file_with_all_its_names(void **state)
{
    fixture *f = *state;
    kv_put *put;
    bool existed = true;
    struct stat st;
    store_text(f->store, 1, "a/x", "same");
    OK(kv_put_begin(f->store, 2, 0, &put));
    OK(kv_put_write(put, "same", 4));
    names_max = 2;
    OK(kv_put_link_same(put, "a/x", "a/x", &existed)); /* one is left, for a mark */
    char other[512];
    snprintf(other, sizeof other, "%s", scratch_path(&f->s, "y"));
    assert_int_equal(link(scratch_path(&f->s, "media/a/x"), other), 0);
    assert_int_not_equal(kv_put_link_same(put, "a/x", "b/x", NULL), KV_OK); /* ours then */
    assert_int_not_equal(kv_put_link(put, "a/x", NULL), KV_OK);             /* not durable */
    OK(kv_put_sync(put));
    OK(kv_put_link(put, "a/x", &existed));
    assert_false(existed);
    names_max = 0;
    kv_put_finish(&put);
    assert_true(holds(f->store, "a/x", "same"));
    assert_int_equal(stat(scratch_path(&f->s, "media/a/x"), &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

static void a_symlink_is_not_an_object(void **state)
{
    fixture *f = *state;
    int fd;
    kv_object_info info;
    store_text(f->store, 1, "a/x", "x");
    assert_int_equal(symlink("/etc/passwd", scratch_path(&f->s, "media/a/link")), 0);
    assert_int_equal(kv_store_open(f->store, "a/link", &fd, &info), KV_E_NOT_FOUND);
    assert_int_equal(kv_store_head(f->store, "a/link", &info), KV_E_NOT_FOUND);
    assert_int_equal(kv_store_open(f->store, "a", &fd, &info), KV_E_NOT_FOUND);
    OK(kv_store_open(f->store, "a/x", &fd, &info));
    assert_int_equal(info.size, 1);
    close(fd);
}

static void a_full_disk(void **state)
{
    fixture *f = *state;
    static char bytes[100000];
    struct rlimit old, small;
    kv_put *put;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){.rlim_cur = 150000, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    OK(kv_put_begin(f->store, 1, 0, &put));
    setrlimit(RLIMIT_FSIZE, &small);
    kv_err first = kv_put_write(put, bytes, sizeof bytes),
           second = kv_put_write(put, bytes, sizeof bytes);
    setrlimit(RLIMIT_FSIZE, &old);
    OK(first);
    assert_int_equal(second, KV_E_DISK_FULL); /* after a short write of the first 50,000 */
    assert_int_equal(kv_put_write(put, "x", 1), KV_E_DISK_FULL); /* it stays failed */
    assert_int_equal(kv_put_sync(put), KV_E_DISK_FULL);
    assert_int_equal(kv_put_link(put, "a/x", NULL), KV_E_DISK_FULL);
    kv_put_abort(&put);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
    assert_int_equal(count(f->store, ""), 0);
}

static void large_ones_are_written_back_early(void **state)
{
    fixture *f = *state;
    size_t len = 1 << 20;
    char *bytes = calloc(1, len);
    kv_put *put;
    OK(kv_put_begin(f->store, 1, 20u << 20, &put));
    for (int i = 0; i < 20; i++)
        OK(kv_put_write(put, bytes, len));
    OK(kv_put_sync(put));
    assert_int_equal(kv_put_size(put), 20u << 20);
    kv_put_abort(&put);
    free(bytes);
}

static void relaxed_writes_the_same(void **state)
{
    fixture *f = *state;
    kv_store *store;
    f->s.cfg.durability = "relaxed";
    OK(kv_store_open_config(&f->s.cfg, &store));
    store_text(store, 1, "a/x", "x");
    assert_true(holds(store, "a/x", "x"));
    kv_store_close(&store);
    f->s.cfg.use_s3 = true;
    assert_int_equal(kv_store_open_config(&f->s.cfg, &store), KV_E_UNSUPPORTED);
}

static char said[4096];

static void listen_to(const char *lines, size_t len)
{
    snprintf(said + strlen(said), sizeof said - strlen(said), "%.*s", (int)len, lines);
}

/* Clients get an error; whose fault it is stands in the log. */
static void what_cannot_be_read_is_said(void **state)
{
    fixture *f = *state;
    kv_object_info info;
    char buf[8];
    size_t len;
    int fd;
    struct rlimit files, none = {0};
    store_text(f->store, 1, "banners/a.jpg", "text");
    kv_log_divert(listen_to);
    assert_int_equal(kv_store_open(f->store, "banners/b.jpg", &fd, &info), KV_E_NOT_FOUND);
    assert_string_equal(said, ""); /* it may have been deleted */
    unreadable = EIO;
    assert_int_equal(kv_store_read(f->store, "banners/a.jpg", 0, buf, 4, &len), KV_E_IO);
    unreadable = 0;
    assert_non_null(strstr(said, "\"object_unreadable\""));
    assert_non_null(strstr(said, "\"key\":\"banners/a.jpg\",\"error\":\"Input/output error\""));
    said[0] = '\0';
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    none.rlim_max = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    kv_err err = kv_store_open(f->store, "banners/a.jpg", &fd, &info);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    kv_log_divert(NULL);
    assert_int_equal(err, KV_E_NO_MEMORY);
    assert_non_null(strstr(said, "\"key\":\"banners/a.jpg\",\"error\":\"Too many open files\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(put_then_read),
        T(abort_leaves_nothing),
        T(one_id_one_put),
        T(linking_is_atomic_and_harmless_twice),
        T(bad_keys_are_refused),
        T(deleting),
        T(listing),
        T(many_folders),
        T(threads_share_a_store),
        T(modes_do_not_depend_on_the_umask),
        T(other_folders_keep_their_modes),
        T(no_temporary_file_stays),
        T(a_second_key_is_the_same_file),
        T(a_torn_file_is_replaced),
        T(a_file_with_all_its_names),
        T(a_symlink_is_not_an_object),
        T(a_full_disk),
        T(what_cannot_be_read_is_said),
        T(large_ones_are_written_back_early),
        T(relaxed_writes_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
