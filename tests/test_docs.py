"""The documentation site builds without a warning, with a page for every public name."""

import subprocess
import sys
from pathlib import Path

from tests.oracle import oracle
from tests.test_package import PUBLIC

DOCS = Path(__file__).parents[1] / "docs"


def test_site(tmp_path):
    for library in ("sphinx", "numpydoc", "myst_parser", "matplotlib", "rich"):
        oracle(library)
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in PUBLIC:
        assert (tmp_path / "api" / f"{name}.html").exists(), name
    assert (tmp_path / "_images" / "huber_loss.png").exists() and (tmp_path / "_images" / "gelu.png").exists()
