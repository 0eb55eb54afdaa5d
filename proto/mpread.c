#include "proto/mpread.h"

#define DEPTH_MAX 8

static bool take_be(kv_mp_reader *r, unsigned bytes, uint64_t *ret)
{
    uint64_t v = 0;

    if ((size_t)(r->end - r->at) < bytes)
        return false;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | *r->at++;
    *ret = v;
    return true;
}

static bool take_bytes(kv_mp_reader *r, uint64_t len, kv_slice *ret)
{
    if ((uint64_t)(r->end - r->at) < len)
        return false;
    *ret = kv_slice_of((const char *)r->at, (size_t)len);
    r->at += len;
    return true;
}

/* str, bin or ext whose length stands in the next `bytes` bytes */
static bool sized(kv_mp_reader *r, kv_mp_kind kind, unsigned bytes, kv_mp_item *ret)
{
    uint64_t len, type;

    ret->kind = kind;
    return take_be(r, bytes, &len) && (kind != KV_MP_EXT || take_be(r, 1, &type)) &&
           take_bytes(r, len, &ret->bytes);
}

static bool fixed_ext(kv_mp_reader *r, unsigned len, kv_mp_item *ret)
{
    uint64_t type;

    ret->kind = KV_MP_EXT;
    return take_be(r, 1, &type) && take_bytes(r, len, &ret->bytes);
}

static bool number(kv_mp_reader *r, kv_mp_kind kind, unsigned bytes, kv_mp_item *ret)
{
    ret->kind = kind;
    return take_be(r, bytes, &ret->number);
}

static bool signed_number(kv_mp_reader *r, unsigned bytes, kv_mp_item *ret)
{
    if (!number(r, KV_MP_UINT, bytes, ret))
        return false;
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
    if (ret->number & sign) {
        ret->kind = KV_MP_NEGATIVE;
        ret->negative = (int64_t)((ret->number ^ sign) - sign); /* extends the sign */
        ret->number = 0;
    }
    return true;
}

static bool skip_float(kv_mp_reader *r, unsigned bytes, kv_mp_item *ret)
{
    ret->kind = KV_MP_FLOAT;
    return take_bytes(r, bytes, &ret->bytes);
}

/* The forms that hold everything in their first byte. */
static bool fixed_form(kv_mp_reader *r, uint8_t b, kv_mp_item *ret)
{
    if (b < 0x80) {
        ret->kind = KV_MP_UINT, ret->number = b;
    } else if (b < 0x90) {
        ret->kind = KV_MP_MAP, ret->number = b & 0x0f;
    } else if (b < 0xa0) {
        ret->kind = KV_MP_ARRAY, ret->number = b & 0x0f;
    } else if (b < 0xc0) {
        ret->kind = KV_MP_STR;
        return take_bytes(r, b & 0x1f, &ret->bytes);
    } else {
        ret->kind = KV_MP_NEGATIVE, ret->negative = (int64_t)b - 256;
    }
    return true;
}

bool kv_mp_next(kv_mp_reader *r, kv_mp_item *ret)
{
    *ret = (kv_mp_item){.kind = KV_MP_NIL};
    if (r->at == r->end)
        return false;
    uint8_t b = *r->at++;
    if (b < 0xc0 || b >= 0xe0)
        return fixed_form(r, b, ret);
    switch (b) {
    case 0xc0:
        return true;
    case 0xc2:
    case 0xc3:
        ret->kind = KV_MP_BOOL, ret->number = b & 1;
        return true;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return sized(r, KV_MP_BIN, 1u << (b - 0xc4), ret);
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return sized(r, KV_MP_EXT, 1u << (b - 0xc7), ret);
    case 0xca:
    case 0xcb:
        return skip_float(r, 4u << (b - 0xca), ret);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return number(r, KV_MP_UINT, 1u << (b - 0xcc), ret);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return signed_number(r, 1u << (b - 0xd0), ret);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return fixed_ext(r, 1u << (b - 0xd4), ret);
    case 0xd9:
    case 0xda:
    case 0xdb:
        return sized(r, KV_MP_STR, 1u << (b - 0xd9), ret);
    case 0xdc:
    case 0xdd:
        return number(r, KV_MP_ARRAY, 2u << (b - 0xdc), ret);
    case 0xde:
    case 0xdf:
        return number(r, KV_MP_MAP, 2u << (b - 0xde), ret);
    default: /* 0xc1 is never used */
        return false;
    }
}

bool kv_mp_skip(kv_mp_reader *r)
{
    uint64_t left[DEPTH_MAX] = {1}; /* items still to come, a level each */
    int depth = 0;

    while (depth >= 0) {
        kv_mp_item item;
        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        if (!kv_mp_next(r, &item))
            return false;
        if (item.kind != KV_MP_ARRAY && item.kind != KV_MP_MAP)
            continue;
        if (++depth == DEPTH_MAX)
            return false;
        left[depth] = item.kind == KV_MP_MAP ? item.number * 2 : item.number;
    }
    return true;
}
