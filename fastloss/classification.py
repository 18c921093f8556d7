"""Losses of class scores: cross-entropy and its relatives."""

from functools import partial

from . import _check as check
from ._linear import AdaptiveLayer, AdaptiveLoss, LinearLoss, LinearTerms
from ._lines import BrierLoss, LineLoss, Lines
from ._loss import RowTerms, Terms, elementwise, row_loss

__all__ = [
    "adaptive_log_softmax_with_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "brier_score",
    "cross_entropy",
    "entropy",
    "focal_cross_entropy",
    "kl_div",
    "linear_cross_entropy",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "sigmoid_focal_loss",
]


def _cross_entropy_terms(input, target, weight, ignore_index, label_smoothing, axis, z_loss):
    smoothing = check.number("label_smoothing", label_smoothing, "in [0, 1]", lambda s: 0 <= s <= 1)
    z_loss = check.number("z_loss", z_loss, "a finite number", lambda z: abs(z) < float("inf"))
    return RowTerms(input, target, weight, check.index("ignore_index", ignore_index), axis, smoothing, z_loss)


@row_loss(kernel="cross_entropy", dense=True)
def cross_entropy(input, target, weight=None, *, ignore_index=-100, label_smoothing=0.0, axis=1, z_loss=0.0):
    """Cross-entropy of logits against class indices or probabilities.

    With ``lse`` the logarithm of the sum of ``exp(x)`` over the classes of a row, ``w`` the class weights and ``q`` the target
    distribution (one-hot for an index ``t``), smoothed to ``q' = (1 - s) q + s / C``::

        loss = sum_j q'_j w_j (lse - x_j) + z_loss * lse**2

    A mean over index targets divides by the sum of ``w[t]`` of the rows used, a mean over probabilities by their number.
    The gradient is ``(sum_k q'_k w_k + 2 z_loss lse) p_j - q'_j w_j`` with ``p = softmax(x)``; the Hessian's diagonal
    ``(sum_k q'_k w_k + 2 z_loss lse) p_j (1 - p_j) + 2 z_loss p_j**2``. There is no kink.

    Parameters
    ----------
    input : array_like, shape (C,), (N, C) or (N, C, d1, ...)
        Logits: float16, bfloat16, float32, float64, or integers, which compute in float64.
    target : array_like
        Class indices of any integer dtype, shaped as `input` without its class axis; or probabilities of input's shape.
    weight : array_like, shape (C,), optional
        One weight per class.
    ignore_index : int
        Rows with this index are not read: loss and gradient 0, no part in the mean.
    label_smoothing : float
        In [0, 1]: the share of the target spread evenly over all classes.
    axis : int
        The axis of the classes.
    z_loss : float
        Factor of ``lse**2``; not multiplied by the class weight.
    reduction : {"mean", "sum", "none"}
    where : array_like of bool, shape of the unreduced loss, optional
        False: the row is absent, as if it were ignored.
    sample_weight : array_like, shape (N,), optional
        Multiplies the loss of a row; a mean divides by the sum of the weights used.
    empty : float
        The mean when nothing took part; NaN by default.
    upstream : array_like, optional
        With ``reduction="none"``, multiplies the gradient of each loss.
    out : ndarray, or tuple of ndarray and None
        Where results are written; ``value_and_grad(..., out=(None, input))`` works in place.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of target's shape
        ``value_and_grad`` and ``value_grad_hess`` add arrays of input's shape.

    Raises
    ------
    IndexError
        For an index outside [0, C) that is not `ignore_index`, naming the first.
    ValueError
        For shapes that do not fit, a smoothing outside [0, 1], `ignore_index` with probabilities.
    TypeError
        For bool or float class indices, complex or longdouble input, masked arrays.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2; Szegedy et al., Rethinking the Inception Architecture
    (2016), for smoothing; Chowdhery et al., PaLM (2022), for the z-loss.

    Examples
    --------
    >>> import fastloss as fl
    >>> round(float(fl.cross_entropy([[2.0, 3.0, 1.0, 0.2]], [1])), 4)
    0.4473
    >>> value, grad = fl.cross_entropy.value_and_grad([[0.0, 0.0]], [0])
    >>> grad
    array([[-0.5,  0.5]])
    """
    return _cross_entropy_terms(input, target, weight, ignore_index, label_smoothing, axis, z_loss)


@row_loss(kernel="cross_entropy", dense=True)
def focal_cross_entropy(input, target, weight=None, *, gamma=2.0, ignore_index=-100, label_smoothing=0.0, axis=1):
    """Cross-entropy of logits, less of it the surer and righter: each class's part times ``(1 - p_j)**gamma``.

    With ``p = softmax(x)``, ``w`` the class weights and ``q'`` the target distribution, smoothed as in `cross_entropy`::

        loss = sum_j q'_j w_j (1 - p_j)**gamma (-log p_j)

    With ``s_j = q'_j w_j ((1 - p_j)**gamma - gamma (1 - p_j)**(gamma - 1) p_j log p_j)`` the gradient is ``sum(s) p_j - s_j``, and with
    ``b_j`` the derivative of ``-s_j`` by ``log p_j`` the Hessian's diagonal ``sum(s) p_j (1 - p_j) + b_j (1 - 2 p_j) + sum(b) p_j**2``.
    ``gamma=0`` is `cross_entropy`, to the bit. Where p nears 1, ``1 - p`` is the sum of the others. There is no kink.

    Parameters
    ----------
    input : array_like, shape (C,), (N, C) or (N, C, d1, ...)
        Logits.
    target : array_like
        Class indices of any integer dtype, shaped as `input` without its class axis; or probabilities of input's shape.
    weight : array_like, shape (C,), optional
        One weight per class.
    gamma : float
        At least 0.
    ignore_index, label_smoothing, axis
        As in `cross_entropy`.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`, means included: for index targets they divide by the sum of ``w[t]``.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of target's shape
        ``value_and_grad`` and ``value_grad_hess`` add arrays of input's shape.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`; ValueError for a negative or infinite gamma.

    References
    ----------
    Lin et al., Focal Loss for Dense Object Detection (2017), equation 4, with the softmax in the sigmoid's place.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.focal_cross_entropy([[0.0, 0.0]], [0]).round(4)                        # log(2) / 4
    np.float64(0.1733)
    >>> fl.focal_cross_entropy.grad([[0.0, 0.0]], [0]).round(4)
    array([[-0.2983,  0.2983]])
    """
    gamma = check.number("gamma", gamma, "at least 0 and finite", lambda g: 0 <= g < float("inf"))
    return _cross_entropy_terms(input, target, weight, ignore_index, label_smoothing, axis, 0.0)._replace(gamma=gamma)


@row_loss(kernel="nll_loss")
def nll_loss(input, target, weight=None, *, ignore_index=-100, axis=1):
    """Negative log-likelihood of class indices: ``-w[t] * input[t]``, where input holds log-probabilities.

    The gradient is ``-w[t]`` at the class and 0 elsewhere, the second derivative 0. A mean divides by the sum of ``w[t]``.

    Parameters
    ----------
    input : array_like, shape (C,), (N, C) or (N, C, d1, ...)
        Log-probabilities.
    target : array_like of integers
        Class indices, shaped as `input` without its class axis.
    weight : array_like, shape (C,), optional
        One weight per class.
    ignore_index : int
        Rows with this index take no part.
    axis : int
        The axis of the classes.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of target's shape

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`.

    References
    ----------
    Murphy, Probabilistic Machine Learning: An Introduction (2022), section 4.2.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.nll_loss([[-0.25, -1.5], [-2.0, -0.5]], [0, 1])
    np.float64(0.375)
    """
    return RowTerms(input, target, weight, check.index("ignore_index", ignore_index), axis)


@elementwise(fits={"pos_weight": check.broadcast})
def binary_cross_entropy_with_logits(input, target, weight=None, *, pos_weight=None):
    """Binary cross-entropy of logits: ``(1 - y) x + (1 + (v - 1) y) (log1p(exp(-|x|)) + max(-x, 0))``, v = pos_weight.

    With ``v = 1`` that is ``-y log(sigmoid(x)) - (1 - y) log(1 - sigmoid(x))``. The gradient is
    ``(1 + (v - 1) y) sigmoid(x) - v y``, the second derivative ``(1 + (v - 1) y) sigmoid(x) (1 - sigmoid(x))``. There is no kink.

    Parameters
    ----------
    input : array_like
        Logits of any shape.
    target : array_like
        Probabilities of input's shape, or a scalar; any real value is accepted.
    weight : array_like, optional
        Multiplies single losses; broadcasts to input's shape. A mean divides by the number of elements.
    pos_weight : array_like, optional
        Weight of the positive part; broadcasts to input's shape.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For complex, longdouble or bool input, masked arrays.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.2.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.binary_cross_entropy_with_logits([0.0, 0.0], [1.0, 0.0]).round(4)
    np.float64(0.6931)
    """
    return Terms({"input": input, "target": target, "pos_weight": 1.0 if pos_weight is None else pos_weight}, (), weight)


@LinearLoss
def linear_cross_entropy(input, linear_weight, target, *, linear_bias=None, weight=None, ignore_index=-100, label_smoothing=0.0, z_loss=0.0):
    """Cross-entropy of the logits ``input @ linear_weight.T + linear_bias``, which never exist as a whole.

    A chunk of rows at a time goes through BLAS, its loss and gradient through the kernel of `cross_entropy`, and its part of
    the gradients through BLAS again: about 32 MB of logits exist at any time. With ``G`` the gradient by the logits, the
    gradients are ``G @ linear_weight``, ``G.T @ input`` and the sum of G over the rows. There is no kink.

    Parameters
    ----------
    input : array_like, shape (N, D) or (D,)
        Features: float16, bfloat16, float32, float64, or integers.
    linear_weight : array_like, shape (C, D) or (C, d1, ..., D)
        With the longer shape, the logits are (N, C, d1, ...).
    target : array_like
        Class indices (N,) or (N, d1, ...), or probabilities of the logits' shape; without N for (D,).
    linear_bias : array_like, shape of linear_weight without its last axis, optional
    weight, ignore_index, label_smoothing, z_loss
        As in `cross_entropy`.
    reduction, where, sample_weight, empty, upstream
        As in `cross_entropy`. Rows that take no part are not read.
    out : optional
        Of ``value_and_grad``, ``(value, (grad_input, grad_weight, grad_bias))`` with None for what is to be allocated.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of the shape of class indices
        ``value_and_grad`` adds the gradients of input, linear_weight and linear_bias (None without one) as a tuple;
        ``value_grad_hess`` raises NotImplementedError.

    Raises
    ------
    IndexError, ValueError, TypeError
        As `cross_entropy`.

    References
    ----------
    Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2025), for the idea; `cross_entropy` for the loss.

    Examples
    --------
    >>> import fastloss as fl
    >>> features, layer = [[1.0, 2.0]], [[2.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.2, 0.0]]
    >>> round(float(fl.linear_cross_entropy(features, layer, [1])), 4)            # logits 2, 3, 1, 0.2
    0.4473
    >>> value, (grad_input, grad_weight, grad_bias) = fl.linear_cross_entropy.value_and_grad(features, layer, [1])
    >>> grad_weight.shape, grad_bias
    ((4, 2), None)
    """
    return LinearTerms(input, linear_weight, linear_bias, _cross_entropy_terms(None, target, weight, ignore_index, label_smoothing, 1, z_loss))


@AdaptiveLoss
def adaptive_log_softmax_with_loss(input, target, head_weight, tail_weights, cutoffs, *, head_bias=None):
    """Adaptive softmax: frequent classes in a head, the others in clusters behind smaller layers.

    The head has the classes below ``cutoffs[0]`` and one entry per cluster; a class of cluster i has the log-probability of its
    cluster in the head plus its own in ``log_softmax(up @ (down @ x))``, (down, up) being ``tail_weights[i]``. There is no kink.

    Parameters
    ----------
    input : array_like, shape (N, D) or (D,)
    target : array_like of integers, shape (N,) or ()
    head_weight : array_like, shape (cutoffs[0] + len(cutoffs), D)
    tail_weights : sequence of pairs of array_like
        (down, up) of shapes (H, D) and (size of the cluster, H), one per cutoff; the last ends at the number of classes.
    cutoffs : sequence of int
        Where the clusters begin, increasing.
    head_bias : array_like, shape (cutoffs[0] + len(cutoffs),), optional

    Returns
    -------
    (output, loss)
        The log-probability of each target, and minus their mean (NaN without rows). ``value_and_grad`` adds, and ``grad`` is, the
        loss's gradients: of input, of head_weight, the list of pairs of tail_weights, and of head_bias (None without one).
        ``log_prob(input, head_weight, tail_weights, cutoffs, head_bias=None)`` gives all classes, ``predict`` the likeliest.
        ``value_grad_hess`` raises NotImplementedError.

    Raises
    ------
    IndexError
        For a target outside [0, number of classes), naming the first.
    ValueError
        For shapes or cutoffs that do not fit.
    TypeError
        For targets that are no integers, complex or longdouble arrays.

    References
    ----------
    Grave, Joulin, Cisse, Grangier, Jegou, Efficient softmax approximation for GPUs (2017).

    Examples
    --------
    >>> import numpy as np
    >>> import fastloss as fl
    >>> head, tails = np.zeros((3, 2)), [(np.zeros((1, 2)), np.zeros((4, 1)))]      # classes 0, 1 and a cluster of 2, 3, 4, 5
    >>> output, loss = fl.adaptive_log_softmax_with_loss([[1.0, 2.0], [3.0, 4.0]], [1, 4], head, tails, [2])
    >>> np.exp(output).round(4)
    array([0.3333, 0.0833])
    """
    return AdaptiveLayer.checked(input, head_weight, tail_weights, cutoffs, head_bias), target


@elementwise(domains={"input": check.UNIT, "target": check.UNIT})
def binary_cross_entropy(input, target, weight=None):
    """Binary cross-entropy of probabilities: ``-y log(x) - (1 - y) log(1 - x)``, each logarithm at least -100.

    The gradient is ``(x - y) / u``, the second derivative ``((1 - y) x**2 + y (1 - x)**2) / u**2``, u = max(x (1 - x), 1e-12), so that
    a sure and wrong probability gives 100 and a gradient of 1e12. Otherwise there is no kink. NaN gives NaN.

    Parameters
    ----------
    input : array_like
        Probabilities of any shape.
    target : array_like
        Probabilities of input's shape, or a scalar.
    weight : array_like, optional
        Multiplies single losses; broadcasts to input's shape. A mean divides by the number of elements.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, an input or a target outside [0, 1].
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.2.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.binary_cross_entropy([0.9, 0.1, 0.8], [1.0, 0.0, 1.0]).round(4)
    np.float64(0.1446)
    >>> fl.binary_cross_entropy.value_and_grad([0.0], [1.0])
    (np.float64(100.0), array([-1.e+12]))
    >>> fl.binary_cross_entropy([0.9, 0.1, 0.2, 0.65], [1.0, 0.0, 0.0, 1.0]).round(4)    # scikit-learn's example of log_loss
    np.float64(0.2162)
    >>> fl.binary_cross_entropy([[0.6, 0.4], [0.4, 0.6]], [[0.0, 1.0], [0.0, 0.0]]).round(3)    # Keras' example
    np.float64(0.815)
    """
    return Terms({"input": input, "target": target}, (), weight)


@elementwise
def sigmoid_focal_loss(input, target, *, alpha=0.25, gamma=2.0):
    """Binary cross-entropy of logits, less of it the surer and righter: ``a (1 - p_t)**gamma`` times it.

    With ``p = sigmoid(x)``: ``p_t = y p + (1 - y) (1 - p)`` and ``a = alpha y + (1 - alpha) (1 - y)``, or 1 for a negative alpha. For
    ``y = 1`` the gradient is ``-a (1 - p)**gamma (1 - p - gamma p log(p))``; for ``y = 0`` that of ``-x``, negated. There is no kink.

    Parameters
    ----------
    input : array_like
        Logits of any shape.
    target : array_like
        Probabilities of input's shape, or a scalar; any real value is accepted.
    alpha : float
        Weight of the positive part; negative for none.
    gamma : float
        At least 0; 0 is binary cross-entropy.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, a negative gamma.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Lin et al., Focal Loss for Dense Object Detection (2017), equation 5.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.sigmoid_focal_loss([0.0, 2.0], [1.0, 1.0], reduction="none").round(5)
    array([0.04332, 0.00045])
    """
    alpha = check.number("alpha", alpha, "a number", lambda a: a == a)
    gamma = check.number("gamma", gamma, "at least 0", lambda g: g >= 0)
    return Terms({"input": input, "target": target}, (alpha, gamma))


@elementwise(batchmean=True)
def kl_div(input, target, *, log_target=False):
    """Kullback-Leibler divergence from log-probabilities x: ``y (log(y) - x)``, or ``exp(y) (y - x)`` for a `log_target`.

    A probability 0 gives 0. The gradient is ``-y`` or ``-exp(y)``, the second derivative 0. There is no kink.

    Parameters
    ----------
    input : array_like
        Log-probabilities of any shape.
    target : array_like
        Probabilities, or their logarithms, of input's shape, or a scalar.
    log_target : bool
        Whether target holds logarithms.
    reduction : {"mean", "batchmean", "sum", "none"}
        "mean" divides by the number of elements, "batchmean" by that of rows (a 0-d input is one): the divergence itself.
    where, sample_weight, empty, upstream, out
        As in `cross_entropy`.

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
    Kullback, Leibler, On Information and Sufficiency (1951).

    Examples
    --------
    >>> import fastloss as fl
    >>> import numpy as np
    >>> fl.kl_div(np.log([[0.5, 0.5]]), [[0.25, 0.75]], reduction="batchmean").round(4)
    np.float64(0.1308)
    >>> fl.kl_div(np.log([[0.6, 0.4], [0.4, 0.6]]), [[0.0, 1.0], [0.0, 0.0]], reduction="batchmean").round(3)    # Keras' example
    np.float64(0.458)
    """
    return Terms({"input": input, "target": target}, (), None, "kl_div_log" if log_target else "kl_div")


@elementwise(fits={"pos_weight": check.broadcast}, of_rows=True)
def multilabel_soft_margin_loss(input, target, weight=None):
    """Binary cross-entropy of logits, averaged over the classes of each row.

    ``-(y log(sigmoid(x)) + (1 - y) log(1 - sigmoid(x)))`` is averaged over the last axis. With C classes the gradient is
    ``(sigmoid(x) - y) / C``, the second derivative ``sigmoid(x) (1 - sigmoid(x)) / C``. There is no kink.

    Parameters
    ----------
    input : array_like, shape (C,) or (N, ..., C)
        Logits.
    target : array_like
        1 for the classes of a row, else 0; of input's shape, or a scalar. Any real value is accepted.
    weight : array_like, optional
        One per class, or of any shape that broadcasts to input's. Means do not divide by it.
    reduction, sample_weight, empty, out
        As in `cross_entropy`.
    where, upstream
        Shaped as the unreduced loss.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of input's shape without its last axis

    Raises
    ------
    ValueError
        For shapes that do not fit.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Murphy, Probabilistic Machine Learning: An Introduction (2022), section 10.2.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.multilabel_soft_margin_loss([[0.0, 0.0], [2.0, -2.0]], [[1, 0], [1, 0]], reduction="none").round(4)
    array([0.6931, 0.1269])
    """
    return Terms({"input": input, "target": target, "pos_weight": 1.0}, (), weight, "binary_cross_entropy_with_logits")


@partial(LineLoss, reduction="none")
def entropy(p, axis=-1, *, from_logits=False):
    """Entropy of probabilities in nats, ``-sum_j p_j log(p_j)`` with ``0 log(0) = 0``; or of the softmax of logits.

    The gradient is ``-log(p_j) - 1``, the second derivative ``-1 / p_j``: inf and -inf at 0. Probabilities are not normalised.
    By logits, with ``p = softmax(x)``, H the entropy and ``a_j = log(p_j) + H``, they are ``-p_j a_j`` and
    ``-p_j ((1 - 2 p_j) a_j + 1 - p_j)``, 0 at -inf. There is no kink.

    Parameters
    ----------
    p : array_like
        Probabilities of any shape, or logits: float16, bfloat16, float32, float64, or integers, which compute in float64.
    axis : int
        The axis that a distribution lies along.
    reduction : {"none", "mean", "sum"}
        "none" by default: an entropy is a measure of each row more often than a loss.
    from_logits : bool
        p holds logits: the softmax is part of the same pass, and a row that one class dominates keeps all its digits.
    where, sample_weight, empty, upstream, out
        As in `cross_entropy`, for rows.

    Returns
    -------
    ndarray of p's shape without `axis`, or NumPy scalar
        ``value_and_grad`` and ``value_grad_hess`` add arrays of p's shape. NaN in a row gives NaN.

    Raises
    ------
    ValueError
        For probabilities outside [0, 1], naming the first; for shapes that do not fit.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Shannon, A Mathematical Theory of Communication (1948), section 6.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.entropy([[0.5, 0.5], [1.0, 0.0]]).round(4)
    array([0.6931, 0.    ])
    >>> fl.entropy([0.0, 0.0, 0.0, 0.0], from_logits=True).round(4)
    np.float64(1.3863)
    >>> fl.entropy([0.9, 0.1]).round(4)    # SciPy's example
    np.float64(0.3251)
    """
    axis = check.integer("axis", axis)
    if from_logits:
        return Lines("entropy_of_logits", {"p": p}, axis=axis)
    return Lines("entropy", {"p": p}, axis=axis, domain=check.UNIT)


@BrierLoss
def brier_score(input, target, *, axis=1):
    """Brier score of probabilities: ``(p - y)**2`` of events; of classes ``sum_j (p_j - q_j)**2``, as Brier defined it.

    What the arrays are follows from their shapes. Input with several axes holds a distribution along `axis`, and target either class
    indices, one axis fewer, or of input's shape the one-hot or soft distributions q; a single row takes an integer as its class.
    One-dimensional input against targets of its shape holds probabilities of events that are 1 or 0, as does any input with
    ``axis=None``. The score of two classes is twice that of one event. The gradient is ``2 (p - q)``, the second derivative 2. There
    is no kink.

    Parameters
    ----------
    input : array_like
        Probabilities: of events (N,), of classes (N, C) or (N, C, d1, ...), or one row (C,).
    target : array_like
        Events or their probabilities of input's shape, or one float for all; class indices of any integer dtype, shaped as input
        without its class axis; or distributions of input's shape.
    axis : int or None
        The axis of the classes; None: there are none, each element is the probability of an event.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`, for rows or single elements. A mean divides by their number.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of the shape of class indices, or of events
        ``value_and_grad`` and ``value_grad_hess`` add arrays of input's shape.

    Raises
    ------
    IndexError
        For a class index outside [0, C), naming the first.
    ValueError
        For shapes that do not fit, probabilities or targets outside [0, 1].
    TypeError
        For bool, complex or longdouble input, masked arrays, class indices that are not integers.

    References
    ----------
    Brier, Verification of Forecasts Expressed in Terms of Probability (1950).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.brier_score([0.1, 0.9, 0.8, 0.3], [0, 1, 1, 0]).round(4)
    np.float64(0.0375)
    >>> fl.brier_score.value_and_grad([[0.5, 0.25, 0.25]], [0])
    (np.float64(0.375), array([[-1. ,  0.5,  0.5]]))
    """
    (n, _), (m, kind) = check.form("input", input), check.form("target", target)
    of_row = n == 1 and m == 0 and kind in "iu"
    if axis is None or not (n > 1 or of_row):
        return Terms({"input": input, "target": target}, formula="mse_loss")
    axis = check.integer("axis", axis)
    if m == n:
        return Lines("brier", {"input": input}, axis=axis, given=("target", target), domain=check.UNIT)
    return Lines("brier", {"input": input}, target, kind="class", axis=axis, domain=check.UNIT)
