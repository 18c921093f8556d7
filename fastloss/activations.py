"""Activations: objects over NumPy ufuncs."""

from ._activation import activation

__all__ = ["gelu", "relu", "sigmoid", "tanh"]


@activation
def sigmoid():
    """Logistic sigmoid: ``1 / (1 + exp(-x))``; derivative ``sigmoid(x) (1 - sigmoid(x))``. There is no kink.

    Accurate through the subnormal tail: ``sigmoid(-100)`` is ``exp(-100)``.

    Parameters
    ----------
    x : array_like
        Any shape: float16, bfloat16, float32, float64, or integers, which compute in float64.
    out : ndarray, optional
        Where the result is written; x itself works in place.
    where : array_like of bool
        Elements where it is False are not computed; without `out` they are 0.

    Returns
    -------
    ndarray of x's shape, or a NumPy scalar
        ``sigmoid.grad(x)`` is the derivative, ``sigmoid.backward(g, x)`` is ``g`` times it.

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning (2016), section 3.10.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.sigmoid([0.0, 2.0]).round(4)
    array([0.5   , 0.8808])
    >>> fl.sigmoid.grad(0.0)
    np.float64(0.25)
    """
    return "sigmoid", ()


@activation
def tanh():
    """Hyperbolic tangent; derivative ``1 - tanh(x)**2``, formed without cancellation. There is no kink.

    Parameters
    ----------
    x, out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of x's shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    LeCun, Bottou, Orr, Mueller, Efficient BackProp (1998), section 4.4.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.tanh([0.0, 1.0]).round(4)
    array([0.    , 0.7616])
    """
    return "tanh", ()


@activation
def relu():
    """Rectified linear unit: ``max(x, 0)``; derivative 1 above 0, and 0 at the kink and below. NaN stays NaN.

    Parameters
    ----------
    x, out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of x's shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Nair, Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines (2010).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.relu([-1.0, 2.0])
    array([0., 2.])
    >>> fl.relu.backward([5.0, 5.0], [-1.0, 2.0])
    array([0., 5.])
    """
    return "relu", ()


@activation
def gelu(approximate="none"):
    """Gaussian error linear unit: ``x Phi(x)``, Phi the normal distribution function. There is no kink.

    Derivative ``Phi(x) + x phi(x)``. ``approximate="tanh"`` is ``x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2``.
    Accurate relative to the result on the whole line; 0 at -inf.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    approximate : {"none", "tanh"}
        The exact function, or Hendrycks and Gimpel's approximation.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of x's shape, or a NumPy scalar
        ``gelu.ufunc`` is the exact ufunc, ``gelu.ufunc_tanh`` the approximation's.

    Raises
    ------
    ValueError
        For another `approximate`.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Hendrycks, Gimpel, Gaussian Error Linear Units (2016).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.gelu([-1.0, 1.0]).round(4)
    array([-0.1587,  0.8413])
    """
    formulas = {"none": "gelu", "tanh": "gelu_tanh"}
    if approximate not in formulas:
        raise ValueError(f"approximate is {approximate!r}; it must be 'none' or 'tanh'")
    return formulas[approximate], ()
