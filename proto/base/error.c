#include "proto/base/error.h"

#include <errno.h>
#include <stddef.h>

static const kv_err_info rows[] = {
#define KV_ERR_ROW(name, number, http, slug, en, tr) {KV_E_##name, http, #name, slug, en, tr},
    KV_ERRORS(KV_ERR_ROW)
#undef KV_ERR_ROW
};

static const kv_err_info *find(kv_err code)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].code == code)
            return &rows[i];
    }
    return NULL;
}

const kv_err_info *kv_err_info_of(kv_err code)
{
    const kv_err_info *row = find(code);

    return row ? row : find(KV_E_INTERNAL);
}

kv_err kv_err_of_slug(kv_slice slug)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (kv_slice_is(slug, rows[i].slug))
            return rows[i].code;
    }
    return KV_E_INTERNAL;
}

kv_err kv_err_from_errno(int e)
{
    switch (e) {
    case 0:
        return KV_OK;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return KV_E_DISK_FULL;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return KV_E_NO_MEMORY;
    case ENOENT:
        return KV_E_NOT_FOUND;
    default:
        return KV_E_IO;
    }
}
