/* Turns a TIFF block (the payload of EXIF) into one of the same length that holds the orientation
 * and nothing else.
 *
 * The block streams by: nothing is looked ahead. The header points to a directory at the very end,
 * with the orientation as its only entry; everything between is zero. A directory in the source
 * cannot begin later than ours, so its orientation is known when ours is written. */
#ifndef KV_ACTORS_SCANNER_EXIF_H
#define KV_ACTORS_SCANNER_EXIF_H

#include "actors/scanner/cow.h"

#define KV_EXIF_MIN 22 /* bytes: header and one entry; shorter blocks are simply zeroed */

typedef struct kv_exif {
    uint32_t len, pos;     /* of the block */
    uint32_t out_ifd;      /* where our directory begins; 0: no room for one */
    bool big;              /* byte order of the source, kept */
    bool lost;             /* no TIFF block, or none of ours fits: no orientation from it */
    uint32_t ifd;          /* where the directory of the source begins */
    uint32_t entries_left; /* of the directory being read */
    uint8_t field[12];     /* header or entry being read */
    uint8_t field_len;
    uint8_t orientation; /* 1..8; 1 until known */
} kv_exif;

void kv_exif_begin(kv_exif *e, uint32_t len);
/* The next `len` bytes of the block stand at `at` in the chunk. */
void kv_exif_run(kv_exif *e, kv_cow *c, ptrdiff_t at, size_t len);

#endif
