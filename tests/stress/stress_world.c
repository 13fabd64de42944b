/* layers: mt_base mt_sched */
/* SPDX-License-Identifier: BSD-2-Clause
 * stress_world.c -- the world lock under threads that enter, leave, run code that only a kick ends,
 * stop the world, wait for grace periods, start and exit.
 *
 *   stress_world [--seed=N] [--ms=N] [--threads=N] [--mode=parallel|seq|unfair|seeded]
 *                [--latency [--spinning=N] [--mixed] [--empty]] [--break=publish|enter|leave]
 *
 * Checked: a stopped world stands still (a pair of plain counters is written by stoppers, read by
 * threads INSIDE; no thread's loop makes a turn); an object that RCU protects is never used after
 * it was poisoned and freed; in sequential mode one thread at a time is INSIDE. These accesses are
 * plain on purpose: TSan, Helgrind and DRD report them if an ordering is missing.
 * --latency:  N threads (default: all) spin INSIDE, the others sleep in a system call; or (--mixed)
 * a
 *             quarter each spins, makes blocking calls, starts threads that end at once, has vfork
 *             children. Prints the distribution of world_stop()'s time, or (--empty)
 *             world_stop_empty()'s; the same less the time for which the stopper was ready to run
 *             and had no processor; and both of a loop that only reads the clock, as a control.
 * --break:    leaves one ordering out. Helgrind must report it: that tests the annotations. */
#include "../unit/world_sim.h"

#include "base/options.h"

#include <fcntl.h>
#include <sys/wait.h>

#define MAX_THREADS 1024
#define MAGIC 0x600dda7aull

typedef struct Object {
    u64 magic, version;
} Object;

static struct {
    u64 seed, ms, threads, spinning;
    const char *mode, *broken;
    bool latency, empty, mixed;
} opt = {1, 2000, 16, MAX_THREADS, "parallel", "", false, false, false};

static u32 stopping; /* atomic: the run is over */
static struct {
    u64 a, b;
} still;                      /* plain: written with the world stopped */
static Object *shared_object; /* RCU; replaced under object_lock */
static pthread_mutex_t object_lock = PTHREAD_MUTEX_INITIALIZER;
static u64 n_enters, n_stops, n_grace, n_exits; /* atomic sums */
static Sim *sims[MAX_THREADS];                  /* there from the first to the last thread's run */
static u64 inside_now;                          /* plain: sequential mode only */

static bool sequential(void)
{
    return strcmp(opt.mode, "parallel") != 0;
}

static bool broken(const char *what)
{
    return strcmp(opt.broken, what) == 0;
}

static void enter(Sim *s)
{
    if (!broken("enter")) {
        world_enter(&s->t);
    }
}

static void leave(Sim *s)
{
    if (broken("leave")) { /* OUTSIDE by a store that orders nothing */
        lockorder_pop(RANK_WORLD);
        mt_store_relaxed(&s->t.world_state, s->t.world_state + WORLD_STAY - WORLD_IN);
        return;
    }
    if (!broken("enter")) {
        world_leave(&s->t);
    }
}

static void check_inside(Sim *s)
{
    Object *o = broken("publish") ? mt_load_relaxed(&shared_object)
                                  : mt_load_acquire(&shared_object);

    CHECK(still.a == still.b);
    CHECK(o->magic == MAGIC);
    if (sequential()) {
        CHECK(inside_now == 0);
        inside_now++;
        CHECK(inside_now == 1);
        inside_now--;
    }
}

static void do_reader(Sim *s)
{
    enter(s);
    check_inside(s);
    for (u64 n = sim_random(s) % 4; n > 0; n--) {
        sim_code(s, 1 + sim_random(s) % (sim_random(s) % 64 == 0 ? 4000000 : 4000));
        check_inside(s);
        if (sequential() && sim_random(s) % 4 == 0) {
            world_quantum_end(&s->t);
            check_inside(s);
        }
    }
    leave(s);
    mt_fetch_add(&n_enters, 1);
}

/* The turns that the threads' loops have made so far. */
static u64 all_work(void)
{
    u64 sum = 0;

    for (u64 i = 0; i < opt.threads; i++) {
        sum += mt_load_relaxed(&sims[i]->work);
    }
    return sum;
}

static void stopped_work(Sim *s)
{
    u64 work = all_work();

    world_stop(&s->t); /* nested */
    still.a++;
    if (sim_random(s) % 8 == 0) {
        sim_sleep_us(sim_random(s) % 8 == 0 ? 2000 : 50);
    }
    still.b++;
    CHECK(all_work() == work);
    world_resume(&s->t);
    CHECK(still.a == still.b);
}

static void do_stop(Sim *s)
{
    bool inside = sim_random(s) % 2 != 0;

    if (inside) {
        enter(s);
    }
    if (sim_random(s) % 4 == 0) {
        world_stop_empty(&s->t);
    } else {
        world_stop(&s->t);
    }
    stopped_work(s);
    world_resume(&s->t);
    if (inside) {
        check_inside(s);
        leave(s);
    }
    mt_fetch_add(&n_stops, 1);
}

static Object *new_object(u64 version)
{
    Object *o = malloc(sizeof(*o));

    CHECK(o != NULL);
    *o = (Object){MAGIC, version};
    return o;
}

/* OUTSIDE: looks at the object in an RCU section; or replaces it, waits, and poisons the old
 * one. */
static void do_rcu(Sim *s)
{
    Object *old, *fresh;

    if (sim_random(s) % 4 != 0) {
        rcu_read_begin(&s->t);
        rcu_read_begin(&s->t);
        CHECK(mt_load_acquire(&shared_object)->magic == MAGIC);
        rcu_read_end(&s->t);
        CHECK(mt_load_acquire(&shared_object)->magic == MAGIC);
        rcu_read_end(&s->t);
        return;
    }
    pthread_mutex_lock(&object_lock);
    old = shared_object;
    fresh = new_object(old->version + 1);
    if (broken("publish")) {
        mt_store_relaxed(&shared_object, fresh);
    } else {
        mt_store_release(&shared_object, fresh);
    }
    pthread_mutex_unlock(&object_lock);
    world_synchronize(&s->t);
    old->magic = 0xdead;
    free(old);
    mt_fetch_add(&n_grace, 1);
}

static void *short_lived(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    do_reader(s);
    do_reader(s);
    world_detach(&s->t);
    mt_fetch_add(&n_exits, 1);
    return NULL;
}

static void do_spawn(Sim *s)
{
    Sim *child = sim_new((int)(sim_random(s) % 100000), opt.seed);

    world_attach(&child->t);
    CHECK(pthread_create(&child->host, NULL, short_lived, child) == 0);
    pthread_join(child->host, NULL);
    free(child);
}

static void *guest_thread(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    while (!mt_load_relaxed(&stopping)) {
        u64 r = sim_random(s) % 64;

        if (r == 0) {
            do_stop(s);
        } else if (r <= 3) {
            do_rcu(s);
        } else if (r == 4) {
            do_spawn(s);
        } else if (r == 5) {
            sim_sleep_us(sim_random(s) % 200);
        } else {
            do_reader(s);
        }
    }
    world_detach(&s->t);
    return NULL;
}

/* Spins until it is kicked; in sequential mode also until its turn is over. */
static void spin(Sim *s)
{
    sim_code(s, sequential() ? 1000000 : ~0ull);
    if (sequential()) {
        world_quantum_end(&s->t);
    }
}

static void *spinning_thread(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    if ((u64)s->id > opt.spinning) {
        mt_fetch_add(&n_enters, 1);
        while (!mt_load_relaxed(&stopping)) {
            futex_wait(&stopping, 0, -1);
        }
        world_detach(&s->t);
        return NULL;
    }
    world_enter(&s->t);
    mt_fetch_add(&n_enters, 1);
    while (!mt_load_relaxed(&stopping)) {
        spin(s);
        mt_fetch_add(&n_enters, 1);
    }
    world_leave(&s->t);
    world_detach(&s->t);
    return NULL;
}

/* The system call: TSan makes vfork() a fork, whose child waits for ever if the world was
 * stopped. */
pid_t bare_vfork(void) __attribute__((returns_twice));
__asm__(".text\n"
        "bare_vfork:\n"
        "    pop %rdi\n" /* the child's calls overwrite it */
        "    mov $58, %eax\n"
        "    syscall\n"
        "    push %rdi\n"
        "    ret\n");

/* A child on the same Thread object, as the runtime's (sched/process.c). */
static void do_vfork(Sim *s)
{
    pid_t pid = bare_vfork();

    if (pid == 0) {
        sim_begin(s);
        world_kernel_thread_changed(&s->t);
        do_reader(s);
        syscall(SYS_exit_group, 0);
    }
    sim_begin(s);
    world_vfork_returned(&s->t);
    CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

static void *mixed_thread(void *arg)
{
    Sim *s = arg;

    sim_begin(s);
    mt_fetch_add(&n_enters, 1);
    while (!mt_load_relaxed(&stopping)) {
        switch (s->id % 4) {
        case 0:
            enter(s);
            if (!mt_load_relaxed(
                    &stopping)) { /* INSIDE: else the last stop's kick is still to come */
                spin(s);
            }
            leave(s);
            break;
        case 1:
            sim_sleep_us(sim_random(s) % 2000);
            do_reader(s);
            break;
        case 2: do_spawn(s); break;
        default: do_vfork(s);
        }
    }
    world_detach(&s->t);
    return NULL;
}

enum { ROUNDS = 200 };

/* For how long the thread has been ready to run so far, and had no processor; 0: not known. */
static u64 waited_ns(int fd)
{
    char text[100];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    unsigned long long ran, waited = 0;

    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited : 0;
}

static int compare_u64(const void *a, const void *b)
{
    u64 x = *(const u64 *)a, y = *(const u64 *)b;

    return x < y ? -1 : x > y;
}

static void print_times(const char *what, u64 *ns, int n)
{
    int over = 0;

    qsort(ns, (size_t)n, sizeof(ns[0]), compare_u64);
    for (int i = 0; i < n; i++) {
        over += ns[i] > 1000000;
    }
    printf("%-30s median %llu us, 90%% %llu us, 99%% %llu us, max %llu us, %d over 1 ms\n", what,
           (unsigned long long)ns[n / 2] / 1000, (unsigned long long)ns[n * 9 / 10] / 1000,
           (unsigned long long)ns[n * 99 / 100] / 1000, (unsigned long long)ns[n - 1] / 1000, over);
}

/* What it takes; and without the caller's waits for a processor. */
typedef struct Times {
    u64 all, running;
} Times;

static Times measure_stop(Sim *s, int fd)
{
    u64 start = sim_now_ns(), waited = waited_ns(fd);
    Times r;

    if (opt.empty) {
        world_stop_empty(&s->t);
    } else {
        world_stop(&s->t);
    }
    waited = waited_ns(fd) - waited;
    r.all = sim_now_ns() - start;
    r.running = r.all - waited;
    still.a++;
    still.b++;
    world_resume(&s->t);
    return r;
}

/* Reads the clock for 50 us. */
static Times measure_control(int fd)
{
    u64 start = sim_now_ns(), waited = waited_ns(fd);
    Times r;

    while (sim_now_ns() - start < 50000) {
    }
    waited = waited_ns(fd) - waited;
    r.all = sim_now_ns() - start;
    r.running = r.all - waited;
    return r;
}

static void measure_stops(Sim *s)
{
    static u64 all[ROUNDS], running[ROUNDS], control[ROUNDS], control_running[ROUNDS];
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC), n = 0;
    u64 end;

    while (mt_load_relaxed(&n_enters) < opt.threads) {
        sim_sleep_us(1000);
    }
    end = sim_now_ns() + opt.ms * 1000000;
    while (n == 0 || (n < ROUNDS && sim_now_ns() < end)) {
        Times stop, c;

        sim_sleep_us(5000);
        stop = measure_stop(s, fd);
        sim_sleep_us(5000);
        c = measure_control(fd);
        all[n] = stop.all, running[n] = stop.running;
        control[n] = c.all, control_running[n++] = c.running;
    }
    close(fd);
    printf("%d stops, %llu threads, %s\n", n, (unsigned long long)opt.threads, opt.mode);
    print_times("stop", all, n);
    print_times("  less waits for a processor", running, n);
    print_times("control", control, n);
    print_times("  less waits for a processor", control_running, n);
    mt_store_relaxed(&stopping, 1);
    futex_wake(&stopping, MAX_THREADS);
    world_stop(&s->t); /* the spinning threads look at `stopping` when they have been kicked */
    world_resume(&s->t);
}

static void run(void)
{
    Sim *self = sim_new(0, opt.seed);

    sim_begin(self);
    world_attach(&self->t);
    mt_store_release(&shared_object, new_object(0));
    for (u64 i = 0; i < opt.threads; i++) {
        sims[i] = sim_new((int)i + 1, opt.seed);
    }
    for (u64 i = 0; i < opt.threads; i++) {
        world_attach(&sims[i]->t);
        CHECK(pthread_create(&sims[i]->host, NULL,
                             !opt.latency ? guest_thread
                             : opt.mixed  ? mixed_thread
                                          : spinning_thread,
                             sims[i]) == 0);
    }
    if (opt.latency) {
        measure_stops(self);
    } else {
        sim_sleep_us(opt.ms * 1000);
        mt_store_relaxed(&stopping, 1);
    }
    for (u64 i = 0; i < opt.threads; i++) {
        pthread_join(sims[i]->host, NULL);
    }
    for (u64 i = 0; i < opt.threads; i++) {
        free(sims[i]);
    }
    CHECK(world_thread_count() == 1 && still.a == still.b);
    free(shared_object);
    world_detach(&self->t);
    free(self);
    printf("seed %llu, %s: %llu enters, %llu stops, %llu grace periods, %llu exits\n",
           (unsigned long long)opt.seed, opt.mode, (unsigned long long)n_enters,
           (unsigned long long)n_stops, (unsigned long long)n_grace, (unsigned long long)n_exits);
}

static bool number(const char *arg, const char *name, u64 *to)
{
    size_t n = strlen(name);

    if (strncmp(arg, name, n) != 0) {
        return false;
    }
    *to = strtoull(arg + n, NULL, 0);
    return true;
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (number(argv[i], "--seed=", &opt.seed) || number(argv[i], "--ms=", &opt.ms) ||
            number(argv[i], "--threads=", &opt.threads) ||
            number(argv[i], "--spinning=", &opt.spinning)) {
            continue;
        }
        if (strncmp(argv[i], "--mode=", 7) == 0) {
            opt.mode = argv[i] + 7;
        } else if (strncmp(argv[i], "--break=", 8) == 0) {
            opt.broken = argv[i] + 8;
        } else if (strcmp(argv[i], "--latency") == 0) {
            opt.latency = true;
        } else if (strcmp(argv[i], "--empty") == 0) {
            opt.empty = true;
        } else if (strcmp(argv[i], "--mixed") == 0) {
            opt.mixed = true;
        } else {
            fprintf(stderr, "stress_world: bad option %s\n", argv[i]);
            exit(2);
        }
    }
    CHECK(opt.threads <= MAX_THREADS);
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    sim_world((WorldConfig){.parallel = !sequential(),
                            .fair = strcmp(opt.mode, "unfair") == 0 ? FAIR_NO : FAIR_YES,
                            .quantum = 1000,
                            .seeded = strcmp(opt.mode, "seeded") == 0,
                            .seed = opt.seed});
    run();
    return 0;
}
