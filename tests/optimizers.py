"""The table of optimizers: references, settings to test, states. cases.py and test_optim.py walk it."""

from dataclasses import dataclass
from itertools import product

from tests import reference_optim as ref


def options(**choices):
    """All combinations."""
    return [dict(zip(choices, values)) for values in product(*choices.values())]


@dataclass(frozen=True)
class Rule:
    """An optimizer: its reference, the settings to test, the names of its states, its functional form."""

    name: str
    reference: object
    settings: tuple
    states: tuple = ()
    elementwise: bool = True
    step: str = ""

    def label(self, number):
        words = (
            key if value is True else f"{key}={value}"
            for key, value in self.settings[number].items()
            if value not in (False, 0) and key not in ("lr", "eps")
        )
        return "-".join([self.name, *words]).replace(" ", "")


COUPLED = options(weight_decay=[0, 0.125], maximize=[False, True])
DECOUPLED = [{"decoupled_weight_decay": True, "weight_decay": 0.125}]
SGD = [
    {"lr": 0.125, **o}
    for o in options(
        momentum=[0, 0.75],
        dampening=[0, 0.25],
        weight_decay=[0, 0.0625],
        nesterov=[False, True],
        maximize=[False, True],
    )
    if not (o["nesterov"] and (o["dampening"] or not o["momentum"]))
]

RULES = (
    Rule("SGD", ref.sgd, tuple(SGD), ("momentum_buffer",), step="sgd_step"),
    Rule(
        "ASGD",
        ref.asgd,
        ({"lr": 0.0625}, *({"lr": 0.125, "lambd": 0.25, "alpha": 0.5, "t0": 2, **o} for o in COUPLED)),
        ("ax",),
        step="asgd_step",
    ),
    Rule(
        "Adagrad",
        ref.adagrad,
        (
            {},
            *(
                {"lr": 0.125, "lr_decay": 0.25, "initial_accumulator_value": 0.5, "eps": 1e-3, **o}
                for o in COUPLED
            ),
        ),
        ("sum",),
        step="adagrad_step",
    ),
    Rule(
        "Adadelta",
        ref.adadelta,
        ({}, *({"lr": 0.5, "rho": 0.75, "eps": 0.0625, **o} for o in COUPLED), {"rho": 1.0}),
        ("square_avg", "acc_delta"),
        step="adadelta_step",
    ),
    Rule(
        "RMSprop",
        ref.rmsprop,
        (
            {},
            *(
                {"lr": 0.0625, "alpha": 0.75, "eps": 0.125, **o}
                for o in options(centered=[False, True], momentum=[0, 0.5], weight_decay=[0, 0.125])
            ),
            {"lr": 0.125, "maximize": True, "centered": True, "momentum": 0.75},
        ),
        ("square_avg", "grad_avg", "momentum_buffer"),
        step="rmsprop_step",
    ),
    Rule(
        "Rprop",
        ref.rprop,
        ({}, {"lr": 0.125, "etas": (0.25, 2.0), "step_sizes": (0.0625, 0.75), "maximize": True}),
        ("prev", "step_size"),
        step="rprop_step",
    ),
    Rule(
        "Adam",
        ref.adam,
        (
            {},
            *(
                {"lr": 0.0625, "betas": (0.75, 0.875), "eps": 2**-10, **o}
                for o in options(
                    weight_decay=[0, 0.125],
                    amsgrad=[False, True],
                    maximize=[False, True],
                    decoupled_weight_decay=[False, True],
                )
            ),
        ),
        ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
        step="adam_step",
    ),
    Rule(
        "AdamW",
        ref.adamw,
        (
            {},
            {"lr": 0.0625, "betas": (0.0, 0.875), "weight_decay": 0.25, "maximize": True},
            {"amsgrad": True, "lr": 0.0625},
        ),
        ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
        step="adamw_step",
    ),
    Rule(
        "Adamax",
        ref.adamax,
        ({}, *({"lr": 0.125, "betas": (0.75, 0.875), "eps": 2**-10, **o} for o in COUPLED)),
        ("exp_avg", "exp_inf"),
        step="adamax_step",
    ),
    Rule(
        "NAdam",
        ref.nadam,
        (
            {},
            *(
                {"lr": 0.125, "betas": (0.75, 0.875), "momentum_decay": 0.25, **o}
                for o in [*COUPLED, *DECOUPLED]
            ),
        ),
        ("exp_avg", "exp_avg_sq"),
        step="nadam_step",
    ),
    Rule(
        "RAdam",
        ref.radam,
        ({}, *({"lr": 0.125, "betas": (0.75, 0.9375), **o} for o in [*COUPLED, *DECOUPLED])),
        ("exp_avg", "exp_avg_sq"),
        step="radam_step",
    ),
    Rule(
        "Lion",
        ref.lion,
        ({}, {"lr": 0.0625, "betas": (0.75, 0.875), "weight_decay": 0.125, "maximize": True}),
        ("exp_avg",),
        step="lion_step",
    ),
    Rule(
        "Adafactor",
        ref.adafactor,
        (
            {},
            {
                "lr": 0.125,
                "beta2_decay": -0.5,
                "eps": (2**-10, 0.25),
                "d": 1.5,
                "weight_decay": 0.125,
                "maximize": True,
            },
        ),
        elementwise=False,
    ),
    Rule(
        "Muon",
        ref.muon,
        (
            {},
            {
                "lr": 0.125,
                "momentum": 0.5,
                "nesterov": False,
                "ns_steps": 3,
                "adjust_lr_fn": "match_rms_adamw",
                "weight_decay": 0,
            },
            {"lr": 0.125, "ns_coefficients": (2.0, -1.5, 0.5), "adjust_lr_fn": "original", "eps": 1.0},
        ),
        elementwise=False,
    ),
)

CASES = [(rule, number) for rule in RULES for number in range(len(rule.settings))]
