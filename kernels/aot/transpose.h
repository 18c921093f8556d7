/* 16 short rows to a tile, t[c * 16 + l] = row l of class c, and back, a block of W rows and W classes at a time. */
#ifndef FASTLOSS_TRANSPOSE_H
#define FASTLOSS_TRANSPOSE_H

#include <stddef.h>
#include <string.h>

#define FL_ROWS 16
#define FL_LONGEST 128 /* classes of a row, at most */

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)

#define FL_PICK __builtin_shufflevector
#if defined(__AVX512F__)
#define FL_BYTES 64
#elif defined(__AVX__)
#define FL_BYTES 32
#else
#define FL_BYTES 16
#endif
typedef float fl_f32s __attribute__((vector_size(FL_BYTES)));
typedef double fl_f64s __attribute__((vector_size(FL_BYTES)));

/* Of two vectors, the first or last two numbers of each 16 bytes, by turns (f32: one number or two at a time); and of each
   their first or second halves, or their even or odd quarters. */
#if FL_BYTES == 64
#define FL_LOW_1(a, b) FL_PICK(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define FL_HIGH_1(a, b) FL_PICK(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define FL_LOW_2(a, b) FL_PICK(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define FL_HIGH_2(a, b) FL_PICK(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define FL_LOW_D(a, b) FL_PICK(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define FL_HIGH_D(a, b) FL_PICK(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define FL_FIRST(a, b) FL_PICK((fl_f64s)(a), (fl_f64s)(b), 0, 1, 2, 3, 8, 9, 10, 11)
#define FL_SECOND(a, b) FL_PICK((fl_f64s)(a), (fl_f64s)(b), 4, 5, 6, 7, 12, 13, 14, 15)
#define FL_EVEN(a, b) FL_PICK((fl_f64s)(a), (fl_f64s)(b), 0, 1, 4, 5, 8, 9, 12, 13)
#define FL_ODD(a, b) FL_PICK((fl_f64s)(a), (fl_f64s)(b), 2, 3, 6, 7, 10, 11, 14, 15)
#elif FL_BYTES == 32
#define FL_LOW_1(a, b) FL_PICK(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define FL_HIGH_1(a, b) FL_PICK(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define FL_LOW_2(a, b) FL_PICK(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define FL_HIGH_2(a, b) FL_PICK(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define FL_LOW_D(a, b) FL_PICK(a, b, 0, 4, 2, 6)
#define FL_HIGH_D(a, b) FL_PICK(a, b, 1, 5, 3, 7)
#define FL_FIRST(a, b) FL_PICK((fl_f64s)(a), (fl_f64s)(b), 0, 1, 4, 5)
#define FL_SECOND(a, b) FL_PICK((fl_f64s)(a), (fl_f64s)(b), 2, 3, 6, 7)
#else
#define FL_LOW_1(a, b) FL_PICK(a, b, 0, 4, 1, 5)
#define FL_HIGH_1(a, b) FL_PICK(a, b, 2, 6, 3, 7)
#define FL_LOW_2(a, b) FL_PICK(a, b, 0, 1, 4, 5)
#define FL_HIGH_2(a, b) FL_PICK(a, b, 2, 3, 6, 7)
#define FL_LOW_D(a, b) FL_PICK(a, b, 0, 2)
#define FL_HIGH_D(a, b) FL_PICK(a, b, 1, 3)
#endif

/* r[i], r[i + k], ... hold, 16 bytes each, what belongs in vectors i, i + k, ... of the result in their order. */
#if FL_BYTES == 64
#define FL_QUARTERS(vector, r, out, i, k)                                           \
    do {                                                                               \
        vector a = (vector)FL_FIRST(r[i], r[i + k]), b = (vector)FL_SECOND(r[i], r[i + k]);             \
        vector c = (vector)FL_FIRST(r[i + 2 * k], r[i + 3 * k]), d = (vector)FL_SECOND(r[i + 2 * k], r[i + 3 * k]); \
        out[i] = (vector)FL_EVEN(a, c), out[i + k] = (vector)FL_ODD(a, c);             \
        out[i + 2 * k] = (vector)FL_EVEN(b, d), out[i + 3 * k] = (vector)FL_ODD(b, d); \
    } while (0)
#elif FL_BYTES == 32
#define FL_QUARTERS(vector, r, out, i, k) \
    (out[i] = (vector)FL_FIRST(r[i], r[i + k]), out[i + k] = (vector)FL_SECOND(r[i], r[i + k]))
#else
#define FL_QUARTERS(vector, r, out, i, k) (out[i] = r[i])
#endif

enum { FL_W_F32 = FL_BYTES / 4, FL_W_F64 = FL_BYTES / 8 };

static inline void turn_f32(const fl_f32s *from, fl_f32s *to) {
    fl_f32s r[FL_W_F32];
    for (int i = 0; i < FL_W_F32; i += 4) {
        fl_f32s a = FL_LOW_1(from[i], from[i + 1]), b = FL_HIGH_1(from[i], from[i + 1]);
        fl_f32s c = FL_LOW_1(from[i + 2], from[i + 3]), d = FL_HIGH_1(from[i + 2], from[i + 3]);
        r[i] = FL_LOW_2(a, c), r[i + 1] = FL_HIGH_2(a, c), r[i + 2] = FL_LOW_2(b, d), r[i + 3] = FL_HIGH_2(b, d);
    }
    for (int i = 0; i < 4; i++)
        FL_QUARTERS(fl_f32s, r, to, i, 4);
}

static inline void turn_f64(const fl_f64s *from, fl_f64s *to) {
    fl_f64s r[FL_W_F64];
    for (int i = 0; i < FL_W_F64; i += 2)
        r[i] = FL_LOW_D(from[i], from[i + 1]), r[i + 1] = FL_HIGH_D(from[i], from[i + 1]);
    for (int i = 0; i < 2; i++)
        FL_QUARTERS(fl_f64s, r, to, i, 2);
}

#else

enum { FL_W_F32 = 4, FL_W_F64 = 4 };
typedef struct { float x[4]; } fl_f32s;
typedef struct { double x[4]; } fl_f64s;
#define FL_TURN(name, vector)                              \
    static inline void name(const vector *from, vector *to) { \
        for (int i = 0; i < 4; i++)                        \
            for (int j = 0; j < 4; j++)                    \
                to[j].x[i] = from[i].x[j];                 \
    }
FL_TURN(turn_f32, fl_f32s)
FL_TURN(turn_f64, fl_f64s)

#endif

#if defined(__GNUC__) && !defined(__clang__)
#define FL_UNROLL _Pragma("GCC unroll 16") /* a block stays in registers */
#else
#define FL_UNROLL
#endif

/* load: rows of n numbers, `step` apart; `room` numbers behind the last row can be read too. Lanes that are no rows become 0,
   and behind class n any number may stand, up to a multiple of W.  store: rows side by side, and nothing else is written. */
#define FL_TILES(real, suffix, vector, turn, W)                                                                   \
    static inline void load_rows_##suffix(const real *x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t n, ptrdiff_t room, real *t) { \
        real copy[FL_ROWS * FL_LONGEST + W];                                                                      \
        vector from[W], to[W];                                                                                    \
        if (rows < FL_ROWS || room < W) {                                                                         \
            if (step == n)                                                                                        \
                memcpy(copy, x, rows * n * sizeof(real));                                                         \
            else                                                                                                  \
                for (ptrdiff_t l = 0; l < rows; l++)                                                              \
                    memcpy(copy + l * n, x + l * step, n * sizeof(real));                                         \
            memset(copy + rows * n, 0, ((FL_ROWS - rows) * n + W) * sizeof(real));                                \
            x = copy, step = n;                                                                                   \
        }                                                                                                         \
        for (ptrdiff_t c = 0; c < n; c += W)                                                                      \
            for (ptrdiff_t l = 0; l < FL_ROWS; l += W) {                                                          \
                FL_UNROLL                                                                                         \
                for (int i = 0; i < W; i++)                                                                       \
                    memcpy(&from[i], x + (l + i) * step + c, sizeof(vector));                                     \
                turn(from, to);                                                                                   \
                FL_UNROLL                                                                                         \
                for (int i = 0; i < W; i++)                                                                       \
                    memcpy(t + (c + i) * FL_ROWS + l, &to[i], sizeof(vector));                                    \
            }                                                                                                     \
    }                                                                                                             \
    static inline void store_rows_##suffix(const real *t, ptrdiff_t rows, ptrdiff_t n, real *out) {               \
        real copy[FL_ROWS * FL_LONGEST + W];                                                                      \
        vector from[W], to[W];                                                                                    \
        real *target = rows < FL_ROWS ? copy : out;                                                               \
        const ptrdiff_t end = rows < FL_ROWS ? FL_ROWS * n + W : FL_ROWS * n;                                     \
        for (ptrdiff_t l = 0; l < FL_ROWS; l += W) /* what a row writes too much, the next one writes again */    \
            for (ptrdiff_t c = (n - 1) / W * W; c >= 0; c -= W) {                                                 \
                FL_UNROLL                                                                                         \
                for (int i = 0; i < W; i++)                                                                       \
                    memcpy(&from[i], t + (c + i) * FL_ROWS + l, sizeof(vector));                                  \
                turn(from, to);                                                                                   \
                FL_UNROLL                                                                                         \
                for (int i = 0; i < W; i++)                                                                       \
                    if ((l + i) * n + c + W <= end)                                                               \
                        memcpy(target + (l + i) * n + c, &to[i], sizeof(vector));                                 \
                    else                                                                                          \
                        memcpy(target + (l + i) * n + c, &to[i], (n - c < W ? n - c : W) * sizeof(real));         \
            }                                                                                                     \
        if (rows < FL_ROWS)                                                                                       \
            memcpy(out, copy, rows * n * sizeof(real));                                                           \
    }

FL_TILES(float, f32, fl_f32s, turn_f32, FL_W_F32)
FL_TILES(double, f64, fl_f64s, turn_f64, FL_W_F64)

#endif
