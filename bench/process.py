"""What is not a row: import and compile times in fresh processes, the wheel's size, an idle machine."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]

IMPORT = """
import time
start = time.perf_counter()
import numpy
between = time.perf_counter()
import fastloss
print(time.perf_counter() - between, between - start)
"""

VERTICAL = """
import time
import numpy as np
import fastloss as fl
fl.set_backend("numba")
start = time.perf_counter()
target = np.array([0, 1, 2, 0])
for dtype in (np.float32, np.float64):
    x = np.ones((4, 3), dtype)
    for function in (fl.softmax, fl.log_softmax, fl.logsumexp):
        function(x, axis=1)
    for function in (fl.softmax, fl.log_softmax):
        function.backward(x, x, axis=1)
    for loss, y in (
        (fl.cross_entropy, target),
        (fl.nll_loss, target),
        (fl.mse_loss, x),
        (fl.binary_cross_entropy_with_logits, x),
    ):
        loss(x, y)
        loss.grad(x, y)
        loss.value_and_grad(x, y)
        loss.value_grad_hess(x, y)
    for activation in (fl.sigmoid, fl.tanh, fl.relu, fl.gelu):
        activation(x)
        activation.grad(x)
        activation.backward(x, x)
    for optimizer in (fl.optim.SGD, fl.optim.Adam, fl.optim.AdamW):
        optimizer([x], lr=0.1).step([x.copy()])
print(time.perf_counter() - start)
"""


@dataclass
class Fact:
    """One number of the package as a whole."""

    name: str
    value: float
    unit: str


def numbers(code, **environment):
    """Run code in a fresh interpreter and return the numbers it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    return [float(word) for word in done.stdout.split()]


def facts(quick):
    """Yield the facts: import time first (the median of several processes), slow compilations last."""
    numbers(IMPORT)
    own, numpy = map(median, zip(*(numbers(IMPORT) for _ in range(3 if quick else 11))))
    yield Fact("import, beyond NumPy's own", 1e3 * own, "ms")
    yield Fact("import of NumPy", 1e3 * numpy, "ms")
    for wheel in sorted((ROOT / "dist").glob("*.whl"), key=os.path.getmtime)[-1:]:
        yield Fact(f"wheel ({wheel.name})", wheel.stat().st_size / 1e6, "MB")
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("no cache", "disk cache"):
                (seconds,) = numbers(VERTICAL, NUMBA_CACHE_DIR=folder)
                yield Fact(f"first calls of every function, Numba backend, {cache}", seconds, "s")


def busy(seconds=1.0):
    """Return the fraction of the processors that others use while this process sleeps; 0 where unknown."""

    def ticks():
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        total = sum(map(int, words))
        return total, total - int(words[3]) - int(words[4])

    if not os.path.exists("/proc/stat"):
        return 0.0
    total, used = ticks()
    time.sleep(seconds)
    total_after, used_after = ticks()
    return (used_after - used) / max(total_after - total, 1)
