/* Attention along lines, h (B, H, W, F) in place:

       y = LN(h);  [q, k, v] = W y + b;  k, v <- their means over the tokens of the line
       h <- h + W_o softmax(q k^T + bias) v + b_o

   W has the norm's weight, its columns sum to zero, and W y is taken as rstd W (h - mean); see models/layers/lines.py.
   The derivative computes everything of a line again, and with columns of W that sum to zero it is

       dL/dh = r (W^T dL/dq - y (dL/dq . W y) / F),        r = 1 / standard deviation */

typedef struct {
    int64_t N, M, MP, D, DP, D2, D3, d, F, FP; /* pixels, tokens, width over all heads, 2D, 3D padded, of a head, channels */
} Sizes;

INLINE Sizes sizes(const Lines *l) {
    int64_t F = l->channels, D = l->width;
    return (Sizes){l->pixels,     l->tokens, PADDED(l->tokens), D, PADDED(D), PADDED(2 * D), PADDED(3 * D), D / l->heads, F,
                   PADDED(F)};
}

/* What one line works in; rows padded. */
typedef struct {
    REAL *centred, *rstd, *projected; /* (N, F), (N,), (N, 3D) */
    REAL *means, *turned, *own;       /* (M, 2D); of a head: (d, M), (M, D) */
    REAL *attention, *attended, *out; /* (heads, N, M), (N, D), (N, F) */
} Line;

INLINE Line room_of_line(Sizes z, int64_t heads, REAL **room) {
    Line w;
    w.centred = take(room, z.N * z.FP), w.rstd = take(room, z.N), w.projected = take(room, z.N * z.D3);
    w.means = take(room, z.M * z.D2), w.turned = take(room, z.d * z.MP), w.own = take(room, z.M * z.DP);
    w.attention = take(room, heads * z.N * z.MP), w.attended = take(room, z.N * z.DP), w.out = take(room, z.N * z.FP);
    return w;
}

/* h less its mean over the channels, and 1 / standard deviation, of the pixels of a line. */
INLINE void centre(const Lines *l, Sizes z, const REAL *h, Line *w) {
    for (int64_t n = 0; n < z.N; n++) {
        const REAL *from = h + n * l->pixel_stride * z.F;
        REAL *to = w->centred + n * z.FP;
        vec total = all(0), square = all(0);
        for (int64_t c = 0; c < z.F; c += LANES) total += load_some(from + c, z.F - c);
        vec mean = sum(total) * (1 / (REAL)z.F);
        for (int64_t c = 0; c < z.F; c += LANES) {
            vec x = load_some(from + c, z.F - c) - mean;
            store(to + c, x);
            if (z.F - c < LANES) x = load_some(to + c, z.F - c), store(to + c, x);
            square += x * x;
        }
        w->rstd[n] = sum(square)[0];
    }
    deviations(z.N, z.F, w->rstd);
}

/* Keys (column 0) or values (column D) of a head as the right side of a product, and where in a row of D its result
   goes: the head's own columns, where these are whole vectors; else all of them, the others' being zeros. */
typedef struct {
    const REAL *at;
    int64_t stride, width, column;
    int add;
} Side;

INLINE Side side_of(Sizes z, const Line *w, int64_t column, int64_t head) {
    if (z.d % LANES == 0) return (Side){w->means + column + head * z.d, z.D2, z.d, head * z.d, 0};
    memset(w->own, 0, z.M * z.DP * sizeof(REAL));
    for (int64_t m = 0; m < z.M; m++)
        for (int64_t k = head * z.d; k < (head + 1) * z.d; k++) w->own[m * z.DP + k] = w->means[m * z.D2 + column + k];
    return (Side){w->own, z.DP, z.DP, 0, head > 0};
}

/* The same turned round, (d, M padded). */
INLINE const REAL *turned_side(Sizes z, const Line *w, int64_t column, int64_t head) {
    for (int64_t k = 0; k < z.d; k++)
        for (int64_t m = 0; m < z.MP; m++)
            w->turned[k * z.MP + m] = m < z.M ? w->means[m * z.D2 + column + head * z.d + k] : 0;
    return w->turned;
}

/* softmax over the M tokens of a pixel, in place. */
INLINE void softmax(Sizes z, REAL *x) {
    vec high = load(x);
    for (int64_t m = LANES; m < z.MP; m += LANES) high = larger(load(x + m), high);
    vec top = most(high);
    vec total = all(0);
    for (int64_t m = 0; m < z.MP; m += LANES) {
        vec e = exponential(load(x + m) - top, FAINTEST, 0);
        store(x + m, e);
        total += e;
    }
    vec share = 1 / sum(total);
    for (int64_t m = 0; m < z.MP; m += LANES) store(x + m, load(x + m) * share);
}

/* Everything up to the attended values, of one line. */
static void look(const Lines *l, Sizes z, int64_t line, const REAL *h, Line *w) {
    const REAL *shares = (const REAL *)l->share + (l->own_shares ? line * z.N : 0);
    const uint8_t *absent = l->absent ? (const uint8_t *)l->absent + (l->own_shares ? line * z.M : 0) : NULL;
    const int64_t *token = l->token;
    centre(l, z, h, w);
    product(z.N, z.D3, z.F, w->centred, z.FP, l->project, z.D3, w->projected, z.D3, 0, NULL);
    for (int64_t n = 0; n < z.N; n++)
        for (int64_t c = 0; c < z.D3; c += LANES)
            store(w->projected + n * z.D3 + c,
                  load(w->projected + n * z.D3 + c) * w->rstd[n] + load((const REAL *)l->project_bias + c));
    memset(w->means, 0, z.M * z.D2 * sizeof(REAL));
    for (int64_t n = 0; n < z.N; n++)
        for (int64_t c = 0; c < z.D2; c += LANES) {
            REAL *mean = w->means + token[n] * z.D2 + c;
            store(mean, load(mean) + load(w->projected + n * z.D3 + z.D + c) * shares[n]);
        }
    for (int64_t head = 0; head < l->heads; head++) {
        REAL *attention = w->attention + head * z.N * z.MP;
        memcpy(attention, (const REAL *)l->bias + head * z.N * z.MP, z.N * z.MP * sizeof(REAL));
        product(z.N, z.MP, z.d, w->projected + head * z.d, z.D3, turned_side(z, w, 0, head), z.MP, attention, z.MP, 1, NULL);
        for (int64_t n = 0; n < z.N; n++) {
            if (absent)
                for (int64_t m = 0; m < z.M; m++)
                    if (absent[m]) attention[n * z.MP + m] = -1e4;
            softmax(z, attention + n * z.MP);
        }
        Side value = side_of(z, w, z.D, head);
        product(z.N, value.width, z.M, attention, z.MP, value.at, value.stride, w->attended + value.column, z.DP, value.add,
                NULL);
    }
}

INLINE int64_t line_start(const Lines *l, int64_t at, int64_t image_stride) {
    return at / l->lines * image_stride + at % l->lines * l->line_stride * l->channels;
}
#define FOR_LINES(at) \
    for (int64_t at = begin(p, p->batch * l->lines, part), end = begin(p, p->batch * l->lines, part + 1); at < end; at++)

/* step->refined (B, H, W, F), in place. */
static void lines_part(const Plan *p, const void *step, const void *given, int64_t part) {
    const Step *s = step;
    const Lines *l = given;
    Sizes z = sizes(l);
    REAL *room = (REAL *)p->rooms + part * p->room;
    Line w = room_of_line(z, l->heads, &room);
    FOR_LINES(at) {
        REAL *h = s->refined + line_start(l, at, s->refined_stride);
        look(l, z, at % l->lines, h, &w);
        product(z.N, z.FP, z.D, w.attended, z.DP, l->output, z.FP, w.out, z.FP, 0, l->output_bias);
        for (int64_t n = 0; n < z.N; n++)
            for (int64_t c = 0; c < z.F; c += LANES) {
                REAL *to = h + n * l->pixel_stride * z.F + c;
                store_some(to, load_some(to, z.F - c) + load(w.out + n * z.FP + c), z.F - c);
            }
    }
}

/* The derivative by q, k and v of all pixels of a line into d (N, 3D), from that by the attended values (N, D). */
static void attention_back(const Lines *l, Sizes z, int64_t line, Line *w, const REAL *d_attended, REAL *d, REAL *d_means,
                           REAL *d_logits, REAL *more, REAL *d_bias) {
    const REAL *shares = (const REAL *)l->share + (l->own_shares ? line * z.N : 0);
    const uint8_t *absent = l->absent ? (const uint8_t *)l->absent + (l->own_shares ? line * z.M : 0) : NULL;
    for (int64_t head = 0; head < l->heads; head++) {
        const REAL *attention = w->attention + head * z.N * z.MP, *d_part = d_attended + head * z.d;
        const REAL *query = w->projected + head * z.d;
        product(z.N, z.MP, z.d, d_part, z.DP, turned_side(z, w, z.D, head), z.MP, d_logits, z.MP, 0, NULL);
        for (int64_t n = 0; n < z.N; n++) {
            vec total = all(0);
            for (int64_t m = 0; m < z.MP; m += LANES) total += load(d_logits + n * z.MP + m) * load(attention + n * z.MP + m);
            vec along = sum(total);
            for (int64_t m = 0; m < z.MP; m += LANES) {
                REAL *at = d_logits + n * z.MP + m, *to = d_bias + (head * z.N + n) * z.MP + m;
                vec x = (load(at) - along) * load(attention + n * z.MP + m);
                store(at, x);
                if (!absent) store(to, load(to) + x);
            }
            for (int64_t m = 0; absent && m < z.M; m++)
                if (absent[m]) d_logits[n * z.MP + m] = 0;
                else d_bias[(head * z.N + n) * z.MP + m] += d_logits[n * z.MP + m];
        }
        Side key = side_of(z, w, 0, head);
        product(z.N, key.width, z.M, d_logits, z.MP, key.at, key.stride, d + key.column, z.D3, key.add, NULL);
        for (int64_t column = 0; column <= z.D; column += z.D) { /* by keys: d_logits^T q; by values: attention^T d_part */
            memset(more, 0, z.M * PADDED(z.d) * sizeof(REAL));
            if (column) turned_product(z.N, z.M, PADDED(z.d), attention, z.MP, d_part, z.DP, more, PADDED(z.d));
            else turned_product(z.N, z.M, PADDED(z.d), d_logits, z.MP, query, z.D3, more, PADDED(z.d));
            copy_rows(z.M, z.d, more, PADDED(z.d), d_means + column + head * z.d, z.D2, NULL);
        }
    }
    for (int64_t n = 0; n < z.N; n++)
        for (int64_t c = 0; c < z.D3 - z.D; c += LANES) {
            const REAL *mean = d_means + ((const int64_t *)l->token)[n] * z.D2 + c;
            store_some(d + n * z.D3 + z.D + c, c < z.D2 ? load(mean) * shares[n] : all(0), z.D3 - z.D - c);
        }
}

/* step->d_refined from that by the refined map to that by step->refined, in place. */
static void unlines_part(const Plan *p, const void *step, const void *given, int64_t part) {
    const Step *s = step;
    const Lines *l = given;
    Sizes z = sizes(l);
    int64_t whole = p->height * p->width * z.F;
    REAL *room = (REAL *)p->rooms + part * p->room;
    Line w = room_of_line(z, l->heads, &room);
    REAL *d_attended = take(&room, z.N * z.DP), *d_projected = take(&room, z.N * z.D3);
    REAL *d_means = take(&room, z.M * z.D2), *d_logits = take(&room, z.N * z.MP);
    REAL *more = take(&room, z.M * PADDED(z.d));
    memset(d_means, 0, (z.M * z.D2 + LANES) * sizeof(REAL));
    REAL *d_project = (REAL *)l->d_project + part * z.F * z.D3, *d_project_bias = (REAL *)l->d_project_bias + part * z.D3;
    REAL *d_output = (REAL *)l->d_output + part * z.D * z.FP, *d_output_bias = (REAL *)l->d_output_bias + part * z.FP;
    REAL *d_bias = (REAL *)l->d_bias + part * l->heads * z.N * z.MP;
    FOR_LINES(at) {
        REAL *d = s->d_refined + line_start(l, at, whole);
        look(l, z, at % l->lines, s->refined + line_start(l, at, s->refined_stride), &w);
        copy_rows(z.N, z.F, d, l->pixel_stride * z.F, w.out, z.FP, NULL);
        turned_product(z.N, z.D, z.FP, w.attended, z.DP, w.out, z.FP, d_output, z.FP);
        product(z.N, z.DP, z.F, w.out, z.FP, l->from_output, z.DP, d_attended, z.DP, 0, NULL);
        attention_back(l, z, at % l->lines, &w, d_attended, d_projected, d_means, d_logits, more, d_bias);
        for (int64_t n = 0; n < z.N; n++) {
            REAL *own = d_projected + n * z.D3, rstd = w.rstd[n];
            vec total = all(0);
            for (int64_t c = 0; c < z.FP; c += LANES)
                store(d_output_bias + c, load(d_output_bias + c) + load(w.out + n * z.FP + c));
            for (int64_t c = 0; c < z.D3; c += LANES) {
                vec x = load(own + c), response = load(w.projected + n * z.D3 + c) - load((const REAL *)l->project_bias + c);
                store(d_project_bias + c, load(d_project_bias + c) + x);
                total += response * x;
                store(own + c, x * rstd);
            }
            vec slope = sum(total) * (rstd * rstd / z.F);
            for (int64_t c = 0; c < z.FP; c += LANES)
                store(w.out + n * z.FP + c, load(w.out + n * z.FP + c) - load(w.centred + n * z.FP + c) * slope);
        }
        turned_product(z.N, z.F, z.D3, w.centred, z.FP, d_projected, z.D3, d_project, z.D3);
        product(z.N, z.FP, 3 * z.D, d_projected, z.D3, l->from_project, z.FP, w.out, z.FP, 1, NULL);
        copy_rows(z.N, z.F, w.out, z.FP, d, l->pixel_stride * z.F, NULL);
    }
}
