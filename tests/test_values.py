"""Every public function against its reference, on every backend, instruction set and dtype."""

import numpy as np
import pytest

import fastloss as fl
from tests import reference as ref
from tests.cases import CASES, scaled, scenarios
from tests.ulp import assert_close, assert_same

REDUCTIONS = "none", "sum", "mean"
# `loss`, `.grad` and `.value_and_grad` are separate loops, in which a compiler may fuse other products and sums: a value or
# gradient whose terms cancel is then off by so much of the terms
FUSED = 4


def ids(scenario):
    return scenario.id


def positive(shape, dtype, seed=0):
    return (np.random.default_rng(seed).random(shape) + 0.25).astype(dtype)


@pytest.mark.parametrize("scenario", scenarios("activation"), ids=ids)
class TestActivation:
    def test_value_and_derivative(self, scenario, dtype, engine):
        f, ulp = scenario.case.function, scenario.case.ulp
        (x,), keywords = scenario.call(dtype)
        value, slope, size = scenario.wide(dtype)
        got = f(x, **keywords)
        assert got.dtype == dtype
        assert_close(got, value, ulp.limit("value", dtype), what="value")
        got = f.grad(x, **keywords)
        assert_close(got, slope, ulp.limit("grad", dtype), size, what="derivative")
        g = positive(x.shape, dtype)
        got = f.backward(g, x, **keywords)
        assert_close(got, slope * g, scaled(ulp.limit("grad", dtype)), size * g, what="backward")

    def test_out_and_where(self, scenario, dtype, backend):
        f = scenario.case.function
        (x,), keywords = scenario.call(dtype)
        mask = np.arange(x.size).reshape(x.shape) % 3 != 0
        for call in (f, f.grad, lambda x, **k: f.backward(x, x, **k)):
            want = call(x, **keywords)
            out = np.full_like(x, 7)
            assert call(x, out=out, **keywords) is out
            assert_same(out, want)
            assert_same(call(x.copy(), where=mask, **keywords), np.where(mask, want, 0).astype(dtype))
            out = np.full_like(x, 7)
            call(x, out=out, where=mask, **keywords)
            assert_same(out, np.where(mask, want, 7).astype(dtype))
            alias = x.copy()
            call(alias, out=alias, **keywords)
            assert_same(alias, want)

    def test_ufunc(self, scenario, dtype, engine):
        f = scenario.case.function
        (x,), keywords = scenario.call(dtype)
        formula, numbers = f._function(**keywords)
        numbers = [dtype.type(n) for n in numbers]
        ufunc = getattr(f, "ufunc" + formula.removeprefix(f.__name__))
        assert isinstance(ufunc, np.ufunc)
        assert_same(ufunc(x, *numbers), f(x, **keywords))
        assert np.float16 == ufunc(np.float16(1), *map(np.float16, numbers)).dtype
        assert np.float64 == ufunc(np.int8(1), *map(np.float64, numbers)).dtype


@pytest.mark.parametrize("scenario", scenarios("several"), ids=ids)
class TestActivationOfSeveral:
    def test_value_and_backward(self, scenario, dtype, engine):
        f, limit = scenario.case.function, scenario.case.ulp.limit("value", dtype)
        (x,), keywords = scenario.call(dtype)
        got = f(x, **keywords)
        assert got.dtype == dtype
        assert_close(got, scenario.wide(dtype), limit, what="value")
        g = positive(got.shape, dtype)
        want = ref.chain_rule(scenario.case.reference, g, x, **keywords)
        assert_close(f.backward(g, x, **keywords), want, 6, np.abs(x), "backward")


class TestParameters:
    """They broadcast as ufunc arguments do, whatever their dtype, and have gradients of their own."""

    def test_broadcasting(self, dtype, backend):
        x = np.linspace(-3, 3, 12, dtype=dtype).reshape(3, 4)
        g = positive(x.shape, dtype)
        slope, alpha = np.array([0.25, 0.5, 1, 2]), np.array([[0.5], [1], [2]])
        for f, parameter in (
            (fl.leaky_relu, slope), (fl.elu, alpha), (fl.hardshrink, alpha), (fl.swish, slope),
        ):  # fmt: skip
            full = np.broadcast_to(parameter, x.shape)
            for kind in (np.float64, np.float32, np.float16):
                want = np.reshape([f(a, float(p)) for a, p in zip(x.ravel(), full.ravel(), strict=True)], x.shape)
                assert_same(f(x, parameter.astype(kind)), want)
            assert_same(f.backward(g, x, parameter), g * f.grad(x, full))
        assert fl.elu(x[0], alpha).shape == (3, 4)
        assert_same(fl.elu(x, np.float64(1.5)), fl.elu(x, 1.5))

    def test_prelu_along_an_axis(self, dtype, backend):
        x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(dtype)
        g = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(dtype)
        w = np.array([0.5, -0.25, 2], dtype)
        wide = np.where(x > 0, x, w[:, None] * x)
        assert_same(fl.prelu(x, w, axis=1), wide)
        assert_same(fl.prelu(x, w, -2), wide)
        assert_same(fl.prelu.backward(g, x, w, axis=1), np.where(x > 0, g, g * w[:, None]))
        product = g.astype(float) * np.minimum(x, 0)
        for weight, axes, axis in (
            (w, (0, 2), 1), (w[:1], (0, 1, 2), 1), (0.25, (0, 1, 2), None), (x, (), None), (x[0, 0], (0, 1), None),
        ):  # fmt: skip
            got = fl.prelu.backward_weight(g, x, weight, axis=axis)
            assert got.dtype == dtype and got.shape == np.shape(weight)
            assert_close(got, product.sum(axes).reshape(np.shape(weight)), 4, size=1)

    def test_gradient_of_beta(self, dtype, backend):
        x, g = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(dtype)
        for beta in (1.5, np.array([0.5, 1, 2, 0], dtype)):
            wide = np.broadcast_to(np.asarray(beta, float), x.shape)
            want = np.empty(x.shape, object)
            for i in np.ndindex(x.shape):
                want[i] = g[i] * ref.derivatives(lambda b, t: ref.swish(t, b), 1, wide[i], x[i])[1][()]
            want = want.sum(0) if np.ndim(beta) else want.sum()
            got = fl.swish.backward_beta(g, x, beta)
            assert got.dtype == dtype and got.shape == np.shape(beta)
            assert_close(got, want, 4, size=1)

    def test_halves_are_summed_in_float64(self, backend):
        x = np.full(100_000, -1, np.float16)
        assert fl.prelu.backward_weight(np.full_like(x, 0.25), x, 0.5) == np.float16(-25_000)


class TestRandomSlopes:
    def test_uniform(self, dtype, backend):
        x = -np.ones((100, 1000), dtype)
        y = fl.rrelu(x, 0.25, 0.75, rng=np.random.default_rng(0))
        assert y.dtype == dtype and -0.75 <= y.min() < -0.7499 and -0.2501 < y.max() <= -0.25
        assert abs(y.mean() + 0.5) < 0.002
        assert np.unique(y).size > 90_000

    def test_backward_draws_the_same(self, dtype, backend):
        x, g = np.random.default_rng(0).standard_normal((2, 50, 7)).astype(dtype)
        y = fl.rrelu(x, rng=np.random.default_rng(1))
        got = fl.rrelu.backward(g, x, rng=np.random.default_rng(1))
        assert_close(got, g.astype(np.longdouble) * y / x, 3)
        assert_same(fl.rrelu(x[:, ::-1], rng=np.random.default_rng(1))[x[:, ::-1] > 0], x[:, ::-1][x[:, ::-1] > 0])


def test_first_maximum_takes_the_gradient(backend):
    x = np.array([[1.0, 1, 0], [np.nan, 2, np.nan]])
    np.testing.assert_array_equal(fl.maxout(x), [1, np.nan])
    np.testing.assert_array_equal(fl.maxout.backward([5.0, 7], x), [[5, 0, 0], [7, 0, 0]])


@pytest.mark.parametrize("case", [c for c in CASES if c.kinks], ids=lambda c: c.name)
def test_kinks(case, dtype, engine):
    """At a corner of the formula the derivatives are those the table states."""
    for at, value, *derivatives in case.kinks:
        arguments = [np.array([a], dtype) for a in at]
        if case.family == "activation":
            got = case.function(*arguments, **case.params[0]), case.function.grad(*arguments, **case.params[0])
            derivatives = [dtype.type(d) for d in derivatives]
        else:
            got = case.function.value_grad_hess(*arguments, reduction="sum")
        for number, want in zip(got, (value, *derivatives), strict=True):
            assert np.ravel(number)[0] == want


@pytest.mark.parametrize("scenario", scenarios("elementwise", "rows"), ids=ids)
class TestLoss:
    def test_value(self, scenario, dtype, engine):
        loss, limit = scenario.case.function, scenario.case.ulp.limit("value", dtype)
        arguments, keywords = scenario.call(dtype)
        expected = scenario.expected(dtype)
        for reduction in REDUCTIONS:
            got = loss(*arguments, reduction=reduction, **keywords)
            plain = reduction == "none" and scenario.option == "plain"
            assert got.dtype == dtype
            assert isinstance(
                got, np.ndarray if np.ndim(expected.value) and reduction == "none" else np.generic
            )
            size = _value_size(scenario, arguments, reduction)
            assert_close(
                got, scenario.wide(dtype, reduction)[0], limit if plain else scaled(limit), size, reduction
            )
        assert_same(loss(*arguments, **keywords), loss(*arguments, reduction="mean", **keywords))

    def test_derivatives(self, scenario, dtype, engine):
        loss, ulp = scenario.case.function, scenario.case.ulp
        arguments, keywords = scenario.call(dtype)
        for reduction in REDUCTIONS:
            given = keywords | {"reduction": reduction}
            value, grad, hess = loss.value_grad_hess(*arguments, **given)
            _, want, curve, near_grad, bend = scenario.wide(dtype, reduction)
            plain = reduction != "mean" and scenario.option == "plain"
            for what, got, exact, near in (("grad", grad, want, near_grad), ("hess", hess, curve, bend)):
                assert got.dtype == dtype and got.shape == arguments[0].shape
                limit = ulp.limit(what, dtype)
                assert_close(got, exact, limit if plain else scaled(limit), near, f"{what}, {reduction}")
            pair, cancels = loss.value_and_grad(*arguments, **given), _value_size(scenario, arguments, reduction)
            for one, other, size in (
                (loss(*arguments, **given), value, cancels), (pair[0], value, cancels),
                (pair[1], grad, near_grad), (loss.grad(*arguments, **given), grad, near_grad),
            ):  # fmt: skip
                assert_close(one, other, FUSED, size, f"another function's, {reduction}")

    def test_out(self, scenario, dtype, backend):
        """Outputs go where they are told, in place of the input too, and no other input changes."""
        loss = scenario.case.function
        arguments, keywords = scenario.call(dtype)
        x, *rest = arguments
        before = [np.array(a) for a in arguments]
        for reduction in REDUCTIONS:
            given = keywords | {"reduction": reduction}
            outs = np.full_like(x, 7), np.full_like(x, 7)
            assert loss.grad(*arguments, out=outs[0], **given) is outs[0]
            assert_same(outs[0], loss.grad(*arguments, **given))
            value, grad = loss.value_and_grad(*arguments, **given)
            outs[0].fill(7)
            got = loss.value_and_grad(*arguments, out=(None, outs[0]), **given)
            assert got[1] is outs[0]
            assert_same(got[0], value)
            assert_same(outs[0], grad)
            logits = x.copy()
            loss.value_and_grad(logits, *rest, out=(None, logits), **given)
            assert_same(logits, grad)
            _, grad, hess = loss.value_grad_hess(*arguments, **given)
            got = loss.value_grad_hess(*arguments, out=(None, *outs), **given)
            assert got[1] is outs[0] and got[2] is outs[1]
            assert_same(outs[0], grad)
            assert_same(outs[1], hess)
        for a, b in zip(arguments, before, strict=True):
            assert_same(a, b)
        if np.ndim(loss(*arguments, **keywords | {"reduction": "none"})):
            want = loss.value_and_grad(*arguments, reduction="none", **keywords)[0]
            values = np.full_like(want, 7)
            got = loss.value_and_grad(*arguments, reduction="none", out=(values, None), **keywords)
            assert got[0] is values
            assert_same(values, want)

    def test_upstream(self, scenario, dtype, engine):
        """With reduction="none", upstream multiplies each element's own gradient and Hessian."""
        loss, ulp = scenario.case.function, scenario.case.ulp
        arguments, keywords = scenario.call(dtype)
        own, slope, curve, size, bend = scenario.wide(dtype, "none")
        upstream = positive(own.shape, dtype)
        axis = keywords.get("axis", 1)
        spread = upstream
        if scenario.case.family == "rows":
            spread = np.expand_dims(upstream, axis if upstream.ndim else 0)
        given = keywords | {"reduction": "none", "upstream": upstream}
        value, grad, hess = loss.value_grad_hess(*arguments, **given)
        assert_same(value, loss.value_grad_hess(*arguments, reduction="none", **keywords)[0])
        limit = scaled(ulp.limit("grad", dtype)) + 1
        assert_close(grad, slope * spread, limit, size * spread, "gradient")
        assert_close(hess, curve * spread, scaled(ulp.limit("hess", dtype)) + 1, bend * spread, "Hessian")
        assert_close(loss.grad(*arguments, **given), grad, FUSED)

    def test_partial(self, scenario, dtype, backend):
        loss, limit = scenario.case.function, scaled(scenario.case.ulp.limit("value", dtype))
        arguments, keywords = scenario.call(dtype)
        expected = scenario.expected(dtype)
        whole = loss.partial(*arguments, **keywords)
        size = _value_size(scenario, arguments, "sum")
        assert_close(dtype.type(whole.loss_sum), scenario.wide(dtype, "sum")[0], limit, size, "loss_sum")
        # a product of two weights is rounded to the working dtype before it is summed in float64
        divisor = dtype.type(whole.weight_sum) if "both" in scenario.option else np.float64(whole.weight_sum)
        assert_close(divisor, np.sum(expected.divisor), 2, what="weight_sum")
        if scenario.option in ("plain", "mask", "row_mask", "ignore"):
            assert whole.count == np.sum(expected.divisor != 0)
        for reduction in ("sum", "mean"):
            want = loss(*arguments, **keywords | {"reduction": reduction})
            assert_close(dtype.type(whole.result(reduction)), want, 2, what=f"result {reduction}")


@pytest.mark.parametrize("scenario", scenarios("pair"), ids=ids)
class TestTwoGradients:
    def test_value_and_derivatives(self, scenario, dtype, engine):
        loss, ulp = scenario.case.function, scenario.case.ulp
        arguments, keywords = scenario.call(dtype)
        size = scenario.case.sizes(*arguments)[0]
        for reduction in REDUCTIONS:
            given = keywords | {"reduction": reduction}
            value, grads, hesses = loss.value_grad_hess(*arguments, **given)
            want, slopes, curves, near, bend = scenario.wide(dtype, reduction)
            cancels = {"none": size, "sum": np.sum(size), "mean": np.mean(size)}[reduction]
            assert value.dtype == dtype
            assert_close(value, want, scaled(ulp.limit("value", dtype)), cancels, reduction)
            assert_close(np.stack(grads), slopes, scaled(ulp.limit("grad", dtype)), near, f"gradients, {reduction}")
            assert_close(np.stack(hesses), curves, scaled(ulp.limit("hess", dtype)), bend, f"Hessians, {reduction}")
            pair = loss.value_and_grad(*arguments, **given)
            assert_close(loss(*arguments, **given), value, FUSED, cancels)
            assert_close(pair[0], value, FUSED, cancels)
            for other in (pair[1], loss.grad(*arguments, **given)):
                assert_close(np.stack(other), np.stack(grads), FUSED, near)

    def test_out_upstream_and_partial(self, scenario, dtype, backend):
        loss = scenario.case.function
        arguments, keywords = scenario.call(dtype)
        before = [a.copy() for a in arguments]
        value, grads, hesses = loss.value_grad_hess(*arguments, **keywords)
        outs = [np.full_like(arguments[0], 7) for _ in range(4)]
        got = loss.value_grad_hess(*arguments, out=(None, tuple(outs[:2]), tuple(outs[2:])), **keywords)
        assert all(g is out for g, out in zip((*got[1], *got[2]), outs, strict=True))
        assert_same(got[0], value)
        for out, want in zip(outs, (*grads, *hesses), strict=True):
            assert_same(out, want)
        got = loss.grad(*arguments, out=(None, outs[1]), **keywords)
        assert got[1] is outs[1] and got[0] is not outs[0]
        for a, b in zip(arguments, before, strict=True):
            assert_same(a, b)
        own = loss.grad(*arguments, reduction="none", **keywords)
        upstream = positive(arguments[0].shape, dtype)
        for g, want in zip(loss.grad(*arguments, reduction="none", upstream=upstream, **keywords), own, strict=True):
            assert_close(g, want * upstream, 1)
        whole = loss.partial(*arguments, **keywords)
        assert_close(dtype.type(whole.result("mean")), loss(*arguments, **keywords), 2)
        assert whole.count == whole.weight_sum == arguments[0].size

    def test_a_broadcast_input_gets_the_sum(self, scenario, dtype, backend):
        """The gradient of a scalar is the sum of those of the elements it stands for."""
        loss, which = scenario.case.function, scenario.case.by[1]
        arguments, keywords = scenario.call(dtype)
        alone = list(arguments)
        alone[which] = dtype.type(0.5)
        arguments = [*arguments]
        arguments[which] = np.full_like(arguments[0], 0.5)
        value, grads, hesses = loss.value_grad_hess(*arguments, **keywords)
        got = loss.value_grad_hess(*alone, **keywords)
        assert_same(got[0], value)
        for pair, own in ((got[1], grads), (got[2], hesses)):
            assert_same(pair[0], own[0])
            assert np.shape(pair[1]) == ()
            size = np.abs(own[1].astype(np.longdouble)).sum()
            assert_close(pair[1], own[1].astype(np.longdouble).sum(), 2, size)


def _value_size(scenario, arguments, reduction):
    """What cancels inside the value itself: only where the table states a size."""
    size = np.asarray(scenario.case.sizes(*arguments)[0])
    return {"none": size, "sum": size.sum(), "mean": size.mean()}[reduction]


@pytest.mark.parametrize("scenario", scenarios("softmax"), ids=ids)
class TestSoftmax:
    def test_value(self, scenario, dtype, engine):
        f, limit = scenario.case.function, scenario.case.ulp.limit("value", dtype)
        (x,), keywords = scenario.call(dtype)
        want, got = scenario.wide(dtype), f(x, **keywords)
        size = 0.0
        if scenario.case.name == "logsumexp":
            # SEMANTICS.md: of max(|result|, |largest entry|); b adds the rounding of b exp(x)
            size = np.abs(x).max()
            limit += 3 * ("b" in keywords)
        if keywords.get("return_sign"):
            assert_same(np.asarray(got[1], dtype), np.asarray(want[1], dtype))
            got, want = got[0], want[0]
            size = size + _cancelled(x, keywords)
        assert np.asarray(got).dtype == dtype and np.shape(got) == np.shape(want)
        assert_close(got, want, limit, size, scenario.case.name)

    def test_out_and_dtype(self, scenario, dtype, backend):
        if scenario.case.name == "logsumexp":
            return  # SciPy's signature: no out=, no dtype=
        f = scenario.case.function
        (x,), keywords = scenario.call(dtype)
        want = f(x, **keywords)
        out = np.full_like(x, 7)
        assert f(x, out=out, **keywords) is out
        assert_same(out, want)
        alias = x.copy()
        f(alias, out=alias, **keywords)
        assert_same(alias, want)
        other = np.float64 if dtype == np.float32 else np.float32
        with np.errstate(under="ignore"):
            cast = x.astype(other)
        assert_same(f(x, dtype=other, **keywords), f(cast, **keywords))

    def test_backward(self, scenario, dtype, engine):
        if not hasattr(scenario.case.function, "backward") or scenario.option != "plain":
            return
        f, (x,), keywords = scenario.case.function, *scenario.call(dtype)
        y = f(x, **keywords)
        g = positive(x.shape, dtype, 1) - dtype.type(0.5)
        backward = {"softmax": ref.softmax_backward, "log_softmax": ref.log_softmax_backward}
        want = backward[scenario.case.name](g, y, **keywords)
        axis = keywords["axis"]
        size = np.abs(g) + np.abs(g).sum(axis=axis, keepdims=True)
        if scenario.case.name == "softmax":
            size = y * (np.abs(g) + np.abs(g * y).sum(axis=axis, keepdims=True))
        assert_close(f.backward(g, y, **keywords), want, 4, size, "backward")
        out = np.full_like(x, 7)
        assert f.backward(g, y, out=out, **keywords) is out
        assert_same(out, f.backward(g, y, **keywords))


def _cancelled(x, keywords):
    """Signed terms cancel before the logarithm: its error is that of the sum over its own size."""
    axis, b = keywords["axis"], keywords["b"]
    wide = np.exp(x.astype(np.longdouble))
    total = np.abs((b * wide).sum(axis=axis, keepdims=keywords.get("keepdims", False)))
    return (np.abs(b) * wide).sum(axis=axis) / total


@pytest.mark.parametrize("number", range(3))
def test_clip_grad_norm(number, dtype):
    case = next(c for c in CASES if c.family == "clip")
    grads = list(case.inputs(np.random.default_rng(0), dtype, case.shapes[0]))
    norm, clipped = case.reference(grads, **case.params[number])
    got = case.function(grads, **case.params[number])
    assert_close(np.float64(got), norm, 4, what="norm")
    for g, want in zip(grads, clipped, strict=True):
        assert_close(g, want, scaled(0), what="clipped")


class TestPartial:
    """Partial sums merge: any cut in any order gives the whole to the last bit or two."""

    @pytest.mark.parametrize(
        "scenario", [s for s in scenarios("elementwise", "rows") if len(s.shape) > 1], ids=ids
    )
    def test_small_cuts(self, scenario, dtype, backend):
        arguments, keywords = scenario.call(dtype)
        self.check(scenario.case.function, arguments, keywords, pieces=min(3, len(arguments[0])))

    def test_cuts_through_chunks(self, dtype, backend):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((2, 300_001)).astype(dtype)
        self.check(fl.mse_loss, (x, y), {"weight": np.abs(x)}, pieces=7)
        logits = rng.standard_normal((30_001, 10)).astype(dtype)
        target = rng.integers(0, 10, 30_001)
        weight = positive(10, dtype)
        sample_weight = positive(30_001, dtype)
        given = {"weight": weight, "sample_weight": sample_weight}
        self.check(fl.cross_entropy, (logits, target), given, pieces=7)
        self.check(fl.nll_loss, (-np.abs(logits), target), given, pieces=7)

    def check(self, loss, arguments, keywords, pieces):
        n = len(arguments[0])
        rng = np.random.default_rng(n)
        cuts = np.sort(rng.choice(np.arange(1, n), pieces - 1, replace=False))
        parts = [
            loss.partial(
                *(a[rows] for a in arguments), **{k: self.cut(k, v, n, rows) for k, v in keywords.items()}
            )
            for rows in map(slice, [0, *cuts], [*cuts, n])
        ]
        rng.shuffle(parts)
        whole, merged = loss.partial(*arguments, **keywords), sum(parts[1:], parts[0])
        assert merged.count == whole.count
        for name in ("loss_sum", "weight_sum"):
            assert_close(np.float64(getattr(merged, name)), getattr(whole, name), 2, what=name)
        for reduction in ("sum", "mean"):
            assert_close(np.float64(merged.result(reduction)), whole.result(reduction), 4, what=reduction)

    def cut(self, name, value, n, rows):
        """Whatever has one entry per row is cut along; class weights and pos_weight are not."""
        return value[rows] if name != "pos_weight" and np.shape(value)[:1] == (n,) else value
