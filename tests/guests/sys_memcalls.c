/* SPDX-License-Identifier: BSD-2-Clause
 * sys_memcalls.c -- system calls about memory: brk, locking, advice, and what each refuses. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char *map(size_t pages)
{
    char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static unsigned long raw_brk(unsigned long to)
{
    return syscall(SYS_brk, to);
}

static void heap(void)
{
    unsigned long start = raw_brk(0);
    CHECK(start && raw_brk(1) == start && raw_brk(start) == start);
    CHECK(raw_brk(start + 10 * PAGE + 5) == start + 10 * PAGE + 5);
    char *p = (char *)start;
    memset(p, 1, 10 * PAGE + 5);
    CHECK(raw_brk(start + 5) == start + 5);
    CHECK(raw_brk(start + 3 * PAGE) == start + 3 * PAGE);
    for (unsigned long a = (start + PAGE) & -PAGE; a < start + 3 * PAGE; a++) {
        CHECK(*(char *)a == 0); /* given back and taken again */
    }
    CHECK(raw_brk(~0ul) == start + 3 * PAGE);
    /* A page stays free behind it. */
    void *above = (void *)((start + 9 * PAGE) & ~(PAGE - 1ul));
    CHECK(mmap(above, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
          above);
    CHECK(raw_brk((uintptr_t)above) == start + 3 * PAGE);
    CHECK(raw_brk((uintptr_t)above - PAGE) == (uintptr_t)above - PAGE);
    CHECK(raw_brk((uintptr_t)above - PAGE + 1) == (uintptr_t)above - PAGE);
    CHECK(munmap(above, PAGE) == 0 && raw_brk(start + 3 * PAGE) == start + 3 * PAGE);
    CHECK(raw_brk(start) == start);
    printf("brk: good\n");
}

static void refusals(void)
{
    char *p = map(8), *hole = p + 4 * PAGE;
    unsigned char vec[8];
    CHECK(munmap(hole, PAGE) == 0);
    SAY_RESULT(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SAY_RESULT(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
    SAY_RESULT(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0));
    SAY_RESULT(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 77, 0));
    SAY_RESULT(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 5));
    SAY_RESULT(mmap((void *)5, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SAY_RESULT(
        mmap(NULL, 1ul << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    SAY_RESULT(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    SAY_RESULT(munmap(p + 1, PAGE));
    SAY_RESULT(munmap(p, 0));
    SAY_RESULT(munmap(hole, PAGE));
    SAY_RESULT(mprotect(p + 1, PAGE, PROT_READ));
    SAY_RESULT(mprotect(hole, PAGE, PROT_READ));
    SAY_RESULT(mprotect(p, 8 * PAGE, PROT_READ | PROT_WRITE));
    SAY_RESULT(mprotect(p, PAGE, 0x40));
    SAY_RESULT(mprotect(p, 0, PROT_READ));
    SAY_RESULT(madvise(p + 1, PAGE, MADV_DONTNEED));
    SAY_RESULT(madvise(p, 8 * PAGE, MADV_DONTNEED));
    SAY_RESULT(madvise(p, PAGE, 1234));
    SAY_RESULT(msync(p + 1, PAGE, MS_SYNC));
    SAY_RESULT(msync(hole, PAGE, MS_SYNC));
    SAY_RESULT(msync(p, PAGE, MS_SYNC | MS_ASYNC));
    SAY_RESULT(msync(p, 4 * PAGE, MS_SYNC));
    SAY_RESULT(mincore(p + 1, PAGE, vec));
    SAY_RESULT(mincore(hole, PAGE, vec));
    SAY_RESULT(mincore(p, 4 * PAGE, vec));
    SAY_RESULT(mincore(p, 4 * PAGE, (unsigned char *)8));
    SAY_RESULT(mlock(hole, PAGE));
    SAY_RESULT(munlock(hole, PAGE));
    SAY_RESULT(syscall(SYS_mlock2, p, PAGE, 4));
    SAY_RESULT(mlockall(0));
    SAY_RESULT(mlockall(8));
    SAY_RESULT(mlockall(MCL_ONFAULT));
    SAY_RESULT(syscall(SYS_mremap, p + 1, PAGE, PAGE, 0, 0));
    SAY_RESULT(syscall(SYS_mremap, hole, PAGE, PAGE, 0, 0));
    SAY_RESULT(syscall(SYS_mremap, p, PAGE, 0, 0, 0));
    SAY_RESULT(syscall(SYS_mremap, p, PAGE, 2 * PAGE, 0, 0));
    SAY_RESULT(syscall(SYS_mremap, p, PAGE, PAGE, 8, 0));
    SAY_RESULT(syscall(SYS_mremap, p, PAGE, PAGE, MREMAP_FIXED, p));
    SAY_RESULT(shmat(-1, NULL, 0));
    SAY_RESULT(shmdt(p));
    SAY_RESULT(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, 99));
    SAY_RESULT(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ | PROT_WRITE, -1));
    munmap(p, 8 * PAGE);
}

static void shared_segment(void)
{
    int id = shmget(IPC_PRIVATE, 3 * PAGE, IPC_CREAT | 0600);
    CHECK(id >= 0);
    char *a = shmat(id, NULL, 0), *b = shmat(id, NULL, SHM_RDONLY);
    CHECK(a != (void *)-1 && b != (void *)-1 && a != b);
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
    strcpy(a + PAGE, "seen");
    CHECK(strcmp(b + PAGE, "seen") == 0);
    CHECK(shmdt(a) == 0 && strcmp(b + PAGE, "seen") == 0 && shmdt(b) == 0);
    CHECK(shmdt(b) == -1 && errno == EINVAL);
    printf("shm: good\n");
}

/* On itself, which not every kernel allows: what was done before an error counts. */
static void process_advice(int self, char *p)
{
    static const int kinds[] = {MADV_DONTNEED, MADV_NORMAL, 9999};
    char *last = map(2) + PAGE; /* of the vector one entry can be read */
    CHECK(munmap(last, PAGE) == 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct iovec v[3] = {{p, PAGE}, {p + 2 * PAGE, PAGE}, {p + 3 * PAGE, PAGE}};
        struct iovec *cut = (struct iovec *)last - 1;
        *cut = v[0];
        memset(p, 5, 4 * PAGE);
        printf("advice %d\n", kinds[i]);
        SAY_RESULT(syscall(SYS_process_madvise, self, cut, 2, kinds[i], 0));
        printf("%d\n", p[0]);
        SAY_RESULT(syscall(SYS_process_madvise, self, v, 3, kinds[i], 0));
        printf("%d %d %d\n", p[0], p[PAGE], p[3 * PAGE]);
        v[1].iov_base = (void *)1;
        SAY_RESULT(syscall(SYS_process_madvise, self, v, 3, kinds[i], 0));
        SAY_RESULT(syscall(SYS_process_madvise, self, v + 1, 2, kinds[i], 0));
        SAY_RESULT(syscall(SYS_process_madvise, self, v, 0, kinds[i], 0));
        SAY_RESULT(syscall(SYS_process_madvise, self, 8, 1, kinds[i], 0));
        SAY_RESULT(syscall(SYS_process_madvise, self, v, 2000, kinds[i], 0));
        SAY_RESULT(syscall(SYS_process_madvise, self, v, 1, kinds[i], 1));
    }
    CHECK(munmap(last - PAGE, PAGE) == 0);
}

static void advice(void)
{
    char *p = map(4);
    memset(p, 7, 4 * PAGE);
    CHECK(madvise(p + PAGE, PAGE, MADV_DONTNEED) == 0);
    CHECK(p[0] == 7 && p[PAGE] == 0 && p[2 * PAGE] == 7);
    CHECK(madvise(p, 4 * PAGE, MADV_DONTFORK) == 0 && madvise(p, 4 * PAGE, MADV_DOFORK) == 0);
    CHECK(madvise(p + 2 * PAGE, PAGE, MADV_WIPEONFORK) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(p[0] == 7 && p[2 * PAGE] == 0 && p[3 * PAGE] == 7 ? 0 : 1);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    int self = syscall(SYS_pidfd_open, getpid(), 0);
    struct iovec v[2] = {{p, PAGE}, {p + 3 * PAGE, PAGE}};
    if (self >= 0) {
        CHECK(syscall(SYS_process_madvise, self, v, 2, MADV_WILLNEED, 0) == 2 * PAGE);
        CHECK(syscall(SYS_process_madvise, self, v, 2, MADV_WILLNEED, 1) == -1 && errno == EINVAL);
        process_advice(self, p);
        close(self);
    }
    munmap(p, 4 * PAGE);
    printf("advice: good\n");
}

/* Only this process's own memory is locked, and what it maps from now on. */
static void locking(void)
{
    struct rlimit lim;
    CHECK(getrlimit(RLIMIT_MEMLOCK, &lim) == 0);
    char *p = map(4);
    CHECK(mlock(p + 5, PAGE) == 0 && munlock(p, 2 * PAGE) == 0);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) == 0) {
        unsigned char vec[4];
        char *q = map(4);
        CHECK(mincore(q, 4 * PAGE, vec) == 0);
        CHECK((vec[0] & vec[1] & vec[2] & vec[3] & 1) == 1);
        munmap(q, 4 * PAGE);
        q = (char *)(((uintptr_t)sbrk(8 * PAGE) + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
        CHECK(mincore(q, 4 * PAGE, vec) == 0);
        CHECK((vec[0] & vec[1] & vec[2] & vec[3] & 1) == 1);
    } else {
        CHECK(errno == ENOMEM || errno == EPERM);
    }
    CHECK(munlockall() == 0);
    munmap(p, 4 * PAGE);
    printf("locking: good\n");
}

int main(void)
{
    heap();
    refusals();
    shared_segment();
    advice();
    locking();
    return 0;
}
