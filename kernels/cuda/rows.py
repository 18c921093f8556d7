"""Row kernels: softmax, log_softmax, logsumexp, their gradients, cross-entropy, negative log-likelihood.

Nobody imports this module: see teams.py. A row is a team's: each of its threads holds every team-th number. A row of at most
KEEP numbers a thread is read once, and its exponentials stay in registers; a longer one is read twice: once for the maximum
and the sum together, again for the result.

With m the maximum of a row, the sum of exp(x - m) is 1 + rest, and its logarithm m + log1p(rest): rest keeps all its digits
when one class dominates. Exponentials stand in units of 2^-96, where none of them is subnormal, and -1 in place of a maximum's.
"""

from .elementwise import *
from .primitives import *
from .teams import *

# The text of both dtypes


@inline
def place(address, row, inner, outer_step, inner_step, size):
    """Where a row begins in an array (outer, C, inner) of those strides."""
    return address + size * (row // inner * outer_step + row % inner * inner_step)


@inline
def inverse_f32(a, s, low):
    """UP a / (s + low) as a sum of two numbers of the dtype."""
    q = a * (1.0 / s)
    high = f32(q)
    return high, f32(q - f64(high))


@inline
def inverse_f64(a, s, low):
    q = a / s
    error = (fma(-q, s, a) - q * low) / s
    return q, select(error == error, error, 0.0)


@inline
def target_gradient(gap, keep, own, spread, pull, rest, factor):
    """The gradient of the target's logit; near probability 1, p - 1 is formed from the other classes."""
    e, s, w = exp_f64(-gap), 1.0 + rest, keep + spread
    others = rest if gap == 0.0 else (1.0 - e) + rest
    near = (spread - own) * s + (pull * e - w * others)
    far = (w + pull) * e - (keep + own) * s
    return factor * (select(2.0 * e > s or spread == 0.0, near, far) / s)


# The text of one dtype


@inline
def load_kept_T(x, step, start, n_classes, team, kept):
    """The team's next numbers, -inf beyond the end; their maximum, NaN apart."""
    top = T(-inf)
    for k in range(KEEP_T):
        c = start + k * team + cuda.threadIdx.x
        kept[k] = x[c * step] if c < n_classes else T(-inf)
    for k in range(KEEP_T):
        top = maximum(top, kept[k])
    return top


@inline
def exp_below_T(x, top):
    """UP exp(x - top), or -1 for the maximum."""
    hi, lo = exact_difference_T(x, top)
    e = _exp_down_T(maximum(hi, -_far_T()), lo)
    return select(x == top, T(-1), select(hi < -_far_T(), T(0), e))


@inline
def exp_kept_T(kept, top, present, team, replace):
    """The sum of the exponentials of `present` numbers without maxima, and the number of those; they replace the numbers if asked."""
    total, error, count = 0.0, 0.0, 0.0
    for k in range(KEEP_T):
        if k * team < present:
            e = exp_below_T(kept[k], top)
            total, error = add_T(total, error, f64(select(e < T(0), T(0), e)))
            count += select(e < T(0), 1.0, 0.0)
            kept[k] = select(replace, e, kept[k])
    return total * DOWN, error * DOWN, count


@inline
def raise_top_T(top, new, total, error, count):
    """The sums relative to a maximum that is no smaller: no number is the maximum any more."""
    if new > top:
        hi, lo = exact_difference_T(top, new)
        by = exp_sum_f64(f64(hi), f64(lo))
        s, low = two_sum(total, error, count)
        total, error, count = s * by, low * by, 0.0
    return total, error, count


@inline
def row_sums_T(x, step, n_classes, team, kept, whole, replace, parts):
    """The maximum of a row, rest, and the whole sum as two numbers; a whole row stays in kept, or its exponentials replace it.

    An infinite maximum makes rest NaN; the sum is NaN only where the row holds one.
    """
    top = load_kept_T(x, step, 0, n_classes, team, kept)
    if whole:
        top = team_top_T(top, team, parts)
    total, error, count = exp_kept_T(kept, top, n_classes, team, replace and whole)
    if not whole:
        for start in range(KEEP_T * team, n_classes, KEEP_T * team):
            new = maximum(top, load_kept_T(x, step, start, n_classes, team, kept))
            total, error, count = raise_top_T(top, new, total, error, count)
            top = new
            a, b, more = exp_kept_T(kept, top, n_classes - start, team, False)
            total, error = two_sum(total, error + b, a)
            count += more
        new = team_top_T(top, team, parts)
        total, error, count = raise_top_T(top, new, total, error, count)
        top = new
    total, error = team_sum(total, error, team, parts)
    count, _ = team_sum(count, 0.0, team, parts)
    s, low = two_sum(total, error, count)
    return top, (total + error) + (count - 1.0) + f64(top - top), s, select(low == low, low, 0.0)


@inline
def scaled_T(e, a, a_low, most):
    """e (a + a_low), rounded once unless it is subnormal; most for the maximum."""
    return select(e < T(0), most, (e * a + e * a_low) * T(DOWN))


@inline
def softmax_rows_T(op, whole, x, x_outer, x_step, x_inner, out, out_outer, out_step, out_inner, n_rows, n_classes, inner):
    """op 0 softmax, 1 log_softmax, 2 logsumexp, whose out has one number a row."""
    row, team = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.blockDim.x
    if row >= n_rows:
        return
    source = pointer(place(x, row, inner, x_outer, x_inner, SIZE_T), T)
    target = pointer(place(out, row, inner, out_outer, out_inner, SIZE_T), T)
    kept, parts = cuda.local.array(KEEP_T, T), cuda.shared.array(64, f64)
    top, rest, s, low = row_sums_T(source, x_step, n_classes, team, kept, whole, op == 0, parts)
    log = log1p_f64(rest)
    if op == 2:
        if cuda.threadIdx.x == 0:
            target[0] = T(select(abs(top) == T(inf) and s == s, f64(top), f64(top) + log))
        return
    a, a_low = inverse_T(1.0, s + f64(top - top), low)
    most = T(1.0 / (1.0 + rest))
    for start in range(0, n_classes, KEEP_T * team):
        if not whole:
            load_kept_T(source, x_step, start, n_classes, team, kept)
        for k in range(KEEP_T):
            c = start + k * team + cuda.threadIdx.x
            if c < n_classes:
                v = kept[k]
                if op == 1:
                    v = (v - top) - T(log)
                else:
                    v = scaled_T(v if whole else exp_below_T(v, top), a, a_low, most)
                target[c * out_step] = v
        if whole:
            break


@inline
def backward_rows_T(
    op, whole, g, g_outer, g_step, g_inner, y, y_outer, y_step, y_inner, out, out_outer, out_step, out_inner, n_rows, n_classes, inner
):  # fmt: skip
    """op 0: y (g - sum(g y)), of softmax; 1: g - exp(y) sum(g), of log_softmax."""
    row, team = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.blockDim.x
    if row >= n_rows:
        return
    upstream = pointer(place(g, row, inner, g_outer, g_inner, SIZE_T), T)
    result = pointer(place(y, row, inner, y_outer, y_inner, SIZE_T), T)
    target = pointer(place(out, row, inner, out_outer, out_inner, SIZE_T), T)
    kept_g, kept_y = cuda.local.array(KEEP_T, T), cuda.local.array(KEEP_T, T)
    dot, error, parts = 0.0, 0.0, cuda.shared.array(64, f64)
    for start in range(0, n_classes, KEEP_T * team):
        for k in range(KEEP_T):
            c = start + k * team + cuda.threadIdx.x
            kept_g[k] = upstream[c * g_step] if c < n_classes else T(0)
            kept_y[k] = result[c * y_step] if c < n_classes else T(0)
        for k in range(KEEP_T):
            dot, error = add_T(dot, error, f64(kept_g[k]) * (1.0 if op == 1 else f64(kept_y[k])))
        if whole:
            break
    dot, error = team_sum(dot, error, team, parts)
    dot = closed(dot, error)
    for start in range(0, n_classes, KEEP_T * team):
        for k in range(KEEP_T):
            c = start + k * team + cuda.threadIdx.x
            if c < n_classes:
                a, b = kept_g[k], kept_y[k]
                if not whole:
                    a, b = upstream[c * g_step], result[c * y_step]
                if op == 1:
                    target[c * out_step] = T(f64(a) - f64(exp_T(b)) * dot)
                else:
                    target[c * out_step] = T(f64(b) * (f64(a) - dot))
        if whole:
            break


# Cross-entropy of the target distribution q, class weights included. keep is (1 - smoothing) * weight of a class index, 0 for
# probabilities; spread = sum q_j and stretch = sum q_j (top - x_j) run over all else. The loss is
# keep * (log S + top - x_y) + spread * log S + stretch.


@inline
def target_row_T(r, target, n_classes, ignore_index, rows, rows_each, rows_period, mask, mask_each, mask_period):
    """The class of a row, -1 where it is none; the row's weight; whether the row takes part."""
    y = i64(0) if target == 0 else pointer(target, i64)[r]
    w = f64(read_T(rows, rows_each, rows_period, 1.0, r))
    used = (target == 0 or y != ignore_index) and w != 0.0 and used_at(mask, mask_each, mask_period, r)
    return i64(-1) if y < 0 or y >= n_classes else y, w, used


def target_totals_T(
    n, target, n_classes, ignore_index, class_weight, rows, rows_each, rows_period, mask, mask_each, mask_period, sums, counts, firsts
):  # fmt: skip
    """Pairs of each block: the weights of the rows that take part, and their number; minus the place of the first bad index, or -inf."""
    total, error, count, first = 0.0, 0.0, 0.0, -inf
    for r in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        y, w, used = target_row_T(r, target, n_classes, ignore_index, rows, rows_each, rows_period, mask, mask_each, mask_period)
        if used and y < 0:
            first = maximum(first, -f64(r))
        elif used:
            v = w * (f64(pointer(class_weight, T)[y]) if class_weight != 0 else 1.0)
            total, error = two_sum(total, error, v)
            count += 1.0
    parts = cuda.shared.array(64, f64)
    store_partial(sums, total, error, parts)
    store_partial(counts, count, 0.0, parts)
    first = team_top_f64(first, cuda.blockDim.x, parts)
    if cuda.threadIdx.x == 0:
        pointer(firsts, f64)[cuda.blockIdx.x] = first


@inline
def share_T(c, q, q_step, indexed, smoothing, n_classes, class_weight):
    """Class weight * the smoothed target, of probabilities or of a class index without its own part."""
    v = T(smoothing / f64(n_classes))
    if not indexed:
        v = T(1.0 - smoothing) * q[c * q_step] + v
    return v * pointer(class_weight, T)[c] if class_weight != 0 else v


@inline
def clear_row_T(address, row, inner, outer_step, step, inner_step, n_classes):
    if address != 0:
        out = pointer(place(address, row, inner, outer_step, inner_step, SIZE_T), T)
        for c in range(cuda.threadIdx.x, n_classes, cuda.blockDim.x):
            out[c * step] = T(0)


@inline
def store_loss_T(losses, value, row, loss):
    if losses != 0:
        pointer(losses, f64)[row] = loss
    if value != 0:
        pointer(value, T)[row] = T(loss)


@inline
def leave_out_T(losses, value, row, inner, grad, grad_outer, grad_step, grad_inner, hess, hess_outer, hess_step, hess_inner, n_classes):
    """A row that does not count: its loss and derivatives are 0."""
    if cuda.threadIdx.x == 0:
        store_loss_T(losses, value, row, 0.0)
    clear_row_T(grad, row, inner, grad_outer, grad_step, grad_inner, n_classes)
    clear_row_T(hess, row, inner, hess_outer, hess_step, hess_inner, n_classes)


@inline
def spread_row_T(x, x_step, q, q_step, indexed, smoothing, n_classes, class_weight, top, team, parts):
    """spread and stretch; a share of 0 counts 0, even against an infinite logit."""
    spread, spread_low, stretch, stretch_low = 0.0, 0.0, 0.0, 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        v = share_T(c, q, q_step, indexed, smoothing, n_classes, class_weight)
        spread, spread_low = two_sum(spread, spread_low, f64(v))
        gap = f64(top) - f64(x[c * x_step])
        stretch, stretch_low = two_sum(stretch, stretch_low, select(v == T(0), 0.0, f64(v) * gap))
    spread, spread_low = team_sum(spread, spread_low, team, parts)
    stretch, stretch_low = team_sum(stretch, stretch_low, team, parts)
    return closed(spread, spread_low), closed(stretch, stretch_low)


@inline
def cross_entropy_rows_T(
    dense, whole, x, x_outer, x_step, x_inner, q, q_outer, q_step, q_inner, target, ignore_index, class_weight,
    rows, rows_each, rows_period, mask, mask_each, mask_period, upstream, upstream_each, upstream_period,
    losses, value, grad, grad_outer, grad_step, grad_inner, hess, hess_outer, hess_step, hess_inner,
    n_rows, n_classes, inner, divisor, smoothing, z_loss, scale,
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
    own_logit = source[y * x_step]                      # before the gradient may stand in its place
    kept, parts = cuda.local.array(KEEP_T, T), cuda.shared.array(64, f64)
    top, rest, s, low = row_sums_T(source, x_step, n_classes, team, kept, whole, True, parts)
    log = log1p_f64(rest)
    keep, own, gap, spread, stretch = 0.0, 0.0, 0.0, 0.0, 0.0
    if indexed:
        own = f64(pointer(class_weight, T)[y]) if class_weight != 0 else 1.0
        keep, own = (1.0 - smoothing) * own, smoothing / f64(n_classes) * own
        gap = f64(top) - f64(own_logit)
    if dense:
        spread, stretch = spread_row_T(
            source, x_step, probabilities, q_step, indexed, smoothing, n_classes, class_weight, top, team, parts
        )
    lse = f64(top) + log
    pull = 2.0 * z_loss * lse
    loss = keep * (log + (0.0 if keep == 0.0 else gap)) + (spread * log + stretch)
    if cuda.threadIdx.x == 0:
        store_loss_T(losses, value, row, share * (loss + z_loss * lse * lse))
    factor = factor * share * f64(read_T(upstream, upstream_each, upstream_period, 1.0, row))
    if grad == 0 and hess == 0:
        return
    w = keep + spread
    wide = factor * (w + pull)
    a, a_low = inverse_T(wide, s + f64(top - top), low)
    most, at_top = T(wide / (1.0 + rest)), T((w * rest - pull) / (1.0 + rest))
    at_target = T(target_gradient(gap, keep, own, spread, pull, rest, factor))
    bend, bend_own = wide / (s * s), 2.0 * z_loss * factor / (s * s)
    slopes = pointer(place(grad, row, inner, grad_outer, grad_inner, SIZE_T), T)
    bends = pointer(place(hess, row, inner, hess_outer, hess_inner, SIZE_T), T)
    for start in range(0, n_classes, KEEP_T * team):
        if not whole:
            load_kept_T(source, x_step, start, n_classes, team, kept)
        for k in range(KEEP_T):
            c = start + k * team + cuda.threadIdx.x
            if c < n_classes:
                e = kept[k] if whole else exp_below_T(kept[k], top)
                v = scaled_T(e, a, a_low, most)
                if dense:
                    b = share_T(c, probabilities, q_step, indexed, smoothing, n_classes, class_weight)
                    v = select(e < T(0), T(factor) * ((T(w) - b) - at_top), v - T(factor) * b)
                if hess != 0:
                    p = select(e < T(0), 1.0, f64(e) * DOWN)
                    bends[c * hess_step] = T(p * (bend * ((s - p) + low) + bend_own * p))
                if grad != 0:
                    slopes[c * grad_step] = select(indexed and c == y, at_target, v)
        if whole:
            break


def nll_loss_T(
    x, x_outer, x_step, x_inner, target, ignore_index, class_weight,
    rows, rows_each, rows_period, mask, mask_each, mask_period, upstream, upstream_each, upstream_period,
    losses, value, grad, grad_outer, grad_step, grad_inner, hess, hess_outer, hess_step, hess_inner,
    n_rows, n_classes, inner, divisor, scale,
):  # fmt: skip
    """-w[y] x[y]"""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if row >= n_rows:
        return
    y, share, used = target_row_T(row, target, n_classes, ignore_index, rows, rows_each, rows_period, mask, mask_each, mask_period)
    factor = factor_of(scale, divisor)
    used = used and factor != 0.0
    v, loss = 0.0, 0.0
    if used:
        v = f64(pointer(class_weight, T)[max(y, i64(0))]) if class_weight != 0 else 1.0
        logp = f64(pointer(place(x, row, inner, x_outer, x_inner, SIZE_T), T)[max(y, i64(0)) * x_step])
        loss = 0.0 if v == 0.0 else -share * v * logp
        factor *= share * f64(read_T(upstream, upstream_each, upstream_period, 1.0, row))
    bad = used and y < 0
    if cuda.threadIdx.x == 0:
        store_loss_T(losses, value, row, nan if bad else loss)
    if grad != 0:
        slopes = pointer(place(grad, row, inner, grad_outer, grad_inner, SIZE_T), T)
        for c in range(cuda.threadIdx.x, n_classes, cuda.blockDim.x):
            slopes[c * grad_step] = T(nan) if bad else T(-v * factor) if used and c == y else T(0)
    clear_row_T(hess, row, inner, hess_outer, hess_step, hess_inner, n_classes)


def pairs_T(n, losses, sums):
    """Pairs of each block: sums of the losses of rows."""
    total, error = 0.0, 0.0
    for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        total, error = two_sum(total, error, pointer(losses, f64)[i])
    store_partial(sums, total, error, cuda.shared.array(64, f64))
