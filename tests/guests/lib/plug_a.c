/* SPDX-License-Identifier: BSD-2-Clause
 * plug_a.c -- loaded and unloaded by load_dlopen.c. */
static __thread long calls = 1;
long plug_count;

__attribute__((constructor)) static void start(void)
{
    plug_count = 10;
}

long plug(long x)
{
    return x * 3 + calls++ + plug_count++;
}

/* no state: may be called by several threads that load and unload */
long plug_pure(long x)
{
    return x * 5 + 1;
}
