"""Activations that join the elements of an axis: crelu, glu, maxout; rrelu, whose slopes are drawn."""

import functools

import numpy as np
from numba import njit, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import register_jitable

from ..activations import leaky_relu
from ..kernels._generated import numba_formulas
from ..kernels.jit.primitives import LEAF
from . import elementwise
from .arrays import compiled, elements, is_none, same, shape_of
from .elementwise import number_of, type_of_input, working
from .nodes import Apply, Argument
from .rows import axis_of, cut, shaped, without


@register_jitable
def cube_of(a, axis, T):
    """The elements with the axis in the middle of three."""
    shape = shape_of(a)
    if len(shape) == 0:
        raise ValueError("x must have at least one axis")
    rows, n, inner = cut(shape, axis)
    return elements(a, T).reshape(rows // inner, n, inner)


@register_jitable
def resized(shape, axis, n):
    """The shape with another length along the axis."""
    return tuple_setitem(shape, axis % len(shape), n)


@register_jitable
def halved(x, axis, T):
    cube = cube_of(x, axis, T)
    if cube.shape[1] % 2:
        raise ValueError("x must have an even number of entries along axis")
    return cube[:, : cube.shape[1] // 2], cube[:, cube.shape[1] // 2 :]


@register_jitable
def gradient(g, shape, axis, T):
    if not same(shape_of(g), shape):
        raise ValueError("g must have the shape of the result")
    return cube_of(g, axis, T)


@functools.cache
def formula(name, T):
    return getattr(numba_formulas, f"{name}_f{8 * np.dtype(T).itemsize}")


@functools.cache
def crelu_of(T):
    relu = formula("relu", T)

    def crelu(x, axis):
        cube = cube_of(x, axis, T)
        n = cube.shape[1]
        out = np.empty((cube.shape[0], 2 * n, cube.shape[2]), T)
        for at in np.ndindex(cube.shape):
            i, j, k = at
            out[i, j, k], out[i, n + j, k] = relu(cube[at])[0], relu(-cube[at])[0]
        return out.reshape(resized(shape_of(x), axis, 2 * n))

    return njit(**LEAF)(crelu)


@functools.cache
def crelu_backward_of(T):
    relu = formula("relu", T)

    def backward(g, x, axis):
        cube, shape = cube_of(x, axis, T), shape_of(x)
        n, out = cube.shape[1], np.empty(cube.shape, T)
        gs = gradient(g, resized(shape, axis, 2 * n), axis, T)
        for at in np.ndindex(cube.shape):
            i, j, k = at
            out[at] = gs[i, j, k] * relu(cube[at])[1] - gs[i, n + j, k] * relu(-cube[at])[1]
        return out.reshape(shape)

    return njit(**LEAF)(backward)


@functools.cache
def glu_of(T):
    glu = formula("glu", T)

    def forward(x, axis):
        a, b = halved(x, axis, T)
        out = np.empty(a.shape, T)
        for at in np.ndindex(a.shape):
            out[at] = glu(a[at], b[at])[0]
        return out.reshape(resized(shape_of(x), axis, a.shape[1]))

    return njit(**LEAF)(forward)


@functools.cache
def glu_backward_of(T):
    glu = formula("glu", T)

    def backward(g, x, axis):
        a, b = halved(x, axis, T)
        shape, n = shape_of(x), a.shape[1]
        gs, out = gradient(g, resized(shape, axis, n), axis, T), np.empty((a.shape[0], 2 * n, a.shape[2]), T)
        for at in np.ndindex(a.shape):
            i, j, k = at
            _, slope, gate = glu(a[at], b[at])
            out[i, j, k], out[i, n + j, k] = gs[at] * slope, gs[at] * gate
        return out.reshape(shape)

    return njit(**LEAF)(backward)


def pooled(shape, axis, pool_size): ...


@compiled(pooled)
def _pooled(shape, axis, pool_size):
    """(the shape of the maxima, how many compete for each)."""
    if is_none(pool_size):
        return lambda shape, axis, pool_size: (without(shape, axis), shape[axis % len(shape)])

    def groups(shape, axis, pool_size):
        n = shape[axis % len(shape)]
        if pool_size < 1 or n % pool_size:
            raise ValueError("pool_size must be at least 1 and divide the length of axis")
        return resized(shape, axis, n // pool_size), pool_size

    return groups


@register_jitable
def first_largest(cube, i, start, stop, k):
    best = start
    for j in range(start + 1, stop):
        v, top = cube[i, j, k], cube[i, best, k]
        if v > top or (np.isnan(v) and not np.isnan(top)):
            best = j
    return best


@functools.cache
def maxout_of(T):
    def maxout(x, pool_size, axis):
        cube = cube_of(x, axis, T)
        shape, size = pooled(shape_of(x), axis, pool_size)
        if size == 0:
            raise ValueError("x has no entries along axis")
        out = np.empty((cube.shape[0], cube.shape[1] // size, cube.shape[2]), T)
        for at in np.ndindex(out.shape):
            i, j, k = at
            out[at] = cube[i, first_largest(cube, i, j * size, (j + 1) * size, k), k]
        return shaped(out.reshape(-1), shape)

    return njit(**LEAF)(maxout)


@functools.cache
def maxout_backward_of(T):
    def backward(g, x, pool_size, axis):
        cube = cube_of(x, axis, T)
        shape, size = pooled(shape_of(x), axis, pool_size)
        if not same(shape_of(g), shape):
            raise ValueError("g must have the shape of the result")
        out = np.zeros(cube.shape, T)
        gs = elements(g, T).reshape(cube.shape[0], cube.shape[1] // max(size, 1), cube.shape[2])
        for at in np.ndindex(gs.shape):
            i, j, k = at
            out[i, first_largest(cube, i, j * size, (j + 1) * size, k), k] = gs[at]
        return out.reshape(shape_of(x))

    return njit(**LEAF)(backward)


def of_axis(forward, backward, *between):
    """The plan of such an activation; between: its arguments between x and axis."""

    def plan(function, method, nodes):
        given = [nodes[name] for name in (("g", "x") if method == "backward" else ("x",))]
        T = working(*map(type_of_input, ("g", "x")[-len(given) :], given))
        for name in between:
            if isinstance(nodes[name], float | bool) or (isinstance(nodes[name], Argument) and not isinstance(nodes[name].type, types.Integer)):
                raise TypeError(f"{name} must be None or an int")
        axis = axis_of(nodes)
        if axis is None:
            raise TypeError("axis must be an int")
        return Apply((backward if method == "backward" else forward)(T), *given, *(nodes[name] for name in between), axis)

    return plan


crelu, glu = of_axis(crelu_of, crelu_backward_of), of_axis(glu_of, glu_backward_of)
maxout = of_axis(maxout_of, maxout_backward_of, "pool_size")


# rrelu


def draw(rng, shape, T): ...


@compiled(draw)
def _draw(rng, shape, T):
    return (lambda rng, shape, T: rng.random(shape, T)) if len(shape) else lambda rng, shape, T: T(rng.random())


@functools.cache
def slopes_of(T, drawn):
    def between(lower, upper):
        if not lower <= upper:
            raise ValueError("lower must be at most upper")
        return (lower + upper) / 2

    def slopes(lower, upper, x, rng):
        if not lower <= upper:
            raise ValueError("lower must be at most upper")
        return T(lower) + T(upper - lower) * draw(rng, shape_of(x), T)

    return njit(**LEAF)(slopes if drawn else between)


def rrelu(function, method, nodes):
    """The plan of leaky_relu with such slopes."""
    T, rng = working(type_of_input("x", nodes["x"])), nodes["rng"]
    if rng is not None and not isinstance(getattr(rng, "type", None), types.NumPyRandomGeneratorType):
        raise TypeError("rng must be a numpy.random.Generator")
    ends = number_of(nodes["lower"]), number_of(nodes["upper"])
    slope = Apply(slopes_of(T, rng is not None), *ends, *(() if rng is None else (nodes["x"], rng)))
    return elementwise.activation(leaky_relu, method, {name: nodes[name] for name in ("g", "x") if name in nodes} | {"negative_slope": slope})
