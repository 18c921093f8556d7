"""Schedules against torch.optim.lr_scheduler, and against the papers' formulas."""

import pickle
from math import cos, inf, log2, pi

import numpy as np
import pytest

import fastloss as fl

s = fl.schedules
EVERY = [
    s.step_decay(0.5, 3),
    s.exponential_decay(0.5, 0.9),
    s.multistep(0.5, [2, 7]),
    s.cosine(0.5, 8, end=0.1),
    s.linear_warmup(s.cosine(0.5, 8), 4),
    s.one_cycle(0.5, 20),
    s.sutskever_momentum(0.9, every=5),
    s.join([s.linear_warmup(0.5, 4), s.exponential_decay(0.5, 0.5), 0.01], [4, 8]),
]


def of_torch(make, steps=30, lr=0.5):
    """The rates of a torch scheduler, before steps 0, 1, ..."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "make", "steps"),
    [
        (s.step_decay(0.5, 4, gamma=0.25), lambda t, o: t.StepLR(o, 4, 0.25), 30),
        (s.exponential_decay(0.5, 0.9), lambda t, o: t.ExponentialLR(o, 0.9), 30),
        (s.multistep(0.5, [3, 3, 11]), lambda t, o: t.MultiStepLR(o, [3, 3, 11]), 30),
        (s.cosine(0.5, 12, end=0.125), lambda t, o: t.CosineAnnealingLR(o, 12, 0.125), 13),
        (s.cosine(0.5, 7, restart=1), lambda t, o: t.CosineAnnealingWarmRestarts(o, 7), 30),
        (s.cosine(0.5, 3, 0.25, restart=2), lambda t, o: t.CosineAnnealingWarmRestarts(o, 3, 2, 0.25), 60),
        (s.cosine(0.5, 1, restart=3), lambda t, o: t.CosineAnnealingWarmRestarts(o, 1, 3), 60),
        (s.linear_warmup(0.5, 8, start=0.125), lambda t, o: t.LinearLR(o, 0.25, 1, 8), 30),
        (s.one_cycle(0.5, 20), lambda t, o: t.OneCycleLR(o, 0.5, 20), 20),
        (s.one_cycle(0.5, 31, 0.6, 10, 100), lambda t, o: t.OneCycleLR(o, 0.5, 31, pct_start=0.6, div_factor=10, final_div_factor=100), 31),
    ],
    ids=lambda v: type(v).__name__ if callable(v) else "",
)  # fmt: skip
def test_as_torch(schedule, make, steps):
    np.testing.assert_allclose(
        [schedule(i) for i in range(steps)], of_torch(make, steps), rtol=1e-9, atol=1e-12
    )


def test_formulas_far_out_and_at_the_ends():
    assert s.cosine(1.0, 10, end=0.5)(10**9) == 0.5
    assert s.one_cycle(1.0, 10)(10**9) == s.one_cycle(1.0, 10)(9) == pytest.approx(4e-6)
    assert s.exponential_decay(1.0, 0.5, end=0.25)(100) == 0.25
    assert s.exponential_decay(1.0, 2.0, end=8.0)(100) == 8.0
    assert s.exponential_decay(1.0, 0.5, steps=4)(2) == pytest.approx(0.5**0.5)
    for step in (0, 249, 250, 1000, 10**6):
        want = min(1 - 2 ** (-1 - log2(step // 250 + 1)), 0.99)
        assert s.sutskever_momentum(0.99)(step) == pytest.approx(want, rel=1e-15)


def test_warmup_hands_over_and_join_counts_anew():
    rate = s.linear_warmup(s.cosine(0.5, 8), 4)
    assert [rate(i) for i in (0, 2, 4)] == [0.0, 0.25, 0.5]
    assert rate(6) == pytest.approx(0.5 * (1 + cos(pi / 4)) / 2)
    joined = EVERY[-1]
    assert [joined(i) for i in (0, 2, 4, 5, 8, 99)] == [0.0, 0.25, 0.5, 0.25, 0.01, 0.01]


@pytest.mark.parametrize(
    "settings",
    [{}, {"mode": "max"}, {"patience": 1, "factor": 0.5, "cooldown": 2}, {"patience": 0, "min_value": 0.01},
     {"patience": 1, "threshold_mode": "abs", "threshold": 0.125}, {"patience": 0, "eps": 0.01, "mode": "max", "threshold": 0.5}],
    ids=str,
)  # fmt: skip
def test_reduce_on_plateau_as_torch(settings):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = settings | ({"min_lr": settings["min_value"]} if "min_value" in settings else {})
    theirs.pop("min_value", None)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **theirs)
    ours = s.ReduceOnPlateau(0.5, **settings)
    rng = np.random.default_rng(0)
    for loss in np.concatenate([rng.random(30), np.full(30, 0.5), [np.nan, inf, -inf], rng.random(9)]):
        peer.step(loss)
        assert ours.update(loss) == ours(step=3) == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("schedule", [*EVERY, s.ReduceOnPlateau(0.5)], ids=lambda v: type(v).__name__)
def test_pickles_copies_and_optimizers(schedule):
    back = pickle.loads(pickle.dumps(schedule))
    assert [back(i) for i in range(12)] == [schedule(i) for i in range(12)]
    assert type(schedule).__name__ in repr(schedule)
    given, plain = np.zeros(3), np.zeros(3)
    opt = fl.optim.SGD(given, lr=schedule, momentum=schedule)
    other = fl.optim.SGD(plain, lr=1.0, momentum=0.5)
    for step in range(5):
        other.lr = other.momentum = schedule(step)
        opt.step(np.ones(3))
        other.step(np.ones(3))
        assert given.tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: s.step_decay(1.0, 0), "step_size is 0.0; it must be a number > 0"),
        (lambda: s.exponential_decay(1.0, 0.5, steps=-1), "steps is -1.0"),
        (lambda: s.multistep(1.0, [3, 2]), r"milestones is \[3, 2\]; it must ascend"),
        (lambda: s.cosine(1.0, 0), "steps is 0.0"),
        (lambda: s.cosine(1.0, 5, restart=0.5), "restart is 0.5; it must be a number >= 1"),
        (lambda: s.linear_warmup(1.0, 0), "steps is 0.0"),
        (lambda: s.one_cycle(1.0, 1), "steps is 1.0; it must be a number > 1"),
        (lambda: s.one_cycle(1.0, 10, pct_start=1.5), "pct_start is 1.5"),
        (lambda: s.one_cycle(1.0, 10, div_factor=0), "div_factor is 0.0"),
        (lambda: s.sutskever_momentum(1.5), "largest is 1.5"),
        (lambda: s.join([0.1, 0.2], []), "boundaries has 0 entries; it must have 1"),
        (lambda: s.join([0.1, 0.2, 0.3], [2, 1]), "boundaries is"),
        (lambda: s.ReduceOnPlateau(1.0, mode="least"), "mode is 'least'; it must be one of 'min', 'max'"),
        (lambda: s.ReduceOnPlateau(1.0, threshold_mode="x"), "threshold_mode is 'x'"),
        (lambda: s.ReduceOnPlateau(1.0, factor=1.0), "factor is 1.0; it must be a number < 1"),
    ],
)
def test_errors(make, words):
    with pytest.raises(ValueError, match=words):
        make()
