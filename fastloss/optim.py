"""Optimizers: threaded steps over plain NumPy arrays, in place.

A class takes one array, a list, a tuple or a dict of arrays and keeps the states; a ``*_step``
function is the same rule for one array, with the states in the caller's hands.
"""

from itertools import combinations
from math import isfinite, sqrt
from numbers import Real
from operator import attrgetter

import numpy as np

from ._config import compiled, kernels

__all__ = ["SGD", "Adam", "AdamW", "adam_step", "adamw_step", "clip_grad_norm", "sgd_step"]

# either byte order -> the native dtype
_NATIVE = {np.dtype(order + code): np.dtype(code) for code in ("f4", "f8") for order in "<>"}
_BLOCK = 8192
_engine = compiled()

# flags.num of arrays that go to the backend as they are: C-contiguous (1), aligned (256); and
# F-contiguous (2), owning their memory (4), writeable (1024) or not.
_READY = frozenset(257 + f + o + w for f in (0, 2) for o in (0, 4) for w in (0, 1024))
_flags, _dtype, _shape, _base = map(attrgetter, ("flags.num", "dtype", "shape", "base"))


# Arguments


def _number(name, value, below=None):
    wanted = "a number >= 0" if below is None else f"a number in [0, {below})"
    if not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}; it must be {wanted}")
    if not value >= 0 or (below is not None and value >= below):
        raise ValueError(f"{name} is {value}; it must be {wanted}")


def _check_sgd(momentum, dampening, weight_decay, nesterov):
    if not callable(momentum):
        _number("momentum", momentum)
    if not isinstance(dampening, Real):
        raise TypeError(f"dampening is {dampening!r}; it must be a number")
    _number("weight_decay", weight_decay)
    if nesterov and (dampening != 0 or not (callable(momentum) or momentum > 0)):
        raise ValueError(
            f"nesterov is {nesterov} with momentum {momentum} and dampening {dampening}; "
            "it must have momentum > 0 and dampening 0"
        )


def _check_adam(betas, eps, weight_decay):
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise ValueError(f"betas is {betas!r}; it must be two numbers in [0, 1)")
    _number("betas[0]", betas[0], below=1)
    _number("betas[1]", betas[1], below=1)
    _number("eps", eps)
    _number("weight_decay", weight_decay)


def _is_half(dtype):
    return dtype.name in ("float16", "bfloat16")


def _writable(array, name, halves=False):
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is of type {type(array).__name__}; it must be a NumPy array")
    if array.dtype not in _NATIVE and not (halves and _is_half(array.dtype)):
        wanted = "float16, bfloat16, float32 or float64" if halves else "float32 or float64"
        raise TypeError(f"{name} has dtype {array.dtype}; it must be {wanted}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only; it must be writeable, to be updated in place")
    if not array.flags.forc and _overlaps_itself(array):
        raise ValueError(f"{name} overlaps itself in memory; its elements must be separate")
    return np.asarray(array)


def _gradient(grad, name, param, order):
    """The gradient checked against its parameter: flat, native, in the parameter's dtype."""
    if isinstance(grad, np.ma.MaskedArray):
        raise TypeError(f"{name} is of type MaskedArray; it must be a plain array")
    grad = np.asarray(grad)
    if grad.shape != param.shape:
        raise ValueError(
            f"{name} has shape {grad.shape}; it must be {param.shape}, as the parameter"
        )
    native = _NATIVE[param.dtype]
    if _NATIVE.get(grad.dtype) is not native and not _is_half(grad.dtype):
        raise ValueError(
            f"{name} has dtype {grad.dtype}; it must be {native}, as the parameter, or 16 bits wide"
        )
    return _flat(grad.astype(native, copy=False), order)


def _leaves(tree):
    """Keys (None: one array; a range: a list; a list: a dict) and arrays."""
    if isinstance(tree, dict):
        return list(tree), list(tree.values())
    if isinstance(tree, (list, tuple)):
        return range(len(tree)), list(tree)
    return None, [tree]


def _names(name, keys):
    return [name] if keys is None else [f"{name}[{key!r}]" for key in keys]


def _kind(keys):
    if keys is None:
        return "one array"
    return f"a {'dict' if isinstance(keys, list) else 'list'} of {len(keys)}"


# Memory


def _order(array):
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _flat(array, order):
    """The elements in `order`, aligned and native: a view where there is one."""
    if not (array.flags.aligned and array.dtype.isnative):
        array = array.astype(_NATIVE[array.dtype])
    return array.ravel(order)


def _write(array, flat, order):
    array[...] = flat.reshape(array.shape, order=order)


def _finish(*calls):
    """All calls, each (function, *arguments): Ctrl-C waits until the step is finished."""
    interrupt = None
    for function, *arguments in calls:
        try:
            function(*arguments)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _owners(array):
    """Ids of the array and of all that it is a view of."""
    while array is not None:
        yield id(array)
        array = getattr(array, "base", None)


def _overlaps_itself(array):
    extent = array.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape)):
        if length > 1 and stride < extent:
            return True
        extent += stride * (length - 1)
    return False


def _refuse_overlap(arrays, names, pairs):
    for i, j in pairs:
        if np.may_share_memory(arrays[i], arrays[j], max_work=10_000):
            raise ValueError(f"{names[j]} overlaps {names[i]} in memory; they must be separate")


def _neighbours(arrays):
    """Pairs that may overlap: in order of address, those that begin before another has ended."""
    bounds = np.lib.array_utils.byte_bounds
    near = []
    for low, high, j in sorted((*bounds(array), j) for j, array in enumerate(arrays) if array.size):
        near = [(end, i) for end, i in near if end > low]
        yield from (sorted((i, j)) for _, i in near)
        near.append((high, j))


# Rules: the name of a formula and its scalars


def _sgd_rule(first, scale, lr, momentum, dampening, weight_decay, nesterov):
    """`momentum` None is SGD without a buffer."""
    scalars = (lr, scale, weight_decay)
    if momentum is None:
        return "sgd_step", scalars
    look_ahead = momentum if nesterov else 0.0
    if first or momentum == 0:
        return "sgd_momentum_step", (*scalars, 0.0, 1.0, look_ahead)
    return "sgd_momentum_step", (*scalars, momentum, 1 - dampening, look_ahead)


def _adam_rule(step, scale, lr, betas, eps, weight_decay, decoupled, amsgrad):
    beta1, beta2 = betas
    correction = sqrt(1 - beta2**step)
    return "adam_amsgrad_step" if amsgrad else "adam_step", (
        scale,
        0.0 if decoupled else weight_decay,
        1 - lr * weight_decay if decoupled and weight_decay != 0 else 1.0,
        1 - beta1,
        beta2,
        1 - beta2,
        lr * correction / (1 - beta1**step),
        eps * correction,
    )


# Classes


class _Optimizer:
    """Parameters, states, and one pass over them; a subclass adds settings, states and `_rule`."""

    _settings = ("lr", "weight_decay", "maximize", "ema_decay")

    def __init__(self, params, states, lr, weight_decay, maximize, ema):
        if not callable(lr):
            _number("lr", lr)
        if ema is not None:
            _number("ema", ema, below=1)
        self.lr = lr
        self.weight_decay = weight_decay
        self.maximize = bool(maximize)
        self.ema_decay = ema
        self._keys, arrays = _leaves(params)
        if not arrays:
            raise ValueError("params is empty; it must hold at least one array")
        if len({*map(str, self._keys or ())}) < len(self._keys or ()):
            raise ValueError(f"params has keys {self._keys}; they must differ as text")
        names = _names("params", self._keys)
        self._params = list(map(_writable, arrays, names))
        _refuse_overlap(self._params, names, _neighbours(self._params))
        self._steps = 0
        self._updates = np.zeros(len(arrays), np.int64)
        self._states = {
            state: [np.zeros(p.shape, _NATIVE[p.dtype], _order(p)) for p in self._params]
            for state in (*states, *["ema"] * (ema is not None))
        }
        for average, param in zip(self._states.get("ema", ()), self._params):
            average[...] = param
        self._bind()

    def _bind(self):
        """What does not change from step to step."""
        self._orders = list(map(_order, self._params))
        self._in_c_order = "F" not in self._orders
        flat = list(map(_flat, self._params, self._orders))
        self._dtypes = [f.dtype for f in flat]
        self._shapes = [p.shape for p in self._params]
        self._owners = {owner for p in self._params for owner in _owners(p)}
        # not contiguous: each step works on a copy
        self._strided = {
            i for i, f in enumerate(flat) if f.size and not np.may_share_memory(f, self._params[i])
        }
        states = (list(map(_flat, state, self._orders)) for state in self._states.values())
        self._columns = [[None if i in self._strided else f for i, f in enumerate(flat)], *states]
        self._regroup()

    def _regroup(self):
        same_age = (self._updates == self._updates[0]).all()
        self._groups_of_all = self._groups(range(len(self._params))) if same_age else None

    def _groups(self, members):
        """(members, their (param, *states)) for each dtype and age: what one call of the backend takes."""
        groups = {}
        for i in members:
            if self._params[i].size:
                key = self._dtypes[i], self._age(int(self._updates[i]))
                groups.setdefault(key, []).append(i)
        return [(group, [tuple(column[i] for column in self._columns) for i in group]) for group in groups.values()]

    @staticmethod
    def _age(updates):
        """Parameters of the same age take the same scalars."""
        return updates

    def _now(self, setting):
        value = getattr(self, setting)
        if callable(value):
            value = np.asarray(value(self._steps)).item()
        _number(setting, value)
        return float(value)

    # Gradients

    def _list(self, grads):
        """The gradients in the order of the parameters."""
        if self._keys is None:
            return [grads]
        keys, grads = _leaves(grads)
        if keys == self._keys:
            return grads
        if type(keys) is not type(self._keys) or len(keys) != len(self._keys):
            raise ValueError(f"grads is {_kind(keys)}; it must be {_kind(self._keys)}, as params")
        found = dict(zip(keys, grads))
        if found.keys() != set(self._keys):
            raise ValueError(f"grads has keys {keys}; they must be {self._keys}, as in params")
        return [found[key] for key in self._keys]

    def _ready(self, grads):
        """Whether all gradients are plain arrays that go to the backend as they are."""
        if _engine is not None:
            return self._in_c_order and _engine.matches(grads, self._params, self._owners)
        return (
            self._in_c_order
            and set(map(type, grads)) == {np.ndarray}
            and _READY.issuperset(map(_flags, grads))
            and list(map(_dtype, grads)) == self._dtypes
            and list(map(_shape, grads)) == self._shapes
            and self._owners.isdisjoint(map(id, grads))
            and self._owners.isdisjoint(map(id, map(_base, grads)))
        )

    def _converted(self, i, grad, name):
        if grad is None:
            return None
        flat = _gradient(grad, name, self._params[i], self._orders[i])
        return flat if self._owners.isdisjoint(_owners(flat)) else flat.copy()

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
        grads = self._list(grads)
        used = range(len(grads))
        if not self._ready(grads):
            grads = list(map(self._converted, used, grads, _names("grads", self._keys)))
            used = [i for i in used if grads[i] is not None]
        scale = -grad_scale if self.maximize else grad_scale
        if max_norm is not None:
            _number("max_norm", max_norm)
            scale *= _clip_factor(abs(scale) * _total_norm([grads[i] for i in used], 2), max_norm)

        every = len(used) == len(grads)
        whole = every and self._groups_of_all is not None
        rule = self._rule()
        jobs, copies = [], {}
        for members, tensors in self._groups_of_all if whole else self._groups(used):
            name, scalars = rule(int(self._updates[members[0]]) + 1, scale)
            if self.ema_decay is not None:
                name, scalars = name.replace("_step", "_ema_step"), (*scalars, 1 - self.ema_decay)
            if self._strided:
                fresh = {i: _flat(self._params[i], "C") for i in members if i in self._strided}
                tensors = [(fresh.get(i, t[0]), *t[1:]) for i, t in zip(members, tensors)]
                copies |= fresh
            jobs.append((name, tensors, grads if len(members) == len(grads) else [grads[i] for i in members], scalars))

        engine = kernels()
        _finish(
            *((engine.step, *job) for job in jobs),
            *((_write, self._params[i], copy, "C") for i, copy in copies.items()),
            (self._count, slice(None) if every else used, whole),
        )

    def _count(self, used, whole):
        self._steps += 1
        self._updates[used] += 1
        if not whole:
            self._regroup()

    # State

    @property
    def ema(self):
        """The averaged parameters, structured as the parameters; None without ``ema=``."""
        averages = self._states.get("ema")
        if averages is None or self._keys is None:
            return averages and averages[0]
        return dict(zip(self._keys, averages)) if isinstance(self._keys, list) else averages

    def _named_states(self):
        for state, arrays in self._states.items():
            for key, array in zip(self._keys or [None], arrays):
                yield state if self._keys is None else f"{state}.{key}", array

    def state_dict(self):
        """Copies of all states and settings, by flat string keys: fit for ``np.savez``.

        Schedules are functions and are left out; ``step`` is where they go on.
        """
        settings = {name: getattr(self, name) for name in self._settings}
        numbers = {k: v for k, v in settings.items() if v is not None and not callable(v)}
        return {
            "step": np.int64(self._steps),
            "updates": self._updates.copy(),
            **{name: np.asarray(value)[()] for name, value in numbers.items()},
            **{key: array.copy() for key, array in self._named_states()},
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
        for key, array in (*states.items(), ("updates", self._updates)):
            came = state[key]
            if (came.shape, came.dtype) != (array.shape, array.dtype):
                raise ValueError(
                    f"state[{key!r}] has shape {came.shape} and dtype {came.dtype}; "
                    f"they must be {array.shape} and {array.dtype}"
                )
        for key, array in states.items():
            array[...] = state[key]
        for name in self._settings:
            if name in state and not callable(getattr(self, name)):
                value = state[name].tolist()
                setattr(self, name, tuple(value) if isinstance(value, list) else value)
        self._steps = int(state["step"])
        self._updates = state["updates"].copy()
        self._regroup()

    def __getstate__(self):
        # views do not survive a pickle or a copy as views
        derived = ("_columns", "_owners", "_groups_of_all")
        return {name: value for name, value in vars(self).items() if name not in derived}

    def __setstate__(self, state):
        vars(self).update(state)
        self._bind()

    def __repr__(self):
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._settings)
        return f"{type(self).__name__}(<{_kind(self._keys)}>, {settings})"


class SGD(_Optimizer):
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

    _settings = (*_Optimizer._settings, "momentum", "dampening", "nesterov")

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        ema=None,
    ):
        _check_sgd(momentum, dampening, weight_decay, nesterov)
        self.momentum = momentum
        self.dampening = dampening
        self.nesterov = bool(nesterov)
        states = ("momentum_buffer",) if callable(momentum) or momentum != 0 else ()
        super().__init__(params, states, lr, weight_decay, maximize, ema)

    @staticmethod
    def _age(updates):
        return min(updates, 1)

    def _rule(self):
        lr, momentum = self._now("lr"), self._now("momentum")
        if "momentum_buffer" not in self._states:
            if momentum != 0:
                raise ValueError(
                    f"momentum is {momentum}; it must stay 0, as when this optimizer was made"
                )
            momentum = None
        return lambda step, scale: _sgd_rule(
            step == 1, scale, lr, momentum, self.dampening, self.weight_decay, self.nesterov
        )


class Adam(_Optimizer):
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

    _settings = (*_Optimizer._settings, "betas", "eps", "amsgrad", "decoupled_weight_decay")

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        maximize=False,
        decoupled_weight_decay=False,
        ema=None,
    ):
        _check_adam(betas, eps, weight_decay)
        self.betas = tuple(betas)
        self.eps = eps
        self.amsgrad = bool(amsgrad)
        self.decoupled_weight_decay = bool(decoupled_weight_decay)
        states = ("exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * self.amsgrad)
        super().__init__(params, states, lr, weight_decay, maximize, ema)

    def _rule(self):
        lr = self._now("lr")
        return lambda step, scale: _adam_rule(
            step,
            scale,
            lr,
            self.betas,
            self.eps,
            self.weight_decay,
            self.decoupled_weight_decay,
            self.amsgrad,
        )


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
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
        ema=None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
            ema=ema,
        )


# Functions


def _step_one(rule, param, grad, **states):
    """One parameter, its gradient and its states; what is not contiguous goes through a copy."""
    name, scalars = rule
    names = ["param", *states]
    arrays = list(map(_writable, (param, *states.values()), names))
    param = arrays[0]
    for array, label in zip(arrays, names):
        if array.shape != param.shape or _NATIVE[array.dtype] != _NATIVE[param.dtype]:
            raise ValueError(
                f"{label} has shape {array.shape} and dtype {array.dtype}; "
                f"they must be {param.shape} and {param.dtype}, as param's"
            )
    _refuse_overlap(arrays, names, combinations(range(len(arrays)), 2))
    order = _order(param)
    grad = _gradient(grad, "grad", param, order)
    if any(np.may_share_memory(grad, array) for array in arrays):
        grad = grad.copy()
    flat = [_flat(array, order) for array in arrays]
    copies = [(a, f) for a, f in zip(arrays, flat) if not np.may_share_memory(a, f)]
    if param.size:
        _finish(
            (kernels().step, name, [tuple(flat)], [grad], scalars),
            *((_write, array, copy, order) for array, copy in copies),
        )


def sgd_step(
    param,
    grad,
    momentum_buffer=None,
    *,
    lr,
    momentum=0,
    dampening=0,
    weight_decay=0,
    nesterov=False,
    maximize=False,
    first=False,
):
    """One step of `SGD`, in place.

    Parameters
    ----------
    param, grad : array
        The parameter (float32 or float64), changed; its gradient, of the same shape and dtype.
    momentum_buffer : array, optional
        Like `param`, changed; needed for a momentum.
    lr, momentum, dampening, weight_decay, nesterov, maximize
        As for `SGD`, numbers only.
    first : bool
        The buffer holds nothing yet: it becomes the gradient.

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
    _number("lr", lr)
    _number("momentum", momentum)
    _check_sgd(momentum, dampening, weight_decay, nesterov)
    states = {} if momentum_buffer is None else {"momentum_buffer": momentum_buffer}
    if momentum != 0 and not states:
        raise ValueError(
            f"momentum_buffer is None; it must be an array when momentum is {momentum}"
        )
    scale = -1.0 if maximize else 1.0
    momentum = momentum if states else None
    rule = _sgd_rule(first, scale, lr, momentum, dampening, weight_decay, nesterov)
    _step_one(rule, param, grad, **states)


def adam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    step,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0,
    maximize=False,
    max_exp_avg_sq=None,
    decoupled_weight_decay=False,
):
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
    _number("lr", lr)
    _check_adam(betas, eps, weight_decay)
    if not step >= 1:
        raise ValueError(f"step is {step}; it must be 1 for the first step, 2 for the second, ...")
    states = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    if max_exp_avg_sq is not None:
        states["max_exp_avg_sq"] = max_exp_avg_sq
    scale = -1.0 if maximize else 1.0
    amsgrad = max_exp_avg_sq is not None
    rule = _adam_rule(step, scale, lr, betas, eps, weight_decay, decoupled_weight_decay, amsgrad)
    _step_one(rule, param, grad, **states)


def adamw_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    step,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=1e-2,
    maximize=False,
    max_exp_avg_sq=None,
):
    """One step of `AdamW`, in place: `adam_step` with decoupled weight decay.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> w, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    >>> fl.optim.adamw_step(w, np.array([3.0, -3.0]), m, v, step=1, lr=0.1, weight_decay=0.5)
    >>> w.round(6)
    array([0.85, 2.  ])
    """
    adam_step(
        param,
        grad,
        exp_avg,
        exp_avg_sq,
        step=step,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        maximize=maximize,
        max_exp_avg_sq=max_exp_avg_sq,
        decoupled_weight_decay=True,
    )


# Clipping


def _total_norm(grads, norm_type):
    """The norm of all elements of all gradients, summed in float64."""
    total = 0.0
    with np.errstate(all="ignore"):
        for grad in grads:
            flat = grad.ravel("K")
            for start in range(0, flat.size, _BLOCK):
                block = flat[start : start + _BLOCK].astype(np.float64, copy=False)
                if norm_type == 2:
                    total += np.dot(block, block)
                elif isfinite(norm_type):
                    total += np.sum(np.abs(block) ** norm_type)
                else:
                    total = np.maximum(total, np.abs(block).max())
        return np.float64(total) ** (1 / norm_type) if isfinite(norm_type) else np.float64(total)


def _clip_factor(norm, max_norm):
    factor = max_norm / (norm + 1e-6)
    return 1.0 if factor > 1 else float(factor)


def clip_grad_norm(grads, max_norm, norm_type=2, error_if_nonfinite=False):
    """Scale gradients down, in place, to a norm over all of them together of at most `max_norm`.

    Every gradient is multiplied by min(1, max_norm / (norm + 1e-6)). The norm is summed in float64.

    Parameters
    ----------
    grads : array, list, tuple or dict of arrays
        Floating-point arrays, changed; None is passed over.
    max_norm : float
    norm_type : float
        Order of the norm, > 0; may be ``inf``.
    error_if_nonfinite : bool
        Raise when the norm is NaN or infinite. Otherwise the factor is then NaN or 0.

    Returns
    -------
    float64
        The norm before clipping.

    Raises
    ------
    RuntimeError
        The norm is not finite and `error_if_nonfinite` is true. Nothing has changed.
    ValueError, TypeError
        A setting out of range; a gradient that cannot be changed in place.

    Examples
    --------
    >>> import numpy as np, fastloss as fl
    >>> g = np.array([3.0, 4.0])
    >>> float(fl.optim.clip_grad_norm(g, 1.0))
    5.0
    >>> g.round(5)
    array([0.6, 0.8])
    """
    _number("max_norm", max_norm)
    if not norm_type > 0:
        raise ValueError(f"norm_type is {norm_type}; it must be a number > 0")
    keys, arrays = _leaves(grads)
    named = zip(arrays, _names("grads", keys))
    grads = [_writable(grad, name, halves=True) for grad, name in named if grad is not None]
    norm = _total_norm(grads, norm_type)
    if error_if_nonfinite and not isfinite(norm):
        raise RuntimeError(f"the norm of grads is {norm}; error_if_nonfinite expects a finite one")
    factor = _clip_factor(norm, max_norm)
    if factor != 1:
        with np.errstate(all="ignore"):
            for grad in grads:
                working = np.float64 if grad.itemsize == 8 else np.float32
                np.multiply(grad, working(factor), out=grad, casting="unsafe")
    return norm
