/* SPDX-License-Identifier: BSD-2-Clause
 * plug_b.c -- loaded and unloaded by load_dlopen.c, shaped like plug_a.c with other constants. */
static __thread long calls = 2;
long plug_count;

__attribute__((constructor)) static void start(void)
{
    plug_count = 20;
}

long plug(long x)
{
    return x * 7 - calls++ + plug_count++;
}

/* no state: may be called by several threads that load and unload */
long plug_pure(long x)
{
    return x * 9 - 4;
}
