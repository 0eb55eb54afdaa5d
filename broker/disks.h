/* The thread that looks at the disks once a second, so that one which hangs holds up nobody else.
 */
#ifndef KV_BROKER_DISKS_H
#define KV_BROKER_DISKS_H

#include "storage/room.h"

typedef struct kv_disks kv_disks;
/* Says in the log when a disk gets low, and when it has room again; then it sees to the spare room,
 * too (kv_db_spare_keep). */
kv_err kv_disks_start(const kv_config *cfg, kv_disks **ret);
void kv_disks_stop(kv_disks **self);
/* As it was seen last; any thread. Before the first look nothing is known and none is low. */
kv_room kv_disks_room(kv_disks *self);

#endif
