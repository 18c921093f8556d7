"""The same answers from other libraries, as calls without arguments; None where one is not installed."""

import functools

import numpy as np
import scipy.special


def optional(*names):
    """Decorate a maker of calls: it makes None where a module it needs is missing."""

    def decorate(make):
        try:
            for name in names:
                __import__(name)
        except ImportError:
            return lambda *args, **kwargs: None
        return make

    return decorate


def scipy_special(name, x, **kwargs):
    return functools.partial(getattr(scipy.special, name), x, **kwargs)


def numpy_cross_entropy(x, target, gradient=True):
    """Value and gradient as a careful person writes them: one exp, buffers reused."""

    def call():
        rows = np.arange(len(x))
        shifted = x - x.max(axis=1, keepdims=True)
        grad = np.exp(shifted)
        total = grad.sum(axis=1, keepdims=True)
        value = (np.log(total[:, 0]) - shifted[rows, target]).mean()
        if not gradient:
            return value
        total *= len(x)
        grad /= total
        grad[rows, target] -= 1 / len(x)
        return value, grad

    return call


def numpy_mse(x, y, gradient=True):
    def call():
        difference = x - y
        value = np.mean(difference * difference)
        if not gradient:
            return value
        difference *= 2 / x.size
        return value, difference

    return call


def numpy_huber(x, y):
    def call():
        difference = x - y
        size = np.abs(difference)
        value = np.mean(np.where(size <= 1, 0.5 * difference * difference, size - np.float32(0.5)))
        return value, np.clip(difference, -1, 1) / np.float32(x.size)

    return call


@optional("sklearn")
def sklearn_cross_entropy(x, target, threads):
    """The loss behind scikit-learn's own estimators; it wants labels in x's dtype."""
    from sklearn._loss import HalfMultinomialLoss

    loss, labels, n = HalfMultinomialLoss(n_classes=x.shape[1]), target.astype(x.dtype), len(x)

    def call():
        value, grad = loss.loss_gradient(labels, x, n_threads=threads)
        grad /= n
        return value.mean(dtype=np.float64), grad

    return call


@optional("torch")
def torch_call(name, *arrays, **kwargs):
    """torch.nn.functional's function, or torch's own."""
    import torch

    function = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    return functools.partial(function, *map(torch.from_numpy, arrays), **kwargs)


@optional("torch")
def torch_value_and_grad(name, x, target, **kwargs):
    """Forward and backward through autograd."""
    import torch

    function = getattr(torch.nn.functional, name)
    x, target = torch.from_numpy(x).requires_grad_(), torch.from_numpy(target)

    def call():
        value = function(x, target, **kwargs)
        return value, torch.autograd.grad(value, x)[0]

    return call


@optional("torch")
def torch_rows(function, inputs, *rest, upstream=None):
    """Forward, and backward to every input, through autograd: of torch.nn.functional's function of that name, or of one of tensors."""
    import torch

    function = getattr(torch.nn.functional, function) if isinstance(function, str) else function
    inputs, rest = [torch.from_numpy(x).requires_grad_() for x in inputs], [torch.from_numpy(a) for a in rest]
    upstream = None if upstream is None else torch.from_numpy(upstream)

    def call():
        value = function(*inputs, *rest)
        return value, torch.autograd.grad(value, inputs, upstream)

    return call


def entropy_of_tensors(p):
    return -(p * p.log()).sum(1).mean()


def focal_cross_entropy_of_tensors(logits, target):
    """As papers write it: log_softmax, and the class's part times (1 - p)^2."""
    logp = logits.log_softmax(1).gather(1, target[:, None])
    return -((1 - logp.exp()) ** 2 * logp).mean()


def brier_score_of_tensors(p, target):
    """The own class's square is exchanged, so that no one-hot array is made."""
    own = p.gather(1, target[:, None])[:, 0]
    return ((p * p).sum(1) - own * own + (1 - own) ** 2).mean()


@optional("torch")
def torch_adaptive(x, head_weight, tail_weights, cutoffs, target):
    """Forward and backward of torch's module with those weights."""
    import torch

    module = torch.nn.AdaptiveLogSoftmaxWithLoss(x.shape[1], cutoffs[-1] + len(tail_weights[-1][1]), cutoffs, head_bias=False)
    module.head.weight.data = torch.from_numpy(head_weight)
    for layers, weights in zip(module.tail, tail_weights):
        for layer, weight in zip(layers, weights):
            layer.weight.data = torch.from_numpy(weight)
    x, target = torch.from_numpy(x).requires_grad_(), torch.from_numpy(target)
    inputs = [x, *module.parameters()]

    def call():
        output, loss = module(x, target)
        return output, loss, torch.autograd.grad(loss, inputs)

    return call


@optional("sklearn")
def sklearn_metric(name, *arguments, **kwargs):
    import sklearn.metrics

    return functools.partial(getattr(sklearn.metrics, name), *arguments, **kwargs)


def scipy_entropy(p):
    """It divides by the sums of the rows first."""
    import scipy.stats

    return functools.partial(scipy.stats.entropy, p, axis=1)


@optional("torch")
def torch_ctc(log_probs, *arguments):
    """Forward and backward through autograd."""
    import torch

    x, *rest = map(torch.from_numpy, (log_probs, *arguments))
    x.requires_grad_()

    def call():
        value = torch.nn.functional.ctc_loss(x, *rest)
        return value, torch.autograd.grad(value, x)[0]

    return call


@optional("torch")
def torch_linear_cross_entropy(x, w, target):
    """All logits formed; forward and backward through autograd."""
    import torch

    x, w, target = torch.from_numpy(x).requires_grad_(), torch.from_numpy(w).requires_grad_(), torch.from_numpy(target)

    def call():
        value = torch.nn.functional.cross_entropy(x @ w.T, target)
        return value, torch.autograd.grad(value, (x, w))

    return call


def formed_linear_cross_entropy(function, x, w, target):
    """All logits formed, their gradient in place."""

    def call():
        logits = x @ w.T
        value, grad = function(logits, target, out=(None, logits))
        return value, (grad @ w, grad.T @ x)

    return call


@optional("torch")
def torch_activation(name, x, g):
    """Forward, and backward with the upstream gradient g."""
    import torch

    function = getattr(torch.nn.functional, name)
    x, g = torch.from_numpy(x).requires_grad_(), torch.from_numpy(g)

    def call():
        value = function(x)
        return value, torch.autograd.grad(value, x, g)[0]

    return call


@optional("torch")
def torch_step(name, params, grads, **kwargs):
    """A step of torch.optim's optimizer on copies of params; returns them."""
    import torch

    params = [torch.from_numpy(p.copy()).requires_grad_() for p in params]
    for param, grad in zip(params, grads):
        param.grad = torch.from_numpy(grad)
    optimizer = getattr(torch.optim, name)(params, **kwargs)

    def call():
        optimizer.step()
        return params

    return call


def numpy_adamw(params, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    """AdamW on copies of params, in place with one scratch array each."""
    params = [p.copy() for p in params]
    states = [tuple(np.zeros((3, *p.shape), p.dtype)) for p in params]
    step = 0

    def call():
        nonlocal step
        step += 1
        for param, grad, (mean, square, scratch) in zip(params, grads, states):
            param *= 1 - lr * weight_decay
            mean *= betas[0]
            np.multiply(grad, 1 - betas[0], out=scratch)
            mean += scratch
            square *= betas[1]
            np.multiply(grad, grad, out=scratch)
            scratch *= 1 - betas[1]
            square += scratch
            np.sqrt(square, out=scratch)
            scratch /= (1 - betas[1] ** step) ** 0.5
            scratch += eps
            np.divide(mean, scratch, out=scratch)
            scratch *= lr / (1 - betas[0] ** step)
            param -= scratch
        return params

    return call


# Gradient boosting: the part of the first rows that a model trained on all of them gets right

SEEN = 2000


def right(scores, y):
    """Return the part of the rows whose class has the largest score, or whose sign is right."""
    classes = scores.argmax(axis=1) if scores.ndim == 2 else scores > 0
    return (classes == y[: len(scores)]).mean()


def numpy_objective(x, data):
    """Softmax or sigmoid, as the engines' own examples of custom objectives write them."""
    y = data.get_label()
    if x.ndim == 1:
        p = 1 / (1 + np.exp(-x))
        return p - y, p * (1 - p)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    grad = p.copy()
    grad[np.arange(len(p)), y.astype(int)] -= 1
    return grad, np.maximum(p * (1 - p), 1e-6)


@optional("xgboost")
def xgboost_training(x, y, n_classes, objective, threads, rounds):
    import xgboost

    data, seen = xgboost.DMatrix(x, y), xgboost.DMatrix(x[:SEEN])
    params = {"nthread": threads, "max_depth": 6, "base_score": 0.0}
    params |= {"num_class": n_classes} if n_classes > 2 else {}
    if isinstance(objective, str):
        params |= {"objective": objective, "base_score": 0.5}
        objective = None
    return lambda: right(
        xgboost.train(params, data, rounds, obj=objective).predict(seen, output_margin=True), y
    )


@optional("lightgbm")
def lightgbm_training(x, y, n_classes, objective, threads, rounds):
    import lightgbm

    params = {"num_threads": threads, "verbose": -1}
    data = lightgbm.Dataset(x, y, params=params, free_raw_data=False).construct()
    params |= {"objective": objective, "boost_from_average": False}
    params |= {"num_class": n_classes} if n_classes > 2 else {}
    return lambda: right(lightgbm.train(params, data, rounds).predict(x[:SEEN], raw_score=True), y)


class NumpyOfCatboost:
    """The same objective as CatBoost calls it."""

    no_jit = True

    def calc_ders_range(self, approxes, targets, weights):
        p = 1 / (1 + np.exp(-np.asarray(approxes)))
        return list(zip(targets - p, -p * (1 - p)))

    def calc_ders_multi(self, approx, target, weight):
        p = np.exp(approx - np.max(approx))
        p /= p.sum()
        grad = -p
        grad[int(target)] += 1
        return (weight * grad).tolist(), np.diag(-weight * p * (1 - p)).tolist()


class Replayed:
    """An objective's answers, computed in the first training and looked up in those that follow: the engine's own time."""

    no_jit = True

    def __init__(self, objective):
        self.objective, self.known = objective, {}

    def __deepcopy__(self, memo):
        return self

    def _answer(self, key, call, *arguments):
        if key not in self.known:
            self.known[key] = call(*arguments)
        return self.known[key]

    def __call__(self, x, data):
        return self._answer(x[:8].tobytes(), self.objective, x, data)   # the first rows tell the round

    def calc_ders_range(self, x, y, weight):
        return self._answer((x.tobytes(), y.tobytes()), self.objective.calc_ders_range, x, y, weight)

    def calc_ders_multi(self, x, y, weight):
        return self._answer((x.tobytes(), y), self.objective.calc_ders_multi, x, y, weight)


@optional("catboost")
def catboost_training(x, y, n_classes, objective, threads, rounds):
    import catboost

    params = {"thread_count": threads, "iterations": rounds, "learning_rate": 0.3, "boosting_type": "Plain"}
    params |= {"leaf_estimation_method": "Newton", "leaf_estimation_iterations": 1, "boost_from_average": False}
    params |= {"logging_level": "Silent", "allow_writing_files": False, "random_seed": 0}
    metric = "MultiClass" if n_classes > 2 else "Logloss"
    params |= {"eval_metric": metric, "metric_period": rounds, "loss_function": objective}
    params |= {"classes_count": n_classes} if n_classes > 2 else {}
    data = catboost.Pool(x, y)

    def train():
        model = catboost.CatBoost(params).fit(data)
        return right(model.predict(x[:SEEN], prediction_type="RawFormulaVal"), y)

    return train
