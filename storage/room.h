/* Room on the disks that kervan writes to: the data folder's, and the media folder's where that is
 * another one (a mount, or a link); and whether media may be written at all. Any thread. */
#ifndef KV_STORAGE_ROOM_H
#define KV_STORAGE_ROOM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

#include "proto/base/config.h"

/* What is free for us; -1: not known. */
typedef struct kv_space {
    int64_t bytes;
    int64_t files; /* inodes; -1 also where they are made as needed */
} kv_space;

kv_space kv_space_of(const struct statvfs *v);
kv_space kv_space_at(const char *path);
/* Less than DISK_RESERVE_MB would be left after `more` bytes, or hardly a file can be made (below
 * 128 inodes). False where it is not known, or DISK_RESERVE_MB is 0. */
bool kv_space_low(kv_space space, const kv_config *cfg, uint64_t more);

typedef struct kv_room {
    kv_space disk, media;
    bool apart; /* media have a disk of their own */
    bool disk_low;
    bool media_low;  /* only if apart */
    int media_error; /* errno of writing to the media folder; 0: it can be, or is not made yet */
} kv_room;
kv_room kv_room_look(const kv_config *cfg);

/* What a report says of media that cannot be written, or else a disk that is low: its name, and
 * what follows with the remedy. */
typedef struct kv_room_words {
    const char *slug, *en;
} kv_room_words;
const kv_room_words *kv_room_say(const kv_room *room); /* NULL: all is well */
extern const kv_room_words kv_disk_full, kv_media_not_writable;

#endif
