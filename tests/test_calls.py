"""Plain calls of the compiled backend go straight to the kernels: to the same bits as the general way, and without entering it."""

import ctypes
import platform
import sys

import numpy as np
import pytest

import fastloss as fl
from tests.cases import scenarios
from tests.test_layouts import bits, ids

engine = pytest.importorskip("fastloss.kernels.aot.engine")
A = np.random.default_rng(0).random((2, 8, 10)).astype(np.float32)
X, Y, LABELS, WEIGHTS, ROWS = A[0], A[1], np.arange(8), A[0, 0], A[0, :, 0].copy()
OUT, HUGE, INFINITE = np.empty_like(X), np.full_like(X, 3e38), np.full_like(X, np.inf)


@pytest.fixture(autouse=True)
def compiled():
    with fl.backend("cython"):
        yield


@pytest.fixture
def both(dtype):
    """Compares what a call gives on the two ways."""

    def compare(call, *arguments, **keywords):
        short = bits(call(*arguments, **keywords))
        engine.allow_fast_calls(False)
        try:
            general = bits(call(*arguments, **keywords))
        finally:
            engine.allow_fast_calls(True)
        assert short == general

    return compare


@pytest.mark.parametrize("scenario", scenarios("activation"), ids=ids)
def test_activations(scenario, dtype, both):
    f, ((x,), keywords) = scenario.case.function, scenario.call(dtype)
    for call in (f, f.grad, lambda x, **keywords: f.backward(x[::-1].copy(), x, **keywords)):
        both(call, x, **keywords)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("scenario", scenarios("elementwise", "pair", "rows", "lines", "sequence"), ids=ids)
def test_losses(scenario, reduction, dtype, both):
    loss, (arguments, keywords) = scenario.case.function, scenario.call(dtype)
    for method in (loss, loss.grad, loss.value_and_grad, loss.value_grad_hess)[: 3 if scenario.case.family == "sequence" else 4]:
        both(method, *arguments, reduction=reduction, **keywords)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fl.sigmoid(X), lambda: fl.gelu.grad(X, "tanh", out=OUT), lambda: fl.leaky_relu(X, 0.2), lambda: fl.threshold.backward(Y, X, 1, 0),
        lambda: fl.prelu(X, weight=0.25), lambda: fl.softplus(X, beta=2.0), lambda: fl.srelu(X, -1, 0.5, 1.0, 2.0),
        lambda: fl.mse_loss(X, Y), lambda: fl.mse_loss.grad(X, Y, out=OUT), lambda: fl.huber_loss.value_and_grad(X, Y, delta=2.0, reduction="none"),
        lambda: fl.gaussian_nll_loss.grad(X, Y, Y, reduction="sum"), lambda: fl.hinge_loss.value_grad_hess(X, 1.0),
        lambda: fl.cross_entropy(X, LABELS, WEIGHTS), lambda: fl.cross_entropy.grad(X, LABELS, label_smoothing=0.1, z_loss=0.01, out=OUT),
        lambda: fl.cross_entropy.value_and_grad(X, LABELS, ignore_index=3, sample_weight=ROWS, reduction="none"),
        lambda: fl.focal_cross_entropy.value_grad_hess(X, LABELS, gamma=1.5), lambda: fl.nll_loss.grad(X, LABELS, weight=WEIGHTS),
        lambda: fl.multi_margin_loss.grad(X, LABELS, margin=0.5, reduction="none"), lambda: fl.triplet_margin_loss.grad(X, Y, Y),
        lambda: fl.ctc_loss.grad(np.log(A), LABELS.reshape(8, 1) % 9 + 1, np.full(8, 2), np.ones(8, int)),
    ],
)  # fmt: skip
def test_nothing_goes_the_general_way(call, monkeypatch):
    for function in (fl.sigmoid, fl.mse_loss, fl.hinge_loss, fl.cross_entropy, fl.multi_margin_loss, fl.ctc_loss):
        for kind in type(function).__mro__:
            if "_call" in vars(kind):
                monkeypatch.setattr(kind, "_call", None)
    call()
    with pytest.raises(TypeError):
        fl.sigmoid(X[:, ::2])      # which does


class Elsewhere:
    """An array of another library, as far as its type says; whoever reads its numbers is too early."""

    __cuda_array_interface__ = {}

    def __array__(self, *_, **__):
        raise AssertionError("read before its library was asked")


@pytest.mark.parametrize(
    "call",
    [
        lambda: fl.celu(X, Elsewhere()), lambda: fl.hardtanh(X, -1.0, max_val=Elsewhere()), lambda: fl.quantile_loss(X, Y, q=Elsewhere()),
        lambda: fl.cross_entropy(X, LABELS, Elsewhere()), lambda: fl.cross_entropy.grad(X, LABELS, label_smoothing=Elsewhere()),
        lambda: fl.multi_margin_loss(X, LABELS, weight=Elsewhere()),
    ],
)  # fmt: skip
def test_parameters_of_other_libraries_are_left_to_them(call, monkeypatch):
    asked = []
    for module in ("_activation", "_loss"):
        monkeypatch.setattr(f"fastloss.{module}.owner", lambda values: asked.append(any(isinstance(v, Elsewhere) for v in values)))
    with pytest.raises((AssertionError, TypeError, ValueError)):
        call()
    assert any(asked)


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="numbers of flags")
@pytest.mark.parametrize(
    "call",
    [
        lambda: fl.leaky_relu(X, 1e300), lambda: fl.leaky_relu(X, 1e-42), lambda: fl.mse_loss(HUGE, Y), lambda: fl.softmax(HUGE, axis=1),
        lambda: fl.mse_loss(HUGE, Y, reduction="none"), lambda: fl.cross_entropy(X, LABELS, HUGE[0]), lambda: fl.cross_entropy(X, LABELS, INFINITE[0]),
        lambda: fl.logsumexp(INFINITE, axis=0), lambda: fl.sigmoid(INFINITE),
    ],
)  # fmt: skip
def test_floating_point_status_is_left_alone(call):
    libm, serious = ctypes.CDLL("libm.so.6"), 0x1D       # invalid, division by zero, overflow, underflow
    libm.feclearexcept(0x3D)
    call()
    assert libm.fetestexcept(serious) == 0
