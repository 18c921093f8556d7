"""Arrays on a CUDA device: the same calls, computed where the arrays are, on their own stream; nothing waits for the device."""

from .._activation import Activation
from .._lines import LineLoss, RowFunction
from .._loss import ElementwiseLoss, RowLoss
from ..activations import crelu, glu, maxout, rrelu
from ..softmax import hardmax, log_softmax, logsumexp, softmax, softmin

try:
    from ._arrays import Device, check
    from ._functions import activation, halves, leaky, maxout_groups, softmax_family
    from ._losses import loss, of_rows
    from ._optim import Memory, clip_grad_norm
except ImportError as missing:
    raise ImportError("arrays on a CUDA device need numba-cuda: pip install 'fastloss[cuda]'") from missing

__all__ = ["Memory", "call", "check", "clip_grad_norm"]

KINDS = {Activation: activation, ElementwiseLoss: loss, RowLoss: loss, LineLoss: loss, RowFunction: of_rows}
FUNCTIONS = dict.fromkeys((softmax, log_softmax, logsumexp, softmin, hardmax), softmax_family)
FUNCTIONS |= {glu: halves, crelu: halves, maxout: maxout_groups, rrelu: leaky}


def call(function, method, args, kwargs):
    """`getattr(function, method)(*args, **kwargs)` for arrays on a device."""
    run = next((run for kind, run in KINDS.items() if isinstance(function, kind)), None) or FUNCTIONS.get(function)
    if run is None:
        name = getattr(function, "__name__", function)
        raise NotImplementedError(f"{name} does not take arrays on a CUDA device")
    return run(Device((*args, *kwargs.values())), function, method, args, kwargs)
