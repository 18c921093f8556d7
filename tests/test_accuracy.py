"""Errors in ULP against wider arithmetic, where it is hard: any number of classes, any spread, any tail.

Limits are those of cases.py: rows 2 (float32) and 3 (float64), their gradients one more, logsumexp 1 and
2 of its largest entry, sigmoid, softplus, logsigmoid, silu 2, tanh 1.1 and 1.5, gelu, mish 4.
"""

import numpy as np
import pytest

import fastloss as fl
from bench import exhaustive
from fastloss import _config
from tests import reference as ref
from tests.cases import ROWS
from tests.ulp import assert_close, rounded

CLASSES = [1, 2, 3, 10, 63, 64, 100, 127, 128, 1000, 50_000]
SPREADS = [0.01, 1.0, 5.0, 20.0, 80.0]


def wide_rows(x):
    """(softmax, log_softmax, logsumexp) of rows in longdouble.

    The entries away from a row's maximum are summed apart from it, so that the logarithm is of
    1 + what is left: 64 bits remain of the dominant class too.
    """
    x = x.astype(np.longdouble)
    top = x.argmax(1)[:, None]
    shifted = x - np.take_along_axis(x, top, 1)
    e = np.exp(shifted)
    others = e.copy()
    np.put_along_axis(others, top, 0, 1)
    rest = others.sum(1, keepdims=True)
    log_total = np.log1p(rest)
    return e / (1 + rest), shifted - log_total, (np.take_along_axis(x, top, 1) + log_total)[:, 0]


def test_wide_rows_agree_with_the_textbook():
    x = np.random.default_rng(0).standard_normal((6, 9)) * [[0.1], [1], [5], [20], [100], [300]]
    softmax, log_softmax, logsumexp = wide_rows(x)
    for got, want in (
        (softmax, ref.softmax(x, 1)), (log_softmax, ref.log_softmax(x, 1)), (logsumexp, ref.logsumexp(x, 1)),
    ):  # fmt: skip
        assert_close(rounded(got, np.float64), want, 0.51)


def check_rows(x, targets):
    """softmax, log_softmax, logsumexp; cross_entropy with its derivatives, at the given target columns."""
    limit, grad_limit, hess_limit = (ROWS.limit(what, x.dtype) for what in ("value", "grad", "hess"))
    p, log_p, lse = wide_rows(x)
    assert_close(fl.softmax(x, axis=1), p, limit, what="softmax")
    assert_close(fl.log_softmax(x, axis=1), log_p, limit, what="log_softmax")
    assert_close(fl.logsumexp(x, axis=1), lse, limit - 1, np.abs(x).max(1), what="logsumexp")
    rows = np.arange(len(x))
    for target in targets:
        value, grad, hess = fl.cross_entropy.value_grad_hess(x, target, reduction="none")
        assert_close(value, -log_p[rows, target], limit, what="cross_entropy")
        want = p.copy()
        others = p.copy()
        others[rows, target] = 0
        want[rows, target] = -others.sum(1)
        assert_close(grad, want, grad_limit, what="gradient")
        left = np.where(p > 0.5, np.where(p > 0.5, 0, p).sum(1, keepdims=True), 1 - p)
        assert_close(hess, p * left, hess_limit, what="Hessian")


@pytest.mark.parametrize("classes", CLASSES)
def test_rows(classes, dtype, engine):
    rng = np.random.default_rng(classes)
    for spread in SPREADS:
        x = (rng.standard_normal((3 if classes > 1000 else 33, classes)) * spread).astype(dtype)
        rows = len(x)
        check_rows(x, [rng.integers(0, classes, rows), x.argmax(1), x.argmin(1)])


@pytest.mark.parametrize("classes", [2, 3, 10, 65, 1000])
def test_dominant_class(classes, dtype, engine):
    """One class 5 to 60 above the rest: the loss is small, and right to the last bits."""
    rng = np.random.default_rng(classes)
    gaps = np.linspace(5, 60, 56)
    x = rng.standard_normal((gaps.size, classes))
    top = rng.integers(0, classes, gaps.size)
    x[np.arange(gaps.size), top] = 0
    x[np.arange(gaps.size), top] = x.max(1) + gaps
    check_rows(x.astype(dtype), [top])


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_ties_at_the_maximum(classes, dtype, engine):
    x = np.zeros((8, classes), dtype)
    x[np.arange(8), np.arange(8) % classes] = [1, 2, 4, 8, -1, -2, -40, 0]
    check_rows(x, [np.zeros(8, int), np.arange(8) % classes])


def test_subnormal_probabilities(dtype, engine):
    """Down to the smallest subnormal, where relative error ends and absolute error begins."""
    deepest = {4: 104.0, 8: 746.0}[dtype.itemsize]
    x = np.zeros((64, 8), dtype)
    x[:, 1:] = -np.linspace(deepest - 20, deepest, 64 * 7).reshape(64, 7)
    p, log_p, _ = wide_rows(x)
    limit = ROWS.limit("value", dtype)
    assert_close(fl.softmax(x, axis=1), p, limit, what="softmax")
    value, grad, _ = fl.cross_entropy.value_grad_hess(x, np.zeros(64, int), reduction="none")
    assert_close(value, -log_p[:, 0], limit, what="cross_entropy")
    assert_close(grad[:, 1:], p[:, 1:], limit + 1, what="gradient")
    assert np.any((p > 0) & (p < np.finfo(dtype).tiny))


def test_large_offsets(dtype, engine):
    """Logits around 1e6: x - max is exact, its logarithm small."""
    rng = np.random.default_rng(0)
    x = (1e6 + rng.standard_normal((50, 20))).astype(dtype)
    check_rows(x, [rng.integers(0, 20, 50)])
    # terms of very different sizes, where x - max rounds
    x = (rng.standard_normal((50, 20)) * 10.0 ** rng.uniform(-8, 1.5, (50, 20))).astype(dtype)
    check_rows(x, [rng.integers(0, 20, 50), x.argmax(1)])


def line(dtype, furthest, points=400):
    """Both signs of every magnitude, and an even walk to where the result vanishes."""
    rng = np.random.default_rng(0)
    smallest = np.log10(float(np.finfo(dtype).smallest_subnormal))
    with np.errstate(under="ignore"):
        tiny = 10 ** rng.uniform(smallest + 1, 0, points // 4)
    even = rng.uniform(0, furthest, points // 2)
    small = rng.uniform(0, 4, points // 4)
    magnitudes = np.concatenate([tiny, even, small])
    return rounded(np.concatenate([magnitudes, -magnitudes]), dtype)


ACTIVATIONS = [
    # name, keywords, limits (f32, f64), furthest argument of interest (f32, f64)
    ("sigmoid", {}, (2, 2), (104.0, 746.0)),
    ("tanh", {}, (1.1, 1.5), (20.0, 30.0)),  # 1 with fused multiply-add
    ("gelu", {}, (4, 4), (15.0, 39.0)),
    ("gelu", {"approximate": "tanh"}, (4, 4), (11.0, 22.0)),
    ("silu", {}, (2, 2), (109.0, 752.0)),
    ("swish", {"beta": 2.5}, (3, 3), (43.0, 300.0)),
    ("mish", {}, (4, 4), (109.0, 752.0)),
    ("softplus", {}, (2, 2), (104.0, 746.0)),
    ("softplus", {"beta": 2.5}, (2.5, 2.5), (42.0, 300.0)),  # divided by beta
    ("logsigmoid", {}, (2, 2), (104.0, 746.0)),
    ("elu", {}, (2, 2), (20.0, 40.0)),
    ("celu", {"alpha": 1.5}, (2.5, 2.5), (30.0, 60.0)),  # of a rounded quotient
    ("gaussian", {}, (1.5, 1.5), (10.3, 27.3)),
    ("tanhshrink", {}, (3, 3), (20.0, 40.0)),  # a product of three x
]


@pytest.mark.parametrize("name, keywords, limits, furthest", ACTIVATIONS)
def test_activation_on_the_whole_line(name, keywords, limits, furthest, dtype, engine):
    which = int(dtype == np.float64)
    x = line(dtype, furthest[which])
    want = whole_line(name, dtype, furthest[which], tuple(keywords.items()))
    assert_close(getattr(fl, name)(x, **keywords), want, limits[which], what=name)


_LINES = {}


def whole_line(name, dtype, furthest, keywords):
    key = name, dtype, keywords
    if key not in _LINES:
        _LINES[key] = ref.derivatives(getattr(ref, name), 0, line(dtype, furthest), **dict(keywords))[0]
    return _LINES[key]


def test_bce_in_both_tails(dtype, engine):
    """The loss of a sure and right answer is tiny and right; of a sure and wrong one it is |x|."""
    furthest = {4: 104.0, 8: 746.0}[dtype.itemsize]
    x = np.linspace(-furthest, furthest, 301).astype(dtype)
    for y in (0.0, 1.0):
        wide = x.astype(np.longdouble) * (1 - 2 * y)
        want = np.where(wide > 0, wide, 0) + np.log1p(np.exp(-np.abs(wide)))
        value, grad, hess = fl.binary_cross_entropy_with_logits.value_grad_hess(
            x, dtype.type(y), reduction="none"
        )
        assert_close(value, want, 3, what=f"value, y = {y}")
        assert_close(grad, (1 - 2 * y) / (1 + np.exp(-wide)), 3, what=f"gradient, y = {y}")
        assert_close(
            hess, np.exp(-np.abs(wide)) / (1 + np.exp(-np.abs(wide))) ** 2, 5, what=f"Hessian, y = {y}"
        )


def test_mean_of_many(dtype, backend):
    """Ten million terms: the sum is compensated, so the mean is right to the last bit."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2_000_003).astype(dtype)
    own = fl.mse_loss(x, 0, reduction="none")
    assert_close(fl.mse_loss(x, 0, reduction="sum"), own.astype(np.longdouble).sum(), 1)
    assert_close(fl.mse_loss(x, 0), own.astype(np.longdouble).mean(), 1)


@pytest.mark.parametrize("n_classes", [3, 70, 3000])
@pytest.mark.parametrize("keywords", [{}, {"label_smoothing": 0.125}], ids=["indices", "smoothed"])
def test_gradients_of_tiny_weights(engine, n_classes, keywords):
    """A weight near the end of float32 scales gradients, however large the unit of the exponentials."""
    x = np.random.default_rng(n_classes).standard_normal((4, n_classes)).astype(np.float32)
    target = np.array([0, 1, 2, 0])
    weights = np.array([1.0, 1e-20, 1e-25, 1e-30], np.float32)
    _, got, bent = fl.cross_entropy.value_grad_hess(x, target, sample_weight=weights, reduction="sum", **keywords)
    _, want, curve = fl.cross_entropy.value_grad_hess(
        x.astype(np.float64), target, sample_weight=weights, reduction="sum", **keywords
    )
    assert (np.abs(got - want) <= 1e-6 * weights[:, None].astype(float)).all()
    np.testing.assert_allclose(bent, curve, rtol=1e-6)


def test_float64_rows_with_a_far_maximum(engine):
    """Beyond 751 below the maximum all is 0; what lies nearer loses nothing to x - max."""
    x = np.array([600, 299.7, -100.123, 17.77])
    with ref.mp.workdps(60):
        want = [ref.mp.exp(ref.mp.mpf(v) - 600) for v in x.tolist()]
    assert_close(fl.softmax(x), np.array([w / sum(want) for w in want], dtype=object), 3)


@pytest.mark.parametrize("name", exhaustive.record())
def test_no_error_beyond_the_record(name):
    """A sample of all float32 inputs, and the worst one: bench/exhaustive.json has the largest error of all of them."""
    record = exhaustive.record()[name]
    if _config.isas()[0] not in ("v3", "v4"):
        pytest.skip("the record was made with fused multiply-add")
    x = np.append(np.arange(0, 1 << 32, 4099, dtype=np.uint32).view(np.float32), np.float32(float(record["at"])))
    error, at = exhaustive.worst(name, x)
    assert error <= record["max_ulp"] + 1e-4, f"{error} at {at!r}"     # rounded to 4 digits there
