#include "gateway/multipart.h"

#include <assert.h>

#define PADDING_MAX 64 /* blanks behind a boundary */

enum {
    PREAMBLE,   /* looking for the first delimiter */
    BEHIND,     /* behind a delimiter: padding, "--" or CR LF */
    BEHIND_LF,  /* CR seen behind a delimiter */
    BEHIND_END, /* one '-' seen behind a delimiter */
    HEAD,       /* head of a part */
    DATA,       /* bytes of a part */
    EPILOGUE    /* behind the closing delimiter: dropped */
};

static kv_err bad(kv_multipart *m, const char *why)
{
    m->why = why;
    return KV_E_BAD_MULTIPART;
}

void kv_multipart_init(kv_multipart *m, const char *boundary, const kv_multipart_events *events,
                       void *arg)
{
    size_t n = strlen(boundary);
    assert(n >= 1 && n <= KV_MULTIPART_BOUNDARY_MAX);
    *m = (kv_multipart){.events = events, .arg = arg, .why = ""};
    memcpy(m->delim, "\r\n--", 4);
    memcpy(m->delim + 4, boundary, n + 1);
    m->delim_len = n + 4;
    m->matched = 2; /* the first boundary may stand at the very beginning, without CR LF */
    kv_buf_init(&m->head, KV_PART_HEAD_MAX + 2);
}

void kv_multipart_release(kv_multipart *m)
{
    kv_buf_release(&m->head);
}

/* How much of the delimiter stands at the end of `s` (0: nothing; never the whole one). */
static size_t tail_match(const kv_multipart *m, kv_slice s)
{
    size_t most = m->delim_len - 1 < s.len ? m->delim_len - 1 : s.len;
    const char *end = s.ptr + s.len;
    /* CR stands only at the front of the delimiter, so the last CR is the only candidate */
    const char *cr = memrchr(end - most, '\r', most);
    if (cr == NULL || memcmp(cr, m->delim, (size_t)(end - cr)) != 0)
        return 0;
    return (size_t)(end - cr);
}

static kv_err emit(kv_multipart *m, const char *ptr, size_t len)
{
    if (len == 0 || m->state != DATA)
        return KV_OK; /* a preamble is dropped */
    return m->events->part_data(m->arg, kv_slice_of(ptr, len));
}

static kv_err delimiter(kv_multipart *m)
{
    kv_err err = m->state == DATA ? m->events->part_end(m->arg) : KV_OK;
    m->state = BEHIND;
    m->matched = m->padding = 0;
    return err;
}

/* A delimiter that began in an earlier push: goes on byte by byte. */
static kv_err resume_match(kv_multipart *m, kv_slice *s)
{
    while (s->len > 0 && m->matched > 0) {
        if (*s->ptr != m->delim[m->matched]) {
            size_t n = m->matched;
            m->matched = 0;
            return emit(m, m->delim, n);
        }
        s->ptr++, s->len--;
        if (++m->matched == m->delim_len)
            return delimiter(m);
    }
    return KV_OK;
}

/* PREAMBLE and DATA: up to the next delimiter, or all there is. */
static kv_err scan(kv_multipart *m, kv_slice *s)
{
    if (m->matched > 0)
        return resume_match(m, s);
    const char *hit = memmem(s->ptr, s->len, m->delim, m->delim_len);
    kv_slice data = *s;
    if (hit != NULL) {
        data.len = (size_t)(hit - s->ptr);
        s->ptr = hit + m->delim_len;
        s->len -= data.len + m->delim_len;
        KV_TRY(emit(m, data.ptr, data.len));
        return delimiter(m);
    }
    m->matched = tail_match(m, data);
    s->ptr += s->len;
    s->len = 0;
    return emit(m, data.ptr, data.len - m->matched);
}

static kv_err behind(kv_multipart *m, char c)
{
    switch (m->state) {
    case BEHIND:
        if (c == '-' && m->padding == 0) {
            m->state = BEHIND_END;
        } else if (c == '\r') {
            m->state = BEHIND_LF;
        } else if ((c == ' ' || c == '\t') && m->padding < PADDING_MAX) {
            m->padding++;
        } else {
            return bad(m, "A boundary is not followed by a line end.");
        }
        return KV_OK;
    case BEHIND_END:
        if (c != '-')
            return bad(m, "A boundary is not followed by a line end.");
        m->state = EPILOGUE;
        return KV_OK;
    default:
        if (c != '\n')
            return bad(m, "A boundary is not followed by a line end.");
        if (++m->parts > KV_PARTS_MAX)
            return bad(m, "There are more than 16 parts.");
        m->state = HEAD;
        kv_buf_clear(&m->head);
        return KV_OK;
    }
}

static kv_err head_done(kv_multipart *m)
{
    kv_part part;
    m->state = DATA;
    kv_slice text = kv_slice_of(m->head.data, m->head.len - 2);
    KV_TRY(kv_part_parse(text, &part, &m->why));
    return m->events->part_begin(m->arg, &part);
}

/* Collects the head of a part up to its empty line. */
static kv_err head(kv_multipart *m, kv_slice *s)
{
    while (s->len > 0) {
        const char *lf = memchr(s->ptr, '\n', s->len);
        size_t n = lf != NULL ? (size_t)(lf - s->ptr) + 1 : s->len;
        if (m->head.len + n > KV_PART_HEAD_MAX)
            return bad(m, "The head of a part is larger than 8 KiB.");
        kv_buf_add(&m->head, s->ptr, n);
        if (!kv_buf_ok(&m->head))
            return KV_E_NO_MEMORY;
        s->ptr += n;
        s->len -= n;
        if (lf == NULL)
            break;
        size_t len = m->head.len;
        if (len < 2 || m->head.data[len - 2] != '\r')
            return bad(m, "A line in the head of a part does not end in CR LF.");
        if (len == 2 || m->head.data[len - 3] == '\n')
            return head_done(m);
    }
    return KV_OK;
}

kv_err kv_multipart_push(kv_multipart *m, kv_slice s)
{
    while (s.len > 0) {
        switch (m->state) {
        case PREAMBLE:
        case DATA:
            KV_TRY(scan(m, &s));
            break;
        case HEAD:
            KV_TRY(head(m, &s));
            break;
        case EPILOGUE:
            return KV_OK;
        default:
            KV_TRY(behind(m, *s.ptr));
            s.ptr++, s.len--;
        }
    }
    return KV_OK;
}

kv_err kv_multipart_finish(kv_multipart *m)
{
    return m->state == EPILOGUE ? KV_OK : bad(m, "The body ends before its closing boundary.");
}
