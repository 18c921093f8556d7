"""Schedules: plain callables step -> value, for ``lr=`` and ``momentum=`` of the optimizers.

Steps count from 0. Schedules are immutable values: they compare, print and pickle, and `join` puts one after
another. `ReduceOnPlateau` alone has a memory: it is told of a loss by ``update``.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import cos, floor, inf, log2, pi

from ._check import number

__all__ = [
    "ReduceOnPlateau",
    "cosine",
    "exponential_decay",
    "join",
    "linear_warmup",
    "multistep",
    "one_cycle",
    "step_decay",
    "sutskever_momentum",
]


def _positive(name, value):
    return number(name, value, "a number > 0", lambda v: v > 0)


def _between(low, high, part):
    """From low at part 0 to high at part 1, along half a cosine."""
    return high + (low - high) * (1 + cos(pi * part)) / 2


def _at(schedule, step):
    """The value of a schedule, or of a number, at a step."""
    return schedule(step) if callable(schedule) else schedule


class _Schedule:
    """A value at every step, which `_rule` makes of the step and the fields."""

    def __call__(self, step):
        return self._rule(step, **vars(self))


@dataclass(frozen=True)
class step_decay(_Schedule):
    r"""A value that drops by a factor every `step_size` steps.

    .. math:: \text{value} \cdot \text{gamma}^{\lfloor \text{step} / \text{step\_size} \rfloor}

    Parameters
    ----------
    value : float
    step_size : int
        Above 0.
    gamma : float

    Raises
    ------
    ValueError
        A step_size that is not positive.

    References
    ----------
    Goodfellow, Bengio, Courville: Deep learning, 2016, section 8.3.1. torch: StepLR.

    Examples
    --------
    >>> import fastloss as fl
    >>> rate = fl.schedules.step_decay(0.5, step_size=10)
    >>> rate(0), rate(9), rate(10)
    (0.5, 0.5, 0.05)
    """

    value: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self):
        _positive("step_size", self.step_size)

    @staticmethod
    def _rule(step, value, step_size, gamma):
        return value * gamma ** (step // step_size)


@dataclass(frozen=True)
class exponential_decay(_Schedule):
    r"""A value that shrinks by a factor every step, or over every `steps` steps.

    .. math:: \text{value} \cdot \text{gamma}^{\text{step} / \text{steps}}

    Parameters
    ----------
    value, gamma : float
    steps : float
        Above 0.
    end : float
        The value does not fall below it (nor rise above it for gamma > 1).

    Raises
    ------
    ValueError
        `steps` that are not positive.

    References
    ----------
    torch: ExponentialLR. optax: exponential_decay.

    Examples
    --------
    >>> import fastloss as fl
    >>> rate = fl.schedules.exponential_decay(1.0, gamma=0.5)
    >>> rate(0), rate(1), rate(3)
    (1.0, 0.5, 0.125)
    """

    value: float
    gamma: float
    steps: float = 1
    end: float | None = None

    def __post_init__(self):
        _positive("steps", self.steps)

    @staticmethod
    def _rule(step, value, gamma, steps, end):
        value = value * gamma ** (step / steps)
        if end is None:
            return value
        return min(value, end) if gamma > 1 else max(value, end)


@dataclass(frozen=True)
class multistep(_Schedule):
    r"""A value that drops by a factor at each milestone.

    .. math:: \text{value} \cdot \text{gamma}^{\#\{m : m \le \text{step}\}}

    Parameters
    ----------
    value : float
    milestones : sequence of int
        Ascending.
    gamma : float

    Raises
    ------
    ValueError
        Milestones that do not ascend.

    References
    ----------
    torch: MultiStepLR.

    Examples
    --------
    >>> import fastloss as fl
    >>> rate = fl.schedules.multistep(1.0, [2, 5], gamma=0.5)
    >>> [rate(step) for step in range(7)]
    [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    """

    value: float
    milestones: tuple
    gamma: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, "milestones", _ascending("milestones", self.milestones))

    @staticmethod
    def _rule(step, value, milestones, gamma):
        return value * gamma ** bisect_right(milestones, step)


def _ascending(name, steps):
    steps = tuple(steps)
    if any(a > b for a, b in pairwise(steps)):
        raise ValueError(f"{name} is {list(steps)}; it must ascend")
    return steps


@dataclass(frozen=True)
class cosine(_Schedule):
    r"""A value that falls along half a cosine, and stays at its end, or starts again.

    .. math:: \text{end} + (\text{value} - \text{end})\, \frac{1 + \cos(\pi\, t / \text{steps})}{2}

    where t is the step, at most ``steps``; with restarts, the steps since the last one.

    Parameters
    ----------
    value : float
    steps : int
        Above 0: length of the (first) fall.
    end : float
    restart : float, optional
        Start again from `value` after each fall, each this factor longer than the one before; at least 1.

    Raises
    ------
    ValueError
        `steps` that are not positive, `restart` below 1.

    References
    ----------
    Loshchilov, Hutter: SGDR, stochastic gradient descent with warm restarts, 2017. torch: CosineAnnealingLR
    and CosineAnnealingWarmRestarts.

    Examples
    --------
    >>> import fastloss as fl
    >>> rate = fl.schedules.cosine(1.0, steps=4)
    >>> [round(rate(step), 4) for step in range(6)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]
    >>> rate = fl.schedules.cosine(1.0, steps=2, restart=2)
    >>> [round(rate(step), 4) for step in range(7)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0]
    """

    value: float
    steps: int
    end: float = 0.0
    restart: float | None = None

    def __post_init__(self):
        _positive("steps", self.steps)
        if self.restart is not None:
            number("restart", self.restart, "a number >= 1", lambda v: v >= 1)

    @staticmethod
    def _rule(step, value, steps, end, restart):
        length, done = steps, min(step, steps)
        if restart == 1:
            done = step % length
        elif restart is not None:
            # falls 0, ..., n - 1 take steps * (restart^n - 1) / (restart - 1) together
            r = restart
            n = floor(log2(1 + step / length * (r - 1)) / log2(r) + 1e-9)
            done, length = step - length * (r**n - 1) / (r - 1), length * r**n
        return _between(value, end, done / length)


@dataclass(frozen=True)
class linear_warmup(_Schedule):
    r"""A value that rises in a straight line, and stays.

    .. math:: \text{start} + (\text{value} - \text{start}) \min(1, \text{step} / \text{steps})

    Parameters
    ----------
    value : float or callable
        What is reached; a schedule takes over, its own steps counted from the end of the rise.
    steps : int
        Above 0.
    start : float

    Raises
    ------
    ValueError
        `steps` that are not positive.

    References
    ----------
    Goyal et al.: Accurate, large minibatch SGD, training ImageNet in 1 hour, 2017, section 2.2.

    Examples
    --------
    >>> import fastloss as fl
    >>> rate = fl.schedules.linear_warmup(1.0, steps=4)
    >>> [rate(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    value: float
    steps: int
    start: float = 0.0

    def __post_init__(self):
        _positive("steps", self.steps)

    @staticmethod
    def _rule(step, value, steps, start):
        if step >= steps:
            return _at(value, step - steps)
        return start + (_at(value, 0) - start) * (step / steps)


@dataclass(frozen=True)
class one_cycle(_Schedule):
    r"""A value that rises to `value` and falls far below where it began, each along half a cosine.

    From ``value / div_factor`` at step 0 up to ``value`` at ``pct_start * steps - 1``, down to
    ``value / div_factor / final_div_factor`` at ``steps - 1``, where it stays.

    Parameters
    ----------
    value : float
        The largest value.
    steps : int
        Above 1.
    pct_start : float
        Part of the steps that rises, in [0, 1].
    div_factor, final_div_factor : float
        Above 0.

    Raises
    ------
    ValueError
        An argument out of range.

    References
    ----------
    Smith, Topin: Super-convergence, very fast training of neural networks using large learning rates, 2018.
    torch: OneCycleLR.

    Examples
    --------
    >>> import fastloss as fl
    >>> rate = fl.schedules.one_cycle(1.0, steps=9, pct_start=1 / 3)
    >>> [round(rate(step), 4) for step in range(9)]
    [0.04, 0.52, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067, 0.0]
    """

    value: float
    steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self):
        number("steps", self.steps, "a number > 1", lambda v: v > 1)
        number("pct_start", self.pct_start, "a number in [0, 1]", lambda v: 0 <= v <= 1)
        _positive("div_factor", self.div_factor)
        _positive("final_div_factor", self.final_div_factor)

    @staticmethod
    def _rule(step, value, steps, pct_start, div_factor, final_div_factor):
        first, top, last = value / div_factor, pct_start * steps - 1, steps - 1
        if step <= top and top > 0:
            return _between(first, value, step / top)
        return _between(value, first / final_div_factor, (min(step, last) - top) / (last - top))


@dataclass(frozen=True)
class sutskever_momentum(_Schedule):
    r"""Momentum that grows towards 1 as steps go by.

    .. math:: \min\left(1 - 2^{-1 - \log_2(\lfloor \text{step} / 250 \rfloor + 1)},\; \text{largest}\right)

    Parameters
    ----------
    largest : float
        In [0, 1]. The paper tries 0, 0.9, 0.99, 0.995 and 0.999.
    every : int
        Above 0: the paper's 250.

    Raises
    ------
    ValueError
        An argument out of range.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum, 2013, equation 5.

    Examples
    --------
    >>> import fastloss as fl
    >>> momentum = fl.schedules.sutskever_momentum(0.99)
    >>> momentum(0), momentum(250), momentum(750), momentum(100_000)
    (0.5, 0.75, 0.875, 0.99)
    """

    largest: float = 0.999
    every: int = 250

    def __post_init__(self):
        number("largest", self.largest, "a number in [0, 1]", lambda v: 0 <= v <= 1)
        _positive("every", self.every)

    @staticmethod
    def _rule(step, largest, every):
        return min(1 - 0.5 / (step // every + 1), largest)


@dataclass(frozen=True)
class join(_Schedule):
    """Schedules one after another, each counting its own steps from 0.

    Parameters
    ----------
    schedules : sequence of callables or floats
    boundaries : sequence of int
        Ascending, one fewer: the steps at which the next schedule begins.

    Raises
    ------
    ValueError
        Boundaries that do not ascend, or are not one fewer than the schedules.

    References
    ----------
    optax: join_schedules. torch: SequentialLR.

    Examples
    --------
    >>> import fastloss as fl
    >>> s = fl.schedules
    >>> rate = s.join([s.linear_warmup(1.0, 2), s.cosine(1.0, 4)], [2])
    >>> [round(rate(step), 4) for step in range(7)]
    [0.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    schedules: tuple
    boundaries: tuple

    def __post_init__(self):
        object.__setattr__(self, "schedules", tuple(self.schedules))
        object.__setattr__(self, "boundaries", _ascending("boundaries", self.boundaries))
        if len(self.boundaries) != len(self.schedules) - 1:
            raise ValueError(
                f"boundaries has {len(self.boundaries)} entries; it must have {len(self.schedules) - 1}, "
                "one fewer than schedules"
            )

    @staticmethod
    def _rule(step, schedules, boundaries):
        i = bisect_right(boundaries, step)
        return _at(schedules[i], step - (boundaries[i - 1] if i else 0))


class ReduceOnPlateau:
    """A value that drops by a factor when a loss has stopped falling.

    Tell it of a loss, once an epoch, by `update`; as a schedule it gives the value of now at any step.

    Parameters
    ----------
    value : float
    mode : {"min", "max"}
        Whether what is watched should fall or rise.
    factor : float
        Below 1.
    patience : int
        Updates without improvement that are borne.
    threshold : float
        An improvement is a change by more than this part of the best (`threshold_mode` "rel"), or by more
        than this ("abs").
    threshold_mode : {"rel", "abs"}
    cooldown : int
        Updates after a drop that do not count.
    min_value : float
    eps : float
        Drops smaller than this are left out.

    Raises
    ------
    ValueError
        An argument out of range.

    References
    ----------
    torch: ReduceLROnPlateau.

    Examples
    --------
    >>> import fastloss as fl
    >>> rate = fl.schedules.ReduceOnPlateau(1.0, factor=0.5, patience=1)
    >>> [rate.update(loss) for loss in (3.0, 2.0, 2.0, 2.0, 1.0)]
    [1.0, 1.0, 1.0, 0.5, 0.5]
    >>> rate(step=1000)
    0.5
    """

    def __init__(
        self, value, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
        min_value=0.0, eps=1e-8,
    ):  # fmt: skip
        for name, given, words in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):
            if given not in words:
                raise ValueError(f"{name} is {given!r}; it must be one of {', '.join(map(repr, words))}")
        number("factor", factor, "a number < 1", lambda v: v < 1)
        self.value, self.mode, self.factor, self.patience = value, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_value, self.eps = min_value, eps
        self.best = inf if mode == "min" else -inf
        self.bad, self.resting = 0, 0

    def _better(self, loss):
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * loss < sign * self.best * (1 - sign * self.threshold)
        return sign * loss < sign * self.best - self.threshold

    def update(self, loss):
        """Take note of a loss; return the value from now on."""
        loss = float(loss)
        if self._better(loss):
            self.best, self.bad = loss, 0
        else:
            self.bad += 1
        if self.resting > 0:
            self.resting -= 1
            self.bad = 0
        if self.bad > self.patience:
            reduced = max(self.value * self.factor, self.min_value)
            if self.value - reduced > self.eps:
                self.value = reduced
            self.resting, self.bad = self.cooldown, 0
        return self.value

    def __call__(self, step):
        return self.value

    def __repr__(self):
        return f"ReduceOnPlateau({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
