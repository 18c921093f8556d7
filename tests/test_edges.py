"""One table: where peers differ or crash, line by line. What the call gives, or the error it raises.

Every row runs on every backend, instruction set and dtype. An error names the argument, what came and
what was expected; it changes neither inputs nor outputs.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import fastloss as fl

CE, NLL, MSE, BCE = fl.cross_entropy, fl.nll_loss, fl.mse_loss, fl.binary_cross_entropy_with_logits
FOCAL = fl.focal_cross_entropy
NAN, INF = np.nan, np.inf
LONGDOUBLE = np.dtype(np.longdouble).name  # float128 on Linux
HUGE = 2.0**126  # twice this is still a float32


def a(*values):
    """The row's numbers, in the dtype of the test (set by `arrays`)."""
    return np.array(values, dtype=a.dtype)


NAN_CALLS = [
    (name, getattr(fl, name), (0.5, *more)) for name, more in {
        "l1_loss": (), "smooth_l1_loss": (), "huber_loss": (), "msle_loss": (), "log_cosh_loss": (), "quantile_loss": (),
        "poisson_nll_loss": (), "gaussian_nll_loss": (1.0,), "sigmoid_focal_loss": (), "kl_div": (),
        "multilabel_soft_margin_loss": (), "margin_ranking_loss": (1.0,), "soft_margin_loss": (), "exponential_loss": (),
    }.items()
] + [("hinge_embedding_loss", fl.hinge_embedding_loss, (target,)) for target in (-1, 1)]  # fmt: skip


# Calls that give a value: (what, call, expected). Expected compares exactly, NaN equal to NaN.
GIVES = [
    # Softmax rows
    ("nan in a row is that row alone",
     lambda: fl.softmax(a([NAN, 0], [0, 0]), axis=1), [[NAN, NAN], [0.5, 0.5]]),
    ("nan in a row, log_softmax",
     lambda: np.isnan(fl.log_softmax(a([NAN, 0], [0, 0]), axis=1)), [[1, 1], [0, 0]]),
    ("nan in a row, softmin", lambda: np.isnan(fl.softmin(a([NAN, 0], [0, 0]), axis=1)), [[1, 1], [0, 0]]),
    ("nan in a row, logsumexp", lambda: np.isnan(fl.logsumexp(a([NAN, 0], [0, 0]), axis=1)), [1, 0]),
    ("nan and inf, logsumexp", lambda: fl.logsumexp(a(NAN, INF)), NAN),
    ("nan in a row, cross_entropy",
     lambda: np.isnan(CE.grad(a([0, NAN], [0, 0]), [0, 0])), [[1, 1], [0, 0]]),
    ("+inf in a row", lambda: fl.softmax(a([INF, 0], [0, 0]), axis=1), [[NAN, NAN], [0.5, 0.5]]),
    ("+inf in a row, log_softmax", lambda: fl.log_softmax(a(INF, 0))[0], NAN),
    ("+inf in a row, logsumexp",
     lambda: fl.logsumexp(a([INF, 0], [INF, INF], [INF, -INF]), axis=1), [INF] * 3),
    ("-inf has probability 0", lambda: fl.softmax(a(-INF, 0, 0)), [0, 0.5, 0.5]),
    ("-inf, log_softmax", lambda: fl.log_softmax(a(-INF, 0)), [-INF, 0]),
    ("-inf, logsumexp", lambda: fl.logsumexp(a(-INF, 3)), 3),
    ("-inf, cross_entropy", lambda: CE(a([-INF, 0]), [1]), 0),
    ("-inf, gradient", lambda: CE.grad(a([-INF, 0, 0]), [1]), [[0, -0.5, 0.5]]),
    ("-inf, Hessian", lambda: CE.value_grad_hess(a([-INF, 0, 0]), [1])[2], [[0, 0.25, 0.25]]),
    ("-inf at the target", lambda: CE(a([-INF, 0]), [0]), INF),
    ("-inf at the target, gradient", lambda: CE.grad(a([-INF, 0]), [0]), [[-1, 1]]),
    ("row all -inf", lambda: fl.softmax(a([-INF, -INF], [0, 0]), axis=1), [[NAN, NAN], [0.5, 0.5]]),
    ("row all -inf, log_softmax", lambda: fl.log_softmax(a(-INF, -INF)), [NAN, NAN]),
    ("row all -inf, logsumexp", lambda: fl.logsumexp(a(-INF, -INF)), -INF),
    ("row masked out",
     lambda: fl.softmax(a([NAN, 1], [0, 0]), axis=1, where=[[False], [True]]), [[0, 0], [0.5, 0.5]]),
    ("row masked out, log_softmax", lambda: fl.log_softmax(a(1, 2), where=False), [-INF, -INF]),
    ("masked entries are never read",
     lambda: fl.softmax(a(NAN, INF, 0, 0), where=[False, False, True, True]), [0, 0, 0.5, 0.5]),
    ("all weights of logsumexp 0", lambda: fl.logsumexp(a(1, 2), b=a(0, 0)), -INF),
    ("b = 0 removes an entry", lambda: fl.logsumexp(a([NAN, 1], [INF, 2]), b=a(0, 1), axis=1), [1, 2]),
    ("negative sum", lambda: fl.logsumexp(a(0, 0), b=a(-1, -1)), NAN),
    ("negative sum, sign", lambda: fl.logsumexp(a(0), b=a(-1), return_sign=True), (0, -1)),
    ("sum 0, sign", lambda: fl.logsumexp(a(1, 1), b=a(1, -1), return_sign=True), (-INF, 0)),
    ("finite but huge", lambda: fl.softmax(a(HUGE, -HUGE, HUGE)), [0.5, 0, 0.5]),
    ("finite but huge, logsumexp", lambda: fl.logsumexp(a(HUGE, -HUGE)), HUGE),
    ("largest number",
     lambda: fl.logsumexp(np.array([1, -1]) * np.finfo(a.dtype).max), lambda: np.finfo(a.dtype).max),
    ("finite but huge, log_softmax", lambda: fl.log_softmax(a(HUGE, 0)), [0, -HUGE]),
    ("finite but huge, cross_entropy", lambda: CE(a([HUGE, -HUGE]), [1]), 2 * HUGE),
    ("zero classes", lambda: fl.softmax(np.empty((3, 0), a.dtype), axis=1), lambda: np.empty((3, 0))),
    ("zero classes, log_softmax",
     lambda: fl.log_softmax(np.empty((3, 0), a.dtype), axis=1), lambda: np.empty((3, 0))),
    ("zero classes, logsumexp", lambda: fl.logsumexp(np.empty((3, 0), a.dtype), axis=1), [-INF] * 3),
    ("zero classes, hardmax",
     lambda: fl.hardmax(np.empty((3, 0), a.dtype), axis=1), lambda: np.empty((3, 0))),
    ("no rows", lambda: fl.softmax(np.empty((0, 3), a.dtype), axis=1), lambda: np.empty((0, 3))),
    ("nothing at all", lambda: fl.softmax(a()), []),
    ("one number", lambda: fl.softmax(a(7)[0]), 1),
    ("one number, logsumexp", lambda: fl.logsumexp(a(7)[0]), 7),
    ("first maximum", lambda: fl.hardmax(a([1, 3, 3], [2, 2, 2]), axis=1), [[0, 1, 0], [1, 0, 0]]),
    ("hardmax of all axes", lambda: fl.hardmax(a([1, 2], [3, 3])), [[0, 0], [1, 0]]),
    # Cross-entropy and NLL: what counts
    ("no rows, mean", lambda: CE(np.empty((0, 3), a.dtype), np.empty(0, int)), NAN),
    ("no rows, empty=0", lambda: CE(np.empty((0, 3), a.dtype), np.empty(0, int), empty=0.0), 0),
    ("no rows, sum", lambda: CE(np.empty((0, 3), a.dtype), np.empty(0, int), reduction="sum"), 0),
    ("no rows, gradient",
     lambda: CE.grad(np.empty((0, 3), a.dtype), np.empty(0, int)), lambda: np.empty((0, 3))),
    ("no elements, mse", lambda: MSE(a(), a()), NAN),
    ("no elements, mse, empty=7", lambda: MSE(a(), a(), empty=7.0), 7),
    ("no elements, mse, sum", lambda: MSE(a(), a(), reduction="sum"), 0),
    ("all ignored", lambda: CE.value_and_grad(a([1, 2]), [-100]), (NAN, [[0, 0]])),
    ("all ignored, empty=0", lambda: CE.value_and_grad(a([1, 2]), [-100], empty=0.0), (0, [[0, 0]])),
    ("all ignored, sum", lambda: CE.value_and_grad(a([1, 2]), [-100], reduction="sum"), (0, [[0, 0]])),
    ("all ignored, none", lambda: CE.value_and_grad(a([1, 2]), [-100], reduction="none"), ([0], [[0, 0]])),
    ("all ignored, nll", lambda: NLL.value_and_grad(a([1, 2]), [-100]), (NAN, [[0, 0]])),
    ("all masked, mse",
     lambda: MSE.value_grad_hess(a(1, 2), a(3, 5), where=[False, False]), (NAN, [0, 0], [0, 0])),
    ("all masked, empty=0", lambda: MSE(a(1, 2), a(3, 5), where=False, empty=0.0), 0),
    ("sample weights all 0", lambda: MSE.value_and_grad(a(1), a(3), sample_weight=a(0)), (NAN, [0])),
    ("class weights sum to 0",
     lambda: CE.value_and_grad(a([1, 2]), [0], a(0, 1), empty=5.0), (5, [[0, 0]])),
    ("ignored row holds nan",
     lambda: CE.value_and_grad(a([NAN, INF], [0, 0]), [-100, 1], reduction="sum")[1],
     [[0, 0], [0.5, -0.5]]),
    ("ignored row holds nan, value", lambda: CE(a([NAN, INF], [-INF, 0]), [-100, 1]), 0),
    ("masked row holds nan",
     lambda: CE.value_grad_hess(a([NAN, INF], [-INF, 0]), [0, 1], where=[False, True])[:2],
     (0, [[0, 0], [0, 0]])),
    ("weightless row holds nan",
     lambda: CE.value_and_grad(a([NAN, INF], [-INF, 0]), [0, 1], sample_weight=a(0, 1)),
     (0, [[0, 0], [0, 0]])),
    ("ignored row holds nan, nll", lambda: NLL(a([NAN, NAN], [-3, -1]), [-100, 0]), 3),
    ("masked element holds nan",
     lambda: MSE.value_grad_hess(a(NAN, 2), a(0, 5), where=[False, True]), (9, [0, -6], [0, 2])),
    ("masked probabilities hold nan",
     lambda: CE(a([NAN, 0], [-INF, 0]), a([NAN, 1], [0, 1]), where=[False, True]), 0),
    ("bad index in a masked row", lambda: CE(a([1, 2], [-INF, 0]), [7, 1], where=[False, True]), 0),
    ("ignore_index=-1", lambda: CE(a([1, 2], [-INF, 0]), [-1, 1], ignore_index=-1), 0),
    ("ignore_index is a class", lambda: CE(a([1, 2], [-INF, 0]), [0, 1], ignore_index=0), 0),
    ("where broadcasts", lambda: MSE(a([1, NAN], [3, NAN]), a([0, 0], [0, 0]), where=[True, False]), 5),
    ("smoothing with a -inf logit", lambda: CE(a([0, -INF]), [0], label_smoothing=0.5), INF),
    ("0 log 0 of probability targets", lambda: CE(a([0, -INF]), a([1, 0])), 0),
    ("focal, -inf at the target", lambda: FOCAL.value_and_grad(a([-INF, 0]), [0]), (INF, [[-1, 1]])),
    ("focal, sure and right", lambda: FOCAL.value_grad_hess(a([0, -INF]), [0]), (0, [[0, 0]], [[0, 0]])),
    ("focal, sure and right, gamma < 1", lambda: FOCAL.value_grad_hess(a([0, -INF]), [0], gamma=0.5), (0, [[0, 0]], [[0, 0]])),
    ("focal, 0 log 0", lambda: FOCAL.value_grad_hess(a([0, -INF]), a([1, 0])), (0, [[0, 0]], [[0, 0]])),
    ("focal, smoothing with a -inf logit", lambda: FOCAL(a([0, -INF]), [0], label_smoothing=0.5), INF),
    ("focal, ignored row holds nan",
     lambda: FOCAL.value_grad_hess(a([NAN, INF], [0, -INF]), [-100, 0]), (0, [[0, 0], [0, 0]], [[0, 0], [0, 0]])),
    ("focal, masked probabilities hold nan",
     lambda: FOCAL.value_and_grad(a([NAN, 0], [-INF, 0]), a([NAN, 1], [0, 1]), where=[False, True]), (0, [[0, 0], [0, 0]])),
    ("focal, all ignored", lambda: FOCAL.value_and_grad(a([1, 2]), [-100]), (NAN, [[0, 0]])),
    ("focal, nan in a row", lambda: np.isnan(FOCAL.grad(a([0, NAN], [0, 0]), [0, 0])), [[1, 1], [0, 0]]),
    ("0 log 0, gradient", lambda: CE.grad(a([0, -INF]), a([1, 0])), [[0, 0]]),
    ("0 log 0, smoothing 0", lambda: CE(a([0, -INF]), [0], label_smoothing=0.0), 0),
    ("negative class weight", lambda: NLL(a([-3, -1]), [0], a(-2, 1), reduction="sum"), -6),
    ("negative class weight, gradient",
     lambda: CE.grad(a([0, 0]), [0], a(-2, 1), reduction="sum"), [[1, -1]]),
    ("nan weight of an unused class",
     lambda: CE.value_and_grad(a([-INF, 0]), [1], a(NAN, 2)), (0, [[0, 0]])),
    ("nan weight of an unused class, nll",
     lambda: NLL.value_and_grad(a([-4, -3]), [1], a(NAN, 2)), (3, [[0, -1]])),
    ("one class", lambda: CE.value_grad_hess(a([3], [-2]), [0, 0]), (0, [[0], [0]], [[0], [0]])),
    ("one row (C,)", lambda: CE(a(-INF, 0), 1), 0),
    ("one row (C,) of probabilities", lambda: CE(a(-INF, 0), a(0, 1)), 0),
    ("nll of -inf", lambda: NLL(a([-INF, 0]), [0]), INF),
    ("nll reads the target alone", lambda: NLL(a([NAN, -1]), [1]), 1),
    ("nll Hessian", lambda: NLL.value_grad_hess(a([-2, -1]), [1])[2], [[0, 0]]),
    # Elementwise
    ("mse nan", lambda: MSE.value_and_grad(a(NAN), a(1)), (NAN, [NAN])),
    ("mse inf", lambda: MSE.value_and_grad(a(INF), a(1)), (INF, [INF])),
    ("scalar target", lambda: MSE(a(1, 3), 2), 1),
    ("0-d", lambda: MSE.value_and_grad(a(3)[0], a(1)[0]), (4, 4)),
    ("bce at +inf", lambda: BCE.value_grad_hess(a(INF, INF), a(1, 0), reduction="none"),
     ([0, INF], [0, 1], [0, 0])),
    ("bce at -inf", lambda: BCE.value_grad_hess(a(-INF, -INF), a(1, 0), reduction="none"),
     ([INF, 0], [-1, 0], [0, 0])),
    ("bce at inf, soft", lambda: BCE.value_and_grad(a(INF, -INF), a(0.5, 0.25), reduction="none"),
     ([INF, INF], [0.5, -0.25])),
    ("bce at inf, pos_weight",
     lambda: BCE.value_and_grad(a(INF, -INF), a(1, 1), pos_weight=2.0, reduction="none"),
     ([0, INF], [0, -2])),
    ("bce nan", lambda: BCE.value_grad_hess(a(NAN), a(1)), (NAN, [NAN], [NAN])),
    ("bce huge", lambda: BCE(a(HUGE, -HUGE), a(1, 0)), 0),
    ("bce of any target", lambda: BCE.grad(a(INF, -INF), a(-1, 2), reduction="none"), [2, -2]),
    ("bce of bool targets", lambda: BCE(a(INF, -INF), np.array([True, False])), 0),
    # Probabilities and divergences
    ("sure and wrong", lambda: fl.binary_cross_entropy.value_and_grad(a(0, 1), a(1, 0), reduction="none"),
     ([100, 100], [-1e12, 1e12])),
    ("sure and right", lambda: fl.binary_cross_entropy.value_grad_hess(a(0, 1), a(0, 1)), (0, [0, 0], [0, 0])),
    ("probability nan", lambda: np.isnan(fl.binary_cross_entropy(a(NAN, 0.5), a(1, NAN), reduction="none")), [1, 1]),
    ("masked probability out of range",
     lambda: fl.binary_cross_entropy(a(7, 1), a(0, 1), where=[False, True]), 0),
    ("kl of probability 0", lambda: fl.kl_div.value_and_grad(a(-INF, 0), a(0, 1)), (0, [0, -0.5])),
    ("kl where the other is 0", lambda: fl.kl_div(a(-INF), a(0.5)), INF),
    ("kl of log-probability -inf",
     lambda: fl.kl_div.value_and_grad(a(-INF, 3), a(-INF, -INF), log_target=True), (0, [0, 0])),
    ("kl of huge log-probabilities",
     lambda: np.abs(fl.kl_div(a(-HUGE, HUGE, -HUGE), a(0, 0, -1), log_target=True, reduction="none") / HUGE - a(1, -1, np.exp(-1))) < 1e-6,
     [1, 1, 1]),
    ("batchmean", lambda: fl.kl_div(a([1, 1], [1, 1]), a([1, 1], [1, 1]), reduction="batchmean"), -2),
    ("batchmean, 0-d", lambda: fl.kl_div(a(1)[0], a(1)[0], reduction="batchmean"), -1),
    ("batchmean, sample weights",
     lambda: fl.kl_div.value_and_grad(a([1, 1], [1, 1]), a([1, 1], [1, 1]), reduction="batchmean", sample_weight=a(3, 1)),
     (-2, [[-0.75, -0.75], [-0.25, -0.25]])),
    ("batchmean, masked row",
     lambda: fl.kl_div(a([1, 1], [NAN, 1]), a([1, 1], [1, 1]), reduction="batchmean", where=[[True], [False]]), -2),
    ("batchmean of nothing", lambda: fl.kl_div(np.empty((0, 3), a.dtype), 1.0, reduction="batchmean"), NAN),
    ("focal limits",
     lambda: fl.sigmoid_focal_loss.value_and_grad(a(INF, -INF, INF, -INF), a(1, 0, 0, 1), alpha=0.5, reduction="none"),
     ([0, 0, INF, INF], [0, 0, 0.5, -0.5])),
    ("focal far out", lambda: fl.sigmoid_focal_loss.grad(a(HUGE, -HUGE), a(0, 1), alpha=-1, reduction="none"), [1, -1]),
    ("rows of labels", lambda: fl.multilabel_soft_margin_loss(a([INF, -INF], [-INF, 0]), a([1, 0], [1, 1]), reduction="none"),
     [0, INF]),
    ("one row of labels", lambda: fl.multilabel_soft_margin_loss(a(INF, -INF), a(1, 0), reduction="none"), 0),
    ("masked row of labels",
     lambda: fl.multilabel_soft_margin_loss.value_and_grad(a([NAN, 1], [INF, -INF]), a([1, 0], [0, 0]), where=[False, True]),
     (INF, [[0, 0], [0.5, 0]])),
    ("labels of rows, sum and upstream",
     lambda: fl.multilabel_soft_margin_loss.grad(a([INF, 0], [-INF, INF]), a([0, 0.5], [1, 1]), reduction="none", upstream=a(4, 2)),
     [[2, 0], [-1, 0]]),
    ("no rows of labels", lambda: fl.multilabel_soft_margin_loss(np.empty((0, 3), a.dtype), 0), NAN),
    # Margins
    ("hinge embedding at its kink",
     lambda: fl.hinge_embedding_loss.value_and_grad(a(1, 1), a(-1, 1), reduction="none"), ([0, 1], [-1, 1])),
    ("hinge embedding at inf",
     lambda: fl.hinge_embedding_loss.value_grad_hess(a(INF, INF, -INF), a(-1, 1, -1), reduction="none"),
     ([0, INF, INF], [0, 1, -1], [0, 0, 0])),
    ("hinge embedding, scalar target", lambda: fl.hinge_embedding_loss(a(0, 2), -1), 0.5),
    ("hinge embedding, masked target", lambda: fl.hinge_embedding_loss(a(0, 2), a(3, 1), where=[False, True]), 2),
    ("margin ranking at its kink",
     lambda: fl.margin_ranking_loss.value_and_grad(a(1, 2), a(1, 1), a(1, 1), reduction="none"), ([0, 0], [[-1, 0], [1, 0]])),
    ("margin ranking, any target", lambda: fl.margin_ranking_loss(a(1), a(3), a(0.5), margin=1.0), 2),
    ("margin ranking, scalars", lambda: fl.margin_ranking_loss.grad(a(1, 2), 3.0, 1, reduction="sum"), ([-1, -1], 2)),
    ("soft margin limits",
     lambda: fl.soft_margin_loss.value_grad_hess(a(INF, -INF, INF), a(1, 1, -1), reduction="none"),
     ([0, INF, INF], [0, -1, 1], [0, 0, 0])),
    ("exponential overflows", lambda: fl.exponential_loss.value_and_grad(a(-HUGE, HUGE), a(1, 1), reduction="none"),
     ([INF, 0], [-INF, 0])),
    # Regression
    ("absolute error at its kink and at inf",
     lambda: fl.l1_loss.value_grad_hess(a(3, INF), a(3, 0), reduction="none"), ([0, INF], [0, 1], [0, 0])),
    ("huber at its kink", lambda: fl.huber_loss.value_grad_hess(a(1, -1, INF), a(0, 0, 0), reduction="none"),
     ([0.5, 0.5, INF], [1, -1, 1], [1, 1, 0])),
    ("smooth l1 at its kink", lambda: fl.smooth_l1_loss.value_grad_hess(a(1, INF), a(0, 0), reduction="none"),
     ([0.5, INF], [1, 1], [0, 0])),
    ("smooth l1, beta 0", lambda: fl.smooth_l1_loss.value_grad_hess(a(2, 3), a(3, 3), beta=0, reduction="none"),
     ([1, 0], [-1, 0], [0, 0])),
    ("quantile at its kink", lambda: fl.quantile_loss.value_grad_hess(a(1, 3), a(1, 1), q=0.25, reduction="none"),
     ([0, 1.5], [0, 0.75], [0, 0])),
    ("log cosh far out", lambda: fl.log_cosh_loss.value_grad_hess(a(INF, -HUGE), a(0, 0), reduction="none"),
     ([INF, HUGE], [1, -1], [0, 0])),
    ("msle of 0", lambda: fl.msle_loss.value_grad_hess(a(0), a(0)), (0, [0], [2])),
    ("poisson overflows", lambda: fl.poisson_nll_loss.value_and_grad(a(HUGE, INF), a(2, 2), reduction="none"),
     ([INF, INF], [INF, INF])),
    ("poisson of nothing", lambda: fl.poisson_nll_loss.value_grad_hess(a(-INF), a(0)), (0, [0], [0])),
    ("poisson rate 0", lambda: fl.poisson_nll_loss.value_and_grad(a(0), a(0), log_input=False, eps=0), (0, [1])),
    ("poisson rate 0 that was counted", lambda: fl.poisson_nll_loss(a(0), a(1), log_input=False, eps=0), INF),
    ("gaussian variance below eps",
     lambda: fl.gaussian_nll_loss.value_grad_hess(a(1), a(1), a(0.25), eps=1), (0, ([0], [0.5]), ([1], [-0.5]))),
    ("gaussian inf", lambda: fl.gaussian_nll_loss(a(INF), a(0), a(1)), INF),
    ("mean over weights", lambda: fl.huber_loss(a(1, 3), a(0, 0), weight=a(3, 1)), 1),
    ("one weight per column", lambda: fl.l1_loss(a([1, 3], [1, 3]), 0, weight=a(3, 1)), 1.5),
    *((f"{name} of nan", lambda f=f, arguments=arguments: np.isnan(f(a(NAN), *arguments)), 1)
      for name, f, arguments in NAN_CALLS),
    # Activations
    ("sigmoid limits", lambda: fl.sigmoid(a(-INF, 0, INF)), [0, 0.5, 1]),
    ("sigmoid slopes", lambda: fl.sigmoid.grad(a(-INF, 0, INF)), [0, 0.25, 0]),
    ("tanh limits", lambda: fl.tanh(a(-INF, 0, INF)), [-1, 0, 1]),
    ("tanh slopes", lambda: fl.tanh.grad(a(-INF, 0, INF)), [0, 1, 0]),
    ("tanh keeps the sign of 0", lambda: np.signbit(fl.tanh(a(-0.0, 0.0))), [True, False]),
    ("relu limits", lambda: fl.relu(a(-INF, -0.0, INF)), [0, 0, INF]),
    ("relu slopes", lambda: fl.relu.grad(a(-INF, -1, 0, 1, INF)), [0, 0, 0, 1, 1]),
    ("gelu limits", lambda: fl.gelu(a(-INF, 0, INF)), [0, 0, INF]),
    ("gelu slopes", lambda: fl.gelu.grad(a(-INF, 0, INF)), [0, 0.5, 1]),
    ("gelu tanh limits", lambda: fl.gelu(a(-INF, 0, INF), approximate="tanh"), [0, 0, INF]),
    ("gelu tanh slopes", lambda: fl.gelu.grad(a(-INF, 0, INF), approximate="tanh"), [0, 0.5, 1]),
    ("gelu huge", lambda: fl.gelu(a(-HUGE, HUGE)), [0, HUGE]),
    ("gelu tanh huge", lambda: fl.gelu(a(-HUGE, HUGE), approximate="tanh"), [0, HUGE]),
    *((f"{f.__name__} of nan", lambda f=f: [f(a(NAN)), f.grad(a(NAN)), f.backward(a(1), a(NAN))], [[NAN]] * 3)
      for f in (fl.sigmoid, fl.tanh, fl.relu, fl.gelu)),
    ("gelu tanh of nan",
     lambda: [fl.gelu(a(NAN), approximate="tanh"), fl.gelu.grad(a(NAN), approximate="tanh")], [[NAN]] * 2),
]  # fmt: skip


@pytest.mark.parametrize("what, call, expected", GIVES, ids=[row[0] for row in GIVES])
def test_gives(what, call, expected, dtype, engine):
    a.dtype = dtype
    expected = expected() if callable(expected) else expected
    with np.errstate(all="raise"):
        got = call()
    pairs = zip(got, expected, strict=True) if isinstance(expected, tuple) else [(got, expected)]
    for g, e in pairs:
        np.testing.assert_array_equal(g, np.asarray(e, dtype))
        assert np.shape(g) == np.shape(e)


INDEX_TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.intc, np.uintc, np.int64, np.uint64, np.longlong, np.ulonglong]


@pytest.mark.parametrize("loss", [CE, NLL], ids=["cross_entropy", "nll_loss"])
def test_any_integer_is_an_index(loss, engine):
    x = -np.random.default_rng(0).random((40, 5), np.float32)
    target = np.arange(40) % 5
    want = loss.value_and_grad(x, target)
    for kind in INDEX_TYPES:
        for order in "=<>":
            got = loss.value_and_grad(x, target.astype(np.dtype(kind).newbyteorder(order)))
            assert got[0] == want[0] and np.array_equal(got[1], want[1])
    got = loss.value_and_grad(x, target.tolist())
    assert got[0] == want[0]


def test_unsigned_target_with_ignore_index():
    """uint8 cannot hold -100: nothing is ignored; 255 can be named."""
    x = np.zeros((2, 2), np.float32)
    assert CE(x, np.array([0, 255], np.uint8), ignore_index=255) == np.float32(np.log(2))
    with pytest.raises(IndexError, match=r"target\[1\] is 255"):
        CE(x, np.array([0, 255], np.uint8))
    with pytest.raises(IndexError, match=r"target\[0\] is 18446744073709551615"):
        CE(x, np.array([2**64 - 1, 0], np.uint64))


def fresh(dtype):
    """Arguments of the right shapes and sentinels in outputs."""
    rng = np.random.default_rng(0)
    read_only = np.full((6, 5), 7, dtype)
    read_only.flags.writeable = False
    return SimpleNamespace(
        x=rng.standard_normal((6, 5)).astype(dtype), y=rng.standard_normal((6, 5)).astype(dtype),
        t=np.array([0, 1, 2, 3, 4, 0]), q=np.full((6, 5), 0.2, dtype), out=np.full((6, 5), 7, dtype),
        hess=np.full((6, 5), 7, dtype), small=np.full((6, 4), 7, dtype), read_only=read_only,
        other=np.full((6, 5), 7, np.float32 if dtype == np.float64 else np.float64),
        bad=np.array([0, 1, 2, 7, 4, -3]), spatial=np.array([[0, 1], [1, 9]]),
        cube=np.zeros((2, 3, 2), dtype),
    )  # fmt: skip


def wide(x):
    return x.astype(np.longdouble)


# Calls that raise: (call of fresh arguments, exception, words the message has)
RAISES = [
    (lambda n: CE.grad(n.x, n.bad, out=n.out), IndexError,
     ["target[3] is 7; class indices must be in [0, 5) or ignore_index (-100)"]),
    (lambda n: CE.value_and_grad(n.x, n.bad, out=(None, n.out), ignore_index=7), IndexError,
     ["target[5] is -3; class indices must be in [0, 5) or ignore_index (7)"]),
    (lambda n: CE(n.x, n.bad, reduction="none"), IndexError, ["target[3] is 7"]),
    (lambda n: CE.partial(n.x, n.bad), IndexError, ["target[3] is 7"]),
    (lambda n: NLL.grad(n.x, n.bad, out=n.out), IndexError, ["target[3] is 7", "[0, 5)"]),
    (lambda n: CE(n.x[0], 5), IndexError, ["target", "5", "[0, 5)"]),
    (lambda n: CE(n.cube, n.spatial), IndexError, ["target[1, 1] is 9", "[0, 3)"]),
    (lambda n: CE(n.x[:, :0], n.t), IndexError, ["target[0] is 0"]),
    (lambda n: CE(n.x, n.t > 2), TypeError, ["target", "bool", "integer"]),
    (lambda n: CE(n.x, n.t.astype(float)), TypeError, ["target", "float64", "integer"]),
    (lambda n: CE(n.x, n.t.astype(complex)), TypeError, ["target", "complex128"]),
    (lambda n: NLL(n.x, n.q), TypeError, ["target", "integer"]),
    (lambda n: CE(n.x, n.t[:5]), ValueError, ["target", "(5,)", "(6,)"]),
    (lambda n: NLL(n.x, n.t[:5]), ValueError, ["target", "(5,)", "(6,)"]),
    (lambda n: CE(n.x, n.q[:, :4]), TypeError, ["target", "float", "input's shape"]),
    (lambda n: CE(n.x, n.t[:, None]), ValueError, ["target", "(6, 1)", "(6,)", "(6, 5)"]),
    *((lambda n, s=s: CE.grad(n.x, n.t, label_smoothing=s, out=n.out), ValueError,
       ["label_smoothing", str(s), "[0, 1]"]) for s in (1.5, -0.1, NAN)),
    (lambda n: CE(n.x, n.q, ignore_index=3), ValueError, ["ignore_index", "3", "probabilit"]),
    (lambda n: CE.grad(n.x, n.t, n.x[0, :4], out=n.out), ValueError, ["weight", "(4,)", "(5,)"]),
    (lambda n: NLL.grad(n.x, n.t, n.x[0, :4], out=n.out), ValueError, ["weight", "(4,)", "(5,)"]),
    (lambda n: CE(n.x, n.t, sample_weight=n.x[:5, 0]), ValueError, ["sample_weight", "(5,)", "(6,)"]),
    (lambda n: MSE(n.x, n.y, sample_weight=n.x[:5, 0]), ValueError, ["sample_weight", "(5,)", "(6,)"]),
    (lambda n: MSE(n.x, n.y, weight=n.small), ValueError, ["weight", "(6, 4)", "(6, 5)"]),
    (lambda n: BCE(n.x, n.y, n.small), ValueError, ["weight", "(6, 4)", "(6, 5)"]),
    (lambda n: BCE(n.x, n.y, pos_weight=n.small), ValueError, ["pos_weight", "(6, 4)", "(6, 5)"]),
    (lambda n: CE(n.x, n.t, where=np.ones(5, bool)), ValueError, ["where", "(5,)", "(6,)"]),
    (lambda n: MSE(n.x, n.y, where=np.ones((6, 4), bool)), ValueError, ["where", "(6, 4)", "(6, 5)"]),
    (lambda n: fl.softmax(n.x, where=np.ones((6, 4), bool)), ValueError, ["where", "(6, 4)", "(6, 5)"]),
    (lambda n: MSE.grad(n.x, n.y[:, :4], out=n.out), ValueError, ["target", "(6, 4)", "(6, 5)"]),
    (lambda n: MSE(n.x, n.y[0]), ValueError, ["target", "(5,)", "(6, 5)"]),
    (lambda n: BCE(n.x, n.y[:1]), ValueError, ["target", "(1, 5)", "(6, 5)"]),
    (lambda n: CE.grad(n.x, n.t, reduction="none", upstream=n.x[:5, 0]), ValueError,
     ["upstream", "(5,)", "(6,)"]),
    (lambda n: MSE(n.x, n.y, reduction="average"), ValueError, ["reduction", "average", "mean"]),
    (lambda n: CE(n.x, n.t, reduction=None), ValueError, ["reduction", "None", "mean"]),
    (lambda n: CE.partial(n.x, n.t).result("average"), ValueError, ["reduction", "average", "mean"]),
    (lambda n: CE(n.x, n.t, size_average=True), TypeError, ["size_average"]),
    (lambda n: fl.gelu(n.x, approximate="erf"), ValueError, ["approximate", "erf", "tanh"]),
    (lambda n: fl.hardtanh(n.x, 2.0, 1.0, out=n.out), ValueError, ["min_val", "2.0", "max_val", "1.0"]),
    (lambda n: fl.softshrink.grad(n.x, -0.5, out=n.out), ValueError, ["lambd", "-0.5", "at least 0"]),
    (lambda n: fl.softshrink(n.x, NAN), ValueError, ["lambd", "nan"]),
    (lambda n: fl.celu(n.x, 0.0), ValueError, ["alpha", "0.0"]),
    (lambda n: fl.prelu(n.x, [0.5, 0.25], axis=1), ValueError, ["weight", "(2,)", "(5,)", "axis 1"]),
    (lambda n: fl.prelu(n.x, n.x[0], axis=2), ValueError, ["axis", "2"]),
    (lambda n: fl.elu(n.x, 1j), TypeError, ["alpha", "complex128"]),
    (lambda n: fl.elu(n.x, alfa=1.0), TypeError, ["alfa"]),
    (lambda n: fl.elu(), TypeError, ["elu", "x"]),
    (lambda n: fl.elu.backward(n.x), TypeError, ["elu", "x"]),
    (lambda n: fl.prelu(n.x), TypeError, ["weight"]),
    (lambda n: fl.rrelu(n.x, 0.5, 0.25), ValueError, ["lower", "0.5", "upper", "0.25"]),
    (lambda n: fl.rrelu(n.x, rng=3), TypeError, ["rng", "int", "Generator"]),
    (lambda n: fl.glu(n.x), ValueError, ["x", "5", "axis 1", "2"]),
    (lambda n: fl.glu(n.x, axis=2), ValueError, ["axis", "2"]),
    (lambda n: fl.glu.backward(n.x, n.x, axis=0), ValueError, ["g", "(6, 5)", "(3, 5)"]),
    (lambda n: fl.crelu.backward(n.x, n.x), ValueError, ["g", "(6, 5)", "(6, 10)"]),
    (lambda n: fl.maxout(n.x, 2), ValueError, ["x", "5", "2"]),
    (lambda n: fl.maxout(n.x, 0), ValueError, ["pool_size", "0"]),
    (lambda n: fl.maxout(n.x, 2.5), TypeError, ["pool_size", "2.5"]),
    (lambda n: fl.glu(np.ma.masked_array(n.x), axis=0), TypeError, ["masked array"]),
    (lambda n: CE(n.x, n.t, axis=2), ValueError, ["axis", "2"]),
    (lambda n: fl.softmax(n.x, axis=2), ValueError, ["axis", "2"]),
    (lambda n: fl.softmax(n.x, axis=(0, 0)), ValueError, ["axis"]),
    # dtypes
    (lambda n: fl.softmax(wide(n.x)), TypeError, ["x", LONGDOUBLE, "float"]),
    (lambda n: fl.logsumexp(wide(n.x)), TypeError, ["a", LONGDOUBLE]),
    (lambda n: CE(wide(n.x), n.t), TypeError, ["input", LONGDOUBLE]),
    (lambda n: MSE(n.x.astype(complex), n.y), TypeError, ["input", "complex128"]),
    (lambda n: MSE(n.x, n.y.astype(complex)), TypeError, ["target", "complex128"]),
    (lambda n: MSE(n.x.astype(object), n.y), TypeError, ["input", "object"]),
    (lambda n: fl.softmax(n.x.astype(object)), TypeError, ["object"]),
    (lambda n: fl.sigmoid(n.x.astype(complex)), TypeError, ["complex128"]),
    (lambda n: fl.sigmoid(n.x.astype(object)), TypeError, ["object"]),
    (lambda n: fl.sigmoid(wide(n.x)), TypeError, [LONGDOUBLE]),
    (lambda n: CE(n.x > 0, n.t), TypeError, ["input", "bool"]),
    (lambda n: BCE(n.x > 0, n.y), TypeError, ["input", "bool"]),
    (lambda n: fl.softmax(n.x > 0), TypeError, ["bool"]),
    (lambda n: MSE(np.array(["a"]), n.y), TypeError, ["input"]),
    *((lambda n, f=f: f(np.ma.masked_array(n.x)), TypeError, ["masked array", "where="])
      for f in (fl.softmax, fl.log_softmax, fl.logsumexp, fl.softmin, fl.hardmax, fl.sigmoid, fl.gelu)),
    (lambda n: MSE(np.ma.masked_array(n.x), n.y), TypeError, ["input", "masked array", "where="]),
    (lambda n: MSE(n.x, np.ma.masked_array(n.y)), TypeError, ["target", "masked array", "where="]),
    (lambda n: CE(n.x, np.ma.masked_array(n.t)), TypeError, ["target", "masked array", "where="]),
    # outputs
    (lambda n: MSE.grad(n.x, n.y, out=n.small), ValueError, ["out", "(6, 4)", "(6, 5)"]),
    (lambda n: CE.grad(n.x, n.t, out=n.small), ValueError, ["out", "(6, 4)", "(6, 5)"]),
    (lambda n: fl.softmax(n.x, out=n.small), ValueError, ["out", "(6, 4)", "(6, 5)"]),
    (lambda n: fl.softmax(n.x, out=n.read_only), ValueError, ["out", "read-only"]),
    (lambda n: CE.grad(n.x, n.t, out=n.read_only), ValueError, ["out", "read-only"]),
    (lambda n: MSE.value_and_grad(n.x, n.y, out=(None, n.read_only)), ValueError, ["out", "read-only"]),
    (lambda n: MSE.value_grad_hess(n.x, n.y, out=(None, n.out, n.read_only)), ValueError,
     ["out", "read-only"]),
    (lambda n: MSE.value_grad_hess(n.x, n.y, out=(None, n.out, n.small)), ValueError, ["out", "(6, 4)"]),
    (lambda n: MSE.value_and_grad(n.x, n.y, out=(None, n.out, n.hess)), ValueError, ["out", "3", "2"]),
    (lambda n: MSE.grad(n.x, n.y, out=n.t), (TypeError, ValueError), ["out"]),
    (lambda n: MSE.grad(n.x, n.y, out=np.zeros((6, 5), int)), TypeError, ["out", "int64"]),
    (lambda n: fl.softmax(n.x, out=np.zeros((6, 5), int)), TypeError, ["out", "int64"]),
    (lambda n: fl.softmax(n.x, out=n.x.tolist()), TypeError, ["out", "list"]),
    (lambda n: CE.grad(n.x, n.t, out=n.x.tolist()), TypeError, ["out", "list"]),
    (lambda n: fl.softmax(n.x, out=n.other), TypeError, ["out", "float"]),
    (lambda n: MSE.grad(n.x, n.y, out=n.other), TypeError, ["out", "float"]),
    (lambda n: CE.grad(n.x, n.t, out=n.other), TypeError, ["out", "float"]),
    # values and parameters of elementwise losses
    (lambda n: fl.hinge_embedding_loss.grad(n.x, n.q, out=n.out), ValueError, ["target[0, 0] is 0.2", "-1 or 1"]),
    (lambda n: fl.hinge_embedding_loss(n.x, 0), ValueError, ["target is 0", "-1 or 1"]),
    (lambda n: fl.hinge_embedding_loss(n.x, np.full((6, 5), NAN)), ValueError, ["target[0, 0] is nan"]),
    (lambda n: fl.binary_cross_entropy.value_and_grad(1 + n.q, n.q, out=(None, n.out)), ValueError,
     ["input[0, 0] is 1.2", "[0, 1]"]),
    (lambda n: fl.binary_cross_entropy.grad(n.q, -n.q, out=n.out), ValueError, ["target[0, 0] is -0.2", "[0, 1]"]),
    (lambda n: fl.gaussian_nll_loss(n.x, n.y, -n.q), ValueError, ["var[0, 0] is -0.2", "at least 0"]),
    (lambda n: fl.gaussian_nll_loss(n.x, n.y, n.q[:3]), ValueError, ["var", "(3, 5)", "(6, 5)"]),
    (lambda n: fl.gaussian_nll_loss(n.x, n.y, n.q[:1, :1]), ValueError, ["var", "(1, 1)"]),
    (lambda n: fl.gaussian_nll_loss(n.x, n.y, n.q, eps=-1), ValueError, ["eps", "-1"]),
    (lambda n: fl.gaussian_nll_loss.grad(n.x, n.y, n.q, out=n.out), TypeError, ["out", "tuple of 2"]),
    (lambda n: fl.gaussian_nll_loss.value_and_grad(n.x, n.y, n.q, out=(None, (n.out, n.small))), ValueError,
     ["out[1][1]", "(6, 4)"]),
    (lambda n: fl.gaussian_nll_loss.value_and_grad(n.x, n.y, n.q, out=(None, (n.out, n.out))), ValueError, ["overlap"]),
    (lambda n: fl.margin_ranking_loss(n.x, n.small, n.y), ValueError, ["input2", "(6, 4)", "(6, 5)"]),
    (lambda n: fl.huber_loss(n.x, n.y, delta=0), ValueError, ["delta is 0", "greater than 0"]),
    (lambda n: fl.huber_loss(n.x, n.y, delta=NAN), ValueError, ["delta is nan"]),
    (lambda n: fl.smooth_l1_loss(n.x, n.y, beta=-1), ValueError, ["beta is -1", "at least 0"]),
    (lambda n: fl.poisson_nll_loss(n.x, n.y, eps=-1), ValueError, ["eps is -1"]),
    (lambda n: fl.sigmoid_focal_loss(n.x, n.y, gamma=-1), ValueError, ["gamma is -1"]),
    (lambda n: FOCAL(n.x, n.x, gamma=-1), ValueError, ["gamma is -1"]),
    (lambda n: FOCAL(n.x, n.x, gamma=INF), ValueError, ["gamma is inf"]),
    (lambda n: fl.quantile_loss(n.x, n.y, q=1.5), ValueError, ["q is 1.5", "[0, 1]"]),
    (lambda n: fl.quantile_loss(n.x, n.y, q=[0.5, 2.0, 0, 0, 0]), ValueError, ["q is", "2.", "[0, 1]"]),
    (lambda n: fl.quantile_loss(n.x, n.y, q=[0.5, 0.25]), ValueError, ["q", "(2,)", "(6, 5)"]),
    (lambda n: fl.mse_loss(n.x, n.y, reduction="batchmean"), ValueError, ["reduction is 'batchmean'"]),
    (lambda n: fl.multilabel_soft_margin_loss(n.x, n.y, where=n.x > 0), ValueError, ["where", "(6, 5)", "(6,)"]),
    # control
    (lambda n: fl.set_num_threads(0), ValueError, ["0"]),
    (lambda n: fl.set_num_threads(2.5), TypeError, ["2.5"]),
    (lambda n: fl.set_backend("fortran"), ValueError, ["fortran", "cython", "numba"]),
]  # fmt: skip


# name -> parameters, value and slope at -inf, inf
ENDS = {
    "sigmoid": ((), (0, 1), (0, 0)), "tanh": ((), (-1, 1), (0, 0)), "relu": ((), (0, INF), (0, 1)),
    "relu6": ((), (0, 6), (0, 0)), "leaky_relu": ((0.25,), (-INF, INF), (0.25, 1)), "prelu": ((0,), (0, INF), (0, 1)),
    "elu": ((1.5,), (-1.5, INF), (0, 1)), "selu": ((), (-1.7580993408473766, INF), (0, 1.0507009873554805)),
    "celu": ((0.5,), (-0.5, INF), (0, 1)), "srelu": ((-1, 0, 1, 0.5), (-1, INF), (0, 0.5)), "softplus": ((), (0, INF), (0, 1)),
    "softsign": ((), (-1, 1), (0, 0)), "gaussian": ((), (0, 0), (0, 0)), "silu": ((), (0, INF), (0, 1)),
    "swish": ((-2,), (-INF, 0), (1, 0)), "mish": ((), (0, INF), (0, 1)), "gelu": ((), (0, INF), (0, 1)),
    "logsigmoid": ((), (-INF, 0), (1, 0)), "hardtanh": ((), (-1, 1), (0, 0)), "hardsigmoid": ((), (0, 1), (0, 0)),
    "hardswish": ((), (0, INF), (0, 1)), "tanhshrink": ((), (-INF, INF), (1, 1)), "softshrink": ((), (-INF, INF), (1, 1)),
    "hardshrink": ((), (-INF, INF), (1, 1)), "threshold": ((1, -7), (-7, INF), (0, 1)), "step": ((), (0, 1), (0, 0)),
    "linear": ((), (-INF, INF), (1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_activation_at_the_ends_of_the_line(name, dtype, engine):
    """Limits at infinity, and finite results for the largest numbers; NaN gives NaN."""
    f, (parameters, ends, slopes) = getattr(fl, name), ENDS[name]
    x = np.array([-INF, INF, NAN], dtype)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(f(x, *parameters), np.array([*ends, NAN], dtype))
        np.testing.assert_array_equal(f.grad(x, *parameters), np.array([*slopes, NAN], dtype))
        assert np.isfinite(f(np.array([-HUGE, HUGE], dtype), *parameters)).all()


def test_every_elementwise_activation_has_its_ends():
    assert set(ENDS) == {name for name in fl.activations.__all__ if hasattr(getattr(fl, name), "ufunc")}


def test_swish_without_slope(dtype, backend):
    """beta = 0 halves; its own gradient is x^2 / 4."""
    x = np.array([-INF, -3, 0, 5, INF], dtype)
    np.testing.assert_array_equal(fl.swish(x, 0.0), x / 2)
    assert fl.swish.backward_beta([1.0], [-3.0], 0.0) == 2.25


@pytest.mark.parametrize("number", range(len(RAISES)))
def test_raises(number, dtype, backend):
    call, exception, words = RAISES[number]
    given = fresh(dtype)
    with pytest.raises(exception) as caught:
        call(given)
    for word in words:
        assert word in str(caught.value)
    for name, array in vars(fresh(dtype)).items():
        assert np.array_equal(getattr(given, name), array), f"{name} was changed"


def test_allocation_fails(backend):
    """Nothing is read, let alone written, when the result has no room."""
    endless = np.broadcast_to(np.float32(0), (1 << 25, 1 << 20))
    for call in (fl.sigmoid, fl.softmax, fl.sigmoid.grad, lambda x: MSE.grad(x, 0.0)):
        with pytest.raises(MemoryError):
            call(endless)


def test_sums_of_halves_do_not_overflow(backend):
    x = np.full(10_000, 200, np.float16)
    assert MSE(x, 0) == np.float16(40_000)
    assert MSE(x, 0, reduction="sum") == np.inf
    assert MSE.partial(x, 0).loss_sum == 4e8


def test_float32_sums_do_not_drift(backend):
    x = np.full(3_000_000, np.float32(0.1))
    want = float(np.float32(0.1) * np.float32(0.1)) * x.size
    assert abs(MSE(x, 0, reduction="sum") - want) <= np.spacing(np.float32(want))


@pytest.mark.parametrize("scale", [1e30, 3e38])
def test_large_values_average(scale, backend):
    """The mean of values near the top of float32 is a float32; their sum is not."""
    x = np.full((8, 2), [0, -scale], np.float32)
    assert CE(x, np.ones(8, int)) == np.float32(scale)


def test_whole_numbers_with_a_mask(backend):
    """A masked logarithm is -inf, which no integer is."""
    got = fl.log_softmax.backward(np.array([1.0, 2.0, 3.0]), np.array([0, 7, 0]), where=[True, False, True])
    np.testing.assert_allclose(got, [1.0 - 4.0, 0.0, 3.0 - 4.0])


@pytest.mark.parametrize("function", [fl.softmax, fl.log_softmax, fl.softmin, fl.hardmax])
def test_casts_of_tiny_values_raise_nothing(function, backend):
    with np.errstate(all="raise"):
        assert function(np.array([1e-300, 0.0]), dtype=np.float32).dtype == np.float32


MANY = 2**31 + 8


def test_more_elements_than_an_int_holds():
    assert MSE(np.broadcast_to(np.float32(1), (MANY,)), 3.0) == 4


def test_more_columns_than_an_int_holds():
    """One value in memory, so only what the row kernel copies is large."""
    assert fl.logsumexp(np.broadcast_to(np.float32(1), (MANY,))) == np.float32(1 + np.log(MANY))
