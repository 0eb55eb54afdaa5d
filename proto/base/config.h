/* Configuration: environment variables, one table (config_table.h) for parser, `kervan config`,
 * .env.example and the manual.
 *
 * All problems are found at once. Unknown KERVAN_* names are reported with the nearest known one.
 * Secrets are never printed (shown as "***"). Read once at start, then read-only: any thread. */
#ifndef KV_BASE_CONFIG_H
#define KV_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/config_table.h"
#include "proto/base/error.h"

/* Member types by table type. STR and LIST are owned by the config; LIST is comma separated,
 * without blanks. */
typedef const char *kv_cfg_STR;
typedef const char *kv_cfg_LIST;
typedef const char *kv_cfg_ENUM;
typedef int64_t kv_cfg_INT;
typedef bool kv_cfg_BOOL;

typedef struct kv_config {
#define KV_CONFIG_MEMBER(env, member, type, unit, def, min, max, secret, readers, text)            \
    kv_cfg_##type member;
    KV_CONFIG(KV_CONFIG_MEMBER)
#undef KV_CONFIG_MEMBER
    char *store; /* what the strings live in */
} kv_config;

/* An empty value counts as not set. KERVAN_READY_FD and KERVAN_SUPERVISED, which the supervisor
 * gives its children, are not looked at. Reads `envp` (NAME=value, NULL ends; usually environ). On
 * CONFIG every problem is a line in `problems` (Turkish and English are not needed here: operators
 * read English), each naming the variable, what is wrong and what is allowed. Warnings (REDIS_URL
 * unused …) go to `warnings`. Derived defaults (endpoints under KERVAN_DATA) are filled in. */
kv_err kv_config_load(kv_config *cfg, char *const *envp, kv_buf *problems, kv_buf *warnings);
void kv_config_release(kv_config *cfg);
bool kv_config_sqlite(const kv_config *cfg); /* DATABASE_URL means the one in KERVAN_DATA */

void kv_config_print(const kv_config *cfg, kv_buf *out); /* NAME=value # text; secrets masked */
void kv_config_example(kv_buf *out);                     /* .env.example */
void kv_config_manual(kv_buf *out);                      /* a Markdown table for docs/ */
/* Takes the next item off the front of `*list`; false at its end. For lists as kv_config holds
 * them. */
bool kv_list_next(const char **list, kv_slice *ret_item);
bool kv_list_has(const char *list, kv_slice item); /* LIST membership, exact */

#endif
