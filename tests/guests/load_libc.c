/* SPDX-License-Identifier: BSD-2-Clause
 * load_libc.c -- a walk through libc: strings of all lengths and alignments at the end of a page,
 * qsort, printf, locale, regex, time, files, directories, getline, iconv, malloc.
 * guest: timeout=30
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <dirent.h>
#include <iconv.h>
#include <locale.h>
#include <regex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "guest.h"

static int by_value(const void *a, const void *b)
{
    return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}

static uint64_t strings(void)
{
    char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *end = p + 8192;
    CHECK(!mprotect(end, 4096, PROT_NONE));
    uint64_t h = 0;
    for (int n = 1; n < 300; n++) {
        char *s = end - n;
        memset(s, 'a' + n % 20, (size_t)n - 1);
        s[n - 1] = 0;
        h = h * 31 + strlen(s);
        h = h * 31 + (uint64_t)((char *)rawmemchr(s, 0) - s);
        h = h * 31 + (strchr(s, 'z') == NULL) + strnlen(s, 1000);
        memcpy(p, s, (size_t)n);
        h = h * 31 + (uint64_t)(strcmp(p, s) == 0) + (uint64_t)(memcmp(p, s, (size_t)n) == 0);
        p[n / 2] ^= 1;
        h = h * 31 + (uint64_t)(strcmp(p, s) > 0) + (uint64_t)(memcmp(p, s, (size_t)n) > 0);
        memmove(p + 3, p, (size_t)n);
        memmove(p, p + 5, (size_t)n);
        h = hash_bytes(h, p, 400);
        h = h * 31 + (uint64_t)(strstr(s, "bc") != NULL) + strspn(s, "abc") + strcspn(s, "xyz");
        char *q = stpcpy(p + 1000 + n % 64, s);
        h = h * 31 + (uint64_t)(q - p);
    }
    return h;
}

int main(void)
{
    printf("%llx\n", (unsigned long long)strings());
    static int list[20000];
    uint64_t rng = 9;
    for (int i = 0; i < 20000; i++) {
        list[i] = (int)rng_next(&rng);
    }
    qsort(list, 20000, sizeof list[0], by_value);
    printf("%llx\n", (unsigned long long)hash_bytes(0, list, sizeof list));
    printf("%s %5d|%-8s|%+.3f|%08lx|%c|%zu|%.10Lf\n", "text", -42, "left", 3.14159, 0xabcdefl, 'x',
           sizeof(long), 1.0L / 7);
    setlocale(LC_ALL, "C.UTF-8");
    wchar_t wide[20];
    printf("%zu %ls\n", mbstowcs(wide, "gr\xc3\xbc\xc3\x9f", 20), wide);
    regex_t re;
    regmatch_t m[3];
    CHECK(!regcomp(&re, "([a-z]+)-([0-9]+)", REG_EXTENDED));
    CHECK(!regexec(&re, "xx abc-123 yy", 3, m, 0));
    printf("%d %d %d\n", (int)m[0].rm_so, (int)m[1].rm_eo, (int)m[2].rm_so);
    regfree(&re);
    time_t t = 1000000000;
    struct tm tm;
    char text[100];
    strftime(text, sizeof text, "%a %F %T %Z", localtime_r(&t, &tm));
    puts(text);
    FILE *f = fopen("file", "w+");
    for (int i = 0; i < 5000; i++) {
        fprintf(f, "line %d %x\n", i, i * i);
    }
    rewind(f);
    char *line = NULL;
    size_t room = 0, total = 0;
    ssize_t n;
    while ((n = getline(&line, &room, f)) > 0) {
        total += (size_t)n;
    }
    printf("%zu\n", total);
    fclose(f);
    free(line);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "dir%02d", i);
        CHECK(!mkdir(text, 0700));
    }
    struct dirent **names;
    int count = scandir(".", &names, NULL, alphasort);
    printf("%d %s\n", count, names[count - 1]->d_name);
    void *held[500] = {0};
    for (int i = 0; i < 100000; i++) {
        int k = (int)(rng_next(&rng) % 500);
        free(held[k]);
        size_t size = rng_next(&rng) % 3000;
        if (i % 1000 == 0) {
            size *= 1000;
        }
        held[k] = i & 1 ? malloc(size) : calloc(1, size);
        CHECK(held[k] || !size);
        memset(held[k], i, size);
        if (i % 7 == 0) {
            held[k] = realloc(held[k], size * 2 + 1);
        }
    }
    char host[256];
    CHECK(!gethostname(host, sizeof host));
    CHECK(getpid() > 0 && getppid() > 0);
    fprintf(stderr, "%s\n", strerror(ENOENT));
    errno = EPERM;
    perror("perror");
    return 0;
}
