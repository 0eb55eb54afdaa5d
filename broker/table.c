#include "broker/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- by number ---- */

static uint64_t mix(uint64_t v)
{
    v ^= v >> 32;
    v *= 0x9e3779b97f4a7c15u;
    return v ^ v >> 29;
}

static uint64_t key_of(const void *value)
{
    uint64_t id;
    memcpy(&id, value, sizeof id);
    return id;
}

static size_t ids_slot(const kv_ids *t, uint64_t id)
{
    size_t i = mix(id) & (t->cap - 1);
    while (t->slots[i] && key_of(t->slots[i]) != id)
        i = (i + 1) & (t->cap - 1);
    return i;
}

void *kv_ids_find(const kv_ids *t, uint64_t id)
{
    return t->cap ? t->slots[ids_slot(t, id)] : NULL;
}

static bool ids_grow(kv_ids *t)
{
    kv_ids bigger = {.cap = t->cap ? t->cap * 2 : 16, .n = t->n};
    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slots[i])
            bigger.slots[ids_slot(&bigger, key_of(t->slots[i]))] = t->slots[i];
    }
    free(t->slots);
    *t = bigger;
    return true;
}

bool kv_ids_add(kv_ids *t, void *value)
{
    if ((t->n + 1) * 8 > t->cap * 5 && !ids_grow(t))
        return false;
    size_t i = ids_slot(t, key_of(value));
    assert(!t->slots[i]);
    t->slots[i] = value;
    t->n++;
    return true;
}

void kv_ids_remove(kv_ids *t, uint64_t id)
{
    if (!t->cap)
        return;
    size_t hole = ids_slot(t, id);
    if (!t->slots[hole])
        return;
    t->slots[hole] = NULL;
    t->n--;
    /* What stood behind the hole moves up if its own place is not behind the hole: no tombstones.
     */
    for (size_t i = (hole + 1) & (t->cap - 1); t->slots[i]; i = (i + 1) & (t->cap - 1)) {
        size_t home = mix(key_of(t->slots[i])) & (t->cap - 1);
        if (((i - home) & (t->cap - 1)) >= ((i - hole) & (t->cap - 1))) {
            t->slots[hole] = t->slots[i];
            t->slots[i] = NULL;
            hole = i;
        }
    }
}

void kv_ids_release(kv_ids *t)
{
    free(t->slots);
    *t = (kv_ids){.cap = 0};
}

void *kv_ids_next(const kv_ids *t, size_t *at)
{
    while (*at < t->cap) {
        void *value = t->slots[(*at)++];
        if (value)
            return value;
    }
    return NULL;
}

/* ---- by bytes ---- */

struct kv_name {
    struct kv_name *next;
    void *value;
    uint64_t hash;
    size_t len;
    char key[];
};

static uint64_t hash_of(kv_slice key)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (unsigned char)key.ptr[i]) * 0x100000001b3u;
    return mix(h);
}

/* Where the pointer to the entry stands, or the end of its chain. */
static struct kv_name **names_at(const kv_names *t, kv_slice key, uint64_t hash)
{
    struct kv_name **at = &t->slots[hash & (t->cap - 1)];
    while (*at && !((*at)->hash == hash && kv_slice_eq(kv_slice_of((*at)->key, (*at)->len), key)))
        at = &(*at)->next;
    return at;
}

void *kv_names_find(const kv_names *t, kv_slice key)
{
    if (!t->cap)
        return NULL;
    struct kv_name *found = *names_at(t, key, hash_of(key));
    return found ? found->value : NULL;
}

static bool names_grow(kv_names *t)
{
    size_t cap = t->cap ? t->cap * 2 : 16;
    struct kv_name **slots = calloc(cap, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        for (struct kv_name *e = t->slots[i], *next; e; e = next) {
            next = e->next;
            e->next = slots[e->hash & (cap - 1)];
            slots[e->hash & (cap - 1)] = e;
        }
    }
    free(t->slots);
    t->slots = slots;
    t->cap = cap;
    return true;
}

bool kv_names_set(kv_names *t, kv_slice key, void *value)
{
    if (t->n >= t->cap && !names_grow(t))
        return false;
    uint64_t hash = hash_of(key);
    struct kv_name **at = names_at(t, key, hash);
    if (*at) {
        (*at)->value = value;
        return true;
    }
    struct kv_name *e = malloc(sizeof *e + key.len);
    if (!e)
        return false;
    *e = (struct kv_name){.value = value, .hash = hash, .len = key.len};
    if (key.len)
        memcpy(e->key, key.ptr, key.len);
    *at = e;
    t->n++;
    return true;
}

void kv_names_remove(kv_names *t, kv_slice key)
{
    if (!t->cap)
        return;
    struct kv_name **at = names_at(t, key, hash_of(key));
    struct kv_name *e = *at;
    if (!e)
        return;
    *at = e->next;
    t->n--;
    free(e);
}

void kv_names_release(kv_names *t)
{
    for (size_t i = 0; i < t->cap; i++) {
        for (struct kv_name *e = t->slots[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    }
    free(t->slots);
    *t = (kv_names){.cap = 0};
}
