"""Optimizers' arrays on a device: see fastloss/optim/_memory.py, whose Host has the same methods."""

import math

import numpy as np

from .._dispatch import on_device
from ..kernels import cuda as kernels
from ..kernels.cuda.primitives import PIECE
from ..optim import _check
from ._arrays import F64, I64, Device


class Tensors:
    """Parameters and their states, of one dtype: for each launch a table on the device (see kernels/cuda/optim.py)."""

    def __init__(self, rows, device):
        self.launches, self.itemsize, most = [], rows[0][0].itemsize, kernels.TUPLES[-1]
        for i in range(0, len(rows), most):
            part = rows[i : i + most]
            pieces = np.cumsum([-(-row[0].size // PIECE) for row in part]).tolist()
            table = [number for end, row in zip(pieces, part, strict=True) for number in (end, row[0].size, *(a.ctypes.data for a in row))]
            array, seen = device.empty((len(table),), I64)
            kernels.put(seen.ctypes.data, table, device.stream)
            self.launches.append((array, seen.ctypes.data, slice(i, i + most), pieces[-1]))
        self.width, self.pieces = 2 + len(rows[0]), sum(launch[-1] for launch in self.launches)

    def run(self, kernel, grads, stream, arguments):
        """The kernel on every piece; arguments: what it takes beside gradients and table, from the number of pieces before."""
        before = 0
        for _, table, part, n in self.launches:
            addresses = kernels.padded([g.ctypes.data for g in grads[part]])
            kernels.launch(f"{kernel}_f{8 * self.itemsize}", n, kernels.THREADS, stream, addresses, table, *arguments(before))
            before += n


class Memory(Device):
    """Views, which nobody may read, of the caller's parameters and of states beside them."""

    def __init__(self, arrays):
        super().__init__(arrays)
        self._first, self._arrays = next(filter(on_device, arrays)), {}

    def __reduce__(self):
        raise TypeError("an optimizer of arrays on a CUDA device cannot be pickled or copied; keep its state_dict()")

    def now(self):
        """The memory of one step, on the stream of this moment."""
        return Memory([self._first])

    def writable(self, array, name):
        return _check.writable(self.array(name, array), name)

    @staticmethod
    def order(array):
        return "C"

    def flat(self, array, order):
        """The elements in C order: a view, or memory for them."""
        return array.reshape(-1) if array.flags.c_contiguous else self.scratch(array.shape, array.dtype).reshape(-1)

    def like(self, param, value=0):
        array, seen = self.empty(param.shape, param.dtype)
        self._arrays[id(seen)] = array
        self.fill(seen, value) if np.isscalar(value) else self.copy(seen, value)
        return seen

    def fill(self, target, value):
        kernels.copy(None, target, self.stream, fill=value)

    def copy(self, target, source):
        kernels.copy(source, target, self.stream)

    def load(self, target, value):
        """From the host."""
        self.copy(target, self.view("state", self.library.device(np.array(value, order="C"))))

    def host(self, seen):
        return self.library.host(self._arrays[id(seen)])

    def original(self, seen):
        return self._arrays[id(seen)]

    def gradient(self, grad, name, shape, dtype, order):
        return self.contiguous(_check.gradient(self.view(name, grad), name, shape, dtype), dtype).reshape(-1)

    def tensors(self, rows):
        return Tensors(rows, self)

    def clipped(self, scale, max_norm, grads, groups):
        _check.number("max_norm", max_norm)
        _, norm = self.norm([(group.tensors, [grads[i] for i in group.members]) for group in groups], 2.0)
        return scale, (norm.ctypes.data, float(max_norm))

    def norm(self, groups, p):
        """The norm over all gradients of pairs (Tensors, gradients)."""
        pairs = self.scratch((sum(tensors.pieces for tensors, _ in groups), 2))
        begin = pairs.ctypes.data
        for tensors, grads in groups:
            tensors.run("norm", grads, self.stream, lambda before: (tensors.width, p, begin + 16 * before))
            begin += 16 * tensors.pieces
        array, out = self.empty((), F64)
        kernels.launch("finish_norm", 1, kernels.THREADS, self.stream, pairs.ctypes.data, len(pairs), p, out.ctypes.data)
        return array, out

    def step(self, formula, tensors, grads, scalars, norm=0, max_norm=0.0):
        scalars = (*map(float, scalars), norm, max_norm)
        tensors.run(f"{formula}_update", grads, self.stream, lambda _: scalars)


def clip_grad_norm(grads, names, max_norm, norm_type, error_if_nonfinite):
    """`fl.optim.clip_grad_norm`; the norm is a 0-d array on the device, which nothing waits for but error_if_nonfinite."""
    memory = Memory(grads)
    views = [_check.writable(memory.array(name, grad), name, halves=True) for grad, name in zip(grads, names, strict=True)]
    flat, back = [], []
    for seen in views:
        wide = np.dtype(np.float64 if seen.itemsize == 8 else np.float32)
        flat.append(memory.contiguous(seen, wide).reshape(-1))
        if flat[-1].ctypes.data != seen.ctypes.data:
            back.append((seen, flat[-1].reshape(seen.shape)))
    by_dtype = {f.dtype: [g for g in flat if g.dtype == f.dtype and g.size] for f in flat if f.size}
    groups = [(memory.tensors([(g,) for g in own]), own) for own in by_dtype.values()]
    array, norm = memory.norm(groups, float(norm_type))
    if error_if_nonfinite:
        value = memory.numbers(array).item()
        if not math.isfinite(value):
            raise RuntimeError(f"the norm of grads is {value}; error_if_nonfinite expects a finite one")
    for tensors, own in groups:
        tensors.run("rescale", own, memory.stream, lambda _: (tensors.width, norm.ctypes.data, float(max_norm)))
    for seen, own in back:
        memory.copy(seen, own)
    return array
