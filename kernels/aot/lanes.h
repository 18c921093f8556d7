/* 16 rows of n numbers to vectors with a row a lane, in float64, and back: gathers and scatters where there are any. */
#ifndef FASTLOSS_LANES_H
#define FASTLOSS_LANES_H

#include <stddef.h>

#ifdef _MSC_VER
#define RESTRICT __restrict
#else
#define RESTRICT __restrict__
#endif

#define TURN(real, suffix) \
static inline void rows_to_lanes_##suffix(const real *RESTRICT x, ptrdiff_t n, double *RESTRICT t) { \
    for (ptrdiff_t c = 0; c < n; c++) \
        for (ptrdiff_t l = 0; l < 16; l++) \
            t[c * 16 + l] = x[l * n + c]; \
} \
static inline void lanes_to_rows_##suffix(const double *RESTRICT t, ptrdiff_t n, real *RESTRICT out) { \
    for (ptrdiff_t c = 0; c < n; c++) \
        for (ptrdiff_t l = 0; l < 16; l++) \
            out[l * n + c] = (real)t[c * 16 + l]; \
}

TURN(float, f32)
TURN(double, f64)

#endif
