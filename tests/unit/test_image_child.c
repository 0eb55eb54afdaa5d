/* Real pictures through a real zygote and its sandboxed children. This program is its own zygote,
 * as kervan is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actors/image/job.h"
#include "actors/image/sandbox.h"
#include "actors/image/zygote.h"
#include "actors/image/zygote_link.h"
#include "tests/unit/scratch.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#define DATA KV_TESTS_DIR "/unit/data/images/"

static kv_zygote zygote = {.fd = -1};
static scratch dir;
static uint64_t last_run;

static kv_image_settings settings(void)
{
    return (kv_image_settings){.widths = {400, 200, 100},
                               .width_count = 3,
                               .webp_quality = 80,
                               .webp_effort = 2,
                               .avif_quality = 50,
                               .avif_effort = 1,
                               .timeout_s = 60,
                               .max_pixels = 100000000,
                               .memory_bytes = (uint64_t)1 << 30};
}

/* Starts a child on `source` (taken). */
static void begin(kv_image_job *j, kv_image_input input, const kv_image_settings *s, int source)
{
    int pair[2];
    *j = (kv_image_job){.keeping = {.run = ++last_run, .settings = *s}};
    assert_true(source >= 0);
    j->keeping.output_fd = memfd_create("variants", MFD_CLOEXEC);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    j->report_fd = pair[0];
    kv_image_order order = {.what = KV_IMAGE_RUN, .input = input, .id = last_run, .settings = *s};
    assert_int_equal(kv_zygote_run(&zygote, &order, (int[]){source, j->keeping.output_fd, pair[1]}),
                     KV_OK);
    close(pair[1]);
    close(source);
}

static void end(kv_image_job *j)
{
    kv_image_event e = {0};
    kv_image_report r;
    while (e.id != j->keeping.run) {
        struct pollfd p = {.fd = zygote.fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 100000), 1);
        assert_true(kv_zygote_take(&zygote, &e) >= 0);
    }
    while (recv(j->report_fd, &r, sizeof r, MSG_DONTWAIT) == (ssize_t)sizeof r)
        (void)kv_image_job_report(j, &r);
    kv_image_job_verdict(j, &e);
}

static void run(kv_image_job *j, kv_image_input input, const char *name)
{
    kv_image_settings s = settings();
    char path[512];
    snprintf(path, sizeof path, DATA "%s", name);
    begin(j, input, &s, open(path, O_RDONLY | O_CLOEXEC));
    end(j);
}

static int memory_file(const void *bytes, size_t len)
{
    int fd = memfd_create("source", MFD_CLOEXEC);
    assert_int_equal(write(fd, bytes, len), len);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static const kv_image_variant *find(const kv_image_job *j, kv_image_format format, uint32_t width)
{
    for (uint32_t i = 0; i < j->keeping.count; i++) {
        const kv_image_variant *v = &j->keeping.variants[i];
        if (v->format == format && v->width == width)
            return v;
    }
    return NULL;
}

static const char *variant_file(const kv_image_job *j, const kv_image_variant *v)
{
    static char bytes[1 << 20];
    char name[64];
    assert_true(v->size <= sizeof bytes);
    assert_int_equal(pread(j->keeping.output_fd, bytes, v->size, (off_t)v->offset), v->size);
    snprintf(name, sizeof name, "v%u.%s", v->width, kv_image_ext(v->format));
    const char *path = scratch_path(&dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, v->size, f), v->size);
    fclose(f);
    return path;
}

/* What exiftool knows of a file, a tag a line. */
static const char *exif(const char *path)
{
    static char text[1 << 16];
    char command[1200];
    snprintf(command, sizeof command, "exiftool -a -G1 -s -unknown '%s'", path);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    text[fread(text, 1, sizeof text - 1, p)] = '\0';
    assert_int_equal(pclose(p), 0);
    return text;
}

static void check_all(kv_image_job *j, uint32_t width, uint32_t height)
{
    assert_string_equal(j->detail, "");
    assert_int_equal(j->err, KV_OK);
    assert_int_equal(j->width, width);
    assert_int_equal(j->height, height);
    assert_in_range(j->thumb_len, 5, 25);
    const kv_image_variant *full = find(j, KV_IMAGE_WEBP, width);
    assert_non_null(full);
    assert_true(full->full);
    for (uint32_t i = 0; i < j->keeping.count; i++) {
        const kv_image_variant *v = &j->keeping.variants[i];
        char size[40];
        assert_true(v->width <= width); /* never upscaled */
        assert_in_range(v->height, (uint64_t)v->width * height / width,
                        (uint64_t)v->width * height / width + 1);
        const char *text = exif(variant_file(j, v));
        snprintf(size, sizeof size, " %ux%u\n", v->width, v->height);
        assert_non_null(strstr(text, size));
        assert_non_null(strstr(text, v->format == KV_IMAGE_WEBP ? "image/webp" : "image/avif"));
    }
}

/* S0-19, S0-71, S0-83: turned upright, every size in both formats, nothing of the metadata left in
 * any of them. */
static void photo_with_gps_and_orientation(void **state)
{
    (void)state;
    static const char *const traces[] = {"GPS",    "Mehmet", "[IFD0]",  "[ExifIFD]",
                                         "[XMP",   "[IPTC]", "EXIF",    "Photoshop",
                                         "secret", "ICC",    "Warning", "Orientation"};
    kv_image_job j;
    assert_non_null(strstr(exif(DATA "photo.jpg"), "GPSLatitude"));
    run(&j, KV_IMAGE_IN_JPEG, "photo.jpg");
    check_all(&j, 350, 500);
    assert_int_equal(j.keeping.count, 5); /* 350 full, 200 and 100 twice; 400 would be upscaled */
    for (uint32_t i = 0; i < j.keeping.count; i++) {
        const char *text = exif(variant_file(&j, &j.keeping.variants[i]));
        for (size_t t = 0; t < sizeof traces / sizeof traces[0]; t++) {
            if (strstr(text, traces[t]))
                fail_msg("%s in:\n%s", traces[t], text);
        }
    }
    kv_image_job_close(&j);
}

/* S0-20 */
static void every_type_and_colour_space(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        kv_image_input input;
        uint32_t width, height;
    } files[] = {
        {"cmyk.jpg", KV_IMAGE_IN_JPEG, 250, 175},   {"grey.jpg", KV_IMAGE_IN_JPEG, 250, 175},
        {"rgba16.png", KV_IMAGE_IN_PNG, 100, 70},   {"alpha.webp", KV_IMAGE_IN_WEBP, 250, 175},
        {"animated.gif", KV_IMAGE_IN_GIF, 100, 70}, {"animated.webp", KV_IMAGE_IN_WEBP, 100, 70},
        {"small.avif", KV_IMAGE_IN_HEIF, 250, 175}, {"small.heic", KV_IMAGE_IN_HEIF, 250, 175},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        kv_image_job j;
        print_message("%s\n", files[i].name);
        run(&j, files[i].input, files[i].name);
        check_all(&j, files[i].width, files[i].height);
        kv_image_job_close(&j);
    }
}

static void alpha_stays(void **state)
{
    (void)state;
    kv_image_job j;
    run(&j, KV_IMAGE_IN_PNG, "rgba16.png");
    const char *text = exif(variant_file(&j, find(&j, KV_IMAGE_WEBP, 100)));
    assert_non_null(strstr(text, "Alpha"));
    kv_image_job_close(&j);
}

static void truncated_files_are_bad(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        kv_image_input input;
    } files[] = {{"photo.jpg", KV_IMAGE_IN_JPEG},     {"rgba16.png", KV_IMAGE_IN_PNG},
                 {"interlaced.png", KV_IMAGE_IN_PNG}, {"alpha.webp", KV_IMAGE_IN_WEBP},
                 {"small.avif", KV_IMAGE_IN_HEIF},    {"small.heic", KV_IMAGE_IN_HEIF},
                 {"animated.gif", KV_IMAGE_IN_GIF}};
    static char bytes[1 << 17];
    kv_image_settings s = settings();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[512];
        kv_image_job j;
        snprintf(path, sizeof path, DATA "%s", files[i].name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t len = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        /* A GIF's first frame may be whole in its first half. */
        len = files[i].input == KV_IMAGE_IN_GIF ? len / 6 : len / 2;
        begin(&j, files[i].input, &s, memory_file(bytes, len));
        end(&j);
        print_message("%s: %s\n", files[i].name, j.detail);
        assert_int_equal(j.err, KV_E_BAD_IMAGE);
        assert_false(j.retry);
        assert_int_not_equal(j.detail[strlen(j.detail) - 1], ' '); /* it says why */
        kv_image_job_close(&j);
    }
}

static void what_cannot_be_read_is_not_bad(void **state)
{
    (void)state;
    kv_image_settings s = settings();
    for (int input = 0; input < KV_IMAGE_INPUTS; input++) {
        kv_image_job j;
        begin(&j, (kv_image_input)input, &s,
              open("/proc/self/mem", O_RDONLY | O_CLOEXEC)); /* EIO */
        end(&j);
        assert_int_equal(j.err, KV_E_IO);
        assert_true(j.retry);
        kv_image_job_close(&j);
    }
}

static void wrong_decoder_is_bad(void **state)
{
    (void)state;
    kv_image_job j;
    run(&j, KV_IMAGE_IN_JPEG, "rgba16.png");
    assert_int_equal(j.err, KV_E_BAD_IMAGE);
    kv_image_job_close(&j);
}

/* ---- bombs ---- */

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t c = ~0u;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

static size_t png_chunk(uint8_t *to, const char *type, const uint8_t *data, uint32_t len)
{
    uint32_t crc;
    to[0] = (uint8_t)(len >> 24), to[1] = (uint8_t)(len >> 16), to[2] = (uint8_t)(len >> 8),
    to[3] = (uint8_t)len;
    memcpy(to + 4, type, 4);
    memcpy(to + 8, data, len);
    crc = crc32_of(to + 4, len + 4);
    for (int i = 0; i < 4; i++)
        to[8 + len + (uint32_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    return 12 + len;
}

/* A grey 8-bit PNG of side x side pixels, the first bytes of which are there. */
static int png_bomb(uint32_t side)
{
    static const uint8_t magic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    /* zlib: a stored block of 4 zero bytes and no end */
    static const uint8_t idat[] = {0x78, 0x01, 0x00, 0x04, 0x00, 0xfb, 0xff, 0, 0, 0, 0};
    uint8_t file[256], head[13] = {0};
    for (int i = 0; i < 4; i++)
        head[i] = head[4 + i] = (uint8_t)(side >> (24 - 8 * i));
    head[8] = 8;
    memcpy(file, magic, 8);
    size_t n = 8 + png_chunk(file + 8, "IHDR", head, 13);
    n += png_chunk(file + n, "IDAT", idat, sizeof idat);
    n += png_chunk(file + n, "IEND", (const uint8_t *)"", 0);
    return memory_file(file, n);
}

static void bomb_is_seen_in_its_header(void **state)
{
    (void)state;
    kv_image_job j;
    kv_image_settings s = settings();
    begin(&j, KV_IMAGE_IN_PNG, &s, png_bomb(30000));
    end(&j);
    assert_int_equal(j.err, KV_E_IMAGE_TOO_BIG);
    assert_non_null(strstr(j.detail, "30000 x 30000"));
    assert_int_equal(j.width, 0); /* nothing was decoded */
    kv_image_job_close(&j);
}

static void too_much_memory_is_a_limit(void **state)
{
    (void)state;
    kv_image_job j;
    kv_image_settings s = settings();
    s.memory_bytes = 128 << 20;
    begin(&j, KV_IMAGE_IN_PNG, &s, png_bomb(9000));
    end(&j);
    assert_int_equal(j.err, KV_E_IMAGE_LIMIT);
    assert_false(j.retry);
    kv_image_job_close(&j);
}

#ifndef SANITIZED /* sanitizers reserve too much for memory limits */
/* Passes the estimate, and does not get what it then asks for. */
static void memory_limit_holds(void **state)
{
    (void)state;
    kv_image_job j;
    kv_image_settings s = settings();
    s.memory_bytes = 64 << 20;
    begin(&j, KV_IMAGE_IN_PNG, &s, png_bomb(4600));
    end(&j);
    print_message("%s\n", j.detail);
    assert_int_equal(j.err, KV_E_IMAGE_LIMIT);
    kv_image_job_close(&j);
}
#endif

/* ---- ends ---- */

/* The newest process whose parent is the zygote; waits until there is one. */
static pid_t child_of_zygote(void)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)zygote.pid, (int)zygote.pid);
    while (atoi(text) == 0) {
        int fd = open(path, O_RDONLY);
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n < 0 ? 0 : n] = '\0';
        close(fd);
    }
    return atoi(text);
}

/* A child that waits for ever: its source is a pipe nobody writes to. Returns the write end. */
static int begin_waiting(kv_image_job *j, const kv_image_settings *s)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    begin(j, KV_IMAGE_IN_JPEG, s, fds[0]);
    return fds[1];
}

static void check_signal(int sig, kv_err err, bool retry)
{
    kv_image_job j;
    kv_image_settings s = settings();
    int fd = begin_waiting(&j, &s);
    kill(child_of_zygote(), sig);
    end(&j);
    close(fd);
    print_message("%s\n", j.detail);
    assert_int_equal(j.err, err);
    assert_int_equal(j.retry, retry);
    assert_int_equal(j.starved, retry);
    kv_image_job_close(&j);
}

static void crash_costs_one_picture(void **state)
{
    (void)state;
    check_signal(SIGSEGV, KV_E_IMAGE_CRASH, false);
    check_signal(SIGABRT, KV_E_IMAGE_CRASH, false);
    check_signal(SIGBUS, KV_E_IMAGE_CRASH, false);
    check_signal(SIGXCPU, KV_E_IMAGE_LIMIT, false);
    check_signal(SIGKILL, KV_E_IMAGE_LIMIT, true); /* the machine's memory, not the picture */
    kv_image_job j;
    run(&j, KV_IMAGE_IN_JPEG, "grey.jpg");
    assert_int_equal(j.err, KV_OK);
    kv_image_job_close(&j);
}

static void time_limit_holds(void **state)
{
    (void)state;
    kv_image_job j;
    kv_image_settings s = settings();
    s.timeout_s = 1;
    int fd = begin_waiting(&j, &s);
    end(&j);
    close(fd);
    assert_int_equal(j.err, KV_E_IMAGE_LIMIT);
    assert_non_null(strstr(j.detail, "IMAGE_TIMEOUT"));
    assert_true(j.retry); /* it had no time to use: the machine's doing */
    kv_image_job_close(&j);
}

static void cancel_kills(void **state)
{
    (void)state;
    kv_image_job j;
    kv_image_settings s = settings();
    int fd = begin_waiting(&j, &s);
    kv_zygote_kill_child(&zygote, j.keeping.run);
    end(&j);
    close(fd);
    assert_int_not_equal(j.err, KV_OK);
    kv_image_job_close(&j);
}

static void zygote_comes_back(void **state)
{
    (void)state;
    kv_image_job j;
    kv_image_event e;
    kv_image_settings s = settings();
    int fd = begin_waiting(&j, &s), got;
    pid_t child = child_of_zygote();
    kill(zygote.pid, SIGKILL);
    do {
        struct pollfd p = {.fd = zygote.fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        got = kv_zygote_take(&zygote, &e);
    } while (got >= 0);
    kv_zygote_stop(&zygote);
    /* Its child went with it: the report socket is closed. */
    struct pollfd p = {.fd = j.report_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(kill(child, 0) != 0 || child != getpid());
    kv_image_job_close(&j);
    close(fd);
    assert_int_equal(kv_zygote_start(&zygote), KV_OK);
    run(&j, KV_IMAGE_IN_JPEG, "grey.jpg");
    assert_int_equal(j.err, KV_OK);
    kv_image_job_close(&j);
}

/* ---- the sandbox ---- */

static void call_open(void)
{
    _exit(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 7 : 8);
}

static void call_socket(void)
{
    (void)socket(AF_INET, SOCK_STREAM, 0);
}

/* Not through fork(), which blocks SIGSYS since glibc 2.41: then the call kills and nobody can say
 * which one it was. */
static void call_fork(void)
{
    (void)!syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void call_exec(void)
{
    execl("/bin/true", "true", (char *)NULL);
}

static void call_kill(void)
{
    kill(getpid(), 0);
}

/* It would look as if the machine's memory had ended, and slow down all pictures for minutes. */
static void call_kill_itself(void)
{
    (void)!syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGKILL);
}

/* As root it would take pages away from the machine. */
static void call_poison(void)
{
    (void)!madvise(NULL, 0, MADV_HWPOISON);
}

static void call_executable_memory(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _exit(p == MAP_FAILED ? 7 : 8);
}

/* Calls `before` in a process, and `fn` when it is sandboxed; its exit status, and what it
 * reported. */
static int sandboxed_after(void (*before)(void), void (*fn)(void), kv_image_job *j)
{
    int pair[2], status;
    kv_image_report r;
    kv_image_settings s = settings();
    *j = (kv_image_job){.keeping = {.settings = s, .output_fd = -1}, .report_fd = -1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (before)
            before();
        if (kv_image_sandbox(&s, pair[1]))
            fn();
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (recv(pair[0], &r, sizeof r, MSG_DONTWAIT) == (ssize_t)sizeof r)
        (void)kv_image_job_report(j, &r);
    close(pair[0]);
    close(pair[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int sandboxed(void (*fn)(void), kv_image_job *j)
{
    return sandboxed_after(NULL, fn, j);
}

static void sandbox_refuses(void **state)
{
    (void)state;
    static const struct {
        void (*fn)(void);
        const char *name;
    } calls[] = {{call_socket, "call socket"},      {call_fork, "call clone"},
                 {call_exec, "call execve"},        {call_kill, "call kill"},
                 {call_kill_itself, "call tgkill"}, {call_poison, "call madvise"}};
    kv_image_job j;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_int_equal(sandboxed(calls[i].fn, &j), 1);
        assert_int_equal(j.err, KV_E_IMAGE_CRASH);
        assert_non_null(strstr(j.detail, calls[i].name));
    }
    assert_int_equal(sandboxed(call_open, &j), 7);
    assert_int_equal(sandboxed(call_executable_memory, &j), 7);
}

static void bounded_before(void)
{
    const int bounds[] = {RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CPU};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        (void)setrlimit(bounds[i], &(struct rlimit){16, 16});
    (void)!setuid(65534); /* root may raise them again */
}

static void succeed(void)
{
    _exit(7);
}

/* A service manager's limits may be below ours: they stay, and pictures are made all the same. */
static void sandbox_in_narrow_limits(void **state)
{
    (void)state;
    kv_image_job j;
    assert_int_equal(sandboxed_after(bounded_before, succeed, &j), 7);
}

/* A picture is told once, and all of it together is no more than the output may be: the same bytes
 * told as many variants would be stored as many times. */
static void nothing_is_told_without_end(void **state)
{
    (void)state;
    const kv_image_report said[] = {
        {.what = KV_IMAGE_DECODED, .width = 500, .height = 300},
        {.what = KV_IMAGE_THUMB, .thumb_len = 25},
        {.what = KV_IMAGE_VARIANT, .width = 200, .height = 10, .size = KV_IMAGE_OUTPUT_MAX - 50},
        {.what = KV_IMAGE_VARIANT, .width = 400, .height = 20, .size = 50},
    };
    const kv_image_report more[] = {
        {.what = KV_IMAGE_VARIANT, .width = 100, .height = 5, .size = 1}, said[1], said[0]};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        kv_image_job j = {.keeping = {.settings = settings(), .output_fd = -1}, .report_fd = -1};
        for (size_t k = 0; k < sizeof said / sizeof said[0]; k++)
            (void)kv_image_job_report(&j, &said[k]);
        assert_int_equal(j.err, KV_OK);
        assert_int_equal(j.keeping.count, 2);
        (void)kv_image_job_report(&j, &more[i]);
        assert_int_equal(j.err, KV_E_IMAGE_CRASH);
    }
}

/* One that does not hear SIGXCPU is killed a second later; that is not the machine's memory. */
static void cpu_limit_cannot_pass_for_want_of_memory(void **state)
{
    (void)state;
    kv_image_job j = {.keeping = {.settings = settings(), .output_fd = -1}, .report_fd = -1};
    kv_image_event e = {.what = KV_IMAGE_EXITED, .status = SIGKILL, .cpu_us = 61000000};
    kv_image_job_verdict(&j, &e);
    assert_int_equal(j.err, KV_E_IMAGE_LIMIT);
    assert_false(j.retry);
    assert_false(j.starved);
}

/* What a taken-over child could say. */
static void reports_are_not_believed(void **state)
{
    (void)state;
    kv_image_settings s = settings();
    const kv_image_report lies[] = {
        {.what = KV_IMAGE_VARIANT, .format = 9, .width = 200, .height = 10, .size = 50},
        {.what = KV_IMAGE_VARIANT, .format = KV_IMAGE_AVIF, .width = 201, .height = 10, .size = 50},
        {.what = KV_IMAGE_VARIANT,
         .format = KV_IMAGE_AVIF,
         .width = 500,
         .height = 10,
         .size = 50,
         .full = true},
        {.what = KV_IMAGE_VARIANT, .width = 200, .height = 10, .size = UINT64_MAX},
        {.what = KV_IMAGE_VARIANT, .width = 200, .height = 10, .offset = UINT64_MAX, .size = 2},
        {.what = KV_IMAGE_VARIANT, .width = 500, .height = 300, .size = 50, .full = 2},
        {.what = KV_IMAGE_DECODED, .width = 5, .height = 5},
        {.what = KV_IMAGE_THUMB, .thumb_len = 4000000000u},
        {.what = KV_IMAGE_THUMB},
        {.what = 77},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        kv_image_job j = {.keeping = {.settings = s, .output_fd = -1}, .report_fd = -1};
        kv_image_report decoded = {.what = KV_IMAGE_DECODED, .width = 500, .height = 300};
        assert_int_equal(kv_image_job_report(&j, &decoded), 10);
        assert_int_equal(kv_image_job_report(&j, &lies[i]), 0);
        assert_int_equal(j.err, KV_E_IMAGE_CRASH);
    }
    kv_image_job j = {.keeping = {.settings = s, .output_fd = -1}, .report_fd = -1};
    kv_image_report failed = {.what = KV_IMAGE_FAILED, .error = KV_E_DISK_FULL};
    memset(failed.detail, 0xc3,
           sizeof failed.detail); /* no NUL, no UTF-8, and an error that is not its to name */
    (void)kv_image_job_report(&j, &failed);
    assert_int_equal(j.err, KV_E_IMAGE_CRASH);
    assert_int_equal(strspn(j.detail, "?"), strlen(j.detail));
}

static int start(void **state)
{
    (void)state;
    scratch_make(&dir);
    return kv_zygote_start(&zygote) == KV_OK && kv_zygote_await(&zygote, 60000) == KV_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    kv_zygote_stop(&zygote);
    scratch_remove(&dir);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "image-zygote") == 0)
        return kv_image_zygote_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(photo_with_gps_and_orientation),
        cmocka_unit_test(every_type_and_colour_space),
        cmocka_unit_test(alpha_stays),
        cmocka_unit_test(truncated_files_are_bad),
        cmocka_unit_test(what_cannot_be_read_is_not_bad),
        cmocka_unit_test(wrong_decoder_is_bad),
        cmocka_unit_test(bomb_is_seen_in_its_header),
        cmocka_unit_test(too_much_memory_is_a_limit),
#ifndef SANITIZED
        cmocka_unit_test(memory_limit_holds),
#endif
        cmocka_unit_test(crash_costs_one_picture),
        cmocka_unit_test(time_limit_holds),
        cmocka_unit_test(cancel_kills),
        cmocka_unit_test(zygote_comes_back),
        cmocka_unit_test(sandbox_refuses),
        cmocka_unit_test(sandbox_in_narrow_limits),
        cmocka_unit_test(reports_are_not_believed),
        cmocka_unit_test(nothing_is_told_without_end),
        cmocka_unit_test(cpu_limit_cannot_pass_for_want_of_memory),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
