/* SPDX-License-Identifier: BSD-2-Clause
 * smc_words.c -- words that the kernel writes, in pages that also hold running code: a thread's
 * number that is cleared at its end, robust mutexes, read() and its like; and a call that fails
 * with EFAULT is not done twice.
 * guest: timeout=30 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

typedef struct Page {
    unsigned char code[64];
    unsigned tid;
    pthread_mutex_t mutex[4];
    char buf[16];
} Page;

static Page *p;

static void run_code(int want)
{
    CHECK(((int (*)(void))p->code)() == want);
}

/* Fewer changes than make the runtime stop protecting the page. */
static void new_page(void)
{
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};

    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    memcpy(p->code, code, sizeof(code));
}

static void *clears(void *arg)
{
    p->tid = (unsigned)syscall(SYS_set_tid_address, &p->tid);
    run_code(42);
    return NULL;
}

static void cleared_tid(void)
{
    pthread_t t;
    pthread_attr_t a;
    int i;

    new_page();
    p->tid = 1;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    CHECK(!pthread_create(&t, &a, clears, NULL));
    for (i = 0; i < 500 && __atomic_load_n(&p->tid, __ATOMIC_ACQUIRE) != 0; i++) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    CHECK(i < 500);
    puts("cleared");
}

static void *dies(void *arg)
{
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_mutex_lock(&p->mutex[i]));
    }
    run_code(42);
    return NULL;
}

static void robust(void)
{
    pthread_mutexattr_t a;
    pthread_t t;

    new_page();
    for (int i = 0; i < 4; i++) {
        pthread_mutexattr_init(&a);
        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
        pthread_mutexattr_setprotocol(&a, i & 1 ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
        CHECK(!pthread_mutex_init(&p->mutex[i], &a));
    }
    CHECK(!pthread_create(&t, NULL, dies, NULL));
    CHECK(!pthread_join(t, NULL));
    run_code(42);
    for (int i = 0; i < 4; i++) {
        printf("mutex %d: %d\n", i, pthread_mutex_lock(&p->mutex[i]) == EOWNERDEAD);
        CHECK(!pthread_mutex_consistent(&p->mutex[i]));
        CHECK(!pthread_mutex_unlock(&p->mutex[i]));
    }
}

static void messages(void)
{
    int s[2], fd[2];
    char c = 0;

    CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK(write(s[0], "a", 1) == 1 && write(s[0], "b", 1) == 1 && write(s[0], "c", 1) == 1);
    CHECK(syscall(SYS_read, s[1], 8, 1) == -1 && errno == EFAULT);
    CHECK(recv(s[1], &c, 1, MSG_DONTWAIT) == 1);
    printf("behind a bad read: %c\n", c);
    new_page();
    run_code(42);
    CHECK(!pipe(fd) && write(fd[1], "d", 1) == 1);
    CHECK(read(fd[0], p->buf, 1) == 1);
    printf("into a code page: %c\n", p->buf[0]);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    messages();
    cleared_tid();
    robust();
    return 0;
}
