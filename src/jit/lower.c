/* SPDX-License-Identifier: BSD-2-Clause
 * lower.c -- guest instructions to host code.
 * Role:       knows encodings; does not know blocks, chaining or where instructions come from.
 * Files:      lower_plain.c     copies
 *             lower_exit.c      edges, links, stubs
 *             lower_indirect.c  indirect branches
 *             lower_retstack.c  calls and returns over the processor's return stack
 *             lower_check.c     the quantum, the check of changing code
 * Invariants: L1. between the host code of two guest instructions every guest register is in its
 *             host register and the flags are the guest's.
 *             L2. the flags are never changed but by guest instructions (D3).
 *             L3. a rel32 field that may be patched does not cross an 8-byte boundary.
 *             L4. every host instruction has a step in the pc map. */
#include "jit/lower_int.h"

#define MT_FIX_BYTES 64     /* of a LowerFix: code */
#define MT_FIX_MAP_BYTES 32 /* records: pcmap_again(), seven steps */

bool lower_room(const Lower *l)
{
    return !l->full && l->nedges + 4 < MT_MAX_EDGES && l->nfixes < MT_MAX_FIXES &&
           pcmap_room(&l->map, l->nfixes * MT_FIX_MAP_BYTES) &&
           l->space.hot_end - here(l) >
               3 * MT_LOWER_MAX + lower_stub_bytes(l->nlinks) + l->nfixes * MT_FIX_BYTES &&
           l->space.cold_end - l->space.cold > MT_COLD_ROOM;
}

void lower_begin(Lower *l, GuestAddr pc, LowerEntry entry, bool quantum)
{
    l->pc = pc;
    l->start = l->space.hot;
    l->e.w = cache_write_ptr(l->start);
    l->e.x = cache_exec_addr(l->start);
    l->nedges = l->nlinks = l->nfixes = 0;
    l->map.len = 0;
    l->full = false;
    l->field_behind = 0;
    l->gs_is_tools = l->return_stack = false;
    l->key = l->exit_key = 0;
    l->ind = l->call = 0;
    if (entry == ENTRY_IND) {
        l->ind = lower_ind_entry(&l->e, pc, 0);
    } else if (entry == ENTRY_CALL) {
        l->call = lower_call_entry(&l->e, 0);
    }
    l->host = here(l);
    l->quantum = quantum;
    if (quantum) {
        lower_quantum(l, pc, l->key);
    }
}

void lower_version(Lower *l, u32 key)
{
    l->key = l->exit_key = key;
    for (u32 i = 0; i < l->nedges; i++) { /* the quantum's */
        l->edges[i].key = key;
    }
}

static void lower_call(Lower *l, const Insn *in)
{
    if (!lower_over_retstack(l)) {
        lower_plain_call(l, in);
    } else {
        lower_stack_call(l, in);
    }
}

void lower_insn(Lower *l, const Insn *in)
{
    switch (in->cls) {
    case INSN_JCC: lower_link_jcc(l, in->len, in->cc, in->target); break;
    case INSN_JRCXZ: lower_link_jrcxz(l, in); break;
    case INSN_INVALID: lower_invalid(l, in); break;
    case INSN_CALL: lower_call(l, in); break;
    case INSN_CALL_IND: lower_indirect(l, in); break;
    default: lower_plain(l, in);
    }
    l->field_behind = 0;
}

void lower_follow(Lower *l, const Insn *in, GuestAddr to)
{
    pcmap_goto(&l->map, in->pc, to);
}

void lower_end_insn(Lower *l, const Insn *in)
{
    switch (in->cls) {
    case INSN_JMP: lower_link_jmp(l, in->len, in->target); break;
    case INSN_CALL: lower_call(l, in); break;
    case INSN_RET:
        if (lower_over_retstack(l) && in->ret_pop == 0) {
            lower_stack_ret(l, in);
        } else {
            lower_ret(l, in);
        }
        break;
    case INSN_JMP_IND:
    case INSN_CALL_IND: lower_indirect(l, in); break;
    case INSN_SYSCALL: lower_end_exit(l, in, EDGE_SYSCALL, in->pc + in->len); break;
    default: lower_end_exit(l, in, EDGE_EMULATE, in->pc);
    }
    if (lower_goes_on(l, in)) {
        lower_end_at(l, in->pc + in->len);
    }
}

void lower_end_at(Lower *l, GuestAddr pc)
{
    lower_link_jmp(l, 0, pc);
}

void lower_finish(Lower *l)
{
    lower_call_fixes(l);
    l->end = here(l);
    lower_stubs(l);
}
