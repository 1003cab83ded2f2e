/* What models/layers/native.py calls. */

#define LARGEST(a, b) ((a) > (b) ? (a) : (b))

/* Choose the sizes of blocks and bands, and tell the room that a thread needs; lines may be null. */
void prepare(Plan *p, const Lines *rows, const Lines *columns) {
    int64_t F = p->channels, FP = PADDED(F), IP = PADDED(p->inner), Z = PADDED(4 * F), R = p->reach;
    int64_t row = (p->width + 2 * R) * IP, fit = 24576 / (int64_t)(sizeof(REAL) * Z) / 12 * 12;
    p->block = LARGEST(12, fit);
    int64_t bands = (p->threads + p->batch - 1) / p->batch; /* of an image, so that every thread has one */
    p->band = LARGEST(4, 262144 / (int64_t)(row * sizeof(REAL)) - 2 * R);
    if (p->band > (p->height + bands - 1) / bands) p->band = (p->height + bands - 1) / bands;
    int64_t cells = p->block * (3 * IP + Z + FP + p->in_channels);
    int64_t mixing = (p->band + 2 * R) * row + p->width * (IP + p->in_channels + PADDED(p->in_channels)) + 2 * p->taps;
    int64_t squeezing = IP + p->squeezed;
    p->room = LARGEST(LARGEST(cells, squeezing), mixing);
    const Lines *both[2] = {rows, columns};
    for (int k = 0; k < 2; k++) {
        if (!both[k]) continue;
        Sizes z = sizes(both[k]);
        int64_t pixel = 2 * z.FP + 1 + 2 * z.D3 + (both[k]->heads + 1) * z.MP + 2 * z.DP;
        p->room = LARGEST(p->room, z.N * pixel + z.M * (2 * z.D2 + z.DP + PADDED(z.d)) + z.d * z.MP);
    }
    p->room += 32 * 20; /* what `take` rounds up */
}

/* From X_t and H_(t-1) to U, Y and the excitation. */
static void mixed(const Plan *p, const Step *s) {
    in_parts(p, s, NULL, project_part);
    in_parts(p, s, NULL, mix_part);
    if (p->squeezed) squeeze(p, s);
}

void forward(const Plan *p, const Step *s) {
    mixed(p, s);
    in_parts(p, s, NULL, cell_part);
}

void attend(const Plan *p, const Step *s, const Lines *l) { in_parts(p, s, l, lines_part); }

void hidden_again(const Plan *p, const Step *s) { in_parts(p, s, NULL, hidden_part); }

void gather(const Plan *p, const Step *s) { in_parts(p, s, NULL, gather_part); }

void attend_back(const Plan *p, const Step *s, const Lines *l) { in_parts(p, s, l, unlines_part); }

/* From dV, and its sums over images times A, down to the input; `d_mean` is room for (B, C_b padded), zeros where there
   is no excitation. */
static void unmixed(const Plan *p, const Step *s, REAL *d_mean) {
    if (p->squeezed) squeeze_back(p, s, d_mean, p->rooms);
    in_parts(p, s, d_mean, unmix_part);
    in_parts(p, s, NULL, untap_part);
}

/* V of a minimal memory, and again from what was kept. */
void blended_again(const Plan *p, const Step *s) { in_parts(p, s, NULL, blend_part); }

void blended(const Plan *p, const Step *s) {
    mixed(p, s);
    blended_again(p, s);
}

void memorise(const Plan *p, const Step *s) { in_parts(p, s, NULL, step_part); }

void memorise_back(const Plan *p, const Step *s) { in_parts(p, s, NULL, step_back_part); }

void blended_back(const Plan *p, const Step *s, REAL *d_mean) {
    in_parts(p, s, NULL, unblend_part);
    unmixed(p, s, d_mean);
}

void backward(const Plan *p, const Step *s, REAL *d_mean) {
    in_parts(p, s, NULL, uncell_part);
    unmixed(p, s, d_mean);
}
#undef LARGEST

void remember(const Plan *p, const Sweep *m) { in_parts(p, m, NULL, remember_part); }

void remember_back(const Plan *p, const Sweep *m) { in_parts(p, m, NULL, remember_back_part); }

int64_t vector_bytes(void) { return VECTOR_BYTES; }
