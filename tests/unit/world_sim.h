/* SPDX-License-Identifier: BSD-2-Clause
 * world_sim.h -- guest threads for tests of the world lock, without translator or signals layer.
 * "Translated code" is a loop that polls nothing of the runtime's: only a signal handler ends it, by a
 * flag of its own, as the real one does by changing the interrupted context. */
#ifndef WORLD_SIM_H
#define WORLD_SIM_H

#include "sched/rcu.h"
#include "sched/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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
} Sim;

static __thread volatile sig_atomic_t sim_kicked;

static inline void sim_handler(int sig)
{
    sim_kicked = 1;
}

static inline void sim_kick(Thread *t, u32 bits)
{
    mt_fetch_or(&t->cpu->pending, bits);
    syscall(SYS_tgkill, mt_load_relaxed(&t->tgid), mt_load_relaxed(&t->tid), SIM_KICK);
}

static inline void sim_world(WorldConfig c)
{
    struct sigaction sa = {.sa_handler = sim_handler, .sa_flags = SA_RESTART};

    sigaction(SIM_KICK, &sa, NULL);
    c.kick = sim_kick;
    CHECK(world_init(&c) == 0);
}

/* In the thread itself; it may be attached already, so others may read these. */
static inline void sim_begin(Sim *s)
{
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

/* INSIDE: "runs translated code" until kicked, or for at most `max` turns; then does what the run loop
 * does. */
static inline void sim_code(Sim *s, u64 max)
{
    sim_kicked = 0;
    if (mt_load_relaxed(&s->cpu.pending) == 0) {
        for (u64 i = 0; i < max && !sim_kicked; i++) {
            mt_cpu_relax();
#ifdef __SANITIZE_THREAD__
            if (i % 256 == 0) {
                usleep(0); /* TSan runs signal handlers in calls that it intercepts only */
            }
#endif
        }
    }
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

static inline void sim_sleep_us(u64 us)
{
    struct timespec ts = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};

    nanosleep(&ts, NULL);
}

#endif
