/* SPDX-License-Identifier: BSD-2-Clause
 * sys_procself.c -- /proc/self describes this program, by every name that leads there.
 * guest: args=one two env=GUEST_A=1
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include "guest.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Whatever is allocated is allocated before the file is opened: it may describe the heap. */
static char *read_path(const char *path, size_t *len)
{
    size_t cap = 1 << 20, n = 0;
    char *buf = malloc(cap);
    CHECK(buf);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t r;
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    while ((r = read(fd, buf + n, cap - n - 1)) > 0) {
        n += r;
    }
    CHECK(r == 0);
    close(fd);
    buf[n] = 0;
    *len = n;
    return buf;
}

static void check_link(const char *path, const char *program)
{
    char link[4096];
    ssize_t n = readlink(path, link, sizeof(link) - 1);
    CHECK(n > 0);
    link[n] = 0;
    CHECK(strcmp(link, program) == 0);
    struct stat a, b;
    CHECK(stat(path, &a) == 0 && stat(program, &b) == 0);
    CHECK(a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size);
    CHECK(lstat(path, &a) == 0 && S_ISLNK(a.st_mode));
}

static bool is_same(const char *path, const char *program)
{
    struct stat a, b;
    return stat(path, &a) == 0 && stat(program, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* As tools for containers do, who then execute that: executed by check_exe_mounted(). */
static int mount_exe(const char *program, const char *place)
{
    char name[64];
    if (mount("/proc/self/exe", place, "", MS_BIND, "") != 0) {
        return 8;
    }
    CHECK(is_same(place, program));
    CHECK(umount2(place, MNT_DETACH) == 0);
    int tree = (int)syscall(428 /* open_tree */, -1, "/proc/self/exe", 0);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", tree);
    CHECK(tree >= 0 && is_same(name, program));
    return 7;
}

static void check_exe_mounted(const char *program)
{
    char place[] = "/tmp/mtvg-exe-XXXXXX", name[4096];
    int status, fd = mkstemp(place);
    CHECK(fd >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(name, sizeof(name), "0 %d 1", (int)geteuid());
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
            int map = open("/proc/self/uid_map",
                           O_WRONLY); /* as root, it keeps its rights at exec */
            CHECK(write(map, name, strlen(name)) > 0);
            execl(program, program, "mount", place, (char *)NULL);
        }
        _exit(9);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("mounted: %#x\n", status);
    CHECK(close(fd) == 0 && unlink(place) == 0);
    snprintf(name, sizeof(name), "%s.%d", program, getpid());
    int r = linkat(AT_FDCWD, "/proc/self/exe", AT_FDCWD, name, AT_SYMLINK_FOLLOW);
    CHECK(r == 0 ? is_same(name, program) && unlink(name) == 0 : errno != EXDEV);
}

/* What does not follow the link is about that one; what does, about the program. */
static void check_exe_as_link(const char *program)
{
    char name[4096], value[2] = "";
    struct stat a;
    snprintf(name, sizeof(name), "%s.%d", program, getpid());
    CHECK(linkat(AT_FDCWD, "/proc/self/exe", AT_FDCWD, name, 0) == -1 && errno == EXDEV);
    int tree = (int)syscall(428 /* open_tree */, -1, "/proc/self/exe", AT_SYMLINK_NOFOLLOW);
    CHECK(tree < 0 || (fstatat(tree, "", &a, AT_EMPTY_PATH) == 0 && S_ISLNK(a.st_mode)));
    close(tree);
    if (setxattr(program, "user.guest", "1", 1, 0) == 0) {
        CHECK(getxattr("/proc/self/exe", "user.guest", value, sizeof(value)) == 1);
        CHECK(removexattr(program, "user.guest") == 0);
    }
}

static void check_exe(const char *program)
{
    char path[64], link[8];
    check_link("/proc/self/exe", program);
    check_link("/proc/thread-self/exe", program);
    check_link("/proc//self/./exe", program);
    snprintf(path, sizeof(path), "/proc/%d/exe", getpid());
    check_link(path, program);
    snprintf(path, sizeof(path), "/proc/self/task/%d/exe", getpid());
    check_link(path, program);

    CHECK(readlink("/proc/self/exe", link, 4) == 4 && memcmp(link, program, 4) == 0);
    CHECK(readlink("/proc/self/exe", link, 0) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_readlink, "/proc/self/exe", 8, 64) == -1 && errno == EFAULT);
    CHECK(open("/proc/self/exe", O_RDONLY | O_NOFOLLOW) == -1 && errno == ELOOP);
    CHECK(open("/proc/self/exe", O_RDONLY | O_DIRECTORY) == -1 && errno == ENOTDIR);
    int itself = open("/proc/self/exe", O_PATH | O_NOFOLLOW);
    char target[4096];
    ssize_t len = readlinkat(itself, "", target, sizeof(target));
    CHECK(len == (ssize_t)strlen(program) && memcmp(target, program, (size_t)len) == 0);
    close(itself);

    int dir = open("/proc/self", O_RDONLY | O_DIRECTORY);
    CHECK(dir >= 0);
    struct stat a, b;
    CHECK(stat(program, &b) == 0);
    CHECK(fstatat(dir, "exe", &a, 0) == 0 && a.st_ino == b.st_ino);
    char full[4096];
    ssize_t n = readlinkat(dir, "exe", full, sizeof(full));
    CHECK(n == (ssize_t)strlen(program) && memcmp(full, program, n) == 0);
    struct open_how how = {.flags = O_RDONLY};
    int fd = syscall(SYS_openat2, dir, "exe", &how, sizeof(how));
    CHECK(fd == dir + 1 && fstat(fd, &a) == 0 && a.st_ino == b.st_ino);
    how.resolve = RESOLVE_NO_SYMLINKS;
    CHECK(syscall(SYS_openat2, dir, "exe", &how, sizeof(how)) == -1 && errno == ELOOP);
    Elf64_Ehdr ehdr;
    CHECK(read(fd, &ehdr, sizeof(ehdr)) == sizeof(ehdr) && memcmp(ehdr.e_ident, ELFMAG, 4) == 0);
    close(fd);
    close(dir);
    check_exe_as_link(program);
    printf("exe: good\n");
}

/* ---- maps ---- */

typedef struct Map {
    unsigned long start, end, offset, inode;
    char perms[5];
    char name[4096];
} Map;

static int parse_maps(const char *text, Map *maps, int max)
{
    int n = 0;
    unsigned long last = 0;
    while (*text && n < max) {
        Map *m = &maps[n];
        unsigned dev1, dev2;
        int at = 0;
        CHECK(sscanf(text, "%lx-%lx %4s %lx %x:%x %lu%n", &m->start, &m->end, m->perms, &m->offset,
                     &dev1, &dev2, &m->inode, &at) == 7);
        const char *nl = strchr(text, '\n');
        CHECK(nl);
        CHECK(m->start >= last && m->end > m->start);
        last = m->end;
        text += at;
        text += strspn(text, " ");
        snprintf(m->name, sizeof(m->name), "%.*s", (int)(nl - text), text);
        CHECK(!strstr(m->name, "mtvg"));
        text = nl + 1;
        n++;
    }
    return n;
}

static const Map *find_map(const Map *maps, int n, const void *addr)
{
    for (int i = 0; i < n; i++) {
        if ((unsigned long)addr >= maps[i].start && (unsigned long)addr < maps[i].end) {
            return &maps[i];
        }
    }
    return NULL;
}

static void check_maps(const char *path, const char *program)
{
    static Map maps[512];
    size_t len;
    char on_stack;
    char *area = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED);
    CHECK(mprotect(area + 4096, 4096, PROT_READ) == 0);
    CHECK(munmap(area + 3 * 4096, 4096) == 0);

    char *text = read_path(path, &len);
    int n = parse_maps(text, maps, 512);
    const Map *m = find_map(maps, n, &on_stack);
    CHECK(m && strcmp(m->name, "[stack]") == 0 && m->perms[0] == 'r' && m->perms[1] == 'w');
    m = find_map(maps, n, (void *)(uintptr_t)check_maps);
    CHECK(m && strcmp(m->name, program) == 0 && strcmp(m->perms, "r-xp") == 0);
    struct stat st;
    CHECK(stat(program, &st) == 0 && m->inode == st.st_ino);
    static int in_data = 1;
    m = find_map(maps, n, &in_data);
    CHECK(m && strcmp(m->perms, "rw-p") == 0);
    m = find_map(maps, n, (char *)sbrk(0) - 1);
    CHECK(m && strcmp(m->name, "[heap]") == 0 && m->end == (unsigned long)sbrk(0));
    m = find_map(maps, n, area);
    CHECK(m && m->end == (unsigned long)area + 4096 && strcmp(m->perms, "rw-p") == 0);
    m = find_map(maps, n, area + 4096);
    CHECK(m && m->start == (unsigned long)area + 4096 && strcmp(m->perms, "r--p") == 0);
    CHECK(m->end == m->start + 4096);
    CHECK(!find_map(maps, n, area + 3 * 4096));
    CHECK(find_map(maps, n, area + 4 * 4096));
    int stacks = 0, heaps = 0;
    for (int i = 0; i < n; i++) {
        stacks += strcmp(maps[i].name, "[stack]") == 0;
        heaps += strcmp(maps[i].name, "[heap]") == 0;
    }
    CHECK(stacks == 1 && heaps == 1);
    munmap(area, 5 * 4096);
    free(text);
}

static void check_smaps(const char *program)
{
    size_t len;
    char *text = read_path("/proc/self/smaps", &len);
    CHECK(strstr(text, program) && strstr(text, "[stack]") && strstr(text, "\nVmFlags: "));
    CHECK(!strstr(text, "mtvg"));
    int headers = 0, sizes = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        headers += (line[0] >= '0' && line[0] <= '9') || (line[0] >= 'a' && line[0] <= 'f');
        sizes += strncmp(line, "Size:", 5) == 0;
    }
    CHECK(headers > 3 && headers == sizes);
    free(text);
}

/* ---- the rest ---- */

static void check_vectors(int argc, char **argv, char **envp)
{
    size_t len;
    char *text = read_path("/proc/self/cmdline", &len), *p = text;
    for (int i = 0; i < argc; i++) {
        CHECK(strcmp(p, argv[i]) == 0);
        p += strlen(p) + 1;
    }
    CHECK(p == text + len);
    free(text);

    text = read_path("/proc/self/environ", &len), p = text;
    int vars = 0;
    for (; envp[vars]; vars++) {
        CHECK(strcmp(p, envp[vars]) == 0);
        p += strlen(p) + 1;
    }
    CHECK(p == text + len);
    free(text);

    text = read_path("/proc/self/auxv", &len);
    const unsigned long *initial = (const unsigned long *)(envp + vars + 1);
    size_t pairs = 1;
    while (initial[2 * (pairs - 1)] != AT_NULL) {
        pairs++;
    }
    CHECK(len >= pairs * 16 && memcmp(text, initial, pairs * 16) == 0);
    free(text);
    printf("cmdline, environ, auxv: good\n");
}

/* The title that programs like to set: the string that begins where the arguments did, if there is
 * no NUL at their end any more; else all of them. */
static void check_title(char **argv)
{
    int argc = 0;
    while (argv[argc]) {
        argc++;
    }
    size_t len, room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
    char *saved = malloc(room), *text;
    memcpy(saved, argv[0], room);

    memset(argv[0], 'x', room - 1);
    text = read_path("/proc/self/cmdline", &len);
    CHECK(len == room && memcmp(text, argv[0], room) == 0);
    free(text);
    memset(argv[0], 'x', room); /* goes on in the environment */
    text = read_path("/proc/self/cmdline", &len);
    CHECK(len == room + strlen(argv[0] + room) + 1 && memcmp(text, argv[0], len) == 0);
    free(text);
    memset(argv[0], ' ', room); /* Perl's way */
    memcpy(argv[0], "title", 6);
    text = read_path("/proc/self/cmdline", &len);
    CHECK(len == 6 && memcmp(text, "title", 6) == 0);
    free(text);

    memcpy(argv[0], saved, room);
    free(saved);
}

static void check_stat(void)
{
    static Map maps[512];
    size_t len;
    char *text = read_path("/proc/self/stat", &len);
    char *p = strrchr(text, ')');
    CHECK(p && atoi(text) == getpid());
    unsigned long field[53] = {0};
    int n = 3;
    for (char *s = strtok(p + 1, " \n"); s && n < 53; s = strtok(NULL, " \n"), n++) {
        field[n] = strtoul(s, NULL, 10);
    }
    CHECK(n == 53);
    char *text2 = read_path("/proc/self/maps", &len);
    int nmaps = parse_maps(text2, maps, 512);
    const Map *m = find_map(maps, nmaps, (void *)field[28]);
    CHECK(m && strcmp(m->name, "[stack]") == 0);
    unsigned long argv0 = field[48];
    CHECK(find_map(maps, nmaps, (void *)argv0) == m && field[49] > argv0);
    CHECK(find_map(maps, nmaps, (void *)field[26]));
    free(text);
    free(text2);
    printf("stat: good\n");
}

static void check_comm(void)
{
    size_t len;
    char *text = read_path("/proc/self/comm", &len);
    printf("comm: %s", text);
    free(text);
}

static void *thread_main(void *program)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/thread-self/exe");
    check_link(path, program);
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)syscall(SYS_gettid));
    check_link(path, program);
    pthread_attr_t attr;
    void *stack;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
    CHECK(pthread_attr_getstack(&attr, &stack, &size) == 0);
    CHECK((char *)path >= (char *)stack && (char *)path < (char *)stack + size);
    pthread_attr_destroy(&attr);
    return NULL;
}

int main(int argc, char **argv, char **envp)
{
    char *program = realpath(argv[0], NULL);
    CHECK(program);
    if (strcmp(argv[1], "mount") == 0) {
        return mount_exe(program, argv[2]);
    }
    CHECK(sbrk(4096) != (void *)-1);
    check_comm();
    check_exe(program);
    check_exe_mounted(program);
    check_maps("/proc/self/maps", program);
    check_maps("/proc/thread-self/maps", program);
    CHECK(chdir("/proc/self") == 0);
    check_maps("maps", program);
    CHECK(chdir("/") == 0);
    printf("maps: good\n");
    check_smaps(program);
    printf("smaps: good\n");
    check_vectors(argc, argv, envp);
    check_title(argv);
    check_stat();
    pthread_t t;
    CHECK(pthread_create(&t, NULL, thread_main, program) == 0 && pthread_join(t, NULL) == 0);

    /* The main thread's stack is found through /proc/self/maps by the C library. */
    pthread_attr_t attr;
    void *stack;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
    CHECK(pthread_attr_getstack(&attr, &stack, &size) == 0);
    CHECK((char *)&attr >= (char *)stack && (char *)&attr < (char *)stack + size);
    pthread_attr_destroy(&attr);

    /* A generated file behaves like a file. */
    int fd = open("/proc/self/maps", O_RDONLY);
    CHECK(fd == 3 && fcntl(fd, F_GETFD) == 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
    CHECK(write(fd, "x", 1) == -1 && errno == EBADF);
    char first[16], again[16];
    CHECK(read(fd, first, 16) == 16 && lseek(fd, 0, SEEK_SET) == 0 && read(fd, again, 16) == 16);
    CHECK(memcmp(first, again, 16) == 0);
    close(fd);
    CHECK(open("/proc/self/maps/x", O_RDONLY) == -1 && errno == ENOTDIR);
    CHECK(open("/proc/self/nothing", O_RDONLY) == -1 && errno == ENOENT);
    printf("done\n");
    free(program);
    return 0;
}
