"""Losses on a device: of elements, and of rows of classes."""

import math

import numpy as np

from .. import _check
from .._lines import HingeLoss, Lines, fit_lines
from .._loss import COMMON, METHODS, ElementwiseLoss, Options, Partial
from ..custom import CustomLoss
from ..kernels import cuda as kernels
from ._arrays import F64, I64, NUMBERS, View, address, code_of, domain_code, report, rows_of, strided, view

MODES = {method: mode for mode, method in METHODS.items()}


def loss(device, function, method, args, kwargs):
    mode = MODES[method]
    options = Options(**{"reduction": function._reduction} | {name: kwargs.pop(name) for name in COMMON[mode] if name in kwargs})
    if options.upstream is not None and options.reduction != "none":
        raise ValueError("upstream multiplies the gradients of single losses; it needs reduction='none'")
    terms = function._function(*map(device.seen, args), **{name: device.seen(value) for name, value in kwargs.items()})
    if isinstance(function, HingeLoss):
        if function.of_classes(*(_check.form(name, a) for name, a in terms.arrays.items())):
            terms = function.lines(terms.arrays["input"], terms.arrays["target"])
    run = lines if isinstance(terms, Lines) else _elementwise if isinstance(function, ElementwiseLoss) else _row_loss
    return run(device, function, mode, terms, options)


class Outputs:
    """The arrays of a call: value, gradients, second derivatives; `views` are what kernels fill, None where not wanted."""

    def __init__(self, device, mode, options, shapes, dtype, computed, inputs, value_shape):
        self.device, self.mode, self.options, self.n = device, mode, options, len(shapes)
        self.results, self.views = [None] * (1 + 2 * self.n), [None] * (1 + 2 * self.n)
        self.reduced = options.reduction != "none"
        wanted = {"v": (0,), "vg": (0, 1), "vgh": (0, 1, 2), "g": (1,), "p": ()}[mode]
        given = (options.out,) if len(wanted) == 1 else _check.outs("out", options.out, len(wanted)) if wanted else ()
        for i, (kind, out) in enumerate(zip(wanted, given, strict=True)):
            label = "out" if len(wanted) == 1 else f"out[{i}]"
            if kind == 0:
                self.results[0], self.views[0] = device.target(label, out, () if self.reduced else value_shape, dtype, computed, inputs)
                continue
            outs = (out,) if self.n == 1 else _check.outs(label, out, self.n)
            for k, (own, shape) in enumerate(zip(outs, shapes, strict=True)):
                slot = 1 + (kind - 1) * self.n + k
                self.results[slot], self.views[slot] = device.target(label if self.n == 1 else f"{label}[{k}]", own, shape, dtype, computed, inputs)
        filled = [v for v in self.views if v is not None]
        for i, a in enumerate(filled):
            if any(np.may_share_memory(a, b) for b in filled[:i]):
                raise ValueError("the arrays in out= overlap")

    def returned(self):
        self.device.finish()
        value, *derivatives = self.results
        grad, hess = derivatives if self.n == 1 else (tuple(derivatives[: self.n]), tuple(derivatives[self.n :]))
        return {"v": value, "vg": (value, grad), "vgh": (value, grad, hess), "g": grad}[self.mode]


def _partial(device, pairs, totals, count):
    """The sums of a loss, on the host."""
    array, seen = device.empty((1,), F64)
    device.end_sum(pairs, F64, seen, None, 1.0, 0.0)
    loss = device.numbers(array).item()
    if totals is None:
        return Partial(loss, float(count), count)
    weight, error, used = device.numbers(totals).tolist()
    return Partial(loss, weight, int(used))


def _elementwise(device, function, mode, terms, options):
    """As ElementwiseLoss._run, on the device."""
    _check.reduction(options.reduction, function._reductions)
    given, names = terms.arrays, function._inputs
    held = {name: isinstance(a, NUMBERS) for name, a in given.items()}
    arrays = {name: (_check.array if held[name] else device.array)(name, a, boolean=name not in names) for name, a in given.items()}
    x = arrays[names[0]]
    shape, formula = x.shape, terms.formula or function.__name__
    if isinstance(function, CustomLoss):
        kernels.define(formula, function.definition.text, "loss")
    dtype, result_dtype = _check.working_dtype(x, *(arrays[name] for name in names[1:] if not isinstance(given[name], float | int)))
    fitted = {name: a if a is x else function._fits.get(name, _check.same_shape)(name, a, shape) for name, a in arrays.items()}
    of_rows = function._of_rows and x.ndim > 0
    per, unreduced = (shape[-1], shape[:-1]) if of_rows else (1, shape)
    weight = None if terms.weight is None else _check.broadcast("weight", device.view("weight", terms.weight, boolean=True), shape)
    rows, mask, upstream = _factors(device, options, unreduced)
    inputs = [a for a in (*arrays.values(), weight, rows, mask, upstream) if a is not None]
    shapes = [arrays[name].shape for name in names]
    outputs = Outputs(device, mode, options, shapes, result_dtype, dtype, inputs, unreduced)

    as_operand = lambda a, t=dtype: device.operand(a, t)
    row_weight, used = as_operand(rows), as_operand(mask, np.dtype(bool))
    totals, divisor, count, number = None, None, math.prod(unreduced), 1.0
    if mode == "p" or options.reduction == "mean":
        element_weight = as_operand(weight) if function._mean_over_weight else (0, 1, 0)
        if mask is None and rows is None and element_weight[0] == 0:
            number = float(count)
        else:
            totals, divisor = _totals(device, dtype, count, element_weight, row_weight, used)
    elif options.reduction == "batchmean":
        divisor, number = _rows_used(device, dtype, shape, options, mask, as_operand)
    if of_rows:
        rows, mask, upstream = (None if a is None else np.broadcast_to(a[..., None], shape) for a in (rows, mask, upstream))
        row_weight, used = as_operand(rows), as_operand(mask, np.dtype(bool))
    views = outputs.views
    value = views[0] if views[0] is not None and not outputs.reduced else None
    elements = device.scratch(shape, dtype) if of_rows and value is not None else value
    fulls = [_full(device, v, shape, dtype) for v in views[1:]]
    pairs = device.scratch((kernels.blocks_for(x.size), 2))
    numbers, codes = [], []
    for name, a in fitted.items():
        codes.append(domain_code(function, name, function._domains[name]) if name in function._domains else 0)
        low, high, ends = function._domains[name].bounds if name in function._domains else (-math.inf, math.inf, False)
        numbers += [float(given[name]) if held[name] else 0.0, *map(float, (high, low) if ends else (low, high))]
    operands = [(0, 1, 0) if held[name] else as_operand(a) for name, a in fitted.items()]
    scale = 1.0 / (number * per) if number and x.size else 0.0
    if divisor is not None:
        scale = 1.0 / per
    launched = "v" if mode == "p" else mode
    written = [elements] * (launched != "g") + [f for f in fulls if f is not None]
    arguments = [v for operand in (*operands, as_operand(weight), row_weight, as_operand(upstream), used) for v in operand]
    arguments += [*map(address, written), *[pairs.ctypes.data] * (launched != "g"), address(divisor), view(report()).ctypes.data, *codes, scale, *numbers,
                  *map(float, terms.params)]
    if x.size:
        kernels.loop(f"{formula}_{launched}_f{8 * dtype.itemsize}", x.size, device.stream, *arguments)
    if elements is not value:
        device.row_sums(elements.reshape(-1, per), per, value)
    for full, seen in zip(fulls, views[1:], strict=True):
        if full is not None and full is not seen:
            fold(device, full, seen)
    if mode == "p":
        return _partial(device, pairs, totals, count)
    if views[0] is not None and outputs.reduced:
        number = (number if divisor is None else 1.0) * per if number else 0.0
        device.end_sum(pairs[: 0 if x.size == 0 else None], dtype, views[0], divisor, number, options.empty)
    return outputs.returned()


def _full(device, seen, shape, dtype):
    """A derivative before it is summed over what was broadcast."""
    return seen if seen is None or seen.shape == shape else device.scratch(shape, dtype)


def fold(device, full, seen):
    """seen gains the sum of full over the axes along which it was broadcast."""
    kept = (*seen.shape, *(1,) * (full.ndim - seen.ndim)) if seen.shape == full.shape[: seen.ndim] else (1,) * (full.ndim - seen.ndim) + seen.shape
    summed = [k for k, (n, m) in enumerate(zip(kept, full.shape, strict=True)) if n != m]
    order = [k for k in range(full.ndim) if k not in summed] + summed
    moved = device.contiguous(full.transpose(order), full.dtype)
    device.row_sums(moved.reshape(seen.size, -1), 1.0, seen)


def _totals(device, dtype, n, weight, rows, used):
    """[sum of the weights, its error, count] of the elements that take part."""
    sums, counts = device.scratch((kernels.blocks_for(n), 2)), device.scratch((kernels.blocks_for(n), 2))
    kernels.loop(f"totals_f{8 * dtype.itemsize}", n, device.stream, *weight, *rows, *used, sums.ctypes.data, counts.ctypes.data)
    return _end_totals(device, sums, counts, None, None, 0, 0)


def _end_totals(device, sums, counts, firsts, target, n_classes, ignore_index):
    """The sums of blocks' pairs: as an array of the caller's library, and its view."""
    array, out = device.empty((3,), F64)
    kernels.launch("finish_totals", 1, kernels.THREADS, device.stream, sums.ctypes.data, counts.ctypes.data, address(firsts), len(sums),
                   out.ctypes.data, address(target), view(report()).ctypes.data, n_classes, ignore_index)
    return array, out


def _rows_used(device, dtype, shape, options, mask, as_operand):
    """(device divisor, host divisor) of batchmean."""
    n = shape[0] if shape else 1
    if mask is None and options.sample_weight is None:
        return None, float(n)
    rows = None if options.sample_weight is None else device.contiguous(view(options.sample_weight), dtype)
    sums, counts = device.scratch((kernels.blocks_for(n), 2)), device.scratch((kernels.blocks_for(n), 2))
    kernels.loop(f"rows_used_f{8 * dtype.itemsize}", n, device.stream, math.prod(shape[1:]), address(rows),
                 *as_operand(mask, np.dtype(bool)), sums.ctypes.data, counts.ctypes.data)
    return _end_totals(device, sums, counts, None, None, 0, 0)[1], 1.0


def _factors(device, options, shape):
    """Weights, mask and upstream gradients, broadcast to a loss's shape; each or None."""
    rows = None
    if options.sample_weight is not None:
        rows = np.broadcast_to(_check.per_row(device.view("sample_weight", options.sample_weight, boolean=True), shape), shape)
    upstream = None if options.upstream is None else _check.broadcast("upstream", device.view("upstream", options.upstream), shape)
    return rows, device.mask(options.where, shape), upstream


def _class_weight(device, terms, n_classes):
    weight = None if terms.weight is None else device.view("weight", terms.weight, boolean=True)
    if weight is not None and weight.shape != (n_classes,):
        raise ValueError(f"weight has shape {weight.shape}; it must be ({n_classes},), one weight per class")
    return weight


def _row_loss(device, function, mode, terms, options):
    """As RowLoss._run, on the device."""
    _check.reduction(options.reduction)
    x = device.view("input", terms.input)
    axis = _check.class_axis(x, terms.axis)
    dtype, result_dtype = _check.working_dtype(x)
    n_classes, shape = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    n_rows, ignore = math.prod(shape), terms.ignore_index
    target = device.view("target", terms.target, boolean=True)
    dense = function._dense and target.shape == x.shape and target.dtype.kind not in "iub"
    if not dense and target.dtype.kind not in "iu":
        raise TypeError(f"target has dtype {target.dtype}; class indices must be integers, and probabilities must have input's shape")
    if not dense and target.shape != shape:
        expected = f"{shape} for class indices" + (f", or {x.shape} for probabilities" if function._dense else "")
        raise ValueError(f"target has shape {target.shape}; it must be {expected}")
    if dense and ignore != -100:
        raise ValueError(f"ignore_index is {ignore}; it means nothing for probabilities: use where=")
    weight = _class_weight(device, terms, n_classes)
    rows, mask, upstream = _factors(device, options, shape)
    inputs = [a for a in (x, target, weight, rows, mask, upstream) if a is not None]
    outputs = Outputs(device, mode, options, [x.shape], result_dtype, dtype, inputs, shape)

    classes = None if dense else device.contiguous(target, I64)
    class_weight = None if weight is None else device.contiguous(weight, dtype)
    per_row = *device.operand(rows, dtype), *device.operand(mask, np.dtype(bool))
    totals, sums = _target_totals(device, dtype, n_rows, classes, n_classes, ignore, class_weight, per_row)
    divisor = sums if mode != "p" and options.reduction == "mean" else None
    value, grad, hess = outputs.views
    losses = device.scratch((n_rows,)) if outputs.reduced or mode == "p" else None
    own = None if value is None or outputs.reduced else value
    x_rows, q_rows = rows_of(device, x, axis, dtype), rows_of(device, target, axis, dtype) if dense else None
    g_rows, h_rows = (None if a is None else rows_of(device, a, axis, dtype) for a in (grad, hess))
    common = (*per_row, *device.operand(upstream, dtype), address(losses), address(own), *strided(g_rows), *strided(h_rows),
              n_rows, n_classes, x_rows.shape[2], address(divisor))
    if x.size:
        head = (address(classes), ignore, address(class_weight))
        if function._kernel == "cross_entropy":
            kernel = "focal_cross_entropy" if terms.gamma else "cross_entropy_dense" if dense or terms.smoothing else "cross_entropy"
            kernels.rows(kernel, x_rows.shape, dtype, device.stream, *strided(x_rows), *strided(q_rows), *head, *common,
                         float(terms.smoothing), float(terms.gamma or terms.z_loss), 1.0)
        else:
            kernels.rows("nll_loss", x_rows.shape, dtype, device.stream, *strided(x_rows), *head, *common, 1.0, entries=False)
    return _end_rows(outputs, dtype, losses, n_rows if x.size else 0, totals, divisor)


def _end_rows(outputs, dtype, losses, n, totals, divisor):
    """What a loss of n rows returns; without any, what is left of it is 0."""
    device, (value, *derivatives) = outputs.device, outputs.views
    pairs = device.scratch((kernels.blocks_for(n), 2))
    if losses is not None:
        kernels.loop("pairs_f64", n, device.stream, losses.ctypes.data, pairs.ctypes.data)
    if outputs.mode == "p":
        return _partial(device, pairs, totals, n)
    if value is not None and outputs.reduced:
        device.end_sum(pairs, dtype, value, divisor, 1.0, outputs.options.empty)
    for view in [*derivatives, None if outputs.reduced else value] if n == 0 else ():
        if view is not None:
            kernels.copy(None, view, device.stream)
    return outputs.returned()


def lines(device, function, mode, terms, options):
    """As run_lines in fastloss/_lines.py, on the device."""
    _check.reduction(options.reduction)
    arrays = {name: device.view(name, a) for name, a in terms.inputs.items()}
    dtype, result_dtype = _check.working_dtype(*arrays.values())
    if terms.given is not None:
        arrays[terms.given[0]] = device.view(*terms.given, boolean=True)
    if terms.kind:
        terms = terms._replace(target=device.view("target", terms.target, boolean=True))
    x, axis, n_classes, target, shape = fit_lines(terms, arrays)
    n_rows, weight = math.prod(shape), _class_weight(device, terms, n_classes)
    rows, mask, upstream = _factors(device, options, shape)
    inputs = [a for a in (*arrays.values(), target, weight, rows, mask, upstream) if a is not None]
    outputs = Outputs(device, mode, options, [x.shape for _ in terms.inputs], result_dtype, dtype, inputs, shape)

    in_rows = lambda a: device.contiguous(np.moveaxis(a, axis, -1) if a.ndim else a, dtype)
    values = list(map(in_rows, arrays.values()))
    classes = device.contiguous(target, I64) if terms.kind in ("class", "labels") else None
    class_weight = None if weight is None else device.contiguous(weight, dtype)
    per_row = *device.operand(rows, dtype), *device.operand(mask, np.dtype(bool))
    totals, sums = _target_totals(device, dtype, n_rows, classes if terms.kind == "class" else None, n_classes, terms.ignore_index,
                                  class_weight if terms.mean_over_weight else None, per_row)
    divisor = sums if mode != "p" and options.reduction == "mean" else None
    value, *derivatives = outputs.views
    losses = device.scratch((n_rows,)) if outputs.reduced or mode == "p" else None
    own = None if value is None or outputs.reduced else value
    derivatives = [None if a is None else device.moved(a, axis) for a in derivatives]
    common = (*per_row, *device.operand(upstream, dtype), address(losses), address(own))
    told = view(report()).ctypes.data
    if x.size and terms.kind == "labels":
        code = code_of(IndexError, f"target of {function.__name__} had an entry that is no class; a list of labels ends with -1")
        scores = device.apart(values[0]) if any(a is not None and np.may_share_memory(a, values[0]) for a in derivatives) else values[0]
        kernels.launch(f"multilabel_margin_f{8 * dtype.itemsize}", n_rows, kernels.THREADS, device.stream, scores.ctypes.data, address(classes),
                       device.scratch(x.shape).ctypes.data, *common, *map(address, derivatives), n_rows, n_classes, address(divisor), told, code, 1.0)
    elif x.size:
        n, pad = len(terms.inputs), lambda a: (*map(address, a), *(0,) * (3 - len(a)))
        sources = [*values, *(None,) * (2 - len(values)), device.contiguous(target, dtype)] if terms.kind == "sign" else values
        codes = [0, 0] if terms.domain is None else [domain_code(function, name, terms.domain) for name in (*arrays, "target")[:2]]
        if terms.kind == "sign":
            codes[1] = domain_code(function, "target", _check.SIGN)
        kernels.rows(f"{terms.op}_{n}", (n_rows, n_classes, 1), dtype, device.stream, *pad(sources), address(classes), terms.ignore_index,
                     address(class_weight), *common, *pad(derivatives[:n]), *pad(derivatives[n:]), n_rows, n_classes, address(divisor), told, *codes,
                     *terms.params, *(0.0,) * (4 - len(terms.params)), 1.0, entries=False)
    return _end_rows(outputs, dtype, losses, n_rows if x.size else 0, totals, divisor)


def of_rows(device, function, method, args, kwargs):
    """A RowFunction: `__call__` of x1 and x2, `backward` with an upstream gradient before them."""
    *g, x1, x2 = (device.view(name, device.seen(a)) for name, a in zip(("g", "x1", "x2")[-len(args) :], args, strict=True))
    if not g:
        x1, x2 = function.together(x1, x2)
    terms = function._function(x1.view(View), x2.view(View), **kwargs)
    if g:
        return lines(device, function, "g", terms, Options(reduction="none", upstream=g[0].view(View)))
    value = lines(device, function, "v", terms, Options(reduction="none"))
    if not (kwargs.get("keepdims") and x1.ndim):
        return value
    return value.reshape((*x1.shape[:-1], 1))


def _target_totals(device, dtype, n, classes, n_classes, ignore, class_weight, per_row):
    """[sum of the weights, its error, count] of the rows that take part; reports the first bad class index."""
    blocks = kernels.blocks_for(n)
    sums, counts, firsts = device.scratch((blocks, 2)), device.scratch((blocks, 2)), device.scratch((blocks,))
    kernels.loop(f"target_totals_f{8 * dtype.itemsize}", n, device.stream, address(classes), n_classes, ignore,
                 address(class_weight) if classes is not None else 0, *per_row, sums.ctypes.data, counts.ctypes.data, firsts.ctypes.data)
    return _end_totals(device, sums, counts, None if classes is None else firsts, classes, n_classes, ignore)
