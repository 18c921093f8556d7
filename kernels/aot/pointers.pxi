# Under the functions on pointers that Cython and C may call (kernels/pointers.py writes those): no interpreter, no signals.
from libc.math cimport pow, sqrt

cdef struct Entry:
    const char* prototype
    void* function


cdef void set_rows(View* view, const void* data, Py_ssize_t classes) noexcept nogil:
    view.data, view.outer, view.classes = <char*> data, classes, 1


cdef int row_function(int op, const void* x, const void* aux, void* out, Py_ssize_t rows, Py_ssize_t classes, bint double_) noexcept nogil:
    cdef RowsJob job
    if rows < 0 or classes < 0:
        return FASTLOSS_BAD_ARGUMENT
    memset(&job, 0, sizeof(RowsJob))
    job.rows.n_rows, job.rows.n_classes, job.rows.inner, job.rows.scale = rows, classes, 1, 1.0
    set_rows(&job.rows.x, x, classes)
    set_rows(&job.rows.aux, aux, classes)
    set_rows(&job.rows.out, out, classes)
    return launch_rows(&job, op, double_, NULL, <Poll> never)


cdef int class_loss(const void* x, const int64_t* target, const void* weight, Py_ssize_t rows, Py_ssize_t classes, int64_t ignore_index,
                    double smoothing, double z_loss, double gamma, double divide_by, double* value, void* grad, void* hess, bint double_) noexcept nogil:
    cdef RowsJob job
    cdef double sums[2]
    cdef double acc[2]
    cdef int status = FASTLOSS_OK
    sums[0], sums[1], acc[0], acc[1] = 0, 0, 0, 0
    if rows < 0 or classes < 0 or not 0 <= smoothing <= 1 or hess != NULL and grad == NULL:
        return FASTLOSS_BAD_ARGUMENT
    if check_indices[int64_t](target, rows, classes, ignore_index, <const char*> weight, NULL, double_, sums) >= 0:
        return FASTLOSS_BAD_TARGET
    memset(&job, 0, sizeof(RowsJob))
    job.rows.n_rows, job.rows.n_classes, job.rows.inner = rows, classes, 1
    set_rows(&job.rows.x, x, classes)
    set_rows(&job.rows.out, grad, classes)
    set_rows(&job.rows.hess, hess, classes)
    job.rows.target, job.rows.wide_target, job.rows.ignore_index = target, True, ignore_index
    job.rows.class_weight, job.rows.smoothing, job.rows.z_loss, job.rows.gamma = weight, smoothing, z_loss, gamma
    job.rows.want_grad, job.rows.want_hess = grad != NULL, hess != NULL
    if divide_by == 0:
        divide_by = sums[0]
    job.rows.scale = 1.0 / divide_by
    if divide_by != 0:
        status = launch_rows(&job, CROSS_ENTROPY if smoothing == 0 else CROSS_ENTROPY_DENSE, double_, acc, <Poll> never)
    else:                                                # nothing took part
        if grad != NULL:
            memset(grad, 0, rows * classes * (8 if double_ else 4))
        if hess != NULL:
            memset(hess, 0, rows * classes * (8 if double_ else 4))
    if value != NULL:
        value[0] = (acc[0] + acc[1]) / divide_by if divide_by != 0 else NAN
    return status


cdef int elementwise_loss(int index, bint double_, const void** inputs, const double* params, Py_ssize_t n_params, const void* weight,
                          Py_ssize_t n, double* value, void** results) noexcept nogil:
    """params: what the sum is divided by (0: n), then the formula's; results: gradients, then second derivatives."""
    cdef LossJob job
    cdef double acc[2]
    cdef double divide_by = params[0] if params[0] != 0 else n
    cdef Py_ssize_t i
    cdef bint grad = False, hess = False
    cdef int status = FASTLOSS_OK
    if n < 0:
        return FASTLOSS_BAD_ARGUMENT
    for i in range(LOSS_SIZES[index][1]):
        grad |= results[i] != NULL
        hess |= results[LOSS_SIZES[index][1] + i] != NULL
    prepare_loss(&job, index, 2 if hess else 0 if not grad else 1 if value != NULL else 3, double_, n)
    for i in range(job.n_inputs):
        job.inputs[i].data = <char*> inputs[i]
        job.inputs[i].period = 1 if i > 1 and job.n_gradients == 1 else 0
    job.weight.data, job.weight.period = <char*> weight, 0
    for i in range(1, job.n_outputs):
        job.out[i] = <char*> results[i - 1]
    route(&job)
    job.params[0] = 1.0 / divide_by
    for i in range(1, n_params + 1):
        job.params[i] = params[i]
    acc[0], acc[1] = 0, 0
    if grad or hess or value != NULL:
        status = run_summed(loss_chunk, &job, &job.sums, (n + CHUNK - 1) // CHUNK, n, <Poll> never, acc)
    if value != NULL:
        value[0] = (acc[0] + acc[1]) / divide_by if divide_by != 0 else NAN
    return status


cdef int elementwise(int index, int which, bint double_, const void* g, const void* x, const double* numbers, Py_ssize_t n_numbers,
                     void* out, Py_ssize_t n) noexcept nogil:
    cdef UfuncLoop loop
    cdef UfuncJob job
    cdef char* args[MAX_ARRAYS]
    cdef cnp.npy_intp steps[MAX_ARRAYS]
    cdef float narrow[MAX_ARRAYS]
    cdef Py_ssize_t i, k = 0, size = 8 if double_ else 4
    if n < 0:
        return FASTLOSS_BAD_ARGUMENT
    if g != NULL:
        args[0], steps[0], k = <char*> g, size, 1
    args[k], steps[k] = <char*> x, size
    for i in range(n_numbers):
        narrow[i] = <float> numbers[i]
        args[k + 1 + i], steps[k + 1 + i] = <char*> &numbers[i] if double_ else <char*> &narrow[i], 0
    k += 1 + n_numbers
    args[k], steps[k] = <char*> out, size
    loop.index, loop.which, loop.n_inputs, loop.double_, loop.half = index, which, <int> k, double_, False
    job.loop, job.args, job.steps, job.n = &loop, args, steps, n
    run(ufunc_chunk, &job, (n + CHUNK - 1) // CHUNK, n, <Poll> never)
    return FASTLOSS_OK


# The scalars of the steps, as fastloss/optim has them.

cdef struct FlatStep:
    StepJob job
    char* arrays[MAX_ARRAYS]
    Py_ssize_t n


cdef void flat_step_chunk(void* context, Py_ssize_t chunk) noexcept nogil:
    cdef FlatStep* step = <FlatStep*> context
    cdef char* arrays[MAX_ARRAYS]
    cdef Py_ssize_t i
    for i in range(step.job.n_arrays):
        arrays[i] = step.arrays[i] + chunk * CHUNK * step.job.size
    run_step(&step.job, arrays, min(CHUNK, step.n - chunk * CHUNK))


cdef int flat_step(int index, void** arrays, Py_ssize_t n_arrays, const double* params, Py_ssize_t n_params, Py_ssize_t n,
                   bint double_) noexcept nogil:
    cdef FlatStep step
    cdef Py_ssize_t i
    step.job.kernel, step.job.n_arrays, step.job.size, step.n = TABLE.step[index][double_], n_arrays, 8 if double_ else 4, n
    for i in range(n_arrays):
        step.arrays[i] = <char*> arrays[i]
    for i in range(n_params):
        step.job.params[i] = params[i]
    run(flat_step_chunk, &step, (n + CHUNK - 1) // CHUNK, n, <Poll> never)
    return FASTLOSS_OK


cdef int SGD_STEP = STEP_INDEX["sgd_step"], SGD_MOMENTUM_STEP = STEP_INDEX["sgd_momentum_step"], ADAM_STEP = STEP_INDEX["adam_step"]


cdef int sgd(void* param, const void* grad, void* momentum_buffer, Py_ssize_t n, int64_t step, double lr, double momentum, double dampening,
             double weight_decay, bint nesterov, bint double_) noexcept nogil:
    cdef bint first = step == 1 or momentum == 0
    cdef void** arrays = [param, <void*> grad, momentum_buffer]
    cdef double* params = [1.0, weight_decay, lr, 0.0 if first else momentum, 1.0 if first else 1 - dampening, momentum if nesterov else 0.0]
    if n < 0 or step < 1 or momentum_buffer == NULL and momentum != 0:
        return FASTLOSS_BAD_ARGUMENT
    if momentum_buffer == NULL:
        return flat_step(SGD_STEP, arrays, 2, params, 3, n, double_)
    return flat_step(SGD_MOMENTUM_STEP, arrays, 3, params, 6, n, double_)


cdef int adam(void* param, const void* grad, void* exp_avg, void* exp_avg_sq, Py_ssize_t n, int64_t step, double lr, double beta1, double beta2,
              double eps, double weight_decay, double decay, bint double_) noexcept nogil:
    cdef double correction = sqrt(1 - pow(beta2, step))
    cdef void** arrays = [param, <void*> grad, exp_avg, exp_avg_sq]
    cdef double* params = [1.0, weight_decay, decay, 1 - beta1, beta2, 1 - beta2, lr * correction / (1 - pow(beta1, step)), eps * correction]
    if n < 0 or step < 1:
        return FASTLOSS_BAD_ARGUMENT
    return flat_step(ADAM_STEP, arrays, 4, params, 8, n, double_)


include "exports.pxi"

c_api = PyCapsule_New(C_API, "fastloss.kernels.aot.engine.c_api", NULL)
