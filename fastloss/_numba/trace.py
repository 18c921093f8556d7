"""What a public function says of its arguments, with checks that are compiled where an argument is not known yet.

The function that names a loss's terms runs once, while Numba types the call, on constants and on `Argument`s.
"""

import functools
import inspect
import types as python

from numba import njit, types

from .. import _check
from ..kernels.jit.primitives import LEAF
from .nodes import Apply, Argument


class Checks:
    """fastloss._check, for Arguments too."""

    def __getattr__(self, name):
        return getattr(_check, name)

    def number(self, name, value, wanted, test):
        if not isinstance(value, Argument | Apply):
            return _check.number(name, value, wanted, test)
        if isinstance(value, Argument) and not isinstance(value.type, types.Number | types.Boolean):
            raise TypeError(f"{name} has type {value.type}; it must be a number inside Numba")
        return Apply(_tested(test, f"{name} must be {wanted}"), value)

    def parameter(self, name, value, wanted, test):
        if isinstance(value, Argument):
            return self.number(name, value, wanted, test)
        return _check.parameter(name, value, wanted, test)

    def form(self, name, value):
        if not isinstance(value, Argument):
            return _check.form(name, value)
        dtype = getattr(value.type, "dtype", value.type)
        return getattr(value.type, "ndim", 0), "f" if isinstance(dtype, types.Float) else "i" if isinstance(dtype, types.Integer) else "b"

    def integer(self, name, value):
        if isinstance(value, Argument):
            if not isinstance(value.type, types.Integer):
                raise TypeError(f"{name} has type {value.type}; it must be an int")
            return value
        return _check.integer(name, value)


@functools.cache
def _tested(test, message):
    holds = njit(test)

    def number(value):
        if not holds(float(value)):
            raise ValueError(message, value)
        return float(value)

    return njit(**LEAF)(number)


def terms(function, nodes, **replaced):
    """What the function returns, its module's checks replaced by these."""
    own = function.__globals__ | {"check": Checks()}
    for name, value in list(own.items()):
        if name.startswith("_") and isinstance(value, python.FunctionType) and value.__module__ == function.__module__:
            own[name] = python.FunctionType(value.__code__, own, name, value.__defaults__, value.__closure__)
    own |= replaced
    traced = python.FunctionType(function.__code__, own, function.__name__, function.__defaults__, function.__closure__)
    traced.__kwdefaults__ = function.__kwdefaults__
    return traced(**nodes)


def compilable(rule, **replaced):
    """A rule of plain numbers, compiled; so are the helpers of its module that are not replaced."""
    own = {name: njit(value) if inspect.isfunction(value) and name.startswith("_") else value for name, value in rule.__globals__.items()}
    return njit(python.FunctionType(rule.__code__, own | replaced, rule.__name__, rule.__defaults__))
