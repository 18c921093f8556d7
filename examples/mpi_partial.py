"""The true mean of a loss over the rows of all MPI processes, and its gradient: one Allreduce of 7 numbers, one of the gradient.

    mpiexec -n 4 python examples/mpi_partial.py
"""

from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

import fastloss as fl

Array = NDArray[np.floating[Any]]


def step(comm: MPI.Comm, x: Array, y: NDArray[np.int64], layer: Array) -> tuple[float, Array]:
    """The mean loss over the rows of every process, and the gradient of the layer."""
    logits = x @ layer
    sums = fl.cross_entropy.partial(logits, y).to_array()
    gradient = x.T @ fl.cross_entropy.grad(logits, y, reduction="sum")
    comm.Allreduce(MPI.IN_PLACE, sums)
    comm.Allreduce(MPI.IN_PLACE, gradient)
    total = fl.Partial.from_array(sums)
    return total.result("mean"), gradient / total.weight_sum


def main(rows: int = 1000, features: int = 8, classes: int = 3) -> float:
    comm = MPI.COMM_WORLD
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, features)), rng.integers(0, classes, rows)
    y[::7] = -100                                                   # ignored: no process has a full share
    layer = rng.standard_normal((features, classes))
    mine = slice(comm.rank, None, comm.size)
    loss, gradient = step(comm, x[mine], y[mine], layer)
    expected, g = fl.cross_entropy.value_and_grad(x @ layer, y)
    error = float(max(abs(loss - expected), np.abs(gradient - x.T @ g).max()))
    if comm.rank == 0:
        print(f"{comm.size} processes: mean loss {loss:.6f}; off by {error:.1e} from that of all rows together")
    return error


if __name__ == "__main__":
    main()
