"""The references themselves: against SciPy and torch in float64, and their derivatives against differences."""

import mpmath
import numpy as np
import pytest

from tests import reference as ref
from tests.cases import scenarios
from tests.oracle import oracle
from tests.ulp import assert_close, widen

F64 = np.float64


def ids(scenario):
    return scenario.id


def torch_call(name, arguments, keywords):
    """Value and gradient of torch's function, sample weights and masks left out."""
    torch = oracle("torch")
    x, *rest = (torch.tensor(a) for a in arguments)
    if name == "softplus":
        keywords = {"threshold": 1e9} | keywords  # its own, 20, is seen in float64
    if name == "prelu":
        keywords = {"weight": np.atleast_1d(keywords["weight"])}
    keywords = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
    for key in ("pos_weight",):
        if key in keywords:
            keywords[key] = torch.as_tensor(keywords[key], dtype=x.dtype)
    x.requires_grad_()
    value = getattr(torch.nn.functional, name)(x, *rest, **keywords)
    value.sum().backward()
    return value.detach().numpy(), x.grad.numpy()


def taken(known, *families):
    """The scenarios whose keywords are all known."""
    return [s for s in scenarios(*families) if s.call(F64)[1].keys() <= known]


TORCH_HAS = {
    "weight", "ignore_index", "label_smoothing", "pos_weight", "approximate", "negative_slope", "alpha", "beta", "threshold",
    "min_val", "max_val", "lambd", "value",
}  # fmt: skip
TORCH_LACKS = {
    "swish", "srelu", "gaussian", "step", "linear",  # its linear multiplies matrices
    "msle_loss", "log_cosh_loss", "quantile_loss", "sigmoid_focal_loss", "exponential_loss", "hinge_loss",
    "squared_hinge_loss", "brier_score", "focal_cross_entropy",
}  # fmt: skip
SCIPY_HAS = {"axis", "b", "keepdims", "return_sign"}


@pytest.mark.parametrize("scenario", taken(TORCH_HAS, "activation", "elementwise", "rows"), ids=ids)
def test_torch_agrees(scenario):
    if scenario.case.name in TORCH_LACKS or scenario.id == "huber_loss-67-p0-weight":  # its weighted mean divides by the count
        return
    arguments, keywords = scenario.call(F64)
    expected = scenario.expected(F64)
    # torch cancels where the package must not, hence sizes of the inputs' order
    if scenario.case.family == "activation":
        value, slope = torch_call(scenario.case.name, arguments, keywords)
        assert_close(value, expected[0], 32, size=1, what="value")
        rough = scenario.case.name in ("celu", "hardsigmoid")  # torch has 1 / alpha and 1 / 6 in float32
        assert_close(slope, expected[1], 2**31 if rough else 32, size=1, what="gradient")
        return
    size = np.abs(arguments[0]).max() + 1
    for reduction in ("none", "sum", "mean"):
        value, slope = torch_call(scenario.case.name, arguments, keywords | {"reduction": reduction})
        want, grad, *_ = expected.reduced(reduction)
        assert_close(value, want, 32, size=size, what=f"value, {reduction}")
        assert_close(slope, grad, 32, size=size, what=f"gradient, {reduction}")


def first_maximum(x, axis):
    """One-hot at numpy.argmax, counted along the axes merged in order."""
    axes = range(x.ndim) if axis is None else [a % x.ndim for a in np.atleast_1d(axis)]
    out = np.zeros_like(x)
    for kept in np.ndindex(*(1 if i in axes else n for i, n in enumerate(x.shape))):
        row = tuple(slice(None) if i in axes else k for i, k in enumerate(kept))
        place = np.unravel_index(x[row].argmax(), x[row].shape)
        out[row][place] = 1
    return out


@pytest.mark.parametrize("scenario", taken(SCIPY_HAS, "softmax"), ids=ids)
def test_scipy_agrees(scenario):
    special = oracle("scipy.special")
    (x,), keywords = scenario.call(F64)
    own = {"softmin": lambda x, **k: special.softmax(-x, **k), "hardmax": first_maximum}  # SciPy has neither
    function = own.get(scenario.case.name) or getattr(special, scenario.case.name)
    got, want = function(x, **keywords), scenario.expected(F64)
    if keywords.get("return_sign"):
        np.testing.assert_array_equal(got[1], want[1])
        got, want = got[0], want[0]
    assert_close(got, want, 64, size=np.abs(x).max() + 1, what=scenario.case.name)


@pytest.mark.parametrize("option", ["plain", "all_of_indices", "all_of_probabilities", "all_of_nll"])
def test_row_derivatives_are_those_of_the_value(option):
    scenario = next(s for s in scenarios("rows") if s.option == option and s.shape == (2, 3, 4, 5))
    check_row_derivatives(scenario)


@pytest.mark.parametrize("option", ["smooth", "all_of_focal", "row_mask"])
def test_focal_derivatives_are_those_of_the_value(option):
    focal = [s for s in scenarios("rows") if s.case.name == "focal_cross_entropy" and s.shape == (2, 3, 4, 5)]
    check_row_derivatives(next(s for s in focal if s.option == option))


def check_row_derivatives(scenario):
    (x, *rest), keywords = scenario.call(F64)
    expected = scenario.expected(F64)
    reference = scenario.case.reference

    def total(t, index):
        shifted = ref.lift(x).copy()
        shifted[index] = t
        return reference(shifted, *rest, **keywords).value.sum()

    rng = np.random.default_rng(0)
    for _ in range(4):
        index = tuple(rng.integers(0, n) for n in x.shape)
        for order, want in ((1, expected.grad), (2, expected.hess)):
            got = mpmath.diff(lambda t, i=index: total(t, i), ref.lift(x)[index], order)
            assert abs(got - want[index]) < 1e-20 * (1 + abs(want[index]))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_backward_is_the_chain_rule(name):
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((2, 3, 4))
    forward, backward = getattr(ref, name), getattr(ref, f"{name}_backward")
    got = backward(g, forward(x, axis=1), axis=1)

    def total(t, index):
        shifted = ref.lift(x).copy()
        shifted[index] = t
        return (ref.lift(g) * forward(shifted, axis=1)).sum()

    for index in np.ndindex(x.shape):
        want = mpmath.diff(lambda t, i=index: total(t, i), ref.lift(x)[index])
        assert abs(got[index] - want) < 1e-20


def test_known_values():
    """Printed in tables: digits that no code here produced."""
    assert_close(np.float64(0.8413447460685429), ref.gelu(ref.mp.mpf(1)), 1)  # Phi(1)
    assert_close(np.float64(0.7310585786300049), ref.sigmoid(ref.mp.mpf(1)), 1)
    assert_close(np.float64(0.7615941559557649), ref.tanh(ref.mp.mpf(1)), 1)
    assert_close(np.log(np.float64(2)), ref.logsumexp([0.0, 0.0]), 1)
    np.testing.assert_array_equal(ref.hardmax([[1.0, 3.0, 3.0]], axis=1), [[0, 1, 0]])


def test_longdouble_is_wider():
    """On processors without a wider type float64 is measured to half a unit only; x86 has 64 bits."""
    assert np.finfo(np.longdouble).nmant >= np.finfo(np.float64).nmant
    third = widen(np.array([ref.mp.mpf(1) / 3], dtype=object))
    assert abs(third[0] * 3 - 1) <= np.finfo(np.longdouble).eps
