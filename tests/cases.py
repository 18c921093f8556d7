"""The one table: every public name, its reference, its inputs, and how close it must come.

Values, derivatives, backends, edges, oracles and the benches all walk CASES. A new elementwise loss is
one `Case(...)` here and one scalar function in reference.py; everything else follows from `family`:

    activation   f(x), .grad, .backward            reference: scalar function, differentiated
    several      f(x, axis, ...), .backward         reference: arrays, differentiated
    elementwise  loss(x, y, ...), all derivatives   reference: scalar function, differentiated twice
    pair         loss(x, y, z, ...), gradients by two of them: `by`   reference: the same
    softmax      f(x, axis), .backward              reference: arrays
    lines        loss(x, ..., target, ...)          reference: one row's scalar, differentiated (ref.row_terms)
    pairs        f(x1, x2), .backward               reference: one row's scalar, differentiated
    rows         loss(x, target, ...)               reference: reference.Terms
    optimizer    Rule(params, ...).step(grads)      reference: param, grad, state -> param
    step         rule_step(param, grad, states...)  reference: the same
    sparse       Rule(params).step((rows, values))  reference: the same
    closure      Rule(params).step(closure)         reference: param, closure -> param
    clip         clip_grad_norm(grads, max_norm)    reference: (norm, clipped)
    sequence     loss(log_probs, targets, lengths)  reference: reference.Sequences; test_sequence.py
    linear       loss(input, ..., layer weights)    reference: value, gradients; test_linear.py

A `Scenario` is a case at one shape with one set of keywords; `scenarios(family)` lists them all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import NamedTuple
from zlib import crc32

import numpy as np

from tests import reference as ref
from tests import reference_optim as ref_optim
from tests.optimizers import RULES
from tests.ulp import one_at_a_time, widen

DTYPES = np.float32, np.float64


class Ulp(NamedTuple):
    """Largest errors in ULP, as (float32, float64), of an unreduced, unweighted call."""

    value: tuple[float, float]
    grad: tuple[float, float] = (0, 0)
    hess: tuple[float, float] = (0, 0)

    def limit(self, what, dtype):
        return getattr(self, what)[np.dtype(dtype) == np.float64]


def scaled(limit):
    """The limit after weights, upstream or 1/divisor: a product moves an error of b ULP to at most 2 b
    (the result may sit at the other end of its binade); rounding factor and product adds up to 2.
    """
    return 2 * limit + 2


EXACT = Ulp((0, 0), (0, 0), (0, 0))
# x - y rounds (0.5), its square carries that twice (at most 1.41 across a binade) and rounds
ARITHMETIC = Ulp((2, 2), (0.5, 0.5), (0, 0))
# A derivative is a product of two such values
SIGMOID = Ulp((2, 2), (4, 4))
TANH = Ulp((1.1, 1.5), (4, 4))
GELU = Ulp((4, 4), (6, 6))
# exp, expm1, log1p (1, 1.5) times or over a rounded sum; a derivative multiplies two of them
EXPONENTIAL = Ulp((2, 2), (4, 4))
MISH = Ulp((4, 4), (6, 6))
# two or three roundings of sums and products
LINES = Ulp((1.5, 1.5), (1, 1))
# softplus is 2; (1 - y) x adds two roundings; derivatives are sigmoids times 1 - y or pos_weight y
LOGISTIC = Ulp((4, 4), (4, 4), (6, 6))
# a quotient, or one more product, of values that were rounded
DIVIDED = Ulp((3, 3), (2, 2), (1, 1))
# a logarithm is 1 (1.5 in float64); it is squared, multiplied or added; a second derivative divides twice
LOGARITHM = Ulp((4, 4), (4, 4), (5, 5))
# m^gamma carries gamma times the error of m; then products of four such values
POWER = Ulp((10, 10), (12, 12), (16, 16))
# 2 / 3 for a softmax or a loss; a gradient multiplies a softmax by a rounded factor, a Hessian two of them
ROWS = Ulp((2, 3), (3, 4), (6, 7))
# float64: products over the frames, each rounded a few times; float32: those are exact beside the last rounding
SEQUENCES = Ulp((1, 16), (2, 64))
# of sums of at most 8 products, in ULP of the sum of their sizes; their logits are as exact
LINEAR = Ulp((8, 8), (16, 16))
# in ULP of the larger of parameter and update
STEP = Ulp((4, 4))


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One public name; see the module docstring for what `family` implies."""

    name: str
    family: str
    reference: Callable
    inputs: Callable  # (rng, dtype, shape) -> tuple of arrays
    ulp: Ulp
    shapes: tuple = ((67,),)  # elementwise: longer than the widest vector, and odd
    params: tuple = ({},)  # keywords of call and reference alike; floats exact in float32
    options: tuple = ("plain",)  # keys of OPTIONS
    kinks: tuple = ()  # (arguments, value, derivatives...) where the formula has a corner
    size: Callable | None = None  # size(x, y): largest term that cancels in value or gradient, or for each derivative
    by: tuple = (0,)  # arguments that the loss is differentiated by
    divides_by: str = "weights"
    label: str = ""
    bench: tuple = ((1_000_000,),)

    @property
    def function(self):
        import fastloss

        return attrgetter(self.name)(fastloss)

    def sizes(self, *arguments):
        """What cancels in value, gradient and second derivative; 0 where the table states none."""
        size = (0.0, 0.0, 0.0) if self.size is None else self.size(*arguments)
        return size if isinstance(size, tuple) else (size, size, 0.0)


def heavy(rng, dtype, shape, scale=3.0, bound=90.0):
    """Student t with two degrees of freedom, clipped, with zeros, ones and subnormals among it."""
    x = np.clip(rng.standard_t(2, shape) * scale, -bound, bound).astype(dtype)
    special = np.array([0.0, -0.0, 1.0, -1.0, 3 * np.finfo(dtype).smallest_subnormal], dtype)
    flat = x.reshape(-1)
    if flat.size > 8 * special.size:
        flat[rng.choice(flat.size, special.size, replace=False)] = special
    return x


def one(rng, dtype, shape):
    return (heavy(rng, dtype, shape),)


def without_zeros(rng, dtype, shape):
    x = heavy(rng, dtype, shape)
    return (np.where(x == 0, x.dtype.type(2), x),)


def moderate(rng, dtype, shape):
    """Where differences of exp(-x^2) and of x - tanh(x) keep their digits."""
    x = heavy(rng, dtype, shape, bound=5.0)
    return (np.where(np.abs(x) < 1e-3, x.dtype.type(0.5), x),)


def normal(rng, dtype, shape):
    return (3 * rng.standard_normal(shape)).astype(dtype),


def pair(rng, dtype, shape):
    return heavy(rng, dtype, shape), heavy(rng, dtype, shape)


def binary(rng, dtype, shape):
    return heavy(rng, dtype, shape), rng.integers(0, 2, shape).astype(dtype)


def soft_binary(rng, dtype, shape):
    return heavy(rng, dtype, shape), rng.random(shape).astype(dtype)


def signed(rng, dtype, shape):
    return heavy(rng, dtype, shape), rng.choice([-1.0, 1.0], shape).astype(dtype)


def ranked(rng, dtype, shape):
    return *pair(rng, dtype, shape), rng.choice([-1.0, 1.0], shape).astype(dtype)


def probabilities(rng, dtype, shape):
    """Both in (0, 1), from sure to unsure, and targets of 0 and 1."""
    x, y = (rng.beta(0.5, 0.5, shape).clip(1e-6, 1 - 1e-6).astype(dtype) for _ in range(2))
    return x, np.where(rng.random(shape) < 0.5, np.rint(y), y)


def log_and_probability(rng, dtype, shape):
    return -np.abs(heavy(rng, dtype, shape)), probabilities(rng, dtype, shape)[1]


def two_logs(rng, dtype, shape):
    return -np.abs(heavy(rng, dtype, shape)), -np.abs(heavy(rng, dtype, shape, bound=100.0))


def log_rates(rng, dtype, shape):
    return heavy(rng, dtype, shape, scale=1.0, bound=20.0), rng.poisson(2.0, shape).astype(dtype)


def rates(rng, dtype, shape):
    return rng.gamma(2.0, size=shape).astype(dtype) + dtype.type(0.0625), rng.poisson(2.0, shape).astype(dtype)


def with_variance(rng, dtype, shape):
    return *pair(rng, dtype, shape), rng.gamma(2.0, size=shape).astype(dtype) + dtype.type(0.0625)


def scaled_pair(rng, dtype, shape):
    return heavy(rng, dtype, shape, bound=20.0), rng.uniform(-2, 2, shape).astype(dtype)


def two_positive(rng, dtype, shape):
    return np.abs(heavy(rng, dtype, shape)), np.abs(heavy(rng, dtype, shape))


def logits(rng, dtype, shape):
    return (heavy(rng, dtype, shape, bound=40.0),)


def classes(rng, dtype, shape):
    """Logits (C,) or (N, C, d1, ...) and an index for each row."""
    axis = min(1, len(shape) - 1)
    rows = shape[:axis] + shape[axis + 1 :]
    return *logits(rng, dtype, shape), np.asarray(rng.integers(0, shape[axis], rows))


def log_probabilities(rng, dtype, shape):
    x, target = classes(rng, dtype, shape)
    return -np.abs(x), target


def distributions(rng, dtype, shape):
    axis = min(1, len(shape) - 1)
    q = rng.dirichlet(np.ones(shape[axis]), shape[:axis] + shape[axis + 1 :])
    return *logits(rng, dtype, shape), np.ascontiguousarray(np.moveaxis(q, -1, axis), dtype)


def sequences(rng, dtype, shape, scale=3.0):
    """log_probs (T, N, C), padded targets, input_lengths, target_lengths; repeats, an empty and a full target among them."""
    n_frames, n, n_classes = shape
    x = scale * rng.standard_normal(shape)
    x = (x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)).astype(dtype)
    longest = min(n_frames // 3, 30)
    targets = np.minimum(rng.integers(1, n_classes + 1, (n, longest)), n_classes - 1)
    input_lengths = rng.integers(2 * longest, n_frames + 1, n)
    target_lengths = rng.integers(0, longest + 1, n)
    input_lengths[0], target_lengths[0], target_lengths[-1] = n_frames, longest, 0
    return x, targets, input_lengths, target_lengths


def linear_classes(rng, dtype, shape):
    """input (N, D), linear_weight (C, D), an index for each row; shape is (N, D, C)."""
    n, features, n_classes = shape
    x, w = rng.standard_normal((n, features)), rng.standard_normal((n_classes, features)) / features**0.5
    return x.astype(dtype), w.astype(dtype), rng.integers(0, n_classes, n)


def adaptive_classes(rng, dtype, shape):
    """input, target, head_weight, tail_weights and cutoffs of two clusters; shape is (N, D, C)."""
    n, features, n_classes = shape
    cutoffs = [n_classes // 5, n_classes // 2]
    x, head, *tails = (
        (rng.standard_normal(s) / s[-1] ** 0.5).astype(dtype) for s in (
            (n, features), (cutoffs[0] + 2, features), (features // 2, features), (cutoffs[1] - cutoffs[0], features // 2),
            (features // 4, features), (n_classes - cutoffs[1], features // 4),
        )
    )  # fmt: skip
    return x, rng.integers(0, n_classes, n), head, [tuple(tails[:2]), tuple(tails[2:])], cutoffs


def rows_of_scores(rng, dtype, shape):
    return rng.standard_normal(shape).astype(dtype), rng.integers(0, shape[1], shape[0])


def rows_of_labels(rng, dtype, shape):
    """Each row lists up to four labels; what follows -1 means nothing."""
    lists = np.array([rng.permutation(shape[1]) for _ in range(shape[0])])
    lists[np.arange(shape[0]), rng.integers(0, min(5, shape[1]), shape[0])] = -1
    return rng.standard_normal(shape).astype(dtype), lists


def rows_of_probabilities(rng, dtype, shape):
    """Rows that sum to 1, from sure to unsure."""
    return (np.maximum(rng.dirichlet(np.full(shape[1], 0.25), shape[0]), 1e-6).astype(dtype),)


def rows_of_predictions(rng, dtype, shape):
    return *rows_of_probabilities(rng, dtype, shape), rng.integers(0, shape[1], shape[0])


def rows_of_distributions(rng, dtype, shape):
    return *rows_of_probabilities(rng, dtype, shape), *rows_of_probabilities(rng, dtype, shape)


def rows_of_logits(rng, dtype, shape):
    return (heavy(rng, dtype, shape, bound=20.0),)


def rows_of_pairs(rng, dtype, shape):
    return tuple(rng.standard_normal((2, *shape)).astype(dtype))


def rows_of_signed_pairs(rng, dtype, shape):
    return *rows_of_pairs(rng, dtype, shape), rng.choice([-1, 1], shape[0])


def rows_of_triplets(rng, dtype, shape):
    return tuple(rng.standard_normal((3, *shape)).astype(dtype))


def tensors(rng, dtype, shape):
    """A parameter and three gradients."""
    return heavy(rng, dtype, shape), *heavy(rng, dtype, (3, *shape))


# What a call adds to the plain one: (rng, arguments) -> (arguments, keywords)


def _rows_shape(arguments):
    x, target = arguments[:2]
    return target.shape if target.ndim < x.ndim else x.shape[:1] + x.shape[2:]


def _positive(rng, shape, dtype):
    return (rng.random(shape) + 0.25).astype(dtype)


def _class_weight(rng, arguments):
    x = arguments[0]
    return arguments, {"weight": _positive(rng, x.shape[min(1, x.ndim - 1)], x.dtype)}


def _ignore(rng, arguments):
    x, target = arguments
    return (x, np.where(rng.random(target.shape) < 0.3, -100, target)), {}


def _rows_where(rng, arguments):
    return arguments, {"where": rng.random(_rows_shape(arguments)) < 0.7}


def _sample_weight(rng, arguments):
    x = arguments[0]
    weight = _positive(rng, x.shape[0], x.dtype)
    weight[0] = 0.0
    return arguments, {"sample_weight": weight}


def _last_axis(rng, arguments):
    """The classes on the last axis instead of the second."""
    x = arguments[0]
    moved = (np.moveaxis(a, 1, -1).copy() if a.ndim == x.ndim > 1 else a for a in arguments)
    return tuple(moved), {"axis": -1}


def _keywords(**keywords):
    return lambda rng, arguments: (arguments, keywords)


def _together(*names):
    def option(rng, arguments):
        keywords = {}
        for name in names:
            arguments, more = OPTIONS[name](rng, arguments)
            keywords |= more
        return arguments, keywords

    return option


OPTIONS = {
    "plain": _keywords(),
    "weight": lambda rng, a: (a, {"weight": _positive(rng, a[0].shape, a[0].dtype)}),
    "mask": lambda rng, a: (a, {"where": rng.random(a[0].shape) < 0.7}),
    "sample_weight": _sample_weight,
    "class_weight": _class_weight,
    "ignore": _ignore,
    "smooth": _keywords(label_smoothing=0.125),
    "z_loss": _keywords(z_loss=0.0078125),
    "row_mask": _rows_where,
    "last_axis": _last_axis,
    "scale": lambda rng, a: (a, {"b": _positive(rng, a[0].shape, a[0].dtype)}),
    "signed": lambda rng, a: (a, {"b": rng.choice([-1.0, 1.0], a[0].shape).astype(a[0].dtype), "return_sign": True}),
    "keepdims": _keywords(keepdims=True),
    "both_weights_and_mask": _together("weight", "sample_weight", "mask"),
    "all_of_nll": _together("class_weight", "ignore", "row_mask", "sample_weight"),
    "all_of_focal": _together("class_weight", "ignore", "row_mask", "sample_weight"),
    "all_of_indices": _together("class_weight", "ignore", "smooth", "z_loss", "row_mask", "sample_weight"),
    "all_of_probabilities": _together("class_weight", "smooth", "z_loss", "row_mask", "sample_weight"),
}  # fmt: skip
ELEMENTWISE = "plain", "weight", "mask", "sample_weight", "both_weights_and_mask"

# Few classes (rows across lanes, more rows than a tile), many classes (lanes along the row, with a
# tail), one row, one class, and classes on an inner axis (lanes along what follows).
ROW_SHAPES = (67, 5), (5,), (3, 70), (4, 1), (2, 3, 4, 5)
AXES = {"axis": None}, {"axis": 0}, {"axis": -1}, {"axis": (0, -1)}


def _gelu_size(x):
    """gelu' = Phi(x) + x phi(x) crosses zero at -0.75."""
    return abs(x) * ref.mp.npdf(x)


def _silu_size(x):
    """silu' = s + x s (1 - s) crosses zero at -1.28, mish' = tanh(log(1 + exp x)) + x (...) at -1.19."""
    return abs(x) * ref.sigmoid(x) * ref.sigmoid(-x)


def _swish_size(x):
    return _silu_size(1.5 * x)


def _logistic_size(x, y):
    """(1 - y) x and y-weighted terms cancel for soft targets alone."""
    return np.where((y > 0) & (y < 1), np.abs(x) + 1, 0)


def _pos_weight(rng, dtype, shape):
    return _positive(rng, shape[-1], dtype)


def _columns(rng, dtype, shape):
    return rng.choice([0.125, 0.5, 0.75], shape[-1])


def _poisson_size(x, y):
    """exp(x) - y x, and exp(x) - y."""
    wide = x.astype(np.longdouble)
    return np.exp(wide) + np.abs(y * wide) + y


def _rate_size(x, y):
    """x - y log(x), and 1 - y / x."""
    return x + y * np.abs(np.log(x)) + 1 + y / x + np.where(y > 1, y * np.log(np.maximum(y, 1)), 0)


def _kl_size(x, y):
    return y * (np.abs(x) + np.abs(np.log(np.where(y > 0, y, 1))))


def _msle_size(x, y):
    """l = log(1 + x) - log(1 + y), squared, times 2 / (1 + x), and 1 - l."""
    a, b, u = (np.log1p(x.astype(np.longdouble)), np.log1p(y.astype(np.longdouble)), 1 / (1 + x.astype(np.longdouble)))
    larger = np.maximum(a, b)
    return 2 * larger * np.abs(a - b), 2 * larger * u, 2 * (1 + larger) * u**2


def _gaussian_size(x, y, var):
    """log(v) + d^2 / v; 1 - d^2 / v over 2 v; d^2 / v - 1/2 over v^2."""
    v = var.astype(np.longdouble)
    s = (x.astype(np.longdouble) - y) ** 2 / v
    return np.abs(np.log(v)) + s + 1, (1 + s) / v, (1 + s) / v**2


def _ranking_size(x1, x2, y):
    """margin - y (x1 - x2)."""
    size = np.abs(x1 - x2) + 2
    return size, size, size


def _focal_size(x, y):
    """The second derivative alone changes its sign: its terms are at most so many times m^1.5."""
    m = 1 / (1 + np.exp(-x.astype(np.longdouble) * (1 - 2 * y)))
    return 0.0, 0.0, np.minimum(m, 1 - m + 1e-30) * m**1.5 * (1 + np.abs(x)) * 4


_BCE = {
    "name": "binary_cross_entropy_with_logits",
    "family": "elementwise",
    "reference": ref.binary_cross_entropy_with_logits,
    "ulp": LOGISTIC,
    "divides_by": "count",
}

_MATRIX = {"shapes": ((6, 5),), "bench": ((1000, 1000),)}
OPTIMIZERS = (
    *(
        Case(
            name=f"optim.{rule.name}", family="optimizer", reference=rule.reference, inputs=tensors, ulp=STEP,
            params=rule.settings, **({} if rule.elementwise else _MATRIX),
        )
        for rule in RULES
    ),
    *(
        Case(name=f"optim.{rule.step}", family="step", reference=rule.reference, inputs=tensors, ulp=STEP, params=rule.settings)
        for rule in RULES
        if rule.step
    ),
    Case(
        name="optim.SparseAdam", family="sparse", reference=ref_optim.sparse_adam, inputs=tensors, ulp=STEP,
        bench=((10_000, 100),),
    ),
    Case(name="optim.LBFGS", family="closure", reference=ref_optim.lbfgs, inputs=tensors, ulp=STEP, bench=((1000,),)),
    Case(
        name="optim.clip_grad_norm", family="clip", reference=ref_optim.clip_grad_norm, inputs=tensors, ulp=ARITHMETIC,
        params=({"max_norm": 1.0}, {"max_norm": 1e6}, {"max_norm": 0.5, "norm_type": np.inf}),
    ),
)  # fmt: skip

# Rows are computed in float64: float32 results round once; in float64 sums of some terms near 1 round a few times
_LINES = {
    "family": "lines",
    "ulp": Ulp((1, 8), (1, 16), (2, 24)),
    "shapes": ((18, 3), (2, 37)),
    "by": (0,),
    "bench": ((4096, 100),),
}
ROW_LOSSES = (
    Case(
        name="hinge_loss", family="elementwise", reference=ref.hinge_loss, inputs=signed, ulp=ARITHMETIC,
        kinks=(((1.0, 1.0), 0.0, 0.0, 0.0), ((-1.0, -1.0), 0.0, 0.0, 0.0)),
    ),
    Case(
        name="squared_hinge_loss", family="elementwise", reference=ref.squared_hinge_loss, inputs=signed,
        ulp=ARITHMETIC, kinks=(((1.0, 1.0), 0.0, 0.0, 0.0), ((-1.0, -1.0), 0.0, 0.0, 0.0)),
    ),
    Case(name="hinge_loss", label="classes", reference=ref.hinge_loss, inputs=rows_of_scores, **_LINES),
    Case(
        name="squared_hinge_loss", label="classes", reference=ref.squared_hinge_loss, inputs=rows_of_scores, **_LINES
    ),
    Case(
        name="multi_margin_loss", reference=ref.multi_margin_loss, inputs=rows_of_scores,
        params=({}, {"p": 2, "margin": 0.5}), **_LINES,
    ),
    Case(
        name="multilabel_margin_loss", reference=ref.multilabel_margin_loss, inputs=rows_of_labels, **_LINES
    ),
    Case(
        name="cosine_embedding_loss", reference=ref.cosine_embedding_loss, inputs=rows_of_signed_pairs,
        params=({}, {"margin": 0.25}), **_LINES | {"by": (0, 1)},
    ),
    Case(
        name="triplet_margin_loss", reference=ref.triplet_margin_loss, inputs=rows_of_triplets,
        params=({}, {"margin": 2.0, "swap": True, "eps": 0.125}, {"p": 1.0}, {"p": np.inf, "swap": True}, {"p": 3.0}),
        **_LINES | {"by": (0, 1, 2)},
    ),
    Case(name="entropy", reference=ref.entropy, inputs=rows_of_probabilities, **_LINES),
    Case(
        name="entropy", label="logits", reference=ref.entropy, inputs=rows_of_logits, params=({"from_logits": True},),
        **_LINES | {"bench": ()},
    ),
    Case(
        name="brier_score", family="elementwise", reference=ref.brier_score, inputs=probabilities, ulp=ARITHMETIC,
        options=("plain", "mask", "sample_weight"),
    ),
    Case(name="brier_score", label="classes", reference=ref.brier_score, inputs=rows_of_predictions, **_LINES),
    Case(name="brier_score", label="rows", reference=ref.brier_score, inputs=rows_of_distributions, **_LINES | {"bench": ()}),
    Case(
        name="pairwise_distance", reference=ref.pairwise_distance, inputs=rows_of_pairs,
        params=({"eps": 0.125}, {"p": 1.5}), **_LINES | {"family": "pairs", "by": (0, 1)},
    ),
    Case(
        name="cosine_similarity", reference=ref.cosine_similarity, inputs=rows_of_pairs,
        **_LINES | {"family": "pairs", "by": (0, 1)},
    ),
)  # fmt: skip

CASES = (
    Case(name="sigmoid", family="activation", reference=ref.sigmoid, inputs=one, ulp=SIGMOID),
    Case(name="tanh", family="activation", reference=ref.tanh, inputs=one, ulp=TANH),
    Case(
        name="relu", family="activation", reference=ref.relu, inputs=one, ulp=EXACT,
        kinks=(((0.0,), 0.0, 0.0), ((-0.0,), 0.0, 0.0)),
    ),
    Case(
        name="gelu", family="activation", reference=ref.gelu, inputs=one, ulp=GELU, size=_gelu_size,
        params=({}, {"approximate": "tanh"}),
    ),
    *(
        Case(name=name, family="activation", reference=getattr(ref, name), inputs=one, ulp=ulp, size=size, params=params)
        for name, ulp, size, params in (
            ("silu", EXPONENTIAL, _silu_size, ({},)),
            ("mish", MISH, _silu_size, ({},)),
            ("swish", Ulp((3, 3), (4, 4)), _swish_size, ({"beta": 1.5},)),
            ("softplus", EXPONENTIAL, None, ({}, {"beta": 2.5}, {"beta": 0.5, "threshold": 1.25})),
            ("logsigmoid", EXPONENTIAL, None, ({},)),
            ("celu", EXPONENTIAL, None, ({}, {"alpha": 1.5})),
            ("softsign", Ulp((1.5, 1.5), (3, 3)), None, ({},)),
            ("linear", EXACT, None, ({},)),
            ("srelu", LINES, None, ({"t_left": -1.0, "a_left": 0.25, "t_right": 1.0, "a_right": 0.5},)),
        )
    ),
    Case(name="gaussian", family="activation", reference=ref.gaussian, inputs=moderate, ulp=EXPONENTIAL),
    Case(name="tanhshrink", family="activation", reference=ref.tanhshrink, inputs=moderate, ulp=EXPONENTIAL),
    *(
        Case(
            name=name, family="activation", reference=getattr(ref, name), inputs=one, ulp=ulp, params=(params,),
            kinks=kinks,
        )
        for name, ulp, params, kinks in (
            ("relu6", EXACT, {}, (((0.0,), 0.0, 0.0), ((6.0,), 6.0, 0.0))),
            ("leaky_relu", LINES, {"negative_slope": 0.375}, (((0.0,), 0.0, 0.375),)),
            ("elu", EXPONENTIAL, {"alpha": 1.5}, (((0.0,), 0.0, 1.5),)),
            ("selu", EXPONENTIAL, {}, (((0.0,), 0.0, 1.7580993408473766),)),
            ("hardtanh", EXACT, {"min_val": -1.0, "max_val": 2.0}, (((-1.0,), -1.0, 0.0), ((2.0,), 2.0, 0.0))),
            ("hardsigmoid", LINES, {}, (((-3.0,), 0.0, 0.0), ((3.0,), 1.0, 0.0))),
            ("hardswish", LINES, {}, (((-3.0,), 0.0, 0.0), ((3.0,), 3.0, 1.0))),
            ("softshrink", LINES, {}, (((-0.5,), 0.0, 0.0), ((0.5,), 0.0, 0.0))),
            ("hardshrink", EXACT, {"lambd": 1.0}, (((-1.0,), 0.0, 0.0), ((1.0,), 0.0, 0.0))),
            ("threshold", EXACT, {"threshold": 1.0, "value": -7.0}, (((1.0,), -7.0, 0.0),)),
            ("step", EXACT, {}, (((0.0,), 1.0, 0.0),)),
            ("prelu", LINES, {"weight": 0.375}, (((0.0,), 0.0, 0.375),)),
        )
    ),
    Case(
        name="prelu", family="activation", label="channels", reference=ref.prelu, inputs=without_zeros,
        ulp=LINES, shapes=((5, 7),), params=({"weight": _pos_weight},), bench=(),
    ),
    *(
        Case(
            name=name, family="several", reference=getattr(ref, name), inputs=normal, ulp=EXPONENTIAL,
            shapes=((4, 6),), params=params, bench=((1000, 1000),),
        )
        for name, params in (
            ("rrelu", ({}, {"lower": 0.25, "upper": 0.5})),
            ("crelu", ({}, {"axis": 0})),
            ("glu", ({}, {"axis": 0})),
            ("maxout", ({}, {"pool_size": 2}, {"pool_size": 2, "axis": 0})),
        )
    ),
    Case(
        name="mse_loss", family="elementwise", reference=ref.mse_loss, inputs=pair, ulp=ARITHMETIC,
        shapes=((67,), (5, 7)), options=ELEMENTWISE,
    ),
    Case(
        **_BCE, inputs=binary, options=ELEMENTWISE, shapes=((67,), (5, 7)),
        params=({}, {"pos_weight": 2.5}, {"pos_weight": _pos_weight}),
    ),
    Case(
        **_BCE, inputs=soft_binary, label="soft", size=_logistic_size, params=({}, {"pos_weight": 0.5}),
        bench=(),
    ),
    Case(
        name="l1_loss", family="elementwise", reference=ref.l1_loss, inputs=pair, ulp=ARITHMETIC,
        kinks=(((0.0, 0.0), 0.0, 0.0, 0.0),), options=("plain", "both_weights_and_mask"),
    ),
    Case(
        name="smooth_l1_loss", family="elementwise", reference=ref.smooth_l1_loss, inputs=pair, ulp=DIVIDED,
        params=({}, {"beta": 2.5}), kinks=(((1.0, 0.0), 0.5, 1.0, 0.0),),
    ),
    Case(
        name="huber_loss", family="elementwise", reference=ref.huber_loss, inputs=pair, ulp=DIVIDED,
        params=({}, {"delta": 2.5}), kinks=(((1.0, 0.0), 0.5, 1.0, 1.0),), options=("plain", "weight"),
    ),
    Case(
        name="msle_loss", family="elementwise", reference=ref.msle_loss, inputs=two_positive, ulp=LOGARITHM,
        size=_msle_size,
    ),
    Case(
        name="log_cosh_loss", family="elementwise", reference=ref.log_cosh_loss, inputs=pair, ulp=LOGISTIC,
    ),
    Case(
        name="quantile_loss", family="elementwise", reference=ref.quantile_loss, inputs=pair, ulp=ARITHMETIC,
        shapes=((5, 7),), params=({}, {"q": 0.75}, {"q": _columns}), kinks=(((0.0, 0.0), 0.0, 0.0, 0.0),),
    ),
    Case(
        name="poisson_nll_loss", family="elementwise", reference=ref.poisson_nll_loss, inputs=log_rates,
        ulp=LOGARITHM, size=_poisson_size, params=({}, {"full": True}),
    ),
    Case(
        name="poisson_nll_loss", family="elementwise", reference=ref.poisson_nll_loss, inputs=rates, label="rates",
        ulp=LOGARITHM, size=_rate_size, bench=(),
        params=({"log_input": False, "eps": 2.0**-20}, {"log_input": False, "full": True, "eps": 0.0}),
    ),
    Case(
        name="gaussian_nll_loss", family="pair", reference=ref.gaussian_nll_loss, inputs=with_variance, by=(0, 2),
        ulp=LOGARITHM, params=({}, {"full": True, "eps": 0.03125}), size=_gaussian_size,
    ),
    Case(
        name="binary_cross_entropy", family="elementwise", reference=ref.binary_cross_entropy, inputs=probabilities,
        ulp=LOGARITHM, options=("plain", "weight"), divides_by="count",
    ),
    Case(
        name="sigmoid_focal_loss", family="elementwise", reference=ref.sigmoid_focal_loss, inputs=binary, ulp=POWER,
        params=({}, {"alpha": -1.0, "gamma": 1.5}), size=_focal_size,
    ),
    Case(
        name="kl_div", family="elementwise", reference=ref.kl_div, inputs=log_and_probability, ulp=LOGARITHM,
        size=_kl_size,
    ),
    Case(
        name="kl_div", family="elementwise", reference=ref.kl_div, inputs=two_logs, label="logs", ulp=LOGARITHM,
        params=({"log_target": True},), bench=(), size=lambda x, y: (0.0, 0.0, 1e-30),  # numerical differentiation's own
    ),
    Case(
        name="multilabel_soft_margin_loss", family="rows", reference=ref.multilabel_soft_margin_loss, inputs=binary,
        ulp=LOGISTIC, shapes=((5,), (67, 5)), options=("plain", "class_weight", "row_mask", "sample_weight"),
        bench=((4096, 1000),),
    ),
    Case(
        name="hinge_embedding_loss", family="elementwise", reference=ref.hinge_embedding_loss, inputs=signed,
        ulp=ARITHMETIC, params=({}, {"margin": 2.5}),
        kinks=(((1.0, -1.0), 0.0, -1.0, 0.0), ((1.0, 1.0), 1.0, 1.0, 0.0)),
    ),
    Case(
        name="margin_ranking_loss", family="pair", reference=ref.margin_ranking_loss, inputs=ranked, by=(0, 1),
        ulp=ARITHMETIC, params=({}, {"margin": 1.5}), size=_ranking_size,
    ),
    Case(
        name="soft_margin_loss", family="elementwise", reference=ref.soft_margin_loss, inputs=signed, ulp=LOGISTIC,
    ),
    Case(
        name="soft_margin_loss", family="elementwise", reference=ref.soft_margin_loss, inputs=scaled_pair,
        label="any target", ulp=LOGISTIC, bench=(),
    ),
    Case(
        name="exponential_loss", family="elementwise", reference=ref.exponential_loss, inputs=scaled_pair,
        ulp=LOGISTIC,
    ),
    Case(
        name="softmax", family="softmax", reference=ref.softmax, inputs=logits, ulp=ROWS,
        shapes=ROW_SHAPES, params=AXES, options=("plain", "mask"),
        bench=((32, 10), (4096, 1000), (1_000_000, 10)),
    ),
    Case(
        name="log_softmax", family="softmax", reference=ref.log_softmax, inputs=logits, ulp=ROWS,
        shapes=ROW_SHAPES, params=AXES, options=("plain", "mask"),
        bench=((32, 10), (4096, 1000), (1_000_000, 10)),
    ),
    Case(
        name="softmin", family="softmax", reference=ref.softmin, inputs=logits, ulp=ROWS,
        shapes=ROW_SHAPES, params=AXES, options=("plain", "mask"), bench=((4096, 1000),),
    ),
    Case(
        name="hardmax", family="softmax", reference=ref.hardmax, inputs=logits, ulp=EXACT,
        shapes=ROW_SHAPES, params=AXES, bench=((4096, 1000),),
    ),
    Case(
        name="logsumexp", family="softmax", reference=ref.logsumexp, inputs=logits, ulp=Ulp((1, 2)),
        shapes=ROW_SHAPES, params=AXES, options=("plain", "keepdims", "scale", "signed"),
        bench=((32, 10), (4096, 1000), (1_000_000, 10)),
    ),
    Case(
        name="cross_entropy", family="rows", reference=ref.cross_entropy, inputs=classes, ulp=ROWS,
        shapes=ROW_SHAPES,
        options=(
            "plain", "class_weight", "ignore", "smooth", "z_loss", "row_mask", "sample_weight", "last_axis",
            "all_of_indices",
        ),
        bench=((32, 10), (128, 1000), (4096, 1000), (1_000_000, 10)),
    ),
    Case(
        name="cross_entropy", family="rows", reference=ref.cross_entropy, inputs=distributions, ulp=ROWS,
        label="probabilities", shapes=ROW_SHAPES,
        options=("plain", "class_weight", "smooth", "row_mask", "last_axis", "all_of_probabilities"),
        bench=((4096, 1000),),
    ),
    Case(
        name="focal_cross_entropy", family="rows", reference=ref.focal_cross_entropy, inputs=classes, ulp=POWER, shapes=ROW_SHAPES,
        params=({}, {"gamma": 0.5}), options=("plain", "smooth", "last_axis", "all_of_focal"), bench=((128, 1000), (4096, 1000)),
    ),
    Case(
        name="focal_cross_entropy", family="rows", reference=ref.focal_cross_entropy, inputs=distributions, ulp=POWER,
        label="probabilities", shapes=ROW_SHAPES, options=("plain", "class_weight", "row_mask"), bench=((4096, 1000),),
    ),
    Case(
        name="nll_loss", family="rows", reference=ref.nll_loss, inputs=log_probabilities, ulp=EXACT,
        shapes=ROW_SHAPES,
        options=("plain", "class_weight", "ignore", "row_mask", "sample_weight", "last_axis", "all_of_nll"),
        bench=((4096, 1000),),
    ),
    Case(
        name="ctc_loss", family="sequence", reference=ref.ctc_loss, inputs=sequences, ulp=SEQUENCES, shapes=((13, 4, 6),),
        bench=((50, 4, 30), (200, 32, 64), (150, 16, 5000)),
    ),
    Case(
        name="linear_cross_entropy", family="linear", reference=ref.linear_cross_entropy, inputs=linear_classes, ulp=LINEAR,
        shapes=((7, 5, 6),), bench=((128, 64, 1000), (1024, 64, 20_000)),
    ),
    Case(
        name="adaptive_log_softmax_with_loss", family="linear", reference=ref.adaptive_log_softmax_with_loss,
        inputs=adaptive_classes, ulp=LINEAR, shapes=((7, 8, 20),), bench=((128, 64, 20_000),),
    ),
    *ROW_LOSSES,
    *OPTIMIZERS,
)  # fmt: skip

# Public names that compute nothing: their tests are in test_package.py and test_threads.py.
CONTROL = {
    "Partial", "chunked", "objectives", "optim", "schedules", "backend", "set_backend", "get_backend", "get_include", "threads", "set_num_threads",
    "get_num_threads", "show_config", "custom_loss", "custom_activation",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scenario:
    """A case at one shape, with one set of parameters and one option."""

    case: Case
    shape: tuple
    number: int  # of the parameters
    option: str

    @property
    def id(self):
        shape = "x".join(map(str, self.shape))
        parts = self.case.name, self.case.label, shape, f"p{self.number}", self.option
        return "-".join(part for part in parts if part)

    def call(self, dtype):
        """(arguments, keywords) of the public call: fresh arrays, the same on every run."""
        dtype = np.dtype(dtype)
        rng = np.random.default_rng(crc32(f"{self.case.name}{self.case.label}{self.shape}".encode()))
        arguments = self.case.inputs(rng, dtype, self.shape)
        parameters = {
            name: value(rng, dtype, self.shape) if callable(value) else value
            for name, value in self.case.params[self.number].items()
        }
        arguments, keywords = OPTIONS[self.option](rng, arguments)
        return arguments, parameters | keywords

    @cache  # noqa: B019  scenarios live as long as the run
    @one_at_a_time
    def expected(self, dtype):
        """Terms of a loss; (value, derivative, size) of an activation; otherwise the result."""
        arguments, keywords = self.call(dtype)
        if self.case.family in ("softmax", "rows", "several"):
            return self.case.reference(*arguments, **keywords)
        names = self.case.params[self.number]
        parameters = {name: keywords.pop(name) for name in names}
        size = self.case.size
        if self.case.family == "activation":
            value, slope = _derivatives(self.case, 1, arguments, parameters)
            sizes = 0.0 if size is None else np.frompyfunc(size, 1, 1)(ref.lift(arguments[0]))
            return value, slope, sizes
        terms = []
        for number in self.case.by:
            derived = _derivatives(self.case, 2, arguments, parameters, number)
            size = self.case.sizes(*arguments)
            terms.append(ref.elementwise(derived, divides_by=self.case.divides_by, size=size[1], hess_size=size[2], **keywords))
        return terms[0] if len(terms) == 1 else terms[0].stacked(terms[1])

    @cache  # noqa: B019
    @one_at_a_time
    def wide(self, dtype, reduction=None):
        """What is expected, in longdouble; of a loss with that reduction (value, grad, hess, sizes of these two)."""
        expected = self.expected(dtype)
        if reduction is not None:
            expected = expected.reduced(reduction)
        return tuple(map(widen, expected)) if isinstance(expected, tuple) else widen(expected)


_MEMO = {}


def _derivatives(case, order, arguments, parameters, by=0):
    """reference.derivatives by that argument, kinks as stated; once for the same numbers, since options repeat them."""
    numbers = (*arguments, *(np.asarray(v) for v in parameters.values()))
    key = case.name, order, by, *parameters, *(n.tobytes() for n in numbers)
    if key not in _MEMO:
        derived = ref.derivatives(case.reference, order, *arguments, by=by, **parameters)
        for at, *stated in case.kinks:
            here = np.logical_and.reduce([a == k for a, k in zip(arguments, at)])
            for output, value in zip(derived, stated):
                output[here] = ref.mp.mpf(value)
        _MEMO[key] = derived
    return _MEMO[key]


def _makes_sense(shape, params, option):
    """One axis has no pair of axes; a single row has no rows to weigh or to ignore."""
    of_many_rows = "row_mask", "sample_weight", "ignore", "all_of_"
    pair_of_axes = isinstance(params.get("axis"), tuple)
    return len(shape) > 1 or not (pair_of_axes or option.startswith(of_many_rows))


SCENARIOS = [
    Scenario(case, shape, number, option)
    for case in CASES
    for shape in case.shapes
    for number, params in enumerate(case.params)
    for option in case.options
    if _makes_sense(shape, params, option)
]


def scenarios(*families):
    """The scenarios of the families, in the table's order."""
    return [scenario for scenario in SCENARIOS if scenario.case.family in families]
