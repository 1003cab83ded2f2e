/* U = P_x X + P_h H_(t-1), and Y = LN(sum_j DW_j(U)) with the mean of SiLU(w Y + b); their derivatives.

   All branches are one list of taps: M(x) = sum_taps K(tap) U(x + tap). Bands of rows are copied with what lies beyond
   their borders, so that no tap has to ask where it is. */

/* An array of n numbers in a row of arrays; at NULL only counted. One vector more, so that a last whole vector may be
   read. */
INLINE REAL *lay(REAL *row, int64_t *used, int64_t n) {
    REAL *at = row ? row + *used : NULL;
    *used += (n + 31) / 16 * 16;
    return at;
}

/* Take n numbers of a thread's room. */
INLINE REAL *take(REAL **room, int64_t n) {
    int64_t used = 0;
    REAL *taken = lay(*room, &used, n);
    *room += used;
    return taken;
}

/* C_b filled up to whole vectors. */
INLINE int64_t inner_padded(const Plan *p) { return PADDED(p->inner); }

/* What one step reads and writes, of some images; maps are (B, H, W, .) without gaps but where there is a stride. */
typedef struct {
    const REAL *x;                           /* X_t */
    REAL *u, *y, *rstd;                      /* U; LN(M) without weight and bias, or M, or A; 1 / standard deviation */
    REAL *mean, *inner, *excitation;         /* (B, C_b padded), (B, R), (B, C_b padded) */
    const REAL *hidden_before, *before;      /* H_(t-1), C_(t-1) */
    REAL *cell, *hidden;                     /* C_t, H_t */
    REAL *v;                                 /* V, only of a minimal memory */
    REAL *refined;                           /* the map that attention refines: H_t, or V before a minimal memory */
    const REAL *d_hidden, *d_u_next;         /* by H_t, by U_(t+1); null for none */
    REAL *d_cell, *d_v, *d_u, *d_mean;       /* d_v is overwritten on the way; d_cell is by H_t where there is no C_t */
    REAL *d_x;                               /* by X_t, laid out as that */
    REAL *d_refined;                         /* `gather_part` writes it for H_t */
    int64_t x_stride, x_pixel, x_channel;    /* from image to image, pixel to pixel, channel to channel, in numbers */
    int64_t d_image, d_pixel, d_channel;     /* the same of d_hidden */
    int64_t hidden_before_stride, hidden_stride, refined_stride; /* from image to image, in numbers */
} Step;

/* A block of pixels within an image. */
typedef struct {
    int64_t image, start, count;
} Block;

INLINE int64_t blocks(const Plan *p) {
    return p->batch * ((p->height * p->width + p->block - 1) / p->block);
}
INLINE Block block_at(const Plan *p, int64_t number) {
    int64_t pixels = p->height * p->width, per_image = (pixels + p->block - 1) / p->block;
    Block b = {number / per_image, number % per_image * p->block, 0};
    b.count = b.start + p->block > pixels ? pixels - b.start : p->block;
    return b;
}
#define FOR_BLOCKS(b)                                                                                     \
    for (int64_t at = begin(p, blocks(p), part), end = begin(p, blocks(p), part + 1); at < end; at++) \
        for (Block b = block_at(p, at), *once = &b; once; once = NULL)

/* X_t of some pixels as rows of C. */
INLINE void pixels_of_x(const Plan *p, const Step *s, int64_t image, int64_t first, int64_t count, REAL *to) {
    const REAL *x = s->x + image * s->x_stride + first * s->x_pixel;
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < p->in_channels; c++) to[i * p->in_channels + c] = x[i * s->x_pixel + c * s->x_channel];
}

/* U = P_x X_t + P_h H_(t-1), and 0 where nothing may be read. */
static void project_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t C = p->in_channels, F = p->channels, I = p->inner, IP = PADDED(I);
    REAL *room = (REAL *)p->rooms + part * p->room, *u = take(&room, p->block * IP), *x = take(&room, p->block * C);
    FOR_BLOCKS(b) {
        const REAL *h = p->recurrent ? s->hidden_before + b.image * s->hidden_before_stride + b.start * F : NULL;
        pixels_of_x(p, s, b.image, b.start, b.count, x);
        product(b.count, IP, C, x, C, p->from_x, IP, u, IP, 0, p->from_x_bias);
        if (p->from_hidden) product(b.count, IP, F, h, F, p->from_hidden, IP, u, IP, 1, NULL);
        else if (h)
            for (int64_t i = 0; i < b.count; i++)
                for (int64_t c = 0; c < I; c += LANES) store(u + i * IP + c, load(u + i * IP + c) + load_some(h + i * F + c, I - c));
        copy_rows(b.count, I, u, IP, s->u + (b.image * p->height * p->width + b.start) * I, I,
             p->seen ? (const REAL *)p->seen + b.start : NULL);
    }
}

/* A band of rows of an image, one piece of work for a thread. */
INLINE int64_t bands(const Plan *p) { return p->batch * ((p->height + p->band - 1) / p->band); }
#define FOR_BANDS(image, first, count)                                                                                \
    for (int64_t at = begin(p, bands(p), part), end = begin(p, bands(p), part + 1); at < end; at++)       \
        for (int64_t per = (p->height + p->band - 1) / p->band, image = at / per, first = at % per * p->band,         \
                     count = first + p->band > p->height ? p->height - first : p->band, once = 1; once; once = 0)

/* Copy rows first - reach ... first + count + reach - 1 of an image, and reach columns more on either side. */
static void copy_band(const Plan *p, const REAL *image, int64_t first, int64_t count, REAL *to) {
    int64_t H = p->height, W = p->width, I = p->inner, IP = PADDED(I), R = p->reach, wide = W + 2 * R;
    for (int64_t i = 0; i < count + 2 * R; i++) {
        int64_t y = first + i - R;
        REAL *row = to + i * wide * IP;
        if (p->pad_mode == 2) y = (y % H + H) % H;
        if (y < 0 || y >= H) {
            memset(row, 0, wide * IP * sizeof(REAL));
            continue;
        }
        for (int64_t j = 0; j < wide; j++) {
            int64_t x = j - R;
            if (p->pad_mode != 0) x = (x % W + W) % W;
            if (I == IP && x == 0 && j == R) { /* the row itself, all at once */
                memcpy(row + j * IP, image + y * W * I, W * I * sizeof(REAL));
                j += W - 1;
            } else
                for (int64_t c = 0; c < IP; c += LANES)
                    store(row + j * IP + c, x < 0 || x >= W ? all(0) : load_some(image + (y * W + x) * I + c, I - c));
        }
    }
}

/* Where the taps lie in a band, in numbers; turned round for the transpose. */
INLINE int64_t *offsets(const Plan *p, REAL **room, int turned) {
    const int64_t *places = p->places;
    int64_t IP = PADDED(p->inner), wide = p->width + 2 * p->reach;
    int64_t *found = (int64_t *)take(room, 2 * p->taps);
    for (int64_t k = 0; k < p->taps; k++) found[k] = (places[2 * k] * wide + places[2 * k + 1]) * IP * (turned ? -1 : 1);
    return found;
}

/* M = sum_taps K U for `count` pixels of a row, into (count, C_b padded). */
INLINE void taps_of(const int count, int64_t taps, int64_t IP, const REAL *kernel, const int64_t *offset,
                          const REAL *at, REAL *m) {
    for (int64_t c = 0; c < IP; c += LANES) {
        vec total[8];
        UNROLL for (int i = 0; i < count; i++) total[i] = all(0);
        for (int64_t k = 0; k < taps; k++) {
            vec weight = load(kernel + k * IP + c);
            const REAL *from = at + offset[k] + c;
            UNROLL for (int i = 0; i < count; i++) total[i] += weight * load(from + i * IP);
        }
        UNROLL for (int i = 0; i < count; i++) store(m + i * IP + c, total[i]);
    }
}
INLINE void row_of_taps(const Plan *p, const int64_t *offset, const REAL *at, REAL *m) {
    int64_t W = p->width, IP = PADDED(p->inner), x = 0;
    for (; x + 8 <= W; x += 8) taps_of(8, p->taps, IP, p->kernel, offset, at + x * IP, m + x * IP);
    for (; x < W; x++) taps_of(1, p->taps, IP, p->kernel, offset, at + x * IP, m + x * IP);
}

/* M of one pixel (C_b padded) less its mean, in place; returns the sum of squares. */
INLINE REAL centre_pixel(const Plan *p, REAL *m) {
    int64_t I = p->inner, IP = PADDED(I);
    const REAL *present = p->present;
    vec total = all(0), square = all(0);
    for (int64_t c = 0; c < IP; c += LANES) total += load(m + c);
    vec mean = sum(total) * (1 / (REAL)I);
    for (int64_t c = 0; c < IP; c += LANES) {
        vec x = (load(m + c) - mean) * load(present + c);
        square += x * x;
        store(m + c, x);
    }
    return sum(square)[0];
}

/* SiLU(w Y + b) */
INLINE vec activate(const Plan *p, vec y, int64_t c) {
    y = y * load((const REAL *)p->norm + c) + load((const REAL *)p->norm_bias + c);
    return y / (1 + expo(-y));
}

static void mix_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t W = p->width, I = p->inner, IP = PADDED(I), R = p->reach, wide = W + 2 * R, pixels = p->height * W;
    REAL *room = (REAL *)p->rooms + part * p->room;
    REAL *band = take(&room, (p->band + 2 * R) * wide * IP), *m = take(&room, W * IP);
    int64_t *offset = offsets(p, &room, 0);
    REAL *sums = (REAL *)p->sums + part * p->batch * IP;
    memset(sums, 0, p->batch * IP * sizeof(REAL));
    FOR_BANDS(image, first, count) {
        copy_band(p, s->u + image * pixels * I, first, count, band);
        for (int64_t y = first; y < first + count; y++) {
            row_of_taps(p, offset, band + ((y - first + R) * wide + R) * IP, m);
            REAL *to = s->y + (image * pixels + y * W) * I, *rstd = s->rstd + image * pixels + y * W;
            if (p->normed) {
                for (int64_t x = 0; x < W; x++) rstd[x] = centre_pixel(p, m + x * IP);
                deviations(W, I, rstd);
                copy_rows(W, IP, m, IP, m, IP, rstd);
            }
            if (p->kept) copy_rows(W, I, m, IP, to, I, NULL);
            for (int64_t c = 0; c < IP && (p->squeezed || !p->kept); c += LANES) {
                vec total = load(sums + image * IP + c);
                for (int64_t x = 0; x < W; x++) {
                    vec active = activate(p, load(m + x * IP + c), c);
                    total += active * ((const REAL *)p->share)[y * W + x];
                    store(m + x * IP + c, active);
                }
                store(sums + image * IP + c, total);
            }
            if (!p->kept) copy_rows(W, I, m, IP, to, I, NULL);
        }
    }
}

/* e = sig(W_2 relu(W_1 mean + b_1) + b_2), for every image. */
static void squeeze(const Plan *p, const Step *s) {
    int64_t I = p->inner, IP = PADDED(I), R = p->squeezed;
    const REAL *w1 = p->squeeze, *b1 = p->squeeze_bias, *w2 = p->excite, *b2 = p->excite_bias;
    for (int64_t image = 0; image < p->batch; image++) {
        REAL *mean = s->mean + image * IP, *inner = s->inner + image * R;
        REAL *e = s->excitation + image * IP;
        for (int64_t c = 0; c < IP; c++) {
            mean[c] = 0;
            for (int64_t part = p->first; part < p->first + p->threads; part++)
                mean[c] += ((REAL *)p->sums)[(part * p->batch + image) * IP + c];
        }
        for (int64_t r = 0; r < R; r++) {
            REAL total = b1[r];
            for (int64_t c = 0; c < I; c++) total += w1[r * I + c] * mean[c];
            inner[r] = total < 0 ? 0 : total; /* what is not a number stays so */
        }
        for (int64_t c = 0; c < I; c++) {
            REAL total = b2[c];
            for (int64_t r = 0; r < R; r++) total += w2[c * R + r] * inner[r];
            e[c] = total;
        }
        for (int64_t c = 0; c < IP; c += LANES) store_some(e + c, sig(load(e + c)), I - c);
    }
}

/* A = SiLU(w Y + b) and V = e A of a block, (count, C_b padded). */
INLINE void blend(const Plan *p, const Step *s, Block b, REAL *a, REAL *v) {
    int64_t I = p->inner, IP = PADDED(I);
    const REAL *y = s->y + (b.image * p->height * p->width + b.start) * I;
    const REAL *e = s->excitation + b.image * IP;
    for (int64_t i = 0; i < b.count; i++)
        for (int64_t c = 0; c < IP; c += LANES) {
            vec active = load_some(y + i * I + c, I - c);
            if (p->kept) active = activate(p, active, c);
            if (a) store(a + i * IP + c, active);
            store(v + i * IP + c, active * load(e + c));
        }
}

static void blend_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t I = p->inner, IP = PADDED(I);
    REAL *room = (REAL *)p->rooms + part * p->room, *v = take(&room, p->block * IP);
    FOR_BLOCKS(b) {
        blend(p, s, b, NULL, v);
        copy_rows(b.count, I, v, IP, s->v + (b.image * p->height * p->width + b.start) * I, I, NULL);
    }
}

/* dV of a block from that by what V is multiplied to: into (count, C_b padded) and into the map. */
INLINE void v_back(const Plan *p, const Step *s, Block b, const REAL *d_z, int64_t Z, int64_t gates, REAL *d_v) {
    int64_t I = p->inner, IP = PADDED(I);
    product(b.count, IP, gates, d_z, Z, p->to_v, IP, d_v, IP, 0, NULL);
    copy_rows(b.count, I, d_v, IP, s->d_v + (b.image * p->height * p->width + b.start) * I, I, NULL);
}

/* Add the sum of dV a over a block, both (count, C_b padded). */
INLINE void add_excited(const Plan *p, Block b, const REAL *d_v, const REAL *a, REAL *sums) {
    int64_t IP = PADDED(p->inner);
    for (int64_t c = 0; c < IP; c += LANES) {
        vec total = load(sums + b.image * IP + c);
        for (int64_t i = 0; i < b.count; i++) total += load(d_v + i * IP + c) * load(a + i * IP + c);
        store(sums + b.image * IP + c, total);
    }
}

/* sum(dV a) over each image, of which `squeeze_back` makes the derivative by the mean. */
static void unblend_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t I = p->inner, IP = PADDED(I);
    REAL *sums = (REAL *)p->sums + part * p->batch * IP;
    memset(sums, 0, p->batch * IP * sizeof(REAL));
    FOR_BLOCKS(b) {
        int64_t first = (b.image * p->height * p->width + b.start) * I;
        const REAL *y = s->y + first, *d = s->d_v + first;
        for (int64_t c = 0; c < IP; c += LANES) {
            vec total = load(sums + b.image * IP + c);
            for (int64_t i = 0; i < b.count; i++)
                total += load_some(d + i * I + c, I - c) * activate(p, load_some(y + i * I + c, I - c), c);
            store(sums + b.image * IP + c, total);
        }
    }
}

/* The derivative of `squeeze`: sums hold sum(dV a); e becomes the derivative by the mean. */
static void squeeze_back(const Plan *p, const Step *s) {
    int64_t I = p->inner, IP = PADDED(I), R = p->squeezed;
    REAL *room = (REAL *)p->rooms + p->first * p->room, *d_mean = s->d_mean;
    const REAL *w1 = p->squeeze, *w2 = p->excite;
    REAL *d_excite = take(&room, IP), *d_squeeze = take(&room, R);
    int64_t apart = p->first * p->apart;
    REAL *dw1 = (REAL *)p->d_squeeze + apart, *db1 = (REAL *)p->d_squeeze_bias + apart;
    REAL *dw2 = (REAL *)p->d_excite + apart, *db2 = (REAL *)p->d_excite_bias + apart;
    for (int64_t image = 0; image < p->batch; image++) {
        const REAL *mean = s->mean + image * IP, *inner = s->inner + image * R;
        const REAL *e = s->excitation + image * IP;
        for (int64_t c = 0; c < I; c++) {
            REAL total = 0;
            for (int64_t part = p->first; part < p->first + p->threads; part++)
                total += ((REAL *)p->sums)[(part * p->batch + image) * IP + c];
            d_excite[c] = total * e[c] * (1 - e[c]);
            db2[c] += d_excite[c];
            for (int64_t r = 0; r < R; r++) dw2[c * R + r] += d_excite[c] * inner[r];
        }
        for (int64_t r = 0; r < R; r++) {
            REAL total = 0;
            for (int64_t c = 0; c < I; c++) total += d_excite[c] * w2[c * R + r];
            d_squeeze[r] = inner[r] > 0 ? total : 0;
            db1[r] += d_squeeze[r];
            for (int64_t c = 0; c < I; c++) dw1[r * I + c] += d_squeeze[r] * mean[c];
        }
        for (int64_t c = 0; c < IP; c++) {
            REAL total = 0;
            for (int64_t r = 0; r < R && c < I; r++) total += d_squeeze[r] * w1[r * I + c];
            d_mean[image * IP + c] = total;
        }
    }
}

/* dM from dV, in its place: dA = dV e + share d_mean;  dY = dA SiLU'(w Y + b);  dM = (g - mean(g) - Y mean(g Y)) / std,
   g = w dY. */
static void unmix_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    const REAL *d_mean = s->d_mean;
    int64_t I = p->inner, IP = PADDED(I), pixels = p->height * p->width;
    REAL *room = (REAL *)p->rooms + part * p->room, *g = take(&room, IP);
    REAL *d_norm = (REAL *)p->d_norm + part * p->apart, *d_bias = (REAL *)p->d_norm_bias + part * p->apart;
    FOR_BLOCKS(b) {
        const REAL *e = s->excitation + b.image * IP;
        for (int64_t i = b.start; i < b.start + b.count; i++) {
            const REAL *y = s->y + (b.image * pixels + i) * I;
            REAL *d = s->d_v + (b.image * pixels + i) * I, share = ((const REAL *)p->share)[i];
            vec total = all(0), along = all(0);
            for (int64_t c = 0; c < IP; c += LANES) {
                vec x = load_some(y + c, I - c), w = load((const REAL *)p->norm + c);
                vec z = x * w + load((const REAL *)p->norm_bias + c), on = sig(z);
                vec d_a = load_some(d + c, I - c) * load(e + c) + load(d_mean + b.image * IP + c) * share;
                vec d_z = d_a * on * (1 + z * (1 - on));
                store(d_norm + c, load(d_norm + c) + d_z * x);
                store(d_bias + c, load(d_bias + c) + d_z);
                d_z *= w;
                total += d_z;
                along += d_z * x;
                store(g + c, d_z);
            }
            REAL rstd = p->normed ? s->rstd[b.image * pixels + i] : 1;
            vec mean = p->normed ? sum(total) * (1 / (REAL)I) : all(0), slope = p->normed ? sum(along) * (1 / (REAL)I) : all(0);
            for (int64_t c = 0; c < IP; c += LANES)
                store_some(d + c, (load(g + c) - mean - load_some(y + c, I - c) * slope) * rstd, I - c);
        }
    }
}

/* Add to dK of N taps what the pixels of a row give: dK(tap) += sum_x U(x) dM(x - tap). */
INLINE void kernel_back(const int N, int64_t W, int64_t I, int64_t IP, const REAL *u, const REAL *at,
                              const int64_t *offset, REAL *d) {
    for (int64_t c = 0; c < IP; c += LANES) {
        vec total[8];
        UNROLL for (int k = 0; k < N; k++) total[k] = load(d + k * IP + c);
        for (int64_t x = 0; x < W; x++) {
            vec value = load_some(u + x * I + c, I - c);
            UNROLL for (int k = 0; k < N; k++) total[k] += value * load(at + offset[k] + x * IP + c);
        }
        UNROLL for (int k = 0; k < N; k++) store(d + k * IP + c, total[k]);
    }
}

/* The derivatives by X_t, P_x and its bias, from dU (count, C_b padded) of some pixels. */
INLINE void project_back(const Plan *p, const Step *s, int64_t image, int64_t first, int64_t count, const REAL *d_u, REAL *x,
                         REAL *d_x, int64_t part) {
    int64_t C = p->in_channels, CP = PADDED(C), IP = PADDED(p->inner);
    REAL *d_bias = (REAL *)p->d_from_x_bias + part * p->apart, *to = s->d_x + image * s->x_stride + first * s->x_pixel;
    pixels_of_x(p, s, image, first, count, x);
    turned_product(count, C, IP, x, C, d_u, IP, (REAL *)p->d_from_x + part * p->apart, IP);
    for (int64_t c = 0; c < IP; c += LANES) {
        vec total = load(d_bias + c);
        for (int64_t i = 0; i < count; i++) total += load(d_u + i * IP + c);
        store(d_bias + c, total);
    }
    product(count, CP, p->inner, d_u, IP, p->to_x, CP, d_x, CP, 0, NULL);
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < C; c++) to[i * s->x_pixel + c * s->x_channel] = d_x[i * CP + c];
}

/* dU from dM by the kernel turned round, and the derivatives by the kernel, P_h, P_x and X_t. */
static void untap_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t W = p->width, F = p->channels, I = p->inner, IP = PADDED(I), R = p->reach, wide = W + 2 * R;
    int64_t pixels = p->height * W, k;
    REAL *room = (REAL *)p->rooms + part * p->room;
    REAL *band = take(&room, (p->band + 2 * R) * wide * IP), *m = take(&room, W * IP);
    REAL *x = take(&room, W * p->in_channels), *d_x = take(&room, W * PADDED(p->in_channels));
    int64_t *offset = offsets(p, &room, 1);
    REAL *d_kernel = (REAL *)p->d_kernel + part * p->apart;
    FOR_BANDS(image, first, count) {
        copy_band(p, s->d_v + image * pixels * I, first, count, band);
        for (int64_t y = first; y < first + count; y++) {
            const REAL *at = band + ((y - first + R) * wide + R) * IP, *u = s->u + (image * pixels + y * W) * I;
            for (k = 0; k + 8 <= p->taps; k += 8) kernel_back(8, W, I, IP, u, at, offset + k, d_kernel + k * IP);
            for (; k < p->taps; k++) kernel_back(1, W, I, IP, u, at, offset + k, d_kernel + k * IP);
            row_of_taps(p, offset, at, m);
            if (p->seen) copy_rows(W, I, m, IP, m, IP, (const REAL *)p->seen + y * W);
            copy_rows(W, I, m, IP, s->d_u + (image * pixels + y * W) * I, I, NULL);
            if (p->from_hidden) {
                const REAL *h = s->hidden_before + image * s->hidden_before_stride + y * W * F;
                turned_product(W, F, IP, h, F, m, IP, (REAL *)p->d_from_hidden + part * p->apart, IP);
            }
            project_back(p, s, image, y * W, W, m, x, d_x, part);
        }
    }
}
