"""The gallery: every elementwise activation with its derivative, every elementwise loss with gradient and Hessian."""

import numpy as np

import fastloss as fl

from ._activation import Activation
from ._loss import ElementwiseLoss

try:
    import matplotlib
    from rich.console import Console
    from rich.progress import track
except ImportError as error:
    raise SystemExit(f"the gallery needs {error.name}: pip install 'fastloss[demo]'") from error

# What a curve needs beside x, and a loss beside its first two arguments.
PARAMETERS = {
    "prelu": {"weight": 0.25},
    "srelu": {"t_left": -2.0, "a_left": 0.25, "t_right": 2.0, "a_right": 0.5},
    "threshold": {"threshold": 1.0, "value": -1.0},
    "gaussian_nll_loss": {"var": 1.0},
    "margin_ranking_loss": {"target": 1.0},
}
LINE = np.linspace(-6, 6, 481)
UNIT = np.linspace(0.01, 0.99, 481)  # for losses of probabilities
TARGETS = 0.0, 1.0
COLUMNS = 6
LIMIT = 6.0  # the highest ordinate


def public(kind):
    """The public names of the objects of that class."""
    return sorted((name for name in fl.__all__ if isinstance(getattr(fl, name), kind)), key=str.lower)


def activation_curves(name):
    """(x, what else is given, {label: values}) of an activation and its derivative."""
    function, given = getattr(fl, name), PARAMETERS.get(name, {})
    return LINE, given, {"value": function(LINE, **given), "derivative": function.grad(LINE, **given)}


def loss_curves(name):
    """(x, what else is given, {label: values}) of a loss, on the first line and for the first target that it takes."""
    loss, given = getattr(fl, name), PARAMETERS.get(name, {})
    for x in (LINE, UNIT):
        for target in TARGETS:
            try:
                column = x[:, None]  # one class, for losses that are means over classes
                parts = loss.value_grad_hess(column, np.full_like(column, target), reduction="none", **given)
            except ValueError as error:
                refused = error
                continue
            value, grad, hess = (np.ravel(part[0] if isinstance(part, tuple) else part) for part in parts)
            return x, {"y": target} | given, {"value": value, "gradient": grad, "Hessian": hess}
    raise refused


def draw(axes, name, x, given, curves):
    for (label, values), style in zip(curves.items(), ("-", "--", ":"), strict=False):
        axes.plot(x, values, style, label=label)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -LIMIT), min(top, LIMIT))
    axes.set_title(name, fontsize=9)
    if given:
        text = ", ".join(f"{key} = {value:g}" for key, value in given.items())
        axes.set_xlabel(text, fontsize=6)
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.3)


def main(path):
    """Draw everything, write the PNG, say where it is; return 0."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(name, activation_curves) for name in public(Activation)]
    panels += [(name, loss_curves) for name in public(ElementwiseLoss)]
    rows = -(-len(panels) // COLUMNS)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=(2.2 * COLUMNS, 1.9 * rows), layout="constrained")
    for (name, curves), axes in zip(track(panels, description="drawing"), grid.flat, strict=False):
        draw(axes, name, *curves(name))
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    shown = [grid.flat[0], grid.flat[len(panels) - 1]]
    lines = {line.get_label(): line for axes in shown for line in axes.get_lines()}
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(lines), fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    Console().print(f"{len(panels)} functions: {path}")
    return 0
