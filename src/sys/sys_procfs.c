/* SPDX-License-Identifier: BSD-2-Clause
 * sys_procfs.c -- the system calls that take a path which may be one of procfs.c's, and directory
 *                 listings, which may show hidden descriptors and threads.
 * Role:       everything else about paths is the kernel's. */
#include "base/atomics.h"
#include "base/safe.h"
#include "sched/world.h"
#include "guest/elf.h"
#include "sys/procfs.h"
#include "sys/ptrace_slot.h"
#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define FDCWD ((u64)(i64)AT_FDCWD)

/* ---- tracees that run under mtvg (docs/PTRACE.md) ---- */

enum { PEER_PATH_ROOM = 64 };

/* Is it /proc/PID/<name> or /proc/PID/task/TID/<name> of another process? PID, else 0. */
static pid_t peer_file(const char *path, const char *name)
{
    int pid = 0, tid, dir = 0, task_dir = 0;
    if (sscanf(path, "/proc/%d/%ntask/%d/%n", &pid, &dir, &tid, &task_dir) < 1 ||
        strcmp(path + (task_dir ? task_dir : dir), name) != 0) {
        return 0;
    }
    return pid != sys_raw(SYS_getpid, 0, 0, 0, 0, 0, 0) ? pid : 0;
}

/* The guest's path, if it may be such a one. */
static bool peer_path(u64 path, char out[PEER_PATH_ROOM])
{
    return safe_read_str(out, path, PEER_PATH_ROOM) > 0 && strncmp(out, "/proc/", 6) == 0;
}

/* /proc/PID/exe of a tracee: a link to its program, not to mtvg. */
static bool peer_exe_link(u64 path, char out[PEER_PATH_ROOM])
{
    pid_t pid = peer_path(path, out) ? peer_file(out, "exe") : 0;
    int fd = pid ? ptrace_peer_exe(pid) : -1;
    snprintf(out, PEER_PATH_ROOM, "/proc/%d/fd/%d", pid, fd);
    return fd >= 0;
}

/* ---- open ---- */

static bool only_reads(u64 flags)
{
    return (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_PATH | O_DIRECTORY | O_CREAT));
}

/* Another process's file. */
static i64 open_others(Thread *t, u64 nr, const u64 a[6], u64 path, u64 flags, u64 mode)
{
    char name[PEER_PATH_ROOM];
    u64 auxv[MT_GUEST_AUXV_WORDS];
    if (!peer_path(path, name)) {
        return sys_pass(t, nr, a);
    }
    pid_t pid = peer_file(name, "auxv");
    size_t n = pid ? ptrace_peer_auxv(pid, auxv, sizeof(auxv)) : 0;
    if (n > 0) {
        i64 fd = sys_pass(t, nr, a);
        return fd < 0 ? fd : procfs_replace(auxv, n, (int)fd, flags & O_CLOEXEC);
    }
    if ((flags & O_ACCMODE) != O_RDONLY && peer_file(name, "mem")) {
        ptrace_peer_mem_opened();
    }
    if (!(flags & O_NOFOLLOW) && peer_exe_link(path, name)) {
        const u64 b[6] = {FDCWD, (u64)name, flags, mode};
        return sys_pass(t, SYS_openat, b);
    }
    return sys_pass(t, nr, a);
}

/* `nr` and `a` are the guest's call; flags and mode are as in openat. */
static i64 do_open(Thread *t, u64 nr, const u64 a[6], int dirfd, u64 path, u64 flags, u64 mode)
{
    char link[PROC_LINK_MAX];
    ProcKind kind = procfs_classify(dirfd, path);
    switch (kind) {
    case PROC_OTHER: return open_others(t, nr, a, path, flags, mode);
    case PROC_HIDDEN_FD: return -ENOENT;
    case PROC_EXE:
        if (!(flags & O_NOFOLLOW) || (flags & O_PATH)) { /* both: the link itself, to be read */
            procfs_exe_link(link);
            const u64 b[6] = {FDCWD, (u64)link, flags, mode};
            return sys_pass(t, SYS_openat, b);
        }
        break;
    default:
        if (only_reads(flags)) {
            i64 fd = sys_pass(t, nr, a);
            return fd < 0 ? fd : procfs_generate(kind, (int)fd, flags & O_CLOEXEC);
        }
    }
    return sys_pass(t, nr, a);
}

i64 sys_open(Thread *t, const u64 a[6])
{
    return do_open(t, SYS_open, a, AT_FDCWD, a[0], (u32)a[1], a[2]);
}

i64 sys_openat(Thread *t, const u64 a[6])
{
    return do_open(t, SYS_openat, a, (int)a[0], a[1], (u32)a[2], a[3]);
}

i64 sys_openat2(Thread *t, const u64 a[6])
{
    struct open_how how;
    /* A structure that is too short or unreadable is the kernel's to refuse; one that asks for more
     * than we know, or for restricted resolution (of /proc/self/exe above all), is its to do. */
    if (a[3] != sizeof(how) || safe_read(&how, a[2], sizeof(how)) || how.resolve) {
        return sys_pass(t, SYS_openat2, a);
    }
    return do_open(t, SYS_openat2, a, (int)a[0], a[1], how.flags, how.mode);
}

/* ---- readlink ---- */

static i64 do_readlink(Thread *t, u64 nr, const u64 a[6], int dirfd, const u64 path_buf_size[3])
{
    char link[PROC_LINK_MAX], peer[PEER_PATH_ROOM];
    switch (procfs_classify(dirfd, path_buf_size[0])) {
    case PROC_OTHER:
        if (peer_exe_link(path_buf_size[0], peer)) {
            const u64 b[6] = {(u64)peer, path_buf_size[1], path_buf_size[2]};
            return sys_pass(t, SYS_readlink, b);
        }
        return sys_pass(t, nr, a);
    case PROC_HIDDEN_FD: return -ENOENT;
    case PROC_EXE: {
        procfs_exe_link(link);
        const u64 b[6] = {(u64)link, path_buf_size[1], path_buf_size[2]};
        return sys_pass(t, SYS_readlink, b);
    }
    default: return sys_pass(t, nr, a);
    }
}

i64 sys_readlink(Thread *t, const u64 a[6])
{
    return do_readlink(t, SYS_readlink, a, AT_FDCWD, a);
}

i64 sys_readlinkat(Thread *t, const u64 a[6])
{
    return do_readlink(t, SYS_readlinkat, a, (int)a[0], a + 1);
}

/* ---- stat ---- */

/* Puts another path into the call if the guest's names its program. False: it names nothing. */
static bool redirect_exe(u64 b[6], int dirfd, int path_arg, u64 flags, char link[PROC_LINK_MAX])
{
    ProcKind kind = procfs_classify(dirfd, b[path_arg]);
    if (kind == PROC_EXE && !(flags & AT_SYMLINK_NOFOLLOW)) {
        procfs_exe_link(link);
        b[path_arg] = (u64)link;
    }
    return kind != PROC_HIDDEN_FD;
}

i64 sys_stat(Thread *t, const u64 a[6])
{
    char link[PROC_LINK_MAX];
    u64 b[6] = {a[0], a[1]};
    return redirect_exe(b, AT_FDCWD, 0, 0, link) ? sys_pass(t, SYS_stat, b) : -ENOENT;
}

static i64 stat_at(Thread *t, u64 nr, const u64 a[6], u64 flags)
{
    char link[PROC_LINK_MAX];
    u64 b[6];
    memcpy(b, a, sizeof(b));
    return redirect_exe(b, (int)a[0], 1, flags, link) ? sys_pass(t, nr, b) : -ENOENT;
}

i64 sys_newfstatat(Thread *t, const u64 a[6])
{
    return stat_at(t, SYS_newfstatat, a, a[3]);
}

i64 sys_statx(Thread *t, const u64 a[6])
{
    return stat_at(t, SYS_statx, a, a[2]);
}

/* ---- others that get at the file by the link ----
 * runc and crun mount or copy themselves before they execute that. */

static i64 pass_exe(Thread *t, u64 nr, const u64 a[6], int dirfd, int path_arg, bool follows)
{
    char link[PROC_LINK_MAX];
    u64 b[6];
    memcpy(b, a, sizeof(b));
    return redirect_exe(b, dirfd, path_arg, follows ? 0 : AT_SYMLINK_NOFOLLOW, link)
               ? sys_pass(t, nr, b)
               : -ENOENT;
}

i64 sys_mount(Thread *t, const u64 a[6])
{
    return pass_exe(t, SYS_mount, a, AT_FDCWD, 0, true);
}

i64 sys_getxattr(Thread *t, const u64 a[6])
{
    return pass_exe(t, SYS_getxattr, a, AT_FDCWD, 0, true);
}

i64 sys_open_tree(Thread *t, const u64 a[6])
{
    return pass_exe(t, SYS_open_tree, a, (int)a[0], 1, !(a[2] & AT_SYMLINK_NOFOLLOW));
}

i64 sys_linkat(Thread *t, const u64 a[6])
{
    return pass_exe(t, SYS_linkat, a, (int)a[0], 1, (a[4] & AT_SYMLINK_FOLLOW) != 0);
}

/* ---- getdents ----
 * Only a listing that contains one of our numbers as a name costs anything more. */

typedef struct DirentShape {
    size_t reclen_at, name_at;
} DirentShape;

static const DirentShape shape64 = {16,
                                    19}; /* struct linux_dirent64: ino, off, reclen, type, name */
static const DirentShape shape_old = {16, 18}; /* struct linux_dirent: ino, off, reclen, name */

enum { NUMBER_ROOM = 12 };

/* What the numbers in a directory may be that the guest must not see. */
typedef bool (*IsHidden)(int number);

static bool is_hidden_fd(int number)
{
    return fd_is_hidden(number);
}

/* Threads that sleep in a vfork in place of the guest's: who traces all of a process's threads
 * would wait for ever for such a one to stop. */
static bool is_lender(int number)
{
    return world_is_lender(number);
}

/* Reads the record at `at`; its length, 0 if it can't be read. *ours: its name is a number that is
 * hidden. */
static size_t read_record(GuestAddr at, size_t room, const DirentShape *shape, IsHidden hidden,
                          bool *ours)
{
    u16 len;
    char name[NUMBER_ROOM];
    if (room < shape->name_at || safe_read(&len, at + shape->reclen_at, sizeof(len)) ||
        len <= shape->name_at || len > room) {
        return 0;
    }
    size_t n = len - shape->name_at < NUMBER_ROOM - 1 ? len - shape->name_at : NUMBER_ROOM - 1;
    if (safe_read(name, at + shape->name_at, n)) {
        return 0;
    }
    name[n] = '\0';
    char *end;
    *ours = name[0] >= '0' && name[0] <= '9' && hidden((int)strtol(name, &end, 10)) && !*end;
    return len;
}

/* Is there a name in the n bytes at buf that may have to go? */
static bool has_hidden_name(GuestAddr buf, size_t n, const DirentShape *shape, IsHidden hidden)
{
    bool ours = false;
    for (size_t at = 0, len; at < n && !ours; at += len) {
        len = read_record(buf + at, n - at, shape, hidden, &ours);
        if (!len) {
            break;
        }
    }
    return ours;
}

/* Moves the records that stay together; the new number of bytes. */
static size_t drop_hidden(GuestAddr buf, size_t n, const DirentShape *shape, IsHidden hidden)
{
    char record[1 << 12];
    size_t to = 0;
    for (size_t at = 0, len; at < n; at += len) {
        bool ours = false;
        len = read_record(buf + at, n - at, shape, hidden, &ours);
        if (!len || len > sizeof(record) || (!ours && safe_read(record, buf + at, len))) {
            return n; /* the guest changes it under our feet */
        }
        if (!ours) {
            if (safe_write(buf + to, record, len)) {
                return n;
            }
            to += len;
        }
    }
    return to;
}

/* What must not be in a listing of these n bytes; NULL: nothing that is. */
static IsHidden what_to_hide(int fd, GuestAddr buf, size_t n, const DirentShape *shape)
{
    if (has_hidden_name(buf, n, shape, is_hidden_fd) && procfs_is_fd_dir(fd)) {
        return is_hidden_fd;
    }
    if (world_has_lenders() && has_hidden_name(buf, n, shape, is_lender) &&
        procfs_is_task_dir(fd)) {
        return is_lender;
    }
    return NULL;
}

static i64 do_getdents(Thread *t, u64 nr, const u64 a[6], const DirentShape *shape)
{
    for (;;) {
        i64 r = sys_pass(t, nr, a);
        IsHidden hidden = r > 0 ? what_to_hide((int)a[0], a[1], (size_t)r, shape) : NULL;
        if (hidden == NULL) {
            return r;
        }
        size_t left = drop_hidden(a[1], (size_t)r, shape, hidden);
        if (left) {
            return (i64)left;
        }
        /* Nothing left: 0 would mean the end. */
    }
}

i64 sys_getdents(Thread *t, const u64 a[6])
{
    return do_getdents(t, SYS_getdents, a, &shape_old);
}

i64 sys_getdents64(Thread *t, const u64 a[6])
{
    return do_getdents(t, SYS_getdents64, a, &shape64);
}
