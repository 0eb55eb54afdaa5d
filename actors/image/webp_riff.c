#include "actors/image/webp_riff.h"

#include <stdbool.h>
#include <string.h>

enum { RIFF_HEADER = 12, CHUNK_HEADER = 8, VP8X_SIZE = 10, FLAG_ALPHA = 0x10 };

static uint32_t u32le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_u32le(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static bool is(const uint8_t *chunk, const char *fourcc)
{
    return memcmp(chunk, fourcc, 4) == 0;
}

static bool pixels(const uint8_t *chunk)
{
    return is(chunk, "VP8 ") || is(chunk, "VP8L") || is(chunk, "ALPH");
}

/* Whole length of the chunk at `at`, its padding included; 0: it does not fit. */
static size_t chunk_len(const uint8_t *data, size_t at, size_t end)
{
    if (end - at < CHUNK_HEADER)
        return 0;
    size_t size = u32le(data + at + 4);
    size += size & 1;
    return size <= end - at - CHUNK_HEADER ? CHUNK_HEADER + size : 0;
}

size_t kv_webp_strip(uint8_t *data, size_t len)
{
    if (len < RIFF_HEADER || !is(data, "RIFF") || !is(data + 8, "WEBP"))
        return 0;
    size_t end = (size_t)u32le(data + 4) + 8, to = RIFF_HEADER;
    if (end > len || end < RIFF_HEADER)
        return 0;
    bool alpha = false, picture = false;
    for (size_t at = RIFF_HEADER, n; at < end; at += n) {
        n = chunk_len(data, at, end);
        if (n == 0)
            return 0;
        alpha = alpha || is(data + at, "ALPH");
        picture = picture || is(data + at, "VP8 ") || is(data + at, "VP8L");
    }
    for (size_t at = RIFF_HEADER, n; at < end; at += n) {
        n = chunk_len(data, at, end);
        bool header = alpha && is(data + at, "VP8X") && n == CHUNK_HEADER + VP8X_SIZE;
        if (header)
            data[at + CHUNK_HEADER] &= FLAG_ALPHA;
        if (!header && !pixels(data + at))
            continue;
        memmove(data + to, data + at, n);
        to += n;
    }
    put_u32le(data + 4, (uint32_t)(to - 8));
    return picture ? to : 0;
}
