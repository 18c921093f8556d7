# The kernels of one instruction set: setup.py builds this text once for each, with that set's compiler flags.
from libc.math cimport INFINITY, NAN, exp
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from cpython.pycapsule cimport PyCapsule_New

cdef extern from "stream.h" nogil:
    bint holds_up(const void* stored, const void* loaded)
    void stream_copy(void* to, const void* source, size_t n)

include "table.pxi"
include "sums.pxi"
include "formulas.pxi"
include "kernels.pxi"
include "rows.pxi"
include "ctc.pxi"
include "margin.pxi"


cdef double sum_of(const real* values, Py_ssize_t n) noexcept nogil:
    cdef double total[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        total[l] = 0
    for i from 0 <= i < n - n % LANES by LANES:
        for l in range(LANES):
            total[l] += values[i + l]
    for l in range(n % LANES):
        total[l] += values[n - n % LANES + l]
    return sum_lanes(total)


cdef void weigh_by(real* values, const real* weights, const unsigned char* mask, double factor, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef real a = <real> factor
    if weights != NULL:
        for i in range(n):
            values[i] = values[i] * weights[i]
    if factor != 1:
        for i in range(n):
            values[i] = values[i] * a
    if mask != NULL:
        for i in range(n):
            values[i] = values[i] if mask[i] else <real> 0


cdef Py_ssize_t count_outside(const real* values, Py_ssize_t n, double low, double high, bint ends) noexcept nogil:
    cdef Py_ssize_t i
    cdef int count = 0
    cdef real a = <real> low, b = <real> high
    if ends:
        for i in range(n):
            count += (values[i] != a) & (values[i] != b)
    else:
        for i in range(n):
            count += (values[i] < a) | (values[i] > b)
    return count


cdef void stream(void* to, const void* source, Py_ssize_t n) noexcept nogil:
    stream_copy(to, source, n)


cdef Table TABLE


def table():
    """The address of this instruction set's kernels."""
    return PyCapsule_New(&TABLE, "fastloss.table", NULL)


fill_elementwise(&TABLE)
fill_rows(&TABLE)
fill_ctc(&TABLE)
fill_lines(&TABLE)
TABLE.stream = stream
TABLE.sum[0], TABLE.sum[1] = <sum_t> sum_of[float], <sum_t> sum_of[double]
TABLE.outside[0], TABLE.outside[1] = <outside_t> count_outside[float], <outside_t> count_outside[double]
TABLE.weigh[0], TABLE.weigh[1] = <weigh_t> weigh_by[float], <weigh_t> weigh_by[double]
