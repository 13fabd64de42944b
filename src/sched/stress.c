/* SPDX-License-Identifier: BSD-2-Clause
 * stress.c -- --stress.
 * Role: at each entry into the dispatcher, with a small probability, does something that is always
 *       allowed but rare: a code cache flush, a stop of the world, giving the processor away.
 * Each thread has its own generator, seeded by the seed and the order in which threads first
 * come. */
#include "sched/stress.h"

#include "base/atomics.h"
#include "base/log.h"
#include "base/options.h"
#include "jit/translate.h"
#include "sched/world.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { STRESS_FLUSH = 1, STRESS_REGS = 2, STRESS_PREEMPT = 4, STRESS_WORLD = 8, STRESS_GS = 16 };

bool mt_stress_on;
static u32 modes;
static u64 seed;
static u32 thread_number;
static __thread u64 state;

static u32 parse_modes(const char *s)
{
    static const char *const names[] = {"flush", "regs", "preempt", "world", "gs"};
    u32 m = 0;

    while (*s != '\0') {
        size_t n = strcspn(s, ",");
        u32 i = 0;

        while (i < MT_ARRAY_SIZE(names) && (strlen(names[i]) != n || strncmp(s, names[i], n))) {
            i++;
        }
        if (i == MT_ARRAY_SIZE(names)) {
            mt_die(1, "--stress: unknown mode '%.*s' (flush, regs, preempt, world, gs)", (int)n, s);
        }
        m |= 1u << i;
        s += n + (s[n] == ',');
    }
    return m;
}

void stress_init(void)
{
    if (mt_opts.stress == NULL) {
        return;
    }
    modes = parse_modes(mt_opts.stress);
    if (mt_opts.stress_seed != NULL) {
        char *end;

        seed = strtoull(mt_opts.stress_seed, &end, 0);
        if (*end != '\0' || end == mt_opts.stress_seed) {
            mt_die(1, "--stress-seed: '%s' is not a number", mt_opts.stress_seed);
        }
        mt_umsg("stress seed: %llu", (unsigned long long)seed);
    } else if (modes != STRESS_GS) { /* that one rolls no dice */
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
            seed = 1;
        }
        mt_umsg_always("stress seed: %llu", (unsigned long long)seed);
    }
    mt_stress_on = modes != 0;
    mt_tool_gs = (modes & STRESS_GS) != 0;
}

/* xorshift64* */
static u32 next_random(void)
{
    if (state == 0) {
        u32 n = mt_fetch_add(&thread_number, 1) + 1; /* any order will do */

        state = (seed + n) * 0x9e3779b97f4a7c15ull | 1;
    }
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (u32)(state * 0x2545f4914f6cdd1dull >> 32);
}

static bool chance(u32 one_in)
{
    return next_random() % one_in == 0;
}

/* Fills the scratch slots, so that code which relies on their old contents shows. */
static void poison_slots(void)
{
    for (u32 i = 2; i < MT_ARRAY_SIZE(mt_cpu.slot); i++) {
        mt_cpu.slot[i] = 0xdeadbeef00000000ull | next_random();
    }
}

bool stress_now(Thread *t)
{
    bool left = false;

    if ((modes & STRESS_FLUSH) && chance(512)) {
        translate_flush(t);
        left = true;
    }
    if ((modes & STRESS_REGS) && chance(4)) {
        poison_slots();
    }
    if ((modes & STRESS_PREEMPT) && chance(64)) {
        world_leave(t);
        sched_yield();
        world_enter(t);
        left = true;
    }
    if ((modes & STRESS_WORLD) && chance(256)) {
        world_stop(t);
        world_resume(t);
        left = true;
    }
    return left;
}
