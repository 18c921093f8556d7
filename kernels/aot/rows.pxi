# Row kernels: the softmax family and cross-entropy. Included by the table of each instruction set.
#
# Rows of few classes (C < SHORT_ROW) are transposed into a tile: LANES rows side by side, C vectors of one class each.
# Longer rows are vectors of neighbouring classes, several rows at a time as far as the first-level cache holds them;
# rows beyond WHOLE_ROW are worked off piece by piece. The loops over vectors are the same for all of them.
#
# With m the maximum of a row and e = exp(x) in a unit near exp(m), e_m that of the maximum, the sum over the row is
# e_m (1 + rest), and its logarithm m + log1p(rest): rest keeps all its digits when one class dominates.

cdef extern from "transpose.h" nogil:
    void load_rows_f32(const float* x, Py_ssize_t step, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t room, float* t)
    void load_rows_f64(const double* x, Py_ssize_t step, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t room, double* t)
    void store_rows_f32(const float* t, Py_ssize_t rows, Py_ssize_t n, float* out)
    void store_rows_f64(const double* t, Py_ssize_t rows, Py_ssize_t n, double* out)

cdef extern from "primitives.h" nogil:
    void FL_PREFETCH(const void* line, int write)
    i32 order_f32(i32 bits)
    i64 order_f64(i64 bits)

ctypedef fused real:
    float
    double

cdef struct Stats:            # of LANES rows
    double m[LANES]           # maximum
    double total[LANES]       # sum of e, NaN where the maximum is infinite
    double error[LANES]       # what its rounding lost
    double rest[LANES]        # total / e_m - 1, where it is wanted

cdef struct Share:            # factor / total = high (1 + low)
    double high[LANES]
    double low[LANES]

cdef enum:
    UNIT = 3 * LANES          # the unit of LANES rows: base, which is subtracted first, without error; magic and low for exp_unit
    FEW = 2                   # rows that are not worth a transposition

cdef enum:                    # maxima beyond it are subtracted: all that matters lies nearer than half of it, so that this is exact
    FAR32 = 512
    FAR64 = 1536


cdef inline real exp_of(real x) noexcept nogil:
    if real is float:
        return exp_split_f32(x, <float> 0)
    else:
        return exp_split_f64(x, 0.0)


cdef inline real pick(bint condition, real a, real b) noexcept nogil:
    """a or b, both evaluated: gcc vectorises no conditional load"""
    if real is float:
        return select_f32(condition, a, b)
    else:
        return select_f64(condition, a, b)


# ---- loops over vectors -------------------------------------------------------------------------------------------

cdef inline void lanes_max(const real* x, Py_ssize_t n, real* m) noexcept nogil:
    cdef real top[4 * LANES]                             # four vectors at a time: a maximum waits for the one before
    cdef Py_ssize_t i, l
    for i in range(4):
        for l in range(LANES):
            top[i * LANES + l] = m[l]
    for i in range(n // 4):
        for l in range(4 * LANES):
            top[l] = x[i * 4 * LANES + l] if x[i * 4 * LANES + l] > top[l] else top[l]
    for i in range(n - n % 4, n):
        for l in range(LANES):
            top[l] = x[i * LANES + l] if x[i * LANES + l] > top[l] else top[l]
    for l in range(2 * LANES):
        top[l] = top[l + 2 * LANES] if top[l + 2 * LANES] > top[l] else top[l]
    for l in range(LANES):
        m[l] = top[l + LANES] if top[l + LANES] > top[l] else top[l]


cdef inline void lanes_exp(const real* x, real* v, real* s, Py_ssize_t n, const real* unit, const real* out) noexcept nogil:
    """(1 + v) s = exp(x - base) in the unit; meanwhile the lines of out are fetched, to be written next"""
    cdef real base[LANES]
    cdef real magic[LANES]
    cdef real low[LANES]
    cdef real t[LANES]
    cdef real u[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        base[l], magic[l], low[l] = unit[l], unit[LANES + l], unit[2 * LANES + l]
    for i in range(n):
        FL_PREFETCH(out + i * LANES, 1)
        if real is double:
            FL_PREFETCH(out + i * LANES + LANES // 2, 1)
        for l in range(LANES):
            if real is float:
                t[l], u[l] = exp_unit_f32(x[i * LANES + l] - base[l], magic[l], low[l])
            else:
                t[l], u[l] = exp_unit_f64(x[i * LANES + l] - base[l], magic[l], low[l])
        for l in range(LANES):                           # all loads before all stores: gcc takes v and s for parts of x
            v[i * LANES + l] = t[l]
        for l in range(LANES):
            s[i * LANES + l] = u[l]


cdef inline void add_vector(const real* v, double* hi, double* lo) noexcept nogil:
    """hi + lo gains v: plainly in float64 for float32, with the rounding errors in lo for float64"""
    cdef Py_ssize_t l
    cdef double s, b
    for l in range(LANES):
        if real is float:
            hi[l] += v[l]
        else:
            s = hi[l] + v[l]
            b = s - hi[l]
            lo[l] += (hi[l] - (s - b)) + (v[l] - b)
            hi[l] = s


cdef inline void lanes_others(const real* x, const real* v, const real* s, Py_ssize_t n, const real* m_, double* hi, double* lo, real* count) noexcept nogil:
    """Adds up each lane without its maxima, which are counted. Four vectors are added first: the powers of two in them without an error."""
    cdef real m[LANES]
    cdef real k[LANES]
    cdef real e[LANES]
    cdef real p, q, t, u
    cdef Py_ssize_t i, l
    for l in range(LANES):
        m[l], k[l] = m_[l], 0
    for i in range(n // 4):
        for l in range(LANES):
            p, q = pick[real](x[l] == m[l], 0, s[l]), pick[real](x[l + LANES] == m[l], 0, s[l + LANES])
            t, u = pick[real](x[l + 2 * LANES] == m[l], 0, s[l + 2 * LANES]), pick[real](x[l + 3 * LANES] == m[l], 0, s[l + 3 * LANES])
            e[l] = ((v[l] * p + v[l + LANES] * q) + (v[l + 2 * LANES] * t + v[l + 3 * LANES] * u)) + ((p + q) + (t + u))
        for l in range(LANES):
            p, q = pick[real](x[l] == m[l], 1, 0), pick[real](x[l + LANES] == m[l], 1, 0)
            t, u = pick[real](x[l + 2 * LANES] == m[l], 1, 0), pick[real](x[l + 3 * LANES] == m[l], 1, 0)
            k[l] = k[l] + ((p + q) + (t + u))
        add_vector(e, hi, lo)
        x += 4 * LANES
        v += 4 * LANES
        s += 4 * LANES
    for i in range(n % 4):
        for l in range(LANES):
            p = pick[real](x[l] == m[l], 0, s[l])
            e[l] = v[l] * p + p
        for l in range(LANES):
            k[l] = k[l] + pick[real](x[l] == m[l], 1, 0)
        add_vector(e, hi, lo)
        x += LANES
        v += LANES
        s += LANES
    for l in range(LANES):
        count[l] += k[l]


cdef inline void lanes_scale(const real* v, const real* s, real* out, Py_ssize_t n, const Share* a, Py_ssize_t lane, const real* ahead) noexcept nogil:
    """out = high (1 + low) (1 + v) s, rounded once; meanwhile lines ahead are fetched, to be read next.

    One lane of a for all lanes; or each its own, where lane is -1.
    """
    cdef real high[LANES]
    cdef real low[LANES]
    cdef real t[LANES]
    cdef real w
    cdef Py_ssize_t i, l
    for l in range(LANES):
        high[l], low[l] = <real> a.high[l if lane < 0 else lane], <real> a.low[l if lane < 0 else lane]
    for i in range(n):
        FL_PREFETCH(ahead + i * LANES, 0)
        if real is double:
            FL_PREFETCH(ahead + i * LANES + LANES // 2, 0)
        for l in range(LANES):
            t[l] = s[i * LANES + l] * high[l]
            w = v[i * LANES + l]
            w = w + (w * low[l] + low[l])
            t[l] = t[l] + t[l] * w
        for l in range(LANES):
            out[i * LANES + l] = t[l]


cdef inline real highest_lane(const real* m) noexcept nogil:
    """By ints in the order of the reals, whose maximum gcc takes half by half."""
    cdef Py_ssize_t l
    cdef i32 a = order_f32(bits_f32(-INFINITY))
    cdef i64 b = order_f64(bits_f64(-INFINITY))
    if real is float:
        for l in range(LANES):
            a = max(a, order_f32(bits_f32(m[l])))
        return from_bits_f32(order_f32(a))
    for l in range(LANES):
        b = max(b, order_f64(bits_f64(m[l])))
    return from_bits_f64(order_f64(b))


cdef inline double total_count(const real* k) noexcept nogil:
    cdef i32 n = 0
    cdef Py_ssize_t l
    for l in range(LANES):
        n += <i32> k[l]
    return n


# ---- the unit of a row --------------------------------------------------------------------------------------------

cdef inline void choose_unit(const real* maxima, real* unit) noexcept nogil:
    """The unit of each row, from its maximum."""
    cdef real m[LANES]
    cdef real k[LANES]
    cdef real low[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        m[l] = pick[real](maxima[l] - maxima[l] == 0, maxima[l], 0)
    for l in range(LANES):
        if real is float:
            unit[l] = pick[real](abs_f32(m[l]) > FAR32, m[l], 0)
            k[l], low[l] = _unit_of_f32(m[l] - unit[l])
        else:
            unit[l] = pick[real](abs_f64(m[l]) > FAR64, m[l], 0)
            k[l], low[l] = _unit_of_f64(m[l] - unit[l])
    memcpy(unit + LANES, k, sizeof(k))
    memcpy(unit + 2 * LANES, low, sizeof(k))


cdef inline void tops(const Stats* st, const real* unit, bint rests, double* top, double* own, double* lost) noexcept nogil:
    """e_m, to float64 if rests; and as it stands among the exponentials, own + lost: by that a single class has probability 1."""
    cdef double m[LANES]
    cdef double magic[LANES]
    cdef double v, s
    cdef float p, q
    cdef Py_ssize_t l
    for l in range(LANES):
        m[l], magic[l] = select_f64(st.m[l] - st.m[l] == 0, st.m[l], 0.0) - unit[l], unit[LANES + l]
        if real is float:
            magic[l] += _bias_f64() - <double> _bias_f32()
    if rests or real is double:
        for l in range(LANES):
            v, s = exp_unit_f64(m[l], magic[l], -INFINITY)
            top[l] = s + v * s
            own[l], lost[l] = top[l], (s - top[l]) + v * s
    if real is float:
        for l in range(LANES):
            p, q = exp_unit_f32(<float> m[l], unit[LANES + l], <float> -INFINITY)
            own[l], lost[l] = <double> q + <double> p * <double> q, 0


cdef inline void finish(Stats* st, const real* unit, bint rests, const double* hi, const double* lo, const double* count) noexcept nogil:
    """total, and rest if rests, from the sums without maxima and the number of maxima"""
    cdef double top[LANES]
    cdef double own[LANES]
    cdef double lost[LANES]
    cdef double rest[LANES]
    cdef double total[LANES]
    cdef double error[LANES]
    cdef double maxima, back
    cdef Py_ssize_t l
    tops(st, unit, rests, top, own, lost)
    if rests:
        for l in range(LANES):
            rest[l] = (hi[l] + lo[l]) / top[l] + (count[l] - 1.0)
        memcpy(st.rest, rest, sizeof(rest))
    for l in range(LANES):
        maxima = count[l] * own[l]
        total[l] = hi[l] + maxima
        back = total[l] - hi[l]
        error[l] = (hi[l] - (total[l] - back)) + (maxima - back) + (lo[l] + count[l] * lost[l])
    for l in range(LANES):
        total[l] += st.m[l] - st.m[l]
    memcpy(st.total, total, sizeof(rest))
    memcpy(st.error, error, sizeof(rest))


cdef inline void shares(const double* factor, const Stats* st, Share* share, const real* like) noexcept nogil:
    """Of each row; the factor NULL is 1."""
    cdef double a, p, rest
    cdef double f[LANES]
    cdef double total[LANES]
    cdef double error[LANES]
    cdef double high[LANES]
    cdef double low[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        f[l], total[l], error[l] = factor[l] if factor != NULL else 1.0, st.total[l], st.error[l]
    for l in range(LANES):
        a = f[l] / total[l]
        if real is float:                                # few divisions: with few classes they are what takes time
            high[l] = <float> a
            rest = <float> (a - high[l]) / <float> high[l] if factor != NULL else (a - high[l]) * total[l]
        else:
            high[l] = a
            p, rest = product_f64(a, total[l])
            rest = ((f[l] - p) - rest - a * error[l]) / f[l]
        low[l] = select_f64(rest - rest == 0, rest, 0.0)
    memcpy(share.high, high, sizeof(high))
    memcpy(share.low, low, sizeof(high))


cdef inline bint leave_unit(const double* factor, Py_ssize_t lanes, double* shift, Stats* st, const real* like) noexcept nogil:
    """Factors so small that factor / total would be no normal number: their rows go back to the unit 1, by shift."""
    cdef Py_ssize_t l, small = 0
    for l in range(LANES):
        shift[l] = 1
    if real is float:
        for l in range(lanes):
            shift[l] = 5.421010862427522e-20 if 0 < abs_f64(factor[l]) < 9.094947017729282e-13 else 1.0      # 2^-64, 2^-40
            small += shift[l] != 1
            st.total[l] *= shift[l]
            st.error[l] *= shift[l]
    return small > 0


cdef inline void shift_lanes(real* s, Py_ssize_t n, const double* shift) noexcept nogil:
    cdef Py_ssize_t i, l
    for i in range(n):
        for l in range(LANES):
            s[i * LANES + l] = s[i * LANES + l] * <real> shift[l]


cdef inline void shift_run(real* s, Py_ssize_t n, double shift) noexcept nogil:
    cdef Py_ssize_t c
    if shift != 1:
        for c in range(n - n % LANES + LANES):
            s[c] = s[c] * <real> shift


# ---- tiles: 16 short rows, transposed -----------------------------------------------------------------------------

cdef inline Py_ssize_t row_at(const View* view, Py_ssize_t inner, Py_ssize_t r) noexcept nogil:
    """Where row r begins, in elements."""
    if inner == 1:
        return r * view.outer
    return (r // inner) * view.outer + (r % inner) * view.inner


cdef inline real* row_of(const View* view, const Rows* job, Py_ssize_t r, const real* like) noexcept nogil:
    return <real*> view.data + row_at(view, job.inner, r)


cdef inline bint adjacent(const View* view, const Rows* job, Py_ssize_t r) noexcept nogil:
    """Whether the LANES rows from r on begin side by side."""
    return (r % job.inner + LANES <= job.inner and view.inner == 1) or (job.inner == 1 and view.outer == 1)


cdef inline Py_ssize_t tile_size(Py_ssize_t n_classes) noexcept nogil:
    return (n_classes + LANES - 1) // LANES * LANES * LANES


cdef inline void load_tile(real* t, const View* view, const Rows* job, Py_ssize_t r, Py_ssize_t rows) noexcept nogil:
    """Lanes that are no rows become 0."""
    cdef const real* first = row_of[real](view, job, r, t)
    cdef const real* p
    cdef Py_ssize_t c, l, n = job.n_classes, step = view.classes
    if step == 1 and job.inner == 1 and view.outer >= n and rows > FEW:
        if real is float:
            load_rows_f32(first, view.outer, rows, n, (job.n_rows - r - rows) * view.outer, t)
        else:
            load_rows_f64(first, view.outer, rows, n, (job.n_rows - r - rows) * view.outer, t)
    elif rows == LANES and adjacent(view, job, r):
        for c in range(n):
            for l in range(LANES):
                t[c * LANES + l] = first[c * step + l]
    else:
        if rows < LANES:
            memset(t, 0, n * LANES * sizeof(real))
        for l in range(rows):
            p = row_of[real](view, job, r + l, t)
            for c in range(n):
                t[c * LANES + l] = p[c * step]


cdef inline void store_tile(const real* t, const View* view, const Rows* job, Py_ssize_t r, Py_ssize_t rows) noexcept nogil:
    cdef real* first = row_of[real](view, job, r, t)
    cdef real* p
    cdef Py_ssize_t c, l, n = job.n_classes, step = view.classes
    if step == 1 and job.inner == 1 and view.outer == n and rows > FEW:
        if real is float:
            store_rows_f32(t, rows, n, first)
        else:
            store_rows_f64(t, rows, n, first)
    elif rows == LANES and adjacent(view, job, r):
        for c in range(n):
            for l in range(LANES):
                first[c * step + l] = t[c * LANES + l]
    else:
        for l in range(rows):
            p = row_of[real](view, job, r + l, t)
            for c in range(n):
                p[c * step] = t[c * LANES + l]


cdef inline const real* tile_lines(const View* view, const Rows* job, Py_ssize_t r, const real* spare) noexcept nogil:
    """Where the tile that begins with row r lies, to be fetched; spare where it lies in pieces or there is none."""
    if view.data == NULL or view.classes != 1 or job.inner != 1 or view.outer != job.n_classes or r + LANES > job.n_rows:
        return spare
    return row_of[real](view, job, r, spare)


cdef inline void tile_stats(const real* x, real* v, real* s, Py_ssize_t n_classes, const real* out, bint rests, Stats* st) noexcept nogil:
    """Statistics of a tile, and its exponentials (1 + v) s; meanwhile the lines of out are fetched, to be written next."""
    cdef real m[LANES]
    cdef real k[LANES]
    cdef real unit[UNIT]
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef double count[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        m[l], hi[l], lo[l], k[l] = <real> -INFINITY, 0, 0, 0
    lanes_max(x, n_classes, m)
    for l in range(LANES):
        st.m[l] = m[l]
    choose_unit(m, unit)
    lanes_exp(x, v, s, n_classes, unit, out)
    lanes_others(x, v, s, n_classes, m, hi, lo, k)
    for l in range(LANES):
        count[l] = k[l]
    finish(st, unit, rests, hi, lo, count)


# ---- runs: at least LANES values side by side. Their last vector, if it is not whole, begins earlier; its exponentials
# ---- stand in a vector of their own, of which n % LANES lanes at the end count.

cdef inline real run_max(const real* x, Py_ssize_t n) noexcept nogil:
    cdef real m[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        m[l] = x[n - LANES + l]
    lanes_max(x, n // LANES, m)
    return highest_lane(m)


cdef inline void run_exp(const real* x, real* v, real* s, Py_ssize_t n, const real* unit, Py_ssize_t lane, const real* out) noexcept nogil:
    cdef real one[UNIT]
    cdef Py_ssize_t l, whole = n - n % LANES
    for l in range(LANES):
        one[l], one[LANES + l], one[2 * LANES + l] = unit[lane], unit[LANES + lane], unit[2 * LANES + lane]
    lanes_exp(x, v, s, n // LANES, one, out)
    if whole < n:
        lanes_exp(x + n - LANES, v + whole, s + whole, 1, one, out + n - LANES)


cdef inline void run_others(const real* x, const real* v, const real* s, Py_ssize_t n, const real* m, double* hi, double* lo, real* count) noexcept nogil:
    cdef real last[LANES]
    cdef Py_ssize_t l, whole = n - n % LANES, apart = LANES - n % LANES
    lanes_others(x, v, s, n // LANES, m, hi, lo, count)
    if whole < n:
        for l in range(LANES):
            last[l] = pick[real](l >= apart, x[n - LANES + l], m[l])
        for l in range(LANES):
            count[l] -= <real> (l < apart)
        lanes_others(last, v + whole, s + whole, 1, m, hi, lo, count)


cdef inline void run_scale(const real* v, const real* s, real* out, Py_ssize_t step, Py_ssize_t n, const Share* share, Py_ssize_t lane, const real* ahead) noexcept nogil:
    cdef real t[LANES]
    cdef Py_ssize_t c, l, whole = n - n % LANES
    if step == 1:
        lanes_scale(v + whole, s + whole, t, 1 if whole < n else 0, share, lane, ahead + n - LANES)
        lanes_scale(v, s, out, n // LANES, share, lane, ahead)
        if whole < n:
            memcpy(out + n - LANES, t, sizeof(t))
        return
    for c from 0 <= c < n by LANES:
        lanes_scale(v + c, s + c, t, 1, share, lane, v)
        c = min(c, n - LANES)
        for l in range(LANES):
            out[(c + l) * step] = t[l]


cdef inline void settle(real* values, Py_ssize_t n) noexcept nogil:
    """The lanes of the last vector that count move to where their classes stand."""
    cdef Py_ssize_t c, whole = n - n % LANES, apart = LANES - n % LANES
    if whole < n:
        for c in range(whole, n):
            values[c] = values[c + apart]


cdef inline void runs_stats(const real** x, real** v, real** s, const real** out, Py_ssize_t n, Py_ssize_t runs, bint rests, real* unit, Stats* st) noexcept nogil:
    """Statistics of up to 16 runs, and their exponentials."""
    cdef real m[LANES]
    cdef real k[LANES]
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef double sums[3][LANES]
    cdef Py_ssize_t r, l, start, size
    for l in range(LANES):
        m[l], st.m[l], sums[0][l], sums[1][l], sums[2][l] = 0, 0, 0, 0, 1
    for r in range(runs):
        m[r] = run_max(x[r], n)
        st.m[r] = m[r]
    choose_unit(m, unit)
    for r in range(runs):
        for l in range(LANES):
            m[l], k[l], hi[l], lo[l] = <real> st.m[r], 0, 0, 0
        for start from 0 <= start < n by PIECE:          # a piece at a time stays in the first-level cache
            size = min(PIECE, n - start)
            run_exp(x[r] + start, v[r] + start, s[r] + start, size, unit, r, out[r] + start)
            run_others(x[r] + start, v[r] + start, s[r] + start, size, m, hi, lo, k)
        if real is double:
            fold_lanes(hi, lo)
            sums[0][r], sums[1][r] = hi[0], lo[0]
        else:
            sums[0][r] = sum_lanes(hi)
        sums[2][r] = total_count(k)
    finish(st, unit, rests, sums[0], sums[1], sums[2])


# ---- rows of SHORT_ROW classes and more ---------------------------------------------------------------------------

cdef inline const real* later_row(const Rows* job, Py_ssize_t r, const real* like) noexcept nogil:
    """Row r of x, to be fetched; a row that there is where r is none, or its values lie apart."""
    return row_of[real](&job.x, job, r if r < job.n_rows and job.x.classes == 1 else 0, like)


cdef inline bint goes_on(const Rows* job, Py_ssize_t start) noexcept nogil:
    """Whether a row goes on at start: every few million classes an interrupt is looked for."""
    return start < job.n_classes and (start == 0 or start % (2048 * PIECE) != 0 or not job.halted(job))


cdef inline Py_ssize_t piece_size(Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """Pieces are PIECE long; the last one is from SHORT_ROW to PIECE + SHORT_ROW."""
    return PIECE if n - start >= PIECE + SHORT_ROW else n - start


cdef inline Py_ssize_t rows_at_once(Py_ssize_t n_classes) noexcept nogil:
    """Rows that the first-level cache holds, with their exponentials, or one; 0 where a row comes in pieces."""
    return min(LANES, max(1, PIECE // max(n_classes, 1))) if n_classes <= WHOLE_ROW else 0


cdef inline void gather(const real* x, Py_ssize_t step, Py_ssize_t n, real* to) noexcept nogil:
    cdef Py_ssize_t c
    if step == 1:
        memcpy(to, x, n * sizeof(real))
    else:
        for c in range(n):
            to[c] = x[c * step]


cdef inline void spread(const real* values, real* out, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t c
    if step == 1:
        memcpy(out, values, n * sizeof(real))
    else:
        for c in range(n):
            out[c * step] = values[c]


cdef inline void whole_rows(const Rows* job, const Py_ssize_t* r, Py_ssize_t rows, bint rests, real* scratch, real** v, real** s, Stats* st) noexcept nogil:
    """runs_stats of rows that do not come in pieces, rows_at_once of them at most."""
    cdef real* x[LANES]
    cdef real* out[LANES]
    cdef real unit[UNIT]
    cdef Py_ssize_t l, n = job.n_classes, width = n - n % LANES + LANES
    for l in range(rows):
        v[l], s[l] = scratch + 2 * l * width, scratch + (2 * l + 1) * width
        x[l] = row_of[real](&job.x, job, r[l], scratch)
        out[l] = row_of[real](&job.out, job, r[l], scratch) if job.out.classes == 1 else x[l]
        if job.x.classes != 1:
            gather[real](x[l], job.x.classes, n, scratch + (2 * rows + l) * width)
            x[l] = scratch + (2 * rows + l) * width
    runs_stats[real](<const real**> x, v, s, <const real**> out, n, rows, rests, unit, st)


cdef inline const real* piece_of(const Rows* job, Py_ssize_t r, Py_ssize_t start, Py_ssize_t size, real* scratch) noexcept nogil:
    """Values of a row, side by side: where they are, or in scratch behind the room for their exponentials."""
    cdef const real* x = row_of[real](&job.x, job, r, scratch) + start * job.x.classes
    if job.x.classes == 1:
        return x
    gather[real](x, job.x.classes, size, scratch + 2 * (PIECE + SHORT_ROW))
    return scratch + 2 * (PIECE + SHORT_ROW)


cdef inline void long_row(const Rows* job, Py_ssize_t r, real* scratch, real* unit, Stats* st) noexcept nogil:
    """Unit and statistics of one row, in lane 0."""
    cdef Stats piece
    cdef real maxima[LANES]
    cdef const real* x
    cdef real* v = scratch
    cdef real* s = scratch + PIECE + SHORT_ROW
    cdef Py_ssize_t start = 0, size, l, n = job.n_classes
    cdef double rest[2]
    cdef double top[LANES]
    cdef double own[LANES]
    cdef double lost[LANES]
    cdef double factor, m
    cdef long double total
    while goes_on(job, start):
        size = piece_size(start, n)
        x = piece_of[real](job, r, start, size, scratch)
        runs_stats[real](&x, &v, &s, &x, size, 1, True, unit, &piece)
        if start == 0:
            m, rest[0], rest[1] = piece.m[0], piece.rest[0], 0
        elif piece.m[0] > m:                             # the maximum so far is now among the others
            factor = exp(m - piece.m[0])
            m, rest[0], rest[1] = piece.m[0], rest[0] * factor, rest[1] * factor
            two_sum(rest, factor)
            two_sum(rest, piece.rest[0])
        else:
            factor = exp(piece.m[0] - m) if m > -INFINITY else 0.0
            two_sum(rest, factor)
            two_sum(rest, piece.rest[0] * factor)
        start += size
    for l in range(LANES):
        maxima[l], st.m[l], st.rest[l] = <real> m, m, rest[0] + rest[1]
    choose_unit(maxima, unit)
    tops(st, unit, False, top, own, lost)
    total = (<long double> own[0] + lost[0]) * (1.0 + <long double> rest[0] + rest[1])
    for l in range(LANES):
        st.total[l], st.error[l] = <double> total + (m - m), <double> (total - <double> total)


cdef inline void piece_exp(const Rows* job, Py_ssize_t r, Py_ssize_t start, Py_ssize_t size, const real* unit, real* scratch) noexcept nogil:
    """The exponentials of a piece once more, now in the unit of the row; a row of one piece has them already.

    To keep those of a very long row from the first pass would take memory, and more time than to compute them.
    """
    if size < job.n_classes:
        run_exp(piece_of[real](job, r, start, size, scratch), scratch, scratch + PIECE + SHORT_ROW, size, unit, 0,
                row_of[real](&job.out, job, r, scratch) + start if job.out.classes == 1 else scratch)


cdef inline double lse_of(double m, double log_total, const real* x, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t c
    if m != INFINITY:
        return m + log_total
    for c in range(n):                                   # a row with +inf: NaN only where the row holds one
        if x[c * step] != x[c * step]:
            return NAN
    return m


# ---- softmax family -----------------------------------------------------------------------------------------------

cdef void softmax_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, r, l, rows, start, size, group = LANES if n < SHORT_ROW else rows_at_once(n)
    cdef Py_ssize_t index[LANES]
    cdef real* v[LANES]
    cdef real* s[LANES]
    cdef real* out
    cdef real unit[UNIT]
    cdef Share share
    cdef Stats st
    v[0], s[0] = scratch, scratch + PIECE + SHORT_ROW
    if n < SHORT_ROW:
        v[0], s[0] = scratch + tile_size(n), scratch + 2 * tile_size(n)
    for r from begin <= r < end by max(group, 1):
        rows = min(max(group, 1), end - r)
        if n < SHORT_ROW:
            load_tile[real](scratch, &job.x, job, r, rows)
            tile_stats[real](scratch, v[0], s[0], n, tile_lines[real](&job.out, job, r, v[0]), False, &st)
        elif group:
            for l in range(rows):
                index[l] = r + l
            whole_rows[real](job, index, rows, False, scratch, v, s, &st)
        else:
            long_row[real](job, r, scratch, unit, &st)
        shares[real](NULL, &st, &share, scratch)
        if n < SHORT_ROW:
            lanes_scale[real](v[0], s[0], scratch, n, &share, -1, tile_lines[real](&job.x, job, r + LANES, scratch))
            store_tile[real](scratch, &job.out, job, r, rows)
        elif group:
            for l in range(rows):
                run_scale[real](v[l], s[l], row_of[real](&job.out, job, r + l, scratch), job.out.classes, n, &share, l,
                                later_row[real](job, r + l + group, scratch))
        else:
            out, start = row_of[real](&job.out, job, r, scratch), 0
            while goes_on(job, start):
                size = piece_size(start, n)
                piece_exp[real](job, r, start, size, unit, scratch)
                run_scale[real](v[0], s[0], out + start * job.out.classes, job.out.classes, size, &share, 0,
                                later_row[real](job, r + 1, scratch) + start)
                start += size


cdef inline void logarithms(const Stats* st, double* logs) noexcept nogil:
    """log of the sums of exp(x - m)"""
    cdef Py_ssize_t l
    for l in range(LANES):
        logs[l] = log1p_f64(st.rest[l])


cdef inline void lanes_lower(const real* x, real* out, Py_ssize_t n, const real* m_, const real* a_, bint backwards=False) noexcept nogil:
    """out = (x - m) - a, from the last on where loads would be held up."""
    cdef real m[LANES]
    cdef real a[LANES]
    cdef real t[LANES]
    cdef Py_ssize_t i, l, at = (n - 1) * LANES if backwards else 0, step = -LANES if backwards else LANES
    for l in range(LANES):
        m[l], a[l] = m_[l], a_[l]
    for i in range(n):
        for l in range(LANES):
            t[l] = (x[at + l] - m[l]) - a[l]
        for l in range(LANES):
            out[at + l] = t[l]
        at += step


cdef inline void row_lower(const Rows* job, Py_ssize_t r, real m_, real a_, real* like) noexcept nogil:
    cdef const real* x = row_of[real](&job.x, job, r, like)
    cdef real* out = row_of[real](&job.out, job, r, like)
    cdef real m[LANES]
    cdef real a[LANES]
    cdef Py_ssize_t c, l, n = job.n_classes, first = 0
    if job.x.classes == 1 and job.out.classes == 1:
        for l in range(LANES):
            m[l], a[l] = m_, a_
        lanes_lower(x, out, n // LANES, m, a, holds_up(out, x))
        first = n - n % LANES
    for c in range(first, n):
        out[c * job.out.classes] = (x[c * job.x.classes] - m_) - a_


cdef inline void rows_stats(const Rows* job, Py_ssize_t r, Py_ssize_t rows, real* scratch, Stats* st) noexcept nogil:
    """Statistics alone, of up to 16 rows; a tile of short rows stays in scratch."""
    cdef Py_ssize_t n = job.n_classes, l, k, group = rows_at_once(n)
    cdef Py_ssize_t index[LANES]
    cdef real* v[LANES]
    cdef real* s[LANES]
    cdef real unit[UNIT]
    cdef Stats some
    if n < SHORT_ROW:
        load_tile[real](scratch, &job.x, job, r, rows)
        tile_stats[real](scratch, scratch + tile_size(n), scratch + 2 * tile_size(n), n,
                         tile_lines[real](&job.out, job, r, tile_lines[real](&job.x, job, r + LANES, scratch)), True, st)
        return
    for l in range(LANES):
        st.m[l], st.rest[l], index[l] = 0, 0, r + l
    for l from 0 <= l < rows by max(group, 1):
        if group:
            whole_rows[real](job, index + l, min(group, rows - l), True, scratch, v, s, &some)
        else:
            long_row[real](job, r + l, scratch, unit, &some)
        for k in range(min(max(group, 1), rows - l)):
            st.m[l + k], st.rest[l + k] = some.m[k], some.rest[k]


cdef void log_softmax_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, r, l, rows
    cdef real m[LANES]
    cdef real a[LANES]
    cdef double logs[LANES]
    cdef Stats st
    for r from begin <= r < end by LANES:
        rows = min(LANES, end - r)
        rows_stats[real](job, r, rows, scratch, &st)
        logarithms(&st, logs)
        for l in range(LANES):
            m[l], a[l] = <real> st.m[l], <real> logs[l]
        if n < SHORT_ROW:
            lanes_lower[real](scratch, scratch, n, m, a)
            store_tile[real](scratch, &job.out, job, r, rows)
        else:
            for l in range(rows):
                row_lower[real](job, r + l, m[l], a[l], scratch)


cdef void logsumexp_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, r, l, rows
    cdef real* out = <real*> job.out.data
    cdef double logs[LANES]
    cdef Stats st
    for r from begin <= r < end by LANES:
        rows = min(LANES, end - r)
        rows_stats[real](job, r, rows, scratch, &st)
        logarithms(&st, logs)
        for l in range(rows):
            out[r + l] = <real> lse_of[real](st.m[l], logs[l], row_of[real](&job.x, job, r + l, scratch), job.x.classes, n)


cdef void softmax_backward_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    backward_rows[real](job, begin, end, scratch, False)


cdef void log_softmax_backward_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    backward_rows[real](job, begin, end, scratch, True)


cdef inline void lanes_dot(const real* g, const real* y, Py_ssize_t n, bint logs, double* dot) noexcept nogil:
    """dot += sum of g (log_softmax) or of g * y (softmax), in float64"""
    cdef double total[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        total[l] = dot[l]
    for i in range(n):
        for l in range(LANES):
            total[l] += <double> g[i * LANES + l] if logs else <double> g[i * LANES + l] * <double> y[i * LANES + l]
    for l in range(LANES):
        dot[l] = total[l]


cdef inline void lanes_backward(real* g, const real* y, Py_ssize_t n, bint logs, const real* dot) noexcept nogil:
    cdef real total[LANES]
    cdef real t[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        total[l] = dot[l]
    for i in range(n):
        for l in range(LANES):
            if logs:
                t[l] = g[i * LANES + l] - exp_of(y[i * LANES + l]) * total[l]
            else:
                t[l] = y[i * LANES + l] * (g[i * LANES + l] - total[l])
        for l in range(LANES):
            g[i * LANES + l] = t[l]


cdef inline void load_piece(const View* view, const Rows* job, Py_ssize_t r, Py_ssize_t start, Py_ssize_t n, real fill, real* piece) noexcept nogil:
    """n values of row r from start on, filled up to whole vectors."""
    cdef const real* x = <real*> view.data + row_at(view, job.inner, r) + start * view.classes
    cdef Py_ssize_t c
    for c in range(n):
        piece[c] = x[c * view.classes]
    for c in range(n, (n + LANES - 1) // LANES * LANES):
        piece[c] = fill


cdef inline void backward_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, bint logs) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, r, l, rows, start, size
    cdef real* g = scratch
    cdef real* y = g + (tile_size(n) if n < SHORT_ROW else PIECE)
    cdef double dot[LANES]
    cdef real total[LANES]
    if n < SHORT_ROW:
        for r from begin <= r < end by LANES:
            rows = LANES if end - r > LANES else end - r
            load_tile[real](g, &job.aux, job, r, rows)
            load_tile[real](y, &job.x, job, r, rows)
            for l in range(LANES):
                dot[l] = 0
            lanes_dot[real](g, y, n, logs, dot)
            for l in range(LANES):
                total[l] = <real> dot[l]
            lanes_backward[real](g, y, n, logs, total)
            store_tile[real](g, &job.out, job, r, rows)
        return
    for r in range(begin, end):
        for l in range(LANES):
            dot[l] = 0
        for start from 0 <= start < n by PIECE:
            size = PIECE if n - start > PIECE else n - start
            load_piece[real](&job.aux, job, r, start, size, 0, g)
            load_piece[real](&job.x, job, r, start, size, 0, y)
            lanes_dot[real](g, y, (size + LANES - 1) // LANES, logs, dot)
        dot[0] = sum_lanes(dot)
        for l in range(LANES):
            total[l] = <real> dot[0]
        for start from 0 <= start < n by PIECE:
            size = PIECE if n - start > PIECE else n - start
            load_piece[real](&job.aux, job, r, start, size, 0, g)
            load_piece[real](&job.x, job, r, start, size, 0, y)
            lanes_backward[real](g, y, (size + LANES - 1) // LANES, logs, total)
            spread[real](g, row_of[real](&job.out, job, r, scratch) + start * job.out.classes, job.out.classes, size)


# ---- cross-entropy ------------------------------------------------------------------------------------------------

cdef struct Batch:            # what 16 rows need beside their statistics
    int64_t y[LANES]          # class, -1: the row is absent
    double x_y[LANES]         # its logit
    double w[LANES]           # sum of target weights; index targets: the weight of the class
    double dot[LANES]         # sum of target weights times (m - x)
    double u[LANES]           # row weight
    double up[LANES]          # scale * row weight * upstream
    double factor[LANES]      # of the probabilities in the gradient: up * (w + 2 z_loss lse)
    double z[LANES]           # of their squares in the Hessian
    Py_ssize_t present[LANES] # the lanes that are not absent, in order
    Py_ssize_t n_present


cdef inline double class_weight(const Rows* job, int64_t y, const real* like) noexcept nogil:
    return (<const real*> job.class_weight)[y] if job.class_weight != NULL else 1.0


cdef inline void load_batch(const Rows* job, Py_ssize_t r, Py_ssize_t rows, Batch* b, const real* like) noexcept nogil:
    cdef const int64_t* wide = <const int64_t*> job.target + r
    cdef const int32_t* narrow = <const int32_t*> job.target + r
    cdef int64_t y[LANES]
    cdef double u[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        y[l], u[l] = job.ignore_index if job.target != NULL else 0, <double> (l < rows)
    if job.target != NULL and job.wide_target and rows == LANES:
        for l in range(LANES):
            y[l] = wide[l]
    elif job.target != NULL:
        for l in range(rows):
            y[l] = wide[l] if job.wide_target else narrow[l]
    if job.row_weight != NULL:
        for l in range(rows):
            u[l] = (<const real*> job.row_weight)[r + l]
    if job.target != NULL:
        for l in range(LANES):
            u[l] = select_f64(y[l] == job.ignore_index, 0.0, u[l])
    b.n_present = 0
    for l in range(LANES):
        b.y[l] = y[l] if u[l] != 0 else -1
    for l in range(LANES):
        b.u[l], b.up[l], b.w[l] = u[l], job.scale * u[l], select_f64(u[l] != 0, 1.0, 0.0)
    for l in range(LANES):
        b.x_y[l] = b.dot[l] = b.factor[l] = 0
    for l in range(rows):
        b.present[b.n_present] = l
        b.n_present += u[l] != 0
    if job.class_weight != NULL and job.target != NULL:
        for l in range(rows):
            if u[l] != 0:
                b.w[l] = (<const real*> job.class_weight)[y[l]]
    if job.upstream != NULL:
        for l in range(rows):
            if u[l] != 0:
                b.up[l] *= (<const real*> job.upstream)[r + l]
    for l in range(LANES):
        b.z[l] = 2.0 * job.z_loss * b.up[l]


cdef inline void zero_row(const View* view, const Rows* job, Py_ssize_t r, const real* like) noexcept nogil:
    cdef real* out = row_of[real](view, job, r, like)
    cdef Py_ssize_t c
    for c in range(job.n_classes):
        out[c * view.classes] = 0


cdef inline void zero_absent(const Rows* job, Py_ssize_t r, Py_ssize_t rows, const Batch* b, const real* like) noexcept nogil:
    cdef Py_ssize_t l
    if b.n_present == rows:
        return
    for l in range(rows):
        if b.y[l] < 0:
            zero_row[real](&job.out, job, r + l, like)
            if job.want_hess:
                zero_row[real](&job.hess, job, r + l, like)


cdef inline double factor_of(const Rows* job, const Batch* b, const Stats* st, Py_ssize_t l) noexcept nogil:
    """up * (w + 2 z_loss lse)"""
    if job.z_loss == 0:
        return b.up[l] * b.w[l]
    return b.up[l] * (b.w[l] + 2.0 * job.z_loss * (st.m[l] + log1p_f64(st.rest[l])))


cdef inline double other_classes(const Batch* b, const Stats* st, Py_ssize_t l, double e) noexcept nogil:
    """1 + rest less e = exp(x_y - m), without cancellation"""
    return st.rest[l] if b.x_y[l] == st.m[l] else (1.0 - e) + st.rest[l]


cdef inline void weigh_target(const Rows* job, Batch* b, const Stats* st, Py_ssize_t l) noexcept nogil:
    """dot; of a focal loss, whose gradient is that of a cross-entropy of weight -w times its slope, the loss, that weight and z."""
    cdef double e, w = b.w[l], total = 1.0 + st.rest[l]
    cdef (f64, f64, f64) r
    b.dot[l] = select_f64(w == 0, 0.0, w * (st.m[l] - b.x_y[l]))
    if job.gamma != 0 and b.u[l] != 0:
        e = exp_f64(b.x_y[l] - st.m[l])
        r = _focal_f64((b.x_y[l] - st.m[l]) - log1p_f64(st.rest[l]), e / total, other_classes(b, st, l, e) / total, job.gamma)
        b.dot[l], b.w[l], b.z[l] = select_f64(w == 0, 0.0, w * r[0]), w * r[1], w * r[2] * b.up[l]


cdef inline double target_hessian(const Batch* b, const Stats* st, Py_ssize_t l) noexcept nogil:
    """Of a focal loss: factor p_y (1 - p_y) + z (1 - p_y)^2"""
    cdef double e = exp_f64(b.x_y[l] - st.m[l]), total = 1.0 + st.rest[l], others = other_classes(b, st, l, e) / total
    return (b.factor[l] * (e / total) + b.z[l] * others) * others


cdef inline void target_gradients(const Batch* b, const Stats* st, double* gradient) noexcept nogil:
    """factor * p_y - up * w, with 1 - p_y formed without cancellation"""
    cdef double e, others
    cdef Py_ssize_t l
    for l in range(LANES):
        e = exp_f64(b.x_y[l] - st.m[l])
        others = other_classes(b, st, l, e)
        gradient[l] = ((b.factor[l] - b.up[l] * b.w[l]) * e - b.up[l] * b.w[l] * others) / (1.0 + st.rest[l])


cdef inline void batch_losses(const Rows* job, Py_ssize_t r, Py_ssize_t rows, const Batch* b, const Stats* st,
                              Sums* sums, const real* like) noexcept nogil:
    cdef double loss[LANES]
    cdef double logs[LANES]
    cdef Py_ssize_t l
    logarithms(st, logs)
    for l in range(LANES):
        loss[l] = b.dot[l] if job.gamma != 0 else b.w[l] * logs[l] + b.dot[l]
    if job.z_loss != 0:
        for l in range(LANES):
            loss[l] += job.z_loss * (st.m[l] + logs[l]) * (st.m[l] + logs[l])
    for l in range(LANES):
        loss[l] = b.u[l] * loss[l] if b.y[l] >= 0 else 0.0
    if job.value != NULL:
        for l in range(rows):
            (<real*> job.value)[r + l] = <real> loss[l]
    add_lanes(sums, loss)


# Hessian: factor p (1 - p) + 2 z p^2, with a = factor / total, b = 1 / total, and 1 - p of a maximum given apart

cdef inline void lanes_hessian(const real* v, const real* s, real* h, Py_ssize_t n, const real* a_, const real* b_, const real* rest_, const real* z_) noexcept nogil:
    cdef real a[LANES]
    cdef real b[LANES]
    cdef real rest[LANES]
    cdef real z[LANES]
    cdef real t[LANES]
    cdef Py_ssize_t i, l
    cdef real e, p
    for l in range(LANES):
        a[l], b[l], rest[l], z[l] = a_[l], b_[l], rest_[l], z_[l]
    for i in range(n):
        for l in range(LANES):
            e = s[i * LANES + l] + v[i * LANES + l] * s[i * LANES + l]
            p = e * b[l]
            t[l] = e * a[l] * (rest[l] if p > <real> 0.5 else <real> 1 - p) + z[l] * p * p
        for l in range(LANES):
            h[i * LANES + l] = t[l]


cdef inline void tile_hessian(const Rows* job, const real* v, const real* s, real* h, Py_ssize_t n, const Batch* b, const Stats* st) noexcept nogil:
    """n vectors, with the lanes of st and b"""
    cdef real a[LANES]
    cdef real inverse[LANES]
    cdef real rest[LANES]
    cdef real z[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        a[l], inverse[l] = <real> (b.factor[l] / st.total[l]), <real> (1.0 / st.total[l])
        rest[l], z[l] = <real> (st.rest[l] / (1.0 + st.rest[l])), <real> b.z[l]
    lanes_hessian(v, s, h, n, a, inverse, rest, z)


cdef inline void run_hessian(const Rows* job, Py_ssize_t r, Py_ssize_t start, Py_ssize_t size, const real* v, const real* s, double factor, double z,
                             const Stats* st, Py_ssize_t lane) noexcept nogil:
    cdef real h[PIECE + SHORT_ROW]
    cdef Stats row
    cdef Batch b
    cdef Py_ssize_t l, vectors = (size + LANES - 1) // LANES
    for l in range(LANES):
        row.total[l], row.rest[l], b.factor[l], b.z[l] = st.total[lane], st.rest[lane], factor, z
    tile_hessian[real](job, v, s, h, vectors, &b, &row)
    settle(h, size)
    spread[real](h, row_of[real](&job.hess, job, r, v) + start * job.hess.classes, job.hess.classes, size)


cdef inline void run_gradient(const Rows* job, Py_ssize_t r, Py_ssize_t start, Py_ssize_t size, const real* v, const real* s, double factor, double z,
                              const Stats* st, Py_ssize_t lane, const Share* share) noexcept nogil:
    """The probabilities' part of gradient and Hessian, for part of a row."""
    if job.want_hess:
        run_hessian[real](job, r, start, size, v, s, factor, z, st, lane)
    run_scale[real](v, s, row_of[real](&job.out, job, r, v) + start * job.out.classes, job.out.classes, size, share, lane,
                    later_row[real](job, r + max(rows_at_once(job.n_classes), 1), v) + start)


cdef inline void present_rows(const Rows* job, Py_ssize_t r, real* scratch, Batch* b, Stats* st) noexcept nogil:
    """The rows of a batch that are not short: statistics, and the probabilities' part of the derivatives where wanted."""
    cdef Py_ssize_t n = job.n_classes, at_once = 0 if job.want_hess and n > PIECE else rows_at_once(n), first, some, i, l, start, size
    cdef Py_ssize_t index[LANES]
    cdef real* v[LANES]
    cdef real* s[LANES]
    cdef real unit[UNIT]
    cdef double factor[LANES]
    cdef double shift[LANES]
    cdef Share share
    cdef Stats part
    for l in range(LANES):
        factor[l] = 0
    for first from 0 <= first < b.n_present by max(at_once, 1):
        some = min(max(at_once, 1), b.n_present - first)
        for i in range(some):
            index[i] = r + b.present[first + i]
        if at_once:
            whole_rows[real](job, index, some, True, scratch, v, s, &part)
        else:
            long_row[real](job, index[0], scratch, unit, &part)
        for i in range(some):
            l = b.present[first + i]
            b.x_y[l] = row_of[real](&job.x, job, index[i], scratch)[b.y[l] * job.x.classes]
            st.m[l], st.rest[l] = part.m[i], part.rest[i]
            weigh_target(job, b, st, l)
            b.factor[l] = factor[i] = factor_of(job, b, st, l)
        if job.want_grad:
            leave_unit[real](factor, some, shift, &part, scratch)
            shares[real](factor, &part, &share, scratch)
        for i in range(some if job.want_grad and at_once else 0):
            shift_run[real](s[i], n, shift[i])
            run_gradient[real](job, index[i], 0, n, v[i], s[i], factor[i], b.z[b.present[first + i]], &part, i, &share)
        start = n if at_once or not job.want_grad else 0
        while goes_on(job, start):
            size = piece_size(start, n)
            piece_exp[real](job, index[0], start, size, unit, scratch)
            shift_run[real](scratch + PIECE + SHORT_ROW, size, shift[0])
            run_gradient[real](job, index[0], start, size, scratch, scratch + PIECE + SHORT_ROW, factor[0], b.z[l], &part, 0, &share)
            start += size


cdef void cross_entropy_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    """Class indices without smoothing: only the entry of the class differs from a scaled softmax."""
    cdef Py_ssize_t n = job.n_classes, r, l, rows
    cdef bint short = n < SHORT_ROW
    cdef real* x = scratch
    cdef real* v = x + tile_size(n)
    cdef real* s = v + tile_size(n)
    cdef Share share
    cdef double shift[LANES]
    cdef double gradient[LANES]
    cdef Stats st
    cdef Batch b
    cdef Sums sums
    clear_lanes(&sums)
    for r from begin <= r < end by LANES:
        rows = min(LANES, end - r)
        load_batch[real](job, r, rows, &b, scratch)
        if short:
            load_tile[real](x, &job.x, job, r, rows)
            tile_stats[real](x, v, s, n, tile_lines[real](&job.out, job, r, v), True, &st)
            for l in range(LANES):
                b.x_y[l] = x[max(b.y[l], 0) * LANES + l]
                weigh_target(job, &b, &st, l)
        else:
            for l in range(LANES):
                st.m[l] = st.rest[l] = b.factor[l] = 0
            present_rows[real](job, r, scratch, &b, &st)
        batch_losses[real](job, r, rows, &b, &st, &sums, scratch)
        if not job.want_grad:
            continue
        if short:
            for l in range(LANES):
                b.factor[l] = factor_of(job, &b, &st, l)
        target_gradients(&b, &st, gradient)
        if short:
            if leave_unit[real](b.factor, LANES, shift, &st, x):
                shift_lanes[real](s, n, shift)
            if job.want_hess:
                tile_hessian[real](job, v, s, s + tile_size(n), n, &b, &st)
                for l in range(rows if job.gamma != 0 else 0):
                    s[tile_size(n) + max(b.y[l], 0) * LANES + l] = <real> target_hessian(&b, &st, l)
                store_tile[real](s + tile_size(n), &job.hess, job, r, rows)
            shares[real](b.factor, &st, &share, scratch)
            lanes_scale[real](v, s, v, n, &share, -1, tile_lines[real](&job.x, job, r + LANES, x))
            for l in range(rows):
                v[max(b.y[l], 0) * LANES + l] = <real> gradient[l]
            store_tile[real](v, &job.out, job, r, rows)
        else:
            for l in range(rows):
                if b.y[l] >= 0:
                    row_of[real](&job.out, job, r + l, scratch)[b.y[l] * job.out.classes] = <real> gradient[l]
                if b.y[l] >= 0 and job.want_hess and job.gamma != 0:
                    row_of[real](&job.hess, job, r + l, scratch)[b.y[l] * job.hess.classes] = <real> target_hessian(&b, &st, l)
        zero_absent[real](job, r, rows, &b, scratch)
    total_lanes(&sums, acc)


cdef inline void target_tile(const Rows* job, real* q, Py_ssize_t r, Py_ssize_t rows, const Batch* b) noexcept nogil:
    """q = class weight times the target distribution after smoothing"""
    cdef Py_ssize_t n = job.n_classes, c, l
    cdef real keep = <real> (1.0 - job.smoothing), spread_ = <real> (job.smoothing / n), w
    if job.target == NULL:
        load_tile[real](q, &job.aux, job, r, rows)
    for c in range(n):
        w = <real> class_weight[real](job, c, q)
        for l in range(LANES):
            q[c * LANES + l] = (q[c * LANES + l] * keep + spread_) * w if job.target == NULL else spread_ * w
    if job.target != NULL:
        for l in range(rows):
            if b.y[l] >= 0:
                q[b.y[l] * LANES + l] += keep * <real> class_weight[real](job, b.y[l], q)


cdef inline void target_piece(const Rows* job, real* q, Py_ssize_t r, Py_ssize_t start, Py_ssize_t n, int64_t y) noexcept nogil:
    """As target_tile for part of one row."""
    cdef real keep = <real> (1.0 - job.smoothing), spread_ = <real> (job.smoothing / job.n_classes)
    cdef Py_ssize_t c
    for c in range(n, (n + LANES - 1) // LANES * LANES):
        q[c] = 0
    if job.target == NULL:
        load_piece[real](&job.aux, job, r, start, n, 0, q)
        for c in range(n):
            q[c] = (q[c] * keep + spread_) * <real> class_weight[real](job, start + c, q)
        return
    for c in range(n):
        q[c] = spread_ * <real> class_weight[real](job, start + c, q)
    if start <= y < start + n:
        q[y - start] += keep * <real> class_weight[real](job, y, q)


cdef inline void lanes_target(const real* x, const real* q, Py_ssize_t n, const real* m_, double* w, double* dot) noexcept nogil:
    """w += sum q, dot += sum q (m - x), where q = 0 takes no part even against an infinite logit"""
    cdef double total[LANES]
    cdef double product[LANES]
    cdef double low[LANES]
    cdef double t[LANES]
    cdef real m[LANES]
    cdef double s, b
    cdef Py_ssize_t i, l
    for l in range(LANES):
        total[l], product[l], low[l], m[l] = w[l], dot[l], 0, m_[l]
    for i in range(n):
        for l in range(LANES):
            t[l] = <double> m[l] - <double> x[i * LANES + l]
        for l in range(LANES):                           # 0 where q is, so that 0 * inf plays no part
            t[l] = t[l] if q[i * LANES + l] != <real> 0 else 0.0
        for l in range(LANES):
            t[l] = <double> q[i * LANES + l] * t[l]
            s = product[l] + t[l]
            if real is double:
                b = s - product[l]
                low[l] += (product[l] - (s - b)) + (t[l] - b)
            product[l] = s
            total[l] += q[i * LANES + l]
    for l in range(LANES):
        w[l], dot[l] = total[l], product[l] + (low[l] if low[l] == low[l] else 0.0)


cdef inline void lanes_dense_gradient(const real* v, const real* s, real* q, Py_ssize_t n, const double* a_, const double* b_) noexcept nogil:
    """q becomes a (1 + v) s - b q"""
    cdef real a[LANES]
    cdef real b[LANES]
    cdef real e
    cdef Py_ssize_t i, l
    for l in range(LANES):
        a[l], b[l] = <real> a_[l], <real> b_[l]
    for i in range(n):
        for l in range(LANES):
            e = s[i * LANES + l] + v[i * LANES + l] * s[i * LANES + l]
            q[i * LANES + l] = e * a[l] - q[i * LANES + l] * b[l]


cdef inline void dense_long(const Rows* job, Py_ssize_t r, Py_ssize_t lane, real* scratch, Batch* b, Stats* st) noexcept nogil:
    """One long row, a lane of its batch."""
    cdef real x[PIECE + SHORT_ROW]
    cdef real q[PIECE + SHORT_ROW]
    cdef real m[LANES]
    cdef double a[LANES]
    cdef double up[LANES]
    cdef double w[LANES]
    cdef double dot[LANES]
    cdef double shift[LANES]
    cdef real* v = scratch
    cdef real* s = scratch + PIECE + SHORT_ROW
    cdef Py_ssize_t n = job.n_classes, start = 0, size, l
    cdef Stats row
    cdef real unit[UNIT]
    long_row[real](job, r, scratch, unit, &row)
    st.m[lane], st.rest[lane] = row.m[0], row.rest[0]
    for l in range(LANES):
        m[l], w[l], dot[l] = <real> row.m[0], 0, 0
    while goes_on(job, start):
        size = piece_size(start, n)
        load_piece[real](&job.x, job, r, start, size, <real> -INFINITY, x)
        target_piece[real](job, q, r, start, size, b.y[lane])
        lanes_target[real](x, q, (size + LANES - 1) // LANES, m, w, dot)
        start += size
    b.w[lane], b.dot[lane] = sum_lanes(w), sum_lanes(dot)
    if not job.want_grad:
        return
    b.factor[lane] = factor_of(job, b, st, lane)
    leave_unit[real](&b.factor[lane], 1, shift, &row, scratch)
    for l in range(LANES):
        a[l], up[l] = b.factor[lane] / row.total[0], b.up[lane]
    start = 0
    while goes_on(job, start):
        size = piece_size(start, n)
        piece_exp[real](job, r, start, size, unit, scratch)
        shift_run[real](s, size, shift[0])
        if job.want_hess:
            run_hessian[real](job, r, start, size, v, s, b.factor[lane], b.z[lane], &row, 0)
        target_piece[real](job, q, r, start, size, b.y[lane])
        settle(v, size)
        settle(s, size)
        lanes_dense_gradient[real](v, s, q, (size + LANES - 1) // LANES, a, up)
        spread[real](q, row_of[real](&job.out, job, r, scratch) + start * job.out.classes, job.out.classes, size)
        start += size


# A focal loss of a target distribution is a cross-entropy whose weights q_j carry minus the slopes of their own classes.

cdef inline void lanes_focal(real* x, const real* v, const real* s, real* q, Py_ssize_t n, const Stats* st, double gamma, double* w,
                             double* dot, double* z, double* z_top) noexcept nogil:
    """q gains minus the slopes, x becomes q times the curves; w and z gain their sums, z_top that of the maxima, dot that of the losses"""
    cdef real m[LANES]
    cdef real log_total[LANES]
    cdef real inverse[LANES]
    cdef real apart[LANES]
    cdef real value[LANES]
    cdef real slope[LANES]
    cdef real curve[LANES]
    cdef real top[LANES]
    cdef real d, p, a, g = <real> gamma
    cdef Py_ssize_t i, l
    for l in range(LANES):
        m[l], log_total[l] = <real> st.m[l], <real> log1p_f64(st.rest[l])
        inverse[l], apart[l] = <real> (1.0 / st.total[l]), <real> (st.rest[l] / (1.0 + st.rest[l]))
    for i in range(n):
        for l in range(LANES):
            d, p = x[i * LANES + l] - m[l], (s[i * LANES + l] + v[i * LANES + l] * s[i * LANES + l]) * inverse[l]
            if real is float:
                value[l], slope[l], curve[l] = _focal_f32(d - log_total[l], p, pick[real](d == 0, apart[l], 1 - p), g)
            else:
                value[l], slope[l], curve[l] = _focal_f64(d - log_total[l], p, pick[real](d == 0, apart[l], 1 - p), g)
        for l in range(LANES):                           # 0 where q is, so that 0 * inf plays no part
            a = q[i * LANES + l]
            value[l], slope[l], curve[l] = pick[real](a == 0, 0, a * value[l]), pick[real](a == 0, 0, a * slope[l]), pick[real](a == 0, 0, a * curve[l])
            top[l] = pick[real](x[i * LANES + l] == m[l], curve[l], 0)
        for l in range(LANES):
            q[i * LANES + l], x[i * LANES + l] = slope[l], curve[l]
        for l in range(LANES):
            dot[l] += value[l]
            w[l] += slope[l]
            z[l] += <double> curve[l] - <double> top[l]
            z_top[l] += top[l]


cdef inline void lanes_focal_hessian(const real* v, const real* s, real* x, Py_ssize_t n, const Stats* st, const double* up,
                                     const double* w_, const double* z_, const double* z_top) noexcept nogil:
    """x, which holds the curves b, becomes up (w p (1 - p) + b (1 - p)^2 + (z_top - b + z) p^2)"""
    cdef real inverse[LANES]
    cdef real apart[LANES]
    cdef real a[LANES]
    cdef real w[LANES]
    cdef real z[LANES]
    cdef real crest[LANES]
    cdef real t[LANES]
    cdef real p, q, b
    cdef Py_ssize_t i, l
    for l in range(LANES):
        inverse[l], apart[l] = <real> (1.0 / st.total[l]), <real> (st.rest[l] / (1.0 + st.rest[l]))
        a[l], w[l], z[l], crest[l] = <real> up[l], <real> w_[l], <real> z_[l], <real> z_top[l]
    for i in range(n):
        for l in range(LANES):
            p, b = (s[i * LANES + l] + v[i * LANES + l] * s[i * LANES + l]) * inverse[l], x[i * LANES + l]
            q = pick[real](p > 0.5, apart[l], 1 - p)
            t[l] = a[l] * (w[l] * p * q + b * q * q + ((crest[l] - b) + z[l]) * p * p)
        for l in range(LANES):
            x[i * LANES + l] = t[l]


cdef inline Py_ssize_t focal_piece(const Rows* job, Py_ssize_t r, Py_ssize_t start, Py_ssize_t size, int64_t y, const real* unit, const Stats* row,
                                   double shift, real* x, real* v, real* s, real* q, double[4][LANES] sums) noexcept nogil:
    """lanes_focal for part of a row; the number of its vectors"""
    cdef Py_ssize_t vectors = (size + LANES - 1) // LANES
    load_piece[real](&job.x, job, r, start, size, <real> -INFINITY, x)
    target_piece[real](job, q, r, start, size, y)
    run_exp(x, v, s, vectors * LANES, unit, 0, x)
    shift_run(s, vectors * LANES - LANES, shift)
    lanes_focal(x, v, s, q, vectors, row, job.gamma, sums[0], sums[1], sums[2], sums[3])
    return vectors


cdef inline void focal_long(const Rows* job, Py_ssize_t r, Py_ssize_t lane, real* scratch, Batch* b, Stats* st) noexcept nogil:
    """One long row, a lane of its batch."""
    cdef real x[PIECE + SHORT_ROW]
    cdef real q[PIECE + SHORT_ROW]
    cdef double sums[4][LANES]
    cdef double spare[4][LANES]
    cdef double factor[LANES]
    cdef double up[LANES]
    cdef double shift[LANES]
    cdef real* v = scratch
    cdef real* s = scratch + PIECE + SHORT_ROW
    cdef Py_ssize_t n = job.n_classes, start = 0, size, l, vectors
    cdef Stats row
    cdef real unit[UNIT]
    long_row[real](job, r, scratch, unit, &row)
    for l in range(LANES):
        row.total[l], row.rest[l] = row.total[0], row.rest[0]
    memset(sums, 0, sizeof(sums))
    memset(spare, 0, sizeof(spare))
    while goes_on(job, start):
        size = piece_size(start, n)
        focal_piece[real](job, r, start, size, b.y[lane], unit, &row, 1.0, x, v, s, q, sums)
        start += size
    for l in range(4):
        sums[l][0] = sum_lanes(sums[l])
    b.w[lane], b.dot[lane], st.m[lane], st.rest[lane] = sums[0][0], sums[1][0], row.m[0], row.rest[0]
    if not job.want_grad:
        return
    b.factor[lane] = factor_of(job, b, st, lane)
    leave_unit[real](&b.factor[lane], 1, shift, &row, scratch)
    for l in range(LANES):
        row.total[l], factor[l], up[l] = row.total[0], b.factor[lane] / row.total[0], b.up[lane]
        sums[0][l], sums[2][l], sums[3][l] = sums[0][0], sums[2][0], sums[3][0]
    start = 0
    while goes_on(job, start):
        size = piece_size(start, n)
        vectors = focal_piece[real](job, r, start, size, b.y[lane], unit, &row, shift[0], x, v, s, q, spare)
        if job.want_hess:
            lanes_focal_hessian(v, s, x, vectors, &row, up, sums[0], sums[2], sums[3])
            spread[real](x, row_of[real](&job.hess, job, r, scratch) + start * job.hess.classes, job.hess.classes, size)
        lanes_dense_gradient[real](v, s, q, vectors, factor, up)
        spread[real](q, row_of[real](&job.out, job, r, scratch) + start * job.out.classes, job.out.classes, size)
        start += size


cdef void dense_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    """Probability targets or label smoothing: every class has a target weight q_j."""
    cdef Py_ssize_t n = job.n_classes, r, l, rows
    cdef bint short = n < SHORT_ROW
    cdef real* x = scratch
    cdef real* v = x + tile_size(n)
    cdef real* s = v + tile_size(n)
    cdef real* q = s + tile_size(n)
    cdef real m[LANES]
    cdef double a[LANES]
    cdef double z[LANES]
    cdef double z_top[LANES]
    cdef double shift[LANES]
    cdef Stats st
    cdef Batch b
    cdef Sums sums
    clear_lanes(&sums)
    for l in range(LANES):
        st.m[l] = st.rest[l] = 0
    for r from begin <= r < end by LANES:
        rows = min(LANES, end - r)
        load_batch[real](job, r, rows, &b, scratch)
        for l in range(LANES):
            b.w[l] = b.factor[l] = z[l] = z_top[l] = 0
        if short:
            target_tile[real](job, q, r, rows, &b)
            load_tile[real](x, &job.x, job, r, rows)
            tile_stats[real](x, v, s, n, tile_lines[real](&job.out, job, r, v), True, &st)
            for l in range(LANES):
                m[l] = <real> st.m[l]
            if job.gamma != 0:
                lanes_focal[real](x, v, s, q, n, &st, job.gamma, b.w, b.dot, z, z_top)
            else:
                lanes_target[real](x, q, n, m, b.w, b.dot)
        else:
            for l in range(b.n_present):
                if job.gamma != 0:
                    focal_long[real](job, r + b.present[l], b.present[l], scratch, &b, &st)
                else:
                    dense_long[real](job, r + b.present[l], b.present[l], scratch, &b, &st)
        batch_losses[real](job, r, rows, &b, &st, &sums, scratch)
        if not job.want_grad:
            continue
        if short:
            for l in range(LANES):
                b.factor[l] = factor_of(job, &b, &st, l)
            if leave_unit[real](b.factor, LANES, shift, &st, x):
                shift_lanes[real](s, n, shift)
            for l in range(LANES):
                a[l] = b.factor[l] / st.total[l]
            if job.want_hess:
                if job.gamma != 0:
                    lanes_focal_hessian[real](v, s, x, n, &st, b.up, b.w, z, z_top)
                else:
                    tile_hessian[real](job, v, s, x, n, &b, &st)
                store_tile[real](x, &job.hess, job, r, rows)
            lanes_dense_gradient[real](v, s, q, n, a, b.up)
            store_tile[real](q, &job.out, job, r, rows)
        zero_absent[real](job, r, rows, &b, scratch)
    total_lanes(&sums, acc)


cdef void nll_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    cdef Py_ssize_t r, l, rows
    cdef double w
    cdef double loss[LANES]
    cdef Batch b
    cdef Sums sums
    clear_lanes(&sums)
    for r from begin <= r < end by LANES:
        rows = LANES if end - r > LANES else end - r
        load_batch[real](job, r, rows, &b, scratch)
        for l in range(LANES):
            loss[l] = 0
        for l in range(rows):
            w = b.w[l]
            if b.y[l] >= 0:                              # read before the gradient, which may be written in its place
                loss[l] = -w * b.u[l] * row_of[real](&job.x, job, r + l, scratch)[b.y[l] * job.x.classes]
            if job.want_grad:
                zero_row[real](&job.out, job, r + l, scratch)
                if b.y[l] >= 0:
                    row_of[real](&job.out, job, r + l, scratch)[b.y[l] * job.out.classes] = <real> (-w * b.up[l])
            if job.want_hess:
                zero_row[real](&job.hess, job, r + l, scratch)
            if job.value != NULL:
                (<real*> job.value)[r + l] = <real> loss[l]
        add_lanes(&sums, loss)
    total_lanes(&sums, acc)


cdef void fill_rows(Table* t) noexcept:
    t.rows[SOFTMAX][0], t.rows[SOFTMAX][1] = <rows_t> softmax_rows[float], <rows_t> softmax_rows[double]
    t.rows[LOG_SOFTMAX][0], t.rows[LOG_SOFTMAX][1] = <rows_t> log_softmax_rows[float], <rows_t> log_softmax_rows[double]
    t.rows[LOGSUMEXP][0], t.rows[LOGSUMEXP][1] = <rows_t> logsumexp_rows[float], <rows_t> logsumexp_rows[double]
    t.rows[SOFTMAX_BACKWARD][0] = <rows_t> softmax_backward_rows[float]
    t.rows[SOFTMAX_BACKWARD][1] = <rows_t> softmax_backward_rows[double]
    t.rows[LOG_SOFTMAX_BACKWARD][0] = <rows_t> log_softmax_backward_rows[float]
    t.rows[LOG_SOFTMAX_BACKWARD][1] = <rows_t> log_softmax_backward_rows[double]
    t.rows[CROSS_ENTROPY][0], t.rows[CROSS_ENTROPY][1] = <rows_t> cross_entropy_rows[float], <rows_t> cross_entropy_rows[double]
    t.rows[CROSS_ENTROPY_DENSE][0], t.rows[CROSS_ENTROPY_DENSE][1] = <rows_t> dense_rows[float], <rows_t> dense_rows[double]
    t.rows[NLL][0], t.rows[NLL][1] = <rows_t> nll_rows[float], <rows_t> nll_rows[double]
