/* SPDX-License-Identifier: BSD-2-Clause
 * sig_child.c -- SIGCHLD, stopping and continuing children, default actions by wait status.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t chld;
static siginfo_t got;

static void handler(int sig, siginfo_t *info, void *uc)
{
    got = *info;
    chld++;
}

static void set_chld(int flags)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    CHECK(sigaction(SIGCHLD, &sa, NULL) == 0);
    chld = 0;
}

static void wait_chld(int n)
{
    while (chld < n) {
        usleep(500);
    }
}

static pid_t start(void (*f)(int), int arg)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0); /* an orphaned process group would ignore SIGTSTP */
        setrlimit(RLIMIT_CORE, &none);
        f(arg);
        _exit(0);
    }
    CHECK(pid > 0);
    setpgid(pid, pid);
    return pid;
}

static void show(const char *what, int status)
{
    printf("%s: ", what);
    if (WIFEXITED(status)) {
        printf("exit %d\n", WEXITSTATUS(status));
    } else if (WIFSIGNALED(status)) {
        printf("killed %d\n", WTERMSIG(status));
    } else if (WIFSTOPPED(status)) {
        printf("stopped %d\n", WSTOPSIG(status));
    } else {
        printf("continued %d\n", WIFCONTINUED(status));
    }
}

static void do_exit(int code)
{
    _exit(code);
}

static void do_raise(int sig)
{
    raise(sig);
    _exit(77);
}

static void do_loop(int arg)
{
    for (volatile long i = 0;; i++) {
    }
}

static void do_sleep(int arg)
{
    for (;;) {
        pause();
    }
}

static void do_raise_masked(int sig)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    raise(sig);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    _exit(77);
}

static void do_fault(int how)
{
    sigset_t all;
    volatile int zero = 0;
    if (how & 16) {
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
    }
    if (how & 32) {
        for (int s = 1; s < 32; s++) {
            signal(s, SIG_IGN);
        }
    }
    switch (how & 7) {
    case 0: *(volatile int *)(uintptr_t)zero = 1; break;
    case 1: __asm__ volatile("xor %%ecx, %%ecx; div %%ecx" : : : "eax", "ecx", "edx"); break;
    case 2: __asm__ volatile("ud2"); break;
    case 3: __asm__ volatile("int3"); break;
    case 4: abort();
    }
}

static void test_sigchld(void)
{
    int status;
    set_chld(0);
    pid_t pid = start(do_exit, 42);
    wait_chld(1);
    printf("SIGCHLD: code %d status %d pid %d\n", got.si_code, got.si_status, got.si_pid == pid);
    CHECK(waitpid(pid, &status, 0) == pid);
    show("exit", status);
    pid = start(do_raise, SIGTERM);
    wait_chld(2);
    printf("SIGCHLD: code %d status %d\n", got.si_code, got.si_status);
    CHECK(waitpid(pid, &status, 0) == pid);
    show("raise", status);
    set_chld(SA_NOCLDWAIT);
    pid = start(do_exit, 0);
    wait_chld(1);
    CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
    signal(SIGCHLD, SIG_IGN);
    pid = start(do_exit, 0);
    CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
    printf("no zombies with SA_NOCLDWAIT and SIG_IGN\n");
    signal(SIGCHLD, SIG_DFL);
}

static void test_stop(void (*f)(int), const char *name)
{
    int status;
    set_chld(0);
    pid_t pid = start(f, 0);
    usleep(20000);
    for (int i = 0; i < 3; i++) {
        const int sigs[] = {SIGSTOP, SIGTSTP, SIGTTIN};
        kill(pid, sigs[i]);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid);
        show(name, status);
        wait_chld(2 * i + 1);
        /* not the status: waitpid may have taken it before the kernel puts it into the signal */
        printf("SIGCHLD: code %d\n", got.si_code);
        kill(pid, SIGCONT);
        CHECK(waitpid(pid, &status, WCONTINUED) == pid);
        show(name, status);
        wait_chld(2 * i + 2);
        printf("SIGCHLD: code %d status %d\n", got.si_code, got.si_status);
    }
    set_chld(SA_NOCLDSTOP);
    kill(pid, SIGSTOP);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid);
    printf("SA_NOCLDSTOP: %d\n", (int)chld);
    kill(pid, SIGTERM); /* waits for SIGCONT */
    CHECK(waitpid(pid, &status, WNOHANG) == 0);
    kill(pid, SIGCONT);
    CHECK(waitpid(pid, &status, 0) == pid);
    show(name, status);
    signal(SIGCHLD, SIG_DFL);
}

/* A handler for SIGTSTP and SIGCONT in the child. */
static int *shared;
static void note(int sig)
{
    shared[0] = shared[0] * 100 + sig;
    if (sig == SIGTSTP) {
        signal(SIGTSTP, SIG_DFL);
        raise(SIGTSTP);
    }
}

static void do_job(int arg)
{
    signal(SIGTSTP, note);
    signal(SIGCONT, note);
    shared[1] = 1;
    while (shared[0] < 100) {
        usleep(1000);
    }
}

static void test_job(void)
{
    int status;
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = start(do_job, 0);
    while (!__atomic_load_n(&shared[1], __ATOMIC_ACQUIRE)) {
        usleep(1000);
    }
    kill(pid, SIGTSTP);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid);
    show("job", status);
    kill(pid, SIGCONT);
    CHECK(waitpid(pid, &status, 0) == pid);
    show("job", status);
    printf("handlers %d\n", shared[0]);
}

int main(void)
{
    int status;
    test_sigchld();
    test_stop(do_loop, "loop");
    test_stop(do_sleep, "sleep");
    test_job();
    for (int sig = 1; sig <= 64; sig++) {
        if (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU || sig == 32 ||
            sig == 33) {
            continue;
        }
        printf("%d ", sig);
        pid_t pid = start(sig & 1 ? do_raise : do_raise_masked, sig);
        CHECK(waitpid(pid, &status, 0) == pid);
        show("raised", status);
    }
    for (int how = 0; how < 48; how++) {
        if ((how & 7) <= 4 && !(how & 8)) {
            pid_t pid = start(do_fault, how);
            CHECK(waitpid(pid, &status, 0) == pid);
            printf("%d ", how);
            show("fault", status);
        }
    }
    return 0;
}
