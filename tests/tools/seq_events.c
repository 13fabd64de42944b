/* SPDX-License-Identifier: BSD-2-Clause
 * seq_events.c -- as seq_race.c, by other means: futexes used as such, epoll with eventfds,
 * semaphores, signals to threads that count in loops and to the process, addresses of malloc() and
 * mmap() in several threads; the clock is read, not looked at, and short timeouts expire. */
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4 };

#include "seq.h"

static volatile uint64_t counts[THREADS]; /* raced on */
static __thread volatile uint64_t *count;
static _Atomic int word;
static volatile int counting;
static sem_t served;
static int epoll, events[THREADS];

static void handler(int sig)
{
    seen((uint64_t)sig * 1000 + (count != NULL ? *count % 997 : 0));
}

static void futex(int op, int value)
{
    syscall(SYS_futex, &word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* 0 free, 1 taken, 2 with waiters. */
static void locked(long me)
{
    for (int i = 0; i < 200; i++) {
        int was = 0;

        if (!atomic_compare_exchange_strong(&word, &was, 1)) {
            while (atomic_exchange(&word, 2) != 0) {
                futex(FUTEX_WAIT, 2);
            }
        }
        seen((uint64_t)me);
        for (volatile uint64_t k = order % 200; k > 0; k--) {
        }
        if (atomic_exchange(&word, 0) == 2) {
            futex(FUTEX_WAKE, 1);
        }
    }
}

static void addresses(long me)
{
    for (size_t i = 1; i < 60; i++) {
        char *p = malloc(i * 300);

        seen((uintptr_t)p >> 4);
        if (i % 3 == 0) {
            free(p);
        }
        if (i % 20 == 0) {
            seen((uintptr_t)mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                 -1, 0));
        }
    }
}

static void timeouts(long me)
{
    const struct timespec none = {0, 0}, longer = {0, 1000000 * (1 + me)};
    struct timespec now;

    for (int i = 0; i < 30; i++) {
        for (int k = 0; k < 20; k++) {
            clock_gettime(CLOCK_REALTIME, &now);
        }
        now.tv_nsec += now.tv_nsec < 999000000 ? 1000000 : 0;
        seen((uint64_t)me);
        switch (i % 6) {
        case 0: syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, atomic_load(&word), &none); break;
        case 1: nanosleep(&longer, NULL); break;
        case 2: poll(NULL, 0, (int)me); break;
        case 3: sem_timedwait(&served, &now); break;
        case 4: syscall(SYS_select, 0, NULL, NULL, NULL, &(struct timeval){0, 1000 * me}); break;
        default: epoll_wait(epoll, &(struct epoll_event){0}, 1, 2); break;
        }
        seen((uint64_t)me + 100);
    }
}

/* Half of the threads serve what the others ask for. */
static void events_work(long me)
{
    for (uint64_t i = 1; i <= 40; i++) {
        struct epoll_event e;
        uint64_t n;

        if (me % 2 == 0) {
            while (epoll_wait(epoll, &e, 1, -1) != 1 ||
                   read(e.data.fd, &n, sizeof(n)) != sizeof(n)) {
            }
            seen(n * 100 + (uint64_t)me);
            sem_post(&served);
        } else {
            if (write(events[(i + (uint64_t)me) % THREADS], &i, sizeof(i)) != sizeof(i)) {
                _exit(1);
            }
            sem_wait(&served);
        }
    }
}

static void signals(long me)
{
    if (me != 0) {
        while (counting) {
            (*count)++;
        }
        return;
    }
    for (int i = 0; i < 60; i++) {
        pthread_kill(threads[1 + i % (THREADS - 1)], SIGUSR1);
        if (i % 5 == 0) {
            kill(getpid(), SIGUSR2);
        }
        for (volatile int k = 0; k < 500; k++) {
        }
    }
    counting = 0;
}

static void *body(void *arg)
{
    static void (*const parts[])(long) = {locked, addresses, timeouts, events_work, signals};
    long me = (long)arg;

    count = &counts[me];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        pthread_barrier_wait(&barrier);
        parts[i](me);
    }
    return NULL;
}

int main(void)
{
    signal(SIGUSR1, handler);
    signal(SIGUSR2, handler);
    sem_init(&served, 0, 0);
    counting = 1;
    epoll = epoll_create1(0);
    for (int i = 0; i < THREADS; i++) {
        struct epoll_event e = {.events = EPOLLIN};

        e.data.fd = events[i] = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, events[i], &e) != 0) {
            return 1;
        }
    }
    if (run_threads(body) != 0) {
        return 1;
    }
    printf("%llx\n", (unsigned long long)order);
    return 0;
}
