/* SPDX-License-Identifier: BSD-2-Clause
 * procfs.h -- which files under /proc say something else to the guest than to the kernel. */
#ifndef MT_PROCFS_H
#define MT_PROCFS_H

#include "base/base.h"
#include "sched/thread.h"

#include <stdio.h>

typedef enum ProcKind {
    PROC_OTHER, /* not ours: as the kernel has it */
    PROC_EXE,   /* .../exe: the guest's program */
    PROC_MAPS,  /* these are generated when they are opened */
    PROC_SMAPS,
    PROC_AUXV,
    PROC_CMDLINE,
    PROC_ENVIRON,
    PROC_STAT,
    PROC_HIDDEN_FD, /* .../fd/N with N one of the runtime's descriptors: does not exist */
} ProcKind;

enum { PROC_LINK_MAX = 32 };

/* Classifies what a guest's (directory descriptor, path) pair names. Only files of the calling
 * process count. No system call unless the path looks like one of them. */
ProcKind procfs_classify(int dirfd, u64 path);

/* The same for a host string. */
ProcKind procfs_classify_path(int dirfd, const char *path);

/* Is `fd` open on an fd or fdinfo directory of the calling process? */
bool procfs_is_fd_dir(int fd);

/* Is it open on a task directory, of whatever process? */
bool procfs_is_task_dir(int fd);

/* A path at which the guest's program can be opened, executed, and its name read by readlink. */
void procfs_exe_link(char out[PROC_LINK_MAX]);

/* The same with the program's own name, if that still leads to it. */
void procfs_exe_path(char *out, size_t size);

/* `fd` has just been opened on the kernel's file of this (generated) kind: puts a read-only file
 * with the guest's version in its place. fd; or -errno, and fd is closed. */
i64 procfs_generate(ProcKind kind, int fd, bool cloexec);

/* The same with this text. */
i64 procfs_replace(const void *text, size_t len, int fd, bool cloexec);

/* maps and smaps (procmaps.c): writes the guest's version of the kernel's text `in`. initial_sp is
 * an address in what is to be called [stack]. 0 or -ENOMEM. */
int procmaps_write(FILE *out, char *in, GuestAddr initial_sp);

#endif
