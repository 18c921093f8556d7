"""Threads, processes, signals and the floating-point environment.

Whatever could hang, abort or leave a mark on the process runs in a fresh interpreter with a timeout.
No test here asserts a time: where one must be short, the alternative is longer than the timeout.
"""

import ctypes
import ctypes.util
import sys
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


PREPARE = """
import os, sys, threading
import numpy as np
import fastloss as fl
fl.set_backend({backend!r})
fl.set_num_threads(4)
x = np.random.default_rng(0).standard_normal((5000, 100)).astype(np.float32)
target = np.arange(5000) % 100

def work():
    value, grad = fl.cross_entropy.value_and_grad(x, target)
    squares = fl.mse_loss.value_and_grad(x, 0.25)
    return [np.asarray(a).tobytes() for a in (fl.softmax(x, axis=1), fl.sigmoid(x), value, grad, *squares)]
"""


@pytest.mark.parametrize("backend", BACKENDS)
class TestProcesses:
    def test_eight_python_threads_at_once(self, backend, python):
        """Right answers, and not a team of threads for each caller."""
        program = (
            PREPARE
            + """
from concurrent.futures import ThreadPoolExecutor
want = work()
tasks = "/proc/self/task"
before = len(os.listdir(tasks)) if os.path.isdir(tasks) else 0
start = threading.Barrier(8)

def several(_):
    start.wait()
    return all(work() == want for _ in range(10))

with ThreadPoolExecutor(8) as pool:
    assert all(pool.map(several, range(8)))
    after = len(os.listdir(tasks)) if before else 0
assert after <= before + 8, (before, after)
print("fine")
"""
        )
        assert python(program.format(backend=backend), timeout=300).strip() == "fine"

    @POSIX
    def test_fork_after_threads(self, backend, python):
        program = (
            PREPARE
            + """
want = work()
for _ in range(3):
    child = os.fork()
    if child == 0:
        fl.set_num_threads(3)
        ok = work() == want and work() == want
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if work() == want else 1)
        ok = ok and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert work() == want
print("fine")
"""
        )
        assert python(program.format(backend=backend), timeout=300).strip() == "fine"

    @POSIX
    def test_fork_during_a_kernel_of_another_thread(self, backend, python):
        program = (
            PREPARE
            + """
want = work()
stop = threading.Event()

def busy():
    while not stop.is_set():
        work()

workers = [threading.Thread(target=busy) for _ in range(2)]
for worker in workers:
    worker.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if work() == want else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for worker in workers:
    worker.join()
print("fine")
"""
        )
        assert python(program.format(backend=backend), timeout=300).strip() == "fine"

    @POSIX
    def test_fork_pool(self, backend, python):
        program = (
            PREPARE
            + """
import multiprocessing

def task(i):
    return work()

want = work()
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert all(result == want for result in pool.map(task, range(6)))
print("fine")
"""
        )
        assert python(program.format(backend=backend), timeout=300).strip() == "fine"

    @POSIX
    @pytest.mark.parametrize(
        "call", ["fl.mse_loss(many, 0.0)", "fl.logsumexp(many, axis=1)", "fl.cross_entropy(many, first)"]
    )
    def test_control_c_ends_a_long_call(self, backend, call, python):
        """The call would take an hour; the interrupt ends it, and fastloss works afterwards."""
        program = (
            PREPARE
            + """
import signal
work()
many = np.broadcast_to(np.float32(1), (1 << 20, 1 << 20))
first = np.zeros(1 << 20, int)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    CALL
except KeyboardInterrupt:
    assert fl.softmax(np.zeros(2)).tolist() == [0.5, 0.5]
    print("interrupted")
"""
        )
        program = program.format(backend=backend).replace("CALL", call)
        assert python(program, timeout=60).strip() == "interrupted"

    def test_long_kernels_release_the_interpreter(self, backend, python):
        program = (
            PREPARE
            + """
want = work()
many = np.broadcast_to(np.float32(1), (1 << 20, 1 << 20))
started = threading.Event()

def endless():
    started.set()
    fl.logsumexp(many, axis=1)

threading.Thread(target=endless, daemon=True).start()
started.wait()
assert work() == want
print("still here", flush=True)
os._exit(0)
"""
        )
        assert python(program.format(backend=backend), timeout=120).strip() == "still here"

    def test_floating_point_mode_is_left_alone(self, backend, python):
        program = (
            """
import threading
import numpy as np

def mode():
    tiny, three = np.array([1e-310, 5e-324]), np.array([1.0, -1.0])
    return (tiny / 2).tolist(), (tiny * 1).tolist(), (three / 3).tolist(), (1e-310 / 2)

before = mode()
"""
            + PREPARE
            + """
assert mode() == before
work()
assert mode() == before
seen = []
thread = threading.Thread(target=lambda: seen.append((work(), mode())[1]))
thread.start()
thread.join()
assert seen == [before]
print("fine")
"""
        )
        assert python(program.format(backend=backend), timeout=300).strip() == "fine"


@POSIX
@pytest.mark.skipif("cython" not in BACKENDS, reason="nothing compiled; Numba makes its threads once")
def test_fewer_threads_where_none_can_be_made(python):
    """No room for a thread's stack: the call runs on the threads there are."""
    program = PREPARE.format(backend="cython") + """
import resource
fl.set_num_threads(1)
want = work()
out = np.empty_like(x)
statm = "/proc/self/statm"
if os.path.exists(statm):
    limit = int(open(statm).read().split()[0]) * resource.getpagesize() + (4 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
fl.set_num_threads(64)
fl.softmax(x, axis=1, out=out)
assert out.tobytes() == want[0]
print("fine")
"""  # fmt: skip
    assert python(program, timeout=60).strip() == "fine"


def test_concurrent_callers_in_this_process():
    with fl.threads(4):
        want = [large(np.float32, seed) for seed in range(2)]
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda i: large(np.float32, i % 2), range(8)))
    assert all(result == want[i % 2] for i, result in enumerate(got))


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


class TestDefaultNumberOfThreads:
    program = "import fastloss as fl; print(fl.get_num_threads())"

    def test_environment(self, python):
        """OMP_NUM_THREADS asks for fewer than there are processors."""
        assert python(self.program, OMP_NUM_THREADS="1").strip() == "1"
        assert python(self.program, OMP_NUM_THREADS="1,2").strip() == "1"

    @pytest.mark.skipif(not hasattr(__import__("os"), "sched_setaffinity"), reason="no affinity here")
    def test_affinity(self, python):
        program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + self.program
        assert python(program).strip() == "1"

    def test_threadpoolctl(self):
        threadpoolctl = pytest.importorskip("threadpoolctl")
        assert "fastloss" in str(threadpoolctl.threadpool_info())
        before = fl.get_num_threads()
        with threadpoolctl.threadpool_limits(1):
            assert fl.get_num_threads() == 1
        assert fl.get_num_threads() == before


def test_isas_are_usable():
    if "cython" not in BACKENDS:
        pytest.skip("nothing compiled")
    names = _config.isas()
    assert names
    x = np.linspace(-3, 3, 1000, dtype=np.float32)
    for name in names:
        with fl.backend("cython"), _config.isa(name):
            np.testing.assert_allclose(fl.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-6)
