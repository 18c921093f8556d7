"""What holds for any input: shift, sum, permutation, merging, scale."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import fastloss as fl
from tests.cases import scenarios
from tests.ulp import assert_close

FLOATS = {
    np.float32: st.floats(-80, 80, width=32),
    np.float64: st.floats(-600, 600),
}


@st.composite
def rows(draw, dtype=None):
    """Logits (N, C) and a class for each row."""
    dtype = draw(st.sampled_from([np.float32, np.float64])) if dtype is None else dtype
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=70))
    x = draw(arrays(dtype, shape, elements=FLOATS[dtype]))
    return x, draw(arrays(np.int64, shape[:1], elements=st.integers(0, shape[1] - 1)))


@given(rows(), st.integers(-64, 64))
def test_softmax_ignores_a_shift(batch, shift):
    """Adding a number that rounds nothing (an integer to integers) changes results within their bounds: 3 ULP, twice."""
    x = np.rint(batch[0])
    moved = x + x.dtype.type(shift)
    for f in (fl.softmax, fl.log_softmax, fl.softmin):
        np.testing.assert_array_max_ulp(f(moved, axis=1), f(x, axis=1), 6)


@given(rows(), st.integers(-64, 64))
def test_softmax_stays_in_its_range(batch, shift):
    """A single class has probability 1, and no probability or its logarithm exceeds that of certainty."""
    x = batch[0] + batch[0].dtype.type(shift)
    assert (fl.softmax(x[:, :1], axis=1) == 1).all() and (fl.log_softmax(x[:, :1], axis=1) == 0).all()
    assert fl.softmax(x, axis=1).max() <= 1 and fl.log_softmax(x, axis=1).max() <= 0


@given(rows())
def test_softmax_sums_to_one(batch):
    x, _ = batch
    p = fl.softmax(x, axis=1)
    assert np.all((p >= 0) & (p <= 1))
    slack = 3 * np.finfo(x.dtype).eps * (1 + p.astype(np.longdouble).sum(1))
    assert np.all(np.abs(p.astype(np.longdouble).sum(1) - 1) <= slack)


@given(rows())
def test_softmin_mirrors_softmax(batch):
    x, _ = batch
    assert fl.softmin(x, axis=1).tobytes() == fl.softmax(-x, axis=1).tobytes()


@given(rows())
def test_cross_entropy_is_minus_log_softmax(batch):
    x, target = batch
    own = fl.cross_entropy(x, target, reduction="none")
    picked = -fl.log_softmax(x, axis=1)[np.arange(len(x)), target]
    assert_close(own, picked, 6)
    assert np.all(own >= 0)


@given(rows())
def test_gradient_sums_to_zero(batch):
    x, target = batch
    grad = fl.cross_entropy.grad(x, target, reduction="none").astype(np.longdouble)
    assert np.all(np.abs(grad.sum(1)) <= 8 * np.finfo(x.dtype).eps * np.abs(grad).sum(1))


@given(rows(), st.randoms(use_true_random=False))
def test_classes_can_be_permuted(batch, random):
    """Sums are of the same terms in another order: a bit or two."""
    x, target = batch
    order = list(range(x.shape[1]))
    random.shuffle(order)
    where = np.argsort(order)
    assert_close(fl.logsumexp(x[:, order], axis=1), fl.logsumexp(x, axis=1), 2, np.abs(x).max(1))
    assert_close(fl.softmax(x[:, order], axis=1)[:, where], fl.softmax(x, axis=1), 6)
    moved = fl.cross_entropy(x[:, order], where[target], reduction="none")
    assert_close(moved, fl.cross_entropy(x, target, reduction="none"), 6)


@given(rows(), st.randoms(use_true_random=False))
def test_rows_can_be_permuted(batch, random):
    """Rows know nothing of each other: every bit moves along."""
    x, target = batch
    order = list(range(len(x)))
    random.shuffle(order)
    for f in (fl.softmax, fl.log_softmax):
        assert f(x[order], axis=1).tobytes() == f(x, axis=1)[order].tobytes()
    got = fl.cross_entropy.value_grad_hess(x[order], target[order], reduction="none")
    want = fl.cross_entropy.value_grad_hess(x, target, reduction="none")
    for g, w in zip(got, want, strict=True):
        assert g.tobytes() == w[order].tobytes()


@given(rows(), st.lists(st.floats(0, 1), max_size=4), st.integers(0, 100))
def test_partials_merge(batch, cuts, seed):
    x, target = batch
    weight = np.random.default_rng(seed).random(len(x)).astype(x.dtype)
    edges = [0, *sorted(int(c * len(x)) for c in cuts), len(x)]
    parts = [
        fl.cross_entropy.partial(x[i:j], target[i:j], sample_weight=weight[i:j]) for i, j in pairwise(edges)
    ]
    np.random.default_rng(seed).shuffle(parts)
    whole = fl.cross_entropy.partial(x, target, sample_weight=weight)
    merged = sum(parts[1:], parts[0])
    assert merged.count == whole.count
    assert_close(np.float64(merged.loss_sum), whole.loss_sum, 2)
    assert_close(np.float64(merged.weight_sum), whole.weight_sum, 2)


@given(rows(), st.integers(0, 100))
def test_weight_two_is_two_rows(batch, seed):
    """A sample weight counts rows: k times the row, or weight k."""
    x, target = batch
    times = np.random.default_rng(seed).integers(0, 4, len(x))
    if not times.sum():
        return
    weighted = fl.cross_entropy(x, target, sample_weight=times.astype(x.dtype))
    repeated = fl.cross_entropy(np.repeat(x, times, 0), np.repeat(target, times))
    assert_close(weighted, repeated, 4)


@given(rows(), st.integers(0, 100))
def test_masked_rows_are_absent_rows(batch, seed):
    x, target = batch
    used = np.random.default_rng(seed).random(len(x)) < 0.6
    masked = fl.cross_entropy.value_and_grad(x, target, where=used)
    left = fl.cross_entropy.value_and_grad(x[used], target[used])
    assert_close(masked[0], left[0], 1)
    assert np.all(masked[1][~used] == 0)
    assert_close(masked[1][used], left[1], 1)
    ignored = fl.cross_entropy.value_and_grad(x, np.where(used, target, -100))
    assert ignored[0].tobytes() == masked[0].tobytes() and ignored[1].tobytes() == masked[1].tobytes()


@given(rows())
def test_one_hot_probabilities_are_indices(batch):
    x, target = batch
    one_hot = np.eye(x.shape[1], dtype=x.dtype)[target]
    got = fl.cross_entropy.value_grad_hess(x, one_hot)
    want = fl.cross_entropy.value_grad_hess(x, target)
    assert_close(got[0], want[0], 6)
    for g, w in zip(got[1:], want[1:], strict=True):
        assert_close(g, w, 6, size=1 / len(x), what="p - q is formed by subtraction")


@given(arrays(np.float32, array_shapes(max_dims=2, max_side=70), elements=st.floats(-100, 100, width=32)))
def test_activations_are_monotone_and_symmetric(x):
    line = np.sort(x.ravel())
    for f in (fl.sigmoid, fl.tanh, fl.relu):
        y = f(line)
        with np.errstate(under="ignore"):
            assert np.all(np.diff(y) >= -2 * np.spacing(np.abs(y[1:])))
    assert fl.tanh(-x).tobytes() == (-fl.tanh(x)).tobytes()
    assert_close(fl.sigmoid(x).astype(np.float64) + fl.sigmoid(-x), np.ones(x.shape), 2**30)


@pytest.mark.parametrize("name", ["mse_loss", "binary_cross_entropy_with_logits"])
@given(data=st.data())
def test_newton_descends(name, data):
    """Value, gradient and Hessian belong together: the parabola they make touches the curve."""
    loss = getattr(fl, name)
    x = data.draw(arrays(np.float64, 5, elements=st.floats(-4, 4)))
    y = data.draw(arrays(np.float64, 5, elements=st.sampled_from([0.0, 1.0])))
    value, grad, hess = loss.value_grad_hess(x, y, reduction="none")
    h = 2.0**-10
    for step in (h, -h):
        there = loss(x + step, y, reduction="none")
        assert np.all(np.abs(value + step * grad + step**2 / 2 * hess - there) <= 0.2 * h**3 + 1e-13)


# What holds for every loss of the table. Its arguments repeat along the rows, so that any number of rows can be drawn.
LOSSES = [
    s for s in scenarios("elementwise", "pair", "rows", "lines")
    if s.option == "plain" and s.number == 0 and len(s.shape) == (2 if s.case.family in ("rows", "lines") else 1)
]  # fmt: skip
BY_ROWS = pytest.mark.parametrize("scenario", LOSSES, ids=lambda s: s.id)


def drawn_rows(scenario, data, most=40):
    """(arguments with any rows of the case's, in any order, keywords)."""
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    arguments, keywords = scenario.call(dtype)
    n = len(arguments[0])
    rows = data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=most))
    return [a[rows] for a in arguments], keywords


def tuples(result):
    return result if isinstance(result, tuple) else (result,)


@BY_ROWS
@settings(max_examples=3)
@given(data=st.data())
def test_partials_of_every_loss_merge(scenario, data):
    """Any cut, any order, any nesting: the sums agree to a bit or two, and so does the mean."""
    arguments, keywords = drawn_rows(scenario, data)
    loss, n = scenario.case.function, len(arguments[0])
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    parts = [loss.partial(*(a[i:j] for a in arguments), **keywords) for i, j in pairwise([0, *cuts, n])]
    parts = data.draw(st.permutations(parts))
    middle = data.draw(st.integers(0, len(parts)))
    merged, whole = sum(parts[:middle]) + sum(parts[middle:], fl.Partial(0, 0, 0)), loss.partial(*arguments, **keywords)
    assert merged.count == whole.count
    for name in ("loss_sum", "weight_sum"):
        assert_close(np.float64(getattr(merged, name)), np.float64(getattr(whole, name)), 2)
    dtype = arguments[0].dtype
    assert_close(dtype.type(merged.result()), loss(*arguments, reduction="mean", **keywords), 2)


@BY_ROWS
@settings(max_examples=3)
@given(data=st.data())
def test_a_row_knows_neither_its_place_nor_its_company(scenario, data):
    """Alone, in a chunk, at another place, strided, backwards, on any number of threads: the same bits of loss and gradient."""
    arguments, keywords = drawn_rows(scenario, data)
    loss, n = scenario.case.function, len(arguments[0])
    whole = tuples(loss.value_and_grad(*arguments, reduction="none", **keywords))
    i, j = sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n))))
    step = data.draw(st.sampled_from([1, 2, -1, -3]))
    part = slice(i, j + (i == j))
    with fl.threads(data.draw(st.integers(1, 4))):
        pieces = tuples(loss.value_and_grad(*(a[part][::step] for a in arguments), reduction="none", **keywords))
    for got, want in zip(flat(pieces), flat(whole), strict=True):
        assert got.tobytes() == want[part][::step].tobytes()


def flat(results):
    for result in results:
        yield from result if isinstance(result, tuple) else (result,)


@BY_ROWS
@settings(max_examples=3)
@given(data=st.data())
def test_gradient_of_a_sum_is_the_sum_of_gradients(scenario, data):
    """Of rows apart that is their gradients side by side, to the bit; upstream multiplies each, and a mean divides."""
    arguments, keywords = drawn_rows(scenario, data)
    loss, dtype = scenario.case.function, arguments[0].dtype
    single = list(flat(tuples(loss.grad(*arguments, reduction="none", **keywords))))
    for got, want in zip(flat(tuples(loss.grad(*arguments, reduction="sum", **keywords))), single, strict=True):
        assert got.tobytes() == want.tobytes()
    mean = flat(tuples(loss.grad(*arguments, reduction="mean", **keywords)))
    divisor = loss.partial(*arguments, **keywords).weight_sum
    for got, want in zip(mean, single, strict=True):
        # 1 / divisor rounds, a product rounds; of rows, terms near 1 cancel
        size = np.maximum(np.abs(want), scenario.case.family in ("rows", "lines")) / divisor
        assert_close(got, want.astype(np.longdouble) / divisor, 4, size=size)
    shape = np.shape(loss(*arguments, reduction="none", **keywords))
    doubled = loss.grad(*arguments, reduction="none", upstream=np.full(shape, 2, dtype), **keywords)
    for got, want in zip(flat(tuples(doubled)), single, strict=True):
        assert got.tobytes() == (2 * want).tobytes()


@BY_ROWS
@settings(max_examples=3)
@given(data=st.data())
def test_a_sample_weight_counts_rows(scenario, data):
    """Weight k is the row k times, weight 0 is no row."""
    arguments, keywords = drawn_rows(scenario, data, most=12)
    loss, n, dtype = scenario.case.function, len(arguments[0]), arguments[0].dtype
    times = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n).filter(any))
    weighted = loss.partial(*arguments, sample_weight=np.array(times, dtype), **keywords)
    repeated = loss.partial(*(np.repeat(a, times, 0) for a in arguments), **keywords)
    # a weighted float32 loss rounds once before it is summed
    limit = 2 + (2 if dtype == np.float64 else 2**29)
    assert_close(np.float64(weighted.loss_sum), np.float64(repeated.loss_sum), limit, size=repeated_size(loss, arguments, times, keywords))
    if scenario.case.divides_by == "weights":
        assert weighted.weight_sum == repeated.weight_sum


def repeated_size(loss, arguments, times, keywords):
    """The sum of the sizes of the losses: negative ones cancel."""
    single = np.abs(np.asarray(loss(*arguments, reduction="none", **keywords), float))
    return (single.reshape(len(times), -1).sum(1) * times).sum()


POINTWISE = [s for s in scenarios("activation") if s.number == 0 and s.option == "plain" and not s.case.label]


@pytest.mark.parametrize("scenario", POINTWISE, ids=lambda s: s.case.name)
@settings(max_examples=3)
@given(data=st.data())
def test_an_element_knows_nothing_of_the_others(scenario, data):
    """The same number at any position, stride or length gives the same bits, value and derivative."""
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    (x,), keywords = scenario.call(dtype)
    places = data.draw(st.lists(st.integers(0, x.size - 1), min_size=1, max_size=80))
    step = data.draw(st.sampled_from([1, 2, -1, 5]))
    f = scenario.case.function
    for call in (f, f.grad):
        want = call(x, **keywords)
        assert call(x[places], **keywords).tobytes() == want[places].tobytes()
        assert call(x[::step], **keywords).tobytes() == want[::step].tobytes()
