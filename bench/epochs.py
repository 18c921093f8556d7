"""Epochs that each optimizer needs to 97 % held-out accuracy in the demo's pipeline: `python -m bench.epochs`.

Learning rates were chosen by hand, a factor of two or so apart; weights, batches and their order are the same
for all. Rprop and LBFGS are made for all images at once: their epochs are gradients of the whole training set.
"""

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

import fastloss as fl
from fastloss import _demo

SETTINGS = {
    "SGD": {"lr": 0.25},
    "SGD, momentum": {"lr": 0.05, "momentum": 0.9},
    "SGD, Nesterov": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "ASGD": {"lr": 0.25},
    "Adagrad": {"lr": 0.02},
    "Adadelta": {"lr": 1.0},
    "RMSprop": {"lr": 1e-3},
    "RMSprop, centered, momentum": {"lr": 2e-4, "centered": True, "momentum": 0.9},
    "Rprop": {"lr": 2e-3},
    "Adam": {"lr": 2e-3},
    "AdamW": {"lr": 2e-3},
    "Adamax": {"lr": 4e-3},
    "NAdam": {"lr": 2e-3},
    "RAdam": {"lr": 2e-3},
    "SparseAdam": {"lr": 2e-3},
    "Adafactor": {"lr": 2e-2},
    "Muon": {"lr": 2e-2},
    "Lion": {"lr": 3e-4},
    "LBFGS": {"line_search_fn": "strong_wolfe", "max_iter": 4},
}
FULL_BATCH = "Rprop", "LBFGS"


class Part(_demo.WithFastloss):
    """The demo's calls, with another optimizer."""

    def __init__(self, network, name, settings):
        self.grads = network.grads
        make = getattr(fl.optim, name)
        if name == "Muon":  # matrices alone: the biases get AdamW
            matrices, biases = (
                make(network.params[::2], **settings),
                fl.optim.AdamW(network.params[1::2], lr=2e-3),
            )
            self.update = lambda: (matrices.step(self.grads[::2]), biases.step(self.grads[1::2]))
            return
        optimizer = make(network.params, **settings)
        if name == "SparseAdam":  # every row is named
            self.update = lambda: optimizer.step([(np.arange(len(g)), g) for g in self.grads])
        else:
            self.update = lambda: optimizer.step(self.grads)


def full_batch(network, images, labels):
    """A closure of loss and gradients over all images."""

    def closure():
        w1, b1, w2, b2 = network.params
        z = images @ w1 + b1
        h = fl.relu(z)
        loss, grad = fl.cross_entropy.value_and_grad(h @ w2 + b2, labels)
        back = fl.relu.backward(grad @ w2.T, z)
        return loss, [images.T @ back, back.sum(axis=0), h.T @ grad, grad.sum(axis=0)]

    return closure


def epochs_to(accuracy, name, settings, most, seed=0):
    """(epochs, held-out accuracy then); epochs is None where `most` were not enough."""
    train_x, test_x, train_y, test_y = _demo.digits()
    network, rng = _demo.Network(seed), np.random.default_rng(seed)
    closure = full_batch(network, train_x, train_y)
    part = Part(network, name, settings) if name not in FULL_BATCH else None
    optimizer = getattr(fl.optim, name)(network.params, **settings) if part is None else None
    epoch = 0
    while epoch < most:
        if part is not None:
            _demo.train_epoch(network, part, train_x, train_y, rng.permutation(len(train_x)))
            epoch += 1
        elif name == "LBFGS":
            optimizer.step(closure)
            epoch = int(optimizer.state_dict()["func_evals"])
        else:
            optimizer.step(closure()[1])
            epoch += 1
        reached = float((network.predict(test_x) == test_y).mean())
        if reached >= accuracy:
            return epoch, reached
    return None, reached


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.epochs", description=__doc__)
    parser.add_argument("--most", type=int, default=60, help="give up after so many epochs (60)")
    parser.add_argument("--only", help="one optimizer")
    arguments = parser.parse_args()
    table = Table(
        title=f"digits, 64-{_demo.HIDDEN}-10, batches of {_demo.BATCH}: epochs to 97 % held-out accuracy"
    )
    for column, justify in (
        ("optimizer", "left"),
        ("settings", "left"),
        ("epochs", "right"),
        ("accuracy", "right"),
    ):
        table.add_column(column, justify=justify)
    for label, settings in SETTINGS.items():
        name = label.partition(",")[0]
        if arguments.only in (None, name):
            epochs, reached = epochs_to(0.97, name, settings, arguments.most)
            words = ", ".join(f"{key}={value}" for key, value in settings.items())
            table.add_row(label, words, str(epochs or f"> {arguments.most}"), f"{reached:.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()
