"""Optimizer steps: the rule that gives the formula its scalars is compiled as it stands."""

import functools
import inspect

import numpy as np
from numba import cfunc, njit, types
from numba.extending import register_jitable

from ..kernels import jit
from ..kernels._generated import numba_formulas
from ..kernels.jit.layout import SCRATCH_BYTES
from ..kernels.jit.primitives import FLAGS, LEAF, cached
from ..optim._adam import _mu
from .arrays import address, call_c, floats, keep, scratch_of
from .elementwise import I
from .nodes import Apply, Argument, Symbol
from .trace import Checks, compilable, terms

NOT_NEGATIVE = ("lr", "eps", "weight_decay", "lr_decay", "momentum_decay")
mu = register_jitable(_mu)


@register_jitable
def mu_product(step, beta1, momentum_decay):
    product = 1.0
    for t in range(1, step + 1):
        product *= mu(t, beta1, momentum_decay)
        if product == 0:
            break
    return product


@functools.cache
def driver(T):
    function = getattr(numba_formulas, f"step_f{8 * np.dtype(T).itemsize}").py_func
    return Symbol(cached(lambda **options: cfunc(types.void(*[I] * 8), **options), function, **FLAGS))


@functools.cache
def step_of(rule):
    """The compiled step of a rule, on its arrays and the rule's arguments."""
    scalars = compilable(rule, _mu=mu, _mu_product=mu_product)

    def step(code, kernel, arrays, message, settings):
        if settings[0] < 1:
            raise ValueError("step must be 1 for the first step, 2 for the second, ...")
        param = arrays[0]
        for array in arrays:
            if array.shape != param.shape:
                raise ValueError(message)
        words, piece = np.empty(len(arrays), np.int64), np.array([0, 0, param.size])
        for k, array in enumerate(arrays):
            words[k] = array.ctypes.data
        for i in range(len(arrays)):
            for j in range(i):
                if i != 1 and j != 1 and param.size and abs(words[i] - words[j]) < param.nbytes:
                    raise ValueError("param and its states must be apart in memory")
        numbers = np.array(floats(scalars(*settings)[1]))
        if param.size:
            memory, scratch = scratch_of(SCRATCH_BYTES)
            call_c(code, (0, 1, scratch, kernel, address(words), len(arrays), address(piece), address(numbers)))
            keep((memory, words, piece, numbers, arrays))

    return njit(**LEAF)(step)


def step(function, method, nodes):
    """The plan of an optimizer step."""
    found = {}

    rules = [value for value in function.__globals__.values()
             if inspect.isfunction(value) and next(iter(inspect.signature(value).parameters), "") == "step"]

    def called(rule):
        """A rule that calls others is followed; the last is the one."""
        def record(*args, **kwargs):
            bound = inspect.signature(rule).bind(*args, **kwargs)
            bound.apply_defaults()
            if any(other.__name__ in rule.__code__.co_names for other in rules):
                return terms(rule, bound.arguments, **replaced)
            found["rule"], found["settings"] = rule, list(bound.arguments.values())

        return record

    def step_one(rule, param, grad, states, step, maximize, **settings):
        if isinstance(maximize, Argument):
            raise TypeError("maximize must be a constant inside Numba")
        found["arrays"] = {"param": param, "grad": grad, **states}
        for name in NOT_NEGATIVE:
            if name in settings:
                settings[name] = Checks().number(name, settings[name], "a number >= 0", lambda v: v >= 0)
        rule(step, -1.0 if maximize else 1.0, **settings)

    replaced = {"step_one": step_one, **{rule.__name__: called(rule) for rule in rules}}
    if function.__name__ == "adamw_step":
        own = function.__globals__["adam_step"]
        replaced["adam_step"] = lambda *args, **kwargs: terms(own, inspect.signature(own).bind(*args, **kwargs).arguments, **replaced)
    terms(function, nodes, **replaced)
    rule, settings = found["rule"], found["settings"]
    formula = rule(*(2 if k == 0 else sample(s) for k, s in enumerate(settings)))[0]
    settings = [float(s) if isinstance(s, int) and not isinstance(s, bool) and k else s for k, s in enumerate(settings)]
    T = array_type(found["arrays"])
    kernel = Symbol(jit._element_kernel(formula, "update", np.dtype(T).itemsize))
    names = ", ".join(list(found["arrays"])[1:])
    return Apply(step_of(rule), driver(T), kernel, tuple(found["arrays"].values()), f"{names} must be of param's shape", tuple(settings))


def sample(setting):
    """A number in a setting's place: the formula does not depend on it."""
    if isinstance(setting, Argument) and isinstance(setting.type, types.BaseTuple):
        return (0.5,) * len(setting.type)
    return 0.5 if isinstance(setting, Argument | Apply) else setting


def array_type(arrays):
    """The scalar class of the parameter; all arrays must be like it."""
    first = None
    for name, array in arrays.items():
        typ = getattr(array, "type", None)
        if not isinstance(typ, types.Array) or typ.dtype not in (types.float32, types.float64):
            raise TypeError(f"{name} must be a float32 or float64 array")
        if typ.layout != "C" or not typ.aligned:
            raise TypeError(f"{name} has layout {typ.layout}; inside Numba it must be C-contiguous")
        if name != "grad" and not typ.mutable:
            raise TypeError(f"{name} is read-only; it must be writeable, to be updated in place")
        first = first or typ
        if typ != first:
            raise TypeError(f"{name} has type {typ}; it must be like param, {first}")
    return np.dtype(str(first.dtype)).type
