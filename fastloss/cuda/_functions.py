"""Activations and the softmax family on a device."""

import inspect
import math

import numpy as np

from .. import _check
from .._activation import Along, _parameter as host_parameter
from ..activations import _pools, _slopes, glu, leaky_relu
from ..custom import CustomActivation
from ..kernels import cuda as kernels
from ..softmax import _axes, hardmax, log_softmax, logsumexp, softmax, softmin
from ._arrays import View, rows_of, strided, view
from ._losses import fold


def bound(function, method, args, kwargs):
    """The arguments of a call, by name."""
    arguments = inspect.signature(function if method == "__call__" else getattr(function, method)).bind(*args, **kwargs)
    arguments.apply_defaults()
    return arguments.arguments


def activation(device, function, method, args, kwargs):
    out, where = kwargs.pop("out", None), kwargs.pop("where", True)
    args, kwargs, arrays = list(map(device.seen, args)), {name: device.seen(value) for name, value in kwargs.items()}, []
    parameter = method.removeprefix("backward_") if method.startswith("backward_") else ""
    for name in ("x",) if method in ("__call__", "grad") else ("g", "x"):
        if not args and name not in kwargs:
            raise TypeError(f"{function.__name__} is missing its argument {name}")
        arrays.append(device.view(name, args.pop(0) if args else kwargs.pop(name)))
    formula, given = function._function(*args, **kwargs)
    if isinstance(function, CustomActivation):
        kernels.define(formula, function.definition.text, "activation")
    parameters = [_parameter(device, name, p, arrays[-1]) for name, p in zip(function._names, given, strict=False)]
    dtype, result_dtype = _check.working_dtype(*arrays)
    mask = None if where is None or where is True else device.boolean("where", where)
    shape = np.broadcast_shapes(*(np.shape(a) for a in (*arrays, *parameters)), () if mask is None else mask.shape)
    inputs = [a for a in (*arrays, *parameters, mask) if isinstance(a, np.ndarray)]
    mode = {"__call__": "value", "grad": "backward", "backward": "backward"}.get(method, "parameter")
    if parameter:
        own = given[0].values if isinstance(given[0], Along) else given[0]
        result, seen = device.target("out", None, np.shape(own), result_dtype, dtype, ())
        seen = seen.reshape(np.shape(parameters[0]))
        full = device.scratch(shape, dtype)
    else:
        result, seen = device.target("out", out, shape, result_dtype, dtype, inputs)
        full = seen
        if mask is not None and out is None:
            kernels.copy(None, seen, device.stream)
        elif mask is not None and device._after:
            kernels.copy(view(out), seen, device.stream)
    operands = [(0, 1, 0)] * (method == "grad")
    numbers = [1.0] * (method == "grad")
    for a in (*arrays, *parameters):
        number = not isinstance(a, np.ndarray)
        operands.append((0, 1, 0) if number else device.operand(np.broadcast_to(a, shape), dtype))
        numbers.append(float(a) if number else 0.0)
    used = device.operand(None if mask is None else np.broadcast_to(mask, shape), np.dtype(bool))
    if full.size:
        kernels.loop(f"{formula}_{mode}_f{8 * dtype.itemsize}", full.size, device.stream,
                     *(v for operand in operands for v in operand), full.ctypes.data, *used, *numbers)
    if parameter:
        fold(device, full, seen) if seen.shape != shape else kernels.copy(full, seen, device.stream)
    device.finish()
    return result


def _parameter(device, name, value, x):
    """A parameter as a float, or as a view that broadcasts against x."""
    values, axis = value if isinstance(value, Along) else (value, None)
    if not isinstance(values, View):
        number = host_parameter(name, values, x)
        if not isinstance(number, float):
            raise TypeError(f"{name} is a {type(values).__name__}; it must be a number, or on the device like x")
        return number
    values = device.view(name, values, boolean=True)
    if axis is None:
        return values
    axis = _check.axis(axis, x.ndim)
    if values.shape not in ((1,), (x.shape[axis],)):
        raise ValueError(f"{name} has shape {values.shape}; it must be ({x.shape[axis]},), one value per index of axis {axis}")
    return values.reshape((-1,) + (1,) * (x.ndim - axis - 1))


# The softmax family


def softmax_family(device, function, method, args, kwargs):
    """softmax, log_softmax, logsumexp, softmin and hardmax along any axes, and the gradients of the first two."""
    given = bound(function, method, args, kwargs)
    if given.get("b") is not None or given.get("return_sign"):
        raise NotImplementedError("logsumexp takes neither b= nor return_sign= for arrays on a CUDA device")
    names = ("g", "y") if method == "backward" else ("a" if function is logsumexp else "x",)
    arrays = [device.view(name, given[name]) for name in names]
    x = arrays[-1]
    if arrays[0].shape != x.shape:
        raise ValueError(f"g has shape {arrays[0].shape}; it must be y's shape {x.shape}")
    dtype, result_dtype = _check.working_dtype(x)
    if given.get("dtype") is not None:
        result_dtype = np.dtype(given["dtype"])
        dtype = np.dtype(np.float32) if result_dtype.name in _check.HALF else result_dtype
    if function is softmin:
        negative, x = device.contiguous(x, dtype), device.scratch(x.shape, dtype)
        kernels.loop(f"negative_f{8 * dtype.itemsize}", x.size, device.stream, negative.ctypes.data, x.ctypes.data)
        arrays, function = [x], softmax
    mask = device.mask(given["where"], x.shape)
    axes = _axes(given["axis"], x.ndim)
    reduces = function is logsumexp
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape)) if given.get("keepdims") else tuple(n for k, n in enumerate(x.shape) if k not in axes)
    inputs = [a for a in (*arrays, mask) if a is not None]
    result, seen = device.target("out", given["out"], kept if reduces else x.shape, result_dtype, dtype, inputs)
    order = [k for k in range(x.ndim) if k not in axes] + sorted(axes)
    if len(axes) == 1:
        moved, axis, into = arrays, axes[0], seen
    else:
        n_rows = x.ndim - len(axes)
        flat = lambda a: device.contiguous(a.transpose(order), dtype).reshape(*(x.shape[k] for k in order[:n_rows]), -1)
        moved, axis = [flat(a) for a in arrays] if x.size else arrays, n_rows
        into = seen if reduces else device.scratch(tuple(x.shape[k] for k in order), dtype)
    fill = -math.inf if method != "backward" or function is log_softmax else 0.0
    if mask is not None and x.size:
        moved = [_masked(device, a, np.broadcast_to(mask, x.shape), order if len(axes) != 1 else None, dtype, 0.0 if name == "g" else fill)
                 for name, a in zip(names, moved, strict=True)]
    if x.size:
        rows = [rows_of(device, a, axis, dtype) for a in moved]
        steps = [v for a in rows for v in strided(a)]
        if reduces:
            outer, n_classes, inner = rows[0].shape
            steps += [into.ctypes.data, inner, 0, 1]
        else:
            steps += strided(into.reshape(rows[0].shape))
        name = function.__name__ + "_backward" * (method == "backward")
        outer, n_classes, inner = rows[0].shape
        if function is hardmax:
            kernels.rows(name, rows[0].shape, dtype, device.stream, *steps[:4], *steps, outer * inner, n_classes, inner, entries=False)
        else:
            kernels.rows(name, rows[0].shape, dtype, device.stream, *steps, outer * inner, n_classes, inner)
        if into is not seen:
            kernels.copy(into, seen.transpose(order), device.stream)
        if mask is not None and not reduces and method != "backward":
            kernels.copy(seen, seen, device.stream, np.broadcast_to(mask, x.shape), 0.0 if function is not log_softmax else -math.inf)
    elif reduces:
        kernels.copy(None, seen, device.stream, fill=-math.inf)
    device.finish()
    return result


def _masked(device, array, mask, order, dtype, fill):
    """A copy of the array, fill where mask is False."""
    if order is not None:
        mask = device.contiguous(mask.transpose(order), np.dtype(bool)).reshape(array.shape)
    fresh = device.scratch(array.shape, dtype)
    kernels.copy(array, fresh, device.stream, mask, fill)
    return fresh


# Functions of several elements


def _with_axis(device, given):
    """The device's views of g, if given, and x, with x's axis; and the dtypes of computation and result."""
    arrays = [device.view(name, given[name]) for name in ("g", "x") if name in given]
    return *arrays, _check.axis(given["axis"], arrays[-1].ndim), *_check.working_dtype(*arrays)


def halves(device, function, method, args, kwargs):
    """glu, whose input has the two halves, and crelu, whose result has them."""
    given = bound(function, method, args, kwargs)
    *g, x, axis, dtype, result_dtype = _with_axis(device, given)
    resize = (lambda n: _check.divisible("x", n, axis, 2)) if function is glu else lambda n: 2 * n
    other = x.shape[:axis] + (resize(x.shape[axis]),) + x.shape[axis + 1 :]
    result, seen = device.target("out", None, x.shape if g else other, result_dtype, dtype, ())
    sources = [device.contiguous(_check.full_shape("g", a, other), dtype) for a in g] + [device.contiguous(x, dtype)]
    shorter = other if function is glu else x.shape
    name = f"halves_{function.__name__}{'_backward' * len(g)}_f{8 * dtype.itemsize}"
    if seen.size:
        kernels.loop(name, math.prod(shorter), device.stream, math.prod(shorter[axis:]), *(a.ctypes.data for a in sources), seen.ctypes.data)
    device.finish()
    return result


def maxout_groups(device, function, method, args, kwargs):
    """maxout and its backward."""
    given = bound(function, method, args, kwargs)
    *g, x, axis, dtype, result_dtype = _with_axis(device, given)
    n, pool = _pools(x.shape[axis], given["pool_size"], axis)
    shape = x.shape[:axis] + (n,) * (given["pool_size"] is not None) + x.shape[axis + 1 :]
    result, seen = device.target("out", None, x.shape if g else shape, result_dtype, dtype, ())
    source, inner = device.contiguous(x, dtype), math.prod(x.shape[axis + 1 :])
    each, by_group = (source.ctypes.data, pool * inner, inner, 1), lambda a: (a.ctypes.data, inner, 0, 1)
    upstream = [device.contiguous(_check.full_shape("g", a, shape), dtype) for a in g]
    if x.size:
        places = [*each, *by_group(upstream[0]), seen.ctypes.data, *each[1:]] if g else [*each, *by_group(source), *by_group(seen)]
        n_rows = x.size // pool
        kernels.rows("maxout_backward" if g else "maxout", (n_rows // inner, pool, inner), dtype, device.stream, *places, n_rows, pool, inner, entries=False)
    device.finish()
    return result


def leaky(device, function, method, args, kwargs):
    """rrelu without a generator, and its backward."""
    given = bound(function, method, args, kwargs)
    if given["rng"] is not None:
        raise NotImplementedError("rrelu draws its slopes on the host; arrays on a CUDA device take rng=None alone")
    arrays = [given[name] for name in ("g", "x") if name in given]
    return activation(device, leaky_relu, method, [*arrays, _slopes(None, given["lower"], given["upper"], None)], {})
