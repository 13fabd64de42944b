/* SPDX-License-Identifier: BSD-2-Clause
 * world_sim.h -- guest threads for tests of the world lock, without translator or signals layer.
 * "Translated code" is a loop that polls nothing of the runtime's and counts in Sim.work: only the
 * signal handler ends it, by changing the interrupted context, as the real one does. The handler is
 * installed by the bare system call: TSan would put signals off. */
#ifndef WORLD_SIM_H
#define WORLD_SIM_H

#include "sched/rcu.h"
#include "sched/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <time.h>
#include <unistd.h>

#define CHECK(e)                                                                  \
    do {                                                                          \
        if (!(e)) {                                                               \
            fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #e); \
            abort();                                                              \
        }                                                                         \
    } while (0)

#define SIM_KICK SIGUSR1

typedef struct Sim {
    Thread t;
    CpuState cpu;
    pthread_t host;
    u64 rng;
    int id;
    u64 work;           /* turns of the loop; written by assembly only */
    volatile u32 kicks; /* that have arrived; written by the thread's handler */
} Sim;

static u32 sim_kick_delay_us; /* whoever kicks loses its processor just before */

static __thread Sim *sim_self;

/* void sim_loop(u64 *work, u64 max, const u32 *pending); and the handlers' return. */
void sim_loop(u64 *work, u64 max, const u32 *pending);
void sim_restorer(void);
extern const char sim_loop_begin[], sim_loop_end[];
__asm__(".text\n"
        "sim_loop:\n"
        "sim_loop_begin:\n"
        "    cmpl $0, (%rdx)\n"
        "    jne sim_loop_end\n"
        "1:  incq (%rdi)\n"
        "    dec %rsi\n"
        "    jnz 1b\n"
        "sim_loop_end:\n"
        "    ret\n"
        "sim_restorer:\n"
        "    mov $15, %eax\n"
        "    syscall\n");

__attribute__((no_sanitize("thread"))) static inline void sim_handler(int sig, siginfo_t *info,
                                                                      void *context)
{
    ucontext_t *uc = context;
    u64 pc = (u64)uc->uc_mcontext.gregs[REG_RIP];

    if (sim_self != NULL) {
        *(volatile u32 *)&sim_self->t.kicked = 0;
        sim_self->kicks = sim_self->kicks + 1;
    }
    if (pc >= (u64)sim_loop_begin && pc < (u64)sim_loop_end) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)sim_loop_end;
    }
}

static inline void sim_sleep_us(u64 us)
{
    struct timespec ts = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    nanosleep(&ts, NULL);
}

static inline bool sim_kick(Thread *t)
{
    if (sim_kick_delay_us != 0) {
        sim_sleep_us(sim_kick_delay_us);
    }
    return syscall(SYS_tgkill, mt_load_relaxed(&t->tgid), mt_load_relaxed(&t->tid), SIM_KICK) == 0;
}

static inline void sim_world(WorldConfig c)
{
    struct {
        void (*handler)(int, siginfo_t *, void *);
        u64 flags;
        void (*restorer)(void);
        u64 mask;
    } sa = {sim_handler, SA_SIGINFO | SA_RESTART | 0x04000000u /* SA_RESTORER */, sim_restorer, 0};

    CHECK(syscall(SYS_rt_sigaction, SIM_KICK, &sa, NULL, sizeof(sa.mask)) == 0);
    c.kick = sim_kick;
    CHECK(world_init(&c) == 0);
}

/* In the thread itself; it may be attached already, so others may read these. */
static inline void sim_begin(Sim *s)
{
    sim_self = s;
    mt_store_relaxed(&s->t.tid, (pid_t)syscall(SYS_gettid));
    mt_store_relaxed(&s->t.tgid, getpid());
}

static inline Sim *sim_new(int id, u64 seed)
{
    Sim *s = aligned_alloc(64, MT_ALIGN_UP(sizeof(Sim), 64));

    CHECK(s != NULL);
    memset(s, 0, sizeof(*s));
    s->id = id;
    s->rng = seed * 0x9e3779b97f4a7c15ull + (u64)id * 0xbf58476d1ce4e5b9ull + 1;
    s->t.cpu = &s->cpu;
    return s;
}

static inline u64 sim_random(Sim *s)
{
    s->rng ^= s->rng << 13;
    s->rng ^= s->rng >> 7;
    s->rng ^= s->rng << 17;
    return s->rng;
}

/* INSIDE: "runs translated code" until kicked, or for `max` turns, at least one; then does what the
 * run loop does. */
static inline void sim_code(Sim *s, u64 max)
{
    world_code_begin(&s->t);
    sim_loop(&s->work, max, &s->cpu.pending);
    world_code_end(&s->t);
    if (mt_load_relaxed(&s->cpu.pending) != 0) {
        world_safepoint(&s->t);
    }
}

static inline u64 sim_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

#endif
