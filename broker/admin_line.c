#include "broker/admin_line.h"

#include "proto/base/text.h"

/* ---- bytes into lines ---- */

size_t kv_admin_input_room(kv_admin_input *in, char **ret_where)
{
    if (in->at > 0) {
        in->len -= in->at;
        memmove(in->bytes, in->bytes + in->at, in->len);
        in->at = 0;
    }
    *ret_where = in->bytes + in->len;
    return sizeof in->bytes - in->len;
}

static kv_slice rest_of(const kv_admin_input *in)
{
    return kv_slice_of(in->bytes + in->at, in->len - in->at);
}

static const char *end_of_line(kv_slice rest)
{
    return rest.len ? memchr(rest.ptr, '\n', rest.len) : NULL;
}

/* Throws away up to the end of a line that was too long. */
static void skip(kv_admin_input *in)
{
    const char *end = end_of_line(rest_of(in));
    in->at = end ? (size_t)(end + 1 - in->bytes) : in->len;
    in->skipping = !end && !in->ended;
}

static kv_slice without_cr(kv_slice line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

kv_admin_took kv_admin_input_take(kv_admin_input *in, kv_slice *ret_line)
{
    if (in->skipping)
        skip(in);
    kv_slice rest = rest_of(in);
    const char *end = end_of_line(rest);
    bool full = rest.len == sizeof in->bytes;
    if (!end && !full && !(in->ended && rest.len > 0))
        return KV_ADMIN_NOTHING;
    kv_slice line = without_cr(kv_slice_of(rest.ptr, end ? (size_t)(end - rest.ptr) : rest.len));
    in->at += end ? (size_t)(end + 1 - rest.ptr) : rest.len;
    in->skipping = !end && !in->ended;
    *ret_line = line;
    return line.len > KV_ADMIN_LINE_MAX ? KV_ADMIN_TOO_LONG : KV_ADMIN_LINE;
}

bool kv_admin_input_waits(const kv_admin_input *in)
{
    kv_slice rest = rest_of(in);
    if (in->skipping) {
        const char *end = end_of_line(rest);
        size_t gone = end ? (size_t)(end + 1 - rest.ptr) : rest.len;
        rest = kv_slice_of(rest.ptr + gone, rest.len - gone);
    }
    return end_of_line(rest) || rest.len == sizeof in->bytes || (in->ended && rest.len > 0);
}

/* ---- a line into words ---- */

static const char *check_text(kv_slice line)
{
    if (line.len > KV_ADMIN_LINE_MAX)
        return "A line has at most 4096 bytes.";
    if (!kv_utf8_valid(line))
        return "A line is UTF-8 text.";
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return "A line has no control characters.";
    }
    return NULL;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* One word from line.ptr[*at], copied to `out`; its length. *ret_open: a quote was not closed. */
static size_t take_word(kv_slice line, size_t *at, char *out, bool *ret_open)
{
    size_t n = 0;
    bool quoted = false;
    for (; *at < line.len && (quoted || !blank(line.ptr[*at])); (*at)++) {
        char c = line.ptr[*at];
        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        bool escape = quoted && c == '\\' && *at + 1 < line.len &&
                      (line.ptr[*at + 1] == '"' || line.ptr[*at + 1] == '\\');
        if (escape)
            c = line.ptr[++*at];
        out[n++] = c;
    }
    *ret_open = quoted;
    return n;
}

const char *kv_admin_parse(kv_slice line, kv_admin_line *ret)
{
    size_t used = 0;
    ret->n = 0;
    ret->json = false;
    const char *why = check_text(line);
    if (why)
        return why;
    for (size_t at = 0;;) {
        while (at < line.len && blank(line.ptr[at]))
            at++;
        if (at == line.len)
            return NULL;
        bool open;
        kv_slice word = {ret->store + used, take_word(line, &at, ret->store + used, &open)};
        used += word.len;
        if (open)
            return "A \" is not closed.";
        if (kv_slice_is(word, "-j")) {
            ret->json = true;
            continue;
        }
        if (ret->n == KV_ADMIN_WORDS)
            return "A line has at most 32 words.";
        ret->words[ret->n++] = word;
    }
}

bool kv_admin_split(kv_slice word, kv_slice *ret_name, kv_slice *ret_value)
{
    size_t n = 0;
    while (n < word.len && ((word.ptr[n] >= 'a' && word.ptr[n] <= 'z') || word.ptr[n] == '-'))
        n++;
    if (n == 0 || n == word.len || word.ptr[n] != '=')
        return false;
    *ret_name = kv_slice_of(word.ptr, n);
    *ret_value = kv_slice_of(word.ptr + n + 1, word.len - n - 1);
    return true;
}

bool kv_admin_number(kv_slice text, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    if (text.len == 0 || text.len > 19)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *ret = v;
    return v <= max;
}
