/* SPDX-License-Identifier: BSD-2-Clause
 * thr_uffd.c -- page faults that other threads of the same program end (userfaultfd): of loads,
 * stores, string instructions and atomics, by several threads, while others compute and wait; a
 * signal arrives in one. And, where that is allowed, of the kernel's stores in calls that never
 * block otherwise, and of calls that bring pages in, by a server that maps memory itself.
 * guest: timeout=60 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE = 4096, PAGES = 8, THREADS = 3 };

static pthread_t threads[THREADS];
static uint8_t *area[THREADS + 1]; /* each thread's, and bring_in()'s */
static int uffd, of_kernel, stop_pipe[2];
static _Atomic int done, signals;

static void handler(int sig)
{
    atomic_fetch_add(&signals, 1);
}

/* The first fault of all is left to a signal, which ends the wait; it comes again. */
static int is_for_signal(uint64_t page)
{
    static int sent;

    if (page != (uintptr_t)area[0] || atomic_load(&signals) != 0) {
        return 0;
    }
    CHECK(sent++ != 0 || pthread_kill(threads[0], SIGUSR1) == 0);
    return 1;
}

/* Gives each page that is touched its number. */
static void *serve(void *arg)
{
    uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    for (;;) {
        struct pollfd p[2] = {{uffd, POLLIN, 0}, {stop_pipe[0], POLLIN, 0}};
        struct uffd_msg msg;
        struct uffdio_copy copy = {.len = PAGE};

        CHECK(poll(p, 2, -1) > 0 || errno == EINTR);
        if (p[1].revents != 0) {
            return NULL;
        }
        if (read(uffd, &msg, sizeof(msg)) != sizeof(msg)) {
            continue; /* the thread has been interrupted */
        }
        CHECK(msg.event == UFFD_EVENT_PAGEFAULT);
        copy.dst = msg.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
        if (is_for_signal(copy.dst)) {
            continue;
        }
        CHECK(munmap(page, PAGE) == 0);
        page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(page != MAP_FAILED);
        copy.src = (uintptr_t)page;
        memset(page, (int)(copy.dst / PAGE % PAGES) + 1, PAGE);
        CHECK(ioctl(uffd, UFFDIO_COPY, &copy) == 0 || errno == EEXIST);
    }
}

static int number(const uint8_t *p)
{
    return (int)((uintptr_t)p / PAGE % PAGES) + 1;
}

static void *touch(void *arg)
{
    uint8_t *a = arg, copy[64];

    CHECK(*(volatile uint8_t *)a == number(a));
    a += PAGE;
    *(volatile uint8_t *)(a + 1) = 99;
    CHECK(a[0] == number(a) && a[1] == 99);
    a += PAGE;
    __asm__ volatile("rep movsb" : : "D"(copy), "S"(a + PAGE - 32), "c"(64) : "memory");
    CHECK(copy[0] == number(a) && copy[63] == number(a + PAGE));
    a += 2 * PAGE;
    CHECK(atomic_fetch_add((_Atomic uint8_t *)a, 1) == number(a));
    a += PAGE;
    CHECK(!of_kernel ||
          (getrusage(RUSAGE_SELF, (struct rusage *)(a + 64)) == 0 && *a == number(a)));
    a += PAGE;
    CHECK(!of_kernel ||
          (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, a + 64) == 0 && *a == number(a)));
    atomic_fetch_add(&done, 1);
    return NULL;
}

/* Each by another call, as far as the kernel knows it. */
static void bring_in(void)
{
    uint8_t *a = area[THREADS];

    if (!of_kernel) {
        return;
    }
    (void)!madvise(a, 2 * PAGE, MADV_POPULATE_READ);
    (void)!madvise(a + 2 * PAGE, 2 * PAGE, MADV_POPULATE_WRITE);
    (void)!mlock(a + 4 * PAGE, PAGE);
    (void)!mlockall(MCL_CURRENT);
    CHECK(munlockall() == 0);
    for (int i = 0; i < PAGES; i++, a += PAGE) {
        CHECK(*(volatile uint8_t *)a == number(a));
    }
}

static void *spin(void *arg)
{
    while (atomic_load(&done) < THREADS) {
    }
    return NULL;
}

static void setup(void)
{
    struct uffdio_api api = {.api = UFFD_API};

    uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    of_kernel = uffd >= 0;
    if (!of_kernel) {
        uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    }
    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0) {
        printf("no userfaultfd here\n");
        exit(0);
    }
    CHECK(pipe(stop_pipe) == 0);
    for (int i = 0; i <= THREADS; i++) {
        struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};

        area[i] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);
        CHECK(area[i] != MAP_FAILED);
        reg.range.start = (uintptr_t)area[i];
        reg.range.len = PAGES * PAGE;
        CHECK(ioctl(uffd, UFFDIO_REGISTER, &reg) == 0);
    }
}

int main(void)
{
    pthread_t server, busy;

    setup();
    signal(SIGUSR1, handler);
    CHECK(pthread_create(&server, NULL, serve, NULL) == 0);
    CHECK(pthread_create(&busy, NULL, spin, NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, touch, area[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(pthread_join(busy, NULL) == 0);
    bring_in();
    CHECK(write(stop_pipe[1], "", 1) == 1 && pthread_join(server, NULL) == 0);
    printf("%d threads, %d signals\n", done, signals);
    return 0;
}
