/* Search in file names the way people type: neither case nor accents matter, nor whether a letter
 * was composed ("ş" of Linux is "s" and a cedilla of macOS). "sehir", "Şehir" and "ŞEHİR" find
 * "şehir"; i, ı, I and İ are one letter, since nobody knows which one a name was meant with.
 * One thread. */
#ifndef KV_STORAGE_NAME_MATCH_H
#define KV_STORAGE_NAME_MATCH_H

#include "proto/base/buf.h"
#include "proto/base/error.h"

typedef struct kv_name_match {
    kv_buf part, name; /* folded */
} kv_name_match;

/* `part`: UTF-8, else BAD_PARAMETER; nothing left of it after folding (only accents) matches all.
 * NO_MEMORY. Release it in any case. */
kv_err kv_name_match_init(kv_name_match *m, kv_slice part);
/* A name that is not UTF-8 or needs more memory than there is does not match. */
bool kv_name_matches(kv_name_match *m, kv_slice name);
void kv_name_match_release(kv_name_match *m);

#endif
