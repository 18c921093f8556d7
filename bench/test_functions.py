"""Single functions for pytest-benchmark: `pytest bench --benchmark-json=FILE`. The rows are those of tests/cases.py.

Each answer is first compared with the same call in the other dtype; tests/ compares both with references.
"""

from functools import partial

import numpy as np
import pytest

from tests.cases import CASES, DTYPES

from .measure import flatten

PARTS = {
    "activation": ("", "backward"),
    "softmax": ("",),
    "elementwise": ("", "value_and_grad"),
    "rows": ("", "value_and_grad"),
    "optimizer": ("step",),
}


def call(case, part, arguments):
    """Return the call of that part of a case, without arguments."""
    if part == "step":
        param, *grads = arguments
        optimizer = case.function([param], lr=1e-3)

        def step():
            optimizer.step(grads[:1])
            return param

        return step
    if part == "backward":
        arguments = (np.ones_like(arguments[0]), *arguments)
    keywords = {"axis": 1} if case.family == "softmax" else {}
    return partial(getattr(case.function, part) if part else case.function, *arguments, **keywords)


def rows():
    for case in CASES:
        for shape in case.bench:
            for part in PARTS[case.family]:
                words = case.name, case.label, part, "x".join(map(str, shape))
                yield pytest.param(case, shape, part, id="-".join(filter(None, words)))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize(("case", "shape", "part"), rows())
def test_function(benchmark, case, shape, part, dtype):
    arguments = case.inputs(np.random.default_rng(0), np.dtype(np.float32), shape)
    calls = [
        call(case, part, [a.astype(t) if a.dtype.kind == "f" else a for a in arguments])
        for t in (dtype, *(other for other in DTYPES if other is not dtype))
    ]
    ours, other = (flatten(c()) for c in calls)
    for a, b in zip(ours, other):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()
    benchmark.group = f"{case.name} {part}".strip()
    benchmark(calls[0])
