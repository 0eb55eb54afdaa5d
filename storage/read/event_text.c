#include "storage/read/event_text.h"

#include <string.h>

#include "proto/base/id.h"

static const char TYPE[] = "{\"type\":\"";
enum {
    TYPE_LEN = sizeof TYPE - 1,
    LIKE_ID = 6, /* {"0":" */
    LIKE_OWN = LIKE_ID + KV_ID_TEXT + 1
};

typedef struct likes {
    struct {
        kv_slice event;
        kv_event_parts at;
    } like[KV_EVENT_LIKES];
    int n;
} likes;

static bool begins(kv_slice text, size_t at)
{
    return text.len - at >= TYPE_LEN && memcmp(text.ptr + at, TYPE, TYPE_LEN) == 0;
}

size_t kv_event_end(kv_slice array, size_t from)
{
    int depth = 0;
    bool text = false;
    for (size_t i = from; i < array.len; i++) {
        char c = array.ptr[i];
        if (text) {
            i += c == '\\';
            text = c != '"';
        } else if (c == '"') {
            text = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth-- == 0)
                return i;
        } else if (c == ',' && depth == 0) {
            return i;
        }
    }
    return array.len;
}

/* ---- the parts of a job's event ---- */

static bool pass(kv_slice text, size_t *at, const char *literal)
{
    size_t len = strlen(literal);
    if (text.len - *at < len || memcmp(text.ptr + *at, literal, len) != 0)
        return false;
    *at += len;
    return true;
}

static bool pass_to_quote(kv_slice text, size_t *at)
{
    const char *end = memchr(text.ptr + *at, '"', text.len - *at);
    if (end)
        *at = (size_t)(end - text.ptr);
    return end != NULL;
}

static void pass_digits(kv_slice text, size_t *at)
{
    while (*at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9')
        ++*at;
}

bool kv_event_parts_of(kv_slice event, kv_event_parts *ret)
{
    size_t at = 0;
    if (!pass(event, &at, TYPE) || !pass_to_quote(event, &at))
        return false;
    ret->type_end = at + 1;
    if (!pass(event, &at, "\",\"jobId\":\""))
        return false;
    ret->id = at;
    if (!pass_to_quote(event, &at) || at != ret->id + KV_ID_TEXT ||
        !pass(event, &at, "\",\"service\":\"") || !pass_to_quote(event, &at) ||
        !pass(event, &at, "\",\"status\":\"") || !pass_to_quote(event, &at) ||
        !pass(event, &at, "\",\"attempt\":"))
        return false;
    pass_digits(event, &at);
    if (pass(event, &at, ",\"lane\":\"")) {
        if (!pass_to_quote(event, &at))
            return false;
        at++;
    }
    ret->own = at;
    return at < event.len;
}

/* ---- read ---- */

static void add_parts(uint64_t id, kv_slice at, kv_slice type, kv_buf *out)
{
    kv_buf_adds(out, "{\"id\":");
    kv_buf_addu(out, id);
    kv_buf_addc(out, ',');
    kv_buf_add(out, type.ptr + 1, type.len - 1);
    kv_buf_adds(out, ",\"at\":");
    kv_buf_add(out, at.ptr, at.len);
}

/* What it lacks goes before and behind its type, where it was. */
static void add_whole(likes *l, uint64_t id, kv_slice at, kv_slice event, kv_buf *out)
{
    const char *type_end = memchr(event.ptr + TYPE_LEN, '"', event.len - TYPE_LEN);
    if (!type_end)
        type_end = event.ptr + event.len - 1; /* torn: a reader of it will see */
    size_t head = (size_t)(type_end + 1 - event.ptr);
    add_parts(id, at, kv_slice_of(event.ptr, head), out);
    kv_buf_add(out, event.ptr + head, event.len - head);
    if (l->n < KV_EVENT_LIKES && kv_event_parts_of(event, &l->like[l->n].at))
        l->like[l->n++].event = event;
}

/* False: it refers to none, it is torn. */
static bool add_like(const likes *l, uint64_t id, kv_slice at, kv_slice event, kv_buf *out)
{
    int i = event.len > LIKE_OWN ? event.ptr[2] - '0' : -1;
    if (i < 0 || i >= l->n)
        return false;
    const char *like = l->like[i].event.ptr;
    kv_event_parts parts = l->like[i].at;
    size_t behind_id = parts.id + KV_ID_TEXT;
    add_parts(id, at, kv_slice_of(like, parts.type_end), out);
    kv_buf_add(out, like + parts.type_end, parts.id - parts.type_end);
    kv_buf_add(out, event.ptr + LIKE_ID, KV_ID_TEXT);
    kv_buf_add(out, like + behind_id, parts.own - behind_id);
    kv_buf_add(out, event.ptr + LIKE_OWN, event.len - LIKE_OWN);
    return true;
}

/* Of before migration 7, with all its members: only its ids are no longer what they were, if the
 * log was moved since. */
static void add_of_before(uint64_t first, kv_slice kept, kv_buf *out)
{
    size_t copied = 0;
    for (size_t from = 1; from < kept.len; from = kv_event_end(kept, from) + 1, first++) {
        size_t at = from;
        if (!pass(kept, &at, "{\"id\":"))
            break;
        kv_buf_add(out, kept.ptr + copied, at - copied);
        kv_buf_addu(out, first);
        pass_digits(kept, &at);
        copied = at;
    }
    kv_buf_add(out, kept.ptr + copied, kept.len - copied);
}

void kv_event_text(uint64_t first, int64_t at_ms, kv_slice kept, kv_buf *out)
{
    kv_buf at;
    likes l = {.n = 0};
    kv_buf_clear(out);
    if (kept.len < 2 || !begins(kept, 1)) {
        add_of_before(first, kept, out);
        return;
    }
    kv_buf_init(&at, 0);
    kv_json_time(&at, at_ms);
    kv_buf_addc(out, '[');
    for (size_t from = 1; from < kept.len; first++) {
        size_t end = kv_event_end(kept, from);
        kv_slice event = kv_slice_of(kept.ptr + from, end - from);
        if (begins(event, 0))
            add_whole(&l, first, kv_buf_slice(&at), event, out);
        else if (!add_like(&l, first, kv_buf_slice(&at), event, out))
            break;
        if (end < kept.len)
            kv_buf_addc(out, kept.ptr[end]);
        from = end + 1;
    }
    if (!kv_buf_ok(&at))
        out->failed = true;
    kv_buf_release(&at);
}
