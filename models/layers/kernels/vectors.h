/* Vectors of LANES numbers, exp, and products of a few pixels with a small matrix. wide.h includes it once more. */

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL uvec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef BITS bits __attribute__((vector_size(VECTOR_BYTES)));
#define LANES ((int64_t)COUNT)
#define PADDED(n) (((n) + LANES - 1) / LANES * LANES)

INLINE vec all(REAL x) { return x - (vec){0}; }
INLINE vec load(const REAL *p) { return *(const uvec *)p; }
INLINE void store(REAL *p, vec x) { *(uvec *)p = x; }

/* The first n numbers, zeros beyond: for the last channels where their number is no multiple of LANES. */
#if VECTOR_BYTES == 64 && defined(DOUBLE)
#define FIRST(n) ((__mmask8)(0xffu >> (8 - (n))))
#define LOAD_FIRST(p, n) (vec) _mm512_maskz_loadu_pd(FIRST(n), p)
#define STORE_FIRST(p, x, n) _mm512_mask_storeu_pd(p, FIRST(n), (__m512d)(x))
#elif VECTOR_BYTES == 64
#define FIRST(n) ((__mmask16)(0xffffu >> (16 - (n))))
#define LOAD_FIRST(p, n) (vec) _mm512_maskz_loadu_ps(FIRST(n), p)
#define STORE_FIRST(p, x, n) _mm512_mask_storeu_ps(p, FIRST(n), (__m512)(x))
#endif
INLINE vec load_some(const REAL *p, int64_t n) {
    if (n >= LANES) return load(p);
#ifdef LOAD_FIRST
    return LOAD_FIRST(p, n);
#else
    vec x = {0};
    for (int64_t i = 0; i < n; i++) x[i] = p[i];
    return x;
#endif
}
INLINE void store_some(REAL *p, vec x, int64_t n) {
    if (n >= LANES) {
        store(p, x);
        return;
    }
#ifdef STORE_FIRST
    STORE_FIRST(p, x, n);
#else
    for (int64_t i = 0; i < n; i++) p[i] = x[i];
#endif
}

/* A list of what f says of each place k of a vector, given n. */
#if COUNT == 16
#define EACH(f, n) \
    f(0, n), f(1, n), f(2, n), f(3, n), f(4, n), f(5, n), f(6, n), f(7, n), f(8, n), f(9, n), f(10, n), f(11, n), \
        f(12, n), f(13, n), f(14, n), f(15, n)
#elif COUNT == 8
#define EACH(f, n) f(0, n), f(1, n), f(2, n), f(3, n), f(4, n), f(5, n), f(6, n), f(7, n)
#elif COUNT == 4
#define EACH(f, n) f(0, n), f(1, n), f(2, n), f(3, n)
#else
#define EACH(f, n) f(0, n), f(1, n)
#endif

/* The numbers of x with each number k changed for number k ^ n. */
#define OTHER(k, n) ((k) ^ (n))
#define SWAPPED(x, n) __builtin_shufflevector(x, x, EACH(OTHER, n))

#if VECTOR_BYTES == 64 && defined(DOUBLE)
#define MAX(x, y) (vec) _mm512_max_pd((__m512d)(x), (__m512d)(y))
#define MIN(x, y) (vec) _mm512_min_pd((__m512d)(x), (__m512d)(y))
#define ROOT(x) (vec) _mm512_sqrt_pd((__m512d)(x))
#elif VECTOR_BYTES == 64
#define MAX(x, y) (vec) _mm512_max_ps((__m512)(x), (__m512)(y))
#define MIN(x, y) (vec) _mm512_min_ps((__m512)(x), (__m512)(y))
#define ROOT(x) (vec) _mm512_sqrt_ps((__m512)(x))
#elif VECTOR_BYTES == 32 && defined(DOUBLE)
#define MAX(x, y) (vec) _mm256_max_pd((__m256d)(x), (__m256d)(y))
#define MIN(x, y) (vec) _mm256_min_pd((__m256d)(x), (__m256d)(y))
#define ROOT(x) (vec) _mm256_sqrt_pd((__m256d)(x))
#elif VECTOR_BYTES == 32
#define MAX(x, y) (vec) _mm256_max_ps((__m256)(x), (__m256)(y))
#define MIN(x, y) (vec) _mm256_min_ps((__m256)(x), (__m256)(y))
#define ROOT(x) (vec) _mm256_sqrt_ps((__m256)(x))
#endif

/* x where it is the larger, else y, as max does. */
INLINE vec larger(vec x, vec y) {
#ifdef MAX
    return MAX(x, y);
#else
    bits above = (bits)(x > y);
    return (vec)(((bits)x & above) | ((bits)y & ~above));
#endif
}

/* The sum, and the largest, of all numbers, in every place. */
INLINE vec sum(vec x) {
#if COUNT > 8
    x += SWAPPED(x, 8);
#endif
#if COUNT > 4
    x += SWAPPED(x, 4);
#endif
#if COUNT > 2
    x += SWAPPED(x, 2);
#endif
    return x + SWAPPED(x, 1);
}
INLINE vec most(vec x) {
#if COUNT > 8
    x = larger(x, SWAPPED(x, 8));
#endif
#if COUNT > 4
    x = larger(x, SWAPPED(x, 4));
#endif
#if COUNT > 2
    x = larger(x, SWAPPED(x, 2));
#endif
    return larger(x, SWAPPED(x, 1));
}

/* low <= x <= high; what is not a number stays so, as the second operand of max and min does. */
INLINE vec clamp(vec x, REAL low, REAL high) {
#ifdef MAX
    return MIN(all(high), MAX(all(low), x));
#else
    bits below = (bits)(x < all(low)), above = (bits)(x > all(high));
    x = (vec)(((bits)all(low) & below) | ((bits)x & ~below));
    return (vec)(((bits)all(high) & above) | ((bits)x & ~above));
#endif
}

/* exp(x) = 2^n exp(r), r = x - n ln 2: the polynomial to rounding, n added to the exponent. x outside of [low, high]
   is taken as its end. t holds n in its last bits, because MAGIC is 1.5 times the power of two whose unit is 1. */
INLINE vec exponential(vec x, REAL low, REAL high) {
    x = clamp(x, low, high);
    vec t = x * (REAL)1.44269504088896340736 + MAGIC;
    vec n = t - MAGIC;
    vec r = x - n * LN2_HIGH;
    if (LN2_LOW != 0) r -= n * LN2_LOW;
    vec p = all(TERM[0]);
    UNROLL for (int k = 1; k < TERMS; k++) p = p * r + TERM[k];
    return p * (vec)(((bits)t + EXPONENT_BIAS) << MANTISSA);
}
/* For sig and tanh, whose products of two such values must not overflow; sig(40) is 1 to 4e-18. */
#define expo(x) exponential(x, -40, 40)
INLINE vec sig(vec x) { return 1 / (1 + expo(-x)); }

/* Copy rows of n numbers, padded or not. */
INLINE void copy_rows(int64_t P, int64_t n, const REAL *from, int64_t ldf, REAL *to, int64_t ldt, const REAL *factor) {
    for (int64_t i = 0; i < P; i++)
        for (int64_t c = 0; c < n; c += LANES) {
            vec x = load_some(from + i * ldf + c, n - c);
            store_some(to + i * ldt + c, factor ? x * factor[i] : x, n - c);
        }
}

/* Turn rows of n numbers, (P, padded), into (n, P padded), zeros beyond P. A square of LANES rows is turned by changing
   the numbers right of the diagonal for those below it, of squares within squares. */
#define UPPER(k, n) ((k) & (n) ? COUNT + ((k) ^ (n)) : (k))
#define LOWER(k, n) ((k) & (n) ? COUNT + (k) : ((k) ^ (n)))
#define CHANGE(x, n)                                                              \
    UNROLL for (int i = 0; i < COUNT; i++) if (!(i & (n))) {                      \
        vec upper = x[i], lower = x[i | (n)];                                     \
        x[i] = __builtin_shufflevector(upper, lower, EACH(UPPER, n));             \
        x[i | (n)] = __builtin_shufflevector(upper, lower, EACH(LOWER, n));       \
    }
INLINE void turn(int64_t P, int64_t n, const REAL *from, int64_t ldf, REAL *to, int64_t ldt) {
    for (int64_t p = 0; p < P; p += LANES)
        for (int64_t c = 0; c < n; c += LANES) {
            vec x[COUNT];
            UNROLL for (int i = 0; i < COUNT; i++) x[i] = p + i < P ? load(from + (p + i) * ldf + c) : all(0);
#if COUNT > 8
            CHANGE(x, 8)
#endif
#if COUNT > 4
            CHANGE(x, 4)
#endif
#if COUNT > 2
            CHANGE(x, 2)
#endif
            CHANGE(x, 1)
            UNROLL for (int i = 0; i < COUNT; i++) if (c + i < n) store(to + (c + i) * ldt + p, x[i]);
        }
}

/* 1 / standard deviation of n pixels, in place of the sums of squares over their channels. */
INLINE void deviations(int64_t n, int64_t channels, REAL *square) {
    for (int64_t i = 0; i < n; i += LANES) {
        vec x = load_some(square + i, n - i) * (1 / (REAL)channels) + (REAL)1e-5;
#ifdef ROOT
        x = ROOT(x);
#else
        for (int64_t k = 0; k < LANES; k++) x[k] = (REAL)__builtin_sqrt(x[k]);
#endif
        store_some(square + i, 1 / x, n - i);
    }
}

/* Z (+)= A B for MP pixels and NV vectors of columns: Z (MP, NV LANES), A (MP, K), B (K, .). */
INLINE void tile(const int MP, const int NV, int64_t K, const REAL *a, int64_t lda, const REAL *b, int64_t ldb,
                       REAL *z, int64_t ldz, int add, const REAL *start) {
    vec total[8][2];
    UNROLL for (int i = 0; i < MP; i++)
        UNROLL for (int j = 0; j < NV; j++)
            total[i][j] = start ? load(start + j * LANES) : add ? load(z + i * ldz + j * LANES) : all(0);
    for (int64_t k = 0; k < K; k++) {
        vec column[2];
        UNROLL for (int j = 0; j < NV; j++) column[j] = load(b + k * ldb + j * LANES);
        UNROLL for (int i = 0; i < MP; i++) {
            vec x = all(a[i * lda + k]);
            UNROLL for (int j = 0; j < NV; j++) total[i][j] += x * column[j];
        }
    }
    UNROLL for (int i = 0; i < MP; i++)
        UNROLL for (int j = 0; j < NV; j++) store(z + i * ldz + j * LANES, total[i][j]);
}

/* Z = A B + start (P, N), or Z += A B; N is a multiple of LANES. */
static __attribute__((noinline)) void product(int64_t P, int64_t N, int64_t K, const REAL *a, int64_t lda, const REAL *b, int64_t ldb,
                          REAL *z, int64_t ldz, int add, const REAL *start) {
    int64_t n = 0, p;
    for (; n + 2 * LANES <= N; n += 2 * LANES) {
        const REAL *from = start ? start + n : NULL;
        for (p = 0; p + 6 <= P; p += 6) tile(6, 2, K, a + p * lda, lda, b + n, ldb, z + p * ldz + n, ldz, add, from);
        for (; p + 2 <= P; p += 2) tile(2, 2, K, a + p * lda, lda, b + n, ldb, z + p * ldz + n, ldz, add, from);
        for (; p < P; p++) tile(1, 2, K, a + p * lda, lda, b + n, ldb, z + p * ldz + n, ldz, add, from);
    }
    if (n == N) return;
    const REAL *from = start ? start + n : NULL;
    for (p = 0; p + 8 <= P; p += 8) tile(8, 1, K, a + p * lda, lda, b + n, ldb, z + p * ldz + n, ldz, add, from);
    for (; p < P; p++) tile(1, 1, K, a + p * lda, lda, b + n, ldb, z + p * ldz + n, ldz, add, from);
}

/* D += A^T Z for MK rows and NV vectors of columns: A (P, MK), Z (P, NV LANES). */
INLINE void turned_tile(const int MK, const int NV, int64_t P, const REAL *a, int64_t lda, const REAL *z,
                              int64_t ldz, REAL *d, int64_t ldd) {
    vec total[8][2];
    UNROLL for (int i = 0; i < MK; i++)
        UNROLL for (int j = 0; j < NV; j++) total[i][j] = load(d + i * ldd + j * LANES);
    for (int64_t p = 0; p < P; p++) {
        vec row[2];
        UNROLL for (int j = 0; j < NV; j++) row[j] = load(z + p * ldz + j * LANES);
        UNROLL for (int i = 0; i < MK; i++) {
            vec x = all(a[p * lda + i]);
            UNROLL for (int j = 0; j < NV; j++) total[i][j] += x * row[j];
        }
    }
    UNROLL for (int i = 0; i < MK; i++)
        UNROLL for (int j = 0; j < NV; j++) store(d + i * ldd + j * LANES, total[i][j]);
}

/* D += A^T Z (K, N); N is a multiple of LANES. */
static __attribute__((noinline)) void turned_product(int64_t P, int64_t K, int64_t N, const REAL *a, int64_t lda, const REAL *z, int64_t ldz,
                                 REAL *d, int64_t ldd) {
    int64_t n = 0, k;
    for (; n + 2 * LANES <= N; n += 2 * LANES) {
        for (k = 0; k + 4 <= K; k += 4) turned_tile(4, 2, P, a + k, lda, z + n, ldz, d + k * ldd + n, ldd);
        for (; k < K; k++) turned_tile(1, 2, P, a + k, lda, z + n, ldz, d + k * ldd + n, ldd);
    }
    if (n == N) return;
    for (k = 0; k + 8 <= K; k += 8) turned_tile(8, 1, P, a + k, lda, z + n, ldz, d + k * ldd + n, ldd);
    for (; k + 4 <= K; k += 4) turned_tile(4, 1, P, a + k, lda, z + n, ldz, d + k * ldd + n, ldd);
    for (; k < K; k++) turned_tile(1, 1, P, a + k, lda, z + n, ldz, d + k * ldd + n, ldd);
}
