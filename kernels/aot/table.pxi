# The table of kernels that one instruction set provides, and the jobs that the engine hands to it.
from libc.stdint cimport int64_t

cdef enum:
    LANES = 16            # every kernel works on whole groups of 16 elements
    MAX_FORMULAS = 128
    SHORT_ROW = 128       # rows with fewer classes are transposed: 16 rows side by side
    PIECE = 2048          # elements that stay in the first-level cache, with their exponentials
    WHOLE_ROW = 32768     # longer rows are reduced piece by piece, without memory for their exponentials

# Elementwise loops: arrays, parameters, number of elements (a multiple of LANES).
ctypedef void (*kernel_t)(void** arrays, const double* params, Py_ssize_t n) noexcept nogil

# The sum of n values, 16 lanes wide, in float64.
ctypedef double (*sum_t)(const void* values, Py_ssize_t n) noexcept nogil

# values[i] *= factor * weights[i] (weights may be NULL); 0 where mask is 0 (mask may be NULL)
ctypedef void (*weigh_t)(void* values, const void* weights, const unsigned char* mask, double factor, Py_ssize_t n) noexcept nogil

# How many of n values lie outside [low, high], or where ends are other than low and high; NaN lies inside, and is no end.
ctypedef Py_ssize_t (*outside_t)(const void* values, Py_ssize_t n, double low, double high, bint ends) noexcept nogil

cdef struct View:         # (outer, C, inner), strides in elements
    char* data
    Py_ssize_t outer, classes, inner

cdef struct Rows:
    Py_ssize_t n_rows, n_classes, inner
    View x, out, hess, aux          # aux: probabilities, or the upstream gradient of a backward
    const void* target              # class indices
    bint wide_target                # int64, else int32
    bint want_hess, want_grad
    int64_t ignore_index
    const void* class_weight
    const void* row_weight
    const void* upstream
    void* value
    double smoothing, z_loss, scale
    double gamma                    # of a focal loss; 0: cross-entropy
    int (*halted)(const void* job) noexcept nogil    # whether an interrupt ends the call

# Rows begin..end; scratch has room for four tiles, or three pieces of a row; sum = compensated [hi, lo].
ctypedef void (*rows_t)(const Rows* job, Py_ssize_t begin, Py_ssize_t end, void* scratch, double* sum) noexcept nogil

cdef enum:
    SOFTMAX, LOG_SOFTMAX, LOGSUMEXP, SOFTMAX_BACKWARD, LOG_SOFTMAX_BACKWARD, CROSS_ENTROPY, CROSS_ENTROPY_DENSE, NLL, N_ROW_OPS

# Sequences of log-probabilities: View.outer steps over frames, View.inner over sequences, classes lie side by side.
cdef struct Ctc:
    View x, out
    Py_ssize_t frames, n_sequences, n_classes    # frames: of the arrays; n_frames: of each sequence
    int64_t blank
    const int64_t* labels
    const int64_t* offsets          # where a sequence's labels begin
    const int64_t* n_frames
    const int64_t* n_labels
    const double* scale             # of each sequence's gradient
    double* value
    const int64_t* used             # the sequences that take part
    Py_ssize_t n_used
    double* lse                     # of logits, frame by frame, where they are prepared
    bint want_grad, logits, zero_infinity
    bint prepared                   # out holds scale * softmax already

ctypedef void (*ctc_frames_t)(const Ctc* job, Py_ssize_t begin, Py_ssize_t end, const void* x) noexcept nogil
ctypedef void (*ctc_t)(const Ctc* job, Py_ssize_t sequence, double* scratch, const void* x) noexcept nogil
ctypedef Py_ssize_t (*ctc_scratch_t)(const Ctc* job, Py_ssize_t sequence) noexcept nogil

# Row losses of margin.pxi: contiguous rows, up to three inputs.
cdef enum:
    MULTI_MARGIN, CRAMMER_SINGER, COSINE, NORM, NORM_P, ENTROPY, ENTROPY_OF_LOGITS, BRIER, N_STAGED
    MULTILABEL_MARGIN = N_STAGED
    TILE = 512            # numbers of a tile

cdef struct Lines:
    Py_ssize_t n_rows, n_classes, n_inputs
    int op
    bint want_grad, want_hess
    const void* x[3]
    void* grad[3]
    void* hess[3]
    const int64_t* target           # class indices, their lists, or signs; NULL for none
    int64_t ignore_index
    const void* class_weight
    const void* row_weight
    const void* upstream
    void* value
    double params[4]
    double scale

# Rows begin..end; scratch has room for two long rows in float64; sum = compensated [hi, lo].
ctypedef void (*lines_t)(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* sum) noexcept nogil

# A copy of n bytes past the caches; other threads see it only after a fence.
ctypedef void (*stream_t)(void* to, const void* source, Py_ssize_t n) noexcept nogil

cdef struct Table:
    const char* isa
    stream_t stream
    kernel_t activation[MAX_FORMULAS][2][3]
    kernel_t loss[MAX_FORMULAS][2][4]
    kernel_t step[MAX_FORMULAS][2]
    sum_t sum[2]
    weigh_t weigh[2]
    outside_t outside[2]
    rows_t rows[N_ROW_OPS][2]
    ctc_t ctc[2]
    ctc_frames_t ctc_frames[2]
    ctc_scratch_t ctc_scratch
    lines_t lines[2][2]   # staged, multilabel margin
