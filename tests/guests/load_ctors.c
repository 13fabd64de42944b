/* SPDX-License-Identifier: BSD-2-Clause
 * load_ctors.c -- what runs before and after main, and in which order.
 * guest:
 * variant: pie
 * variant: static cflags=-static */
#include <stdio.h>
#include <stdlib.h>

static void pre(int argc, char **argv, char **env)
{
    printf("preinit %d\n", argc);
}
__attribute__((section(".preinit_array"), used)) static void (*pre_p)(int, char **, char **) = pre;
__attribute__((constructor(200))) static void c200(int argc, char **argv)
{
    printf("200 %d\n", argc);
}
__attribute__((constructor(101))) static void c101(void)
{
    puts("101");
}
__attribute__((constructor)) static void c(void)
{
    puts("ctor");
}
__attribute__((destructor)) static void d(void)
{
    puts("dtor");
}
__attribute__((destructor(101))) static void d101(void)
{
    puts("dtor 101");
}
static void at1(void)
{
    puts("atexit 1");
}
static void at2(void)
{
    puts("atexit 2");
    atexit(at1);
}
static void on(int status, void *arg)
{
    printf("on_exit %d %s\n", status, (char *)arg);
}
int on_exit(void (*)(int, void *), void *);

static int impl_a(int x)
{
    return x + 1;
}
static int impl_b(int x)
{
    return x + 2;
}
static int (*resolve(void))(int)
{
    return sizeof(void *) == 8 ? impl_b : impl_a;
}
int chosen(int) __attribute__((ifunc("resolve")));

int main(void)
{
    printf("main %d\n", chosen(40));
    atexit(at2);
    on_exit(on, "x");
    return 3;
}
