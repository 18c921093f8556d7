"""Expressions of scalars as graphs: what is common stands once, constants are folded, derivatives are derived.

A node is an operation on nodes. A branch is a select: both sides are computed and one is taken, so that nothing of the
other, be it NaN, is left. A derivative that is 0 everywhere is None.
"""

import math
import operator
from dataclasses import dataclass

ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv, "%": operator.mod}
COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}
FUNCTIONS = {f.__name__: f for f in (math.exp, math.expm1, math.log, math.log1p, math.sqrt, math.tanh, math.erf)}
FOLDED = {**ARITHMETIC, **COMPARISONS, **FUNCTIONS, "abs": abs, "neg": operator.neg, "power": math.pow}
PRODUCTS = 16  # powers up to it are products; the error of a product of n is below n / 2 ULP


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """An operation on nodes; the args of a "number" or an "argument" are its value or name."""

    op: str
    args: tuple
    kind: str  # "real" or "bool"
    place: int  # in the order of making: after its args

    @property
    def value(self):
        """Of a constant its value, else None."""
        return self.args[0] if self.op == "number" else None


class Graph:
    """Makes nodes; the same operation on the same nodes is the same node."""

    def __init__(self):
        self._nodes = {}

    def _node(self, op, *args, kind="real"):
        key = (op, repr(args), kind) if op == "number" else (op, *args)
        return self._nodes.setdefault(key, Node(op, args, kind, len(self._nodes)))

    def number(self, value):
        return self._node("number", float(value))

    def truth(self, value):
        return self._node("number", bool(value), kind="bool")

    def argument(self, name):
        return self._node("argument", name)

    def real(self, node):
        """The node as a real: truth is 1 or 0."""
        return self.select(node, self.number(1), self.number(0)) if node.kind == "bool" else node

    def bool(self, node):
        """The node as a condition: a real is true unless 0."""
        return node if node.kind == "bool" else self.apply("!=", node, self.number(0))

    def apply(self, op, *args):
        """An operation on reals; ArithmeticError where it is one on constants that Python refuses."""
        args = [self.real(a) for a in args]
        if all(a.op == "number" for a in args):
            try:
                value = FOLDED[op](*(a.value for a in args))
            except ValueError as error:
                raise ArithmeticError(error) from None
            return self.truth(value) if op in COMPARISONS else self.number(value)
        if op == "*" and args[0].value == 1:
            return args[1]
        if op in ("*", "/") and args[1].value == 1:
            return args[0]
        if op == "power":
            return self._power(*args)
        return self._node(op, *args, kind="bool" if op in COMPARISONS else "real")

    def _power(self, base, exponent):
        if exponent.value == 0:
            return self.number(1)
        if exponent.value == 1:
            return base
        if exponent.value is not None and exponent.value % 2 == 0 and base.op == "abs":
            base = base.args[0]
        return self._node("power", base, exponent)

    def sign(self, x):
        """-1, 0 or 1; NaN at NaN."""
        one, x = self.number(1), self.real(x)
        if x.op == "number":
            return self.select(self.apply(">", x, self.number(0)), one, self.select(self.apply("<", x, self.number(0)), self.number(-1), x))
        return self._node("sign", x)

    def both(self, a, b):
        if "number" in (a.op, b.op):
            constant, other = (a, b) if a.op == "number" else (b, a)
            return other if constant.value else constant
        return self._node("&", a, b, kind="bool")

    def invert(self, a):
        return self.truth(not a.value) if a.op == "number" else self._node("not", a, kind="bool")

    def either(self, a, b):
        if "number" in (a.op, b.op):
            constant, other = (a, b) if a.op == "number" else (b, a)
            return constant if constant.value else other
        return self._node("|", a, b, kind="bool")

    def select(self, condition, a, b):
        condition = self.bool(condition)
        if condition.op == "number":
            return a if condition.value else b
        if a is b:
            return a
        if a.kind != b.kind:
            a, b = self.real(a), self.real(b)
        if a.kind == "bool":
            return self.either(self.both(condition, a), self.both(self.invert(condition), b))
        return self._node("select", condition, a, b)

    # Derivatives; None is 0

    def derivative(self, node, variable):
        """The derivative by an argument: forward, node by node; at a tie or a jump, that of the branch which is taken."""
        known = {}
        for n in ordered([node]):
            known[n] = self.number(1) if n is variable else self._derivative(n, [known.get(a) for a in n.args])
        return known[node]

    def _derivative(self, n, slopes):
        if n.kind == "bool" or not any(slopes):
            return None
        match n.op, slopes:
            case "+", (da, db):
                return self._sum(da, db)
            case "-", (da, db):
                return self._difference(da, db)
            case "neg", (da,):
                return self.apply("neg", da)
            case "*", (da, db):
                a, b = n.args
                if a is b:
                    return self._times(self.apply("*", self.number(2), a), da)
                return self._sum(self._times(b, da), self._times(a, db))
            case "/", (da, db):
                b = n.args[1]
                top = self._difference(da, self._times(n, db))
                return self.apply("/", top, b)
            case "select", (_, da, db):
                zero = self.number(0)
                return self.select(n.args[0], zero if da is None else da, zero if db is None else db)
            case "power", (da, db):
                return self._sum(self._times(self._slope_of_power(*n.args), da) if da else None, self._exponential(n, db) if db else None)
            case "log" | "log1p" | "sqrt", (da,):
                below = {"log": lambda x: x, "log1p": lambda x: self.apply("+", self.number(1), x),
                         "sqrt": lambda x: self.apply("*", self.number(2), n)}[n.op]  # fmt: skip
                return self.apply("/", da, below(n.args[0]))
            case "sign", _:
                return None
            case _, (da,):
                return self._times(self._slope(n, n.args[0]), da)

    def _slope(self, n, x):
        """f'(x) of n = f(x)."""
        match n.op:
            case "exp":
                return n
            case "expm1":
                return self.apply("exp", x)
            case "abs":
                return self.sign(x)
            case "tanh":
                return self._node("tanh_slope", x)
            case "tanh_slope":
                return self._times(self.apply("*", self.number(-2), self.apply("tanh", x)), n)
            case "erf":
                return self._node("erf_slope", x)
            case "erf_slope":
                return self._times(self.apply("*", self.number(-2), x), n)

    def _slope_of_power(self, base, exponent):
        """v u^(v - 1), and 0 for v = 0 where u^-1 may be infinite."""
        slope = self.apply("*", exponent, self.apply("power", base, self.apply("-", exponent, self.number(1))))
        return self._unless_zero(exponent, slope)

    def _exponential(self, n, slope):
        """u^v log(u) v', and 0 where u^v is."""
        return self._times(self._unless_zero(n, self.apply("*", n, self.apply("log", n.args[0]))), slope)

    def _unless_zero(self, a, b):
        return self.select(self.apply("==", a, self.number(0)), self.number(0), b)

    def _sum(self, a, b):
        return b if a is None else a if b is None else self.apply("+", a, b)

    def _difference(self, a, b):
        return a if b is None else self.apply("neg", b) if a is None else self.apply("-", a, b)

    def _times(self, a, slope):
        """a times a slope. The square of a sign is 1, at 0 too: |u|^2 bends there as u^2 does."""
        if slope is None:
            return None
        for sign in (n for n in ordered([slope]) if n.op == "sign"):
            first, second = self._without(sign, a), self._without(sign, slope)
            if first and second:
                a, slope = first, second
        return self.apply("*", a, slope)

    def _without(self, factor, node):
        """The node divided by a factor that it has, or None."""
        known = {factor: self.number(1), self.number(0): self.number(0)}
        for n in ordered([node]):
            if n in known:
                continue
            parts = [known.get(a) for a in n.args]
            match n.op, parts:
                case "*", (a, b) if a or b:
                    known[n] = self.apply("*", *((a, n.args[1]) if a else (n.args[0], b)))
                case "/", (a, _) if a:
                    known[n] = self.apply("/", a, n.args[1])
                case "neg", (a,) if a:
                    known[n] = self.apply("neg", a)
                case ("+" | "-"), (a, b) if a and b:
                    known[n] = self.apply(n.op, a, b)
                case "select", (_, a, b) if a and b:
                    known[n] = self.select(n.args[0], a, b)
        return known.get(node)


def ordered(nodes):
    """The nodes and all that they need, each after what it needs."""
    found, pending = set(), list(nodes)
    while pending:
        n = pending.pop()
        if n not in found:
            found.add(n)
            pending += [a for a in n.args if isinstance(a, Node)]
    return sorted(found, key=lambda n: n.place)


# Text in the formula language


def function_text(name, arrays, scalars, returns):
    """The nodes as a function of the formula language, one operation on a line."""
    lines, names = [], {}
    for n in ordered(returns):
        if n.op == "number":
            names[n] = literal(n.value)
        elif n.op == "argument":
            names[n] = n.args[0]
        else:
            names[n] = f"v{len(lines)}"
            unused = "tanh_value, " if n.op == "tanh_slope" else ""
            lines += [f"    {unused}{names[n]} = {expression(n, [names[a] for a in n.args])}\n"]
    star = ["*", *scalars] if scalars else []
    return f"def {name}({', '.join([*arrays, *star])}):\n{''.join(lines)}    return {', '.join(names[n] for n in returns)}\n"


def literal(value):
    size = "nan" if math.isnan(value) else "inf" if math.isinf(value) else repr(abs(value))
    return f"(-{size})" if math.copysign(1, value) < 0 else size


def expression(node, args):
    match node.op, args:
        case "neg", (x,):
            return f"-{x}"
        case "not", (x,):
            return f"not {x}"
        case "sign", (x,):
            return f"_sign({x})"
        case "tanh_slope", (x,):
            return f"tanh_({x})"
        case "erf_slope", (x,):
            return f"1.1283791670955126 * (_bell_up(min(abs({x}), _bell_end()), 1.0) * _down())"
        case "power", (x, _):
            return power(x, args[1], node.args[1].value)
        case op, (a, b):
            return f"{a} {op} {b}"
        case op, _:
            return f"{op}({', '.join(args)})"


def power(x, exponent, value):
    """x to a constant exponent by products or a square root, to any other by the target's own power."""
    if value is not None and abs(value) in (0.5, *range(1, PRODUCTS + 1)):
        text = f"sqrt({x})" if abs(value) == 0.5 else product(x, int(abs(value)))
        return f"1.0 / ({text})" if value < 0 else text
    return f"power({x}, {exponent})"


def product(x, n):
    """x^n by squares."""
    if n == 1:
        return x
    half = product(x, n // 2)
    return f"({half}) * ({half})" + f" * {x}" * (n % 2)
