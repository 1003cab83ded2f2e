/* What the passes are told: sizes and pointers, filled in by models/layers/native.py field by field.

   Every field is 8 bytes, so that no compiler's padding matters. Maps are channels-last, (B, H, W, .), without gaps;
   only H has a stride from image to image, because its maps lie between those of other steps. "padded" rows are
   filled with zeros to a multiple of 16 numbers, so that whole vectors can be read. */

#include <stddef.h>
#include <stdint.h>

/* Parameters as the modules have them, or the derivatives by them; null for what there is not. */
typedef struct {
    void *from_x, *from_x_bias;           /* (C_b, C), (C_b,) */
    void *from_hidden;                    /* (C_b, F), none without bottleneck */
    void *gates, *gates_bias;             /* (4F, C_b), (4F,): i, f, g, o; of a minimal memory (F, C_b), (F,): k */
    void *candidate, *candidate_bias;     /* (F, C_b), (F,) of a minimal memory */
    void *peephole;                       /* (3, F) */
    void *kernels;                        /* addresses of (C_b, k k), one a branch */
    void *norm, *norm_bias;               /* (C_b,) */
    void *squeeze, *squeeze_bias, *excite, *excite_bias; /* (R, C_b), (R,), (C_b, R), (C_b,) */
} Parameters;

typedef struct {
    void *query, *key_value;              /* (D, F), (2D, F): k and v head by head */
    void *norm, *norm_bias;               /* (F,) */
    void *output, *output_bias, *scale;   /* (F, D), (F,), (F,) */
    void *bias;                           /* (heads, waves) */
} LineParameters;

typedef struct {
    int64_t batch, height, width;
    int64_t in_channels, channels, inner; /* C, F, C_b */
    int64_t squeezed;                     /* inner width of the excitation, 0 for none */
    int64_t taps, reach, pad_mode;        /* of the one merged kernel; 0 zeros, 1 cylinder, 2 circular */
    int64_t branches;                     /* that it is merged of */
    int64_t normed;                       /* whether there is a LayerNorm */
    int64_t kept;                         /* whether a derivative may follow; if not, y is A = SiLU(w Y + b) */
    int64_t recurrent;                    /* whether H_(t-1) enters U; if not, the memory is minimal */
    int64_t candidate;                    /* of a minimal memory: place in CANDIDATES of models/layers/minimal.py */
    int64_t threads, block, band;         /* the last two, pixels and rows, are set by `prepare`, as the next */
    int64_t room, weights, apart;         /* numbers a thread needs, of all weights, and of a thread's sums */
    int64_t first;                        /* number of the first thread, whose room and sums are used */
    void *start, *number, *count;         /* GOMP_parallel, omp_get_thread_num, omp_get_num_threads */
    Parameters *given, *by;               /* by: derivatives; null in a forward pass */
    const void *places, *branch_taps, *tap_of; /* int64: (taps, 2) rows and columns away; (branches,) k k; (sum of k k,) */
    const void *share;                    /* (H W,), of each pixel in the excitation's mean */
    const void *seen;                     /* (H W,), 0 where nothing may be read, or null */
    void *rooms;                          /* (threads, room) */
    void *sums;                           /* (threads, B, C_b padded) */
    /* what `ready` makes, rows padded: */
    void *from_x, *from_x_bias, *to_x;    /* (C, C_b), (C_b,), (C_b, C) */
    void *from_hidden, *to_hidden;        /* (F, C_b) and (C_b, F); null without bottleneck */
    void *matrix, *to_v;                  /* (C_b + 1, 4F) and (4F, C_b); 2F of a minimal memory */
    void *peephole;                       /* (3, F) */
    void *kernel;                         /* (taps, C_b) */
    void *norm, *norm_bias;               /* (C_b,); norm is 1 and its bias 0 where there is none */
    void *present;                        /* (C_b,) ones */
    void *squeeze, *squeeze_bias, *excite, *excite_bias; /* as given, no padding */
    /* the sums of the first thread; those of the next lie `apart` numbers on */
    void *d_from_x, *d_from_x_bias, *d_from_hidden, *d_matrix, *d_peephole, *d_kernel, *d_norm, *d_norm_bias;
    void *d_squeeze, *d_squeeze_bias, *d_excite, *d_excite_bias;
} Plan;

typedef struct {
    int64_t lines, pixels, line_stride, pixel_stride; /* of the map, in pixels: a row's pixel to its neighbour, ... */
    int64_t channels;                     /* F, of the map */
    int64_t tokens, heads, width;         /* M, heads, D over all heads */
    int64_t waves;                        /* terms of the relative bias */
    int64_t own_shares;                   /* whether every line has shares of its own, or all the same */
    int64_t weights, apart;               /* as in Plan, the next too */
    LineParameters *given, *by;
    const void *wave;                     /* (waves, M, N), rows padded */
    const void *token, *share, *absent;   /* (N,) int64; (1 or L, N); (1 or L, M) 1 for none in it, or null */
    void *project, *project_bias;         /* (F, 3D), (3D,), rows padded, as all below */
    void *output;                         /* (D + 1, F), W_o and its bias */
    void *from_output, *from_project;     /* (F, D), (3D, F) */
    void *bias;                           /* (heads, M, N) */
    void *d_project, *d_project_bias, *d_output, *d_bias;
} Lines;

/* A whole sequence, of all images. */
typedef struct {
    int64_t batch, length;
    int64_t kept, kept_cells;             /* of how many steps there is room */
    int64_t x_image, x_step, x_pixel, x_channel; /* from one to the next in x and d_x, in numbers */
    const void *x;
    const void *first_hidden, *first_cell; /* (B, H, W, F) */
    void *hidden;                         /* (B, T, H, W, F) */
    void *cells;                          /* (kept_cells, B, H, W, F), none of a minimal memory */
    void *u, *y, *rstd;                   /* (kept, B, H, W, .): U; LN(M) without weight and bias, or M; 1 / deviation */
    void *mean, *inner, *excitation;      /* (kept, B, C_b padded), (kept, B, R), (kept, B, C_b padded) */
    const void *attends;                  /* (T,) uint8, 1 where attention acts */
    const void *rows, *columns;           /* Lines */
    void *maps;                           /* room for some maps that attention refines, (., B, H, W, F or C_b) */
    /* derivatives; null in a forward pass */
    const void *d_hidden;                 /* by H, or null for none; how far from one to the next: */
    int64_t d_image, d_step, d_pixel, d_channel;
    void *d_x;
    void *d_first;                        /* by H_0 */
    void *d_cell;                         /* by C_T, becomes that by C_0; of a minimal memory by H, and is d_first */
    void *d_us, *d_v, *d_mean;            /* room: (2, B, H, W, C_b), (B, H, W, C_b), zeros (B, C_b padded) */
} Sequence;

/* The memory of models/layers/minimal.py, whose map of `size` numbers without gaps is one row to the Plan. */
typedef struct {
    int64_t length;
    int64_t gate, candidate;              /* places in GATES and CANDIDATES of models/layers/minimal.py */
    int64_t map_example, map_step;        /* from example to example and step to step of the maps, in numbers */
    int64_t d_h_example, d_h_step;
    const void *first, *second, *c;       /* k and nothing, or f and i; the candidate */
    const void *start;                    /* h_0 (B, size) */
    void *h;                              /* (B, T, size) */
    const void *d_h;                      /* null in a forward pass, as all below */
    void *d_first, *d_second, *d_c;       /* laid out as the maps */
    void *d_last;                         /* (B, size), by h_T, becomes that by h_0 */
} Sweep;
