"""Margin losses: (value, gradients, second derivatives). What is stated at a kink is torch's choice; NaN gives NaN."""


# Margins of single elements


def hinge_embedding_loss(x, y, *, margin):
    """x for y = 1, max(margin - x, 0) for y = -1; derivative 1, or -1 up to the kink x = margin and at it, else 0."""
    d = margin - x
    slope = select(d >= 0, -1.0, select(d < 0, 0.0, d))
    return select(y > 0, x, max(d, 0.0)), select(y > 0, 1 + zero(x), slope), zero(x)


def margin_ranking_loss(x, z, y, *, margin):
    """max(d, 0), d = margin - y (x - z); derivatives -y and y at d = 0 and above, else 0; second derivatives 0."""
    d = margin - y * (x - z)
    slope = select(d >= 0, y, select(d < 0, 0.0, d))
    return max(d, 0.0), -slope, slope, zero(d), zero(d)


def soft_margin_loss(x, y):
    """log(1 + exp(z)), z = -y x; derivatives -y s and y^2 s (1 - s), s = sigmoid(z). No kinks.

    The rounding error of y x counts in exp(-|z|).
    """
    p, low = product(x, y)
    e = exp_split(-abs(p), select(p > 0, -low, low))
    inverse = 1 / (1 + e)
    s = select(p < 0, inverse, e * inverse)
    return max(-p, 0.0) + log1p_unit(e), -y * s, y * y * (e * inverse * inverse)


def exponential_loss(x, y):
    """exp(z), z = -y x; derivatives -y exp(z) and y^2 exp(z). No kinks."""
    p, low = product(x, y)
    e = exp_sum(-p, -low)
    return e, -y * e, y * y * e


def hinge_loss(x, y):
    """max(0, 1 - y x); derivatives -y and 0 inside the margin, 0 and 0 elsewhere and at y x = 1."""
    value = max(1 - y * x, 0.0)
    return value, select(value > 0, -y, zero(value)), zero(value)


def squared_hinge_loss(x, y):
    """max(0, 1 - y x)^2; derivatives -2 y max(0, 1 - y x) and 2 y^2, which is 0 from y x = 1 on."""
    m = max(1 - y * x, 0.0)
    return m * m, -2 * y * m, select(m > 0, 2 * y * y, zero(m))


# Parts of the row losses


def _multi_margin(x, own, margin, p):
    """max(0, x - own + margin)^p for p = 1 or 2, of a class with score x beside the target's own; -inf adds nothing.

    At the kink all derivatives are 0.
    """
    h = select(x == -inf, 0.0, max((x - own) + margin, 0.0))
    inside = select(h > 0, 1.0, h)
    return select(p == 1, h, h * h), select(p == 1, inside, 2 * h), select(p == 1, 0.0, 2 * inside)


def _cosine(dot, square, other):
    """The cosine of two vectors and the inverse of the product of their norms, whose squares are given."""
    inverse = 1 / (sqrt(square) * sqrt(other))
    return dot * inverse, inverse


def _cosine_slopes(x, y, inverse, cosine, k):
    """Derivatives of the cosine by x: with k = 1 / |x|^2, y inverse - cosine k x and k (x (3 cosine k x - 2 y inverse) - cosine).

    k = 0 stands for a norm that is held constant.
    """
    pull, shrink = y * inverse, cosine * k * x
    return pull - shrink, k * (x * (3 * shrink - 2 * pull) - cosine)


def _cosine_embedding(cosine, y, margin):
    """1 - cosine for y = 1, max(0, cosine - margin) for y = -1, and the derivative, which is 1 at that kink."""
    over = cosine - margin
    apart = max(over, 0.0)
    return select(y > 0, 1 - cosine, apart), select(y > 0, -1.0, select(over >= 0, 1.0, zero(apart)))


def _ratio(d, top):
    """|d| / top, of 0 the ratio 0."""
    return select(top == 0, 0.0, abs(d) / top)


def _ratio_power(r, p):
    """r^p of a ratio r in [0, 1], which is at most 1; for p = inf the maxima count."""
    return select(p == inf, select(r == 1, 1.0, select(r < 1, 0.0, r)), _power(r, p))


def _norm(top, total, p):
    """The p-norm M S^(1/p) for M = max |d| and S = sum (|d| / M)^p; S^(1/p) / S and S^(-1/p), which its derivatives need.

    S^(1/inf) = 1 and S counts the maxima: the gradient of the maximum norm is shared among them.
    """
    root = _power(total, 1 / p)
    norm = select(top == inf, top, select(top == 0, top, top * root))
    return norm, select(top == 0, 0.0, root / total), 1 / root


def _norm_slopes(d, top, norm, share, shrink, p):
    """Derivatives of the p-norm by one of its numbers: with r = |d| / M, sign(d) r^(p-1) S^(1/p-1), which is 0 at d = 0,
    and (p - 1) / norm ((|d| / norm)^(p-2) - gradient^2), which is 0 for p = 1 and p = inf.
    """
    r = _ratio(d, top)
    slope = select(d == 0, 0.0, select(d > 0, share, -share) * _ratio_power(r, p - 1))
    bend = select(p == inf, 0.0, select(norm == 0, 0.0, (p - 1) / norm))
    return slope, select(bend == 0, 0.0, bend * (_power(r * shrink, p - 2) - slope * slope))


def _term(d, p):
    """|d|^p for p = 1 or 2."""
    return select(p == 1, abs(d), d * d)


def _term_slopes(d, inverse, p):
    """Derivatives of the norm for p = 1 or 2: sign(d) and 0; d / norm and (1 - (d / norm)^2) / norm, with the inverse 0 for no norm."""
    slope, sign = d * inverse, select(d > 0, 1.0, select(d < 0, -1.0, d))
    return select(p == 1, sign, slope), select(p == 1, 0.0, inverse * (1 - slope * slope))


def _triplet(positive, negative, margin):
    """max(0, margin + positive - negative) and its derivative by the first distance, which is 1 at the kink."""
    over = (positive - negative) + margin
    value = max(over, 0.0)
    return value, select(over >= 0, 1.0, zero(value))


def _nearer(distance, other):
    """The smaller distance, and how much of it is the first's: 1, at a tie 1/2, or 0."""
    return select(other < distance, other, distance), select(distance < other, 1.0, select(distance == other, 0.5, 0.0))
