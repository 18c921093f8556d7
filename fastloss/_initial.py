"""The constant prediction of least weighted loss, from which boosting starts."""

import numpy as np

RARE = 1e-15                        # the least share of a class, and the distance of a probability from 0 and 1
FAR = -np.log(RARE)                 # how far beyond the labels a minimum is looked for
STEPS = 100
FLAT = 1e-3                         # of the weight: a smaller second derivative is taken for this


def constant(objective, y, weight):
    """A float for one output, else an array; weight is one float64 per row."""
    loss, params = objective.loss, objective.params
    if objective.scores_classes(y):
        return _of_classes(objective, y, weight)
    find = CLOSED.get(objective.public_name, _by_newton)
    if y.ndim == 1 and not objective.of_rows:
        return float(find(loss, objective.labels(y, y.shape).astype(np.float64), weight, params))
    y = objective.labels(y, y.shape).astype(np.float64)
    outputs = [{name: np.broadcast_to(p, y.shape[1])[k] if np.ndim(p) else p for name, p in params.items()} for k in range(y.shape[1])]
    return np.array([find(loss, y[:, k], weight, own) for k, own in enumerate(outputs)])


def _mean(loss, y, weight, params):
    return np.average(y, weights=weight)


def _log_mean(loss, y, weight, params):
    mean = np.average(y, weights=weight)
    return np.log(max(mean, RARE)) if params.get("log_input", True) else mean


def _logit(loss, y, weight, params):
    positive = params.get("pos_weight", 1.0) * np.sum(weight * y)
    negative = np.sum(weight * (1 - y))
    share = np.clip(positive / (positive + negative), RARE, 1 - RARE)
    return np.log(share / (1 - share))


def _quantile(loss, y, weight, params):
    """The middle of the interval of weighted quantiles."""
    order = np.argsort(y)
    below = np.cumsum(weight[order])
    wanted = params.get("q", 0.5) * below[-1]
    ends = [min(np.searchsorted(below, wanted, side), len(y) - 1) for side in ("left", "right")]
    return y[order[ends]].mean()


CLOSED = {
    "binary_cross_entropy": _mean,
    "binary_cross_entropy_with_logits": _logit,
    "l1_loss": _quantile,
    "mse_loss": _mean,
    "multilabel_soft_margin_loss": _logit,
    "poisson_nll_loss": _log_mean,
    "quantile_loss": _quantile,
}


def _by_newton(loss, y, weight, params):
    """Where the slope of the loss of a constant crosses 0: Newton's steps, halving what is known to hold it where they leave that."""
    values, at = np.unique(y, return_inverse=True)
    weight = np.bincount(at, weight)

    def slope(c):
        _, grad, hess = loss.value_grad_hess(np.full(values.shape, c), values, reduction="sum", sample_weight=weight, **params)
        return grad.sum(), hess.sum()

    low, high = values[0], values[-1]
    low -= FAR * (slope(low)[0] > 0)
    high += FAR * (slope(high)[0] < 0)
    c = (low + high) / 2
    for _ in range(STEPS):
        g, h = slope(c)
        low, high = (low, c) if g > 0 else (c, high) if g < 0 else (c, c)
        step = c - g / h if h > 0 else low
        before, c = c, step if low < step < high else (low + high) / 2
        if abs(c - before) <= 1e-12 * max(1.0, abs(c)):
            break
    return c


def _of_classes(objective, y, weight):
    """One score per class: the logarithms of their shares, where cross-entropy is least; other losses go down from there."""
    loss, params = objective.loss, objective.params
    class_weight, smoothing = params.get("weight"), params.get("label_smoothing", 0.0)
    if y.ndim == 2:
        n_classes, shares, labels = y.shape[1], weight @ y, objective.labels(y, y.shape)
    else:
        n_classes = int(np.max(y)) + 1 if class_weight is None else len(class_weight)
        labels = objective.labels(y, (len(y), n_classes))
        used = labels != params.get("ignore_index", -100)
        shares = np.bincount(labels[used], weight[used], n_classes)
        labels, weight = np.flatnonzero(shares), shares[shares != 0]
    shares = ((1 - smoothing) * shares + smoothing * weight.sum() / n_classes) * (1 if class_weight is None else class_weight)
    c = np.log(np.maximum(shares / shares.sum(), RARE))
    if objective.public_name == "cross_entropy":
        return c

    def at(c):
        value, grad, hess = loss.value_grad_hess(np.tile(c, (len(labels), 1)), labels, reduction="sum", sample_weight=weight, **params)
        return value, grad.sum(0), hess.sum(0)

    value, grad, hess = at(c)
    part = 1.0
    for _ in range(STEPS):
        further = c - part * grad / np.maximum(hess, FLAT * weight.sum())
        lower, *slopes = at(further)
        if lower < value:
            c, value, (grad, hess), part = further, lower, slopes, min(1.0, 2 * part)
        else:
            part /= 2
    return np.clip(c, -FAR, FAR)
