/* SPDX-License-Identifier: BSD-2-Clause
 * world_scan.c -- waiting until no thread is INSIDE, for stops of the world and grace periods.
 * Role:       a barrier on all processors, then a look at all threads' words; kicks for those that
 *             are INSIDE. A grace period, and a stop that must be empty, wait until each has been
 *             OUTSIDE. Another stop waits for those in the runtime's code only; those in translated
 *             code it halts: they are kicked, and after the barrier none of them can execute
 *             anything of the guest's before it has been in its signal handler
 *             (docs/CONCURRENCY.md, "Halting").
 * Invariants: W3. at most one stop and one grace period wait for threads at a time (scan and grace
 *                 locks); mt_world_gate.waiting_on[0] is the former's, [1] the latter's.
 *             K1. Thread.kicked != 0, seen by the stopper behind a barrier  =>  a kick is pending
 *                 in the kernel, or the handler it led to has not got as far as clearing the word.
 *             K2. kicks for a stop or a grace period are sent in one of mt_world.kicks, to a thread
 *                 that has been seen INSIDE since that began: none reaches a thread that has been
 *                 OUTSIDE and then waited for the kicks that went on (exec: the new program would
 *                 die of it).
 *             K3. they are sent behind a barrier that follows the bit in `attention`, and their
 *                 bit in cpu->pending is set before. So a thread that has become OUTSIDE, then
 *                 finds `attention` zero or waits for the kicks that go on, then finds `pending`
 *                 zero, has none on its way: a guest's system call is never interrupted by one. Who
 *                 clears those bits waits for the kick.
 * Locking:    world.c.
 * Lifetime:   Thread objects that a scan looks at stay, see threadlist.c T2.
 * Signals:    nothing here may be called from a host signal handler. */
#include "sched/world_int.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Atomic, written under the grace lock: twice the grace periods that have begun and ended; odd
 * while one is under way. */
static u64 gp_seq;

/* ---- barrier ---- */

static int membarrier(int cmd)
{
    return (int)syscall(SYS_membarrier, cmd, 0, 0);
}

static void register_membarrier(void)
{
    if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0) {
        mt_fetch_or(&mt_world_gate.attention, WORLD_FENCES);
    }
}

/* Each thread of the process (vfork children included: it goes by the memory, not the thread group)
 * executes a full barrier before this returns. False: there is no membarrier. */
static bool barrier_everywhere(void)
{
    struct timespec ms = {0, 1000000};

    mt_fence_full();
    if ((mt_load_relaxed(&mt_world_gate.attention) & WORLD_FENCES) != 0) {
        return false;
    }
    if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) {
        return true;
    }
    /* The guest's seccomp filter has taken it away. From now on readers execute fences; a store
     * that is in a processor's buffer at this moment has left it long before a millisecond is
     * over. */
    mt_fetch_or(&mt_world_gate.attention, WORLD_FENCES);
    nanosleep(&ms, NULL);
    return false;
}

void world_scan_init(void)
{
    annot_ignore(&mt_world_gate, sizeof(mt_world_gate));
    register_membarrier();
}

void world_scan_after_fork_child(Thread *t)
{
    for (int i = 0; i < 2; i++) { /* none goes on, with the locks held */
        mt_store_relaxed(&mt_world.scans[i].waiting, 0);
        mt_store_relaxed(&mt_world.kicks[i].waiting, 0);
        mt_store_relaxed(&mt_world_gate.waiting_on[i], NULL);
    }
    mt_store_relaxed(&t->kicked, 0); /* pending signals are not inherited */
    register_membarrier();
}

/* ---- walks ---- */

void walk_wait(Walk *w)
{
    u32 seq;

    mt_fetch_add(&w->waiting, 1);
    seq = mt_load_acquire(&w->seq);
    while ((seq & 1) != 0 && mt_load_acquire(&w->seq) == seq) {
        futex_wait(&w->seq, seq, -1);
    }
    mt_fetch_sub(&w->waiting, 1);
}

/* ---- kicks ---- */

void world_kick(Thread *t, u32 pend_bits)
{
    /* ACQ_REL pairs with the looks at `pending` behind a signal or a check: the bits are there
     * before the kick is. */
    if (mt_fetch_or(&t->cpu->pending, pend_bits) == 0) {
        mt_world.config.kick(t);
    }
}

static void wait_kick_walks(void)
{
    walk_wait(&mt_world.kicks[SCAN_STOP]);
    walk_wait(&mt_world.kicks[SCAN_GRACE]);
}

/* K2: t, being OUTSIDE, is sent none behind this. */
void world_kernel_thread_changed(Thread *t)
{
    wait_kick_walks();
    mt_store_relaxed(&t->kicked, 0);
}

void world_wait_kicks(Thread *t)
{
    if (!world_owns_stop(t)) {
        wait_kick_walks();
    }
}

void world_take_kick(Thread *t)
{
    world_wait_kicks(t);
    syscall(SYS_getpid); /* signals are delivered at the end of any call */
}

/* ---- waiting for the end of stays ---- */

/* Kicks the threads that are INSIDE, and links those to be waited for. */
static Thread *scan_collect(Thread *self, u32 which, u32 pend)
{
    Thread *found = NULL;

    walk_begin(&mt_world.kicks[which]);
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        WorldScan *s = &t->scan[which];

        if (t == self) {
            continue;
        }
        /* ACQ pairs with world_step(): if it is OUTSIDE, what it did INSIDE is over for us too. */
        s->world = mt_load_acquire(&t->world_state);
        s->rcu = which == SCAN_GRACE ? mt_load_acquire(&t->rcu_state) : 0;
        if ((s->world & 1) != 0) {
            world_kick(t, pend);
        }
        if (((s->world | s->rcu) & 1) != 0) {
            s->next = found;
            found = t;
        }
    }
    walk_end(&mt_world.kicks[which]);
    return found;
}

/* The bits of a word that say that it is still the same stay, or section, or moment. */
#define SAME_STAY (~WORLD_WHERE)
#define SAME_WORD (~0u)

/* t's kick has had no effect so far. */
static void kick_again(Thread *t, u32 which, u32 seen)
{
    walk_begin(&mt_world.kicks[which]);
    if (((mt_load_acquire(&t->world_state) ^ seen) & SAME_STAY) == 0) {
        mt_world.config.kick(t);
    }
    walk_end(&mt_world.kicks[which]);
}

/* Sleeps until t's word differs from the odd value that was seen, in the bits of `same`. */
static void scan_sleep(Thread *t, u32 which, u32 *word, u32 seen, u32 same)
{
    i64 patience = WORLD_PATIENCE_NS;
    u32 now;

    if ((seen & 1) == 0) {
        return;
    }
    /* ACQ: as in scan_collect() */
    while (now = mt_load_acquire(word), ((now ^ seen) & same) == 0) {
        /* Full barrier; pairs with world_wake_scanner(): either it sees this and wakes us, or the
         * kernel sees its new word and does not let us sleep. */
        mt_exchange(&mt_world_gate.waiting_on[which], word);
        if (futex_wait(word, now, patience) == -ETIMEDOUT && word == &t->world_state) {
            kick_again(t, which, seen);
            patience = patience < 1000000000 ? 2 * patience : patience;
        }
    }
    mt_store_relaxed(&mt_world_gate.waiting_on[which], NULL); /* a late wake is harmless */
}

void world_scan(Thread *self, u32 which, u32 pend)
{
    barrier_everywhere();
    for (Thread *t = scan_collect(self, which, pend); t != NULL; t = t->scan[which].next) {
        scan_sleep(t, which, &t->world_state, t->scan[which].world, SAME_STAY);
        scan_sleep(t, which, &t->rcu_state, t->scan[which].rcu, SAME_WORD);
    }
}

/* ---- halting ---- */

/* Asks t, which is INSIDE in the state seen, to halt. True: nothing new was to be done, so behind
 * the last barrier it could see the bit, and its kick was on its way. */
static bool halt_one(Thread *t, u32 seen, bool *unreachable)
{
    bool old = (mt_fetch_or(&t->cpu->pending, MT_PEND_WORLD) & MT_PEND_WORLD) != 0;

    if (world_where(seen) != WORLD_CODE || mt_load_relaxed(&t->kicked) != 0) {
        return old;
    }
    mt_store_relaxed(&t->kicked, 1); /* K1: before it is sent */
    if (!mt_world.config.kick(t)) {
        mt_store_relaxed(&t->kicked, 0);
        *unreachable = true;
        return old;
    }
    return false;
}

/* A look at all: halts those INSIDE, links those that must be waited for. *again: somebody has been
 * told only now, so a barrier and another look are needed. */
static Thread *halt_collect(Thread *self, bool *again)
{
    Thread *found = NULL;

    *again = false;
    walk_begin(&mt_world.kicks[SCAN_STOP]);
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        /* ACQ pairs with world_step(): what it did in the runtime is over for us too. */
        u32 seen = mt_load_acquire(&t->world_state);
        bool wait = world_where(seen) == WORLD_IN;

        if (t == self || world_where(seen) == WORLD_OUT || world_where(seen) == WORLD_PARKED) {
            continue;
        }
        *again |= !halt_one(t, seen, &wait);
        if (wait) {
            t->scan[SCAN_STOP].world = seen;
            t->scan[SCAN_STOP].next = found;
            found = t;
        }
    }
    walk_end(&mt_world.kicks[SCAN_STOP]);
    return found;
}

bool world_halt(Thread *self)
{
    Thread *wait;
    bool again;

    for (;;) {
        if (!barrier_everywhere()) { /* the first one for K3 */
            return false;
        }
        wait = halt_collect(self, &again);
        if (again) {
            continue;
        }
        if (wait == NULL) {
            return true;
        }
        for (; wait != NULL; wait = wait->scan[SCAN_STOP].next) {
            scan_sleep(wait, SCAN_STOP, &wait->world_state, wait->scan[SCAN_STOP].world, SAME_WORD);
        }
    }
}

/* ---- grace periods ---- */

void world_synchronize(Thread *t)
{
    u64 need;

    MT_DCHECK(!world_is_inside(t) && t->rcu_nest == 0 && !world_owns_stop(t));
    mt_fence_full(); /* what the caller has unlinked is unlinked before it looks at gp_seq */
    /* The end of the first grace period that begins after this moment. */
    need = (mt_load_acquire(&gp_seq) + 3) & ~1ull;
    mt_mutex_lock(&mt_world.grace);
    if (gp_seq < need) { /* else another thread's grace period has served us while we waited */
        mt_fetch_add(&gp_seq, 1);
        mt_fetch_or(&mt_world_gate.attention, WORLD_SCAN);
        walk_begin(&mt_world.scans[SCAN_GRACE]);
        world_scan(t, SCAN_GRACE, MT_PEND_RCU);
        walk_end(&mt_world.scans[SCAN_GRACE]);
        mt_fetch_and(&mt_world_gate.attention, ~WORLD_SCAN);
        mt_fetch_add(&gp_seq, 1);
    }
    mt_mutex_unlock(&mt_world.grace);
}
