"""CTC."""

import functools

import numpy as np
from numba import cfunc, njit, types
from numba.extending import register_jitable

from .. import _check as check
from ..kernels._generated import numba_formulas
from ..kernels.jit.layout import ctc_scratch
from ..kernels.jit.primitives import FLAGS, LEAF, cached
from ..kernels.jit.sums import accumulate
from .arrays import address, buffer, call_c, elements, full, keep, product, scratch_of, shape_of
from .elementwise import NONE, PARTIAL, I, finish_of, nothing, number_of, outs_of, reduction_of, type_of_input, working
from .lines import WORDS, whole
from .nodes import Apply, Symbol
from .partials import new_partial
from .rows import index_axes, row_sums, row_weights

DRIVER = types.void(I, I, I, WORDS, *[I] * 8, I, I, WORDS, I, I)


@functools.cache
def driver(T):
    function = getattr(numba_formulas, f"ctc_f{8 * np.dtype(T).itemsize}").py_func
    return Symbol(cached(lambda **options: cfunc(DRIVER, **options), function, **FLAGS))


@register_jitable
def lengths_of(a, n, most, message):
    lengths = elements(a, np.int64)
    if lengths.size != n:
        raise ValueError(message)
    for i in range(n):
        if not 0 <= lengths[i] <= most:
            raise ValueError(message, i, lengths[i], most)
    return lengths


@register_jitable
def check_labels(labels, offsets, lengths, weight, n_classes, blank):
    for s in range(lengths.size):
        for i in range(lengths[s] if weight[s] != 0 else 0):
            label = labels[offsets[s] + i]
            if label == blank:
                raise ValueError("targets holds the blank: the sequence and the place of that label are", s, i)
            if not 0 <= label < n_classes:
                raise IndexError("targets holds a label that is no class: the sequence, its place and the label are", s, i, label)


@register_jitable
def partial_of_both(sums, number, buffers, outs, arrays, shape, unreduced):
    return new_partial((sums[0], sums[1]), (sums[2], sums[3]), sums[4], (sums[5], sums[6]))


@functools.cache
def ctc_of(T, mode, reduction, padded):
    """The compiled loss; padded: targets hold a row for each sequence."""
    single, with_grad, mean = reduction == NONE and "v" in mode, "g" in mode, reduction in (0, PARTIAL)
    new_grad = buffer if with_grad else nothing
    finish = partial_of_both if mode == "p" else finish_of(mode, single, 1)
    value_shape = whole if single else register_jitable(lambda shape: (0,))

    def ctc(code, x, targets, input_lengths, target_lengths, blank, zero_infinity, logits, where, sample_weight, empty, upstream, outs):
        shape = shape_of(x)
        unreduced, n_classes = shape[1:-1], shape[-1]
        xs, labels = elements(x, T), elements(targets, np.int64)
        n = product(unreduced)
        if not 0 <= blank < n_classes:
            raise ValueError("blank must be one of the classes")
        frames = lengths_of(input_lengths, n, shape[0], "input_lengths must hold a number of frames for each sequence, none above log_probs' own:")
        most = labels.size // max(n, 1) if padded else labels.size
        n_labels = lengths_of(target_lengths, n, most, "target_lengths must hold a number of labels for each sequence, none above those of targets:")
        offsets = np.arange(n) * most if padded else np.cumsum(n_labels) - n_labels
        if n_labels.sum() != labels.size if not padded else labels.size != n * most:
            raise ValueError("targets must hold a row for each sequence, or as many labels as target_lengths add up to")
        _, rows = row_weights(where, sample_weight, unreduced, n, np.float64)
        sums, weight = row_sums(rows, n), rows if rows.size else np.ones(n)
        check_labels(labels, offsets, n_labels, weight, n_classes, blank)
        up = full(upstream, unreduced, np.float64, "upstream must broadcast to the shape of the unreduced loss")
        divide_by = sums[0] if reduction == 0 else 1.0
        by_length = weight / np.maximum(n_labels, 1) if mean else weight
        scale = weight * up if up.size else by_length / divide_by if divide_by != 0 else by_length
        used, losses = np.nonzero(weight)[0], np.zeros(n)
        taken = ((address(xs), xs.nbytes), (address(labels), labels.nbytes))
        gradient = new_grad(outs[1], shape, T, taken, "out of the gradient must be of log_probs' shape")
        if divide_by == 0 or used.size < n:
            gradient[...] = 0
        if divide_by != 0 and used.size:
            words = np.array([address(xs), n * n_classes, n_classes, address(gradient), n * n_classes, n_classes])
            memory, scratch = scratch_of(ctc_scratch(frames[used], n_labels[used], with_grad))
            call_c(code, (0, used.size, scratch, address(words), address(labels), address(offsets), address(frames), address(n_labels),
                          address(used), blank, logits, zero_infinity, address(scale), address(losses), address(words) + 24, shape[0], n_classes))
            keep((memory, words, xs, labels, offsets, frames, n_labels, used, scale))
        high, low = accumulate(0.0, 0.0, weight * losses)
        mean_high, mean_low = accumulate(0.0, 0.0, by_length * losses)
        total = mean_high + mean_low if np.isfinite(mean_high) else mean_high
        number = T(total / divide_by if divide_by != 0 else empty)
        value = np.empty(value_shape(unreduced), T)
        value.reshape(-1)[:] = (weight * losses)[: value.size]
        return finish((high, low, sums[0], 0.0, int(sums[1]), mean_high, mean_low), number, (value, gradient), outs, (x,), shape, unreduced)

    return njit(**LEAF)(ctc)


def ctc(function, mode, nodes, named):
    """The plan of ctc_loss."""
    if mode == "vgh":
        raise check.no_hessian(function.__name__)
    reduction, typ = reduction_of(nodes, mode), type_of_input("log_probs", named.log_probs)
    if getattr(typ, "ndim", 0) not in (2, 3):
        raise ValueError(f"log_probs has type {typ}; it must be (T, N, C) or (T, C)")
    for name in ("input_lengths", "target_lengths"):
        index_axes(getattr(named, name))
    T, axes, outs = working(typ), index_axes(named.targets), outs_of(nodes.get("out"), mode, 1)
    if axes not in (1, typ.ndim - 1):
        raise ValueError(f"targets has {axes} axes; it must be (N, S) or (sum of target_lengths,)")
    return Apply(
        ctc_of(T, mode, reduction, axes == typ.ndim - 1), driver(T), named.log_probs, named.targets, named.input_lengths, named.target_lengths,
        named.blank, int(named.zero_infinity), int(named.from_logits), nodes.get("where"), nodes.get("sample_weight"),
        number_of(nodes.get("empty", np.nan)), nodes.get("upstream"), (outs[0], *outs[1], *outs[2]),
    )  # fmt: skip
