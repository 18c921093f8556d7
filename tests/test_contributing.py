"""What CONTRIBUTING.md shows of a new loss: the diff applies, and its four parts belong together."""

import ast
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from fastloss.kernels import generate

from tests import needs_checkout, reference
from tests.test_formulas import functions_of_arrays
from tests.ulp import assert_close

ROOT = Path(__file__).parents[1]
pytestmark = needs_checkout


def parts():
    """(file, text that stands in it, text that replaces it) of each hunk."""
    (diff,) = re.findall(r"^```diff\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    for file, hunks in re.findall(r"^--- a/(.*)\n\+\+\+ b/\1\n((?:(?!---).*\n)+)", diff, re.MULTILINE):
        for hunk in hunks.split("@@\n")[1:]:
            lines = hunk.splitlines(True)
            yield file, *("".join(line[1:] for line in lines if line[0] in kind) for kind in (" -", " +"))


@pytest.fixture
def patched(tmp_path):
    """The folder of the patched files."""
    for file, old, new in parts():
        path = tmp_path / file
        text = path.read_text() if path.exists() else (ROOT / file).read_text()
        assert text.count(old) == 1, f"{file}: the diff in CONTRIBUTING.md does not apply"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(old, new))
    return tmp_path


def load(name, path):
    spec = spec_from_file_location(name, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_four_files_hold_a_new_loss(patched):
    assert len({file for file, *_ in parts()}) == 4
    public = load("fastloss.patched_regression", patched / "fastloss/regression.py")
    (name,) = set(public.__all__) - set(load("fastloss.regression_as_is", ROOT / "fastloss/regression.py").__all__)
    assert getattr(public, name).__doc__
    assert f'name="{name}"' in ast.unparse(ast.parse((patched / "tests/cases.py").read_text())).replace("'", '"')

    for path in (ROOT / "kernels/formulas").glob("*.py"):
        if not (patched / "kernels/formulas" / path.name).exists():
            (patched / "kernels/formulas" / path.name).write_text(path.read_text())
    functions = functions_of_arrays(generate.read_all(patched / "kernels/formulas"))
    textbook = getattr(load("patched_reference", patched / "tests/reference.py"), name)
    x, y = np.random.default_rng(0).standard_normal((2, 40))
    got = functions[f"{name}_f64"](x, y, np.float64(2.5))
    for number, want in zip(got, reference.derivatives(textbook, 2, x, y, scale=2.5), strict=True):
        assert_close(number, want, 8, size=1)
