# Activations as NumPy ufuncs: one inner loop for all of them, threads inside it for long arrays.

cdef enum:
    VALUE, BACKWARD, PARAMETER, GRAD      # the kernels; GRAD is BACKWARD with 1 for g

cdef bint LIGHT_ACTIVATION[MAX_FORMULAS]
for _i, _name in enumerate(ACTIVATIONS):
    LIGHT_ACTIVATION[_i] = _name in LIGHT

cdef float ONES_F32[BLOCK]
cdef double ONES_F64[BLOCK]
for _ in range(BLOCK):
    ONES_F32[_] = ONES_F64[_] = 1

cdef struct UfuncLoop:
    int index, which, n_inputs
    bint double_, half        # float16 computes in float32

cdef struct UfuncJob:
    UfuncLoop* loop
    char** args
    const cnp.npy_intp* steps
    Py_ssize_t n


ctypedef fused item_t:
    float
    double


cdef inline void copy_items(const char* source, Py_ssize_t source_step, char* out, Py_ssize_t out_step, Py_ssize_t n, item_t like) noexcept nogil:
    cdef Py_ssize_t i
    if source_step == sizeof(item_t) and out_step == sizeof(item_t):
        memcpy(out, source, n * sizeof(item_t))
        return
    for i in range(n):
        (<item_t*> (out + i * out_step))[0] = (<const item_t*> (source + i * source_step))[0]


cdef inline char* gather(const UfuncLoop* loop, char* source, Py_ssize_t step, char* block, Py_ssize_t n) noexcept nogil:
    """n values as a contiguous run of the working dtype: the array itself, or a copy in block."""
    cdef Py_ssize_t i
    if loop.half:
        for i in range(n):
            (<float*> block)[i] = npy_half_to_float((<npy_half*> (source + i * step))[0])
    elif step == (8 if loop.double_ else 4):
        return source
    elif loop.double_:
        copy_items[double](source, step, block, 8, n, 0)
    else:
        copy_items[float](source, step, block, 4, n, 0)
    return block


cdef inline void scatter(const UfuncLoop* loop, const char* block, char* out, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if loop.half:
        for i in range(n):
            (<npy_half*> (out + i * step))[0] = npy_float_to_half((<const float*> block)[i])
    elif loop.double_:
        copy_items[double](block, 8, out, step, n, 0)
    else:
        copy_items[float](block, 4, out, step, n, 0)


cdef void ufunc_range(UfuncJob* job, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t stride) noexcept nogil:
    """Blocks of `stride` elements: a block of inputs as contiguous runs, the kernel, and the result where it belongs."""
    cdef UfuncLoop* loop = job.loop
    cdef char block[MAX_ARRAYS][BLOCK * 8]
    cdef char* inputs[MAX_ARRAYS]
    cdef char* result
    cdef char* out
    cdef Py_ssize_t start, n, i, k = loop.n_inputs, first = loop.which == GRAD, size = 8 if loop.double_ else 4, step = job.steps[k]
    cdef kernel_t kernel = TABLE.activation[loop.index][loop.double_][1 if loop.which == GRAD else loop.which]
    cdef bint direct = step == size and not loop.half, streams = False
    for i in range(k):
        direct = direct and job.args[i] != job.args[k]
        if job.steps[i] == 0:                            # a parameter: one run serves all blocks
            gather(loop, job.args[i], 0, block[i], min(stride, end - begin))
    if direct and stride == BLOCK and job.n * size >= STREAM:
        streams = LIGHT_ACTIVATION[loop.index]
        for i in range(k):
            streams |= holds_up(job.args[k], job.args[i])
    inputs[0] = <char*> (ONES_F64 if loop.double_ else <void*> ONES_F32)
    start, n = begin, stride
    if direct and stride == BLOCK and end - begin > BLOCK:
        n -= <size_t> (job.args[k] + begin * size) % 64 // size      # the further blocks write whole cache lines
    while start < end:
        n = min(n, end - start)
        for i in range(k):
            inputs[first + i] = block[i]
            if job.steps[i] != 0 or stride == 1:
                inputs[first + i] = gather(loop, job.args[i] + start * job.steps[i], job.steps[i], block[i], n)
        out = job.args[k] + start * step
        result = out if direct and not streams else &block[k][0]
        run_kernel(kernel, inputs, first + k, &result, 1, NULL, n, size)
        if streams:
            TABLE.stream(out, result, n * size)
        elif not direct:
            scatter(loop, result, out, step, n)
        start += n
        n = stride
    if streams:
        stream_end()


cdef void ufunc_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef UfuncJob* job = <UfuncJob*> context
    ufunc_range(job, chunk * CHUNK, min((chunk + 1) * CHUNK, job.n), BLOCK)


cdef inline bint feeds_back(const char* source, Py_ssize_t source_step, const char* out, Py_ssize_t out_step, Py_ssize_t n) noexcept nogil:
    """Whether writing out changes inputs that are still to be read, as in ufunc.reduce and ufunc.accumulate."""
    if n < 2 or source == out and source_step == out_step and out_step != 0:
        return False
    cdef Py_ssize_t source_span = (n - 1) * source_step, span = (n - 1) * out_step
    cdef const char* a = source + (source_span if source_span < 0 else 0)
    cdef const char* b = out + (span if span < 0 else 0)
    return a < b + (span if span > 0 else -span) + 8 and b < a + (source_span if source_span > 0 else -source_span) + 8


cdef void ufunc_loop(char** args, const cnp.npy_intp* dimensions, const cnp.npy_intp* steps, void* data) noexcept nogil:
    cdef UfuncJob job
    cdef Py_ssize_t i
    cdef bint sequential = False
    cdef fl_status status = fl_save_status()
    job.loop, job.args, job.steps, job.n = <UfuncLoop*> data, args, steps, dimensions[0]
    for i in range(job.loop.n_inputs):
        sequential |= feeds_back(args[i], steps[i], args[job.loop.n_inputs], steps[job.loop.n_inputs], job.n)
    if sequential:
        ufunc_range(&job, 0, job.n, 1)
    elif job.n <= CHUNK or steps[job.loop.n_inputs] == 0:
        ufunc_range(&job, 0, job.n, BLOCK)
    else:
        Pool.run(ufunc_chunk, &job, (job.n + CHUNK - 1) // CHUNK, THREADS, <Poll> never)
    fl_restore_status(status)


cdef UfuncLoop LOOPS[MAX_FORMULAS][4][3]         # of float64, float32, float16: integers take the first loop of a ufunc that holds them
cdef void* LOOP_DATA[MAX_FORMULAS][4][3]
for _i, _arrays in enumerate(ACTIVATIONS.values()):
    for _which in range(4):
        for _k in range(3):
            LOOPS[_i][_which][_k] = UfuncLoop(index=_i, which=_which, n_inputs=len(_arrays) + (_which == BACKWARD or _which == PARAMETER),
                                              double_=_k == 0, half=_k == 2)
            LOOP_DATA[_i][_which][_k] = &LOOPS[_i][_which][_k]
cdef char LOOP_TYPES[MAX_ARRAYS][3 * MAX_ARRAYS]
cdef cnp.PyUFuncGenericFunction LOOP_FUNCTIONS[3]
cdef dict WHICH = {"value": VALUE, "backward": BACKWARD, "parameter": PARAMETER, "grad": GRAD}
_ufuncs = {}
_names = []


def each(task, pieces):
    """task(piece) for pieces of a large array, one after another: the loops of these ufuncs have threads of their own."""
    for piece in pieces:
        task(piece)


def ufunc(str formula, str which="value"):
    """The NumPy ufunc of an activation: which is "value", "grad" (f'(x)), "backward" (g * f'(x)) or "parameter" (g times
    the derivative by the parameter)."""
    key = (formula, which)
    if key in _ufuncs:
        return _ufuncs[key]
    cdef int index = ACTIVATION_INDEX[formula]
    cdef int i, j, code, kind = WHICH[which], n_inputs = LOOPS[index][kind][0].n_inputs
    for i, code in enumerate((cnp.NPY_FLOAT64, cnp.NPY_FLOAT32, cnp.NPY_FLOAT16)):
        LOOP_FUNCTIONS[i] = <cnp.PyUFuncGenericFunction> ufunc_loop
        for j in range(n_inputs + 1):
            LOOP_TYPES[n_inputs - 1][i * (n_inputs + 1) + j] = code
    name = formula.encode() if which == "value" else f"{formula}_{which}".encode()
    doc = f"{formula}: {which}".encode()
    _names.extend([name, doc])                           # the ufunc keeps pointers to them
    _ufuncs[key] = cnp.PyUFunc_FromFuncAndData(LOOP_FUNCTIONS, <void**> LOOP_DATA[index][kind], LOOP_TYPES[n_inputs - 1], 3,
                                               n_inputs, 1, cnp.PyUFunc_None, name, doc, 0)
    return _ufuncs[key]


cdef object MAX_EXACT = 1 << 53


cdef class ActivationCalls(ShortCalls):
    """Activations of plain arrays with numbers for parameters; `_call(which, args, kwargs)` is the general path."""
    cdef tuple terms              # (formula, parameters) of a call without parameters, None where they are required

    def _fast_formula(self, tuple terms):
        self.terms, self.ready = terms, True

    cdef object fast(self, int which, tuple args, dict kwargs):
        """The result, or None where an array is not plain or a parameter is one."""
        cdef UfuncJob job
        cdef char* pointers[MAX_ARRAYS]
        cdef cnp.npy_intp steps[MAX_ARRAYS]
        cdef double numbers[MAX_ARRAYS]
        cdef Py_ssize_t k = 0, size, n_arrays = 2 if which == BACKWARD else 1
        cdef tuple terms = self.terms
        cdef bint double_
        if <Py_ssize_t> len(args) < n_arrays:
            return None
        out, g, x = None, args[0], args[n_arrays - 1]
        if not plain(x) or cnp.PyArray_NDIM(<cnp.ndarray> x) == 0:
            return None
        if kwargs:
            if "where" in kwargs:
                return None
            kwargs = kwargs.copy()
            out = kwargs.pop("out", None)
        if kwargs or <Py_ssize_t> len(args) > n_arrays:
            if not ordinary(args, n_arrays, kwargs):
                return None
            terms = self._function(*args[n_arrays:], **kwargs)
        if terms is None:
            return None
        double_ = is_double(x)
        size = 8 if double_ else 4
        if which == BACKWARD:
            if not (plain(g) and same_shape(g, x) and is_double(g) == double_):
                return None
            pointers[0], steps[0], k = data_of(g), size, 1
        pointers[k], steps[k] = data_of(x), size
        out = result_like(out, x)
        if out is None or not exact_or_disjoint(out, g):
            return None
        for parameter in <tuple> terms[1]:
            if type(parameter) is not float and not (type(parameter) is int and -MAX_EXACT <= parameter <= MAX_EXACT):
                return None
            k += 1
            numbers[k], pointers[k], steps[k] = parameter, <char*> &numbers[k], 0
            if not double_:
                (<float*> &numbers[k])[0] = <float> numbers[k]
        pointers[k + 1], steps[k + 1] = data_of(out), size
        job.loop, job.args, job.steps, job.n = &LOOPS[ACTIVATION_INDEX[terms[0]]][which][not double_], pointers, steps, cnp.PyArray_SIZE(x)
        run_released(ufunc_chunk, &job, (job.n + CHUNK - 1) // CHUNK, job.n)
        return out

    def __call__(self, *args, **kwargs):
        result = self.short(VALUE, args, kwargs)
        return result if result is not None else self._call("value", args, kwargs)

    def grad(self, *args, **kwargs):
        """The derivative f'(x), in x's shape: the arguments of the activation."""
        result = self.short(GRAD, args, kwargs)
        return result if result is not None else self._call("grad", args, kwargs)

    def backward(self, *args, **kwargs):
        """g * f'(x) in one pass, the gradient of the input from the gradient g of the result: g, then the arguments of the activation."""
        result = self.short(BACKWARD, args, kwargs)
        return result if result is not None else self._call("backward", args, kwargs)


cdef inline bint exact_or_disjoint(object a, object b) noexcept:
    return cnp.PyArray_BYTES(<cnp.ndarray> a) == cnp.PyArray_BYTES(<cnp.ndarray> b) or disjoint(a, b)
