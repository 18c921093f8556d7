"""Tables for the terminal, Markdown for the README, JSON and a plot."""

import json
import math
import os
import platform
import re
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

import fastloss as fl

README = Path(__file__).parents[1] / "README.md"


def machine(threads):
    """Return the processor, the threads and the versions behind the numbers, in one line."""
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        processor = names[0] if names else processor
    versions = [f"Python {platform.python_version()}"]
    for name in ("fastloss", "numpy", "scipy", "scikit-learn", "torch", "numba"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            pass
    return f"{processor}, {threads} threads, {platform.system()}; " + ", ".join(versions)


def duration(seconds):
    """Return seconds with a unit and three digits."""
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def mean(ratios):
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def grid(results):
    """Return header and lines, one line per result and one column per peer."""
    peers = list(dict.fromkeys(peer for result in results for peer in result.peers))
    floors = any(result.floor for result in results)
    header = ["", "fastloss", *peers] + ["of a copy's speed"] * floors
    lines = []
    for result in results:
        cells = [result.name, duration(result.seconds)]
        for peer in peers:
            beside = result.peers.get(peer)
            cells.append(f"{duration(beside.seconds)} ({beside.ratio:.2f}x)" if beside else "")
        if floors:
            cells.append(f"{result.floor:.0%}" if result.floor else "")
        lines.append(cells)
    return header, lines


def summary(results):
    """Return header and lines, one line per function and peer, and one for all of a group: geometric mean and extremes."""
    ratios, together = {}, {}
    for result in results:
        function = re.sub(r" [(\d].*", "", result.name)
        for peer, beside in result.peers.items():
            ratios.setdefault((result.group, function, peer), []).append(beside.ratio)
            together.setdefault((result.group, "all", peer), []).append(beside.ratio)
    ratios |= together
    header = ["group", "function", "beside", "rows", "geometric mean", "lowest", "highest"]
    return header, [
        [*key, str(len(values)), *(f"{f(values):.2f}x" for f in (mean, min, max))]
        for key, values in ratios.items()
    ]


def console():
    """Return a console that is wide enough for the tables when it writes to a file."""
    made = Console()
    return made if made.is_terminal else Console(width=160)


def table(title, header, lines):
    """Return a rich table."""
    made = Table(*header, title=title, title_justify="left")
    for line in lines:
        made.add_row(*line)
    return made


def markdown(header, lines):
    """Return a Markdown table."""
    rows = [header, ["---"] + ["---:"] * (len(header) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def document(results, facts, threads):
    """Return the Markdown of everything measured: summary first, the rows folded away."""
    parts = [
        f"Measured on {machine(threads)}. Ratios are a peer's time over ours: medians of interleaved pairs."
    ]
    parts.append(markdown(*summary(results)))
    floors = [[result.name, f"{result.floor:.0%}"] for result in results if result.floor]
    if floors:
        parts.append(markdown(["beside a copy of the same bytes, nothing allocated", "of its speed"], floors))
    if facts:
        lines = [[fact.name, f"{fact.value:.3g} {fact.unit}"] for fact in facts]
        parts.append(markdown(["the package", "measured"], lines))
    parts.append("<details><summary>every row</summary>")
    for group in dict.fromkeys(result.group for result in results):
        header, lines = grid([result for result in results if result.group == group])
        parts.append(markdown([group, *header[1:]], lines))
    parts.append("</details>")
    return "\n\n".join(parts)


def fill_readme(marker, text):
    """Replace what stands in README.md between <!-- marker:start --> and <!-- marker:end -->."""
    start, end = f"<!-- {marker}:start -->", f"<!-- {marker}:end -->"
    before, rest = README.read_text().split(start)
    README.write_text(f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}")


def write_json(path, results, facts, threads, busy):
    """Write everything measured, and the fraction of the processors that others used before."""
    record = {
        "machine": machine(threads),
        "busy": busy,
        "backend": fl.get_backend(),
        "rows": [asdict(result) for result in results],
        "facts": [asdict(fact) for fact in facts],
    }
    Path(path).write_text(json.dumps(record, indent=1) + "\n")


def write_png(path, results, threads):
    """Write one panel per group: a bar for each ratio, and the line of equality."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = list(dict.fromkeys(result.group for result in results))
    bars = {
        group: [
            (f"{r.name}, {peer}", beside.ratio)
            for r in results
            if r.group == group
            for peer, beside in r.peers.items()
        ]
        for group in groups
    }
    figure, axes = pyplot.subplots(
        len(groups),
        1,
        figsize=(9, 0.18 * sum(map(len, bars.values())) + 0.6 * len(groups)),
        height_ratios=[len(bars[group]) + 3 for group in groups],
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    peers = list(dict.fromkeys(peer for result in results for peer in result.peers))
    for axis, group in zip(axes[:, 0], groups):
        names, ratios = zip(*bars[group])
        colours = [f"C{peers.index(name.rpartition(', ')[2])}" for name in names]
        axis.barh(names, [ratio - 1 for ratio in ratios], left=1, color=colours)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(group, fontsize=9)
        axis.set(xscale="log")
        axis.tick_params(labelsize=7, labelbottom=True)
        axis.margins(y=0.01)
        axis.invert_yaxis()
    axes[-1, 0].set_xlabel("time of the other / time of fastloss")
    figure.supxlabel(machine(threads), fontsize=6)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
