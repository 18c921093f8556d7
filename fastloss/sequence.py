"""Losses of sequences: connectionist temporal classification."""

from typing import NamedTuple

import numpy as np

from . import _check as check
from . import _config as config
from ._loss import Partial, Results, _engine, _GeneralCalls, _Methods

__all__ = ["ctc_loss"]

CtcCalls = _engine.CtcCalls if _engine else _GeneralCalls


class Sequences(NamedTuple):
    """The arguments of a CTC call, ready to run."""

    log_probs: object
    targets: object
    input_lengths: object
    target_lengths: object
    blank: int
    zero_infinity: bool
    from_logits: bool


class CtcLoss(_Methods, CtcCalls):
    """A loss of sequences (T, N, C) against label sequences of their own lengths."""

    def __init__(self, function):
        self._describe(function)
        self._fast_formula()

    def value_grad_hess(self, *args, **kwargs):
        """Not available: the Hessian of CTC costs another pass for every label."""
        raise check.no_hessian(self.__name__)

    def _run(self, mode, terms, options):
        check.reduction(options.reduction)
        x = check.array("log_probs", terms.log_probs)
        if x.ndim not in (2, 3):
            raise ValueError(f"log_probs has shape {x.shape}; it must be (T, N, C) or (T, C)")
        dtype, result_dtype = check.working_dtype(x)
        shape = x.shape[1:-1]
        cube = x if x.ndim == 3 else x[:, None]
        n_frames, n, n_classes = cube.shape
        if not 0 <= terms.blank < n_classes:
            raise ValueError(f"blank is {terms.blank}; it must be in [0, {n_classes})")
        input_lengths = check.lengths("input_lengths", terms.input_lengths, n, n_frames, "log_probs has that many frames")
        labels, offsets, target_lengths = check.labels(terms.targets, terms.target_lengths, n, x.ndim == 3)
        weight, absent = _weights(options, shape, n)
        kernels = config.kernels()
        sums = np.zeros(2)
        if kernels.check_targets(labels, n_classes, terms.blank, None, None, sums) >= 0 or sums[1] < labels.size:
            check.label_values(labels, offsets, target_lengths, absent, n_classes, terms.blank)
        upstream = None if options.upstream is None else check.broadcast("upstream", check.array("upstream", options.upstream), shape)
        results = Results(mode, options, [x.shape], result_dtype,
                          [terms.log_probs, terms.targets, terms.input_lengths, terms.target_lengths, options.sample_weight, options.upstream],
                          shape, (terms.log_probs,))

        weight_sum = n if weight is None else weight.sum()
        mean = options.reduction == "mean" and mode != "p"
        divide_by = weight_sum if mean else 1.0
        if divide_by == 0:
            results.zero()
            return results.finish(np.zeros(2), 0)
        weight = np.ones(n) if weight is None else weight
        by_length = weight / np.maximum(target_lengths, 1) if mean or mode == "p" else weight
        scale = by_length / divide_by if upstream is None else weight * upstream
        value, grad, _ = results.buffers
        losses, gradients = np.zeros(n), None
        if grad is not None:
            gradients = grad.reshape(cube.shape) if _direct(grad, dtype) else np.empty(cube.shape, dtype)
            if absent is not None:
                gradients[:, absent] = 0
        used = np.arange(n) if absent is None else np.flatnonzero(~absent)
        kernels.ctc(cube if _direct(cube, dtype) else check.contiguous(cube, dtype), labels, offsets, input_lengths, target_lengths, used,
                    terms.blank, terms.from_logits, terms.zero_infinity, scale, losses, gradients)
        if gradients is not None and not (gradients is grad or np.may_share_memory(gradients, grad)):
            grad[...] = gradients.reshape(x.shape)
        if value is not None:
            value[...] = (weight * losses).reshape(shape)
        if mode == "p":
            return Partial(tuple(total(weight * losses)), weight_sum, used.size, tuple(total(by_length * losses)))
        return results.finish(total(by_length * losses), divide_by)


def _weights(options, shape, n):
    """(weight of each sequence, which are absent); None for ones, and for none."""
    mask = check.mask(options.where, shape)
    if options.sample_weight is None and mask is None:
        return None, None
    weight = np.ones(n) if options.sample_weight is None else check.per_row(options.sample_weight, shape).astype(np.float64).reshape(n)
    if mask is not None:
        weight[~mask.reshape(n)] = 0
    return weight, weight == 0


def _direct(array, dtype):
    """Whether the kernels take the array as it is: any strides but that of the classes."""
    if array.dtype != dtype or not array.dtype.isnative or not array.flags.aligned:
        return False
    return array.flags.c_contiguous or (array.strides[-1] == array.itemsize and not any(s % array.itemsize for s in array.strides))


def total(values):
    """The compensated sum as [hi, lo]."""
    acc = np.zeros(2)
    config.kernels().total(values, None, acc)
    return acc


@CtcLoss
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, *, zero_infinity=False, from_logits=False):
    """Connectionist temporal classification: the cost of a label sequence without its alignment.

    A path names one class in each frame; it spells what remains when repeats are merged and then blanks removed. With
    ``p[t, c] = exp(log_probs[t, c])``, each sequence's loss is::

        loss = -log( sum over all paths that spell the target of  prod_t p[t, path_t] )

    It is infinite where the target, with a blank between equal neighbours, is longer than the input. The gradient is
    ``p[t, c] - P(path_t = c | target)``: with respect to the logits behind `log_probs`, as torch has it. There is no kink.

    The sums of products are formed in linear space, every number with an exponent of its own, so that neither long
    sequences nor extreme log-probabilities underflow.

    Parameters
    ----------
    log_probs : array_like, shape (T, N, C) or (T, C)
        Log-probabilities, normalised over the classes; float16, bfloat16, float32, float64, or integers.
    targets : array_like of integers, shape (N, S) or (sum of target_lengths,)
        Labels, padded (what follows a target is never read) or one after the other; (S,) with (T, C).
    input_lengths : array_like of integers, shape (N,)
        Frames of each sequence, in [0, T]; a number with (T, C). Later frames are never read, their gradient is 0.
    target_lengths : array_like of integers, shape (N,)
        Labels of each sequence, 0 included.
    blank : int
        The class that is no label.
    zero_infinity : bool
        Infinite losses, and their gradients, become 0. Otherwise their gradients are NaN.
    from_logits : bool
        `log_probs` holds logits: their log_softmax is taken on the way.
    reduction : {"mean", "sum", "none"}
        A mean divides each loss by its target length (at least 1), then their sum by N.
    where : array_like of bool, shape (N,), optional
        False: the sequence is absent and not read.
    sample_weight : array_like, shape (N,), optional
        Multiplies the loss of a sequence; a mean divides by the sum of the weights.
    empty, upstream, out
        As in `cross_entropy`.

    Returns
    -------
    NumPy scalar, or for ``reduction="none"`` an array of shape (N,)
        ``value_and_grad`` adds an array of log_probs' shape. ``value_grad_hess`` raises NotImplementedError. The ``loss_sum``
        of ``partial`` is that of ``reduction="sum"``; its ``result("mean")`` knows the target lengths.

    Raises
    ------
    IndexError
        For a label outside [0, C), naming the first.
    ValueError
        For a blank among the labels, lengths outside their arrays, shapes that do not fit.
    TypeError
        For labels or lengths that are no integers, complex or longdouble input, masked arrays.

    References
    ----------
    Graves, Fernandez, Gomez, Schmidhuber, Connectionist Temporal Classification (2006).

    Examples
    --------
    >>> import numpy as np
    >>> import fastloss as fl
    >>> p = np.array([[0.5, 0.5], [0.25, 0.75]])          # frames, classes: the blank and one label
    >>> float(np.exp(-fl.ctc_loss(np.log(p), [1], 2, 1)))  # all paths but "blank, blank"
    0.875
    >>> value, grad = fl.ctc_loss.value_and_grad(np.zeros((3, 1, 4)), [[1, 2]], [3], [2], from_logits=True)
    >>> round(float(value), 4)
    1.2747
    """
    return Sequences(log_probs, targets, input_lengths, target_lengths, check.integer("blank", blank), bool(zero_infinity), bool(from_logits))
