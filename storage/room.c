#include "storage/room.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "storage/disk.h"

enum { FILES_MIN = 128 };

kv_space kv_space_of(const struct statvfs *v)
{
    return (kv_space){.bytes = (int64_t)v->f_bavail * (int64_t)v->f_frsize,
                      .files = v->f_files > 0 ? (int64_t)v->f_favail : -1};
}

kv_space kv_space_at(const char *path)
{
    struct statvfs v;
    return statvfs(path, &v) == 0 ? kv_space_of(&v) : (kv_space){-1, -1};
}

bool kv_space_low(kv_space space, const kv_config *cfg, uint64_t more)
{
    uint64_t reserve = (uint64_t)cfg->disk_reserve_mb << 20;
    if (reserve == 0 || space.bytes < 0)
        return false;
    return (uint64_t)space.bytes < reserve + more || (space.files >= 0 && space.files < FILES_MIN);
}

/* Root may write whatever the mode says, but not to a disk that is read-only. Uploads are written
 * to one of these and linked from it. */
static int error_of_writing(const char *media)
{
    static const char *const folders[] = {".", KV_DISK_TMP, ".variants"};
    int fd = open(media, O_PATH | O_DIRECTORY | O_CLOEXEC), e = fd < 0 ? errno : 0;
    for (size_t i = 0; e == 0 && i < sizeof folders / sizeof *folders; i++)
        if (faccessat(fd, folders[i], W_OK | X_OK, AT_EACCESS) != 0 && errno != ENOENT)
            e = errno;
    if (fd >= 0)
        close(fd);
    return e == ENOENT ? 0 : e;
}

kv_room kv_room_look(const kv_config *cfg)
{
    kv_room r = {.disk = kv_space_at(cfg->data), .media = {-1, -1}};
    struct stat data, media;
    kv_buf path;
    kv_buf_init(&path, 0);
    kv_buf_addf(&path, "%s/%s", cfg->data, KV_DISK_ROOT);
    bool both = kv_buf_ok(&path) && stat(cfg->data, &data) == 0 && stat(path.data, &media) == 0;
    if (both)
        r.media = kv_space_at(path.data);
    if (kv_buf_ok(&path))
        r.media_error = error_of_writing(path.data);
    kv_buf_release(&path);
    r.disk_low = kv_space_low(r.disk, cfg, 0);
    r.apart = both && data.st_dev != media.st_dev;
    r.media_low = r.apart && kv_space_low(r.media, cfg, 0);
    return r;
}

const kv_room_words kv_media_not_writable = {
    "media_not_writable",
    "Uploads fail and pictures wait until kervan's user may write to the media folder: look at its "
    "owner and mode, and whether its disk is mounted read-only (the kernel's log says why); "
    "nothing has to be restarted"};

const kv_room_words kv_disk_full = {
    "disk_full", "New jobs and uploads are refused, and pictures wait, until there is space; "
                 "nothing has to be restarted"};

const kv_room_words *kv_room_say(const kv_room *room)
{
    static const kv_room_words media = {
        "media_disk_low",
        "Make space on the disk of the media folder: new uploads are refused, and pictures wait, "
        "until there is some; nothing has to be restarted"};
    if (room->media_error)
        return &kv_media_not_writable;
    return room->disk_low ? &kv_disk_full : room->media_low ? &media : NULL;
}
