/* The inner passes of FAConvLSTM and of the minimal memories, and their derivatives; equations in cell.h, mixing.h,
   lines.h and sweep.h.

   Plain C with the vectors of GCC and Clang. Compiled and called by models/layers/native.py; everything is written for
   a REAL and compiled for float and double. Work is cut into fixed parts, one for each thread, and sums are
   taken part by part in order, so that the same number of threads gives the same bits. */

#include "passes.h"
#include <string.h>
#include <time.h>

#ifdef __AVX__
#include <immintrin.h>
#endif

#if defined(VECTOR_BYTES) /* given */
#elif defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef void (*Start)(void (*)(void *), void *, unsigned, unsigned);
typedef int (*Number)(void);
typedef void (*Part)(const Plan *, const void *, const void *, int64_t);
typedef struct {
    const Plan *plan;
    const void *step, *lines;
    Part part;
    double done; /* when the thread that waits for the others had done its own */
} Job;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

static void work(void *given) {
    Job *job = given;
    int64_t first = ((Number)job->plan->number)(), count = ((Number)job->plan->count)();
    for (int64_t part = first; part < job->plan->threads; part += count)
        job->part(job->plan, job->step, job->lines, part);
    if (first == 0) job->done = now();
}

/* Call `part` once for each thread, by torch's own pool of OpenMP: a second pool would wait beside it. */
static void share(Job *job) {
    if (job->plan->threads == 1) job->part(job->plan, job->step, job->lines, job->plan->first);
    else ((Start)job->plan->start)(work, job, (unsigned)job->plan->threads, 0);
}

/* The same for a small piece of work. Where another process holds a core, a thread may come late by far more than its
   part takes, at every call. So what sharing has gained or lost of late is kept count of, and while it loses all parts
   are done by the thread that calls; the parts, and so the bits, are the same. Threads that sleep must be woken, which
   may take longer than a part: that much is granted when sharing begins. */
#define PAUSE 64
#define LONGEST_PAUSE 4096
#define WAKING 1e-3 /* seconds */
static _Thread_local struct {
    int64_t left, pause; /* calls until sharing is tried again, and how many it were the last time */
    double lost;         /* seconds; below 0 is gained */
} habit = {.lost = -WAKING};

static void in_parts(const Plan *plan, const void *step, const void *lines, Part part) {
    if (plan->threads == 1 || habit.left > 0) {
        if (plan->threads > 1 && --habit.left == 0) habit.lost = -WAKING;
        for (int64_t k = 0; k < plan->threads; k++) part(plan, step, lines, plan->first + k);
        return;
    }
    Job job = {plan, step, lines, part, 0};
    double begun = now();
    share(&job);
    double own = job.done - begun, waited = now() - job.done;
    habit.lost = 0.9 * habit.lost + waited - (double)(plan->threads - 1) * own;
    if (habit.lost > 0) {
        habit.pause = habit.pause < PAUSE ? PAUSE : habit.pause * 2 > LONGEST_PAUSE ? LONGEST_PAUSE : habit.pause * 2;
        habit.left = habit.pause;
    } else habit.pause /= 2;
}

/* Where the share of a thread begins among n pieces of work. */
INLINE int64_t begin(const Plan *plan, int64_t n, int64_t part) { return n * (part - plan->first) / plan->threads; }

#if defined(DOUBLE)
#define REAL double
#define BITS uint64_t
#define COUNT (VECTOR_BYTES / 8)
#define MAGIC 6755399441055744.0
#define LN2_HIGH 0.693145751953125
#define LN2_LOW 1.42860682030941723212e-6
#define EXPONENT_BIAS 1023
#define MANTISSA 52
#define FAINTEST -700
/* 1/13! ... 1/0!; |r| < 0.35, so what is left out is under 1e-17 */
static const double TERM[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                              1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0};
#else
#define REAL float
#define BITS uint32_t
#define COUNT (VECTOR_BYTES / 4)
#define MAGIC 12582912.0f
#define LN2_HIGH 0.69314718f /* as it is: n is under 60 where it matters, and 60 times its rounding 1e-7 */
#define LN2_LOW 0
#define EXPONENT_BIAS 127
#define MANTISSA 23
#define FAINTEST -87
/* The polynomial of degree 5 whose relative error is smallest, 1e-7, on |r| < ln(2) / 2, with 1 + r as its start */
static const float TERM[] = {8.3125202534e-3f, 4.1890156909e-2f, 1.6667114649e-1f, 4.9999231495e-1f, 1.0f, 1.0f};
#endif
#define TERMS ((int)(sizeof(TERM) / sizeof(TERM[0])))

#include "vectors.h"
#include "mixing.h"
#include "weights.h"

int64_t vector_bytes(void) { return VECTOR_BYTES; }

#include "wide.h"
#include "lines.h"
#include "cell.h"

int64_t wide_bytes(void) { return VECTOR_BYTES; }

#include "sweep.h"
#include "steps.h"
