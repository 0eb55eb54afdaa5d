/* S0-20, S0-71: which variants are kept, what they are called, what the job says of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "actors/image/variants.h"
#include "actors/image/webp_riff.h"

static const char versions[] = "vips 1 webp 2";

static kv_image_variant variant(kv_image_format format, uint32_t width, uint64_t size, bool full)
{
    return (kv_image_variant){
        .format = format, .width = width, .height = width / 2, .size = size, .full = full};
}

/* S0-20 */
static void smaller_ones_are_kept_in_order(void **state)
{
    (void)state;
    kv_image_variant v[] = {
        variant(KV_IMAGE_AVIF, 320, 100, false), variant(KV_IMAGE_WEBP, 640, 500, false),
        variant(KV_IMAGE_WEBP, 320, 200, false), variant(KV_IMAGE_WEBP, 4000, 9000, true),
        variant(KV_IMAGE_AVIF, 640, 400, false),
    };
    assert_int_equal(kv_image_choose(v, 5, 10000), 5);
    assert_true(v[0].full);
    assert_int_equal(v[1].width, 640);
    assert_int_equal(v[2].width, 320);
    assert_int_equal(v[3].format, KV_IMAGE_AVIF);
    assert_int_equal(v[3].width, 640);
    assert_int_equal(v[4].width, 320);
}

static void one_that_saves_nothing_is_dropped(void **state)
{
    (void)state;
    /* The full size is larger than the original, 1280 as large as it: 640 is held against the
     * original. */
    kv_image_variant v[] = {
        variant(KV_IMAGE_WEBP, 2000, 1200, true), variant(KV_IMAGE_WEBP, 1280, 1000, false),
        variant(KV_IMAGE_WEBP, 640, 999, false),  variant(KV_IMAGE_WEBP, 320, 999, false),
        variant(KV_IMAGE_AVIF, 640, 2000, false), variant(KV_IMAGE_AVIF, 320, 10, false),
    };
    assert_int_equal(kv_image_choose(v, 6, 1000), 2);
    assert_int_equal(v[0].width, 640);
    assert_int_equal(v[0].format, KV_IMAGE_WEBP);
    assert_int_equal(v[1].width, 320);
    assert_int_equal(v[1].format, KV_IMAGE_AVIF);
}

static void nothing_to_choose_from(void **state)
{
    (void)state;
    kv_image_variant v[] = {variant(KV_IMAGE_WEBP, 10, 50, true)};
    assert_int_equal(kv_image_choose(v, 0, 1000), 0);
    assert_int_equal(kv_image_choose(v, 1, 50), 0);
}

static kv_config config_of(const char *widths)
{
    return (kv_config){.image_widths = widths,
                       .webp_quality = 80,
                       .webp_effort = 4,
                       .avif_quality = 50,
                       .avif_effort = 1,
                       .image_timeout = 120,
                       .image_max_megapixels = 100,
                       .image_memory_mb = 1024};
}

static void settings_from_configuration(void **state)
{
    (void)state;
    kv_image_settings s;
    kv_config cfg = config_of("320,1280,640,320");
    assert_int_equal(kv_image_settings_of(&cfg, &s), KV_OK);
    assert_int_equal(s.width_count, 3);
    assert_int_equal(s.widths[0], 1280);
    assert_int_equal(s.widths[2], 320);
    assert_int_equal(s.max_pixels, 100000000);
    const char *bad[] = {"0",
                         "16384",
                         "32a",
                         "-5",
                         "320,,640",
                         "99999999999",
                         "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cfg = config_of(bad[i]);
        assert_int_equal(kv_image_settings_of(&cfg, &s), KV_E_CONFIG);
    }
    cfg = config_of("");
    assert_int_equal(kv_image_settings_of(&cfg, &s), KV_OK);
    assert_int_equal(s.width_count, 0);
}

static void params_tell_settings_apart(void **state)
{
    (void)state;
    kv_image_settings s, t;
    kv_config cfg = config_of("320");
    char a[KV_IMAGE_PARAMS], b[KV_IMAGE_PARAMS];
    assert_int_equal(kv_image_settings_of(&cfg, &s), KV_OK);
    kv_image_params(&s, KV_IMAGE_WEBP, 320, false, versions, a);
    assert_int_equal(strlen(a), strlen("q80e4-00000000"));
    assert_memory_equal(a, "q80e4-", 6);
    kv_image_params(&s, KV_IMAGE_WEBP, 320, false, versions, b);
    assert_string_equal(a, b);
    kv_image_params(&s, KV_IMAGE_WEBP, 320, false, "vips 1 webp 3", b);
    assert_string_not_equal(a, b);
    kv_image_params(&s, KV_IMAGE_WEBP, 320, true, versions, b);
    assert_string_not_equal(a, b);
    t = s;
    t.avif_quality = 7;
    kv_image_params(&t, KV_IMAGE_AVIF, 320, false, versions, b);
    assert_memory_equal(b, "q7e1-", 5);
}

/* S0-71 */
static void result_says_all(void **state)
{
    (void)state;
    kv_image_settings s;
    kv_config cfg = config_of("320");
    kv_image_variant v[] = {variant(KV_IMAGE_WEBP, 320, 77, false)};
    char params[KV_IMAGE_PARAMS], want[512];
    kv_buf out;
    assert_int_equal(kv_image_settings_of(&cfg, &s), KV_OK);
    kv_image_params(&s, KV_IMAGE_WEBP, 320, false, versions, params);
    kv_buf_init(&out, 0);
    kv_image_result_json(&out, &s, versions, 640, 320, kv_slice_of("\x01\x02\x03\x04", 4), v, 1);
    snprintf(want, sizeof want,
             "{\"width\":640,\"height\":320,\"thumbhash\":\"AQIDBA==\",\"variants\":[{\"format\":"
             "\"webp\","
             "\"width\":320,\"height\":160,\"size\":77,\"params\":\"%s\",\"full\":false}]}",
             params);
    assert_string_equal(kv_buf_str(&out), want);
    kv_buf_release(&out);
}

/* ---- the WebP container ---- */

static size_t chunk(uint8_t *to, const char *fourcc, const void *data, uint32_t len)
{
    memcpy(to, fourcc, 4);
    memcpy(to + 4, (uint8_t[]){(uint8_t)len, 0, 0, 0}, 4);
    memcpy(to + 8, data, len);
    to[8 + len] = 0;
    return 8 + len + (len & 1);
}

static size_t riff(uint8_t *to, size_t body)
{
    memcpy(to, "RIFF", 4);
    memcpy(to + 4, (uint8_t[]){(uint8_t)(body + 4), 0, 0, 0}, 4);
    memcpy(to + 8, "WEBP", 4);
    return 12 + body;
}

/* S0-19 */
static void metadata_chunks_go(void **state)
{
    (void)state;
    uint8_t in[256], want[64];
    uint8_t header[10] = {0x08 | 0x04 | 0x20};
    size_t n = chunk(in + 12, "VP8X", header, 10);
    n += chunk(in + 12 + n, "ICCP", "icc", 3);
    n += chunk(in + 12 + n, "VP8 ", "abcde", 5);
    n += chunk(in + 12 + n, "EXIF", "gps", 3);
    n += chunk(in + 12 + n, "XMP ", "me", 2);
    size_t len = riff(in, n), left = kv_webp_strip(in, len);
    size_t body = chunk(want + 12, "VP8 ", "abcde", 5);
    assert_int_equal(left, riff(want, body));
    assert_memory_equal(in, want, left);
}

static void alpha_keeps_its_header(void **state)
{
    (void)state;
    uint8_t in[256];
    uint8_t header[10] = {0x10 | 0x08};
    size_t n = chunk(in + 12, "VP8X", header, 10);
    n += chunk(in + 12 + n, "ALPH", "aa", 2);
    n += chunk(in + 12 + n, "VP8 ", "abcd", 4);
    size_t whole = n;
    n += chunk(in + 12 + n, "EXIF", "", 0);
    size_t len = riff(in, n);
    assert_int_equal(kv_webp_strip(in, len), 12 + whole);
    assert_int_equal(in[12 + 8], 0x10);
}

static void broken_containers_are_refused(void **state)
{
    (void)state;
    uint8_t in[256];
    size_t n = chunk(in + 12, "VP8 ", "abcd", 4), len = riff(in, n);
    assert_int_equal(kv_webp_strip(in, len - 1), 0);
    in[16] = 5; /* the chunk is longer than the file */
    assert_int_equal(kv_webp_strip(in, len), 0);
    n = chunk(in + 12, "EXIF", "abcd", 4);
    len = riff(in, n);
    assert_int_equal(kv_webp_strip(in, len), 0); /* no picture in it */
    assert_int_equal(kv_webp_strip(in, 4), 0);
    memset(in + 4, 0xff, 4);
    assert_int_equal(kv_webp_strip(in, len), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smaller_ones_are_kept_in_order),
        cmocka_unit_test(one_that_saves_nothing_is_dropped),
        cmocka_unit_test(nothing_to_choose_from),
        cmocka_unit_test(settings_from_configuration),
        cmocka_unit_test(params_tell_settings_apart),
        cmocka_unit_test(result_says_all),
        cmocka_unit_test(metadata_chunks_go),
        cmocka_unit_test(alpha_keeps_its_header),
        cmocka_unit_test(broken_containers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
