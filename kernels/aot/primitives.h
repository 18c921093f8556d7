/* The primitives of the formula language, for every C and C++ compiler.
   Branch-free and inline: the loops around them are vectorised by the compiler. */
#ifndef FASTLOSS_PRIMITIVES_H
#define FASTLOSS_PRIMITIVES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float f32;
typedef double f64;
typedef int32_t i32;
typedef int64_t i64;

/* Arrays of one loop never overlap. Cython itself knows `restrict` only from 3.3 on. */
#ifdef _MSC_VER
typedef f32 *__restrict f32_array;
typedef f64 *__restrict f64_array;
#define prefetch(p) ((void)(p))
#else
typedef f32 *__restrict__ f32_array;
typedef f64 *__restrict__ f64_array;
#define prefetch(p) __builtin_prefetch(p)
#endif

/* What a loop's function returns: with all it calls inside it, or the loop would stay scalar; with one body, not copied by
   gcc for the cases of its selects; and, where it updates arrays, with loads before stores (see holds_up of stream.h). */
#if defined(__GNUC__) && !defined(__clang__)
#define loop_t __attribute__((flatten, optimize("no-thread-jumps", "no-tree-pre"))) void
#define update_t __attribute__((flatten, optimize("no-thread-jumps", "no-tree-pre", "no-schedule-insns2"))) void
#elif defined(__GNUC__)
#define loop_t __attribute__((flatten)) void
#define update_t loop_t
#else
typedef void loop_t, update_t;
#endif

/* The line at p is about to be read (write = 0) or written. */
#ifdef _MSC_VER
#define FL_PREFETCH(p, write) ((void)0)
#else
#define FL_PREFETCH(p, write) __builtin_prefetch((p), (write))
#endif

static inline i32 bits_f32(f32 x) { i32 i; memcpy(&i, &x, sizeof i); return i; }
static inline i64 bits_f64(f64 x) { i64 i; memcpy(&i, &x, sizeof i); return i; }
static inline f32 from_bits_f32(i32 i) { f32 x; memcpy(&x, &i, sizeof x); return x; }
static inline f64 from_bits_f64(i64 i) { f64 x; memcpy(&x, &i, sizeof x); return x; }
static inline i32 shift_right_f32(i32 i, i32 k) { return (i32)((uint32_t)i >> k); }
static inline i64 shift_right_f64(i64 i, i64 k) { return (i64)((uint64_t)i >> k); }
static inline i32 order_f32(i32 i) { return i ^ (i >> 31 & INT32_MAX); } /* bits as ints in the order of the reals, and back */
static inline i64 order_f64(i64 i) { return i ^ (i >> 63 & INT64_MAX); }
static inline i32 lesser_f32(i32 i, i32 k) { return i < k ? i : k; }
static inline i64 lesser_f64(i64 i, i64 k) { return i < k ? i : k; }
static inline f32 rint_f32(f32 x) { return rintf(x); }
static inline f64 rint_f64(f64 x) { return rint(x); }
static inline f32 sqrt_f32(f32 x) { return sqrtf(x); }
static inline f64 sqrt_f64(f64 x) { return sqrt(x); }
static inline f32 abs_f32(f32 x) { return fabsf(x); }
static inline f64 abs_f64(f64 x) { return fabs(x); }
static inline f32 min_f32(f32 a, f32 b) { return b < a ? b : a; }
static inline f64 min_f64(f64 a, f64 b) { return b < a ? b : a; }
static inline f32 max_f32(f32 a, f32 b) { return b > a ? b : a; }
static inline f64 max_f64(f64 a, f64 b) { return b > a ? b : a; }
static inline f32 select_f32(int c, f32 a, f32 b) { return c ? a : b; }
static inline f64 select_f64(int c, f64 a, f64 b) { return c ? a : b; }

#endif
