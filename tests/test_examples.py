"""What the README tells people to run: the example, the commands, the bench on a small group."""

import importlib
import json
import runpy
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
from fastloss._activation import Activation
from fastloss._loss import ElementwiseLoss

from tests.cases import CASES

ROOT = Path(__file__).parents[1]


def run(*arguments):
    """Run `python *arguments` in the checkout and return what it printed."""
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_example_reaches_97_percent():
    pytest.importorskip("sklearn")
    example = runpy.run_path(str(ROOT / "examples" / "train_digits.py"))
    assert example["main"]() > 0.97


def test_minibatch_example_learns_in_every_loop():
    pytest.importorskip("sklearn")
    accuracies = runpy.run_path(str(ROOT / "examples" / "minibatch.py"))["main"]()
    assert len(accuracies) == 9 and min(accuracies.values()) > 0.9


def test_numba_example_reaches_95_percent(monkeypatch):
    """Imported: what Numba caches can be loaded by the next run only where the module has a name."""
    pytest.importorskip("sklearn")
    pytest.importorskip("numba")
    monkeypatch.syspath_prepend(ROOT / "examples")
    assert importlib.import_module("numba_training").main() > 0.95


def test_custom_loss_example_finds_the_line():
    pytest.importorskip("numba")
    errors = runpy.run_path(str(ROOT / "examples" / "custom_loss.py"))["main"]()
    assert errors["Geman-McClure"] < 0.02 < 1 < errors["least squares"]


def test_focal_loss_ranks_the_rare_digit_better():
    pytest.importorskip("sklearn")
    pytest.importorskip("xgboost")
    precision = runpy.run_path(str(ROOT / "examples" / "xgboost_focal.py"))["main"]()
    assert precision["focal"] > precision["cross-entropy"] > 0.3


class TestScoringService:
    @pytest.fixture
    def model(self, tmp_path):
        rng = np.random.default_rng(0)
        weights = {"w1": rng.standard_normal((3, 16)), "b1": rng.standard_normal(16), "w2": rng.standard_normal((16, 4)), "b2": np.zeros(4)}
        np.savez(tmp_path / "model.npz", **{name: a.astype(np.float32) for name, a in weights.items()})
        self.example = runpy.run_path(str(ROOT / "examples" / "scoring_service.py"))
        return self.example["Model"](tmp_path / "model.npz")

    def test_answers(self, model):
        rows, labels = np.random.default_rng(1).standard_normal((5, 3)).tolist(), [0, 3, 1, 2, 2]
        with self.example["Service"](model) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                status, answer = self.post(server, {"rows": rows, "labels": labels})
                assert status == 200 and answer == model.score(rows, labels)
                losses = -np.log([p[y] for p, y in zip(answer["probabilities"], labels, strict=True)])
                np.testing.assert_allclose(answer["losses"], losses, rtol=1e-5)
                assert "losses" not in self.post(server, {"rows": rows})[1]
                for request, message in (({"rows": [[1.0]]}, "(N, 3)"), ({"rows": rows, "labels": [9] * 5}, "target[0] is 9"), ({}, "rows")):
                    status, answer = self.post(server, request)
                    assert status == 400 and message in answer["error"]
            finally:
                server.shutdown()

    @staticmethod
    def post(server, request):
        url = f"http://127.0.0.1:{server.server_port}/score"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, json.dumps(request).encode()), timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as reply:
            with reply:
                return reply.code, json.load(reply)

    def test_needs_no_torch(self, python):
        program = f"import runpy, sys; runpy.run_path({str(ROOT / 'examples' / 'scoring_service.py')!r}); print(*sys.modules)"
        assert not {"torch", "scipy", "numba"} & set(python(program).split())

    def test_compare(self):
        printed = run("examples/scoring_service.py", "--compare").splitlines()
        megabytes = {line.split()[0]: float(line.split()[-2]) for line in printed}
        assert megabytes["fastloss"] > 0
        if "torch" in megabytes:
            assert megabytes["fastloss"] < megabytes["torch"]


def test_every_optimizer_trains_the_demo():
    """A table of epochs; here with few epochs, and every optimizer named."""
    pytest.importorskip("sklearn")
    pytest.importorskip("rich")
    printed = run("-m", "bench.epochs", "--most", "1")
    assert all(name in printed for name in fl.optim.__all__ if name[0].isupper())


def test_info():
    assert "fastloss" in run("-m", "fastloss", "info")


def test_demo_reaches_97_percent_and_writes_the_plot(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    png = tmp_path / "demo.png"
    printed = run("-m", "fastloss", "demo", "--png", png)
    assert "held-out" in printed and "NumPy / fastloss" in printed
    assert png.read_bytes().startswith(b"\x89PNG")


def test_demo_fails_below_97_percent():
    pytest.importorskip("sklearn")
    pytest.importorskip("rich")
    with pytest.raises(AssertionError, match="not over 97%"):
        run("-m", "fastloss", "demo", "--epochs", "1")


def test_gallery_draws_every_elementwise_function(tmp_path):
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    drawn = {case.name for case in CASES if isinstance(case.function, Activation | ElementwiseLoss)}
    png = tmp_path / "gallery.png"
    assert f"{len(drawn)} functions" in run("-m", "fastloss", "gallery", "--png", png)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_gallery_says_what_it_needs(python):
    program = """
import sys
sys.modules["matplotlib"] = None
sys.argv = ["fastloss", "gallery"]
import runpy
runpy.run_module("fastloss", run_name="__main__")
"""
    done = python(program, check=False)
    assert done.returncode != 0 and "the gallery needs matplotlib: pip install 'fastloss[demo]'" in done.stderr


def test_bench_checks_then_times(tmp_path):
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    record = tmp_path / "bench.json"
    run("-m", "bench", "calls", "--quick", "--json", record, "--png", tmp_path / "bench.png")
    rows = json.loads(record.read_text())["rows"]
    assert rows and all(row["seconds"] > 0 for row in rows)


def test_dask_example_learns():
    """Small, in this process; the larger one on workers is test_dask.py's test of their memory."""
    pytest.importorskip("dask.array")
    pytest.importorskip("distributed")
    losses, accuracy = runpy.run_path(str(ROOT / "examples" / "dask_softmax_regression.py"))["main"](rows=200_000, memory_limit=None)
    assert losses[-1] < losses[0] / 2 and accuracy > 0.95


@pytest.mark.parametrize(("library", "example"), [("mpi4py", "mpi_partial"), ("ray", "ray_partial")])
def test_reductions_give_the_mean_of_all_rows(library, example):
    """Both are heavy, and no extra has them: run where they are installed."""
    pytest.importorskip(library)
    assert runpy.run_path(str(ROOT / "examples" / f"{example}.py"))["main"]() < 1e-12
