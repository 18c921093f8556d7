"""Optimizer steps and norms over a list of tensors. The loops of steps are generated: see cuda_loop in kernels/generate.py.

Nobody imports this module: see teams.py. A launch takes a few tensors, cut into pieces, one for each block. Of each a table has
a row: where its pieces end, counted over all tensors, its length, and the addresses of the parameter and its states. Gradients,
which are elsewhere at each step, come as a tuple.
"""

from .elementwise import *
from .primitives import *
from .teams import *

# The text of both dtypes


@inline
def piece_of(table, width):
    """Of this block's piece: its tensor, the first of its elements that this thread takes, and their end."""
    rows, block, k, before = pointer(table, i64), i64(cuda.blockIdx.x), i64(0), i64(0)
    while block >= rows[k * width]:
        before = rows[k * width]
        k += 1
    begin = (block - before) * PIECE
    return k, begin + cuda.threadIdx.x, min(begin + PIECE, rows[k * width + 1])


@inline
def clipped(scale, norm, max_norm):
    """The factor on gradients whose norm stands at an address: scale, or less where the norm would be larger than max_norm."""
    if norm == 0:
        return scale
    factor = max_norm / (abs(scale) * pointer(norm, f64)[0] + 1e-6)
    return scale * select(factor > 1.0, 1.0, factor)


def put(target, n, numbers):
    """Numbers in memory, from the arguments of a launch."""
    if cuda.threadIdx.x < n:
        pointer(target, i64)[cuda.threadIdx.x] = nth(numbers, cuda.threadIdx.x)


def finish_norm(partials, n, p, out):
    """One block: the p-norm of what n blocks have summed up; for p = inf their maxima, and NaN where they have seen it."""
    parts = cuda.shared.array(64, f64)
    if p == inf:
        pairs, top, error = pointer(partials, f64), 0.0, 0.0
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            top, error = maximum(top, pairs[2 * i]), error + pairs[2 * i + 1]
        norm = team_top_f64(top, cuda.blockDim.x, parts)
        error, _ = team_sum(error, 0.0, cuda.blockDim.x, parts)
        norm += error
    else:
        total, error = sum_pairs(partials, n, parts)
        total = closed(total, error)
        norm = sqrt(total) if p == 2.0 else total ** (1.0 / p)
    if cuda.threadIdx.x == 0:
        pointer(out, f64)[0] = norm


# The text of one dtype


def norm_T(grads, table, width, p, partials):
    """Pairs of each block: the sum of the p-th powers; for p = inf the maximum, and the sum of what is NaN."""
    tensor, first, n = piece_of(table, width)
    grad, total, error, parts = pointer(nth(grads, tensor), T), 0.0, 0.0, cuda.shared.array(64, f64)
    for i in range(first, n, cuda.blockDim.x):
        v = f64(fabs(grad[i]))
        if p == inf:
            total, error = maximum(total, v), error + select(v == v, 0.0, v)
        else:
            total, error = two_sum(total, error, v * v if p == 2.0 else v**p)
    if p == inf:
        total = team_top_f64(total, cuda.blockDim.x, parts)
        error, _ = team_sum(error, 0.0, cuda.blockDim.x, parts)
        if cuda.threadIdx.x == 0:
            out = pointer(partials, f64)
            out[2 * cuda.blockIdx.x], out[2 * cuda.blockIdx.x + 1] = total, error
    else:
        store_partial(partials, total, error, parts)


def rescale_T(grads, table, width, norm, max_norm):
    """Gradients times the factor that clips their norm."""
    tensor, first, n = piece_of(table, width)
    grad, factor = pointer(nth(grads, tensor), T), T(clipped(1.0, norm, max_norm))
    for i in range(first, n, cuda.blockDim.x):
        grad[i] *= factor
