/* SPDX-License-Identifier: BSD-2-Clause
 * elf_stack.c -- the stack as a new program finds it, and its auxiliary vector.
 *
 *   stack_top   8 zero bytes
 *               AT_EXECFN string, environment strings, argument strings (the first is the lowest)
 *               platform string, 16 random bytes
 *               auxiliary vector; environment pointers, NULL; argument pointers, NULL
 *   rsp         argc                                    (rsp is a multiple of 16)
 *
 * Source:     System V ABI, AMD64 supplement, 3.4.1; the order within the string area is the
 *             kernel's, programs that rewrite their argv (setproctitle) rely on it.
 * Omitted:    AT_RSEQ_*: without them the C library registers nothing that would need
 *             restarting. */
#include "base/options.h"
#include "guest/aspace.h"
#include "guest/elf_int.h"
#include "guest/hostmaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#define ARG_STRING_MAX (32 * MT_PAGE_SIZE) /* execve's limits */
#define ARG_TOTAL_MAX (6ul << 20)
#define ARG_TOTAL_MIN (32 * MT_PAGE_SIZE)
#define RANDOM_BYTES 16

u64 mt_guest_auxv[MT_GUEST_AUXV_WORDS];
size_t mt_guest_auxv_bytes;

/* Writes from the top down. Nothing else uses the stack yet, so plain copies are safe. */
typedef struct StackWriter {
    GuestAddr at;
} StackWriter;

static GuestAddr push_bytes(StackWriter *w, const void *bytes, size_t n)
{
    w->at -= n;
    memcpy((void *)w->at, bytes, n);
    return w->at;
}

static GuestAddr push_string(StackWriter *w, const char *s)
{
    return push_bytes(w, s, strlen(s) + 1);
}

static size_t count(char *const *v)
{
    size_t n = 0;
    while (v[n] != NULL) {
        n++;
    }
    return n;
}

/* --- limits --- */

static u64 total_limit(void)
{
    struct rlimit lim;
    u64 max = ARG_TOTAL_MAX;
    if (getrlimit(RLIMIT_STACK, &lim) == 0 && lim.rlim_cur / 4 < max) {
        max = lim.rlim_cur / 4;
    }
    return max > ARG_TOTAL_MIN ? max : ARG_TOTAL_MIN;
}

/* False: one string is too long. */
static bool add_sizes(char *const *v, u64 *total)
{
    for (; *v != NULL; v++) {
        u64 n = strlen(*v) + 1;
        if (n > ARG_STRING_MAX) {
            return false;
        }
        *total += n + sizeof(u64);
    }
    return true;
}

static bool too_big(const ExecTarget *t, char *const envp[])
{
    u64 total = strlen(t->execfn) + 1;
    return !add_sizes(t->argv, &total) || !add_sizes(envp, &total) || total > total_limit();
}

/* --- the vDSO --- */

static bool note_vdso(const HostMap *m, void *arg)
{
    if (strcmp(m->name, "[vdso]") == 0 || strncmp(m->name, "[vvar", 5) == 0) {
        aspace_note(m->start, m->end - m->start, m->prot, MAP_PRIVATE | MAP_ANONYMOUS, m->name);
    }
    return true;
}

/* The guest uses the host's vDSO: its code is translated, its data is read where it is. Not if runs
 * are to be the same: how many blocks it executes depends on the clock. */
static u64 share_vdso(void)
{
    u64 base = mt_opts.sched_seed == NULL ? getauxval(AT_SYSINFO_EHDR) : 0;
    int r = base != 0 ? hostmaps_foreach_kept(note_vdso, NULL) : 0;

    hostmaps_forget();
    /* If one can't tell where it ends, the guest does without. */
    return r == 0 && aspace_is_exec(base) ? base : 0;
}

/* --- the auxiliary vector --- */

/* The host's own value. Not getauxval(): glibc keeps something else for AT_HWCAP. */
static u64 host_aux(u64 type)
{
    u64 v[128];
    int fd = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
    i64 n = fd >= 0 ? elf_pread(fd, v, sizeof(v), 0) : 0;
    if (fd >= 0) {
        close(fd);
    }
    for (i64 i = 0; (i + 2) * (i64)sizeof(u64) <= n && v[i] != AT_NULL; i += 2) {
        if (v[i] == type) {
            return v[i + 1];
        }
    }
    return getauxval(type);
}

static void aux(u64 type, u64 value)
{
    size_t i = mt_guest_auxv_bytes / sizeof(u64);
    mt_guest_auxv[i] = type;
    mt_guest_auxv[i + 1] = value;
    mt_guest_auxv_bytes += 2 * sizeof(u64);
}

static void make_auxv(const ElfImage *img, GuestAddr execfn, GuestAddr platform, GuestAddr random)
{
    u64 vdso = share_vdso(), minsigstksz = getauxval(AT_MINSIGSTKSZ);
    mt_guest_auxv_bytes = 0;
    if (vdso != 0) {
        aux(AT_SYSINFO_EHDR, vdso);
    }
    if (minsigstksz != 0) {
        aux(AT_MINSIGSTKSZ, minsigstksz);
    }
    aux(AT_HWCAP, host_aux(AT_HWCAP));
    aux(AT_PAGESZ, MT_PAGE_SIZE);
    aux(AT_CLKTCK, (u64)sysconf(_SC_CLK_TCK));
    aux(AT_PHDR, img->phdr);
    aux(AT_PHENT, img->phent);
    aux(AT_PHNUM, img->phnum);
    aux(AT_BASE, img->interp_base);
    aux(AT_FLAGS, 0);
    aux(AT_ENTRY, img->prog_entry);
    aux(AT_UID, getuid());
    aux(AT_EUID, geteuid());
    aux(AT_GID, getgid());
    aux(AT_EGID, getegid());
    aux(AT_SECURE, 0);
    aux(AT_RANDOM, random);
    aux(AT_HWCAP2, getauxval(AT_HWCAP2));
    aux(AT_EXECFN, execfn);
    aux(AT_PLATFORM, platform);
    aux(AT_NULL, 0);
}

/* --- everything together --- */

/* Pushes v's strings, the last first, and fills `out` with their addresses and a NULL. */
static void push_strings(StackWriter *w, char *const *v, size_t n, u64 *out)
{
    out[n] = 0;
    while (n-- > 0) {
        out[n] = push_string(w, v[n]);
    }
}

static void random_bytes(u8 *buf)
{
    const u8 *host = (const u8 *)getauxval(AT_RANDOM);
    if (getrandom(buf, RANDOM_BYTES, GRND_NONBLOCK) != RANDOM_BYTES && host != NULL) {
        memcpy(buf, host, RANDOM_BYTES);
    }
}

GuestAddr elf_make_stack(const ElfImage *img, const ExecTarget *t, char *const envp[],
                         GuestAddr stack_top, ExecError *err)
{
    static const u64 zero;
    u8 seed[RANDOM_BYTES] = {0};
    size_t argc = count(t->argv), envc = count(envp), words = argc + envc + 3;
    if (too_big(t, envp)) {
        exec_fail(err, E2BIG, 126, "%s: arguments and environment are too long", t->path);
        return 0;
    }
    u64 *pointers = malloc(words * sizeof(u64)); /* argc, arguments, NULL, environment, NULL */
    if (pointers == NULL) {
        exec_fail(err, ENOMEM, 1, "out of memory");
        return 0;
    }
    StackWriter w = {.at = stack_top};
    push_bytes(&w, &zero, sizeof(zero));
    GuestAddr execfn = push_string(&w, t->execfn);
    push_strings(&w, envp, envc, pointers + argc + 2);
    push_strings(&w, t->argv, argc, pointers + 1);
    pointers[0] = argc;
    w.at &= ~15ul;
    GuestAddr platform = push_string(&w, "x86_64");
    random_bytes(seed);
    GuestAddr random = push_bytes(&w, seed, sizeof(seed));
    make_auxv(img, execfn, platform, random);
    w.at = (w.at & ~15ul) - mt_guest_auxv_bytes - words * sizeof(u64);
    w.at &= ~15ul;
    memcpy((void *)w.at, pointers, words * sizeof(u64));
    memcpy((void *)(w.at + words * sizeof(u64)), mt_guest_auxv, mt_guest_auxv_bytes);
    free(pointers);
    return w.at;
}
