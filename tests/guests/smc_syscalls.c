/* SPDX-License-Identifier: BSD-2-Clause
 * smc_syscalls.c -- system calls that write into a page with code, while that page has been run: a
 * call takes effect once, also those that take something away before they write; and a call with a
 * bad pointer fails once. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096 };

static unsigned char *page; /* code in front, data behind it */
static int pair[2];

/* mov $value, %eax; ret: makes the page one with code that runs. */
static void run_code(int value)
{
    page[0] = 0xb8;
    memcpy(page + 1, &value, 4);
    page[5] = 0xc3;
    CHECK(((int (*)(void))page)() == value);
}

static void send_two(void)
{
    CHECK(send(pair[0], "first", 5, 0) == 5 && send(pair[0], "other", 5, 0) == 5);
}

static void expect(const char *text, ssize_t n, const void *got)
{
    printf("%s %.*s", text, n > 0 ? (int)n : 0, (const char *)got);
    if (n < 0) {
        printf("errno %d", errno);
    }
    errno = 0;
    printf("\n");
}

static void test_datagrams(void)
{
    char buf[16];
    struct iovec v = {page + 200, 10};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

    send_two();
    run_code(1);
    expect("recv to bad", recv(pair[1], (void *)16, 10, MSG_DONTWAIT), "");
    expect("then", recv(pair[1], buf, 10, MSG_DONTWAIT), buf);
    expect("then", recv(pair[1], buf, 10, MSG_DONTWAIT), buf);
    send_two();
    run_code(2);
    expect("recv to code", recv(pair[1], page + 100, 10, MSG_DONTWAIT), page + 100);
    run_code(3);
    expect("recvmsg to code", recvmsg(pair[1], &m, MSG_DONTWAIT), page + 200);
    send_two();
    run_code(4);
    expect("readv to code", readv(pair[1], &v, 1), page + 200);
    run_code(5);
    expect("read to code", read(pair[1], page + 300, 10), page + 300);
}

static void test_events(void)
{
    int fd = eventfd(5, EFD_NONBLOCK);
    uint64_t v = 1;
    ssize_t n;

    CHECK(fd >= 0);
    run_code(6);
    n = read(fd, page + 400, 8);
    printf("eventfd %zd %llu\n", n, n == 8 ? *(unsigned long long *)(page + 400) : 0);
    CHECK(write(fd, &v, 8) == 8);
    run_code(7);
    n = read(fd, (void *)16, 8);
    printf("eventfd to bad %zd errno %d", n, errno);
    n = read(fd, &v, 8);
    printf(" then %zd errno %d\n", n, errno);
    close(fd);
}

static void test_wait(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(7);
    }
    run_code(8);
    pid_t got = waitpid(pid, (int *)(page + 500), 0);
    printf("wait %d status %x errno %d\n", got == pid, *(int *)(page + 500), got < 0 ? errno : 0);
}

static void test_signal(void)
{
    sigset_t set;
    siginfo_t *info = (siginfo_t *)(page + 1024);

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    run_code(9);
    printf("sigwaitinfo %d", sigwaitinfo(&set, info));
    printf(" %d\n", info->si_signo);
}

static void test_addresses(void)
{
    socklen_t *len = (socklen_t *)(page + 700);

    run_code(10);
    *len = 100;
    run_code(11);
    printf("getsockname %d", getsockname(pair[0], (void *)(page + 800), len));
    printf(" %u\n", *len);
    run_code(12);
    printf("pipe %d", pipe((int *)(page + 900)));
    printf(" %d\n", ((int *)(page + 900))[1] > ((int *)(page + 900))[0]);
}

int main(void)
{
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    test_datagrams();
    /* A page that is written to often is treated differently: a new one. */
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    test_events();
    test_wait();
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    test_signal();
    test_addresses();
    return 0;
}
