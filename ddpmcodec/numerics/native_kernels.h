/* What gains from vectors, for one instruction set: ISA is its name, WIDTH how many int16 a vector has. Included by native.c. */

#define FUNCTION(name) NAMED(name##_, ISA)
#define v16 NAMED(v16_, ISA)
#define v32 NAMED(v32_, ISA)
#define LOAD(type, p) (((const struct NAMED(type, _at) *)(p))->v)
#define STORE(type, p, x) (((struct NAMED(type, _at) *)(p))->v = (x))

typedef i16 v16 __attribute__((vector_size(2 * WIDTH)));
typedef i32 v32 __attribute__((vector_size(2 * WIDTH)));
/* At any address, whatever was stored there. */
struct NAMED(v16, _at) { v16 v; } __attribute__((packed, may_alias));
struct NAMED(v32, _at) { v32 v; } __attribute__((packed, may_alias));

#if WIDTH == 16
#define FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LAST_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#else
#define FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#endif

TARGET static i16 FUNCTION(largest)(const i16 *x, int n)
{
    v16 most = LOAD(v16, x);
    for (int i = WIDTH; i < n; i += WIDTH)
        most = MAX(most, LOAD(v16, x + i));
    i16 top = most[0];
    for (int k = 1; k < WIDTH; k++)
        top = most[k] > top ? most[k] : top;
    return top;
}

/* The Viterbi algorithm. A state is (oldest bit, rest); both states of a rest go on to (rest, newest bit), so a vector of rests
   is two loads, four sums, two maxima and an interleaved store. What is kept for tracing back is one bit a state and step, which
   of the two won, so that 2^16 states still run in the cache: 2^memory / 8 bytes a step in place of 2 * 2^memory.

   Before step i only the first 2^i states can be reached from state 0; all others, in both arrays, stand so far below that they
   lose to any of them (see branch_limit), and need not be gone through. All sums wrap like numpy's (-fwrapv), but none does. */
TARGET static void FUNCTION(search)(const i16 *metrics, i64 steps, int memory, int older, int newer, i16 *paths,
                                    uint16_t *decisions, uint8_t *bits)
{
    const int half = 1 << (memory - 1), between = memory - 1 - older, row = (1 << newer) - 1;
    i16 *now = paths, *next = paths + 2 * half;
    uint16_t *words = decisions;
    for (i64 i = 0; i < steps; i++, metrics += (i64)1 << (older + newer), words += half / GROUP) {
        const int started = i < memory - 1 ? 1 << i : half, rests = started > GROUP * WIDTH ? started : GROUP * WIDTH;
        for (int first = 0; first < rests; first += GROUP * WIDTH) {
            v16 word = {0};
            for (int rest = first; rest < first + GROUP * WIDTH; rest += WIDTH) {
                const v16 x = LOAD(v16, metrics + (rest >> between << newer | (rest & row)));
                const v16 a = LOAD(v16, now + rest), b = LOAD(v16, now + half + rest);
                const v16 a0 = a + x, b0 = b - x, a1 = a - x, b1 = b + x; /* by newest bit */
                /* A comparison is 0 or -1, so this shifts in one decision after the other: a tie is the lower state's. */
                word = word + word - (b0 > a0);
                word = word + word - (b1 > a1);
                const v16 n0 = MAX(a0, b0), n1 = MAX(a1, b1);
                STORE(v16, next + 2 * rest, SHUFFLE(v16, n0, n1, FIRST_HALVES));
                STORE(v16, next + 2 * rest + WIDTH, SHUFFLE(v16, n0, n1, LAST_HALVES));
            }
            STORE(v16, words + first / GROUP, word);
        }
        if (i % RENORMALISE == RENORMALISE - 1) {
            const i16 top = FUNCTION(largest)(next, 2 * rests);
            for (int s = 0; s < 2 * rests; s += WIDTH)
                STORE(v16, next + s, LOAD(v16, next + s) - top);
        }
        i16 *other = now;
        now = next, next = other;
    }
    const i16 top = FUNCTION(largest)(now, 2 * half);
    unsigned best = 0;
    while (now[best] != top)
        best++;
    trace_back(decisions, steps, memory, WIDTH, best, bits);
}

/* One stage inside a vector: a lane becomes its sum with the lane at distance h, or that one less itself. */
#define INSIDE(x, minus, ...) (SHUFFLE(v32, x, x, __VA_ARGS__) + ((x ^ (v32)minus) - (v32)minus))

/* Walsh-Hadamard transform of 2^order >= 16 numbers, Sylvester's order: stages inside vectors, then two at a time across. */
TARGET static void FUNCTION(hadamard)(i32 *x, int order)
{
    const int n = 1 << order, lanes = WIDTH / 2;
    for (int i = 0; i < n; i += lanes) {
        v32 v = LOAD(v32, x + i);
#if WIDTH == 16
        v = INSIDE(v, ((v32){0, -1, 0, -1, 0, -1, 0, -1}), 1, 0, 3, 2, 5, 4, 7, 6);
        v = INSIDE(v, ((v32){0, 0, -1, -1, 0, 0, -1, -1}), 2, 3, 0, 1, 6, 7, 4, 5);
        v = INSIDE(v, ((v32){0, 0, 0, 0, -1, -1, -1, -1}), 4, 5, 6, 7, 0, 1, 2, 3);
#else
        v = INSIDE(v, ((v32){0, -1, 0, -1}), 1, 0, 3, 2);
        v = INSIDE(v, ((v32){0, 0, -1, -1}), 2, 3, 0, 1);
#endif
        STORE(v32, x + i, v);
    }
    int h = lanes;
    for (; 4 * h <= n; h *= 4)
        for (int i = 0; i < n; i += 4 * h)
            for (i32 *p = x + i; p < x + i + h; p += lanes) {
                const v32 a = LOAD(v32, p), b = LOAD(v32, p + h), c = LOAD(v32, p + 2 * h), d = LOAD(v32, p + 3 * h);
                const v32 s = a + b, t = a - b, u = c + d, w = c - d;
                STORE(v32, p, s + u);
                STORE(v32, p + h, t + w);
                STORE(v32, p + 2 * h, s - u);
                STORE(v32, p + 3 * h, t - w);
            }
    if (h < n)
        for (i32 *p = x; p < x + h; p += lanes) {
            const v32 a = LOAD(v32, p), b = LOAD(v32, p + h);
            STORE(v32, p, a + b);
            STORE(v32, p + h, a - b);
        }
}

/* Each trellis step's dimensions go, as they are, to the place of their taps; the transform makes of that the correlation with
   every pattern of active bits. Scaling is numpy's: float32 where the integers of a chunk are exact in it, else float64. */
TARGET static void FUNCTION(branch_metrics)(const i32 *y, const i16 *taps, const i64 *edges, i64 steps, int order, double scale,
                                            int limit, i16 *metrics)
{
    const int n = 1 << order;
    const float scale32 = (float)scale, limit32 = (float)limit;
    const double limit64 = limit;
    i32 table[1 << MOST_TAPS];
    i64 sum = 0;
    for (i64 i = 0; i < steps; i++, metrics += n) {
        if (i % CHUNK == 0) {
            const i64 end = edges[i + CHUNK < steps ? i + CHUNK : steps];
            sum = 0;
            for (i64 k = edges[i]; k < end; k++)
                sum += y[k] < 0 ? -(i64)y[k] : y[k];
        }
        if (sum >> 31) { /* might not fit 32 bits */
            wide_metrics(y, taps, edges[i], edges[i + 1], order, scale, limit64, metrics);
            continue;
        }
        memset(table, 0, sizeof(i32) << order);
        for (i64 k = edges[i]; k < edges[i + 1]; k++)
            table[taps[k]] += y[k];
        FUNCTION(hadamard)(table, order);
        if (sum >> 24)
            for (int j = 0; j < n; j++) {
                const double x = table[j] * scale;
                metrics[j] = ROUNDED(double, x, limit64, 6755399441055744.0);
            }
        else
            for (int j = 0; j < n; j++) {
                const float x = (float)table[j] * scale32;
                metrics[j] = ROUNDED(float, x, limit32, 12582912.0f);
            }
    }
}

#undef FUNCTION
#undef v16
#undef v32
#undef LOAD
#undef STORE
#undef FIRST_HALVES
#undef LAST_HALVES
#undef INSIDE
#undef ISA
#undef WIDTH
#undef TARGET
#undef MAX
