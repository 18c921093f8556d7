"""ctc_loss: against its definition, torch, hostile arguments, and log-probabilities no linear number could hold."""

import tracemalloc
from itertools import product

import mpmath
import numpy as np
import pytest

import fastloss as fl
from tests import reference as ref
from tests.cases import CASES, scaled, sequences
from tests.oracle import oracle
from tests.ulp import assert_close, assert_same, rounded, widen

CASE = next(c for c in CASES if c.name == "ctc_loss")
INF, NAN = np.inf, np.nan


def numbers(dtype, shape=(13, 4, 6), **keywords):
    return sequences(np.random.default_rng(0), np.dtype(dtype), shape, **keywords)


# The references


@pytest.mark.parametrize("target", [(), (1,), (2, 2), (1, 2, 1), (1, 1, 2)], ids=str)
def test_reference_sums_over_all_paths(target):
    x = np.random.default_rng(1).standard_normal((5, 3))
    padded = np.array([[*target, 0, 0, 0]])
    got = ref.ctc_loss(x[:, None], padded, [5], [len(target)])
    assert abs(got.value[0] - ref.ctc_by_paths(x, target)) < 1e-40


def test_reference_gradient_is_the_derivative_by_the_logits():
    x, target = np.random.default_rng(2).standard_normal((4, 1, 3)), np.array([[1, 1]])
    grad = ref.ctc_loss(x, target, [4], [2], from_logits=True).grad
    for index in np.ndindex(x.shape):

        def loss(v, index=index):
            logits = ref.lift(x).copy()
            logits[index] = v
            p = ref.exp(logits[:, 0])
            return ref.ctc_by_paths(ref.log(p / p.sum(1, keepdims=True)), (1, 1))

        assert abs(mpmath.diff(loss, ref.lift(x)[index]) - grad[index]) < 1e-20


# Values


def check(dtype, arguments, keywords, limit=1):
    """Loss and gradient of each sequence against the reference."""
    want = ref.ctc_loss(*arguments, **keywords)
    value, grad = fl.ctc_loss.value_and_grad(*arguments, reduction="none", **keywords)
    assert value.dtype == grad.dtype == dtype
    assert_close(value, want.value, limit * CASE.ulp.limit("value", dtype), what="value")
    assert_close(grad, want.grad, limit * CASE.ulp.limit("grad", dtype), widen(want.size), "gradient")
    assert_same(fl.ctc_loss(*arguments, reduction="none", **keywords), value)
    assert_same(fl.ctc_loss.grad(*arguments, reduction="none", **keywords), grad)


def test_value_and_gradient(dtype, engine):
    for shape in (13, 4, 6), (40, 2, 37):  # one vector of labels and of classes; more, with tails
        check(dtype, numbers(dtype, shape), {})
    x, targets, *lengths = numbers(dtype)
    check(dtype, (x, targets - 1, *lengths), {"blank": 5})


def test_from_logits(dtype, engine):
    for shape in (13, 4, 6), (7, 2, 37):
        x, *rest = numbers(dtype, shape)
        # a logit is rounded relative to the largest, not to its own log-probability
        check(dtype, (x + dtype.type(2), *rest), {"from_logits": True}, limit=4)


def test_paths_far_below_the_best(dtype, engine):
    """States e^-700 and more below the likeliest carry the only path to the end."""
    x, targets, *lengths = numbers(dtype, (24, 3, 5))
    x[:, 0, 1:] -= 900  # each label costs e^900: forty times what a float64 holds between its ends
    x[:, 1, 0] -= 2000  # and each blank
    x[::2, 2, 1:] = -INF
    check(dtype, (x, targets, *lengths), {}, limit=4)
    x = np.full((9, 1, 3), -1e9, dtype)
    x[:, 0, 0] = 0
    rest = np.array([[1, 2]]), [9], [2]
    check(dtype, (x, *rest), {}, limit=4)
    x[:, 0, 1:] = np.finfo(np.float32).min / 4  # people mask with such numbers
    assert_close(fl.ctc_loss(x, *rest, reduction="sum"), ref.ctc_loss(x, *rest).value[0], 4)


def test_long_sequences(dtype, backend):
    x = np.log(np.full((3000, 1, 2), 0.5)).astype(dtype)
    loss = fl.ctc_loss(x, np.ones((1, 1400), int), [3000], [1400], reduction="sum")
    # 1400 equal labels: compositions of 3000 frames into 1400 runs of the label, 1399 blanks between, some around
    with mpmath.workdps(60):
        ways = mpmath.binomial(3001, 2800)
        want = 3000 * mpmath.mpf(float(-x[0, 0, 0])) - mpmath.log(ways)
    assert_close(loss, want, 4 if dtype == np.float32 else 3000, what="log of a binomial")


def test_reductions_and_weights(dtype, backend):
    arguments = numbers(dtype)
    want, length = ref.ctc_loss(*arguments), np.maximum(arguments[3], 1)
    weight = np.array([0.5, 0.0, 2.0, 1.0])
    mask = np.array([True, True, False, True])
    for given, w in (({}, np.ones(4)), ({"sample_weight": weight}, weight),
                     ({"where": mask}, mask), ({"where": mask, "sample_weight": weight}, weight * mask)):  # fmt: skip
        for reduction, factor in (("mean", w / length / w.sum()), ("sum", w), ("none", w)):
            value, grad = fl.ctc_loss.value_and_grad(*arguments, reduction=reduction, **given)
            exact = want.value * factor
            limit = scaled(CASE.ulp.limit("grad", dtype))
            assert_close(value, exact if reduction == "none" else exact.sum(), limit, what=reduction)
            by_sequence = ref.lift(factor)[:, None]
            assert_close(grad, want.grad * by_sequence, limit, widen(want.size * by_sequence), reduction)
        partial = fl.ctc_loss.partial(*arguments, **given)
        assert partial.count == np.count_nonzero(w)
        for reduction in ("mean", "sum"):
            assert_close(
                dtype.type(partial.result(reduction)), fl.ctc_loss(*arguments, reduction=reduction, **given), 2
            )
    x, targets, *lengths = arguments
    halves = [
        fl.ctc_loss.partial(x[:, s], targets[s], *(a[s] for a in lengths)) for s in (slice(1), slice(1, 4))
    ]
    for reduction in ("mean", "sum"):
        got = dtype.type((halves[0] + halves[1]).result(reduction))
        assert_close(got, fl.ctc_loss(*arguments, reduction=reduction), 2)
    upstream = np.array([1.0, -2.0, 0.0, 0.5])
    _, grad = fl.ctc_loss.value_and_grad(*arguments, reduction="none", upstream=upstream)
    by_sequence = ref.lift(upstream)[:, None]
    assert_close(grad, want.grad * by_sequence, scaled(CASE.ulp.limit("grad", dtype)), widen(want.size * by_sequence))


# Other libraries


def test_torch_agrees(dtype, backend):
    torch = oracle("torch")
    for seed, zero_infinity, reduction in product(range(3), (False, True), ("mean", "sum", "none")):
        rng = np.random.default_rng(seed)
        x = fl.log_softmax(3 * rng.standard_normal((20, 5, 7)), axis=-1).astype(dtype)
        targets = rng.integers(1, 4, (5, 18))  # some too long for their frames
        lengths = rng.integers(0, 21, 5), rng.integers(0, 19, 5)
        theirs_x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        given = {"zero_infinity": zero_infinity, "reduction": reduction}
        theirs = torch.nn.functional.ctc_loss(theirs_x, *map(torch.tensor, (targets, *lengths)), **given)
        theirs.sum().backward()
        chained = np.concatenate([t[:n] for t, n in zip(targets, lengths[1], strict=True)])
        for labels in targets, chained:
            value, grad = fl.ctc_loss.value_and_grad(x, labels, *lengths, **given)
            rtol = 1e-6 if dtype == np.float32 else 1e-11
            np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=rtol)
            np.testing.assert_allclose(grad, theirs_x.grad.numpy(), rtol=rtol, atol=rtol)


def test_torch_agrees_on_blanks_and_single_sequences(dtype, backend):
    torch, rng = oracle("torch"), np.random.default_rng(0)
    x = fl.log_softmax(rng.standard_normal((12, 3, 5)), axis=-1).astype(dtype)
    targets, lengths = rng.integers(0, 4, (3, 4)), (np.array([12, 9, 5]), np.array([4, 0, 2]))
    for a, labels, frames, sizes in ((x, targets, *lengths), (x[:, 0], targets[0], 12, 4), (x[:, 1], targets[1, :0], 9, 0)):
        for reduction in ("mean", "sum", "none"):
            tensor = torch.tensor(a, dtype=torch.float64, requires_grad=True)
            theirs = torch.nn.functional.ctc_loss(tensor, *map(torch.as_tensor, (labels, frames, sizes)), blank=4, reduction=reduction)
            theirs.sum().backward()
            value, grad = fl.ctc_loss.value_and_grad(a, labels, frames, sizes, blank=4, reduction=reduction)
            rtol = 1e-6 if dtype == np.float32 else 1e-11
            np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=rtol)
            np.testing.assert_allclose(grad, tensor.grad.numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("n_classes", [6, 300])
def test_long_gradients(n_classes, dtype, backend):
    """Of frames that do not fit the scratch memory at once, and of many classes."""
    torch, rng = oracle("torch"), np.random.default_rng(0)
    x = fl.log_softmax(rng.standard_normal((700, 2, n_classes)), axis=-1).astype(dtype)
    arguments = rng.integers(1, n_classes, (2, 250)), np.array([700, 650]), np.array([250, 240])
    theirs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.ctc_loss(theirs, *map(torch.tensor, arguments)).backward()
    grad = fl.ctc_loss.grad(x, *arguments)
    largest = np.abs(theirs.grad.numpy()).max()
    np.testing.assert_allclose(grad, theirs.grad.numpy(), rtol=0, atol=largest * (1e-6 if dtype == np.float32 else 1e-11))
    logits = fl.ctc_loss.grad(x + dtype.type(1), *arguments, from_logits=True)
    np.testing.assert_allclose(logits, grad, rtol=0, atol=largest * (1e-4 if dtype == np.float32 else 1e-11))
    assert_same(fl.ctc_loss.grad(x, *arguments, out=x), grad)


def test_memory_of_long_gradients():
    """Of 20000 frames, 46 MB of states, the Numba backend keeps stretches of 4 MB. NumPy reports its memory, the engine's is its own."""
    pytest.importorskip("numba")
    x, target, buffer = np.full((20_000, 1, 4), -np.log(4)), [[1, 2] * 15], np.empty((20_000, 1, 4))
    with fl.backend("numba"):
        fl.ctc_loss.grad(x[:70], target, [70], [30])
        tracemalloc.start()
        fl.ctc_loss.grad(x, target, [20_000], [30], out=buffer)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8e6


# Edges: (what, call, expected), exactly

HALF = np.log([[0.5, 0.5], [0.5, 0.5]])  # two frames, the blank and a label
GIVES = [
    ("empty target", lambda t: fl.ctc_loss(t([[0.0, -INF]] * 3), [], 3, 0), 0),
    ("empty targets of a batch",
     lambda t: fl.ctc_loss(t([[[0.0, -INF]]] * 3), np.zeros((1, 0), int), [3], [0], reduction="none"), [0]),
    ("target too long", lambda t: fl.ctc_loss(t(HALF), [1, 1], 2, 2), INF),
    ("target too long, gradient", lambda t: fl.ctc_loss.grad(t(HALF), [1, 1], 2, 2), [[NAN, NAN]] * 2),
    ("target too long, zero_infinity",
     lambda t: fl.ctc_loss.value_and_grad(t(HALF), [1, 1], 2, 2, zero_infinity=True), (0, [[0, 0]] * 2)),
    ("impossible frames", lambda t: fl.ctc_loss(t([[0.0, -INF]] * 2), [1], 2, 1), INF),
    ("input length 0", lambda t: fl.ctc_loss.value_and_grad(t(HALF), [1], 0, 1), (INF, [[0, 0]] * 2)),
    ("input length 0, empty target", lambda t: fl.ctc_loss.value_and_grad(t(HALF), [1], 0, 0), (0, [[0, 0]] * 2)),
    ("no frames", lambda t: fl.ctc_loss(t(np.zeros((0, 2, 3))), [[1], [1]], [0, 0], [0, 1], reduction="none"), [0, INF]),
    ("no sequences, mean", lambda t: fl.ctc_loss(t(np.zeros((3, 0, 2))), np.zeros((0, 4), int), [], []), NAN),
    ("no sequences, empty=0", lambda t: fl.ctc_loss(t(np.zeros((3, 0, 2))), [], [], [], empty=0.0), 0),
    ("no sequences, sum", lambda t: fl.ctc_loss(t(np.zeros((3, 0, 2))), [], [], [], reduction="sum"), 0),
    ("one class, the blank", lambda t: fl.ctc_loss(t([[0.0]] * 4), [], 4, 0), 0),
    ("-inf of a label", lambda t: fl.ctc_loss.grad(t([[0.0, -INF, 0.0]]), [2], 1, 1), [[1, 0, 0]]),
    ("nan in a label's frame", lambda t: np.isnan(fl.ctc_loss(t([[0.0, NAN]] * 2), [1], 2, 1)), 1),
    ("nan elsewhere", lambda t: np.isnan(fl.ctc_loss.grad(t([[-INF, 0.0, NAN]]), [1], 1, 1)), [[0, 0, 1]]),
    ("nan beyond the input length",
     lambda t: fl.ctc_loss.value_and_grad(t([[-INF, 0.0], [NAN, NAN]]), [1], 1, 1), (0, [[0, 0]] * 2)),
    ("nan row of logits", lambda t: np.isnan(fl.ctc_loss(t([[-INF, -INF]]), [1], 1, 1, from_logits=True)), 1),
    ("padding is not read", lambda t: fl.ctc_loss(t([[[-INF, 0.0]]]), [[1, 99, -5]], [1], [1]), 0),
    ("absent sequences are not read",
     lambda t: fl.ctc_loss.value_and_grad(
         t([[[NAN, NAN], [-INF, 0.0]]]), [[99], [1]], [1, 1], [1, 1], where=[False, True]), (0, [[[0, 0], [0, 0]]])),
    ("weightless sequences are not read",
     lambda t: fl.ctc_loss(t([[[NAN, NAN], [-INF, 0.0]]]), [99, 1], [1, 1], [1, 1], sample_weight=[0, 1]), 0),
    ("all absent", lambda t: fl.ctc_loss.value_and_grad(t(HALF), [1], 2, 1, where=False), (NAN, [[0, 0]] * 2)),
    ("(T, C) gives a number", lambda t: np.shape(fl.ctc_loss(t(HALF), [1], 2, 1, reduction="none")), ()),
    ("lengths as tuples", lambda t: fl.ctc_loss(t([[[-INF, 0.0]]]), ((1,),), (1,), (1,)), 0),
]  # fmt: skip


@pytest.mark.parametrize("what, call, expected", GIVES, ids=[g[0] for g in GIVES])
def test_gives(what, call, expected, dtype, engine):
    got = call(lambda a: np.array(a, dtype))
    got, expected = (a if isinstance(a, tuple) else (a,) for a in (got, expected))
    for one, want in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, want)


X, Y, T_, S = np.zeros((4, 2, 3)), np.ones((2, 2), int), [4, 4], [2, 2]
REFUSES = [
    ("label too large", (X, [[1, 2], [1, 3]], T_, S), {}, IndexError, "label 1 of sequence 1 in targets is 3; labels must be in [0, 3)"),
    ("label negative", (X, [[1, 2], [-1, 2]], T_, S), {}, IndexError, "label 0 of sequence 1 in targets is -1"),
    ("label beyond int64", (X, np.array([[1, 2], [1, 2**64 - 1]], np.uint64), T_, S), {}, IndexError, "label 1 of sequence 1"),
    ("label too large, in a row", (X, [1, 9, 1], T_, [2, 1]), {}, IndexError, "label 1 of sequence 0 in targets is 9"),
    ("blank among the labels", (X, [[1, 2], [1, 0]], T_, S), {}, ValueError, "is 0, the blank"),
    ("another blank among the labels", (X, Y, T_, S), {"blank": 1}, ValueError, "is 1, the blank"),
    ("blank too large", (X, Y, T_, S), {"blank": 3}, ValueError, "blank is 3; it must be in [0, 3)"),
    ("blank negative", (X, Y, T_, S), {"blank": -1}, ValueError, "blank is -1"),
    ("no classes", (np.zeros((4, 2, 0)), Y, T_, S), {}, ValueError, "blank is 0; it must be in [0, 0)"),
    ("blank no integer", (X, Y, T_, S), {"blank": 0.5}, TypeError, "blank"),
    ("input length too large", (X, Y, [4, 5], S), {}, ValueError, "input_lengths[1] is 5; it must be in [0, 4]"),
    ("input length negative", (X, Y, [-1, 4], S), {}, ValueError, "input_lengths[0] is -1"),
    ("input length beyond int64", (X, Y, np.array([2**64 - 1, 4], np.uint64), S), {}, ValueError, "input_lengths[0]"),
    ("target length too large", (X, Y, T_, [2, 3]), {}, ValueError, "target_lengths[1] is 3; it must be in [0, 2]"),
    ("target length negative", (X, Y, T_, [-2, 2]), {}, ValueError, "target_lengths[0] is -2"),
    ("lengths that cancel", (X, [1, 2], T_, [4, -2]), {}, ValueError, "target_lengths[0] is 4"),
    ("fewer labels than lengths", (X, [1, 2, 1], T_, S), {}, ValueError, "targets has 3 labels; target_lengths adds up to 4"),
    ("more labels than lengths", (X, [1, 2, 1, 2, 1], T_, S), {}, ValueError, "targets has 5 labels"),
    ("too few lengths", (X, Y, [4], S), {}, ValueError, "input_lengths has shape (1,); it must be (2,)"),
    ("lengths of two axes", (X, Y, [[4, 4]], S), {}, ValueError, "input_lengths has shape (1, 2)"),
    ("too few rows of targets", (X, Y[:1], T_, S), {}, ValueError, "targets has shape (1, 2)"),
    ("targets of three axes", (X, Y[None], T_, S), {}, ValueError, "targets has shape (1, 2, 2)"),
    ("float targets", (X, Y + 0.0, T_, S), {}, TypeError, "targets has dtype float64"),
    ("bool targets", (X, Y > 0, T_, S), {}, TypeError, "targets has dtype bool"),
    ("float lengths", (X, Y, [4.0, 4.0], S), {}, TypeError, "input_lengths has dtype float64"),
    ("complex log_probs", (X + 0j, Y, T_, S), {}, TypeError, "log_probs has dtype complex128"),
    ("masked log_probs", (np.ma.array(X), Y, T_, S), {}, TypeError, "masked"),
    ("log_probs of one axis", (X[0, 0], Y, T_, S), {}, ValueError, "log_probs has shape (3,)"),
    ("mask of another shape", (X, Y, T_, S), {"where": [True] * 3}, ValueError, "where has shape (3,)"),
    ("weights of another shape", (X, Y, T_, S), {"sample_weight": [1.0]}, ValueError, "sample_weight has shape (1,)"),
    ("another reduction", (X, Y, T_, S), {"reduction": "max"}, ValueError, "reduction is 'max'"),
    ("another argument", (X, Y, T_, S), {"size_average": True}, TypeError, "size_average"),
]  # fmt: skip


@pytest.mark.parametrize("what, arguments, keywords, error, message", REFUSES, ids=[r[0] for r in REFUSES])
def test_refuses(what, arguments, keywords, error, message, backend):
    x, *rest = arguments
    out = np.full_like(np.asarray(x, complex).real, 7)
    before = [np.array(a) for a in arguments]
    with pytest.raises(error) as caught:
        fl.ctc_loss.value_and_grad(*arguments, out=(None, out), **keywords)
    assert message in str(caught.value)
    assert (out == 7).all()
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(error):
        fl.ctc_loss(*(a if isinstance(a, np.ndarray) else np.array(a) for a in arguments), **keywords)


def test_no_hessian():
    with pytest.raises(NotImplementedError, match="ctc_loss has no value_grad_hess"):
        fl.ctc_loss.value_grad_hess(X, Y, T_, S)


# Layouts, buffers, threads


def test_layouts_give_the_same_bits(dtype, backend):
    x, *rest = numbers(dtype)
    want = fl.ctc_loss.value_and_grad(x, *rest, reduction="none")
    moved = [
        np.asfortranarray(x), np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2),
        np.repeat(x, 2, axis=2)[..., ::2], np.flip(np.flip(x).copy()), x.astype(x.dtype.newbyteorder("S")),
    ]  # fmt: skip
    for other in moved:
        got = fl.ctc_loss.value_and_grad(other, *rest, reduction="none")
        assert_same(got[0], want[0])
        assert_same(got[1], want[1])
        out = np.empty_like(other)
        assert fl.ctc_loss.value_and_grad(other, *rest, reduction="none", out=(None, out))[1] is out
        assert_same(np.ascontiguousarray(out, dtype), want[1])
    alone = [fl.ctc_loss(x[:, n], rest[0][n], rest[1][n], rest[2][n]) * max(rest[2][n], 1) for n in range(4)]
    assert_close(np.array(alone, dtype), want[0], 2)
    for kind in np.int8, np.uint16, np.int32, np.uint64:
        assert_same(fl.ctc_loss(x, *(np.asarray(a, kind) for a in rest), reduction="none"), want[0])


def test_in_place(dtype, backend):
    """The same bits as beside the input, where many classes are prepared, and as in a plain call."""
    for n_classes, given in product((37, 300), ({}, {"from_logits": True}, {"zero_infinity": True, "reduction": "sum"})):
        x, targets, input_lengths, target_lengths = numbers(dtype, (13, 4, n_classes))
        input_lengths[2] = 0
        value, grad = fl.ctc_loss.value_and_grad(x, targets, input_lengths, target_lengths, **given)
        again = fl.ctc_loss.value_and_grad(x, targets, input_lengths, target_lengths, empty=0.0, **given)
        assert_same(fl.ctc_loss(x, targets, input_lengths, target_lengths, **given), value)
        got = fl.ctc_loss.value_and_grad(x, targets, input_lengths, target_lengths, out=(None, x), **given)
        assert got[1] is x
        for one, other in (got, again):
            assert_same(one, value)
            assert_same(other, grad)


def test_half_precision(backend):
    x, *rest = numbers(np.float16)
    value, grad = fl.ctc_loss.value_and_grad(x, *rest)
    wide = fl.ctc_loss.value_and_grad(x.astype(np.float32), *rest)
    assert value.dtype == grad.dtype == np.float16
    assert_same(value, rounded(wide[0], np.float16))
    assert_same(grad, rounded(wide[1], np.float16))


def test_threads_give_the_same_bits(dtype, backend):
    for n_classes, from_logits in product((40, 270), (False, True)):
        arguments = numbers(dtype, (60, 9, n_classes))
        with fl.threads(1):
            want = fl.ctc_loss.value_and_grad(*arguments, from_logits=from_logits)
        for n in (2, 5):
            with fl.threads(n):
                got = fl.ctc_loss.value_and_grad(*arguments, from_logits=from_logits)
            assert_same(got[0], want[0])
            assert_same(got[1], want[1])
