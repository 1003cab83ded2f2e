/* The gates and the cell:

       V = e SiLU(w Y + b)
       [i, f, -2g, o] = V matrix,  the last row of the matrix being the bias (with the forget gate's 1)
       i += p_i C_(t-1);  f += p_f C_(t-1);  o += p_o C_(t-1)
       C_t = sig(f) C_(t-1) + sig(i) tanh(g);  H_t = sig(o) tanh(C_t)

   A block of pixels at a time, whose gates stay in the first-level cache. With E(x) = exp(-x), the products of two such
   functions share a division:  sig(i) tanh(g) = (1 - E(2g)) / ((1 + E(i)) (1 + E(2g))). */

static void cell_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t F = p->channels, FP = PADDED(F), I = p->inner, IP = inner_padded(p), Z = PADDED(4 * F);
    REAL *room = (REAL *)p->rooms + part * p->room;
    REAL *v = take(&room, p->block * IP), *z = take(&room, p->block * Z);
    const REAL *matrix = p->matrix, *peephole = p->peephole;
    FOR_BLOCKS(b) {
        int64_t pixel = b.image * p->height * p->width + b.start;
        const REAL *before = s->before + pixel * F;
        REAL *cell = s->cell + pixel * F, *hidden = s->hidden + b.image * s->hidden_stride + b.start * F;
        blend(p, s, b, NULL, v);
        product(b.count, Z, I, v, IP, matrix, Z, z, Z, 0, matrix + I * Z);
        for (int64_t i = 0; i < b.count; i++)
            for (int64_t c = 0; c < F; c += LANES) {
                const REAL *gates = z + i * Z + c;
                vec old = load_some(before + i * F + c, F - c);
                vec e_i = 1 + expo(-(load(gates) + load(peephole + c) * old));
                vec e_f = 1 + expo(-(load(gates + F) + load(peephole + FP + c) * old));
                vec e_g = expo(load(gates + 2 * F));
                vec e_o = 1 + expo(-(load(gates + 3 * F) + load(peephole + 2 * FP + c) * old));
                vec new = old / e_f + (1 - e_g) / (e_i * (1 + e_g));
                vec e_c = expo(-2 * new);
                store_some(cell + i * F + c, new, F - c);
                store_some(hidden + i * F + c, (1 - e_c) / (e_o * (1 + e_c)), F - c);
            }
    }
}

/* H_t again from C_t, as it was before attention, into (B, H, W, F). */
static void hidden_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t F = p->channels, FP = PADDED(F), I = p->inner, IP = inner_padded(p), Z = PADDED(4 * F);
    REAL *room = (REAL *)p->rooms + part * p->room;
    REAL *v = take(&room, p->block * IP), *z = take(&room, p->block * FP);
    const REAL *matrix = (const REAL *)p->matrix + 3 * F, *peephole = (const REAL *)p->peephole + 2 * FP;
    FOR_BLOCKS(b) {
        int64_t pixel = b.image * p->height * p->width + b.start;
        const REAL *before = s->before + pixel * F, *cell = s->cell + pixel * F;
        blend(p, s, b, NULL, v);
        product(b.count, FP, I, v, IP, matrix, Z, z, FP, 0, matrix + I * Z);
        for (int64_t i = 0; i < b.count; i++)
            for (int64_t c = 0; c < F; c += LANES) {
                vec old = load_some(before + i * F + c, F - c);
                vec e_o = 1 + expo(-(load(z + i * FP + c) + load(peephole + c) * old));
                vec e_c = expo(-2 * load_some(cell + i * F + c, F - c));
                store_some(s->hidden + b.image * s->hidden_stride + (b.start + i) * F + c,
                           (1 - e_c) / (e_o * (1 + e_c)), F - c);
            }
    }
}

/* dH_t of a block, (count, F padded): what the loss gives, and dU_(t+1) P_h^T. */
INLINE void d_hidden(const Plan *p, const Step *s, Block b, REAL *d, int64_t ldd) {
    int64_t F = p->channels, FP = PADDED(F), I = p->inner;
    const REAL *given = s->d_hidden ? s->d_hidden + b.image * s->d_image + b.start * s->d_pixel : NULL;
    if (!given) memset(d, 0, b.count * ldd * sizeof(REAL));
    else if (s->d_channel == 1) copy_rows(b.count, F, given, s->d_pixel, d, ldd, NULL);
    else
        for (int64_t c = 0; c < F; c++)
            for (int64_t i = 0; i < b.count; i++) d[i * ldd + c] = given[i * s->d_pixel + c * s->d_channel];
    if (!s->d_u_next) return;
    const REAL *d_u = s->d_u_next + (b.image * p->height * p->width + b.start) * I;
    if (p->to_hidden) product(b.count, FP, I, d_u, I, p->to_hidden, FP, d, ldd, 1, NULL);
    else
        for (int64_t i = 0; i < b.count; i++)
            for (int64_t c = 0; c < F; c += LANES)
                store(d + i * ldd + c, load(d + i * ldd + c) + load_some(d_u + i * I + c, I - c));
}

/* The same for all pixels, into a map: attention's derivative needs whole lines. */
static void gather_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t F = p->channels, FP = PADDED(F);
    REAL *room = (REAL *)p->rooms + part * p->room, *d = take(&room, p->block * FP);
    FOR_BLOCKS(b) {
        d_hidden(p, s, b, d, FP);
        copy_rows(b.count, F, d, FP, s->d_refined + (b.image * p->height * p->width + b.start) * F, F, NULL);
    }
}

/* The derivatives by the gates in place of the gates z of a block, that by C_(t-1) in place of that by C_t, and sums
   over the pixels: d_peephole (3, F padded), d_bias (Z). */
INLINE void gates_back(const Plan *p, int64_t count, const REAL *before, const REAL *cell, const REAL *d_hidden,
                             REAL *d_cell, REAL *z, REAL *d_peephole, REAL *d_bias) {
    int64_t F = p->channels, FP = PADDED(F), Z = PADDED(4 * F);
    const REAL *peephole = p->peephole;
    for (int64_t c = 0; c < F; c += LANES) {
        vec p_i = load(peephole + c), p_f = load(peephole + FP + c), p_o = load(peephole + 2 * FP + c);
        vec sum_i = all(0), sum_f = all(0), sum_g = all(0), sum_o = all(0);
        vec look_i = all(0), look_f = all(0), look_o = all(0);
        for (int64_t k = 0; k < count; k++) {
            REAL *gates = z + k * Z + c;
            vec old = load_some(before + k * F + c, F - c), dh = load(d_hidden + k * FP + c);
            vec e_c = expo(-2 * load_some(cell + k * F + c, F - c));
            vec e_o = 1 + expo(-(load(gates + 3 * F) + p_o * old));
            vec shared = 1 / (e_o * (1 + e_c)), o = shared * (1 + e_c), t = (1 - e_c) * shared * e_o;
            /* H_t = o t, t = tanh(C_t) */
            vec dc = load_some(d_cell + k * F + c, F - c) + dh * o * (1 - t * t);
            vec d_o = dh * t * o * (1 - o);
            vec e_i = 1 + expo(-(load(gates) + p_i * old)), e_g = expo(load(gates + 2 * F));
            vec f = sig(load(gates + F) + p_f * old);
            shared = 1 / (e_i * (1 + e_g));
            vec i = shared * (1 + e_g), g = (1 - e_g) * shared * e_i;
            /* C_t = f C_(t-1) + i g; by -2g and not by g */
            vec d_i = dc * g * i * (1 - i), d_f = dc * old * f * (1 - f), d_g = (REAL)-0.5 * dc * i * (1 - g * g);
            store_some(d_cell + k * F + c, dc * f + p_i * d_i + p_f * d_f + p_o * d_o, F - c);
            store_some(gates, d_i, F - c);
            store_some(gates + F, d_f, F - c);
            store_some(gates + 2 * F, d_g, F - c);
            store_some(gates + 3 * F, d_o, F - c);
            sum_i += d_i, sum_f += d_f, sum_g += d_g, sum_o += d_o;
            look_i += d_i * old, look_f += d_f * old, look_o += d_o * old;
        }
        vec sums[4] = {sum_i, sum_f, sum_g, sum_o}, looks[3] = {look_i, look_f, look_o};
        for (int k = 0; k < 4; k++)
            store_some(d_bias + k * F + c, load_some(d_bias + k * F + c, F - c) + sums[k], F - c);
        for (int k = 0; k < 3; k++) store(d_peephole + k * FP + c, load(d_peephole + k * FP + c) + looks[k]);
    }
}

static void uncell_part(const Plan *p, const void *step, const void *unused, int64_t part) {
    (void)unused;
    const Step *s = step;
    int64_t F = p->channels, FP = PADDED(F), I = p->inner, IP = inner_padded(p), Z = PADDED(4 * F);
    REAL *room = (REAL *)p->rooms + part * p->room;
    REAL *a = take(&room, p->block * IP), *v = take(&room, p->block * IP);
    REAL *z = take(&room, p->block * Z), *dh = take(&room, p->block * FP), *dv = take(&room, p->block * IP);
    const REAL *matrix = p->matrix;
    REAL *d_matrix = (REAL *)p->d_matrix + part * p->apart, *d_peephole = (REAL *)p->d_peephole + part * p->apart;
    REAL *sums = (REAL *)p->sums + part * p->batch * IP;
    memset(sums, 0, p->batch * IP * sizeof(REAL));
    FOR_BLOCKS(b) {
        int64_t pixel = b.image * p->height * p->width + b.start;
        blend(p, s, b, a, v);
        product(b.count, Z, I, v, IP, matrix, Z, z, Z, 0, matrix + I * Z);
        d_hidden(p, s, b, dh, FP);
        gates_back(p, b.count, s->before + pixel * F, s->cell + pixel * F, dh,
                         s->d_cell + pixel * F, z, d_peephole, d_matrix + I * Z);
        turned_product(b.count, I, Z, v, IP, z, Z, d_matrix, Z);
        v_back(p, s, b, z, Z, 4 * F, dv);
        add_excited(p, b, dv, a, sums);
    }
}
