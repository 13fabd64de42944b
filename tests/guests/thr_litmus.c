/* SPDX-License-Identifier: BSD-2-Clause
 * thr_litmus.c -- the memory model of x86-64: outcomes that it forbids do not happen, whatever the
 * runtime puts between two instructions. (Allowed ones may or may not happen and are not looked
 * at.) Names as in Alglave, Maranget, Tautschnig, "Herding cats", 2014, and Sewell et al.,
 * "x86-TSO", 2010.
 * guest: timeout=60 cflags=-mcx16 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "guest.h"

enum { THREADS = 4, CELLS = 2048, BATCHES = 60 };

/* What one run of a test works on; x and y in lines of their own. */
typedef struct Cell {
    _Alignas(64) volatile long x;
    _Alignas(64) volatile long y;
    _Alignas(64) volatile long r[THREADS][2];
} Cell;

typedef struct Test {
    const char *name;
    void (*body[THREADS])(Cell *c, volatile long *r);
    int (*forbidden)(const Cell *c);
} Test;

static Cell cells[CELLS];
static const Test *current;
static long forbidden_seen;

static inline void store(volatile long *p, long v)
{
    __asm__ volatile("movq %1, %0" : "=m"(*p) : "r"(v) : "memory");
}

static inline long load(const volatile long *p)
{
    long v;
    __asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p) : "memory");
    return v;
}

/* ---- store buffering: with a fence between store and load, one of two sees the other ---- */

#define SB(name, fence)                             \
    static void name##_0(Cell *c, volatile long *r) \
    {                                               \
        store(&c->x, 1);                            \
        fence;                                      \
        r[0] = load(&c->y);                         \
    }                                               \
    static void name##_1(Cell *c, volatile long *r) \
    {                                               \
        store(&c->y, 1);                            \
        fence;                                      \
        r[0] = load(&c->x);                         \
    }

SB(sb_mfence, __asm__ volatile("mfence" ::: "memory"))
SB(sb_lock, __asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc"))
SB(sb_xadd, long own = 0; __asm__ volatile("lock xaddq %0, %1"
                                           : "+r"(own), "+m"(r[1])::"memory", "cc"))

static void sb_xchg_0(Cell *c, volatile long *r)
{
    long one = 1;
    __asm__ volatile("xchgq %0, %1" : "+r"(one), "+m"(c->x)::"memory");
    r[0] = load(&c->y);
}

static void sb_xchg_1(Cell *c, volatile long *r)
{
    long one = 1;
    __asm__ volatile("xchgq %0, %1" : "+r"(one), "+m"(c->y)::"memory");
    r[0] = load(&c->x);
}

static int sb_bad(const Cell *c)
{
    return c->r[0][0] == 0 && c->r[1][0] == 0;
}

/* ---- message passing ---- */

static void mp_0(Cell *c, volatile long *r)
{
    store(&c->x, 1);
    store(&c->y, 1);
}

static void mp_nt_0(Cell *c, volatile long *r)
{
    __asm__ volatile("movntiq %1, %0\n\tsfence" : "=m"(c->x) : "r"(1l) : "memory");
    store(&c->y, 1);
}

static void mp_1(Cell *c, volatile long *r)
{
    r[0] = load(&c->y);
    r[1] = load(&c->x);
}

static int mp_bad(const Cell *c)
{
    return c->r[1][0] == 1 && c->r[1][1] == 0;
}

/* ---- load buffering ---- */

static void lb_0(Cell *c, volatile long *r)
{
    r[0] = load(&c->x);
    store(&c->y, 1);
}

static void lb_1(Cell *c, volatile long *r)
{
    r[0] = load(&c->y);
    store(&c->x, 1);
}

static int lb_bad(const Cell *c)
{
    return c->r[0][0] == 1 && c->r[1][0] == 1;
}

/* ---- independent reads of independent writes: two readers see one order ---- */

static void iriw_0(Cell *c, volatile long *r)
{
    store(&c->x, 1);
}

static void iriw_1(Cell *c, volatile long *r)
{
    store(&c->y, 1);
}

static void iriw_2(Cell *c, volatile long *r)
{
    r[0] = load(&c->x);
    r[1] = load(&c->y);
}

static int iriw_bad(const Cell *c)
{
    return c->r[2][0] == 1 && c->r[2][1] == 0 && c->r[3][0] == 1 && c->r[3][1] == 0;
}

/* ---- write to read causality ---- */

static void wrc_1(Cell *c, volatile long *r)
{
    r[0] = load(&c->x);
    store(&c->y, r[0]);
}

static int wrc_bad(const Cell *c)
{
    return c->r[2][0] == 1 && c->r[2][1] == 0;
}

/* ---- two writers, both locations: 2+2W ---- */

static void ww_0(Cell *c, volatile long *r)
{
    store(&c->x, 1);
    store(&c->y, 2);
}

static void ww_1(Cell *c, volatile long *r)
{
    store(&c->y, 1);
    store(&c->x, 2);
}

static int ww_bad(const Cell *c)
{
    return c->x == 1 && c->y == 1;
}

/* ---- coherence: a reader never goes back ---- */

static void corr_0(Cell *c, volatile long *r)
{
    store(&c->x, 1);
    store(&c->x, 2);
}

static void corr_1(Cell *c, volatile long *r)
{
    r[0] = load(&c->x);
    r[1] = load(&c->x);
}

static int corr_bad(const Cell *c)
{
    return c->r[1][1] < c->r[1][0];
}

static const Test tests[] = {
    {"SB+mfence", {sb_mfence_0, sb_mfence_1}, sb_bad},
    {"SB+lock", {sb_lock_0, sb_lock_1}, sb_bad},
    {"SB+xadd", {sb_xadd_0, sb_xadd_1}, sb_bad},
    {"SB+xchg", {sb_xchg_0, sb_xchg_1}, sb_bad},
    {"MP", {mp_0, mp_1}, mp_bad},
    {"MP+movnti+sfence", {mp_nt_0, mp_1}, mp_bad},
    {"LB", {lb_0, lb_1}, lb_bad},
    {"IRIW", {iriw_0, iriw_1, iriw_2, mp_1}, iriw_bad},
    {"WRC", {iriw_0, wrc_1, mp_1}, wrc_bad},
    {"2+2W", {ww_0, ww_1}, ww_bad},
    {"CoRR", {corr_0, corr_1}, corr_bad},
};

/* ---- atomicity ---- */

enum { ADDS = 3000 };

static _Alignas(16) volatile unsigned __int128 wide;
static _Alignas(64) volatile char line[192];
static char *pages; /* two of them */

static unsigned __int128 read_wide(void)
{
    return __sync_val_compare_and_swap(&wide, 0, 0);
}

/* Locked accesses to 8 bytes at any address: inside a line, over its end, over a page's end. */
static void add_everywhere(void)
{
    volatile long *inside = (volatile long *)(line + 13), *split = (volatile long *)(line + 61);
    volatile long *paged = (volatile long *)(pages + 4096 - 3);
    long old, fresh;

    __asm__ volatile("lock addq %1, %0"
                     : "+m"(*inside)
                     : "r"(0x0101010101010101l)
                     : "cc", "memory");
    __asm__ volatile("lock incq %0" : "+m"(*split)::"cc", "memory");
    __asm__ volatile("movq %2, %0\n"
                     "1: leaq 3(%0), %1\n\tlock cmpxchgq %1, %2\n\tjne 1b"
                     : "=&a"(old), "=&r"(fresh), "+m"(*paged)
                     :
                     : "cc", "memory");
}

static void *adder(void *arg)
{
    for (int i = 0; i < ADDS; i++) {
        unsigned __int128 w = wide, seen = read_wide();

        CHECK((uint64_t)seen == (uint64_t)(seen >> 64));
        while (!__sync_bool_compare_and_swap(&wide, w, w + 1 + ((unsigned __int128)1 << 64))) {
            w = wide;
        }
        if (i % 8 == 0) {
            add_everywhere();
        }
    }
    return NULL;
}

/* Aligned: 8 bytes always, 16 bytes by processors with AVX (Intel SDM vol. 3, 9.1.1; AMD
 * likewise). */
static _Alignas(64) volatile uint64_t pair[2];
static volatile int stop;

static void *pair_writer(void *arg)
{
    for (uint64_t i = 0; !stop; i++) {
        uint64_t v = i % 2 ? ~0ull : 0;

        __asm__ volatile("movq %1, %%xmm0\n\tpunpcklqdq %%xmm0, %%xmm0\n\tmovdqa %%xmm0, %0"
                         : "=m"(*(volatile unsigned __int128 *)pair)
                         : "r"(v)
                         : "xmm0", "memory");
    }
    return NULL;
}

static void read_pairs(void)
{
    for (int i = 0; i < 20000; i++) {
        uint64_t v[2];

        __asm__ volatile("movdqa %1, %%xmm1\n\tmovdqu %%xmm1, %0"
                         : "=m"(v)
                         : "m"(*(volatile unsigned __int128 *)pair)
                         : "xmm1", "memory");
        CHECK(v[0] == 0 || v[0] == ~0ull);
        CHECK(v[1] == 0 || v[1] == ~0ull);
        CHECK(v[0] == v[1] || !__builtin_cpu_supports("avx"));
        if (i % 500 == 0) {
            sched_yield();
        }
    }
}

static sigjmp_buf back;

static void on_fault(int sig)
{
    siglongjmp(back, sig);
}

static void misaligned_wide(void)
{
    int sig = sigsetjmp(back, 1);

    if (sig == 0) {
        __asm__ volatile("lock cmpxchg16b %0"
                         : "+m"(*(volatile unsigned __int128 *)(line + 8))
                         : "a"(0l), "d"(0l), "b"(0l), "c"(0l)
                         : "cc", "memory");
    }
    printf("cmpxchg16b at an odd address: signal %d\n", sig);
}

/* ---- running ---- */

static pthread_barrier_t barrier;
static long arrived; /* atomic */

/* The last moment before a batch: those that take part leave within some nanoseconds, if they have
 * a processor each. */
static void meet(int batch)
{
    long all = 0;

    for (int i = 0; i < THREADS; i++) {
        all += current->body[i] != NULL;
    }
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    for (int n = 1; __atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < all * (batch + 1); n++) {
        if (n % 256 == 0) {
            sched_yield();
        }
    }
}

/* Threads of a pair on different processors, if there are two. */
static void choose_processor(long me)
{
    cpu_set_t all, one;
    long n = 0;

    if (sched_getaffinity(0, sizeof(all), &all) != 0 || CPU_COUNT(&all) < 2) {
        return;
    }
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n++ == me % CPU_COUNT(&all)) {
            CPU_SET(cpu, &one);
        }
    }
    sched_setaffinity(0, sizeof(one), &one);
}

static void check_batch(void)
{
    for (int i = 0; i < CELLS; i++) {
        forbidden_seen += current->forbidden(&cells[i]);
    }
}

static void *runner(void *arg)
{
    long me = (long)arg;

    choose_processor(me);
    for (int b = 0; b < BATCHES; b++) {
        pthread_barrier_wait(&barrier);
        if (current->body[me] != NULL) {
            meet(b);
            for (int i = 0; i < CELLS; i++) {
                current->body[me](&cells[i], cells[i].r[me]);
            }
        }
        pthread_barrier_wait(&barrier);
        if (me == 0) {
            check_batch();
            memset((void *)cells, 0, sizeof(cells));
        }
    }
    return NULL;
}

static void run(void *(*body)(void *), int n)
{
    pthread_t t[THREADS];

    for (long i = 0; i < n; i++) {
        CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(t[i], NULL);
    }
}

static void run_test(const Test *t)
{
    current = t;
    forbidden_seen = arrived = 0;
    run(runner, THREADS);
    printf("%s: %ld\n", t->name, forbidden_seen);
}

int main(void)
{
    pthread_t writer;
    long inside, split, paged;

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        run_test(&tests[i]);
    }
    pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    run(adder, THREADS);
    memcpy(&inside, (const char *)line + 13, 8);
    memcpy(&split, (const char *)line + 61, 8);
    memcpy(&paged, pages + 4096 - 3, 8);
    printf("%lx %lx %lx %ld %ld\n", (long)wide, (long)(wide >> 64), inside, split, paged);
    CHECK(pthread_create(&writer, NULL, pair_writer, NULL) == 0);
    read_pairs();
    stop = 1;
    pthread_join(writer, NULL);
    signal(SIGSEGV, on_fault);
    misaligned_wide();
    return 0;
}
