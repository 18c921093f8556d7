"""Functions of several elements: the first maximum of a row, the halves of an axis, focal cross-entropy.

Nobody imports this module: see teams.py.
"""

from .elementwise import *
from .lines import *
from .primitives import *
from .rows import *
from .teams import *

# The text of both dtypes

HARDMAX, MAXOUT, MAXOUT_BACKWARD = range(3)

# The text of one dtype


@inline
def first_rows_T(
    op, x, x_outer, x_step, x_inner, g, g_outer, g_step, g_inner, out, out_outer, out_step, out_inner, n_rows, n_classes, inner
):  # fmt: skip
    """The first maximum of a row, or its first NaN: 1 there; its value, which is all of out; g there."""
    row, team, parts = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.blockDim.x, cuda.shared.array(64, f64)
    if row >= n_rows:
        return
    source = pointer(place(x, row, inner, x_outer, x_inner, SIZE_T), T)
    upstream = pointer(place(g, row, inner, g_outer, g_inner, SIZE_T), T)
    target = pointer(place(out, row, inner, out_outer, out_inner, SIZE_T), T)
    top, missing, first = -inf, 0.0, -inf
    for c in range(cuda.threadIdx.x, n_classes, team):
        v = f64(source[c * x_step])
        top, missing = maximum(top, v), missing + select(v == v, 0.0, v)
    top = top_of(top, missing, team, parts)
    if op == MAXOUT:
        if cuda.threadIdx.x == 0:
            target[0] = T(top)
        return
    for c in range(cuda.threadIdx.x, n_classes, team):
        v = f64(source[c * x_step])
        first = select(v == top or (v != v and top != top), maximum(first, -f64(c)), first)
    first = team_top_f64(first, team, parts)
    for c in range(cuda.threadIdx.x, n_classes, team):
        there = -f64(c) == first
        if op == HARDMAX:
            target[c * out_step] = T(nan) if top != top else T(1) if there else T(0)
        else:
            target[c * out_step] = upstream[0] if there else T(0)


def negative_T(n, x, out):
    for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        pointer(out, T)[i] = -pointer(x, T)[i]


# Halves: n numbers, of which each size come before those of the other half


def halves_crelu_T(n, size, x, out):
    both = pointer(out, T)
    for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        v, k = pointer(x, T)[i], i + i // size * size
        both[k], _ = relu_T(v)
        both[k + size], _ = relu_T(-v)


def halves_crelu_backward_T(n, size, g, x, out):
    both = pointer(g, T)
    for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        v, k = pointer(x, T)[i], i + i // size * size
        _, a = relu_T(v)
        _, b = relu_T(-v)
        pointer(out, T)[i] = both[k] * a - both[k + size] * b


def halves_glu_T(n, size, x, out):
    both = pointer(x, T)
    for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        k = i + i // size * size
        pointer(out, T)[i], _, _ = glu_T(both[k], both[k + size])


def halves_glu_backward_T(n, size, g, x, out):
    both, slopes = pointer(x, T), pointer(out, T)
    for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        k, v = i + i // size * size, pointer(g, T)[i]
        _, a, b = glu_T(both[k], both[k + size])
        slopes[k], slopes[k + size] = v * a, v * b


# Focal cross-entropy. With q_j the target weights, and a_j, b_j of a class what _focal gives beside its value: the gradient is
# p_j sum(a q) - a_j q_j, the Hessian p_j (1 - p_j) sum(a q) + (1 - p_j)^2 b_j q_j + p_j^2 (sum(b q) - b_j q_j).


@inline
def focal_parts_T(x, top, rest, log, gamma):
    """p, 1 - p, and those of _focal: value, minus the slope, curve."""
    hi, lo = exact_difference_T(x, top)
    p = exp_sum_f64(f64(hi), f64(lo)) / (1.0 + rest)
    others = rest / (1.0 + rest) if x == top else 1.0 - p
    value, pull, curve = _focal_f64((f64(x) - f64(top)) - log, p, others, gamma)
    return p, others, value, pull, curve


@inline
def focal_rows_T(
    whole, x, x_outer, x_step, x_inner, q, q_outer, q_step, q_inner, target, ignore_index, class_weight,
    rows, rows_each, rows_period, mask, mask_each, mask_period, upstream, upstream_each, upstream_period,
    losses, value, grad, grad_outer, grad_step, grad_inner, hess, hess_outer, hess_step, hess_inner,
    n_rows, n_classes, inner, divisor, smoothing, gamma, scale,
):  # fmt: skip
    row, team = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.blockDim.x
    if row >= n_rows:
        return
    y, share, used = target_row_T(row, target, n_classes, ignore_index, rows, rows_each, rows_period, mask, mask_each, mask_period)
    factor = factor_of(scale, divisor)
    if not used or factor == 0.0:
        leave_out_T(losses, value, row, inner, grad, grad_outer, grad_step, grad_inner, hess, hess_outer, hess_step, hess_inner, n_classes)
        return
    if y < 0:
        y, share = i64(0), nan
    indexed = target != 0
    source = pointer(place(x, row, inner, x_outer, x_inner, SIZE_T), T)
    probabilities = pointer(place(q, row, inner, q_outer, q_inner, SIZE_T), T)
    kept, parts = cuda.local.array(KEEP_T, T), cuda.shared.array(64, f64)
    top, rest, _, _ = row_sums_T(source, x_step, n_classes, team, kept, whole, False, parts)
    log, own, gamma = log1p_f64(rest), 0.0, f64(gamma)
    if indexed:
        own = (1.0 - smoothing) * (f64(pointer(class_weight, T)[y]) if class_weight != 0 else 1.0)
    loss, pulls, curves = 0.0, 0.0, 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        w = own if indexed and c == y else 0.0
        if not indexed or smoothing != 0.0:
            w += f64(share_T(c, probabilities, q_step, indexed, smoothing, n_classes, class_weight))
        if w != 0.0:
            _, _, v, a, b = focal_parts_T(source[c * x_step], top, rest, log, gamma)
            loss, pulls, curves = loss + w * v, pulls + w * a, curves + w * b
    loss, pulls, curves = add_up(loss, team, parts), add_up(pulls, team, parts), add_up(curves, team, parts)
    if cuda.threadIdx.x == 0:
        store_loss_T(losses, value, row, share * loss)
    factor *= share * f64(read_T(upstream, upstream_each, upstream_period, 1.0, row))
    slopes = pointer(place(grad, row, inner, grad_outer, grad_inner, SIZE_T), T)
    bends = pointer(place(hess, row, inner, hess_outer, hess_inner, SIZE_T), T)
    for c in range(cuda.threadIdx.x, n_classes, team):
        w = own if indexed and c == y else 0.0
        if not indexed or smoothing != 0.0:
            w += f64(share_T(c, probabilities, q_step, indexed, smoothing, n_classes, class_weight))
        p, others, _, a, b = focal_parts_T(source[c * x_step], top, rest, log, gamma)
        a, b = 0.0 if w == 0.0 else w * a, 0.0 if w == 0.0 else w * b
        if grad != 0:
            slopes[c * grad_step] = T(factor * ((pulls - a) * p - a * others))
        if hess != 0:
            bends[c * hess_step] = T(factor * (pulls * p * others + b * others * others + (curves - b) * p * p))
