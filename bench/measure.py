"""One row of the bench: compare the answers, then time ours and each peer in turn, call about."""

import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from statistics import median

import numpy as np


@dataclass
class Row:
    """What to time. `floor` is a call without allocations and the bytes that it must move."""

    name: str
    ours: Callable
    peers: dict[str, Callable | None]
    floor: tuple[Callable, int] | None = None
    tolerance: float = 1e-5


@dataclass
class Beside:
    """Best seconds of a peer, and the median over pairs of its time divided by ours."""

    seconds: float
    ratio: float


@dataclass
class Result:
    """What was measured; `floor` is a copy's time divided by ours, for the same bytes."""

    group: str
    name: str
    seconds: float
    peers: dict[str, Beside] = field(default_factory=dict)
    floor: float | None = None


def flatten(answer):
    """Return the arrays of a result, of whatever library, as a list of float64 arrays."""
    if isinstance(answer, (tuple, list)):
        return [array for part in answer if part is not None for array in flatten(part)]
    if hasattr(answer, "detach"):
        answer = answer.detach().numpy()
    return [np.asarray(answer, np.float64)]


def check(row):
    """Call everyone once; raise AssertionError where an array is further off than the tolerance."""
    ours = flatten(row.ours())
    for name, peer in row.peers.items():
        theirs = flatten(peer())
        assert len(ours) == len(theirs), f"{row.name}: {name} returns {len(theirs)} arrays, ours {len(ours)}"
        for a, b in zip(ours, theirs):
            error, scale = np.abs(a - b).max(), np.abs(b).max()
            assert error <= row.tolerance * scale, f"{row.name}: {error:.2e} off {name}, of {scale:.2e}"


SETTLE = 15e-3  # seconds: the threads of OpenMP spin for about 10 ms after a call, on the processors of the next one


def sample(call, n):
    """Return the seconds of one call, out of n in a row."""
    time.sleep(SETTLE)
    start = time.perf_counter()
    for _ in repeat(None, n):
        call()
    return (time.perf_counter() - start) / n


def fill(call, seconds):
    """Return how many calls last that long, at least one."""
    n = 1
    while (spent := n * sample(call, n)) < seconds and n < 1 << 20:
        n = max(2 * n, int(n * seconds / max(spent, 1e-9)))
    return n


def pair(ours, peer, seconds):
    """Time ours, peer, ours, peer, ...; return best seconds of each and the median of peer / ours."""
    n_ours, n_peer = fill(ours, 1e-3), fill(peer, 1e-3)
    times, end = [], time.perf_counter() + seconds
    gc.disable()
    try:
        while len(times) < 5 or time.perf_counter() < end:
            times.append((sample(ours, n_ours), sample(peer, n_peer)))
    finally:
        gc.enable()
    return *map(min, zip(*times)), median(b / a for a, b in times)


def copier(n_bytes, threads):
    """Return a call that moves n_bytes: half of them read, half written, by that many threads."""
    source, target = np.ones((2, n_bytes // 8), np.float32)
    pieces = list(zip(np.array_split(target, threads), np.array_split(source, threads)))
    pool = ThreadPoolExecutor(threads)

    def copy():
        list(pool.map(np.copyto, *zip(*pieces)))

    return copy


def run(group, row, seconds, threads):
    """Check and time one row, `seconds` for each pair."""
    row.peers = {name: peer for name, peer in row.peers.items() if peer is not None}
    check(row)
    result = Result(group, row.name, float("inf"))
    for name, peer in row.peers.items():
        ours, theirs, ratio = pair(row.ours, peer, seconds)
        result.seconds = min(result.seconds, ours)
        result.peers[name] = Beside(theirs, ratio)
    if row.floor:
        call, n_bytes = row.floor
        result.floor = pair(call, copier(n_bytes, threads), seconds)[2]
    return result
