"""Threads of this process: the same bits for any number of them, and nothing left behind in its floating-point environment."""

import ctypes
import ctypes.util
import itertools
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastloss as fl
from fastloss import _config
from tests.conftest import ENGINES

THREADS = 1, 2, 3, 5, 8
BACKENDS = list(dict.fromkeys(backend for backend, _ in ENGINES))
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="fork and signals of POSIX")


def large(dtype, seed=0):
    """Every kind of kernel, on arrays of several chunks; returns name -> bytes."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 300_007)).astype(dtype)
    few, many, inner = (
        rng.standard_normal(s).astype(dtype) for s in ((40_003, 10), (301, 1003), (5, 70, 211))
    )
    mask = rng.random(x.shape) < 0.7
    labels = {a.shape: rng.integers(0, a.shape[1], a.shape[:1] + a.shape[2:]) for a in (few, many, inner)}
    results = {
        "sigmoid": fl.sigmoid(x), "gelu.grad": fl.gelu.grad(x), "tanh.backward": fl.tanh.backward(y, x),
        "relu strided": fl.relu(x[::3]), "softmax long row": fl.softmax(x), "logsumexp long row": fl.logsumexp(x),
    }  # fmt: skip
    for what, keywords in (("", {}), ("weighted", {"weight": np.abs(y)}), ("masked", {"where": mask})):
        results[f"mse {what}"] = fl.mse_loss.value_grad_hess(x, y, **keywords)
        partial = fl.mse_loss.partial(x, y, **keywords)
        results[f"mse partial {what}"] = np.array([partial.loss_sum, partial.weight_sum, partial.count])
    results["bce"] = fl.binary_cross_entropy_with_logits.value_grad_hess(x, (y > 0).astype(dtype))
    results["mse of a transpose"] = fl.mse_loss(many.T, 0.5)
    for a in (few, many, inner):
        t = labels[a.shape]
        for f in (fl.softmax, fl.log_softmax, fl.logsumexp):
            results[f"{f} {a.shape}"] = f(a, axis=1)
        results[f"cross_entropy {a.shape}"] = fl.cross_entropy.value_grad_hess(a, t)
        q = fl.softmax(-a, axis=1)
        results[f"probabilities {a.shape}"] = fl.cross_entropy.value_and_grad(a, q, label_smoothing=0.125)
        results[f"focal {a.shape}"] = fl.focal_cross_entropy.value_grad_hess(a, t)
        results[f"focal probabilities {a.shape}"] = fl.focal_cross_entropy.value_grad_hess(a, q)
        results[f"backward {a.shape}"] = fl.softmax.backward(a, q, axis=1)
        results[f"nll {a.shape}"] = fl.nll_loss.value_and_grad(a, t)
    params = [x.copy(), few.copy()]
    rule = fl.optim.AdamW(params, lr=0.1)
    for _ in range(2):
        rule.step([y, few])
    results["AdamW"] = tuple(params)
    return {
        name: b"".join(np.ascontiguousarray(r).tobytes() for r in (v if isinstance(v, tuple) else (v,)))
        for name, v in results.items()
    }


def test_any_number_of_threads_gives_the_same_bits(dtype, engine):
    with fl.threads(1):
        want = large(dtype)
    for n in THREADS[1:]:
        with fl.threads(n):
            assert fl.get_num_threads() == n
            got = large(dtype)
        assert [name for name in want if got[name] != want[name]] == [], f"{n} threads"


def test_thread_control():
    before = fl.get_num_threads()
    with fl.threads(3):
        assert fl.get_num_threads() == 3
        with fl.threads(2):
            assert fl.get_num_threads() == 2
        assert fl.get_num_threads() == 3
    assert fl.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), fl.threads(5):
        _ = 1 / 0
    assert fl.get_num_threads() == before
    fl.set_num_threads(4)
    try:
        assert fl.get_num_threads() == 4
    finally:
        fl.set_num_threads(before)


def test_backend_control():
    names = {fl.get_backend()} if hasattr(fl, "get_backend") else set()
    for name in BACKENDS:
        with fl.backend(name):
            names.add(name)
            assert fl.sigmoid(0.0) == 0.5
    fl.set_backend(BACKENDS[0])
    assert names <= set(BACKENDS)


def test_concurrent_callers_in_this_process():
    with fl.threads(4):
        want = [large(np.float32, seed) for seed in range(2)]
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda i: large(np.float32, i % 2), range(8)))
    assert all(result == want[i % 2] for i, result in enumerate(got))


def test_chunks_of_a_slow_helper_are_not_lost():
    """On the Numba backend a helper may be between taking chunks and computing them when the caller runs out of chunks."""
    threads = pytest.importorskip("fastloss.kernels.jit.threads")

    class Calls:
        def __init__(self):
            self.counted = itertools.count()

        def __next__(self):
            number = next(self.counted)
            if threading.current_thread().name == "fastloss":
                time.sleep(0.3)
            return number

    def kernel(first, last, scratch):
        time.sleep(0.001)
        done.extend(range(first, last))

    done = []
    threads._run_parallel(threads.Job(kernel, (), (), 0, [*range(61)], Calls()), 2)
    assert sorted(done) == list(range(60))


EXTREMES = np.array([0, -0.0, 1e-40, -1e-40, 1e-310, 1, 30, 89, 104, 710, 746, 1e20, 3e38, np.inf, np.nan])


@pytest.fixture(params=[None, 50_000], ids=["small", "large"])
def extremes(request, dtype):
    with np.errstate(all="ignore"):
        numbers = np.concatenate([EXTREMES, -EXTREMES]).astype(dtype)
    return numbers if request.param is None else np.resize(numbers, request.param)


def everything(x):
    """Calls of every kernel on whatever x holds."""
    rows, target = x.reshape(-1, 5), np.zeros(x.size // 5, int)
    out = np.empty_like(x)
    for f in (fl.sigmoid, fl.tanh, fl.relu, fl.gelu, lambda x, **k: fl.gelu(x, approximate="tanh", **k)):
        f(x)
        f(x, out=out, where=x > 0)
    for f in (fl.sigmoid, fl.tanh, fl.relu, fl.gelu):
        f.grad(x)
        f.backward(x, x)
        f(x[::2])
        f(x.astype(np.float64).astype(">f8"))
    for f in (fl.softmax, fl.log_softmax, fl.logsumexp, fl.softmin, fl.hardmax):
        for axis in (0, 1, None):
            f(rows, axis=axis)
    fl.softmax.backward(rows, rows, axis=1)
    fl.log_softmax.backward(rows, rows, axis=1)
    for loss in (fl.mse_loss, fl.binary_cross_entropy_with_logits):
        for reduction in ("none", "mean", "sum"):
            loss.value_grad_hess(x, x[::-1], weight=x, reduction=reduction)
        loss.partial(x, x[::-1]).result("mean")
    for loss in (fl.cross_entropy, fl.nll_loss):
        loss.value_grad_hess(rows, target, x[:5])
        loss.value_grad_hess(rows, np.full_like(target, -100))
    fl.cross_entropy.value_grad_hess(rows, rows, label_smoothing=0.5, z_loss=0.25)
    rule = fl.optim.AdamW([x.copy()])
    rule.step([x])


def test_no_call_raises_under_errstate(extremes, engine):
    with np.errstate(all="raise"):
        everything(extremes)


def test_no_call_warns(extremes, backend, recwarn):
    everything(extremes)
    assert [str(w.message) for w in recwarn] == []


@POSIX
@pytest.mark.parametrize("call", [
    lambda x: fl.cross_entropy.value_grad_hess(x.reshape(-1, 5), np.zeros(x.size // 5, int)),
    lambda x: fl.mse_loss.value_grad_hess(x, x[::-1]),
    lambda x: fl.softmax(x), lambda x: fl.logsumexp(x.reshape(-1, 5), axis=0), lambda x: fl.gelu(x),
], ids=["cross_entropy", "mse_loss", "softmax", "logsumexp", "gelu"])  # fmt: skip
def test_status_flags_are_left_alone(call, extremes, engine):
    """Neither invalid, division by zero, overflow nor underflow is raised behind the caller's back."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    if not hasattr(libm, "fetestexcept") or np.dtype(np.intp).itemsize != 8:
        pytest.skip("no fenv here")
    exceptions = 0x1D if "x86" in _machine() else 0x0F
    call(extremes)
    libm.feclearexcept(exceptions)
    call(extremes)
    assert libm.fetestexcept(exceptions) == 0


def _machine():
    import platform

    return platform.machine().replace("AMD64", "x86_64")


def test_isas_are_usable():
    if "cython" not in BACKENDS:
        pytest.skip("nothing compiled")
    names = _config.isas()
    assert names
    x = np.linspace(-3, 3, 1000, dtype=np.float32)
    for name in names:
        with fl.backend("cython"), _config.isa(name):
            np.testing.assert_allclose(fl.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-6)
