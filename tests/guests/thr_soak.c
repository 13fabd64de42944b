/* SPDX-License-Identifier: BSD-2-Clause
 * thr_soak.c -- everything that threads do to each other, at random and all at once; each part
 * checks itself. tests/soak.py runs it for hours with other arguments.
 * Arguments: SEED THREADS ROUNDS
 * guest: timeout=60 so=plug_a.c
 * variant: two args=1 2 40
 * variant: some args=2 12 8
 * variant: many args=3 200 1 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

enum { STEPS = 40, MAX_THREADS = 500, NODES = 32, FUNCTIONS = 16, QUEUE = 8 };

typedef struct Pair { /* equal whenever nobody who may write holds the lock */
    volatile long a, b;
} Pair;

static uint64_t seed;
static long threads, rounds;
static pthread_t ids[MAX_THREADS];
static pthread_barrier_t barrier;
static __thread uint64_t rng;
static long handled; /* atomic */

static uint64_t chance(uint64_t n)
{
    return rng_next(&rng) % n;
}

static void change(Pair *p)
{
    long v = p->a + 1;

    p->a = v;
    if (chance(16) == 0) {
        sched_yield();
    }
    p->b = v;
}

static struct timespec soon(long ns)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += ns;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    return ts;
}

/* ---- locks ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static sem_t sem;
static Pair by_mutex, by_rwlock, by_spin, by_sem;

static void do_mutex(void)
{
    struct timespec ts = soon(100000);

    if (chance(4) != 0) {
        CHECK(pthread_mutex_lock(&mutex) == 0);
    } else if (pthread_mutex_timedlock(&mutex, &ts) != 0) {
        return;
    }
    CHECK(by_mutex.a == by_mutex.b);
    change(&by_mutex);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
}

static void do_rwlock(void)
{
    if (chance(4) == 0) {
        CHECK(pthread_rwlock_wrlock(&rwlock) == 0);
        change(&by_rwlock);
    } else {
        CHECK(pthread_rwlock_rdlock(&rwlock) == 0);
        CHECK(by_rwlock.a == by_rwlock.b);
    }
    CHECK(pthread_rwlock_unlock(&rwlock) == 0);
}

static void do_spin(void)
{
    while (pthread_spin_trylock(&spin) != 0) {
        sched_yield();
    }
    CHECK(by_spin.a == by_spin.b);
    by_spin.a++;
    by_spin.b++;
    pthread_spin_unlock(&spin);
}

static void do_sem(void)
{
    while (sem_wait(&sem) != 0) {
        CHECK(errno == EINTR);
    }
    CHECK(by_sem.a == by_sem.b);
    change(&by_sem);
    CHECK(sem_post(&sem) == 0);
}

/* ---- a queue with condition variables; whoever waits too long does without ---- */

static pthread_mutex_t qlock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static long queue[QUEUE], head, tail, put_sum, taken_sum;

static void do_queue(void)
{
    struct timespec ts = soon(200000);
    bool put = chance(2) == 0;
    int r = 0;

    pthread_mutex_lock(&qlock);
    while ((put ? head - tail == QUEUE : head == tail) && r == 0) {
        r = pthread_cond_timedwait(put ? &not_full : &not_empty, &qlock, &ts);
        CHECK(r == 0 || r == ETIMEDOUT);
    }
    if (put && head - tail < QUEUE) {
        queue[head % QUEUE] = head;
        put_sum += head++;
        pthread_cond_signal(&not_empty);
    } else if (!put && head > tail) {
        taken_sum += queue[tail++ % QUEUE];
        pthread_cond_broadcast(&not_full);
    }
    pthread_mutex_unlock(&qlock);
}

/* ---- a stack without locks: indices with a tag ---- */

static uint32_t next_node[NODES + 1];
static uint64_t top;
static long owner[NODES + 1];

static uint32_t pop(void)
{
    uint64_t t = __atomic_load_n(&top, __ATOMIC_ACQUIRE), n;

    do {
        if ((uint32_t)t == 0) {
            return 0;
        }
        n = ((t >> 32) + 1) << 32 | __atomic_load_n(&next_node[(uint32_t)t], __ATOMIC_RELAXED);
    } while (!__atomic_compare_exchange_n(&top, &t, n, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return (uint32_t)t;
}

static void push(uint32_t i)
{
    uint64_t t = __atomic_load_n(&top, __ATOMIC_ACQUIRE), n;

    do {
        __atomic_store_n(&next_node[i], (uint32_t)t, __ATOMIC_RELAXED);
        n = ((t >> 32) + 1) << 32 | i;
    } while (!__atomic_compare_exchange_n(&top, &t, n, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

static void do_stack(void)
{
    uint32_t a = pop();

    if (a != 0) {
        CHECK(__atomic_exchange_n(&owner[a], 1, __ATOMIC_ACQ_REL) == 0);
        __atomic_store_n(&owner[a], 0, __ATOMIC_RELEASE);
        push(a);
    }
}

/* ---- futexes with timeouts ---- */

static uint32_t word;

static void do_futex(void)
{
    struct timespec ts = {0, (long)chance(100000)};
    long r;

    if (chance(2) == 0) {
        __atomic_add_fetch(&word, 1, __ATOMIC_SEQ_CST);
        CHECK(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1 + chance(3), NULL, NULL, 0) >= 0);
        return;
    }
    r = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, __atomic_load_n(&word, __ATOMIC_SEQ_CST), &ts,
                NULL, 0);
    CHECK(r == 0 || errno == ETIMEDOUT || errno == EAGAIN || errno == EINTR);
}

/* ---- signals ---- */

static void handler(int sig)
{
    int e = errno;

    __atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
    sched_yield();
    errno = e;
}

static void do_signal(void)
{
    union sigval none = {0};

    int r = pthread_sigqueue(ids[chance((uint64_t)threads)], SIGRTMIN, none);

    CHECK(r == 0 || r == EAGAIN);
}

/* ---- processes and threads ---- */

static void do_fork(void)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        *(volatile int *)p = 7;
        _exit(*(volatile int *)p + (getpid() == (pid_t)syscall(SYS_gettid) ? 20 : 0));
    }
    while (waitpid(pid, &status, 0) < 0) {
        CHECK(errno == EINTR);
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 27);
}

static void *short_lived(void *arg)
{
    return (char *)arg + 1;
}

static void do_thread(void)
{
    pthread_t t;
    void *v;
    int r = pthread_create(&t, NULL, short_lived, (void *)41);

    CHECK(r == 0 || r == EAGAIN);
    if (r == 0) {
        CHECK(pthread_join(t, &v) == 0 && v == (void *)42);
    }
}

/* ---- code written by one, run by all ---- */

static uint8_t *code; /* FUNCTIONS pages: mov eax, imm32; ret, the immediate aligned to 4 */

static void write_function(long n)
{
    uint8_t *p = code + n * 4096;

    memcpy(p, "\x90\x90\x90\xb8\0\0\0\0\xc3", 9);
}

static void do_code(void)
{
    long n = (long)chance(FUNCTIONS);
    uint8_t *p = code + n * 4096;
    uint32_t v;

    if (chance(8) == 0) {
        __atomic_store_n((uint32_t *)(p + 4), (uint32_t)(chance(1000) * 3), __ATOMIC_RELEASE);
    }
    v = ((uint32_t(*)(void))(void *)p)();
    CHECK(v % 3 == 0 && v < 3000);
}

/* Own code: written, run, gone. */
static void do_own_code(void)
{
    uint32_t value = (uint32_t)chance(1u << 31);
    uint8_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    p[0] = 0xb8;
    memcpy(p + 1, &value, 4);
    p[5] = 0xc3;
    CHECK(mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0);
    CHECK(((uint32_t(*)(void))(void *)p)() == value);
    CHECK(munmap(p, 8192) == 0);
}

static void do_dlopen(void)
{
    char path[4096];
    long (*pure)(long);
    void *h;

    snprintf(path, sizeof(path), "%s/lib/plug_a.so", getenv("GUEST_DIR"));
    h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(h != NULL);
    pure = (long (*)(long))dlsym(h, "plug_pure");
    CHECK(pure != NULL && pure(8) == 41);
    CHECK(dlclose(h) == 0);
}

/* ---- running ---- */

static void do_memory(void)
{
    static __thread void *held[4];
    uint64_t n = chance(4);

    free(held[n]);
    held[n] = malloc(16 + chance(100000));
    CHECK(held[n] != NULL);
    memset(held[n], (int)n, 16);
}

static const struct {
    void (*act)(void);
    unsigned weight;
} acts[] = {
    {do_mutex, 12}, {do_rwlock, 12}, {do_spin, 12},  {do_sem, 8},      {do_queue, 10},
    {do_stack, 12}, {do_futex, 8},   {do_signal, 8}, {do_thread, 2},   {do_code, 12},
    {do_memory, 6}, {do_fork, 0},    {do_dlopen, 2}, {do_own_code, 4},
};
enum { ACTS = sizeof(acts) / sizeof(acts[0]) };

static void step(void)
{
    unsigned all = 0, at;

    for (int i = 0; i < ACTS; i++) {
        all += acts[i].weight;
    }
    at = (unsigned)chance(all);
    for (int i = 0; i < ACTS; i++) {
        if (at < acts[i].weight) {
            acts[i].act();
            return;
        }
        at -= acts[i].weight;
    }
}

static void *body(void *arg)
{
    rng = (seed * 1000003 + (uint64_t)arg) * 0x9e3779b97f4a7c15ull | 1;
    pthread_barrier_wait(&barrier);
    for (long r = 0; r < rounds; r++) {
        for (int i = 0; i < STEPS; i++) {
            step();
        }
        if (chance((uint64_t)threads) == 0) {
            do_fork(); /* one or so a round: a fork of 500 threads' memory is not cheap */
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void prepare(void)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};

    sigaction(SIGRTMIN, &sa, NULL);
    pthread_spin_init(&spin, 0);
    sem_init(&sem, 0, 1);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    code = mmap(NULL, FUNCTIONS * 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    for (long n = 0; n < FUNCTIONS; n++) {
        write_function(n);
    }
    for (uint32_t i = 1; i <= NODES; i++) {
        push(i);
    }
}

int main(int argc, char **argv)
{
    int left = 0;

    CHECK(argc == 4);
    seed = strtoull(argv[1], NULL, 0);
    threads = atol(argv[2]);
    rounds = atol(argv[3]);
    CHECK(threads > 0 && threads <= MAX_THREADS);
    prepare();
    for (long i = 0; i < threads; i++) {
        CHECK(pthread_create(&ids[i], NULL, body, (void *)i) == 0);
    }
    for (long i = 0; i < threads; i++) {
        CHECK(pthread_join(ids[i], NULL) == 0);
    }
    while (pop() != 0) {
        left++;
    }
    for (; tail < head; tail++) {
        taken_sum += queue[tail % QUEUE];
    }
    CHECK(put_sum == taken_sum && left == NODES);
    CHECK(by_mutex.a == by_mutex.b && by_rwlock.a == by_rwlock.b && by_sem.a == by_sem.b);
    printf("%ld threads, %ld rounds: right\n", threads, rounds);
    return 0;
}
