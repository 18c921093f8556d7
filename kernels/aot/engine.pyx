# distutils: language = c++
"""The CPU engine: it cuts work into fixed chunks, runs them on the pool, and sums what they return in a fixed order.

Everything here is the same for every loss; what differs is in the table of kernels of the instruction set in use.
Arrays come checked: native, aligned float32 or float64, C-contiguous unless a View says otherwise.
"""
import importlib
import os
import threading

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t
from libc.math cimport NAN
from libc.string cimport memcpy, memset

import numpy as np

from .._generated.registry import ACTIVATIONS, LIGHT, LOSSES, STEPS

include "table.pxi"
include "sums.pxi"

cdef extern from "pool.hpp" namespace "fastloss" nogil:
    ctypedef void (*Task)(void*, Py_ssize_t)
    ctypedef int (*Poll)()
    cdef cppclass Pool:
        @staticmethod
        int run(Task, void*, Py_ssize_t, int, Poll)
    void install_fork_guard()

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    int PyErr_CheckSignals() noexcept     # the exception stays set; who sees -1 lets it rise

cdef extern from "stream.h" nogil:
    bint holds_up(const void* stored, const void* loaded)
    void stream_end()

cdef extern from "status.h" nogil:
    ctypedef unsigned int fl_status
    fl_status fl_save_status()
    void fl_restore_status(fl_status)

cdef extern from "numpy/arrayobject.h":
    object PyArray_Scalar(void*, cnp.dtype, object)

cdef extern from "numpy/halffloat.h" nogil:
    ctypedef unsigned short npy_half
    float npy_half_to_float(npy_half)
    npy_half npy_float_to_half(float)

cnp.import_array()
cnp.import_umath()
install_fork_guard()

name = "cython"

cdef enum:
    BLOCK = 1024          # elements that stay in the first-level cache between a kernel and the sum
    STEP_BLOCK = 256      # elements of a step that are copied at a time
    SMALL = 4096          # elements up to which neither threads nor the interpreter's lock matter
    CHUNK = 65536         # elements of one task and one partial sum
    SCRATCH = 65536       # bytes of scratch memory on the stack
    STREAM = 1 << 21      # bytes, of a second-level cache: longer outputs of light kernels go past the caches
    MAX_ARRAYS = 8
    MAX_INPUTS = 3
    MAX_OUTPUTS = 5
    MAX_PARAMS = 16

cdef Table* TABLE = NULL
cdef int THREADS = 1
cdef dict LOSS_INDEX = {key: i for i, key in enumerate(LOSSES)}
cdef Py_ssize_t LOSS_SIZES[MAX_FORMULAS][2]      # of each: arrays it takes, inputs it is differentiated by
cdef bint LIGHT_LOSS[MAX_FORMULAS]
for _i, (_name, (_arrays, _, _gradients)) in enumerate(LOSSES.items()):
    LOSS_SIZES[_i][0], LOSS_SIZES[_i][1], LIGHT_LOSS[_i] = len(_arrays), _gradients, _name in LIGHT
cdef dict STEP_INDEX = {key: i for i, key in enumerate(STEPS)}
cdef dict ACTIVATION_INDEX = {key: i for i, key in enumerate(ACTIVATIONS)}
cdef enum:
    VALUE_ONLY, WITH_GRAD, WITH_HESS, GRAD_ONLY
cdef dict MODE_INDEX = {"v": VALUE_ONLY, "vg": WITH_GRAD, "vgh": WITH_HESS, "g": GRAD_ONLY}
cdef dict ROW_OPS = {"softmax": SOFTMAX, "log_softmax": LOG_SOFTMAX, "logsumexp": LOGSUMEXP}
cdef cnp.dtype FLOAT32 = np.dtype(np.float32)
cdef cnp.dtype FLOAT64 = np.dtype(np.float64)


# ---- control ------------------------------------------------------------------------------------------------------

def use_table(isa):
    """Run the kernels built for one instruction set: "plain", or on x86-64 "v2", "v3", "v4"."""
    global TABLE
    module = importlib.import_module(f"{__package__}.table_{isa}")
    TABLE = <Table*> PyCapsule_GetPointer(module.table(), "fastloss.table")


def set_num_threads(int n):
    """Use n threads, the calling one included."""
    global THREADS
    THREADS = n


def get_num_threads():
    """The number of threads in use, the calling one included."""
    return THREADS


cdef public int fastloss_get_num_threads() noexcept nogil:   # threadpoolctl knows the library by this symbol
    return THREADS


cdef unsigned long MAIN = threading.main_thread().ident       # that of handlers of signals


def _this_is_the_main_thread():
    global MAIN
    MAIN = PyThread_get_thread_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_this_is_the_main_thread)


cdef int check_signals() noexcept with gil:
    return PyErr_CheckSignals()


cdef int interrupted() noexcept nogil:
    """Other threads never ask for the interpreter's lock here: Python ends a thread that does so while the interpreter ends."""
    return check_signals() if PyThread_get_thread_ident() == MAIN else 0


cdef int never() noexcept nogil:
    return 0


cdef int run(Task task, void* job, Py_ssize_t chunks, Py_ssize_t work, Poll poll) noexcept nogil:
    """All chunks of a job, -1 where poll stopped it; work, in elements, decides whether other threads are worth waking."""
    cdef int stopped
    cdef fl_status status = fl_save_status()
    if work <= SMALL:
        for chunk in range(chunks):
            task(job, chunk)
        stopped = 0
    else:
        stopped = Pool.run(task, job, chunks, THREADS if work > CHUNK else 1, poll)
    fl_restore_status(status)
    return stopped


cdef int run_released(Task task, void* job, Py_ssize_t chunks, Py_ssize_t work) except -1:
    """The same from Python, without the interpreter's lock where the work is long."""
    if work <= SMALL:
        return run(task, job, chunks, work, <Poll> interrupted)
    with nogil:
        return run(task, job, chunks, work, <Poll> interrupted)


# ---- compensated sums ---------------------------------------------------------------------------------------------

cdef inline void add_pair(double* acc, const double* pair) noexcept nogil:
    two_sum(acc, pair[0])
    two_sum(acc, pair[1])


cdef void add_all(double* acc, const double* pairs, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef fl_status status = fl_save_status()             # sums may overflow
    if acc != NULL:
        for i in range(n):
            add_pair(acc, pairs + 2 * i)
    fl_restore_status(status)


cdef int run_summed(Task task, void* job, double** sums, Py_ssize_t chunks, Py_ssize_t work, Poll poll, double* acc) noexcept nogil:
    """The same of a job whose chunks leave pairs in sums: acc gains them; -2 where memory is missing."""
    cdef double few[128]
    cdef int status
    sums[0] = &few[0]
    if chunks > 64:
        sums[0] = <double*> PyMem_RawMalloc(16 * chunks)
    if sums[0] == NULL:
        return -2
    memset(sums[0], 0, 16 * chunks)
    status = run(task, job, chunks, work, poll)
    add_all(acc, sums[0], chunks)
    if sums[0] != &few[0]:
        PyMem_RawFree(sums[0])
    sums[0] = NULL
    return status


cdef class Buffer:
    """Zeroed memory that goes with its owner."""
    cdef void* data

    def __cinit__(self, Py_ssize_t size):
        self.data = PyMem_RawMalloc(size if size else 1)
        if self.data == NULL:
            raise MemoryError(f"fastloss could not allocate {size} bytes")
        memset(self.data, 0, size)

    def __dealloc__(self):
        PyMem_RawFree(self.data)


# ---- elementwise losses -------------------------------------------------------------------------------------------

cdef struct Source:           # one value for each element, or `period` values that repeat
    char* data
    Py_ssize_t period


cdef struct LossJob:
    kernel_t kernel
    sum_t sum
    weigh_t weigh
    Py_ssize_t n, size, n_inputs, n_gradients, n_outputs
    Source inputs[MAX_INPUTS]
    char* out[MAX_OUTPUTS]    # value, gradients, second derivatives; NULL where not wanted
    bint wanted[MAX_OUTPUTS]
    bint aliased              # an output is an input: results go through the block
    bint streams              # they go through the block and past the caches
    bint light                # memory bounds it, not the processor
    Source weight
    Source upstream
    char* mask
    double params[MAX_PARAMS]
    double* sums


cdef char* block_of(const Source* source, char* spare, Py_ssize_t start, Py_ssize_t n, Py_ssize_t size, bint first) noexcept nogil:
    """Elements start .. start + n: where they stand, or in spare where they repeat (left there by the block before, if that fits)."""
    cdef Py_ssize_t period = source.period * size, length = n * size, at, done, part
    if source.data == NULL or period == 0:
        return source.data + start * size if source.data != NULL else NULL
    if not first and BLOCK % source.period == 0:
        return spare
    at = start % source.period * size
    at = min(length, period - at)
    memcpy(spare, source.data + start % source.period * size, at)
    done = at
    while done < length:                                 # what follows begins with the first value, and doubles
        part = min(period if done == at else done - at, length - done)
        memcpy(spare + done, source.data if done == at else spare + at, part)
        done += part
    return spare


cdef void run_kernel(kernel_t kernel, char** inputs, Py_ssize_t n_inputs, char** outputs, Py_ssize_t n_outputs,
                     const double* params, Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """Whole vectors in place; the rest through a padded copy, so that a value has the same bits wherever it stands."""
    cdef char tail[MAX_ARRAYS][LANES * 8]
    cdef void* arrays[MAX_ARRAYS]
    cdef Py_ssize_t whole = n - n % LANES, rest = (n - whole) * size, i, l
    for i in range(n_inputs):
        arrays[i] = inputs[i]
    for i in range(n_outputs):
        arrays[n_inputs + i] = outputs[i]
    if whole:
        kernel(arrays, params, whole)
    if rest:
        for i in range(n_inputs):
            memcpy(tail[i], inputs[i] + whole * size, rest)
            for l from rest <= l < LANES * size by size:
                memcpy(tail[i] + l, tail[i], size)
            arrays[i] = tail[i]
        for i in range(n_outputs):
            arrays[n_inputs + i] = tail[n_inputs + i]
        kernel(arrays, params, LANES)
        for i in range(n_outputs):
            if outputs[i] != NULL:
                memcpy(outputs[i] + whole * size, tail[n_inputs + i], rest)


cdef void loss_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef LossJob* job = <LossJob*> context
    cdef char block[MAX_OUTPUTS][BLOCK * 8]
    cdef char spare[MAX_INPUTS + 2][BLOCK * 8]
    cdef char* inputs[MAX_INPUTS]
    cdef char* outputs[MAX_OUTPUTS]
    cdef char* weight
    cdef char* upstream
    cdef bint first = True
    cdef Py_ssize_t start, stop = min((chunk + 1) * CHUNK, job.n), n, i, at
    for start from chunk * CHUNK <= start < stop by BLOCK:
        n = min(BLOCK, stop - start)
        at = start * job.size
        for i in range(job.n_inputs):
            inputs[i] = block_of(&job.inputs[i], spare[i], start, n, job.size, first)
        weight = block_of(&job.weight, spare[MAX_INPUTS], start, n, job.size, first)
        upstream = block_of(&job.upstream, spare[MAX_INPUTS + 1], start, n, job.size, first)
        first = False
        for i in range(job.n_outputs):
            outputs[i] = &block[i][0] if i == 0 or job.aliased or job.streams or job.out[i] == NULL else job.out[i] + at
        run_kernel(job.kernel, inputs, job.n_inputs, outputs, job.n_outputs, job.params, n, job.size)
        for i in range(job.n_outputs):
            if not job.wanted[i]:
                continue
            if weight != NULL or job.mask != NULL:
                job.weigh(outputs[i], weight, <unsigned char*> (job.mask + start if job.mask != NULL else NULL), 1.0, n)
            if i and upstream != NULL:
                job.weigh(outputs[i], upstream, NULL, 1.0, n)
            if job.out[i] != NULL and job.streams:
                TABLE.stream(job.out[i] + at, outputs[i], n * job.size)
            elif job.out[i] != NULL and outputs[i] != job.out[i] + at:
                memcpy(job.out[i] + at, outputs[i], n * job.size)
        if job.wanted[0]:
            two_sum(job.sums + 2 * chunk, job.sum(block[0], n))
    if job.streams:
        stream_end()


cdef inline char* data_of(object array) noexcept:
    if array is None:
        return NULL
    return <char*> cnp.PyArray_DATA(<cnp.ndarray> array)


cdef inline bint is_double(object array) noexcept:
    return cnp.PyArray_TYPE(<cnp.ndarray> array) == cnp.NPY_FLOAT64


cdef void prepare_loss(LossJob* job, int index, int mode, bint double_, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    memset(job, 0, sizeof(LossJob))
    job.kernel, job.sum, job.weigh = TABLE.loss[index][double_][mode], TABLE.sum[double_], TABLE.weigh[double_]
    job.n, job.size, job.n_inputs, job.n_gradients = n, 8 if double_ else 4, LOSS_SIZES[index][0], LOSS_SIZES[index][1]
    job.n_outputs, job.light = 1 + 2 * job.n_gradients, LIGHT_LOSS[index]
    for i in range(job.n_outputs):
        job.wanted[i] = mode != GRAD_ONLY if i == 0 else mode != VALUE_ONLY if i <= job.n_gradients else mode == WITH_HESS


cdef void route(LossJob* job) noexcept nogil:
    """How results reach their arrays: at once, through the block, or past the caches."""
    cdef Py_ssize_t i, j
    job.streams = job.light
    for i in range(job.n_outputs):
        if job.out[i] != NULL:
            for j in range(job.n_inputs):
                job.aliased |= job.out[i] == job.inputs[j].data
                job.streams |= holds_up(job.out[i], job.inputs[j].data)
            job.aliased |= job.out[i] == job.weight.data or job.out[i] == job.upstream.data
    job.streams &= job.n * job.size >= STREAM and not job.aliased


cdef inline Source source_of(object array, Py_ssize_t n) noexcept:
    cdef Source source
    source.data, source.period = data_of(array), 0
    if array is not None and cnp.PyArray_SIZE(array) != n:
        source.period = cnp.PyArray_SIZE(array)
    return source


def loss(str formula, str mode, tuple params, tuple inputs, weight, mask, upstream, double scale, tuple outputs, acc):
    """An elementwise loss over contiguous arrays; outputs (value, *gradients, *second derivatives) are filled, acc gains the sum.

    Inputs after the first, weight and upstream may be shorter: they repeat.
    """
    cdef LossJob job
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(inputs[0])
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK
    prepare_loss(&job, LOSS_INDEX[formula], MODE_INDEX[mode], is_double(inputs[0]), n)
    for i in range(job.n_inputs):
        job.inputs[i] = source_of(inputs[i], n)
    job.params[0] = scale
    for i in range(len(params)):
        job.params[i + 1] = params[i]
    job.weight, job.mask, job.upstream = source_of(weight, n), data_of(mask), source_of(upstream, n)
    for i in range(job.n_outputs):
        job.out[i] = data_of(outputs[i])
    route(&job)
    cdef Buffer sums = Buffer(16 * chunks)
    job.sums = <double*> sums.data
    run_released(loss_chunk, &job, chunks, n)
    add_all(<double*> data_of(acc), job.sums, chunks)


cdef struct OutsideJob:
    outside_t count
    char* values
    char* mask
    Py_ssize_t n, size
    double low, high
    bint ends
    Py_ssize_t* found         # position + 1 in each chunk


cdef void outside_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef OutsideJob* job = <OutsideJob*> context
    cdef Py_ssize_t i, start, n, stop = min((chunk + 1) * CHUNK, job.n)
    for start from chunk * CHUNK <= start < stop by BLOCK:
        n = min(BLOCK, stop - start)
        if job.count(job.values + start * job.size, n, job.low, job.high, job.ends):
            for i in range(start, start + n):
                if (job.mask == NULL or job.mask[i]) and job.count(job.values + i * job.size, 1, job.low, job.high, job.ends):
                    job.found[chunk] = i + 1
                    return


cdef Py_ssize_t find_outside(OutsideJob* job, bint double_) except -2:
    cdef Py_ssize_t chunk, one = 0, chunks = (job.n + CHUNK - 1) // CHUNK
    cdef Buffer found
    job.count, job.size, job.found = TABLE.outside[double_], 8 if double_ else 4, &one
    if chunks > 1:
        found = Buffer(chunks * sizeof(Py_ssize_t))
        job.found = <Py_ssize_t*> found.data
    run_released(outside_chunk, job, chunks, job.n)
    for chunk in range(chunks):
        if job.found[chunk]:
            return job.found[chunk] - 1
    return -1


def first_outside(values, mask, double low, double high, bint ends):
    """The position of the first value outside [low, high], or where ends other than low and high, among those where mask; or -1."""
    cdef OutsideJob job
    job.values, job.mask, job.n = data_of(values), data_of(mask), cnp.PyArray_SIZE(values)
    job.low, job.high, job.ends = low, high, ends
    return find_outside(&job, is_double(values))


cdef struct TotalJob:
    sum_t sum
    weigh_t weigh
    char* values
    char* mask
    Py_ssize_t n, size
    double* sums


cdef void total_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef TotalJob* job = <TotalJob*> context
    cdef char block[BLOCK * 8]
    cdef Py_ssize_t start, n, stop = min((chunk + 1) * CHUNK, job.n)
    cdef char* values
    for start from chunk * CHUNK <= start < stop by BLOCK:
        n = min(BLOCK, stop - start)
        values = job.values + start * job.size
        if job.mask != NULL:
            memcpy(block, values, n * job.size)
            values = block
            job.weigh(values, NULL, <unsigned char*> (job.mask + start), 1.0, n)
        two_sum(job.sums + 2 * chunk, job.sum(values, n))


def total(values, mask, acc):
    """acc gains the sum of the values where mask (None: everywhere)."""
    cdef TotalJob job
    cdef bint double_ = is_double(values)
    job.sum, job.weigh, job.values, job.mask = TABLE.sum[double_], TABLE.weigh[double_], data_of(values), data_of(mask)
    job.n, job.size = cnp.PyArray_SIZE(values), 8 if double_ else 4
    cdef Py_ssize_t chunks = (job.n + CHUNK - 1) // CHUNK
    cdef Buffer sums = Buffer(16 * chunks)
    job.sums = <double*> sums.data
    run_released(total_chunk, &job, chunks, job.n)
    add_all(<double*> data_of(acc), job.sums, chunks)


# ---- rows ---------------------------------------------------------------------------------------------------------

cdef struct RowsJob:
    Rows rows
    rows_t kernel
    Py_ssize_t chunk, scratch
    double* sums
    Poll poll
    unsigned long caller
    bint failed, halted


cdef int rows_halted(const void* rows) noexcept nogil:
    """Whether an interrupt ends the job of these rows; the thread that called looks for it."""
    cdef RowsJob* job = <RowsJob*> rows
    if not job.halted and PyThread_get_thread_ident() == job.caller and job.poll() != 0:
        job.halted = True
    return job.halted


cdef void rows_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef RowsJob* job = <RowsJob*> context
    cdef char few[SCRATCH + 64]
    cdef char* scratch = few
    if job.failed or job.halted:
        return
    if job.scratch > SCRATCH:
        scratch = <char*> PyMem_RawMalloc(job.scratch + 64)
        if scratch == NULL:
            job.failed = True
            return
    job.kernel(&job.rows, chunk * job.chunk, min((chunk + 1) * job.chunk, job.rows.n_rows),
               <void*> ((<uintptr_t> scratch + 63) & ~<uintptr_t> 63), job.sums + 2 * chunk)
    if scratch != few:
        PyMem_RawFree(scratch)


cdef Py_ssize_t scratch_size(Py_ssize_t n_classes, Py_ssize_t size) noexcept nogil:
    """Bytes: four tiles, or three arrays for a piece of a row, for rows that fit one, or for a whole row."""
    if n_classes < SHORT_ROW:
        return size * 4 * LANES * SHORT_ROW
    return size * 3 * (max(PIECE, n_classes if n_classes <= WHOLE_ROW else 0) + LANES * LANES)


cdef int launch_rows(RowsJob* job, int op, bint double_, double* acc, Poll poll) noexcept nogil:
    """0, -1 where poll stopped it, -2 where memory is missing."""
    cdef Py_ssize_t size = 8 if double_ else 4, c = job.rows.n_classes, per_row = max(c, 1)
    cdef int status
    job.kernel = TABLE.rows[op][double_]
    job.chunk = max(CHUNK // 2 // per_row, 1)
    if c < SHORT_ROW:
        job.chunk = (job.chunk + LANES - 1) // LANES * LANES
    job.scratch = scratch_size(c, size)
    job.failed, job.halted, job.poll, job.caller, job.rows.halted = False, False, poll, PyThread_get_thread_ident(), rows_halted
    status = run_summed(rows_chunk, job, &job.sums, (job.rows.n_rows + job.chunk - 1) // job.chunk, job.rows.n_rows * per_row, poll, acc)
    return -2 if job.failed else -1 if job.halted else status


cdef int run_rows(RowsJob* job, int op, bint double_, double* acc) except -1:
    cdef int status
    if job.rows.n_rows * max(job.rows.n_classes, 1) <= SMALL:
        status = launch_rows(job, op, double_, acc, <Poll> interrupted)
    else:
        with nogil:
            status = launch_rows(job, op, double_, acc, <Poll> interrupted)
    if status == -2:
        raise MemoryError(f"fastloss could not allocate {job.scratch} bytes")
    return status


cdef int set_view(View* view, object array) except -1:
    cdef cnp.ndarray a = array
    cdef Py_ssize_t size = a.descr.itemsize
    view.data = <char*> cnp.PyArray_DATA(a)
    view.outer, view.classes, view.inner = a.strides[0] // size, a.strides[1] // size, a.strides[2] // size
    return 0


cdef int prepare_rows(RowsJob* job, object x) except -1:
    memset(job, 0, sizeof(RowsJob))
    cdef cnp.ndarray a = x
    job.rows.n_rows, job.rows.n_classes, job.rows.inner = a.shape[0] * a.shape[2], a.shape[1], a.shape[2]
    job.rows.scale = 1.0
    return set_view(&job.rows.x, x)


def softmax(str op, x, out):
    """op "softmax", "log_softmax": out (outer, C, inner); "logsumexp": out (outer, inner), contiguous."""
    cdef RowsJob job
    prepare_rows(&job, x)
    if op == "logsumexp":
        job.rows.out.data = data_of(out)
    else:
        set_view(&job.rows.out, out)
    run_rows(&job, ROW_OPS[op], is_double(x), NULL)


def softmax_backward(str op, g, y, out):
    """The gradient of a softmax or log_softmax from the upstream gradient g and the result y."""
    cdef RowsJob job
    prepare_rows(&job, y)
    set_view(&job.rows.aux, g)
    set_view(&job.rows.out, out)
    run_rows(&job, SOFTMAX_BACKWARD if op == "softmax" else LOG_SOFTMAX_BACKWARD, is_double(y), NULL)


ctypedef fused index_t:
    int32_t
    int64_t


cdef Py_ssize_t check_indices(const index_t* target, Py_ssize_t n, Py_ssize_t n_classes, int64_t ignore_index, const char* class_weight,
                              const char* row_weight, bint double_, double* sums) noexcept nogil:
    """The first bad index or -1; sums = weight of the used rows (compensated), and their number."""
    cdef Py_ssize_t i, used = 0, bad = 0
    cdef int64_t t
    cdef double w, pair[2]
    for i in range(n):
        t = target[i]
        used += t != ignore_index
        bad += (t != ignore_index) & (<uint64_t> t >= <uint64_t> n_classes)
    if bad or class_weight != NULL or row_weight != NULL:
        used, pair[0], pair[1] = 0, 0, 0
        for i in range(n):
            t = target[i]
            w = 1.0
            if row_weight != NULL:
                w = (<const double*> row_weight)[i] if double_ else (<const float*> row_weight)[i]
            if t == ignore_index or w == 0:
                continue
            if <uint64_t> t >= <uint64_t> n_classes:
                return i
            if class_weight != NULL:
                w *= (<const double*> class_weight)[t] if double_ else (<const float*> class_weight)[t]
            used += 1
            two_sum(pair, w)
        sums[0] += pair[0] + pair[1]
    else:
        sums[0] += used
    sums[1] += used
    return -1


cdef Py_ssize_t first_bad_index(target, Py_ssize_t n_classes, int64_t ignore_index, class_weight, row_weight, double* sums) noexcept:
    """check_indices of an array of int64 or int32; the weights have one dtype."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(target)
    cdef const char* classes = data_of(class_weight)
    cdef const char* rows = data_of(row_weight)
    cdef bint double_ = is_double(class_weight) if class_weight is not None else row_weight is not None and is_double(row_weight)
    if cnp.PyArray_TYPE(target) == cnp.NPY_INT64:
        return check_indices[int64_t](<int64_t*> data_of(target), n, n_classes, ignore_index, classes, rows, double_, sums)
    return check_indices[int32_t](<int32_t*> data_of(target), n, n_classes, ignore_index, classes, rows, double_, sums)


def check_targets(target, Py_ssize_t n_classes, int64_t ignore_index, class_weight, row_weight, sums):
    """The position of the first index outside [0, n_classes), or -1; sums gains [weight of the used rows, their number]."""
    return first_bad_index(target, n_classes, ignore_index, class_weight, row_weight, <double*> cnp.PyArray_DATA(sums))


cdef int row_outputs(RowsJob* job, target, class_weight, row_weight, upstream, ignore_index, double scale, value, grad, hess) except -1:
    cdef Rows* rows = &job.rows
    if cnp.PyArray_TYPE(target) == cnp.NPY_INT64 or cnp.PyArray_TYPE(target) == cnp.NPY_INT32:
        rows.target, rows.wide_target = data_of(target), cnp.PyArray_TYPE(target) == cnp.NPY_INT64
        rows.ignore_index = ignore_index
    else:
        set_view(&rows.aux, target)
    rows.class_weight, rows.row_weight, rows.upstream = data_of(class_weight), data_of(row_weight), data_of(upstream)
    rows.scale, rows.value = scale, data_of(value)
    rows.want_grad, rows.want_hess = grad is not None, hess is not None
    if rows.want_grad:
        set_view(&rows.out, grad)
    if rows.want_hess:
        set_view(&rows.hess, hess)
    return 0


def cross_entropy(str mode, x, target, class_weight, row_weight, upstream, ignore_index, double smoothing, double z_loss,
                  double gamma, double scale, value, grad, hess, acc):
    """Cross-entropy of the rows of x (outer, C, inner) against class indices or probabilities, each class's part times (1 - p)^gamma."""
    cdef RowsJob job
    prepare_rows(&job, x)
    row_outputs(&job, target, class_weight, row_weight, upstream, ignore_index, scale, value, grad, hess)
    job.rows.smoothing, job.rows.z_loss, job.rows.gamma = smoothing, z_loss, gamma
    run_rows(&job, CROSS_ENTROPY if job.rows.target != NULL and smoothing == 0 else CROSS_ENTROPY_DENSE, is_double(x), <double*> data_of(acc))


def nll_loss(str mode, x, target, class_weight, row_weight, upstream, ignore_index, double scale, value, grad, hess, acc):
    """-w[t] x[t] of the rows of x (outer, C, inner)."""
    cdef RowsJob job
    prepare_rows(&job, x)
    row_outputs(&job, target, class_weight, row_weight, upstream, ignore_index, scale, value, grad, hess)
    run_rows(&job, NLL, is_double(x), <double*> data_of(acc))


include "calls.pxi"
include "lines.pxi"
include "sequences.pxi"


# ---- optimizer steps ----------------------------------------------------------------------------------------------

cdef struct StepJob:
    kernel_t kernel
    const int64_t* addresses  # n_arrays - 1 a tensor: the parameter and its states
    const int64_t* pieces     # (tensor, start, length)
    const int64_t* tasks      # task i: pieces tasks[i] to tasks[i + 1]
    char** grads
    Py_ssize_t n_arrays, size
    double params[MAX_PARAMS]


cdef void step_task(void* context, Py_ssize_t task) noexcept nogil:
    cdef StepJob* job = <StepJob*> context
    cdef const int64_t* piece
    cdef const int64_t* addresses
    cdef char* arrays[MAX_ARRAYS]
    cdef Py_ssize_t p, at, i
    for p in range(job.tasks[task], job.tasks[task + 1]):
        piece = job.pieces + 3 * p
        addresses = job.addresses + piece[0] * (job.n_arrays - 1)
        at = piece[1] * job.size
        arrays[0], arrays[1] = <char*> <uintptr_t> addresses[0] + at, job.grads[piece[0]] + at
        for i in range(2, job.n_arrays):
            arrays[i] = <char*> <uintptr_t> addresses[i - 1] + at
        run_step(job, arrays, piece[2])


cdef void run_step(StepJob* job, char** arrays, Py_ssize_t n) noexcept nogil:
    """Whole vectors in place; the rest, or all where arrays hold up each other, through a copy. The gradient, arrays[1], is only read."""
    cdef char block[MAX_ARRAYS][STEP_BLOCK * 8]
    cdef void* blocks[MAX_ARRAYS]
    cdef Py_ssize_t start = n - n % LANES, i, j, m, whole
    if n > BLOCK:
        for i in range(job.n_arrays):
            for j in range(job.n_arrays):
                if i != 1 and i != j and holds_up(arrays[i], arrays[j]):
                    start = 0
    if start:
        job.kernel(<void**> arrays, job.params, start)
    while start < n:
        m = min(STEP_BLOCK, n - start)
        whole = (m + LANES - 1) // LANES * LANES
        for i in range(job.n_arrays):
            blocks[i] = block[i]
            memcpy(block[i], arrays[i] + start * job.size, m * job.size)
            memset(block[i] + m * job.size, 0, (whole - m) * job.size)
        job.kernel(blocks, job.params, whole)
        for i in range(job.n_arrays):
            if i != 1:
                memcpy(arrays[i] + start * job.size, block[i], m * job.size)
        start += m


def matches(list grads, list params, lows, highs):
    """Whether every gradient is a plain array of its parameter's shape and dtype, away from the memory between lows and highs.

    lows are sorted addresses where memory in use begins, highs[i] is the largest end among the first i + 1.
    """
    cdef Py_ssize_t i, first, last, middle, n = cnp.PyArray_SIZE(lows)
    cdef const int64_t* low = <const int64_t*> data_of(lows)
    cdef const int64_t* high = <const int64_t*> data_of(highs)
    cdef int64_t start, stop
    cdef cnp.ndarray g, p
    if len(grads) != len(params):
        return False
    for i in range(len(grads)):
        if not plain(grads[i]):
            return False
        g, p = <cnp.ndarray> grads[i], <cnp.ndarray> params[i]
        if cnp.PyArray_TYPE(g) != cnp.PyArray_TYPE(p) or not same_shape(g, p):
            return False
        start = <int64_t> <uintptr_t> cnp.PyArray_DATA(g)
        stop = start + cnp.PyArray_NBYTES(g)
        first, last = 0, n
        while first < last:
            middle = (first + last) // 2
            if low[middle] < stop:
                first = middle + 1
            else:
                last = middle
        if first and high[first - 1] > start:
            return False
    return True


def step(str formula, tensors, list grads, tuple params):
    """One optimizer step over Tensors and their gradients, in one parallel region."""
    cdef StepJob job
    cdef Py_ssize_t i, n_tasks, work = tensors.elements
    cdef cnp.ndarray addresses = tensors.addresses, tasks = tensors.tasks
    cdef char* few[16]
    cdef Buffer many
    job.size = tensors.itemsize
    job.kernel = TABLE.step[<int> STEP_INDEX[formula]][job.size == 8]
    job.n_arrays = addresses.shape[1] + 1
    job.addresses, job.pieces, job.tasks = <int64_t*> data_of(addresses), <int64_t*> data_of(tensors.pieces), <int64_t*> data_of(tasks)
    for i in range(len(params)):
        job.params[i] = params[i]
    job.grads = few
    if len(grads) > 16:
        many = Buffer(len(grads) * sizeof(void*))
        job.grads = <char**> many.data
    for i in range(len(grads)):
        job.grads[i] = data_of(grads[i])
    n_tasks = tasks.shape[0] - 1
    cdef fl_status status = fl_save_status()
    if work <= SMALL:
        for i in range(n_tasks):
            step_task(&job, i)
    else:
        with nogil:                                      # a step that has begun is finished: no look at interrupts
            Pool.run(step_task, &job, n_tasks, THREADS if work > CHUNK else 1, <Poll> never)
    fl_restore_status(status)


def step_one(str formula, list arrays, tuple params):
    """A step of [param, grad, *states] where all are plain, alike, apart and small; whether they are."""
    cdef StepJob job
    cdef char* data[MAX_ARRAYS]
    cdef Py_ssize_t i, j, n
    cdef fl_status status
    for i in range(len(arrays)):
        if not plain(arrays[i]) or (i != 1 and not cnp.PyArray_ISWRITEABLE(arrays[i])):
            return False
        data[i] = data_of(arrays[i])
        for j in range(i):
            if not same_shape(arrays[i], arrays[j]) or is_double(arrays[i]) != is_double(arrays[j]) or not disjoint(arrays[i], arrays[j]):
                return False
    n = cnp.PyArray_SIZE(arrays[0])
    if n > SMALL:
        return False
    job.size = 8 if is_double(arrays[0]) else 4
    job.kernel, job.n_arrays = TABLE.step[<int> STEP_INDEX[formula]][job.size == 8], len(arrays)
    for i in range(len(params)):
        job.params[i] = params[i]
    status = fl_save_status()
    run_step(&job, data, n)
    fl_restore_status(status)
    return True


include "ufuncs.pxi"
include "pointers.pxi"
