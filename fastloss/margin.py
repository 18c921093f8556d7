"""Margin losses: right by how much."""

from . import _check as check
from ._lines import HingeLoss, LineLoss, Lines, RowFunction
from ._loss import Terms, elementwise

__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "exponential_loss",
    "hinge_embedding_loss",
    "hinge_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "pairwise_distance",
    "soft_margin_loss",
    "squared_hinge_loss",
    "triplet_margin_loss",
]


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


# Rows of class scores


def _hinge(power):
    return lambda function: HingeLoss(function, power)


@_hinge(1.0)
def hinge_loss(input, target):
    """Hinge loss: of signs ``max(0, 1 - y x)``; of class indices ``max(0, 1 + max over j != t of x_j - x_t)`` (Crammer and Singer).

    Of signs the gradient is ``-y`` inside the margin; of class indices -1 at the class and 1 at the first of the largest others.
    At the kink and beyond it is 0. The second derivative is 0.

    Parameters
    ----------
    input : array_like
        Scores of any shape; with class indices (C,), (N, C) or (N, C, d1, ...).
    target : array_like
        -1 and 1, of input's shape, or one float for all; or class indices of any integer dtype, shaped as `input` without its
        class axis.
    reduction, where, sample_weight, empty, upstream, out
        As in `mse_loss`, for single elements or for rows.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of target's shape

    Raises
    ------
    ValueError
        For shapes that do not fit, a target other than -1 and 1.
    IndexError
        For a class index outside [0, C), naming the first.
    TypeError
        For bool, complex or longdouble input, masked arrays, class indices that are not integers.

    References
    ----------
    Crammer, Singer, On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines (2001).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.hinge_loss([0.5, 2.0, -1.0], [1, 1, 1], reduction="none")
    array([0.5, 0. , 2. ])
    >>> fl.hinge_loss.value_and_grad([[1.0, 0.5, 0.0]], [0])
    (np.float64(0.5), array([[-1.,  1.,  0.]]))
    >>> fl.hinge_loss([-2.18, 2.36, 0.09], [-1, 1, 1]).round(2)    # scikit-learn's example
    np.float64(0.3)
    >>> fl.hinge_loss([[0.6, 0.4], [0.4, 0.6]], [[-1, 1], [-1, -1]]).round(4)    # Keras' example
    np.float64(1.3)
    """
    return Terms({"input": input, "target": target})


@_hinge(2.0)
def squared_hinge_loss(input, target):
    """The square of `hinge_loss`: ``max(0, 1 - y x)**2``, or of class indices ``max(0, 1 + max over j != t of x_j - x_t)**2``.

    With h the hinge, the gradient is ``-2 y h``, or ``-2 h`` at the class and ``2 h`` at the first of the largest others; the second
    derivative is 2 there inside the margin, 0 elsewhere and at the kink.

    Parameters
    ----------
    input, target, reduction, where, sample_weight, empty, upstream, out
        As in `hinge_loss`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of target's shape

    Raises
    ------
    ValueError, IndexError, TypeError
        As `hinge_loss`.

    References
    ----------
    Lee, Lin, A Study on L2-Loss (Squared Hinge-Loss) Multiclass SVM (2013).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.squared_hinge_loss([0.5, 2.0, -1.0], [1, 1, 1], reduction="none")
    array([0.25, 0.  , 4.  ])
    >>> fl.squared_hinge_loss([[1.0, 0.5, 0.0]], [0])
    np.float64(0.25)
    >>> fl.squared_hinge_loss([[0.6, 0.4], [0.4, 0.6]], [[-1, 1], [-1, -1]]).round(4)    # Keras' example
    np.float64(1.86)
    """
    return Terms({"input": input, "target": target})


@LineLoss
def multi_margin_loss(input, target, weight=None, *, p=1, margin=1.0):
    """Multiclass margin loss: ``w[t] / C * sum over j != t of max(0, margin - x[t] + x[j])**p``.

    Each wrong class inside the margin has the gradient ``w[t] / C`` (p = 1) or ``2 w[t] / C max(...)`` (p = 2), the class itself minus their
    sum. Second derivatives are 0, or for p = 2 ``2 w[t] / C`` and their sum. At the kink all of them are 0. A mean divides by N.

    Parameters
    ----------
    input : array_like, shape (), (C,) or (N, C)
        Scores; a 0-d input has one class.
    target : array_like of integers, shape (), (1,) or (N,)
        Class indices.
    weight : array_like, shape (C,), optional
        One weight per class, by which rows of that class are multiplied.
    p : {1, 2}
    margin : float
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of target's shape

    Raises
    ------
    IndexError
        For an index outside [0, C), naming the first.
    ValueError
        For shapes that do not fit, zero classes, another p.
    TypeError
        For bool or float class indices, complex or longdouble input, masked arrays.

    References
    ----------
    Weston, Watkins, Multi-Class Support Vector Machines (1998).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.multi_margin_loss.value_and_grad([[0.25, 0.5, 0.25, 1.0]], [3])
    (np.float64(0.25), array([[ 0.25,  0.25,  0.25, -0.75]]))
    """
    p = check.number("p", p, "1 or 2", lambda p: p in (1, 2))
    margin = check.number("margin", margin, "a number", lambda m: m == m)
    return Lines("multi_margin", {"input": input}, target, (p, margin), weight, "class", some_class=True, most_axes=2)


@LineLoss
def multilabel_margin_loss(input, target):
    """Margin loss of several labels a row: over labels t and other classes j ``sum of max(0, 1 - x[t] + x[j]) / C``.

    Each pair inside the margin adds ``1 / C`` to the gradient of j and takes it from that of t, none at the kink. The second derivative is 0.

    Parameters
    ----------
    input : array_like, shape (), (C,) or (N, C)
        Scores; a 0-d input has one class.
    target : array_like of integers
        Of input's shape: each row lists its labels from the left; -1 ends the list.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of shape (N,)

    Raises
    ------
    IndexError
        For an entry outside [-1, C), naming the first, even behind the end of the list.
    ValueError
        For shapes that do not fit, zero classes.
    TypeError
        For labels that are not integers, bool, complex or longdouble input, masked arrays.

    References
    ----------
    Crammer, Singer, A Family of Additive Online Algorithms for Category Ranking (2003).

    Examples
    --------
    >>> import fastloss as fl
    >>> round(float(fl.multilabel_margin_loss([[0.1, 0.2, 0.4, 0.8]], [[3, 0, -1, 1]])), 4)
    0.85
    """
    return Lines("multilabel_margin", {"input": input}, target, kind="labels", some_class=True, most_axes=2)


# Rows of vectors


@LineLoss
def cosine_embedding_loss(input1, input2, target, *, margin=0.0):
    """How far from its sign the cosine of two vectors is: ``1 - cos`` for ``y = 1``, ``max(0, cos - margin)`` for ``y = -1``.

    With ``cos = x1 . x2 / sqrt((|x1|**2 + e) (|x2|**2 + e))``, e = 1e-12, its gradient by x1 is ``x2 / sqrt(...) - cos x1 / (|x1|**2 + e)``,
    and likewise by x2. At the kink, where ``cos = margin``, the gradient of a pair with ``y = -1`` is that of the cosine.

    Parameters
    ----------
    input1, input2 : array_like, shape (D,) or (N, D)
        Vectors, of one shape.
    target : array_like, shape () or (N,)
        1 for vectors that belong together, -1 for others.
    margin : float
        Cosine up to which others may be alike.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`; buffers of gradients are pairs, such as ``out=(None, (buffer, None))``.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of target's shape
        Gradients and second derivatives are pairs of arrays.

    Raises
    ------
    ValueError
        For shapes that do not fit, a target other than -1 and 1.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Chopra, Hadsell, LeCun, Learning a Similarity Metric Discriminatively (2005).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.cosine_embedding_loss([[3.0, 4.0], [1.0, 0.0]], [[4.0, 3.0], [1.0, 1.0]], [1, -1], reduction="none").round(4)
    array([0.04  , 0.7071])
    """
    margin = check.number("margin", margin, "a number", lambda m: m == m)
    return Lines("cosine", {"input1": input1, "input2": input2}, target, (0.0, margin), kind="sign", most_axes=2)


def _norm_of(p, eps):
    p = check.number("p", p, "at least 1", lambda p: p >= 1)
    return "norm" if p in (1, 2) else "norm_p", (p, check.number("eps", eps, "a number", lambda e: e == e))


@LineLoss
def triplet_margin_loss(anchor, positive, negative, *, margin=1.0, p=2.0, eps=1e-6, swap=False):
    """Anchors nearer to positives than to negatives: ``max(0, d(a, p) - d(a, n) + margin)``, d the `pairwise_distance`.

    With `swap` the smaller of ``d(a, n)`` and ``d(p, n)`` stands for the second distance; at a tie each has half of its gradient. At the
    kink the gradient is that of the distances. They have kinks of their own: see `pairwise_distance`.

    Parameters
    ----------
    anchor, positive, negative : array_like, shape (..., D)
        Vectors, of one shape.
    margin : float
        Greater than 0.
    p : float
        Of the p-norm: at least 1, inf included.
    eps : float
        Added to each difference.
    swap : bool
        Whether positives may take the anchors' place before negatives.
    reduction, where, sample_weight, empty, upstream, out
        As in `cross_entropy`; buffers of gradients are triples, such as ``out=(None, (buffer, None, None))``.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of shape (...)
        Gradients and second derivatives are triples of arrays.

    Raises
    ------
    ValueError
        For shapes that do not fit, a margin that is not greater than 0, p below 1.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Balntas et al., Learning Local Feature Descriptors with Triplets and Shallow Convolutional Neural Networks (2016).

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.triplet_margin_loss([[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 2.0]], eps=0.0)
    np.float64(4.0)
    """
    op, (p, eps) = _norm_of(p, eps)
    margin = check.number("margin", margin, "greater than 0", lambda m: m > 0)
    return Lines(op, {"anchor": anchor, "positive": positive, "negative": negative}, params=(p, eps, margin, float(bool(swap))))


@RowFunction
def pairwise_distance(x1, x2, *, p=2.0, eps=1e-6, keepdims=False):
    """The p-norm of ``x1 - x2 + eps`` along the last axis; ``.backward(g, x1, x2, p=, eps=)`` gives the gradients of both.

    Where the difference is d and the norm n, the gradient by x1 is ``sign(d) (|d| / n)**(p - 1)``, by x2 the opposite. Kinks: it is 0 where d
    is, and for ``p = inf`` shared evenly among the largest differences.

    Parameters
    ----------
    x1, x2 : array_like, shape (..., D)
        Vectors; they broadcast to one shape, and for ``backward`` have one.
    p : float
        At least 1, inf included.
    eps : float
        Added to each difference.
    keepdims : bool
        Whether the last axis stays, with length 1.

    Returns
    -------
    ndarray of shape (...), or a NumPy scalar

    Raises
    ------
    ValueError
        For shapes that do not fit, p below 1.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Golub, Van Loan, Matrix Computations (2013), section 2.2.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.pairwise_distance([[0.0, 0.0], [1.0, 1.0]], [[3.0, 4.0], [1.0, 2.0]], eps=0.0)
    array([5., 1.])
    """
    op, params = _norm_of(p, eps)
    return Lines(op, {"x1": x1, "x2": x2}, params=params)


@RowFunction
def cosine_similarity(x1, x2, *, axis=1, eps=1e-8):
    """The cosine of vectors: ``x1 . x2 / (max(|x1|, eps) max(|x2|, eps))``; ``.backward(g, x1, x2, axis=, eps=)`` gives both gradients.

    The gradient by x1 is ``x2 / (|x1| |x2|) - cos x1 / |x1|**2``, and likewise by x2; a norm below `eps` is a constant.

    Parameters
    ----------
    x1, x2 : array_like
        They broadcast to one shape, and for ``backward`` have one.
    axis : int
        The axis of the vectors; 1 means the only axis of a 1-D array.
    eps : float
        Greater than 0.

    Returns
    -------
    ndarray without that axis, or a NumPy scalar

    Raises
    ------
    ValueError
        For shapes that do not fit, an eps that is not greater than 0.
    TypeError
        For bool, complex or longdouble input, masked arrays.

    References
    ----------
    Manning, Raghavan, Schuetze, Introduction to Information Retrieval (2008), section 6.3.

    Examples
    --------
    >>> import fastloss as fl
    >>> fl.cosine_similarity([[3.0, 4.0], [1.0, 0.0]], [[4.0, 3.0], [0.0, 2.0]]).round(4)
    array([0.96, 0.  ])
    >>> fl.cosine_similarity([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]).round(4)    # Keras' example
    array([0., 1.])
    """
    eps = check.number("eps", eps, "greater than 0", lambda e: e > 0)
    return Lines("cosine", {"x1": x1, "x2": x2}, params=(eps, 0.0), axis=axis)
