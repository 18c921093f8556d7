"""Which kernels run, on how many threads."""

import importlib
import importlib.util
import os
import warnings
from contextlib import contextmanager

BACKENDS = {"cython": ".kernels.aot.engine", "numba": ".kernels.jit"}
ISA_FEATURES = {"v4": "AVX512_SKX", "v3": "AVX2", "v2": "SSE42"}      # NumPy's names, best first
MAX_THREADS = 256

_active = None          # the backend's module
_isa = None
_numba = None           # the module of the Numba backend, once custom formulas have asked for it


def _load(name):
    if name == "numba":                         # the backend's own module imports it at the first call
        try:
            importlib.import_module("numba")
        except ImportError as missing:
            raise ImportError("the numba backend needs Numba: pip install 'fastloss[numba]'") from missing
    module = importlib.import_module(BACKENDS[name], __package__)
    if name == "cython" and _isa is None:
        _choose_isa(module, os.environ.get("FASTLOSS_ISA") or isas()[0])
    return module


def _default_backend():
    try:
        return _load("cython")
    except ImportError as missing:
        try:
            module = _load("numba")
        except ImportError:
            raise ImportError(
                "fastloss has no backend: the compiled module is missing and Numba is not installed. Install a wheel, or a "
                "C++17 compiler and `pip install --force-reinstall fastloss`, or Numba with `pip install 'fastloss[numba]'`."
            ) from missing
        warnings.warn(f"fastloss runs on Numba, because its compiled module is missing: {missing}", RuntimeWarning, stacklevel=3)
        return module


def kernels():
    """The module that implements the kernels in use."""
    global _active
    if _active is None:
        module = _default_backend()
        module.set_num_threads(get_num_threads())
        _active = module
    return _active


def numba():
    """The Numba kernels, which custom formulas run on whatever the backend, on as many threads as that."""
    global _numba
    if _numba is None:
        _numba = _load("numba")
    _numba.set_num_threads(kernels().get_num_threads())
    return _numba


def compiled():
    """The compiled engine, or None where it is missing."""
    try:
        return _load("cython")
    except ImportError:
        return None


def get_backend():
    """The name of the backend in use: "cython" or "numba".

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.get_backend() in ("cython", "numba")
    True
    """
    return kernels().name


def set_backend(name):
    """Choose the kernels for CPU arrays: "cython" (ahead of time, the default) or "numba" (just in time).

    Parameters
    ----------
    name : {"cython", "numba"}

    Raises
    ------
    ValueError
        For any other name.
    ImportError
        When that backend is not installed.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.set_backend("cython")
    """
    global _active
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}; it must be one of {', '.join(map(repr, BACKENDS))}")
    module = _load(name)
    module.set_num_threads(get_num_threads())
    engine = compiled()
    if engine is not None:
        engine.allow_fast_calls(name == "cython")
    _active = module


@contextmanager
def backend(name):
    """Use a backend within a `with` block; see `set_backend`. The choice holds for the whole process.

    Examples
    --------
    >>> import fastloss as fl
    >>> with fl.backend("cython"):
    ...     fl.mse_loss([1.0, 2.0], [1.0, 4.0])
    np.float64(2.0)
    """
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def isas():
    """The instruction sets that this processor has and this build holds, best first."""
    from numpy._core._multiarray_umath import __cpu_features__ as features

    names = [isa for isa, feature in ISA_FEATURES.items() if features.get(feature)]
    here = os.path.join(os.path.dirname(__file__), "..", "kernels", "aot")
    spec = importlib.util.find_spec(".kernels.aot", __package__)
    folders = spec.submodule_search_locations if spec else [here]
    built = {file.split(".")[0] for folder in folders for file in os.listdir(folder) if file.startswith("table_")}
    return tuple(isa for isa in [*names, "plain"] if f"table_{isa}" in built)


def _choose_isa(engine, name):
    global _isa
    if name not in isas():
        raise ValueError(f"instruction set is {name!r}; this processor and build have {', '.join(map(repr, isas()))}")
    engine.use_table(name)
    _isa = name


def get_isa():
    """The instruction set of the compiled kernels in use, or None without them."""
    compiled()
    return _isa


@contextmanager
def isa(name):
    """Use the kernels of another instruction set within a `with` block (for tests and measurements)."""
    engine, before = compiled(), get_isa()
    _choose_isa(engine, name)
    try:
        yield
    finally:
        _choose_isa(engine, before)


def _quota(path="/sys/fs/cgroup/cpu.max"):
    """Processors that the container's CPU quota amounts to, rounded up, or None."""
    try:
        with open(path) as file:
            limit, period = file.read().split()
        return None if limit == "max" else max(1, -(-int(limit) // int(period)))
    except (OSError, ValueError):
        return None


def _default_threads():
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    limits = [_quota()]
    for variable in ("FASTLOSS_NUM_THREADS", "OMP_NUM_THREADS"):
        first = os.environ.get(variable, "").split(",")[0].strip()
        if first.isdigit() and int(first) > 0:
            limits.append(int(first))
            break
    return max(1, min([count, MAX_THREADS, *(limit for limit in limits if limit)]))


def get_num_threads():
    """The number of threads that large calls use, the calling thread included.

    The default is the number of processors that the process may use (affinity, the container's quota),
    or OMP_NUM_THREADS or FASTLOSS_NUM_THREADS where they ask for fewer.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.get_num_threads() >= 1
    True
    """
    return _default_threads() if _active is None else _active.get_num_threads()


def set_num_threads(n):
    """Let large calls use n threads (at most 256). Results do not depend on it, to the bit.

    Parameters
    ----------
    n : int
        At least 1.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.set_num_threads(2)
    >>> fl.get_num_threads()
    2
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n is {n!r}; the number of threads must be an int")
    if n.__index__() < 1:
        raise ValueError(f"n is {n}; the number of threads must be at least 1")
    kernels().set_num_threads(min(n.__index__(), MAX_THREADS))


@contextmanager
def threads(n):
    """Use n threads within a `with` block; see `set_num_threads`. The choice holds for the whole process.

    Examples
    --------
    >>> import fastloss as fl
    >>> with fl.threads(1):
    ...     fl.get_num_threads()
    1
    """
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def get_include():
    """The folder of `fastloss.h`, for C and C++ extensions; also where Cython finds fastloss's declarations in a checkout.

    In an extension module: ``Extension(..., include_dirs=[fastloss.get_include()])``, and for Cython in a checkout
    ``cythonize(..., include_path=[fastloss.get_include()])``; an installed fastloss needs no `include_path`.

    Returns
    -------
    str

    Raises
    ------
    ImportError
        Where fastloss runs without its compiled module, there is nothing to call.

    Examples
    --------
    >>> import os, fastloss as fl
    >>> "fastloss.h" in os.listdir(fl.get_include())
    True
    """
    _load("cython")
    from .kernels import _generated

    return os.path.join(_generated.__path__[0], "include")


def _register_with_threadpoolctl():
    """threadpoolctl.threadpool_limits sets fastloss's threads as well; nothing happens where it is not installed."""
    try:
        from threadpoolctl import LibController, register
    except ImportError:
        return

    class Controller(LibController):
        user_api = internal_api = "fastloss"
        filename_prefixes = ("engine.",)
        check_symbols = ("fastloss_get_num_threads",)

        def get_num_threads(self):
            return get_num_threads()

        def set_num_threads(self, num_threads):
            set_num_threads(num_threads)

        def get_version(self):
            return None

    register(Controller)


def config():
    """What `show_config` prints, as a dict."""
    from importlib import metadata
    from importlib.util import find_spec

    import numpy

    try:
        version = metadata.version("fastloss")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {
        "fastloss": version,
        "numpy": numpy.__version__,
        "backend": get_backend(),
        "backends": [name for name in BACKENDS if (compiled() if name == "cython" else find_spec("numba"))],
        "instruction set": get_isa(),
        "instruction sets": list(isas()),
        "threads": get_num_threads(),
    }


def show_config():
    """Print the version, the backend, the instruction set and the number of threads in use.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.show_config()  # doctest: +ELLIPSIS
    fastloss ...
    """
    for key, value in config().items():
        print(f"{key:17} {', '.join(value) if isinstance(value, list) else value}")
