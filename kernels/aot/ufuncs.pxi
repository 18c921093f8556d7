# Activations as NumPy ufuncs: one inner loop for all of them, threads inside it for long arrays.

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
    cdef UfuncLoop* loop = job.loop
    cdef char block[4][BLOCK * 8]
    cdef char* inputs[3]
    cdef char* result
    cdef char* out
    cdef Py_ssize_t start, n, i, k = loop.n_inputs, size = 8 if loop.double_ else 4, step = job.steps[k]
    cdef bint direct = step == size and not loop.half
    for i in range(k):
        direct = direct and job.args[i] != job.args[k]
    for start from begin <= start < end by stride:
        n = min(stride, end - start)
        for i in range(k):
            inputs[i] = gather(loop, job.args[i] + start * job.steps[i], job.steps[i], block[i], n)
        out = job.args[k] + start * step
        result = out if direct else &block[3][0]
        run_kernel(TABLE.activation[loop.index][loop.double_][loop.which], inputs, k, &result, 1, NULL, n, size)
        if not direct:
            scatter(loop, result, out, step, n)


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


cdef UfuncLoop LOOPS[MAX_FORMULAS][3][3]
cdef void* LOOP_DATA[MAX_FORMULAS][3][3]
cdef char LOOP_TYPES[3][12]
cdef cnp.PyUFuncGenericFunction LOOP_FUNCTIONS[3]
_ufuncs = {}
_names = []


def ufunc(str formula, str which="value"):
    """The NumPy ufunc of an activation: which is "value", "grad" (f'(x)) or "backward" (g * f'(x))."""
    key = (formula, which)
    if key in _ufuncs:
        return _ufuncs[key]
    cdef int index = ACTIVATION_INDEX[formula]
    cdef int i, j, code, kind = ("value", "grad", "backward").index(which)
    cdef int n_inputs = len(ACTIVATIONS[formula]) + (kind == 2)
    # float64 first: integers take the first loop that holds them; float16 last
    for i, code in enumerate((cnp.NPY_FLOAT64, cnp.NPY_FLOAT32, cnp.NPY_FLOAT16)):
        LOOPS[index][kind][i] = UfuncLoop(index=index, which=kind, n_inputs=n_inputs, double_=i == 0, half=i == 2)
        LOOP_DATA[index][kind][i] = &LOOPS[index][kind][i]
        LOOP_FUNCTIONS[i] = <cnp.PyUFuncGenericFunction> ufunc_loop
        for j in range(n_inputs + 1):
            LOOP_TYPES[n_inputs - 1][i * (n_inputs + 1) + j] = code
    name = formula.encode() if which == "value" else f"{formula}_{which}".encode()
    doc = f"{formula}: {which}".encode()
    _names.extend([name, doc])                           # the ufunc keeps pointers to them
    _ufuncs[key] = cnp.PyUFunc_FromFuncAndData(LOOP_FUNCTIONS, <void**> LOOP_DATA[index][kind], LOOP_TYPES[n_inputs - 1], 3,
                                               n_inputs, 1, cnp.PyUFunc_None, name, doc, 0)
    return _ufuncs[key]
