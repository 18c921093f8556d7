"""Arrays that the kernels do not take as they are (other dtypes, strides, byte orders) pass through in slabs.

A slab is a run of elements, or of rows, copied to contiguous memory of the working dtype; memory stays flat whatever
the array's size. Slabs end where the engine's own chunks end, so sums have the same bits as those of the contiguous array.
"""

import math

import numpy as np

from ._check import contiguous

SLAB = 1 << 20          # elements; a multiple of the engine's chunk
REPEATED = 1 << 16      # elements up to which an array that repeats is handed over once


def direct(array, dtype):
    """Whether the kernels take the array as it is."""
    return array is None or (array.dtype == dtype and array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned)


def overlaps(array, out, exactly=True):
    """Whether array is one that shares memory with out; exactly: not where each element has the place of its own result."""
    return isinstance(array, np.ndarray) and np.may_share_memory(array, out) and not (
        exactly and array.ctypes.data == out.ctypes.data and array.strides == out.strides and array.shape == out.shape
        and array.dtype == out.dtype
    )


def repeating(array, dtype):
    """A broadcast array; where all that it repeats along is its leading axes, its own elements alone, for the kernels to repeat."""
    own = array
    while own.ndim and own.size and (own.strides[0] == 0 or own.shape[0] == 1):
        own = own[0]
    return array if own.size == array.size or own.size > REPEATED else contiguous(own, dtype).reshape(-1)


def folded(array, shape):
    """array summed over the axes along which one of that shape was repeated: the last if it lacks it, else those of length 1."""
    if shape == array.shape:
        return array
    if shape == array.shape[:-1]:
        return array.sum(-1, dtype=np.float64)
    padded = (1,) * (array.ndim - len(shape)) + shape
    axes = tuple(i for i, n in enumerate(padded) if n == 1 != array.shape[i])
    return array.sum(axes, dtype=np.float64).reshape(shape)


def flat_slabs(inputs, dtypes, outputs):
    """Runs of equally long 1-D arrays: (inputs, outputs) with None kept, outputs written back after each run.

    All arrays have the same shape and are walked in C order; but what `repeating` made shorter stays short.
    """
    size = next(a.size for a in inputs if a is not None)
    whole = all(map(direct, inputs, dtypes)) and all(direct(out, dtypes[0]) for out in outputs)
    if whole:
        yield [None if a is None else a.reshape(-1) for a in inputs], [None if o is None else o.reshape(-1) for o in outputs]
        return
    odd = [i for i, (a, dtype) in enumerate(zip(inputs, dtypes, strict=True)) if not direct(a, dtype)]
    walker = np.nditer(
        [inputs[i] for i in odd], ["external_loop", "buffered", "ranged", "zerosize_ok"], [["readonly", "contig", "aligned"]] * len(odd),
        [dtypes[i] for i in odd], order="C", casting="unsafe", buffersize=1 << 16,
    ) if odd and size else None
    spare = {i: np.empty(min(SLAB, size), dtypes[i]) for i in odd}
    spare_out = [None if o is None or direct(o, dtypes[0]) else np.empty(min(SLAB, size), dtypes[0]) for o in outputs]
    for begin in range(0, size, SLAB):
        end = min(begin + SLAB, size)
        if walker is not None:
            walker.iterrange = (begin, end)
            at = 0
            for pieces in walker:
                pieces = (pieces,) if len(odd) == 1 else pieces
                for i, piece in zip(odd, pieces, strict=True):
                    spare[i][at : at + len(piece)] = piece
                at += len(pieces[0])
        ins = [None if a is None else spare[i][: end - begin] if i in spare else np.roll(a, -begin) if a.size < size
               else a.reshape(-1)[begin:end] for i, a in enumerate(inputs)]
        outs = [None if o is None else o.reshape(-1)[begin:end] if s is None else s[: end - begin] for o, s in zip(outputs, spare_out, strict=True)]
        yield ins, outs
        for out, piece in zip(outputs, spare_out, strict=True):
            if piece is not None:
                if out.flags.c_contiguous:
                    out.reshape(-1)[begin:end] = piece[: end - begin]
                else:
                    out.flat[begin:end] = piece[: end - begin]


def as_rows(array, axis):
    """array as a view (outer, C, inner) with the classes of `axis` in the middle, or None where no view does that."""
    if array.ndim == 3 and axis == 1:
        return array
    view = array.reshape(math.prod(array.shape[:axis]), array.shape[axis], math.prod(array.shape[axis + 1 :]))
    return view if array.size == 0 or np.may_share_memory(view, array) else None


def row_slabs(arrays, axis, dtype, outputs):
    """Runs of rows, as (outer, C, inner) blocks of the working dtype, in C order of the rows.

    arrays and outputs have the same shape (None is kept); also yields the range of rows that the run covers.
    """
    def usable(a):
        if a is None:
            return True
        return a.dtype == dtype and a.dtype.isnative and a.flags.aligned and all(s % a.itemsize == 0 for s in a.strides)

    first = next(a for a in arrays if a is not None)
    if all(map(usable, [*arrays, *outputs])):
        views = [None if a is None else as_rows(a, axis) for a in [*arrays, *outputs]]
        if all((v is None) == (a is None) for v, a in zip(views, [*arrays, *outputs], strict=True)):
            yield views[: len(arrays)], views[len(arrays) :], slice(None)
            return
    n_classes = first.shape[axis]
    shape = first.shape[:axis] + first.shape[axis + 1 :]
    n_rows = math.prod(shape)
    step = max(16, SLAB // max(n_classes, 1) // 16 * 16)
    moved = [None if a is None else np.moveaxis(a, axis, -1) for a in [*arrays, *outputs]]
    for begin in range(0, n_rows, step):
        rows = np.arange(begin, min(begin + step, n_rows))
        index = np.unravel_index(rows, shape) if shape else ()
        pick = [None if m is None else (m[index] if shape else m[None]) for m in moved]
        ins = [None if p is None else contiguous(p, dtype)[:, :, None] for p in pick[: len(arrays)]]
        outs = [None if m is None else np.empty((len(rows), n_classes, 1), dtype) for m in moved[len(arrays) :]]
        yield ins, outs, slice(begin, begin + len(rows))
        for out, block in zip(moved[len(arrays) :], outs, strict=True):
            if out is not None:
                out[index if shape else ...] = block[:, :, 0] if shape else block[0, :, 0]


def line_slabs(arrays, dtypes, outputs, axis, dtype):
    """Runs of rows along an axis, as contiguous (rows, C) arrays: (inputs, outputs, range of the rows); outputs are None or of
    the inputs' shape, and written back after each run.
    """
    ndim = max(arrays[0].ndim, 1)
    moved = [None if a is None else np.moveaxis(a.reshape(a.shape or 1), axis % ndim, -1) for a in (*arrays, *outputs)]
    n, shape = len(arrays), moved[0].shape
    n_rows, n_classes = math.prod(shape[:-1]), shape[-1]
    ins, outs = moved[:n], moved[n:]
    if all(map(direct, ins, dtypes)) and all(direct(o, dtype) for o in outs):
        flat = [None if a is None else a.reshape(n_rows, n_classes) for a in moved]
        yield flat[:n], flat[n:], slice(None)
        return
    step = 1
    while step * max(n_classes, 1) < SLAB:
        step *= 2
    for begin in range(0, n_rows, step):
        part = slice(begin, min(begin + step, n_rows))
        index = np.unravel_index(np.arange(n_rows)[part], shape[:-1]) if len(shape) > 1 else (None,)
        pieces = [contiguous(a[index], t) for a, t in zip(ins, dtypes, strict=True)]
        fresh = [None if o is None else np.empty(pieces[0].shape, dtype) for o in outs]
        yield pieces, fresh, part
        for out, piece in zip(outs, fresh, strict=True):
            if out is not None:
                out[index if len(shape) > 1 else ...] = piece if len(shape) > 1 else piece[0]
