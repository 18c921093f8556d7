"""The demo: a digit classifier in plain NumPy arrays, once with fastloss and once without.

Data, initial weights, order of the batches, matrix products and bias sums are the same code for both.
Only the activation, the loss with its gradient, and the AdamW update differ, and they are timed apart.
"""

import time

import numpy as np

import fastloss as fl

try:
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError as error:
    raise SystemExit(f"the demo needs {error.name}: pip install 'fastloss[demo]'") from error

HIDDEN, BATCH, LEARNING_RATE, REQUIRED_ACCURACY = 256, 32, 2e-3, 0.97


def digits():
    """Return the training and held-out images (n, 64) in [0, 1] and their labels, 3 : 1."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    return train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)


class Network:
    """64-HIDDEN-10; the parameters, and their gradients, are views of one flat array each."""

    shapes = (64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        size = sum(int(np.prod(shape)) for shape in self.shapes)
        self.flat, self.flat_grad = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.params, self.grads = self._views(self.flat), self._views(self.flat_grad)
        for weight in (self.params[0], self.params[2]):
            weight[...] = rng.standard_normal(weight.shape) * np.sqrt(2 / len(weight))

    def _views(self, flat):
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), self.shapes)]

    def predict(self, images):
        """Return the most likely class of each image."""
        w1, b1, w2, b2 = self.params
        return (np.maximum(images @ w1 + b1, 0) @ w2 + b2).argmax(axis=1)


class WithFastloss:
    """The compared part in fastloss: one call each."""

    def __init__(self, network):
        self.optimizer = fl.optim.AdamW(network.params, lr=LEARNING_RATE)
        self.grads = network.grads

    def activate(self, z, out):
        fl.relu(z, out=out)

    def loss(self, logits, target, out):
        return fl.cross_entropy.value_and_grad(logits, target, out=(None, out))[0]

    def backward(self, g, z):
        fl.relu.backward(g, z, out=g)

    def update(self):
        self.optimizer.step(self.grads)


class WithNumPy:
    """The compared part in careful NumPy: buffers made once, in place, all parameters as one flat array."""

    beta1, beta2, eps, weight_decay = 0.9, 0.999, 1e-8, 1e-2

    def __init__(self, network):
        self.param, self.grad = network.flat, network.flat_grad
        self.exp_avg, self.exp_avg_sq, self.scratch = np.zeros((3, self.param.size), np.float32)
        self.mask, self.row = np.empty((BATCH, HIDDEN), bool), np.empty((BATCH, 1), np.float32)
        self.rows, self.step = np.arange(BATCH), 0

    def activate(self, z, out):
        np.maximum(z, 0, out=out)

    def loss(self, logits, target, out):
        np.max(logits, axis=1, keepdims=True, out=self.row)
        np.subtract(logits, self.row, out=logits)
        np.exp(logits, out=out)
        np.sum(out, axis=1, keepdims=True, out=self.row)
        value = (np.log(self.row[:, 0]) - logits[self.rows, target]).mean()
        self.row *= BATCH
        out /= self.row
        out[self.rows, target] -= 1 / BATCH
        return value

    def backward(self, g, z):
        np.greater(z, 0, out=self.mask)
        g *= self.mask

    def update(self):
        self.step += 1
        self.param *= 1 - LEARNING_RATE * self.weight_decay
        self.exp_avg *= self.beta1
        np.multiply(self.grad, 1 - self.beta1, out=self.scratch)
        self.exp_avg += self.scratch
        self.exp_avg_sq *= self.beta2
        np.multiply(self.grad, self.grad, out=self.scratch)
        self.scratch *= 1 - self.beta2
        self.exp_avg_sq += self.scratch
        np.sqrt(self.exp_avg_sq, out=self.scratch)
        self.scratch /= (1 - self.beta2**self.step) ** 0.5
        self.scratch += self.eps
        np.divide(self.exp_avg, self.scratch, out=self.scratch)
        self.scratch *= LEARNING_RATE / (1 - self.beta1**self.step)
        self.param -= self.scratch


def train_epoch(network, part, images, labels, order):
    """Train on whole batches in the given order; return mean loss, seconds, and the seconds of `part`."""
    clock, (w1, b1, w2, b2), (gw1, gb1, gw2, gb2) = time.perf_counter, network.params, network.grads
    x, z, h, logits, grad, back = (
        np.empty((BATCH, n), np.float32) for n in (64, HIDDEN, HIDDEN, 10, 10, HIDDEN)
    )
    batches, losses, spent, begin = len(order) // BATCH, 0.0, 0.0, clock()
    for rows in order[: batches * BATCH].reshape(batches, BATCH):
        np.take(images, rows, axis=0, out=x)
        target = labels[rows]
        np.matmul(x, w1, out=z)
        z += b1

        start = clock()
        part.activate(z, out=h)
        spent += clock() - start

        np.matmul(h, w2, out=logits)
        logits += b2

        start = clock()
        losses += part.loss(logits, target, out=grad)
        spent += clock() - start

        np.matmul(h.T, grad, out=gw2)
        np.sum(grad, axis=0, out=gb2)
        np.matmul(grad, w2.T, out=back)

        start = clock()
        part.backward(back, z)
        spent += clock() - start

        np.matmul(x.T, back, out=gw1)
        np.sum(back, axis=0, out=gb1)

        start = clock()
        part.update()
        spent += clock() - start
    return losses / batches, clock() - begin, spent


def compare(epochs, seed=0):
    """Train both from the same weights, epoch about; return {name: (accuracy, (epochs, 3) records)}."""
    train_x, test_x, train_y, test_y = digits()
    rng = np.random.default_rng(seed)
    runs = {}
    for name, part in (("fastloss", WithFastloss), ("NumPy", WithNumPy)):
        network = Network(seed)
        runs[name] = network, part(network), []
    for _ in track(range(epochs), description="training"):
        order = rng.permutation(len(train_x))
        for network, part, records in runs.values():
            records.append(train_epoch(network, part, train_x, train_y, order))
    return {
        name: (float((network.predict(test_x) == test_y).mean()), np.array(records))
        for name, (network, _, records) in runs.items()
    }


def plot(results, path):
    """Write the loss curves and the times of an epoch as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curves, times) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for (name, (accuracy, records)), style in zip(results.items(), ("-", "--")):
        epochs = np.arange(1, len(records) + 1)
        curves.plot(epochs, records[:, 0], style, label=f"{name}, accuracy {accuracy:.2%}")
        _, whole, part = 1e3 * np.median(records, axis=0)
        bars = times.barh([name, name], [part, whole - part], left=[0, part], color=["C3", "C7"])
    curves.set(xlabel="epoch", ylabel="training loss", yscale="log")
    curves.legend()
    times.set(xlabel="ms per epoch (median)")
    parts = ["activation, loss, gradient, update", "matrix products and batches"]
    times.legend(bars, parts, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    times.invert_yaxis()
    figure.savefig(path, dpi=150)


def main(epochs, png=None):
    """Train, print what came of it, and return 0 if the held-out accuracy is high enough."""
    results = compare(epochs)
    table = Table(title=f"digits, 64-{HIDDEN}-10, batches of {BATCH}, {epochs} epochs, float32")
    for column in (
        "",
        "held-out accuracy",
        "last loss",
        "whole loop, ms/epoch",
        "its part, ms/epoch",
    ):
        table.add_column(column, justify="right" if column else "left")
    for name, (accuracy, records) in results.items():
        loss, (whole, part) = records[-1, 0], 1e3 * np.median(records[:, 1:], axis=0)
        table.add_row(name, f"{accuracy:.2%}", f"{loss:.5f}", f"{whole:.2f}", f"{part:.2f}")
    (ours, ours_records), (_, numpy_records) = results.values()
    whole, part = np.median(numpy_records[:, 1:] / ours_records[:, 1:], axis=0)
    console = Console()
    console.print(table)
    console.print(
        f"NumPy / fastloss, epochs interleaved: whole loop {whole:.2f}x, "
        f"activation + loss + gradient + update {part:.2f}x.\n"
        f"The matrix products are the same NumPy calls in both; "
        f"they bound the first ratio, not the second."
    )
    if png:
        plot(results, png)
        console.print(f"plot: {png}")
    if ours <= REQUIRED_ACCURACY:
        console.print(f"held-out accuracy {ours:.2%} is not over {REQUIRED_ACCURACY:.0%}")
        return 1
    return 0
