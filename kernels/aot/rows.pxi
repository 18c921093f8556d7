# Row kernels: the softmax family and cross-entropy. Included by the table of each instruction set.
#
# A tile holds vectors of LANES values. Short rows (C < SHORT_ROW) are transposed, one row per lane, C vectors a tile;
# a long row fills vectors with its own neighbouring classes and its lanes are combined at the end. The loops are the same.
#
# With m the maximum, k how often it occurs and s the sum of exp(x - m) over everything else,
# the sum is k + s and its logarithm log1p((k - 1) + s), which keeps all digits when one class dominates.

ctypedef fused real:
    float
    double

cdef struct Stats:
    double m[LANES]
    double s[LANES]
    double k[LANES]


cdef inline real exp_of(real hi, real lo) noexcept nogil:
    if real is float:
        return exp_split_f32(hi, lo)
    else:
        return exp_split_f64(hi, lo)


cdef inline real exp_up(real hi, real lo) noexcept nogil:
    """exp(hi + lo) / down, which is no subnormal number"""
    if real is float:
        return _exp_split_up_f32(hi, lo)
    else:
        return _exp_split_up_f64(hi, lo)


cdef inline real down_of(real like) noexcept nogil:
    if real is float:
        return _down_f32()
    else:
        return _down_f64()


cdef inline real lowest(real like) noexcept nogil:      # below it exp is 0
    if real is float:
        return <real> -104.0
    else:
        return <real> -746.0


# ---- loops over vectors -------------------------------------------------------------------------------------------

cdef inline void lanes_max(const real* x, Py_ssize_t n, real* m) noexcept nogil:
    cdef real top[4 * LANES]                             # four vectors at a time: a maximum waits for the one before
    cdef Py_ssize_t i, l
    for l in range(4 * LANES):
        top[l] = m[l % LANES]
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


cdef inline void lanes_exp(const real* x, real* e, Py_ssize_t n, bint store, const real* m_, real* s_, real* k_) noexcept nogil:
    """e = exp(x - m); s_ and k_ gain, divided by down, the (Kahan-compensated) sum over x != m and the count of x == m."""
    cdef real m[LANES]
    cdef real s[LANES]
    cdef real c[LANES]
    cdef real k[LANES]
    cdef real t[LANES]
    cdef Py_ssize_t i, l
    cdef real v, d, b, lo, top, y, z, low = lowest(m_[0]), down = down_of(m_[0]), one = <real> 1 / down_of(m_[0])
    for l in range(LANES):
        m[l], s[l], k[l], c[l] = m_[l], s_[l], k_[l], s_[LANES + l]
    for i in range(n):
        for l in range(LANES):
            v = x[i * LANES + l]
            d = v - m[l]
            b = v - d
            lo = (v - (d + b)) - (m[l] - b)             # d + lo is x - m exactly
            lo = <real> 0 if d < low else lo            # exp_split stops there too
            t[l] = exp_up(d, lo)
            top = one if v == m[l] else <real> 0        # which t is then, exactly
            k[l] = k[l] + top
            y = (t[l] - top) - c[l]
            z = s[l] + y
            c[l] = (z - s[l]) - y
            s[l] = z
        if store:
            for l in range(LANES):
                e[i * LANES + l] = t[l] * down
    for l in range(LANES):
        s_[l], s_[LANES + l], k_[l] = s[l], c[l], k[l]


cdef inline void lanes_scale(real* e, Py_ssize_t n, const real* a) noexcept nogil:
    cdef real factor[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        factor[l] = a[l]
    for i in range(n):
        for l in range(LANES):
            e[i * LANES + l] = e[i * LANES + l] * factor[l]


cdef inline real highest_lane(const real* m) noexcept nogil:
    cdef real a[8]
    cdef Py_ssize_t l
    for l in range(8):
        a[l] = m[l] if m[l] > m[l + 8] else m[l + 8]
    for l in range(4):
        a[l] = a[l] if a[l] > a[l + 4] else a[l + 4]
    for l in range(2):
        a[l] = a[l] if a[l] > a[l + 2] else a[l + 2]
    return a[0] if a[0] > a[1] else a[1]


# ---- tiles: 16 short rows, transposed -----------------------------------------------------------------------------

cdef inline Py_ssize_t row_at(const View* view, Py_ssize_t inner, Py_ssize_t r) noexcept nogil:
    """Where row r begins, in elements."""
    if inner == 1:
        return r * view.outer
    return (r // inner) * view.outer + (r % inner) * view.inner


cdef inline void load_tile(real* t, const View* view, Py_ssize_t inner, Py_ssize_t n_classes, Py_ssize_t r, Py_ssize_t rows) noexcept nogil:
    cdef real* p[LANES]
    cdef Py_ssize_t c, l, step = view.classes
    cdef bint adjacent = rows == LANES
    for l in range(LANES):
        p[l] = <real*> view.data + row_at(view, inner, r + l if l < rows else r)
        adjacent = adjacent and p[l] == p[0] + l
    if adjacent:
        for c in range(n_classes):
            for l in range(LANES):
                t[c * LANES + l] = p[0][c * step + l]
    else:
        for l in range(LANES):
            for c in range(n_classes):
                t[c * LANES + l] = p[l][c * step]


cdef inline void store_tile(const real* t, const View* view, Py_ssize_t inner, Py_ssize_t n_classes, Py_ssize_t r, Py_ssize_t rows) noexcept nogil:
    cdef real* p[LANES]
    cdef Py_ssize_t c, l, step = view.classes
    cdef bint adjacent = rows == LANES
    for l in range(rows):
        p[l] = <real*> view.data + row_at(view, inner, r + l)
        adjacent = adjacent and p[l] == p[0] + l
    if adjacent:
        for c in range(n_classes):
            for l in range(LANES):
                p[0][c * step + l] = t[c * LANES + l]
    else:
        for l in range(rows):
            for c in range(n_classes):
                p[l][c * step] = t[c * LANES + l]


cdef inline void tile_stats(const real* x, real* e, Py_ssize_t n_classes, bint store, Stats* st) noexcept nogil:
    cdef real m[LANES]
    cdef real s[2 * LANES]
    cdef real k[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        m[l] = <real> -INFINITY
        k[l] = s[l] = s[LANES + l] = 0
    lanes_max(x, n_classes, m)
    for l in range(LANES):
        st.m[l] = m[l]
        m[l] = <real> 0 if m[l] == <real> -INFINITY else m[l]
    lanes_exp(x, e, n_classes, store, m, s, k)
    for l in range(LANES):
        st.s[l] = NAN if st.m[l] == INFINITY else (<double> s[l] - <double> s[LANES + l]) * down_of(m[0])
        st.k[l] = <double> k[l] * down_of(m[0])


# ---- long rows ----------------------------------------------------------------------------------------------------

cdef inline real* row_of(const View* view, const Rows* job, Py_ssize_t r, const real* like) noexcept nogil:
    return <real*> view.data + row_at(view, job.inner, r)


cdef inline const real* neighbours(const real* x, Py_ssize_t step, Py_ssize_t n, real* spare) noexcept nogil:
    """n values side by side: x itself, or a copy in spare."""
    cdef Py_ssize_t c
    if step == 1:
        return x
    for c in range(n):
        spare[c] = x[c * step]
    return spare


cdef inline void spread(const real* values, real* out, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t c
    if step == 1:
        memcpy(out, values, n * sizeof(real))
    else:
        for c in range(n):
            out[c * step] = values[c]


cdef inline void row_stats(const real* x, Py_ssize_t step, real* e, Py_ssize_t e_step, Py_ssize_t n, bint store, real* tops, Stats* st,
                           Py_ssize_t lane) noexcept nogil:
    """Statistics of one row into st[lane], piece by piece; e = exp(x - tops[piece])."""
    cdef real spare[PIECE]
    cdef real piece_e[PIECE]
    cdef real m[LANES]
    cdef real s[2 * LANES]
    cdef real k[LANES]
    cdef real tail[LANES]
    cdef real tail_e[LANES]
    cdef double sums[LANES]
    cdef double counts[LANES]
    cdef double total[2]
    cdef double sk, kk
    cdef Py_ssize_t start, size, full, rest, l
    cdef const real* p
    cdef real* to
    cdef real top, ref
    st.m[lane], st.s[lane], st.k[lane], total[0], total[1] = -INFINITY, 0, 0, 0, 0
    for start from 0 <= start < n by PIECE:
        size = PIECE if n - start > PIECE else n - start
        full = size // LANES
        rest = size - full * LANES
        p = neighbours(x + start * step, step, size, spare)
        for l in range(LANES):
            m[l] = <real> -INFINITY
            k[l] = s[l] = s[LANES + l] = 0
            tail[l] = <real> -INFINITY
        lanes_max(p, full, m)
        if rest:
            for l in range(rest):
                tail[l] = p[full * LANES + l]
            lanes_max(tail, 1, m)
        top = highest_lane(m)
        ref = <real> 0 if top == <real> -INFINITY else top
        for l in range(LANES):
            m[l] = ref
        tops[start // PIECE] = ref
        to = e + start if e_step == 1 else &piece_e[0]
        lanes_exp(p, to, full, store, m, s, k)
        if rest:
            lanes_exp(tail, tail_e, 1, store, m, s, k)
        if store:
            for l in range(rest):
                to[full * LANES + l] = tail_e[l]
            if e_step != 1:
                spread(piece_e, e + start * e_step, e_step, size)
        for l in range(LANES):
            sums[l] = (<double> s[l] - <double> s[LANES + l]) * down_of(m[0])
            counts[l] = <double> k[l] * down_of(m[0])
        sk, kk = sum_lanes(sums), sum_lanes(counts)
        if top > st.m[lane]:
            if start:
                total[0] = (total[0] + st.k[lane]) * exp(st.m[lane] - top)
                total[1] = total[1] * exp(st.m[lane] - top)
            st.m[lane], st.k[lane] = top, kk
            two_sum(total, sk)
        elif top == st.m[lane]:
            st.k[lane] += kk
            two_sum(total, sk)
        else:
            two_sum(total, (sk + kk) * exp(top - st.m[lane]))
    st.s[lane] = NAN if st.m[lane] == INFINITY else total[0] + total[1]


cdef inline long double below(double top, double m) noexcept nogil:
    """exp(top - m) of a piece whose maximum is not the row's"""
    return <long double> 1 if top == m else expl(<long double> top - <long double> m)


cdef inline void scale_row(const real* e, Py_ssize_t e_step, real* out, Py_ssize_t step, Py_ssize_t n, const real* tops, double m,
                           long double a) noexcept nogil:
    """out = a * exp(top of the piece - m) * e, where out may be e"""
    cdef Py_ssize_t start, stop, c
    cdef real factor
    for start from 0 <= start < n by PIECE:
        stop = n if n - start < PIECE else start + PIECE
        factor = <real> (a * below(tops[start // PIECE], m))
        if out == e:
            for c in range(start, stop):
                out[c * step] = out[c * step] * factor
        elif step == 1:
            for c in range(start, stop):
                out[c] = e[c] * factor
        else:
            for c in range(start, stop):
                out[c * step] = e[c] * factor


cdef inline double log_sum(double k, double s) noexcept nogil:
    return log1p_f64((k - 1.0) + s)


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
    cdef Py_ssize_t n = job.n_classes, r, l, rows, e_step = 1
    cdef real* e = scratch
    cdef real* tops
    cdef real* out
    cdef real a[LANES]
    cdef Stats st
    if n < SHORT_ROW:
        for r from begin <= r < end by LANES:
            rows = LANES if end - r > LANES else end - r
            load_tile[real](e, &job.x, job.inner, n, r, rows)
            tile_stats[real](e, e, n, True, &st)
            for l in range(LANES):
                a[l] = <real> (1.0 / (st.k[l] + st.s[l]))
            lanes_scale[real](e, n, a)
            store_tile[real](e, &job.out, job.inner, n, r, rows)
        return
    for r in range(begin, end):
        out = row_of[real](&job.out, job, r, scratch)
        if n > LONG_ROW:                                 # too long for the second-level cache: e goes straight to out
            e, e_step, tops = out, job.out.classes, scratch
        else:
            tops = scratch + n
        row_stats[real](row_of[real](&job.x, job, r, scratch), job.x.classes, e, e_step, n, True, tops, &st, 0)
        scale_row[real](e, e_step, out, job.out.classes, n, tops, st.m[0], 1 / (<long double> st.k[0] + st.s[0]))


cdef void log_softmax_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, r, l, c, rows, group = 1
    cdef real* e = scratch                               # a tile, or the maxima of pieces
    cdef const real* x
    cdef real* out
    cdef real m[LANES]
    cdef real a[LANES]
    cdef Stats st
    if n < SHORT_ROW or n <= 1024:
        group = LANES                                    # logarithms are taken 16 at a time
    for l in range(LANES):
        st.m[l], st.k[l], st.s[l] = 0, 1, 0
    for r from begin <= r < end by group:
        rows = group if end - r > group else end - r
        if n < SHORT_ROW:
            load_tile[real](e, &job.x, job.inner, n, r, rows)
            tile_stats[real](e, e, n, False, &st)
        else:
            for l in range(rows):
                row_stats[real](row_of[real](&job.x, job, r + l, scratch), job.x.classes, e, 1, n, False, e, &st, l)
        for l in range(LANES):
            a[l] = <real> log_sum(st.k[l], st.s[l])
            m[l] = <real> st.m[l]
        if n < SHORT_ROW:
            for c in range(n):
                for l in range(LANES):
                    e[c * LANES + l] = (e[c * LANES + l] - m[l]) - a[l]
            store_tile[real](e, &job.out, job.inner, n, r, rows)
            continue
        for l in range(rows):
            x = row_of[real](&job.x, job, r + l, scratch)
            out = row_of[real](&job.out, job, r + l, scratch)
            if job.x.classes == 1 and job.out.classes == 1:
                for c in range(n):
                    out[c] = (x[c] - m[l]) - a[l]
            else:
                for c in range(n):
                    out[c * job.out.classes] = (x[c * job.x.classes] - m[l]) - a[l]


cdef void logsumexp_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, r, l, rows
    cdef real* e = scratch                               # a tile, or the maxima of pieces
    cdef real* out = <real*> job.out.data
    cdef double logs[LANES]
    cdef Stats st
    for l in range(LANES):
        st.m[l], st.k[l], st.s[l] = 0, 1, 0
    for r from begin <= r < end by LANES:
        rows = LANES if end - r > LANES else end - r
        if n < SHORT_ROW:
            load_tile[real](e, &job.x, job.inner, n, r, rows)
            tile_stats[real](e, e, n, False, &st)
        else:
            for l in range(rows):
                row_stats[real](row_of[real](&job.x, job, r + l, scratch), job.x.classes, e, 1, n, False, e, &st, l)
        for l in range(LANES):
            logs[l] = log_sum(st.k[l], st.s[l])
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
                t[l] = g[i * LANES + l] - exp_of(y[i * LANES + l], <real> 0) * total[l]
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
    cdef real* y = g + (n * LANES if n < SHORT_ROW else PIECE)
    cdef double dot[LANES]
    cdef real total[LANES]
    if n < SHORT_ROW:
        for r from begin <= r < end by LANES:
            rows = LANES if end - r > LANES else end - r
            load_tile[real](g, &job.aux, job.inner, n, r, rows)
            load_tile[real](y, &job.x, job.inner, n, r, rows)
            for l in range(LANES):
                dot[l] = 0
            lanes_dot[real](g, y, n, logs, dot)
            for l in range(LANES):
                total[l] = <real> dot[l]
            lanes_backward[real](g, y, n, logs, total)
            store_tile[real](g, &job.out, job.inner, n, r, rows)
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

cdef struct Batch:        # what 16 rows need beside their statistics
    int64_t y[LANES]      # class, -1: the row is absent
    double x_y[LANES]     # its logit
    double e_y[LANES]     # exp(x_y - m)
    double w[LANES]       # sum of target weights; index targets: the weight of the class
    double dot[LANES]     # sum of target weights times (m - x)
    double u[LANES]       # row weight
    double up[LANES]      # scale * row weight * upstream


cdef inline double class_weight(const Rows* job, int64_t y, const real* like) noexcept nogil:
    return (<const real*> job.class_weight)[y] if job.class_weight != NULL else 1.0


cdef inline void load_batch(const Rows* job, Py_ssize_t r, Py_ssize_t rows, Batch* b, const real* like) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        b.y[l], b.u[l], b.x_y[l], b.e_y[l], b.w[l], b.dot[l] = -1, 0, 0, 0, 0, 0
        if l < rows:
            b.u[l] = (<const real*> job.row_weight)[r + l] if job.row_weight != NULL else 1.0
            if job.target == NULL:
                b.y[l] = 0
            elif job.wide_target:
                b.y[l] = (<const int64_t*> job.target)[r + l]
            else:
                b.y[l] = (<const int32_t*> job.target)[r + l]
            if b.u[l] == 0 or (job.target != NULL and b.y[l] == job.ignore_index):
                b.y[l], b.u[l] = -1, 0
        b.w[l] = class_weight[real](job, b.y[l], like) if b.y[l] >= 0 and job.target != NULL else 0.0
        b.up[l] = job.scale * b.u[l]
        if job.upstream != NULL and b.y[l] >= 0:
            b.up[l] *= (<const real*> job.upstream)[r + l]


cdef inline void zero_lane(real* t, Py_ssize_t n, Py_ssize_t l) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(n):
        t[c * LANES + l] = 0


cdef inline void zero_row(const View* view, const Rows* job, Py_ssize_t r, const real* like) noexcept nogil:
    cdef real* out = row_of[real](view, job, r, like)
    cdef Py_ssize_t c
    for c in range(job.n_classes):
        out[c * view.classes] = 0


cdef inline void target_gradients(const Batch* b, const Stats* st, const double* z_lse, double* gradient) noexcept nogil:
    """(w + 2 z lse) p_y - w with 1 - p_y formed without cancellation"""
    cdef double rest
    cdef Py_ssize_t l
    for l in range(LANES):
        rest = (st.k[l] - 1.0) + st.s[l] if b.x_y[l] == st.m[l] else st.k[l] + (st.s[l] - b.e_y[l])
        gradient[l] = b.up[l] * (2.0 * z_lse[l] * b.e_y[l] - b.w[l] * rest) / (st.k[l] + st.s[l])


cdef inline void batch_losses(const Rows* job, Py_ssize_t r, Py_ssize_t rows, const Batch* b, const Stats* st,
                              Sums* sums, const real* like) noexcept nogil:
    cdef double loss[LANES]
    cdef double logs[LANES]
    cdef Py_ssize_t l
    for l in range(LANES):
        logs[l] = log_sum(st.k[l], st.s[l])
    for l in range(LANES):
        loss[l] = b.w[l] * logs[l] + b.dot[l]
    if job.z_loss != 0:
        for l in range(LANES):
            loss[l] += job.z_loss * (st.m[l] + logs[l]) * (st.m[l] + logs[l])
    for l in range(LANES):
        loss[l] = b.u[l] * loss[l] if b.y[l] >= 0 else 0.0
    if job.value != NULL:
        for l in range(rows):
            (<real*> job.value)[r + l] = <real> loss[l]
    add_lanes(sums, loss)


cdef inline void lanes_hessian(const real* e, real* h, Py_ssize_t n, const real* rest_, const real* total_, const real* a_, const real* z_) noexcept nogil:
    """h = e (a (total - e) + z e), with the difference of a maximum (e = 1) given as rest"""
    cdef real rest[LANES]
    cdef real total[LANES]
    cdef real a[LANES]
    cdef real z[LANES]
    cdef Py_ssize_t i, l
    cdef real v, others
    for l in range(LANES):
        rest[l], total[l], a[l], z[l] = rest_[l], total_[l], a_[l], z_[l]
    for i in range(n):
        for l in range(LANES):
            v = e[i * LANES + l]
            others = rest[l] if v == <real> 1 else total[l] - v
            h[i * LANES + l] = v * (a[l] * others + z[l] * v)


cdef inline void tile_hessian(const real* e, real* h, Py_ssize_t n, const double* factor, const double* two_z, const Stats* st) noexcept nogil:
    cdef real rest[LANES]
    cdef real total[LANES]
    cdef real a[LANES]
    cdef real z[LANES]
    cdef double t
    cdef Py_ssize_t l
    for l in range(LANES):
        t = st.k[l] + st.s[l]
        rest[l], total[l] = <real> ((st.k[l] - 1.0) + st.s[l]), <real> t
        a[l], z[l] = <real> (factor[l] / t / t), <real> (two_z[l] / t / t)
    lanes_hessian(e, h, n, rest, total, a, z)


cdef inline void hessian_row(const real* e, Py_ssize_t e_step, const Rows* job, Py_ssize_t r, const real* tops, const Stats* st, Py_ssize_t lane,
                             double factor, double two_z) noexcept nogil:
    """As tile_hessian for one row, in units of the maximum of each piece."""
    cdef real piece[PIECE]
    cdef real rest[LANES]
    cdef real total[LANES]
    cdef real a[LANES]
    cdef real z[LANES]
    cdef real* out = <real*> job.hess.data + row_at(&job.hess, job.inner, r)
    cdef Py_ssize_t start, size, c, l
    cdef long double unit, t = <long double> st.k[lane] + st.s[lane]
    for start from 0 <= start < job.n_classes by PIECE:
        size = PIECE if job.n_classes - start > PIECE else job.n_classes - start
        unit = below(tops[start // PIECE], st.m[lane])
        for l in range(LANES):
            total[l] = <real> (t / unit)
            rest[l] = <real> ((st.k[lane] - 1.0) + st.s[lane] if unit == 1 else t / unit - 1)
            a[l], z[l] = <real> (factor / t / t * unit * unit), <real> (two_z / t / t * unit * unit)
        for c in range(size):
            piece[c] = e[(start + c) * e_step]
        for c in range(size, (size + LANES - 1) // LANES * LANES):
            piece[c] = 0
        if t > 1e18 * unit:                              # p is so small that 1 - p is 1
            for l in range(LANES):
                a[l] = <real> (factor * unit / t)
            lanes_scale(piece, (size + LANES - 1) // LANES, a)
        else:
            lanes_hessian(piece, piece, (size + LANES - 1) // LANES, rest, total, a, z)
        spread(piece, out + start * job.hess.classes, job.hess.classes, size)


cdef inline void cross_entropy_long(const Rows* job, Py_ssize_t r, Py_ssize_t l, real* scratch, Batch* b, Stats* st) noexcept nogil:
    """One long row, lane l of its batch: statistics, and the gradient and Hessian where wanted."""
    cdef Py_ssize_t n = job.n_classes, e_step = 1
    cdef const real* x = <real*> job.x.data + row_at(&job.x, job.inner, r)
    cdef real* out = NULL
    cdef real* e = scratch
    cdef real* tops = scratch + n
    cdef double z_lse = 0, factor
    b.x_y[l] = x[b.y[l] * job.x.classes]
    if not job.want_grad:
        row_stats[real](x, job.x.classes, e, 1, n, False, scratch, st, l)
        return
    out = <real*> job.out.data + row_at(&job.out, job.inner, r)
    if n > LONG_ROW:
        e, e_step, tops = out, job.out.classes, scratch
    row_stats[real](x, job.x.classes, e, e_step, n, True, tops, st, l)
    if job.z_loss != 0:
        z_lse = job.z_loss * (st.m[l] + log_sum(st.k[l], st.s[l]))
    factor = b.up[l] * (b.w[l] + 2.0 * z_lse)
    b.e_y[l] = <double> (e[b.y[l] * e_step] * below(tops[b.y[l] // PIECE], st.m[l]))
    if job.want_hess:
        hessian_row[real](e, e_step, job, r, tops, st, l, factor, 2.0 * job.z_loss * b.up[l])
    scale_row[real](e, e_step, out, job.out.classes, n, tops, st.m[l], factor / (<long double> st.k[l] + st.s[l]))


cdef void cross_entropy_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    """Class indices without smoothing: only the entry of the class differs from a scaled softmax."""
    cdef Py_ssize_t n = job.n_classes, r, l, rows
    cdef bint short = n < SHORT_ROW
    cdef real* e = scratch
    cdef real* h = e + n * LANES
    cdef real a[LANES]
    cdef double factor[LANES]
    cdef double two_z[LANES]
    cdef double z_lse[LANES]
    cdef double gradient[LANES]
    cdef Stats st
    cdef Batch b
    cdef Sums sums
    clear_lanes(&sums)
    for l in range(LANES):
        st.m[l], st.k[l], st.s[l] = 0, 1, 0
    for r from begin <= r < end by LANES:
        rows = LANES if end - r > LANES else end - r
        load_batch[real](job, r, rows, &b, scratch)
        if short:
            load_tile[real](e, &job.x, job.inner, n, r, rows)
            for l in range(LANES):
                if b.y[l] >= 0:
                    b.x_y[l] = e[b.y[l] * LANES + l]
            tile_stats[real](e, e, n, job.want_grad, &st)
            for l in range(LANES):
                if b.y[l] >= 0:
                    b.e_y[l] = e[b.y[l] * LANES + l]
        else:
            for l in range(rows):
                if b.y[l] >= 0:
                    cross_entropy_long[real](job, r + l, l, scratch, &b, &st)
        for l in range(LANES):
            b.dot[l] = b.w[l] * (st.m[l] - b.x_y[l])
        batch_losses[real](job, r, rows, &b, &st, &sums, scratch)
        if not job.want_grad:
            continue
        for l in range(LANES):
            z_lse[l] = 0
        if job.z_loss != 0:
            for l in range(LANES):
                z_lse[l] = job.z_loss * (st.m[l] + log_sum(st.k[l], st.s[l]))
        for l in range(LANES):
            two_z[l] = 2.0 * job.z_loss * b.up[l]
            factor[l] = b.up[l] * (b.w[l] + 2.0 * z_lse[l])
            a[l] = <real> (factor[l] / (st.k[l] + st.s[l]))
        target_gradients(&b, &st, z_lse, gradient)
        if short and job.want_hess:
            tile_hessian[real](e, h, n, factor, two_z, &st)
            for l in range(rows):
                if b.y[l] < 0:
                    zero_lane[real](h, n, l)
            store_tile[real](h, &job.hess, job.inner, n, r, rows)
        if short:
            lanes_scale[real](e, n, a)
            for l in range(rows):
                if b.y[l] < 0:
                    zero_lane[real](e, n, l)
                else:
                    e[b.y[l] * LANES + l] = <real> gradient[l]
            store_tile[real](e, &job.out, job.inner, n, r, rows)
        if not short:
            for l in range(rows):
                if b.y[l] >= 0:
                    row_of[real](&job.out, job, r + l, scratch)[b.y[l] * job.out.classes] = <real> gradient[l]
                    continue
                zero_row[real](&job.out, job, r + l, scratch)
                if job.want_hess:
                    zero_row[real](&job.hess, job, r + l, scratch)
    total_lanes(&sums, acc)


cdef inline void target_tile(const Rows* job, real* q, Py_ssize_t r, Py_ssize_t rows, const Batch* b) noexcept nogil:
    """q = class weight times the target distribution after smoothing"""
    cdef Py_ssize_t n = job.n_classes, c, l
    cdef real keep = <real> (1.0 - job.smoothing), spread_ = <real> (job.smoothing / n), w
    if job.target == NULL:
        load_tile[real](q, &job.aux, job.inner, n, r, rows)
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
    cdef double t[LANES]
    cdef real m[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        total[l], product[l], m[l] = w[l], dot[l], m_[l]
    for i in range(n):
        for l in range(LANES):
            t[l] = <double> m[l] - <double> x[i * LANES + l]
        for l in range(LANES):                           # 0 where q is, so that 0 * inf plays no part
            t[l] = t[l] if q[i * LANES + l] != <real> 0 else 0.0
        for l in range(LANES):
            product[l] += <double> q[i * LANES + l] * t[l]
            total[l] += q[i * LANES + l]
    for l in range(LANES):
        w[l], dot[l] = total[l], product[l]


cdef inline void lanes_dense_gradient(real* e, const real* q, Py_ssize_t n, const real* a_, const real* b_) noexcept nogil:
    cdef real a[LANES]
    cdef real b[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        a[l], b[l] = a_[l], b_[l]
    for i in range(n):
        for l in range(LANES):
            e[i * LANES + l] = e[i * LANES + l] * a[l] - q[i * LANES + l] * b[l]


cdef inline void dense_long(const Rows* job, Py_ssize_t r, Py_ssize_t l, real* scratch, Batch* b, Stats* st) noexcept nogil:
    """One long row, lane l of its batch."""
    cdef real x[PIECE]
    cdef real q[PIECE]
    cdef real m[LANES]
    cdef real a[LANES]
    cdef real up[LANES]
    cdef double w[LANES]
    cdef double dot[LANES]
    cdef const real* row = <real*> job.x.data + row_at(&job.x, job.inner, r)
    cdef real* out = NULL
    cdef real* e = scratch
    cdef real* tops = scratch + (job.n_classes if job.want_grad else 0)
    cdef Py_ssize_t n = job.n_classes, e_step = 1, start, size, i
    cdef double z_lse = 0, factor
    cdef long double unit
    if job.want_grad:
        out = <real*> job.out.data + row_at(&job.out, job.inner, r)
    if n > LONG_ROW and job.want_grad and out != row:    # in place, x is read again: the engine gives room for e
        e, e_step, tops = out, job.out.classes, scratch
    row_stats[real](row, job.x.classes, e, e_step, n, job.want_grad, tops, st, l)
    for i in range(LANES):
        m[i], w[i], dot[i] = <real> st.m[l], 0, 0
    for start from 0 <= start < n by PIECE:
        size = PIECE if n - start > PIECE else n - start
        load_piece[real](&job.x, job, r, start, size, <real> -INFINITY, x)
        target_piece[real](job, q, r, start, size, b.y[l])
        lanes_target[real](x, q, (size + LANES - 1) // LANES, m, w, dot)
    b.w[l], b.dot[l] = sum_lanes(w), sum_lanes(dot)
    if not job.want_grad:
        return
    if job.z_loss != 0:
        z_lse = job.z_loss * (st.m[l] + log_sum(st.k[l], st.s[l]))
    factor = b.up[l] * (b.w[l] + 2.0 * z_lse)
    if job.want_hess:
        hessian_row[real](e, e_step, job, r, tops, st, l, factor, 2.0 * job.z_loss * b.up[l])
    for start from 0 <= start < n by PIECE:
        size = PIECE if n - start > PIECE else n - start
        unit = below(tops[start // PIECE], st.m[l])
        for i in range(LANES):
            a[i], up[i] = <real> (factor * unit / (<long double> st.k[l] + st.s[l])), <real> b.up[l]
        for i in range(size):
            x[i] = e[(start + i) * e_step]
        for i in range(size, (size + LANES - 1) // LANES * LANES):
            x[i] = 0
        target_piece[real](job, q, r, start, size, b.y[l])
        lanes_dense_gradient[real](x, q, (size + LANES - 1) // LANES, a, up)
        spread[real](x, out + start * job.out.classes, job.out.classes, size)


cdef void dense_rows(const Rows* job, Py_ssize_t begin, Py_ssize_t end, real* scratch, double* acc) noexcept nogil:
    """Probability targets or label smoothing: every class has a target weight q_j."""
    cdef Py_ssize_t n = job.n_classes, r, l, rows
    cdef bint short = n < SHORT_ROW
    cdef real* x = scratch
    cdef real* e = x + n * LANES
    cdef real* q = e + n * LANES
    cdef real a[LANES]
    cdef real up[LANES]
    cdef real m[LANES]
    cdef double factor[LANES]
    cdef double two_z[LANES]
    cdef double z_lse
    cdef Stats st
    cdef Batch b
    cdef Sums sums
    clear_lanes(&sums)
    for l in range(LANES):
        st.m[l], st.k[l], st.s[l] = 0, 1, 0
    for r from begin <= r < end by LANES:
        rows = LANES if end - r > LANES else end - r
        load_batch[real](job, r, rows, &b, scratch)
        for l in range(LANES):
            b.w[l] = b.dot[l] = 0
        if short:
            target_tile[real](job, q, r, rows, &b)
            load_tile[real](x, &job.x, job.inner, n, r, rows)
            tile_stats[real](x, e, n, True, &st)
            for l in range(LANES):
                m[l] = <real> st.m[l]
            lanes_target[real](x, q, n, m, b.w, b.dot)
        else:
            for l in range(rows):
                if b.y[l] >= 0:
                    dense_long[real](job, r + l, l, scratch, &b, &st)
        batch_losses[real](job, r, rows, &b, &st, &sums, scratch)
        if not job.want_grad:
            continue
        if not short:
            for l in range(rows):
                if b.y[l] < 0:
                    zero_row[real](&job.out, job, r + l, scratch)
                    if job.want_hess:
                        zero_row[real](&job.hess, job, r + l, scratch)
            continue
        for l in range(LANES):
            z_lse = job.z_loss * (st.m[l] + log_sum(st.k[l], st.s[l])) if job.z_loss != 0 else 0.0
            two_z[l] = 2.0 * job.z_loss * b.up[l]
            factor[l] = b.up[l] * (b.w[l] + 2.0 * z_lse)
            a[l] = <real> (factor[l] / (st.k[l] + st.s[l]))
            up[l] = <real> b.up[l]
        if job.want_hess:
            tile_hessian[real](e, x, n, factor, two_z, &st)
        lanes_dense_gradient[real](e, q, n, a, up)
        for l in range(rows):
            if b.y[l] < 0:
                zero_lane[real](x, n, l)
                zero_lane[real](e, n, l)
        if job.want_hess:
            store_tile[real](x, &job.hess, job.inner, n, r, rows)
        store_tile[real](e, &job.out, job.inner, n, r, rows)
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
            if job.want_grad:
                zero_row[real](&job.out, job, r + l, scratch)
            if job.want_hess:
                zero_row[real](&job.hess, job, r + l, scratch)
            if b.y[l] >= 0:
                w = b.w[l]
                loss[l] = -w * b.u[l] * row_of[real](&job.x, job, r + l, scratch)[b.y[l] * job.x.classes]
                if job.want_grad:
                    row_of[real](&job.out, job, r + l, scratch)[b.y[l] * job.out.classes] = <real> (-w * b.up[l])
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
