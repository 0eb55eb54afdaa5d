#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "proto/base/media_name.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static kv_slice S(const char *text)
{
    return kv_slice_str(text);
}

static void test_folders(void **state)
{
    static const char *const good[] = {"genel",    "haber/2026", "a/b/c/d", "_x",  "0",    "a-b_c",
                                       "x/static", "statics",    "console", "com", "com10"};
    static const char *const bad[] = {"",      "a/b/c/d/e", "A",      "a//b",     "/a",   "a/",
                                      "..",    "a/../b",    "-a",     "a/-b",     "a b",  "ığ",
                                      "a.b",   ".tmp",      "static", "static/a", "a\\b", "con",
                                      "aux/x", "x/nul",     "com1"};
    char part[80];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(kv_folder_valid(S(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(kv_folder_valid(S(bad[i])));
    assert_false(kv_folder_valid(kv_slice_of("a\0b", 3)));
    memset(part, 'a', sizeof part);
    assert_true(kv_folder_valid(kv_slice_of(part, 64)));
    assert_false(kv_folder_valid(kv_slice_of(part, 65)));
    assert_true(kv_folder_below(S("haber"), S("haber")));
    assert_true(kv_folder_below(S("haber/2026"), S("haber")));
    assert_false(kv_folder_below(S("haberler"), S("haber")));
    assert_false(kv_folder_below(S("habe"), S("haber")));
    assert_false(kv_folder_below(S("haber"), S("")));
}

static void test_filenames(void **state)
{
    static const char *const good[] = {"a.jpg",     "fotoğraf 1.jpg", "日本.png", ".htaccess",
                                       "...",       "console.txt",    "com.txt",  "com0",
                                       "com10.txt", "a\xe2\x80\x8bz"};
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a/b",
                                      "a\\b",
                                      "../a",
                                      "a\nb",
                                      "a\x7f",
                                      "a\xc2\x85",
                                      "\xff",
                                      "a\xe2\x80\xae"
                                      "gpj.exe",
                                      "a\xe2\x81\xa6"
                                      "b",
                                      "a\xe2\x80\x8f",
                                      "a\xd8\x9c"
                                      "b",
                                      "a\xe2\x80\xa8"
                                      "b",
                                      "CON",
                                      "nul.txt",
                                      "Com1.jpg",
                                      "lpt9",
                                      "aux .txt"};
    char name[300];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(kv_filename_check(S(good[i])), KV_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(kv_filename_check(S(bad[i])), KV_E_BAD_FILENAME);
    assert_int_equal(kv_filename_check(kv_slice_of("a\0b", 3)), KV_E_BAD_FILENAME);
    memset(name, 'a', sizeof name);
    assert_int_equal(kv_filename_check(kv_slice_of(name, 255)), KV_OK);
    assert_int_equal(kv_filename_check(kv_slice_of(name, 256)), KV_E_BAD_FILENAME);
    assert_true(kv_slice_is(kv_filename_ext(S("a.b.JPG")), "JPG"));
    assert_int_equal(kv_filename_ext(S("abc")).len, 0);
    assert_int_equal(kv_filename_ext(S("abc.")).len, 0);
    assert_int_equal(kv_filename_ext(kv_slice_of(NULL, 0)).len, 0);
}

static void test_types(void **state)
{
    char ext[8];

    (void)state;
    assert_string_equal(kv_mime_find(S("image/JPG; q=1"))->mime, "image/jpeg");
    assert_string_equal(kv_mime_find(S(" image/pjpeg "))->mime, "image/jpeg");
    assert_string_equal(kv_mime_find(S("application/x-zip-compressed"))->mime, "application/zip");
    assert_string_equal(kv_mime_find(S("text/csv"))->mime, "text/plain");
    assert_string_equal(kv_mime_find(S("image/heif"))->mime, "image/heic");
    assert_null(kv_mime_find(S("image")));
    assert_null(kv_mime_find(S("")));
    assert_null(kv_mime_find(S(";")));
    assert_null(kv_mime_find(S("text/html")));
    assert_null(kv_mime_find(S("image/jpg image/pjpeg")));
    assert_string_equal(kv_mime_by_ext(S("JFIF"))->mime, "image/jpeg");
    assert_null(kv_mime_by_ext(S("exe")));
    assert_null(kv_mime_by_ext(S("")));
    assert_string_equal(kv_mime_ext(kv_mime_find(S("image/jpeg")), ext), "jpg");
    assert_string_equal(kv_mime_ext(kv_mime_find(S("image/heic")), ext), "heic");
    assert_true(kv_mime_find(S("image/tiff"))->not_yet);
    assert_true(kv_mime_by_ext(S("svg"))->not_yet);
    assert_false(kv_mime_by_ext(S("gif"))->not_yet);
    assert_int_equal(kv_mime_by_ext(S("png"))->strip, KV_STRIP_PNG);
    assert_false(kv_mime_by_ext(S("svg"))->inline_ok);
    assert_false(kv_mime_by_ext(S("pdf"))->image);
}

/* S0-23 S0-15: URLs and keys, made and read back */
static void test_urls(void **state)
{
    kv_static_path p;
    kv_buf b;

    (void)state;
    kv_buf_init(&b, 0);
    kv_media_url(&b, "https://cdn.example", S("haber/2026"), HASH, S("jpg"));
    assert_string_equal(kv_buf_str(&b), "https://cdn.example/api/static/haber/2026/" HASH ".jpg");
    kv_buf_clear(&b);
    kv_media_key(&b, S("banners"), HASH, S("png"));
    assert_string_equal(kv_buf_str(&b), "banners/" HASH ".png");
    assert_true(kv_static_path_parse(kv_buf_slice(&b), &p));
    assert_false(p.is_variant);
    assert_true(kv_slice_is(p.folder, "banners") && kv_slice_is(p.hash_hex, HASH) &&
                kv_slice_is(p.ext, "png"));
    kv_buf_clear(&b);
    kv_variant_url(&b, "", S("a/b"), HASH, 640, S("q80e4-0123abcd"), S("webp"));
    assert_string_equal(kv_buf_str(&b), "/api/static/a/b/" HASH ".w640-q80e4-0123abcd.webp");
    assert_true(kv_static_path_parse(S(kv_buf_str(&b) + strlen("/api/static/")), &p));
    assert_true(p.is_variant);
    assert_int_equal(p.width, 640);
    assert_true(kv_slice_is(p.params, "q80e4-0123abcd") && kv_slice_is(p.ext, "webp"));
    kv_buf_clear(&b);
    kv_variant_url(&b, "", S("a"), HASH, 0, S("q80"), S("avif"));
    assert_true(kv_static_path_parse(S(kv_buf_str(&b) + strlen("/api/static/")), &p));
    assert_true(p.is_variant && p.width == 0);
    kv_buf_clear(&b);
    kv_variant_key(&b, 33, 320, S("q80"), S("webp"));
    assert_string_equal(kv_buf_str(&b), ".variants/0000000000011/w320-q80.webp");
    kv_buf_clear(&b);
    kv_variant_prefix(&b, 33);
    assert_string_equal(kv_buf_str(&b), ".variants/0000000000011/");
    kv_buf_release(&b);
}

static void test_bad_static_paths(void **state)
{
    static const char *const bad[] = {
        "",
        "/",
        HASH ".jpg",
        "a/" HASH,
        "a/" HASH ".",
        "a/" HASH ".JPG",
        "a//" HASH ".jpg",
        "../" HASH ".jpg",
        ".tmp/" HASH ".jpg",
        ".variants/0000000000011/w320-q80.webp",
        "A/" HASH ".jpg",
        "a/b/c/d/e/" HASH ".jpg",
        "a/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef.jpg",
        "a/x" HASH ".jpg",
        "a/" HASH ".w640.webp",
        "a/" HASH ".w-q80.webp",
        "a/" HASH ".w0640-q80.webp",
        "a/" HASH ".w65536-q80.webp",
        "a/" HASH ".w99999999999-q80.webp",
        "a/" HASH ".x640-q80.webp",
        "a/" HASH ".w640-.webp",
        "a/" HASH ".w640-q_80.webp",
        "a/" HASH ".full-q80.webp.webp",
        "a/" HASH ".jpg/",
        "a/" HASH ".jpg%00",
        "a/" HASH ".abcdefgh",
        "a/" HASH "..jpg"};
    kv_static_path p;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(kv_static_path_parse(S(bad[i]), &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_filenames),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_bad_static_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
