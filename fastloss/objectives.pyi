"""The types of the objectives. What a name does is said in its docstring."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Derivatives = tuple[NDArray[np.float32], NDArray[np.float32]]
_Hessian = Literal["exact", "positive", "one"]

class _Objective:
    no_jit: bool
    loss: Any
    params: dict[str, Any]
    public_name: str
    of_rows: bool
    hessian: _Hessian
    def __init__(self, loss: str | Callable[..., Any], *, hessian: _Hessian | None = None, **params: Any) -> None: ...
    def __deepcopy__(self, memo: Any) -> _Objective: ...
    def scores_classes(self, y: NDArray[Any]) -> bool: ...
    def labels(self, y: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]: ...
    def init_score(self, y: ArrayLike, weight: ArrayLike | None = None) -> Any: ...

class xgboost(_Objective):
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: ArrayLike | None = None) -> _Derivatives: ...

class lightgbm(_Objective):
    def __call__(self, y_true: Any, y_pred: Any, weight: ArrayLike | None = None) -> _Derivatives: ...

class catboost(_Objective):
    @overload
    def calc_ders_range(self, approxes: NDArray[Any], targets: Any, weights: Any) -> NDArray[np.float64]: ...
    @overload
    def calc_ders_range(self, approxes: Sequence[float], targets: Any, weights: Any) -> list[tuple[float, float]]: ...
    def calc_ders_multi(self, approx: Any, target: Any, weight: Any) -> tuple[list[float], list[list[float]]]: ...
