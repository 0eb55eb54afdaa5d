/* The rows of config_table.h as data, for the files config*.c only. */
#ifndef KV_BASE_CONFIG_ROWS_H
#define KV_BASE_CONFIG_ROWS_H

#include "proto/base/config.h"

typedef enum kv_config_type {
    KV_CONFIG_STR,
    KV_CONFIG_LIST,
    KV_CONFIG_ENUM,
    KV_CONFIG_INT,
    KV_CONFIG_BOOL
} kv_config_type;

typedef struct kv_config_row {
    const char *env;
    kv_config_type type;
    const char *unit, *def; /* an ENUM's unit holds its words */
    int64_t min, max;
    bool secret;
    const char *readers, *text;
    size_t offset; /* of the member in kv_config */
} kv_config_row;

extern const kv_config_row kv_config_rows[];
extern const size_t kv_config_row_count;

/* What concerns single variables or several together; types and ranges are checked already. Adds
 * lines to both. */
void kv_config_check(const kv_config *cfg, kv_buf *problems, kv_buf *warnings);
/* Reports KERVAN_* names that are not in the table. `name` is not NUL-terminated. */
void kv_config_check_name(kv_slice name, kv_buf *problems);

#endif
