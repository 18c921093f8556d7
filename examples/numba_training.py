"""Softmax regression whose whole training loop is one compiled function: losses and steps inside numba.njit."""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastloss as fl

Array = NDArray[np.float64]


@njit(cache=True)
def train(weight: Array, x: Array, labels: NDArray[np.int64], epochs: int, size: int) -> Array:
    """Adam on minibatches, in place; the mean losses of the epochs."""
    moment, square = np.zeros_like(weight), np.zeros_like(weight)
    losses, step = np.zeros(epochs), 0
    for epoch in range(epochs):
        for start in range(0, len(x), size):
            batch = x[start : start + size]
            loss, grad = fl.cross_entropy.value_and_grad(batch @ weight, labels[start : start + size])
            step += 1
            fl.optim.adam_step(weight, batch.T @ grad, moment, square, step=step, lr=0.02)
            losses[epoch] += loss * len(batch) / len(x)
    return losses


def main() -> float:
    """Train on the digits that scikit-learn ships; return the accuracy on digits held out."""
    x, y = load_digits(return_X_y=True)
    x, held_out, y, labels = train_test_split(x / 16, y, test_size=0.25, random_state=0)
    weight = np.zeros((x.shape[1], 10))
    losses = train(weight, x, y, 20, 64)
    accuracy = float(np.mean((held_out @ weight).argmax(axis=1) == labels))
    print(f"loss {losses[0]:.3f} in the first epoch, {losses[-1]:.3f} in the last; held-out accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
