/* What comes in on the admin socket: bytes into lines, lines into words. Pure. */
#ifndef KV_BROKER_ADMIN_LINE_H
#define KV_BROKER_ADMIN_LINE_H

#include <stdint.h>

#include "proto/base/slice.h"

enum {
    KV_ADMIN_LINE_MAX = 4096, /* bytes of a line, without its end */
    KV_ADMIN_WORDS = 32
};

/* ---- bytes into lines ---- */

typedef struct kv_admin_input {
    char bytes[KV_ADMIN_LINE_MAX + 2]; /* "\r\n" */
    size_t at, len;
    bool skipping; /* the rest of a line that was too long */
    bool ended;    /* nothing more comes: set it, then what is left counts as a line */
} kv_admin_input;

typedef enum kv_admin_took { KV_ADMIN_NOTHING, KV_ADMIN_LINE, KV_ADMIN_TOO_LONG } kv_admin_took;

/* Where to write more bytes; then add to `len`. 0 while whole lines wait that fill it. */
size_t kv_admin_input_room(kv_admin_input *in, char **ret_where);
/* The next line, without its end, valid until the next call of room. TOO_LONG: once for a line over
 * the limit, whose rest is thrown away. */
kv_admin_took kv_admin_input_take(kv_admin_input *in, kv_slice *ret_line);
/* Whether take would give something. */
bool kv_admin_input_waits(const kv_admin_input *in);

/* ---- a line into words ---- */

/* Words are parted by blanks; "…" keeps blanks, \" and \\ stand for themselves in it. The word -j
 * asks for JSON and is taken out. */
typedef struct kv_admin_line {
    kv_slice words[KV_ADMIN_WORDS]; /* point into store, or to static text */
    int n;
    bool json;
    char store[KV_ADMIN_LINE_MAX];
} kv_admin_line;

/* NULL: done (n may be 0). Else what is wrong, a static sentence. */
const char *kv_admin_parse(kv_slice line, kv_admin_line *ret);

/* A word NAME=value, NAME of [a-z-]: splits it. */
bool kv_admin_split(kv_slice word, kv_slice *ret_name, kv_slice *ret_value);
/* Decimal digits only. False: not a number, or above `max`. */
bool kv_admin_number(kv_slice text, uint64_t max, uint64_t *ret);

#endif
