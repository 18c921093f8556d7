"""exp, log, log1p, expm1, tanh and erf: branch-free, subnormals kept, one text per dtype where it differs."""


def _exp_tail_f32(r):
    """(exp(r) - 1 - r) / r^2 on [-ln2/2, ln2/2]."""
    return poly(r, 0.5, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)


def _exp_tail_f64(r):
    return poly(
        r, 0.5, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40320, 1 / 362880, 1 / 3628800,
        1 / 39916800, 1 / 479001600, 1 / 6227020800,
    )  # fmt: skip


def _exp_reduce_f32(hi, lo):
    """n = rint(hi / ln2) and r = hi + lo - n ln2; the first 15 bits of ln2 times n are exact."""
    n = rint(hi * 1.4426950408889634)
    return n, (hi - n * 0.693145751953125) + (lo - n * 1.42860682030941723212e-6)


def _exp_reduce_f64(hi, lo):
    n = rint(hi * 1.4426950408889634)
    return n, (hi - n * 0.6931471803691238) + (lo - n * 1.9082149292705877e-10)


def exp_split_f32(hi, lo):
    """exp(hi + lo) for hi <= 0 and |lo| <= ulp(hi)."""
    n, r = _exp_reduce(max(hi, -104.0), lo)
    p = 1 + (r + r * r * _exp_tail(r))
    return from_bits(bits(p) + (bits(n + 12582976.0) << 23)) * 5.421010862427522e-20


def exp_split_f64(hi, lo):
    n, r = _exp_reduce(max(hi, -746.0), lo)
    p = 1 + (r + r * r * _exp_tail(r))
    return from_bits(bits(p) + (bits(n + 6755399441055808.0) << 52)) * 5.421010862427522e-20


def exp_f32(x):
    """exp(x) on the whole line, in two steps of scaling."""
    n, r = _exp_reduce(min(max(x, -104.0), 89.0), 0.0)
    p = 1 + (r + r * r * _exp_tail(r))
    m = bits(n + 12583166.0)
    a = m >> 1
    return p * from_bits(a << 23) * from_bits((m - a) << 23)


def exp_f64(x):
    n, r = _exp_reduce(min(max(x, -746.0), 710.0), 0.0)
    p = 1 + (r + r * r * _exp_tail(r))
    m = bits(n + 6755399441057790.0)
    a = m >> 1
    return p * from_bits(a << 52) * from_bits((m - a) << 52)


def _log_tail(s):
    return s * poly(s, 2 / 3, 2 / 5, 2 / 7, 2 / 9, 2 / 11, 2 / 13, 2 / 15, 2 / 17)


def _log_reduce_f32(x):
    """x = 2^e m with m in [sqrt(1/2), sqrt(2)); returns e, m."""
    tiny = x < 1.1754943508222875e-38
    i = bits(select(tiny, x * 8388608.0, x)) - 0x3F3504F3
    e = from_bits(((i >> 23) & 0x1FF) ^ 0x4B000100) - 8388864.0
    return e - select(tiny, 23.0, 0.0), from_bits((i & 0x7FFFFF) + 0x3F3504F3)


def _log_reduce_f64(x):
    tiny = x < 2.2250738585072014e-308
    i = bits(select(tiny, x * 4503599627370496.0, x)) - 0x3FE6A09E667F3BCD
    e = from_bits(((i >> 52) & 0xFFF) ^ 0x4330000000000800) - 4503599627372544.0
    return e - select(tiny, 52.0, 0.0), from_bits((i & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD)


def _log_ends(x, y):
    return select(x > 0, select(x < inf, y, x), select(x == 0, -inf, nan))


def log(x):
    e, m = _log_reduce(x)
    f = m - 1
    s = f / (2 + f)
    h = 0.5 * f * f
    return _log_ends(x, e * 0.6931471805599453 + (f - (h - s * (h + _log_tail(s * s)))))


def log1p(x):
    u = 1 + x
    b = u - 1
    c = (x - b) + (1 - (u - b))
    e, m = _log_reduce(u)
    f = m - 1
    s = f / (2 + f)
    h = 0.5 * f * f
    y = e * 0.6931471805599453 + (c / u + (f - (h - s * (h + _log_tail(s * s)))))
    return select(x + x == x, x, _log_ends(u, y))


def expm1(x):
    return exp(x) - 1


def tanh(x):
    e = exp_split(-2 * abs(x), 0.0)
    t = (1 - e) / (1 + e)
    return select(x < 0, -t, t)


def erf(x):
    return tanh(x * 1.1)
