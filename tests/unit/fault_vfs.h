/* A file system under SQLite that refuses what a test wants refused: writing to, or syncing, the
 * write-ahead log. Any thread. */
#ifndef KV_TESTS_FAULT_VFS_H
#define KV_TESTS_FAULT_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

static atomic_int fault_write, fault_sync;            /* result code instead; 0: none */
static atomic_int fault_writes_left, fault_refused_n; /* writes that still pass; refusals so far */

typedef struct fault_file {
    sqlite3_file base;
    sqlite3_file *real;
    bool log;
} fault_file;

#define FAULT_REAL(f)            (((fault_file *)(f))->real)
#define FAULT_PASS(f, name, ...) FAULT_REAL(f)->pMethods->name(FAULT_REAL(f), ##__VA_ARGS__)

static int fault_close(sqlite3_file *f)
{
    return FAULT_REAL(f)->pMethods ? FAULT_PASS(f, xClose) : SQLITE_OK;
}
static int fault_read_at(sqlite3_file *f, void *to, int n, sqlite3_int64 at)
{
    return FAULT_PASS(f, xRead, to, n, at);
}
static int fault_write_at(sqlite3_file *f, const void *from, int n, sqlite3_int64 at)
{
    int rc = atomic_load(&fault_write);
    if (rc && ((fault_file *)f)->log && atomic_fetch_sub(&fault_writes_left, 1) <= 0) {
        atomic_fetch_add(&fault_refused_n, 1);
        return rc;
    }
    return FAULT_PASS(f, xWrite, from, n, at);
}
static int fault_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return FAULT_PASS(f, xTruncate, size);
}
static int fault_sync_file(sqlite3_file *f, int flags)
{
    int rc = atomic_load(&fault_sync);
    if (rc && ((fault_file *)f)->log) {
        atomic_fetch_add(&fault_refused_n, 1);
        return rc;
    }
    return FAULT_PASS(f, xSync, flags);
}
static int fault_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return FAULT_PASS(f, xFileSize, size);
}
static int fault_lock(sqlite3_file *f, int level)
{
    return FAULT_PASS(f, xLock, level);
}
static int fault_unlock(sqlite3_file *f, int level)
{
    return FAULT_PASS(f, xUnlock, level);
}
static int fault_reserved(sqlite3_file *f, int *out)
{
    return FAULT_PASS(f, xCheckReservedLock, out);
}
static int fault_control(sqlite3_file *f, int op, void *arg)
{
    return FAULT_PASS(f, xFileControl, op, arg);
}
static int fault_sector(sqlite3_file *f)
{
    return FAULT_PASS(f, xSectorSize);
}
static int fault_device(sqlite3_file *f)
{
    return FAULT_PASS(f, xDeviceCharacteristics);
}
static int fault_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return FAULT_PASS(f, xShmMap, page, size, extend, out);
}
static int fault_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return FAULT_PASS(f, xShmLock, offset, n, flags);
}
static void fault_shm_barrier(sqlite3_file *f)
{
    FAULT_PASS(f, xShmBarrier);
}
static int fault_shm_unmap(sqlite3_file *f, int remove_it)
{
    return FAULT_PASS(f, xShmUnmap, remove_it);
}

static const sqlite3_io_methods fault_methods = {
    2,
    fault_close,
    fault_read_at,
    fault_write_at,
    fault_truncate,
    fault_sync_file,
    fault_size,
    fault_lock,
    fault_unlock,
    fault_reserved,
    fault_control,
    fault_sector,
    fault_device,
    fault_shm_map,
    fault_shm_lock,
    fault_shm_barrier,
    fault_shm_unmap,
    NULL,
    NULL,
};

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    sqlite3_vfs *real = vfs->pAppData;
    fault_file *file = (fault_file *)f;
    file->real = (sqlite3_file *)(file + 1);
    file->log = (flags & SQLITE_OPEN_WAL) != 0;
    int rc = real->xOpen(real, name, file->real, flags, out);
    file->base.pMethods = file->real->pMethods ? &fault_methods : NULL;
    return rc;
}

/* Every database opened from now on is under it. Once a process. */
static inline void fault_vfs_install(void)
{
    static sqlite3_vfs vfs;
    sqlite3_initialize();
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    vfs = *real;
    vfs.zName = "fault";
    vfs.pAppData = real;
    vfs.szOsFile = (int)sizeof(fault_file) + real->szOsFile;
    vfs.xOpen = fault_open;
    sqlite3_vfs_register(&vfs, 1);
}

#endif
