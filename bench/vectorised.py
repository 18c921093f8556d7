"""python -m bench.vectorised: what gcc's vectoriser says of the kernels, per instruction set.

Builds the extension in a temporary folder with -fopt-info-vec and reads which loops were vectorised,
and how wide. A loop is named by the C function in which it stands.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

from .process import ROOT
from .report import console, table

REMARK = re.compile(
    r"(?P<file>[^:]*table_(?P<isa>\w+)\.c):(?P<line>\d+):\d+: optimized: .*using (?P<width>\d+) byte vectors"
)
FUNCTION = re.compile(
    r"static .*?(?P<fused>__pyx_fuse_\d)?__pyx_f_\w*_\d+table_[a-z0-9]+_(?P<name>\w+)\(.*\{$"
)
DTYPES = {None: "", "__pyx_fuse_0": "_f32", "__pyx_fuse_1": "_f64"}


def remarks(folder):
    """Build every table and return gcc's remarks as matches of REMARK."""
    # one compiler at a time: the remarks of two would run into each other
    command = f"setup.py build_ext --force --parallel 1 --build-lib {folder} --build-temp {folder}".split()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"CFLAGS": "-fopt-info-vec-optimized"},
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return [found for line in done.stderr.splitlines() if (found := REMARK.match(line))]


def functions(path):
    """Return the function around each line of a C file made by Cython, and the kernels that hold a loop."""
    names, name, loops = [""], "", set()
    for line in (ROOT / path).read_text().splitlines():
        if found := FUNCTION.match(line):
            name = found["name"] + DTYPES[found["fused"]]
        if line.lstrip().startswith("for (") and re.search("_f32|_f64", name):
            loops.add(name)
        names.append(name)
    return names, loops


def main():
    """Print one line per kernel, one column per instruction set: the widths of its vector code."""
    parser = argparse.ArgumentParser(prog="python -m bench.vectorised", description=__doc__)
    parser.add_argument("--scalar", action="store_true", help="only kernels that are scalar somewhere")
    arguments = parser.parse_args()
    around, loops, widths = {}, set(), {}
    with tempfile.TemporaryDirectory() as folder:
        for remark in remarks(folder):
            isa = remark["isa"]
            if isa not in around:
                around[isa], found = functions(remark["file"])
                loops |= found
            name = around[isa][int(remark["line"])]
            widths.setdefault((name, isa), set()).add(int(remark["width"]))
    lines = []
    for name in sorted(loops):
        found = [sorted(widths.get((name, isa), ()), reverse=True) for isa in sorted(around)]
        if not arguments.scalar or not all(found):
            lines.append([name, *(", ".join(map(str, w)) or "scalar" for w in found)])
    console().print(table("bytes per vector", ["kernel", *sorted(around)], lines))


if __name__ == "__main__":
    main()
