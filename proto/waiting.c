#include "proto/waiting.h"

#include <assert.h>
#include <stdlib.h>

static void link_last(kv_request_list *l, kv_request_out *r)
{
    r->prev = l->last;
    r->next = NULL;
    if (l->last)
        l->last->next = r;
    else
        l->first = r;
    l->last = r;
}

static void unlink_from(kv_request_list *l, kv_request_out *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        l->first = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else
        l->last = r->prev;
    r->prev = r->next = NULL;
}

static kv_request_list *list_of(kv_waiting *w, const kv_request_out *r)
{
    return r->sent_us ? &w->sent : &w->unsent;
}

/* ---- heap by until_us ---- */

static void heap_put(kv_waiting *w, size_t at, kv_request_out *r)
{
    w->heap[at] = r;
    r->heap_at = at;
}

static void heap_up(kv_waiting *w, size_t at, kv_request_out *r)
{
    while (at > 0 && w->heap[(at - 1) / 2]->until_us > r->until_us) {
        heap_put(w, at, w->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(w, at, r);
}

/* `count` elements stand in the heap, `at` is a hole */
static void heap_down(kv_waiting *w, size_t at, size_t count, kv_request_out *r)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < count && w->heap[child + 1]->until_us < w->heap[child]->until_us)
            child++;
        if (child >= count || w->heap[child]->until_us >= r->until_us)
            break;
        heap_put(w, at, w->heap[child]);
        at = child;
    }
    heap_put(w, at, r);
}

static void heap_remove(kv_waiting *w, kv_request_out *r)
{
    size_t at = r->heap_at, last = w->count - 1;
    kv_request_out *moved = w->heap[last];

    if (at == last)
        return;
    if (at > 0 && w->heap[(at - 1) / 2]->until_us > moved->until_us)
        heap_up(w, at, moved);
    else
        heap_down(w, at, last, moved);
}

/* ---- map by id ---- */

static kv_request_out **bucket_of(const kv_waiting *w, uint64_t id)
{
    return &w->buckets[id & (w->bucket_count - 1)]; /* ids are a count: spread as they are */
}

static kv_err grow(kv_waiting *w)
{
    size_t count = w->bucket_count ? w->bucket_count * 2 : 64;
    kv_request_out **heap = realloc(w->heap, count * sizeof *heap);

    if (!heap)
        return KV_E_NO_MEMORY;
    w->heap = heap;
    kv_request_out **buckets = calloc(count, sizeof *buckets);
    if (!buckets)
        return KV_E_NO_MEMORY;
    free(w->buckets);
    w->buckets = buckets;
    w->bucket_count = count;
    for (size_t i = 0; i < w->count; i++) {
        kv_request_out **b = bucket_of(w, heap[i]->id);
        heap[i]->bucket_next = *b;
        *b = heap[i];
    }
    return KV_OK;
}

kv_err kv_waiting_add(kv_waiting *w, kv_request_out *r)
{
    if (w->count == w->bucket_count)
        KV_TRY(grow(w));
    kv_request_out **b = bucket_of(w, r->id);
    r->bucket_next = *b;
    *b = r;
    heap_up(w, w->count, r);
    w->count++;
    r->sent_us = 0;
    link_last(&w->unsent, r);
    return KV_OK;
}

kv_request_out *kv_waiting_find(const kv_waiting *w, uint64_t id)
{
    kv_request_out *r = w->bucket_count ? *bucket_of(w, id) : NULL;

    while (r && r->id != id)
        r = r->bucket_next;
    return r;
}

kv_request_out *kv_waiting_soonest(const kv_waiting *w)
{
    return w->count ? w->heap[0] : NULL;
}

void kv_waiting_remove(kv_waiting *w, kv_request_out *r)
{
    kv_request_out **at = bucket_of(w, r->id);

    while (*at != r) {
        assert(*at);
        at = &(*at)->bucket_next;
    }
    *at = r->bucket_next;
    heap_remove(w, r);
    w->count--;
    unlink_from(list_of(w, r), r);
}

void kv_waiting_mark_sent(kv_waiting *w, kv_request_out *r, int64_t now_us)
{
    unlink_from(list_of(w, r), r);
    r->sent_us = now_us ? now_us : 1;
    link_last(&w->sent, r);
}

void kv_waiting_mark_all_unsent(kv_waiting *w)
{
    if (!w->sent.first)
        return;
    for (kv_request_out *r = w->sent.first; r; r = r->next)
        r->sent_us = 0;
    /* what was sent is older than what was not */
    w->sent.last->next = w->unsent.first;
    if (w->unsent.first)
        w->unsent.first->prev = w->sent.last;
    else
        w->unsent.last = w->sent.last;
    w->unsent.first = w->sent.first;
    w->sent = (kv_request_list){0};
}

static void drop_from(kv_waiting *w, const kv_request_list *list, uint16_t code)
{
    for (kv_request_out *r = list->first, *next; r; r = next) {
        next = r->next;
        if (r->code != code)
            continue;
        kv_waiting_remove(w, r);
        free(r);
    }
}

void kv_waiting_drop(kv_waiting *w, uint16_t code)
{
    drop_from(w, &w->sent, code);
    drop_from(w, &w->unsent, code);
}

void kv_waiting_release(kv_waiting *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->heap[i]);
    free(w->heap);
    free(w->buckets);
    *w = (kv_waiting){0};
}
