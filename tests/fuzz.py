"""Calls of every public function with what a caller may do wrong: `python -m tests.fuzz --calls 1000000 --seed 0`.

A call takes the arguments of a case of tests/cases.py and changes a few: shapes, strides, dtypes, byte orders, values,
keywords, types, memory that overlaps. It must raise one of ERRORS, with a message that names an argument and with nothing
written; or give what the same call gives on C-contiguous copies of its arrays, on one thread and the general path, to the
bit; now and then what the other backend gives. Nothing else may change, and no floating-point error or warning may come.

Every call is made from its seed and number alone: what is found is printed with the --only that repeats it. The calls run
in processes of their own, so that a crash is a finding as well; so is a call that takes ten minutes.
"""

import argparse
import faulthandler
import inspect
import mmap
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided

import fastloss as fl
from fastloss import _config
from tests.cases import CASES
from tests.optimizers import RULES

ERRORS = TypeError, ValueError, IndexError, MemoryError, NotImplementedError
FOUND = 3                               # a shard's exit status
ROOM = 1 << 33                          # bytes that a shard may take: what broadcasts to more is a MemoryError
SIDES = 0, 1, 1, 2, 3, 5, 7, 16, 17, 33, 70
LONG = 4099, 70_001, 140_003
LOSSES = "elementwise", "pair", "rows", "lines", "sequence", "linear"
METHODS = "__call__", "value_and_grad", "grad", "value_grad_hess", "partial"
STATES = {rule.step: rule.states for rule in RULES if rule.step}
BACKENDS = [name for name in _config.BACKENDS if name in _config.config()["backends"]]


class Call:
    """A public function, its arguments, and the names of those that it works on in place."""

    def __init__(self, name, function, args, kwargs, in_place=()):
        self.name, self.function, self.args, self.kwargs, self.in_place = name, function, list(args), kwargs, in_place
        self.same_memory = False        # arrays that overlap, or cannot be written: clean copies may fare better
        self.specified = True           # False: a result with overlapping elements of its own

    def __repr__(self):
        arguments = [describe(a) for a in self.args] + [f"{k}={describe(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(arguments)})"

    def arrays(self):
        return list(leaves([self.args, self.kwargs]))

    def __call__(self, clean=False):
        """(what it returned or raised, the arrays that it may write to)."""
        args, kwargs = (plain(self.args), plain(self.kwargs)) if clean else (self.args, self.kwargs)
        written = list(leaves([kwargs.get("out"), *(args[i] for i in self.in_place if i < len(args))]))
        try:
            with np.errstate(all="raise"):
                return self.function(*args, **kwargs), written
        except Exception as error:      # any kind: judge() knows which are right
            return error, written


def leaves(value):
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)


def plain(value):
    """A deep copy whose ndarrays are C-contiguous, native and aligned."""
    if isinstance(value, memoryview):
        return memoryview(np.array(value))
    if type(value) is np.ndarray or isinstance(value, np.memmap):
        return np.array(value, value.dtype.newbyteorder("="), order="C", subok=False)
    if isinstance(value, np.ndarray):
        return value.copy() if isinstance(value, np.ma.MaskedArray) else np.array(value, subok=False)
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def describe(value):
    if isinstance(value, np.ndarray):
        kind = "" if type(value) is np.ndarray else type(value).__name__ + " "
        return f"<{kind}{value.dtype.str} {value.shape} strides {value.strides}{'' if value.flags.writeable else ' read-only'}>"
    text = repr(value)
    return text if len(text) < 60 else text[:40] + "..."


# ---- calls that are right -----------------------------------------------------------------------------------------


def draw_shape(rng, case, params):
    """The shape of a case's arrays: any for elementwise functions, any sizes for the others."""
    if case.family in ("optimizer", "sparse", "closure", "clip", "several", "sequence", "linear"):
        return case.shapes[0]
    if rng.random() < 0.01:
        long = int(rng.choice(LONG))
        return (long,) if case.family in ("activation", "elementwise", "pair", "step") else (3, long) if rng.random() < 0.5 else (long // 3, 3)
    dims = len(case.shapes[rng.integers(len(case.shapes))])
    if case.family in ("activation", "elementwise", "pair", "step"):
        dims = rng.integers(0, 5)
    elif isinstance(params.get("axis"), tuple):
        dims = max(dims, 2)
    shape = tuple(int(n) for n in rng.choice(SIDES[1:], dims))
    return shape if np.prod(shape) < 20_000 else case.shapes[0]


def draw_call(rng):
    case = CASES[rng.integers(len(CASES))]
    dtype = np.dtype(rng.choice([np.float32, np.float64]))
    params = case.params[rng.integers(len(case.params))]
    shape = draw_shape(rng, case, params)
    arguments = case.inputs(rng, dtype, shape)
    kwargs = {k: v(rng, dtype, shape or (1,)) if callable(v) else v for k, v in params.items()}
    function, x = case.function, arguments[0]
    if case.family in LOSSES:
        method = METHODS[rng.integers(len(METHODS))]
        if case.name == "adaptive_log_softmax_with_loss" and rng.random() < 0.5:
            method, arguments = ("log_prob", "predict")[rng.integers(2)], (x, *arguments[2:])
        if case.family in ("rows", "lines", "linear", "sequence") and rng.random() < 0.3:
            kwargs["reduction"] = "none"
        return Call(f"{case.name}.{method}", getattr(function, method), arguments, kwargs)
    if case.family in ("activation", "softmax", "several", "pairs"):
        backward = hasattr(function, "backward") and rng.random() < 0.4
        if backward and "pool_size" in kwargs or not backward:
            method = "grad" if case.family == "activation" and rng.random() < 0.5 else "__call__"
            return Call(f"{case.name}.{method}", getattr(function, method), arguments, kwargs)
        g = np.asarray(function(*arguments, **{k: v for k, v in kwargs.items() if k != "where"}), dtype)
        return Call(f"{case.name}.backward", function.backward, (g, *arguments), kwargs)
    if case.family == "step":
        param, *grads = arguments
        states = [np.abs(param) for name in STATES[case.name.removeprefix("optim.")] if name != "max_exp_avg_sq"]
        more = {"lr": 0.1, **({"step": 3} if "step" in inspect.signature(function).parameters else {})}
        named = {k: v for k, v in kwargs.items() if k in inspect.signature(function).parameters}
        return Call(case.name, function, (param, grads[0], *states), more | named, (0, *range(2, 2 + len(states))))
    if case.family == "clip":
        return Call(case.name, function, (list(arguments),), kwargs, (0,))
    return Call(f"{case.name}.step", stepping(case, function), ([x, x[:2].copy()], [arguments[1], arguments[2][:2].copy()]), kwargs, (0,))


def stepping(case, rule):
    """Two steps of an optimizer as one function of parameters and gradients."""

    def step(params, grads, **settings):
        optimizer = rule(params, **settings)
        for _ in range(2):
            if case.family == "closure":
                optimizer.step(lambda: (sum(float(np.square(p).sum()) for p in params), [2 * p for p in params]))
            else:
                rows = case.family == "sparse" and isinstance(grads, list | tuple)
                optimizer.step([(np.arange(len(np.atleast_1d(g))), g) for g in grads] if rows else grads)
        return params

    return step


# ---- what a caller may do with them -------------------------------------------------------------------------------


def strided(rng, a):
    """The same values elsewhere: every second one, backwards, other orders of axes, unaligned, in other bytes, read-only."""
    kind = 7 if a.dtype.hasobject else rng.integers(9)
    if kind == 0:
        wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
        view = wide[(..., *(slice(None, None, 2),) * a.ndim)]
    elif kind == 1:
        view = np.empty(a.shape, a.dtype)[(..., *(slice(None, None, -1),) * a.ndim)]
    elif kind == 2:
        order = rng.permutation(a.ndim)
        view = np.empty([a.shape[i] for i in order], a.dtype).transpose(np.argsort(order))
    elif kind == 3:
        raw = np.zeros(a.nbytes + a.itemsize, np.uint8)
        view = raw[1 : 1 + a.nbytes].view(a.dtype).reshape(a.shape)
    elif kind == 4:
        view = np.empty(a.shape, a.dtype.newbyteorder())
    elif kind == 5:
        view = np.empty(a.shape, a.dtype, order="F")
    elif kind == 6 and a.ndim:
        view = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)[..., 1:-2]
    elif kind == 7:
        view = a.copy()
        view.flags.writeable = False
        return view
    else:
        return np.broadcast_to(a[:1], a.shape) if a.ndim and a.shape[0] else a
    view[...] = a
    return view


def revalued(rng, a):
    """Some elements replaced."""
    a = np.array(a)
    if a.size == 0:
        return a
    at = rng.integers(0, a.size, max(1, a.size // 8))
    with np.errstate(all="ignore"):
        if a.dtype.kind == "f":
            top = np.finfo(a.dtype)
            new = rng.choice(np.array([np.nan, np.inf, -np.inf, 0, -0.0, top.tiny / 3, -top.tiny / 7, top.max, -top.max, 1, -1, 2.5, 700, -104, 5e5]), at.size)
        elif a.dtype.kind in "iu":
            top = np.iinfo(a.dtype)
            new = rng.choice(np.array([0, 1, 2, top.max, top.min, max(top.min, -1), max(top.min, -100), 7]).astype(a.dtype), at.size)
        else:
            return a
        a.reshape(-1)[at] = new.astype(a.dtype)
    return a


def reshaped(rng, a):
    kind = rng.integers(8)
    if kind == 0:
        return a[None]
    if kind == 1 and a.ndim:
        return a[0] if a.shape[0] else a[..., None]
    if kind == 2 and a.ndim:
        return a[: rng.integers(0, a.shape[0] + 1)]
    if kind == 3 and a.ndim:
        return a[..., : rng.integers(0, a.shape[-1] + 1)]
    if kind == 4:
        return a.reshape(-1)
    if kind == 5:
        return a.T
    if kind == 6:
        return np.zeros(tuple(int(n) for n in rng.choice(SIDES, rng.integers(0, 5))), a.dtype)
    return a[..., None]


DTYPES = "f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?", "g", "c8", "c16", "O", "U5", "S3", "M8[s]", "m8[s]", "V4"


def retyped(rng, a):
    if a.dtype.hasobject:
        return a
    dtype = np.dtype(rng.choice(DTYPES[:12] if rng.random() < 0.6 else DTYPES))
    try:
        with np.errstate(all="ignore"):
            return a.astype(dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return np.zeros(a.shape, dtype)


def rewrapped(rng, a):
    """Other kinds of objects."""
    kind = rng.integers(8)
    if kind == 0:
        return a.tolist()
    if kind == 1:
        return np.ma.masked_array(a, mask=np.zeros(a.shape, bool))
    if kind == 2:
        return a.view(Subclass)
    if kind == 3:
        return memoryview(np.ascontiguousarray(a)) if a.dtype.kind in "fiu" and a.dtype.isnative and a.dtype != np.float16 else a
    if kind == 4:
        return tuple(a) if a.ndim else a[()]
    if kind == 5:
        return a.ravel()[0] if a.size else a
    if kind == 6:
        return a.astype(object)
    return ODD[rng.integers(len(ODD))]


class Subclass(np.ndarray):
    """An ndarray of another class."""


ODD = (
    None, True, False, 0, 1, -1, 2, 3, 10**400, -(10**400), 2**63, 2**64, -(2**63), 2**31, 1e308, -1e308, 5e-324, 0.5, 0.25, 1.5, -0.0,
    float("nan"), float("inf"), -float("inf"), 1j, "", "mean", "sum", "none", "batchmean", "tanh", "élan", b"\x00", (), [], {}, (0,), (0, 1),
    (0, 0), [0, 1], (None,), (None, None), (None, None, None), object(), np.float32(0.5), np.float64(2), np.int8(-1), np.uint64(2**64 - 1),
    np.bool_(True), np.datetime64("2020-01-01"), np.array(0.5), np.array([0.5]), np.array([]), np.array([True]), np.array(["a"]),
    np.array([1, None]), np.array([[0.5, 0.25]]), np.dtype("f4"), np.float16, "f8", range(3), slice(None), ..., int,
)  # fmt: skip
OTHER_NAMES = {"out", "g", "y", "params", "grads", "label", "dtype", "where", "upstream"}
# What NumPy says of arity, axes, truth values and buffers of ufuncs is clear without a name
CLEAR = r"argument|axis [-\d]|broadcast|[Tt]ruth value|data type|output operand|ufunc '\w+' output|return arrays|output array|has no value_grad_hess"
KEYWORDS = (
    "reduction", "where", "sample_weight", "empty", "upstream", "out", "weight", "axis", "ignore_index", "label_smoothing", "z_loss", "dtype",
    "margin", "p", "eps", "keepdims", "delta", "beta", "q", "full", "lr", "betas", "momentum", "maximize", "weight_decay", "alpha", "gamma",
    "threshold", "blank", "zero_infinity", "from_logits", "norm_type", "b", "return_sign", "rng", "size_average", "dim", "inplace", "x", "input",
)  # fmt: skip


def arrays_like(rng, call):
    """An array for a keyword: of the shape of one of the call's arrays or a part of it."""
    arrays = [a for a in call.arrays() if a.size < 1 << 19]
    if not arrays:
        return np.zeros(3)
    a = arrays[rng.integers(len(arrays))]
    shapes = [a.shape, a.shape[:1], a.shape[1:], a.shape[:-1], a.shape[:1] + a.shape[2:], ()]
    return np.ones(shapes[rng.integers(len(shapes))], rng.choice(["f4", "f8", "?", "i8", "f2"])) * (rng.random() < 0.8)


def keyword(rng, call):
    """One more keyword, often with a value that fits."""
    names = [n for n in getattr(call.function, "__signature__", None) and call.function.__signature__.parameters or KEYWORDS if n in KEYWORDS]
    name = str(rng.choice(names if names and rng.random() < 0.5 else KEYWORDS))
    kind = rng.random()
    if name == "out":
        call.kwargs["out"] = draw_out(rng, call)
    elif name == "reduction" and kind < 0.8:
        call.kwargs[name] = str(rng.choice(["mean", "sum", "none", "batchmean"]))
    elif name in ("where", "sample_weight", "weight", "upstream", "b") and kind < 0.8:
        value = arrays_like(rng, call)
        call.kwargs[name] = value.astype(bool) if name == "where" else value
    elif name == "axis" and kind < 0.7:
        call.kwargs[name] = int(rng.integers(-4, 4))
    else:
        call.kwargs[name] = ODD[rng.integers(len(ODD))]


def draw_out(rng, call):
    """A buffer that mostly fits, and sometimes shares memory with what is read."""
    arrays = [a for a in call.arrays() if a.dtype.kind == "f" and type(a) is np.ndarray]
    if not arrays:
        return np.zeros(())
    a = arrays[rng.integers(len(arrays))] if rng.random() < 0.3 else arrays[0]
    kind = rng.integers(7)
    if kind == 0:
        out = a
        call.same_memory = True
    elif kind == 1 and a.size:                          # the input moves, so that the buffer overlaps it
        raw = np.zeros(a.size + 3, a.dtype)
        moved, out = raw[2 : 2 + a.size].reshape(a.shape), raw[: a.size].reshape(a.shape)
        moved[...] = a
        replace(call, a, moved)
        call.same_memory = True
    elif kind == 2:
        out = strided(rng, np.full(a.shape, 7, a.dtype))
        call.same_memory = True
    elif kind == 3 and a.size:
        out = as_strided(np.zeros(1, a.dtype), a.shape, (0,) * a.ndim)
        call.same_memory, call.specified = True, False
    elif kind == 4:
        out = arrays_like(rng, call)
    else:
        out = np.full(a.shape, 7, a.dtype)
    several = call.name.endswith(("value_and_grad", "value_grad_hess"))
    if several and rng.random() < 0.9:
        return (None, out) if call.name.endswith("and_grad") else (None, out, None)
    return out


def replace(call, old, new):
    call.args = [new if a is old else a for a in call.args]


def mutate(rng, call):
    """One change."""
    kind = rng.random()
    if kind < 0.25 or not call.args:
        keyword(rng, call)
    elif kind < 0.29:
        (call.args.pop if rng.random() < 0.5 else lambda: call.args.append(ODD[rng.integers(len(ODD))]))()
    elif kind < 0.34 and call.kwargs:
        name = list(call.kwargs)[rng.integers(len(call.kwargs))]
        call.kwargs[name] = ODD[rng.integers(len(ODD))]
    elif kind < 0.40:                                   # the first rows of everything that has as many
        n = next((a.shape[0] for a in call.arrays() if a.ndim), None)
        if n is not None:
            k = rng.integers(0, n + 1)
            call.args = [a[:k] if isinstance(a, np.ndarray) and a.ndim and a.shape[0] == n else a for a in call.args]
    else:
        i = rng.integers(len(call.args))
        change = rng.choice([strided, strided, strided, revalued, revalued, reshaped, retyped, rewrapped])
        if isinstance(call.args[i], np.ndarray):
            call.args[i] = change(rng, call.args[i])
            call.same_memory |= i in call.in_place
        elif isinstance(call.args[i], list) and call.args[i]:
            items = list(call.args[i])
            k = rng.integers(len(items))
            call.same_memory |= i in call.in_place
            items[k] = change(rng, items[k]) if isinstance(items[k], np.ndarray) else ODD[rng.integers(len(ODD))]
            call.args[i] = items
        else:
            call.args[i] = ODD[rng.integers(len(ODD))]


# ---- what must hold -----------------------------------------------------------------------------------------------


def same(a, b):
    """Whether two results agree in type, shape and bits; NaN is NaN."""
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, fl.Partial):
        return isinstance(b, fl.Partial) and same([a.loss_sum, a.weight_sum, a.count], [b.loss_sum, b.weight_sum, b.count])
    if isinstance(a, np.ndarray | np.generic):
        if np.shape(a) != np.shape(b) or a.dtype != getattr(b, "dtype", None):
            return False
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype.kind != "f":
            return bool((a == b).all())
        return bool(((a == b) & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b)).all())
    return type(a) is type(b) and (a == b or a != a)


def close(a, b):
    """Whether two backends agree but for roundings; where one overflows, the other may be almost there."""
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, fl.Partial):
        return close(np.float64(a.loss_sum), np.float64(b.loss_sum)) and a.count == b.count
    if not isinstance(a, np.ndarray | np.generic) or a.dtype.kind != "f":
        return same(a, b)
    if np.shape(a) != np.shape(b) or a.dtype != b.dtype:
        return False
    eps, top = np.finfo(a.dtype).eps, float(np.finfo(a.dtype).max)
    a, b = np.asarray(a, float), np.asarray(b, float)
    near = np.isfinite(a) & np.isfinite(b)
    huge = (np.abs(a) > top / 64) & (np.abs(b) > top / 64) & (np.sign(a) == np.sign(b))
    size = np.abs(a[near]).max(initial=0)
    return bool((near | huge | np.isnan(a) & np.isnan(b)).all() and (np.abs(a[near] - b[near]) <= 256 * eps * size).all())


def names_an_argument(call, message):
    """Whether the first word of the message, or one in it in quotes, is a name of the call's; or arity is what is wrong."""
    own = getattr(call.function, "__self__", call.function)
    names = set(inspect.signature(own).parameters) | set(call.kwargs) | OTHER_NAMES
    words = re.findall(r"[A-Za-z_]\w*", message)
    return bool(words) and words[0] in names or bool(re.search(CLEAR, message))


def judge(call, got, fresh, before, arrays, written):
    """What is wrong with the outcome, or None. before: copies of all arrays; fresh: what the clean copies gave."""
    mine = {id(a) for a in written}
    for a, old in zip(arrays, before, strict=True):
        writable = id(a) in mine or any(np.may_share_memory(a, w) for w in written)
        several_steps = call.name.endswith(".step")     # the first may be fine
        if (not writable or isinstance(got, Exception) and not several_steps) and a.tobytes() != old:
            return "wrote to out before the error" if writable else "changed an input"
    if isinstance(fresh, MemoryError):
        return None
    if isinstance(got, Exception):
        if not isinstance(got, ERRORS):
            return f"raised {type(got).__name__}: {got}"
        if not names_an_argument(call, str(got)):
            return f"names no argument: {type(got).__name__}: {got}"
        if not isinstance(fresh, Exception) and not call.same_memory:
            return f"raised {type(got).__name__}: {got}; contiguous copies did not"
        return None
    if isinstance(fresh, Exception):
        return f"contiguous copies raised {type(fresh).__name__}: {fresh}"
    if not call.specified:
        return None
    if not written and any(np.may_share_memory(r, a) for r in leaves([got]) for a in arrays):
        return "the result shares memory with an input"
    if written:
        got = plain(got)                                # in the byte order that the caller chose
    return None if same(got, fresh) else f"differs from contiguous copies:\n{got!r}\n{fresh!r}"


def attempt(seed, number, show=False):
    """Make one call; what is wrong with it, or None."""
    rng = np.random.default_rng((seed, number))
    # Numba compiles each kernel once in each process, so that backend gets runs of calls
    backend = BACKENDS[-1] if number // 512 % 64 == 63 else BACKENDS[0]
    with fl.backend(backend):
        call = draw_call(rng)
        for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
            mutate(rng, call)
        if show:
            print(backend, call, flush=True)
        clean = Call(call.name, call.function, plain(call.args), plain(call.kwargs), call.in_place)
        arrays = call.arrays()
        before = [a.tobytes() for a in arrays]
        with fl.threads(int(rng.integers(1, 5))), warnings.catch_warnings():
            warnings.simplefilter("error")
            got, written = call()
    with fl.backend(backend), fl.threads(1), warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = _config.compiled()
        if engine is not None:
            engine.allow_fast_calls(False)
        fresh, _ = clean()
        wrong = judge(call, got, fresh, before, arrays, written)
    if wrong is None and len(BACKENDS) > 1 and number % 4096 == 7 and not isinstance(fresh, Exception):
        with fl.backend(BACKENDS[1] if backend == BACKENDS[0] else BACKENDS[0]):
            other, _ = Call(call.name, call.function, clean.args if not call.in_place else plain(call.args), plain(call.kwargs), call.in_place)()
        if not call.in_place and not call.kwargs.get("out") and not close(fresh, other):
            wrong = f"backends differ:\n{fresh!r}\n{other!r}"
    return None if wrong is None else f"{backend}: {call!r}\n  {wrong}"


def confine():
    """What would take more memory than ROOM gets a MemoryError. A sanitized process begins with terabytes of addresses."""
    if sys.platform == "linux":
        import resource

        most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def shard(seed, numbers, position):
    """All calls of a process; the findings."""
    faulthandler.enable()
    confine()
    warnings.simplefilter("ignore")                     # of the fuzzer's own casts; those of the calls are errors
    np.set_printoptions(threshold=12)
    findings = 0
    for count, number in enumerate(numbers):
        position[:8] = number.to_bytes(8, "little")
        if count % 64 == 0:
            faulthandler.dump_traceback_later(600, exit=True)
        try:
            wrong = attempt(seed, number)
        except Exception:               # the fuzzer's own
            wrong = "the fuzzer failed\n" + traceback.format_exc()
        if wrong:
            findings += 1
            print(f"--seed {seed} --only {number}: {wrong}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first call")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--only", type=int, help="make this call alone, and show it")
    parser.add_argument("--shard", nargs=3, metavar=("FIRST", "STOP", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only is not None:
        confine()
        print(attempt(options.seed, options.only, show=True) or "fine")
        return 0
    if options.shard:
        first, stop, file = options.shard
        with Path(file).open("r+b") as mapped, mmap.mmap(mapped.fileno(), 8) as position:
            return FOUND if shard(options.seed, range(int(first), int(stop)), position) else 0
    per, found = 20_000, 0
    ranges = [(i, min(i + per, options.start + options.calls)) for i in range(options.start, options.start + options.calls, per)]
    with tempfile.TemporaryDirectory() as folder:
        while ranges:
            batch, ranges = ranges[: options.jobs], ranges[options.jobs :]
            running = [(first, stop, *start(options.seed, first, stop, Path(folder) / str(first))) for first, stop in batch]
            for first, stop, process, file in running:
                status = process.wait()
                if status not in (0, FOUND):
                    at = int.from_bytes(file.read_bytes(), "little")
                    print(f"--seed {options.seed} --only {at}: the process ended with {status}", flush=True)
                    found += 1
                    if at + 1 < stop:
                        ranges.insert(0, (at + 1, stop))
                else:
                    found += status == FOUND
    print(f"{options.calls} calls from seed {options.seed}: " + ("findings above" if found else "nothing found"))
    return int(found > 0)


def start(seed, first, stop, file):
    file.write_bytes(bytes(8))
    command = [sys.executable, "-m", "tests.fuzz", "--seed", str(seed), "--shard", str(first), str(stop), str(file)]
    return subprocess.Popen(command), file


if __name__ == "__main__":
    sys.exit(main())
