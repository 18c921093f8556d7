# Row losses beside softmax and cross-entropy. Included by the table of each instruction set.
#
# Rows are contiguous and computed in float64, whatever their dtype, so that a float32 result rounds once. A tile is TILE
# numbers of an input: up to LANES short rows side by side, class c of row l at c * LANES + l, or neighbours of one long row.
# A loss is three functions: reduce (maxima and sums, lane by lane, in one or two passes), finish (losses and factors, a row
# a lane), derive (gradient and Hessian). Their formulas are in formulas/margin.py.

cdef enum:
    SUMS = 4
    FACTORS = 16

cdef struct Group:                 # what is known of the rows of a tile
    Py_ssize_t lanes               # LANES short rows, or 1 long row
    Py_ssize_t stride              # classes from a vector to the next
    double at[LANES]               # class of a lane's first number
    int64_t y[LANES]               # class or sign
    bint used[LANES]
    double own[LANES]              # score of class y
    double w[LANES]                # weight of class y
    double u[LANES]                # row weight
    double up[LANES]               # scale * row weight * upstream
    double top[3][LANES]
    double sum[SUMS][LANES]
    double loss[LANES]
    double f[FACTORS][LANES]
    double own_grad[LANES]
    double own_hess[LANES]

cdef struct Tiles:
    double x[3][TILE]
    double grad[3][TILE]
    double hess[3][TILE]

ctypedef void (*reduce_t)(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil
ctypedef void (*finish_t)(const Lines* job, Group* g) noexcept nogil
ctypedef void (*derive_t)(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil

cdef struct Stages:
    reduce_t reduce
    finish_t finish
    derive_t derive
    int steps
    bint own                       # where there are targets, they are classes, whose scores are taken out of the others
    double filler                  # beyond the end of a row

cdef Stages STAGES[N_STAGED]


cdef inline void add_to(double* total, const double* v) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        total[l] += v[l]


cdef inline double larger(double v, double m) noexcept nogil:       # keeps NaN
    return v if v > m or v != v else m


# ---- multi-margin: sum over j != y of max(0, x_j - x_y + margin)^p w_y / C ------------------------------------------

cdef void multi_margin_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double own[LANES]
    cdef double value[LANES]
    cdef double slope[LANES]
    cdef double curve[LANES]
    cdef Py_ssize_t i, l
    cdef double p = job.params[0], margin = job.params[1]
    for l in range(LANES):
        own[l], value[l], slope[l], curve[l] = g.own[l], 0, 0, 0
    for i in range(n):
        for l in range(LANES):
            r = _multi_margin_f64(t.x[0][i * LANES + l], own[l], margin, p)
            value[l] += r[0]
            slope[l] += r[1]
            curve[l] += r[2]
    add_to(g.sum[0], value)
    add_to(g.sum[1], slope)
    add_to(g.sum[2], curve)


cdef void multi_margin_finish(const Lines* job, Group* g) noexcept nogil:
    cdef Py_ssize_t l
    cdef double w
    for l in range(g.lanes):
        w = g.w[l] / job.n_classes
        g.loss[l] = w * g.sum[0][l]
        g.f[0][l] = w * g.up[l]
        g.own_grad[l], g.own_hess[l] = -g.f[0][l] * g.sum[1][l], g.f[0][l] * g.sum[2][l]


cdef void multi_margin_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double own[LANES]
    cdef double factor[LANES]
    cdef Py_ssize_t i, l
    cdef double p = job.params[0], margin = job.params[1]
    for l in range(LANES):
        own[l], factor[l] = g.own[l], g.f[0][l]
    for i in range(n):
        for l in range(LANES):
            r = _multi_margin_f64(t.x[0][i * LANES + l], own[l], margin, p)
            t.grad[0][i * LANES + l] = factor[l] * r[1]
            t.hess[0][i * LANES + l] = factor[l] * r[2]


# ---- Crammer and Singer's hinge: max(0, 1 + max over j != y of x_j - x_y), or its square -----------------------------

cdef void crammer_singer_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    """First the maximum; then minus the first class that has it."""
    cdef double top[LANES]
    cdef double first[LANES]
    cdef double at[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        top[l], first[l], at[l] = g.top[0][l], g.top[1][l], -g.at[l] - start
    if step == 0:
        for i in range(n):
            for l in range(LANES):
                top[l] = larger(t.x[0][i * LANES + l], top[l])
        for l in range(LANES):
            g.top[0][l] = top[l]
        return
    for i in range(n):
        for l in range(LANES):
            first[l] = at[l] if t.x[0][i * LANES + l] == top[l] and at[l] > first[l] else first[l]
            at[l] -= g.stride
    for l in range(LANES):
        g.top[1][l] = first[l]


cdef void crammer_singer_finish(const Lines* job, Group* g) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(g.lanes):
        r = hinge_loss_f64(g.own[l] - g.top[0][l], 1)
        if job.params[0] == 2:
            r = squared_hinge_loss_f64(g.own[l] - g.top[0][l], 1)
        g.loss[l] = r[0]
        g.own_grad[l], g.own_hess[l] = g.up[l] * r[1], g.up[l] * r[2]


cdef void crammer_singer_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double at[LANES]
    cdef double first[LANES]
    cdef double slope[LANES]
    cdef double curve[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        at[l], first[l], slope[l], curve[l] = g.at[l] + start, -g.top[1][l], -g.own_grad[l], g.own_hess[l]
    for i in range(n):
        for l in range(LANES):
            t.grad[0][i * LANES + l] = slope[l] if at[l] == first[l] else 0.0
            t.hess[0][i * LANES + l] = curve[l] if at[l] == first[l] else 0.0
            at[l] += g.stride


# ---- cosine similarity and embedding loss --------------------------------------------------------------------------

cdef void cosine_sums(f64_array x, f64_array y, Py_ssize_t n, f64_array dot, f64_array square, f64_array other) noexcept nogil:
    cdef Py_ssize_t i, l
    for i in range(n):
        for l in range(LANES):
            dot[l] += x[i * LANES + l] * y[i * LANES + l]
            square[l] += x[i * LANES + l] * x[i * LANES + l]
            other[l] += y[i * LANES + l] * y[i * LANES + l]


cdef void cosine_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cosine_sums(t.x[0], t.x[1], n, g.sum[0], g.sum[1], g.sum[2])


cdef inline double held(double square, double eps) noexcept nogil:
    """1 / |x|^2, 0 where the norm is held at eps"""
    return 0.0 if square < eps * eps else 1 / square


cdef void cosine_finish(const Lines* job, Group* g) noexcept nogil:
    """With signs the embedding loss, whose squared norms gain 1e-12; without, the similarity, whose norms are at least eps."""
    cdef Py_ssize_t l
    cdef double eps = job.params[0], margin = job.params[1], square, other
    cdef bint signs = job.target != NULL
    for l in range(g.lanes):
        square = g.sum[1][l] + 1e-12 if signs else max(g.sum[1][l], eps * eps)
        other = g.sum[2][l] + 1e-12 if signs else max(g.sum[2][l], eps * eps)
        cosine = _cosine_f64(g.sum[0][l], square, other)
        r = _cosine_embedding_f64(cosine[0], g.y[l], margin)
        g.loss[l] = r[0] if signs else cosine[0]
        g.f[0][l] = g.up[l] * r[1] if signs else g.up[l]
        g.f[1][l], g.f[2][l] = cosine[1], cosine[0]
        g.f[3][l] = 1 / square if signs else held(g.sum[1][l], eps)
        g.f[4][l] = 1 / other if signs else held(g.sum[2][l], eps)


cdef void cosine_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double f[5][LANES]
    cdef Py_ssize_t i, l
    cdef double x, y
    for i in range(5):
        for l in range(LANES):
            f[i][l] = g.f[i][l]
    for i in range(n):
        for l in range(LANES):
            x, y = t.x[0][i * LANES + l], t.x[1][i * LANES + l]
            r = _cosine_slopes_f64(x, y, f[1][l], f[2][l], f[3][l])
            s = _cosine_slopes_f64(y, x, f[1][l], f[2][l], f[4][l])
            t.grad[0][i * LANES + l], t.grad[1][i * LANES + l] = f[0][l] * r[0], f[0][l] * s[0]
            t.hess[0][i * LANES + l], t.hess[1][i * LANES + l] = f[0][l] * r[1], f[0][l] * s[1]


# ---- distances: of a pair, or of the pairs (0, 1), (0, 2) and with swap (1, 2) of a triplet ---------------------------
# params: p, eps, margin, swap

cdef inline Py_ssize_t pairs_of(const Lines* job) noexcept nogil:
    return 1 if job.n_inputs == 2 else 3 if job.params[3] != 0 else 2


cdef inline const double* first_of(Tiles* t, Py_ssize_t pair) noexcept nogil:
    return t.x[1 if pair == 2 else 0]


cdef inline const double* second_of(Tiles* t, Py_ssize_t pair) noexcept nogil:
    return t.x[1 if pair == 0 else 2]


cdef inline Py_ssize_t limit_of(const Lines* job, const Group* g, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    """How many numbers of the tile there are: beyond them eps would count as a difference."""
    return n * LANES if g.lanes > 1 else job.n_classes - start


cdef void norm_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double total[LANES]
    cdef const double* x
    cdef const double* y
    cdef Py_ssize_t i, l, pair
    cdef Py_ssize_t limit = limit_of(job, g, n, start)
    cdef double d, eps = job.params[1]
    for pair in range(pairs_of(job)):
        x, y = first_of(t, pair), second_of(t, pair)
        for l in range(LANES):
            total[l] = 0
        for i in range(n):
            for l in range(LANES):
                d = x[i * LANES + l] - y[i * LANES + l] + (eps if i * LANES + l < limit else 0.0)
                total[l] += _term_f64(d, job.params[0])
        add_to(g.sum[pair], total)


cdef void norm_p_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    """First the largest difference; then the sum of the powers of what the others are of it."""
    cdef double top[LANES]
    cdef double total[LANES]
    cdef const double* x
    cdef const double* y
    cdef Py_ssize_t i, l, pair
    cdef Py_ssize_t limit = limit_of(job, g, n, start)
    cdef double d, p = job.params[0], eps = job.params[1]
    for pair in range(pairs_of(job)):
        x, y = first_of(t, pair), second_of(t, pair)
        for l in range(LANES):
            top[l], total[l] = g.top[pair][l], 0
        if step == 0:
            for i in range(n):
                for l in range(LANES):
                    d = x[i * LANES + l] - y[i * LANES + l] + (eps if i * LANES + l < limit else 0.0)
                    top[l] = larger(abs_f64(d), top[l])
            for l in range(LANES):
                g.top[pair][l] = top[l]
        else:
            for i in range(n):
                for l in range(LANES):
                    d = x[i * LANES + l] - y[i * LANES + l] + (eps if i * LANES + l < limit else 0.0)
                    total[l] += _power_f64(_ratio_f64(d, top[l]), p)
            add_to(g.sum[pair], total)


cdef void distance_finish(const Lines* job, Group* g) noexcept nogil:
    """Factors of pair k from 4 k on: of the derivatives, then those that _term_slopes or _norm_slopes take."""
    cdef Py_ssize_t l, k
    cdef double norm[3][LANES]
    for l in range(LANES):
        norm[2][l] = INFINITY
    for k in range(pairs_of(job)):
        for l in range(g.lanes):
            if job.op == NORM:
                norm[k][l] = g.sum[k][l] if job.params[0] == 1 else sqrt_f64(g.sum[k][l])
                g.f[4 * k + 1][l] = 0.0 if norm[k][l] == 0 else 1 / norm[k][l]
            else:
                r = _norm_f64(g.top[k][l], g.sum[k][l], job.params[0])
                norm[k][l], g.f[4 * k + 1][l], g.f[4 * k + 2][l], g.f[4 * k + 3][l] = r[0], r[0], r[1], r[2]
    for l in range(g.lanes):
        if job.n_inputs == 2:
            g.loss[l], g.f[0][l] = norm[0][l], g.up[l]
            continue
        nearer = _nearer_f64(norm[1][l], norm[2][l])
        s = _triplet_f64(norm[0][l], nearer[0], job.params[2])
        g.loss[l], g.f[0][l] = s[0], g.up[l] * s[1]
        g.f[4][l], g.f[8][l] = -g.f[0][l] * nearer[1], -g.f[0][l] * (1 - nearer[1])


cdef void distance_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double f[5][LANES]
    cdef const double* x
    cdef const double* y
    cdef Py_ssize_t i, l, k, pair, a, b
    for k in range(job.n_inputs):
        for i in range(n * LANES):
            t.grad[k][i] = t.hess[k][i] = 0
    for pair in range(pairs_of(job)):
        x, y, a, b = first_of(t, pair), second_of(t, pair), pair == 2, 1 if pair == 0 else 2
        for k in range(4):
            for l in range(LANES):
                f[k][l] = g.f[4 * pair + k][l]
        for l in range(LANES):
            f[4][l] = g.top[pair][l]
        if job.op == NORM:
            for i in range(n):
                for l in range(LANES):
                    r = _term_slopes_f64(x[i * LANES + l] - y[i * LANES + l] + job.params[1], f[1][l], job.params[0])
                    t.grad[a][i * LANES + l] += f[0][l] * r[0]
                    t.grad[b][i * LANES + l] -= f[0][l] * r[0]
                    t.hess[a][i * LANES + l] += f[0][l] * r[1]
                    t.hess[b][i * LANES + l] += f[0][l] * r[1]
        else:
            for i in range(n):
                for l in range(LANES):
                    r = _norm_slopes_f64(x[i * LANES + l] - y[i * LANES + l] + job.params[1], f[4][l], f[1][l], f[2][l], f[3][l],
                                         job.params[0])
                    t.grad[a][i * LANES + l] += f[0][l] * r[0]
                    t.grad[b][i * LANES + l] -= f[0][l] * r[0]
                    t.hess[a][i * LANES + l] += f[0][l] * r[1]
                    t.hess[b][i * LANES + l] += f[0][l] * r[1]


# ---- entropy of probabilities, of the softmax of logits ---------------------------------------------------------------

cdef void entropy_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double total[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        total[l] = g.sum[0][l]
    for i in range(n):
        for l in range(LANES):
            r = _entropy_f64(t.x[0][i * LANES + l])
            total[l] += r[0]
    for l in range(LANES):
        g.sum[0][l] = total[l]


cdef void sum_finish(const Lines* job, Group* g) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(g.lanes):
        g.loss[l], g.f[0][l] = g.sum[0][l], g.up[l]


cdef void entropy_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double up[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        up[l] = g.f[0][l]
    for i in range(n):
        for l in range(LANES):
            r = _entropy_f64(t.x[0][i * LANES + l])
            t.grad[0][i * LANES + l], t.hess[0][i * LANES + l] = up[l] * r[1], up[l] * r[2]


cdef void logits_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    """First the maximum; then the sums over what lies below it."""
    cdef double top[LANES]
    cdef double total[3][LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        top[l], total[0][l], total[1][l], total[2][l] = g.top[0][l], 0, 0, 0
    if step == 0:
        for i in range(n):
            for l in range(LANES):
                top[l] = larger(t.x[0][i * LANES + l], top[l])
        for l in range(LANES):
            g.top[0][l] = top[l]
        return
    for i in range(n):
        for l in range(LANES):
            r = _entropy_sums_f64(t.x[0][i * LANES + l] - top[l])
            total[0][l] += r[0]
            total[1][l] += r[1]
            total[2][l] += r[2]
    for i in range(3):
        add_to(g.sum[i], total[i])


cdef void logits_finish(const Lines* job, Group* g) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(g.lanes):
        r = _entropy_of_sums_f64(g.sum[0][l], g.sum[1][l], g.sum[2][l])
        g.loss[l], g.f[0][l], g.f[1][l], g.f[2][l], g.f[3][l] = r[0], g.up[l], r[1], r[2], r[3]


cdef void logits_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double f[4][LANES]
    cdef double top[LANES]
    cdef Py_ssize_t i, l
    for i in range(4):
        for l in range(LANES):
            f[i][l], top[l] = g.f[i][l], g.top[0][l]
    for i in range(n):
        for l in range(LANES):
            r = _entropy_slopes_f64(t.x[0][i * LANES + l] - top[l], f[1][l], f[2][l], f[3][l])
            t.grad[0][i * LANES + l], t.hess[0][i * LANES + l] = f[0][l] * r[0], f[0][l] * r[1]


# ---- Brier score: sum of (p_j - q_j)^2 over the classes; q is the second input, or 1 for the class y ------------------

cdef void brier_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double total[LANES]
    cdef double d
    cdef Py_ssize_t i, l
    if job.n_inputs == 1:
        memset(t.x[1], 0, n * LANES * sizeof(double))
    for l in range(LANES):
        total[l] = g.sum[0][l]
    for i in range(n):
        for l in range(LANES):
            d = t.x[0][i * LANES + l] - t.x[1][i * LANES + l]
            total[l] += d * d
    for l in range(LANES):
        g.sum[0][l] = total[l]


cdef void brier_finish(const Lines* job, Group* g) noexcept nogil:
    cdef Py_ssize_t l
    sum_finish(job, g)
    for l in range(g.lanes if job.target != NULL else 0):
        g.loss[l] += (g.own[l] - 1) * (g.own[l] - 1)
        g.own_grad[l], g.own_hess[l] = 2 * (g.own[l] - 1) * g.up[l], 2 * g.up[l]


cdef void brier_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef double up[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        up[l] = 2 * g.f[0][l]
    for i in range(n):
        for l in range(LANES):
            t.grad[0][i * LANES + l], t.hess[0][i * LANES + l] = up[l] * (t.x[0][i * LANES + l] - t.x[1][i * LANES + l]), up[l]


# ---- the rows of one chunk -----------------------------------------------------------------------------------------

cdef extern from "lanes.h" nogil:
    void rows_to_lanes_f32(const float* x, Py_ssize_t n, double* t)
    void rows_to_lanes_f64(const double* x, Py_ssize_t n, double* t)
    void lanes_to_rows_f32(const double* t, Py_ssize_t n, float* out)
    void lanes_to_rows_f64(const double* t, Py_ssize_t n, double* out)


cdef inline bint has_own(const Lines* job, const Stages* s) noexcept nogil:
    return s.own and job.target != NULL


cdef inline void begin_group(Group* g, bint short) noexcept nogil:
    cdef Py_ssize_t l
    g.lanes = LANES if short else 1
    g.stride = 1 if short else LANES
    for l in range(LANES):
        g.at[l], g.used[l], g.y[l], g.w[l], g.own[l], g.loss[l] = 0 if short else l, False, 0, 1, 0, 0


cdef inline void load_group(const Lines* job, const Stages* s, Py_ssize_t r, Py_ssize_t rows, Group* g, const real* like) noexcept nogil:
    cdef Py_ssize_t l, k
    for k in range(3):
        for l in range(LANES):
            g.top[k][l] = -INFINITY
    for k in range(SUMS):
        for l in range(LANES):
            g.sum[k][l] = 0
    for l in range(g.lanes):
        g.u[l] = 0.0 if l >= rows else (<const real*> job.row_weight)[r + l] if job.row_weight != NULL else 1.0
        g.y[l] = job.target[r + l] if job.target != NULL and l < rows else 0
        g.used[l] = g.u[l] != 0 and (not has_own(job, s) or g.y[l] != job.ignore_index)
        g.up[l] = job.scale * g.u[l]
        if job.upstream != NULL and g.used[l]:
            g.up[l] *= (<const real*> job.upstream)[r + l]
        if has_own(job, s) and g.used[l]:
            g.own[l] = (<const real*> job.x[0])[(r + l) * job.n_classes + g.y[l]]
            if job.class_weight != NULL:
                g.w[l] = (<const real*> job.class_weight)[g.y[l]]
    if g.lanes == 1:
        for l in range(1, LANES):
            g.own[l] = g.own[0]


cdef inline void clear_absent(const Group* g, double* t, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t l, c
    for l in range(g.lanes):
        if not g.used[l]:
            for c in range(n):
                t[c * LANES + l] = 0


cdef inline void load_side_by_side(double* t, const Group* g, const real* x, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t l, c
    if rows < LANES:
        for l in range(rows):
            for c in range(n):
                t[c * LANES + l] = x[l * n + c]
    elif real is float:
        rows_to_lanes_f32(x, n, t)
    else:
        rows_to_lanes_f64(x, n, t)
    clear_absent(g, t, n)


cdef inline void store_side_by_side(double* t, const Group* g, real* out, Py_ssize_t rows, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t l, c
    clear_absent(g, t, n)
    if rows < LANES:
        for l in range(rows):
            for c in range(n):
                out[l * n + c] = <real> t[c * LANES + l]
    elif real is float:
        lanes_to_rows_f32(t, n, out)
    else:
        lanes_to_rows_f64(t, n, out)


cdef inline Py_ssize_t gradients_of(const Lines* job) noexcept nogil:
    return 1 if job.op == BRIER else job.n_inputs


cdef inline void put_own(const Group* g, double* t, Py_ssize_t l, Py_ssize_t start, Py_ssize_t size, double v) noexcept nogil:
    if g.used[l] and g.lanes > 1:
        t[g.y[l] * LANES + l] = v
    elif g.used[l] and start <= g.y[l] < start + size:
        t[g.y[l] - start] = v


cdef inline void load_tiles(const Lines* job, const Stages* s, const Group* g, Tiles* t, Py_ssize_t r, Py_ssize_t rows, Py_ssize_t start,
                            Py_ssize_t size, const real* like) noexcept nogil:
    cdef Py_ssize_t k, c, l, n = job.n_classes
    cdef const real* x
    cdef double* tile
    for k in range(job.n_inputs):
        x, tile = <const real*> job.x[k] + r * n, t.x[k]
        if g.lanes > 1:
            load_side_by_side[real](tile, g, x, rows, n)
        else:
            for c in range(size):
                tile[c] = x[start + c]
            for c in range(size, (size + LANES - 1) // LANES * LANES):
                tile[c] = s.filler
    if has_own(job, s):
        for l in range(g.lanes):
            put_own(g, t.x[0], l, start, size, s.filler)


cdef inline void write_tile(const Lines* job, const Group* g, double* t, real* out, Py_ssize_t r, Py_ssize_t rows, Py_ssize_t start,
                            Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t c
    out = out + r * job.n_classes
    if g.lanes > 1:
        store_side_by_side[real](t, g, out, rows, size)
    else:
        for c in range(size):
            out[start + c] = <real> t[c]


cdef inline void write_tiles(const Lines* job, const Stages* s, const Group* g, Tiles* t, Py_ssize_t r, Py_ssize_t rows, Py_ssize_t start,
                             Py_ssize_t size, const real* like) noexcept nogil:
    cdef Py_ssize_t k, l
    if has_own(job, s):
        for l in range(g.lanes):
            put_own(g, t.grad[0], l, start, size, g.own_grad[l])
            put_own(g, t.hess[0], l, start, size, g.own_hess[l])
    for k in range(gradients_of(job)):
        write_tile[real](job, g, t.grad[k], <real*> job.grad[k], r, rows, start, size)
        if job.want_hess:
            write_tile[real](job, g, t.hess[k], <real*> job.hess[k], r, rows, start, size)


cdef inline void combine(Group* g, bint tops) noexcept nogil:
    """The lanes of a long row's maxima and sums, in a fixed order."""
    cdef Py_ssize_t k, l
    cdef double v
    if tops:
        for k in range(3):
            v = g.top[k][0]
            for l in range(1, LANES):
                v = larger(g.top[k][l], v)
            for l in range(LANES):
                g.top[k][l] = v
        return
    for k in range(SUMS):
        g.sum[k][0] = sum_lanes(g.sum[k])


cdef inline void spread_factors(Group* g) noexcept nogil:
    cdef Py_ssize_t k, l
    for k in range(FACTORS):
        for l in range(1, LANES):
            g.f[k][l] = g.f[k][0]
    for l in range(1, LANES):
        g.own_grad[l], g.own_hess[l] = g.own_grad[0], g.own_hess[0]


cdef inline void zero_line(const Lines* job, Py_ssize_t r, const real* like) noexcept nogil:
    cdef Py_ssize_t k
    if job.value != NULL:
        (<real*> job.value)[r] = 0
    for k in range(gradients_of(job)):
        if job.want_grad:
            memset(<real*> job.grad[k] + r * job.n_classes, 0, job.n_classes * sizeof(real))
        if job.want_hess:
            memset(<real*> job.hess[k] + r * job.n_classes, 0, job.n_classes * sizeof(real))


cdef void staged_rows(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* acc, const real* like) noexcept nogil:
    cdef const Stages* s = &STAGES[job.op]
    cdef Py_ssize_t n = job.n_classes, r, l, k, rows, start, size
    cdef bint short = n <= TILE // LANES
    cdef Py_ssize_t piece = n if short else TILE
    cdef Tiles t
    cdef Group g
    cdef Sums sums
    clear_lanes(&sums)
    begin_group(&g, short)
    for r from begin <= r < end by g.lanes:
        rows = min(g.lanes, end - r)
        load_group[real](job, s, r, rows, &g, like)
        if not (short or g.used[0]):
            zero_line[real](job, r, like)
            continue
        for k in range(s.steps):
            for start from 0 <= start < n by piece:
                size = min(piece, n - start)
                if k == 0 or n > piece:
                    load_tiles[real](job, s, &g, &t, r, rows, start, size, like)
                s.reduce(job, &g, k, &t, n if short else (size + LANES - 1) // LANES, start)
            if not short:
                combine(&g, k + 1 < s.steps or s.reduce == crammer_singer_reduce)
        s.finish(job, &g)
        for l in range(g.lanes):
            g.loss[l] = g.u[l] * g.loss[l] if g.used[l] else 0.0
        add_lanes(&sums, g.loss)
        if job.value != NULL:
            for l in range(rows):
                (<real*> job.value)[r + l] = <real> g.loss[l]
        if not job.want_grad:
            continue
        if not short:
            spread_factors(&g)
        for start from 0 <= start < n by piece:
            size = min(piece, n - start)
            if n > piece:
                load_tiles[real](job, s, &g, &t, r, rows, start, size, like)
            s.derive(job, &g, &t, n if short else (size + LANES - 1) // LANES, start)
            write_tiles[real](job, s, &g, &t, r, rows, start, size, like)
    total_lanes(&sums, acc)


# ---- multilabel margin: over the listed labels t and all other classes j, max(0, x_j - x_t + 1) / C -------------------

cdef inline double label_against_others(const double* x, double* grad, Py_ssize_t n, double own, double* value) noexcept nogil:
    """One label: value and grad gain what the other classes (the labels are -inf) add; returns the sum of their slopes."""
    cdef double total[LANES]
    cdef double slope[LANES]
    cdef Py_ssize_t i, l
    for l in range(LANES):
        total[l], slope[l] = value[l], 0
    for i from 0 <= i < n by LANES:
        for l in range(LANES):
            r = _multi_margin_f64(x[i + l], own, 1.0, 1.0)
            total[l] += r[0]
            slope[l] += r[1]
            grad[i + l] += r[1]
    for l in range(LANES):
        value[l] = total[l]
    return sum_lanes(slope)


cdef void multilabel_rows(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* acc, const real* like) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, whole = (n + LANES - 1) // LANES * LANES, r, c, k, labels
    cdef double* others = scratch
    cdef double* grad = scratch + whole
    cdef const real* x
    cdef const int64_t* y
    cdef double value[LANES]
    cdef double u, up, loss
    for r in range(begin, end):
        x, y = <const real*> job.x[0] + r * n, job.target + r * n
        u = (<const real*> job.row_weight)[r] if job.row_weight != NULL else 1.0
        labels = 0
        if u != 0:
            while labels < n and y[labels] >= 0:
                labels += 1
        for c in range(whole):
            others[c], grad[c] = -INFINITY, 0
        for c in range(LANES):
            value[c] = 0
        if labels:
            for c in range(n):
                others[c] = x[c]
            for k in range(labels):
                others[y[k]] = -INFINITY
        for k in range(labels):
            up = label_against_others(others, grad, whole, x[y[k]], value)
            grad[y[k]] -= up
        loss = u * (sum_lanes(value) / n) if labels else 0.0
        two_sum(acc, loss)
        if job.value != NULL:
            (<real*> job.value)[r] = <real> loss
        if job.want_grad:
            up = job.scale * u / n
            if job.upstream != NULL and u != 0:
                up *= (<const real*> job.upstream)[r]
            for c in range(n):
                (<real*> job.grad[0])[r * n + c] = <real> (grad[c] * up) if labels else <real> 0
        if job.want_hess:
            for c in range(n):
                (<real*> job.hess[0])[r * n + c] = 0


cdef void staged_f32(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* acc) noexcept nogil:
    staged_rows[float](job, begin, end, scratch, acc, NULL)


cdef void staged_f64(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* acc) noexcept nogil:
    staged_rows[double](job, begin, end, scratch, acc, NULL)


cdef void multilabel_f32(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* acc) noexcept nogil:
    multilabel_rows[float](job, begin, end, scratch, acc, NULL)


cdef void multilabel_f64(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* acc) noexcept nogil:
    multilabel_rows[double](job, begin, end, scratch, acc, NULL)


cdef void stage(int op, reduce_t reduce, finish_t finish, derive_t derive, int steps, bint own, double filler) noexcept:
    cdef Stages* s = &STAGES[op]
    s.reduce, s.finish, s.derive, s.steps, s.own, s.filler = reduce, finish, derive, steps, own, filler


cdef void fill_lines(Table* t) noexcept:
    t.lines[0][0], t.lines[0][1], t.lines[1][0], t.lines[1][1] = staged_f32, staged_f64, multilabel_f32, multilabel_f64
    stage(MULTI_MARGIN, multi_margin_reduce, multi_margin_finish, multi_margin_derive, 1, True, -INFINITY)
    stage(CRAMMER_SINGER, crammer_singer_reduce, crammer_singer_finish, crammer_singer_derive, 2, True, -INFINITY)
    stage(COSINE, cosine_reduce, cosine_finish, cosine_derive, 1, False, 0)
    stage(NORM, norm_reduce, distance_finish, distance_derive, 1, False, 0)
    stage(NORM_P, norm_p_reduce, distance_finish, distance_derive, 2, False, 0)
    stage(ENTROPY, entropy_reduce, sum_finish, entropy_derive, 1, False, 0)
    stage(ENTROPY_OF_LOGITS, logits_reduce, logits_finish, logits_derive, 2, False, -INFINITY)
    stage(BRIER, brier_reduce, brier_finish, brier_derive, 1, True, 0)
