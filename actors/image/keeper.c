#include "actors/image/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/media_name.h"

enum { PIECE = 256 << 10, HEAD = 12 };

struct kv_keeper {
    kv_store *store;
    pthread_t thread;
    int in[2], out[2]; /* pipes of kv_keeping pointers */
};

/* Where less is there than the child said it is the child's doing, where it cannot be read the
 * machine's. */
static kv_err read_at(int fd, uint64_t offset, void *to, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = pread(fd, (char *)to + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? kv_err_from_errno(errno) : KV_E_IMAGE_CRASH;
        got += (size_t)n;
    }
    return KV_OK;
}

/* The child is not trusted: what would be served as a picture must look like one. */
static bool looks_like(kv_image_format format, const uint8_t head[HEAD])
{
    if (format == KV_IMAGE_WEBP)
        return memcmp(head, "RIFF", 4) == 0 && memcmp(head + 8, "WEBP", 4) == 0;
    return memcmp(head + 4, "ftypavif", 8) == 0;
}

static kv_err write_variant(kv_put *put, const kv_keeping *k, const kv_image_variant *v)
{
    uint8_t head[HEAD];
    if (v->size < HEAD)
        return KV_E_IMAGE_CRASH;
    KV_TRY(read_at(k->output_fd, v->offset, head, HEAD));
    if (!looks_like(v->format, head))
        return KV_E_IMAGE_CRASH;
    char *piece = malloc(PIECE);
    kv_err err = piece ? KV_OK : KV_E_NO_MEMORY;
    for (uint64_t done = 0; err == KV_OK && done < v->size;) {
        size_t n = v->size - done < PIECE ? (size_t)(v->size - done) : PIECE;
        err = read_at(k->output_fd, v->offset + done, piece, n);
        if (err == KV_OK)
            err = kv_put_write(put, piece, n);
        done += n;
    }
    free(piece);
    return err == KV_OK ? kv_put_start_sync(put) : err;
}

static kv_err sync_and_link(kv_put *put, const kv_keeping *k, const kv_image_variant *v,
                            kv_buf *key)
{
    char params[KV_IMAGE_PARAMS];
    bool existed;
    kv_image_params(&k->settings, v->format, v->width, v->full, k->versions, params);
    kv_variant_key(key, k->blob, v->full ? 0 : v->width, kv_slice_str(params),
                   kv_slice_str(kv_image_ext(v->format)));
    if (!kv_buf_ok(key))
        return KV_E_NO_MEMORY;
    KV_TRY(kv_put_sync(put));
    return kv_put_link(put, kv_buf_str(key), &existed);
}

/* All are written before the first is synced: the disk gets them together. */
kv_err kv_keep(kv_store *store, kv_id_maker *ids, const kv_keeping *k)
{
    kv_put *puts[KV_IMAGE_OUTPUTS_MAX] = {NULL};
    kv_buf keys[KV_IMAGE_OUTPUTS_MAX];
    const char *names[KV_IMAGE_OUTPUTS_MAX];
    kv_err err = KV_OK;
    for (uint32_t i = 0; i < k->count; i++)
        kv_buf_init(&keys[i], 0);
    for (uint32_t i = 0; i < k->count && err == KV_OK; i++) {
        err = kv_put_begin(store, kv_id_make(ids, &kv_clock_real), k->variants[i].size, &puts[i]);
        if (err == KV_OK)
            err = write_variant(puts[i], k, &k->variants[i]);
    }
    for (uint32_t i = 0; i < k->count && err == KV_OK; i++) {
        err = sync_and_link(puts[i], k, &k->variants[i], &keys[i]);
        names[i] = kv_buf_str(&keys[i]);
    }
    if (err == KV_OK && k->count > 0)
        err = kv_store_sync_folders(store, names, k->count);
    for (uint32_t i = 0; i < k->count; i++) {
        if (puts[i])
            kv_put_finish(&puts[i]);
        kv_buf_release(&keys[i]);
    }
    return err;
}

/* False: there will be no more. Were this thread to end by itself, every picture would wait in
 * vain: then rather the process, which is started again. */
static bool take_next(kv_keeper *self, kv_keeping **ret)
{
    ssize_t n;
    while ((n = read(self->in[0], ret, sizeof *ret)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        abort();
    return n == sizeof *ret;
}

static void give_back(kv_keeper *self, kv_keeping *k)
{
    ssize_t n;
    while ((n = write(self->out[1], &k, sizeof k)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        abort();
}

static void *run(void *arg)
{
    kv_keeper *self = arg;
    kv_id_maker ids;
    kv_keeping *k;
    kv_id_maker_init(&ids, kv_id_random_node());
    while (take_next(self, &k)) {
        k->err = kv_keep(self->store, &ids, k);
        give_back(self, k);
    }
    return NULL;
}

kv_err kv_keeper_start(kv_store *store, kv_keeper **ret)
{
    kv_keeper *self = calloc(1, sizeof *self);
    if (!self)
        return KV_E_NO_MEMORY;
    *self = (kv_keeper){.store = store, .in = {-1, -1}, .out = {-1, -1}};
    int e = 0;
    if (pipe2(self->in, O_CLOEXEC) || pipe2(self->out, O_CLOEXEC) ||
        fcntl(self->in[1], F_SETFL, O_NONBLOCK) || fcntl(self->out[0], F_SETFL, O_NONBLOCK))
        e = errno;
    if (!e)
        e = pthread_create(&self->thread, NULL, run, self);
    if (!e) {
        *ret = self;
        return KV_OK;
    }
    for (int i = 0; i < 2; i++) {
        if (self->in[i] >= 0)
            close(self->in[i]);
        if (self->out[i] >= 0)
            close(self->out[i]);
    }
    free(self);
    return kv_err_from_errno(e);
}

void kv_keeper_stop(kv_keeper **self)
{
    kv_keeper *k = *self;
    if (!k)
        return;
    close(k->in[1]);
    pthread_join(k->thread, NULL);
    close(k->in[0]);
    close(k->out[0]);
    close(k->out[1]);
    free(k);
    *self = NULL;
}

int kv_keeper_fd(const kv_keeper *self)
{
    return self->out[0];
}

bool kv_keeper_give(kv_keeper *self, kv_keeping *k)
{
    return write(self->in[1], &k, sizeof k) == sizeof k;
}

kv_keeping *kv_keeper_take(kv_keeper *self)
{
    kv_keeping *k = NULL;
    return read(self->out[0], &k, sizeof k) == sizeof k ? k : NULL;
}
