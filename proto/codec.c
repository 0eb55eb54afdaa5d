/* Header and body. The packer is msgpack-c's; the reader is our own (mpread.h), because msgpack-c
 * allocates by the sizes a peer announces: five bytes made it reserve 4 GB. */
#include "proto/codec.h"

#include <assert.h>
#include <msgpack.h>

#include "proto/base/text.h"
#include "proto/codec_table.h"
#include "proto/mpread.h"

#define SHOWN_MAX 64 /* bytes of a str or bin in a log line */

/* ---- header ---- */

static void put_be(uint8_t *out, uint64_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, v >>= 8)
        out[i] = (uint8_t)v;
}

static uint64_t get_be(const uint8_t *in, int bytes)
{
    uint64_t v = 0;

    for (int i = 0; i < bytes; i++)
        v = v << 8 | in[i];
    return v;
}

void kv_header_encode(const kv_header *h, uint8_t out[KV_HEADER_SIZE])
{
    out[0] = 'K', out[1] = 'V', out[2] = KV_WIRE_VERSION, out[3] = 0;
    put_be(out + 4, h->code, 2);
    put_be(out + 6, 0, 2);
    put_be(out + 8, h->request, 8);
    put_be(out + 16, h->deadline_ms, 8);
    memcpy(out + 24, h->trace, 16);
    memcpy(out + 40, h->span, 8);
}

kv_err kv_header_decode(const void *bytes, size_t len, kv_header *ret)
{
    const uint8_t *in = bytes;

    if (len != KV_HEADER_SIZE || in[0] != 'K' || in[1] != 'V')
        return KV_E_BAD_MESSAGE;
    if (in[2] != KV_WIRE_VERSION)
        return KV_E_BAD_VERSION;
    /* flags and the reserved bytes are left to later versions: not looked at */
    ret->code = (uint16_t)get_be(in + 4, 2);
    ret->request = get_be(in + 8, 8);
    ret->deadline_ms = get_be(in + 16, 8);
    memcpy(ret->trace, in + 24, 16);
    memcpy(ret->span, in + 40, 8);
    return KV_OK;
}

/* ---- body ---- */

static const void *at(const kv_msg *m, const kv_field_info *f)
{
    return (const char *)m + f->offset;
}

static int write_to_buf(void *data, const char *bytes, size_t len)
{
    kv_buf *out = data;

    kv_buf_add(out, bytes, len);
    return kv_buf_ok(out) ? 0 : -1;
}

static void pack_field(msgpack_packer *pk, const kv_msg *m, const kv_field_info *f)
{
    const void *value = at(m, f);
    const kv_slice *s = value;

    switch (f->type) {
    case KV_FIELD_u64:
        assert(f->limit == 0 || *(const uint64_t *)value <= f->limit);
        msgpack_pack_uint64(pk, *(const uint64_t *)value);
        break;
    case KV_FIELD_i64:
        assert(f->limit == 0 || *(const int64_t *)value <= (int64_t)f->limit);
        msgpack_pack_int64(pk, *(const int64_t *)value);
        break;
    case KV_FIELD_boolean:
        if (*(const bool *)value)
            msgpack_pack_true(pk);
        else
            msgpack_pack_false(pk);
        break;
    case KV_FIELD_str:
        assert(s->len <= f->limit && kv_utf8_valid(*s));
        msgpack_pack_str(pk, s->len);
        if (s->len)
            msgpack_pack_str_body(pk, s->ptr, s->len);
        break;
    case KV_FIELD_bin:
        assert(s->len <= f->limit);
        msgpack_pack_bin(pk, s->len);
        if (s->len)
            msgpack_pack_bin_body(pk, s->ptr, s->len);
        break;
    }
}

void kv_body_encode(const kv_msg *m, kv_buf *out)
{
    const kv_message_info *info = kv_message_info_of(m->code);
    msgpack_packer pk;

    assert(info);
    msgpack_packer_init(&pk, out, write_to_buf);
    msgpack_pack_array(&pk, info->count);
    for (size_t i = 0; i < info->count; i++)
        pack_field(&pk, m, &info->fields[i]);
}

static bool read_number(const kv_field_info *f, const kv_mp_item *item, void *to, const char **why)
{
    bool is_signed = f->type == KV_FIELD_i64, negative = item->kind == KV_MP_NEGATIVE;

    if ((item->kind != KV_MP_UINT && !(is_signed && negative)) ||
        (is_signed && !negative && item->number > INT64_MAX)) {
        *why = f->bad_type;
        return false;
    }
    *why = f->bad_limit;
    if (negative) {
        *(int64_t *)to = item->negative;
        return true;
    }
    if (f->limit && item->number > f->limit)
        return false;
    if (is_signed)
        *(int64_t *)to = (int64_t)item->number;
    else
        *(uint64_t *)to = item->number;
    return true;
}

static bool read_field(kv_mp_reader *r, const kv_field_info *f, kv_msg *m, const char **why)
{
    void *to = (char *)m + f->offset;
    kv_mp_item item;

    if (!kv_mp_next(r, &item)) {
        *why = "the array ends in the middle of a value";
        return false;
    }
    switch (f->type) {
    case KV_FIELD_u64:
    case KV_FIELD_i64:
        return read_number(f, &item, to, why);
    case KV_FIELD_boolean:
        *why = f->bad_type;
        *(bool *)to = item.number != 0;
        return item.kind == KV_MP_BOOL;
    case KV_FIELD_str:
    case KV_FIELD_bin:
        break;
    }
    bool text = f->type == KV_FIELD_str;
    *why = item.kind != (text ? KV_MP_STR : KV_MP_BIN) ? f->bad_type
           : item.bytes.len > f->limit                 ? f->bad_limit
           : text && !kv_utf8_valid(item.bytes)        ? f->bad_text
                                                       : NULL;
    *(kv_slice *)to = item.bytes;
    return !*why;
}

static bool read_body(const kv_message_info *info, kv_mp_reader *r, kv_msg *m, const char **why)
{
    kv_mp_item array;

    if (!kv_mp_next(r, &array) || array.kind != KV_MP_ARRAY) {
        *why = "the body is not an array";
        return false;
    }
    if (array.number > KV_FIELDS_MAX) {
        *why = "the array has more than 64 elements";
        return false;
    }
    for (size_t i = 0; i < array.number; i++) {
        if (i < info->count) {
            if (!read_field(r, &info->fields[i], m, why))
                return false;
        } else if (!kv_mp_skip(r)) {
            *why = "an element behind the known ones is broken or nested too deeply";
            return false;
        }
    }
    *why = NULL;
    return true;
}

kv_err kv_body_decode_next(uint16_t code, const void *bytes, size_t len, kv_msg *ret,
                           size_t *ret_used, const char **why)
{
    const kv_message_info *info = kv_message_info_of(code);
    const char *unused;

    if (!why)
        why = &unused;
    *ret_used = 0;
    if (!info) {
        *why = "the code is not known";
        return KV_E_UNKNOWN_CODE;
    }
    if (len > KV_BODY_MAX) {
        *why = "the body is larger than 8 MiB";
        return KV_E_BAD_MESSAGE;
    }
    kv_msg_defaults(code, ret);
    const uint8_t *from = len ? bytes : (const void *)"";
    kv_mp_reader r = {from, from + len};
    bool good = read_body(info, &r, ret, why);
    if (!good) {
        r.at = from;
        if (!kv_mp_skip(&r))
            return KV_E_BAD_MESSAGE;
    }
    *ret_used = (size_t)(r.at - from);
    return good ? KV_OK : KV_E_BAD_MESSAGE;
}

kv_err kv_body_decode(uint16_t code, const void *bytes, size_t len, kv_msg *ret, const char **why)
{
    const char *unused;
    size_t used;

    if (!why)
        why = &unused;
    kv_err err = kv_body_decode_next(code, bytes, len, ret, &used, why);
    if (err == KV_OK && used != len) {
        *why = "bytes follow the array";
        return KV_E_BAD_MESSAGE;
    }
    return err;
}

void kv_msg_defaults(uint16_t code, kv_msg *m)
{
    const kv_message_info *info = kv_message_info_of(code);

    memset(m, 0, sizeof *m);
    m->code = code;
    for (size_t i = 0; info && i < info->count; i++) {
        const kv_field_info *f = &info->fields[i];
        void *to = (char *)m + f->offset;
        if (f->type == KV_FIELD_u64)
            *(uint64_t *)to = (uint64_t)f->def;
        else if (f->type == KV_FIELD_i64)
            *(int64_t *)to = f->def;
        else if (f->type == KV_FIELD_boolean)
            *(bool *)to = f->def != 0;
    }
}

static void describe_field(const kv_msg *m, const kv_field_info *f, kv_buf *out)
{
    const void *value = at(m, f);
    const kv_slice *s = value;

    kv_json_key(out, f->name);
    switch (f->type) {
    case KV_FIELD_u64:
        kv_json_u64(out, *(const uint64_t *)value);
        break;
    case KV_FIELD_i64:
        kv_json_i64(out, *(const int64_t *)value);
        break;
    case KV_FIELD_boolean:
        kv_json_bool(out, *(const bool *)value);
        break;
    case KV_FIELD_str:
        kv_json_str(out, s->ptr ? kv_utf8_cut(*s, SHOWN_MAX) : kv_slice_str(""));
        break;
    case KV_FIELD_bin:
        kv_json_hex(out, s->ptr, s->len < SHOWN_MAX ? s->len : SHOWN_MAX);
        break;
    }
}

void kv_msg_describe(const kv_msg *m, kv_buf *out)
{
    const kv_message_info *info = kv_message_info_of(m->code);

    kv_json_open(out, '{');
    kv_json_key(out, "message");
    kv_json_cstr(out, kv_code_name(m->code));
    for (size_t i = 0; info && i < info->count; i++)
        describe_field(m, &info->fields[i], out);
    kv_json_close(out, '}');
}
