/* SPDX-License-Identifier: BSD-2-Clause
 * flow_coroutine.c -- stack switches: ucontext, and a hand-written switch, also between threads.
 * guest: */
#include <pthread.h>
#include <ucontext.h>

#include "guest.h"

static ucontext_t main_context, side[3];
static char stacks[3][65536];
static int turn;

static void body(int id, int count)
{
    for (int i = 0; i < count; i++) {
        if (i < 3 || i == count - 1) {
            printf("side %d step %d\n", id, i);
        }
        turn = (id + 1) % 3;
        swapcontext(&side[id], &side[turn]);
    }
}

/* switch_stack(save, to): push the callee-saved registers, exchange stacks */
__asm__(".text\nswitch_stack:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi); mov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
        "start_stack: mov %r12, %rdi; call *%rbx; ud2\n");
void switch_stack(void **save, void *to);
void start_stack(void);

struct green {
    void *sp, *back;
    long sum, left;
};

static void green_main(struct green *g)
{
    for (;;) {
        g->sum += g->left;
        g->left--;
        switch_stack(&g->sp, g->back);
    }
}

static void green_init(struct green *g, char *stack, size_t size, long n)
{
    void **sp = (void **)(((uintptr_t)stack + size) & ~15ul);
    *--sp = NULL;
    *--sp = (void *)start_stack;
    *--sp = (void *)green_main; /* rbx */
    *--sp = NULL;
    *--sp = g; /* r12 */
    *--sp = NULL;
    *--sp = NULL;
    *--sp = NULL;
    *g = (struct green){.sp = sp, .left = n};
}

static struct green shared_green;

static void *continue_elsewhere(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        switch_stack(&shared_green.back, shared_green.sp);
    }
    return NULL;
}

int main(void)
{
    for (int i = 0; i < 3; i++) {
        getcontext(&side[i]);
        side[i].uc_stack.ss_sp = stacks[i];
        side[i].uc_stack.ss_size = sizeof stacks[i];
        side[i].uc_link = &main_context;
        makecontext(&side[i], (void (*)(void))body, 2, i, 300);
    }
    swapcontext(&main_context, &side[0]);
    printf("back in main, turn %d\n", turn);
    static struct green g[50];
    for (int i = 0; i < 50; i++) {
        green_init(&g[i], malloc(16384), 16384, 1000 + i);
    }
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 50; i++) {
            switch_stack(&g[i].back, g[i].sp);
        }
    }
    long sum = 0;
    for (int i = 0; i < 50; i++) {
        sum += g[i].sum;
    }
    printf("%ld\n", sum);
    green_init(&shared_green, malloc(16384), 16384, 5000);
    for (int i = 0; i < 4; i++) {
        pthread_t t;
        pthread_create(&t, NULL, continue_elsewhere, NULL);
        pthread_join(t, NULL);
    }
    printf("%ld %ld\n", shared_green.sum, shared_green.left);
    return 0;
}
