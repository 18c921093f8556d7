"""The groups of rows that `python -m bench` times. A group is a generator, so that one row's arrays live at a time."""

import tracemalloc
from functools import partial

import numpy as np

import fastloss as fl

from . import peers
from .measure import Row

SHAPES = (1, 10), (32, 10), (128, 1000), (4096, 1000), (256, 32000), (65536, 100), (1048576, 10)
IN_CACHE = 1 << 24  # bytes; smaller rows are not held against a copy from memory


def shapes(quick):
    """Return SHAPES, without the large ones if quick."""
    return [shape for shape in SHAPES if not quick or np.prod(shape) <= 1 << 17]


def normal(*shape):
    """Return standard normal float32 numbers, the same ones for the same shape."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def labels(n, n_classes):
    """Return n class indices, int64 as torch wants them."""
    return np.random.default_rng(1).integers(0, n_classes, n)


def floor(call, n_bytes):
    """Return the floor of a row, None where everything fits a cache."""
    return (call, n_bytes) if n_bytes > IN_CACHE else None


def cross_entropy(quick):
    for shape in shapes(quick):
        x, target = 3 * normal(*shape), labels(*shape)
        ours = partial(fl.cross_entropy.value_and_grad, x, target)
        yield Row(
            f"cross_entropy.value_and_grad {shape}",
            ours,
            {
                "torch": peers.torch_value_and_grad("cross_entropy", x, target),
                "NumPy": peers.numpy_cross_entropy(x, target),
                "scikit-learn": peers.sklearn_cross_entropy(x, target, fl.get_num_threads()),
            },
            floor(partial(ours, out=(None, np.empty_like(x))), 2 * x.nbytes),
            tolerance=1e-4,  # torch's and NumPy's float32 sums over a million rows
        )


def softmax(quick):
    for shape in shapes(quick):
        x = 3 * normal(*shape)
        for name in ("softmax", "log_softmax"):
            ours = partial(getattr(fl, name), x, axis=1)
            yield Row(
                f"{name} {shape}",
                ours,
                {
                    "torch": peers.torch_call(name, x, dim=1),
                    "SciPy": peers.scipy_special(name, x, axis=1),
                },
                floor(partial(ours, out=np.empty_like(x)), 2 * x.nbytes),
            )
        ours = partial(fl.logsumexp, x, axis=1)
        yield Row(
            f"logsumexp {shape}",
            ours,
            {
                "torch": peers.torch_call("logsumexp", x, dim=1),
                "SciPy": peers.scipy_special("logsumexp", x, axis=1),
            },
            floor(ours, x.nbytes),
        )


def calls(quick):
    x, y = normal(2, 16)
    logits, target = normal(8, 10), labels(8, 10)
    for name, in_numpy, a, b in (
        ("mse_loss", peers.numpy_mse, x, y),
        ("cross_entropy", peers.numpy_cross_entropy, logits, target),
    ):
        loss = getattr(fl, name)
        yield Row(
            f"{name} {a.shape}",
            partial(loss, a, b),
            {"torch": peers.torch_call(name, a, b), "NumPy": in_numpy(a, b, gradient=False)},
        )
        yield Row(
            f"{name}.value_and_grad {a.shape}",
            partial(loss.value_and_grad, a, b),
            {"torch": peers.torch_value_and_grad(name, a, b), "NumPy": in_numpy(a, b)},
        )


def forward_and_backward(function, x, g):
    return function(x), function.backward(g, x)


def lengths(quick):
    return (1000, 1_000_000) if quick else (1000, 1_000_000, 10_000_000)


def activations(quick):
    """Every side allocates its results."""
    in_numpy = {"tanh": np.tanh}
    for n in (100, 10_000) if quick else (100, 10_000, 1_000_000, 8_000_000):
        x, g = 3 * normal(2, n)
        for name in ("gelu", "silu", "mish", "sigmoid", "tanh", "elu", "softplus"):
            function = getattr(fl, name)
            others = {"torch": peers.torch_call(name, x)}
            if name in in_numpy:
                others["NumPy"] = partial(in_numpy[name], x)
            if name == "sigmoid":
                others["SciPy"] = peers.scipy_special("expit", x)
            yield Row(
                f"{name} ({n},)",
                partial(function, x),
                others,
                floor(partial(function, x, out=np.empty_like(x)), 2 * x.nbytes),
            )
            yield Row(
                f"{name} and .backward ({n},)",
                partial(forward_and_backward, function, x, g),
                {"torch": peers.torch_activation(name, x, g)},
            )


def losses(quick):
    for n in (100, 10_000) if quick else (100, 10_000, 1_000_000, 8_000_000):
        x, y = normal(2, n)
        sign, half = np.where(y > 0, np.float32(1), np.float32(-1)), np.abs(y)
        for name, arguments in {
            "mse_loss": (x, y),
            "huber_loss": (x, y),
            "binary_cross_entropy_with_logits": (x, np.float32(y > 0)),
            "soft_margin_loss": (x, sign),
            "hinge_embedding_loss": (x, sign),
            "poisson_nll_loss": (x, half),
            "kl_div": (x, half),
        }.items():
            ours = partial(getattr(fl, name).value_and_grad, *arguments)
            yield Row(
                f"{name}.value_and_grad ({n},)",
                ours,
                {
                    "torch": peers.torch_value_and_grad(name, *arguments),
                    "NumPy": peers.numpy_mse(x, y) if name == "mse_loss" else None,
                },
                floor(partial(ours, out=(None, np.empty_like(x))), 3 * x.nbytes),
                tolerance=1e-4,
            )


def custom(quick):
    """A user's formula beside the built-in one, and beside its text in NumPy."""

    def huber(x, y, delta=1.0):
        d = abs(x - y)
        return 0.5 * d * d if d <= delta else delta * (d - 0.5 * delta)

    loss = fl.custom_loss(huber)
    for n in (16, 10_000) if quick else (16, 10_000, 1_000_000, 8_000_000):
        x, y = normal(2, n)
        ours = partial(loss.value_and_grad, x, y)
        yield Row(
            f"custom huber.value_and_grad ({n},)",
            ours,
            {"built-in": partial(fl.huber_loss.value_and_grad, x, y), "NumPy": peers.numpy_huber(x, y)},
            floor(partial(ours, out=(None, np.empty_like(x))), 3 * x.nbytes),
        )


def ctc(quick):
    for n_frames, n, n_classes in ((50, 4, 30), (200, 32, 64), (150, 16, 5000))[: 2 if quick else 3]:
        x = fl.log_softmax(normal(n_frames, n, n_classes), axis=-1)
        length = min(30, n_frames // 5)
        targets = 1 + labels(n * length, n_classes - 1).reshape(n, length)
        arguments = x, targets, np.full(n, n_frames), np.full(n, length)
        yield Row(
            f"ctc_loss.value_and_grad {x.shape}",
            partial(fl.ctc_loss.value_and_grad, *arguments),
            {"torch": peers.torch_ctc(*arguments)},
            tolerance=1e-3,  # torch adds logarithms in float32: its gradients are some 5e-4 of the largest off
        )


def peak_memory(call):
    """Return the most memory that the call held at once beside its arguments, in MB, as NumPy reports it."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def linear(quick):
    for n, features, n_classes in ((128, 64, 1000), (1024, 64, 10_000), (4096, 64, 50_000))[: 2 if quick else 3]:
        x, w, target = normal(n, features), normal(n_classes, features) / 8, labels(n, n_classes)
        ours = partial(fl.linear_cross_entropy.value_and_grad, x, w, target)
        formed = peers.formed_linear_cross_entropy(fl.cross_entropy.value_and_grad, x, w, target)
        yield Row(
            f"linear_cross_entropy.value_and_grad {n, features, n_classes}, {peak_memory(ours):.0f} MB, logits formed {peak_memory(formed):.0f}",
            ours,
            {"torch": peers.torch_linear_cross_entropy(x, w, target), "logits formed": formed},
            tolerance=1e-4,
        )


def margins(quick):
    for shape in ((32, 10), (32, 128), (4096, 10)) if quick else ((32, 10), (32, 128), (4096, 10), (8192, 128)):
        x, y, z = normal(3, *shape)
        classes = labels(*shape)
        lists = np.argsort(normal(*shape), axis=1)
        lists[:, 3] = -1
        for name, inputs, rest in (
            ("multi_margin_loss", (x,), (classes,)),
            ("multilabel_margin_loss", (x,), (lists,)),
            ("multilabel_soft_margin_loss", (x,), (np.float32(y > 0),)),
            ("cosine_embedding_loss", (x, y), (2 * (classes % 2) - 1,)),
            ("triplet_margin_loss", (x, y, z), ()),
        ):
            yield Row(
                f"{name}.value_and_grad {shape}",
                partial(getattr(fl, name).value_and_grad, *inputs, *rest),
                {"torch": peers.torch_rows(name, inputs, *rest)},
                tolerance=1e-4,
            )


def distances(function, x, y, g):
    return function(x, y), function.backward(g, x, y)


def rows(quick):
    """Losses of rows that torch has no function for, as its tensors' methods write them; distances; the adaptive softmax."""
    for shape in ((32, 10), (4096, 10)) if quick else ((32, 10), (4096, 10), (4096, 1000)):
        x, y = normal(2, *shape)
        target, p, g = labels(*shape), fl.softmax(x, axis=1), normal(shape[0])
        for name, a, rest, keywords in (
            ("entropy", p, (), {"reduction": "mean"}),
            ("brier_score", p, (target,), {}),
            ("focal_cross_entropy", x, (target,), {}),
        ):
            formula = getattr(peers, f"{name}_of_tensors")
            ours = partial(getattr(fl, name).value_and_grad, a, *rest, **keywords)
            yield Row(f"{name}.value_and_grad {shape}", ours, {"torch": peers.torch_rows(formula, (a,), *rest)}, tolerance=1e-4)
        for name in ("pairwise_distance", "cosine_similarity"):
            ours = partial(distances, getattr(fl, name), x, y, g)
            yield Row(f"{name} and .backward {shape}", ours, {"torch": peers.torch_rows(name, (x, y), upstream=g)}, tolerance=1e-4)
    for n, features, n_classes in ((128, 64, 2000), (1024, 64, 20_000))[: 1 if quick else 2]:
        cutoffs, x = [n_classes // 10, n_classes // 2], normal(n, features)
        head = normal(cutoffs[0] + 2, features) / 8
        tails = [(normal(down, features) / 8, normal(size, down) / 4) for down, size in ((16, n_classes * 2 // 5), (4, n_classes // 2))]
        arguments = x, head, tails, cutoffs, labels(n, n_classes)
        yield Row(
            f"adaptive_log_softmax_with_loss.value_and_grad {n, features, n_classes}",
            partial(fl.adaptive_log_softmax_with_loss.value_and_grad, *arguments[:1], arguments[4], head, tails, cutoffs),
            {"torch": peers.torch_adaptive(*arguments)},
            tolerance=1e-4,
        )


def metrics(quick):
    """Values alone, beside SciPy's and scikit-learn's."""
    for n in (100, 10_000) if quick else (100, 10_000, 1_000_000):
        x, y = normal(2, n)
        p, event, sign = fl.sigmoid(x), np.float32(y > 0), np.where(y > 0, np.float32(1), np.float32(-1))
        for name, arguments, metric, theirs in (
            ("brier_score", (p, event), "brier_score_loss", (event, p)),
            ("binary_cross_entropy", (p, event), "log_loss", (event, p)),
            ("hinge_loss", (x, sign), "hinge_loss", (sign, x)),
        ):
            yield Row(f"{name} ({n},)", partial(getattr(fl, name), *arguments), {"scikit-learn": peers.sklearn_metric(metric, *theirs)}, tolerance=1e-4)
        shape = n // 10, 10
        x, target = normal(*shape), labels(*shape)
        target[:10] = range(10)
        p = fl.softmax(x, axis=1)
        yield Row(f"entropy {shape}", partial(fl.entropy, p), {"SciPy": peers.scipy_entropy(p)}, tolerance=1e-4)
        yield Row(f"brier_score {shape}", partial(fl.brier_score, p, target), {"scikit-learn": peers.sklearn_metric("brier_score_loss", target, p)}, tolerance=1e-4)
        yield Row(f"hinge_loss {shape}", partial(fl.hinge_loss, x, target), {"scikit-learn": peers.sklearn_metric("hinge_loss", target, x)}, tolerance=1e-4)


def stepped(optimizer, params, grads):
    optimizer.step(grads)
    return params


def resnet18():
    """The sizes of ResNet-18's 62 parameters: 11.7 million numbers, from 64 to 2.4 million each."""
    sizes = [3 * 64 * 49, 64, 64]
    for before, width in ((64, 64), (64, 128), (128, 256), (256, 512)):
        sizes += [before * width * 9, width, width, *[width * width * 9, width, width] * 3]
        sizes += [before * width, width, width] if before != width else []
    return [*sizes, 512 * 1000, 1000]


def optimizers(quick):
    # bytes that a parameter moves: read it, its gradient and its states, write it and its states
    rules = {
        "SGD": (20, {"momentum": 0.9}, "fused"),
        "Adagrad": (20, {}, "fused"),
        "RMSprop": (20, {}, "foreach"),
        "Adadelta": (28, {}, "foreach"),
        "NAdam": (28, {}, "foreach"),
        "AdamW": (28, {}, "fused"),
    }
    lists = {
        "100 x 1000": [1000] * 100,
        "ResNet-18": resnet18(),
        "1 x 10000000": [10_000_000],
    }
    if quick:
        lists = {"100 x 1000": [1000] * 100, "1 x 1000000": [1_000_000]}
    for words, sizes in lists.items():
        grads = [normal(size) for size in sizes]
        for name, (bytes_each, options, form) in rules.items():
            kwargs = {"lr": 1e-3, **options}
            params = [normal(size) for size in sizes]
            others = {f"torch {form}": peers.torch_step(name, params, grads, **{form: True}, **kwargs)}
            if name == "AdamW":
                others["NumPy"] = peers.numpy_adamw(params, grads, **kwargs)
            ours = partial(stepped, getattr(fl.optim, name)(params, **kwargs), params, grads)
            yield Row(f"{name}.step {words}", ours, others, floor(ours, bytes_each * sum(sizes)))


def objectives(quick):
    """Training with ours, the engine's own, the usual one in NumPy, and one that computes nothing. Equal parts of the rows are
    right within 5 %.
    """
    from sklearn import datasets

    engines = {
        "xgboost": (peers.xgboost_training, "binary:logistic", "multi:softprob", peers.numpy_objective),
        "lightgbm": (peers.lightgbm_training, "binary", "multiclass", peers.numpy_objective),
        "catboost": (peers.catboost_training, "Logloss", "MultiClass", peers.NumpyOfCatboost()),
    }
    real = {2: datasets.load_breast_cancer, 10: datasets.load_digits}
    for engine, (train, binary, multiclass, in_numpy) in engines.items():
        # CatBoost calls Python for every row of several classes
        sizes, rounds = (2_000, 200) if quick else (20_000, 1_000 if engine == "catboost" else 20_000), 3 if quick else 10
        for n, n_classes, loss, built_in in zip(sizes, (2, 10), ("binary_cross_entropy_with_logits", "cross_entropy"), (binary, multiclass)):
            x = normal(n, 10)
            y = np.argmax(x @ normal(10, n_classes) + normal(n, n_classes), axis=1)
            for words, (x, y) in {"normal": (x, y), real[n_classes].__name__: real[n_classes](return_X_y=True)}.items():
                start = partial(train, x, y, n_classes, threads=fl.get_num_threads(), rounds=rounds)
                objective = getattr(fl.objectives, engine)(loss)
                ours = start(objective=objective)
                if ours is not None:
                    others = {"built-in": built_in, "NumPy": in_numpy, "no computation": peers.Replayed(objective)}
                    others = {name: start(objective=other) for name, other in others.items()}
                    yield Row(f"{engine} {loss} {words} {x.shape}, {n_classes} classes", ours, others, tolerance=0.05)


def on(backend, call):
    """Return call, made on that backend."""

    def switched():
        with fl.backend(backend):
            return call()

    return switched


def numba(quick):
    for shape in [(512, 1000)] if quick else SHAPES[3:]:
        x, target = 3 * normal(*shape), labels(*shape)
        timed = {
            "cross_entropy.value_and_grad": partial(fl.cross_entropy.value_and_grad, x, target),
            "mse_loss.value_and_grad": partial(fl.mse_loss.value_and_grad, x, x),
        }
        for name in ("softmax", "log_softmax", "logsumexp"):
            timed[name] = partial(getattr(fl, name), x, axis=1)
        for name in ("sigmoid", "tanh", "relu", "gelu"):
            timed[name] = partial(getattr(fl, name), x)
        for name, call in timed.items():
            yield Row(f"{name} {shape}", on("cython", call), {"Numba backend": on("numba", call)})


GROUPS = {
    group.__name__: group
    for group in (cross_entropy, softmax, calls, activations, losses, custom, margins, rows, metrics, ctc, linear, optimizers, objectives, numba)
}
