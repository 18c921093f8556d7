"""The softmax family, cross-entropy and negative log-likelihood."""

import functools

import numpy as np
from numba import cfunc, njit, typeof, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import register_jitable

from ..kernels._generated import numba_formulas
from ..kernels.jit.layout import row_layout
from ..kernels.jit.primitives import FLAGS, LEAF, cached
from ..kernels.jit.sums import accumulate
from .arrays import (
    address,
    buffer,
    call_c,
    compiled,
    deliver,
    elements,
    full,
    is_none,
    keep,
    mask_of,
    per_row,
    product,
    scratch_of,
    shape_of,
)  # fmt: skip
from .elementwise import (
    NONE,
    D,
    I,
    finish_of,
    nothing,
    number_of,
    outs_of,
    reduction_of,
    type_of_input,
    working,
)
from .nodes import Apply, Argument, Symbol
from .trace import Checks

LOSS = types.void(*[I] * 10, D, D, D, D, *[I] * 10)
DRIVERS = {
    "softmax": types.void(*[I] * 13),
    "softmax_backward": types.void(*[I] * 14),
    "cross_entropy": LOSS,
    "nll_loss": LOSS,
    "check_targets": types.void(*[I] * 7),
}
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = range(3)


@functools.cache
def driver(name, T):
    """A driver of kernels/jit/rows.py as a C function."""
    function = getattr(numba_formulas, f"{name}_c_f{8 * np.dtype(T).itemsize}")
    return Symbol(cached(lambda **options: cfunc(DRIVERS[name], **options), function, **FLAGS))


def cut(shape, axis): ...


@compiled(cut)
def _cut(shape, axis):
    """(rows, classes, inner): how rows lie in memory; axis None: all is one row."""
    if is_none(axis) or len(shape) == 0:
        return lambda shape, axis: (1, product(shape), 1)
    ndim = len(shape)

    def run(shape, axis):
        if not -ndim <= axis < ndim:
            raise ValueError("axis is out of bounds")
        axis, rows, inner = axis % ndim, 1, 1
        for i in range(ndim):
            if i != axis:
                rows *= shape[i]
            if i > axis:
                inner *= shape[i]
        return rows, shape[axis], inner

    return run


def without(shape, axis): ...


@compiled(without)
def _without(shape, axis):
    """The shape without an axis."""
    if is_none(axis) or len(shape) <= 1:
        return lambda shape, axis: ()
    ndim = len(shape)

    def drop(shape, axis):
        rest, axis = shape[1:], axis % ndim
        for i in range(ndim - 1):
            rest = tuple_setitem(rest, i, shape[i + (i >= axis)])
        return rest

    return drop


def kept(shape, axis): ...


@compiled(kept)
def _kept(shape, axis):
    """The shape with an axis, or all, of length 1."""
    ndim, every = len(shape), is_none(axis)

    def ones(shape, axis):
        for i in range(ndim):
            if every or i == axis % ndim:
                shape = tuple_setitem(shape, i, 1)
        return shape

    return ones


# Softmax


@functools.cache
def softmax_of(T, op, negative):
    size = np.dtype(T).itemsize

    def softmax(code, x, axis, out):
        shape = shape_of(x)
        values = elements(x, T)
        if negative:
            values = -values
        rows, n_classes, inner = cut(shape, axis)
        group, width, length, chunk = row_layout(n_classes, size)
        result = buffer(out, shape, T, ((address(values), values.nbytes),), "out must be of x's shape")
        if values.size:
            memory, scratch = scratch_of(length)
            call_c(code, (0, -(-rows // chunk), scratch, op, address(values), address(result), rows, chunk, 0, n_classes, inner, group, width))
            keep((memory, values))
        return deliver(out, result, shape)

    return njit(**LEAF)(softmax)


@functools.cache
def logsumexp_of(T, shape_after):
    size = np.dtype(T).itemsize

    def logsumexp(code, x, axis):
        values = elements(x, T)
        shape = shape_of(x)
        rows, n_classes, inner = cut(shape, axis)
        group, width, length, chunk = row_layout(n_classes, size)
        flat = np.full(rows, T(-np.inf), T)
        if values.size:
            memory, scratch = scratch_of(length)
            call_c(code, (0, -(-rows // chunk), scratch, LOGSUMEXP, address(values), address(flat), rows, chunk, 0, n_classes, inner, group, width))
            keep((memory, values))
        return shaped(flat, shape_after(shape, axis))

    return njit(**LEAF)(logsumexp)


def shaped(flat, shape): ...


@compiled(shaped)
def _shaped(flat, shape):
    return (lambda flat, shape: flat.reshape(shape)) if len(shape) else lambda flat, shape: flat[0]


@functools.cache
def backward_of(T, op):
    size = np.dtype(T).itemsize

    def backward(code, g, y, axis, out):
        shape = shape_of(y)
        gs, ys = elements(g, T), elements(y, T)
        if shape_of(g) != shape:
            raise ValueError("g must be of y's shape")
        rows, n_classes, inner = cut(shape, axis)
        group, width, length, chunk = row_layout(n_classes, size)
        result = buffer(out, shape, T, ((address(gs), gs.nbytes), (address(ys), ys.nbytes)), "out must be of y's shape")
        if ys.size:
            memory, scratch = scratch_of(length)
            call_c(code, (0, -(-rows // chunk), scratch, op, address(gs), address(ys), address(result), rows, chunk, 0, n_classes, inner, group, width))
            keep((memory, gs, ys))
        return deliver(out, result, shape)

    return njit(**LEAF)(backward)


def absent(nodes, *names):
    """Arguments that have no place inside Numba keep their defaults."""
    for name in names:
        if nodes.get(name) is not None and nodes[name] is not False:
            raise TypeError(f"{name} is not supported inside Numba")


def axis_of(nodes):
    axis = nodes["axis"]
    if isinstance(axis, tuple) or (isinstance(axis, Argument) and not isinstance(axis.type, types.Integer)):
        raise TypeError("axis must be None or one int inside Numba")
    return axis


def softmax(function, method, nodes):
    """The plan of softmax, log_softmax, softmin, and the gradients of the first two."""
    name = function.__name__
    absent(nodes, "where", "dtype")
    op = LOG_SOFTMAX if name == "log_softmax" else SOFTMAX
    axis = axis_of(nodes)
    if method == "backward":
        T = working(type_of_input("y", nodes["y"]))
        type_of_input("g", nodes["g"])
        return Apply(backward_of(T, op), driver("softmax_backward", T), nodes["g"], nodes["y"], axis, nodes["out"])
    T = working(type_of_input("x", nodes["x"]))
    return Apply(softmax_of(T, op, name == "softmin"), driver("softmax", T), nodes["x"], axis, nodes["out"])


def logsumexp(function, method, nodes):
    absent(nodes, "b", "return_sign", "out", "where", "dtype")
    T = working(type_of_input("a", nodes["a"]))
    if isinstance(nodes["keepdims"], Argument):
        raise TypeError("keepdims must be a constant inside Numba")
    return Apply(logsumexp_of(T, kept if nodes["keepdims"] else without), driver("softmax", T), nodes["a"], axis_of(nodes))


@functools.cache
def hardmax_of(T):
    def hardmax(x, axis, out):
        shape = shape_of(x)
        values = elements(x, T)
        rows, n_classes, inner = cut(shape, axis)
        result = buffer(out, shape, T, ((address(values), values.nbytes),), "out must be of x's shape")
        flat = np.zeros(values.size, T)
        for row in range(rows if n_classes else 0):
            start = row // inner * n_classes * inner + row % inner
            best, bad = start, False
            for at in range(start, start + n_classes * inner, inner):
                bad |= np.isnan(values[at])
                if values[at] > values[best]:
                    best = at
            flat[best] = 1
            if bad:
                for at in range(start, start + n_classes * inner, inner):
                    flat[at] = np.nan
        target = result.reshape(-1)
        target[:] = flat
        return deliver(out, result, shape)

    return njit(**LEAF)(hardmax)


def hardmax(function, method, nodes):
    absent(nodes, "where", "dtype")
    T = working(type_of_input("x", nodes["x"]))
    return Apply(hardmax_of(T), nodes["x"], axis_of(nodes), nodes["out"])


# Cross-entropy and negative log-likelihood


def indices(target): ...


@compiled(indices)
def _indices(target):
    if is_none(target):
        return lambda target: np.empty(0, np.int64)
    return lambda target: elements(target, np.int64)


@register_jitable
def class_axis(ndim, axis):
    return 0 if ndim == 1 and axis == 1 else axis


@register_jitable
def row_weights(where, sample_weight, unreduced, n_rows, T):
    """The mask of the rows, and for each its weight, 0 where it takes no part; empty for None."""
    mask = mask_of(where, unreduced, "where must broadcast to the shape of the unreduced loss")
    rows = per_row(sample_weight, unreduced, T, "sample_weight must have one weight per row")
    if mask.size and not rows.size:
        rows = np.ones(n_rows, T)
    for i in range(mask.size):
        rows[i] = rows[i] if mask[i] else 0
    return mask, rows


@register_jitable
def row_sums(rows, n_rows):
    """The sum of the weights of rows, and how many take part."""
    if rows.size == 0:
        return np.full(2, float(n_rows))
    high, low = accumulate(0.0, 0.0, rows)
    return np.array([high + low, float(np.count_nonzero(rows))])


@register_jitable
def check_classes(check, target, n_classes, ignore_index, class_weight, rows, n_rows):
    """The same sums, of the rows whose target is not ignore_index; the first that is no class is an error."""
    sums = np.zeros(3)
    call_c(check, (n_rows, n_classes, address(target), ignore_index, address(class_weight), address(rows), address(sums)))
    if sums[2] >= 0:
        raise IndexError("target holds an index that is no class: its flat position, the index, the number of classes are",
                         int(sums[2]), target[int(sums[2])], n_classes)
    return sums


@functools.cache
def row_loss_of(T, mode, reduction, dense):
    """The compiled loss of rows; dense: of probabilities."""
    size, single = np.dtype(T).itemsize, reduction == NONE and "v" in mode
    new_value = buffer if single else nothing
    new_grad, new_hess = buffer if "g" in mode else nothing, buffer if "h" in mode else nothing
    finish = finish_of(mode, single, 1)

    def loss(code, check, x, target, probabilities, weight, ignore_index, axis, smoothing, z_loss, gamma, where, sample_weight, empty, upstream, outs):
        shape = shape_of(x)
        axis = class_axis(len(shape), axis)
        n_rows, n_classes, inner = cut(shape, axis)
        unreduced = without(shape, axis)
        xs, ts, qs, ws = elements(x, T), indices(target), elements(probabilities, T), elements(weight, T)
        if dense:
            if shape_of(probabilities) != shape:
                raise ValueError("target must be of input's shape where it holds probabilities")
        elif shape_of(target) != unreduced:
            raise ValueError("target must be of input's shape without its class axis")
        if ws.size and ws.size != n_classes:
            raise ValueError("weight must have one weight per class")
        _, rows = row_weights(where, sample_weight, unreduced, n_rows, T)
        up = full(upstream, unreduced, T, "upstream must broadcast to the shape of the unreduced loss")
        sums = row_sums(rows, n_rows) if dense else check_classes(check, ts, n_classes, ignore_index, ws, rows, n_rows)
        divide_by = sums[0] if reduction == 0 else 1.0
        taken = ((address(xs), xs.nbytes), (address(qs), qs.nbytes), (address(rows), rows.nbytes), (address(ts), ts.nbytes))
        value = new_value(outs[0], unreduced, T, taken, "out must be of the shape of the result")
        a = new_grad(outs[1], shape, T, taken, "out of the gradient must be of input's shape")
        b = new_hess(outs[2], shape, T, taken, "out of the second derivative must be of input's shape")
        high, low = 0.0, 0.0
        if divide_by == 0 or xs.size == 0:
            value[...] = 0
            a[...] = 0
            b[...] = 0
        else:
            group, width, length, chunk = row_layout(n_classes, size)
            memory, scratch = scratch_of(length)
            partials = np.zeros(2 * -(-n_rows // chunk))
            call_c(code, (
                0, partials.size // 2, scratch, address(xs), address(qs), address(ts), address(ws), address(rows), address(up),
                ignore_index, smoothing, z_loss, gamma, 1.0 / divide_by, address(value), address(a), address(b),
                n_rows, chunk, address(partials), n_classes, inner, group, width,
            ))  # fmt: skip
            high, low = accumulate(0.0, 0.0, partials)
            keep((memory, xs, ts, qs, ws, rows, up, sums))
        total = high + low if np.isfinite(high) else high
        number = T(total / divide_by if divide_by != 0 else empty)
        return finish((high, low, sums[0], 0.0, int(sums[1])), number, (value, a, b), outs, (x,), shape, unreduced)

    return njit(**LEAF)(loss)


def index_axes(target):
    """The number of axes of class indices."""
    typ = target.type if isinstance(target, Argument) else typeof(target)
    kind = getattr(typ, "dtype", typ)
    if not isinstance(kind, types.Integer) or kind == types.uint64:
        raise TypeError(f"target has type {typ}; class indices must be integers up to int64, and probabilities must have input's shape")
    return getattr(typ, "ndim", 0)


def row_call(named, kernel, dense, T, ndim, mode, reduction, nodes):
    """The compiled loss of logits of so many axes, what it takes before them, and what between them and `outs`; dense: whether
    targets may be probabilities.
    """
    y = named.target
    dense = dense and Checks().form("target", y) == (ndim, "f")
    if not dense and index_axes(y) != ndim - 1:
        raise ValueError(f"target has {index_axes(y)} axes; it must have input's without that of the classes, {ndim - 1}")
    if dense and named.ignore_index != -100:
        raise ValueError("ignore_index means nothing for probabilities: use where=")
    return row_loss_of(T, mode, reduction, dense), (driver(kernel, T), driver("check_targets", T)), (
        *((None, y) if dense else (y, None)), named.weight, named.ignore_index, named.axis, number_of(named.smoothing), number_of(named.z_loss),
        number_of(named.gamma), nodes.get("where"), nodes.get("sample_weight"), number_of(nodes.get("empty", np.nan)), nodes.get("upstream"),
    )  # fmt: skip


def row_loss(function, mode, nodes, named):
    """The plan of cross_entropy, its focal form, or nll_loss."""
    reduction, x = reduction_of(nodes, mode), type_of_input("input", named.input)
    T, ndim, outs = working(x), getattr(x, "ndim", 0), outs_of(nodes.get("out"), mode, 1)
    if ndim == 0:
        raise TypeError("input has no axis; it must have one of classes")
    loss, before, after = row_call(named, function._kernel, function._dense, T, ndim, mode, reduction, nodes)
    return Apply(loss, *before, named.input, *after, (outs[0], *outs[1], *outs[2]))
