"""A scoring service that needs NumPy and fastloss alone: a two-layer network from an npz file behind an HTTP endpoint.

    python examples/scoring_service.py --weights model.npz --port 8000     # arrays w1, b1, w2, b2
    python examples/scoring_service.py --compare                           # start time and memory beside torch

POST /score {"rows": [[...], ...], "labels": [...]} answers with the probabilities of the classes, and with labels also with their loss.
"""

import argparse
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import fastloss as fl


class Model:
    """gelu(x @ w1 + b1) @ w2 + b2, in the dtype of its weights."""

    def __init__(self, path: str | Path) -> None:
        with np.load(path) as file:
            self.w1, self.b1, self.w2, self.b2 = (file[name] for name in ("w1", "b1", "w2", "b2"))

    def logits(self, rows: ArrayLike) -> NDArray[np.floating[Any]]:
        x = np.asarray(rows, self.w1.dtype)
        if x.ndim != 2 or x.shape[1] != len(self.w1):
            raise ValueError(f"rows has shape {x.shape}; it must be (N, {len(self.w1)})")
        hidden = x @ self.w1 + self.b1
        logits: NDArray[np.floating[Any]] = fl.gelu(hidden, out=hidden) @ self.w2 + self.b2
        return logits

    def score(self, rows: ArrayLike, labels: ArrayLike | None = None) -> dict[str, list[Any]]:
        """What the service answers: probabilities, and with labels the loss of each row."""
        logits = self.logits(rows)
        answer = {"probabilities": fl.softmax(logits, axis=1).tolist()}
        if labels is not None:
            answer["losses"] = fl.cross_entropy(logits, labels, reduction="none").tolist()
        return answer


class Handler(BaseHTTPRequestHandler):
    server: "Service"

    def do_POST(self) -> None:
        try:
            if self.path != "/score":
                raise ValueError(f"there is no {self.path}; rows are scored at /score")
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: dict[str, Any]
            status, answer = 200, self.server.model.score(request["rows"], request.get("labels"))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            status, answer = 400, {"error": str(error)}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing is printed per request."""


class Service(ThreadingHTTPServer):
    """The server, on a free port of the loopback interface unless one is given: `serve_forever()` runs it."""

    def __init__(self, model: Model, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.model = model


MEASURE = """
import resource, sys, time
start = time.perf_counter()
{first}
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20))
"""
FIRST_SCORES = {
    "fastloss": "import numpy as np, fastloss as fl\nfl.softmax(fl.gelu(np.ones((8, 16), np.float32)), axis=1)",
    "torch": "import torch\ntorch.softmax(torch.nn.functional.gelu(torch.ones(8, 16)), 1)",
}


def compare() -> dict[str, tuple[float, ...]]:
    """Seconds and MB that a fresh process takes to its first score, by library."""
    found = {}
    for name, first in FIRST_SCORES.items():
        if find_spec(name):
            done = subprocess.run([sys.executable, "-c", MEASURE.format(first=first)], text=True, capture_output=True, check=True)
            found[name] = tuple(map(float, done.stdout.split()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, help="npz file with w1, b1, w2, b2")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--compare", action="store_true", help="print start time and memory beside torch, where that is installed")
    given = parser.parse_args()
    if given.compare:
        for name, (seconds, megabytes) in compare().items():
            print(f"{name:9} {seconds:6.2f} s to the first score, {megabytes:6.0f} MB")
    elif given.weights is None:
        parser.error("--weights is needed to serve")
    else:
        with Service(Model(given.weights), given.port) as server:
            print(f"http://127.0.0.1:{server.server_port}/score")
            server.serve_forever()


if __name__ == "__main__":
    main()
