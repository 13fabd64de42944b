/* SPDX-License-Identifier: BSD-2-Clause
 * mem_many.c -- several threads map and unmap all the time; nobody may get another's memory.
 * guest: timeout=40 */
#include <pthread.h>
#include <sys/mman.h>

#include "guest.h"

static void *thread(void *arg)
{
    uint64_t rng = (uintptr_t)arg * 77 + 1;
    struct {
        unsigned char *at;
        size_t size;
    } held[32] = {{0}};
    unsigned char mark = (unsigned char)(uintptr_t)arg;
    for (int i = 0; i < 3000; i++) {
        unsigned k = rng_next(&rng) % 32;
        if (held[k].at) {
            CHECK(held[k].at[0] == mark && held[k].at[held[k].size - 1] == (mark ^ (k & 0xff)));
            CHECK(!munmap(held[k].at, held[k].size));
            held[k].at = NULL;
        } else {
            held[k].size = (1 + rng_next(&rng) % 20) << 12;
            held[k].at = mmap(NULL, held[k].size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(held[k].at != MAP_FAILED && held[k].at[0] == 0);
            held[k].at[0] = mark;
            held[k].at[held[k].size - 1] = mark ^ (unsigned char)(k & 0xff);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++) {
        CHECK(!pthread_create(&t[i], NULL, thread, (void *)(i + 1)));
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
    }
    puts("done");
    return 0;
}
