/* SPDX-License-Identifier: BSD-2-Clause
 * probe_guest.c -- does things whose events are known, and writes to stdout which they must be, in
 * order; "none" lines must not come. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define P(x) ((unsigned long)(x))

static char text[1 << 16];
static size_t used;

#define WANT(...) (used += (size_t)snprintf(text + used, sizeof(text) - used, __VA_ARGS__))

static void check(int ok)
{
    if (!ok) {
        _exit(3);
    }
}

static void mappings(void)
{
    char *a = mmap(NULL, 0x5000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *b;

    WANT("map %lx 5000 3\n", P(a));
    check(mprotect(a + 0x1000, 0x1000, PROT_READ) == 0);
    WANT("protect %lx 1000 1\n", P(a + 0x1000));
    check(madvise(a, 0x1000, MADV_DONTNEED) == 0);
    WANT("map %lx 1000 3\n", P(a));
    b = mremap(a + 0x2000, 0x2000, 0x300000, MREMAP_MAYMOVE);
    check(b != MAP_FAILED && b != a + 0x2000);
    WANT("map %lx 300000 3\nmoved %lx %lx 2000\nunmap %lx 2000\n", P(b), P(a + 0x2000), P(b),
         P(a + 0x2000));
    check(munmap(a, 0x2000) == 0);
    WANT("unmap %lx 1000\nunmap %lx 1000\n", P(a), P(a + 0x1000));
    check(munmap(b, 0x300000) == 0);
    WANT("unmap %lx 300000\n", P(b));
    a = sbrk(0);
    check(sbrk(0x10000) == a);
    WANT("pre brk 1 %lx\n", P(a) + 0x10000);
}

static void handler(int sig)
{
}

static void signals(void)
{
    struct sigaction sa = {.sa_handler = handler};
    struct timespec ts = {0, 1};

    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    WANT("signal %d %lx 1\nsignal_return\n", SIGUSR1, P(handler));
    nanosleep(&ts, NULL);
    check(*(volatile int *)&ts.tv_sec == 0);
}

static void files(void)
{
    static char buf[100], big[1000];
    struct iovec v[2] = {{buf, 10}, {big, 1000}};
    struct stat st;
    char name[] = "/proc/self/comm";
    int p[2], fd = open(name, O_RDONLY);
    struct pollfd pf;
    long n;

    WANT("reads openat %lx 10\npost openat %d\n", P(name), fd);
    n = read(fd, buf, 100);
    WANT("pre read 1 %x\nwrites read %lx %lx\npost read %ld\n", (unsigned)fd, P(buf), n, n);
    check(fstat(fd, &st) == 0);
    check(syscall(SYS_pipe, p) == 0);
    WANT("writes pipe %lx 8\n", P(p));
    check(write(p[1], "0123456789abcdef", 16) == 16);
    WANT("post write 16\n");
    check(readv(p[0], v, 2) == 16);
    WANT("reads readv %lx 20\nwrites readv %lx a\nwrites readv %lx 6\n", P(v), P(buf), P(big));
    check(writev(p[1], v, 1) == 10);
    WANT("reads writev %lx 10\nreads writev %lx a\n", P(v), P(buf));
    pf = (struct pollfd){.fd = p[0], .events = POLLIN};
    check(poll(&pf, 1, 0) == 1);
    WANT("reads poll %lx 8\nwrites poll %lx 8\n", P(&pf), P(&pf));
    check(ioctl(p[0], FIONREAD, &n) == 0);
    WANT("pre ioctl 0 %x\n", (unsigned)p[0]);
    check(read(-1, buf, 10) == -1);
    WANT("post read -9\n");
    check(syscall(SYS_clock_gettime, CLOCK_REALTIME, big) == 0);
    WANT("writes clock_gettime %lx 10\n", P(big));
}

static void sockets(void)
{
    static char buf[64], ctl[64];
    struct iovec v = {buf, 5};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    int s[2];

    check(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
    WANT("writes socketpair %lx 8\n", P(s));
    check(sendmsg(s[0], &m, 0) == 5);
    WANT("reads sendmsg %lx 38\nreads sendmsg %lx 10\nreads sendmsg %lx 5\n", P(&m), P(&v), P(buf));
    v.iov_len = 64;
    m.msg_control = ctl;
    m.msg_controllen = 64;
    check(recvmsg(s[1], &m, 0) == 5);
    WANT("reads recvmsg %lx 38\nreads recvmsg %lx 10\nwrites recvmsg %lx 5\n", P(&m), P(&v),
         P(buf));
    check(send(s[0], buf, 7, 0) == 7);
    WANT("reads sendto %lx 7\n", P(buf));
    check(recv(s[1], buf, 64, 0) == 7);
    WANT("writes recvfrom %lx 7\n", P(buf));
}

static void *thread(void *arg)
{
    return NULL;
}

static int sharing_child(void *arg)
{
    *(volatile int *)arg += 5;
    return 0;
}

/* A process in the same memory that is not waited for by the call. */
static void sharing_process(void)
{
    static char stack[65536];
    int word = 2, status;
    pid_t pid = clone(sharing_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, &word);

    check(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && word == 7);
    WANT("thread_start\nwrites wait4 %lx 4\n", P(&status));
}

static void processes(void)
{
    char *argv[] = {(char *)"x", NULL};
    pthread_t t;
    int word = 1, status;
    pid_t pid;

    check(pthread_create(&t, NULL, thread, NULL) == 0);
    pthread_join(t, NULL);
    WANT("thread_start\nthread_end\n");
    check(syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL) == -1 && errno == EAGAIN);
    WANT("reads futex %lx 4\npost futex -11\n", P(&word));
    check(execv("/does-not-exist", argv) == -1);
    WANT("exec\nexec_failed\npost execve -2\n");
    pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    check(waitpid(pid, &status, 0) == pid && status == 0);
    WANT("fork_child\nexec\nwrites wait4 %lx 4\npost wait4 %d\n", P(&status), pid);
    sharing_process();
}

long replace_me(long a, long b);
__asm__(".text\n.globl replace_me\n.type replace_me, @function\nreplace_me: jmp behind\n"
        ".size replace_me, .-replace_me\nbehind: mov $1000505, %eax\n ret\n");

static long not_chosen(long a, long b)
{
    return 0;
}

__attribute__((used)) static long (*resolve_chosen(void))(long, long)
{
    return not_chosen;
}

long chosen(long a, long b) __attribute__((ifunc("resolve_chosen")));

__attribute__((noipa)) static long local_one(long a, long b)
{
    return 0;
}

void *old_memcpy(void *to, const void *from, size_t n);
__asm__(".symver old_memcpy, memcpy@GLIBC_2.2.5");

/* memcpy and memmove are IFUNCs that share an implementation: one is replaced, of the other an old
 * version only. */
static void ifuncs(void)
{
    static char to[5000], from[5000];
    void *(*volatile move)(void *, const void *, size_t) = memmove;
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    void *(*volatile old)(void *, const void *, size_t) = old_memcpy;
    long (*volatile other)(long, long) = chosen;
    Dl_info info;

    check(chosen(1, 2) == 108 && other(3, 2) == 308);
    WANT("replaced 1 2\nreplaced 3 2\n");
    check(local_one(7, 1) == 708);
    WANT("replaced 7 1\n");
    from[4320] = 'x';
    check(move(to, from, 4321) == to + 1 && to[4320] == 0);
    WANT("memmove 1\n");
    check(old(to, from, 4321) == to + 1 && to[4320] == 0);
    WANT("memmove 2\n");
    check(copy(to, from, 4321) == to && to[4320] == 'x');
    check(dlsym(RTLD_DEFAULT, "memmove") == (void *)move);
    check(dladdr((void *)move, &info) != 0 && strcmp(info.dli_sname, "memmove") == 0);
}

static void functions(void)
{
    long (*volatile p)(long, long) = replace_me;
    long (*volatile q)(long) = labs;

    check(replace_me(3, 4) == 309 || replace_me(3, 4) == 1000505);
    WANT("replaced 3 4\n");
    check(p(5, 6) == 511 || p(5, 6) == 1000505);
    WANT("replaced 5 6\n");
    q(77);
    WANT("replaced 77 \n");
}

int main(void)
{
    functions();
    ifuncs();
    mappings();
    signals();
    files();
    sockets();
    processes();
    check(write(1, text, used) == (ssize_t)used);
    return 0;
}
