"""Checks of the optimizers' arguments and their messages: the argument, what came, what was expected."""

from numbers import Real

import numpy as np

from .._check import is_masked, ndarray

# either byte order -> the native dtype
NATIVE = {np.dtype(order + code): np.dtype(code) for code in ("f4", "f8") for order in "<>"}


# Settings


def number(name, value, wanted="a number >= 0", test=lambda v: v >= 0):
    if type(value) is not float and not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}; it must be {wanted}")
    try:
        float(value)
    except OverflowError:
        raise ValueError(f"{name} is {value}; it must be {wanted}, within the range of a float") from None
    if not test(value):
        raise ValueError(f"{name} is {value}; it must be {wanted}")


def flag(name, value):
    if not isinstance(value, bool | np.bool_ | int):
        raise TypeError(f"{name} is {value!r}; it must be a bool")


def _schedule(name, value):
    if not callable(value):
        number(name, value)


def _any(name, value):
    number(name, value, "a number", lambda v: True)


def _below_1(name, value):
    number(name, value, "a number in [0, 1)", lambda v: 0 <= v < 1)


def _pair(name, value, wanted):
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name} is {value!r}; it must be {wanted}")
    return value


def _betas(name, value):
    for i, beta in enumerate(_pair(name, value, "two numbers in [0, 1)")):
        _below_1(f"{name}[{i}]", beta)


def _numbers(name, value, wanted):
    for i, item in enumerate(_pair(name, value, wanted)):
        _any(f"{name}[{i}]", item)
    return value


def _etas(name, value):
    wanted = "two numbers with 0 < etas[0] < 1 < etas[1]"
    shrink, grow = _numbers(name, value, wanted)
    if not 0 < shrink < 1 < grow:
        raise ValueError(f"{name} is {value!r}; it must be {wanted}")


def _step_sizes(name, value):
    wanted = "two numbers with step_sizes[0] <= step_sizes[1]"
    smallest, largest = _numbers(name, value, wanted)
    if not smallest <= largest:
        raise ValueError(f"{name} is {value!r}; it must be {wanted}")


def _ema(name, value):
    if value is not None:
        _below_1(name, value)


def _count(name, value):
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {value!r}; it must be an int")
    number(name, value, "an int >= 1", lambda v: v >= 1)


def _ns_steps(name, value):
    _count(name, value)
    number(name, value, "an int in [1, 100)", lambda v: v < 100)


def _triple(name, value):
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise ValueError(f"{name} is {value!r}; it must be three numbers")


def _one_of(*words):
    def check(name, value):
        if value not in words:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, words))}")

    return check


def positive(name, value):
    number(name, value, "a number > 0", lambda v: v > 0)


def positive_schedule(name, value):
    if not callable(value):
        positive(name, value)


def two_eps(name, value):
    first, second = _pair(name, value, "(None or a number >= 0, a number >= 0)")
    if first is not None:
        number(f"{name}[0]", first)
    number(f"{name}[1]", second)


# What a setting may be, wherever it occurs; those not named here are flags.
SETTINGS = {
    "lr": _schedule,
    "momentum": _schedule,
    "dampening": _any,
    "lambd": _any,
    "alpha": _any,
    "t0": _any,
    "betas": _betas,
    "etas": _etas,
    "step_sizes": _step_sizes,
    "ema": _ema,
    "rho": lambda name, value: number(name, value, "a number in [0, 1]", lambda v: 0 <= v <= 1),
    "beta2_decay": lambda name, value: number(name, value, "a number <= 0", lambda v: v <= 0),
    "d": lambda name, value: number(name, value, "a number >= 1", lambda v: v >= 1),
    "ns_coefficients": _triple,
    "ns_steps": _ns_steps,
    "adjust_lr_fn": _one_of(None, "original", "match_rms_adamw"),
    "line_search_fn": _one_of(None, "strong_wolfe"),
    "max_iter": _count,
    "max_eval": _count,
    "history_size": _count,
} | dict.fromkeys(
    (
        "eps", "weight_decay", "lr_decay", "initial_accumulator_value", "momentum_decay", "tolerance_grad",
        "tolerance_change",
    ),
    number,
)  # fmt: skip


def settings(values, special=None):
    """All settings of an optimizer, by name; `special` replaces checks."""
    checks = SETTINGS | special if special else SETTINGS
    for name, value in values.items():
        checks.get(name, flag)(name, value)
    if values.get("nesterov") and "dampening" in values:
        momentum, dampening = values["momentum"], values["dampening"]
        if dampening != 0 or not (callable(momentum) or momentum > 0):
            raise ValueError(
                f"nesterov is True with momentum {momentum} and dampening {dampening}; "
                "it must have momentum > 0 and dampening 0"
            )


def step(value):
    number("step", value, "1 for the first step, 2 for the second, ...", lambda v: v >= 1)


# Arrays


def is_half(dtype):
    return dtype.name in ("float16", "bfloat16")


def writable(array, name, halves=False):
    if not isinstance(array, np.ndarray) or is_masked(array):
        raise TypeError(f"{name} is of type {type(array).__name__}; it must be a NumPy array")
    if array.dtype not in NATIVE and not (halves and is_half(array.dtype)):
        wanted = "float16, bfloat16, float32 or float64" if halves else "float32 or float64"
        raise TypeError(f"{name} has dtype {array.dtype}; it must be {wanted}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only; it must be writeable, to be updated in place")
    if not array.flags.forc and _overlaps_itself(array):
        raise ValueError(f"{name} overlaps itself in memory; its elements must be separate")
    return np.asarray(array)


def _overlaps_itself(array):
    extent = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape)):
        if length > 1 and stride < extent:
            return True
        extent += stride * (length - 1)
    return False


def like(array, name, param):
    """A state of the parameter's shape and dtype."""
    if array.shape != param.shape or NATIVE[array.dtype] is not NATIVE[param.dtype]:
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; "
            f"they must be {param.shape} and {param.dtype}, as param's"
        )


def gradient(grad, name, shape, dtype):
    """An array of that shape, of that native dtype or 16 bits wide."""
    if is_masked(grad):
        raise TypeError(f"{name} is of type MaskedArray; it must be a plain array")
    grad = ndarray(name, grad)
    if grad.shape != shape:
        raise ValueError(f"{name} has shape {grad.shape}; it must be {shape}, as the parameter")
    if NATIVE.get(grad.dtype) is not dtype and not is_half(grad.dtype):
        raise ValueError(
            f"{name} has dtype {grad.dtype}; it must be {dtype}, as the parameter, or 16 bits wide"
        )
    return grad


def rows(pair, name, shape, dtype):
    """(rows, gradients) of an array of that shape: each row once, gradients of the same row added."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{name} is {type(pair).__name__}; it must be a pair (rows, values)")
    index = np.asarray(pair[0])
    if index.size == 0:
        index = index.astype(np.intp)
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}[0] has dtype {index.dtype}; rows must be integers")
    if index.ndim != 1 or not shape:
        raise ValueError(
            f"{name}[0] has shape {index.shape}; it must be (k,), rows of a parameter of shape {shape}"
        )
    outside = (index < 0) | (index >= shape[0])
    if outside.any():
        at = int(outside.argmax())
        raise IndexError(f"{name}[0][{at}] is {index[at]}; rows must be in [0, {shape[0]})")
    values = gradient(pair[1], f"{name}[1]", (len(index), *shape[1:]), dtype).astype(dtype, copy=False)
    unique, place = np.unique(index.astype(np.intp), return_inverse=True)
    total = np.zeros((len(unique), *shape[1:]), dtype)
    with np.errstate(all="ignore"):
        np.add.at(total, place, values)
    return unique, total


def separate(arrays, names, pairs):
    for i, j in pairs:
        if np.may_share_memory(arrays[i], arrays[j], max_work=10_000):
            raise ValueError(f"{names[j]} overlaps {names[i]} in memory; they must be separate")
