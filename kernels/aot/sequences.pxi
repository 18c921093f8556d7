# Losses of sequences: their jobs, and plain calls of them.

cdef enum:
    WIDE = 256            # so many classes are worth a pass of their own, in the order of memory

cdef struct CtcJob:
    Ctc ctc
    ctc_t sequence
    ctc_frames_t frames
    Py_ssize_t chunk          # frames of a task
    bint failed


cdef void frames_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef CtcJob* job = <CtcJob*> context
    job.frames(&job.ctc, chunk * job.chunk, min((chunk + 1) * job.chunk, job.ctc.frames), job.ctc.x.data)


cdef void sequence_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef CtcJob* job = <CtcJob*> context
    cdef void* scratch
    if job.failed:
        return
    scratch = PyMem_RawMalloc(TABLE.ctc_scratch(&job.ctc, job.ctc.used[chunk]) + 64)
    if scratch == NULL:
        job.failed = True
        return
    job.sequence(&job.ctc, job.ctc.used[chunk], <double*> ((<uintptr_t> scratch + 63) & ~<uintptr_t> 63), job.ctc.x.data)
    PyMem_RawFree(scratch)


cdef int run_ctc(CtcJob* job, cnp.ndarray x, object grad, Py_ssize_t labels) except -1:
    """Many classes: their probabilities first, frame by frame, unless that would overwrite what the sequences have yet to read."""
    cdef Ctc* ctc = &job.ctc
    cdef Py_ssize_t size = cnp.PyArray_SIZE(x)
    cdef Buffer lse
    set_view(&ctc.x, x)
    ctc.x.inner = ctc.x.classes                          # (T, N, C) is (outer, inner, classes)
    ctc.frames, ctc.n_sequences, ctc.n_classes = x.shape[0], x.shape[1], x.shape[2]
    ctc.want_grad = grad is not None
    if ctc.want_grad:
        set_view(&ctc.out, grad)
        ctc.out.inner = ctc.out.classes
    job.sequence, job.frames = TABLE.ctc[is_double(x)], TABLE.ctc_frames[is_double(x)]
    if ctc.want_grad and ctc.n_classes >= WIDE and ctc.out.data != ctc.x.data:
        ctc.prepared = True
        if ctc.logits:
            lse = Buffer(8 * ctc.frames * ctc.n_sequences)
            ctc.lse = <double*> lse.data
        job.chunk = max(8 * CHUNK // (ctc.n_sequences * ctc.n_classes), 1)
        run_released(frames_chunk, job, (ctc.frames + job.chunk - 1) // job.chunk, size)
    # a label's frame costs about as much as 32 elements
    run_released(sequence_chunk, job, ctc.n_used, size + 32 * ctc.frames * (labels + ctc.n_used))
    if job.failed:
        raise MemoryError("fastloss could not allocate the memory of a sequence")
    return 0


def ctc(x, labels, offsets, n_frames, n_labels, used, int64_t blank, bint logits, bint zero_infinity, scale, value, grad):
    """CTC of the sequences `used` of x (T, N, C): value (float64) and, where grad is an array, the gradient of scale * value."""
    cdef CtcJob job
    memset(&job, 0, sizeof(CtcJob))
    job.ctc.blank, job.ctc.logits, job.ctc.zero_infinity = blank, logits, zero_infinity
    job.ctc.labels, job.ctc.offsets = <int64_t*> data_of(labels), <int64_t*> data_of(offsets)
    job.ctc.n_frames, job.ctc.n_labels = <int64_t*> data_of(n_frames), <int64_t*> data_of(n_labels)
    job.ctc.used, job.ctc.n_used = <int64_t*> data_of(used), cnp.PyArray_SIZE(used)
    job.ctc.scale, job.ctc.value = <double*> data_of(scale), <double*> data_of(value)
    run_ctc(&job, x, grad, cnp.PyArray_SIZE(labels))


cdef inline bint plain_integers(object a, int ndim, Py_ssize_t n) noexcept:
    """An exact int64 array of n rows."""
    return (cnp.PyArray_CheckExact(a) and cnp.PyArray_TYPE(<cnp.ndarray> a) == cnp.NPY_INT64 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> a)
            and cnp.PyArray_NDIM(<cnp.ndarray> a) == ndim and (<cnp.ndarray> a).shape[0] == n)


cdef bint right_sequences(const Ctc* job, Py_ssize_t frames, Py_ssize_t n, Py_ssize_t n_classes, Py_ssize_t longest) noexcept nogil:
    """Whether lengths and labels are what they must be."""
    cdef Py_ssize_t i, k
    cdef bint right = 0 <= job.blank < n_classes
    for i in range(n):
        right &= (0 <= job.n_frames[i] <= frames) & (0 <= job.n_labels[i] <= longest)
        for k in range(job.n_labels[i] if right else 0):
            right &= <uint64_t> job.labels[i * longest + k] < <uint64_t> n_classes and job.labels[i * longest + k] != job.blank
    return right


cdef class CtcCalls(Calls):
    """The mean or sum over plain log-probabilities (T, N, C), padded int64 targets (N, S) and int64 lengths (N,)."""

    def _fast_formula(self):
        self.ready = True

    cdef object fast(self, int mode, tuple args, dict kwargs):
        cdef CtcJob job
        cdef Buffer numbers
        cdef double* weighted
        cdef double acc[2]
        cdef Py_ssize_t i, n, longest
        cdef bint mean
        reduction = "mean"
        if len(args) != 4 or not plain(args[0]) or cnp.PyArray_NDIM(<cnp.ndarray> args[0]) != 3:
            return None
        x, targets, n_frames, n_labels = args
        n = (<cnp.ndarray> x).shape[1]
        if not (plain_integers(targets, 2, n) and plain_integers(n_frames, 1, n) and plain_integers(n_labels, 1, n)):
            return None
        if cnp.PyArray_SIZE(x) == 0 or n > BLOCK:
            return None
        memset(&job, 0, sizeof(CtcJob))
        if kwargs:
            kwargs = kwargs.copy()
            reduction, blank = kwargs.pop("reduction", "mean"), kwargs.pop("blank", 0)
            job.ctc.zero_infinity, job.ctc.logits = kwargs.pop("zero_infinity", False), kwargs.pop("from_logits", False)
            if kwargs or type(blank) is not int or not 0 <= blank < (<cnp.ndarray> x).shape[2] or not known_reduction(reduction) or reduction == "none":
                return None
            job.ctc.blank = blank
        longest = (<cnp.ndarray> targets).shape[1]
        job.ctc.labels, job.ctc.n_frames, job.ctc.n_labels = <int64_t*> data_of(targets), <int64_t*> data_of(n_frames), <int64_t*> data_of(n_labels)
        if not right_sequences(&job.ctc, (<cnp.ndarray> x).shape[0], n, (<cnp.ndarray> x).shape[2], longest):
            return None
        numbers = Buffer(5 * 8 * n)
        job.ctc.value, job.ctc.scale = <double*> numbers.data, <double*> numbers.data + n
        weighted, job.ctc.offsets, job.ctc.used = <double*> numbers.data + 2 * n, <int64_t*> numbers.data + 3 * n, <int64_t*> numbers.data + 4 * n
        mean = reduction == "mean"
        for i in range(n):
            weighted[i] = 1.0 / max(job.ctc.n_labels[i], 1) if mean else 1.0
            (<double*> job.ctc.scale)[i] = weighted[i] / n if mean else 1.0
            (<int64_t*> job.ctc.offsets)[i], (<int64_t*> job.ctc.used)[i] = i * longest, i
        job.ctc.n_used = n
        grad = like(x) if mode else None
        run_ctc(&job, x, grad, n * longest)
        for i in range(n):
            weighted[i] *= job.ctc.value[i]
        acc[0], acc[1] = 0, 0
        two_sum(acc, TABLE.sum[1](weighted, n))
        value = scalar((acc[0] + acc[1]) / (n if mean else 1), is_double(x))
        return answer(mode, value, grad, None)
