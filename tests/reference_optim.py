"""Optimizer steps from the textbooks, on whole arrays: new values, nothing in place."""

import numpy as np


def sgd(param, grad, buffer, *, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """Sutskever et al. 2013, in torch's form; buffer None before the first step -> (param, buffer)."""
    if weight_decay:
        grad = grad + weight_decay * param
    if not momentum:
        return param - lr * grad, buffer
    buffer = grad if buffer is None else momentum * buffer + (1 - dampening) * grad
    return param - lr * (grad + momentum * buffer if nesterov else buffer), buffer


def adam(
    param, grad, m, v, largest, *, step, lr,
    betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False,
):  # fmt: skip
    """Algorithm 1 of Kingma and Ba 2015 -> (param, m, v, largest v)."""
    beta1, beta2 = betas
    if weight_decay and decoupled:
        param = param - lr * weight_decay * param
    elif weight_decay:
        grad = grad + weight_decay * param
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    largest = np.maximum(largest, v)
    v_hat = (largest if amsgrad else v) / (1 - beta2**step)
    m_hat = m / (1 - beta1**step)
    return param - lr * m_hat / (np.sqrt(v_hat) + eps), m, v, largest


def average(mean, param, decay):
    return decay * mean + (1 - decay) * param
