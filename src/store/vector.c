/* See vector.h. */
#include "vector.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int refuse_count(char *why, size_t dimension, size_t got)
{
    snprintf(why, RV_VECTOR_WHY, "vector: dimension %zu expected, got %zu", dimension, got);
    return -1;
}

void rv_vector_pack(float *v, size_t dimension)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (size_t i = 0; i < dimension; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, sizeof bits);
        bits = __builtin_bswap32(bits);
        memcpy(v + i, &bits, sizeof bits);
    }
#else
    (void)v;
    (void)dimension;
#endif
}

int rv_vector_unpack(const void *bytes, size_t len, float *out, size_t dimension, char why[RV_VECTOR_WHY])
{
    if (len % sizeof *out) {
        snprintf(why, RV_VECTOR_WHY, "vector: float32 expected, got %zu bytes, which are not fours", len);
        return -1;
    }
    if (len / sizeof *out != dimension)
        return refuse_count(why, dimension, len / sizeof *out);
    memcpy(out, bytes, len);
    rv_vector_pack(out, dimension);
    return 0;
}

static int is_digit(const char *p, const char *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* m * 10^e. Powers up to 10^22 are exact in a double; the error of the few steps is far below a float's. */
static double scaled(uint64_t m, int e)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double v = (double)m;
    for (; e > 22 && v < 1e300 && v > 0; e -= 22)
        v *= 1e22;
    for (; e < -22 && v > 0; e += 22)
        v /= 1e22;
    return v == 0 ? 0 : e > 22 ? (double)INFINITY : e < 0 ? v / powers[-e] : v * powers[e];
}

/* Reads one number; the place behind it, NULL when there is none. strtod would go by the locale's decimal point. */
static const char *parse_number(const char *p, const char *end, float *out)
{
    enum { MOST_DIGITS = 19, MOST_EXPONENT = 100000 };
    uint64_t m = 0;
    int digits = 0, e = 0, negative = p < end && *p == '-';
    p += negative;
    if (!is_digit(p, end) || (*p == '0' && is_digit(p + 1, end)))
        return NULL;
    for (int fraction = 0;; fraction = 1) {
        for (; is_digit(p, end); p++) {
            if (digits < MOST_DIGITS) {
                m = m * 10 + (uint64_t)(*p - '0');
                digits += m > 0;
                e -= fraction;
            } else if (e < MOST_EXPONENT) {
                e += !fraction;
            }
        }
        if (fraction || p == end || *p != '.')
            break;
        if (!is_digit(++p, end))
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        int x = 0, down = ++p < end && *p == '-';
        p += p < end && (*p == '-' || *p == '+');
        if (!is_digit(p, end))
            return NULL;
        for (; is_digit(p, end); p++)
            x = x < MOST_EXPONENT ? x * 10 + (*p - '0') : x;
        e += down ? -x : x;
    }
    double v = scaled(m, e);
    /* A double beyond float's range must not be converted: C leaves that undefined. */
    float f = v > 3.4028235677973366e38 ? INFINITY : (float)v;
    *out = negative ? -f : f;
    return p;
}

int rv_vector_parse(const char *text, size_t len, float *out, size_t dimension, char why[RV_VECTOR_WHY])
{
    const char *end = text + len, *p = skip_space(text, end);
    size_t n = 0;
    int closed = 0;
    if (p < end && *p == '[') {
        p = skip_space(p + 1, end);
        closed = p < end && *p == ']';
        while (!closed) {
            float f;
            p = parse_number(p, end, &f);
            if (!p)
                break;
            if (n < dimension)
                out[n] = f;
            n++;
            p = skip_space(p, end);
            if (p == end || (*p != ',' && *p != ']'))
                break;
            closed = *p == ']';
            if (!closed)
                p = skip_space(p + 1, end);
        }
    }
    if (!closed || skip_space(p + 1, end) != end) {
        snprintf(why, RV_VECTOR_WHY, "vector: not a JSON array of numbers: wrong after %zu of them", n);
        return -1;
    }
    return n == dimension ? 0 : refuse_count(why, dimension, n);
}

int rv_vector_read(const char *bytes, size_t len, float *out, size_t dimension, char why[RV_VECTOR_WHY])
{
    const char *first = skip_space(bytes, bytes + len);
    if (first == bytes + len || *first != '[')
        return rv_vector_unpack(bytes, len, out, dimension, why);
    if (!rv_vector_parse(bytes, len, out, dimension, why))
        return 0;
    return len == dimension * sizeof *out ? rv_vector_unpack(bytes, len, out, dimension, why) : -1;
}

double rv_vector_norm(const float *v, size_t dimension, char why[RV_VECTOR_WHY])
{
    for (size_t i = 0; i < dimension; i++)
        if (!isfinite(v[i])) {
            snprintf(why, RV_VECTOR_WHY, "vector: number %zu of %zu is not finite", i + 1, dimension);
            return -1;
        }
    double square = rv_vector_dot(v, v, dimension);
    if (square > 0)
        return sqrt(square);
    snprintf(why, RV_VECTOR_WHY, "vector: all of its %zu numbers are zero", dimension);
    return -1;
}

double rv_vector_dot(const float *a, const float *b, size_t dimension)
{
    /* Lanes of their own let the compiler use vector instructions without reordering a sum. */
    enum { LANES = 8 };
    double sum[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= dimension; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            sum[k] += (double)a[i + k] * (double)b[i + k];
    for (size_t k = 0; i < dimension; i++, k++)
        sum[k] += (double)a[i] * (double)b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}
