/* SPDX-License-Identifier: BSD-2-Clause
 * procfs.c -- what /proc says about the guest.
 * Role:       names of the files concerned, and their texts. The kernel describes the process as it
 *             was executed, which is mtvg.
 * Invariants: F1. a generated file is a snapshot made by open(), read-only, at the descriptor
 *                 number that the kernel chose for the open.
 *             F2. whatever cannot be classified is left to the kernel.
 * Locking:    `proc` is written once, before the guest runs. */
#include "sys/procfs.h"

#include "base/safe.h"
#include "guest/elf.h"
#include "guest/layout.h"
#include "sys/ptrace_slot.h"
#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PATH_ROOM = 256, /* no path of ours is longer */
    PARTS_MAX = 8,
    STACK_WORDS_MAX = 1 << 22,
};

static struct {
    int exe_fd;
    GuestAddr initial_sp;
    GuestAddr arg_start, arg_end, env_start, env_end;
    GuestAddr code_start, code_end;
} proc = {.exe_fd = -1};

/* ---- start ---- */

/* Walks a vector of strings on the initial stack: addresses of the first string and behind the
 * last. Returns the address behind the vector's end, 0 if it can't be read. */
static GuestAddr walk_strings(GuestAddr vec, GuestAddr *start, GuestAddr *end)
{
    u64 word, last = 0;
    for (int i = 0; i < STACK_WORDS_MAX; i++, vec += 8) {
        if (safe_read(&word, vec, sizeof(word))) {
            return 0;
        }
        if (!word) {
            *end = last ? last + strlen((const char *)last) + 1 : *start;
            return vec + 8;
        }
        *start = last ? *start : word;
        last = word;
    }
    return 0;
}

int procfs_init(const struct ExecTarget *target, const struct ElfImage *image, GuestAddr initial_sp)
{
    proc.initial_sp = initial_sp;
    proc.code_start = image->load_lo;
    proc.code_end = image->load_hi;
    GuestAddr envp = walk_strings(initial_sp + 8, &proc.arg_start, &proc.arg_end);
    proc.env_start = proc.arg_end;
    if (!envp || !walk_strings(envp, &proc.env_start, &proc.env_end)) {
        return -EFAULT;
    }
    int fd = fcntl(target->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        return -errno;
    }
    proc.exe_fd = fd_hide(fd);
    if (proc.exe_fd < 0) {
        close(fd);
        return proc.exe_fd;
    }
    mt_ptrace_proc.exe_fd = proc.exe_fd + 1;
    return 0;
}

void procfs_exe_link(char out[PROC_LINK_MAX])
{
    snprintf(out, PROC_LINK_MAX, "/proc/self/fd/%d", proc.exe_fd);
}

void procfs_exe_path(char *out, size_t size)
{
    char link[PROC_LINK_MAX];
    struct stat by_fd, by_name;
    procfs_exe_link(link);
    ssize_t n = readlink(link, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    if (n <= 0 || stat(out, &by_name) || fstat(proc.exe_fd, &by_fd) ||
        by_name.st_dev != by_fd.st_dev || by_name.st_ino != by_fd.st_ino) {
        snprintf(out, size, "%s", link);
    }
}

/* ---- names ---- */

typedef struct PathParts {
    const char *part[PARTS_MAX];
    int n;
} PathParts;

/* Splits in place. False: too many parts, or "..", which is not worth following. */
static bool split_path(char *path, PathParts *out)
{
    char *rest = path;
    out->n = 0;
    for (char *p = strtok_r(path, "/", &rest); p; p = strtok_r(NULL, "/", &rest)) {
        if (strcmp(p, ".") == 0) {
            continue;
        }
        if (strcmp(p, "..") == 0 || out->n == PARTS_MAX) {
            return false;
        }
        out->part[out->n++] = p;
    }
    return out->n > 0;
}

/* A decimal number, else -1. */
static int number_of(const char *s)
{
    if (*s < '0' || *s > '9' || strlen(s) > 9) {
        return -1;
    }
    char *end;
    long n = strtol(s, &end, 10);
    return *end ? -1 : (int)n;
}

static ProcKind kind_of_name(const char *name)
{
    static const struct {
        const char *name;
        ProcKind kind;
    } names[] = {
        {"exe", PROC_EXE},   {"maps", PROC_MAPS},       {"smaps", PROC_SMAPS},
        {"auxv", PROC_AUXV}, {"cmdline", PROC_CMDLINE}, {"environ", PROC_ENVIRON},
        {"stat", PROC_STAT},
    };
    for (size_t i = 0; i < MT_ARRAY_SIZE(names); i++) {
        if (strcmp(name, names[i].name) == 0) {
            return names[i].kind;
        }
    }
    return number_of(name) >= 0 && fd_is_hidden(number_of(name)) ? PROC_HIDDEN_FD : PROC_OTHER;
}

static bool is_own_process(const char *part)
{
    if (strcmp(part, "self") == 0 || strcmp(part, "thread-self") == 0) {
        return true;
    }
    int pid = number_of(part);
    return pid > 0 && (pid == sys_raw(SYS_getpid, 0, 0, 0, 0, 0, 0) ||
                       pid == sys_raw(SYS_gettid, 0, 0, 0, 0, 0, 0));
}

/* Index of the first part behind /proc/PID or /proc/PID/task/TID, 0 if that isn't us. */
static int skip_own_dir(const PathParts *p)
{
    if (p->n < 2 || strcmp(p->part[0], "proc") != 0 || !is_own_process(p->part[1])) {
        return 0;
    }
    bool has_task = p->n >= 4 && strcmp(p->part[2], "task") == 0 && number_of(p->part[3]) > 0;
    return has_task ? 4 : 2;
}

static bool is_fd_dir_name(const char *name)
{
    return strcmp(name, "fd") == 0 || strcmp(name, "fdinfo") == 0;
}

/* An absolute path; split in place. */
static ProcKind classify_absolute(char *path)
{
    PathParts p;
    if (!split_path(path, &p) || p.n < 3) {
        return PROC_OTHER;
    }
    ProcKind kind = kind_of_name(p.part[p.n - 1]);
    if (kind == PROC_HIDDEN_FD && p.n == 3 && strcmp(p.part[0], "dev") == 0) {
        return strcmp(p.part[1], "fd") == 0 ? kind : PROC_OTHER;
    }
    int i = kind == PROC_OTHER ? 0 : skip_own_dir(&p);
    if (!i) {
        return PROC_OTHER;
    }
    if (kind == PROC_HIDDEN_FD) {
        return p.n == i + 2 && is_fd_dir_name(p.part[i]) ? kind : PROC_OTHER;
    }
    return p.n == i + 1 ? kind : PROC_OTHER;
}

/* What the kernel calls the directory that relative paths start from; false if that is not in /proc
 * or too long. */
static bool base_dir(int dirfd, char out[PATH_ROOM])
{
    char link[PROC_LINK_MAX] = "/proc/self/cwd";
    if (dirfd != AT_FDCWD) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
    }
    i64 n = sys_raw(SYS_readlink, (u64)link, (u64)out, PATH_ROOM, 0, 0, 0);
    if (n <= 0 || n >= PATH_ROOM) {
        return false;
    }
    out[n] = '\0';
    return strncmp(out, "/proc", 5) == 0 && (out[5] == '/' || out[5] == '\0');
}

ProcKind procfs_classify_path(int dirfd, const char *path)
{
    char full[2 * PATH_ROOM];
    size_t len = strnlen(path, PATH_ROOM);
    if (len == 0 || len >= PATH_ROOM) {
        return PROC_OTHER;
    }
    if (path[0] == '/') {
        const char *first = path + strspn(path, "/.");
        if (strncmp(first, "proc", 4) != 0 && strncmp(first, "dev", 3) != 0) {
            return PROC_OTHER;
        }
        memcpy(full, path, len + 1);
        return classify_absolute(full);
    }
    const char *slash = strrchr(path, '/');
    if (kind_of_name(slash ? slash + 1 : path) == PROC_OTHER || !base_dir(dirfd, full)) {
        return PROC_OTHER;
    }
    size_t base = strlen(full);
    full[base] = '/';
    memcpy(full + base + 1, path, len + 1);
    return classify_absolute(full);
}

ProcKind procfs_classify(int dirfd, u64 path)
{
    char buf[PATH_ROOM];
    /* NULL is common: statx() of a descriptor. */
    return !path || safe_read_str(buf, path, sizeof(buf)) < 0 ? PROC_OTHER
                                                              : procfs_classify_path(dirfd, buf);
}

bool procfs_is_fd_dir(int fd)
{
    char path[PATH_ROOM];
    PathParts p;
    if (!base_dir(fd, path) || !split_path(path, &p)) {
        return false;
    }
    int i = skip_own_dir(&p);
    return i && p.n == i + 1 && is_fd_dir_name(p.part[i]);
}

bool procfs_is_task_dir(int fd)
{
    char path[PATH_ROOM];
    PathParts p;
    return base_dir(fd, path) && split_path(path, &p) && p.n == 3 && strcmp(p.part[2], "task") == 0;
}

/* ---- texts ---- */

/* All of the kernel's file as a string. NULL: no memory or unreadable, *err says which. */
static char *read_all(int fd, size_t *len, int *err)
{
    size_t cap = 1 << 16, n = 0;
    char *buf = malloc(cap + 1);
    while (buf) {
        ssize_t r = read(fd, buf + n, cap - n);
        if (r < 0 && errno != EINTR) {
            *err = -errno;
            free(buf);
            return NULL;
        }
        if (r == 0) {
            buf[n] = '\0';
            *len = n;
            return buf;
        }
        n += r > 0 ? (size_t)r : 0;
        if (n == cap) {
            char *bigger = realloc(buf, 2 * cap + 1);
            if (!bigger) {
                break;
            }
            buf = bigger;
            cap *= 2;
        }
    }
    free(buf);
    *err = -ENOMEM;
    return NULL;
}

static void write_guest_bytes(FILE *f, GuestAddr from, GuestAddr to)
{
    char buf[1024];
    while (from < to) {
        size_t want = to - from < sizeof(buf) ? to - from : sizeof(buf);
        size_t n = safe_read_partial(buf, from, want);
        fwrite(buf, 1, n, f);
        if (n < want) {
            return;
        }
        from += n;
    }
}

/* As the kernel (get_mm_proctitle): if the program has overwritten the end of its arguments, to
 * change its title, that is a string that begins where they began, of a page at most, with its
 * NUL. */
static void write_cmdline(FILE *f)
{
    char last = 0, title[MT_PAGE_SIZE];
    if (proc.arg_end == proc.arg_start || safe_read(&last, proc.arg_end - 1, 1) || !last) {
        write_guest_bytes(f, proc.arg_start, proc.arg_end);
        return;
    }
    size_t n = safe_read_partial(title, proc.arg_start, sizeof(title));
    size_t len = strnlen(title, n);
    fwrite(title, 1, len < n ? len + 1 : len, f);
}

/* Fields of /proc/PID/stat that describe the program's memory, by their numbers in proc(5). */
static bool stat_field(int number, u64 *value)
{
    switch (number) {
    case 26: *value = proc.code_start; return true;
    case 27: *value = proc.code_end; return true;
    case 28: *value = proc.initial_sp; return true;
    case 45:
    case 46: *value = proc.code_end; return true; /* data: where it lies is not known here */
    case 47: *value = mt_layout.brk_base; return true;
    case 48: *value = proc.arg_start; return true;
    case 49: *value = proc.arg_end; return true;
    case 50: *value = proc.env_start; return true;
    case 51: *value = proc.env_end; return true;
    default: return false;
    }
}

static void write_stat(FILE *f, char *in)
{
    char *comm_end = strrchr(in, ')'); /* the name may contain anything */
    if (!comm_end) {
        fputs(in, f);
        return;
    }
    fwrite(in, 1, (size_t)(comm_end + 1 - in), f);
    char *rest = comm_end + 1;
    int number = 3;
    for (char *s = strtok_r(rest, " \n", &rest); s; s = strtok_r(NULL, " \n", &rest), number++) {
        u64 value;
        if (stat_field(number, &value)) {
            fprintf(f, " %llu", (unsigned long long)value);
        } else {
            fprintf(f, " %s", s);
        }
    }
    fputc('\n', f);
}

static int write_text(FILE *f, ProcKind kind, char *in)
{
    switch (kind) {
    case PROC_MAPS:
    case PROC_SMAPS: return procmaps_write(f, in, proc.initial_sp);
    case PROC_AUXV: fwrite(mt_guest_auxv, 1, mt_guest_auxv_bytes, f); return 0;
    case PROC_CMDLINE: write_cmdline(f); return 0;
    case PROC_ENVIRON: write_guest_bytes(f, proc.env_start, proc.env_end); return 0;
    case PROC_STAT: write_stat(f, in); return 0;
    default: return -EINVAL;
    }
}

/* ---- files ---- */

/* Would writing n bytes raise SIGXFSZ in the guest? */
static bool exceeds_file_limit(size_t n)
{
    struct rlimit lim;
    return getrlimit(RLIMIT_FSIZE, &lim) == 0 && lim.rlim_cur < n;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t r = write(fd, p, n);
        if (r < 0 && errno != EINTR) {
            return -errno;
        }
        p += r > 0 ? r : 0;
        n -= r > 0 ? (size_t)r : 0;
    }
    return 0;
}

/* A read-only, sealed file with this text. fd or -errno. */
static int make_file(const void *text, size_t len)
{
    if (exceeds_file_limit(len)) {
        return -EFBIG;
    }
    int rw = memfd_create("proc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (rw < 0) {
        return -errno;
    }
    int fd = write_all(rw, text, len);
    if (fd == 0) {
        char link[PROC_LINK_MAX];
        fchmod(rw, 0444);
        fcntl(rw, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        snprintf(link, sizeof(link), "/proc/self/fd/%d", rw);
        fd = open(link, O_RDONLY | O_CLOEXEC);
        fd = fd < 0 ? -errno : fd;
    }
    close(rw);
    return fd;
}

/* The text of the generated file for the kernel's one behind fd; malloc'ed. 0 or -errno. */
static int make_text(ProcKind kind, int fd, char **text, size_t *len)
{
    int err = -ENOMEM;
    size_t in_len;
    char *in = read_all(fd, &in_len, &err);
    if (!in) {
        return err;
    }
    FILE *f = open_memstream(text, len);
    if (f) {
        err = write_text(f, kind, in);
        if (fclose(f) && !err) {
            err = -ENOMEM;
        }
    }
    free(in);
    return err;
}

i64 procfs_replace(const void *text, size_t len, int fd, bool cloexec)
{
    int err, file = make_file(text, len);
    if (file >= 0) {
        err = dup3(file, fd, cloexec ? O_CLOEXEC : 0) < 0 ? -errno : 0; /* F1 */
        close(file);
        file = err;
    }
    if (file < 0) {
        close(fd);
        return file;
    }
    return fd;
}

i64 procfs_generate(ProcKind kind, int fd, bool cloexec)
{
    char *text = NULL;
    size_t len = 0;
    int err = make_text(kind, fd, &text, &len);
    if (err) {
        close(fd);
    }
    i64 r = err ? err : procfs_replace(text, len, fd, cloexec);
    free(text);
    return r;
}
