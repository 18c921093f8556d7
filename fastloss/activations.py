"""Activations: objects over NumPy ufuncs, and functions of several elements along an axis."""

import math

import numpy as np

from . import _check as check
from ._activation import Along, activation
from ._dispatch import dispatched

__all__ = [
    "celu", "crelu", "elu", "gaussian", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "linear", "logsigmoid", "maxout", "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid",
    "silu", "softplus", "softshrink", "softsign", "srelu", "step", "swish", "tanh", "tanhshrink", "threshold",
]  # fmt: skip


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
    if not isinstance(approximate, str) or approximate not in formulas:
        raise ValueError(f"approximate is {approximate!r}; it must be 'none' or 'tanh'")
    return formulas[approximate], ()


@activation
def relu6():
    """``min(max(x, 0), 6)``; derivative 1 between 0 and 6, 0 at both kinks and beyond.

    A rectified linear unit that saturates.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10 (2010).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.relu6([-1.0, 2.0, 8.0])
    array([0., 2., 6.])
    """
    return "relu6", ()


@activation
def leaky_relu(negative_slope=0.01):
    """``x`` above 0, ``negative_slope * x`` below; derivative 1 above, `negative_slope` at the kink and below.

    With ``negative_slope=0`` it is 0 at -inf.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    negative_slope : float or array_like
        Slope below 0; broadcasts against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Maas, Hannun, Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models (2013).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.leaky_relu([-1.0, 2.0], 0.25)
    array([-0.25,  2.  ])
    """
    return "leaky_relu", (negative_slope,)


@activation(gradient_of="weight")
def prelu(weight, axis=None):
    """``x`` above 0, ``weight * x`` below; derivative 1 above, `weight` at the kink and below.

    ``prelu.backward_weight(g, x, weight, axis=None)`` is the gradient of `weight`, in its shape: the sum of ``g * min(x, 0)``.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    weight : float or array_like
        Slope below 0; broadcasts against x.
    axis : int, optional
        The axis of x along which `weight`, of shape (x.shape[axis],) or (1,), holds one slope per channel.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    ValueError
        For a `weight` of another shape than `axis` asks for.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    He, Zhang, Ren, Sun, Delving Deep into Rectifiers (2015).

    Examples
    --------
    >>> import fastloss as fl
    >>> x = [[-1.0, -1.0], [2.0, -2.0]]
    >>> fl.prelu(x, [0.5, 0.25], axis=1)
    array([[-0.5 , -0.25],
           [ 2.  , -0.5 ]])
    >>> fl.prelu.backward_weight([[1.0, 1.0], [1.0, 1.0]], x, [0.5, 0.25], axis=1)
    array([-1., -3.])
    """
    return "prelu", (weight if axis is None else Along(weight, axis),)


@activation
def elu(alpha=1.0):
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below; derivative 1 above, ``alpha * exp(x)`` at 0 and below.

    At 0, a kink unless alpha is 1, the derivative is `alpha`.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    alpha : float or array_like
        Minus the limit at -inf; broadcasts against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Clevert, Unterthiner, Hochreiter, Fast and Accurate Deep Network Learning by Exponential Linear Units (2016).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.elu([-1.0, 2.0]).round(4)
    array([-0.6321,  2.    ])
    """
    return "elu", (alpha,)


@activation
def selu():
    """``s * x`` above 0, ``s * a * (exp(x) - 1)`` below, s = 1.0507 and a = 1.6733; derivative ``s * a`` at the kink.

    The constants keep mean 0 and variance 1 through the layers of a network.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, Self-Normalizing Neural Networks (2017).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.selu([-1.0, 1.0]).round(4)
    array([-1.1113,  1.0507])
    """
    return "selu", ()


@activation
def celu(alpha=1.0):
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below; derivative 1 above, ``exp(x / alpha)`` below.

    There is no kink: the derivative is 1 at 0.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    alpha : float or array_like
        Minus the limit at -inf; broadcasts against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    ValueError
        For ``alpha == 0``.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Barron, Continuously Differentiable Exponential Linear Units (2017).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.celu([-1.0, 2.0], 0.5).round(4)
    array([-0.4323,  2.    ])
    """
    alpha = check.parameter("alpha", alpha, "other than 0", lambda a: a != 0)
    return "celu", (alpha,)


@activation
def srelu(t_left, a_left, t_right, a_right):
    """S-shaped rectified linear unit: ``x`` between `t_left` and `t_right`, lines of other slopes beyond.

    ``t_right + a_right * (x - t_right)`` from `t_right` on, ``t_left + a_left * (x - t_left)`` up to `t_left`;
    at these kinks the derivative is `a_right`, `a_left`. With slope 0 the limits at infinity are the thresholds.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    t_left, a_left, t_right, a_right : float or array_like
        Thresholds and slopes; they broadcast against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Jin et al., Deep Learning with S-Shaped Rectified Linear Activation Units (2016).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.srelu([-2.0, 0.5, 3.0], -1.0, 0.0, 1.0, 0.5)
    array([-1. ,  0.5,  2. ])
    """
    return "srelu", (t_left, a_left, t_right, a_right)


@activation
def softplus(beta=1.0, threshold=None):
    """``log(1 + exp(beta * x)) / beta``; derivative ``sigmoid(beta * x)``. There is no kink.

    Exact on the whole line, tails included; torch's approximation by x is made only where a threshold is given.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    beta : float or array_like
        Sharpness; broadcasts against x.
    threshold : float or array_like, optional
        Where ``beta * x`` is above it, the value is x and the derivative 1.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Dugas et al., Incorporating Second-Order Functional Knowledge for Better Option Pricing (2001).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.softplus([0.0, 2.0]).round(4)
    array([0.6931, 2.1269])
    >>> fl.softplus.ufunc_scaled(1.0, 2.0, 20.0).round(4)
    np.float64(1.0635)
    """
    if threshold is None and type(beta) is float and beta == 1:
        return "softplus", ()
    return "softplus_scaled", (beta, math.inf if threshold is None else threshold)


@activation
def softsign():
    """``x / (1 + |x|)``; derivative ``1 / (1 + |x|)**2``. There is no kink.

    1 and -1 at infinity.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Bergstra et al., Quadratic Polynomials Learn Better Image Features (2009).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.softsign([-1.0, 3.0])
    array([-0.5 ,  0.75])
    """
    return "softsign", ()


@activation
def gaussian():
    """``exp(-x**2)``; derivative ``-2 * x * exp(-x**2)``. There is no kink.

    Accurate relative to the result in both tails.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Broomhead, Lowe, Multivariable Functional Interpolation and Adaptive Networks (1988).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.gaussian([0.0, 1.0]).round(4)
    array([1.    , 0.3679])
    """
    return "gaussian", ()


@activation
def silu():
    """``x * sigmoid(x)``; derivative ``s + x * s * (1 - s)``, s = sigmoid(x). There is no kink.

    Accurate relative to the result in the lower tail; 0 at -inf.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Elfwing, Uchibe, Doya, Sigmoid-Weighted Linear Units (2018).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.silu([-1.0, 1.0]).round(4)
    array([-0.2689,  0.7311])
    """
    return "silu", ()


@activation(gradient_of="beta")
def swish(beta=1.0):
    """``x * sigmoid(beta * x)``; derivative ``s + beta * x * s * (1 - s)``, s = sigmoid(beta * x). There is no kink.

    ``swish.backward_beta(g, x, beta=1.0)`` is the gradient of `beta`, in its shape: the sum of ``g * x**2 * s * (1 - s)``.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    beta : float or array_like
        Sharpness; broadcasts against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Ramachandran, Zoph, Le, Searching for Activation Functions (2017).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.swish([-1.0, 1.0], 2.0).round(4)
    array([-0.1192,  0.8808])
    >>> fl.swish.backward_beta([1.0, 1.0], [-1.0, 1.0], 2.0).round(4)
    np.float64(0.21)
    """
    return "swish", (beta,)


@activation
def mish():
    """``x * tanh(log(1 + exp(x)))``, a quotient of polynomials in exp(x). There is no kink.

    Derivative ``w * (4 * (x + 1) + (4 * x + 6) * w + 4 * w**2 + w**3) / (w**2 + 2 * w + 2)**2``, w = exp(x); 0 at -inf.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Misra, Mish: A Self Regularized Non-Monotonic Activation Function (2020).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.mish([-1.0, 1.0]).round(4)
    array([-0.3034,  0.8651])
    """
    return "mish", ()


@activation
def logsigmoid():
    """``log(sigmoid(x))``; derivative ``sigmoid(-x)``. There is no kink.

    Accurate relative to the result in both tails.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

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
    >>> fl.logsigmoid([0.0, -2.0]).round(4)
    array([-0.6931, -2.1269])
    """
    return "logsigmoid", ()


@activation
def hardtanh(min_val=-1.0, max_val=1.0):
    """``min(max(x, min_val), max_val)``; derivative 1 between, 0 at both kinks and beyond.

    NaN stays NaN.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    min_val, max_val : float or array_like
        The ends; they broadcast against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    ValueError
        For ``min_val > max_val``.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Collobert, Large Scale Machine Learning (2004).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.hardtanh([-2.0, 0.5, 2.0])
    array([-1. ,  0.5,  1. ])
    """
    highest = np.asarray(check.array("max_val", max_val, boolean=True), float)
    check.parameter("min_val", min_val, f"at most max_val ({max_val})", lambda low: ~(low > highest))
    return "hardtanh", (min_val, max_val)


@activation
def hardsigmoid():
    """``min(max(x + 3, 0), 6) / 6``; derivative 1/6 between -3 and 3, 0 at both kinks and beyond.

    A sigmoid of three lines.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Courbariaux, Bengio, David, BinaryConnect (2015).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.hardsigmoid([-4.0, 0.0, 4.0])
    array([0. , 0.5, 1. ])
    """
    return "hardsigmoid", ()


@activation
def hardswish():
    """``x * hardsigmoid(x)``; derivative ``(2 * x + 3) / 6`` between -3 and 3, 0 at -3 and below, 1 at 3 and above.

    0 at -inf.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Howard et al., Searching for MobileNetV3 (2019).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.hardswish([-4.0, 1.5, 4.0])
    array([0.   , 1.125, 4.   ])
    """
    return "hardswish", ()


@activation
def tanhshrink():
    """``x - tanh(x)``; derivative ``tanh(x)**2``. There is no kink.

    Near 0 it is a polynomial of x, which does not cancel.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Collobert, Kavukcuoglu, Farabet, Torch7 (2011).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.tanhshrink([-1.0, 2.0]).round(4)
    array([-0.2384,  1.036 ])
    """
    return "tanhshrink", ()


@activation
def softshrink(lambd=0.5):
    """``x - lambd`` above `lambd`, ``x + lambd`` below ``-lambd``, 0 between; derivative 1, 1 and 0.

    At both kinks the derivative is 0.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    lambd : float or array_like
        Half the width of what becomes 0; broadcasts against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    ValueError
        For ``lambd < 0``.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Donoho, De-Noising by Soft-Thresholding (1995).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.softshrink([-1.0, 0.25, 2.0])
    array([-0.5,  0. ,  1.5])
    """
    lambd = check.parameter("lambd", lambd, "at least 0", lambda v: v >= 0)
    return "softshrink", (lambd,)


@activation
def hardshrink(lambd=0.5):
    """``x`` outside of ``[-lambd, lambd]``, 0 inside; derivative 1 and 0.

    At both ends, where it jumps, value and derivative are 0. With a negative `lambd` everything is outside.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    lambd : float or array_like
        Half the width of what becomes 0; broadcasts against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Donoho, Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage (1994).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.hardshrink([-1.0, 0.25, 2.0])
    array([-1.,  0.,  2.])
    """
    return "hardshrink", (lambd,)


@activation
def threshold(threshold, value):
    """``x`` above `threshold`, `value` at and below it; derivative 1 and 0.

    NaN stays NaN.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    threshold, value : float or array_like
        Where x ends and what stands there instead; they broadcast against x.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Collobert, Kavukcuoglu, Farabet, Torch7 (2011).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.threshold([0.5, 2.0], 1.0, -7.0)
    array([-7.,  2.])
    """
    return "threshold", (threshold, value)


@activation
def step():
    """1 at and above 0, 0 below; derivative 0, at the jump too.

    Heaviside's function; NaN stays NaN.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Rosenblatt, The Perceptron (1958).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.step([-1.0, 0.0, 2.0])
    array([0., 1., 1.])
    """
    return "step", ()


@activation
def linear():
    """``x``; derivative 1. There is no kink.

    The activation of an output layer for regression.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    out, where
        As in `sigmoid`.

    Returns
    -------
    ndarray of the broadcast shape, or a NumPy scalar

    Raises
    ------
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Widrow, Hoff, Adaptive Switching Circuits (1960).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.linear([-1.0, 2.0])
    array([-1.,  2.])
    """
    return "linear", ()


# Functions of several elements


@dispatched
def rrelu(x, lower=1 / 8, upper=1 / 3, rng=None):
    """``x`` above 0, a slope times x below: random in ``[lower, upper)`` in training, their mean without `rng`.

    ``rrelu.backward(g, x, lower, upper, rng)`` takes a generator in the state that it had before the call whose
    gradient is wanted: it draws the same slopes. The derivative at the kink is the slope.

    Parameters
    ----------
    x : array_like
        As in `sigmoid`.
    lower, upper : float
        Ends of the uniform distribution.
    rng : numpy.random.Generator, optional
        Draws a slope for each element of x, in C order.

    Returns
    -------
    ndarray of x's shape, or a NumPy scalar

    Raises
    ------
    ValueError
        For ``lower > upper``.
    TypeError
        For an `rng` that is no Generator, bool, complex or longdouble input, masked arrays.

    References
    ----------
    Xu, Wang, Chen, Li, Empirical Evaluation of Rectified Activations in Convolutional Network (2015).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.rrelu([-1.0, 2.0], 0.25, 0.75)
    array([-0.5,  2. ])
    >>> y = fl.rrelu([-1.0, 2.0], rng=np.random.default_rng(0))
    >>> g = fl.rrelu.backward([1.0, 1.0], [-1.0, 2.0], rng=np.random.default_rng(0))
    >>> bool(g[0] == -y[0])
    True
    """
    return leaky_relu(x, _slopes(x, lower, upper, rng))


@dispatched(of=rrelu)
def _rrelu_backward(g, x, lower=1 / 8, upper=1 / 3, rng=None):
    """g times the slope below 0, g above."""
    return leaky_relu.backward(g, x, _slopes(x, lower, upper, rng))


def _slopes(x, lower, upper, rng):
    upper = check.number("upper", upper, "a number", lambda high: True)
    lower = check.number("lower", lower, f"at most upper ({upper})", lambda low: low <= upper)
    if check.generator("rng", rng) is None:
        return (lower + upper) / 2
    x = check.array("x", x)
    dtype, _ = check.working_dtype(x)
    return dtype.type(lower) + dtype.type(upper - lower) * rng.random(x.shape, dtype)


@dispatched
def crelu(x, axis=-1):
    """Concatenated rectified linear units: `relu` of x and of -x, one after the other along an axis.

    ``crelu.backward(g, x, axis=-1)`` is the gradient of x; the derivative at the kink is 0.

    Parameters
    ----------
    x : array_like
        At least one axis; dtypes as in `sigmoid`.
    axis : int
        The axis that becomes twice as long.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        For an `axis` that x does not have.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Shang, Sohn, Almeida, Lee, Understanding and Improving Convolutional Neural Networks via Concatenated ReLU (2016).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.crelu([-1.0, 2.0])
    array([0., 2., 1., 0.])
    """
    x, axis = _with_axis(x, axis)
    size = x.shape[axis]
    out = np.empty(x.shape[:axis] + (2 * size,) + x.shape[axis + 1 :], check.working_dtype(x)[1])
    positive, negative = _part(out, axis, 0, size), _part(out, axis, size, 2 * size)
    relu(x, out=positive)
    np.negative(x, out=negative, dtype=out.dtype)
    relu(negative, out=negative)
    return out


@dispatched(of=crelu)
def _crelu_backward(g, x, axis=-1):
    """g of the first half where x > 0, minus g of the second where x < 0."""
    x, axis = _with_axis(x, axis)
    size = x.shape[axis]
    g = check.full_shape("g", check.array("g", g), x.shape[:axis] + (2 * size,) + x.shape[axis + 1 :])
    out = relu.backward(_part(g, axis, 0, size), x)
    out -= relu.backward(_part(g, axis, size, 2 * size), np.negative(x, dtype=check.working_dtype(x)[1]))
    return out


@dispatched
def glu(x, axis=-1):
    """Gated linear unit: ``a * sigmoid(b)``, a and b the two halves of x along an axis. There is no kink.

    ``glu.backward(g, x, axis=-1)`` is the gradient of x: ``g * sigmoid(b)`` and ``g * a * sigmoid'(b)``.

    Parameters
    ----------
    x : array_like
        At least one axis; dtypes as in `sigmoid`.
    axis : int
        The axis that is halved; its length is even.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        For an `axis` that x does not have, or of odd length.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Dauphin, Fan, Auli, Grangier, Language Modeling with Gated Convolutional Networks (2017).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.glu([3.0, 4.0, 0.0, 2.0]).round(4)
    array([1.5   , 3.5232])
    """
    x, axis = _with_axis(x, axis)
    half = check.divisible("x", x.shape[axis], axis, 2)
    return _gated(_part(x, axis, 0, half), _part(x, axis, half, 2 * half))


@dispatched(of=glu)
def _glu_backward(g, x, axis=-1):
    """The gradients of both halves, where they stand in x."""
    x, axis = _with_axis(x, axis)
    half = check.divisible("x", x.shape[axis], axis, 2)
    g = check.full_shape("g", check.array("g", g), x.shape[:axis] + (half,) + x.shape[axis + 1 :])
    a, b = _part(x, axis, 0, half), _part(x, axis, half, 2 * half)
    out = np.empty(x.shape, check.working_dtype(g, x)[1])
    _gated.backward(g, a, b, out=_part(out, axis, 0, half))
    _gated._call("parameter", (g, a, b), {"out": _part(out, axis, half, 2 * half)})
    return out


@activation
def _gated(gate):
    """x sigmoid(gate)."""
    return "glu", (gate,)


@dispatched
def maxout(x, pool_size=None, axis=-1):
    """The maximum of each group of `pool_size` neighbours along an axis; without `pool_size`, of the whole axis.

    ``maxout.backward(g, x, pool_size=None, axis=-1)`` gives g to the first maximum of each group, 0 to the others.
    A group with a NaN has maximum NaN, and its gradient goes to the first NaN.

    Parameters
    ----------
    x : array_like
        At least one axis; dtypes as in `sigmoid`.
    pool_size : int, optional
        How many neighbours compete; it divides the length of the axis, which becomes that much shorter.
        Without it the axis disappears.
    axis : int
        The axis of the pieces.

    Returns
    -------
    ndarray, or a NumPy scalar

    Raises
    ------
    ValueError
        For an `axis` that x does not have, a `pool_size` below 1 or that does not divide its length.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville, Bengio, Maxout Networks (2013).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.maxout([1.0, 4.0, 3.0, 2.0], 2)
    array([4., 3.])
    >>> fl.maxout.backward([1.0, 1.0], [1.0, 4.0, 3.0, 2.0], 2)
    array([0., 1., 1., 0.])
    """
    groups, axis = _groups(x, pool_size, axis)
    top = groups.max(axis=axis + 1)
    return top if pool_size is not None else top.squeeze(axis)[()]


@dispatched(of=maxout)
def _maxout_backward(g, x, pool_size=None, axis=-1):
    """g at the first maximum of each group."""
    groups, axis = _groups(x, pool_size, axis)
    first = np.expand_dims(groups.argmax(axis=axis + 1), axis + 1)
    shape = first.shape[: axis + 1] + first.shape[axis + 2 :]
    g = check.array("g", g)
    g = check.full_shape("g", g, shape if pool_size is not None else shape[:axis] + shape[axis + 1 :])
    out = np.zeros(groups.shape, check.working_dtype(g, groups)[1])
    np.put_along_axis(out, first, g.reshape(first.shape), axis + 1)
    return out.reshape(np.shape(x))


def _groups(x, pool_size, axis):
    """x with `axis` cut in two: groups, and neighbours in a group."""
    x, axis = _with_axis(x, axis)
    n, pool_size = _pools(x.shape[axis], pool_size, axis)
    return x.astype(check.working_dtype(x)[1], copy=False).reshape(x.shape[:axis] + (n, pool_size) + x.shape[axis + 1 :]), axis


def _pools(size, pool_size, axis):
    """How many groups an axis has, and how many neighbours each."""
    pool_size = size if pool_size is None else check.integer("pool_size", pool_size)
    check.parameter("pool_size", pool_size, "at least 1", lambda n: n >= 1)
    return check.divisible("x", size, axis, pool_size), pool_size


def _with_axis(x, axis):
    x = check.array("x", x)
    return x, check.axis(axis, x.ndim)


def _part(x, axis, begin, end):
    return x[(slice(None),) * axis + (slice(begin, end),)]


rrelu.backward, crelu.backward, glu.backward, maxout.backward = _rrelu_backward, _crelu_backward, _glu_backward, _maxout_backward
