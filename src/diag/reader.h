/* SPDX-License-Identifier: BSD-2-Clause
 * reader.h -- reads numbers out of guest memory, each byte of which may be missing or wrong.
 * After the first byte that can't be read, or that lies behind the end, everything reads as 0 and
 * `bad` stays set: a caller looks once, at its end. */
#ifndef MT_READER_H
#define MT_READER_H

#include "base/base.h"
#include "base/safe.h"

typedef struct Reader {
    GuestAddr at, end;
    bool bad;
    GuestAddr window; /* address of buf[0] */
    unsigned filled;
    u8 buf[64];
} Reader;

static inline Reader reader_at(GuestAddr at, GuestAddr end)
{
    Reader r;
    r.at = at;
    r.end = end;
    r.bad = end < at;
    r.window = at;
    r.filled = 0;
    return r;
}

static inline u8 read_u8(Reader *r)
{
    if (r->bad || r->at >= r->end) {
        r->bad = true;
        return 0;
    }
    if (r->at - r->window >= r->filled) {
        u64 left = r->end - r->at;
        r->window = r->at;
        r->filled = (unsigned)safe_read_partial(r->buf, r->at,
                                                left < sizeof(r->buf) ? left : sizeof(r->buf));
        if (r->filled == 0) {
            r->bad = true;
            return 0;
        }
    }
    return r->buf[r->at++ - r->window];
}

/* n bytes, the lowest first; n up to 8. */
static inline u64 read_u(Reader *r, unsigned n)
{
    u64 v = 0;
    for (unsigned i = 0; i < n; i++) {
        v |= (u64)read_u8(r) << 8 * i;
    }
    return v;
}

static inline i64 read_s(Reader *r, unsigned n)
{
    return (i64)(read_u(r, n) << (64 - 8 * n)) >> (64 - 8 * n);
}

static inline u64 read_uleb(Reader *r)
{
    u64 v = 0;
    for (unsigned shift = 0;; shift += 7) {
        u8 b = read_u8(r);
        v |= shift < 64 ? (u64)(b & 0x7f) << shift : 0;
        if ((b & 0x80) == 0) {
            return v;
        }
    }
}

static inline i64 read_sleb(Reader *r)
{
    u64 v = 0;
    unsigned shift = 0;
    u8 b;
    do {
        b = read_u8(r);
        v |= shift < 64 ? (u64)(b & 0x7f) << shift : 0;
        shift += 7;
    } while ((b & 0x80) != 0);
    return (i64)(shift < 64 && (b & 0x40) != 0 ? v | ~0ull << shift : v);
}

/* Goes on n bytes further. */
static inline void reader_skip(Reader *r, u64 n)
{
    if (n > r->end - r->at) {
        r->bad = true;
    } else {
        r->at += n;
    }
}

#endif
