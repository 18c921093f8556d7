"""Sizes that kernels and callers share, and what their scratch memory holds."""

from numba.extending import register_jitable

CHUNK = 65536  # elements of a task and of one partial sum
BLOCK = 1024  # elements that stay in the first-level cache between two loops over them
BLOCK_f32, BLOCK_f64 = BLOCK, 16  # elements in one plain sum: float64 keeps few roundings between compensations
SIZE_f32, SIZE_f64 = 4, 8
LINE = 64  # bytes of a cache line
STREAM = 1 << 21  # bytes, of a second-level cache: longer outputs of light formulas go past the caches

# Element kernels: the addresses of a kernel's arrays, those of their tails, the tails, then blocks; words of 8 bytes.
N_POINTERS = 8
TAILS = 2 * N_POINTERS
BLOCKS = TAILS + 16 * N_POINTERS
SCRATCH_BYTES = 8 * (BLOCKS + 4 * BLOCK)
UFUNC_SCRATCH_BYTES = 8 * (BLOCKS + N_POINTERS * BLOCK)
N_OUTPUTS = 5  # of a loss, at most; its scratch has a block for each, for each of 3 inputs, for weight and upstream
LOSS_SCRATCH_BYTES = 8 * (BLOCKS + (N_OUTPUTS + 5) * BLOCK)
SMALL_BYTES = 64  # of the addresses of a small loss

# Rows: arrays over the rows of a tile, LANES long, then up to four tiles.
SHORT = 64  # rows of fewer classes stand across their tile
FAR_f32, FAR_f64 = 512.0, 1536.0  # maxima beyond it are subtracted: exactly, for what lies within reach of them
UP = 2.0**64  # of exp_unit
LANES = 128  # rows of a tile, at most
TILE = 4096  # elements of a tile: it stays in the first-level cache

(
    ROW, BASE, AT, AHEAD,
    TOTAL, ERROR, COUNT, SPARE, UNIT, REST, SUM, SUM_LOW, LOG,
    KEEP, OWN, GAP, SPREAD, STRETCH, SHARE, FACTOR, LOSS, PULL,
    TOP, FIRST, MAGIC, LOW, A, A_LOW, MOST, B, C, D, BEND, CREST,
) = range(34)  # fmt: skip
TILES = CREST + 1

# CTC: rows over the labels of a sequence, of float64 or int64.
CTC_STATE = 4  # rows of a state: a of blanks, a of labels, each m and e
CTC_FRAME = 6  # rows kept of a frame: its state and y, m and e
CTC_ROWS = 13  # of the sequence
CTC_KEPT = 16  # frames between two normalisations: m stays within 2^40
CTC_STRETCH = 1 << 22  # bytes of the frames that are kept; of longer sequences, the state before each such stretch


@register_jitable
def holds_up(stored, loaded):
    """Whether what is stored lies 1 to 511 bytes above what is loaded, modulo 2^20: processors make such loads wait for the stores."""
    return (stored - loaded - 1) & 0xFFFFF < 511


@register_jitable
def ctc_width(n_labels):
    """Length of a row: the labels and a blank in whole vectors, a vector before and one after them."""
    return (n_labels + 16) // 16 * 16 + 32


@register_jitable
def ctc_layout(n_frames, n_labels, derive):
    """Of a sequence: frames that are kept at a time, rows before them, words of its scratch memory behind BLOCK."""
    width = ctc_width(n_labels)
    stretch = max(min(n_frames, CTC_STRETCH // (8 * CTC_FRAME * width)), int(n_frames**0.5) + 1) if derive else CTC_KEPT
    before = CTC_ROWS + (CTC_STATE * -(-n_frames // stretch) if derive else 0)
    return stretch, before, width * (before + CTC_FRAME * (stretch + 1)) + n_frames


@register_jitable
def ctc_scratch(n_frames, n_labels, derive):
    """Bytes for the longest of sequences."""
    most = 0
    for k in range(len(n_frames)):
        most = max(most, ctc_layout(n_frames[k], n_labels[k], derive)[2])
    return 8 * (BLOCK + most)


# Whole rows: arrays over the rows of a tile, then the tiles of three inputs, their gradients and Hessians, all in float64.
LINE_SHORT = 32  # rows of so few classes stand side by side
LINE_WIDTH = 64  # so many of them
LINE_TILE = LINE_SHORT * LINE_WIDTH  # numbers of a tile
MULTI_MARGIN, CRAMMER_SINGER, COSINE, NORM, NORM_P, ENTROPY, ENTROPY_OF_LOGITS, BRIER = range(8)
NO_CLASS, REMOVED = range(2)  # what becomes of the score of the target: there is none, it is taken out
(LINE_Y, LINE_USED, LINE_OWN, LINE_W, LINE_U, LINE_UP, LINE_AT, LINE_LOSS, LINE_TOP) = range(9)
LINE_SUM = LINE_TOP + 3
LINE_OWN_GRAD = LINE_SUM + 4
LINE_OWN_HESS = LINE_OWN_GRAD + 1
LINE_F = LINE_OWN_HESS + 1
LINE_TILES = LINE_F + 12
LINE_SCRATCH = 8 * (LANES * LINE_TILES + 9 * LINE_TILE)


@register_jitable
def line_chunk(n_rows, n_classes):
    """How many rows make a chunk."""
    chunk = 1
    while 2 * chunk * n_classes <= CHUNK // 4 and chunk < n_rows:
        chunk *= 2
    return chunk


@register_jitable
def row_layout(n_classes, itemsize):
    """Of rows of so many classes: rows of a tile, its width, the scratch for four tiles, rows of a chunk."""
    if n_classes < SHORT:
        group = width = min(LANES, max(16, TILE // max(n_classes, 1) // 16 * 16))
        tile = width * n_classes
    else:
        width, group = -(-n_classes // 16) * 16, 1
        while group < 64 and 2 * group * width <= TILE:
            group *= 2
        tile = width * group
    rows = max(1, CHUNK // max(n_classes, 1))
    return group, width, 8 * LANES * TILES + 4 * tile * itemsize, -(-rows // group) * group
