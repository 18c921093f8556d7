"""The object behind losses of whole rows other than cross-entropy: margins of classes, distances, cosines."""

import functools
import inspect
import math
from typing import NamedTuple

import numpy as np

from . import _check as check
from . import _config as config
from ._blocks import line_slabs
from ._dispatch import owner
from ._loss import ElementwiseLoss, Options, Partial, Results, _engine, _GeneralCalls, _Methods, check_domain, row_factors, row_sums

LineCalls = _engine.LineCalls if _engine else _GeneralCalls
NO_INDEX = -(2**63)         # the ignore_index of losses that have none


class Lines(NamedTuple):
    """A loss over rows, ready to run."""

    op: str                 # the kernel
    inputs: dict            # what it is differentiated by, by public names: arrays of one shape
    target: object = None
    params: tuple = ()
    weight: object = None   # per class
    kind: str = ""          # of target: "class" indices, "sign", lists of "labels"; none
    axis: int = -1
    ignore_index: int = NO_INDEX
    mean_over_weight: bool = False
    some_class: bool = False  # rows of no classes are refused
    most_axes: int = 64     # that the inputs may have
    given: object = None    # (name, array) beside the inputs, of their shape
    domain: object = None   # what values all these must have


def run_lines(mode, terms, options):
    """The loss of the rows along an axis; a 0-d input is one row of one number."""
    check.reduction(options.reduction)
    arrays = {name: check.array(name, a) for name, a in terms.inputs.items()}
    dtype, result_dtype = check.working_dtype(*arrays.values())
    if terms.given is not None:
        arrays[terms.given[0]] = check.array(*terms.given, boolean=True)
    x, axis, n_classes, target, shape = fit_lines(terms, arrays)
    n_rows = math.prod(shape)
    weight = check.class_weight(terms.weight, n_classes, dtype)
    mask, rows, upstream = row_factors(options, shape, dtype)
    kernels = config.kernels()
    if terms.kind == "class":
        target, sums = check.class_indices(target).astype(np.int64, copy=False), np.zeros(2)
        _check_classes(kernels, terms, target, n_classes, weight if terms.mean_over_weight else None, rows, sums)
        target = target.reshape(-1)
    else:
        sums = row_sums(rows, n_rows)
    if terms.kind == "sign":
        check_domain("target", target, mask, check.SIGN, dtype)
        target = check.contiguous(target.reshape(-1), np.int64)
    elif terms.kind == "labels":
        _check_labels(target, n_classes, rows)
    if terms.domain is not None:
        used = None if mask is None else np.broadcast_to(np.expand_dims(mask, axis) if x.ndim else mask, x.shape)
        for name, a in arrays.items():
            check_domain(name, a, used, terms.domain, dtype)

    given = [*terms.inputs.values(), *(terms.given or ()), terms.target, terms.weight, options.sample_weight, options.upstream]
    results = Results(mode, options, [x.shape for _ in terms.inputs], result_dtype, given, shape, in_place=())
    divide_by = sums[0] if options.reduction == "mean" and mode != "p" else 1.0
    acc = np.zeros(2)
    if divide_by == 0 or x.size == 0:
        results.zero()
    else:
        _run_slabs(kernels, terms, mode, axis, dtype, list(arrays.values()), target, weight, (rows, upstream), 1.0 / divide_by, results.buffers, acc)
    if mode == "p":
        return Partial(tuple(acc), sums[0], int(sums[1]))
    return results.finish(acc, divide_by)


def fit_lines(terms, arrays):
    """The first of arrays that fit each other, the axis and length of its rows, the target, and the shape of the unreduced loss."""
    first, *others = arrays
    x = arrays[first]
    for name in others:
        if arrays[name].shape != x.shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}; it must be {first}'s shape {x.shape}")
    if x.ndim > terms.most_axes:
        raise ValueError(f"{first} has shape {x.shape}; it must have at most {terms.most_axes} axes")
    axis = check.axis(0 if x.ndim <= 1 and terms.axis == 1 else terms.axis, max(x.ndim, 1))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    n_classes = x.shape[axis] if x.ndim else 1
    if terms.some_class and n_classes == 0:
        raise ValueError(f"{first} has shape {x.shape}; it must have at least one class")
    return x, axis, n_classes, *_fit_target(terms, x, shape)


def _run_slabs(kernels, terms, mode, axis, dtype, inputs, target, weight, per_row, scale, buffers, acc):
    value, *derivatives = buffers
    n, n_gradients, of_rows = len(inputs), len(terms.inputs), terms.kind in ("class", "sign")
    losses = None if value is None else np.empty(value.size, dtype)
    lists = [] if target is None or of_rows else [target]
    for ins, outs, part in line_slabs([*inputs, *lists], [dtype] * n + [np.dtype(np.int64)] * len(lists), derivatives, axis, dtype):
        numbers = target[part] if of_rows else ins[n] if lists else None
        row_weight, upstream, own = (None if a is None else a[part] for a in (*per_row, losses))
        grads, hesses = (None if outs[k] is None else tuple(outs[k : k + n_gradients]) for k in (0, n_gradients))
        kernels.row_loss(terms.op, terms.params, tuple(ins[:n]), numbers, terms.ignore_index, weight, row_weight, upstream,
                         scale, own, grads, hesses, acc)
    if value is not None:
        value[...] = losses.reshape(value.shape)


def _fit_target(terms, x, shape):
    """The target as an array of the shape its kind asks for, and the shape of the unreduced loss."""
    if not terms.kind:
        return None, shape
    target = check.array("target", terms.target, boolean=True)
    if terms.kind != "sign" and target.dtype.kind not in "iu":
        check.class_indices(target)
    wanted = x.shape if terms.kind == "labels" else shape
    if terms.kind == "class" and x.ndim <= 1 and target.shape == (1,):
        return target, (1,)
    if target.shape != wanted:
        raise ValueError(f"target has shape {target.shape}; it must be {wanted}")
    return target, shape


def _check_classes(kernels, terms, target, n_classes, weight, rows, sums):
    """Raise for the first index that is no class; sums gains the weight of the rows used, and their number."""
    flat, ignore = target.reshape(-1), terms.ignore_index
    bad = kernels.check_targets(flat, n_classes, ignore, weight, rows, sums)
    if bad < 0 and ignore == NO_INDEX:
        used = flat.size if rows is None else np.count_nonzero(rows)
        bad = np.argmax(flat == NO_INDEX) if sums[1] != used else -1
    if bad >= 0:
        check.bad_index(target, bad, n_classes, None if ignore == NO_INDEX else ignore)


def _check_labels(target, n_classes, rows):
    """Raise for the first entry that is neither a class nor -1, in the rows that take part."""
    wide = target if target.dtype.kind == "u" else target.astype(np.int64, copy=False)
    if wide.size == 0 or (wide.min() >= -1 and wide.max() < n_classes):
        return
    bad = (wide < -1) | (wide >= n_classes)
    if rows is not None:
        bad &= (rows != 0).reshape(target.shape[:-1] + (1,))
    if bad.any():
        check.bad_index(target, int(np.argmax(bad)), n_classes, -1, "or the end of the list")


class LineLoss(_Methods, LineCalls):
    """A loss over rows, from a function that checks its own arguments and returns Lines."""

    def __init__(self, function, reduction="mean"):
        self._reduction = reduction
        self._describe(function)
        required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        terms = function(*required)
        self._inputs = tuple(terms.inputs)
        if reduction == "mean":
            self._fast_formula(terms, len(required))

    def _run(self, mode, terms, options):
        return run_lines(mode, terms, options)


class HingeLoss(ElementwiseLoss):
    """A hinge of signs, element by element; of class indices, which have one axis fewer than the scores, row by row.

    A single float is the sign of every element.
    """

    def __init__(self, function, power):
        super().__init__(function, domains={"target": check.SIGN})
        self._power = power

    def _run(self, mode, terms, options):
        x, y = check.array("input", terms.arrays["input"]), check.array("target", terms.arrays["target"], boolean=True)
        if self.of_classes(check.form("input", x), check.form("target", y)):
            return run_lines(mode, self.lines(x, y), options)
        return super()._run(mode, terms, options)

    def lines(self, input, target):
        """The loss of class indices."""
        return Lines("crammer_singer", {"input": input}, target, (self._power,), kind="class", axis=1)

    @staticmethod
    def of_classes(input, target):
        """Whether a target of that form (see check.form) holds class indices rather than signs."""
        return target[0] == input[0] - 1 and target != (0, "f")


class BrierLoss(ElementwiseLoss):
    """Of single probabilities (Terms), element by element; of those of classes (Lines), row by row."""

    def __init__(self, function):
        super().__init__(function, domains={"input": check.UNIT, "target": check.UNIT})

    def _fast_formula(self, *formula):
        """None: plain arrays may be either."""

    def _run(self, mode, terms, options):
        return run_lines(mode, terms, options) if isinstance(terms, Lines) else super()._run(mode, terms, options)


class RowFunction:
    """A function of the rows of two arrays, from one that checks its own arguments and returns Lines."""

    def __init__(self, function):
        functools.update_wrapper(self, function, updated=())
        self.__signature__, self._function = inspect.signature(function), function

    def __repr__(self):
        return f"<fastloss.{self.__name__}{self.__signature__}>"

    def __reduce__(self):
        return self.__name__

    def __call__(self, x1, x2, **keywords):
        other = owner((x1, x2))
        if other is not None:
            return other.call(self, "__call__", (x1, x2), keywords)
        x1, x2 = self.together(check.array("x1", x1), check.array("x2", x2))
        terms = self._function(x1, x2, **keywords)
        with np.errstate(all="ignore"):
            value = run_lines("v", terms, Options(reduction="none"))
        return np.expand_dims(value, terms.axis) if keywords.get("keepdims") and x1.ndim else value

    @staticmethod
    def together(x1, x2):
        """Both arrays, broadcast."""
        try:
            return np.broadcast_arrays(x1, x2)
        except ValueError:
            raise ValueError(f"x1 has shape {x1.shape} and x2 {x2.shape}; they must broadcast to one shape") from None

    def backward(self, g, x1, x2, **keywords):
        """The gradients of x1 and x2, of one shape, from the gradient g of the result."""
        other = owner((g, x1, x2))
        if other is not None:
            return other.call(self, "backward", (g, x1, x2), keywords)
        g = check.array("g", g)
        with np.errstate(all="ignore"):
            return run_lines("g", self._function(x1, x2, **keywords), Options(reduction="none", upstream=g))
