/* SPDX-License-Identifier: BSD-2-Clause
 * sys_uring.c -- io_uring: its rings are mapped where the kernel wants them; reads, writes, a
 * completion waited for. Also a ring shared with a thread that waits. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 8, ROUNDS = 200 };

typedef struct Ring {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
} Ring;

static int ring_open(Ring *r)
{
    struct io_uring_params p = {0};
    r->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
    if (r->fd < 0) {
        return -errno;
    }
    size_t sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    errno = 0;
    char *low = mmap((void *)0x10000000, sq_size, prot, flags, r->fd, IORING_OFF_SQ_RING);
    printf("with an address: %s, errno %d\n", low == MAP_FAILED ? "refused" : "mapped", errno);
    char *sq = mmap(NULL, sq_size, prot, flags, r->fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_size, prot, flags, r->fd, IORING_OFF_CQ_RING);
    CHECK(sq != MAP_FAILED && cq != MAP_FAILED);
    r->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), prot, flags, r->fd,
                   IORING_OFF_SQES);
    CHECK(r->sqes != MAP_FAILED);
    r->sq_tail = (unsigned *)(sq + p.sq_off.tail);
    r->sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    r->sq_array = (unsigned *)(sq + p.sq_off.array);
    r->cq_head = (unsigned *)(cq + p.cq_off.head);
    r->cq_tail = (unsigned *)(cq + p.cq_off.tail);
    r->cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    r->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    return 0;
}

static void submit(Ring *r, int op, int fd, void *data, unsigned len, uint64_t off, uint64_t tag)
{
    unsigned tail = *r->sq_tail, i = tail & *r->sq_mask;
    struct io_uring_sqe e = {.opcode = (uint8_t)op, .fd = fd, .len = len, .off = off};
    e.addr = (uintptr_t)data;
    e.user_data = tag;
    r->sqes[i] = e;
    r->sq_array[i] = i;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) == 1);
}

static int reap(Ring *r, uint64_t tag)
{
    while (__atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) == *r->cq_head) {
        int n = (int)syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
        CHECK(n == 0 || errno == EINTR);
    }
    struct io_uring_cqe c = r->cqes[*r->cq_head & *r->cq_mask];
    __atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
    CHECK(c.user_data == tag);
    return c.res;
}

static void *waiter(void *arg)
{
    CHECK(reap(arg, 77) == 5);
    return NULL;
}

int main(void)
{
    Ring r;
    int error = ring_open(&r);
    if (error < 0) {
        printf("no io_uring here: %d\n", error);
        return 0;
    }
    submit(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
    CHECK(reap(&r, 1) == 0);
    int fd = memfd_create("data", 0);
    char *out = malloc(1 << 16), *in = malloc(1 << 16);
    uint64_t seed = 1;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned n = (unsigned)rng_next(&seed) % 65535 + 1;
        memset(out, i, n);
        submit(&r, IORING_OP_WRITE, fd, out, n, (uint64_t)i * 100, i);
        CHECK(reap(&r, i) == (int)n);
        submit(&r, IORING_OP_READ, fd, in, n, (uint64_t)i * 100, i);
        CHECK(reap(&r, i) == (int)n && memcmp(in, out, n) == 0);
    }
    int p[2];
    pthread_t t;
    CHECK(pipe(p) == 0);
    submit(&r, IORING_OP_READ, p[0], in, 100, 0, 77);
    CHECK(pthread_create(&t, NULL, waiter, &r) == 0);
    usleep(10000);
    CHECK(write(p[1], "hello", 5) == 5 && pthread_join(t, NULL) == 0);
    CHECK(memcmp(in, "hello", 5) == 0);
    submit(&r, IORING_OP_READ, 12345, in, 1, 0, 5);
    printf("bad descriptor: %d\n", reap(&r, 5));
    printf("done\n");
    return 0;
}
