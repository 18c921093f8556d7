# Row losses beside softmax and cross-entropy. Included by the table of each instruction set.
#
# Rows are contiguous and computed in float64, whatever their dtype, so that a float32 result rounds once. A tile is TILE
# numbers of an input: up to LANES short rows side by side, class c of row l at c * LANES + l, or neighbours of one long row.
# A loss is three functions: reduce (maxima and sums, lane by lane, in one or two passes), finish (losses and factors, a row
# a lane), derive (gradient and Hessian). Their formulas are in formulas/margin.py.

cdef enum:
    TOPS = 3
    SUMS = 4
    FACTORS = 12
    GAP = 40

cdef struct Group:                 # what is known of LANES rows, a lane each; of one long row alone, the same in every lane
    double at[LANES]               # class of a lane's first number
    double stride[LANES]           # classes from a vector to the next
    int64_t y[LANES]               # class or sign
    bint used[LANES]
    double own[LANES]              # score of class y
    double w[LANES]                # weight of class y
    double u[LANES]                # row weight
    double up[LANES]               # scale * row weight * upstream
    double top[TOPS][LANES]
    double sum[SUMS][LANES]
    double loss[LANES]
    double f[FACTORS][LANES]
    double own_grad[LANES]
    double own_hess[LANES]

cdef struct Tiles:                 # of whole cache lines; they do not begin 4096 bytes apart: loads would wait for stores to the others
    double x[3][TILE + GAP]
    double d[3][TILE + GAP]        # differences of pairs of inputs
    double grad[3][TILE + GAP]
    double hess[3][TILE + GAP]

cdef struct Work:
    Tiles tiles
    Group group
    Group one
    char gap[64]

ctypedef void (*reduce_t)(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil
ctypedef void (*finish_t)(const Lines* job, Group* g) noexcept nogil
ctypedef void (*derive_t)(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil

cdef struct Stages:
    reduce_t reduce
    finish_t finish
    derive_t derive
    int steps                      # 1, or 2 where maxima are taken first
    bint own                       # where there are targets, they are classes, whose scores are taken out of the others
    double filler[LANES]           # beyond the end of a row

cdef Stages STAGES[N_STAGED]


cdef inline void add_to(double* total, const double* v) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        total[l] += v[l]


cdef inline double larger(double v, double m) noexcept nogil:       # keeps NaN
    return select_f64((v > m) | (v != v), v, m)


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
    for l in range(LANES):
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
            at[l] -= g.stride[l]
    for l in range(LANES):
        g.top[1][l] = first[l]


cdef void crammer_singer_finish(const Lines* job, Group* g) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
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
            at[l] += g.stride[l]


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
    for l in range(LANES):
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


cdef void differences(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    """Each x - y + eps; 0 beyond the end of a long row."""
    cdef const double* x
    cdef const double* y
    cdef double* d
    cdef Py_ssize_t i, pair
    cdef double eps = job.params[1]
    for pair in range(pairs_of(job)):
        x, y, d = first_of(t, pair), second_of(t, pair), t.d[pair]
        for i in range(n * LANES):
            d[i] = x[i] - y[i] + eps
        if g.stride[0] == LANES:
            for i in range(job.n_classes - start, n * LANES):
                d[i] = 0


cdef inline void add_terms(const double* d, Py_ssize_t n, double p, double* total) noexcept nogil:
    cdef double own[LANES]
    cdef Py_ssize_t i, l
    memset(own, 0, sizeof(own))
    for i in range(n):
        for l in range(LANES):
            own[l] += _term_f64(d[i * LANES + l], p)
    add_to(total, own)


cdef void norm_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    cdef Py_ssize_t pair
    differences(job, g, t, n, start)
    for pair in range(pairs_of(job)):
        if job.params[0] == 1:
            add_terms(t.d[pair], n, 1, g.sum[pair])
        else:
            add_terms(t.d[pair], n, 2, g.sum[pair])


cdef inline void largest(const double* d, Py_ssize_t n, double* m) noexcept nogil:
    cdef double top[LANES]
    cdef Py_ssize_t i, l
    memcpy(top, m, sizeof(top))
    for i in range(n):
        for l in range(LANES):
            top[l] = larger(abs_f64(d[i * LANES + l]), top[l])
    memcpy(m, top, sizeof(top))


cdef inline void add_powers(const double* d, Py_ssize_t n, const double* m, double p, double* total) noexcept nogil:
    cdef double top[LANES]
    cdef double own[LANES]
    cdef Py_ssize_t i, l
    memcpy(top, m, sizeof(top))
    memset(own, 0, sizeof(own))
    for i in range(n):
        for l in range(LANES):
            own[l] += _ratio_power_f64(_ratio_f64(d[i * LANES + l], top[l]), p)
    add_to(total, own)


cdef void norm_p_reduce(const Lines* job, Group* g, int step, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    """First the largest difference; then the sum of the powers of what the others are of it."""
    cdef Py_ssize_t pair
    differences(job, g, t, n, start)
    for pair in range(pairs_of(job)):
        if step == 0:
            largest(t.d[pair], n, g.top[pair])
        elif job.params[0] == INFINITY:
            add_powers(t.d[pair], n, g.top[pair], INFINITY, g.sum[pair])
        else:
            add_powers(t.d[pair], n, g.top[pair], job.params[0], g.sum[pair])


cdef void distance_finish(const Lines* job, Group* g) noexcept nogil:
    """Factors of pair k from 4 k on: of the derivatives, then those that _term_slopes or _norm_slopes take."""
    cdef Py_ssize_t l, k
    cdef double norm[3][LANES]
    for l in range(LANES):
        norm[2][l] = INFINITY
    for k in range(pairs_of(job)):
        for l in range(LANES):
            if job.op == NORM:
                norm[k][l] = g.sum[k][l] if job.params[0] == 1 else sqrt_f64(g.sum[k][l])
                g.f[4 * k + 1][l] = 0.0 if norm[k][l] == 0 else 1 / norm[k][l]
            else:
                r = _norm_f64(g.top[k][l], g.sum[k][l], job.params[0])
                norm[k][l], g.f[4 * k + 1][l], g.f[4 * k + 2][l], g.f[4 * k + 3][l] = r[0], r[0], r[1], r[2]
    for l in range(LANES):
        if job.n_inputs == 2:
            g.loss[l], g.f[0][l] = norm[0][l], g.up[l]
            continue
        nearer = _nearer_f64(norm[1][l], norm[2][l])
        s = _triplet_f64(norm[0][l], nearer[0], job.params[2])
        g.loss[l], g.f[0][l] = s[0], g.up[l] * s[1]
        g.f[4][l], g.f[8][l] = -g.f[0][l] * nearer[1], -g.f[0][l] * (1 - nearer[1])


cdef inline (f64, f64) slopes_of(double d, double top, double a, double b, double c, double p, bint terms) noexcept nogil:
    if terms:
        return _term_slopes_f64(d, a, p)
    return _norm_slopes_f64(d, top, a, b, c, p)


cdef inline void add_slopes(f64_array d, Py_ssize_t n, const double* top_, const double* f_, double p, bint terms, f64_array grad, f64_array other) noexcept nogil:
    cdef double top[LANES]
    cdef double f[4][LANES]
    cdef double slope
    cdef Py_ssize_t i, l
    memcpy(top, top_, sizeof(top))
    memcpy(f, f_, sizeof(f))
    for i in range(n):
        for l in range(LANES):
            slope = f[0][l] * slopes_of(d[i * LANES + l], top[l], f[1][l], f[2][l], f[3][l], p, terms)[0]
            grad[i * LANES + l] += slope
            other[i * LANES + l] -= slope


cdef inline void add_curves(f64_array d, Py_ssize_t n, const double* top_, const double* f_, double p, bint terms, f64_array hess, f64_array other) noexcept nogil:
    cdef double top[LANES]
    cdef double f[4][LANES]
    cdef double curve
    cdef Py_ssize_t i, l
    memcpy(top, top_, sizeof(top))
    memcpy(f, f_, sizeof(f))
    for i in range(n):
        for l in range(LANES):
            curve = f[0][l] * slopes_of(d[i * LANES + l], top[l], f[1][l], f[2][l], f[3][l], p, terms)[1]
            hess[i * LANES + l] += curve
            other[i * LANES + l] += curve


cdef inline void derive_pair(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t pair, double p, bint terms) noexcept nogil:
    cdef Py_ssize_t a = pair == 2, b = 1 if pair == 0 else 2
    add_slopes(t.d[pair], n, g.top[pair], g.f[4 * pair], p, terms, t.grad[a], t.grad[b])
    if job.want_hess:
        add_curves(t.d[pair], n, g.top[pair], g.f[4 * pair], p, terms, t.hess[a], t.hess[b])


cdef void distance_derive(const Lines* job, const Group* g, Tiles* t, Py_ssize_t n, Py_ssize_t start) noexcept nogil:
    """Loops of their own for the norms that take no powers."""
    cdef Py_ssize_t k, pair
    differences(job, g, t, n, start)
    for k in range(job.n_inputs):
        memset(t.grad[k], 0, n * LANES * sizeof(double))
        if job.want_hess:
            memset(t.hess[k], 0, n * LANES * sizeof(double))
    for pair in range(pairs_of(job)):
        if job.params[0] == 1:
            derive_pair(job, g, t, n, pair, 1, True)
        elif job.params[0] == 2:
            derive_pair(job, g, t, n, pair, 2, True)
        elif job.params[0] == INFINITY:
            derive_pair(job, g, t, n, pair, INFINITY, False)
        else:
            derive_pair(job, g, t, n, pair, job.params[0], False)


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
    for l in range(LANES):
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
    for l in range(LANES):
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
    for l in range(LANES if job.target != NULL else 0):
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

cdef inline bint has_own(const Lines* job, const Stages* s) noexcept nogil:
    return s.own and job.target != NULL


cdef inline Py_ssize_t gradients_of(const Lines* job) noexcept nogil:
    return 1 if job.op == BRIER else job.n_inputs


cdef inline void load_group(const Lines* job, bint own, Py_ssize_t r, Py_ssize_t rows, Group* g, const real* like) noexcept nogil:
    """own: whether the score of the target's class is needed."""
    cdef Py_ssize_t l, k
    for k in range(TOPS):
        for l in range(LANES):
            g.top[k][l] = -INFINITY
    memset(g.sum, 0, sizeof(g.sum))
    for l in range(LANES):
        g.u[l] = 0.0 if l >= rows else (<const real*> job.row_weight)[r + l] if job.row_weight != NULL else 1.0
        g.y[l] = job.target[r + l] if job.target != NULL and l < rows else 0
        g.used[l] = g.u[l] != 0 and (not own or g.y[l] != job.ignore_index)
        g.up[l], g.own[l], g.w[l], g.loss[l] = job.scale * g.u[l], 0, 1, 0
        if job.upstream != NULL and g.used[l]:
            g.up[l] *= (<const real*> job.upstream)[r + l]
        if own and g.used[l]:
            g.own[l] = (<const real*> job.x[0])[(r + l) * job.n_classes + g.y[l]]
            if job.class_weight != NULL:
                g.w[l] = (<const real*> job.class_weight)[g.y[l]]


cdef inline void add_losses(const Lines* job, Group* g, Py_ssize_t r, Py_ssize_t rows, Sums* sums, const real* like) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        g.loss[l] = g.u[l] * g.loss[l] if g.used[l] else 0.0
    add_lanes(sums, g.loss)
    if job.value != NULL:
        for l in range(rows):
            (<real*> job.value)[r + l] = <real> g.loss[l]


# Short rows: side by side

cdef inline void clear_absent(const Group* g, double* t, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t l, c
    for l in range(LANES):
        if not g.used[l]:
            for c in range(n):
                t[c * LANES + l] = 0


cdef inline void put_classes(const Group* g, double* t, const double* v) noexcept nogil:
    cdef Py_ssize_t l
    for l in range(LANES):
        if g.used[l]:
            t[g.y[l] * LANES + l] = v[l]


cdef inline void load_side_by_side(const Lines* job, Py_ssize_t k, Py_ssize_t r, Py_ssize_t rows, double* t, const real* like) noexcept nogil:
    cdef Py_ssize_t i, n = job.n_classes, room = (job.n_rows - r - rows) * n
    cdef const real* x = <const real*> job.x[k] + r * n
    cdef real lanes[TILE]
    if real is float:
        load_rows_f32(x, n, rows, n, room, lanes)
    else:
        load_rows_f64(x, n, rows, n, room, lanes)
    for i in range(n * LANES):
        t[i] = lanes[i]


cdef inline void store_side_by_side(const double* t, Py_ssize_t rows, Py_ssize_t n, real* out) noexcept nogil:
    cdef Py_ssize_t i
    cdef real lanes[TILE]
    for i in range(n * LANES):
        lanes[i] = <real> t[i]
    if real is float:
        store_rows_f32(lanes, rows, n, out)
    else:
        store_rows_f64(lanes, rows, n, out)


cdef inline void load_short(const Lines* job, const Stages* s, const Group* g, Py_ssize_t r, Py_ssize_t rows, Tiles* t, const real* like) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(job.n_inputs):
        load_side_by_side[real](job, k, r, rows, t.x[k], like)
        clear_absent(g, t.x[k], job.n_classes)
    if has_own(job, s):
        put_classes(g, t.x[0], s.filler)


cdef inline void store_short(const Lines* job, const Stages* s, const Group* g, Py_ssize_t r, Py_ssize_t rows, Tiles* t, const real* like) noexcept nogil:
    cdef Py_ssize_t k, n = job.n_classes
    if has_own(job, s):
        put_classes(g, t.grad[0], g.own_grad)
        put_classes(g, t.hess[0], g.own_hess)
    for k in range(gradients_of(job)):
        clear_absent(g, t.grad[k], n)
        store_side_by_side[real](t.grad[k], rows, n, <real*> job.grad[k] + r * n)
        if job.want_hess:
            clear_absent(g, t.hess[k], n)
            store_side_by_side[real](t.hess[k], rows, n, <real*> job.hess[k] + r * n)


# Long rows: one after the other, piece by piece

cdef inline void take_row(const Group* g, Py_ssize_t l, Group* one) noexcept nogil:
    """one: what is known of row l, in every lane."""
    cdef Py_ssize_t k, i
    one.y[0] = g.y[l]
    for i in range(LANES):
        one.own[i], one.own_grad[i], one.own_hess[i] = g.own[l], g.own_grad[l], g.own_hess[l]
    for k in range(TOPS):
        for i in range(LANES):
            one.top[k][i] = g.top[k][l]
    for k in range(SUMS):
        for i in range(LANES):
            one.sum[k][i] = g.sum[k][l]
    for k in range(FACTORS):
        for i in range(LANES):
            one.f[k][i] = g.f[k][l]


cdef inline void keep_row(Group* g, Py_ssize_t l, const Group* one) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(TOPS):
        g.top[k][l] = one.top[k][0]
    for k in range(SUMS):
        g.sum[k][l] = sum_lanes(one.sum[k])


cdef inline void level_tops(Group* one) noexcept nogil:
    """Of the lanes of a row, the largest."""
    cdef Py_ssize_t k, i
    cdef double v
    for k in range(TOPS):
        v = one.top[k][0]
        for i in range(1, LANES):
            v = larger(one.top[k][i], v)
        for i in range(LANES):
            one.top[k][i] = v


cdef inline void load_part(const Lines* job, const Stages* s, int64_t y, Py_ssize_t r, Py_ssize_t start, Py_ssize_t size, Tiles* t, const real* like) noexcept nogil:
    cdef Py_ssize_t k, c
    cdef const real* x
    cdef double* tile
    for k in range(job.n_inputs):
        x, tile = <const real*> job.x[k] + r * job.n_classes + start, t.x[k]
        for c in range(size):
            tile[c] = x[c]
        for c in range(size, (size + LANES - 1) // LANES * LANES):
            tile[c] = s.filler[0]
    if has_own(job, s) and start <= y < start + size:
        t.x[0][y - start] = s.filler[0]


cdef inline void store_part(const double* tile, Py_ssize_t size, real* out) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(size):
        out[c] = <real> tile[c]


cdef inline void reduce_long(const Lines* job, const Stages* s, Group* g, Py_ssize_t l, Py_ssize_t r, Group* one, Tiles* t, const real* like) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, k, start, size
    take_row(g, l, one)
    for k in range(s.steps):
        for start from 0 <= start < n by TILE:
            size = min(TILE, n - start)
            if k == 0 or n > TILE:
                load_part[real](job, s, g.y[l], r, start, size, t, like)
            s.reduce(job, one, k, t, (size + LANES - 1) // LANES, start)
        if s.steps > 1:
            level_tops(one)
    keep_row(g, l, one)


cdef inline void derive_long(const Lines* job, const Stages* s, const Group* g, Py_ssize_t l, Py_ssize_t r, Group* one, Tiles* t, const real* like) noexcept nogil:
    cdef Py_ssize_t n = job.n_classes, k, start, size
    take_row(g, l, one)
    for start from 0 <= start < n by TILE:
        size = min(TILE, n - start)
        load_part[real](job, s, g.y[l], r, start, size, t, like)
        s.derive(job, one, t, (size + LANES - 1) // LANES, start)
        if has_own(job, s) and start <= g.y[l] < start + size:
            t.grad[0][g.y[l] - start], t.hess[0][g.y[l] - start] = g.own_grad[l], g.own_hess[l]
        for k in range(gradients_of(job)):
            store_part[real](t.grad[k], size, <real*> job.grad[k] + r * n + start)
            if job.want_hess:
                store_part[real](t.hess[k], size, <real*> job.hess[k] + r * n + start)


cdef inline void clear_long(const Lines* job, Py_ssize_t r, const real* like) noexcept nogil:
    cdef Py_ssize_t k, n = job.n_classes
    for k in range(gradients_of(job)):
        memset(<real*> job.grad[k] + r * n, 0, n * sizeof(real))
        if job.want_hess:
            memset(<real*> job.hess[k] + r * n, 0, n * sizeof(real))


cdef void staged_rows(const Lines* job, Py_ssize_t begin, Py_ssize_t end, double* scratch, double* acc, const real* like) noexcept nogil:
    cdef const Stages* s = &STAGES[job.op]
    cdef bint short = job.n_classes <= TILE // LANES
    cdef Py_ssize_t r, l, k, rows
    cdef Work memory
    cdef Work* work = <Work*> ((<uintptr_t> &memory + 63) & ~<uintptr_t> 63)      # vectors lie within cache lines
    cdef Tiles* t = &work.tiles
    cdef Group* g = &work.group
    cdef Group* one = &work.one
    cdef Sums sums
    clear_lanes(&sums)
    for l in range(LANES):
        g.at[l], one.at[l], g.stride[l], one.stride[l] = 0, l, 1, LANES
    for r from begin <= r < end by LANES:
        rows = min(LANES, end - r)
        load_group[real](job, has_own(job, s), r, rows, g, like)
        if short:
            load_short[real](job, s, g, r, rows, t, like)
            for k in range(s.steps):
                s.reduce(job, g, k, t, job.n_classes, 0)
        else:
            for l in range(rows):
                if g.used[l]:
                    reduce_long[real](job, s, g, l, r + l, one, t, like)
        s.finish(job, g)
        add_losses[real](job, g, r, rows, &sums, like)
        if not job.want_grad:
            continue
        if short:
            s.derive(job, g, t, job.n_classes, 0)
            store_short[real](job, s, g, r, rows, t, like)
        else:
            for l in range(rows):
                if g.used[l]:
                    derive_long[real](job, s, g, l, r + l, one, t, like)
                else:
                    clear_long[real](job, r + l, like)
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
    cdef Py_ssize_t l
    s.reduce, s.finish, s.derive, s.steps, s.own = reduce, finish, derive, steps, own
    for l in range(LANES):
        s.filler[l] = filler


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
