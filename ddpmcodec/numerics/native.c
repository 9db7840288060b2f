/* The channel's inner loops in C: the same integers as numpy makes, sooner. native.py loads this through ctypes.

   Plain C with the vector types of GCC and Clang; no Python.h, so a compiler is all that a build needs, one file serves every
   Python, and ctypes releases the GIL for the whole of a call. Another compiler, or none, means numpy.

   On x86 everything is compiled twice, for SSE2 and AVX2, and the processor decides at run time. (AVX-512 was no faster: the
   search is bound by additions and stores, of which Zen 4 does as many bytes a cycle either way.) Elsewhere once, for 16-byte
   vectors: NEON. Callers have checked all shapes; nothing here allocates or fails. */

#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__) || (defined(__i386__) && !defined(__SSE2_MATH__))
#error "needs GCC's vector types, and floats that are rounded to their own precision"
#endif

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef SHUFFLE
#define SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__}) /* GCC before 12 */
#endif

#define EXPORT __attribute__((visibility("default")))
#define RENORMALISE 8 /* as in viterbi.py */
#define GROUP 8       /* vectors of butterflies whose 16 decision bits make one vector of 16-bit words */
#define CHUNK 64      /* _TABLE_STEPS of metrics.py */
#define MOST_TAPS 10

/* Clipped and rounded to the nearest, ties to even: magic is 1.5 * 2^52, or 1.5 * 2^23 for floats, whose last digit is worth 1.
   Clipping first gives the same, for the limit is whole. Needs no libm, and vectorises. */
#define ROUNDED(type, x, limit, magic) ((i16)(CLIPPED(x, limit) + (type)(magic) - (type)(magic)))
#define CLIPPED(x, limit) ((x) > (limit) ? (limit) : (x) < -(limit) ? -(limit) : (x))

typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

/* What the decisions of a step look like in memory: words of `width` neighbouring states, group by group. */
static void trace_back(const uint16_t *decisions, i64 steps, int memory, int width, unsigned state, uint8_t *bits)
{
    const unsigned half = 1u << (memory - 1), words = half / GROUP;
    for (i64 i = steps - 1; i >= 0; i--) {
        const unsigned bit = state & 1, rest = state >> 1, vector = rest / width;
        const unsigned word = decisions[i * words + vector / GROUP * width + rest % width];
        bits[i] = (uint8_t)bit;
        state = rest + half * (word >> (15 - 2 * (vector % GROUP) - bit) & 1);
    }
}

/* Where sums don't fit 32 bits: pictures of millions of pixels with a few bits a step. Whole numbers below 2^53 stay exact. */
static void wide_metrics(const i32 *y, const i16 *taps, i64 first, i64 end, int order, double scale, double limit, i16 *out)
{
    double x[1 << MOST_TAPS] = {0};
    for (i64 k = first; k < end; k++)
        x[taps[k]] += y[k];
    for (int h = 1; h < 1 << order; h *= 2)
        for (int i = 0; i < 1 << order; i += 2 * h)
            for (int j = i; j < i + h; j++) {
                const double a = x[j], b = x[j + h];
                x[j] = a + b, x[j + h] = a - b;
            }
    for (int j = 0; j < 1 << order; j++)
        out[j] = ROUNDED(double, x[j] * scale, limit, 6755399441055744.0);
}

#define PASTE(a, b) a##b
#define NAMED(a, b) PASTE(a, b)

/* Largest of two vectors of int16; the generic one is recognised as such by newer compilers. */
#if defined(__x86_64__) || defined(__i386__)
#define ISA sse2
#define WIDTH 8
#define TARGET __attribute__((target("sse2")))
#define MAX(a, b) (v16)_mm_max_epi16((__m128i)(a), (__m128i)(b))
#include "native_kernels.h"
#define ISA avx2
#define WIDTH 16
#define TARGET __attribute__((target("avx2")))
#define MAX(a, b) (v16)_mm256_max_epi16((__m256i)(a), (__m256i)(b))
#include "native_kernels.h"
static int wide = 0;
#define DISPATCH(function, ...) (wide ? function##_avx2(__VA_ARGS__) : function##_sse2(__VA_ARGS__))
#define WIDE_SUPPORTED __builtin_cpu_supports("avx2")
#else
#define ISA plain
#define WIDTH 8
#define TARGET
#ifdef __ARM_NEON
#define MAX(a, b) (v16)vmaxq_s16((int16x8_t)(a), (int16x8_t)(b))
#else
#define MAX(a, b) (((a) & ((a) > (b))) | ((b) & ~((a) > (b))))
#endif
#include "native_kernels.h"
static int wide;
#define DISPATCH(function, ...) function##_plain(__VA_ARGS__)
#define WIDE_SUPPORTED 0
#endif

/* Has the rest use vectors of at most so many bytes, and as many as there are; called first. How many they are: 16 or 32. */
EXPORT int use_vectors(int most)
{
    wide = most >= 32 && WIDE_SUPPORTED;
    return wide ? 32 : 16;
}

/* viterbi.search of one code: metrics (steps, 2^older, 2^newer) to bits (steps,).

   paths: 2 * 2^memory int16, both halves as the metrics are before step 0 (viterbi.initial); decisions: steps * 2^memory / 16. */
EXPORT void search(const i16 *metrics, i64 steps, int memory, int older, int newer, i16 *paths, uint16_t *decisions, uint8_t *bits)
{
    DISPATCH(search, metrics, steps, memory, older, newer, paths, decisions, bits);
}

/* metrics.branch_metrics from the rotated target y (dims,) on: metrics (steps, 2^order). edges: (steps + 1,). */
EXPORT void branch_metrics(const i32 *y, const i16 *taps, const i64 *edges, i64 steps, int order, double scale, int limit, i16 *metrics)
{
    DISPATCH(branch_metrics, y, taps, edges, steps, order, scale, limit, metrics);
}

/* codebook.hadamard_transform in place: x (rows, 2^order), order >= 4. */
EXPORT void hadamard(i32 *x, i64 rows, int order)
{
    for (i64 row = 0; row < rows; row++)
        DISPATCH(hadamard, x + (row << order), order);
}

/* philox.philox4x32 with the counters (first + i, c1, c2, c3), i < blocks: words (blocks, 4). */
EXPORT void philox(uint32_t *words, i64 blocks, uint64_t first, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t key)
{
    for (i64 i = 0; i < blocks; i++) {
        uint32_t x0 = (uint32_t)(first + i), x1 = c1, x2 = c2, x3 = c3, k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int round = 0; round < 10; round++) {
            const uint64_t p = (uint64_t)0xD2511F53 * x0, q = (uint64_t)0xCD9E8D57 * x2;
            x0 = (uint32_t)(q >> 32) ^ x1 ^ k0, x1 = (uint32_t)q;
            x2 = (uint32_t)(p >> 32) ^ x3 ^ k1, x3 = (uint32_t)p;
            k0 += 0x9E3779B9, k1 += 0xBB67AE85;
        }
        words[4 * i] = x0, words[4 * i + 1] = x1, words[4 * i + 2] = x2, words[4 * i + 3] = x3;
    }
}

/* Windows' linker expects every extension module to have this; it is never imported as one. */
EXPORT void *PyInit__native(void) { return 0; }
