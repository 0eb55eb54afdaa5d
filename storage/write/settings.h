/* What operators set for queues. The ledger's thread, inside its transaction. */
#ifndef KV_STORAGE_WRITE_SETTINGS_H
#define KV_STORAGE_WRITE_SETTINGS_H

#include "storage/read/settings.h"

/* Makes or changes the row; -1 in a field leaves it as it is. A row that says nothing any more goes
 * (*ret_removed). That of a tenant without limits does only where it had some before, and where no
 * rule for "*" is there: else it is an exemption. */
kv_err kv_setting_set(kv_db *db, const kv_setting *setting, bool *ret_removed);

#endif
