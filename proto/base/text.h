/* UTF-8 and JSON escaping, for those who look at single characters. Pure; any thread. */
#ifndef KV_BASE_TEXT_H
#define KV_BASE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/slice.h"

/* Bytes of the valid UTF-8 character at the start of `s` (1..4) and its code point; 0: not valid
 * (overlong, surrogate, above U+10FFFF, cut off) or `len` is 0. `ret_cp` may be NULL. */
size_t kv_utf8_next(const char *s, size_t len, uint32_t *ret_cp);
bool kv_utf8_valid(kv_slice s);
/* The longest prefix of `s` of at most `max` bytes that does not cut a character. */
kv_slice kv_utf8_cut(kv_slice s, size_t max);

/* How many bytes at the start of `s` stand in a JSON string as they are (ASCII without escapes):
 * nearly all of most strings. */
size_t kv_json_plain(const char *s, size_t len);

/* Writes the character at the start of `s` as it stands inside a JSON string and says how many
 * bytes of `s` it took (at least 1; one invalid byte becomes U+FFFD). Returns the bytes written, at
 * most 6. `len` > 0. */
size_t kv_json_escape(const char *s, size_t len, char out[8], size_t *ret_used);

/* A queue's name: [a-z0-9-]{1,64}. */
#define KV_SERVICE_NAME_MAX 64
bool kv_service_name_valid(kv_slice name);

/* A word to find jobs by: [A-Za-z0-9_.:-]{1,64}. */
#define KV_TAG_MAX  64
#define KV_TAGS_MAX 8 /* of a job */
bool kv_tag_valid(kv_slice tag);

/* How far two names are from each other (Levenshtein: insertions, deletions, exchanges); SIZE_MAX
 * when one is longer than the limit. For "did you mean". */
#define KV_TEXT_DISTANCE_MAX 64
size_t kv_text_distance(kv_slice a, kv_slice b);

#endif
