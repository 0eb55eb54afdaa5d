/* The sweep of the object store: what the dead left goes, what anybody relies on stays. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/disk_rig.h"
#include "tests/unit/sweep_all.h"

static const char *stuck; /* this name cannot be removed */

/* In the place of libc's. */
int unlinkat(int fd, const char *name, int flags)
{
    if (!stuck || strcmp(name, stuck) != 0)
        return (int)syscall(SYS_unlinkat, fd, name, flags);
    errno = EIO;
    return -1;
}

/* A child makes a temporary file, links it where `key` says (NULL: nowhere), and is killed. */
static void die_writing(fixture *f, uint64_t id, const char *key)
{
    pid_t pid = fork();
    if (pid == 0) {
        kv_put *put;
        if (kv_put_begin(f->store, id, 0, &put) != KV_OK || kv_put_write(put, "lost", 4) != KV_OK ||
            (key && kv_put_link(put, key, NULL) != KV_OK))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

/* The same, of bytes that are at `from` already. */
static void die_sharing(fixture *f, uint64_t id, const char *from, const char *key)
{
    pid_t pid = fork();
    if (pid == 0) {
        kv_put *put;
        if (kv_put_begin(f->store, id, 0, &put) != KV_OK || kv_put_write(put, "same", 4) != KV_OK ||
            kv_put_link_same(put, from, key, NULL) != KV_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

typedef struct oracle {
    const char *orphan;  /* this key has no row */
    const char *unknown; /* of this one nobody can tell */
    kv_put *claims;      /* this put links the key while it is judged */
    int asked;
} oracle;

static kv_key_fate is_orphan(void *arg, const char *key)
{
    oracle *o = arg;
    o->asked++;
    if (o->claims) {
        bool existed;
        OK(kv_put_link(o->claims, key, &existed));
        assert_true(existed);
    }
    if (o->unknown && strcmp(key, o->unknown) == 0)
        return KV_KEY_LATER;
    return o->orphan && strcmp(key, o->orphan) == 0 ? KV_KEY_GOES : KV_KEY_STAYS;
}

static void the_sweep_takes_what_the_dead_left(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    oracle o = {0};
    kv_put *live;
    OK(kv_put_begin(f->store, 1, 0, &live)); /* this process is alive */
    die_writing(f, 2, NULL);
    die_writing(f, 3, NULL);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 3);
    OK(sweep_all(f->store, 60000, is_orphan, &o, &r));
    assert_int_equal(r.removed, 2);
    assert_int_equal(r.later + r.orphans, 0);
    assert_int_equal(o.asked, 0);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 1);
    OK(kv_put_link(live, "a/x", NULL));
    kv_put_finish(&live);
}

static void the_sweep_asks_about_linked_ones(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    oracle o = {.orphan = "a/b/orphan"};
    store_text(f->store, 1, "a/b/other", "other");
    die_writing(f, 2, "a/b/orphan");
    die_writing(f, 3, ".variants/x/kept");
    OK(sweep_all(f->store, 60000, is_orphan, &o, &r));
    assert_int_equal(r.later, 2); /* its MEDIA_COMMIT may be on its way */
    assert_int_equal(o.asked, 0);
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(o.asked, 2);
    assert_int_equal(r.orphans, 1);
    assert_int_equal(r.removed, 2);
    assert_true(holds(f->store, "a/b/orphan", NULL));
    assert_true(holds(f->store, ".variants/x/kept", "lost"));
    assert_true(holds(f->store, "a/b/other", "other"));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(r.removed, 0);
}

/* The key is not a name of the temporary file, but of an object of another folder. */
static void the_sweep_finds_names_of_known_bytes(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    oracle o = {.orphan = "b/same"};
    store_text(f->store, 1, "a/same", "same");
    die_sharing(f, 2, "a/same", "b/same");
    die_sharing(f, 3, "a/same", "c/same"); /* this one has its row */
    OK(sweep_all(f->store, 60000, is_orphan, &o, &r));
    assert_int_equal(r.later, 2);
    assert_true(holds(f->store, "b/same", "same"));
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(r.orphans, 1);
    assert_true(holds(f->store, "b/same", NULL));
    assert_true(holds(f->store, "a/same", "same"));
    assert_true(holds(f->store, "c/same", "same"));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

static void a_put_that_shares_and_is_left(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    kv_put *put;
    oracle o = {.orphan = "b/same"};
    store_text(f->store, 1, "a/same", "same");
    OK(kv_put_begin(f->store, 2, 0, &put));
    OK(kv_put_write(put, "same", 4));
    OK(kv_put_link_same(put, "a/same", "b/same", NULL));
    kv_put_finish(&put);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
    OK(kv_put_begin(f->store, 3, 0, &put));
    OK(kv_put_write(put, "same", 4));
    OK(kv_put_link_same(put, "a/same", "b/same", NULL));
    kv_put_leave(&put);
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_true(holds(f->store, "b/same", NULL));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

/* Two uploads of the same bytes have one key. The first one made the file and failed; the second
 * one died. */
static void a_put_that_claims_and_is_left(void **state)
{
    fixture *f = *state;
    kv_put *first, *second;
    bool existed;
    kv_sweep_result r;
    oracle o = {.orphan = "a/same"};
    OK(kv_put_begin(f->store, 1, 0, &first));
    OK(kv_put_write(first, "same", 4));
    OK(kv_put_link(first, "a/same", NULL));
    OK(kv_put_begin(f->store, 2, 0, &second));
    OK(kv_put_write(second, "same", 4));
    OK(kv_put_link(second, "a/same", &existed));
    assert_true(existed);
    kv_put_finish(&first);
    kv_put_leave(&second);
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(r.orphans, 1);
    assert_true(holds(f->store, "a/same", NULL));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
    /* and where it lives to its end, nothing of it stays */
    OK(kv_put_begin(f->store, 1, 0, &first));
    OK(kv_put_write(first, "same", 4));
    OK(kv_put_link(first, "a/same", NULL));
    OK(kv_put_begin(f->store, 2, 0, &second));
    OK(kv_put_write(second, "same", 4));
    OK(kv_put_link(second, "a/same", NULL));
    kv_put_finish(&first);
    kv_put_finish(&second);
    assert_true(holds(f->store, "a/same", "same"));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

static void the_sweep_leaves_what_nobody_can_tell(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    oracle o = {.orphan = "a/b/orphan", .unknown = "a/b/orphan"};
    die_writing(f, 2, "a/b/orphan");
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(r.later, 1);
    assert_int_equal(r.removed + r.orphans, 0);
    assert_true(holds(f->store, "a/b/orphan", "lost"));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 1);
    o.unknown = NULL;
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(r.removed + r.orphans, 2);
}

/* A process that stops leaves a linked file as one that dies does; else nothing. */
static void a_put_that_is_left(void **state)
{
    fixture *f = *state;
    kv_put *put;
    OK(kv_put_begin(f->store, 1, 0, &put));
    kv_put_leave(&put);
    assert_null(put);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
    OK(kv_put_begin(f->store, 2, 0, &put));
    OK(kv_put_link(put, "a/b/linked", NULL));
    kv_put_leave(&put);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 1);
    kv_put_leave(&put); /* NULL: nothing */
}

/* The same bytes are uploaded again while the sweep judges them: the new upload relies on the key,
 * which must stay. */
static void the_sweep_gives_way_to_a_new_claim(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    kv_put *again;
    die_writing(f, 2, "a/same");
    OK(kv_put_begin(f->store, 3, 0, &again));
    OK(kv_put_write(again, "lost", 4));
    struct timespec old[2] = {{.tv_sec = 1000},
                              {.tv_sec = 1000}}; /* as if the upload had died long ago */
    assert_int_equal(utimensat(AT_FDCWD, scratch_path(&f->s, "media/a/same"), old, 0), 0);
    oracle o = {.orphan = "a/same", .claims = again};
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(o.asked, 1);
    assert_int_equal(r.orphans, 0);
    kv_put_finish(&again);
    assert_true(holds(f->store, "a/same", "lost"));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

/* Without its temporary name nobody would ever look at it again. */
static void the_sweep_tries_again_what_it_could_not_remove(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    oracle o = {.orphan = "a/b/orphan"};
    die_writing(f, 2, "a/b/orphan");
    stuck = "orphan";
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    stuck = NULL;
    assert_int_equal(r.orphans, 0);
    assert_int_equal(r.later, 1);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 1);
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(r.orphans, 1);
    assert_true(holds(f->store, "a/b/orphan", NULL));
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
}

static void the_sweep_handles_many(void **state)
{
    fixture *f = *state;
    kv_sweep_result r;
    oracle o = {0};
    char key[32];
    for (uint64_t i = 0; i < 150; i++) { /* more than one batch */
        snprintf(key, sizeof key, "many/%u", (unsigned)i);
        die_writing(f, 100 + i, key);
    }
    OK(sweep_all(f->store, -1000, is_orphan, &o, &r));
    assert_int_equal(r.removed, 150);
    assert_int_equal(o.asked, 150);
    assert_int_equal(names_in(&f->s, "media/.tmp"), 0);
    assert_int_equal(count(f->store, "many/"), 150);
}

/* Uploads go on between the slices: one of the same bytes may come to rely on a key meanwhile. */
static void a_sweep_in_slices(void **state)
{
    fixture *f = *state;
    kv_sweep *s;
    kv_sweep_result r;
    oracle o = {.orphan = "z/orphan"};
    char key[32];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "many/%d/x", i);
        store_text(f->store, 1, key, "x");
    }
    die_writing(f, 2, "z/orphan");
    die_writing(f, 3, "z/kept");
    for (int cut = 0; cut < 2; cut++) { /* the first one ends in the middle: all stays */
        bool done = false;
        int slices = 0;
        OK(kv_sweep_begin(f->store, -1000, is_orphan, &o, &s));
        while (!done && !(cut == 0 && slices == 3)) {
            OK(kv_sweep_on(s, 10, &done));
            slices++;
        }
        kv_sweep_end(&s, &r);
        assert_int_equal(r.later, cut ? 0 : 2);
        assert_int_equal(r.removed, cut ? 2 : 0);
        assert_true(cut == 0 || slices >= 30); /* a folder is two entries, and a file one */
        assert_int_equal(names_in(&f->s, "media/.tmp"), cut ? 0 : 2);
    }
    assert_true(holds(f->store, "z/orphan", NULL));
    assert_true(holds(f->store, "z/kept", "lost"));
}

static void a_key_claimed_between_slices(void **state)
{
    fixture *f = *state;
    kv_sweep *s;
    kv_sweep_result r;
    kv_put *live;
    oracle o = {.orphan = "z/orphan"};
    bool done, existed;
    die_writing(f, 2, "z/orphan");
    OK(kv_sweep_begin(f->store, -1000, is_orphan, &o, &s));
    OK(kv_sweep_on(s, 3, &done)); /* the names in .tmp, and no more */
    assert_false(done);
    OK(kv_put_begin(f->store, 9, 0, &live));
    OK(kv_put_write(live, "lost", 4));
    OK(kv_put_link(live, "z/orphan", &existed));
    assert_true(existed);
    while (!done)
        OK(kv_sweep_on(s, 1, &done));
    kv_sweep_end(&s, &r);
    assert_int_equal(r.orphans, 0);
    assert_true(holds(f->store, "z/orphan", "lost"));
    kv_put_finish(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_sweep_takes_what_the_dead_left),
        T(the_sweep_asks_about_linked_ones),
        T(a_sweep_in_slices),
        T(a_key_claimed_between_slices),
        T(the_sweep_leaves_what_nobody_can_tell),
        T(the_sweep_finds_names_of_known_bytes),
        T(a_put_that_is_left),
        T(a_put_that_shares_and_is_left),
        T(a_put_that_claims_and_is_left),
        T(the_sweep_gives_way_to_a_new_claim),
        T(the_sweep_tries_again_what_it_could_not_remove),
        T(the_sweep_handles_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
