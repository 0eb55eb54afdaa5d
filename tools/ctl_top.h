/* `kervan ctl top`: the queues, drawn again each second until q. */
#ifndef KV_TOOLS_CTL_TOP_H
#define KV_TOOLS_CTL_TOP_H

#include "tools/ctl_reply.h"

/* Whether this is a terminal that can be drawn on. */
bool kv_ctl_top_possible(void);
/* `command`: "top", or "top SERVICE". */
kv_ctl_end kv_ctl_top(kv_ctl_link *link, const char *command);

#endif
