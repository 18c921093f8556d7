"""Drivers of the generated element kernels: losses, optimizer steps, ufunc loops.

A kernel sees whole vectors of 16 elements: what is left over goes through a padded copy, so that a value has the same
bits wherever it stands. A block stays in the first-level cache between its kernel and its sum.

Scratch, in words of 8 bytes: the addresses of a kernel's arrays, those of their padded tails, the tails, four blocks.
"""

from numba import float32, float64, int32, int64, types, uint8, uint16

from .primitives import (
    N_POINTERS,
    bits,
    call_kernel,
    entry,
    from_bits,
    hold_flags,
    inline,
    leaf,
    like,
    pointer,
    release_flags,
    restrict,
    select,
    stack,
)
from .sums import add_partial, sum_values

BLOCK = 1024
CHUNK = 65536
TAILS = 2 * N_POINTERS
BLOCKS = TAILS + 16 * N_POINTERS
SCRATCH_BYTES = 8 * (BLOCKS + 4 * BLOCK)


@leaf
def copy(source, target, size):
    a, b = pointer(source, uint8), pointer(target, uint8)
    for i in range(size):
        b[i] = a[i]


@leaf
def run_kernel(kernel, scratch, inputs, outputs, params, n, size):
    """The kernel on n elements of the arrays whose addresses stand in scratch, 0 where there is none.

    inputs and outputs are bit masks of the arrays.
    """
    arrays, tails = pointer(scratch, int64), pointer(scratch + 8 * N_POINTERS, int64)
    params = pointer(params, float64)
    whole = n & -16
    if whole > 0:
        call_kernel(kernel, arrays, params, whole)
    if whole == n:
        return
    for k in range(N_POINTERS):
        tails[k] = select(arrays[k] == 0, 0, scratch + 8 * (TAILS + 16 * k))
        if tails[k] != 0 and inputs >> k & 1:
            for l in range(16):
                copy(arrays[k] + (whole + min(l, n - whole - 1)) * size, tails[k] + l * size, size)
    call_kernel(kernel, tails, params, 16)
    for k in range(N_POINTERS):
        if tails[k] != 0 and outputs >> k & 1:
            copy(tails[k], arrays[k] + whole * size, (n - whole) * size)


# Losses


@leaf
def multiply(values, weight, n):
    restrict()
    for i in range(n):
        values[i] *= weight[i]


@leaf
def clear_masked(values, mask, n):
    restrict()
    for i in range(n):
        values[i] = select(mask[i] != 0, values[i], like(values[i], 0))


@inline
def finish_block(address, weight, mask, n, dtype):
    """Weights and mask of one block of values."""
    values = pointer(address, dtype)
    if weight != 0:
        multiply(values, pointer(weight, dtype), n)
    if mask != 0:
        clear_masked(values, pointer(mask, uint8), n)


@inline
def sum_block(address, n, dtype):
    return sum_values(pointer(address, dtype), n)


@entry
def loss(
    first, last, scratch, kernel, inputs, n_inputs, weight, mask, upstream, params, outputs, wanted, direct, partials, n, size
):
    """Chunks of a loss; wanted and direct are bit masks of value, grad, hess: to compute, to compute in place."""
    flags = hold_flags()
    source, target = pointer(inputs, int64), pointer(outputs, int64)
    arrays, sums = pointer(scratch, int64), pointer(partials, float64)
    for k in range(N_POINTERS):
        arrays[k] = 0
    for start in range(first * CHUNK, min(last * CHUNK, n), BLOCK):
        m = min(BLOCK, n - start)
        at = start * size
        for k in range(n_inputs):
            arrays[k] = source[k] + at
        for k in range(3):
            block = scratch + 8 * (BLOCKS + k * BLOCK)
            arrays[n_inputs + k] = target[k] + at if direct >> k & 1 else block
        run_kernel(kernel, scratch, (1 << n_inputs) - 1, wanted << n_inputs, params, m, size)
        for k in range(3):
            if not wanted >> k & 1:
                continue
            out = arrays[n_inputs + k]
            w, up = weight + at if weight != 0 else 0, upstream + at if upstream != 0 and k > 0 else 0
            keep = mask + start if mask != 0 else 0
            if size == 4:
                finish_block(out, up, 0, m, float32)
                finish_block(out, w, keep, m, float32)
            else:
                finish_block(out, up, 0, m, float64)
                finish_block(out, w, keep, m, float64)
            if target[k] != 0 and not direct >> k & 1:
                copy(out, target[k] + at, m * size)
        if wanted & 1:
            s = sum_block(arrays[n_inputs], m, float32) if size == 4 else sum_block(arrays[n_inputs], m, float64)
            add_partial(sums, start // CHUNK, s, 0.0)
    release_flags(flags)


@entry
def total(first, last, scratch, values, mask, partials, n, size):
    flags = hold_flags()
    sums = pointer(partials, float64)
    for start in range(first * CHUNK, min(last * CHUNK, n), BLOCK):
        m = min(BLOCK, n - start)
        block = values + start * size
        if mask != 0:
            copy(block, scratch, m * size)
            block = scratch
            if size == 4:
                finish_block(block, 0, mask + start, m, float32)
            else:
                finish_block(block, 0, mask + start, m, float64)
        s = sum_block(block, m, float32) if size == 4 else sum_block(block, m, float64)
        add_partial(sums, start // CHUNK, s, 0.0)
    release_flags(flags)


# Optimizer steps


@entry
def step(first, last, scratch, kernel, tensors, n_arrays, pieces, params, size):
    """Pieces (tensor, start, length) of tensors, each a row of n_arrays addresses; the second, the gradient, is read only."""
    flags = hold_flags()
    arrays, table, piece = pointer(scratch, int64), pointer(tensors, int64), pointer(pieces, int64)
    for k in range(N_POINTERS):
        arrays[k] = 0
    every = (1 << n_arrays) - 1
    for p in range(first, last):
        for k in range(n_arrays):
            arrays[k] = table[piece[3 * p] * n_arrays + k] + piece[3 * p + 1] * size
        run_kernel(kernel, scratch, every, every & ~2, params, piece[3 * p + 2], size)
    release_flags(flags)


# Ufunc loops

UFUNC_BLOCK = 4 * BLOCK // N_POINTERS


@inline
def from_half(h):
    """A float16's bits as float32: a product rebiases the exponent and makes subnormals normal."""
    magnitude = h & 0x7FFF
    special = select(magnitude >= 0x7C00, 0x7F800000, 0)
    value = int64(bits(from_bits(int32(magnitude << 13)) * float32(2.0**112)))
    return from_bits(int32(value | special | (h & 0x8000) << 16))


@inline
def to_half(x):
    """The bits of the nearest float16, ties to even."""
    i = int64(bits(x)) & 0xFFFFFFFF
    magnitude = i & 0x7FFFFFFF
    normal = (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13
    tiny = int64(bits(from_bits(int32(magnitude)) + float32(0.5))) - 0x3F000000
    large = select(magnitude > 0x7F800000, 0x7E00, 0x7C00)
    h = select(magnitude < 0x38800000, tiny, select(magnitude < 0x47800000, normal, large))
    return uint16(h | i >> 16 & 0x8000)


@leaf
def gather(source, step, block, n, size, half):
    for i in range(n):
        at = source + i * step
        if half:
            pointer(block, float32)[i] = from_half(int64(pointer(at, uint16)[0]))
        elif size == 4:
            pointer(block, float32)[i] = pointer(at, float32)[0]
        else:
            pointer(block, float64)[i] = pointer(at, float64)[0]


@leaf
def scatter(block, target, step, n, size, half):
    for i in range(n):
        at = target + i * step
        if half:
            pointer(at, uint16)[0] = to_half(pointer(block, float32)[i])
        elif size == 4:
            pointer(at, float32)[0] = pointer(block, float32)[i]
        else:
            pointer(at, float64)[0] = pointer(block, float64)[i]


@inline
def feeds_back(source, source_step, target, target_step, n):
    """Whether writing the target changes a source still to be read, as in ufunc.reduce and ufunc.accumulate."""
    if n < 2 or (source == target and source_step == target_step and target_step != 0):
        return False
    a, b = source + min((n - 1) * source_step, 0), target + min((n - 1) * target_step, 0)
    return a < b + abs((n - 1) * target_step) + 8 and b < a + abs((n - 1) * source_step) + 8


def ufunc_loop(args, dimensions, steps, data):
    """NumPy's inner loop over any strides; data is (kernel, number of inputs, itemsize of the kernel, float16 or not)."""
    flags = hold_flags()
    scratch = stack(SCRATCH_BYTES)
    arrays = pointer(scratch, int64)
    kernel, n_inputs, size, half = data[0], data[1], data[2], data[3] != 0
    n, length = dimensions[0], UFUNC_BLOCK
    direct = steps[n_inputs] == size and not half
    for k in range(n_inputs):
        direct = direct and args[k] != args[n_inputs]
        if feeds_back(args[k], steps[k], args[n_inputs], steps[n_inputs], n):
            length = 1
    for k in range(N_POINTERS):
        arrays[k] = 0
    for start in range(0, n, length):
        m = min(length, n - start)
        for k in range(n_inputs):
            arrays[k] = args[k] + start * steps[k]
            if half or steps[k] != size:
                block = scratch + 8 * (BLOCKS + k * UFUNC_BLOCK)
                gather(arrays[k], steps[k], block, m, size, half)
                arrays[k] = block
        out = args[n_inputs] + start * steps[n_inputs]
        arrays[n_inputs] = out if direct else scratch + 8 * (BLOCKS + n_inputs * UFUNC_BLOCK)
        run_kernel(kernel, scratch, (1 << n_inputs) - 1, 1 << n_inputs, 0, m, size)
        if not direct:
            scatter(arrays[n_inputs], out, steps[n_inputs], m, size, half)
    release_flags(flags)


WORDS = types.CPointer(int64)
UFUNC_SIGNATURE = types.void(WORDS, WORDS, WORDS, WORDS)
