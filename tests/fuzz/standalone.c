/* SPDX-License-Identifier: BSD-2-Clause
 * standalone.c -- runs a fuzz entry without libFuzzer: `fuzz_x [count [seed]]` for random inputs
 * that are the same for the same seed, or `fuzz_x file...` for given ones. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_INPUT = 4096 };

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static void run(const uint8_t *data, size_t size)
{
    /* An allocation of exactly this size, so that a sanitizer sees every read behind it. */
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) {
        abort();
    }
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int run_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof(data), f);
    fclose(f);
    run(data, size);
    return 0;
}

int main(int argc, char **argv)
{
    static uint8_t data[MAX_INPUT];
    char *end = NULL;
    unsigned long count = argc > 1 ? strtoul(argv[1], &end, 10) : 10000;
    if (argc > 1 && *end) {
        int bad = 0;
        for (int i = 1; i < argc; i++) {
            bad |= run_file(argv[i]);
        }
        return bad;
    }
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    printf("%lu inputs, seed %llu\n", count, (unsigned long long)seed);
    for (unsigned long i = 0; i < count; i++) {
        uint64_t state = seed * 0x1000000 + i;
        size_t size = next(&state) % (next(&state) % 8 ? 128 : MAX_INPUT);
        for (size_t k = 0; k < size; k++) {
            data[k] = (uint8_t)next(&state);
        }
        run(data, size);
    }
    return 0;
}
