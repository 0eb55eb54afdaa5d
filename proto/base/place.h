/* Which database file a data folder holds: processes of one kervan must have the same. */
#ifndef KV_BASE_PLACE_H
#define KV_BASE_PLACE_H

#include <stdint.h>

/* Never 0, and 1 where there is none. For this machine, while it runs. Any thread. */
uint64_t kv_place_of(const char *data);

#endif
