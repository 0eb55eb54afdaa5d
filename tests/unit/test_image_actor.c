/* The image actor behind a fake broker: job in, variants stored, answer out. This program is its
 * own zygote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "actors/image/image.h"
#include "actors/image/keeper.h"
#include "actors/image/passfd.h"
#include "actors/image/wire.h"
#include "actors/image/zygote.h"
#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "proto/base/words.h"
#include "proto/out.h"
#include "storage/object.h"
#include "tests/unit/scratch.h"

#define DATA KV_TESTS_DIR "/unit/data/images/"

typedef struct fixture {
    scratch s;
    kv_store *store;
    kv_fake_clock clock;
    kv_out *out;
    void *actor;
} fixture;

static const uint64_t blob = 77 << 12;

static int make(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    scratch_make(&f->s);
    f->s.cfg.image_widths = "100,200,400";
    f->s.cfg.webp_quality = 80;
    f->s.cfg.webp_effort = 2;
    f->s.cfg.avif_quality = 50;
    f->s.cfg.avif_effort = 1;
    f->s.cfg.image_concurrency = 2;
    f->s.cfg.image_max_megapixels = 100;
    f->s.cfg.image_memory_mb = 1024;
    f->s.cfg.image_timeout = 60;
    assert_int_equal(kv_store_open_config(&f->s.cfg, &f->store), KV_OK);
    kv_fake_clock_init(&f->clock, 1800000000000);
    f->out = kv_out_fake(&f->clock.clock);
    assert_int_equal(kv_image_actor.create(&f->s.cfg, NULL, &f->actor), KV_OK);
    *state = f;
    return 0;
}

static int drop(void **state)
{
    fixture *f = *state;
    kv_image_actor.destroy(&f->actor);
    kv_out_fake_destroy(&f->out);
    kv_store_close(&f->store);
    scratch_remove(&f->s);
    free(f);
    return 0;
}

static void store_file(fixture *f, uint64_t id, const char *name, const char *key)
{
    static char bytes[1 << 17];
    char path[512];
    bool existed;
    kv_put *put;
    snprintf(path, sizeof path, DATA "%s", name);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t len = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    assert_int_equal(kv_put_begin(f->store, id, len, &put), KV_OK);
    assert_int_equal(kv_put_write(put, bytes, len), KV_OK);
    assert_int_equal(kv_put_link(put, key, &existed), KV_OK);
    kv_put_finish(&put);
}

static void handle(fixture *f, const kv_msg *m)
{
    kv_header head = {.code = m->code};
    kv_in in = {.head = &head, .msg = m};
    for (const kv_handler *h = kv_image_actor.handlers; h->code; h++) {
        if (h->code == m->code)
            h->fn(f->actor, &in, f->out);
    }
}

static void send_job(fixture *f, uint64_t job, const char *key, const char *mime)
{
    kv_msg m;
    char params[512], id[KV_ID_TEXT + 1];
    kv_id_format(blob, id);
    snprintf(params, sizeof params, "{\"blob\":\"%s\",\"key\":\"%s\",\"mime\":\"%s\"}", id, key,
             mime);
    kv_msg_defaults(KV_JOB, &m);
    m.job.job = job;
    m.job.epoch = 3;
    m.job.attempt = 2;
    m.job.service = kv_slice_str(KV_SERVICE_IMAGE);
    m.job.params = kv_slice_str(params);
    handle(f, &m);
}

/* Lets the actor work until it asks something that is no progress; progress is answered and
 * counted. */
static const kv_msg *next_answer(fixture *f, int *ret_progress)
{
    for (int i = 0; i < 6000; i++) {
        kv_image_actor.tick(f->actor, 0, f->out);
        for (const kv_msg *m; (m = kv_out_fake_asked(f->out, 0));) {
            if (m->code != KV_JOB_PROGRESS)
                return m;
            assert_int_equal(m->job_progress.epoch, 3);
            assert_in_range(m->job_progress.progress, 1, 99);
            if (ret_progress)
                ++*ret_progress;
            kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
        }
        (void)poll(NULL, 0, 10); /* the child works in its own time */
    }
    fail_msg("no answer");
    return NULL;
}

static void accept_answer(fixture *f)
{
    assert_false(kv_image_actor.drained(f->actor));
    kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    assert_true(kv_image_actor.drained(f->actor));
}

static void check_stored(fixture *f, json_t *v)
{
    kv_buf key;
    kv_object_info info;
    const char *format, *params;
    int width, height, full;
    json_int_t size;
    assert_int_equal(json_unpack(v, "{s:s,s:i,s:i,s:I,s:s,s:b}", "format", &format, "width", &width,
                                 "height", &height, "size", &size, "params", &params, "full",
                                 &full),
                     0);
    kv_buf_init(&key, 0);
    kv_variant_key(&key, blob, full ? 0 : (uint32_t)width, kv_slice_str(params),
                   kv_slice_str(format));
    assert_int_equal(kv_store_head(f->store, kv_buf_str(&key), &info), KV_OK);
    assert_int_equal(info.size, size);
    kv_buf_release(&key);
}

/* S0-20, S0-71, S0-83: every variant that is told is stored under its key. */
static void picture_becomes_variants(void **state)
{
    fixture *f = *state;
    int progress = 0, width, height;
    const char *thumbhash;
    json_t *variants;
    store_file(f, 1, "photo.jpg", "banners/a.jpg");
    send_job(f, 9, "banners/a.jpg", "image/jpeg");
    const kv_msg *m = next_answer(f, &progress);
    assert_int_equal(m->code, KV_JOB_DONE);
    assert_int_equal(m->job_done.job, 9);
    assert_int_equal(m->job_done.epoch, 3);
    assert_int_equal(m->job_done.attempt, 2);
    assert_true(progress > 0);
    json_t *root = json_loadb(m->job_done.result.ptr, m->job_done.result.len, 0, NULL);
    assert_int_equal(json_unpack(root, "{s:i,s:i,s:s,s:o}", "width", &width, "height", &height,
                                 "thumbhash", &thumbhash, "variants", &variants),
                     0);
    assert_int_equal(width, 350);
    assert_int_equal(height, 500);
    assert_true(strlen(thumbhash) >= 8);
    assert_int_equal(json_array_size(variants), 5);
    for (size_t i = 0; i < json_array_size(variants); i++)
        check_stored(f, json_array_get(variants, i));
    json_decref(root);
    accept_answer(f);
}

static void expect_failure(fixture *f, kv_err err, bool retry)
{
    const kv_msg *m = next_answer(f, NULL);
    assert_int_equal(m->code, KV_JOB_FAIL);
    assert_int_equal(m->job_fail.number, err);
    assert_int_equal(m->job_fail.retry, retry);
    assert_true(m->job_fail.detail.len > 0);
    accept_answer(f);
}

static void what_cannot_be_done_fails_once(void **state)
{
    fixture *f = *state;
    store_file(f, 1, "rgba16.png", "banners/b.png");
    send_job(f, 1, "banners/b.png", "image/jpeg");
    expect_failure(f, KV_E_BAD_IMAGE, false);
    send_job(f, 2, "banners/none.png", "image/png");
    expect_failure(f, KV_E_NOT_FOUND, false);
    send_job(f, 3, "banners/b.png", "image/svg+xml");
    expect_failure(f, KV_E_UNSUPPORTED, false);
    kv_msg m;
    kv_msg_defaults(KV_JOB, &m);
    m.job.job = 4;
    m.job.epoch = 3;
    m.job.params = kv_slice_str("[]");
    handle(f, &m);
    expect_failure(f, KV_E_BAD_PARAMETER, false);
}

static void answer_is_sent_until_it_is_taken(void **state)
{
    fixture *f = *state;
    store_file(f, 1, "grey.jpg", "banners/g.jpg");
    send_job(f, 5, "banners/g.jpg", "image/jpeg");
    send_job(f, 5, "banners/g.jpg", "image/jpeg"); /* the broker may repeat itself */
    assert_int_equal(next_answer(f, NULL)->code, KV_JOB_DONE);
    kv_out_fake_answer(f->out, f->actor, 0, KV_E_BROKER_AWAY, NULL);
    assert_int_equal(next_answer(f, NULL)->code, KV_JOB_DONE);
    kv_out_fake_answer(f->out, f->actor, 0, KV_E_STALE_LEASE, NULL);
    assert_true(kv_image_actor.drained(f->actor));
}

static void cancelled_job_is_not_answered(void **state)
{
    fixture *f = *state;
    kv_msg m;
    store_file(f, 1, "photo.jpg", "banners/a.jpg");
    send_job(f, 6, "banners/a.jpg", "image/jpeg");
    kv_msg_defaults(KV_JOB_CANCEL, &m);
    m.job_cancel.job = 6;
    m.job_cancel.epoch = 3;
    m.job_cancel.attempt = 2;
    handle(f, &m);
    for (int i = 0; i < 2000 && !kv_image_actor.drained(f->actor); i++) {
        kv_image_actor.tick(f->actor, 0, f->out);
        (void)poll(NULL, 0, 10);
    }
    assert_true(kv_image_actor.drained(f->actor));
    for (const kv_msg *asked; (asked = kv_out_fake_asked(f->out, 0));) {
        assert_int_equal(asked->code, KV_JOB_PROGRESS);
        kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    }
}

/* Output that is shorter than was said is the picture's fault and not tried again; output that
 * cannot be read is the machine's. */
static void whose_fault_the_output_is(void **state)
{
    fixture *f = *state;
    kv_id_maker ids;
    kv_keeping k = {.blob = blob, .count = 1, .variants[0] = {.size = 100}};
    kv_id_maker_init(&ids, 1);
    k.output_fd = memfd_create("variants", MFD_CLOEXEC);
    assert_int_equal(kv_keep(f->store, &ids, &k), KV_E_IMAGE_CRASH);
    close(k.output_fd);
    k.output_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(kv_keep(f->store, &ids, &k), KV_E_IO);
    close(k.output_fd);
}

static const kv_out_ops *behind;

static kv_err ask_without_memory(kv_out *out, const kv_header *head, const kv_msg *m,
                                 int64_t timeout_ms, kv_out_answer_fn fn, void *arg)
{
    kv_err err = m->code == KV_JOB_PROGRESS ? KV_E_NO_MEMORY
                                            : behind->ask(out, head, m, timeout_ms, fn, arg);
    errno = ENOMEM;
    return err;
}

/* What asking leaves in errno says nothing of the child's reports. */
static void progress_that_cannot_be_told_harms_no_picture(void **state)
{
    fixture *f = *state;
    behind = f->out->ops;
    kv_out_ops poor = *behind;
    poor.ask = ask_without_memory;
    f->out->ops = &poor;
    store_file(f, 1, "photo.jpg", "banners/a.jpg");
    send_job(f, 9, "banners/a.jpg", "image/jpeg");
    const kv_msg *m = next_answer(f, NULL);
    f->out->ops = behind;
    assert_int_equal(m->code, KV_JOB_DONE);
    accept_answer(f);
}

static pid_t child_of(pid_t parent)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    while (atoi(text) == 0) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n < 0 ? 0 : n] = '\0';
        close(fd);
    }
    return atoi(text);
}

/* The kernel chose it, though it was another that took the memory: it is tried again, and for some
 * time with no other beside it. */
static void picture_killed_for_want_of_memory_is_tried_again(void **state)
{
    fixture *f = *state;
    kv_image_actor.destroy(&f->actor);
    f->s.cfg.avif_effort = 9; /* takes long */
    assert_int_equal(kv_image_actor.create(&f->s.cfg, NULL, &f->actor), KV_OK);
    store_file(f, 1, "photo.jpg", "banners/a.jpg");
    send_job(f, 9, "banners/a.jpg", "image/jpeg");
    pid_t child = child_of(child_of(getpid()));
    char path[64], score[16] = "";
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)child);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, score, sizeof score - 1) > 0);
    close(fd);
    assert_in_range(atoi(score), 500, 1000); /* chosen before the broker */
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)child),
                     getpriority(PRIO_PROCESS, 0) + 10); /* background work */
    kill(child, SIGKILL);
    const kv_msg *m = next_answer(f, NULL);
    assert_int_equal(m->code, KV_JOB_FAIL);
    assert_int_equal(m->job_fail.number, KV_E_IMAGE_LIMIT);
    assert_true(m->job_fail.retry);
    accept_answer(f);
    assert_int_equal(kv_out_fake_credit(f->out), 1);
    kv_fake_clock_advance(&f->clock, 299000);
    kv_image_actor.tick(f->actor, 0, f->out);
    assert_int_equal(kv_out_fake_credit(f->out), 1);
    kv_fake_clock_advance(&f->clock, 1000);
    kv_image_actor.tick(f->actor, 0, f->out);
    assert_int_equal(kv_out_fake_credit(f->out), 2);
}

/* From now on no descriptor is to be had. */
static struct rlimit take_descriptors(void)
{
    struct rlimit is;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &is), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, is.rlim_max}), 0);
    return is;
}

/* Job 9 comes while there are none; what was the limit before. */
static struct rlimit send_without_descriptors(fixture *f)
{
    store_file(f, 1, "photo.jpg", "banners/a.jpg");
    struct rlimit enough = take_descriptors();
    send_job(f, 9, "banners/a.jpg", "image/jpeg");
    return enough;
}

static void picture_waits_for_the_machine(void **state)
{
    fixture *f = *state;
    struct rlimit enough = send_without_descriptors(f);
    kv_fake_clock_advance(&f->clock, 119000);
    kv_image_actor.tick(f->actor, 0, f->out);
    assert_null(kv_out_fake_asked(f->out, 0)); /* no attempt is used up */
    assert_true(kv_image_actor.drained(f->actor));
    setrlimit(RLIMIT_NOFILE, &enough);
    assert_int_equal(next_answer(f, NULL)->code, KV_JOB_DONE);
    accept_answer(f);
}

static void picture_waits_for_two_minutes(void **state)
{
    fixture *f = *state;
    struct rlimit enough = send_without_descriptors(f);
    kv_fake_clock_advance(&f->clock, 120000);
    kv_image_actor.tick(f->actor, 0, f->out);
    setrlimit(RLIMIT_NOFILE, &enough);
    const kv_msg *m = kv_out_fake_asked(f->out, 0);
    assert_int_equal(m->code, KV_JOB_FAIL);
    assert_true(m->job_fail.retry);
    accept_answer(f);
}

static void cancelled_while_it_waits(void **state)
{
    fixture *f = *state;
    kv_msg m;
    struct rlimit enough = send_without_descriptors(f);
    kv_msg_defaults(KV_JOB_CANCEL, &m);
    m.job_cancel = (kv_job_cancel){.job = 9, .epoch = 3, .attempt = 2};
    handle(f, &m);
    setrlimit(RLIMIT_NOFILE, &enough);
    kv_image_actor.tick(f->actor, 0, f->out);
    assert_null(kv_out_fake_asked(f->out, 0));
    send_job(f, 1, "banners/a.jpg", "image/jpeg"); /* both slots are free */
    send_job(f, 2, "banners/a.jpg", "image/jpeg");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(next_answer(f, NULL)->code, KV_JOB_DONE);
        kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    }
}

static void over_the_credit_is_given_back(void **state)
{
    fixture *f = *state;
    store_file(f, 1, "photo.jpg", "banners/a.jpg");
    send_job(f, 1, "banners/a.jpg", "image/jpeg");
    send_job(f, 2, "banners/a.jpg", "image/jpeg");
    send_job(f, 3, "banners/a.jpg", "image/jpeg");
    const kv_msg *m = next_answer(f, NULL);
    assert_int_equal(m->code, KV_JOB_FAIL);
    assert_int_equal(m->job_fail.job, 3);
    assert_int_equal(m->job_fail.number, KV_E_BUSY);
    assert_true(m->job_fail.retry);
    kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(next_answer(f, NULL)->code, KV_JOB_DONE);
        kv_out_fake_answer(f->out, f->actor, 0, KV_OK, NULL);
    }
}

/* A zygote whose child was taken over: it speaks as long as somebody listens. */
static int hostile_zygote(void)
{
    kv_image_event e = {.what = KV_IMAGE_HELLO, .versions = "hostile"};
    kv_image_order order;
    kv_image_report r = {.what = KV_IMAGE_THUMB, .thumb_len = 25};
    int fds[KV_PASS_FDS];
    struct pollfd p = {.fd = KV_IMAGE_CONTROL_FD, .events = POLLIN};
    signal(SIGPIPE, SIG_IGN);
    if (!kv_pass_send(KV_IMAGE_CONTROL_FD, &e, sizeof e, NULL, 0) || poll(&p, 1, -1) != 1 ||
        kv_pass_receive(KV_IMAGE_CONTROL_FD, &order, sizeof order, fds) != sizeof order)
        return 1;
    while (write(fds[2], &r, sizeof r) == sizeof r)
        ;
    e = (kv_image_event){.what = KV_IMAGE_EXITED, .id = order.id};
    return kv_pass_send(KV_IMAGE_CONTROL_FD, &e, sizeof e, NULL, 0) && poll(&p, 1, -1) == 1;
}

static void child_that_never_stops_talking_is_not_listened_to(void **state)
{
    fixture *f = *state;
    kv_image_actor.destroy(&f->actor);
    const char *lang = getenv("LANG");
    setenv("LANG", "hostile", 1); /* the one word of ours that a zygote is handed */
    assert_int_equal(kv_image_actor.create(&f->s.cfg, NULL, &f->actor), KV_OK);
    if (lang)
        setenv("LANG", lang, 1);
    else
        unsetenv("LANG");
    store_file(f, 1, "photo.jpg", "banners/a.jpg");
    send_job(f, 9, "banners/a.jpg", "image/jpeg");
    alarm(60); /* it would be listened to for ever */
    expect_failure(f, KV_E_IMAGE_CRASH, false);
    alarm(0);
}

int main(int argc, char **argv)
{
    const char *lang = getenv("LANG");
    if (argc > 1 && strcmp(argv[1], "image-zygote") == 0)
        return lang && strcmp(lang, "hostile") == 0 ? hostile_zygote()
                                                    : kv_image_zygote_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(picture_becomes_variants, make, drop),
        cmocka_unit_test_setup_teardown(whose_fault_the_output_is, make, drop),
        cmocka_unit_test_setup_teardown(progress_that_cannot_be_told_harms_no_picture, make, drop),
        cmocka_unit_test_setup_teardown(what_cannot_be_done_fails_once, make, drop),
        cmocka_unit_test_setup_teardown(answer_is_sent_until_it_is_taken, make, drop),
        cmocka_unit_test_setup_teardown(cancelled_job_is_not_answered, make, drop),
        cmocka_unit_test_setup_teardown(picture_killed_for_want_of_memory_is_tried_again, make,
                                        drop),
        cmocka_unit_test_setup_teardown(picture_waits_for_the_machine, make, drop),
        cmocka_unit_test_setup_teardown(picture_waits_for_two_minutes, make, drop),
        cmocka_unit_test_setup_teardown(cancelled_while_it_waits, make, drop),
        cmocka_unit_test_setup_teardown(over_the_credit_is_given_back, make, drop),
        cmocka_unit_test_setup_teardown(child_that_never_stops_talking_is_not_listened_to, make,
                                        drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
