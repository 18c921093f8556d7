# Connectionist temporal classification (Graves et al. 2006, equations 5-8 and 13-16), one sequence a task.
#
# Blanks b_0..b_L and labels l_0..l_{L-1} are arrays of their own, so that a step is one loop over i. Every number is m 2^e
# (formulas/sequence.py): a path 1e-5000 times as probable as another still counts when it alone reaches the end.
# With y the probabilities of a frame and k_i = 1 where label i differs from label i - 1:
#
#     a'(b_i) = (a(b_i) + a(l_{i-1})) y_blank             a'(l_i) = (a(l_i) + a(b_i) + k_i a(l_{i-1})) y_i
#     z(b_i) = z'(b_i) y'_blank + z'(l_i) y'_i            z(l_i) = z'(l_i) y'_i + z'(b_{i+1}) y'_blank + k_{i+1} z'(l_{i+1}) y'_{i+1}
#
# a z is the posterior when z begins with 1 / P at both ends. Rows of scratch memory are padded to whole vectors; what stands
# beyond l_{L-1} has the blank's probability, flows only upwards, and reaches no end.
#
# Of long sequences only the frames of one stretch are kept, and the state before each stretch: on the way back they are
# computed again.

cdef extern from "primitives.h" nogil:
    void prefetch(const void*)

cdef enum:
    AHEAD = 4             # frames lie far apart in memory: they are asked for that many steps before
    FRAME = 6             # rows kept of a frame: a(b), a(l), y, each m and e
    STATE = 4             # of them a(b), a(l)
    KEPT = 16             # frames between two normalisations: m stays within 2^40
    STRETCH = 1 << 22     # bytes of the frames that are kept: those of 30 labels 1300 times, more of very long sequences

cdef struct Sequence:
    Py_ssize_t s, frames, n_labels
    Py_ssize_t w, n       # length of a row, and of what stands in it
    Py_ssize_t stretch    # frames that are kept at a time
    const int64_t* label
    int64_t* index        # classes: the labels, then blanks
    int64_t* first        # the first place of the same label
    f64* k
    f64* gathered
    f64* posterior
    f64* z
    f64* next_z
    f64* lse
    f64* states           # before each stretch
    f64* a                # the state before a stretch, then its frames


cdef inline real softmax_part(real x, real high, real low) noexcept nogil:
    if real is float:
        return _softmax_part_f32(x, high, low)
    else:
        return _softmax_part_f64(x, high, low)


cdef inline real exp_real(real x) noexcept nogil:
    if real is float:
        return exp_f32(x)
    else:
        return exp_f64(x)


# ---- steps over the labels ----------------------------------------------------------------------------------------

cdef void exponentials(f64_array x, f64_array m, f64_array e, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef (f64, f64) r
    for i in range(n & -16):
        r = _exp_parts_f64(x[i])
        m[i], e[i] = r[0], r[1]


cdef void step_forward(f64_array bm, f64_array be, f64_array lm, f64_array le, f64_array new_bm, f64_array new_be, f64_array new_lm,
                       f64_array new_le, f64_array ym, f64_array ye, f64_array k, f64 blank_m, f64 blank_e, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef (f64, f64) r
    for i in range(n & -16):
        r = _sum_of_2_f64(bm[i], be[i], lm[i - 1], le[i - 1])
        new_bm[i], new_be[i] = r[0] * blank_m, r[1] + blank_e
        r = _sum_of_3_f64(lm[i], le[i], bm[i], be[i], lm[i - 1], le[i - 1] + k[i])
        new_lm[i], new_le[i] = r[0] * ym[i], r[1] + ye[i]


cdef void step_backward(f64_array bm, f64_array be, f64_array lm, f64_array le, f64_array new_bm, f64_array new_be, f64_array new_lm,
                        f64_array new_le, f64_array k, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef (f64, f64) r
    for i in range(n & -16):
        r = _sum_of_2_f64(bm[i], be[i], lm[i], le[i])
        new_bm[i], new_be[i] = r[0], r[1]
        r = _sum_of_3_f64(lm[i], le[i], bm[i + 1], be[i + 1], lm[i + 1], le[i + 1] + k[i + 1])
        new_lm[i], new_le[i] = r[0], r[1]


cdef void join(f64_array am, f64_array ae, f64_array zm, f64_array ze, f64_array ym, f64_array ye, f64_array posterior, Py_ssize_t n) noexcept nogil:
    """posterior = a z, then z gains the factor y."""
    cdef Py_ssize_t i
    for i in range(n & -16):
        posterior[i] = am[i] * zm[i] * _pow2_or_0_f64(ae[i] + ze[i])
        zm[i], ze[i] = zm[i] * ym[i], ze[i] + ye[i]


cdef void join_blanks(f64_array am, f64_array ae, f64_array zm, f64_array ze, f64 blank_m, f64 blank_e, f64_array posterior, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n & -16):
        posterior[i] = am[i] * zm[i] * _pow2_or_0_f64(ae[i] + ze[i])
        zm[i], ze[i] = zm[i] * blank_m, ze[i] + blank_e


cdef void normalise(f64_array m, f64_array e, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef (f64, f64) r
    for i in range(n & -16):
        r = _normal_parts_f64(m[i], e[i])
        m[i], e[i] = r[0], r[1]


# ---- all classes of a frame ---------------------------------------------------------------------------------------

cdef inline void softmax_vectors(const real* x, real* out, Py_ssize_t n, real high, real low, real scale) noexcept nogil:
    cdef Py_ssize_t i, l
    cdef real y[LANES]
    for i from 0 <= i < n by LANES:
        for l in range(LANES):
            y[l] = softmax_part[real](x[i + l], high, low) * scale
        for l in range(LANES):
            out[i + l] = y[l]


cdef inline void softmax_frame(const real* x, real* out, Py_ssize_t n, double lse, double scale) noexcept nogil:
    """out = scale exp(x - lse), where out may be x"""
    cdef Py_ssize_t whole = n - n % LANES, l
    cdef real high = <real> lse, low = <real> (lse - <double> <real> lse)
    cdef real tail[LANES]
    softmax_vectors[real](x, out, whole, high, low, <real> scale)
    if whole < n:
        for l in range(LANES):
            tail[l] = x[whole + l] if l < n - whole else <real> 0
        softmax_vectors[real](tail, tail, LANES, high, low, <real> scale)
        for l in range(n - whole):
            out[whole + l] = tail[l]


cdef inline void sum_of_exp(const real* x, Py_ssize_t n, real top, double* total) noexcept nogil:
    cdef Py_ssize_t i, l
    cdef real y[LANES]
    for i from 0 <= i < n by LANES:
        for l in range(LANES):
            y[l] = exp_real[real](x[i + l] - top)
        for l in range(LANES):
            total[l] += y[l]


cdef inline double frame_logsumexp(const real* x, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t whole = n - n % LANES, i, l
    cdef real top[LANES]
    cdef real tail[LANES]
    cdef double total[LANES]
    for l in range(LANES):
        tail[l] = x[whole + l] if l < n - whole else <real> -INFINITY
        top[l], total[l] = tail[l], 0
    for i from 0 <= i < whole by LANES:
        for l in range(LANES):
            top[l] = x[i + l] if x[i + l] > top[l] else top[l]
    for l in range(1, LANES):
        top[0] = top[l] if top[l] > top[0] else top[0]
    sum_of_exp[real](x, whole, top[0], total)
    sum_of_exp[real](tail, LANES, top[0], total)
    return <double> top[0] + log_f64(sum_lanes(total))


cdef void ctc_frames(const Ctc* job, Py_ssize_t begin, Py_ssize_t end, const real* x) noexcept nogil:
    """scale * softmax of all sequences, frame by frame: 0 after their ends"""
    cdef Py_ssize_t t, i, s
    cdef const real* row
    cdef real* out
    cdef double lse = 0
    for t in range(begin, end):
        for i in range(job.n_used):
            s = job.used[i]
            row, out = x + t * job.x.outer + s * job.x.inner, <real*> job.out.data + t * job.out.outer + s * job.out.inner
            if t >= job.n_frames[s]:
                memset(out, 0, job.n_classes * sizeof(real))
                continue
            if job.logits:
                lse = job.lse[t * job.n_sequences + s] = frame_logsumexp[real](row, job.n_classes)
            softmax_frame[real](row, out, job.n_classes, lse, job.scale[s])


# ---- a sequence ---------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t ctc_width(Py_ssize_t n_labels) noexcept nogil:
    """Length of a row: the labels and a blank in whole vectors, a vector before and one after them."""
    return (n_labels + LANES) // LANES * LANES + 2 * LANES


cdef inline Py_ssize_t ctc_stretch(const Ctc* job, Py_ssize_t s) noexcept nogil:
    cdef Py_ssize_t frames = job.n_frames[s], least = <Py_ssize_t> sqrt_f64(<f64> frames) + 1
    if not job.want_grad:
        return KEPT
    return max(min(frames, STRETCH // (8 * FRAME * ctc_width(job.n_labels[s]))), least)


cdef inline Py_ssize_t ctc_states(const Ctc* job, Py_ssize_t s) noexcept nogil:
    """States that are kept of sequence s."""
    cdef Py_ssize_t stretch = ctc_stretch(job, s)
    return (job.n_frames[s] + stretch - 1) // stretch if job.want_grad else 0


cdef Py_ssize_t ctc_scratch(const Ctc* job, Py_ssize_t s) noexcept nogil:
    """Bytes of scratch memory for sequence s."""
    cdef Py_ssize_t rows = 13 + FRAME * (ctc_stretch(job, s) + 1) + STATE * ctc_states(job, s)
    return 8 * (ctc_width(job.n_labels[s]) * rows + job.n_frames[s])


cdef inline Sequence lay_out(const Ctc* job, Py_ssize_t s, f64* scratch) noexcept nogil:
    """Where the rows of a sequence lie: each begins with a spare vector."""
    cdef Sequence q
    q.s, q.frames, q.n_labels, q.label = s, job.n_frames[s], job.n_labels[s], job.labels + job.offsets[s]
    q.w, q.stretch = ctc_width(q.n_labels), ctc_stretch(job, s)
    q.n = q.w - 2 * LANES
    q.gathered = scratch + LANES
    q.k = q.gathered + q.w
    q.posterior = q.k + q.w
    q.index = <int64_t*> (q.posterior + q.w)
    q.first = q.index + q.w
    q.z = <f64*> (q.first + q.w)
    q.next_z = q.z + STATE * q.w
    q.states = q.next_z + STATE * q.w
    q.a = q.states + STATE * q.w * ctc_states(job, s)
    q.lse = q.a + FRAME * q.w * (q.stretch + 1) - LANES
    return q


cdef void read_labels(const Ctc* job, const Sequence* q) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(q.n):
        q.index[i] = q.label[i] if i < q.n_labels else job.blank
        q.k[i] = 0 if 0 < i < q.n_labels and q.label[i] != q.label[i - 1] else -INFINITY
    q.k[q.n] = -INFINITY


cdef void find_first_places(const Sequence* q) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(q.n_labels):
        q.first[i] = i
        for j in range(i):
            if q.index[j] == q.index[i]:
                q.first[i] = j
                break


cdef inline void copy_state(const Sequence* q, f64* to, const f64* source) noexcept nogil:
    memcpy(to - LANES, source - LANES, STATE * q.w * sizeof(f64))


cdef inline void clear(f64* row, Py_ssize_t width) noexcept nogil:
    """Zeros 0 2^-inf in a row m and in the row e that follows."""
    cdef Py_ssize_t i
    for i in range(-LANES, width - LANES):
        row[i], row[width + i] = 0, -INFINITY


cdef void fill_frames(const Ctc* job, Py_ssize_t s, Py_ssize_t begin, Py_ssize_t end, real value) noexcept nogil:
    cdef Py_ssize_t t, c
    cdef real* out
    for t in range(begin, end):
        out = <real*> job.out.data + t * job.out.outer + s * job.out.inner
        for c in range(job.n_classes):
            out[c] = value


cdef inline void frame_gradient(const Ctc* job, const real* row, Py_ssize_t t, Py_ssize_t s, double lse, const f64* y, Py_ssize_t w, f64* posterior,
                                const int64_t* index, const int64_t* first, Py_ssize_t n_labels) noexcept nogil:
    """scale (p - posterior): all classes from x, those of the labels and the blank in float64."""
    cdef real* out = <real*> job.out.data + t * job.out.outer + s * job.out.inner
    cdef Py_ssize_t i, before = AHEAD if t >= AHEAD else 0
    if job.prepared:
        for i in range(n_labels + 1):
            prefetch(out - before * job.out.outer + index[i])
    else:
        for i from 0 <= i < job.n_classes by 64 // sizeof(real):
            prefetch(row - before * job.x.outer + i)
            prefetch(out - before * job.out.outer + i)
        softmax_frame[real](row, out, job.n_classes, lse, job.scale[s])
    for i in range(n_labels):
        if first[i] != i:
            posterior[first[i]] += posterior[i]
    for i in range(n_labels + 1):
        if i == n_labels or first[i] == i:
            out[index[i]] = <real> (job.scale[s] * (y[i] * _pow2_or_0_f64(y[w + i]) - posterior[i]))


cdef void run_forward(const Ctc* job, const Sequence* q, Py_ssize_t begin, Py_ssize_t end, bint again, const real* x) noexcept nogil:
    """a and y of the frames begin..end, from the state at q.a."""
    cdef Py_ssize_t w = q.w, t, i
    cdef f64* a = q.a
    cdef f64* y
    cdef f64* new
    cdef const real* row
    cdef const real* ahead
    cdef double lse = 0
    for t in range(begin, end):
        row = x + t * job.x.outer + q.s * job.x.inner
        ahead = row + (AHEAD * job.x.outer if t + AHEAD < q.frames else 0)
        for i in range(q.n_labels + 1):
            prefetch(ahead + q.index[i])
        if job.logits and not again:
            q.lse[t] = job.lse[t * job.n_sequences + q.s] if job.prepared else frame_logsumexp[real](row, job.n_classes)
        if job.logits:
            lse = q.lse[t]
        for i in range(q.n):
            q.gathered[i] = row[q.index[i]] - lse
        new = a + FRAME * w
        y = new + STATE * w
        exponentials(q.gathered, y, y + w, q.n)
        new[2 * w - 1], new[3 * w - 1] = 0, -INFINITY
        step_forward(a, a + w, a + 2 * w, a + 3 * w, new, new + w, new + 2 * w, new + 3 * w, y, y + w, q.k, y[q.n_labels], y[w + q.n_labels], q.n)
        a = new
        if t % KEPT == KEPT - 1:
            normalise(a, a + w, q.n)
            normalise(a + 2 * w, a + 3 * w, q.n)


cdef (f64, f64) forward_sum(const Ctc* job, const Sequence* q, const real* x) noexcept nogil:
    """The probability of all paths, from the first frame to the last."""
    cdef Py_ssize_t begin, end = 0, w = q.w
    cdef f64* a = q.a
    clear(a, w)
    clear(a + 2 * w, w)
    a[0], a[w] = 1, 0
    for begin from 0 <= begin < q.frames by q.stretch:
        if begin:
            copy_state(q, q.a, a)
        if job.want_grad:
            copy_state(q, q.states + begin // q.stretch * STATE * w, q.a)
        end = min(begin + q.stretch, q.frames)
        run_forward[real](job, q, begin, end, False, x)
        a = q.a + FRAME * w * (end - begin)
    p = _sum_of_2_f64(a[q.n_labels], a[w + q.n_labels], a[2 * w + q.n_labels - 1], a[3 * w + q.n_labels - 1])
    return _normal_parts_f64(p[0], p[1])


cdef void run_backward(const Ctc* job, Sequence* q, Py_ssize_t begin, Py_ssize_t end, const real* x) noexcept nogil:
    """The gradient of the frames begin..end, whose rows are there, from z behind them to z before."""
    cdef Py_ssize_t w = q.w, n = q.n, t
    cdef f64* a
    cdef f64* y
    cdef f64* z
    cdef f64* new
    for t in range(end - 1, begin - 1, -1):
        a, z, new = q.a + FRAME * w * (t - begin + 1), q.z, q.next_z
        y = a + STATE * w
        join_blanks(a, a + w, z, z + w, y[q.n_labels], y[w + q.n_labels], q.gathered, n)
        join(a + 2 * w, a + 3 * w, z + 2 * w, z + 3 * w, y, y + w, q.posterior, n)
        q.posterior[q.n_labels] = sum_of[double](q.gathered, n)
        frame_gradient[real](job, x + t * job.x.outer + q.s * job.x.inner, t, q.s, q.lse[t] if job.logits else 0.0, y, w, q.posterior, q.index, q.first,
                             q.n_labels)
        step_backward(z, z + w, z + 2 * w, z + 3 * w, new, new + w, new + 2 * w, new + 3 * w, q.k, n)
        if t % KEPT == 0:
            normalise(new, new + w, n)
            normalise(new + 2 * w, new + 3 * w, n)
        q.z, q.next_z = new, z


cdef void ctc_sequence(const Ctc* job, Py_ssize_t s, f64* scratch, const real* x) noexcept nogil:
    """The loss of sequence s, and the gradient of scale[s] times it; x are all log-probabilities."""
    cdef Sequence q = lay_out(job, s, scratch)
    cdef Py_ssize_t w = q.w, end = q.frames, begin, i
    cdef double loss
    cdef (f64, f64) p
    read_labels(job, &q)
    p = forward_sum[real](job, &q, x)
    loss = -_log_parts_f64(p[0], p[1])
    job.value[s] = 0 if loss == INFINITY and job.zero_infinity else loss
    if not job.want_grad:
        return
    if not job.prepared:
        fill_frames[real](job, s, q.frames, job.frames, 0)
    if not (loss < INFINITY):
        fill_frames[real](job, s, 0, q.frames, <real> 0 if loss == INFINITY and job.zero_infinity else <real> NAN)
        return
    find_first_places(&q)
    for i in range(0, 8, 2):
        clear(q.z + i * w, w)
    q.z[q.n_labels], q.z[w + q.n_labels] = 1 / p[0], -p[1]
    if q.n_labels:
        q.z[2 * w + q.n_labels - 1], q.z[3 * w + q.n_labels - 1] = 1 / p[0], -p[1]
    while end > 0:
        begin = (end - 1) // q.stretch * q.stretch
        if end < q.frames:
            copy_state(&q, q.a, q.states + begin // q.stretch * STATE * w)
            run_forward[real](job, &q, begin, end, True, x)
        run_backward[real](job, &q, begin, end, x)
        end = begin


cdef void fill_ctc(Table* t) noexcept:
    t.ctc[0], t.ctc[1] = <ctc_t> ctc_sequence[float], <ctc_t> ctc_sequence[double]
    t.ctc_frames[0], t.ctc_frames[1] = <ctc_frames_t> ctc_frames[float], <ctc_frames_t> ctc_frames[double]
    t.ctc_scratch = ctc_scratch
