"""Classification losses: (value, gradient, second derivative) with respect to x."""


def binary_cross_entropy_with_logits(x, y, pos_weight):
    """-pos_weight y log(p) - (1 - y) log(1 - p), p = sigmoid(x); y is any real number.

    With e = exp(-|x|): -log(p) = max(-x, 0) + log(1 + e) and -log(1 - p) = max(x, 0) + log(1 + e),
    so that the value is the total weight times log(1 + e) plus |x| times the weight of the wrong
    side. That product is 0 where the weight is: the limit at x = -inf or inf. No kinks. The
    derivatives are those of the negative and the positive part; p and 1 - p each come from e,
    without cancellation.
    """
    e = exp_split(-abs(x), 0.0)
    positive, negative = pos_weight * y, 1 - y
    inverse = 1 / (1 + e)
    large, small = inverse, e * inverse
    p, q = select(x > 0, large, small), select(x > 0, small, large)
    wrong, total = select(x > 0, negative, positive), positive + negative
    value = select(wrong == 0, 0.0, abs(x) * wrong) + total * log1p_unit(e)
    return value, negative * p - positive * q, total * (large * small)


def binary_cross_entropy(x, y):
    """-y log(x) - (1 - y) log(1 - x) for probabilities, each logarithm at least -100.

    Derivatives (x - y) / u and ((1 - y) x^2 + y (1 - x)^2) / u^2 with u = max(x (1 - x), 1e-12). No kinks in (0, 1).
    """
    z = 1 - x
    inverse = 1 / max(x * z, 1e-12)
    value = -(y * max(log(x), -100.0) + (1 - y) * max(log1p(-x), -100.0))
    a, b = x * inverse, z * inverse
    return value, (x - y) * inverse, (1 - y) * a * a + y * b * b


def sigmoid_focal_loss(x, y, *, alpha, gamma):
    """a c m^gamma: c binary cross-entropy, p = sigmoid(x), q = 1 - p, m = (1 - y) p + y q (Lin et al. 2017).

    a = alpha y + (1 - alpha) (1 - y), or 1 for a negative alpha. With r = m'/m = (1 - 2 y) / ((1 - y)/q + y/p) and
    u = c' + gamma c r, c' = p - y, the derivatives are a m^gamma u and
    a m^gamma (gamma r u + p q + gamma (c' r + c r (q - p - r))). r vanishes faster than c grows. No kinks.
    """
    e = exp_split(-abs(x), 0.0)
    inverse = 1 / (1 + e)
    large, small = inverse, e * inverse
    p, q = select(x > 0, large, small), select(x > 0, small, large)
    negative = 1 - y
    a = select(alpha < 0, 1.0, alpha * y + (1 - alpha) * negative)
    wrong, total = select(x > 0, negative, y), log1p_unit(e)
    c = select(wrong == 0, 0.0, abs(x) * wrong) + total
    near = min(abs(x), 1000.0) * wrong + total
    power = a * power_unit(negative * p + y * q, gamma)
    r = (1 - 2 * y) / (select(negative == 0, 0.0, negative / q) + select(y == 0, 0.0, y / p))
    slope = negative * p - y * q
    u = slope + gamma * near * r
    bend = gamma * r * u + large * small + gamma * r * (slope + near * (q - p - r))
    return select(power == 0, 0.0, power * c), power * u, power * bend


def kl_div(x, y):
    """y (log(y) - x), 0 for y = 0; derivatives -y and 0. No kinks."""
    return select(y == 0, 0.0, y * (log(y) - x)), -y, zero(y)


def kl_div_log(x, y):
    """exp(y) (y - x), 0 for y so low that exp(y) is; derivatives -exp(y) and 0. No kinks.

    The product is scaled last: of a subnormal exp(y), too, it has all its digits. Where y - x is large it is scaled first.
    """
    _, high = _exp_range()
    d, negative = y - x, y < 0
    p, s = _exp_scaled(select(y < -_far(), -_far(), y), 0.0, select(negative, 96.0, -1.0))
    e, scale = select(y > high, inf, s + s * p), select(negative, _down(), 2.0)
    value = select(negative & (abs(d) > 1048576), e * (d * scale), e * d * scale)
    return select(y < -_far(), 0.0, value), -e * scale, zero(y)


# Parts of the row losses


def _entropy(p):
    """-p log(p), 0 at p = 0; derivatives -1 - log(p) and -1 / p, which are inf and -inf there."""
    a = log(p)
    return select(p == 0, 0.0, -p * a), -1 - a, -1 / abs(p)


def _entropy_sums(d):
    """Of a logit d below the largest: exp(d) or 0 for d = 0, which is counted, and -d exp(d), whose limit is 0."""
    e = exp(d)
    return select(d == 0, 0.0, e), select(d == 0, 1.0, 0.0), select(e == 0, 0.0, -d * e)


def _entropy_of_sums(others, count, pull):
    """log(S) + T, S = others + count and T = pull / S: the entropy, 1 / S, T, and 1 - 1 / S."""
    rest = others + max(count - 1, 0.0)
    inverse = 1 / (1 + rest)
    return log1p(rest) + pull * inverse, inverse, pull * inverse, rest * inverse


def _entropy_slopes(d, inverse, mean, apart):
    """Derivatives of a softmax's entropy: -p a and -p ((q - p) a + q), with a = d + T = log(p) + entropy and q = 1 - p; 0 for p = 0."""
    p = exp(d) * inverse
    a, q = d + mean, select(d == 0, apart, 1 - p)
    return select(p == 0, 0.0, -p * a), select(p == 0, 0.0, -p * ((q - p) * a + q))


def _focal(l, p, q, gamma):
    """-q^gamma l with l = log(p), q = 1 - p; minus its derivative by l, q^gamma (1 - gamma r), r = p l / q; and the second
    derivative gamma p q^(gamma-1) (2 - (gamma-1) r + l). The limits are r = -1 at p = 1 and p l = 0 at p = 0.
    """
    power, inverse = power_unit(q, gamma), select(q == 0, 0.0, 1 / q)
    r = select(q == 0, -1.0, select(p == 0, 0.0, p * l * inverse))
    return -power * l, power * (1 - gamma * r), select(p == 0, 0.0, gamma * p * power * inverse * (2 - (gamma - 1) * r + l))
