/* layers: mt_base mt_sched */
/* SPDX-License-Identifier: BSD-2-Clause
 * test_world.c -- the world lock: who is inside when, stops, grace periods, the sequential gate.
 * The lock is initialised once a process, so each case runs in a child. */
#include "world_sim.h"

#include "base/options.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <urcu/rculfhash.h>

#include <cmocka.h>

/* A hang ends the child by SIGALRM, a failed CHECK by SIGABRT. */
static void in_child(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(250);
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static Sim *self; /* the child's main thread */

static void begin(WorldConfig c)
{
    sim_world(c);
    self = sim_new(0, 1);
    sim_begin(self);
    world_attach(&self->t);
}

static void begin_parallel(void)
{
    begin((WorldConfig){.parallel = true});
}

static Sim *start(int id, void *(*fn)(void *))
{
    Sim *s = sim_new(id, 1);

    world_attach(&s->t);
    CHECK(pthread_create(&s->host, NULL, fn, s) == 0);
    return s;
}

static void finish(Sim *s)
{
    pthread_join(s->host, NULL);
    free(s);
}

static u32 quit, progress;

/* ---- parallel ---- */

static void enter_leave(void)
{
    begin_parallel();
    CHECK(!world_is_inside(&self->t));
    world_enter(&self->t);
    CHECK(world_is_inside(&self->t));
    world_leave(&self->t);
    CHECK(world_try_enter_fast(&self->t) || (mt_world_gate.attention & WORLD_FENCES) != 0);
    if (world_is_inside(&self->t)) {
        CHECK(world_leave_fast(&self->t));
    }
    CHECK(!world_is_inside(&self->t) && world_thread_count() == 1);
    world_detach(&self->t);
    CHECK(world_thread_count() == 0);
}

static void nested_stop(void)
{
    begin_parallel();
    for (int inside = 0; inside < 2; inside++) {
        if (inside) {
            world_enter(&self->t);
        }
        world_stop(&self->t);
        world_stop(&self->t);
        CHECK(!world_is_inside(&self->t));
        world_enter(&self->t); /* the owner may */
        world_leave(&self->t);
        world_resume(&self->t);
        CHECK(mt_world_gate.attention & WORLD_STOP);
        world_resume(&self->t);
        CHECK(!(mt_world_gate.attention & (WORLD_STOP | WORLD_HALT)));
        CHECK(world_is_inside(&self->t) == inside);
    }
}

/* Runs code that only a kick ends, and counts its safepoints. */
static void *spin(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    world_enter(&s->t);
    mt_fetch_add(&progress, 1);
    while (!mt_load_relaxed(&quit)) {
        sim_code(s, ~0ull);
        mt_fetch_add(&progress, 1);
    }
    world_leave(&s->t);
    world_detach(&s->t);
    return NULL;
}

static void wait_progress(u32 n)
{
    while (mt_load_relaxed(&progress) < n) {
        sim_sleep_us(100);
    }
}

enum { SPINNERS = 24 };

static void start_spinners(Sim *s[SPINNERS])
{
    begin_parallel();
    for (int i = 0; i < SPINNERS; i++) {
        s[i] = start(i, spin);
    }
    wait_progress(SPINNERS);
}

static void finish_spinners(Sim *s[SPINNERS])
{
    mt_store_relaxed(&quit, 1);
    world_synchronize(&self->t);
    for (int i = 0; i < SPINNERS; i++) {
        finish(s[i]);
    }
    CHECK(world_thread_count() == 1);
}

/* W6: not one more turn of the loop, though most of them have had no processor to leave it. */
static void stop_spinning(void)
{
    Sim *s[SPINNERS];
    u64 work[SPINNERS], turns = 0;
    u32 in_code = 0, seen;

    start_spinners(s);
    for (int round = 0; round < 300; round++) {
        world_stop(&self->t);
        seen = mt_load_relaxed(&progress);
        for (int i = 0; i < SPINNERS; i++) {
            in_code += world_where(mt_load_acquire(&s[i]->t.world_state)) == WORLD_CODE;
            work[i] = mt_load_relaxed(&s[i]->work);
        }
        sim_sleep_us(round % 30 == 0 ? 20000 : 50);
        for (int i = 0; i < SPINNERS; i++) {
            CHECK(mt_load_relaxed(&s[i]->work) == work[i]);
            turns += work[i];
        }
        CHECK(mt_load_relaxed(&progress) == seen);
        world_resume(&self->t);
        if (round % 3 == 0) {
            sim_sleep_us(1000);
        }
    }
    CHECK(turns > 0 &&
          (in_code > 0 || (mt_world_gate.attention & WORLD_FENCES) != 0 || mt_under_valgrind));
    finish_spinners(s);
}

/* The other kind: each has left the loop. */
static void stop_empty_spinning(void)
{
    Sim *s[SPINNERS];

    start_spinners(s);
    for (int round = 0; round < 20; round++) {
        world_stop_empty(&self->t);
        for (int i = 0; i < SPINNERS; i++) {
            CHECK((mt_load_acquire(&s[i]->t.world_state) & 1) == 0);
        }
        world_resume(&self->t);
        world_stop(&self->t);
        world_resume(&self->t);
    }
    finish_spinners(s);
}

/* INSIDE, but not in "translated code", until told otherwise. */
static void *busy_inside(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    world_enter(&s->t);
    mt_store_release(&progress, 1);
    while (mt_load_acquire(&quit) == 0) {
        __asm__ volatile("pause" ::: "memory");
    }
    sim_sleep_us(20000);
    mt_store_release(&progress, 2);
    world_leave(&s->t);
    world_detach(&s->t);
    return NULL;
}

static void stop_waits_for_runtime(void)
{
    Sim *s;

    begin_parallel();
    s = start(1, busy_inside);
    wait_progress(1);
    mt_store_release(&quit, 1);
    world_stop(&self->t);
    CHECK(mt_load_acquire(&progress) == 2);
    world_resume(&self->t);
    finish(s);
}

static void *open_section(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    rcu_read_begin(&s->t);
    mt_store_release(&progress, 1);
    while (mt_load_acquire(&quit) == 0) {
        sim_sleep_us(100);
    }
    rcu_read_end(&s->t);
    world_detach(&s->t);
    return NULL;
}

static void *synchronizer(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    world_synchronize(&s->t);
    mt_store_release(&progress, 2);
    world_detach(&s->t);
    return NULL;
}

/* A grace period under way does not keep a stop waiting; the stop keeps it waiting at most. */
static void stop_during_grace(void)
{
    Sim *a, *b;

    begin_parallel();
    a = start(1, open_section);
    wait_progress(1);
    b = start(2, synchronizer);
    while ((mt_load_relaxed(&mt_world_gate.attention) & WORLD_SCAN) == 0) {
        sim_sleep_us(100);
    }
    for (int i = 0; i < 100; i++) {
        world_stop(&self->t);
        world_resume(&self->t);
        world_stop_empty(&self->t);
        CHECK(mt_load_acquire(&progress) == 1);
        world_resume(&self->t);
    }
    world_stop(&self->t);
    mt_store_release(&quit, 1);
    world_resume(&self->t);
    finish(a);
    finish(b);
    CHECK(progress == 2);
}

/* A grace period ends though everybody spins INSIDE. */
static void synchronize_spinning(void)
{
    Sim *a, *b;

    begin_parallel();
    a = start(1, spin);
    b = start(2, spin);
    wait_progress(2);
    for (int i = 0; i < 50; i++) {
        world_synchronize(&self->t);
    }
    mt_store_relaxed(&quit, 1);
    world_synchronize(&self->t);
    finish(a);
    finish(b);
}

/* Code that ends as soon as a kick is announced, and "system calls" in turn: K3, the kick comes in
 * none. */
static void *call_often(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    while (!mt_load_relaxed(&quit)) {
        world_enter(&s->t);
        world_code_begin(&s->t);
        while ((mt_load_relaxed(&s->cpu.pending) | mt_load_relaxed(&quit)) == 0) {
            __asm__ volatile("pause" ::: "memory");
        }
        world_code_end(&s->t);
        if (mt_load_relaxed(&s->cpu.pending) != 0) {
            world_safepoint(&s->t);
        }
        world_leave(&s->t);
        if (world_may_kick()) {
            world_wait_kicks(&s->t);
        }
        if (mt_load_relaxed(&s->cpu.pending) == 0) {
            u32 before = s->kicks;

            sim_sleep_us(sim_random(s) % 500);
            CHECK(s->kicks == before);
            mt_fetch_add(&progress, 1);
        }
    }
    world_detach(&s->t);
    return NULL;
}

static void calls(WorldConfig c)
{
    enum { CALLERS = 3 };
    Sim *s[CALLERS];

    begin(c);
    for (int i = 0; i < CALLERS; i++) {
        s[i] = start(i, call_often);
    }
    sim_kick_delay_us = 200;
    for (int round = 0; round < 300 || mt_load_relaxed(&progress) < 100; round++) {
        if (round % 3 == 0) {
            world_synchronize(&self->t);
            continue;
        }
        (round % 3 == 1 ? world_stop : world_stop_empty)(&self->t);
        world_resume(&self->t);
    }
    mt_store_relaxed(&quit, 1);
    world_synchronize(&self->t);
    for (int i = 0; i < CALLERS; i++) {
        finish(s[i]);
    }
}

static void calls_parallel(void)
{
    calls((WorldConfig){.parallel = true});
}

static void calls_sequential(void)
{
    calls((WorldConfig){.fair = FAIR_YES, .quantum = 100000});
}

static void *hold_section(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    rcu_read_begin(&s->t);
    mt_store_release(&progress, 1);
    sim_sleep_us(50000);
    mt_store_release(&progress, 2);
    rcu_read_end(&s->t);
    world_detach(&s->t);
    return NULL;
}

static void synchronize_section(void)
{
    Sim *s;

    begin_parallel();
    s = start(1, hold_section);
    wait_progress(1);
    world_synchronize(&self->t);
    CHECK(mt_load_acquire(&progress) == 2);
    finish(s);
}

/* Stops from INSIDE, all at once: each must let the others go first. */
static void *stop_often(void *arg)
{
    Sim *s = arg;
    static u64 counter; /* plain: guarded by the stops */

    sim_begin(s);
    for (int i = 0; i < 200; i++) {
        world_enter(&s->t);
        world_stop(&s->t);
        counter++;
        world_resume(&s->t);
        CHECK(world_is_inside(&s->t));
        world_leave(&s->t);
    }
    world_stop(&s->t);
    mt_store_relaxed(&progress, (u32)counter);
    world_resume(&s->t);
    world_detach(&s->t);
    return NULL;
}

static void competing_stops(void)
{
    Sim *s[4];

    begin_parallel();
    for (int i = 0; i < 4; i++) {
        s[i] = start(i, stop_often);
    }
    for (int i = 0; i < 4; i++) {
        finish(s[i]);
    }
    CHECK(progress == 800);
}

/* Without membarrier: readers execute fences. */
static void fences(void)
{
    Sim *s;

    begin_parallel();
    mt_fetch_or(&mt_world_gate.attention, WORLD_FENCES);
    CHECK(!world_try_enter_fast(&self->t));
    s = start(1, spin);
    wait_progress(1);
    for (int i = 0; i < 20; i++) {
        world_stop(&self->t);
        CHECK((mt_load_acquire(&s->t.world_state) & 1) == 0); /* nothing can be halted */
        world_resume(&self->t);
        world_synchronize(&self->t);
    }
    mt_store_relaxed(&quit, 1);
    world_synchronize(&self->t);
    finish(s);
}

/* A guest's seccomp filter takes membarrier away in the middle of the run. */
static void membarrier_denied(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {MT_ARRAY_SIZE(code), code};
    Sim *s;

    begin_parallel();
    s = start(1, spin);
    wait_progress(1);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
    world_stop(&self->t);
    CHECK((mt_load_acquire(&s->t.world_state) & 1) == 0);
    CHECK(mt_world_gate.attention & WORLD_FENCES);
    world_resume(&self->t);
    world_synchronize(&self->t);
    mt_store_relaxed(&quit, 1);
    world_synchronize(&self->t);
    finish(s);
}

/* fork with the world stopped, from INSIDE, while others spin: the child is alone and works. */
static void fork_stopped(void)
{
    Sim *s;
    int status;
    pid_t pid;

    begin_parallel();
    s = start(1, spin);
    wait_progress(1);
    world_before_fork_stop(&self->t);
    world_enter(&self->t);
    world_stop(&self->t);
    world_before_fork(&self->t);
    pid = fork();
    if (pid == 0) {
        sim_begin(self);
        world_after_fork_child(&self->t);
        world_resume(&self->t);
        CHECK(world_is_inside(&self->t) && world_thread_count() == 1);
        world_leave(&self->t);
        world_synchronize(&self->t);
        world_stop(&self->t);
        world_resume(&self->t);
        world_detach(&self->t);
        _exit(0);
    }
    world_after_fork_parent(&self->t);
    world_resume(&self->t);
    CHECK(world_is_inside(&self->t));
    world_leave(&self->t);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    mt_store_relaxed(&quit, 1);
    world_synchronize(&self->t);
    finish(s);
}

/* A vfork child that died INSIDE does not leave its mark. */
static void vfork_died(void)
{
    begin_parallel();
    world_enter(&self->t);
    world_vfork_returned(&self->t);
    CHECK(!world_is_inside(&self->t));
    world_enter(&self->t);
    world_code_begin(&self->t);
    mt_store_relaxed(&self->t.kicked, 1); /* went to the child */
    world_vfork_returned(&self->t);
    CHECK(!world_is_inside(&self->t) && self->t.kicked == 0);
    world_vfork_returned(&self->t);
    CHECK(!world_is_inside(&self->t));
    world_enter(&self->t);
    world_leave(&self->t);
}

#ifndef __SANITIZE_THREAD__ /* it does not follow clone() */
static pid_t dying;
static u32 dead, go_on;

static int stop_as_child(void *arg)
{
    Sim *s = arg;

    mt_store_release(&dying, (pid_t)syscall(SYS_gettid));
    world_stop(&s->t);
    return 0;
}

static void *parent_of_dying(void *arg)
{
    static _Alignas(16) char stack[1 << 18];
    Sim *s = arg;
    int status;
    pid_t pid;

    sim_begin(s);
    pid = clone(stop_as_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, s);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    mt_store_release(&dead, 1);
    while (mt_load_acquire(&go_on) == 0) {
        sim_sleep_us(1000);
    }
    world_vfork_returned(&s->t);
    world_detach(&s->t);
    return NULL;
}

static bool sleeps(pid_t pid)
{
    char path[64], text[256] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "r");
    CHECK(f != NULL && fgets(text, sizeof(text), f) != NULL && fclose(f) == 0);
    return strstr(text, ") S") != NULL;
}

/* One that died while it waited to stop the world, and is given its turn before its parent can take
 * it out of the queue. */
static void vfork_died_queued(void)
{
    Sim *s;

    begin_parallel();
    world_stop(&self->t);
    s = start(1, parent_of_dying);
    while (mt_load_acquire(&dying) == 0 || !sleeps(dying)) {
        sim_sleep_us(1000);
    }
    CHECK(kill(dying, SIGKILL) == 0);
    while (mt_load_acquire(&dead) == 0) {
        sim_sleep_us(1000);
    }
    world_resume(&self->t);
    mt_store_release(&go_on, 1);
    world_stop(&self->t);
    world_resume(&self->t);
    finish(s);
}
#endif

static int match(struct cds_lfht_node *node, const void *key)
{
    return node == key;
}

static void table(void)
{
    struct cds_lfht *t = rcu_table_new(1024);
    struct cds_lfht_node nodes[500];
    struct cds_lfht_iter it;

    CHECK(t != NULL);
    for (int i = 0; i < 500; i++) {
        cds_lfht_node_init(&nodes[i]);
        CHECK(cds_lfht_add_unique(t, (unsigned long)i, match, &nodes[i], &nodes[i]) == &nodes[i]);
    }
    for (int i = 0; i < 500; i++) {
        cds_lfht_lookup(t, (unsigned long)i, match, &nodes[i], &it);
        CHECK(cds_lfht_iter_get_node(&it) == &nodes[i]);
        CHECK(cds_lfht_del(t, &nodes[i]) == 0);
    }
    CHECK(cds_lfht_destroy(t, NULL) == 0);
}

/* ---- sequential ---- */

/* "Guests" without outside input, which leave a trace of who ran when. */
#define TRACE_MAX 100000
static u8 trace[TRACE_MAX]; /* plain: one thread at a time is INSIDE */
static u32 ntrace;
static u32 guest_mutex; /* 0 free, 1 taken, 2 with waiters */
static int guest_pipe[2];

static void guest_block(Sim *s)
{
    CHECK(ntrace < TRACE_MAX);
    trace[ntrace++] = (u8)s->id;
    if (--s->cpu.quantum == 0) {
        world_quantum_end(&s->t);
    }
    if (mt_load_relaxed(&s->cpu.pending) != 0) {
        world_safepoint(&s->t);
    }
}

static void guest_blocks(Sim *s, u64 n)
{
    while (n-- > 0) {
        guest_block(s);
    }
}

static void guest_lock(Sim *s)
{
    u32 state = 1;

    if (guest_mutex == 0) { /* INSIDE, so this is atomic */
        guest_mutex = 1;
        return;
    }
    while (state != 0) {
        state = guest_mutex;
        guest_mutex = 2;
        if (state != 0) {
            world_leave(&s->t);
            futex_wait(&guest_mutex, 2, -1);
            world_enter(&s->t);
            guest_block(s);
        }
    }
}

static void guest_unlock(Sim *s)
{
    bool waiters = guest_mutex == 2;

    guest_mutex = 0;
    if (waiters) {
        world_leave(&s->t);
        futex_wake(&guest_mutex, 1);
        world_enter(&s->t);
    }
}

/* Tokens go round through a pipe; a mutex is held across system calls and quanta. */
static void guest_work(Sim *s)
{
    char c = 0;

    for (int i = 0; i < 30; i++) {
        guest_blocks(s, sim_random(s) % 40);
        guest_lock(s);
        guest_blocks(s, sim_random(s) % 20);
        guest_unlock(s);
        world_leave(&s->t);
        CHECK(read(guest_pipe[0], &c, 1) == 1); /* blocks while all tokens are taken */
        world_enter(&s->t);
        guest_blocks(s, sim_random(s) % 30);
        world_leave(&s->t);
        CHECK(write(guest_pipe[1], &c, 1) == 1);
        world_enter(&s->t);
    }
}

static void *guest(void *arg)
{
    Sim *s = arg;

    sim_sleep_us(s->id % 2 == 0 ? 2000 : 0); /* some threads start slowly */
    sim_begin(s);
    world_attach(&s->t);
    world_transit_end();
    world_enter(&s->t);
    guest_work(s);
    world_leave(&s->t);
    world_transit_begin();
    world_detach(&s->t);
    sim_sleep_us(s->id % 2 != 0 ? 2000 : 0);
    mt_store_release(&s->t.clear_child_tid, 1); /* wakes its joiner */
    futex_wake((u32 *)&s->t.clear_child_tid, 1);
    world_transit_end();
    return NULL;
}

static void guest_join(Sim *s)
{
    world_leave(&self->t);
    while (mt_load_acquire(&s->t.clear_child_tid) == 0) {
        futex_wait((u32 *)&s->t.clear_child_tid, 0, -1);
    }
    world_enter(&self->t);
}

static void run_guests(WorldConfig c)
{
    Sim *s[5];

    begin(c);
    CHECK(pipe(guest_pipe) == 0 && write(guest_pipe[1], "ab", 2) == 2);
    world_enter(&self->t);
    for (int i = 0; i < 5; i++) {
        guest_blocks(self, 7);
        world_leave(&self->t); /* the "clone" system call */
        s[i] = sim_new(i + 1, 1);
        world_transit_begin();
        CHECK(pthread_create(&s[i]->host, NULL, guest, s[i]) == 0);
        world_enter(&self->t);
    }
    for (int i = 0; i < 5; i++) {
        guest_blocks(self, 20);
        guest_join(s[i]);
    }
    CHECK(ntrace > 1000);
    world_leave(&self->t);
    for (int i = 0; i < 5; i++) {
        finish(s[i]);
    }
}

static u64 trace_hash(u64 seed)
{
    int fds[2], status;
    u64 h = 0xcbf29ce484222325ull;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        alarm(250);
        run_guests((WorldConfig){.fair = FAIR_YES, .quantum = 10, .seeded = true, .seed = seed});
        for (u32 i = 0; i < ntrace; i++) {
            h = (h ^ trace[i]) * 0x100000001b3ull;
        }
        _exit(write(fds[1], &h, sizeof(h)) == sizeof(h) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(fds[0], &h, sizeof(h)), sizeof(h));
    close(fds[0]);
    close(fds[1]);
    return h;
}

static void fair_guests(void)
{
    run_guests((WorldConfig){.fair = FAIR_YES, .quantum = 10});
}

static void unfair_guests(void)
{
    run_guests((WorldConfig){.fair = FAIR_NO, .quantum = 10});
}

/* Turns change only at quantum ends here: they must go round in order. */
static void *take_turns(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    world_enter(&s->t);
    mt_fetch_add(&progress, 1);
    while (mt_load_relaxed(&progress) < 3) {
        world_quantum_end(&s->t);
    }
    guest_blocks(s, 500);
    world_leave(&s->t);
    world_detach(&s->t);
    return NULL;
}

static void round_robin(void)
{
    Sim *s[3];
    u32 i;

    begin((WorldConfig){.fair = FAIR_YES, .quantum = 10});
    for (i = 0; i < 3; i++) {
        s[i] = start((int)i + 1, take_turns);
    }
    for (i = 0; i < 3; i++) {
        finish(s[i]);
    }
    /* After the first turns, until the first of them ends: three different threads in a row. */
    for (i = 200; i < 1000; i++) {
        CHECK(trace[i] != trace[i - 10] && trace[i] != trace[i - 20] && trace[i] == trace[i - 30]);
    }
}

/* Waits for its turn. */
static void *enter_once(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    world_enter(&s->t);
    mt_fetch_add(&progress, 1000000);
    world_leave(&s->t);
    world_detach(&s->t);
    return NULL;
}

/* One whose turn it is, and who does not end it, is stopped where it spins; it keeps its turn. */
static void sequential_stop(void)
{
    Sim *s, *waits;
    u64 work;

    begin((WorldConfig){.fair = FAIR_YES, .quantum = 10});
    s = start(1, spin);
    wait_progress(1);
    waits = start(2, enter_once);
    for (int i = 0; i < 20; i++) {
        world_stop(&self->t);
        work = mt_load_relaxed(&s->work);
        sim_sleep_us(1000);
        CHECK(mt_load_relaxed(&s->work) == work);
        world_resume(&self->t);
        world_stop_empty(&self->t);
        CHECK((mt_load_acquire(&s->t.world_state) & 1) == 0);
        world_resume(&self->t);
        world_synchronize(&self->t);
    }
    CHECK(s->work > 0 && mt_load_relaxed(&progress) < 1000000);
    mt_store_relaxed(&quit, 1);
    world_synchronize(&self->t);
    finish(s);
    finish(waits);
}

/* Q6: the turn is kept OUTSIDE; unless its holder sleeps there, for then others go on. */
static void kept_turn(void)
{
    Sim *waits;

    begin((WorldConfig){.fair = FAIR_YES, .quantum = 1000000});
    world_enter(&self->t);
    waits = start(1, enter_once);
    for (int i = 0; i < 1000; i++) {
        world_leave_for(&self->t, AWAY_KEEPS_TURN);
        CHECK(!world_is_inside(&self->t));
        world_enter(&self->t);
        CHECK(mt_load_relaxed(&progress) == 0);
    }
    world_leave_for(&self->t, AWAY_KEEPS_TURN);
    while (mt_load_acquire(&progress) == 0) {
        sim_sleep_us(20000);
    }
    world_enter(&self->t);
    CHECK(self->cpu.quantum == 1000000 && !self->t.turn_lost);
    world_leave(&self->t);
    finish(waits);
}

static u32 hands_over;

/* Ends no quantum before it is told to. */
static void *hand_over_later(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    world_enter(&s->t);
    mt_fetch_add(&progress, 1);
    while (!mt_load_relaxed(&quit)) {
        sim_code(s, 1000);
        if (mt_load_relaxed(&hands_over)) {
            world_quantum_end(&s->t);
        }
    }
    world_leave(&s->t);
    world_detach(&s->t);
    return NULL;
}

/* One that waits for its turn is stopped by a tracer and let go: it waits as before, and gets
 * it. */
static void frozen_waiter(void)
{
    Sim *s, *waits;

    begin((WorldConfig){.fair = FAIR_YES, .quantum = 10});
    s = start(1, hand_over_later);
    wait_progress(1);
    waits = start(2, enter_once);
    while (mt_load_acquire(&waits->t.gate_phase) != GATE_WAITING) {
        sim_sleep_us(1000);
    }
    world_before_fork_stop(&self->t);
    world_stop(&self->t);
    world_before_fork(&self->t);
    world_freeze(&self->t, mt_load_relaxed(&waits->t.tid));
    world_after_fork_parent(&self->t);
    world_resume(&self->t);
    CHECK(waits->t.frozen_by == &self->t);
    world_thaw(&self->t, mt_load_relaxed(&waits->t.tid));
    CHECK(waits->t.frozen_by == NULL);
    mt_store_relaxed(&hands_over, 1);
    wait_progress(1000000);
    mt_store_relaxed(&quit, 1);
    finish(s);
    finish(waits);
}

/* The end of a quantum hands over in the unfair mode too: who spins lets others go on. */
static void unfair_spinner(void)
{
    Sim *waits;

    begin((WorldConfig){.fair = FAIR_NO, .quantum = 10});
    world_enter(&self->t);
    waits = start(1, enter_once);
    while (mt_load_acquire(&waits->t.gate_phase) != GATE_WAITING) {
        sim_sleep_us(1000);
    }
    world_quantum_end(&self->t);
    CHECK(mt_load_relaxed(&progress) != 0);
    world_leave(&self->t);
    finish(waits);
}

static void test_seeded(void **state)
{
    u64 a = trace_hash(1), b = trace_hash(2);

    assert_true(a != b);
    for (int i = 0; i < 5; i++) {
        assert_true(trace_hash(1) == a);
        assert_true(trace_hash(2) == b);
    }
}

#ifdef MT_DEBUG_BUILD
static void test_lock_order(void **state)
{
    MtMutex inner = MT_MUTEX_INIT(RANK_STATS), outer = MT_MUTEX_INIT(RANK_WORLD_GRACE);
    int status;
    pid_t pid;

    mt_mutex_lock(&outer);
    mt_mutex_lock(&inner);
    mt_mutex_unlock(&outer); /* any order of release is fine */
    mt_mutex_unlock(&inner);
    assert_false(lockorder_holds(RANK_STATS));
    pid = fork();
    if (pid == 0) {
        fclose(stderr);
        mt_mutex_lock(&inner);
        mt_mutex_lock(&outer);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}
#endif

#define CASE(fn)                        \
    static void test_##fn(void **state) \
    {                                   \
        in_child(fn);                   \
    }
CASE(enter_leave)
CASE(nested_stop)
CASE(stop_spinning)
CASE(stop_empty_spinning)
CASE(stop_waits_for_runtime)
CASE(stop_during_grace)
CASE(synchronize_spinning)
CASE(synchronize_section)
CASE(calls_parallel)
CASE(calls_sequential)
CASE(competing_stops)
CASE(fences)
CASE(membarrier_denied)
CASE(fork_stopped)
CASE(vfork_died)
#ifndef __SANITIZE_THREAD__
CASE(vfork_died_queued)
#endif
CASE(table)
CASE(fair_guests)
CASE(unfair_guests)
CASE(round_robin)
CASE(sequential_stop)
CASE(kept_turn)
CASE(frozen_waiter)
CASE(unfair_spinner)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enter_leave),
        cmocka_unit_test(test_nested_stop),
        cmocka_unit_test(test_stop_spinning),
        cmocka_unit_test(test_stop_empty_spinning),
        cmocka_unit_test(test_stop_waits_for_runtime),
        cmocka_unit_test(test_stop_during_grace),
        cmocka_unit_test(test_synchronize_spinning),
        cmocka_unit_test(test_synchronize_section),
        cmocka_unit_test(test_calls_parallel),
        cmocka_unit_test(test_calls_sequential),
        cmocka_unit_test(test_competing_stops),
        cmocka_unit_test(test_fences),
        cmocka_unit_test(test_membarrier_denied),
        cmocka_unit_test(test_fork_stopped),
        cmocka_unit_test(test_vfork_died),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(test_vfork_died_queued),
#endif
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_fair_guests),
        cmocka_unit_test(test_unfair_guests),
        cmocka_unit_test(test_round_robin),
        cmocka_unit_test(test_sequential_stop),
        cmocka_unit_test(test_kept_turn),
        cmocka_unit_test(test_frozen_waiter),
        cmocka_unit_test(test_unfair_spinner),
        cmocka_unit_test(test_seeded),
#ifdef MT_DEBUG_BUILD
        cmocka_unit_test(test_lock_order),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
