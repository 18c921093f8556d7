"""The public functions inside numba.njit: what they give and refuse, and that a second process compiles nothing."""

import json
import pickle
from importlib.metadata import entry_points

import numpy as np
import pytest

import fastloss as fl
from tests.oracle import oracle
from tests.ulp import assert_close

numba = oracle("numba")

from fastloss import _numba
from fastloss._numba import plans

_numba.register()
njit, prange, TypingError = numba.njit, numba.prange, numba.core.errors.TypingError

PROCESS = "backend get_backend get_include get_num_threads set_backend set_num_threads show_config threads"
OUTSIDE = {  # and why
    **dict.fromkeys(PROCESS.split(), "whole process"), "chunked": "files", "optim.clip_grad_norm": "trees of Python's containers",
    **dict.fromkeys(("custom_activation", "custom_loss", *(f"schedules.{name}" for name in fl.schedules.__all__)), "makes or keeps a Python object"),
    **dict.fromkeys((f"optim.{name}" for name in fl.optim.__all__ if name[0].isupper()), "makes or keeps a Python object"),
}  # fmt: skip
RNG = np.random.default_rng(7)
X, Y, G = (RNG.standard_normal((6, 5)) for _ in range(3))
P, LABELS, WEIGHT = RNG.uniform(0.1, 0.9, (6, 5)), np.array([0, 4, -100, 2, 1, 3]), RNG.uniform(0.5, 2, 5)


def by_python(function, *args):
    """What Python's calls give, on the same kernels."""
    with fl.backend("numba"):
        return function.py_func(*args)


def check(got, want):
    """The same structure; numbers within 2 ULP, which compiled formulas of single numbers may differ by."""
    if isinstance(want, tuple):
        assert len(got) == len(want)
        for pair in zip(got, want, strict=True):
            check(*pair)
    elif isinstance(want, fl.Partial):
        assert got == want
    elif want is not None:
        if isinstance(want, np.ndarray):
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert_close(np.asarray(got, getattr(want, "dtype", float)), want, 2)


def test_every_public_function_compiles_or_is_named_with_its_reason():
    outside = {name: plans.reason(function) for name, function in _numba.OBJECTS.items() if plans.planner(function) is None}
    assert outside.keys() == OUTSIDE.keys()
    assert all(OUTSIDE[name] in why for name, why in outside.items())


@njit
def activations(x, g, w):
    return (
        fl.sigmoid(x), fl.tanh(x), fl.relu(x), fl.leaky_relu(x, 0.3), fl.prelu(x, w), fl.elu(x, alpha=0.5), fl.srelu(x, -0.5, 0.1, 0.5, w),
        fl.softplus(x, 2.0), fl.hardtanh(x, -0.5, 0.5), fl.softshrink(x, lambd=0.25), fl.gelu(x, approximate="tanh"), fl.silu(x, where=x > 0),
        fl.gelu.grad(x), fl.gelu.backward(g, x), fl.prelu.backward_weight(g, x, w),
    )  # fmt: skip


def test_activations_of_arrays():
    check(activations(X, G, WEIGHT), by_python(activations, X, G, WEIGHT))


@njit
def numbers(x):
    return fl.relu(x), fl.gelu(x), fl.gelu.grad(x), fl.silu.backward(2.0, x), fl.leaky_relu(x, negative_slope=0.3), fl.swish.backward_beta(1.0, x, 0.5)


@pytest.mark.parametrize("x", [0.3, -1.5, np.float32(0.7), np.nan, -np.inf])
def test_activations_of_numbers(x):
    want = by_python(numbers, x)
    check(tuple(type(w)(v) for v, w in zip(numbers(x), want, strict=True)), want)


@njit
def losses(x, y, p, sign, w, rows, mask):
    return (
        fl.mse_loss.value_and_grad(x, y, weight=w), fl.l1_loss.value_and_grad(x, y, sample_weight=rows),
        fl.huber_loss.value_and_grad(x, y, delta=2.0, where=mask), fl.log_cosh_loss.value_and_grad(x, 0.5),
        fl.quantile_loss.value_and_grad(x, y, q=0.1), fl.poisson_nll_loss.value_and_grad(p, p, log_input=False, full=True),
        fl.binary_cross_entropy_with_logits.value_and_grad(x, p, pos_weight=w), fl.sigmoid_focal_loss.value_and_grad(x, p, gamma=1.5),
        fl.hinge_loss.value_and_grad(x, sign), fl.gaussian_nll_loss.value_and_grad(x, y, p),
        fl.margin_ranking_loss.value_and_grad(x, y, sign, margin=0.1), fl.multilabel_soft_margin_loss.value_and_grad(x, p),
    )  # fmt: skip


@njit
def forms(x, y, up, out):
    sums = fl.mse_loss.partial(x[:4], y[:4]) + fl.mse_loss.partial(x[4:], y[4:])
    fl.huber_loss.grad(x, y, delta=0.5, reduction="none", upstream=up, out=out)
    return (
        fl.huber_loss(x, y, reduction="none"), fl.mse_loss.value_grad_hess(x, y, reduction="sum"),
        sums, sums.loss_sum, sums.result("mean"), fl.mse_loss(x[:0], y[:0], empty=0.5), fl.mse_loss(x[0, 0], 1.0), out,
    )  # fmt: skip


SIGN = np.where(X > 0, 1.0, -1.0)


def test_elementwise_losses():
    arguments = (X, Y, P, SIGN, WEIGHT, np.arange(6.0), X > 0)
    check(losses(*arguments), by_python(losses, *arguments))


def test_forms_of_a_call_and_partial_sums():
    x, y = np.asfortranarray(X), Y[:, ::-1]
    check(forms(x, y, P, np.empty((6, 5))), by_python(forms, x, y, P, np.empty((6, 5))))


@njit
def rows(x, labels, weight, g):
    y = fl.softmax(x, 1)
    return (
        y, fl.log_softmax(x, axis=0), fl.softmin(x), fl.hardmax(x, axis=-1), fl.logsumexp(x, axis=1), fl.logsumexp(x),
        fl.logsumexp(x, axis=0, keepdims=True), fl.softmax.backward(g, y, axis=1), fl.cross_entropy.value_and_grad(x, labels),
        fl.cross_entropy(x, labels, weight, label_smoothing=0.1, z_loss=0.01), fl.focal_cross_entropy(x, labels, gamma=1.5),
        fl.nll_loss(x, labels, weight=weight),
        fl.cross_entropy.value_and_grad(x, y, sample_weight=x[:, 0], where=x[:, 1] > 0),
    )  # fmt: skip


def test_rows():
    check(rows(X, LABELS, WEIGHT, G), by_python(rows, X, LABELS, WEIGHT, G))


@njit
def whole_rows(x, y, z, labels, lists, signs, p, weight, rows):
    return (
        fl.multi_margin_loss.value_and_grad(x, labels, weight, p=2, sample_weight=rows), fl.multilabel_margin_loss.value_and_grad(x, lists),
        fl.cosine_embedding_loss.value_and_grad(x, y, signs, margin=0.1, where=signs > 0), fl.hinge_loss.value_and_grad(x, labels),
        fl.triplet_margin_loss.value_grad_hess(x, y, z, p=3.0, swap=True),
        fl.entropy(p, axis=0), fl.brier_score.value_and_grad(p, labels), fl.brier_score.value_and_grad(p, p[::-1]), fl.brier_score(p[0], labels[0]),
        fl.pairwise_distance(x, y[0], p=1.0, keepdims=True), fl.cosine_similarity.backward(x[0], x, y, axis=0), fl.cosine_similarity(x[0], y[0]),
    )  # fmt: skip


CLASSES, SIGNS, LISTS = np.array([0, 4, 1, 2, 1, 3]), np.array([1, -1, 1, 1, -1, -1]), np.tile([0, 3, -1, 1, 1], (6, 1))
PROBABILITIES = P / P.sum(axis=1, keepdims=True)


def test_whole_rows():
    arguments = X, Y, G, CLASSES, LISTS, SIGNS, PROBABILITIES, WEIGHT, np.arange(6.0)
    check(whole_rows(*arguments), by_python(whole_rows, *arguments))


@njit
def singles(x, y, labels):
    out = np.empty_like(x)
    return (
        fl.gelu(x), fl.relu(x[0, 0]), fl.huber_loss.value_and_grad(x, y, out=(None, out)), out, fl.cross_entropy.value_and_grad(x, labels),
        fl.hinge_loss.value_and_grad(x, labels),
    )  # fmt: skip


def test_float32():
    arguments = X.astype(np.float32), Y.astype(np.float32), CLASSES
    check(singles(*arguments), by_python(singles, *arguments))


@pytest.mark.parametrize(("labels", "lists", "signs", "error", "words"), [
    (CLASSES + 1, LISTS, SIGNS, IndexError, "no class"), (CLASSES, LISTS + 2, SIGNS, IndexError, "neither a class nor -1"),
    (CLASSES, LISTS, 2 * SIGNS, ValueError, "-1 or 1"), (CLASSES[:3], LISTS, SIGNS, ValueError, "class axis"),
])  # fmt: skip
def test_bad_targets_of_whole_rows(labels, lists, signs, error, words):
    with pytest.raises(error, match=words):
        whole_rows(X, Y, G, labels, lists, signs, PROBABILITIES, WEIGHT, np.arange(6.0))


@njit
def along(x, g, rng):
    wide = fl.crelu(x, axis=0)
    return (
        wide, fl.crelu.backward(wide, x, 0), fl.glu(wide, 0), fl.glu.backward(g, wide, axis=0), fl.maxout(x, 3, axis=0), fl.maxout(x, axis=1),
        fl.maxout.backward(g[:2], x, 3, 0), fl.rrelu(x, 0.1, 0.2), fl.rrelu(x, rng=rng), fl.rrelu.backward(g, x),
    )  # fmt: skip


def test_activations_that_join_elements():
    check(along(X, G, np.random.default_rng(3)), by_python(along, X, G, np.random.default_rng(3)))


@njit
def sequences(x, targets, flat, frames, lengths, where):
    out = np.zeros_like(x)
    return (
        fl.ctc_loss.value_and_grad(x, targets, frames, lengths, from_logits=True, out=(None, out)), out, fl.ctc_loss.partial(x, flat, frames, lengths),
        fl.ctc_loss(x, targets, frames, lengths, blank=4, reduction="none", where=where), fl.ctc_loss(x[:, 0], flat[:2], 6, 2, zero_infinity=True),
    )  # fmt: skip


def test_sequences():
    x = fl.log_softmax(RNG.standard_normal((6, 3, 5)), axis=-1)
    arguments = x, np.array([[1, 2, 0], [3, 3, 1], [0, 0, 0]]), np.array([1, 2, 3, 3, 1]), np.array([6, 5, 4]), np.array([2, 3, 0]), np.array([True, False, True])
    check(sequences(*arguments), by_python(sequences, *arguments))


@njit
def layers(x, w, bias, labels, head, tails):
    return (
        fl.linear_cross_entropy.value_and_grad(x, w, labels, linear_bias=bias, label_smoothing=0.1), fl.linear_cross_entropy.partial(x, w, labels),
        fl.adaptive_log_softmax_with_loss.value_and_grad(x, labels % 5, head, tails, (1, 3)), fl.adaptive_log_softmax_with_loss.log_prob(x, head, tails, (1, 3)),
        fl.adaptive_log_softmax_with_loss.predict(x, head, tails, (1, 3), head_bias=bias[:3]),
    )  # fmt: skip


def test_layers():
    """But for the matrix products, which Numba leaves to SciPy's BLAS."""
    x = np.where(LABELS[:, None] < 0, np.nan, X)        # rows that take no part may hold anything
    w, head = RNG.standard_normal((5, 5)), RNG.standard_normal((3, 5))
    tails = tuple((RNG.standard_normal((2, 5)), RNG.standard_normal((2, 2))) for _ in range(2))
    for got, want in zip(layers(x, w, WEIGHT, LABELS, head, tails), by_python(layers, x, w, WEIGHT, LABELS, head, tails), strict=True):
        assert_close_trees(got, want)


def assert_close_trees(got, want):
    if isinstance(want, tuple | list):
        assert type(got) is type(want) and len(got) == len(want)
        for pair in zip(got, want, strict=True):
            assert_close_trees(*pair)
    elif isinstance(want, fl.Partial):
        np.testing.assert_allclose(got.to_array(), want.to_array(), rtol=1e-12)
    elif want is not None:
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


S = fl.schedules
STEP, DECAY, CAPPED, AT = S.step_decay(0.5, 10), S.exponential_decay(1.0, 0.9), S.exponential_decay(1.0, 0.9, end=0.5), S.multistep(1.0, [2, 5])
COSINE, AGAIN, LONGER = S.cosine(1.0, 4), S.cosine(1.0, 4, restart=1), S.cosine(1.0, steps=2, restart=2)
ONCE, GROWING = S.one_cycle(1.0, steps=9, pct_start=1 / 3), S.sutskever_momentum(0.99)
JOINED = S.join([S.linear_warmup(COSINE, 3), 0.25, S.linear_warmup(1.0, 2)], [5, 7])


@njit
def scheduled(step, other):
    return STEP(step), DECAY(step), CAPPED(step), AT(step), COSINE(step), AGAIN(step), LONGER(step), ONCE(step), GROWING(step), JOINED(step), other(step)


def test_schedules():
    for step in range(12):
        for got, want in zip(scheduled(step, JOINED), scheduled.py_func(step, JOINED), strict=True):
            assert got == pytest.approx(want, rel=1e-15, abs=1e-16)
    assert pickle.loads(pickle.dumps(numba.typeof(JOINED))) == numba.typeof(S.join(JOINED.schedules, JOINED.boundaries))


def cauchy(x, y, scale=1.0, shift=0.0, power=1.0):
    t = (x - y - shift) / scale
    return power * t * t / (1.0 + t * t)


CAUCHY, LEAKY = fl.custom_loss(cauchy), fl.custom_activation("lambda x, slope=0.1: x if x > 0 else slope * x", name="leaky")


@njit
def custom(x, y, weight):
    return (
        CAUCHY.value_and_grad(x, y, scale=2.0, weight=weight), CAUCHY.value_grad_hess(x, y, power=0.5, shift=x[0, 0], reduction="sum"),
        LEAKY(x, 0.3), LEAKY.grad(x), LEAKY(-1.0),
    )  # fmt: skip


def test_custom_formulas():
    check(custom(X, Y, WEIGHT), by_python(custom, X, Y, WEIGHT))
    assert pickle.loads(pickle.dumps(numba.typeof(CAUCHY))) == numba.typeof(fl.custom_loss(cauchy))


def test_bad_class_raises_index_error():
    with pytest.raises(IndexError, match="target"):
        rows(X, LABELS + 1, WEIGHT, G)


def test_shapes_that_do_not_fit_raise_value_error():
    with pytest.raises(ValueError, match="target"):
        losses(X, Y[:3], P, SIGN, WEIGHT, np.arange(6.0), X > 0)
    with pytest.raises(ValueError, match="sample_weight"):
        losses(X, Y, P, SIGN, WEIGHT, np.arange(5.0), X > 0)
    with pytest.raises(ValueError, match="target must be -1 or 1"):
        losses(X, Y, P, 2 * SIGN, WEIGHT, np.arange(6.0), X > 0)


@njit
def fit(w, x, y, m, v):
    """Ten steps; the losses after them, in parallel."""
    for t in range(1, 11):
        value, grad = fl.huber_loss.value_and_grad(x @ w, y, delta=1.5)
        fl.optim.adam_step(w, x.T @ grad, m, v, step=t, lr=0.1, weight_decay=0.01)
        fl.optim.sgd_step(w, x.T @ grad, lr=1e-3)
    return value


def test_training_is_that_of_python():
    """But for the matrix products, which Numba leaves to SciPy's BLAS: a few ULP a step, over ten steps."""
    w, m, v = np.zeros((3, 5))
    mine, theirs = [(w.copy(), m.copy(), v.copy()) for _ in range(2)]
    got = fit(mine[0], X, Y[:, 0].copy(), *mine[1:])
    want = by_python(fit, theirs[0], X, Y[:, 0].copy(), *theirs[1:])
    np.testing.assert_allclose([got, *np.ravel(mine)], [want, *np.ravel(theirs)], rtol=1e-12)


@njit(parallel=True)
def in_parallel(x):
    out = np.empty_like(x)
    for i in prange(len(x)):
        out[i] = fl.gelu(x[i])
    return out


def test_users_own_parallel_loop():
    check(in_parallel(X), np.stack([fl.gelu(row) for row in X]))


@njit
def called(loss, x):
    return loss(x)


def test_a_function_is_an_argument():
    assert called(fl.relu, -1.0) == 0.0 and called(fl.tanh, 0.0) == 0.0
    assert pickle.loads(pickle.dumps(numba.typeof(fl.relu))) == numba.typeof(fl.relu)


@pytest.mark.parametrize(("program", "reason"), [
    (lambda x: fl.mse_loss(x, x, reduction=str(len(x))), "reduction must be a constant"),
    (lambda x: fl.mse_loss(x, x, reduction="median"), "reduction is 'median'"),
    (lambda x: fl.mse_loss(x), "missing a required argument"),
    (lambda x: fl.mse_loss(x, x, size_average=True), "size_average"),
    (lambda x: fl.relu(x > 0), "x has type"),
    (lambda x: fl.softmax(x, axis=(0, 1)), "axis must be"),
    (lambda x: fl.cross_entropy(x, x[0]), "target has type"),
    (lambda x: fl.get_num_threads(), "does not compile inside Numba: it sets or tells"), (lambda x: fl.optim.Adam(x), "keeps a Python object"),
    (lambda x: fl.ctc_loss.value_grad_hess(x, LABELS, 6, 6), "no value_grad_hess"),
    (lambda x: fl.optim.sgd_step(x, x), "lr"),
    (lambda x: fl.huber_loss(x, x, delta=-1), "delta"),
])  # fmt: skip
def test_what_is_refused_names_the_argument(program, reason):
    with pytest.raises(TypingError, match=reason):
        njit(program)(X)


PROGRAM = """
import json, sys
sys.path.insert(0, {folder!r})
from fastloss._numba import register
register()
import user
value = user.work()
stats = user.work.stats
print(json.dumps([value, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""
USER = """
import numba, numpy as np, fastloss as fl

WELSCH = fl.custom_loss("lambda x, y: 1 - 1 / (1 + (x - y) ** 2)")
RATE = fl.schedules.cosine(1.0, 10)

@numba.njit(cache=True)
def work():
    x = np.arange(4.0)
    value, grad = fl.huber_loss.value_and_grad(x, 0.0, delta=2.0)
    return value + fl.silu(grad).sum() + fl.relu(-1.0) + WELSCH(x, 0.5) + RATE(3)
"""


def test_a_second_process_compiles_nothing(python, tmp_path):
    (tmp_path / "user.py").write_text(USER)
    program, cache = PROGRAM.format(folder=str(tmp_path)), str(tmp_path / "cache")
    value, hits, misses = json.loads(python(program, NUMBA_CACHE_DIR=cache))
    assert (hits, misses) == (0, 1)
    assert json.loads(python(program, NUMBA_CACHE_DIR=cache)) == [value, 1, 0]


def test_numba_finds_the_entry_point():
    points = {point.name: point.value for point in entry_points(group="numba_extensions") if point.value.startswith("fastloss")}
    if not points:
        pytest.skip("fastloss was installed before it had one")
    assert points == {"init": "fastloss._numba:register"}
