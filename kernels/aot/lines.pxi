# Row losses of margin.pxi: their jobs, and plain calls of them.

cdef dict LINE_OPS = {"multi_margin": MULTI_MARGIN, "crammer_singer": CRAMMER_SINGER, "cosine": COSINE, "norm": NORM,
                      "norm_p": NORM_P, "brier": BRIER, "entropy": ENTROPY, "entropy_of_logits": ENTROPY_OF_LOGITS,
                      "focal": FOCAL, "multilabel_margin": MULTILABEL_MARGIN}

cdef struct LinesJob:
    Lines lines
    lines_t kernel
    Py_ssize_t chunk, scratch
    double* sums
    bint failed


cdef void lines_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef LinesJob* job = <LinesJob*> context
    cdef double spare[2048]
    cdef double* scratch = spare
    if job.failed:
        return
    if job.scratch > <Py_ssize_t> sizeof(spare):
        scratch = <double*> PyMem_RawMalloc(job.scratch)
        if scratch == NULL:
            job.failed = True
            return
    job.kernel(&job.lines, chunk * job.chunk, min((chunk + 1) * job.chunk, job.lines.n_rows), scratch, job.sums + 2 * chunk)
    if scratch != spare:
        PyMem_RawFree(scratch)


cdef int run_lines(LinesJob* job, bint double_, double* acc) except -1:
    cdef Py_ssize_t per_row = max(job.lines.n_classes, 1), chunks, work = job.lines.n_rows * per_row * 4
    job.kernel = TABLE.lines[job.lines.op == MULTILABEL_MARGIN][double_]
    job.chunk = 1
    while 2 * job.chunk * per_row <= CHUNK // 4:
        job.chunk *= 2
    job.scratch = 16 * (per_row + LANES) if job.lines.op == MULTILABEL_MARGIN else 0
    job.failed = False
    chunks = (job.lines.n_rows + job.chunk - 1) // job.chunk
    cdef Buffer sums = Buffer(16 * chunks)
    job.sums = <double*> sums.data
    run_released(lines_chunk, job, chunks, work)
    if job.failed:
        raise MemoryError(f"fastloss could not allocate {job.scratch} bytes")
    add_all(acc, job.sums, chunks)
    return 0


def row_loss(str op, str mode, tuple params, tuple inputs, target, int64_t ignore_index, class_weight, row_weight, upstream,
             double scale, value, grads, hesses, acc):
    """A loss of contiguous rows (n, C) against int64 targets; value, grads, hesses are filled, acc gains the sum."""
    cdef LinesJob job
    cdef Py_ssize_t i
    cdef cnp.ndarray x = inputs[0]
    memset(&job, 0, sizeof(LinesJob))
    job.lines.op = LINE_OPS[op]
    job.lines.n_rows, job.lines.n_classes, job.lines.n_inputs = x.shape[0], x.shape[1], len(inputs)
    for i in range(job.lines.n_inputs):
        job.lines.x[i] = data_of(inputs[i])
        if grads is not None:
            job.lines.grad[i] = data_of(grads[i])
        if hesses is not None:
            job.lines.hess[i] = data_of(hesses[i])
    for i in range(len(params)):
        job.lines.params[i] = params[i]
    job.lines.want_grad, job.lines.want_hess = grads is not None, hesses is not None
    job.lines.target, job.lines.ignore_index = <int64_t*> data_of(target), ignore_index
    job.lines.class_weight, job.lines.row_weight, job.lines.upstream = data_of(class_weight), data_of(row_weight), data_of(upstream)
    job.lines.value, job.lines.scale = data_of(value), scale
    run_lines(&job, is_double(x), <double*> data_of(acc))
