/* The admin socket's input: however bytes arrive, they give the same lines; a line gives words
 * within its bounds, and what is written as a quoted word is read back. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/admin_cmd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct sums {
    uint64_t lines, too_long, hash;
} sums;

static void take_all(kv_admin_input *in, sums *s)
{
    kv_slice line;
    for (;;) {
        bool waits = kv_admin_input_waits(in);
        kv_admin_took took = kv_admin_input_take(in, &line);
        assert(waits == (took != KV_ADMIN_NOTHING));
        if (took == KV_ADMIN_NOTHING)
            return;
        s->lines++;
        s->too_long += took == KV_ADMIN_TOO_LONG;
        assert(took == KV_ADMIN_TOO_LONG || line.len <= KV_ADMIN_LINE_MAX);
        for (size_t i = 0; i < line.len && took == KV_ADMIN_LINE; i++)
            s->hash = s->hash * 31 + (uint8_t)line.ptr[i] + 1;
    }
}

/* In pieces of `piece` bytes. */
static sums feed(const uint8_t *data, size_t size, size_t piece)
{
    static kv_admin_input in;
    sums s = {0, 0, 0};
    memset(&in, 0, sizeof in);
    for (size_t at = 0; at < size;) {
        char *where;
        size_t room = kv_admin_input_room(&in, &where), n = size - at;
        assert(room > 0);
        n = n < piece ? n : piece;
        n = n < room ? n : room;
        memcpy(where, data + at, n);
        in.len += n;
        at += n;
        take_all(&in, &s);
    }
    in.ended = true;
    take_all(&in, &s);
    return s;
}

static void check_words(const kv_admin_line *line)
{
    assert(line->n <= KV_ADMIN_WORDS);
    for (int i = 0; i < line->n; i++) {
        kv_slice name, value;
        uint64_t n;
        assert(line->words[i].ptr >= line->store &&
               line->words[i].ptr + line->words[i].len <= line->store + sizeof line->store);
        if (kv_admin_split(line->words[i], &name, &value))
            assert(name.len + 1 + value.len == line->words[i].len);
        (void)kv_admin_number(line->words[i], 100, &n);
    }
    const kv_admin_command *c = line->n > 0 ? kv_admin_find(line->words[0]) : NULL;
    kv_buf why;
    kv_buf_init(&why, 8192);
    if (c && !kv_admin_check(c, line, &why))
        assert(why.len > 0);
    kv_buf_release(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static kv_admin_line line;
    if (size > 20000)
        return 0;
    sums whole = feed(data, size, 65536), bytes = feed(data, size, 1), sevens = feed(data, size, 7);
    assert(memcmp(&whole, &bytes, sizeof whole) == 0 && memcmp(&whole, &sevens, sizeof whole) == 0);
    if (!kv_admin_parse(kv_slice_of((const char *)data, size), &line))
        check_words(&line);
    return 0;
}
