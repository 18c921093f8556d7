"""What Numba's Python lacks: raw pointers, bit casts, selects, and hints for LLVM's vectoriser.

Kernels take addresses as integers and turn them into pointers, so that one signature per dtype serves
every layout, and read-only arrays too.
"""

from llvmlite import ir
from numba import cfunc, float32, float64, int32, int64, intp, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .layout import LANES, LINE, N_POINTERS

FLAGS = {"error_model": "numpy", "fastmath": {"contract"}}
LEAF = {**FLAGS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
PARAMS = types.CPointer(float64)


def inline(function):
    """A scalar function, always inlined: LLVM leaves the longer formulas as calls, and their loops scalar."""
    return njit(forceinline=True, **LEAF)(function)


def leaf(function):
    """A loop that other kernels call."""
    return njit(**LEAF)(function)


def stage(function):
    """Steps of a kernel, copied into it: as a function of its own LLVM would optimise what it calls once more."""
    return njit(inline="always", **LEAF)(function)


def exact(function):
    """A scalar function whose products keep their own rounding."""
    return njit(forceinline=True, **{**LEAF, "fastmath": False})(function)


def summing(function):
    """A loop whose sums may be reordered; compensated arithmetic must not stand in one."""
    return njit(**{**LEAF, "fastmath": {"contract", "nsz", "reassoc"}})(function)


def cached(compiler, function, **options):
    try:
        return compiler(cache=True, **options)(function)
    except RuntimeError:  # no folder that a disk cache could be written to
        return compiler(**options)(function)


def entry(function):
    """A kernel called from Python with the GIL released."""
    return cached(njit, function, nogil=True, **FLAGS)


# The element kernels' C signature: eight arrays (unused ones NULL), float64 parameters, length.
SIGNATURES = {
    real: types.void(*[types.CPointer(real)] * N_POINTERS, PARAMS, intp) for real in (float32, float64)
}


def kernel_address(function, real):
    """Compiles an element kernel; the compiled object must be kept alive as long as its address is used."""
    def compiler(**options):
        return cfunc(SIGNATURES[real], **options)

    return cached(compiler, function, **FLAGS)


def _unary(name):
    def codegen(context, builder, signature, arguments):
        function = builder.module.declare_intrinsic(name, [arguments[0].type])
        return builder.call(function, arguments)

    def typer(typingctx, x):
        return x(x), codegen

    return intrinsic(typer)


rint = _unary("llvm.rint")
sqrt = _unary("llvm.sqrt")
fabs = _unary("llvm.fabs")


@intrinsic
def bits(typingctx, x):
    """The bits of a real, as a signed int of its width."""
    result = {float32: int32, float64: int64}[x]

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(result))

    return result(x), codegen


@intrinsic
def from_bits(typingctx, i):
    result = {int32: float32, int64: float64}[i]

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(result))

    return result(i), codegen


@intrinsic
def shift_right(typingctx, i, k):
    """i >> k with zeros shifted in."""

    def codegen(context, builder, signature, arguments):
        return builder.lshr(*arguments)

    return i(i, i), codegen


@intrinsic
def order(typingctx, i):
    """The bits of reals as ints of the same order, and back: negative numbers have theirs inverted."""

    def codegen(context, builder, signature, arguments):
        (i,) = arguments
        sign = builder.ashr(i, ir.Constant(i.type, i.type.width - 1))
        return builder.xor(i, builder.lshr(sign, ir.Constant(i.type, 1)))

    return i(i), codegen


@intrinsic(prefer_literal=True)
def like(typingctx, x, number):
    """A literal int as a value of x's type."""

    def codegen(context, builder, signature, arguments):
        return context.get_constant(x, number.literal_value)

    return x(x, number), codegen


@intrinsic
def select(typingctx, condition, a, b):
    """a where condition holds, else b; both are evaluated."""

    def codegen(context, builder, signature, arguments):
        return builder.select(*arguments)

    return a(types.boolean, a, a), codegen


@inline
def pad(n):
    """n rounded up to a multiple of 16."""
    return (n + 15) & -16


@inline
def minimum(a, b):
    return select(b < a, b, a)


@inline
def maximum(a, b):
    return select(b > a, b, a)


@intrinsic
def pointer(typingctx, address, dtype):
    """The address as a pointer to dtype."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(dtype.instance_type)(intp, dtype), codegen


@intrinsic
def slot(typingctx, scratch, k, dtype):
    """The k-th array of LANES values in scratch."""

    def codegen(context, builder, signature, arguments):
        scratch, k, _ = arguments
        size = ir.Constant(k.type, 8 * LANES)
        address = builder.add(scratch, builder.mul(k, size))
        return builder.inttoptr(address, context.get_value_type(signature.return_type))

    return types.CPointer(dtype.instance_type)(intp, intp, dtype), codegen


@intrinsic
def transpose(typingctx, source, source_step, target, target_step):
    """Eight rows of eight numbers become columns: halves change places, then quarters, then neighbours."""

    def codegen(context, builder, signature, arguments):
        source, source_step, target, target_step = arguments
        vector = ir.VectorType(source.type.pointee, 8)

        def row(p, step, i):
            at = builder.gep(p, [builder.mul(step, ir.Constant(step.type, i))])
            return builder.bitcast(at, vector.as_pointer())

        size = context.get_abi_sizeof(source.type.pointee)
        rows = [builder.load(row(source, source_step, i), align=size) for i in range(8)]
        for k in 4, 2, 1:
            first = [8 + j - k if j & k else j for j in range(8)]  # 8 and more are numbers of the second row
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), 8), mask) for mask in (first, [j + k for j in first])]
            for i in range(8):
                if not i & k:
                    a, b = rows[i], rows[i + k]
                    rows[i], rows[i + k] = (builder.shuffle_vector(a, b, mask) for mask in masks)
        for i, a in enumerate(rows):
            builder.store(a, row(target, target_step, i), align=size)
        return context.get_dummy_value()

    return types.void(source, intp, source, intp), codegen


@intrinsic
def prefetch(typingctx, p):
    """Asks for the cache line at p."""

    def codegen(context, builder, signature, arguments):
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], function_type)
        builder.call(function, [builder.bitcast(arguments[0], byte), i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(p), codegen


@intrinsic
def stream_line(typingctx, source, target):
    """Copies 64 bytes to memory past the caches; target begins a cache line."""
    def codegen(context, builder, signature, arguments):
        line = ir.VectorType(ir.IntType(64), LINE // 8)
        source, target = (builder.bitcast(p, line.as_pointer()) for p in arguments)
        store = builder.store(builder.load(source, align=4, typ=line), target, align=LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(source, source), codegen


@intrinsic
def stream_end(typingctx):
    """Other threads see what was streamed only after this."""
    def codegen(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def not_null(typingctx, p):
    def codegen(context, builder, signature, arguments):
        return cgutils.is_not_null(builder, arguments[0])

    return types.boolean(p), codegen


@intrinsic
def offset(typingctx, p, n):
    """p + n, in elements."""

    def codegen(context, builder, signature, arguments):
        element = context.get_data_type(p.dtype)
        return builder.gep(arguments[0], [arguments[1]], source_etype=element)

    return p(p, intp), codegen


@intrinsic
def restrict(typingctx):
    """Says of the function it stands in: its pointers never overlap, and its vectors may be 512 bits wide.

    LLVM prefers 256 bits on most AVX-512 processors: 0.91 against 0.66 ns per element of a float32 softmax.
    """

    def codegen(context, builder, signature, arguments):
        function = builder.function
        set.add(function.attributes, '"prefer-vector-width"="512"')
        for argument in function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def call_kernel(typingctx, address, arrays, params, n):
    """Calls an element kernel by its address, with the eight addresses that stand in arrays."""

    def codegen(context, builder, signature, arguments):
        address, arrays, params, n = arguments
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(64)
        values = []
        for k in range(N_POINTERS):
            place = builder.gep(arrays, [ir.Constant(word, k)], source_etype=word)
            values.append(builder.inttoptr(builder.load(place, typ=word), byte))
        values += [params, n]
        kernel = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        builder.call(builder.inttoptr(address, kernel.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(intp, types.CPointer(int64), PARAMS, intp), codegen


@intrinsic(prefer_literal=True)
def stack(typingctx, size):
    """The address of that many bytes (a literal) of the function's own stack."""

    def codegen(context, builder, signature, arguments):
        with builder.goto_entry_block():
            words = builder.alloca(ir.IntType(64), size.literal_value // 8)
        return builder.ptrtoint(words, ir.IntType(64))

    return intp(size), codegen


@intrinsic
def hold_flags(typingctx):
    """Saves the floating-point status flags (and clears them): `release_flags` puts them back."""

    def codegen(context, builder, signature, arguments):
        with builder.goto_entry_block():
            environment = builder.alloca(ir.IntType(64), 8)
        return _call_libm(builder, "feholdexcept", environment)

    return types.voidptr(), codegen


@intrinsic
def release_flags(typingctx, environment):
    def codegen(context, builder, signature, arguments):
        _call_libm(builder, "fesetenv", arguments[0])
        return context.get_dummy_value()

    return types.void(types.voidptr), codegen


def _call_libm(builder, name, environment):
    byte = ir.IntType(8).as_pointer()
    environment = builder.bitcast(environment, byte)
    signature = ir.FunctionType(ir.IntType(32), [byte])
    builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [environment])
    return environment
