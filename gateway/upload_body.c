/* Bytes of an upload: from the socket into an arena, through the decoders, on as slices. */
#include <errno.h>
#include <unistd.h>

#include "gateway/upload.h"

#define MIN_ROOM                                                                                   \
    (64u * 1024) /* an arena with less room left is put aside (when more than that is expected) */
#define RESUME_ROOM (3 * KV_BODY_ARENA) /* a paused upload goes on with this much credit */
#define TURN_BYTES  (1u << 20)          /* read for one upload in one go: others want their turn */

static kv_body_pool *pool_of(kv_upload *u)
{
    return kv_gw_inside(&u->loop->loop)->pool;
}

static int64_t now_us(kv_upload *u)
{
    return kv_mono_us(u->loop->loop.gw->clock);
}

/* ---- rate ---- */

static void on_rate_timer(kv_timer *t)
{
    kv_upload *u = H2O_STRUCT_FROM_MEMBER(kv_upload, rate_timer, t);
    int64_t now = now_us(u);
    if (u->paused) {
        u->paused_us += now - u->paused_since_us;
        u->paused_since_us = now;
    }
    int64_t listened_us = now - u->window_us - u->paused_us;
    uint64_t needed =
        listened_us > 0
            ? (uint64_t)listened_us * (uint64_t)u->loop->loop.gw->cfg->upload_min_rate / 1000000
            : 0;
    if (u->window_bytes < needed) {
        kv_upload_fail(u, KV_E_TIMEOUT_CLIENT, "UPLOAD_MIN_RATE");
        return;
    }
    kv_upload_watch_rate(u);
}

void kv_upload_watch_rate(kv_upload *u)
{
    u->window_us = now_us(u);
    u->window_bytes = 0;
    u->paused_us = 0;
    u->rate_timer.fn = on_rate_timer;
    kv_timer_set(&u->loop->loop, KV_WAIT_RATE, &u->rate_timer);
}

/* ---- pause and resume ---- */

static void pause_reading(kv_upload *u)
{
    struct kv_uploads *us = u->loop->loop.uploads;
    h2o_socket_read_stop(u->conn->sock);
    if (!u->paused) {
        u->paused = true;
        u->paused_since_us = now_us(u);
    }
    if (!h2o_linklist_is_linked(&u->waiting))
        h2o_linklist_insert(&us->waiting, &u->waiting);
    kv_body_want(pool_of(u), u->loop->loop.index);
}

static void unpause(kv_upload *u)
{
    kv_unlink(&u->waiting);
    if (u->paused)
        u->paused_us += now_us(u) - u->paused_since_us;
    u->paused = false;
}

void kv_upload_stop_reading(kv_upload *u)
{
    unpause(u);
    h2o_socket_read_stop(u->conn->sock);
}

static size_t credit_left(kv_upload *u)
{
    size_t used = atomic_load(&u->credit->in_flight);
    return used < KV_BODY_CREDIT ? KV_BODY_CREDIT - used : 0;
}

/* The arena to read into, with room in it. NULL: the budget is used up. */
static kv_body_buf *take_arena(kv_upload *u)
{
    struct kv_uploads *us = u->loop->loop.uploads;
    uint64_t left = u->conn->frame.chunked ? UINT64_MAX : u->conn->frame.left;
    /* a small body wants to stand in one piece */
    bool small = u->body_bytes == 0 && left <= KV_BODY_ARENA && kv_body_pool_roomy(pool_of(u));
    size_t least = small ? KV_BODY_ARENA : MIN_ROOM;
    if (us->arena != NULL && !kv_body_reuse(us->arena)) {
        size_t room = us->arena->cap - us->arena->fill;
        if (us->arena->nslices > KV_BODY_SLICES - 2 || (room < least && room < left)) {
            kv_body_drop(us->arena);
            us->arena = NULL;
        }
    }
    if (us->arena == NULL)
        us->arena = kv_body_arena(pool_of(u));
    return us->arena;
}

void kv_uploads_resume(struct kv_uploads *us)
{
    /* each waiting one is looked at once; those that still wait are linked again behind `last` */
    h2o_linklist_t todo;
    h2o_linklist_init_anchor(&todo);
    h2o_linklist_insert_list(&todo, &us->waiting);
    while (!h2o_linklist_is_empty(&todo)) {
        kv_upload *u = H2O_STRUCT_FROM_MEMBER(kv_upload, waiting, todo.next);
        kv_unlink(&u->waiting);
        if (credit_left(u) < RESUME_ROOM) {
            h2o_linklist_insert(&us->waiting, &u->waiting);
            kv_body_want(pool_of(u), us->loop->loop.index);
            if (credit_left(u) < RESUME_ROOM)
                continue;
            kv_unlink(&u->waiting);
        }
        kv_upload_read(u);
    }
}

/* ---- bytes ---- */

/* Decoded body bytes inside u->buf. */
static kv_err decoded(kv_upload *u, kv_slice bytes)
{
    if (!u->multipart)
        return kv_upload_file_bytes(u, bytes);
    KV_TRY(kv_multipart_push(&u->parser, bytes));
    if (u->body_bytes - u->size > KV_UPLOAD_OVERHEAD) {
        u->parser.why = "More than 64 KiB of the body are not the file.";
        return KV_E_BAD_MULTIPART;
    }
    return KV_OK;
}

/* `n` bytes as they came stand at `at`. Sets *ret_data to those of them that are data, at the same
 * place. */
static kv_err unframe(kv_upload *u, char *at, size_t n, size_t *ret_data, const char **ret_why)
{
    kv_body_frame *f = &u->conn->frame;
    u->window_bytes += n;
    if (!f->chunked) {
        *ret_data = n;
        f->left -= n;
        f->over = f->left == 0;
        return KV_OK;
    }
    size_t used;
    KV_TRY(kv_chunked_decode(&f->decoder, at, n, ret_data, &used, &f->over, ret_why));
    return kv_tap_put_rest(u->conn, at + used, n - used) ? KV_OK : KV_E_NO_MEMORY;
}

static void fail_with(kv_upload *u, kv_err err, const char *why)
{
    if (err == KV_E_BAD_MULTIPART && *why == 0)
        why = *u->detail != 0 ? u->detail : u->parser.why;
    char text[sizeof(u->detail)];
    strncpy(text, *why != 0 ? why : u->detail, sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    kv_upload_fail(u, err, text);
}

static void over(kv_upload *u)
{
    kv_err err = u->multipart ? kv_multipart_finish(&u->parser) : KV_OK;
    if (err != KV_OK)
        fail_with(u, err, "");
    else
        kv_upload_body_over(u);
}

/* Reads into `at` until it is full or nothing is there. 0 with *ret_end: the peer's end; with
 * *ret_errno: broken. */
static size_t fill(kv_upload *u, char *at, size_t room, bool *ret_dry, bool *ret_end,
                   bool *ret_broken)
{
    kv_conn *c = u->conn;
    size_t n = kv_tap_take_rest(c, at, room);
    *ret_dry = *ret_end = *ret_broken = false;
    while (n < room && c->rest_len == 0) {
        ssize_t got = read(h2o_socket_get_fd(c->sock), at + n, room - n);
        if (got < 0 && errno == EINTR)
            continue;
        *ret_dry = got < 0 && errno == EAGAIN;
        *ret_end = got == 0;
        *ret_broken = got < 0 && errno != EAGAIN;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    (void)err; /* the descriptor says it again */
    kv_conn *c = sock->on_close.data;
    kv_upload_read(c->upload);
}

static void on_end_of_input(kv_upload *u, bool broken)
{
    if (broken) {
        kv_conn *c = u->conn;
        kv_upload_stop_reading(u);
        c->h2o_read(c->sock, h2o_socket_error_io); /* closes; kv_upload_conn_gone follows */
        return;
    }
    /* a half-closed client can still read why; counted as the client's going, which it nearly
     * always is */
    kv_upload_fail(u, KV_E_LENGTH_MISMATCH, NULL);
}

/* Where the next bytes go and how many may come. NULL: wait. */
static char *place(kv_upload *u, size_t *ret_room)
{
    if (u->whole != NULL) {
        u->buf = u->whole;
        *ret_room = u->whole->cap - u->whole->fill;
        return u->whole->bytes + u->whole->fill;
    }
    if (u->room.buf != NULL) {
        u->buf = u->room.buf;
        *ret_room = u->room.end - u->room.at;
        return u->buf->bytes + u->room.at;
    }
    size_t credit = credit_left(u);
    kv_body_buf *a = credit >= MIN_ROOM ? take_arena(u) : NULL;
    if (a == NULL)
        return NULL;
    size_t room = a->cap - a->fill;
    *ret_room = room < credit ? room : credit;
    u->buf = a;
    return a->bytes + a->fill;
}

static char *place_or_wait(kv_upload *u, size_t *ret_room)
{
    char *at = place(u, ret_room);
    if (at != NULL)
        return at;
    pause_reading(u);
    at = place(u, ret_room); /* what came back in between would wake nobody */
    if (at != NULL)
        unpause(u);
    return at;
}

/* The bytes just read are used, if anybody looks at them any more. */
static void advance(kv_upload *u, size_t n, bool sliced)
{
    if (u->room.buf != NULL)
        u->room.at += n;
    else if (u->whole != NULL || sliced || u->held_buf == u->buf)
        u->buf->fill += n;
}

/* Others read into the arena before the next bytes come: keeps room in it for the rest of a small
 * body, or lets go what was held. Under half of the budget only: slow clients must not get all. */
static kv_err keep_room(kv_upload *u)
{
    const kv_body_frame *f = &u->conn->frame;
    kv_body_buf *b = u->held_buf;
    if (b == NULL || u->whole != NULL || u->room.buf != NULL)
        return KV_OK;
    if (f->chunked || b != u->buf || f->left > b->cap - b->fill || !kv_body_pool_roomy(pool_of(u)))
        return kv_upload_flush(u);
    kv_body_hold(b);
    u->room.buf = b;
    u->room.at = b->fill;
    b->fill += (size_t)f->left;
    u->room.end = b->fill;
    return KV_OK;
}

/* UPLOAD_STREAM_ENABLED=false: room for the whole body, from the same budget. */
static bool take_whole(kv_upload *u)
{
    const kv_body_frame *f = &u->conn->frame;
    size_t most = (size_t)u->size_max + KV_UPLOAD_OVERHEAD + 4096;
    size_t cap = f->chunked ? most : (size_t)f->left + 1;
    /* larger than the whole budget: alone it may pass */
    bool alone = kv_body_pool_used(pool_of(u)) == 0;
    u->whole = kv_body_single(pool_of(u), cap, (unsigned)(cap / KV_BODY_ARENA) + 8, alone);
    return u->whole != NULL;
}

static bool collect_first(kv_upload *u)
{
    const kv_config *cfg = u->loop->loop.gw->cfg;
    if (cfg->upload_stream_enabled || u->whole != NULL)
        return true;
    if (!take_whole(u)) {
        pause_reading(u);
        if (!take_whole(u)) /* what came back in between would wake nobody */
            return false;
    }
    unpause(u);
    return true;
}

void kv_upload_read(kv_upload *u)
{
    kv_body_frame *f = &u->conn->frame;
    const char *why = "";
    size_t read_now = 0;
    if (!collect_first(u))
        return;
    while (!f->over) {
        size_t room, data;
        char *at = place_or_wait(u, &room);
        if (at == NULL) { /* the budget is used up: what is held must not wait */
            if (kv_upload_flush(u) != KV_OK)
                fail_with(u, KV_E_NO_MEMORY, "");
            return;
        }
        if (!f->chunked && room > f->left)
            room = (size_t)f->left;
        if (room == 0) { /* only a collected chunked body */
            fail_with(u, KV_E_TOO_LARGE, "");
            return;
        }
        bool dry, end, broken;
        size_t n = fill(u, at, room, &dry, &end, &broken);
        kv_err err = n > 0 ? unframe(u, at, n, &data, &why) : KV_OK;
        if (n > 0 && err == KV_OK) {
            unsigned slices = u->buf->nslices;
            u->body_bytes += data;
            if (u->whole == NULL)
                err = decoded(u, kv_slice_of(at, data));
            advance(u, data, u->buf->nslices != slices);
            if (u->whole != NULL &&
                u->body_bytes > u->size_max + (u->multipart ? KV_UPLOAD_OVERHEAD : 0))
                err = KV_E_TOO_LARGE;
        }
        if (err != KV_OK) {
            fail_with(u, err, why);
            return;
        }
        if (f->over)
            break;
        if (end || broken) {
            on_end_of_input(u, broken);
            return;
        }
        read_now += n;
        if (dry || read_now >= TURN_BYTES) {
            if (keep_room(u) != KV_OK) {
                fail_with(u, KV_E_NO_MEMORY, "");
                return;
            }
            unpause(u);
            h2o_socket_read_start(u->conn->sock, on_readable);
            return;
        }
    }
    unpause(u);
    if (u->whole != NULL) {
        u->buf = u->whole;
        kv_err err = decoded(u, kv_slice_of(u->whole->bytes, u->whole->fill));
        if (err != KV_OK) {
            fail_with(u, err, "");
            return;
        }
    }
    over(u);
}
