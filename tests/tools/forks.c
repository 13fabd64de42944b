/* SPDX-License-Identifier: BSD-2-Clause
 * forks.c -- children that run code which their parent doesn't, one behind the other, for
 * tests/child_code.py. Arguments: same|own|memory|threads CHILDREN. same: all the same; own: each
 * another piece; memory: code that the child has written, where the parent has none, or other code;
 * threads: as same, from four threads. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* clang-format off */
#define STEP(n)               \
    case (n):                 \
        x ^= x >> ((n) % 13 + 1); \
        if (x & 2) {          \
            x += (n);         \
        }                     \
        break;
#define STEPS_10(n)                                       \
    STEP((n) + 0) STEP((n) + 1) STEP((n) + 2) STEP((n) + 3) STEP((n) + 4) \
    STEP((n) + 5) STEP((n) + 6) STEP((n) + 7) STEP((n) + 8) STEP((n) + 9)
#define STEPS 200

__attribute__((noinline)) static uint64_t step(uint64_t x, int n)
{
    switch (n) {
        STEPS_10(0) STEPS_10(10) STEPS_10(20) STEPS_10(30) STEPS_10(40)
        STEPS_10(50) STEPS_10(60) STEPS_10(70) STEPS_10(80) STEPS_10(90)
        STEPS_10(100) STEPS_10(110) STEPS_10(120) STEPS_10(130) STEPS_10(140)
        STEPS_10(150) STEPS_10(160) STEPS_10(170) STEPS_10(180) STEPS_10(190)
    }
    return x;
}
/* clang-format on */

static const char *kind;
static int children;
static uint8_t *code;

/* Many small functions: mov $i,%eax; ret. */
static int run_own_code(int add)
{
    int sum = 0;

    if (mmap(code, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
        code) {
        return -1;
    }
    for (int i = 0; i < STEPS; i++) {
        uint8_t *p = code + i * 64;
        int n = i + add;

        p[0] = 0xb8;
        memcpy(p + 1, &n, 4);
        p[5] = 0xc3;
    }
    mprotect(code, 65536, PROT_READ | PROT_EXEC);
    for (int i = 0; i < STEPS; i++) {
        sum += ((int (*)(void))(void *)(code + i * 64))();
    }
    return sum;
}

static int child(int k)
{
    uint64_t x = 88172645463325252ULL;

    if (strcmp(kind, "memory") == 0) {
        return run_own_code(k) == STEPS * (STEPS - 1) / 2 + k * STEPS ? 0 : 1;
    }
    for (int i = 0; i < STEPS; i++) {
        if (strcmp(kind, "own") != 0 || i % children == k) {
            x = step(x, i);
        }
    }
    return x == 0;
}

static void *forks(void *arg)
{
    for (int k = 0; k < children; k++) {
        pid_t pid = fork();
        int status = -1;

        if (pid == 0) {
            _exit(child(k));
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            fprintf(stderr, "child %d: status %x\n", k, status);
            exit(1);
        }
    }
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[4];

    if (argc != 3) {
        return 2;
    }
    kind = argv[1];
    children = atoi(argv[2]);
    code = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(kind, "memory") == 0 && run_own_code(1000) < 0) {
        return 1; /* other code than the children's at the same place */
    }
    if (strcmp(kind, "threads") != 0) {
        forks(NULL);
        return 0;
    }
    for (int i = 0; i < 4; i++) {
        pthread_create(&t[i], NULL, forks, NULL);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
    }
    return 0;
}
