"""Errors of elementwise functions over all 2^32 float32 inputs, against float64 textbook forms; see `python -m bench.accuracy --exhaustive`.

bench/exhaustive.json records the largest error of each, in units in the last place. A test samples the inputs and fails
where an error is larger than its record.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import scipy.special

import fastloss as fl

RECORD = Path(__file__).with_suffix(".json")
BLOCK = 1 << 14     # inputs at a time: their float64 values stay in the cache
expit = scipy.special.expit


def tanhshrink(x):
    near = np.abs(x) < 0.03
    small = np.where(near, x, 0)
    series = small**3 * (1 / 3 - small**2 * (2 / 15 - small**2 * (17 / 315 - small**2 * (62 / 2835))))
    return np.where(near, series, x - np.tanh(x))


def log_cosh(x):
    near, x = np.abs(x) < 0.03, np.abs(x)
    square = np.where(near, x, 0) ** 2
    series = square * (1 / 2 - square * (1 / 12 - square * (1 / 45 - square * (17 / 2520))))
    return np.where(near, series, x + np.log1p(np.exp(-2 * x)) - np.log(2))


def huber(x):
    return np.where(np.abs(x) < 1, x * x / 2, np.abs(x) - 0.5)


def at(loss, target):
    """The loss of each input beside that target."""
    return lambda x: loss(x, np.full_like(x, target), reduction="none")


def clipped(loss, low=-np.inf, high=np.inf):
    """The loss, where only inputs from low to high are allowed: others count as the nearest of these."""
    return lambda x: loss(np.clip(x, np.float32(low), np.float32(high)))


def sum_of(*terms):
    """(sum, the largest of it and the terms), whose unit in the last place counts where they cancel."""
    return sum(terms), np.max(np.abs([sum(terms), *terms]), axis=0)


def poisson_full(x):
    """exp(x) - 3 x and Stirling's terms of 3, inf where exp(x) is."""
    constant = 3 * np.log(3) - 3 + np.log(2 * np.pi * 3) / 2
    return sum_of(np.exp(x), np.where(x == np.inf, 0, -3 * x), np.full_like(x, constant))


def squared_log_error(x, y):
    """Of the square of a difference, the terms are those of the difference, times that."""
    difference, largest = sum_of(np.log1p(x), np.full_like(x, -np.log1p(y)))
    return difference**2, np.abs(difference) * largest


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def beyond(x, limit, value, form):
    """form(x), and `value` of the limit where x is infinite."""
    return np.where(x == limit, value, form(x))


TENTHS = np.float64(np.float32(0.3))      # a target or a slope, as the kernels take it

# name: (our function, the textbook's in float64, or that and the size of what cancels there)
SUBJECTS = {
    "sigmoid": (fl.sigmoid, expit),
    "sigmoid.grad": (fl.sigmoid.grad, lambda x: expit(x) * expit(-x)),
    "tanh": (fl.tanh, np.tanh),
    "tanh.grad": (fl.tanh.grad, lambda x: 4 * expit(2 * x) * expit(-2 * x)),
    "softplus": (fl.softplus, softplus),
    "logsigmoid": (fl.logsigmoid, lambda x: -softplus(-x)),
    "silu": (fl.silu, partial(beyond, limit=-np.inf, value=0.0, form=lambda x: x * expit(x))),
    "gelu": (fl.gelu, partial(beyond, limit=-np.inf, value=0.0, form=lambda x: x * scipy.special.ndtr(x))),
    "gelu_tanh": (
        partial(fl.gelu, approximate="tanh"),
        partial(beyond, limit=-np.inf, value=0.0, form=lambda x: x * expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    "mish": (
        fl.mish,
        partial(beyond, limit=-np.inf, value=0.0, form=lambda x: x * np.tanh(softplus(x))),
    ),
    "elu": (fl.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
    "selu": (fl.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    "celu": (partial(fl.celu, alpha=1.5), lambda x: np.where(x > 0, x, 1.5 * np.expm1(x / 1.5))),
    "gaussian": (fl.gaussian, lambda x: np.exp(-x * x)),
    "tanhshrink": (fl.tanhshrink, tanhshrink),
    "swish": (
        partial(fl.swish, beta=0.3),
        partial(beyond, limit=-np.inf, value=0.0, form=lambda x: x * expit(np.float32(0.3).astype(float) * x)),
    ),
    "hardsigmoid": (fl.hardsigmoid, lambda x: np.clip(x + 3, 0, 6) / 6),
    "hardswish": (fl.hardswish, lambda x: np.where(x <= -3, 0, np.where(x >= 3, x, x * (x + 3) / 6))),
    "log_cosh_loss": (at(fl.log_cosh_loss, 0), log_cosh),
    "soft_margin_loss": (at(fl.soft_margin_loss, 1), lambda x: softplus(-x)),
    "binary_cross_entropy_with_logits": (at(fl.binary_cross_entropy_with_logits, 0), softplus),
    "exponential_loss": (at(fl.exponential_loss, -1), np.exp),
    "softsign": (fl.softsign, lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))),
    "relu": (fl.relu, lambda x: np.maximum(x, 0)),
    "relu6": (fl.relu6, lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (fl.leaky_relu, lambda x: np.where(x > 0, x, np.float32(0.01).astype(float) * x)),
    "hardtanh": (fl.hardtanh, lambda x: np.clip(x, -1, 1)),
    "softshrink": (fl.softshrink, lambda x: x - np.clip(x, -0.5, 0.5)),
    "hardshrink": (fl.hardshrink, lambda x: np.where(np.abs(x) <= 0.5, 0, x)),
    "l1_loss": (at(fl.l1_loss, 0.3), lambda x: np.abs(x - np.float32(0.3))),
    "mse_loss": (at(fl.mse_loss, 0.3), lambda x: (x - np.float32(0.3)) ** 2),
    "smooth_l1_loss": (at(fl.smooth_l1_loss, 0.3), lambda x: huber(x - np.float32(0.3))),
    "huber_loss": (at(fl.huber_loss, 0.3), lambda x: huber(x - np.float32(0.3))),
    "hinge_loss": (at(fl.hinge_loss, 1), lambda x: np.maximum(1 - x, 0)),
    "squared_hinge_loss": (at(fl.squared_hinge_loss, 1), lambda x: np.maximum(1 - x, 0) ** 2),
    "hinge_embedding_loss": (at(fl.hinge_embedding_loss, -1), lambda x: np.maximum(1 - x, 0)),
    "poisson_nll_loss": (at(fl.poisson_nll_loss, 1), partial(beyond, limit=np.inf, value=np.inf, form=lambda x: np.exp(x) - x)),
    "sigmoid_focal_loss": (
        at(fl.sigmoid_focal_loss, 1),
        lambda x: 0.25 * expit(-x) ** 2 * softplus(-x),
    ),
    "softplus_scaled": (partial(fl.softplus, beta=1.5), lambda x: softplus(1.5 * x) / 1.5),
    "glu": (lambda x: fl.glu(np.append(np.full_like(x, 1.5), x)), lambda x: 1.5 * expit(x)),
    "prelu": (partial(fl.prelu, weight=np.float32(0.3)), lambda x: np.where(x > 0, x, TENTHS * x)),
    "srelu": (
        partial(fl.srelu, t_left=-1, a_left=0.25, t_right=1, a_right=0.3),
        lambda x: np.where(x <= -1, -1 + 0.25 * (x + 1), np.where(x >= 1, 1 + TENTHS * (x - 1), x)),
    ),
    "threshold": (partial(fl.threshold, threshold=1, value=-2), lambda x: np.where(x <= 1, -2, x)),
    "step": (fl.step, lambda x: np.heaviside(x, 1)),
    "linear": (fl.linear, lambda x: x),
    "msle_loss": (at(fl.msle_loss, 1.5), partial(squared_log_error, y=1.5)),
    "quantile_loss": (at(partial(fl.quantile_loss, q=0.25), 0.3), lambda x: np.maximum(0.25 * (TENTHS - x), 0.75 * (x - TENTHS))),
    "poisson_nll_full": (at(partial(fl.poisson_nll_loss, full=True), 3), poisson_full),
    "poisson_nll_rate": (at(partial(fl.poisson_nll_loss, log_input=False), 1), lambda x: sum_of(x, -np.log(x + np.float32(1e-8).astype(float)))),
    "gaussian_nll_loss": (
        clipped(lambda var: fl.gaussian_nll_loss(np.full_like(var, 2), np.ones_like(var), var, reduction="none"), low=0),
        lambda x: sum_of(np.log(np.clip(x, 1e-6, np.inf)) / 2, 0.5 / np.clip(x, 1e-6, np.inf)),
    ),
    "binary_cross_entropy": (
        clipped(at(fl.binary_cross_entropy, 0.25), 0, 1),
        clipped(lambda x: 0.25 * np.minimum(-np.log(x), 100) + 0.75 * np.minimum(-np.log1p(-x), 100), 0, 1),
    ),
    "kl_div": (lambda x: fl.kl_div(np.full_like(x, -1), x, reduction="none"), lambda x: sum_of(scipy.special.xlogy(x, x), x)),
    "kl_div_log": (
        lambda x: fl.kl_div(np.full_like(x, -1), x, log_target=True, reduction="none"),
        lambda x: sum_of(np.where(x == -np.inf, 0, np.exp(x) * x), np.exp(x)),
    ),
    "margin_ranking_loss": (
        lambda x: fl.margin_ranking_loss(x, np.full_like(x, 0.3), np.ones_like(x), reduction="none"), lambda x: np.maximum(TENTHS - x, 0),
    ),
}


def errors(got, want, size):
    """|got - want| in units in the last place of the size as float32, infinity as 2^128; 0 where both are NaN or the same infinity."""
    exponent = np.clip(size.view(np.int64) >> 52 & 0x7FF, 897, None)        # 2^-126, the smallest normal number's
    value = np.where(np.isinf(got), np.copysign(np.float64(2.0**128), got), got.astype(np.float64))
    error = np.abs(value - want) / ((exponent - 23) << 52).view(np.float64)
    same = np.isnan(got) & np.isnan(want) | (got == want) | np.isinf(got) & (np.abs(want) >= 2.0**128 * (1 - 2.0**-25))
    return np.where(same, 0.0, np.where(np.isnan(error), np.inf, error))


def inputs(begin, size=BLOCK):
    """The float32 numbers with the bits begin, begin + 1, ..."""
    return np.arange(begin, begin + size, dtype=np.uint32).view(np.float32)


def worst(name, x):
    """(largest error, the input that it is at) among x."""
    ours, textbook = SUBJECTS[name]
    with np.errstate(all="ignore"):
        want = textbook(x.astype(np.float64))
        want, size = want if isinstance(want, tuple) else (want, want)
        found = errors(np.asarray(ours(x)), np.asarray(want, np.float64), np.asarray(size, np.float64))
    at = int(found.argmax())
    return float(found[at]), float(x[at])


def _part(name, begin, end):
    with fl.threads(1):
        return max(worst(name, inputs(b)) for b in range(begin, end, BLOCK))


def measure(name, processes):
    """(largest error, its input) over all float32 numbers."""
    step = (1 << 32) // 64
    with ProcessPoolExecutor(processes) as pool:
        return max(pool.map(partial(_part, name), range(0, 1 << 32, step), range(step, (1 << 32) + step, step)))


def record():
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def main(names, processes, console):
    """Measure those functions (all of them for none), print and record each as it is done."""
    for name in names or SUBJECTS:
        error, at = measure(name, processes)
        console.print(f"{name}: {error:.4f} ULP at most, at {at!r}")
        RECORD.write_text(json.dumps(record() | {name: {"max_ulp": round(error, 4), "at": repr(at)}}, indent=1, sort_keys=True) + "\n")
