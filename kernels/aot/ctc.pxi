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

cdef extern from "primitives.h" nogil:
    void prefetch(const void*)

cdef enum:
    AHEAD = 4             # frames lie far apart in memory: they are asked for that many steps before
    FRAME = 6             # rows kept of a frame: a(b), a(l), y, each m and e
    KEPT = 16             # frames between two normalisations: m stays within 2^40


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


cdef Py_ssize_t ctc_scratch(const Ctc* job, Py_ssize_t s) noexcept nogil:
    """Bytes of scratch memory for sequence s."""
    cdef Py_ssize_t frames = job.n_frames[s] if job.want_grad else 1
    return 8 * (ctc_width(job.n_labels[s]) * (FRAME * (frames + 1) + 13) + job.n_frames[s])


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


cdef void ctc_sequence(const Ctc* job, Py_ssize_t s, f64* scratch, const real* x) noexcept nogil:
    """The loss of sequence s, and the gradient of scale[s] times it; x are all log-probabilities."""
    cdef Py_ssize_t frames = job.n_frames[s], n_labels = job.n_labels[s], w = ctc_width(n_labels), n = w - 2 * LANES, t, i, j
    cdef const int64_t* label = job.labels + job.offsets[s]
    cdef f64* gathered = scratch + LANES
    cdef f64* k = gathered + w
    cdef f64* posterior = k + w
    cdef int64_t* index = <int64_t*> (posterior + w)
    cdef int64_t* first = index + w                      # the first place of the same label
    cdef f64* z = <f64*> (first + w)
    cdef f64* next_z = z + 4 * w
    cdef f64* a = next_z + 4 * w
    cdef f64* lse = a + FRAME * w * ((frames if job.want_grad else 1) + 1) - LANES
    cdef f64* next_a
    cdef f64* y
    cdef f64* spare
    cdef const real* row
    cdef const real* ahead
    cdef double lse_t = 0, loss
    cdef (f64, f64) p
    for i in range(n):
        index[i] = label[i] if i < n_labels else job.blank
        k[i] = 0 if 0 < i < n_labels and label[i] != label[i - 1] else -INFINITY
    k[n] = -INFINITY
    clear(a, w)
    clear(a + 2 * w, w)
    a[0], a[w] = 1, 0
    for t in range(frames):
        row = x + t * job.x.outer + s * job.x.inner
        ahead = row + (AHEAD * job.x.outer if t + AHEAD < frames else 0)
        for i in range(n_labels + 1):
            prefetch(ahead + index[i])
        if job.logits:
            lse_t = job.lse[t * job.n_sequences + s] if job.prepared else frame_logsumexp[real](row, job.n_classes)
            lse[t] = lse_t
        for i in range(n):
            gathered[i] = row[index[i]] - lse_t
        next_a = a + FRAME * w if job.want_grad or t % 2 == 0 else a - FRAME * w
        y = next_a + 4 * w
        exponentials(gathered, y, y + w, n)
        next_a[2 * w - 1], next_a[3 * w - 1] = 0, -INFINITY
        step_forward(a, a + w, a + 2 * w, a + 3 * w, next_a, next_a + w, next_a + 2 * w, next_a + 3 * w, y, y + w, k, y[n_labels], y[w + n_labels], n)
        a = next_a
        if t % KEPT == KEPT - 1:
            normalise(a, a + w, n)
            normalise(a + 2 * w, a + 3 * w, n)
    p = _sum_of_2_f64(a[n_labels], a[w + n_labels], a[2 * w + n_labels - 1], a[3 * w + n_labels - 1])
    p = _normal_parts_f64(p[0], p[1])
    loss = -_log_parts_f64(p[0], p[1])
    job.value[s] = 0 if loss == INFINITY and job.zero_infinity else loss
    if not job.want_grad:
        return
    if not job.prepared:
        fill_frames[real](job, s, frames, job.frames, 0)
    if not (loss < INFINITY):
        fill_frames[real](job, s, 0, frames, <real> 0 if loss == INFINITY and job.zero_infinity else <real> NAN)
        return

    for i in range(n_labels):
        first[i] = i
        for j in range(i):
            if index[j] == index[i]:
                first[i] = j
                break
    for i in range(0, 8, 2):
        clear(z + i * w, w)
    z[n_labels], z[w + n_labels] = 1 / p[0], -p[1]
    if n_labels:
        z[2 * w + n_labels - 1], z[3 * w + n_labels - 1] = 1 / p[0], -p[1]
    for t in range(frames - 1, -1, -1):
        y = a + 4 * w
        join_blanks(a, a + w, z, z + w, y[n_labels], y[w + n_labels], gathered, n)
        join(a + 2 * w, a + 3 * w, z + 2 * w, z + 3 * w, y, y + w, posterior, n)
        posterior[n_labels] = sum_of[double](gathered, n)
        frame_gradient[real](job, x + t * job.x.outer + s * job.x.inner, t, s, lse[t] if job.logits else 0.0, y, w, posterior, index, first, n_labels)
        step_backward(z, z + w, z + 2 * w, z + 3 * w, next_z, next_z + w, next_z + 2 * w, next_z + 3 * w, k, n)
        if t % KEPT == 0:
            normalise(next_z, next_z + w, n)
            normalise(next_z + 2 * w, next_z + 3 * w, n)
        spare = z
        z, next_z, a = next_z, spare, a - FRAME * w


cdef void fill_ctc(Table* t) noexcept:
    t.ctc[0], t.ctc[1] = <ctc_t> ctc_sequence[float], <ctc_t> ctc_sequence[double]
    t.ctc_frames[0], t.ctc_frames[1] = <ctc_frames_t> ctc_frames[float], <ctc_frames_t> ctc_frames[double]
    t.ctc_scratch = ctc_scratch
