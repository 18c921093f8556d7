"""One page for each public name: its picture, its docstring, and the formula that its kernels are made from."""

import ast
import inspect
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import matplotlib
from numpydoc.docscrape_sphinx import SphinxDocString

import fastloss as fl
from fastloss import _gallery
from fastloss._activation import Activation
from fastloss._loss import ElementwiseLoss

FORMULAS = Path(__file__).parents[1] / "kernels" / "formulas"
TITLES = {
    "softmax": "Softmax family",
    "activations": "Activations",
    "classification": "Losses of classification",
    "margin": "Margin losses and distances",
    "regression": "Losses of regression",
    "sequence": "Losses of sequences",
    "custom": "Losses and activations of your own",
    "optim": "Optimizers",
    "schedules": "Schedules",
    "objectives": "Objectives of gradient boosting",
}


def public_names():
    """Every public name, those of public modules with the module's before them."""
    for name in fl.__all__:
        thing = getattr(fl, name)
        if isinstance(thing, ModuleType):
            yield from (f"{name}.{inner}" for inner in thing.__all__)
        else:
            yield name


def room_of(name):
    """The section that a name stands in."""
    module = (getattr(attrgetter(name)(fl), "__module__", None) or "").split(".")[1:]
    return TITLES.get(module[0] if module else "", "Control and everything else")


def formula_of(name):
    """(file, name there) of the formula of an elementwise function, or None."""
    for path in sorted(FORMULAS.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name in (name, f"{name}_"):
                return path, node.name
    return None


def picture(name, folder):
    """Draw an elementwise function with its derivatives; the file's name, or None for other functions."""
    from matplotlib import pyplot

    thing = getattr(fl, name, None)
    curves = {Activation: _gallery.activation_curves, ElementwiseLoss: _gallery.loss_curves}.get(type(thing))
    if curves is None:
        return None
    figure, axes = pyplot.subplots(figsize=(4.4, 2.8), layout="constrained")
    _gallery.draw(axes, name, *curves(name))
    axes.legend(fontsize=7)
    figure.savefig(folder / f"{name}.png", dpi=110)
    pyplot.close(figure)
    return f"{name}.png"


def page(name, folder):
    """The text of one page."""
    thing = attrgetter(name)(fl)
    lines = [f"fastloss.{name}", "=" * (len(name) + 9), ""]
    image = picture(name, folder)
    if image:
        lines += [f".. image:: {image}", f"   :alt: {name} and its derivatives", ""]
    if isinstance(thing, type):
        lines += [f".. autoclass:: {thing.__module__}.{thing.__qualname__}"]
    else:
        signature = str(inspect.signature(thing)) if callable(thing) else ""
        lines += [f".. py:function:: fastloss.{name}{signature}", ""]
        lines += ["   " + line for line in str(SphinxDocString(inspect.getdoc(thing) or "")).splitlines()]
    formula = formula_of(name)
    if formula and image:
        path, function = formula
        lines += ["", "The formula", "-----------", "", f".. literalinclude:: ../../kernels/formulas/{path.name}"]
        lines += ["   :language: python", f"   :pyobject: {function}"]
    return "\n".join(lines) + "\n"


def write(folder):
    """Write all pages and their index into a folder."""
    matplotlib.use("Agg")
    folder.mkdir(exist_ok=True)
    rooms = {title: [] for title in (*TITLES.values(), "Control and everything else")}
    for name in public_names():
        rooms[room_of(name)].append(name)
        (folder / f"{name}.rst").write_text(page(name, folder))
    index = ["API", "===", ""]
    for title, names in rooms.items():
        if names:
            index += [".. toctree::", f"   :caption: {title}", "   :maxdepth: 1", ""]
            index += [f"   {name} <{name}>" for name in sorted(names, key=str.lower)] + [""]
    (folder / "index.rst").write_text("\n".join(index))
