/* SPDX-License-Identifier: BSD-2-Clause
 * load_hello.c -- the smallest program, in every way of linking.
 * guest: args=one 'two words' ''
 * variant: pie
 * variant: nopie cflags=-no-pie
 * variant: static cflags=-static
 * variant: staticpie cflags=-static-pie
 * variant: at60 cflags=-no-pie -Wl,-Ttext-segment=0x60400000
 * variant: at66 cflags=-static -Wl,-Ttext-segment=0x66000000
 * variant: now cflags=-Wl,-z,now -Wl,-z,noseparate-code
 * variant: execstack cflags=-z execstack
 * variant: musl cc=musl-gcc
 * variant: muslstatic cc=musl-gcc cflags=-static */
#include <stdio.h>

int main(int argc, char **argv)
{
    printf("hello, %d arguments\n", argc);
    for (int i = 1; i < argc; i++) {
        printf("[%s]\n", argv[i]);
    }
    fprintf(stderr, "and to stderr\n");
    return 42;
}
