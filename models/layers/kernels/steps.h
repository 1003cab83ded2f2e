/* What models/layers/native.py calls. */

#define LARGEST(a, b) ((a) > (b) ? (a) : (b))

/* Choose the sizes of blocks and bands, and tell how much room is needed; lines may be null. */
void prepare(Plan *p, Lines *rows, Lines *columns) {
    int64_t F = p->channels, FP = PADDED(F), IP = inner_padded(p), Z = PADDED(4 * F), R = p->reach;
    int64_t row = (p->width + 2 * R) * IP, fit = 24576 / (int64_t)(sizeof(REAL) * Z) / 12 * 12;
    p->block = LARGEST(12, fit);
    int64_t bands = (p->threads + p->batch - 1) / p->batch; /* of an image, so that every thread has one */
    p->band = LARGEST(4, 262144 / (int64_t)(row * sizeof(REAL)) - 2 * R);
    if (p->band > (p->height + bands - 1) / bands) p->band = (p->height + bands - 1) / bands;
    int64_t cells = p->block * (3 * IP + Z + FP + p->in_channels);
    int64_t mixing = (p->band + 2 * R) * row + p->width * (IP + p->in_channels + PADDED(p->in_channels)) + 2 * p->taps;
    int64_t squeezing = IP + p->squeezed;
    p->room = LARGEST(LARGEST(cells, squeezing), mixing);
    p->weights = lay_weights(p, NULL), p->apart = lay_totals(p, NULL);
    Lines *both[2] = {rows, columns};
    for (int k = 0; k < 2; k++) {
        if (!both[k]) continue;
        both[k]->weights = lay_line_weights(both[k], NULL), both[k]->apart = lay_line_totals(both[k], NULL);
        Sizes z = sizes(both[k]);
        int64_t used = 0;
        room_of_line(z, both[k]->heads, NULL, &used);
        if (both[k]->by) room_back(z, NULL, &used);
        p->room = LARGEST(p->room, used);
    }
    p->room = (p->room + 32 * 20 + 15) / 16 * 16; /* with what `take` rounds up */
}

#undef LARGEST

/* Make what the passes read, in zeros (weights,) of the Plan and then of the lines, and say where sums come, zeros as
   well: (threads, apart) of each. */
void ready(Plan *p, Lines *rows, Lines *columns, void *weights, void *totals) {
    REAL *weight = weights, *total = totals;
    lay_weights(p, weight), lay_totals(p, total);
    ready_weights(p);
    weight += p->weights, total += p->threads * p->apart;
    Lines *both[2] = {rows, columns};
    for (int k = 0; k < 2 && both[k]; k++) {
        lay_line_weights(both[k], weight), lay_line_totals(both[k], total);
        ready_line_weights(both[k]);
        weight += both[k]->weights, total += p->threads * both[k]->apart;
    }
}

/* Write the derivatives by all parameters. */
void finish(const Plan *p, const Lines *rows, const Lines *columns) {
    add_threads(p->threads, p->apart, p->d_from_x);
    finish_weights(p);
    const Lines *both[2] = {rows, columns};
    for (int k = 0; k < 2 && both[k]; k++) {
        add_threads(p->threads, both[k]->apart, both[k]->d_project);
        finish_line_weights(both[k]);
    }
}

/* Step t of the images from `image` on, of as many as the Plan has. */
static Step step_at(const Plan *p, const Sequence *q, int64_t t, int64_t image) {
    int64_t P = p->height * p->width, F = p->channels, I = p->inner, IP = inner_padded(p), T = q->length;
    int64_t kept = t % q->kept * q->batch + image;
    int64_t of_x = image * q->x_image + t * q->x_step, of_h = (image * T + t) * P * F;
    Step s = {
        .x = (const REAL *)q->x + of_x, .x_stride = q->x_image, .x_pixel = q->x_pixel, .x_channel = q->x_channel,
        .u = (REAL *)q->u + kept * P * I, .y = (REAL *)q->y + kept * P * I, .rstd = (REAL *)q->rstd + kept * P,
        .mean = (REAL *)q->mean + kept * IP, .inner = (REAL *)q->inner + kept * p->squeezed,
        .excitation = (REAL *)q->excitation + kept * IP,
        .hidden = (REAL *)q->hidden + of_h, .hidden_stride = T * P * F,
        .hidden_before = t ? (REAL *)q->hidden + of_h - P * F : (const REAL *)q->first_hidden + image * P * F,
        .hidden_before_stride = t ? T * P * F : P * F,
    };
    if (p->recurrent) {
        s.cell = (REAL *)q->cells + (t % q->kept_cells * q->batch + image) * P * F;
        s.before = t ? (REAL *)q->cells + ((t - 1) % q->kept_cells * q->batch + image) * P * F
                     : (const REAL *)q->first_cell + image * P * F;
    }
    if (!q->d_x) return s;
    s.d_x = (REAL *)q->d_x + of_x;
    s.d_hidden = q->d_hidden ? (const REAL *)q->d_hidden + image * q->d_image + t * q->d_step : NULL;
    s.d_image = q->d_image, s.d_pixel = q->d_pixel, s.d_channel = q->d_channel;
    s.d_cell = (REAL *)q->d_cell + image * P * F, s.d_v = (REAL *)q->d_v + image * P * I;
    s.d_mean = (REAL *)q->d_mean + image * IP;
    s.d_u = (REAL *)q->d_us + (t % 2 * q->batch + image) * P * I;
    s.d_u_next = p->recurrent && t < T - 1 ? (REAL *)q->d_us + ((t + 1) % 2 * q->batch + image) * P * I : NULL;
    return s;
}

/* Map k of the room for maps, of the images from `image` on. */
INLINE REAL *map_at(const Plan *p, const Sequence *q, int64_t k, int64_t image) {
    return (REAL *)q->maps + (k * q->batch + image) * p->height * p->width * (p->recurrent ? p->channels : p->inner);
}

INLINE int attends(const Sequence *q, int64_t t) { return ((const uint8_t *)q->attends)[t]; }

/* Point at the map that attention refines. */
INLINE void at_map(Step *s, REAL *map, int64_t stride) { s->refined = map, s->refined_stride = stride; }

/* Copy images of `size` numbers, and let attention along lines refine the copy. */
static void refine_copy(const Plan *p, Step *s, const Lines *lines, const REAL *from, REAL *to, int64_t size) {
    memcpy(to, from, p->batch * size * sizeof(REAL));
    at_map(s, to, size);
    in_parts(p, s, lines, lines_part);
}

/* The derivative of attention in place, given its map before rows and before columns. */
static void refine_back(const Plan *p, const Sequence *q, Step *s, REAL *before, REAL *between, int64_t size) {
    at_map(s, between, size);
    in_parts(p, s, q->columns, unlines_part);
    at_map(s, before, size);
    in_parts(p, s, q->rows, unlines_part);
}

static void forward_steps(const Plan *p, const Sequence *q, int64_t image) {
    for (int64_t t = 0; t < q->length; t++) {
        Step s = step_at(p, q, t, image);
        in_parts(p, &s, NULL, project_part);
        in_parts(p, &s, NULL, mix_part);
        if (p->squeezed) squeeze(p, &s);
        if (p->recurrent) {
            in_parts(p, &s, NULL, cell_part);
            at_map(&s, s.hidden, s.hidden_stride);
        } else {
            s.v = map_at(p, q, 0, image);
            in_parts(p, &s, NULL, blend_part);
            at_map(&s, s.v, p->height * p->width * p->inner);
        }
        if (attends(q, t)) {
            in_parts(p, &s, q->rows, lines_part);
            in_parts(p, &s, q->columns, lines_part);
        }
        if (!p->recurrent) in_parts(p, &s, NULL, step_part);
    }
}

/* From dH_t to that before attention, in a map of its own, which is then the whole of it. */
static void attention_of_hidden_back(const Plan *p, const Sequence *q, Step *s, int64_t image) {
    int64_t size = p->height * p->width * p->channels;
    REAL *before = map_at(p, q, 0, image), *between = map_at(p, q, 1, image), *d = map_at(p, q, 2, image);
    s->hidden = before, s->hidden_stride = size;
    in_parts(p, s, NULL, hidden_part);
    refine_copy(p, s, q->rows, before, between, size);
    s->d_refined = d;
    in_parts(p, s, NULL, gather_part);
    refine_back(p, q, s, before, between, size);
    s->d_hidden = d, s->d_image = size, s->d_pixel = p->channels, s->d_channel = 1, s->d_u_next = NULL;
}

/* From the derivative by the memory to that by V before attention. */
static void minimal_back(const Plan *p, const Sequence *q, Step *s, int64_t t, int64_t image) {
    int64_t size = p->height * p->width * p->inner;
    REAL *before = map_at(p, q, 0, image), *between = map_at(p, q, 1, image), *after = map_at(p, q, 2, image);
    s->v = before;
    in_parts(p, s, NULL, blend_part);
    if (attends(q, t)) {
        refine_copy(p, s, q->rows, before, between, size);
        refine_copy(p, s, q->columns, between, after, size);
        s->v = after;
    }
    in_parts(p, s, NULL, step_back_part);
    if (attends(q, t)) {
        s->d_refined = s->d_v;
        refine_back(p, q, s, before, between, size);
    }
    if (p->squeezed) in_parts(p, s, NULL, unblend_part);
}

static void backward_steps(const Plan *p, const Sequence *q, int64_t image) {
    for (int64_t t = q->length - 1; t >= 0; t--) {
        Step s = step_at(p, q, t, image);
        if (p->recurrent) {
            if (attends(q, t)) attention_of_hidden_back(p, q, &s, image);
            in_parts(p, &s, NULL, uncell_part);
        } else minimal_back(p, q, &s, t, image);
        if (p->squeezed) squeeze_back(p, &s);
        in_parts(p, &s, NULL, unmix_part);
        in_parts(p, &s, NULL, untap_part);
    }
    if (!p->recurrent) return;
    Step s = step_at(p, q, 0, image);
    s.d_hidden = NULL, s.d_u_next = s.d_u;
    s.d_refined = (REAL *)q->d_first + image * p->height * p->width * p->channels;
    in_parts(p, &s, NULL, gather_part);
}

/* Where images can be shared out evenly each thread takes its own through the whole sequence, one after the other: what
   goes from step to step stays in its cache, and nobody waits. Else all threads share each pass of a step. */
INLINE void of_images(const Plan *p, const Sequence *q, int64_t part,
                      void (*steps)(const Plan *, const Sequence *, int64_t)) {
    Plan own = *p;
    own.batch = own.threads = 1, own.first = part;
    for (int64_t image = begin(p, q->batch, part); image < begin(p, q->batch, part + 1); image++) steps(&own, q, image);
}
static void forward_part(const Plan *p, const void *q, const void *unused, int64_t part) {
    (void)unused;
    of_images(p, q, part, forward_steps);
}
static void backward_part(const Plan *p, const void *q, const void *unused, int64_t part) {
    (void)unused;
    of_images(p, q, part, backward_steps);
}

void forward(const Plan *p, const Sequence *q) {
    if (p->batch % p->threads) forward_steps(p, q, 0);
    else share(&(Job){p, q, NULL, forward_part, 0});
}

void backward(const Plan *p, const Sequence *q) {
    if (p->batch % p->threads) backward_steps(p, q, 0);
    else share(&(Job){p, q, NULL, backward_part, 0});
}

void remember(const Plan *p, const Sweep *m) { in_parts(p, m, NULL, remember_part); }

void remember_back(const Plan *p, const Sweep *m) { in_parts(p, m, NULL, remember_back_part); }
