/* SPDX-License-Identifier: BSD-2-Clause
 * thr_fresh.c -- many threads come to code that nobody has run yet, all in the same moment: all to
 * the same function, or each to one of its own. What the runtime does then is counted by
 * tests/translators.py.
 * Arguments: same|own THREADS ROUNDS [where, to print where the functions are] [file: they are in a
 * file, so that their translations may be kept on disk]
 * guest: timeout=60
 * variant: same args=same 64 20
 * variant: own args=own 64 20
 * variant: pair args=same 2 200
 * variant: file args=same 64 20 file */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

/* A function: STEPS times add eax, imm32; test edi, edi; jnz +2; inc eax. Returns the sum of its
 * constants (edi is not 0). At most STEPS translations, whatever the runtime's bounds are. */
enum { STEPS = 32, STEP_BYTES = 11, FUNCTION_BYTES = 2 + STEPS * STEP_BYTES + 1 };

static long threads, rounds;
static int all_same;
static uint8_t *code;
static uint32_t *sums; /* of each function */
static long arrived;   /* atomic: a barrier that makes no system calls */
static pthread_barrier_t barrier;

static void emit_function(uint8_t *p, uint32_t n)
{
    static const uint8_t step[STEP_BYTES] = {0x05, 0, 0, 0, 0, 0x85, 0xff, 0x75, 2, 0xff, 0xc0};

    sums[n] = 0;
    memcpy(p, "\x31\xc0", 2); /* xor eax, eax */
    p += 2;
    for (uint32_t i = 0; i < STEPS; i++, p += STEP_BYTES) {
        uint32_t value = n * 2654435761u + i;

        memcpy(p, step, sizeof(step));
        memcpy(p + 1, &value, 4);
        sums[n] += value;
    }
    *p = 0xc3;
}

static void emit_functions(uint8_t *p, long functions)
{
    for (long n = 0; n < functions; n++) {
        emit_function(p + n * FUNCTION_BYTES, (uint32_t)n);
    }
}

static void *anonymous_code(long functions, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    emit_functions(p, functions);
    CHECK(mprotect(p, size, PROT_READ | PROT_EXEC) == 0);
    return p;
}

static void *file_code(long functions, size_t size)
{
    int fd = memfd_create("code", MFD_CLOEXEC);
    uint8_t *bytes = malloc(size);
    void *p;

    CHECK(fd >= 0 && bytes != NULL);
    emit_functions(bytes, functions);
    CHECK(write(fd, bytes, size) == (ssize_t)size);
    p = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED && close(fd) == 0);
    free(bytes);
    return p;
}

static int is_given(const char *word, int argc, char **argv)
{
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], word) == 0) {
            return 1;
        }
    }
    return 0;
}

static void meet(long round)
{
    __atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < threads * (round + 1)) {
        sched_yield();
    }
}

static void *body(void *arg)
{
    long me = (long)arg;

    pthread_barrier_wait(&barrier);
    for (long r = 0; r < rounds; r++) {
        long n = all_same ? r : r * threads + me;
        uint32_t (*f)(int) = (uint32_t(*)(int))(void *)(code + n * FUNCTION_BYTES);

        meet(r);
        CHECK(f(1) == sums[n]);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 4);
    all_same = strcmp(argv[1], "same") == 0;
    threads = atol(argv[2]);
    rounds = atol(argv[3]);
    CHECK(threads > 0 && threads <= 1000 && rounds > 0);

    long functions = all_same ? rounds : rounds * threads;
    size_t size = (size_t)functions * FUNCTION_BYTES;
    pthread_t *t = calloc((size_t)threads, sizeof(*t));

    sums = calloc((size_t)functions, sizeof(*sums));
    CHECK(t != NULL && sums != NULL);
    code = is_given("file", argc, argv) ? file_code(functions, size)
                                        : anonymous_code(functions, size);
    if (is_given("where", argc, argv)) {
        printf("code 0x%lx 0x%lx\n", (unsigned long)code, (unsigned long)code + size);
    }
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (long i = 0; i < threads; i++) {
        CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0);
    }
    for (long i = 0; i < threads; i++) {
        pthread_join(t[i], NULL);
    }
    printf("%ld functions, %ld calls\n", functions, threads * rounds);
    free(t);
    return 0;
}
