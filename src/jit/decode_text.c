/* SPDX-License-Identifier: BSD-2-Clause
 * decode_text.c -- disassembly for traces, logs and crash reports.
 * Role:    capstone prints; Zydis's formatter does where capstone is known to be wrong, rejects, or
 *          disagrees about the length.
 * Locking: capstone's handle is written by every decode, and some of its tables on first use, so
 *          one lock is held around it.
 * Signals: not from host signal handlers (lock, 3 KB of stack). */
#include "jit/decode_int.h"

#include "base/lockorder.h"
#include "jit/decode_capstone.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* capstone is opened on first use: its tables are 4 MB of relocated data and a millisecond at
 * start, which a run that prints no disassembly need not pay. */
typedef struct Capstone {
    void *library;
    csh handle;
    cs_insn *answer;
    cs_err (*open)(cs_arch, cs_mode, csh *);
    cs_err (*option)(csh, cs_opt_type, size_t);
    cs_insn *(*alloc)(csh);
    bool (*disasm_iter)(csh, const uint8_t **, size_t *, uint64_t *, cs_insn *);
    const char *(*reg_name)(csh, unsigned);
} Capstone;

static MtMutex capstone_lock = MT_MUTEX_INIT(RANK_CAPSTONE);
static Capstone capstone; /* capstone_lock; answer NULL: not opened, or not to be had */
static bool tried;        /* capstone_lock */

static bool find_symbols(Capstone *c)
{
    c->open = (__typeof__(c->open))dlsym(c->library, "cs_open");
    c->option = (__typeof__(c->option))dlsym(c->library, "cs_option");
    c->alloc = (__typeof__(c->alloc))dlsym(c->library, "cs_malloc");
    c->disasm_iter = (__typeof__(c->disasm_iter))dlsym(c->library, "cs_disasm_iter");
    c->reg_name = (__typeof__(c->reg_name))dlsym(c->library, "cs_reg_name");
    return c->open && c->option && c->alloc && c->disasm_iter && c->reg_name;
}

static void open_locked(Capstone *c)
{
    tried = true;
    c->library = dlopen("libcapstone.so.4", RTLD_NOW | RTLD_LOCAL);
    if (c->library == NULL || !find_symbols(c) ||
        c->open(CS_ARCH_X86, CS_MODE_64, &c->handle) != CS_ERR_OK) {
        return;
    }
    c->option(c->handle, CS_OPT_DETAIL, CS_OPT_ON);
    c->answer = c->alloc(c->handle);
}

csh decode_capstone_take(void)
{
    mt_mutex_lock(&capstone_lock);
    if (!tried) {
        open_locked(&capstone);
    }
    return capstone.answer == NULL ? 0 : capstone.handle;
}

void decode_capstone_give(void)
{
    mt_mutex_unlock(&capstone_lock);
}

const char *decode_capstone_reg_locked(unsigned reg)
{
    return capstone.reg_name(capstone.handle, reg);
}

const cs_insn *decode_capstone_locked(const Insn *in)
{
    const uint8_t *code = in->bytes;
    size_t size = sizeof(in->bytes);
    uint64_t address = in->pc;

    return capstone.disasm_iter(capstone.handle, &code, &size, &address, capstone.answer)
               ? capstone.answer
               : NULL;
}

static bool capstone_text(const Insn *in, char *buf, size_t size)
{
    bool done = false;

    if (decode_capstone_take() != 0) {
        const cs_insn *c = decode_capstone_locked(in);
        if (c != NULL && c->size == in->len) {
            snprintf(buf, size, "%s%s%s", c->mnemonic, c->op_str[0] ? " " : "", c->op_str);
            done = true;
        }
    }
    decode_capstone_give();
    return done;
}

static bool zydis_text(const Insn *in, char *buf, size_t size)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    ZydisFormatter f;

    return ZYAN_SUCCESS(
               ZydisDecoderDecodeFull(&decode_zydis, in->bytes, sizeof(in->bytes), &z, ops)) &&
           z.length == in->len &&
           ZYAN_SUCCESS(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)) &&
           ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, &z, ops, z.operand_count_visible, buf,
                                                        size, in->pc, NULL));
}

static void byte_text(const Insn *in, char *buf, size_t size)
{
    size_t used = (size_t)snprintf(buf, size, ".byte");

    for (unsigned i = 0; i < in->len && used + 6 < size; i++) {
        used += (size_t)snprintf(buf + used, size - used, "%s0x%02x", i ? "," : " ", in->bytes[i]);
    }
}

void decode_text(const Insn *in, char *buf, size_t size)
{
    if (size == 0) {
        return;
    }
    if (in->cls == INSN_FAULT) {
        snprintf(buf, size, "(unreadable)");
        return;
    }
    if (in->cls == INSN_INVALID || (in->flags & INSN_F_OPAQUE)) {
        byte_text(in, buf, size);
        return;
    }
    if (!decode_capstone_bad(in) && capstone_text(in, buf, size)) {
        return;
    }
    if (!zydis_text(in, buf, size)) {
        byte_text(in, buf, size);
    }
}
