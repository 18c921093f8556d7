"""Arrays of other libraries: which module of ours computes on them."""

import functools
from importlib import import_module

import numpy as np

OWN = frozenset((np.ndarray, np.float64, np.float32, float, int, bool, str, type(None)))
DLPACK_CUDA = 2, 13     # a device's memory, and managed memory
ROOM = {"dask": ".dask", "cuda": ".cuda"}


def owner(values):
    """The module that computes on the first array of another library among values (lists and tuples are looked into), or None.

    It has `call(function, method, args, kwargs)`: what `getattr(function, method)(*args, **kwargs)` is on its arrays.
    """
    for value in values:
        kind = type(value)
        if kind in OWN:
            continue
        if kind is tuple or kind is list:
            if kind is tuple or (value and type(value[0]) not in OWN):
                found = owner(value)
                if found is not None:
                    return found
            continue
        library = _library(kind)
        if library and (library != "cuda" or on_device(value)):
            return import_module(ROOM[library], __package__)
    return None


def on_device(value):
    """Whether it is an array in the memory of a CUDA device, which it may say by DLPack alone; the simulator's arrays count."""
    if hasattr(value, "__cuda_array_interface__") or hasattr(value, "__cuda_ndarray__"):
        return True
    kind = type(value)
    by_dlpack = hasattr(kind, "__dlpack_device__") and not hasattr(kind, "__cuda_array_interface__")
    return by_dlpack and value.__dlpack_device__()[0] in DLPACK_CUDA


@functools.lru_cache(maxsize=256)
def _library(kind):
    if kind.__module__.startswith("dask.") and hasattr(kind, "__dask_graph__"):
        return "dask"
    return "cuda" if any(hasattr(kind, name) for name in ("__cuda_array_interface__", "__cuda_ndarray__", "__dlpack_device__")) else ""


def dispatched(function=None, *, of=None):
    """A function that looks for the owner of its arrays first; of: the public function whose `backward` it is."""
    if function is None:
        return functools.partial(dispatched, of=of)

    @functools.wraps(function)
    def call(*args, **kwargs):
        other = owner(args) or owner(kwargs.values())
        if other is None:
            return function(*args, **kwargs)
        return other.call(of or call, "backward" if of else "__call__", args, kwargs)

    return call
