/* SPDX-License-Identifier: BSD-2-Clause
 * scaling.c -- a fixed amount of work divided among threads; bound by one thing each.
 * Usage: scaling cpu|lock|queue|syscall|alloc|translate THREADS WORK
 * The checksum does not depend on the number of threads. */
#include "kernel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long work, threads;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, drained = PTHREAD_COND_INITIALIZER;
static _Atomic uint64_t total;

static uint64_t mix(uint64_t x, int rounds)
{
    while (rounds-- > 0) {
        x ^= x >> 31;
        x *= 0x9e3779b97f4a7c15ULL;
        x += (x & 1) != 0 ? 17 : 91;
    }
    return x;
}

/* The items of a thread are [first, last). */
static long first_of(long thread)
{
    return work / threads * thread + (thread < work % threads ? thread : work % threads);
}

static void *cpu_body(void *arg)
{
    long me = (long)arg, i, last = first_of(me + 1);
    uint64_t sum = 0;

    for (i = first_of(me); i < last; i++) {
        sum += mix((uint64_t)i, 300);
    }
    total += sum;
    return NULL;
}

static void *lock_body(void *arg)
{
    static uint64_t guarded;
    long me = (long)arg, i, last = first_of(me + 1);

    for (i = first_of(me); i < last; i++) {
        uint64_t x = mix((uint64_t)i, 60);

        pthread_mutex_lock(&mutex);
        guarded += x;
        pthread_mutex_unlock(&mutex);
    }
    pthread_mutex_lock(&mutex);
    total = guarded;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

#define QUEUE 64
static long queue[QUEUE], queue_used, queue_taken;

static void queue_put(long item)
{
    pthread_mutex_lock(&mutex);
    while (queue_used == QUEUE) {
        pthread_cond_wait(&drained, &mutex);
    }
    queue[queue_used++] = item;
    pthread_cond_signal(&filled);
    pthread_mutex_unlock(&mutex);
}

static void *queue_body(void *arg)
{
    uint64_t sum = 0;
    long item;

    for (;;) {
        pthread_mutex_lock(&mutex);
        while (queue_used == 0 && queue_taken < work) {
            pthread_cond_wait(&filled, &mutex);
        }
        if (queue_taken == work) {
            pthread_mutex_unlock(&mutex);
            total += sum;
            return arg;
        }
        item = queue[--queue_used];
        if (++queue_taken == work) {
            pthread_cond_broadcast(&filled);
        }
        pthread_cond_signal(&drained);
        pthread_mutex_unlock(&mutex);
        sum += mix((uint64_t)item, 2000);
    }
}

static void *syscall_body(void *arg)
{
    long me = (long)arg, i, last = first_of(me + 1), parent = getppid();
    uint64_t sum = 0;

    for (i = first_of(me); i < last; i++) {
        sum += syscall(SYS_getppid) == parent;
    }
    total += sum;
    return NULL;
}

static void *alloc_body(void *arg)
{
    void *live[64] = {NULL};
    long me = (long)arg, i, last = first_of(me + 1);
    uint64_t sum = 0;

    for (i = first_of(me); i < last; i++) {
        uint64_t r = mix((uint64_t)i, 2);
        unsigned slot = r & 63;

        free(live[slot]);
        live[slot] = malloc(16 + (r >> 8) % 2000);
        memset(live[slot], (int)i, 16);
        sum += r;
    }
    for (i = 0; i < 64; i++) {
        free(live[i]);
    }
    total += sum;
    return NULL;
}

/* Code that runs once: functions of FUNCTION_STEPS times
 *     imul eax, eax, imm32;  add eax, edi;  xor eax, imm32;  test edi, edi;  jz +2;  inc eax
 * Every step is a basic block of its own. */
#define FUNCTION_STEPS 16
#define STEP_SIZE 19
#define FUNCTION_SIZE (2 + FUNCTION_STEPS * STEP_SIZE + 1)
static uint8_t *code;

static void emit_function(uint8_t *p, uint64_t *seed)
{
    static const uint8_t step[STEP_SIZE] = {0x69, 0xc0, 0, 0,    0,    0,    0x01, 0xf8, 0x35, 0,
                                            0,    0,    0, 0x85, 0xff, 0x74, 2,    0xff, 0xc0};
    int i;

    memcpy(p, "\x31\xc0", 2); /* xor eax, eax */
    for (i = 0, p += 2; i < FUNCTION_STEPS; i++, p += STEP_SIZE) {
        uint32_t a = (uint32_t)kernel_random(seed), b = (uint32_t)kernel_random(seed);

        memcpy(p, step, sizeof(step));
        memcpy(p + 2, &a, 4);
        memcpy(p + 9, &b, 4);
    }
    *p = 0xc3;
}

static void emit_code(void)
{
    size_t size = (size_t)work * FUNCTION_SIZE;
    uint64_t seed = 99;
    long i;

    code = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) {
        kernel_die("mmap");
    }
    for (i = 0; i < work; i++) {
        emit_function(code + i * FUNCTION_SIZE, &seed);
    }
    if (mprotect(code, size, PROT_READ | PROT_EXEC) != 0) {
        kernel_die("mprotect");
    }
}

static void *translate_body(void *arg)
{
    long me = (long)arg, i, last = first_of(me + 1);
    uint64_t sum = 0;

    for (i = first_of(me); i < last; i++) {
        sum += ((uint32_t(*)(int))(void *)(code + i * FUNCTION_SIZE))((int)i);
    }
    total += sum;
    return NULL;
}

static const struct {
    const char *name;
    void *(*body)(void *);
} bodies[] = {
    {"cpu", cpu_body},         {"lock", lock_body},   {"queue", queue_body},
    {"syscall", syscall_body}, {"alloc", alloc_body}, {"translate", translate_body},
};

static void run(void *(*body)(void *))
{
    pthread_t t[1024];
    KernelClock c;
    long i;

    if (body == translate_body) {
        emit_code();
    }
    c = kernel_begin();
    for (i = 0; i < threads; i++) {
        if (pthread_create(&t[i], NULL, body, (void *)i) != 0) {
            kernel_die("pthread_create");
        }
    }
    for (i = 0; body == queue_body && i < work; i++) {
        queue_put(i);
    }
    for (i = 0; i < threads; i++) {
        pthread_join(t[i], NULL);
    }
    printf("%llu\n", (unsigned long long)total);
    kernel_end(c, (double)work);
}

int main(int argc, char **argv)
{
    size_t i;

    threads = argc > 3 ? atol(argv[2]) : 0;
    work = argc > 3 ? atol(argv[3]) : 0;
    for (i = 0; threads > 0 && threads <= 1024 && i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        if (strcmp(argv[1], bodies[i].name) == 0) {
            run(bodies[i].body);
            return 0;
        }
    }
    fprintf(stderr, "usage: scaling NAME THREADS WORK\n");
    return 2;
}
