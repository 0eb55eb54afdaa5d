/* Messages made of choices: any value of any field, more often one that means something. A choice
 * is a byte of the input; at its end there are only zeros. */
#ifndef KV_TESTS_ANY_MESSAGE_H
#define KV_TESTS_ANY_MESSAGE_H

#include <stdlib.h>
#include <string.h>

#include "proto/base/id.h"
#include "proto/codec.h"
#include "proto/codec_table.h"

enum { IDS = 24, TEXTS = 1 << 20 };

typedef struct choices {
    const uint8_t *at, *end;
    int64_t wall_ms; /* the time of day */
    size_t used;
    char texts[TEXTS]; /* of the message being made */
} choices;

static inline void demand(bool good)
{
    if (!good)
        abort(); /* also where assert is compiled out */
}

static inline uint8_t pick(choices *c, unsigned n)
{
    return c->at < c->end ? (uint8_t)(*c->at++ % n) : 0;
}

static inline uint64_t raw(choices *c)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | pick(c, 256);
    return v;
}

static inline kv_slice keep(choices *c, const void *bytes, size_t len)
{
    demand(c->used + len <= TEXTS);
    char *to = c->texts + c->used;
    if (len)
        memcpy(to, bytes, len);
    c->used += len;
    return kv_slice_of(to, len);
}

typedef struct words {
    const char *field;
    const char *const *list;
} words;

static const char *const services[] = {
    "ai", "mail", "image-process", "blob-reap", "x1", "x2", "x3", "x4", "x5",
    "x6", "",     "A b",           "ai ",       NULL};
static const char *const roles[] = {"worker", "client", "gateway", "tool", "", NULL};
static const char *const names[] = {"a", "b", "c", "d", "", NULL};
static const char *const people[] = {"", "u1", "u\"2\\", "*", "a\nb", NULL};
static const char *const keys[] = {"", "k1", "k2", NULL};
static const char *const whats[] = {"queues", "workers", "leases", "tenants",
                                    "limits", "jobs",    "",       NULL};
static const char *const tags[] = {"", "a,b", "a,,b", ",", "\xc3\xa7", NULL};
static const char *const folders[] = {"genel", "a/b", "../x", "", NULL};
static const char *const files[] = {"a.jpg", "b \xc5\x9f.png", "", NULL};
static const char *const exts[] = {"jpg", "png", "", "J", NULL};
static const char *const jsons[] = {
    "{}",
    "{\"a\":1}",
    "{\"a\":{\"b\":[1,2.5,null]}}",
    "{\"a\":1,\"a\":2}",
    "{\"a\\u0000\":1}",
    "{\"a\":1e999}",
    "{\"a\":\"\\ud800\"}",
    "[]",
    "null",
    "{",
    "",
    "{\"mediaId\":\"0000000000001\"}",
    "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]"
    "]]]]]]]]]]]]]]}",
    NULL};
static const words known[] = {{"service", services},
                              {"role", roles},
                              {"name", names},
                              {"tenant", people},
                              {"user", people},
                              {"what", whats},
                              {"unique_key", keys},
                              {"key", keys},
                              {"tags", tags},
                              {"folder", folders},
                              {"filename", files},
                              {"ext", exts},
                              {"params", jsons},
                              {"result", jsons},
                              {"metadata", jsons},
                              {"patch", jsons},
                              {"operation", names},
                              {"reason", names},
                              {"before_service", services}};

static inline kv_slice word(choices *c, const char *const *list)
{
    unsigned n = 0;
    while (list[n])
        n++;
    return kv_slice_str(list[pick(c, n)]);
}

static inline kv_slice text(choices *c, const kv_field_info *f)
{
    size_t limit = f->limit ? (size_t)f->limit : 64;
    kv_slice s = kv_slice_str("x");
    uint8_t how = pick(c, 8);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].field, f->name) == 0 && how > 0)
            s = word(c, known[i].list);
    }
    if (how == 1 && limit <= TEXTS / 4) { /* as long as may be */
        char *long_text = malloc(limit);
        demand(long_text);
        memset(long_text, 'y', limit);
        s = keep(c, long_text, limit);
        free(long_text);
    }
    return s.len <= limit ? s : kv_slice_str("");
}

static inline uint64_t number(choices *c, const kv_field_info *f)
{
    uint64_t v = (uint64_t)f->def;
    switch (pick(c, 8)) {
    case 0:
        break;
    case 1:
        v = f->limit ? f->limit : UINT64_MAX;
        break;
    case 2:
        v = raw(c);
        break;
    case 3:
        v = (uint64_t)c->wall_ms + pick(c, 256);
        break;
    default:
        v = pick(c, IDS);
    }
    if (f->limit && (f->type == KV_FIELD_u64 || (int64_t)v > (int64_t)f->limit))
        v %= f->limit + 1;
    return v;
}

static inline void fill(choices *c, kv_msg *m);

/* Ids, hashes, bodies of SUBMITs, or bytes. */
static inline kv_slice bytes(choices *c, uint16_t code, const kv_field_info *f)
{
    char out[IDS * KV_ID_BYTES];
    kv_buf bodies;
    if (code == KV_SUBMIT_BATCH) {
        kv_buf_init(&bodies, 0);
        for (int n = pick(c, 5); n > 0; n--) {
            kv_msg one;
            kv_msg_defaults(KV_SUBMIT, &one);
            fill(c, &one);
            kv_body_encode(&one, &bodies);
        }
        demand(kv_buf_ok(&bodies));
        kv_slice s = keep(c, bodies.data, bodies.len);
        kv_buf_release(&bodies);
        return s;
    }
    if (code == KV_POSITION) {
        size_t n = pick(c, IDS);
        for (size_t i = 0; i < n; i++)
            kv_id_put(out, i, pick(c, IDS));
        return keep(c, out, n * KV_ID_BYTES);
    }
    size_t len = f->limit && f->limit < sizeof out ? (size_t)f->limit : 32;
    memset(out, pick(c, 3), sizeof out);
    return keep(c, out, pick(c, 8) ? len : len - 1);
}

static inline void fill(choices *c, kv_msg *m)
{
    const kv_message_info *info = kv_message_info_of(m->code);
    for (size_t i = 0; i < info->count; i++) {
        const kv_field_info *f = &info->fields[i];
        void *to = (char *)m + f->offset;
        if (f->type == KV_FIELD_u64 || f->type == KV_FIELD_i64)
            *(uint64_t *)to = number(c, f);
        else if (f->type == KV_FIELD_boolean)
            *(bool *)to = pick(c, 2);
        else if (f->type == KV_FIELD_str)
            *(kv_slice *)to = text(c, f);
        else
            *(kv_slice *)to = bytes(c, m->code, f);
    }
}

#endif
