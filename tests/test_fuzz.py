"""A part of what `python -m tests.fuzz` does, always the same calls; and what it found once, by name."""

import subprocess
import sys

import numpy as np
import pytest

import fastloss as fl

HUGE = 10**400
X, Y, W = np.linspace(-2, 2, 12).reshape(4, 3), np.ones((4, 3)), np.arange(4) % 3


@pytest.mark.parametrize("start", [0, 700_000])
def test_fifteen_thousand_calls(start):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--start", str(start), "--calls", "7500"], text=True, capture_output=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("call, error, message", [
    (lambda: fl.hinge_embedding_loss(X, Y, margin=-HUGE), ValueError, "^margin is -1000"),
    (lambda: fl.mse_loss(X, Y, empty=HUGE), ValueError, "^empty is 1000"),
    (lambda: fl.mse_loss(X, Y, empty="no"), TypeError, "^empty is 'no'"),
    (lambda: fl.optim.sgd_step(X.copy(), Y, lr=HUGE), ValueError, "^lr is 1000"),
    (lambda: fl.optim.SGD(X.copy(), lr=HUGE), ValueError, "^lr is 1000"),
    (lambda: fl.optim.lion_step(X.copy(), Y, X.copy(), lr=1, step=(0, 1)), TypeError, r"^step is \(0, 1\)"),
    (lambda: fl.optim.sgd_step(X.copy(), [[1.0], [1.0, 2.0]], lr=1), ValueError, "^grad is a list that makes no array"),
    (lambda: fl.optim.RMSprop(X.copy(), centered=[0, 1]), TypeError, r"^centered is \[0, 1\]"),
    (lambda: fl.optim.asgd_step(X.copy(), Y, X.copy(), step=9, lr=1e9, alpha=1e9), ValueError, "^lr or another setting is out of range at step 9"),
    (lambda: fl.optim.Rprop(X.copy(), etas=(None, 2.0)), TypeError, r"^etas\[0\] is None"),
    (lambda: fl.optim.rprop_step(X.copy(), Y, X.copy(), X.copy(), step=1, lr=1, step_sizes=(0, HUGE)), ValueError, r"^step_sizes\[1\] is 1000"),
    (lambda: fl.optim.clip_grad_norm([X.copy()], 1.0, norm_type="2"), TypeError, "^norm_type is '2'"),
    (lambda: fl.cross_entropy(X, W, ignore_index=2**63), ValueError, "^ignore_index is 9223372036854775808"),
    (lambda: fl.cross_entropy(X, W, reduction=np.array(["mean", "sum"])), ValueError, "^reduction is array"),
    (lambda: fl.softmax(X, axis=1.5), TypeError, "^axis is 1.5"),
    (lambda: fl.softmax(X, axis=slice(None)), TypeError, "^axis is slice"),
    (lambda: fl.softmax(X, axis=np.array([0, 1])), TypeError, "^axis is array"),
    (lambda: fl.logsigmoid.backward(None, X), TypeError, "^g has dtype object"),
    (lambda: fl.softmax(X, dtype=()), TypeError, r"^dtype is \(\)"),
    (lambda: fl.crelu(X, axis=True), TypeError, "^axis is True"),
    (lambda: fl.sigmoid([[1.0], [1.0, 2.0]]), ValueError, "^x is a list that makes no array"),
    (lambda: fl.mse_loss([1.0], [[1.0], [1.0, 2.0]]), ValueError, "^target is a list that makes no array"),
    (lambda: fl.squared_hinge_loss([[1.0], [1.0, 2.0]], Y), ValueError, "^input is a list that makes no array"),
    (lambda: fl.sigmoid(X, where=X), TypeError, "^where has dtype float64; it must be bool"),
    (lambda: fl.logsumexp(X.astype(object)), TypeError, "^a has dtype object"),
    (lambda: fl.logsumexp(X, b=np.ones(5)), ValueError, r"^b has shape \(5,\); it must broadcast with a, of shape \(4, 3\)"),
    (lambda: fl.brier_score(np.float16, X), TypeError, "^input has dtype object"),
    (lambda: fl.optim.asgd_step(X.copy(), Y, X.copy(), step=9, lr=1.0, lambd=-9.0, alpha=0.5), ValueError, "^lr or another setting is out of range"),
    (lambda: fl.gelu(X, slice(None)), ValueError, "^approximate is slice"),
    (lambda: fl.rrelu(X, 0.1, "high"), TypeError, "^upper is 'high'"),
    (lambda: fl.hardtanh(X, 0.0, "high"), TypeError, "^max_val has dtype"),
    (lambda: fl.pairwise_distance.backward(np.array(["a"] * 4), X, Y), TypeError, "^g has dtype"),
    (lambda: fl.brier_score([[1.0], [1.0, 2.0]], Y), ValueError, "^input is a list that makes no array"),
    (lambda: fl.brier_score(X, [[1.0], [1.0, 2.0]]), ValueError, "^target is a list that makes no array"),
    (lambda: fl.mish.grad(X, out=(None, None, None)), TypeError, "^out is a tuple; it must be a numpy array"),
    (lambda: fl.adaptive_log_softmax_with_loss(X, W, np.ones((3, 3)), [np.ones((1, 3))], [2]), TypeError, r"^tail_weights\[0\] is a ndarray"),
    (lambda: fl.adaptive_log_softmax_with_loss(X, W, np.ones((3, 3)), [(Y[:1],)], [2]), ValueError, r"^tail_weights\[0\] has 1 entries"),
    (lambda: fl.adaptive_log_softmax_with_loss(X, W, np.ones((3, 3)), [(Y[:1], Y)], 2), TypeError, "^cutoffs is a int"),
])  # fmt: skip
def test_errors_name_what_came(call, error, message, backend):
    with pytest.raises(error, match=message):
        call()


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(a.tobytes(), np.uint8)
    return raw[1:].view(a.dtype).reshape(a.shape)


def test_unaligned_arrays_that_repeat(backend, dtype):
    """Contiguous, but not aligned: a copy is made of them wherever kernels read them directly."""
    x = np.linspace(0.5, 2, 24).reshape(2, 3, 4).astype(dtype)
    row = x[0, :1] + dtype.type(0.25)
    assert fl.mse_loss(x, np.broadcast_to(unaligned(row), x.shape)) == fl.mse_loss(x, np.broadcast_to(row, x.shape))
    labels, weight = np.array([[0, 1, 2, 0], [2, 1, 0, 0]]), x[0, :, 0]
    want = fl.cross_entropy.value_and_grad(x, labels, weight, sample_weight=weight[:2])
    got = fl.cross_entropy.value_and_grad(x, unaligned(labels), unaligned(weight), sample_weight=unaligned(weight[:2]))
    assert got[0] == want[0] and got[1].tobytes() == want[1].tobytes()


def test_means_over_rows_have_one_rounding():
    """The compiled call and the general path divide alike: a strided input gives the bits of its copy."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, y = rng.standard_normal((3, 6)), rng.integers(0, 2, (3, 3)).astype(float)
        assert fl.multilabel_soft_margin_loss(x[:, ::2], y) == fl.multilabel_soft_margin_loss(x[:, ::2].copy(), y)


def test_nadam_far_along():
    """The product of its momenta rounds to the smallest subnormal, never to 0: it is not waited for."""
    w, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    fl.optim.nadam_step(w, np.ones(3), m, v, step=2**62, lr=0.1, betas=(0.75, 0.875))
    assert np.isfinite(w).all()


def test_nll_in_place(engine, dtype):
    """The log-probabilities are read before the gradient takes their place."""
    rng = np.random.default_rng(0)
    for shape in ((40, 5), (3, 200), (2, 3, 4)):
        x = rng.standard_normal(shape).astype(dtype)
        target, weight = rng.integers(0, shape[1], (shape[0], *shape[2:])), rng.random(shape[1]).astype(dtype)
        value, grad = fl.nll_loss.value_and_grad(x, target, weight)
        got = fl.nll_loss.value_and_grad(x, target, weight, out=(None, x))
        assert got[0] == value and got[1] is x and x.tobytes() == grad.tobytes()


def test_clipping_is_quiet():
    g = np.array([1e308, -1e308])
    with np.errstate(all="raise"):
        assert fl.optim.clip_grad_norm([g], 1e-300, norm_type=np.inf) == 1e308


def test_adaptive_softmax_of_no_rows(backend):
    head, tails = np.ones((3, 8)), [(np.ones((4, 8)), np.ones((5, 4)))]
    assert fl.adaptive_log_softmax_with_loss.log_prob(np.zeros((0, 8)), head, tails, [2]).shape == (0, 7)
    value, grads = fl.adaptive_log_softmax_with_loss.value_and_grad(np.zeros((0, 8)), np.zeros(0, int), head, tails, [2])
    assert np.isnan(value.loss) and grads[0].shape == (0, 8)


def test_logsumexp_into_the_shape_of_a_and_b():
    a, b = np.zeros(3), np.ones((2, 3))
    out = np.empty(2)
    assert fl.logsumexp(a, axis=1, b=b, out=out) is out
    np.testing.assert_allclose(out, np.log(3))


def test_rows_of_no_classes_end(backend):
    """However they lie in memory."""
    x = np.broadcast_to(np.float64(1), (1, 17, 2, 0))
    value, grad, _ = fl.entropy.value_grad_hess(x, from_logits=True)
    assert value.shape == (1, 17, 2) and not value.any() and grad.shape == x.shape
