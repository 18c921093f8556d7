"""Losses of linear layers: matrix products, which Numba leaves to SciPy's BLAS, around the loss of their logits."""

import functools

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from .. import _check as check
from .._linear import AdaptiveResult
from ..kernels.jit.primitives import LEAF
from ..kernels.jit.sums import accumulate
from .arrays import compiled, deliver, elements, is_none, product, same, shape_of
from .elementwise import NONE, outs_of, reduction_of, type_of_input, working
from .nodes import Apply
from .partials import partial_of
from .rows import LOG_SOFTMAX, driver, index_axes, indices, row_call, row_loss_of, shaped, softmax_of

# linear_cross_entropy


@register_jitable
def matrix(a, T):
    """All but the last axis as one."""
    values, n = elements(a, T), shape_of(a)[-1]
    return values.reshape(product(shape_of(a)[:-1]), n)


def bias_of(a, n, T): ...


@compiled(bias_of)
def _bias_of(a, n, T):
    if is_none(a):
        return lambda a, n, T: np.zeros(n, T)

    def fit(a, n, T):
        if a.size != n:
            raise ValueError("linear_bias must hold a number for each row of linear_weight")
        return elements(a, T)

    return fit


def delivered(out, gradient, a): ...


@compiled(delivered)
def _delivered(out, gradient, a):
    if is_none(a):
        return lambda out, gradient, a: None
    return lambda out, gradient, a: deliver(out, gradient.reshape(a.shape), a.shape)


@register_jitable
def products(piece, logits, w):
    """The gradients of input, weight and bias from that of the logits; rows without one may hold anything."""
    piece = piece.copy()
    for i in range(len(piece)):
        if not logits[i].any():
            piece[i] = 0
    return logits @ w, logits.T @ piece, logits.T @ np.ones(len(piece), w.dtype)


@functools.cache
def linear_of(loss, T, mode):
    """The compiled loss of input @ weight.T + bias."""

    def logits_of(x, w, bias):
        if x.shape[-1] != w.shape[-1]:
            raise ValueError("linear_weight must have as many columns as input")
        wide = matrix(w, T)
        logits = matrix(x, T) @ wide.T + bias_of(bias, len(wide), T)
        return logits.reshape(x.shape[:-1] + w.shape[:-1])

    logits_of = register_jitable(logits_of)
    with_value = register_jitable((lambda result, grads: grads) if mode == "g" else lambda result, grads: (result[0], grads))

    def value(x, w, bias, before, after, value_out, grad_outs):
        given = before + (logits_of(x, w, bias),) + after + ((value_out, None, None),)
        return loss(*given)

    def gradients(x, w, bias, before, after, value_out, grad_outs):
        logits = logits_of(x, w, bias)
        given = before + (logits,) + after + ((value_out, logits, None),)
        result, wide = loss(*given), matrix(w, T)
        a, b, c = products(matrix(x, T), logits.reshape(-1, len(wide)), wide)
        return with_value(result, (delivered(grad_outs[0], a, x), delivered(grad_outs[1], b, w), delivered(grad_outs[2], c, bias)))

    return njit(**LEAF)(gradients if "g" in mode else value)


def linear(function, mode, nodes, named):
    """The plan of linear_cross_entropy: all its logits exist at once."""
    if mode == "vgh":
        raise check.no_hessian(function.__name__)
    layer = {"input": named.input, "linear_weight": named.linear_weight, "linear_bias": named.linear_bias}
    x, w, *bias = [type_of_input(name, a) for name, a in layer.items() if a is not None]
    axes, wide = getattr(x, "ndim", 0), getattr(w, "ndim", 0)
    if axes not in (1, 2) or wide < 2 or (axes == 1 and wide > 2):
        raise ValueError(f"input and linear_weight have {axes} and {wide} axes; they must be (N, D) or (D,), and (C, D) or (C, d1, ..., D)")
    T, outs = working(x, w, *bias), outs_of(nodes.get("out"), mode, 3)
    loss, before, after = row_call(named.rows, "cross_entropy", True, T, axes + wide - 2, mode, reduction_of(nodes, mode), nodes)
    return Apply(linear_of(loss, T, mode), *layer.values(), before, after, outs[0], outs[1])


# adaptive_log_softmax_with_loss


@register_jitable
def check_layer(x, head, tails, cutoffs):
    """The number of classes; cutoffs and tails may be tuples or lists."""
    clusters, features = len(cutoffs), x.shape[-1]
    if len(tails) != clusters or head.shape != (cutoffs[0] + clusters, features):
        raise ValueError("head_weight must have cutoffs[0] + len(cutoffs) rows and input's columns, tail_weights one (down, up) for each of cutoffs")
    for i in range(clusters):
        down, up = tails[i]
        if cutoffs[i] < (1 if i == 0 else cutoffs[i - 1] + 1):
            raise ValueError("cutoffs must be positive and increase")
        if down.shape[1] != features or up.shape[1] != len(down) or (i + 1 < clusters and len(up) != cutoffs[i + 1] - cutoffs[i]):
            raise ValueError("tail_weights must hold (h, D) and (classes of the cluster, h); cluster:", i)
    return cutoffs[clusters - 1] + len(tails[clusters - 1][1])


@functools.cache
def layer_of(loss, T, derivatives):
    """The compiled losses of the rows of one layer, and the gradients of its input, weight and bias, times scale."""

    def value(codes, x, w, bias, target, scale):
        logits = x @ w.T + bias
        return loss(codes[0], codes[1], logits, target, None, None, -100, 1, 0.0, 0.0, 0.0, None, None, 0.0, None, (None, None, None)), x, w, bias

    def gradients(codes, x, w, bias, target, scale):
        logits = x @ w.T + bias
        losses, _ = loss(codes[0], codes[1], logits, target, None, None, -100, 1, 0.0, 0.0, 0.0, None, None, 0.0, scale, (None, logits, None))
        return losses, *products(x, logits, w)

    return njit(**LEAF)(gradients if derivatives else value)


@functools.cache
def adaptive_of(layer, T, mode):
    derivatives = "g" in mode

    def adaptive(codes, x, target, head, tails, cutoffs, bias):
        n_classes, rows = check_layer(x, head, tails, cutoffs), matrix(x, T)
        labels, n, first = indices(target), len(rows), cutoffs[0]
        if not same(shape_of(target), x.shape[:-1]):
            raise ValueError("target must have one class per row of input")
        cluster = np.zeros(n, np.int64)
        for i in range(n):
            if not 0 <= labels[i] < n_classes:
                raise IndexError("target holds an index that is no class: its flat position and the index are", i, labels[i])
            for c in range(len(cutoffs)):
                cluster[i] += labels[i] >= cutoffs[c]
        scale, wide = 1.0 / max(n, 1), matrix(head, T)
        losses, grad_x, grad_head, grad_bias = layer(codes, rows, wide, bias_of(bias, len(wide), T), np.where(cluster == 0, labels, first + cluster - 1), scale)
        grads = [(wide, wide)][:0]
        for c in range(len(cutoffs)):
            down, up, at = matrix(tails[c][0], T), matrix(tails[c][1], T), np.nonzero(cluster == c + 1)[0]
            piece = rows[at]
            part, hidden, grad_up, _ = layer(codes, piece @ down.T, up, np.zeros(len(up), T), labels[at] - cutoffs[c], scale)
            losses[at] += part
            if derivatives:
                grad_x[at] += hidden @ down
                grads.append((hidden.T @ piece, grad_up))
        high, low = accumulate(0.0, 0.0, losses)
        return finish(high, low, n, losses, x, (grad_x, grad_head, grads, grad_bias), bias)

    def value(high, low, n, losses, x, grads, bias):
        total = high + low if np.isfinite(high) else high
        return AdaptiveResult(shaped(-losses, x.shape[:-1]), T(total / n if n else np.nan))

    def gradients(high, low, n, losses, x, grads, bias):
        return grads[0].reshape(x.shape), grads[1], grads[2], delivered(None, grads[3], bias)

    value, gradients = register_jitable(value), register_jitable(gradients)
    finish = register_jitable({
        "v": value,
        "g": gradients,
        "vg": lambda *given: (value(*given), gradients(*given)),
        "p": lambda high, low, n, losses, x, grads, bias: partial_of((high, low, float(n), 0.0, n)),
    }[mode])  # fmt: skip
    return njit(**LEAF)(adaptive)


@functools.cache
def log_prob_of(T):
    log_softmax = softmax_of(T, LOG_SOFTMAX, False)

    def log_prob(code, x, head, tails, cutoffs, bias):
        n_classes, rows, wide, first = check_layer(x, head, tails, cutoffs), matrix(x, T), matrix(head, T), cutoffs[0]
        top, out = log_softmax(code, rows @ wide.T + bias_of(bias, len(wide), T), 1, None), np.empty((len(rows), n_classes), T)
        out[:, :first] = top[:, :first]
        for c in range(len(cutoffs)):
            part = log_softmax(code, rows @ matrix(tails[c][0], T).T @ matrix(tails[c][1], T).T, 1, None)
            out[:, cutoffs[c] : cutoffs[c] + part.shape[1]] = part + np.expand_dims(top[:, first + c], 1)
        return out.reshape(x.shape[:-1] + (n_classes,))

    return njit(**LEAF)(log_prob)


@njit(**LEAF)
def likeliest(log_prob):
    n = log_prob.shape[-1]
    rows = log_prob.reshape(-1, n)
    best = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        best[i] = np.argmax(rows[i])
    return shaped(best, log_prob.shape[:-1])


def adaptive(function, method, nodes):
    """The plan of adaptive_log_softmax_with_loss; tail_weights and cutoffs are tuples or lists whose items have one type."""
    if method == "vgh":
        raise check.no_hessian(function.__name__)
    for name in ("tail_weights", "cutoffs"):
        if not isinstance(getattr(nodes[name], "type", None), types.UniTuple | types.List):
            raise TypeError(f"{name} must be a tuple or a list whose items have one type")
    pair = nodes["tail_weights"].type.dtype
    if not isinstance(pair, types.UniTuple) or len(pair) != 2 or not isinstance(pair.dtype, types.Array):
        raise TypeError("tail_weights must hold pairs of arrays (down, up) of one type")
    given = {name: nodes[name] for name in ("input", "head_weight", "head_bias") if nodes[name] is not None}
    T = working(*(type_of_input(name, a) for name, a in given.items()), pair.dtype)
    layer = nodes["head_weight"], nodes["tail_weights"], nodes["cutoffs"], nodes["head_bias"]
    if method in ("log_prob", "predict"):
        log_prob = Apply(log_prob_of(T), driver("softmax", T), nodes["input"], *layer)
        return log_prob if method == "log_prob" else Apply(likeliest, log_prob)
    index_axes(nodes["target"])
    derivatives = "g" in method
    loss = layer_of(row_loss_of(T, "vg" if derivatives else "v", NONE, False), T, derivatives)
    return Apply(adaptive_of(loss, T, method), (driver("cross_entropy", T), driver("check_targets", T)), nodes["input"], nodes["target"], *layer)
