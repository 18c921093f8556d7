# Sums in a fixed order.

cdef inline double sum_lanes(const double* v) noexcept nogil:
    cdef double a[8]
    cdef Py_ssize_t l
    for l in range(8):
        a[l] = v[l] + v[l + 8]
    for l in range(4):
        a[l] = a[l] + a[l + 4]
    return (a[0] + a[2]) + (a[1] + a[3])


cdef inline void two_sum(double* acc, double v) noexcept nogil:
    """acc = [hi, lo] gains v."""
    cdef double hi = acc[0] + v
    cdef double b = hi - acc[0]
    cdef double lo = (acc[0] - (hi - b)) + (v - b)
    acc[0] = hi
    if lo == lo:                                         # inf - inf: the sum itself says it all
        acc[1] += lo


cdef inline void fold_lanes(double* hi, double* lo) noexcept nogil:
    """hi[0] + lo[0] becomes the sum of the lanes of hi and lo."""
    cdef Py_ssize_t l, width = LANES // 2
    cdef double s, b
    while width:
        for l in range(width):
            s = hi[l] + hi[l + width]
            b = s - hi[l]
            lo[l] += lo[l + width] + ((hi[l] - (s - b)) + (hi[l + width] - b))
            hi[l] = s
        width //= 2


cdef struct Sums:                                        # 16 compensated sums side by side
    double hi[LANES]
    double lo[LANES]


cdef inline void clear_lanes(Sums* sums) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        sums.hi[l] = sums.lo[l] = 0


cdef inline void add_lanes(Sums* sums, const double* v) noexcept nogil:
    cdef Py_ssize_t l
    cdef double hi, b, lo
    for l in range(LANES):
        hi = sums.hi[l] + v[l]
        b = hi - sums.hi[l]
        lo = (sums.hi[l] - (hi - b)) + (v[l] - b)
        sums.hi[l] = hi
        sums.lo[l] += lo if lo == lo else 0.0


cdef inline void total_lanes(const Sums* sums, double* acc) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        two_sum(acc, sums.hi[l])
        two_sum(acc, sums.lo[l])
