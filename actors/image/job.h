/* One picture in hand of the image actor: what was asked, what its child said, what will be
 * answered. No sockets but the report pair; the actor (image.c) moves it through its phases. */
#ifndef KV_IMAGE_JOB_H
#define KV_IMAGE_JOB_H

#include "actors/image/keeper.h"
#include "proto/codec.h"

typedef enum kv_image_phase {
    KV_PHASE_FREE,
    KV_PHASE_WAITING, /* the machine has no room for a child; begun again by each tick */
    KV_PHASE_RUNNING, /* a child works */
    KV_PHASE_KEEPING, /* the keeper has it */
    KV_PHASE_ANSWER,  /* the answer is to be sent */
    KV_PHASE_ANSWERED /* sent, waiting for OKAY */
} kv_image_phase;

typedef struct kv_image_job {
    kv_image_phase phase;
    bool cancelled; /* nobody wants the answer */
    bool starved;   /* its child was killed from outside: by the kernel, for want of memory */
    kv_header head; /* trace of the JOB */
    uint64_t job, epoch, attempt;
    void *params;    /* JSON */
    const char *key; /* of the original; lies in params */
    kv_image_input input;
    bool waited;
    uint64_t source_size; /* bytes */
    int report_fd;        /* -1: none */
    int64_t begun_us;
    /* from the child */
    uint32_t width, height, thumb_len;
    uint8_t thumb[KV_IMAGE_THUMB_MAX];
    bool done;
    kv_keeping keeping; /* run, blob, output_fd, variants */
    /* the answer */
    kv_err err; /* KV_OK: JOB_DONE with result */
    bool retry;
    char detail[KV_IMAGE_DETAIL];
    kv_buf result;
} kv_image_job;

/* {"blob","key","mime"}; key and mime point into `*ret_json` (release with json_decref). false: not
 * of that shape. */
bool kv_image_params_read(kv_slice params, void **ret_json, uint64_t *ret_blob,
                          const char **ret_key, const char **ret_mime);
/* One report of the child, every field checked. Returns the progress to tell, 0: none. */
uint64_t kv_image_job_report(kv_image_job *j, const kv_image_report *r);
/* The child has ended: sets err and detail, or KV_OK where all that was promised is there. */
void kv_image_job_verdict(kv_image_job *j, const kv_image_event *e);
void kv_image_job_fail(kv_image_job *j, kv_err err, bool retry, const char *detail);
/* What a child said that met the machine's want: another one begins anew. */
void kv_image_job_forget(kv_image_job *j);
void kv_image_job_close(kv_image_job *j); /* descriptors and buffers; the slot is free then */

#endif
