"""fastloss.Partial inside Numba: a tuple of its sums, which adds, and becomes a Partial where Python gets it."""

import operator

from numba.core import cgutils, types
from numba.extending import (
    NativeValue,
    box,
    intrinsic,
    make_attribute_wrapper,
    models,
    overload,
    overload_attribute,
    overload_method,
    register_jitable,
    register_model,
    typeof_impl,
    unbox,
)

from .._loss import Partial, _add_pairs


class PartialType(types.Type):
    """The sums of a Partial."""

    def __init__(self):
        super().__init__("fastloss.Partial")


PARTIAL = PartialType()
PAIR = types.UniTuple(types.float64, 2)
FIELDS = {"loss_pair": PAIR, "weight_pair": PAIR, "count": types.int64, "mean_pair": PAIR}


@register_model(PartialType)
class _Model(models.StructModel):
    def __init__(self, manager, typ):
        super().__init__(manager, typ, list(FIELDS.items()))


for _name in FIELDS:
    make_attribute_wrapper(PartialType, _name, _name)


@typeof_impl.register(Partial)
def _typeof(value, c):
    return PARTIAL


@intrinsic
def new_partial(typingctx, loss, weight, count, mean):
    def codegen(context, builder, signature, arguments):
        made = cgutils.create_struct_proxy(PARTIAL)(context, builder)
        for name, value, given in zip(FIELDS, arguments, signature.args, strict=True):
            setattr(made, name, context.cast(builder, value, given, FIELDS[name]))
        return made._getvalue()

    return PARTIAL(loss, weight, count, mean), codegen


@register_jitable
def partial_of(sums):
    return new_partial((sums[0], sums[1]), (sums[2], sums[3]), sums[4], (sums[0], sums[1]))


add_pairs = register_jitable(_add_pairs)


@overload(operator.add)
def _add(a, b):
    if isinstance(a, PartialType) and isinstance(b, PartialType):
        return lambda a, b: new_partial(add_pairs(a.loss_pair, b.loss_pair), add_pairs(a.weight_pair, b.weight_pair), a.count + b.count, add_pairs(a.mean_pair, b.mean_pair))


@overload_attribute(PartialType, "loss_sum")
def _loss_sum(p):
    return lambda p: p.loss_pair[0] + p.loss_pair[1]


@overload_attribute(PartialType, "weight_sum")
def _weight_sum(p):
    return lambda p: p.weight_pair[0] + p.weight_pair[1]


@overload_method(PartialType, "result")
def _result(p, reduction="mean", empty=None):
    word = getattr(reduction, "literal_value", getattr(reduction, "value", reduction))
    if word == "sum":
        return lambda p, reduction="mean", empty=None: p.loss_sum
    if word != "mean":
        return None
    chosen = register_jitable(lambda empty: float("nan")) if empty is None or isinstance(getattr(empty, "value", empty), types.NoneType | None) \
        else register_jitable(lambda empty: float(empty))

    def mean(p, reduction="mean", empty=None):
        return (p.mean_pair[0] + p.mean_pair[1]) / p.weight_sum if p.weight_sum != 0 else chosen(empty)

    return mean


@box(PartialType)
def _box(typ, value, c):
    made = cgutils.create_struct_proxy(typ)(c.context, c.builder, value)
    kind = c.pyapi.unserialize(c.pyapi.serialize_object(Partial))
    arguments = [c.box(given, getattr(made, name)) for name, given in FIELDS.items()]
    result = c.pyapi.call_function_objargs(kind, arguments)
    for each in (kind, *arguments):
        c.pyapi.decref(each)
    return result


@unbox(PartialType)
def _unbox(typ, value, c):
    made = cgutils.create_struct_proxy(typ)(c.context, c.builder)
    error = c.builder.alloca(cgutils.bool_t)
    c.builder.store(cgutils.false_bit, error)
    for name, given in FIELDS.items():
        field = c.pyapi.object_getattr_string(value, "count" if name == "count" else "_" + name.removesuffix("_pair"))
        native = c.unbox(given, field)
        setattr(made, name, native.value)
        c.pyapi.decref(field)
    return NativeValue(made._getvalue(), is_error=c.builder.load(error))
