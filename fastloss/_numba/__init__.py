"""fastloss inside Numba's compiled functions: `register` is the entry point that Numba calls before it compiles first.

A public function, and a method of one, is a Numba type of its own: a `Public`, which needs no memory. To type a call,
`plans` turns the types of the arguments into a plan: an `Apply` of compiled functions. Lowering follows the plan.
"""

import functools
import inspect

from numba.core import errors, types
from numba.core.imputils import lower_constant, lower_getattr_generic
from numba.core.registry import cpu_target
from numba.core.typing.templates import AttributeTemplate, infer_getattr, infer_global
from numba.core.typing.typeof import typeof_impl
from numba.extending import NativeValue, models, register_model, unbox

import fastloss

from .._activation import Activation
from .._lines import RowFunction
from .._loss import _Methods
from ..custom import CustomActivation, CustomLoss

METHODS = ("grad", "backward", "backward_weight", "backward_beta", "value_and_grad", "value_grad_hess", "partial", "log_prob", "predict")

REQUIRED = object()         # the default of an argument that has none, but stands behind one that has


def public_names():
    """The public callables by their names, those of fastloss.optim with that before them."""
    for before, module in (("", fastloss), ("optim.", fastloss.optim), ("schedules.", fastloss.schedules)):
        for name in module.__all__:
            if callable(getattr(module, name)) and name != "Partial":
                yield before + name, getattr(module, name)


OBJECTS = dict(public_names())
NAMES = {id(value): name for name, value in OBJECTS.items()}
SCHEDULES = tuple(getattr(fastloss.schedules, name) for name in fastloss.schedules.__all__)


def name_of(function):
    """The name that a type carries, one for all objects that are equal."""
    if isinstance(function, CustomActivation | CustomLoss):
        return f"custom {function.definition}"
    return NAMES.get(id(function)) or repr(function)


class Public(types.Callable, types.Opaque):
    """A public function, custom loss or schedule, or a method of one."""

    def __init__(self, function, method="__call__"):
        self.function, self.method = function, method
        self._plans = {}
        super().__init__(f"fastloss.{name_of(function)}" + ("" if method == "__call__" else f".{method}"))

    def __reduce__(self):
        return Public, (self.function, self.method)

    @functools.cached_property
    def pysig(self):
        """The arguments, none of them keyword-only: Numba folds no others."""
        from .plans import signature

        own = signature(self.function, self.method)
        kind, parameters, optional = inspect.Parameter.POSITIONAL_OR_KEYWORD, [], False
        for p in own.parameters.values():
            optional |= p.default is not p.empty
            default = REQUIRED if optional and p.default is p.empty else p.default
            parameters.append(p.replace(kind=kind, annotation=p.empty, default=default))
        return inspect.Signature(parameters)

    def get_call_type(self, context, args, kws):
        from .plans import plan

        try:
            bound = self.pysig.bind(*args, **kws)
        except TypeError as error:
            raise errors.TypingError(f"{self.name}: {error}") from None
        arguments = {name: bound.arguments.get(name, types.Omitted(p.default)) for name, p in self.pysig.parameters.items()}
        given = tuple(arguments.values())
        for name, typ in arguments.items():
            if isinstance(typ, types.Omitted) and typ.value is REQUIRED:
                raise errors.TypingError(f"{self.name}: missing a required argument: {name!r}")
        try:
            root = self._plans.get(given) or plan(self.function, self.method, arguments)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise errors.TypingError(f"{self.name}: {error}") from None
        if given not in self._plans:
            self._plans[given] = root
            lowering = functools.partial(_lower_plan, root)
            cpu_target.target_context.insert_func_defn([(lowering, self.get_impl_key(given), (types.VarArg(types.Any),))])
        return root.typed(context).return_type(*given).replace(pysig=self.pysig)

    def get_call_signatures(self):
        return (), True

    def get_impl_key(self, sig):
        return self, tuple(getattr(sig, "args", sig))


def _lower_plan(root, context, builder, sig, args):
    return root.lower(context, builder, args)


register_model(Public)(models.OpaqueModel)


@lower_constant(Public)
def _constant(context, builder, typ, value):
    return context.get_dummy_value()


@unbox(Public)
def _unbox(typ, value, c):
    return NativeValue(c.context.get_dummy_value())


@lower_getattr_generic(Public)
def _get_method(context, builder, typ, value, name):
    return context.get_dummy_value()


@infer_getattr
class _PublicMethods(AttributeTemplate):
    key = Public

    def generic_resolve(self, typ, name):
        if typ.method == "__call__" and name in METHODS and hasattr(typ.function, name):
            return Public(typ.function, name)


@functools.cache
def register():
    """Teach Numba the public functions; once is enough."""
    def typeof(value, c):
        if id(value) in NAMES or isinstance(value, (CustomActivation, CustomLoss, *SCHEDULES)):
            return Public(value)

    for kind in (_Methods, Activation, RowFunction, *SCHEDULES):
        typeof_impl.register(kind)(typeof)
    for value in OBJECTS.values():
        if inspect.isroutine(value) or inspect.isclass(value):
            infer_global(value, Public(value))
