/* Walkers: go through a picture as it streams by, find its dimensions and blank its metadata at
 * equal length.
 *
 * Chunks may be cut anywhere; the result is the same byte for byte. Memory is constant: nothing is
 * collected. What stays: pixels, colour (ICC, gamma), density, animation, and the orientation, in a
 * minimal EXIF block. What goes: EXIF with thumbnail, XMP, IPTC, comments, MPF, unknown extensions,
 * and all bytes behind the end of the picture. */
#ifndef KV_ACTORS_SCANNER_WALK_H
#define KV_ACTORS_SCANNER_WALK_H

#include "actors/scanner/cow.h"
#include "actors/scanner/exif.h"
#include "proto/base/error.h"
#include "proto/base/media_name.h"

#define KV_STRIP_VERSION 1 /* one more whenever a walker keeps other bytes than before */

typedef struct kv_walk_jpeg {
    uint8_t state, marker, kind, id_len;
    uint16_t len, pos; /* payload of the segment and where in it we are */
    bool sof, sos, exif_seen;
    uint8_t dims[4];
} kv_walk_jpeg;

typedef struct kv_walk_png {
    uint8_t state, kind;
    uint8_t field[8];
    uint32_t pos, left; /* in the field; bytes left of the chunk */
    uint32_t crc;
    bool ihdr, idat, exif_seen, rewritten;
} kv_walk_png;

typedef struct kv_walk_webp {
    uint8_t state, kind;
    uint8_t field[12];
    uint32_t pos, left, size; /* in the field; bytes left of the chunk; its size */
    uint64_t at, end;         /* in the file; end of the container */
    uint64_t frame_end;       /* of the animation frame we are in; 0: none */
    bool exif_seen;
} kv_walk_webp;

typedef struct kv_walk_gif {
    uint8_t head[10];
    uint8_t len;
} kv_walk_gif;

typedef struct kv_walk {
    kv_strip type;
    bool blank;             /* false: look only, bytes stay as they are */
    const char *why;        /* after BAD_IMAGE: what was wrong */
    uint32_t width, height; /* as stored; 0: not known yet */
    kv_exif exif;
    uint8_t held[KV_COW_HELD_MAX], held_len;
    union {
        kv_walk_jpeg jpeg;
        kv_walk_png png;
        kv_walk_webp webp;
        kv_walk_gif gif;
    };
} kv_walk;

/* KV_STRIP_NONE passes everything. */
void kv_walk_begin(kv_walk *w, kv_strip type, bool blank);
/* Sets `c` up over the chunk and lets the walker change it. The caller takes what is kept and then
 * calls kv_cow_release. BAD_IMAGE: surely not decodable, or metadata could not be told from pixels;
 * NO_MEMORY. */
kv_err kv_walk_push(kv_walk *w, const void *in, size_t len, kv_cow *c);
/* The file ended. BAD_IMAGE: before anything could be seen of the picture. */
kv_err kv_walk_end(kv_walk *w);
/* Turned by the orientation; 0 where not known. */
void kv_walk_dimensions(const kv_walk *w, uint32_t *ret_width, uint32_t *ret_height);

/* The walkers, for walk.c. */
void kv_jpeg_begin(kv_walk *w);
kv_err kv_jpeg_push(kv_walk *w, kv_cow *c);
kv_err kv_jpeg_end(kv_walk *w);
void kv_png_begin(kv_walk *w);
kv_err kv_png_push(kv_walk *w, kv_cow *c);
kv_err kv_png_end(kv_walk *w);
void kv_webp_begin(kv_walk *w);
kv_err kv_webp_push(kv_walk *w, kv_cow *c);
kv_err kv_webp_end(kv_walk *w);
void kv_gif_begin(kv_walk *w);
kv_err kv_gif_push(kv_walk *w, kv_cow *c);
kv_err kv_gif_end(kv_walk *w);

static inline kv_err kv_walk_bad(kv_walk *w, const char *why)
{
    w->why = why;
    return KV_E_BAD_IMAGE;
}

#endif
