"""linear_cross_entropy and adaptive_log_softmax_with_loss: against the textbook, torch, and the loss of formed logits."""

import tracemalloc
from itertools import product

import numpy as np
import pytest

import fastloss as fl
from fastloss import _linear
from tests import reference as ref
from tests.cases import CASES, adaptive_classes, linear_classes
from tests.oracle import oracle
from tests.ulp import assert_close, assert_same, widen

LINEAR, ADAPTIVE = fl.linear_cross_entropy, fl.adaptive_log_softmax_with_loss
CASE = next(c for c in CASES if c.name == "linear_cross_entropy")
NAN = np.nan


def numbers(dtype, shape=(7, 5, 6)):
    return linear_classes(np.random.default_rng(0), np.dtype(dtype), shape)


def rng():
    return np.random.default_rng(1)


OPTIONS = [
    {},
    {"linear_bias": rng().standard_normal(6)},
    {"weight": rng().random(6), "label_smoothing": 0.125, "z_loss": 0.0078125, "ignore_index": 2},
    {"where": rng().random(7) < 0.7, "sample_weight": rng().random(7), "linear_bias": np.arange(6.0)},
]


@pytest.fixture
def small_chunks(monkeypatch):
    """Three rows of logits at a time."""
    monkeypatch.setattr(_linear, "CHUNK_BYTES", 3 * 6 * 8)


@pytest.mark.parametrize("keywords", OPTIONS, ids=lambda k: "-".join(k) or "plain")
def test_value_and_gradients(keywords, dtype, backend, small_chunks):
    arguments = numbers(dtype)
    keywords = {
        k: v.astype(dtype) if isinstance(v, np.ndarray) and v.dtype == float else v for k, v in keywords.items()
    }
    for reduction in ("mean", "sum", "none"):
        given = keywords | {"reduction": reduction}
        want, grads, sizes = ref.linear_cross_entropy(*arguments, **given)
        value, got = LINEAR.value_and_grad(*arguments, **given)
        assert value.dtype == dtype and len(got) == 3
        assert_close(value, want, CASE.ulp.limit("value", dtype), 4.0, reduction)
        assert (got[2] is None) == ("linear_bias" not in given)
        for g, exact, size in zip(got, grads, sizes, strict=True):
            if g is not None:
                assert g.dtype == dtype and g.flags.c_contiguous
                assert_close(g, exact, CASE.ulp.limit("grad", dtype), widen(size), reduction)
        assert_same(LINEAR(*arguments, **given), value)
        for g, other in zip(LINEAR.grad(*arguments, **given), got, strict=True):
            assert g is other is None or assert_same(g, other) is None
    partial = LINEAR.partial(*arguments, **keywords)
    assert_close(dtype.type(partial.result("mean")), LINEAR(*arguments, **keywords), 2)


def test_targets_of_every_form(dtype, backend):
    """Probabilities, K dimensions, one row: the same as cross_entropy of the formed logits."""
    x, w, target = numbers(dtype)
    wide = rng().standard_normal((6, 2, 3, 5)).astype(dtype)
    labels = rng().integers(0, 6, (7, 2, 3))
    q = fl.softmax(rng().standard_normal((7, 6, 2, 3)).astype(dtype), axis=1)
    upstream = rng().random((7, 2, 3)).astype(dtype)
    labels[3], labels[0, 1] = -100, -100
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    for a, b, t, up in (
        (x, w, target, None), (x, wide, labels, upstream), (x, wide, q, upstream), (x[0], w, target[0], None), (x, w, q[..., 0, 0], None),
    ):  # fmt: skip
        logits = np.tensordot(a, b, (-1, -1))
        given = {"reduction": "none", "upstream": up} if up is not None else {}
        want, g = fl.cross_entropy.value_and_grad(logits, t, **given)
        value, (by_input, by_weight, _) = LINEAR.value_and_grad(a, b, t, **given)
        assert np.shape(value) == np.shape(want)
        rows = g.reshape(-1, b[..., 0].size)
        np.testing.assert_allclose(value, want, **tolerance)
        np.testing.assert_allclose(by_input, (rows @ b.reshape(-1, 5)).reshape(a.shape), **tolerance)
        np.testing.assert_allclose(by_weight, (rows.T @ np.atleast_2d(a)).reshape(b.shape), **tolerance)


def test_rows_that_take_no_part_are_not_read(dtype, backend):
    x, w, target = numbers(dtype)
    x[[1, 4]], target[1], mask = NAN, -100, np.arange(7) != 4
    value, (by_input, by_weight, _) = LINEAR.value_and_grad(x, w, target, where=mask)
    kept = [0, 2, 3, 5, 6]
    want = LINEAR.value_and_grad(x[kept], w, target[kept])
    assert_close(value, want[0], 2)
    assert_close(by_input[kept], want[1][0], 4)
    assert_close(by_weight, want[1][1], 16, size=0.1)
    assert (by_input[[1, 4]] == 0).all()
    value, grads = LINEAR.value_and_grad(x, w, np.full(7, -100), linear_bias=np.zeros(6, dtype))
    assert np.isnan(value) and not any(g.any() for g in grads)
    assert LINEAR(x[:0], w, target[:0], empty=3.0) == 3
    assert LINEAR(x[:0], w, target[:0], reduction="sum") == 0


def test_outputs(dtype, backend):
    x, w, target = numbers(dtype)
    want, grads = LINEAR.value_and_grad(x, w, target)
    buffers = np.full_like(x, 7), np.full_like(w, 7, order="F"), None
    value, got = LINEAR.value_and_grad(x, w, target, out=(None, buffers))
    assert got[0] is buffers[0] and got[1] is buffers[1]
    assert_same(value, want)
    for a, b in zip(got, grads, strict=True):
        assert a is b is None or assert_same(np.ascontiguousarray(a), b) is None
    in_place = x.copy(), w.copy()
    got = LINEAR.value_and_grad(*in_place, target, out=(None, (*in_place, None)))[1]
    assert got[0] is in_place[0]
    assert_same(in_place[0], grads[0])
    assert_same(in_place[1], grads[1])
    with pytest.raises(TypeError, match="tuple of a buffer"):
        LINEAR.grad(x, w, target, out=x)
    half = LINEAR.value_and_grad(x.astype(np.float16), w.astype(np.float16), target)
    assert half[0].dtype == half[1][0].dtype == np.float16
    assert LINEAR(x.astype(np.float32), w.astype(np.float64), target).dtype == np.float64


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"target": [0, 1, 6]}, IndexError, "target[2] is 6; class indices must be in [0, 6)"),
        ({"target": [0, 1]}, ValueError, "target has shape (2,)"),
        ({"target": [0.0, 1.0, 2.0]}, TypeError, "class indices"),
        ({"linear_weight": np.ones((6, 4))}, ValueError, "linear_weight has shape (6, 4); it must be (C, 5)"),
        ({"linear_weight": np.ones(5)}, ValueError, "linear_weight has shape (5,)"),
        ({"input": np.ones((3, 5, 1))}, ValueError, "input has shape (3, 5, 1)"),
        ({"linear_bias": np.ones(5)}, ValueError, "linear_bias has shape (5,); it must be (6,)"),
        ({"weight": np.ones(5)}, ValueError, "weight has shape (5,)"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing"),
        ({"input": np.ones((3, 5), complex)}, TypeError, "input has dtype complex128"),
        ({"axis": 1}, TypeError, "axis"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else None,
)
def test_linear_refuses(change, error, message, backend):
    arguments = {"input": np.ones((3, 5)), "linear_weight": np.ones((6, 5)), "target": [0, 1, 2]}
    with pytest.raises(error) as caught:
        LINEAR.value_and_grad(**arguments | change)
    assert message in str(caught.value)


def test_no_hessians():
    x, w, target = numbers(np.float32)
    with pytest.raises(NotImplementedError, match="linear_cross_entropy has no value_grad_hess"):
        LINEAR.value_grad_hess(x, w, target)
    with pytest.raises(NotImplementedError, match="adaptive_log_softmax_with_loss has no value_grad_hess"):
        ADAPTIVE.value_grad_hess(x, target, w, [], [])


def test_logits_never_exist_as_a_whole():
    """64 MB of logits and as much again for their gradient; chunks of 1 MB here, and the results."""
    x, w, target = numbers(np.float32, (2048, 8, 8000))
    LINEAR.value_and_grad(x[:2], w, target[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_linear, "CHUNK_BYTES", 1 << 20)
        tracemalloc.start()
        LINEAR.value_and_grad(x, w, target)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20


# Adaptive softmax


def layer(dtype, n=7):
    x, target, head, tails, cutoffs = adaptive_classes(rng(), np.dtype(dtype), (n, 8, 20))
    target[:3] = 0, 4, 19
    return x, target, head, tails, cutoffs


def test_adaptive_against_the_textbook(dtype, backend):
    x, target, head, tails, cutoffs = layer(dtype)
    bias = rng().standard_normal(len(head)).astype(dtype)
    for b in (None, bias):
        want, total = ref.adaptive_log_softmax_with_loss(x, target, head, tails, cutoffs, head_bias=b)
        output, loss = ADAPTIVE(x, target, head, tails, cutoffs, head_bias=b)
        assert output.dtype == loss.dtype == dtype
        assert_close(output, want, 16, 2.0)
        assert_close(loss, total, 16)
        everything = ADAPTIVE.log_prob(x, head, tails, cutoffs, head_bias=b)
        exact = widen(ref.adaptive_log_prob(x, head, tails, cutoffs, b))
        assert_close(everything, exact, 16, 2.0)
        np.testing.assert_array_equal(ADAPTIVE.predict(x, head, tails, cutoffs, head_bias=b), exact.argmax(1))
        assert ADAPTIVE.partial(x, target, head, tails, cutoffs, head_bias=b).result() == pytest.approx(float(loss))
    one = ADAPTIVE(x[1], target[1], head, tails, cutoffs, head_bias=bias)
    assert one.output.shape == () and one.output == -one.loss
    assert ADAPTIVE.log_prob(x[1], head, tails, cutoffs).shape == (20,)
    assert ADAPTIVE.predict(x[1], head, tails, cutoffs).shape == ()
    empty, loss = ADAPTIVE(x[:0], target[:0], head, tails, cutoffs)
    assert empty.shape == (0,) and np.isnan(loss)


def test_adaptive_with_torch(dtype, backend):
    torch = oracle("torch")
    x, target, *_ = layer(dtype, 40)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-13}
    for bias, cutoffs in product((False, True), ([4, 10], [1, 2, 19])):
        torch.manual_seed(0)
        module = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs, div_value=2.0, head_bias=bias)
        module = module.to(getattr(torch, dtype.name))
        theirs_x = torch.tensor(x, requires_grad=True)
        theirs = module(theirs_x, torch.tensor(target))
        theirs.loss.backward()
        parameters = [p.detach().numpy() for p in module.tail.parameters()]
        tails = list(zip(parameters[::2], parameters[1::2], strict=True))
        head, b = module.head.weight.detach().numpy(), module.head.bias.detach().numpy() if bias else None
        (output, loss), grads = ADAPTIVE.value_and_grad(x, target, head, tails, cutoffs, head_bias=b)
        close = [(output, theirs.output.detach()), (loss, theirs.loss.detach()), (grads[0], theirs_x.grad), (grads[1], module.head.weight.grad)]
        close += zip((a for pair in grads[2] for a in pair), (p.grad for p in module.tail.parameters()), strict=True)
        assert (grads[3] is None) != bias
        if bias:
            close.append((grads[3], module.head.bias.grad))
        close.append((ADAPTIVE.log_prob(x, head, tails, cutoffs, head_bias=b), module.log_prob(theirs_x).detach()))
        for ours, wanted in close:
            np.testing.assert_allclose(ours, wanted.numpy(), **tolerance)
        np.testing.assert_array_equal(ADAPTIVE.predict(x, head, tails, cutoffs, head_bias=b), module.predict(theirs_x).numpy())
        assert_same(ADAPTIVE.grad(x, target, head, tails, cutoffs, head_bias=b)[0], grads[0])


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"target": [20]}, IndexError, "target[0] is 20; class indices must be in [0, 20)"),
        ({"target": [-1]}, IndexError, "target[0] is -1"),
        ({"target": [0.5]}, TypeError, "target has dtype float64"),
        ({"target": [0, 1]}, ValueError, "target has shape (2,); it must be (1,)"),
        ({"cutoffs": [4, 10, 20]}, ValueError, "head_weight has shape (6, 8); it must be (7, 8)"),
        ({"cutoffs": [10, 4]}, ValueError, "cutoffs is [10, 4]"),
        ({"cutoffs": []}, ValueError, "cutoffs is []"),
        ({"cutoffs": [4.0, 10]}, TypeError, "cutoffs[0]"),
        ({"tail_weights": []}, ValueError, "tail_weights has 0 entries; it must have 2"),
        ({"head_bias": np.ones(5)}, ValueError, "head_bias has shape (5,)"),
        ({"input": np.ones((1, 7))}, ValueError, "head_weight has shape (6, 8); it must be (6, 7)"),
        ({"reduction": "sum"}, TypeError, "reduction"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else None,
)
def test_adaptive_refuses(change, error, message, backend):
    _, _, head, tails, cutoffs = layer(np.float64)
    arguments = {"input": np.ones((1, 8)), "target": [0], "head_weight": head, "tail_weights": tails, "cutoffs": cutoffs}
    with pytest.raises(error) as caught:
        ADAPTIVE.value_and_grad(**arguments | change)
    assert message in str(caught.value)
