"""Steps that look at a matrix as a whole: Adafactor, Muon. The matrix arithmetic is NumPy's."""

from math import isnan, sqrt

import numpy as np

from . import _check
from ._base import Optimizer
from ._tree import names


def _decayed(step, scale, lr, weight_decay=0):
    return "decayed_step", (1 - lr * weight_decay,)


class _MatrixOptimizer(Optimizer):
    """Directions are computed tensor by tensor, and applied to all parameters in one pass."""

    _of_elements = False

    def _directions(self, grads, scale, values):
        directions, changes = list(grads), []
        with np.errstate(all="ignore"):
            for i, grad in enumerate(grads):
                if grad is not None and grad.size:
                    # in C order whatever the parameter's: sums and products then have the same bits
                    grad = np.multiply(
                        scale, grad.reshape(self._params[i].shape, order=self._orders[i]), order="C"
                    )
                    direction, states = self._direction(i, grad, values[0])
                    directions[i] = np.ascontiguousarray(direction.ravel(self._orders[i]), grad.dtype)
                    changes += [(np.copyto, (self._state[name][i], state)) for name, state in states.items()]
        return directions, changes


def _mean_square(grad, axis):
    """The mean of squares along one of the last two axes, kept; summed in float64."""
    kept = "...i" if axis == -1 else "...j"
    total = np.einsum(f"...ij,...ij->{kept}", grad, grad, dtype=np.float64)
    return np.expand_dims(total, axis) / grad.shape[axis]


def _root_mean_square(array):
    flat = array.ravel()
    return sqrt(np.einsum("i,i->", flat, flat, dtype=np.float64) / flat.size)


class Adafactor(_MatrixOptimizer):
    r"""Adafactor: second moments of a matrix from the averages of its rows and columns.

    For a parameter :math:`\theta` of at least two axes, of which the last two are the matrix, at step t

    .. math::

        R \leftarrow R + t^{c} (\operatorname{mean}_\text{row} g^2 - R), \qquad
        C \leftarrow C + t^{c} (\operatorname{mean}_\text{column} g^2 - C), \qquad
        V = \frac{R\, C}{\max(\operatorname{mean} R, \varepsilon_1)}

    where :math:`c` is ``beta2_decay``; for fewer axes V is the average of :math:`g^2` itself. Then with
    :math:`U = g / \sqrt{\max(V, \varepsilon_1^2)}` and RMS the root mean square

    .. math::

        \alpha = \max(\varepsilon_2, \operatorname{RMS}(\theta))\, \min(\text{lr}, 1 / \sqrt t), \qquad
        \theta \leftarrow (1 - \text{lr} \cdot \text{weight\_decay})\, \theta
        - \frac{\alpha\, U}{\max(1, \operatorname{RMS}(U) / d)}

    Parameters
    ----------
    params, lr, maximize, ema
        As for `SGD`.
    beta2_decay : float
        At most 0.
    eps : (float or None, float)
        None is the spacing of the parameter's dtype at 1.
    d : float
        Largest root mean square of U, at least 1.
    weight_decay : float

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Shazeer, Stern: Adafactor, adaptive learning rates with sublinear memory cost, 2018.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.ones((2, 3))
    >>> opt = fl.optim.Adafactor(w, lr=0.1)
    >>> opt.step(np.array([[1.0, 2.0, -3.0], [2.0, 4.0, -6.0]]))
    >>> w.round(6)
    array([[0.9, 0.9, 1.1],
           [0.9, 0.9, 1.1]])
    """

    _rule = staticmethod(_decayed)
    _settled = 0
    _checks = {"eps": _check.two_eps}

    def __init__(
        self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0,
        *, maximize=False, ema=None,
    ):  # fmt: skip
        self._start(params, locals())
        shapes = [p.shape for p in self._params]
        factored = {
            "row_var": [(*s[:-1], 1) if len(s) > 1 else None for s in shapes],
            "col_var": [(*s[:-2], 1, s[-1]) if len(s) > 1 else None for s in shapes],
            "variance": [s if len(s) < 2 else None for s in shapes],
        }
        for name, shapes in factored.items():
            self._state[name] = [None if s is None else np.zeros(s, t) for s, t in zip(shapes, self._dtypes)]

    def _direction(self, i, grad, lr):
        param, step = self._params[i], int(self._updates()[i]) + 1
        weight = step**self.beta2_decay
        eps1, eps2 = self.eps
        if eps1 is None:
            eps1 = float(np.finfo(grad.dtype).eps)
        squares = (
            {"row_var": _mean_square(grad, -1), "col_var": _mean_square(grad, -2)}
            if grad.ndim > 1
            else {"variance": grad * grad}
        )
        states = {}
        for name, square in squares.items():
            old = self._state[name][i]
            states[name] = (old + weight * (square - old) if weight < 1 else square).astype(grad.dtype)
        if grad.ndim > 1:
            mean = states["row_var"].mean(axis=-2, keepdims=True)
            estimate = states["row_var"] * states["col_var"] / np.maximum(mean, eps1)
        else:
            estimate = states["variance"]
        direction = grad / np.sqrt(np.maximum(estimate, eps1 * eps1))
        alpha = max(eps2, _root_mean_square(param)) * min(lr, 1 / sqrt(step))
        direction *= alpha / max(1.0, _root_mean_square(direction) / self.d)
        return direction, states

    def _numbers(self):
        # NaN stands for None, which no file of arrays holds
        first, second = self.eps
        return super()._numbers() | {"eps": (np.nan if first is None else first, second)}

    def _load_settings(self, state):
        super()._load_settings(state)
        first, second = self.eps
        self.eps = (None if isnan(first) else first, second)


class Muon(_MatrixOptimizer):
    r"""Muon: momentum whose singular values are brought near 1.

    With momentum :math:`\mu`, for each parameter :math:`\theta`, an A x B matrix,

    .. math::

        b \leftarrow \mu b + (1 - \mu) g, \qquad
        X = (1 - \mu) g + \mu b, \qquad
        \theta \leftarrow (1 - \text{lr} \cdot \text{weight\_decay})\, \theta
        - \text{lr}\, r\, \operatorname{NS}(X)

    where :math:`X = b` unless ``nesterov``. NS divides X by its Frobenius norm (at least ``eps``), and
    repeats ``ns_steps`` times :math:`X \leftarrow a X + (b\, G + c\, G^2) X` with :math:`G = X X^T`.
    The iteration runs in the parameter's dtype.

    Parameters
    ----------
    params : array, list, tuple or dict of arrays
        Two axes each.
    lr, ema
        As for `SGD`.
    weight_decay, momentum : float
    nesterov : bool
    ns_coefficients : (float, float, float)
        a, b and c.
    eps : float
    ns_steps : int
        In [1, 100).
    adjust_lr_fn : {None, "original", "match_rms_adamw"}
        r is sqrt(max(1, A / B)), or with "match_rms_adamw" 0.2 sqrt(max(A, B)).

    Raises
    ------
    ValueError
        As for `SGD`; a parameter that has not two axes.
    TypeError
        As for `SGD`.

    References
    ----------
    Jordan et al.: Muon, an optimizer for hidden layers in neural networks, 2024.
    Liu et al.: Muon is scalable for LLM training, 2025.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.zeros((2, 2))
    >>> opt = fl.optim.Muon(w, lr=1.0, ns_steps=12, ns_coefficients=(1.5, -0.5, 0.0))
    >>> opt.step(np.array([[3.0, 0.0], [0.0, -4.0]]))
    >>> w.round(6)
    array([[-1.,  0.],
           [ 0.,  1.]])
    """

    _rule = staticmethod(_decayed)
    _settled = 0
    _states = ("momentum_buffer",)

    def __init__(
        self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True,
        ns_coefficients=(3.4445, -4.775, 2.0315), eps=1e-7, ns_steps=5, adjust_lr_fn=None, *, ema=None,
    ):  # fmt: skip
        self._start(params, locals())
        for param, name in zip(self._params, names("params", self._keys)):
            if param.ndim != 2:
                raise ValueError(f"{name} has shape {param.shape}; Muon takes matrices, of two axes")

    def _direction(self, i, grad, lr):
        a, b, c = self.ns_coefficients
        momentum = self._now("momentum")
        buffer = momentum * np.ascontiguousarray(self._state["momentum_buffer"][i]) + (1 - momentum) * grad
        x = (1 - momentum) * grad + momentum * buffer if self.nesterov else buffer
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / max(np.linalg.norm(x), self.eps)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        rows, columns = grad.shape
        wide = self.adjust_lr_fn == "match_rms_adamw"
        ratio = 0.2 * sqrt(max(rows, columns)) if wide else sqrt(max(1, rows / columns))
        return lr * ratio * (x.T if tall else x), {"momentum_buffer": buffer}
