"""The Numba backend: the same kernels as `aot`, compiled on first use and kept in Numba's disk cache."""

from functools import cache, lru_cache

import numpy as np

from .._generated import numba_formulas
from .._generated.registry import ACTIVATIONS, LIGHT
from . import custom, layout
from .custom import define
from .layout import CHUNK, LOSS_SCRATCH_BYTES, SCRATCH_BYTES
from .primitives import float32, float64, kernel_address
from .sums import accumulate
from .threads import address, aligned, get_num_threads, native, run, set_num_threads
from .ufuncs import make_ufunc

__all__ = [
    "check_targets",
    "cross_entropy",
    "ctc",
    "define",
    "each",
    "first_outside",
    "get_num_threads",
    "loss",
    "name",
    "nll_loss",
    "plain_loss",
    "row_loss",
    "set_num_threads",
    "softmax",
    "softmax_backward",
    "step",
    "total",
    "ufunc",
]

name = "numba"
WANTED = {  # of value, gradients, second derivatives, by the number of gradients
    1: {"v": 0b001, "vg": 0b011, "vgh": 0b111, "g": 0b010},
    2: {"v": 0b00001, "vg": 0b00111, "vgh": 0b11111, "g": 0b00110},
}


def _kernel(kernel, array):
    return getattr(numba_formulas, f"{kernel}_f{8 * array.itemsize}")


_element_kernels = {}  # compiled, kept alive for their addresses


def _element_kernel(formula, mode, itemsize):
    key = formula, mode, itemsize
    if key not in _element_kernels:
        function = getattr(custom.modules.get(formula, numba_formulas), f"{formula}_{mode}_f{8 * itemsize}")
        _element_kernels.setdefault(key, kernel_address(function, float64 if itemsize == 8 else float32))
    return _element_kernels[key]


def _view(array):
    """An array (outer, classes, inner) and its strides in elements."""
    if array is None:
        return None, 0, 0, 0
    return array, *(s // array.itemsize for s in array.strides)


def _accumulate(acc, partials):
    """acc, a compensated sum [hi, lo], gains the partial sums in their order."""
    if acc is None:
        return
    acc[:] = accumulate(*acc.tolist(), partials.ravel().tolist())


# Elementwise losses


def loss(formula, mode, params, inputs, weight, mask, upstream, scale, outputs, acc):
    """An elementwise loss over contiguous arrays; outputs (value, *gradients, *second derivatives) are filled, acc gains the sum.

    Inputs after the first, weight and upstream may be shorter: they repeat.
    """
    x, given = inputs[0], (*inputs, weight, upstream)
    kernel = _element_kernel(formula, mode, x.itemsize)
    sources, targets = [*map(address, given)], [*map(address, outputs)]
    periods = [0 if a is None or a.size == x.size else a.size for a in given]
    written = {k: target for k, target in enumerate(targets) if target}
    direct = sum(1 << k for k, target in written.items() if target not in sources)
    streams = formula in LIGHT or any(layout.holds_up(t, s) for t in written.values() for s in sources[: len(inputs)])
    streams = streams and x.nbytes >= layout.STREAM and direct == sum(1 << k for k in written)
    words, partials = np.array(sources + periods + targets), np.zeros((-(-x.size // CHUNK), 2))
    at, length = address(words), 8 * len(given)
    run(
        _kernel("loss", x), len(partials), x.size, LOSS_SCRATCH_BYTES,
        kernel.address, at, at + length, len(inputs), len(outputs), mask, np.array((scale, *params)),
        at + 2 * length, WANTED[len(outputs) // 2][mode], 0 if streams else direct, streams, partials, x.size, keep=(words, given, outputs),
    )  # fmt: skip
    _accumulate(acc, partials)


@cache
def _small(formula, mode, itemsize):
    kernel = _element_kernel(formula, mode, itemsize)
    return kernel.address, getattr(numba_formulas, f"small_loss_f{8 * itemsize}"), WANTED[1][mode]


def plain_loss(formula, mode, params, x, y, divide_by):
    """(value, gradient, second derivative) of like contiguous arrays that are not empty, None where the mode has them not.

    As `loss` computes them, to the bit. A small array's time is that of the calls around its kernel: there is one.
    """
    kernel, driver, wanted = _small(formula, mode, x.itemsize)
    value, grad, hess = np.empty(1, x.dtype), np.empty_like(x) if wanted & 2 else None, np.empty_like(x) if wanted & 4 else None
    if x.size > CHUNK:
        acc = np.zeros(2)
        loss(formula, mode, params, (x, y), None, None, None, 1.0 / divide_by, (None, grad, hess), acc)
        with np.errstate(all="ignore"):
            value[0] = acc.sum() / divide_by
        return value[0], grad, hess
    numbers, (memory, scratch) = np.array((1.0 / divide_by, *params)), aligned(LOSS_SCRATCH_BYTES)
    driver(scratch, kernel, address(x), address(y), address(value), address(grad), address(hess), wanted, address(numbers), x.size, divide_by)
    return value[0], grad, hess


def first_outside(values, mask, low, high, ends):
    """The position of the first value outside [low, high], or where ends other than low and high, among those where mask; or -1."""
    found = np.zeros(-(-values.size // CHUNK), np.int64)
    run(_kernel("outside", values), found.size, values.size, 0, values, mask, float(low), float(high), bool(ends), found, values.size)
    return int(next(iter(found[found > 0]), 0)) - 1


def total(values, mask, acc):
    """acc gains the sum of the values where mask (None: everywhere)."""
    partials = np.zeros((-(-values.size // CHUNK), 2))
    run(_kernel("total", values), len(partials), values.size, SCRATCH_BYTES, values, mask, partials, values.size)
    _accumulate(acc, partials)


# Rows

_row_layout = lru_cache(layout.row_layout)


def _run_rows(kernel, x, arguments, acc=None):
    outer, n_classes, inner = x.shape
    n_rows, (group, width, scratch, chunk) = outer * inner, _row_layout(n_classes, x.itemsize)
    n_chunks = -(-n_rows // chunk)
    partials = np.zeros((n_chunks, 2))
    run(
        _kernel(kernel, x), n_chunks, n_rows * max(n_classes, 1), scratch,
        *arguments, n_rows, chunk, partials, n_classes, inner, group, width,
    )  # fmt: skip
    _accumulate(acc, partials)


def softmax(op, x, out):
    """op "softmax", "log_softmax": out (outer, C, inner); "logsumexp": out (outer, inner), contiguous."""
    if x.shape[1] == 0:
        if op == "logsumexp":
            out.fill(-np.inf)
        return
    code = ("softmax", "log_softmax", "logsumexp").index(op)
    target = (out, 0, 0, 0) if op == "logsumexp" else _view(out)
    _run_rows("softmax", x, (code, _view(x), target))


def softmax_backward(op, g, y, out):
    """The gradient of a softmax or log_softmax from the upstream gradient g and the result y."""
    code = ("softmax", "log_softmax").index(op)
    _run_rows("softmax_backward", y, (code, _view(g), _view(y), _view(out)))


def check_targets(target, n_classes, ignore_index, class_weight, row_weight, sums):
    """The position of the first index outside [0, n_classes), or -1; sums gains [weight of the used rows, their number]."""
    weights = class_weight if class_weight is not None else row_weight
    kernel = _kernel("check_targets", sums if weights is None else weights)
    target = target.astype(np.int64, copy=False)
    return kernel(*native((target.size, n_classes, target, ignore_index, class_weight, row_weight, sums)))


def cross_entropy(
    mode, x, target, class_weight, row_weight, upstream, ignore_index, smoothing, z_loss, gamma, scale, value, grad, hess, acc
):
    """Cross-entropy of the rows of x (outer, C, inner) against class indices or probabilities, each class's part times (1 - p)^gamma."""
    classes = None if target.dtype == x.dtype else target.astype(np.int64, copy=False)
    probabilities = target if classes is None else None
    arguments = (
        _view(x), _view(probabilities), classes, class_weight, row_weight, upstream,
        ignore_index, float(smoothing), float(z_loss), float(gamma), float(scale), value, _view(grad), _view(hess),
    )  # fmt: skip
    _run_rows("cross_entropy", x, arguments, acc=acc)


def nll_loss(mode, x, target, class_weight, row_weight, upstream, ignore_index, scale, value, grad, hess, acc):
    """-w[t] x[t] of the rows of x (outer, C, inner)."""
    classes = target.astype(np.int64, copy=False)
    arguments = (
        _view(x), classes, class_weight, row_weight, upstream,
        ignore_index, float(scale), value, _view(grad), _view(hess),
    )  # fmt: skip
    _run_rows("nll_loss", x, arguments, acc=acc)


# Sequences


def ctc(x, labels, offsets, n_frames, n_labels, used, blank, logits, zero_infinity, scale, value, grad):
    """CTC of the sequences `used` of x (T, N, C): value (float64) and, where grad is an array, the gradient of scale * value."""
    if not used.size:
        return
    frames, _, n_classes = x.shape
    lengths = set(zip(n_frames[used].tolist(), n_labels[used].tolist()))
    scratch = layout.ctc_scratch(*zip(*lengths, strict=True), grad is not None)
    run(
        _kernel("ctc", x), used.size, x.size + 32 * frames * (labels.size + used.size), scratch,
        _frames(x), labels, offsets, n_frames, n_labels, used, blank, int(logits), int(zero_infinity), scale, value, _frames(grad),
        frames, n_classes,
    )  # fmt: skip


def _frames(array):
    """An array (T, N, C) and its strides over frames and sequences in elements."""
    if array is None:
        return None, 0, 0
    return array, array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


# Whole rows

LINE_OPS = {  # code, passes over a row, how its own class is used, what stands beyond the end of a row
    "multi_margin": (layout.MULTI_MARGIN, 1, layout.REMOVED, -np.inf),
    "crammer_singer": (layout.CRAMMER_SINGER, 2, layout.REMOVED, -np.inf),
    "cosine": (layout.COSINE, 1, layout.NO_CLASS, 0.0),
    "norm": (layout.NORM, 1, layout.NO_CLASS, 0.0),
    "norm_p": (layout.NORM_P, 2, layout.NO_CLASS, 0.0),
    "entropy": (layout.ENTROPY, 1, layout.NO_CLASS, 0.0),
    "entropy_of_logits": (layout.ENTROPY_OF_LOGITS, 2, layout.NO_CLASS, -np.inf),
    "brier": (layout.BRIER, 1, layout.REMOVED, 0.0),
}


def row_loss(
    op, params, inputs, target, ignore_index, class_weight, row_weight, upstream, scale, value, grads, hesses, acc
):
    """A loss of contiguous rows (n, C) against int64 targets; value, grads, hesses are filled, acc gains the sum."""
    x = inputs[0]
    n_rows, n_classes = x.shape
    chunk = layout.line_chunk(n_rows, n_classes)
    arrays = [(*map(address, group or ()), 0, 0, 0)[:3] for group in (inputs, grads, hesses)]
    params = (*map(float, params), 0.0, 0.0, 0.0, 0.0)[:4]
    partials = np.zeros((-(-n_rows // chunk), 2))
    if op == "multilabel_margin":
        kernel, scratch = "multilabel_margin", 16 * (n_classes + 16)
        arguments = (*arrays, target, row_weight, upstream, value, scale)
    else:
        code, steps, own_class, filler = LINE_OPS[op]
        if target is None:
            own_class = layout.NO_CLASS
        n_pairs = 1 if len(inputs) == 2 else 3 if params[3] else 2
        kernel, scratch = "row_loss", layout.LINE_SCRATCH
        arguments = (code, steps, own_class, filler, len(inputs), n_pairs, *arrays, target, ignore_index,
                     class_weight, row_weight, upstream, value, params, scale)  # fmt: skip
    run(
        _kernel(kernel, x), len(partials), 4 * n_rows * max(n_classes, 1), scratch, *arguments,
        n_rows, n_classes, chunk, partials, keep=(inputs, grads, hesses),
    )  # fmt: skip
    _accumulate(acc, partials)


# Optimizer steps


def step(formula, tensors, grads, params):
    """One optimizer step over Tensors and their gradients, in one parallel region."""
    kernel = _element_kernel(formula, "update", tensors.itemsize)
    addresses = np.insert(tensors.addresses, 1, [*map(address, grads)], axis=1)
    run(
        _kernel("step", grads[0]), len(tensors.pieces), tensors.elements, SCRATCH_BYTES, kernel.address, addresses,
        addresses.shape[1], tensors.pieces, np.array(params, np.float64), keep=(tensors, grads), interruptible=False,
    )  # fmt: skip


# Activations


def each(task, pieces):
    """task(piece) for pieces of a large array, a million elements or two each, on the threads: the loops of these ufuncs release the GIL."""
    pieces = list(pieces)

    def work(first, last, scratch):
        with np.errstate(all="ignore"):
            for piece in pieces[first:last]:
                task(piece)

    run(work, len(pieces), len(pieces) << 21, 0)


@cache
def ufunc(formula, which="value"):
    """The NumPy ufunc of an activation: which is "value", "grad" (f'(x)), "backward" (g * f'(x)) or "parameter" (g times
    the derivative by the parameter).
    """
    mode = "backward" if which == "grad" else which  # with 1 for g
    arrays = custom.modules[formula].ARRAYS if formula in custom.modules else ACTIVATIONS[formula]
    n_inputs = len(arrays) + (which in ("backward", "parameter"))
    kernels = [_element_kernel(formula, mode, itemsize).address for itemsize in (8, 4)]
    name = formula if which == "value" else f"{formula}_{which}"
    return make_ufunc(name, f"{formula}: {which}", n_inputs, *kernels, which == "grad", formula in LIGHT)
