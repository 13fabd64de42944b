/* SPDX-License-Identifier: BSD-2-Clause
 * cfi.c -- call frame information: looks an instruction's rule up, and applies it.
 * Role:       knows the tables' format, not where an object has them (image.c). */
#include "diag/cfi.h"

#include "diag/reader.h"

#include <dwarf.h>
#include <string.h>

#define REMEMBER_MAX 16
/* Real ones are far smaller; in sparse files and memory there is room for endless ones. */
#define ENTRY_MAX (1u << 20)
#define SECTION_MAX (64u << 20)

/* Encodings of pointers (Linux Standard Base, "DWARF Exception Header Encoding"). */
enum {
    ENC_FORMAT = 0x0f,
    ENC_ABSPTR = 0x00,
    ENC_ULEB = 0x01,
    ENC_UDATA2 = 0x02,
    ENC_UDATA4 = 0x03,
    ENC_UDATA8 = 0x04,
    ENC_SLEB = 0x09,
    ENC_SDATA2 = 0x0a,
    ENC_SDATA4 = 0x0b,
    ENC_SDATA8 = 0x0c,
    ENC_BASE = 0x70,
    ENC_PCREL = 0x10,
    ENC_DATAREL = 0x30,
    ENC_INDIRECT = 0x80,
    ENC_OMIT = 0xff,
};

typedef struct Section {
    GuestAddr start, end;
    GuestAddr hdr; /* what "datarel" is relative to */
    u64 bias;
    bool is_eh;
} Section;

/* A CIE's or an FDE's head. */
typedef struct Entry {
    GuestAddr next;  /* the entry behind it */
    GuestAddr cie;   /* an FDE: its CIE; 0: it is a CIE itself */
    Reader r;        /* behind the head */
    bool terminator; /* no entry: length 0 */
} Entry;

typedef struct Cie {
    GuestAddr at;
    u64 code_align;
    i64 data_align;
    u8 ra;
    u8 encoding;
    bool has_data; /* 'z': FDEs have a length of their augmentation data */
    bool signal_frame;
    Reader program;
} Cie;

typedef struct Fde {
    GuestAddr pc, end;
    Reader program;
} Fde;

static u64 read_encoded(Reader *r, u8 encoding, GuestAddr datarel)
{
    GuestAddr field = r->at;
    u64 v;
    if (encoding == ENC_OMIT) {
        return 0;
    }
    switch (encoding & ENC_FORMAT) {
    case ENC_ULEB: v = read_uleb(r); break;
    case ENC_SLEB: v = (u64)read_sleb(r); break;
    case ENC_UDATA2: v = read_u(r, 2); break;
    case ENC_UDATA4: v = read_u(r, 4); break;
    case ENC_SDATA2: v = (u64)read_s(r, 2); break;
    case ENC_SDATA4: v = (u64)read_s(r, 4); break;
    case ENC_ABSPTR:
    case ENC_UDATA8:
    case ENC_SDATA8: v = read_u(r, 8); break;
    default: r->bad = true; return 0;
    }
    switch (encoding & ENC_BASE) {
    case 0: break;
    case ENC_PCREL: v += field; break;
    case ENC_DATAREL: v += datarel; break;
    default: r->bad = true; return 0;
    }
    if ((encoding & ENC_INDIRECT) != 0 && safe_read(&v, v, sizeof(v)) != 0) {
        r->bad = true;
    }
    return v;
}

static bool read_entry(const Section *s, GuestAddr at, Entry *e)
{
    Reader *r = &e->r;
    *r = reader_at(at, s->end);
    u64 length = read_u(r, 4);
    bool wide = length == 0xffffffff;
    length = wide ? read_u(r, 8) : length;
    e->terminator = length == 0;
    if (r->bad || length > r->end - r->at || length > ENTRY_MAX) {
        return false;
    }
    e->next = r->at + length;
    if (e->terminator) {
        return true;
    }
    r->end = e->next;
    GuestAddr id_at = r->at;
    u64 id = read_u(r, wide && !s->is_eh ? 8 : 4);
    if (s->is_eh) {
        e->cie = id == 0 ? 0 : id_at - id;
    } else {
        e->cie = id == (wide ? ~0ull : 0xffffffffull) ? 0 : s->start + id;
    }
    return !r->bad;
}

/* Augmentation data, by the letters behind the 'z'. */
static void read_augmentation(Cie *c, Reader *r, const char *letters, GuestAddr hdr)
{
    for (; *letters != 0; letters++) {
        switch (*letters) {
        case 'R': c->encoding = read_u8(r); break;
        case 'L': read_u8(r); break;
        case 'P': {
            u8 encoding = read_u8(r);
            read_encoded(r, encoding & (u8)~ENC_INDIRECT, hdr);
            break;
        }
        case 'S': c->signal_frame = true; break;
        default: return; /* what follows is not known; the length leads over it */
        }
    }
}

/* c->at stays 0 if it can't be read, or is of a kind that is not known. */
static bool read_cie(const Section *s, GuestAddr at, Cie *c)
{
    Entry e;
    char letters[8] = "";
    *c = (Cie){.encoding = ENC_ABSPTR};
    if (!read_entry(s, at, &e) || e.terminator || e.cie != 0) {
        return false;
    }
    Reader *r = &e.r;
    u8 version = read_u8(r), b;
    for (unsigned i = 0; (b = read_u8(r)) != 0; i++) {
        if (i == sizeof(letters) - 1) {
            return false;
        }
        letters[i] = (char)b;
    }
    if (version >= 4) {
        /* address and segment selector size */
        if (read_u8(r) != 8 || read_u8(r) != 0) {
            return false;
        }
    }
    c->code_align = read_uleb(r);
    c->data_align = read_sleb(r);
    u64 ra = version == 1 ? read_u8(r) : read_uleb(r);
    c->ra = (u8)ra;
    if (ra >= CFI_REGS || (letters[0] != 0 && letters[0] != 'z')) {
        return false;
    }
    if (letters[0] == 'z') {
        u64 len = read_uleb(r);
        Reader data = *r;
        c->has_data = true;
        read_augmentation(c, &data, letters + 1, s->hdr);
        reader_skip(r, len);
        r->bad = r->bad || data.bad;
    }
    c->program = *r;
    c->at = r->bad ? 0 : at;
    return !r->bad;
}

/* e is the FDE's entry, c its CIE. */
static bool read_fde(const Section *s, Entry *e, const Cie *c, Fde *f)
{
    Reader *r = &e->r;
    f->pc = read_encoded(r, c->encoding, s->hdr) + s->bias;
    f->end = f->pc + read_encoded(r, c->encoding & ENC_FORMAT, 0);
    if (c->has_data) {
        reader_skip(r, read_uleb(r));
    }
    f->program = *r;
    return !r->bad;
}

/* --- programs --- */

typedef struct Machine {
    const Section *section;
    const Cie *cie;
    GuestAddr loc;
    CfiRule row;
    CfiRule initial;
    unsigned remembered;
    struct {
        CfiCell cfa;
        CfiCell reg[CFI_REGS];
    } saved[REMEMBER_MAX];
} Machine;

static void set(Machine *m, u64 reg, CfiHow how, i64 n)
{
    if (reg < CFI_REGS) { /* others are vector and segment registers: nobody asks */
        m->row.reg[reg] = (CfiCell){.how = (u8)how, .n = n};
    }
}

static CfiCell expression(Reader *r, CfiHow how)
{
    u64 len = read_uleb(r);
    CfiCell c = {.how = (u8)how, .len = (u16)len, .n = (i64)r->at};
    reader_skip(r, len);
    r->bad = r->bad || len > UINT16_MAX;
    return c;
}

static void set_cfa(Machine *m, Reader *r, u64 reg, i64 n)
{
    r->bad = r->bad || reg >= CFI_REGS;
    m->row.cfa = (CfiCell){.how = CFI_IS, .reg = (u8)reg, .n = n};
}

static void remember(Machine *m, Reader *r)
{
    if (m->remembered == REMEMBER_MAX) {
        r->bad = true;
        return;
    }
    m->saved[m->remembered].cfa = m->row.cfa;
    memcpy(m->saved[m->remembered].reg, m->row.reg, sizeof(m->row.reg));
    m->remembered++;
}

static void recall(Machine *m, Reader *r)
{
    if (m->remembered == 0) {
        r->bad = true;
        return;
    }
    m->remembered--;
    m->row.cfa = m->saved[m->remembered].cfa;
    memcpy(m->row.reg, m->saved[m->remembered].reg, sizeof(m->row.reg));
}

static void restore(Machine *m, u64 reg)
{
    if (reg < CFI_REGS) {
        m->row.reg[reg] = m->initial.reg[reg];
    }
}

/* One whose first byte has its operand in it: advance, offset, restore. */
static void run_packed(Machine *m, Reader *r, u8 op)
{
    u8 low = op & 0x3f;
    switch (op & 0xc0) {
    case DW_CFA_advance_loc: m->loc += low * m->cie->code_align; break;
    case DW_CFA_offset: {
        i64 n = (i64)(read_uleb(r) * (u64)m->cie->data_align);
        set(m, low, CFI_AT, n);
        break;
    }
    default: restore(m, low); break;
    }
}

static void run_one(Machine *m, Reader *r, u8 op)
{
    u64 reg, n, align = (u64)m->cie->data_align;
    if ((op & 0xc0) != 0) {
        run_packed(m, r, op);
        return;
    }
    switch (op) {
    case DW_CFA_nop: break;
    case DW_CFA_set_loc:
        m->loc = read_encoded(r, m->cie->encoding, m->section->hdr) + m->section->bias;
        break;
    case DW_CFA_advance_loc1: m->loc += read_u(r, 1) * m->cie->code_align; break;
    case DW_CFA_advance_loc2: m->loc += read_u(r, 2) * m->cie->code_align; break;
    case DW_CFA_advance_loc4: m->loc += read_u(r, 4) * m->cie->code_align; break;
    case DW_CFA_offset_extended:
    case DW_CFA_val_offset:
        reg = read_uleb(r);
        n = read_uleb(r) * align;
        set(m, reg, op == DW_CFA_val_offset ? CFI_IS : CFI_AT, (i64)n);
        break;
    case DW_CFA_offset_extended_sf:
    case DW_CFA_val_offset_sf:
        reg = read_uleb(r);
        n = (u64)read_sleb(r) * align;
        set(m, reg, op == DW_CFA_val_offset_sf ? CFI_IS : CFI_AT, (i64)n);
        break;
    case DW_CFA_GNU_negative_offset_extended:
        reg = read_uleb(r);
        set(m, reg, CFI_AT, (i64)(0 - read_uleb(r) * align));
        break;
    case DW_CFA_restore_extended: restore(m, read_uleb(r)); break;
    case DW_CFA_undefined: set(m, read_uleb(r), CFI_UNDEFINED, 0); break;
    case DW_CFA_same_value: set(m, read_uleb(r), CFI_SAME, 0); break;
    case DW_CFA_register:
        reg = read_uleb(r);
        n = read_uleb(r);
        r->bad = r->bad || n >= CFI_REGS;
        set(m, reg, CFI_REG, (i64)n);
        break;
    case DW_CFA_remember_state: remember(m, r); break;
    case DW_CFA_restore_state: recall(m, r); break;
    case DW_CFA_def_cfa:
    case DW_CFA_def_cfa_sf:
        reg = read_uleb(r);
        n = op == DW_CFA_def_cfa ? read_uleb(r) : (u64)read_sleb(r) * align;
        set_cfa(m, r, reg, (i64)n);
        break;
    case DW_CFA_def_cfa_register: set_cfa(m, r, read_uleb(r), m->row.cfa.n); break;
    case DW_CFA_def_cfa_offset: m->row.cfa.n = (i64)read_uleb(r); break;
    case DW_CFA_def_cfa_offset_sf: m->row.cfa.n = (i64)((u64)read_sleb(r) * align); break;
    case DW_CFA_def_cfa_expression: m->row.cfa = expression(r, CFI_EXPR_IS); break;
    case DW_CFA_expression:
    case DW_CFA_val_expression: {
        reg = read_uleb(r);
        CfiCell c = expression(r, op == DW_CFA_expression ? CFI_EXPR_AT : CFI_EXPR_IS);
        if (reg < CFI_REGS) {
            m->row.reg[reg] = c;
        }
        break;
    }
    case DW_CFA_GNU_args_size: read_uleb(r); break;
    default: r->bad = true;
    }
}

/* Until the row that holds for pc is complete. */
static bool run(Machine *m, Reader r, GuestAddr pc)
{
    while (r.at < r.end && !r.bad && m->loc <= pc) {
        run_one(m, &r, read_u8(&r));
    }
    return !r.bad;
}

static bool make_rule(const Section *s, const Cie *c, const Fde *f, GuestAddr pc, CfiRule *rule)
{
    Machine m = {.section = s, .cie = c, .loc = f->pc};
    m.row.ra = c->ra;
    m.row.signal_frame = c->signal_frame;
    m.row.cfa.how = CFI_UNDEFINED;
    if (!run(&m, c->program, ~0ull)) {
        return false;
    }
    m.initial = m.row;
    m.loc = f->pc;
    if (!run(&m, f->program, pc)) {
        return false;
    }
    *rule = m.row;
    return true;
}

/* --- look-up --- */

/* Is the entry the FDE for pc? *c is kept from entry to entry. */
static bool is_for(const Section *s, Entry *e, GuestAddr pc, Cie *c, Fde *f)
{
    if (e->terminator || e->cie == 0 || (c->at != e->cie && !read_cie(s, e->cie, c)) ||
        !read_fde(s, e, c, f)) {
        return false;
    }
    return f->pc <= pc && pc < f->end;
}

static bool search_all(const Section *s, bool ends_at_zero, GuestAddr pc, CfiRule *rule)
{
    Entry e;
    Cie c = {0};
    Fde f;
    for (GuestAddr at = s->start;
         at < s->end && at - s->start < SECTION_MAX && read_entry(s, at, &e); at = e.next) {
        if (e.terminator && ends_at_zero) {
            return false;
        }
        if (is_for(s, &e, pc, &c, &f)) {
            return make_rule(s, &c, &f, pc, rule);
        }
    }
    return false;
}

/* By the table in .eh_frame_hdr, which the linker has sorted: pairs of a function and its FDE, both
 * relative to the header. */
static bool search_sorted(const Section *s, GuestAddr table, u64 count, GuestAddr pc, CfiRule *rule)
{
    u64 lo = 0, hi = count;
    i32 pair[2];
    while (lo < hi) {
        u64 mid = lo + (hi - lo) / 2;
        if (safe_read(pair, table + mid * sizeof(pair), sizeof(pair)) != 0) {
            return false;
        }
        if (s->hdr + (u64)(i64)pair[0] <= pc) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    Entry e;
    Cie c = {0};
    Fde f;
    return lo > 0 && safe_read(pair, table + (lo - 1) * sizeof(pair), sizeof(pair)) == 0 &&
           read_entry(s, s->hdr + (u64)(i64)pair[1], &e) && is_for(s, &e, pc, &c, &f) &&
           make_rule(s, &c, &f, pc, rule);
}

static bool search_hdr(GuestAddr hdr, GuestAddr pc, CfiRule *rule)
{
    Reader r = reader_at(hdr, hdr + 64);
    u8 version = read_u8(&r), eh_enc = read_u8(&r), count_enc = read_u8(&r), enc = read_u8(&r);
    GuestAddr eh = read_encoded(&r, eh_enc, hdr);
    if (r.bad || version != 1 || eh_enc == ENC_OMIT) {
        return false;
    }
    /* No end is known: reads end where there is no memory. */
    Section s = {.start = eh, .end = ~0ull, .hdr = hdr, .is_eh = true};
    u64 count = read_encoded(&r, count_enc, hdr);
    if (!r.bad && count != 0 && count < 1u << 28 && enc == (ENC_DATAREL | ENC_SDATA4)) {
        return search_sorted(&s, r.at, count, pc, rule);
    }
    return search_all(&s, true, pc, rule);
}

bool cfi_find(const CfiTables *t, GuestAddr pc, CfiRule *rule)
{
    if (t->hdr != 0 && search_hdr(t->hdr, pc, rule)) {
        return true;
    }
    Section eh = {.start = t->eh, .end = t->eh_end, .is_eh = true};
    Section debug = {.start = t->debug, .end = t->debug_end, .bias = t->bias};
    return search_all(&eh, false, pc, rule) || search_all(&debug, false, pc, rule);
}

/* --- application --- */

static bool value_of(const CfiCell *c, const CfiRegs *regs, u64 cfa, u64 *v)
{
    u64 at;
    switch ((CfiHow)c->how) {
    case CFI_AT: return safe_read(v, cfa + (u64)c->n, sizeof(*v)) == 0;
    case CFI_IS: *v = cfa + (u64)c->n; return true;
    case CFI_REG: *v = regs->r[c->n]; return true;
    case CFI_EXPR_IS: return cfi_expression((u64)c->n, c->len, regs, cfa, v);
    case CFI_EXPR_AT:
        return cfi_expression((u64)c->n, c->len, regs, cfa, &at) &&
               safe_read(v, at, sizeof(*v)) == 0;
    case CFI_SAME:
    case CFI_UNDEFINED: return true; /* v as it is */
    }
    return false;
}

bool cfi_step(const CfiRule *rule, CfiRegs *regs)
{
    CfiRegs caller = *regs;
    u64 cfa;
    if (rule->cfa.how == CFI_IS) {
        cfa = regs->r[rule->cfa.reg] + (u64)rule->cfa.n;
    } else if (rule->cfa.how != CFI_EXPR_IS ||
               !cfi_expression((u64)rule->cfa.n, rule->cfa.len, regs, 0, &cfa)) {
        return false;
    }
    u8 how = rule->reg[rule->ra].how;
    if (how == CFI_UNDEFINED || (how == CFI_SAME && rule->ra == CFI_PC)) {
        return false;
    }
    caller.r[CFI_RSP] = cfa;
    for (unsigned i = 0; i < CFI_REGS; i++) {
        if (!value_of(&rule->reg[i], regs, cfa, &caller.r[i])) {
            return false;
        }
    }
    caller.r[CFI_PC] = caller.r[rule->ra];
    *regs = caller;
    return true;
}
