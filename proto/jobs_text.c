/* What programs hand in may be any bytes: encoding a message asserts UTF-8 and limits. */
#include "proto/jobs_state.h"

#include <string.h>

#include "proto/base/text.h"

bool kv_job_text_fits(kv_slice text, size_t limit)
{
    return text.len <= limit && kv_utf8_valid(text);
}

bool kv_job_submit_fits(const kv_submit *job)
{
    bool fits = true;
#define FITS_u64(name, limit)                       fits = fits && ((limit) == 0 || job->name <= (uint64_t)(limit));
#define FITS_str(name, limit)                       fits = fits && kv_job_text_fits(job->name, (size_t)(limit));
#define FITS(T, type, name, limit, def, unit, text) FITS_##type(name, limit)
    KV_SUBMIT_FIELDS(FITS, _)
#undef FITS
#undef FITS_str
#undef FITS_u64
    return fits;
}

void kv_job_detail_set(char out[KV_DETAIL_MAX + 1], const char *text)
{
    size_t len = kv_utf8_cut(kv_slice_str(text), KV_DETAIL_MAX).len;
    memcpy(out, text, len);
    out[len] = '\0';
    for (size_t i = 0, n; i < len; i += n) {
        n = kv_utf8_next(out + i, len - i, NULL);
        if (n == 0) {
            out[i] = '?';
            n = 1;
        }
    }
}
