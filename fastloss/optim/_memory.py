"""Where an optimizer's arrays lie, and what works on them there: here the host. fastloss/cuda/_optim.py has the same for a device."""

import numpy as np

from .._config import kernels
from .._dispatch import owner
from ..kernels.tensors import Tensors
from . import _check
from ._check import NATIVE
from ._clip import clip_factor, total_norm


def memory_of(arrays):
    """The memory of the first array that is not NumPy's, or the host's."""
    return getattr(owner(arrays), "Memory", Host.of)(arrays)


class Host:
    """NumPy arrays."""

    writable = staticmethod(_check.writable)
    tensors, fill, host = Tensors, staticmethod(np.ndarray.fill), staticmethod(np.copy)
    copy = load = staticmethod(np.copyto)

    @staticmethod
    def of(arrays):
        return Host

    @staticmethod
    def now():
        """The memory of one step."""
        return Host

    @staticmethod
    def order(array):
        return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"

    @staticmethod
    def flat(array, order):
        """The elements in `order`, aligned and native: a view where there is one."""
        if not (array.flags.aligned and array.dtype.isnative):
            array = array.astype(NATIVE[array.dtype])
        return array.ravel(order)

    @staticmethod
    def like(param, value=0):
        """A state of the parameter's shape and order."""
        state = np.empty(param.shape, NATIVE[param.dtype], Host.order(param))
        state[...] = value
        return state

    @staticmethod
    def gradient(grad, name, shape, dtype, order):
        """The gradient, flat."""
        return Host.flat(_check.gradient(grad, name, shape, dtype).astype(dtype, copy=False), order)

    @staticmethod
    def apart(flat):
        """A copy."""
        return flat.copy()

    @staticmethod
    def original(view):
        """The caller's array of a state."""
        return view

    @staticmethod
    def clipped(scale, max_norm, grads, groups):
        """The factor on the gradients that clips their norm, and what `step` needs for it beside."""
        _check.number("max_norm", max_norm)
        return scale * clip_factor(abs(scale) * total_norm([g for g in grads if g is not None], 2), max_norm), ()

    @staticmethod
    def step(formula, tensors, grads, scalars):
        kernels().step(formula, tensors, grads, scalars)
