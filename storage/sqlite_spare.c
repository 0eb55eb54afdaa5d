/* Room for one more start: a database at rest has neither log nor index, and on a disk that is full
 * to the last block neither can be made. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "storage/sqlite.h"

/* The index is 32 KiB, what a start commits some pages; the rest is for the jobs that are at work.
 */
enum {
    SPARE_BYTES = 4 << 20,
    LEAVE_BYTES = 16 << 20 /* the spare is made where so much is free beside it */
};

static bool path_of(const kv_config *cfg, kv_buf *out)
{
    return kv_sqlite_path(cfg, "kervan.spare", out);
}

/* Blocks, not a length: a file of zeros may be none at all where the file system compresses. */
static int fill(int fd)
{
    int err = posix_fallocate(fd, 0, SPARE_BYTES);
    return err == 0 && fsync(fd) != 0 ? errno : err;
}

static void make(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    int err = fd >= 0 ? fill(fd) : errno;
    if (fd >= 0)
        close(fd);
    if (err == 0)
        return;
    if (fd >= 0)
        (void)unlink(path);
    kv_log(KV_LOG_WARN, "spare_missing", KV_STR("path", path), KV_STR("error", strerror(err)));
}

bool kv_db_spare_keep(const kv_config *cfg, int64_t free_bytes)
{
    struct stat st;
    kv_buf path;
    if (free_bytes - (cfg->disk_reserve_mb << 20) < SPARE_BYTES + LEAVE_BYTES)
        return false;
    if (path_of(cfg, &path) && stat(path.data, &st) != 0 && errno == ENOENT)
        make(path.data);
    kv_buf_release(&path);
    return true;
}

bool kv_db_spare_give(const kv_config *cfg)
{
    kv_buf path;
    bool given = path_of(cfg, &path) && unlink(path.data) == 0;
    if (given)
        kv_log(KV_LOG_WARN, "spare_used", KV_STR("path", path.data));
    kv_buf_release(&path);
    return given;
}
