/* SPDX-License-Identifier: BSD-2-Clause
 * sys_ptrace.c -- a tracer and its tracees, all of them guests: registers, memory, system calls,
 * single steps, breakpoints, signals, events, interrupts and group stops, as natively.
 * guest: timeout=60
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static volatile int *shared;

static pid_t traced_child(void (*fn)(void), int options)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        raise(SIGSTOP);
        fn();
        _exit(7);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, 0, options | PTRACE_O_EXITKILL) == 0);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, __WALL) == pid);
    return status;
}

static void resume(int request, pid_t pid, int sig)
{
    CHECK(ptrace(request, pid, 0, sig) == 0);
}

static struct user_regs_struct regs_of(pid_t pid)
{
    struct user_regs_struct r;
    CHECK(ptrace(PTRACE_GETREGS, pid, 0, &r) == 0);
    return r;
}

static void finish(const char *what, pid_t pid, int request)
{
    int status;
    for (;;) {
        resume(request, pid, 0);
        status = wait_for(pid);
        if (!WIFSTOPPED(status)) {
            break;
        }
    }
    printf("%s: %s %d\n", what, WIFEXITED(status) ? "exit" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    fflush(stdout);
}

/* ---- system calls ---- */

static void some_calls(void)
{
    char text[] = "some text";
    syscall(SYS_chdir, text);
    syscall(SYS_getppid, 11, 22, 33, 44, 55, 66);
    CHECK(syscall(SYS_getpriority, 99, 0) == 4711); /* the tracer changes it */
    CHECK(syscall(SYS_getpriority, 98, 0) == 123);
    _exit(syscall(SYS_getpriority, 97, 0) == -1 ? 21 : 22); /* to be made another call */
}

static void show_call(pid_t pid)
{
    struct __ptrace_syscall_info i;
    struct user_regs_struct r = regs_of(pid);
    siginfo_t info;
    memset(&i, 0, sizeof(i));
    long n = ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(i), &i);
    CHECK(i.arch == AUDIT_ARCH_X86_64 && i.instruction_pointer == r.rip &&
          i.stack_pointer == r.rsp);
    CHECK(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0);
    unsigned long message = 0;
    CHECK(ptrace(PTRACE_GETEVENTMSG, pid, 0, &message) == 0);
    CHECK(r.rcx == r.rip && (r.r11 & ~0x10ull) == (r.eflags & ~0x10ull));
    if (i.op == PTRACE_SYSCALL_INFO_ENTRY) {
        CHECK(i.entry.nr == r.orig_rax && i.entry.args[0] == r.rdi && i.entry.args[5] == r.r9);
        printf("entry %ld of %lld, rax %lld, code %#x, message %lu", n, (long long)r.orig_rax,
               (long long)r.rax, info.si_code, message);
        if (r.orig_rax == SYS_getppid) {
            for (int k = 0; k < 6; k++) {
                printf(" %llu", (unsigned long long)i.entry.args[k]);
            }
        }
    } else {
        CHECK(i.op == PTRACE_SYSCALL_INFO_EXIT && (long long)i.exit.rval == (long long)r.rax);
        printf("exit %ld of %lld, %s %d, message %lu", n, (long long)r.orig_rax,
               r.orig_rax == SYS_getppid ? "-"
               : i.exit.rval < 0         ? "negative"
                                         : "positive",
               i.exit.is_error, message);
    }
    printf("\n");
    fflush(stdout);
}

static void system_calls(void)
{
    pid_t pid = traced_child(some_calls, PTRACE_O_TRACESYSGOOD);
    int status;
    for (;;) {
        resume(PTRACE_SYSCALL, pid, 0);
        status = wait_for(pid);
        if (!WIFSTOPPED(status)) {
            break;
        }
        CHECK(WSTOPSIG(status) == (SIGTRAP | 0x80));
        struct user_regs_struct r = regs_of(pid);
        show_call(pid);
        if (r.orig_rax == SYS_chdir && (long)r.rax == -ENOSYS) {
            errno = 0;
            long word = ptrace(PTRACE_PEEKDATA, pid, r.rdi, 0);
            CHECK(errno == 0 && memcmp(&word, "some tex", 8) == 0);
        }
        if (r.orig_rax == SYS_getpriority && r.rdi == 99 && (long)r.rax != -ENOSYS) {
            r.rax = 4711;
            CHECK(ptrace(PTRACE_SETREGS, pid, 0, &r) == 0);
        }
        if (r.orig_rax == SYS_getpriority && r.rdi == 98 && (long)r.rax == -ENOSYS) {
            r.orig_rax = -1; /* not to be done: rax stays */
            r.rax = 123;
            CHECK(ptrace(PTRACE_SETREGS, pid, 0, &r) == 0);
        }
        if (r.orig_rax == SYS_getpriority && r.rdi == 97) {
            CHECK(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.orig_rax), SYS_getuid) ==
                  0);
        }
    }
    printf("calls: %s %d\n", WIFEXITED(status) ? "exit" : "other", WEXITSTATUS(status));
}

/* PTRACE_SYSEMU: the tracer does the calls. */
static void emulated_calls(void)
{
    CHECK(syscall(SYS_getpid) == 1000);
    CHECK(syscall(12345, 1) == 1001);
    _exit(3);
}

static void emulation(void)
{
    pid_t pid = traced_child(emulated_calls, 0);
    int status;
    long next = 1000;
    for (;;) {
        resume(PTRACE_SYSEMU, pid, 0);
        status = wait_for(pid);
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
        struct user_regs_struct r = regs_of(pid);
        printf("emulated %lld\n", (long long)r.orig_rax);
        if (r.orig_rax == SYS_exit_group) {
            break;
        }
        r.rax = next++;
        CHECK(ptrace(PTRACE_SETREGS, pid, 0, &r) == 0);
    }
    finish("emulation", pid, PTRACE_CONT);
}

/* A tracee's options are its own, not those of the one before it; and the old request sets them
 * too. */
static void own_options(void)
{
    enum { OLDSETOPTIONS = 21 }; /* asm/ptrace-abi.h */
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
            raise(SIGSTOP);
            _exit(syscall(SYS_getppid) == 0);
        }
        CHECK(pid > 0 && WSTOPSIG(wait_for(pid)) == SIGSTOP);
        if (i == 1) {
            CHECK(ptrace(OLDSETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD) == 0);
        }
        resume(PTRACE_SYSCALL, pid, 0);
        printf("options %d: %x\n", i, (unsigned)WSTOPSIG(wait_for(pid)));
        finish("options", pid, PTRACE_CONT);
    }
}

/* ---- registers ---- */

static void known_registers(void)
{
    static const double numbers[4] = {1.5, 2.5, 3.5, 4.5};
    static double out[4];
    long a = 0x1111, b = 0x2222, c = 0;
    __asm__ volatile("movupd %3, %%xmm7\n\t"
                     "movupd 16+%3, %%xmm15\n\t"
                     "mov $0x3333, %%r12\n\t"
                     "int3\n\t"
                     "mov %%r12, %2\n\t"
                     "movupd %%xmm7, %4\n\t"
                     "movupd %%xmm15, 16+%4"
                     : "+a"(a), "+b"(b), "=r"(c)
                     : "m"(numbers), "m"(out)
                     : "r12", "xmm7", "xmm15", "memory");
    _exit(a == 0x5555 && b == 0x2222 && c == 0x7777 && out[0] == 9.25 && out[1] == 2.5 &&
                  out[2] == 3.5 && out[3] == 10.25
              ? 5
              : 6);
}

static void registers(void)
{
    pid_t pid = traced_child(known_registers, 0);
    struct user_fpregs_struct fp;
    struct user_regs_struct r;
    unsigned char xstate[16384];
    struct iovec v = {&r, sizeof(r)};
    siginfo_t info;
    double d;
    resume(PTRACE_CONT, pid, 0);
    int status = wait_for(pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    CHECK(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0);
    CHECK(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &v) == 0 && v.iov_len == sizeof(r));
    errno = 0;
    long insn = ptrace(PTRACE_PEEKTEXT, pid, r.rip - 1, 0);
    printf("registers: code %#x rax %llx rbx %llx r12 %llx orig %lld insn %02lx peek %lx\n",
           info.si_code, r.rax, r.rbx, r.r12, (long long)r.orig_rax, insn & 0xff,
           ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rbx), 0));
    CHECK(errno == 0 && r.fs_base != 0);
    CHECK(ptrace(PTRACE_GETFPREGS, pid, 0, &fp) == 0);
    memcpy(&d, (char *)fp.xmm_space + 7 * 16, 8);
    printf("xmm7 %g mxcsr %x cwd %x\n", d, fp.mxcsr & 0xffc0, fp.cwd);
    d = 9.25;
    memcpy((char *)fp.xmm_space + 7 * 16, &d, 8);
    CHECK(ptrace(PTRACE_SETFPREGS, pid, 0, &fp) == 0);
    v = (struct iovec){xstate, sizeof(xstate)};
    CHECK(ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &v) == 0);
    memcpy(&d, xstate + 160 + 15 * 16 + 8, 8);
    printf("xmm15 high %g\n", d);
    d = 10.25;
    memcpy(xstate + 160 + 15 * 16 + 8, &d, 8);
    CHECK(ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &v) == 0);
    r.rax = 0x5555;
    r.r12 = 0x7777;
    CHECK(ptrace(PTRACE_SETREGS, pid, 0, &r) == 0);
    finish("registers", pid, PTRACE_CONT);
}

/* ---- breakpoints and steps ---- */

__attribute__((noinline)) static int called(int x)
{
    __asm__ volatile("");
    return x + 1;
}

static void loop_of_calls(void)
{
    int sum = 0;
    for (int i = 0; i < 20; i++) {
        sum += called(i);
        if (i == 4) {
            raise(SIGSTOP);
        }
    }
    _exit(sum == 210 ? 11 : 12);
}

static void put_code(pid_t pid, int mem, unsigned long at, long word)
{
    if (mem >= 0) {
        CHECK(pwrite(mem, &word, 1, (off_t)at) == 1);
    } else {
        CHECK(ptrace(PTRACE_POKETEXT, pid, at, word) == 0);
    }
}

static void breakpoints(int by_file)
{
    pid_t pid = traced_child(loop_of_calls, 0);
    unsigned long at = (unsigned long)called;
    int hits = 5, status, mem = -1;
    long word = ptrace(PTRACE_PEEKTEXT, pid, at, 0), trap = (word & ~0xffl) | 0xcc;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/mem", pid, pid);
    CHECK(!by_file || (mem = open(path, O_RDWR | O_CLOEXEC)) >= 0);
    /* The first calls have been done when the breakpoint comes. */
    resume(PTRACE_CONT, pid, 0);
    CHECK(WSTOPSIG(wait_for(pid)) == SIGSTOP);
    put_code(pid, mem, at, trap);
    for (;;) {
        resume(PTRACE_CONT, pid, 0);
        status = wait_for(pid);
        if (!WIFSTOPPED(status)) {
            break;
        }
        struct user_regs_struct r = regs_of(pid);
        CHECK(WSTOPSIG(status) == SIGTRAP && r.rip == at + 1);
        CHECK((int)r.rdi == hits);
        hits++;
        r.rip = at;
        CHECK(ptrace(PTRACE_SETREGS, pid, 0, &r) == 0);
        put_code(pid, mem, at, word);
        if (hits < 15) {
            resume(PTRACE_SINGLESTEP, pid, 0);
            status = wait_for(pid);
            CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && regs_of(pid).rip != at);
            put_code(pid, mem, at, trap);
        }
    }
    printf("breakpoint: %d calls, exit %d\n", hits, WEXITSTATUS(status));
    close(mem);
}

static void stepped_code(void)
{
    __asm__ volatile("int3\n\t"
                     "mov $3, %%ecx\n"
                     "1: dec %%ecx\n\t"
                     "jnz 1b\n\t"
                     "pushf\n\t"
                     "pop %%rax\n\t"
                     "mov %0, %%eax\n\t"
                     "syscall\n\t"
                     "nop\n\t"
                     "call 2f\n\t"
                     "jmp 3f\n"
                     "2: ret\n"
                     "3: cpuid\n\t"
                     "int3"
                     :
                     : "i"(SYS_getppid)
                     : "rax", "rbx", "rcx", "rdx", "r11", "memory");
    _exit(0);
}

static void steps(void)
{
    pid_t pid = traced_child(stepped_code, 0);
    int status, n = 0;
    unsigned long start = 0;
    resume(PTRACE_CONT, pid, 0);
    wait_for(pid);
    start = regs_of(pid).rip;
    for (;;) {
        siginfo_t info;
        resume(PTRACE_SINGLESTEP, pid, 0);
        status = wait_for(pid);
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && ++n < 100);
        CHECK(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0);
        struct user_regs_struct r = regs_of(pid);
        printf(" +%lu%s", (unsigned long)(r.rip - start), r.eflags & 0x100 ? "!" : "");
        if (info.si_code == SI_KERNEL) {
            break;
        }
    }
    printf(" = %d steps\n", n);
    finish("steps", pid, PTRACE_CONT);
}

/* ---- signals ---- */

static void on_usr(int sig, siginfo_t *info, void *context)
{
    (void)context;
    printf("handler: %d code %d value %d\n", sig, info->si_code, info->si_value.sival_int);
    fflush(stdout);
}

static void gets_signals(void)
{
    struct sigaction sa = {.sa_sigaction = on_usr, .sa_flags = SA_SIGINFO};
    union sigval value = {.sival_int = 5};
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGUSR2, &sa, NULL);
    signal(SIGHUP, SIG_IGN);
    raise(SIGHUP);  /* ignored: the tracer sees it all the same */
    raise(SIGCHLD); /* so by default */
    raise(SIGUSR1); /* let through */
    raise(SIGUSR1); /* taken away */
    raise(SIGUSR1); /* made another */
    sigqueue(getpid(), SIGUSR2, value);
    sigqueue(getpid(), SIGUSR2, value); /* its siginfo changed */
    raise(SIGTERM);                     /* taken away */
    *(volatile int *)16 = 1;
    _exit(0);
}

static void signals(void)
{
    pid_t pid = traced_child(gets_signals, 0);
    int status, sig = 0, usr1 = 0, usr2 = 0;
    for (;;) {
        siginfo_t info;
        resume(PTRACE_CONT, pid, sig);
        status = wait_for(pid);
        if (!WIFSTOPPED(status)) {
            break;
        }
        sig = WSTOPSIG(status);
        CHECK(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0 && info.si_signo == sig);
        printf("stop: %d code %d%s\n", sig, info.si_code, info.si_pid == pid ? " own" : "");
        if (sig == SIGSEGV) {
            printf("address %p\n", info.si_addr);
        }
        fflush(stdout);
        if (sig == SIGUSR1 && ++usr1 >= 2) {
            sig = usr1 == 2 ? 0 : SIGUSR2;
        }
        if (sig == SIGUSR2 && info.si_signo == SIGUSR2 && ++usr2 == 2) {
            info.si_value.sival_int = 77;
            CHECK(ptrace(PTRACE_SETSIGINFO, pid, 0, &info) == 0);
        }
        if (sig == SIGTERM) {
            sig = 0;
        }
    }
    printf("signals: died of %d\n", WTERMSIG(status));
}

/* A step into a handler stops at its first instruction. */
static volatile sig_atomic_t handled;
static void count(int sig)
{
    (void)sig;
    handled++;
}

static void kills_itself(void)
{
    signal(SIGUSR1, count);
    raise(SIGUSR1);
    _exit(handled == 1 ? 0 : 1);
}

static void step_into_handler(void)
{
    pid_t pid = traced_child(kills_itself, 0);
    resume(PTRACE_CONT, pid, 0);
    CHECK(WSTOPSIG(wait_for(pid)) == SIGUSR1);
    resume(PTRACE_SINGLESTEP, pid, SIGUSR1);
    int status = wait_for(pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    struct user_regs_struct r = regs_of(pid);
    printf("at the handler: %d, rdi %lld, TF %d\n", r.rip == (unsigned long)count, (long long)r.rdi,
           !!(r.eflags & 0x100));
    finish("handler", pid, PTRACE_CONT);
}

/* ---- events ---- */

static void makes_children(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(31);
    }
    waitpid(pid, NULL, 0);
    pid = vfork();
    if (pid == 0) {
        _exit(32);
    }
    waitpid(pid, NULL, 0);
    _exit(33);
}

static void *empty(void *arg)
{
    return arg;
}

static void makes_thread(void)
{
    pthread_t th;
    CHECK(pthread_create(&th, NULL, empty, NULL) == 0 && pthread_join(th, NULL) == 0);
    _exit(34);
}

static void executes(void)
{
    execl("/bin/sh", "sh", "-c", "exit 35", NULL);
}

static const char *event_name(int event)
{
    static const char *const names[] = {"none", "fork",       "vfork", "clone",
                                        "exec", "vfork_done", "exit"};
    return event < 7 ? names[event] : event == PTRACE_EVENT_STOP ? "stop" : "?";
}

/* Each process's own sequence is fixed, not how they mix: only the first one's is printed. */
static void events(const char *what, void (*fn)(void))
{
    pid_t first = traced_child(fn, PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                                       PTRACE_O_TRACEEXEC | PTRACE_O_TRACEVFORKDONE |
                                       PTRACE_O_TRACEEXIT);
    int others_stopped = 0, others_exited = 0;
    resume(PTRACE_CONT, first, 0);
    for (;;) {
        int status;
        unsigned long message = 0;
        pid_t pid = waitpid(-1, &status, __WALL);
        CHECK(pid > 0);
        if (!WIFSTOPPED(status)) {
            others_exited += pid != first;
            if (pid == first) {
                printf("%s: %d\n", what, WEXITSTATUS(status));
                break;
            }
            continue;
        }
        int event = status >> 16;
        /* Under mtvg a thread's exit event may come when it has been joined, and the process's end
         * then takes it away from its tracer (DIFFERENCES.md). */
        if (pid != first && ptrace(PTRACE_GETEVENTMSG, pid, 0, &message) != 0 && errno == ESRCH) {
            continue;
        }
        if (event && pid == first) {
            CHECK(ptrace(PTRACE_GETEVENTMSG, pid, 0, &message) == 0);
            printf("%s event %s", what, event_name(event));
            if (event == PTRACE_EVENT_EXIT) {
                printf(" %lx", message);
            }
            printf("\n");
        }
        int sig = WSTOPSIG(status);
        if (!event && pid != first && sig == SIGSTOP) {
            others_stopped++;
        }
        struct user_regs_struct r;
        long get = ptrace(PTRACE_GETREGS, pid, 0, &r);
        CHECK(get == 0 || (pid != first && errno == ESRCH));
        long cont = ptrace(PTRACE_CONT, pid, 0, event || sig == SIGSTOP ? 0 : sig);
        CHECK(cont == 0 || (pid != first && errno == ESRCH));
    }
    printf("%s: %d others, %d ended\n", what, others_stopped, others_exited);
    fflush(stdout);
}

/* ---- seize, interrupt, stop ---- */

static void spins(void)
{
    shared[0] = 1;
    while (!shared[1]) {
        shared[2]++;
    }
    _exit(41);
}

static void seized(void)
{
    int status;
    shared[0] = shared[1] = 0;
    pid_t pid = fork();
    if (pid == 0) {
        spins();
    }
    while (!shared[0]) {
        sched_yield();
    }
    CHECK(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL) == 0);
    CHECK(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
    status = wait_for(pid);
    printf("interrupted: %x\n", status);
    struct user_regs_struct r = regs_of(pid);
    CHECK(r.rip >= (unsigned long)spins && r.rip < (unsigned long)spins + 256);
    int before = shared[2];
    usleep(1000);
    CHECK(before == shared[2]);
    resume(PTRACE_CONT, pid, 0);
    kill(pid, SIGSTOP);
    status = wait_for(pid);
    printf("stop signal: %x\n", status);
    resume(PTRACE_CONT, pid, SIGSTOP);
    status = wait_for(pid);
    printf("group stop: %x\n", status);
    resume(PTRACE_LISTEN, pid, 0);
    kill(pid, SIGCONT);
    status = wait_for(pid);
    printf("continued: %x\n", status);
    resume(PTRACE_CONT, pid, 0);
    status = wait_for(pid);
    printf("then: %x\n", status);
    resume(PTRACE_CONT, pid, WIFSTOPPED(status) ? WSTOPSIG(status) : 0);
    shared[1] = 1;
    status = wait_for(pid);
    printf("seized: %d\n", WEXITSTATUS(status));
    fflush(stdout);
}

/* Attach to a process that sleeps in a call, look at it with waitid(WNOWAIT), let it go. */
static void sleeps(void)
{
    char c;
    int fds[2];
    CHECK(pipe(fds) == 0);
    struct sigaction sa = {.sa_handler = count};
    sigaction(SIGUSR1, &sa, NULL);
    shared[0] = 1;
    CHECK(read(fds[0], &c, 1) == -1 && errno == EINTR);
    _exit(handled == 1 ? 42 : 43);
}

static void attached(void)
{
    siginfo_t info;
    shared[0] = 0;
    pid_t pid = fork();
    if (pid == 0) {
        sleeps();
    }
    while (!shared[0]) {
        sched_yield();
    }
    CHECK(ptrace(PTRACE_ATTACH, pid, 0, 0) == 0);
    memset(&info, 0, sizeof(info));
    CHECK(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT) == 0);
    fflush(stdout);
    printf("waitid: code %d status %d\n", info.si_code, info.si_status);
    CHECK(wait_for(pid) >> 8 == SIGSTOP);
    CHECK(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0);
    wait_for(pid); /* the end of the call, or its new beginning: as the kernel chooses */
    CHECK(ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
    usleep(20000);
    /* Not lost, whether the call has begun again or not. */
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        kill(pid, SIGUSR1);
        usleep(20000);
    }
    printf("detached\n");
    fflush(stdout);
}

/* Data watchpoint. */
static volatile long watched;
static void writes(void)
{
    raise(SIGSTOP);
    watched = 5;
    _exit(0);
}

static void watchpoint(void)
{
    pid_t pid = traced_child(writes, 0);
    resume(PTRACE_CONT, pid, 0);
    CHECK(WSTOPSIG(wait_for(pid)) == SIGSTOP);
    if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), &watched) != 0 ||
        ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 0x90001) != 0) {
        printf("no debug registers here\n");
        finish("watch", pid, PTRACE_CONT);
        return;
    }
    resume(PTRACE_CONT, pid, 0);
    int status = wait_for(pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    errno = 0;
    printf("watched %ld, dr6 %lx\n", ptrace(PTRACE_PEEKDATA, pid, &watched, 0),
           ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[6]), 0) & 0xf);
    CHECK(errno == 0);
    struct user_regs_struct r = regs_of(pid);
    CHECK(r.rip >= (unsigned long)writes && r.rip < (unsigned long)writes + 200);
    finish("watch", pid, PTRACE_CONT);
}

int main(void)
{
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    fflush(stdout);
    system_calls();
    emulation();
    own_options();
    registers();
    breakpoints(0);
    breakpoints(1);
    steps();
    signals();
    step_into_handler();
    events("processes", makes_children);
    events("thread", makes_thread);
    events("exec", executes);
    seized();
    attached();
    watchpoint();
    return 0;
}
