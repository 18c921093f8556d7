/* to[j * to_step + i] = from[i * from_step + j] for i, j < 4, in that order of j; through registers where the compiler knows vectors. */
#ifndef FASTLOSS_TRANSPOSE_H
#define FASTLOSS_TRANSPOSE_H

#include <stddef.h>
#include <string.h>

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)

typedef float fl_f32x4 __attribute__((vector_size(16)));
typedef double fl_f64x2 __attribute__((vector_size(16)));

static inline void transpose_f32(const float *from, ptrdiff_t from_step, float *to, ptrdiff_t to_step) {
    fl_f32x4 a, b, c, d;
    memcpy(&a, from, 16), memcpy(&b, from + from_step, 16);
    memcpy(&c, from + 2 * from_step, 16), memcpy(&d, from + 3 * from_step, 16);
    fl_f32x4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    fl_f32x4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(ab, cd, 0, 1, 4, 5), b = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    c = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5), d = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
    memcpy(to, &a, 16), memcpy(to + to_step, &b, 16);
    memcpy(to + 2 * to_step, &c, 16), memcpy(to + 3 * to_step, &d, 16);
}

static inline void transpose_f64(const double *from, ptrdiff_t from_step, double *to, ptrdiff_t to_step) {
    for (int j = 0; j < 4; j += 2) {
        fl_f64x2 row[4], out[4];
        for (int i = 0; i < 4; i++)
            memcpy(&row[i], from + i * from_step + j, 16);
        for (int i = 0; i < 4; i += 2) {
            out[i / 2] = __builtin_shufflevector(row[i], row[i + 1], 0, 2);
            out[2 + i / 2] = __builtin_shufflevector(row[i], row[i + 1], 1, 3);
        }
        for (int i = 0; i < 4; i++)
            memcpy(to + (j + i / 2) * to_step + i % 2 * 2, &out[i], 16);
    }
}

#else

#define FL_TRANSPOSE(name, real)                                                                        \
    static inline void name(const real *from, ptrdiff_t from_step, real *to, ptrdiff_t to_step) {       \
        for (int j = 0; j < 4; j++)                                                                     \
            for (int i = 0; i < 4; i++)                                                                 \
                to[j * to_step + i] = from[i * from_step + j];                                          \
    }
FL_TRANSPOSE(transpose_f32, float)
FL_TRANSPOSE(transpose_f64, double)

#endif
#endif
