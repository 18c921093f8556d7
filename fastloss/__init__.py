"""Losses, activations, gradients and optimizer steps of deep learning as fast CPU kernels for plain NumPy arrays.

>>> import fastloss as fl
>>> value, grad = fl.cross_entropy.value_and_grad([[2.0, 1.0, 0.0]], [0])
>>> round(float(value), 4)
0.4076
"""

from . import _config, activations, classification, custom as _custom, margin as _margin, optim, regression, sequence, softmax as _softmax
from ._chunked import chunked
from ._config import (
    backend,
    get_backend,
    get_include,
    get_num_threads,
    set_backend,
    set_num_threads,
    show_config,
    threads,
)
from ._loss import Partial
from .activations import *
from .classification import *
from .custom import *
from .margin import *
from .regression import *
from .sequence import *
from .softmax import *

__all__ = [
    "Partial",
    "backend",
    "chunked",
    "get_backend",
    "get_include",
    "get_num_threads",
    "objectives",
    "optim",
    "schedules",
    "set_backend",
    "set_num_threads",
    "show_config",
    "threads",
    *activations.__all__,
    *classification.__all__,
    *_custom.__all__,
    *_margin.__all__,
    *regression.__all__,
    *sequence.__all__,
    *_softmax.__all__,
]

_config._register_with_threadpoolctl()


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version

        return version("fastloss")
    if name in ("cuda", "objectives", "schedules"):      # few need them; dataclasses take a quarter of the import of everything else
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'fastloss' has no attribute {name!r}")


# Objects are not found by doctest on their own.
__test__ = {name: value.__doc__ for name, value in list(globals().items()) if name in __all__ and not isinstance(value, type | type(optim))}
