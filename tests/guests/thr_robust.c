/* SPDX-License-Identifier: BSD-2-Clause
 * thr_robust.c -- a thread ends with a list of robust futexes of its own making: which words are
 * changed, and who is woken, for entries of all kinds and lists that are broken.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define PI 1ul
#define OTHER 1u /* no thread of ours */

typedef struct Entry {
    struct Entry *next;
    _Atomic uint32_t word;
} Entry;

enum { ENTRIES = 4, MANY = 3000 };
static Entry entry[ENTRIES], pending, many[MANY];
static struct robust_list_head head;
static _Atomic uint32_t start_word;
static uint32_t owner; /* the thread that has ended */

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const void *timeout_or_n,
                  _Atomic uint32_t *to)
{
    return syscall(SYS_futex, word, op, value, timeout_or_n, to, 0);
}

/* Sleeps on start_word, is moved to the word meant, and tells whether it was woken there. */
static void *waits(void *arg)
{
    const struct timespec patience = {20, 0};
    long r = futex(&start_word, FUTEX_WAIT, 0, &patience, NULL);
    *(bool *)arg = r == 0;
    return NULL;
}

typedef struct Case {
    void (*prepare)(uint32_t tid);
    _Atomic uint32_t *waited_for;
} Case;

static void *ends(void *arg)
{
    const Case *c = arg;
    owner = (uint32_t)syscall(SYS_gettid);
    memset(entry, 0, sizeof(entry));
    head.list.next = &head.list;
    head.futex_offset = offsetof(Entry, word);
    head.list_op_pending = NULL;
    pending.word = 0;
    c->prepare(owner);
    if (c->waited_for != NULL) {
        while (futex(&start_word, FUTEX_REQUEUE, 0, (void *)1, c->waited_for) != 1) {
            sched_yield();
        }
    }
    CHECK(syscall(SYS_set_robust_list, &head, sizeof(head)) == 0);
    return NULL;
}

static void link_entries(unsigned n)
{
    struct robust_list **p = &head.list.next;
    for (unsigned i = 0; i < n; i++) {
        *p = (struct robust_list *)&entry[i];
        p = (struct robust_list **)&entry[i].next;
    }
    *p = &head.list;
}

static void held(uint32_t tid)
{
    link_entries(4);
    entry[0].word = tid | FUTEX_WAITERS;
    entry[1].word = tid;
    entry[2].word = OTHER;
    entry[3].word = tid | FUTEX_OWNER_DIED;
}

static void pending_free(uint32_t tid)
{
    head.list_op_pending = (struct robust_list *)&pending;
}

static void pending_held(uint32_t tid)
{
    pending.word = tid | FUTEX_WAITERS;
    head.list_op_pending = (struct robust_list *)&pending;
}

static void pending_in_list(uint32_t tid)
{
    link_entries(2);
    entry[0].word = tid;
    entry[1].word = tid | FUTEX_WAITERS;
    head.list_op_pending = (struct robust_list *)&entry[1];
}

static void pi(uint32_t tid)
{
    link_entries(1);
    head.list.next = (struct robust_list *)((uintptr_t)head.list.next | PI);
    entry[0].word = tid | FUTEX_WAITERS;
}

static void circle(uint32_t tid)
{
    link_entries(2);
    entry[0].word = entry[1].word = tid;
    entry[1].next = &entry[0];
    pending.word = tid; /* behind the end, which the kernel sets */
    head.list_op_pending = (struct robust_list *)&pending;
}

static void lost(uint32_t tid)
{
    link_entries(2);
    entry[0].word = entry[1].word = tid;
    entry[1].next = (Entry *)16;
    pending.word = tid;
    head.list_op_pending = (struct robust_list *)&pending;
}

/* An entry whose word is not aligned, in front of others. */
static void odd(uint32_t tid)
{
    static char bytes[32] __attribute__((aligned(16)));
    Entry *e = (Entry *)(bytes + 2);
    struct robust_list *second;
    link_entries(2);
    second = head.list.next;
    memcpy(bytes + 2, &second, sizeof(second));
    memcpy(bytes + 2 + offsetof(Entry, word), &tid, sizeof(tid));
    head.list.next = (struct robust_list *)e;
    entry[0].word = entry[1].word = tid;
    pending.word = tid;
    head.list_op_pending = (struct robust_list *)&pending;
}

/* The same with a word that is on no page. */
static void off_page(uint32_t tid)
{
    const long size = sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && munmap(p + size, size) == 0);
    Entry *e = (Entry *)(p + size - offsetof(Entry, word));
    link_entries(2);
    e->next = (Entry *)head.list.next;
    head.list.next = (struct robust_list *)e;
    entry[0].word = entry[1].word = tid;
    pending.word = tid;
    head.list_op_pending = (struct robust_list *)&pending;
}

/* Longer than the kernel goes. */
static void too_many(uint32_t tid)
{
    head.list.next = (struct robust_list *)&many[0];
    for (unsigned i = 0; i < MANY; i++) {
        many[i].word = tid;
        many[i].next = i + 1 < MANY ? &many[i + 1] : (Entry *)&head.list;
    }
}

/* The same with a word that can't be written. */
static void read_only(uint32_t tid)
{
    const size_t size = (size_t)sysconf(_SC_PAGESIZE);
    Entry *e = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(e != MAP_FAILED);
    link_entries(1);
    e->next = (Entry *)head.list.next;
    e->word = tid;
    CHECK(mprotect(e, size, PROT_READ) == 0);
    head.list.next = (struct robust_list *)e;
    entry[0].word = tid;
}

static void say(const char *what, uint32_t word)
{
    uint32_t id = word & FUTEX_TID_MASK;
    printf(" %s:%s%s%s", what, word & FUTEX_WAITERS ? "waiters+" : "",
           word & FUTEX_OWNER_DIED ? "died+" : "",
           id == 0       ? "free"
           : id == OTHER ? "other"
           : id == owner ? "own"
                         : "?");
}

static void run(const char *name, Case c)
{
    pthread_t t, w;
    bool woken = false;
    unsigned died = 0;
    if (c.waited_for != NULL) {
        CHECK(pthread_create(&w, NULL, waits, &woken) == 0);
    }
    CHECK(pthread_create(&t, NULL, ends, &c) == 0);
    CHECK(pthread_join(t, NULL) == 0);
    if (c.waited_for != NULL) {
        CHECK(pthread_join(w, NULL) == 0);
    }
    printf("%s:", name);
    for (int i = 0; i < ENTRIES; i++) {
        say("entry", entry[i].word);
    }
    say("pending", pending.word);
    for (int i = 0; i < MANY; i++) {
        died += (many[i].word & FUTEX_OWNER_DIED) != 0;
        many[i].word = 0;
    }
    printf(" many:%u woken:%d\n", died, woken);
}

int main(void)
{
    run("held", (Case){held, &entry[0].word});
    run("pending, free", (Case){pending_free, &pending.word});
    run("pending, held", (Case){pending_held, &pending.word});
    run("pending, in the list", (Case){pending_in_list, &entry[1].word});
    run("pi", (Case){pi, NULL});
    run("circle", (Case){circle, NULL});
    run("lost", (Case){lost, NULL});
    run("odd", (Case){odd, NULL});
    run("off page", (Case){off_page, NULL});
    run("read only", (Case){read_only, NULL});
    run("too many", (Case){too_many, NULL});
    return 0;
}
