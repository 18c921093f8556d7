"""Train a two-layer network on scikit-learn's handwritten digits: NumPy arrays, fastloss for the rest."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastloss as fl


def main(epochs: int = 20, hidden: int = 128, batch: int = 32, seed: int = 0) -> float:
    """Train and return the accuracy on the held-out quarter of the images."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.25, stratify=labels, random_state=seed
    )

    rng = np.random.default_rng(seed)
    w1 = (rng.standard_normal((64, hidden)) * np.sqrt(2 / 64)).astype(np.float32)
    b1 = np.zeros(hidden, np.float32)
    w2 = (rng.standard_normal((hidden, 10)) * np.sqrt(2 / hidden)).astype(np.float32)
    b2 = np.zeros(10, np.float32)
    optimizer = fl.optim.AdamW([w1, b1, w2, b2], lr=2e-3)  # updates the four arrays in place

    for epoch in range(epochs):
        order = rng.permutation(len(x_train))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            x, y = x_train[rows], y_train[rows]
            z = x @ w1 + b1
            h = fl.gelu(z)
            loss, g = fl.cross_entropy.value_and_grad(h @ w2 + b2, y)
            gz = fl.gelu.backward(g @ w2.T, z)
            optimizer.step([x.T @ gz, gz.sum(axis=0), h.T @ g, g.sum(axis=0)])
        print(f"epoch {epoch + 1:2d}  loss of the last batch {loss:.4f}")

    predicted = (fl.gelu(x_test @ w1 + b1) @ w2 + b2).argmax(axis=1)
    accuracy = float((predicted == y_test).mean())
    print(f"held-out accuracy {accuracy:.2%}")
    return accuracy


if __name__ == "__main__":
    main()
