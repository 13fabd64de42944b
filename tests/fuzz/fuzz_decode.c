/* SPDX-License-Identifier: BSD-2-Clause
 * fuzz_decode.c -- the decoder takes any bytes: lengths stay in bounds, the table of shapes agrees
 * with the slow path, and nothing crashes on the way to text and memory accesses. */
/* layers: mt_base mt_jit */
#include "jit/decode_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;

    if (!ready) {
        decode_init();
        ready = true;
    }
    for (size_t i = 0; i < size;) {
        MemOp ops[MT_MAX_MEMOPS];
        Insn in, slow;
        char text[96];

        decode_insn(&in, 0x400000 + i, data + i, size - i);
        decode_slow(&slow, 0x400000 + i, data + i, size - i);
        if (!decode_same(&in, &slow) || in.len == 0 || in.len > 15 || in.len > size - i) {
            abort();
        }
        if (decode_memops(&in, ops) > MT_MAX_MEMOPS) {
            abort();
        }
        decode_text(&in, text, sizeof(text));
        decode_verify(&in, text, sizeof(text));
        i += in.len;
    }
    return 0;
}
