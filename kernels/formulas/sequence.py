"""Sums of products of probabilities, for CTC: numbers m 2^e, each with an exponent of its own.

Such a number neither underflows nor overflows, whatever the others are, and costs no exp and no log. 0 is 0 2^-inf.
"""


def _pow2_or_0_f64(d):
    """2^d for integral d up to 1023; 0 from -1023 on, and for NaN, which is -inf less -inf."""
    return from_bits(bits(max(-1023.0, d) + 6755399441056767.0) << 52)


def _exp_parts_f64(x):
    """exp(x); beyond 2^40 x has no digits left for m."""
    n, a, b = _exp_reduce(x, 0.0)
    m = select(x < -1099511627776.0, 1.0, _exp_reduced(a, b))
    return select(x == -inf, 0.0, m), n


def _sum_of_2_f64(m1, e1, m2, e2):
    """m1 2^e1 + m2 2^e2"""
    e = max(e1, e2)
    return m1 * _pow2_or_0(e1 - e) + m2 * _pow2_or_0(e2 - e), e


def _sum_of_3_f64(m1, e1, m2, e2, m3, e3):
    e = max(max(e1, e2), e3)
    return m1 * _pow2_or_0(e1 - e) + m2 * _pow2_or_0(e2 - e) + m3 * _pow2_or_0(e3 - e), e


def _normal_parts_f64(m, e):
    """The same number with m in [1, 2), or 0; m must be no subnormal number."""
    i = bits(m) & 0x7FF0000000000000
    k = from_bits((i >> 52) | 0x4330000000000000) - 4503599627371519.0
    return m * from_bits(0x7FE0000000000000 - i), e + k


def _log_parts_f64(m, e):
    """log(m 2^e) for m in [1, 2) or 0: near 1 no digits are lost between log(m) and e log(2)."""
    near = max(min(e, 1000.0), -1000.0)
    return log(m * _pow2_or_0(near)) + (e - near) * 0.6931471805599453


def _softmax_part(x, high, low):
    """exp(x - high - low) with |low| at most half an ulp of high."""
    d = x - high
    b = d - x
    rest = ((x - (d - b)) - (high + b)) - low
    y = exp(d)
    return y + select(d > -800, y * rest, 0.0)
