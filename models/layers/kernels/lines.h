/* Attention along lines, h (B, H, W, F) in place:

       y = LN(h);  [q, k, v] = W y + b;  k, v <- their means over the tokens of the line
       h <- h + W_o softmax(q k^T + bias) v + b_o

   W has the norm's weight, its columns sum to zero, and W y is taken as rstd W (h - mean); see models/layers/lines.py.
   The derivative computes everything of a line again, and with columns of W that sum to zero it is

       dL/dh = r (W^T dL/dq - y (dL/dq . W y) / F),        r = 1 / standard deviation */

typedef struct {
    int64_t N, NP, M, D, DP, D2, D3, d, F, FP; /* pixels, tokens, width over all heads, 2D, 3D, of a head, channels */
} Sizes;

INLINE Sizes sizes(const Lines *l) {
    int64_t N = l->pixels, F = l->channels, D = l->width;
    return (Sizes){N, PADDED(N), l->tokens, D, PADDED(D), PADDED(2 * D), PADDED(3 * D), D / l->heads, F, PADDED(F)};
}

/* As in weights.h. */
static int64_t lay_line_weights(Lines *l, REAL *row) {
    Sizes z = sizes(l);
    int64_t used = 0;
    l->project = lay(row, &used, z.F * z.D3), l->project_bias = lay(row, &used, z.D3);
    l->output = lay(row, &used, (z.D + 1) * z.FP), l->bias = lay(row, &used, l->heads * z.M * z.NP);
    if (!l->by) return used;
    l->from_output = lay(row, &used, z.F * z.DP), l->from_project = lay(row, &used, 3 * z.D * z.FP);
    return used;
}

static int64_t lay_line_totals(Lines *l, REAL *row) {
    Sizes z = sizes(l);
    int64_t used = 0;
    if (!l->by) return 0;
    l->d_project = lay(row, &used, z.F * z.D3), l->d_project_bias = lay(row, &used, z.D3);
    l->d_output = lay(row, &used, (z.D + 1) * z.FP), l->d_bias = lay(row, &used, l->heads * z.M * z.NP);
    return used;
}

/* Row r of W before the norm's weight is in it, (F,): of q, of k or of v of all heads. Those of k and v lie head by head
   in key_value; with q comes 1 / sqrt(d). */
typedef struct {
    const REAL *weight;
    REAL *d_weight, factor;
} Row;
INLINE Row row_of(const Lines *l, Sizes z, int64_t r) {
    const LineParameters *from = l->given, *by = l->by ? l->by : from;
    if (r < z.D) return (Row){(REAL *)from->query + r * z.F, (REAL *)by->query + r * z.F, 1 / (REAL)__builtin_sqrt(z.d)};
    int64_t kind = r / z.D - 1, head = r % z.D / z.d, at = ((2 * head + kind) * z.d + r % z.d) * z.F;
    return (Row){(REAL *)from->key_value + at, (REAL *)by->key_value + at, 1};
}

/* W with the norm's weight and columns that sum to zero, and the norm's bias times W; W_o and its bias times the layer
   scale; the relative bias as a sum of waves. */
static void ready_line_weights(Lines *l) {
    const LineParameters *from = l->given;
    Sizes z = sizes(l);
    const REAL *norm = from->norm, *norm_bias = from->norm_bias, *output = from->output, *scale = from->scale;
    REAL *to = (REAL *)l->output, *project = (REAL *)l->project;
    for (int64_t r = 0; r < 3 * z.D; r++) {
        Row row = row_of(l, z, r);
        REAL bias = 0, total = 0;
        for (int64_t c = 0; c < z.F; c++) bias += row.weight[c] * norm_bias[c], total += row.weight[c] * norm[c];
        ((REAL *)l->project_bias)[r] = bias * row.factor;
        for (int64_t c = 0; c < z.F; c++) project[c * z.D3 + r] = (row.weight[c] * norm[c] - total / z.F) * row.factor;
        for (int64_t c = 0; l->by && c < z.F; c++) ((REAL *)l->from_project)[r * z.FP + c] = project[c * z.D3 + r];
    }
    for (int64_t c = 0; c < z.F; c++) {
        for (int64_t k = 0; k < z.D; k++) to[k * z.FP + c] = output[c * z.D + k] * scale[c];
        to[z.D * z.FP + c] = ((const REAL *)from->output_bias)[c] * scale[c];
        for (int64_t k = 0; l->by && k < z.D; k++) ((REAL *)l->from_output)[c * z.DP + k] = to[k * z.FP + c];
    }
    product(l->heads, z.M * z.NP, l->waves, from->bias, l->waves, l->wave, z.M * z.NP, (REAL *)l->bias, z.M * z.NP, 0, NULL);
}

static void finish_line_weights(const Lines *l) {
    const LineParameters *from = l->given, *by = l->by;
    Sizes z = sizes(l);
    const REAL *norm = from->norm, *norm_bias = from->norm_bias, *output = from->output, *scale = from->scale;
    const REAL *d_project = l->d_project, *d_output = l->d_output;
    REAL *d_norm = by->norm, *d_norm_bias = by->norm_bias, *d_scale = by->scale;
    memset(d_norm, 0, z.F * sizeof(REAL)), memset(d_norm_bias, 0, z.F * sizeof(REAL));
    for (int64_t r = 0; r < 3 * z.D; r++) {
        Row row = row_of(l, z, r);
        REAL d_bias = ((const REAL *)l->d_project_bias)[r] * row.factor, total = 0;
        for (int64_t c = 0; c < z.F; c++) total += d_project[c * z.D3 + r];
        for (int64_t c = 0; c < z.F; c++) {
            REAL d = (d_project[c * z.D3 + r] - total / z.F) * row.factor;
            row.d_weight[c] = d * norm[c] + d_bias * norm_bias[c];
            d_norm[c] += d * row.weight[c], d_norm_bias[c] += d_bias * row.weight[c];
        }
    }
    for (int64_t c = 0; c < z.F; c++) {
        REAL last = d_output[z.D * z.FP + c];
        d_scale[c] = last * ((const REAL *)from->output_bias)[c];
        ((REAL *)by->output_bias)[c] = last * scale[c];
        for (int64_t k = 0; k < z.D; k++) {
            d_scale[c] += d_output[k * z.FP + c] * output[c * z.D + k];
            ((REAL *)by->output)[c * z.D + k] = d_output[k * z.FP + c] * scale[c];
        }
    }
    for (int64_t head = 0; head < l->heads; head++)
        for (int64_t k = 0; k < l->waves; k++) {
            const REAL *d = (const REAL *)l->d_bias + head * z.M * z.NP, *wave = (const REAL *)l->wave + k * z.M * z.NP;
            vec total = all(0);
            for (int64_t n = 0; n < z.M * z.NP; n += LANES) total += load(d + n) * load(wave + n);
            ((REAL *)by->bias)[head * l->waves + k] = sum(total)[0];
        }
}

/* What one line works in; rows padded. What has a pixel in each column is worked on by whole vectors of pixels, so that
   softmax is taken down the columns. */
typedef struct {
    REAL *centred, *rstd, *projected; /* (N, F), (N,), (N, 3D) */
    REAL *means, *query;              /* (M, 2D); (D, N) */
    REAL *attention, *attended, *out; /* (heads, M, N); (D + 1, N), ones at last; (N, F) */
} Line;

/* Its room in that of a thread, where there is one; else what it takes is only counted, as by `lay`. */
INLINE Line room_of_line(Sizes z, int64_t heads, REAL *room, int64_t *used) {
    Line w;
    w.centred = lay(room, used, z.N * z.FP), w.rstd = lay(room, used, z.N), w.projected = lay(room, used, z.N * z.D3);
    w.means = lay(room, used, z.M * z.D2), w.query = lay(room, used, z.D * z.NP);
    w.attention = lay(room, used, heads * z.M * z.NP), w.attended = lay(room, used, (z.D + 1) * z.NP);
    w.out = lay(room, used, z.N * z.FP);
    for (int64_t n = 0; room && n < z.NP; n++) w.attended[z.D * z.NP + n] = 1;
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

/* softmax over the tokens of all pixels (M, N), in place. */
INLINE void softmax(Sizes z, REAL *x) {
    for (int64_t n = 0; n < z.NP; n += LANES) {
        vec top = load(x + n), total = all(0);
        for (int64_t m = 1; m < z.M; m++) top = larger(load(x + m * z.NP + n), top);
        for (int64_t m = 0; m < z.M; m++) {
            vec e = exponential(load(x + m * z.NP + n) - top, FAINTEST, 0);
            store(x + m * z.NP + n, e);
            total += e;
        }
        vec share = 1 / total;
        for (int64_t m = 0; m < z.M; m++) store(x + m * z.NP + n, load(x + m * z.NP + n) * share);
    }
}

/* Which tokens have nothing in them, (M,); null for none. */
INLINE const uint8_t *absent_of(const Lines *l, int64_t line) {
    return l->absent ? (const uint8_t *)l->absent + (l->own_shares ? line * l->tokens : 0) : NULL;
}

/* Everything up to the attended values, of one line. */
static void look(const Lines *l, Sizes z, int64_t line, const REAL *h, Line *w) {
    const REAL *shares = (const REAL *)l->share + (l->own_shares ? line * z.N : 0);
    const uint8_t *absent = absent_of(l, line);
    const int64_t *token = l->token;
    int64_t map = z.M * z.NP;
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
    turn(z.N, z.D, w->projected, z.D3, w->query, z.NP);
    memcpy(w->attention, l->bias, l->heads * map * sizeof(REAL));
    memset(w->attended, 0, z.D * z.NP * sizeof(REAL));
    for (int64_t head = 0; head < l->heads; head++) {
        REAL *attention = w->attention + head * map;
        const REAL *key = w->means + head * z.d, *value = key + z.D;
        product(z.M, z.NP, z.d, key, z.D2, w->query + head * z.d * z.NP, z.NP, attention, z.NP, 1, NULL);
        for (int64_t m = 0; absent && m < z.M; m++)
            if (absent[m])
                for (int64_t n = 0; n < z.NP; n++) attention[m * z.NP + n] = -1e4;
        softmax(z, attention);
        turned_product(z.M, z.d, z.NP, value, z.D2, attention, z.NP, w->attended + head * z.d * z.NP, z.NP);
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
    int64_t used = 0;
    Line w = room_of_line(z, l->heads, room, &used);
    FOR_LINES(at) {
        REAL *h = s->refined + line_start(l, at, s->refined_stride), *out = z.F == z.FP ? h : w.out;
        int64_t apart = l->pixel_stride * z.F, ldo = z.F == z.FP ? apart : z.FP;
        look(l, z, at % l->lines, h, &w);
        if (out != h) copy_rows(z.N, z.F, h, apart, out, ldo, NULL);
        turned_product(z.D + 1, z.N, z.FP, w.attended, z.NP, l->output, z.FP, out, ldo);
        if (out != h) copy_rows(z.N, z.F, out, ldo, h, apart, NULL);
    }
}

/* What the derivative of a line works in besides. */
typedef struct {
    REAL *attended, *turned, *query;  /* by the attended values, (N, D) and (D, N); by q, (D, N) */
    REAL *projected, *means, *logits; /* (N, 3D), (M, 2D), (M, N) */
    REAL *part;                       /* (M, d) */
} Back;

INLINE Back room_back(Sizes z, REAL *room, int64_t *used) {
    Back d;
    d.attended = lay(room, used, z.N * z.DP), d.turned = lay(room, used, z.D * z.NP), d.query = lay(room, used, z.D * z.NP);
    d.projected = lay(room, used, z.N * z.D3), d.means = lay(room, used, z.M * z.D2);
    d.logits = lay(room, used, z.M * z.NP), d.part = lay(room, used, z.M * PADDED(z.d));
    if (room) memset(d.means, 0, (z.M * z.D2 + LANES) * sizeof(REAL));
    return d;
}

/* The derivative by q, k and v of all pixels of a line, from that by the attended values. */
static void attention_back(const Lines *l, Sizes z, int64_t line, const Line *w, Back *d, REAL *d_bias) {
    const REAL *shares = (const REAL *)l->share + (l->own_shares ? line * z.N : 0);
    const uint8_t *absent = absent_of(l, line);
    int64_t map = z.M * z.NP, dP = PADDED(z.d);
    turn(z.N, z.D, d->attended, z.DP, d->turned, z.NP);
    memset(d->query, 0, z.D * z.NP * sizeof(REAL));
    for (int64_t head = 0; head < l->heads; head++) {
        const REAL *attention = w->attention + head * map, *key = w->means + head * z.d, *value = key + z.D;
        product(z.M, z.NP, z.d, value, z.D2, d->turned + head * z.d * z.NP, z.NP, d->logits, z.NP, 0, NULL);
        for (int64_t n = 0; n < z.NP; n += LANES) {
            vec along = all(0);
            for (int64_t m = 0; m < z.M; m++) along += load(d->logits + m * z.NP + n) * load(attention + m * z.NP + n);
            for (int64_t m = 0; m < z.M; m++) {
                REAL *at = d->logits + m * z.NP + n, *to = d_bias + head * map + m * z.NP + n;
                vec x = absent && absent[m] ? all(0) : (load(at) - along) * load(attention + m * z.NP + n);
                store(at, x);
                store(to, load(to) + x);
            }
        }
        turned_product(z.M, z.d, z.NP, key, z.D2, d->logits, z.NP, d->query + head * z.d * z.NP, z.NP);
        /* by keys: d_logits q; by values: attention d_attended */
        product(z.M, dP, z.N, d->logits, z.NP, w->projected + head * z.d, z.D3, d->part, dP, 0, NULL);
        copy_rows(z.M, z.d, d->part, dP, d->means + head * z.d, z.D2, NULL);
        product(z.M, dP, z.N, attention, z.NP, d->attended + head * z.d, z.DP, d->part, dP, 0, NULL);
        copy_rows(z.M, z.d, d->part, dP, d->means + z.D + head * z.d, z.D2, NULL);
    }
    turn(z.D, z.N, d->query, z.NP, d->projected, z.D3);
    for (int64_t n = 0; n < z.N; n++)
        for (int64_t c = 0; c < z.D3 - z.D; c += LANES) {
            const REAL *mean = d->means + ((const int64_t *)l->token)[n] * z.D2 + c;
            store_some(d->projected + n * z.D3 + z.D + c, c < z.D2 ? load(mean) * shares[n] : all(0), z.D3 - z.D - c);
        }
}

/* step->d_refined from that by the refined map to that by step->refined, in place. */
static void unlines_part(const Plan *p, const void *step, const void *given, int64_t part) {
    const Step *s = step;
    const Lines *l = given;
    Sizes z = sizes(l);
    int64_t whole = p->height * p->width * z.F;
    REAL *room = (REAL *)p->rooms + part * p->room;
    int64_t used = 0;
    Line w = room_of_line(z, l->heads, room, &used);
    Back by = room_back(z, room, &used);
    REAL *d_project = (REAL *)l->d_project + part * l->apart, *d_project_bias = (REAL *)l->d_project_bias + part * l->apart;
    REAL *d_output = (REAL *)l->d_output + part * l->apart, *d_bias = (REAL *)l->d_bias + part * l->apart;
    FOR_LINES(at) {
        REAL *d = s->d_refined + line_start(l, at, whole);
        look(l, z, at % l->lines, s->refined + line_start(l, at, s->refined_stride), &w);
        copy_rows(z.N, z.F, d, l->pixel_stride * z.F, w.out, z.FP, NULL);
        product(z.D + 1, z.FP, z.N, w.attended, z.NP, w.out, z.FP, d_output, z.FP, 1, NULL);
        product(z.N, z.DP, z.F, w.out, z.FP, l->from_output, z.DP, by.attended, z.DP, 0, NULL);
        attention_back(l, z, at % l->lines, &w, &by, d_bias);
        for (int64_t n = 0; n < z.N; n++) {
            REAL *own = by.projected + n * z.D3, rstd = w.rstd[n];
            vec total = all(0);
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
        turned_product(z.N, z.F, z.D3, w.centred, z.FP, by.projected, z.D3, d_project, z.D3);
        product(z.N, z.FP, 3 * z.D, by.projected, z.D3, l->from_project, z.FP, w.out, z.FP, 1, NULL);
        copy_rows(z.N, z.F, w.out, z.FP, d, l->pixel_stride * z.F, NULL);
    }
}
