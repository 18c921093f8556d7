"""Connectionist temporal classification, one sequence a chunk (Graves et al. 2006, equations 5-8 and 13-16).

Nobody imports this module: see rows.py. Blanks b_0..b_L and labels l_0..l_{L-1} are arrays of their own, every number
is m 2^e (formulas/sequence.py). With y the probabilities of a frame and k_i = 1 where label i differs from label i - 1,

    a'(b_i) = (a(b_i) + a(l_{i-1})) y_blank         a'(l_i) = (a(l_i) + a(b_i) + k_i a(l_{i-1})) y_i

and z runs the same steps backwards; a z is the posterior when z begins with 1 / P at both ends. k is kept as an
exponent, 0 or -inf. What stands in a row beyond its labels has the blank's probability, flows only upwards, and
reaches no end. Of long sequences only the frames of one stretch are kept, and the state before each stretch: on the way
back they are computed again.
"""

from .layout import *
from .primitives import *
from .sums import *

# The text of both dtypes


@leaf
def ctc_exponentials(x, m, e, n):
    restrict()
    for i in range(n & -16):
        m[i], e[i] = _exp_parts_f64(x[i])


@leaf
def ctc_forward(bm, be, lm, le, before_m, before_e, new_bm, new_be, new_lm, new_le, ym, ye, k, blank_m, blank_e, n):
    restrict()
    for i in range(n & -16):
        m, e = _sum_of_2_f64(bm[i], be[i], before_m[i], before_e[i])
        new_bm[i], new_be[i] = m * blank_m, e + blank_e
        m, e = _sum_of_3_f64(lm[i], le[i], bm[i], be[i], before_m[i], before_e[i] + k[i])
        new_lm[i], new_le[i] = m * ym[i], e + ye[i]


@leaf
def ctc_backward(bm, be, lm, le, new_bm, new_be, new_lm, new_le, k, n):
    restrict()
    for i in range(n & -16):
        new_bm[i], new_be[i] = _sum_of_2_f64(bm[i], be[i], lm[i], le[i])
        new_lm[i], new_le[i] = _sum_of_3_f64(
            lm[i], le[i], bm[i + 1], be[i + 1], lm[i + 1], le[i + 1] + k[i + 1]
        )


@leaf
def ctc_join(am, ae, zm, ze, ym, ye, posterior, n):
    """posterior = a z, then z gains the factor y."""
    restrict()
    for i in range(n & -16):
        posterior[i] = am[i] * zm[i] * _pow2_or_0_f64(ae[i] + ze[i])
        zm[i], ze[i] = zm[i] * ym[i], ze[i] + ye[i]


@leaf
def ctc_join_blanks(am, ae, zm, ze, blank_m, blank_e, posterior, n):
    restrict()
    for i in range(n & -16):
        posterior[i] = am[i] * zm[i] * _pow2_or_0_f64(ae[i] + ze[i])
        zm[i], ze[i] = zm[i] * blank_m, ze[i] + blank_e


@leaf
def ctc_normalise(m, e, n):
    restrict()
    for i in range(n & -16):
        m[i], e[i] = _normal_parts_f64(m[i], e[i])


@inline
def row(rows, k, width):
    """Row k of those that begin at that address, behind its first vector."""
    return pointer(rows + 8 * (k * width + 16), float64)


@leaf
def ctc_clear(rows, k, width):
    """Zeros 0 2^-inf in row k, their m, and row k + 1, their e."""
    m, e = pointer(rows + 8 * k * width, float64), pointer(rows + 8 * (k + 1) * width, float64)
    for i in range(width):
        m[i], e[i] = 0.0, -inf


@leaf
def ctc_copy(source, to, n):
    """The n numbers of a state; nothing where it stands already."""
    if source != to:
        for i in range(n):
            pointer(to, float64)[i] = pointer(source, float64)[i]


@leaf
def ctc_labels(label, n_labels, n, blank, index, first, k):
    """The classes of a row, the first place of each, and whether a label may follow the one before without a blank."""
    for i in range(n):
        index[i] = label[i] if i < n_labels else blank
        k[i] = 0.0 if 0 < i < n_labels and label[i] != label[i - 1] else -inf
    k[n] = -inf
    for i in range(n_labels):
        first[i] = i
        for j in range(i):
            if index[j] == index[i]:
                first[i] = j
                break


# The text of one dtype


@leaf
def softmax_block_T(x, n, high, low, scale):
    restrict()
    for i in range(pad(n)):
        x[i] = _softmax_part_T(x[i], high, low) * scale


@leaf
def softmax_frame_T(x, out, n, lse, scale, block):
    """out = scale exp(x - lse), where out may be x"""
    high = T(lse)
    low = T(lse - f64(high))
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        copy_T(offset(x, start), block, m)
        softmax_block_T(block, m, high, low, T(scale))
        copy_T(block, offset(out, start), m)


@summing
def sum_of_exp_T(x, n, top):
    restrict()
    total = 0.0
    for i in range(pad(n)):
        total += f64(exp_T(x[i] - top))
    return total


@leaf
def frame_logsumexp_T(x, n, block):
    top, total = T(-inf), 0.0
    for i in range(n):
        top = maximum(top, x[i])
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        copy_T(offset(x, start), block, m)
        for l in range(m, pad(m)):
            block[l] = T(-inf)
        total += sum_of_exp_T(block, m, top)
    return f64(top) + log_f64(total)


@leaf
def fill_frames_T(grad, s, begin, end, n_classes, value):
    for t in range(begin, end):
        out = offset(pointer(grad[0], T), t * grad[1] + s * grad[2])
        for c in range(n_classes):
            out[c] = value


@leaf
def gather_labels_T(x, index, lse, out, n):
    for i in range(n):
        out[i] = f64(x[index[i]]) - lse


@leaf
def label_gradients_T(out, scale, ym, ye, posterior, index, first, n_labels):
    """scale (p - posterior) of the labels and the blank, in float64."""
    for i in range(n_labels):
        if first[i] != i:
            posterior[first[i]] += posterior[i]
    for i in range(n_labels + 1):
        if i == n_labels or first[i] == i:
            out[index[i]] = T(scale * (ym[i] * _pow2_or_0_f64(ye[i]) - posterior[i]))


@leaf
def ctc_stretch_T(scratch, a, lse, x, index, gathered, k, begin, end, again, logits, n_label, n_classes):
    """a and y of the frames begin..end behind the state a, where x is the first frame; returns the last state."""
    w = ctc_width(n_label)
    n = w - 32
    for t in range(begin, end):
        here, lse_t = offset(pointer(x[0], T), t * x[1]), 0.0
        if logits:
            if not again:
                lse[t] = frame_logsumexp_T(here, n_classes, pointer(scratch, T))
            lse_t = lse[t]
        gather_labels_T(here, index, lse_t, gathered, n)
        new = a + 8 * CTC_FRAME * w
        ym, ye = row(new, 4, w), row(new, 5, w)
        ctc_exponentials(gathered, ym, ye, n)
        new_lm, new_le = row(new, 2, w), row(new, 3, w)
        new_lm[-1], new_le[-1] = 0.0, -inf
        lm, le = row(a, 2, w), row(a, 3, w)
        ctc_forward(
            row(a, 0, w), row(a, 1, w), lm, le, offset(lm, -1), offset(le, -1),
            row(new, 0, w), row(new, 1, w), new_lm, new_le, ym, ye, k, ym[n_label], ye[n_label], n,
        )  # fmt: skip
        a = new
        if t % CTC_KEPT == CTC_KEPT - 1:
            ctc_normalise(row(a, 0, w), row(a, 1, w), n)
            ctc_normalise(row(a, 2, w), row(a, 3, w), n)
    return a


@entry
def ctc_T(
    first_sequence, last_sequence, scratch, x, labels, offsets, n_frames, n_labels, used, blank, logits, zero_infinity,
    scales, values, grad, frames, n_classes,
):  # fmt: skip
    flags = hold_flags()
    for chunk in range(first_sequence, last_sequence):
        s, derive = pointer(used, i64)[chunk], grad[0] != 0
        sequence_frames, n_label = pointer(n_frames, i64)[s], pointer(n_labels, i64)[s]
        label = offset(pointer(labels, i64), pointer(offsets, i64)[s])
        x_frame = x[0] + SIZE_T * s * x[2], x[1]
        w, (stretch, before, words) = ctc_width(n_label), ctc_layout(sequence_frames, n_label, derive)
        n, frame, state = w - 32, 8 * CTC_FRAME * w, 8 * CTC_STATE * w
        rows = scratch + 8 * BLOCK
        gathered, k, posterior = row(rows, 0, w), row(rows, 1, w), row(rows, 2, w)
        index, first = pointer(rows + 24 * w, i64), pointer(rows + 32 * w, i64)
        z, next_z, states, begun = rows + 40 * w, rows + 72 * w, rows + 8 * CTC_ROWS * w, rows + 8 * before * w
        lse = pointer(rows + 8 * (words - sequence_frames), f64)
        ctc_labels(label, n_label, n, blank, index, first, k)
        ctc_clear(begun, 0, w)
        ctc_clear(begun, 2, w)
        row(begun, 0, w)[0], row(begun, 1, w)[0] = 1.0, 0.0
        a = begun
        for begin in range(0, sequence_frames, stretch):
            ctc_copy(a, begun, CTC_STATE * w)
            if derive:
                ctc_copy(begun, states + begin // stretch * state, CTC_STATE * w)
            a = ctc_stretch_T(
                scratch, begun, lse, x_frame, index, gathered, k, begin, min(begin + stretch, sequence_frames), False, logits, n_label, n_classes
            )
        bm, be, lm, le = row(a, 0, w), row(a, 1, w), row(a, 2, w), row(a, 3, w)
        m, e = _sum_of_2_f64(bm[n_label], be[n_label], lm[n_label - 1], le[n_label - 1])
        m, e = _normal_parts_f64(m, e)
        loss = -_log_parts_f64(m, e)
        forgiven = zero_infinity != 0 and loss == inf
        pointer(values, f64)[s] = 0.0 if forgiven else loss
        if not derive:
            continue
        fill_frames_T(grad, s, sequence_frames, frames, n_classes, T(0))
        if not loss < inf:
            fill_frames_T(grad, s, 0, sequence_frames, n_classes, T(0) if forgiven else T(nan))
            continue

        for i in range(0, 8, 2):
            ctc_clear(z, i, w)
        row(z, 0, w)[n_label], row(z, 1, w)[n_label] = 1 / m, -e
        if n_label > 0:
            row(z, 2, w)[n_label - 1], row(z, 3, w)[n_label - 1] = 1 / m, -e
        scale = pointer(scales, f64)[s]
        for t in range(sequence_frames - 1, -1, -1):
            begin = t // stretch * stretch
            if t == begin + stretch - 1 and t < sequence_frames - 1:
                ctc_copy(states + begin // stretch * state, begun, CTC_STATE * w)
                ctc_stretch_T(scratch, begun, lse, x_frame, index, gathered, k, begin, t + 1, True, logits, n_label, n_classes)
            a = begun + (t - begin + 1) * frame
            ym, ye = row(a, 4, w), row(a, 5, w)
            zbm, zbe, zlm, zle = row(z, 0, w), row(z, 1, w), row(z, 2, w), row(z, 3, w)
            ctc_join_blanks(row(a, 0, w), row(a, 1, w), zbm, zbe, ym[n_label], ye[n_label], gathered, n)
            ctc_join(row(a, 2, w), row(a, 3, w), zlm, zle, ym, ye, posterior, n)
            posterior[n_label] = sum_values(gathered, n)
            out = offset(pointer(grad[0], T), t * grad[1] + s * grad[2])
            lse_t = lse[t] if logits else 0.0
            softmax_frame_T(offset(pointer(x_frame[0], T), t * x_frame[1]), out, n_classes, lse_t, scale, pointer(scratch, T))
            label_gradients_T(out, scale, ym, ye, posterior, index, first, n_label)
            nbm, nbe, nlm, nle = row(next_z, 0, w), row(next_z, 1, w), row(next_z, 2, w), row(next_z, 3, w)
            ctc_backward(zbm, zbe, zlm, zle, nbm, nbe, nlm, nle, k, n)
            if t % CTC_KEPT == 0:
                ctc_normalise(nbm, nbe, n)
                ctc_normalise(nlm, nle, n)
            z, next_z = next_z, z
    release_flags(flags)
