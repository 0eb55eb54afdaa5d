#include "actors/image/job.h"

#include <jansson.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/id.h"
#include "proto/base/slice.h"

enum { SIDE_MAX = 1 << 24, PERCENT_DECODED = 10, PERCENT_ENCODED = 95 };

bool kv_image_params_read(kv_slice params, void **ret_json, uint64_t *ret_blob,
                          const char **ret_key, const char **ret_mime)
{
    const char *blob = NULL;
    json_t *root = json_loadb(params.ptr, params.len, JSON_REJECT_DUPLICATES, NULL);
    if (!root)
        return false;
    if (json_unpack(root, "{s:s,s:s,s:s}", "blob", &blob, "key", ret_key, "mime", ret_mime) ||
        !kv_id_parse(blob, strlen(blob), ret_blob)) {
        json_decref(root);
        return false;
    }
    *ret_json = root;
    return true;
}

void kv_image_job_fail(kv_image_job *j, kv_err err, bool retry, const char *detail)
{
    j->err = err;
    j->retry = retry;
    snprintf(j->detail, sizeof j->detail, "%s", detail);
    for (char *c = j->detail; *c; c++) {
        if (*c < ' ' || *c > '~') /* it may hold what a picture held */
            *c = '?';
    }
}

/* ---- what the child says ---- */

static bool known_width(const kv_image_settings *s, uint32_t width)
{
    for (uint32_t i = 0; i < s->width_count; i++) {
        if (s->widths[i] == width)
            return true;
    }
    return false;
}

static bool add_variant(kv_image_job *j, const kv_image_report *r)
{
    kv_keeping *k = &j->keeping;
    bool full = r->full == 1 && r->format == KV_IMAGE_WEBP && r->width == j->width;
    if (k->count == KV_IMAGE_OUTPUTS_MAX || r->format >= KV_IMAGE_FORMATS || r->height == 0 ||
        r->height > SIDE_MAX || (!full && (r->full || !known_width(&k->settings, r->width))) ||
        r->size > KV_IMAGE_OUTPUT_MAX || r->offset > KV_IMAGE_OUTPUT_MAX)
        return false;
    uint64_t all = r->size;
    for (uint32_t i = 0; i < k->count; i++) {
        const kv_image_variant *v = &k->variants[i];
        all += v->size; /* the same bytes may be told as many variants */
        if (all > KV_IMAGE_OUTPUT_MAX ||
            (v->format == r->format && v->width == r->width && v->full == full))
            return false;
    }
    k->variants[k->count++] = (kv_image_variant){.format = r->format,
                                                 .width = r->width,
                                                 .height = r->height,
                                                 .full = full,
                                                 .offset = r->offset,
                                                 .size = r->size};
    return true;
}

static void take_failure(kv_image_job *j, const kv_image_report *r)
{
    char detail[KV_IMAGE_DETAIL];
    kv_err err = KV_E_IMAGE_CRASH;
    snprintf(detail, sizeof detail, "%.*s", (int)sizeof r->detail, r->detail);
    bool machine = r->error == KV_E_NO_MEMORY || r->error == KV_E_IO;
    if (machine || r->error == KV_E_BAD_IMAGE || r->error == KV_E_IMAGE_TOO_BIG ||
        r->error == KV_E_IMAGE_LIMIT)
        err = r->error;
    if (r->size > 0 && r->size < 4096) { /* the sandbox names the call that was refused */
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)r->size);
        snprintf(detail, sizeof detail, "forbidden system call %s (%d)", name ? name : "?",
                 (int)r->size);
        free(name);
    }
    kv_image_job_fail(j, err, machine, detail);
}

uint64_t kv_image_job_report(kv_image_job *j, const kv_image_report *r)
{
    if (j->done || j->err != KV_OK)
        return 0;
    bool fits = true;
    switch (r->what) {
    case KV_IMAGE_DECODED:
        fits = j->width == 0 && r->width > 0 && r->height > 0 && r->width <= SIDE_MAX &&
               r->height <= SIDE_MAX;
        j->width = r->width;
        j->height = r->height;
        break;
    case KV_IMAGE_VARIANT:
        fits = j->width > 0 && add_variant(j, r);
        break;
    case KV_IMAGE_THUMB:
        fits = j->thumb_len == 0 && r->thumb_len > 0 && r->thumb_len <= sizeof j->thumb;
        j->thumb_len = fits ? r->thumb_len : 0;
        memcpy(j->thumb, r->thumb, sizeof j->thumb);
        break;
    case KV_IMAGE_DONE:
        j->done = true;
        return 0;
    case KV_IMAGE_FAILED:
        take_failure(j, r);
        return 0;
    default:
        fits = false;
    }
    if (!fits) {
        kv_image_job_fail(j, KV_E_IMAGE_CRASH, false, "the image process reported nonsense");
        return 0;
    }
    uint64_t all = 2 * j->keeping.settings.width_count + 1;
    return PERCENT_DECODED + j->keeping.count * (PERCENT_ENCODED - PERCENT_DECODED) / all;
}

/* ---- how it ended ---- */

static void judge_signal(kv_image_job *j, const kv_image_event *e)
{
    int sig = WTERMSIG(e->status);
    char detail[KV_IMAGE_DETAIL];
    kv_err err = KV_E_IMAGE_CRASH;
    const char *what = sigdescr_np(sig);
    snprintf(detail, sizeof detail, "the image process died of signal %d (%s)", sig,
             what ? what : "?");
    /* SIGXCPU may be held back; then SIGKILL follows */
    bool over_time = e->cpu_us >= (uint64_t)j->keeping.settings.timeout_s * 1000000;
    if (sig == SIGXCPU || sig == SIGXFSZ || (sig == SIGKILL && over_time)) {
        err = KV_E_IMAGE_LIMIT;
        snprintf(detail, sizeof detail, "over the limit of %s",
                 sig == SIGXFSZ ? "output size" : "CPU time");
    } else if (sig == SIGKILL) { /* no limit of its own ends it so */
        err = KV_E_IMAGE_LIMIT;
        j->starved = true;
        snprintf(detail, sizeof detail,
                 "killed from outside, mostly because the machine's memory ran out");
    }
    kv_image_job_fail(j, err, j->starved, detail);
}

static bool output_complete(const kv_image_job *j)
{
    struct stat st;
    if (fstat(j->keeping.output_fd, &st))
        return false;
    for (uint32_t i = 0; i < j->keeping.count; i++) {
        const kv_image_variant *v = &j->keeping.variants[i];
        if (v->offset + v->size > (uint64_t)st.st_size)
            return false;
    }
    return true;
}

void kv_image_job_verdict(kv_image_job *j, const kv_image_event *e)
{
    if (j->err != KV_OK)
        return; /* the child said it itself */
    if (e->status == -1)
        kv_image_job_fail(j, KV_E_NO_MEMORY, true, "no image process could be made");
    else if (e->timed_out) /* its CPU time would have ended before: a busy machine, a slow disk */
        kv_image_job_fail(j, KV_E_IMAGE_LIMIT, true,
                          "over twice IMAGE_TIMEOUT by the clock, most of it waiting");
    else if (WIFSIGNALED(e->status))
        judge_signal(j, e);
    else if (WEXITSTATUS(e->status) == 2) /* before the picture was looked at */
        kv_image_job_fail(j, KV_E_INTERNAL, true, "the sandbox could not be set up");
    else if (!j->done || WEXITSTATUS(e->status) != 0 || !output_complete(j))
        kv_image_job_fail(j, KV_E_IMAGE_CRASH, false, "the image process ended early");
}

void kv_image_job_forget(kv_image_job *j)
{
    j->width = j->height = j->thumb_len = 0;
    j->done = false;
    j->keeping.count = 0;
    j->err = KV_OK;
}

void kv_image_job_close(kv_image_job *j)
{
    if (j->report_fd >= 0)
        close(j->report_fd);
    if (j->keeping.output_fd >= 0)
        close(j->keeping.output_fd);
    kv_buf_release(&j->result);
    json_decref(j->params);
    *j = (kv_image_job){.phase = KV_PHASE_FREE, .report_fd = -1, .keeping.output_fd = -1};
}
