"""Losses of linear layers: logits exist a chunk of rows at a time, and every input has its gradient."""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from . import _check as check
from . import _config as config
from ._dispatch import owner
from ._loss import METHODS, Partial, RowArguments, RowTerms, _GeneralCalls, _Methods, row_arguments
from .softmax import log_softmax

CHUNK_BYTES = 1 << 25       # of logits: BLAS keeps its speed, and all of them together need never exist


class LinearTerms(NamedTuple):
    """A cross-entropy of input @ linear_weight.T + linear_bias, ready to run."""

    input: object
    linear_weight: object
    linear_bias: object
    rows: RowTerms


class LinearLoss(_Methods, _GeneralCalls):
    """Cross-entropy of a linear layer's outputs; gradients are (input, linear_weight, linear_bias)."""

    def __init__(self, function):
        self._describe(function)

    def value_grad_hess(self, *args, **kwargs):
        """Not available: raises NotImplementedError."""
        raise check.no_hessian(self.__name__)

    def _run(self, mode, terms, options):
        check.reduction(options.reduction)
        x, w = check.array("input", terms.input), check.array("linear_weight", terms.linear_weight)
        if x.ndim not in (1, 2):
            raise ValueError(f"input has shape {x.shape}; it must be (N, D) or (D,)")
        if w.ndim < 2 or w.shape[-1] != x.shape[-1] or (x.ndim == 1 and w.ndim > 2):
            raise ValueError(f"linear_weight has shape {w.shape}; it must be (C, {x.shape[-1]}), or (C, d1, ..., {x.shape[-1]}) with (N, D) input")
        bias = None
        if terms.linear_bias is not None:
            bias = check.array("linear_bias", terms.linear_bias)
            if bias.shape != w.shape[:-1]:
                raise ValueError(f"linear_bias has shape {bias.shape}; it must be {w.shape[:-1]}")
        layer = [x, w] if bias is None else [x, w, bias]
        dtype, result_dtype = check.working_dtype(*layer)
        logits_shape = x.shape[:-1] + w.shape[:-1]
        rows = row_arguments(terms.rows, options, logits_shape, x.ndim - 1, dtype)
        value_shape = x.shape[:-1] + w.shape[1:-1]
        given = [a for a in (terms.input, terms.linear_weight, terms.linear_bias, terms.rows.target, terms.rows.weight, options.sample_weight,
                             options.upstream) if isinstance(a, np.ndarray)]
        value_out, grad_out = _outs(mode, options, value_shape, result_dtype, [a.shape for a in layer])

        mean = options.reduction == "mean" and mode != "p"
        divide_by = rows.weight_sum if mean else 1.0
        losses = np.zeros(math.prod(value_shape), dtype) if options.reduction == "none" and mode in ("v", "vg") else None
        grads = [_buffer(out, a.shape, dtype, given) for out, a in zip(grad_out, layer)] if mode in ("vg", "g") else None
        acc = np.zeros(2)
        flat = [a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) for a in (x, w)] + [None if bias is None else bias.reshape(-1)]
        flat_grads = None if grads is None else [g.reshape(f.shape) for g, f in zip(grads, flat)]
        if flat_grads is not None:
            for grad in flat_grads:
                grad[...] = 0
        if divide_by != 0:
            _run_chunks(mode, terms.rows, flat, w.shape[0], rows, 1.0 / divide_by, losses, flat_grads, acc, dtype)
        if mode == "p":
            return Partial(tuple(acc), rows.weight_sum, rows.count)
        grads = None if grads is None else [_written(g, out, result_dtype) for g, out in zip(grads, grad_out)] + [None] * (bias is None)
        if mode == "g":
            return tuple(grads)
        if losses is None:
            total = (acc.sum() if math.isfinite(acc[0]) else acc[0]) / divide_by if divide_by != 0 else options.empty
            losses = np.asarray(total)
        value = _written(losses.reshape(value_shape if options.reduction == "none" else ()), value_out, result_dtype)
        value = value[()] if value.ndim == 0 and value_out is None else value
        return value if mode == "v" else (value, tuple(grads))


def _run_chunks(mode, terms, layer, n_classes, rows, scale, losses, grads, acc, dtype):
    """Value and gradients of the layer (x (N, D), weight (C K, D), bias), a chunk of rows of logits at a time."""
    x, w, bias = layer
    w, bias = check.contiguous(w, dtype), None if bias is None else check.contiguous(bias, dtype)
    if not len(x) or not len(w):
        return
    inner = len(w) // n_classes
    target = rows.indices if rows.probabilities is None else rows.probabilities
    target = target.reshape((len(x), inner) if rows.probabilities is None else (len(x), n_classes, inner))
    row_weight, upstream, losses = (None if a is None else a.reshape(len(x), inner) for a in (rows.row_weight, rows.upstream, losses))
    used = np.ones(len(x), bool) if rows.probabilities is not None else (target != terms.ignore_index).any(axis=1)
    if row_weight is not None:
        used &= (row_weight != 0).any(axis=1)
    used = np.flatnonzero(used)                              # rows that take no part are never read
    step = max(1, min(CHUNK_BYTES // (len(w) * dtype.itemsize), len(used)))
    buffer = np.empty((step, len(w)), dtype)
    spare = np.empty_like(w) if grads is not None else None
    for begin in range(0, len(used), step):
        at = used[begin : begin + step]
        if len(at) == at[-1] - at[0] + 1:
            at = slice(at[0], at[-1] + 1)
        piece = check.contiguous(x[at], dtype)
        logits = np.matmul(piece, w.T, out=buffer[: len(piece)])
        if bias is not None:
            logits += bias
        block = logits.reshape(len(piece), n_classes, inner)
        part = [None if a is None else np.ascontiguousarray(a[at]) for a in (row_weight, upstream, losses)]
        labels = np.ascontiguousarray(target[at], dtype if rows.probabilities is not None else None)
        config.kernels().cross_entropy(mode if mode != "p" else "v", block, labels, rows.weight, part[0], part[1], terms.ignore_index,
                                       terms.smoothing, terms.z_loss, terms.gamma, scale, part[2], None if grads is None else block, None, acc)
        if losses is not None:
            losses[at] = part[2]
        if grads is None:
            continue
        grads[0][at] = np.matmul(logits, w)
        grads[1] += np.matmul(logits.T, piece, out=spare)
        if bias is not None:
            grads[2] += np.matmul(np.ones(len(piece), dtype), logits)


def _outs(mode, options, value_shape, dtype, shapes):
    """(buffer of the value, buffers of the gradients) that out= names, None where it names none."""
    if mode == "p":
        return None, ()
    wanted = {"v": 1, "vg": 2, "g": 1}[mode]
    given = (options.out,) if wanted == 1 else check.outs("out", options.out, 2)
    value, grads = (None, given[0]) if mode == "g" else (given[0], given[1] if wanted == 2 else None)
    value = check.out("out" if mode == "v" else "out[0]", value, value_shape if options.reduction == "none" else (), dtype)
    names = "out" if mode == "g" else "out[1]"
    if grads is None:
        return value, (None,) * len(shapes)
    if not isinstance(grads, tuple) or len(grads) not in (len(shapes), 3):
        raise TypeError(f"{names} must be a tuple of a buffer or None for each of input, linear_weight and linear_bias")
    return value, tuple(check.out(f"{names}[{i}]", g, s, dtype) for i, (g, s) in enumerate(zip(grads, shapes)))


def _buffer(out, shape, dtype, inputs):
    """out itself where gradients can be summed in it, else a new array."""
    if out is not None and out.dtype == dtype and out.dtype.isnative and out.flags.carray and not any(np.may_share_memory(out, a) for a in inputs):
        return out
    return np.empty(shape, dtype)


def _written(array, out, dtype):
    """The array in the result's dtype, or what out= named, filled."""
    if out is None:
        return array.astype(dtype, copy=False)
    if out is not array:
        out[...] = array
    return out


class AdaptiveResult(NamedTuple):
    """The log-probability of each target, and the loss: minus their mean."""

    output: object
    loss: object


class AdaptiveLayer(NamedTuple):
    """An adaptive softmax, checked: arrays of one dtype, rows of input, and cutoffs with the number of classes at their end."""

    input: np.ndarray
    head_weight: np.ndarray
    tail_weights: list
    cutoffs: list
    head_bias: object
    shape: tuple             # of the results
    dtype: np.dtype          # of the results

    @classmethod
    def checked(cls, input, head_weight, tail_weights, cutoffs, head_bias):
        if owner((input, head_weight, tail_weights, head_bias)) is not None:
            raise check.plain_arrays("adaptive_log_softmax_with_loss")
        x, head = check.array("input", input), check.array("head_weight", head_weight)
        cutoffs = [check.integer(f"cutoffs[{i}]", c) for i, c in enumerate(check.items("cutoffs", cutoffs))]
        if not cutoffs or cutoffs[0] < 1 or any(b <= a for a, b in itertools.pairwise(cutoffs)):
            raise ValueError(f"cutoffs is {cutoffs}; it must be increasing and positive, and not empty")
        if x.ndim not in (1, 2):
            raise ValueError(f"input has shape {x.shape}; it must be (N, D) or (D,)")
        features, clusters = x.shape[-1], len(cutoffs)
        check.exact_shape("head_weight", head, (cutoffs[0] + clusters, features))
        if len(check.items("tail_weights", tail_weights)) != clusters:
            raise ValueError(f"tail_weights has {len(tail_weights)} entries; it must have {clusters}, one (down, up) for each of cutoffs")
        tails = []
        for i, pair in enumerate(tail_weights):
            down, up = check.items(f"tail_weights[{i}]", pair, 2)
            down, up = check.array(f"tail_weights[{i}][0]", down), check.array(f"tail_weights[{i}][1]", up)
            check.exact_shape(f"tail_weights[{i}][0]", down, (*down.shape[:1], features))
            size = up.shape[0] if i == clusters - 1 and up.ndim else (cutoffs + [0])[i + 1] - cutoffs[i]
            check.exact_shape(f"tail_weights[{i}][1]", up, (size, down.shape[0]))
            tails.append((down, up))
        bias = None if head_bias is None else check.exact_shape("head_bias", check.array("head_bias", head_bias), head.shape[:1])
        dtype, result_dtype = check.working_dtype(x, head, *itertools.chain(*tails), *([] if bias is None else [bias]))
        # contiguous: a matrix product of other strides may add in another order
        head, bias = check.contiguous(head, dtype), None if bias is None else check.contiguous(bias, dtype)
        tails = [tuple(check.contiguous(a, dtype) for a in pair) for pair in tails]
        return cls(check.contiguous(x, dtype).reshape(math.prod(x.shape[:-1]), features), head, tails, [*cutoffs, cutoffs[-1] + len(tails[-1][1])], bias,
                   x.shape[:-1], result_dtype)

    def targets(self, target):
        """Checked class indices, one per row."""
        target = check.exact_shape("target", check.array("target", target, boolean=True), self.shape)
        indices, n_classes = check.class_indices(target).reshape(-1), self.cutoffs[-1]
        bad = np.flatnonzero((indices < 0) | (indices >= n_classes))
        if bad.size:
            check.bad_index(target, bad[0], n_classes, None)
        return indices

    def head(self, rows=slice(None)):
        """Log-probabilities of the first classes and of the clusters."""
        logits = self.input[rows] @ self.head_weight.T
        if self.head_bias is not None:
            logits += self.head_bias
        return log_softmax(logits, axis=1, out=logits)

    def log_prob(self, rows=slice(None)):
        head, first = self.head(rows), self.cutoffs[0]
        out = np.empty((len(head), self.cutoffs[-1]), head.dtype)
        out[:, :first] = head[:, :first]
        for i, (down, up) in enumerate(self.tail_weights):
            part = log_softmax(self.input[rows] @ down.T @ up.T, axis=1)
            np.add(part, head[:, first + i, None], out=out[:, self.cutoffs[i] : self.cutoffs[i + 1]])
        return out


class AdaptiveLoss(_Methods, _GeneralCalls):
    """Adaptive log-softmax: (output, loss), and gradients of input, head_weight, tail_weights and head_bias."""

    def __init__(self, function):
        self._describe(function, common=())

    def value_grad_hess(self, *args, **kwargs):
        """Not available: raises NotImplementedError."""
        raise check.no_hessian(self.__name__)

    def _call(self, mode, args, kwargs):
        other = owner(args) or owner(kwargs.values())
        if other is not None:
            return other.call(self, METHODS[mode], args, kwargs)
        with np.errstate(all="ignore"):
            layer, target = self._function(*args, **kwargs)
            return self._run(mode, layer, layer.targets(target))

    def _run(self, mode, layer, labels):
        x, first, n = layer.input, layer.cutoffs[0], len(layer.input)
        dtype, derivatives = x.dtype, mode in ("vg", "g")
        losses, grad_x, acc = np.zeros(n, dtype), np.zeros_like(x), np.zeros(2)

        def add(rows, piece, w, bias, targets):
            """Adds the losses of some rows of one layer; its gradients."""
            part = np.zeros(len(piece), dtype)
            grads = [np.zeros_like(a) for a in (piece, w, bias) if a is not None] if derivatives else None
            arguments = RowArguments(None, np.ascontiguousarray(targets), None, None, None, n, n)
            _run_chunks("vg" if derivatives else "v", RowTerms(None, None), (piece, w, bias), len(w), arguments, 1 / max(n, 1), part, grads, acc, dtype)
            losses[rows] += part
            return grads

        cluster = np.searchsorted(layer.cutoffs[:-1], labels, side="right")
        head = add(slice(None), x, layer.head_weight, layer.head_bias, np.where(cluster == 0, labels, first + cluster - 1))
        tails = []
        for i, (down, up) in enumerate(layer.tail_weights):
            rows = np.flatnonzero(cluster == i + 1)
            piece = x[rows]
            hidden = add(rows, piece @ down.T, up, None, labels[rows] - layer.cutoffs[i])
            if derivatives:
                grad_x[rows] = hidden[0] @ down
                tails.append((hidden[0].T @ piece, hidden[1]))
        if mode == "p":
            return Partial(tuple(acc), n, n)
        loss = (acc.sum() if math.isfinite(acc[0]) else acc[0]) / n if n else math.nan
        value = AdaptiveResult((-losses).astype(layer.dtype, copy=False).reshape(layer.shape)[()], layer.dtype.type(loss))
        if mode == "v":
            return value
        grad_x += head[0]
        cast = functools.partial(np.ndarray.astype, dtype=layer.dtype, copy=False)
        grads = (cast(grad_x).reshape(*layer.shape, x.shape[1]), cast(head[1]), [tuple(map(cast, pair)) for pair in tails], cast(head[2]) if len(head) > 2 else None)
        return grads if mode == "g" else (value, grads)

    def log_prob(self, input, head_weight, tail_weights, cutoffs, *, head_bias=None):
        """Log-probabilities of all classes, shape (N, C) or (C,): the arguments of the loss without target."""
        with np.errstate(all="ignore"):
            layer = AdaptiveLayer.checked(input, head_weight, tail_weights, cutoffs, head_bias)
            return layer.log_prob().astype(layer.dtype, copy=False).reshape(*layer.shape, layer.cutoffs[-1])

    def predict(self, input, head_weight, tail_weights, cutoffs, *, head_bias=None):
        """The likeliest class of each row: the arguments of the loss without target."""
        with np.errstate(all="ignore"):
            layer = AdaptiveLayer.checked(input, head_weight, tail_weights, cutoffs, head_bias)
            best = layer.head().argmax(axis=1)
            unsure = np.flatnonzero(best >= layer.cutoffs[0])        # elsewhere no class of a cluster can be likelier
            step = max(1, CHUNK_BYTES // (layer.cutoffs[-1] * layer.input.itemsize))
            for begin in range(0, len(unsure), step):
                rows = unsure[begin : begin + step]
                best[rows] = layer.log_prob(rows).argmax(axis=1)
        return best.reshape(layer.shape)[()]
