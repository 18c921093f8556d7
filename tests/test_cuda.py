"""Arrays on a device: the same answers as on the CPU, in Numba's simulator where there is no device.

The simulator is chosen before Numba is imported, so one test runs this file again in a process that has it. There, memory of a
device array stands at addresses that the host cannot read: a read of it ends the process.
"""

import inspect
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import fastloss as fl
from fastloss._loss import COMMON
from tests.cases import SCENARIOS, scaled
from tests.optimizers import RULES
from tests.oracle import oracle
from tests.ulp import assert_close

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
cuda = None
if SIMULATED or os.environ.get("FASTLOSS_TEST_DEVICE"):
    cuda = oracle("numba.cuda")
on_a_device = pytest.mark.skipif(cuda is None, reason="the simulator is off")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
LONGEST = 16 if SIMULATED else 1 << 62  # numbers of an array: the simulator takes a millisecond for each


@pytest.mark.skipif(cuda is not None, reason="this is that process")
def test_in_the_simulator():
    oracle("numba_cuda")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", __file__]
    done = subprocess.run(command, env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def to_device(value):
    return cuda.to_device(np.asarray(value, order="C")) if isinstance(value, np.ndarray) else value


def shorter(scenario, dtype):
    """The arguments of a scenario; of elementwise ones the first numbers."""
    arguments, keywords = scenario.call(dtype)
    if scenario.case.family in ("activation", "elementwise", "pair"):
        cut = lambda a: a[:LONGEST] if isinstance(a, np.ndarray) and a.ndim else a
        arguments, keywords = tuple(map(cut, arguments)), {name: cut(a) for name, a in keywords.items()}
    return arguments, keywords


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def no_copies(monkeypatch):
    """Counts copies between host and device that the package asks for: none."""
    counted = []
    on_device = lambda values, keywords: ([to_device(a) for a in values], {name: to_device(a) for name, a in keywords.items()})
    kind = type(cuda.to_device(np.zeros(1)))
    host = kind.copy_to_host

    def run(function, *arguments, **keywords):
        arguments, keywords = on_device(arguments, keywords)
        with monkeypatch.context() as patch:
            patch.setattr(cuda, "to_device", lambda *a, **k: counted.append("to_device"))
            patch.setattr(kind, "copy_to_host", lambda *a, **k: counted.append("copy_to_host"))
            result = function(*arguments, **keywords)
        assert not counted
        return result

    run.unwatched = lambda function, *arguments, **keywords: function(*on_device(arguments, keywords)[0], **on_device(arguments, keywords)[1])
    run.host = lambda a: tuple(map(run.host, a)) if isinstance(a, tuple) else host(a)
    return run


def same(got, want, limit, what, size=0.0):
    """Equal within a limit in ULP of the larger of each number, a sixteenth of the largest, and what cancelled in it.

    Device code is compiled from the same formulas, with other fused products and other orders of sums.
    """
    if isinstance(want, tuple):
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            same(a, b, limit, f"{what}[{k}]", size[k] if isinstance(size, tuple) else size)
        return
    want = np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    largest = max(np.abs(want[np.isfinite(want)]).max(initial=0) * 2.0**-4, size)
    assert_close(got, want, limit, largest, what)


def chosen(*families):
    """Every scenario on a device; in the simulator one shape of each case, set of parameters and option."""
    found = {}
    for s in SCENARIOS if cuda else ():
        if s.case.family in families and (not SIMULATED or s.option in OPTIONS):
            found.setdefault((s.case.name, s.case.label, s.number, s.option) if SIMULATED else s, s)
    return list(found.values())


def chosen_rows():
    """In the simulator shapes that stay in registers, that do not, and whose classes are not last, in turn."""
    rows = [s for s in chosen("softmax", "rows") if s.case.name in SUPPORTED and not {"scale", "signed"} & {s.option}]
    if not SIMULATED:
        return rows
    shapes = (3, 4), (2, 11), (2, 3, 2)
    return [replace(s, shape=shapes[k % 3]) for k, s in enumerate(rows)] + [replace(s, shape=shapes[1]) for s in rows if s.option == "plain"]


SUPPORTED = "softmax", "log_softmax", "logsumexp", "softmin", "hardmax", "cross_entropy", "focal_cross_entropy", "nll_loss"
OPTIONS = {
    "plain", "mask", "both_weights_and_mask", "last_axis", "z_loss", "smooth", "row_mask", "keepdims", "all_of_nll", "all_of_indices",
    "all_of_probabilities", "all_of_focal",
}  # fmt: skip


@on_a_device
@pytest.mark.parametrize("scenario", chosen("activation"), ids=lambda s: s.id)
def test_activations(scenario, dtype, no_copies):
    f, limit = scenario.case.function, scaled(max(scenario.case.ulp.grad[0], scenario.case.ulp.value[0]))
    (x,), keywords = shorter(scenario, dtype)
    for call, arguments in ((f, (x,)), (f.grad, (x,)), (f.backward, (x[::-1].copy(), x))):
        got = no_copies(call, *arguments, **keywords)
        same(no_copies.host(got), call(*arguments, **keywords), 2 * limit, call)


@on_a_device
@pytest.mark.parametrize("scenario", chosen("elementwise", "pair"), ids=lambda s: s.id)
def test_elementwise_losses(scenario, dtype, no_copies):
    loss, limit = scenario.case.function, 2 * scaled(max(scenario.case.ulp.hess[0], 4))
    arguments, keywords = shorter(scenario, dtype)
    for reduction in ("none", "mean"):
        got = no_copies(loss.value_grad_hess, *arguments, reduction=reduction, **keywords)
        same(no_copies.host(got), loss.value_grad_hess(*arguments, reduction=reduction, **keywords), limit, reduction)
    same(no_copies.host(no_copies(loss, *arguments, **keywords)), loss(*arguments, **keywords), limit, "value")
    if scenario.case.family == "elementwise":
        same(no_copies.host(no_copies(loss.grad, *arguments, reduction="sum", **keywords)),
             loss.grad(*arguments, reduction="sum", **keywords), limit, "grad")
        a, b = loss.partial(*map(to_device, arguments), **{k: to_device(v) for k, v in keywords.items()}), loss.partial(*arguments, **keywords)
        assert a.count == b.count
        np.testing.assert_allclose((a.loss_sum, a.weight_sum), (b.loss_sum, b.weight_sum), rtol=1e-5)


@on_a_device
@pytest.mark.parametrize("scenario", chosen_rows(), ids=lambda s: s.id)
def test_rows(scenario, no_copies):
    dtype, f = np.dtype(np.float32 if len(scenario.id) % 2 else np.float64), scenario.case.function
    arguments, keywords = scenario.call(dtype)
    limit = 2 * scaled(scenario.case.ulp.hess[0] or 4)
    if scenario.case.family == "softmax":
        want = f(*arguments, **keywords)
        same(no_copies.host(no_copies(f, *arguments, **keywords)), want, limit, "value")
        if hasattr(f, "backward"):
            g = arguments[0][::-1].copy()
            same(no_copies.host(no_copies(f.backward, g, want, **keywords)), f.backward(g, want, **keywords), limit, "backward", np.abs(g).max())
        return
    cancels = 0.25 if scenario.case.name == "focal_cross_entropy" else 0.0       # its second derivatives change their sign
    for method, reduction in (("value_grad_hess", "mean"), ("value_and_grad", "none")):
        call = getattr(f, method)
        got = no_copies(call, *arguments, reduction=reduction, **keywords)
        same(no_copies.host(got), call(*arguments, reduction=reduction, **keywords), limit, method, (0.0, 0.0, cancels))
    a, b = f.partial(*map(to_device, arguments), **{k: to_device(v) for k, v in keywords.items()}), f.partial(*arguments, **keywords)
    assert a.count == b.count
    np.testing.assert_allclose((a.loss_sum, a.weight_sum), (b.loss_sum, b.weight_sum), rtol=1e-5)


@on_a_device
@pytest.mark.parametrize("scenario", chosen("several"), ids=lambda s: s.id)
def test_functions_of_several_elements(scenario, dtype, no_copies, rng):
    f = scenario.case.function
    arguments, keywords = scenario.call(dtype)
    keywords.pop("rng", None)
    value = f(*arguments, **keywords)
    same(no_copies.host(no_copies(f, *arguments, **keywords)), value, 4, "value")
    g = rng.standard_normal(value.shape).astype(dtype)
    same(no_copies.host(no_copies(f.backward, g, *arguments, **keywords)), f.backward(g, *arguments, **keywords), 4, "backward")


@on_a_device
@pytest.mark.parametrize("scenario", chosen("lines", "pairs"), ids=lambda s: s.id)
def test_lines(scenario, no_copies, rng):
    """Rows of vectors and of class scores: each loss with a mask and upstream gradients, and a weighted mean."""
    if SIMULATED:
        scenario = replace(scenario, shape=(3, 3) if len(scenario.id) % 2 else (2, 7))
    dtype, f = np.dtype(np.float32 if len(scenario.id) % 3 else np.float64), scenario.case.function
    arguments, keywords = scenario.call(dtype)
    n, limit = scenario.shape[0], 2 * scaled(scenario.case.ulp.hess[0] or 4)
    if scenario.case.family == "pairs":
        value = f(*arguments, **keywords)
        same(no_copies.host(no_copies(f, *arguments, **keywords)), value, limit, "value")
        g = rng.standard_normal(value.shape).astype(dtype)
        same(no_copies.host(no_copies(f.backward, g, *arguments, **keywords)), f.backward(g, *arguments, **keywords), limit, "backward")
        return
    for options in (
        {"reduction": "none", "where": np.arange(n) != 1, "upstream": np.arange(n) + 1.0}, {"reduction": "mean", "sample_weight": np.arange(n) + 0.5}
    ):  # fmt: skip
        got, want = no_copies(f.value_grad_hess, *arguments, **keywords, **options), f.value_grad_hess(*arguments, **keywords, **options)
        same(no_copies.host(got), want, limit, options["reduction"])


@on_a_device
class TestLines:
    def test_shapes_and_axes(self, no_copies, rng):
        """Single rows, single numbers, no rows, no classes, classes along another axis, vectors that broadcast."""
        x, y, vectors = rng.standard_normal((2, 3, 2)), np.array([[0, 2], [1, 1]]), rng.standard_normal((2, 3))
        calls = [
            (fl.hinge_loss.value_grad_hess, (x, y), {}), (fl.entropy.value_and_grad, (x,), {"axis": 1, "from_logits": True}),
            (fl.hinge_loss.value_and_grad, (x[0, :, 0], np.array(2)), {}), (fl.multi_margin_loss.grad, (np.array(2.0), np.array(0)), {}),
            (fl.brier_score.value_and_grad, (np.abs(x[0, :, 0]) / 9, np.array(1)), {}), (fl.brier_score.grad, (np.abs(vectors) / 9, 0.5), {"axis": None}),
            (fl.multi_margin_loss.value_and_grad, (np.zeros((0, 3)), np.zeros(0, int)), {"empty": 7.0}),
            (fl.cosine_embedding_loss.value_and_grad, (np.zeros((2, 0)), np.zeros((2, 0)), np.ones(2)), {"reduction": "none"}),
            (fl.cross_entropy.value_and_grad, (np.zeros((2, 0)), np.full(2, -100)), {"reduction": "none"}),
            (fl.pairwise_distance, (vectors, vectors[:1] + 1), {"keepdims": True}), (fl.cosine_similarity, (x, x[::-1].copy()), {}),
            (fl.triplet_margin_loss.partial, (vectors, vectors + 1, vectors - 1), {}),
        ]  # fmt: skip
        for f, arguments, keywords in calls:
            if f.__name__ == "partial":
                assert no_copies.unwatched(f, *arguments, **keywords) == f(*arguments, **keywords)
            else:
                same(no_copies.host(no_copies(f, *arguments, **keywords)), f(*arguments, **keywords), 16, f)

    @pytest.mark.parametrize("f", [fl.multi_margin_loss, fl.multilabel_margin_loss, fl.hinge_loss], ids=lambda f: f.__name__)
    def test_in_place(self, f, no_copies, rng):
        x = rng.standard_normal((3, 4)).astype(np.float32)
        y = np.array([[0, 2, -1, -1], [3, 3, 1, -1], [-1, 0, 0, 0]]) if f is fl.multilabel_margin_loss else np.array([0, 3, 1])
        device = to_device(x)
        no_copies(f.value_and_grad, device, y, out=(None, device))
        same(device.copy_to_host(), f.grad(x, y), 4, f)

    def test_odd_scores(self, no_copies):
        """Ties, NaN and infinities, in one row each."""
        x = np.array([[1.0, 1, 1, 0], [np.nan, 0, 1, 2], [0, np.inf, 1, 2], [-np.inf, 0, 1, -np.inf], [-np.inf] * 4])
        for f, y in ((fl.hinge_loss, np.zeros(5, int)), (fl.multi_margin_loss, np.zeros(5, int)), (fl.multilabel_margin_loss, np.tile([2, -1, 0, 0], (5, 1)))):
            same(no_copies.host(no_copies(f.value_grad_hess, x, y, reduction="none")), f.value_grad_hess(x, y, reduction="none"), 4, f)
        same(no_copies.host(no_copies(fl.entropy.value_grad_hess, x, from_logits=True)), fl.entropy.value_grad_hess(x, from_logits=True), 8, "entropy")
        for p in (1, 2, 3, np.inf):
            same(no_copies.host(no_copies(fl.pairwise_distance, x, x[::-1].copy(), p=p)), fl.pairwise_distance(x, x[::-1], p=p), 8, p)


def tensors(rng):
    """More than one launch takes, of both dtypes, one of them empty."""
    shapes = ((3, 4), np.float32), ((11,), np.float64), ((0, 2), np.float32), ((), np.float32), ((2,), np.float32)
    return {f"p{k}": np.asarray(rng.standard_normal(shape), dtype) for k, (shape, dtype) in enumerate(shapes)}


def values(arrays):
    return {name: np.asarray(a if isinstance(a, np.ndarray | np.generic) else a.copy_to_host()) for name, a in arrays.items()}


def all_same(got, want, limit, what):
    assert got.keys() == want.keys()
    for name, a in values(got).items():
        if a.dtype.kind == "f":
            same(a, want[name], limit, f"{what}[{name}]")
        else:
            np.testing.assert_array_equal(a, want[name], what)


@on_a_device
class TestOptimizers:
    @pytest.mark.parametrize(("rule", "number"), [(r, n) for r in RULES if r.elementwise for n in sorted({0, len(r.settings) - 1})],
                             ids=lambda v: getattr(v, "name", v))
    def test_steps(self, rule, number, no_copies, rng):
        """Three steps; in the second a parameter has no gradient, in the third their norm is clipped."""
        host = tensors(rng)
        device = {name: to_device(a) for name, a in host.items()}
        make = getattr(fl.optim, rule.name)
        a, b = make(host, ema=0.75, **rule.settings[number]), make(device, ema=0.75, **rule.settings[number])
        for k, options in enumerate(({}, {"grad_scale": 0.5}, {"max_norm": 0.25})):
            grads = {name: None if (k, name) == (1, "p1") else g for name, g in tensors(rng).items()}
            a.step(grads, **options)
            no_copies(b.step, {name: g if g is None else to_device(g) for name, g in grads.items()}, **options)
        all_same(device, host, 8, "param")
        all_same(b.ema, a.ema, 8, "ema")
        all_same(b.state_dict(), a.state_dict(), 8, "state")

    @pytest.mark.parametrize("rule", [r for r in RULES if r.step], ids=lambda r: r.name)
    def test_functions(self, rule, no_copies, rng):
        f, settings = getattr(fl.optim, rule.step), {"lr": 0.125, "step": 2}
        n = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(f).parameters.values())
        host = [np.abs(rng.standard_normal(5)) for _ in range(n)]
        device = list(map(to_device, host))
        f(*host, **settings)
        assert no_copies(f, *device, **settings) is None
        for k, (d, h) in enumerate(zip(device, host, strict=True)):
            same(d.copy_to_host(), h, 8, f"{rule.step}[{k}]")

    def test_strides_halves_and_overlaps(self, no_copies, rng):
        """Columns are updated in place and what lies between them stays; a gradient may be half as wide, or a parameter itself."""
        host = rng.standard_normal((4, 6)).astype(np.float32)
        device, grad = to_device(host), rng.standard_normal((4, 3)).astype(np.float16)
        a, b = fl.optim.Adam([host[:, ::2], host[0, 1::2]]), fl.optim.Adam([device[:, ::2], device[0, 1::2]])
        a.step([grad, host[0, 1::2]])
        b.step([to_device(grad), device[0, 1::2]])
        same(device.copy_to_host(), host, 4, "param")

    def test_state_goes_both_ways(self, rng):
        host = tensors(rng)
        device = {name: to_device(a) for name, a in host.items()}
        a, b = fl.optim.RMSprop(host, momentum=0.5), fl.optim.RMSprop(device, momentum=0.5)
        a.step(tensors(rng))
        b.load_state_dict(a.state_dict())
        for name, array in a.state_dict().items():
            np.testing.assert_array_equal(b.state_dict()[name], array)
        with pytest.raises(TypeError, match="state_dict"):
            pickle.dumps(b)

    @pytest.mark.parametrize("p", [1, 2, 3.5, np.inf])
    def test_clip_grad_norm(self, p, no_copies, rng):
        host = {name: g.astype(np.float16) if name == "p0" else g for name, g in tensors(rng).items()}
        device = {name: to_device(g) for name, g in host.items()}
        norm, want = no_copies(fl.optim.clip_grad_norm, device, 0.5, p), fl.optim.clip_grad_norm(host, 0.5, p)
        same(norm.copy_to_host(), want, 16, "norm")
        all_same(device, host, 2, "grads")

    @pytest.mark.parametrize("p", [2, np.inf])
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_norms_that_are_not_finite(self, p, bad, rng):
        host = rng.standard_normal(9)
        host[4] = bad
        device = to_device(host)
        with pytest.raises(RuntimeError, match="error_if_nonfinite"):
            fl.optim.clip_grad_norm(device, 1.0, p, error_if_nonfinite=True)
        np.testing.assert_array_equal(device.copy_to_host(), host)
        np.testing.assert_array_equal(fl.optim.clip_grad_norm(device, 1.0, p).copy_to_host(), fl.optim.clip_grad_norm(host, 1.0, p))
        np.testing.assert_array_equal(device.copy_to_host(), host)

    def test_errors(self):
        param, other = np.zeros((2, 2), np.float32), np.zeros(3)
        device = to_device(param)
        for name in ("Adafactor", "LBFGS", "Muon", "SparseAdam"):
            with pytest.raises(TypeError, match=f"{name} takes no arrays on a CUDA device"):
                getattr(fl.optim, name)([device])
        with pytest.raises(TypeError, match=r"params\[1\] is a ndarray; it must be on the device"):
            fl.optim.SGD([device, other])
        with pytest.raises(ValueError, match=r"params\[1\] overlaps params\[0\]"):
            fl.optim.SGD([device, device[1:]])
        with pytest.raises(TypeError, match="dtype float16"):
            fl.optim.SGD(to_device(param.astype(np.float16)))
        opt = fl.optim.SGD([device])
        for grad, error, message in (
            (param, TypeError, "on the device"), (to_device(other), ValueError, "shape"), (to_device(param.astype(float)), ValueError, "dtype"),
        ):  # fmt: skip
            with pytest.raises(error, match=message):
                opt.step([grad])
        assert opt.state_dict()["step"] == 0


@on_a_device
class TestErrors:
    def test_bad_class_index(self, no_copies):
        x, target = np.zeros((3, 4), np.float32), np.array([1, 7, -3])
        value, grad = no_copies.host(no_copies(fl.cross_entropy.value_and_grad, x, target, reduction="none"))
        assert np.isnan(value).tolist() == [False, True, True] == np.isnan(grad).any(1).tolist()
        with pytest.raises(IndexError, match=r"\[1\] is 7; class indices must be in \[0, 4\)"):
            fl.cuda.check()
        fl.cuda.check()
        fl.nll_loss(to_device(x), to_device(target))
        with pytest.raises(IndexError):
            fl.mse_loss.partial(to_device(x), to_device(x))

    def test_what_the_host_knows(self):
        x = to_device(np.zeros((3, 4), np.float32))
        with pytest.raises(ValueError, match="target has shape"):
            fl.cross_entropy(x, to_device(np.zeros(4, int)))
        with pytest.raises(TypeError, match="on the device"):
            fl.mse_loss(x, np.zeros((3, 4), np.float32))
        with pytest.raises(ValueError, match="reduction"):
            fl.mse_loss(x, x, reduction="max")
        with pytest.raises(NotImplementedError, match="return_sign"):
            fl.logsumexp(x, 1, return_sign=True)
        with pytest.raises(NotImplementedError, match="ctc_loss"):
            fl.ctc_loss(x, x, [1], [1])
        with pytest.raises(NotImplementedError, match="rng=None"):
            fl.rrelu(x, rng=np.random.default_rng(0))

    @pytest.mark.parametrize("method", ["__call__", "value_and_grad", "value_grad_hess", "grad", "partial"])
    def test_custom_losses(self, method, dtype, no_copies):
        far = fl.custom_loss("def far(x, y, k=2.0):\n    d = x - y\n    return log1p(k * d * d) if d > 0 else abs(d) ** 1.5\n")
        x, y = np.linspace(-2, 3, 12, dtype=dtype).reshape(3, 4), np.linspace(1, -1, 12, dtype=dtype).reshape(3, 4)
        for more in ({}, {"k": 0.5, "sample_weight": np.array([0.5, 0, 2], dtype)}):
            call = getattr(far, method)
            if method == "partial":
                got = no_copies.unwatched(call, x, y, **more)
                np.testing.assert_allclose(got.to_array(), call(x, y, **more).to_array(), rtol=1e-6, atol=1e-7)
            else:       # 8: the terms of the second derivative cancel where k d^2 nears 1
                same(no_copies.host(no_copies(call, x, y, **more)), call(x, y, **more), 8, more)

    def test_custom_activations(self, dtype, no_copies):
        leaky = fl.custom_activation("lambda x, slope=0.1: x if x > 0 else slope * tanh(x)", name="leaky")
        x = np.linspace(-2, 3, 12, dtype=dtype).reshape(3, 4)
        for call, arguments in ((leaky, (x,)), (leaky, (x, 0.3)), (leaky.grad, (x,)), (leaky.backward, (x[::-1].copy(), x))):
            same(no_copies.host(no_copies(call, *arguments)), call(*arguments), 4, call)

    def test_scalars_and_scalar_masks(self, no_copies):
        x = np.arange(-2.0, 2)
        for y in (1.0, np.array(1.0)):
            same(no_copies.host(no_copies(fl.mse_loss, x, y)), fl.mse_loss(x, y), 2, y)
        for where in (True, np.True_, False):
            got = no_copies(fl.mse_loss.value_and_grad, x, 1.0, where=where, empty=7.0)
            same(no_copies.host(got), fl.mse_loss.value_and_grad(x, 1.0, where=where, empty=7.0), 2, where)
        assert not no_copies(fl.elu, x, where=False).copy_to_host().any()
        with pytest.raises(TypeError, match="where is a ndarray; it must be on the device"):
            fl.elu(to_device(x), where=np.ones(4, bool))

    @pytest.mark.parametrize(
        ("f", "arguments", "keywords", "bad", "message"),
        [
            (fl.binary_cross_entropy, ([0.5, 2.0], [1.0, 1.0]), {}, [False, True], "input of binary_cross_entropy .* in \\[0, 1\\]"),
            (fl.hinge_loss, ([0.5, 2.0, 1.0], [0.0, 1.0, np.nan]), {}, [True, False, True], "target of hinge_loss .* -1 or 1"),
            (fl.cosine_embedding_loss, (np.ones((3, 2)), np.ones((3, 2)), [1.5, -1, 1]), {}, [True, False, False], "target of cosine_embedding_loss"),
            (fl.gaussian_nll_loss, ([1.0, 1.0], [1.0, 1.0], [1.0, -1.0]), {}, [False, True], "var of gaussian_nll_loss .* at least 0"),
            (fl.entropy, ([[0.5, 0.5], [2.0, 0.0]],), {}, [False, True], "p of entropy"),
            (fl.brier_score, ([[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [-1.0, 0.5]]), {}, [False, True], "target of brier_score"),
        ],
        ids=lambda v: getattr(v, "__name__", None),
    )  # fmt: skip
    def test_outside_a_domain(self, f, arguments, keywords, bad, message, no_copies):
        """NaN there, and a ValueError at the next check; masked elements may be anything."""
        arguments, bad = [np.asarray(a, float) for a in arguments], np.array(bad)
        value, grad = no_copies.host(no_copies(f.value_and_grad, *arguments, reduction="none", where=~bad, **keywords))
        fl.cuda.check()
        value, grad = no_copies.host(no_copies(f.value_and_grad, *arguments, reduction="none", **keywords))
        assert (np.isnan(value) == bad).all()
        with pytest.raises(ValueError, match=message):
            fl.cuda.check()
        fl.cuda.check()

    def test_labels_that_are_no_classes(self, no_copies):
        """Also behind the end of a list, but not in a row that is masked."""
        x, y = np.zeros((3, 3)), np.array([[0, -1, 3], [0, 1, -1], [-2, 0, 0]])
        no_copies(fl.multilabel_margin_loss, x, y, where=np.array([False, True, False]))
        fl.cuda.check()
        assert np.isnan(no_copies.host(no_copies(fl.multilabel_margin_loss, x, y, reduction="none"))).tolist() == [True, False, True]
        with pytest.raises(IndexError, match="target of multilabel_margin_loss"):
            fl.cuda.check()

    @pytest.mark.parametrize("f", [fl.cross_entropy, fl.multi_margin_loss, fl.hinge_loss], ids=lambda f: f.__name__)
    def test_indices_beyond_64_bits(self, f, no_copies):
        """They do not come round: not as ignore_index, not as a class."""
        y = np.array([2**64 - 100, 1, 2**64 - 1], np.uint64)
        assert np.isnan(no_copies.host(no_copies(f, np.zeros((3, 4)), y, reduction="none"))).tolist() == [True, False, True]
        with pytest.raises(IndexError, match=r"target.flat\[0\]"):
            fl.cuda.check()


@on_a_device
class TestArrays:
    def test_numbers_for_arrays(self, no_copies, rng):
        """A Python number stands for a 0-d array wherever one may."""
        x = rng.standard_normal((3, 4))
        calls = ((fl.cross_entropy, (x[0], 2), {}), (fl.binary_cross_entropy_with_logits, (x, 1.0, 2.0), {}), (fl.brier_score, (np.abs(x[0]) / 9, 2), {}),
                 (fl.mse_loss.grad, (x, 1.0), {"reduction": "none", "upstream": 2.0}), (fl.relu.backward, (x, 2.0), {}))
        for f, arguments, keywords in calls:
            same(no_copies.host(no_copies(f, *arguments, **keywords)), f(*arguments, **keywords), 8, f)
        with pytest.raises(TypeError, match="out is a float; it must be on the device"):
            fl.mse_loss(to_device(x), 1.0, out=3.0)

    def test_in_place(self, no_copies):
        x, target = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32), np.arange(5) % 3
        device, labels = to_device(x), to_device(target)
        _, grad = fl.cross_entropy.value_and_grad(device, labels, out=(None, device))
        assert grad is device
        same(device.copy_to_host(), fl.cross_entropy.grad(x, target), 8, "grad")

    def test_strides_and_halves(self, no_copies):
        x = np.random.default_rng(0).standard_normal((4, 6))
        device = to_device(x)
        same(fl.softmax(device[:, ::2], axis=0).copy_to_host(), fl.softmax(x[:, ::2], axis=0), 8, "columns")
        same(fl.relu(device.T).copy_to_host(), fl.relu(x.T), 0, "transposed")
        half = x.astype(np.float16)
        same(no_copies.host(no_copies(fl.log_softmax, half, 1)), fl.log_softmax(half, 1), 1, "half")
        same(no_copies.host(no_copies(fl.mse_loss.value_and_grad, half, half[::-1].copy())), fl.mse_loss.value_and_grad(half, half[::-1]), 1, "half")

    def test_bfloat16(self, no_copies):
        """Computed in float32 and rounded to nearest, as on the CPU."""
        bfloat16 = oracle("ml_dtypes").bfloat16
        x = np.array([[0.1, -3.0, 1e-39, 3.39e38], [np.nan, np.inf, -0.0, 1.0039]], np.float32).astype(bfloat16)
        for f, arguments in ((fl.linear, (x,)), (fl.softmax, (x, 1)), (fl.mse_loss, (x, x[::-1].copy())), (fl.relu, (x.T,))):
            got, want = no_copies.host(no_copies(f, *arguments)), np.asarray(f(*arguments))
            assert got.dtype == want.dtype == bfloat16
            np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))
        param, grad = np.ones(4, np.float32), x[0]
        device = to_device(param)
        fl.optim.SGD(device, lr=0.5).step(to_device(grad))
        fl.optim.SGD(param, lr=0.5).step(grad)
        np.testing.assert_array_equal(device.copy_to_host(), param)

    @pytest.mark.skipif(not SIMULATED, reason="only the simulator's memory is what NumPy can export")
    def test_dlpack_alone(self, rng):
        """Memory of the simulator in the words of DLPack, on a device by what it says."""
        oracle("cuda.core")

        class Array:
            def __init__(self, device):
                self.memory, self.dtype = device, device.dtype

            def __dlpack_device__(self):
                return 2, 0

            def __dlpack__(self, **options):
                place = dict(self.memory.__array_interface__)
                return np.asarray(SimpleNamespace(__array_interface__=place)).__dlpack__()

        x = rng.standard_normal((3, 4))
        device = to_device(x)
        fl.optim.SGD(Array(device), lr=0.5).step(Array(to_device(x)))
        same(device.copy_to_host(), x / 2, 1, "param")
        same(fl.softmax(Array(device), 1).copy_to_host(), fl.softmax(x / 2, 1), 8, "softmax")

    def test_empty(self, no_copies):
        x, target = np.zeros((0, 3), np.float32), np.zeros(0, int)
        for f, arguments in ((fl.mse_loss, (x, x)), (fl.cross_entropy, (x, target))):
            value, grad = no_copies.host(no_copies(f.value_and_grad, *arguments, empty=7.0))
            assert value == 7 and grad.shape == (0, 3)
        ignored = no_copies.host(no_copies(fl.cross_entropy.value_and_grad, np.full((2, 3), np.nan), np.full(2, -100)))
        assert np.isnan(ignored[0]) and not ignored[1].any()

    def test_masked_activation(self, no_copies):
        x, mask = np.arange(-3.0, 3), np.arange(6) % 2 == 0
        same(no_copies.host(no_copies(fl.elu, x, where=mask)), fl.elu(x, where=mask), 2, "where")


@pytest.mark.skipif(cuda is not None, reason="there is a device")
def test_without_a_device():
    """One message, whatever is called; arrays on the host do not mind."""
    driver = "need a CUDA driver, and a device"
    if "numba_cuda" not in oracle("numba.cuda").__file__:       # Numba's own, where no site file puts the package's in its place
        driver = "pip install"
    text = """
import numpy as np, fastloss as fl
class Far:
    __cuda_array_interface__ = {"shape": (2,), "typestr": "<f4", "data": (4096, False), "version": 3}
for call in (lambda: fl.relu(Far()), lambda: fl.mse_loss(Far(), Far()), lambda: fl.softmax(Far()), lambda: fl.optim.SGD([Far()])):
    try:
        call()
    except (ImportError, RuntimeError) as error:
        print(error)
assert fl.relu(np.ones(2)).all()
"""
    for hidden, message in (("", driver), ("import sys; sys.modules['numba.cuda'] = None", "pip install 'fastloss[cuda]'")):
        done = subprocess.run([sys.executable, "-c", hidden + text], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [message in line for line in done.stdout.splitlines()] == [True] * 4, done.stdout


def test_common_arguments_are_known():
    """A new argument of every loss must be looked at here, too."""
    assert {name for names in COMMON.values() for name in names} == {"reduction", "where", "sample_weight", "empty", "upstream", "out"}
