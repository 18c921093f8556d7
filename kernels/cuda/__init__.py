"""CUDA kernels, compiled on first use for arrays that are known by their address on the device.

Arrays are NumPy arrays that nobody may read: they have the address, shape, strides and dtype of memory on the device.
"""

from functools import cache

import numpy as np
from numba import cuda

from .._generated import cuda_formulas
from ..generate import custom_module
from . import copies
from .primitives import FOREIGN, KEEP_f32, KEEP_f64, SIMULATED, WARP

__all__ = ["FOREIGN", "THREADS", "available", "blocks_for", "copy", "define", "device_array", "launch", "loop", "padded", "put", "rows", "synchronize"]

available, device_array, synchronize = cuda.is_available, cuda.device_array, cuda.synchronize

THREADS = 4 if SIMULATED else 256
MOST_BLOCKS = 2 if SIMULATED else 1024  # of a loop over elements: so many pairs end a sum
FLIGHT = 4
TUPLES = (2,) if SIMULATED else (8, 64)  # lengths of the tuples that a launch takes
LONGEST_TEAM = 4 if SIMULATED else 1024
LONG_TEAM = 4 if SIMULATED else 512  # of rows that do not fit
REGISTERS = {True: 64, False: 128}  # of a thread, so that the longest team fits


@cache
def _compiled(function, kinds, registers):
    if SIMULATED:
        return cuda.jit(function)
    types = cuda.types
    of_kind = lambda kind: types.float64 if kind is float else types.int64 if kind is int else types.UniTuple(types.int64, kind)
    signature = types.void(*map(of_kind, kinds))
    return cuda.jit(signature, max_registers=registers)(function)


@cache
def _stream(address):
    return cuda.external_stream(address) if address else 0


@cache
def define(name, text, role):
    """Adds a user's function in the formula language, and its loops, to the generated module."""
    exec(compile(custom_module(name, text, role, "cuda"), f"<{name}>", "exec"), vars(cuda_formulas))


def launch(kernel, grid, block, stream, *arguments, registers=None):
    """Runs a kernel of the generated module, or a function, whose arguments are ints, floats and tuples of ints."""
    function = getattr(cuda_formulas, kernel) if isinstance(kernel, str) else kernel
    kinds = tuple(len(a) if isinstance(a, tuple) else type(a) for a in arguments)
    _compiled(function, kinds, registers)[grid, block, _stream(stream)](*arguments)


def padded(numbers):
    """At most TUPLES[-1] ints as a tuple of a length that kernels are compiled for."""
    size = next(size for size in TUPLES if len(numbers) <= size)
    return (*numbers, *(0,) * (size - len(numbers)))


def put(target, numbers, stream):
    """Ints go to an address, as arguments of launches: nothing waits, and no host memory is read later."""
    for i in range(0, len(numbers), TUPLES[-1]):
        part = numbers[i : i + TUPLES[-1]]
        launch("put", 1, TUPLES[-1], stream, target + 8 * i, len(part), padded(part))


def blocks_for(n):
    """The blocks of a loop over n elements; sums depend on it, and it on n alone."""
    return max(1, min(-(-n // (THREADS * FLIGHT)), MOST_BLOCKS))


def loop(kernel, n, stream, *arguments):
    """A kernel over n elements."""
    launch(kernel, blocks_for(n), THREADS, stream, n, *arguments)


def team_for(n_rows, n_classes, inner, dtype):
    """(threads of a row, rows of a block, whether a row stays in registers)."""
    keep = KEEP_f32 if dtype.itemsize == 4 else KEEP_f64
    if n_classes <= keep or (inner > 1 and n_rows >= 4096):
        return 1, THREADS // 2, n_classes <= keep
    wanted = -(-2 * n_classes // keep)  # half as many numbers as could be kept, where threads allow
    team = min(-(-wanted // WARP) * WARP, LONGEST_TEAM)
    if n_classes > keep * team:
        return LONG_TEAM, 1, False
    return team, max(1, THREADS // 2 // team) if team <= WARP else 1, True


def rows(kernel, shape, dtype, stream, *arguments, entries=True):
    """A row kernel over (outer, C, inner); with entries it has one of its own for rows that do not fit."""
    outer, n_classes, inner = shape
    n_rows = outer * inner
    team, height, whole = team_for(n_rows, n_classes, inner, dtype)
    name = f"{kernel}{'_long' * (entries and not whole)}_f{8 * dtype.itemsize}"
    launch(name, -(-n_rows // height), (team, height), stream, *arguments, registers=REGISTERS[whole])


def copy(source, target, stream, mask=None, fill=0.0):
    """target = source where mask, fill elsewhere, for arrays of one shape; source None: fill everywhere."""
    if target.size == 0:
        return
    if target.ndim > copies.AXES:
        for i in range(len(target)):
            copy(*(None if a is None else a[i] for a in (source, target)), stream, None if mask is None else mask[i], fill)
        return
    missing = copies.AXES - target.ndim
    shape = (1,) * missing + target.shape
    places = []
    for a in (source, target, mask):
        places += (0,) * (1 + copies.AXES) if a is None else (a.ctypes.data, *(0,) * missing, *a.strides)
    kernel = copies.copy_between(_element((target if source is None else source).dtype), _element(target.dtype))
    loop(kernel, target.size, stream, *shape[1:], *places, float(fill))


def _element(dtype):
    return np.uint8 if dtype == bool else dtype.type
