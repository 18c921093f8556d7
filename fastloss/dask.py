"""The public functions on Dask arrays: lazy values, and gradients cut as the input is.

A block of rows gives its `Partial`, which add up to the loss; a mean's divisor is summed first, from weights and labels alone, so
that each block's gradient is that of the whole mean. Where classes are cut, the logsumexp of a block stands for it among the
others. Nothing is computed before a result is.
"""

import functools
import inspect
import math

import dask.array as da
import numpy as np

from . import _check as check
from ._activation import Activation
from ._layout import MODES, Layout, bind, block_results, layout, lengths, spread
from ._lines import RowFunction
from ._loss import METHODS, NAN, Options, Partial, _Methods, row_factors, row_sums
from .classification import cross_entropy, nll_loss
from .regression import mse_loss
from .sequence import CtcLoss, total
from .softmax import _axes, hardmax, log_softmax, logsumexp, softmax, softmin


def call(function, method, args, kwargs):
    """What `getattr(function, method)(*args, **kwargs)` is, with Dask's arrays among the arguments."""
    if kwargs.get("out") is not None:
        raise check.no_out()
    args, kwargs = [_array(a) for a in args], {name: _array(a) for name, a in kwargs.items()}
    if isinstance(function, _Methods):
        result = _loss(function, MODES[method], bind(function, method, args, kwargs))
        return result.to_delayed().item() if method == "partial" else result
    if isinstance(function, Activation):
        return _activation(function, method, args, kwargs)
    if isinstance(function, RowFunction):
        return _row_function(function, method, args, kwargs)
    if function in (softmax, log_softmax, softmin, hardmax, logsumexp):
        return _softmax_family(function, method, args, kwargs)
    return _along_axis(function, method, args, kwargs)


def _method(function, name):
    return function if name == "__call__" else getattr(function, name)


def _array(value):
    """A column of a data frame as an array; other lazy things are refused."""
    value = value.to_dask_array() if hasattr(value, "to_dask_array") else value
    if hasattr(value, "__dask_graph__") and not isinstance(value, da.Array):
        raise check.no_dask_array(value)
    return value


class Cut:
    """The arguments of a call in blocks: arrays that go along a cut axis of the first are cut as it is, others stay whole.

    gather: axes of classes come together in one chunk, and other axes are cut so that blocks are as large as they were.
    """

    def __init__(self, lay, arguments, gather=True):
        self.lay, cuts = lay, {}
        for name in (lay.first, *lay.along):
            if isinstance(arguments[name], da.Array):
                for axis, n, chunks in zip(lay.along[name], arguments[name].shape, arguments[name].chunks, strict=True):
                    if axis is not None and (n != 1 or lay.shape[axis] == 1):
                        cuts.setdefault(axis, chunks)
        self.chunks = tuple(cuts.get(axis, (n,)) for axis, n in enumerate(lay.shape))
        if gather and self.divides_classes:
            self.chunks = _gathered(self.chunks, lay.whole)
        self.arrays, self.others = {}, {}
        for name, value in arguments.items():
            array = self._cut(name, value) if name in lay.along or isinstance(value, da.Array) else value
            (self.arrays if isinstance(array, da.Array) else self.others)[name] = array

    @property
    def divides_classes(self):
        return any(len(self.chunks[axis]) > 1 for axis in self.lay.whole)

    def _cut(self, name, value):
        lay, axes = self.lay, self.lay.along.get(name, ())
        wanted = tuple((n,) if axis is None or (n == 1 != lay.shape[axis]) else self.chunks[axis] for axis, n in zip(axes, value.shape, strict=True))
        if not isinstance(value, da.Array):
            if any(map(_unknown, wanted)):
                raise ValueError(f"{name} is a numpy array; where the chunks of {lay.first} are unknown, it must be a Dask array in such chunks")
            return da.from_array(value, chunks=wanted) if name == lay.first or any(len(chunks) > 1 for chunks in wanted) else value
        for axis, (own, new) in enumerate(zip(value.chunks, wanted, strict=True)):
            if len(own) != len(new) and (_unknown(own) or _unknown(new)):
                raise ValueError(f"{name} has {len(own)} chunks along axis {axis}; where their lengths are unknown, it must have {len(new)}, as {lay.first}")
        return value.rechunk({axis: new for axis, (own, new) in enumerate(zip(value.chunks, wanted, strict=True))
                              if own != new and not _unknown(own) and not _unknown(new)})

    def index(self, name):
        """Of each axis, the axis of the first array that it goes along, or a number of its own."""
        own = 100 * (1 + list(self.arrays).index(name))
        return tuple(own + i if axis is None else axis for i, axis in enumerate(self.lay.along.get(name, ())))

    def map(self, block, dtype, *more, only=None, adjust=(), **keywords):
        """`block` of every block's arguments by name: an array cut as the first, but of length 1 along the axes in `adjust`, or
        of the lengths that it names.

        more: further arrays and their indices, which `block` takes first.
        """
        every = tuple(range(len(self.lay.shape)))
        names = [name for name in self.arrays if only is None or name in only]
        pairs = [part for name in names for part in (self.arrays[name], self.index(name))]
        others = {name: value for name, value in self.others.items() if only is None or name in only}
        return da.blockwise(
            _named, every, *pairs, *more, block=block, names=names, others=others, keywords=keywords, align_arrays=False, concatenate=True,
            adjust_chunks=adjust if isinstance(adjust, dict) else dict.fromkeys(adjust, 1), meta=np.empty((0,) * len(every), dtype),
        )  # fmt: skip


@np.errstate(all="ignore")
def _named(*blocks, block, names, others, keywords):
    n = len(names)
    return block(*blocks[n:], dict(zip(names, blocks[:n], strict=True)) | others, **keywords)


def _unknown(chunks):
    return any(math.isnan(n) for n in chunks)


def _pick(results, at):
    return results[at]


def _gathered(chunks, axes):
    """Chunks with each of the axes in one, and as large as they were where all lengths are known."""
    whole = tuple((sum(own),) if axis in axes else own for axis, own in enumerate(chunks))
    if any(map(_unknown, chunks)):
        return whole
    auto = [own if axis in axes else "auto" for axis, own in enumerate(whole)]
    return da.core.normalize_chunks(auto, tuple(map(sum, chunks)), limit=max(math.prod(map(max, chunks)), 1), dtype=np.int8, previous_chunks=whole)


def _as_before(result, x):
    """A result of x's shape, cut as x."""
    return result.rechunk({axis: own for axis, (own, now) in enumerate(zip(x.chunks, result.chunks, strict=True)) if own != now and sum(own) == sum(now)})


# Losses


def _loss(function, mode, arguments):
    """The results of a call; of mode "p" the Partial as a 0-d array."""
    lay = layout(function, arguments)
    sample = _sample(getattr(function, METHODS[mode]), lay, arguments, small=not isinstance(function, CtcLoss))
    sample = sample if mode in ("vg", "vgh") else (sample,)
    reduction, empty = arguments.pop("reduction", function.__signature__.parameters["reduction"].default), arguments.pop("empty", NAN)
    reduced, x = reduction != "none" or mode == "p", arguments[lay.first]
    cut = Cut(lay, arguments, gather=function is not cross_entropy)
    divisor = 1.0
    if reduction == "batchmean" or (reduction == "mean" and mode not in ("v", "p")):
        divisor = _divisor(function, lay, cut, arguments, reduction)
    value, derivatives = (_split_results if cut.divides_classes else _results)(function, mode, cut, reduced, reduction == "mean", divisor, sample)
    if isinstance(x, da.Array):
        own = [name in lay.along and lay.along[name] == lay.along[lay.first] for name in lay.inputs] * 2
        derivatives = [_as_before(d, x) if like else d for d, like in zip(derivatives, own)]
    if reduced and value is not None:
        value = value.sum()
        if mode == "p":
            return value
        value = da.blockwise(_reduced, (), value, (), *_scalar(divisor), reduction=reduction, empty=empty, of=sample[0].dtype, meta=np.empty((), sample[0].dtype))
    elif value is not None:
        value = value.squeeze(lay.whole)
    if mode == "v":
        return value
    n = len(derivatives) // (2 if mode == "vgh" else 1)
    parts = [derivatives[i] if n == 1 else tuple(derivatives[i : i + n]) for i in range(0, len(derivatives), n)]
    return parts[0] if mode == "g" else (value, *parts)


@np.errstate(all="ignore")
def _reduced(partial, divisor, *, reduction, empty, of):
    partial = _unboxed(partial)
    if reduction == "batchmean":
        return np.asarray(partial.loss_sum / divisor if divisor != 0 else empty, of)
    return np.asarray(partial.result(reduction, empty=empty), of)


def _unboxed(partial):
    return partial.item() if isinstance(partial, np.ndarray) else partial


def _boxed(partial, ndim):
    """A Partial as a block of objects."""
    box = np.empty((1,) * ndim, object)
    box[...] = partial
    return box


def _scalar(value):
    """A number, or a lazy one, as blockwise takes it."""
    return (value, ()) if isinstance(value, da.Array) else (value, None)


def _sample(call, lay, arguments, small=True):
    """The call's results on arrays without rows, of the same dtypes: it checks all that is no array, and tells what results are.

    small: axes of classes have at most one.
    """
    def length(axis, n):
        if axis is None or axis in lay.whole:
            return min(n, 1) if small and lay.rows else n
        return 1 if n == 1 != lay.shape[axis] else 0

    def sample(name, value):
        if name not in lay.along and not isinstance(value, da.Array):
            return value
        shape = tuple(map(length, lay.along.get(name, ()), value.shape))
        return np.full(shape, 0 if lay.whole and value.dtype.kind in "iu" else 1, value.dtype)

    return call(**{name: sample(name, value) for name, value in arguments.items()})


def _divisor(function, lay, cut, arguments, reduction):
    """What the mean of everything divides by: a number, or a lazy one of weights and labels."""
    factors = {name: arguments[name] for name in ("where", "sample_weight") if name in arguments}
    weighted = getattr(function, "_mean_over_weight", False) and "weight" in arguments
    known = math.prod(lay.shape[axis] for axis in lay.rows) * math.prod(lay.inner)
    if not (factors or weighted or lay.by_class or math.isnan(known)) and reduction == "mean":
        return float(known)
    zeros = _zeros(lay, cut, arguments)
    if reduction == "batchmean":
        used = zeros == 0 if "where" not in factors else (zeros == 0) & factors["where"]
        rows = used.any(axis=tuple(range(1, used.ndim))) if used.ndim else used
        call = mse_loss, factors | {"input": rows.astype(zeros.dtype), "target": 0.0, "where": rows}
    elif lay.by_class:
        n_classes = arguments["linear_weight"].shape[0] if "linear_weight" in arguments else lay.shape[lay.whole[0]]
        axis = len(lay.rows) if "linear_weight" in arguments else lay.whole[0]
        chunks = (*zeros.chunks[:axis], (n_classes,), *zeros.chunks[axis:])
        zeros = zeros.map_blocks(_over_classes, axis=axis, n_classes=n_classes, new_axis=axis, chunks=chunks, meta=np.empty((0,) * len(chunks), zeros.dtype))
        own = {name: arguments[name] for name in ("target", "weight", "ignore_index") if name in arguments}
        call = nll_loss, factors | own | {"input": zeros, "axis": axis}
    else:
        call = mse_loss, factors | {"input": zeros, "target": 0.0} | ({"weight": arguments["weight"]} if weighted else {})
    return da.blockwise(_weight_sum, (), _loss(call[0], "p", call[1]), (), meta=np.empty(()))


def _weight_sum(partial):
    return np.asarray(_unboxed(partial).weight_sum)


def _zeros(lay, cut, arguments):
    """Zeros in the shape of the unreduced loss, cut as it is, which take no memory."""
    dtype = check.working_dtype(arguments[lay.first])[1]
    chunks = (*(cut.chunks[axis] for axis in lay.rows), *((n,) for n in lay.inner))
    if not any(map(_unknown, chunks)):
        return da.zeros(tuple(map(sum, chunks)), chunks=chunks, dtype=dtype)
    names = [name for name in ("target", *cut.arrays) if name in cut.arrays and name != lay.first]
    full = [name for name in names if lay.along[name][: len(lay.rows)] == lay.rows and len(lay.along[name]) == len(chunks)
            and not any(n == 1 != lay.shape[axis] for axis, n in zip(lay.rows, cut.arrays[name].shape))]
    rows = cut.arrays[full[0] if full else lay.first]
    return rows.map_blocks(_zeros_like, drop=() if full else lay.whole, drop_axis=() if full else lay.whole, out_dtype=dtype,
                           meta=np.empty((0,) * len(chunks), dtype))


def _zeros_like(block, drop, out_dtype):
    return np.broadcast_to(out_dtype.type(0), [n for axis, n in enumerate(block.shape) if axis not in drop])


def _over_classes(zeros, axis, n_classes):
    return np.broadcast_to(np.expand_dims(zeros, axis), (*zeros.shape[:axis], n_classes, *zeros.shape[axis:]))


def _results(function, mode, cut, reduced, mean, divisor, sample):
    """(the Partials of the blocks or the unreduced losses, the derivatives by every input); axes of classes stay, with length 1."""
    lay = cut.lay
    every = tuple(range(len(lay.shape)))
    bundle = cut.map(_block, object, *_scalar(divisor), function=function, mode=mode, reduced=reduced, mean=mean, lay=lay)
    value, derivatives = None, []
    if mode != "g":
        value = _picked(bundle, 0, every if reduced else lay.whole, () if reduced else lay.inner, object if reduced else sample[0].dtype)
    kinds = {"v": (), "p": (), "g": sample, "vg": sample[1:], "vgh": sample[1:]}[mode]
    for i, kind in enumerate(kinds):
        for k, one in enumerate(kind if isinstance(kind, tuple) else (kind,)):
            at = (mode != "g") + i * len(lay.inputs) + k
            derivatives.append(None if one is None else _derivative(bundle, at, lay, cut, lay.inputs[k], one.dtype))
    return value, derivatives


def _picked(bundle, at, ones, further, dtype):
    """The array that stands at one place of every block's results: of length 1 along the axes `ones`, with `further` axes."""
    every = tuple(range(bundle.ndim))
    new = {bundle.ndim + i: n for i, n in enumerate(further)}
    return da.blockwise(_pick, (*every, *new), bundle, every, at=at, new_axes=new, adjust_chunks=dict.fromkeys(ones, 1), align_arrays=False,
                        meta=np.empty((0,) * (len(every) + len(new)), dtype))


def _derivative(bundle, at, lay, cut, name, dtype):
    """The derivative by one input, summed over the blocks that share its elements."""
    axes = lay.along.get(name, ())
    value = cut.arrays.get(name, cut.others.get(name))
    missing = tuple(axis for axis in range(bundle.ndim) if axis not in axes)
    single = tuple(axis for axis, n in zip(axes, np.shape(value)) if axis is not None and n == 1 != lay.shape[axis])
    own = tuple(n for axis, n in zip(axes, np.shape(value)) if axis is None)
    picked = _picked(bundle, at, missing + single, own, dtype)
    if not missing + single:
        return picked
    return picked.sum(axis=missing + single, keepdims=True, dtype=np.float64).squeeze(missing).astype(dtype)


def _block(divisor, given, *, reduced, lay, **how):
    first, *others = block_results(divisor, given, reduced=reduced, lay=lay, **how)
    return [_boxed(first, len(lay.shape)) if isinstance(first, Partial) else first, *others]


# Classes in several chunks


def _split_results(function, mode, cut, reduced, mean, divisor, sample):
    """As _results, of a cross-entropy whose classes are cut.

    It is the sum of the cross-entropies within the chunks, and that of the chunks' logsumexps against their shares of the target.
    To the gradient within a chunk, all others are one more class.
    """
    lay, (axis,), of = cut.lay, cut.lay.whole, check.working_dtype(cut.arrays["input"])[1]
    every = tuple(range(len(lay.shape)))
    starts = da.from_array(np.cumsum((0, *cut.chunks[axis][:-1])), chunks=1)
    options = {"axis": axis, "n_classes": lay.shape[axis], "dense": lay.along.get("target") == every}
    arguments = {"input", "target", "weight", "label_smoothing", "ignore_index", "where"}
    sums = cut.map(_chunk_sums, object, starts, (axis,), only=arguments, **options)
    lse, within, share = (_picked(sums, i, (axis,), (), np.float64).rechunk({axis: -1}) for i in range(3))
    value, derivatives = None, []
    if mode != "g":
        weight = cut.arrays.get("weight", cut.others.get("weight"))
        lazy = (weight.rechunk(-1), (100,)) if isinstance(weight, da.Array) else (weight, None)
        rows = {"where", "sample_weight", "ignore_index", "z_loss"} | (set() if options["dense"] else {"target"})
        value = cut.map(_joined, object if reduced else of, lse, every, within, every, share, every, *lazy, only=rows,
                        adjust=every if reduced else (axis,), reduced=reduced, of=of, **options)
    if mode in ("g", "vg", "vgh"):
        rest = da.blockwise(_others, every, lse, every, share, every, axis=axis, meta=np.empty((0,) * len(every), object))
        rest = [_picked(rest, i, (), (), np.float64).rechunk({axis: (1,) * lse.shape[axis]}) for i in range(2)]
        bundle = cut.map(_chunk_derivatives, object, starts, (axis,), rest[0], every, rest[1], every, *_scalar(divisor), mode=mode,
                         only=arguments | {"sample_weight", "upstream", "z_loss"}, of=of, **options)
        derivatives = [_picked(bundle, i, (), (), of) for i in range(1 + (mode == "vgh"))]
    return value, derivatives


def _used(given, n_classes, dense):
    """Which rows take part: where= and, of labels, those that are not ignored; they must be classes."""
    where = given.get("where", True)
    if dense:
        return where
    target, ignored = np.asarray(given["target"]), given.get("ignore_index", -100)
    used = (target != ignored) & where
    bad = used & ((target < 0) | (target >= n_classes))
    if bad.any():
        check.bad_index(target, int(np.argmax(bad)), n_classes, ignored)
    return used


def _shares(start, given, axis, n_classes, dense):
    """(target distribution times class weights of the chunk of classes that begins at `start`, which rows take part)."""
    x, target, smoothing = given["input"], np.asarray(given["target"]), given.get("label_smoothing", 0.0)
    column = [-1 if i == axis else 1 for i in range(x.ndim)]
    used = _used(given, n_classes, dense)
    q = target if dense else np.expand_dims(target, axis) == np.reshape(start + np.arange(x.shape[axis]), column)
    q = q.astype(np.float64) * (1 - smoothing) + smoothing / n_classes
    if "weight" in given:
        q *= np.reshape(given["weight"], column)
    return q, np.broadcast_to(used, x.shape[:axis] + x.shape[axis + 1 :])


def _chunk_sums(start, given, axis, n_classes, dense):
    """Of a chunk of classes its logsumexp, the cross-entropy within it, and its share of the target."""
    x, (q, used) = given["input"].astype(np.float64), _shares(start, given, axis, n_classes, dense)
    lse = logsumexp(x, axis, keepdims=True)
    some = used & (q != 0).any(axis) & (np.squeeze(lse, axis) != -np.inf)
    within = cross_entropy(x, q, axis=axis, reduction="none", where=some)
    return [lse, np.expand_dims(within, axis), q.sum(axis, keepdims=True)]


def _joined(lse, within, share, weight, given, axis, n_classes, dense, reduced, of):
    """The losses of rows from what their chunks of classes gave; the Partial of them if `reduced`."""
    shape = lse.shape[:axis] + lse.shape[axis + 1 :]
    used = np.broadcast_to(_used(given, n_classes, dense), shape)
    losses = within.sum(axis) + cross_entropy(lse, share, axis=axis, z_loss=given.get("z_loss", 0.0), reduction="none", where=used)
    factors = {name: given[name] for name in ("where", "sample_weight") if name in given}
    factor = row_factors(Options(**factors), shape, np.dtype(np.float64))[1]
    if factor is not None:
        losses = losses * factor.reshape(shape)
    if not reduced:
        return np.expand_dims(losses, axis).astype(of)
    if dense:
        weight_sum, count = row_sums(factor, losses.size)
    else:
        zeros = np.broadcast_to(of.type(0), (*shape[:axis], n_classes, *shape[axis:]))
        sums = nll_loss.partial(zeros, given["target"], weight, ignore_index=given.get("ignore_index", -100), axis=axis, **factors)
        weight_sum, count = sums.weight_sum, sums.count
    return _boxed(Partial(tuple(total(losses)), weight_sum, count), lse.ndim)


@np.errstate(all="ignore")
def _others(lse, share, axis):
    """For each chunk of classes, the logsumexp of all others and their share of the target."""
    each = range(lse.shape[axis])
    return [np.concatenate([logsumexp(np.delete(lse, k, axis), axis, keepdims=True) for k in each], axis),
            np.concatenate([np.delete(share, k, axis).sum(axis, keepdims=True) for k in each], axis)]


def _chunk_derivatives(start, others, their_share, divisor, given, mode, axis, n_classes, dense, of):
    """Gradient, and second derivative, within a chunk of classes."""
    q, used = _shares(start, given, axis, n_classes, dense)
    x = np.concatenate([given["input"].astype(np.float64), others], axis)
    factors = {name: given[name] for name in ("sample_weight", "z_loss") if name in given}
    upstream = given.get("upstream", 1 / divisor if divisor != 0 else 0.0)
    method = cross_entropy.value_grad_hess if mode == "vgh" else cross_entropy.value_and_grad
    _, *results = method(x, np.concatenate([q, their_share], axis), axis=axis, where=used, reduction="none", upstream=upstream, **factors)
    own = (slice(None),) * axis + (slice(0, q.shape[axis]),)
    return [np.zeros(q.shape, of) if divisor == 0 else result[own].astype(of) for result in results]


# Functions of elements, and of the elements along an axis


def _named_arguments(parameters, args, kwargs):
    """The arguments by their names: those that are given, lists as arrays."""
    bound = inspect.Signature([p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in parameters]).bind(*args, **kwargs).arguments
    return {name: np.asarray(a) if isinstance(a, list | tuple) and name != "axis" else a for name, a in bound.items() if a is not None}


def _fitted(first, arguments, whole=(), along=(), exact=()):
    """The Layout of arrays that broadcast to the shape of the first, or are of it, or go along other axes."""
    x = arguments[first]
    every, along = tuple(range(x.ndim)), dict(along)
    for name, value in arguments.items():
        if np.ndim(value) and name not in along:
            along[name] = every[max(x.ndim - value.ndim, 0) :]
            fit = check.full_shape if name in exact else check.broadcast
            fit(name, *lengths(value, every, x.shape))
    return Layout(first, (), x.shape, whole, tuple(axis for axis in every if axis not in whole), (), along | {first: every})


def _called(given, call):
    return np.asarray(call(**given))


def _activation(function, method, args, kwargs):
    own = list(inspect.signature(function).parameters.values())
    if method not in ("__call__", "grad"):
        own.insert(0, own[0].replace(name="g"))
    arguments = _named_arguments(own, args, kwargs)
    x, parameters = arguments["x"], [p.name for p in own if p.name not in ("g", "x", "axis", "out", "where")]
    along = {}
    if "axis" in arguments:
        axis = check.axis(arguments["axis"], x.ndim)
        along = {name: (axis,) for name in parameters if np.ndim(arguments.get(name))}
        for name in along:
            check.broadcast(name, *lengths(arguments[name], (axis,), x.shape))
    lay = _fitted("x", arguments, along=along, exact=("g",))
    call = _method(function, method)
    sample, cut = _sample(call, lay, arguments), Cut(lay, arguments)
    if method.startswith("backward_"):
        sums = cut.map(_parameter_gradient, object, call=call, axes=lay.along.get(parameters[0], ()))
        return _derivative(sums, 0, lay, cut, parameters[0], np.asarray(sample).dtype)
    return cut.map(_called, sample.dtype, call=call)


def _parameter_gradient(given, call, axes):
    """The gradient of a parameter in one block, in float64: those of all blocks are added."""
    given = given | {name: given[name].astype(np.float64) for name in ("g", "x")}
    return [spread(call(**given), axes, given["x"].ndim)]


def _softmax_family(function, method, args, kwargs):
    arguments = _named_arguments(inspect.signature(_method(function, method)).parameters.values(), args, kwargs)
    first = "y" if method == "backward" else next(iter(arguments))
    x, keepdims, signs = arguments[first], arguments.pop("keepdims", False), arguments.pop("return_sign", False)
    axes = _axes(arguments.pop("axis", None), x.ndim)
    if "dtype" in arguments:
        arguments["dtype"] = np.dtype(arguments["dtype"])
    lay = _fitted(first, arguments, axes, exact=("g",))
    call = functools.partial(_method(function, method), axis=axes or None)
    if function is logsumexp:
        call = functools.partial(call, keepdims=True, return_sign=signs)
    sample = _sample(call, lay, arguments)
    of = (sample[0] if signs else sample).dtype
    cut = Cut(lay, arguments, gather=function is hardmax or signs or "b" in arguments)
    merges = cut.divides_classes
    if function is logsumexp:
        if signs:
            pairs = cut.map(_several, object, call=call)
            results = [_picked(pairs, i, axes, (), of) for i in range(2)]
        else:
            results = [_merged_lse(cut, axes, of, False) if merges else cut.map(_called, of, call=call, adjust=axes)]
        results = [result if keepdims or not axes else result.squeeze(axes) for result in results]
        return tuple(results) if signs else results[0]
    if not merges:
        result = cut.map(_called, of, call=call)
    elif method == "backward":
        log = function is log_softmax
        sums = cut.map(_backward_sums, np.float64, axes=axes, log=log, adjust=axes).sum(axis=axes, keepdims=True)
        result = cut.map(_backward_from, of, sums, tuple(range(x.ndim)), log=log, of=of)
    else:
        own = log_softmax if function is log_softmax else softmax
        lses = _chunk_lses(cut, axes, function is softmin)
        shares = lses.map_blocks(own, axis=axes, meta=lses._meta).rechunk({axis: (1,) * lses.shape[axis] for axis in axes})
        result = cut.map(_shared, of, shares, tuple(range(x.ndim)), own=own, axes=axes, negated=function is softmin, of=of)
    return _as_before(result, x) if isinstance(x, da.Array) else result


def _chunk_lses(cut, axes, negated):
    """The logsumexp of every block, those along the axes in one chunk."""
    return cut.map(_lse, np.float64, axes=axes, negated=negated, adjust=axes).rechunk(dict.fromkeys(axes, -1))


def _merged_lse(cut, axes, of, negated):
    lses = _chunk_lses(cut, axes, negated)
    return da.blockwise(_lse_of, range(lses.ndim), lses, range(lses.ndim), axes=axes, of=of, adjust_chunks=dict.fromkeys(axes, 1),
                        meta=np.empty((0,) * lses.ndim, of))


@np.errstate(all="ignore")
def _lse_of(lses, axes, of):
    return logsumexp(lses, axes, keepdims=True).astype(of)


def _terms(given, negated):
    """x, or -x, in float64, -inf where it takes no part."""
    x = next(iter(given.values())).astype(np.float64)
    return np.where(given.get("where", True), -x if negated else x, -np.inf)


def _lse(given, axes, negated):
    return logsumexp(_terms(given, negated), axes, keepdims=True)


def _shared(share, given, own, axes, negated, of):
    """The softmax, or its logarithm, within a block and that of the block among the others, in one."""
    x = _terms(given, negated)
    within = own(x, axes, where=x != -np.inf)
    result = within * share if own is softmax else within + share
    return np.where(given.get("where", True), result, 0 if own is softmax else -np.inf).astype(of)


def _backward_sums(given, axes, log):
    g = np.where(given.get("where", True), given["g"], 0)
    return np.sum(g if log else g * given["y"].astype(np.float64), axes, dtype=np.float64, keepdims=True)


def _backward_from(total, given, log, of):
    g, y = given["g"].astype(np.float64), given["y"].astype(np.float64)
    return np.where(given.get("where", True), g - np.exp(y) * total if log else y * (g - total), 0).astype(of)


def _along_axis(function, method, args, kwargs):
    """rrelu, crelu, glu and maxout."""
    own = _method(function, method)
    arguments = _named_arguments(inspect.signature(own).parameters.values(), args, kwargs)
    if "rng" in arguments:
        raise NotImplementedError("rng is given; slopes are not drawn for Dask arrays, whose blocks have no order")
    x = arguments["x"]
    if "axis" not in inspect.signature(own).parameters:
        lay = _fitted("x", arguments, exact=("g",))
        return Cut(lay, arguments).map(_called, _sample(own, lay, arguments).dtype, call=own)
    axis, every = check.axis(arguments.get("axis", -1), x.ndim), tuple(range(x.ndim))
    arguments["axis"], along = axis, {}
    if "g" in arguments:
        along["g"] = tuple(None if i == axis else i for i in every)
        if arguments["g"].ndim < x.ndim:
            along["g"] = tuple(i for i in every if i != axis)
        check.full_shape("g", *lengths(arguments["g"], along["g"], x.shape))
    lay = _fitted("x", arguments, (axis,), along)
    sample = _sample(own, lay, arguments, small=False)
    gone = method != "backward" and sample.ndim < x.ndim
    result = Cut(lay, arguments).map(_expanded if gone else _called, sample.dtype, call=own, adjust={axis: 1 if gone else sample.shape[axis]},
                                     **({"axis": axis} if gone else {}))
    return result.squeeze(axis) if gone else _as_before(result, x) if isinstance(x, da.Array) else result


def _expanded(given, call, axis):
    return np.expand_dims(call(**given), axis)


def _row_function(function, method, args, kwargs):
    """pairwise_distance and cosine_similarity."""
    names = ("g", "x1", "x2")[-len(args) :]
    arguments = {name: a if isinstance(a, da.Array) else np.asarray(a) for name, a in zip(names, args)}
    x1, x2 = arguments["x1"], arguments["x2"]
    if not any(math.isnan(n) for n in (*x1.shape, *x2.shape)):
        shape = np.broadcast_shapes(x1.shape, x2.shape)
        x1, x2 = (x if x.shape == shape else (da if isinstance(x, da.Array) else np).broadcast_to(x, shape) for x in (x1, x2))
    every, axis = tuple(range(x1.ndim)), kwargs.get("axis", 1 if "axis" in inspect.signature(function).parameters else -1)
    axis = check.axis(0 if x1.ndim == 1 and axis == 1 else axis, x1.ndim)
    arguments |= {"x1": x1, "x2": x2}
    if "g" in arguments:
        along = {"g": tuple(i for i in every if i != axis)}
        check.full_shape("g", *lengths(arguments["g"], along["g"], x1.shape))
    lay = _fitted("x1", arguments, (axis,), along if "g" in arguments else (), exact=("x2",))
    call = functools.partial(_method(function, method), **kwargs)
    sample = _sample(call, lay, arguments)
    cut = Cut(lay, arguments)
    if method == "backward":
        pair = cut.map(_several, object, call=call)
        return tuple(_picked(pair, i, (), (), one.dtype) for i, one in enumerate(sample))
    kept = kwargs.get("keepdims")
    result = cut.map(_called if kept else _expanded, sample.dtype, call=call, adjust=(axis,), **({} if kept else {"axis": axis}))
    return result if kept else result.squeeze(axis)


def _several(given, call):
    return call(**given)
