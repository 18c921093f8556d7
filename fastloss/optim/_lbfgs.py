"""L-BFGS, with a line search for the strong Wolfe conditions."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from . import _check
from ._base import Optimizer
from ._tree import matched, names


@dataclass
class _Point:
    """A trial step t along the direction: the loss there, its gradient, and its slope along the direction."""

    t: float
    loss: float
    grad: np.ndarray
    slope: float


def _cubic_minimum(p, q, low, high):
    """Where the cubic through losses and slopes of both points is least, within [low, high]."""
    d1 = p.slope + q.slope - 3 * (p.loss - q.loss) / (p.t - q.t)
    square = d1 * d1 - p.slope * q.slope
    if not square >= 0:
        return (low + high) / 2
    if p.t > q.t:
        p, q = q, p
    d2 = sqrt(square)
    at = q.t - (q.t - p.t) * ((q.slope + d2 - d1) / (q.slope - p.slope + 2 * d2))
    return min(max(at, low), high)


def _strong_wolfe(evaluate, start, t, size, tolerance, most, c1=1e-4, c2=0.9):
    """The best _Point found in `most` further tries (Nocedal and Wright, algorithms 3.5 and 3.6).

    evaluate(t) -> _Point; start is the point of step 0; size is the largest element of the direction.
    """

    def too_high(point):
        return point.loss > start.loss + c1 * point.t * start.slope

    def flat(point):
        return abs(point.slope) <= -c2 * start.slope

    before, point = start, evaluate(t)
    tries = 0
    while tries < most:
        if too_high(point) or (tries > 1 and point.loss >= before.loss):
            break
        if flat(point):
            return point
        if point.slope >= 0:
            break
        t = _cubic_minimum(before, point, point.t + 0.01 * (point.t - before.t), 10 * point.t)
        before, point = point, evaluate(t)
        tries += 1
    else:
        before = start

    # the bracket: low has the smaller loss of the two
    low, high = (before, point) if before.loss <= point.loss else (point, before)
    stuck = False
    while tries < most and abs(high.t - low.t) * size >= tolerance:
        left, right = min(low.t, high.t), max(low.t, high.t)
        t = _cubic_minimum(low, high, left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near an end: once is forgiven
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = evaluate(t)
        tries += 1
        if too_high(point) or point.loss >= low.loss:
            high = point
            if not low.loss <= high.loss:
                low, high = high, low
        elif flat(point):
            return point
        else:
            if point.slope * (high.t - low.t) >= 0:
                high = low
            low = point
    return low


class LBFGS(Optimizer):
    r"""L-BFGS: steps along an estimate of the inverse Hessian, from the last changes of the gradient.

    `step` takes a closure that evaluates loss and gradients at the parameters as they are, and makes
    up to ``max_iter`` iterations

    .. math:: d = -H g, \qquad \theta \leftarrow \theta + t\, d

    with H from the last ``history_size`` pairs of steps and gradient changes (two-loop recursion). The
    step length t is ``lr``, the first one ``lr * min(1, 1 / sum |g|)``; a line search begins there.

    Parameters
    ----------
    params : array, list, tuple or dict of arrays
        float32 or float64, any layout, updated in place.
    lr : float or callable
    max_iter : int
        Iterations in a step.
    max_eval : int, optional
        Evaluations of the closure in a step; by default 5/4 of `max_iter`.
    tolerance_grad : float
        Stop when no element of the gradient is larger.
    tolerance_change : float
        Stop when neither loss nor parameters change by more.
    history_size : int
    line_search_fn : {None, "strong_wolfe"}

    Raises
    ------
    ValueError, TypeError
        As for `SGD`.

    References
    ----------
    Liu, Nocedal: On the limited memory BFGS method for large scale optimization, 1989.
    Nocedal, Wright: Numerical optimization, 2006, chapters 3 and 7.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w = np.array([-1.5, 2.0])
    >>> def closure():  # Rosenbrock's valley, least at (1, 1)
    ...     x, y = w
    ...     loss = (1 - x) ** 2 + 100 * (y - x * x) ** 2
    ...     return loss, np.array([2 * (x - 1) - 400 * x * (y - x * x), 200 * (y - x * x)])
    >>> opt = fl.optim.LBFGS(w, max_iter=100, line_search_fn="strong_wolfe")
    >>> float(opt.step(closure))
    12.5
    >>> w.round(4)
    array([1., 1.])
    """

    _of_elements = False

    def __init__(
        self, params, lr=1, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9,
        history_size=100, line_search_fn=None,
    ):  # fmt: skip
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        self._start(params, locals())
        self._evaluations = 0
        self._pairs = []  # (change of the gradient, step)
        self._last = None  # the last iteration's gradient and step
        self._scale = 1.0  # of the first estimate of H, the identity

    # Parameters and gradients as one vector

    def _vector(self):
        return np.concatenate([p.ravel() for p in self._params])

    def _assign(self, vector):
        at = 0
        for param in self._params:
            param[...] = vector[at : at + param.size].reshape(param.shape)
            at += param.size

    def _evaluate(self, closure):
        loss, grads = closure()
        self._evaluations += 1
        parts = []
        for i, (grad, name) in enumerate(zip(matched(grads, self._keys), names("grads", self._keys))):
            shape, dtype = self._params[i].shape, self._dtypes[i]
            parts.append(
                np.zeros(shape, dtype).ravel()
                if grad is None
                else _check.gradient(grad, name, shape, dtype).ravel()
            )
        return float(loss), np.concatenate(parts)

    def _direction(self, grad):
        """-H grad."""
        if self._last is None:
            return -grad
        last_grad, step = self._last
        change = grad - last_grad
        curvature = change @ step
        if curvature > 1e-10:
            self._pairs = [*self._pairs, (change, step)][-self.history_size :]
            self._scale = curvature / (change @ change)
        direction, weights = -grad, []
        inverse = [1 / (change @ step) for change, step in self._pairs]
        for (change, step), rho in zip(reversed(self._pairs), reversed(inverse)):
            weights.append(rho * (step @ direction))
            direction = direction - weights[-1] * change
        direction = self._scale * direction
        for (change, step), rho, weight in zip(self._pairs, inverse, reversed(weights)):
            direction = direction + (weight - rho * (change @ direction)) * step
        return direction

    def state_dict(self):
        """Copies of all states and settings, by flat string keys: fit for ``np.savez``."""
        empty = self._vector()[:0]
        changes, steps = zip(*self._pairs) if self._pairs else ([], [])
        last_grad, last_step = self._last or (empty, empty)
        return super().state_dict() | {
            "func_evals": np.int64(self._evaluations),
            "old_dirs": np.array(changes, empty.dtype),
            "old_stps": np.array(steps, empty.dtype),
            "H_diag": np.asarray(self._scale, empty.dtype)[()],
            "prev_flat_grad": last_grad.copy(),
            "d": last_step.copy(),
        }

    def load_state_dict(self, state):
        """Go on from a `state_dict`, to the bit.

        Raises
        ------
        ValueError
            Keys, shapes or dtypes do not fit these parameters. Nothing has changed.
        """
        state = {key: np.asarray(state[key]) for key in state}
        own = {
            key: state.pop(key)
            for key in ("func_evals", "old_dirs", "old_stps", "H_diag", "prev_flat_grad", "d")
            if key in state
        }
        vector = self._vector()
        if len(own) < 6 or any(
            own[key].shape not in ((vector.size,), (0,)) or own[key].dtype != vector.dtype
            for key in ("prev_flat_grad", "d")
        ):
            raise ValueError(
                f"state has {sorted(own)}; its vectors must have {vector.size} elements of {vector.dtype}"
            )
        super().load_state_dict(state)
        self._evaluations, self._scale = int(own["func_evals"]), own["H_diag"][()]
        self._pairs = list(zip(own["old_dirs"].copy(), own["old_stps"].copy()))
        self._last = (own["prev_flat_grad"].copy(), own["d"].copy()) if own["d"].size else None

    def step(self, closure):
        """Iterate until a tolerance, `max_iter` or `max_eval` is reached.

        Parameters
        ----------
        closure : callable
            Without arguments; returns (loss, grads), the gradients structured as the parameters.

        Returns
        -------
        float
            The loss before the step.

        Raises
        ------
        ValueError
            Structure, shape or dtype of the gradients differ from the parameters'. What the closure
            raises passes through. The parameters are then those of the last complete iteration.
        """
        with np.errstate(all="ignore"):
            return self._step(closure)

    def _step(self, closure):
        lr = self._now("lr")
        evaluated = self._evaluations
        first, grad = self._evaluate(closure)
        if np.abs(grad).max(initial=0.0) <= self.tolerance_grad:
            return first
        loss = first
        for iteration in range(1, self.max_iter + 1):
            direction = self._direction(grad)
            t = lr * min(1.0, 1 / np.abs(grad).sum()) if self._updates()[0] == 0 else lr
            self._since += 1
            slope = grad @ direction
            start = _Point(0.0, loss, grad, slope)
            if slope > -self.tolerance_change:
                self._last = grad, t * direction
                break
            point = self._moved(closure, start, t, direction, iteration, evaluated)
            self._last = grad, point.t * direction
            loss, grad = point.loss, point.grad
            if (
                self._evaluations - evaluated >= self.max_eval
                or np.abs(grad).max() <= self.tolerance_grad
                or np.abs(self._last[1]).max() <= self.tolerance_change
                or abs(loss - start.loss) < self.tolerance_change
            ):
                break
        self._steps += 1
        return first

    def _moved(self, closure, start, t, direction, iteration, evaluated):
        """The parameters moved along the direction, and the _Point there."""
        here = self._vector()

        def evaluate(t):
            self._assign(here + t * direction)
            loss, grad = self._evaluate(closure)
            return _Point(t, loss, grad, grad @ direction)

        try:
            if self.line_search_fn is not None:
                most = self.max_eval - (self._evaluations - evaluated)
                size = np.abs(direction).max()
                point = _strong_wolfe(evaluate, start, t, size, self.tolerance_change, most)
                self._assign(here + point.t * direction)
            elif iteration < self.max_iter:
                point = evaluate(t)
            else:  # nobody asks for the loss after the last iteration
                self._assign(here + t * direction)
                point = _Point(t, start.loss, start.grad, start.slope)
        except BaseException:
            self._assign(here)
            raise
        return point
