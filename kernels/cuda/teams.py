"""Threads that work together, what they read, and what they sum up.

Nobody imports this module: kernels/generate.py writes what follows its imports into the generated CUDA module, what stands
below "The text of one dtype" once for each dtype, T its type and *_T its functions, beside the formulas that they inline.

A team is the threads of one threadIdx.y: a single thread, or whole warps; a team of more than one warp is a block. Sums are
compensated pairs of float64 that meet in an order which the number of threads alone decides. The simulator has no shuffles: a
warp is one thread there.
"""

from .primitives import *

# The text of both dtypes


@inline
def two_sum(total, error, v):
    """total + v, with what the addition loses added to error."""
    s = total + v
    b = s - total
    return s, error + ((total - (s - b)) + (v - b))


@inline
def closed(total, error):
    """total + error; the error of a sum that became infinite is NaN, and the sum itself says it all."""
    return total + select(error == error, error, 0.0)


@inline
def team_sum(total, error, team, parts):
    """The sum over the team, for each of its threads; parts is 64 numbers of shared memory."""
    step = min(team, WARP) // 2
    while step > 0:
        a, b = cuda.shfl_xor_sync(EVERY_LANE, total, step), cuda.shfl_xor_sync(EVERY_LANE, error, step)
        total, error = two_sum(total, error + b, a)
        step //= 2
    if team > WARP:
        if cuda.threadIdx.x % WARP == 0:
            parts[cuda.threadIdx.x // WARP], parts[32 + cuda.threadIdx.x // WARP] = total, error
        cuda.syncthreads()
        total, error = 0.0, 0.0
        for k in range(team // WARP):
            total, error = two_sum(total, error + parts[32 + k], parts[k])
        cuda.syncthreads()
    return total, error


# Numbers in float32 lose nothing to plain sums in float64; float64 needs compensated ones.


@inline
def add_f32(total, error, v):
    return total + v, error


add_f64 = two_sum


# An operand is an address, or 0 and the number that stands for all elements; element i is at i // each % period, unless that is 0.


@inline
def used_at(mask, each, period, i):
    """Whether element i takes part."""
    if mask == 0:
        return True
    if period != 0:
        i = i // each % period
    return pointer(mask, u8)[i] != 0


@inline
def tell(report, code):
    """The device has seen what a code stands for; the host reads it later."""
    if code != 0:
        pointer(report, i64)[4] = code


# The text of one dtype


@inline
def read_T(address, each, period, number, i):
    if address == 0:
        return T(number)
    if period != 0:
        i = i // each % period
    return pointer(address, T)[i]


@inline
def outside_T(v, low, high):
    """Whether v lies outside [low, high]; low > high: whether it is neither of them."""
    return v != T(low) and v != T(high) if low > high else v < T(low) or v > T(high)


@inline
def within_T(v, low, high, used, report, code):
    """v, or NaN where it lies outside, which is told where it is used."""
    outside = outside_T(v, low, high)
    if outside and used:
        tell(report, code)
    return select(outside, T(nan), v)


@inline
def team_top_T(top, team, parts):
    """The largest number of the team."""
    step = min(team, WARP) // 2
    while step > 0:
        top = maximum(top, cuda.shfl_xor_sync(EVERY_LANE, top, step))
        step //= 2
    if team > WARP:
        if cuda.threadIdx.x % WARP == 0:
            parts[cuda.threadIdx.x // WARP] = f64(top)
        cuda.syncthreads()
        for k in range(team // WARP):
            top = maximum(top, T(parts[k]))
        cuda.syncthreads()
    return top
