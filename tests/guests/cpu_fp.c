/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_fp.c -- floating point in C: libm, rounding modes, exceptions, long double, per thread.
 * guest: libs=-lm
 * variant: o2 cflags=-O2
 * variant: fast cflags=-O3 -ffast-math -march=native
 * variant: static cflags=-static */
#include <fenv.h>
#include <math.h>
#include <pthread.h>

#include "guest.h"

static void *modes(void *arg)
{
    static const int round[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    int mode = round[(long)arg & 3];
    fesetround(mode);
    volatile double one = 1, three = 3;
    volatile long double lone = 1;
    for (int i = 0; i < 20000; i++) {
        CHECK(fegetround() == mode);
        volatile double q = one / three;
        volatile long double lq = lone / three;
        char *text = malloc(200);
        snprintf(text, 200, "%a %La %ld", q, lq, lrint(2.5));
        if (i == 0) {
            *(char **)&arg = text;
        } else {
            CHECK(!strcmp(text, (char *)arg));
            free(text);
        }
    }
    return arg;
}

int main(void)
{
    double x = 0.1;
    long double y = 0.1L;
    for (int i = 0; i < 200; i++) {
        x = sin(x) + sqrt(fabs(cos(x * 3))) + pow(1.01, x) - log1p(x * x) + fma(x, x, 0.5);
        y = sinl(y) + sqrtl(fabsl(cosl(y * 3))) + powl(1.01L, y) - log1pl(y * y);
        x = fmod(x, 10);
        y = fmodl(y, 10);
    }
    printf("%a %La\n", x, y);
    printf("%a %a %a %a\n", exp(1.5), tgamma(4.5), atan2(1, -2), cbrt(7));
    printf("%f %e %g %La\n", 1e22, 1.0 / 3, 1e-310, strtold("0x1.23456789abcdefp-16400", NULL));
    feclearexcept(FE_ALL_EXCEPT);
    volatile double zero = 0, big = 1e308;
    volatile double r = 1 / zero;
    printf("%d\n", !!fetestexcept(FE_DIVBYZERO));
    r = big * big;
    printf("%d %d\n", !!fetestexcept(FE_OVERFLOW), isinf(r) != 0);
    pthread_t t[4];
    for (long i = 0; i < 4; i++) {
        pthread_create(&t[i], NULL, modes, (void *)i);
    }
    for (int i = 0; i < 4; i++) {
        void *v;
        pthread_join(t[i], &v);
        puts(v);
    }
    float sum = 0;
    static float a[4096], b[4096];
    for (int i = 0; i < 4096; i++) {
        a[i] = (float)i * 0.5f;
        b[i] = 1.0f / (float)(i + 1);
    }
    for (int i = 0; i < 4096; i++) {
        sum += a[i] * b[i];
    }
    printf("%a\n", (double)sum);
    return 0;
}
