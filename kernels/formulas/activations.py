"""Activations: (value, derivative) at x.

Both have the limits of the real function at -inf and inf; NaN gives NaN. The only kink is relu's.
Exponentials are of non-positive arguments, and products with them come last, so that subnormal
results are rounded once.
"""


def _bell(e):
    """e / (1 + e)^2 with the rounding error of 1 + e taken out: sigmoid'(x) for e = exp(-|x|)."""
    u = 1 + e
    return e / (u * u + 2 * u * ((1 - u) + e))


def sigmoid(x):
    """1 / (1 + exp(-x)); derivative e / (1 + e)^2, e = exp(-|x|).

    s = e / (1 + e) is the result at -|x|; where e is small, e - e s leaves out the rounding of 1 + e.
    """
    e = exp_split(-abs(x), 0.0)
    s = e / (1 + e)
    small = select(e < 0.2, e - e * s, s)
    return select(x < 0, small, 1 - small), _bell(e)


def tanh_(x):
    """tanh(x); derivative 1 - tanh(x)^2 = 4 e / (1 + e)^2, e = exp(-2 |x|), does not cancel."""
    return tanh(x), 4 * _bell(exp_split(-2 * abs(x), 0.0))


def relu(x):
    """max(x, 0); derivative 1 above 0, 0 at and below it."""
    return max(x, 0.0), select(x > 0, 1.0, select(x <= 0, 0.0, x))


def _gelu_small_f32(z):
    """(Phi(x) - 1/2) / x for z = x^2, |x| <= 0.75; 0.06."""
    return poly(z, 0.39894226, -0.06648998, 0.0099706, -0.0011774899, 0.00010011734)


def _gelu_small_f64(z):
    """(Phi(x) - 1/2) / x for z = x^2, |x| <= 0.75; 0.07."""
    return poly(
        z, 0.3989422804014326, -0.06649038006689827, 0.00997355700984055, -0.0011873282129517394,
        0.00011543466940946289, -9.44457792400553e-06, 6.657629500471291e-07, -4.0899400757720446e-08,
        1.984640328674784e-09,
    )  # fmt: skip


def gelu(x):
    """x Phi(x), Phi the normal distribution (Hendrycks & Gimpel 2016); derivative Phi(x) + x phi(x).

    With t = |x|, x Phi(x) = max(x, 0) - t Phi(-t), which does not cancel below 0; near 0,
    Phi(x) = 1/2 + x p(x^2). Beyond 40 value and derivative are at their limits.
    """
    t = min(abs(x), 40.0)
    up, s = _normal_up(t), t / (t + _mills_shift())
    p = _gelu_small(x * x)
    value = max(x, 0.0) - s * _mills(s) * up * _down()
    density = 0.3989422804014327 * up
    below = (_normal_tail(t) - 0.3989422804014327 * t) * up * _down()
    slope = select(x > 0, 1 - below, below)
    near = t < 0.75
    return (
        select(near, x * (0.5 + x * p), value),
        select(near, 0.5 + x * (p + density * _down()), slope),
    )


def _tanh_gelu_f32():
    """2 sqrt(2/pi) and 0.044715 times it, each as a high part of 12 digits and the rest."""
    return 1.595703125, 6.599660573071176e-05, 0.07135009765625, 4.718616350248776e-06


def _tanh_gelu_f64():
    return 1.5957691073417664, 1.426396435433791e-08, 0.071354815736413, 5.361872467621785e-10


def gelu_tanh(x):
    """x (1 + tanh(u)) / 2 = x sigmoid(v), v = 2 u = 2 sqrt(2/pi) (x + 0.044715 x^3).

    |v| = hi + lo is built from exact products of short factors; without lo exp would lose |v| ulp.
    Beyond 24 value and derivative, s(v) + x v' s(v) s(-v), are at their limits.
    """
    c, c_low, k, k_low = _tanh_gelu()
    t = min(abs(x), 24.0)
    h = _high(t)
    square = t * t
    s = _high(square)
    s_low = (h * h - s) + (t - h) * (t + h)
    slope = c + k * square
    w = _high(slope)
    w_low = ((c - w) + k * s) + (c_low + k_low * s + (k + k_low) * s_low)
    a, b = h * w, h * w_low + (t - h) * (w + w_low)
    hi = a + b
    up = _exp_split_up(-hi, (hi - a) - b)
    e = up * _down()
    d = t * (c + c_low + 3 * (k + k_low) * square)
    inverse = 1 / (1 + e)
    below = (1 - d * inverse) * inverse * up * _down()
    value = select(x >= 0, x * inverse, -t * inverse * up * _down())
    return value, select(x > 0, 1 - below, below)
