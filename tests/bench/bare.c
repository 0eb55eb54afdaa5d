/* The limit of line U3: what two cores can do at all for small durable uploads with rows. HTTP as
 * floor.c has it (a head, Content-Length, nothing refused), but in the best structure known for
 * this one job: some threads receive whole bodies and hash them, others make the files durable, one
 * gives a group its names and syncs the folder once, one writes a group's rows in one transaction
 * of SQLite (WAL, synchronous FULL). 201 goes out when file, name and row are durable. Each part
 * can be left out, so that its cost can be seen.
 *
 *   bare PORT FOLDER [name=value...]   the first value is the default
 *
 *   hash=1|0     SHA-256 of the body
 *   sync=fsync|fdatasync|syncfs|none
 *                how the bytes become durable; syncfs: one for a group
 *   early=0|1    write-back starts before the file is handed over
 *   direct=0|1   O_DIRECT: past the page cache
 *   file=final|temp|tmpfile|pack
 *                the final name at once (the hash is known by then), a
 *                temporary name and rename, O_TMPFILE and linkat, or no file
 *                of its own at all: appended to one big file
 *   dir=1|0      sync of the folder
 *   row=1|0|kervan
 *                one row of a table of our own, or all that kervan writes for an
 *                upload: blob, alias, placement, media, folder, event
 *   net=2        threads that receive and hash
 *   syncers=8    threads that sync
 *   gather=0     us a syncfs group waits for more */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bare_rows.h"

enum { ALIGN = 4096, BODY_MAX = 1 << 20, HEAD_MAX = 4096, GROUP = 256, PACK_STEP = 1 << 30 };

typedef struct conn {
    struct conn *next;
    int fd, file;
    size_t have, length; /* bytes in `head` and `body`; length of the body */
    size_t head_len;     /* of the last request: where the body of the next one probably starts */
    char *head, *body;   /* one piece: HEAD_MAX bytes, then the body at an aligned address */
    unsigned char hash[32];
    char hex[65];
    char temp[32];
    EVP_MD_CTX *sha;
} conn;

typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t more;
    conn *first, **last;
} queue;

typedef enum { SYNC_FSYNC, SYNC_FDATASYNC, SYNC_SYNCFS, SYNC_NONE } sync_kind;
typedef enum { ROW_NONE, ROW_ONE, ROW_KERVAN } row_kind;
typedef enum { FILE_FINAL, FILE_TEMP, FILE_TMPFILE, FILE_PACK } file_kind;

static const char *folder;
static int folder_fd, pack_fd, listener;
static long long pack_end;
static bool hash = true, early, direct, with_dir = true;
static row_kind row_as = ROW_ONE;
static sync_kind sync_by = SYNC_FSYNC;
static file_kind file_as = FILE_FINAL;
static int net_threads = 2, syncers = 8, gather;
static queue to_sync, to_name, to_row;
static sqlite3 *db;
static sqlite3_stmt *insert;
static unsigned long counter;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void put(queue *q, conn *list)
{
    pthread_mutex_lock(&q->lock);
    if (!q->first)
        q->last = &q->first;
    *q->last = list;
    for (; list; list = list->next)
        q->last = &list->next;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_signal(&q->more);
}

static conn *take(queue *q, bool all)
{
    pthread_mutex_lock(&q->lock);
    while (!q->first)
        pthread_cond_wait(&q->more, &q->lock);
    conn *c = q->first;
    if (all) {
        q->first = NULL;
    } else {
        q->first = c->next;
        c->next = NULL;
    }
    pthread_mutex_unlock(&q->lock);
    return c;
}

static void answer(conn *list)
{
    static const char ok[] = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    for (conn *next; list; list = next) {
        next = list->next;
        list->next = NULL;
        list->have = list->length = 0;
        if (send(list->fd, ok, sizeof ok - 1, MSG_NOSIGNAL) < 0)
            perror("answer");
    }
}

/* Rows: the last station. */

static void step(const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, why);
        exit(1);
    }
}

static void open_rows(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/rows.db", folder);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        fail(path);
    step("PRAGMA journal_mode=WAL");
    step("PRAGMA synchronous=FULL");
    step("CREATE TABLE media(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, size INTEGER NOT "
         "NULL,"
         " folder TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL)");
    sqlite3_prepare_v2(
        db, "INSERT INTO media(hash,size,folder,name,created) VALUES(?,?,'bench','a.png',?)", -1,
        &insert, NULL);
}

static void kervan_rows(const conn *list)
{
    bare_rows_begin();
    for (const conn *c = list; c; c = c->next)
        bare_rows_add(c->hash, c->length);
    bare_rows_commit();
}

static void rows(conn *list)
{
    if (row_as == ROW_KERVAN) {
        kervan_rows(list);
        return;
    }
    step("BEGIN IMMEDIATE");
    for (conn *c = list; c; c = c->next) {
        sqlite3_bind_blob(insert, 1, c->hex, 64, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 2, (sqlite3_int64)c->length);
        sqlite3_bind_int64(insert, 3, (sqlite3_int64)time(NULL));
        if (sqlite3_step(insert) != SQLITE_DONE)
            fprintf(stderr, "row: %s\n", sqlite3_errmsg(db));
        sqlite3_reset(insert);
    }
    step("COMMIT");
}

static void *row_thread(void *arg)
{
    queue *q = arg;
    for (;;) {
        conn *list = take(q, true);
        rows(list);
        answer(list);
    }
    return NULL;
}

static void named(conn *list)
{
    if (row_as != ROW_NONE)
        put(&to_row, list);
    else
        answer(list);
}

/* Names and the folder. */

static void name_file(conn *c)
{
    if (file_as == FILE_TEMP && renameat(folder_fd, c->temp, folder_fd, c->hex) != 0)
        fail("rename");
    if (file_as == FILE_TMPFILE && linkat(c->file, "", folder_fd, c->hex, AT_EMPTY_PATH) != 0)
        fail("linkat");
    if (file_as != FILE_PACK)
        close(c->file);
}

static void name_group(conn *list)
{
    for (conn *c = list; c; c = c->next)
        name_file(c);
    if (with_dir && sync_by != SYNC_NONE && file_as != FILE_PACK && fsync(folder_fd) != 0)
        fail("fsync of the folder");
    named(list);
}

static void *name_thread(void *arg)
{
    queue *q = arg;
    for (;;)
        name_group(take(q, true));
    return NULL;
}

/* Bytes made durable. */

static void *sync_thread(void *arg)
{
    queue *q = arg;
    for (;;) {
        conn *c = take(q, false);
        if ((sync_by == SYNC_FSYNC ? fsync(c->file) : fdatasync(c->file)) != 0)
            fail("fsync");
        put(&to_name, c);
    }
    return NULL;
}

/* One sync of the whole file system for a group. The sync of the folder behind it is needed in any
 * case: ext4 without a journal sends the flush of syncfs before it writes inodes. */
static void *group_thread(void *arg)
{
    queue *q = arg;
    for (;;) {
        if (gather)
            usleep((useconds_t)gather);
        conn *list = take(q, true);
        if (file_as == FILE_PACK ? fdatasync(pack_fd) != 0 : syncfs(folder_fd) != 0)
            fail("syncfs");
        put(&to_name, list);
    }
    return NULL;
}

/* Receiving, hashing, writing. */

static void digest(conn *c)
{
    unsigned char *d = c->hash;
    if (hash) {
        EVP_DigestInit_ex(c->sha, EVP_sha256(), NULL);
        EVP_DigestUpdate(c->sha, c->body, c->length);
        EVP_DigestFinal_ex(c->sha, d, NULL);
    } else { /* the place where load puts what no other picture has */
        memcpy(d, c->body + 53, 32);
    }
    for (int i = 0; i < 32; i++) {
        c->hex[2 * i] = "0123456789abcdef"[d[i] >> 4];
        c->hex[2 * i + 1] = "0123456789abcdef"[d[i] & 15];
    }
}

static void open_file(conn *c)
{
    int flags = O_WRONLY | O_CLOEXEC | (direct ? O_DIRECT : 0);
    if (file_as == FILE_PACK) {
        c->file = pack_fd;
        return;
    }
    if (file_as == FILE_TMPFILE) {
        c->file = openat(folder_fd, ".", flags | O_TMPFILE, 0644);
    } else {
        if (file_as == FILE_TEMP)
            snprintf(c->temp, sizeof c->temp, "tmp-%lu",
                     __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED));
        c->file = openat(folder_fd, file_as == FILE_TEMP ? c->temp : c->hex,
                         flags | O_CREAT | O_EXCL, 0644);
    }
    if (c->file < 0)
        fail("open");
}

static void write_file(conn *c)
{
    size_t room = (c->length + ALIGN - 1) / ALIGN * ALIGN, len = direct ? room : c->length;
    long long at =
        file_as == FILE_PACK ? __atomic_fetch_add(&pack_end, (long long)room, __ATOMIC_RELAXED) : 0;
    if (pwrite(c->file, c->body, len, at) != (ssize_t)len)
        fail("write");
    if (len > c->length && file_as != FILE_PACK && ftruncate(c->file, (off_t)c->length) != 0)
        fail("truncate");
    if (early)
        sync_file_range(c->file, at, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

static void received(conn *c)
{
    digest(c);
    open_file(c);
    write_file(c);
    c->next = NULL;
    if (sync_by != SYNC_NONE) {
        put(&to_sync, c);
    } else if (row_as != ROW_NONE) {
        name_file(c);
        put(&to_row, c);
    } else {
        name_file(c);
        answer(c);
    }
}

static void gone(conn *c)
{
    close(c->fd);
    EVP_MD_CTX_free(c->sha);
    free(c->head);
    free(c);
}

/* The head ends at an unknown place; the body goes to its aligned one. */
static bool parse(conn *c, const char *start)
{
    char *end = memmem(start, c->have, "\r\n\r\n", 4);
    if (!end)
        return false;
    size_t head_len = (size_t)(end + 4 - start);
    char *length = memmem(start, head_len, "Content-Length:", 15);
    c->length = length ? (size_t)atoll(length + 15) : 0;
    if (c->length == 0 || c->length > BODY_MAX) {
        fprintf(stderr, "bare: no body or too long\n");
        exit(1);
    }
    c->have -= head_len;
    if (end + 4 != c->body)
        memmove(c->body, end + 4, c->have);
    c->head_len = head_len;
    int low = (int)(c->length - c->have);
    if (low > 1)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low);
    return true;
}

static void readable(conn *c)
{
    char *start = c->body - c->head_len;
    bool in_body = c->length > 0;
    char *to = in_body ? c->body + c->have : start + c->have;
    size_t want = in_body ? c->length - c->have : (size_t)(c->body + BODY_MAX - to);
    ssize_t n = recv(c->fd, to, want, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        gone(c);
        return;
    }
    c->have += (size_t)n;
    if (!in_body && !parse(c, start))
        return;
    if (c->have == c->length)
        received(c);
}

static void add_connection(int ep)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), one = 1;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conn *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->head = aligned_alloc(ALIGN, HEAD_MAX + BODY_MAX);
    c->body = c->head + HEAD_MAX;
    c->sha = EVP_MD_CTX_new();
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void *net_thread(void *arg)
{
    (void)arg;
    int ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = NULL}, events[8];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 8, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                readable(events[i].data.ptr);
            else
                add_connection(ep);
        }
    }
    return NULL;
}

static void open_pack(void)
{
    pack_fd = openat(folder_fd, "pack", O_WRONLY | O_CREAT | (direct ? O_DIRECT : 0), 0644);
    if (pack_fd < 0 || fallocate(pack_fd, 0, 0, 4LL * PACK_STEP) != 0 || fsync(pack_fd) != 0)
        fail("pack");
}

static int choice(const char *value, const char *const *names)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0)
            return i;
    }
    fprintf(stderr, "bare: unknown value %s\n", value);
    exit(2);
}

static void option(const char *arg)
{
    static const char *const syncs[] = {"fsync", "fdatasync", "syncfs", "none", NULL};
    static const char *const files[] = {"final", "temp", "tmpfile", "pack", NULL};
    static const char *const row_kinds[] = {"0", "1", "kervan", NULL};
    static const struct {
        const char *name;
        bool *flag;
        int *number;
    } all[] = {{"hash=", &hash, NULL},       {"early=", &early, NULL},
               {"direct=", &direct, NULL},   {"dir=", &with_dir, NULL},
               {"net=", NULL, &net_threads}, {"syncers=", NULL, &syncers},
               {"gather=", NULL, &gather}};
    if (strncmp(arg, "sync=", 5) == 0) {
        sync_by = (sync_kind)choice(arg + 5, syncs);
        return;
    }
    if (strncmp(arg, "file=", 5) == 0) {
        file_as = (file_kind)choice(arg + 5, files);
        return;
    }
    if (strncmp(arg, "row=", 4) == 0) {
        row_as = (row_kind)choice(arg + 4, row_kinds);
        return;
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t n = strlen(all[i].name);
        if (strncmp(arg, all[i].name, n) == 0) {
            if (all[i].flag)
                *all[i].flag = arg[n] == '1';
            else
                *all[i].number = atoi(arg + n);
            return;
        }
    }
    fprintf(stderr, "bare: unknown option %s\n", arg);
    exit(2);
}

static void start(void *(*run)(void *), queue *q, const char *name, int count)
{
    for (int i = 0; i < count; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, run, q) != 0)
            fail("thread");
        pthread_setname_np(t, name);
        pthread_detach(t);
    }
}

static void init(queue *q)
{
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->more, NULL);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bare PORT FOLDER [name=value...]\n");
        return 2;
    }
    folder = argv[2];
    for (int i = 3; i < argc; i++)
        option(argv[i]);
    char files[600];
    snprintf(files, sizeof files, "%s/files", folder);
    if (mkdir(files, 0755) != 0)
        fail(files);
    folder_fd = open(files, O_RDONLY | O_DIRECTORY);
    if (folder_fd < 0)
        fail(files);
    if (file_as == FILE_PACK)
        open_pack();
    if (row_as == ROW_KERVAN)
        bare_rows_open(folder);
    else
        open_rows();
    init(&to_sync);
    init(&to_name);
    init(&to_row);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)atoi(argv[1])),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 512) != 0)
        fail("listen");
    bool group = sync_by == SYNC_SYNCFS || file_as == FILE_PACK;
    start(group ? group_thread : sync_thread, &to_sync, "sync", group ? 1 : syncers);
    start(name_thread, &to_name, "name", 1);
    start(row_thread, &to_row, "row", 1);
    start(net_thread, NULL, "net", net_threads);
    pause();
    return 0;
}
