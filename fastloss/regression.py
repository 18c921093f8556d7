"""Losses of real predictions."""

import math

from . import _check as check
from ._loss import Terms, elementwise

__all__ = [
    "gaussian_nll_loss",
    "huber_loss",
    "l1_loss",
    "log_cosh_loss",
    "mse_loss",
    "msle_loss",
    "poisson_nll_loss",
    "quantile_loss",
    "smooth_l1_loss",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@elementwise(mean_over_weight=True)
def mse_loss(input, target, *, weight=None):
    """Squared error: ``(x - y)**2``. Gradient ``2 (x - y)``, second derivative 2; there is no kink.

    Parameters
    ----------
    input : array_like
        Predictions of any shape: float16, bfloat16, float32, float64, or integers, which compute in float64.
    target : array_like
        Of input's shape, or a scalar.
    weight : array_like, optional
        Multiplies single losses; broadcasts to input's shape. A mean divides by the sum of the weights.
    reduction : {"mean", "sum", "none"}
    where : array_like of bool, optional
        Broadcasts to input's shape; where False, the element is absent.
    sample_weight : array_like, shape (N,), optional
        One per row: multiplies, and a mean divides by the sum of the weights used.
    empty : float
        The mean when nothing took part; NaN by default.
    upstream : array_like, optional
        With ``reduction="none"``, multiplies the gradient of each loss.
    out : ndarray, or tuple of ndarray and None
        Where results are written.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape
        ``value_and_grad`` and ``value_grad_hess`` add arrays of input's shape.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), section 2.4.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.mse_loss([1.0, 2.0], [1.0, 4.0])
    np.float64(2.0)
    >>> fl.mse_loss.value_and_grad([1.0, 2.0], [1.0, 4.0])
    (np.float64(2.0), array([ 0., -2.]))
    >>> fl.mse_loss([2.5, 0.0, 2.0, 8.0], [3.0, -0.5, 2.0, 7.0])    # scikit-learn's example
    np.float64(0.375)
    """
    return Terms({"input": input, "target": target}, (), weight)


@elementwise(mean_over_weight=True)
def l1_loss(input, target, *, weight=None):
    """Absolute error: ``|x - y|``. The gradient is the sign of ``x - y``, 0 at the kink ``x = y``; the second derivative 0.

    Parameters
    ----------
    input : array_like
        Predictions of any shape.
    target : array_like
        Of input's shape, or a scalar.
    weight : array_like, optional
        Multiplies single losses; broadcasts to input's shape. A mean divides by the sum of the weights.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Hastie, Tibshirani, Friedman, The Elements of Statistical Learning (2009), section 10.6.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.l1_loss.value_and_grad([1.0, 2.0], [1.0, 4.0])
    (np.float64(1.0), array([ 0. , -0.5]))
    >>> fl.l1_loss([2.5, 0.0, 2.0, 8.0], [3.0, -0.5, 2.0, 7.0])    # scikit-learn's example
    np.float64(0.5)
    """
    return Terms({"input": input, "target": target}, (), weight)


@elementwise
def smooth_l1_loss(input, target, *, beta=1.0):
    """Squared near the target, absolute beyond: ``d**2 / (2 beta)`` where ``|d| < beta``, else ``|d| - beta / 2``, d = x - y.

    The gradient is ``d / beta`` inside and the sign of d outside, the second derivative ``1 / beta`` inside and 0 outside; at
    ``|d| = beta``, where it jumps, 0. ``beta = 0`` is `l1_loss`.

    Parameters
    ----------
    input : array_like
        Predictions of any shape.
    target : array_like
        Of input's shape, or a scalar.
    beta : float
        At least 0: where the two parts meet.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, a negative beta.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Girshick, Fast R-CNN (2015), equation 3.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    array([0.125, 2.5  ])
    """
    beta = check.number("beta", beta, "at least 0", lambda b: b >= 0)
    return Terms({"input": input, "target": target}, (beta,))


@elementwise(mean_over_weight=True)
def huber_loss(input, target, *, delta=1.0, weight=None):
    """Squared near the target, absolute beyond: ``d**2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``, d = x - y.

    The gradient is d, clipped to ``[-delta, delta]``; the second derivative 1 inside and at ``|d| = delta``, where it jumps, else 0.

    Parameters
    ----------
    input : array_like
        Predictions of any shape.
    target : array_like
        Of input's shape, or a scalar.
    delta : float
        Greater than 0: where the two parts meet.
    weight : array_like, optional
        Multiplies single losses; broadcasts to input's shape. A mean divides by the sum of the weights
        (torch's by their number).
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, a delta that is not positive.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Huber, Robust Estimation of a Location Parameter (1964).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    array([0.125, 2.5  ])
    >>> fl.huber_loss.grad([0.5, 3.0], [0.0, 0.0], delta=2.0, reduction="sum")
    array([0.5, 2. ])
    >>> fl.huber_loss([[0.6, 0.4], [0.4, 0.6]], [[0.0, 1.0], [0.0, 0.0]]).round(4)    # Keras' example
    np.float64(0.155)
    """
    delta = check.number("delta", delta, "greater than 0", lambda d: d > 0)
    return Terms({"input": input, "target": target}, (delta,), weight)


@elementwise
def msle_loss(input, target):
    """Squared logarithmic error: ``l**2`` with ``l = log(1 + x) - log(1 + y)``.

    The gradient is ``2 l / (1 + x)``, the second derivative ``2 (1 - l) / (1 + x)**2``. There is no kink; NaN below -1.

    Parameters
    ----------
    input : array_like
        Predictions above -1, of any shape.
    target : array_like
        Above -1, of input's shape, or a scalar.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Chollet, Deep Learning with Python (2021), on losses of counts and prices.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.msle_loss([0.5, 1.0, 2.0], [0.5, 2.0, 2.0]).round(4)
    np.float64(0.0548)
    >>> fl.msle_loss([2.5, 5.0, 4.0, 8.0], [3.0, 5.0, 2.5, 7.0]).round(4)    # scikit-learn's example
    np.float64(0.0397)
    """
    return Terms({"input": input, "target": target})


@elementwise
def log_cosh_loss(input, target):
    """Logarithm of the hyperbolic cosine: ``log(cosh(x - y))``, near ``d**2 / 2`` for small d = x - y and ``|d| - log(2)`` for large.

    The gradient is ``tanh(d)``, the second derivative ``1 - tanh(d)**2``. There is no kink.

    Parameters
    ----------
    input : array_like
        Predictions of any shape.
    target : array_like
        Of input's shape, or a scalar.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Green, A Simple Method for Robust Estimation (1990).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.log_cosh_loss([1.0, 2.0], [0.0, 2.0], reduction="none").round(4)
    array([0.4338, 0.    ])
    >>> fl.log_cosh_loss([[1.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]).round(4)    # Keras' example
    np.float64(0.1084)
    """
    return Terms({"input": input, "target": target})


@elementwise(fits={"q": check.broadcast})
def quantile_loss(input, target, *, q=0.5):
    """Pinball loss of a quantile q: ``q (y - x)`` below the target, ``(1 - q) (x - y)`` above.

    The gradient is ``-q`` below and ``1 - q`` above, 0 at the kink ``x = y``; the second derivative 0.

    Parameters
    ----------
    input : array_like
        Predictions of any shape.
    target : array_like
        Of input's shape, or a scalar.
    q : float or array_like
        In [0, 1]; an array broadcasts to input's shape, such as one q per column.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, a q outside [0, 1].
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Koenker, Bassett, Regression Quantiles (1978).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.quantile_loss([[1.0, 1.0], [3.0, 3.0]], [[2.0, 2.0], [2.0, 2.0]], q=[0.1, 0.9], reduction="none")
    array([[0.1, 0.9],
           [0.9, 0.1]])
    >>> fl.quantile_loss([0.0, 2.0, 3.0], [1.0, 2.0, 3.0], q=0.1).round(4)    # scikit-learn's example
    np.float64(0.0333)
    """
    return Terms({"input": input, "target": target, "q": check.parameter("q", q, "in [0, 1]", lambda q: (q >= 0) & (q <= 1))})


@elementwise
def poisson_nll_loss(input, target, *, log_input=True, full=False, eps=1e-8):
    """Negative log-likelihood of counts: ``exp(x) - y x`` for logarithms x of rates, ``x - y log(x + eps)`` for rates.

    `full` adds Stirling's ``y log(y) - y + log(2 pi y) / 2`` where ``y > 1``. The gradient is ``exp(x) - y`` or ``1 - y / (x + eps)``,
    the second derivative ``exp(x)`` or ``y / (x + eps)**2``. There is no kink; where exp overflows, the loss is infinite.

    Parameters
    ----------
    input : array_like
        Logarithms of rates, or rates, of any shape.
    target : array_like
        Counts of input's shape, or a scalar.
    log_input : bool
        Whether input holds logarithms.
    full : bool
        Whether to add the term of the target alone.
    eps : float
        Added to a rate.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, a negative eps.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    McCullagh, Nelder, Generalized Linear Models (1989), section 6.2.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.poisson_nll_loss([0.0, 1.0], [1.0, 2.0], reduction="none").round(4)
    array([1.    , 0.7183])
    >>> fl.poisson_nll_loss.value_and_grad([2.0], [1.0], log_input=False, full=True)[1].round(4)
    array([0.5])
    >>> fl.poisson_nll_loss([[1.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]], log_input=False).round(4)    # Keras' example
    np.float64(0.5)
    """
    eps = check.number("eps", eps, "at least 0", lambda e: e >= 0)
    formula = ("poisson_nll_loss" if log_input else "poisson_nll_rate") if not full else "poisson_nll_full" if log_input else "poisson_nll_rate_full"
    return Terms({"input": input, "target": target}, () if log_input else (eps,), None, formula)


@elementwise(inputs=("input", "var"), fits={"var": check.without_last_axis}, domains={"var": check.NON_NEGATIVE})
def gaussian_nll_loss(input, target, var, *, full=False, eps=1e-6):
    """Negative log-likelihood of a normal distribution: ``(log(v) + (x - y)**2 / v) / 2``, v = max(var, eps).

    `full` adds ``log(2 pi) / 2``. With d = x - y the gradients are ``d / v`` and ``(1 - d**2 / v) / (2 v)``, the second derivatives
    ``1 / v`` and ``(d**2 / v - 1/2) / v**2``; where var is below eps, those of v stand for those of var.

    Parameters
    ----------
    input : array_like
        Means of any shape.
    target : array_like
        Of input's shape, or a scalar.
    var : array_like
        Variances of input's shape, or without its last axis, or with one axis of length 1, or a scalar.
    full : bool
        Whether to add the constant.
    eps : float
        The least variance.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`; buffers of gradients are pairs, such as ``out=(None, (buffer, None))``.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape
        Gradients and second derivatives are pairs of arrays, shaped as input and as var.

    Raises
    ------
    ValueError
        For shapes that do not fit, a negative variance or eps.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Nix, Weigend, Estimating the Mean and Variance of the Target Probability Distribution (1994).

    Examples
    --------
    >>> import fastloss as fl
    >>> value, (grad, grad_of_var) = fl.gaussian_nll_loss.value_and_grad([1.0, 2.0], [1.0, 4.0], [1.0, 2.0])
    >>> value.round(4), grad, grad_of_var
    (np.float64(0.6733), array([ 0. , -0.5]), array([ 0.25 , -0.125]))
    """
    eps = check.number("eps", eps, "at least 0", lambda e: e >= 0)
    return Terms({"input": input, "target": target, "var": var}, (eps, HALF_LOG_2PI if full else 0.0))
