"""Custom losses and activations: as exact as the built-in ones, the same driver behind them, and clear refusals."""

import copy
import functools
import inspect
import math
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mpmath import mp

import fastloss as fl
from fastloss import _config
from fastloss.kernels import generate
from tests.test_package import BLOCK
from tests.ulp import assert_close, assert_same

pytest.importorskip("numba")

RNG = np.random.default_rng(0)


# The built-in losses as a user would write them


def mse_loss(x, y):
    return (x - y) ** 2


def l1_loss(x, y):
    return abs(x - y)


def smooth_l1_loss(x, y, beta=1.0):
    d = abs(x - y)
    return 0.5 * d * d / beta if d < beta else d - 0.5 * beta


def huber_loss(x, y, delta=1.0):
    d = abs(x - y)
    if d <= delta:
        return 0.5 * d * d
    return delta * (d - 0.5 * delta)


def msle_loss(x, y):
    return (np.log1p(x) - np.log1p(y)) ** 2


def log_cosh_loss(x, y):
    d = abs(x - y)
    return d + math.log1p(math.exp(-2 * d)) - math.log(2)


def quantile_loss(x, y, q=0.5):
    d = y - x
    return max(q * d, (q - 1) * d)


def poisson_nll_loss(x, y):
    return math.exp(x) - y * x


def binary_cross_entropy(x, y):
    return -(y * math.log(x) + (1 - y) * math.log1p(-x))


def binary_cross_entropy_with_logits(x, y):
    return max(0, x) - x * y + math.log1p(math.exp(-abs(x)))


def sigmoid_focal_loss(x, y, *, alpha=0.25, gamma=2.0):
    s = 1 - 2 * y                                # of the wrong class: its logit is s x
    ce = max(0, s * x) + math.log1p(math.exp(-abs(x)))
    wrong = 1 / (1 + math.exp(-s * x))
    return (alpha * y + (1 - alpha) * (1 - y)) * wrong**gamma * ce


def kl_div(x, y):
    return y * (math.log(y) - x) if y > 0 else 0.0


def hinge_embedding_loss(x, y, margin=1.0):
    return x if y > 0 else max(0.0, margin - x)


def soft_margin_loss(x, y):
    z = -y * x
    return max(0, z) + math.log1p(math.exp(-abs(z)))


def exponential_loss(x, y):
    return math.exp(-y * x)


def hinge_loss(x, y):
    return max(0.0, 1 - y * x)


def squared_hinge_loss(x, y):
    m = np.maximum(0.0, 1 - y * x)
    return m * m


def real(n):
    return 2 * RNG.standard_normal((2, n))


def signs(n):
    return 2 * RNG.standard_normal(n), RNG.choice([-1.0, 1.0], n)


def bits(n):
    return 2 * RNG.standard_normal(n), RNG.integers(0, 2, n)


def unit(n):
    return RNG.uniform(0.05, 0.95, (2, n))


def positive(n):
    return RNG.uniform(0.1, 5, (2, n))


BUILT_IN = [
    (mse_loss, real, {}),
    (l1_loss, real, {}),
    (smooth_l1_loss, real, {"beta": 0.5}),
    (huber_loss, real, {"delta": 1.5}),
    (msle_loss, positive, {}),
    (log_cosh_loss, real, {}),
    (quantile_loss, real, {"q": 0.75}),
    (poisson_nll_loss, real, {}),
    (binary_cross_entropy, unit, {}),
    (binary_cross_entropy_with_logits, bits, {}),
    (sigmoid_focal_loss, bits, {"alpha": 0.25, "gamma": 2.0}),
    (sigmoid_focal_loss, bits, {"alpha": 0.75, "gamma": 1.5}),
    (kl_div, unit, {}),
    (hinge_embedding_loss, signs, {"margin": 0.5}),
    (soft_margin_loss, signs, {}),
    (exponential_loss, signs, {}),
    (hinge_loss, signs, {}),
    (squared_hinge_loss, signs, {}),
]


@functools.cache
def custom(formula):
    """One loss per formula, so that a test compiles nothing another has compiled."""
    return fl.custom_loss(formula)


@pytest.mark.parametrize("formula, inputs, params", BUILT_IN, ids=lambda v: getattr(v, "__name__", ""))
def test_built_in_losses_written_by_hand(formula, inputs, params, dtype):
    """Value, derived gradient and derived second derivative. In ULP of numbers up to 1 or of the result: the plain formulas
    cancel where the built-in ones do not; each takes at most a dozen roundings of terms below 10.
    """
    x, y = (np.asarray(a, dtype) for a in inputs(500))
    ours, theirs = custom(formula), getattr(fl, formula.__name__)
    got = ours.value_grad_hess(x, y, reduction="none", **params)
    want = theirs.value_grad_hess(x, y, reduction="none", **params)
    for a, b, what in zip(got, want, ("value", "gradient", "second derivative"), strict=True):
        assert a.dtype == dtype
        assert_close(a, b, 20, 1.0, f"{formula.__name__}: {what}")


def test_kinks_and_smooth_joints():
    """Of |d| the gradient at 0 is 0; |d| squared bends at 0 as d squared does; a tie of max is its first argument's."""
    assert custom(l1_loss).value_grad_hess([1.0], [1.0]) == (0, 0, 0)
    assert custom(huber_loss).value_grad_hess([1.0], [1.0]) == fl.huber_loss.value_grad_hess([1.0], [1.0]) == (0, 0, 1)
    assert custom(hinge_loss).grad([1.0], [1.0]) == fl.hinge_loss.grad([1.0], [1.0]) == 0
    power = fl.custom_loss("lambda x, y, p=2.0: abs(x - y) ** p")
    for p, slopes in ((2.0, (0, 2)), (1.0, (0, 0)), (0.0, (0, 0)), (3.0, (0, 0))):
        assert power.value_grad_hess([1.0], [1.0], p=p)[1:] == slopes


def every_function(x, y):
    if y == 0:
        return math.exp(x) * x
    elif y == 1:
        return np.expm1(x) / (2 + x * x)
    elif y == 2:
        return math.log(2 + x)
    elif y == 3:
        return np.log1p(x * x)
    elif y == 4:
        r = math.sqrt(1 + x * x)
        r -= 1
    elif y == 5:
        r = math.tanh(x)
    elif y == 6:
        r = math.erf(x)
    elif y == 7:
        r = (x + 2) ** 3 + (x + 2) ** -2 + pow(x + 2, 0.5) + np.power(x + 2, -0.5)
    elif y == 8:
        r = (x + 2) ** 1.3
    elif y == 9:
        r = 1.5**x + (x + 2) ** x
    elif y == 10:
        a, b = x, 1.5
        r = a / (a * a + b)
    else:
        r = min(np.square(x), max(x, 0.5, x + 0.25)) if -1 < x and not x >= 2 else np.where((x < 0) & (x > -9), np.fabs(x), 1.0)
    return r


def precisely(y):
    return [
        lambda x: mp.exp(x) * x, lambda x: mp.expm1(x) / (2 + x * x), lambda x: mp.log(2 + x), lambda x: mp.log1p(x * x),
        lambda x: mp.sqrt(1 + x * x) - 1, mp.tanh, mp.erf,
        lambda x: (x + 2) ** 3 + (x + 2) ** -2 + mp.sqrt(x + 2) + 1 / mp.sqrt(x + 2), lambda x: (x + 2) ** mp.mpf(1.3),
        lambda x: mp.mpf(1.5) ** x + (x + 2) ** x, lambda x: x / (x * x + 1.5),
        lambda x: min(x * x, max(x, 0.5, x + 0.25)) if -1 < x < 2 else abs(x) if -9 < x < 0 else mp.mpf(1),
    ][y]  # fmt: skip


def test_derivatives_of_every_function():
    """Against derivatives in 40 digits, in ULP of numbers up to 1 (quotients and products of at most ten rounded factors)."""
    points = [-1.7, -0.9, -0.31, 0.13, 0.4, 1.1, 1.9, 2.6]
    x, y = (np.array(a, float) for a in zip(*((x, y) for y in range(12) for x in points), strict=True))
    got = fl.custom_loss(every_function).value_grad_hess(x, y, reduction="none")
    with mp.workdps(40):
        for order in range(3):
            want = [mp.diff(precisely(int(k)), mp.mpf(v), order, h=mp.mpf("1e-12")) for v, k in zip(x, y, strict=True)]
            assert_close(got[order], want, 40, 1.0, f"derivative {order}")


def test_tails_of_derivatives():
    """tanh and erf: their slopes are no differences of numbers near 1."""
    slopes = fl.custom_loss("lambda x, y: math.tanh(x) if y > 0 else math.erf(x)")
    x = np.array([8.0, 20.0, 5.0, np.inf, np.inf])
    got = slopes.grad(x, [1, 1, 0, 1, 0], reduction="none")
    with mp.workdps(40):
        want = [mp.sech(8) ** 2, mp.sech(20) ** 2, 2 / mp.sqrt(mp.pi) * mp.exp(-25), mp.mpf(0), mp.mpf(0)]
    assert_close(got, want, 4)


def test_given_derivatives_are_taken():
    """What the formula returns is not derived again; what it leaves out is derived from the last that it returns."""
    two = fl.custom_loss("def two(x, y):\n    return x * y, x * x")
    three = fl.custom_loss("def three(x, y):\n    return x, 10.0, 20.0")
    assert two.value_grad_hess([3.0], [2.0]) == (6, 9, 6)
    assert three.value_grad_hess([3.0], [2.0]) == (3, 10, 20)
    given = fl.custom_activation("def given(x):\n    return x, 10.0 * x")
    assert given.grad(2.0) == 20 and given(2.0) == 2


def test_a_branch_not_taken_leaves_nothing():
    safe = fl.custom_loss("lambda x, y: math.sqrt(x) * math.log(x) / x if x > 0 else 0.0")
    value, grad, hess = safe.value_grad_hess([0.0, -1.0, 4.0], 0.0, reduction="none")
    np.testing.assert_array_equal([value[:2], grad[:2], hess[:2]], 0)
    assert np.isfinite([value[2], grad[2], hess[2]]).all()
    assert np.isnan(safe.grad([np.nan, 4.0], 0.0, reduction="none")).tolist() == [False, False]      # NaN > 0 is false
    assert np.isnan(custom(huber_loss).grad([np.nan], 0.0))


# The driver behind them


def test_every_method_as_the_built_in():
    """Reductions, weights, masks, upstream, out, partial sums: the same arithmetic on the same losses, here without rounding."""
    ours, theirs = custom(mse_loss), fl.mse_loss
    x, y, w = (RNG.integers(-8, 8, (6, 5)).astype(np.float32) for _ in range(3))
    rows, mask = RNG.integers(1, 4, 6).astype(np.float32), RNG.random((6, 5)) < 0.5
    options = [{}, {"weight": w}, {"sample_weight": rows}, {"where": mask}, {"where": mask, "weight": w[0], "sample_weight": rows}]
    for option in options:
        assert ours.partial(x, y, **option) == theirs.partial(x, y, **option)
        for reduction in ("mean", "sum", "none"):
            for method in ("__call__", "grad", "value_and_grad", "value_grad_hess"):
                got, want = (getattr(f, method)(x, y, reduction=reduction, **option) for f in (ours, theirs))
                for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, want)), strict=True):
                    assert_same(a, b, f"{method} {reduction} {list(option)}")
    assert_same(ours.grad(x, y, reduction="none", upstream=w), theirs.grad(x, y, reduction="none", upstream=w))
    out = np.empty_like(x)
    assert ours.value_and_grad(x, y, out=(None, out))[1] is out
    assert_same(out, theirs.grad(x, y))
    assert ours([], [], empty=3.0) == 3.0 and np.isnan(ours([], [])) and ours([], [], reduction="sum") == 0
    assert ours(2, 1) == 1 and type(ours(2, 1)) is np.float64


def test_the_short_way_gives_the_same_bits(dtype):
    """Small plain arrays go straight to the kernel; `empty=` makes a call take the general way."""
    loss = custom(huber_loss)
    for n in (1, 15, 16, 1000, 65_536, 65_537):
        x, y = RNG.standard_normal((2, n)).astype(dtype)
        for reduction in ("mean", "sum"):
            for method in ("__call__", "grad", "value_and_grad", "value_grad_hess"):
                f = getattr(loss, method)
                short, general = f(x, y, reduction=reduction, delta=0.5), f(x, y, reduction=reduction, delta=0.5, empty=0.0)
                for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (short, general)), strict=True):
                    assert_same(a, b, f"{method} {reduction} {n}")
    swapped = x.astype(x.dtype.newbyteorder())
    assert_same(loss.grad(swapped, swapped[::-1].copy()), loss.grad(x, x[::-1].copy()))
    assert loss(np.array([np.inf], dtype), np.zeros(1, dtype)) == np.inf
    with np.errstate(all="raise"):                      # of float32 the sum is infinite, as that of built-in losses
        assert float(loss(np.full(16, 3e38, dtype), np.zeros(16, dtype), reduction="sum", delta=0.5)) > 2e39


def test_dtypes():
    import ml_dtypes

    ours, theirs = custom(mse_loss), fl.mse_loss
    x, y = RNG.integers(-8, 8, (2, 40))
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int32, np.uint8, ">f4"):
        for a, b in zip(*(f.value_grad_hess(abs(x).astype(dtype), y.astype(dtype)) for f in (ours, theirs)), strict=True):
            assert_same(a, b, str(dtype))
    with pytest.raises(TypeError, match="dtype"):
        ours(np.zeros(3, complex), 0.0)
    with pytest.raises(ValueError, match="shape"):
        ours([1.0, 2.0], [1.0, 2.0, 3.0])


def test_strides_and_threads():
    """The same bits whatever the strides and the number of threads, on either backend."""
    loss = custom(sigmoid_focal_loss)
    x = RNG.standard_normal((300, 701)).astype(np.float32)
    y = RNG.integers(0, 2, x.shape)
    want = loss.value_grad_hess(x, y, gamma=1.5)
    layouts = [np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[::-1].copy()[::-1], x.astype(">f4")]
    for n in (1, 2, 3, 5):
        for backend in fl._config.config()["backends"]:
            with fl.threads(n), fl.backend(backend):
                for moved in layouts[: 4 if n == 2 else 1]:
                    for a, b in zip(loss.value_grad_hess(moved, y, gamma=1.5), want, strict=True):
                        assert_same(a, b, f"{n} threads")
    with fl.threads(2), ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: loss.value_grad_hess(x, y, gamma=1.5), range(8)):
            assert_same(got[1], want[1], "several callers")


def test_flags_and_warnings_stay_where_they_are():
    with np.errstate(all="raise"):
        assert custom(poisson_nll_loss)([1e4], [0.0]) == np.inf
        assert np.isnan(custom(kl_div)([np.nan], [0.5]))
        fl.custom_activation("lambda x: math.log(x)")([-1.0, 0.0, 1.0])


def test_parameters():
    """By keyword; another value compiles nothing; `params` gives defaults."""
    loss = fl.custom_loss("def power(x, y, p, *, q=1.0): return q * abs(x - y) ** p", name="powers", params={"q": 2})
    assert list(inspect.signature(loss).parameters)[:5] == ["input", "target", "weight", "p", "q"]
    assert loss.__name__ == "powers" and "p" in repr(loss)
    assert loss([3.0], [1.0], p=3) == 16 and loss([3.0], [1.0], p=1, q=0.5) == 1
    compiled = dict(_config.numba()._element_kernels)
    assert loss([3.0], [1.0], p=2, q=np.float32(0.5)) == 2
    assert dict(_config.numba()._element_kernels) == compiled
    for arguments, message in (({}, "missing its parameter 'p'"), ({"p": 1, "z": 2}, "unexpected keyword argument 'z'"),
                               ({"p": "a"}, "p is 'a'; it must be a number")):  # fmt: skip
        with pytest.raises(TypeError, match=message):
            loss([3.0], [1.0], **arguments)
    with pytest.raises(TypeError):
        loss([3.0], [1.0], 2.0)
    with pytest.raises(ValueError, match="reduction"):
        loss([3.0], [1.0], p=1, reduction="max")


# Activations


def test_activations_as_the_built_in():
    for text, theirs, arguments in (
        ("lambda x, slope=0.01: x if x > 0 else slope * x", fl.leaky_relu, (0.25,)),
        ("lambda x: min(6.0, max(0.0, x))", fl.relu6, ()),
        ("lambda x, a=1.0: x if x > 0 else a * math.expm1(x)", fl.elu, (1.5,)),
    ):
        ours = fl.custom_activation(text)
        for dtype in (np.float16, np.float32, np.float64):
            x, g = RNG.integers(-8, 9, (2, 4, 33)).astype(dtype)
            for f in (lambda a: a(x, *arguments), lambda a: a.grad(x, *arguments), lambda a: a.backward(g, x, *arguments),
                      lambda a: a(x[:, ::2], *arguments), lambda a: a(3, *arguments),
                      lambda a: a(x, *arguments, where=x > 1, out=g.copy())):  # fmt: skip
                a, b = f(ours), f(theirs)
                assert a.dtype == b.dtype
                assert_close(a, np.asarray(b, np.float64), 2)
    assert fl.custom_activation("lambda x: abs(x)").grad([-2.0, 0.0, 3.0]).tolist() == [-1, 0, 1]


def test_the_ufunc_is_one():
    ours = fl.custom_activation("def affine(x, a, b=0.0): return a * x + b")
    x = np.arange(12.0).reshape(3, 4)
    a = np.array([[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(ours(x, a, b=[1, 0, 0, 0]), a * x + [1, 0, 0, 0])
    np.testing.assert_array_equal(ours.backward(x, x, a), x * a)
    assert isinstance(ours.ufunc, np.ufunc) and ours.ufunc.nin == 3 and ours.ufunc is ours.ufunc
    assert ours.ufunc(np.float32(2), 3, 1).dtype == np.float64 and ours.ufunc(x, a, 0.0, where=x > 2, out=x.copy())[0, 1] == 1
    for arguments in ((x,), (x, 1.0, 2.0, 3.0)):
        with pytest.raises(TypeError):
            ours(*arguments)
    with pytest.raises(AttributeError):
        ours.ufunc_other
    with pytest.raises(ValueError, match="6 parameters; it may have 5"):
        fl.custom_activation("lambda x, a, b, c, d, e, f: x")
    assert fl.custom_activation("lambda x, a, b, c, d, e: x + a + b + c + d + e").backward(2.0, 1.0, 1, 1, 1, 1, 1) == 2


# Pickles and other processes

SCALE = 2.5


def make(k):
    def scaled(x, y, power=2):
        return k * SCALE * abs(x - y) ** power

    return scaled


def _in_another_process(loss, x, y):
    return loss.value_and_grad(x, y), repr(loss)


def test_pickles_carry_the_formula():
    loss = fl.custom_loss(make(3))
    activation = fl.custom_activation("lambda x, a=2.0: a * x", name="line")
    for copied in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), copy.copy(loss)):
        assert copied([3.0], [1.0]) == 30 and repr(copied) == repr(loss)
        assert copied.value_and_grad([3.0], [1.0], power=1) == (15, 7.5)
    assert pickle.loads(pickle.dumps(loss.grad))([3.0], [1.0]) == loss.grad([3.0], [1.0])
    assert pickle.loads(pickle.dumps(activation)).backward(1.0, 1.0) == 2
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (value, grad), text = pool.apply(_in_another_process, (loss, [3.0], [1.0]))
    assert (value, grad, text) == (30, 30, repr(loss))


def test_disk_cache_is_read_and_never_stale(python, tmp_path):
    """A second process loads what the first compiled; a damaged file is written anew; without a folder nothing is kept."""
    program = """
import sys, fastloss as fl
from fastloss import _config
from fastloss.kernels.jit import primitives
loss = fl.custom_loss("lambda x, y: %s * (x - y)")
value = loss([3.0], [1.0])
kernel, = _config.numba()._element_kernels.values()
print(value, kernel.cache_hits if hasattr(kernel, "cache_hits") else -1)
"""
    folder = tmp_path / "cache"
    assert python(program % 2, FASTLOSS_CACHE_DIR=str(folder)).split() == ["4.0", "0"]
    assert python(program % 2, FASTLOSS_CACHE_DIR=str(folder)).split() == ["4.0", "1"]
    assert python(program % 5, FASTLOSS_CACHE_DIR=str(folder)).split() == ["10.0", "0"]
    for file in folder.glob("*.py"):
        file.write_text("raise SystemExit('damaged')")
    assert python(program % 2, FASTLOSS_CACHE_DIR=str(folder)).split()[0] == "4.0"
    nowhere = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/dev/null/x", "FASTLOSS_CACHE_DIR": ""}
    assert python(program % 2, **nowhere).split()[0] == "4.0"


def test_without_numba(python):
    """One error, which names the extra; nothing else is missing."""
    program = BLOCK.format(names=["numba", "llvmlite"]) + """
import fastloss as fl
print(fl.mse_loss([1.0], [3.0]))
for make in (fl.custom_loss, fl.custom_activation):
    try:
        make("lambda x, y: x - y")
    except ImportError as error:
        print(error)
"""
    if _config.compiled() is None:
        pytest.skip("nothing compiled")
    lines = python(program).splitlines()
    assert lines[0] == "4.0" and len(lines) == 3 and all("fastloss[numba]" in line for line in lines[1:])


# What is refused, with its line and the reason

TABLE = [1.0, 2.0]


class Box:
    number = 3.0


REFUSED = [
    ("def f(x, y):\n    s = 0\n    for i in range(3):\n        s += x\n    return s", 3, "a loop is outside the formula language: for i in range"),
    ("def f(x, y):\n    while x > 0:\n        x -= 1\n    return x", 2, "a loop"),
    ("def f(x, y):\n    return (\n        x +\n        helper(y))", 4, "helper is no function of the formula language"),
    ("def f(x, y):\n    return f(x - 1, y) if x > 0 else y", 2, "f is no function"),
    ("def f(x, y):\n    return x.real", 2, "an attribute"),
    ("def f(x, y):\n    return Box.number * x", 2, "an attribute"),
    ("def f(x, y):\n    return x[0]", 2, "indexing"),
    ("def f(x, y):\n    return TABLE * x", 2, "TABLE is neither an argument nor a number"),
    ("def f(x, y):\n    return exp * x", 2, "exp is a function; call it"),
    ("def f(x, y):\n    exp = x\n    return exp(x)", 3, "exp is no function"),
    ("def f(x, y):\n    return np.max(x)", 2, "np.max is no function"),
    ("def f(x, y, *rest):\n    return x", 1, r"\*rest"),
    ("def f(x, y, **rest):\n    return x", 1, r"\*rest"),
    ("def f(x):\n    return x", 1, "first 2 arguments, without default, stand for input and target"),
    ("def f(x, y=1):\n    return x", 1, "first 2 arguments"),
    ("def f(x, y, weight):\n    return x", 1, "weight is an argument of its own"),
    ("def f(x, y):\n    if x > y:\n        return x", 1, "a path ends without return"),
    ("def f(x, y):\n    if x > y:\n        a = 1\n    return a * x", 4, "a is not assigned on every path"),
    ("def f(x, y):\n    if x > y:\n        return x\n    return x, y", 4, "the same number of values"),
    ("def f(x, y):\n    return 1, 2, 3, 4", 1, "returns 4 values"),
    ("def f(x, y):\n    return", 2, "return without a value"),
    ("def f(x, y):\n    return 'a'", 2, "no number"),
    ("def f(x, y):\n    return None", 2, "no number"),
    ("def f(x, y):\n    return 1j * x", 2, "no number"),
    ("def f(x, y):\n    return x or y", 2, "and, or take comparisons"),
    ("def f(x, y):\n    return x // 2", 2, "this operator"),
    ("def f(x, y):\n    return x % y", 2, "this operator"),
    ("def f(x, y):\n    return x @ y", 2, "this operator"),
    ("def f(x, y):\n    return x is y", 2, "this comparison"),
    ("def f(x, y):\n    return x / 0", 2, "divides by zero"),
    ("def f(x, y):\n    return (-2) ** 0.5 * x", 2, "math domain error"),
    ("def f(x, y):\n    return 10 ** 10 ** 10 * x", 2, "math range error"),
    ("def f(x, y):\n    return math.log(0) * x", 2, "cannot be computed"),
    ("def f(x, y):\n    return max(x, y, key=abs)", 2, "max takes two or more arguments, by position"),
    ("def f(x, y):\n    return math.exp(x, y)", 2, "math.exp takes 1 arguments"),
    ("def f(x, y):\n    return max(*x)", 2, "by position"),
    ("def f(x, y):\n    return (z := x) + z", 2, "an assignment within an expression"),
    ("def f(x, y):\n    import math\n    return x", 2, "an import"),
    ("def f(x, y):\n    global z\n    return x", 2, "a global name"),
    ("def f(x, y):\n    try:\n        return x\n    except ValueError:\n        return y", 2, "an exception"),
    ("def f(x, y):\n    def g(z):\n        return z\n    return g(x)", 2, "a function within it"),
    ("def f(x, y):\n    return sum([x, y])", 2, "sum is no function"),
    ("def f(x, y):\n    print(x)\n    return x", 2, "an expression without effect"),
    ("def f(x, y):\n    a = x, y\n    return a", 2, "a tuple"),
    ("def f(x, y):\n    a, b = x\n    return a", 2, "assign to a name"),
    ("def f(x, y):\n    x[0] = 1\n    return x", 2, "assign to a name"),
    ("def f(x, y):\n    return f'{x}'", 2, "a string"),
    ("def f(x, y):\n    yield x", 2, "an expression without effect"),
    ("@cache\ndef f(x, y):\n    return x", 1, "a decorator"),
    ("def f(x, y, a=[1]):\n    return x", 1, "must be a number"),
    ("def f(x, y, a=None):\n    return x", 1, "must be a number"),
    ("def f(x, y):\n    return " + "-" * 5000 + "x", 1, "nested too deeply"),
    ("def f(x, y:\n    return x", 1, ""),
    ("x + y", 1, "one def, or one lambda"),
    ("import os", 1, "one def, or one lambda"),
    ("", 1, "one def, or one lambda"),
]


@pytest.mark.parametrize("text, line, reason", REFUSED, ids=range(len(REFUSED)))
def test_refusals(text, line, reason, tmp_path):
    """When the loss is made, as text; and as a function of a file, whose own lines are named."""
    with pytest.raises(ValueError, match=f"<formula>:{line}: .*{reason}"):
        fl.custom_loss(text)
    try:
        compile(text, "f", "exec")
    except (SyntaxError, RecursionError):
        return
    if not text.startswith("def"):
        return
    file = tmp_path / "formula.py"
    file.write_text("\n\n\n" + text)
    namespace = {"np": np, "math": math, "exp": math.exp, "TABLE": TABLE, "Box": Box}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    with pytest.raises(ValueError, match=rf"formula\.py:{line + 3}: .*{reason}"):
        fl.custom_loss(namespace["f"])


def test_functions_that_cannot_be_read():
    space = {}
    exec("def f(x, y): return x", space)
    with pytest.raises(ValueError, match="no source that can be read.*pass its text"):
        fl.custom_loss(space["f"])
    for wrong in (abs, 3, math.exp, Box, functools.partial(mse_loss), fl.mse_loss, None):
        with pytest.raises(TypeError, match="must be a plain Python function"):
            fl.custom_loss(wrong)

    def wrapped(function):
        @functools.wraps(function)
        def inner(*arguments):
            return function(*arguments)

        return inner

    with pytest.raises(ValueError, match="decorator"):
        fl.custom_loss(wrapped(mse_loss))
    twins = [lambda x, y: x, lambda x, y: y]
    assert [fl.custom_loss(f)([2.0], [3.0]) for f in twins] == [2, 3]
    with pytest.raises(TypeError, match="name"):
        fl.custom_loss(mse_loss, name=3)
    with pytest.raises(ValueError, match="params has 'z'"):
        fl.custom_loss(huber_loss, params={"z": 1})
    with pytest.raises(ValueError, match=r"params\['delta'\] is 'a'"):
        fl.custom_loss(huber_loss, params={"delta": "a"})


def test_a_list_is_no_number_from_outside():
    def outer(x, y):
        return len(TABLE) * x

    with pytest.raises(ValueError, match=rf"test_custom\.py:{outer.__code__.co_firstlineno + 1}: len is no function"):
        fl.custom_loss(outer)


# What is accepted, however it looks


@fl.custom_loss
def decorated(x: float, y: float, *, a: float = 2.0) -> float:
    """A docstring."""
    z: float
    z: float = x - y
    "a string"
    return a * z


def test_decorator_docstring_annotations():
    assert decorated([3.0], [1.0]) == 4 and decorated.__doc__ == "A docstring." and decorated.__name__ == "decorated"


ACCEPTED = [
    "lambda x, y: 3",
    "lambda x, y: float('nan')",
    "lambda x, y: math.inf if x > 0 else -np.inf",
    "lambda x, y: -0.0",
    "lambda x, y: True",
    "lambda x, y: x > y",
    "lambda x, y, unused=1: y * y",
    "lambda x, y: 7 // 2 * x + 7 % 4 + 2**3",
    "lambda x, y: x**3 + x**2 + x**-1 + x**-2 + x**7",
    "lambda x, y: x**0.5",
    "lambda x, y: x**2.5 + x**y",
    "lambda x, y: x / (y - y)",
    "lambda x, y: 1.0 if 0 < y < x <= 3 != y else 0.0",
    "lambda x, y: (x > y) * 10 + (not x > y) * 20 - (x == y)",
    "lambda x, y: 1 if (x > 1 and y > 1) or not (x > 0 or y > 0) else 0",
    "lambda x, y: max(x, y, 5) - min(x, y, -1)",
    "lambda x, y: np.maximum(x, y) - np.minimum(x, y)",
    "lambda x, y, on=True: x if on else y",
    "lambda x, y: +x - -y",
    "lambda x, y, /: x",
    "def f(x, y):\n    max = x * 2\n    return max + y",
    "def f(ξ, ψ, λ=2.0):\n    δ = ξ - ψ\n    return λ * δ",
    "def f(x, y, p0=1.0, v0=2.0, n=3.0, i=4, scale=5, params=6, r=7, value=8):\n"
    "    custom = x + p0; select = y + v0; f32 = n + i; tanh_value = r\n"
    "    return custom * select + f32 * scale + params * value + tanh_value",
    "def f(y, x):\n    y, x = x, y\n    return y - x",
    "def f(x, y):\n    a = b = x\n    a += y\n    a *= b\n    return a - b",
    "def f(x, y):\n    if x > 0:\n        if y > 5:\n            r = x\n        elif y < -1:\n            return x\n        else:\n"
    "            r = -x\n        r += 1\n    else:\n        r = y\n    return r * 2",
    "def f(x, y):\n    if x > 1:\n        if y > 1:\n            return 1\n        x = 2 * x\n    else:\n        if y > 2:\n            return 2\n"
    "    if x > 5:\n        return 3\n    return x",
    "def f(x, y):\n    if False:\n        return x, y\n    return 2\n    for i in x: pass",
    "def f(x, y):\n" + "".join(f"    x = x + {i % 3} if x < {i} else x - y\n" for i in range(150)) + "    return x",
    "def f(x, y):\n    return " + " + ".join(["x * y"] * 200),
]  # fmt: skip
WORDS = {
    "select": lambda c, a, b: a if c else b, "power": np.power, "sqrt": np.sqrt, "inf": np.inf, "nan": np.nan, "abs": abs,
}  # fmt: skip


def function(text, words):
    space = dict(words)
    exec(f"f = {text}" if text.startswith("lambda") else text, space)
    return space.get("f") or space["custom"]


@pytest.mark.parametrize("text", ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted(text):
    """What is read computes what Python does: the rewritten text, as Python, beside the formula itself."""
    loss = fl.custom_loss(text)
    formula, rewritten = function(text, {"math": math, "np": np}), function(loss.text(), WORDS)
    defaults = {f"p{k}": value for k, value in enumerate(loss.definition.defaults.values())}
    with np.errstate(all="ignore"):
        for x in (-3.0, -0.0, 2.0, 3.0, 7.0, math.nan):
            for y in (-2.0, 0.5, 2.0, 3.0):
                want, got = formula(np.float64(x), np.float64(y)), rewritten(np.float64(x), np.float64(y), **defaults)[0]
                assert got == pytest.approx(float(want), rel=1e-15, nan_ok=True), (x, y)


def test_long_formulas_and_clashing_names_compile():
    for number in (22, 28):
        loss, formula = fl.custom_loss(ACCEPTED[number]), function(ACCEPTED[number], {})
        assert loss([3.0], [2.0]) == formula(3.0, 2.0)


# The generated text


def test_tables_of_called_functions():
    """What a custom module calls has the kinds that the generator finds in the formulas."""
    formulas = generate.read_all()
    for formula, dtype, *_ in generate.translate(formulas):
        if formula.base in generate.CALLED:
            assert generate.CALLED[formula.base] == (("real",) * len(formula.arrays), formula.returns[dtype])
    assert {f.base for f in formulas} >= set(generate.CALLED) - {"power"}


def test_no_float32_is_widened():
    """Every literal is typed: the compiled float32 loop holds no double beside the parameters'."""
    loss = fl.custom_loss("def f(x, y, delta=1.0):\n    d = abs(x - y)\n    return 0.5 * d**2 if d < delta else 2 * d**1.3 - 0.1")
    loss(np.zeros(3, np.float32), 0.0)
    kernels = _config.numba()._element_kernels
    kernel = kernels[loss._formula, "v", 4]
    body = [line for line in kernel._library.get_llvm_str().splitlines() if "double" in line]
    assert not [line for line in body if any(op in line for op in (" fmul ", " fadd ", " fsub ", " fdiv ", " fcmp ", "fpext", "pow.f64"))], body


def test_text_of_each_target():
    for target in ("numba", "cuda"):
        text = custom(huber_loss).text(target)
        assert f"{target}_formulas import" in text and "def custom_f32(x, y, p0):" in text and "def custom_vgh_f64(" in text
        compile(text, target, "exec")
    assert custom(huber_loss).text().startswith("def custom(x, y, *, p0):")


def test_objectives_take_custom_losses():
    """As any loss: a name that a built-in loss has too means nothing, and parameters without default are given."""
    x, y, w = RNG.standard_normal(40), RNG.standard_normal(40), RNG.uniform(1, 2, 40)
    ours = fl.objectives.lightgbm(custom(huber_loss), delta=0.5)
    for a, b in zip(ours(y, x, w), fl.objectives.lightgbm("huber_loss", delta=0.5)(y, x, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    for a, b in zip(pickle.loads(pickle.dumps(ours))(y, x), ours(y, x), strict=True):
        assert_same(a, b)
    quartic = fl.custom_loss("lambda x, y, p: abs(x - y) ** p", name="mse_loss")
    assert fl.objectives.xgboost(quartic, p=4).init_score([0.0, 0.0, 3.0]) == pytest.approx(3 / (1 + 2 ** (1 / 3)))
    with pytest.raises(ValueError, match="it must be one of input and target alone"):
        fl.objectives.xgboost(quartic)
