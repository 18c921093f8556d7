# nogil functions on pointers to C-contiguous arrays, for `from fastloss.kernels.aot cimport ...`.
#
# softmax, log_softmax: out has rows * classes values and may be x; logsumexp: rows values. 0, or -2 where memory is missing.
# cross_entropy: the mean over the rows whose target is not -100; grad may be NULL or x; NaN for a target outside [0, classes).
from libc.stdint cimport int64_t

cdef int softmax_f32(const float* x, float* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
cdef int log_softmax_f32(const float* x, float* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
cdef int logsumexp_f32(const float* x, float* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
cdef double cross_entropy_f32(const float* x, const int64_t* target, float* grad, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
cdef int softmax_f64(const double* x, double* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
cdef int log_softmax_f64(const double* x, double* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
cdef int logsumexp_f64(const double* x, double* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
cdef double cross_entropy_f64(const double* x, const int64_t* target, double* grad, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil
