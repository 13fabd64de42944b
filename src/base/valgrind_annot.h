/* SPDX-License-Identifier: BSD-2-Clause
 * valgrind_annot.h -- what an outer Valgrind is told.
 * Helgrind and DRD see pthread mutexes by themselves. Ordering made by atomics, by RCU and by the
 * world lock, and code that changes, they learn here. Callers are the wrappers only (atomics.h,
 * rcu.h, the world lock, the code patcher).
 * Cost:       one predictable branch on mt_under_valgrind, which is written once, before main().
 * Signals:    client requests use general registers only and call nothing: usable everywhere. */
#ifndef MT_VALGRIND_ANNOT_H
#define MT_VALGRIND_ANNOT_H

#include "base/base.h"

#include <valgrind/helgrind.h>
#include <valgrind/valgrind.h>

/* RUNNING_ON_VALGRIND, read once by a constructor: how many Valgrinds are around us. */
extern u32 mt_under_valgrind;

#define MT_VG(request)                        \
    do {                                      \
        if (MT_UNLIKELY(mt_under_valgrind)) { \
            request;                          \
        }                                     \
    } while (0)

/* What this thread did before annot_before(obj) happened before what a thread does after a later
 * annot_after(obj). Edges accumulate: every earlier "before" counts. Understood by Helgrind and
 * DRD. */
static inline void annot_before(const volatile void *obj)
{
    MT_VG(ANNOTATE_HAPPENS_BEFORE((void *)(uintptr_t)obj));
}

static inline void annot_after(const volatile void *obj)
{
    MT_VG(ANNOTATE_HAPPENS_AFTER((void *)(uintptr_t)obj));
}

/* Accesses to these bytes race on purpose (words that are only ever accessed atomically; guest
 * memory). Lasts until the memory is freed. */
static inline void annot_ignore(const volatile void *p, size_t n)
{
    MT_VG(VALGRIND_HG_DISABLE_CHECKING(p, n));
}

/* Back to checking: memory that is reused for something else, as if it were new. */
static inline void annot_clean(const volatile void *p, size_t n)
{
    MT_VG({
        VALGRIND_HG_ENABLE_CHECKING(p, n);
        VALGRIND_HG_CLEAN_MEMORY(p, n);
    });
}

/* What this thread does in between is not the runtime's: the guest's own accesses (translated code,
 * and what the runtime reads, writes or has the kernel do for it), whose races and uninitialised
 * values are the guest's; and the inside of lock-free libraries. Nests. A host signal handler in
 * between is not looked at either, until it leaves translated code for good. */
static inline void annot_foreign_begin(void)
{
    MT_VG(VALGRIND_DISABLE_ERROR_REPORTING);
}

static inline void annot_foreign_end(void)
{
    MT_VG(VALGRIND_ENABLE_ERROR_REPORTING);
}

/* Code at [p, p+n) has changed: the outer's translations of it are void. */
static inline void annot_code_changed(const volatile void *p, size_t n)
{
    MT_VG(VALGRIND_DISCARD_TRANSLATIONS(p, n));
}

#endif
