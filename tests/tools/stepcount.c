/* SPDX-License-Identifier: BSD-2-Clause
 * stepcount.c -- counts by single-stepping what lackey counts by instrumentation.
 * Usage:  stepcount program args...     prints "insns loads stores jccs taken jumps calls returns"
 * A step of a rep-prefixed string instruction is one repetition (the processor traps after each);
 * it counts as one instruction when it has ended, as one load or store an element that it touched.
 * Other operands count once, masked and gathered ones too. An instruction that faults is not
 * counted; one behind which a signal handler begins is.
 * Decoding is the runtime's own (tested against the hardware in tests/unit/test_decode_hw.c); what
 * is tested here is the counting. One thread. */
/* layers: mt_base mt_jit */
#include "jit/insn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INSNS, LOADS, STORES, JCCS, TAKEN, JUMPS, CALLS, RETURNS, NCOUNTS };

typedef unsigned long long Count;

static Count counts[NCOUNTS];

typedef struct Step {
    Insn in;
    MemOp ops[MT_MAX_MEMOPS];
    int nops;
    bool rep;
} Step;

static u64 count_register(const Step *s, const struct user_regs_struct *r)
{
    return s->in.flags & INSN_F_ADDR32 ? (u32)r->rcx : r->rcx;
}

static bool fetch(pid_t pid, u64 pc, Step *s)
{
    u8 code[16] = {0};
    struct iovec local = {code, 15}, remote = {(void *)pc, 15};
    ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);

    if (n < 15) { /* the end of a page */
        local.iov_len = remote.iov_len = 4096 - (pc & 4095);
        n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
        if (n <= 0) {
            return false;
        }
    }
    decode_insn(&s->in, pc, code, (size_t)n);
    s->nops = decode_memops(&s->in, s->ops);
    s->rep = s->nops > 0 && s->ops[0].kind == MEM_STRING && s->ops[0].rep;
    return true;
}

static void count_operands(const Step *s, Count times)
{
    for (int i = 0; i < s->nops; i++) {
        counts[LOADS] += s->ops[i].read ? times : 0;
        counts[STORES] += s->ops[i].write ? times : 0;
    }
}

/* The instruction at s has been executed; r are the registers behind it. */
static void count_done(const Step *s, u64 next)
{
    counts[INSNS]++;
    switch (s->in.cls) {
    case INSN_JCC:
    case INSN_JRCXZ:
        counts[JCCS]++;
        counts[TAKEN] += next != s->in.pc + s->in.len;
        break;
    case INSN_JMP:
    case INSN_JMP_IND: counts[JUMPS]++; break;
    case INSN_CALL:
    case INSN_CALL_IND: counts[CALLS]++; break;
    case INSN_RET: counts[RETURNS]++; break;
    default: break;
    }
}

static void count_step(const Step *s, const struct user_regs_struct *before,
                       const struct user_regs_struct *after)
{
    if (s->rep) {
        count_operands(s, count_register(s, before) - count_register(s, after));
        if (after->rip == s->in.pc) {
            return;
        }
    } else {
        count_operands(s, 1);
    }
    count_done(s, after->rip);
}

/* Steps once; the registers behind it in *after. False: the program has ended. A signal is passed
 * on and the step repeated; if it arrives at a step that has been done, the step counts. */
static bool step(pid_t pid, const Step *s, const struct user_regs_struct *before,
                 struct user_regs_struct *after, int *pending, int *status)
{
    int sig = *pending;

    *pending = 0;
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, (void *)(long)sig) != 0 ||
        waitpid(pid, status, 0) != pid || !WIFSTOPPED(*status)) {
        return false;
    }
    ptrace(PTRACE_GETREGS, pid, NULL, after);
    if (sig != 0) {
        return true; /* the handler's first instruction is next, or the signal was ignored */
    }
    if (WSTOPSIG(*status) != SIGTRAP) {
        *pending = WSTOPSIG(*status);
        if (after->rip == before->rip) {
            return true;
        }
    }
    count_step(s, before, after);
    return true;
}

static void child(char **argv)
{
    personality(ADDR_NO_RANDOMIZE);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    execvp(argv[0], argv);
    _exit(127);
}

int main(int argc, char **argv)
{
    struct user_regs_struct before, after;
    int status = 0, pending = 0;
    pid_t pid;

    if (argc < 2) {
        fprintf(stderr, "usage: stepcount program args...\n");
        return 2;
    }
    decode_init();
    pid = fork();
    if (pid == 0) {
        child(argv + 1);
    }
    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(long)PTRACE_O_EXITKILL);
    ptrace(PTRACE_GETREGS, pid, NULL, &before);
    for (;;) {
        Step s;
        memset(&s, 0, sizeof(s));
        bool known = fetch(pid, before.rip, &s);
        bool exits = known && s.in.cls == INSN_SYSCALL && (before.rax == 231 || before.rax == 60);

        if (exits) {
            count_done(&s, before.rip + 2);
        }
        if (!step(pid, &s, &before, &after, &pending, &status)) {
            break;
        }
        before = after;
    }
    for (int i = 0; i < NCOUNTS; i++) {
        fprintf(stderr, "%s%llu", i ? " " : "", counts[i]);
    }
    fprintf(stderr, "\n");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
