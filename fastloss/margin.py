"""Margin losses: right by how much."""

from . import _check as check
from ._loss import Terms, elementwise

__all__ = ["exponential_loss", "hinge_embedding_loss", "margin_ranking_loss", "soft_margin_loss"]


@elementwise(domains={"target": check.SIGN})
def hinge_embedding_loss(input, target, *, margin=1.0):
    """Distances of like pairs, and what those of unlike pairs lack to a margin: ``x`` for ``y = 1``, ``max(margin - x, 0)`` for -1.

    The gradient is 1 for ``y = 1``; for -1 it is -1 below the margin and at the kink ``x = margin``, 0 beyond. The second derivative is 0.

    Parameters
    ----------
    input : array_like
        Distances of any shape.
    target : array_like
        -1 or 1, of input's shape, or a scalar.
    margin : float
        What unlike pairs should keep apart.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, a target other than -1 and 1.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Hadsell, Chopra, LeCun, Dimensionality Reduction by Learning an Invariant Mapping (2006).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.hinge_embedding_loss.value_and_grad([0.5, 0.25, 2.0, 3.0], [1, -1, 1, -1])
    (np.float64(0.8125), array([ 0.25, -0.25,  0.25,  0.  ]))
    """
    margin = check.number("margin", margin, "a number", lambda m: m == m)
    return Terms({"input": input, "target": target}, (margin,))


@elementwise(inputs=("input1", "input2"))
def margin_ranking_loss(input1, input2, target, *, margin=0.0):
    """What the first lacks to rank above the second, for ``y = 1``: ``max(margin - y (x1 - x2), 0)``.

    The gradients are ``-y`` and ``y`` where the loss is positive and at its kink, else 0; the second derivatives 0. Any real y is accepted.

    Parameters
    ----------
    input1, input2 : array_like
        Scores of like shapes, of any; or input2 a scalar.
    target : array_like
        1 where input1 should rank higher, -1 where lower; of input1's shape, or a scalar.
    margin : float
        By how much.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`; buffers of gradients are pairs, such as ``out=(None, (buffer, None))``.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input1's shape
        Gradients and second derivatives are pairs of arrays, shaped as input1 and as input2.

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Burges et al., Learning to Rank using Gradient Descent (2005), section 3; Herbrich et al. (1999).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.margin_ranking_loss.value_and_grad([0.5, 1.0], [1.0, 1.0], [1, -1])
    (np.float64(0.25), (array([-0.5,  0.5]), array([ 0.5, -0.5])))
    """
    margin = check.number("margin", margin, "a number", lambda m: m == m)
    return Terms({"input1": input1, "input2": input2, "target": target}, (margin,))


@elementwise
def soft_margin_loss(input, target):
    """Logistic loss of a signed target: ``log(1 + exp(-y x))``.

    With ``s = sigmoid(-y x)`` the gradient is ``-y s``, the second derivative ``y**2 s (1 - s)``. There is no kink.

    Parameters
    ----------
    input : array_like
        Scores of any shape.
    target : array_like
        -1 or 1, of input's shape, or a scalar; any real value is accepted.
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
    >>> fl.soft_margin_loss([0.0, 2.0], [1, -1], reduction="none").round(4)
    array([0.6931, 2.1269])
    """
    return Terms({"input": input, "target": target})


@elementwise
def exponential_loss(input, target):
    """Exponential loss of a signed target, AdaBoost's: ``exp(-y x)``.

    The gradient is ``-y exp(-y x)``, the second derivative ``y**2 exp(-y x)``. There is no kink; the loss overflows to infinity.

    Parameters
    ----------
    input : array_like
        Scores of any shape.
    target : array_like
        -1 or 1, of input's shape, or a scalar; any real value is accepted.
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
    Friedman, Hastie, Tibshirani, Additive Logistic Regression (2000).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.exponential_loss([0.0, 1.0], [1, -1], reduction="none").round(4)
    array([1.    , 2.7183])
    """
    return Terms({"input": input, "target": target})
