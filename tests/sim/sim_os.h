/* The operating system under the processes of a simulation that have files: the real calls, linked
 * with --wrap, that know whose they are. They fail now and then, end their process in their midst
 * (kill -9), and tell the fake time: of files, too. */
#ifndef KV_TESTS_SIM_OS_H
#define KV_TESTS_SIM_OS_H

#include <setjmp.h>

#include "tests/sim/sim.h"

/* Once a history. */
void sim_os_start(sim *s);
void sim_os_stop(void);

/* Calls from here on are this process's (1 …). At the `kill_at`-th of them (0: at none) it is
 * killed: longjmp to `back`. Of a thousand, `failing` fail. What it allocates may leak. */
void sim_os_enter(int process, uint64_t kill_at, unsigned failing, jmp_buf *back);
void sim_os_leave(void);
void sim_os_kill(int process); /* closes what it had open, and gives its locks back with that */

#endif
