"""Classification losses: (value, gradient, second derivative) with respect to x."""


def binary_cross_entropy_with_logits(x, y, pos_weight):
    e = exp_split(-abs(x), 0.0)
    inverse = 1 / (1 + e)
    near, far = select(x > 0, 1.0, e) * inverse, select(x > 0, e, 1.0) * inverse
    negative, positive = 1 - y, pos_weight * y
    slope = select(x > 0, negative, positive)
    total = negative + positive
    value = select(slope == 0, 0.0, abs(x) * slope) + total * log1p(e)
    return value, negative * near - positive * far, total * near * far
