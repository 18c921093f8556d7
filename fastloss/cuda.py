"""Arrays on a CUDA device: the same calls, computed where the arrays are, on their own stream; nothing waits for the device."""

import functools
import inspect
import math
import sys

import numpy as np

from . import _check
from ._activation import Activation, Along, _parameter as host_parameter
from ._dispatch import on_device
from ._loss import COMMON, METHODS, ElementwiseLoss, Options, Partial, RowLoss
from .softmax import _axes, log_softmax, logsumexp, softmax

try:
    from .kernels import cuda as kernels
except ImportError as missing:
    raise ImportError("arrays on a CUDA device need numba-cuda: pip install 'fastloss[cuda]'") from missing

__all__ = ["call", "check"]

MODES = {method: mode for mode, method in METHODS.items()}
F64, I64 = np.dtype(np.float64), np.dtype(np.int64)


# Libraries: who allocates, and on which stream


class NumbaArrays:
    """Numba's device arrays, the simulator's, and whatever has `__cuda_array_interface__` alone."""

    def __init__(self, like):
        self.stream = 0 if hasattr(like, "__cuda_ndarray__") else like.__cuda_array_interface__.get("stream") or 0

    @staticmethod
    def empty(shape, dtype):
        return kernels.device_array(shape, dtype)

    def host(self, array):
        return array.copy_to_host()


class CupyArrays:
    def __init__(self, like):
        self._cupy = sys.modules["cupy"]
        self.stream = self._cupy.cuda.get_current_stream().ptr

    def empty(self, shape, dtype):
        return self._cupy.empty(shape, dtype)

    def host(self, array):
        return array.get()


class TorchTensors:
    def __init__(self, like):
        self._torch, self._device = sys.modules["torch"], like.device
        self.stream = self._torch.cuda.current_stream(like.device).cuda_stream

    def empty(self, shape, dtype):
        return self._torch.empty(shape, dtype=getattr(self._torch, dtype.name), device=self._device)

    def host(self, array):
        return array.cpu().numpy()


LIBRARIES = {"cupy": CupyArrays, "torch": TorchTensors}


class _Memory:
    def __init__(self, interface):
        self.__array_interface__ = interface


def view(value):
    """The memory of a device array as a NumPy array that must not be read: address, shape, strides, dtype."""
    if hasattr(value, "__cuda_ndarray__"):
        interface = dict(value.__array_interface__)
        interface["data"] = (interface["data"][0] + kernels.FOREIGN, interface["data"][1])
    else:
        interface = dict(value.__cuda_array_interface__)
        interface.pop("stream", None)
    interface["version"] = 3
    if math.prod(interface["shape"]) == 0:
        return np.empty(interface["shape"], interface["typestr"])
    return np.asarray(_Memory({key: interface[key] for key in ("data", "shape", "strides", "typestr", "version") if key in interface}))


class Device:
    """One call: the library and the stream of its first device array, views of its arguments, memory for its results."""

    def __init__(self, values):
        first = next(value for value in values if on_device(value))
        library = type(first).__module__.partition(".")[0]
        self.library = LIBRARIES.get(library, NumbaArrays)(first)
        self.stream = self.library.stream
        self._kept, self._after = [], []

    def view(self, name, value, boolean=False):
        """A device array as a view, or a number as it is."""
        if isinstance(value, bool | int | float | np.generic):
            return _check.array(name, value, boolean=boolean)
        if not on_device(value):
            raise TypeError(f"{name} is a {type(value).__name__}; it must be on the device like the other arrays")
        self._kept.append(value)
        return _check.array(name, view(value), boolean=boolean)

    def mask(self, value, shape):
        if value is None or value is True:
            return None
        return _check.broadcast("where", self._boolean(value), shape)

    def _boolean(self, value):
        seen = view(value) if on_device(value) else np.asarray(value)
        if seen.dtype != bool:
            raise TypeError(f"where has dtype {seen.dtype}; it must be bool")
        return seen

    def empty(self, shape, dtype):
        """A new array of the caller's library, and its view."""
        array = self.library.empty(shape, np.dtype(dtype))
        self._kept.append(array)
        return array, view(array)

    def scratch(self, shape, dtype=F64):
        return self.empty(shape, dtype)[1]

    def contiguous(self, array, dtype):
        """The elements in C order and that dtype: the view itself, or a copy on the device."""
        if array.dtype == dtype and array.flags.c_contiguous:
            return array
        fresh = self.scratch(array.shape, dtype)
        kernels.copy(array, fresh, self.stream)
        return fresh

    def operand(self, array, dtype):
        """(address, each, period) of a broadcast view: its element i stands at i // each % period, or i where period is 0."""
        if array is None:
            return 0, 1, 0
        moves = [k for k, (n, step) in enumerate(zip(array.shape, array.strides, strict=True)) if n > 1 and step != 0]
        first, last = (moves[0], moves[-1] + 1) if moves else (0, 0)
        core = array[(0,) * first + (slice(None),) * (last - first) + (0,) * (array.ndim - last)] if array.size else array
        core = self.contiguous(core, dtype)
        each, period = math.prod(array.shape[last:]), core.size
        return core.ctypes.data, each, 0 if period == array.size else period

    def target(self, label, out, shape, dtype, computed, inputs):
        """What is returned for an output, and the view that kernels fill."""
        if out is None:
            result, seen = self.empty(shape, dtype)
        else:
            result, seen = out, _check.out(label, self.view(label, out), shape, dtype)
        same = lambda a: (a.ctypes.data, a.shape, a.strides, a.dtype) == (seen.ctypes.data, seen.shape, seen.strides, seen.dtype)
        if seen.dtype == computed and seen.flags.c_contiguous and not any(np.may_share_memory(a, seen) and not same(a) for a in inputs):
            return result, seen
        fresh = self.scratch(shape, computed)
        self._after.append((fresh, seen))
        return result, fresh

    def finish(self):
        """Results go where they belong."""
        for fresh, seen in self._after:
            kernels.copy(fresh, seen, self.stream)

    def end_sum(self, pairs, dtype, out, divisor, number, empty):
        """out gains the sum of pairs divided by what stands at divisor, or by number."""
        kernels.launch(f"finish_f{8 * dtype.itemsize}", 1, kernels.THREADS, self.stream,
                       pairs.ctypes.data, len(pairs), out.ctypes.data, address(divisor), float(number), float(empty))

    def row_sums(self, array, by, out):
        """out gains the sums of the rows of a contiguous array (n, C), divided by a number."""
        n, n_classes = array.shape
        kernels.loop(f"total_rows_f{8 * array.itemsize}", n, self.stream, n_classes, array.ctypes.data, out.ctypes.data, float(by))

    def numbers(self, array):
        """A few float64 numbers for the host; waits for the device, and raises what it has reported."""
        check()
        return self.library.host(array)


def address(array):
    return 0 if array is None else array.ctypes.data


# Errors that only the device can see


@functools.cache
def _report():
    """[place + 1, index, classes, ignore_index] of the first bad class index since the last check."""
    report = NumbaArrays.empty((4,), I64)
    kernels.copy(None, view(report), 0)
    kernels.synchronize()                               # other streams do not wait for this one
    return report


def check():
    """Wait for the device and raise IndexError if a class index was out of range since the last check.

    Raises
    ------
    IndexError
        Naming the first bad class index of the first call that had one; the loss and the gradient of its row were NaN.
    """
    if not _report.cache_info().currsize:
        return
    kernels.synchronize()
    place, index, n_classes, ignore_index = _report().copy_to_host().tolist()
    if place:
        kernels.copy(None, view(_report()), 0)
        raise IndexError(f"target.flat[{place - 1}] is {index}; class indices must be in [0, {n_classes}) or ignore_index ({ignore_index})")


# Calls


def call(function, method, args, kwargs):
    """`getattr(function, method)(*args, **kwargs)` for arrays on a device."""
    for kind, run in RUNS.items():
        if isinstance(function, kind):
            break
    else:
        run = FUNCTIONS.get(function)
        if run is None:
            name = getattr(function, "__name__", function)
            raise NotImplementedError(f"{name} does not take arrays on a CUDA device")
    device = Device((*args, *kwargs.values()))
    result = run(device, function, method, args, kwargs)
    return result


def _loss(device, function, method, args, kwargs):
    mode = MODES[method]
    given = {name: kwargs.pop(name) for name in COMMON[mode] if name in kwargs}
    options = Options(**given)
    if options.upstream is not None and options.reduction != "none":
        raise ValueError("upstream multiplies the gradients of single losses; it needs reduction='none'")
    terms = function._function(*args, **kwargs)
    run = _elementwise if isinstance(function, ElementwiseLoss) else _row_loss
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
    arrays = {name: device.view(name, a, boolean=name not in names) for name, a in given.items()}
    x = arrays[names[0]]
    shape, formula = x.shape, terms.formula or function.__name__
    dtype, result_dtype = _check.working_dtype(x, *(arrays[name] for name in names[1:] if not isinstance(given[name], float | int)))
    fitted = {name: a if a is x else function._fits.get(name, _check.same_shape)(name, a, shape) for name, a in arrays.items()}
    of_rows = function._of_rows and x.ndim > 0
    per, unreduced = (shape[-1], shape[:-1]) if of_rows else (1, shape)
    weight = None if terms.weight is None else _check.broadcast("weight", device.view("weight", terms.weight, boolean=True), shape)
    rows = None
    if options.sample_weight is not None:
        rows = np.broadcast_to(_check.per_row(device.view("sample_weight", options.sample_weight, boolean=True), unreduced), unreduced)
    mask = device.mask(options.where, unreduced)
    upstream = None if options.upstream is None else _check.broadcast("upstream", device.view("upstream", options.upstream), unreduced)
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
    numbers = []
    for name, a in fitted.items():
        low, high, ends = function._domains[name].bounds if name in function._domains else (-math.inf, math.inf, False)
        held = isinstance(given[name], bool | int | float | np.generic)
        numbers += [float(given[name]) if held else 0.0, *map(float, (high, low) if ends else (low, high))]
    operands = [(0, 1, 0) if isinstance(given[name], bool | int | float | np.generic) else as_operand(a) for name, a in fitted.items()]
    scale = 1.0 / (number * per) if number and x.size else 0.0
    if divisor is not None:
        scale = 1.0 / per
    launched = "v" if mode == "p" else mode
    written = [elements] * (launched != "g") + [f for f in fulls if f is not None]
    arguments = [v for operand in (*operands, as_operand(weight), row_weight, as_operand(upstream), used) for v in operand]
    arguments += [*map(address, written), *[pairs.ctypes.data] * (launched != "g"), address(divisor), scale, *numbers, *map(float, terms.params)]
    if x.size:
        kernels.loop(f"{formula}_{launched}_f{8 * dtype.itemsize}", x.size, device.stream, *arguments)
    if elements is not value:
        device.row_sums(elements.reshape(-1, per), per, value)
    for full, seen in zip(fulls, views[1:], strict=True):
        if full is not None and full is not seen:
            _fold(device, full, seen)
    if mode == "p":
        return _partial(device, pairs, totals, count)
    if views[0] is not None and outputs.reduced:
        number = (number if divisor is None else 1.0) * per if number else 0.0
        device.end_sum(pairs[: 0 if x.size == 0 else None], dtype, views[0], divisor, number, options.empty)
    return outputs.returned()


def _full(device, seen, shape, dtype):
    """A derivative before it is summed over what was broadcast."""
    return seen if seen is None or seen.shape == shape else device.scratch(shape, dtype)


def _fold(device, full, seen):
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
                   out.ctypes.data, address(target), view(_report()).ctypes.data, n_classes, ignore_index)
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


# Activations


def _activation(device, function, method, args, kwargs):
    out, where = kwargs.pop("out", None), kwargs.pop("where", True)
    args, arrays = list(args), []
    parameter = method.removeprefix("backward_") if method.startswith("backward_") else ""
    for name in ("x",) if method in ("__call__", "grad") else ("g", "x"):
        if not args and name not in kwargs:
            raise TypeError(f"{function.__name__} is missing its argument {name}")
        arrays.append(device.view(name, args.pop(0) if args else kwargs.pop(name)))
    formula, given = function._function(*args, **kwargs)
    parameters = [_parameter(device, name, p, arrays[-1]) for name, p in zip(function._names, given, strict=False)]
    dtype, result_dtype = _check.working_dtype(*arrays)
    mask = None if where is None or where is True else device._boolean(where)
    shape = np.broadcast_shapes(*(np.shape(a) for a in (*arrays, *parameters)), () if mask is None else mask.shape)
    inputs = [a for a in (*arrays, *parameters, mask) if isinstance(a, np.ndarray)]
    mode = {"__call__": "value", "grad": "backward", "backward": "backward"}.get(method, "parameter")
    if parameter:
        own = given[0].values if isinstance(given[0], Along) else given[0]
        result, seen = device.target("out", None, np.shape(own), result_dtype, dtype, ())
        seen = seen.reshape(np.shape(parameters[0]))
        full = device.scratch(shape, dtype)
    else:
        result, seen = device.target("out", out, shape, result_dtype, dtype, inputs)
        full = seen
        if mask is not None and out is None:
            kernels.copy(None, seen, device.stream)
        elif mask is not None and device._after:
            kernels.copy(view(out), seen, device.stream)
    operands = [(0, 1, 0)] * (method == "grad")
    numbers = [1.0] * (method == "grad")
    for a in (*arrays, *parameters):
        number = not isinstance(a, np.ndarray)
        operands.append((0, 1, 0) if number else device.operand(np.broadcast_to(a, shape), dtype))
        numbers.append(float(a) if number else 0.0)
    used = device.operand(None if mask is None else np.broadcast_to(mask, shape), np.dtype(bool))
    if full.size:
        kernels.loop(f"{formula}_{mode}_f{8 * dtype.itemsize}", full.size, device.stream,
                     *(v for operand in operands for v in operand), full.ctypes.data, *used, *numbers)
    if parameter:
        _fold(device, full, seen) if seen.shape != shape else kernels.copy(full, seen, device.stream)
    device.finish()
    return result


def _parameter(device, name, value, x):
    """A parameter as a float, or as a view that broadcasts against x."""
    values, axis = value if isinstance(value, Along) else (value, None)
    if not on_device(values):
        number = host_parameter(name, values, x)
        if not isinstance(number, float):
            raise TypeError(f"{name} is a {type(values).__name__}; it must be a number, or on the device like x")
        return number
    values = device.view(name, values, boolean=True)
    if axis is None:
        return values
    axis = _check.axis(axis, x.ndim)
    if values.shape not in ((1,), (x.shape[axis],)):
        raise ValueError(f"{name} has shape {values.shape}; it must be ({x.shape[axis]},), one value per index of axis {axis}")
    return values.reshape((-1,) + (1,) * (x.ndim - axis - 1))


# Rows


def _as_rows(device, array, axis, dtype):
    """array as a view (outer, C, inner) of that dtype, or a copy of it."""
    shape = math.prod(array.shape[:axis]), array.shape[axis], math.prod(array.shape[axis + 1 :])
    if array.dtype == dtype:
        try:
            return np.reshape(array, shape, copy=False)
        except ValueError:
            pass
    return device.contiguous(array, dtype).reshape(shape)


def _strided(array):
    """Address and strides in elements of a view (outer, C, inner)."""
    return (0, 0, 0, 0) if array is None else (array.ctypes.data, *(s // array.itemsize for s in array.strides))


def _row_loss(device, function, mode, terms, options):
    """As RowLoss._run, on the device."""
    _check.reduction(options.reduction)
    x = device.view("input", terms.input)
    if x.ndim == 0:
        raise ValueError("input has shape (); it must have an axis of classes")
    axis = 0 if x.ndim == 1 and terms.axis == 1 else _check.axis(terms.axis, x.ndim)
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
    weight = None if terms.weight is None else device.view("weight", terms.weight, boolean=True)
    if weight is not None and weight.shape != (n_classes,):
        raise ValueError(f"weight has shape {weight.shape}; it must be ({n_classes},), one weight per class")
    rows = None
    if options.sample_weight is not None:
        rows = np.broadcast_to(_check.per_row(device.view("sample_weight", options.sample_weight, boolean=True), shape), shape)
    mask = device.mask(options.where, shape)
    upstream = None if options.upstream is None else _check.broadcast("upstream", device.view("upstream", options.upstream), shape)
    inputs = [a for a in (x, target, weight, rows, mask, upstream) if a is not None]
    outputs = Outputs(device, mode, options, [x.shape], result_dtype, dtype, inputs, shape)

    if terms.gamma:
        raise NotImplementedError(f"{function.__name__} takes no gamma other than 0 for arrays on a CUDA device")
    classes = None if dense else device.contiguous(target, I64)
    class_weight = None if weight is None else device.contiguous(weight, dtype)
    per_row = *device.operand(rows, dtype), *device.operand(mask, np.dtype(bool))
    totals, sums = _target_totals(device, dtype, n_rows, classes, n_classes, ignore, class_weight, per_row)
    divisor = sums if mode != "p" and options.reduction == "mean" else None
    value, grad, hess = outputs.views
    losses = device.scratch((n_rows,)) if outputs.reduced or mode == "p" else None
    own = None if value is None or outputs.reduced else value
    x_rows, q_rows = _as_rows(device, x, axis, dtype), _as_rows(device, target, axis, dtype) if dense else None
    g_rows, h_rows = (None if a is None else _as_rows(device, a, axis, dtype) for a in (grad, hess))
    common = (*per_row, *device.operand(upstream, dtype), address(losses), address(own), *_strided(g_rows), *_strided(h_rows),
              n_rows, n_classes, x_rows.shape[2], address(divisor))
    if x.size:
        head = (address(classes), ignore, address(class_weight))
        if function._kernel == "cross_entropy":
            kernel = "cross_entropy_dense" if dense or terms.smoothing else "cross_entropy"
            kernels.rows(kernel, x_rows.shape, dtype, device.stream, *_strided(x_rows), *_strided(q_rows), *head, *common,
                         float(terms.smoothing), float(terms.z_loss), 1.0)
        else:
            kernels.rows("nll_loss", x_rows.shape, dtype, device.stream, *_strided(x_rows), *head, *common, 1.0, entries=False)
    pairs = None
    if losses is not None:
        blocks = kernels.blocks_for(n_rows)
        pairs = device.scratch((blocks, 2))
        kernels.loop("pairs_f64", n_rows if x.size else 0, device.stream, losses.ctypes.data, pairs.ctypes.data)
    if mode == "p":
        return _partial(device, pairs, totals, n_rows)
    if value is not None and outputs.reduced:
        device.end_sum(pairs, dtype, value, divisor, 1.0, options.empty)
    return outputs.returned()


def _target_totals(device, dtype, n, classes, n_classes, ignore, class_weight, per_row):
    """[sum of the weights, its error, count] of the rows that take part; reports the first bad class index."""
    blocks = kernels.blocks_for(n)
    sums, counts, firsts = device.scratch((blocks, 2)), device.scratch((blocks, 2)), device.scratch((blocks,))
    kernels.loop(f"target_totals_f{8 * dtype.itemsize}", n, device.stream, address(classes), n_classes, ignore,
                 address(class_weight) if classes is not None else 0, *per_row, sums.ctypes.data, counts.ctypes.data, firsts.ctypes.data)
    return _end_totals(device, sums, counts, None if classes is None else firsts, classes, n_classes, ignore)


# The softmax family


def _softmax(device, function, method, args, kwargs):
    """softmax, log_softmax and logsumexp along any axes, and the gradients of the first two."""
    arguments = inspect.signature(getattr(type(function), method) if method == "backward" else _softmax_call).bind(
        *((function,) if method == "backward" else ()), *args, **kwargs
    )
    arguments.apply_defaults()
    given = dict(arguments.arguments)
    if given.get("b") is not None or given.get("return_sign"):
        raise NotImplementedError("logsumexp takes neither b= nor return_sign= for arrays on a CUDA device")
    names = ("g", "y") if method == "backward" else ("x",)
    arrays = [device.view(name, given[name]) for name in names]
    x = arrays[-1]
    if arrays[0].shape != x.shape:
        raise ValueError(f"g has shape {arrays[0].shape}; it must be y's shape {x.shape}")
    dtype, result_dtype = _check.working_dtype(x)
    if given.get("dtype") is not None:
        result_dtype = np.dtype(given["dtype"])
        dtype = np.dtype(np.float32) if result_dtype.name in _check.HALF else result_dtype
    mask = device.mask(given["where"], x.shape)
    axes = _axes(given["axis"], x.ndim)
    reduces = function is logsumexp
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.shape)) if given.get("keepdims") else tuple(n for k, n in enumerate(x.shape) if k not in axes)
    inputs = [a for a in (*arrays, mask) if a is not None]
    result, seen = device.target("out", given["out"], kept if reduces else x.shape, result_dtype, dtype, inputs)
    order = [k for k in range(x.ndim) if k not in axes] + sorted(axes)
    if len(axes) == 1:
        moved, axis, into = arrays, axes[0], seen
    else:
        n_rows = x.ndim - len(axes)
        flat = lambda a: device.contiguous(a.transpose(order), dtype).reshape(*(x.shape[k] for k in order[:n_rows]), -1)
        moved, axis = [flat(a) for a in arrays] if x.size else arrays, n_rows
        into = seen if reduces else device.scratch(tuple(x.shape[k] for k in order), dtype)
    fill = -math.inf if method != "backward" or function is log_softmax else 0.0
    if mask is not None and x.size:
        moved = [_masked(device, a, np.broadcast_to(mask, x.shape), order if len(axes) != 1 else None, dtype, 0.0 if name == "g" else fill)
                 for name, a in zip(names, moved, strict=True)]
    if x.size:
        rows = [_as_rows(device, a, axis, dtype) for a in moved]
        steps = [v for a in rows for v in _strided(a)]
        if reduces:
            outer, n_classes, inner = rows[0].shape
            steps += [into.ctypes.data, inner, 0, 1]
        else:
            steps += _strided(into.reshape(rows[0].shape))
        name = function.__name__ + "_backward" * (method == "backward")
        outer, n_classes, inner = rows[0].shape
        kernels.rows(name, rows[0].shape, dtype, device.stream, *steps, outer * inner, n_classes, inner)
        if into is not seen:
            kernels.copy(into, seen.transpose(order), device.stream)
        if mask is not None and not reduces and method != "backward":
            kernels.copy(seen, seen, device.stream, np.broadcast_to(mask, x.shape), 0.0 if function is softmax else -math.inf)
    elif reduces:
        kernels.copy(None, seen, device.stream, fill=-math.inf)
    device.finish()
    return result


def _softmax_call(x, axis=None, *, out=None, where=None, dtype=None, b=None, keepdims=False, return_sign=False):
    """The arguments of the three functions."""


def _masked(device, array, mask, order, dtype, fill):
    """A copy of the array, fill where mask is False."""
    if order is not None:
        mask = device.contiguous(mask.transpose(order), np.dtype(bool)).reshape(array.shape)
    fresh = device.scratch(array.shape, dtype)
    kernels.copy(array, fresh, device.stream, mask, fill)
    return fresh


RUNS = {Activation: _activation, ElementwiseLoss: _loss, RowLoss: _loss}
FUNCTIONS = {softmax: _softmax, log_softmax: _softmax, logsumexp: _softmax}
