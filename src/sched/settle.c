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
 *             S3. The processes that descend from this one are waited for as well: their threads
 *                 are among those of S2, and the same ones before and behind the looks, so none
 *                 was made since by one that was not looked at yet.
 *             S4. A descendant that itself waits for something to settle sleeps no longer than
 *                 SETTLE_PAUSE_NS at a time: looks that are further apart see it move.
 * Locking:    the list's lock while names are copied; the looks themselves are done without locks,
 *             so that no thread is found asleep because it waits for us.
 * Limits:     the kernel tells the state of a thread through a file, which needs a descriptor for
 *             some microseconds. Where /proc is not to be had, a thread counts as asleep after
 *             SETTLE_BLIND_NS; runs are then not surely the same. Nor are they once a descendant
 *             has used SETTLE_FAMILY_NS (it may wait for this process by reading memory that
 *             it shares), or several wake up again and again (SETTLE_FAMILY_LOOKS): from then on
 *             none is waited for. */
#include "sched/settle.h"

#include "sched/family.h"
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
#define SETTLE_OTHERS_DISK_NS 1000000000
#define SETTLE_PAUSE_NS 500000
#define SETTLE_APART_NS 2000000
#define SETTLE_FAMILY_NS 2000000000 /* of processor time */
#define SETTLE_FAMILY_LOOKS 1000    /* that found all of it asleep, but not for long */
#define SLEEPS_DISK_NS 500000000

typedef struct Sample {
    pid_t tgid, tid;
    Thread *t;    /* compared, never followed; NULL: another process's */
    u64 switches; /* context switches so far */
    bool vforks;  /* it sleeps uninterruptibly until its vfork child has exec'ed */
} Sample;

/* An arbiter's own: a tracer may make it stand still while another one takes its place. */
typedef struct Samples {
    Sample *at;
    u32 n, capacity;
} Samples;

static pid_t root;          /* this process; of those that share memory by vfork, the first */
static bool family_ignored; /* atomic: one of its threads does not come to rest */

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
    case 'D': /* a disk, soon over; or a vfork, whose child may be stopped */
        return s->vforks || waited > (s->t != NULL ? SETTLE_DISK_NS : SETTLE_OTHERS_DISK_NS);
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
            s->at[n++] = (Sample){mt_load_relaxed(&t->tgid), mt_load_relaxed(&t->tid), t, 0, false};
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

static void add_sample(Samples *s, pid_t tgid, pid_t tid, bool vforks)
{
    if (s->n == s->capacity) {
        s->capacity = 2 * s->capacity + 16;
        s->at = realloc(s->at, s->capacity * sizeof(*s->at));
        MT_ASSERT(s->at != NULL);
    }
    s->at[s->n++] = (Sample){tgid, tid, NULL, 0, vforks};
}

/* A vfork child that is the arbiter itself is none of those that it waits for. */
static void add_descendant(void *samples, pid_t tgid, pid_t tid)
{
    if (tgid != getpid()) {
        add_sample(samples, tgid, tid, false);
    }
}

static bool has_family(void)
{
    return !mt_load_relaxed(&family_ignored) && (getpid() != root || family_exists());
}

/* A vfork child is a descendant. Its parent wakes up when it has exec'ed, and arrives then. */
static void collect_parents(Samples *s)
{
    mt_mutex_lock(&world_threads_lock);
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        pid_t tid = mt_load_acquire(&t->vfork_tid); /* pairs with set_vfork_parent() */

        if (tid != 0) {
            add_sample(s, mt_load_relaxed(&t->vfork_tgid), tid, true);
        }
    }
    mt_mutex_unlock(&world_threads_lock);
}

static void collect_family(Samples *s)
{
    s->n = 0;
    if (has_family()) {
        collect_parents(s);
        family_foreach(getpid() == root ? 0 : root, add_descendant, s);
    }
}

static bool same_threads(const Samples *a, const Samples *b)
{
    for (u32 i = 0; i < a->n && i < b->n; i++) {
        if (a->at[i].tid != b->at[i].tid) {
            return false;
        }
    }
    return a->n == b->n;
}

static bool all_asleep(Samples *s, u64 waited)
{
    for (u32 i = 0; i < s->n; i++) {
        if (!look(&s->at[i], waited)) {
            return false;
        }
    }
    return true;
}

static bool none_has_moved(const Samples *s, u64 waited)
{
    for (u32 i = 0; i < s->n; i++) {
        Sample again = s->at[i];

        if (!look(&again, waited) || again.switches != s->at[i].switches) {
            return false;
        }
    }
    return true;
}

/* S4: one descendant with one thread has nobody to wait for. */
static void wait_apart(const Samples *family)
{
    struct timespec ts = {0, SETTLE_APART_NS};

    if (family->n > 1) {
        nanosleep(&ts, NULL);
    }
}

/* Processor time of the samples' processes; where it can't be had, the time that has gone by. */
static i64 time_used(const Samples *s)
{
    i64 ns = 0;

    for (u32 i = 0; i < s->n; i++) {
        pid_t tgid = s->at[i].tgid;
        clockid_t clock = CLOCK_MONOTONIC;
        struct timespec ts = {0, 0};

        if (i == 0 || s->at[i - 1].tgid != tgid) {
            (void)!clock_getcpuclockid(tgid, &clock);
            clock_gettime(clock, &ts);
        }
        ns += (i64)ts.tv_sec * 1000000000 + (i64)ts.tv_nsec;
    }
    return ns;
}

/* What an arbiter looks at. */
typedef struct Settling {
    Samples own, family, again;
    i64 used;  /* by the family, at the first look at it; 0: not looked at yet */
    u32 moved; /* looks that found it asleep, and not any more behind the pause */
} Settling;

static bool family_asleep(Settling *s, u64 waited)
{
    if (all_asleep(&s->family, waited)) {
        return true;
    }
    if (s->used == 0) {
        s->used = time_used(&s->family);
    } else if (time_used(&s->family) - s->used > SETTLE_FAMILY_NS) {
        mt_store_relaxed(&family_ignored, true);
    }
    return false;
}

static bool settled(Settling *s, u64 waited)
{
    if (world_in_transit() || !collect(&s->own)) {
        return false;
    }
    collect_family(&s->family);
    if (!all_asleep(&s->own, waited) || !family_asleep(s, waited)) {
        return false;
    }
    wait_apart(&s->family);
    if (!none_has_moved(&s->own, waited)) {
        return false;
    }
    if (!none_has_moved(&s->family, waited)) {
        if (++s->moved == SETTLE_FAMILY_LOOKS) {
            mt_store_relaxed(&family_ignored, true);
        }
        return false;
    }
    collect_family(&s->again);
    return same_threads(&s->family, &s->again) && still_away(&s->own) && !world_in_transit();
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
    Sample first = {tgid, tid, NULL, 0, false}, again = first;
    struct timespec disk = {0, SLEEPS_DISK_NS};
    int state = has_not_run(tid) ? state_of(&first) : 'R';

    if (state == 'D' && seeded) {
        nanosleep(&disk, NULL);
    }
    return stands_still(state) && state_of(&again) == state && again.switches == first.switches;
}

void settle_init(void)
{
    root = getpid();
}

void settle_wait(void)
{
    Settling s = {{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}, 0, 0};
    u64 start;
    long pause = 10000;

    if (world_thread_count() == 1 && !world_in_transit() && !has_family()) {
        return;
    }
    /* Most system calls are over after a moment. */
    for (int i = 0; i < 8; i++) {
        sched_yield();
    }
    start = now_ns();
    while (!settled(&s, now_ns() - start)) {
        struct timespec ts = {0, pause};

        nanosleep(&ts, NULL);
        pause = 2 * pause < SETTLE_PAUSE_NS ? 2 * pause : SETTLE_PAUSE_NS;
    }
    free(s.own.at);
    free(s.family.at);
    free(s.again.at);
}
