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
