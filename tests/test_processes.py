"""Processes: fork, spawn, interrupts, refused threads, quotas, read-only systems. Whatever could hang, abort or leave a mark on
the process runs in a fresh interpreter with a timeout.

No test here asserts a time: where one must be short, the alternative is longer than the timeout.
"""

import os
import platform
import subprocess
import sys

import pytest

import fastloss as fl
from fastloss import _config
from tests.test_threads import BACKENDS

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="fork and signals of POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="namespaces, filters of system calls and control groups of Linux")

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

ENDLESS = """
want = work()
many = np.broadcast_to(np.float32(1), (1 << 20, 1 << 20))
started = threading.Event()

def endless():
    started.set()
    fl.logsumexp(many, axis=1)

threading.Thread(target=endless, daemon=True).start()
started.wait()
"""

DEEP = """    deep(60)

def deep(n):
    return sorted([1], key=lambda _: deep(n - 1)) if n else fl.logsumexp"""

REFUSE = """
import ctypes, struct

def refuse_threads():
    # load the number; clone (56): EAGAIN; clone3 (435): ENOSYS, so that libc falls back to clone; all else: allow
    code = [(0x20, 0, 0, 0), (0x15, 2, 0, 56), (0x15, 2, 0, 435), (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x50000 | 11), (6, 0, 0, 0x50000 | 38)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(text)))
    libc = ctypes.CDLL(None)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        os._exit(77)
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        return
    os._exit(77)
"""

READ_ONLY = """
import ctypes, os
NEWNS, NEWUSER, RDONLY, REMOUNT, BIND, REC, PRIVATE = 0x20000, 0x10000000, 1, 32, 4096, 16384, 1 << 18
libc = ctypes.CDLL(None)
if libc.unshare(NEWNS if os.geteuid() == 0 else NEWNS | NEWUSER) or libc.mount(b"none", b"/", None, REC | PRIVATE, None):
    os._exit(77)
for line in open("/proc/self/mounts").readlines():
    place = line.split()[1]
    if not place.startswith(("/proc", "/sys")):
        libc.mount(b"none", place.encode(), None, REMOUNT | BIND | RDONLY, None)
for place in (os.getcwd(), "/tmp", "/dev/shm"):
    if os.path.isdir(place):
        try:
            open(os.path.join(place, "probe"), "w")
        except OSError:
            continue
        os._exit(77)
"""


@pytest.fixture
def prints(backend, python):
    """Run a program after PREPARE, on the backend of the test, and compare what it prints; it ends with 77 where something is missing here."""

    def run(words, program, before="", missing="", timeout=300, **environment):
        done = python(before + PREPARE.format(backend=backend) + program, timeout=timeout, check=False, **environment)
        if missing and done.returncode == 77:
            pytest.skip(missing)
        assert (done.returncode, done.stdout.strip()) == (0, words), done.stdout + done.stderr

    return run


@pytest.mark.parametrize("backend", BACKENDS)
class TestProcesses:
    def test_eight_python_threads_at_once(self, prints):
        """Right answers, and not a team of threads for each caller."""
        prints("fine", """
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
""")

    @POSIX
    def test_fork_after_threads(self, prints):
        prints("fine", """
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
""")

    @POSIX
    def test_fork_during_a_kernel_of_another_thread(self, prints):
        prints("fine", """
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
""")

    @POSIX
    def test_fork_pool(self, prints):
        prints("fine", """
import multiprocessing

def task(i):
    return work()

want = work()
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert all(result == want for result in pool.map(task, range(6)))
print("fine")
""")

    @POSIX
    @pytest.mark.parametrize(
        "call",
        [
            "fl.mse_loss(many, 0.0)", "fl.logsumexp(many, axis=1)", "fl.cross_entropy(many, first)",
            "fl.multi_margin_loss(many, first)", "fl.pairwise_distance(many, many)",
            "fl.gelu(odd, out=one)", "fl.tanh.backward(many, odd, out=one)",
            "fl.logsumexp(row, axis=1)", "fl.focal_cross_entropy(row, [0])",
        ],
    )
    def test_control_c_ends_a_long_call(self, backend, call, prints):
        """The call would take an hour; the interrupt ends it, and fastloss works afterwards."""
        if backend == "numba" and "(row" in call:
            pytest.skip("Numba's kernels look for interrupts between rows")
        prints("interrupted", f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)      # a suite that runs in the background has it ignored
work()
many, row = (np.broadcast_to(np.float32(1), shape) for shape in ((1 << 20, 1 << 20), (1, 1 << 40)))
odd, one = (np.lib.stride_tricks.as_strided(np.ones(1, kind), many.shape, (0, 0)) for kind in (">f4", "f4"))
first = np.zeros(1 << 20, int)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    {call}
except KeyboardInterrupt:
    assert fl.softmax(np.zeros(2)).tolist() == [0.5, 0.5]
    print("interrupted")
""")

    def test_spawn_pool(self, backend, tmp_path):
        """A script whose workers import everything anew."""
        program = PREPARE.format(backend=backend) + """
import multiprocessing

def task(i):
    return work()

if __name__ == "__main__":
    want = work()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert all(result == want for result in pool.map(task, range(4)))
    print("fine")
"""
        script = tmp_path / "script.py"
        script.write_text(program)
        done = subprocess.run([sys.executable, script], text=True, capture_output=True, timeout=300, check=False)
        assert done.stdout.strip() == "fine", done.stderr

    @LINUX
    @pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of system calls")
    def test_threads_are_refused(self, prints):
        """The kernel of the system answers every clone with EAGAIN, as it does beyond a limit of processes."""
        prints("fine", REFUSE + """
fl.set_num_threads(1)
want = work()
before = len(os.listdir("/proc/self/task"))
refuse_threads()
fl.set_num_threads(8)
assert work() == want and work() == want
assert len(os.listdir("/proc/self/task")) == before
print("fine")
""", missing="no filter can be installed here")

    @LINUX
    def test_nothing_can_be_written(self, prints):
        """The whole system is read-only, /dev/shm and /tmp included, and there is no home: kernels run, compiled ones and others."""
        prints("fine", "fl.mse_loss.value_and_grad(x, 0.25)\nprint('fine')", before=READ_ONLY, missing="no namespace of mounts can be made here",
               HOME="/nonexistent", XDG_CACHE_HOME="/nonexistent")

    @POSIX
    def test_control_c_in_a_step_comes_after_it(self, prints):
        """Every parameter and state has moved, by one step or none."""
        prints("interrupted", """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)      # a suite that runs in the background has it ignored
n = 1 << 24
params = [np.zeros(n, np.float32) for _ in range(4)]
grads = [np.ones(n, np.float32) for _ in range(4)]
rule = fl.optim.SGD(params, lr=1.0, momentum=0.5)
rule.step(grads)
steps = 1
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        rule.step(grads)
except KeyboardInterrupt:
    values = set(float(v) for p in params for v in (p.min(), p.max()))
    assert len(values) == 1, values
    momenta = [rule.state_dict()[key] for key in rule.state_dict() if "momentum_buffer" in key]
    assert momenta and all(m.min() == m.max() == momenta[0].flat[0] for m in momenta)
    print("interrupted")
""")

    def test_long_kernels_release_the_interpreter(self, prints):
        prints("still here", ENDLESS + """
assert work() == want
print("still here", flush=True)
os._exit(0)
""")

    def test_floating_point_mode_is_left_alone(self, prints):
        prints("fine", """
assert mode() == before
work()
assert mode() == before
seen = []
thread = threading.Thread(target=lambda: seen.append((work(), mode())[1]))
thread.start()
thread.join()
assert seen == [before]
print("fine")
""", before="""
import threading
import numpy as np

def mode():
    tiny, three = np.array([1e-310, 5e-324]), np.array([1.0, -1.0])
    return (tiny / 2).tolist(), (tiny * 1).tolist(), (three / 3).tolist(), (1e-310 / 2)

before = mode()
""")

    def test_the_process_ends_while_a_kernel_runs(self, prints):
        """A daemon thread in a call of an hour does not hold the interpreter back."""
        prints("end", ENDLESS + "print('end', flush=True)")

    def test_the_process_takes_its_time_to_end_while_a_kernel_runs(self, prints):
        """Did the kernel ask for the interpreter's lock meanwhile, to look for interrupts, Python would end its thread: the stack,
        with many pages of the call, would be no more, and with it the job that other threads work on."""
        prints("end", ENDLESS.replace("    fl.logsumexp", DEEP) + """
import time, types

class Late:
    def __del__(self, clock=time.perf_counter, write=os.write):
        end = clock() + 0.3
        while clock() < end:
            pass
        write(1, b"end")

time.sleep(0.2)    # the kernel has begun
sys.modules["late"] = types.ModuleType("late")
sys.modules["late"].late = Late()
""")


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


class TestQuota:
    """Processors of the container: cpu.max holds microseconds of a period."""

    @pytest.mark.parametrize("text, processors", [
        ("200000 100000\n", 2), ("150000 100000", 2), ("50000 100000", 1), ("1000 100000", 1), ("max 100000\n", None), ("", None), ("nonsense", None),
    ])  # fmt: skip
    def test_of_a_file(self, text, processors, tmp_path):
        file = tmp_path / "cpu.max"
        file.write_text(text)
        assert _config._quota(file) == processors

    def test_without_one(self, tmp_path):
        assert _config._quota(tmp_path / "cpu.max") is None

    def test_limits_the_default(self, monkeypatch):
        monkeypatch.delenv("FASTLOSS_NUM_THREADS", raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(_config, "_quota", lambda: 1)
        assert _config._default_threads() == 1
        monkeypatch.setattr(_config, "_quota", lambda: 1000)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
        assert _config._default_threads() == 7


@pytest.mark.skipif(sys.version_info[:2] not in ((3, 11), (3, 12)), reason="the module that makes subinterpreters")
def test_a_subinterpreter_gets_an_import_error(python):
    """NumPy and the compiled module live in one interpreter of a process; the first goes on working."""
    program = """
import _xxsubinterpreters as interpreters
import fastloss as fl
try:
    interpreters.run_string(interpreters.create(), "import fastloss")
except interpreters.RunFailedError as error:
    print("ImportError" in str(error), float(fl.sigmoid(0.0)))
"""
    assert python(program).strip() == "True 0.5"
