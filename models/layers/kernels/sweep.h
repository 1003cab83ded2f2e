/* The memory of models/layers/minimal.py and its derivative,

       h_t = h_(t-1) + z_t (g(c_t) - h_(t-1)),

   a block of the map at a time through all steps, so that what goes from step to step stays in the first-level cache. */

enum { SINGLE, EXPONENTIAL, SIGMOID };  /* what z is made of: k, or f and i */
enum { POSITIVE, TANH, IDENTITY };      /* g */

INLINE vec magnitude(vec x) { return larger(x, -x); }

INLINE vec opened(const int gate, vec first, vec second) {
    if (gate == SINGLE) return sig(first);
    if (gate == EXPONENTIAL) return sig(second - first);
    /* sig(i) / (sig(i) + sig(f)), by log sig(x) = min(x, 0) - log(1 + exp(-|x|)) */
    vec far = larger(-first, all(0)) - larger(-second, all(0));
    vec near = (1 + expo(-magnitude(second))) / (1 + expo(-magnitude(first)));
    return 1 / (1 + expo(-far) * near);
}

INLINE vec candidate(const int kind, vec c) {
    if (kind == POSITIVE) return larger(c + (REAL)0.5, sig(c)); /* of the two branches each is the greater where it holds */
    if (kind == TANH) return 2 * sig(2 * c) - 1;
    return c;
}

INLINE vec slope(const int kind, vec c, vec g) {
    if (kind == TANH) return 1 - g * g;
    if (kind == IDENTITY) return all(1);
    bits above = (bits)(c >= all(0));
    return (vec)(((bits)all(1) & above) | ((bits)(g * (1 - g)) & ~above));
}

INLINE void remember_some(const int gate, const int kind, int64_t n, const REAL *first, const REAL *second,
                          const REAL *c, const REAL *before, REAL *h) {
    for (int64_t i = 0; i < n; i += LANES) {
        vec z = opened(gate, load_some(first + i, n - i), gate == SINGLE ? all(0) : load_some(second + i, n - i));
        vec old = load_some(before + i, n - i);
        store_some(h + i, old + z * (candidate(kind, load_some(c + i, n - i)) - old), n - i);
    }
}

/* d_last holds the derivative by h_t that later steps give, and then that by h_(t-1). */
INLINE void remember_some_back(const int gate, const int kind, int64_t n, const REAL *first, const REAL *second,
                               const REAL *c, const REAL *before, const REAL *d_h, REAL *d_last, REAL *d_first,
                               REAL *d_second, REAL *d_c) {
    for (int64_t i = 0; i < n; i += LANES) {
        vec f = load_some(first + i, n - i), s = gate == SINGLE ? all(0) : load_some(second + i, n - i);
        vec x = load_some(c + i, n - i), z = opened(gate, f, s), g = candidate(kind, x);
        vec d = load_some(d_h + i, n - i) + load_some(d_last + i, n - i), d_g = d * z;
        vec d_k = d * (g - load_some(before + i, n - i)) * z * (1 - z);
        store_some(d_c + i, d_g * slope(kind, x, g), n - i);
        store_some(d_last + i, d - d_g, n - i);
        store_some(d_first + i, gate == SINGLE ? d_k : gate == EXPONENTIAL ? -d_k : -d_k * sig(-f), n - i);
        if (gate != SINGLE) store_some(d_second + i, gate == EXPONENTIAL ? d_k : d_k * sig(-s), n - i);
    }
}

/* Call for the gate and the candidate that are asked for, which the compiler then knows. */
#define OF_GATE(kind, m, call, ...)                                         \
    switch ((m)->gate) {                                                    \
    case SINGLE: call(SINGLE, kind, __VA_ARGS__); break;                    \
    case EXPONENTIAL: call(EXPONENTIAL, kind, __VA_ARGS__); break;          \
    default: call(SIGMOID, kind, __VA_ARGS__);                              \
    }
#define OF_CANDIDATE(m, call, ...)                                          \
    switch ((m)->candidate) {                                               \
    case POSITIVE: call(POSITIVE, __VA_ARGS__); break;                      \
    case TANH: call(TANH, __VA_ARGS__); break;                              \
    default: call(IDENTITY, __VA_ARGS__);                                   \
    }
#define OF_FORM(m, call, ...) OF_CANDIDATE(m, OF_GATE, m, call, __VA_ARGS__)

static void remember_part(const Plan *p, const void *given, const void *unused, int64_t part) {
    (void)unused;
    const Sweep *m = given;
    FOR_BLOCKS(b) {
        const REAL *before = (const REAL *)m->start + b.image * p->width + b.start;
        for (int64_t t = 0; t < m->length; t++) {
            int64_t place = b.image * m->map_example + t * m->map_step + b.start;
            REAL *h = (REAL *)m->h + (b.image * m->length + t) * p->width + b.start;
            const REAL *first = (const REAL *)m->first + place, *second = (const REAL *)m->second + place;
            OF_FORM(m, remember_some, b.count, first, second, (const REAL *)m->c + place, before, h)
            before = h;
        }
    }
}

static void remember_back_part(const Plan *p, const void *given, const void *unused, int64_t part) {
    (void)unused;
    const Sweep *m = given;
    FOR_BLOCKS(b) {
        REAL *d_last = (REAL *)m->d_last + b.image * p->width + b.start;
        for (int64_t t = m->length - 1; t >= 0; t--) {
            int64_t place = b.image * m->map_example + t * m->map_step + b.start;
            const REAL *before = t ? (const REAL *)m->h + (b.image * m->length + t - 1) * p->width + b.start
                                   : (const REAL *)m->start + b.image * p->width + b.start;
            const REAL *d_h = (const REAL *)m->d_h + b.image * m->d_h_example + t * m->d_h_step + b.start;
            const REAL *first = (const REAL *)m->first + place, *second = (const REAL *)m->second + place;
            REAL *d_first = (REAL *)m->d_first + place, *d_second = (REAL *)m->d_second + place;
            OF_FORM(m, remember_some_back, b.count, first, second, (const REAL *)m->c + place, before, d_h, d_last,
                    d_first, d_second, (REAL *)m->d_c + place)
        }
    }
}

/* The same a step at a time, [k, c] = V matrix being made of a block of pixels when they are needed. */

INLINE void remember_pixels(const int kind, int64_t count, int64_t F, const REAL *z, int64_t Z, const REAL *before,
                            REAL *h) {
    for (int64_t i = 0; i < count; i++)
        remember_some(SINGLE, kind, F, z + i * Z, NULL, z + i * Z + F, before + i * F, h + i * F);
}

static void step_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t F = p->channels, I = p->inner, Z = PADDED(2 * F);
    REAL *room = (REAL *)p->rooms + part * p->room, *z = take(&room, p->block * Z);
    const REAL *matrix = p->matrix;
    FOR_BLOCKS(b) {
        const REAL *v = s->v + (b.image * p->height * p->width + b.start) * I;
        const REAL *before = s->hidden_before + b.image * s->hidden_before_stride + b.start * F;
        REAL *h = s->hidden + b.image * s->hidden_stride + b.start * F;
        product(b.count, Z, I, v, I, matrix, Z, z, Z, 0, matrix + I * Z);
        OF_CANDIDATE(p, remember_pixels, b.count, F, z, Z, before, h)
    }
}

/* The derivatives by k and c in place of these, and their sums over the pixels, d_bias (Z). */
INLINE void remember_pixels_back(const int kind, int64_t count, int64_t F, REAL *z, int64_t Z, const REAL *before,
                                 const REAL *d_h, int64_t ldd, REAL *d_last, REAL *d_bias) {
    for (int64_t i = 0; i < count; i++)
        remember_some_back(SINGLE, kind, F, z + i * Z, NULL, z + i * Z + F, before + i * F, d_h + i * ldd,
                           d_last + i * F, z + i * Z, NULL, z + i * Z + F);
    for (int64_t c = 0; c < Z; c += LANES) {
        vec total = load(d_bias + c);
        for (int64_t i = 0; i < count; i++) total += load(z + i * Z + c);
        store(d_bias + c, total);
    }
}

static void step_back_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t F = p->channels, FP = PADDED(F), I = p->inner, IP = inner_padded(p), Z = PADDED(2 * F);
    REAL *room = (REAL *)p->rooms + part * p->room;
    REAL *z = take(&room, p->block * Z), *dv = take(&room, p->block * IP), *dh = take(&room, p->block * FP);
    const REAL *matrix = p->matrix;
    REAL *d_matrix = (REAL *)p->d_matrix + part * p->apart;
    FOR_BLOCKS(b) {
        int64_t pixel = b.image * p->height * p->width + b.start;
        const REAL *v = s->v + pixel * I;
        const REAL *before = s->hidden_before + b.image * s->hidden_before_stride + b.start * F;
        d_hidden(p, s, b, dh, FP);
        product(b.count, Z, I, v, I, matrix, Z, z, Z, 0, matrix + I * Z);
        OF_CANDIDATE(p, remember_pixels_back, b.count, F, z, Z, before, dh, FP, s->d_cell + pixel * F,
                     d_matrix + I * Z)
        turned_product(b.count, I, Z, v, I, z, Z, d_matrix, Z);
        v_back(p, s, b, z, Z, 2 * F, dv);
    }
}
