# SPDX-License-Identifier: BSD-2-Clause
# program: packages=libopenblas-dev,gcc timeout=60 what=matrix products and factorisations on four threads
cat > b.c <<'X'
#include <cblas.h>
#include <stdio.h>
#include <math.h>
void dgesv_(int *, int *, double *, int *, int *, double *, int *, int *);
int main(void) { enum { N = 300 }; static double a[N * N], b[N * N], c[N * N]; static float f[N * N], g[N * N]; int p[N];
for (int i = 0; i < N * N; i++) { a[i] = sin(i); b[i] = cos(i * 3); f[i] = (float)a[i]; }
for (int r = 0; r < 5; r++) cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, N, N, N, 1, a, N, b, N, 0.5, c, N);
double s = 0, d = 0; for (int i = 0; i < N; i++) { for (int j = 0; j < N; j++) s += c[i * N + j]; double x = 0; for (int k = 0; k < N; k++) x += a[i * N + k] * b[i * N + k]; d = fmax(d, fabs(c[i * N + i] / x - 1.9375)); }
printf("%.6f %d\n", s, d < 1e-9); cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, f, N, f, N, 0, g, N); printf("%.2f\n", g[7]);
for (int i = 0; i < N; i++) a[i * N + i] += 10; int n = N, one = 1, info = -1; dgesv_(&n, &one, a, &n, p, b, &n, &info); printf("%d\n", info); printf("%.8f %.6f\n", b[0], cblas_dnrm2(N * N, c, 1)); return 0; }
X
gcc -O2 b.c -o b -lopenblas -lm || exit 1
for t in 1 2 4; do OPENBLAS_NUM_THREADS=$t $RUN ./b; echo $?; done
