/* SPDX-License-Identifier: BSD-2-Clause
 * decode_text.c -- disassembly for traces, logs and crash reports.
 * Role:    capstone prints; Zydis's formatter does where capstone is known to be wrong, rejects, or
 *          disagrees about the length.
 * Locking: capstone's handle is written by every decode, so one lock is held around it. Some of its
 *          tables are built on first use without one: decode_init() does that before threads.
 * Signals: not from host signal handlers (lock, 3 KB of stack). */
#include "jit/decode_impl.h"

#include "base/lockorder.h"
#include "jit/decode_capstone.h"

#include <stdio.h>
#include <string.h>

static MtMutex capstone_lock = MT_MUTEX_INIT(RANK_CAPSTONE);
static csh capstone;    /* capstone_lock; 0: could not be opened */
static cs_insn *answer; /* capstone_lock */

void decode_text_init(const Insn *sample)
{
    char text[64];

    if (capstone == 0 && cs_open(CS_ARCH_X86, CS_MODE_64, &capstone) == CS_ERR_OK) {
        cs_option(capstone, CS_OPT_DETAIL, CS_OPT_ON);
        answer = cs_malloc(capstone);
    }
    decode_text(sample, text, sizeof(text));
}

csh decode_capstone_take(void)
{
    mt_mutex_lock(&capstone_lock);
    return answer == NULL ? 0 : capstone;
}

void decode_capstone_give(void)
{
    mt_mutex_unlock(&capstone_lock);
}

const cs_insn *decode_capstone_locked(const Insn *in)
{
    const uint8_t *code = in->bytes;
    size_t size = sizeof(in->bytes);
    uint64_t address = in->pc;

    return cs_disasm_iter(capstone, &code, &size, &address, answer) ? answer : NULL;
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
