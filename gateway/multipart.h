/* Streaming multipart/form-data. Pure; any thread.
 *
 * Bytes are pushed in as they come, cut anywhere; what comes out does not depend on the cuts. File
 * bytes come out as slices of what was pushed in (nothing is copied), or as slices of the parser
 * itself where a false beginning of a delimiter lay across a cut (at most 75 bytes). */
#ifndef KV_GATEWAY_MULTIPART_H
#define KV_GATEWAY_MULTIPART_H

#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/error.h"
#include "proto/base/slice.h"

#define KV_MULTIPART_BOUNDARY_MAX 70
#define KV_PART_HEAD_MAX          8192
#define KV_PARTS_MAX              16

/* What the head of a part says. Slices are NUL-free and point into `text`. */
typedef struct kv_part {
    kv_slice name;     /* decoded */
    kv_slice filename; /* decoded; filename* wins over filename */
    kv_slice type;     /* Content-Type as written; empty: none */
    bool has_filename;
    char text[2048];
} kv_part;

/* An error returned by a callback ends the parsing and is returned by push. */
typedef struct kv_multipart_events {
    kv_err (*part_begin)(void *arg, const kv_part *part);
    kv_err (*part_data)(void *arg, kv_slice bytes); /* never empty */
    kv_err (*part_end)(void *arg);
} kv_multipart_events;

typedef struct kv_multipart {
    const kv_multipart_events *events;
    void *arg;
    const char *why; /* behind an error of the parser's own: a static English sentence */
    int state;
    size_t matched; /* bytes of the delimiter seen at the end of what was pushed */
    size_t padding; /* blanks behind a boundary */
    unsigned parts;
    kv_buf head; /* of the part under way */
    size_t delim_len;
    char delim[4 + KV_MULTIPART_BOUNDARY_MAX + 1]; /* CR LF - - boundary */
} kv_multipart;

/* The boundary of a Content-Type value. false: not multipart/form-data, or no valid boundary. */
bool kv_multipart_boundary(kv_slice content_type, char out[KV_MULTIPART_BOUNDARY_MAX + 1]);

void kv_multipart_init(kv_multipart *m, const char *boundary, const kv_multipart_events *events,
                       void *arg);
void kv_multipart_release(kv_multipart *m);
/* BAD_MULTIPART, NO_MEMORY, or what a callback returned. */
kv_err kv_multipart_push(kv_multipart *m, kv_slice bytes);
/* The body is over: BAD_MULTIPART when the closing delimiter did not come. */
kv_err kv_multipart_finish(kv_multipart *m);

/* One part head (header lines, each with its CR LF, no empty line). BAD_MULTIPART with *ret_why, or
 * BAD_FILENAME. */
kv_err kv_part_parse(kv_slice head, kv_part *ret, const char **ret_why);

#endif
