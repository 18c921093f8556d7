"""Other people's libraries: a missing one skips its tests, but fails them when CI=true."""

import importlib
import os

import pytest


def oracle(name):
    """Import a library to compare with."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} is not installed", allow_module_level=True)
