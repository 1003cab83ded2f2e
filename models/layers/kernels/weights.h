/* Parameters as the modules have them into what the passes read, and what the threads have summed up into the
   derivatives by the parameters. Once a sequence, so written to be read. */

/* Copy rows of n numbers, whose neighbours lie `number` apart, the rows `row`. */
INLINE void copy(int64_t rows, int64_t n, const REAL *from, int64_t from_row, int64_t from_number, REAL *to, int64_t to_row,
                 int64_t to_number) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < n; k++) to[r * to_row + k * to_number] = from[r * from_row + k * from_number];
}

/* Columns of the matrix: 4F to the gates of a cell, 2F to k and c of a minimal memory. */
INLINE int64_t gates(const Plan *p) { return (p->recurrent ? 4 : 2) * p->channels; }

/* Say where the weights lie that the passes read; return how many numbers they take. */
static int64_t lay_weights(Plan *p, REAL *row) {
    int64_t C = p->in_channels, F = p->channels, I = p->inner, IP = PADDED(I), used = 0;
    p->from_x = lay(row, &used, C * IP), p->from_x_bias = lay(row, &used, IP);
    p->from_hidden = p->given->from_hidden ? lay(row, &used, F * IP) : NULL;
    p->matrix = lay(row, &used, (I + 1) * PADDED(gates(p))), p->peephole = lay(row, &used, 3 * PADDED(F));
    p->kernel = lay(row, &used, p->taps * IP);
    p->norm = lay(row, &used, IP), p->norm_bias = lay(row, &used, IP), p->present = lay(row, &used, IP);
    if (!p->by) return used;
    p->to_x = lay(row, &used, I * PADDED(C)), p->to_v = lay(row, &used, gates(p) * IP);
    p->to_hidden = p->given->from_hidden ? lay(row, &used, I * PADDED(F)) : NULL;
    return used;
}

/* The same of the sums of one thread. */
static int64_t lay_totals(Plan *p, REAL *row) {
    int64_t C = p->in_channels, F = p->channels, I = p->inner, IP = PADDED(I), R = p->squeezed, used = 0;
    if (!p->by) return 0;
    p->d_from_x = lay(row, &used, C * IP), p->d_from_x_bias = lay(row, &used, IP);
    p->d_from_hidden = lay(row, &used, F * IP);
    p->d_matrix = lay(row, &used, (I + 1) * PADDED(gates(p))), p->d_peephole = lay(row, &used, 3 * PADDED(F));
    p->d_kernel = lay(row, &used, p->taps * IP);
    p->d_norm = lay(row, &used, IP), p->d_norm_bias = lay(row, &used, IP);
    p->d_squeeze = lay(row, &used, R * I), p->d_squeeze_bias = lay(row, &used, R);
    p->d_excite = lay(row, &used, I * R), p->d_excite_bias = lay(row, &used, I);
    return used;
}

/* Gate number k of the matrix: where its weights (F, C_b) and their bias are, and what they are multiplied by. */
typedef struct {
    const REAL *weight, *bias;
    REAL *d_weight, *d_bias;
    REAL factor, more; /* -2 for g, whose tanh is taken of the exponential of -2g; the forget gate's 1 */
} Gate;
INLINE Gate gate(const Plan *p, int64_t k) {
    const Parameters *from = p->given, *by = p->by ? p->by : from;
    int64_t F = p->channels, size = p->inner * F;
    if (!p->recurrent && k == 1) return (Gate){from->candidate, from->candidate_bias, by->candidate, by->candidate_bias, 1, 0};
    return (Gate){(const REAL *)from->gates + k * size, (const REAL *)from->gates_bias + k * F,
                  (REAL *)by->gates + k * size, (REAL *)by->gates_bias + k * F, k == 2 ? -2 : 1, k == 1};
}

/* Write the weights that the passes read; all are zeros. */
static void ready_weights(Plan *p) {
    const Parameters *from = p->given;
    int64_t C = p->in_channels, F = p->channels, FP = PADDED(F), I = p->inner, IP = PADDED(I), Z = PADDED(gates(p));
    REAL *matrix = (REAL *)p->matrix, *to_v = (REAL *)p->to_v, *kernel = (REAL *)p->kernel;
    copy(I, C, from->from_x, C, 1, (REAL *)p->from_x, 1, IP);
    copy(1, I, from->from_x_bias, 0, 1, (REAL *)p->from_x_bias, 0, 1);
    if (from->from_hidden) copy(I, F, from->from_hidden, F, 1, (REAL *)p->from_hidden, 1, IP);
    for (int64_t k = 0; k < gates(p) / F; k++) {
        Gate g = gate(p, k);
        for (int64_t c = 0; c < F; c++) {
            for (int64_t i = 0; i < I; i++) matrix[i * Z + k * F + c] = g.weight[c * I + i] * g.factor;
            matrix[I * Z + k * F + c] = (g.bias[c] + g.more) * g.factor;
            for (int64_t i = 0; p->by && i < I; i++) to_v[(k * F + c) * IP + i] = g.weight[c * I + i] * g.factor;
        }
    }
    if (from->peephole) copy(3, F, from->peephole, F, 1, (REAL *)p->peephole, FP, 1);
    const int64_t *numbers = p->branch_taps, *tap = p->tap_of;
    for (int64_t branch = 0; branch < p->branches; tap += numbers[branch++]) {
        const REAL *weight = ((REAL *const *)from->kernels)[branch];
        for (int64_t k = 0; k < numbers[branch]; k++)
            for (int64_t i = 0; i < I; i++) kernel[tap[k] * IP + i] += weight[i * numbers[branch] + k];
    }
    for (int64_t i = 0; i < I; i++) {
        ((REAL *)p->norm)[i] = p->normed ? ((REAL *)from->norm)[i] : 1;
        ((REAL *)p->norm_bias)[i] = p->normed ? ((REAL *)from->norm_bias)[i] : 0;
        ((REAL *)p->present)[i] = 1;
    }
    p->squeeze = from->squeeze, p->squeeze_bias = from->squeeze_bias;
    p->excite = from->excite, p->excite_bias = from->excite_bias;
    if (!p->by) return;
    copy(I, C, from->from_x, C, 1, (REAL *)p->to_x, PADDED(C), 1);
    if (from->from_hidden) copy(I, F, from->from_hidden, F, 1, (REAL *)p->to_hidden, FP, 1);
}

/* Write the derivatives by the parameters; the sums of all threads are in those of the first. */
static void finish_weights(const Plan *p) {
    const Parameters *by = p->by;
    int64_t C = p->in_channels, F = p->channels, FP = PADDED(F), I = p->inner, IP = PADDED(I), Z = PADDED(gates(p));
    int64_t R = p->squeezed;
    copy(I, C, p->d_from_x, 1, IP, by->from_x, C, 1);
    copy(1, I, p->d_from_x_bias, 0, 1, by->from_x_bias, 0, 1);
    if (by->from_hidden) copy(I, F, p->d_from_hidden, 1, IP, by->from_hidden, F, 1);
    const REAL *d_matrix = p->d_matrix, *d_kernel = p->d_kernel;
    for (int64_t k = 0; k < gates(p) / F; k++) {
        Gate g = gate(p, k);
        for (int64_t c = 0; c < F; c++) {
            for (int64_t i = 0; i < I; i++) g.d_weight[c * I + i] = d_matrix[i * Z + k * F + c] * g.factor;
            g.d_bias[c] = d_matrix[I * Z + k * F + c] * g.factor;
        }
    }
    if (by->peephole) copy(3, F, p->d_peephole, FP, 1, by->peephole, F, 1);
    const int64_t *numbers = p->branch_taps, *tap = p->tap_of;
    for (int64_t branch = 0; branch < p->branches; tap += numbers[branch++]) {
        REAL *d = ((REAL *const *)by->kernels)[branch];
        for (int64_t k = 0; k < numbers[branch]; k++)
            for (int64_t i = 0; i < I; i++) d[i * numbers[branch] + k] = d_kernel[tap[k] * IP + i];
    }
    if (p->normed) copy(1, I, p->d_norm, 0, 1, by->norm, 0, 1), copy(1, I, p->d_norm_bias, 0, 1, by->norm_bias, 0, 1);
    if (!R) return;
    copy(R, I, p->d_squeeze, I, 1, by->squeeze, I, 1), copy(1, R, p->d_squeeze_bias, 0, 1, by->squeeze_bias, 0, 1);
    copy(I, R, p->d_excite, R, 1, by->excite, R, 1), copy(1, I, p->d_excite_bias, 0, 1, by->excite_bias, 0, 1);
}

/* Add the sums of the other threads, which lie `apart`, to those of the first, in order. */
INLINE void add_threads(int64_t threads, int64_t apart, REAL *totals) {
    for (int64_t part = 1; part < threads; part++)
        for (int64_t k = 0; k < apart; k++) totals[k] += totals[part * apart + k];
}
