"""Other libraries on the same arguments: torch, SciPy, scikit-learn. They are less exact than we are."""

from itertools import product

import numpy as np
import pytest

import fastloss as fl
from tests.oracle import oracle

RTOL = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}


def close(got, want, dtype):
    np.testing.assert_allclose(got, want, rtol=RTOL[dtype], atol=RTOL[dtype])


def against_torch(name, arguments, keywords, dtype, upstream=None):
    """Value and gradient of the function of that name in fastloss and in torch."""
    torch = oracle("torch")
    tensors = [torch.tensor(np.asarray(a)) for a in arguments]
    given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
    tensors[0].requires_grad_()
    theirs = getattr(torch.nn.functional, name)(*tensors, **given)
    theirs.backward(None if theirs.ndim == 0 and upstream is None else torch.tensor(upstream))
    ours = keywords if upstream is None else keywords | {"upstream": upstream}
    value, grad = getattr(fl, name).value_and_grad(*arguments, **ours)
    close(value, theirs.detach().numpy(), dtype)
    close(grad, tensors[0].grad.numpy(), dtype)


SHAPES = [(7, 5), (5,), (4, 3, 6), (2, 3, 4, 5), (0, 5), (2, 3, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_cross_entropy_with_torch(shape, kind, dtype, backend):
    rng = np.random.default_rng(0)
    axis = min(1, len(shape) - 1)
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    rows = shape[:axis] + shape[axis + 1 :]
    weight = (rng.random(shape[axis]) + 0.1).astype(dtype)
    if kind == "indices":
        target = np.asarray(rng.integers(0, shape[axis], rows))
    else:
        target = fl.softmax(rng.standard_normal(shape).astype(dtype), axis=axis)
    for reduction, smoothing, weighted, ignoring in product(
        ("mean", "sum", "none"), (0.0, 0.1, 1.0), (0, 1), (0, 1)
    ):
        keywords = {"reduction": reduction, "label_smoothing": smoothing}
        if weighted:
            keywords["weight"] = weight
        if ignoring and (kind != "indices" or len(shape) == 1):
            continue
        if ignoring:
            keywords["ignore_index"] = 1
        upstream = rng.random(rows).astype(dtype) if reduction == "none" else None
        against_torch("cross_entropy", (x, target), keywords, dtype, upstream)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nll_loss_with_torch(shape, dtype, backend):
    rng = np.random.default_rng(0)
    axis = min(1, len(shape) - 1)
    x = fl.log_softmax(rng.standard_normal(shape).astype(dtype), axis=axis)
    target = np.asarray(rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :]))
    for reduction, weighted, ignoring in product(("mean", "sum", "none"), (0, 1), (0, 1)):
        keywords = {"reduction": reduction}
        if weighted:
            keywords["weight"] = (rng.random(shape[axis]) + 0.1).astype(dtype)
        if ignoring and len(shape) > 1:
            keywords["ignore_index"] = 1
        upstream = rng.random(target.shape).astype(dtype) if reduction == "none" else None
        against_torch("nll_loss", (x, target), keywords, dtype, upstream)


@pytest.mark.parametrize("shape", [(), (7,), (4, 5), (2, 3, 4), (0,), (0, 5)], ids=str)
def test_elementwise_losses_with_torch(shape, dtype, backend):
    rng = np.random.default_rng(0)
    x, y = (np.asarray(3 * rng.standard_normal(shape), dtype) for _ in range(2))
    y, weight = np.asarray(1 / (1 + np.exp(-y)), dtype), np.asarray(rng.random(shape) + 0.1, dtype)
    for reduction, weighted in product(("mean", "sum", "none"), (0, 1)):
        keywords = {"reduction": reduction} | ({"weight": weight} if weighted else {})
        upstream = np.asarray(rng.random(shape), dtype) if reduction == "none" else None
        against_torch("mse_loss", (x, y), keywords, dtype, upstream)
        against_torch("binary_cross_entropy_with_logits", (x, y), keywords, dtype, upstream)
        if shape:
            keywords["pos_weight"] = (rng.random(shape[-1]) + 0.5).astype(dtype)
            against_torch("binary_cross_entropy_with_logits", (x, y), keywords, dtype, upstream)
    if len(shape) > 1:
        keywords = {"weight": (rng.random(shape[-1]) + 0.5).astype(dtype)}
        against_torch("binary_cross_entropy_with_logits", (x, y), keywords, dtype)


def quarters(rng, shape):
    """Multiples of 1/4, so that losses meet their kinks."""
    return np.rint(4 * rng.standard_normal(shape)) / 4


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape)


def unit(rng, shape):
    """Probabilities, 0 and 1 among them."""
    return np.rint(4 * rng.random(shape)) / 4


def counts(rng, shape):
    return rng.poisson(2.0, shape).astype(float)


def positive(rng, shape):
    return rng.gamma(2.0, size=shape) + 0.1


def each(**choices):
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


REDUCTIONS = "mean", "sum", "none"
OF_TORCH = {  # what the arguments are, and the keywords that torch has beside reduction
    "l1_loss": ((quarters, quarters), each(weight=(None, positive))),
    "smooth_l1_loss": ((quarters, quarters), each(beta=(1.0, 0.5, 0.0))),
    # torch's mean of weighted Huber losses divides by their number, ours by the sum of the weights
    "huber_loss": (
        (quarters, quarters),
        each(delta=(1.0, 0.5)) + each(delta=(0.5,), weight=(positive,), reduction=("sum", "none")),
    ),
    "poisson_nll_loss": ((positive, counts), each(log_input=(True, False), full=(True, False), eps=(1e-8, 0.25))),
    "gaussian_nll_loss": ((quarters, quarters, unit), each(full=(True, False), eps=(1e-6, 0.5))),
    "binary_cross_entropy": ((unit, unit), each(weight=(None, positive))),
    "kl_div": ((quarters, unit), each(log_target=(True, False), reduction=(*REDUCTIONS, "batchmean"))),
    "multilabel_soft_margin_loss": ((quarters, unit), each(weight=(None, positive))),
    "hinge_embedding_loss": ((quarters, signs), each(margin=(1.0, 0.5))),
    "margin_ranking_loss": ((quarters, quarters, quarters), each(margin=(0.0, 0.5))),
    "soft_margin_loss": ((quarters, quarters), each()),
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_other_elementwise_losses_with_torch(name, dtype, backend):
    torch, (kinds, options) = oracle("torch"), OF_TORCH[name]
    function, loss, rng = getattr(torch.nn.functional, name), getattr(fl, name), np.random.default_rng(0)
    by = {"margin_ranking_loss": (0, 1), "gaussian_nll_loss": (0, 2)}.get(name, (0,))
    for shape, keywords in product([(), (7,), (4, 5), (2, 3, 4), (0,), (0, 5)], options):
        if name == "multilabel_soft_margin_loss" and shape in ((), (0,)):  # torch: no axis, and NaN for a row of no labels
            continue
        arguments = [np.asarray(kind(rng, shape), dtype) for kind in kinds]
        keywords = {k: np.asarray(v(rng, shape), dtype) if callable(v) else v for k, v in keywords.items()}
        given = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
        for reduction in REDUCTIONS if "reduction" not in keywords else [keywords["reduction"]]:
            tensors = [torch.tensor(a, requires_grad=k in by) for k, a in enumerate(arguments)]
            theirs = function(*tensors, **given | {"reduction": reduction})
            upstream = {}
            if reduction == "none":
                upstream = {"upstream": np.asarray(rng.random(theirs.shape), dtype)}
                theirs.backward(torch.tensor(upstream["upstream"]))
            else:
                theirs.backward()
            value, grads = loss.value_and_grad(*arguments, **keywords | {"reduction": reduction}, **upstream)
            close(value, theirs.detach().numpy(), dtype)
            for k, grad in zip(by, (grads,) if len(by) == 1 else grads, strict=True):
                theirs = tensors[k].grad.numpy()
                if name == "binary_cross_entropy":  # torch's 1e-12 is a float32 in float64 too
                    theirs = np.where(np.abs(theirs) > 1e8, grad, theirs)
                close(grad, theirs, dtype)


@pytest.mark.parametrize("var_shape", [(4, 3, 5), (4, 3), (4, 3, 1), (4, 1, 5), ()], ids=str)
def test_shapes_of_variances_with_torch(var_shape, dtype, backend):
    torch, rng = oracle("torch"), np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 3, 5)).astype(dtype)
    var = np.asarray(positive(rng, var_shape), dtype)
    tensors = [torch.tensor(x, requires_grad=True), torch.tensor(y), torch.tensor(var, requires_grad=True)]
    theirs = tensors[2].expand(x.shape) if var.ndim == 0 else tensors[2]
    torch.nn.functional.gaussian_nll_loss(*tensors[:2], theirs).backward()
    _, grads = fl.gaussian_nll_loss.value_and_grad(x, y, var)
    for grad, tensor in zip(grads, tensors[::2], strict=True):
        close(grad, tensor.grad.numpy(), dtype)


@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ((5,), (4, 5)), ((2, 1, 5), (3, 5)), ((5,), (5,)), ((0, 5), (0, 5))], ids=str)
def test_functions_of_pairs_with_torch(shapes, dtype, backend):
    """The values broadcast; gradients are compared of arrays of one shape, and not where torch differentiates a norm that it has replaced by eps."""
    torch, rng = oracle("torch"), np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    calls = [("pairwise_distance", {"p": p, "eps": eps, "keepdims": k}, {"p": p, "eps": eps, "keepdim": k})
             for p, eps, k in product((1.0, 2.0, 2.5, np.inf), (1e-6, 0.25), (False, True))]  # fmt: skip
    calls += [("cosine_similarity", {"axis": axis, "eps": eps}, {"dim": axis, "eps": eps})
              for axis, eps in product(range(-max(map(len, shapes)), 0), (1e-8, 2.0))]  # fmt: skip
    for name, ours, theirs in calls:
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        value = getattr(torch.nn.functional, name)(*tensors, **theirs)
        close(getattr(fl, name)(*arrays, **ours), value.detach().numpy(), dtype)
        if shapes[0] == shapes[1] and not ours.get("keepdims") and not (name == "cosine_similarity" and theirs["eps"] == 2.0):
            g = np.asarray(rng.random(tuple(value.shape)), dtype)
            value.backward(torch.tensor(g))
            for grad, tensor in zip(getattr(fl, name).backward(g, *arrays, **ours), tensors, strict=True):
                close(grad, tensor.grad.numpy(), dtype)


def test_focal_loss_with_autograd(dtype, backend):
    """torchvision's definition, for soft targets too."""
    torch, rng = oracle("torch"), np.random.default_rng(0)
    x, y = rng.standard_normal(50).astype(dtype), np.asarray(unit(rng, 50), dtype)
    for alpha, gamma in ((0.25, 2.0), (-1.0, 0.0), (0.5, 1.5)):
        logits, target = torch.tensor(x, requires_grad=True), torch.tensor(y)
        p = torch.sigmoid(logits)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = loss * (1 - p * target - (1 - p) * (1 - target)) ** gamma
        if alpha >= 0:
            loss = loss * (alpha * target + (1 - alpha) * (1 - target))
        loss.mean().backward()
        value, grad = fl.sigmoid_focal_loss.value_and_grad(x, y, alpha=alpha, gamma=gamma)
        close(value, loss.mean().detach().numpy(), dtype)
        close(grad, logits.grad.numpy(), dtype)


def test_focal_cross_entropy_with_autograd(dtype, backend):
    torch, rng = oracle("torch"), np.random.default_rng(0)
    for shape, gamma, smoothing in product([(7, 5), (4, 70), (3, 5000), (2, 4, 3)], (2.0, 0.5, 1.0), (0.0, 0.125)):
        x, index = rng.standard_normal(shape).astype(dtype), rng.integers(0, shape[1], (shape[0], *shape[2:]))
        soft = np.moveaxis(rng.dirichlet(np.ones(shape[1]), index.shape), -1, 1).astype(dtype)
        weight = positive(rng, shape[1]).astype(dtype)
        for target in index, soft:
            logits, q = torch.tensor(x, requires_grad=True), torch.tensor(soft)
            if target is index:
                q = torch.nn.functional.one_hot(torch.tensor(index)).moveaxis(-1, 1)
                q = torch.nn.functional.pad(q.movedim(1, -1), (0, shape[1] - q.shape[1])).movedim(-1, 1)
            q = ((1 - smoothing) * q.to(logits.dtype) + smoothing / shape[1]) * torch.tensor(weight).reshape(-1, *[1] * (len(shape) - 2))
            logp = torch.log_softmax(logits, 1)
            theirs = -(q * (1 - logp.exp()) ** gamma * logp).sum()
            theirs.backward()
            given = {"weight": weight, "gamma": gamma, "label_smoothing": smoothing, "reduction": "sum"}
            value, grad = fl.focal_cross_entropy.value_and_grad(x, target, **given)
            close(value, theirs.item(), dtype)
            close(grad, logits.grad.numpy(), dtype)
            without = {"weight": weight, "label_smoothing": smoothing}
            for ours, plain in zip(
                fl.focal_cross_entropy.value_grad_hess(x, target, gamma=0.0, **without), fl.cross_entropy.value_grad_hess(x, target, **without),
                strict=True,
            ):  # fmt: skip
                assert np.array_equal(ours, plain)


def test_regression_losses_of_sklearn(dtype, backend):
    metrics, rng = oracle("sklearn.metrics"), np.random.default_rng(0)
    x, y = positive(rng, (2, 50, 3)).astype(dtype)
    weight = rng.random(50).astype(dtype)
    close(fl.l1_loss(x, y, sample_weight=weight), metrics.mean_absolute_error(y, x, sample_weight=weight), dtype)
    close(fl.msle_loss(x, y), metrics.mean_squared_log_error(y, x), dtype)
    close(fl.quantile_loss(x, y, q=0.25), metrics.mean_pinball_loss(y, x, alpha=0.25), dtype)


ACTIVATIONS = [
    ("sigmoid", {}), ("tanh", {}), ("relu", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("relu6", {}),
    ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 0.3}), ("elu", {}), ("elu", {"alpha": -0.7}), ("selu", {}),
    ("celu", {}), ("celu", {"alpha": 1.7}), ("celu", {"alpha": -2.5}), ("softplus", {}), ("softplus", {"beta": 2.5, "threshold": 1.0}),
    ("softsign", {}), ("silu", {}), ("mish", {}), ("logsigmoid", {}), ("hardtanh", {}), ("hardtanh", {"min_val": -0.3, "max_val": 1.4}),
    ("hardsigmoid", {}), ("hardswish", {}), ("tanhshrink", {}), ("softshrink", {}), ("softshrink", {"lambd": 1.1}), ("hardshrink", {}),
    ("hardshrink", {"lambd": -1.0}), ("threshold", {"threshold": 0.4, "value": -3.0}), ("glu", {}), ("rrelu", {}),
    ("rrelu", {"lower": 0.2, "upper": 0.4}),
]  # fmt: skip


@pytest.mark.parametrize("name, keywords", ACTIVATIONS)
def test_activations_with_torch(name, keywords, dtype, backend):
    torch = oracle("torch")
    x, g = (3 * np.random.default_rng(0).standard_normal((2, 1002))).astype(dtype)
    g = g[: fl.glu(x).size] if name == "glu" else g
    function = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    tensor = torch.tensor(x, requires_grad=True)
    theirs = function(tensor, **({"threshold": 1e9} if name == "softplus" else {}) | keywords)
    theirs.backward(torch.tensor(g))
    close(getattr(fl, name)(x, **keywords), theirs.detach().numpy(), dtype)
    rough = name in ("celu", "hardsigmoid")  # torch has 1 / alpha and 1 / 6 in float32
    close(getattr(fl, name).backward(g, x, **keywords), tensor.grad.numpy(), np.dtype("f") if rough else dtype)


def test_prelu_with_torch(dtype, backend):
    """torch's weights belong to axis 1."""
    torch = oracle("torch")
    x, g = np.random.default_rng(0).standard_normal((2, 5, 3, 4)).astype(dtype)
    w = np.array([0.25, -0.5, 1.5], dtype)
    tensor, weight = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    theirs = torch.nn.functional.prelu(tensor, weight)
    theirs.backward(torch.tensor(g))
    close(fl.prelu(x, w, axis=1), theirs.detach().numpy(), dtype)
    close(fl.prelu.backward(g, x, w, axis=1), tensor.grad.numpy(), dtype)
    close(fl.prelu.backward_weight(g, x, w, axis=1), weight.grad.numpy(), dtype)


def test_activations_with_scipy(dtype, backend):
    special = oracle("scipy.special")
    x = np.linspace(-30, 30, 1001, dtype=dtype)
    close(fl.logsigmoid(x), special.log_expit(x), dtype)
    close(fl.softplus(x), np.logaddexp(0, x), dtype)
    close(fl.silu(x), x * special.expit(x), dtype)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_backward_with_torch(name, dtype, backend):
    torch = oracle("torch")
    x, g = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(dtype)
    for axis in range(3):
        tensor = torch.tensor(x, requires_grad=True)
        theirs = getattr(torch, name)(tensor, dim=axis)
        theirs.backward(torch.tensor(g))
        y = getattr(fl, name)(x, axis=axis)
        close(y, theirs.detach().numpy(), dtype)
        close(getattr(fl, name).backward(g, y, axis=axis), tensor.grad.numpy(), dtype)


AXES = [None, 0, 1, -1, (0, 1), (0, 2), (-1, 0), (0, 1, 2)]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_with_scipy(name, axis, dtype, backend):
    special = oracle("scipy.special")
    x = (5 * np.random.default_rng(0).standard_normal((3, 4, 5))).astype(dtype)
    close(getattr(fl, name)(x, axis), getattr(special, name)(x, axis), dtype)


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_logsumexp_with_scipy(axis, dtype, backend):
    special = oracle("scipy.special")
    rng = np.random.default_rng(0)
    x = (5 * rng.standard_normal((3, 4, 5))).astype(dtype)
    for b in (
        None,
        rng.random(x.shape).astype(dtype),
        rng.standard_normal(x.shape).astype(dtype),
        rng.random(5).astype(dtype),
        2.0,
    ):
        for keepdims, sign in product((False, True), (False, True)):
            keywords = {"b": b, "keepdims": keepdims, "return_sign": sign}
            ours, theirs = fl.logsumexp(x, axis, **keywords), special.logsumexp(x, axis, **keywords)
            for a, b_ in zip(*((r if sign else (r,)) for r in (ours, theirs)), strict=True):
                assert np.shape(a) == np.shape(b_)
                close(a, b_, dtype)


def test_scalars_and_lists_like_scipy(backend):
    special = oracle("scipy.special")
    for name in ("softmax", "log_softmax", "logsumexp"):
        for value in (3.0, [1, 2, 3], [[1.0, 2.0], [3.0, 4.0]], np.float32(2), np.arange(3, dtype=np.int16)):
            ours, theirs = getattr(fl, name)(value), getattr(special, name)(value)
            assert np.shape(ours) == np.shape(theirs)
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_log_loss_of_sklearn(dtype, backend):
    metrics = oracle("sklearn.metrics")
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((50, 4)).astype(dtype), np.arange(50) % 4
    weight = rng.random(50).astype(dtype)
    p = fl.softmax(x, axis=1).astype(np.float64)
    p /= p.sum(1, keepdims=True)
    close(fl.cross_entropy(x, target), metrics.log_loss(target, p), dtype)
    got = fl.cross_entropy(x, target, sample_weight=weight)
    close(got, metrics.log_loss(target, p, sample_weight=weight), dtype)
    close(fl.cross_entropy(x, target, reduction="sum"), metrics.log_loss(target, p, normalize=False), dtype)


def test_squared_error_of_sklearn(dtype, backend):
    metrics = oracle("sklearn.metrics")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 50, 3)).astype(dtype)
    weight = rng.random(50).astype(dtype)
    close(fl.mse_loss(x, y), metrics.mean_squared_error(y, x), dtype)
    close(
        fl.mse_loss(x, y, sample_weight=weight), metrics.mean_squared_error(y, x, sample_weight=weight), dtype
    )


def test_half_losses_of_sklearn(backend):
    """Gradient and Hessian diagonal of the multinomial and binomial losses."""
    oracle("sklearn")
    from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss

    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((50, 4)), (np.arange(50) % 4)
    weight = rng.random(50)
    given = {"y_true": target.astype(float), "raw_prediction": x, "sample_weight": weight}
    value, grad, hess = fl.cross_entropy.value_grad_hess(x, target, sample_weight=weight, reduction="sum")
    loss = HalfMultinomialLoss(n_classes=4)
    np.testing.assert_allclose(value, loss.loss(**given).sum(), rtol=1e-12)
    theirs = loss.gradient_hessian(**given)
    np.testing.assert_allclose(grad, theirs[0], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(hess, theirs[1], rtol=1e-11, atol=1e-14)
    y = (target > 1).astype(float)
    given = {"y_true": y, "raw_prediction": x[:, 0].copy(), "sample_weight": weight}
    value, grad, hess = fl.binary_cross_entropy_with_logits.value_grad_hess(
        x[:, 0], y, sample_weight=weight, reduction="sum"
    )
    np.testing.assert_allclose(value, HalfBinomialLoss().loss(**given).sum(), rtol=1e-12)
    theirs = HalfBinomialLoss().gradient_hessian(**given)
    np.testing.assert_allclose(grad, theirs[0], rtol=1e-11)
    np.testing.assert_allclose(hess, theirs[1], rtol=1e-11)
