"""Regression losses: (value, gradient, second derivative) with respect to x.

d = x - y. Where a derivative jumps it has the value of one side, as stated, or 0 between two signs. NaN gives NaN.
"""


def _sign(d):
    """-1, 0 or 1."""
    return select(d > 0, 1.0, select(d < 0, -1.0, d))


def mse_loss(x, y):
    """d^2; derivatives 2 d and 2. No kinks."""
    d = x - y
    return d * d, 2 * d, 2.0


def l1_loss(x, y):
    """|d|; derivative the sign, 0 at the kink d = 0; second derivative 0."""
    d = x - y
    return abs(d), _sign(d), zero(d)


def smooth_l1_loss(x, y, *, beta):
    """d^2 / (2 beta) where |d| < beta, else |d| - beta/2; second derivative 1/beta inside, 0 from |d| = beta on."""
    d = x - y
    t = abs(d)
    inside = t < beta
    slope = d / beta
    value = select(inside, 0.5 * d * slope, t - 0.5 * beta)
    return value, select(inside, slope, _sign(d)), select(inside, 1 / beta, zero(d))


def huber_loss(x, y, *, delta):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta/2); second derivative 1 inside and at |d| = delta, else 0."""
    d = x - y
    t = abs(d)
    inside = t <= delta
    value = select(inside, 0.5 * d * d, delta * (t - 0.5 * delta))
    return value, select(inside, d, delta * _sign(d)), select(t > delta, 0.0, 1 + zero(d))


def msle_loss(x, y):
    """l^2, l = log(1 + x) - log(1 + y); derivatives 2 l / (1 + x) and 2 (1 - l) / (1 + x)^2. No kinks."""
    l, u = log1p(x) - log1p(y), 1 / (1 + x)
    return l * l, 2 * l * u, 2 * (1 - l) * u * u


def log_cosh_loss(x, y):
    """log(cosh(d)); derivatives t = tanh(d) and 1 - t^2 = 4 e / (1 + e)^2, e = exp(-2 |d|). No kinks.

    |d| + log(1 + e) - log(2), which cancels near 0: there -log(1 - t^2) / 2. The rounding error of x - y counts in e.
    """
    d, low = exact_difference(x, y)
    s, t, e = abs(d), tanh(d), exp_split(-2 * abs(d), select(d > 0, -2 * low, 2 * low))
    far = s + (log1p_unit(e) - 0.6931471805599453)
    return select(s < 0.65, -0.5 * log1p(-t * t), far), t, 4 * _bell(e)


def quantile_loss(x, y, q):
    """q |d| below the target, (1 - q) |d| above (Koenker & Bassett 1978); derivative -q or 1 - q, 0 at the kink d = 0."""
    d = x - y
    slope = select(d > 0, 1 - q, select(d < 0, -q, d))
    return d * slope, slope, zero(d)


def _rate_loss(value, y):
    """With Stirling's y log(y) - y + log(2 pi y) / 2 for y > 1."""
    return value + select(y > 1, y * log(y) - y + 0.5 * log(6.283185307179586 * y), 0.0)


def poisson_nll_loss(x, y):
    """e - y x, e = exp(x); derivatives e - y and e. No kinks. inf where e is; 0 times an infinite x is 0."""
    e = exp(x)
    return select(e == inf, e, e - select(y == 0, 0.0, y * x)), e - y, e


def poisson_nll_full(x, y):
    value, grad, hess = poisson_nll_loss(x, y)
    return _rate_loss(value, y), grad, hess


def poisson_nll_rate(x, y, *, eps):
    """x - y log(x + eps); derivatives 1 - y / (x + eps) and y / (x + eps)^2. No kinks; y = 0 leaves x."""
    u = x + eps
    r = select(y == 0, 0.0, y / u)
    return x - select(y == 0, 0.0, y * log(u)), 1 - r, r / u


def poisson_nll_rate_full(x, y, *, eps):
    value, grad, hess = poisson_nll_rate(x, y, eps)
    return _rate_loss(value, y), grad, hess


def gaussian_nll_loss(x, y, var, *, eps, constant):
    """(log(v) + d^2 / v) / 2 + constant, v = max(var, eps); derivatives with respect to x and to v.

    d / v and 1 / v; (1 - d^2 / v) / (2 v) and (d^2 / v - 1/2) / v^2: those of v stand for those of var below eps too.
    """
    d, v = x - y, max(var, eps)
    inverse = 1 / v
    slope = d * inverse
    s = d * slope
    value = 0.5 * (log(v) + s) + constant
    return value, slope, 0.5 * inverse * (1 - s), inverse, inverse * inverse * (s - 0.5)
