/* SPDX-License-Identifier: BSD-2-Clause
 * world.c -- the big lock as a read/write lock, and grace periods.
 * Role:       readers say in a word of their own whether they are INSIDE; whoever wants the world
 *             says so in one word that all look at, makes every processor execute a barrier
 *             (membarrier), looks at all threads' words and waits for those that are INSIDE.
 *             A stop waits for those in the runtime's code. Those in translated code it halts: they
 *             are kicked, and after the barrier none of them can execute anything of the guest's
 *             before it has been in its signal handler (docs/CONCURRENCY.md, "Halting").
 * Invariants: W3. at most one stop and one grace period wait for threads at a time (scan and grace
 *                 locks); mt_world_gate.waiting_on[0] is the former's, [1] the latter's.
 *             W4. owner == t  =>  WORLD_STOP is set, and each other thread is OUTSIDE or, with
 *                 WORLD_HALT set, in WORLD_CODE and halted (W6), or WORLD_PARKED.
 *             W5. a thread that waits for the writers' queue, a lock of the world or, for more than
 *                 a halt, a resume is OUTSIDE: so those who hold them never wait for it. A parked
 *                 thread keeps a grace period waiting, so no owner of a stop waits for one.
 *             K2. kicks for a stop or a grace period are sent in one of mt_world.kicks, to a thread
 *                 that has been seen INSIDE since that began: none reaches a thread that has been
 *                 OUTSIDE and then waited for the kicks that went on (exec: the new program would
 *                 die of it).
 *             K3. they are sent behind a barrier that follows the bit in `attention`, and their
 *                 bit in cpu->pending is set before. So a thread that has become OUTSIDE, then
 *                 finds `attention` zero or waits for the kicks that go on, then finds `pending`
 *                 zero, has none on its way: a guest's system call is never interrupted by one. Who
 *                 clears those bits waits for the kick.
 *             K1. Thread.kicked != 0, seen by the stopper behind a barrier  =>  a kick is pending
 *                 in the kernel, or the handler it led to has not got as far as clearing the word.
 * Locking:    writers' queue, then grace, scan. None is held while the world is stopped, but the
 *             queue's head place (and by a fork, grace). A stop takes no lock that a thread which
 *             starts, ends, or has had a vfork child takes: it could wait for one that has no
 *             processor.
 * Lifetime:   Thread objects that a scan looks at stay, see threadlist.c T2.
 * Signals:    nothing here may be called from a host signal handler. */
#include "sched/world.h"

#include "base/stats.h"
#include "sched/world_int.h"

#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

WorldGate mt_world_gate;
World mt_world = {
    .grace = MT_MUTEX_INIT(RANK_WORLD_GRACE),
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
/* Atomic: when the last stop was over. Written by its owner, read by the next. */
static i64 resumed_at;
#define READERS_NS 250000

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

/* Queue lock held: so the store is not lost between t's test of its condition and its sleep. t may
 * be gone when the kernel looks at the word: then nobody is woken. */
void world_unpark(Thread *t)
{
    mt_store_release(&t->futex, 1);
    futex_wake(&t->futex, 1);
}

/* ---- readers ---- */

void world_mark_inside(Thread *t)
{
    world_move(t, WORLD_OUT, WORLD_IN);
    mt_fence_full(); /* slow path: not left to the scanner's membarrier, which may be missing */
    annot_after(&mt_world_gate);
}

void world_mark_outside(Thread *t)
{
    annot_before(&t->world_state);
    world_move(t, world_where(t->world_state), WORLD_STAY);
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

/* From WORLD_PARKED, as try_enter(). */
static bool try_unpark(Thread *t)
{
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_HALT) != 0) {
        return false;
    }
    world_move(t, WORLD_PARKED, WORLD_IN);
    mt_fence_full(); /* as in world_mark_inside() */
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_HALT) == 0) {
        annot_after(&mt_world_gate);
        return true;
    }
    world_move(t, WORLD_IN, WORLD_PARKED);
    world_wake_scanner(&t->world_state);
    return false;
}

static void wait_for_resume(Thread *t, bool (*try)(Thread *))
{
    bool counted = false;

    for (;;) {
        u32 gen = mt_load_acquire(
            &stop_gen); /* before the try: a resume in between ends the sleep */

        if (try(t)) {
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

void world_come_in(Thread *t)
{
    wait_for_resume(t, try_enter);
}

void world_wait_halted(Thread *t)
{
    world_move(t, WORLD_CODE, WORLD_PARKED);
    world_wake_scanner(&t->world_state);
    wait_for_resume(t, try_unpark);
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
            world_come_in(t);
        }
    }
    lockorder_push(RANK_WORLD);
}

void world_leave_for(Thread *t, WorldAway away)
{
    bool turn;

    if (world_leave_fast(t)) {
        return;
    }
    turn = is_sequential() && !world_owns_stop(t);
    if (turn && away == AWAY_KEEPS_TURN) {
        seq_keep_turn(t);
        turn = false;
    }
    lockorder_pop(RANK_WORLD);
    world_mark_outside(t);
    if (turn) {
        seq_leave(t, away);
    }
}

void world_leave(Thread *t)
{
    world_leave_for(t, AWAY);
}

void world_quantum_end(Thread *t)
{
    if (is_sequential() && !world_owns_stop(t)) {
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
        seq_quantum_end(t);
        world_enter(t);
    }
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

/* t has taken bits that come with a kick, and could be kicked again only with new ones: lets it
 * arrive. */
static void take_kick(Thread *t)
{
    world_wait_kicks(t);
    syscall(SYS_getpid); /* signals are delivered at the end of any call */
}

void world_safepoint(Thread *t)
{
    const u32 bits = MT_PEND_WORLD | MT_PEND_RCU;
    /* First the bits, then the word: a kick for a stop that begins in between sets them again. */
    bool kicked = (mt_fetch_and(&t->cpu->pending, ~bits) & bits) != 0;

    if (is_sequential() && !world_owns_stop(t)) { /* keeps its turn */
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
    } else {
        world_leave(t);
    }
    world_enter(t);
    if (kicked) {
        take_kick(t);
    }
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

/* Lock of `which` held, its bit in `attention` set. Returns when each other thread was OUTSIDE
 * (and, for a grace period, in no RCU section) at some moment since the call, or has been again
 * since. */
static void scan(Thread *self, u32 which, u32 pend)
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

/* Scan lock held, STOP and HALT set. Returns when each other thread is OUTSIDE, parked, or in
 * WORLD_CODE and halted (W6). False: there is no membarrier, nothing is known. */
static bool halt_readers(Thread *self)
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

/* ---- threads that a tracer has stopped ---- */

static void freeze_locked(Thread *t, Thread *by)
{
    bool already = t->frozen_by != NULL;

    t->frozen_by = by;
    if (already) {
        return;
    }
    t->frozen_stopper = threadqueue_remove(&writers, t);
    if (is_sequential()) {
        seq_freeze_locked(t);
    }
}

void world_freeze(Thread *by, pid_t tid)
{
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        if (mt_load_relaxed(&t->tid) == tid) {
            freeze_locked(t, by);
        }
    }
}

static void thaw_locked(Thread *t)
{
    t->frozen_by = NULL;
    if (is_sequential()) {
        seq_thaw_locked(t);
    }
    if (!t->frozen_stopper) {
        return;
    }
    threadqueue_push(&writers, t);
    if (writer == NULL) {
        writer = threadqueue_pop(&writers);
        world_unpark(writer);
    }
}

void world_thaw(Thread *by, pid_t tid)
{
    mt_mutex_lock(&world_threads_lock);
    mt_mutex_lock(&mt_world.queue);
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        if (t->frozen_by == by && (tid == 0 || mt_load_relaxed(&t->tid) == tid)) {
            thaw_locked(t);
        }
    }
    mt_mutex_unlock(&mt_world.queue);
    mt_mutex_unlock(&world_threads_lock);
}

static i64 now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000l + ts.tv_nsec;
}

/* Writers that follow each other closely must not starve readers: those kept out by the last stop
 * get a moment from its end to come in first. Bounded, since they may have no processor to run
 * on. */
static void let_readers_in(void)
{
    i64 end = mt_load_relaxed(&resumed_at) + READERS_NS;
    u32 n;

    while ((n = mt_load_acquire(&blocked_readers)) != 0) {
        i64 left = end - now_ns();

        if (left <= 0) {
            return;
        }
        futex_wait(&blocked_readers, n, left);
    }
}

static void resume_readers(u32 bits)
{
    annot_before(&mt_world_gate);
    mt_fetch_and(&mt_world_gate.attention, ~bits); /* pairs with try_enter() and the fast path */
    mt_store_relaxed(&resumed_at, now_ns());
    mt_fetch_add(&stop_gen, 1);
    /* Both this and the reader's count are locked operations: it sees the new gen, or we see it. */
    if (mt_load_relaxed(&blocked_readers) != 0) {
        futex_wake(&stop_gen, INT_MAX);
    }
}

/* That a signal reaches a thread before it executes anything more is the kernel's doing. */
static bool can_halt(void)
{
    return !mt_under_valgrind && (mt_load_relaxed(&mt_world_gate.attention) & WORLD_FENCES) == 0;
}

static void stop_readers(Thread *t, bool empty)
{
    bool halt = !empty && can_halt();
    i64 us, begun = now_ns();

    let_readers_in();
    mt_fetch_or(&mt_world_gate.attention, halt ? WORLD_STOP | WORLD_HALT : WORLD_STOP);
    mt_mutex_lock(&mt_world.scan);
    walk_begin(&mt_world.scans[SCAN_STOP]);
    if (halt && !halt_readers(t)) {
        resume_readers(WORLD_HALT); /* the parked ones must leave */
        halt = false;
    }
    if (!halt) {
        scan(t, SCAN_STOP, MT_PEND_WORLD);
    }
    walk_end(&mt_world.scans[SCAN_STOP]);
    mt_mutex_unlock(&mt_world.scan);
    us = (now_ns() - begun) / 1000;
    STAT_ADD(STOP_US, (u64)us);
    STAT_ADD(SLOW_STOPS, us > 1000);
}

static void stop(Thread *t, bool empty)
{
    bool inside = world_is_inside(t);

    if (world_owns_stop(t)) {
        MT_DCHECK(!empty || world_is_empty());
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
    if (is_sequential() && !inside) {
        seq_stop_begin(t);
    }
    writer_take(t);
    stop_readers(t, empty);
    lockorder_push(RANK_WORLD);
    t->world_stop_was_inside = inside;
    t->world_stop_depth = 1;
    mt_store_relaxed(&mt_world.owner, t);
}

void world_stop(Thread *t)
{
    stop(t, false);
}

void world_stop_empty(Thread *t)
{
    stop(t, true);
}

bool world_is_empty(void)
{
    return (mt_load_relaxed(&mt_world_gate.attention) & WORLD_HALT) == 0;
}

void world_resume(Thread *t)
{
    if (!world_owns_stop(t) || --t->world_stop_depth != 0) {
        return;
    }
    MT_DCHECK(!world_is_inside(t));
    lockorder_pop(RANK_WORLD);
    mt_store_relaxed(&mt_world.owner, NULL);
    resume_readers(WORLD_STOP | WORLD_HALT);
    writer_give();
    if (t->world_stop_was_inside) {
        world_enter(t);
    } else if (is_sequential()) {
        seq_stop_end(t);
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
        scan(t, SCAN_GRACE, MT_PEND_RCU);
        walk_end(&mt_world.scans[SCAN_GRACE]);
        mt_fetch_and(&mt_world_gate.attention, ~WORLD_SCAN);
        mt_fetch_add(&gp_seq, 1);
    }
    mt_mutex_unlock(&mt_world.grace);
}

/* ---- fork, vfork ---- */

/* Before the stop, since a grace period may wait for threads that the stop parks. */
void world_before_fork_stop(Thread *t)
{
    MT_DCHECK(!world_is_inside(t));
    mt_mutex_lock(&mt_world.grace);
}

void world_no_fork(Thread *t)
{
    mt_mutex_unlock(&mt_world.grace);
}

void world_before_fork(Thread *t)
{
    /* Out of order, WORLD being held: only a stop can have it, and there is none but ours. */
    mt_mutex_lock_unordered(&mt_world.scan);
    mt_mutex_lock(&world_threads_lock);
    mt_mutex_lock(&mt_world.queue);
}

void world_after_fork_parent(Thread *t)
{
    mt_mutex_unlock(&mt_world.queue);
    mt_mutex_unlock(&world_threads_lock);
    mt_mutex_unlock(&mt_world.scan);
    mt_mutex_unlock(&mt_world.grace);
}

void world_after_fork_child(Thread *t)
{
    bool stopped = world_owns_stop(t);
    bool inside = stopped ? t->world_stop_was_inside : world_is_inside(t);

    threadlist_after_fork_child(t);
    writer = NULL;
    writers = (ThreadQueue){NULL, NULL};
    mt_store_relaxed(&blocked_readers, 0);
    for (int i = 0; i < 2; i++) { /* none goes on, with the locks held */
        mt_store_relaxed(&mt_world.scans[i].waiting, 0);
        mt_store_relaxed(&mt_world.kicks[i].waiting, 0);
    }
    mt_store_relaxed(&t->kicked, 0); /* pending signals are not inherited */
    mt_store_relaxed(&mt_world_gate.waiting_on[SCAN_STOP], NULL);
    mt_store_relaxed(&mt_world_gate.waiting_on[SCAN_GRACE], NULL);
    mt_fetch_and(&mt_world_gate.attention, ~(WORLD_STOP | WORLD_HALT | WORLD_SCAN));
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
    world_kernel_thread_changed(t);
    world_thaw(t, 0); /* the kernel lets go what a dead tracer has stopped */
    if (t->rcu_nest != 0) {
        t->rcu_nest = 1;
        world_step(&t->rcu_state, 1);
        t->rcu_nest = 0;
        world_wake_scanner(&t->rcu_state);
    }
    if (world_owns_stop(t)) {
        t->world_stop_depth = 1;
        t->world_stop_was_inside = false;
        world_resume(t);
    } else {
        mt_mutex_lock(&mt_world.queue);
        threadqueue_remove(&writers, t);
        mt_mutex_unlock(&mt_world.queue);
    }
    if (is_sequential()) {
        seq_forget(t);
    }
}
