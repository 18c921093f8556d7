"""A user's function as a syntax tree, and what the names in it mean."""

import ast
import builtins
import inspect
import textwrap
import types
from typing import NamedTuple

import numpy as np


class Source(NamedTuple):
    """A function as it is written."""

    node: ast.FunctionDef
    path: str               # for messages: path:line
    outside: dict           # name -> object, of what the function can see
    defaults: dict          # of its parameters

    def refuse(self, node, reason):
        raise ValueError(f"{self.path}:{node.lineno}: {reason}")

    def meanings(self, functions):
        """What the names (math.exp, np.pi) that the function takes from outside mean: a number, or the name of a function."""
        dotted = {ast.unparse(n) for n in ast.walk(self.node) if isinstance(n, ast.Name | ast.Attribute)}
        found = {name: _meaning(name, self.look_up(name), functions) for name in dotted}
        return {name: meaning for name, meaning in found.items() if meaning is not None}

    def look_up(self, dotted):
        """The object of a name, or of a name in a module; None where there is none."""
        first, *rest = dotted.split(".")
        found = self.outside.get(first, getattr(builtins, first, None))
        for name in rest:
            found = getattr(found, name, None) if isinstance(found, types.ModuleType) else None
        return found


def _meaning(name, found, functions):
    if found is None:
        return name if name in functions else None
    if isinstance(found, bool | int | float | np.bool | np.integer | np.floating):
        return float(found)
    own = getattr(found, "__name__", None)
    known = isinstance(found, np.ufunc) or found is np.where or getattr(found, "__module__", None) in ("math", "builtins")
    return own if known and own in functions else None


def source(formula):
    """The Source of a function, or of the text of one."""
    if isinstance(formula, str):
        return _of_text(formula)
    if not isinstance(formula, types.FunctionType):
        raise TypeError(f"formula is a {type(formula).__name__}; it must be a plain Python function, or the text of one")
    code = formula.__code__
    try:
        tree = ast.parse("".join(inspect.findsource(code)[0]))
    except (OSError, SyntaxError):
        raise ValueError(f"formula {formula.__name__} has no source that can be read, as it was defined in an interactive session or by exec; "
                         "pass its text") from None
    found = [node for node in ast.walk(tree) if _is(node, code)]
    if len(found) != 1:
        what = "several functions like it" if found else "no function like it"
        raise ValueError(f"{code.co_filename}:{code.co_firstlineno}: formula {formula.__name__} cannot be told from its source, which has {what} "
                         "on this line; pass its text, or write it as a def of its own")
    cells = zip(code.co_freevars, formula.__closure__ or (), strict=True)
    outside = {**formula.__globals__, **{name: cell.cell_contents for name, cell in cells if not _empty(cell)}}
    defaults = {p.name: p.default for p in inspect.signature(formula, follow_wrapped=False).parameters.values() if p.default is not p.empty}
    return Source(_as_def(found[0]), code.co_filename, outside, defaults)


def _of_text(text):
    import math

    try:
        statements = ast.parse(textwrap.dedent(text).strip("\n")).body
    except SyntaxError as error:
        raise ValueError(f"<formula>:{error.lineno}: {error.msg}") from None
    node = statements[0] if len(statements) == 1 else None
    node = node.value if isinstance(node, ast.Expr) else node
    if not isinstance(node, ast.FunctionDef | ast.Lambda):
        raise ValueError("<formula>:1: the text of a formula must be one def, or one lambda")
    result = Source(_as_def(node), "<formula>", {"math": math, "np": np, "numpy": np}, {})
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    pairs = [*zip(positional[len(positional) - len(a.defaults):], a.defaults, strict=True), *zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    for argument, default in pairs:
        if default is not None:
            try:
                result.defaults[argument.arg] = ast.literal_eval(default)
            except ValueError:
                result.refuse(argument, f"the default of {argument.arg} is {ast.unparse(default)}; it must be a number")
    return result


def _as_def(node):
    """A lambda as a def of the name custom; a def as it is."""
    if isinstance(node, ast.FunctionDef):
        return node
    value = ast.copy_location(ast.Return(node.body), node.body)
    return ast.copy_location(ast.FunctionDef("custom", node.args, [value], []), node)


def _is(node, code):
    """Whether a node of the file is the function of that code: where it begins, its arguments, what lies within it."""
    if not isinstance(node, ast.FunctionDef | ast.Lambda):
        return False
    lines = [node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    if min(lines) != code.co_firstlineno or tuple(a.arg for a in arguments) != code.co_varnames[: len(arguments)]:
        return False
    if isinstance(node, ast.FunctionDef):
        return node.name == code.co_name
    begin, end = (node.body.lineno, node.body.col_offset), (node.body.end_lineno, node.body.end_col_offset)
    places = [((p[0], p[2]), (p[1], p[3])) for p in code.co_positions() if None not in p and p[2] != p[3]]
    return code.co_name == "<lambda>" and all(begin <= first and last <= end for first, last in places)


def _empty(cell):
    try:
        cell.cell_contents
    except ValueError:
        return True
    return False
