/* What a child may still do once it has its descriptors: compute, read one, write two. */
#ifndef KV_IMAGE_SANDBOX_H
#define KV_IMAGE_SANDBOX_H

#include <stdbool.h>

#include "actors/image/wire.h"

/* Limits memory, CPU time and file size of this process, then allows the listed system calls only;
 * opening files answers EACCES, any other call is reported to `report` (FAILED, IMAGE_CRASH, its
 * number in `size`) and ends the process. For good. false: it could not be set up. */
bool kv_image_sandbox(const kv_image_settings *s, int report);

#endif
