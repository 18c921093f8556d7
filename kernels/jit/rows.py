"""Row kernels: softmax, log_softmax, logsumexp, cross-entropy, negative log-likelihood.

Nobody imports this module: kernels/generate.py writes what follows its imports into the generated Numba module, once for
each dtype, T its type and *_T its functions, beside the formulas that it inlines.

A tile is n rows. Short rows (C < SHORT) stand across it, one row per lane, element (l, c) at c * width + l; long rows
stand along it, at l * width + c, padded to a multiple of 16. Numbers of a row are arrays over l, padded likewise, so
that no loop over a tile ends in a scalar remainder.

With m the maximum of a row and e = exp(x) in a unit near exp(m), e_m that of the maximum, the sum over the row is
S = e_m (1 + rest), and its logarithm m + log1p(rest): rest keeps all its digits when one class dominates. A tile of
exponentials holds -1 in place of e_m.

Names: <what>_lanes for a tile of short rows, <what>_row for one long row, <what>_tile for whichever the tile holds.
"""

from .halves import *
from .layout import *
from .primitives import *
from .sums import *

# The text of one dtype


@inline
def exp_below_T(x, top, base, magic, low):
    v, s = exp_unit_T(x - base, magic, low)
    return select(x == top, T(-1), s + v * s)


@inline
def part_T(q, x, top):
    """q * (top - x); 0 where q is, even against an infinite logit."""
    return select(q == T(0), 0.0, f64(q) * (f64(top) - f64(x)))


@inline
def split_T(value, error):
    """value + error, both float64, as a sum of two of the dtype."""
    high = T(value)
    return high, T((value - f64(high)) + error)


# Tiles. base holds where each row of the tile begins in its array; rows that lie evenly have a stride.


@leaf
def locate_rows_T(row, n, inner, outer_step, inner_step, base):
    """Fills base; the rows' stride, 0 where they lie unevenly."""
    restrict()
    if inner == 1:
        for l in range(n):
            base[l] = row[l] * outer_step
    else:
        for l in range(n):
            base[l] = row[l] // inner * outer_step + row[l] % inner * inner_step
    for l in range(n, pad(n)):
        base[l] = base[0]
    stride = base[1] - base[0] if n > 1 else 0
    even = True
    for l in range(n):
        even &= base[l] == base[0] + l * stride
    return stride if even else 0


@leaf
def load_lanes_T(x, base, stride, n, n_classes, step, tile, width):
    restrict()
    if stride == 1:
        for c in range(n_classes):
            for l in range(n):
                tile[c * width + l] = x[base[0] + c * step + l]
    elif step == 1 and stride != 0 and n_classes >= 8:
        for l in range(0, n & -8, 8):
            for c in range(0, n_classes, 8):
                at = min(c, n_classes - 8)
                transpose(offset(x, base[l] + at), stride, offset(tile, at * width + l), width)
        for l in range(n & -8, n):
            for c in range(n_classes):
                tile[c * width + l] = x[base[l] + c]
    else:
        for c in range(n_classes):
            for l in range(pad(n)):
                tile[c * width + l] = x[base[l] + c * step]


@leaf
def store_lanes_T(tile, width, n, n_classes, base, stride, step, out):
    restrict()
    if step == 1 and stride != 0 and n_classes >= 8:
        for l in range(0, n & -8, 8):
            for c in range(0, n_classes, 8):
                at = min(c, n_classes - 8)
                transpose(offset(tile, at * width + l), width, offset(out, base[l] + at), stride)
        for l in range(n & -8, n):
            for c in range(n_classes):
                out[base[l] + c] = tile[c * width + l]
    elif stride != 0:
        for c in range(n_classes):
            for l in range(n):
                out[base[0] + c * step + l * stride] = tile[c * width + l]
    else:
        for l in range(n):
            for c in range(n_classes):
                out[base[l] + c * step] = tile[c * width + l]


@leaf
def load_rows_T(x, base, stride, n, n_classes, step, tile, width, filler):
    restrict()
    for l in range(n):
        for c in range(n_classes, width):
            tile[l * width + c] = filler
    if step == 1:
        for l in range(n):
            for c in range(n_classes):
                tile[l * width + c] = x[base[l] + c]
    elif stride == 1:
        for c in range(n_classes):
            for l in range(n):
                tile[l * width + c] = x[base[0] + l + c * step]
    else:
        for l in range(n):
            for c in range(n_classes):
                tile[l * width + c] = x[base[l] + c * step]


@leaf
def store_rows_T(tile, width, n, n_classes, base, stride, step, out):
    restrict()
    if step == 1:
        for l in range(n):
            for c in range(n_classes):
                out[base[l] + c] = tile[l * width + c]
    elif stride == 1:
        for c in range(n_classes):
            for l in range(n):
                out[base[0] + l + c * step] = tile[l * width + c]
    else:
        for l in range(n):
            for c in range(n_classes):
                out[base[l] + c * step] = tile[l * width + c]


@leaf
def load_tile_T(view, row, n, n_classes, inner, base, tile, width, filler):
    address, outer_step, step, inner_step = view
    stride = locate_rows_T(row, n, inner, outer_step, inner_step, base)
    if n_classes < SHORT:
        load_lanes_T(pointer(address, T), base, stride, n, n_classes, step, tile, width)
    else:
        load_rows_T(pointer(address, T), base, stride, n, n_classes, step, tile, width, filler)


@leaf
def store_tile_T(tile, width, view, row, n, n_classes, inner, base):
    address, outer_step, step, inner_step = view
    stride = locate_rows_T(row, n, inner, outer_step, inner_step, base)
    if n_classes < SHORT:
        store_lanes_T(tile, width, n, n_classes, base, stride, step, pointer(address, T))
    else:
        store_rows_T(tile, width, n, n_classes, base, stride, step, pointer(address, T))


# Maximum, exponentials and their sums


@leaf
def top_lanes_T(x, width, n, n_classes, top):
    restrict()
    for l in range(pad(n)):
        top[l] = x[l]
    for c in range(1, n_classes):
        for l in range(pad(n)):
            top[l] = maximum(top[l], x[c * width + l])


@leaf
def top_row_T(x, n):
    """The maximum, by ints in the order of the reals: LLVM vectorises no float maximum that minds NaN."""
    restrict()
    top = order(bits(T(-inf)))
    for c in range(pad(n)):
        top = maximum(top, order(bits(x[c])))
    return from_bits(order(top))


@leaf
def top_tile_T(tile, width, n, n_classes, top):
    if n_classes < SHORT:
        top_lanes_T(tile, width, n, n_classes, top)
    else:
        for l in range(n):
            top[l] = top_row_T(offset(tile, l * width), n_classes)


@leaf
def choose_units_T(n, top, base, magic, low, unit):
    """The unit of each row, what is subtracted first (without error where it matters), and e_m, NaN for an infinite m."""
    restrict()
    for l in range(pad(n)):
        m = f64(top[l])
        center = select(m - m == 0.0, m, 0.0)
        away = select(abs(center) > FAR_T, center, 0.0)
        k, reach = _unit_of_f64(center - away)
        v, s = exp_unit_f64(center - away, k, reach)
        unit[l] = s + v * s + (m - m)
        base[l], magic[l] = T(away), T(k + (f64(_bias_T()) - _bias_f64()))
        low[l] = T(reach + (_unit_reach_f64() - f64(_unit_reach_T())))


@leaf
def exp_lanes_T(x, n, top, base, magic, low, e):
    restrict()
    for l in range(pad(n)):
        e[l] = exp_below_T(x[l], top[l], base[l], magic[l], low[l])


@leaf
def exp_row_T(x, n, top, base, magic, low, e, ahead):
    """Meanwhile, what lies ahead is fetched."""
    restrict()
    lanes = min(pad(n), 16)  # 16, unknown to LLVM
    for c in range(0, n, 16):
        for k in range(c, c + 16, LINE // SIZE_T):
            prefetch(offset(ahead, k))
        for l in range(lanes):
            e[c + l] = exp_below_T(x[c + l], top, base, magic, low)


@leaf
def sum_lanes_T(e, n, total, error, count):
    """Adds one class."""
    restrict()
    for l in range(pad(n)):
        total[l], error[l] = add_T(total[l], error[l], f64(select(e[l] < T(0), T(0), e[l])))
        count[l] += select(e[l] < T(0), 1.0, 0.0)


@leaf
def combine_T(n, unit, total, error, count, rest, sums, sums_low):
    """rest, and S as a sum of two, from the sum without maxima, total + error, and the number of maxima."""
    restrict()
    for l in range(pad(n)):
        rest[l] = (total[l] + error[l]) / unit[l] + (count[l] - 1.0)
        s, low = two_sum(total[l], error[l], count[l] * unit[l])
        sums[l], sums_low[l] = two_sum(s, 0.0, low)


@leaf
def logarithms_T(n, rest, logs):
    """log S - m"""
    restrict()
    for l in range(pad(n)):
        logs[l] = log1p_f64(rest[l])


@leaf
def invert_T(n, factor, rest, sums, sums_low, a, a_low, most):
    """UP factor / S as a sum of two; the share of the maximum, which is never more than the factor."""
    restrict()
    for l in range(pad(n)):
        q, error = quotient_T(factor[l] * UP, sums[l], sums_low[l])
        a[l], a_low[l] = split_T(q, error)
        most[l] = T(factor[l] / (1.0 + rest[l]))


@leaf
def prefetch_T(x, base, first, last, n_classes):
    for l in range(first, last):
        for c in range(0, n_classes, LINE // SIZE_T):
            prefetch(offset(x, base[l] + c))


@leaf
def next_rows_T(x, inner, n):
    """The view of the rows n further on, if they lie so evenly."""
    return (x[0] + n * x[1] * SIZE_T if inner == 1 else 0), x[1], x[2], x[3]


@leaf
def sums_tile_T(tile, e, keep, width, row, n, n_classes, inner, top, unit, rest, sums, sums_low, ahead, scratch):
    """rest and S of each row; if keep, e is left with the exponentials.

    ahead is the view that will be read or written next: its lines are fetched while exponentials are computed.
    """
    total, error, count = slot(scratch, TOTAL, f64), slot(scratch, ERROR, f64), slot(scratch, COUNT, f64)
    spare, lines = slot(scratch, SPARE, f64), slot(scratch, AHEAD, i64)
    base, magic, low = slot(scratch, FIRST, T), slot(scratch, MAGIC, T), slot(scratch, LOW, T)
    out, fetch = pointer(ahead[0], T), ahead[0] != 0 and ahead[2] == 1
    if fetch:
        locate_rows_T(row, n, inner, ahead[1], ahead[3], lines)
    choose_units_T(n, top, base, magic, low, unit)
    for l in range(pad(n)):
        total[l], error[l], count[l] = 0.0, 0.0, 0.0
    if n_classes < SHORT:
        for c in range(n_classes):
            x = offset(tile, c * width)
            if fetch:
                prefetch_T(out, lines, n * c // n_classes, n * (c + 1) // n_classes, n_classes)
            y = offset(e, c * width if keep else 0)
            exp_lanes_T(x, n, top, base, magic, low, y)
            sum_lanes_T(y, n, total, error, count)
    else:
        for l in range(n):
            for start in range(0, width, BLOCK):
                m = min(BLOCK, width - start)
                x, y = offset(tile, l * width + start), offset(e, l * width + start if keep else 0)
                exp_row_T(x, m, top[l], base[l], magic[l], low[l], y, offset(out, lines[l] + start) if fetch else y)
                s, s_low, k = sum_block_T(y, m, spare)
                total[l], error[l] = two_sum(total[l], error[l] + s_low, s)
                count[l] += k
    combine_T(n, unit, total, error, count, rest, sums, sums_low)


# softmax (op 0), log_softmax (1), logsumexp (2)


@inline
def scale_T(e, a, a_low, most):
    """e * (a + a_low) / UP, rounded once unless it is subnormal; most for the maximum."""
    return select(e < T(0), most, (e * a + e * a_low) * T(1 / UP))


@leaf
def scale_lanes_T(x, width, n, n_classes, a, a_low, most):
    restrict()
    for c in range(n_classes):
        for l in range(pad(n)):
            x[c * width + l] = scale_T(x[c * width + l], a[l], a_low[l], most[l])


@leaf
def scale_row_T(e, n, a, a_low, most, out, ahead):
    """Likewise."""
    restrict()
    lanes, whole = min(pad(n), 16), n & -16
    for c in range(0, whole, 16):
        for k in range(c, c + 16, LINE // SIZE_T):
            prefetch(offset(ahead, k))
        for l in range(lanes):
            out[c + l] = scale_T(e[c + l], a, a_low, most)
    for c in range(whole, n):
        out[c] = scale_T(e[c], a, a_low, most)


@leaf
def store_scaled_T(e, tile, width, view, row, n, n_classes, inner, base, a, a_low, most, ahead, scratch):
    """Straight into rows that lie side by side, or by way of a tile. ahead is the view that will be read next."""
    address, outer_step, step, inner_step = view
    lines, fetch = slot(scratch, AHEAD, i64), ahead[0] != 0 and ahead[2] == 1
    if n_classes < SHORT:
        scale_lanes_T(e, width, n, n_classes, a, a_low, most)
        store_tile_T(e, width, view, row, n, n_classes, inner, base)
    elif step == 1:
        locate_rows_T(row, n, inner, outer_step, inner_step, base)
        if fetch:
            locate_rows_T(row, n, inner, ahead[1], ahead[3], lines)
        for l in range(n):
            p = offset(e, l * width)
            later = offset(pointer(ahead[0], T), lines[l]) if fetch else p
            scale_row_T(p, n_classes, a[l], a_low[l], most[l], offset(pointer(address, T), base[l]), later)
    else:
        for l in range(n):
            p = offset(e, l * width)
            scale_row_T(p, n_classes, a[l], a_low[l], most[l], offset(tile, l * width), p)
        store_tile_T(tile, width, view, row, n, n_classes, inner, base)


@leaf
def lower_lanes_T(x, width, n, n_classes, top, logs):
    restrict()
    for c in range(n_classes):
        for l in range(pad(n)):
            x[c * width + l] = (x[c * width + l] - top[l]) - T(logs[l])


@leaf
def lower_row_T(x, n, top, log):
    restrict()
    for c in range(pad(n)):
        x[c] = (x[c] - top) - log


@leaf
def lower_tile_T(tile, width, n, n_classes, top, logs):
    if n_classes < SHORT:
        lower_lanes_T(tile, width, n, n_classes, top, logs)
    else:
        for l in range(n):
            lower_row_T(offset(tile, l * width), n_classes, top[l], T(logs[l]))


@leaf
def logsumexp_at_T(x, n_classes, step, top, log):
    """top + log; an infinite top decides, unless the row holds a NaN."""
    if abs(top) == T(inf):
        for c in range(n_classes):
            if isnan(x[c * step]):
                return T(nan)
        return top
    return T(f64(top) + log)


@entry
def softmax_T(first_chunk, last_chunk, scratch, op, x, out, n_rows, chunk, partials, n_classes, inner, group, width):
    flags = hold_flags()
    row, base = slot(scratch, ROW, i64), slot(scratch, BASE, i64)
    top, unit, rest = slot(scratch, TOP, T), slot(scratch, UNIT, f64), slot(scratch, REST, f64)
    a, a_low, most = slot(scratch, A, T), slot(scratch, A_LOW, T), slot(scratch, MOST, T)
    sums, sums_low = slot(scratch, SUM, f64), slot(scratch, SUM_LOW, f64)
    logs, one = slot(scratch, LOG, f64), slot(scratch, FACTOR, f64)
    tile = slot(scratch, TILES, T)
    e = offset(tile, width * (n_classes if n_classes < SHORT else group))
    for l in range(LANES):
        one[l] = 1.0
    for first in range(first_chunk * chunk, min(last_chunk * chunk, n_rows), group):
        n = min(group, n_rows - first)
        for l in range(n):
            row[l] = first + l
        load_tile_T(x, row, n, n_classes, inner, base, tile, width, T(-inf))
        top_tile_T(tile, width, n, n_classes, top)
        later = next_rows_T(x, inner, group)
        ahead = later if op == 2 else out
        sums_tile_T(tile, e, op == 0, width, row, n, n_classes, inner, top, unit, rest, sums, sums_low, ahead, scratch)
        if op == 0:
            invert_T(n, one, rest, sums, sums_low, a, a_low, most)
            store_scaled_T(e, tile, width, out, row, n, n_classes, inner, base, a, a_low, most, later, scratch)
            continue
        logarithms_T(n, rest, logs)
        if op == 1:
            lower_tile_T(tile, width, n, n_classes, top, logs)
            store_tile_T(tile, width, out, row, n, n_classes, inner, base)
        else:
            for l in range(n):
                begin = offset(pointer(x[0], T), base[l])
                pointer(out[0], T)[row[l]] = logsumexp_at_T(begin, n_classes, x[2], top[l], logs[l])
    release_flags(flags)


# softmax_backward (op 0): y * (g - sum(g * y)); log_softmax's (op 1): g - exp(y) * sum(g)


@leaf
def dot_lanes_T(g, y, op, width, n, n_classes, dot, error):
    restrict()
    for l in range(pad(n)):
        dot[l] = 0.0
        error[l] = 0.0
    for c in range(n_classes):
        for l in range(pad(n)):
            v = f64(g[c * width + l]) * (1.0 if op == 1 else f64(y[c * width + l]))
            dot[l], error[l] = add_T(dot[l], error[l], v)
    for l in range(pad(n)):
        dot[l] = closed(dot[l], error[l])


@summing
def dot_block_T(g, y, op, n):
    restrict()
    dot = 0.0
    for c in range(pad(n)):
        dot += f64(g[c]) * (1.0 if op == 1 else f64(y[c]))
    return dot


@inline
def backward_T(g, y, op, dot):
    if op == 1:
        return T(f64(g) - f64(exp_T(y)) * dot)
    return T(f64(y) * (f64(g) - dot))


@leaf
def backward_lanes_T(g, y, op, width, n, n_classes, dot):
    restrict()
    for c in range(n_classes):
        for l in range(pad(n)):
            g[c * width + l] = backward_T(g[c * width + l], y[c * width + l], op, dot[l])


@leaf
def backward_row_T(g, y, op, n, dot):
    restrict()
    for c in range(pad(n)):
        g[c] = backward_T(g[c], y[c], op, dot)


@entry
def softmax_backward_T(
    first_chunk, last_chunk, scratch, op, g, y, out, n_rows, chunk, partials, n_classes, inner, group, width
):  # fmt: skip
    flags = hold_flags()
    row, base = slot(scratch, ROW, i64), slot(scratch, BASE, i64)
    dots, errors = slot(scratch, TOTAL, f64), slot(scratch, ERROR, f64)
    tile = slot(scratch, TILES, T)
    y_tile = offset(tile, width * (n_classes if n_classes < SHORT else group))
    for first in range(first_chunk * chunk, min(last_chunk * chunk, n_rows), group):
        n = min(group, n_rows - first)
        for l in range(n):
            row[l] = first + l
        load_tile_T(g, row, n, n_classes, inner, base, tile, width, T(0))
        load_tile_T(y, row, n, n_classes, inner, base, y_tile, width, T(0))
        if n_classes < SHORT:
            dot_lanes_T(tile, y_tile, op, width, n, n_classes, dots, errors)
            backward_lanes_T(tile, y_tile, op, width, n, n_classes, dots)
        else:
            for l in range(n):
                dot, error = 0.0, 0.0
                for c in range(l * width, (l + 1) * width, BLOCK_T):
                    m = min(BLOCK_T, (l + 1) * width - c)
                    dot, error = two_sum(dot, error, dot_block_T(offset(tile, c), offset(y_tile, c), op, m))
                backward_row_T(offset(tile, l * width), offset(y_tile, l * width), op, n_classes, closed(dot, error))
        store_tile_T(tile, width, out, row, n, n_classes, inner, base)
    release_flags(flags)


# Cross-entropy of the target distribution q. keep is (1 - smoothing) * weight of a class index, 0 for probabilities;
# spread = sum q_j and stretch = sum q_j (top - x_j) run over all else, class weights included. The loss is
# keep * (log S + top - x_y) + spread * log S + stretch.


@leaf
def present_T(first, n, target, ignore_index, row_weight, row):
    """The rows that take part, in order; their number."""
    restrict()
    absent = 0
    if not_null(target):
        for r in range(first, first + n):
            absent += select(target[r] == ignore_index, 1, 0)
    if not_null(row_weight):
        for r in range(first, first + n):
            absent += select(row_weight[r] == T(0), 1, 0)
    if absent == 0:
        for l in range(n):
            row[l] = first + l
        return n
    m = 0
    for r in range(first, first + n):
        row[m] = r
        ignored = not_null(target) and target[r] == ignore_index
        weightless = not_null(row_weight) and row_weight[r] == T(0)
        m += select(ignored or weightless, 0, 1)
    return m


@leaf
def clear_absent_T(first, n, row, m, n_classes, inner, view):
    address, outer_step, step, inner_step = view
    k = 0
    for r in range(first, first + n):
        if k < m and row[k] == r:
            k += 1
        else:
            out = offset(pointer(address, T), r // inner * outer_step + r % inner * inner_step)
            for c in range(n_classes):
                out[c * step] = T(0)


@leaf
def smooth_lanes_T(q, width, n, n_classes, smoothing, class_weight, probabilities):
    """Class weight * the smoothed target, of probabilities in q or of a class index without its own part."""
    restrict()
    a, b = T(1.0 - smoothing), T(smoothing / n_classes)
    for c in range(n_classes):
        w = class_weight[c] if not_null(class_weight) else T(1)
        for l in range(pad(n)):
            q[c * width + l] = (a * q[c * width + l] + b) * w if probabilities else b * w


@leaf
def smooth_row_T(q, n, width, smoothing, class_weight, probabilities):
    restrict()
    a, b = T(1.0 - smoothing), T(smoothing / n)
    for c in range(n):
        q[c] = a * q[c] + b if probabilities else b
    if not_null(class_weight):
        for c in range(n):
            q[c] *= class_weight[c]
    for c in range(n, width):
        q[c] = T(0)


@leaf
def spread_lanes_T(x, q, width, n, n_classes, top, spread, stretch, error, error2):
    restrict()
    for l in range(pad(n)):
        spread[l], stretch[l], error[l], error2[l] = 0.0, 0.0, 0.0, 0.0
    for c in range(n_classes):
        for l in range(pad(n)):
            v = q[c * width + l]
            spread[l], error[l] = add_T(spread[l], error[l], f64(v))
            stretch[l], error2[l] = add_T(stretch[l], error2[l], part_T(v, x[c * width + l], top[l]))
    for l in range(pad(n)):
        spread[l] = closed(spread[l], error[l])
        stretch[l] = closed(stretch[l], error2[l])


@summing
def spread_block_T(x, q, n, top):
    restrict()
    spread, stretch = 0.0, 0.0
    for c in range(pad(n)):
        spread += f64(q[c])
        stretch += part_T(q[c], x[c], top)
    return spread, stretch


@leaf
def spread_tile_T(tile, q, width, n, n_classes, smoothing, class_weight, probabilities, top, spread, stretch, scratch):
    """Fills q and its sums."""
    if n_classes < SHORT:
        smooth_lanes_T(q, width, n, n_classes, smoothing, class_weight, probabilities)
        error, error2 = slot(scratch, ERROR, f64), slot(scratch, SPARE, f64)
        spread_lanes_T(tile, q, width, n, n_classes, top, spread, stretch, error, error2)
        return
    for l in range(n):
        smooth_row_T(offset(q, l * width), n_classes, width, smoothing, class_weight, probabilities)
        s, s_low, t, t_low = 0.0, 0.0, 0.0, 0.0
        for c in range(l * width, (l + 1) * width, BLOCK_T):
            m = min(BLOCK_T, (l + 1) * width - c)
            a, b = spread_block_T(offset(tile, c), offset(q, c), m, top[l])
            s, s_low = two_sum(s, s_low, a)
            t, t_low = two_sum(t, t_low, b)
        spread[l], stretch[l] = closed(s, s_low), closed(t, t_low)


@leaf
def find_targets_T(n, row, target, class_weight, smoothing, n_classes, tile, width, top, at, keep, own, gap):
    """Of class indices: where the target's element stands in the tile, its parts of q, and top - x."""
    restrict()
    for l in range(pad(n)):
        y = target[row[l]]
        at[l] = y * width + l if n_classes < SHORT else min(l, n - 1) * width + y
        own[l] = 1.0
    if not_null(class_weight):
        for l in range(pad(n)):
            own[l] = f64(class_weight[target[row[l]]])
    for l in range(pad(n)):
        keep[l] = (1.0 - smoothing) * own[l]
        own[l] *= smoothing / n_classes
        gap[l] = f64(top[l]) - f64(tile[at[l]])


@leaf
def weigh_rows_T(n, row, scale, row_weight, upstream, share, factor):
    restrict()
    for l in range(pad(n)):
        share[l], factor[l] = 1.0, scale
    if not_null(row_weight):
        for l in range(pad(n)):
            share[l] = f64(row_weight[row[l]])
            factor[l] *= share[l]
    if not_null(upstream):
        for l in range(pad(n)):
            factor[l] *= f64(upstream[row[l]])


@leaf
def losses_T(n, z_loss, top, logs, keep, gap, spread, stretch, share, loss, pull):
    """The loss of each row; pull = 2 z_loss lse is what the gradient adds to the weight of p."""
    restrict()
    for l in range(pad(n)):
        near = select(keep[l] == 0.0, 0.0, gap[l])
        lse = f64(top[l]) + logs[l]
        entropy = keep[l] * (logs[l] + near) + (spread[l] * logs[l] + stretch[l])
        loss[l] = share[l] * (entropy + z_loss * lse * lse)
        pull[l] = 2.0 * z_loss * lse


@leaf
def target_gradients_T(n, gap, keep, own, spread, pull, rest, factor, grad):
    """The gradient of the target's logit; near probability 1, p - 1 is formed from the other classes."""
    restrict()
    for l in range(pad(n)):
        e, s, w = exp_f64(-gap[l]), 1.0 + rest[l], keep[l] + spread[l]
        others = select(gap[l] == 0.0, rest[l], (1.0 - e) + rest[l])
        near = (spread[l] - own[l]) * s + (pull[l] * e - w * others)
        far = (w + pull[l]) * e - (keep[l] + own[l]) * s
        grad[l] = T(factor[l] * (select(2.0 * e > s or spread[l] == 0.0, near, far) / s))


@leaf
def dense_factors_T(n, keep, spread, pull, rest, factor, b, scale, w):
    """What dense_gradient_T calls so."""
    restrict()
    for l in range(pad(n)):
        v = keep[l] + spread[l]
        b[l] = T((v * rest[l] - pull[l]) / (1.0 + rest[l]))
        scale[l], w[l] = T(factor[l]), T(v)


@leaf
def hessian_factors_T(n, keep, spread, pull, z_loss, bend, sums, factor, a, b):
    restrict()
    for l in range(pad(n)):
        inverse = 1.0 / (sums[l] * sums[l])
        a[l] = factor[l] * (keep[l] + spread[l] + pull[l]) * inverse
        b[l] = (2.0 * z_loss + bend[l]) * factor[l] * inverse


# grad_j = factor * ((w + pull) p_j - q_j), w = sum q; p - 1 = -rest / (1 + rest) for the p of a maximum.


@inline
def dense_gradient_T(e, q, a, scale, w, b):
    return select(e < T(0), scale * ((w - q) - b), e * a * T(1 / UP) - scale * q)


@leaf
def dense_gradient_lanes_T(e, q, width, n, n_classes, a, scale, w, b):
    restrict()
    for c in range(n_classes):
        for l in range(pad(n)):
            i = c * width + l
            e[i] = dense_gradient_T(e[i], q[i], a[l], scale[l], w[l], b[l])


@leaf
def dense_gradient_row_T(e, q, n, a, scale, w, b):
    restrict()
    for c in range(pad(n)):
        e[c] = dense_gradient_T(e[c], q[c], a, scale, w, b)


# hess_j = factor * p_j * ((w + pull) (1 - p_j) + 2 z_loss p_j) = e * (a (S - e) + b e)


@inline
def hessian_T(e, unit, sums, sums_low, a, b):
    v = select(e < T(0), unit, f64(e))
    return T(v * (a * ((sums - v) + sums_low) + b * v))


@leaf
def hessian_lanes_T(e, h, width, n, n_classes, unit, sums, sums_low, a, b):
    restrict()
    for c in range(n_classes):
        for l in range(pad(n)):
            h[c * width + l] = hessian_T(e[c * width + l], unit[l], sums[l], sums_low[l], a[l], b[l])


@leaf
def hessian_row_T(e, h, n, unit, sums, sums_low, a, b):
    restrict()
    for c in range(pad(n)):
        h[c] = hessian_T(e[c], unit, sums, sums_low, a, b)


@leaf
def dense_gradient_tile_T(tile, q, width, n, n_classes, a, c, d, b):
    if n_classes < SHORT:
        dense_gradient_lanes_T(tile, q, width, n, n_classes, a, c, d, b)
    else:
        for l in range(n):
            dense_gradient_row_T(offset(tile, l * width), offset(q, l * width), n_classes, a[l], c[l], d[l], b[l])


@leaf
def hessian_tile_T(tile, h, width, n, n_classes, unit, sums, sums_low, a, b):
    if n_classes < SHORT:
        hessian_lanes_T(tile, h, width, n, n_classes, unit, sums, sums_low, a, b)
    else:
        for l in range(n):
            e, out = offset(tile, l * width), offset(h, l * width)
            hessian_row_T(e, out, n_classes, unit[l], sums[l], sums_low[l], a[l], b[l])


# A focal loss is a cross-entropy whose target weights carry minus the slopes of their own classes; bend holds the sums of q times
# the second derivatives, of which the Hessian has more than a cross-entropy's.


@leaf
def focal_targets_T(n, gamma, gap, rest, logs, share, keep, loss, bend):
    """Of class indices: the loss, and what keep becomes."""
    restrict()
    for l in range(pad(n)):
        e, s = exp_f64(-gap[l]), 1.0 + rest[l]
        others = select(gap[l] == 0.0, rest[l], (1.0 - e) + rest[l])
        value, pull, curve = _focal_f64(-gap[l] - logs[l], e / s, others / s, gamma)
        loss[l], bend[l] = select(keep[l] == 0.0, 0.0, share[l] * keep[l] * value), keep[l] * curve
        keep[l] *= pull


@leaf
def focal_target_hessians_T(n, gap, rest, keep, bend, factor, hess):
    restrict()
    for l in range(pad(n)):
        e, s = exp_f64(-gap[l]), 1.0 + rest[l]
        others = select(gap[l] == 0.0, rest[l], (1.0 - e) + rest[l]) / s
        hess[l] = T(factor[l] * (keep[l] * (e / s) + bend[l] * others) * others)


@inline
def focal_T(x, e, q, top, logs, unit, s, rest, gamma):
    """q times the value, minus the slope and the curve of a class."""
    p = select(e < T(0), unit, f64(e)) / s
    other = select(e < T(0), rest / (1.0 + rest), 1.0 - p)
    value, pull, curve = _focal_f64((f64(x) - f64(top)) - logs, p, other, gamma)
    w = f64(q)
    return select(q == T(0), 0.0, w * value), select(q == T(0), 0.0, w * pull), select(q == T(0), 0.0, w * curve)


@leaf
def focal_lanes_T(x, e, q, h, width, n, n_classes, gamma, top, logs, unit, sums, rest, share, loss, spread, bend, crest):
    restrict()
    for l in range(pad(n)):
        loss[l], spread[l], bend[l], crest[l] = 0.0, 0.0, 0.0, 0.0
    for c in range(n_classes):
        for l in range(pad(n)):
            i = c * width + l
            value, pull, curve = focal_T(x[i], e[i], q[i], top[l], logs[l], unit[l], sums[l], rest[l], gamma)
            loss[l] += value
            spread[l] += pull
            q[i], h[i] = T(pull), T(curve)
            bend[l] += select(e[i] < T(0), 0.0, f64(h[i]))
            crest[l] += select(e[i] < T(0), f64(h[i]), 0.0)
    for l in range(pad(n)):
        loss[l] *= share[l]


@leaf
def focal_row_T(x, e, q, h, n, gamma, top, logs, unit, s, rest):
    """x becomes the values."""
    restrict()
    for c in range(pad(n)):
        value, pull, curve = focal_T(x[c], e[c], q[c], top, logs, unit, s, rest, gamma)
        x[c], q[c], h[c] = T(value), T(pull), T(curve)


@summing
def focal_sums_T(x, e, q, h, n):
    restrict()
    loss, spread, bend, crest = 0.0, 0.0, 0.0, 0.0
    for c in range(pad(n)):
        loss += f64(x[c])
        spread += f64(q[c])
        bend += select(e[c] < T(0), 0.0, f64(h[c]))
        crest += select(e[c] < T(0), f64(h[c]), 0.0)
    return loss, spread, bend, crest


@leaf
def focal_tile_T(tile, e, q, h, width, n, n_classes, gamma, top, logs, unit, sums, rest, share, loss, spread, bend, crest):
    """Of distributions: losses, q times minus the slopes and their sums; in h q times the curves, in bend and crest their sums
    without the maxima, and over them."""
    if n_classes < SHORT:
        focal_lanes_T(tile, e, q, h, width, n, n_classes, gamma, top, logs, unit, sums, rest, share, loss, spread, bend, crest)
        return
    for l in range(n):
        x, p, r, b = offset(tile, l * width), offset(e, l * width), offset(q, l * width), offset(h, l * width)
        focal_row_T(x, p, r, b, n_classes, gamma, top[l], logs[l], unit[l], sums[l], rest[l])
        value, spread[l], bend[l], crest[l] = focal_sums_T(x, p, r, b, n_classes)
        loss[l] = share[l] * value


@inline
def focal_hessian_T(e, b, unit, s, rest, w, z, crest, factor):
    p = select(e < T(0), unit, f64(e)) / s
    q, b = select(e < T(0), rest / (1.0 + rest), 1.0 - p), f64(b)
    return T(factor * (w * p * q + b * q * q + ((crest - b) + z) * p * p))


@leaf
def focal_hessian_lanes_T(e, h, width, n, n_classes, unit, sums, rest, w, z, crest, factor):
    restrict()
    for c in range(n_classes):
        for l in range(pad(n)):
            i = c * width + l
            h[i] = focal_hessian_T(e[i], h[i], unit[l], sums[l], rest[l], w[l], z[l], crest[l], factor[l])


@leaf
def focal_hessian_row_T(e, h, n, unit, s, rest, w, z, crest, factor):
    restrict()
    for c in range(pad(n)):
        h[c] = focal_hessian_T(e[c], h[c], unit, s, rest, w, z, crest, factor)


@leaf
def focal_hessian_tile_T(e, h, width, n, n_classes, unit, sums, rest, w, z, crest, factor):
    if n_classes < SHORT:
        focal_hessian_lanes_T(e, h, width, n, n_classes, unit, sums, rest, w, z, crest, factor)
    else:
        for l in range(n):
            i = l * width
            focal_hessian_row_T(offset(e, i), offset(h, i), n_classes, unit[l], sums[l], rest[l], w[l], z[l], crest[l], factor[l])


@entry
def cross_entropy_T(
    first_chunk, last_chunk, scratch, x, probabilities, target, class_weight, row_weight, upstream,
    ignore_index, smoothing, z_loss, gamma, scale, value, grad, hess, n_rows, chunk, partials, n_classes, inner, group, width,
):  # fmt: skip
    flags = hold_flags()
    classes, weights = pointer(target, i64), pointer(class_weight, T)
    row_weights, upstreams = pointer(row_weight, T), pointer(upstream, T)
    values, partial = pointer(value, T), pointer(partials, f64)
    row, base, at = slot(scratch, ROW, i64), slot(scratch, BASE, i64), slot(scratch, AT, i64)
    sums, sums_low = slot(scratch, SUM, f64), slot(scratch, SUM_LOW, f64)
    unit, rest, logs = slot(scratch, UNIT, f64), slot(scratch, REST, f64), slot(scratch, LOG, f64)
    loss, pull = slot(scratch, LOSS, f64), slot(scratch, PULL, f64)
    keep, own, gap = slot(scratch, KEEP, f64), slot(scratch, OWN, f64), slot(scratch, GAP, f64)
    spread, stretch = slot(scratch, SPREAD, f64), slot(scratch, STRETCH, f64)
    share, factor = slot(scratch, SHARE, f64), slot(scratch, FACTOR, f64)
    wide, wide2 = slot(scratch, TOTAL, f64), slot(scratch, ERROR, f64)
    top, a, a_low, most = slot(scratch, TOP, T), slot(scratch, A, T), slot(scratch, A_LOW, T), slot(scratch, MOST, T)
    b, c, d = slot(scratch, B, T), slot(scratch, C, T), slot(scratch, D, T)
    bend, crest = slot(scratch, BEND, f64), slot(scratch, CREST, f64)
    tile = slot(scratch, TILES, T)
    size = width * (n_classes if n_classes < SHORT else group)
    e, q, h = offset(tile, size), offset(tile, 2 * size), offset(tile, 3 * size)
    indexed, dense, derivatives = target != 0, target == 0 or smoothing != 0.0, grad[0] != 0 or hess[0] != 0
    for l in range(LANES):
        keep[l], own[l], gap[l], spread[l], stretch[l], bend[l] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    focal_dense = dense and gamma != 0.0
    for first in range(first_chunk * chunk, min(last_chunk * chunk, n_rows), group):
        rows = min(group, n_rows - first)
        n = present_T(first, rows, classes, ignore_index, row_weights, row)
        if n < rows:
            if grad[0] != 0:
                clear_absent_T(first, rows, row, n, n_classes, inner, grad)
            if hess[0] != 0:
                clear_absent_T(first, rows, row, n, n_classes, inner, hess)
            if value != 0:
                for r in range(first, first + rows):
                    values[r] = T(0)
            if n == 0:
                continue
        for l in range(n, pad(n)):
            row[l] = row[0]
        load_tile_T(x, row, n, n_classes, inner, base, tile, width, T(-inf))
        top_tile_T(tile, width, n, n_classes, top)
        weigh_rows_T(n, row, scale, row_weights, upstreams, share, factor)
        if not indexed:
            load_tile_T(probabilities, row, n, n_classes, inner, base, q, width, T(0))
        if dense:
            spread_tile_T(tile, q, width, n, n_classes, smoothing, weights, not indexed, top, spread, stretch, scratch)
        if indexed:
            find_targets_T(n, row, classes, weights, smoothing, n_classes, tile, width, top, at, keep, own, gap)
        if indexed and focal_dense:
            for l in range(n):
                q[at[l]] += T(keep[l])
        later = next_rows_T(x, inner, group)
        ahead = grad if grad[0] != 0 else later
        keep_e = derivatives or focal_dense
        sums_tile_T(tile, e, keep_e, width, row, n, n_classes, inner, top, unit, rest, sums, sums_low, ahead, scratch)
        logarithms_T(n, rest, logs)
        losses_T(n, z_loss, top, logs, keep, gap, spread, stretch, share, loss, pull)
        if focal_dense:
            focal_tile_T(tile, e, q, h, width, n, n_classes, gamma, top, logs, unit, sums, rest, share, loss, spread, bend, crest)
            for l in range(n):
                keep[l] = 0.0
        elif gamma != 0.0:
            focal_targets_T(n, gamma, gap, rest, logs, share, keep, loss, bend)
        total, error = sum_losses_T(loss, n)
        add_partial(partial, first // chunk, total, error)
        if value != 0:
            for l in range(n):
                values[row[l]] = T(loss[l])
        if hess[0] != 0:
            if focal_dense:
                focal_hessian_tile_T(e, h, width, n, n_classes, unit, sums, rest, spread, bend, crest, factor)
            else:
                hessian_factors_T(n, keep, spread, pull, z_loss, bend, sums, factor, wide, wide2)
                hessian_tile_T(e, h, width, n, n_classes, unit, sums, sums_low, wide, wide2)
            store_tile_T(h, width, hess, row, n, n_classes, inner, base)
            if gamma != 0.0 and not focal_dense:
                focal_target_hessians_T(n, gap, rest, keep, bend, factor, b)
                for l in range(n):
                    pointer(hess[0], T)[base[l] + classes[row[l]] * hess[2]] = b[l]
        if grad[0] == 0:
            continue
        if indexed and not focal_dense:
            target_gradients_T(n, gap, keep, own, spread, pull, rest, factor, top)
        for l in range(pad(n)):
            wide[l] = factor[l] * (keep[l] + spread[l] + pull[l])
        invert_T(n, wide, rest, sums, sums_low, a, a_low, most)
        if dense:
            dense_factors_T(n, keep, spread, pull, rest, factor, b, c, d)
            dense_gradient_tile_T(e, q, width, n, n_classes, a, c, d, b)
            store_tile_T(e, width, grad, row, n, n_classes, inner, base)
        else:
            store_scaled_T(e, tile, width, grad, row, n, n_classes, inner, base, a, a_low, most, later, scratch)
        if indexed and not focal_dense:
            for l in range(n):
                pointer(grad[0], T)[base[l] + classes[row[l]] * grad[2]] = top[l]
    release_flags(flags)


# Negative log-likelihood: -w_y x_y


@entry
def nll_loss_T(
    first_chunk, last_chunk, scratch, x, target, class_weight, row_weight, upstream,
    ignore_index, scale, value, grad, hess, n_rows, chunk, partials, n_classes, inner, group, width,
):  # fmt: skip
    flags = hold_flags()
    x_address, x_outer, x_step, x_inner = x
    grad_address, grad_outer, grad_step, grad_inner = grad
    classes, weights = pointer(target, i64), pointer(class_weight, T)
    row_weights, upstreams = pointer(row_weight, T), pointer(upstream, T)
    values, partial = pointer(value, T), pointer(partials, f64)
    row = slot(scratch, ROW, i64)
    for first in range(first_chunk * chunk, min(last_chunk * chunk, n_rows), group):
        rows = min(group, n_rows - first)
        for r in range(first, first + rows):             # all are read before a gradient, which may be written in their place
            if value != 0:
                values[r] = T(0)
            y = classes[r]
            w = f64(row_weights[r]) if row_weight != 0 else 1.0
            if y == ignore_index or w == 0.0:
                continue
            v = f64(weights[y]) if class_weight != 0 else 1.0
            logp = f64(pointer(x_address, T)[r // inner * x_outer + r % inner * x_inner + y * x_step])
            loss = select(v == 0.0, 0.0, -w * v * logp)
            add_partial(partial, first // chunk, loss, 0.0)
            if value != 0:
                values[r] = T(loss)
        if hess[0] != 0:
            clear_absent_T(first, rows, row, 0, n_classes, inner, hess)
        if grad_address != 0:
            clear_absent_T(first, rows, row, 0, n_classes, inner, grad)
            for r in range(first, first + rows):
                y = classes[r]
                w = f64(row_weights[r]) if row_weight != 0 else 1.0
                if y != ignore_index and w != 0.0:
                    v = f64(weights[y]) if class_weight != 0 else 1.0
                    g = -v * (scale * w * (f64(upstreams[r]) if upstream != 0 else 1.0))
                    pointer(grad_address, T)[r // inner * grad_outer + r % inner * grad_inner + y * grad_step] = T(g)
    release_flags(flags)


@entry
def check_targets_T(n, n_classes, target, ignore_index, class_weight, row_weight, sums):
    """The first bad class index of the rows that take part, or -1; sums gains their weight and their number."""
    classes, weights, row_weights = pointer(target, i64), pointer(class_weight, T), pointer(row_weight, T)
    total, error, count = 0.0, 0.0, 0
    for r in range(n):
        y = classes[r]
        w = f64(row_weights[r]) if row_weight != 0 else 1.0
        if y == ignore_index or w == 0.0:
            continue
        if y < 0 or y >= n_classes:
            return r
        count += 1
        total, error = two_sum(total, error, w * (f64(weights[y]) if class_weight != 0 else 1.0))
    out = pointer(sums, f64)
    out[0] += closed(total, error)
    out[1] += f64(count)
    return -1


# The same as C functions, for callers that were compiled themselves: arrays are C-ordered (outer, classes, inner), by address.


def softmax_c_T(first_chunk, last_chunk, scratch, op, x, out, n_rows, chunk, partials, n_classes, inner, group, width):
    outer = n_classes * inner
    view, target = (x, outer, inner, 1), (out, outer, inner, 1)
    if op == 2:
        target = (out, 0, 0, 0)
    softmax_T(first_chunk, last_chunk, scratch, op, view, target, n_rows, chunk, partials, n_classes, inner, group, width)


def softmax_backward_c_T(first_chunk, last_chunk, scratch, op, g, y, out, n_rows, chunk, partials, n_classes, inner, group, width):
    outer = n_classes * inner
    views = (g, outer, inner, 1), (y, outer, inner, 1), (out, outer, inner, 1)
    softmax_backward_T(first_chunk, last_chunk, scratch, op, *views, n_rows, chunk, partials, n_classes, inner, group, width)


def cross_entropy_c_T(
    first_chunk, last_chunk, scratch, x, probabilities, target, class_weight, row_weight, upstream,
    ignore_index, smoothing, z_loss, gamma, scale, value, grad, hess, n_rows, chunk, partials, n_classes, inner, group, width,
):  # fmt: skip
    outer = n_classes * inner
    cross_entropy_T(
        first_chunk, last_chunk, scratch, (x, outer, inner, 1), (probabilities, outer, inner, 1), target, class_weight, row_weight,
        upstream, ignore_index, smoothing, z_loss, gamma, scale, value, (grad, outer, inner, 1), (hess, outer, inner, 1),
        n_rows, chunk, partials, n_classes, inner, group, width,
    )  # fmt: skip


def nll_loss_c_T(
    first_chunk, last_chunk, scratch, x, probabilities, target, class_weight, row_weight, upstream,
    ignore_index, smoothing, z_loss, gamma, scale, value, grad, hess, n_rows, chunk, partials, n_classes, inner, group, width,
):  # fmt: skip
    """Takes cross_entropy's arguments, of which it needs fewer."""
    outer = n_classes * inner
    nll_loss_T(
        first_chunk, last_chunk, scratch, (x, outer, inner, 1), target, class_weight, row_weight, upstream,
        ignore_index, scale, value, (grad, outer, inner, 1), (hess, outer, inner, 1),
        n_rows, chunk, partials, n_classes, inner, group, width,
    )  # fmt: skip


def check_targets_c_T(n, n_classes, target, ignore_index, class_weight, row_weight, sums):
    """The position goes to sums[2]."""
    pointer(sums, f64)[2] = f64(check_targets_T(n, n_classes, target, ignore_index, class_weight, row_weight, sums))
