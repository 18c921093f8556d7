"""Optimizers from their papers: (param, grad, state, **settings) -> param; state is a dict, empty at first."""

import numpy as np


def _gradient(param, grad, weight_decay=0.0, maximize=False):
    return (-grad if maximize else grad) + (weight_decay * param if weight_decay else 0)


def _count(state):
    state["t"] = state.get("t", 0) + 1
    return state["t"]


def _mean(state, name, value, beta):
    """A running mean from 0, without correction."""
    state[name] = beta * state.get(name, 0 * value) + (1 - beta) * value
    return state[name]


def sgd(
    param, grad, state, *, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False
):
    g = _gradient(param, grad, weight_decay, maximize)
    if momentum:
        first = "b" not in state
        state["b"] = g if first else momentum * state["b"] + (1 - dampening) * g
        g = g + momentum * state["b"] if nesterov else state["b"]
    return param - lr * g


def asgd(param, grad, state, *, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0, maximize=False):
    g = _gradient(param, grad, weight_decay, maximize)
    t = _count(state)
    eta = lr / (1 + lambd * lr * (t - 1)) ** alpha
    param = param - eta * (g + lambd * param)
    mean = state.get("ax", param)
    state["ax"] = mean + (param - mean) / max(1, t - 1 - t0)
    return param


def lion(param, grad, state, *, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
    """Chen et al. 2023, algorithm 2."""
    g = _gradient(param, grad, 0, maximize)
    c = betas[0] * state.get("m", 0 * g) + (1 - betas[0]) * g
    _mean(state, "m", g, betas[1])
    return param - lr * (np.sign(c) + weight_decay * param)


def rprop(param, grad, state, *, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50), maximize=False):
    """Riedmiller and Braun 1993, without backtracking: after a turn the element waits one step."""
    g = _gradient(param, grad, 0, maximize)
    size = state.get("size", np.full_like(param, lr))
    turn = np.sign(g * state.get("prev", 0 * g))
    size = np.clip(np.select([turn > 0, turn < 0], [size * etas[1], size * etas[0]], size), *step_sizes)
    state["size"], state["prev"] = size, np.where(turn < 0, 0, g)
    return param - np.sign(state["prev"]) * size


def adagrad(
    param, grad, state,
    *, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10, maximize=False,
):  # fmt: skip
    g = _gradient(param, grad, weight_decay, maximize)
    t = _count(state)
    state["sum"] = state.get("sum", initial_accumulator_value) + g**2
    return param - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(state["sum"]) + eps)


def adadelta(param, grad, state, *, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0, maximize=False):
    """Zeiler 2012, algorithm 1."""
    g = _gradient(param, grad, weight_decay, maximize)
    v = _mean(state, "v", g**2, rho)
    delta = np.sqrt(state.get("u", 0 * g) + eps) / np.sqrt(v + eps) * g
    _mean(state, "u", delta**2, rho)
    return param - lr * delta


def rmsprop(
    param, grad, state,
    *, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, maximize=False,
):  # fmt: skip
    g = _gradient(param, grad, weight_decay, maximize)
    v = _mean(state, "v", g**2, alpha)
    if centered:
        v = v - _mean(state, "m", g, alpha) ** 2
    state["b"] = momentum * state.get("b", 0) + g / (np.sqrt(v) + eps)
    return param - lr * state["b"]


def adam(
    param, grad, state,
    *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, maximize=False,
    decoupled_weight_decay=False,
):  # fmt: skip
    """Algorithm 1 of Kingma and Ba 2015."""
    param, g = _decayed(param, grad, lr, weight_decay, maximize, decoupled_weight_decay)
    t = _count(state)
    m, v = _mean(state, "m", g, betas[0]), _mean(state, "v", g**2, betas[1])
    if amsgrad:
        v = state["top"] = np.maximum(state.get("top", 0), v)
    return param - lr * m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def _decayed(param, grad, lr, weight_decay, maximize, decoupled):
    if decoupled:
        return param - lr * weight_decay * param, _gradient(param, grad, 0, maximize)
    return param, _gradient(param, grad, weight_decay, maximize)


def adamw(param, grad, state, *, weight_decay=1e-2, **settings):
    return adam(param, grad, state, weight_decay=weight_decay, decoupled_weight_decay=True, **settings)


def adamax(param, grad, state, *, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, maximize=False):
    """Algorithm 2 of Kingma and Ba 2015; eps is added to |g|, as torch adds it."""
    g = _gradient(param, grad, weight_decay, maximize)
    t = _count(state)
    m = _mean(state, "m", g, betas[0])
    state["u"] = np.maximum(betas[1] * state.get("u", 0), np.abs(g) + eps)
    return param - lr / (1 - betas[0] ** t) * m / state["u"]


def nadam(
    param, grad, state,
    *, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3,
    decoupled_weight_decay=False, maximize=False,
):  # fmt: skip
    """Dozat 2016, algorithm 2, with the schedule of section 3."""
    param, g = _decayed(param, grad, lr, weight_decay, maximize, decoupled_weight_decay)
    t = _count(state)
    mu = [betas[0] * (1 - 0.96 ** (i * momentum_decay) / 2) for i in range(1, t + 2)]
    m, v = _mean(state, "m", g, betas[0]), _mean(state, "v", g**2, betas[1])
    m_bar = (1 - mu[-2]) * g / (1 - np.prod(mu[:-1])) + mu[-1] * m / (1 - np.prod(mu))
    return param - lr * m_bar / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def radam(
    param, grad, state,
    *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled_weight_decay=False, maximize=False,
):  # fmt: skip
    """Liu et al. 2020, algorithm 2, rectified from a length of 5 on."""
    param, g = _decayed(param, grad, lr, weight_decay, maximize, decoupled_weight_decay)
    t = _count(state)
    m, v = _mean(state, "m", g, betas[0]), _mean(state, "v", g**2, betas[1])
    m_hat = m / (1 - betas[0] ** t)
    longest = 2 / (1 - betas[1]) - 1
    rho = longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    if rho <= 5:
        return param - lr * m_hat
    r = np.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
    return param - lr * m_hat * r * np.sqrt(1 - betas[1] ** t) / (np.sqrt(v) + eps)


def sparse_adam(param, grad, state, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
    """The end of section 2 of Kingma and Ba 2015, row by row; grad is (rows, values)."""
    t = _count(state)
    param = param.copy()
    rows, values = grad
    for row in {*map(int, rows)}:
        g = _gradient(param[row], values[np.asarray(rows) == row].sum(axis=0), 0, maximize)
        own = state.setdefault(row, {})
        m, v = _mean(own, "m", g, betas[0]), _mean(own, "v", g**2, betas[1])
        size = lr * np.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
        param[row] = param[row] - size * m / (np.sqrt(v) + eps)
    return param


def adafactor(
    param, grad, state,
    *, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0, maximize=False,
):  # fmt: skip
    """Shazeer and Stern 2018, algorithms 4 and 5, with torch's floors."""
    g = _gradient(param, grad, 0, maximize)
    t = _count(state)
    eps1 = state.setdefault("eps", np.finfo(grad.dtype).eps) if eps[0] is None else eps[0]
    beta2 = 1 - float(t) ** beta2_decay
    alpha = max(eps[1], np.sqrt(np.mean(param**2))) * min(lr, t**-0.5)
    if g.ndim > 1:
        r = _mean(state, "r", np.mean(g**2, axis=-1, keepdims=True), beta2)
        c = _mean(state, "c", np.mean(g**2, axis=-2, keepdims=True), beta2)
        v = r * c / np.maximum(r.mean(axis=-2, keepdims=True), eps1)
    else:
        v = _mean(state, "v", g**2, beta2)
    u = g / np.sqrt(np.maximum(v, eps1**2))
    return (1 - lr * weight_decay) * param - alpha * u / max(1, np.sqrt(np.mean(u**2)) / d)


def muon(
    param, grad, state,
    *, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445, -4.775, 2.0315),
    eps=1e-7, ns_steps=5, adjust_lr_fn=None,
):  # fmt: skip
    """Jordan et al. 2024: a polynomial of the singular values, here through the decomposition itself."""
    b = _mean(state, "b", grad, momentum)
    x = (1 - momentum) * grad + momentum * b if nesterov else b
    u, s, vt = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    s = s / max(np.sqrt(np.sum(s**2)), eps)
    for _ in range(ns_steps):
        s = np.polynomial.polynomial.polyval(s * s, ns_coefficients) * s
    n, m = grad.shape
    ratio = 0.2 * max(n, m) ** 0.5 if adjust_lr_fn == "match_rms_adamw" else max(1, n / m) ** 0.5
    return param * (1 - lr * weight_decay) - lr * ratio * ((u * s) @ vt)


def lbfgs(param, closure, *, lr=1.0, iterations=20, history_size=100):
    """Nocedal and Wright, equation 7.16: the inverse Hessian itself, at fixed step lengths."""
    pairs, identity = [], np.eye(param.size)
    _, g = closure(param)
    d = -g
    for k in range(iterations):
        s = (lr * min(1, 1 / np.abs(g).sum()) if k == 0 else lr) * d
        param, old = param + s, g
        _, g = closure(param)
        pairs = [*pairs, (s, g - old)][-history_size:]
        s, y = pairs[-1]
        h = s @ y / (y @ y) * identity
        for s, y in pairs:
            v = identity - np.outer(y, s) / (s @ y)
            h = v.T @ h @ v + np.outer(s, s) / (s @ y)
        d = -h @ g
    return param


def average(mean, param, decay):
    return decay * mean + (1 - decay) * param


def clip_grad_norm(grads, max_norm, norm_type=2):
    """The norm of all gradients together, and each times min(1, max_norm / (norm + 1e-6))."""
    together = np.concatenate([np.ravel(g) for g in grads]).astype(np.longdouble)
    if norm_type == np.inf:
        norm = np.abs(together).max()
    else:
        norm = (np.abs(together) ** norm_type).sum() ** (1 / norm_type)
    factor = min(np.longdouble(1), max_norm / (norm + np.longdouble(1e-6)))
    return norm, [g.astype(np.longdouble) * factor for g in grads]
