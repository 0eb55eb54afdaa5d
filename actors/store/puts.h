/* Complete temporary files on their way from a writer to a placer: messages carry the upload id,
 * this table the kv_put behind it. Both halves of the store actor share it; any thread. */
#ifndef KV_ACTORS_STORE_PUTS_H
#define KV_ACTORS_STORE_PUTS_H

#include "storage/object.h"

typedef struct kv_puts kv_puts;

kv_err kv_puts_new(kv_puts **ret);
void kv_puts_destroy(kv_puts **puts); /* aborts what is still there */

kv_err kv_puts_add(kv_puts *puts, uint64_t upload,
                   kv_put *put); /* takes the put, unless it fails */
kv_put *
kv_puts_get(kv_puts *puts,
            uint64_t upload); /* borrowed: one upload belongs to one placer; NULL: unknown */
kv_put *kv_puts_take(kv_puts *puts, uint64_t upload); /* NULL: unknown */

#endif
