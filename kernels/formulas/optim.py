"""Optimizer steps: the new parameter and the new states of one element.

Grammar: <rule>[_<option>...]_step(param, grad, *states, *, scalars) -> (param, *states).
What is the same for a whole tensor (bias corrections, the sign of `maximize`, clipping) arrives as
a scalar, computed once per step in float64; `scale` multiplies the gradient before anything else.
`decay` is 1 - lr * weight_decay where the decay is decoupled. Each element costs one root and one
division at most. The generator adds <rule>_ema_step, which also averages the new parameter.
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


def sgd_step(param, grad, *, scale, weight_decay, lr):
    return param - lr * _penalized(param, grad, scale, weight_decay)


def sgd_momentum_step(
    param, grad, momentum_buffer, *, scale, weight_decay, lr, momentum, weight, look_ahead
):
    grad = _penalized(param, grad, scale, weight_decay)
    momentum_buffer = momentum * momentum_buffer + weight * grad
    update = select(look_ahead != 0, grad + look_ahead * momentum_buffer, momentum_buffer)
    return param - lr * update, momentum_buffer


# ASGD (Polyak and Juditsky 1992): lr and mu are those of the step, decay = 1 - lambd * lr.


def asgd_step(param, grad, ax, *, scale, weight_decay, lr, decay, mu):
    grad = _penalized(param, grad, scale, weight_decay)
    param = decay * param - lr * grad
    return param, select(mu != 1, ax + mu * (param - ax), param)


# Rprop (Riedmiller and Braun 1993); first != 0 begins with the step size lr. NaN has no sign: no step.


def rprop_step(param, grad, prev, step_size, *, scale, lr, first, shrink, grow, smallest, largest):
    grad = scale * grad
    turn = grad * prev
    factor = select(turn > 0, grow, select(turn < 0, shrink, 1.0))
    step_size = min(max(factor * select(first != 0, lr, step_size), smallest), largest)
    grad = select(turn < 0, 0.0, grad)
    return param - select(grad > 0, step_size, select(grad < 0, -step_size, 0.0)), grad, step_size


# Lion (Chen et al. 2023). The sign of NaN is NaN, of 0 is 0.


def lion_step(param, grad, exp_avg, *, scale, decay, lr, beta1, weight1, beta2, weight2):
    grad = scale * grad
    update = beta1 * exp_avg + weight1 * grad
    update = select(update > 0, lr, select(update < 0, -lr, update))
    return decay * param - update, beta2 * exp_avg + weight2 * grad


# A direction that was computed for the tensor as a whole: Adafactor, Muon.


def decayed_step(param, grad, *, decay):
    return decay * param - grad


# Adagrad (Duchi, Hazan, Singer 2011), Adadelta (Zeiler 2012), RMSprop (Tieleman and Hinton 2012;
# centered: Graves 2013). weight = 1 - rho, 1 - alpha.


def adagrad_step(param, grad, total, *, scale, weight_decay, lr, eps):
    grad = _penalized(param, grad, scale, weight_decay)
    total = total + grad * grad
    return param - lr * (grad / (sqrt(total) + eps)), total


def adadelta_step(param, grad, square_avg, acc_delta, *, scale, weight_decay, lr, rho, weight, eps):
    grad = _penalized(param, grad, scale, weight_decay)
    square_avg = rho * square_avg + weight * grad * grad
    delta = sqrt((acc_delta + eps) / (square_avg + eps)) * grad
    return param - lr * delta, square_avg, rho * acc_delta + weight * delta * delta


def rmsprop_step(param, grad, square_avg, *, scale, weight_decay, lr, alpha, weight, eps):
    grad = _penalized(param, grad, scale, weight_decay)
    square_avg = alpha * square_avg + weight * grad * grad
    return param - lr * (grad / (sqrt(square_avg) + eps)), square_avg


def rmsprop_momentum_step(
    param, grad, square_avg, momentum_buffer,
    *, scale, weight_decay, lr, alpha, weight, eps, momentum,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    square_avg = alpha * square_avg + weight * grad * grad
    momentum_buffer = momentum * momentum_buffer + grad / (sqrt(square_avg) + eps)
    return param - lr * momentum_buffer, square_avg, momentum_buffer


def _spread(grad, square_avg, grad_avg, alpha, weight):
    # from the variance before: only that is a difference, and exact; what rounding makes negative is 0
    square, low = product(grad_avg, grad_avg)
    apart = grad - grad_avg
    variance = alpha * (((square_avg - square) - low) + weight * apart * apart)
    square_avg = alpha * square_avg + weight * grad * grad
    return sqrt(max(variance, 0.0)), square_avg, _lerp(grad_avg, grad, weight)


def rmsprop_centered_step(
    param, grad, square_avg, grad_avg, *, scale, weight_decay, lr, alpha, weight, eps
):
    grad = _penalized(param, grad, scale, weight_decay)
    spread, square_avg, grad_avg = _spread(grad, square_avg, grad_avg, alpha, weight)
    return param - lr * (grad / (spread + eps)), square_avg, grad_avg


def rmsprop_centered_momentum_step(
    param, grad, square_avg, grad_avg, momentum_buffer,
    *, scale, weight_decay, lr, alpha, weight, eps, momentum,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    spread, square_avg, grad_avg = _spread(grad, square_avg, grad_avg, alpha, weight)
    momentum_buffer = momentum * momentum_buffer + grad / (spread + eps)
    return param - lr * momentum_buffer, square_avg, grad_avg, momentum_buffer


# Adam and Adamax (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018), AdamW (Loshchilov and Hutter
# 2019), NAdam (Dozat 2016), RAdam (Liu et al. 2020). With c = sqrt(1 - beta2^t): step_size =
# lr * c / (1 - beta1^t) and eps = c * epsilon, the textbook's quotient less one division.
# weight1 = 1 - beta1, weight2 = 1 - beta2.


def adam_step(
    param, grad, exp_avg, exp_avg_sq,
    *, scale, weight_decay, decay, weight1, beta2, weight2, step_size, eps,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    param = decay * param - step_size * (exp_avg / (sqrt(exp_avg_sq) + eps))
    return param, exp_avg, exp_avg_sq


def adam_amsgrad_step(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq,
    *, scale, weight_decay, decay, weight1, beta2, weight2, step_size, eps,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    max_exp_avg_sq = _largest(max_exp_avg_sq, exp_avg_sq)
    param = decay * param - step_size * (exp_avg / (sqrt(max_exp_avg_sq) + eps))
    return param, exp_avg, exp_avg_sq, max_exp_avg_sq


def adamax_step(
    param, grad, exp_avg, exp_inf, *, scale, weight_decay, weight1, beta2, step_size, eps
):
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg = _lerp(exp_avg, grad, weight1)
    exp_inf = _largest(beta2 * exp_inf, abs(grad) + eps)
    return param - step_size * (exp_avg / exp_inf), exp_avg, exp_inf


def nadam_step(
    param, grad, exp_avg, exp_avg_sq,
    *, scale, weight_decay, decay, weight1, beta2, weight2, grad_size, avg_size, eps,
):  # fmt: skip
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    update = (grad_size * grad + avg_size * exp_avg) / (sqrt(exp_avg_sq) + eps)
    return decay * param - update, exp_avg, exp_avg_sq


def radam_step(
    param, grad, exp_avg, exp_avg_sq,
    *, scale, weight_decay, decay, weight1, beta2, weight2, step_size, rectified, eps,
):  # fmt: skip
    # without rectification eps is 1 and the root absent: plain momentum
    grad = _penalized(param, grad, scale, weight_decay)
    exp_avg, exp_avg_sq = _moments(grad, exp_avg, exp_avg_sq, weight1, beta2, weight2)
    root = select(rectified != 0, sqrt(exp_avg_sq), 0.0)
    return decay * param - step_size * (exp_avg / (root + eps)), exp_avg, exp_avg_sq
