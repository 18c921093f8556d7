"""Arguments as the kernels take them: contiguous, of the working dtype, by their addresses.

Each function is a stub whose body is chosen by the types of its arguments; None stands for what is absent, a scalar
for an array without axes. T is the working dtype. A message goes into its exception beside what came and what was expected.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from ..kernels.jit.layout import CHUNK
from ..kernels.jit.primitives import LEAF


def compiled(stub):
    return overload(stub, jit_options=LEAF)


def is_scalar(a):
    return isinstance(a, types.Number | types.Boolean)


def is_none(a):
    return isinstance(a, types.NoneType)


@intrinsic
def keep(typingctx, arrays):
    """Uses the arrays, so that their memory is there until now."""
    return types.void(arrays), lambda context, builder, signature, arguments: context.get_dummy_value()


@intrinsic
def call_c(typingctx, function, arguments):
    """Calls the C function at an address: ints are int64, floats are double; it returns nothing."""

    def codegen(context, builder, signature, values):
        function, packed = values
        given = [context.cast(builder, v, t, types.float64 if isinstance(t, types.Float) else types.int64)
                 for v, t in zip(cgutils.unpack_tuple(builder, packed), signature.args[1], strict=True)]
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in given])
        builder.call(builder.inttoptr(function, kind.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), codegen


@intrinsic
def floats(typingctx, values):
    """Numbers of any types as a tuple of floats."""
    result = types.UniTuple(types.float64, len(values))

    def codegen(context, builder, signature, arguments):
        given = cgutils.unpack_tuple(builder, arguments[0])
        return context.make_tuple(builder, result, [context.cast(builder, v, t, types.float64) for v, t in zip(given, values, strict=True)])

    return result(values), codegen


@register_jitable
def address(a):
    return np.int64(a.ctypes.data) if a.size else np.int64(0)


def shape_of(a): ...


@compiled(shape_of)
def _shape_of(a):
    return (lambda a: ()) if is_scalar(a) else lambda a: a.shape


def product(shape): ...


@compiled(product)
def _product(shape):
    if len(shape) == 0:
        return lambda shape: 1

    def multiply(shape):
        n = 1
        for i in range(len(shape)):
            n *= shape[i]
        return n

    return multiply


def elements(a, T): ...


@compiled(elements)
def _elements(a, T):
    """The elements in C order, flat: the array's own memory where that holds them so."""
    if is_none(a):
        return lambda a, T: np.empty(0, T)
    if is_scalar(a):
        return lambda a, T: np.full(1, T(a), T)
    if a.ndim == 0:
        return lambda a, T: np.full(1, T(a[()]), T)
    if a.dtype != T.dtype or not a.aligned:
        return lambda a, T: np.ascontiguousarray(a.astype(T)).reshape(-1)
    if a.layout != "C":
        return lambda a, T: np.ascontiguousarray(a).reshape(-1)
    return lambda a, T: a.reshape(-1)


def same(a, b): ...


@compiled(same)
def _same(a, b):
    """Whether two shapes are one."""
    return (lambda a, b: a == b) if len(a) == len(b) else lambda a, b: False


def full(a, shape, T, message): ...


@compiled(full)
def _full(a, shape, T, message):
    """The elements of `a` broadcast to the shape, flat, in memory of their own; none where `a` is None."""
    if is_none(a):
        return lambda a, shape, T, message: np.empty(0, T)
    if is_scalar(a):
        return lambda a, shape, T, message: np.full(product(shape), T(a), T)
    ndim, more = len(shape), len(shape) - a.ndim
    if a.ndim == 0:
        return lambda a, shape, T, message: np.full(product(shape), T(a[()]), T)

    def fill(a, shape, T, message):
        if more < 0:
            raise ValueError(message)
        for i in range(a.ndim):
            if a.shape[i] != 1 and a.shape[i] != shape[more + i]:
                raise ValueError(message)
        values, size = np.ascontiguousarray(a).reshape(-1), product(shape)
        out = np.empty(size, T)
        if values.size == size:
            for i in range(size):
                out[i] = T(values[i])
            return out
        for i in range(size):
            rest, at, step = i, 0, 1
            for k in range(ndim - 1, more - 1, -1):
                if a.shape[k - more] != 1:
                    at += rest % shape[k] * step
                    step *= shape[k]
                rest //= shape[k]
            out[i] = T(values[at])
        return out

    return fill


def fitted(a, shape, T, message): ...


@compiled(fitted)
def _fitted(a, shape, T, message):
    """The elements of an argument beside the input: of its shape, or a scalar, which stands for itself everywhere."""
    if is_none(a) or is_scalar(a) or a.ndim == 0:
        return lambda a, shape, T, message: elements(a, T)

    def fit(a, shape, T, message):
        if not same(a.shape, shape):
            raise ValueError(message)
        return elements(a, T)

    return fit


def spread(a, shape, T, message): ...


@compiled(spread)
def _spread(a, shape, T, message):
    """The same of what may also broadcast to the shape."""
    if is_none(a) or is_scalar(a) or a.ndim == 0:
        return lambda a, shape, T, message: elements(a, T)
    return lambda a, shape, T, message: full(a, shape, T, message)


def stretched(a, shape, T, message): ...


@compiled(stretched)
def _stretched(a, shape, T, message):
    """The same of what may also lack the last axis, or have one axis of length 1."""
    if is_none(a) or is_scalar(a) or a.ndim == 0:
        return lambda a, shape, T, message: elements(a, T)
    if a.ndim == len(shape) - 1:
        def repeat(a, shape, T, message):
            if not same(a.shape, shape[:-1]):
                raise ValueError(message)
            return np.repeat(elements(a, T), shape[-1])

        return repeat

    def fit(a, shape, T, message):
        odd, narrow = 0, len(a.shape) == len(shape)
        if narrow:
            for i in range(a.ndim):
                if a.shape[i] != shape[i]:
                    odd += 1
                    narrow &= a.shape[i] == 1
        if not narrow or odd > 1:
            raise ValueError(message)
        return full(a, shape, T, message)

    return fit


def mask_of(where, shape, message): ...


@compiled(mask_of)
def _mask_of(where, shape, message):
    """where= broadcast to the shape, flat; empty for None."""
    if is_none(where):
        return lambda where, shape, message: np.empty(0, np.bool_)
    return lambda where, shape, message: full(where, shape, np.bool_, message)


def per_row(a, shape, T, message): ...


@compiled(per_row)
def _per_row(a, shape, T, message):
    """One weight for each index of the first axis, repeated along the others; empty for None."""
    if is_none(a):
        return lambda a, shape, T, message: np.empty(0, T)
    if is_scalar(a) or a.ndim != 1 or len(shape) == 0:
        return lambda a, shape, T, message: _no_rows(message)

    def repeat(a, shape, T, message):
        if a.size != shape[0]:
            raise ValueError(message)
        return np.repeat(elements(a, T), product(shape) // max(shape[0], 1))

    return repeat


@register_jitable
def _no_rows(message):
    raise ValueError(message)
    return np.empty(0)


@register_jitable
def apart(start, length, other, size):
    """Whether two stretches of memory are apart, or begin at the same place."""
    return start == other or start + length <= other or other + size <= start


def buffer(out, shape, T, taken, message): ...


@compiled(buffer)
def _buffer(out, shape, T, taken, message):
    """A C-ordered array to compute in: `out` itself, where it is one that only exactly covers what is taken (address, bytes)."""
    n = len(shape)
    if is_none(out):
        return (lambda out, shape, T, taken, message: np.empty(shape, T)) if n else lambda out, shape, T, taken, message: np.empty(1, T)
    if n == 0 or not (out.layout == "C" and out.aligned and out.dtype == T.dtype):
        def fresh(out, shape, T, taken, message):
            if not same(out.shape, shape):
                raise ValueError(message)
            return np.empty(shape, T) if n else np.empty(1, T)

        return fresh

    def direct(out, shape, T, taken, message):
        if not same(out.shape, shape):
            raise ValueError(message)
        for other, size in taken:
            if not apart(np.int64(out.ctypes.data), out.nbytes, other, size):
                return np.empty(shape, T)
        return out

    return direct


def deliver(out, result, shape): ...


@compiled(deliver)
def _deliver(out, result, shape):
    """The result in `out`; without it itself, or its element where it has no axis."""
    if is_none(out):
        return (lambda out, result, shape: result) if len(shape) else lambda out, result, shape: result[0]
    if len(shape) == 0:
        def put(out, result, shape):
            out[()] = result[0]
            return out

        return put

    def copy(out, result, shape):
        if address(out) != address(result):
            out[...] = result
        return out

    return copy


def deliver_number(out, value): ...


@compiled(deliver_number)
def _deliver_number(out, value):
    if is_none(out):
        return lambda out, value: value

    def put(out, value):
        out[()] = value
        return out

    return put


@register_jitable
def scratch_of(size):
    """Memory, and an address in it that begins a cache line."""
    memory = np.empty(size + 64, np.uint8)
    return memory, (np.int64(memory.ctypes.data) + 63) // 64 * 64


@register_jitable
def chunks_of(size, chunk=CHUNK):
    return -(-size // chunk)
