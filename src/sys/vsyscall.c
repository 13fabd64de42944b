/* SPDX-License-Identifier: BSD-2-Clause
 * vsyscall.c -- the calls of the vsyscall page.
 * Role:    natively the kernel emulates them when the fetch faults; whether there is such a page
 *          depends on its configuration. The page itself is not touched: in most configurations
 *          it can't be read.
 * Sources: observed with tests/guests/sys_vsyscall.c; Linux, Documentation/admin-guide,
 *          `vsyscall=`. */
#include "sys/vsyscall.h"

#include "base/safe.h"
#include "guest/aspace.h"
#include "guest/cpu.h"
#include "guest/hostmaps.h"
#include "sys/signal.h"
#include "sys/sys.h"
#include "sys/sys_events.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define TRAP_PF 14
#define USER_WRITE 6
#define ENTRY_SHIFT 10
#define ENTRY_MASK 0xc00u

/* What each entry calls, and how many bytes its arguments point to. */
static const struct {
    u32 nr;
    u8 size[2];
} calls[] = {
    {SYS_gettimeofday, {16, 8}},
    {SYS_time, {8, 0}},
    {SYS_getcpu, {4, 4}},
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool page_runs;

static bool look_at(const HostMap *m, void *arg)
{
    if (m->start == MT_VSYSCALL_PAGE) {
        page_runs = (m->prot & PROT_EXEC) != 0;
    }
    return true;
}

static void look(void)
{
    hostmaps_foreach(look_at, NULL);
}

/* trapno, err and cr2 are those of the thread's last fault, but for an address that is not the
 * user's. */
static void raise_segv(Thread *t)
{
    const u64 cr2 = t->pending.cr2;

    signal_raise_sync(t, SIGSEGV, SI_KERNEL, 0, t->pending.trapno, t->pending.err);
    t->pending.cr2 = cr2;
}

static void raise_bad_address(Thread *t, u64 addr)
{
    signal_raise_sync(t, SIGSEGV, SEGV_MAPERR, addr, 0, USER_WRITE);
    t->pending.trapno = TRAP_PF;
    t->pending.cr2 = addr;
}

static i64 do_call(Thread *t, u32 nr)
{
    const u64 a[6] = {mt_cpu.gpr[MT_RDI], nr == SYS_time ? 0 : mt_cpu.gpr[MT_RSI]};
    i64 r;

    sys_events_before(t, nr, a);
    r = sys_pass(t, nr, a);
    sys_events_after(t, nr, a, r);
    return r;
}

bool vsyscall_call(Thread *t)
{
    u64 offset = mt_cpu.rip - MT_VSYSCALL_PAGE, sp = mt_cpu.gpr[MT_RSP], ret;
    u32 entry = (u32)(offset >> ENTRY_SHIFT);
    i64 r;

    if (offset >= MT_PAGE_SIZE) {
        return false;
    }
    pthread_once(&once, look);
    if (!page_runs) {
        return false;
    }
    if ((offset & ~(u64)ENTRY_MASK) != 0 || entry >= sizeof(calls) / sizeof(calls[0]) ||
        safe_read(&ret, sp, sizeof(ret)) != 0) {
        raise_segv(t);
        return true;
    }
    for (u32 i = 0; i < 2 && calls[entry].size[i] != 0; i++) {
        u64 p = mt_cpu.gpr[i == 0 ? MT_RDI : MT_RSI];

        if (p > aspace_task_size - calls[entry].size[i]) {
            raise_bad_address(t, p);
            return true;
        }
    }
    r = do_call(t, calls[entry].nr);
    if (r == -EFAULT) {
        raise_segv(t);
    } else if (r != MT_SYS_RESTART) { /* else a signal is to be delivered first */
        mt_cpu.gpr[MT_RAX] = (u64)r;
        mt_cpu.gpr[MT_RSP] = sp + sizeof(ret);
        mt_cpu.rip = ret;
    }
    return true;
}
