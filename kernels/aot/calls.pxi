# Calls on ordinary arrays go straight to the kernels; everything else to the general path in Python.

cdef bint FAST = True


def allow_fast_calls(bint allowed):
    """Whether plain calls may go straight to these kernels: not while another backend is chosen."""
    global FAST
    FAST = allowed


cdef inline object scalar(double v, bint double_):
    cdef float single = <float> v
    return PyArray_Scalar(&v, FLOAT64, None) if double_ else PyArray_Scalar(&single, FLOAT32, None)


cdef inline bint plain(object a) noexcept:
    """An exact, native, aligned, C-contiguous float32 or float64 array."""
    if not cnp.PyArray_CheckExact(a):
        return False
    cdef int kind = cnp.PyArray_TYPE(<cnp.ndarray> a)
    return (kind == cnp.NPY_FLOAT32 or kind == cnp.NPY_FLOAT64) and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> a)


cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    return cnp.PyArray_NDIM(a) == cnp.PyArray_NDIM(b) and cnp.PyArray_CompareLists(a.shape, b.shape, cnp.PyArray_NDIM(a))


cdef inline object like(cnp.ndarray a):
    return cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(a), a.shape, cnp.PyArray_TYPE(a))


cdef enum:
    TOGETHER = 1 << 17        # bytes


cdef list several(cnp.ndarray a, Py_ssize_t n):
    """n arrays like a, large ones in one piece of memory.

    glibc keeps twice the largest piece that was freed; what is freed beyond that goes back to the system, and to get it again takes
    longer than a kernel.
    """
    cdef cnp.npy_intp shape[32]
    cdef Py_ssize_t i, ndim = cnp.PyArray_NDIM(a)
    if n == 1 or ndim > 31 or cnp.PyArray_NBYTES(a) < TOGETHER:
        return [like(a) for i in range(n)]
    shape[0] = n
    for i in range(ndim):
        shape[i + 1] = a.shape[i]
    return list(cnp.PyArray_SimpleNew(ndim + 1, shape, cnp.PyArray_TYPE(a)))


cdef inline bint disjoint(cnp.ndarray a, cnp.ndarray b) noexcept:
    cdef char* p = cnp.PyArray_BYTES(a)
    cdef char* q = cnp.PyArray_BYTES(b)
    return p + cnp.PyArray_NBYTES(a) <= q or q + cnp.PyArray_NBYTES(b) <= p


cdef object result_like(object out, object x):
    """out where the kernels can write a result of x to it, a new array for no out, else None."""
    if out is None:
        return like(x)
    if not (plain(out) and cnp.PyArray_ISWRITEABLE(out) and cnp.PyArray_TYPE(out) == cnp.PyArray_TYPE(x) and same_shape(out, x)):
        return None
    return out if cnp.PyArray_BYTES(out) == cnp.PyArray_BYTES(x) or disjoint(out, x) else None


cdef object gradient_buffer(int mode, object out, object x, object y):
    """The same for the gradient in out=(None, array), of a gradient alone in out=array, which must not touch y."""
    cdef object g
    if out is None:
        return like(x)
    if mode == GRAD_ONLY:
        out = None, out
    if type(out) is not tuple or len(<tuple> out) != 2 or (<tuple> out)[0] is not None:
        return None
    g = result_like((<tuple> out)[1], x) if (<tuple> out)[1] is not None else None
    return g if g is not None and disjoint(g, y) else None


cdef inline object answer(int mode, object value, object grad, object hess):
    return value if mode == VALUE_ONLY else (value, grad) if mode == WITH_GRAD else (value, grad, hess) if mode == WITH_HESS else grad


cdef class ShortCalls:
    """Base of public functions, some of whose calls `fast` makes; ready: whether there are such."""
    cdef bint ready

    cdef object fast(self, int mode, tuple args, dict kwargs):
        return None

    cdef object short(self, int mode, tuple args, dict kwargs):
        """What `fast` gives, with the caller's floating-point status left alone; None for a call that goes the general way."""
        if not (FAST and self.ready):
            return None
        cdef fl_status status = fl_save_status()
        result = self.fast(mode, args, kwargs)
        fl_restore_status(status)
        return result


cdef class Calls(ShortCalls):
    """Base of the public losses: `_call(mode, args, kwargs)` is the general path."""

    def __call__(self, *args, **kwargs):
        result = self.short(VALUE_ONLY, args, kwargs)
        return result if result is not None else self._call("v", args, kwargs)

    def value_and_grad(self, *args, **kwargs):
        """(value, gradient): the arguments of the loss; `out=(None, buffer)` writes the gradient to the buffer."""
        result = self.short(WITH_GRAD, args, kwargs)
        return result if result is not None else self._call("vg", args, kwargs)

    def value_grad_hess(self, *args, **kwargs):
        """(value, gradient, diagonal second derivative): the arguments of the loss; `out=` is a tuple of three."""
        result = self.short(WITH_HESS, args, kwargs) if "out" not in kwargs else None
        return result if result is not None else self._call("vgh", args, kwargs)

    def grad(self, *args, **kwargs):
        """The gradient alone: the arguments of the loss; `out=` is the buffer it is written to."""
        result = self.short(GRAD_ONLY, args, kwargs)
        return result if result is not None else self._call("g", args, kwargs)


cdef inline bint known_reduction(object reduction):
    return type(reduction) is str and (reduction == "mean" or reduction == "sum" or reduction == "none")


cdef inline object row_losses(object reduction, int mode, Py_ssize_t n, object x):
    """An array for the losses of n rows where they are wanted, or None."""
    cdef cnp.npy_intp size = n
    return cnp.PyArray_SimpleNew(1, &size, cnp.PyArray_TYPE(<cnp.ndarray> x)) if reduction == "none" and mode != GRAD_ONLY else None


cdef frozenset GENERAL = frozenset(("where", "sample_weight", "empty", "upstream"))
cdef frozenset ORDINARY = frozenset((np.ndarray, float, int, bool, str, type(None)))


cdef bint ordinary(tuple args, Py_ssize_t first, dict kwargs):
    """Whether no argument from that on, and no keyword, may be another library's: who computes on those is not asked yet."""
    cdef Py_ssize_t i
    for i in range(first, <Py_ssize_t> len(args)):
        if type(args[i]) not in ORDINARY:
            return False
    for value in kwargs.values():
        if type(value) not in ORDINARY:
            return False
    return True


cdef class ElementwiseCalls(Calls):
    """Like arrays without weights and masks; what else the formula takes comes as numbers."""
    cdef object terms             # what the public function makes of arrays alone
    cdef Py_ssize_t required
    cdef tuple domains            # (which array, low, high, whether only they)
    cdef bint of_rows             # a loss is the mean over the last axis

    def _fast_formula(self, terms, Py_ssize_t required, tuple domains, bint of_rows):
        self.terms, self.required, self.domains, self.of_rows, self.ready = terms, required, domains, of_rows, True

    cdef object fast(self, int mode, tuple args, dict kwargs):
        cdef LossJob job
        cdef OutsideJob outside
        cdef double numbers[MAX_INPUTS]
        cdef float singles[MAX_INPUTS]
        cdef double sums[2]
        cdef double acc[2]
        cdef Buffer many
        cdef tuple params, arrays
        cdef Py_ssize_t i, n, chunks
        cdef double divide_by
        cdef bint double_
        if <Py_ssize_t> len(args) != self.required:
            return None
        x = args[0]
        if not plain(x) or cnp.PyArray_NDIM(x) == 0 or cnp.PyArray_SIZE(x) == 0:
            return None
        for i in range(1, self.required):
            if type(args[i]) is not float and not (plain(args[i]) and cnp.PyArray_TYPE(args[i]) == cnp.PyArray_TYPE(x) and same_shape(args[i], x)):
                return None
        n, double_, terms, out, reduction = cnp.PyArray_SIZE(x), is_double(x), self.terms, None, "mean"
        if kwargs:
            kwargs = kwargs.copy()
            out, reduction = kwargs.pop("out", None), kwargs.pop("reduction", "mean")
            if kwargs:
                if not (GENERAL.isdisjoint(kwargs) and ordinary(args, self.required, kwargs)):
                    return None
                terms = self._function(*args, **kwargs)
        if terms.weight is not None or not known_reduction(reduction) or (out is not None and mode == VALUE_ONLY) or (self.of_rows and reduction == "none"):
            return None
        divide_by = n if reduction == "mean" else (<cnp.ndarray> x).shape[cnp.PyArray_NDIM(x) - 1] if self.of_rows else 1.0
        prepare_loss(&job, LOSS_INDEX[terms.formula or self.__name__], mode, double_, n)
        arrays, params = tuple(terms.arrays.values()), terms.params
        for i in range(job.n_inputs):
            value = args[i] if i < self.required else arrays[i]
            if type(value) is float and job.n_gradients == 1:
                numbers[i] = value
                singles[i] = <float> numbers[i]
                job.inputs[i].data, job.inputs[i].period = <char*> &numbers[i] if double_ else <char*> &singles[i], 1
            elif type(value) is not float and i < self.required:
                job.inputs[i].data = data_of(value)
            else:
                return None
        for i, low, high, ends in self.domains:
            outside.values, outside.mask, outside.n = job.inputs[i].data, <char*> NULL, job.inputs[i].period or n
            outside.low, outside.high, outside.ends = low, high, ends
            if find_outside(&outside, double_) >= 0:
                return None
        job.params[0] = 1.0 / divide_by
        for i in range(<Py_ssize_t> len(params)):
            job.params[i + 1] = params[i]
        grad, hess, losses = None, None, like(x) if reduction == "none" and mode != GRAD_ONLY else None
        job.out[0] = data_of(losses)
        if mode and job.n_gradients == 1:
            grad = gradient_buffer(mode, out, x, args[1] if cnp.PyArray_Check(args[1]) else x)
            if grad is None:
                return None
            job.out[1] = data_of(grad)
            if mode == WITH_HESS:
                hess = like(x)
                job.out[2] = data_of(hess)
        elif mode:
            if mode == WITH_HESS or out is not None:
                return None
            grad = tuple(several(x, 2))
            job.out[1], job.out[2] = data_of(grad[0]), data_of(grad[1])
        route(&job)
        chunks = (n + CHUNK - 1) // CHUNK
        acc[0], acc[1], sums[0], sums[1], job.sums = 0, 0, 0, 0, sums
        if chunks > 1:
            many = Buffer(16 * chunks)
            job.sums = <double*> many.data
        run_released(loss_chunk, &job, chunks, n)
        add_all(acc, job.sums, chunks)
        return answer(mode, scalar((acc[0] + acc[1]) / divide_by, double_) if losses is None else losses, grad, hess)


cdef inline bint fits(object weight, Py_ssize_t n, object x):
    """Whether it is None, or n plain numbers of x's dtype."""
    return weight is None or (plain(weight) and cnp.PyArray_TYPE(<cnp.ndarray> weight) == cnp.PyArray_TYPE(<cnp.ndarray> x)
                              and cnp.PyArray_NDIM(<cnp.ndarray> weight) == 1 and cnp.PyArray_SIZE(weight) == n)


cdef class RowCalls(Calls):
    """Rows of plain logits (N, C) against class indices (N,)."""
    cdef object terms             # what the public function makes of arrays alone
    cdef int op

    def _fast_formula(self, terms, str kernel):
        self.terms, self.op, self.ready = terms, NLL if kernel == "nll_loss" else CROSS_ENTROPY, True

    cdef object fast(self, int mode, tuple args, dict kwargs):
        cdef RowsJob job
        cdef cnp.ndarray a
        cdef double sums[2]
        cdef double acc[2]
        cdef double divide_by
        cdef Py_ssize_t n, c
        cdef bint wide
        terms, out, reduction, rows = self.terms, None, "mean", None
        if len(args) < 2 or not (plain(args[0]) and cnp.PyArray_NDIM(<cnp.ndarray> args[0]) == 2):
            return None
        if kwargs or len(args) > 2:
            kwargs = kwargs.copy()
            out, reduction, rows = kwargs.pop("out", None), kwargs.pop("reduction", "mean"), kwargs.pop("sample_weight", None)
            if not (GENERAL.isdisjoint(kwargs) and ordinary(args, 1, kwargs)):
                return None
            if kwargs or len(args) > 2:
                terms = self._function(*args, **kwargs)
        axis, weight, x, y, a = terms.axis, terms.weight, args[0], args[1], args[0]
        n, c = a.shape[0], a.shape[1]
        if type(axis) is not int or (axis != 1 and axis != -1) or not known_reduction(reduction) or (out is not None and mode == VALUE_ONLY):
            return None
        if not (cnp.PyArray_CheckExact(y) and cnp.PyArray_NDIM(<cnp.ndarray> y) == 1 and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> y)):
            return None
        wide = cnp.PyArray_TYPE(y) == cnp.NPY_INT64
        if not (wide or cnp.PyArray_TYPE(y) == cnp.NPY_INT32) or cnp.PyArray_SIZE(y) != n:
            return None
        if not (fits(weight, c, x) and fits(rows, n, x)):
            return None
        memset(&job, 0, sizeof(RowsJob))
        job.rows.n_rows, job.rows.n_classes, job.rows.inner = n, c, 1
        job.rows.x.data, job.rows.x.outer, job.rows.x.classes = data_of(x), c, 1
        job.rows.target, job.rows.wide_target, job.rows.ignore_index = data_of(y), wide, terms.ignore_index
        job.rows.class_weight, job.rows.row_weight, job.rows.smoothing = data_of(weight), data_of(rows), terms.smoothing
        job.rows.z_loss, job.rows.gamma = terms.z_loss, terms.gamma
        sums[0], sums[1] = 0, 0
        if first_bad_index(y, c, job.rows.ignore_index, weight, rows, sums) >= 0 or sums[0] == 0:
            return None
        divide_by = sums[0] if reduction == "mean" else 1.0
        job.rows.scale, job.rows.want_grad, job.rows.want_hess = 1.0 / divide_by, mode != VALUE_ONLY, mode == WITH_HESS
        grad, hess = None, None
        if mode:
            grad = gradient_buffer(mode, out, x, y)
            if grad is None or (weight is not None and not disjoint(grad, weight)) or (rows is not None and not disjoint(grad, rows)):
                return None
            job.rows.out = job.rows.x
            job.rows.out.data = data_of(grad)
        if mode == WITH_HESS:
            hess = like(x)
            job.rows.hess = job.rows.x
            job.rows.hess.data = data_of(hess)
        losses = row_losses(reduction, mode, n, x)
        acc[0], acc[1], job.rows.value = 0, 0, data_of(losses)
        run_rows(&job, self.op if job.rows.smoothing == 0 else CROSS_ENTROPY_DENSE, is_double(x), acc)
        return answer(mode, scalar((acc[0] + acc[1]) / divide_by, is_double(x)) if losses is None else losses, grad, hess)


def softmax_calls(str op, general):
    """softmax or log_softmax of a plain array along one axis or all; everything else is for general(x, axis, out, where, dtype)."""
    cdef int index = ROW_OPS[op]

    def function(x, axis=None, *, out=None, where=None, dtype=None):
        cdef RowsJob job
        if not (FAST and where is None and dtype is None and plain(x) and rows_along(&job, x, axis)):
            return general(x, axis, out, where, dtype)
        y = result_like(out, x)
        if y is None:
            return general(x, axis, out, where, dtype)
        job.rows.out = job.rows.x
        job.rows.out.data = data_of(y)
        run_rows(&job, index, is_double(x), NULL)
        return y

    return function


cdef bint rows_along(RowsJob* job, cnp.ndarray x, object axis) noexcept:
    """The rows of a contiguous array along an axis given as an int, or along all; False where that is something else."""
    cdef Py_ssize_t i, n = cnp.PyArray_NDIM(x), at
    memset(job, 0, sizeof(RowsJob))
    if n == 0 or cnp.PyArray_SIZE(x) == 0:
        return False
    job.rows.inner = job.rows.n_rows = 1
    if axis is None:
        job.rows.n_classes = cnp.PyArray_SIZE(x)
    elif type(axis) is int and -n <= axis < n:
        at = axis if axis >= 0 else axis + n
        for i in range(n):
            if i > at:
                job.rows.inner *= x.shape[i]
            if i != at:
                job.rows.n_rows *= x.shape[i]
        job.rows.n_classes = x.shape[at]
    else:
        return False
    job.rows.x.data = data_of(x)
    job.rows.x.outer, job.rows.x.classes, job.rows.x.inner = job.rows.n_classes * job.rows.inner, job.rows.inner, 1
    return True


def fast_logsumexp(x, axis):
    """logsumexp of a plain array along one axis or all, or None."""
    cdef RowsJob job
    cdef cnp.npy_intp shape[32]
    cdef Py_ssize_t i, n = 0
    cdef cnp.ndarray a
    if not (FAST and plain(x) and rows_along(&job, x, axis)):
        return None
    a = x
    if axis is not None:
        for i in range(cnp.PyArray_NDIM(a)):
            if i != (axis if axis >= 0 else axis + cnp.PyArray_NDIM(a)):
                shape[n] = a.shape[i]
                n += 1
    total = cnp.PyArray_SimpleNew(n, shape, cnp.PyArray_TYPE(a))
    job.rows.out.data = data_of(total)
    run_rows(&job, LOGSUMEXP, is_double(x), NULL)
    return total if n else total[()]


def row_derivatives(approx, target, double factor, double least, bint exact, class_weight, int64_t ignore_index, double smoothing, double z_loss,
                    double gamma):
    """The gradient of a row's cross-entropy and the diagonal matrix of its second derivatives, or of ones, as lists, times factor.

    least: what second derivatives are at least. None for what must go the general way.
    """
    cdef double grad[64]
    cdef double hess[64]
    cdef int64_t y
    cdef Py_ssize_t i, n
    cdef list line, gradient, matrix
    if not (FAST and plain(approx) and cnp.PyArray_NDIM(<cnp.ndarray> approx) == 1 and is_double(approx) and type(target) is float):
        return None
    n = cnp.PyArray_SIZE(approx)
    if n > 64 or not 0 <= <double> target < n or (class_weight is not None and cnp.PyArray_SIZE(class_weight) != n):
        return None
    y = <int64_t> <double> target
    if y != <double> target or class_loss(data_of(approx), &y, data_of(class_weight), 1, n, ignore_index, smoothing, z_loss, gamma, 1.0, NULL,
                                          grad, hess if exact else NULL, True) != FASTLOSS_OK:
        return None
    gradient, matrix = [factor * grad[i] for i in range(n)], []
    for i in range(n):
        line = [0.0] * n
        line[i] = factor * (1.0 if not exact else least if hess[i] < least else hess[i])
        matrix.append(line)
    return gradient, matrix


def negated_pairs(grad, hess, double least):
    """Rows of minus a gradient and minus a second derivative, which is at least so much, of contiguous float64."""
    cdef cnp.npy_intp shape[2]
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(grad)
    shape[0], shape[1] = n, 2
    pairs = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_FLOAT64)
    cdef const double* first = <const double*> data_of(grad)
    cdef const double* second = <const double*> data_of(hess)
    cdef double* out = <double*> data_of(pairs)
    for i in range(n):
        out[2 * i], out[2 * i + 1] = -first[i], -(least if second[i] < least else second[i])
    return pairs
