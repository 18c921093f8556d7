"""NumPy ufuncs from compiled kernels.

Not numba.vectorize: its ufuncs raise and warn through the floating-point flags, know no float16, and round the
last elements of an array otherwise than the rest.
"""

import ctypes
from functools import cache

import numpy as np
from numba import cfunc, int64, types

from .._generated import numba_formulas
from .layout import BLOCK
from .primitives import FLAGS, cached

WORDS = types.CPointer(int64)
SIGNATURE = types.void(WORDS, WORDS, WORDS, WORDS)


@cache
def _loops():
    """The inner loops, float64 and float32."""
    loops = numba_formulas.ufunc_loop_f64, numba_formulas.ufunc_loop_f32
    return [cached(lambda **options: cfunc(SIGNATURE, **options), loop, **FLAGS) for loop in loops]


@cache
def _from_func_and_data():
    """NumPy's C function of that name, entry 1 of its table."""
    capsule = np._core._multiarray_umath._UFUNC_API
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(get_pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    p, i = ctypes.c_void_p, ctypes.c_int
    return ctypes.PYFUNCTYPE(ctypes.py_object, p, p, p, i, i, i, i, p, p, i)(table[1])


_alive = []  # what NumPy keeps pointers to
_ones = [np.ones(BLOCK, dtype) for dtype in (np.float64, np.float32)]


def make_ufunc(name, doc, n_inputs, kernel_f64, kernel_f32, ones_first, light):
    """A ufunc of one output; its loops are float64 (first: integers take it), float32, and float16 by float32."""
    ones_f64, ones_f32 = (a.ctypes.data if ones_first else 0 for a in _ones)
    data = np.array([
        [kernel_f64, n_inputs, 0, ones_f64, light], [kernel_f32, n_inputs, 0, ones_f32, light], [kernel_f32, n_inputs, 1, ones_f32, False],
    ])  # fmt: skip
    jobs = np.array([row.ctypes.data for row in data])
    double, single = (loop.address for loop in _loops())
    loops = np.array([double, single, single])
    types = np.repeat([np.dtype(code).num for code in "dfe"], n_inputs + 1).astype(np.int8)
    texts = [ctypes.create_string_buffer(t.encode()) for t in (name, doc)]
    _alive.append((data, jobs, loops, types, texts))
    return _from_func_and_data()(
        loops.ctypes.data, jobs.ctypes.data, types.ctypes.data, 3, n_inputs, 1, -1, *map(ctypes.addressof, texts), 0
    )
