/* to[j][i] = from[i][j] for i, j < 4, in that order of j; through registers where the compiler knows vectors. */
#ifndef FASTLOSS_TRANSPOSE_H
#define FASTLOSS_TRANSPOSE_H

#include <string.h>

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)

typedef float fl_f32x4 __attribute__((vector_size(16)));
typedef double fl_f64x2 __attribute__((vector_size(16)));

static inline void transpose_f32(const float *const *from, float *const *to) {
    fl_f32x4 a, b, c, d;
    memcpy(&a, from[0], 16), memcpy(&b, from[1], 16), memcpy(&c, from[2], 16), memcpy(&d, from[3], 16);
    fl_f32x4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    fl_f32x4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(ab, cd, 0, 1, 4, 5), b = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    c = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5), d = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
    memcpy(to[0], &a, 16), memcpy(to[1], &b, 16), memcpy(to[2], &c, 16), memcpy(to[3], &d, 16);
}

static inline void transpose_f64(const double *const *from, double *const *to) {
    for (int j = 0; j < 4; j += 2) {
        fl_f64x2 row[4], out[4];
        for (int i = 0; i < 4; i++)
            memcpy(&row[i], from[i] + j, 16);
        for (int i = 0; i < 4; i += 2) {
            out[i / 2] = __builtin_shufflevector(row[i], row[i + 1], 0, 2);
            out[2 + i / 2] = __builtin_shufflevector(row[i], row[i + 1], 1, 3);
        }
        for (int i = 0; i < 4; i++)
            memcpy(to[j + i / 2] + i % 2 * 2, &out[i], 16);
    }
}

#else

#define FL_TRANSPOSE(name, real)                                    \
    static inline void name(const real *const *from, real *const *to) { \
        for (int j = 0; j < 4; j++)                                 \
            for (int i = 0; i < 4; i++)                             \
                to[j][i] = from[i][j];                              \
    }
FL_TRANSPOSE(transpose_f32, float)
FL_TRANSPOSE(transpose_f64, double)

#endif
#endif
