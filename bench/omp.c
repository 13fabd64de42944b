/* SPDX-License-Identifier: BSD-2-Clause
 * omp.c -- OpenMP: a matrix product and a stencil over static arrays (SSE2 code, many barriers).
 * Usage: omp matrix|stencil|both ROUNDS; the number of threads is OMP_NUM_THREADS. */
#include "kernel.h"

#include <string.h>

#define MATRIX 320
#define GRID 768

static double ma[MATRIX][MATRIX], mb[MATRIX][MATRIX], mc[MATRIX][MATRIX];
static double grid[2][GRID][GRID];

static double matrix_product(void)
{
    int i, j, k;

    for (i = 0; i < MATRIX; i++) {
        for (j = 0; j < MATRIX; j++) {
            ma[i][j] = (i * 7 + j * 3) % 11;
            mb[i][j] = (i * 5 + j * 13) % 7;
            mc[i][j] = 0;
        }
    }
#pragma omp parallel for private(j, k)
    for (i = 0; i < MATRIX; i++) {
        for (k = 0; k < MATRIX; k++) {
            for (j = 0; j < MATRIX; j++) {
                mc[i][j] += ma[i][k] * mb[k][j];
            }
        }
    }
    return mc[3][5] + mc[MATRIX - 1][MATRIX / 2];
}

static double stencil(int steps)
{
    int i, j, t;

    for (i = 0; i < GRID; i++) {
        for (j = 0; j < GRID; j++) {
            grid[0][i][j] = grid[1][i][j] = (i * 31 + j * 17) % 101;
        }
    }
    for (t = 0; t < steps; t++) {
        double(*from)[GRID] = grid[t & 1], (*to)[GRID] = grid[(t + 1) & 1];

#pragma omp parallel for private(j)
        for (i = 1; i < GRID - 1; i++) {
            for (j = 1; j < GRID - 1; j++) {
                to[i][j] = 0.2 * (from[i][j] + from[i - 1][j] + from[i + 1][j] + from[i][j - 1] +
                                  from[i][j + 1]);
            }
        }
    }
    return grid[steps & 1][GRID / 2][GRID / 3];
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "both";
    int rounds = argc > 2 ? atoi(argv[2]) : 1, r;
    KernelClock c = kernel_begin();
    double sum = 0;

    for (r = 0; r < rounds; r++) {
        if (strcmp(what, "stencil") != 0) {
            sum += matrix_product();
        }
        if (strcmp(what, "matrix") != 0) {
            sum += stencil(40);
        }
    }
    printf("%.6f\n", sum);
    kernel_end(c, rounds);
    return 0;
}
