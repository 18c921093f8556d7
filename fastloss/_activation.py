"""The object behind every public activation: a NumPy ufunc, its derivative, and both with an upstream gradient."""

import functools
import inspect

import numpy as np

from . import _check as check
from . import _config as config


class Activation:
    """An elementwise activation: call it for the value; `grad` is the derivative, `backward` multiplies it with g."""

    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.__signature__ = inspect.signature(function)
        self._function = function
        self._ufuncs = {}

    def __repr__(self):
        return f"<fastloss.{self.__name__}{self.__signature__}>"

    def __reduce__(self):
        return self.__name__

    def __getattr__(self, name):
        """`ufunc` is the NumPy ufunc underneath, `ufunc_<form>` that of another form of the formula."""
        if name != "ufunc" and not name.startswith("ufunc_"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        return config.kernels().ufunc(self.__name__ + name.removeprefix("ufunc"), "value")

    def _plain(self, which, *arrays):
        """The compiled ufunc where the arrays are ordinary ones and there are no parameters, else None."""
        for a in arrays:
            if type(a) is not np.ndarray or a.dtype.char not in "fd":
                return None
        kernels = config.kernels()
        if kernels.name != "cython":                     # a ufunc of another backend may raise floating-point flags
            return None
        if which not in self._ufuncs:
            self._ufuncs[which] = kernels.ufunc(self._function()[0], which)
        return self._ufuncs[which]

    def __call__(self, x, *args, out=None, where=True, **kwargs):
        if not args and not kwargs and where is True and (ufunc := self._plain("value", x)) is not None:
            return ufunc(x, out=out)
        return self._apply("value", (x,), args, kwargs, out, where)

    def grad(self, x, *args, out=None, where=True, **kwargs):
        """The derivative f'(x), in x's shape."""
        if not args and not kwargs and where is True and (ufunc := self._plain("grad", x)) is not None:
            return ufunc(x, out=out)
        return self._apply("grad", (x,), args, kwargs, out, where)

    def backward(self, g, x, *args, out=None, where=True, **kwargs):
        """g * f'(x) in one pass: the gradient of the input from the gradient g of the result."""
        if not args and not kwargs and where is True and (ufunc := self._plain("backward", g, x)) is not None:
            return ufunc(g, x, out=out)
        return self._apply("backward", (g, x), args, kwargs, out, where)

    def _apply(self, which, arrays, args, kwargs, out, where):
        formula, parameters = self._function(*args, **kwargs)
        ufunc = config.kernels().ufunc(formula, which)
        arrays = [self._array(name, a) for name, a in zip(("g", "x")[-len(arrays) :], arrays, strict=True)]
        half = next((a.dtype for a in arrays if a.dtype.name in check.HALF), None)
        if half is not None:
            return self._half(ufunc, half, arrays, parameters, out, where)
        with np.errstate(all="ignore"):
            if where is not True and out is None:
                shape = np.broadcast_shapes(*(a.shape for a in arrays), np.shape(where))
                out = np.zeros(shape, ufunc.resolve_dtypes((*(a.dtype for a in arrays), *[float] * len(parameters), None))[-1])
            if out is None:
                return ufunc(*arrays, *parameters, where=where)
            return ufunc(*arrays, *parameters, out=out, where=where)

    def _half(self, ufunc, dtype, arrays, parameters, out, where):
        """float16 and bfloat16 compute in float32 and return their own dtype."""
        with np.errstate(all="ignore"):
            result = ufunc(*(a.astype(np.float32) for a in arrays), *parameters, dtype=np.float32)
            if out is None:
                out = np.zeros(np.shape(result), dtype) if where is not True else np.empty(np.shape(result), dtype)
            np.copyto(out, result, where=where, casting="same_kind")
        return out[()] if out.ndim == 0 else out

    def _array(self, name, value):
        """An ndarray, or an object that takes ufuncs itself (a Dask array, say); data frames, which have an index, give arrays."""
        if hasattr(value, "__array_ufunc__") and hasattr(value, "dtype") and not hasattr(value, "index") \
                and not isinstance(value, np.ndarray | np.generic):
            return value
        return check.array(name, value)


def activation(function):
    """A public activation from a function of its parameters that returns (formula, parameter arrays)."""
    return Activation(function)
