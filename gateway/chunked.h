/* Strict decoder of the chunked transfer coding. Pure; any thread.
 *
 * Takes what came and moves the data to its front. Refused: sizes of more than 16 digits, line ends
 * other than CR LF, control characters, extensions of more than 256 bytes a chunk or 16 KiB a body,
 * trailers of more than 8 KiB. Extensions and trailers are checked and dropped. */
#ifndef KV_GATEWAY_CHUNKED_H
#define KV_GATEWAY_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/error.h"

#define KV_CHUNK_EXT_MAX     256
#define KV_CHUNK_EXT_ALL_MAX 16384
#define KV_CHUNK_TRAILER_MAX 8192

/* All zero is the start of a body. */
typedef struct kv_chunked {
    uint64_t left; /* data bytes left in this chunk */
    uint32_t state;
    uint32_t digits;
    uint32_t ext;     /* bytes of this chunk's extension */
    uint32_t ext_all; /* bytes of all extensions */
    uint32_t trailer; /* bytes of the trailer */
} kv_chunked;

/* Decodes `len` bytes in place: afterwards the first *ret_data bytes are data. *ret_used are the
 * bytes that belong to the body; fewer than `len` only when *ret_end is set: what is behind them is
 * the next request. BAD_CHUNKED: *ret_why is a static sentence. */
kv_err kv_chunked_decode(kv_chunked *c, char *bytes, size_t len, size_t *ret_data, size_t *ret_used,
                         bool *ret_end, const char **ret_why);

#endif
