/* How SQLite opens its files: in place on Btrfs, and with its reason when it cannot. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "storage/sqlite.h"

static bool ends_in(const char *path, const char *tail)
{
    size_t n = strlen(path), m = strlen(tail);
    return n >= m && strcmp(path + n - m, tail) == 0;
}

/* The log and its index are written over and over in place. Btrfs would write each page elsewhere
 * instead, and on a full disk there is nowhere: for the index, which is mapped, that is SIGBUS.
 * The database keeps its checksums. The flag holds for files that are empty yet; without it all
 * works but that. */
static void write_in_place(int fd, const char *path)
{
    struct statfs fs;
    struct stat st;
    int flags;
    if ((!ends_in(path, "-wal") && !ends_in(path, "-shm")) || fstat(fd, &st) != 0 || st.st_size > 0)
        return;
    if (fstatfs(fd, &fs) != 0 || fs.f_type != BTRFS_SUPER_MAGIC ||
        ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
        return;
    flags |= FS_NOCOW_FL;
    (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* SQLite forgets it: what it could not make it tries to read, and that is not there. */
static _Thread_local int not_opened;

static int open_file(const char *path, int flags, int mode)
{
    int fd = open(path, flags, mode), kept = errno;
    if (fd >= 0 || kept != ENOENT)
        not_opened = fd >= 0 ? 0 : kept;
    if (fd >= 0 && (flags & O_CREAT))
        write_in_place(fd, path);
    errno = kept;
    return fd;
}

int kv_sqlite_not_opened(void)
{
    return not_opened;
}

void kv_sqlite_open_our_way(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    if (vfs && vfs->iVersion >= 3 && vfs->xSetSystemCall)
        (void)vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_file);
}
