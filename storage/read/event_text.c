#include "storage/read/event_text.h"

#include <string.h>

static const char TYPE[] = "{\"type\":\"";
enum { TYPE_LEN = sizeof TYPE - 1 };

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

/* One element: what it lacks goes before and behind its type, where it was. */
static void add_event(uint64_t id, kv_slice at, kv_slice event, kv_buf *out)
{
    const char *type_end = memchr(event.ptr + TYPE_LEN, '"', event.len - TYPE_LEN);
    if (!type_end)
        type_end = event.ptr + event.len - 1; /* torn: a reader of it will see */
    size_t head = (size_t)(type_end + 1 - event.ptr);
    kv_buf_adds(out, "{\"id\":");
    kv_buf_addu(out, id);
    kv_buf_addc(out, ',');
    kv_buf_add(out, event.ptr + 1, head - 1);
    kv_buf_adds(out, ",\"at\":");
    kv_buf_add(out, at.ptr, at.len);
    kv_buf_add(out, event.ptr + head, event.len - head);
}

void kv_event_text(uint64_t first, int64_t at_ms, kv_slice kept, kv_buf *out)
{
    kv_buf at;
    kv_buf_clear(out);
    if (kept.len < 2 || !begins(kept, 1)) { /* of before, with all its members */
        kv_buf_add(out, kept.ptr, kept.len);
        return;
    }
    kv_buf_init(&at, 0);
    kv_json_time(&at, at_ms);
    kv_buf_addc(out, '[');
    for (size_t from = 1; from < kept.len && begins(kept, from); first++) {
        size_t end = kv_event_end(kept, from);
        add_event(first, kv_buf_slice(&at), kv_slice_of(kept.ptr + from, end - from), out);
        if (end < kept.len)
            kv_buf_addc(out, kept.ptr[end]);
        from = end + 1;
    }
    if (!kv_buf_ok(&at))
        out->failed = true;
    kv_buf_release(&at);
}
