/* SPDX-License-Identifier: BSD-2-Clause
 * sig_stack.c -- alternate stacks, nested handlers, SA_NODEFER, SA_RESETHAND, SS_AUTODISARM; frames
 * that do not fit. */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static _Alignas(64) uint8_t alt[65536], alt2[65536];
static int depth;

static const char *where(const void *p)
{
    const uint8_t *b = p;
    if (b >= alt && b < alt + sizeof(alt)) {
        return "alt";
    }
    return b >= alt2 && b < alt2 + sizeof(alt2) ? "alt2" : "stack";
}

static void say_stack(const char *what)
{
    stack_t ss;
    int r = sigaltstack(NULL, &ss);
    printf("%s: %d %s flags %x size %zu, I am on %s\n", what, r, where(ss.ss_sp), ss.ss_flags,
           ss.ss_size, where(__builtin_frame_address(0)));
}

static void show(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("  handler %d depth %d on %s; uc_stack %s %x; blocked:", sig, depth,
           where(__builtin_frame_address(0)), where(uc->uc_stack.ss_sp), uc->uc_stack.ss_flags);
    for (int i = 1; i < 65; i++) {
        if (sigismember(&now, i)) {
            printf(" %d", i);
        }
    }
    printf("; saved:");
    for (int i = 1; i < 65; i++) {
        if (sigismember(&uc->uc_sigmask, i)) {
            printf(" %d", i);
        }
    }
    printf("\n");
    say_stack("  inside");
    if (depth++ < 2) {
        raise(sig == SIGUSR1 ? SIGUSR2 : SIGUSR1);
        if (sig == SIGUSR1 && depth < 3) {
            raise(SIGUSR1);
        }
    }
    printf("  handler %d ends\n", sig);
}

static void set(int sig, int flags, int masked)
{
    struct sigaction sa = {.sa_sigaction = show, .sa_flags = SA_SIGINFO | flags};
    sigemptyset(&sa.sa_mask);
    if (masked) {
        sigaddset(&sa.sa_mask, masked);
    }
    CHECK(sigaction(sig, &sa, NULL) == 0);
}

static void use(uint8_t *base, size_t size, unsigned flags)
{
    stack_t ss = {.ss_sp = base, .ss_size = size, .ss_flags = (int)flags};
    CHECK(sigaltstack(&ss, NULL) == 0);
}

static void change_inside(int sig)
{
    stack_t ss = {.ss_sp = alt2, .ss_size = sizeof(alt2)};
    int r = sigaltstack(&ss, NULL);
    printf("  sigaltstack on it: %d %d\n", r, r ? errno : 0);
    say_stack("  then");
}

static void test_errors(void)
{
    stack_t ss = {.ss_sp = alt, .ss_size = 2047}, old;
    printf("small: %d", sigaltstack(&ss, NULL));
    printf(" %d", errno);
    ss.ss_size = 2048;
    ss.ss_flags = 4;
    printf(", flags 4: %d", sigaltstack(&ss, NULL));
    printf(" %d", errno);
    printf(", bad pointer: %d", sigaltstack((void *)8, NULL));
    printf(" %d", errno);
    ss.ss_flags = SS_ONSTACK;
    printf(", SS_ONSTACK: %d", sigaltstack(&ss, &old));
    printf(", again: %d %s %x\n", sigaltstack(NULL, &old), where(old.ss_sp), old.ss_flags);
    ss.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&ss, NULL) == 0);
    say_stack("disabled");
}

/* Recursion until the stack's end; the handler runs on the alternate stack. */
static sigjmp_buf back;
static volatile int overflows;
static void overflow_handler(int sig, siginfo_t *info, void *uc)
{
    CHECK(!strcmp(where(__builtin_frame_address(0)), "alt"));
    overflows++;
    siglongjmp(back, 1);
}

static volatile int limit = 1 << 30;
static int recurse(volatile char *p)
{
    if (limit-- == 0) {
        return 0;
    }
    volatile char big[4096];
    big[0] = *p;
    return recurse(big) + big[0];
}

static void *overflow_thread(void *arg)
{
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
    char c = 0;
    say_stack("new thread");
    CHECK(sigaltstack(&ss, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        if (!sigsetjmp(back, 1)) {
            recurse(&c);
        }
    }
    return NULL;
}

static int status_of(void (*f)(void))
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        f();
        _exit(1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

/* No room for a frame: SIGSEGV instead, and if that has none either, death by it. */
static void tiny_altstack(void)
{
    set(SIGUSR1, SA_ONSTACK, 0);
    use(alt, 2048, 0);
    uint8_t *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t ss = {.ss_sp = hole, .ss_size = 4096};
    CHECK(sigaltstack(&ss, NULL) == 0);
    raise(SIGUSR1);
}

static void instead(int sig, siginfo_t *info, void *uc)
{
    printf("  instead: %d code %d addr %p\n", sig, info->si_code, info->si_addr);
    fflush(stdout);
    _exit(3);
}

static void handled_instead(void)
{
    struct sigaction sa = {.sa_sigaction = instead, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, NULL);
    tiny_altstack();
}

static void bad_sigreturn(void)
{
    struct sigaction sa = {.sa_sigaction = instead, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    use(alt, sizeof(alt), 0);
    sigaction(SIGSEGV, &sa, NULL);
    __asm__ volatile("mov $0x1000, %%rsp; mov $15, %%eax; syscall" : : : "memory");
}

int main(void)
{
    say_stack("start");
    test_errors();
    set(SIGUSR1, 0, 0);
    set(SIGUSR2, 0, 0);
    printf("nested, plain\n");
    raise(SIGUSR1);
    depth = 0;
    printf("on the alternate stack, SIGUSR1 blocks SIGUSR2\n");
    use(alt, sizeof(alt), 0);
    set(SIGUSR1, SA_ONSTACK, SIGUSR2);
    set(SIGUSR2, SA_ONSTACK, 0);
    raise(SIGUSR1);
    depth = 0;
    printf("SA_NODEFER\n");
    set(SIGUSR1, SA_ONSTACK | SA_NODEFER, 0);
    raise(SIGUSR1);
    depth = 2;
    printf("SS_AUTODISARM\n");
    use(alt, sizeof(alt), SS_AUTODISARM);
    say_stack("before");
    raise(SIGUSR1);
    say_stack("after");
    depth = 2;
    use(alt, sizeof(alt), 0);
    struct sigaction sa = {.sa_handler = change_inside, .sa_flags = SA_ONSTACK}, old;
    sigaction(SIGUSR2, &sa, NULL);
    raise(SIGUSR2);
    say_stack("after the change");
    printf("SA_RESETHAND\n");
    set(SIGUSR1, SA_RESETHAND, 0);
    raise(SIGUSR1);
    CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
    printf("now %d flags %x\n", old.sa_handler == SIG_DFL, old.sa_flags & ~0x4000000);
    struct sigaction so = {.sa_sigaction = overflow_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &so, NULL);
    pthread_t th;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * 1024);
    CHECK(pthread_create(&th, &attr, overflow_thread, NULL) == 0);
    pthread_join(th, NULL);
    printf("stack overflows handled: %d\n", overflows);
    signal(SIGSEGV, SIG_DFL);
    printf("no frame possible: %x\n", status_of(tiny_altstack));
    printf("no frame, SIGSEGV handler: %x\n", status_of(handled_instead));
    printf("bad sigreturn: %x\n", status_of(bad_sigreturn));
    return 0;
}
