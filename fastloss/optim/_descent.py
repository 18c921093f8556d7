"""Steps along the gradient, its average, or its sign: SGD, ASGD, Lion, Rprop."""

from ._base import Optimizer, step_one


def _sgd(step, scale, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False):
    """`momentum` None is SGD without a buffer."""
    if momentum is None:
        return _plain_sgd(step, scale, lr, weight_decay)
    return _momentum_sgd(step, scale, lr, momentum, dampening, weight_decay, nesterov)


def _plain_sgd(step, scale, lr, weight_decay):
    return "sgd_step", (scale, weight_decay, lr)


def _momentum_sgd(step, scale, lr, momentum, dampening, weight_decay, nesterov):
    look_ahead = momentum if nesterov else 0.0
    first = step == 1 or momentum == 0
    kept, weight = (0.0, 1.0) if first else (momentum, 1 - dampening)
    return "sgd_momentum_step", (scale, weight_decay, lr, kept, weight, look_ahead)


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum.

    With :math:`g` the gradient plus ``weight_decay`` times the parameter :math:`\theta`,

    .. math::

        b \leftarrow \mu b + (1 - \text{dampening})\, g, \qquad
        \theta \leftarrow \theta - \text{lr}\; b

    where the first :math:`b` is :math:`g`; Nesterov's form uses :math:`g + \mu b` in place of
    :math:`b`, and without momentum it is :math:`g`.

    Parameters
    ----------
    params : array, list, tuple or dict of arrays
        float32 or float64, any layout, updated in place.
    lr : float or callable
        Learning rate, or a schedule: step (0, 1, ...) -> value.
    momentum : float or callable
        0 keeps no buffer; a schedule always keeps one, and where it gives 0 the buffer restarts.
    dampening, weight_decay : float
    nesterov, maximize : bool
    ema : float, optional
        Decay of a moving average of the parameters, kept in `ema` and updated in the same pass:
        ema = decay * ema + (1 - decay) * param.

    Raises
    ------
    ValueError
        A setting out of range; parameters empty, read-only or overlapping in memory.
    TypeError
        A parameter that is not a float32 or float64 array.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum, 2013.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.SGD([w], lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     opt.step([np.array([1.0, -1.0])])
    >>> w
    array([-0.25,  3.25])
    """

    _rule = staticmethod(_sgd)
    _settled = 1

    def __init__(
        self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False,
        *, maximize=False, ema=None,
    ):  # fmt: skip
        self._states = ("momentum_buffer",) if callable(momentum) or momentum != 0 else ()
        self._start(params, locals())

    def _values(self):
        lr, _, *others = super()._values()
        momentum = self._now("momentum")
        if not self._states:
            if momentum != 0:
                raise ValueError(f"momentum is {momentum}; it must stay 0, as when this optimizer was made")
            momentum = None
        return lr, momentum, *others


def sgd_step(
    param, grad, momentum_buffer=None,
    *, lr, step=None, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False,
):  # fmt: skip
    """One step of `SGD`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    momentum_buffer : array, optional
        Like `param`, changed; needed for a momentum.
    step : int, optional
        At step 1 the buffer holds nothing yet and becomes the gradient. Without it the buffer counts:
        zeros before the first step.
    lr, momentum, dampening, weight_decay, nesterov, maximize
        As for `SGD`, numbers only.

    Raises
    ------
    ValueError, TypeError
        As for `SGD`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> fl.optim.sgd_step(w, np.array([1.0, -1.0]), lr=0.5)
    >>> w
    array([0.5, 2.5])
    """
    if momentum_buffer is None and momentum != 0 and not callable(momentum):
        raise ValueError(f"momentum_buffer is None; it must be an array when momentum is {momentum}")
    states = {} if momentum_buffer is None else {"momentum_buffer": momentum_buffer}

    def rule(step, scale, momentum, **settings):
        return _sgd(step, scale, momentum=momentum if states else None, **settings)

    step_one(
        rule, param, grad, states, 2 if step is None else step, maximize,
        lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
    )  # fmt: skip


def _asgd(step, scale, lr, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0):
    lr = lr / (1 + lambd * lr * (step - 1)) ** alpha
    return "asgd_step", (scale, weight_decay, lr, 1 - lambd * lr, 1 / max(1, step - 1 - t0))


class ASGD(Optimizer):
    r"""Averaged stochastic gradient descent.

    With :math:`g` the gradient plus ``weight_decay`` times the parameter :math:`\theta`, at step t

    .. math::

        \eta = \frac{\text{lr}}{(1 + \lambda\, \text{lr}\, (t - 1))^\alpha}, \qquad
        \theta \leftarrow (1 - \lambda \eta)\, \theta - \eta g, \qquad
        \bar\theta \leftarrow \bar\theta + \frac{\theta - \bar\theta}{\max(1, t - 1 - t_0)}

    The average is the state ``ax`` of `state_dict`.

    Parameters
    ----------
    params, lr, weight_decay, maximize, ema
        As for `SGD`.
    lambd : float
        Decay of the parameters and of the rate.
    alpha : float
        Power of the rate's decay.
    t0 : float
        Step at which averaging begins; before it the average is the parameter.

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Polyak, Juditsky: Acceleration of stochastic approximation by averaging, 1992.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.ASGD(w, lr=0.5, lambd=0.0, t0=1)
    >>> for _ in range(3):
    ...     opt.step(np.array([1.0, -1.0]))
    >>> w, opt.state_dict()["ax"]
    (array([-0.5,  3.5]), array([-0.5,  3.5]))
    """

    _states = ("ax",)
    _rule = staticmethod(_asgd)

    def __init__(
        self, params, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0, *, maximize=False, ema=None
    ):
        self._start(params, locals())


def asgd_step(
    param, grad, ax,
    *, step, lr, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0, maximize=False,
):  # fmt: skip
    """One step of `ASGD`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    ax : array
        The average of the parameters, like `param`, changed.
    step : int
        1 for the first step, 2 for the second, ...
    lr, lambd, alpha, t0, weight_decay, maximize
        As for `ASGD`, numbers only.

    Raises
    ------
    ValueError, TypeError
        As for `ASGD`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, ax = np.array([1.0, 2.0]), np.zeros(2)
    >>> fl.optim.asgd_step(w, np.array([1.0, -1.0]), ax, step=1, lr=0.5, lambd=0.5)
    >>> w, ax
    (array([0.25, 2.  ]), array([0.25, 2.  ]))
    """
    step_one(
        _asgd, param, grad, {"ax": ax}, step, maximize,
        lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay,
    )  # fmt: skip


def _lion(step, scale, lr, betas=(0.9, 0.99), weight_decay=0.0):
    beta1, beta2 = betas
    return "lion_step", (scale, 1 - lr * weight_decay, lr, beta1, 1 - beta1, beta2, 1 - beta2)


class Lion(Optimizer):
    r"""Lion: steps of one size, along the sign of an average of gradients.

    .. math::

        \theta \leftarrow (1 - \text{lr} \cdot \text{weight\_decay})\, \theta
        - \text{lr}\, \operatorname{sign}(\beta_1 m + (1 - \beta_1) g), \qquad
        m \leftarrow \beta_2 m + (1 - \beta_2) g

    with sign(0) = 0.

    Parameters
    ----------
    params, lr, maximize, ema
        As for `SGD`.
    betas : (float, float)
    weight_decay : float
        Decoupled, as in `AdamW`.

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Chen et al.: Symbolic discovery of optimization algorithms, 2023.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0, 3.0])
    >>> opt = fl.optim.Lion(w, lr=0.25)
    >>> opt.step(np.array([3.0, -0.1, 0.0]))
    >>> w
    array([0.75, 2.25, 3.  ])
    """

    _states = ("exp_avg",)
    _rule = staticmethod(_lion)
    _settled = 0

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, *, maximize=False, ema=None):
        self._start(params, locals())


def lion_step(param, grad, exp_avg, *, lr, step=1, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
    """One step of `Lion`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    exp_avg : array
        The average of gradients, like `param`, zeros before the first step, changed.
    step : int
        1, 2, ... as for other rules; every step of this one is the same.
    lr, betas, weight_decay, maximize
        As for `Lion`, numbers only.

    Raises
    ------
    ValueError, TypeError
        As for `Lion`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, m = np.array([1.0, 2.0]), np.zeros(2)
    >>> fl.optim.lion_step(w, np.array([3.0, -0.1]), m, lr=0.25)
    >>> w
    array([0.75, 2.25])
    """
    step_one(
        _lion, param, grad, {"exp_avg": exp_avg}, step, maximize,
        lr=lr, betas=betas, weight_decay=weight_decay,
    )  # fmt: skip


def _rprop(step, scale, lr, etas=(0.5, 1.2), step_sizes=(1e-6, 50)):
    return "rprop_step", (scale, lr, step == 1, *etas, *step_sizes)


class Rprop(Optimizer):
    r"""Resilient backpropagation: each element has a step size of its own, and only signs count.

    Where the gradient keeps its sign, the size :math:`s` grows by ``etas[1]``; where it turns, it
    shrinks by ``etas[0]``, and the step is left out and its gradient forgotten. Sizes stay within
    ``step_sizes``. Then

    .. math:: \theta \leftarrow \theta - s\, \operatorname{sign}(g)

    Parameters
    ----------
    params, maximize, ema
        As for `SGD`.
    lr : float or callable
        The first size of all steps.
    etas, step_sizes : (float, float)

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Riedmiller, Braun: A direct adaptive method for faster backpropagation learning, 1993.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.Rprop(w, lr=0.5)
    >>> opt.step(np.array([3.0, -0.1]))
    >>> opt.step(np.array([2.0, 0.3]))
    >>> w
    array([-0.1,  2.5])
    """

    _states = ("prev", "step_size")
    _rule = staticmethod(_rprop)
    _settled = 1

    def __init__(self, params, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50), *, maximize=False, ema=None):
        self._start(params, locals())


def rprop_step(
    param, grad, prev, step_size,
    *, step, lr, etas=(0.5, 1.2), step_sizes=(1e-6, 50), maximize=False,
):  # fmt: skip
    """One step of `Rprop`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    prev, step_size : array
        The last gradient and the size of each step, like `param`, changed.
    step : int
        At step 1 `step_size` holds nothing yet and begins as `lr`; `prev` must be zeros.
    lr, etas, step_sizes, maximize
        As for `Rprop`, numbers only.

    Raises
    ------
    ValueError, TypeError
        As for `Rprop`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, prev, size = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.rprop_step(w, np.array([3.0, -0.1]), prev, size, step=1, lr=0.5)
    >>> w, size
    (array([0.5, 2.5]), array([0.5, 0.5]))
    """
    step_one(
        _rprop, param, grad, {"prev": prev, "step_size": step_size}, step, maximize,
        lr=lr, etas=etas, step_sizes=step_sizes,
    )  # fmt: skip
