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
