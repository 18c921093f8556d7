"""Parallel regions: a kernel that releases the GIL runs over ranges of chunks on a few Python threads.

Not prange: it compiles several times slower, one of its layers ends the process when two threads enter it, another
hangs after fork, and none looks for Ctrl-C.
"""

import ctypes
import os
import signal
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from queue import SimpleQueue

import numpy as np

MAX_THREADS = 256
SERIAL_BELOW = 1 << 17  # elements: about 100 microseconds of work, several times the cost of waking a thread
CALL_ELEMENTS = 1 << 24  # in one call: between calls, about every 20 ms, Python looks for Ctrl-C

_word, _HEAD = ctypes.c_ssize_t.from_address, object.__basicsize__
_n_threads = 1
_tasks = SimpleQueue()
_n_helpers = 0
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
    global _tasks, _n_helpers, _region
    _tasks, _n_helpers, _region = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def address(array):
    """Where the elements of an array are; 0 for None.

    That pointer stands behind the head of the array object; asking `array.ctypes.data` for it takes seven times as long.
    """
    return 0 if array is None else _word(id(array) + _HEAD).value


def native(arguments):
    """What a kernel takes for arguments: for arrays their addresses, 0 for None."""
    return tuple([
        a if (kind := type(a)) is int or kind is float
        else 0 if a is None
        else native(a) if kind is tuple
        else address(a) if isinstance(a, np.ndarray)
        else a
        for a in arguments
    ])  # fmt: skip


def aligned(n_bytes):
    """Scratch memory, and an address in it that begins a cache line."""
    memory = np.empty(n_bytes + 64, np.uint8)
    return memory, -(-address(memory) // 64) * 64


@dataclass(slots=True)
class Job:
    """A kernel and what is left of its chunks. A chunk's result does not depend on the range it is computed in."""

    kernel: object
    arguments: tuple
    arrays: tuple  # kept alive while a thread works, even after an interrupt
    scratch_bytes: int
    bounds: list  # of the calls' chunks
    calls: count  # next() of it is atomic
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: bool = False
    helping: int = 0  # helpers that came before it was closed; each leaves None or its error in ended
    ended: SimpleQueue = field(default_factory=SimpleQueue)

    def work(self):
        memory, scratch = aligned(self.scratch_bytes)
        while (call := next(self.calls)) < len(bounds := self.bounds) - 1:
            self.kernel(bounds[call], bounds[call + 1], scratch, *self.arguments)

    def help(self):
        with self.lock:
            if self.closed:
                return
            self.helping += 1
        try:
            self.work()
            self.ended.put(None)
        except BaseException as error:
            self.ended.put(error)


@contextmanager
def interrupts_deferred():
    """Ctrl-C within the block is handled at its end. Python handles signals on its main thread alone."""
    handler, pending = signal.getsignal(signal.SIGINT), []
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    signal.signal(signal.SIGINT, lambda *arguments: pending.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if pending:
            handler(*pending[0])


def run(kernel, n_chunks, n_elements, scratch_bytes, *arguments, keep=(), interruptible=True):
    """kernel(first chunk, last chunk, scratch address, *arguments) over all chunks.

    Arrays among the arguments become addresses. keep holds further arrays whose addresses the kernel knows.
    One region at a time has threads; a second caller works alone.
    """
    if n_elements <= SERIAL_BELOW:
        memory, scratch = aligned(scratch_bytes)
        kernel(0, n_chunks, scratch, *native(arguments))
        return
    n_threads = min(_n_threads, n_chunks)
    most = max(1, n_chunks * CALL_ELEMENTS // n_elements) if interruptible or n_threads > 1 else n_chunks
    job = Job(kernel, native(arguments), (arguments, keep), scratch_bytes, _bounds(n_chunks, n_threads, most), count())
    region = _region
    with nullcontext() if interruptible else interrupts_deferred():
        if n_threads == 1 or not region.acquire(blocking=False):
            return job.work()
        try:
            _run_parallel(job, n_threads)
        finally:
            region.release()


def _bounds(n_chunks, n_threads, most):
    """Of calls of at most so many chunks, each a part of what is left, so that the threads end together."""
    bounds = [0]
    while (left := n_chunks - bounds[-1]) > 0:
        bounds.append(bounds[-1] + min(most, left if n_threads == 1 else max(1, left // (2 * n_threads))))
    return bounds


def _serve(tasks):
    while True:
        tasks.get().help()


def _helpers(n):
    """How many helpers there are, up to n; they are made when they are needed.

    Not an executor's: a process waits at its end for those, and so for the calls of its daemon threads.
    """
    global _n_helpers
    try:
        while _n_helpers < n:
            threading.Thread(target=_serve, args=(_tasks,), name="fastloss", daemon=True).start()
            _n_helpers += 1
    except RuntimeError:
        pass  # the system gives no further thread, or the interpreter is ending: those that are there do the work
    return min(n, _n_helpers)


def _run_parallel(job, n_threads):
    try:
        for _ in range(_helpers(n_threads - 1)):
            _tasks.put(job)
        job.work()
    except BaseException:
        job.bounds = []  # the helpers stop at their next call
        raise
    finally:
        with job.lock:
            job.closed = True
        errors = [job.ended.get() for _ in range(job.helping)]
    for error in filter(None, errors):
        raise error
