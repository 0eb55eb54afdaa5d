/* What operators set for queues. The ledger's thread, inside its transaction. */
#ifndef KV_STORAGE_WRITE_SETTINGS_H
#define KV_STORAGE_WRITE_SETTINGS_H

#include "storage/read/settings.h"

/* Makes or changes the row; -1 in a field leaves it as it is. */
kv_err kv_setting_set(kv_db *db, const kv_setting *setting);

#endif
