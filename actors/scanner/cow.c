#include "actors/scanner/cow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool make_copy(kv_cow *c)
{
    if (c->copy)
        return true;
    if (c->failed)
        return false;
    size_t size = c->held + c->len;
    c->copy = malloc(size ? size : 1);
    if (!c->copy) {
        c->failed = true;
        return false;
    }
    if (c->len)
        memcpy(c->copy + c->held, c->in, c->len);
    return true;
}

void kv_cow_begin(kv_cow *c, const void *in, size_t len, const uint8_t *held, size_t held_len,
                  bool frozen)
{
    assert(held_len <= KV_COW_HELD_MAX);
    assert(!frozen || held_len == 0);
    *c = (kv_cow){.in = in, .len = len, .held = held_len, .keep = held_len + len};
    c->frozen = frozen;
    if (held_len && make_copy(c))
        memcpy(c->copy, held, held_len);
}

static const uint8_t *now_at(const kv_cow *c, size_t index)
{
    return c->copy ? c->copy + index : c->in + index; /* held is 0 while there is no copy */
}

void kv_cow_put(kv_cow *c, ptrdiff_t at, const void *bytes, size_t len)
{
    if (c->frozen || c->failed || len == 0)
        return;
    size_t index = (size_t)(at + (ptrdiff_t)c->held);
    assert(index + len <= c->held + c->len);
    if (memcmp(now_at(c, index), bytes, len) != 0 && make_copy(c))
        memcpy(c->copy + index, bytes, len);
}

void kv_cow_zero(kv_cow *c, ptrdiff_t at, size_t len)
{
    if (c->frozen || c->failed || len == 0)
        return;
    size_t index = (size_t)(at + (ptrdiff_t)c->held);
    assert(index + len <= c->held + c->len);
    const uint8_t *p = now_at(c, index);
    /* all zero already: first byte is, and each byte equals the one before it */
    bool zero = p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
    if (!zero && make_copy(c))
        memset(c->copy + index, 0, len);
}

void kv_cow_cut(kv_cow *c, ptrdiff_t at)
{
    if (c->frozen)
        return;
    size_t index = (size_t)(at + (ptrdiff_t)c->held);
    if (index < c->keep)
        c->keep = index;
}

void kv_cow_hold(kv_cow *c, size_t len, uint8_t out[KV_COW_HELD_MAX])
{
    assert(!c->frozen && len <= KV_COW_HELD_MAX && len <= c->keep);
    if (c->failed)
        return;
    c->keep -= len;
    memcpy(out, now_at(c, c->keep), len);
}

bool kv_cow_same(const kv_cow *c)
{
    return !c->copy && c->held == 0 && c->keep == c->len;
}

void kv_cow_release(kv_cow *c)
{
    free(c->copy);
    c->copy = NULL;
}
