"""Activations: (value, derivative at x), and for some a third, the derivative by their parameter.

All have the limits of the real function at -inf and inf; NaN gives NaN. Kinks are stated where there are any.
Exponentials are of non-positive arguments, and products with them come last, so that subnormal
results are rounded once.
"""


def _bell(e):
    """e / (1 + e)^2 with the rounding error of 1 + e taken out: sigmoid'(x) for e = exp(-|x|)."""
    u = 1 + e
    return e / (u * u + 2 * u * ((1 - u) + e))


# The logistic function and its kin


def _logistic(hi, lo):
    """1 / (1 + exp(-z)) at z = hi + lo, and e = exp(-|z|).

    s = e / (1 + e) is the result at -|z|, and e - e s is s without the rounding of 1 + e.
    """
    e = _exp_down(-min(abs(hi), _far()), select(hi > 0, -lo, lo)) * _down()
    s = e / (1 + e)
    return select(hi < 0, e - e * s, 1 - s), e


def sigmoid(x):
    """1 / (1 + exp(-x)); derivative e / (1 + e)^2, e = exp(-|x|)."""
    s, e = _logistic(x, 0.0)
    return s, _bell(e)


def tanh_(x):
    """tanh(x); derivative 1 - tanh(x)^2 = 4 e / (1 + e)^2, e = exp(-2 |x|), does not cancel."""
    return tanh(x), 4 * _bell(_exp_down(-min(2 * abs(x), _far()), 0.0) * _down())


def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)); derivative sigmoid(x)."""
    s, e = _logistic(x, 0.0)
    return max(x, 0.0) + log1p_unit(e), s


def softplus_scaled(x, beta, threshold):
    """log(1 + exp(z)) / beta, z = beta x; derivative sigmoid(z). Where z > threshold: x and 1."""
    hi, lo = _product(beta, x)
    s, e = _logistic(hi, lo)
    linear = beta * x > threshold
    return select(linear, x, select(hi > 0, x, _flat(x, 0.0)) + log1p_unit(e) / beta), select(linear, 1.0, s)


def logsigmoid(x):
    """log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)); derivative sigmoid(-x)."""
    s, e = _logistic(-x, 0.0)
    return min(x, 0.0) - log1p_unit(e), s


def silu(x):
    """x sigmoid(x); derivative (1 + (1 + x) e) / (1 + e)^2, and e (1 + x + e) / (1 + e)^2 below 0, e = exp(-|x|).

    The value is z / (1 + e), z = x above and x e below 0, written z - z e / (1 + e) where e is small: that leaves out
    the rounding of 1 + e.
    """
    t = _capped(x, _far())
    p, scale = _exp_scaled(-t, 0.0, 96.0)
    s, w = scale * _down(), t * scale
    e, d = s + s * p, (1 + s) + s * p
    z = select(x < 0, -w - w * p, x)
    near = t < 0.9
    q = select(near, z, e) / d
    value = select(near, q, z - select(x < 0, z, t) * q)
    inverse = 1 / d
    above, below = (1 + (1 + t) * e) * inverse, ((1 - t) + e) * inverse * (scale + scale * p) * _down()
    return select(x < 0, value * _down(), value), _flat(x, select(x < 0, below, above) * inverse)


def _times_logistic(x, hi, lo):
    """x sigmoid(z), z = hi + lo; and e = exp(-|z|).

    x times 2^96 would overflow where x is large: there x is scaled down first.
    """
    t = min(abs(hi), _far())
    up = _exp_down(-t, select(hi > 0, -lo, lo))
    e = up * _down()
    inverse = 1 / (1 + e)
    large = abs(x) > 1048576
    first, last = select(large, _down(), 1.0), select(large, 1.0, _down())
    below = (x * first) * select(hi < -_far(), 0.0, up * inverse) * last
    return select(hi >= 0, x * inverse, below), e


def glu(x, gate):
    """x sigmoid(gate); derivatives sigmoid(gate) and x sigmoid'(gate)."""
    value, e = _times_logistic(x, gate, 0.0)
    s, _ = _logistic(gate, 0.0)
    return value, s, x * _bell(e)


def swish(x, beta):
    """x sigmoid(z), z = beta x; derivatives s + z s (1 - s) and x^2 s (1 - s), s = sigmoid(z)."""
    hi, lo = _product(select(beta == 0, _flat(x, 0.0), x), beta)
    value, e = _times_logistic(x, hi, lo)
    t = min(abs(hi), _far())
    inverse = 1 / (1 + e)
    above, below = (1 + (1 + t) * e) * inverse, ((1 - t) + e) * inverse * e
    far, flat = abs(hi) > _far(), _flat(x, 0.0)
    return (
        select(hi < -_far(), flat, value),
        select(hi >= 0, above, below) * inverse,
        select(far, flat, x * (x * _bell(e))),
    )


def mish(x):
    """x tanh(log(1 + exp(x))) = x (w^2 + 2 w) / (w^2 + 2 w + 2), w = exp(x).

    With e = exp(-|x|) that is x - x q, q = 2 e^2 / (2 e^2 + 2 e + 1), and v - v q below 0, v = x e and
    q = (e^2 + e) / (e^2 + 2 e + 2). The derivative,
    w (4 (x + 1) + (4 x + 6) w + 4 w^2 + w^3) / (w^2 + 2 w + 2)^2, is written in e too.
    """
    t = min(abs(x), _far())
    p, scale = _exp_scaled(-t, 0.0, 96.0)
    up = scale + scale * p
    e = up * _down()
    square = e * e
    q = (square + select(x >= 0, square, e)) / (1 + e * (2 + e) + select(x >= 0, square, 1.0))
    v = t * scale + t * scale * p
    value = select(x >= 0, x - t * q, (v * q - v) * _down())
    inverse = 1 / (1 + e * (2 + e) + select(x >= 0, square, 1.0))
    above = (1 + e * (4 + e * ((4 * t + 6) + 4 * (t + 1) * e))) * inverse
    below = (4 * (1 - t) + e * ((6 - 4 * t) + e * (4 + e))) * inverse * up * _down()
    return value, select(x >= 0, above, below) * inverse


# Pieces of lines


def relu(x):
    """max(x, 0); derivative 1 above 0, 0 at and below it."""
    return max(x, 0.0), select(x > 0, 1.0, _flat(x, 0.0))


def prelu(x, weight):
    """x above 0, weight x below; derivatives 1, weight (at 0 too), and min(x, 0) by the weight."""
    low = select((weight == 0) & (x < 0), 0.0, weight * x)
    return select(x > 0, x, low), select(x > 0, 1.0, _flat(x, weight)), min(x, 0.0)


def leaky_relu(x, negative_slope):
    """x above 0, negative_slope x below; derivative negative_slope at 0."""
    value, slope, _ = prelu(x, negative_slope)
    return value, slope


def _line(x, t, slope):
    """t + slope (x - t); t where the slope is 0."""
    return select(slope == 0, t, t + slope * (x - t))


def srelu(x, t_left, a_left, t_right, a_right):
    """x between t_left and t_right; lines of slope a_left and a_right beyond. At t_left and t_right the slope is theirs."""
    low = select(x <= t_left, _line(x, t_left, a_left), x)
    slope = select(x <= t_left, a_left, _flat(x, 1.0))
    return select(x >= t_right, _line(x, t_right, a_right), low), select(x >= t_right, a_right, slope)


def hardtanh(x, min_val, max_val):
    """min(max(x, min_val), max_val); derivative 1 between, 0 at and beyond both."""
    return min(max(x, min_val), max_val), select((x > min_val) & (x < max_val), 1.0, _flat(x, 0.0))


def relu6(x):
    """min(max(x, 0), 6); derivative 1 between, 0 at and beyond both."""
    return hardtanh(x, 0.0, 6.0)


def hardsigmoid(x):
    """min(max(x + 3, 0), 6) / 6; derivative 1/6 between, 0 at and beyond -3 and 3."""
    value, slope = hardtanh(x + 3, 0.0, 6.0)
    return value / 6, slope / 6


def hardswish(x):
    """x hardsigmoid(x); derivative (2 x + 3) / 6 between, 0 at -3 and below, 1 at 3 and above."""
    value, _ = hardsigmoid(x)
    slope = select(x <= -3, 0.0, select(x >= 3, 1.0, (2 * x + 3) / 6))
    return select(x <= -3, 0.0, x * value), slope


def softshrink(x, lambd):
    """x - lambd above lambd, x + lambd below -lambd, 0 between; derivative 1, 1, and 0 at both ends too."""
    inside = _flat(x, 0.0)
    value = select(x > lambd, x - lambd, select(x < -lambd, x + lambd, inside))
    return value, select((x > lambd) | (x < -lambd), 1.0, inside)


def hardshrink(x, lambd):
    """0 from -lambd to lambd, ends included; x elsewhere. Derivative 0 and 1."""
    inside = (x >= -lambd) & (x <= lambd)
    return select(inside, 0.0, x), select(inside, 0.0, _flat(x, 1.0))


def threshold(x, threshold, value):
    """x above the threshold, value at and below it; derivative 1 and 0."""
    return select(x > threshold, x, _flat(x, value)), select(x > threshold, 1.0, _flat(x, 0.0))


def step_(x):
    """1 at and above 0, 0 below; derivative 0."""
    return select(x >= 0, 1.0, _flat(x, 0.0)), _flat(x, 0.0)


def linear(x):
    """x; derivative 1."""
    return x, _flat(x, 1.0)


# Exponentials and rational functions


def _elu(x, scale, alpha):
    """scale x above 0, alpha expm1(x) below; derivative alpha exp(x) at 0."""
    z = max(min(x, 0.0), -_far())
    below = alpha * expm1_down(max(z, -50.0))
    return select(x > 0, scale * x, below), select(x > 0, scale, alpha * _exp_down(z, 0.0) * _down())


def elu(x, alpha):
    """x above 0, alpha (exp(x) - 1) below; derivative alpha exp(x) at 0."""
    return _elu(x, 1.0, alpha)


def selu(x):
    """s x above 0, s a (exp(x) - 1) below, s and a such that mean 0 and variance 1 stay; derivative s a at 0."""
    return _elu(x, 1.0507009873554805, 1.7580993408473766)


def celu(x, alpha):
    """x above 0, alpha (exp(x / alpha) - 1) below; derivative exp(x / alpha), 1 at 0.

    r = x - alpha q is what the quotient q leaves.
    """
    q = x / alpha
    hi, lo = _product(q, alpha)
    r = select(abs(q) < 1000, ((x - hi) - lo) / alpha, 0.0)
    return select(x > 0, x, alpha * expm1(q)), select(x > 0, 1.0, exp_sum(q, r))


def gaussian(x):
    """exp(-x^2); derivative -2 x exp(-x^2)."""
    t = min(abs(x), _bell_end())
    up = _bell_up(t, 1.0)
    slope = 2 * t * up * _down()
    return up * _down(), select(x > 0, -slope, slope)


def softsign(x):
    """x / (1 + |x|); derivative 1 / (1 + |x|)^2. From 1e30 on the value is 1."""
    t = min(abs(x), 1e30)
    inverse = 1 / (1 + abs(x))
    return _with_sign(t / (1 + t), x), inverse * inverse


def _tanhshrink_small_f32(z):
    """(x - tanh(x)) / x^3 for z = x^2, |x| <= 1.25; 0.52."""
    return poly(
        z - 0.75, 0.25661495, -0.07848393, 0.02434494, -0.0075653703, 0.0023513222, -0.00072630215,
        0.0002264558, -8.0388345e-05, 2.3924567e-05,
    )  # fmt: skip


def _tanhshrink_small_f64(z):
    """(x - tanh(x)) / x^3 for z = x^2, |x| <= 1.25; 0.78."""
    return poly(
        z - 0.75, 0.25661494743903795, -0.07848396393201927, 0.024345013163208355,
        -0.007564638215570589, 0.0023510768618596853, -0.0007307340948387472,
        0.00022711919775699615, -7.059088736631755e-05, 2.1940366618884495e-05,
        -6.819238051754556e-06, 2.1193744445741414e-06, -6.588715346113735e-07,
        2.0510980402829642e-07, -6.34651990630703e-08, 1.9168759402918416e-08,
        -6.246419905722578e-09, 2.457242669539716e-09, -6.435501405116724e-10,
    )  # fmt: skip


def tanhshrink(x):
    """x - tanh(x); derivative tanh(x)^2. Beyond 1.25: t - 1 + 2 e / (1 + e), e = exp(-2 t), t = |x|."""
    t = abs(x)
    z = t * t
    e = _exp_down(-min(2 * t, _far()), 0.0) * _down()
    large = (t - 1) + 2 * e / (1 + e)
    y = tanh(x)
    return select(t < 1.25, x * (z * _tanhshrink_small(z)), _with_sign(large, x)), y * y


# The normal distribution's


def gelu(x):
    """x Phi(x), Phi the normal distribution (Hendrycks & Gimpel 2016); derivative Phi(x) + x phi(x).

    With t = |x|, x Phi(x) = max(x, 0) - t Phi(-t), which does not cancel.
    """
    t = _capped(x, 1.414 * _bell_end())
    up, s = _bell_up(t, 0.5), t / (t + _mills_shift())
    value = max(x, 0.0) - s * _mills(s) * up * _down()
    below = (_normal_tail(t) - 0.3989422804014327 * t) * up * _down()
    return value, _flat(x, select(x > 0, 1 - below, below))


def _tanh_gelu_f32():
    """2 sqrt(2/pi) and 0.044715 times it, each as a high part of 12 digits and the rest."""
    return 1.595703125, 6.599660573071176e-05, 0.07135009765625, 4.718616350248776e-06


def _tanh_gelu_f64():
    return 1.5957691073417664, 1.426396435433791e-08, 0.071354815736413, 5.361872467621785e-10


def _tanh_gelu_end_f32():
    """|v| is below far up to here, and exp(-|v|) is 0 from here on."""
    return 11.0


def _tanh_gelu_end_f64():
    return 21.6


def gelu_tanh(x):
    """x (1 + tanh(u)) / 2 = x sigmoid(v), v = 2 u = 2 sqrt(2/pi) (x + 0.044715 x^3).

    |v| = hi + lo is built from exact products of short factors; without lo exp would lose |v| ulp.
    The derivative is s(v) + x v' s(v) s(-v).
    """
    c, c_low, k, k_low = _tanh_gelu()
    t = min(abs(x), _tanh_gelu_end())
    h = _high(t)
    square = t * t
    s = _high(square)
    s_low = (h * h - s) + (t - h) * (t + h)
    slope = c + k * square
    w = _high(slope)
    w_low = ((c - w) + k * s) + (c_low + k_low * s + (k + k_low) * s_low)
    a, b = h * w, h * w_low + (t - h) * (w + w_low)
    hi = a + b
    up = _exp_down(-hi, (hi - a) - b)
    e = up * _down()
    d = t * (c + c_low + 3 * (k + k_low) * square)
    inverse = 1 / (1 + e)
    below = (1 - d * inverse) * inverse * up * _down()
    value = select(x >= 0, x * inverse, -t * inverse * up * _down())
    return value, select(x > 0, 1 - below, below)
