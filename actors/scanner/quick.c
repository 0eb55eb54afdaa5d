/* JPEG and PNG as cameras, phones, browsers and libraries write them, told without libmagic.
 *
 * libmagic 5.44 takes the first of 3,548 rules that fits, strongest first. JPEG is rule 232 and PNG
 * rule 249; a rule before them fits a file that begins as below only with one of three texts, at
 * the places in may_be_spoilt. Every other rule before them asks for another first byte, or for
 * something at an offset that the head below fixes. tests/unit/test_quick.c holds all this against
 * the libmagic that is installed. What is not surely the same answer gives NULL. */
#include <string.h>

#include "actors/scanner/types.h"

#define NEEDS 280 /* bytes: behind the last spoiler */

static bool is(const uint8_t *at, const char *bytes, size_t len)
{
    return memcmp(at, bytes, len) == 0;
}

/* Four letters are enough: it is libmagic that looks at the rest. */
static bool may_be_spoilt(const uint8_t *p)
{
    return is(p + 56, "USE ", 4) || /* "USE LYNX TO DISSOLVE THIS FILE" */
           is(p + 79, "Tue ", 4) || /* "Tue Jan 22 14:32:44 MET 1991" */
           is(p + 252, "Must", 4);  /* "Must have DOS version" */
}

/* SOI, then a whole JFIF segment (16 bytes, version 1, no thumbnail). */
static bool is_jfif(const uint8_t *p)
{
    return is(p, "\xff\xd8\xff\xe0\0\x10JFIF\0\1", 12) && p[12] <= 2 && p[13] <= 2 && p[18] == 0 &&
           p[19] == 0;
}

/* SOI, then an EXIF segment with the head of a TIFF file. */
static bool is_exif(const uint8_t *p)
{
    return is(p, "\xff\xd8\xff\xe1", 4) && is(p + 6, "Exif\0\0", 6) &&
           (is(p + 12, "II*\0\x8\0\0\0", 8) || is(p + 12, "MM\0*\0\0\0\x8", 8));
}

/* Signature and the head of IHDR, with sides below 65,536. */
static bool is_png(const uint8_t *p)
{
    return is(p, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", 18) && is(p + 20, "\0\0", 2);
}

const char *kv_types_quick(const void *head, size_t len)
{
    const uint8_t *p = head;
    if (len < NEEDS || may_be_spoilt(p))
        return NULL;
    if (is_jfif(p) || is_exif(p))
        return "image/jpeg";
    return is_png(p) ? "image/png" : NULL;
}
