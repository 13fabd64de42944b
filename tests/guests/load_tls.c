/* SPDX-License-Identifier: BSD-2-Clause
 * load_tls.c -- thread-local storage: initial values, alignment, many threads, the thread pointer.
 * guest:
 * variant: pie
 * variant: static cflags=-static
 * variant: staticpie cflags=-static-pie
 * variant: desc cflags=-fPIC -mtls-dialect=gnu2 */
#include <pthread.h>

#include "guest.h"

static __thread int counter = 5;
static __thread char zero[3000];
static __thread _Alignas(64) long aligned = 77;
__thread long exported = -3;

static void *thread(void *arg)
{
    long n = (long)arg;
    CHECK(counter == 5 && aligned == 77 && exported == -3);
    CHECK(((uintptr_t)&aligned & 63) == 0);
    for (size_t i = 0; i < sizeof zero; i++) {
        CHECK(zero[i] == 0);
        zero[i] = (char)n;
    }
    for (long i = 0; i < 20000; i++) {
        counter += (int)n;
        exported ^= counter;
    }
    void *self, *word;
    __asm__ volatile("mov %%fs:0, %0" : "=r"(self));
    __asm__ volatile("mov %%fs:(%1), %0" : "=r"(word) : "r"(0l));
    CHECK(self == word && *(void **)self == self);
    CHECK(counter == 5 + 20000 * (int)n);
    return (void *)exported;
}

int main(void)
{
    for (int round = 0; round < 5; round++) {
        pthread_t t[8];
        for (long i = 0; i < 8; i++) {
            CHECK(!pthread_create(&t[i], NULL, thread, (void *)i));
        }
        for (int i = 0; i < 8; i++) {
            void *value;
            pthread_join(t[i], &value);
            printf("%d %ld\n", i, (long)value);
        }
    }
    thread((void *)3);
    return 0;
}
