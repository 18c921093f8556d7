"""The true mean of a loss over rows that lie in Ray's object store, and its gradient: tasks return sums, which add up."""

from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

import fastloss as fl

Array = NDArray[np.floating[Any]]


@ray.remote
def part(x: Array, y: NDArray[np.int64], layer: Array) -> tuple[fl.Partial, Array]:
    """The sums of one block, and its part of the layer's gradient."""
    logits = x @ layer
    return fl.cross_entropy.partial(logits, y), x.T @ fl.cross_entropy.grad(logits, y, reduction="sum")


def step(blocks: list[tuple[Any, Any]], layer: Array) -> tuple[float, Array]:
    """The mean loss over all blocks, and the gradient of the layer."""
    layer = ray.put(layer)
    partials, gradients = zip(*ray.get([part.remote(x, y, layer) for x, y in blocks]), strict=True)
    total = sum(partials)
    return total.result("mean"), sum(gradients) / total.weight_sum


def main(rows: int = 1000, features: int = 8, classes: int = 3, blocks: int = 4) -> float:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, features)), rng.integers(0, classes, rows)
    y[::7] = -100
    layer = rng.standard_normal((features, classes))
    with ray.init(num_cpus=2, include_dashboard=False):
        stored = [(ray.put(a), ray.put(b)) for a, b in zip(np.array_split(x, blocks), np.array_split(y, blocks), strict=True)]
        loss, gradient = step(stored, layer)
    expected, g = fl.cross_entropy.value_and_grad(x @ layer, y)
    error = float(max(abs(loss - expected), np.abs(gradient - x.T @ g).max()))
    print(f"{blocks} blocks: mean loss {loss:.6f}; off by {error:.1e} from that of all rows together")
    return error


if __name__ == "__main__":
    main()
