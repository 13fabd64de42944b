/* SPDX-License-Identifier: BSD-2-Clause
 * sig_default.c -- default actions: which signal has which, and the message before a death.
 * Role:    the message: what, why, and where (src/diag). */
#include "sys/sig_host.h"

#include "base/log.h"
#include "base/options.h"
#include "diag/symbols.h"
#include "diag/unwind.h"
#include "sched/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define FIRST_REALTIME 32
#define TRAP_GP 13

typedef struct SigName {
    const char *name;
    u8 action;
} SigName;

/* signal(7); what is not here ends the process. */
static const SigName names[FIRST_REALTIME] = {
    [SIGHUP] = {"SIGHUP", SIG_DEFAULT_TERM},     [SIGINT] = {"SIGINT", SIG_DEFAULT_TERM},
    [SIGQUIT] = {"SIGQUIT", SIG_DEFAULT_CORE},   [SIGILL] = {"SIGILL", SIG_DEFAULT_CORE},
    [SIGTRAP] = {"SIGTRAP", SIG_DEFAULT_CORE},   [SIGABRT] = {"SIGABRT", SIG_DEFAULT_CORE},
    [SIGBUS] = {"SIGBUS", SIG_DEFAULT_CORE},     [SIGFPE] = {"SIGFPE", SIG_DEFAULT_CORE},
    [SIGKILL] = {"SIGKILL", SIG_DEFAULT_TERM},   [SIGUSR1] = {"SIGUSR1", SIG_DEFAULT_TERM},
    [SIGSEGV] = {"SIGSEGV", SIG_DEFAULT_CORE},   [SIGUSR2] = {"SIGUSR2", SIG_DEFAULT_TERM},
    [SIGPIPE] = {"SIGPIPE", SIG_DEFAULT_TERM},   [SIGALRM] = {"SIGALRM", SIG_DEFAULT_TERM},
    [SIGTERM] = {"SIGTERM", SIG_DEFAULT_TERM},   [SIGSTKFLT] = {"SIGSTKFLT", SIG_DEFAULT_TERM},
    [SIGCHLD] = {"SIGCHLD", SIG_DEFAULT_IGNORE}, [SIGCONT] = {"SIGCONT", SIG_DEFAULT_IGNORE},
    [SIGSTOP] = {"SIGSTOP", SIG_DEFAULT_STOP},   [SIGTSTP] = {"SIGTSTP", SIG_DEFAULT_STOP},
    [SIGTTIN] = {"SIGTTIN", SIG_DEFAULT_STOP},   [SIGTTOU] = {"SIGTTOU", SIG_DEFAULT_STOP},
    [SIGURG] = {"SIGURG", SIG_DEFAULT_IGNORE},   [SIGXCPU] = {"SIGXCPU", SIG_DEFAULT_CORE},
    [SIGXFSZ] = {"SIGXFSZ", SIG_DEFAULT_CORE},   [SIGVTALRM] = {"SIGVTALRM", SIG_DEFAULT_TERM},
    [SIGPROF] = {"SIGPROF", SIG_DEFAULT_TERM},   [SIGWINCH] = {"SIGWINCH", SIG_DEFAULT_IGNORE},
    [SIGIO] = {"SIGIO", SIG_DEFAULT_TERM},       [SIGPWR] = {"SIGPWR", SIG_DEFAULT_TERM},
    [SIGSYS] = {"SIGSYS", SIG_DEFAULT_CORE},
};

SigDefault sig_default_of(int sig)
{
    return sig < FIRST_REALTIME ? (SigDefault)names[sig].action : SIG_DEFAULT_TERM;
}

typedef struct Cause {
    u8 sig;
    int code;
    const char *text;
} Cause;

/* The words are Valgrind's: users' scripts look for them. */
static const Cause causes[] = {
    {SIGSEGV, SEGV_MAPERR, "Access not within mapped region"},
    {SIGSEGV, SEGV_ACCERR, "Bad permissions for mapped region"},
    {SIGILL, ILL_ILLOPC, "Illegal opcode"},
    {SIGILL, ILL_ILLOPN, "Illegal operand"},
    {SIGILL, ILL_ILLADR, "Illegal addressing mode"},
    {SIGILL, ILL_ILLTRP, "Illegal trap"},
    {SIGILL, ILL_PRVOPC, "Privileged opcode"},
    {SIGILL, ILL_PRVREG, "Privileged register"},
    {SIGILL, ILL_COPROC, "Coprocessor error"},
    {SIGILL, ILL_BADSTK, "Internal stack error"},
    {SIGFPE, FPE_INTDIV, "Integer divide by zero"},
    {SIGFPE, FPE_INTOVF, "Integer overflow"},
    {SIGFPE, FPE_FLTDIV, "FP divide by zero"},
    {SIGFPE, FPE_FLTOVF, "FP overflow"},
    {SIGFPE, FPE_FLTUND, "FP underflow"},
    {SIGFPE, FPE_FLTRES, "FP inexact"},
    {SIGFPE, FPE_FLTINV, "FP invalid operation"},
    {SIGFPE, FPE_FLTSUB, "FP subscript out of range"},
    {SIGBUS, BUS_ADRALN, "Invalid address alignment"},
    {SIGBUS, BUS_ADRERR, "Non-existent physical address"},
    {SIGBUS, BUS_OBJERR, "Hardware error"},
};

static void print_cause(const PendingSignal *p)
{
    if (p->info.si_code <= 0) {
        return; /* sent by somebody */
    }
    if (p->info.si_signo == SIGSEGV && p->info.si_code == SI_KERNEL && p->trapno == TRAP_GP) {
        mt_umsg(" General Protection Fault");
        return;
    }
    for (size_t i = 0; i < MT_ARRAY_SIZE(causes); i++) {
        if (causes[i].sig == p->info.si_signo && causes[i].code == p->info.si_code) {
            mt_umsg(" %s at address 0x%" PRIX64, causes[i].text, (u64)p->info.si_addr);
            return;
        }
    }
}

static void print_trace(Thread *t)
{
    GuestAddr pcs[MT_CALLERS_MAX];
    /* A filter of the guest's may end a process that opens files or starts another one. */
    bool files = !sys_is_filtered(), stop = !t->is_vfork_child;
    if (mt_opts.verbosity == 0) {
        return;
    }
    /* Natively no other thread does anything any more, and this takes its time. */
    if (stop) {
        world_stop(t);
    }
    unsigned n = unwind_stack(t->cpu, pcs, (unsigned)mt_opts.num_callers, files);
    symbols_print_trace(pcs, n, files);
    if (stop) {
        world_resume(t);
    }
}

static bool dumps_core(int sig)
{
    struct rlimit limit;
    return sig_default_of(sig) == SIG_DEFAULT_CORE && !getrlimit(RLIMIT_CORE, &limit) &&
           limit.rlim_cur > 0;
}

void sig_default_die(Thread *t, const PendingSignal *p)
{
    int sig = p->info.si_signo;
    char name[16];
    if (!t->is_vfork_child) {
        sched_claim_end(t);
    }
    if (sig < FIRST_REALTIME) {
        snprintf(name, sizeof(name), "%s", names[sig].name ? names[sig].name : "SIG?");
    } else {
        snprintf(name, sizeof(name), "SIGRT%d", sig - FIRST_REALTIME);
    }
    mt_umsg("%s", "");
    mt_umsg("Process terminating with default action of signal %d (%s)%s", sig, name,
            dumps_core(sig) ? ": dumping core" : "");
    print_cause(p);
    print_trace(t);
    sched_die_of_signal(t, sig);
}
