"""What Cython, C and C++ may call: small extensions built against this fastloss, and every function through the table."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
from fastloss.kernels import pointers
from fastloss.kernels._generated.registry import ACTIVATIONS, LOSSES

from tests import needs_checkout
from tests.oracle import oracle

engine = pytest.importorskip("fastloss.kernels.aot.engine")
BAD_TARGET, BAD_ARGUMENT = pointers.ERRORS["FASTLOSS_BAD_TARGET"], pointers.ERRORS["FASTLOSS_BAD_ARGUMENT"]

# The table behind fastloss.h, as ctypes sees it.

CTYPES = {"Py_ssize_t": ctypes.c_ssize_t, "int64_t": ctypes.c_int64, "double": ctypes.c_double, "int": ctypes.c_int}


class Entry(ctypes.Structure):
    _fields_ = (("prototype", ctypes.c_char_p), ("function", ctypes.c_void_p))


def table():
    """name -> (function, names of its arguments)"""
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    entry, found = Entry.from_address(address(engine.c_api, b"fastloss.kernels.aot.engine.c_api")), {}
    while entry.prototype is not None:
        name, arguments = re.fullmatch(r"int (\w+)\((.*)\)", entry.prototype.decode()).groups()
        kinds = [argument.rsplit(" ", 1) for argument in arguments.split(", ")]
        types = [ctypes.c_void_p if kind.endswith("*") else CTYPES[kind] for kind, _ in kinds]
        found[name] = ctypes.CFUNCTYPE(ctypes.c_int, *types)(entry.function), [n for _, n in kinds]
        entry = Entry.from_address(ctypes.addressof(entry) + ctypes.sizeof(Entry))
    return found


TABLE = table()


def call(name, dtype, **arguments):
    """The status; arrays are given as arrays, what is not given is NULL."""
    function, names = TABLE[f"{name}_f{8 * dtype.itemsize}"]
    assert arguments.keys() <= set(names)
    values = [arguments.get(n) for n in names]
    return function(*(v.ctypes.data if isinstance(v, np.ndarray) else v for v in values))


def value():
    return np.full(1, 7.0)


@pytest.fixture(params=[37, 140_001], ids=["short", "threads"])
def x(request, dtype):
    return (4 * np.random.default_rng(3).standard_normal(request.param)).astype(dtype)


@pytest.fixture
def rows(x):
    return np.ascontiguousarray(x[: x.size // 3 * 3].reshape(-1, 3))


def test_every_formula_is_there():
    assert {f"{name}_f32" for name in LOSSES} <= TABLE.keys()
    assert {f"{name}_backward_f64" for name in ACTIVATIONS if name != "glu"} <= TABLE.keys()
    assert len(TABLE) == 2 * len({name[:-4] for name in TABLE})


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, rows):
    expected = getattr(fl, name)(rows, axis=1)
    out, g, back = np.empty_like(rows), rows[::-1].copy(), np.empty_like(rows)
    assert call(name, rows.dtype, x=rows, out=out, rows=rows.shape[0], classes=3) == 0
    assert out.tobytes() == expected.tobytes()
    assert call(f"{name}_backward", rows.dtype, g=g, y=out, out=back, rows=rows.shape[0], classes=3) == 0
    assert back.tobytes() == getattr(fl, name).backward(g, expected, axis=1).tobytes()
    assert call(name, rows.dtype, x=rows, out=rows, rows=rows.shape[0], classes=3) == 0
    assert rows.tobytes() == expected.tobytes()


def test_logsumexp(rows):
    out = np.empty(len(rows), rows.dtype)
    assert call("logsumexp", rows.dtype, x=rows, out=out, rows=len(rows), classes=3) == 0
    assert out.tobytes() == fl.logsumexp(rows, axis=1).tobytes()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mean", [True, False])
def test_cross_entropy(rows, smoothing, weighted, mean):
    target = np.random.default_rng(0).integers(0, 3, len(rows))
    target[5] = -7
    weight = np.array([0.5, 2, 1], rows.dtype) if weighted else None
    expected = fl.cross_entropy.value_grad_hess(rows, target, weight, ignore_index=-7, label_smoothing=smoothing, reduction="mean" if mean else "sum")
    got, grad, hess = value(), np.empty_like(rows), np.empty_like(rows)
    given = {"input": rows, "target": target, "weight": weight, "rows": len(rows), "classes": 3, "ignore_index": -7,
             "label_smoothing": smoothing, "divide_by": 0 if mean else 1}
    assert call("cross_entropy", rows.dtype, **given, value=got, grad=grad, hess=hess) == 0
    assert [rows.dtype.type(got[0]), grad.tobytes(), hess.tobytes()] == [expected[0], expected[1].tobytes(), expected[2].tobytes()]
    assert call("cross_entropy", rows.dtype, **given, grad=rows) == 0                      # in place, without the value
    assert rows.tobytes() == grad.tobytes()
    target[3] = 3
    assert call("cross_entropy", rows.dtype, **given, value=got, grad=grad) == BAD_TARGET
    assert rows.tobytes() == grad.tobytes()


def test_cross_entropy_of_nothing(rows):
    got, grad = value(), np.ones_like(rows)
    given = {"input": rows, "target": np.full(len(rows), -100), "rows": len(rows), "classes": 3, "ignore_index": -100, "label_smoothing": 0}
    assert call("cross_entropy", rows.dtype, **given, divide_by=0, value=got, grad=grad) == 0
    assert np.isnan(got[0]) and not grad.any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses(name, x):
    """Beside the engine's own call, which tests/test_values.py measures."""
    inputs, scalars, gradients = LOSSES[name]
    rng, n, dtype = np.random.default_rng(1), x.size, x.dtype
    names = [pointers.INPUTS.get(a, a) for a in inputs]
    arrays = {a: x if i == 0 else rng.random(n).astype(dtype) for i, a in enumerate(names)}
    numbers = {} if gradients > 1 else dict.fromkeys(names[2:], 0.25)
    arrays = {a: v for a, v in arrays.items() if a not in numbers}
    params, weight = dict.fromkeys(scalars, 0.75), rng.random(n).astype(dtype)
    outputs = {part + (f"_{a}" if gradients > 1 else ""): np.empty_like(x) for part in ("grad", "hess") for a in names[:gradients]}
    expected, acc = [np.empty_like(x) for _ in outputs], np.zeros(2)
    engine.loss(name, "vgh", tuple(params.values()), (*arrays.values(), *(np.array([v], dtype) for v in numbers.values())), weight, None, None,
                1.0 / n, (None, *expected), acc)
    got, given = value(), {**arrays, **numbers, **params, "weight": weight, "n": n, "divide_by": 0}
    assert call(name, dtype, **given, value=got, **outputs) == 0
    assert got[0] == acc.sum() / n or np.isnan(acc.sum())
    for out, right in zip(outputs.values(), expected, strict=True):
        assert out.tobytes() == right.tobytes()
    first, again = next(iter(outputs)), value()
    assert call(name, dtype, **given, value=again) == 0                                    # another loop: the last bit may differ
    np.testing.assert_allclose(again, got, rtol=1e-6)
    assert call(name, dtype, **given, value=got, **outputs | {first: x}) == 0               # in place of an input
    assert x.tobytes() == expected[0].tobytes()


PUBLIC = {
    "mse_loss": (fl.mse_loss, {}, {}),
    "huber_loss": (fl.huber_loss, {"delta": 2.0}, {"delta": 2.0}),
    "quantile_loss": (fl.quantile_loss, {"q": 0.3}, {"q": 0.3}),
    "kl_div_log": (fl.kl_div, {}, {"log_target": True}),
    "binary_cross_entropy_with_logits": (fl.binary_cross_entropy_with_logits, {"pos_weight": 2.5}, {"pos_weight": 2.5}),
}


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_are_the_public_ones(name, reduction, x):
    function, numbers, options = PUBLIC[name]
    target = np.random.default_rng(1).random(x.size).astype(x.dtype)
    expected, grad = function.value_and_grad(x, target, reduction=reduction, **options)
    got, out = value(), np.empty_like(x)
    assert call(name, x.dtype, input=x, target=target, **numbers, n=x.size, divide_by=x.size if reduction == "mean" else 1, value=got, grad=out) == 0
    assert x.dtype.type(got[0]) == expected and out.tobytes() == grad.tobytes()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS.keys() - pointers.OF_TWO_ARRAYS))
def test_activations(name, x):
    numbers = dict(zip(ACTIVATIONS[name][1:], (0.5, 0.25, 1.5, 2.0), strict=False))
    g, out = x[::-1].copy(), np.empty_like(x)
    for suffix, ufunc, arrays in (("", "value", {"x": x}), ("_grad", "grad", {"x": x}), ("_backward", "backward", {"g": g, "x": x})):
        expected = engine.ufunc(name, ufunc)(*arrays.values(), *numbers.values(), dtype=x.dtype)
        assert call(name + suffix, x.dtype, **arrays, **numbers, out=out, n=x.size) == 0
        assert out.tobytes() == expected.tobytes()
    assert call(f"{name}_backward", x.dtype, **arrays, **numbers, out=x, n=x.size) == 0
    assert x.tobytes() == expected.tobytes()


@pytest.mark.parametrize("rule", ["adam", "adamw"])
def test_adam(rule, x):
    mine, theirs = ([x.copy(), np.zeros_like(x), np.zeros_like(x)] for _ in range(2))
    names = ("param", "exp_avg", "exp_avg_sq")
    for step in (1, 2):
        getattr(fl.optim, f"{rule}_step")(theirs[0], x, *theirs[1:], step=step, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)
        assert call(f"{rule}_step", x.dtype, **dict(zip(names, mine, strict=True)), grad=x, n=x.size, step=step, lr=0.01, beta1=0.8, beta2=0.95,
                    eps=1e-8, weight_decay=0.1) == 0
    assert [a.tobytes() for a in mine] == [a.tobytes() for a in theirs]


@pytest.mark.parametrize(("momentum", "nesterov"), [(None, 0), (0.0, 0), (0.9, 0), (0.9, 1)])
def test_sgd(x, momentum, nesterov):
    (mine, buffer), (theirs, other) = ((x.copy(), None if momentum is None else np.zeros_like(x)) for _ in range(2))
    for step in (1, 2):
        fl.optim.sgd_step(theirs, x, other, step=step, lr=0.1, momentum=momentum or 0, weight_decay=0.01, nesterov=bool(nesterov))
        assert call("sgd_step", x.dtype, param=mine, grad=x, momentum_buffer=buffer, n=x.size, step=step, lr=0.1, momentum=momentum or 0,
                    dampening=0, weight_decay=0.01, nesterov=nesterov) == 0
    assert mine.tobytes() == theirs.tobytes() and (buffer is None or buffer.tobytes() == other.tobytes())


def test_bad_arguments(dtype):
    a, out = np.ones(4, dtype), value()
    step = {"param": a, "grad": a, "n": 4, "lr": 0.1, "weight_decay": 0}
    assert call("softmax", dtype, x=a, out=a, rows=-1, classes=4) == BAD_ARGUMENT
    assert call("gelu", dtype, x=a, out=a, n=-1) == BAD_ARGUMENT
    assert call("mse_loss", dtype, input=a, target=a, n=-1, divide_by=0, value=out) == BAD_ARGUMENT
    assert call("sgd_step", dtype, **step, step=1, momentum=0.9, dampening=0, nesterov=0) == BAD_ARGUMENT
    assert call("sgd_step", dtype, **step, step=0, momentum=0, dampening=0, nesterov=0) == BAD_ARGUMENT
    rows = {"input": a, "target": np.zeros(1, int), "rows": 1, "classes": 4, "ignore_index": -1, "divide_by": 0}
    for smoothing in (-0.1, 1.1, np.nan):
        assert call("cross_entropy", dtype, **rows, label_smoothing=smoothing, value=out) == BAD_ARGUMENT
    assert call("cross_entropy", dtype, **rows, label_smoothing=0, hess=a) == BAD_ARGUMENT
    assert (a == 1).all() and out[0] == 7


def test_no_elements(dtype):
    got = value()
    assert call("mse_loss", dtype, n=0, divide_by=0, value=got) == 0 and np.isnan(got[0])
    assert call("gelu", dtype, n=0) == 0
    assert call("softmax", dtype, rows=0, classes=3) == 0


@needs_checkout
def test_generated_files_are_those_of_the_registry():
    registry = {"ACTIVATIONS": ACTIVATIONS, "LOSSES": LOSSES}
    folder = Path(fl.get_include()).parent
    for name, text in pointers.generate(registry).items():
        assert (folder / name).read_text() == text
        assert pointers.NOTICE in text.split("\n")[0]


# Extensions, as a user writes them.

EXAMPLE = Path(__file__).parents[1] / "examples" / "extensions"

# The same C text as C++, and both without a warning.
STRICT = """
strict = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-pedantic-errors"]
setup(name="strict", ext_modules=[
    Extension("by_c", ["by_c.c"], include_dirs=include, extra_compile_args=["-std=c99", *strict]),
    Extension("by_cpp", ["by_cpp.cpp"], include_dirs=include, language="c++", extra_compile_args=["-std=c++17", *strict]),
])
"""


@pytest.fixture(scope="module")
def extensions(tmp_path_factory):
    """The folder, on the path, of modules by_cython, by_c and by_cpp."""
    oracle("Cython")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no compiler")
    folder = tmp_path_factory.mktemp("scoring")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    (folder / "by_cpp.cpp").write_text((EXAMPLE / "by_c.c").read_text().replace("by_c", "by_cpp"))
    (folder / "setup.py").write_text((EXAMPLE / "setup.py").read_text() + STRICT)
    done = subprocess.run([sys.executable, "setup.py", "build_ext", "--inplace"], cwd=folder, env=os.environ | {"CFLAGS": "-O0 -g0"}, text=True,
                          capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


class TestExtensions:
    def test_cython(self, extensions):
        module, rng = import_module("by_cython"), np.random.default_rng(0)
        x = rng.standard_normal((50, 7))
        out = np.empty_like(x)
        assert module.softmax(x, out) and out.tobytes() == fl.softmax(x, axis=1).tobytes()
        logits, target = x.astype(np.float32), rng.integers(0, 7, 50)
        grad = np.empty_like(logits)
        status, value = module.cross_entropy(logits, target, grad)
        expected = fl.cross_entropy.value_and_grad(logits, target)
        assert (status, np.float32(value), grad.tobytes()) == (0, expected[0], expected[1].tobytes())
        target[3] = 7
        assert module.cross_entropy(logits, target, grad)[0] == BAD_TARGET

    @pytest.mark.parametrize("name", ["by_c", "by_cpp"])
    def test_c(self, extensions, name):
        module, rng = import_module(name), np.random.default_rng(0)
        x, y = rng.standard_normal((2, 70_000)).astype(np.float32)
        grad = np.empty_like(x)
        value = module.huber(x, y, grad)
        expected = fl.huber_loss.value_and_grad(x, y, delta=2.0)
        assert (np.float32(value), grad.tobytes()) == (expected[0], expected[1].tobytes())

    def test_eight_threads(self, extensions):
        """Without the interpreter's lock, at the same time, and each with the bits that one thread gives."""
        module = import_module("by_cython")
        x = np.random.default_rng(0).standard_normal((3000, 100))
        expected, outs = fl.softmax(x, axis=1).tobytes(), [np.empty_like(x) for _ in range(8)]
        workers = [threading.Thread(target=lambda out=out: [module.softmax(x, out) for _ in range(5)]) for out in outs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert all(out.tobytes() == expected for out in outs)

    def test_importing_the_extension_alone(self, extensions, python):
        """It imports fastloss, which chooses the instruction set."""
        program = f"import sys; sys.path.insert(0, {str(extensions)!r}); import by_c; print(by_c.huber(b'\\0' * 8, b'\\0' * 8, bytearray(8)))"
        assert python(program) == "0.0\n"

    def test_without_the_engine(self, extensions, python):
        program = f"import sys; sys.modules['fastloss.kernels.aot.engine'] = None; sys.path.insert(0, {str(extensions)!r})\nimport by_c"
        done = python(program, check=False)
        assert done.returncode == 1 and "Error: import of fastloss.kernels.aot.engine halted" in done.stderr
