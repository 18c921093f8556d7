"""Gradient clipping by the norm over all gradients."""

from math import isfinite

import numpy as np

from .._dispatch import owner
from . import _check
from ._tree import leaves, names

_BLOCK = 8192


def total_norm(grads, norm_type):
    """The norm of all elements of all gradients, summed in float64."""
    total = 0.0
    with np.errstate(all="ignore"):
        for grad in grads:
            flat = grad.ravel("K")
            for start in range(0, flat.size, _BLOCK):
                block = flat[start : start + _BLOCK].astype(np.float64, copy=False)
                if norm_type == 2:
                    total += np.dot(block, block)
                elif isfinite(norm_type):
                    total += np.sum(np.abs(block) ** norm_type)
                else:
                    total = np.maximum(total, np.abs(block).max())
        return np.float64(total) ** (1 / norm_type) if isfinite(norm_type) else np.float64(total)


def clip_factor(norm, max_norm):
    with np.errstate(all="ignore"):
        factor = max_norm / (norm + 1e-6)
    return 1.0 if factor > 1 else float(factor)


def clip_grad_norm(grads, max_norm, norm_type=2, error_if_nonfinite=False):
    """Scale gradients down, in place, to a norm over all of them together of at most `max_norm`.

    Every gradient is multiplied by min(1, max_norm / (norm + 1e-6)). The norm is summed in float64.

    Parameters
    ----------
    grads : array, list, tuple or dict of arrays
        Floating-point arrays, changed; None is passed over.
    max_norm : float
    norm_type : float
        Order of the norm, > 0; may be ``inf``.
    error_if_nonfinite : bool
        Raise when the norm is NaN or infinite. Otherwise the factor is then NaN or 0.

    Returns
    -------
    float64
        The norm before clipping.

    Raises
    ------
    RuntimeError
        The norm is not finite and `error_if_nonfinite` is true. Nothing has changed.
    ValueError, TypeError
        A setting out of range; a gradient that cannot be changed in place.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> g = np.array([3.0, 4.0])
    >>> float(fl.optim.clip_grad_norm(g, 1.0))
    5.0
    >>> g.round(5)
    array([0.6, 0.8])
    """
    _check.number("max_norm", max_norm)
    _check.positive("norm_type", norm_type)
    keys, arrays = leaves(grads)
    named = [(grad, name) for grad, name in zip(arrays, names("grads", keys)) if grad is not None]
    home = owner(arrays)
    if hasattr(home, "clip_grad_norm"):
        return home.clip_grad_norm(*zip(*named), max_norm, norm_type, error_if_nonfinite)
    grads = [_check.writable(grad, name, halves=True) for grad, name in named]
    norm = total_norm(grads, norm_type)
    if error_if_nonfinite and not isfinite(norm):
        raise RuntimeError(f"the norm of grads is {norm}; error_if_nonfinite expects a finite one")
    factor = clip_factor(norm, max_norm)
    if factor != 1:
        with np.errstate(all="ignore"):
            for grad in grads:
                working = np.float64 if grad.itemsize == 8 else np.float32
                np.multiply(grad, working(factor), out=grad, casting="unsafe")
    return norm
