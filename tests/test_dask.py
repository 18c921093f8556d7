"""Dask arrays: lazy, the NumPy call's results for every cut, blocks alone in memory, in other processes too."""

import pickle
import sys

import numpy as np
import pytest

import fastloss as fl
from tests.oracle import oracle

dask = oracle("dask")
da = oracle("dask.array")
distributed = oracle("distributed")

RNG = np.random.default_rng(5)
X, Y = (RNG.standard_normal((11, 6)).astype(np.float32) * 3 for _ in range(2))
CUBE = RNG.standard_normal((5, 6, 2, 3))
LABELS = RNG.integers(0, 6, 11)
LABELS[[2, 7]] = -100
SIGNS = np.where(Y > 0, 1.0, -1.0)
WEIGHTS = np.arange(1.0, 7.0)
ROWS = np.linspace(0, 2, 11)
SOME = RNG.random((11, 6)) > 0.3
CUT = (3, 0, 5, 3), (6,)                     # rows in uneven chunks, one of them empty
CLASSES = (4, 7), (1, 3, 0, 2)               # classes cut too
LAYER = RNG.standard_normal((6, 4)).astype(np.float32)
LOG_PROBS = fl.log_softmax(RNG.standard_normal((5, 11, 4)), axis=2)

# (loss, arguments, keywords, chunks of the arguments; None: a NumPy array, chunks of keywords)
LOSSES = [
    ("mse_loss", (X, Y), {}, (CLASSES, 4), {}),
    ("mse_loss", (X, 0.5), {"weight": WEIGHTS, "sample_weight": ROWS, "where": SOME}, (CUT, None), {"where": 2, "sample_weight": 3}),
    ("huber_loss", (X, Y), {"weight": Y**2}, (None, CUT), {"weight": 5}),
    ("quantile_loss", (X, Y), {"q": WEIGHTS / 7}, (CLASSES, None), {"q": 3}),
    ("gaussian_nll_loss", (X, Y, ROWS.astype(np.float32)), {}, (CLASSES, CUT, 2), {}),
    ("gaussian_nll_loss", (X, Y, (X**2)[:1]), {}, (CLASSES, CUT, None), {}),
    ("margin_ranking_loss", (X, 1.0, SIGNS), {}, (CLASSES, None, CUT), {}),
    ("binary_cross_entropy_with_logits", (X, SOME), {"pos_weight": WEIGHTS}, (CLASSES, 3), {"pos_weight": 2}),
    ("multilabel_soft_margin_loss", (X, SOME), {"where": ROWS > 0.5}, (CLASSES, None), {"where": 4}),
    ("hinge_loss", (X, SIGNS), {}, (CLASSES, None), {}),
    ("hinge_loss", (X, LABELS % 6), {}, (CLASSES, 2), {}),
    ("multi_margin_loss", (X, LABELS % 6), {"weight": WEIGHTS}, (CUT, None), {"weight": 6}),
    ("multilabel_margin_loss", (X, np.where(SOME, LABELS[:, None] % 6, -1)), {}, (CUT, 5), {}),
    ("triplet_margin_loss", (X, Y, X[::-1]), {}, (CLASSES, 3, None), {}),
    ("cosine_embedding_loss", (X, Y, SIGNS[:, 0]), {"margin": 0.25}, (CUT, None, 4), {}),
    ("cross_entropy", (X, LABELS), {}, (CUT, None), {}),
    ("cross_entropy", (X, LABELS), {"weight": WEIGHTS, "label_smoothing": 0.1, "sample_weight": ROWS}, (CUT, 4), {"weight": 2, "sample_weight": 11}),
    ("cross_entropy", (X, fl.softmax(Y, axis=1)), {"where": ROWS > 0.5}, (CUT, CLASSES), {}),
    ("cross_entropy", (CUBE, LABELS[:5, None, None] % 6 * np.ones((5, 2, 3), int)), {"z_loss": 0.1}, ((2, 6, 1, 2), 1), {}),
    ("cross_entropy", (X, LABELS), {"weight": WEIGHTS, "sample_weight": ROWS}, (CLASSES, 4), {"weight": 4, "sample_weight": 5}),
    ("cross_entropy", (X, LABELS), {"label_smoothing": 0.2, "z_loss": 0.1, "where": ROWS > 0.5}, (CLASSES, None), {}),
    ("cross_entropy", (X, fl.softmax(Y, axis=1)), {"weight": WEIGHTS}, (CLASSES, CUT), {}),
    ("cross_entropy", (CUBE, LABELS[:5, None, None] % 6 * np.ones((5, 2, 3), int)), {}, ((3, 2, 2, 3), 4), {}),
    ("brier_score", (SOME * 0.5, SOME), {}, (CLASSES, CUT), {}),
    ("brier_score", (SOME * 0.5, SOME), {"axis": None}, (CLASSES, CUT), {}),
    ("brier_score", (SOME * 0.5, LABELS % 6), {"axis": 1}, (CLASSES, None), {}),
    ("entropy", (np.tanh(X) ** 2,), {}, (CLASSES,), {}),
    ("nll_loss", (X, LABELS), {"weight": WEIGHTS}, (CLASSES, 4), {"weight": 2}),
    ("linear_cross_entropy", (X[:, :4], LAYER, LABELS), {"linear_bias": WEIGHTS.astype("f4"), "weight": WEIGHTS}, (((4, 0, 7), (2, 2)), 3, 5), {}),
    ("ctc_loss", (LOG_PROBS, np.ones((11, 2), int), np.full(11, 5), np.arange(11) % 3), {"sample_weight": ROWS}, ((3, 4, 2), 5, None, None), {}),
]
METHODS = "__call__", "grad", "value_and_grad", "value_grad_hess", "partial"


def never(*args, **kwargs):
    raise AssertionError("building a graph computed something")


def lazily(function, arguments, keywords, chunks, keyword_chunks):
    """The call on Dask arrays; nothing may be computed."""
    with dask.config.set(scheduler=never):
        arguments = [a if c is None else da.from_array(a, chunks=c) for a, c in zip(arguments, chunks)]
        return function(*arguments, **keywords | {name: da.from_array(keywords[name], chunks=c) for name, c in keyword_chunks.items()})


def flat(result):
    """Arrays and numbers of a nested result."""
    if isinstance(result, tuple):
        return [leaf for part in result for leaf in flat(part)]
    return [] if result is None else [result]


@np.errstate(under="ignore")
def assert_same(lazy, computed, expected, ulp):
    """Same dtypes and shapes, lazily and computed, and values within `ulp` units of the largest of them, or of themselves."""
    lazy, computed, expected = flat(lazy), flat(computed), flat(expected)
    assert len(lazy) == len(computed) == len(expected)
    for known, got, want in zip(lazy, computed, expected):
        if isinstance(want, fl.Partial):
            assert got.count == want.count
            np.testing.assert_allclose([got.loss_sum, got.weight_sum], [want.loss_sum, want.weight_sum], rtol=ulp * 1.2e-7)
            continue
        want = np.asarray(want)
        assert known.dtype == got.dtype == want.dtype and known.shape == got.shape == want.shape
        eps = np.finfo(want.dtype).eps
        most = np.max(np.abs(want[np.isfinite(want)]), initial=0)
        np.testing.assert_allclose(got, want, rtol=ulp * eps, atol=ulp * eps * most)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("number", range(len(LOSSES)), ids=lambda i: f"{LOSSES[i][0]}-{i}")
def test_loss(number, method):
    """Blocks differ from the whole by the rounding of the divisor and of one more product; where classes are cut, and in
    the sums of products of linear_cross_entropy, by that of sums in another order."""
    name, arguments, keywords, *chunks = LOSSES[number]
    loss = getattr(fl, name)
    if method == "value_grad_hess" and name in ("linear_cross_entropy", "ctc_loss"):
        with pytest.raises(NotImplementedError, match="value_grad_hess"):
            lazily(loss.value_grad_hess, arguments, keywords, *chunks)
        return
    ulp = 8 if name in ("linear_cross_entropy", "cosine_embedding_loss") else 4
    others = ("none", "sum") if number % 2 else ("sum", "none")
    reduction = {"__call__": others[0], "grad": others[1]}.get(method, "mean")
    options = keywords if method == "partial" else keywords | {"reduction": reduction}
    expected = getattr(loss, method)(*arguments, **options)
    lazy = lazily(getattr(loss, method), arguments, options, *chunks)
    assert_same(lazy, dask.compute(lazy, scheduler="sync")[0], expected, ulp)


def test_gradient_has_the_chunks_of_the_input():
    for chunks in (CUT, CLASSES):
        x = da.from_array(X, chunks=chunks)
        for loss, target in ((fl.cross_entropy, LABELS), (fl.mse_loss, Y), (fl.nll_loss, LABELS), (fl.multi_margin_loss, LABELS % 6)):
            assert loss.grad(x, target).chunks == x.chunks
        assert fl.softmax(x, axis=1).chunks == fl.hardmax(x, axis=1).chunks == fl.softmax.backward(x, x, axis=1).chunks == x.chunks


def test_batchmean():
    expected = fl.kl_div.value_and_grad(X, Y**2, where=SOME, sample_weight=ROWS, reduction="batchmean")
    lazy = lazily(fl.kl_div.value_and_grad, (X, Y**2), {"where": SOME, "sample_weight": ROWS, "reduction": "batchmean"}, (CLASSES, 2), {"where": 4})
    assert_same(lazy, dask.compute(lazy, scheduler="sync")[0], expected, 4)


def test_unknown_chunks():
    """After boolean filtering nobody knows how many rows are left; one block loses them all."""
    keep = ROWS > 0.7
    mask = da.from_array(keep, chunks=3)
    x, y, t, w = (da.from_array(a, chunks=(3,) + a.shape[1:])[mask] for a in (X, Y, LABELS, ROWS))
    assert np.isnan(x.shape[0])
    calls = [
        (fl.cross_entropy.value_grad_hess, (x, t), (X, LABELS), {"label_smoothing": 0.1}, {"sample_weight": (w, ROWS)}),
        (fl.mse_loss.value_and_grad, (x, y), (X, Y), {"weight": WEIGHTS}, {}),
        (fl.l1_loss.value_and_grad, (x, 0.0), (X, 0.0), {}, {}),
        (fl.kl_div.grad, (x, y), (X, Y), {"reduction": "batchmean"}, {}),
        (fl.multilabel_soft_margin_loss.grad, (x, 1.0), (X, 1.0), {}, {"sample_weight": (w, ROWS)}),
        (fl.cosine_embedding_loss.value_and_grad, (x, y, t * 0 + 1), (X, Y, LABELS * 0 + 1), {}, {}),
    ]
    for function, arguments, whole, keywords, lazy_keywords in calls:
        with dask.config.set(scheduler=never):
            lazy = function(*arguments, **keywords, **{name: pair[0] for name, pair in lazy_keywords.items()})
        expected = function(*(a[keep] if np.ndim(a) else a for a in whole), **keywords, **{name: pair[1][keep] for name, pair in lazy_keywords.items()})
        for got, want in zip(flat(dask.compute(lazy, scheduler="sync")[0]), flat(expected)):
            np.testing.assert_allclose(got, want, rtol=5e-7, atol=5e-7)
    with pytest.raises(ValueError, match="sample_weight is a numpy array"):
        fl.mse_loss(x, y, sample_weight=ROWS)
    with pytest.raises(ValueError, match="target has 2 chunks along axis 0"):
        fl.mse_loss(x, da.from_array(Y, chunks=(6, 6)))


def test_upstream():
    expected = fl.cross_entropy.grad(X, LABELS, reduction="none", upstream=ROWS)
    lazy = lazily(fl.cross_entropy.grad, (X, LABELS), {"reduction": "none", "upstream": ROWS}, (CLASSES, None), {"upstream": 4})
    assert_same(lazy, lazy.compute(scheduler="sync"), expected, 4)


def test_cut_does_not_matter():
    """Any cut gives the same mean to the last bit, and the same gradient to the bit; that is the NumPy call's, divided once more."""
    wide = RNG.standard_normal((500, 7)).astype(np.float32)
    labels = RNG.integers(0, 7, 500)
    value, grad = fl.cross_entropy.value_and_grad(wide, labels)
    lazy = [fl.cross_entropy.value_and_grad(da.from_array(wide, chunks=(rows, 7)), labels) for rows in (7, 13, 499)]
    (first, its), *others = dask.compute(lazy, scheduler="sync")[0]
    assert abs(first - value) <= np.spacing(value)
    np.testing.assert_allclose(its, grad, rtol=2e-7)
    for other, gradient in others:
        assert other == first
        np.testing.assert_array_equal(gradient, its)


def test_nothing_takes_part():
    x, y = da.from_array(X, chunks=CUT), da.full(11, -100, chunks=4)
    value, grad, hess = dask.compute(fl.cross_entropy.value_grad_hess(x, y), scheduler="sync")[0]
    assert np.isnan(value) and not grad.any() and not hess.any()
    assert fl.cross_entropy(x, y, empty=0.0).compute(scheduler="sync") == 0
    value, grad = dask.compute(fl.mse_loss.value_and_grad(da.zeros((0, 3)), 1.0, empty=7.0), scheduler="sync")[0]
    assert value == 7 and grad.shape == (0, 3)


@np.errstate(all="raise")
def test_extreme_rows_of_cut_classes():
    """Rows, and chunks of rows, of infinities and NaN."""
    x = X.copy()
    x[0], x[1, :2], x[2, 2:], x[3], x[4, 1], x[5, 1], x[6, 4] = -np.inf, -np.inf, -np.inf, np.nan, np.inf, np.nan, 90
    for function, keywords in ((fl.softmax, {}), (fl.log_softmax, {}), (fl.logsumexp, {}), (fl.softmin, {"where": SOME}), (fl.softmax, {"where": SOME})):
        expected = function(x, axis=1, **keywords)
        lazy = lazily(function, (x,), {"axis": 1, **keywords}, (CLASSES,), {})
        assert_same(lazy, lazy.compute(scheduler="sync"), expected, 2)
    for keywords in ({}, {"label_smoothing": 0.1}):
        expected = fl.cross_entropy.value_and_grad(x, LABELS, reduction="none", **keywords)
        lazy = lazily(fl.cross_entropy.value_and_grad, (x, LABELS), {"reduction": "none", **keywords}, (CLASSES, 3), {})
        assert_same(lazy, dask.compute(lazy, scheduler="sync")[0], expected, 4)


SOFTMAX = [
    *((name, axis, chunks) for name in ("softmax", "log_softmax", "softmin", "hardmax", "logsumexp") for axis in (0, None) for chunks in (CUT, CLASSES)),
    ("softmax", 1, CUT), ("logsumexp", (0, 1), CLASSES), ("log_softmax", -1, CLASSES),
]  # fmt: skip


@pytest.mark.parametrize(("name", "axis", "chunks"), SOFTMAX)
def test_softmax_family(name, axis, chunks):
    function = getattr(fl, name)
    for keywords, lazy_keywords in (({}, {}), ({"where": SOME, "dtype": np.float64}, {"where": 4})):
        expected = function(X, axis=axis, **keywords)
        lazy = lazily(function, (X,), {"axis": axis, **keywords}, (chunks,), lazy_keywords)
        assert_same(lazy, lazy.compute(scheduler="sync"), expected, 4 if keywords else 2)      # float64 merges in float64
    if name in ("softmax", "log_softmax"):
        y = function(X, axis=axis)
        lazy = lazily(function.backward, (Y, y), {"axis": axis}, (chunks, None), {})
        assert_same(lazy, lazy.compute(scheduler="sync"), function.backward(Y, y, axis=axis), 2)


def test_logsumexp_with_factors():
    keywords = {"axis": 1, "b": Y, "return_sign": True, "keepdims": True}
    lazy = lazily(fl.logsumexp, (X,), keywords, (CLASSES,), {"b": 3})
    assert_same(lazy, dask.compute(lazy, scheduler="sync")[0], fl.logsumexp(X, **keywords), 2)


FUNCTIONS = [
    (fl.sigmoid, (X,), {}, (4,)), (fl.gelu.grad, (X,), {"where": SOME}, (4,)), (fl.elu.backward, (Y, X), {"alpha": 2.0}, (4, None)),
    (fl.relu.backward, (Y, X), {}, (None, CLASSES)), (fl.prelu, (X, WEIGHTS), {"axis": 1}, (4, 2)), (fl.prelu.grad, (X, 0.3), {}, (4, None)),
    (fl.prelu.backward_weight, (Y, X, WEIGHTS), {"axis": 1}, (CUT, 3, None)), (fl.prelu.backward_weight, (Y, X, 0.3), {}, (CUT, 3, None)),
    (fl.swish.backward_beta, (Y, X, WEIGHTS), {}, (CUT, 3, 2)), (fl.leaky_relu, (X, WEIGHTS), {}, (None, 3)),
    (fl.crelu, (X,), {}, (4,)), (fl.crelu.backward, (np.hstack([X, Y]), X), {}, (4, CLASSES)), (fl.glu, (X,), {}, (CLASSES,)),
    (fl.glu.backward, (Y[:, :3], X), {}, (2, CLASSES)), (fl.maxout, (X, 2), {}, (4, None)), (fl.maxout, (X,), {"axis": 0}, (4,)),
    (fl.maxout.backward, (Y[:, 0], X), {}, (2, 4)), (fl.rrelu, (X,), {}, (4,)), (fl.rrelu.backward, (Y, X), {}, (4, 3)),
    (fl.pairwise_distance, (X, Y), {"keepdims": True}, (4, 3)), (fl.pairwise_distance, (X, Y[0]), {}, (4, None)),
    (fl.cosine_similarity, (X, Y), {"axis": 0}, (4, 3)), (fl.cosine_similarity.backward, (Y[:, 0], X, Y), {}, (None, CLASSES, 3)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_functions(number):
    function, arguments, keywords, chunks = FUNCTIONS[number]
    lazy = lazily(function, arguments, keywords, chunks, {})
    assert_same(lazy, dask.compute(lazy, scheduler="sync")[0], function(*arguments, **keywords), 4)      # of sums in another order


def test_ufuncs_take_dask_arrays():
    lazy = fl.silu.ufunc(da.from_array(X, chunks=4))
    np.testing.assert_array_equal(lazy.compute(scheduler="threads"), fl.silu(X))


def test_threads():
    x, y = da.from_array(X, chunks=2), da.from_array(LABELS, chunks=3)
    value, grad = dask.compute(*fl.cross_entropy.value_and_grad(x, y, weight=WEIGHTS), scheduler="threads")
    assert_same((value, grad), (value, grad), fl.cross_entropy.value_and_grad(X, LABELS, weight=WEIGHTS), 4)


class TestRefused:
    x = da.from_array(X, chunks=4)

    def test_out(self):
        for call in (fl.mse_loss, fl.mse_loss.grad, fl.relu, fl.softmax, fl.logsumexp):
            with pytest.raises(TypeError, match="out"):
                call(*((self.x, 0.0) if call in (fl.mse_loss, fl.mse_loss.grad) else (self.x,)), out=np.empty_like(X))

    def test_while_the_graph_is_built(self):
        with dask.config.set(scheduler=never):
            for error, call in (
                (ValueError, lambda: fl.mse_loss(self.x, Y[:5])),
                (ValueError, lambda: fl.mse_loss(self.x, Y[0])),
                (ValueError, lambda: fl.mse_loss(self.x, Y, reduction="average")),
                (ValueError, lambda: fl.mse_loss(self.x, Y, sample_weight=ROWS[:4])),
                (ValueError, lambda: fl.cross_entropy(self.x, LABELS[:4])),
                (ValueError, lambda: fl.cross_entropy(self.x, LABELS, label_smoothing=2)),
                (ValueError, lambda: fl.cross_entropy(self.x, LABELS, weight=WEIGHTS[:3])),
                (TypeError, lambda: fl.cross_entropy(self.x, ROWS)),
                (TypeError, lambda: fl.mse_loss(self.x, Y, nonsense=1)),
                (TypeError, lambda: fl.sigmoid(self.x > 0)),
                (TypeError, lambda: fl.mse_loss(self.x, dask.delayed(np.ones)(3))),
                (ValueError, lambda: fl.mse_loss.grad(self.x, Y, upstream=Y)),
                (NotImplementedError, lambda: fl.rrelu(self.x, rng=np.random.default_rng(0))),
                (NotImplementedError, lambda: fl.adaptive_log_softmax_with_loss(self.x, LABELS, X[:3], [(X[:2], X[:4, :2])], [2])),
                (TypeError, lambda: fl.adaptive_log_softmax_with_loss.predict(self.x, X[:3], [(X[:2], X[:4, :2])], [2])),
                (NotImplementedError, lambda: fl.ctc_loss(da.from_array(LOG_PROBS), np.ones(3, int), np.full(11, 5), np.ones(11, int))),
            ):
                with pytest.raises(error):
                    call()

    def test_values_where_they_are(self):
        with pytest.raises(IndexError, match="is 6"):
            fl.cross_entropy(self.x, np.full(11, 6)).compute(scheduler="sync")
        with pytest.raises(IndexError, match="is 6"):
            fl.cross_entropy(self.x.rechunk((4, 2)), np.full(11, 6)).compute(scheduler="sync")


# Processes

LIMIT = 400 << 20


@pytest.fixture(scope="module")
def client():
    """Two worker processes that may use 400 MiB each."""
    settings = {f"distributed.worker.memory.{name}": False for name in ("spill", "target", "pause")}       # beyond 95%: killed
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None, "memory_limit": LIMIT}
    with dask.config.set(settings), distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def resident():
    """The most memory that this process ever had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_processes(client):
    for number in (1, 16, 19, -2):
        name, arguments, keywords, *chunks = LOSSES[number]
        loss = getattr(fl, name)
        lazy = lazily(loss.value_and_grad, arguments, keywords, *chunks)
        assert_same(lazy, dask.compute(lazy, scheduler=client)[0], loss.value_and_grad(*arguments, **keywords), 8)
    partial = fl.mse_loss.partial(da.from_array(X, chunks=4), Y)
    assert client.compute(partial).result() == fl.mse_loss.partial(X, Y)
    assert pickle.loads(pickle.dumps(fl.sigmoid(da.from_array(X, chunks=4)))).compute().shape == X.shape


def test_memory_of_workers(client):
    """Value and gradients of 480 MB of rows, on workers that may use 400 MB: rows are never gathered."""
    rows, features, classes = 6_000_000, 20, 4
    random = da.random.default_rng(0)
    x = random.random((rows, features), chunks=(100_000, features), dtype=np.float32)
    labels = random.integers(-1, classes, rows, chunks=100_000)                  # -1: ignored
    layer = np.zeros((features, classes), np.float32)
    assert x.nbytes > 1.1 * LIMIT
    before = client.run(resident)
    value, grad = fl.cross_entropy.value_and_grad(x @ layer, labels, ignore_index=-1)
    futures = client.compute([value, x.T @ grad])
    distributed.wait(futures, timeout=300)
    value, step = client.gather(futures)
    after = client.run(resident)
    assert abs(value - np.log(4)) < 1e-6 and step.shape == layer.shape
    assert all(after[worker] - before[worker] < 200 << 20 for worker in before), (before, after)
