/* SPDX-License-Identifier: BSD-2-Clause
 * load_dlopen.c -- shared objects come and go, two of them at the same address with other code.
 * guest: so=plug_a.c plug_b.c libs=-ldl timeout=40 */
#include <dlfcn.h>
#include <pthread.h>

#include "guest.h"

static long use(const char *name, const char *symbol, long x)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/lib/%s.so", getenv("GUEST_DIR"), name);
    void *h = dlopen(path, RTLD_NOW);
    if (!h) {
        printf("GUEST-FAILED %s\n", dlerror());
        exit(1);
    }
    long (*f)(long) = (long (*)(long))dlsym(h, symbol);
    CHECK(f);
    long v = 0;
    for (int i = 0; i < 100; i++) {
        v += f(x + i);
    }
    CHECK(!dlclose(h));
    return v;
}

static void *thread(void *arg)
{
    long sum = 0;
    for (int i = 0; i < 100; i++) {
        sum += use((i + (long)arg) & 1 ? "plug_a" : "plug_b", "plug_pure", i);
    }
    return (void *)sum;
}

int main(void)
{
    long sum = 0;
    for (int i = 0; i < 200; i++) {
        sum += use(i & 1 ? "plug_a" : "plug_b", "plug", i);
    }
    printf("%ld\n", sum);
    pthread_t t[3];
    for (long i = 0; i < 3; i++) {
        pthread_create(&t[i], NULL, thread, (void *)i);
    }
    for (int i = 0; i < 3; i++) {
        void *v;
        pthread_join(t[i], &v);
        printf("%ld\n", (long)v);
    }
    CHECK(!dlopen("/nonexistent.so", RTLD_NOW));
    return 0;
}
