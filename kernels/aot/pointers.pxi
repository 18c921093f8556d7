# The functions that other Cython modules may cimport: C-contiguous arrays by pointer, no interpreter needed.

cdef void contiguous_rows(RowsJob* job, const void* x, void* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    memset(job, 0, sizeof(RowsJob))
    job.rows.n_rows, job.rows.n_classes, job.rows.inner, job.rows.scale = rows, classes, 1, 1.0
    job.rows.x.data, job.rows.x.outer, job.rows.x.classes = <char*> x, classes, 1
    job.rows.out.data, job.rows.out.outer, job.rows.out.classes = <char*> out, classes, 1


cdef int row_function(int op, const void* x, void* out, Py_ssize_t rows, Py_ssize_t classes, bint double_) noexcept nogil:
    cdef RowsJob job
    contiguous_rows(&job, x, out, rows, classes)
    return launch_rows(&job, op, double_, NULL)


cdef double mean_cross_entropy(const void* x, const int64_t* target, void* grad, Py_ssize_t rows, Py_ssize_t classes, bint double_) noexcept nogil:
    cdef RowsJob job
    cdef double sums[2]
    cdef double acc[2]
    sums[0], sums[1], acc[0], acc[1] = 0, 0, 0, 0
    if check_indices[int64_t](target, rows, classes, -100, NULL, NULL, double_, sums) >= 0 or sums[0] == 0:
        return NAN
    contiguous_rows(&job, x, grad, rows, classes)
    job.rows.target, job.rows.wide_target, job.rows.ignore_index = target, True, -100
    job.rows.scale, job.rows.want_grad = 1.0 / sums[0], grad != NULL
    if launch_rows(&job, CROSS_ENTROPY, double_, acc) != 0:
        return NAN
    return (acc[0] + acc[1]) / sums[0]


cdef int softmax_f32(const float* x, float* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return row_function(SOFTMAX, x, out, rows, classes, False)


cdef int log_softmax_f32(const float* x, float* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return row_function(LOG_SOFTMAX, x, out, rows, classes, False)


cdef int logsumexp_f32(const float* x, float* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return row_function(LOGSUMEXP, x, out, rows, classes, False)


cdef double cross_entropy_f32(const float* x, const int64_t* target, float* grad, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return mean_cross_entropy(x, target, grad, rows, classes, False)



cdef int softmax_f64(const double* x, double* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return row_function(SOFTMAX, x, out, rows, classes, True)


cdef int log_softmax_f64(const double* x, double* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return row_function(LOG_SOFTMAX, x, out, rows, classes, True)


cdef int logsumexp_f64(const double* x, double* out, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return row_function(LOGSUMEXP, x, out, rows, classes, True)


cdef double cross_entropy_f64(const double* x, const int64_t* target, double* grad, Py_ssize_t rows, Py_ssize_t classes) noexcept nogil:
    return mean_cross_entropy(x, target, grad, rows, classes, True)
