/* Kernels compute with NaN, inf and subnormals on purpose; the caller's floating-point status flags are none of their business. */
#ifndef FASTLOSS_STATUS_H
#define FASTLOSS_STATUS_H
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
typedef unsigned int fl_status;
static inline fl_status fl_save_status(void) { return _mm_getcsr(); }
static inline void fl_restore_status(fl_status s) { _mm_setcsr(s); }
#else
#include <fenv.h>
typedef fexcept_t fl_status;
static inline fl_status fl_save_status(void) { fl_status s; fegetexceptflag(&s, FE_ALL_EXCEPT); return s; }
static inline void fl_restore_status(fl_status s) { fesetexceptflag(&s, FE_ALL_EXCEPT); }
#endif
#endif
