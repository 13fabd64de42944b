/* SPDX-License-Identifier: BSD-2-Clause
 * mem_personality.c -- READ_IMPLIES_EXEC: what the thread maps readable is executable as well. A
 * thread's personality is its own, and what it starts has it too.
 * guest: */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>

static sigjmp_buf back;

static void on_segv(int sig)
{
    siglongjmp(back, 1);
}

/* Is code at p run? */
static void try_code(const char *what, unsigned char *p)
{
    if (sigsetjmp(back, 1) == 0) {
        printf("%s: %d\n", what, ((int (*)(void))p)());
    } else {
        printf("%s: not executable\n", what);
    }
}

static unsigned char *map_code(void)
{
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
    unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    memcpy(p, code, sizeof(code));
    return p;
}

static void *other(void *arg)
{
    try_code(arg, map_code());
    return NULL;
}

static void in_thread(char *what)
{
    pthread_t t;
    CHECK(pthread_create(&t, NULL, other, what) == 0);
    CHECK(pthread_join(t, NULL) == 0);
}

static void *set_it(void *arg)
{
    CHECK(personality(READ_IMPLIES_EXEC) != -1);
    try_code("in a thread that sets it", map_code());
    return NULL;
}

int main(void)
{
    pthread_t t;
    signal(SIGSEGV, on_segv);
    int persona = personality(0xffffffff);
    unsigned char *p = map_code();
    try_code("before", p);
    CHECK(pthread_create(&t, NULL, set_it, NULL) == 0);
    CHECK(pthread_join(t, NULL) == 0);
    try_code("in another", map_code());

    CHECK(personality((unsigned)persona | READ_IMPLIES_EXEC) == persona);
    try_code("the mapping from before", p);
    p = map_code();
    try_code("a new one", p);
    p[1] = 43;
    try_code("changed", p);
    CHECK(mprotect(p, 4096, PROT_READ) == 0);
    try_code("readable", p);
    CHECK(mprotect(p, 4096, PROT_NONE) == 0);
    try_code("not even that", p);
    in_thread("in a new thread");

    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    CHECK(id >= 0);
    p = shmat(id, NULL, 0);
    CHECK(p != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
    memcpy(p, map_code(), 6);
    try_code("attached", p);

    CHECK(personality((unsigned)persona) >= 0);
    try_code("afterwards", map_code());
    return 0;
}
