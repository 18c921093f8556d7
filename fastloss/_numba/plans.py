"""From the types of a call's arguments to its plan, by the kind of object that is called."""

import inspect
import itertools
from importlib import import_module

import numpy as np
from numba.core import types

import fastloss

from .. import activations, optim, schedules
from .._activation import Activation
from .._linear import AdaptiveLoss, LinearLoss, LinearTerms
from .._lines import BrierLoss, HingeLoss, LineLoss, Lines, RowFunction
from .._loss import COMMON, ElementwiseLoss, Options, RowLoss, RowTerms, Terms
from ..custom import CustomActivation, CustomLoss
from ..sequence import CtcLoss, Sequences
from . import along, elementwise, linear, lines, rows, sequences
from . import optim as steps
from . import schedules as rules
from .nodes import Argument
from .trace import Checks, terms

family = import_module("fastloss.softmax")          # fastloss.softmax is the function
MODES = {"__call__": "v", "value_and_grad": "vg", "value_grad_hess": "vgh", "grad": "g", "partial": "p"}


def signature(function, method):
    """The arguments of a method of a public function."""
    if isinstance(function, Activation | RowFunction):
        own = list(function.__signature__.parameters.values())
        if method.startswith("backward"):
            without = () if method == "backward" else ("out", "where")
            own = [inspect.Parameter("g", inspect.Parameter.POSITIONAL_OR_KEYWORD), *(p for p in own if p.name not in (*without, "keepdims"))]
        return inspect.Signature(own)
    if hasattr(function, "value_and_grad") and method in MODES:
        own = inspect.signature(function._function).parameters.values()
        common = COMMON[MODES[method]] if "reduction" in function.__signature__.parameters else ()
        defaults = Options._field_defaults | {"reduction": function._reduction}
        further = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=defaults[n]) for n in common]
        return inspect.Signature([*own, *further])
    if method == "__call__":
        return inspect.signature(function)
    return inspect.signature(getattr(function, method))


def node(name, index, typ):
    """A constant where the type tells it, else an Argument."""
    if isinstance(typ, types.Omitted):
        return typ.value
    if isinstance(typ, types.NoneType):
        return None
    if isinstance(typ, types.Literal):
        return typ.literal_value
    if isinstance(typ, types.Optional):
        raise TypeError(f"{name} may be None here; whether it is must be known when Numba compiles")
    if isinstance(typ, types.DType | types.NumberClass):
        return np.dtype(str(typ.dtype))
    if isinstance(typ, types.Array) and typ.dtype not in (types.float32, types.float64, types.boolean) and not isinstance(typ.dtype, types.Integer):
        raise TypeError(f"{name} has dtype {typ.dtype}; inside Numba it must be a float32, float64 or integer array")
    return Argument(name, index, typ)


def planner(function):
    """What plans the calls of a public function, or None: it stays outside Numba."""
    return PLANS.get(function if inspect.isroutine(function) else type(function))


def plan(function, method, arguments):
    """The Apply that computes function.method of arguments of these types."""
    make = planner(function)
    if make is None:
        raise TypeError(f"does not compile inside Numba: it {reason(function)}; call it from Python, or within numba.objmode")
    return make(function, MODES.get(method, method), {name: node(name, i, typ) for i, (name, typ) in enumerate(arguments.items())})


def reason(function):
    """Why a public function has no plan."""
    if function in PROCESS:
        return "sets or tells what holds for the whole process"
    if function is optim.clip_grad_norm:
        return "walks trees of Python's containers"
    if function is fastloss.chunked:
        return "cuts whatever can be cut in rows, files too"
    return "makes or keeps a Python object"


PROCESS = {getattr(fastloss, name) for name in ("backend", "get_backend", "get_include", "get_num_threads", "set_backend", "set_num_threads", "show_config", "threads")}
LOSSES = {Terms: elementwise.loss, RowTerms: rows.row_loss, Lines: lines.line_loss, LinearTerms: linear.linear, Sequences: sequences.ctc}


def loss(function, mode, nodes):
    """The plan of a loss, by what its function names."""
    own = inspect.signature(function._function).parameters
    named = terms(function._function, {name: nodes[name] for name in own})
    if isinstance(function, HingeLoss):
        if function.of_classes(*itertools.starmap(Checks().form, named.arrays.items())):
            named = function.lines(**named.arrays)
    return LOSSES[type(named)](function, mode, nodes, named)


PLANS = {
    **dict.fromkeys((Activation, CustomActivation), elementwise.activation),
    **dict.fromkeys((ElementwiseLoss, CustomLoss, HingeLoss, BrierLoss, RowLoss, LineLoss, LinearLoss, CtcLoss), loss),
    RowFunction: lines.row_function,
    AdaptiveLoss: linear.adaptive,
    **{getattr(activations, name): getattr(along, name) for name in ("crelu", "glu", "maxout", "rrelu")},
    **{getattr(schedules, name): rules.schedule for name in schedules.__all__ if name != "ReduceOnPlateau"},
    family.softmax: rows.softmax,
    family.log_softmax: rows.softmax,
    family.softmin: rows.softmax,
    family.logsumexp: rows.logsumexp,
    family.hardmax: rows.hardmax,
}
PLANS |= {getattr(optim, name): steps.step for name in optim.__all__ if name.endswith("_step")}
