"""Device arrays: whose they are, where they lie, and what the device reports."""

import functools
import math
import sys

import numpy as np
from numba import cuda

from .. import _check
from .._dispatch import on_device
from .._lines import NO_INDEX
from ..kernels import cuda as kernels

F64, I64 = np.dtype(np.float64), np.dtype(np.int64)
NUMBERS = bool | int | float | np.generic


# Libraries: who allocates, and on which stream


class NumbaArrays:
    """Numba's device arrays, the simulator's, and whatever else says where it lies: results are Numba's."""

    def __init__(self, like):
        self.stream = getattr(like, "__cuda_array_interface__", {}).get("stream") or 0

    @staticmethod
    def empty(shape, dtype):
        return kernels.device_array(shape, dtype)

    def host(self, array):
        return array.copy_to_host()

    @staticmethod
    def device(array):
        return cuda.to_device(array)


class CupyArrays:
    def __init__(self, like):
        self._cupy = sys.modules["cupy"]
        self.stream = self._cupy.cuda.get_current_stream().ptr

    def empty(self, shape, dtype):
        return self._cupy.empty(shape, dtype)

    def host(self, array):
        return array.get()

    def device(self, array):
        return self._cupy.asarray(array)


class TorchTensors:
    def __init__(self, like):
        self._torch, self._device = sys.modules["torch"], like.device
        self.stream = self._torch.cuda.current_stream(like.device).cuda_stream

    def empty(self, shape, dtype):
        return self._torch.empty(shape, dtype=getattr(self._torch, dtype.name), device=self._device)

    def host(self, array):
        return array.cpu().numpy()

    def device(self, array):
        return self._torch.from_numpy(array).to(self._device)


LIBRARIES = {"cupy": CupyArrays, "torch": TorchTensors}


class _Memory:
    def __init__(self, interface):
        self.__array_interface__ = interface


class View(np.ndarray):
    """The memory of a device array: address, shape, strides, dtype. Nobody may read it."""

    far = True      # see _check.parameter


def view(value):
    if hasattr(value, "__cuda_ndarray__"):
        interface = dict(value.__array_interface__)
        interface["data"] = (interface["data"][0] + kernels.FOREIGN, interface["data"][1])
    elif hasattr(value, "__cuda_array_interface__"):
        interface = dict(value.__cuda_array_interface__)
    else:
        interface = _by_dlpack(value)
    interface["version"] = 3
    if math.prod(interface["shape"]) == 0:
        seen = np.empty(interface["shape"], interface["typestr"])
    else:
        seen = np.asarray(_Memory({key: interface[key] for key in ("data", "shape", "strides", "typestr", "version") if key in interface}))
    return (seen.view(_bfloat16()) if seen.dtype == np.dtype("V2") else seen).view(View)


def _by_dlpack(value):
    """What the array interface would say of an array that offers DLPack alone, ready on the default stream."""
    try:
        from cuda.core.utils import StridedMemoryView
    except ImportError:
        from cuda.core.experimental.utils import StridedMemoryView
    seen = StridedMemoryView.from_dlpack(value, stream_ptr=1)
    steps = seen.strides and tuple(step * seen.dtype.itemsize for step in seen.strides)
    return {"data": (seen.ptr + kernels.FOREIGN, seen.readonly), "shape": seen.shape, "strides": steps, "typestr": seen.dtype.str}


def _bfloat16():
    try:
        from ml_dtypes import bfloat16
    except ImportError as missing:
        raise TypeError("an argument has dtype bfloat16, for which NumPy needs the package ml_dtypes") from missing
    return bfloat16


class Device:
    """One call: the library and the stream of its first device array, views of its arguments, memory for its results."""

    def __init__(self, values):
        if not kernels.available():
            raise RuntimeError("arrays on a CUDA device need a CUDA driver, and a device that it finds: Numba sees none")
        first = next(value for value in values if on_device(value))
        library = type(first).__module__.partition(".")[0]
        self.library = LIBRARIES.get(library, NumbaArrays)(first)
        self.stream = self.library.stream
        self._kept, self._after = [], []

    def seen(self, value):
        """A device array as a View, anything else as it is."""
        if not on_device(value):
            return value
        self._kept.append(value)
        return view(value)

    def view(self, name, value, boolean=False):
        """A device array as an array; a number, put on the device."""
        if not isinstance(value, NUMBERS):
            return self.array(name, value, boolean)
        number = _check.array(name, value, boolean=boolean)
        seen = self.scratch((), number.dtype)
        kernels.copy(None, seen, self.stream, fill=number.item())
        return seen

    def array(self, name, value, boolean=False):
        """A device array, or its View, as an array."""
        if isinstance(value, View):
            return _check.array(name, value, boolean=boolean)
        if not on_device(value):
            raise TypeError(f"{name} is a {type(value).__name__}; it must be on the device like the other arrays")
        self._kept.append(value)
        return _check.array(name, view(value), boolean=boolean)

    def mask(self, value, shape):
        if value is None or value is True:
            return None
        return _check.broadcast("where", self.boolean("where", value), shape)

    def boolean(self, name, value):
        """A view of bools."""
        return _check.boolean(name, self.view(name, value, boolean=True))

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

    def apart(self, array):
        """A copy in C order."""
        fresh = self.scratch(array.shape, array.dtype)
        kernels.copy(array, fresh, self.stream)
        return fresh

    def operand(self, array, dtype):
        """(address, each, period) of a broadcast view: its element i stands at i // each % period, or i where period is 0."""
        if array is None:
            return 0, 1, 0
        moves = [k for k, (n, step) in enumerate(zip(array.shape, array.strides, strict=True)) if n > 1 and step != 0]
        first, last = (moves[0], moves[-1] + 1) if moves else (0, 0)
        core = array[(0,) * first + (slice(None),) * (last - first) + (0,) * (array.ndim - last) + (...,)] if array.size else array
        core = self.contiguous(core, dtype)
        each, period = math.prod(array.shape[last:]), core.size
        return core.ctypes.data, each, 0 if period == array.size else period

    def target(self, label, out, shape, dtype, computed, inputs):
        """What is returned for an output, and the view that kernels fill."""
        if out is None:
            result, seen = self.empty(shape, dtype)
        else:
            result, seen = out, _check.out(label, self.array(label, out), shape, dtype)
        same = lambda a: (a.ctypes.data, a.shape, a.strides, a.dtype) == (seen.ctypes.data, seen.shape, seen.strides, seen.dtype)
        if seen.dtype == computed and seen.flags.c_contiguous and not any(np.may_share_memory(a, seen) and not same(a) for a in inputs):
            return result, seen
        fresh = self.scratch(shape, computed)
        self._after.append((fresh, seen))
        return result, fresh

    def moved(self, output, axis):
        """An output with an axis moved to the end, contiguous: itself, or memory that is copied to it at the end."""
        seen = np.moveaxis(output, axis, -1) if output.ndim else output
        if seen.flags.c_contiguous:
            return seen
        fresh = self.scratch(seen.shape, seen.dtype)
        self._after.insert(0, (fresh, seen))
        return fresh

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


TOLD = []       # (error, message) of each code that a kernel may write into the report


@functools.cache
def code_of(error, message):
    TOLD.append((error, message))
    return len(TOLD)


def domain_code(function, name, domain):
    """The code of an argument that has values outside its domain."""
    return code_of(ValueError, f"{name} of {function.__name__} had a value outside its domain; it must be {domain.wanted}")


@functools.cache
def report():
    """[place + 1, index, classes, ignore_index] of the first bad class index since the last check, and a code of what else was wrong."""
    report = NumbaArrays.empty((5,), I64)
    kernels.copy(None, view(report), 0)
    kernels.synchronize()                               # other streams do not wait for this one
    return report


def check() -> None:
    """Wait for the device and raise what calls since the last check have found in their arrays; their losses and gradients were NaN there.

    Raises
    ------
    IndexError
        Naming the first class index out of range of the first call that had one; for a label that is no class.
    ValueError
        Naming an argument that had values outside the domain of a loss, such as a probability of 2.
    """
    if not report.cache_info().currsize:
        return
    kernels.synchronize()
    place, index, n_classes, ignore_index, code = report().copy_to_host().tolist()
    if place or code:
        kernels.copy(None, view(report()), 0)
        kernels.synchronize()
    if place:
        ignoring = "" if ignore_index == NO_INDEX else f" or ignore_index ({ignore_index})"
        raise IndexError(f"target.flat[{place - 1}] is {index}; class indices must be in [0, {n_classes}){ignoring}")
    if code:
        error, message = TOLD[code - 1]
        raise error(message)


def rows_of(device, array, axis, dtype):
    """array as a view (outer, C, inner) of that dtype, or a copy of it."""
    shape = math.prod(array.shape[:axis]), array.shape[axis], math.prod(array.shape[axis + 1 :])
    if array.dtype == dtype:
        try:
            return np.reshape(array, shape, copy=False)
        except ValueError:
            pass
    return device.contiguous(array, dtype).reshape(shape)


def strided(array):
    """Address and strides in elements of a view (outer, C, inner)."""
    return (0, 0, 0, 0) if array is None else (array.ctypes.data, *(s // array.itemsize for s in array.strides))
