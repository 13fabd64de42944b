/* SPDX-License-Identifier: BSD-2-Clause
 * probe_addr.c -- a tool for the tests only: a small checker of addressability, to show that the
 * tool interface is fit for one, and what it costs. Linked into mtvg_addr (tests/tool_probe.py).
 * Shadow: one byte for 8 bytes of memory, at (address >> 3) + GS base: 0: all may be
 * accessed, 1..7: the first so many, BAD: none. Everything may be but what surrounds heap blocks,
 * freed blocks, and the stack more than a red zone below rsp. Each access is checked inline; the
 * heap and glibc's string functions are replaced. */
#include "base/base.h"
#include "mtvg/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <wchar.h>

#define BAD 0xff
#define USER_BITS 47
#define SHADOW_BYTES (1ull << (USER_BITS - 3))
#define RED_ZONE 128 /* below rsp, of the ABI */
#define GAP 32       /* around heap blocks; the block's header lies in the one before it */
#define MAGIC 0x6d74766761646472ull
#define RSP 4

static u8 *shadow;

/* --- shadow ----------------------------------------------------------------------------------- */

MTVG_LIGHT static inline bool is_user(u64 addr, u64 len)
{
    return addr < 1ull << USER_BITS && len < 1ull << USER_BITS;
}

/* Whole granules: addr and len are multiples of 8. */
static void mark(u64 addr, u64 len, u8 value)
{
    if (!is_user(addr, len)) {
        return;
    }
    if (value == 0 && len >= 8u << 20) { /* zero pages are zero already, or given back */
        u64 from = MT_PAGE_UP((u64)shadow + (addr >> 3));
        u64 to = MT_PAGE_DOWN((u64)shadow + ((addr + len) >> 3));

        madvise((void *)from, to - from, MADV_DONTNEED);
        memset(shadow + (addr >> 3), 0, from - ((u64)shadow + (addr >> 3)));
        memset((void *)to, 0, (u64)shadow + ((addr + len) >> 3) - to);
        return;
    }
    memset(shadow + (addr >> 3), value, len >> 3);
}

/* The first byte of the range that may not be accessed; its end: there is none. */
MTVG_LIGHT static inline u64 first_bad(u64 addr, u64 len)
{
    for (u64 a = addr; a < addr + len;) {
        u8 s = shadow[a >> 3];

        if (s == BAD || (s != 0 && (a & 7) >= s)) {
            return a;
        }
        a = s == 0 ? (a | 7) + 1 : a + 1;
    }
    return addr + len;
}

/* --- heap ------------------------------------------------------------------------------------- */

typedef struct Header {
    u64 magic; /* MAGIC ^ address of the block */
    u64 size;
    void *raw;
    u64 freed;
} Header;

_Static_assert(sizeof(Header) == GAP, "it fills the gap");

static Header *header_of(u64 block)
{
    return (Header *)(block - GAP);
}

static u64 heap_alloc(u64 size, u64 align)
{
    u64 room = size + 2 * GAP + align + 8, block;
    void *raw = size < 1ull << 40 ? malloc(room) : NULL;

    if (raw == NULL) {
        return 0;
    }
    align = align < 16 ? 16 : align;
    block = ((u64)raw + GAP + align - 1) & ~(align - 1);
    *header_of(block) = (Header){MAGIC ^ block, size, raw, 0};
    mark(block - GAP, GAP, BAD);
    mark(block, size & ~7ull, 0);
    mark(block + MT_ALIGN_UP(size, 8), GAP / 2, BAD);
    if (size & 7) {
        shadow[(block + size) >> 3] = size & 7;
    }
    return block;
}

static bool is_block(u64 block)
{
    Header h;

    return (block & 15) == 0 && mtvg_read_memory(&h, block - GAP, sizeof(h)) == 0 &&
           h.magic == (MAGIC ^ block);
}

/* Freed blocks wait in a ring; who puts one in takes the one that was there out. Lock-free, so that
 * fork finds it whole. */
static u64 waiting[4096];
static u64 waiting_next;

static u64 heap_free(u64 block)
{
    u64 at, zero = 0;

    if (block == 0) {
        return 0;
    }
    if (!is_block(block) || !__atomic_compare_exchange_n(&header_of(block)->freed, &zero, 1, false,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        mtvg_write("probe: invalid free\n", 20);
        return 0;
    }
    mark(block, MT_ALIGN_UP(header_of(block)->size, 8), BAD);
    at = __atomic_fetch_add(&waiting_next, 1, __ATOMIC_RELAXED) % MT_ARRAY_SIZE(waiting);
    block = __atomic_exchange_n(&waiting[at], block, __ATOMIC_ACQ_REL);
    if (block != 0) {
        header_of(block)->magic = 0;
        free(header_of(block)->raw);
    }
    return 0;
}

/* --- findings --------------------------------------------------------------------------------- */

/* "probe: invalid read 4: 0 behind a block of 40": the first bad byte. */
static void report(bool write, u64 addr, u64 size)
{
    u64 bad = first_bad(addr, size), near = (bad & ~15ull) + GAP;
    char where[80] = "no block", line[160];

    for (u32 i = 0; i < 512; i++, near -= 16) {
        const Header *h = header_of(near);

        if (is_block(near)) {
            bool inside = bad - near < h->size;

            snprintf(where, sizeof(where), "%d %s a %sblock of %d",
                     (int)(bad < near ? near - bad
                           : inside   ? bad - near
                                      : bad - near - h->size),
                     bad < near ? "before"
                     : inside   ? "inside"
                                : "behind",
                     h->freed ? "freed " : "", (int)h->size);
            break;
        }
    }
    mtvg_write(line, (size_t)snprintf(line, sizeof(line), "probe: invalid %s %d: %s\n",
                                      write ? "write" : "read", (int)size, where));
}

/* A vector that lies in one piece of memory of its size, and partly is addressable, may be loaded
 * by those who know what they do. */
MTVG_LIGHT static inline bool is_partial_load(const MtvgAccess *a)
{
    return !a->write && a->size >= 8 && (a->addr & (a->size - 1)) == 0 &&
           (a->size & (a->size - 1)) == 0 && first_bad(a->addr, 1) != a->addr;
}

MTVG_LIGHT static inline bool is_good(const MtvgAccess *a)
{
    return !is_user(a->addr, a->size) || first_bad(a->addr, a->size) == a->addr + a->size ||
           is_partial_load(a);
}

static void check_access(const MtvgAccess *a)
{
    if (!is_good(a)) {
        report(a->write, a->addr, a->size);
    }
}

static void check_range(u64 addr, u64 len, bool write)
{
    MtvgAccess a = {addr, (u32)len, !write, write};

    if (len != 0 && is_user(addr, len) && first_bad(addr, len) != addr + len) {
        report(a.write, addr, len);
    }
}

/* --- checks ----------------------------------------------------------------------------------- */

static void check_operand(const MtvgCall *c)
{
    MtvgAccess a[MTVG_MAX_ACCESSES];
    int n = mtvg_resolve(c, &c->mems[c->arg], a);

    for (int i = 0; i < n; i++) {
        check_access(&a[i]);
    }
}

/* movs and stos, all elements; cmps and scas may end early: the first. */
static void check_string(const MtvgCall *c)
{
    MtvgAccess a[MTVG_MAX_ACCESSES];
    u64 n = c->flags & MTVG_I_ADDR32 ? (u32)c->gpr[1] : c->gpr[1];

    mtvg_resolve(c, &c->mems[c->arg & 3], a);
    n = (c->arg & 4) && n > 1 ? 1 : n;
    if (c->rflags & 0x400) {
        a[0].addr -= n != 0 ? (n - 1) * a[0].size : 0;
    }
    check_range(a[0].addr, n * a[0].size, a[0].write);
}

/* t = address >> 3; cmp $0, %gs:(t); jne. So many bytes of shadow as the operand may touch, or
 * more. */
static void check_inline(MtvgSb *sb, u32 i, u32 k, u32 size)
{
    MtvgCode *c = mtvg_code(sb, i, MTVG_BEFORE, check_operand, k);
    MtvgVal t = mtvg_code_temp(c);
    u32 look = size == 1 ? 1 : size <= 8 ? 2 : size <= 24 ? 4 : 8;

    mtvg_code_operand(c, t, k);
    mtvg_code_shift(c, MTVG_SHR, t, 3);
    mtvg_code_slow_if_at(c, MTVG_NE, look, mtvg_at(MTVG_IN_GS, t, 0), 0);
    if (size > 56) {
        mtvg_code_slow_if_at(c, MTVG_NE, 1, mtvg_at(MTVG_IN_GS, t, 8), 0);
    }
    if (!mtvg_code_ok(c)) {
        mtvg_call(sb, i, MTVG_BEFORE, check_operand, k);
    }
}

static void check_memory(MtvgSb *sb, u32 i)
{
    MtvgMem m[MTVG_MAX_MEMS];
    int n = mtvg_sb_mems(sb, i, m);
    const u8 *b = mtvg_sb_insn(sb, i)->bytes;
    u8 last = mtvg_sb_insn(sb, i)->len > 0 ? b[mtvg_sb_insn(sb, i)->len - 1] : 0;

    for (int k = 0; k < n; k++) {
        bool plain = m[k].kind == MTVG_MEM_NORMAL || m[k].kind == MTVG_MEM_STRING;

        if (m[k].kind == MTVG_MEM_STRING && m[k].rep) {
            bool ends_early = (last & ~1) == 0xa6 || (last & ~1) == 0xae;

            mtvg_call(sb, i, MTVG_BEFORE, check_string, (u64)k | (ends_early ? 4 : 0));
        } else if (plain && m[k].base == RSP && m[k].index == MTVG_NO_REG) {
            continue; /* it is the stack's, and not below the red zone */
        } else if (plain && m[k].size >= 1 && m[k].size <= 64) {
            check_inline(sb, i, (u32)k, m[k].size);
        } else {
            mtvg_call(sb, i, MTVG_BEFORE, check_operand, (u64)k);
        }
    }
}

/* --- the stack -------------------------------------------------------------------------------- */

/* rsp goes from old to sp: memory below the red zone is dead, above it alive. */
static void stack_moved(u64 old, u64 sp)
{
    old &= ~7ull;
    sp &= ~7ull;
    if (mtvg_sp_switched(old, sp)) {
        mark(sp - RED_ZONE, RED_ZONE, 0);
    } else if (sp < old) {
        mark(sp - RED_ZONE, old - sp, 0);
    } else {
        mark(old - RED_ZONE, sp - old, BAD);
    }
}

static void on_move(const MtvgCall *c)
{
    stack_moved(c->old_sp, c->gpr[RSP]);
}

static void on_known_move(const MtvgCall *c)
{
    stack_moved(c->gpr[RSP] - c->arg, c->gpr[RSP]);
}

/* The same inline: delta bytes from where rsp is at the code, minus `ahead`, by which it will have
 * moved. */
static void move_inline(MtvgSb *sb, u32 i, MtvgWhen when, i64 delta, i64 ahead)
{
    MtvgCode *c = mtvg_code(sb, i, when, NULL, 0);
    MtvgVal t = mtvg_code_temp(c);
    i64 n = (delta < 0 ? -delta : delta) / 8;
    i32 at = (i32)((ahead - RED_ZONE - (delta > 0 ? delta : 0)) / 8);

    mtvg_code_mov(c, t, RSP);
    mtvg_code_shift(c, MTVG_SHR, t, 3);
    for (i64 done = 0, size; done < n; done += size) {
        size = n - done >= 8 ? 8 : n - done >= 4 ? 4 : n - done >= 2 ? 2 : 1;
        mtvg_code_store_const(c, (u32)size, mtvg_at(MTVG_IN_GS, t, at + (i32)done),
                              delta < 0 ? 0 : -1);
    }
}

static void follow_stack(MtvgSb *sb, u32 i)
{
    const MtvgInsn *in = mtvg_sb_insn(sb, i);
    i64 delta;

    switch (mtvg_sb_sp(sb, i, &delta)) {
    case MTVG_SP_SAME: break;
    case MTVG_SP_ANY: mtvg_on_sp(sb, i, on_move, 0); break;
    case MTVG_SP_ADD:
        if (in->kind != MTVG_PLAIN) {
            move_inline(sb, i, MTVG_BEFORE, delta, delta);
        } else if ((delta & 7) == 0 && delta >= -256 && delta <= 256) {
            move_inline(sb, i, MTVG_AFTER, delta, 0);
        } else {
            mtvg_call(sb, i, MTVG_AFTER, on_known_move, (u64)delta);
        }
    }
}

/* Most slow calls find that there is nothing wrong: the inline check looks at more than is
 * accessed. */
MTVG_LIGHT static bool light(const MtvgCall *c, MtvgFunction fn)
{
    const MtvgMem *m = &c->mems[c->arg];
    MtvgAccess a;

    if (fn != check_operand || (m->kind != MTVG_MEM_NORMAL && m->kind != MTVG_MEM_STRING)) {
        return false;
    }
    a = (MtvgAccess){mtvg_address(c, m), m->size, m->read, m->write};
    return is_good(&a);
}

static void instrument(MtvgSb *sb)
{
    for (u32 i = 0; i < mtvg_sb_size(sb); i++) {
        check_memory(sb, i);
        follow_stack(sb, i);
    }
}

/* --- replaced functions ----------------------------------------------------------------------- */

#define FN(name) static u64 name(struct Thread *t, const u64 *gpr, u64 arg)
#define A gpr[7]
#define B gpr[6]
#define C gpr[2]
#define STR(x) ((const char *)(x))

FN(do_malloc)
{
    return heap_alloc(A, 16);
}

FN(do_free)
{
    return heap_free(A);
}

FN(do_calloc)
{
    u64 n, p;

    if (__builtin_mul_overflow(A, B, &n) || (p = heap_alloc(n, 16)) == 0) {
        return 0;
    }
    return (u64)memset((void *)p, 0, n);
}

static u64 resize(u64 old, u64 n)
{
    u64 p;

    if (old == 0) {
        return heap_alloc(n, 16);
    }
    if (!is_block(old) || header_of(old)->freed) {
        return heap_free(old);
    }
    p = n != 0 ? heap_alloc(n, 16) : 0;
    if (p != 0) {
        memcpy((void *)p, (void *)old, n < header_of(old)->size ? n : header_of(old)->size);
    }
    if (p != 0 || n == 0) {
        heap_free(old);
    }
    return p;
}

FN(do_realloc)
{
    return resize(A, B);
}

FN(do_reallocarray)
{
    u64 n;

    return __builtin_mul_overflow(B, C, &n) ? 0 : resize(A, n);
}

FN(do_memalign)
{
    return heap_alloc(B, A);
}

FN(do_posix_memalign)
{
    u64 p = heap_alloc(C, B);

    return p != 0 ? (*(u64 *)A = p, 0) : ENOMEM;
}

FN(do_usable_size)
{
    return A != 0 && is_block(A) ? header_of(A)->size : 0;
}

/* Reads of up to n bytes that end behind the first zero. */
static u64 check_str(u64 s, u64 n)
{
    u64 len = strnlen(STR(s), n);

    check_range(s, len < n ? len + 1 : n, false);
    return len;
}

FN(do_strlen)
{
    return check_str(A, ~0ull >> 1);
}

FN(do_strnlen)
{
    return check_str(A, B);
}

/* The two end where they differ. */
static u64 compare(u64 a, u64 b, u64 max, bool strings)
{
    u64 n = 0;
    int d = 0;

    while (n < max && d == 0) {
        d = ((const u8 *)a)[n] - ((const u8 *)b)[n];
        n++;
        if (strings && ((const u8 *)a)[n - 1] == 0) {
            break;
        }
    }
    check_range(a, n, false);
    check_range(b, n, false);
    return (u64)(i64)d;
}

FN(do_strcmp)
{
    return compare(A, B, ~0ull, true);
}

FN(do_strncmp)
{
    return compare(A, B, C, true);
}

FN(do_memcmp)
{
    return compare(A, B, C, false);
}

FN(do_memcpy)
{
    check_range(B, C, false);
    check_range(A, C, true);
    return (u64)memmove((void *)A, (void *)B, C) + (arg != 0 ? C : 0);
}

FN(do_memset)
{
    check_range(A, C, true);
    return (u64)memset((void *)A, (int)B, C);
}

FN(do_strcpy)
{
    u64 n = check_str(B, ~0ull >> 1) + 1;

    check_range(A, n, true);
    memmove((void *)A, (void *)B, n);
    return arg != 0 ? A + n - 1 : A;
}

FN(do_strcat)
{
    u64 at = check_str(A, ~0ull >> 1), n = check_str(B, ~0ull >> 1) + 1;

    check_range(A + at, n, true);
    memmove((void *)(A + at), (void *)B, n);
    return A;
}

FN(do_strncpy)
{
    check_str(B, C);
    check_range(A, C, true);
    return arg != 0 ? (u64)stpncpy((char *)A, STR(B), C) : (u64)strncpy((char *)A, STR(B), C);
}

FN(do_memchr)
{
    const u8 *found = memchr((void *)A, (int)B, C);

    check_range(A, found != NULL ? (u64)found - A + 1 : C, false);
    return (u64)found;
}

FN(do_memrchr)
{
    check_range(A, C, false);
    return (u64)memrchr((void *)A, (int)B, C);
}

FN(do_rawmemchr)
{
    u64 found = (u64)rawmemchr((void *)A, (int)B);

    check_range(A, found - A + 1, false);
    return found;
}

/* arg: strchrnul */
FN(do_strchr)
{
    u64 found = (u64)strchrnul(STR(A), (int)B);

    check_range(A, found - A + 1, false);
    return arg != 0 || *(u8 *)found == (u8)B ? found : 0;
}

FN(do_strrchr)
{
    check_str(A, ~0ull >> 1);
    return (u64)strrchr(STR(A), (int)B);
}

FN(do_wcslen)
{
    u64 n = wcsnlen((const wchar_t *)A, arg != 0 ? B : ~0ull >> 3);

    check_range(A, 4 * (n + (arg == 0 || n < B)), false);
    return n;
}

FN(do_wmemset)
{
    check_range(A, 4 * C, true);
    return (u64)wmemset((wchar_t *)A, (wchar_t)B, C);
}

/* Two strings that are only read. */
FN(do_strstr)
{
    check_str(A, ~0ull >> 1);
    check_str(B, ~0ull >> 1);
    return arg == 0   ? (u64)strstr(STR(A), STR(B))
           : arg == 1 ? strspn(STR(A), STR(B))
           : arg == 2 ? strcspn(STR(A), STR(B))
           : arg == 3 ? (u64)strpbrk(STR(A), STR(B))
                      : (u64)(i64)strcasecmp(STR(A), STR(B));
}

/* --- short ones, without vector registers
 * ------------------------------------------------------ */

#define LIGHT_MAX 256
#define LIGHT(name) MTVG_LIGHT static bool name(const u64 *gpr, u64 arg, u64 *result)

MTVG_LIGHT static inline bool all_good(u64 addr, u64 len)
{
    return len == 0 || (is_user(addr, len) && first_bad(addr, len) == addr + len);
}

/* Length of a string that ends, and may be read, within LIGHT_MAX bytes; ~0: see the other
 * function. */
MTVG_LIGHT static inline u64 short_string(u64 s)
{
    for (u64 n = 0; n < LIGHT_MAX; n++) {
        if (((const u8 *)s)[n] == 0) {
            return all_good(s, n + 1) ? n : ~0ull;
        }
    }
    return ~0ull;
}

LIGHT(light_strlen)
{
    *result = short_string(A);
    return *result != ~0ull;
}

LIGHT(light_compare)
{
    u64 n = 0, max = arg != 0 ? C : LIGHT_MAX;

    *result = 0;
    for (; n < max && n < LIGHT_MAX && *result == 0; n++) {
        *result = (u64)((i64)((const u8 *)A)[n] - ((const u8 *)B)[n]);
        if (arg != 1 && ((const u8 *)A)[n] == 0) {
            return all_good(A, n + 1) && all_good(B, n + 1);
        }
    }
    return (n < LIGHT_MAX || *result != 0) && all_good(A, n) && all_good(B, n);
}

LIGHT(light_memcpy)
{
    u64 to = A, from = B, n = C;

    if (n > 16 * LIGHT_MAX || from - to < n || to - from < n || !all_good(A, n) ||
        !all_good(B, n)) {
        return false;
    }
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    *result = arg != 0 ? to : A;
    return true;
}

LIGHT(light_memset)
{
    u64 to = A, n = C;

    if (n > 16 * LIGHT_MAX || !all_good(A, n)) {
        return false;
    }
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(B) : "memory");
    *result = A;
    return true;
}

static void on_init(void)
{
    static const struct {
        const char *name;
        MtvgLightReplacement light;
        u64 arg;
    } lights[] = {
        {"strlen", light_strlen, 0},      {"strcmp", light_compare, 0},
        {"memcmp", light_compare, 1},     {"bcmp", light_compare, 1},
        {"__memcmpeq", light_compare, 1}, {"strncmp", light_compare, 2},
        {"memcpy", light_memcpy, 0},      {"memmove", light_memcpy, 0},
        {"mempcpy", light_memcpy, 1},     {"memset", light_memset, 0},
    };
    static const struct {
        const char *name;
        MtvgReplacement fn;
        u64 arg;
    } all[] = {
        {"malloc", do_malloc, 0},
        {"free", do_free, 0},
        {"calloc", do_calloc, 0},
        {"realloc", do_realloc, 0},
        {"reallocarray", do_reallocarray, 0},
        {"memalign", do_memalign, 0},
        {"aligned_alloc", do_memalign, 0},
        {"posix_memalign", do_posix_memalign, 0},
        {"malloc_usable_size", do_usable_size, 0},
        {"strlen", do_strlen, 0},
        {"strnlen", do_strnlen, 0},
        {"strcmp", do_strcmp, 0},
        {"strncmp", do_strncmp, 0},
        {"memcmp", do_memcmp, 0},
        {"bcmp", do_memcmp, 0},
        {"__memcmpeq", do_memcmp, 0},
        {"memcpy", do_memcpy, 0},
        {"memmove", do_memcpy, 0},
        {"mempcpy", do_memcpy, 1},
        {"memset", do_memset, 0},
        {"strcpy", do_strcpy, 0},
        {"stpcpy", do_strcpy, 1},
        {"strcat", do_strcat, 0},
        {"strncpy", do_strncpy, 0},
        {"stpncpy", do_strncpy, 1},
        {"memchr", do_memchr, 0},
        {"memrchr", do_memrchr, 0},
        {"rawmemchr", do_rawmemchr, 0},
        {"strchr", do_strchr, 0},
        {"index", do_strchr, 0},
        {"strchrnul", do_strchr, 1},
        {"strrchr", do_strrchr, 0},
        {"wcslen", do_wcslen, 0},
        {"wcsnlen", do_wcslen, 1},
        {"wmemset", do_wmemset, 0},
        {"strstr", do_strstr, 0},
        {"strspn", do_strstr, 1},
        {"strcspn", do_strstr, 2},
        {"strpbrk", do_strstr, 3},
        {"strcasecmp", do_strstr, 4},
    };

    shadow = mmap(NULL, SHADOW_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MT_ASSERT(shadow != MAP_FAILED);
    madvise(shadow, SHADOW_BYTES, MADV_DONTDUMP);
    for (u32 i = 0; i < MT_ARRAY_SIZE(all); i++) {
        MtvgLightReplacement light_one = NULL;
        u64 arg = all[i].arg;

        for (u32 k = 0; k < MT_ARRAY_SIZE(lights); k++) {
            if (strcmp(lights[k].name, all[i].name) == 0) {
                light_one = lights[k].light;
                arg = lights[k].arg; /* the others take it for nothing, or mean the same */
            }
        }
        mtvg_replace_light("libc.so.*", all[i].name, light_one, all[i].fn, arg);
    }
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_thread_start(struct Thread *t)
{
    u64 sp = mtvg_gprs(t)[RSP] & ~7ull;

    mtvg_set_gs_base((u64)shadow);
    mark(sp - RED_ZONE, RED_ZONE, 0);
}

static void on_map(u64 start, u64 len, int prot)
{
    mark(start, MT_ALIGN_UP(len, 8), 0);
}

static void on_unmap(u64 start, u64 len)
{
    mark(start, MT_ALIGN_UP(len, 8), 0);
}

static void on_signal(struct Thread *t, int sig, u64 handler, u64 old_sp, u64 sp)
{
    u64 from = (sp & ~7ull) - RED_ZONE;

    mark(from, mtvg_sp_switched(old_sp, sp) || old_sp < sp ? 4096 : (old_sp & ~7ull) - from, 0);
}

const MtvgTool mtvg_tool = {
    .name = "addr",
    .uses_gs = true,
    .lax_flags = true,
    .init = on_init,
    .instrument = instrument,
    .light = light,
    .thread_start = on_thread_start,
    .map = on_map,
    .unmap = on_unmap,
    .signal = on_signal,
};
