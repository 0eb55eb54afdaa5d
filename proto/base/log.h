/* Logs: one JSON object a line on stdout; never a secret, never a file.
 *
 *   kv_log(KV_LOG_INFO, "upload_done", KV_STR("uploadId", id), KV_U64("size", n));
 *
 * gives
 * {"time":"…","level":"info","process":"gateway","event":"upload_done","uploadId":"…","size":1}. A
 * line is written with one write(2), at most 4 KiB (longer ones are cut inside a string value and
 * stay valid JSON). Any thread. */
#ifndef KV_BASE_LOG_H
#define KV_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/slice.h"
#include "proto/base/words.h"

typedef struct kv_log_field {
    const char *key; /* NULL ends the list */
    enum { KV_LF_STR, KV_LF_U64, KV_LF_I64, KV_LF_BOOL, KV_LF_ID, KV_LF_F64, KV_LF_JSON } type;
    kv_slice str;
    int64_t num;
    double real;
} kv_log_field;

/* KV_ID is written in base32, KV_JSON is JSON already, KV_F64 has three decimals. */
#define KV_STR(k, cstr)  ((kv_log_field){.key = (k), .type = KV_LF_STR, .str = kv_slice_str(cstr)})
#define KV_SLICE(k, s)   ((kv_log_field){.key = (k), .type = KV_LF_STR, .str = (s)})
#define KV_U64(k, v)     ((kv_log_field){.key = (k), .type = KV_LF_U64, .num = (int64_t)(v)})
#define KV_I64(k, v)     ((kv_log_field){.key = (k), .type = KV_LF_I64, .num = (v)})
#define KV_BOOL(k, v)    ((kv_log_field){.key = (k), .type = KV_LF_BOOL, .num = (v)})
#define KV_ID(k, v)      ((kv_log_field){.key = (k), .type = KV_LF_ID, .num = (int64_t)(v)})
#define KV_F64(k, v)     ((kv_log_field){.key = (k), .type = KV_LF_F64, .real = (v)})
#define KV_JSON(k, s)    ((kv_log_field){.key = (k), .type = KV_LF_JSON, .str = (s)})
#define KV_ERRNAME(k, e) KV_STR((k), kv_err_info_of(e)->slug)

void kv_log_setup(const char *process, kv_log_level min_level); /* once, before threads */
kv_log_level kv_log_min(void);

/* A busy thread gathers its lines and writes them together: gather once at its start, flush at the
 * end of each turn of its loop, before it may sleep, and before it ends. Lines of WARN and ERROR go
 * out at once, with what was gathered before them. */
void kv_log_gather(void);
void kv_log_flush(void);

/* Lines go to `fn` (whole ones, with their newlines) instead of stdout; NULL: back to stdout.
 * Before threads. */
void kv_log_divert(void (*fn)(const char *lines, size_t len));
void kv_log_write(kv_log_level level, const char *event, const kv_log_field *fields);

#define kv_log(level, event, ...)                                                                  \
    do {                                                                                           \
        if ((level) >= kv_log_min())                                                               \
            kv_log_write((level), (event), (const kv_log_field[]){__VA_ARGS__, {.key = NULL}});    \
    } while (0)

#endif
