"""fl.chunked: what the loss gives, from chunks of rows, in memory that does not grow."""

import numpy as np
import pytest

import fastloss as fl
from tests.ulp import assert_close

RNG = np.random.default_rng(8)
X, Y = RNG.standard_normal((50, 6)).astype(np.float32), RNG.standard_normal((50, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, 50)
LABELS[7] = -100
ROWS = np.linspace(0, 2, 50)
WEIGHTS = np.arange(1.0, 7.0)
CALLS = [
    ("mse_loss", (X, Y), {}),
    ("mse_loss", (X, 0.5), {"weight": WEIGHTS, "sample_weight": ROWS, "where": Y > 0}),
    ("gaussian_nll_loss", (X, Y, (X**2)[:1]), {}),
    ("kl_div", (X, Y**2), {"where": Y > 0, "reduction": "batchmean"}),
    ("margin_ranking_loss", (X, Y, 1.0), {}),
    ("cross_entropy", (X, LABELS), {"weight": WEIGHTS, "label_smoothing": 0.1, "sample_weight": ROWS}),
    ("cross_entropy", (X.T.copy(), LABELS), {"axis": 0}),
    ("cross_entropy", (X[0], 3), {}),
    ("triplet_margin_loss", (X, Y, Y[::-1]), {}),
    ("linear_cross_entropy", (X, Y[:4], LABELS % 4), {"linear_bias": Y[0, :4]}),
    ("ctc_loss", (fl.log_softmax(RNG.standard_normal((4, 50, 5)), axis=2), np.ones((50, 2), int), np.full(50, 4), ROWS.astype(int)), {}),
]


class File:
    """What h5py and zarr give: a shape, a dtype, slices."""

    def __init__(self, array):
        self.array, self.shape, self.ndim, self.dtype = array, array.shape, array.ndim, array.dtype

    def __getitem__(self, index):
        return self.array[index].copy()

    def __setitem__(self, index, value):
        self.array[index] = value


def assert_same(got, expected):
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected):
            assert_same(one, other)
    elif expected is None:
        assert got is None
    elif isinstance(expected, fl.Partial):
        assert got.count == expected.count and np.isclose(got.loss_sum, expected.loss_sum, rtol=1e-6) and np.isclose(got.weight_sum, expected.weight_sum)
    else:
        assert np.asarray(got).dtype == np.asarray(expected).dtype
        assert_close(np.asarray(got), np.asarray(expected), 8, size=1.0)      # a divisor as a factor; sums of products in another order


@pytest.mark.parametrize("number", range(len(CALLS)), ids=lambda i: f"{CALLS[i][0]}-{i}")
def test_as_the_function(number):
    name, arguments, keywords = CALLS[number]
    loss = getattr(fl, name)
    methods = ["value_and_grad", "grad"] + ["value_grad_hess"] * (name not in ("linear_cross_entropy", "ctc_loss"))
    for reduction in ("batchmean",) if name == "kl_div" else ("mean", "sum", "none"):
        options = keywords | {"reduction": reduction}
        for function in (loss, *(getattr(loss, method) for method in methods)):
            assert_same(fl.chunked(function, *arguments, rows=7, **options), function(*arguments, **options))
    options = {key: value for key, value in keywords.items() if key != "reduction"}
    assert_same(fl.chunked(loss.partial, *arguments, rows=7, **options), loss.partial(*arguments, **options))


def test_files_in_and_out():
    x, y, out, value = File(X), File(LABELS), File(np.zeros_like(X)), np.zeros((), np.float32)
    got = fl.chunked(fl.cross_entropy.value_and_grad, x, y, rows=16, out=(value, out), sample_weight=File(ROWS))
    expected = fl.cross_entropy.value_and_grad(X, LABELS, sample_weight=ROWS)
    assert got[0] is value and got[1] is out
    assert_same((value, out.array), expected)
    own = X.copy()
    fl.chunked(fl.cross_entropy.grad, own, LABELS, rows=16, out=own)          # in place
    assert_same(own, fl.cross_entropy.grad(X, LABELS))


def test_nothing():
    assert np.isnan(fl.chunked(fl.mse_loss, np.empty((0, 3)), 1.0)) and fl.chunked(fl.mse_loss, np.empty((0, 3)), 1.0, empty=2.0) == 2
    value, grad = fl.chunked(fl.cross_entropy.value_and_grad, X, np.full(50, -100), rows=9)
    assert np.isnan(value) and not grad.any()


def test_refused():
    for error, call in (
        (ValueError, lambda: fl.chunked(fl.mse_loss, X, Y, rows=0)),
        (TypeError, lambda: fl.chunked(fl.softmax, X)),
        (TypeError, lambda: fl.chunked(np.sum, X)),
        (TypeError, lambda: fl.chunked(fl.mse_loss, X, Y, nonsense=1)),
        (ValueError, lambda: fl.chunked(fl.mse_loss, X, Y[:3])),
        (ValueError, lambda: fl.chunked(fl.mse_loss.grad, X, Y, out=np.empty((3, 6), np.float32))),
        (IndexError, lambda: fl.chunked(fl.cross_entropy, X, LABELS + 3, rows=20)),
        (NotImplementedError, lambda: fl.chunked(fl.adaptive_log_softmax_with_loss, X, LABELS, Y[:3], [(Y[:2], X[:4, :2])], [2])),
    ):
        with pytest.raises(error):
            call()


def test_flat_memory(python, tmp_path):
    """A gradient of 160 MB of memmapped logits, written to another memmap, in a process that may allocate 64 MB more."""
    pytest.importorskip("resource")
    program = f"""
import resource, tracemalloc
import numpy as np
import fastloss as fl

shape = (400_000, 100)
x = np.memmap({str(tmp_path / "x")!r}, np.float32, "w+", shape=shape)
g = np.memmap({str(tmp_path / "g")!r}, np.float32, "w+", shape=shape)
y = np.arange(shape[0]) % 100
weight = np.linspace(1, 2, 100)
fl.cross_entropy.value_and_grad(x[:5], y[:5], weight=weight)
tracemalloc.start()
value, _ = fl.chunked(fl.cross_entropy.value_and_grad, x, y, weight=weight, out=(None, g))
print(tracemalloc.get_traced_memory()[1])
assert abs(value - np.log(100)) < 1e-5, value
assert np.allclose(g[-1].sum(), 0, atol=1e-6) and g[-1, 99] < 0
"""
    assert int(python(program)) < 64 << 20
