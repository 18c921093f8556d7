"""Drivers of the generated element kernels: losses, optimizer steps, ufunc loops.

Nobody imports this module: see rows.py. A kernel sees whole vectors of 16 elements: what is left over goes through a padded
copy, so that a value has the same bits wherever it stands. A block stays in the first-level cache between its kernel
and its sum.
"""

from .halves import *
from .layout import *
from .primitives import *
from .sums import *

# The text of one dtype


@leaf
def copy_T(source, target, n):
    for i in range(n):
        target[i] = source[i]


@leaf
def stream_T(source, target, n):
    """Copies to that address past the caches: whole cache lines are written without being read first."""
    head = min(n, (-target & (LINE - 1)) // SIZE_T)
    end = n - (n - head) % (LINE // SIZE_T)
    copy_T(source, pointer(target, T), head)
    for i in range(head, end, LINE // SIZE_T):
        stream_line(offset(source, i), pointer(target + i * SIZE_T, T))
    copy_T(offset(source, end), pointer(target + end * SIZE_T, T), n - end)


@leaf
def run_kernel_T(kernel, scratch, inputs, outputs, params, n):
    """The kernel on n elements of the arrays whose addresses begin scratch, 0 where there is none.

    inputs and outputs are bit masks of the arrays.
    """
    arrays, tails = pointer(scratch, i64), pointer(scratch + 8 * N_POINTERS, i64)
    whole = n & -16
    if whole > 0:
        call_kernel(kernel, arrays, pointer(params, f64), whole)
    if whole == n:
        return
    for k in range(N_POINTERS):
        tails[k] = select(arrays[k] == 0, 0, scratch + 8 * (TAILS + 16 * k))
        if tails[k] != 0 and inputs >> k & 1:
            for l in range(16):
                pointer(tails[k], T)[l] = pointer(arrays[k], T)[whole + min(l, n - whole - 1)]
    call_kernel(kernel, tails, pointer(params, f64), 16)
    for k in range(N_POINTERS):
        if tails[k] != 0 and outputs >> k & 1:
            copy_T(pointer(tails[k], T), offset(pointer(arrays[k], T), whole), n - whole)


# Losses


@leaf
def multiply_T(values, weight, n):
    restrict()
    for i in range(n):
        values[i] *= weight[i]


@leaf
def clear_masked_T(values, mask, n):
    restrict()
    for i in range(n):
        values[i] = select(mask[i] != 0, values[i], T(0))


@leaf
def block_of_T(source, period, spare, start, n):
    """The address of elements start .. start + n: in place, or where they repeat after every period, in spare."""
    if period == 0:
        return source + start * SIZE_T
    values, block, at = pointer(source, T), pointer(spare, T), start % period
    for i in range(n):
        block[i] = values[at]
        at = select(at + 1 == period, 0, at + 1)
    return spare


@entry
def loss_T(
    first_chunk, last_chunk, scratch, kernel, inputs, periods, n_inputs, n_outputs, mask, params, outputs, wanted, direct,
    streams, partials, n,
):  # fmt: skip
    """inputs are the kernel's, then weight and upstream. wanted and direct are bit masks of (value, *gradients, *second
    derivatives): those to compute, and those that are computed in their arrays, which are no inputs. streams: the others go
    past the caches.
    """
    flags = hold_flags()
    source, period, target = pointer(inputs, i64), pointer(periods, i64), pointer(outputs, i64)
    arrays, partial = pointer(scratch, i64), pointer(partials, f64)
    spares = scratch + 8 * (BLOCKS + N_OUTPUTS * BLOCK)
    for k in range(N_POINTERS):
        arrays[k] = 0
    for start in range(first_chunk * CHUNK, min(last_chunk * CHUNK, n), BLOCK):
        m = min(BLOCK, n - start)
        at = start * SIZE_T
        for k in range(n_inputs):
            arrays[k] = block_of_T(source[k], period[k], spares + 8 * k * BLOCK, start, m)
        for k in range(n_outputs):
            arrays[n_inputs + k] = target[k] + at if direct >> k & 1 else scratch + 8 * (BLOCKS + k * BLOCK)
        run_kernel_T(kernel, scratch, (1 << n_inputs) - 1, wanted << n_inputs, params, m)
        for k in range(n_outputs):
            if not wanted >> k & 1:
                continue
            out = pointer(arrays[n_inputs + k], T)
            for l in range(n_inputs, n_inputs + select(k > 0, 2, 1)):
                if source[l] != 0:
                    multiply_T(out, pointer(block_of_T(source[l], period[l], spares + 8 * l * BLOCK, start, m), T), m)
            if mask != 0:
                clear_masked_T(out, pointer(mask + start, u8), m)
            if k == 0:
                add_partial(partial, start // CHUNK, sum_values(out, m), 0.0)
            if target[k] != 0 and not direct >> k & 1:
                if streams:
                    stream_T(out, target[k] + at, m)
                else:
                    copy_T(out, pointer(target[k] + at, T), m)
    if streams:
        stream_end()
    release_flags(flags)


@entry
def small_loss_T(scratch, kernel, x, y, value, grad, hess, wanted, params, n, divide_by):
    """loss_T of two arrays without weights, of one chunk at most; what is wanted beside the value has its array."""
    arrays, periods, sums = stack(SMALL_BYTES), stack(SMALL_BYTES), stack(SMALL_BYTES)
    for k, address in enumerate((x, y, 0, 0, 0, grad, hess)):
        pointer(arrays, i64)[k] = address
        pointer(periods, i64)[k] = 0
    total = pointer(sums, f64)
    total[0] = total[1] = 0.0
    loss_T(0, 1, scratch, kernel, arrays, periods, 2, 3, 0, params, arrays + 32, wanted, wanted & ~1, False, sums, n)
    if wanted & 1:
        pointer(value, T)[0] = T((total[0] + total[1]) / divide_by)


@entry
def outside_T(first_chunk, last_chunk, scratch, values, mask, low, high, only_ends, found, n):
    """found[chunk] = 1 + the position of the first value outside [low, high], or none of the two where only_ends."""
    flags = hold_flags()
    value, used, first = pointer(values, T), pointer(mask, u8), pointer(found, i64)
    for chunk in range(first_chunk, last_chunk):
        for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n)):
            v = value[i]
            bad = (v != T(low)) & (v != T(high)) if only_ends else (v < T(low)) | (v > T(high))
            if bad and (mask == 0 or used[i] != 0):
                first[chunk] = i + 1
                break
    release_flags(flags)


@entry
def total_T(first_chunk, last_chunk, scratch, values, mask, partials, n):
    flags = hold_flags()
    partial, block = pointer(partials, f64), pointer(scratch, T)
    for start in range(first_chunk * CHUNK, min(last_chunk * CHUNK, n), BLOCK):
        m = min(BLOCK, n - start)
        source = offset(pointer(values, T), start)
        if mask != 0:
            copy_T(source, block, m)
            clear_masked_T(block, pointer(mask + start, u8), m)
            source = block
        add_partial(partial, start // CHUNK, sum_values(source, m), 0.0)
    release_flags(flags)


# Optimizer steps


@entry
def step_T(first_piece, last_piece, scratch, kernel, tensors, n_arrays, pieces, params):
    """Pieces (tensor, start, length) of tensors, each a row of n_arrays addresses; the second, the gradient, is only read."""
    flags = hold_flags()
    arrays, table, piece = pointer(scratch, i64), pointer(tensors, i64), pointer(pieces, i64)
    for k in range(N_POINTERS):
        arrays[k] = 0
    every = (1 << n_arrays) - 1
    for p in range(first_piece, last_piece):
        for k in range(n_arrays):
            arrays[k] = table[piece[3 * p] * n_arrays + k] + piece[3 * p + 1] * SIZE_T
        run_kernel_T(kernel, scratch, every, every & ~2, params, piece[3 * p + 2])
    release_flags(flags)


# Ufunc loops


@leaf
def gather_T(source, step, block, n):
    for i in range(n):
        block[i] = pointer(source + i * step, T)[0]


@leaf
def scatter_T(block, target, step, n):
    for i in range(n):
        pointer(target + i * step, T)[0] = block[i]


def ufunc_loop_T(args, dimensions, steps, data):
    """NumPy's inner loop over any strides; data is (kernel, number of inputs, whether the arrays are float16, the address of
    ones that the kernel takes before the inputs, or 0, and whether memory bounds it, not the processor).
    """
    flags = hold_flags()
    scratch = stack(UFUNC_SCRATCH_BYTES)
    arrays = pointer(scratch, i64)
    kernel, n_inputs, half, ones = data[0], data[1], data[2] != 0, data[3]
    first = select(ones != 0, 1, 0)
    n, length, last = dimensions[0], BLOCK, first + n_inputs
    direct, streams = steps[n_inputs] == SIZE_T and not half, data[4] != 0
    for k in range(n_inputs):
        direct = direct and args[k] != args[n_inputs]
        streams = streams or holds_up(args[n_inputs], args[k])
        if feeds_back(args[k], steps[k], args[n_inputs], steps[n_inputs], n):
            length = 1
    streams = streams and direct and length > 1 and n * SIZE_T >= STREAM
    for k in range(N_POINTERS):
        arrays[k] = 0
    arrays[0] = ones
    start, m = 0, length
    if streams:
        m -= args[n_inputs] % LINE // SIZE_T  # the further blocks write whole cache lines
    while start < n:
        m = min(m, n - start)
        for k in range(n_inputs):
            source = args[k] + start * steps[k]
            block = scratch + 8 * (BLOCKS + k * BLOCK)
            arrays[first + k] = source if steps[k] == SIZE_T and not half else block
            if half:
                widen(source, steps[k], pointer(block, f32), m)
            elif steps[k] != SIZE_T:
                gather_T(source, steps[k], pointer(block, T), m)
        out, block = args[n_inputs] + start * steps[n_inputs], scratch + 8 * (BLOCKS + n_inputs * BLOCK)
        arrays[last] = out if direct and not streams else block
        run_kernel_T(kernel, scratch, (1 << last) - 1, 1 << last, 0, m)
        if half:
            narrow(pointer(block, f32), out, steps[n_inputs], m)
        elif streams:
            stream_T(pointer(block, T), out, m)
        elif not direct:
            scatter_T(pointer(block, T), out, steps[n_inputs], m)
        start, m = start + m, length
    if streams:
        stream_end()
    release_flags(flags)
