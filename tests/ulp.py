"""Errors in units in the last place, measured against longdouble or mpmath numbers."""

import threading
from contextlib import contextmanager
from functools import wraps

import numpy as np
from mpmath import mp


@np.errstate(all="ignore")
def errors(got, want, size=0.0):
    """|got - want| in units in the last place of max(|want|, |size|), in got's own format.

    Subnormal results count in the smallest subnormal. NaN agrees with NaN, an infinity with the same
    infinity or with a number that rounds to it; every other disagreement is an infinite error.
    """
    got = np.asarray(got)
    info = np.finfo(got.dtype)
    want = np.broadcast_to(widen(want), got.shape)
    size = np.broadcast_to(np.abs(widen(size)), got.shape)
    _, exponent = np.frexp(np.maximum(np.abs(want), size))
    unit = np.ldexp(np.longdouble(1), np.maximum(exponent - 1, info.minexp) - info.nmant)
    error = np.abs(got.astype(np.longdouble) - want) / unit
    overflow = np.abs(want) >= np.longdouble(info.max) * (1 + np.longdouble(info.epsneg) / 2)
    same = (np.isnan(got) & np.isnan(want)) | (got == want)
    same |= np.isinf(got) & overflow & (np.sign(got) == np.sign(want))
    return np.select([same, np.isnan(error)], [0.0, np.inf], error).astype(np.float64)


def assert_close(got, want, limit, size=0.0, what=""):
    """Fail with the worst element when an error exceeds `limit` ULP."""
    got = np.asarray(got)
    error = errors(got, want, size)
    if error.size and not error.max() <= limit:
        worst = np.unravel_index(error.argmax(), error.shape)
        wanted = np.broadcast_to(widen(want), got.shape)[worst]
        raise AssertionError(
            f"{what}: {error.max():.2f} ULP (limit {limit}) at {tuple(map(int, worst))}: "
            f"got {got[worst]!r}, want {wanted!r}; {int((error > limit).sum())} of {error.size} exceed"
        )


def assert_same(got, want, what=""):
    """Fail unless every bit is equal, and shape and dtype; NaN is equal to NaN, -0 is not 0."""
    got, want = np.asarray(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape), what
    if got.tobytes() == want.tobytes():
        return
    differs = ~((got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(got) & np.isnan(want))
    if differs.any():
        first = np.unravel_index(differs.argmax(), got.shape)
        raise AssertionError(
            f"{what}: {int(differs.sum())} of {got.size} differ, first at {tuple(map(int, first))}: "
            f"got {got[first]!r}, want {want[first]!r}"
        )


@np.errstate(over="ignore", under="ignore")
def rounded(array, dtype):
    """What the dtype makes of the array, subnormals and infinities included."""
    return np.asarray(array).astype(dtype)


@np.errstate(under="ignore")
def widen(array):
    """longdouble, from floats or mpmath numbers (split in two doubles, so that 64 bits survive)."""
    array = np.asarray(array)
    return np.asarray(_widen(array), np.longdouble) if array.dtype == object else array.astype(np.longdouble)


_precision = threading.RLock()      # mpmath's is the process's


@contextmanager
def working_digits(n):
    """mpmath computes with n digits."""
    with _precision, mp.workdps(n):
        yield


def one_at_a_time(function):
    """Of functions that compute with mpmath."""

    @wraps(function)
    def alone(*arguments, **keywords):
        with _precision:
            return function(*arguments, **keywords)

    return alone


@working_digits(60)
def _one(number):
    number = mp.mpf(number)
    if not mp.isfinite(number):
        return np.longdouble(float(number))
    fraction, exponent = mp.frexp(number)
    high = float(fraction)
    return np.ldexp(np.longdouble(high) + np.longdouble(float(fraction - high)), int(max(exponent, -99999)))


_widen = np.frompyfunc(_one, 1, 1)
