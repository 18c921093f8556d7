"""Losses of rows other than softmax's: margins of classes, distances, cosines, entropies. Sums are those of float64.

Nobody imports this module: see teams.py. Inputs are contiguous rows, computed in float64 whatever their dtype; a row is read for
each of its sums, then once more for the derivatives. Of a row, *_line_T gives the loss and stores the derivatives times factor.
"""

from .elementwise import *
from .primitives import *
from .rows import *
from .teams import *

# The text of both dtypes

MULTI_MARGIN, CRAMMER_SINGER, COSINE, ENTROPY, ENTROPY_OF_LOGITS, BRIER, NORM, NORM_P = range(8)


@inline
def add_up(v, team, parts):
    total, error = team_sum(v, 0.0, team, parts)
    return closed(total, error)


@inline
def top_of(top, missing, team, parts):
    """The largest number of the team, or NaN where missing, the sum of what is NaN, says so."""
    return team_top_f64(top, team, parts) + add_up(missing, team, parts)


# The text of one dtype


@inline
def row_at_T(address, row, n_classes):
    return select(address == 0, i64(0), address + SIZE_T * row * n_classes)


@inline
def store_T(out, c, v):
    if out != 0:
        pointer(out, T)[c] = T(v)


@inline
def multi_margin_line_T(x, own_class, n_classes, team, parts, p, margin, w, factor, grad, hess):
    own, value, slopes, curves = f64(x[own_class]), 0.0, 0.0, 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        if c != own_class:
            a, b, e = _multi_margin_f64(f64(x[c]), own, margin, p)
            value, slopes, curves = value + a, slopes + b, curves + e
    value, slopes, curves = add_up(value, team, parts), add_up(slopes, team, parts), add_up(curves, team, parts)
    w /= n_classes
    for c in range(cuda.threadIdx.x, n_classes, team):
        _, b, e = _multi_margin_f64(f64(x[c]), own, margin, p)
        store_T(grad, c, factor * w * (-slopes if c == own_class else b))
        store_T(hess, c, factor * w * (curves if c == own_class else e))
    return w * value


@inline
def crammer_singer_line_T(x, own_class, n_classes, team, parts, power, factor, grad, hess):
    """Of the others the first one that is largest has the gradient."""
    own, top, missing, first = f64(x[own_class]), -inf, 0.0, -inf
    for c in range(cuda.threadIdx.x, n_classes, team):
        v = select(c == own_class, -inf, f64(x[c]))
        top, missing = maximum(top, v), missing + select(v == v, 0.0, v)
    top = top_of(top, missing, team, parts)
    for c in range(cuda.threadIdx.x, n_classes, team):
        v = select(c == own_class, -inf, f64(x[c]))
        first = select(v == top, maximum(first, -f64(c)), first)
    first = team_top_f64(first, team, parts)
    value, slope, curve = hinge_loss_f64(own - top, 1.0)
    if power == 2.0:
        value, slope, curve = squared_hinge_loss_f64(own - top, 1.0)
    for c in range(cuda.threadIdx.x, n_classes, team):
        part = 1.0 if c == own_class else -1.0
        there = c == own_class or -f64(c) == first
        store_T(grad, c, factor * part * slope if there else 0.0)
        store_T(hess, c, factor * curve if there else 0.0)
    return value


@inline
def cosine_line_T(x, y, sign, n_classes, team, parts, eps, margin, factor, gx, gy, hx, hy):
    """With a sign the embedding loss, whose squared norms gain 1e-12; with 0 the similarity, whose norms are at least eps."""
    dot, squares, others, least = 0.0, 0.0, 0.0, eps * eps
    for c in range(cuda.threadIdx.x, n_classes, team):
        a, b = f64(x[c]), f64(y[c])
        dot, squares, others = dot + a * b, squares + a * a, others + b * b
    dot, squares, others = add_up(dot, team, parts), add_up(squares, team, parts), add_up(others, team, parts)
    square = squares + 1e-12 if sign != 0.0 else maximum(squares, least)
    other = others + 1e-12 if sign != 0.0 else maximum(others, least)
    cosine, inverse = _cosine_f64(dot, square, other)
    loss, slope = _cosine_embedding_f64(cosine, sign, margin)
    factor = factor * slope if sign != 0.0 else factor
    k, k_other = 0.0 if squares < least else 1.0 / square, 0.0 if others < least else 1.0 / other
    for c in range(cuda.threadIdx.x, n_classes, team):
        a, b = f64(x[c]), f64(y[c])
        slope, curve = _cosine_slopes_f64(a, b, inverse, cosine, k)
        store_T(gx, c, factor * slope)
        store_T(hx, c, factor * curve)
        slope, curve = _cosine_slopes_f64(b, a, inverse, cosine, k_other)
        store_T(gy, c, factor * slope)
        store_T(hy, c, factor * curve)
    return loss if sign != 0.0 else cosine


@inline
def entropy_line_T(x, n_classes, team, parts, factor, grad, hess):
    value = 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        a, _, _ = _entropy_f64(f64(x[c]))
        value += a
    value = add_up(value, team, parts)
    for c in range(cuda.threadIdx.x, n_classes, team):
        _, slope, curve = _entropy_f64(f64(x[c]))
        store_T(grad, c, factor * slope)
        store_T(hess, c, factor * curve)
    return value


@inline
def entropy_of_logits_line_T(x, n_classes, team, parts, factor, grad, hess):
    top, missing, others, count, pull = -inf, 0.0, 0.0, 0.0, 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        v = f64(x[c])
        top, missing = maximum(top, v), missing + select(v == v, 0.0, v)
    top = top_of(top, missing, team, parts)
    for c in range(cuda.threadIdx.x, n_classes, team):
        a, b, e = _entropy_sums_f64(f64(x[c]) - top)
        others, count, pull = others + a, count + b, pull + e
    others, count, pull = add_up(others, team, parts), add_up(count, team, parts), add_up(pull, team, parts)
    value, inverse, mean, apart = _entropy_of_sums_f64(others, count, pull)
    for c in range(cuda.threadIdx.x, n_classes, team):
        slope, curve = _entropy_slopes_f64(f64(x[c]) - top, inverse, mean, apart)
        store_T(grad, c, factor * slope)
        store_T(hess, c, factor * curve)
    return value


@inline
def brier_line_T(x, q, dense, own_class, n_classes, team, parts, factor, grad, hess):
    value = 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        d = f64(x[c]) - (f64(q[c]) if dense else 1.0 if c == own_class else 0.0)
        value += d * d
    value = add_up(value, team, parts)
    for c in range(cuda.threadIdx.x, n_classes, team):
        d = f64(x[c]) - (f64(q[c]) if dense else 1.0 if c == own_class else 0.0)
        store_T(grad, c, 2.0 * factor * d)
        store_T(hess, c, 2.0 * factor)
    return value


@inline
def distance_T(whole, x, y, n_classes, team, parts, p, eps):
    """The p-norm of a pair's difference, and what its derivatives need; whole: p is 1 or 2."""
    top, missing, total = 0.0, 0.0, 0.0
    if not whole:
        for c in range(cuda.threadIdx.x, n_classes, team):
            d = abs(f64(x[c]) - f64(y[c]) + eps)
            top, missing = maximum(top, d), missing + select(d == d, 0.0, d)
        top = top_of(top, missing, team, parts)
    for c in range(cuda.threadIdx.x, n_classes, team):
        d = f64(x[c]) - f64(y[c]) + eps
        total += _term_f64(d, p) if whole else _ratio_power_f64(_ratio_f64(d, top), p)
    total = add_up(total, team, parts)
    if whole:
        norm = total if p == 1.0 else sqrt(total)
        return norm, 0.0, 0.0 if norm == 0.0 else 1.0 / norm, 0.0
    norm, share, shrink = _norm_f64(top, total, p)
    return norm, top, share, shrink


@inline
def distance_slopes_T(whole, d, p, norm, top, share, shrink):
    if whole:
        return _term_slopes_f64(d, share, p)
    return _norm_slopes_f64(d, top, norm, share, shrink, p)


@inline
def norm_line_T(whole, x, y, n_classes, team, parts, p, eps, factor, gx, gy, hx, hy):
    norm, top, share, shrink = distance_T(whole, x, y, n_classes, team, parts, p, eps)
    for c in range(cuda.threadIdx.x, n_classes, team):
        slope, curve = distance_slopes_T(whole, f64(x[c]) - f64(y[c]) + eps, p, norm, top, share, shrink)
        store_T(gx, c, factor * slope)
        store_T(gy, c, -factor * slope)
        store_T(hx, c, factor * curve)
        store_T(hy, c, factor * curve)
    return norm


@inline
def triplet_line_T(whole, x, y, z, n_classes, team, parts, p, eps, margin, swap, factor, gx, gy, gz, hx, hy, hz):
    a, top_a, share_a, shrink_a = distance_T(whole, x, y, n_classes, team, parts, p, eps)
    b, top_b, share_b, shrink_b = distance_T(whole, x, z, n_classes, team, parts, p, eps)
    e, top_e, share_e, shrink_e = inf, 0.0, 0.0, 0.0
    if swap != 0.0:
        e, top_e, share_e, shrink_e = distance_T(whole, y, z, n_classes, team, parts, p, eps)
    nearer, part = _nearer_f64(b, e)
    value, slope = _triplet_f64(a, nearer, margin)
    factor *= slope
    second, third = -factor * part, -factor * (1.0 - part)
    for c in range(cuda.threadIdx.x, n_classes, team):
        v, w, u = f64(x[c]), f64(y[c]), f64(z[c])
        s, k = distance_slopes_T(whole, v - w + eps, p, a, top_a, share_a, shrink_a)
        t, l = distance_slopes_T(whole, v - u + eps, p, b, top_b, share_b, shrink_b)
        o, m = 0.0, 0.0
        if swap != 0.0:
            o, m = distance_slopes_T(whole, w - u + eps, p, e, top_e, share_e, shrink_e)
            o, m = third * o, third * m
        s, k, t, l = factor * s, factor * k, second * t, second * l
        store_T(gx, c, s + t)
        store_T(gy, c, o - s)
        store_T(gz, c, -t - o)
        store_T(hx, c, k + l)
        store_T(hy, c, k + m)
        store_T(hz, c, l + m)
    return value


@inline
def all_within_T(x, n_classes, team, parts, report, code):
    """Whether no number of a row is outside [0, 1]."""
    outside = 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        outside += select(outside_T(x[c], 0.0, 1.0), 1.0, 0.0)
    outside = add_up(outside, team, parts)
    if outside > 0.0:
        tell(report, code)
    return outside == 0.0


@inline
def line_rows_T(
    op, n_inputs, x, y, z, target, ignore_index, class_weight,
    rows, rows_each, rows_period, mask, mask_each, mask_period, upstream, upstream_each, upstream_period,
    losses, value, gx, gy, gz, hx, hy, hz, n_rows, n_classes, divisor, report, input_code, target_code, p, q, r, s, scale,
):  # fmt: skip
    """A row of any loss; p, q, r, s are its parameters. y may be a distribution, z the signs of all rows; the codes tell what is wrong with
    inputs and with those.
    """
    row, team, parts = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, cuda.blockDim.x, cuda.shared.array(64, f64)
    if row >= n_rows:
        return
    own, share, used = target_row_T(row, target, n_classes, ignore_index, rows, rows_each, rows_period, mask, mask_each, mask_period)
    factor = factor_of(scale, divisor)
    gx, gy, gz = row_at_T(gx, row, n_classes), row_at_T(gy, row, n_classes), row_at_T(gz, row, n_classes)
    hx, hy, hz = row_at_T(hx, row, n_classes), row_at_T(hy, row, n_classes), row_at_T(hz, row, n_classes)
    if not used or factor == 0.0:
        if cuda.threadIdx.x == 0:
            store_loss_T(losses, value, row, 0.0)
        for c in range(cuda.threadIdx.x, n_classes, team):
            store_T(gx, c, 0.0)
            store_T(gy, c, 0.0)
            store_T(gz, c, 0.0)
            store_T(hx, c, 0.0)
            store_T(hy, c, 0.0)
            store_T(hz, c, 0.0)
        return
    a, b, e = pointer(row_at_T(x, row, n_classes), T), pointer(row_at_T(y, row, n_classes), T), pointer(row_at_T(z, row, n_classes), T)
    sign = 0.0
    if op == COSINE and z != 0:
        sign = f64(within_T(pointer(z, T)[row], 1.0, -1.0, True, report, target_code))
        share = select(sign == sign, share, nan)
    if own < 0:
        own, share = i64(0), nan
    if op == ENTROPY or op == BRIER:
        share = select(all_within_T(a, n_classes, team, parts, report, input_code), share, nan)
    if op == BRIER and y != 0:
        share = select(all_within_T(b, n_classes, team, parts, report, target_code), share, nan)
    factor *= share * f64(read_T(upstream, upstream_each, upstream_period, 1.0, row))
    if op == MULTI_MARGIN:
        w = f64(pointer(class_weight, T)[own]) if class_weight != 0 else 1.0
        loss = multi_margin_line_T(a, own, n_classes, team, parts, p, q, w, factor, gx, hx)
    elif op == CRAMMER_SINGER:
        loss = crammer_singer_line_T(a, own, n_classes, team, parts, p, factor, gx, hx)
    elif op == COSINE:
        loss = cosine_line_T(a, b, sign, n_classes, team, parts, p, q, factor, gx, gy, hx, hy)
    elif op == ENTROPY:
        loss = entropy_line_T(a, n_classes, team, parts, factor, gx, hx)
    elif op == ENTROPY_OF_LOGITS:
        loss = entropy_of_logits_line_T(a, n_classes, team, parts, factor, gx, hx)
    elif op == BRIER:
        loss = brier_line_T(a, b, y != 0, own, n_classes, team, parts, factor, gx, hx)
    elif n_inputs == 2:
        loss = norm_line_T(op == NORM, a, b, n_classes, team, parts, p, q, factor, gx, gy, hx, hy)
    else:
        loss = triplet_line_T(op == NORM, a, b, e, n_classes, team, parts, p, q, r, s, factor, gx, gy, gz, hx, hy, hz)
    if cuda.threadIdx.x == 0:
        store_loss_T(losses, value, row, share * loss)


def multilabel_margin_T(
    x, target, others, rows, rows_each, rows_period, mask, mask_each, mask_period, upstream, upstream_each, upstream_period,
    losses, value, grad, hess, n_rows, n_classes, divisor, report, code, scale,
):  # fmt: skip
    """A block for each row: labels t against all other classes j, max(0, x_j - x_t + 1) / C. In others the labels are -inf."""
    row, team, parts = i64(cuda.blockIdx.x), cuda.blockDim.x, cuda.shared.array(64, f64)
    _, share, used = target_row_T(row, 0, n_classes, 0, rows, rows_each, rows_period, mask, mask_each, mask_period)
    factor, a, y = factor_of(scale, divisor), pointer(row_at_T(x, row, n_classes), T), pointer(target + 8 * row * n_classes, i64)
    slopes, rest = row_at_T(grad, row, n_classes), pointer(others + 8 * row * n_classes, f64)
    end, wrong = -f64(n_classes), 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        end = maximum(end, -f64(c)) if y[c] < 0 else end
        wrong = select(y[c] < -1 or y[c] >= n_classes, 1.0, wrong)
        rest[c] = f64(a[c])
        store_T(row_at_T(hess, row, n_classes), c, 0.0)
    labels = i64(-team_top_f64(end, team, parts))
    used = used and factor != 0.0
    if add_up(wrong, team, parts) > 0.0:
        share, labels = nan, i64(0)
        if used:
            tell(report, code)
    if not used:
        labels = i64(0)
    cuda.syncthreads()
    for k in range(cuda.threadIdx.x, labels, team):
        rest[y[k]] = -inf
    cuda.syncthreads()
    factor *= share * f64(read_T(upstream, upstream_each, upstream_period, 1.0, row)) / n_classes
    loss = 0.0
    for c in range(cuda.threadIdx.x, n_classes, team):
        slope = 0.0
        for k in range(labels):
            v, b, _ = _multi_margin_f64(rest[c], f64(a[y[k]]), 1.0, 1.0)
            loss, slope = loss + v, slope + b
        store_T(slopes, c, factor * slope if used else 0.0)
    loss = add_up(loss, team, parts)
    cuda.syncthreads()
    for k in range(labels):
        slope = 0.0
        for c in range(cuda.threadIdx.x, n_classes, team):
            _, b, _ = _multi_margin_f64(rest[c], f64(a[y[k]]), 1.0, 1.0)
            slope += b
        slope = add_up(slope, team, parts)
        if cuda.threadIdx.x == 0 and slopes != 0:
            pointer(slopes, T)[y[k]] -= T(factor * slope)
    if cuda.threadIdx.x == 0:
        store_loss_T(losses, value, row, share * (loss / n_classes) if used else 0.0)
