/* SPDX-License-Identifier: BSD-2-Clause
 * fd_hide.c -- where the runtime's own file descriptors live.
 * Role:       owns MT_FD_HIDDEN_COUNT consecutive numbers, out of the guest's way: directly above
 *             its soft RLIMIT_NOFILE if the hard limit leaves room, else at the top of what is
 *             allowed, and never above RANGE_END_MAX: fork copies the descriptor table up to the
 *             highest open number (measured: +6 us at 4,096, +40 us at 16,384, per fork of 140 us).
 * Invariants: H1. every number of the range is open (a placeholder where we have nothing better),
 *                 so that the kernel never gives one to the guest.
 *             H2. every one is close-on-exec.
 *             H3. mt_fd_hidden_lo does not change after the first fd_hide().
 * Locking:    `used` is a bit set changed by compare-and-swap; bit i: number lo + i is taken.
 * Lifetime:   inherited by fork; gone at exec. */
#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    RANGE_END_MAX = 4080, /* not 4096: guests that use a high number themselves like round ones */
    RANGE_LO_MIN = 3,
    PLACEHOLDER = MT_FD_HIDDEN_COUNT - 1, /* never given away: the source of placeholders */
    NO_RANGE = 1 << 30,                   /* lowest number if nothing can be hidden */
};

int mt_fd_hidden_lo = NO_RANGE;

static _Atomic u32 used = 1u << PLACEHOLDER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int dup_to(int from, int to)
{
    int fd;
    do {
        fd = dup3(from, to, O_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == EBUSY));
    return fd < 0 ? -errno : fd;
}

/* The same for numbers that may lie above the soft limit, which is raised for the moment. */
static int dup_to_hidden(int from, int to)
{
    int fd = dup_to(from, to);
    struct rlimit lim;
    if (fd != -EBADF || getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur > (rlim_t)to ||
        lim.rlim_max <= (rlim_t)to) {
        return fd;
    }
    struct rlimit raised = {.rlim_cur = (rlim_t)to + 1, .rlim_max = lim.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised)) {
        return fd;
    }
    fd = dup_to(from, to);
    setrlimit(RLIMIT_NOFILE, &lim);
    return fd;
}

static bool range_is_free(int lo)
{
    for (int fd = lo; fd < lo + MT_FD_HIDDEN_COUNT; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            return false;
        }
    }
    return true;
}

static int choose_range(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim)) {
        return NO_RANGE;
    }
    u64 end = lim.rlim_cur;
    if (end + MT_FD_HIDDEN_COUNT <= lim.rlim_max) {
        end += MT_FD_HIDDEN_COUNT;
    }
    end = end < RANGE_END_MAX ? end : RANGE_END_MAX;
    for (int lo = (int)end - MT_FD_HIDDEN_COUNT; lo >= RANGE_LO_MIN; lo -= MT_FD_HIDDEN_COUNT) {
        if (range_is_free(lo)) {
            return lo;
        }
    }
    return NO_RANGE;
}

static void init_once(void)
{
    int lo = choose_range();
    int holder = lo == NO_RANGE ? -1 : eventfd(0, EFD_CLOEXEC);
    if (holder < 0) {
        return;
    }
    for (int i = MT_FD_HIDDEN_COUNT - 1; i >= 0; i--) {
        if (dup_to_hidden(holder, lo + i) < 0) {
            while (++i < MT_FD_HIDDEN_COUNT) {
                close(lo + i);
            }
            lo = NO_RANGE;
            break;
        }
    }
    close(holder);
    mt_fd_hidden_lo = lo;
}

bool fd_is_hidden(int fd)
{
    return (u32)fd - (u32)mt_fd_hidden_lo < MT_FD_HIDDEN_COUNT;
}

u64 fd_of_guest(u64 fd)
{
    return fd_is_hidden((int)fd) ? INT32_MAX : fd;
}

/* Takes a free number's bit; -1 if there is none. */
static int take_slot(void)
{
    u32 old = atomic_load_explicit(&used, memory_order_relaxed);
    for (;;) {
        if ((u16)~old == 0) {
            return -1;
        }
        int slot = __builtin_ctz(~old);
        /* Relaxed: the bit guards only the number itself, which the kernel orders. */
        if (atomic_compare_exchange_weak_explicit(&used, &old, old | 1u << slot,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return slot;
        }
    }
}

static void give_slot(int slot)
{
    atomic_fetch_and_explicit(&used, ~(1u << slot), memory_order_relaxed);
}

int fd_hide(int fd)
{
    pthread_once(&once, init_once);
    if (fd < 0) {
        return -EBADF;
    }
    if (mt_fd_hidden_lo == NO_RANGE) {
        /* A limit below some 20 descriptors: the guest sees ours. */
        return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : fd;
    }
    int slot = take_slot();
    if (slot < 0) {
        return -EMFILE;
    }
    int hidden = dup_to_hidden(fd, mt_fd_hidden_lo + slot);
    if (hidden < 0) {
        give_slot(slot);
        return hidden;
    }
    close(fd);
    return hidden;
}
