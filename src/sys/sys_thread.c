/* SPDX-License-Identifier: BSD-2-Clause
 * sys_thread.c -- system calls about the calling thread itself: its segment bases, its end, prctl.
 * Role:       what the kernel would keep for a thread and the runtime keeps instead. */
#include "base/safe.h"
#include "guest/aspace.h"
#include "guest/cpu.h"
#include "guest/elf.h"
#include "jit/diskcache.h"
#include "sys/sys.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Newer than Debian 12's headers; values from the kernel's <asm/prctl.h> and <linux/prctl.h>. */
#define MT_ARCH_MAP_VDSO_FIRST 0x2001
#define MT_ARCH_MAP_VDSO_LAST 0x2003
#define MT_ARCH_SHSTK_ENABLE 0x5001
#define MT_ARCH_SHSTK_STATUS 0x5005
#define MT_PR_GET_AUXV 0x41555856

#define USER_SPACE_END 0x7ffffffff000ull /* TASK_SIZE_MAX with four levels of page tables */

i64 sys_arch_prctl(Thread *t, const u64 a[6])
{
    int code = (int)a[0];
    u64 value;
    if (code >= MT_ARCH_MAP_VDSO_FIRST && code <= MT_ARCH_MAP_VDSO_LAST) {
        return -EINVAL; /* a mapping at an address that we did not choose */
    }
    switch (code) {
    case ARCH_SET_FS: return a[1] >= USER_SPACE_END ? -EPERM : cpu_set_fs_base(a[1]);
    case ARCH_SET_GS:
        if (a[1] >= USER_SPACE_END) {
            return -EPERM;
        }
        mt_cpu.gs_base = a[1];
        return 0;
    case ARCH_GET_FS:
    case ARCH_GET_GS:
        value = code == ARCH_GET_FS ? mt_cpu.fs_base : mt_cpu.gs_base;
        return safe_write(a[1], &value, sizeof(value));
    case MT_ARCH_SHSTK_ENABLE: { /* translated calls and returns do not match the shadow stack */
        const u64 b[6] = {MT_ARCH_SHSTK_STATUS, 0};
        return sys_pass(t, SYS_arch_prctl, b) == -EINVAL ? -EINVAL : -EOPNOTSUPP;
    }
    default: return sys_pass(t, SYS_arch_prctl, a);
    }
}

i64 sys_personality(Thread *t, const u64 a[6])
{
    const u32 persona = (u32)a[0];
    i64 old = sys_pass(t, SYS_personality, a);
    if (old >= 0 && persona != 0xffffffff && (persona & READ_IMPLIES_EXEC)) {
        aspace_personality_used();
    }
    return old;
}

/* What the kernel takes for no segment at all (LDT_empty() in its <asm/desc.h>). */
static bool is_empty(const struct user_desc *d, bool old)
{
    return d->base_addr == 0 && d->limit == 0 &&
           (old || (d->contents == 0 && d->read_exec_only && !d->seg_32bit && !d->limit_in_pages &&
                    d->seg_not_present && !d->useable && !d->lm));
}

/* Only flat segments can be loaded, so entries can be cleared, not made. What the kernel would
 * refuse, it refuses. */
i64 sys_modify_ldt(Thread *t, const u64 a[6])
{
    enum { WRITE_OLD = 1, WRITE = 0x11 };
    bool old = (int)a[0] == WRITE_OLD;
    struct user_desc d;
    if ((!old && (int)a[0] != WRITE) || a[2] != sizeof(d) || safe_read(&d, a[1], sizeof(d)) != 0) {
        return sys_pass(t, SYS_modify_ldt, a);
    }
    bool refused = d.entry_number >= LDT_ENTRIES ||
                   (d.contents == 3 && (old || !d.seg_not_present));
    const u64 own[6] = {a[0], (u64)&d, a[2]};
    return refused || is_empty(&d, old) ? sys_pass(t, SYS_modify_ldt, own) : -ENOSYS;
}

i64 sys_set_tid_address(Thread *t, const u64 a[6])
{
    t->clear_child_tid = a[0];
    return t->tid;
}

i64 sys_exit(Thread *t, const u64 a[6])
{
    t->exit_code = (int)a[0];
    t->exiting = true;
    return MT_SYS_EXIT;
}

i64 sys_exit_group(Thread *t, const u64 a[6])
{
    sched_exit_group(t, (int)a[0]);
}

/* ---- seccomp ---- */

static _Atomic bool filtered; /* by the guest; never goes away */

bool sys_is_filtered(void)
{
    return atomic_load_explicit(&filtered, memory_order_relaxed); /* a setting, no order */
}

static i64 set_filter(Thread *t, int nr, const u64 a[6])
{
    i64 r = sys_pass(t, nr, a);
    if (r >= 0) {
        atomic_store_explicit(&filtered, true, memory_order_relaxed);
        aspace_filtered();
        diskcache_off();
    }
    return r;
}

i64 sys_seccomp(Thread *t, const u64 a[6])
{
    return (u32)a[0] == SECCOMP_SET_MODE_FILTER ? set_filter(t, SYS_seccomp, a)
                                                : sys_pass(t, SYS_seccomp, a);
}

/* ---- prctl ---- */

/* The kernel returns the size of its own array, which is zero behind the vector's end; old kernels
 * refuse. */
static i64 get_auxv(u64 buf, u64 size)
{
    i64 full = sys_raw(SYS_prctl, MT_PR_GET_AUXV, 0, 0, 0, 0, 0);
    if (full < 0) {
        return full;
    }
    u64 n = size < (u64)full ? size : (u64)full;
    n = n < sizeof(mt_guest_auxv) ? n : sizeof(mt_guest_auxv);
    return n && safe_write(buf, mt_guest_auxv, n) ? -EFAULT : full;
}

i64 sys_prctl(Thread *t, const u64 a[6])
{
    switch ((int)a[0]) {
    case PR_SET_MM:
        /* Would describe the runtime's program, not the guest's. */
        return -EPERM;
    case PR_SET_SYSCALL_USER_DISPATCH:
        /* Would catch the runtime's own system calls; as on a kernel without it, but it may be
         * off. */
        return a[1] || a[2] || a[3] || a[4] ? -EINVAL : 0;
    case PR_GET_TID_ADDRESS:
        return safe_write(a[1], &t->clear_child_tid, sizeof(t->clear_child_tid));
    case MT_PR_GET_AUXV: return a[3] || a[4] ? -EINVAL : get_auxv(a[1], a[2]);
    case PR_SET_SECCOMP: return set_filter(t, SYS_prctl, a);
    default: return sys_pass(t, SYS_prctl, a);
    }
}
