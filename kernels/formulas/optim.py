"""Optimizer steps: the new parameter and the new states of one element.

Grammar: <rule>[_<option>...]_step(param, grad, *states, *, scalars) -> (param, *states).
What is the same for a whole tensor (bias corrections, the sign of `maximize`, clipping) arrives as
a scalar, computed once per step in float64; `scale` multiplies the gradient before anything else.
The option `ema` adds a last state, the moving average of the new parameter.
"""


def _lerp(start, end, weight):
    # from the nearer end, so that weight 1 gives exactly `end`
    return select(weight < 0.5, start + weight * (end - start), end - (1 - weight) * (end - start))


def _penalized(param, grad, scale, weight_decay):
    # selected, not added: 0 * inf would be NaN
    grad = scale * grad
    return select(weight_decay != 0, grad + weight_decay * param, grad)


def _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2):
    return _lerp(exp_avg, grad, weight1), beta2 * exp_avg_sq + weight2 * grad * grad


def _largest(a, b):
    # NaN in either stays
    return select(b <= a, a, select(b > a, b, a + b))


# SGD (Sutskever et al. 2013). weight = 1 - dampening, but a buffer's first step is buffer = grad:
# momentum 0 and weight 1. look_ahead is Nesterov's momentum, 0 for none.


def _momentum(grad, momentum_buffer, momentum, weight, look_ahead):
    momentum_buffer = momentum * momentum_buffer + weight * grad
    update = select(look_ahead != 0, grad + look_ahead * momentum_buffer, momentum_buffer)
    return update, momentum_buffer


def sgd_step(param, grad, *, lr, scale, weight_decay):
    return param - lr * _penalized(param, grad, scale, weight_decay)


def sgd_ema_step(param, grad, ema, *, lr, scale, weight_decay, ema_weight):
    param = param - lr * _penalized(param, grad, scale, weight_decay)
    return param, _lerp(ema, param, ema_weight)


def sgd_momentum_step(
    param, grad, momentum_buffer, *, lr, scale, weight_decay, momentum, weight, look_ahead
):
    grad = _penalized(param, grad, scale, weight_decay)
    update, momentum_buffer = _momentum(grad, momentum_buffer, momentum, weight, look_ahead)
    return param - lr * update, momentum_buffer


def sgd_momentum_ema_step(
    param, grad, momentum_buffer, ema,
    *, lr, scale, weight_decay, momentum, weight, look_ahead, ema_weight,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    update, momentum_buffer = _momentum(grad, momentum_buffer, momentum, weight, look_ahead)
    param = param - lr * update
    return param, momentum_buffer, _lerp(ema, param, ema_weight)


# Adam (Kingma and Ba 2015; Reddi et al. 2018), AdamW (Loshchilov and Hutter 2019). With
# c = sqrt(1 - beta2^t): step_size = lr * c / (1 - beta1^t) and eps = c * epsilon, the textbook's
# quotient less one division. decay = 1 - lr * weight_decay, weight1 = 1 - beta1, weight2 = 1 - beta2.


def adam_step(
    param, grad, exp_avg, exp_avg_sq,
    *, scale, weight_decay, decay, weight1, beta2, weight2, step_size, eps,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    param = decay * param - step_size * (exp_avg / (sqrt(exp_avg_sq) + eps))
    return param, exp_avg, exp_avg_sq


def adam_ema_step(
    param, grad, exp_avg, exp_avg_sq, ema,
    *, scale, weight_decay, decay, weight1, beta2, weight2, step_size, eps, ema_weight,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    param = decay * param - step_size * (exp_avg / (sqrt(exp_avg_sq) + eps))
    return param, exp_avg, exp_avg_sq, _lerp(ema, param, ema_weight)


def adam_amsgrad_step(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq,
    *, scale, weight_decay, decay, weight1, beta2, weight2, step_size, eps,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    max_exp_avg_sq = _largest(max_exp_avg_sq, exp_avg_sq)
    param = decay * param - step_size * (exp_avg / (sqrt(max_exp_avg_sq) + eps))
    return param, exp_avg, exp_avg_sq, max_exp_avg_sq


def adam_amsgrad_ema_step(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, ema,
    *, scale, weight_decay, decay, weight1, beta2, weight2, step_size, eps, ema_weight,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    max_exp_avg_sq = _largest(max_exp_avg_sq, exp_avg_sq)
    param = decay * param - step_size * (exp_avg / (sqrt(max_exp_avg_sq) + eps))
    return param, exp_avg, exp_avg_sq, max_exp_avg_sq, _lerp(ema, param, ema_weight)
