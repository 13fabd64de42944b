/* SPDX-License-Identifier: BSD-2-Clause
 * world.c -- the big lock as a read/write lock, and grace periods.
 * Role:       readers say in a word of their own whether they are INSIDE; whoever wants the world says
 *             so in one word that all look at, makes every processor execute a barrier (membarrier),
 *             looks at all threads' words and waits for those that are INSIDE.
 * Invariants: W3. at most one scan at a time (scan lock); mt_world_gate.waiting_on is the scanner's.
 *             W4. owner == t  =>  WORLD_STOP is set (parallel) or t holds the gate (sequential), and
 *                 no other thread is INSIDE.
 *             W5. a thread that waits for the writers' queue, the scan lock or a resume is OUTSIDE: so
 *                 those who hold them never wait for it.
 * Locking:    writers' queue, then scan, then the list's lock. None is held while the world is
 *             stopped, but the queue's head place.
 * Lifetime:   Thread objects that a scan sleeps on stay, see threadlist.c T2.
 * Signals:    nothing here may be called from a host signal handler. */
#include "sched/world.h"

#include "base/stats.h"
#include "sched/world_priv.h"

#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

WorldGate mt_world_gate;
World mt_world = {
    .scan = MT_MUTEX_INIT(RANK_WORLD_SCAN),
    .queue = MT_MUTEX_INIT(RANK_WORLD_QUEUE),
};

/* Writers, first come first served. Guarded by the queue lock. */
static Thread *writer;
static ThreadQueue writers;

/* Atomic: one more at each resume; readers that are kept out sleep on it. */
static u32 stop_gen;
/* Atomic: readers that are kept out or have not yet entered after a resume. */
static u32 blocked_readers;
/* Atomic, written under the scan lock: twice the grace periods that have begun and ended; odd while
 * one is under way. */
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
 * executes a full barrier before this returns. */
static void barrier_everywhere(void)
{
    struct timespec ms = {0, 1000000};

    mt_fence_full();
    if ((mt_load_relaxed(&mt_world_gate.attention) & WORLD_FENCES) != 0 ||
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) {
        return;
    }
    /* The guest's seccomp filter has taken it away. From now on readers execute fences; a store that
     * is in a processor's buffer at this moment has left it long before a millisecond is over. */
    mt_fetch_or(&mt_world_gate.attention, WORLD_FENCES);
    nanosleep(&ms, NULL);
}

int world_init(const WorldConfig *c)
{
    mt_world.config = *c;
    annot_ignore(&mt_world_gate, sizeof(mt_world_gate));
    register_membarrier();
    if (!c->parallel) {
        mt_fetch_or(&mt_world_gate.attention, WORLD_SEQUENTIAL);
        seq_init();
    }
    return 0;
}

static bool is_sequential(void)
{
    return !mt_world.config.parallel;
}

/* ---- parking ---- */

void world_park(Thread *t, i64 timeout_ns)
{
    mt_store_relaxed(&t->futex, 0);
    mt_mutex_unlock(&mt_world.queue);
    /* ACQ pairs with world_unpark() */
    while (mt_load_acquire(&t->futex) == 0) {
        if (futex_wait(&t->futex, 0, timeout_ns) == -ETIMEDOUT) {
            break;
        }
    }
    mt_mutex_lock(&mt_world.queue);
}

/* Queue lock held: so the store is not lost between t's test of its condition and its sleep. t may be
 * gone when the kernel looks at the word: then nobody is woken. */
void world_unpark(Thread *t)
{
    mt_store_release(&t->futex, 1);
    futex_wake(&t->futex, 1);
}

/* ---- readers ---- */

void world_mark_inside(Thread *t)
{
    world_bump(&t->world_state);
    mt_fence_full(); /* slow path: not left to the scanner's membarrier, which may be missing */
    annot_after(&mt_world_gate);
}

void world_mark_outside(Thread *t)
{
    annot_before(&t->world_state);
    world_bump(&t->world_state);
    world_wake_scanner(&t->world_state);
}

/* One try; ACQ pairs with world_resume(). */
static bool try_enter(Thread *t)
{
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_STOP) != 0) {
        return false;
    }
    world_mark_inside(t);
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_STOP) == 0) {
        return true;
    }
    world_mark_outside(t);
    return false;
}

static void enter_slow(Thread *t)
{
    bool counted = false;

    for (;;) {
        u32 gen = mt_load_acquire(
            &stop_gen); /* before the try: a resume in between ends the sleep */

        if (try_enter(t)) {
            break;
        }
        if (!counted) {
            mt_fetch_add(&blocked_readers, 1);
            counted = true;
        }
        futex_wait(&stop_gen, gen, -1);
    }
    if (counted && mt_fetch_sub(&blocked_readers, 1) == 1) {
        futex_wake(&blocked_readers, 1);
    }
}

void world_enter(Thread *t)
{
    if (world_try_enter_fast(t)) {
        return;
    }
    if (world_owns_stop(t)) {
        world_mark_inside(t);
    } else {
        lockorder_check(RANK_WORLD);
        if (is_sequential()) {
            seq_enter(t);
        } else {
            enter_slow(t);
        }
    }
    lockorder_push(RANK_WORLD);
}

void world_leave(Thread *t)
{
    if (world_leave_fast(t)) {
        return;
    }
    lockorder_pop(RANK_WORLD);
    world_mark_outside(t);
    if (is_sequential() && !world_owns_stop(t)) {
        seq_leave(t);
    }
}

void world_safepoint(Thread *t)
{
    /* First the bits, then the word: a kick for a stop that begins in between sets them again. */
    mt_fetch_and(&t->cpu->pending, ~(MT_PEND_WORLD | MT_PEND_RCU));
    if (is_sequential()) {
        seq_safepoint(t);
    } else {
        world_leave(t);
        world_enter(t);
    }
}

void world_quantum_end(Thread *t)
{
    if (is_sequential() && !world_owns_stop(t)) {
        seq_quantum_end(t);
    }
}

/* ---- the scan ---- */

/* Kicks the threads that are INSIDE, and links those to be waited for through scan_next. */
static Thread *scan_collect(Thread *self, u32 pend, bool rcu)
{
    Thread *found = NULL;

    mt_mutex_lock(&world_threads_lock);
    for (Thread *t = threadlist_first_locked(); t != NULL; t = t->next) {
        if (t == self) {
            continue;
        }
        /* ACQ pairs with world_bump(): if it is OUTSIDE, what it did INSIDE is over for us too. */
        t->scan_world = mt_load_acquire(&t->world_state);
        t->scan_rcu = rcu ? mt_load_acquire(&t->rcu_state) : 0;
        if ((t->scan_world & 1) != 0) {
            mt_world.config.kick(t, pend);
        }
        if (((t->scan_world | t->scan_rcu) & 1) != 0) {
            t->scan_next = found;
            found = t;
        }
    }
    mt_mutex_unlock(&world_threads_lock);
    return found;
}

/* Sleeps until t's word differs from the odd value that was seen. */
static void scan_sleep(Thread *t, u32 *word, u32 seen, u32 pend)
{
    i64 patience = WORLD_PATIENCE_NS;

    if ((seen & 1) == 0) {
        return;
    }
    while (mt_load_acquire(word) == seen) { /* ACQ: as in scan_collect() */
        /* Full barrier; pairs with world_wake_scanner(): either it sees this and wakes us, or the
         * kernel sees its new word and does not let us sleep. */
        mt_exchange(&mt_world_gate.waiting_on, word);
        if (futex_wait(word, seen, patience) == -ETIMEDOUT && pend != 0) {
            mt_world.config.kick(t, pend);
            patience = patience < 1000000000 ? 2 * patience : patience;
        }
    }
    mt_store_relaxed(&mt_world_gate.waiting_on, NULL); /* a late wake is harmless */
}

/* Scan lock held. Returns when each other thread was OUTSIDE (and, with rcu, in no RCU section) at
 * some moment since the call, or has been again since. */
static void scan(Thread *self, u32 pend, bool rcu)
{
    mt_fetch_or(&mt_world_gate.attention, WORLD_SCAN);
    barrier_everywhere();
    for (Thread *t = scan_collect(self, pend, rcu); t != NULL; t = t->scan_next) {
        scan_sleep(t, &t->world_state, t->scan_world, pend);
        scan_sleep(t, &t->rcu_state, t->scan_rcu, 0);
    }
    mt_fetch_and(&mt_world_gate.attention, ~WORLD_SCAN);
}

/* The owner of a stop may hold WORLD here: nobody is INSIDE, so who has the scan lock will not wait. */
static void scan_lock(Thread *t)
{
    if (world_owns_stop(t)) {
        mt_mutex_lock_unordered(&mt_world.scan);
    } else {
        mt_mutex_lock(&mt_world.scan);
    }
}

/* ---- writers ---- */

static void writer_take(Thread *t)
{
    mt_mutex_lock(&mt_world.queue);
    if (writer == NULL) {
        writer = t;
    } else {
        threadqueue_push(&writers, t);
    }
    while (writer != t) {
        world_park(t, -1);
    }
    mt_mutex_unlock(&mt_world.queue);
}

static void writer_give(void)
{
    mt_mutex_lock(&mt_world.queue);
    writer = threadqueue_pop(&writers);
    if (writer != NULL) {
        world_unpark(writer);
    }
    mt_mutex_unlock(&mt_world.queue);
}

/* Writers that follow each other closely must not starve readers: those kept out by the last stop
 * get a moment to come in first. Bounded, since they may have no processor to run on. */
static void let_readers_in(void)
{
    for (int i = 0; i < 5; i++) {
        u32 n = mt_load_acquire(&blocked_readers);

        if (n == 0) {
            return;
        }
        futex_wait(&blocked_readers, n, 50000);
    }
}

static void stop_readers(Thread *t)
{
    let_readers_in();
    mt_fetch_or(&mt_world_gate.attention, WORLD_STOP);
    mt_mutex_lock(&mt_world.scan);
    scan(t, MT_PEND_WORLD, false);
    mt_mutex_unlock(&mt_world.scan);
}

static void resume_readers(void)
{
    annot_before(&mt_world_gate);
    mt_fetch_and(&mt_world_gate.attention,
                 ~WORLD_STOP); /* pairs with try_enter() and the fast path */
    mt_fetch_add(&stop_gen, 1);
    /* Both this and the reader's count are locked operations: it sees the new gen, or we see it. */
    if (mt_load_relaxed(&blocked_readers) != 0) {
        futex_wake(&stop_gen, INT_MAX);
    }
}

void world_stop(Thread *t)
{
    bool inside = world_is_inside(t);

    if (world_owns_stop(t)) {
        t->world_stop_depth++;
        return;
    }
    MT_DCHECK(t->rcu_nest == 0);
    STAT_INC(WORLD_STOPS);
    if (inside) {
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
    }
    lockorder_check(RANK_WORLD_SCAN);
    if (is_sequential()) {
        seq_stop(t, inside);
    } else {
        writer_take(t);
        stop_readers(t);
    }
    lockorder_push(RANK_WORLD);
    t->world_stop_was_inside = inside;
    t->world_stop_depth = 1;
    mt_store_relaxed(&mt_world.owner, t);
}

void world_resume(Thread *t)
{
    if (!world_owns_stop(t) || --t->world_stop_depth != 0) {
        return;
    }
    MT_DCHECK(!world_is_inside(t));
    lockorder_pop(RANK_WORLD);
    mt_store_relaxed(&mt_world.owner, NULL);
    if (is_sequential()) {
        seq_resume(t, t->world_stop_was_inside);
        if (t->world_stop_was_inside) {
            lockorder_push(RANK_WORLD);
        }
        return;
    }
    resume_readers();
    writer_give();
    if (t->world_stop_was_inside) {
        world_enter(t);
    }
}

/* ---- grace periods ---- */

void world_synchronize(Thread *t)
{
    u64 need;

    MT_DCHECK(!world_is_inside(t) && t->rcu_nest == 0);
    mt_fence_full(); /* what the caller has unlinked is unlinked before it looks at gp_seq */
    /* The end of the first grace period that begins after this moment. */
    need = (mt_load_acquire(&gp_seq) + 3) & ~1ull;
    scan_lock(t);
    if (gp_seq < need) { /* else another thread's grace period has served us while we waited */
        mt_fetch_add(&gp_seq, 1);
        scan(t, MT_PEND_RCU, true);
        mt_fetch_add(&gp_seq, 1);
    }
    mt_mutex_unlock(&mt_world.scan);
}

/* ---- fork, vfork ---- */

void world_before_fork(Thread *t)
{
    scan_lock(t);
    mt_mutex_lock(&world_threads_lock);
    mt_mutex_lock(&mt_world.queue);
}

void world_after_fork_parent(Thread *t)
{
    mt_mutex_unlock(&mt_world.queue);
    mt_mutex_unlock(&world_threads_lock);
    mt_mutex_unlock(&mt_world.scan);
}

void world_after_fork_child(Thread *t)
{
    bool stopped = world_owns_stop(t);
    bool inside = stopped ? t->world_stop_was_inside : world_is_inside(t);

    threadlist_after_fork_child(t);
    writer = NULL;
    writers = (ThreadQueue){NULL, NULL};
    mt_store_relaxed(&blocked_readers, 0);
    mt_store_relaxed(&mt_world_gate.waiting_on, NULL);
    mt_fetch_and(&mt_world_gate.attention, ~(WORLD_STOP | WORLD_SCAN));
    register_membarrier();
    seq_after_fork_child(t, inside);
    world_after_fork_parent(t);
    if (stopped) { /* the stop is over: there is nobody left to stop */
        mt_store_relaxed(&mt_world.owner, NULL);
        t->world_stop_depth = 0;
        lockorder_pop(RANK_WORLD);
        if (inside) {
            world_mark_inside(t);
            lockorder_push(RANK_WORLD);
        }
    }
}

void world_vfork_returned(Thread *t)
{
    if (world_is_inside(t)) {
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
    }
    if (t->rcu_nest != 0) {
        t->rcu_nest = 1;
        world_bump(&t->rcu_state);
        t->rcu_nest = 0;
        world_wake_scanner(&t->rcu_state);
    }
    if (world_owns_stop(t)) {
        t->world_stop_depth = 1;
        t->world_stop_was_inside = false;
        world_resume(t);
    } else if (is_sequential()) {
        seq_forget(t);
    } else {
        mt_mutex_lock(&mt_world.queue);
        threadqueue_remove(&writers, t);
        mt_mutex_unlock(&mt_world.queue);
    }
}
