"""The same numbers laid out in memory any way at all give the same bits."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import fastloss as fl
from fastloss import _activation
from tests.cases import scenarios
from tests.oracle import oracle
from tests.ulp import rounded


def ids(value):
    return getattr(value, "id", None)


def bits(*results):
    """Everything a call returned, as bytes."""
    flat = [r for result in results for r in (result if isinstance(result, tuple) else (result,))]
    return [np.ascontiguousarray(r).tobytes() for r in flat]


# Layouts: each returns an array of the same shape, dtype kind and numbers


def fortran(a):
    return np.array(a, order="F")


def reverse(a):
    return np.flip(np.flip(a).copy())


def every_second(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype) if a.ndim else np.zeros(2, a.dtype)
    view = wide[..., ::2] if a.ndim else wide[1:].reshape(())
    view[...] = a
    return view


def shifted(a):
    """Off by one element: aligned for the dtype, not for vectors."""
    flat = np.empty(a.size + 1, a.dtype)[1:]
    flat[:] = a.ravel()
    return flat.reshape(a.shape)


def unaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(np.ascontiguousarray(a).tobytes(), np.uint8)
    view = raw.view(a.dtype).reshape(a.shape)
    assert not view.flags.aligned or a.itemsize == 1 or a.size == 0
    return view


def swapped(a):
    return a.astype(a.dtype.newbyteorder("S"))


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def subclass(a):
    class Sub(np.ndarray):
        pass

    return a.view(Sub)


def with_interface(a):
    """What pandas and friends look like: not an array, but gives one."""
    return SimpleNamespace(__array_interface__=a.__array_interface__, owner=a)


def nested(a):
    return a.tolist()


LAYOUTS = [fortran, reverse, every_second, shifted, unaligned, swapped, read_only, subclass, with_interface]


def calls(scenario):
    """Every function of a case, as (name, function of arguments and keywords)."""
    f = scenario.case.function
    if scenario.case.family == "activation":
        return [f, f.grad, lambda x, **k: f.backward(x, x, **k)]
    if scenario.case.family == "several":
        return [f, lambda x, **k: f.backward(np.ones_like(f(x, **k)), x, **k)]
    if scenario.case.family == "softmax":
        return [f, *([lambda x, axis, where=None: f.backward(x, x, axis)] if hasattr(f, "backward") else [])]
    return [lambda *a, **k: f.value_grad_hess(*a, **k), lambda *a, **k: f(*a, reduction="none", **k)]


WIDEST = [
    s for s in scenarios("activation", "several", "elementwise", "pair", "softmax", "rows")
    if s.shape in ((67,), (5, 7), (2, 3, 4, 5)) or s.option == "plain"
]  # fmt: skip


@pytest.mark.parametrize("scenario", WIDEST, ids=ids)
def test_layout_of_inputs(scenario, dtype, backend):
    arguments, keywords = scenario.call(dtype)
    for call in calls(scenario):
        want = bits(call(*arguments, **keywords))
        for layout in LAYOUTS:
            moved = [layout(np.asarray(a)) for a in arguments]
            given = {
                k: layout(v) if isinstance(v, np.ndarray) and k != "where" else v for k, v in keywords.items()
            }
            assert bits(call(*moved, **given)) == want, layout.__name__
            for argument, original in zip(moved, arguments, strict=True):
                np.testing.assert_array_equal(getattr(argument, "owner", argument), original)


@pytest.mark.parametrize("scenario", [s for s in WIDEST if s.case.name != "logsumexp" and s.case.family not in ("several", "pair")], ids=ids)
def test_layout_of_outputs(scenario, dtype, backend):
    (x, *rest), keywords = scenario.call(dtype)
    function = scenario.case.function
    if scenario.case.family in ("elementwise", "rows"):
        function = function.grad
    want = bits(function(x, *rest, **keywords))
    for layout in (fortran, reverse, every_second, shifted, unaligned):
        out = layout(np.full_like(x, 7))
        assert function(x, *rest, out=out, **keywords) is out
        assert bits(out) == want, layout.__name__


@pytest.mark.parametrize("scenario", [s for s in WIDEST if s.option == "plain"], ids=ids)
def test_lists_are_arrays(scenario, backend):
    arguments, keywords = scenario.call(np.float64)
    for call in calls(scenario):
        assert bits(call(*map(nested, arguments), **keywords)) == bits(call(*arguments, **keywords))


def test_zero_strides(dtype, backend):
    x = np.broadcast_to(np.linspace(-3, 3, 7, dtype=dtype), (5, 7))
    column = np.broadcast_to(np.linspace(-3, 3, 5, dtype=dtype)[:, None], (5, 7))
    target = np.broadcast_to(np.int64(2), (5,))
    for view in (x, column):
        for axis in (None, 0, 1):
            for f in (fl.softmax, fl.log_softmax, fl.logsumexp, fl.hardmax):
                assert bits(f(view, axis=axis)) == bits(f(view.copy(), axis=axis))
        for loss, y in ((fl.mse_loss, x), (fl.cross_entropy, target), (fl.nll_loss, target)):
            assert bits(loss.value_grad_hess(view, y)) == bits(loss.value_grad_hess(view.copy(), y.copy()))
        assert bits(fl.gelu(view)) == bits(fl.gelu(view.copy()))


def test_memory_map(tmp_path, dtype, backend):
    x = np.random.default_rng(0).standard_normal((40, 7)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    target = np.arange(40) % 7
    assert bits(fl.cross_entropy.value_and_grad(mapped, target)) == bits(
        fl.cross_entropy.value_and_grad(x, target)
    )
    assert bits(fl.mse_loss.value_and_grad(mapped, 0.0)) == bits(fl.mse_loss.value_and_grad(x, 0.0))
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", dtype, x.shape)
    fl.softmax(mapped, axis=1, out=out)
    assert bits(out) == bits(fl.softmax(x, axis=1))


# Several chunks of 65,536 elements, cut at no round number
SIZES = [(200_003,), (3, 70_001), (20_001, 10), (7, 131, 211)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize(
    "layout", [fortran, reverse, every_second, unaligned, swapped], ids=lambda f: f.__name__
)
def test_large_arrays_in_slabs(shape, layout, dtype, backend):
    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((3, *shape)).astype(dtype)
    mask = rng.random(shape) < 0.7
    ours, theirs, weight = map(layout, (x, y, w))
    assert bits(fl.sigmoid(ours), fl.gelu.backward(ours, theirs)) == bits(
        fl.sigmoid(x), fl.gelu.backward(x, y)
    )
    for given in ({}, {"weight": (w, weight)}, {"where": (mask, layout(mask))}):
        plain, moved = ({k: v[i] for k, v in given.items()} for i in (0, 1))
        for reduction in ("mean", "none"):
            want = fl.mse_loss.value_and_grad(x, y, reduction=reduction, **plain)
            assert bits(fl.mse_loss.value_and_grad(ours, theirs, reduction=reduction, **moved)) == bits(want)
    if len(shape) > 1:
        target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
        got = fl.cross_entropy.value_and_grad(ours, layout(target))
        assert bits(got) == bits(fl.cross_entropy.value_and_grad(x, target))
    for axis in range(len(shape)):
        assert bits(fl.softmax(ours, axis=axis)) == bits(fl.softmax(x, axis=axis))
        assert bits(fl.logsumexp(ours, axis=axis)) == bits(fl.logsumexp(x, axis=axis))


@pytest.mark.parametrize("distance", [16, 48, 256, -64])
def test_addresses_alike_in_their_low_bits(distance, dtype, backend):
    """Where an output lies a little above an input modulo 2^20, or an updated array beside another, blocks are copied."""
    n = (1 << 20) - 100
    values = np.random.default_rng(0).random((4, n)).astype(dtype)
    step = -(-values[0].nbytes // (1 << 20)) * (1 << 20) + distance
    memory = np.zeros(4 * step + (1 << 20), np.uint8)
    arrays = [memory[64 + k * step :][: values[0].nbytes].view(dtype) for k in range(4)]

    def run(function, *inputs, **keywords):
        for array, value in zip(arrays, values, strict=True):
            array[:] = value
        return bits(function(*inputs, **keywords))

    (x, y, out, _), (first, second, *_) = arrays, values
    assert run(fl.sigmoid, x, out=y) == bits(fl.sigmoid(first))
    assert run(fl.gelu.backward, x, y, out=out) == bits(fl.gelu.backward(first, second))
    assert run(fl.binary_cross_entropy.grad, x, y, out=out) == bits(fl.binary_cross_entropy.grad(first, second))
    rows = slice(1024 * 1023), (1024, 1023)
    logits, result, want = (a[rows[0]].reshape(rows[1]) for a in (x, y, first))
    assert run(fl.log_softmax, logits, axis=1, out=result) == bits(fl.log_softmax(want, axis=1))
    run(fl.optim.adamw_step, *arrays, step=3, lr=0.1)
    fl.optim.adamw_step(*values, step=3, lr=0.1)
    assert bits(*arrays) == bits(*values)


@pytest.mark.parametrize("offset", [0, 16, 48])
def test_long_accumulations(offset, dtype, backend):
    """Each result is the next one's input: no block of them may be computed, or written, at once."""
    f, n = fl.leaky_relu.ufunc, 700_000
    x = np.linspace(-1, 1, n, dtype=dtype)
    want = f.accumulate(x[:1000])
    while len(want) < n:
        some = np.append(want[-1:], x[len(want) :][:100_000])
        want = np.append(want, f.accumulate(some)[1:])
    memory = np.full(n + 64, 7, dtype)
    begin = (offset - memory.ctypes.data) % 64 // memory.itemsize + 16
    f.accumulate(x, out=memory[begin : begin + n])
    assert bits(memory[begin : begin + n]) == bits(want)
    assert (memory[:begin] == 7).all() and (memory[begin + n :] == 7).all()


POSITIONS = [*range(1, 70), 127, 128, 129, 1023, 1024, 1025]


@pytest.mark.parametrize("value", [0.3, -1.7, 5.5, -20.0, 60.0, 1e-3])
def test_an_element_does_not_know_its_position(value, dtype, engine):
    """Vector body, tail, start and stride: the same value gives the same bits."""
    value, target = dtype.type(value), dtype.type(0.25)
    functions = [
        g for f in (
            fl.sigmoid, fl.tanh, fl.relu, fl.gelu, lambda x, **k: fl.gelu(x, approximate="tanh"), fl.silu, fl.mish,
            fl.softplus, fl.elu, lambda x: fl.swish(x, value),
        ) for g in (f, getattr(f, "grad", f))
    ]  # fmt: skip
    for loss in (fl.mse_loss, fl.binary_cross_entropy_with_logits):
        functions += [lambda x, f=f: f(x, target, reduction="none") for f in (loss, loss.grad)]
    for f in functions:
        alone = bits(f(np.array([value])))[0]
        for n in POSITIONS:
            assert bits(f(np.full(n, value)))[0] == n * alone
        assert bits(f(np.full(3 * 67, value)[::3]))[0] == 67 * alone


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 10, 16, 17, 63, 64, 65, 100, 1000])
def test_a_row_does_not_know_its_position(classes, dtype, engine):
    """A row alone, among others, transposed, with classes on an inner axis: the same bits."""
    row = (np.random.default_rng(classes).standard_normal(classes) * 5).astype(dtype)
    target = classes // 2
    functions = [
        (lambda x, axis, f=f: f(x, axis=axis)) for f in (fl.softmax, fl.log_softmax, fl.softmin, fl.logsumexp)
    ]
    for which in range(3):
        for more in ({}, {"label_smoothing": 0.125}, {"z_loss": 0.25}):

            def loss(x, axis, which=which, more=more):
                indices = np.full(np.delete(x.shape, axis), target)
                return fl.cross_entropy.value_grad_hess(x, indices, axis=axis, reduction="none", **more)[
                    which
                ]

            functions.append(loss)
    counts = (1, 2, 5, 16, 33, 67) if classes < 1000 else (1, 3)
    for f in functions:
        alone = np.asarray(f(row[None], 1))[0]
        for n in counts:
            block = np.tile(row, (n, 1))
            want = np.broadcast_to(alone, (n, *alone.shape))
            assert bits(f(block, 1)) == bits(want)
            assert bits(f(np.asfortranarray(block), 1)) == bits(want)
            inner = np.ascontiguousarray(block.T)
            assert bits(f(inner, 0)) == bits(want.T)
            cube = np.ascontiguousarray(np.broadcast_to(block.T, (2, classes, n)))
            assert bits(f(cube, 1)) == bits(np.broadcast_to(want.T, (2, *want.T.shape)))


# Overlapping memory: as if the input had been copied first


@pytest.mark.parametrize("shift", [-65, -1, 0, 1, 3, 64])
def test_out_overlaps_the_input(shift, dtype, backend):
    n, classes = 200, 5
    start = np.random.default_rng(0).standard_normal(2 * n * classes).astype(dtype)
    low = 100
    target = np.arange(n) % classes

    def views(flat):
        inputs = flat[low : low + n * classes].reshape(n, classes)
        return inputs, flat[low + shift : low + shift + n * classes].reshape(n, classes)

    functions = [
        fl.sigmoid, fl.gelu.grad, lambda x, out: fl.gelu.backward(x, x, out=out),
        lambda x, out: fl.softmax(x, axis=1, out=out), lambda x, out: fl.softmax(x, axis=0, out=out),
        lambda x, out: fl.hardmax(x, axis=1, out=out), lambda x, out: fl.log_softmax(x, out=out),
        lambda x, out: fl.softmax.backward(x, x, axis=1, out=out),
        lambda x, out: fl.cross_entropy.grad(x, target, out=out),
        lambda x, out: fl.cross_entropy.grad(x, np.abs(x), out=out),
        lambda x, out: fl.nll_loss.grad(x, target, out=out),
        lambda x, out: fl.mse_loss.grad(x, 0.5, out=out), lambda x, out: fl.mse_loss.grad(np.float32(2) * x, x, out=out),
    ]  # fmt: skip
    for f in functions:
        want = f(views(start)[0].copy(), out=np.empty((n, classes), dtype))
        flat = start.copy()
        x, out = views(flat)
        assert f(x, out=out) is out
        assert bits(out) == bits(want)
    for f in functions:
        flat = start.copy()
        x = flat[: n * classes].reshape(n, classes)
        want = f(x.copy(), out=np.empty_like(x))
        back = flat[: n * classes][::-1].reshape(n, classes)
        f(x, out=back)
        assert bits(back) == bits(want), "reversed"


def test_activations_in_pieces(dtype, backend, monkeypatch):
    """Cut in small pieces, calls give the bits of the whole: masks, buffers, halves, parameters, memory that overlaps."""
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 40, 30)).astype(dtype)
    mask, slopes, flat = rng.random((40, 1)) < 0.5, rng.random(30), rng.standard_normal(1300).astype(dtype)
    cube = flat.reshape(2, 5, 130)
    turned = cube.transpose(2, 0, 1)

    def results():
        over = flat.copy()
        kept, shifted = np.full(x.shape, 7, dtype), fl.silu(over[70:1270].reshape(x.shape), out=over[:1200].reshape(x.shape))
        return bits(
            fl.sigmoid(fortran(x)), fl.gelu.backward(swapped(g[:1]), x), fl.relu(x, where=mask), fl.elu(x, out=kept, where=mask),
            fl.tanh(x.astype(np.float16)), fl.prelu(x, slopes, axis=1), fl.mish(swapped(x), out=(np.empty_like(x),)), shifted,
            fl.prelu.backward_weight(g, x, slopes, axis=1), fl.sigmoid(cube), fl.sigmoid(fortran(cube)), fl.relu(turned, where=turned < 1),
        )

    whole = results()
    monkeypatch.setattr(_activation, "PIECE", 100)
    assert results() == whole


def test_outputs_may_overlap_other_inputs(dtype, backend):
    """The gradient written over the target, or over the weights."""
    x, y, w = np.random.default_rng(0).random((3, 300, 7)).astype(dtype)
    want = fl.mse_loss.grad(x, y, weight=w)
    for name in ("y", "w"):
        given = {"y": y.copy(), "w": w.copy()}
        fl.mse_loss.grad(x, given["y"], weight=given["w"], out=given[name])
        assert bits(given[name]) == bits(want)
    want = fl.cross_entropy.grad(x, y)
    got = y.copy()
    assert bits(fl.cross_entropy.grad(x, got, out=got)) == bits(want)
    g = w.copy()
    want = fl.softmax.backward(g, y, axis=1)
    assert bits(fl.softmax.backward(g, y, axis=1, out=g)) == bits(want)


# Other dtypes


def halves():
    yield np.dtype(np.float16)
    try:
        import ml_dtypes
    except ImportError:
        return
    yield np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("half", list(halves()), ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (20_001, 11)], ids=str)
def test_halves_compute_in_float32(half, shape, backend):
    rng = np.random.default_rng(0)
    x, y, g = rounded(3 * rng.standard_normal((3, *shape)), half)
    wide, other, upstream = (v.astype(np.float32) for v in (x, y, g))
    target = rng.integers(0, shape[1], shape[0])
    pairs = [
        *((f(x), f(wide)) for f in (fl.sigmoid, fl.tanh, fl.relu, fl.gelu, fl.sigmoid.grad)),
        (fl.gelu.backward(g, x), fl.gelu.backward(upstream, wide)),
        *(
            (f(x, axis=1), f(wide, axis=1))
            for f in (fl.softmax, fl.log_softmax, fl.softmin, fl.hardmax, fl.logsumexp)
        ),
        (fl.softmax.backward(g, x, axis=1), fl.softmax.backward(upstream, wide, axis=1)),
        *zip(fl.mse_loss.value_grad_hess(x, y), fl.mse_loss.value_grad_hess(wide, other), strict=True),
        *zip(
            fl.cross_entropy.value_grad_hess(x, target),
            fl.cross_entropy.value_grad_hess(wide, target),
            strict=True,
        ),
        (fl.cross_entropy(x, target, reduction="none"), fl.cross_entropy(wide, target, reduction="none")),
        (fl.nll_loss.grad(x, target), fl.nll_loss.grad(wide, target)),
    ]
    for got, want in pairs:
        assert got.dtype == half
        assert bits(got) == bits(rounded(want, half))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_compute_in_float64(kind, backend):
    x = np.arange(20, dtype=kind).reshape(4, 5)
    wide = x.astype(np.float64)
    target = np.arange(4)
    pairs = [
        *((f(x), f(wide)) for f in (fl.sigmoid, fl.relu, fl.gelu, fl.softmax, fl.logsumexp, fl.hardmax)),
        (fl.gelu.backward(x, x), fl.gelu.backward(wide, wide)),
        *zip(fl.mse_loss.value_and_grad(x, target[:, None] + x), fl.mse_loss.value_and_grad(wide, target[:, None] + wide)),
        *zip(fl.cross_entropy.value_and_grad(x, target), fl.cross_entropy.value_and_grad(wide, target)),
    ]  # fmt: skip
    for got, want in pairs:
        assert got.dtype == np.float64
        assert bits(got) == bits(want)


def test_mixed_precision_follows_the_input(backend):
    """Weights, targets and upstream of another float dtype: the result has the input's."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 5))
    narrow, y = x.astype(np.float32), rng.random((6, 5))
    target, w = np.arange(6) % 5, rng.random(5)
    for given in (narrow, narrow.astype(np.float16)):
        assert fl.mse_loss(given, y).dtype == given.dtype
        assert fl.mse_loss.grad(given, y, weight=y).dtype == given.dtype
        assert fl.cross_entropy.grad(given, y / y.sum(1, keepdims=True)).dtype == given.dtype
        assert (
            fl.cross_entropy.grad(given, target, w, sample_weight=w[[0, 1, 2, 3, 4, 0]]).dtype == given.dtype
        )
        assert (
            fl.cross_entropy.grad(given, target, reduction="none", upstream=w[[0, 1, 2, 3, 4, 0]]).dtype
            == given.dtype
        )
    assert fl.mse_loss.grad(x, y.astype(np.float32)).dtype == np.float64
    got = fl.mse_loss.grad(narrow, y)
    assert bits(got) == bits(fl.mse_loss.grad(narrow, y.astype(np.float32)))


class Frame:
    """As a pandas object: an index, operators of its own, and a conversion."""

    __array_priority__ = 1000

    def __init__(self, array):
        self.values, self.shape, self.index = array, array.shape, range(len(array))

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype, copy=copy)

    def __array_ufunc__(self, *arguments, **keywords):
        raise AssertionError("a pandas object would take over")


def test_pandas_like_objects_give_arrays(backend):
    x, target = np.random.default_rng(0).standard_normal((6, 3)), np.array([0, 1, 2, 0, 1, 2])
    got = fl.cross_entropy.value_and_grad(Frame(x), Frame(target), sample_weight=Frame(np.arange(6.0)))
    assert type(got[1]) is np.ndarray
    assert bits(got) == bits(fl.cross_entropy.value_and_grad(x, target, sample_weight=np.arange(6.0)))
    assert bits(fl.mse_loss.value_and_grad(Frame(x), Frame(x.T.copy().T[::-1]))) == bits(
        fl.mse_loss.value_and_grad(x, x[::-1])
    )
    for f in (fl.softmax, fl.sigmoid, fl.gelu.grad, fl.hardmax):
        got = f(Frame(x))
        assert type(got) is np.ndarray and bits(got) == bits(f(x))


def test_torch_tensors_are_array_likes(backend):
    torch = oracle("torch")
    x = torch.linspace(-3, 3, 7)
    assert bits(fl.sigmoid(x)) == bits(fl.sigmoid(x.numpy()))
    assert bits(fl.softmax(x)) == bits(fl.softmax(x.numpy()))


def test_random_strides(backend):
    """Views of one buffer with any strides, overlapping ones included (inputs only)."""
    rng = np.random.default_rng(0)
    buffer = rng.standard_normal(4096).astype(np.float32)
    for _ in range(60):
        shape = tuple(rng.integers(1, 9, rng.integers(1, 5)))
        steps = rng.integers(-40, 41, len(shape))
        view = as_strided(buffer[2048:], shape, 4 * steps)
        copy, axis = view.copy(), int(rng.integers(len(shape)))
        assert bits(fl.softmax(view, axis=axis)) == bits(fl.softmax(copy, axis=axis))
        assert bits(fl.tanh(view)) == bits(fl.tanh(copy))
        assert bits(fl.mse_loss.value_and_grad(view, view[::-1])) == bits(
            fl.mse_loss.value_and_grad(copy, copy[::-1].copy())
        )
        if len(shape) > 1:
            target = rng.integers(0, shape[1], shape[:1] + shape[2:])
            assert bits(fl.cross_entropy.value_grad_hess(view, target)) == bits(
                fl.cross_entropy.value_grad_hess(copy, target)
            )
