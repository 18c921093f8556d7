"""Arrays on a CUDA device: the same calls, computed where the arrays are, on their own stream; nothing waits for the device."""

from .._activation import Activation
from .._lines import LineLoss, RowFunction
from .._loss import ElementwiseLoss, RowLoss
from ..softmax import log_softmax, logsumexp, softmax

try:
    from ._arrays import Device, check
    from ._functions import activation, softmax_family
    from ._losses import loss, of_rows
    from ._optim import Memory, clip_grad_norm
except ImportError as missing:
    raise ImportError("arrays on a CUDA device need numba-cuda: pip install 'fastloss[cuda]'") from missing

__all__ = ["Memory", "call", "check", "clip_grad_norm"]

KINDS = {Activation: activation, ElementwiseLoss: loss, RowLoss: loss, LineLoss: loss, RowFunction: of_rows}
FUNCTIONS = {softmax: softmax_family, log_softmax: softmax_family, logsumexp: softmax_family}


def call(function, method, args, kwargs):
    """`getattr(function, method)(*args, **kwargs)` for arrays on a device."""
    run = next((run for kind, run in KINDS.items() if isinstance(function, kind)), None) or FUNCTIONS.get(function)
    if run is None:
        name = getattr(function, "__name__", function)
        raise NotImplementedError(f"{name} does not take arrays on a CUDA device")
    return run(Device((*args, *kwargs.values())), function, method, args, kwargs)
