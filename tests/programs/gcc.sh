# SPDX-License-Identifier: BSD-2-Clause
# program: packages=gcc,g++,binutils quick=yes timeout=60 what=compile and link C and C++ at three levels, run the results, LTO, an error
cat > a.c <<'X'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct n { struct n *l, *r; int k; };
static struct n *ins(struct n *t, int k) { if (!t) { t = calloc(1, sizeof *t); t->k = k; } else if (k < t->k) t->l = ins(t->l, k); else t->r = ins(t->r, k); return t; }
static long sum(struct n *t, int d) { return t ? t->k * d + sum(t->l, d + 1) + sum(t->r, d + 1) : 0; }
int main(void) { struct n *t = 0; unsigned x = 1; for (int i = 0; i < 20000; i++) { x = x * 1103515245 + 12345; t = ins(t, x >> 8 & 0xffff); } printf("%ld\n", sum(t, 1)); return 5; }
X
cat > b.cc <<'X'
#include <iostream>
#include <map>
#include <algorithm>
template <int N> struct F { static constexpr long v = N * F<N - 1>::v; }; template <> struct F<0> { static constexpr long v = 1; };
int main() { std::map<std::string, int> m; for (int i = 0; i < 1000; i++) m[std::to_string(i * 7919 % 1000)] += i; long s = 0; for (auto &p : m) s = s * 31 + p.second; std::cout << s << ' ' << F<12>::v << std::endl; }
X
for o in -O0 -O2; do $RUN gcc $o -c a.c -o a.o && objdump -d a.o | md5sum && $RUN gcc a.o -o a && $RUN ./a; echo $?; done
$RUN g++ -O1 -Wall b.cc -o b && $RUN ./b; echo $?
$RUN gcc -O2 -flto a.c -o a && ./a; echo $?
$RUN gcc -S -masm=intel -O2 a.c -o - | md5sum
$RUN gcc -x c - -o none <<< 'int main(void) { return undeclared; }' 2>&1 | grep -c undeclared
$RUN ar rcs lib.a a.o && $RUN nm lib.a | grep -c main; $RUN readelf -h a | grep Machine; $RUN strip a && $RUN ./a; echo $?
