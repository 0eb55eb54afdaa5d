/* A scratch folder for a test, and a configuration that points into it. */
#ifndef KV_TESTS_SCRATCH_H
#define KV_TESTS_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/config.h"

typedef struct scratch {
    char dir[256];
    kv_config cfg; /* data is dir; only what storage reads is set */
} scratch;

static inline int scratch_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static inline void scratch_make(scratch *s)
{
    const char *tmp = getenv("TMPDIR");
    memset(s, 0, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "%s/kervan-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(s->dir))
        abort();
    s->cfg.data = s->dir;
    s->cfg.durability = "full";
    s->cfg.database_url = "";
    s->cfg.media_base_url = "";
}

static inline void scratch_remove(scratch *s)
{
    nftw(s->dir, scratch_unlink, 32, FTW_DEPTH | FTW_PHYS);
}

/* "<dir>/<name>" in a static buffer. */
static inline const char *scratch_path(const scratch *s, const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    return path;
}

#endif
