/* SPDX-License-Identifier: BSD-2-Clause
 * sys_misc.c -- prctl, arch_prctl, thread ids, numbers without a call, bad arguments.
 * guest: cflags=-Wno-nonnull -Wno-stringop-overread -Wno-stringop-overflow */
#define _GNU_SOURCE
#include "guest.h"

#include <asm/prctl.h>
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BAD ((void *)8)

static void names(void)
{
    char name[17] = "";
    CHECK(prctl(PR_GET_NAME, name) == 0);
    printf("name %s\n", name);
    CHECK(prctl(PR_SET_NAME, "another name, too long") == 0 && prctl(PR_GET_NAME, name) == 0);
    printf("name %s\n", name);
    CHECK(prctl(PR_SET_NAME, "sys_misc") == 0);
}

static void process_controls(void)
{
    int value = 0;
    unsigned long aux[128];
    CHECK(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && prctl(PR_GET_PDEATHSIG, &value) == 0);
    CHECK(value == SIGTERM && prctl(PR_SET_PDEATHSIG, 0) == 0);
    CHECK(prctl(PR_GET_DUMPABLE) == 1 && prctl(PR_SET_DUMPABLE, 0) == 0);
    CHECK(prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    CHECK(prctl(PR_SET_KEEPCAPS, 7) == -1 && errno == EINVAL);
    SAY_RESULT(prctl(12345, 1, 2, 3, 4));
    SAY_RESULT(prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0, 0, 0, 0)); /* off, as it is */
    int *tid_address = NULL;
    CHECK(prctl(PR_GET_TID_ADDRESS, &tid_address) == 0 && tid_address);
    long n = prctl(0x41555856 /* PR_GET_AUXV */, aux, sizeof(aux), 0, 0);
    if (n > 0) {
        char file[sizeof(aux)];
        int fd = open("/proc/self/auxv", O_RDONLY);
        ssize_t len = read(fd, file, sizeof(file));
        CHECK(len > 0 && len <= n && memcmp(file, aux, len) == 0);
        close(fd);
        CHECK(prctl(0x41555856, aux, 16, 0, 0) == n);
        CHECK(prctl(0x41555856, BAD, 16, 0, 0) == -1 && errno == EFAULT);
        CHECK(prctl(0x41555856, aux, 16, 1, 0) == -1 && errno == EINVAL);
    }
    static int cleared;
    CHECK(syscall(SYS_set_tid_address, &cleared) == getpid());
    CHECK(prctl(PR_GET_TID_ADDRESS, &tid_address) == 0 && tid_address == &cleared);
    printf("process controls: good\n");
}

static void segment_bases(void)
{
    unsigned long fs, gs, at_fs0;
    __asm__("mov %%fs:0, %0" : "=r"(at_fs0));
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0 && fs == at_fs0);
    static unsigned long area[4] = {1, 2, 3, 4};
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, area) == 0);
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) == 0 && gs == (unsigned long)area);
    __asm__ volatile("mov %%gs:16, %0" : "=r"(gs));
    CHECK(gs == 3);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0) == 0);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 1ul << 63) == -1 && errno == EPERM);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_FS, 1ul << 63) == -1 && errno == EPERM);
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, BAD) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_arch_prctl, 0x9999, 0) == -1 && errno == EINVAL);
    printf("segment bases: good\n");
}

static void no_such_call(void)
{
    static const int numbers[] = {134, 156, 174, 177, 178, 180, 181, 182, 183, 184, 185, 236};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        CHECK(syscall(numbers[i]) == -1 && errno == ENOSYS);
    }
    CHECK(syscall(-1) == -1 && errno == ENOSYS);
    CHECK(syscall(100000) == -1 && errno == ENOSYS);
    CHECK(syscall(0x100000000l + SYS_getpid) == getpid()); /* the low half counts */
    printf("no such call: good\n");
}

static void bad_arguments(void)
{
    struct timespec t = {0, 1000000000};
    struct iovec v = {BAD, 5};
    int fds[2];
    CHECK(pipe(fds) == 0 && write(fds[1], "12345678", 8) == 8);
    SAY_RESULT(read(fds[0], BAD, 4));
    SAY_RESULT(readv(fds[0], &v, 1));
    SAY_RESULT(write(fds[1], BAD, 4));
    SAY_RESULT(read(-1, BAD, 4));
    SAY_RESULT(read(fds[1], BAD, 4));
    SAY_RESULT(close(-1));
    SAY_RESULT(close(12345678));
    SAY_RESULT(lseek(fds[0], 0, SEEK_SET));
    SAY_RESULT(open(BAD, O_RDONLY));
    SAY_RESULT(openat(77, "x", O_RDONLY));
    SAY_RESULT(stat(BAD, (void *)16));
    SAY_RESULT(stat("/", BAD));
    SAY_RESULT(pipe(BAD));
    SAY_RESULT(uname(BAD));
    SAY_RESULT(nanosleep(&t, NULL));
    SAY_RESULT(syscall(SYS_clock_gettime, 1234, &t));
    SAY_RESULT(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, BAD));
    SAY_RESULT(poll(BAD, 1, 0));
    SAY_RESULT(epoll_ctl(-1, EPOLL_CTL_ADD, 0, NULL));
    SAY_RESULT(dup2(0, -1));
    SAY_RESULT(dup2(0, 1 << 30));
    SAY_RESULT(dup3(0, 0, 0));
    SAY_RESULT(fcntl(0, 12345));
    SAY_RESULT(getrlimit(99, BAD));
    SAY_RESULT(setpriority(99, 0, 0));
    SAY_RESULT(socket(999, 0, 0));
    SAY_RESULT(wait4(-1, NULL, 0, NULL));
    SAY_RESULT(syscall(SYS_futex, BAD, 0, 0, 0, 0, 0));
    SAY_RESULT(syscall(SYS_getdents64, fds[0], BAD, 100));
    SAY_RESULT(syscall(SYS_readlink, "/", BAD, 100));
    SAY_RESULT(syscall(SYS_exit_group + 1000));
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    names();
    process_controls();
    segment_bases();
    no_such_call();
    bad_arguments();
    return 0;
}
