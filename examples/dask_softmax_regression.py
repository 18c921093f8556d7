"""Train softmax regression on a Dask array larger than the memory that its workers may use.

Each block of rows gives its part of the loss and of the layer's gradient, X_block.T @ g; both add up over the blocks, so neither
the rows nor the logits are ever together in one place.
"""

from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.diagnostics import ProgressBar
from distributed import Client, LocalCluster
from numpy.typing import NDArray

import fastloss as fl


def data(rows: int, features: int, classes: int, chunk: int) -> tuple[da.Array, da.Array]:
    """Rows around one centre for each class, made where they are needed; and the labels that they were made of."""
    rng = da.random.default_rng(0)
    labels = rng.integers(0, classes, rows, chunks=chunk)
    centres = np.random.default_rng(1).standard_normal((classes, features)).astype(np.float32)
    noise = rng.standard_normal((rows, features), chunks=(chunk, features), dtype=np.float32)
    return noise + da.map_blocks(lambda y: centres[y], labels, new_axis=1, chunks=(labels.chunks[0], (features,)), dtype=np.float32), labels


def train(x: da.Array, y: da.Array, classes: int, steps: int) -> tuple[NDArray[np.float32], list[float]]:
    """Full batches with momentum; returns the layer and the losses."""
    layer = np.zeros((x.shape[1], classes), np.float32)
    optimizer = fl.optim.SGD([layer], lr=1.0, momentum=0.5)
    losses = []
    for _ in range(steps):
        loss, g = fl.cross_entropy.value_and_grad(x @ layer, y)      # lazy: g is cut as x is
        loss, gradient = dask.compute(loss, x.T @ g)
        optimizer.step([gradient])
        losses.append(float(loss))
    return layer, losses


def main(
    rows: int = 4_000_000, features: int = 32, classes: int = 5, steps: int = 3, memory_limit: str | None = "400MB"
) -> tuple[list[float], float]:
    """Train on two workers; with `memory_limit` None, in the threads of this process, with a progress bar."""
    x, y = data(rows, features, classes, chunk=100_000)
    print(f"{x.nbytes / 1e6:.0f} MB in {x.npartitions} blocks; a worker may use {memory_limit}")
    if memory_limit is None:
        with ProgressBar():
            layer, losses = train(x, y, classes, steps)
    else:
        with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=memory_limit, dashboard_address=None) as cluster, Client(cluster):
            layer, losses = train(x, y, classes, steps)
    sample, labels = dask.compute(x[:10_000], y[:10_000])
    accuracy = float(((sample @ layer).argmax(axis=1) == labels).mean())
    print("losses " + " ".join(f"{loss:.4f}" for loss in losses) + f"  accuracy {accuracy:.2%}")
    return losses, accuracy


if __name__ == "__main__":
    main()
