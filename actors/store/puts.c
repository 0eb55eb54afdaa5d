#include "actors/store/puts.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>

typedef struct kv_open_put {
    uint64_t upload; /* first: the key of the tree */
    kv_put *put;
} kv_open_put;

struct kv_puts {
    pthread_mutex_t lock;
    void *tree; /* tsearch(3) tree of kv_open_put */
};

static int by_upload(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

kv_err kv_puts_new(kv_puts **ret)
{
    kv_puts *p = calloc(1, sizeof *p);
    if (!p)
        return KV_E_NO_MEMORY;
    pthread_mutex_init(&p->lock, NULL);
    *ret = p;
    return KV_OK;
}

/* What becomes of its row is not known any more. */
static void leave_open(void *open)
{
    kv_open_put *o = open;
    kv_put_leave(&o->put);
    free(o);
}

void kv_puts_destroy(kv_puts **puts)
{
    if (!*puts)
        return;
    tdestroy((*puts)->tree, leave_open);
    pthread_mutex_destroy(&(*puts)->lock);
    free(*puts);
    *puts = NULL;
}

kv_err kv_puts_add(kv_puts *puts, uint64_t upload, kv_put *put)
{
    kv_open_put *o = malloc(sizeof *o);
    if (!o)
        return KV_E_NO_MEMORY;
    *o = (kv_open_put){upload, put};
    pthread_mutex_lock(&puts->lock);
    bool added = tsearch(o, &puts->tree, by_upload) != NULL;
    pthread_mutex_unlock(&puts->lock);
    if (!added)
        free(o);
    return added ? KV_OK : KV_E_NO_MEMORY;
}

kv_put *kv_puts_get(kv_puts *puts, uint64_t upload)
{
    pthread_mutex_lock(&puts->lock);
    kv_open_put **node = tfind(&upload, &puts->tree, by_upload);
    kv_put *put = node ? (*node)->put : NULL;
    pthread_mutex_unlock(&puts->lock);
    return put;
}

kv_put *kv_puts_take(kv_puts *puts, uint64_t upload)
{
    pthread_mutex_lock(&puts->lock);
    kv_open_put **node = tfind(&upload, &puts->tree, by_upload);
    kv_open_put *o = node ? *node : NULL;
    if (o)
        tdelete(o, &puts->tree, by_upload);
    pthread_mutex_unlock(&puts->lock);
    kv_put *put = o ? o->put : NULL;
    free(o);
    return put;
}
