/* kervan's own rows and event of an upload for bare.c, written by the code of its ledger
 * (broker/exec) without the thread, the messages and the checkpoints around it. One thread. */
#ifndef KV_BENCH_BARE_ROWS_H
#define KV_BENCH_BARE_ROWS_H

#include <stddef.h>

/* Each ends the program when something fails. */
void bare_rows_open(const char *folder); /* makes kervan.db there */
void bare_rows_begin(void);
void bare_rows_add(const unsigned char hash[32], size_t size);
void bare_rows_commit(void);

#endif
