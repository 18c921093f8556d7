"""What device code is made of: memory by its address, bit casts, selects; plain Python where CUDA is simulated.

Kernels take addresses as integers, so that one signature serves every layout and a launch marshals numbers alone. The
simulator has neither pointers nor shuffles; its memory stands FOREIGN bytes from where it is, so that the host can no more
read it than a device's.
"""

import numpy as np
from numba import config, cuda

__all__ = [
    "DOWN", "EVERY_LANE", "FLIGHT", "KEEP_f32", "KEEP_f64", "PIECE", "SIZE_f32", "SIZE_f64", "WARP", "bits", "fabs", "fma", "from_bits", "inline", "maximum", "minimum", "nth", "pointer", "rint",
    "select", "shift_right", "sqrt",
]  # fmt: skip

SIMULATED = bool(config.ENABLE_CUDASIM)
FOREIGN = 1 << 47 if SIMULATED else 0
WARP = 1 if SIMULATED else 32
EVERY_LANE = 0xFFFFFFFF
FLIGHT = 2 if SIMULATED else 4  # elements of each operand that a thread asks for before it computes
KEEP_f32, KEEP_f64 = (2, 2) if SIMULATED else (16, 8)  # numbers of a row that a thread keeps in registers
PIECE = 8 if SIMULATED else 8192  # elements of a tensor that a block of an optimizer's step updates
SIZE_f32, SIZE_f64 = 4, 8
DOWN = 2.0**-96  # the unit of exponentials in a row

if SIMULATED:

    def inline(function):
        return function

    class Memory:
        """What pointer gives: elements of a dtype from an address on."""

        __slots__ = "address", "dtype", "itemsize"

        def __init__(self, address, dtype):
            self.address, self.dtype = int(address) - FOREIGN, np.dtype(dtype)
            self.itemsize = self.dtype.itemsize

        def _element(self, i):
            place = {"data": (self.address + int(i) * self.itemsize, False), "shape": (1,), "typestr": self.dtype.str, "version": 3}
            return np.asarray(_Place(place))

        def __getitem__(self, i):
            return self._element(i)[0]

        def __setitem__(self, i, value):
            self._element(i)[0] = value

    class _Place:
        def __init__(self, interface):
            self.__array_interface__ = interface

    pointer = Memory

    def bits(x):
        return x.view(f"i{x.itemsize}")

    def from_bits(i):
        return i.view(f"f{i.itemsize}")

    def shift_right(i, k):
        return (i.view(f"u{i.itemsize}") >> k.view(f"u{k.itemsize}")).view(i.dtype)

    def select(condition, a, b):
        return a if condition else b

    def nth(numbers, k):
        return numbers[k]

    def rint(x):
        return np.rint(x)

    def sqrt(x):
        return np.sqrt(x)

    def fabs(x):
        return np.abs(x)

    def fma(a, b, c):
        """a b + c of float64, rounded once but for the last of longdouble's places."""
        return np.float64(np.longdouble(a) * b + c)

else:
    from llvmlite import ir
    from numba.cuda import libdevice, types
    from numba.cuda.extending import intrinsic, overload

    GLOBAL = 1  # the address space of device memory: loads need not find out which it is

    def inline(function):
        """A function of scalars, or of a block's threads."""
        return cuda.jit(device=True, forceinline=True)(function)

    @intrinsic
    def pointer(typingctx, address, dtype):
        """The address as a pointer to dtype."""

        def codegen(context, builder, signature, arguments):
            element = context.get_data_type(signature.return_type.dtype)
            place = builder.inttoptr(arguments[0], ir.PointerType(element, GLOBAL))
            return builder.addrspacecast(place, context.get_value_type(signature.return_type))

        return types.CPointer(dtype.instance_type)(types.int64, dtype), codegen

    def _bit_cast(other):
        @intrinsic
        def cast(typingctx, x):
            def codegen(context, builder, signature, arguments):
                return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

            return other[x](x), codegen

        return cast

    bits = _bit_cast({types.float32: types.int32, types.float64: types.int64})
    from_bits = _bit_cast({types.int32: types.float32, types.int64: types.float64})

    @intrinsic
    def shift_right(typingctx, i, k):
        """i >> k with zeros shifted in."""

        def codegen(context, builder, signature, arguments):
            return builder.lshr(*arguments)

        return i(i, i), codegen

    @intrinsic
    def select(typingctx, condition, a, b):
        """a where condition holds, else b; both are evaluated."""

        def codegen(context, builder, signature, arguments):
            return builder.select(*arguments)

        return a(types.boolean, a, a), codegen

    @intrinsic
    def nth(typingctx, numbers, k):
        """A number of a tuple, selected: libNVVM refuses the switch that indexing makes."""

        def codegen(context, builder, signature, arguments):
            numbers, k = arguments
            chosen = builder.extract_value(numbers, 0)
            for i in range(1, len(signature.args[0])):
                chosen = builder.select(builder.icmp_signed("==", k, k.type(i)), builder.extract_value(numbers, i), chosen)
            return chosen

        return types.int64(numbers, types.int64), codegen

    def _by_dtype(single, double):
        def function(x):
            raise NotImplementedError("device code alone")

        @overload(function)
        def choose(x):
            chosen = single if x == types.float32 else double
            return lambda x: chosen(x)

        return function

    rint = _by_dtype(libdevice.rintf, libdevice.rint)
    sqrt = _by_dtype(libdevice.sqrtf, libdevice.sqrt)
    fma = libdevice.fma
    fabs = _by_dtype(libdevice.fabsf, libdevice.fabs)


@inline
def minimum(a, b):
    return select(b < a, b, a)


@inline
def maximum(a, b):
    return select(b > a, b, a)
