"""Losses of arrays larger than memory, a chunk of rows at a time."""

import math

import numpy as np

from . import _check as check
from ._layout import MODES, bind, block_results, layout
from ._loss import NAN, Partial, _Methods
from .classification import nll_loss
from .regression import mse_loss

__all__ = ["chunked"]

CHUNK_BYTES = 1 << 24       # of the input, where nobody says how many rows


def chunked(function, *args, rows=None, out=None, **kwargs):
    """Call a loss, or a method of one, a chunk of rows at a time: `function(*args, out=out, **kwargs)` in flat memory.

    For arrays that lie in files: of everything that has as many rows as the input, a chunk is read, used and let go. Values are
    those of all rows, through `Partial`; where a mean's divisor depends on labels or weights, these are read once before.

    Parameters
    ----------
    function : loss or method
        Such as ``fl.cross_entropy``, ``fl.cross_entropy.value_and_grad`` or ``fl.mse_loss.partial``.
    *args, **kwargs
        Its arguments. Arrays need ``shape``, ``ndim``, ``dtype`` and slices that are arrays: ndarray, memmap, h5py, zarr.
    rows : int, optional
        Rows in a chunk, at least 1; by default as many as have 16 MB of the input.
    out : optional
        As the function takes it, but anything that slices can be assigned to; gradients of rows that it does not name are
        allocated whole. It may be the input itself.

    Returns
    -------
    What the function returns.

    Raises
    ------
    ValueError
        For fewer rows than 1.
    TypeError
        For a function that is no loss, nor a method of one.
    NotImplementedError
        For ``adaptive_log_softmax_with_loss``, and sequences with concatenated targets.
    IndexError, ValueError, TypeError
        As the function, when it comes to the chunk; what `out` names is then partly written.

    References
    ----------
    Chan, Golub, LeVeque, Algorithms for Computing the Sample Variance (1983), for sums that merge.

    Examples
    --------
    >>> import numpy as np
    >>> import fastloss as fl
    >>> logits, labels, gradient = np.zeros((1000, 4), np.float32), np.arange(1000) % 4, np.empty((1000, 4), np.float32)
    >>> value, _ = fl.chunked(fl.cross_entropy.value_and_grad, logits, labels, rows=300, out=(None, gradient))
    >>> value.round(4), gradient[0] * 1000
    (np.float32(1.3863), array([-0.75,  0.25,  0.25,  0.25], dtype=float32))
    """
    loss = function if isinstance(function, _Methods) else getattr(function, "__self__", None)
    method = "__call__" if loss is function else getattr(function, "__name__", None)
    if not isinstance(loss, _Methods) or method not in MODES:
        raise TypeError(f"function is {function!r}; it must be a loss or a method of one")
    mode, arguments = MODES[method], bind(loss, method, args, kwargs)
    lay = layout(loss, arguments)
    reduction = arguments.pop("reduction", loss.__signature__.parameters["reduction"].default)
    empty = arguments.pop("empty", NAN)
    reduced = reduction != "none" or mode == "p"
    chunks = Chunks(lay, arguments, rows)
    sample = getattr(loss, method)(**chunks.part(slice(0, 0)), **({} if mode == "p" else {"reduction": reduction}))
    kinds = sample if mode in ("vg", "vgh") else (sample,)
    outs = check.outs("out", out, len(kinds)) if len(kinds) > 1 else (out,)
    divisor = _divisor(loss, lay, chunks, reduction) if reduction == "batchmean" or (reduction == "mean" and mode not in ("v", "p")) else 1.0

    total, sinks = Partial(0, 0, 0), []
    if not reduced and mode != "g":
        sinks.append(Sink(chunks, (*lay.rows, *(None,) * len(lay.inner)), chunks.unreduced(), outs[0], kinds[0].dtype))
    for kind, given in list(zip(kinds, outs))[mode != "g" :]:
        several = isinstance(kind, tuple)
        given = check.outs("out", given, len(kind)) if several else (given,)
        for name, own, one in zip(lay.inputs, given, kind if several else (kind,)):
            axes = lay.along.get(name, ())
            sinks.append(None if one is None else Sink(chunks, axes, np.shape(arguments[name]), own, one.dtype))
    for part in chunks:
        values = block_results(divisor, chunks.part(part), function=loss, mode=mode, reduced=reduced, mean=reduction == "mean", lay=lay)
        if reduced and mode != "g":
            total += values.pop(0)
        for sink, value in zip(sinks, values, strict=True):
            if sink is not None:
                sink.take(part, value)
    if mode == "p":
        return total
    results = [None if sink is None else sink.result() for sink in sinks]
    if reduced and mode != "g":
        value = kinds[0].dtype.type(total.result(reduction, empty=empty) if reduction != "batchmean" else total.loss_sum / divisor if divisor else empty)
        if outs[0] is not None:
            outs[0][()] = value
            value = outs[0]
        results.insert(0, value)
    nested = [tuple(results.pop(0) for _ in kind) if isinstance(kind, tuple) else results.pop(0) for kind in kinds]
    return tuple(nested) if len(nested) > 1 else nested[0]


class Chunks:
    """The arguments of a call along the first axis of rows, a slice of it at a time."""

    def __init__(self, lay, arguments, rows):
        self.lay, self.arguments = lay, arguments
        self.axis = lay.rows[0] if lay.rows else None
        self.length = lay.shape[self.axis] if lay.rows else 1
        x = arguments[lay.first]
        if rows is None:
            rows = max(1, CHUNK_BYTES * self.length // max(1, math.prod(lay.shape) * x.dtype.itemsize))
        self.step = check.integer("rows", rows)
        if self.step < 1:
            raise ValueError(f"rows is {rows}; it must be at least 1")

    def __iter__(self):
        return (slice(begin, min(begin + self.step, self.length)) for begin in range(0, self.length, self.step))

    def index(self, axes, shape, part):
        """What takes the part of an array along those axes; None where it has no such axis, or one that repeats."""
        at = axes.index(self.axis) if self.axis in axes and self.axis is not None else None
        if at is None or shape[at] == 1 != self.length:
            return None
        return (slice(None),) * at + (part,)

    def piece(self, name, part):
        value = self.arguments[name]
        if name not in self.lay.along:
            return value
        index = self.index(self.lay.along[name], value.shape, part)
        return np.asarray(value if index is None else value[index])

    def part(self, part):
        return {name: self.piece(name, part) for name in self.arguments}

    def unreduced(self, part=None):
        """The shape of the unreduced loss, or of its part."""
        rows = [self.lay.shape[axis] for axis in self.lay.rows]
        if part is not None and rows:
            rows[0] = part.stop - part.start
        return (*rows, *self.lay.inner)


class Sink:
    """Where one result goes: slices of an array, or a sum over all chunks."""

    def __init__(self, chunks, axes, shape, out, dtype):
        self.chunks, self.axes, self.shape, self.out, self.dtype = chunks, axes, shape, out, dtype
        if out is not None and tuple(out.shape) != tuple(shape):
            raise ValueError(f"out has shape {tuple(out.shape)}; it must be {tuple(shape)}")
        self.cut = chunks.index(axes, shape, slice(0, 0)) is not None
        self.array = np.zeros(shape) if not self.cut else np.empty(shape, dtype) if out is None else out

    def take(self, part, value):
        index = self.chunks.index(self.axes, self.shape, part)
        if index is None:
            self.array += np.reshape(value, self.shape)
        else:
            self.array[index] = np.reshape(value, (*self.shape[: len(index) - 1], part.stop - part.start, *self.shape[len(index) :]))

    def result(self):
        if self.cut:
            return self.array
        if self.out is None:
            return self.array.astype(self.dtype)[()]
        self.out[...] = self.array
        return self.out


def _divisor(function, lay, chunks, reduction):
    """What the mean of everything divides by, from weights and labels alone."""
    arguments = chunks.arguments
    weight = {"weight"} if getattr(function, "_mean_over_weight", False) and "weight" in arguments else set()
    names = ({"where", "sample_weight"} & arguments.keys()) | weight
    if not names and not lay.by_class and reduction == "mean":
        return float(math.prod(chunks.unreduced()))
    zero, total = check.working_dtype(arguments[lay.first])[1].type(0), Partial(0, 0, 0)
    for part in chunks:
        given, shape = {name: chunks.piece(name, part) for name in names}, chunks.unreduced(part)
        if reduction == "batchmean":
            used = np.broadcast_to(given.pop("where", True), shape).any(tuple(range(1, len(shape))))
            total += mse_loss.partial(np.broadcast_to(zero, used.shape), 0.0, where=used, **given)
        elif lay.by_class:
            layer = arguments.get("linear_weight")
            axis, n_classes = (lay.whole[0], lay.shape[lay.whole[0]]) if layer is None else (len(lay.rows), layer.shape[0])
            own = {name: chunks.piece(name, part) for name in ("target", "weight", "ignore_index") if name in arguments}
            total += nll_loss.partial(np.broadcast_to(zero, (*shape[:axis], n_classes, *shape[axis:])), axis=axis, **own, **given)
        else:
            total += mse_loss.partial(np.broadcast_to(zero, shape), 0.0, **given)
    return total.weight_sum
