"""Optimizers: threaded steps over plain NumPy arrays, in place.

A class takes one array, a list, a tuple or a dict of arrays and keeps the states; a ``*_step``
function is the same rule for one array, with the states in the caller's hands.
"""

from ._adam import (
    NAdam,
    Adam,
    Adamax,
    AdamW,
    RAdam,
    SparseAdam,
    adam_step,
    adamax_step,
    adamw_step,
    nadam_step,
    radam_step,
)
from ._adaptive import Adadelta, Adagrad, RMSprop, adadelta_step, adagrad_step, rmsprop_step
from ._clip import clip_grad_norm
from ._descent import ASGD, SGD, Lion, Rprop, asgd_step, lion_step, rprop_step, sgd_step
from ._lbfgs import LBFGS
from ._matrix import Adafactor, Muon

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "adamw_step",
    "asgd_step",
    "clip_grad_norm",
    "lion_step",
    "nadam_step",
    "radam_step",
    "rmsprop_step",
    "rprop_step",
    "sgd_step",
]
