"""Activations: (value, derivative) at x."""


def sigmoid(x):
    e = exp_split(-abs(x), 0.0)
    inverse = 1 / (1 + e)
    return select(x < 0, e, 1.0) * inverse, e * inverse * inverse


def tanh_(x):
    t = tanh(x)
    return t, 1 - t * t


def relu(x):
    return max(x, 0.0), select(x > 0, 1.0, select(x <= 0, 0.0, x))


def gelu(x):
    """x Phi(x)."""
    z = min(max(x, -64.0), 64.0)
    e = exp_split(-0.5 * z * z, 0.0)
    p = 0.5 * (1 + erf(x * 0.7071067811865476))
    return max(x, -64.0) * p, p + z * e * 0.3989422804014327


def gelu_tanh(x):
    """x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3)."""
    z = min(max(x, -64.0), 64.0)
    u = z * (1.5957691216057308 + 0.07135481282719746 * z * z)
    e = exp_split(-abs(u), 0.0)
    inverse = 1 / (1 + e)
    s = select(u < 0, e, 1.0) * inverse
    slope = z * (1.5957691216057308 + 0.21406443848159237 * z * z)
    return max(x, -64.0) * s, s + slope * e * inverse * inverse
