/* SPDX-License-Identifier: BSD-2-Clause
 * translate.c -- from a guest address to a published block.
 * Role:    has it planned (plan.c), instrumented (instr.c), lowered (lower.c), and makes a block of
 *          it.
 * Locking: none of its own: decoding and lowering work on the thread's own memory. Two threads that
 *          translate the same address race in smc_publish(); the loser's copy is dropped. */
#include "jit/translate.h"

#include "base/lockorder.h"
#include "base/log.h"
#include "base/options.h"
#include "base/stats.h"
#include "jit/blockmap.h"
#include "jit/diskcache.h"
#include "jit/diskunit.h"
#include "jit/insn.h"
#include "jit/instr.h"
#include "jit/lower.h"
#include "jit/perfmap.h"
#include "jit/plan.h"
#include "sched/world.h"

#include <string.h>
#include <time.h>

/* Up to so many blocks loops get translations of their own. */
#define MT_LOOPS_UNTIL 20000u
#define MT_MIN_SPACE 3072
#define MT_LONG_RUN_MS 500
#define MT_LONG_RUN_WARM_MS 2000 /* translations were read from disk, which are of no use then */
#define MT_MIN_SPACE_INSTR 4096

i32 mt_cpu_tpoff;

static i64 started_ms;

/* By the vDSO: no system call, which a guest's seccomp filter could forbid. */
static i64 now_ms(void)
{
    struct timespec t = {0, 0};

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int translate_init(void)
{
    u64 fs0;

    started_ms = now_ms();
    __asm__("mov %%fs:0, %0" : "=r"(fs0));
    mt_cpu_tpoff = (i32)((u64)&mt_cpu - fs0);
    /* Stubs reach it by rip (lower_finish()). */
    MT_ASSERT((i64)mt_cpu_tpoff - (i64)(mt_cache.exec + mt_cache.size) >= INT32_MIN);
    decode_init();
    smc_init();
    return blockmap_init();
}

/* b begins with a call: the block that had it up to now makes way. */
static void take_over_call(const Plan *p, Block *b)
{
    const Insn *in = &p->insns[0];

    if (p->n > 0 && mt_cache.return_stack && plan_is_call(in)) {
        Block *other = return_point_owner(in->pc + in->len);

        if (other != NULL && other != b) {
            smc_retire(other);
        }
    }
}

static void lower_checks(Lower *l, const Plan *p)
{
    u8 bytes[MT_CHECKED_BYTES + 16];
    u32 n = 0;

    for (u32 i = 0; i < p->n; i++) {
        const Insn *in = &p->insns[i];
        /* Of an invalid one all that has been looked at makes it so, up to the 15 bytes of one too
         * long. */
        bool whole = in->cls == INSN_INVALID || in->cls == INSN_EMULATE;
        u32 len = whole && i + 1 == p->n ? p->seen : in->len;

        memcpy(bytes + n, in->bytes, len);
        n += len;
    }
    lower_check_bytes(l, bytes, n);
}

static bool is_indirect(const Insn *in)
{
    return in->cls == INSN_JMP_IND || in->cls == INSN_CALL_IND || in->cls == INSN_RET;
}

static void lower_last(Lower *l, const Plan *p, const Insn *in)
{
    if (plan_needs_gs(p, in)) {
        if (in->cls == INSN_PLAIN) {
            lower_end_exit(l, in, in->flags & INSN_F_SEG_GS ? EDGE_GS : EDGE_FS, in->pc);
        } else {
            lower_end_exit(l, in, EDGE_EMULATE, in->pc);
        }
    } else if ((p->flags & TR_ALONE) && is_indirect(in)) {
        lower_end_exit(l, in, EDGE_EMULATE, in->pc);
    } else if (in->cls == INSN_INVALID) {
        lower_insn(l, in);
    } else if (plan_ends_with(p, in)) {
        lower_end_insn(l, in);
    } else {
        lower_insn(l, in);
        lower_end_at(l, in->pc + in->len);
    }
}

/* Where the field of the link that follows instruction i at once is, from the link's beginning; 0:
 * none does. */
static u32 field_behind(const Plan *p, u32 i)
{
    const Insn *next = &p->insns[i + 1];

    if (i + 1 == p->n) {
        return p->ended ? 0 : 1;
    }
    return next->cls == INSN_JCC ? 2 : next->cls == INSN_JMP && !p->followed[i + 1] ? 1 : 0;
}

static void lower_one(Plan *p, Lower *l, u32 i)
{
    const Insn *in = &p->insns[i];
    u32 e = l->nedges;

    if (p->followed[i]) {
        lower_follow(l, in, in->target);
    } else if (i + 1 == p->n && p->ended) {
        lower_last(l, p, in);
    } else {
        lower_insn(l, in);
    }
    for (; e < l->nedges; e++) {
        l->edges[e].back = l->edges[e].kind == EDGE_DIRECT && l->edges[e].target <= in->pc;
    }
}

/* The same with a tool's annotations. False: the plan has been cut, and must be lowered anew. */
static bool lower_instrumented(Plan *p, Lower *l, MtvgSb *sb)
{
    for (u32 i = 0; i < p->n; i++) {
        if (!instr_room(l)) {
            MT_ASSERT(i > 0);
            plan_cut(p, i);
            return false;
        }
        instr_before(sb, l, i);
        l->exit_key = sb->exit_key[i];
        if (p->followed[i]) {
            instr_follow(sb, l, i);
        } else {
            lower_one(p, l, i);
            if (!instr_is_outside(&p->insns[i])) {
                instr_after(sb, l, i);
            }
        }
    }
    l->exit_key = sb->exit_key[p->n];
    if (!p->ended) {
        instr_end(sb, l);
    }
    return true;
}

/* The instruction that a private translation will run, if the block ends with one. */
static u32 private_insn(const Plan *p)
{
    const Insn *in = &p->insns[p->n - 1];

    return p->ended && plan_needs_gs(p, in) && in->cls == INSN_PLAIN ? p->n - 1 : MT_SB_INSNS;
}

/* Lowers the plan; it may turn out shorter than planned if the space is used up. */
static bool plan_lower(Plan *p, Lower *l, MtvgSb *sb)
{
    if (sb != NULL) {
        instr_begin(sb, p->pc, p->key, p->insns, p->followed, p->n, private_insn(p),
                    (p->flags & TR_GS) != 0);
        if (sb->cut != 0) {
            plan_cut(p, sb->cut);
            return false;
        }
    }
    lower_begin(l, p->pc,
                p->flags & TR_WANT_IND    ? ENTRY_IND
                : p->flags & TR_WANT_CALL ? ENTRY_CALL
                                          : ENTRY_NONE,
                !mt_opts.parallel && !(p->flags & TR_STEP));
    l->return_stack = mt_cache.return_stack && !(p->flags & TR_STEP);
    lower_version(l, p->key);
    l->gs_is_tools = mt_tool_gs && !(p->flags & TR_GS);
    if (p->replaced) {
        Insn none = {.pc = p->pc};

        lower_end_exit(l, &none, EDGE_REPLACE, p->pc);
        return true;
    }
    if (p->checked && !(p->flags & TR_STEP)) {
        lower_checks(l, p);
    }
    if (sb != NULL && !lower_instrumented(p, l, sb)) {
        return false;
    }
    for (u32 i = 0; sb == NULL && i < p->n; i++) {
        if (!lower_room(l)) {
            plan_cut(p, i);
        } else {
            lower_field_behind(l, mt_opts.fused_jumps ? field_behind(p, i) : 0);
            lower_one(p, l, i);
        }
    }
    if (!p->ended) {
        lower_end_at(l, p->next);
    }
    return true;
}

bool translate_wants_loop(const Edge *e)
{
    return e->back && blockmap_count() < MT_LOOPS_UNTIL;
}

static void fill_edges(Block *b, const Lower *l)
{
    u32 link = 0;

    for (u32 i = 0; i < l->nedges; i++) {
        const LowerEdge *d = &l->edges[i];
        Edge *e = &block_edges(b)[i];
        u32 ref = arena_ref(e);

        e->target = (i64)(d->target - b->pc);
        e->index = i & 63;
        e->back = d->back;
        e->patch = (u16)(d->patch != 0 ? d->patch - b->host_start : 0);
        e->link = (d->patch != 0 ? link++ : d->kind) & 63;
        if (b->has_tool) {
            edge_tool(e)->key = d->key;
        }
        if (d->kind == EDGE_RETURN) {
            e->return_point = d->stub;
        } else if (d->patch == 0) {
            memcpy(cache_write_ptr(d->stub) + 8, &ref, 4);
        }
    }
    if (l->nlinks > 0) {
        u32 ref = block_ref(b);

        memcpy(cache_write_ptr(l->stubs + l->nlinks * MT_STUB_STEP), &ref, 4);
    }
}

static void fill_extra(Block *b, const Lower *l, const MtvgSb *sb)
{
    u64 pairs = instr_edge_pairs(sb, sb->n - 1);

    for (u32 i = 0; i < l->nedges; i++) {
        EdgeTool *x = &block_tools(b)[i];

        memcpy(x->pairs, &pairs, sizeof(x->pairs));
        if ((l->edges[i].kind == EDGE_EMULATE || l->edges[i].kind == EDGE_SYSCALL) &&
            instr_has_after(sb, sb->n - 1)) {
            x->behind = sb->insns[sb->n - 1].len;
        }
    }
    instr_write_extra(sb, b);
}

_Static_assert(MT_MAX_EDGES <= MT_EXIT_STEPS && MT_EXIT_STEPS <= 64 && MT_CHUNK_MAX <= 65536,
               "fields of Edge and Block");

static Block *make_block(const Plan *p, const Lower *l, const MtvgSb *sb)
{
    const BlockShape shape = {.nedges = l->nedges,
                              .npages = p->npages,
                              .pcmap_len = l->map.len,
                              .extra = sb != NULL ? instr_extra_bytes(sb, l->map.len) : 0,
                              .has_tool = sb != NULL || p->key != 0};
    Block *b = block_alloc(&shape);

    if (b == NULL) {
        return NULL;
    }
    memcpy(block_pcmap(b), l->map.bytes, l->map.len);
    b->pc = p->pc;
    if (b->has_tool) {
        block_tool(b)->key = p->key;
    }
    b->host_start = l->start;
    b->host_size = (u16)(l->end - l->start);
    b->entry_size = (u8)(l->host - l->start);
    b->nlinks = (u8)l->nlinks;
    b->cold = l->space.cold == l->space.cold_start           ? 0
              : mt_opts.exits == EXITS_COLD && l->nlinks > 0 ? l->stubs
                                                             : l->space.cold_start;
    b->ninsns = (u8)p->n;
    b->ind = l->ind;
    b->call = l->call;
    cds_lfht_node_init(&b->node);
    fill_edges(b, l);
    if (sb != NULL) {
        fill_extra(b, l, sb);
    }
    return b;
}

static void count_translation(const Plan *p, const Block *b)
{
    u32 bytes = 0;

    for (u32 i = 0; i < p->n; i++) {
        bytes += p->insns[i].len;
    }
    STAT_INC(TRANSLATIONS);
    STAT_ADD(GUEST_INSNS, p->n);
    STAT_ADD(GUEST_BYTES, bytes);
    STAT_ADD(HOST_BYTES, b->host_size + lower_stub_bytes(b->nlinks));
}

/* Links exits to translations that are there already. Calls to those that have no entry for them
 * yet wait until they are executed. */
void translate_link(Block *b)
{
    for (u32 i = 0; i < b->nedges; i++) {
        Edge *e = &block_edges(b)[i];

        if (e->patch != 0 && mt_opts.chaining) {
            bool call = edge_kind(e) == EDGE_CALL;
            Place to;

            if (smc_find_code(edge_target(e), edge_key(e), call || translate_wants_loop(e), &to) &&
                (!call || mt_load_relaxed(&to.block->call) != 0)) {
                chain_link(e, to.block, to.at);
            }
        }
    }
}

static void verify_plan(const Plan *p)
{
    char why[160];

    for (u32 i = 0; i < p->n; i++) {
        if (!decode_verify(&p->insns[i], why, sizeof(why))) {
            mt_umsg_always("decoders differ at 0x%llx: %s", (unsigned long long)p->insns[i].pc,
                           why);
        }
    }
}

static void trace_plan(const Plan *p, const Block *b)
{
    char text[160];

    log_debug(LOG_JIT, "block 0x%llx: %u instructions, host 0x%llx + %u", (unsigned long long)p->pc,
              p->n, (unsigned long long)cache_exec_addr(b->host_start), b->host_size);
    for (u32 i = 0; i < p->n && mt_debug_level[LOG_JIT] >= 2; i++) {
        decode_text(&p->insns[i], text, sizeof(text));
        log_debug(LOG_JIT, "  0x%llx  %s", (unsigned long long)p->insns[i].pc, text);
    }
}

/* Another thread was first, or the code has changed. */
static void drop(Block *b)
{
    STAT_INC(TRANSLATIONS_LOST);
    MT_DEBUG(LOG_JIT, 1, "dropped 0x%llx", (unsigned long long)b->pc);
    cache_release(b->host_start);
    if (b->cold != 0) {
        cache_release(b->cold);
    }
    block_free(b);
}

static TranslateStatus publish(Plan *p, Lower *l, const MtvgSb *sb, Block **out)
{
    Block *b = make_block(p, l, sb);
    Block *first;

    if (b == NULL) {
        return TR_FULL;
    }
    if (p->flags & TR_STEP) {
        b->dead = 1; /* never linked, never found */
        cache_commit(&l->space, (CacheOff)(l->e.x - mt_cache.exec), block_ref(b));
        *out = b;
        return TR_OK;
    }
    /* Committed before it can be found: a signal handler may have to find it as soon as it runs. */
    cache_commit(&l->space, (CacheOff)(l->e.x - mt_cache.exec), block_ref(b));
    first = smc_publish(b, p->pages, p->npages);
    if (first != b) {
        drop(b);
        *out = first;
        return first != NULL ? TR_OK : TR_AGAIN;
    }
    count_translation(p, b);
    if (MT_UNLIKELY(mt_diskcache_on) && !p->checked && !p->replaced) {
        diskcache_note(b, p->insns, p->n);
    }
    translate_link(b);
    take_over_call(p, b);
    return_points_publish(b);
    MT_DEBUG(LOG_JIT, 1, "translated 0x%llx", (unsigned long long)p->pc);
    if (MT_UNLIKELY(mt_debug_level[LOG_JIT] >= 1)) {
        trace_plan(p, b);
    }
    if (MT_UNLIKELY(mt_opts.perf_map)) {
        perfmap_add(b);
    }
    *out = b;
    return TR_OK;
}

TranslateStatus translate(GuestAddr pc, u32 key, u32 flags, Block **out, GuestAddr *fault)
{
    Plan p;
    Lower l;
    MtvgSb instr, *sb = mt_instrument != NULL ? &instr : NULL;
    CodeSpace space;

    MT_DCHECK(lockorder_is_free());
    plan_make(&p, pc, key, flags);
    MT_DCHECK(
        lockorder_is_free()); /* locks are taken for a few words each, none while translating */
    if (p.replaced) {
        sb = NULL;
    } else if (p.n == 0) {
        *fault = p.fault_addr;
        return TR_FAULT;
    }
    if (mt_opts.verify_decode) {
        verify_plan(&p);
    }
    if (!cache_reserve(&l.space, sb != NULL ? MT_MIN_SPACE_INSTR : MT_MIN_SPACE)) {
        return TR_FULL;
    }
    space = l.space;
    while (!plan_lower(&p, &l, sb)) {
        l.space = space;
    }
    lower_finish(&l);
    MT_DCHECK(lockorder_is_free());
    return publish(&p, &l, sb, out);
}

Block *translate_from_disk(const UnitView *v, const PageWatch *pages, bool *full)
{
    Plan p;
    Lower l;
    Block *b;

    *full = !cache_reserve(&l.space, MT_MIN_SPACE);
    if (*full) {
        return NULL;
    }
    p.pc = v->unit->pc;
    p.key = 0;
    p.n = v->unit->ninsns;
    p.npages = v->unit->npages;
    b = unit_lower(v, &l) ? make_block(&p, &l, NULL) : NULL;
    if (b == NULL) {
        cache_abort(&l.space);
        return NULL;
    }
    cache_commit(&l.space, (CacheOff)(l.e.x - mt_cache.exec), block_ref(b));
    if (smc_publish(b, pages, p.npages) != b) {
        drop(b);
        return NULL;
    }
    if (mt_load_relaxed(&b->ind) != 0 && !ibt_publish(b)) {
        *full = true;
    }
    MT_DEBUG(LOG_JIT, 1, "read 0x%llx", (unsigned long long)v->unit->pc);
    if (MT_UNLIKELY(mt_opts.perf_map)) {
        perfmap_add(b);
    }
    return b;
}

bool translate_behind(GuestAddr pc, const u8 *bytes, u32 n, u32 key, Block **out)
{
    Plan p;
    Lower l;
    MtvgSb sb;

    p.pc = pc;
    p.key = key;
    p.flags = TR_STEP;
    p.n = 1;
    p.npages = 0;
    p.followed[0] = 0;
    decode_insn(&p.insns[0], pc, bytes, n);
    if (!cache_reserve(&l.space, MT_MIN_SPACE_INSTR)) {
        return false;
    }
    instr_begin(&sb, pc, key, p.insns, p.followed, 1, MT_SB_INSNS, false);
    lower_begin(&l, pc, ENTRY_NONE, false);
    lower_version(&l, key);
    instr_after(&sb, &l, 0);
    lower_end_exit(&l, &p.insns[0], EDGE_AFTER, pc + p.insns[0].len);
    lower_finish(&l);
    return publish(&p, &l, &sb, out) == TR_OK;
}

static void flush_world(void)
{
    STAT_INC(FLUSHES);
    smc_flush_world();
}

void translate_flush(Thread *t)
{
    u32 generation = mt_cache.generation;

    world_stop_empty(t); /* the code that threads stand in goes */
    if (generation == mt_cache.generation) {
        flush_world();
    }
    world_resume(t);
}

/* Programs that are over soon don't get back what the change costs. A guest with a seed for its
 * hand-overs must not see the time, so the sequential mode is left out
 * (cache_may_use_return_stack()). */
static bool has_run_long(void)
{
    i64 ms = diskcache_has_file() ? MT_LONG_RUN_WARM_MS : MT_LONG_RUN_MS;

    return now_ms() - started_ms >= ms;
}

void translate_use_return_stack(Thread *t)
{
    static u32 saved; /* atomic: the one that finds 0 saves */

    if (!has_run_long()) {
        return;
    }
    if (mt_diskcache_on && mt_exchange(&saved, 1) == 0) {
        world_leave(t); /* the disk may take its time */
        diskcache_save(t);
        world_enter(t);
    }
    world_stop_empty(t); /* as in translate_flush() */
    if (cache_may_use_return_stack()) {
        smc_lock(); /* who is OUTSIDE and unlinks blocks looks at it */
        cache_use_return_stack_world(blockmap_count());
        smc_unlock();
        flush_world();
    }
    world_resume(t);
}
