#include "gateway/body_pool.h"
#include "proto/base/handover.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/metrics.h"
#include "proto/base/wake.h"

#define KEEP_FREE 16 /* arenas kept for later use */
#define LOOPS_MAX 64

struct kv_body_pool {
    size_t budget;
    _Atomic size_t used; /* bytes of buffers that are not on the free list */
    pthread_mutex_t lock;
    kv_body_buf *free; /* under the lock */
    unsigned nfree;    /* under the lock */
    unsigned loops;
    const int *wake_fds;
    _Atomic bool wants[LOOPS_MAX];
};

kv_body_pool *kv_body_pool_new(size_t budget, const int *wake_fds, unsigned loops)
{
    assert(loops <= LOOPS_MAX);
    kv_body_pool *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->budget = budget;
    p->loops = loops;
    p->wake_fds = wake_fds;
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

static bool is_arena(const kv_body_buf *b)
{
    return b->bytes != (const char *)&b->slices[b->slices_max];
}

static void buf_free(kv_body_buf *b)
{
    if (is_arena(b))
        munmap(b->bytes, b->cap);
    free(b);
}

static bool take_budget(kv_body_pool *p, size_t n, bool force)
{
    size_t used = atomic_load(&p->used);
    do {
        if (!force && used + n > p->budget)
            return false;
    } while (!atomic_compare_exchange_weak(&p->used, &used, used + n));
    kv_metric_add(KV_M_UPLOAD_BUFFER_BYTES, (int64_t)n);
    return true;
}

static void give_budget(kv_body_pool *p, size_t n)
{
    atomic_fetch_sub(&p->used, n);
    kv_metric_add(KV_M_UPLOAD_BUFFER_BYTES, -(int64_t)n);
}

static kv_body_buf *arena_map(kv_body_pool *p)
{
    kv_body_buf *b = malloc(sizeof(*b) + KV_BODY_SLICES * sizeof(kv_body_slice));
    if (b == NULL)
        return NULL;
    b->bytes =
        mmap(NULL, KV_BODY_ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->bytes == MAP_FAILED) {
        free(b);
        return NULL;
    }
    b->pool = p;
    b->cap = KV_BODY_ARENA;
    b->slices_max = KV_BODY_SLICES;
    return b;
}

kv_body_buf *kv_body_arena(kv_body_pool *p)
{
    if (!take_budget(p, KV_BODY_ARENA, false))
        return NULL;
    pthread_mutex_lock(&p->lock);
    kv_body_buf *b = p->free;
    if (b != NULL) {
        p->free = b->next;
        p->nfree--;
    }
    pthread_mutex_unlock(&p->lock);
    if (b == NULL)
        b = arena_map(p);
    if (b == NULL) {
        give_budget(p, KV_BODY_ARENA);
        return NULL;
    }
    b->next = NULL;
    b->fill = b->nslices = 0;
    atomic_init(&b->refs, 1);
    return b;
}

kv_body_buf *kv_body_single(kv_body_pool *p, size_t cap, unsigned slices, bool force)
{
    if (!take_budget(p, cap, force))
        return NULL;
    kv_body_buf *b = malloc(sizeof(*b) + slices * sizeof(kv_body_slice) + cap);
    if (b == NULL) {
        give_budget(p, cap);
        return NULL;
    }
    *b = (kv_body_buf){
        .pool = p, .cap = cap, .slices_max = slices, .bytes = (char *)&b->slices[slices]};
    atomic_init(&b->refs, 1);
    return b;
}

static void wake(kv_body_pool *p)
{
    for (unsigned i = 0; i < p->loops; i++)
        if (atomic_load_explicit(&p->wants[i], memory_order_seq_cst) &&
            atomic_exchange(&p->wants[i], false))
            kv_wake(p->wake_fds[i]);
}

void kv_body_drop(kv_body_buf *b)
{
    if (atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    kv_body_pool *p = b->pool;
    size_t cap = b->cap;
    if (is_arena(b)) {
        pthread_mutex_lock(&p->lock);
        if (p->nfree < KEEP_FREE) {
            b->next = p->free;
            p->free = b;
            p->nfree++;
            b = NULL;
        }
        pthread_mutex_unlock(&p->lock);
    }
    if (b != NULL)
        buf_free(b);
    give_budget(p, cap);
    wake(p);
}

void kv_body_hold(kv_body_buf *b)
{
    atomic_fetch_add(&b->refs, 1);
}

bool kv_body_pool_roomy(const kv_body_pool *p)
{
    return atomic_load(&p->used) <= p->budget / 2;
}

bool kv_body_reuse(kv_body_buf *b)
{
    if (atomic_load(&b->refs) != 1)
        return false;
    b->fill = b->nslices = 0;
    return true;
}

kv_body_credit *kv_body_credit_new(void)
{
    kv_body_credit *c = malloc(sizeof(*c));
    if (c == NULL)
        return NULL;
    atomic_init(&c->in_flight, 0);
    atomic_init(&c->refs, 1);
    return c;
}

void kv_body_credit_drop(kv_body_credit *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1)
        free(c);
}

/* The free function of a payload: this is the credit coming back. Any thread. */
static void slice_back(void *data, void *hint)
{
    (void)data;
    kv_body_slice *s = hint;
    KV_HANDOVER_TAKE(s);
    kv_body_pool *p = s->buf->pool;
    kv_body_credit *credit = s->credit;
    atomic_fetch_sub(&credit->in_flight, s->len);
    kv_body_drop(s->buf);
    kv_body_credit_drop(credit);
    wake(p);
}

bool kv_body_message(kv_body_buf *b, kv_body_credit *credit, kv_slice bytes, zmq_msg_t *ret)
{
    if (b->nslices == b->slices_max)
        return false;
    kv_body_slice *s = &b->slices[b->nslices];
    *s = (kv_body_slice){b, credit, bytes.len};
    KV_HANDOVER_GIVE(s);
    if (zmq_msg_init_data(ret, (void *)(uintptr_t)bytes.ptr, bytes.len, slice_back, s) != 0)
        return false;
    b->nslices++;
    atomic_fetch_add(&b->refs, 1);
    atomic_fetch_add(&credit->refs, 1);
    atomic_fetch_add(&credit->in_flight, bytes.len);
    return true;
}

void kv_body_want(kv_body_pool *p, unsigned loop)
{
    atomic_store_explicit(&p->wants[loop], true, memory_order_seq_cst);
}

size_t kv_body_pool_used(const kv_body_pool *p)
{
    return atomic_load(&p->used);
}
