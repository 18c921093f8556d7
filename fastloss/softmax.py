"""The softmax family, with SciPy's signatures."""

import functools
import math

import numpy as np

from . import _check as check
from . import _config as config
from ._blocks import overlaps, row_slabs
from ._dispatch import dispatched, owner

__all__ = ["hardmax", "log_softmax", "logsumexp", "softmax", "softmin"]


def _axes(axis, ndim):
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(check.axis(a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,))) if ndim else ()
    if len(set(axes)) != len(axes):
        raise ValueError(f"axis is {axis}; an axis stands in it twice")
    return axes


def _one_axis(array, axes):
    """(array with the given axes merged to one, that axis, a function that undoes it)."""
    if len(axes) == 1:
        return array, axes[0], lambda result: result
    kept = [i for i in range(array.ndim) if i not in axes]
    order = kept + sorted(axes)
    moved = array.transpose(order)
    shape = [array.shape[i] for i in kept]
    merged = moved.reshape(*shape, math.prod(array.shape[i] for i in axes))
    return merged, len(kept), lambda result: result.reshape(moved.shape).transpose(np.argsort(order))


def _prepare(name, x, dtype, where):
    """Input, computation dtype, result dtype and mask of a call."""
    x = check.array(name, x)
    computed, result = check.working_dtype(x)
    if dtype is not None:
        try:
            result = np.dtype(dtype)
        except (TypeError, ValueError):
            raise TypeError(f"dtype is {dtype!r}; it must be a floating dtype") from None
        check.array("dtype", np.empty(0, result))
        if result.kind in "iu":
            raise TypeError(f"dtype is {result}; it must be a floating dtype")
        computed = np.dtype(np.float32) if result.name in check.HALF else result.newbyteorder("=")
    return x, computed, result, check.mask(where, x.shape)


def _rows(op, x, computed, result, mask, axis, out, masked):
    """softmax or log_softmax along one axis into out; masked elements and fully masked rows get `masked`."""
    kernels = config.kernels()
    if mask is not None:
        x = np.where(mask, x.astype(computed, copy=False), computed.type(-np.inf))
    for (block,), (target,), _ in row_slabs([x], axis, computed, [out]):
        kernels.softmax(op, block, target)
    if mask is not None:
        out[~mask] = masked
    return out


def _apart(out, *inputs):
    """out, or where it overlaps an input other than exactly, a new array."""
    return np.empty(out.shape, out.dtype) if any(overlaps(array, out) for array in inputs) else out


@np.errstate(all="ignore")
def _value(op, masked, x, axis, out, where, dtype):
    raw = x
    x, computed, result, mask = _prepare("x", x, dtype, where)
    given = check.out("out", out, x.shape, result)
    y = np.empty(x.shape, result) if given is None else _apart(given, raw, where)
    axes = _axes(axis, x.ndim)
    if x.ndim == 0:
        x, y_rows, mask = x.reshape(1), y.reshape(1), None if mask is None else mask.reshape(1)
        axes = (0,)
    else:
        y_rows = y
    if x.size == 0:
        return y if given is None else given
    merged, one, undo = _one_axis(x, axes)
    merged_mask = None if mask is None else _one_axis(mask, axes)[0]
    if len(axes) == 1:
        _rows(op, merged, computed, result, merged_mask, one, y_rows, masked)
    else:
        y_rows[...] = undo(_rows(op, merged, computed, result, merged_mask, one, np.empty(merged.shape, result), masked))
    if given is not None and y is not given:
        np.copyto(given, y)
    return given if given is not None else y[()] if y.ndim == 0 else y


@np.errstate(all="ignore")
def _gradient(op, masked, g, y, axis, out, where):
    raw = (g, y)
    g, y = check.array("g", g), check.array("y", y)
    if g.shape != y.shape:
        raise ValueError(f"g has shape {g.shape}; it must be y's shape {y.shape}")
    computed, result = check.working_dtype(y)
    mask = check.mask(where, y.shape)
    if mask is not None:
        g, y = np.where(mask, g, g.dtype.type(0)), np.where(mask, y.astype(computed, copy=False), computed.type(masked))
    given = check.out("out", out, y.shape, result)
    gradient = np.empty(y.shape, result) if given is None else _apart(given, *raw)
    axes = _axes(axis, y.ndim) or (0,)
    if y.size:
        flat = y.ndim == 0
        g1, one, undo = _one_axis(g.reshape(1) if flat else g, axes)
        y1 = _one_axis(y.reshape(1) if flat else y, axes)[0]
        target = (gradient.reshape(1) if flat else gradient) if len(axes) == 1 else np.empty(y1.shape, result)
        for (g_rows, y_rows), (rows,), _ in row_slabs([g1, y1], one, computed, [target]):
            config.kernels().softmax_backward(op, g_rows, y_rows, rows)
        if len(axes) != 1:
            gradient[...] = undo(target)
    if given is not None and gradient is not given:
        np.copyto(given, gradient)
    return given if given is not None else gradient[()] if gradient.ndim == 0 else gradient


_engine = config.compiled()


def _plain_rows(x, axis):
    """A plain array as rows (n, C, 1) of its last axis; None for others, and for the compiled kernels, which have their own short way."""
    if config.kernels() is not _engine and check.plain(x) and type(axis) is int and axis in (-1, x.ndim - 1):
        return x.reshape(-1, x.shape[-1], 1)
    return None


def _row_function(masked):
    """Decorates what describes softmax or log_softmax: it gets its value, and `backward`; elements that take no part become `masked`."""
    def decorate(described):
        op = described.__name__

        def general(x, axis, out, where, dtype):
            if out is None and where is None and dtype is None and (rows := _plain_rows(x, axis)) is not None:
                y = np.empty_like(x)
                config.kernels().softmax(op, rows, y.reshape(rows.shape))
                return y
            other = owner((x, out, where))
            if other is not None:
                return other.call(function, "__call__", (x, axis), {"out": out, "where": where, "dtype": dtype})
            return _value(op, masked, x, axis, out, where, dtype)

        def always_general(x, axis=None, *, out=None, where=None, dtype=None):
            return general(x, axis, out, where, dtype)

        def backward(g, y, axis=None, *, out=None, where=None):
            """The gradient of the input from the gradient g of the result y.

            softmax: ``y * (g - sum(g * y))``; log_softmax: ``g - exp(y) * sum(g)``, sums along `axis` (None: all axes).

            Parameters
            ----------
            g, y : array_like of one shape
            axis : None, int or tuple of int
            out : ndarray, optional
            where : array_like of bool, optional
                As in the forward call: elements where it is False take no part and get 0.

            Returns
            -------
            ndarray of that shape and y's dtype

            Examples
            --------
            >>> import fastloss as fl
            >>> fl.softmax.backward([1.0, 0.0], fl.softmax([0.0, 0.0]), axis=-1)
            array([ 0.25, -0.25])
            """
            other = owner((g, y, out, where))
            if other is not None:
                return other.call(function, "backward", (g, y, axis), {"out": out, "where": where})
            return _gradient(op, masked, g, y, axis, out, where)

        function = functools.wraps(described)(_engine.softmax_calls(op, general) if _engine else always_general)
        backward.__qualname__, function.backward = f"{op}.backward", backward
        return function

    return decorate


@_row_function(masked=0)
def softmax(x, axis=None, *, out=None, where=None, dtype=None):
    """Softmax: ``exp(x_j - lse)``, lse the logarithm of the sum of ``exp(x)`` along `axis`.

    Parameters
    ----------
    x : array_like
        Any shape: float16, bfloat16, float32, float64, or integers, which compute in float64.
    axis : None, int or tuple of int
        The axes that sum to one; None: all of them.
    out : ndarray, optional
        Where the result is written; x itself works in place.
    where : array_like of bool, optional
        Broadcasts to x's shape; elements where it is False take no part and get 0.
    dtype : dtype, optional
        Of the result; float16 and bfloat16 compute in float32.

    Returns
    -------
    ndarray of x's shape
        A row with NaN or +inf is NaN, as is a row of -inf alone; a row without any element taking part is 0.

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays, an `out` of another dtype.
    ValueError
        For an `out` or `where` that does not fit.

    See Also
    --------
    softmax.backward : the gradient, from the result.

    References
    ----------
    Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs (1990); Blanchard, Higham, Higham,
    Accurately computing the log-sum-exp and softmax functions (2021).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.softmax([[0.0, 0.0], [1000.0, 1000.0]], axis=1)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """


@_row_function(masked=-np.inf)
def log_softmax(x, axis=None, *, out=None, where=None, dtype=None):
    """Logarithm of the softmax: ``x_j - lse``, lse the logarithm of the sum of ``exp(x)`` along `axis`.

    The logarithm is taken as ``log1p`` of the sum without the maximum, so a dominating class keeps all its digits.

    Parameters
    ----------
    x : array_like
        Any shape: float16, bfloat16, float32, float64, or integers, which compute in float64.
    axis : None, int or tuple of int
        The axes whose probabilities sum to one; None: all of them.
    out : ndarray, optional
        Where the result is written; x itself works in place.
    where : array_like of bool, optional
        Broadcasts to x's shape; elements where it is False take no part and get -inf.
    dtype : dtype, optional
        Of the result; float16 and bfloat16 compute in float32.

    Returns
    -------
    ndarray of x's shape

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    See Also
    --------
    log_softmax.backward : the gradient, from the result.

    References
    ----------
    Blanchard, Higham, Higham, Accurately computing the log-sum-exp and softmax functions (2021).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.log_softmax([0.0, 60.0]).tolist()
    [-60.0, -8.75651076269652e-27]
    """


@dispatched
@np.errstate(all="ignore")
def softmin(x, axis=None, *, out=None, where=None, dtype=None):
    """Softmin: the softmax of ``-x``.

    Parameters
    ----------
    x, axis, out, where, dtype
        As in `softmax`.

    Returns
    -------
    ndarray of x's shape

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.3.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.softmin([0.0, 1.0]).round(4)
    array([0.7311, 0.2689])
    """
    x = check.array("x", x)
    x = np.negative(x, dtype=check.working_dtype(x)[0]) if x.dtype.kind in "iu" else np.negative(x)
    return softmax(x, axis, out=out, where=where, dtype=dtype)


@dispatched
@np.errstate(all="ignore")
def hardmax(x, axis=None, *, out=None, where=None, dtype=None):
    """Hardmax: 1 at the first maximum along `axis`, 0 elsewhere; the limit of ``softmax(t x)`` for growing t, ties apart.

    Parameters
    ----------
    x, axis, out, where, dtype
        As in `softmax`.

    Returns
    -------
    ndarray of x's shape
        A row with NaN is NaN; a row without any element taking part is 0.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    References
    ----------
    ONNX operator specification, Hardmax.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.hardmax([1.0, 3.0, 3.0])
    array([0., 1., 0.])
    """
    x, computed, result, mask = _prepare("x", x, dtype, where)
    given = check.out("out", out, x.shape, result)
    y = np.empty(x.shape, result)
    if x.size:
        axes = _axes(axis, x.ndim) or (0,)
        values, one, undo = _one_axis(np.atleast_1d(x.astype(computed, copy=False)), axes)
        used = None if mask is None else _one_axis(np.atleast_1d(mask), axes)[0]
        if used is not None:
            values = np.where(used, values, -np.inf)
        hard = np.zeros(values.shape, result)
        np.put_along_axis(hard, np.argmax(values, axis=one, keepdims=True), 1, one)
        hard[np.broadcast_to(np.isnan(values).any(axis=one, keepdims=True), hard.shape)] = np.nan
        if used is not None:
            hard[~used] = 0
        y[...] = undo(hard).reshape(x.shape)
    if given is None:
        return y[()] if y.ndim == 0 else y
    np.copyto(given, y)
    return given


def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False, *, out=None, where=None, dtype=None):
    """Logarithm of ``sum(b * exp(a))`` along `axis`, without overflow and to the last digit when one term dominates.

    Parameters
    ----------
    a : array_like
        Any shape: float16, bfloat16, float32, float64, or integers, which compute in float64.
    axis : None, int or tuple of int
        None: all axes.
    b : array_like, optional
        Factors of any sign; broadcasts to a's shape. Where b is 0, a is not looked at.
    keepdims : bool
        Keep the summed axes with length 1.
    return_sign : bool
        Return ``(log(abs(sum)), sign)``; without it a negative sum is NaN.
    out : ndarray, optional
        Where the result is written.
    where : array_like of bool, optional
        Broadcasts to a's shape; elements where it is False take no part.
    dtype : dtype, optional
        Of the result; float16 and bfloat16 compute in float32.

    Returns
    -------
    ndarray or NumPy scalar, and the sign with `return_sign`
        An empty or fully masked sum gives -inf, a sum with +inf gives +inf, with NaN gives NaN.

    Raises
    ------
    TypeError, ValueError
        As `softmax`.

    References
    ----------
    Blanchard, Higham, Higham, Accurately computing the log-sum-exp and softmax functions (2021).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.logsumexp([1000.0, 1000.0]).round(4)
    np.float64(1000.6931)
    >>> fl.logsumexp([1.0, 2.0], b=[1.0, -1.0], return_sign=True)[1]
    np.float64(-1.0)
    """
    if b is None and keepdims is False and return_sign is False and out is None and where is None and dtype is None:
        total = None if _engine is None else _engine.fast_logsumexp(a, axis)
        if total is None and (rows := _plain_rows(a, axis)) is not None:
            total = np.empty(a.shape[:-1], a.dtype)
            config.kernels().softmax("logsumexp", rows, total.reshape(-1, 1))
            total = total[()]
        if total is not None:
            return total
    other = owner((a, b, out, where))
    if other is not None:
        options = {"b": b, "keepdims": keepdims, "return_sign": return_sign, "out": out, "where": where, "dtype": dtype}
        return other.call(logsumexp, "__call__", (a, axis), options)
    with np.errstate(all="ignore"):
        a, computed, result, mask = _prepare("a", a, dtype, where)
        if b is not None:
            a, b = _together(a.astype(computed), check.array("b", b, boolean=True).astype(computed))
            b = b if mask is None else np.where(check.broadcast("where", mask, b.shape), b, 0)
        axes = _axes(axis, a.ndim)
        kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
        final = kept if keepdims else tuple(n for i, n in enumerate(a.shape) if i not in axes)
        given = check.out("out", out, final, result)
        if b is None:
            total = _lse(a, axes, computed, mask)
            sign = np.where(np.isnan(total), total, np.where(np.isneginf(total), 0, 1)).astype(computed) if return_sign else None
        else:
            total, sign = _signed_lse(a, b, axes, computed)
            if not return_sign:
                total = np.where(sign < 0, np.nan, total)
        total = np.asarray(total).reshape(final).astype(result, copy=False)
        if given is not None:
            given[...] = total
            total = given
        elif total.ndim == 0:
            total = total[()]
        if not return_sign:
            return total
        sign = np.asarray(sign).reshape(final).astype(result, copy=False)
        return total, sign[()] if sign.ndim == 0 else sign


def _together(a, b):
    """a and its factors b, broadcast."""
    try:
        return np.broadcast_arrays(a, b)
    except ValueError:
        raise ValueError(f"b has shape {b.shape}; it must broadcast with a, of shape {a.shape}") from None


def _lse(a, axes, computed, mask=None):
    """logsumexp over axes, flat."""
    if mask is not None:
        a = np.where(mask, a.astype(computed, copy=False), -np.inf).astype(computed, copy=False)
    if a.ndim == 0:
        a, axes = a.reshape(1), (0,)
    if not axes:
        return a.astype(computed)
    merged, axis, _ = _one_axis(a, axes)
    shape = merged.shape[:axis] + merged.shape[axis + 1 :]
    total = np.empty(math.prod(shape), computed)
    if total.size == 0 or merged.size == 0:
        total[...] = -np.inf
        return total
    for (block,), _, rows in row_slabs([merged], axis, computed, []):
        config.kernels().softmax("logsumexp", block, total[rows].reshape(block.shape[0], block.shape[2]))
    return total


def _signed_lse(a, b, axes, computed):
    """(log|sum b exp(a)|, sign): the positive and the negative terms apart, then their difference."""
    parts = []
    for side in (1, -1):
        used = b * side > 0
        terms = np.where(used, a + np.log(np.where(used, b * side, 1)), -np.inf).astype(computed, copy=False)
        parts.append(_lse(terms, axes, computed))
    plus, minus = parts
    hi, lo = np.maximum(plus, minus), np.minimum(plus, minus)
    sign = np.where(plus > minus, 1.0, np.where(plus < minus, -1.0, np.where(np.isnan(hi), np.nan, 0.0)))
    gap = np.where(np.isneginf(lo), -np.inf, lo - hi)
    total = np.where(np.isneginf(hi) | (sign == 0), -np.inf, hi + np.log1p(-np.exp(gap)))
    bad = np.isnan(b).any(axis=axes).reshape(-1) | (np.isposinf(plus) & np.isposinf(minus))
    return np.where(bad, np.nan, total), np.where(bad, np.nan, sign)

