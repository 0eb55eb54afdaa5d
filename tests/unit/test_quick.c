/* S0-25: the quick answer for JPEG and PNG is libmagic's answer, or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "actors/scanner/types.h"

static kv_types *types;
static uint8_t head[KV_TYPE_HEAD];
static uint64_t seed = 88172645463325252u;

static const char *const files[] = {"gps.jpg", "plain.jpg", "gps-progressive.jpg",
                                    "gps-restart.jpg", "gps.png"};
#define FILES (sizeof files / sizeof *files)

static int start(void **state)
{
    (void)state;
    kv_config cfg = {.allowed_mime_types = "image/jpeg"};
    return kv_types_new(&cfg, &types) == KV_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    kv_types_destroy(&types);
    return 0;
}

static uint32_t random_number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 11);
}

static size_t read_head(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, KV_TESTS_DIR "/unit/data/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    return n;
}

/* Whether there is a quick answer; it is libmagic's. */
static bool agree(const void *bytes, size_t len)
{
    const char *quick = kv_types_quick(bytes, len);
    if (quick)
        assert_string_equal(quick, kv_types_ask(types, bytes, len));
    return quick != NULL;
}

static void heads_of_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILES; i++)
        assert_true(agree(head, read_head(files[i])));
    static const char *const others[] = {"gps.webp", "gps-lossless.webp", "small.gif"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(agree(head, read_head(others[i])));
}

static void cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        size_t n = read_head(files[i]);
        for (size_t len = 0; len <= n; len += len < 400 ? 1 : 97)
            agree(head, len);
    }
}

/* Three heads that get a quick answer, with nothing behind them. */
static void make_head(int kind)
{
    static const uint8_t jfif[] = {0xff, 0xd8, 0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F',
                                   0,    1,    1,    0,    0, 1,  0,   1,   0,   0};
    static const uint8_t exif[] = {0xff, 0xd8, 0xff, 0xe1, 1,   0, 'E', 'x', 'i', 'f',
                                   0,    0,    'I',  'I',  '*', 0, 8,   0,   0,   0};
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13,
                                  'I',  'H', 'D', 'R', 0,    0,    1,    0,    0, 0, 1, 0};
    memset(head, 0, sizeof head);
    if (kind == 0)
        memcpy(head, jfif, sizeof jfif);
    else if (kind == 1)
        memcpy(head, exif, sizeof exif);
    else
        memcpy(head, png, sizeof png);
    assert_true(agree(head, sizeof head));
}

/* Every value of every byte that is judged, and of those near them. */
static void every_byte(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        make_head(kind);
        for (size_t at = 0; at < 28; at++) {
            uint8_t was = head[at];
            for (int v = 0; v < 256; v++) {
                head[at] = (uint8_t)v;
                agree(head, 512);
            }
            head[at] = was;
        }
    }
}

/* What libmagic looks for at other places than the first byte, at any place, behind each head.
 * First those of its rules that come before JPEG and PNG. */
static void polyglots(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "USE LYNX TO DISSOLVE THIS FILE",
        "Tue Jan 22 14:32:44 MET 1991",
        "1.0 Fri Feb 3 09:55:56 MET 1995",
        "Must have DOS version",
        "MIT-MAGIC-COOKIE-1",
        "# This is a shell archive",
        "innotek VirtualBox Disk Image",
        "BY SNK CORPORATION",
        "---BEGIN PGP PRIVATE KEY BLOCK-",
        "%!PS-AdobeFont-1.",
        "Start/Stop parameter header:",
        "MUGICIAN/SOFTEYES",
        "           ML4D '92",
        "\002\030`P\002h`P@@@@@@@@",
        "\357\020",
        "<!DOCTYPE html><html><script>alert(1)</script></html>",
        "<?php system($_GET[0]); ?>",
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "PK\003\004\024",
        "PK\005\006",
        "%PDF-1.7\n1 0 obj\n",
        "\177ELF\002\001\001",
        "MZ\220",
        "This program cannot be run in DOS mode",
        "GIF89a",
        "RIFF\044\001\001\001WEBPVP8 ",
        "ftypisom",
        "ustar  ",
        "DICM",
        "CD001",
        "JFIF",
        "Exif",
        "#!/bin/sh\n",
        "BZh91AY&SY",
        "Rar!\032\007",
        "7z\274\257\047\034",
    };
    for (int kind = 0; kind < 3; kind++) {
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            size_t len = strlen(texts[i]);
            for (size_t at = 2; at < 300; at++) {
                make_head(kind);
                memcpy(head + at, texts[i], len);
                agree(head, 640);
            }
        }
    }
}

/* Some bytes of a good head changed, everything behind it random. */
static void random_heads(void **state)
{
    (void)state;
    unsigned quick = 0;
    for (int i = 0; i < 20000; i++) {
        make_head(i % 3);
        size_t from = 20 + random_number() % 4, len = random_number() % 1024;
        for (size_t at = from; at < 1024; at++)
            head[at] = (uint8_t)random_number();
        for (uint32_t n = random_number() % 3; n > 0; n--)
            head[random_number() % 24] = (uint8_t)random_number();
        quick += agree(head, len);
    }
    assert_true(quick > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_files), cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(every_byte),     cmocka_unit_test(polyglots),
        cmocka_unit_test(random_heads),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
