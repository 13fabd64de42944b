#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Write the instruction tester's cases as assembly.

    insns.py GROUP -o FILE.S      GROUP: int, div, string, bmi, x87, mmx, sse, avx, avx512, crypto

A case is a few instructions, ended by `ret` here. The runner (guests/insn.c) calls it with random
registers, flags, vector state and memory. What a case needs to be fixed is in its row:
    ptrs     registers that point into the buffer        smalls   registers that hold 0..15
    vidx     a vector register that holds small indices  edge     %rdi points 16 bytes before the
                                                                  end of accessible memory
The order and the choice of registers come from a fixed seed: the output is always the same.
"""
import argparse
import random

R64 = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
R32 = "eax ecx edx ebx esp ebp esi edi".split() + ["r%dd" % i for i in range(8, 16)]
R16 = "ax cx dx bx sp bp si di".split() + ["r%dw" % i for i in range(8, 16)]
R8 = "al cl dl bl spl bpl sil dil".split() + ["r%db" % i for i in range(8, 16)]
SIZES = {"b": R8, "w": R16, "l": R32, "q": R64}
BYTES = {"b": 1, "w": 2, "l": 4, "q": 8}
CC = "o no b ae e ne be a s ns p np l ge le g".split()
FREE = [i for i in range(16) if i != 4]         # all but the stack pointer
NONE = 255


class Cases:
    def __init__(self, group):
        self.rng = random.Random(group)
        self.rows = []
        self.feature = ""

    def add(self, text, ptrs=(), smalls=(), vidx=NONE, vq=0, edge=0, feature=None):
        mask = lambda regs: sum(1 << r for r in set(regs))
        self.rows.append((text, self.feature if feature is None else feature, mask(ptrs),
                          mask(smalls), vidx, vq, edge))

    def reg(self, *avoid):
        return self.rng.choice([i for i in FREE if i not in avoid])

    def mem(self, *avoid):
        """(text, ptrs, smalls) of a random memory operand that avoids these registers."""
        base = self.reg(*avoid)
        kind = self.rng.randrange(5)
        if kind == 0:
            return "(%%%s)" % R64[base], [base], []
        if kind == 1:
            return "%d(%%%s)" % (self.rng.randint(-128, 127), R64[base]), [base], []
        if kind == 2:
            return "%d(%%%s)" % (self.rng.choice([-512, 384, 256]), R64[base]), [base], []
        if kind == 3:
            index = self.reg(base, *avoid)
            return ("%d(%%%s,%%%s,%d)" % (self.rng.randint(-60, 60), R64[base], R64[index],
                                         self.rng.choice([1, 2, 4, 8])), [base], [index])
        return "literal+%d(%%rip)" % self.rng.randrange(0, 64, 8), [], []

    def write(self, f):
        f.write("    .text\n")
        for i, row in enumerate(self.rows):
            f.write("case_%d:\n%s\n    ret\n" % (i, "\n".join("    " + t.strip() for t in
                                                             row[0].split(";"))))
        f.write("    .data\n    .balign 64\nliteral:\n")
        for i in range(32):
            f.write("    .quad 0x%x\n" % self.rng.getrandbits(64))
        names = sorted({r[1] for r in self.rows})
        f.write("    .globl insn_cases, insn_count, literal\ninsn_count: .quad %d\n"
                "    .balign 8\ninsn_cases:\n" % len(self.rows))
        for i, (text, feature, ptrs, smalls, vidx, vq, edge) in enumerate(self.rows):
            f.write("    .quad case_%d, text_%d, feature_%d\n    .short %d, %d\n"
                    "    .byte %d, %d, %d, 0\n" % (i, i, names.index(feature), ptrs, smalls, vidx,
                                                  vq, edge))
        for i, row in enumerate(self.rows):
            f.write('text_%d: .asciz "%s"\n' % (i, row[0]))
        for i, name in enumerate(names):
            f.write('feature_%d: .asciz "%s"\n' % (i, name))
        f.write('    .section .note.GNU-stack,"",@progbits\n')


def group_int(c):
    for op in "add or adc sbb and sub xor cmp mov test xchg".split():
        for s, regs in SIZES.items():
            for _ in range(3):
                a, b = c.reg(), c.reg()
                c.add("%s%s %%%s, %%%s" % (op, s, regs[a], regs[b]))
                a = c.reg()
                m, p, i = c.mem(a)
                c.add("%s%s %%%s, %s" % (op, s, regs[a], m), p, i)
                if op != "test":
                    a = c.reg()
                    m, p, i = c.mem(a)
                    c.add("%s%s %s, %%%s" % (op, s, m, regs[a]), p, i)
            if op == "xchg":
                continue
            big = {"b": 0x5a, "w": 0x1234, "l": 0x12345678, "q": -0x12345678}[s]
            for imm in (-3, 100, big):
                c.add("%s%s $%d, %%%s" % (op, s, imm, regs[c.reg()]))
                c.add("%s%s $%d, %%%s" % (op, s, imm, regs[0]))
                m, p, i = c.mem()
                c.add("%s%s $%d, %s" % (op, s, imm, m), p, i)
            if op not in ("cmp", "mov", "test"):
                a = c.reg()
                m, p, i = c.mem(a)
                c.add("lock %s%s %%%s, %s" % (op, s, regs[a], m), p, i)
                m, p, i = c.mem()
                c.add("lock %s%s $77, %s" % (op, s, m), p, i)
    for h in ("ah", "bh", "ch", "dh"):
        c.add("addb %%%s, %%al" % h)
        c.add("xorb (%%rsi), %%%s" % h, [6])
        c.add("movzbl %%%s, %%edx" % h)
        c.add("movb %%%s, 3(%%rdi)" % h, [7])
    for op in "inc dec neg not mul imul".split():
        for s, regs in SIZES.items():
            for _ in range(3):
                c.add("%s%s %%%s" % (op, s, regs[c.reg()]))
                m, p, i = c.mem()
                c.add("%s%s %s" % (op, s, m), p, i)
            if "mul" not in op:
                c.add("lock %s%s %s" % (op, s, m), p, i)
    for op in "shl shr sar rol ror rcl rcr".split():
        for s, regs in SIZES.items():
            m, p, i = c.mem(1)
            for count in ("$1", "$3", "$31", "$63", "%cl"):
                c.add("%s%s %s, %%%s" % (op, s, count, regs[c.reg()]))
                c.add("%s%s %s, %s" % (op, s, count, m), p, i)
    for op in ("shld", "shrd"):
        for s in "wlq":
            regs = SIZES[s]
            for count in ("$1", "$13", "%cl"):
                c.add("%s%s %s, %%%s, %%%s" % (op, s, count, regs[c.reg()], regs[c.reg()]))
                a = c.reg(1)
                m, p, i = c.mem(1, a)
                c.add("%s%s %s, %%%s, %s" % (op, s, count, regs[a], m), p, i)
    for s in "wlq":
        regs = SIZES[s]
        for _ in range(3):
            c.add("imul%s %%%s, %%%s" % (s, regs[c.reg()], regs[c.reg()]))
            m, p, i = c.mem()
            c.add("imul%s %s, %%%s" % (s, m, regs[c.reg()]), p, i)
            c.add("imul%s $-7, %s, %%%s" % (s, m, regs[c.reg()]), p, i)
            c.add("imul%s $1234, %%%s, %%%s" % (s, regs[c.reg()], regs[c.reg()]))
        for op in "bsf bsr popcnt lzcnt tzcnt".split():
            c.add("%s%s %%%s, %%%s" % (op, s, regs[c.reg()], regs[c.reg()]))
            c.add("%s%s %s, %%%s" % (op, s, m, regs[c.reg()]), p, i)
        for op in "bt bts btr btc".split():
            c.add("%s%s %%%s, %%%s" % (op, s, regs[c.reg()], regs[c.reg()]))
            c.add("%s%s $13, %%%s" % (op, s, regs[c.reg()]))
            c.add("%s%s $5, %s" % (op, s, m), p, i)
            c.add("movsbq %%cl, %%rcx; %s%s %%%s, (%%rdi)" % (op, s, regs[1]), [7])
            c.add("movsbq %%r9b, %%r9; %s%s %%%s, 8(%%r13)" % (op, s, regs[9]), [13])
            if op != "bt":
                c.add("movzbl %%cl, %%ecx; lock %s%s %%%s, (%%rdi)" % (op, s, regs[1]), [7])
    for pair in ("bw", "bl", "bq", "wl", "wq"):
        for op in ("movz", "movs"):
            src, dst = SIZES[pair[0]], SIZES[pair[1]]
            c.add("%s%s %%%s, %%%s" % (op, pair, src[c.reg()], dst[c.reg()]))
            m, p, i = c.mem()
            c.add("%s%s %s, %%%s" % (op, pair, m, dst[c.reg()]), p, i)
    c.add("movslq %ebx, %r9")
    c.add("movslq 4(%rsi), %rsi", [6])
    for a in FREE:
        c.add("bswapq %%%s" % R64[a])
        c.add("bswapl %%%s" % R32[a])
    for op in "cbtw cwtl cltq cwtd cltd cqto lahf sahf clc stc cmc cld std nop pause".split():
        c.add(op)
    for cc in CC:
        c.add("set%s %%%s" % (cc, R8[c.reg()]))
        m, p, i = c.mem()
        c.add("set%s %s" % (cc, m), p, i)
        for s in "wlq":
            regs = SIZES[s]
            c.add("cmov%s %%%s, %%%s" % (cc, regs[c.reg()], regs[c.reg()]))
            c.add("cmov%s %s, %%%s" % (cc, m, regs[c.reg()]), p, i)
        c.add("j%s 1f; inc %%rax; xor %%rbx, %%rax; 1: lea 5(%%rax), %%rax" % cc)
        c.add("{disp32} j%s 1f; inc %%rax; 1: set%s %%bl" % (cc, cc))
        c.add("cmp %%r8, %%r9; j%s 1f; jmp 2f; 1: not %%rax; 2: adc $0, %%rdx" % cc)
    for s, regs in SIZES.items():
        for lock in ("", "lock "):
            a = c.reg(0)
            m, p, i = c.mem(0, a)
            c.add("%sxadd%s %%%s, %s" % (lock, s, regs[a], m), p, i)
            c.add("%scmpxchg%s %%%s, %s" % (lock, s, regs[a], m), p, i)
            c.add("mov%s (%%rdi), %%%s; %scmpxchg%s %%%s, (%%rdi)" % (s, regs[0], lock, s,
                                                                    regs[a if a != 7 else 8]), [7])
        c.add("xadd%s %%%s, %%%s" % (s, regs[c.reg()], regs[c.reg()]))
        c.add("cmpxchg%s %%%s, %%%s" % (s, regs[c.reg()], regs[c.reg()]))
    for lock in ("", "lock "):
        c.add(lock + "cmpxchg8b (%rsi)", [6])
        c.add("mov (%%rsi), %%eax; mov 4(%%rsi), %%edx; %scmpxchg8b (%%rsi)" % lock, [6])
        c.add(lock + "cmpxchg16b (%rsi)", [6])
        c.add("mov (%%rsi), %%rax; mov 8(%%rsi), %%rdx; %scmpxchg16b (%%rsi)" % lock, [6])
        c.add("mov literal(%%rip), %%rax; mov literal+8(%%rip), %%rdx; %scmpxchg16b literal(%%rip)"
              % lock)
    for a in FREE:                      # every register as a base, an index, a destination
        b = c.reg(a)
        c.add("mov %%%s, (%%%s)" % (R64[b], R64[a]), [a])
        c.add("mov (%%%s), %%%s" % (R64[a], R64[a]), [a])
        c.add("mov 17(%%%s), %%%s" % (R64[a], R32[b]), [a])
        c.add("mov (%%%s,%%%s,8), %%%s" % (R64[b], R64[a], R64[a]), [b], [a])
        c.add("lea 5(%%%s,%%%s,4), %%%s" % (R64[b], R64[a], R64[b]))
        c.add("lea 5(%%%s,%%%s,4), %%%s" % (R64[b], R64[a], R32[a]))
        c.add("lea 5(%%%s,%%%s,4), %%%s" % (R32[b], R32[a], R64[a]))
        c.add("mov literal+8(%%rip), %%%s" % R64[a])
        c.add("mov %%%s, literal+16(%%rip)" % R32[a])
        c.add("add %%%s, literal+24(%%rip)" % R64[a])
        c.add("lea literal+32(%%rip), %%%s; mov (%%%s), %%%s" % (R64[a], R64[a], R64[a]))
        c.add("mov %%%s, insn_buffer+64" % R64[a])
        c.add("mov insn_buffer(,%%%s,4), %%%s" % (R64[a], R64[b]), [], [a])
        c.add("addr32 mov 8(%%%s), %%%s" % (R32[a], R64[b]), [a])
        c.add("push %%%s; pop %%%s" % (R64[a], R64[b]))
        c.add("pushw %%%s; popw %%%s" % (R16[a], R16[b]))
        c.add("movabs $0x123456789abcdef0, %%%s" % R64[a])
        c.add("xchg %%%s, %%rax" % R64[a])
        c.add("cmpb $3, literal+1(%%rip); sete %%%s" % R8[a])
        c.add("mov %%%s, -64(%%rsp); add -64(%%rsp), %%%s" % (R64[a], R64[b]))
        c.add("mov %%%s, -64(%%rsp,%%%s,2); mov -64(%%rsp,%%%s,2), %%%s" %
              (R64[b], R64[a], R64[a], R16[b]), [], [a])
        c.add("push (%%%s); pop 8(%%%s)" % (R64[a], R64[a]), [a])
    for s, regs in SIZES.items():
        c.add("movabs insn_buffer+96, %%%s" % regs[0])
        c.add("movabs %%%s, insn_buffer+200" % regs[0])
    c.add("testl $0x1234, literal(%rip)")
    c.add("movl $0x77777777, literal+4(%rip)")
    c.add("movw $0x7777, literal+4(%rip)")
    c.add("imul $300, literal+8(%rip), %rcx")
    c.add("shld $3, %rax, literal+8(%rip)")
    c.add("push literal(%rip); pop literal+8(%rip)")
    c.add("pushq $-5; pop %rdx")
    c.add("pushq $0x12345678; pop %rdx")
    c.add("pushw $0x1234; popw %dx")
    c.add("pushf; pop %rax; and $0xcd5, %rax")
    c.add("and $0xcd5, %rbx; push %rbx; popf; adc $0, %rdx")
    c.add("pushfw; popfw")
    c.add("push %rsp; pop %rax; sub %rsp, %rax")
    c.add("push %rax; push %rcx; mov %rsp, %rbx; pop (%rsp); sub %rsp, %rbx; pop %rdx")
    c.add("push %rax; pop -8(%rsp); mov -8(%rsp), %rcx")
    c.add("enter $32, $0; mov %rax, -8(%rbp); mov -8(%rbp), %rcx; leave")
    c.add("enter $32, $2; leave", [5])
    c.add("enter $0, $0; mov (%rbp), %rdx; leave")
    c.add("xlatb", [3])
    c.add("lea 1f(%rip), %rax; lea 2f(%rip), %rcx; sub %rax, %rcx; sub %rax, %rax; 1: nop; 2: nop")
    for op in ("loop", "loope", "loopne"):
        c.add("and $7, %%ecx; inc %%ecx; 1: inc %%rbx; test $3, %%bl; %s 1b" % op)
    c.add("jrcxz 1f; inc %rax; 1: inc %rbx", [], [1])
    c.add("xor %ecx, %ecx; jrcxz 1f; inc %rax; 1: adc $0, %rbx")
    c.add("jecxz 1f; inc %rax; 1: inc %rbx")
    c.add("shl $32, %rcx; jecxz 1f; inc %rax; 1: rcl %rbx")
    c.add("shl $32, %rcx; jrcxz 1f; inc %rax; 1: rcl %rbx")
    c.add("shl $32, %rcx; stc; addr32 loop 1f; inc %rax; 1: adc $0, %rbx")
    nops = ["nop", "data16 nop", "nopl (%rax)", "nopl 8(%rax)", "nopl 8(%rax,%rax,1)",
            "nopw 8(%rax,%rax,1)", "nopl 512(%rax)", "nopl 512(%rax,%rax,1)",
            "nopw 512(%rax,%rax,1)", "nopw %cs:512(%rax,%rax,1)",
            ".byte 0x66,0x66,0x2e,0x0f,0x1f,0x84,0,0,0,0,0",
            ".byte 0x66,0x66,0x66,0x66,0x66,0x2e,0x0f,0x1f,0x84,0,0,0,0,0",
            ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x2e,0x0f,0x1f,0x84,0,0,0,0,0",
            "endbr64", "lfence", "sfence", "mfence", "nopl %eax", "nopw %r9w",
            ".byte 0xf3,0x0f,0x1e,0xc8", ".byte 0x0f,0x19,0xc0", ".byte 0x0f,0x1d,0x00",
            ".byte 0xf2,0x90", ".byte 0x66,0x66,0x90", ".byte 0x48,0x90", ".byte 0x40,0x90",
            ".byte 0xf3,0x48,0x90", ".byte 0x49,0x90", ".byte 0x41,0x90"]
    for n in nops:
        c.add(n)
        c.add("adc %rax, %rbx; " + n + "; adc %rcx, %rdx")
    for n in ("prefetcht0", "prefetcht1", "prefetcht2", "prefetchnta", "prefetchw", "clflush"):
        c.add(n + " (%rsi)", [6])
        c.add(n + " literal(%rip)")
    for a in (0, 8, 15):                # prefixes that mean nothing, odd encodings
        c.add(".byte 0x2e; mov 3(%%rdi), %%%s" % R64[a], [7])
        c.add(".byte 0x3e; mov 3(%%rdi), %%%s" % R64[a], [7])
        c.add("{disp32} mov 3(%%rdi), %%%s" % R64[a], [7])
        c.add("{load} add %%rsi, %%%s" % R64[a])
        c.add("{store} add %%rsi, %%%s" % R64[a])
        c.add("{rex} add %%sil, %%%s" % R8[a])
    c.add(".byte 0x48,0x66,0x01,0xc8")          # REX before a prefix is ignored
    c.add(".byte 0x66,0x48,0x01,0xc8")          # REX.W wins over 66
    c.add(".byte 0xf3,0xf2,0x01,0xc8")
    c.add(".byte 0x83,0xc0,0x05")         # 83 /0
    c.add(".byte 0xc0,0xf0,0x03")               # shift group /6: alias of shl
    c.add(".byte 0xf6,0xc8,0x55")               # test group /1
    c.add(".byte 0xc6,0xc0,0x55")
    c.add(".byte 0x0f,0xae,0xe9")               # lfence with another r/m
    c.add(".byte 0x0f,0xae,0xf7")
    c.add("cmp %rax, %rax; .byte 0x2e; je 1f; inc %rbx; 1: nop")
    c.add("cmp %rax, %rax; .byte 0x3e; je 1f; inc %rbx; 1: nop")
    c.add("cmp %rax, %rax; .byte 0xf2; je 1f; inc %rbx; 1: nop")
    c.add("movnti %rax, (%rdi)", [7])
    c.add("movnti %r9d, literal(%rip)")
    c.add("movbe (%rdi), %rax", [7], feature="movbe")
    c.add("movbe %r8d, (%rdi)", [7], feature="movbe")
    c.add("movbe %r8w, literal(%rip)", feature="movbe")


def group_div(c):
    for op in ("div", "idiv"):
        for s, regs in SIZES.items():
            for a in (1, 3, 6, 9, 13):
                c.add("%s%s %%%s" % (op, s, regs[a]))
                fix = {"b": "movzbl %al, %eax", "w": "xor %edx, %edx", "l": "xor %edx, %edx",
                       "q": "xor %edx, %edx"}[s]
                c.add("%s; %s%s %%%s" % (fix, op, s, regs[a]))
            c.add("%s%s 8(%%rdi)" % (op, s), [7])
            c.add("xor %%edx, %%edx; movzbl %%al, %%eax; %s%s literal+8(%%rip)" % (op, s))
    c.add("cqto; idivq (%rsi)", [6])
    c.add("cltd; idivl (%rsi)", [6])
    c.add("xor %ecx, %ecx; div %rcx")
    c.add("mov $0x8000000000000000, %rax; cqto; mov $-1, %rcx; idiv %rcx")


def group_string(c):
    for s in "bwlq":
        for df in ("", "std; "):
            for op in ("movs", "stos", "lods", "cmps", "scas"):
                reps = ("", "rep ") if op in ("movs", "stos", "lods") else ("", "repe ", "repne ")
                for rep in reps:
                    c.add("%s%s%s%s" % (df, rep, op, s), [6, 7], [1])
                c.add("%sxor %%ecx, %%ecx; %s%s%s" % (df, reps[1], op, s), [6, 7])
                c.add("%saddr32 %s%s%s" % (df, reps[1], op, s), [6, 7], [1])
                if op in ("cmps", "scas"):      # equal up to the end
                    c.add("%smov %%rsi, %%rdi; mov $0, %%eax; repe %s%s" % (df, op, s), [6, 7], [1])
                if op == "movs":                # overlapping, both ways
                    for d in (-1, 1, 3, 8):
                        c.add("%slea %d(%%rsi), %%rdi; rep movs%s" % (df, d, s), [6, 7], [1])
                    c.add("%srep movs%s %%cs:(%%rsi), (%%rdi)" % (df, s), [6, 7], [1])
    c.add("mov $300, %ecx; rep movsb", [6, 7])
    c.add("mov $300, %ecx; rep stosb", [6, 7])
    c.add("mov $40, %ecx; rep stosq", [6, 7])
    c.add("mov $300, %ecx; mov $1, %eax; repne scasb", [6, 7])
    c.add("shl $32, %rcx; mov $5, %cl; addr32 rep stosb", [6, 7])


def group_bmi(c):
    for s in "lq":
        regs = SIZES[s]
        for op in ("andn", "pdep", "pext", "mulx"):
            f = "bmi1" if op == "andn" else "bmi2"
            for _ in range(3):
                c.add("%s%s %%%s, %%%s, %%%s" % (op, s, regs[c.reg()], regs[c.reg()],
                                                 regs[c.reg()]), feature=f)
                m, p, i = c.mem()
                c.add("%s%s %s, %%%s, %%%s" % (op, s, m, regs[c.reg()], regs[c.reg()]), p, i,
                      feature=f)
        for op in ("bextr", "bzhi", "sarx", "shlx", "shrx"):
            f = "bmi1" if op == "bextr" else "bmi2"
            c.add("%s%s %%%s, %%%s, %%%s" % (op, s, regs[c.reg()], regs[c.reg()], regs[c.reg()]),
                  feature=f)
            m, p, i = c.mem()
            c.add("%s%s %%%s, %s, %%%s" % (op, s, regs[c.reg()], m, regs[c.reg()]), p, i,
                  feature=f)
        for op in ("blsi", "blsr", "blsmsk"):
            c.add("%s%s %%%s, %%%s" % (op, s, regs[c.reg()], regs[c.reg()]), feature="bmi1")
            m, p, i = c.mem()
            c.add("%s%s %s, %%%s" % (op, s, m, regs[c.reg()]), p, i, feature="bmi1")
        c.add("rorx%s $7, %%%s, %%%s" % (s, regs[c.reg()], regs[c.reg()]), feature="bmi2")
        c.add("rorx%s $7, literal(%%rip), %%%s" % (s, regs[c.reg()]), feature="bmi2")
        for op in ("adcx", "adox"):
            c.add("%s%s %%%s, %%%s" % (op, s, regs[c.reg()], regs[c.reg()]), feature="adx")
            c.add("%s%s literal+8(%%rip), %%%s" % (op, s, regs[c.reg()]), feature="adx")
    for s, regs in SIZES.items():
        c.add("crc32%s %%%s, %%%s" % (s, regs[9], "rbx" if s == "q" else "ebx"), feature="sse4_2")
        c.add("crc32%s (%%rdi), %%r9d" % s if s != "q" else "crc32q (%rdi), %r9", [7],
              feature="sse4_2")


def group_x87(c):
    for size in ("s", "l"):
        for op in "fld fadd fsub fsubr fmul fdiv fdivr fcom fcomp fst fstp".split():
            m, p, i = c.mem()
            c.add("%s%s %s" % (op, size, m), p, i)
            c.add("ffree %%st(7); fld1; fincstp; %s%s %s" % (op, size, m), p, i)
    for size in ("s", "l"):
        for op in "fiadd fisub fisubr fimul fidiv fidivr ficom ficomp fild fist fistp".split():
            m, p, i = c.mem()
            c.add("%s%s %s" % (op, size, m), p, i)
    for op in ("fildll", "fistpll", "fldt", "fstpt", "fbld", "fbstp"):
        m, p, i = c.mem()
        c.add("%s %s" % (op, m), p, i)
        c.add("%s literal+16(%%rip)" % op)
    for s in ("s", "l", "ll"):
        c.add("fisttp%s 4(%%rdi)" % s, [7])
        c.add("fld1; fldpi; fisttp%s 4(%%rdi)" % s, [7])
    for op in "fadd fsub fsubr fmul fdiv fdivr".split():
        for i in (0, 1, 5):
            c.add("%s %%st(%d), %%st" % (op, i))
            c.add("%s %%st, %%st(%d)" % (op, i))
            c.add("%sp %%st, %%st(%d)" % (op, i))
    for op in "fcom fcomp fucom fucomp fld fst fstp fxch ffree".split():
        for i in (0, 1, 6):
            c.add("%s %%st(%d)" % (op, i))
    for op in "fcomi fcomip fucomi fucomip fcmovb fcmove fcmovbe fcmovu fcmovnb fcmovne fcmovnbe " \
              "fcmovnu".split():
        c.add("%s %%st(3), %%st" % op)
    for op in "fchs fabs ftst fxam fld1 fldl2t fldl2e fldpi fldlg2 fldln2 fldz f2xm1 fyl2x fptan " \
              "fpatan fxtract fprem1 fdecstp fincstp fprem fyl2xp1 fsqrt fsincos frndint fscale " \
              "fsin fcos fcompp fucompp fnclex fninit fnop fwait emms".split():
        c.add(op)
        c.add("fldpi; fld1; " + op)
    c.add("fnstsw %ax")
    c.add("ftst; fnstsw %ax; sahf")
    c.add("fnstsw 6(%rdi)", [7])
    c.add("fnstcw 6(%rdi)", [7])
    for cw in (0x07f, 0x27f, 0x37f, 0x77f, 0xb7f, 0xf7f, 0xc7f):
        c.add("movw $0x%x, (%%rdi); fldcw (%%rdi); fldpi; fldl2e; fdivrp; frndint; fldpi; fistpl "
              "8(%%rdi); fsqrt" % cw, [7])
    c.add("movw $0xb7f, literal(%rip); fldcw literal(%rip); fldpi; fistpl literal+8(%rip)")
    clear = "movq $0, 12(%rdi); movq $0, 20(%rdi)"
    c.add("fnstenv (%rdi); " + clear, [7])
    c.add("fnstenv (%rdi); fldenv (%rdi); " + clear, [7])
    c.add("fnsave (%rdi); " + clear, [7])
    c.add("fnsave (%rdi); frstor (%rdi); " + clear, [7])
    fx = "movw $0, 6(%rdi); movq $0, 8(%rdi); movq $0, 16(%rdi); movl $0, 28(%rdi)"
    for op in ("fxsave", "fxsave64"):
        c.add("%s (%%rdi); %s" % (op, fx), [7])
        c.add("%s (%%rdi); fninit; movaps %%xmm1, %%xmm2; %s (%%rdi); %s" %
              (op, op.replace("save", "rstor"), fx), [7])


MMX_2 = "paddb paddw paddd paddq psubb psubw psubd psubq pand pandn por pxor pcmpeqb pcmpeqw " \
        "pcmpeqd pcmpgtb pcmpgtw pcmpgtd packsswb packssdw packuswb punpckhbw punpckhwd " \
        "punpckhdq punpcklbw punpcklwd punpckldq pmulhw pmullw pmaddwd psllw pslld psllq psrlw " \
        "psrld psrlq psraw psrad paddsb paddsw paddusb paddusw psubsb psubsw psubusb psubusw " \
        "pavgb pavgw pmaxsw pmaxub pminsw pminub pmulhuw pmuludq psadbw".split()
SSSE3_2 = "phaddw phaddd phaddsw phsubw phsubd phsubsw pmaddubsw pmulhrsw pshufb psignb psignw " \
          "psignd pabsb pabsw pabsd".split()


def group_mmx(c):
    for op in MMX_2 + SSSE3_2:
        c.add("%s %%mm3, %%mm5" % op)
        m, p, i = c.mem()
        c.add("%s %s, %%mm1" % (op, m), p, i)
    for op in "psllw pslld psllq psrlw psrld psrlq psraw psrad".split():
        c.add("%s $5, %%mm2" % op)
    c.add("pshufw $0x1b, %mm1, %mm2")
    c.add("palignr $3, %mm1, %mm2")
    c.add("pinsrw $2, %eax, %mm2")
    c.add("pinsrw $2, 4(%rdi), %mm2", [7])
    c.add("pextrw $1, %mm6, %r9d")
    c.add("pmovmskb %mm6, %ebx")
    c.add("maskmovq %mm1, %mm2", [7])
    c.add("movd %eax, %mm1")
    c.add("movd %mm1, %r8d")
    c.add("movq %rax, %mm1")
    c.add("movq %mm7, %r10")
    c.add("movq literal(%rip), %mm0")
    c.add("movq %mm0, literal(%rip)")
    c.add("movntq %mm0, 8(%rdi)", [7])
    c.add("movd %mm0, 8(%rdi)", [7])
    c.add("movdq2q %xmm3, %mm1")
    c.add("movq2dq %mm1, %xmm9")
    for op in "cvtpi2ps cvtpi2pd".split():
        c.add("%s %%mm1, %%xmm2" % op)
        c.add("%s (%%rdi), %%xmm2" % op, [7])
    for op in "cvtps2pi cvttps2pi cvtpd2pi cvttpd2pi".split():
        c.add("%s %%xmm3, %%mm2" % op)
    c.add("emms")
    c.add("movq %mm1, %mm2; emms; fld1")


FP_PS = "addps subps mulps divps minps maxps andps andnps orps xorps unpcklps unpckhps".split()
FP_PD = [o[:-1] + "d" for o in FP_PS]
FP_SS = "addss subss mulss divss minss maxss".split()
FP_SD = [o[:-1] + "d" for o in FP_SS]
SSE3_2 = "addsubps addsubpd haddps haddpd hsubps hsubpd".split()
SSE41_2 = "pmuldq pmulld pminsb pminuw pminud pminsd pmaxsb pmaxuw pmaxud pmaxsd packusdw " \
          "pcmpeqq".split()
INT_128 = MMX_2 + "punpcklqdq punpckhqdq".split()
UNARY_P = "sqrtps rcpps rsqrtps sqrtpd movaps movapd movups movupd movdqa movdqu movshdup movsldup " \
          "movddup cvtdq2ps cvtps2dq cvttps2dq cvtdq2pd cvtpd2dq cvttpd2dq cvtpd2ps cvtps2pd".split()
PMOV = ["pmov%s%s" % (s, p) for s in ("sx", "zx") for p in "bw bd bq wd wq dq".split()]
SHIFTS = "psllw pslld psllq psrlw psrld psrlq psraw psrad".split()
# instruction, size of the immediate's useful range
IMM_P = "shufps shufpd cmpps cmppd pshufd pshufhw pshuflw".split()
IMM_41 = "blendps blendpd pblendw dpps dppd roundps roundpd mpsadbw".split()


def xmm(c, n=16):
    return "%%xmm%d" % c.rng.randrange(n)


def aligned(c):
    return c.rng.choice([("literal+%d(%%rip)" % c.rng.choice([0, 16, 32]), [], []),
                         ("32(%rdi)", [7], []), ("(%r13)", [13], []), ("-64(%rsi)", [6], [])])


def group_sse(c):
    def both(op, feature="sse2", align=True):
        c.add("%s %s, %s" % (op, xmm(c), xmm(c)), feature=feature)
        m, p, i = aligned(c) if align else c.mem()
        c.add("%s %s, %s" % (op, m, xmm(c)), p, i, feature=feature)

    for op in FP_PS + FP_PD + INT_128 + UNARY_P + SSE3_2 + SSSE3_2 + SSE41_2 + ["pcmpgtq", "ptest",
              "phminposuw"]:
        both(op, "sse4_2")
    for op in FP_SS + FP_SD + "sqrtss rcpss rsqrtss sqrtsd cvtss2sd cvtsd2ss ucomiss comiss " \
            "ucomisd comisd".split():
        both(op, align=False)
    for op in PMOV:
        both(op, "sse4_1", align=False)
    for op in ("movss", "movsd", "movq"):
        both(op, align=False)
    for op in "movaps movapd movups movupd movdqa movdqu movntps movntpd movntdq".split():
        m, p, i = aligned(c)
        c.add("%s %s, %s" % (op, xmm(c), m), p, i)
    for op in "movss movsd movq movlps movlpd movhps movhpd movd".split():
        m, p, i = c.mem()
        c.add("%s %s, %s" % (op, xmm(c), m), p, i)
    for op in "movlps movlpd movhps movhpd".split():
        m, p, i = c.mem()
        c.add("%s %s, %s" % (op, m, xmm(c)), p, i)
    c.add("movhlps %xmm3, %xmm9")
    c.add("movlhps %xmm13, %xmm9")
    c.add("lddqu 3(%rdi), %xmm3", [7], feature="sse4_1")
    c.add("movntdqa (%rdi), %xmm3", [7], feature="sse4_1")
    c.add("maskmovdqu %xmm1, %xmm2", [7])
    c.add("addr32 maskmovdqu %xmm9, %xmm2", [7])
    for s, regs in (("", R32), ("q", R64)):
        for op in "cvtss2si cvttss2si cvtsd2si cvttsd2si".split():
            c.add("%s %s, %%%s" % (op, xmm(c), regs[c.reg()]))
            m, p, i = c.mem()
            c.add("%s %s, %%%s" % (op, m, regs[c.reg()]), p, i)
        for op in "cvtsi2ss cvtsi2sd".split():
            c.add("%s %%%s, %s" % (op, regs[c.reg()], xmm(c)))
            m, p, i = c.mem()
            c.add("%s%s %s, %s" % (op, s or "l", m, xmm(c)), p, i)
        c.add("mov%s %%%s, %s" % (s and "q" or "d", regs[c.reg()], xmm(c)))
        c.add("mov%s %s, %%%s" % (s and "q" or "d", xmm(c), regs[c.reg()]))
    for op in "movmskps movmskpd pmovmskb".split():
        c.add("%s %s, %%%s" % (op, xmm(c), R32[c.reg()]))
    for op in SHIFTS + ["pslldq", "psrldq"]:
        for n in (1, 7, 33):
            c.add("%s $%d, %s" % (op, n, xmm(c)))
    for op in IMM_P + IMM_41 + ["palignr"]:
        for n in (0, 3, 0x1b if not op.startswith("cmp") else 5):
            c.add("%s $%d, %s, %s" % (op, n, xmm(c), xmm(c)), feature="sse4_1")
        m, p, i = aligned(c)
        c.add("%s $6, %s, %s" % (op, m, xmm(c)), p, i, feature="sse4_1")
    for op in "cmpss cmpsd roundss roundsd insertps".split():
        for n in range(4):
            c.add("%s $%d, %s, %s" % (op, n, xmm(c), xmm(c)), feature="sse4_1")
        m, p, i = c.mem()
        c.add("%s $2, %s, %s" % (op, m, xmm(c)), p, i, feature="sse4_1")
    for op in "pblendvb blendvps blendvpd".split():
        c.add("%s %%xmm0, %s, %s" % (op, xmm(c), xmm(c)), feature="sse4_1")
        c.add("%s %%xmm0, (%%rdi), %s" % (op, xmm(c)), [7], feature="sse4_1")
    for op, regs in (("pinsrb", R32), ("pinsrw", R32), ("pinsrd", R32), ("pinsrq", R64)):
        c.add("%s $1, %%%s, %s" % (op, regs[c.reg()], xmm(c)), feature="sse4_1")
        m, p, i = c.mem()
        c.add("%s $1, %s, %s" % (op, m, xmm(c)), p, i, feature="sse4_1")
    for op, regs in (("pextrb", R32), ("pextrw", R32), ("pextrd", R32), ("pextrq", R64),
                     ("extractps", R32)):
        c.add("%s $1, %s, %%%s" % (op, xmm(c), regs[c.reg()]), feature="sse4_1")
        m, p, i = c.mem()
        c.add("%s $1, %s, %s" % (op, xmm(c), m), p, i, feature="sse4_1")
    for op in "pcmpestri pcmpestrm pcmpistri pcmpistrm".split():
        for n in (0x00, 0x0c, 0x18, 0x41, 0x7d):
            c.add("%s $%d, %s, %s" % (op, n, xmm(c), xmm(c)), [], [0, 2], feature="sse4_2")
        c.add("%s $8, 5(%%rdi), %s" % (op, xmm(c)), [7], [0, 2], feature="sse4_2")
    for mode in (0x1f80, 0x3f80, 0x5f80, 0x7f80, 0x9fc0):
        c.add("movl $0x%x, (%%rdi); ldmxcsr (%%rdi); divps %%xmm1, %%xmm2; cvtps2dq %%xmm2, "
              "%%xmm3; sqrtsd %%xmm4, %%xmm5; stmxcsr 4(%%rdi)" % mode, [7])
    c.add("stmxcsr literal(%rip)")
    for op in "extrq insertq".split():
        c.add("%s %%xmm1, %%xmm2" % op, feature="sse4a")
    c.add("extrq $5, $9, %xmm2", feature="sse4a")
    c.add("insertq $5, $9, %xmm1, %xmm2", feature="sse4a")
    c.add("movntss %xmm3, 4(%rdi)", [7], feature="sse4a")
    c.add("movntsd %xmm3, literal+8(%rip)", feature="sse4a")


def group_avx(c):
    def three(op, feature, sizes, scalar=False):
        for w in sizes:
            r = lambda: "%%%smm%d" % (w, c.rng.randrange(16))
            c.add("v%s %s, %s, %s" % (op, r(), r(), r()), feature=feature)
            m, p, i = c.mem()
            c.add("v%s %s, %s, %s" % (op, m, r(), r()), p, i, feature=feature)

    def two(op, feature, w, src=None):
        r = lambda x: "%%%smm%d" % (x, c.rng.randrange(16))
        c.add("v%s %s, %s" % (op, r(src or w), r(w)), feature=feature)
        if not op.startswith(("movdqa", "movap", "ptest", "test")):
            m, p, i = c.mem()
            suffix = {"x": "x", "y": "y"}[src or w] if op in ("cvtpd2dq", "cvttpd2dq",
                                                             "cvtpd2ps") else ""
            c.add("v%s%s %s, %s" % (op, suffix, m, r(w)), p, i, feature=feature)

    for op in FP_PS + FP_PD + SSE3_2:
        three(op, "avx", "xy")
    for op in FP_SS + FP_SD + "sqrtss rcpss rsqrtss sqrtsd cvtss2sd cvtsd2ss".split():
        three(op, "avx", "x")
    for op in INT_128 + SSE41_2 + ["pcmpgtq"] + [o for o in SSSE3_2 if not o.startswith("pabs")]:
        if op in SHIFTS:
            for w in "xy":
                c.add("v%s %%xmm3, %%%smm12, %%%smm4" % (op, w, w), feature="avx2")
                c.add("v%s literal(%%rip), %%%smm2, %%%smm14" % (op, w, w), feature="avx2")
                c.add("v%s $9, %%%smm12, %%%smm4" % (op, w, w), feature="avx2")
        else:
            three(op, "avx2", "xy")
    for op in "pabsb pabsw pabsd sqrtps rcpps rsqrtps sqrtpd movaps movups movdqa movdqu movshdup " \
              "movsldup movddup cvtdq2ps cvtps2dq cvttps2dq ptest testps testpd".split():
        two(op, "avx2", "x")
        two(op, "avx2", "y")
    for op in "cvtdq2pd cvtps2pd".split():
        two(op, "avx", "x")
        two(op, "avx", "y", "x")
    for op in "cvtpd2dq cvttpd2dq cvtpd2ps".split():
        two(op, "avx", "x")
        two(op, "avx", "x", "y")
    for op in PMOV:
        two(op, "avx2", "x")
        two(op, "avx2", "y", "x")
    for op in IMM_P + ["blendps", "blendpd", "dpps", "roundps", "roundpd", "palignr", "mpsadbw",
                       "pblendw", "pblendd", "permilps", "permilpd"]:
        for w in "xy":
            r = lambda: "%%%smm%d" % (w, c.rng.randrange(16))
            extra = "" if op in ("pshufd", "pshufhw", "pshuflw", "roundps", "roundpd", "permilps",
                                 "permilpd") else r() + ", "
            for n in (1, 6):
                c.add("v%s $%d, %s, %s%s" % (op, n, r(), extra, r()), feature="avx2")
            m, p, i = c.mem()
            c.add("v%s $3, %s, %s%s" % (op, m, extra, r()), p, i, feature="avx2")
    for op in "pblendvb blendvps blendvpd".split():
        for w in "xy":
            c.add("v%s %%%smm1, %%%smm2, %%%smm3, %%%smm4" % (op, w, w, w, w), feature="avx2")
            c.add("v%s %%%smm1, 5(%%rdi), %%%smm3, %%%smm4" % (op, w, w, w), [7], feature="avx2")
    for op in "permilps permilpd psllvd psllvq psrlvd psrlvq psravd".split():
        three(op, "avx2", "xy")
    for op in ("permd", "permps"):
        three(op, "avx2", "y")
    for op in ("permq", "permpd"):
        c.add("v%s $0x1b, %%ymm4, %%ymm14" % op, feature="avx2")
        c.add("v%s $0x1b, 8(%%rdi), %%ymm14" % op, [7], feature="avx2")
    for op in ("perm2f128", "perm2i128"):
        c.add("v%s $0x21, %%ymm4, %%ymm14, %%ymm2" % op, feature="avx2")
        c.add("v%s $0x81, literal(%%rip), %%ymm14, %%ymm2" % op, feature="avx2")
    for t in ("f", "i"):
        c.add("vextract%s128 $1, %%ymm9, %%xmm2" % t, feature="avx2")
        c.add("vextract%s128 $1, %%ymm9, 3(%%rdi)" % t, [7], feature="avx2")
        c.add("vinsert%s128 $1, %%xmm9, %%ymm3, %%ymm2" % t, feature="avx2")
        c.add("vinsert%s128 $0, 3(%%rdi), %%ymm3, %%ymm2" % t, [7], feature="avx2")
        c.add("vbroadcast%s128 3(%%rdi), %%ymm2" % t, [7], feature="avx2")
    for op in "broadcastss broadcastsd pbroadcastb pbroadcastw pbroadcastd pbroadcastq".split():
        c.add("v%s %%xmm3, %%ymm11" % op, feature="avx2")
        c.add("v%s literal+4(%%rip), %%ymm11" % op, feature="avx2")
    for op in ("maskmovps", "maskmovpd", "pmaskmovd", "pmaskmovq"):
        for w in "xy":
            c.add("v%s (%%rdi), %%%smm1, %%%smm2" % (op, w, w), [7], feature="avx2")
            c.add("v%s %%%smm1, %%%smm2, (%%rdi)" % (op, w, w), [7], feature="avx2")
        c.add("vpxor %%xmm1, %%xmm1, %%xmm1; v%s (%%rdi), %%ymm1, %%ymm2" % op, edge=1,
              feature="avx2")
        c.add("vpcmpeqd %%xmm1, %%xmm1, %%xmm1; v%s %%ymm3, %%ymm1, (%%rdi)" % op, edge=1,
              feature="avx2")
    for op, w, v in (("gatherdps", "x", "x"), ("gatherdps", "y", "y"), ("pgatherdd", "y", "y"),
                     ("gatherdpd", "y", "x"), ("pgatherdq", "x", "x")):
        c.add("v%s %%%smm1, (%%rdi,%%%smm2,4), %%%smm3" % (op, w, v, w), [7], vidx=2,
              feature="avx2")
    for op, w, v in (("gatherqps", "x", "y"), ("gatherqpd", "y", "y"), ("pgatherqd", "x", "x"),
                     ("pgatherqq", "y", "y")):
        c.add("v%s %%xmm1, (%%rdi,%%%smm2,4), %%xmm3" % (op, v) if w == "x" else
              "v%s %%ymm1, (%%rdi,%%ymm2,4), %%ymm3" % op, [7], vidx=2, vq=1, feature="avx2")
    for mode in "132 213 231".split():
        for op in "fmadd fmsub fnmadd fnmsub".split():
            for t in ("ps", "pd"):
                three(op + mode + t, "fma", "xy")
            for t in ("ss", "sd"):
                three(op + mode + t, "fma", "x")
        for op in ("fmaddsub", "fmsubadd"):
            three(op + mode + "ps", "fma", "y")
    for w in "xy":
        c.add("vcvtph2ps %%xmm2, %%%smm9" % w, feature="f16c")
        c.add("vcvtph2ps 4(%%rdi), %%%smm9" % w, [7], feature="f16c")
        c.add("vcvtps2ph $1, %%%smm9, %%xmm2" % w, feature="f16c")
        c.add("vcvtps2ph $4, %%%smm9, 4(%%rdi)" % w, [7], feature="f16c")
        for op in "movmskps movmskpd pmovmskb".split():
            c.add("v%s %%%smm9, %%r9d" % (op, w), feature="avx2")
        for op in "movups movdqu movntps".split():
            c.add("v%s %%%smm9, 64(%%rdi)" % (op, w), [7], feature="avx2")
            c.add("v%s %%%smm3, literal+32(%%rip)" % (op, w), feature="avx2")
    for op in "cvtsi2ss cvtsi2sd".split():
        c.add("v%s %%r9, %%xmm3, %%xmm10" % op, feature="avx")
        c.add("v%sl 4(%%rdi), %%xmm3, %%xmm10" % op, [7], feature="avx")
    for op in "ucomiss comisd cvtss2si cvttsd2si".split():
        c.add("v%s %%xmm4, %s" % (op, "%r10" if "si" in op else "%xmm12"), feature="avx")
    for n in range(32):
        c.add("vcmpps $%d, %%ymm4, %%ymm5, %%ymm6" % n, feature="avx")
        c.add("vcmpsd $%d, (%%rdi), %%xmm5, %%xmm6" % n, [7], feature="avx")
    c.add("vmovd %eax, %xmm8", feature="avx")
    c.add("vmovq %xmm8, %r12", feature="avx")
    c.add("vpinsrb $3, %eax, %xmm3, %xmm4", feature="avx")
    c.add("vpextrw $3, %xmm3, 5(%rdi)", [7], feature="avx")
    c.add("vinsertps $0x4c, %xmm3, %xmm1, %xmm4", feature="avx")
    c.add("vzeroupper", feature="avx")
    c.add("vzeroall", feature="avx")
    c.add("vlddqu 1(%rdi), %ymm3", [7], feature="avx")
    c.add("vmaskmovdqu %xmm1, %xmm2", [7], feature="avx")


def group_avx512(c):
    f = "avx512vl"

    def r(w):
        return "%%%smm%d" % (w, c.rng.randrange(32))

    def mask():
        return c.rng.choice(["", "{%k1}", "{%k3}", "{%k7}{z}", "{%k2}{z}"])

    def three(op, sizes="xyz", bits=32, rounding=False, feature=f):
        for w in sizes:
            c.add("%s %s, %s, %s%s" % (op, r(w), r(w), r(w), mask()), feature=feature)
            m, p, i = c.mem()
            c.add("%s %s, %s, %s%s" % (op, m, r(w), r(w), mask()), p, i, feature=feature)
            if bits:
                n = {"x": 128, "y": 256, "z": 512}[w] // bits
                m, p, i = c.mem()
                c.add("%s %s{1to%d}, %s, %s%s" % (op, m, n, r(w), r(w), mask()), p, i,
                      feature=feature)
        if rounding:
            for mode in ("rn", "rd", "ru", "rz"):
                c.add("%s {%s-sae}, %s, %s, %s%s" % (op, mode, r("z"), r("z"), r("z"), mask()),
                      feature=feature)

    def two(op, w="xyz", src=None, bits=0, feature=f):
        for x in w:
            c.add("%s %s, %s%s" % (op, r(src or x), r(x), mask()), feature=feature)
            m, p, i = c.mem()
            c.add("%s %s, %s%s" % (op, m, r(x), mask()), p, i, feature=feature)
            if bits:
                n = {"x": 128, "y": 256, "z": 512}[x] // bits
                c.add("%s %s{1to%d}, %s%s" % (op, m, n, r(x), mask()), p, i, feature=feature)

    for op in "vaddps vsubps vmulps vdivps".split():
        three(op, rounding=True)
        three(op[:-1] + "d", bits=64, rounding=True)
    for op in "vminps vmaxps vandps vorps vxorps vunpcklps vpermilps vpermi2ps vpermt2ps vpaddd " \
              "vpsubd vpandd vpandnd vpord vpxord vpmulld vpmaxsd vpminud vpsllvd vprolvd " \
              "vprorvd vpunpckhdq vpackssdw vfmadd213ps vfnmsub231ps vfmaddsub132ps vscalefps " \
              "vblendmps vpblendmd".split():
        three(op, feature="avx512dq")
    for op in "vminpd vmaxpd vandnpd vunpckhpd vpermilpd vpermi2pd vpaddq vpsubq vpandq vporq " \
              "vpxorq vpmuludq vpmullq vpmaxsq vpminuq vpsravq vprolvq vfmadd231pd vscalefpd " \
              "vpblendmq vpunpcklqdq".split():
        three(op, bits=64, feature="avx512dq")
    for op in "vpermd vpermps".split():
        three(op, "yz")
    for op in "vpermq vpermpd".split():
        three(op, "yz", bits=64)
    for op in "vpaddb vpsubw vpavgb vpmaxsb vpminuw vpmullw vpmulhw vpshufb vpsllvw vpermw " \
              "vpackuswb vpunpcklbw vpmaddubsw vpsadbw vpblendmb vpaddusw".split():
        if op == "vpsadbw":
            for w in "xyz":
                c.add("vpsadbw %s, %s, %s" % (r(w), r(w), r(w)), feature="avx512bw")
        else:
            three(op, bits=0, feature="avx512bw")
    for op in "vaddss vmulsd vsqrtss vfmadd132sd vgetexpss vscalefsd vrcp14ss vrsqrt14sd".split():
        c.add("%s %s, %s, %s%s" % (op, r("x"), r("x"), r("x"), mask()))
        m, p, i = c.mem()
        c.add("%s %s, %s, %s%s" % (op, m, r("x"), r("x"), mask()), p, i, feature=f)
        if "14" not in op:
            c.add("%s {%s}, %s, %s, %s%s" % (op, "sae" if "getexp" in op else "ru-sae", r("x"),
                                             r("x"), r("x"), mask()), feature=f)
    for op in "vsqrtps vgetexpps vrcp14ps vrsqrt14ps vcvtdq2ps vcvtudq2ps vcvtps2dq vcvttps2udq " \
              "vpabsd vpopcntd vplzcntd vpconflictd".split():
        two(op, bits=32, feature="avx512_vpopcntdq")
    for op in "vsqrtpd vgetexppd vcvtqq2pd vcvtuqq2pd vcvtpd2qq vcvttpd2uqq vpabsq vpopcntq " \
              "vplzcntq".split():
        two(op, bits=64, feature="avx512_vpopcntdq")
    for op in "vmovdqu8 vmovdqu16 vmovdqu32 vmovdqu64 vmovups vmovupd vmovshdup vpopcntb " \
              "vpopcntw vpabsb".split():
        two(op, feature="avx512_bitalg")
    for op in "vmovdqu8 vmovdqu16 vmovdqu32 vmovdqu64 vmovups vmovupd vpcompressd vpcompressq " \
              "vcompressps vcompresspd vpcompressb vpcompressw".split():
        for w in "xyz":
            c.add("%s %s, 7(%%rdi)%s" % (op, r(w), c.rng.choice(["", "{%k1}", "{%k6}"])), [7],
                  feature="avx512_vbmi2")
            c.add("%s %s, 64(%%r13)%s" % (op, r(w), c.rng.choice(["", "{%k1}", "{%k6}"])), [13],
                  feature="avx512_vbmi2")
            c.add("%s %s, literal+64(%%rip)%s" % (op, r(w), c.rng.choice(["", "{%k1}"])),
                  feature="avx512_vbmi2")
    for op in "vpexpandd vpexpandq vexpandps vpexpandb vpexpandw vpcompressd vpcompressb".split():
        for w in "xyz":
            c.add("%s %s, %s%s" % (op, r(w), r(w), mask()), feature="avx512_vbmi2")
            if "expand" in op:
                c.add("%s 3(%%rdi), %s%s" % (op, r(w), mask()), [7], feature="avx512_vbmi2")
    for op in "vpmovdb vpmovsdb vpmovusdb vpmovdw vpmovqb vpmovqw vpmovqd vpmovswb vpmovwb".split():
        for w, d in (("z", "y" if op in ("vpmovdw", "vpmovqd", "vpmovswb", "vpmovwb") else "x"),
                     ("y", "x"), ("x", "x")):
            c.add("%s %s, %s%s" % (op, r(w), r(d), mask()), feature="avx512bw")
            c.add("%s %s, 8(%%rsi)%s" % (op, r(w), c.rng.choice(["", "{%k1}"])), [6],
                  feature="avx512bw")
    for op in PMOV:
        c.add("v%s %s, %s%s" % (op, r("y" if op[6:] in ("bw", "wd", "dq") else "x"), r("z"),
                                mask()), feature="avx512bw")
        c.add("v%s 8(%%rsi), %s%s" % (op, r("z"), mask()), [6], feature="avx512bw")
    for op in "vpcmpd vpcmpud vpcmpq vpcmpuq vpcmpb vpcmpuw vcmpps vcmppd".split():
        for n in range(8):
            c.add("%s $%d, %s, %s, %%k%d%s" % (op, n, r("z"), r("z"), c.rng.randrange(8),
                                               c.rng.choice(["", "{%k2}"])), feature="avx512bw")
        c.add("%s $1, (%%rdi), %s, %%k5" % (op, r("y")), [7], feature="avx512bw")
    for op in "vptestmd vptestnmq vptestmb".split():
        c.add("%s %s, %s, %%k3{%%k2}" % (op, r("z"), r("z")), feature="avx512bw")
    for op in "vpternlogd vpternlogq vshufps vpalignr valignd valignq vshufi32x4 vshuff64x2 " \
              "vrangeps vfixupimmps vdbpsadbw vpshldd vpshrdq".split():
        for n in (3, 0x96):
            n &= 0xf if op.startswith("vrange") else 0xff
            c.add("%s $%d, %s, %s, %s%s" % (op, n, r("z"), r("z"), r("z"), mask()),
                  feature="avx512_vbmi2")
            c.add("%s $%d, 16(%%rdi), %s, %s%s" % (op, n, r("z"), r("z"), mask()), [7],
                  feature="avx512_vbmi2")
    for op in "vrndscaleps vgetmantpd vreduceps vpshufd vpermq vprold vprorq vpsrad vpslld " \
              "vpsraq vpsllw".split():
        c.add("%s $2, %s, %s%s" % (op, r("z"), r("z"), mask()), feature="avx512dq")
        c.add("%s $2, 32(%%rdi), %s%s" % (op, r("z"), mask()), [7], feature="avx512dq")
    for op in "vextracti32x4 vextractf64x2".split():
        c.add("%s $3, %s, %s%s" % (op, r("z"), r("x"), mask()), feature="avx512dq")
        c.add("%s $2, %s, 4(%%rdi){%%k4}" % (op, r("z")), [7], feature="avx512dq")
    for op in "vinserti64x4 vinsertf32x8".split():
        c.add("%s $1, %s, %s, %s%s" % (op, r("y"), r("z"), r("z"), mask()), feature="avx512dq")
    for op, src in (("vpbroadcastb", "x"), ("vpbroadcastd", "x"), ("vpbroadcastq", "x"),
                    ("vbroadcastss", "x"), ("vbroadcastsd", "x")):
        two(op, "z", src, feature="avx512bw")
    for op in ("vpbroadcastd %r9d", "vpbroadcastb %eax", "vpbroadcastq %rdx"):
        c.add("%s, %s%s" % (op, r("z"), mask()), feature="avx512bw")
    for op in ("vbroadcasti32x4", "vbroadcastf64x4", "vbroadcasti64x2", "vbroadcastf32x8"):
        c.add("%s 4(%%rdi), %s%s" % (op, r("z"), mask()), [7], feature="avx512dq")
    for op in ("vpbroadcastmb2q", "vpbroadcastmw2d"):
        c.add("%s %%k5, %s" % (op, r("z")), feature="avx512cd")
    for s in "bwdq":
        feature = "avx512bw"
        for op in "kand kandn kor kxor kxnor kadd".split():
            c.add("%s%s %%k%d, %%k%d, %%k%d" % (op, s, c.rng.randrange(8), c.rng.randrange(8),
                                                c.rng.randrange(8)), feature=feature)
        c.add("knot%s %%k2, %%k6" % s, feature=feature)
        c.add("kortest%s %%k2, %%k6" % s, feature=feature)
        c.add("ktest%s %%k2, %%k6" % s, feature=feature)
        c.add("kshiftl%s $3, %%k2, %%k6" % s, feature=feature)
        c.add("kshiftr%s $3, %%k2, %%k6" % s, feature=feature)
        c.add("kmov%s %%k2, %%k6" % s, feature=feature)
        c.add("kmov%s (%%rdi), %%k6" % s, [7], feature=feature)
        c.add("kmov%s %%k6, literal+8(%%rip)" % s, feature=feature)
        reg = "r9" if s == "q" else "r9d"
        c.add("kmov%s %%%s, %%k6" % (s, reg), feature=feature)
        c.add("kmov%s %%k6, %%%s" % (s, reg), feature=feature)
        c.add("vpmovm2%s %%k3, %%zmm17" % s, feature=feature)
        c.add("vpmov%s2m %%zmm17, %%k3" % s, feature=feature)
    for op in ("kunpckbw", "kunpckwd", "kunpckdq"):
        c.add("%s %%k1, %%k2, %%k3" % op, feature="avx512bw")
    for op, w, v in (("vgatherdps", "z", "z"), ("vpgatherdd", "y", "y"), ("vgatherdpd", "z", "y"),
                     ("vpgatherdq", "x", "x")):
        c.add("%s (%%rdi,%%%smm18,4), %%%smm3{%%k1}" % (op, v, w), [7], vidx=18, feature=f)
    for op, w, v in (("vgatherqps", "y", "z"), ("vpgatherqq", "z", "z"), ("vpgatherqd", "x", "y")):
        c.add("%s 8(%%r13,%%%smm18,8), %%%smm23{%%k2}" % (op, v, w), [13], vidx=18, vq=1, feature=f)
    for op, w, v in (("vscatterdps", "z", "z"), ("vpscatterdd", "y", "y"),
                     ("vscatterdpd", "z", "y")):
        c.add("%s %%%smm3, (%%rdi,%%%smm18,4){%%k1}" % (op, w, v), [7], vidx=18, feature=f)
    c.add("vpscatterqq %zmm23, 8(%r13,%zmm18,8){%k2}", [13], vidx=18, vq=1, feature=f)
    low = "mov $0x%x, %%eax; kmovq %%rax, %%k1; "
    for op, k in (("vmovdqu8", 0xffff), ("vmovdqu16", 0xff), ("vmovdqu32", 0xf), ("vmovups", 5),
                  ("vmovdqu64", 3)):            # lanes beyond the edge are masked off
        c.add(low % k + "%s (%%rdi), %%zmm2{%%k1}" % op, edge=1, feature="avx512bw")
        c.add(low % k + "%s (%%rdi), %%zmm2{%%k1}{z}" % op, edge=1, feature="avx512bw")
        c.add(low % k + "%s %%zmm2, (%%rdi){%%k1}" % op, edge=1, feature="avx512bw")
    c.add(low % 0xf + "vaddps (%rdi), %zmm3, %zmm2{%k1}", edge=1, feature="avx512bw")
    c.add(low % 0xf + "vpcompressd %zmm2, (%rdi){%k1}", edge=1, feature="avx512bw")
    c.add(low % 0xf0f0 + "vpexpandd -16(%rdi), %zmm2{%k1}{z}", edge=1, feature="avx512bw")
    for op in ("vpermb", "vpermi2b", "vpermt2b", "vpmultishiftqb"):
        three(op, bits=64 if "multi" in op else 0, feature="avx512vbmi")
    for op in ("vpmadd52luq", "vpmadd52huq"):
        three(op, bits=64, feature="avx512ifma")
    for op in ("vpdpbusd", "vpdpwssds"):
        three(op, feature="avx512_vnni")
    for op in ("vpshldvd", "vpshrdvd"):
        three(op, feature="avx512_vbmi2")
    three("vcvtne2ps2bf16", feature="avx512_bf16")
    three("vdpbf16ps", feature="avx512_bf16")
    c.add("vpshufbitqmb %zmm3, %zmm19, %k2", feature="avx512_bitalg")
    for op in "vcvtss2usi vcvttsd2usi vcvtsd2si".split():
        c.add("%s %s, %%r9" % (op, r("x")), feature=f)
        c.add("%s %s, %%eax" % (op, r("x")), feature=f)
    c.add("vcvtsd2si {rd-sae}, %xmm20, %rax", feature=f)
    c.add("vcvtusi2sd %r9, %xmm20, %xmm21", feature=f)
    c.add("vfpclassps $0x1b, %zmm20, %k3", feature="avx512dq")
    c.add("vfpclasssd $0x1b, %xmm20, %k3{%k2}", feature="avx512dq")
    c.add("vcvtps2ph $1, %zmm20, %ymm3{%k1}", feature=f)
    c.add("vcvtps2ph $1, %zmm20, (%rdi){%k1}", [7], feature=f)
    c.add("vcvtph2ps (%rdi), %zmm3{%k1}{z}", [7], feature=f)
    c.add("vmovntdq %zmm18, 64(%rdi)", [7], feature=f)
    c.add("vmovntdqa 64(%rdi), %zmm18", [7], feature=f)
    c.add("vmovss %xmm18, 64(%rdi){%k1}", [7], feature=f)
    c.add("vmovsd %xmm18, %xmm3, %xmm4{%k1}{z}", feature=f)


def group_crypto(c):
    for op in "aesenc aesenclast aesdec aesdeclast aesimc".split():
        c.add("%s %%xmm3, %%xmm12" % op, feature="aes")
        c.add("%s literal(%%rip), %%xmm2" % op, feature="aes")
        c.add("v%s %s%%xmm12" % (op, "%xmm3, " if op == "aesimc" else "%xmm3, %xmm9, "),
              feature="aes")
        if op != "aesimc":
            c.add("v%s %%ymm3, %%ymm4, %%ymm12" % op, feature="vaes")
            c.add("v%s 3(%%rdi), %%zmm4, %%zmm22" % op, [7], feature="vaes")
    for n in (0, 1, 0x36):
        c.add("aeskeygenassist $%d, %%xmm3, %%xmm4" % n, feature="aes")
    for n in (0, 1, 0x10, 0x11):
        c.add("pclmulqdq $%d, %%xmm3, %%xmm4" % n, feature="pclmulqdq")
        c.add("vpclmulqdq $%d, %%ymm3, %%ymm4, %%ymm5" % n, feature="vpclmulqdq")
        c.add("vpclmulqdq $%d, (%%rdi), %%zmm4, %%zmm25" % n, [7], feature="vpclmulqdq")
    for op in "sha1msg1 sha1msg2 sha1nexte sha256msg1 sha256msg2 sha256rnds2".split():
        x = "%xmm0, " if op == "sha256rnds2" else ""
        c.add("%s %s%%xmm3, %%xmm4" % (op, x), feature="sha_ni")
        c.add("%s %sliteral(%%rip), %%xmm4" % (op, x), feature="sha_ni")
    for n in range(4):
        c.add("sha1rnds4 $%d, %%xmm3, %%xmm4" % n, feature="sha_ni")
    c.add("gf2p8mulb %xmm3, %xmm4", feature="gfni")
    for op in ("gf2p8affineqb", "gf2p8affineinvqb"):
        c.add("%s $5, %%xmm3, %%xmm4" % op, feature="gfni")
        c.add("%s $5, literal(%%rip), %%xmm4" % op, feature="gfni")
        c.add("v%s $5, %%zmm3, %%zmm4, %%zmm20{%%k1}" % op, feature="gfni")
        c.add("v%s $5, 8(%%rdi){1to8}, %%zmm4, %%zmm20{%%k1}{z}" % op, [7], feature="gfni")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("group")
    p.add_argument("-o", dest="output", required=True)
    args = p.parse_args()
    cases = Cases(args.group)
    globals()["group_" + args.group](cases)
    with open(args.output, "w") as f:
        f.write("# generated by insns.py %s\n" % args.group)
        cases.write(f)


if __name__ == "__main__":
    main()
