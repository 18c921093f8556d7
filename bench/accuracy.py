"""python -m bench.accuracy [--points N] [--json FILE] [--readme] | --exhaustive [FUNCTION ...]

Maximum and mean error in units in the last place against many digits, of fastloss and of its peers, on
the same inputs: the whole line for elementwise functions; rows of three spreads, and of a dominant class.
--exhaustive tries all 2^32 float32 inputs of elementwise functions and records the largest errors.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.special

import fastloss as fl
from tests import reference, ulp

from . import exhaustive, report
from .peers import optional


@dataclass
class Subject:
    """A function, its textbook definition, and who else computes it; `size` as in ulp.errors."""

    name: str
    inputs: str
    arguments: tuple
    exact: Callable
    contenders: dict[str, Callable | None]
    size: Callable = lambda *arguments: 0.0


@dataclass
class Measured:
    """Errors of one contender on one subject."""

    name: str
    inputs: str
    dtype: str
    contender: str
    max_ulp: float
    mean_ulp: float


def line(points, dtype):
    """Return numbers of both signs: every magnitude, and densely where functions bend."""
    rng = np.random.default_rng(0)
    limit = 110 if dtype == np.float32 else 760
    magnitudes = 10 ** rng.uniform(-6, np.log10(limit), points // 4)
    signed = magnitudes * rng.choice([-1, 1], magnitudes.size)
    parts = signed, rng.uniform(-limit, limit, points // 4), 3 * rng.standard_normal(points // 2)
    return np.concatenate(parts).astype(dtype)


def rows(points, dtype):
    """Yield (description, logits): growing spread, then one class far above the others."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((max(points // 250, 1), 500))
    for spread in (1, 10, 40):
        yield f"500 classes, spread {spread}", (spread * noise).astype(dtype)
    yield "20000 classes, spread 3", (3 * rng.standard_normal((1, 20000))).astype(dtype)
    noise[:, 0] += np.linspace(5, 60, len(noise)) + noise[:, 1:].max(axis=1)
    yield "a class 5 to 60 ahead", noise.astype(dtype)


@optional("torch")
def in_torch(name, gradient=False, **kwargs):
    """torch's function of NumPy arrays, or its gradient by the first through autograd."""
    import torch

    function = getattr(torch.nn.functional, name, None) or getattr(torch, name)

    def call(x, *rest):
        x = torch.from_numpy(x).requires_grad_(gradient)
        value = function(x, *map(torch.from_numpy, rest), **kwargs)
        return torch.autograd.grad(value.sum(), x)[0].numpy() if gradient else value.numpy()

    return call


def first_derivative(function):
    return lambda *arguments: reference.derivatives(function, 1, *arguments)[1]


def value(function):
    return lambda *arguments: reference.derivatives(function, 0, *arguments)[0]


def elementwise(points, dtype):
    """Yield activations and elementwise losses, value and derivative."""
    x = line(points, dtype)
    y = np.random.default_rng(1).random(x.size).astype(dtype)
    others = {
        "sigmoid": {"NumPy": lambda x: 1 / (1 + np.exp(-x)), "SciPy": scipy.special.expit},
        "tanh": {"NumPy": np.tanh},
        "relu": {"NumPy": lambda x: np.maximum(x, 0)},
        "gelu": {"SciPy": lambda x: x * scipy.special.ndtr(x)},
        "silu": {"SciPy": lambda x: x * scipy.special.expit(x)},
        "mish": {"NumPy": lambda x: x * np.tanh(np.logaddexp(0, x))},
        "elu": {"NumPy": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))},
        "softplus": {"NumPy": lambda x: np.logaddexp(0, x)},
        "logsigmoid": {"SciPy": scipy.special.log_expit},
        "mse_loss": {"NumPy": lambda x, y: (x - y) ** 2},
        "binary_cross_entropy_with_logits": {"NumPy": lambda x, y: np.logaddexp(0, x) - x * y},
    }
    for name, known in others.items():
        loss = hasattr(getattr(fl, name), "value_and_grad")
        none = {"reduction": "none"} if loss else {}
        arguments = (x, y) if loss else (x,)
        exact, ours = getattr(reference, name), getattr(fl, name)
        contenders = {"fastloss": partial(ours, **none), **known, "torch": in_torch(name, **none)}
        yield Subject(name, "the line", arguments, value(exact), contenders)
        contenders = {"fastloss": partial(ours.grad, **none), "torch": in_torch(name, True, **none)}
        yield Subject(f"{name}.grad", "the line", arguments, first_derivative(exact), contenders)


def numpy_softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def numpy_log_softmax(x, axis):
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def numpy_logsumexp(x, axis):
    top = x.max(axis=axis)
    return top + np.log(np.exp(x - x.max(axis=axis, keepdims=True)).sum(axis=axis))


def by_rows(points, dtype):
    """Yield the softmax family and cross-entropy, value and gradient."""
    in_numpy = {
        "softmax": numpy_softmax,
        "log_softmax": numpy_log_softmax,
        "logsumexp": numpy_logsumexp,
    }
    for inputs, x in rows(points, dtype):
        for name, known in in_numpy.items():
            contenders = {
                "fastloss": partial(getattr(fl, name), axis=1),
                "NumPy": partial(known, axis=1),
                "SciPy": partial(getattr(scipy.special, name), axis=1),
                "torch": in_torch(name, dim=1),
            }
            exact = partial(getattr(reference, name), axis=1)
            size = (lambda x: np.abs(x).max(axis=1)) if name == "logsumexp" else Subject.size
            yield Subject(name, inputs, (x,), exact, contenders, size)
        target = np.zeros(len(x), np.int64)
        terms = reference.cross_entropy(x, target)
        for name, gradient, exact in (
            ("cross_entropy", False, terms.value),
            ("cross_entropy.grad", True, terms.grad),
        ):
            ours = fl.cross_entropy.grad if gradient else fl.cross_entropy
            contenders = {
                "fastloss": partial(ours, reduction="none"),
                "torch": in_torch("cross_entropy", gradient, reduction="none"),
            }
            yield Subject(name, inputs, (x, target), lambda x, t, exact=exact: exact, contenders)


def measure(points, dtype):
    """Yield what each contender got wrong on each subject."""
    for subjects in (elementwise, by_rows):
        for subject in subjects(points, dtype):
            want, size = subject.exact(*subject.arguments), subject.size(*subject.arguments)
            for contender, call in subject.contenders.items():
                if call is None:
                    continue
                with np.errstate(all="ignore"):
                    errors = ulp.errors(call(*subject.arguments), want, size)
                yield Measured(
                    subject.name,
                    subject.inputs,
                    np.dtype(dtype).name,
                    contender,
                    float(errors.max()),
                    float(errors.mean()),
                )


def grid(measured):
    """Return header and lines, one line per function and inputs: max (mean) of each contender."""
    contenders = list(dict.fromkeys(m.contender for m in measured))
    lines = {}
    for m in measured:
        line = lines.setdefault((m.name, m.inputs), dict.fromkeys(contenders, ""))
        line[m.contender] = f"{m.max_ulp:.3g} ({m.mean_ulp:.2g})"
    lines = [[*key, *cells.values()] for key, cells in lines.items()]
    return ["function", "inputs", *contenders], lines


def main():
    """Measure both dtypes, print a table of each, write the files asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description="errors in ULP")
    parser.add_argument("--points", type=int, default=1000, help="inputs of each function")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="write the tables into README.md")
    parser.add_argument("--exhaustive", nargs="*", metavar="FUNCTION", help="all float32 inputs of these functions, or of all")
    arguments = parser.parse_args()
    console = report.console()
    if arguments.exhaustive is not None:
        exhaustive.main(arguments.exhaustive, len(os.sched_getaffinity(0)), console)
        return
    measured, parts = [], []
    for dtype in (np.float32, np.float64):
        found = list(measure(arguments.points, dtype))
        title = f"{np.dtype(dtype).name}: maximum (mean) error in units in the last place"
        console.print(report.table(title, *grid(found)))
        parts.append(f"{title}\n\n{report.markdown(*grid(found))}")
        measured += found
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(m) for m in measured], indent=1) + "\n")
    if arguments.readme:
        parts = [parts[0], "<details><summary>float64</summary>", parts[1], "</details>"]
        report.fill_readme("accuracy", "\n\n".join(parts))


if __name__ == "__main__":
    main()
