"""Batch, mini-batch and stochastic gradient descent, plain, with momentum, and with Nesterov's momentum.

A softmax regression on scikit-learn's handwritten digits. What the three have in common is one loop: they differ in how
many rows a step sees.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastloss as fl

Array = NDArray[np.float32]

# rows of a step (None: all), learning rate, epochs
LOOPS = {"batch": (None, 0.5, 100), "mini-batch": (32, 0.1, 20), "stochastic": (1, 0.005, 5)}
RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.9, "nesterov": True},
}


def train(x: Array, y: NDArray[np.int64], batch: int | None, epochs: int, seed: int = 0, **settings: Any) -> tuple[Array, Array]:
    """Return weights (features, 10) and biases (10,) after SGD with these settings."""
    w, b = np.zeros((x.shape[1], 10), np.float32), np.zeros(10, np.float32)
    optimizer = fl.optim.SGD([w, b], **settings)  # updates both in place
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(order), batch or len(order)):
            rows = order[start : start + (batch or len(order))]
            _, g = fl.cross_entropy.value_and_grad(x[rows] @ w + b, y[rows])
            optimizer.step([x[rows].T @ g, g.sum(axis=0)])
    return w, b


def main() -> dict[tuple[str, str], float]:
    """Train all nine and return their accuracies on the held-out quarter of the images."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)
    accuracies = {}
    for loop, (batch, lr, epochs) in LOOPS.items():
        for rule, settings in RULES.items():
            # a momentum of 0.9 adds up to ten steps: the rate is smaller by as much as keeps it stable
            w, b = train(x, y, batch, epochs, lr=lr / 2 if settings else lr, **settings)
            accuracy = float(((x_test @ w + b).argmax(axis=1) == y_test).mean())
            accuracies[loop, rule] = accuracy
            print(f"{loop:10}  {rule:8}  {epochs:3} epochs  held-out accuracy {accuracy:.2%}")
    return accuracies


if __name__ == "__main__":
    main()
