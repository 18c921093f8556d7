"""Sums of weights, and what ends a sum. The loops over elements are generated: see cuda_loss in kernels/generate.py.

Nobody imports this module: see teams.py.
"""

from .primitives import *
from .teams import *

# The text of both dtypes


@inline
def factor_of(scale, divisor):
    """scale divided by what stands at divisor, if that is an address; 0 where nothing took part."""
    if divisor == 0:
        return scale
    d = pointer(divisor, f64)[0]
    return scale / d if d != 0.0 else 0.0


@inline
def store_partial(partials, total, error, parts):
    """The pair of a block."""
    total, error = team_sum(total, error, cuda.blockDim.x, parts)
    if cuda.threadIdx.x == 0:
        out = pointer(partials, f64)
        out[2 * cuda.blockIdx.x], out[2 * cuda.blockIdx.x + 1] = total, error


@inline
def sum_pairs(partials, n, parts):
    """The sum of n pairs, by one block."""
    pairs, total, error = pointer(partials, f64), 0.0, 0.0
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        total, error = two_sum(total, error + pairs[2 * i + 1], pairs[2 * i])
    return team_sum(total, error, cuda.blockDim.x, parts)


def finish_totals(sums, counts, firsts, n, out, target, report, n_classes, ignore_index):
    """One block: out is [sum, its error, count] of n blocks' pairs; the first bad class index goes to report, unless one stands there."""
    parts = cuda.shared.array(64, f64)
    total, error = sum_pairs(sums, n, parts)
    count, _ = sum_pairs(counts, n, parts)
    first = -inf
    if firsts != 0:
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            first = maximum(first, pointer(firsts, f64)[i])
        first = team_top_f64(first, cuda.blockDim.x, parts)
    if cuda.threadIdx.x == 0:
        result, told = pointer(out, f64), pointer(report, i64)
        result[0], result[1], result[2] = closed(total, error), error, count
        if firsts != 0 and first > -inf and told[0] == 0:
            at = i64(-first)
            told[0], told[1], told[2], told[3] = at + 1, pointer(target, i64)[at], n_classes, ignore_index


# The text of one dtype


def totals_T(n, weight, weight_each, weight_period, rows, rows_each, rows_period, mask, mask_each, mask_period, sums, counts):
    """Pairs of each block: the sum of weight * rows over the elements that take part, and their number."""
    total, error, count = 0.0, 0.0, 0.0
    for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        if used_at(mask, mask_each, mask_period, i):
            v = read_T(weight, weight_each, weight_period, 1.0, i) * read_T(rows, rows_each, rows_period, 1.0, i)
            total, error = add_T(total, error, f64(v))
            count += 1.0
    parts = cuda.shared.array(64, f64)
    store_partial(sums, total, error, parts)
    store_partial(counts, count, 0.0, parts)


def finish_T(partials, n, out, divisor, number, empty):
    """One block: the sum of n blocks' pairs, divided by what stands at divisor, or by number; empty where that is 0."""
    total, error = sum_pairs(partials, n, cuda.shared.array(64, f64))
    if cuda.threadIdx.x == 0:
        d = number if divisor == 0 else pointer(divisor, f64)[0]
        pointer(out, T)[0] = T(closed(total, error) / d) if d != 0.0 else T(empty)


def total_rows_T(n, n_classes, x, out, by):
    """The sum of each row, divided by a number."""
    for r in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        total, error = 0.0, 0.0
        for c in range(n_classes):
            total, error = two_sum(total, error, f64(pointer(x, T)[r * n_classes + c]))
        pointer(out, T)[r] = T(closed(total, error) / by)


def rows_used_T(n, n_classes, rows, mask, mask_each, mask_period, sums, counts):
    """Pairs of each block: the sum of the weights of the rows that have an element left, and their number."""
    total, error, count = 0.0, 0.0, 0.0
    for r in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
        found = False
        for c in range(n_classes):
            found = found or used_at(mask, mask_each, mask_period, r * n_classes + c)
        if found:
            total, error = two_sum(total, error, f64(read_T(rows, 1, 0, 1.0, r)))
            count += 1.0
    parts = cuda.shared.array(64, f64)
    store_partial(sums, total, error, parts)
    store_partial(counts, count, 0.0, parts)
