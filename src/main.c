/* SPDX-License-Identifier: BSD-2-Clause
 * main.c -- brings the layers up in their order, loads the guest, and runs it. */
#include "base/heap.h"
#include "base/loaderenv.h"
#include "base/log.h"
#include "base/options.h"
#include "base/stats.h"
#include "diag/startinfo.h"
#include "guest/aspace.h"
#include "guest/cpu.h"
#include "guest/elf.h"
#include "guest/layout.h"
#include "jit/block.h"
#include "jit/cache.h"
#include "jit/diskcache.h"
#include "jit/smc.h"
#include "jit/translate.h"
#include "sched/clone.h"
#include "sched/runloop.h"
#include "sched/stress.h"
#include "sched/tool_events.h"
#include "sched/world.h"
#include "sys/ptrace_slot.h"
#include "sys/signal.h"
#include "sys/sys.h"
#include "sys/sys_events.h"
#include "tools/tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;

const MtvgTool *mt_tool;

static void check(int r, const char *what)
{
    if (r != 0) {
        mt_die(1, "%s: %s", what, strerror(-r));
    }
}

static u64 sched_seed(bool *seeded)
{
    u64 seed = 0;

    *seeded = mt_opts.sched_seed != NULL;
    if (!*seeded) {
        return 0;
    }
    if (strcmp(mt_opts.sched_seed, "random") == 0) {
        (void)!getrandom(&seed, sizeof(seed), 0);
        mt_umsg_always("scheduling seed: %llu", (unsigned long long)seed);
        return seed;
    }
    return strtoull(mt_opts.sched_seed, NULL, 0); /* a number: options.c has looked */
}

static void init_world(void)
{
    WorldConfig c = {.parallel = mt_opts.parallel,
                     .fair = mt_opts.fair_sched,
                     .quantum = (u64)mt_opts.quantum,
                     .kick = thread_kick};

    if (c.parallel && mt_opts.sched_seed != NULL) {
        mt_umsg("--sched-seed does nothing without --parallel=no");
    }
    c.seed = sched_seed(&c.seeded);
    check(world_init(&c), "cannot set up the world lock");
}

/* As asked for, but no more than a part of what RLIMIT_AS and RLIMIT_DATA leave: the arena for
 * translations takes four times as much again. */
static u64 code_cache_size(void)
{
    static const int kinds[] = {RLIMIT_AS, RLIMIT_DATA};
    const u64 least = 1u << 20;
    u64 size = mt_opts.code_cache_size;
    struct rlimit lim;

    for (size_t i = 0; i < MT_ARRAY_SIZE(kinds); i++) {
        if (getrlimit(kinds[i], &lim) == 0 && lim.rlim_cur != RLIM_INFINITY && size > least &&
            size > lim.rlim_cur / 32) {
            size = lim.rlim_cur / 32 > least ? MT_PAGE_DOWN(lim.rlim_cur / 32) : least;
        }
    }
    return size;
}

static void init_translator(const ExecTarget *target)
{
    u64 size = code_cache_size();

    elf_fixed_range(target, &mt_layout.keep_lo, &mt_layout.keep_hi);
    check(layout_init(size + MT_CACHE_HEAD), "no room for the code cache below 2 GiB");
    check(cache_init(), "cannot make the code cache");
    check(block_arena_init(size), "no memory for translations");
    aspace_init(smc_changed);
    check(translate_init(), "cannot set up the translator");
}

static void resolve(ExecTarget *target)
{
    ExecError err = {.exit_code = 1, .msg = "out of memory"};
    char *name = mt_opts.guest_argv[0];
    char *path = mt_opts.exec_argv0 ? heap_copy_text(name) : exec_find(name, &err);

    if (mt_opts.exec_argv0 != NULL) {
        mt_opts.guest_argv[0] = (char *)mt_opts.exec_argv0;
    }
    if (path == NULL || exec_resolve(path, mt_opts.guest_argv, target, &err) != 0) {
        mt_die(err.exit_code, "%s", err.msg);
    }
    if (target->is_setid) {
        mt_die(126, "%s: set-user-ID and set-group-ID programs can't be run under mtvg", name);
    }
    heap_free(path);
}

/* An outer Valgrind's libraries are not for the guest, whose copies would make their requests to
 * the outer, which takes them for the runtime's. */
static void drop_outer_preloads(void)
{
    const char *old = getenv("LD_PRELOAD");
    char *list, *kept, *save, *name;

    if (!mt_under_valgrind || old == NULL) {
        return;
    }
    list = strdup(old);
    kept = calloc(1, strlen(old) + 2);
    check(list != NULL && kept != NULL ? 0 : -ENOMEM, "cannot prepare the environment");
    for (name = strtok_r(list, ": ", &save); name != NULL; name = strtok_r(NULL, ": ", &save)) {
        if (strstr(name, "/vgpreload_") == NULL) {
            strcat(kept, kept[0] != 0 ? ":" : "");
            strcat(kept, name);
        }
    }
    if (kept[0] != 0) {
        setenv("LD_PRELOAD", kept, 1);
    } else {
        unsetenv("LD_PRELOAD");
    }
    free(kept);
    free(list);
}

/* As execve(2) does: the last part of the path, and what the file is called if it was executed by
 * descriptor. */
static void set_thread_name(const ExecTarget *target)
{
    const char *path = mt_opts.exec_fd >= 0 ? target->real_path : target->execfn;
    const char *slash = strrchr(path, '/');
    char name[256];

    snprintf(name, sizeof(name), "%s", slash != NULL ? slash + 1 : path);
    if (mt_opts.exec_fd >= 0 && strstr(name, " (deleted)") != NULL) {
        *strstr(name, " (deleted)") = 0;
    }
    prctl(PR_SET_NAME, name);
}

static void load(const ExecTarget *target)
{
    ExecError err;
    ElfImage img;
    GuestAddr top, sp;

    if (elf_load(target, &img, &err) != 0) {
        mt_die(err.exit_code, "%s", err.msg);
    }
    /* Programs that turn randomisation off and look where the heap lies: GCL's, so Maxima. */
    if (img.fixed && (personality(0xffffffff) & ADDR_NO_RANDOMIZE) != 0) {
        aspace_start_brk(img.brk_start);
    }
    top = aspace_make_stack(img.exec_stack);
    if (top == 0) {
        mt_die(1, "no room for the program's stack");
    }
    drop_outer_preloads();
    sp = elf_make_stack(&img, target, environ, top, &err);
    if (sp == 0) {
        mt_die(err.exit_code, "%s", err.msg);
    }
    set_thread_name(target);
    check(procfs_init(target, &img, sp), "cannot prepare /proc for the program");
    mt_cpu.gpr[MT_RSP] = sp;
    mt_cpu.rip = img.entry;
    mt_cpu.rflags = 0x202;
}

static u64 guest_pc(void)
{
    return mt_cpu.rip;
}

/* A tool that has been linked in takes the place of "none". */
static const MtvgTool *choose_tool(void)
{
    switch (mt_opts.tool) {
    case TOOL_LACKEY: return &mt_tool_lackey;
    default: return &mtvg_tool != NULL ? &mtvg_tool : &mt_tool_none;
    }
}

static int own_argc;

/* All of it, on a stack that is large enough. Ends the main thread. */
static void run(void)
{
    ExecTarget target;
    Thread *t;
    int code;

    options_init(own_argc, mt_own_argv);
    mt_assert_guest_pc = guest_pc;
    log_fd_mover = fd_hide;
    log_init();
    stress_init();
    sys_rlimit_start(mt_opts.exec_limits);
    resolve(&target);
    mt_tool = choose_tool();
    startinfo_tell(&target, mt_own_argv, mt_tool->name, code_cache_size());
    cpu_init();
    init_world();
    init_translator(&target);
    t = thread_start(true);
    if (t == NULL) {
        mt_die(1, "out of memory");
    }
    signal_init(t);
    run_loop_init();
    load(&target);
    if (mt_opts.exec_fd >= 0) {
        close((int)mt_opts.exec_fd);
    }
    tool_init();
    sys_events_init(t, mt_tool);
    diskcache_init(target.real_path);
    exec_target_free(&target);
    tool_thread_start(t);
    ptrace_start(t);
    run_loop(t);
    code = t->exit_code;
    thread_end(t);
    /* exit(2) of the main thread: others go on. */
    sys_raw(SYS_exit, (u64)code, 0, 0, 0, 0, 0);
}

/* Makes the kernel extend the stack by what the runtime needs: the guest may lower its limit
 * later. */
static __attribute__((noinline)) void extend_stack(void)
{
    volatile char room[MT_HOST_STACK];

    room[0] = 0;
    (void)room[0];
}

/* A limit for the guest's stack (RLIMIT_STACK) that is too small for the runtime: it gets its
 * own. */
static void run_on_own_stack(void)
{
    static ucontext_t context;
    void *stack = mmap(NULL, MT_HOST_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);

    check(stack == MAP_FAILED ? -errno : 0, "no memory for a stack");
    check(getcontext(&context), "cannot change stacks");
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = MT_HOST_STACK;
    makecontext(&context, run, 0);
    setcontext(&context);
}

int main(int argc, char **argv)
{
    struct rlimit limit;

    loaderenv_init(argv);
    mt_own_argv = argv;
    own_argc = argc;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < 2ul * MT_HOST_STACK) {
        run_on_own_stack();
    }
    extend_stack();
    run();
    return 0;
}
