"""The object behind every elementwise activation: a NumPy ufunc, its derivative, and both with an upstream gradient."""

import functools
import inspect
import math
from typing import NamedTuple

import numpy as np

from . import _check as check
from . import _config as config
from ._blocks import overlaps
from ._dispatch import owner

PIECE = 1 << 21         # elements of one call of a ufunc: between calls, every two milliseconds or so, Python looks for Ctrl-C


class Along(NamedTuple):
    """A parameter with one value per index of an axis of x."""

    values: object
    axis: int


class _GeneralCalls:
    """Stands in for the compiled calls where there is no compiled module."""

    def __call__(self, *args, **kwargs):
        return self._call("value", args, kwargs)

    def grad(self, *args, **kwargs):
        """The derivative f'(x), in x's shape: the arguments of the activation."""
        return self._call("grad", args, kwargs)

    def backward(self, *args, **kwargs):
        """g * f'(x) in one pass, the gradient of the input from the gradient g of the result: g, then the arguments of the activation."""
        return self._call("backward", args, kwargs)

    def _fast_formula(self, terms):
        pass


_engine = config.compiled()
ActivationCalls = _engine.ActivationCalls if _engine else _GeneralCalls


class Activation(ActivationCalls):
    """An elementwise activation: call it for the value; `grad` is the derivative, `backward` multiplies it with g.

    compiled: whether the compiled engine has its formula.
    """

    def __init__(self, function, gradient_of=None, compiled=True):
        functools.update_wrapper(self, function, updated=())
        own = list(inspect.signature(function).parameters.values())
        x = inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        common = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d) for n, d in (("out", None), ("where", True))]
        self.__signature__ = inspect.Signature([x, *own, *common])
        self._function, self._names = function, [p.name for p in own]
        if compiled:
            self._fast_formula(function() if all(p.default is not p.empty for p in own) else None)
        if gradient_of is not None:
            setattr(self, f"backward_{gradient_of}", self._parameter_gradient)

    def __repr__(self):
        return f"<fastloss.{self.__name__}{self.__signature__}>"

    def __reduce__(self):
        return self.__name__

    def __getattr__(self, name):
        """`ufunc` is the NumPy ufunc underneath, `ufunc_<form>` that of another form of the formula."""
        if name == "ufunc" or name.startswith("ufunc_"):
            try:
                return self._kernels().ufunc(self.__name__ + name.removeprefix("ufunc"), "value")
            except KeyError:
                pass                            # there is no such form
        raise AttributeError(f"{self!r} has no attribute {name!r}")

    def _kernels(self):
        return config.kernels()

    def _call(self, which, args, kwargs):
        other = owner(args) or owner(kwargs.values())
        if other is not None:
            return other.call(self, "__call__" if which == "value" else which, args, kwargs)
        out, where = kwargs.pop("out", None), kwargs.pop("where", True)
        args, arrays = list(args), []
        for name in ("x",) if which in ("value", "grad") else ("g", "x"):
            if not args and name not in kwargs:
                raise TypeError(f"{self.__name__} is missing its argument {name}")
            arrays.append(_array(name, args.pop(0) if args else kwargs.pop(name)))
        formula, parameters = self._function(*args, **kwargs)
        parameters = [_parameter(*p, arrays[-1]) for p in zip(self._names, parameters, strict=False)]
        if where is None or where is True:
            where = True
        elif isinstance(arrays[-1], np.ndarray):
            where = check.boolean("where", where)
        with np.errstate(all="ignore"):
            return _apply(self._kernels(), self._kernels().ufunc(formula, which), arrays, parameters, out, where)

    def _parameter_gradient(self, g, x, *args, **kwargs):
        """The gradient of the parameter, in its shape: the sum of g times the derivative by it."""
        other = owner((g, x, *args)) or owner(kwargs.values())
        if other is not None:
            return other.call(self, f"backward_{self._names[0]}", (g, x, *args), kwargs)
        formula, (given,) = self._function(*args, **kwargs)
        arrays = [check.array("g", g), check.array("x", x)]
        dtype, result_dtype = check.working_dtype(*arrays)
        parameter = _parameter(self._names[0], given, arrays[1])
        with np.errstate(all="ignore"):
            kernels = config.kernels()
            product = _apply(kernels, kernels.ufunc(formula, "parameter"), [a.astype(dtype, copy=False) for a in arrays], [parameter], None, True)
            gradient = _sum_to(np.asarray(product), np.shape(parameter)).astype(result_dtype)
        return gradient.reshape(np.shape(given.values if isinstance(given, Along) else given))[()]


def activation(function=None, *, gradient_of=None):
    """A public activation from a function of its parameters that returns (formula, values of the formula's parameters).

    gradient_of: the name of the parameter that has a gradient of its own, `backward_<name>`.
    """
    if function is None:
        return lambda function: Activation(function, gradient_of)
    return Activation(function)


def _array(name, value):
    """An ndarray, or an object that takes ufuncs itself (a Dask array, say); data frames, which have an index, give arrays."""
    if hasattr(value, "__array_ufunc__") and hasattr(value, "dtype") and not hasattr(value, "index") \
            and not isinstance(value, np.ndarray | np.generic):
        return value
    return check.array(name, value)


def _parameter(name, value, x):
    """A parameter as a float, or as an array that broadcasts against x."""
    if type(value) is float:
        return value
    values, axis = value if isinstance(value, Along) else (value, None)
    values = check.array(name, values, boolean=True)
    if values.ndim == 0:
        return float(values)
    if axis is None:
        return values
    axis = check.axis(axis, x.ndim)
    if values.shape not in ((1,), (x.shape[axis],)):
        raise ValueError(f"{name} has shape {values.shape}; it must be ({x.shape[axis]},), one value per index of axis {axis}")
    return values.reshape((-1,) + (1,) * (x.ndim - axis - 1))


def _apply(kernels, ufunc, arrays, parameters, out, where):
    """The ufunc in the dtype of the arrays, whatever that of the parameters; half precision computes in float32."""
    if not all(isinstance(a, np.ndarray) for a in arrays):
        return ufunc(*arrays, *parameters, where=where, **({} if out is None else {"out": out}))
    dtype, result_dtype = check.working_dtype(*arrays)
    whole = np.broadcast(*arrays, *parameters, where)
    if out is None:
        if where is True and dtype == result_dtype and whole.size <= PIECE:
            return ufunc(*arrays, *parameters, dtype=dtype)
        result = (np.empty if where is True else np.zeros)(whole.shape, result_dtype)
        result = _apply(kernels, ufunc, arrays, parameters, result, where)
        return result if whole.shape else result[()]
    out, = out if type(out) is tuple and len(out) == 1 else (out,)
    check.result_array("out", out)
    if whole.size > PIECE and whole.shape == out.shape:
        operands = [a.copy() if overlaps(a, out) else a for a in (*arrays, *parameters, where)]

        def compute(piece):
            *inputs, chosen = (np.broadcast_to(a, whole.shape)[piece] if np.ndim(a) else a for a in operands)
            _apply(kernels, ufunc, inputs[: len(arrays)], inputs[len(arrays) :], out[piece], chosen)

        kernels.each(compute, _pieces(out, kernels.get_num_threads()))
    elif dtype == result_dtype:
        ufunc(*arrays, *parameters, out=out, where=where, dtype=dtype)
    else:
        np.copyto(out, ufunc(*(a.astype(dtype) for a in arrays), *parameters, dtype=dtype), where=where, casting="same_kind")
    return out


def _pieces(array, n_threads):
    """Indices that cut a large array into pieces of about one size, so many for each thread, whose elements lie together as far as they can."""
    n = -(-array.size // (PIECE * n_threads)) * n_threads
    size = -(-array.size // n)
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    inner = [math.prod(array.shape[axis] for axis in order[k + 1 :]) for k in range(array.ndim)]
    depth = next(k for k in range(array.ndim) if inner[k] <= size)
    axis, step, index = order[depth], -(-size // inner[depth]), [slice(None)] * array.ndim
    for position in np.ndindex(*(array.shape[a] for a in order[:depth])):
        for outer, i in zip(order, position, strict=False):
            index[outer] = i
        for begin in range(0, array.shape[axis], step):
            index[axis] = slice(begin, begin + step)
            yield tuple(index)


def _sum_to(values, shape):
    """The sum of values over what broadcasting repeated, in float64 and in C order of what is summed."""
    shape = (1,) * (values.ndim - len(shape)) + shape
    summed = [i for i, n in enumerate(shape) if n == 1 and values.shape[i] != 1]
    kept = [i for i in range(values.ndim) if i not in summed]
    rows = np.ascontiguousarray(values.transpose(*kept, *summed))
    return rows.reshape(math.prod(rows.shape[: len(kept)]), math.prod(rows.shape[len(kept) :])).sum(axis=1, dtype=np.float64)
