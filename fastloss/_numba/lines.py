"""Losses of whole rows: margins of classes, cosines, distances, entropies, Brier scores."""

import functools

import numpy as np
from numba import cfunc, njit, types
from numba.extending import register_jitable

from .. import _check as check
from .._lines import NO_INDEX
from ..kernels import jit
from ..kernels._generated import numba_formulas
from ..kernels.jit.layout import LINE_SCRATCH, NO_CLASS, NORM, NORM_P, line_chunk
from ..kernels.jit.primitives import FLAGS, LEAF, cached
from ..kernels.jit.sums import accumulate
from . import elementwise
from . import rows as classes
from .arrays import address, call_c, compiled, elements, full, is_none, keep, same, scratch_of, shape_of
from .elementwise import NONE, D, I, bounds_of, check_domain, finish_of, number_of, outs_of, reduction_of, type_of_input, working
from .nodes import Apply, Argument, Symbol
from .rows import axis_of, check_classes, class_axis, cut, index_axes, indices, kept, row_sums, row_weights, without
from .trace import terms

WORDS, NUMBERS = types.CPointer(I), types.CPointer(D)       # of what the kernels index
DRIVERS = {
    "row_loss": types.void(*[I] * 6, D, I, I, WORDS, WORDS, WORDS, *[I] * 6, NUMBERS, D, *[I] * 4),
    "multilabel_margin": types.void(I, I, I, WORDS, WORDS, WORDS, *[I] * 4, D, *[I] * 4),
}


@functools.cache
def driver(name, T):
    """A driver of kernels/jit/margin.py as a C function."""
    function = getattr(numba_formulas, f"{name}_f{8 * np.dtype(T).itemsize}").py_func
    return Symbol(cached(lambda **options: cfunc(DRIVERS[name], **options), function, **FLAGS))


# Rows as the kernels take them, and results as callers do


@register_jitable
def swapped(values, first, second):
    """Elements of (outer, first, second) as those of (outer, second, first)."""
    if first == 1 or second == 1 or values.size == 0:
        return values
    cube = values.reshape(values.size // (first * second), first, second)
    return np.ascontiguousarray(cube.transpose(0, 2, 1)).reshape(-1)


def lines(a, shape, n_classes, inner, T, message): ...


@compiled(lines)
def _lines(a, shape, n_classes, inner, T, message):
    """The rows of an array of that shape, one after the other; empty for None."""
    if is_none(a):
        return lambda a, shape, n_classes, inner, T, message: np.empty(0, T)

    def rows(a, shape, n_classes, inner, T, message):
        if not same(shape_of(a), shape):
            raise ValueError(message)
        return swapped(elements(a, T), n_classes, inner)

    return rows


def whole(shape): ...


@compiled(whole)
def _whole(shape):
    """The shape of a result's memory: that of a number has one axis too."""
    return (lambda shape: shape) if len(shape) else lambda shape: (1,)


@register_jitable
def alone(value, results, shape, n_classes, inner):
    return (value,)


@register_jitable
def with_derivatives(value, results, shape, n_classes, inner):
    """The value, then gradients and second derivatives in the inputs' shape; the last stands for those that are not there."""
    last = len(results) - 1
    r = swapped(results.reshape(-1), inner, n_classes).reshape((last + 1, *whole(shape)))
    return value, r[0], r[min(1, last)], r[min(2, last)], r[min(3, last)], r[min(4, last)], r[min(5, last)]


# Targets: as int64, with the sum of the weights of the rows that take part, and their number


@register_jitable
def no_target(codes, target, shape, unreduced, mask, rows, n_rows, n_classes, ignore_index, T):
    return indices(None), row_sums(rows, n_rows)


@register_jitable
def class_target(codes, target, shape, unreduced, mask, rows, n_rows, n_classes, ignore_index, T):
    if not same(shape_of(target), unreduced):
        raise ValueError("target must have input's shape without its class axis")
    ts = indices(target)
    for i in range(ts.size if ignore_index == NO_INDEX else 0):
        if ts[i] == NO_INDEX and (rows.size == 0 or rows[i] != 0):
            raise IndexError("target holds an index that is no class: its flat position and the index are", i, ts[i])
    return ts, check_classes(codes[1], ts, n_classes, ignore_index, np.empty(0, T), rows, n_rows)


SIGNS = bounds_of("target", check.SIGN)


@register_jitable
def sign_target(codes, target, shape, unreduced, mask, rows, n_rows, n_classes, ignore_index, T):
    if not same(shape_of(target), unreduced):
        raise ValueError("target must have one sign per row")
    signs = elements(target, T)
    check_domain(codes[2], signs, mask, SIGNS)
    return signs.astype(np.int64), row_sums(rows, n_rows)


@register_jitable
def labels_target(codes, target, shape, unreduced, mask, rows, n_rows, n_classes, ignore_index, T):
    if not same(shape_of(target), shape):
        raise ValueError("target must be of input's shape")
    ts = indices(target)
    for i in range(ts.size):
        if not -1 <= ts[i] < n_classes and (rows.size == 0 or rows[i // n_classes] != 0):
            raise IndexError("target holds an index that is neither a class nor -1: its flat position and the index are", i, ts[i])
    return ts, row_sums(rows, n_rows)


TARGETS = {"": no_target, "class": class_target, "sign": sign_target, "labels": labels_target}


# The loss


@register_jitable
def run_line(code, line, n_inputs, results, inputs, target, ignore_index, weight, rows, up, values, params, scale, n_rows, n_classes, chunk):
    """The kernel's sums, one pair for each chunk."""
    op, steps, own_class, filler, n_pairs = line
    if op == NORM_P and (params[0] == 1 or params[0] == 2):
        op, steps = NORM, 1
    partials, numbers = np.zeros(2 * -(-n_rows // chunk)), np.array(params)
    memory, scratch = scratch_of(LINE_SCRATCH)
    call_c(code, (
        0, partials.size // 2, scratch, op, steps, own_class, filler, n_inputs, n_pairs, inputs, inputs + 24, inputs + 48, address(target),
        ignore_index, address(weight), address(rows), address(up), address(values), address(numbers), scale, n_rows, n_classes, chunk,
        address(partials),
    ))  # fmt: skip
    keep((memory, numbers))
    return partials


@register_jitable
def run_labels(code, line, n_inputs, results, inputs, target, ignore_index, weight, rows, up, values, params, scale, n_rows, n_classes, chunk):
    partials = np.zeros(2 * -(-n_rows // chunk))
    memory, scratch = scratch_of(16 * (n_classes + 16))
    call_c(code, (0, partials.size // 2, scratch, inputs, inputs + 24, inputs + 48, address(target), address(rows), address(up), address(values),
                  scale, n_rows, n_classes, chunk, address(partials)))  # fmt: skip
    keep((memory,))
    return partials


@functools.cache
def line_loss_of(T, mode, reduction, n_gradients, kind, some_class, unreduced_of):
    """The compiled loss: of a kernel's code, and arguments of any types."""
    single, orders = reduction == NONE and "v" in mode, ("g" in mode) + ("h" in mode)
    finish, buffers_of = finish_of(mode, single, n_gradients), with_derivatives if orders else alone
    target_of, run = TARGETS[kind], run_labels if kind == "labels" else run_line
    value_shape = whole if single else register_jitable(lambda shape: (0,))

    def loss(codes, line, n_inputs, arrays, messages, domain, target, params, weight, ignore_index, axis, where, sample_weight, empty, upstream, outs):
        shape = shape_of(arrays[0])
        axis = class_axis(len(shape), axis)
        n_rows, n_classes, inner = cut(shape, axis)
        unreduced = unreduced_of(shape, axis)
        if some_class and n_classes == 0:
            raise ValueError("input must have at least one class")
        x = lines(arrays[0], shape, n_classes, inner, T, messages[0])
        y = lines(arrays[1], shape, n_classes, inner, T, messages[1])
        z = lines(arrays[2], shape, n_classes, inner, T, messages[2])
        ws = elements(weight, T)
        if ws.size and ws.size != n_classes:
            raise ValueError("weight must have one weight per class")
        mask, rows = row_weights(where, sample_weight, unreduced, n_rows, T)
        up = full(upstream, unreduced, T, "upstream must broadcast to the shape of the unreduced loss")
        ts, sums = target_of(codes, target, shape, unreduced, mask, rows, n_rows, n_classes, ignore_index, T)
        used = np.repeat(mask, n_classes)
        check_domain(codes[2], x, used, domain)
        check_domain(codes[2], y, used, domain)
        divide_by = sums[0] if reduction == 0 else 1.0
        values = np.zeros(value_shape(unreduced), T)
        results, high, low = np.zeros((max(1, orders * n_gradients), x.size if orders else 0), T), 0.0, 0.0
        if divide_by != 0 and x.size:
            words = np.zeros((3, 3), np.int64)
            words[0, 0], words[0, 1], words[0, 2] = address(x), address(y), address(z)
            for k in range(orders * n_gradients):
                words[1 + k // n_gradients, k % n_gradients] = address(results[k])
            partials = run(codes[0], line, n_inputs, results, address(words), ts, ignore_index, ws, rows, up, values, params, 1.0 / divide_by,
                           n_rows, n_classes, line_chunk(n_rows, n_classes))
            high, low = accumulate(0.0, 0.0, partials)
            keep((x, y, z, words))
        total = high + low if np.isfinite(high) else high
        number = T(total / divide_by if divide_by != 0 else empty)
        buffers = buffers_of(values, results, shape, n_classes, inner)
        return finish((high, low, sums[0], 0.0, int(sums[1])), number, buffers, outs, arrays, shape, unreduced)

    return njit(**LEAF)(loss)


@register_jitable
def one_row(shape, axis):
    return (1,)


def line_loss(function, mode, nodes, named):
    """The plan of a loss that names Lines."""
    typs = [type_of_input(name, a) for name, a in named.inputs.items()]
    return planned(named, typs, mode, reduction_of(nodes, mode), nodes)


def planned(named, typs, mode, reduction, nodes, unreduced_of=without):
    ndim, kind = getattr(typs[0], "ndim", 0), named.kind
    if ndim > named.most_axes:
        raise ValueError(f"{next(iter(named.inputs))} has {ndim} axes; it must have at most {named.most_axes}")
    if kind in ("class", "labels") and index_axes(named.target) == 1 and kind == "class" and ndim <= 1:
        unreduced_of = one_row
    T, n_gradients = working(*typs), len(named.inputs)
    arrays = dict(named.inputs) | dict([named.given] if named.given else [])
    op, steps, own_class, filler = jit.LINE_OPS.get(named.op, (0, 0, NO_CLASS, 0.0))
    n_pairs = 1 if len(arrays) == 2 else 3 if any(named.params[3:]) else 2
    codes = driver("multilabel_margin" if kind == "labels" else "row_loss", T), classes.driver("check_targets", T), elementwise.driver("outside", T)
    pad, outs = 3 - len(arrays), outs_of(nodes.get("out"), mode, n_gradients)
    return Apply(
        line_loss_of(T, mode, reduction, n_gradients, kind, named.some_class, unreduced_of),
        codes, (op, steps, own_class if kind else NO_CLASS, float(filler), n_pairs), len(arrays), (*arrays.values(), *[None] * pad),
        (*(f"{name} does not have the shape of the first input" for name in arrays), *[""] * pad),
        named.domain and bounds_of(" and ".join(arrays), named.domain), named.target, (*map(number_of, named.params), 0.0, 0.0, 0.0, 0.0)[:4],
        named.weight, named.ignore_index, axis_of({"axis": named.axis}), nodes.get("where"), nodes.get("sample_weight"),
        number_of(nodes.get("empty", np.nan)), nodes.get("upstream"), (outs[0], *outs[1], *outs[2]),
    )  # fmt: skip


# pairwise_distance and cosine_similarity


@functools.cache
def broadcast_of(which):
    return njit(**LEAF)(lambda x1, x2: np.broadcast_to((x1, x2)[which], np.broadcast_shapes(shape_of(x1), shape_of(x2))))


def row_function(function, method, nodes):
    """The plan of a function of the rows of two arrays, which broadcast for its value."""
    named = terms(function._function, {name: nodes[name] for name in function.__signature__.parameters if name in nodes})
    typs = [type_of_input(name, a) for name, a in named.inputs.items()]
    if method == "backward":
        type_of_input("g", nodes["g"])
        return planned(named, typs, "g", NONE, {"upstream": nodes["g"]})
    keepdims = nodes.get("keepdims", False)
    if isinstance(keepdims, Argument):
        raise TypeError("keepdims must be a constant inside Numba")
    pair = tuple(named.inputs.values())
    named = named._replace(inputs={name: Apply(broadcast_of(k), *pair) for k, name in enumerate(named.inputs)})
    return planned(named, typs, "v", NONE, {}, kept if keepdims else without)
