/* SPDX-License-Identifier: BSD-2-Clause
 * aspace.h -- the guest's address space: what the guest has mapped, and where new mappings go.
 * Role:    every change of the guest's mappings goes through here; the kernel stays the authority
 *          for data accesses, this map is the authority for placement and for execute permission.
 * Locking: one mutex, aspace_lock; taken by all functions below unless named _locked.
 *          The change hook is called with it held. */
#ifndef MT_ASPACE_H
#define MT_ASPACE_H

#include "base/base.h"

typedef struct AspaceInfo {
    GuestAddr start, end; /* the mapping that contains the address */
    int prot;             /* as the guest asked for: PROT_* */
    int flags;            /* MAP_SHARED or MAP_PRIVATE, MAP_ANONYMOUS, MAP_GROWSDOWN, ... */
    u64 dev, ino;         /* file mappings */
    u64 offset;           /* file offset of start */
    char *path; /* of files that are or were executable, or NULL; valid while the lock is held */
} AspaceInfo;

/* Called after [start, end) has lost or changed its contents or its execute permission (munmap,
 * mmap over it, mremap, mprotect that changes PROT_EXEC or PROT_WRITE, MADV_DONTNEED and the like),
 * with the new protection (-1: unmapped). aspace_lock is held. */
typedef void (*AspaceChangeHook)(GuestAddr start, GuestAddr end, int new_prot);

/* Once, behind layout_init(). */
void aspace_init(AspaceChangeHook hook);

/* What happens to the guest's mappings, in this order for everyone (aspace_lock is held). */
typedef enum AspaceEvent {
    ASPACE_MAPPED, /* [start, start + len) is new, or has new contents: zeroes or the file's */
    ASPACE_UNMAPPED,
    ASPACE_PROTECTED,
    ASPACE_MOVED, /* what was at [from, from + len) is at start; `from` is unmapped behind this */
} AspaceEvent;
typedef void (*AspaceEventHook)(AspaceEvent what, GuestAddr start, u64 len, int prot,
                                GuestAddr from);

/* Set once, before guest code runs; NULL: nobody wants to know. */
extern AspaceEventHook aspace_event_hook;

/* The system calls, same arguments and results (address or -errno) as the kernel's, but every
 * address is chosen here, and a range that belongs to the runtime is refused: -ENOMEM for
 * MAP_FIXED, -EEXIST for MAP_FIXED_NOREPLACE, munmap of it does nothing, mprotect gives -ENOMEM. */
i64 aspace_mmap(GuestAddr addr, u64 len, int prot, int flags, int fd, u64 off);
i64 aspace_munmap(GuestAddr addr, u64 len);
i64 aspace_mprotect(GuestAddr addr, u64 len, int prot, int pkey /* -1: none */);
i64 aspace_mremap(GuestAddr old, u64 old_len, u64 new_len, int flags, GuestAddr new_addr);
i64 aspace_madvise(GuestAddr addr, u64 len, int advice);
i64 aspace_brk(GuestAddr addr);
/* Before the guest starts: its heap begins at `start` (page-aligned) if that is in the image
 * window. */
void aspace_start_brk(GuestAddr start);
i64 aspace_shmat(int shmid, GuestAddr addr, int flags);
i64 aspace_shmdt(GuestAddr addr);
i64 aspace_remap_file_pages(GuestAddr addr, u64 size, int prot, u64 pgoff, int flags);

/* Makes the main thread's stack: a growing mapping of the rlimit's size below layout's stack_top.
 * Returns its top, or 0 with a message printed. */
GuestAddr aspace_make_stack(bool executable);

/* Looks an address up. False: not mapped by the guest. `path` is not filled (NULL). */
bool aspace_query(GuestAddr addr, AspaceInfo *out);
/* The same for the first mapping that ends above addr. False: there is none. */
bool aspace_query_from(GuestAddr addr, AspaceInfo *out);

/* Does `addr` have PROT_EXEC? Counts everything outside guest regions that the runtime lets the
 * guest execute (vDSO, vsyscall page excluded) as well: aspace_note() registers such ranges. */
bool aspace_is_exec(GuestAddr addr);
void aspace_note(GuestAddr start, u64 len, int prot, int flags, const char *path);

/* The file (or noted range, the vDSO) whose executable mapping holds an address. */
typedef struct AspaceImage {
    GuestAddr header; /* where the file's beginning is mapped below it; 0: nowhere */
    u64 dev, ino;     /* 0: not a file */
    char path[4096];  /* cut off if it is longer; empty: not known */
} AspaceImage;

/* Fills *out. False: `pc` is not executable, or not in a file's mapping. */
bool aspace_image(GuestAddr pc, AspaceImage *out);

/* Walks all mappings in order; `fn` returns false to stop. */
void aspace_foreach(bool (*fn)(const AspaceInfo *, void *), void *arg);

/* SMC: changes the host's protection of guest pages without changing what the guest asked for. The
 * caller holds the lock (aspace_lock/unlock). */
void aspace_lock(void);
void aspace_unlock(void);
bool aspace_query_locked(GuestAddr addr, AspaceInfo *out);
int aspace_host_protect_locked(GuestAddr page, u64 len, bool write_allowed);

/* Is any part of [addr, addr+len) the runtime's own (not guest memory, but mapped)? */
bool aspace_is_runtime(GuestAddr addr, u64 len);

/* A thread of the guest's is setting READ_IMPLIES_EXEC by personality(2): from here on the kernel
 * is asked at each mapping whether the calling thread has it. */
void aspace_personality_used(void);

/* The guest has a seccomp filter: from here on the kernel is asked for mappings with flags that the
 * guest has given, as filters look at them. */
void aspace_filtered(void);

/* fork: the child calls this to make the lock usable again; the parent held it across fork. */
void aspace_after_fork_child(void);

extern u64 aspace_task_size; /* end of user space; set by aspace_init() */

#endif
