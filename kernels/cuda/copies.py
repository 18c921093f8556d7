"""Copies on the device between any dtypes and strides: what the other kernels, which take contiguous arrays, are given."""

from functools import cache

import numpy as np
from numba import cuda

from .primitives import bits, from_bits, inline, pointer

AXES = 4  # of one launch


@inline
def itself(v):
    return v


@inline
def from_bfloat(h):
    """A bfloat16's bits as float32."""
    return from_bits(np.int32(np.int32(h) << np.int32(16)))


@inline
def to_bfloat(v):
    """The bits of the nearest bfloat16, ties to even."""
    x = np.float32(v)
    i = np.int64(bits(x)) & 0xFFFFFFFF
    return np.uint16(0x7FC0 if x != x else (i + 0x7FFF + (i >> 16 & 1)) >> 16)


def _access(kind):
    """The type that memory is read as, what makes a number of it, and what makes it of a number."""
    return (np.uint16, from_bfloat, to_bfloat) if kind.__name__ == "bfloat16" else (kind, itself, kind)


@cache
def copy_between(source_type, target_type):
    """The kernel that copies elements of one dtype to another: where mask, fill elsewhere; strides are in bytes."""

    stored, read, _ = _access(source_type)
    kept, _, write = _access(target_type)
    clamped = source_type is np.uint64 and target_type is np.int64  # an index beyond int64 must not come round
    largest = source_type(2**63 - 1) if clamped else 0

    def copy(
        n, n1, n2, n3, source, a0, a1, a2, a3, target, b0, b1, b2, b3, mask, m0, m1, m2, m3, fill
    ):  # fmt: skip
        for i in range(cuda.grid(1), n, cuda.gridDim.x * cuda.blockDim.x):
            k3, rest = i % n3, i // n3
            k2, rest = rest % n2, rest // n2
            k1, k0 = rest % n1, rest // n1
            out = pointer(target + k0 * b0 + k1 * b1 + k2 * b2 + k3 * b3, kept)
            if source != 0 and (mask == 0 or pointer(mask + k0 * m0 + k1 * m1 + k2 * m2 + k3 * m3, np.uint8)[0] != 0):
                v = read(pointer(source + k0 * a0 + k1 * a1 + k2 * a2 + k3 * a3, stored)[0])
                out[0] = write(min(v, largest) if clamped else v)
            else:
                out[0] = write(fill)

    copy.__name__ = f"copy_{source_type.__name__}_{target_type.__name__}"
    return copy
