"""The types of the optimizers. What a name does is said in its docstring."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Params = NDArray[Any] | Sequence[NDArray[Any]] | Mapping[Any, NDArray[Any]]
_Grads = ArrayLike | Sequence[ArrayLike | None] | Mapping[Any, ArrayLike | None]
_Schedule = float | Callable[[int], float]
_State = dict[str, Any]

class _Optimizer:
    lr: _Schedule
    @property
    def ema(self) -> Any: ...
    def step(self, grads: _Grads, *, grad_scale: float = 1.0, max_norm: float | None = None) -> None: ...
    def state_dict(self) -> _State: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

class ASGD(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.01, lambd: float = 0.0001, alpha: float = 0.75, t0:
        float = 1000000.0, weight_decay: float = 0, *, maximize: bool = False, ema: float | None =
        None,
    ) -> None: ...

class LBFGS(_Optimizer):
    def __init__(
        self, params: _Params, lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-07, tolerance_change: float = 1e-09, history_size: int = 100,
        line_search_fn: Literal["strong_wolfe"] | None = None,
    ) -> None: ...
    def step(self, closure: Callable[[], tuple[float, _Grads]]) -> float: ...  # type: ignore[override]

class SGD(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.001, momentum: _Schedule = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False, ema: float | None
        = None,
    ) -> None: ...

class Adadelta(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 1.0, rho: float = 0.9, eps: float = 1e-06,
        weight_decay: float = 0, *, maximize: bool = False, ema: float | None = None,
    ) -> None: ...

class Adafactor(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.01, beta2_decay: float = -0.8, eps: tuple[float |
        None, float] = (None, 0.001), d: float = 1.0, weight_decay: float = 0.0, *, maximize: bool =
        False, ema: float | None = None,
    ) -> None: ...

class Adagrad(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.01, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, *, maximize: bool = False, ema:
        float | None = None,
    ) -> None: ...

class Adam(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.001, betas: tuple[float, float] = (0.9, 0.999), eps:
        float = 1e-08, weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
        decoupled_weight_decay: bool = False, ema: float | None = None,
    ) -> None: ...

class AdamW(Adam):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.001, betas: tuple[float, float] = (0.9, 0.999), eps:
        float = 1e-08, weight_decay: float = 0.01, amsgrad: bool = False, *, maximize: bool = False,
        ema: float | None = None,
    ) -> None: ...

class Adamax(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.002, betas: tuple[float, float] = (0.9, 0.999), eps:
        float = 1e-08, weight_decay: float = 0, *, maximize: bool = False, ema: float | None = None,
    ) -> None: ...

class Lion(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.0001, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0, *, maximize: bool = False, ema: float | None = None,
    ) -> None: ...

class Muon(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.001, weight_decay: float = 0.1, momentum: _Schedule =
        0.95, nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.775,
        2.0315), eps: float = 1e-07, ns_steps: int = 5, adjust_lr_fn: Literal["original",
        "match_rms_adamw"] | None = None, *, ema: float | None = None,
    ) -> None: ...

class NAdam(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.002, betas: tuple[float, float] = (0.9, 0.999), eps:
        float = 1e-08, weight_decay: float = 0, momentum_decay: float = 0.004, decoupled_weight_decay:
        bool = False, *, maximize: bool = False, ema: float | None = None,
    ) -> None: ...

class RAdam(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.001, betas: tuple[float, float] = (0.9, 0.999), eps:
        float = 1e-08, weight_decay: float = 0, decoupled_weight_decay: bool = False, *, maximize:
        bool = False, ema: float | None = None,
    ) -> None: ...

class RMSprop(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.01, alpha: float = 0.99, eps: float = 1e-08,
        weight_decay: float = 0, momentum: _Schedule = 0, centered: bool = False, *, maximize: bool =
        False, ema: float | None = None,
    ) -> None: ...

class Rprop(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.01, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-06, 50), *, maximize: bool = False, ema: float | None =
        None,
    ) -> None: ...

class SparseAdam(_Optimizer):
    def __init__(
        self, params: _Params, lr: _Schedule = 0.001, betas: tuple[float, float] = (0.9, 0.999), eps:
        float = 1e-08, maximize: bool = False,
    ) -> None: ...
    def step(self, grads: Any, *, grad_scale: float = 1.0) -> None: ...  # type: ignore[override]

def adadelta_step(
    param: NDArray[Any], grad: ArrayLike, square_avg: NDArray[Any], acc_delta: NDArray[Any], *, lr: float
    = 1.0, step: int = 1, rho: float = 0.9, eps: float = 1e-06, weight_decay: float = 0, maximize: bool =
    False,
) -> None: ...
def adagrad_step(
    param: NDArray[Any], grad: ArrayLike, state_sum: NDArray[Any], *, step: int, lr: float, lr_decay:
    float = 0, weight_decay: float = 0, eps: float = 1e-10, maximize: bool = False,
) -> None: ...
def adam_step(
    param: NDArray[Any], grad: ArrayLike, exp_avg: NDArray[Any], exp_avg_sq: NDArray[Any], *, step: int,
    lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
    maximize: bool = False, max_exp_avg_sq: NDArray[Any] | None = None, decoupled_weight_decay: bool =
    False,
) -> None: ...
def adamax_step(
    param: NDArray[Any], grad: ArrayLike, exp_avg: NDArray[Any], exp_inf: NDArray[Any], *, step: int, lr:
    float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
    maximize: bool = False,
) -> None: ...
def adamw_step(
    param: NDArray[Any], grad: ArrayLike, exp_avg: NDArray[Any], exp_avg_sq: NDArray[Any], *, step: int,
    lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0.01,
    maximize: bool = False, max_exp_avg_sq: NDArray[Any] | None = None,
) -> None: ...
def asgd_step(
    param: NDArray[Any], grad: ArrayLike, ax: NDArray[Any], *, step: int, lr: float, lambd: float =
    0.0001, alpha: float = 0.75, t0: float = 1000000.0, weight_decay: float = 0, maximize: bool = False,
) -> None: ...
def clip_grad_norm(
    grads: _Params, max_norm: float, norm_type: float = 2, error_if_nonfinite: bool = False
) -> np.float64: ...
def lion_step(
    param: NDArray[Any], grad: ArrayLike, exp_avg: NDArray[Any], *, lr: float, step: int = 1, betas:
    tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0, maximize: bool = False,
) -> None: ...
def nadam_step(
    param: NDArray[Any], grad: ArrayLike, exp_avg: NDArray[Any], exp_avg_sq: NDArray[Any], *, step: int,
    lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
    momentum_decay: float = 0.004, decoupled_weight_decay: bool = False, maximize: bool = False,
) -> None: ...
def radam_step(
    param: NDArray[Any], grad: ArrayLike, exp_avg: NDArray[Any], exp_avg_sq: NDArray[Any], *, step: int,
    lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
    decoupled_weight_decay: bool = False, maximize: bool = False,
) -> None: ...
def rmsprop_step(
    param: NDArray[Any], grad: ArrayLike, square_avg: NDArray[Any], grad_avg: NDArray[Any] | None = None,
    momentum_buffer: NDArray[Any] | None = None, *, lr: float, step: int = 1, alpha: float = 0.99, eps:
    float = 1e-08, weight_decay: float = 0, momentum: float = 0, maximize: bool = False,
) -> None: ...
def rprop_step(
    param: NDArray[Any], grad: ArrayLike, prev: NDArray[Any], step_size: NDArray[Any], *, step: int, lr:
    float, etas: tuple[float, float] = (0.5, 1.2), step_sizes: tuple[float, float] = (1e-06, 50),
    maximize: bool = False,
) -> None: ...
def sgd_step(
    param: NDArray[Any], grad: ArrayLike, momentum_buffer: NDArray[Any] | None = None, *, lr: float, step:
    int | None = None, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool
    = False, maximize: bool = False,
) -> None: ...
