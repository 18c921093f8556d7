"""Every public name has an example in its docstring, and the example is right."""

import doctest
import types

import numpy as np
import pytest

import fastloss as fl

NAMES = sorted(name for name in fl.__all__ if not isinstance(getattr(fl, name), types.ModuleType))
NAMES += [f"optim.{name}" for name in sorted(fl.optim.__all__)]
NAMES += [f"schedules.{name}" for name in sorted(fl.schedules.__all__)]
NAMES += [f"objectives.{name}" for name in fl.objectives.__all__]


@pytest.mark.parametrize("name", NAMES)
def test_example(name):
    thing = fl
    for part in name.split("."):
        thing = getattr(thing, part)
    text = thing.__doc__ or ""
    example = doctest.DocTestParser().get_doctest(text, {"np": np, "fl": fl}, name, None, 0)
    assert example.examples, f"fastloss.{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    lines = []
    failed, _ = runner.run(example, out=lines.append)
    assert not failed, "".join(lines)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_is_its_own(name):
    """Objects of one class do not share a docstring; each starts with a sentence on one line."""
    *path, last = name.split(".")
    home = fl
    for part in path:
        home = getattr(home, part)
    text = getattr(home, last).__doc__ or ""
    first = text.strip().splitlines()[0]
    assert first.endswith(".")
    others = [n for n in NAMES if n != name and (_doc(n) or "").strip() == text.strip()]
    assert others == []


def _doc(name):
    thing = fl
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing.__doc__
