"""Plans of calls: arguments of the caller, constants, and compiled functions applied to them."""

from numba.core import types
from numba.core.typing.typeof import typeof


class Argument:
    """An argument that is known when the compiled code runs."""

    def __init__(self, name, index, typ):
        self.name, self.index, self.type = name, index, types.unliteral(typ)
        self._given = typ

    def typed(self, context):
        return self.type

    def lower(self, context, builder, args):
        return context.cast(builder, args[self.index], self._given, self.type)

    def __bool__(self):
        raise TypeError(f"{self.name} must be a constant")

    __index__ = __float__ = __iter__ = __bool__

    def __eq__(self, other):
        raise TypeError(f"{self.name} must be a constant")

    __hash__ = object.__hash__


    def items(self):
        """The items of a tuple; where they are None, that."""
        return tuple(None if isinstance(typ, types.NoneType) else Item(self, k, typ) for k, typ in enumerate(self.type))


class Item(Argument):
    """An item of a tuple that is known when the compiled code runs."""

    def __init__(self, whole, k, typ):
        super().__init__(f"{whole.name}[{k}]", k, typ)
        self._whole = whole

    def lower(self, context, builder, args):
        return builder.extract_value(self._whole.lower(context, builder, args), self.index)


class Symbol:
    """The address of a compiled C function: a symbol that is linked in, which no cache minds."""

    def __init__(self, cfunc):
        self._cfunc = cfunc

    def typed(self, context):
        return types.int64

    def lower(self, context, builder, args):
        from llvmlite import ir
        from numba.core import cgutils

        context.add_linking_libs([self._cfunc._library])
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), self._cfunc.native_name)
        return builder.ptrtoint(function, ir.IntType(64))


class Apply:
    """A compiled function and its arguments: nodes, tuples of nodes, or constants."""

    def __init__(self, function, *arguments):
        self._function, self._arguments, self._signature = function, arguments, None

    def typed(self, context):
        if self._signature is None:
            given = [type_of(a, context) for a in self._arguments]
            self._signature = types.Dispatcher(self._function).get_call_type(context, given, {})
        return self._signature

    def lower(self, context, builder, args):
        signature = self._signature
        values = [value_of(a, t, context, builder, args) for a, t in zip(self._arguments, signature.args, strict=True)]
        function = context.get_function(types.Dispatcher(self._function), signature)
        context.add_linking_libs(getattr(function, "libs", ()))
        return function(builder, values)


def type_of(node, context):
    if isinstance(node, Apply):
        return node.typed(context).return_type
    if isinstance(node, Argument | Symbol):
        return node.typed(context)
    if isinstance(node, tuple):
        return types.BaseTuple.from_types([type_of(n, context) for n in node])
    return typeof(node)


def value_of(node, typ, context, builder, args):
    if isinstance(node, Apply):
        return context.cast(builder, node.lower(context, builder, args), node.typed(context.typing_context).return_type, typ)
    if isinstance(node, Argument | Symbol):
        return context.cast(builder, node.lower(context, builder, args), node.typed(context.typing_context), typ)
    if isinstance(node, tuple):
        return context.make_tuple(builder, typ, [value_of(n, t, context, builder, args) for n, t in zip(node, typ, strict=True)])
    return context.get_constant_generic(builder, typ, node)
