/* Wire format: frame 0 is the header, frame 1 one msgpack array of the fields in table order, frame
 * 2 (ingest only) raw bytes.
 *
 * Header, 48 bytes, integers big-endian: magic "KV" (2), version 1 (1), flags 0 (1), code (2),
 * reserved 0 (2), request id (8), deadline in Unix ms, 0 for none (8), trace id (16), span id (8).
 * PROTOCOL.md says the same for strangers. */
#ifndef KV_CODEC_H
#define KV_CODEC_H

#include "proto/base/buf.h"
#include "proto/base/error.h"
#include "proto/messages.h"

#define KV_HEADER_SIZE  48
#define KV_WIRE_VERSION 1
#define KV_BODY_MAX     (8u << 20) /* bytes of frame 1 */
#define KV_FIELDS_MAX   64 /* elements of the array; more are refused before anything is read */

typedef struct kv_header {
    uint16_t code;
    uint64_t request;     /* answer carries the same; 0: no answer wanted */
    uint64_t deadline_ms; /* Unix ms; 0: none */
    uint8_t trace[16];    /* W3C trace id; zero: none */
    uint8_t span[8];
} kv_header;

void kv_header_encode(const kv_header *h, uint8_t out[KV_HEADER_SIZE]);
kv_err kv_header_decode(const void *bytes, size_t len,
                        kv_header *ret); /* BAD_MESSAGE, BAD_VERSION */

/* Appends the msgpack array of `m` to `out`. Asserts that limits hold: a message we make is valid.
 */
void kv_body_encode(const kv_msg *m, kv_buf *out);
/* BAD_MESSAGE: not a flat array, wrong type, over a limit, invalid UTF-8 in str, trailing bytes;
 * UNKNOWN_CODE. Fewer fields take their defaults, more are skipped (bounded, depth 8). Never
 * allocates; slices point into `bytes`. On error `why` (if not NULL) points to a static sentence
 * naming the field. */
kv_err kv_body_decode(uint16_t code, const void *bytes, size_t len, kv_msg *ret, const char **why);
/* The first of several bodies, one behind the other, with the same limits. *ret_used: how many
 * bytes it took, also when it is refused; 0: refused, and where it ends cannot be told. What was
 * read before the refusal stands in *ret. */
kv_err kv_body_decode_next(uint16_t code, const void *bytes, size_t len, kv_msg *ret,
                           size_t *ret_used, const char **why);

const char *kv_code_name(uint16_t code);        /* "MEDIA_COMMIT"; "?" if unknown */
uint16_t kv_code_answer(uint16_t code);         /* code of the expected answer; 0: none */
bool kv_code_ingest(uint16_t code);             /* never taken from a network peer */
void kv_msg_defaults(uint16_t code, kv_msg *m); /* zeroes and sets the defaults of the table */
void kv_msg_describe(const kv_msg *m,
                     kv_buf *out);    /* one log line; str and bin over 64 bytes cut */
void kv_protocol_tables(kv_buf *out); /* the generated part of PROTOCOL.md */

#endif
