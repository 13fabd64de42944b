/* SPDX-License-Identifier: BSD-2-Clause
 * pcmap.c -- writing and reading a block's pc map. Pure; no state. */
#include "jit/pcmap.h"

#include <string.h>

#define GOTO_REL 0xff
#define GOTO_ABS 0xfe
#define SPILLS 0xfd
#define SPILLS_FLAGS 0xfc
#define AGAIN 0xfb

/* Steps of what there is most of (lower.c), below 2 GiB and where pext and loop are fast. Nothing
 * depends on their being here but the maps' size. */
#define COMMON 0xe0
#define SP(kind, reg) ((kind) | (reg) << 4)

typedef struct Common {
    u8 n;
    PcStep steps[11];
} Common;

static const Common common[] = {
    /* a return, over the processor's return stack */
    {8,
     {{9, PC_SAME},
      {3, PC_SAME},
      {4, PC_SWAPPED},
      {9, PC_SWAPPED},
      {10, PC_SWAPPED},
      {7, PC_SWAPPED},
      {4, PC_RET},
      {1, PC_RET}}},
    /* a direct call and its return point */
    {11,
     {{9, PC_SAME},
      {5, PC_SAME},
      {5, SP(PC_SPILL, 0)},
      {9, PC_TGT_RESTORE},
      {5, PC_TGT_RESTORE},
      {7, PC_TGT_SWAPPED},
      {2, PC_TGT_SWAPPED},
      {3, PC_TGT_SWAPPED},
      {5, PC_TGT_SWAPPED},
      {3, PC_TGT_SWAPPED},
      {9, PC_TGT_SWAPPED}}},
    /* a return through the first table */
    {5, {{9, PC_SAME}, {1, PC_SAME}, {9, PC_TGT_RCX}, {10, PC_TGT_SLOT}, {7, PC_TGT_SLOT}}},
    /* what puts an indirect call's return address right and makes the jump */
    {4, {{8, PC_CALL_FIX}, {9, PC_TGT_RCX}, {10, PC_TGT_SLOT}, {7, PC_TGT_SLOT}}},
};

static bool put_common(PcMap *m, u32 glen, const PcStep *steps, u32 n)
{
    for (u32 i = 0; i < MT_ARRAY_SIZE(common); i++) {
        if (common[i].n == n && memcmp(common[i].steps, steps, n * sizeof(*steps)) == 0) {
            m->bytes[m->len++] = (u8)(glen << 4);
            m->bytes[m->len++] = (u8)(COMMON | i);
            return true;
        }
    }
    return false;
}

/* The steps of a record. */
static const u8 *steps_of(const u8 *rec, u32 *n)
{
    if (rec[1] >= COMMON) {
        *n = common[rec[1] & 15].n;
        return (const u8 *)common[rec[1] & 15].steps;
    }
    *n = rec[1];
    return rec + 2;
}

void pcmap_plain(PcMap *m, u32 glen, u32 hlen)
{
    MT_DCHECK(glen < 16 && hlen > 0 && hlen < 16);
    m->bytes[m->len++] = (u8)(glen << 4 | hlen);
}

void pcmap_steps(PcMap *m, u32 glen, const PcStep *steps, u32 n, GuestAddr target)
{
    bool branch = false;

    MT_DCHECK(n < COMMON);
    if (put_common(m, glen, steps, n)) {
        return;
    }
    m->bytes[m->len++] = (u8)(glen << 4);
    m->bytes[m->len++] = (u8)n;
    for (u32 i = 0; i < n; i++) {
        m->bytes[m->len++] = steps[i].hlen;
        m->bytes[m->len++] = steps[i].state;
        branch |= (steps[i].state & 15) == PC_BRANCH;
    }
    if (branch) {
        memcpy(m->bytes + m->len, &target, 8);
        m->len += 8;
    }
}

void pcmap_goto(PcMap *m, GuestAddr from, GuestAddr to)
{
    i64 delta = (i64)(to - from);

    m->bytes[m->len++] = 0;
    if (delta == (i32)delta) {
        i32 d = (i32)delta;

        m->bytes[m->len++] = GOTO_REL;
        memcpy(m->bytes + m->len, &d, 4);
        m->len += 4;
    } else {
        m->bytes[m->len++] = GOTO_ABS;
        memcpy(m->bytes + m->len, &to, 8);
        m->len += 8;
    }
}

void pcmap_again(PcMap *m, GuestAddr to)
{
    m->bytes[m->len++] = 0;
    m->bytes[m->len++] = AGAIN;
    memcpy(m->bytes + m->len, &to, 8);
    m->len += 8;
}

void pcmap_spills(PcMap *m, u32 hlen, u32 mask, bool flags)
{
    u8 *p = m->bytes + m->len;

    MT_DCHECK(hlen > 0 && hlen <= 0xffff);
    p[0] = 0;
    p[1] = flags ? SPILLS_FLAGS : SPILLS;
    p[2] = (u8)hlen;
    p[3] = (u8)(hlen >> 8);
    p[4] = (u8)mask;
    p[5] = (u8)(mask >> 8);
    m->len += 6;
}

static u64 load(const u8 *p, u32 n)
{
    u64 v = 0;

    for (u32 i = n; i-- > 0;) {
        v = v << 8 | p[i];
    }
    return v;
}

/* Looks for `left` (bytes from the sequence's start) among the steps. */
static bool find_step(const u8 *rec, GuestAddr pc, u32 left, PcState *out)
{
    u32 n;
    const u8 *step = steps_of(rec, &n);

    for (u32 i = 0; i < n; i++) {
        u32 hlen = step[2 * i];
        u8 state = step[2 * i + 1];

        if (left < hlen) {
            out->kind = state & 15;
            out->reg = state >> 4;
            out->pc = pc;
            if (out->kind == PC_NEXT || out->kind == PC_NEXT_SPILL) {
                out->pc = pc + (rec[0] >> 4);
            } else if (out->kind == PC_BRANCH) {
                out->pc = load(step + 2 * n, 8);
            }
            return true;
        }
        left -= hlen;
    }
    return false;
}

static u32 steps_size(const u8 *rec, u32 *hlen)
{
    u32 n;
    const u8 *step = steps_of(rec, &n);
    bool branch = false;

    *hlen = 0;
    for (u32 i = 0; i < n; i++) {
        *hlen += step[2 * i];
        branch |= (step[2 * i + 1] & 15) == PC_BRANCH;
    }
    return rec[1] >= COMMON ? 2 : 2 + 2 * n + (branch ? 8 : 0);
}

bool pcmap_find(const u8 *map, u32 len, GuestAddr pc, u32 off, PcState *out)
{
    u32 at = 0, hlen;
    u32 index = 0;

    while (at < len) {
        const u8 *rec = map + at;
        u32 glen = rec[0] >> 4;

        hlen = rec[0] & 15;
        out->insn_index = index;
        if (hlen != 0) {
            if (off < hlen) {
                *out = (PcState){pc, PC_SAME, 0, 0, index};
                return true;
            }
            at++;
        } else if (rec[1] == GOTO_REL) {
            pc += (u64)(i64)(i32)load(rec + 2, 4);
            at += 6;
            continue;
        } else if (rec[1] == GOTO_ABS || rec[1] == AGAIN) {
            pc = load(rec + 2, 8);
            index -= rec[1] == AGAIN;
            at += 10;
            continue;
        } else if (rec[1] == SPILLS || rec[1] == SPILLS_FLAGS) {
            hlen = (u32)load(rec + 2, 2);
            if (off < hlen) {
                u8 kind = rec[1] == SPILLS ? PC_SPILLS : PC_SPILLS_FLAGS;

                *out = (PcState){pc, kind, 0, (u16)load(rec + 4, 2), index};
                return true;
            }
            at += 6;
        } else {
            if (find_step(rec, pc, off, out)) {
                return true;
            }
            at += steps_size(rec, &hlen);
        }
        off -= hlen;
        pc += glen;
        index += glen != 0;
    }
    /* Right behind the last instruction (a trap there): the next guest instruction. */
    *out = (PcState){pc, PC_SAME, 0, 0, index};
    return off == 0;
}

bool pcmap_find_insn(const u8 *map, u32 len, GuestAddr pc, GuestAddr want, u32 *off)
{
    u32 at = 0, hlen;

    *off = 0;
    while (at < len) {
        const u8 *rec = map + at;
        u32 glen = rec[0] >> 4;

        hlen = rec[0] & 15;
        if (glen != 0 && pc == want) {
            return true;
        }
        if (hlen != 0) {
            at++;
        } else if (rec[1] == GOTO_REL) {
            pc += (u64)(i64)(i32)load(rec + 2, 4);
            at += 6;
        } else if (rec[1] == GOTO_ABS) {
            pc = load(rec + 2, 8);
            at += 10;
        } else if (rec[1] == AGAIN) {
            return false; /* no instruction begins behind it */
        } else if (rec[1] == SPILLS || rec[1] == SPILLS_FLAGS) {
            hlen = (u32)load(rec + 2, 2);
            at += 6;
        } else {
            at += steps_size(rec, &hlen);
        }
        *off += hlen;
        pc += glen;
    }
    return false;
}
