/* retry: a job done again, or many dead letters of a queue. */
#ifndef KV_BROKER_ADMIN_RETRY_H
#define KV_BROKER_ADMIN_RETRY_H

#include "broker/admin_cmd.h"

void kv_admin_retry(kv_admin_call *call);

#endif
