"""Losses of whole rows and functions of pairs of rows, on every backend, instruction set and dtype."""

from functools import cache, partial

import numpy as np
import pytest

import fastloss as fl
from tests import reference as ref
from tests.cases import scenarios
from tests.oracle import oracle
from tests.ulp import assert_close, assert_same, one_at_a_time, rounded, widen

REDUCTIONS = "none", "sum", "mean"
LOSSES = scenarios("lines")
NAN, INF = np.nan, np.inf


def ids(scenario):
    return scenario.id


def arrays(result):
    """Gradients as a list, whether one or several."""
    return list(result) if isinstance(result, tuple) else [result]


@cache
@one_at_a_time
def expected(scenario, dtype):
    """The reference's Terms without weights, in longdouble."""
    arguments, keywords = scenario.call(dtype)
    terms = ref.row_terms(scenario.case.reference, len(scenario.case.by), *arguments, **keywords)
    return widen(terms.value), *(tuple(map(widen, part)) for part in (terms.grad, terms.hess))


def size(dtype):
    """float32 rows are computed in float64: only there do terms of size 1 that cancel leave rounding errors."""
    return 4.0 if dtype == np.float64 else 0.0


@pytest.mark.parametrize("scenario", LOSSES, ids=ids)
class TestLines:
    def test_value_and_derivatives(self, scenario, dtype, engine):
        loss, ulp = scenario.case.function, scenario.case.ulp
        arguments, keywords = scenario.call(dtype)
        values, slopes, curves = expected(scenario, dtype)
        rng = np.random.default_rng(0)
        n = len(values)
        weight = (rng.random(n) + 0.5).astype(dtype)
        for reduction in REDUCTIONS:
            for options in ({}, {"where": np.arange(n) % 3 != 1}, {"sample_weight": weight, "where": np.arange(n) % 3 != 1}):
                row = np.where(options.get("where", True), options.get("sample_weight", np.ones(n)), 0).astype(np.longdouble)
                divide = {"none": 1, "sum": 1, "mean": row.sum()}[reduction]
                want = values * row if reduction == "none" else (values * row).sum() / divide
                given = keywords | options | {"reduction": reduction}
                value, grad, hess = loss.value_grad_hess(*arguments, **given)
                assert value.dtype == dtype and np.shape(value) == np.shape(want)
                assert_close(value, want, ulp.limit("value", dtype) + 2, size(dtype), reduction)
                for name, got, exact in (("grad", grad, slopes), ("hess", hess, curves)):
                    for g, e, x in zip(arrays(got), exact, arguments, strict=False):
                        assert g.dtype == dtype and g.shape == x.shape
                        assert_close(g, e * row[:, None] / divide, ulp.limit(name, dtype) + 2, size(dtype), f"{name} {reduction}")
                assert_same(loss(*arguments, **given), value)
                for g, other, again in zip(arrays(grad), arrays(loss.grad(*arguments, **given)), arrays(loss.value_and_grad(*arguments, **given)[1]), strict=True):
                    assert_same(g, other)
                    assert_same(g, again)

    def test_upstream_out_and_partial(self, scenario, dtype, backend):
        loss = scenario.case.function
        arguments, keywords = scenario.call(dtype)
        before = [a.copy() for a in arguments]
        values, slopes, _ = expected(scenario, dtype)
        up = (np.random.default_rng(1).random(len(values)) + 0.5).astype(dtype)
        value, grad = loss.value_and_grad(*arguments, reduction="none", upstream=up, **keywords)
        assert_same(value, loss(*arguments, reduction="none", **keywords))
        for g, e in zip(arrays(grad), slopes, strict=True):
            assert_close(g, e * up[:, None], scenario.case.ulp.limit("grad", dtype) + 2, size(dtype))
        outs = tuple(np.full_like(g, 7) for g in arrays(grad))
        out = outs if len(outs) > 1 else outs[0]
        for given in ({}, {"reduction": "sum"}):
            loss.value_and_grad(*arguments, out=(None, out), **given, **keywords)
            for g, o in zip(arrays(loss.grad(*arguments, **given, **keywords)), outs, strict=True):
                assert_same(o, g)
        for a, b in zip(arguments, before, strict=True):
            assert_same(a, b)
        x = arguments[0].copy()
        want = arrays(loss.grad(*arguments, **keywords))[0]
        buffers = (x, *outs[1:]) if len(outs) > 1 else x
        loss.grad(x, *arguments[1:], out=buffers, **keywords)
        assert_same(x, want)
        whole = loss.partial(*arguments, **keywords)
        parts = [loss.partial(*(a[i : i + 1] for a in arguments), **keywords) for i in range(len(values))]
        assert whole.count == len(values)
        assert_close(np.float64(sum(parts).loss_sum), whole.loss_sum, 2)
        assert_close(dtype.type(whole.result("mean")), loss(*arguments, reduction="mean", **keywords), 1)

    def test_layouts(self, scenario, dtype, backend):
        loss = scenario.case.function
        arguments, keywords = scenario.call(dtype)
        want = loss.value_grad_hess(*arguments, **keywords)
        flat = [want[0], *arrays(want[1]), *arrays(want[2])]
        for layout in (
            np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2], lambda a: a.astype(a.dtype.newbyteorder("S")),
        ):  # fmt: skip
            got = loss.value_grad_hess(*map(layout, arguments), **keywords)
            for a, b in zip([got[0], *arrays(got[1]), *arrays(got[2])], flat, strict=True):
                assert_same(a, b)
        half = [rounded(a, np.float16) if a.dtype.kind == "f" else a for a in arguments]
        value, grad = loss.value_and_grad(*half, **keywords)
        assert value.dtype == np.float16
        wide = loss.value_and_grad(*(a.astype(np.float32) if a.dtype.kind == "f" else a for a in half), **keywords)
        for a, b in zip(arrays(grad), arrays(wide[1]), strict=True):
            assert_same(a, rounded(b, np.float16))


@pytest.mark.parametrize("scenario", scenarios("pairs"), ids=ids)
def test_functions_of_pairs(scenario, dtype, engine):
    function, ulp = scenario.case.function, scenario.case.ulp
    (x, y), keywords = scenario.call(dtype)
    values, slopes, _ = expected(scenario, dtype)
    g = np.random.default_rng(0).standard_normal(len(values)).astype(dtype)
    assert_close(function(x, y, **keywords), values, ulp.limit("value", dtype), size(dtype))
    for got, e in zip(function.backward(g, x, y, **keywords), slopes, strict=True):
        assert_close(got, e * g[:, None], ulp.limit("grad", dtype) + 2, size(dtype))
    assert function(x, y[:1], **keywords).shape == values.shape
    assert_same(function(x, x[:1], **keywords), function(x, np.repeat(x[:1], len(x), 0), **keywords))


def test_axes_of_pairs(dtype, backend):
    x, y = np.random.default_rng(0).standard_normal((2, 2, 3, 4)).astype(dtype)
    assert fl.pairwise_distance(x, y).shape == (2, 3) and fl.pairwise_distance(x, y, keepdims=True).shape == (2, 3, 1)
    for axis in range(3):
        want = fl.cosine_similarity(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1), axis=-1)
        assert_same(fl.cosine_similarity(x, y, axis=axis), want)
    assert_same(fl.cosine_similarity(x[0, 0], y[0, 0]), fl.cosine_similarity(x[0], y[0])[0])
    assert fl.pairwise_distance(dtype.type(3), dtype.type(1), eps=0.0) == 2


def many(name, dtype, n, width):
    """Arguments of many rows."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, n, width)).astype(dtype)
    labels = rng.integers(-1, width, (n, width))
    return {
        "hinge_loss": (x[0], rng.integers(0, width, n)), "multi_margin_loss": (x[0], rng.integers(0, width, n)),
        "multilabel_margin_loss": (x[0], labels), "cosine_embedding_loss": (*x[:2], rng.choice([-1, 1], n)),
        "triplet_margin_loss": tuple(x), "entropy": (x[0] - x[0].min(),),
        "brier_score": (fl.softmax(x[0], axis=1), rng.integers(0, width, n)),
    }[name]  # fmt: skip


NAMES = "hinge_loss", "multi_margin_loss", "multilabel_margin_loss", "cosine_embedding_loss", "triplet_margin_loss", "entropy", "brier_score"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(20_003, 5), (701, 133), (67, 1100)], ids=str)
def test_neither_threads_nor_position_change_a_bit(name, shape, dtype, backend):
    loss, arguments = getattr(fl, name), many(name, dtype, *shape)
    call = partial(loss.value_and_grad, **{"from_logits": True} if name == "entropy" else {})
    with fl.threads(1):
        want = call(*arguments, reduction="mean")
    with fl.threads(3):
        got = call(*arguments, reduction="mean")
    single = call(*(a[37:38] for a in arguments), reduction="sum")
    unreduced = call(*arguments, reduction="none")
    assert_same(got[0], want[0])
    assert_same(unreduced[0][37], single[0])
    for a, b, c, d in zip(*(arrays(r[1]) for r in (want, got, unreduced, single)), strict=True):
        assert_same(a, b)
        assert_same(c[37:38], d)
    assert_same(call(*map(np.asfortranarray, arguments), reduction="mean")[0], want[0])


def torch_agrees(name, inputs, rest, keywords, dtype):
    torch = oracle("torch")
    for reduction in REDUCTIONS:
        given = keywords | {"reduction": reduction}
        theirs = [torch.tensor(a).requires_grad_() for a in inputs]
        numbers = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
        value = getattr(torch.nn.functional, name)(*theirs, *map(torch.tensor, rest), **numbers)
        up = np.asarray(np.random.default_rng(0).random(tuple(value.shape)), dtype)
        slopes = torch.autograd.grad(value, theirs, torch.tensor(up))
        more = {"upstream": up} if reduction == "none" else {}
        ours, grad = getattr(fl, name).value_and_grad(*inputs, *rest, **given, **more)
        assert np.shape(ours) == tuple(value.shape)
        tolerance = 3e-5 if dtype == np.float32 else 1e-11
        factor = 1 if reduction == "none" else up
        np.testing.assert_allclose(ours, value.detach().numpy(), tolerance, tolerance)
        for g, t in zip(arrays(grad), slopes, strict=True):
            np.testing.assert_allclose(g * factor, t.numpy(), tolerance, tolerance)


@pytest.mark.parametrize("shape", [(7, 5), (3, 40)], ids=str)
def test_torch_agrees(shape, dtype, backend):
    rng = np.random.default_rng(0)
    x, y, z = rng.standard_normal((3, *shape)).astype(dtype)
    classes, signs = rng.integers(0, shape[1], shape[0]), rng.choice([-1, 1], shape[0])
    for p in (1, 2):
        for weight in (None, rng.random(shape[1]).astype(dtype)):
            torch_agrees("multi_margin_loss", (x,), (classes,), {"p": p, "margin": 0.75, "weight": weight}, dtype)
    lists = np.array([rng.permutation(shape[1]) for _ in range(shape[0])])
    lists[np.arange(shape[0]), rng.integers(0, 5, shape[0])] = -1
    torch_agrees("multilabel_margin_loss", (x,), (lists,), {}, dtype)
    torch_agrees("cosine_embedding_loss", (x, y), (signs,), {"margin": 0.25}, dtype)
    for p in (1.0, 2.0, 2.5, INF):
        for swap in (False, True):
            torch_agrees("triplet_margin_loss", (x, y, z), (), {"p": p, "swap": swap, "margin": 0.5, "eps": 0.125}, dtype)


def test_torch_agrees_on_single_rows(dtype, backend):
    x = np.random.default_rng(0).standard_normal(5).astype(dtype)
    for target in (np.array(2), np.array([2])):
        torch_agrees("multi_margin_loss", (x,), (target,), {}, dtype)
    torch_agrees("multi_margin_loss", (x[0],), (np.array(0),), {}, dtype)
    torch_agrees("multilabel_margin_loss", (x,), (np.array([3, 0, -1, 1, 1]),), {}, dtype)
    torch_agrees("multilabel_margin_loss", (x[0],), (np.array(0),), {}, dtype)
    torch_agrees("cosine_embedding_loss", (x, x[::-1].copy()), (np.array(-1),), {}, dtype)
    torch_agrees("triplet_margin_loss", (x, x[::-1].copy(), 2 * x), (), {}, dtype)


def test_torch_agrees_on_other_shapes(dtype, backend):
    """Triplets of more axes; no rows, whose other means torch takes from memory that nobody has written."""
    rng = np.random.default_rng(0)
    for shape in ((2, 3, 4), (0, 4)):
        torch_agrees("triplet_margin_loss", tuple(rng.standard_normal((3, *shape)).astype(dtype)), (), {"swap": True}, dtype)
    empty = np.empty((0, 4), dtype)
    torch_agrees("cosine_embedding_loss", (empty, empty), (np.empty(0, int),), {}, dtype)


def test_hinge_of_sklearn(dtype, backend):
    metrics = oracle("sklearn.metrics")
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((60, 4)).astype(dtype), np.arange(60) % 4
    np.testing.assert_allclose(fl.hinge_loss(x, target), metrics.hinge_loss(target, x, labels=range(4)), 1e-6)
    signs = np.where(target > 1, 1, -1)
    np.testing.assert_allclose(fl.hinge_loss(x[:, 0], signs), metrics.hinge_loss(signs, x[:, 0]), 1e-6)


def test_entropy_of_scipy_and_torch(dtype, backend):
    special, torch = oracle("scipy.special"), oracle("torch")
    rng = np.random.default_rng(0)
    for shape, axis in (((7, 40), -1), ((40, 7), 0), ((2, 6, 3), 1), ((5,), 0)):
        p = fl.softmax(rng.standard_normal(shape).astype(dtype), axis=axis)
        np.testing.assert_allclose(fl.entropy(p, axis), special.entr(p).sum(axis), 1e-6)
        x, up = (3 * rng.standard_normal(shape)).astype(dtype), rng.random(np.delete(shape, axis)).astype(dtype)
        tensor = torch.tensor(x, requires_grad=True)
        theirs = torch.special.entr(torch.softmax(tensor, axis)).sum(axis)
        theirs.backward(torch.tensor(up))
        value, grad = fl.entropy.value_and_grad(x, axis, from_logits=True, upstream=up)
        np.testing.assert_allclose(value, theirs.detach().numpy(), 1e-5)
        np.testing.assert_allclose(grad, tensor.grad.numpy(), 1e-4, 2e-6)


def test_brier_score_of_sklearn(dtype, backend):
    metrics = oracle("sklearn.metrics")
    rng = np.random.default_rng(0)
    for n_classes in (2, 3, 40):
        p, target = rng.dirichlet(np.ones(n_classes), 50), rng.integers(0, n_classes, 50)
        p, weight, labels = p.astype(dtype), rng.random(50).astype(dtype), range(n_classes)
        wide = p.astype(float) / p.astype(float).sum(1, keepdims=True)
        for given in ({}, {"sample_weight": weight}):
            want = metrics.brier_score_loss(target, wide, labels=labels, scale_by_half=False, **given)
            np.testing.assert_allclose(fl.brier_score(p, target, **given), want, 1e-5)
            np.testing.assert_allclose(fl.brier_score(p, np.eye(n_classes)[target], **given), want, 1e-5)
            want = metrics.brier_score_loss(target == 1, wide[:, 1], **given)
            np.testing.assert_allclose(fl.brier_score(p[:, 1], target == 1, **given), want, 1e-5)


def test_what_a_brier_score_is_of(dtype, backend):
    """Classes along the axis, single events without one."""
    p = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]], dtype)
    rows = fl.brier_score(p, [0, 2], reduction="none")
    assert_same(rows, np.array([0.375, 0.875], dtype))
    assert_same(fl.brier_score(p.T, [0, 2], axis=0, reduction="none"), rows)
    assert_same(fl.brier_score(p[0], 0), rows[0])
    assert_same(fl.brier_score(p, np.eye(3, dtype=bool)[[0, 2]], reduction="none"), rows)
    events = np.eye(3)[[0, 2]]
    assert_same(fl.brier_score(p, events, axis=None, reduction="none"), (p - events.astype(dtype)) ** 2)
    assert_same(fl.brier_score(p[0], events[0]), dtype.type(rows[0] / 3))
    assert_same(fl.brier_score(p[0], 1.0, reduction="none"), (1 - p[0]) ** 2)
    assert fl.brier_score(dtype.type(0.5), 1) == dtype.type(0.25)
    assert_same(fl.brier_score(p[:, :1], events[:, :1]), fl.brier_score(p[:, 0], events[:, 0]))


def test_limits_of_entropy(dtype, engine):
    value, grad, hess = fl.entropy.value_grad_hess(np.array([[0, 1, -0.0], [NAN, 0.5, 0.5]], dtype))
    assert_same(value, np.array([0, NAN], dtype))
    assert_same(grad[0], np.array([INF, -1, INF], dtype))
    assert_same(hess[0], np.array([-INF, -1, -INF], dtype))
    x = np.array([[0, -INF, -INF], [0, 0, -INF], [0, -60, -INF], [0, INF, 1], [-INF] * 3, [NAN, 0, 0]], dtype)
    value, grad, hess = fl.entropy.value_grad_hess(x, from_logits=True)
    e = np.exp(np.longdouble(-60))
    np.testing.assert_allclose(value[:3].astype(float), np.array([0, np.log(2), 61 * e], float), 1e-6)
    np.testing.assert_allclose(grad[:3].astype(float), np.array([[0, 0, 0], [0, 0, 0], [-60 * e, 60 * e, 0]], float), 1e-6)
    assert np.isfinite(hess[:3]).all() and np.isnan(value[3:]).all() and np.isnan(grad[3:]).all()
    assert fl.entropy(np.empty((2, 0), dtype)).tolist() == fl.entropy(np.empty((2, 0), dtype), from_logits=True).tolist() == [0, 0]
    assert fl.entropy(dtype.type(1)) == 0 and fl.entropy(np.empty((0, 3), dtype)).shape == (0,)
    assert fl.entropy(np.array([[7, 0.5], [0.5, 0.5]], dtype), where=[False, True], reduction="mean") == dtype.type(np.log(2))


def test_kinks_and_ties(dtype, engine):
    """What the docstrings state."""
    x = np.array([[1, 0, 0.0]], dtype)
    for p in (1, 2):
        got = fl.multi_margin_loss.value_grad_hess(x, [0], p=p)
        assert [np.any(v) for v in got] == [False] * 3
    assert not np.any(fl.multilabel_margin_loss.grad(x, np.array([[0, -1, 0]])))
    for loss in (fl.hinge_loss, fl.squared_hinge_loss):
        assert not np.any(loss.grad(x, [0]))
    assert_same(fl.hinge_loss.grad(np.array([[0, 1, 1]], dtype), [0]), np.array([[-1, 1, 0]], dtype))
    a, b = np.array([[1, 0]], dtype), np.array([[0, 1]], dtype)
    np.testing.assert_allclose(fl.cosine_embedding_loss.grad(a, b, [-1], margin=0.0)[0], [[0, 1]], rtol=1e-6)
    zero = np.zeros((1, 2), dtype)
    value, grads, hesses = fl.triplet_margin_loss.value_grad_hess(zero, zero, np.array([[3, 4]], dtype), margin=5, eps=0.0)
    assert value == 0
    np.testing.assert_allclose(grads, [[[0.6, 0.8]], [[0, 0]], [[-0.6, -0.8]]], rtol=1e-6)
    got = fl.pairwise_distance.backward([1.0], np.array([[2, -2, 1, 0]], dtype), np.zeros((1, 4), dtype), p=INF, eps=0.0)[0]
    assert_same(got, np.array([[0.5, -0.5, 0, 0]], dtype))


def test_edges(dtype, backend):
    x = np.array([[0.5, 1, -1], [NAN, INF, 0]], dtype)
    value, grad = fl.multi_margin_loss.value_and_grad(x, [1, 7], where=[True, False])
    assert value == dtype.type(0.5 / 3) and not np.any(grad[1])
    for loss, target in ((fl.multi_margin_loss, [0, 2]), (fl.hinge_loss, [0, 2]), (fl.multilabel_margin_loss, [[0, -1, 0], [2, -1, 0]])):
        value, grad = loss.value_and_grad(x, target, sample_weight=[1, 0])
        assert np.isfinite(value) and np.isfinite(grad).all() and not np.any(grad[1])
        assert np.isnan(loss(x, target, reduction="none")[1])
        empty = np.empty((0, 3), dtype)
        assert np.isnan(loss(empty, np.array(target)[:0])) and loss(empty, np.array(target)[:0], empty=0.0) == 0
        assert loss.value_and_grad(x, target, where=False, empty=3.0)[0] == 3
    assert fl.multilabel_margin_loss(x[:1], [[-1, 0, 1]]) == 0
    y = np.array([[1, 2], [NAN, 1]], dtype)
    for loss, more in ((fl.cosine_embedding_loss, ([1, -1],)), (fl.triplet_margin_loss, (y + 1,))):
        value, grads = loss.value_and_grad(y, y + 2, *more, where=[True, False])
        assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads)
        assert np.isnan(loss(y, y + 2, *more))
    assert fl.cosine_similarity(np.zeros(3, dtype), np.ones(3, dtype)) == 0
    assert fl.multi_margin_loss(x[:1].astype(int), np.array([1], np.uint8)).dtype == np.float64


def test_a_float_is_the_sign_of_all_scores(backend):
    """An integer beside one row of scores is their class, even where both would do."""
    x = np.array([0.5, 2.0, -1.0])
    for sign in (1.0, np.float32(1), np.array(1.0)):
        assert fl.hinge_loss(x, sign) == fl.hinge_loss(x, [1, 1, 1]) == 2.5 / 3
    assert fl.hinge_loss(x, 1) == fl.hinge_loss(x[None], [1]) == 0


X, Y = np.zeros((4, 3)), np.ones((4, 3))
RAISES = [
    (lambda out: fl.multi_margin_loss.grad(X, [0, 3, 1, -1], out=out), IndexError, "target[1] is 3; class indices must be in [0, 3)"),
    (lambda out: fl.hinge_loss.grad(X, [0, 2, 1, -(2**63)], out=out), IndexError, "target[3] is -9223372036854775808"),
    (lambda out: fl.multilabel_margin_loss.grad(X, [[0, -1, 0], [1, -1, 3], [0] * 3, [0] * 3], out=out), IndexError,
     "target[1, 2] is 3; class indices must be in [0, 3) or the end of the list (-1)"),
    (lambda out: fl.multilabel_margin_loss.grad(X, np.full((4, 3), -2), out=out), IndexError, "target[0, 0] is -2"),
    (lambda out: fl.multi_margin_loss.grad(X, [0, 1, 2], out=out), ValueError, "target has shape (3,); it must be (4,)"),
    (lambda out: fl.multi_margin_loss(X, [0.0, 1, 2, 0]), TypeError, "class indices must be integers"),
    (lambda out: fl.multi_margin_loss(X, [True] * 4), TypeError, "class indices must be integers"),
    (lambda out: fl.multi_margin_loss.grad(X, [0] * 4, [1.0, 2.0], out=out), ValueError, "weight has shape (2,); it must be (3,)"),
    (lambda out: fl.multi_margin_loss(X, [0] * 4, p=3), ValueError, "p is 3"),
    (lambda out: fl.multi_margin_loss(X[:, :0], [0] * 4), ValueError, "at least one class"),
    (lambda out: fl.multilabel_margin_loss(X[:, :0], np.zeros((4, 0), int)), ValueError, "at least one class"),
    (lambda out: fl.multi_margin_loss(X[None], [[0] * 4]), ValueError, "at most 2 axes"),
    (lambda out: fl.entropy.grad(X - Y, out=out), ValueError, "p[0, 0] is -1.0; it must be in [0, 1]"),
    (lambda out: fl.entropy(X, 2), ValueError, "axis 2"),
    (lambda out: fl.entropy(X, None), TypeError, "axis is None; it must be an int"),
    (lambda out: fl.entropy(X > 0), TypeError, "p has dtype bool"),
    (lambda out: fl.brier_score.grad(X, [0, 3, 1, -1], out=out), IndexError, "target[1] is 3; class indices must be in [0, 3)"),
    (lambda out: fl.brier_score.grad(2 * Y, [0, 1, 1, 0], out=out), ValueError, "input[0, 0] is 2.0; it must be in [0, 1]"),
    (lambda out: fl.brier_score.grad(X, -Y, out=out), ValueError, "target[0, 0] is -1.0; it must be in [0, 1]"),
    (lambda out: fl.brier_score.grad(X, Y[:, :2], out=out), ValueError, "target has shape (4, 2); it must be input's shape (4, 3)"),
    (lambda out: fl.brier_score(X, [0.0, 1, 1, 0]), TypeError, "class indices must be integers"),
    (lambda out: fl.brier_score(X[0], [0, 2, 1]), ValueError, "target[1] is 2; it must be in [0, 1]"),
    (lambda out: fl.cosine_embedding_loss(X, Y, [1, -1, 0, 1]), ValueError, "target[2] is 0; it must be -1 or 1"),
    (lambda out: fl.cosine_embedding_loss(X, Y, [1, -1, 1, 1.5]), ValueError, "target[3] is 1.5"),
    (lambda out: fl.cosine_embedding_loss(X, Y[:, :2], [1] * 4), ValueError, "input2 has shape (4, 2); it must be input1's shape (4, 3)"),
    (lambda out: fl.hinge_loss(X, 2 * Y), ValueError, "target[0, 0] is 2"),
    (lambda out: fl.triplet_margin_loss(X, Y, Y[0]), ValueError, "negative has shape (3,)"),
    (lambda out: fl.triplet_margin_loss(X, Y, Y, margin=0), ValueError, "margin is 0"),
    (lambda out: fl.triplet_margin_loss(X, Y, Y, p=0.5), ValueError, "p is 0.5; it must be at least 1"),
    (lambda out: fl.triplet_margin_loss(X > 0, Y, Y), TypeError, "anchor has dtype bool"),
    (lambda out: fl.pairwise_distance(X, Y[:, :2]), ValueError, "x1 has shape (4, 3) and x2 (4, 2)"),
    (lambda out: fl.cosine_similarity(X, Y, eps=0), ValueError, "eps is 0"),
    (lambda out: fl.cosine_similarity(X, Y, axis=2), ValueError, "axis 2"),
    (lambda out: fl.triplet_margin_loss.value_and_grad(X, Y, Y, out=(None, out)), TypeError, "out[1]"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(RAISES)))
def test_raises(number, backend):
    call, error, words = RAISES[number]
    out = np.full((4, 3), 7.0)
    with pytest.raises(error) as caught:
        call(out)
    assert words in str(caught.value)
    assert (out == 7).all() and not X.any() and (Y == 1).all()


def test_nothing_warns(dtype, engine):
    """No call warns or raises under np.errstate, whatever the numbers."""
    x = np.array([0, -0.0, 1e-40, 3e38, -3e38, INF, -INF, NAN, 1], dtype).reshape(3, 3)
    target, lists = np.array([0, 1, 2]), np.array([[0, -1, 0]] * 3)
    with np.errstate(all="raise"):
        for loss in (fl.hinge_loss, fl.squared_hinge_loss, fl.multi_margin_loss):
            loss.value_grad_hess(x, target)
        fl.multilabel_margin_loss.value_grad_hess(x, lists)
        fl.cosine_embedding_loss.value_grad_hess(x, x[::-1], [1, -1, 1])
        for p in (1, 2, 3, INF):
            fl.triplet_margin_loss.value_grad_hess(x, x[::-1], x.T, p=p, swap=True)
        fl.cosine_similarity.backward([1.0] * 3, x, x)
        fl.entropy.value_grad_hess(x, from_logits=True)
        fl.entropy.value_grad_hess(np.where((x >= 0) & (x <= 1), x, x.dtype.type(0)))
