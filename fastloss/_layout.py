"""Along which axes of a loss's input its other arrays go: what anyone who cuts the input into blocks needs to know."""

import inspect
import math
from typing import NamedTuple

import numpy as np

from . import _check as check
from ._linear import LinearLoss
from ._lines import BrierLoss, HingeLoss, LineLoss
from ._loss import COMMON, METHODS, ElementwiseLoss, RowLoss
from .sequence import CtcLoss

MODES = {method: mode for mode, method in METHODS.items()}
UNKNOWN = 2                # stands for a length that is not known in checks of shapes: not 1, which broadcasts


class Layout(NamedTuple):
    """Where the arrays of one call lie.

    first: the input that is cut, of this shape. inputs: all that the loss is differentiated by. whole: the axes of `first` that
    no cut may divide. rows: those that the unreduced loss has, before axes of these `inner` lengths. along: for every array, the
    axis of `first` that each of its own goes along, or None. by_class: a mean divides by the weights of the rows' classes.
    """

    first: str
    inputs: tuple
    shape: tuple
    whole: tuple
    rows: tuple
    inner: tuple
    along: dict
    by_class: bool = False


def bind(function, method, args, kwargs):
    """The arguments of a call of a loss by their names: those that are given, lists as arrays."""
    if not isinstance(function, ElementwiseLoss | RowLoss | LineLoss | LinearLoss | CtcLoss):
        raise NotImplementedError(f"{function.__name__} is not implemented for an input in blocks; it takes numpy arrays")
    common = {name: kwargs[name] for name in COMMON[MODES[method]] if name in kwargs}
    own = inspect.signature(function._function).bind(*args, **{name: a for name, a in kwargs.items() if name not in common}).arguments
    return {name: np.asarray(a) if isinstance(a, list | tuple) else a for name, a in (own | common).items() if a is not None or name == "axis"}


def layout(function, arguments):
    """The Layout of a loss's arguments, whose shapes it checks."""
    parameters = inspect.signature(function._function).parameters
    first = next(iter(parameters))
    x, target = arguments[first], arguments.get("target")
    every = tuple(range(x.ndim))
    if isinstance(function, CtcLoss):
        lay = _of_sequences(first, x, arguments)
    elif isinstance(function, LinearLoss):
        lay = _of_layer(first, x, arguments)
    elif _of_classes(function, x, target, arguments):
        axis = arguments.get("axis", parameters["axis"].default if "axis" in parameters else 1 if isinstance(function, HingeLoss) else -1)
        whole = (check.axis(0 if x.ndim == 1 and axis == 1 else axis, x.ndim),) if x.ndim else ()
        rows = tuple(i for i in every if i not in whole)
        inputs = getattr(function, "_inputs", (first,))
        lay = Layout(first, inputs, x.shape, whole, rows, (), dict.fromkeys(inputs, every) | {"weight": whole, "target": rows})
        if np.ndim(target) == x.ndim > 0:
            lay.along["target"] = every
        if np.shape(target) == (1,) and not rows and not isinstance(function, RowLoss):       # one row of class scores, one class
            lay = lay._replace(inner=(1,), along=lay.along | {"target": (None,)})
    else:
        lay = _of_elements(function, first, x, arguments)
    unreduced = (*lay.rows, *(None,) * len(lay.inner))
    lay.along["sample_weight"] = lay.rows[:1] or (None,)
    for name in ("where", "upstream"):
        n = np.ndim(arguments.get(name))
        lay.along[name] = unreduced[max(len(unreduced) - n, 0) :]
        if n:
            check.broadcast(name, *lengths(arguments[name], unreduced, x.shape, lay.inner))
    along = {name: axes for name, axes in lay.along.items() if np.ndim(arguments.get(name))}
    for name, axes in along.items():
        if not isinstance(function, ElementwiseLoss) and name not in ("where", "upstream") or name == "sample_weight":
            check.exact_shape(name, *lengths(arguments[name], axes, x.shape))
    by_class = "ignore_index" in parameters and np.ndim(target) == len(unreduced)
    return lay._replace(along=along | {first: every}, by_class=by_class)


def _of_classes(function, x, target, arguments):
    """Whether the loss is one of rows of class scores."""
    target = target if hasattr(target, "ndim") else np.asarray(target)
    if isinstance(function, HingeLoss):
        return function.of_classes(check.form("input", x), check.form("target", target))
    if isinstance(function, BrierLoss):
        return arguments.get("axis", 1) is not None and (x.ndim > 1 or (x.ndim == 1 and target.ndim == 0 and target.dtype.kind in "iu"))
    return isinstance(function, RowLoss | LineLoss)


def _of_elements(function, first, x, arguments):
    every, along = tuple(range(x.ndim)), {}
    for name, value in arguments.items():
        if np.ndim(value) and name not in COMMON["vg"]:
            fit = check.broadcast if name == "weight" else function._fits.get(name, check.same_shape)
            short = fit is check.without_last_axis and np.ndim(value) == x.ndim - 1
            along[name] = every[:-1] if short else every[max(x.ndim - np.ndim(value), 0) :]
            fit(name, *lengths(value, along[name] if short else every, x.shape))
    whole = every[-1:] if function._of_rows else ()
    return Layout(first, function._inputs, x.shape, whole, every[: x.ndim - len(whole)], (), along)


def _of_layer(first, x, arguments):
    """Rows of features, and a layer that every block needs whole."""
    rows = tuple(range(x.ndim - 1))
    layer = {name: (None,) * np.ndim(arguments.get(name)) for name in ("linear_weight", "linear_bias", "weight")}
    target = (*rows, *(None,) * (np.ndim(arguments["target"]) - len(rows)))
    inner = tuple(np.shape(arguments["linear_weight"])[1:-1])
    return Layout(first, (first, "linear_weight", "linear_bias"), x.shape, (x.ndim - 1,), rows, inner, layer | {"target": target})


def _of_sequences(first, x, arguments):
    if x.ndim == 3 and np.ndim(arguments["targets"]) != 2:
        raise NotImplementedError("targets is one-dimensional; to be cut into blocks it must be padded, of shape (N, S)")
    rows = tuple(range(x.ndim))[1:-1]
    along = {"targets": (*rows, None), "input_lengths": rows, "target_lengths": rows}
    return Layout(first, (first,), x.shape, (0, x.ndim - 1), rows, (), along)


def lengths(value, axes, shape, inner=()):
    """(a stand-in of value's shape, the shape that it meets): the lengths along those axes and the inner ones.

    Lengths that are not known fit; of the stand-in every element is one byte.
    """
    inner = list(inner)[::-1]
    own = list(value.shape)
    met = [inner.pop() if inner and a is None else None if a is None else shape[a] for a in axes]
    offset = len(own) - len(met)
    for i, n in enumerate(met):
        at = offset + i
        if at < 0:
            met[i] = UNKNOWN if math.isnan(n) else n
            continue
        if n is None:
            met[i] = n = own[at]
        if math.isnan(n) or math.isnan(own[at]):
            met[i] = UNKNOWN if math.isnan(n) else n
            own[at] = 1 if own[at] == 1 else met[i]
    return np.broadcast_to(np.int8(0), own), tuple(met)


def block_results(divisor, given, *, function, mode, reduced, mean, lay):
    """The results of one block: its value (a Partial if `reduced`, else losses with axes of classes of length 1) unless mode is "g",
    then the derivatives by every input, spread.

    divisor: what the mean of all blocks divides by; 1 for a sum.
    """
    x, derivatives = given[lay.first], []
    if not reduced:
        call = getattr(function, METHODS[mode])(**given, reduction="none")
        value, *kinds = call if mode in ("vg", "vgh") else (None, call) if mode == "g" else (call,)
    else:
        value = function.partial(**given) if mode != "g" else None
        kinds = ()
        if mode in ("g", "vg", "vgh"):
            upstream = 1 / divisor if divisor != 0 else 0.0
            if mean and isinstance(function, CtcLoss):
                upstream = upstream / np.maximum(given["target_lengths"], 1)
            method = function.value_grad_hess if mode == "vgh" else function.value_and_grad
            kinds = method(**given, reduction="none", upstream=upstream)[1:]
    for kind in kinds:
        for name, own in zip(lay.inputs, kind if isinstance(kind, tuple) else (kind,)):
            own = np.zeros_like(own) if divisor == 0 and own is not None else own
            derivatives.append(None if own is None else spread(own, lay.along.get(name, ()), x.ndim))
    if mode == "g":
        return derivatives
    if reduced:
        return [value, *derivatives]
    rows = [1 if axis in lay.whole else n for axis, n in enumerate(x.shape)]
    return [np.reshape(value, (*rows, *np.shape(value)[len(lay.rows) :])), *derivatives]


def spread(array, axes, ndim):
    """The array with an axis for each of the first array's, before those that it has alone."""
    own = dict(zip(axes, np.shape(array)))
    return np.reshape(array, [own.get(axis, 1) for axis in range(ndim)] + [n for axis, n in zip(axes, np.shape(array)) if axis is None])
