"""Single functions for pytest-benchmark: `pytest bench --benchmark-json=FILE`. The rows are those of tests/cases.py.

Each answer is first compared with the same call in the other dtype; tests/ compares both with references.
"""

from functools import partial
from inspect import signature

import numpy as np
import pytest

from tests.cases import CASES, DTYPES

from .measure import flatten

PARTS = {
    "activation": ("", "backward"),
    "several": ("", "backward"),
    "softmax": ("",),
    "elementwise": ("", "value_and_grad"),
    "pair": ("", "value_and_grad"),
    "rows": ("", "value_and_grad"),
    "lines": ("", "value_and_grad"),
    "sequence": ("", "value_and_grad"),
    "linear": ("", "value_and_grad"),
}


def in_place(result, function, *arguments, **keywords):
    """Call the function, return what it changed."""
    function(*arguments, **keywords)
    return result


def cast(argument, dtype):
    """Return the argument with its floating-point arrays in that dtype."""
    if isinstance(argument, (tuple, list)):
        return [cast(a, dtype) for a in argument]
    return argument.astype(dtype) if getattr(argument, "dtype", np.dtype(int)).kind == "f" else argument


def call(case, part, arguments):
    """Return the call of that part of a case, without arguments."""
    function = getattr(case.function, part) if part else case.function
    match case.family:
        case "optimizer":
            param, grad = arguments[:2]
            return partial(in_place, param, function([param], lr=1e-3).step, [grad])
        case "step":
            param, grad = arguments[:2]
            needed = [p for p in signature(function).parameters.values() if p.default is p.empty]
            states = np.zeros((sum(p.kind is not p.KEYWORD_ONLY for p in needed) - 2, *param.shape), param.dtype)
            return partial(in_place, param, function, param, grad, *states, step=1, lr=1e-3)
        case "sparse":
            param, grad = arguments[:2]
            step = function(param, lr=1e-3).step
            return partial(in_place, param, step, (np.arange(0, len(param), 40), grad[::40]))
        case "closure":
            param, goal = arguments[:2]
            step = function(param, lr=1e-3).step
            return partial(in_place, param, step, lambda: (0.5 * np.sum((param - goal) ** 2), param - goal))
        case "clip":
            return partial(function, list(arguments), max_norm=1.0)
        case "softmax":
            return partial(function, *arguments, axis=1)
        case "activation" | "several":
            keywords = case.params[0]
            upstream = [np.ones_like(case.function(*arguments, **keywords))] if part == "backward" else []
            return partial(function, *upstream, *arguments, **keywords)
        case _:
            return partial(function, *arguments)


def rows():
    for case in CASES:
        for shape in case.bench:
            for part in PARTS.get(case.family, ("",)):
                words = case.name, case.label, part, "x".join(map(str, shape))
                yield pytest.param(case, shape, part, id="-".join(filter(None, words)))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize(("case", "shape", "part"), list(rows()))
def test_function(benchmark, case, shape, part, dtype):
    arguments = case.inputs(np.random.default_rng(0), np.dtype(np.float32), shape)
    calls = [
        call(case, part, cast(arguments, t))
        for t in (dtype, *(other for other in DTYPES if other is not dtype))
    ]
    ours, other = (flatten(c()) for c in calls)
    for a, b in zip(ours, other):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()
    benchmark.group = f"{case.name} {part}".strip()
    benchmark(calls[0])
