# Row losses of margin.pxi: their jobs, and plain calls of them.

cdef dict LINE_OPS = {"multi_margin": MULTI_MARGIN, "crammer_singer": CRAMMER_SINGER, "cosine": COSINE, "norm": NORM, "norm_p": NORM_P,
                      "entropy": ENTROPY, "entropy_of_logits": ENTROPY_OF_LOGITS, "brier": BRIER, "multilabel_margin": MULTILABEL_MARGIN}

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


def row_loss(str op, tuple params, tuple inputs, target, int64_t ignore_index, class_weight, row_weight, upstream,
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
    for i in range(0 if grads is None else len(grads)):
        job.lines.grad[i] = data_of(grads[i])
    for i in range(0 if hesses is None else len(hesses)):
        job.lines.hess[i] = data_of(hesses[i])
    for i in range(len(params)):
        job.lines.params[i] = params[i]
    job.lines.want_grad, job.lines.want_hess = grads is not None, hesses is not None
    job.lines.target, job.lines.ignore_index = <int64_t*> data_of(target), ignore_index
    job.lines.class_weight, job.lines.row_weight, job.lines.upstream = data_of(class_weight), data_of(row_weight), data_of(upstream)
    job.lines.value, job.lines.scale = data_of(value), scale
    run_lines(&job, is_double(x), <double*> data_of(acc))


cdef object signs_of(object target, Py_ssize_t n):
    """Targets -1 and 1 as an int64 array, None where there are others or they stand otherwise than plainly."""
    cdef Py_ssize_t i
    cdef bint right = True
    cdef int64_t* out
    cdef double v
    if not (cnp.PyArray_CheckExact(target) and cnp.PyArray_NDIM(<cnp.ndarray> target) == 1 and cnp.PyArray_SIZE(target) == n
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> target)):
        return None
    cdef int kind = cnp.PyArray_TYPE(<cnp.ndarray> target)
    if kind != cnp.NPY_INT64 and kind != cnp.NPY_FLOAT32 and kind != cnp.NPY_FLOAT64:
        return None
    signs = cnp.PyArray_SimpleNew(1, (<cnp.ndarray> target).shape, cnp.NPY_INT64)
    out = <int64_t*> data_of(signs)
    for i in range(n):
        if kind == cnp.NPY_INT64:
            v = (<int64_t*> data_of(target))[i]
        else:
            v = (<double*> data_of(target))[i] if kind == cnp.NPY_FLOAT64 else (<float*> data_of(target))[i]
        out[i] = 1 if v > 0 else -1
        right &= v == 1 or v == -1
    return signs if right else None


cdef object plain_classes(str kind, object target, Py_ssize_t n, Py_ssize_t n_classes):
    """Class indices or lists of labels as the kernels take them, None for the general path."""
    cdef Py_ssize_t i, size = n if kind == "class" else n * n_classes
    cdef int64_t low = 0 if kind == "class" else -1
    cdef const int64_t* t
    cdef bint right = True
    if not (cnp.PyArray_CheckExact(target) and cnp.PyArray_TYPE(<cnp.ndarray> target) == cnp.NPY_INT64
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> target) and cnp.PyArray_SIZE(target) == size
            and cnp.PyArray_NDIM(<cnp.ndarray> target) == (1 if kind == "class" else 2)
            and (<cnp.ndarray> target).shape[0] == n):
        return None
    t = <const int64_t*> data_of(target)
    for i in range(size):
        right &= (t[i] >= low) & (t[i] < n_classes)
    return target if right else None


cdef class LineCalls(Calls):
    """Rows of plain matrices."""
    cdef object terms             # what the public function makes of arrays alone
    cdef Py_ssize_t required

    def _fast_formula(self, terms, Py_ssize_t required):
        self.terms, self.required, self.ready = terms, required, True

    cdef object fast(self, int mode, tuple args, dict kwargs):
        cdef LinesJob job
        cdef double acc[2]
        cdef Py_ssize_t i, n, c, n_inputs
        cdef double divide_by
        terms, target, reduction = self.terms, None, "mean"
        n_inputs = len(terms.inputs)
        if <Py_ssize_t> len(args) != self.required or not plain(args[0]) or cnp.PyArray_NDIM(<cnp.ndarray> args[0]) != 2:
            return None
        x = args[0]
        n, c = (<cnp.ndarray> x).shape[0], (<cnp.ndarray> x).shape[1]
        if n * c == 0:
            return None
        if kwargs:
            if "out" in kwargs or not (GENERAL.isdisjoint(kwargs) and ordinary(args, 1, kwargs)):
                return None
            kwargs = kwargs.copy()
            reduction = kwargs.pop("reduction", "mean")
            terms = self._function(*args, **kwargs)
        if terms.weight is not None or terms.axis != self.terms.axis or not known_reduction(reduction):
            return None
        for i in range(1, n_inputs):
            if not (plain(args[i]) and cnp.PyArray_TYPE(args[i]) == cnp.PyArray_TYPE(x) and same_shape(args[i], x)):
                return None
        if terms.kind:
            target = signs_of(args[n_inputs], n) if terms.kind == "sign" else plain_classes(terms.kind, args[n_inputs], n, c)
            if target is None:
                return None
        memset(&job, 0, sizeof(LinesJob))
        divide_by = n if reduction == "mean" else 1.0
        job.lines.op, job.lines.n_rows, job.lines.n_classes, job.lines.n_inputs = LINE_OPS[terms.op], n, c, n_inputs
        job.lines.target, job.lines.ignore_index = <int64_t*> data_of(target), terms.ignore_index
        job.lines.scale, job.lines.want_grad, job.lines.want_hess = 1.0 / divide_by, mode != VALUE_ONLY, mode == WITH_HESS
        for i in range(<Py_ssize_t> len(terms.params)):
            job.lines.params[i] = terms.params[i]
        grads, hesses = several(x, n_inputs if mode else 0), several(x, n_inputs if mode == WITH_HESS else 0)
        for i in range(n_inputs):
            job.lines.x[i] = data_of(args[i])
            if mode:
                job.lines.grad[i] = data_of(grads[i])
            if mode == WITH_HESS:
                job.lines.hess[i] = data_of(hesses[i])
        losses = row_losses(reduction, mode, n, x)
        acc[0], acc[1], job.lines.value = 0, 0, data_of(losses)
        run_lines(&job, is_double(x), acc)
        value = scalar((acc[0] + acc[1]) / divide_by, is_double(x)) if losses is None else losses
        if n_inputs == 1:
            return answer(mode, value, grads[0] if mode else None, hesses[0] if mode == WITH_HESS else None)
        return answer(mode, value, tuple(grads), tuple(hesses))
