"""The package as installed: imports, names, backends, environment, pickles, files."""

import ast
import copy
import inspect
import pickle
import types
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
from fastloss import _config
from tests import reference, reference_optim
from tests.cases import CASES, CONTROL, scaled, scenarios
from tests.ulp import assert_close

PUBLIC = {name for name in fl.__all__ if name not in CONTROL} | {f"optim.{name}" for name in fl.optim.__all__}
COMPILED = find_spec("fastloss.kernels.aot.engine") is not None
needs_both = pytest.mark.skipif(not (COMPILED and find_spec("numba")), reason="needs both backends")


class TestNames:
    def test_all_names_exist(self):
        for name in fl.__all__:
            assert hasattr(fl, name)
        for name in fl.optim.__all__:
            assert hasattr(fl.optim, name)
        assert list(fl.__all__) == sorted(set(fl.__all__)) or len(set(fl.__all__)) == len(fl.__all__)

    def test_every_public_name_has_a_case(self):
        assert PUBLIC == {case.name for case in CASES}

    def test_every_case_has_a_reference_of_its_own(self):
        for case in CASES:
            assert inspect.getmodule(case.reference) in (reference, reference_optim)

    def test_every_public_name_has_a_bench_row(self):
        assert {case.name for case in CASES if case.bench} == PUBLIC

    def test_benches_walk_the_table(self):
        bench = Path(__file__).parents[1] / "bench"
        if not bench.is_dir():
            pytest.skip("not a checkout")
        assert any("CASES" in file.read_text() for file in bench.glob("*.py"))

    def test_references_import_nothing_of_the_package(self):
        for module in (reference, reference_optim):
            tree = ast.parse(Path(module.__file__).read_text())
            imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
            imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert not [name for name in imported if name.startswith(("fastloss", "kernels"))]


class TestImport:
    def test_needs_no_module_that_another_imported(self, python):
        """An installed wheel starts without the import hooks of an editable install, and what those have loaded."""
        package, kernels = fl.__path__[0], find_spec("fastloss.kernels").submodule_search_locations[0]
        python(
            "import sys, types, importlib\n"
            "sys.meta_path[:] = [f for f in sys.meta_path if 'ditable' not in getattr(f, '__name__', '')]\n"
            "for name in ('importlib.util', 'importlib.abc', 'importlib.machinery'): sys.modules.pop(name, None)\n"
            "vars(importlib).pop('util', None)\n"
            f"kernels = types.ModuleType('fastloss.kernels'); kernels.__path__ = [{kernels!r}]\n"
            "sys.modules['fastloss.kernels'] = kernels\n"
            f"sys.path.insert(0, {str(Path(package).parent)!r})\n"
            "import fastloss; print(fastloss.relu(-1.0))"
        )

    def test_loads_nothing_heavy(self, python):
        """numba, scipy and friends are imported when first used."""
        program = (
            "import sys; before = set(sys.modules); import fastloss; "
            "print(*set(sys.modules) - before)"
        )
        modules = set(python(program).split())
        assert "numpy.ma" not in modules                 # it takes half as long as all of fastloss
        loaded = {module.partition(".")[0] for module in modules}
        heavy = {
            "numba",
            "llvmlite",
            "scipy",
            "torch",
            "dask",
            "sklearn",
            "pandas",
            "matplotlib",
            "cupy",
            "Cython",
            "distributed",
            "xgboost",
            "lightgbm",
            "catboost",
        }
        assert not loaded & heavy
        if not COMPILED:
            pytest.skip("nothing compiled: Numba is all there is")

    def test_info(self, python):
        program = "import runpy, sys; sys.argv = ['fastloss', 'info']; runpy.run_module('fastloss', run_name='__main__')"
        done = python(program, check=False)
        assert done.returncode == 0, done.stderr
        for word in ("fastloss", "threads", "numba"):
            assert word in done.stdout

    def test_without_a_home(self, python, tmp_path):
        """No home directory, no cache directory that can be made: no error, no warning."""
        program = "import fastloss as fl; print(fl.mse_loss([1.0, 3.0], [1.0, 1.0]))"
        done = python(
            "import warnings; warnings.simplefilter('error'); " + program,
            HOME="/nonexistent",
            XDG_CACHE_HOME="/nonexistent",
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "2.0"), done.stderr


BLOCK = """
import sys, warnings

class Block:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r} or name.partition(".")[0] in {names!r}:
            raise ImportError("blocked: " + name, name=name)

sys.meta_path.insert(0, Block())
"""


class TestWithoutCompiledModules:
    def test_numba_takes_over_with_a_warning(self, python):
        pytest.importorskip("numba")
        program = (
            BLOCK.format(names=["fastloss.kernels.aot.engine"])
            + """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastloss as fl
    import numpy as np
    x = np.array([[1.0, 2.0], [0.5, -1.0]])
    value, grad = fl.cross_entropy.value_and_grad(x, [0, 1])
    fl.sigmoid(x), fl.softmax(x, axis=1), fl.mse_loss(x, 0.0)
    fl.optim.SGD([x], lr=0.5).step([grad])
print(repr(float(value)), len(caught), caught[0].message)
"""
        )
        value, count, message = python(program, timeout=300).split(maxsplit=2)
        assert abs(float(value) - 1.5073371) < 1e-6
        assert count == "1"
        assert "Numba" in message or "numba" in message

    def test_neither_gives_one_clear_error(self, python):
        program = (
            BLOCK.format(names=["fastloss.kernels.aot.engine", "numba", "llvmlite"])
            + """
try:
    import fastloss as fl
    fl.mse_loss([1.0], [2.0])
except ImportError as error:
    print(error)
"""
        )
        message = python(program)
        assert "pip install" in message and "numba" in message and len(message.strip().splitlines()) <= 3

    def test_asking_for_numba_where_there_is_none(self, python):
        if not COMPILED:
            pytest.skip("nothing compiled")
        program = (
            BLOCK.format(names=["numba", "llvmlite"])
            + """
import fastloss as fl
print(fl.mse_loss([1.0], [3.0]))
try:
    fl.set_backend("numba")
except ImportError as error:
    print(error)
print(fl.mse_loss([1.0], [3.0]))
"""
        )
        first, *message, last = python(program).splitlines()
        assert first == last == "4.0" and "pip install" in " ".join(message)


PROTOCOL = (
    "set_num_threads", "get_num_threads", "ufunc", "loss", "total", "softmax", "softmax_backward", "check_targets",
    "cross_entropy", "nll_loss", "ctc", "row_loss", "step", "first_outside",
)  # fmt: skip


@needs_both
@pytest.mark.parametrize("name", PROTOCOL)
def test_backends_have_the_same_signatures(name):
    compiled, numba = import_module("fastloss.kernels.aot.engine"), import_module("fastloss.kernels.jit")
    ours, theirs = (list(inspect.signature(getattr(m, name)).parameters) for m in (compiled, numba))
    assert ours == theirs


FIRST = list(
    {s.case: s for s in reversed(scenarios("activation", "several", "elementwise", "pair", "softmax", "rows"))}.values()
)


@needs_both
@pytest.mark.parametrize("scenario", FIRST, ids=lambda s: s.id)
def test_backends_agree(scenario):
    """Within the sum of their limits; most bits are the same, none need be."""
    for dtype in (np.float32, np.float64):
        arguments, keywords = scenario.call(dtype)
        results = []
        for backend in ("cython", "numba"):
            with fl.backend(backend):
                results.append(np.asarray(scenario.case.function(*arguments, **keywords)))
        assert_close(results[0], results[1], 2 * scaled(scenario.case.ulp.limit("value", dtype)), size=1e-3)


class TestPickles:
    @pytest.mark.parametrize("name", sorted(n for n in PUBLIC if "." not in n))
    def test_functions_and_losses(self, name):
        """By name: the same object comes back, in another process too."""
        thing = getattr(fl, name)
        assert pickle.loads(pickle.dumps(thing)) is thing
        assert copy.deepcopy(thing) is thing and copy.copy(thing) is thing
        assert len(pickle.dumps(thing)) < 200
        for method in ("grad", "backward", "value_and_grad", "value_grad_hess", "partial"):
            if hasattr(thing, method):
                back = pickle.loads(pickle.dumps(getattr(thing, method)))
                assert callable(back)

    def test_partial_sums(self):
        whole = fl.mse_loss.partial([1.0, 2.0], [3.0, 5.0])
        back = pickle.loads(pickle.dumps(whole))
        assert (back.loss_sum, back.weight_sum, back.count) == (whole.loss_sum, whole.weight_sum, whole.count)
        assert (back + whole).result("mean") == whole.result("mean")


@pytest.mark.skipif(not COMPILED, reason="nothing compiled")
class TestInstructionSets:
    def test_environment_variable(self, python):
        for name in _config.isas():
            program = "import runpy, sys; sys.argv = ['fastloss', 'info']; runpy.run_module('fastloss', run_name='__main__')"
            assert name in python(program, FASTLOSS_ISA=name)

    def test_unknown_name(self, python):
        done = python("import fastloss", check=False, FASTLOSS_ISA="sse9000")
        assert "FASTLOSS_ISA" in done.stderr and "sse9000" in done.stderr and _config.isas()[0] in done.stderr

    def test_forcing_is_undone(self):
        x = np.linspace(-3, 3, 999, dtype=np.float32)
        best = fl.gelu(x).tobytes()
        for name in _config.isas():
            with _config.isa(name):
                fl.gelu(x)
        assert fl.gelu(x).tobytes() == best


class TestFiles:
    def test_typing_and_cython_declarations(self):
        root = files("fastloss")
        assert (root / "py.typed").is_file()
        names = [p.name for p in (files("fastloss.kernels.aot")).iterdir()]
        assert any(name.endswith(".pxd") for name in names)
        assert any(
            p.name.endswith(".pyi") for p in [*root.iterdir(), *files("fastloss.kernels.aot").iterdir()]
        )

    @needs_both
    def test_stubs_name_what_there_is(self):
        """A stub names functions of its module, with its module's parameters."""
        for stub in files("fastloss.kernels.aot").iterdir():
            if not stub.name.endswith(".pyi"):
                continue
            module = import_module(f"fastloss.kernels.aot.{stub.name.removesuffix('.pyi')}")
            for node in ast.parse(stub.read_text()).body:
                if isinstance(node, ast.FunctionDef):
                    parameters = [
                        a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                    ]
                    assert list(inspect.signature(getattr(module, node.name)).parameters) == parameters


def test_modules_are_named_in_all():
    """What `from fastloss import *` gives is what is documented."""
    modules = [name for name in fl.__all__ if isinstance(getattr(fl, name), types.ModuleType)]
    assert modules == ["objectives", "optim", "schedules"]
