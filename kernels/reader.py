"""Reads a user's plain Python function into expressions, and writes it, with its derivatives, in the formula language.

The function runs once on nodes: a name holds the expression of its value on every path, an `if` makes selects.
"""

import ast

from .expressions import FUNCTIONS, Graph, function_text

OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "power"}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
# name -> number of arguments, None for any; those of Python, of math and NumPy's
CALLS = {
    **dict.fromkeys(FUNCTIONS, 1), "abs": 1, "fabs": 1, "absolute": 1, "float": 1, "square": 1, "sign": 1, "negative": 1,
    "pow": 2, "power": 2, "float_power": 2, "maximum": 2, "minimum": 2, "where": 3, "max": None, "min": None,
}  # fmt: skip
OUTSIDE = {
    "For": "a loop", "While": "a loop", "AsyncFor": "a loop", "Attribute": "an attribute", "Subscript": "indexing", "Lambda": "a function within it",
    "FunctionDef": "a function within it", "ListComp": "a loop", "GeneratorExp": "a loop", "Import": "an import", "ImportFrom": "an import",
    "Global": "a global name", "Nonlocal": "a nonlocal name", "Try": "an exception", "Raise": "an exception", "Assert": "an assertion",
    "With": "a with block", "Yield": "a generator", "Starred": "a starred argument", "NamedExpr": "an assignment within an expression",
    "BinOp": "this operator", "UnaryOp": "this operator", "Compare": "this comparison", "Expr": "an expression without effect", "Tuple": "a tuple", "List": "a list", "JoinedStr": "a string", "Delete": "a deletion",
}  # fmt: skip


class Reader:
    """names: what the names (math.exp, np.pi) that the function takes from outside mean: a number, or the name of a function."""

    def __init__(self, node, path, names):
        self.node, self.path, self.names, self.graph = node, path, names, Graph()

    def refuse(self, node, reason):
        raise ValueError(f"{self.path}:{getattr(node, 'lineno', self.node.lineno)}: {reason}")

    def outside(self, node):
        kind = type(node).__name__
        self.refuse(node, f"{OUTSIDE.get(kind, kind)} is outside the formula language: {ast.unparse(node).splitlines()[0]}")

    def read(self, arguments):
        """The nodes that the function returns; arguments: what its parameters are called in the expressions."""
        variables = {name: self.graph.argument(argument) for name, argument in arguments.items()}
        self.local = {n.id for n in ast.walk(self.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | set(arguments)
        _, done, result = self.block(self.node.body, variables)
        if not done.value:
            self.refuse(self.node, "a path ends without return")
        return result

    # Statements: (what the names hold, whether the function has returned, what)

    def block(self, statements, variables):
        variables, done, result = dict(variables), self.graph.truth(False), None
        for statement in statements:
            if done.value:
                break
            match statement:
                case ast.Pass() | ast.Expr(ast.Constant(str())) | ast.AnnAssign(value=None):
                    continue
                case ast.Return(value):
                    more, given = self.graph.truth(True), self.returned(statement, value, variables)
                case ast.If():
                    variables, more, given = self.branches(statement, variables)
                case _:
                    self.assign(statement, variables)
                    continue
            result = self.choose(statement, done, result, given)
            done = self.graph.either(done, more)
        return variables, done, result

    def returned(self, node, value, variables):
        elements = value.elts if isinstance(value, ast.Tuple) else [value]
        if value is None or not elements:
            self.refuse(node, "return without a value")
        return tuple(self.graph.real(self.value(e, variables)) for e in elements)

    def branches(self, node, variables):
        test = self.test(node.test, variables)
        if test.op == "number":
            return self.block(node.body if test.value else node.orelse, variables)
        (a, a_done, a_result), (b, b_done, b_result) = self.block(node.body, variables), self.block(node.orelse, variables)
        if a_done.value:
            merged = b
        elif b_done.value:
            merged = a
        else:
            merged = {name: self.graph.select(test, a[name], b[name]) for name in a.keys() & b.keys()}
        return merged, self.graph.select(test, a_done, b_done), self.choose(node, test, a_result, b_result)

    def choose(self, node, condition, a, b):
        """Returned tuples: a where the condition holds, else b; one that is None is of paths that do not return."""
        if a is None or b is None:
            return a or b
        if len(a) != len(b):
            self.refuse(node, f"every return gives the same number of values, not {len(a)} and {len(b)}")
        return tuple(self.graph.select(condition, p, q) for p, q in zip(a, b, strict=True))

    def assign(self, node, variables):
        match node:
            case ast.Assign(targets, value):
                pairs = [(target, value) for target in targets]
            case ast.AnnAssign(target, _, value) if value is not None:
                pairs = [(target, value)]
            case ast.AugAssign(ast.Name(name) as target, op, value):
                left = ast.copy_location(ast.Name(name, ast.Load()), target)
                pairs = [(target, ast.copy_location(ast.BinOp(left, op, value), node))]
            case _:
                self.outside(node)
        for target, value in pairs:
            match target, value:
                case ast.Name(name), _:
                    variables[name] = self.value(value, variables)
                case (ast.Tuple(names) | ast.List(names)), (ast.Tuple(values) | ast.List(values)) if len(names) == len(values):
                    given = [self.value(v, variables) for v in values]
                    if not all(isinstance(n, ast.Name) for n in names):
                        self.outside(target)
                    variables.update(zip((n.id for n in names), given, strict=True))
                case _:
                    self.refuse(target, f"{ast.unparse(target)}: assign to a name, or as many values to names")

    # Expressions

    def test(self, node, variables):
        return self.graph.bool(self.value(node, variables))

    def apply(self, node, op, *args):
        try:
            return self.graph.apply(op, *args)
        except ArithmeticError as error:
            self.refuse(node, f"{ast.unparse(node)} cannot be computed: {error}")

    def value(self, node, variables):
        graph = self.graph
        match node:
            case ast.Constant(bool(value)):
                return graph.truth(value)
            case ast.Constant(int(value) | float(value)):
                return self.number(node, value)
            case ast.Name() | ast.Attribute():
                return self.name(node, variables)
            case ast.UnaryOp(ast.USub(), operand):
                return self.apply(node, "neg", self.value(operand, variables))
            case ast.UnaryOp(ast.UAdd(), operand):
                return graph.real(self.value(operand, variables))
            case ast.UnaryOp(ast.Not(), operand):
                return graph.invert(self.test(operand, variables))
            case ast.BinOp(left, op, right):
                return self.binary(node, op, self.value(left, variables), self.value(right, variables))
            case ast.BoolOp(op, values):
                values = [self.value(v, variables) for v in values]
                if any(v.kind != "bool" for v in values):
                    self.refuse(node, f"{ast.unparse(node)}: and, or take comparisons")
                combine = graph.both if isinstance(op, ast.And) else graph.either
                total = values[0]
                for v in values[1:]:
                    total = combine(total, v)
                return total
            case ast.Compare(left, ops, comparators):
                values, total = [self.value(v, variables) for v in (left, *comparators)], graph.truth(True)
                for op, a, b in zip(ops, values, values[1:], strict=False):
                    if type(op) not in COMPARISONS:
                        self.outside(node)
                    total = graph.both(total, self.apply(node, COMPARISONS[type(op)], a, b))
                return total
            case ast.IfExp(test, body, orelse):
                return graph.select(*(self.value(v, variables) for v in (test, body, orelse)))
            case ast.Call(ast.Name("float"), [ast.Constant("nan" | "inf" | "-inf" as text)]):
                return graph.number(float(text))
            case ast.Call(function, args, keywords):
                return self.call(node, function, args, keywords, variables)
            case ast.Constant():
                self.refuse(node, f"{node.value!r} is no number")
        self.outside(node)

    def number(self, node, value):
        try:
            return self.graph.number(value)
        except OverflowError:
            self.refuse(node, "an int too large for a float")

    def name(self, node, variables):
        name = ast.unparse(node)
        if name in variables:
            return variables[name]
        meaning = None if name.partition(".")[0] in self.local else self.names.get(name)
        if isinstance(meaning, float):
            return self.graph.number(meaning)
        if name in self.local:
            self.refuse(node, f"{name} is not assigned on every path")
        if isinstance(meaning, str):
            self.refuse(node, f"{name} is a function; call it")
        if isinstance(node, ast.Attribute):
            self.outside(node)
        self.refuse(node, f"{name} is neither an argument nor a number")

    def binary(self, node, op, a, b):
        if isinstance(op, ast.BitAnd | ast.BitOr) and a.kind == b.kind == "bool":
            return self.graph.both(a, b) if isinstance(op, ast.BitAnd) else self.graph.either(a, b)
        symbol = OPERATORS.get(type(op))
        if symbol is None or (symbol in ("//", "%") and not a.op == b.op == "number"):
            self.outside(node)
        if symbol == "/" and b.value == 0:
            self.refuse(node, f"{ast.unparse(node)} divides by zero")
        return self.apply(node, symbol, a, b)

    def call(self, node, function, args, keywords, variables):
        name = ast.unparse(function)
        called = None if name.partition(".")[0] in self.local else self.names.get(name)
        if not isinstance(called, str):
            known = "abs, min, max, exp, expm1, log, log1p, sqrt, tanh, erf, pow, sign, where"
            self.refuse(node, f"{name} is no function of the formula language ({known})")
        wanted = CALLS[called]
        if keywords or any(isinstance(a, ast.Starred) for a in args) or (len(args) < 2 if wanted is None else len(args) != wanted):
            self.refuse(node, f"{ast.unparse(node)}: {name} takes {'two or more' if wanted is None else wanted} arguments, by position")
        values = [self.value(a, variables) for a in args]
        graph = self.graph
        match called, values:
            case ("float", (x,)):
                return graph.real(x)
            case ("abs" | "fabs" | "absolute"), (x,):
                return self.apply(node, "abs", x)
            case "square", (x,):
                return self.apply(node, "*", x, x)
            case "negative", (x,):
                return self.apply(node, "neg", x)
            case "sign", (x,):
                return graph.sign(x)
            case ("pow" | "power" | "float_power"), (x, y):
                return self.apply(node, "power", x, y)
            case "where", (condition, a, b):
                return graph.select(condition, a, b)
            case ("max" | "min"), (first, *rest):
                for x in rest:
                    first = graph.select(self.apply(node, ">" if called == "max" else "<", x, first), x, first)
                return first
            case ("maximum" | "minimum"), (a, b):     # unlike Python's, NaN where either is
                other = graph.either(self.apply(node, ">" if called == "maximum" else "<", b, a), self.apply(node, "!=", b, b))
                return graph.select(other, b, a)
        return self.apply(node, called, *values)


def rewritten(node, path, names, arguments, arrays, scalars, outputs):
    """A function in the formula language, named custom, whose arguments are called arrays and scalars; derivatives by the first
    array that node does not return are derived, until there are as many values as `outputs` has names.
    """
    reader = Reader(node, path, names)
    try:
        returns = list(reader.read(dict(zip(arguments, [*arrays, *scalars], strict=True))))
        if len(returns) > len(outputs):
            reader.refuse(node, f"the formula returns {len(returns)} values; it may return {', '.join(outputs)}, from the first on")
        graph = reader.graph
        while len(returns) < len(outputs):
            returns.append(graph.derivative(returns[-1], graph.argument(arrays[0])) or graph.number(0))
    except ArithmeticError as error:
        reader.refuse(node, f"its derivative cannot be computed: {error}")
    return function_text("custom", arrays, scalars, returns)
