/* Turns a JSON log line into one for people: "10:00:01 gateway  upload_done  folder=banners
 * size=64.0K". */
#ifndef KV_TOOLS_READABLE_H
#define KV_TOOLS_READABLE_H

#include "proto/base/buf.h"

/* Appends the readable form of `line` (without its newline) and a newline; a line that is not JSON
 * goes through as it is. `color`: ANSI. */
void kv_readable_line(kv_slice line, bool color, kv_buf *out);

#endif
