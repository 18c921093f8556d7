"""Steps divided by a root of summed or averaged squares: Adagrad, Adadelta, RMSprop."""

from . import _check
from ._base import Optimizer, step_one


def _adagrad(step, scale, lr, lr_decay=0, weight_decay=0, eps=1e-10):
    return "adagrad_step", (scale, weight_decay, lr / (1 + (step - 1) * lr_decay), eps)


class Adagrad(Optimizer):
    r"""Adagrad: steps divided by the root of all squared gradients so far.

    With :math:`g` the gradient plus ``weight_decay`` times the parameter :math:`\theta`, at step t

    .. math::

        s \leftarrow s + g^2, \qquad
        \theta \leftarrow \theta
        - \frac{\text{lr}}{1 + (t - 1)\, \text{lr\_decay}}\, \frac{g}{\sqrt s + \varepsilon}

    Parameters
    ----------
    params, lr, weight_decay, maximize, ema
        As for `SGD`.
    lr_decay : float
    initial_accumulator_value : float
        The first s.
    eps : float

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Duchi, Hazan, Singer: Adaptive subgradient methods for online learning and stochastic
    optimization, 2011.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.Adagrad(w, lr=0.5)
    >>> opt.step(np.array([3.0, -0.1]))
    >>> w.round(6)
    array([0.5, 2.5])
    """

    _states = ("sum",)
    _rule = staticmethod(_adagrad)

    def __init__(
        self, params, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10,
        *, maximize=False, ema=None,
    ):  # fmt: skip
        self._start(params, locals())
        for total in self._state["sum"]:
            self._memory.fill(total, initial_accumulator_value)


def adagrad_step(param, grad, state_sum, *, step, lr, lr_decay=0, weight_decay=0, eps=1e-10, maximize=False):
    """One step of `Adagrad`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    state_sum : array
        The sum of squared gradients, like `param`, changed.
    step : int
        1 for the first step, 2 for the second, ...
    lr, lr_decay, weight_decay, eps, maximize
        As for `Adagrad`, numbers only.

    Raises
    ------
    ValueError, TypeError
        As for `Adagrad`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, total = np.array([1.0, 2.0]), np.zeros(2)
    >>> fl.optim.adagrad_step(w, np.array([3.0, -0.5]), total, step=1, lr=0.5)
    >>> w.round(6), total
    (array([0.5, 2.5]), array([9.  , 0.25]))
    """
    step_one(
        _adagrad, param, grad, {"state_sum": state_sum}, step, maximize,
        lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps,
    )  # fmt: skip


def _adadelta(step, scale, lr, rho=0.9, eps=1e-6, weight_decay=0):
    return "adadelta_step", (scale, weight_decay, lr, rho, 1 - rho, eps)


class Adadelta(Optimizer):
    r"""Adadelta: steps in the units of the parameter.

    With :math:`g` the gradient plus ``weight_decay`` times the parameter :math:`\theta`,

    .. math::

        v \leftarrow \rho v + (1 - \rho) g^2, \qquad
        \delta = \sqrt{\frac{u + \varepsilon}{v + \varepsilon}}\; g, \qquad
        u \leftarrow \rho u + (1 - \rho) \delta^2, \qquad
        \theta \leftarrow \theta - \text{lr}\; \delta

    Parameters
    ----------
    params, lr, weight_decay, maximize, ema
        As for `SGD`.
    rho : float
        In [0, 1].
    eps : float

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Zeiler: ADADELTA, an adaptive learning rate method, 2012.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.Adadelta(w, rho=0.75, eps=0.25)
    >>> opt.step(np.array([3.0, -3.0]))
    >>> w.round(6)
    array([0.051317, 2.948683])
    """

    _states = ("square_avg", "acc_delta")
    _rule = staticmethod(_adadelta)
    _settled = 0

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0, *, maximize=False, ema=None):
        self._start(params, locals())


def adadelta_step(
    param, grad, square_avg, acc_delta,
    *, lr=1.0, step=1, rho=0.9, eps=1e-6, weight_decay=0, maximize=False,
):  # fmt: skip
    """One step of `Adadelta`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    square_avg, acc_delta : array
        Averages of squared gradients and squared steps, like `param`, zeros before the first step,
        changed.
    step : int
        1, 2, ... as for other rules; every step of this one is the same.
    lr, rho, eps, weight_decay, maximize
        As for `Adadelta`, numbers only.

    Raises
    ------
    ValueError, TypeError
        As for `Adadelta`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, v, u = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.adadelta_step(w, np.array([3.0, -3.0]), v, u, rho=0.75, eps=0.25)
    >>> w.round(6), v
    (array([0.051317, 2.948683]), array([2.25, 2.25]))
    """
    step_one(
        _adadelta, param, grad, {"square_avg": square_avg, "acc_delta": acc_delta}, step, maximize,
        lr=lr, rho=rho, eps=eps, weight_decay=weight_decay,
    )  # fmt: skip


def _rmsprop(step, scale, lr, momentum=0, alpha=0.99, eps=1e-8, weight_decay=0, centered=False):
    """`momentum` None is RMSprop without a buffer."""
    if momentum is None:
        return _plain_rmsprop(step, scale, lr, alpha, eps, weight_decay, centered)
    return _momentum_rmsprop(step, scale, lr, momentum, alpha, eps, weight_decay, centered)


def _plain_rmsprop(step, scale, lr, alpha, eps, weight_decay, centered):
    return "rmsprop_centered_step" if centered else "rmsprop_step", (scale, weight_decay, lr, alpha, 1 - alpha, eps)


def _momentum_rmsprop(step, scale, lr, momentum, alpha, eps, weight_decay, centered):
    formula = "rmsprop_centered_momentum_step" if centered else "rmsprop_momentum_step"
    return formula, (scale, weight_decay, lr, alpha, 1 - alpha, eps, momentum)


class RMSprop(Optimizer):
    r"""RMSprop: steps divided by the root of the mean squared gradient.

    With :math:`g` the gradient plus ``weight_decay`` times the parameter :math:`\theta`,

    .. math::

        v \leftarrow \alpha v + (1 - \alpha) g^2, \qquad
        b \leftarrow \mu b + \frac{g}{\sqrt v + \varepsilon}, \qquad
        \theta \leftarrow \theta - \text{lr}\; b

    Centered, the root is that of the variance :math:`v - m^2`, with
    :math:`m \leftarrow \alpha m + (1 - \alpha) g`; one that rounding makes negative is 0.

    Parameters
    ----------
    params, lr, weight_decay, maximize, ema
        As for `SGD`.
    alpha, eps : float
    momentum : float or callable
        0 keeps no buffer; a schedule always keeps one.
    centered : bool

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Tieleman, Hinton: Lecture 6.5, 2012. Graves: Generating sequences with recurrent neural networks, 2013.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.RMSprop(w, lr=0.25, alpha=0.75)
    >>> opt.step(np.array([3.0, -3.0]))
    >>> w.round(6)
    array([0.5, 2.5])
    """

    _rule = staticmethod(_rmsprop)
    _settled = 0
    _checks = {"alpha": _check.number}

    def __init__(
        self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False,
        *, maximize=False, ema=None,
    ):  # fmt: skip
        self._states = "square_avg", *["grad_avg"] * bool(centered)
        if callable(momentum) or momentum != 0:
            self._states += ("momentum_buffer",)
        self._start(params, locals())

    def _values(self):
        lr, _, *others = super()._values()
        return lr, self._now("momentum") if "momentum_buffer" in self._states else None, *others


def rmsprop_step(
    param, grad, square_avg, grad_avg=None, momentum_buffer=None,
    *, lr, step=1, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, maximize=False,
):  # fmt: skip
    """One step of `RMSprop`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    square_avg : array
        The average of squared gradients, like `param`, zeros before the first step, changed.
    grad_avg : array, optional
        The average of gradients, likewise: the step is centered.
    momentum_buffer : array, optional
        Likewise; needed for a momentum.
    step : int
        1, 2, ... as for other rules; every step of this one is the same.
    lr, alpha, eps, weight_decay, momentum, maximize
        As for `RMSprop`, numbers only.

    Raises
    ------
    ValueError, TypeError
        As for `RMSprop`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, v = np.array([1.0, 2.0]), np.zeros(2)
    >>> fl.optim.rmsprop_step(w, np.array([3.0, -3.0]), v, lr=0.25, alpha=0.75)
    >>> w.round(6), v
    (array([0.5, 2.5]), array([2.25, 2.25]))
    """
    if momentum_buffer is None and momentum != 0 and not callable(momentum):
        raise ValueError(f"momentum_buffer is None; it must be an array when momentum is {momentum}")
    states = {"square_avg": square_avg, "grad_avg": grad_avg, "momentum_buffer": momentum_buffer}
    states = {name: state for name, state in states.items() if state is not None}

    def rule(step, scale, momentum, **settings):
        buffered = momentum_buffer is not None
        centered = grad_avg is not None
        return _rmsprop(step, scale, momentum=momentum if buffered else None, centered=centered, **settings)

    step_one(
        rule, param, grad, states, step, maximize,
        lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
    )  # fmt: skip
