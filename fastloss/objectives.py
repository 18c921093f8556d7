"""Losses as objectives of gradient boosting: `xgboost`, `lightgbm` and `catboost` make what each engine calls.

An objective is immutable, pickles, and is cheap to make; none of the engines is imported here. Predictions are raw scores:
log-odds for `binary_cross_entropy_with_logits`, one column of logits per class for `cross_entropy`.
"""

import functools
import inspect

import numpy as np

import fastloss

from . import _check as check
from . import _config as config
from ._initial import constant
from ._lines import BrierLoss, HingeLoss
from ._loss import ElementwiseLoss, RowTerms

__all__ = ["catboost", "lightgbm", "xgboost"]

SIGNED = {"exponential_loss", "hinge_embedding_loss", "hinge_loss", "soft_margin_loss", "squared_hinge_loss"}
SLAB = 1 << 18      # predictions that are computed in float64 before they are rounded: what a second-level cache holds
FLOOR = 1e-6        # of a row's weight, below which hessian="positive" does not go
_engine = config.compiled()


class _Objective:
    """A loss, its keywords, and which second derivative the engine is given."""

    no_jit = True   # CatBoost would compile the methods with Numba, and warn that it cannot

    def __init__(self, loss, *, hessian=None, **params):
        self.loss, self.params = _public_loss(loss, params), params
        self.public_name = self.loss.__name__ if getattr(fastloss, self.loss.__name__, None) is self.loss else ""
        own = inspect.signature(self.loss._function).parameters
        check.loss_parameters(self.loss.__name__, params, set(own) - {"input", "target", "axis"})
        terms = self.loss._function("input", "target", **params)
        self._axis = "axis" in own
        self._kind = getattr(terms, "kind", "class" if isinstance(terms, RowTerms) else "")
        self.of_rows = bool(self._kind) or self.loss._of_rows
        self.hessian = self._default_hessian() if hessian is None else check.one_of("hessian", hessian, ("exact", "positive", "one"))

    def __repr__(self):
        params = "".join(f", {name}={value!r}" for name, value in self.params.items())
        return f"fastloss.objectives.{type(self).__name__}({self.loss.__name__}, hessian={self.hessian!r}{params})"

    def __deepcopy__(self, memo):
        return self     # as functions do: scikit-learn's clone asks CatBoost's estimators for the very object they were given

    def _default_hessian(self):
        """What is 0 for a constant probe is "one": near their target, curved losses are curved."""
        lengths = [np.shape(value)[-1] for value in self.params.values() if np.ndim(value)]
        columns = (lengths or [3])[:1] if lengths or self.of_rows else []
        x = np.multiply.outer(np.linspace(0, 1, 5), np.ones(columns))
        y = np.zeros(5, np.int64) if self._kind == "class" else np.ones(x.shape, np.int64)
        hess = self.loss.value_grad_hess(x, y, reduction="none", **self.params)[2]
        return "positive" if hess.any() else "one"

    def scores_classes(self, y):
        """Whether those labels ask for one score per class."""
        return bool(self._kind) or (isinstance(self.loss, HingeLoss) and y.ndim == 1 and not np.isin(y, (-1, 0, 1)).all())

    def labels(self, y, shape):
        """Labels for predictions of that shape as the loss takes them: class indices, signs, or what they are."""
        if self.of_rows:
            check.class_columns(self.loss.__name__, shape)
        y = check.array("target", y, boolean=True)
        if y.ndim == 2 and y.shape != shape and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 1 < len(shape) and (self._kind or isinstance(self.loss, HingeLoss | BrierLoss)):
            return check.class_labels(y, shape[1], self.params.get("ignore_index"))
        if self._kind == "labels":
            return check.whole_labels(y)
        return check.sign_labels(y) if self.public_name in SIGNED else y

    def _derivatives(self, x, y, weight, **axis):
        """New arrays like x: the derivatives of every row's own loss times its weight; axis=0: rows are columns."""
        own, floor = {"reduction": "sum", **axis, **self.params}, 1.0
        if weight is not None:
            floor = weight[:, None] if x.ndim == 2 and not axis else weight
            if isinstance(self.loss, ElementwiseLoss) and y.shape == x.shape:
                return tuple(np.multiply(a, floor, out=a) for a in self._derivatives(x, y, None))
            own["sample_weight"] = weight
        y = y.astype(x.dtype, copy=False) if y.dtype.kind == "f" else y
        if self.hessian == "one":
            return self.loss.value_and_grad(x, y, **own)[1], np.full_like(x, floor)
        _, grad, hess = self.loss.value_grad_hess(x, y, **own)
        return grad, np.maximum(hess, FLOOR * floor, out=hess) if self.hessian == "positive" else hess

    def _arguments(self, y_true, y_pred, weight):
        """Checked labels, predictions and weights, whichever way round the engine calls."""
        if hasattr(y_pred, "get_label"):                            # (predictions, DMatrix or Dataset)
            y_pred, y_true, weight = y_true, y_pred.get_label(), y_pred.get_weight()
            weight = None if weight is None or not np.size(weight) else weight
        x = check.raw_scores(y_pred)
        return self.labels(y_true, x.shape), x, None if weight is None else check.per_row(weight, x.shape[:1])

    @np.errstate(all="ignore")
    def init_score(self, y, weight=None):
        """The constant prediction of least weighted loss, from which boosting can start.

        Parameters
        ----------
        y : array_like, shape (n,) or (n, outputs)
            Labels, as the engine is given them.
        weight : array_like, shape (n,), optional
            One weight per row.

        Returns
        -------
        float, or ndarray of float64
            One number for labels (n,), else one per output; for losses of class scores one per class. Mean, quantile, logarithm
            of the mean, logit, or logarithms of the classes' shares, where the loss has its minimum there; else by Newton's
            method. Where the minimum is at infinity, as for a class without rows, a probability of 1e-15 stands for 0.

        Raises
        ------
        ValueError
            For weights that do not fit or add up to 0, labels that are NaN or that the loss does not take.
        """
        y = check.all_labels(y)
        weight = np.ones(len(y)) if weight is None else check.per_row(weight, y.shape[:1]).astype(np.float64)
        check.some_weight(weight)
        return constant(self, y, weight)


class xgboost(_Objective):
    """An objective for XGBoost: float32 derivatives in C order, of the shape of the predictions.

    It is called by ``xgboost.train(obj=)`` as (predictions, DMatrix) and by the scikit-learn estimators as (labels,
    predictions, sample_weight). Labels are what the engine hands over, float32: they become class indices for losses of class
    scores, and 0 stands for -1 where a loss takes signs. Labels of the predictions' shape serve several outputs.

    Parameters
    ----------
    loss : loss or str
        A public or custom loss of one prediction and one target, or a public one's name.
    hessian : {"exact", "positive", "one"}, optional
        The second derivatives as they are, or at least 1e-6 of the row's weight, or the weights themselves. By default
        "positive"; "one" where the loss has the second derivative 0.
    **params
        The loss's own keywords, such as gamma, q, weight (per class) or label_smoothing.

    Raises
    ------
    TypeError
        For what is no loss, or a keyword that the loss does not have or that an objective sets itself.
    ValueError
        For a loss of several inputs or without a target, values that the loss does not take. When called: IndexError for a
        label that is no class, ValueError for shapes that do not fit, labels that are not whole where they must be.

    References
    ----------
    Chen, Guestrin, XGBoost: A Scalable Tree Boosting System (2016), section 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> import fastloss as fl
    >>> objective = fl.objectives.xgboost("cross_entropy", weight=[1.0, 2.0])
    >>> grad, hess = objective(np.array([0.0, 1.0]), np.zeros((2, 2)))
    >>> grad
    array([[-0.5,  0.5],
           [ 1. , -1. ]], dtype=float32)
    >>> hess
    array([[0.25, 0.25],
           [0.5 , 0.5 ]], dtype=float32)
    >>> round(fl.objectives.xgboost("binary_cross_entropy_with_logits").init_score([0, 0, 0, 1]), 4)
    -1.0986
    """

    @np.errstate(all="ignore")
    def __call__(self, y_true, y_pred, sample_weight=None):
        y, x, weight = self._arguments(y_true, y_pred, sample_weight)
        return self._derivatives(np.ascontiguousarray(x, np.float32), y, weight)


class lightgbm(_Objective):
    """An objective for LightGBM: float32 derivatives in Fortran order, computed from its float64 predictions.

    It is called by ``lightgbm.train(params={"objective": ...})`` as (predictions, Dataset) and by the scikit-learn estimators
    as (labels, predictions, weight). LightGBM starts such an objective from 0: pass `init_score` to the Dataset or to fit.

    Parameters
    ----------
    loss, hessian, **params
        As in `xgboost`.

    Raises
    ------
    TypeError, ValueError
        As `xgboost`.

    References
    ----------
    Ke et al., LightGBM: A Highly Efficient Gradient Boosting Decision Tree (2017).

    Examples
    --------
    >>> import numpy as np
    >>> import fastloss as fl
    >>> objective = fl.objectives.lightgbm(fl.quantile_loss, q=0.9)
    >>> objective(np.array([1.0, 2.0]), np.array([0.0, 3.0]), np.array([1.0, 2.0]))
    (array([-0.9,  0.2], dtype=float32), array([1., 2.], dtype=float32))
    >>> objective.hessian, objective.init_score([1.0, 2.0, 3.0])
    ('one', 3.0)
    """

    @np.errstate(all="ignore")
    def __call__(self, y_true, y_pred, weight=None):
        y, x, weight = self._arguments(y_true, y_pred, weight)
        grad, hess = np.empty((2, *x.shape[::-1]), np.float32).swapaxes(1, -1)
        step = max(1, SLAB * len(x) // max(x.size, 1))
        for begin in range(0, len(x), step):
            rows = slice(begin, begin + step)
            piece = np.asarray(x[rows], np.float64)
            own = y[rows], None if weight is None else weight[rows]
            if self._axis:
                g, h = self._derivatives(piece.T, own[0].T, own[1], axis=0)
                grad[rows], hess[rows] = g.T, h.T
            else:
                grad[rows], hess[rows] = self._derivatives(np.ascontiguousarray(piece), *own)
        return grad, hess


class catboost(_Objective):
    """An objective for CatBoost, which maximises: the derivatives of minus the loss.

    ``loss_function=`` calls ``calc_ders_range(approxes, targets, weights)`` for a run of rows, which gives an array (n, 2) for
    arrays and a list of pairs for lists, or for each row of several classes ``calc_ders_multi(approx, target, weight)``, whose
    second derivatives are a matrix: its diagonal is that of the loss, the rest 0. CatBoost asks for an `eval_metric` beside it,
    and for `classes_count` where there are classes; of such a model predict(prediction_type="RawFormulaVal"). Several targets it
    takes from a subclass of its own alone:
    ``class Several(fl.objectives.catboost, catboost.MultiTargetCustomObjective): pass``.

    Parameters
    ----------
    loss, hessian, **params
        As in `xgboost`.

    Raises
    ------
    TypeError, ValueError
        As `xgboost`.

    References
    ----------
    Prokhorenkova et al., CatBoost: unbiased boosting with categorical features (2018).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.objectives.catboost("mse_loss").calc_ders_range([1.0, 2.0], [0.0, 5.0], None)
    [(-2.0, -2.0), (6.0, -2.0)]
    >>> fl.objectives.catboost("cross_entropy").calc_ders_multi([0.0, 0.0], 1, 2.0)
    ([-1.0, 1.0], [[-0.5, 0.0], [0.0, -0.5]])
    """

    def calc_ders_range(self, approxes, targets, weights):
        """One (first, second) derivative for each row: an array for an array, as CatBoost gives and reads it, else a list."""
        if weights is None and self._short and _plain(approxes, np.float64) and _plain(targets, np.float32) and targets.size == approxes.size:
            _, grad, hess = self.loss.value_grad_hess(approxes, targets.astype(np.float64), reduction="sum", **self.params)
            return _engine.negated_pairs(grad, hess, self._least)
        with np.errstate(all="ignore"):
            y, x, weight = self._arguments(targets, np.asarray(approxes, np.float64), weights)
            grad, hess = self._derivatives(x, y, weight)
            if isinstance(approxes, np.ndarray):
                return -np.stack((grad, hess), axis=-1)
            return list(zip((-grad).tolist(), (-hess).tolist(), strict=True))

    def calc_ders_multi(self, approx, target, weight):
        """The first derivatives by the scores of one row, and the matrix of the second."""
        scale = -1.0 if weight is None else -float(weight)
        derivatives = _engine.row_derivatives(approx, target, scale, *self._options) if _engine and self._options else None
        if derivatives is not None:
            return derivatives
        with np.errstate(all="ignore"):
            x = np.asarray(approx, np.float64)[None]
            first, second = (a[0] for a in self._derivatives(x, self.labels(np.asarray([target]), x.shape), None))
            return (scale * first).tolist(), np.diag(scale * second).tolist()

    @functools.cached_property
    def _short(self):
        """Whether the derivatives of plain arrays go from the loss to the engine's `negated_pairs`."""
        elements = isinstance(self.loss, ElementwiseLoss) and not (self.of_rows or self.public_name in SIGNED)
        return elements and _engine is not None and self.hessian != "one"

    @functools.cached_property
    def _least(self):
        return FLOOR if self.hessian == "positive" else -np.inf

    @functools.cached_property
    def _options(self):
        """Those of the engine's `row_derivatives`, where the loss is a cross-entropy."""
        terms = self.loss._function("input", "target", **self.params)
        if not isinstance(terms, RowTerms) or self.loss._kernel != "cross_entropy":
            return None
        weight = None if terms.weight is None else check.class_weight(terms.weight, np.size(terms.weight), np.dtype(np.float64))
        return self._least, self.hessian != "one", weight, terms.ignore_index, terms.smoothing, terms.z_loss, terms.gamma


def _plain(array, dtype):
    return type(array) is np.ndarray and array.dtype == dtype and array.ndim == 1


def _public_loss(loss, params):
    """The loss of that name, or the loss itself, if with these params it is one of one prediction and one target."""
    if isinstance(loss, str):
        loss = getattr(fastloss, loss) if loss in fastloss.__all__ else loss
    if not hasattr(loss, "value_grad_hess"):
        check.no_loss(loss)
    own = inspect.signature(loss._function).parameters.values()
    check.loss_inputs(loss.__name__, [p.name for p in own if p.default is p.empty and p.name not in params])
    return loss
