"""python -m bench [group ...] [--quick] [--json FILE] [--png FILE] [--readme]"""

import argparse

import fastloss as fl

from . import measure, process, report
from .groups import GROUPS

BUSY = 0.1  # with more, OpenMP barriers wait for the scheduler, and ratios to torch mean nothing


def main():
    """Measure the chosen groups, print a table after each, write the files asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="fastloss beside its peers")
    names = [*GROUPS, "package"]
    parser.add_argument("group", nargs="*", help=f"all of them, or some of: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small shapes, short runs")
    parser.add_argument("--threads", type=int, default=fl.get_num_threads(), help="for every library")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--png", metavar="FILE")
    parser.add_argument("--readme", action="store_true", help="write the tables into README.md")
    arguments = parser.parse_args()
    chosen = arguments.group or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(names)}")

    if (busy := process.busy()) > BUSY:
        message = (
            f"other work uses {busy:.0%} of the processors; libraries whose threads spin become far slower"
        )
        if arguments.readme:
            parser.error(message)
        print(f"warning: {message}")

    fl.set_num_threads(arguments.threads)
    try:
        import torch

        torch.set_num_threads(arguments.threads)
    except ImportError:
        pass

    console = report.console()
    console.print(report.machine(arguments.threads), style="dim")
    results, facts = [], []
    for group in chosen:
        if group == "package":
            facts = list(process.facts(arguments.quick))
            lines = [[fact.name, f"{fact.value:.3g} {fact.unit}"] for fact in facts]
            console.print(report.table(group, ["", "measured"], lines))
            continue
        found = []
        for row in GROUPS[group](arguments.quick):
            with console.status(f"{group}: {row.name}"):
                seconds = 0.05 if arguments.quick else 1.0
                found.append(measure.run(group, row, seconds, arguments.threads))
        console.print(report.table(group, *report.grid(found)))
        results += found
    if results:
        console.print(report.table("summary: time of the other / ours", *report.summary(results)))
    if arguments.json:
        report.write_json(arguments.json, results, facts, arguments.threads, busy)
    if arguments.png and results:
        report.write_png(arguments.png, results, arguments.threads)
    if arguments.readme:
        report.fill_readme("bench", report.document(results, facts, arguments.threads))


if __name__ == "__main__":
    main()
