"""What every optimizer does: it keeps parameters and states and makes one pass over them a step."""

from inspect import signature
from itertools import combinations
from math import inf
from operator import itemgetter

import numpy as np

from .._config import compiled, kernels
from . import _check
from ._check import NATIVE
from ._memory import Host, memory_of
from ._tree import kind, leaves, matched, names

_engine = compiled()


def _finish(calls):
    """All calls, each (function, arguments): Ctrl-C waits until the step is finished."""
    interrupt = None
    for function, arguments in calls:
        try:
            function(*arguments)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _intervals(arrays):
    """Addresses where arrays begin, sorted, and the largest end among the first 1, 2, ... of them."""
    bounds = np.array(sorted(map(np.lib.array_utils.byte_bounds, arrays)), np.int64).reshape(-1, 2)
    return bounds[:, 0].copy(), np.maximum.accumulate(bounds[:, 1])


def _neighbours(arrays):
    """Pairs that may overlap: in order of address, those that begin before another has ended."""
    bounds = np.lib.array_utils.byte_bounds
    near = []
    for low, high, j in sorted((*bounds(array), j) for j, array in enumerate(arrays) if array.size):
        near = [(end, i) for end, i in near if end > low]
        yield from (sorted((i, j)) for _, i in near)
        near.append((high, j))


class _Group:
    """Parameters of one dtype and age: one call of the backend. `updates` leaves out what all have seen since."""

    __slots__ = "members", "tensors", "updates"

    def __init__(self, members, tensors, updates):
        self.members, self.tensors, self.updates = members, tensors, updates


class Optimizer:
    """Base of the optimizers.

    A subclass is its constructor, whose arguments become attributes of the same names, the names of its
    states, and a rule: (step, scale, lr, *settings) -> (formula, scalars), with step 1, 2, ... and
    scale the factor on the gradient.
    """

    _states = ()  # names of the states that are like their parameter
    _settled = inf  # updates after which a parameter's age changes nothing
    _checks = {}  # of settings for which they differ from other optimizers'
    _of_elements = True  # whether arrays on a device are taken
    maximize = False
    ema_decay = None

    def __init_subclass__(cls):
        if hasattr(cls, "_rule"):
            cls._arguments = itemgetter(*list(signature(cls._rule).parameters)[2:])

    def _start(self, params, arguments):
        """`arguments` are the constructor's locals()."""
        settings = {name: value for name, value in arguments.items() if name not in ("self", "params")}
        _check.settings(settings, self._checks)
        if "ema" in settings:
            settings["ema_decay"] = settings.pop("ema")
        for name, value in settings.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self._settings = tuple(settings)
        self._keys, arrays = leaves(params)
        if not arrays:
            raise ValueError("params is empty; it must hold at least one array")
        if len({*map(str, self._keys or ())}) < len(self._keys or ()):
            raise ValueError(f"params has keys {self._keys}; they must differ as text")
        labels = names("params", self._keys)
        self._memory = memory_of(arrays)
        if not (self._of_elements or self._memory is Host):
            raise TypeError(f"{type(self).__name__} takes no arrays on a CUDA device; params must be NumPy arrays")
        self._params = list(map(self._memory.writable, arrays, labels))
        _check.separate(self._params, labels, _neighbours(self._params))
        self._steps = 0
        self._base, self._since = np.zeros(len(arrays), np.int64), 0
        self._state = {name: list(map(self._memory.like, self._params)) for name in self._states}
        if self.ema_decay is not None:
            self._state["ema"] = list(map(self._memory.like, self._params, self._params))
        self._bind()

    def _bind(self):
        """What does not change from step to step: flat views; buffers for parameters that have none."""
        self._orders = list(map(self._memory.order, self._params))
        self._in_c_order = "F" not in self._orders
        self._dtypes = [NATIVE[p.dtype] for p in self._params]
        flat = self._memory.flat
        columns = [list(map(flat, self._params, self._orders))]
        for name in (*self._states, *["ema"] * ("ema" in self._state)):
            columns.append([flat(s, order) for s, order in zip(self._state[name], self._orders)])
        self._rows = list(zip(*columns))
        self._strided = [
            i for i, f in enumerate(columns[0]) if f.size and not np.may_share_memory(f, self._params[i])
        ]
        self._lows, self._highs = _intervals([*self._params, *(a for row in self._rows for a in row)])
        self._regroup(self._updates(), self._memory)

    def _regroup(self, updates, memory):
        """Parameters by what one call of the backend takes; _since counts the steps of all from here."""
        self._base, self._since = updates, 0
        self._groups = self._grouped(range(len(self._params)), memory)

    def _grouped(self, members, memory):
        groups = {}
        for i in members:
            if self._params[i].size:
                age = min(int(self._base[i]) + self._since, self._settled)
                groups.setdefault((self._dtypes[i], age), []).append(i)
        return [
            _Group(group, memory.tensors([self._rows[i] for i in group]), int(self._base[group[0]]))
            for group in groups.values()
        ]

    # Settings

    def _now(self, setting):
        value = getattr(self, setting)
        if type(value) is float and value >= 0:
            return value
        if callable(value):
            value = np.asarray(value(self._steps)).item()
        _check.number(setting, value)
        return float(value)

    def _values(self):
        """The arguments of the rule at this step: lr and other settings."""
        return self._now("lr"), *self._arguments(vars(self))[1:]

    # Gradients

    def _converted(self, memory, i, grad, name):
        """The gradient flat and native, apart from parameters and states; None where there is none."""
        if grad is None:
            return None
        flat = memory.gradient(grad, name, self._params[i].shape, self._dtypes[i], self._orders[i])
        low, high = np.lib.array_utils.byte_bounds(flat)
        before = np.searchsorted(self._lows, high)
        return memory.apart(flat) if before and self._highs[before - 1] > low else flat

    def _directions(self, grads, scale, values):
        """What the rule takes for gradients, and calls (function, arguments) that change states."""
        return grads, ()

    def step(self, grads, *, grad_scale=1.0, max_norm=None):
        """Update every parameter in place.

        Parameters
        ----------
        grads : array, list, tuple or dict of arrays
            Gradients, structured as the parameters, of their shapes and dtypes (float16 and
            bfloat16 are widened). None leaves a parameter and its states alone.
        grad_scale : float
            Factor on every gradient, in the same pass.
        max_norm : float, optional
            Scale the gradients down, in the same pass, to this 2-norm over all of them, as
            `clip_grad_norm`; `grads` itself does not change.

        Raises
        ------
        ValueError
            Structure, shape or dtype differ from the parameters'. Nothing has changed.
        """
        grads = matched(grads, self._keys)
        groups, memory = self._groups, self._memory.now()
        used = None
        if not (
            _engine is not None
            and memory is Host
            and self._in_c_order
            and _engine.matches(grads, self._params, self._lows, self._highs)
        ):
            labels = names("grads", self._keys)
            grads = [self._converted(memory, i, grad, name) for i, (grad, name) in enumerate(zip(grads, labels))]
            if any(grad is None for grad in grads):
                used = [i for i, grad in enumerate(grads) if grad is not None]
                groups = self._grouped(used, memory)
        scale, clip = -grad_scale if self.maximize else grad_scale, ()
        if max_norm is not None:
            scale, clip = memory.clipped(scale, max_norm, grads, groups)
        values = self._values()
        grads, changes = self._directions(grads, scale, values)
        jobs = []
        for group in groups:
            formula, scalars = evaluated(self._rule, group.updates + self._since + 1, scale, *values)
            if self.ema_decay is not None:
                formula, scalars = formula.replace("_step", "_ema_step"), (*scalars, 1 - self.ema_decay)
            whole = len(group.members) == len(grads)
            own = grads if whole else [grads[i] for i in group.members]
            jobs.append((formula, group.tensors, own, scalars, *clip))
        self._run(jobs, changes, used, memory)

    def _run(self, jobs, changes, used, memory=Host):
        calls = [(memory.step, job) for job in jobs]
        for i in self._strided:
            if used is None or i in used:
                param = self._params[i]
                buffer = self._rows[i][0].reshape(param.shape, order=self._orders[i])
                memory.copy(buffer, param)
                calls.append((memory.copy, (param, buffer)))
        _finish([*calls, *changes, (self._count, (used, memory))])

    def _count(self, used, memory):
        self._steps += 1
        if used is None:
            self._since += 1
        else:
            updates = self._updates()
            updates[used] += 1
            self._regroup(updates, memory)

    def _updates(self):
        """How many updates each parameter has seen."""
        return self._base + self._since

    # State

    @property
    def ema(self):
        """The averaged parameters, structured as the parameters; None without ``ema=``."""
        averages = self._state.get("ema") and list(map(self._memory.original, self._state["ema"]))
        if averages is None or self._keys is None:
            return averages and averages[0]
        return dict(zip(self._keys, averages)) if isinstance(self._keys, list) else averages

    def _named_states(self):
        for state, arrays in self._state.items():
            for key, array in zip(self._keys or [None], arrays):
                if array is not None:
                    yield state if self._keys is None else f"{state}.{key}", array

    def _numbers(self):
        """Settings that are kept in a state_dict: neither None nor functions."""
        settings = {name: getattr(self, name) for name in self._settings}
        return {k: v for k, v in settings.items() if v is not None and not callable(v)}

    def state_dict(self):
        """Copies of all states and settings, by flat string keys: fit for ``np.savez``.

        Schedules are functions and are left out; ``step`` is where they go on.
        """
        return {
            "step": np.int64(self._steps),
            "updates": self._updates(),
            **{name: np.asarray(value)[()] for name, value in self._numbers().items()},
            **{key: self._memory.host(array) for key, array in self._named_states()},
        }

    def load_state_dict(self, state):
        """Go on from a `state_dict`, to the bit; a setting that is a schedule here stays.

        Raises
        ------
        ValueError
            Keys, shapes or dtypes do not fit these parameters. Nothing has changed.
        """
        state = {key: np.asarray(state[key]) for key in state}
        states = dict(self._named_states())
        needed = {"step", "updates", *states}
        if odd := (needed - state.keys()) | (state.keys() - needed - {*self._settings}):
            raise ValueError(f"state lacks or must lack {sorted(odd)}, to fit this optimizer")
        for key, array in (*states.items(), ("updates", self._base)):
            came = state[key]
            if (came.shape, came.dtype) != (array.shape, array.dtype):
                raise ValueError(
                    f"state[{key!r}] has shape {came.shape} and dtype {came.dtype}; "
                    f"they must be {array.shape} and {array.dtype}"
                )
        memory = self._memory.now()
        for key, array in states.items():
            memory.load(array, state[key])
        self._load_settings(state)
        self._steps = int(state["step"])
        self._regroup(state["updates"].copy(), memory)

    def _load_settings(self, state):
        for name in self._settings:
            if name in state and not callable(getattr(self, name)):
                value = state[name].tolist()
                setattr(self, name, tuple(value) if isinstance(value, list) else value)

    def __getstate__(self):
        # views do not survive a pickle or a copy as views
        derived = ("_rows", "_groups", "_lows", "_highs")
        return {name: value for name, value in vars(self).items() if name not in derived}

    def __setstate__(self, state):
        vars(self).update(state)
        self._bind()

    def __repr__(self):
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._settings)
        return f"{type(self).__name__}(<{kind(self._keys)}>, {settings})"


def evaluated(rule, step, *values, **settings):
    """The formula of a step and its scalars."""
    try:
        with np.errstate(all="ignore"):
            formula, scalars = rule(step, *values, **settings)
            if complex in map(type, scalars):
                raise OverflowError("a power of a negative number")
            return formula, scalars
    except (OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"lr or another setting is out of range at step {step}: {error}") from None


def step_one(rule, param, grad, states, step, maximize, **settings):
    """One parameter, its gradient and its states; what is not contiguous goes through a copy."""
    _check.settings(settings)
    if callable(settings.get("lr")) or callable(settings.get("momentum")):
        raise TypeError("lr and momentum are numbers here; schedules are for the classes")
    _check.step(step)
    _check.flag("maximize", maximize)
    formula, scalars = evaluated(rule, step, -1.0 if maximize else 1.0, **settings)
    if (
        _engine is not None
        and kernels() is _engine
        and _engine.step_one(formula, [param, grad, *states.values()], scalars)
    ):
        return
    memory = memory_of((param, grad, *states.values()))
    labels = ["param", *states]
    arrays = list(map(memory.writable, (param, *states.values()), labels))
    param = arrays[0]
    for array, label in zip(arrays, labels):
        _check.like(array, label, param)
    _check.separate(arrays, labels, combinations(range(len(arrays)), 2))
    order = memory.order(param)
    grad = memory.gradient(grad, "grad", param.shape, NATIVE[param.dtype], order)
    if any(np.may_share_memory(grad, array) for array in arrays):
        grad = memory.apart(grad)
    flat = [memory.flat(array, order) for array in arrays]
    copies = [
        (array, f.reshape(array.shape, order=order))
        for array, f in zip(arrays, flat)
        if not np.may_share_memory(array, f)
    ]
    if param.size:
        job = (memory.step, (formula, memory.tensors([flat]), [grad], scalars))
        _finish([job, *((memory.copy, pair) for pair in copies)])
