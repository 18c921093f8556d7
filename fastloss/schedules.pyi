"""The types of the schedules. What a name does is said in its docstring."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

@dataclass(frozen=True)
class step_decay:
    value: float
    step_size: int
    gamma: float = 0.1
    def __call__(self, step: float) -> float: ...

@dataclass(frozen=True)
class exponential_decay:
    value: float
    gamma: float
    steps: float = 1
    end: float | None = None
    def __call__(self, step: float) -> float: ...

@dataclass(frozen=True)
class multistep:
    value: float
    milestones: tuple[float, ...]
    gamma: float = 0.1
    def __call__(self, step: float) -> float: ...

@dataclass(frozen=True)
class cosine:
    value: float
    steps: int
    end: float = 0.0
    restart: float | None = None
    def __call__(self, step: float) -> float: ...

@dataclass(frozen=True)
class linear_warmup:
    value: float
    steps: int
    start: float = 0.0
    def __call__(self, step: float) -> float: ...

@dataclass(frozen=True)
class one_cycle:
    value: float
    steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 10000.0
    def __call__(self, step: float) -> float: ...

@dataclass(frozen=True)
class sutskever_momentum:
    largest: float = 0.999
    every: int = 250
    def __call__(self, step: float) -> float: ...

@dataclass(frozen=True)
class join:
    schedules: tuple[float | Callable[[float], float], ...]
    boundaries: tuple[float, ...]
    def __call__(self, step: float) -> float: ...

class ReduceOnPlateau:
    value: float
    def __init__(
        self, value: float, mode: Literal["min", "max"] = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: Literal["rel", "abs"] = "rel", cooldown: int = 0,
        min_value: float = 0.0, eps: float = 1e-8,
    ) -> None: ...
    def update(self, loss: float) -> float: ...
    def __call__(self, step: float) -> float: ...
