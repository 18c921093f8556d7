"""Compensated arithmetic, and sums."""

from math import isnan

from numba import float32, float64
from numba.extending import register_jitable

from .primitives import exact, inline, leaf, pad, restrict, select, summing


@inline
def two_sum(total, error, v):
    """total + v, with what the addition loses added to error."""
    s = total + v
    b = s - total
    return s, error + ((total - (s - b)) + (v - b))


@inline
def closed(total, error):
    """total + error; the error of a sum that became infinite is NaN, and the sum itself says it all."""
    return total + select(isnan(error), 0.0, error)


@exact
def two_product(a, b):
    """a * b and its rounding error, by halves of 26 digits."""
    p = a * b
    s, t = 134217729.0 * a, 134217729.0 * b
    a_high, b_high = s - (s - a), t - (t - b)
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


# Results in float32 lose nothing to the roundings of float64 arithmetic; results in float64 need them as well.


@inline
def add_f32(total, error, v):
    return total + v, error


add_f64 = two_sum


@inline
def quotient_f32(a, s, error):
    return a / s, 0.0


@inline
def quotient_f64(a, s, error):
    """a / (s + error) and its rounding error."""
    q = a / s
    p, e = two_product(q, s)
    rest = (((a - p) - e) - q * error) / s
    return q, select(isnan(rest), 0.0, rest)


# Sums of a block of exponentials: (total, error, count), where the maxima, which stand as -1, are counted apart.


@summing
def sum_block_f32(e, n, spare):
    restrict()
    total, count = 0.0, float32(0)
    for c in range(pad(n)):
        total += float64(select(e[c] < float32(0), float32(0), e[c]))
        count += select(e[c] < float32(0), float32(1), float32(0))
    return total, 0.0, float64(count)


@leaf
def sum_block_f64(e, n, spare):
    restrict()
    for l in range(48):
        spare[l] = 0.0
    lanes = min(pad(n), 16)  # 16, unknown to LLVM, which would unroll the loop and not vectorise it
    for c in range(0, n, 16):
        for l in range(lanes):
            v = e[c + l]
            spare[l], spare[16 + l] = two_sum(spare[l], spare[16 + l], select(v < 0.0, 0.0, v))
            spare[32 + l] += select(v < 0.0, 1.0, 0.0)
    total, error, count = 0.0, 0.0, 0.0
    for l in range(16):
        total, error = two_sum(total, error, spare[l])
        error += spare[16 + l]
        count += spare[32 + l]
    return total, error, count


@summing
def sum_values(values, n):
    """Plain sum in float64."""
    restrict()
    total = 0.0
    for i in range(n):
        total += float64(values[i])
    return total


@inline
def sum_losses_f32(losses, n):
    return sum_values(losses, n), 0.0


@leaf
def sum_losses_f64(losses, n):
    total, error = 0.0, 0.0
    for l in range(n):
        total, error = two_sum(total, error, losses[l])
    return total, error


@inline
def add_partial(partials, chunk, total, error):
    """The sum of a chunk, [hi, lo], gains total + error."""
    hi, lo = two_sum(partials[2 * chunk], partials[2 * chunk + 1] + error, total)
    partials[2 * chunk], partials[2 * chunk + 1] = hi, select(isnan(lo), 0.0, lo)


@register_jitable
def accumulate(high, low, values):
    """The compensated sum high + low gains the values in their order."""
    for v in values:
        s = high + v
        b = s - high
        error = (high - (s - b)) + (v - b)
        high = s
        if not isnan(error):  # inf - inf: the sum itself says it all
            low += error
    return high, low
