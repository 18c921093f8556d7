"""What the optimizer steps of both backends work on."""

import numpy as np

PIECE = 32768  # elements that one kernel call updates
TASK = 8192  # elements worth a thread's attention: small tensors go together


class Tensors:
    """Parameters and their states, of one dtype: what stays the same from step to step.

    arrays: tuples (param, *states), contiguous, native, of one length each, none empty. addresses has a
    row for each; pieces has rows (tensor, start, length); task i is pieces tasks[i] to tasks[i + 1].
    """

    __slots__ = "addresses", "arrays", "elements", "itemsize", "pieces", "tasks"

    def __init__(self, arrays):
        self.arrays = arrays
        self.itemsize = arrays[0][0].itemsize
        self.addresses = np.array([[a.ctypes.data for a in row] for row in arrays], np.int64)
        lengths = [row[0].size for row in arrays]
        self.elements = sum(lengths)
        starts = [(i, at) for i, length in enumerate(lengths) for at in range(0, length, PIECE)]
        pieces = [(i, at, min(PIECE, lengths[i] - at)) for i, at in starts]
        self.pieces = np.array(pieces, np.int64)
        ends = np.cumsum(self.pieces[:, 2]) // TASK
        self.tasks = np.append(0, 1 + np.flatnonzero(np.append(np.diff(ends) > 0, True)))
