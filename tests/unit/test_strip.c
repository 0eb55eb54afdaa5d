/* The metadata walkers: nothing private stays, nothing else changes, however the stream is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/walk_run.h"

typedef struct file {
    uint8_t *bytes;
    size_t len;
} file;

static file read_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, KV_TESTS_DIR "/unit/data/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    file r = {malloc(1 << 20), 0};
    r.len = fread(r.bytes, 1, 1 << 20, f);
    fclose(f);
    return r;
}

static bool holds(const uint8_t *in, size_t len, const void *what, size_t n)
{
    return memmem(in, len, what, n) != NULL;
}

static bool holds_str(const walked *w, const char *text)
{
    return holds(w->bytes, w->len, text, strlen(text));
}

static const struct sample {
    const char *name;
    kv_strip type;
    size_t trailer; /* bytes behind the end of the picture */
} samples[] = {
    {"gps.jpg", KV_STRIP_JPEG, 14},         {"gps-progressive.jpg", KV_STRIP_JPEG, 14},
    {"gps-restart.jpg", KV_STRIP_JPEG, 14}, {"gps.png", KV_STRIP_PNG, 14},
    {"gps.webp", KV_STRIP_WEBP, 14},        {"gps-lossless.webp", KV_STRIP_WEBP, 0},
};
#define SAMPLES (sizeof samples / sizeof *samples)

/* 39° 55' 14.88" as three EXIF rationals, in part: 39/1, 55/1 in either byte order */
static const uint8_t degrees_big[] = {0, 0, 0, 39, 0, 0, 0, 1, 0, 0, 0, 55, 0, 0, 0, 1};
static const uint8_t degrees_little[] = {39, 0, 0, 0, 1, 0, 0, 0, 55, 0, 0, 0, 1, 0, 0, 0};

/* S0-19: EXIF, GPS, XMP, IPTC, comments and thumbnails go; length, orientation and picture stay */
static void nothing_private_stays(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        file f = read_file(samples[i].name);
        assert_true(holds(f.bytes, f.len, "SECRET", 6));
        assert_true(holds(f.bytes, f.len, degrees_big, sizeof degrees_big));
        walked w = walk_run(samples[i].type, true, f.bytes, f.len, f.len);
        assert_int_equal(w.err, KV_OK);
        assert_int_equal(w.len, f.len - samples[i].trailer);
        assert_false(holds_str(&w, "SECRET"));
        assert_false(holds_str(&w, "GPS"));
        assert_false(holds_str(&w, "photoshop"));
        assert_false(holds(w.bytes, w.len, degrees_big, sizeof degrees_big));
        assert_false(holds(w.bytes, w.len, degrees_little, sizeof degrees_little));
        assert_int_equal(w.orientation, 6);
        assert_int_equal(w.width, 32); /* stored 48 x 32, shown upright */
        assert_int_equal(w.height, 48);
        free(w.bytes);
        free(f.bytes);
    }
}

static void cuts_do_not_matter(void **state)
{
    (void)state;
    static const size_t steps[] = {0, 1, 2, 3, 5, 7, 64, 1000, 4096};
    for (size_t i = 0; i < SAMPLES; i++) {
        file f = read_file(samples[i].name);
        walked whole = walk_run(samples[i].type, true, f.bytes, f.len, f.len);
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            walked w = walk_run(samples[i].type, true, f.bytes, f.len, steps[s]);
            assert_int_equal(w.err, KV_OK);
            assert_int_equal(w.len, whole.len);
            assert_memory_equal(w.bytes, whole.bytes, whole.len);
            free(w.bytes);
        }
        free(whole.bytes);
        free(f.bytes);
    }
}

/* A second walk finds a valid file, its orientation, and nothing left to do. */
static void a_second_walk_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        file f = read_file(samples[i].name);
        walked once = walk_run(samples[i].type, true, f.bytes, f.len, f.len);
        walked twice = walk_run(samples[i].type, true, once.bytes, once.len, once.len);
        assert_int_equal(twice.err, KV_OK);
        assert_int_equal(twice.orientation, 6);
        assert_int_equal(twice.len, once.len);
        assert_memory_equal(twice.bytes, once.bytes, once.len);
        free(once.bytes);
        free(twice.bytes);
        free(f.bytes);
    }
}

/* STRIP_ORIGINAL_METADATA=false: dimensions, and every byte as it was */
static void looking_only_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        file f = read_file(samples[i].name);
        for (size_t step = 1; step < 5000; step += 998) {
            walked w = walk_run(samples[i].type, false, f.bytes, f.len, step);
            assert_int_equal(w.err, KV_OK);
            assert_int_equal(w.len, f.len);
            assert_memory_equal(w.bytes, f.bytes, f.len);
            assert_int_equal(w.width, 32);
            assert_int_equal(w.height, 48);
            free(w.bytes);
        }
        free(f.bytes);
    }
}

/* Without metadata the bytes are passed on uncopied. */
static void a_clean_file_is_not_copied(void **state)
{
    (void)state;
    file f = read_file("plain.jpg");
    kv_walk w;
    kv_cow c;
    kv_walk_begin(&w, KV_STRIP_JPEG, true);
    assert_int_equal(kv_walk_push(&w, f.bytes, f.len, &c), KV_OK);
    walked once = walk_run(KV_STRIP_JPEG, true, f.bytes, f.len, f.len);
    kv_cow_release(&c);
    kv_walk_begin(&w, KV_STRIP_JPEG, true);
    assert_int_equal(kv_walk_push(&w, once.bytes, once.len, &c), KV_OK);
    assert_true(kv_cow_same(&c));
    kv_cow_release(&c);
    free(once.bytes);
    free(f.bytes);
}

static void colour_stays(void **state)
{
    (void)state;
    file f = read_file("gps.jpg");
    walked w = walk_run(KV_STRIP_JPEG, true, f.bytes, f.len, 100);
    const uint8_t *before = memmem(f.bytes, f.len, "ICC_PROFILE", 12);
    const uint8_t *after = memmem(w.bytes, w.len, "ICC_PROFILE", 12);
    assert_true(before && after);
    assert_memory_equal(before, after, 3000);
    free(w.bytes);
    free(f.bytes);
    f = read_file("gps.webp");
    w = walk_run(KV_STRIP_WEBP, true, f.bytes, f.len, 100);
    assert_true(holds_str(&w, "ICCP"));
    free(w.bytes);
    free(f.bytes);
}

/* ---- JPEGs made by hand ---- */

typedef struct maker {
    uint8_t bytes[200000];
    size_t len;
} maker;

static void add(maker *m, const void *bytes, size_t len)
{
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
}

static void add_segment(maker *m, uint8_t marker, const void *payload, size_t len)
{
    uint8_t head[4] = {0xff, marker, (uint8_t)((len + 2) >> 8), (uint8_t)(len + 2)};
    add(m, head, 4);
    add(m, payload, len);
}

static void add_picture(maker *m)
{
    static const uint8_t frame[] = {8, 0, 20, 0, 30, 1, 1, 0x11, 0};
    static const uint8_t scan[] = {1, 1, 0, 0, 63, 0};
    add_segment(m, 0xc0, frame, sizeof frame);
    add_segment(m, 0xda, scan, sizeof scan);
    add(m, "\x12\xff\x00\x34\xff\xd0\x56\xff\xd9", 9);
}

static maker *new_jpeg(void)
{
    maker *m = calloc(1, sizeof *m);
    add(m, "\xff\xd8", 2);
    return m;
}

static walked strip_jpeg(maker *m, size_t step)
{
    walked w = walk_run(KV_STRIP_JPEG, true, m->bytes, m->len, step);
    free(m);
    return w;
}

/* An EXIF block of `size` bytes whose orientation stands `skip` entries down, in either byte order.
 */
static size_t make_exif(uint8_t *out, bool big, unsigned skip, uint8_t orientation, size_t size)
{
    memset(out, 'x', size);
    memcpy(out, big ? "Exif\0\0MM\0*\0\0\0\x8" : "Exif\0\0II*\0\x8\0\0\0", 14);
    uint8_t *p = out + 14;
    p[big ? 0 : 1] = 0;
    p[big ? 1 : 0] = (uint8_t)(skip + 1);
    p += 2;
    for (unsigned i = 0; i <= skip; i++, p += 12) {
        memset(p, 0, 12);
        p[big ? 0 : 1] = 1;
        p[big ? 1 : 0] = i == skip ? 0x12 : 0x0f;
        p[big ? 3 : 2] = 3;
        p[big ? 7 : 4] = 1;
        p[big ? 9 : 8] = i == skip ? orientation : 77;
    }
    memset(p, 0, 4);
    return (size_t)(p + 4 - out) > size ? (size_t)(p + 4 - out) : size;
}

static void orientation_is_found_wherever_it_stands(void **state)
{
    (void)state;
    uint8_t exif[70000];
    for (int big = 0; big < 2; big++) {
        for (unsigned skip = 0; skip < 5; skip++) {
            for (size_t size = 32; size < 140; size++) {
                maker *m = new_jpeg();
                add_segment(m, 0xe1, exif, make_exif(exif, big, skip, 8, size));
                add_picture(m);
                uint8_t whole[4000];
                walked w = walk_run(KV_STRIP_JPEG, true, m->bytes, m->len, 1);
                memcpy(whole, w.bytes, w.len);
                assert_int_equal(w.err, KV_OK);
                assert_int_equal(w.orientation, 8);
                assert_false(holds_str(&w, "xx"));
                walked again = walk_run(KV_STRIP_JPEG, true, w.bytes, w.len, 4000);
                assert_int_equal(again.orientation, 8); /* ours can be read */
                assert_memory_equal(again.bytes, w.bytes, w.len);
                assert_int_equal(w.width, 20);
                assert_int_equal(w.height, 30);
                free(again.bytes);
                free(w.bytes);
                free(m);
            }
        }
    }
}

/* A block that is too short for one entry is zeroed; behind the first scan nobody looks for it. */
static void what_nobody_reads_turns_no_jpeg(void **state)
{
    (void)state;
    uint8_t exif[100];
    size_t len = make_exif(exif, true, 0, 6, 32);
    for (size_t step = 0; step < 9; step++) {
        maker *m = new_jpeg();
        add_segment(m, 0xe1, exif, 6 + KV_EXIF_MIN - 1);
        add_picture(m);
        walked w = strip_jpeg(m, step);
        assert_int_equal(w.err, KV_OK);
        assert_int_equal(w.width, 30);
        free(w.bytes);
        m = new_jpeg();
        add_picture(m);
        m->len -= 2; /* EOI */
        add_segment(m, 0xe1, exif, len);
        add_picture(m);
        w = strip_jpeg(m, step);
        assert_int_equal(w.err, KV_OK);
        assert_int_equal(w.width, 30);
        free(w.bytes);
    }
}

static void segments_larger_than_a_piece(void **state)
{
    (void)state;
    uint8_t exif[65533];
    maker *m = new_jpeg();
    add_segment(m, 0xe1, exif, make_exif(exif, true, 3, 3, sizeof exif));
    add_segment(m, 0xfe, exif, sizeof exif);
    add_picture(m);
    size_t len = m->len;
    walked w = strip_jpeg(m, 1000);
    assert_int_equal(w.err, KV_OK);
    assert_int_equal(w.len, len);
    assert_int_equal(w.orientation, 3);
    assert_false(holds_str(&w, "xx"));
    free(w.bytes);
}

static void what_goes_and_what_stays(void **state)
{
    (void)state;
    uint8_t jfif[14 + 27] = "JFIF\0\1\1\0\0\1\0\1\3\3";
    memset(jfif + 14, 'T', 27);
    maker *m = new_jpeg();
    add_segment(m, 0xe0, jfif, sizeof jfif);
    add_segment(m, 0xe0, "JFXX\0\x10thumbsecret", 17);
    add_segment(m, 0xe2, "ICC_PROFILE\0\1\1colour", 20);
    add_segment(m, 0xe2, "MPF\0secret", 10);
    add_segment(m, 0xe1, "http://ns.adobe.com/xap/1.0/\0secret", 35);
    add_segment(m, 0xe1, "http://ns.adobe.com/xmp/extension/\0secret", 41);
    add_segment(m, 0xed, "Photoshop 3.0\0secret", 20);
    add_segment(m, 0xee, "Adobe\0\144\0\0\0\0\1secret", 18);
    add_segment(m, 0xef, "anything secret", 15);
    add(m, "\xff\xff\xff", 3); /* fill bytes */
    add_segment(m, 0xfe, "secret comment", 14);
    add_segment(m, 0xdb, "tables", 6);
    add_picture(m);
    add(m, "secret behind the end", 21);
    size_t len = m->len;
    for (size_t step = 1; step < 1000; step += 333) {
        walked w = walk_run(KV_STRIP_JPEG, true, m->bytes, m->len, step);
        assert_int_equal(w.err, KV_OK);
        assert_int_equal(w.len, len - 21);
        assert_false(holds_str(&w, "secret"));
        assert_false(holds_str(&w, "TT"));
        assert_true(holds(w.bytes, w.len, jfif, 14));
        assert_true(holds(w.bytes, w.len, "ICC_PROFILE\0\1\1colour", 20));
        assert_true(holds(w.bytes, w.len, "Adobe\0\144\0\0\0\0\1", 12));
        assert_true(holds_str(&w, "tables"));
        free(w.bytes);
    }
    free(m);
}

/* Metadata between the scans of a progressive picture */
static void between_scans(void **state)
{
    (void)state;
    maker *m = new_jpeg();
    add_picture(m);
    m->len -= 2;
    add_segment(m, 0xfe, "secret", 6);
    add(m, "secret", 6); /* garbage between segments: decoders skip it */
    add_segment(m, 0xda, "\1\1\0\0\x3f\0", 6);
    add(m, "\x12\xff\xd9", 3);
    walked w = strip_jpeg(m, 5);
    assert_int_equal(w.err, KV_OK);
    assert_false(holds_str(&w, "secret"));
    free(w.bytes);
}

static void damaged_pictures_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"gps.jpg", "gps.png", "gps.webp"};
    static const kv_strip types[] = {KV_STRIP_JPEG, KV_STRIP_PNG, KV_STRIP_WEBP};
    for (int i = 0; i < 3; i++) {
        file f = read_file(names[i]);
        for (size_t len = 0; len < 24; len++) {
            walked w = walk_run(types[i], true, f.bytes, len, 7);
            assert_int_equal(w.err, KV_E_BAD_IMAGE);
            free(w.bytes);
        }
        f.bytes[2] ^= 0x55; /* JPEG: no marker; others: no signature */
        walked w = walk_run(types[i], true, f.bytes, f.len, 7);
        assert_int_equal(w.err, KV_E_BAD_IMAGE);
        free(w.bytes);
        free(f.bytes);
    }
}

static void gif_dimensions(void **state)
{
    (void)state;
    file f = read_file("small.gif");
    walked w = walk_run(KV_STRIP_GIF, true, f.bytes, f.len, 1);
    assert_int_equal(w.err, KV_OK);
    assert_int_equal(w.width, 48);
    assert_int_equal(w.height, 32);
    assert_int_equal(w.len, f.len);
    assert_memory_equal(w.bytes, f.bytes, f.len);
    free(w.bytes);
    w = walk_run(KV_STRIP_GIF, true, f.bytes, 9, 2);
    assert_int_equal(w.err, KV_E_BAD_IMAGE);
    free(w.bytes);
    free(f.bytes);
}

/* ---- WebP and PNG made by hand ---- */

static void add_chunk(maker *m, const char *name, const void *data, uint32_t len)
{
    uint8_t head[8];
    memcpy(head, name, 4);
    for (int i = 0; i < 4; i++)
        head[4 + i] = (uint8_t)(len >> (8 * i));
    add(m, head, 8);
    add(m, data, len);
    if (len & 1)
        add(m, "z", 1);
}

/* Metadata hidden in the frames of an animation, and in chunks nobody knows */
static void webp_animation(void **state)
{
    (void)state;
    uint8_t frame[16 + 8 + 10 + 8 + 8] = {0};
    memcpy(frame + 16, "VP8L\x9\0\0\0\x2f_________", 18);
    memcpy(frame + 34, "junk\x8\0\0\0my secre", 16);
    maker *m = calloc(1, sizeof *m);
    add(m, "RIFF\0\0\0\0WEBP", 12);
    add_chunk(m, "VP8X", "\x2\0\0\0\x2f\0\0\x1f\0\0", 10);
    add_chunk(m, "ANIM", "\0\0\0\0\0\0", 6);
    add_chunk(m, "ANMF", frame, sizeof frame);
    add_chunk(m, "ABCD", "secret", 6);
    add_chunk(m, "XMP ", "<secret/>", 9);
    for (int i = 0; i < 4; i++)
        m->bytes[4 + i] = (uint8_t)((m->len - 8) >> (8 * i));
    size_t len = m->len;
    add(m, "secret", 6);
    for (size_t step = 1; step < 500; step += 100) {
        walked w = walk_run(KV_STRIP_WEBP, true, m->bytes, m->len, step);
        assert_int_equal(w.err, KV_OK);
        assert_int_equal(w.len, len);
        assert_false(holds_str(&w, "secre"));
        assert_true(holds(w.bytes, w.len, frame, 34));
        assert_int_equal(w.width, 48);
        assert_int_equal(w.height, 32);
        free(w.bytes);
    }
    free(m);
}

static uint32_t crc_of(const uint8_t *p, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
    }
    return ~crc;
}

/* Every chunk of a stripped PNG has a right CRC, a length in bounds, and a name that is on the list
 * or ours. */
static void png_stays_valid(void **state)
{
    (void)state;
    file f = read_file("gps.png");
    walked w = walk_run(KV_STRIP_PNG, true, f.bytes, f.len, 3);
    size_t at = 8, zeroed = 0;
    while (at < w.len) {
        const uint8_t *p = w.bytes + at;
        uint32_t len = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        assert_true(at + 12 + len <= w.len);
        const uint8_t *c = p + 8 + len;
        uint32_t crc = (uint32_t)c[0] << 24 | (uint32_t)c[1] << 16 | (uint32_t)c[2] << 8 | c[3];
        assert_int_equal(crc, crc_of(p + 4, len + 4));
        zeroed += memcmp(p + 4, "zeRo", 4) == 0;
        at += 12 + len;
    }
    assert_int_equal(at, w.len);
    assert_int_equal(zeroed, 6); /* 3 tEXt, zTXt, iTXt, tIME */
    free(w.bytes);
    free(f.bytes);
}

/* Behind the pixels neither browsers nor libvips look for it: what is said at the upload is what
 * will be seen. It is kept all the same. */
static void a_late_orientation_turns_no_png(void **state)
{
    (void)state;
    static const char head[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x1e\0\0\0\x14\x8\2\0\0\0crc.";
    static const char idat[] = "\0\0\0\0IDATcrc.", iend[] = "\0\0\0\0IENDcrc.";
    static const char exif[] = "\0\0\0\x1a"
                               "eXIfMM\0*\0\0\0\x8\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0crc.";
    for (int late = 0; late < 2; late++) {
        maker *m = calloc(1, sizeof *m);
        add(m, head, sizeof head - 1);
        if (late)
            add(m, idat, sizeof idat - 1);
        add(m, exif, sizeof exif - 1);
        if (!late)
            add(m, idat, sizeof idat - 1);
        add(m, iend, sizeof iend - 1);
        for (size_t step = 0; step < 9; step++) {
            walked w = walk_run(KV_STRIP_PNG, true, m->bytes, m->len, step);
            assert_int_equal(w.err, KV_OK);
            assert_int_equal(w.width, late ? 30 : 20);
            assert_int_equal(w.height, late ? 20 : 30);
            assert_true(holds(w.bytes, w.len, exif + 8, 26));
            free(w.bytes);
        }
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_private_stays),
        cmocka_unit_test(cuts_do_not_matter),
        cmocka_unit_test(a_second_walk_changes_nothing),
        cmocka_unit_test(looking_only_changes_nothing),
        cmocka_unit_test(a_clean_file_is_not_copied),
        cmocka_unit_test(colour_stays),
        cmocka_unit_test(orientation_is_found_wherever_it_stands),
        cmocka_unit_test(what_nobody_reads_turns_no_jpeg),
        cmocka_unit_test(segments_larger_than_a_piece),
        cmocka_unit_test(what_goes_and_what_stays),
        cmocka_unit_test(between_scans),
        cmocka_unit_test(damaged_pictures_are_refused),
        cmocka_unit_test(gif_dimensions),
        cmocka_unit_test(webp_animation),
        cmocka_unit_test(png_stays_valid),
        cmocka_unit_test(a_late_orientation_turns_no_png),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
