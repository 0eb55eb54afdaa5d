/* Reading our own JSON (events, variants, jobs) without a tree: values are found by skipping over
 * the text. Jobs hold texts of others: valid JSON may have numbers and texts that a library
 * refuses.
 *
 * For text that kervan wrote itself; anything malformed gives false, never a read past the end.
 * Nesting is bounded at 80. Pure; any thread. Slices point into the given text. */
#ifndef KV_BASE_JSON_SCAN_H
#define KV_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/slice.h"

/* Elements of an array in turn: start with *pos = 0; false: no more (or malformed). */
bool kv_scan_next(kv_slice array, size_t *pos, kv_slice *ret_value);
/* The raw value of a member of an object (the first of that name). */
bool kv_scan_member(kv_slice object, const char *key, kv_slice *ret_value);

/* Typed members. Text with escapes is refused: the names and hashes read here have none. */
bool kv_scan_text(kv_slice object, const char *key, kv_slice *ret);
bool kv_scan_u64(kv_slice object, const char *key, uint64_t *ret);
bool kv_scan_bool(kv_slice object, const char *key, bool *ret);

#endif
