/* backup FILE: the copy is made by a thread of its own; the call looks how far it is. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "broker/admin_cmd.h"
#include "storage/backup.h"

enum { LOOK_MS = 100, SAY_MS = 1000 };

typedef struct backup {
    struct backup *next; /* in `left` */
    const kv_config *cfg;
    char *path;
    pthread_t thread;
    atomic_bool stop, done;
    atomic_int step;
    atomic_llong pages, total;
    kv_err err; /* once done */
    kv_backup_end end;
    int64_t begun_ms, said_ms;
} backup;

static bool go_on(void *arg, kv_backup_step step, int64_t done, int64_t total)
{
    backup *b = arg;
    atomic_store(&b->step, (int)step);
    atomic_store(&b->pages, done);
    atomic_store(&b->total, total);
    return !atomic_load(&b->stop);
}

static void *thread_main(void *arg)
{
    backup *b = arg;
    pthread_setname_np(pthread_self(), "backup");
    b->err = kv_db_backup(b->cfg, b->path, go_on, b, &b->end);
    atomic_store(&b->done, true);
    return NULL;
}

static backup *left; /* whose operators have gone; the admin thread's */

/* It ends within a step, which takes as long as the disk it writes to: nobody else waits for it. */
static void drop(void *state)
{
    backup *b = state;
    atomic_store(&b->stop, true);
    b->next = left;
    left = b;
}

static void take_leave(bool wait)
{
    for (backup **at = &left, *b; (b = *at);) {
        if (!wait && !atomic_load(&b->done)) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        pthread_join(b->thread, NULL);
        free(b->path);
        free(b);
    }
}

void kv_admin_backups_end(void)
{
    take_leave(true);
}

static void end_backup(kv_admin_call *call)
{
    const backup *b = call->state;
    int64_t ms = kv_mono_ms(call->clock) - b->begun_ms;
    if (b->err == KV_E_CONFLICT) {
        kv_admin_error(call, "conflict",
                       "%s (or %s.tmp, of a backup that was broken off) exists; nothing is "
                       "replaced. Take another name, or remove it.",
                       b->path, b->path);
        return;
    }
    bool lasting = kv_db_state_named(kv_slice_str(kv_err_info_of(b->err)->slug)) != KV_OK;
    if (b->err != KV_OK && b->err != KV_E_BUSY && !lasting && b->end.why[0]) {
        kv_admin_error(call, kv_err_info_of(b->err)->slug,
                       "%s could not be written (%s). Nothing of it is left; mend that, or take "
                       "another disk.",
                       b->path, b->end.why);
        return;
    }
    if (b->err == KV_E_BUSY) {
        kv_admin_error(call, "busy", "Another backup runs, or the database is busy; try again.");
        return;
    }
    if (b->err != KV_OK) {
        kv_admin_fail(call, b->err);
        return;
    }
    if (call->json) {
        json_t *done = json_pack("{s:s,s:I,s:I}", "file", b->path, "bytes",
                                 (json_int_t)b->end.bytes, "ms", (json_int_t)ms);
        kv_admin_dump(call, done);
        json_decref(done);
    } else {
        kv_buf_adds(call->out, "written and checked: ");
        kv_plain_text(kv_slice_str(b->path), 0, call->out);
        kv_buf_adds(call->out, ", ");
        kv_human_bytes(b->end.bytes, call->out);
        kv_buf_adds(call->out, " in ");
        kv_human_ms(ms, call->out);
        kv_buf_addc(call->out, '\n');
    }
    kv_admin_ok(call);
}

static void look(kv_admin_call *call)
{
    backup *b = call->state;
    if (atomic_load(&b->done)) {
        end_backup(call);
        return;
    }
    int64_t now = kv_mono_ms(call->clock), total = atomic_load(&b->total);
    if (!call->json && total > 0 && now - b->said_ms >= SAY_MS) {
        b->said_ms = now;
        if (atomic_load(&b->step) == KV_BACKUP_CHECK)
            kv_buf_adds(call->out, "copied; checking\n");
        else
            kv_buf_addf(call->out, "%lld %%\n", (long long)(atomic_load(&b->pages) * 100 / total));
    }
    kv_admin_again(call, LOOK_MS, look);
}

static void run(kv_admin_call *call)
{
    kv_slice path = kv_admin_word(call, 0);
    if (path.ptr[0] != '/' || path.len > 4000) {
        kv_admin_error(call, "bad_parameter", "Give the whole path of the file, from /.");
        return;
    }
    take_leave(false);
    backup *b = calloc(1, sizeof *b);
    char *copy = b ? strndup(path.ptr, path.len) : NULL;
    if (!copy) {
        free(b);
        kv_admin_fail(call, KV_E_NO_MEMORY);
        return;
    }
    b->cfg = call->cfg;
    b->path = copy;
    b->begun_ms = b->said_ms = kv_mono_ms(call->clock);
    if (pthread_create(&b->thread, NULL, thread_main, b) != 0) {
        free(copy);
        free(b);
        kv_admin_fail(call, KV_E_NO_MEMORY);
        return;
    }
    call->state = b;
    call->drop = drop;
    kv_admin_again(call, 5, look);
}

static const kv_admin_command commands[] = {
    {"backup", "FILE", "a checked copy of the database, made while all goes on", 1, 1, NULL, true,
     run},
};
const kv_admin_module kv_admin_backup = {"Backup", commands, sizeof commands / sizeof commands[0]};
