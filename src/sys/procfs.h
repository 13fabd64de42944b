/* SPDX-License-Identifier: BSD-2-Clause
 * procfs.h -- which paths under /proc say something else to the guest than to the kernel. */
#ifndef MT_PROCFS_H
#define MT_PROCFS_H

#include "base/base.h"
#include "sched/thread.h"

typedef enum ProcKind {
    PROC_OTHER,     /* not ours: as the kernel has it */
    PROC_EXE,       /* .../exe: the guest's program */
    PROC_MAPS,      /* these are generated when they are opened */
    PROC_SMAPS,
    PROC_AUXV,
    PROC_CMDLINE,
    PROC_ENVIRON,
    PROC_STAT,
    PROC_HIDDEN_FD, /* .../fd/N with N one of the runtime's descriptors: does not exist */
} ProcKind;

enum { PROC_LINK_MAX = 32 };

/* Classifies what a guest's (directory descriptor, path) pair names. Only files of the calling process
 * count. No system call unless the path looks like one of them. */
ProcKind procfs_classify(Thread *t, int dirfd, u64 path);

/* The same for a host string. */
ProcKind procfs_classify_path(Thread *t, int dirfd, const char *path);

/* Is `path` (as the kernel prints it) an fd or fdinfo directory of the calling process? */
bool procfs_is_fd_dir(Thread *t, const char *path);

/* A path at which the guest's program can be opened, executed and its name read by readlink. */
void procfs_exe_link(char out[PROC_LINK_MAX]);

/* A descriptor of it, or -1. */
int procfs_exe_fd(void);

/* A read-only descriptor with the text of a generated file; `real` is a path at which the kernel's own
 * version can be read. Flags: O_CLOEXEC is honoured. fd or -errno. */
i64 procfs_open_generated(Thread *t, ProcKind kind, const char *real, int flags);

/* maps and smaps (procmaps.c): writes the guest's version of the kernel's text `in` to `out_fd`.
 * 0 or -errno. */
int procmaps_write(const char *in, size_t len, bool is_smaps, int out_fd);

#endif
