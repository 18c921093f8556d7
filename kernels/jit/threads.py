"""Parallel regions: a kernel that releases the GIL runs over ranges of chunks on a few Python threads.

Not prange: it compiles several times slower, one of its layers ends the process when two threads enter it, another
hangs after fork, and none looks for Ctrl-C.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count

import numpy as np

MAX_THREADS = 256
SERIAL_BELOW = 1 << 17  # elements: about 100 microseconds of work, several times the cost of waking a thread
CALL_ELEMENTS = 1 << 24  # in one call: between calls, about every 20 ms, Python looks for Ctrl-C

_n_threads = 1
_executor = None
_region = threading.Lock()


def set_num_threads(n):
    """Use n threads, the calling one included."""
    global _n_threads
    _n_threads = min(int(n), MAX_THREADS)


def get_num_threads():
    """The number of threads in use, the calling one included."""
    return _n_threads


def _forget():
    # the child of a fork has none of its parent's threads, and one of them may have held the lock
    global _executor, _region
    _executor, _region = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@dataclass(slots=True)
class Job:
    """A kernel and what is left of its chunks. A chunk's result does not depend on the range it is computed in."""

    kernel: object
    arguments: tuple
    scratch_bytes: int
    n_chunks: int
    size: int  # chunks in one call
    ranges: count  # next() of it is atomic

    def work(self):
        scratch = np.empty(self.scratch_bytes + 64, np.uint8)
        address = -(-scratch.ctypes.data // 64) * 64
        while (start := next(self.ranges) * self.size) < self.n_chunks:
            self.kernel(start, min(start + self.size, self.n_chunks), address, *self.arguments)


def run(kernel, n_chunks, n_elements, scratch_bytes, *arguments, interruptible=True):
    """kernel(first chunk, last chunk, scratch address, *arguments) over all chunks.

    One region at a time has threads; a second caller works alone.
    """
    n_threads = min(_n_threads, n_chunks) if n_elements > SERIAL_BELOW else 1
    calls = -(-n_elements // CALL_ELEMENTS) if interruptible or n_threads > 1 else 1
    if n_threads > 1:
        calls = max(calls, 4 * n_threads)
    job = Job(kernel, arguments, scratch_bytes, n_chunks, max(1, n_chunks // max(calls, 1)), count())
    region = _region
    if n_threads == 1 or not region.acquire(blocking=False):
        return job.work()
    try:
        _run_parallel(job, n_threads)
    finally:
        region.release()


def _run_parallel(job, n_threads):
    global _executor
    helpers = []
    try:
        _executor = _executor or ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="fastloss")
        for _ in range(n_threads - 1):
            helpers.append(_executor.submit(job.work))
    except RuntimeError:
        pass  # the system gives no further thread, or the interpreter is ending: those that are there do the work
    try:
        job.work()
    except BaseException:
        job.n_chunks = 0
        raise
    finally:
        started = [h for h in helpers if not h.cancel()]
        wait(started)
    for h in started:
        h.result()
