"""A user's own losses and activations, written as plain Python functions of scalars.

The function is read, not called: kernels/reader.py makes expressions of it, derives what it does not return, and writes it
in the language of the built-in formulas; kernels/generate.py makes loops of that, which Numba compiles at the first call.
"""

import ast
import importlib.util
import inspect
from functools import cached_property
from typing import NamedTuple

from . import _check as check
from . import _config as config
from ._activation import Activation
from ._loss import ElementwiseLoss, Options, Terms
from ._source import source

__all__ = ["custom_activation", "custom_loss"]


class Role(NamedTuple):
    """What a formula is for."""

    inputs: tuple           # the public names of its arrays
    arrays: tuple           # what the kernels call them
    outputs: tuple          # what it may return
    reserved: tuple         # further names that its parameters cannot have
    most: float             # parameters; a loop takes eight arrays, and those of an activation are arrays


ROLES = {
    "loss": Role(("input", "target"), ("x", "y"), ("value", "gradient", "second derivative"), ("weight", *Options._fields), float("inf")),
    "activation": Role(("x",), ("x",), ("value", "derivative"), ("g", "out", "where"), 5),
}


class Definition(NamedTuple):
    """A custom loss or activation by itself, as it is pickled."""

    role: str
    text: str               # the formula and its derivatives, in the language of kernels/formulas
    name: str
    doc: str
    defaults: dict          # of the parameters; None: a value must be given

    def parameters(self, kind):
        """The parameters as those of a signature; after one with a default those without need their name."""
        made = []
        for name, value in self.defaults.items():
            if value is None and made and made[-1].default is not inspect.Parameter.empty:
                kind = inspect.Parameter.KEYWORD_ONLY
            made.append(inspect.Parameter(name, kind, default=inspect.Parameter.empty if value is None else value))
        return made

    def named(self, function):
        """The function under this name."""
        function.__name__ = function.__qualname__ = self.name
        function.__doc__ = self.doc
        return function


def custom_loss(formula, name=None, params={}):
    """Make a loss, with every method of the built-in ones, from a plain Python function of two numbers.

    The loss takes ``(input, target, *, weight=None, **parameters)`` and what every loss takes: ``reduction``, ``where``,
    ``sample_weight``, ``empty``, ``upstream``, ``out``; it has ``value_and_grad``, ``grad``, ``value_grad_hess`` and
    ``partial``, and runs on all threads, with the same bits on any number of them. Numba compiles it at the first call, in
    the dtype of input.

    Parameters
    ----------
    formula : function, or str that is the text of one
        ``formula(x, y, **parameters)``, which returns value, (value, gradient) or (value, gradient, second derivative) with
        respect to x. Derivatives that it does not return are derived from it.
        It is made of assignments to names, ``if``, ``return``, arithmetic, comparisons, ``and``, ``or``, ``not``, conditional
        expressions, ``abs``, ``min``, ``max``, ``pow`` and ``**``, and of ``exp``, ``expm1``, ``log``, ``log1p``, ``sqrt``,
        ``tanh``, ``erf`` as math and NumPy spell them (and NumPy's ``where``, ``sign``, ``square``, ``maximum``,
        ``minimum``). Numbers from outside are taken when the loss is made.
    name : str, optional
        The loss's name; the function's by default.
    params : dict, optional
        Defaults of parameters, in place of the function's own. A parameter is a number; another value compiles nothing.

    Returns
    -------
    Loss
        A picklable object.

    Raises
    ------
    ValueError
        For a formula outside that language, with line and reason; one whose source cannot be found; unfit parameters.
    TypeError
        For a formula that is neither a function nor text.
    ImportError
        Without Numba: ``pip install 'fastloss[numba]'``.

    Notes
    -----
    At a kink the derivatives are those of the branch that the function takes: ``max(a, b)`` is a at a tie, as in Python, and
    ``abs`` has the derivative 0 at 0. Of a branch that is not taken nothing is left, NaN included. A power is C's ``pow``: NaN
    for a negative base and a fraction. A mean divides by the sum of the weights.

    References
    ----------
    Griewank and Walther, Evaluating Derivatives (2008), chapter 3.

    Examples
    --------
    >>> import fastloss as fl
    >>> def cauchy(x, y, scale=1.0):
    ...     t = (x - y) / scale
    ...     return math.log1p(t * t)
    >>> import math
    >>> loss = fl.custom_loss(cauchy)
    >>> loss.value_and_grad([1.0, 3.0], [1.0, 1.0], reduction="sum", scale=2.0)
    (np.float64(0.6931471805599453), array([0. , 0.5]))
    >>> fl.custom_loss("lambda x, y: max(x - y, 0.0) ** 2", name="over").value_grad_hess([2.0], [0.0])
    (np.float64(4.0), array([4.]), array([2.]))
    """
    return CustomLoss(_definition(formula, name, params, "loss"))


def custom_activation(formula, name=None, params={}):
    """Make an activation, with every method of the built-in ones, from a plain Python function of a number.

    The activation takes ``(x, *parameters, out=None, where=True)``; it has ``grad``, ``backward(g, x, ...)`` and ``ufunc``.
    Parameters are numbers, or arrays that broadcast against x.

    Parameters
    ----------
    formula : function, or str that is the text of one
        ``formula(x, **parameters)`` in the language of `custom_loss`, with at most five parameters, which returns value or
        (value, derivative); a derivative that it does not return is derived from it.
    name : str, optional
        The activation's name; the function's by default.
    params : dict, optional
        Defaults of parameters, in place of the function's own.

    Returns
    -------
    Activation
        A picklable object.

    Raises
    ------
    ValueError, TypeError, ImportError
        As `custom_loss`.

    References
    ----------
    Griewank and Walther, Evaluating Derivatives (2008), chapter 3.

    Examples
    --------
    >>> import fastloss as fl
    >>> leaky = fl.custom_activation("lambda x, slope=0.1: x if x > 0 else slope * x", name="leaky")
    >>> leaky([-1.0, 2.0]), leaky.grad([-1.0, 2.0], slope=0.5)
    (array([-0.1,  2. ]), array([0.5, 1. ]))
    """
    return CustomActivation(_definition(formula, name, params, "activation"))


class _Custom:
    """What custom losses and activations have in common; `definition` is all of them."""

    def _kernels(self):
        return config.numba()

    @cached_property
    def _formula(self):
        """The name by which the kernels know the formula."""
        return config.numba().define(self.definition.text, self.definition.role)

    def text(self, target="formula"):
        """The formula with its derivatives: "formula", in the language of kernels/formulas; "numba" or "cuda", a module for that target."""
        if target == "formula":
            return self.definition.text
        from .kernels.generate import custom_module

        return custom_module("custom", self.definition.text, self.definition.role, target)

    def _values(self, given):
        """The values of all parameters, in the order of the formula."""
        defaults = self.definition.defaults
        for key in given:
            if key not in defaults:
                raise TypeError(f"{self.__name__}() got an unexpected keyword argument {key!r}")
        values = {**defaults, **given}
        for key, value in values.items():
            if value is None:
                raise TypeError(f"{self.__name__}() is missing its parameter {key!r}, a number")
        return values

    def __repr__(self):
        return f"<custom {self.definition.role} {self.__name__}{self.__signature__}>"

    def __reduce__(self):
        return type(self), (self.definition,)


class CustomLoss(_Custom, ElementwiseLoss):
    """A loss from a user's formula."""

    def __init__(self, definition):
        def terms(input, target, *, weight=None, **given):
            return Terms({"input": input, "target": target}, self._parameters(given, check.number), weight, self._formula)

        own = list(inspect.signature(terms).parameters.values())[:3]
        terms.__signature__ = inspect.Signature([*own, *definition.parameters(inspect.Parameter.KEYWORD_ONLY)])
        self.definition = definition
        self._short = {"reduction", *definition.defaults}
        ElementwiseLoss.__init__(self, definition.named(terms), mean_over_weight=True, compiled=False)

    def _parameters(self, given, number=check.number):
        """The formula's parameters; inside Numba `number` is another."""
        return tuple([number(name, value, "a number", lambda _: True) for name, value in self._values(given).items()])

    @cached_property
    def _defaults(self):
        return self._parameters({})

    def _formula_and(self, given):
        return self._formula, self._parameters(given) if given else self._defaults


class CustomActivation(_Custom, Activation):
    """An activation from a user's formula."""

    def __init__(self, definition):
        def parameters(*args, **given):
            bound = self._own.bind_partial(*args, **given)
            return self._formula, tuple(self._values(bound.arguments).values())

        self.definition = definition
        self._own = parameters.__signature__ = inspect.Signature(definition.parameters(inspect.Parameter.POSITIONAL_OR_KEYWORD))
        Activation.__init__(self, definition.named(parameters), compiled=False)

    @property
    def ufunc(self):
        """The NumPy ufunc underneath; its further inputs are the parameters."""
        return config.numba().ufunc(self._formula, "value")


# From a function to its Definition


def _definition(formula, name, params, role):
    if not _has_numba():
        raise ImportError("custom losses and activations need Numba: pip install 'fastloss[numba]'")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name is {name!r}; it must be a str")
    try:
        return _read(formula, name, params, role)
    except RecursionError:
        raise ValueError("<formula>:1: an expression of the formula is nested too deeply") from None


def _read(formula, name, params, role):
    from .kernels.reader import CALLS, rewritten

    function, traits = source(formula), ROLES[role]
    for decorator in function.node.decorator_list:
        if function.look_up(ast.unparse(decorator)) not in (custom_loss, custom_activation, staticmethod):
            function.refuse(decorator, f"a decorator is outside the formula language: @{ast.unparse(decorator)}")
    arguments = _arguments(function, traits)
    defaults = _defaults(function, arguments[len(traits.arrays) :], params)
    scalars = [f"p{k}" for k in range(len(defaults))]
    arrays, scalars = ([*traits.arrays], scalars) if role == "loss" else ([*traits.arrays, *scalars], [])
    text = rewritten(function.node, function.path, function.meanings(CALLS), arguments, arrays, scalars, traits.outputs)
    doc = ast.get_docstring(function.node) or f"A custom {role}: see `fastloss.custom_{role}`."
    return Definition(role, text, name or function.node.name, doc, defaults)


def _has_numba():
    try:
        return importlib.util.find_spec("numba") is not None
    except ImportError:
        return False


def _arguments(function, traits):
    """The names of a formula's arguments: its arrays, then its parameters."""
    a, count = function.node.args, len(traits.arrays)
    wanted = " and ".join(traits.inputs)
    for further in (a.vararg, a.kwarg):
        if further is not None:
            function.refuse(further, f"*{further.arg} is outside the formula language; name each parameter")
    positional = [p.arg for p in (*a.posonlyargs, *a.args)]
    if len(positional) < count or any(name in function.defaults for name in positional[:count]):
        function.refuse(function.node, f"a formula's first {count} argument{'s' * (count > 1)}, without default, stand for {wanted}")
    names = [*positional, *(p.arg for p in a.kwonlyargs)]
    for name in names[count:]:
        if name in (*traits.inputs, *traits.reserved):
            function.refuse(function.node, f"{name} is an argument of its own of every such call; the formula's parameter needs another name")
    if len(names) - count > traits.most:
        function.refuse(function.node, f"the formula has {len(names) - count} parameters; it may have {traits.most}")
    return names


def _defaults(function, names, params):
    """A number for each parameter, None where there is no default."""
    given = dict.fromkeys(names)
    for name, value in function.defaults.items():
        given[name] = _number(value)
        if given[name] is None and name not in params:
            function.refuse(function.node, f"the default of {name} is {value!r}; it must be a number")
    for name, value in params.items():
        if name not in names:
            raise ValueError(f"params has {name!r}; the formula's parameters are {', '.join(names) or 'none'}")
        given[name] = _number(value)
        if given[name] is None:
            raise ValueError(f"params[{name!r}] is {value!r}; it must be a number")
    return given


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
