"""Elementwise losses and activations."""

import functools

import numpy as np
from numba import cfunc, njit, types
from numba.extending import register_jitable

from .. import _check as check
from ..kernels import jit
from ..kernels._generated import numba_formulas
from ..kernels._generated.registry import LOSSES
from ..kernels.jit import custom, ufuncs
from ..kernels.jit.layout import BLOCK, LOSS_SCRATCH_BYTES
from ..kernels.jit.primitives import FLAGS, LEAF, cached, pointer
from ..kernels.jit.sums import accumulate
from .arrays import (
    address,
    buffer,
    call_c,
    chunks_of,
    compiled,
    deliver,
    deliver_number,
    elements,
    fitted,
    floats,
    full,
    is_none,
    is_scalar,
    keep,
    mask_of,
    per_row,
    product,
    same,
    scratch_of,
    shape_of,
    spread,
    stretched,
)  # fmt: skip
from .nodes import Apply, Argument, Symbol
from .partials import partial_of
from .trace import terms

REDUCTIONS = ("mean", "sum", "none", "batchmean")
MEAN, SUM, NONE, BATCHMEAN, PARTIAL = range(5)


# Dtypes


def type_of_input(name, node):
    """The Numba type of a differentiable argument."""
    typ = node.type if isinstance(node, Argument) else types.float64 if isinstance(node, float) else types.int64
    dtype = typ.dtype if isinstance(typ, types.Array) else typ
    if isinstance(node, bool) or not isinstance(dtype, types.Float | types.Integer) or isinstance(node, str | tuple | None):
        raise TypeError(f"{name} has type {typ}; it must be a float32, float64 or integer array or number")
    return typ


def working(*typs):
    """The NumPy scalar class of the computation."""
    dtypes = [t.dtype if isinstance(t, types.Array) else t for t in typs]
    return np.float32 if all(t == types.float32 for t in dtypes) else np.float64


def refuse_arrays(**nodes):
    """Arguments that stay as they are must be numbers."""
    for name, node in nodes.items():
        if isinstance(node, Argument) and isinstance(node.type, types.Array):
            raise TypeError(f"{name} is an array; inside Numba it must be a number")


def reduction_of(nodes, mode, allowed=REDUCTIONS[:3]):
    given = nodes.get("reduction", "mean")
    if isinstance(given, Argument):
        raise TypeError("reduction must be a constant string inside Numba")
    if mode == "p":
        return PARTIAL
    if given not in allowed:
        raise ValueError(f"reduction is {given!r}; it must be one of {', '.join(map(repr, allowed))}")
    if nodes.get("upstream") is not None and given != "none":
        raise ValueError("upstream multiplies the gradients of single losses; it needs reduction='none'")
    return REDUCTIONS.index(given)


def outs_of(out, mode, n):
    """out= as a tuple of (value, gradients, second derivatives), each of these a tuple of n; None where nothing is given."""
    kinds = {"v": (0,), "vg": (0, 1), "vgh": (0, 1, 2), "g": (1,), "p": ()}[mode]
    if isinstance(out, Argument):
        if len(kinds) == 1 and (kinds == (0,) or n == 1):
            out = (out,)
        elif isinstance(out.type, types.BaseTuple):
            out = out.items()
        else:
            raise TypeError("out must be a tuple of arrays and None")
    given = dict(zip(kinds, out or (None,) * len(kinds), strict=True))
    result = [given.get(0)]
    for kind in (1, 2):
        one = given.get(kind)
        result.append((one,) if n == 1 else one.items() if isinstance(one, Argument) else one or (None,) * n)
    return tuple(result)


def number_of(node):
    return node if isinstance(node, Argument | Apply) else float(node)


# Losses


I, D = types.int64, types.float64
DRIVERS = {"loss": types.void(*[I] * 16), "total": types.void(*[I] * 7), "outside": types.void(I, I, I, I, I, D, D, I, I, I)}


@functools.cache
def driver(name, T):
    """A driver of kernels/jit/elementwise.py as a C function."""
    function = getattr(numba_formulas, f"{name}_f{8 * np.dtype(T).itemsize}").py_func
    return Symbol(cached(lambda **options: cfunc(DRIVERS[name], **options), function, **FLAGS))


@functools.cache
def core_of(T):
    """All of a loss but its outputs' shapes, on addresses: one function for every formula."""
    real = getattr(numba_formulas, f"f{8 * np.dtype(T).itemsize}")

    def core(code, n_inputs, n_gradients, n, sources, sizes, divisor, mask, used, per, batch, params, wanted, targets, reduction):
        """(total, its rounding error, divisor, its error, count, what the value was divided by); sources: inputs, weight, upstream."""
        kernel, loss, total = code
        count = n // per
        if used.size:
            count = 0
            for i in range(used.size):
                count += used[i]
        weight, weight_low, divide_by = 0.0, 0.0, 1.0
        memory, scratch = scratch_of(LOSS_SCRATCH_BYTES)
        partials = np.zeros(2 * chunks_of(max(n, 1)))
        if reduction == 0 or reduction == 4:
            weight = float(count)
            if divisor.size:
                call_c(total, (0, chunks_of(divisor.size), scratch, address(divisor), address(used), address(partials), divisor.size))
                weight, weight_low = accumulate(0.0, 0.0, partials)
            if reduction == 0:
                divide_by = weight + weight_low
        elif reduction == 3:
            divide_by = 0.0
            for r in range(batch):
                present = mask.size == 0
                for i in range(0 if present else n // batch):
                    present |= mask[r * (n // batch) + i]
                if present:
                    divide_by += float(divisor[r * (n // batch)]) if divisor.size else 1.0
        if divide_by == 0 or n == 0:
            for k in range(5):
                for i in range(targets[k] != 0 and (n // per if k == 0 else n)):
                    pointer(targets[k], real)[i] = real(0)
            return 0.0, 0.0, weight, weight_low, count, divide_by
        averaged = np.empty(n if per > 1 and targets[0] else 1, T)
        words = np.zeros((3, 5), np.int64)
        k, direct = 0, 0
        for i in range(5):
            if i < n_inputs or i >= 3:
                words[0, k], words[1, k] = sources[i], 0 if sizes[i] == n else sizes[i]
                k += 1
        for i in range(1 + 2 * n_gradients):
            words[2, i] = averaged.ctypes.data if i == 0 and averaged.size == n and per > 1 else targets[i]
            apart_from_all = words[2, i] != 0
            for j in range(5):
                apart_from_all &= words[2, i] != words[0, j]
            direct |= (1 << i) if apart_from_all else 0
        numbers = np.array(floats((1.0 / (divide_by * per),) + params))
        partials[:] = 0
        at = np.int64(words.ctypes.data)
        call_c(loss, (
            0, chunks_of(n), scratch, kernel, at, at + 40, n_inputs, 1 + 2 * n_gradients, address(mask),
            address(numbers), at + 80, wanted, direct, 0, address(partials), n,
        ))  # fmt: skip
        keep((memory, words, numbers, mask))
        if per > 1 and targets[0]:
            for i in range(n // per):
                mean = 0.0
                for j in range(per):
                    mean += averaged[i * per + j]
                pointer(targets[0], real)[i] = real(mean / per)
        high, low = accumulate(0.0, 0.0, partials)
        return high / per, low / per, weight, weight_low, count, divide_by

    return njit(**LEAF)(core)


def check_domain(outside, values, mask, domain): ...


@compiled(check_domain)
def _check_domain(outside, values, mask, domain):
    if is_none(domain):
        return lambda outside, values, mask, domain: None

    def check(outside, values, mask, domain):
        low, high, ends, message = domain
        any_used = mask.size == 0
        for i in range(mask.size):
            any_used |= mask[i]
        if values.size == 0 or not any_used:
            return
        found = np.zeros(chunks_of(values.size), np.int64)
        used = address(mask) if mask.size == values.size else 0
        call_c(outside, (0, found.size, 0, address(values), used, low, high, ends, address(found), values.size))
        keep((values, mask))
        for i in range(found.size):
            if found[i]:
                raise ValueError(message, values[found[i] - 1], found[i] - 1)

    return check


def weights(weight, rows, shape, T, message): ...


@compiled(weights)
def _weights(weight, rows, shape, T, message):
    """The product of the weights of elements and of rows, which are elements already; empty where there is none."""
    if is_none(weight):
        return lambda weight, rows, shape, T, message: rows

    def multiply(weight, rows, shape, T, message):
        own = full(weight, shape, T, message)
        if rows.size:
            own *= rows
        return own

    return multiply


def folded(gradient, own, shape, lead): ...


@compiled(folded)
def _folded(gradient, own, shape, lead):
    """A gradient summed over the axes along which its input was repeated; that input's axes begin at axis `lead`."""
    T = np.dtype(str(gradient.dtype)).type
    if len(shape) == 0:
        return lambda gradient, own, shape, lead: gradient
    if is_scalar(own) or own.ndim == 0:
        return lambda gradient, own, shape, lead: np.full(1, T(gradient.astype(np.float64).sum()), T)

    def fold(gradient, own, shape, lead):
        if same(own.shape, shape):
            return gradient.reshape(own.shape)
        values, sums = gradient.reshape(-1), np.zeros(product(own.shape))
        for i in range(values.size):
            rest, at, step = i, 0, 1
            for k in range(len(shape) - 1, -1, -1):
                if 0 <= k - lead < own.ndim and own.shape[k - lead] != 1:
                    at += rest % shape[k] * step
                    step *= shape[k]
                rest //= shape[k]
            sums[at] += values[i]
        return sums.astype(T).reshape(own.shape)

    return fold


@register_jitable
def nothing(out, shape, T, taken, message):
    return np.empty(0, T)


@register_jitable
def without_last(shape):
    return shape[:-1]


@register_jitable
def itself(values, per):
    return values


@functools.cache
def loss_of(T, mode, reduction, n_gradients, of_rows, mean_over_weight, second, fits):
    """The compiled loss: of a formula's kernel, and arguments of any types."""
    core, wanted = core_of(T), jit.WANTED[n_gradients]["v" if mode == "p" else mode]
    single = reduction == NONE and "v" in mode
    new0, new1, new2, new3, new4 = (buffer if wanted >> k & 1 and (k or single) else nothing for k in range(5))
    fit_y, fit_z = fits
    unreduced_of, repeat = (without_last, np.repeat) if of_rows else (register_jitable(lambda shape: shape), itself)
    finish = finish_of(mode, single, n_gradients, second)

    def loss(code, outside, n_inputs, arrays, messages, domains, params, weight, where, sample_weight, empty, upstream, buffers, outs):
        shape = shape_of(arrays[0])
        unreduced = unreduced_of(shape)
        x = elements(arrays[0], T)
        y = fit_y(arrays[1], shape, T, messages[0])
        z = fit_z(arrays[2], shape, T, messages[1])
        n = x.size
        per = n // max(product(unreduced), 1) if of_rows else 1
        used = mask_of(where, unreduced, "where must broadcast to the shape of the unreduced loss")
        rows = per_row(sample_weight, unreduced, T, "sample_weight must have one weight per row")
        up = full(upstream, unreduced, T, "upstream must broadcast to the shape of the unreduced loss")
        mask, up = repeat(used, per), repeat(up, per)
        factor = weights(weight, repeat(rows, per), shape, T, "weight must broadcast to input's shape")
        check_domain(outside, x, mask, domains[0])
        check_domain(outside, y, mask, domains[1])
        check_domain(outside, z, mask, domains[2])
        sources = (address(x), address(y), address(z), address(factor), address(up))
        sizes = (x.size, y.size, z.size, factor.size, up.size)
        taken = ((sources[0], x.nbytes), (sources[1], y.nbytes), (sources[2], z.nbytes), (address(mask), mask.nbytes))
        value = new0(buffers[0], unreduced, T, taken, "out must be of the shape of the result")
        a = new1(buffers[1], shape, T, taken, "out of a gradient must be of input's shape")
        b = new2(buffers[2], shape, T, taken, "out of a second derivative must be of input's shape")
        c = new3(None, shape, T, taken, "")
        d = new4(None, shape, T, taken, "")
        sums = core(code, n_inputs, n_gradients, n, sources, sizes, factor if mean_over_weight else rows, mask, used, per, batch_of(shape),
                    params, wanted, (address(value), address(a), address(b), address(c), address(d)), reduction)
        keep((x, y, z, factor, up, mask))
        total = sums[0] + sums[1] if np.isfinite(sums[0]) else sums[0]
        number = T(total / sums[5] if sums[5] != 0 else empty)
        return finish(sums, number, (value, a, b, c, d), outs, arrays, shape, unreduced)

    return njit(**LEAF)(loss)


def batch_of(shape): ...


@compiled(batch_of)
def _batch_of(shape):
    return (lambda shape: shape[0]) if len(shape) else lambda shape: 1


@functools.cache
def finish_of(mode, single, n_gradients, second=None):
    """What a loss returns, from its sums and buffers; second: which argument the second gradient is of, where that one broadcasts."""
    if mode == "p":
        return register_jitable(lambda sums, number, buffers, outs, arrays, shape, unreduced: partial_of(sums))

    if single:
        value = register_jitable(lambda number, buffers, outs, unreduced: deliver(outs[0], buffers[0], unreduced))
    else:
        value = register_jitable(lambda number, buffers, outs, unreduced: deliver_number(outs[0], number))
    grad, hess = (_together([_one(k + i) if i == 0 or second is None else _summed(k + i, second) for i in range(n_gradients)])
                  for k in (1, 1 + n_gradients))
    if mode == "v":
        return register_jitable(lambda sums, number, buffers, outs, arrays, shape, unreduced: value(number, buffers, outs, unreduced))
    if mode == "g":
        return register_jitable(lambda sums, number, buffers, outs, arrays, shape, unreduced: grad(buffers, outs, arrays, shape))
    if mode == "vg":
        return register_jitable(lambda sums, number, buffers, outs, arrays, shape, unreduced: (
            value(number, buffers, outs, unreduced), grad(buffers, outs, arrays, shape)))
    return register_jitable(lambda sums, number, buffers, outs, arrays, shape, unreduced: (
        value(number, buffers, outs, unreduced), grad(buffers, outs, arrays, shape), hess(buffers, outs, arrays, shape)))


def _one(k):
    return register_jitable(lambda buffers, outs, arrays, shape: deliver(outs[k], buffers[k], shape))


def _summed(k, of):
    return register_jitable(lambda buffers, outs, arrays, shape: deliver(outs[k], folded(buffers[k], arrays[of], shape, 0), shape_of(arrays[of])))


def _together(parts):
    """One function, which gives what the single one gives, or a tuple of what all give."""
    if len(parts) == 1:
        return parts[0]
    a, b, c = (*parts, None)[:3]
    if c is None:
        return register_jitable(lambda *given: (a(*given), b(*given)))
    return register_jitable(lambda *given: (a(*given), b(*given), c(*given)))


def bounds_of(name, domain):
    """What check_domain takes for a Domain."""
    return domain and (float(domain.low), float(domain.high), int(domain.only_ends), f"{name} must be {domain.wanted}:")


def loss(function, mode, nodes, named):
    """The plan of an elementwise loss."""
    reduction = reduction_of(nodes, mode, function._reductions)
    formula = named.formula or function.__name__
    n_gradients = LOSSES[formula][2] if formula in LOSSES else 1
    arrays = named.arrays
    inputs = [type_of_input(name, named.arrays[name]) for name in function._inputs]
    T = working(*[t for t in inputs if t is inputs[0] or isinstance(t, types.Array)])
    kinds = {check.same_shape: fitted, check.broadcast: spread, check.without_last_axis: stretched}
    fits = [kinds[function._fits.get(name, check.same_shape)] for name in arrays][1:]
    messages = [f"{name} does not fit input's shape" for name in arrays][1:]
    domains = [bounds_of(name, function._domains.get(name)) for name in arrays]
    outs = outs_of(nodes.get("out"), mode, n_gradients)
    outs = (outs[0], *outs[1], *outs[2], None, None)[:5]
    buffers = outs if n_gradients == 1 else (outs[0], None, None, None, None)
    second = list(arrays).index(function._inputs[-1])
    call = loss_of(T, mode, reduction, n_gradients, function._of_rows, function._mean_over_weight, second, (*fits, fitted)[:2])
    code = (Symbol(jit._element_kernel(formula, 'v' if mode == 'p' else mode, np.dtype(T).itemsize)), driver("loss", T), driver("total", T))
    pad = 3 - len(arrays)
    return Apply(
        call, code, driver("outside", T), len(arrays), (*arrays.values(), *[None] * pad), (*messages, *[""] * pad), (*domains, *[None] * pad),
        tuple(map(number_of, named.params)), named.weight, nodes.get("where"), nodes.get("sample_weight"), number_of(nodes.get("empty", np.nan)),
        nodes.get("upstream"), buffers, outs,
    )  # fmt: skip


# Activations


@functools.cache
def scalar_of(formula, which, T, n_params):
    """The formula itself, for numbers."""
    suffix, module = f"f{8 * np.dtype(T).itemsize}", custom.modules.get(formula, numba_formulas)
    f = getattr(module, f"{formula}__{suffix}", None) or getattr(module, f"{formula}_{suffix}")
    part = {"value": 0, "grad": 1, "backward": 1, "parameter": 2}[which]
    calls = {
        0: lambda g, x, p: g * f(T(x))[part],
        1: lambda g, x, p: g * f(T(x), T(p[0]))[part],
        2: lambda g, x, p: g * f(T(x), T(p[0]), T(p[1]))[part],
        3: lambda g, x, p: g * f(T(x), T(p[0]), T(p[1]), T(p[2]))[part],
        4: lambda g, x, p: g * f(T(x), T(p[0]), T(p[1]), T(p[2]), T(p[3]))[part],
        5: lambda g, x, p: g * f(T(x), T(p[0]), T(p[1]), T(p[2]), T(p[3]), T(p[4]))[part],
    }
    own = njit(**LEAF)(calls[n_params])
    if which in ("value", "grad"):
        return njit(**LEAF)(lambda g, x, p: own(T(1), x, p))
    return njit(**LEAF)(lambda g, x, p: own(T(g), x, p))


def masked(out, result, where, shape): ...


@compiled(masked)
def _masked(out, result, where, shape):
    """The result where the mask holds, elsewhere what `out` holds, or 0."""
    if is_none(where):
        return lambda out, result, where, shape: deliver(out, result, shape)
    absent = is_none(out)

    def choose(out, result, where, shape):
        mask, values = mask_of(where, shape, "where must broadcast to x's shape"), result.reshape(-1)
        if absent:
            for i in range(values.size):
                if not mask[i]:
                    values[i] = 0
            return deliver(out, result, shape)
        old = np.ascontiguousarray(out).reshape(-1)
        for i in range(values.size):
            if not mask[i]:
                values[i] = old[i]
        return deliver(out, result, shape)

    return choose


@functools.cache
def activation_of(T, which, ending):
    """The compiled activation: of a formula's kernel, and arguments of any types."""
    ones_first, size = which == "grad", np.dtype(T).itemsize

    def activation(loop, kernel, n_params, g, x, params, target, out, where):
        shape = shape_of(x)
        gs, xs = spread(g, shape, T, "g must broadcast to x's shape"), elements(x, T)
        a = spread(params[0], shape, T, "a parameter must broadcast to x's shape")
        b = spread(params[1], shape, T, "a parameter must broadcast to x's shape")
        c = spread(params[2], shape, T, "a parameter must broadcast to x's shape")
        d = spread(params[3], shape, T, "a parameter must broadcast to x's shape")
        e = spread(params[4], shape, T, "a parameter must broadcast to x's shape")
        ones, words = np.ones(BLOCK if ones_first else 1, T), np.zeros((4, 8), np.int64)
        taken = ((address(gs), gs.nbytes), (address(xs), xs.nbytes), (address(a), a.nbytes), (address(b), b.nbytes))
        result = buffer(target, shape, T, taken, "out must be of x's shape")
        k = 0
        for at, length in ((address(gs), gs.size), (address(xs), xs.size), (address(a), a.size), (address(b), b.size),
                           (address(c), c.size), (address(d), d.size), (address(e), e.size)):
            if length:
                words[0, k], words[1, k] = at, 0 if length == 1 else size
                k += 1
        words[0, k], words[1, k] = address(result), size
        words[2, 0] = xs.size
        words[3, 0], words[3, 1], words[3, 3] = kernel, k, ones.ctypes.data if ones_first else 0
        at = np.int64(words.ctypes.data)
        if xs.size:
            call_c(loop, (at, at + 128, at + 64, at + 192))
        keep((gs, xs, a, b, c, d, e, ones, words))
        return ending(result, params[0], out, where, shape)

    return njit(**LEAF)(activation)


@register_jitable
def whole(result, parameter, out, where, shape):
    return masked(out, result, where, shape)


@register_jitable
def summed(result, parameter, out, where, shape):
    own = shape_of(parameter)
    return deliver(out, folded(result, parameter, shape, len(shape) - len(own)), own)


@njit(**LEAF)
def ordered(min_val, max_val):
    if min_val > max_val:
        raise ValueError("min_val must be at most max_val, and both numbers inside Numba")
    return float(min_val)


def activation(function, method, nodes):
    """The plan of an elementwise activation."""
    which = {"v": "value", "g": "grad"}.get(method, "parameter" if method.startswith("backward_") else method)
    parameters = {name: nodes[name] for name in function._names}
    if parameters.get("axis") is not None:
        raise TypeError("axis is not supported inside Numba; give the parameter axes that broadcast against x")
    if function.__name__ == "hardtanh":
        formula, given = "hardtanh", (Apply(ordered, number_of(nodes["min_val"]), number_of(nodes["max_val"])), nodes["max_val"])
    else:
        formula, given = terms(function._function, parameters)
    arrays = [(name, nodes[name]) for name in ("g", "x") if name in nodes]
    typs = [type_of_input(*pair) for pair in arrays]
    T = working(*typs)
    g = nodes.get("g")
    given = tuple(number_of(p) if isinstance(p, int | float) else p for p in given)
    out, where = nodes.get("out"), nodes.get("where")
    if where is True:
        where = None
    array_like = [n for n in (g, nodes["x"], *given, out, where) if isinstance(n, Argument) and isinstance(n.type, types.Array)]
    if not array_like:
        return Apply(scalar_of(formula, which, T, len(given)), 1.0 if g is None else g, nodes["x"], given)
    loop = Symbol(ufuncs._loops()[0 if T is np.float64 else 1])
    mode = {"grad": "backward"}.get(which, which)
    kernel = Symbol(jit._element_kernel(formula, mode, np.dtype(T).itemsize))
    call = activation_of(T, which, summed if which == "parameter" else whole)
    target = out if where is None and which != "parameter" else None
    return Apply(call, loop, kernel, len(given), g, nodes["x"], (*given, *[None] * (5 - len(given))), target, out, where)
