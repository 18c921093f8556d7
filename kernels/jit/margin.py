"""Row losses beside softmax and cross-entropy: contiguous rows, computed in float64 whatever their dtype.

Nobody imports this module: see rows.py. What stands before the text of one dtype is written once.

A tile holds numbers of an input: short rows side by side, class c of row l at c * width + l, or neighbours of one long row, which
fill the lanes. A loss is reduced (maxima and sums, lane by lane), finished (losses and factors, a row a lane) and derived.
"""

from .halves import *
from .layout import *
from .primitives import *
from .sums import *

# The text of both dtypes


@inline
def larger(v, m):
    """The maximum; NaN stays."""
    return select(v > m, v, select(v != v, v, m))


@inline
def line_tile(scratch, k):
    return pointer(scratch + 8 * (LANES * LINE_TILES + k * LINE_TILE), f64)


@leaf
def multi_margin_reduce(x, own, n, width, p, margin, value, slope, curve):
    restrict()
    for i in range(n):
        for l in range(width):
            a, b, c = _multi_margin_f64(x[i * width + l], own[l], margin, p)
            value[l] += a
            slope[l] += b
            curve[l] += c


@leaf
def multi_margin_finish(lanes, n_classes, w, up, sums, slopes, curves, loss, factor, own_grad, own_hess):
    for l in range(lanes):
        v = w[l] / n_classes
        loss[l], factor[l] = v * sums[l], v * up[l]
        own_grad[l], own_hess[l] = -factor[l] * slopes[l], factor[l] * curves[l]


@leaf
def multi_margin_derive(x, own, factor, n, width, p, margin, grad, hess):
    restrict()
    for i in range(n):
        for l in range(width):
            _, b, c = _multi_margin_f64(x[i * width + l], own[l], margin, p)
            grad[i * width + l] = factor[l] * b
            hess[i * width + l] = factor[l] * c


@leaf
def top_of_lanes(x, n, width, top):
    restrict()
    for i in range(n):
        for l in range(width):
            top[l] = larger(x[i * width + l], top[l])


@leaf
def first_of_lanes(x, n, width, at, start, stride, top, first):
    """first: minus the first class that has the maximum."""
    restrict()
    for i in range(n):
        for l in range(width):
            c = -(at[l] + f64(start + i * stride))
            first[l] = select(x[i * width + l] == top[l], larger(c, first[l]), first[l])


@leaf
def crammer_singer_finish(lanes, power, own, top, up, loss, own_grad, own_hess):
    for l in range(lanes):
        value, slope, curve = hinge_loss_f64(own[l] - top[l], 1.0)
        if power == 2.0:
            value, slope, curve = squared_hinge_loss_f64(own[l] - top[l], 1.0)
        loss[l], own_grad[l], own_hess[l] = value, up[l] * slope, up[l] * curve


@leaf
def crammer_singer_derive(n, width, at, start, stride, first, own_grad, own_hess, grad, hess):
    restrict()
    for i in range(n):
        for l in range(width):
            here = at[l] + f64(start + i * stride) == -first[l]
            grad[i * width + l] = select(here, -own_grad[l], 0.0)
            hess[i * width + l] = select(here, own_hess[l], 0.0)


@leaf
def cosine_reduce(x, y, n, width, dot, square, other):
    restrict()
    for i in range(n):
        for l in range(width):
            a, b = x[i * width + l], y[i * width + l]
            dot[l] += a * b
            square[l] += a * a
            other[l] += b * b


@leaf
def cosine_finish(lanes, signs, sign, eps, margin, dot, squares, others, up, loss, factor, inverse, cosine, k, k_other):
    """With signs the embedding loss, whose squared norms gain 1e-12; without, the similarity, whose norms are at least eps."""
    least = eps * eps
    for l in range(lanes):
        square = squares[l] + 1e-12 if signs else maximum(squares[l], least)
        other = others[l] + 1e-12 if signs else maximum(others[l], least)
        cosine[l], inverse[l] = _cosine_f64(dot[l], square, other)
        value, slope = _cosine_embedding_f64(cosine[l], f64(sign[l]), margin)
        loss[l] = value if signs else cosine[l]
        factor[l] = up[l] * slope if signs else up[l]
        k[l] = 0.0 if squares[l] < least else 1.0 / square
        k_other[l] = 0.0 if others[l] < least else 1.0 / other


@leaf
def cosine_derive(x, y, n, width, factor, inverse, cosine, k, k_other, grad, grad_other, hess, hess_other):
    restrict()
    for i in range(n):
        for l in range(width):
            a, b = x[i * width + l], y[i * width + l]
            slope, curve = _cosine_slopes_f64(a, b, inverse[l], cosine[l], k[l])
            grad[i * width + l], hess[i * width + l] = factor[l] * slope, factor[l] * curve
            slope, curve = _cosine_slopes_f64(b, a, inverse[l], cosine[l], k_other[l])
            grad_other[i * width + l], hess_other[i * width + l] = factor[l] * slope, factor[l] * curve


# Distances: of a pair, or of the pairs (0, 1), (0, 2) and with swap (1, 2) of a triplet; params are p, eps, margin, swap


@inline
def first_of_pair(pair):
    return 1 if pair == 2 else 0


@inline
def second_of_pair(pair):
    return 1 if pair == 0 else 2


@leaf
def norm_reduce(x, y, n, width, limit, p, eps, total):
    restrict()
    for i in range(n):
        for l in range(width):
            d = x[i * width + l] - y[i * width + l] + select(i * width + l < limit, eps, 0.0)
            total[l] += _term_f64(d, p)


@leaf
def norm_p_top(x, y, n, width, limit, eps, top):
    restrict()
    for i in range(n):
        for l in range(width):
            d = x[i * width + l] - y[i * width + l] + select(i * width + l < limit, eps, 0.0)
            top[l] = larger(fabs(d), top[l])


@leaf
def norm_p_reduce(x, y, n, width, limit, p, eps, top, total):
    restrict()
    for i in range(n):
        for l in range(width):
            d = x[i * width + l] - y[i * width + l] + select(i * width + l < limit, eps, 0.0)
            total[l] += _ratio_power_f64(_ratio_f64(d, top[l]), p)


@leaf
def distance_finish(scratch, lanes, terms, n_inputs, n_pairs, params, up, loss):
    """Factors of pair k from 4 k on: of the derivatives, then those that _term_slopes or _norm_slopes take."""
    for l in range(lanes):
        a, b, c = inf, inf, inf
        for k in range(n_pairs):
            total, top = slot(scratch, LINE_SUM + k, f64)[l], slot(scratch, LINE_TOP + k, f64)[l]
            share, shrink = 0.0, 0.0
            if terms:
                norm = total if params[0] == 1.0 else sqrt(total)
                slot(scratch, LINE_F + 4 * k + 1, f64)[l] = 0.0 if norm == 0.0 else 1.0 / norm
            else:
                norm, share, shrink = _norm_f64(top, total, params[0])
                slot(scratch, LINE_F + 4 * k + 1, f64)[l] = norm
            slot(scratch, LINE_F + 4 * k + 2, f64)[l], slot(scratch, LINE_F + 4 * k + 3, f64)[l] = share, shrink
            if k == 0:
                a = norm
            elif k == 1:
                b = norm
            else:
                c = norm
        value, factor = a, up[l]
        if n_inputs == 3:
            nearer, part = _nearer_f64(b, c)
            value, slope = _triplet_f64(a, nearer, params[2])
            factor = up[l] * slope
            slot(scratch, LINE_F + 4, f64)[l], slot(scratch, LINE_F + 8, f64)[l] = -factor * part, -factor * (1.0 - part)
        loss[l], slot(scratch, LINE_F, f64)[l] = value, factor


@leaf
def term_derive(x, y, n, width, p, eps, factor, inverse, grad, grad_other, hess, hess_other):
    restrict()
    for i in range(n):
        for l in range(width):
            slope, curve = _term_slopes_f64(x[i * width + l] - y[i * width + l] + eps, inverse[l], p)
            grad[i * width + l] += factor[l] * slope
            grad_other[i * width + l] -= factor[l] * slope
            hess[i * width + l] += factor[l] * curve
            hess_other[i * width + l] += factor[l] * curve


@leaf
def norm_p_derive(x, y, n, width, p, eps, top, factor, norm, share, shrink, grad, grad_other, hess, hess_other):
    restrict()
    for i in range(n):
        for l in range(width):
            slope, curve = _norm_slopes_f64(x[i * width + l] - y[i * width + l] + eps, top[l], norm[l], share[l], shrink[l], p)
            grad[i * width + l] += factor[l] * slope
            grad_other[i * width + l] -= factor[l] * slope
            hess[i * width + l] += factor[l] * curve
            hess_other[i * width + l] += factor[l] * curve


@leaf
def distance_derive(scratch, terms, n_inputs, n_pairs, n, width, params):
    for k in range(n_inputs):
        for i in range(n * width):
            line_tile(scratch, 3 + k)[i] = 0.0
            line_tile(scratch, 6 + k)[i] = 0.0
    for pair in range(n_pairs):
        a, b, f = first_of_pair(pair), second_of_pair(pair), LINE_F + 4 * pair
        x, y = line_tile(scratch, a), line_tile(scratch, b)
        grad, other, hess, hess_other = line_tile(scratch, 3 + a), line_tile(scratch, 3 + b), line_tile(scratch, 6 + a), line_tile(scratch, 6 + b)
        factor, first = slot(scratch, f, f64), slot(scratch, f + 1, f64)
        if terms:
            term_derive(x, y, n, width, params[0], params[1], factor, first, grad, other, hess, hess_other)
        else:
            norm_p_derive(x, y, n, width, params[0], params[1], slot(scratch, LINE_TOP + pair, f64), factor, first,
                          slot(scratch, f + 2, f64), slot(scratch, f + 3, f64), grad, other, hess, hess_other)


# Entropy of probabilities, of the softmax of logits; Brier score


@leaf
def entropy_reduce(x, n, width, total):
    restrict()
    for i in range(n):
        for l in range(width):
            v, _, _ = _entropy_f64(x[i * width + l])
            total[l] += v


@leaf
def entropy_derive(x, n, width, up, grad, hess):
    restrict()
    for i in range(n):
        for l in range(width):
            _, slope, curve = _entropy_f64(x[i * width + l])
            grad[i * width + l], hess[i * width + l] = up[l] * slope, up[l] * curve


@leaf
def logits_reduce(x, n, width, top, others, count, pull):
    restrict()
    for i in range(n):
        for l in range(width):
            a, b, c = _entropy_sums_f64(x[i * width + l] - top[l])
            others[l] += a
            count[l] += b
            pull[l] += c


@leaf
def logits_finish(lanes, others, count, pull, up, loss, factor, inverse, mean, apart):
    for l in range(lanes):
        loss[l], inverse[l], mean[l], apart[l] = _entropy_of_sums_f64(others[l], count[l], pull[l])
        factor[l] = up[l]


@leaf
def logits_derive(x, n, width, top, factor, inverse, mean, apart, grad, hess):
    restrict()
    for i in range(n):
        for l in range(width):
            slope, curve = _entropy_slopes_f64(x[i * width + l] - top[l], inverse[l], mean[l], apart[l])
            grad[i * width + l], hess[i * width + l] = factor[l] * slope, factor[l] * curve


@leaf
def brier_reduce(x, y, n, width, total):
    restrict()
    for i in range(n):
        for l in range(width):
            d = x[i * width + l] - y[i * width + l]
            total[l] += d * d


@leaf
def brier_derive(x, y, n, width, up, grad, hess):
    restrict()
    for i in range(n):
        for l in range(width):
            grad[i * width + l], hess[i * width + l] = 2.0 * up[l] * (x[i * width + l] - y[i * width + l]), 2.0 * up[l]


@leaf
def sum_finish(lanes, classes, own, total, up, loss, factor, own_grad, own_hess):
    """The sum; for classes, with their own squares added."""
    for l in range(lanes):
        d = own[l] - 1.0
        loss[l] = total[l] + d * d if classes else total[l]
        factor[l], own_grad[l], own_hess[l] = up[l], 2.0 * d * up[l], 2.0 * up[l]


# Multilabel margin: labels t against all other classes j, max(0, x_j - x_t + 1) / C


@summing
def label_against_others(x, grad, n, own):
    """One label: grad gains the slopes of the other classes (the labels are -inf); returns the sums of values and slopes."""
    restrict()
    value, slope = 0.0, 0.0
    for c in range(n):
        a, b, _ = _multi_margin_f64(x[c], own, 1.0, 1.0)
        value += a
        slope += b
        grad[c] += b
    return value, slope


# The three steps of any loss


@leaf
def line_reduce(op, step, scratch, n, width, limit, start, stride, n_inputs, n_pairs, params):
    own, at = slot(scratch, LINE_OWN, f64), slot(scratch, LINE_AT, f64)
    x, y = line_tile(scratch, 0), line_tile(scratch, 1)
    top, first = slot(scratch, LINE_TOP, f64), slot(scratch, LINE_TOP + 1, f64)
    s0, s1, s2 = slot(scratch, LINE_SUM, f64), slot(scratch, LINE_SUM + 1, f64), slot(scratch, LINE_SUM + 2, f64)
    if op == MULTI_MARGIN:
        multi_margin_reduce(x, own, n, width, params[0], params[1], s0, s1, s2)
    elif op == CRAMMER_SINGER:
        if step == 0:
            top_of_lanes(x, n, width, top)
        else:
            first_of_lanes(x, n, width, at, start, stride, top, first)
    elif op == COSINE:
        cosine_reduce(x, y, n, width, s0, s1, s2)
    elif op == ENTROPY:
        entropy_reduce(x, n, width, s0)
    elif op == ENTROPY_OF_LOGITS:
        if step == 0:
            top_of_lanes(x, n, width, top)
        else:
            logits_reduce(x, n, width, top, s0, s1, s2)
    elif op == BRIER:
        for i in range(n * width if n_inputs == 1 else 0):
            y[i] = 0.0
        brier_reduce(x, y, n, width, s0)
    else:
        for k in range(n_pairs):
            x, y = line_tile(scratch, first_of_pair(k)), line_tile(scratch, second_of_pair(k))
            top, total = slot(scratch, LINE_TOP + k, f64), slot(scratch, LINE_SUM + k, f64)
            if op == NORM:
                norm_reduce(x, y, n, width, limit, params[0], params[1], total)
            elif step == 0:
                norm_p_top(x, y, n, width, limit, params[1], top)
            else:
                norm_p_reduce(x, y, n, width, limit, params[0], params[1], top, total)


@leaf
def line_finish(op, scratch, lanes, n_classes, n_inputs, n_pairs, signs, params):
    own, w, up = slot(scratch, LINE_OWN, f64), slot(scratch, LINE_W, f64), slot(scratch, LINE_UP, f64)
    loss, own_grad, own_hess = slot(scratch, LINE_LOSS, f64), slot(scratch, LINE_OWN_GRAD, f64), slot(scratch, LINE_OWN_HESS, f64)
    s0, s1, s2 = slot(scratch, LINE_SUM, f64), slot(scratch, LINE_SUM + 1, f64), slot(scratch, LINE_SUM + 2, f64)
    f0, f1, f2 = slot(scratch, LINE_F, f64), slot(scratch, LINE_F + 1, f64), slot(scratch, LINE_F + 2, f64)
    f3, f4 = slot(scratch, LINE_F + 3, f64), slot(scratch, LINE_F + 4, f64)
    if op == MULTI_MARGIN:
        multi_margin_finish(lanes, n_classes, w, up, s0, s1, s2, loss, f0, own_grad, own_hess)
    elif op == CRAMMER_SINGER:
        crammer_singer_finish(lanes, params[0], own, slot(scratch, LINE_TOP, f64), up, loss, own_grad, own_hess)
    elif op == COSINE:
        cosine_finish(lanes, signs, slot(scratch, LINE_Y, i64), params[0], params[1], s0, s1, s2, up, loss, f0, f1, f2, f3, f4)
    elif op == ENTROPY_OF_LOGITS:
        logits_finish(lanes, s0, s1, s2, up, loss, f0, f1, f2, f3)
    elif op == ENTROPY or op == BRIER:
        sum_finish(lanes, signs, own, s0, up, loss, f0, own_grad, own_hess)
    else:
        distance_finish(scratch, lanes, op == NORM, n_inputs, n_pairs, params, up, loss)


@leaf
def line_derive(op, scratch, n, width, start, stride, n_inputs, n_pairs, params):
    own, at, x, y = slot(scratch, LINE_OWN, f64), slot(scratch, LINE_AT, f64), line_tile(scratch, 0), line_tile(scratch, 1)
    grad, other, hess, hess_other = line_tile(scratch, 3), line_tile(scratch, 4), line_tile(scratch, 6), line_tile(scratch, 7)
    own_grad, own_hess = slot(scratch, LINE_OWN_GRAD, f64), slot(scratch, LINE_OWN_HESS, f64)
    f0, f1, f2 = slot(scratch, LINE_F, f64), slot(scratch, LINE_F + 1, f64), slot(scratch, LINE_F + 2, f64)
    f3, f4 = slot(scratch, LINE_F + 3, f64), slot(scratch, LINE_F + 4, f64)
    if op == MULTI_MARGIN:
        multi_margin_derive(x, own, f0, n, width, params[0], params[1], grad, hess)
    elif op == CRAMMER_SINGER:
        crammer_singer_derive(n, width, at, start, stride, slot(scratch, LINE_TOP + 1, f64), own_grad, own_hess, grad, hess)
    elif op == COSINE:
        cosine_derive(x, y, n, width, f0, f1, f2, f3, f4, grad, other, hess, hess_other)
    elif op == ENTROPY:
        entropy_derive(x, n, width, f0, grad, hess)
    elif op == ENTROPY_OF_LOGITS:
        logits_derive(x, n, width, slot(scratch, LINE_TOP, f64), f0, f1, f2, f3, grad, hess)
    elif op == BRIER:
        brier_derive(x, y, n, width, f0, grad, hess)
    else:
        distance_derive(scratch, op == NORM, n_inputs, n_pairs, n, width, params)


# Rows of a tile


@leaf
def combine_lanes(scratch, width, tops):
    """The lanes of a long row's maxima and sums, in their order; maxima go back to every lane."""
    if tops:
        for k in range(LINE_TOP, LINE_TOP + 3):
            top = slot(scratch, k, f64)
            for l in range(1, width):
                top[0] = larger(top[l], top[0])
            for l in range(1, width):
                top[l] = top[0]
    else:
        for k in range(LINE_SUM, LINE_SUM + 4):
            total = slot(scratch, k, f64)
            for l in range(1, width):
                total[0] += total[l]


@leaf
def spread_lanes(scratch, width):
    for k in range(LINE_OWN_GRAD, LINE_TILES):
        values = slot(scratch, k, f64)
        for l in range(1, width):
            values[l] = values[0]


@leaf
def put_own(scratch, tile, l, lanes, width, start, size, v):
    y = slot(scratch, LINE_Y, i64)[l]
    if lanes > 1:
        tile[y * width + l] = v
    elif start <= y < start + size:
        tile[y - start] = v


@leaf
def clear_absent(scratch, tile, lanes, width, n):
    used = slot(scratch, LINE_USED, i64)
    for l in range(lanes):
        if used[l] == 0:
            for c in range(n):
                tile[c * width + l] = 0.0


# The text of one dtype


@leaf
def load_group_T(scratch, r, rows, lanes, width, own_class, n_classes, x, target, ignore_index, class_weight, row_weight, upstream, scale):
    y, used, own = slot(scratch, LINE_Y, i64), slot(scratch, LINE_USED, i64), slot(scratch, LINE_OWN, f64)
    w, u, up = slot(scratch, LINE_W, f64), slot(scratch, LINE_U, f64), slot(scratch, LINE_UP, f64)
    for k in range(LINE_TOP, LINE_SUM + 4):
        values = slot(scratch, k, f64)
        for l in range(width):
            values[l] = -inf if k < LINE_SUM else 0.0
    for l in range(lanes):
        there = l < rows
        y[l] = pointer(target, i64)[r + l] if there and target != 0 else 0
        u[l] = 0.0 if not there else f64(pointer(row_weight, T)[r + l]) if row_weight != 0 else 1.0
        used[l] = 1 if u[l] != 0.0 and (own_class == 0 or y[l] != ignore_index) else 0
        up[l] = scale * u[l]
        w[l], own[l] = 1.0, 0.0
        if used[l] != 0:
            if upstream != 0:
                up[l] *= f64(pointer(upstream, T)[r + l])
            if own_class != 0:
                own[l] = f64(pointer(x, T)[(r + l) * n_classes + y[l]])
                if class_weight != 0:
                    w[l] = f64(pointer(class_weight, T)[y[l]])
    for l in range(lanes, width):
        own[l] = own[0]


@leaf
def load_side_by_side_T(x, n, width, rows, tile):
    restrict()
    for c in range(n):
        for l in range(rows):
            tile[c * width + l] = f64(x[l * n + c])


@leaf
def store_side_by_side_T(tile, n, width, rows, out):
    restrict()
    for l in range(rows):
        for c in range(n):
            out[l * n + c] = T(tile[c * width + l])


@leaf
def load_piece_T(x, size, filler, tile):
    restrict()
    for c in range(size, pad(size)):
        tile[c] = filler
    for c in range(size):
        tile[c] = f64(x[c])


@leaf
def store_piece_T(tile, size, out):
    restrict()
    for c in range(size):
        out[c] = T(tile[c])


@leaf
def load_lines_T(scratch, xs, n_inputs, r, rows, lanes, width, start, size, n_classes, own_class, filler):
    for k in range(n_inputs):
        x, tile = offset(pointer(xs[k], T), r * n_classes + start), line_tile(scratch, k)
        if lanes > 1:
            load_side_by_side_T(x, n_classes, width, rows, tile)
            clear_absent(scratch, tile, lanes, width, n_classes)
        else:
            load_piece_T(x, size, filler, tile)
    if own_class == REMOVED:
        for l in range(rows):
            if slot(scratch, LINE_USED, i64)[l] != 0:
                put_own(scratch, line_tile(scratch, 0), l, lanes, width, start, size, filler)


@leaf
def store_lines_T(scratch, tile, outs, n_inputs, r, rows, lanes, width, start, size, n_classes, own_class, own):
    for k in range(n_inputs):
        if outs[k] == 0:
            continue
        out, values = offset(pointer(outs[k], T), r * n_classes + start), line_tile(scratch, tile + k)
        if own_class != 0:
            for l in range(rows):
                if slot(scratch, LINE_USED, i64)[l] != 0:
                    put_own(scratch, values, l, lanes, width, start, size, slot(scratch, own, f64)[l])
        if lanes > 1:
            clear_absent(scratch, values, lanes, width, n_classes)
            store_side_by_side_T(values, n_classes, width, rows, out)
        else:
            store_piece_T(values, size, out)


@leaf
def clear_line_T(value, grads, hesses, n_inputs, r, n_classes):
    if value != 0:
        pointer(value, T)[r] = T(0)
    for k in range(n_inputs):
        for c in range(n_classes):
            if grads[k] != 0:
                pointer(grads[k], T)[r * n_classes + c] = T(0)
            if hesses[k] != 0:
                pointer(hesses[k], T)[r * n_classes + c] = T(0)


@entry
def row_loss_T(
    first_chunk, last_chunk, scratch, op, steps, own_class, filler, n_inputs, n_pairs, xs, grads, hesses, target, ignore_index,
    class_weight, row_weight, upstream, value, params, scale, n_rows, n_classes, chunk, partials,
):  # fmt: skip
    flags = hold_flags()
    partial = pointer(partials, f64)
    short = n_classes <= LINE_SHORT
    lanes, width, stride = (LINE_WIDTH, LINE_WIDTH, 1) if short else (1, 16, 16)
    piece = max(1, n_classes if short else LINE_TILE)
    loss, u, used = slot(scratch, LINE_LOSS, f64), slot(scratch, LINE_U, f64), slot(scratch, LINE_USED, i64)
    for l in range(width):
        slot(scratch, LINE_AT, f64)[l] = 0.0 if short else f64(l)
    for r in range(first_chunk * chunk, min(last_chunk * chunk, n_rows), lanes):
        rows = min(lanes, n_rows - r)
        load_group_T(scratch, r, rows, lanes, width, own_class, n_classes, xs[0], target, ignore_index, class_weight, row_weight, upstream, scale)
        if not short and used[0] == 0:
            clear_line_T(value, grads, hesses, n_inputs, r, n_classes)
            continue
        for step in range(steps):
            for start in range(0, n_classes, piece):
                size = min(piece, n_classes - start)
                if step == 0 or n_classes > piece:
                    load_lines_T(scratch, xs, n_inputs, r, rows, lanes, width, start, size, n_classes, own_class, filler)
                line_reduce(op, step, scratch, n_classes if short else pad(size) // 16, width, n_classes * width if short else size, start, stride,
                            n_inputs, n_pairs, params)
            if not short:
                combine_lanes(scratch, width, step + 1 < steps or op == CRAMMER_SINGER)
        line_finish(op, scratch, lanes, n_classes, n_inputs, n_pairs, target != 0, params)
        for l in range(rows):
            v = u[l] * loss[l] if used[l] != 0 else 0.0
            add_partial(partial, r // chunk, v, 0.0)
            if value != 0:
                pointer(value, T)[r + l] = T(v)
        if grads[0] == 0:
            continue
        if not short:
            spread_lanes(scratch, width)
        for start in range(0, n_classes, piece):
            size = min(piece, n_classes - start)
            if n_classes > piece:
                load_lines_T(scratch, xs, n_inputs, r, rows, lanes, width, start, size, n_classes, own_class, filler)
            line_derive(op, scratch, n_classes if short else pad(size) // 16, width, start, stride, n_inputs, n_pairs, params)
            store_lines_T(scratch, 3, grads, n_inputs, r, rows, lanes, width, start, size, n_classes, own_class, LINE_OWN_GRAD)
            if hesses[0] != 0:
                store_lines_T(scratch, 6, hesses, n_inputs, r, rows, lanes, width, start, size, n_classes, own_class, LINE_OWN_HESS)
    release_flags(flags)


@entry
def multilabel_margin_T(
    first_chunk, last_chunk, scratch, xs, grads, hesses, target, row_weight, upstream, value, scale, n_rows, n_classes, chunk, partials,
):  # fmt: skip
    flags = hold_flags()
    whole = pad(n_classes)
    others, grad, partial = pointer(scratch, f64), pointer(scratch + 8 * whole, f64), pointer(partials, f64)
    for r in range(first_chunk * chunk, min(last_chunk * chunk, n_rows)):
        x, y = offset(pointer(xs[0], T), r * n_classes), offset(pointer(target, i64), r * n_classes)
        u = f64(pointer(row_weight, T)[r]) if row_weight != 0 else 1.0
        labels = 0
        while u != 0.0 and labels < n_classes and y[labels] >= 0:
            labels += 1
        if labels == 0:
            clear_line_T(value, grads, hesses, 1, r, n_classes)
            continue
        for c in range(whole):
            others[c], grad[c] = -inf, 0.0
        for c in range(n_classes):
            others[c] = f64(x[c])
        for k in range(labels):
            others[y[k]] = -inf
        loss = 0.0
        for k in range(labels):
            added, slope = label_against_others(others, grad, whole, f64(x[y[k]]))
            loss += added
            grad[y[k]] -= slope
        loss = u * (loss / n_classes)
        add_partial(partial, r // chunk, loss, 0.0)
        up = scale * u / n_classes
        if upstream != 0:
            up *= f64(pointer(upstream, T)[r])
        if value != 0:
            pointer(value, T)[r] = T(loss)
        for c in range(n_classes):
            if grads[0] != 0:
                pointer(grads[0], T)[r * n_classes + c] = T(grad[c] * up)
            if hesses[0] != 0:
                pointer(hesses[0], T)[r * n_classes + c] = T(0)
    release_flags(flags)
