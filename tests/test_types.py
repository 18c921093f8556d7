"""The stubs: their names, parameters and defaults are those of what runs, and mypy tells right calls from wrong ones."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastloss as fl
import fastloss.kernels as kernels

from tests.oracle import oracle

PACKAGE = Path(fl.__file__).parent
ROOT = Path(__file__).parents[1]
OPTIONS = {"reduction", "where", "sample_weight", "empty", "upstream", "out"}


def stub(*path):
    """name -> what a stub says of it: a def (the last of several), a class, or an annotated name."""
    body = ast.parse(PACKAGE.joinpath(*path).read_text()).body
    return {getattr(node, "name", None) or node.target.id: node for node in body
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign)}  # fmt: skip


PUBLIC = stub("__init__.pyi")


def parameters(node):
    """(name, kind, default) of a stub's def; a default "..." stands for any."""
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + a.defaults
    for arg, default in zip(positional, defaults, strict=True):
        yield arg.arg, "POSITIONAL_OR_KEYWORD", default
    for arg, default in zip(a.kwonlyargs, a.kw_defaults, strict=True):
        yield arg.arg, "KEYWORD_ONLY", default


def same_parameters(node, signature):
    declared = [p for p in parameters(node) if p[0] != "self"]
    options = OPTIONS - {name for name, _, _ in declared} if node.args.kwarg else set()
    runs = [p for p in signature.parameters.values() if p.name not in options and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert [(name, kind) for name, kind, _ in declared] == [(p.name, p.kind.name) for p in runs]
    for (name, _, default), p in zip(declared, runs, strict=True):
        assert (default is None) == (p.default is p.empty), name
        if default is not None and ast.unparse(default) != "...":
            assert ast.literal_eval(default) == p.default, name


@pytest.mark.parametrize(("module", "path"), [(fl, ["__init__.pyi"]), (fl.optim, ["optim", "__init__.pyi"]), (fl.schedules, ["schedules.pyi"]), (fl.objectives, ["objectives.pyi"])],
                         ids=["fastloss", "optim", "schedules", "objectives"])  # fmt: skip
def test_names(module, path):
    modules = {name for name in module.__all__ if inspect.ismodule(getattr(module, name))}
    names = {name for name in stub(*path) if not name.startswith("_")}
    assert names == set(module.__all__) - modules


@pytest.mark.parametrize("name", sorted(n for n, node in PUBLIC.items() if isinstance(node, ast.FunctionDef) and not n.startswith("_")))
def test_parameters(name):
    if not PUBLIC[name].decorator_list or ast.unparse(PUBLIC[name].decorator_list[0]) != "overload":
        same_parameters(PUBLIC[name], inspect.signature(getattr(fl, name)))


@pytest.mark.parametrize("name", fl.optim.__all__)
def test_parameters_of_optimizers(name):
    node = stub("optim", "__init__.pyi")[name]
    if isinstance(node, ast.ClassDef):
        node = next(part for part in node.body if isinstance(part, ast.FunctionDef))
    same_parameters(node, inspect.signature(getattr(fl.optim, name)))


PROGRAM = """
from typing import Any, assert_type

import fastloss as fl
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
x, y = np.ones((3, 2)), np.array([0, 1, 1])

value, grad = fl.cross_entropy.value_and_grad(x, y, label_smoothing=0.1, reduction="sum", out=(None, x))
assert_type(grad, Array)
assert_type(fl.gaussian_nll_loss.grad(x, x, x), tuple[Array, Array])
assert_type(fl.mse_loss.partial(x, x) + fl.mse_loss.partial(x, 0.0), fl.Partial)
assert_type(fl.gelu(x, approximate="tanh", out=x), Array)
assert_type(fl.elu.backward(x, x, 0.5), Array)
assert_type(fl.softmax(x, axis=(0, 1)), Array)
assert_type(fl.threshold.ufunc, np.ufunc)
total, sign = fl.logsumexp(x, b=x, return_sign=True)
fl.kl_div(x, x, reduction="batchmean")
fl.optim.AdamW({"w": x}, lr=fl.schedules.cosine(0.1, steps=10)).step({"w": x}, max_norm=1.0)
fl.optim.LBFGS(x).step(lambda: (1.0, x))
with fl.threads(2), fl.backend("cython"):
    pass

fl.cross_entropy(x)  # type: ignore[call-arg]
fl.cross_entropy(x, y, label_smothing=0.1)  # type: ignore[call-arg]
fl.mse_loss(x, x, reduction="batchmean")  # type: ignore[arg-type]
fl.gelu(x, approximate="erf")  # type: ignore[arg-type]
fl.mse_loss.gradient(x, x)  # type: ignore[attr-defined]
fl.set_backend("cpu")  # type: ignore[arg-type]
fl.optim.SGD(x, 0.1, nestrov=True)  # type: ignore[call-arg]
"""


# What stubtest has no say in: modules that have no stub, what Cython and dataclasses add, __all__, and losses and activations,
# which are objects where the stub has functions: test_names and test_parameters read those.
OBJECTS = "|".join(name for name in fl.__all__ if not inspect.isfunction(getattr(fl, name)))
NO_STUB = rf"""
fastloss\.({OBJECTS})
fastloss\.(_\w+|activations|classification|cuda|custom|dask|margin|regression|sequence|softmax)(\..*)?
fastloss\.optim\._\w+(\..*)?
fastloss\.kernels(?!\.aot\.engine)(\..*)?
fastloss\.kernels\.aot\.engine\.(.*__\w+_cython__|__pyx_capi__|__test__|Buffer|[A-Z]+)
.*\.(__all__|__post_init__)
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """A folder with the package as an installed one has it: mypy does not follow an editable install."""
    oracle("mypy")
    folder = tmp_path_factory.mktemp("layout")
    (folder / "fastloss").mkdir()
    for entry in PACKAGE.iterdir():
        (folder / "fastloss" / entry.name).symlink_to(entry)
    if not (folder / "fastloss" / "kernels").exists():
        (folder / "fastloss" / "kernels").symlink_to(Path(kernels.__path__[0]))
    return folder


def run(layout, *arguments):
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=layout, text=True, capture_output=True, timeout=900, check=False,
                          env=os.environ | {"MYPYPATH": str(layout), "PYTHONPATH": str(layout), "MYPY_CACHE_DIR": str(layout / "cache")})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


class TestMypy:
    def test_a_program(self, layout):
        """Calls that are right have the types that they should, and those that are wrong are errors."""
        (layout / "program.py").write_text(PROGRAM)
        run(layout, "mypy", "--config-file", ROOT / "pyproject.toml", "program.py")

    def test_the_package(self, layout):
        run(layout, "mypy", "--config-file", ROOT / "pyproject.toml", "--package", "fastloss")

    def test_the_examples(self, layout):
        run(layout, "mypy", "--config-file", ROOT / "pyproject.toml", *sorted((ROOT / "examples").glob("*.py")))


def test_stubs_are_what_runs(layout):
    """By mypy's stubtest: every name, parameter, default and kind of method, read from the imported modules."""
    pytest.importorskip("fastloss.kernels.aot.engine")
    (layout / "no_stub.txt").write_text(NO_STUB)
    run(layout, "mypy.stubtest", "fastloss", "--concise", "--allowlist", "no_stub.txt", "--ignore-unused-allowlist",
        "--mypy-config-file", ROOT / "pyproject.toml")  # fmt: skip
