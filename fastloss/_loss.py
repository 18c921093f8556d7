"""The object behind every public loss: one call grammar, one path from arguments to kernels and back."""

import functools
import inspect
import math
from typing import NamedTuple

import numpy as np

from . import _check as check
from . import _config as config
from ._blocks import flat_slabs, folded, overlaps, repeating, row_slabs
from ._dispatch import owner

NAN = float("nan")
OUTPUTS = {"v": 1, "vg": 2, "vgh": 3, "g": 1}


class Partial:
    """The sums behind a loss over some of the rows; partials of disjoint rows add up to that of all of them.

    Attributes
    ----------
    loss_sum : float
        Sum of the weighted losses (carried with its rounding error, so any order and cut agrees).
    weight_sum : float
        What the mean divides by: the loss's own divisor.
    count : int
        Number of elements or rows that took part.

    Examples
    --------
    >>> import fastloss as fl
    >>> p = fl.mse_loss.partial([1.0, 2.0], [0.0, 0.0]) + fl.mse_loss.partial([3.0], [0.0])
    >>> p.loss_sum, p.weight_sum, p.count
    (14.0, 3.0, 3)
    >>> fl.Partial.from_array(p.to_array()) == p             # the array's elements add up too
    True
    """

    __slots__ = ("_loss", "_mean", "_weight", "count")

    def __init__(self, loss_sum, weight_sum, count, mean_sum=None):
        self._loss, self._weight, self.count = _pair(loss_sum), _pair(weight_sum), int(count)
        self._mean = self._loss if mean_sum is None else _pair(mean_sum)      # of CTC: losses by their target lengths

    @property
    def loss_sum(self):
        return self._loss[0] + self._loss[1]

    @property
    def weight_sum(self):
        return self._weight[0] + self._weight[1]

    def to_array(self):
        """All of it as 7 float64 numbers, which add up element by element: for MPI's Allreduce, say."""
        return np.array([*self._loss, *self._weight, *self._mean, self.count], np.float64)

    @classmethod
    def from_array(cls, sums):
        """The Partial whose `to_array`, or a sum of several, this is."""
        loss, weight, mean = (tuple(sums[i : i + 2]) for i in (0, 2, 4))
        return cls(loss, weight, sums[6], mean)

    def __add__(self, other):
        if not isinstance(other, Partial):
            return NotImplemented
        return Partial(_add_pairs(self._loss, other._loss), _add_pairs(self._weight, other._weight), self.count + other.count,
                       _add_pairs(self._mean, other._mean))

    def __radd__(self, other):
        return self if isinstance(other, int) and other == 0 else NotImplemented     # so that sum(partials) works

    def __eq__(self, other):
        return isinstance(other, Partial) and (self.loss_sum, self.weight_sum, self.count) == (other.loss_sum, other.weight_sum, other.count)

    __hash__ = None

    def __reduce__(self):
        return Partial, (self._loss, self._weight, self.count, self._mean)

    def __repr__(self):
        return f"Partial(loss_sum={self.loss_sum!r}, weight_sum={self.weight_sum!r}, count={self.count!r})"

    def result(self, reduction="mean", *, empty=NAN):
        """The loss of everything that was added: its "mean" (`empty` where nothing was) or its "sum"."""
        check.reduction(reduction, ("mean", "sum"))
        if reduction == "sum":
            return self.loss_sum
        return (self._mean[0] + self._mean[1]) / self.weight_sum if self.weight_sum != 0 else float(empty)


def _pair(value):
    return (float(value[0]), float(value[1])) if isinstance(value, tuple) else (float(value), 0.0)


def _add_pairs(a, b):
    hi = a[0] + b[0]
    if not math.isfinite(hi):
        return hi, 0.0
    back = hi - a[0]
    return hi, (a[0] - (hi - back)) + (b[0] - back) + a[1] + b[1]


class Options(NamedTuple):
    """What every loss takes."""

    reduction: str = "mean"
    where: object = None
    sample_weight: object = None
    empty: float = NAN
    upstream: object = None
    out: object = None


COMMON = {
    "v": ("reduction", "where", "sample_weight", "empty", "out"),
    "vg": ("reduction", "where", "sample_weight", "empty", "upstream", "out"),
    "vgh": ("reduction", "where", "sample_weight", "empty", "upstream", "out"),
    "g": ("reduction", "where", "sample_weight", "empty", "upstream", "out"),
    "p": ("where", "sample_weight"),
}
METHODS = {"v": "__call__", "vg": "value_and_grad", "vgh": "value_grad_hess", "g": "grad", "p": "partial"}


class _GeneralCalls:
    """Stands in for the compiled calls where there is no compiled module."""

    def __call__(self, *args, **kwargs):
        return self._call("v", args, kwargs)

    def value_and_grad(self, *args, **kwargs):
        """(value, gradient): the arguments of the loss; `out=(None, buffer)` writes the gradient to the buffer."""
        return self._call("vg", args, kwargs)

    def value_grad_hess(self, *args, **kwargs):
        """(value, gradient, diagonal second derivative): the arguments of the loss; `out=` is a tuple of three."""
        return self._call("vgh", args, kwargs)

    def grad(self, *args, **kwargs):
        """The gradient alone: the arguments of the loss; `out=` is the buffer it is written to."""
        return self._call("g", args, kwargs)

    def _fast_formula(self, *formula):
        pass


_engine = config.compiled()
ElementwiseCalls = _engine.ElementwiseCalls if _engine else _GeneralCalls
RowCalls = _engine.RowCalls if _engine else _GeneralCalls


class _Methods:
    """What every loss can do beside being called for its value."""

    _reduction = "mean"     # where none is asked for

    def _describe(self, function, common=COMMON["v"]):
        functools.update_wrapper(self, function, updated=())
        own = inspect.signature(function)
        defaults = Options._field_defaults | {"reduction": self._reduction}
        further = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name]) for name in common]
        self.__signature__ = own.replace(parameters=[*own.parameters.values(), *further])
        self._function = function

    def __repr__(self):
        return f"<fastloss.{self.__name__}{self.__signature__}>"

    def __reduce__(self):
        return self.__name__

    def partial(self, *args, **kwargs):
        """The sums behind the loss, which add over chunks of rows: see `Partial`. No `reduction=`."""
        return self._call("p", args, kwargs)

    def _call(self, mode, args, kwargs):
        other = owner(args) or owner(kwargs.values())
        if other is not None:
            return other.call(self, METHODS[mode], args, kwargs)
        given = {"reduction": self._reduction}
        given |= {name: kwargs.pop(name) for name in COMMON[mode] if name in kwargs}
        if "upstream" in given and given["reduction"] != "none" and given["upstream"] is not None:
            raise ValueError("upstream multiplies the gradients of single losses; it needs reduction='none'")
        if "empty" in given:
            given["empty"] = check.number("empty", given["empty"], "a number", lambda value: True)
        with np.errstate(all="ignore"):
            return self._run(mode, self._function(*args, **kwargs), Options(**given))


def answer(mode, value, grad, hess):
    """What a call returns."""
    return {"v": value, "vg": (value, grad), "vgh": (value, grad, hess), "g": grad}[mode]


def total(acc):
    """The compensated sum, infinite where its first part is."""
    return acc[0] + acc[1] if math.isfinite(acc[0]) else acc[0]


class Terms(NamedTuple):
    """An elementwise loss, ready to run."""

    arrays: dict            # the formula's arguments by their public names, the input first; a number stands for itself everywhere
    params: tuple = ()      # the formula's scalars
    weight: object = None   # of elements
    formula: str = ""       # its name, where that is not the loss's


class ElementwiseLoss(_Methods, ElementwiseCalls):
    """A loss whose every element depends on one element of each array.

    inputs: the arrays that it is differentiated by. fits: how arrays fit the input's shape, where neither that shape nor a
    scalar is asked for. domains: what values arrays must have. of_rows: each loss is the mean over the last axis. compiled:
    whether the compiled engine has its formula.
    """

    _short = frozenset()    # the keywords that calls of plain arrays may have; where there are none, all calls are general

    def __init__(self, function, mean_over_weight=False, inputs=("input",), fits=None, domains=None, of_rows=False, batchmean=False, compiled=True):
        self._describe(function)
        self._mean_over_weight, self._inputs, self._fits, self._domains, self._of_rows = mean_over_weight, inputs, fits or {}, domains or {}, of_rows
        self._reductions = (*check.REDUCTIONS, "batchmean") if batchmean else check.REDUCTIONS
        if not compiled:
            return
        required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        ranges = tuple((required.index(name), *domain.bounds) for name, domain in self._domains.items())
        terms = function(*required)
        self._fast_formula(terms, len(required), ranges, of_rows)
        if not (ranges or of_rows) and len(inputs) == 1 and len(terms.arrays) == len(required) == 2:
            self._short, self._plain = {"reduction"}, (terms.formula or self.__name__, terms.params)

    def _kernels(self):
        return config.kernels()

    def _formula_and(self, given):
        """The formula that plain arrays with those keywords stand for, and its parameters."""
        return self._plain

    def _call(self, mode, args, kwargs):
        """On the Numba backend, plain arrays that only a reduction goes with need none of the general preparations."""
        if self._short and mode != "p" and len(args) == 2 and kwargs.keys() <= self._short and check.plain(*args):
            plain_loss, reduction = getattr(self._kernels(), "plain_loss", None), kwargs.get("reduction", self._reduction)
            if plain_loss and type(reduction) is str and reduction in ("mean", "sum"):
                formula, params = self._formula_and({name: value for name, value in kwargs.items() if name != "reduction"})
                value, grad, hess = plain_loss(formula, mode, params, *args, float(args[0].size) if reduction == "mean" else 1.0)
                return answer(mode, value, grad, hess)
        return super()._call(mode, args, kwargs)

    def _run(self, mode, terms, options):
        check.reduction(options.reduction, self._reductions)
        given = terms.arrays
        arrays = {name: check.array(name, a, boolean=name not in self._inputs) for name, a in given.items()}
        x = arrays[self._inputs[0]]
        shape, formula = x.shape, terms.formula or self.__name__
        dtype, result_dtype = check.working_dtype(x, *(arrays[name] for name in self._inputs[1:] if not isinstance(given[name], float | int)))
        fitted = {name: a if a is x else self._fits.get(name, check.same_shape)(name, a, shape) for name, a in arrays.items()}
        weight = None if terms.weight is None else check.broadcast("weight", check.array("weight", terms.weight, boolean=True), shape)
        of_rows = self._of_rows and x.ndim > 0
        per, unreduced = (shape[-1], shape[:-1]) if of_rows else (1, shape)
        rows = None if options.sample_weight is None else np.broadcast_to(check.per_row(options.sample_weight, unreduced), unreduced)
        mask = check.mask(options.where, unreduced)
        upstream = None if options.upstream is None else check.broadcast("upstream", check.array("upstream", options.upstream), unreduced)
        used, divisor = mask, rows
        if of_rows:
            rows, mask, upstream = (None if a is None else np.broadcast_to(a[..., None], shape) for a in (rows, mask, upstream))
        product = rows if weight is None else weight if rows is None else weight * rows.astype(dtype)
        if self._mean_over_weight:
            divisor = product
        for name, domain in self._domains.items():
            check_domain(name, fitted[name], mask, domain, dtype)

        count = math.prod(unreduced) if used is None else int(np.count_nonzero(used))
        weight_sum = np.zeros(2)
        if mode == "p" or options.reduction == "mean":
            weight_sum[:] = (count, 0) if divisor is None else total_weight(divisor, used, dtype)
        elif options.reduction == "batchmean":
            weight_sum[0] = rows_used(shape, rows, mask)
        divide_by = weight_sum.sum() if options.reduction in ("mean", "batchmean") and mode != "p" else 1.0
        shapes = [arrays[name].shape for name in self._inputs]
        results = Results(mode, options, shapes, result_dtype, [*given.values(), weight, rows, mask, upstream], unreduced, computed=(shape, dtype))

        acc = np.zeros(2)
        value, *derivatives = results.buffers
        elements = np.empty(shape, dtype) if of_rows and value is not None else value
        sources = [a if a is None or a is x else repeating(a, dtype) for a in (*fitted.values(), product, upstream)]
        dtypes = [dtype] * len(sources) + [np.dtype(bool)]
        if divide_by == 0 or x.size == 0:
            results.zero()
        else:
            for ins, outs in flat_slabs([*sources, mask], dtypes, [elements, *derivatives]):
                w, up, m = ins[len(fitted) :]
                self._kernels().loss(formula, "v" if mode == "p" else mode, terms.params, tuple(ins[: len(fitted)]), w, m, up,
                                     1.0 / (divide_by * per), tuple(outs), acc)
            if elements is not value:
                value[...] = elements.mean(-1, dtype=np.float64)
        if mode == "p":
            return Partial(tuple(acc / max(per, 1)), tuple(weight_sum), count)
        return results.finish(acc, divide_by * max(per, 1))


def check_domain(name, values, mask, domain, dtype):
    """Raise for the first value that a loss is not defined at."""
    begin, own = 0, repeating(values, dtype) if mask is None else values
    for (piece, piece_mask), _ in flat_slabs([own, mask], [dtype, np.dtype(bool)], []):
        at = config.kernels().first_outside(piece, piece_mask, *domain.bounds)
        if at >= 0:
            check.outside(name, values, begin + at, domain)
        begin += piece.size


def total_weight(weight, mask, dtype):
    """The compensated sum of a broadcast array's elements where mask."""
    sums = np.zeros(2)
    for (piece, piece_mask), _ in flat_slabs([weight, mask], [dtype, np.dtype(bool)], []):
        config.kernels().total(piece, piece_mask, sums)
    return sums


def rows_used(shape, rows, mask):
    """The sum of the weights of the rows that have an element left, or their number; a 0-d array counts as one row."""
    others = tuple(range(1, len(shape)))
    weights = np.ones(shape[:1]) if rows is None else rows[(..., *(slice(1),) * len(others))].sum(others)
    used = True if mask is None else mask.any(others)
    return np.sum(weights * used, dtype=np.float64)


class Results:
    """The arrays that a call fills (`buffers`: value, gradients, second derivatives; None where not wanted), and what it returns.

    shapes: those of the inputs that the loss is differentiated by. computed: shape and dtype of the arrays to be filled, where
    an input's gradient has another shape, it is the sum over what was broadcast.
    """

    def __init__(self, mode, options, shapes, dtype, inputs, value_shape, in_place=None, computed=None):
        self.mode, self.options, self.dtype, self._n = mode, options, dtype, len(shapes)
        self.buffers, self._copies, self._value_out = [None] * (1 + 2 * self._n), [], None
        if mode == "p":
            return
        wanted = {"v": (0,), "vg": (0, 1), "vgh": (0, 1, 2), "g": (1,)}[mode]       # of value, gradients, second derivatives
        given = (options.out,) if len(wanted) == 1 else check.outs("out", options.out, len(wanted))
        for i, (kind, out) in enumerate(zip(wanted, given, strict=True)):
            label = "out" if len(wanted) == 1 else f"out[{i}]"
            if kind == 0:
                self._value_out = check.out(label, out, () if options.reduction != "none" else value_shape, dtype)
                if options.reduction == "none":
                    self.buffers[0] = self._buffer(self._value_out, value_shape, inputs, in_place and ())
                continue
            outs = (out,) if self._n == 1 else check.outs(label, out, self._n)
            for k, (own, shape) in enumerate(zip(outs, shapes, strict=True)):
                own = check.out(label if self._n == 1 else f"{label}[{k}]", own, shape, dtype)
                slot = 1 + (kind - 1) * self._n + k
                if computed is None or computed[0] == shape:
                    self.buffers[slot] = self._buffer(own, shape, inputs, in_place if kind == 1 else in_place and ())
                else:
                    self.buffers[slot] = np.empty(*computed)
                    self._copies.append((np.empty(shape, dtype) if own is None else own, self.buffers[slot]))
        outputs = [b for b in self.buffers if b is not None]
        for i, a in enumerate(outputs):
            for b in outputs[:i]:
                if np.may_share_memory(a, b) and np.shares_memory(a, b):
                    raise ValueError("the arrays in out= overlap")

    def _buffer(self, out, shape, inputs, in_place):
        return np.empty(shape, self.dtype) if out is None else self._apart(out, inputs, in_place)

    def _apart(self, buffer, inputs, in_place):
        """The buffer itself, or where it overlaps an input otherwise than exactly, a new array that is copied to it at the end.

        in_place: the inputs that may be the buffer exactly; None: all of them.
        """
        for array in inputs:
            exactly = buffer.flags.c_contiguous and (in_place is None or any(array is a for a in in_place))
            if overlaps(array, buffer, exactly):
                fresh = np.empty(buffer.shape, buffer.dtype)
                self._copies.append((buffer, fresh))
                return fresh
        return buffer

    def zero(self):
        """Nothing took part: gradients are 0, and single losses too."""
        for buffer in self.buffers:
            if buffer is not None:
                buffer[...] = 0

    def finish(self, acc, divide_by):
        final = {}
        for target, fresh in self._copies:
            np.copyto(target, folded(fresh, target.shape), casting="same_kind")
            final[id(fresh)] = target
        arrays = [None if b is None else final.get(id(b), b) for b in self.buffers]
        value, *derivatives = (b[()] if b is not None and b.ndim == 0 and self.options.out is None else b for b in arrays)
        grad, hess = derivatives if self._n == 1 else (tuple(derivatives[: self._n]), tuple(derivatives[self._n :]))
        if value is None and self.mode != "g":
            result = total(acc) / divide_by if divide_by != 0 else self.options.empty
            if self._value_out is None:
                value = self.dtype.type(result)
            else:
                value = self._value_out
                value[()] = result
        return answer(self.mode, value, grad, hess)


def elementwise(function=None, **traits):
    """A public loss from a function that checks its own arguments and returns Terms: see ElementwiseLoss for the traits.

    The formula's name is the function's, or stands in Terms. The function does nothing to the arrays but name them.
    """
    if function is None:
        return lambda function: ElementwiseLoss(function, **traits)
    return ElementwiseLoss(function)


class RowTerms(NamedTuple):
    """A loss over rows of classes, ready to run."""

    input: object
    target: object
    weight: object = None
    ignore_index: int = -100
    axis: int = 1
    smoothing: float = 0.0
    z_loss: float = 0.0
    gamma: float = 0.0      # of a focal loss


class RowArguments(NamedTuple):
    """What goes with the logits of a row loss, checked: contiguous, one entry per row where they are not None."""

    probabilities: object
    indices: object
    weight: object          # one per class
    row_weight: object
    upstream: object
    weight_sum: float
    count: int


def row_factors(options, shape, dtype):
    """The mask of the rows, and for each its weight (0: it takes no part) and its upstream gradient, contiguous; each or None."""
    mask = check.mask(options.where, shape)
    weight = None if options.sample_weight is None else np.broadcast_to(check.per_row(options.sample_weight, shape), shape)
    if mask is not None:
        weight = np.where(mask, 1 if weight is None else weight, 0)
    if weight is not None:
        weight = check.contiguous(weight, dtype).reshape(-1)
    upstream = None
    if options.upstream is not None:
        upstream = check.contiguous(check.broadcast("upstream", check.array("upstream", options.upstream), shape), dtype).reshape(-1)
    return mask, weight, upstream


def row_sums(weight, n_rows):
    """The sum of the weights of rows, and how many take part."""
    if weight is None:
        return np.array([n_rows, n_rows], float)
    sums = np.zeros(2)
    config.kernels().total(weight, None, sums)
    return np.array([sums.sum(), np.count_nonzero(weight)])


def row_arguments(terms, options, shape, axis, dtype, dense=True):
    """The arguments that fit logits of that shape; dense: whether the target may be probabilities."""
    n_classes, shape, logits_shape = shape[axis], shape[:axis] + shape[axis + 1 :], shape
    target = check.array("target", terms.target, boolean=True)
    dense_target = dense and target.shape == logits_shape and target.dtype.kind not in "iub"
    if not dense_target and target.shape != shape:
        expected = f"{shape} for class indices" + (f", or {logits_shape} for probabilities" if dense else "")
        if target.dtype.kind not in "iu":
            check.class_indices(target)
        raise ValueError(f"target has shape {target.shape}; it must be {expected}")
    if dense_target and terms.ignore_index != -100:
        raise ValueError(f"ignore_index is {terms.ignore_index}; it means nothing for probabilities: use where=")
    weight = check.class_weight(terms.weight, n_classes, dtype)
    _, row_weight, upstream = row_factors(options, shape, dtype)
    if dense_target:
        sums = row_sums(row_weight, math.prod(shape))
        return RowArguments(target, None, weight, row_weight, upstream, sums[0], int(sums[1]))
    indices, sums = check.class_indices(target).reshape(-1), np.zeros(2)
    ignore = terms.ignore_index
    bad = config.kernels().check_targets(indices, n_classes, ignore, weight, row_weight, sums)
    if bad >= 0:
        check.bad_index(target, bad, n_classes, ignore)
    return RowArguments(None, indices, weight, row_weight, upstream, sums[0], int(sums[1]))


class RowLoss(_Methods, RowCalls):
    """A loss of rows of class scores against class indices, or probabilities where `dense`."""

    def __init__(self, function, kernel, dense):
        self._describe(function)
        self._kernel, self._dense = kernel, dense
        self._terms = function("input", "target")
        self._fast_formula(self._terms, kernel)

    def _call(self, mode, args, kwargs):
        """On the Numba backend, plain logits and class indices that only a reduction goes with need none of the general preparations."""
        reduction = kwargs.get("reduction", "mean")
        if (mode != "p" and len(args) == 2 and kwargs.keys() <= {"reduction"} and type(reduction) is str and reduction in ("mean", "sum")
                and config.kernels() is not _engine and check.plain(args[0]) and check.plain_indices(args[1], args[0])):  # fmt: skip
            result = self._short_call(mode, *args, reduction)
            if result is not None:
                return result
        return super()._call(mode, args, kwargs)

    def _short_call(self, mode, x, target, reduction):
        kernels, sums, acc = config.kernels(), np.zeros(2), np.zeros(2)
        if kernels.check_targets(target, x.shape[1], self._terms.ignore_index, None, None, sums) >= 0 or sums[0] == 0:
            return None
        divide_by = float(sums[0]) if reduction == "mean" else 1.0
        grad, hess = np.empty_like(x) if mode != "v" else None, np.empty_like(x) if mode == "vgh" else None
        blocks = [None if a is None else a[:, :, None] for a in (x, grad, hess)]
        self._launch(mode, self._terms, blocks[0], target[:, None], None, None, None, 1.0 / divide_by, None, *blocks[1:], acc)
        with np.errstate(all="ignore"):
            return answer(mode, x.dtype.type(total(acc) / divide_by), grad, hess)

    def _launch(self, mode, terms, x, target, weight, row_weight, upstream, scale, *outputs):
        """The kernel on rows (outer, C, inner); outputs are value, gradient, second derivative and the sum."""
        options = (terms.smoothing, terms.z_loss, terms.gamma) if self._kernel == "cross_entropy" else ()
        kernel = getattr(config.kernels(), self._kernel)
        kernel("v" if mode == "p" else mode, x, target, weight, row_weight, upstream, terms.ignore_index, *options, scale, *outputs)

    def _run(self, mode, terms, options):
        check.reduction(options.reduction)
        x = check.array("input", terms.input)
        axis = check.class_axis(x, terms.axis)
        dtype, result_dtype = check.working_dtype(x)
        rows = row_arguments(terms, options, x.shape, axis, dtype, self._dense)
        results = Results(mode, options, [x.shape], result_dtype, [terms.input, terms.target, terms.weight, options.sample_weight, options.upstream],
                          x.shape[:axis] + x.shape[axis + 1 :], (terms.input,))
        divide_by = rows.weight_sum if options.reduction == "mean" and mode != "p" else 1.0
        acc = np.zeros(2)
        if divide_by == 0 or not x.size:
            results.zero()
        else:
            self._rows(mode, terms, dtype, axis, x, rows, 1.0 / divide_by, results.buffers, acc)
        if mode == "p":
            return Partial(tuple(acc), rows.weight_sum, rows.count)
        return results.finish(acc, divide_by)

    def _rows(self, mode, terms, dtype, axis, x, rows, scale, buffers, acc):
        value, grad, hess = buffers
        losses = None if value is None else value.reshape(-1) if value.dtype == dtype and value.flags.c_contiguous else np.empty(value.size, dtype)
        for (block, q), (g, h), at in row_slabs([x, rows.probabilities], axis, dtype, [grad, hess]):
            shape = (block.shape[0], block.shape[2])
            part = [None if a is None else a[at].reshape(shape) for a in (rows.indices, rows.row_weight, rows.upstream, losses)]
            self._launch(mode, terms, block, q if rows.indices is None else part[0], rows.weight, part[1], part[2], scale, part[3], g, h, acc)
        if value is not None and not np.may_share_memory(losses, value):
            value[...] = losses.reshape(value.shape)


def row_loss(*, kernel, dense=False):
    """A public loss from a function that checks its own arguments and returns RowTerms; kernel names the backend's function."""
    return lambda function: RowLoss(function, kernel, dense)
