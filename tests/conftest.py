"""What every test may ask for: an engine (backend and instruction set), a dtype, a number of threads."""

import os
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import settings

import fastloss as fl
from fastloss import _config

settings.register_profile("suite", max_examples=25, derandomize=True, deadline=None, database=None)
settings.load_profile("suite")


def engines():
    """(backend, instruction set) of everything that runs here; CI must have both backends."""
    compiled = [("cython", isa) for isa in _config.isas()] if find_spec("fastloss.kernels.aot.engine") else []
    numba = [("numba", None)] if find_spec("numba") else []
    if os.environ.get("CI") == "true":
        assert compiled and numba, "CI tests the compiled and the Numba backend"
    return compiled + numba


ENGINES = engines()


@pytest.fixture(params=ENGINES, ids=lambda e: "-".join(filter(None, e)))
def engine(request):
    """Run the test on one backend and instruction set."""
    backend, isa = request.param
    with ExitStack() as stack:
        stack.enter_context(fl.backend(backend))
        if isa is not None:
            stack.enter_context(_config.isa(isa))
        yield request.param


@pytest.fixture(params=dict.fromkeys(backend for backend, _ in ENGINES))
def backend(request):
    """Run the test on one backend, with its best instruction set."""
    with fl.backend(request.param):
        yield request.param


@pytest.fixture(autouse=os.environ.get("FASTLOSS_TEST_ERRSTATE") == "raise")
def strict_floating_point():
    """With that variable set, whatever raises a floating-point flag raises an error: tests' own NumPy, but nothing in fastloss."""
    with np.errstate(all="raise"):
        yield


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=[1, 2, 3, 5, 8])
def threads(request):
    with fl.threads(request.param):
        yield request.param


@pytest.fixture
def python():
    """Run a program in a fresh interpreter and return what it printed; a hang fails after `timeout` seconds."""

    def run(program, *, timeout=120, check=True, **environment):
        done = subprocess.run(
            [sys.executable, "-c", program], text=True, capture_output=True, timeout=timeout,
            env=os.environ | environment, check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout
        return done

    return run
