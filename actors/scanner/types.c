#include "actors/scanner/types.h"

#include <magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/log.h"

struct kv_types {
    magic_t magic;
    const char *allowed; /* LIST of the configuration */
};

/* Left out: what can only turn one refused or plain type into another. */
#define FLAGS                                                                                      \
    (MAGIC_MIME_TYPE | MAGIC_ERROR | MAGIC_NO_CHECK_COMPRESS | MAGIC_NO_CHECK_TAR |                \
     MAGIC_NO_CHECK_APPTYPE | MAGIC_NO_CHECK_ELF | MAGIC_NO_CHECK_TOKENS | MAGIC_NO_CHECK_CDF |    \
     MAGIC_NO_CHECK_CSV | MAGIC_NO_CHECK_JSON)

kv_err kv_types_new(const kv_config *cfg, kv_types **ret)
{
    kv_types *t = calloc(1, sizeof *t);
    if (!t)
        return KV_E_NO_MEMORY;
    t->allowed = cfg->allowed_mime_types;
    t->magic = magic_open(FLAGS);
    if (!t->magic || magic_load(t->magic, NULL) != 0) {
        const char *why = t->magic ? magic_error(t->magic) : NULL;
        kv_log(KV_LOG_ERROR, "libmagic_unusable", KV_STR("error", why ? why : "magic_open failed"));
        kv_types_destroy(&t);
        return KV_E_INTERNAL;
    }
    *ret = t;
    return KV_OK;
}

void kv_types_destroy(kv_types **t)
{
    if (!*t)
        return;
    if ((*t)->magic)
        magic_close((*t)->magic);
    free(*t);
    *t = NULL;
}

static bool says(kv_slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

/* The type without parameters. */
static kv_slice bare(kv_slice mime)
{
    const char *semicolon = mime.len ? memchr(mime.ptr, ';', mime.len) : NULL;
    if (semicolon)
        mime.len = (size_t)(semicolon - mime.ptr);
    while (mime.len && mime.ptr[mime.len - 1] == ' ')
        mime.len--;
    return mime;
}

void kv_claim_read(kv_claim *c, kv_slice filename, kv_slice declared)
{
    *c = (kv_claim){0};
    kv_slice ext = kv_filename_ext(filename);
    c->has_ext = ext.len > 0;
    if (c->has_ext)
        c->by_ext = kv_mime_by_ext(ext);
    declared = bare(declared);
    /* the last one is what curl and forms say of any body */
    c->has_declared = declared.len > 0 && !says(declared, "application/octet-stream") &&
                      !says(declared, "application/x-www-form-urlencoded");
    if (c->has_declared)
        c->declared = kv_mime_find(declared);
}

/* ---- where libmagic is vague ---- */

typedef struct kv_brands {
    bool avif, heic, mp4;
} kv_brands;

static void take_brand(kv_brands *b, const uint8_t *brand)
{
    static const char avif[][5] = {"avif", "avis"};
    static const char heic[][5] = {"heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs"};
    static const char mp4[][5] = {"isom", "iso2", "iso3", "iso4", "iso5", "iso6", "iso7", "iso8",
                                  "iso9", "mp41", "mp42", "avc1", "hvc1", "dash", "cmfc", "MSNV"};
    for (size_t i = 0; i < sizeof avif / sizeof *avif; i++)
        b->avif = b->avif || memcmp(brand, avif[i], 4) == 0;
    for (size_t i = 0; i < sizeof heic / sizeof *heic; i++)
        b->heic = b->heic || memcmp(brand, heic[i], 4) == 0;
    for (size_t i = 0; i < sizeof mp4 / sizeof *mp4; i++)
        b->mp4 = b->mp4 || memcmp(brand, mp4[i], 4) == 0;
}

/* ISO media: libmagic looks at the major brand only, calls mif1 "image/heif" whatever is inside,
 * takes MSNV (a camera's video) for audio and does not know some brands. The major brand decides
 * where it is one of ours; the compatible ones where it is a mere container (mif1, msf1, miaf) or
 * unknown to libmagic. */
static const char *iso_media(const char *seen, const uint8_t *p, size_t len)
{
    if (len < 16 || memcmp(p + 4, "ftyp", 4) != 0)
        return seen;
    size_t box = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    bool container = memcmp(p + 8, "mif1", 4) == 0 || memcmp(p + 8, "msf1", 4) == 0 ||
                     memcmp(p + 8, "miaf", 4) == 0;
    kv_brands b = {0};
    take_brand(&b, p + 8);
    if (!b.avif && !b.heic && !b.mp4 &&
        (container || strcmp(seen, "application/octet-stream") == 0)) {
        for (size_t at = 16; at + 4 <= box && at + 4 <= len; at += 4)
            take_brand(&b, p + at);
        b.mp4 = b.mp4 && !container;
    }
    if (b.avif)
        return "image/avif";
    if (b.heic)
        return "image/heic";
    return b.mp4 ? "video/mp4" : seen;
}

/* Text that begins with a tag, a comment or a declaration: libmagic misses some HTML and SVG. */
static bool is_markup(const uint8_t *p, size_t len)
{
    size_t i = len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (len >= 2 && (memcmp(p, "\xff\xfe", 2) == 0 || memcmp(p, "\xfe\xff", 2) == 0))
        i = 2; /* UTF-16: the zero bytes are skipped like blanks */
    while (i < len && (p[i] == ' ' || (p[i] >= 9 && p[i] <= 13) || p[i] == 0))
        i++;
    if (i == len || p[i] != '<')
        return false;
    for (i++; i < len && p[i] == 0;)
        i++;
    if (i == len)
        return false;
    uint8_t lower = p[i] | 0x20;
    return (lower >= 'a' && lower <= 'z') || p[i] == '!' || p[i] == '?' || p[i] == '/';
}

/* Source code, mail and the like are text to us, and served as such; HTML and XML are not. */
static const char *text(const char *seen, const uint8_t *p, size_t len)
{
    static const char *const plain[] = {"text/x-",  "text/troff",     "text/csv",
                                        "text/PGP", "message/rfc822", "application/json"};
    if (len == 1 && p[0] >= 0x20 && p[0] < 0x7f)
        return p[0] == '<' ? seen : "text/plain"; /* libmagic does not look at a single byte */
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (strncmp(seen, plain[i], strlen(plain[i])) == 0)
            seen = "text/plain";
    }
    if (strcmp(seen, "text/plain") != 0)
        return seen;
    if (is_markup(p, len))
        return "text/xml";
    bool wide = len >= 2 && (memcmp(p, "\xff\xfe", 2) == 0 || memcmp(p, "\xfe\xff", 2) == 0);
    /* libmagic calls two letters of a bitmap's head text, whatever follows */
    return !wide && memchr(p, 0, len) ? "application/octet-stream" : seen;
}

static kv_err agree(const kv_claim *claim, const kv_mime_info *type)
{
    if (claim->has_ext && claim->by_ext != type)
        return KV_E_TYPE_MISMATCH;
    if (claim->has_declared && claim->declared != type)
        return KV_E_TYPE_MISMATCH;
    return KV_OK;
}

const char *kv_types_ask(kv_types *t, const void *head, size_t len)
{
    const char *mime = magic_buffer(t->magic, head, len);
    const char *why = mime ? NULL : magic_error(t->magic);
    if (why)
        kv_log(KV_LOG_ERROR, "libmagic_failed", KV_STR("error", why));
    else if (!mime)
        mime = "application/octet-stream"; /* libmagic 5.44 has no word for malformed UTF-32 */
    return mime;
}

kv_err kv_types_judge(kv_types *t, const kv_claim *claim, const void *head, size_t len,
                      const kv_mime_info **ret, char seen[128])
{
    len = len < KV_TYPE_HEAD ? len : KV_TYPE_HEAD;
    const char *mime = kv_types_quick(head, len);
    if (!mime)
        mime = kv_types_ask(t, head, len);
    if (!mime)
        return KV_E_INTERNAL;
    mime = text(iso_media(mime, head, len), head, len);
    snprintf(seen, 128, "%s", mime);
    const kv_mime_info *type = kv_mime_find(kv_slice_str(mime));
    bool svg_by_name = claim->by_ext && claim->by_ext->not_yet && strcmp(mime, "text/xml") == 0;
    if (svg_by_name || (type && type->not_yet))
        return KV_E_TYPE_NOT_YET;
    if (!type || !kv_list_has(t->allowed, kv_slice_str(type->mime)))
        return KV_E_TYPE_REFUSED;
    snprintf(seen, 128, "%s", type->mime);
    *ret = type;
    return agree(claim, type);
}
