"""Fastloss in the place of torch, SciPy, scikit-learn and optax: their arrays, their signatures, the page that says how."""

import importlib
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
from fastloss import _check as check

from tests.oracle import oracle

PAGE = Path(__file__).parents[1] / "docs" / "coming-from.md"


# Tensors


class TestTensors:
    @pytest.fixture
    def torch(self):
        return oracle("torch")

    @pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8"])
    def test_no_copy(self, torch, dtype):
        tensor = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
        for t in (tensor, tensor.T, tensor[:, ::2]):
            array = check.array("x", t)
            assert array.ctypes.data == t.data_ptr() and array.shape == tuple(t.shape)
            assert array.strides == tuple(s * t.element_size() for s in t.stride())

    def test_bfloat16(self, torch):
        bfloat16 = oracle("ml_dtypes").bfloat16
        tensor = torch.linspace(-3, 3, 12).reshape(3, 4).to(torch.bfloat16)
        array = check.array("x", tensor)
        assert array.dtype == bfloat16 and array.ctypes.data == tensor.data_ptr()
        for function in (fl.softmax, fl.gelu, fl.mse_loss.grad):
            arguments = [tensor] * (1 + (function == fl.mse_loss.grad))
            result = function(*arguments)
            assert type(result) is np.ndarray and result.dtype == bfloat16
            np.testing.assert_array_equal(result, function(*(t.float().numpy().astype(bfloat16) for t in arguments)))

    def test_bfloat16_without_ml_dtypes(self, torch, monkeypatch):
        monkeypatch.setitem(importlib.import_module("sys").modules, "ml_dtypes", None)
        with pytest.raises(TypeError, match="input has dtype torch.bfloat16, for which NumPy needs the package ml_dtypes"):
            fl.mse_loss(torch.ones(3, dtype=torch.bfloat16), 0.0)

    def test_same_results(self, torch, dtype):
        rng = np.random.default_rng(0)
        x, y, w = rng.standard_normal((20, 5)).astype(dtype), rng.integers(0, 5, 20), rng.random(5).astype(dtype)
        tensors = [torch.from_numpy(a) for a in (x, y, w)]
        assert fl.cross_entropy(*tensors) == fl.cross_entropy(x, y, w)
        for function in (fl.softmax, fl.relu, fl.gelu.grad, fl.glu, fl.softmin):
            keywords = {"axis": 0} if function in (fl.softmax, fl.softmin, fl.glu) else {}
            result = function(tensors[0], **keywords)
            assert type(result) is np.ndarray
            np.testing.assert_array_equal(result, function(x, **keywords))
        assert fl.mse_loss(tensors[0], tensors[0] * 0, where=tensors[0] > 0) == fl.mse_loss(x, 0 * x, where=x > 0)
        assert fl.logsumexp(tensors[0], b=tensors[0]) == fl.logsumexp(x, b=x)
        param, other = x.copy(), x.copy()
        fl.optim.SGD(param, lr=0.1).step(tensors[0])
        fl.optim.SGD(other, lr=0.1).step(x)
        np.testing.assert_array_equal(param, other)

    def test_requires_grad(self, torch):
        t = torch.ones(3, 2, requires_grad=True)
        for call in (fl.softmax, fl.gelu, fl.relu.grad, fl.log_softmax, fl.logsumexp, fl.entropy, fl.glu):
            with pytest.raises(TypeError, match=r"requires grad.*\.detach\(\)"):
                call(t)
        for loss in (fl.mse_loss, fl.cross_entropy, fl.hinge_loss, fl.cross_entropy.grad, fl.mse_loss.partial, fl.cosine_embedding_loss):
            arguments = (np.ones((3, 2)), np.ones((3, 2)), np.ones(3)) if loss is fl.cosine_embedding_loss else (np.ones((3, 2)), np.ones((3, 2)))
            for i in range(2):
                given = list(arguments)
                given[i] = t
                with pytest.raises(TypeError, match=r"requires grad.*\.detach\(\)"):
                    loss(*given)
        with pytest.raises(TypeError, match=r"input is a list that NumPy cannot read: .*detach\(\)"):
            fl.mse_loss([t, t], 0.0)
        with pytest.raises(TypeError, match=r"grads is a tensor that requires grad"):
            fl.optim.SGD(np.ones((3, 2), np.float32)).step(t)
        assert fl.mse_loss(t.detach(), 0.0) == 1

    @pytest.mark.parametrize("make", [lambda t: t.to_sparse(), lambda t: t.to("meta")], ids=["sparse", "meta"])
    def test_not_in_memory(self, torch, make):
        with pytest.raises(TypeError, match="input is a tensor of layout .* on .*; it must be a dense one on the CPU"):
            fl.mse_loss(make(torch.eye(3)), 0.0)

    def test_out_is_no_tensor(self, torch):
        x, out = np.ones((3, 2)), torch.zeros(3, 2, dtype=torch.float64)
        for call in (fl.softmax, fl.gelu, fl.relu, fl.cross_entropy.grad):
            given = (x, np.zeros(3, int)) if call == fl.cross_entropy.grad else (x,)
            with pytest.raises(TypeError, match="out is a Tensor; it must be a numpy array"):
                call(*given, out=out)
        assert not out.any()
        fl.softmax(x, axis=1, out=out.numpy())                 # the tensor's memory
        assert (out == 0.5).all()

    def test_parameters_are_no_tensors(self, torch):
        with pytest.raises(TypeError, match="NumPy array"):
            fl.optim.SGD(torch.ones(3))

    def test_only_dlpack(self):
        """What has nothing but DLPack's protocol is read by it."""

        class Foreign:
            def __init__(self, array):
                self.array = array

            def __dlpack__(self, **keywords):
                return self.array.__dlpack__(**keywords)

            def __dlpack_device__(self):
                return self.array.__dlpack_device__()

        x = np.random.default_rng(0).standard_normal((3, 4))
        assert check.array("x", Foreign(x)).ctypes.data == x.ctypes.data
        assert fl.mse_loss(Foreign(x), Foreign(x[::-1])) == fl.mse_loss(x, x[::-1])

    def test_jax(self):
        jax = pytest.importorskip("jax")
        x = jax.numpy.linspace(-3, 3, 12).reshape(3, 4)
        array = check.array("x", x)
        assert array.ctypes.data == x.unsafe_buffer_pointer()
        np.testing.assert_array_equal(fl.softmax(x, axis=1), fl.softmax(np.array(x), axis=1))
        assert check.array("x", x.astype("bfloat16")).dtype == "bfloat16"


# SciPy's signatures

ROWS = {
    "plain": [[0.5, -1.0, 3.0], [2.0, 2.0, -40.0]],
    "cube": (4 * np.random.default_rng(1).standard_normal((2, 3, 4))).tolist(),
    "infinite": [[-np.inf, 1.0, -np.inf], [-np.inf, -np.inf, 0.0]],
    "all -inf": [[-np.inf, -np.inf], [0.0, 1.0]],
    "+inf": [[np.inf, 1.0], [0.0, 1.0]],
    "nan": [[np.nan, 1.0], [0.0, 1.0]],
    "one": [[[3.0]]],
    "scalar": 2.5,
}


def axes_of(x):
    n = np.ndim(x)
    return [None, *range(-n, n), *[(i, j) for i, j in product(range(n), repeat=2) if i != j], *[tuple(range(n))] * (n > 0)]


def alike(ours, theirs, dtype):
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("rows", ROWS)
def test_softmax_is_scipys(name, rows, dtype):
    special = oracle("scipy.special")
    x = np.asarray(ROWS[rows], dtype)
    for axis in axes_of(x):
        ours = getattr(fl, name)(x, axis)
        with np.errstate(invalid="ignore"):
            theirs = getattr(special, name)(x, axis=axis)
        assert ours.dtype == theirs.dtype
        if rows == "+inf" and name == "log_softmax":           # SciPy: -inf beside the +inf; here NaN, as in torch and in softmax
            ours = np.where(np.isnan(theirs) | ~np.isnan(ours), ours, theirs)
        alike(ours, theirs, dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rows", ROWS)
def test_logsumexp_is_scipys(rows, dtype):
    special, rng = oracle("scipy.special"), np.random.default_rng(2)
    x = np.asarray(ROWS[rows], dtype)
    factors = [None, 2.0, -1.5, rng.random(x.shape).astype(dtype), rng.standard_normal(x.shape), np.ones((2, *x.shape))]
    if np.isfinite(x).all():                                   # a factor 0 leaves out what is not finite; SciPy does so unless all are 0
        factors += [0.0, np.zeros(x.shape)]
    if x.ndim:
        factors += [rng.standard_normal(x.shape[-1]), rng.integers(-1, 2, x.shape)]
    for axis, b, keepdims, sign in product(axes_of(x), factors, (False, True), (False, True)):
        if np.ndim(b) > x.ndim and (axis is None or x.ndim == 0):
            continue                                           # SciPy reduces all axes of the broadcast arrays, or of neither
        ours, theirs = (f(x, axis, b, keepdims, sign) for f in (fl.logsumexp, special.logsumexp))
        for a, c in zip(*((r if sign else (r,)) for r in (ours, theirs)), strict=True):
            alike(a, c if x.ndim else np.reshape(c, ()), dtype)  # SciPy: keepdims makes an axis of a scalar


def test_signatures_are_scipys():
    inspect, special = importlib.import_module("inspect"), oracle("scipy.special")
    for name in ("softmax", "log_softmax", "logsumexp"):
        theirs = list(inspect.signature(getattr(special, name)).parameters.values())
        ours = inspect.signature(getattr(fl, name)).parameters
        assert [(p.name, p.default) for p in theirs] == [(n, ours[n].default) for n in list(ours)[: len(theirs)]]


# scikit-learn's weights


def weighted_cases():
    """name -> (the metric with weights, the loss with weights)"""
    rng = np.random.default_rng(0)
    x, y, s = rng.standard_normal((40, 3)), np.arange(40) % 3, rng.integers(0, 4, 40).astype(float)
    a, b, t = *rng.random((2, 40, 3)), rng.integers(0, 2, 40)
    p, q = fl.softmax(x, axis=1), fl.sigmoid(x[:, 0])
    return {
        "cross_entropy": (lambda m, w: m.log_loss(y, p, sample_weight=w), lambda w: fl.cross_entropy(x, y, sample_weight=w)),
        "nll_loss": (lambda m, w: m.log_loss(y, p, sample_weight=w), lambda w: fl.nll_loss(np.log(p), y, sample_weight=w)),
        "binary_cross_entropy": (lambda m, w: m.log_loss(t, q, sample_weight=w), lambda w: fl.binary_cross_entropy(q, t, sample_weight=w)),
        "binary_cross_entropy_with_logits": (lambda m, w: m.log_loss(t, q, sample_weight=w),
                                             lambda w: fl.binary_cross_entropy_with_logits(x[:, 0], t, sample_weight=w)),
        "brier_score": (lambda m, w: m.brier_score_loss(t, q, sample_weight=w), lambda w: fl.brier_score(q, t, sample_weight=w)),
        "mse_loss": (lambda m, w: m.mean_squared_error(b, a, sample_weight=w), lambda w: fl.mse_loss(a, b, sample_weight=w)),
        "l1_loss": (lambda m, w: m.mean_absolute_error(b, a, sample_weight=w), lambda w: fl.l1_loss(a, b, sample_weight=w)),
        "msle_loss": (lambda m, w: m.mean_squared_log_error(b, a, sample_weight=w), lambda w: fl.msle_loss(a, b, sample_weight=w)),
        "quantile_loss": (lambda m, w: m.mean_pinball_loss(b, a, alpha=0.3, sample_weight=w),
                          lambda w: fl.quantile_loss(a, b, q=0.3, sample_weight=w)),
        "poisson_nll_loss": (lambda m, w: m.mean_poisson_deviance(b[:, 0], a[:, 0], sample_weight=w),
                             lambda w: 2 * (fl.poisson_nll_loss(np.log(a[:, 0]), b[:, 0], sample_weight=w)
                                            - fl.poisson_nll_loss(np.log(b[:, 0]), b[:, 0], sample_weight=w))),
        "hinge_loss of classes": (lambda m, w: m.hinge_loss(y, x, sample_weight=w), lambda w: fl.hinge_loss(x, y, sample_weight=w)),
        "hinge_loss of signs": (lambda m, w: m.hinge_loss(t, x[:, 0], sample_weight=w),
                                lambda w: fl.hinge_loss(x[:, 0], 2 * t - 1, sample_weight=w)),
    }, s  # fmt: skip


WEIGHTED, WEIGHTS = weighted_cases()


@pytest.mark.parametrize("name", WEIGHTED)
def test_sample_weight_is_sklearns(name):
    metrics = oracle("sklearn.metrics")
    theirs, ours = WEIGHTED[name]
    for weight in (None, WEIGHTS, WEIGHTS.tolist(), WEIGHTS.astype(int), np.ones(40)):
        np.testing.assert_allclose(ours(weight), theirs(metrics, weight), rtol=1e-12)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(39,\); it must be \(40,\), one weight per row"):
        ours(WEIGHTS[1:])


# docs/coming-from.md


def names(page, tensor):
    """What the page's lines may use."""
    space = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], space)
    if tensor:
        space |= {k: tensor(v) for k, v in space.items() if isinstance(v, np.ndarray)}
    return space


def page_rows():
    if not PAGE.exists():
        return []
    section, found = "", []
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| `"):
            found.append((section, *re.fullmatch(r"\| `(.*)` \| `(.*)` \|", line).groups()))
    return found


@pytest.mark.parametrize(("section", "before", "after"), page_rows(), ids=lambda text: text.replace(" ", ""))
def test_page(section, before, after):
    page = PAGE.read_text()
    ours = eval(after, names(page, None))
    if section == "torch":
        torch = oracle("torch")
        modules, tensor = {"torch": torch, "F": torch.nn.functional}, torch.from_numpy
    elif section == "optax":
        jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
        modules, tensor = {"jax": jax, "optax": optax}, jax.numpy.asarray
    else:
        modules, tensor = {"metrics": oracle("sklearn.metrics")} if section == "scikit-learn" else {"special": oracle("scipy.special")}, None
    theirs = eval(before, names(page, tensor) | modules)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4 if section == "optax" else 1e-11)      # JAX computes in float32


@pytest.mark.skipif(not PAGE.exists(), reason="not a checkout")
def test_page_optimizer():
    torch = oracle("torch")
    page = PAGE.read_text()
    space = names(page, None)
    block = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    exec(block, space)
    same = names(page, None)
    params = [torch.nn.Parameter(torch.from_numpy(a)) for a in (same["rng"].standard_normal((4, 3)), np.zeros(3))]
    opt = torch.optim.AdamW(params, lr=1e-3)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(same["x"]) @ params[0] + params[1], torch.from_numpy(same["y"] % 3))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    opt.step()
    np.testing.assert_allclose(space["loss"], loss.item(), rtol=1e-12)
    for ours, theirs in zip(space["weights"], params, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-6, atol=1e-9)
