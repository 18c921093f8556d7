"""exp, log, log1p, expm1, tanh, erf and what else the formulas need: branch-free polynomials.

Every list of coefficients is a minimax fit (Remez exchange in 50 digits, weighted to the relative
error of the whole function), rounded to the dtype one coefficient after another, the rest refitted
by weighted least squares. The number behind a fit is its relative error in units of 2^-24 (float32)
or 2^-53 (float64).
Subnormal arguments and results keep all their digits. Error bounds hold with and without fused
multiply-add: products that must be exact have short factors. tests/test_formulas.py measures them.
Sources: argument reduction, Cody & Waite 1980; error-free sums, Dekker 1971 and Knuth 1969; log by
atanh, as in Tang 1990. The polynomials are our own.
"""


# Powers of two. Adding 1.5 * 2^23 (1.5 * 2^52) to an integral value leaves it in the low bits.


def _bias_f32():
    """What, added to an integral value, leaves that power of two's exponent in the low bits."""
    return 12583039.0


def _bias_f64():
    return 6755399441056767.0


def _power_of_f32(t):
    """The power of two whose exponent stands in the low bits of t."""
    return from_bits(bits(t) << 23)


def _power_of_f64(t):
    return from_bits(bits(t) << 52)


def _pow2(n, k):
    """2^(n + k) for integral n, k where that is a normal number."""
    return _power_of(n + (_bias() + k))


def _times_pow2_f32(p, n):
    """p 2^n for n in [-252, 254] in two steps, so that the product may be subnormal or infinite."""
    m = bits(n + 12583166.0)
    a = m >> 1
    return p * from_bits(a << 23) * from_bits((m - a) << 23)


def _times_pow2_f64(p, n):
    m = bits(n + 6755399441057790.0)
    a = m >> 1
    return p * from_bits(a << 52) * from_bits((m - a) << 52)


def _high_f32(x):
    """x with the lower half of its digits cleared: the product of two such is exact."""
    return from_bits(bits(x) & -4096)


def _high_f64(x):
    return from_bits(bits(x) & -134217728)


def _with_sign(x, y):
    """x >= 0 with the sign of y."""
    return from_bits(bits(x) | (bits(y) & bits(-0.0)))


def _flat(x, y):
    """y, a constant stretch's slope or value; NaN at NaN."""
    return select(x == x, y, x)


def _product(a, b):
    """hi + lo = a b; lo is the rounding error of hi, or 0 where |a b| > 1000, for hi stops there."""
    h, k = _high(a), _high(b)
    p, q = h * k, h * (b - k) + (a - h) * b
    hi = p + q
    far = abs(a * b) > 1000
    return select(far, _with_sign(1000.0, a * b), hi), select(far, 0.0, (p - hi) + q)


def _capped(x, limit):
    """min(|x|, limit) by the order of their bits, cheaper than of reals; limit at NaN."""
    return from_bits(lesser(bits(abs(x)), bits(limit)))


def zero(x):
    """0, or NaN where x is."""
    return select(x == x, 0.0, x)


# exp: n = rint(x / ln2), exp(x) = 2^n exp(r), |r| <= ln2 / 2.


def _ln2_f32():
    """ln2 = high + low; high has 15 digits, its product with an exponent is exact."""
    return 0.693145751953125, 1.4286068203094172e-6


def _ln2_f64():
    return 0.6931471803691238, 1.9082149292705877e-10


def _exp_range_f32():
    """exp is 0 below the first, infinite above the second."""
    return -104.0, 89.0


def _exp_range_f64():
    return -746.0, 710.0


def _exp_reduce(hi, lo):
    """n and r = a + b with hi + lo = n ln2 + r; a is exact."""
    n = rint(hi * 1.4426950408889634)
    ln2_high, ln2_low = _ln2()
    return n, hi - n * ln2_high, lo - n * ln2_low


def _exp_cubic_f32(r):
    """(exp(r) - 1 - r - r^2/2) / r^3 on [-ln2/2, ln2/2]; 0.01 of exp(r) - 1."""
    return poly(r, 0.16666666, 0.041666478, 0.0083335675, 0.0013933708, 0.00019742562)


def _exp_cubic_f64(r):
    """(exp(r) - 1 - r - r^2/2) / r^3 on [-ln2/2, ln2/2]; 0.25 of exp(r) - 1."""
    return poly(
        r, 0.16666666666666544, 0.04166666666661808, 0.008333333333427768, 0.0013888888921285642,
        0.0001984126962138771, 2.4801515362059416e-05, 2.7557505048244167e-06,
        2.7622623296780743e-07, 2.5020339350192194e-08,
    )  # fmt: skip


def _expm1_rest(a, b):
    """exp(a + b) - 1 - a."""
    r = a + b
    return b + r * r * (0.5 + r * _exp_cubic(r))


def _exp_reduced(a, b):
    """exp(a + b) as 1 + a, its rounding error, and the rest."""
    one = 1 + a
    return one + (((1 - one) + a) + _expm1_rest(a, b))


def exp_sum(hi, lo):
    """exp(hi + lo) on the whole line, |lo| <= ulp(hi)."""
    low, high = _exp_range()
    n, a, b = _exp_reduce(hi, lo)
    y = _times_pow2(_exp_reduced(a, b), n)
    return select(hi < low, 0.0, select(hi > high, inf, y))


def exp(x):
    """exp(x) on the whole line."""
    return exp_sum(x, 0.0)


def _down():
    """2^-96."""
    return 1.262177448353619e-29


def _far_f32():
    """x exp(-x) is 0 from here on."""
    return 115.0


def _far_f64():
    return 757.0


def exp_split(hi, lo):
    """exp(hi + lo) for hi <= 0 and |lo| <= ulp(hi), cheaper than exp.

    Scaled by 2^96 it is a normal number until the end: a subnormal result is rounded once.
    """
    low, _ = _exp_range()
    n, a, b = _exp_reduce(hi, lo)
    return select(hi < low - 12, 0.0, _exp_reduced(a, b) * _pow2(n, 96)) * _down()


# exp in units of a power of two. Rows of scores never form x - max, whose rounding error exp would amplify:
# exp(x - max) differs from exp(x) 2^-k by a factor near 1 that is the same for the whole row. Kept as two
# numbers, (1 + v) s is not rounded before it meets its factor.


def _unit_reach_f32():
    """exp(x - m) counts as 0 this far below the maximum m; products with factors below 2^30 are 0 there, too."""
    return 130.0


def _unit_reach_f64():
    return 751.0


def _unit_of(m):
    """The power k of two nearest to exp(m), |m| <= 1536, as magic = bias + 64 - k; and where exp(x) 2^-k is 0."""
    k = rint(m * 1.4426950408889634)
    return (_bias() + 64) - k, k * 0.6931471805599453 - _unit_reach()


def _unit_ln2_f32():
    """ln2 = high + low; high has 12 digits, its product with n, |n| < 2048, is exact."""
    return 0.693115234375, 3.194618494530942e-5


def _unit_ln2_f64():
    return _ln2()


def _exp_quadratic_f32(r):
    """(exp(r) - 1 - r) / r^2 on [-ln2/2, ln2/2]; 0.05 of exp(r)."""
    return poly(r, 0.49999994, 0.1666652, 0.041668404, 0.008368899, 0.0013814222)


def _exp_quadratic_f64(r):
    return 0.5 + r * _exp_cubic(r)


def exp_unit(x, magic, low):
    """v and s, a power of two, with (1 + v) s = 2^(64 - k) exp(x) for x <= m; magic and low of _unit_of(m).

    s is a normal number down to where exp(x - m) leaves the subnormal ones: a product with it, scaled last, is rounded once.
    """
    t = x * 1.4426950408889634 + magic
    n = t - magic
    high, ln2_low = _unit_ln2()
    r = (x - n * high) - n * ln2_low
    v = r + r * r * _exp_quadratic(r)
    return select(x < low, 0.0, v), select(x < low, 0.0, _power_of(t))


def _exp_scaled(hi, lo, k):
    """p and s, a power of two, with (1 + p) s = 2^k exp(hi + lo), a normal number; |lo| < 0.06."""
    magic = _bias() + k
    t = hi * 1.4426950408889634 + magic
    n = t - magic
    high, low = _ln2()
    r = (hi - n * high) + (lo - n * low)
    return r + r * r * _exp_quadratic(r), _power_of(t)


def _exp_down(hi, lo):
    """2^96 exp(hi + lo) for hi in [-far, 0], within 1 ulp and cheaper than exp_split; a product with it, scaled last, is rounded once."""
    p, s = _exp_scaled(hi, lo, 96.0)
    return s + s * p


def _expm1_parts(x):
    """exp(x) - 1 for x in [-50, 50] as its leading terms 2^n - 1 + 2^n a, and the rest."""
    n, a, b = _exp_reduce(x, 0.0)
    s = _pow2(n, 0)
    u, v = s - 1, s * a
    hi = u + v
    r = a + b
    z = r * r
    tail = (0.5 * z + z * (r * _exp_cubic(r))) + (b + r * ((a - r) + b))
    return hi, (((u - hi) + v) + (((s - u) - 1) + (s - (u + 1)))) + s * tail


def expm1_down(x):
    """exp(x) - 1 for x in [-50, 0], cheaper than expm1; 2^n (exp(r) - 1) + (2^n - 1) cancels little there."""
    n, a, b = _exp_reduce(x, 0.0)
    s = _pow2(n, 0)
    return (s - 1) + s * (a + _expm1_rest(a, b))


def expm1(x):
    """exp(x) - 1; beyond 50 that is exp(x)."""
    hi, lo = _expm1_parts(x)
    y = select(x < -50, -1.0, select(x > 50, exp(x), hi + lo))
    return select(x == 0, x, y)


# log: x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)).


def _log_reduce_f32(x):
    """e and f for positive normal x."""
    i = bits(x) - 0x3F3504F3
    e = from_bits((i >> 23) ^ 0x4B000100) - 8388864.0
    return e, from_bits((i & 0x7FFFFF) + 0x3F3504F3) - 1


def _log_reduce_f64(x):
    i = bits(x) - 0x3FE6A09E667F3BCD
    e = from_bits((i >> 52) ^ 0x4330000000000800) - 4503599627372544.0
    return e, from_bits((i & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD) - 1


def _log1p_tail_f32(f):
    """log(1 + f) - f on [sqrt(1/2) - 1, sqrt(2) - 1]; 0.12."""
    return f * f * poly(
        f, -0.5, 0.33333355, -0.25000852, 0.19999766, -0.16621315, 0.142281, -0.13203458,
        0.12615187, -0.07353803,
    )  # fmt: skip


def _log1p_tail_f64(f):
    """With s = f / (2 + f): log(1 + f) = 2 atanh(s) = f - (f^2/2 - s (f^2/2 + R(s^2))); 0.01."""
    s = f / (2 + f)
    z = s * s
    h = 0.5 * f * f
    tail = z * poly(
        z, 0.6666666666666736, 0.3999999999940572, 0.28571428743984745, 0.22222198435196522,
        0.18183570565272192, 0.15313908347589533, 0.14797240239442028,
    )  # fmt: skip
    return s * (h + tail) - h


def _log_of_parts(x, e, f, c):
    """log(2^e (1 + f)) + c, and the limits at the ends of x = 2^e (1 + f)."""
    ln2_high, ln2_low = _ln2()
    hi = e * ln2_high + f
    lo = (e * ln2_high - hi) + f
    y = hi + (lo + (c + e * ln2_low + _log1p_tail(f)))
    return select(x > 0, select(x < inf, y, x), select(x == 0, -inf, nan))


def _tiny_f32():
    """The least normal number, a power of two that makes subnormal numbers normal, its exponent."""
    return 1.1754943508222875e-38, 8388608.0, 23.0


def _tiny_f64():
    return 2.2250738585072014e-308, 4503599627370496.0, 52.0


def log(x):
    """log(x); -inf at 0, NaN below."""
    least, up, steps = _tiny()
    tiny = x < least
    e, f = _log_reduce(select(tiny, x * up, x))
    return _log_of_parts(x, e - select(tiny, steps, 0.0), f, 0.0)


def log1p(x):
    """log(1 + x) = log(u) + c / u with u = fl(1 + x) and c its error, by two-sum."""
    u = 1 + x
    b = u - 1
    c = (x - b) + (1 - (u - b))
    e, f = _log_reduce(u)
    return select(x == 0, x, _log_of_parts(u, e, f, c / u))


def product(x, y):
    """x y and its rounding error, 0 where that is not finite."""
    h, k = _high(x), _high(y)
    p = x * y
    low = ((h * k - p) + h * (y - k) + (x - h) * k) + (x - h) * (y - k)
    return p, select(low - low == 0, low, 0.0)


def exact_difference(x, y):
    """x - y and its rounding error, 0 where that is not finite."""
    d = x - y
    b = d - x
    low = (x - (d - b)) - (y + b)
    return d, select(low - low == 0, low, 0.0)


def power_unit(x, y):
    """x^y = exp(y log(x)) for x in [0, 1] and y >= 0; 0^0 is 1. log(x) keeps its low part: y log(x) ulp would be lost."""
    least, up, steps = _tiny()
    tiny = x < least
    e, f = _log_reduce(select(tiny, x * up, x))
    e = e - select(tiny, steps, 0.0)
    ln2_high, ln2_low = _ln2()
    hi = e * ln2_high + f
    lo = ((e * ln2_high - hi) + f) + (e * ln2_low + _log1p_tail(f))
    near = hi + lo
    p, low = product(y, near)
    power = exp_split(p, low + y * ((hi - near) + lo))
    return select(x > 0, power, select(x == 0, select(y == 0, 1.0, 0.0), nan))


def log1p_unit_f32(x):
    """log(1 + x) on [0, 1], where softplus and its kin need it; 0.13."""
    return x + x * x * poly(
        x - 0.5, -0.37813956, 0.1792249, -0.093232065, 0.05108854, -0.028901322, 0.01666392,
        -0.010205112, 0.0069069476, -0.0032474757,
    )  # fmt: skip


def log1p_unit_f64(x):
    """log(1 + x) on [0, 1]; 0.12."""
    return x + x * x * poly(
        x - 0.5, -0.37813956756734246, 0.17922493693603714, -0.09323036636367023,
        0.05108344610540831, -0.028943183164419135, 0.016788742490899716, -0.009909900763506303,
        0.005929011565924241, -0.003585664904233445, 0.002187647634213892,
        -0.0013445290102525325, 0.0008313407527641305, -0.00051655831309955,
        0.0003234918008477056, -0.0002047847132862495, 0.00012530563138473985,
        -7.133069428763155e-05, 5.314123804254298e-05, -5.087115927643518e-05,
        2.489472498289009e-05,
    )  # fmt: skip


def _tanh_cubic_f32(z):
    """(x - tanh(x)) / x^3 for z = x^2, |x| <= 0.976; 0.06 of tanh(x)."""
    return poly(
        z, 0.33333305, -0.1333254, 0.05389389, -0.021533353, 0.0080240695, -0.0023651153, 0.0003787464,
    )  # fmt: skip


def _tanh_cubic_f64(z):
    """(x - tanh(x)) / x^3 for z = x^2, |x| <= 1.05; 0.04 of tanh(x)."""
    return poly(
        z, 0.333333333333332, -0.1333333333331868, 0.05396825396271685, -0.021869488429975298,
        0.008863234311357581, -0.0035921188577051704, 0.0014557863095328338, -0.000589845544452147,
        0.0002386191527675345, -9.583781688336992e-05, 3.754373203861748e-05,
        -1.377814734981701e-05, 4.417416677136071e-06, -1.1170378759087265e-06,
        1.9115470641629688e-07, -1.616146531973213e-08,
    )  # fmt: skip


def tanh(x):
    """t - t^3 p(t^2) up to t = |x| = 0.975, and 1 - 2 / (1 + exp(2 t)) beyond, with the sign of x.

    What is subtracted is at most a quarter on both sides. Within 1 ulp where multiplications and additions fuse, 1.1 where
    they do not.
    """
    t = abs(x)
    z = t * t
    p, s = _exp_scaled(2 * _capped(x, 25.0), 0.0, 0.0)
    large = 1 - 2 / ((1 + s) + s * p)
    return _with_sign(select(t > 0.975, large, t - t * z * _tanh_cubic(z)), x)


# erf: an odd polynomial near 0, 1 minus something small beyond.


def _erf_small_f32(x):
    """erf(x) on [-1, 1]; 0.03."""
    return x + x * poly(
        x * x - 0.5, -0.03453126, -0.2810722, 0.07941, -0.018283295, 0.0034801192, -0.0005655877,
        7.8969584e-05,
    )  # fmt: skip


def _erf_small_f64(x):
    """erf(x) on [-1, 1]; 0.07."""
    return x + x * poly(
        x * x - 0.375, 0.0018801197863594855, -0.301809621107369, 0.08660397291084722,
        -0.020114850033923423, 0.0038500443039443, -0.00062318517427397, 8.718800904823791e-05,
        -1.0729329516435463e-05, 1.177745971029734e-06, -1.1666378708296779e-07,
        1.050143683371521e-08, -7.776017836510777e-10,
    )  # fmt: skip


def _erfc_up_f32(t):
    """exp(t^2) erfc(t) on [1, 4]; 0.05 of erf(t)."""
    return poly(
        t - 1.75, 0.28497228, -0.13097592, 0.05576199, -0.022270987, 0.008406756, -0.0029708513,
        0.0010496854, -0.0004155987, 0.000104035506,
    )  # fmt: skip


def _erfc_up_f64(t):
    """exp(t^2) erfc(t) on [1, 6]; 0.51 of erf(t)."""
    return poly(
        t - 2.5, 0.21080636406112216, -0.07434734679007077, 0.02493799708754969,
        -0.00800156937028291, 0.002467036827232458, -0.0007335910249811893,
        0.00021101964413321685, -5.8868813568236074e-05, 1.5962475945996353e-05,
        -4.21415263238983e-06, 1.084383985332048e-06, -2.7353061031193484e-07,
        6.761751862998817e-08, -1.5625696457235154e-08, 3.731616795832978e-09,
        -1.1113219137432947e-09, 1.8370462083842631e-10, 7.119747361116548e-13,
        1.6893540002517777e-11, -6.162955657896877e-12,
    )  # fmt: skip


def _erf_end_f32():
    """From here on erf is 1."""
    return 4.0


def _erf_end_f64():
    return 6.0


def erf(x):
    """erf(x) = 1 - erfc(|x|) with the sign of x, beyond the polynomial's reach."""
    t = min(abs(x), _erf_end())
    large = _with_sign(1 - exp_split(-t * t, 0.0) * _erfc_up(t), x)
    return select(abs(x) < 1, _erf_small(x), large)


# The normal distribution Phi, accurate relative to itself in the whole lower tail.


def _mills_shift_f32():
    return 2.5


def _mills_shift_f64():
    return 3.0


def _mills_f32(s):
    """(x + k) Phi(-x) exp(x^2/2) for x in [0, 15.5], with k the shift and s = x / (x + k); 0.35.

    x Phi(-x) exp(x^2/2) is s times this; the error of s cancels in it as x grows.
    """
    return poly(
        s - 0.2197265625, 0.98814166, -1.1257229, 0.3646119, 0.27980703, -0.084435634, -0.14274779,
        -0.036350783, 0.037328, 0.12530783, -0.081549205,
    )  # fmt: skip


def _mills_f64(s):
    """The same for x in [0, 39.5]; 0.61."""
    return poly(
        s - 0.5, 0.729083690133373, -1.0186639638349797, 0.9200708798983929, -0.3781042011434526,
        -0.16740587236988058, 0.22312387965381625, 0.06576590437968921, -0.13386606121524589,
        -0.06568328112775941, 0.07904987907891768, 0.08070400359015738, -0.0271259625654798,
        -0.08474019776931334, -0.028845025169332628, 0.0596155317144045, 0.0742110270258694,
        0.0006470356207316094, -0.07944207957989499, -0.07197240008033323, 0.029183424887005517,
        0.10014672061452054, 0.035971097147726394, -0.055674615982394905, -0.041206744543809785,
    )  # fmt: skip


def _normal_tail(x):
    """Phi(-x) exp(x^2/2) for x >= 0."""
    v = 1 / (x + _mills_shift())
    return v * _mills(x * v)


def _bell_end_f32():
    """exp(-x^2) is 0 from here on."""
    return 10.7


def _bell_end_f64():
    return 27.5


def _bell_up(x, k):
    """2^96 exp(-k x^2), k a power of two and k x^2 < far, with x^2 = h^2 + (x - h) (x + h), h the upper half of x.

    The rounding error of x * x alone would cost k x^2 ulp.
    """
    h = _high(x)
    c = -k * h
    return _exp_down(c * h, (x - h) * (c - k * x))


def _power(r, p):
    """r^p of r >= 0; a power of 1 is 1 and so is r^0, at the ends too: 1^inf = 0^0 = 1."""
    return select(r == 1, 1.0, select(p == 0, 1.0, exp(p * log(r))))
