/* SPDX-License-Identifier: BSD-2-Clause
 * settle.c -- --sched-seed: when is it certain which threads could run?
 * Role:       the next thread is chosen from those at the gate. For that to be the same set in each
 *             run, no thread may be on its way there: each must have arrived, or be asleep in a
 *             system call that only an action of another guest thread (or the outside) can end.
 * Invariants: S1. A thread that is found asleep by two looks, with the same count of context
 *                 switches, has slept all the time between them.
 *             S2. The second round of looks begins after the first has ended: so, if S1 holds for
 *                 all threads that are away, there was a moment at which all of them slept; and
 *                 nobody INSIDE could wake one since.
 * Locking:    the list's lock while names are copied; the looks themselves are done without locks,
 *             so that no thread is found asleep because it waits for us.
 * Limits:     the kernel tells the state of a thread through a file, which needs a descriptor for
 *             some microseconds. Where /proc is not to be had, a thread counts as asleep after
 *             SETTLE_BLIND_NS; runs are then not surely the same. */
#include "sched/settle.h"

#include "sched/world_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_BLIND_NS 5000000
#define SETTLE_DISK_NS 10000000
#define SLEEPS_DISK_NS 500000000

typedef struct Sample {
    pid_t tgid, tid;
    Thread *t;    /* compared, never followed */
    u64 switches; /* context switches so far */
} Sample;

/* An arbiter's own: a tracer may make it stand still while another one takes its place. */
typedef struct Samples {
    Sample *at;
    u32 n, capacity;
} Samples;

static u64 now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
}

/* Reads /proc/TGID/task/TID/status; the length, or -errno. */
static int read_status(const Sample *s, char *buf, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/status", s->tgid, s->tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    n = read(fd, buf, size - 1);
    n = n < 0 ? -errno : n;
    close(fd);
    buf[n < 0 ? 0 : n] = '\0';
    return (int)n;
}

static u64 number_after(const char *text, const char *key)
{
    const char *p = strstr(text, key);

    return p != NULL ? strtoull(p + strlen(key), NULL, 10) : 0;
}

/* The kernel's letter for the thread's state; 0: not to be had, -1: it is gone. Fills in its count
 * of context switches. */
static int state_of(Sample *s)
{
    char buf[4096];
    int n = read_status(s, buf, sizeof(buf));
    const char *state = n > 0 ? strstr(buf, "\nState:\t") : NULL;

    if (state == NULL) {
        return n == -ENOENT || n == -ESRCH ? -1 : 0;
    }
    s->switches = number_after(buf, "\nvoluntary_ctxt_switches:\t") +
                  number_after(buf, "\nnonvoluntary_ctxt_switches:\t");
    return state[8];
}

/* Is the thread asleep, for a reason that lasts? */
static bool look(Sample *s, u64 waited)
{
    if (s->tid == 0) {
        return false; /* attached by its creator, and not yet running */
    }
    switch (state_of(s)) {
    case 0: return waited > SETTLE_BLIND_NS;
    case 'R': return false;
    case 'D': /* a disk, soon over; or the parent of a vfork child, which is not */
        return waited > SETTLE_DISK_NS;
    default: /* S asleep, T t stopped, Z X dead */ return true;
    }
}

/* Collects the threads that are away. False: one is just arriving, or the list has outgrown us. */
static bool collect(Samples *s)
{
    u32 n = 0;
    bool ok = true;

    mt_mutex_lock(&world_threads_lock);
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        u32 phase = mt_load_acquire(&t->gate_phase); /* pairs with set_phase() */

        if (phase == GATE_ARRIVING || phase == GATE_HOLDS) {
            ok = false;
        } else if (phase == GATE_AWAY && n < s->capacity) {
            s->at[n++] = (Sample){mt_load_relaxed(&t->tgid), mt_load_relaxed(&t->tid), t, 0};
        } else if (phase == GATE_AWAY) {
            ok = false;
            n++;
        }
    }
    mt_mutex_unlock(&world_threads_lock);
    if (n > s->capacity) {
        s->capacity = 2 * n;
        s->at = realloc(s->at, s->capacity * sizeof(*s->at));
        MT_ASSERT(s->at != NULL);
    }
    s->n = n;
    return ok;
}

/* The same threads are away as at collect()? */
static bool still_away(const Samples *s)
{
    u32 n = 0;
    bool ok = true;

    mt_mutex_lock(&world_threads_lock);
    for (Thread *t = threadlist_first(); t != NULL && ok; t = threadlist_next(t)) {
        if (mt_load_acquire(&t->gate_phase) != GATE_WAITING) {
            ok = n < s->n && s->at[n].t == t && mt_load_relaxed(&t->gate_phase) == GATE_AWAY;
            n++;
        }
    }
    mt_mutex_unlock(&world_threads_lock);
    return ok && n == s->n;
}

static bool settled(Samples *s, u64 waited)
{
    if (world_in_transit() || !collect(s)) {
        return false;
    }
    for (u32 i = 0; i < s->n; i++) {
        if (!look(&s->at[i], waited)) {
            return false;
        }
    }
    for (u32 i = 0; i < s->n; i++) {
        Sample again = s->at[i];

        if (!look(&again, waited) || again.switches != s->at[i].switches) {
            return false;
        }
    }
    return still_away(s) && !world_in_transit();
}

/* Has the thread used no processor for a millisecond? No descriptor is needed for that. Unknown:
 * perhaps. */
static bool has_not_run(pid_t tid)
{
    /* MAKE_THREAD_CPUCLOCK in the kernel's posix-timers */
    clockid_t clock = (clockid_t)(~(u32)tid << 3 | 6);
    struct timespec ms = {0, 1000000}, before = {0, 0}, after = {0, 0};

    clock_gettime(clock, &before);
    nanosleep(&ms, NULL);
    clock_gettime(clock, &after);
    return before.tv_sec == after.tv_sec && before.tv_nsec == after.tv_nsec;
}

/* Asleep, or stopped by a tracer, which may wait for what another thread does. */
static bool stands_still(int state)
{
    return state == 'S' || state == 'D' || state == 'T' || state == 't';
}

bool settle_sleeps(pid_t tgid, pid_t tid, bool seeded)
{
    Sample first = {tgid, tid, NULL, 0}, again = first;
    struct timespec disk = {0, SLEEPS_DISK_NS};
    int state = has_not_run(tid) ? state_of(&first) : 'R';

    if (state == 'D' && seeded) {
        nanosleep(&disk, NULL);
    }
    return stands_still(state) && state_of(&again) == state && again.switches == first.switches;
}

void settle_wait(void)
{
    Samples samples = {NULL, 0, 0};
    u64 start;
    long pause = 10000;

    if (world_thread_count() == 1 && !world_in_transit()) {
        return;
    }
    /* Most system calls are over after a moment. */
    for (int i = 0; i < 8; i++) {
        sched_yield();
    }
    start = now_ns();
    while (!settled(&samples, now_ns() - start)) {
        struct timespec ts = {0, pause};

        nanosleep(&ts, NULL);
        pause = pause < 500000 ? 2 * pause : pause;
    }
    free(samples.at);
}
