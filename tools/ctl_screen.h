/* What `kervan ctl top` shows, laid out for one screen. Pure. */
#ifndef KV_TOOLS_CTL_SCREEN_H
#define KV_TOOLS_CTL_SCREEN_H

#include <jansson.h>

#include "proto/base/buf.h"

/* `all`: the answer to `-j top`, its queues in the order in which they are shown. `title` stands
 * above. Appends at most `height` lines of at most `width` characters, each ended by a line feed:
 * names are shortened in their middle and columns left out until the rest fits (SERVICE and HEALTH
 * stay); what does not fit below is counted. */
void kv_ctl_screen(const json_t *all, const char *title, int width, int height, kv_buf *out);

#endif
