/* SPDX-License-Identifier: BSD-2-Clause
 * sys_exec.c -- execve and its relatives: errors, arguments, descriptors, scripts, vfork children.
 * The same with --trace-children=yes.
 * guest: cflags=-Wno-nonnull -Wno-stringop-overread */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *program;
static char dir[] = "/tmp/guest_exec_XXXXXX";

/* What the executed program says about itself. */
static int say(int argc, char **argv, char **envp)
{
    printf("  argc %d:", argc);
    for (int i = 0; i < argc; i++) {
        printf(" <%s>", i == 0 && strcmp(argv[0], program) == 0 ? "PROGRAM" : argv[i]);
    }
    printf(" env:");
    for (char **e = envp; *e; e++) {
        printf(" %s", strncmp(*e, "GUEST", 5) == 0 ? *e : "");
    }
    const char *base = strrchr(program, '/');
    printf(" exe %s", base ? base + 1 : program);
    sigset_t blocked;
    struct sigaction sa;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    printf(" blocked %d", sigismember(&blocked, SIGUSR1));
    sigaction(SIGUSR2, NULL, &sa);
    printf(" ignored %d", sa.sa_handler == SIG_IGN);
    sigaction(SIGHUP, NULL, &sa);
    printf(" default %d", sa.sa_handler == SIG_DFL);
    int fds = 0;
    for (int fd = 3; fd < 1024; fd++) {
        fds += fcntl(fd, F_GETFD) >= 0;
    }
    printf(" fds %d\n", fds);
    fflush(stdout);
    return 7;
}

/* As /proc says; a memfd has no other name. */
static char *own_path(void)
{
    static char link[4096];
    ssize_t n = readlink("/proc/self/exe", link, sizeof(link) - 1);
    CHECK(n > 0);
    link[n] = 0;
    return link;
}

static int finish(pid_t pid)
{
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define IN_CHILD(what)                             \
    do {                                           \
        printf("%s\n", #what);                     \
        fflush(stdout);                            \
        pid_t pid_ = fork();                       \
        if (pid_ == 0) {                           \
            what;                                  \
            printf("  failed: errno %d\n", errno); \
            fflush(stdout);                        \
            _exit(1);                              \
        }                                          \
        printf("  status %d\n", finish(pid_));     \
    } while (0)

static void on_hup(int sig)
{
}

static char *const env[] = {"GUEST_E=1", NULL};
static char *const args[] = {"other name", "--say", "a b", "", NULL};
static char *const no_args[] = {NULL};

static void write_file(const char *name, const char *text, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(fchmod(fd, mode) == 0);
    close(fd);
}

static void errors(void)
{
    char *long_name = malloc(6000);
    memset(long_name, 'x', 5999);
    long_name[5999] = 0;
    static char big[200000];
    memset(big, 'y', sizeof(big) - 1);
    char *const big_args[] = {"x", big, NULL};
    char *const bad_args[] = {(char *)8, NULL};
    write_file("plain", "#!", 0600);
    write_file("text", "echo hello\n", 0700);
    write_file("empty", "", 0700);
    write_file("badinterp", "#!/nonexistent/interp\n", 0700);
    CHECK(symlink("loop", "loop") == 0);
#define ERROR(call)                                      \
    do {                                                 \
        errno = 0;                                       \
        long r_ = (call);                                \
        printf("%s: %ld, errno %d\n", #call, r_, errno); \
    } while (0)
    ERROR(execve("nonexistent", args, env));
    ERROR(execve("", args, env));
    ERROR(execve("plain/x", args, env));
    ERROR(execve("text", args, env));
    ERROR(execve("empty", args, env));
    ERROR(execve("badinterp", args, env));
    ERROR(execve("loop", args, env));
    ERROR(execve(".", args, env));
    ERROR(execve(long_name, args, env));
    ERROR(execve((char *)8, args, env));
    ERROR(execve(program, bad_args, env));
    ERROR(execve(program, (char **)8, env));
    ERROR(execve(program, big_args, env));
    ERROR(syscall(SYS_execveat, AT_FDCWD, "nonexistent", args, env, 0));
    ERROR(syscall(SYS_execveat, 77, "x", args, env, 0));
    ERROR(syscall(SYS_execveat, 77, "", args, env, AT_EMPTY_PATH));
    ERROR(syscall(SYS_execveat, AT_FDCWD, program, args, env, 0x10));
    ERROR(syscall(SYS_execveat, AT_FDCWD, "loop", args, env, AT_SYMLINK_NOFOLLOW));
    CHECK(symlink("/bin/true", "link") == 0);
    ERROR(syscall(SYS_execveat, AT_FDCWD, "link", args, env, AT_SYMLINK_NOFOLLOW));
    unlink("link");
    unlink("loop");
    free(long_name);
    if (geteuid() != 0) {
        CHECK(execve("plain", args, env) == -1 && errno == EACCES);
    }
}

static int exec_in_vfork(const char *path, char *const argv[])
{
    volatile int error = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        execve(path, argv, env);
        error = errno;
        _exit(9);
    }
    int status = finish(pid);
    return error ? -error : status;
}

static int copy_to_memfd(unsigned flags)
{
    int in = open(program, O_RDONLY | O_CLOEXEC), fd = memfd_create("exec", flags);
    static char buf[65536];
    ssize_t n;
    CHECK(in >= 0 && fd >= 0);
    while ((n = read(in, buf, sizeof(buf))) > 0) {
        CHECK(write(fd, buf, n) == n);
    }
    close(in);
    return fd;
}

int main(int argc, char **argv, char **envp)
{
    program = own_path();
    if (argc != 1 || !*argv[0]) {
        return say(argc, argv, envp);
    }
    syscall(SYS_close_range, 3, ~0u, 0);
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    errors();

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGHUP, on_hup);
    CHECK(open("/dev/null", O_RDONLY) >= 0 && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);

    IN_CHILD(execve(program, args, env));
    IN_CHILD(execve("/proc/self/exe", args, env));
    IN_CHILD(execve(program, no_args, env));
    IN_CHILD(execve(program, args, NULL));
    IN_CHILD(fexecve(open(program, O_RDONLY | O_CLOEXEC), args, env));
    IN_CHILD(syscall(SYS_execveat, open("/", O_RDONLY | O_CLOEXEC), program + 1, args, env, 0));
    IN_CHILD(fexecve(copy_to_memfd(MFD_CLOEXEC), args, env));
    CHECK(symlink(program, "-link") == 0);
    IN_CHILD(execve("-link", args, env));

    char script[5000];
    snprintf(script, sizeof(script), "#!%s opt\n", program);
    write_file("script", script, 0700);
    IN_CHILD(execve("script", args, env));
    int closed = open("script", O_RDONLY | O_CLOEXEC), here = open(".", O_RDONLY | O_CLOEXEC);
    ERROR(syscall(SYS_execveat, closed, "", args, env, AT_EMPTY_PATH));
    ERROR(syscall(SYS_execveat, here, "script", args, env, 0));
    close(closed);
    close(here);
    here = open(".", O_RDONLY);
    IN_CHILD(syscall(SYS_execveat, here, "script", args, env, 0));
    write_file("unlinked", script, 0700);
    closed = open("unlinked", O_RDONLY);
    unlink("unlinked");
    IN_CHILD(syscall(SYS_execveat, closed, "", args, env, AT_EMPTY_PATH));
    close(closed);
    close(here);
    write_file("script2", "#!./script\n", 0700);
    IN_CHILD(execve("./script2", args, env));

    printf("vfork: %d\n", exec_in_vfork(program, args));
    printf("vfork, error: %d\n", exec_in_vfork("/nonexistent", args));
    for (int i = 0; i < 5; i++) {
        CHECK(exec_in_vfork("/nonexistent/x", args) == -ENOENT);
    }
    pid_t pid;
    CHECK(posix_spawn(&pid, program, NULL, NULL, args, env) == 0);
    printf("posix_spawn: %d\n", finish(pid));
    CHECK(posix_spawn(&pid, "/nonexistent", NULL, NULL, args, env) == ENOENT);
    fflush(stdout);
    unsetenv("GUEST_E");
    printf("system: %d\n", WEXITSTATUS(system("exit 3")));

    for (const char *const *f = (const char *const[]){"plain", "text", "empty", "badinterp",
                                                      "-link", "script", "script2", NULL};
         *f; f++) {
        unlink(*f);
    }
    CHECK(chdir("/") == 0 && rmdir(dir) == 0);
    return 0;
}
