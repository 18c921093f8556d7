"""The Numba backend by its own protocol: numbers against textbook formulas in extended precision, layouts, threads."""

import itertools
import os
import platform
import re

import numpy as np
import pytest

types = pytest.importorskip("numba").types

from fastloss.kernels import jit
from fastloss.kernels._generated import numba_formulas
from fastloss.kernels.tensors import Tensors

from .ulp import assert_close

WIDE = np.longdouble
ROW_LIMIT = {"f": 2, "d": 3}
rng = np.random.default_rng(0)


@pytest.fixture(params="fd", ids=["f32", "f64"])
def code(request):
    return request.param


@pytest.fixture(autouse=True)
def one_thread():
    jit.set_num_threads(1)
    yield
    jit.set_num_threads(1)


# Textbook


def statistics(x):
    """Maximum, log of the sum of exponentials above it, probabilities and 1 - probabilities, over axis 1."""
    x = x.astype(WIDE)
    top = x.max(axis=1, keepdims=True)
    e, largest = np.exp(x - top), x == top
    others = np.where(largest, 0, e).sum(axis=1, keepdims=True)
    count = largest.sum(axis=1, keepdims=True)
    total = count + others
    return top, np.log1p((count - 1) + others), e / total, np.where(largest, (count - 1) + others, total - e) / total


def textbook_cross_entropy(x, target, class_weight, row_weight, upstream, ignore_index, smoothing, z_loss, gamma, scale):
    """value, grad, hess at gamma 0, as the protocol defines them."""
    outer, n_classes, inner = x.shape
    top, logs, p, rest = statistics(x)
    if target.dtype == x.dtype:
        q, used = target.astype(WIDE), np.ones((outer, inner), bool)
    else:
        used = target != ignore_index
        q = (np.arange(n_classes)[None, :, None] == target[:, None, :]).astype(WIDE)
    weights = np.ones(n_classes) if class_weight is None else class_weight
    v = ((1 - WIDE(smoothing)) * q + WIDE(smoothing) / n_classes) * weights.astype(WIDE)[None, :, None]
    share = np.ones((outer, inner)) if row_weight is None else row_weight
    used &= share != 0
    share = np.where(used, share, 0).astype(WIDE)[:, None, :]
    with np.errstate(invalid="ignore"):
        far = np.where(v == 0, 0, v * (logs + (top - x.astype(WIDE))))
        lse = top + logs
        value = share * (far.sum(axis=1, keepdims=True) + z_loss * lse**2)
        factor = WIDE(scale) * share * (1 if upstream is None else upstream.astype(WIDE)[:, None, :])
        w = v.sum(axis=1, keepdims=True)
        grad = factor * (np.where(p < 0.5, w * p - v, (w - v) - w * rest) + 2 * z_loss * lse * p)
        hess = factor * ((w + 2 * z_loss * lse) * p * rest + 2 * z_loss * p**2)
    return [np.where(used[:, None, :], a, 0) for a in (value, grad, hess)]


# Layouts: the same values, stored otherwise


def contiguous(a):
    return a


def fortran(a):
    return np.asfortranarray(a)


def spaced(a):
    room = np.empty(tuple(3 * n for n in a.shape), a.dtype)[1::3, ::3, 2::3]
    room[...] = a
    return room


def reversed_(a):
    return a[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]


LAYOUTS = [contiguous, fortran, spaced, reversed_]
SHAPES = [(1, 1, 1), (37, 10, 1), (300, 3, 1), (3, 10, 50), (2, 63, 17), (5, 64, 1), (3, 100, 1), (2, 70, 33), (3, 1030, 1)]


def logits(shape, code, spread=3.0):
    x = rng.standard_normal(shape) * spread
    x[:, 0] += rng.random((shape[0], shape[2])) * 40 * (np.arange(shape[0])[:, None] % 2)
    return x.astype(code)


# Softmax family


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_family(shape, code):
    """Every layout gives the same bits, and those are right."""
    x = logits(shape, code)
    top, logs, p, _ = statistics(x)
    results = []
    for layout in LAYOUTS:
        kept = []
        for op in ("softmax", "log_softmax"):
            out = layout(np.full_like(x, np.nan))
            jit.softmax(op, layout(x), out)
            kept.append(np.ascontiguousarray(out))
        lse = np.full((shape[0], shape[2]), np.nan, code)
        jit.softmax("logsumexp", layout(x), lse)
        results.append([*kept, lse])
    for op, got, want in zip(
        ("softmax", "log_softmax", "logsumexp"), results[0], (p, (x.astype(WIDE) - top) - logs, (top + logs)[:, 0]), strict=True
    ):
        size = np.abs(top[:, 0]) if op == "logsumexp" else 0.0
        assert_close(got, want, ROW_LIMIT[code], size, op)
    for other in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("shape", [(40, 10, 1), (3, 10, 20), (4, 200, 1)], ids=str)
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_softmax_backward(op, shape, code):
    g, x = rng.standard_normal(shape).astype(code), logits(shape, code)
    y = np.empty_like(x)
    jit.softmax(op, x, y)
    wide_g, wide_y = g.astype(WIDE), y.astype(WIDE)
    if op == "softmax":
        want = wide_y * (wide_g - (wide_g * wide_y).sum(axis=1, keepdims=True))
    else:
        want = wide_g - np.exp(wide_y) * wide_g.sum(axis=1, keepdims=True)
    for layout in LAYOUTS:
        out = layout(np.empty_like(x))
        jit.softmax_backward(op, layout(g), layout(y), out)
        assert_close(np.ascontiguousarray(out), want, 8, 8 * np.abs(g).max(), op)


def test_in_place(code):
    for shape in ((40, 10, 1), (3, 100, 1)):
        x = logits(shape, code)
        out, same = np.empty_like(x), x.copy()
        for op in ("softmax", "log_softmax"):
            same[...] = x
            jit.softmax(op, x, out)
            jit.softmax(op, same, same)
            assert out.tobytes() == same.tobytes()


def test_edges_of_rows(code):
    inf, nan, largest = np.inf, np.nan, float(np.finfo(code).max)
    rows = [[0, nan, 1], [0, inf, 1], [inf, nan, 0], [-inf, -nan, -inf], [-inf] * 3, [-inf, 0, 0], [largest, -largest, 0]]
    rows.append([1, 2, 3])
    want = [[nan] * 3, [nan] * 3, [nan] * 3, [nan] * 3, [nan] * 3, [0, 0.5, 0.5], [1, 0, 0], None]
    want_lse = [nan, inf, nan, nan, -inf, np.log(2.0), largest, None]
    for width in (3, 80):
        x = np.full((len(rows), width, 1), -inf, code)
        x[:, :3, 0] = rows
        out, lse = np.empty_like(x), np.empty((len(rows), 1), code)
        with np.errstate(all="raise"):
            jit.softmax("softmax", x, out)
            jit.softmax("logsumexp", x, lse)
        for got, got_lse, p, value in zip(out, lse[:, 0], want, want_lse, strict=True):
            if p is None:
                assert_close(got[:3, 0].sum(), 1.0, 2)
            else:
                np.testing.assert_array_equal(got[:3, 0], np.array(p, code))
                np.testing.assert_allclose(got_lse, value, rtol=1e-6)


def test_no_classes_and_no_rows(code):
    lse = np.empty((3, 1), code)
    jit.softmax("logsumexp", np.empty((3, 0, 1), code), lse)
    assert (lse == -np.inf).all()
    for shape in ((3, 0, 1), (0, 5, 1), (4, 5, 0)):
        x = np.empty(shape, code)
        jit.softmax("softmax", x, x)


# Cross-entropy

OPTIONS = [
    dict(zip(("targets", "weighted", "shared", "smoothing", "z_loss"), values, strict=True))
    for values in itertools.product(("classes", "probabilities"), (False, True), (False, True), (0.0, 0.125), (0.0, 0.01))
]


def cross_entropy_arguments(shape, code, targets, weighted, shared, smoothing, z_loss):
    outer, n_classes, inner = shape
    if targets == "classes":
        target = rng.integers(0, n_classes, (outer, inner))
        target[::5] = -100
    else:
        target = rng.random(shape) * (rng.random(shape) > 0.3)
        target = (target / np.maximum(target.sum(axis=1, keepdims=True), 1e-3)).astype(code)
    class_weight = (rng.random(n_classes) + 0.5).astype(code) if weighted else None
    row_weight = (rng.random((outer, inner)) * (rng.random((outer, inner)) > 0.2)).astype(code) if shared else None
    upstream = rng.standard_normal((outer, inner)).astype(code) if shared else None
    return target, class_weight, row_weight, upstream, -100, smoothing, z_loss, 0.0, 0.37


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
@pytest.mark.parametrize("shape", [(57, 10, 1), (3, 7, 40), (9, 100, 1)], ids=str)
def test_cross_entropy(shape, code, options):
    """Value, gradient and Hessian of every combination of options; absent rows are never read."""
    x = logits(shape, code)
    arguments = cross_entropy_arguments(shape, code, **options)
    value, grad, hess = textbook_cross_entropy(x, *arguments)
    absent = value == 0
    x = np.where(absent, np.nan, x).astype(code)
    plain = options["targets"] == "classes" and not options["smoothing"] and not options["z_loss"]
    size = 0.0 if plain else np.abs(grad) + 0.37 * 2 * np.abs(value).max()
    for layout in LAYOUTS[:3]:
        got = np.empty((shape[0], shape[2]), code)
        outs, acc = [layout(np.full_like(x, np.nan)) for _ in range(2)], np.zeros(2)
        jit.cross_entropy("vgh", layout(x), *arguments, got, *outs, acc)
        assert_close(got, value[:, 0], ROW_LIMIT[code] + 2, 0.0, "value")
        assert_close(acc.sum().astype(code), value.sum(), ROW_LIMIT[code] + 2, 0.0, "sum")
        assert_close(np.ascontiguousarray(outs[0]), grad, ROW_LIMIT[code] + 1, size, "grad")
        assert_close(np.ascontiguousarray(outs[1]), hess, 8, size, "hess")


def test_cross_entropy_of_a_dominant_class(code):
    """The small loss and p - 1 keep their digits; one-hot probabilities are no worse than the class."""
    gap = np.array([0.5, 5, 60, 95], code)
    for n_classes in (2, 10, 500):
        x = np.zeros((4, n_classes, 1), code)
        x[:, 1, 0] = gap
        y = np.ones((4, 1), np.int64)
        arguments = (None, None, None, -100, 0.0, 0.0, 0.0, 1.0)
        want, grad, _ = textbook_cross_entropy(x, y, *arguments)
        for target in (y, np.where(np.arange(n_classes)[None, :, None] == 1, np.ones_like(x), 0).astype(code)):
            value, got, acc = np.empty((4, 1), code), np.empty_like(x), np.zeros(2)
            jit.cross_entropy("vg", x, target, *arguments, value, got, None, acc)
            assert_close(value, want[:, 0], ROW_LIMIT[code])
            assert_close(got, grad, ROW_LIMIT[code])


def test_infinite_logits_at_weight_0(code):
    x = np.array([[0, -np.inf, 1], [2, -np.inf, 0]], code)[..., None]
    target = np.array([[0.5, 0, 0.5], [0.5, 0.5, 0]], code)[..., None]
    value, acc = np.empty((2, 1), code), np.zeros(2)
    jit.cross_entropy("v", x, target, None, None, None, -100, 0.0, 0.0, 0.0, 1.0, value, None, None, acc)
    assert np.isfinite(value[0, 0]) and value[1, 0] == np.inf and acc[0] == np.inf and acc[1] == 0
    weight = np.array([1, 0, 1], code)
    jit.cross_entropy("v", x, target, weight, None, None, -100, 0.0, 0.0, 0.0, 1.0, value, None, None, None)
    assert np.isfinite(value).all()


def test_nll_loss(code):
    x = rng.standard_normal((40, 6, 3)).astype(code)
    y = rng.integers(0, 6, (40, 3)).astype(np.int32)
    y[3] = 5
    w, u, up = (rng.random(n).astype(code) for n in (6, (40, 3), (40, 3)))
    value, grad, hess, acc = np.empty((40, 3), code), np.empty_like(x), np.full_like(x, np.nan), np.zeros(2)
    jit.nll_loss("vgh", x, y, w, u, up, 5, 0.5, value, grad, hess, acc)
    used = (y != 5).astype(code)
    picked = np.take_along_axis(x, y[:, None].astype(int), 1)[:, 0]
    np.testing.assert_allclose(value, -used * u * w[y] * picked, rtol=1e-6)
    want = np.where(np.arange(6)[None, :, None] == y[:, None], -0.5 * (used * u * w[y] * up)[:, None], 0)
    np.testing.assert_allclose(grad, want, rtol=1e-6)
    assert not hess.any()
    np.testing.assert_allclose(acc.sum(), value.sum(dtype=float), rtol=0, atol=1e-6 * np.abs(value).sum())    # it may cancel


def test_check_targets(code):
    y = rng.integers(0, 5, 1000)
    y[::7] = -1
    w = rng.random(5).astype(code)
    u = (rng.random(1000) > 0.5).astype(code)
    for target in (y, y.astype(np.int32)):
        sums = np.zeros(3)
        assert jit.check_targets(target, 5, -1, w, u, sums) == -1
        used = (y != -1) & (u != 0)
        np.testing.assert_allclose(sums[:2], [w[y][used].sum(dtype=float), used.sum()])
    y[[500, 600]] = 5
    u[500] = 0
    assert jit.check_targets(y, 5, -1, None, u, np.zeros(3)) == (600 if u[600] else -1)
    assert jit.check_targets(y, 5, -1, None, None, np.zeros(3)) == 500


# Element kernels


def squares(n, code):
    return rng.standard_normal(n).astype(code), rng.standard_normal(n).astype(code)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 1023, 1040, 70_000])
def test_loss(n, code):
    x, y = squares(n, code)
    w, up = (rng.random(n).astype(code) for _ in range(2))
    mask = rng.random(n) > 0.3
    x[~mask] = np.nan
    value, grad, hess, acc = np.empty_like(x), np.empty_like(x), np.empty_like(x), np.zeros(2)
    jit.loss("mse_loss", "vgh", (), (x, y), w, mask, up, 0.5, (value, grad, hess), acc)
    d = np.where(mask, x - y, 0)
    for got, want in ((value, w * d**2), (grad, w * up * d), (hess, w * up * mask)):
        np.testing.assert_allclose(got, want, rtol=1e-5 if code == "f" else 1e-14)
    np.testing.assert_allclose(acc.sum(), value.sum(dtype=WIDE).astype(float), rtol=1e-15, atol=0)
    again = np.zeros(2)
    jit.total(value, mask, again)
    np.testing.assert_allclose(again.sum(), value[mask].sum(dtype=WIDE).astype(float), rtol=1e-14)


def test_gradient_in_place_of_an_input(code):
    x, y = squares(1000, code)
    want, acc = np.empty_like(x), np.zeros(2)
    jit.loss("mse_loss", "vg", (), (x, y), None, None, None, 1.0, (None, want, None), acc)
    jit.loss("mse_loss", "vg", (), (x, y), None, None, None, 1.0, (None, x, None), acc)
    assert x.tobytes() == want.tobytes()


def test_step(code):
    """Tensors of odd lengths, more than one piece; the gradient is only read."""
    sizes = (1, 17, 70_001, 33)
    tensors, grads = ([rng.standard_normal(n).astype(code) for n in sizes] for _ in range(2))
    for grad in grads:
        grad.flags.writeable = False
    want = [param - np.array(0.5, code) * grad for param, grad in zip(tensors, grads, strict=True)]
    jit.step("sgd_step", Tensors([(param,) for param in tensors]), grads, (1.0, 0.0, 0.5))
    for param, w in zip(tensors, want, strict=True):
        np.testing.assert_allclose(param, w, rtol=1e-6, atol=1e-6)


# Ufuncs


def test_ufunc_types_and_layouts():
    f = jit.ufunc("sigmoid", "value")
    assert isinstance(f, np.ufunc) and f is jit.ufunc("sigmoid", "value")
    assert f(np.int8(0)).dtype == np.float64 and f(np.float32(0)).dtype == np.float32
    x = rng.standard_normal(3001).astype("f")
    want = f(x)
    np.testing.assert_allclose(want, 1 / (1 + np.exp(-x.astype(float))), rtol=2e-7)
    for step in (2, 3, -1, -2):
        room = np.zeros(2 * abs(step) * x.size, "f")[::step][: x.size]
        room[...] = x
        assert f(room).tobytes() == want.tobytes()
        assert f(x, out=room).tobytes() == want.tobytes()
    for start in range(20):
        assert f(x[start:]).tobytes() == want[start:].tobytes()
    inplace = x.copy()
    assert f(inplace, out=inplace).tobytes() == want.tobytes()
    assert f(x[:, None] * np.ones(3, "f"))[:, 1].tobytes() == want.tobytes()


def test_ufunc_of_every_float16():
    """It computes in float32 and rounds once: g * 1 and g * 0.25, subnormals, infinities and NaN included."""
    g = np.arange(65536, dtype=np.uint16).view(np.float16)
    with np.errstate(all="raise"):
        same = jit.ufunc("relu", "backward")(g, np.float16(1))
        quarter = jit.ufunc("sigmoid", "backward")(g, np.float16(0))
    assert same.dtype == quarter.dtype == np.float16
    np.testing.assert_array_equal(same, g)
    with np.errstate(invalid="ignore", under="ignore"):
        np.testing.assert_array_equal(quarter, (g.astype("f") * np.float32(0.25)).astype(np.float16))


def test_ufunc_reductions_see_what_they_wrote():
    g, x = rng.standard_normal(50), rng.standard_normal(50)
    f = jit.ufunc("relu", "backward")
    want = g.copy()
    for i in range(1, 50):
        want[i] = f(want[i - 1], x[i])
    chain = np.concatenate([g[:1], x[1:]])
    assert f.accumulate(chain).tobytes() == want.tobytes()
    assert f.reduce(chain) == want[-1]


# Threads


def everything(code):
    """Results of several chunks each, as bytes."""
    x = logits((3000, 70, 1), code)
    y = rng.integers(0, 70, (3000, 1))
    flat, target = squares(300_000, code)
    kept = []
    for n in THREADS:
        jit.set_num_threads(n)
        out, grad, acc = np.empty_like(x), np.empty_like(x), np.zeros(2)
        jit.softmax("softmax", x, out)
        jit.cross_entropy("vg", x, y, None, None, None, -100, 0.0, 0.0, 0.0, 1.0, None, grad, None, acc)
        flat_grad = np.empty_like(flat)
        jit.loss("mse_loss", "vg", (), (flat, target), None, None, None, 1.0, (None, flat_grad, None), acc)
        param = flat.copy()
        jit.step("sgd_step", Tensors([(param,)]), [target], (1.0, 0.0, 0.5))
        kept.append([a.tobytes() for a in (out, grad, acc, flat_grad, param)])
    return kept


THREADS = (1, 2, 3, 5, 8)


def test_any_number_of_threads_gives_the_same_bits(code):
    first, *others = everything(code)
    assert all(other == first for other in others)


def test_position_does_not_matter(code):
    """A row among other rows, at another place of its tile, next to absent rows: the same bits."""
    for n_classes in (10, 100):
        x = logits((150, n_classes, 1), code)
        y = rng.integers(0, n_classes, (150, 1))
        value, grad = np.empty((150, 1), code), np.empty_like(x)
        options = (None, None, None, -100, 0.0, 0.0, 0.0, 0.1)
        jit.cross_entropy("vg", x, y, *options, value, grad, None, None)
        absent = y.copy()
        absent[::2] = -100
        some_value, some_grad = np.empty_like(value), np.empty_like(grad)
        jit.cross_entropy("vg", x, absent, *options, some_value, some_grad, None, None)
        assert some_value[1::2].tobytes() == value[1::2].tobytes() and some_grad[1::2].tobytes() == grad[1::2].tobytes()
        assert not some_value[::2].any() and not some_grad[::2].any()
        for start in (1, 3, 17, 149):
            part_value, part_grad = np.empty_like(value[start:]), np.empty_like(grad[start:])
            jit.cross_entropy("vg", x[start:], y[start:], *options, part_value, part_grad, None, None)
            assert part_value.tobytes() == value[start:].tobytes() and part_grad.tobytes() == grad[start:].tobytes()


# Compilation


def test_one_signature_for_every_layout(code):
    """Read-only, strided, Fortran-ordered arrays are addresses all alike: no second compilation."""
    x = logits((4, 5, 3), code)
    for layout in LAYOUTS:
        a = layout(x)
        a.flags.writeable = False
        jit.softmax("softmax", a, np.empty_like(x))
    kernel = getattr(numba_formulas, f"softmax_f{8 * x.itemsize}")
    assert len(kernel.signatures) == 1


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="x86 only")
@pytest.mark.parametrize("loop", ["exp_row", "top_row", "scale_row", "sum_block"])
def test_loops_are_vectorised(loop, code):
    if (loop, code) == ("top_row", "d"):
        pytest.skip("64-bit integer maxima are vector instructions with AVX-512 only")
    real = {"f": types.float32, "d": types.float64}[code]
    arguments = {
        "exp_row": (types.CPointer(real), types.intp, real, real, real, real, *2 * [types.CPointer(real)]),
        "top_row": (types.CPointer(real), types.intp),
        "scale_row": (types.CPointer(real), types.intp, real, real, real, *2 * [types.CPointer(real)]),
        "sum_block": (types.CPointer(real), types.intp, types.CPointer(types.float64)),
    }[loop]
    dispatcher = getattr(numba_formulas, f"{loop}_f{real.bitwidth}")
    dispatcher.compile(arguments)
    packed = r"v?p?(add|mul|max|fmadd\d+)(ps|pd|sd|sq|d|q)\s.*[xyz]mm" if loop == "top_row" else r"(add|mul|fmadd\d+)p[sd]\s"
    assert re.search(packed, dispatcher.inspect_asm(arguments))


def test_no_place_for_a_disk_cache(python):
    """Nothing can be written: kernels compile all the same."""
    program = """
import numba.core.caching
for locator in numba.core.caching.CacheImpl._locator_classes:
    locator.from_function = classmethod(lambda *_: None)
import numpy as np
from fastloss.kernels import jit
acc = np.zeros(2)
jit.total(np.arange(10.0), None, acc)
print(acc.sum())
"""
    assert python(program).strip() == "45.0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_during_a_region(python):
    """The child has none of its parent's threads and does not wait for them."""
    program = """
import os, threading
import numpy as np
from fastloss.kernels import jit
jit.set_num_threads(3)
values, acc = np.ones(1 << 22, "f"), np.zeros(2)
jit.total(values, None, acc)
stop = threading.Event()

def busy():
    while not stop.is_set():
        jit.total(values, None, np.zeros(2))

thread = threading.Thread(target=busy)
thread.start()
codes = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        again = np.zeros(2)
        jit.total(values, None, again)
        os._exit(0 if again.tobytes() == acc.tobytes() else 1)
    codes.append(os.waitpid(child, 0)[1])
stop.set()
thread.join()
print(codes)
"""
    assert python(program, timeout=100).strip() == "[0, 0, 0, 0, 0]"
