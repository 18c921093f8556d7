"""Textbook definitions of every public function, in as many digits as they need.

Each is the formula as a book prints it, evaluated by mpmath with the working precision raised until
no cancellation in it can be seen. Nothing here shifts by a maximum or imports a formula of the package.

Elementwise functions take scalars (mpmath numbers), so that `derivatives` can differentiate them.
Row functions take arrays and write their own derivatives; test_reference.py compares those with
numerical ones. All of them return arrays of mpmath numbers (dtype object).
"""

import itertools
import math
from functools import wraps
from typing import NamedTuple

import mpmath
import numpy as np
from mpmath import mp

from tests.ulp import one_at_a_time, working_digits

mp.dps = 60
NAN, INF = mp.nan, mp.inf


def lift(array):
    """The same numbers as an array of mpmath numbers, exactly."""
    array = np.asarray(array)
    if array.dtype == object:
        return array
    return np.asarray(_number(array.astype(np.float64, copy=False)), dtype=object)


_number = np.frompyfunc(mp.mpf, 1, 1)
exp = np.frompyfunc(mp.exp, 1, 1)
log = np.frompyfunc(mp.log, 1, 1)


def exact(function):
    """Raise the precision with the range of the arguments: 40 digits remain of any difference."""

    @wraps(function)
    def evaluated(*arguments, **keywords):
        numbers = [np.asarray(a, float).ravel() for a in arguments if a is not None]
        with working_digits(max(mp.dps, digits(np.concatenate(numbers)))):
            return function(*arguments, **keywords)

    return evaluated


def digits(numbers):
    """Enough for 1 - exp(-2 |x|) at the largest and exp(x) - 1 at the smallest."""
    size = np.abs(np.append(numbers, 1.0))
    size = size[np.isfinite(size) & (size > 0)]
    return 40 + math.ceil(min(size.max(), 2000.0) - math.log10(size.min()))


# Activations: scalar -> scalar


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def tanh(x):
    return (mp.exp(x) - mp.exp(-x)) / (mp.exp(x) + mp.exp(-x))


def relu(x):
    return x if x > 0 else mp.mpf(0)


def gelu(x, approximate="none"):
    """x Phi(x), or with (1 + tanh u) / 2 = sigmoid(2 u) in the place of Phi."""
    if approximate == "tanh":
        return x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))
    return x * mp.ncdf(x)


def relu6(x):
    return min(relu(x), mp.mpf(6))


def leaky_relu(x, negative_slope):
    return x if x > 0 else negative_slope * x


def prelu(x, weight):
    return x if x > 0 else weight * x


def elu(x, alpha=1):
    return x if x > 0 else alpha * (mp.exp(x) - 1)


def selu(x):
    """The constants as the paper's appendix prints them."""
    return mp.mpf("1.0507009873554804934193349852946") * elu(x, mp.mpf("1.6732632423543772848170429916717"))


def celu(x, alpha=1):
    return x if x > 0 else alpha * (mp.exp(x / alpha) - 1)


def srelu(x, t_left, a_left, t_right, a_right):
    if x >= t_right:
        return t_right + a_right * (x - t_right)
    return x if x > t_left else t_left + a_left * (x - t_left)


def softplus(x, beta=1, threshold=INF):
    return x if beta * x > threshold else mp.log(1 + mp.exp(beta * x)) / beta


def softsign(x):
    return x / (1 + abs(x))


def gaussian(x):
    return mp.exp(-(x**2))


def silu(x):
    return x * sigmoid(x)


def swish(x, beta=1):
    return x * sigmoid(beta * x)


def mish(x):
    return x * tanh(mp.log(1 + mp.exp(x)))


def logsigmoid(x):
    return mp.log(sigmoid(x))


def hardtanh(x, min_val=-1, max_val=1):
    return mp.mpf(min_val) if x <= min_val else mp.mpf(max_val) if x >= max_val else x


def hardsigmoid(x):
    return relu6(x + 3) / 6


def hardswish(x):
    return x * relu6(x + 3) / 6


def tanhshrink(x):
    with working_digits(3 * mp.dps):  # the difference is of the order of x^3
        return x - tanh(x)


def softshrink(x, lambd=0.5):
    return x - lambd if x > lambd else x + lambd if x < -lambd else mp.mpf(0)


def hardshrink(x, lambd=0.5):
    return mp.mpf(0) if -lambd <= x <= lambd else x


def threshold(x, threshold, value):
    return x if x > threshold else mp.mpf(value)


def step(x):
    return mp.mpf(1 if x >= 0 else 0)


def linear(x):
    return x


# Activations of several elements: array -> array


def rrelu(x, lower=1 / 8, upper=1 / 3):
    """In evaluation: the mean of the slopes."""
    x = lift(x)
    return np.where(x > 0, x, x * (mp.mpf(lower) + upper) / 2)


def crelu(x, axis=-1):
    x = lift(x)
    return np.concatenate([np.where(x > 0, x, 0 * x), np.where(x < 0, -x, 0 * x)], axis)


def glu(x, axis=-1):
    a, b = np.split(lift(x), 2, axis)
    return a / (1 + exp(-b))


def maxout(x, pool_size=None, axis=-1):
    pieces = np.moveaxis(lift(x), axis, -1)
    if pool_size is None:
        return pieces.max(-1)
    return np.moveaxis(pieces.reshape(*pieces.shape[:-1], -1, pool_size).max(-1), -1, axis)


@one_at_a_time
def chain_rule(function, g, x, **keywords):
    """The gradient of sum(g * function(x)) by x, one element after another."""
    g, gradient = lift(g), np.empty(np.shape(x), dtype=object)

    def total(t, index):
        moved = lift(x).copy()
        moved[index] = t
        return (g * function(moved, **keywords)).sum()

    for index in np.ndindex(gradient.shape):
        gradient[index] = mpmath.diff(lambda t, i=index: total(t, i), lift(x)[index])
    return gradient


# Elementwise losses: scalars -> scalar


def mse_loss(x, y):
    return (x - y) ** 2


def l1_loss(x, y):
    return abs(x - y)


def smooth_l1_loss(x, y, beta=1):
    d = abs(x - y)
    return d**2 / (2 * beta) if d < beta else d - beta / 2


def huber_loss(x, y, delta=1):
    d = abs(x - y)
    return d**2 / 2 if d <= delta else delta * (d - delta / 2)


def msle_loss(x, y):
    return (mp.log(1 + x) - mp.log(1 + y)) ** 2


def log_cosh_loss(x, y):
    return mp.log(mp.cosh(x - y))


def quantile_loss(x, y, q=mp.mpf(1) / 2):
    return q * (y - x) if x < y else (1 - q) * (x - y)


def poisson_nll_loss(x, y, log_input=True, full=False, eps=1e-8):
    rate, log_rate = (mp.exp(x), x) if log_input else (x, mp.log(x + eps))
    stirling = y * mp.log(y) - y + mp.log(2 * mp.pi * y) / 2 if full and y > 1 else 0
    return rate - y * log_rate + stirling


def gaussian_nll_loss(x, y, var, full=False, eps=1e-6):
    var = max(var, eps)
    return (mp.log(var) + (x - y) ** 2 / var + (mp.log(2 * mp.pi) if full else 0)) / 2


def binary_cross_entropy(x, y):
    return -(y * mp.log(x) + (1 - y) * mp.log(1 - x))


def binary_cross_entropy_with_logits(x, y, pos_weight=1):
    return -(pos_weight * y * mp.log(sigmoid(x)) + (1 - y) * mp.log(sigmoid(-x)))


def sigmoid_focal_loss(x, y, alpha=mp.mpf(1) / 4, gamma=2):
    p, q = sigmoid(x), sigmoid(-x)
    balance = alpha * y + (1 - alpha) * (1 - y) if alpha >= 0 else 1
    return balance * binary_cross_entropy_with_logits(x, y) * (1 - p * y - q * (1 - y)) ** gamma


def kl_div(x, y, log_target=False):
    if log_target:
        return mp.exp(y) * (y - x)
    return y * (mp.log(y) - x) if y else y


def hinge_embedding_loss(x, y, margin=1):
    return x if y == 1 else max(0, margin - x)


def margin_ranking_loss(x1, x2, y, margin=0):
    return max(0, -y * (x1 - x2) + margin)


def soft_margin_loss(x, y):
    return mp.log(1 + mp.exp(-y * x))


def exponential_loss(x, y):
    return mp.exp(-y * x)


def derivatives(function, order, *arguments, by=0, **parameters):
    """function and its first `order` derivatives by one of its arguments, elementwise.

    One-sided differences, away from 0, with mpmath's own choice of step (below 1e-40).
    Array parameters broadcast with the arguments.
    """
    names = [name for name, value in parameters.items() if not isinstance(value, str)]
    arrays = np.broadcast_arrays(*(lift(a) for a in (*arguments, *(parameters[n] for n in names))))
    outputs = tuple(np.empty(arrays[0].shape, dtype=object) for _ in range(order + 1))
    for index in np.ndindex(arrays[0].shape):
        numbers = [a[index] for a in arrays]
        given = parameters | dict(zip(names, numbers[len(arguments) :]))
        before, x, after = numbers[:by], numbers[by], numbers[by + 1 : len(arguments)]
        away = 1 if x >= 0 else -1
        with working_digits(digits(np.array(numbers, float))):
            for n, output in enumerate(outputs):
                output[index] = mpmath.diff(
                    lambda t, b=before, a=after, g=given: function(*b, t, *a, **g), x, n, direction=away
                )
    return outputs


# Softmax family: array -> array


@exact
def softmax(x, axis=None, where=True):
    e = _where(where, exp(lift(x)), 0)
    return e / _positive(e.sum(axis=axis, keepdims=True))


@exact
def log_softmax(x, axis=None, where=True):
    x = lift(x)
    total = _positive(_where(where, exp(x), 0).sum(axis=axis, keepdims=True))
    return _where(where, log(exp(x) / total), -INF)


def _positive(total):
    """A row without entries has probabilities 0, whatever its total."""
    return _where(total > 0, total, 1)


def softmin(x, axis=None, where=True):
    return softmax(np.negative(x), axis, where)


def hardmax(x, axis=None):
    """1 at the first maximum, 0 elsewhere."""
    x = np.asarray(x)
    axes = tuple(range(x.ndim)) if axis is None else tuple(np.atleast_1d(axis))
    last = np.moveaxis(x, axes, range(-len(axes), 0))
    rows = last.reshape(*last.shape[: x.ndim - len(axes)], -1)
    ones = np.arange(rows.shape[-1]) == rows.argmax(-1)[..., None]
    return np.moveaxis(ones.reshape(last.shape), range(-len(axes), 0), axes).astype(x.dtype)


@exact
def logsumexp(a, axis=None, b=1, keepdims=False, return_sign=False):
    total = (lift(b) * exp(lift(a))).sum(axis=axis, keepdims=keepdims)
    total = np.asarray(total, dtype=object)
    if not return_sign:
        return log(np.asarray(np.where(total < 0, NAN, total), dtype=object))
    return log(np.abs(total)), np.sign(total.astype(np.float64))


def softmax_backward(g, y, axis=None):
    g, y = lift(g), lift(y)
    return y * (g - (g * y).sum(axis=axis, keepdims=True))


def log_softmax_backward(g, y, axis=None):
    g = lift(g)
    return g - exp(lift(y)) * g.sum(axis=axis, keepdims=True)


# Losses before reduction


class Terms(NamedTuple):
    """Each element's own loss, what it adds to the mean's divisor, and its derivatives.

    `size` is the largest term subtracted while forming the gradient: its rounding cannot be avoided. Gradients by two
    inputs are stacked, and so are their Hessians and sizes.
    """

    value: np.ndarray
    divisor: np.ndarray
    grad: np.ndarray
    hess: np.ndarray
    size: np.ndarray
    hess_size: np.ndarray = mp.mpf(0)

    def reduced(self, reduction):
        """(value, grad, hess, size, hess_size) of the reduced loss."""
        divisor = np.sum(self.divisor) if reduction == "mean" else 1
        value = self.value if reduction == "none" else np.sum(self.value) / divisor
        return value, *(np.asarray(a / divisor, dtype=object) for a in self[2:])

    def stacked(self, other):
        """The same loss, with the derivatives by another input as well."""
        return Terms(self.value, self.divisor, *(np.stack(pair) for pair in zip(self[2:], other[2:], strict=True)))


def elementwise(derived, *, weight=None, where=None, sample_weight=None, divides_by, size=0.0, hess_size=0.0):
    """Terms of an elementwise loss from its `derivatives`; divides_by "weights" or "count".

    A mean divides by the weights where the table says so, and by sample_weight always.
    """
    value, grad, hess = derived
    used = np.broadcast_to(True if where is None else where, value.shape)
    rows = lift(1.0 if sample_weight is None else _per_row(sample_weight, value.ndim))
    rows = _where(used, np.broadcast_to(rows, value.shape), 0)
    factor = rows if weight is None else rows * lift(weight)
    divisor = factor if divides_by == "weights" else rows
    sizes = (lift(size) * factor, lift(hess_size) * factor)
    return Terms(value * factor, divisor, grad * factor, hess * factor, *sizes)


@exact
def cross_entropy(
    x, target, weight=None, *, ignore_index=-100, label_smoothing=0.0, axis=None,
    where=None, sample_weight=None, z_loss=0.0,
):  # fmt: skip
    """-sum_j w_j q_j log p_j + z (log sum_j exp x_j)^2, with p = softmax(x) and q the smoothed target."""
    x, axis, used, row, qw, divisor = _row_targets(x, target, weight, ignore_index, label_smoothing, axis, where, sample_weight)
    e = exp(_where(used[..., None], lift(x), 0))
    total = e.sum(-1, keepdims=True)
    p, lse, z = e / total, log(total), lift(z_loss)
    pull = qw.sum(-1, keepdims=True) + 2 * z * lse
    value = -(qw * log(p)).sum(-1) + z * lse[..., 0] ** 2
    grad = pull * p - qw
    hess = pull * p * (1 - p) + 2 * z * p**2
    size = np.maximum(np.abs(pull * p), np.abs(qw)) * (np.minimum(np.abs(pull * p), np.abs(qw)) > 0)
    columns = (np.moveaxis(a * row[..., None], -1, axis) for a in (grad, hess, size))
    return Terms(value * row, divisor, *columns)


@exact
def focal_cross_entropy(
    x, target, weight=None, *, gamma=2.0, ignore_index=-100, label_smoothing=0.0, axis=None, where=None, sample_weight=None,
):  # fmt: skip
    """sum_j w_j q_j f(p_j), f(p) = -(1 - p)^gamma log p, by the chain rule through dp_j / dx_k = p_j (d_jk - p_k)."""
    x, axis, used, row, qw, divisor = _row_targets(x, target, weight, ignore_index, label_smoothing, axis, where, sample_weight)
    e, g = exp(_where(used[..., None], lift(x), 0)), lift(gamma)
    p = e / e.sum(-1, keepdims=True)
    m, l = 1 - p, log(p)
    m = _where(m > 0, m, 1)                                                   # of one class alone
    alone = np.equal(p.shape[-1], 1)
    first = qw * (g * m ** (g - 1) * l - m**g / p) * (not alone)              # f' and f''
    second = qw * (g * m ** (g - 1) * 2 / p - g * (g - 1) * m ** (g - 2) * l + m**g / p**2) * (not alone)
    step = p[..., :, None] * (lift(np.eye(p.shape[-1])) - p[..., None, :])     # by k
    bend = p[..., :, None] * ((lift(np.eye(p.shape[-1])) - p[..., None, :]) ** 2 - (p * (1 - p))[..., None, :])
    grad = (first[..., None] * step).sum(-2)
    terms = second[..., None] * step**2, first[..., None] * bend
    hess = (terms[0] + terms[1]).sum(-2)
    size = np.abs(first[..., None] * step).sum(-2) * (np.count_nonzero(qw, -1) > 1)[..., None]
    hess_size = (np.abs(qw * g * m ** (g - 1) / p * (2 + np.abs(g - 1) * np.abs(l) * p / m + np.abs(l)))[..., None] * step**2).sum(-2)
    hess_size = hess_size + (np.abs(first)[..., None] * np.abs(bend)).sum(-2)
    value = -(qw * (1 - p) ** g * l).sum(-1)
    columns = (np.moveaxis(a * row[..., None], -1, axis) for a in (grad, hess, size, hess_size))
    return Terms(value * row, divisor, *columns)


def _row_targets(x, target, weight, ignore_index, label_smoothing, axis, where, sample_weight):
    """x with its classes last, their axis; of each row whether it is used, its weight, class weights times its smoothed target, and
    what it adds to the divisor of a mean."""
    x, target = np.asarray(x), np.asarray(target)
    axis = min(1, x.ndim - 1) if axis is None else axis
    x, classes = np.moveaxis(x, axis, -1), x.shape[axis]
    probabilities = target.ndim == x.ndim
    if probabilities:
        q, used = lift(np.moveaxis(target, axis, -1)), np.ones(x.shape[:-1], bool)
    else:
        q, used = lift(target[..., None] == np.arange(classes)), target != ignore_index
    if where is not None:
        used = used & where
    w = lift(np.ones(classes) if weight is None else weight)
    row = lift(1.0 if sample_weight is None else _per_row(sample_weight, x.ndim - 1))
    row = _where(used, np.broadcast_to(row, used.shape), 0)
    s = lift(label_smoothing)
    return x, axis, used, row, ((1 - s) * q + s / classes) * w, row if probabilities else row * (q * w).sum(-1)


def nll_loss(x, target, weight=None, *, ignore_index=-100, axis=None, where=None, sample_weight=None):
    """-w_t x_t."""
    x, target = np.asarray(x), np.asarray(target)
    axis = min(1, x.ndim - 1) if axis is None else axis
    x, classes = np.moveaxis(x, axis, -1), x.shape[axis]
    used = (target != ignore_index) & (True if where is None else where)
    w = lift(np.ones(classes) if weight is None else weight)
    row = lift(1.0 if sample_weight is None else _per_row(sample_weight, x.ndim - 1))
    row = _where(used, np.broadcast_to(row, used.shape), 0)
    qw = lift(target[..., None] == np.arange(classes)) * w
    grad = np.moveaxis(-qw * row[..., None], -1, axis)
    zero = grad * 0
    return Terms(-(qw * lift(x)).sum(-1) * row, row * qw.sum(-1), grad, zero, zero)


def multilabel_soft_margin_loss(x, y, weight=None, *, where=None, sample_weight=None):
    """Binary cross-entropy of logits, averaged over the last axis."""
    x, y = np.asarray(x), np.asarray(y)
    count = x.shape[-1]
    value, grad, hess = derivatives(binary_cross_entropy_with_logits, 2, x, y)
    row = lift(1.0 if sample_weight is None else _per_row(sample_weight, x.ndim - 1))
    row = _where(True if where is None else where, np.broadcast_to(row, x.shape[:-1]), 0)
    w = lift(1.0 if weight is None else weight) / count
    value, grad, hess = value * w, grad * w * row[..., None], hess * w * row[..., None]
    return Terms(value.sum(-1) * row, row, grad, hess, 0 * grad)


def linear_cross_entropy(input, linear_weight, target, *, linear_bias=None, reduction="mean", **keywords):
    """Cross-entropy of x w + b: value and, by the chain rule, the gradients; the size of their terms."""
    x, w = lift(input), lift(linear_weight)
    logits = np.tensordot(x, w, (-1, -1))
    if linear_bias is not None:
        logits = logits + lift(linear_bias)
    value, g, _, size, _ = cross_entropy(logits, target, **keywords).reduced(reduction)
    x, size = np.atleast_2d(x), size + np.abs(g)
    rows = g.reshape(len(x), -1), size.reshape(len(x), -1)
    flat = w.reshape(-1, w.shape[-1])
    by_input = (a @ b for a, b in zip(rows, (flat, np.abs(flat))))
    by_weight = ((a.T @ b).reshape(w.shape) for a, b in zip(rows, (x, np.abs(x))))
    by_bias = (a.sum(0).reshape(w.shape[:-1]) for a in rows)
    grads, sizes = zip(*(tuple(pair) for pair in (by_input, by_weight, by_bias)))
    return value, grads, sizes


def adaptive_log_prob(input, head_weight, tail_weights, cutoffs, head_bias=None):
    """log P(class) = log P(cluster) + log P(class in its cluster), of every class."""
    x = lift(input)
    logits = x @ lift(head_weight).T + (0 if head_bias is None else lift(head_bias))
    head, parts = log_softmax(logits, axis=-1), []
    for i, (down, up) in enumerate(tail_weights):
        own = log_softmax(x @ lift(down).T @ lift(up).T, axis=-1)
        parts.append(head[..., cutoffs[0] + i, None] + own)
    return np.concatenate([head[..., : cutoffs[0]], *parts], axis=-1)


def adaptive_log_softmax_with_loss(input, target, head_weight, tail_weights, cutoffs, *, head_bias=None):
    log_p = adaptive_log_prob(input, head_weight, tail_weights, cutoffs, head_bias)
    output = np.array([row[t] for row, t in zip(log_p, target)])
    return output, -output.sum() / len(output)


# Connectionist temporal classification


class Sequences(NamedTuple):
    """Each sequence's loss, the gradient by the logits, and the larger of its two terms."""

    value: np.ndarray
    grad: np.ndarray
    size: np.ndarray


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, *, zero_infinity=False, from_logits=False):
    """Forward and backward variables of Graves et al. (2006), equations 5 to 16; targets padded, log_probs (T, N, C)."""
    x = log_softmax(log_probs, axis=-1) if from_logits else lift(log_probs)
    value, p = np.empty(x.shape[1], dtype=object), exp(x)
    grad, size = lift(np.zeros(x.shape)), lift(np.zeros(x.shape))
    for n, (frames, count) in enumerate(zip(input_lengths, target_lengths)):
        states = [blank]
        for label in targets[n][:count]:
            states += [int(label), blank]
        y = p[:frames, n]
        alpha = _forward(y, states)
        beta = _forward(y[::-1], states[::-1])[::-1, ::-1]
        total = alpha[-1, -2:].sum() if frames else mp.mpf(not count)
        value[n] = -mp.log(total) if total else INF
        if zero_infinity and not total:
            value[n] = mp.mpf(0)
            continue
        posterior = lift(np.zeros(y.shape))
        for t in range(frames):
            for s, c in enumerate(states):
                both = alpha[t, s] * beta[t, s]
                posterior[t, c] += (both / y[t, c] if both else 0) / total if total else NAN
        grad[:frames, n] = y - posterior if total else NAN
        size[:frames, n] = np.maximum(y, posterior) if total else NAN
    return Sequences(value, grad, size)


def _forward(y, states):
    """alpha[t, s]: the probability of all beginnings of t + 1 frames that end in state s."""
    alpha = lift(np.zeros((len(y), len(states))))
    for t, frame in enumerate(y):
        for s, c in enumerate(states):
            if t == 0:
                before = mp.mpf(s < 2)
            else:
                skip = s > 1 and states[s] != states[s - 2] and s % 2 == 1
                before = alpha[t - 1, max(s - 1 - skip, 0) : s + 1].sum()
            alpha[t, s] = before * frame[c]
    return alpha


def ctc_by_paths(log_probs, target, blank=0):
    """The loss of one sequence (T, C) from its definition: all paths, repeats merged, blanks removed."""
    p = exp(lift(log_probs))
    total = mp.mpf(0)
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        spelt = [c for c, _ in itertools.groupby(path) if c != blank]
        if spelt == list(target):
            total += math.prod((p[t, c] for t, c in enumerate(path)), start=mp.mpf(1))
    return -mp.log(total) if total else INF


def _where(condition, a, b):
    """numpy.where that keeps mpmath numbers."""
    a = np.asarray(a, dtype=object)
    condition, a = np.broadcast_arrays(condition, a)
    out = a.copy()
    out[~condition] = mp.mpf(b)
    return out


def _per_row(sample_weight, ndim):
    """One weight per row, shaped to multiply an unreduced loss of `ndim` axes."""
    sample_weight = np.asarray(sample_weight)
    return sample_weight.reshape(sample_weight.shape + (1,) * (ndim - sample_weight.ndim))


# Losses of whole rows: (vectors of one row, their target) -> scalar; `row_terms` differentiates them


def multi_margin_loss(x, target, *, weight=None, p=1, margin=1.0):
    w = 1 if weight is None else weight[target]
    excess = [margin - x[target] + x[j] for j in range(len(x)) if j != target]
    return w * sum((max(mp.mpf(0), e) ** int(p) for e in excess), mp.mpf(0)) / len(x)


def multilabel_margin_loss(x, target):
    labels = list(target[: list(target).index(-1)] if -1 in target else target)
    others = [j for j in range(len(x)) if j not in labels]
    return sum((max(mp.mpf(0), 1 - x[t] + x[j]) for t in labels for j in others), mp.mpf(0)) / len(x)


def hinge_loss(x, target):
    """Of one sign, or Crammer and Singer's of a class."""
    if np.ndim(x) == 0:
        return max(mp.mpf(0), 1 - target * x)
    return max(mp.mpf(0), 1 + max([x[j] for j in range(len(x)) if j != target], default=-INF) - x[target])


def squared_hinge_loss(x, target):
    return hinge_loss(x, target) ** 2


def entropy(p, axis=-1, *, from_logits=False):
    if from_logits:
        p = [mp.exp(v) for v in p]
        p = [v / sum(p) for v in p]
    return -sum((v * mp.log(v) for v in p if v), mp.mpf(0))


def brier_score(p, target):
    """Of an event; of classes, whose target is an index or a distribution."""
    if np.ndim(p) == 0:
        return (p - target) ** 2
    q = target if np.ndim(target) else [j == target for j in range(len(p))]
    return sum((a - b) ** 2 for a, b in zip(p, q, strict=True))


def cosine_similarity(x, y, *, eps=1e-8, axis=-1):
    return _dot(x, y) / (max(mp.sqrt(_dot(x, x)), eps) * max(mp.sqrt(_dot(y, y)), eps))


def cosine_embedding_loss(x, y, target, *, margin=0.0):
    small = mp.mpf(1e-12)
    cosine = _dot(x, y) / mp.sqrt((_dot(x, x) + small) * (_dot(y, y) + small))
    return 1 - cosine if target == 1 else max(mp.mpf(0), cosine - margin)


def _dot(x, y):
    return sum((a * b for a, b in zip(x, y)), mp.mpf(0))


def pairwise_distance(x, y, *, p=2.0, eps=1e-6):
    differences = [abs(a - b + eps) for a, b in zip(x, y)]
    if p == np.inf:
        return max(differences)
    return sum((d**p for d in differences), mp.mpf(0)) ** (1 / mp.mpf(p))


def triplet_margin_loss(anchor, positive, negative, *, margin=1.0, p=2.0, eps=1e-6, swap=False):
    def distance(x, y):
        return pairwise_distance(x, y, p=p, eps=eps)

    away = distance(anchor, negative)
    if swap:
        away = min(away, distance(positive, negative))
    return max(mp.mpf(0), margin + distance(anchor, positive) - away)


def row_terms(loss, n_inputs, *arguments, where=None, sample_weight=None, **keywords):
    """Terms of a loss of rows: gradients and Hessians are tuples, one array for each of the first n_inputs arguments."""
    inputs, targets = [lift(a) for a in arguments[:n_inputs]], arguments[n_inputs:]
    n = len(inputs[0])
    value = np.empty(n, dtype=object)
    slopes, curves = ([np.zeros(x.shape, dtype=object) for x in inputs] for _ in range(2))
    for r in range(n):
        rows, rest = [list(x[r]) for x in inputs], [t[r] for t in targets]

        def at(t, k, j, rows=rows, rest=rest):
            moved = [list(x) for x in rows]
            moved[k][j] = t
            return loss(*moved, *rest, **keywords)

        value[r] = loss(*rows, *rest, **keywords)
        for k, j in np.ndindex(len(inputs), len(rows[0])):
            slopes[k][r, j] = mpmath.diff(lambda t, k=k, j=j: at(t, k, j), rows[k][j])
            curves[k][r, j] = mpmath.diff(lambda t, k=k, j=j: at(t, k, j), rows[k][j], 2)
    row = _where(True if where is None else where, lift(np.ones(n) if sample_weight is None else sample_weight), 0)
    grads, hesses = (tuple(a * row[:, None] for a in part) for part in (slopes, curves))
    return Terms(value * row, row, grads, hesses, None)
