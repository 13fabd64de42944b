/* SPDX-License-Identifier: BSD-2-Clause
 * runloop.c -- dispatcher: finds or makes translations, and does what they are left for.
 * Role:    the one place where a guest thread goes between translated code, system calls, signals
 *          and the world lock. Slow domain.
 * Signals: delivered here only, between guest instructions. */
#include "sched/runloop_int.h"

#include "base/footprint.h"
#include "base/options.h"
#include "base/stats.h"
#include "base/safe.h"
#include "guest/aspace.h"
#include "jit/blockmap.h"
#include "jit/diskcache.h"
#include "jit/entry.h"
#include "jit/instr.h"
#include "jit/recover.h"
#include "jit/replace.h"
#include "jit/smc.h"
#include "jit/translate.h"
#include "sched/childcode.h"
#include "sched/emulate.h"
#include "sched/fastpath.h"
#include "sched/stress.h"
#include "sched/touch.h"
#include "sched/world.h"
#include "sys/ptrace_slot.h"
#include "sys/signal.h"
#include "sys/sys.h"
#include "sys/vsyscall.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define MT_X86_PF 14
#define MT_PF_USER_FETCH 0x14
#define MT_USER_END 0x7ffffffff000ull

/* The version of the code at rip that the guest goes on with. */
static u32 current_key(Thread *t)
{
    if (mt_block_key != NULL) {
        mt_cpu.key = mt_block_key(t, mt_cpu.rip, mt_cpu.key);
    }
    return mt_cpu.key;
}

/* Is it a loop that is to have a translation of its own? */
static bool wants_loop(const Way *w)
{
    return w->edge != NULL && w->generation == mt_cache.generation && translate_wants_loop(w->edge);
}

/* A translation takes as long as that many blocks run: a thread that makes new code all the time
 * would have a turn of a second. Not where turns must not depend on what has been translated
 * already. */
#define MT_TRANSLATION_BLOCKS 500

static void charge_translation(void)
{
    if (mt_opts.sched_seed == NULL) {
        mt_cpu.quantum = mt_cpu.quantum > MT_TRANSLATION_BLOCKS
                             ? mt_cpu.quantum - MT_TRANSLATION_BLOCKS
                             : 1;
    }
}

static bool find_on_disk(GuestAddr pc, u32 key, bool own, Place *place)
{
    return MT_UNLIKELY(mt_diskcache_on) && key == 0 && diskcache_load(pc) &&
           smc_find_code(pc, key, own, place);
}

/* Finds or makes the code at rip. False: *act says why. INSIDE, but whoever stops the world may
 * have to let another one do so first: way->edge may be gone then. */
static bool next_code(Thread *t, Way *way, Place *place, Action *act, GuestAddr *fault)
{
    GuestAddr pc = mt_cpu.rip;
    u32 key = current_key(t);
    bool indirect = way->indirect && key == 0, loop = wants_loop(way);
    bool own = indirect || way->call || loop;
    u32 flags = indirect ? TR_WANT_IND : way->call ? TR_WANT_CALL : loop ? TR_LOOP : 0;

    for (;;) {
        TranslateStatus s = TR_OK;
        bool news = false; /* to other processes */
        bool found = smc_find_code(pc, key, own, place);

        if (!found && MT_UNLIKELY(blockmap_is_crowded())) {
            way->edge = NULL;
            world_stop(t);
            blockmap_grow_world();
            world_resume(t);
            footprint_drop_constants();
        }
        if (!found && !find_on_disk(pc, key, own, place)) {
            if (MT_UNLIKELY(blockmap_is_large()) && cache_may_use_return_stack()) {
                way->edge = NULL;
                translate_use_return_stack(t);
            }
            s = translate(pc, key, flags, &place->block, fault);
            charge_translation();
            if (s == TR_OK) {
                place->at = block_host(place->block);
                news = true;
            }
        }
        /* Behind each slow system call: most often it is there. */
        if (s == TR_OK && indirect && !ibt_has(place->block)) {
            news = true;
            s = ibt_publish(place->block) ? TR_OK : TR_FULL;
        }
        if (s == TR_OK && news && key == 0) {
            childcode_note(pc, flags);
        }
        switch (s) {
        case TR_OK: return true;
        case TR_FULL:
            way->edge = NULL;
            translate_flush(t);
            break;
        case TR_FAULT: *act = ACT_FETCH_FAULT; return false;
        case TR_AGAIN: break;
        }
        if (cpu_pending() != 0) {
            return false;
        }
    }
}

u32 run_one(Thread *t, u32 flags, Action *act, GuestAddr *fault)
{
    Block *b;
    u32 reason, generation, key = current_key(t);

    for (;;) {
        TranslateStatus s = translate(mt_cpu.rip, key, TR_STEP | flags, &b, fault);

        charge_translation();
        if (s == TR_OK) {
            break;
        }
        if (s == TR_FAULT) {
            *act = ACT_FETCH_FAULT;
            return MT_EXIT_ABORT;
        }
        translate_flush(t);
    }
    generation = mt_cache.generation;
    reason = fast_run(t, cache_exec_addr(block_host(b)));
    if (generation == mt_cache.generation && reason != MT_EXIT_OUTSIDE) {
        /* Edges of the block may be named by exit_arg: valid until we leave the world. */
        smc_retire_private(b);
    }
    return reason;
}

/* With another host GS base than the usual one: the guest's FS base, or the tool's own. */
static u32 run_one_gs(Thread *t, u64 base, Action *act, GuestAddr *fault)
{
    u64 usual = cpu_host_gs();
    u32 reason;

    cpu_set_host_gs(base);
    reason = run_one(t, TR_GS, act, fault);
    cpu_set_host_gs(usual);
    return reason;
}

/* The link whose stub has been executed. */
static Edge *taken_link(void)
{
    const Block *b = block_of((BlockRef)mt_cpu.exit_arg);
    Edge *e = block_edges(b);
    u32 link = 0;

    for (u32 i = 0; i < MT_EXIT_STEPS; i += 8) {
        u64 steps;

        memcpy(&steps, mt_cpu.exit_steps + i, 8);
        link = steps != 0 ? i + (63u - (u32)__builtin_clzll(steps)) / 8 : link;
    }
    memset(mt_cpu.exit_steps, 0, sizeof(mt_cpu.exit_steps));
    annot_after(&b->node); /* pairs with blockmap_add(), as annot_left() */
    while (e->patch == 0 || e->link != link) {
        e++;
    }
    return e;
}

/* The instruction at pc will be done OUTSIDE, where its block may go away. */
static void note_behind(Thread *t, const Edge *e)
{
    const EdgeTool *x = edge_tool(e);
    bool syscall = edge_kind(e) == EDGE_SYSCALL;

    t->behind_n = 0;
    if (x != NULL && x->behind != 0) {
        t->behind_pc = edge_target(e) - (syscall ? x->behind : 0);
        t->behind_key = block_key(edge_block(e));
        t->behind_n = (u8)safe_read_partial(t->behind_bytes, t->behind_pc, x->behind);
    }
}

static void go_to(const Edge *e)
{
    mt_cpu.rip = edge_target(e);
    mt_cpu.key = edge_key(e);
}

/* At an edge that no translated code follows. True: go on INSIDE. */
static bool after_special(Thread *t, const Edge *e, Action *act)
{
    switch (edge_kind(e)) {
    case EDGE_STALE:
        if (mt_opts.protect_again && mt_cpu.checks == 0) {
            smc_check_less(edge_block(e));
        } else {
            smc_retire(edge_block(e));
        }
        return true;
    case EDGE_REPLACE: *act = ACT_REPLACE; return false;
    case EDGE_AFTER:
        counts_stop(block_side(edge_block(e)), edge_tool(e)->pairs[0], edge_tool(e)->pairs[1]);
        return true;
    default:
        counts_emulate(edge_block(e));
        note_behind(t, e);
        *act = ACT_EMULATE;
        return false;
    }
}

bool run_after_exit(Thread *t, u32 reason, Way *way, Action *act, GuestAddr *fault)
{
    Edge *e = reason == MT_EXIT_DIRECT ? taken_link() : edge_of((u32)mt_cpu.exit_arg);

    STAT_INC(DISPATCHES);
    *way = (Way){NULL, mt_cache.generation, false, false};
    switch (reason) {
    case MT_EXIT_DIRECT:
        annot_left(e);
        go_to(e);
        way->edge = e;
        way->call = edge_kind(e) == EDGE_CALL;
        if (way->call) {
            recover_unlinked_call();
        }
        return true;
    case MT_EXIT_IB_KEY:
        mt_cpu.gpr[MT_RCX] = mt_cpu.slot[0];
        mt_cpu.rip = mt_cpu.slot[1];
        mt_cpu.key = (u32)mt_cpu.exit_arg;
        return true;
    case MT_EXIT_IB_MISS:
        mt_cpu.key = 0;
        STAT_INC(IB_MISSES);
        mt_cpu.gpr[MT_RCX] = mt_cpu.slot[0];
        mt_cpu.rip = mt_cpu.slot[1];
        way->indirect = true;
        return true;
    case MT_EXIT_SYSCALL:
        mt_cpu.key = edge_key(e);
        note_behind(t, e);
        *act = ACT_SYSCALL; /* rip has been set by the fast path */
        return false;
    case MT_EXIT_EMULATE:
        annot_left(e);
        go_to(e);
        return after_special(t, e, act);
    case MT_EXIT_QUANTUM:
        annot_left(e);
        go_to(e);
        world_quantum_end(t);
        return true;
    case MT_EXIT_GS:
        annot_left(e);
        go_to(e);
        reason = run_one_gs(t, edge_kind(e) == EDGE_FS ? mt_cpu.fs_base : mt_cpu.gs_base, act,
                            fault);
        return reason != MT_EXIT_ABORT && reason != MT_EXIT_OUTSIDE &&
               run_after_exit(t, reason, way, act, fault);
    case MT_EXIT_ABORT: toolcall_aborted(); return false;
    default: return false;
    }
}

/* The system call instruction that mt_cpu.rip has moved back to has not been executed: it will be
 * counted again. */
static void uncount_restarted(Thread *t)
{
    if (mt_instrument != NULL && !t->in_syscall) {
        counts_edge_undo(mt_cpu.edge_pairs);
    }
}

/* Translated code until something must be done OUTSIDE. Returns with the thread INSIDE, but for
 * *outside. */
static Action run_inside(Thread *t, bool *outside, GuestAddr *fault)
{
    Way way = {NULL, mt_cache.generation, t->in_syscall, false};
    Action act = ACT_NONE;
    u32 reason;

    *outside = false;
    if (MT_UNLIKELY(mt_cpu.rflags & EFLAGS_TF) || ptrace_steps()) {
        t->step_over = false;
        return step_run(t, fault);
    }
    if (t->step_over) {
        t->step_over = false;
        reason = run_one(t, 0, &act, fault);
        *outside = reason == MT_EXIT_OUTSIDE;
        if (*outside) {
            uncount_restarted(t);
        }
        if (*outside || act != ACT_NONE || !run_after_exit(t, reason, &way, &act, fault)) {
            return act;
        }
        way.edge = NULL;
    }
    while (cpu_pending() == 0) {
        Place code;

        if (stress_point(t)) {
            way.edge = NULL;
        }
        if (!next_code(t, &way, &code, &act, fault)) {
            return act;
        }
        if (way.edge != NULL && way.generation == mt_cache.generation && mt_opts.chaining &&
            edge_key(way.edge) == block_key(code.block)) {
            chain_link(way.edge, code.block, code.at);
        }
        reason = fast_run(t, cache_exec_addr(code.at));
        if (reason == MT_EXIT_OUTSIDE) {
            *outside = true;
            uncount_restarted(t);
            return ACT_NONE;
        }
        if (!run_after_exit(t, reason, &way, &act, fault)) {
            return act;
        }
    }
    return act;
}

void run_loop_replaced_faulted(void)
{
    _longjmp(*(jmp_buf *)thread_self()->fault_env, 1);
}

/* False: it has accessed memory of the guest that can't be. Its signal is pending, and has been
 * raised by the function's first instruction; if that is come back to (a page that we protect, or a
 * handler that returns), the function is called anew. */
static bool call_replacement(Thread *t, const Replaced *r, u64 *result)
{
    jmp_buf env;
    bool done = false;

    t->fault_env = &env;
    if (_setjmp(env) == 0) {
        *result = r->fn(t, mt_cpu.gpr, r->arg);
        done = true;
    }
    t->fault_env = NULL;
    return done;
}

/* The guest has called a function that the tool does: does it, and returns. */
static void do_replaced(Thread *t)
{
    u64 sp = mt_cpu.gpr[MT_RSP], ret, result;
    Replaced r;

    if (!replace_find(mt_cpu.rip, &r)) {
        return; /* unmapped meanwhile */
    }
    if (safe_read(&ret, sp, sizeof(ret)) != 0) {
        signal_raise_sync(t, SIGSEGV, SEGV_MAPERR, sp, MT_X86_PF, 4);
        return;
    }
    result = r.stands_for;
    if (result == 0 && !call_replacement(t, &r, &result)) {
        return;
    }
    mt_cpu.gpr[MT_RAX] = result;
    mt_cpu.gpr[MT_RSP] = sp + 8;
    mt_cpu.rip = ret;
}

/* What the tool has put behind the instruction that has been done: exactly once, before any signal.
 * So what is pending waits; but for whoever stops the world. */
static void run_behind(Thread *t)
{
    const GuestAddr rip = mt_cpu.rip;
    const u32 key = mt_cpu.key;
    const bool in_syscall = t->in_syscall;
    u32 reason, pending, generation;

    do {
        Block *b;

        world_enter(t);
        world_safepoint(t);
        while (!translate_behind(t->behind_pc, t->behind_bytes, t->behind_n, t->behind_key, &b)) {
            translate_flush(t);
        }
        generation = mt_cache.generation;
        /* Atomic: handlers and stoppers set bits meanwhile. */
        pending = mt_fetch_and(&mt_cpu.pending, MT_PEND_WORLD | MT_PEND_RCU);
        reason = fast_run(t, cache_exec_addr(block_host(b)));
        mt_fetch_or(&mt_cpu.pending, pending);
        if (generation == mt_cache.generation) {
            smc_retire_private(b);
        }
        world_leave(t);
    } while (reason == MT_EXIT_ABORT && mt_cpu.resume == 0);
    mt_cpu.resume = 0;
    mt_cpu.rip = rip;
    mt_cpu.key = key;
    t->in_syscall = in_syscall;
}

static void behind_done(Thread *t, bool done)
{
    if (done && t->behind_n != 0 && !t->exiting) {
        run_behind(t);
    }
    t->behind_n = 0;
}

static void act_outside(Thread *t, Action act, GuestAddr fault)
{
    AspaceInfo info;
    bool done, present, mapped = act == ACT_FETCH_FAULT && aspace_query(fault, &info);
    GuestAddr rip = mt_cpu.rip;
    u8 byte;

    switch (act) {
    case ACT_SYSCALL:
        sys_dispatch(t);
        if (mt_cpu.rip == rip - 2) {
            uncount_restarted(t);
        }
        behind_done(t, mt_cpu.rip == rip);
        break;
    case ACT_EMULATE:
        STAT_INC(EMULATED);
        done = emulate_insn(t);
        counts_emulated(done);
        behind_done(t, done);
        break;
    case ACT_REPLACE: do_replaced(t); break;
    case ACT_FETCH_FAULT:
        if (vsyscall_call(t)) {
            break;
        }
        if (mapped && aspace_is_exec(fault)) {
            /* Behind the end of its file, if it has not been mapped just now. */
            if (safe_read(&byte, fault, 1) != 0) {
                signal_raise_sync(t, SIGBUS, BUS_ADRERR, fault, MT_X86_PF, MT_PF_USER_FETCH);
            }
            break;
        }
        emulate_undo_call();
        present = mapped ? info.prot != PROT_NONE : fault >= MT_USER_END;
        signal_raise_sync(t, SIGSEGV, mapped ? SEGV_ACCERR : SEGV_MAPERR, fault, MT_X86_PF,
                          MT_PF_USER_FETCH | (present ? 1 : 0));
        break;
    case ACT_NONE: break;
    }
    if (MT_UNLIKELY(t->trap_behind)) {
        t->trap_behind = false;
        if (act != ACT_SYSCALL || (ptrace_steps() && mt_cpu.rip != rip - 2 && !t->exiting)) {
            step_raise_trap(t);
        }
    }
}

/* It is a safepoint that is asked for: not a reason to leave, and so (sequential mode) lose one's
 * turn. */
static bool only_world_pending(void)
{
    u32 pending = cpu_pending();

    return pending != 0 && (pending & ~(MT_PEND_WORLD | MT_PEND_RCU)) == 0;
}

void run_loop(Thread *t)
{
    while (!t->exiting) {
        bool outside;
        Action act;
        GuestAddr fault = 0;

        if (cpu_pending() & MT_PEND_SIGNAL) {
            step_take_loaded_tf(t);
            signal_deliver(t);
            continue;
        }
        if (MT_UNLIKELY((mt_cpu.pending & MT_PEND_PTRACE) != 0) ||
            MT_UNLIKELY(ptrace_slot()->dirty != 0)) {
            ptrace_serve(t);
            continue;
        }
        if (MT_UNLIKELY(t->turn_lost)) {
            t->turn_lost = false;
            touch_operands(t);
            continue;
        }
        smc_reclaim(t);
        world_enter(t);
        do {
            if (cpu_pending() & (MT_PEND_WORLD | MT_PEND_RCU)) {
                world_safepoint(t);
            }
            act = run_inside(t, &outside, &fault);
        } while (!outside && act == ACT_NONE && only_world_pending() && !t->turn_lost);
        if (!outside) {
            world_leave_for(t, act == ACT_SYSCALL && !mt_opts.parallel ? sys_away(&mt_cpu) : AWAY);
        }
        act_outside(t, act, fault);
    }
}

/* A synchronous SIGSEGV of translated code: is it a write to a page that we protect? */
static bool fault_hook(Thread *t, PendingSignal *p)
{
    const u64 write = 2; /* the page need not be present: dropped by madvise, or swapped out */
    bool step = false;

    if (p->info.si_code != SEGV_ACCERR || (p->err & write) == 0 ||
        !smc_write_fault((GuestAddr)p->info.si_addr, mt_cpu.rip, &step)) {
        return false;
    }
    t->step_over = step;
    return true;
}

static bool efault_hook(Thread *t)
{
    return smc_unprotect_all();
}

void run_loop_init(void)
{
    signal_fault_hook = fault_hook;
    sys_efault_hook = efault_hook;
    sys_mem_init();
}
