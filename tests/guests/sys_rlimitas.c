/* SPDX-License-Identifier: BSD-2-Clause
 * sys_rlimitas.c -- a process limits its own memory (RLIMIT_AS, RLIMIT_DATA): what it can map and
 * what not, threads, children, programs it executes, also under limits that a runtime could not
 * start with, raising the limit again. */
#define _GNU_SOURCE
#include "guest.h"

#include <linux/capability.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB (1024ul * 1024)

static void show(const char *what)
{
    struct rlimit a, b;
    CHECK(getrlimit(RLIMIT_AS, &a) == 0);
    CHECK(prlimit(getpid(), RLIMIT_AS, NULL, &b) == 0);
    printf("%s: %ld MB, %ld MB, %ld MB, %ld MB\n", what, (long)(a.rlim_cur / MB),
           (long)(a.rlim_max / MB), (long)(b.rlim_cur / MB), (long)(b.rlim_max / MB));
}

static int set(unsigned long soft, unsigned long hard)
{
    const struct rlimit l = {soft, hard};
    return setrlimit(RLIMIT_AS, &l) == 0 ? 0 : errno;
}

/* How many blocks of 8 MB, roughly: the program's own size differs. */
static void fill(const char *what)
{
    void *blocks[200], *p;
    int n = 0;
    while (n < 200 &&
           (p = mmap(NULL, 8 * MB, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) != MAP_FAILED) {
        blocks[n++] = p;
    }
    printf("%s: %s\n", what, n >= 35 && n <= 37 ? "about 290 MB" : "something else");
    if (n > 0) {
        CHECK(mmap(blocks[0], 8 * MB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
              blocks[0]);
        p = mremap(blocks[0], 8 * MB, 64 * MB, MREMAP_MAYMOVE);
        printf("  mremap %s, malloc %s, sbrk %s\n", p == MAP_FAILED ? "fails" : "works",
               malloc(64 * MB) ? "works" : "fails",
               sbrk(64 * MB) == (void *)-1 ? "fails" : "works");
    }
    while (n > 0) {
        munmap(blocks[--n], 8 * MB);
    }
}

static void *nothing(void *arg)
{
    return arg;
}

static void threads(void)
{
    pthread_t t[8];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++) {
            CHECK(pthread_create(&t[i], NULL, nothing, NULL) == 0);
        }
        for (int i = 0; i < 8; i++) {
            CHECK(pthread_join(t[i], NULL) == 0);
        }
    }
    puts("threads");
}

static void children(void)
{
    fflush(stdout);
    for (int i = 0; i < 4; i++) {
        pid_t pid = i & 1 ? vfork() : fork();
        int status;
        if (pid == 0) {
            if (i < 2) {
                execl("/bin/sh", "sh", "-c", "ulimit -v; ulimit -Hv", (char *)NULL);
            }
            execl("/nonexistent", "x", (char *)NULL);
            _exit(i == 2 && malloc(64 * MB) ? 7 : 8);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        printf("child %d: %#x\n", i, status);
        fflush(stdout);
    }
}

/* Limits that leave a shell enough, but no runtime; execvp(3) tries several names. */
static void small_child(bool vforks)
{
    const struct rlimit as = {40 * MB, 48 * MB}, data = {20 * MB, 24 * MB};
    int status;
    fflush(stdout);
    pid_t pid = vforks ? vfork() : fork();
    if (pid == 0) {
        setrlimit(RLIMIT_AS, &as);
        setrlimit(RLIMIT_DATA, &data);
        execl("/nonexistent", "x", (char *)NULL);
        execl("/bin/sh", "sh", "-c",
              "ulimit -v; ulimit -Hv; ulimit -d; ulimit -Hd; /bin/true; echo $?", (char *)NULL);
        _exit(9);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    printf("small child: %#x\n", status);
    show("its parent");
}

static void *map(size_t size, int prot, int flags)
{
    void *p = mmap(NULL, size, prot, MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static const char *works(bool does)
{
    return does ? "works" : "fails";
}

static void limited_data(void)
{
    const struct rlimit limit = {100 * MB, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    char *reserved = map(400 * MB, PROT_NONE, MAP_PRIVATE);
    CHECK(reserved != NULL);
    printf("data: shared %s, read-only %s, private %s\n",
           works(map(200 * MB, PROT_READ | PROT_WRITE, MAP_SHARED)),
           works(map(200 * MB, PROT_READ, MAP_PRIVATE)),
           works(map(200 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE)));
    int all = mprotect(reserved, 400 * MB, PROT_READ | PROT_WRITE);
    int some = mprotect(reserved, 40 * MB, PROT_READ | PROT_WRITE);
    int again = mprotect(reserved, 40 * MB, PROT_READ | PROT_WRITE);
    int more = mprotect(reserved + 40 * MB, 80 * MB, PROT_READ | PROT_WRITE);
    printf("  mprotect all %s, some %s, again %s, more %s\n", works(all == 0), works(some == 0),
           works(again == 0), works(more == 0));
    void *grown = mremap(reserved, 40 * MB, 200 * MB, MREMAP_MAYMOVE);
    printf("  mremap %s, sbrk %s, over what is there %s\n", works(grown != MAP_FAILED),
           works(sbrk(100 * MB) != (void *)-1),
           works(mmap(reserved, 120 * MB, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == reserved));
    CHECK(setrlimit(RLIMIT_DATA, &none) == 0);
    CHECK(munmap(reserved, 400 * MB) == 0);
}

/* A soft limit of none means the hard one, but for the heap. Stacks don't count. */
static void no_data(void)
{
    const struct rlimit limit = {0, 300 * MB};
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid != 0) {
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
        return;
    }
    CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    printf("no data: 100 MB %s, 400 MB %s, a stack of 400 MB %s, sbrk %s\n",
           works(map(100 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE)),
           works(map(400 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE)),
           works(map(400 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_GROWSDOWN)),
           works(sbrk(64 * 1024) != (void *)-1));
    _exit(0);
}

/* In a process that can't raise a hard limit again: an exec that fails must not have set one for
 * good. */
static void unprivileged(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(syscall(SYS_capget, &header, caps) == 0);
        caps[0].effective &= ~(1u << CAP_SYS_RESOURCE);
        caps[0].permitted &= ~(1u << CAP_SYS_RESOURCE);
        CHECK(syscall(SYS_capset, &header, caps) == 0);
        printf("unprivileged: %d\n", set(2000 * MB, 2200 * MB));
        printf("  lower: %d\n", set(1900 * MB, 2100 * MB));
        printf("  raise: %d\n", set(2000 * MB, 2200 * MB));
        CHECK(execl("/nonexistent", "x", (char *)NULL) < 0);
        CHECK(execl("/", "x", (char *)NULL) < 0);
        printf("  150 MB %s\n", works(map(150 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE)));
        threads();
        show("  its limits");
        small_child(false);
        _exit(3);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    printf("unprivileged: %#x\n", status);
}

int main(void)
{
    struct rlimit was;
    setvbuf(stdout, NULL, _IONBF, 0);
    CHECK(getrlimit(RLIMIT_AS, &was) == 0);
    if (was.rlim_cur != RLIM_INFINITY) {
        puts("limited already");
        return 0;
    }
    show("at first");
    printf("soft above hard: %d\n", set(600 * MB, 300 * MB));
    printf("bad address: %d\n", setrlimit(RLIMIT_AS, (void *)8) ? errno : 0);
    printf("bad address: %d\n", getrlimit(RLIMIT_AS, (void *)8) ? errno : 0);
    printf("300 MB: %d\n", set(300 * MB, RLIM_INFINITY));
    show("now");
    fill("limited");
    threads();
    children();
    fill("again");
    printf("none: %d\n", set(RLIM_INFINITY, RLIM_INFINITY));
    show("open");
    small_child(false);
    small_child(true);
    limited_data();
    no_data();
    unprivileged();
    CHECK(mmap(NULL, 1024 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
          MAP_FAILED);
    printf("too little: %d\n", set(1 * MB, 2000 * MB));
    CHECK(mmap(NULL, MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
          errno == ENOMEM);
    show("at last");
    return 0;
}
