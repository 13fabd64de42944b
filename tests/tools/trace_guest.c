/* SPDX-License-Identifier: BSD-2-Clause
 * trace_guest.c -- dies in the way that its argument names, for tests/backtrace.py, which finds the
 * lines that it expects by the marks (at-sign and word) in comments. */
#include <alloca.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
/* Behind a call: it is not the last thing in its function, so not a jump. */
#define STAY __asm__ volatile("")

static int *volatile null_pointer;

NOINLINE static void crash(void)
{
    *null_pointer = 1; /* @crash */
    STAY;
}

NOINLINE static void outer(int depth)
{
    if (depth > 0) {
        outer(depth - 1); /* @deeper */
        STAY;
        return;
    }
    crash(); /* @outer */
    STAY;
}

static inline __attribute__((always_inline)) void inner_inlined(void)
{
    *null_pointer = 2; /* @inner_inlined */
}

static inline __attribute__((always_inline)) void outer_inlined(void)
{
    inner_inlined(); /* @outer_inlined */
}

NOINLINE static void inlining(void)
{
    outer_inlined(); /* @inlining */
    STAY;
}

static int compare(const void *a, const void *b)
{
    crash(); /* @compare */
    STAY;
    return *(const int *)a - *(const int *)b;
}

NOINLINE static void sorts(void)
{
    int v[] = {3, 1, 2};
    qsort(v, 3, sizeof(v[0]), compare); /* @sorts */
    STAY;
}

static void on_trap(int sig)
{
    (void)sig;
    crash(); /* @on_trap */
    STAY;
}

NOINLINE static void trapped(void)
{
    __asm__ volatile("nop\n\tud2"); /* @trapped */
    STAY;
}

NOINLINE static void with_handler(int flags)
{
    struct sigaction sa = {.sa_handler = on_trap, .sa_flags = flags};
    stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&ss, NULL);
    sigaction(SIGILL, &sa, NULL);
    trapped(); /* @with_handler */
    STAY;
}

static void *in_thread(void *arg)
{
    crash(); /* @in_thread */
    STAY;
    return arg;
}

NOINLINE static int endless(volatile int *p)
{
    volatile int room[1024];
    room[0] = *p + 1;                               /* @endless_touch */
    return endless((volatile int *)room) + room[1]; /* @endless_call */
}

/* A frame whose place is known by an expression: aligned, and of a size known at run time. */
NOINLINE static void aligned(size_t n)
{
    _Alignas(64) volatile char room[64];
    volatile char *more = alloca(n);
    room[0] = more[0] = 1;
    crash(); /* @aligned */
    more[1] = room[0];
}

NOINLINE static __attribute__((noreturn)) void never_returns(void)
{
    crash(); /* @never_returns */
    _exit(0);
}

/* The call is its last instruction: the return address belongs to what follows. */
NOINLINE static void ends_in_call(void)
{
    never_returns(); /* @ends_in_call */
}

static void *code_page(const void *code, size_t size)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0);
    return p == MAP_FAILED ? NULL : memcpy(p, code, size);
}

NOINLINE static void generated(void)
{
    /* push %rbp; mov %rsp, %rbp; call *%rdi; pop %rbp; ret */
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
    void (*f)(void (*)(void)) = (void (*)(void (*)(void)))code_page(code, sizeof(code));
    f(crash); /* @generated */
    STAY;
}

NOINLINE static void generated_leaf(void)
{
    /* xor %eax, %eax; mov %eax, (%rax); ret */
    static const unsigned char code[] = {0x31, 0xc0, 0x89, 0x00, 0xc3};
    ((void (*)(void))code_page(code, sizeof(code)))(); /* @generated_leaf */
    STAY;
}

NOINLINE static void calls(void *f)
{
    ((void (*)(void))f)(); /* @calls */
    STAY;
}

/* Without any table: frames that lead from one to the other and back. */
NOINLINE static void circle(void)
{
    /* mov %rsp, %rbp; push %rbp; mov %rsp, %rbp; xor %eax, %eax; mov (%rax), %eax */
    static const unsigned char code[] = {0x48, 0x89, 0xe5, 0x55, 0x48, 0x89,
                                         0xe5, 0x31, 0xc0, 0x8b, 0x00};
    calls(code_page(code, sizeof(code)));
}

static void lose_stack(uint64_t rsp, uint64_t rbp)
{
    __asm__ volatile("mov %0, %%rsp; mov %1, %%rbp; ud2" ::"r"(rsp), "r"(rbp));
}

/* From now on what opens files or starts processes ends this one. */
static void forbid(void)
{
    static const int bad[] = {SYS_open,  SYS_openat, SYS_clone,  SYS_clone3, SYS_fork,
                              SYS_vfork, SYS_execve, SYS_pipe2,  SYS_pipe,   SYS_readlink,
                              SYS_prctl, SYS_wait4,  SYS_seccomp};
    enum { N = sizeof(bad) / sizeof(bad[0]) };
    struct sock_filter f[N + 3];
    f[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                        offsetof(struct seccomp_data, nr));
    for (int i = 0; i < N; i++) {
        f[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)bad[i],
                                                (unsigned char)(N - i), 0);
    }
    f[N + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    f[N + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog p = {.len = N + 3, .filter = f};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p, 0, 0) != 0) {
        crash(); /* a kernel without it: nothing to be tested */
    }
}

static void limit(int what, rlim_t n)
{
    struct rlimit lim = {n, n};
    setrlimit(what, &lim);
}

/* No descriptor is free, and the limit is below what is in use. */
static void use_up_descriptors(void)
{
    limit(RLIMIT_NOFILE, 64);
    while (dup(2) >= 0) {
    }
    limit(RLIMIT_NOFILE, 3);
}

static volatile sig_atomic_t children_signals;

static void on_child(int sig)
{
    children_signals += sig == SIGCHLD;
    if (write(2, "SIGCHLD\n", 8) < 0) {
        _exit(1);
    }
}

static void *in_wait(void *arg)
{
    /* A child that runs on: nothing but the runtime's own could end. */
    if (waitpid(-1, NULL, 0) > 0 && write(2, "a child\n", 8) < 0) {
        _exit(1);
    }
    return arg;
}

/* Another thread would see a child, or its end. */
static void watched(void)
{
    pthread_t t;
    int fds[2];
    signal(SIGCHLD, on_child);
    if (pipe(fds) != 0) {
        return;
    }
    if (fork() == 0) {
        char c;
        close(fds[1]);
        _exit(read(fds[0], &c, 1) != 0); /* ends after its parent */
    }
    pthread_create(&t, NULL, in_wait, NULL);
    crash();
}

static void *counting(void *arg)
{
    volatile uint64_t *n = arg;
    for (;;) {
        ++*n;
    }
    return NULL;
}

/* Another thread counts in a file as long as it runs. */
static void counted(const char *path)
{
    int fd = open(path, O_RDWR);
    volatile uint64_t *n = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pthread_t t;
    pthread_create(&t, NULL, counting, (void *)n);
    while (*n < 1000) {
        usleep(1000);
    }
    crash();
}

/* As Rust names functions. */
NOINLINE static void rust_legacy(void) __asm__("_ZN4core3fmt5write17h0123456789abcdefE");
NOINLINE static void rust_v0(void) __asm__("_RNvCs1234_7mycrate3foo");

static void rust_legacy(void)
{
    crash(); /* @rust_legacy */
    STAY;
}

static void rust_v0(void)
{
    rust_legacy(); /* @rust_v0 */
    STAY;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    pthread_t t;
    int x = argc;
    if (strcmp(how, "plain") == 0) {
        outer(1); /* @main_plain */
    } else if (strcmp(how, "inlined") == 0) {
        inlining(); /* @main_inlined */
    } else if (strcmp(how, "qsort") == 0) {
        sorts(); /* @main_qsort */
    } else if (strcmp(how, "handler") == 0) {
        with_handler(0); /* @main_handler */
    } else if (strcmp(how, "altstack") == 0) {
        with_handler(SA_ONSTACK); /* @main_altstack */
    } else if (strcmp(how, "assert") == 0) {
        assert(!how); /* @main_assert */
    } else if (strcmp(how, "thread") == 0) {
        pthread_create(&t, NULL, in_thread, NULL);
        pthread_join(t, NULL);
    } else if (strcmp(how, "zero") == 0) {
        calls(NULL); /* @main_zero */
    } else if (strcmp(how, "data") == 0) {
        calls((void *)&null_pointer); /* @main_data */
    } else if (strcmp(how, "endless") == 0) {
        return endless(&x);
    } else if (strcmp(how, "aligned") == 0) {
        aligned((size_t)argc * 100); /* @main_aligned */
    } else if (strcmp(how, "noreturn") == 0) {
        ends_in_call(); /* @main_noreturn */
    } else if (strcmp(how, "generated") == 0) {
        generated(); /* @main_generated */
    } else if (strcmp(how, "generated_leaf") == 0) {
        generated_leaf(); /* @main_generated_leaf */
    } else if (strcmp(how, "rust") == 0) {
        rust_v0(); /* @main_rust */
    } else if (strcmp(how, "unlinked") == 0) {
        unlink(argv[0]);
        crash();
    } else if (strcmp(how, "counted") == 0) {
        counted(argv[2]);
    } else if (strcmp(how, "circle") == 0) {
        circle();
    } else if (strcmp(how, "lost") == 0) {
        lose_stack(0x123456789abcdef0, 8);
    } else if (strcmp(how, "lost_high") == 0) {
        lose_stack(-16ul, -16ul);
    } else if (strcmp(how, "filter") == 0) {
        forbid();
        crash();
    } else if (strcmp(how, "descriptors") == 0) {
        use_up_descriptors();
        crash();
    } else if (strcmp(how, "closed") == 0) {
        close(0);
        close(1);
        crash();
    } else if (strcmp(how, "memory") == 0) {
        limit(RLIMIT_AS, 64ul << 20);
        crash();
    } else if (strcmp(how, "processes") == 0) {
        limit(RLIMIT_NPROC, 0);
        crash();
    } else if (strcmp(how, "watched") == 0) {
        watched();
    } else if (strcmp(how, "vfork") == 0) {
        int status;
        pid_t pid = vfork();
        if (pid == 0) {
            crash();
        }
        return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) ? WTERMSIG(status) : 1;
    }
    STAY;
    return 0;
}
