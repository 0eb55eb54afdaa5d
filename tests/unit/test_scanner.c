/* The scanner: what a file is, and what goes on to whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/unit/ingest_fake.h"

static rig r;

static int start(void **state)
{
    (void)state;
    memset(&r, 0, sizeof r);
    rig_defaults(&r.cfg);
    rig_start(&r, &kv_scanner);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_stop(&r);
    return 0;
}

static size_t read_file(const char *name, uint8_t *to, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, KV_TESTS_DIR "/unit/data/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(to, 1, size, f);
    fclose(f);
    return n;
}

/* Sends a whole file in pieces of `step` and gives the verdict. */
static kv_upload_scanned scan(const char *filename, const char *declared, const void *bytes,
                              size_t len, size_t step)
{
    static uint64_t upload = 100;
    kv_out_fake_clear(r.out);
    rig_begin(&r, ++upload, filename, declared);
    for (size_t at = 0; at < len; at += step)
        rig_chunk(&r, upload, at, (const char *)bytes + at, step < len - at ? step : len - at);
    rig_end(&r, upload, len);
    const kv_msg *m = rig_got(&r, KV_UPLOAD_SCANNED, 0, NULL, NULL);
    assert_non_null(m);
    assert_int_equal(rig_count(&r, KV_UPLOAD_SCANNED), 1);
    assert_int_equal(m->upload_scanned.upload, upload);
    return m->upload_scanned;
}

/* The same in one message: says the same, and hands on the same bytes. */
static void scan_whole(const char *filename, const char *declared, const void *bytes, size_t len,
                       const kv_upload_scanned *want)
{
    int peer;
    kv_out_fake_clear(r.out);
    rig_whole(&r, 4711, filename, declared, bytes, len);
    const kv_msg *m = rig_got(&r, KV_WHOLE_JUDGED, 0, &peer, NULL);
    assert_non_null(m);
    const kv_whole_judged *j = &m->whole_judged;
    assert_int_equal(peer, want->number ? KV_SCANNER_TO_DEDUP : KV_SCANNER_TO_HASHER);
    assert_int_equal(kv_out_fake_count(r.out), j->number || j->same ? 1 : 2);
    assert_int_equal(j->upload, 4711);
    assert_int_equal(j->loop, 1);
    assert_true(kv_slice_is(j->folder, "banners"));
    assert_true(kv_slice_is(j->filename, filename));
    assert_int_equal(j->number, want->number);
    assert_int_equal(j->width, want->width);
    assert_int_equal(j->height, want->height);
    assert_int_equal(j->strip_version, want->strip_version);
    assert_int_equal(j->metadata_kept, want->metadata_kept);
}

static kv_err verdict(const char *filename, const char *declared, const void *bytes, size_t len)
{
    kv_upload_scanned cut = scan(filename, declared, bytes, len, 11);
    scan_whole(filename, declared, bytes, len, &cut);
    kv_upload_scanned whole = scan(filename, declared, bytes, len, len ? len : 1);
    assert_int_equal(whole.number, cut.number);
    return (kv_err)whole.number;
}

static kv_err verdict_str(const char *filename, const char *declared, const char *text)
{
    return verdict(filename, declared, text, strlen(text));
}

static const char pdf[] = "%PDF-1.4\n1 0 obj\n<<>>\nendobj\n";
static const char plain[] = "Merhaba, bu bir metin dosyasıdır.\nİkinci satır.\n";

static void good_files_pass(void **state)
{
    (void)state;
    static uint8_t b[1 << 20];
    static const struct {
        const char *file, *name, *declared, *mime, *ext;
        uint32_t width, height;
        unsigned strip;
    } good[] = {
        {"gps.jpg", "a.jpg", "image/jpeg", "image/jpeg", "jpg", 32, 48, 1},
        {"gps.jpg", "a.JPEG", "", "image/jpeg", "jpg", 32, 48, 1},
        {"gps.jpg", "noextension", "application/octet-stream", "image/jpeg", "jpg", 32, 48, 1},
        {"gps.png", "a.png", "image/png", "image/png", "png", 32, 48, 1},
        {"gps.webp", "a.webp", "image/webp", "image/webp", "webp", 32, 48, 1},
        {"small.gif", "a.gif", "image/gif", "image/gif", "gif", 48, 32, 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t n = read_file(good[i].file, b, sizeof b);
        kv_upload_scanned s = scan(good[i].name, good[i].declared, b, n, 3000);
        assert_int_equal(s.number, 0);
        assert_true(kv_slice_is(s.mime, good[i].mime));
        assert_true(kv_slice_is(s.ext, good[i].ext));
        assert_int_equal(s.width, good[i].width);
        assert_int_equal(s.height, good[i].height);
        assert_int_equal(s.strip_version, good[i].strip);
        assert_int_equal(s.metadata_kept, good[i].strip == 0);
        assert_true(s.kept_size <= n);
        scan_whole(good[i].name, good[i].declared, b, n, &s);
    }
    kv_upload_scanned s = scan("a.pdf", "application/pdf", pdf, strlen(pdf), 7);
    assert_int_equal(s.number, 0);
    assert_true(s.metadata_kept);
    s = scan("a.txt", "text/plain; charset=utf-8", plain, strlen(plain), 7);
    assert_int_equal(s.number, 0);
    assert_false(s.metadata_kept);
    assert_int_equal(verdict_str("b.txt", "", "x"), KV_OK);
    assert_int_equal(verdict_str("code.txt", "", "#include <stdio.h>\nint main(void){}\n"), KV_OK);
}

/* S0-25, S0-94: what libmagic sees decides; names and declarations that say otherwise are refused
 */
static void spoofs_are_refused(void **state)
{
    (void)state;
    static uint8_t jpeg[1 << 16];
    size_t n = read_file("plain.jpg", jpeg, sizeof jpeg);
    assert_int_equal(verdict("a.png", "", jpeg, n), KV_E_TYPE_MISMATCH);
    assert_int_equal(verdict("a.jpg", "image/png", jpeg, n), KV_E_TYPE_MISMATCH);
    assert_int_equal(verdict("a.exe", "", jpeg, n), KV_E_TYPE_MISMATCH);
    assert_int_equal(verdict("a.jpg", "foo/bar", jpeg, n), KV_E_TYPE_MISMATCH);
    assert_int_equal(verdict_str("a.jpg", "image/jpeg", pdf), KV_E_TYPE_MISMATCH);
    assert_int_equal(verdict_str("a.jpg", "image/jpeg", plain), KV_E_TYPE_MISMATCH);
    assert_int_equal(verdict("a.jpg", "image/jpeg", "MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0", 16),
                     KV_E_TYPE_REFUSED);
    assert_int_equal(verdict("a.jpg", "",
                             "\x7f"
                             "ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\x3e\0",
                             20),
                     KV_E_TYPE_REFUSED);
    /* libmagic answers nothing at all */
    assert_int_equal(
        verdict("a.txt", "text/plain", "\xff\xfe\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12),
        KV_E_TYPE_REFUSED);
    static const char *const markup[] = {
        "<!DOCTYPE html><html><body>x</body></html>",
        "hello\nhello\n<html><script>alert(1)</script></html>",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\n\n  <b>bold</b>",
        "\xef\xbb\xbf<p>x</p>",
        "<?xml version='1.0'?><a/>",
        "<!-- x --><a/>",
        "<?php echo 1; ?>",
    };
    for (size_t i = 0; i < sizeof markup / sizeof *markup; i++) {
        assert_int_equal(verdict_str("a.txt", "text/plain", markup[i]), KV_E_TYPE_REFUSED);
        assert_int_equal(verdict_str("noextension", "", markup[i]), KV_E_TYPE_REFUSED);
    }
}

static void not_yet(void **state)
{
    (void)state;
    static const char *const svg[] = {
        "<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "<!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>",
        "\n\n <svg xmlns='http://www.w3.org/2000/svg'/>",
    };
    for (size_t i = 0; i < sizeof svg / sizeof *svg; i++) {
        assert_int_equal(verdict_str("a.svg", "image/svg+xml", svg[i]), KV_E_TYPE_NOT_YET);
        assert_int_not_equal(verdict_str("a.txt", "", svg[i]), KV_OK);
    }
    assert_int_equal(verdict("a.tif", "image/tiff", "II*\0\x8\0\0\0\0\0\0\0\0\0\0\0", 16),
                     KV_E_TYPE_NOT_YET);
}

static kv_upload_scanned brand(const char *name, const char *major, const char *compatible)
{
    uint8_t b[600] = {0};
    size_t n = 16 + strlen(compatible);
    b[3] = (uint8_t)n;
    memcpy(b + 4, "ftyp", 4);
    memcpy(b + 8, major, 4);
    memcpy(b + 16, compatible, strlen(compatible));
    memcpy(b + n, "\0\0\0\x40mdat", 8);
    return scan(name, "", b, sizeof b, sizeof b);
}

static void iso_media_brands(void **state)
{
    (void)state;
    static const struct {
        const char *name, *major, *compatible, *mime; /* NULL: refused */
    } cases[] = {
        {"a.heic", "heic", "mif1heic", "image/heic"},
        {"a.heic", "mif1", "mif1heic", "image/heic"},
        {"a.heif", "msf1", "isomhevc", "image/heic"},
        {"a.heic", "heix", "mif1heix", "image/heic"},
        {"a.avif", "avif", "avifmif1miaf", "image/avif"},
        {"a.avif", "mif1", "mif1avifmiaf", "image/avif"},
        {"a.avif", "avis", "avifmsf1", "image/avif"},
        {"a.mp4", "isom", "isomiso2avc1mp41", "video/mp4"},
        {"a.mp4", "mp42", "isommp42", "video/mp4"},
        {"a.mp4", "MSNV", "MSNVmp42isom", "video/mp4"},
        {"a.mp4", "hvc1", "isomhvc1", "video/mp4"},
        {"a.mp4", "isom", "isomavif", "video/mp4"},
        {"a.mov", "qt  ", "qt  ", NULL},
        {"a.mp4", "M4A ", "M4A isommp42", NULL},
        {"a.jp2", "jp2 ", "jp2 ", NULL},
        {"a.mp4", "mif1", "mif1isom", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_upload_scanned s = brand(cases[i].name, cases[i].major, cases[i].compatible);
        if (!cases[i].mime) {
            assert_int_not_equal(s.number, 0);
            continue;
        }
        assert_int_equal(s.number, 0);
        assert_true(kv_slice_is(s.mime, cases[i].mime));
    }
}

static void allowed_types_are_a_setting(void **state)
{
    (void)state;
    rig_stop(&r);
    memset(&r, 0, sizeof r);
    rig_defaults(&r.cfg);
    r.cfg.allowed_mime_types = "image/png";
    rig_start(&r, &kv_scanner);
    assert_int_equal(verdict_str("a.pdf", "", pdf), KV_E_TYPE_REFUSED);
}

static void empty_files_are_refused(void **state)
{
    (void)state;
    assert_int_equal(verdict("a.jpg", "image/jpeg", "", 0), KV_E_EMPTY_FILE);
    assert_int_equal(rig_count(&r, KV_UPLOAD_CHUNK), 0);
    assert_int_equal(rig_count(&r, KV_UPLOAD_ABORT), 2); /* hasher and store */
}

static void a_refused_head_reaches_nobody(void **state)
{
    (void)state;
    rig_begin(&r, 1, "a.png", "image/png");
    uint8_t junk[5000];
    memset(junk, 'x', sizeof junk);
    rig_chunk(&r, 1, 0, junk, sizeof junk);
    assert_int_equal(rig_count(&r, KV_UPLOAD_SCANNED), 1);
    rig_chunk(&r, 1, 5000, junk, sizeof junk); /* the client does not know yet */
    rig_end(&r, 1, 10000);
    assert_int_equal(rig_count(&r, KV_UPLOAD_CHUNK), 0);
    assert_int_equal(rig_count(&r, KV_UPLOAD_HASH), 0);
    assert_int_equal(rig_count(&r, KV_UPLOAD_END), 0);
    assert_int_equal(rig_count(&r, KV_UPLOAD_SCANNED), 1);
    rig_abort(&r, 1, KV_E_CLIENT_GONE);
}

static void damage_is_refused_late(void **state)
{
    (void)state;
    static uint8_t b[1 << 16];
    size_t n = read_file("gps.jpg", b, sizeof b);
    assert_int_equal(verdict("a.jpg", "", b, 9000), KV_E_BAD_IMAGE); /* inside the thumbnail */
    assert_true(n > 9000);
    assert_true(rig_count(&r, KV_UPLOAD_CHUNK) > 0);
    assert_int_equal(rig_count(&r, KV_UPLOAD_ABORT), 2);
}

/* S0-19: what the store gets holds no GPS; the hasher gets both */
static void kept_and_received(void **state)
{
    (void)state;
    static uint8_t b[1 << 16], received[1 << 16], kept[1 << 16], stored[1 << 16];
    size_t n = read_file("gps.jpg", b, sizeof b);
    kv_upload_scanned s = scan("a.jpg", "", b, n, 2500);
    size_t got = 0, got_kept = 0, got_stored = 0;
    kv_slice p;
    bool same = true;
    for (size_t i = 0; i < kv_out_fake_count(r.out); i++) {
        int peer;
        const kv_msg *m = kv_out_fake_at(r.out, i, &peer, &p);
        if (m->code == KV_UPLOAD_HASH) {
            assert_int_equal(peer, KV_SCANNER_TO_HASHER);
            assert_int_equal(m->upload_hash.offset, got);
            same = m->upload_hash.same;
            memcpy(received + got, p.ptr, p.len);
            got += p.len;
        }
        if (m->code == KV_UPLOAD_KEPT || (m->code == KV_UPLOAD_HASH && same)) {
            if (p.len)
                memcpy(kept + got_kept, p.ptr, p.len);
            got_kept += p.len;
        }
        if (m->code == KV_UPLOAD_CHUNK) {
            assert_int_equal(peer, KV_SCANNER_TO_STORE);
            assert_int_equal(m->upload_chunk.offset, got_stored);
            memcpy(stored + got_stored, p.ptr, p.len);
            got_stored += p.len;
        }
    }
    assert_int_equal(got, n);
    assert_memory_equal(received, b, n);
    assert_int_equal(got_stored, n - 14);
    assert_int_equal(got_kept, got_stored);
    assert_int_equal(s.kept_size, got_stored);
    assert_memory_equal(kept, stored, got_stored);
    assert_null(memmem(stored, got_stored, "SECRET", 6));
}

/* S0-19: so with a whole upload */
static void kept_and_received_whole(void **state)
{
    (void)state;
    static uint8_t b[1 << 16], stored[1 << 16];
    size_t n = read_file("gps.jpg", b, sizeof b), got = 0;
    kv_slice p;
    scan("a.jpg", "", b, n, 2500);
    for (size_t i = 0; rig_got(&r, KV_UPLOAD_CHUNK, i, NULL, &p); i++) {
        memcpy(stored + got, p.ptr, p.len);
        got += p.len;
    }
    kv_out_fake_clear(r.out);
    rig_whole(&r, 1, "a.jpg", "", b, n);
    int peer;
    const kv_msg *m = kv_out_fake_at(r.out, 0, &peer, &p);
    assert_int_equal(m->code, KV_WHOLE_RECEIVED);
    assert_int_equal(peer, KV_SCANNER_TO_HASHER);
    assert_int_equal(p.len, n);
    assert_memory_equal(p.ptr, b, n);
    m = kv_out_fake_at(r.out, 1, &peer, &p);
    assert_int_equal(m->code, KV_WHOLE_JUDGED);
    assert_int_equal(peer, KV_SCANNER_TO_HASHER);
    assert_false(m->whole_judged.same);
    assert_int_equal(p.len, got);
    assert_memory_equal(p.ptr, stored, got);
    n = read_file("small.gif", b, sizeof b);
    kv_out_fake_clear(r.out);
    rig_whole(&r, 2, "a.gif", "", b, n);
    m = kv_out_fake_at(r.out, 0, &peer, &p); /* nothing to blank: one message */
    assert_int_equal(m->code, KV_WHOLE_JUDGED);
    assert_true(m->whole_judged.same);
    assert_int_equal(p.len, n);
    assert_memory_equal(p.ptr, b, n);
    assert_int_equal(kv_out_fake_count(r.out), 1);
}

/* The loop's credit: a payload is released once everybody is done with it, and not before. */
static int released;

static void on_release(void *data, void *hint)
{
    (void)data, (void)hint;
    released++;
}

static void payloads_are_shared_and_released(void **state)
{
    (void)state;
    static uint8_t b[1 << 16];
    size_t n = read_file("gps.jpg", b, sizeof b);
    zmq_msg_t payload;
    kv_header head = {.code = KV_UPLOAD_CHUNK};
    kv_msg m = {.code = KV_UPLOAD_CHUNK};
    rig_begin(&r, 1, "a.jpg", "");
    m.upload_chunk.upload = 1;
    zmq_msg_init_data(&payload, b, n, on_release, NULL);
    kv_in in = {&head, &m, &payload, 0};
    released = 0;
    r.def->handlers[1].fn(r.self, &in, r.out);
    zmq_msg_close(&payload);
    assert_int_equal(released, 1); /* the fake copies what it keeps */
    rig_abort(&r, 1, KV_E_CLIENT_GONE);
    assert_int_equal(rig_count(&r, KV_UPLOAD_ABORT), 2);
    assert_int_equal(rig_got(&r, KV_UPLOAD_SCANNED, 0, NULL, NULL)->upload_scanned.number,
                     KV_E_CLIENT_GONE);
    int peer;
    rig_abort(&r, 1, KV_E_CLIENT_GONE); /* not known any more: dedup may care */
    assert_non_null(rig_got(&r, KV_UPLOAD_ABORT, 2, &peer, NULL));
    assert_int_equal(peer, KV_SCANNER_TO_DEDUP);
}

static void stripping_can_be_off(void **state)
{
    (void)state;
    rig_stop(&r);
    memset(&r, 0, sizeof r);
    rig_defaults(&r.cfg);
    r.cfg.strip_original_metadata = false;
    rig_start(&r, &kv_scanner);
    static uint8_t b[1 << 16];
    size_t n = read_file("gps.png", b, sizeof b);
    kv_upload_scanned s = scan("a.png", "", b, n, 100);
    assert_int_equal(s.number, 0);
    assert_int_equal(s.strip_version, 0);
    assert_true(s.metadata_kept);
    assert_int_equal(s.kept_size, n);
    assert_int_equal(s.width, 32);
    assert_int_equal(rig_count(&r, KV_UPLOAD_KEPT), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(good_files_pass, start, stop),
        cmocka_unit_test_setup_teardown(spoofs_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(not_yet, start, stop),
        cmocka_unit_test_setup_teardown(iso_media_brands, start, stop),
        cmocka_unit_test_setup_teardown(allowed_types_are_a_setting, start, stop),
        cmocka_unit_test_setup_teardown(empty_files_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(a_refused_head_reaches_nobody, start, stop),
        cmocka_unit_test_setup_teardown(damage_is_refused_late, start, stop),
        cmocka_unit_test_setup_teardown(kept_and_received, start, stop),
        cmocka_unit_test_setup_teardown(kept_and_received_whole, start, stop),
        cmocka_unit_test_setup_teardown(payloads_are_shared_and_released, start, stop),
        cmocka_unit_test_setup_teardown(stripping_can_be_off, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
