"""What the ufunc loops need besides kernels: float16 to float32 and back, and when an output feeds an input."""

from numba import float32, int32, int64, uint16

from .primitives import bits, from_bits, inline, leaf, pointer, select


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
def widen(source, step, block, n):
    for i in range(n):
        block[i] = from_half(int64(pointer(source + i * step, uint16)[0]))


@leaf
def narrow(block, target, step, n):
    for i in range(n):
        pointer(target + i * step, uint16)[0] = to_half(block[i])


@inline
def feeds_back(source, source_step, target, target_step, n):
    """Whether writing the target changes a source still to be read, as in ufunc.reduce and ufunc.accumulate."""
    if n < 2 or (source == target and source_step == target_step and target_step != 0):
        return False
    a, b = source + min((n - 1) * source_step, 0), target + min((n - 1) * target_step, 0)
    return a < b + abs((n - 1) * target_step) + 8 and b < a + abs((n - 1) * source_step) + 8
