"""Adam and its family: steps scaled by running moments of the gradient."""

from math import sqrt
from threading import Lock

import numpy as np

from ..kernels.tensors import Tensors
from . import _check
from ._base import Optimizer, step_one
from ._tree import matched, names


def _split(weight_decay, lr, decoupled):
    """The decay as a penalty on the gradient, and as a factor on the parameter."""
    return (0.0, 1 - lr * weight_decay) if decoupled and weight_decay != 0 else (weight_decay, 1.0)


def _adam(
    step, scale, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False,
    decoupled_weight_decay=False,
):  # fmt: skip
    beta1, beta2 = betas
    correction = sqrt(1 - beta2**step)
    penalty, decay = _split(weight_decay, lr, decoupled_weight_decay)
    return "adam_amsgrad_step" if amsgrad else "adam_step", (
        scale, penalty, decay, 1 - beta1, beta2, 1 - beta2,
        lr * correction / (1 - beta1**step), eps * correction,
    )  # fmt: skip


class Adam(Optimizer):
    r"""Adam: steps scaled by running moments of the gradient.

    With :math:`g` the gradient plus ``weight_decay`` times the parameter :math:`\theta`, at step t

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        \theta \leftarrow \theta
        - \text{lr}\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \varepsilon}

    Parameters
    ----------
    params : array, list, tuple or dict of arrays
        float32 or float64, any layout, updated in place.
    lr : float or callable
        Learning rate, or a schedule: step (0, 1, ...) -> value.
    betas : (float, float)
    eps, weight_decay : float
    amsgrad : bool
        Divide by the largest v so far.
    maximize : bool
    decoupled_weight_decay : bool
        Multiply the parameter by 1 - lr * weight_decay instead: `AdamW`.
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
    Kingma, Ba: Adam, a method for stochastic optimization, 2015.
    Reddi, Kale, Kumar: On the convergence of Adam and beyond, 2018.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.Adam({"w": w}, lr=0.1)
    >>> opt.step({"w": np.array([3.0, -3.0])})
    >>> w.round(6)
    array([0.9, 2.1])
    """

    _rule = staticmethod(_adam)

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False,
        *, maximize=False, decoupled_weight_decay=False, ema=None,
    ):  # fmt: skip
        self._states = "exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * bool(amsgrad)
        self._start(params, locals())


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameter is first multiplied by 1 - lr * weight_decay.

    Parameters and errors are those of `Adam`.

    References
    ----------
    Loshchilov, Hutter: Decoupled weight decay regularization, 2019.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.AdamW(w, lr=0.1, weight_decay=0.5)
    >>> opt.step(np.array([3.0, -3.0]))
    >>> w.round(6)
    array([0.85, 2.  ])
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False,
        *, maximize=False, ema=None,
    ):  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            maximize=maximize, decoupled_weight_decay=True, ema=ema,
        )  # fmt: skip


def adam_step(
    param, grad, exp_avg, exp_avg_sq,
    *, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, maximize=False, max_exp_avg_sq=None,
    decoupled_weight_decay=False,
):  # fmt: skip
    """One step of `Adam`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    exp_avg, exp_avg_sq : array
        Running moments like `param`, zeros before the first step, changed.
    step : int
        1 for the first step, 2 for the second, ...
    lr, betas, eps, weight_decay, maximize, decoupled_weight_decay
        As for `Adam`, numbers only.
    max_exp_avg_sq : array, optional
        Like `param`, zeros before the first step, changed: the step is AMSGrad's.

    Raises
    ------
    ValueError, TypeError
        As for `Adam`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.adam_step(w, np.array([3.0, -3.0]), m, v, step=1, lr=0.1)
    >>> w.round(6), m.round(6), v.round(6)
    (array([0.9, 2.1]), array([ 0.3, -0.3]), array([0.009, 0.009]))
    """
    states = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    amsgrad = max_exp_avg_sq is not None
    if amsgrad:
        states["max_exp_avg_sq"] = max_exp_avg_sq
    step_one(
        _adam, param, grad, states, step, maximize,
        lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
        decoupled_weight_decay=decoupled_weight_decay,
    )  # fmt: skip


def adamw_step(
    param, grad, exp_avg, exp_avg_sq,
    *, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, maximize=False, max_exp_avg_sq=None,
):  # fmt: skip
    """One step of `AdamW`, in place: `adam_step` with decoupled weight decay.

    Parameters and errors are those of `adam_step`.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.adamw_step(w, np.array([3.0, -3.0]), m, v, step=1, lr=0.1, weight_decay=0.5)
    >>> w.round(6)
    array([0.85, 2.  ])
    """
    adam_step(
        param, grad, exp_avg, exp_avg_sq,
        step=step, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize,
        max_exp_avg_sq=max_exp_avg_sq, decoupled_weight_decay=True,
    )  # fmt: skip


def _adamax(step, scale, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
    beta1, beta2 = betas
    return "adamax_step", (scale, weight_decay, 1 - beta1, beta2, lr / (1 - beta1**step), eps)


class Adamax(Optimizer):
    r"""Adamax: Adam with the largest gradient in place of the mean square.

    With :math:`g` the gradient plus ``weight_decay`` times the parameter :math:`\theta`, at step t

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        u \leftarrow \max(\beta_2 u,\, |g| + \varepsilon), \qquad
        \theta \leftarrow \theta - \frac{\text{lr}}{1 - \beta_1^t} \frac{m}{u}

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, maximize, ema
        As for `Adam`.

    Raises
    ------
    ValueError, TypeError
        As for `Adam`.

    References
    ----------
    Kingma, Ba: Adam, a method for stochastic optimization, 2015, section 7.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.Adamax(w, lr=0.5)
    >>> opt.step(np.array([3.0, -3.0]))
    >>> w.round(6)
    array([0.5, 2.5])
    """

    _states = ("exp_avg", "exp_inf")
    _rule = staticmethod(_adamax)

    def __init__(
        self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, *, maximize=False, ema=None
    ):
        self._start(params, locals())


def adamax_step(
    param, grad, exp_avg, exp_inf,
    *, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, maximize=False,
):  # fmt: skip
    """One step of `Adamax`, in place.

    Parameters
    ----------
    param, grad, exp_avg, step, lr, betas, eps, weight_decay, maximize
        As for `adam_step`.
    exp_inf : array
        The decayed largest gradient, like `param`, zeros before the first step, changed.

    Raises
    ------
    ValueError, TypeError
        As for `Adamax`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, m, u = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.adamax_step(w, np.array([3.0, -3.0]), m, u, step=1, lr=0.5)
    >>> w.round(6), u.round(6)
    (array([0.5, 2.5]), array([3., 3.]))
    """
    step_one(
        _adamax, param, grad, {"exp_avg": exp_avg, "exp_inf": exp_inf}, step, maximize,
        lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
    )  # fmt: skip


def _mu(step, beta1, momentum_decay):
    return beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))


class _Products:
    """mu_1 mu_2 ... mu_t for t = 1, 2, ...: each is computed once, until they are nothing beside 1."""

    def __init__(self):
        self.lists, self.lock = {}, Lock()

    def __call__(self, step, beta1, momentum_decay):
        with self.lock:
            products = self.lists.setdefault((beta1, momentum_decay), [1.0])
            while len(products) <= step and products[-1] > 1e-30:
                products.append(products[-1] * _mu(len(products), beta1, momentum_decay))
        return products[int(min(step, len(products) - 1))]


_mu_product = _Products()


def _nadam(
    step, scale, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3,
    decoupled_weight_decay=False,
):  # fmt: skip
    beta1, beta2 = betas
    correction = sqrt(1 - beta2**step)
    penalty, decay = _split(weight_decay, lr, decoupled_weight_decay)
    mu, mu_next = _mu(step, beta1, momentum_decay), _mu(step + 1, beta1, momentum_decay)
    product = _mu_product(step, beta1, momentum_decay)
    return "nadam_step", (
        scale, penalty, decay, 1 - beta1, beta2, 1 - beta2, lr * correction * (1 - mu) / (1 - product),
        lr * correction * mu_next / (1 - product * mu_next), eps * correction,
    )  # fmt: skip


class NAdam(Optimizer):
    r"""NAdam: Adam with Nesterov's momentum, which warms up.

    With m and v as in `Adam` and :math:`\mu_t = \beta_1 (1 - 0.96^{t \psi} / 2)`, where
    :math:`\psi` is ``momentum_decay``, at step t

    .. math::

        \theta \leftarrow \theta - \frac{\text{lr}}{\sqrt{v / (1 - \beta_2^t)} + \varepsilon}
        \left( \frac{(1 - \mu_t)\, g}{1 - \prod_{i \le t} \mu_i}
        + \frac{\mu_{t+1}\, m}{1 - \prod_{i \le t+1} \mu_i} \right)

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, ema
        As for `Adam`.
    momentum_decay : float

    Raises
    ------
    ValueError, TypeError
        As for `Adam`.

    References
    ----------
    Dozat: Incorporating Nesterov momentum into Adam, 2016.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.NAdam(w, lr=0.1)
    >>> opt.step(np.array([3.0, -3.0]))
    >>> w.round(6)
    array([0.894355, 2.105645])
    """

    _states = ("exp_avg", "exp_avg_sq")
    _rule = staticmethod(_nadam)

    def __init__(
        self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3,
        decoupled_weight_decay=False, *, maximize=False, ema=None,
    ):  # fmt: skip
        self._start(params, locals())


def nadam_step(
    param, grad, exp_avg, exp_avg_sq,
    *, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3,
    decoupled_weight_decay=False, maximize=False,
):  # fmt: skip
    """One step of `NAdam`, in place.

    Parameters
    ----------
    param, grad, exp_avg, exp_avg_sq, step, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize
        As for `adam_step`.
    momentum_decay : float
        The same at every step so far.

    Raises
    ------
    ValueError, TypeError
        As for `NAdam`; shapes or dtypes that differ. Nothing has changed.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.nadam_step(w, np.array([3.0, -3.0]), m, v, step=1, lr=0.1)
    >>> w.round(6)
    array([0.894355, 2.105645])
    """
    step_one(
        _nadam, param, grad, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}, step, maximize,
        lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay,
        decoupled_weight_decay=decoupled_weight_decay,
    )  # fmt: skip


def _radam(step, scale, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled_weight_decay=False):
    beta1, beta2 = betas
    penalty, decay = _split(weight_decay, lr, decoupled_weight_decay)
    correction, size = 1 - beta2**step, lr / (1 - beta1**step)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / correction
    rectified = length > 5
    if rectified:
        size *= sqrt(
            (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length) * correction
        )
    return "radam_step", (
        scale, penalty, decay, 1 - beta1, beta2, 1 - beta2, size, rectified, eps if rectified else 1.0,
    )  # fmt: skip


class RAdam(Optimizer):
    r"""RAdam: Adam that begins as plain momentum, until its second moment can be trusted.

    With m and v as in `Adam`, :math:`\rho_\infty = 2 / (1 - \beta_2) - 1` and
    :math:`\rho = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t)`, at step t

    .. math::

        \theta \leftarrow \theta - \text{lr}\, \frac{m}{1 - \beta_1^t}
        \begin{cases}
        \sqrt{\dfrac{(\rho - 4) (\rho - 2) \rho_\infty}{(\rho_\infty - 4) (\rho_\infty - 2) \rho}}\;
        \dfrac{\sqrt{1 - \beta_2^t}}{\sqrt v + \varepsilon} & \rho > 5 \\
        1 & \text{otherwise}
        \end{cases}

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, ema
        As for `Adam`.

    Raises
    ------
    ValueError, TypeError
        As for `Adam`.

    References
    ----------
    Liu et al.: On the variance of the adaptive learning rate and beyond, 2020.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([1.0, 2.0])
    >>> opt = fl.optim.RAdam(w, lr=0.1)
    >>> opt.step(np.array([3.0, -3.0]))
    >>> w.round(6)
    array([0.7, 2.3])
    """

    _states = ("exp_avg", "exp_avg_sq")
    _rule = staticmethod(_radam)

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled_weight_decay=False,
        *, maximize=False, ema=None,
    ):  # fmt: skip
        self._start(params, locals())


def radam_step(
    param, grad, exp_avg, exp_avg_sq,
    *, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled_weight_decay=False, maximize=False,
):  # fmt: skip
    """One step of `RAdam`, in place.

    Parameters and errors are those of `adam_step`.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.radam_step(w, np.array([3.0, -3.0]), m, v, step=1, lr=0.1)
    >>> w.round(6)
    array([0.7, 2.3])
    """
    step_one(
        _radam, param, grad, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}, step, maximize,
        lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
        decoupled_weight_decay=decoupled_weight_decay,
    )  # fmt: skip


class SparseAdam(Optimizer):
    r"""Adam on the rows that have a gradient: embeddings, of which a batch touches few.

    `step` takes (rows, values) for each parameter: the rows' indices, and an array of their
    gradients. Rows named twice have their gradients added. Rows not named, and their moments,
    stay as they are. The bias corrections count the steps, not the uses of a row. With m and v as in
    `Adam`, in rows that are named

    .. math::

        \theta \leftarrow \theta
        - \text{lr}\, \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}\, \frac{m}{\sqrt v + \varepsilon}

    Parameters
    ----------
    params, maximize
        As for `Adam`.
    lr, eps : float
        Above 0; lr may be a schedule.
    betas : (float, float)

    Raises
    ------
    ValueError, TypeError
        As for `Adam`.
    IndexError
        `step` with a row outside a parameter. Nothing has changed.

    References
    ----------
    Kingma, Ba: Adam, a method for stochastic optimization, 2015.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> table = np.zeros((4, 2))
    >>> opt = fl.optim.SparseAdam(table, lr=0.5)
    >>> opt.step(([1, 3, 1], np.ones((3, 2))))
    >>> table.round(6)
    array([[ 0. ,  0. ],
           [-0.5, -0.5],
           [ 0. ,  0. ],
           [-0.5, -0.5]])
    """

    _of_elements = False
    _states = ("exp_avg", "exp_avg_sq")
    _checks = {"lr": _check.positive_schedule, "eps": _check.positive}

    @staticmethod
    def _rule(step, scale, lr, betas, eps):
        # the reordered algorithm of Kingma and Ba's section 2: eps stands beside the uncorrected root
        return _adam(step, scale, lr, betas, eps / sqrt(1 - betas[1] ** step))

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        self._start(params, locals())

    def step(self, grads, *, grad_scale=1.0):
        """Update the named rows in place.

        Parameters
        ----------
        grads : (rows, values), or a list, tuple or dict of such pairs
            Structured as the parameters: integers (k,), and gradients of the shape ``(k, *param.shape[1:])``.
            None leaves a parameter and its states alone.
        grad_scale : float
            Factor on every gradient.

        Raises
        ------
        ValueError, TypeError, IndexError
            Structure, shape, dtype or rows do not fit. Nothing has changed.
        """
        scale = -grad_scale if self.maximize else grad_scale
        pairs = [
            (i, *_check.rows(pair, name, self._params[i].shape, self._dtypes[i]))
            for i, (pair, name) in enumerate(zip(matched(grads, self._keys), names("grads", self._keys)))
            if pair is not None
        ]
        values, updates = self._values(), self._updates().tolist()
        jobs, changes = [], []
        for i, rows, grad in pairs:
            if grad.size:
                arrays = self._params[i], *(self._state[name][i] for name in self._states)
                parts = [np.ascontiguousarray(array[rows], grad.dtype) for array in arrays]
                formula, scalars = self._rule(updates[i] + 1, scale, *values)
                jobs.append((formula, Tensors([parts]), [grad], scalars))
                changes += [(array.__setitem__, (rows, part)) for array, part in zip(arrays, parts)]
        self._run(jobs, changes, [i for i, *_ in pairs])
