"""Where the row kernels keep what in their scratch: arrays over the rows of a tile, then up to three tiles."""

LANES = 128  # rows of a tile, at most
SHORT = 64  # rows of fewer classes stand across their tile
PIECE = 1024  # elements of a long row whose exponentials are summed while they are in the first-level cache
BLOCK_f32, BLOCK_f64 = PIECE, 16  # elements in one plain sum: it rounds as often as it adds

(
    ROW, BASE, AT,
    TOTAL, ERROR, COUNT, SPARE, SUM, SUM_LOW, LOG, LOG_LOW,
    KEEP, OWN, GAP, SPREAD, STRETCH, SHARE, FACTOR, LOSS, PULL,
    TOP, A, A_LOW, B, C, D,
    TILES,
) = range(27)  # fmt: skip
