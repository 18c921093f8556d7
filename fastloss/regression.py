"""Losses of real predictions."""

from ._loss import Terms, elementwise

__all__ = ["mse_loss"]


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
    """
    return Terms((input, target), (), weight)
