"""The modules of users' formulas, as files where a folder for them can be written: Numba's disk cache goes by files."""

import os
import tempfile
import types
from functools import cache
from hashlib import sha256
from pathlib import Path

import numba

from ..generate import HERE, custom_module

modules = {}  # by the name of the formula, which is that of its functions too


@cache
def _compiled_with():
    """A digest of everything that compiled code depends on beside its own file."""
    texts = HERE / "_generated" / "numba_formulas.py", HERE / "generate.py"      # the first has a digest of jit
    return sha256(b"".join(path.read_bytes() for path in texts) + numba.__version__.encode()).hexdigest()


def define(text, role):
    """The name under which the backend knows a function in the formula language."""
    name = "custom_" + sha256(f"{role} {text} {_compiled_with()}".encode()).hexdigest()[:32]
    if name not in modules:
        modules.setdefault(name, _load(name, custom_module(name, text, role)))
    return name


def _folder():
    """Where the files are kept: FASTLOSS_CACHE_DIR, or where the user's caches are."""
    own = os.environ.get("FASTLOSS_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastloss"


def _load(name, text):
    try:
        path = _folder() / f"{name}.py"
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, new = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "w") as file:
                file.write(text)
            os.replace(new, path)  # whole, whoever reads it meanwhile
    except (OSError, RuntimeError):  # no folder that could be written to, no home: compiled anew in each process
        path = f"<{name}>"
    module = types.ModuleType(__name__)  # which any process can import: Numba does where it loads what was compiled
    exec(compile(text, path, "exec"), vars(module))
    return module
